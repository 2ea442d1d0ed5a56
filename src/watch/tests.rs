//! Real changes in folders of their own, real inotify, and a time that only the tests move. The
//! kernel queues an event before the call that caused it returns, so nothing here has to wait.

mod chance;
mod gone;
mod quiet;
mod several;

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::*;

const NOW: Moment = Moment(Duration::from_secs(1000));
/// Not quite long enough.
const ALMOST: Duration = Duration::from_millis(499);

/// A folder of its own, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("watch-{}-{number}", std::process::id());
        // In memory where that can be: a disk makes these tests five times as long.
        let memory = PathBuf::from("/dev/shm");
        let parent = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let folder = parent.join(name);
        fs::create_dir(&folder).expect("the folder is new");
        Self(folder)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.at(name), content).expect("the file can be written");
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.at(from), self.at(to)).expect("it can be renamed");
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.at(name)).expect("the file can be removed");
    }

    fn remove_all(&self, name: &str) {
        fs::remove_dir_all(self.at(name)).expect("the folder can be removed");
    }

    fn make(&self, name: &str) {
        fs::create_dir_all(self.at(name)).expect("the folder can be made");
    }

    fn link(&self, name: &str, target: &str) {
        symlink(target, self.at(name)).expect("the link can be made");
    }

    /// What kubelet's `atomic_writer.go` does, in its order; what of the old version is left
    /// until [`remove_all`](Self::remove_all) is its last step.
    fn kubelet_writes(&self, volume: &str, version: &str, content: &str) {
        let at = |name: &str| format!("{volume}/{name}");
        self.make(&at(version));
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.at(&at(version)), mode.clone()).expect("it is ours");
        let file = at(&format!("{version}/envoy.yaml"));
        self.write(&file, content);
        fs::set_permissions(self.at(&file), mode).expect("it is ours");
        if !self.at(&at("envoy.yaml")).is_symlink() {
            self.link(&at("envoy.yaml"), "..data/envoy.yaml");
        }
        self.link(&at("..data_tmp"), version);
        self.rename(&at("..data_tmp"), &at("..data"));
    }

    fn watch(&self, names: &[&str]) -> Clock {
        let paths = names.iter().map(|name| self.at(name)).collect();
        Clock::new(Watch::new(paths, Duration::ZERO).expect("there are inotify instances left"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A watch, and the time.
struct Clock {
    watch: Watch,
    now: Moment,
}

impl Clock {
    fn new(watch: Watch) -> Self {
        Self { watch, now: NOW }
    }

    fn readable(&self) -> bool {
        let mut fd = [PollFd::new(self.watch.fd(), PollFlags::POLLIN)];
        poll(&mut fd, PollTimeout::ZERO).expect("poll works") == 1
    }

    fn take_in(&mut self) {
        for _ in 0..1000 {
            if !self.readable() {
                return;
            }
            self.watch.take_in(self.now).expect("inotify can be read");
        }
        panic!("there is no end of events: {:?}", self.watch);
    }

    /// Lets time pass until nothing is pending; everything that was due.
    fn dues(&mut self) -> Vec<PathBuf> {
        let mut dues = Vec::new();
        self.take_in();
        while let Some(deadline) = self.watch.deadline() {
            assert!(dues.len() < 1000, "there is no end of changes: {:?}", self.watch);
            self.now = self.now.max(deadline);
            self.take_in();
            dues.extend(self.watch.due(self.now));
        }
        dues
    }

    /// How often something was due.
    fn count(&mut self) -> usize {
        self.dues().len()
    }

    fn warnings(&mut self) -> String {
        self.watch.take_warnings().join("\n")
    }
}

#[test]
fn without_a_change_nothing_is_due() {
    let folder = Folder::new();
    folder.write("envoy.yaml", "a");
    let mut clock = folder.watch(&["envoy.yaml"]);
    assert_eq!(fs::read(folder.at("envoy.yaml")).expect("it is there"), b"a");
    assert_eq!(clock.count(), 0);
    assert_eq!(clock.watch.due(NOW), None);
    assert_eq!(clock.warnings(), "");
}

#[test]
fn a_rename_over_the_file_is_a_change() {
    let folder = Folder::new();
    folder.write("envoy.yaml", "a");
    let mut clock = folder.watch(&["envoy.yaml"]);
    for _ in 0..3 {
        folder.write("envoy.yaml.tmp", "b");
        assert_eq!(clock.count(), 0);
        folder.rename("envoy.yaml.tmp", "envoy.yaml");
        assert_eq!(clock.dues(), [folder.at("envoy.yaml")]);
    }
    assert_eq!(clock.warnings(), "");
}

#[test]
fn each_write_in_place_is_a_change() {
    let folder = Folder::new();
    folder.write("envoy.yaml", "a");
    let mut clock = folder.watch(&["envoy.yaml"]);
    let mut file =
        OpenOptions::new().append(true).open(folder.at("envoy.yaml")).expect("it is there");
    assert_eq!(clock.count(), 0);
    for _ in 0..2 {
        file.write_all(b"b").expect("it can be written");
        assert_eq!(clock.count(), 1);
    }
    file.set_len(0).expect("it can be cut");
    assert_eq!(clock.count(), 1);
    // What was written through a mapping shows here only.
    drop(file);
    assert_eq!(clock.count(), 1);
}

#[test]
fn an_editor_that_renames_away_and_writes_anew_makes_one_change() {
    let folder = Folder::new();
    folder.write("envoy.yaml", "a");
    let mut clock = folder.watch(&["envoy.yaml"]);
    folder.rename("envoy.yaml", "envoy.yaml~");
    clock.take_in();
    folder.write("envoy.yaml", "b");
    clock.take_in();
    folder.remove("envoy.yaml~");
    assert_eq!(clock.count(), 1);
    folder.write("envoy.yaml", "c");
    assert_eq!(clock.count(), 1);
    assert_eq!(clock.warnings(), "");
}

#[test]
fn each_version_of_a_config_map_is_one_change() {
    let folder = Folder::new();
    folder.kubelet_writes("volume", "..2026_01_01_0", "0");
    for paths in [&["volume/envoy.yaml"], &["volume"]] {
        let mut clock = folder.watch(paths);
        for version in 0..10 {
            let old = fs::read_link(folder.at("volume/..data")).expect("it is a link");
            let new = format!("..2026_01_{}_{version}", paths[0].len());
            folder.kubelet_writes("volume", &new, &new);
            // As if we were so slow, or so quick, that it comes in two turns.
            if version % 2 == 0 {
                clock.take_in();
            }
            fs::remove_dir_all(folder.at("volume").join(old)).expect("it is there");
            assert_eq!(clock.dues(), [folder.at(paths[0])]);
        }
        assert_eq!(clock.warnings(), "");
    }
}

#[test]
fn the_old_version_of_a_config_map_may_go_late() {
    let folder = Folder::new();
    folder.kubelet_writes("volume", "..2026_1", "a");
    let mut clock = folder.watch(&["volume/envoy.yaml"]);
    folder.kubelet_writes("volume", "..2026_2", "b");
    assert_eq!(clock.count(), 1);
    folder.remove_all("volume/..2026_1");
    assert_eq!(clock.count(), 0);
}

#[test]
fn a_config_map_is_followed_through_links_from_elsewhere() {
    let folder = Folder::new();
    folder.kubelet_writes("volume", "..2026_1", "a");
    folder.make("etc/deep");
    folder.link("etc/deep/envoy.yaml", "../../current/envoy.yaml");
    let absolute = folder.at("volume");
    folder.link("current", absolute.to_str().expect("it is UTF-8"));
    let mut clock = folder.watch(&["etc/deep/envoy.yaml"]);
    folder.kubelet_writes("volume", "..2026_2", "b");
    folder.remove_all("volume/..2026_1");
    assert_eq!(clock.dues(), [folder.at("etc/deep/envoy.yaml")]);
    folder.kubelet_writes("other", "..2026_1", "c");
    assert_eq!(clock.count(), 0);
    folder.link("current.new", "other");
    folder.rename("current.new", "current");
    assert_eq!(clock.count(), 1);
    folder.kubelet_writes("volume", "..2026_3", "d");
    assert_eq!(clock.count(), 0, "nothing leads there any more");
    folder.write("other/..2026_1/envoy.yaml", "e");
    assert_eq!(clock.count(), 1);
}
