//! Real changes in folders of their own, real inotify, and a time that only the tests move. The
//! kernel queues an event before the call that caused it returns, so nothing here has to wait.

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
            self.watch.take_in(self.now);
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

#[test]
fn a_deleted_file_is_acted_upon_when_it_is_back() {
    let folder = Folder::new();
    folder.write("envoy.yaml", "a");
    let mut clock = folder.watch(&["envoy.yaml"]);
    for _ in 0..2 {
        folder.remove("envoy.yaml");
        assert_eq!(clock.count(), 0);
        let warnings = clock.warnings();
        assert_eq!(warnings.matches("nothing to watch at").count(), 1, "{warnings}");
        folder.write("envoy.yaml.tmp", "b");
        folder.rename("envoy.yaml.tmp", "envoy.yaml");
        assert_eq!(clock.count(), 1);
        assert_eq!(clock.warnings(), "");
    }
}

#[test]
fn a_link_that_is_renamed_away_is_missed() {
    let folder = Folder::new();
    folder.write("real.yaml", "a");
    folder.link("envoy.yaml", "real.yaml");
    let mut clock = folder.watch(&["envoy.yaml"]);
    folder.rename("envoy.yaml", "other.yaml");
    assert_eq!(clock.count(), 0);
    assert_ne!(clock.warnings(), "");
    folder.rename("other.yaml", "envoy.yaml");
    assert_eq!(clock.count(), 1);
}

#[test]
fn a_file_that_is_gone_for_a_moment_only_is_not_missed() {
    let folder = Folder::new();
    folder.write("envoy.yaml", "a");
    let mut clock = folder.watch(&["envoy.yaml"]);
    folder.remove("envoy.yaml");
    clock.take_in();
    clock.now = NOW + ALMOST;
    assert_eq!(clock.watch.due(clock.now), None);
    folder.write("envoy.yaml", "b");
    assert_eq!(clock.count(), 1);
    assert_eq!(clock.warnings(), "");
}

#[test]
fn parents_may_go_and_come_back() {
    let folder = Folder::new();
    folder.make("a/b/c");
    folder.write("a/b/c/envoy.yaml", "a");
    let mut clock = folder.watch(&["a/b/c/envoy.yaml"]);
    for gone in ["a/b/c", "a/b", "a"] {
        folder.remove_all(gone);
        assert_eq!(clock.count(), 0);
        assert_ne!(clock.warnings(), "");
        folder.make("a/b");
        assert_eq!(clock.count(), 0);
        assert_eq!(clock.warnings(), "", "it has been said");
        folder.make("a/b/c");
        folder.write("a/b/c/envoy.yaml", "b");
        assert_eq!(clock.count(), 1);
        folder.write("a/b/c/envoy.yaml", "c");
        assert_eq!(clock.count(), 1);
    }
}

#[test]
fn a_path_need_not_exist() {
    let folder = Folder::new();
    let mut clock = folder.watch(&["a/b/c/envoy.yaml"]);
    let missing = folder.at("a");
    let warnings = clock.warnings();
    assert!(warnings.contains(&format!("when it comes: {}:", missing.display())), "{warnings}");
    for step in ["a", "a/b", "a/b/c"] {
        folder.make(step);
        assert_eq!(clock.count(), 0);
    }
    folder.write("a/b/c/envoy.yaml", "a");
    assert_eq!(clock.count(), 1);
    assert_eq!(clock.warnings(), "");
}

#[test]
fn a_file_where_a_folder_should_be_is_missing_all_the_same() {
    let folder = Folder::new();
    folder.write("a", "a");
    let mut clock = folder.watch(&["a/envoy.yaml"]);
    let warnings = clock.warnings();
    assert!(warnings.contains("Not a directory"), "{warnings}");
    assert_eq!(warnings.lines().count(), 1, "{warnings}");
    folder.remove("a");
    folder.make("a");
    folder.write("a/envoy.yaml", "a");
    assert_eq!(clock.count(), 1);
}

