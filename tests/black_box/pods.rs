//! Pods of docker/kubernetes, as they are written there, by podman: they become ready by their
//! own probe, are hot restarted by a change of their `ConfigMap`, refuse a bad one, and end within
//! their grace. tests/kubernetes/pod.py says what podman needs in other words.

mod clients;
mod play;

use std::fs;

use libtest_mimic::Trial;
use support::docker::images;
use support::envoy::{Process, free_port};
use support::podman::image;

use self::play::{Envoy, Play};
use crate::needs::{Needs, trial};

/// What each Envoy serves in the path of the root.
const ROOT: &str = "/";
/// The path that Envoy answers by itself.
const HEALTH: &str = "/healthz";
/// Where the fleet's Envoys have their admin.
const ADMIN: u16 = 9901;
/// What the sidecar's application serves, by which its own probe finds it ready.
const OF_THE_APPLICATION: &str = "/ready";
/// Fewer than the application's server lets wait to be accepted.
const KEPT: usize = 6;

/// The trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("pods::watched", Needs::Pods, watched),
        trial("pods::distroless", Needs::Pods, distroless),
        trial("pods::epoch_that_waits", Needs::Pods, epoch_that_waits),
        trial("pods::staged", Needs::Pods, staged),
        trial("pods::sidecar", Needs::Pods, sidecar),
        trial("pods::sidecar_without_a_shell", Needs::Pods, sidecar_without_a_shell),
        trial("pods::sidecar_without_its_hook", Needs::Pods, sidecar_without_its_hook),
        trial("pods::daemonset", Needs::Pods, daemonset),
        trial("pods::shared_pid", Needs::Pods, shared_pid),
        trial("pods::two_envoys", Needs::Pods, two_envoys),
    ]
}

fn watched() {
    let play = Play::begin(&["watched"], &[]);
    is_confined(&play);
    changes(&play, ROOT);
    play.end(|play| play.drains(ROOT));
}

/// With the other image, and the check that it has itself. Its older epochs stay for a minute.
fn distroless() {
    let image = image(&images().distroless, "hot-restarter/envoy-distroless");
    let check = "envoy --mode validate -l warning -c /etc/envoy/envoy.yaml";
    let check = format!("--variable=HOT_RESTARTER_CHECK={check}");
    let epochs = "--variable=HOT_RESTARTER_MAX_EPOCHS=3";
    let play = Play::begin(&["watched"], &["--image", &image, &check, epochs]);
    is_confined(&play);
    changes(&play, ROOT);
    play.end(|play| play.drains(ROOT));
}

/// A new epoch waits for its control plane without a bound: the admin says that nobody is ready,
/// and the pod, which serves as ever, is found ready all the same.
fn epoch_that_waits() {
    let soon = "--variable=HOT_RESTARTER_DRAIN_TIMEOUT=7";
    let play = Play::begin(&["watched"], &[soon]);
    let envoy = &play.envoys[0];
    let load = play.load(envoy, ROOT);
    envoy.have_wait();
    play.await_log(envoy, "started epoch=1");
    play.await_answer(ADMIN, "/ready", 503);
    for _ in 0..10 {
        play.await_ready(envoy);
    }
    println!("an epoch that waits: {} requests", load.stop_without_failure());
    let logs = play.container(envoy).logs();
    assert!(!logs.contains("ready epoch=1"), "{logs}");
    assert_eq!(play.container(envoy).stop(), 0, "{}", play.container(envoy).logs());
}

/// Its configuration never changes; a hot restart is still there for who asks.
fn staged() {
    let play = Play::begin(&["staged"], &[]);
    let envoy = &play.envoys[0];
    is_confined(&play);
    let load = play.load(envoy, ROOT);
    reload(&play, envoy, 1);
    play.await_ready(envoy);
    // Through a pidfd to each Envoy that has a handler.
    let reopened = play.container(envoy).send(&["reopen"]);
    assert_eq!(reopened.code, 0, "{reopened:?}");
    play.await_log(envoy, "reopened");
    println!("staged: {} requests", load.stop_without_failure());
    play.end(|play| play.drains(ROOT));
}

