//! Among processes that are none of ours, in a PID namespace whose PID 1 is another: whatever
//! happens, no signal of ours reaches them. Two witnesses: strace, which sees each signal that we
//! send, and the neighbours, who catch all that can be caught.
//!
//! Neighbours are children of that PID 1, in our own session and in our own group; orphans that
//! were handed to it; and crowds that come and go all the time, with numbers and groups that
//! processes of ours have just had: where the kernel lets a PID namespace have a limit of its
//! own, there are only a few hundred numbers.

mod trace;

use std::fs;

use libtest_mimic::Trial;
use support::journal::Journal;
use support::scene::{Gate, Restarter, Scene, quoted};
use support::{eventually, namespace, processes};

use crate::needs::{Needs, trial};
use trace::Sent;

/// The trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("neighbours::stop", Needs::Strace, stop),
        trial("neighbours::unexpected_exit", Needs::Strace, unexpected_exit),
        trial("neighbours::term_wait_is_over", Needs::Strace, term_wait_is_over),
        trial("neighbours::failed_restart", Needs::Strace, failed_restart),
    ]
}

/// How many numbers the namespace has; the kernel allows no fewer than 301.
const NUMBERS: u32 = 450;
/// The first kernel in which that limit is a namespace's own.
const LIMIT_OF_ITS_OWN: (u32, u32) = (6, 14);

/// Where neighbours write.
const NEIGHBOURS: &str = "journal-of-neighbours";

/// How often SIGUSR1 is sent.
const REOPENED: usize = 5;

/// Those that stay: an orphan of their own session and one of ours, a child and its parent.
const STAYING: &str = "catch=all default=CHLD fork [ fork [ wait ] ] \
                       fork [ fork [ setsid wait ] ] reap fork [ wait ] wait";
/// How many of those there are.
const STAY: usize = 4;
/// Those that come and go: a child, a leader of a session and a group, and orphans of either kind.
/// Whoever forks them tells of an end by a signal.
const CROWD: &str = "catch=all default=CHLD say=crowd repeat=100000000 [ repeat=20 [ \
                     fork [ sleep=30 ] fork [ setsid sleep=30 ] \
                     fork [ fork [ sleep=30 ] fork [ setsid sleep=30 ] ] ] reap ]";

/// What every epoch has beside its leader: a helper and a daemon, and processes that come and go,
/// as children and as orphans.
const BUSY: &str = "fork [ MANNERS wait ] fork [ fork [ setsid MANNERS wait ] ] \
                    fork [ MANNERS repeat=100000000 [ \
                    fork [ sleep=20 ] fork [ fork [ setsid sleep=20 ] ] reap ] ]";

/// What processes of ours do about signals: they end when they are asked to, or they do not.
const POLITE: &str = "catch=all default=CHLD exit-on=TERM:0";
const STUBBORN: &str = "catch=all default=CHLD";

/// A restarter among neighbours.
struct Street {
    scene: Scene,
    restarter: Restarter,
    /// The restarter's number in the namespace.
    own: i32,
    neighbours: Journal,
    gate: Gate,
}

impl Street {
    /// Every epoch is busy, and its leader does these steps.
    fn with(options: &[&str], manners: &str, leader: &str) -> Self {
        let scene = Scene::new();
        let gate = scene.gate();
        let neighbours = Journal::at(scene.path(NEIGHBOURS));
        let neighbour = |steps: &str| quoted(&scene.probe_to(NEIGHBOURS, steps));
        let limit = if has_limit_of_its_own() {
            format!("echo {NUMBERS} > /proc/sys/kernel/pid_max || exit; ")
        } else {
            String::new()
        };
        let script = format!(
            "{limit}{} & {} & {} {} \"$@\"; echo $? > {}; {}",
            neighbour(STAYING),
            neighbour(CROWD),
            trace::COMMAND,
            scene.place("trace"),
            scene.place("exit-code"),
            neighbour(&format!("await={gate}")),
        );
        let wrapper = [namespace::wrapper(), &["sh", "-c", &script, "sh"]].concat();
        let target = scene.probe(&format!("{BUSY} MANNERS {leader}").replace("MANNERS", manners));
        let restarter = scene.wrapped_restarter(&wrapper, options, &target).start();
        neighbours.await_ready(STAY);
        neighbours.await_said("crowd");
        scene.journal().await_ready(3);
        let own = *processes::numbers(restarter.pid()).last().expect("it lives");
        assert_ne!(own, 1, "another is PID 1");
        Self { scene, restarter, own, neighbours, gate }
    }