#[test]
fn another_folder_may_take_a_parents_place() {
    let folder = Folder::new();
    folder.make("a/b");
    folder.make("new/b");
    folder.write("a/b/envoy.yaml", "a");
    folder.write("new/b/envoy.yaml", "b");
    let mut clock = folder.watch(&["a/b/envoy.yaml"]);
    folder.rename("a", "old");
    clock.take_in();
    folder.rename("new", "a");
    assert_eq!(clock.count(), 1);
    folder.write("old/b/envoy.yaml", "c");
    assert_eq!(clock.count(), 0);
    folder.write("a/b/envoy.yaml", "d");
    assert_eq!(clock.count(), 1);
}

#[test]
fn a_busy_neighbour_does_not_even_wake_us() {
    let folder = Folder::new();
    folder.write("envoy.yaml", "a");
    folder.write("access.log", "");
    let mut clock = folder.watch(&["envoy.yaml"]);
    let mut log =
        OpenOptions::new().append(true).open(folder.at("access.log")).expect("it is there");
    for _ in 0..100 {
        log.write_all(b"line\n").expect("it can be written");
    }
    drop(log);
    // Other tests make folders beside ours.
    let ours: Vec<_> = clock.watch.watched[0].trail.watches().collect();
    let inside = &ours[ours.len() - 2..];
    if let Ok(events) = clock.watch.inotify.read_events() {
        assert!(events.iter().all(|event| !inside.contains(&event.wd)), "{events:?}");
    }
    folder.rename("access.log", "access.log.1");
    folder.write("access.log", "");
    folder.remove("access.log.1");
    assert!(clock.readable());
    clock.take_in();
    assert_eq!(clock.watch.deadline(), None);
}

#[test]
fn a_thousand_quick_rewrites_are_one_change() {
    let folder = Folder::new();
    folder.write("envoy.yaml", "a");
    let mut clock = folder.watch(&["envoy.yaml"]);
    for number in 0..1000 {
        if number % 2 == 0 {
            folder.write("envoy.yaml", "b");
        } else {
            folder.write("envoy.yaml.tmp", "c");
            folder.rename("envoy.yaml.tmp", "envoy.yaml");
        }
        clock.take_in();
        assert_eq!(clock.watch.due(clock.now), None);
        clock.now = clock.now + ALMOST;
    }
    assert_eq!(clock.count(), 1);
}

#[test]
fn the_quiet_begins_with_the_last_change() {
    let folder = Folder::new();
    folder.write("envoy.yaml", "a");
    let mut clock = folder.watch(&["envoy.yaml"]);
    assert_eq!(clock.watch.deadline(), None);
    folder.write("envoy.yaml", "b");
    clock.take_in();
    assert_eq!(clock.watch.deadline(), Some(NOW + QUIET));
    clock.now = NOW + ALMOST;
    folder.write("envoy.yaml", "c");
    clock.take_in();
    let due = NOW + ALMOST + QUIET;
    assert_eq!(clock.watch.deadline(), Some(due));
    assert_eq!(clock.watch.due(NOW + ALMOST + ALMOST), None);
    assert_eq!(clock.watch.due(due), Some(folder.at("envoy.yaml")));
    assert_eq!(clock.watch.due(due), None);
    assert_eq!(clock.watch.deadline(), None);
}

#[test]
fn an_overflow_is_a_change() {
    let folder = Folder::new();
    folder.write("envoy.yaml", "a");
    let mut clock = folder.watch(&["envoy.yaml"]);
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("/proc");
    let limit: usize = limit.trim().parse().expect("a number");
    for _ in 0..=limit / 2 {
        folder.write("neighbour", "");
        folder.remove("neighbour");
    }
    // This one finds the queue full.
    folder.write("envoy.yaml.tmp", "b");
    folder.rename("envoy.yaml.tmp", "envoy.yaml");
    assert_eq!(clock.count(), 1);
    folder.write("envoy.yaml", "c");
    assert_eq!(clock.count(), 1, "the new file is watched as well");
}

#[test]
fn one_turn_is_bounded() {
    let folder = Folder::new();
    folder.write("envoy.yaml", "a");
    let mut clock = folder.watch(&["envoy.yaml"]);
    for _ in 0..READS_A_TURN * 128 / 2 {
        folder.write("neighbour", "");
        folder.remove("neighbour");
    }
    folder.write("envoy.yaml", "b");
    clock.watch.take_in(NOW);
    assert!(clock.readable());
    assert_eq!(clock.count(), 1);
}

