//! Paths that go, come, and lead through others.

use super::*;

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
