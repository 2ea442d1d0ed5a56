//! `docker exec CONTAINER /hot-restarter --send …`: the client in the containers that need it, whose
//! images have no shell, no `kill` and no library.

use libtest_mimic::Trial;
use support::control::Answer;
use support::docker::{Container, Run, images};
use support::envoy::{SCRIPT, Stage, may_signal_containers};
use support::load::Load;
use support::probe;

use super::Play;
use crate::envoy::life::{Life, Place, Way};
use crate::envoy::under_load;
use crate::needs::{Needs, trial};

/// Where the socket is of this user, who cannot write to `/run`.
const OF_A_USER: &str = "/dev/shm/hot-restarter-12345.sock";

const RELOAD: [&str; 2] = ["reload", "--wait"];

pub(super) fn trials() -> Vec<Trial> {
    let timed = if may_signal_containers() { Needs::Docker } else { Needs::Root };
    let places: [(&str, &[&str], &str); 2] = [
        ("as_root", &[], "/dev/shm/hot-restarter-0.sock"),
        ("confined", &["--user=12345:12345", "--read-only", "--cap-drop=ALL"], OF_A_USER),
    ];
    let mut trials = Vec::new();
    for (name, options, socket) in places {
        let run = move || every_command(options, socket);
        trials.push(trial(format!("docker::control::{name}"), Needs::Docker, run));
    }
    trials.push(trial("docker::control::other_users", Needs::Docker, other_users));
    trials.push(under_load(trial("docker::control::reloads", timed, reloads)));
    trials.push(under_load(trial("docker::control::reloads_that_fail", timed, failures)));
    trials
}

/// An image that holds nothing but us, over a target that says which signals it gets.
fn alone(options: &[&str]) -> Container {
    let run = Run::of(&images().restarter).options(options).mount(&probe(), "/probe:ro");
    let container = run.arguments(&["/probe", "catch=USR1", "wait"]).start();
    container.await_log("ready epoch=0");
    container
}

fn every_command(options: &[&str], socket: &str) {
    let container = alone(options);
    let status = container.send(&["status"]);
    assert!(status.code == 0 && status.out.contains(": serving\n"), "{status:?}");
    assert!(status.out.lines().any(|line| line.starts_with("0 ")), "{status:?}");
    let json = container.send(&["status", "--json"]);
    assert!(json.code == 0 && json.out.contains("\"phase\":\"serving\""), "{json:?}");
    // It is where it is said to be.
    assert_eq!(container.send(&["health", "--control", socket]), done("healthy\n"));
    is_done(&container.send(&RELOAD), "epoch 1 ready after ");
    assert_eq!(container.send(&["reload"]), done("epoch 2 is starting\n"));
    container.await_log("ready epoch=2");
    is_done(&container.send(&["reopen"]), "");
    container.await_log("signal 10 ");
    let root = container.send_by(&["--user=0"], &["health", "--control", socket]);
    if options.contains(&"--cap-drop=ALL") {
        // The mode of the file is not for such a root to pass over.
        is_unheard(&root, "without CAP_DAC_OVERRIDE");
    } else {
        assert_eq!(root, done("healthy\n"));
    }
    let unknown = container.send(&["restart"]);
    assert_eq!((unknown.code, unknown.out.as_str()), (2, ""), "{unknown:?}");
    ends(&container);
}

/// Waits for a stop that it asks for. The client is in the container, whose end is its own: it has a
/// moment to say what came of it, which on a busy machine may not be enough.
fn ends(container: &Container) {
    let told = container.send(&["stop", "--wait"]);
    let well = done("stopped with exit code 0: everything has ended\n");
    assert!(told == well || told.code == 128 + libc::SIGKILL, "{told:?}");
    assert_eq!(container.wait(), 0, "{}", container.logs());
}

/// Root may, but must say whose restarter is meant; everybody else may not.
fn other_users() {
    let container = alone(&["--user=12345:12345", "--read-only"]);
    let unsaid = container.send_by(&["--user=0"], &["reload"]);
    is_unheard(&unsaid, &format!("; try --control {OF_A_USER}\n"));
    let said = container.send_by(&["--user=0"], &["reload", "--wait", "--control", OF_A_USER]);
    is_done(&said, "epoch 1 ready after ");
    container.await_log(" of user 0\n");
    let variable = format!("--env=HOT_RESTARTER_CONTROL={OF_A_USER}");
    assert_eq!(container.send_by(&["--user=0", &variable], &["health"]), done("healthy\n"));

    let other = ["--user=54321:54321"];
    is_unheard(&container.send_by(&other, &["stop"]), "54321.sock is not there;");
    let named = container.send_by(&other, &["stop", "--control", OF_A_USER]);
    is_unheard(&named, "is for root and its restarter's own user only");
    // The group is nobody's business.
    let grouped = ["--user=54321:12345"];
    is_unheard(&container.send_by(&grouped, &["stop", "--control", OF_A_USER]), "own user only");
    assert_eq!(container.send(&["health"]), done("healthy\n"));
    ends(&container);
}

/// As often as it is said to be done it is, at no request's cost.
fn reloads() {
    let play = Play::begin_with((1, 2), |run| run);
    for epoch in 1..=5 {
        is_done(&play.container.send(&RELOAD), &format!("epoch {epoch} ready after "));
        assert_eq!(play.container.send(&["health"]), done("healthy\n"));
        play.stage.await_live(epoch);
    }
    println!("five reloads: {}", play.load.stop_without_failure());
    ends(&play.container);
}

/// One that the check refuses, and one that is taken back.
fn failures() {
    let stage = Stage::in_container((1, 2));
    let container = Run::envoy(&stage).start();
    let restarter = container.init();
    let mut life = Life::begin(stage, restarter, Place::Container(container), SCRIPT, Load::modest);
    life.stage.put(&life.stage.configuration().with_an_unknown_field());
    is_not_done(&life.send(&RELOAD), "refused: the check ");
    life.fail_when(Way::TakenPort, |life| {
        let answer = life.send(&RELOAD);
        is_not_done(&answer, "epoch 1 failed: ");
        assert!(answer.err.contains("; epoch 0 still serves"), "{answer:?}");
    });
    life.put_good();
    is_done(&life.send(&RELOAD), "epoch 1 ready after ");
    life.await_next();
    let status = life.send(&["status"]);
    assert!(status.out.contains("restarts: 1 done, 1 refused, 1 failed"), "{status:?}");
    println!("reloads that fail: {}", life.end());
}

fn done(out: &str) -> Answer {
    Answer { code: 0, out: out.to_owned(), err: String::new() }
}

/// It says so in one line, which begins like this.
fn is_done(answer: &Answer, begins: &str) {
    let Answer { code, out, err } = answer;
    assert!(*code == 0 && out.starts_with(begins) && err.is_empty(), "{begins}: {answer:?}");
    assert_eq!(out.lines().count(), 1, "{answer:?}");
}

fn is_not_done(answer: &Answer, begins: &str) {
    let Answer { code, out, err } = answer;
    assert!(*code == 1 && out.is_empty() && err.starts_with(begins), "{begins}: {answer:?}");
}

/// No restarter has taken it.
fn is_unheard(answer: &Answer, why: &str) {
    let Answer { code, out, err } = answer;
    assert!(*code == 3 && out.is_empty() && err.contains(why), "{why}: {answer:?}");
}