#[test]
fn a_loop_of_links_is_missing_until_it_is_none() {
    let folder = Folder::new();
    folder.link("envoy.yaml", "other");
    folder.link("other", "envoy.yaml");
    let mut clock = folder.watch(&["envoy.yaml"]);
    let warnings = clock.warnings();
    assert!(warnings.to_lowercase().contains("symbolic link"), "{warnings}");
    folder.write("tmp", "a");
    folder.rename("tmp", "other");
    assert_eq!(clock.count(), 1);
}

#[test]
fn as_many_links_are_followed_as_the_kernel_follows() {
    for (links, found) in [(40, true), (41, false)] {
        let folder = Folder::new();
        folder.write("0", "a");
        for link in 1..=links {
            folder.link(&link.to_string(), &(link - 1).to_string());
        }
        let last = links.to_string();
        assert_eq!(fs::metadata(folder.at(&last)).is_ok(), found);
        let mut clock = folder.watch(&[&last]);
        assert_eq!(clock.warnings().is_empty(), found);
    }
}

#[test]
fn a_dangling_link_is_followed_when_its_target_comes() {
    let folder = Folder::new();
    folder.link("envoy.yaml", "./deep/../deep/envoy.yaml");
    let mut clock = folder.watch(&["envoy.yaml"]);
    assert_ne!(clock.warnings(), "");
    folder.make("deep");
    folder.write("deep/envoy.yaml", "a");
    assert_eq!(clock.count(), 1);
    folder.remove("envoy.yaml");
    folder.link("envoy.yaml", "/../..//nowhere");
    assert_eq!(clock.count(), 0);
    assert!(clock.warnings().contains("comes: /nowhere: No such file"));
}

#[test]
fn relative_paths_are_made_absolute() {
    let watch = Watch::new(vec!["Cargo.toml".into()], Duration::ZERO).expect("it can be watched");
    let here = std::env::current_dir().expect("we are somewhere");
    assert_eq!(watch.watched[0].path, here.join("Cargo.toml"));
    assert!(matches!(watch.watched[0].trail.end, End::File(_)));
    let error = Watch::new(vec!["".into()], Duration::ZERO).expect_err("there is no such path");
    assert!(format!("{error:#}").starts_with("cannot watch : "), "{error:#}");
}

#[test]
fn names_need_not_be_utf_8() {
    let folder = Folder::new();
    let name = OsString::from_vec(b"caf\xe9 \n.yaml".to_vec());
    let path = folder.0.join(&name);
    let watch = Watch::new(vec![path.clone()], Duration::ZERO).expect("it can be watched");
    let mut clock = Clock::new(watch);
    fs::write(&path, "a").expect("it can be written");
    assert_eq!(clock.dues(), [path]);
}

#[test]
fn a_name_that_only_begins_like_ours_is_not_ours() {
    let folder = Folder::new();
    folder.write("envoy.yaml", "a");
    let mut clock = folder.watch(&["envoy.yaml"]);
    for name in ["envoy", "envoy.yaml.swp", "ENVOY.YAML"] {
        folder.write(name, "b");
    }
    assert_eq!(clock.count(), 0);
}

#[test]
fn a_folder_is_watched_for_what_is_in_it() {
    let folder = Folder::new();
    folder.make("conf/deep");
    folder.write("conf/one", "a");
    let mut clock = folder.watch(&["conf"]);
    let changes: [&dyn Fn(); 7] = [
        &|| folder.write("conf/one", "b"),
        &|| folder.write("conf/two", "b"),
        &|| folder.rename("conf/two", "conf/three"),
        &|| folder.remove("conf/three"),
        &|| folder.make("conf/other"),
        &|| folder.rename("conf/other", "other"),
        &|| folder.rename("other", "conf/other"),
    ];
    for change in changes {
        change();
        assert_eq!(clock.dues(), [folder.at("conf")]);
    }
    folder.write("conf/deep/file", "a");
    assert_eq!(clock.count(), 0, "not what is below it");
    folder.remove_all("conf");
    assert_eq!(clock.count(), 0);
    assert_ne!(clock.warnings(), "");
    folder.make("conf");
    assert_eq!(clock.count(), 1);
    folder.write("conf/one", "c");
    assert_eq!(clock.count(), 1);
}

