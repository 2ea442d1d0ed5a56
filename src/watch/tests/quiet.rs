//! When a change is acted upon.

use super::*;

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
    clock.watch.take_in(NOW).expect("inotify can be read");
    assert!(clock.readable());
    assert_eq!(clock.count(), 1);
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