/// At its end the clients of kept connections have gone before the application has.
fn sidecar() {
    let play = Play::begin(&["sidecar"], &[]);
    let envoy = &play.envoys[0];
    is_confined(&play);
    changes(&play, OF_THE_APPLICATION);
    play.await_answer(envoy.probe, OF_THE_APPLICATION, 200);

    let kept = play.keep(envoy, OF_THE_APPLICATION, KEPT);
    play.end_of_application(true);
    let ends = kept.ends();
    assert!(ends.iter().all(Result::is_ok), "{ends:#?}");
    println!(
        "a sidecar: {} requests on kept connections",
        ends.into_iter().flatten().sum::<usize>()
    );
    play.await_answer(envoy.probe, HEALTH, 503);
    play.await_answer(envoy.probe, OF_THE_APPLICATION, 503);
    play.end(|play| play.await_log(&play.envoys[0], "drained"));
}

/// With a hook that takes no shell: the whole stop, with a drain as the fleet's, begins with the
/// pod's end, and is over soon after the application's.
fn sidecar_without_a_shell() {
    let numbers = ["DRAIN_MIN=6", "DRAIN_TIMEOUT=25", "TERM_WAIT=30"];
    let numbers = numbers.map(|number| format!("--variable=HOT_RESTARTER_{number}"));
    let hook = ["--hook=/hot-restarter --send stop"];
    let options: Vec<&str> = numbers.iter().map(String::as_str).chain(hook).collect();
    let play = Play::begin(&["sidecar"], &options);
    let envoy = &play.envoys[0];
    let kept = play.keep(envoy, OF_THE_APPLICATION, KEPT);
    play.end_of_application(true);
    let ends = kept.ends();
    assert!(ends.iter().all(Result::is_ok), "{ends:#?}");
    play.await_log(envoy, "drained");
    assert_eq!(play.container(envoy).wait(), 0, "{}", play.container(envoy).logs());
    play.end(|_| ());
}

/// Why it has one: nobody would tell them, and the application would end under each.
fn sidecar_without_its_hook() {
    let play = Play::begin(&["sidecar"], &[]);
    let envoy = &play.envoys[0];
    let kept = play.keep(envoy, OF_THE_APPLICATION, KEPT);
    play.end_of_application(false);
    play.await_ready(envoy);
    play.end(|_| ());
    let ends = kept.ends();
    assert!(ends.iter().all(Result::is_err), "{ends:#?}");
}

/// On the machine's own network, where the manifest's ports may be taken.
fn daemonset() {
    let ports = [10_000, 10_001].map(|port: u16| format!("--port={port}={}", free_port()));
    let base_id = format!("--variable=ENVOY_BASE_ID={}", free_port());
    let play = Play::begin(&["daemonset"], &[&ports[0], &ports[1], &base_id]);
    is_confined(&play);
    changes(&play, ROOT);
    // The load balancer outside asks the port that serves.
    play.await_answer(play.envoys[0].clients, HEALTH, 200);
    play.end(|play| {
        play.drains(ROOT);
        play.await_answer(play.envoys[0].clients, HEALTH, 503);
    });
}

/// The pause process is PID 1; a neighbour may signal us by our name, and a stop is none of its
/// business.
fn shared_pid() {
    let script = "trap 'kill -HUP $(pidof hot-restarter)' USR1; while :; do sleep 1; done";
    let play = Play::begin(&["shared-pid"], &["--neighbour", script]);
    let envoy = &play.envoys[0];
    is_confined(&play);
    let restarter = play.restarter(envoy);
    assert_ne!(pid_within(restarter), 1, "the pause process is PID 1");
    let neighbour = play.pod.container("neighbour");
    assert_eq!(pid_namespace(restarter), pid_namespace(neighbour.init()));

    neighbour.kill("USR1");
    play.await_log(envoy, "ready epoch=1");
    changes_from(&play, 2, ROOT);

    let before = neighbour.init();
    assert_eq!(play.container(envoy).stop(), 0, "{}", play.container(envoy).logs());
    assert_eq!(
        (neighbour.init(), neighbour.inspect("{{.State.Running}}")),
        (before, "true".into())
    );
}

