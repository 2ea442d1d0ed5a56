//! Folders, and several paths at once.

use super::*;

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