    /// A restart, and many times SIGUSR1, for which we look at who belongs to an epoch.
    fn live(&self) {
        self.restarter.signal(libc::SIGHUP);
        self.restarter.says("started epoch=1");
        self.scene.journal().await_ready(6);
        for times in 1..=REOPENED {
            self.restarter.signal(libc::SIGUSR1);
            self.restarter.says_times("reopened epoch=0", times);
            self.restarter.says_times("reopened epoch=1", times);
        }
    }

    /// Waits for our end with this code, and hears both witnesses; what we have sent.
    fn end(self, code: i32) -> Sent {
        let exit_code = eventually("the restarter has ended", || {
            let text = fs::read_to_string(self.scene.path("exit-code")).unwrap_or_default();
            text.trim().parse::<i32>().map_err(|_| self.restarter.log())
        });
        assert_eq!(exit_code, code, "{}", self.restarter.log());
        let entries = self.neighbours.entries().into_iter();
        let noticed: Vec<_> =
            entries.filter(|entry| ["signal", "killed"].contains(&entry.word.as_str())).collect();
        assert!(noticed.is_empty(), "neighbours had signals: {noticed:#?}");
        let living = self.scene.processes();
        let number = |pid: i32| processes::numbers(pid).last().copied();
        let living: Vec<i32> = living.into_iter().filter_map(number).collect();
        for neighbour in self.neighbours.writers("ready") {
            assert!(living.contains(&neighbour), "{neighbour} is not among {living:?}");
        }
        self.gate.open();
        trace::verify(&self.scene.place("trace"), self.own)
    }
}

/// Whether a PID namespace may have fewer numbers than the machine has.
fn has_limit_of_its_own() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version >= LIMIT_OF_ITS_OWN
}

fn stop() {
    let street = Street::with(&["--ready", "none"], POLITE, "wait");
    street.live();
    street.restarter.signal(libc::SIGTERM);
    let sent = street.end(0);
    assert!(sent.groups >= 4, "SIGTERM and SIGCONT to each group: {sent:?}");
    assert!(sent.children >= 2, "SIGTERM to each daemon: {sent:?}");
    assert!(sent.held >= 3 * REOPENED, "SIGUSR1 to all of an epoch: {sent:?}");
}

/// Everything is killed at once.
fn unexpected_exit() {
    let street = Street::with(&["--ready", "none"], POLITE, "epoch=1 [ exit-on=USR2:42 ] wait");
    street.live();
    street.restarter.signal(libc::SIGUSR2);
    let sent = street.end(42);
    assert!(sent.groups >= 2, "SIGKILL to each group: {sent:?}");
    assert!(sent.children >= 2, "SIGKILL to each daemon: {sent:?}");
}

fn term_wait_is_over() {
    let options = ["--ready", "none", "--term-wait", "0.5"];
    let street = Street::with(&options, STUBBORN, "wait");
    street.live();
    street.restarter.signal(libc::SIGTERM);
    let sent = street.end(1);
    assert!(sent.groups >= 6, "SIGTERM, SIGCONT and SIGKILL to each group: {sent:?}");
    assert!(sent.children >= 4, "SIGTERM and SIGKILL to each daemon: {sent:?}");
}

/// What is left of a new epoch that has failed is killed one by one, where it is in no group of
/// ours.
fn failed_restart() {
    let scene_ready = "--ready=exec:/bin/sh -c 'test \"$RESTART_EPOCH\" = 0'";
    let options = ["--rollback", scene_ready, "--ready-timeout", "0.5"];
    let street = Street::with(&options, POLITE, "fork [ setsid wait ] wait");
    street.restarter.says("ready epoch=0");
    for times in 1..=3 {
        street.restarter.signal(libc::SIGHUP);
        street.restarter.says_times("restart-failed", times);
    }
    street.restarter.signal(libc::SIGTERM);
    let sent = street.end(0);
    assert!(sent.held >= 3, "SIGKILL to who has strayed from the group: {sent:?}");
}