#[test]
fn two_paths_in_a_folder_are_told_apart() {
    let folder = Folder::new();
    folder.write("one", "a");
    folder.write("two", "a");
    let mut clock = folder.watch(&["one", "two"]);
    for name in ["two", "one"] {
        folder.write(name, "b");
        assert_eq!(clock.dues(), [folder.at(name)]);
    }
    folder.write("two", "c");
    folder.write("one", "c");
    assert_eq!(clock.dues(), [folder.at("one")]);
    // One leaves the folder that the other still needs.
    folder.remove("one");
    folder.link("one", "/dev/null");
    folder.write("tmp", "d");
    assert_eq!(clock.count(), 1);
    folder.rename("tmp", "two");
    assert_eq!(clock.dues(), [folder.at("two")]);
}

#[test]
fn the_one_that_is_there_is_acted_upon_while_another_is_gone() {
    let folder = Folder::new();
    folder.write("one", "a");
    folder.write("two", "a");
    let mut clock = folder.watch(&["one", "two"]);
    folder.remove("one");
    folder.write("two", "b");
    assert_eq!(clock.dues(), [folder.at("two")]);
    assert_eq!(clock.warnings().lines().count(), 1);
}

#[test]
fn a_file_may_be_watched_by_itself_and_in_its_folder() {
    let folder = Folder::new();
    folder.write("one", "a");
    folder.write("two", "a");
    for paths in [[".", "one"], ["one", "."]] {
        let mut clock = folder.watch(&paths);
        folder.write("two", "b");
        assert_eq!(clock.dues(), [folder.0.as_path()]);
        folder.write("one", "b");
        assert_eq!(clock.count(), 1);
        folder.write("tmp", "c");
        folder.rename("tmp", "one");
        assert_eq!(clock.count(), 1);
    }
}

#[test]
fn the_same_path_twice_is_once() {
    let folder = Folder::new();
    let mut clock = folder.watch(&["envoy.yaml", "./envoy.yaml"]);
    assert_eq!(clock.watch.watched.len(), 1);
    assert_eq!(clock.warnings().lines().count(), 1);
    folder.write("envoy.yaml", "a");
    assert_eq!(clock.count(), 1);
}

#[test]
fn what_no_longer_matters_is_no_longer_watched() {
    let folder = Folder::new();
    folder.kubelet_writes("volume", "..2026_0", "0");
    let mut clock = folder.watch(&["volume/envoy.yaml"]);
    let in_kernel = |clock: &Clock| {
        let number = clock.watch.fd().as_raw_fd();
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).expect("/proc");
        info.lines().filter(|line| line.starts_with("inotify ")).count()
    };
    let before = in_kernel(&clock);
    for version in 1..20 {
        folder.kubelet_writes("volume", &format!("..2026_{version}"), "a");
        assert_eq!(clock.count(), 1);
        assert_eq!(in_kernel(&clock), before);
    }
}

#[test]
fn jitter_is_drawn_once_and_bounded() {
    let jitter = Duration::from_secs(20);
    let mut deadlines = BTreeSet::new();
    for _ in 0..20 {
        let folder = Folder::new();
        folder.write("envoy.yaml", "a");
        let mut clock = folder.watch(&["envoy.yaml"]);
        clock.watch.jitter = jitter;
        folder.write("envoy.yaml", "b");
        clock.take_in();
        let quiet = NOW + QUIET;
        assert_eq!(clock.watch.deadline(), Some(quiet));
        assert_eq!(clock.watch.due(quiet), None);
        let drawn = clock.watch.deadline().expect("it is pending");
        assert!(quiet <= drawn && drawn < quiet + jitter, "{drawn:?}");
        deadlines.insert(drawn);
        // Changes while it waits need their quiet, and move nothing else.
        clock.now = quiet;
        folder.write("envoy.yaml", "c");
        clock.take_in();
        let due = drawn.max(quiet + QUIET);
        assert_eq!(clock.watch.deadline(), Some(due));
        clock.now = due;
        folder.write("envoy.yaml", "d");
        clock.take_in();
        assert_eq!(clock.watch.deadline(), Some(due + QUIET));
        assert_eq!(clock.watch.due(due), None);
        assert!(clock.watch.due(due + QUIET).is_some());
        assert_eq!(clock.watch.deadline(), None);
    }
    assert!(deadlines.len() > 10, "{deadlines:?}");
}