/// They share a network and `/dev/shm`, and neither finds the other.
fn two_envoys() {
    let play = Play::begin(&["sidecar", "watched"], &[]);
    let [first, second] = &play.envoys[..] else { panic!("there are two") };
    let loads = [play.load(first, OF_THE_APPLICATION), play.load(second, ROOT)];
    let others = play.restarter(second).descendants();
    first.change(1);
    play.await_log(first, "ready epoch=1");
    assert_eq!(play.restarter(second).descendants(), others, "the other one is not touched");

    // Both at once, when the older epoch of the first has left.
    first.change(2);
    second.change(2);
    play.await_log(first, "ready epoch=2");
    play.await_log(second, "ready epoch=1");
    // Each has a socket of its own, in the one /dev/shm.
    reload(&play, first, 3);
    reload(&play, second, 2);
    for load in loads {
        println!("two Envoys: {} requests", load.stop_without_failure());
    }
    play.end(|_| ());
}

/// By the client in its container, as `kubectl exec` runs it.
fn reload(play: &Play, envoy: &Envoy, epoch: u32) {
    let told = play.container(envoy).send(&["reload", "--wait"]);
    let words = format!("epoch {epoch} ready after ");
    assert!(told.code == 0 && told.out.starts_with(&words), "{told:?}");
    play.await_log(envoy, &format!("ready epoch={epoch}"));
}

fn changes(play: &Play, path: &'static str) {
    changes_from(play, 1, path);
}

/// The `ConfigMap` changes for the good, for the bad and for the good again, under load.
fn changes_from(play: &Play, epoch: u32, path: &'static str) {
    let envoy = &play.envoys[0];
    let load = play.load(envoy, path);
    envoy.change(epoch);
    play.await_log(envoy, &format!("ready epoch={epoch}"));
    play.await_ready(envoy);

    let before = play.restarter(envoy).children();
    envoy.spoil();
    play.await_log(envoy, &format!("restart-refused epoch={}", epoch + 1));
    play.await_ready(envoy);
    let after = play.restarter(envoy).children();
    assert_eq!(before.last(), after.last(), "the newest epoch goes on");

    envoy.change(epoch + 1);
    play.await_log(envoy, &format!("ready epoch={}", epoch + 1));
    play.await_ready(envoy);
    println!("{}: {} requests", envoy.name, load.stop_without_failure());
}

/// What the security context says is so for hot-restarter and for Envoy: a user, no capability
/// and no way to one, the runtime's seccomp profile, a root that cannot be written to.
fn is_confined(play: &Play) {
    for envoy in &play.envoys {
        let restarter = play.restarter(envoy);
        let epochs = restarter.children();
        assert!(!epochs.is_empty(), "{}: no epoch", envoy.name);
        for process in epochs.into_iter().chain([restarter]) {
            for (field, value) in [
                ("Uid", "101\t101\t101\t101"),
                ("Gid", "101\t101\t101\t101"),
                ("CapEff", "0000000000000000"),
                ("CapBnd", "0000000000000000"),
                ("NoNewPrivs", "1"),
                ("Seccomp", "2"),
            ] {
                assert_eq!(status(process, field), value, "{field} of {process:?}");
            }
            let mounts = fs::read_to_string(format!("/proc/{}/mounts", process.0)).expect("root");
            let root = mounts.lines().find(|line| line.split(' ').nth(1) == Some("/"));
            let options = root.and_then(|line| line.split(' ').nth(3)).expect("there is a root");
            assert!(options.split(',').any(|option| option == "ro"), "{options}");
        }
    }
}

/// A field of `/proc/PID/status`.
fn status(process: Process, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", process.0)).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(":\t"));
    line.unwrap_or_else(|| panic!("no {field} in {status}")).to_owned()
}

/// Its number in its own PID namespace.
fn pid_within(process: Process) -> i32 {
    let numbers = status(process, "NSpid");
    numbers.rsplit('\t').next().and_then(|pid| pid.parse().ok()).expect("a number")
}

fn pid_namespace(process: Process) -> String {
    let link = fs::read_link(format!("/proc/{}/ns/pid", process.0)).expect("we are root");
    link.display().to_string()
}
