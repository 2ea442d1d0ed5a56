//! Restarts that fail under `--rollback`: three times in the same way, and then a good one, which
//! has the number that they had.

use std::fs;

use libc::{SIGCONT, SIGHUP, SIGKILL, SIGSEGV, SIGSTOP};
use libtest_mimic::Trial;
use support::envoy::{SCRIPT, Setup, Stage};
use support::eventually;
use support::load::Load;

use super::life::{Life, Place, Way};
use super::{Random, times, under_load};
use crate::needs::{Needs, oom_counter, trial};

/// How long an epoch that hangs is given.
const READY_TIMEOUT: [&str; 2] = ["--ready-timeout", "2.5"];

const WAYS: [(&str, Way); 10] = [
    ("the_script_exits_with_0", Way::Exits(0)),
    ("the_script_exits_with_3", Way::Exits(3)),
    ("unknown_field", Way::UnknownField),
    ("a_port_is_taken", Way::TakenPort),
    ("killed_when_it_attaches", Way::SignalledEarly(SIGKILL)),
    ("killed_while_it_waits", Way::SignalledLate(SIGKILL)),
    ("segfault", Way::SignalledLate(SIGSEGV)),
    ("stopped_when_it_attaches", Way::SignalledEarly(SIGSTOP)),
    ("the_script_sleeps", Way::Sleeps),
    ("xds_never_answers", Way::Waits),
];

pub(super) fn trials() -> Vec<Trial> {
    // The longest first, so that the others run beside it.
    let name = "envoy::failed::every_second_restart";
    let mut trials = vec![trial(name, Needs::Namespace, every_second_restart)];
    for (name, way) in WAYS {
        let run = move || thrice(way, Stage::in_namespace((1, 2)), false);
        trials.push(trial(format!("envoy::failed::{name}"), Needs::Namespace, run));
        // Whose admin answers is given the time that it needs; see `waiting`.
        if way != Way::Waits {
            let run = move || thrice(way, Stage::in_namespace((1, 2)), true);
            trials.push(trial(format!("envoy::failed::{name}_with_admin"), Needs::Namespace, run));
        }
    }
    let mut more = |name, run: fn()| trials.push(trial(name, Needs::Namespace, run));
    more("envoy::failed::admin_on_a_unix_socket", admin_on_a_unix_socket);
    more("envoy::failed::while_the_oldest_drains", while_the_oldest_drains);
    more("envoy::failed::the_survivor_dies_meanwhile", the_survivor_dies_meanwhile);
    more("envoy::failed::the_survivor_dies_as_well", the_survivor_dies_as_well);
    let name = "envoy::failed::both_run_out_of_memory";
    trials.push(trial(name, Needs::OomCounter, both_run_out_of_memory));
    trials.into_iter().map(under_load).collect()
}

/// With or without `--envoy-admin`.
fn thrice(way: Way, stage: Stage, admin: bool) {
    let admin_option = ["--envoy-admin", &stage.admin()].map(str::to_owned);
    let mut options = vec!["--rollback"];
    if way.hangs() {
        options.extend(READY_TIMEOUT);
    }
    if admin {
        options.extend(admin_option.iter().map(String::as_str));
    }
    let mut life = Life::bare_on(stage, &options, SCRIPT);
    let took: Vec<_> = (0..3).map(|_| life.fail(way).as_millis()).collect();
    life.succeed();
    assert_eq!(life.said("not-repaired"), 0, "{}", life.log());
    let requests = life.end();
    println!("{way:?}, admin {admin}: the older epoch goes on after {took:?} ms; {requests}");
}

/// A socket in the file system, which a new epoch binds anew.
fn admin_on_a_unix_socket() {
    for way in [Way::TakenPort, Way::SignalledLate(SIGKILL)] {
        thrice(way, Stage::in_namespace_with_admin_on_a_unix_socket((1, 2)), true);
    }
}

/// Epoch 0, which drains, is none of epoch 2's business.
fn while_the_oldest_drains() {
    let mut life = Life::bare_on(Stage::in_namespace((20, 30)), &["--rollback"], SCRIPT);
    life.put_good();
    life.restarter.signal(SIGHUP);
    life.await_log("ready epoch=1");
    let fail = |life: &Life, failures| {
        life.restarter.signal(SIGHUP);
        life.await_said("restart-failed", failures);
    };
    life.stage.put_script("exit 3\n");
    fail(&life, 1);
    assert_eq!(life.restarter.children().len(), 2, "{}", life.log());
    life.stage.put_script(SCRIPT);
    life.stage.put(&life.stage.configuration().with_an_unknown_field());
    fail(&life, 2);
    life.put_good();
    life.restarter.signal(SIGHUP);
    life.await_log("ready epoch=2");
    life.stage.await_live(2);
    assert_eq!(life.stop(), 0);
}

