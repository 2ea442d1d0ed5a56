//! `--watch`: a change of a file is a hot restart, whatever the way in which it is made.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;

use libtest_mimic::Trial;
use support::scene::{Restarter, Scene};
use support::{eventually, processes};

use crate::needs::{Needs, trial};

/// The trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("watch::config_map", Needs::Nothing, config_map),
        trial("watch::rename_over", Needs::Nothing, rename_over),
        trial("watch::written_in_place", Needs::Nothing, written_in_place),
        trial("watch::folder", Needs::Nothing, folder),
        trial("watch::relative_path", Needs::Nothing, relative_path),
        trial("watch::thousand_rewrites", Needs::Nothing, thousand_rewrites),
        trial("watch::missing_at_the_start", Needs::Nothing, missing_at_the_start),
        trial("watch::deleted", Needs::Nothing, deleted),
        trial("watch::two_paths_in_the_variable", Needs::Nothing, two_paths_in_the_variable),
        trial("watch::bad_file_is_refused", Needs::Nothing, bad_file_is_refused),
        trial("watch::is_like_a_hup", Needs::Nothing, is_like_a_hup),
        trial("watch::jitter", Needs::Nothing, jitter),
        trial("watch::change_during_a_stop", Needs::Nothing, change_during_a_stop),
        trial("watch::idle", Needs::Nothing, idle),
        trial("watch::bind_mount", Needs::Root, bind_mount),
        trial("watch::inotify_is_exhausted", Needs::UserNamespace, inotify_is_exhausted),
    ]
}

/// A target that says what is in a file when it starts, and then serves.
fn reader(scene: &Scene, file: &Path) -> String {
    let says = format!("\"say=$(cat '{}' 2>/dev/null)\"", file.display());
    let (before, after) = (scene.probe_line(""), "catch=USR2 exit-on=TERM:0 wait");
    scene.script("target", &format!("#!/bin/sh\nexec {before} {says} {after}\n"))
}

/// What each epoch has read, in their order.
fn read(scene: &Scene) -> Vec<String> {
    let entries = scene.journal().entries().into_iter();
    entries.filter(|entry| entry.word == "say").map(|entry| entry.rest).collect()
}

/// A restarter that watches a file, and whose target reads it.
fn watching(scene: &Scene, options: &[&str], file: &Path) -> Restarter {
    let path = file.to_str().expect("a path of ours is text");
    let options = [&["--ready", "none", "--watch", path], options].concat();
    let restarter = scene.restarter(&options, &[reader(scene, file)]).start();
    scene.journal().await_ready(1);
    // It watches by the time that it answers.
    restarter.settle();
    restarter
}

/// Waits until so many epochs have been started, and the last one has read this.
fn await_read(scene: &Scene, epochs: usize, content: &str) {
    scene.journal().await_ready(epochs);
    assert_eq!(read(scene)[epochs - 1], content);
}

fn stop_cleanly(scene: &Scene, mut restarter: Restarter) {
    restarter.signal(libc::SIGTERM);
    assert_eq!(restarter.code(), 0, "{}", restarter.log());
    scene.assert_empty();
}

/// Has every epoch but the newest leave, as they do after a handover.
fn retire_older(scene: &Scene) {
    let epochs = scene.journal().writers("ready");
    for pid in &epochs[..epochs.len().saturating_sub(1)] {
        if scene.journal().signals(*pid).is_empty() && processes::process(*pid).is_some() {
            processes::signal(*pid, libc::SIGTERM);
        }
    }
}

/// Replaces a file as editors and `mv` do.
fn replace(file: &Path, content: &str) {
    let beside = file.with_extension("new");
    fs::write(&beside, content).expect("a file in our folder");
    fs::rename(&beside, file).expect("both are ours");
}

/// Publishes a version of a volume as kubelet does: a folder of its own, to which `..data` leads
/// from one moment to the next, and the one before it removed.
fn publish(volume: &Path, version: &str, content: &str) {
    let data = volume.join("..data");
    let before = fs::read_link(&data).ok();
    let folder = format!("..2026_01_01_00_00_00.{version}");
    fs::create_dir(volume.join(&folder)).expect("a folder in our folder");
    fs::write(volume.join(&folder).join("envoy.yaml"), content).expect("a file in our folder");
    symlink(&folder, volume.join("..data_tmp")).expect("a link in our folder");
    fs::rename(volume.join("..data_tmp"), &data).expect("both are ours");
    match before {
        Some(before) => fs::remove_dir_all(volume.join(before)).expect("it is ours"),
        None => symlink("..data/envoy.yaml", volume.join("envoy.yaml")).expect("a link"),
    }
}