#[test]
fn a_random_time_is_below_its_limit() {
    assert_eq!(random(Duration::ZERO), Duration::ZERO);
    assert_eq!(random(Duration::from_nanos(1)), Duration::ZERO);
    let _ = random(Duration::MAX);
    let limit = Duration::from_secs(10);
    let times: Vec<_> = (0..1000).map(|_| random(limit)).collect();
    assert!(times.iter().all(|time| *time < limit));
    assert!(times.iter().any(|time| *time < limit / 10));
    assert!(times.iter().any(|time| *time > limit / 10 * 9));
}

#[test]
fn what_goes_while_the_jitter_waits_is_not_acted_upon() {
    let folder = Folder::new();
    folder.write("envoy.yaml", "a");
    let mut clock = folder.watch(&["envoy.yaml"]);
    clock.watch.jitter = Duration::from_secs(60);
    folder.write("envoy.yaml", "b");
    clock.take_in();
    clock.now = NOW + QUIET;
    assert_eq!(clock.watch.due(clock.now), None);
    folder.remove("envoy.yaml");
    assert_eq!(clock.count(), 0);
    folder.write("envoy.yaml", "c");
    assert_eq!(clock.count(), 1);
}

#[test]
fn what_is_never_quiet_is_complained_of_once() {
    let folder = Folder::new();
    folder.make("conf");
    folder.write("conf/access.log", "");
    let mut clock = folder.watch(&["conf"]);
    let mut said = Vec::new();
    for turn in 0..200 {
        clock.now = NOW + ALMOST * turn;
        folder.write("conf/access.log", "line");
        clock.take_in();
        assert_eq!(clock.watch.due(clock.now), None);
        said.extend(clock.watch.take_warnings());
    }
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("conf has kept changing for 60 s (last access.log)"), "{said:?}");
    assert_eq!(clock.count(), 1);
}

#[test]
fn pauses_of_quiet_are_no_reason_to_complain() {
    let folder = Folder::new();
    folder.write("envoy.yaml", "a");
    let mut clock = folder.watch(&["envoy.yaml"]);
    clock.watch.jitter = Duration::from_secs(3600);
    for second in 0..200 {
        clock.now = NOW + Duration::from_secs(1) * second;
        folder.write("envoy.yaml", "b");
        clock.take_in();
        clock.watch.due(clock.now + QUIET);
    }
    assert_eq!(clock.warnings(), "");
}

#[test]
fn a_folder_that_may_not_be_read_is_warned_about_once() {
    let folder = Folder::new();
    folder.make("closed");
    folder.write("closed/envoy.yaml", "a");
    let mode = |mode| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(folder.at("closed"), mode).expect("it is ours");
    };
    mode(0o311);
    let mut clock = folder.watch(&["closed/envoy.yaml"]);
    let warnings = clock.warnings();
    // Root may read everything.
    let closed = fs::read_dir(folder.at("closed")).is_err();
    assert_eq!(warnings.contains("closed, so changes there go unnoticed"), closed, "{warnings}");
    folder.write("closed/envoy.yaml", "b");
    assert_eq!(clock.count(), 1, "the file itself is watched");
    folder.rename("closed", "other");
    folder.rename("other", "closed");
    assert_eq!(clock.count(), 1);
    assert_eq!(clock.warnings(), "");
    folder.write("closed/tmp", "c");
    folder.rename("closed/tmp", "closed/envoy.yaml");
    assert_eq!(clock.count(), 1, "the old file is gone");
    folder.rename("closed/envoy.yaml", "closed/tmp");
    assert_eq!(clock.count(), 0);
    assert_eq!(clock.warnings().lines().count(), 1);
    mode(0o711);
}