/// Nobody serves any more when the only ready epoch is gone: everything ends with its status.
fn the_survivor_dies_meanwhile() {
    for hung in [false, true] {
        let life = Life::bare(&["--rollback"]);
        let before = life.restarter.descendants();
        life.stage.put(&life.stage.configuration().waiting_for(&life.xds));
        life.restarter.signal(SIGHUP);
        life.xds.await_asked(0);
        let new = life.await_attached(&before);
        if hung {
            new.signal(SIGSTOP);
        }
        before[0].signal(SIGKILL);
        assert_eq!(life.wait(), 128 + SIGKILL);
    }
}

/// When both die at once, of too little memory perhaps, the new one has not taken over: its end is a
/// restart that failed, and the status of the one in service is ours. A shell that is suspended makes
/// the moment between the end of that Envoy and the end of its epoch last.
fn the_survivor_dies_as_well() {
    let stage = Stage::in_namespace((1, 2));
    let script = "start_envoy.sh \"$@\"\nexit $?\n";
    let life = Life::bare_on(stage, &["--rollback"], script);
    let before = life.restarter.descendants();
    let [shell, envoy] = before[..] else { panic!("a shell and its Envoy: {before:?}") };
    life.stage.put_script("exec start_envoy.sh \"$@\"\n");
    life.stage.put(&life.stage.configuration().waiting_for(&life.xds));
    life.restarter.signal(SIGHUP);
    life.xds.await_asked(0);
    let new = life.await_attached(&before);
    shell.signal(SIGSTOP);
    envoy.signal(SIGSEGV);
    eventually("the Envoy in service is gone", || {
        if envoy.has_attached() { Err(life.log()) } else { Ok(()) }
    });
    new.signal(SIGKILL);
    life.await_said("restart-failed", 1);
    shell.signal(SIGCONT);
    assert_eq!(life.wait(), 128 + SIGSEGV);
}

/// The kernel often kills a second process before the first has given back its memory. The end of
/// either tells of it. (A counter of our own says what a kernel would.)
fn both_run_out_of_memory() {
    let stage = Stage::in_namespace((1, 2));
    let counter = oom_counter().expect("it was looked for");
    let told = stage.log_folder().join("kills");
    fs::write(&told, "oom_kill 0\n").expect("ours");
    let prelude = format!("mount --bind {} {} &&", told.display(), counter.display());
    let bare = Setup::new(&stage).options(&["--rollback"]).scripted().prelude(&prelude).start();
    let life = Life::begin(stage, bare.restarter, Place::Bare(bare), SCRIPT, Load::modest);
    let before = life.restarter.descendants();
    life.stage.put(&life.stage.configuration().waiting_for(&life.xds));
    life.restarter.signal(SIGHUP);
    life.xds.await_asked(0);
    let new = life.await_attached(&before);
    fs::write(&told, "oom_kill 2\n").expect("ours");
    new.signal(SIGKILL);
    life.await_log("struck in this cgroup, 2×), so this restart did not happen");
    before[0].signal(SIGKILL);
    life.await_log("struck in this cgroup, 1×); killing everything else");
    assert_eq!(life.wait(), 128 + SIGKILL);
}

/// The kinds of failures that take no time by themselves.
const QUICK: [Way; 6] = [
    Way::Exits(0),
    Way::Exits(3),
    Way::UnknownField,
    Way::TakenPort,
    Way::SignalledEarly(SIGKILL),
    Way::SignalledLate(SIGSEGV),
];

/// Every second restart fails, nobody knows how, and the service never notices.
fn every_second_restart() {
    let restarts = 2 * times();
    let seed = u64::from(std::process::id());
    println!("every second of {restarts} restarts fails, seed {seed}");
    let stage = Stage::in_namespace((1, 2));
    let options = ["--rollback", "--max-epochs", "2"];
    let bare = Setup::new(&stage).options(&options).scripted().start();
    let mut life = Life::begin(stage, bare.restarter, Place::Bare(bare), SCRIPT, Load::heavy);
    let mut random = Random(seed);
    let mut took = Vec::new();
    for turn in 0..restarts {
        if turn % 2 == 0 {
            let way = random.choose(&QUICK);
            took.push((life.fail(way), format!("{way:?}")));
        } else {
            life.succeed();
        }
    }
    took.sort();
    let (median, longest) = (took[took.len() / 2].0.as_millis(), &took[took.len() - 1]);
    let repaired = life.said("repaired");
    let epoch = life.epoch;
    let requests = life.end();
    println!(
        "{restarts} restarts, the last is epoch {epoch}, {repaired} flags repaired: {requests}"
    );
    println!("the older epoch goes on alone after {median} ms; the longest: {longest:?}");
}