/// One restart for each version.
fn config_map() {
    let scene = Scene::new();
    let volume = scene.path("volume");
    fs::create_dir(&volume).expect("a folder in our folder");
    publish(&volume, "0", "content 0");
    let restarter = watching(&scene, &[], &volume.join("envoy.yaml"));
    for epoch in 1..5 {
        let content = format!("content {epoch}");
        publish(&volume, &epoch.to_string(), &content);
        await_read(&scene, epoch + 1, &content);
        retire_older(&scene);
    }
    restarter.settle();
    assert_eq!(restarter.lines(" changed: …/volume/envoy.yaml has changed"), 4);
    assert_eq!(restarter.lines(" started "), 5, "{}", restarter.log());
    assert_eq!(restarter.lines(" warn "), 0, "{}", restarter.log());
    stop_cleanly(&scene, restarter);
}

fn rename_over() {
    let scene = Scene::new();
    let file = scene.path("file");
    fs::write(&file, "content 0").expect("a file in our folder");
    let restarter = watching(&scene, &[], &file);
    for epoch in 1..4 {
        let content = format!("content {epoch}");
        replace(&file, &content);
        await_read(&scene, epoch + 1, &content);
        retire_older(&scene);
    }
    restarter.settle();
    assert_eq!(restarter.lines(" started "), 4, "{}", restarter.log());
    stop_cleanly(&scene, restarter);
}

fn written_in_place() {
    let scene = Scene::new();
    let file = scene.path("file");
    fs::write(&file, "content 0").expect("a file in our folder");
    let restarter = watching(&scene, &[], &file);
    for epoch in 1..3 {
        let content = format!("content {epoch}");
        // Not made empty first, so that nobody reads half of it.
        let mut file = OpenOptions::new().write(true).open(&file).expect("it is ours");
        file.write_all(content.as_bytes()).expect("it is ours");
        drop(file);
        await_read(&scene, epoch + 1, &content);
    }
    restarter.settle();
    assert_eq!(restarter.lines(" started "), 3, "{}", restarter.log());
    stop_cleanly(&scene, restarter);
}

/// Whatever is directly in it.
fn folder() {
    let scene = Scene::new();
    let folder = scene.path("folder");
    fs::create_dir(&folder).expect("a folder in our folder");
    let watched = scene.place("folder");
    let options = ["--ready", "none", "--watch", &watched];
    let file = folder.join("file");
    let restarter = scene.restarter(&options, &[reader(&scene, &file)]).start();
    scene.journal().await_ready(1);
    restarter.settle();
    replace(&file, "content 1");
    await_read(&scene, 2, "content 1");
    fs::remove_file(&file).expect("it is ours");
    await_read(&scene, 3, "");
    restarter.settle();
    assert_eq!(restarter.lines(" started "), 3, "{}", restarter.log());
    stop_cleanly(&scene, restarter);
}

/// From the folder that we were started in.
fn relative_path() {
    let scene = Scene::new();
    let file = scene.path("file");
    fs::write(&file, "content 0").expect("a file in our folder");
    let options = ["--ready", "none", "--watch", "file"];
    let setup = scene.restarter(&options, &[reader(&scene, &file)]).with(|command| {
        command.current_dir(scene.path(""));
    });
    let restarter = setup.start();
    scene.journal().await_ready(1);
    restarter.settle();
    replace(&file, "content 1");
    await_read(&scene, 2, "content 1");
    stop_cleanly(&scene, restarter);
}

/// Few restarts, and the last content is what the last epoch has read.
fn thousand_rewrites() {
    let scene = Scene::new();
    let file = scene.path("file");
    fs::write(&file, "content 0").expect("a file in our folder");
    let restarter = watching(&scene, &[], &file);
    for rewrite in 1..=1000 {
        let content = format!("content {rewrite}");
        if rewrite % 2 == 0 {
            replace(&file, &content);
        } else {
            fs::write(&file, &content).expect("a file in our folder");
        }
    }
    eventually("the last content is read", || {
        retire_older(&scene);
        let read = read(&scene);
        if read.last().is_some_and(|last| last == "content 1000") { Ok(()) } else { Err(read) }
    });
    restarter.settle();
    let changes = restarter.lines(" changed: ");
    assert!((1..20).contains(&changes), "{changes} changes: {}", restarter.log());
    stop_cleanly(&scene, restarter);
}