/// Numbers from a seed (xorshift64*), so that a failure can be repeated.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
        usize::try_from(number).expect("32 bits") % limit
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

/// Does something to the tree through which `way/in/file` leads, or beside it. What is not
/// possible as the tree is does nothing. No link leads upwards, so that all stays in the folder.
fn disturb(folder: &Folder, numbers: &mut Numbers, content: u32) {
    const PLACES: [&str; 8] = ["way", "way/in", "way/in/file", "a", "a/in", "b/in", "b", "b/file"];
    const TARGETS: [&str; 7] = ["a", "b", "in", "file", ".", "b/in", "./a/in"];
    let one = folder.at(numbers.pick(&PLACES));
    let two = folder.at(numbers.pick(&PLACES));
    let target = PathBuf::from(numbers.pick(&TARGETS));
    let target = if numbers.below(2) == 0 { folder.0.join(target) } else { target };
    let beside = folder.at("beside");
    let _ = match numbers.below(15) {
        0..3 => fs::write(&one, content.to_string()),
        // Again and again there must be something to read.
        3..7 => {
            let file = folder.at("way/in/file");
            let made = fs::create_dir_all(folder.at("way/in"));
            made.and_then(|()| fs::write(&file, content.to_string())).or_else(|_| {
                fs::remove_file(folder.at(numbers.pick(&["way", "way/in", "way/in/file"])))
            })
        }
        7 => File::options().append(true).open(&one).and_then(|mut f| f.write_all(b"+")),
        8 | 9 => fs::write(&beside, content.to_string()).and_then(|()| fs::rename(&beside, &one)),
        10 => fs::rename(&one, &two),
        11 => fs::create_dir_all(&one),
        12 => fs::remove_file(&one).or_else(|_| fs::remove_dir_all(&one)),
        13 => symlink(target, &one),
        _ => {
            let _ = fs::remove_file(&beside);
            let made = symlink(target, &beside);
            let _ = fs::remove_file(&one);
            made.and_then(|()| fs::rename(&beside, &one))
        }
    };
}

#[test]
fn whatever_happens_new_content_is_noticed() {
    let mut acts = 0;
    for seed in 1..=60 {
        let folder = Folder::new();
        let mut numbers = Numbers(seed);
        let mut clock = folder.watch(&["way/in/file"]);
        let read = || fs::read(folder.at("way/in/file")).ok();
        let mut acted_upon = None;
        for step in 0..300 {
            disturb(&folder, &mut numbers, step);
            // Sometimes several changes are taken in at once.
            if numbers.below(3) == 0 {
                clock.take_in();
            }
            if numbers.below(3) == 0 {
                let due = clock.count() > 0;
                let now = read();
                assert!(due || now.is_none() || now == acted_upon, "seed {seed}, step {step}");
                if now.is_some() {
                    acts += usize::from(now != acted_upon);
                    acted_upon = now;
                }
            }
        }
    }
    assert!(acts > 1000, "only {acts} changes were put to the test");
}

#[test]
fn what_changes_while_we_look_is_noticed() {
    let folder = Folder::new();
    let mut clock = folder.watch(&["way/in/file"]);
    let read = || fs::read(folder.at("way/in/file")).ok();
    let mut numbers = Numbers(1);
    let mut acted_upon = None;
    for round in 0..4000 {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..numbers.below(3) {
                    disturb(&folder, &mut numbers, round);
                }
                // What takes us several looks should come while we look.
                for step in ["way", "way/in"] {
                    let _ = fs::create_dir(folder.at(step));
                }
                let _ = fs::write(folder.at("way/in/file"), round.to_string());
                over.store(true, Ordering::SeqCst);
            });
            let mut last = false;
            while !last {
                last = over.load(Ordering::SeqCst);
                if clock.count() > 0 {
                    acted_upon = read();
                }
            }
        });
        let now = read();
        assert!(now.is_none() || now == acted_upon, "{now:?}, not {acted_upon:?}");
        // Begin anew with nothing, or go on with what is there.
        if round % 4 != 0 {
            let way = folder.at("way");
            let _ = fs::remove_file(&way).or_else(|_| fs::remove_dir_all(&way));
            clock.dues();
        }
    }
}