/// That is said, and its creation is a change, with the folders on the way.
fn missing_at_the_start() {
    let scene = Scene::new();
    let folder = scene.path("folder");
    let restarter = watching(&scene, &[], &folder.join("file"));
    restarter.says("warn…watch: nothing to watch at …/folder/file, which will be noticed");
    fs::create_dir(&folder).expect("a folder in our folder");
    replace(&folder.join("file"), "content 1");
    await_read(&scene, 2, "content 1");
    restarter.settle();
    assert_eq!(restarter.lines(" started "), 2, "{}", restarter.log());
    assert_eq!(restarter.lines("nothing to watch"), 1, "{}", restarter.log());
    stop_cleanly(&scene, restarter);
}

/// Nothing is there to restart with; when it comes back there is.
fn deleted() {
    let scene = Scene::new();
    let file = scene.path("file");
    fs::write(&file, "content 0").expect("a file in our folder");
    let restarter = watching(&scene, &[], &file);
    assert_eq!(restarter.lines("nothing to watch"), 0, "{}", restarter.log());
    for times in 1..3 {
        fs::remove_file(&file).expect("it is ours");
        restarter.says_times("warn…watch: nothing to watch at …/file", times);
        restarter.settle();
        assert_eq!(restarter.lines(" started "), times, "{}", restarter.log());
        replace(&file, "content again");
        await_read(&scene, times + 1, "content again");
    }
    stop_cleanly(&scene, restarter);
}

fn two_paths_in_the_variable() {
    let scene = Scene::new();
    let (first, second) = (scene.path("first"), scene.path("second"));
    for file in [&first, &second] {
        fs::write(file, "content 0").expect("a file in our folder");
    }
    let paths = format!("{}:{}", first.display(), second.display());
    let target = reader(&scene, &second);
    let setup = scene.restarter(&["--ready", "none"], &[&target]).with(|command| {
        command.env("HOT_RESTARTER_WATCH", &paths);
    });
    let restarter = setup.start();
    scene.journal().await_ready(1);
    restarter.settle();
    replace(&first, "content 1");
    restarter.says("changed: …/first has changed");
    await_read(&scene, 2, "content 0");
    replace(&second, "content 2");
    restarter.says("changed: …/second has changed");
    await_read(&scene, 3, "content 2");
    restarter.settle();
    assert_eq!(restarter.lines(" started "), 3, "{}", restarter.log());
    stop_cleanly(&scene, restarter);

    // The command line wins.
    let scene = Scene::new();
    let file = scene.path("file");
    let setup = scene
        .restarter(&["--ready", "none", "--watch", &scene.place("file")], &[reader(&scene, &file)])
        .with(|command| {
            command.env("HOT_RESTARTER_WATCH", "/no/such/file");
        });
    let restarter = setup.start();
    restarter.says("nothing to watch at …/file");
    restarter.settle();
    assert_eq!(restarter.lines("/no/such/file"), 0, "{}", restarter.log());
    replace(&file, "content 1");
    await_read(&scene, 2, "content 1");
    stop_cleanly(&scene, restarter);
}

/// What the check does not like changes nothing, and the next good file is taken.
fn bad_file_is_refused() {
    let scene = Scene::new();
    let file = scene.path("file");
    fs::write(&file, "good 0").expect("a file in our folder");
    let check = format!("grep -q good {}", file.display());
    let restarter = watching(&scene, &["--check", &check], &file);
    replace(&file, "bad");
    restarter.says("restart-refused epoch=1: the check exited with 1");
    restarter.settle();
    assert_eq!(restarter.lines(" started "), 1, "{}", restarter.log());
    replace(&file, "good 1");
    await_read(&scene, 2, "good 1");
    restarter.says(" started epoch=1 ");
    stop_cleanly(&scene, restarter);
}

/// One at a time, and remembered while another restart is under way.
fn is_like_a_hup() {
    let scene = Scene::new();
    let file = scene.path("file");
    fs::write(&file, "content 0").expect("a file in our folder");
    let options = ["--max-epochs", "2"];
    let restarter = watching(&scene, &options, &file);
    restarter.signal(libc::SIGHUP);
    await_read(&scene, 2, "content 0");
    replace(&file, "content 1");
    restarter.says("restart-queued epoch=2: …--max-epochs");
    restarter.signal(libc::SIGHUP);
    restarter.settle();
    retire_older(&scene);
    await_read(&scene, 3, "content 1");
    restarter.settle();
    assert_eq!(restarter.lines(" started "), 3, "{}", restarter.log());
    stop_cleanly(&scene, restarter);
}

/// It is a wait that ends, and without which there is none.
fn jitter() {
    let scene = Scene::new();
    let file = scene.path("file");
    fs::write(&file, "content 0").expect("a file in our folder");
    let path = scene.place("file");
    let of_a_week = ["--ready", "none", "--watch", &path, "--watch-jitter", "604800"];
    let mut waiting = scene.restarter(&of_a_week, &["sleep", "3600"]).start();
    waiting.says(" ready epoch=0 ");
    waiting.settle();
    let restarter = watching(&scene, &["--watch-jitter", "0.5"], &file);
    for epoch in 1..3 {
        let content = format!("content {epoch}");
        replace(&file, &content);
        await_read(&scene, epoch + 1, &content);
    }
    restarter.settle();
    assert_eq!(restarter.lines(" started "), 3, "{}", restarter.log());
    waiting.settle();
    assert_eq!(waiting.lines(" changed: "), 0, "{}", waiting.log());
    waiting.signal(libc::SIGTERM);
    assert_eq!(waiting.code(), 0, "{}", waiting.log());
    stop_cleanly(&scene, restarter);
}

/// Another restarter tells by its restart that there was a change to act upon.
fn change_during_a_stop() {
    let scene = Scene::new();
    let file = scene.path("file");
    fs::write(&file, "content 0").expect("a file in our folder");
    let path = scene.place("file");
    let gate = scene.gate();
    let target = scene.probe(&format!("catch=TERM say=stopping await={gate}"));
    let options = ["--ready", "none", "--watch", &path];
    let mut stopping = scene.restarter(&options, &target).start();
    let epoch = scene.journal().await_said("stopping");
    stopping.settle();
    let other = watching(&scene, &[], &file);
    stopping.signal(libc::SIGTERM);
    scene.journal().await_signal(epoch, libc::SIGTERM);
    for epochs in 2..4 {
        replace(&file, &format!("content {epochs}"));
        scene.journal().await_ready(epochs);
    }
    stopping.signal(libc::SIGINT);
    stopping.says("stopping already");
    gate.open();
    assert_eq!(stopping.code(), 0, "{}", stopping.log());
    assert_eq!(stopping.lines(" changed: "), 0, "{}", stopping.log());
    assert_eq!(stopping.lines(" started "), 1, "{}", stopping.log());
    stop_cleanly(&scene, other);
}

/// Who watches sleeps, also after a change, a check and a restart.
fn idle() {
    let scene = Scene::secluded();
    let file = scene.path("file");
    fs::write(&file, "content 0").expect("a file in our folder");
    let missing = scene.place("missing");
    let probe = format!("exec:test -e {}", file.display());
    let watches = ["--watch", &missing, "--watch", &scene.place("file")];
    let options = [&watches[..], &["--check", "true", "--rollback", "--ready", &probe]].concat();
    let restarter = scene.restarter(&options, &[reader(&scene, &file)]).start();
    restarter.says(" ready epoch=0 ");
    restarter.await_idle();
    replace(&file, "content 1");
    await_read(&scene, 2, "content 1");
    restarter.says(" ready epoch=1 ");
    restarter.await_idle();
    stop_cleanly(&scene, restarter);
}

/// What replaces the file where it comes from never arrives.
fn bind_mount() {
    let scene = Scene::new();
    let (from, to) = (scene.place("from"), scene.place("to"));
    for file in [&from, &to] {
        File::create(file).expect("a file in our folder");
    }
    let script = "mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"";
    let wrapper = ["unshare", "--mount", "sh", "-c", script, "sh", &from, &to];
    let target = scene.probe("exit-on=TERM:0 wait");
    for (path, warnings) in [(&to, 1), (&from, 0)] {
        let options = ["--ready", "none", "--watch", path];
        let restarter = scene.wrapped_restarter(&wrapper, &options, &target).start();
        restarter.says(" ready epoch=0 ");
        restarter.settle();
        assert_eq!(restarter.lines("warn…watch: …is mounted by itself"), warnings, "{path}");
        // What is written in place is seen all the same.
        let mut file = OpenOptions::new().append(true).open(&from).expect("it is ours");
        writeln!(file, "more").expect("it is ours");
        restarter.says(" started epoch=1 ");
        stop_cleanly(&scene, restarter);
    }
}

/// A server that cannot be watched is worth more than none.
fn inotify_is_exhausted() {
    let scene = Scene::new();
    let file = scene.path("file");
    fs::write(&file, "content 0").expect("a file in our folder");
    let script = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$@\"";
    let wrapper = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"];
    let options = ["--ready", "none", "--watch", &scene.place("file")];
    let target = scene.probe("exit-on=TERM:0 wait");
    let restarter = scene.wrapped_restarter(&wrapper, &options, &target).start();
    restarter.says("error…watch: changes of files are not noticed: cannot watch files");
    restarter.signal(libc::SIGHUP);
    scene.journal().await_ready(2);
    stop_cleanly(&scene, restarter);
}
