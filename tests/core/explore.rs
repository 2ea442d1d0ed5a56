//! Every sequence of events up to a depth.
//!
//! A breadth-first search, so that what it finds is as short as can be. Two worlds with the same
//! fingerprint have the same future, and the judge's notes are part of the fingerprint, so that
//! leaving out the second of them hides nothing.

use std::collections::HashSet;
use std::iter;
use std::time::Duration;

use hot_restarter::exit::Exit;
use hot_restarter::signal::Signal;
use hot_restarter::supervisor::{
    Action, Answer, Command, DrainTime, Event, Mended, Notice, Pid, Policy, Reach, Readiness,
    Reply, Request, Status, StopReason, View, What,
};

use crate::kernel::{Kernel, OURSELVES, Question, Role, Says};
use crate::story::{READY, STARTING, SUCCESS, counted, defaults};
use crate::words;
use crate::world::World;

/// More than term-wait and the wait for what was killed, in the policies below.
const LONG: Duration = Duration::from_secs(3);

/// What the world can do to us in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Move {
    /// A signal reaches us.
    Signal(Signal),
    /// One of our children ends, and perhaps a signal reaches us in the same moment.
    Ends(Pid, Status, Option<Signal>),
    /// The newest epoch looks like this from now on.
    Looks(View),
    /// An epoch hands us an orphan, in its own group or in one of its own.
    Orphans { leader: Pid, own_group: bool },
    /// SIGKILL does not end a process any more.
    Undying(Pid),
    /// The target can no longer be executed, or can be again.
    StartsFail(bool),
    /// Checks and probes can no longer be run, or can be again.
    RunsFail(bool),
    /// A server answers.
    Answers(Question, Answer),
    /// The admin replies to what it was asked for.
    Replies(Request, Reply),
    /// A watched path changes.
    Changes,
    /// The next repair comes to something else.
    Mends(&'static str),
    /// The clock goes on to the next deadline.
    Deadline,
    /// A second passes.
    Second,
}

/// The ends that differ to the contract.
fn ends() -> [Status; 4] {
    let signaled = [Signal::USR1, Signal::INT].map(Status::Signaled);
    [SUCCESS, Status::Exited(3), signaled[0], signaled[1]]
}

/// One signal of each class, and those that stop or restart.
fn signals() -> [Signal; 5] {
    let by_name = |name: &str| name.parse().expect("a signal");
    [Signal::TERM, Signal::HUP, Signal::USR1, by_name("QUIT"), by_name("USR2")]
}

fn moves(world: &World) -> Vec<Move> {
    let mut moves: Vec<Move> = signals().map(Move::Signal).to_vec();
    let kernel = &world.kernel;
    let children = || kernel.processes.iter().filter(|child| child.parent == OURSELVES);
    for child in children().filter(|child| child.is_alive()) {
        match child.role {
            Role::Epoch(_) => {
                moves.extend(ends().map(|status| Move::Ends(child.pid, status, None)));
                for beside in [Signal::TERM, Signal::HUP] {
                    moves.push(Move::Ends(child.pid, SUCCESS, Some(beside)));
                    moves.push(Move::Ends(child.pid, Status::Exited(3), Some(beside)));
                }
                if kernel.processes.len() < 5 {
                    for own_group in [false, true] {
                        moves.push(Move::Orphans { leader: child.pid, own_group });
                    }
                }
            }
            Role::Task(_) => {
                for beside in [None, Some(Signal::TERM), Some(Signal::HUP)] {
                    moves.push(Move::Ends(child.pid, SUCCESS, beside));
                    moves.push(Move::Ends(child.pid, Status::Exited(3), beside));
                }
                if kernel.processes.len() < 5 {
                    moves.push(Move::Orphans { leader: child.pid, own_group: false });
                }
            }
            Role::Other => moves.push(Move::Ends(child.pid, Status::Exited(3), None)),
        }
    }
    let newest = world.ledger.newest().and_then(|newest| kernel.leader(newest));
    if let Some(newest) = newest
        && world.policy.readiness != Readiness::None
        && world.ledger.finds_out()
    {
        let views = [View::Silent, View::Starting, View::Ready, View::Unreadable];
        moves.extend(views.into_iter().filter(|view| *view != newest.view).map(Move::Looks));
    }
    for question in &kernel.questions {
        moves.extend(answers().map(|answer| Move::Answers(*question, answer)));
    }
    if let Some(request) = kernel.request {
        let replies = replies(request).into_iter();
        moves.extend(replies.map(|reply| Move::Replies(request, reply)));
    }
    if !world.ledger.is_ending() {
        moves.push(Move::StartsFail(kernel.start_fails.is_none()));
        moves.extend(safety_moves(world));
    }
    if world.supervisor.next_deadline().is_some() {
        moves.extend([Move::Deadline, Move::Second]);
    }
    moves
}

/// What matters to those alone who want checks, probes or rollback.
fn safety_moves(world: &World) -> Vec<Move> {
    let Policy { rollback, check_timeout, readiness, .. } = &world.policy;
    let kernel = &world.kernel;
    let mut moves = Vec::new();
    if check_timeout.is_some() {
        moves.push(Move::Changes);
    }
    if check_timeout.is_some() || *readiness == Readiness::Command {
        moves.push(Move::RunsFail(!kernel.run_fails));
    }
    if *rollback {
        moves
            .extend(MENDS.into_iter().filter(|name| mended(name) != kernel.mends).map(Move::Mends));
    }
    if *rollback || check_timeout.is_some() {
        let mortal =
            kernel.processes.iter().filter(|process| process.is_alive() && !process.undying);
        let first = mortal.filter(|process| process.epoch() != Some(0)).map(|process| process.pid);
        moves.extend(first.map(Move::Undying));
    }
    moves
}

/// What a repair may come to.
const MENDS: [&str; 4] = ["clean", "repaired", "served", "refused"];

fn mended(name: &str) -> Mended {
    match name {
        "clean" => Mended::Clean,
        "repaired" => Mended::Repaired,
        "served" => Mended::Served,
        why => Mended::Refused(why.into()),
    }
}

fn answers() -> [Answer; 3] {
    [Answer::No, STARTING, READY]
}

fn replies(request: Request) -> Vec<Reply> {
    match request {
        Request::FailHealthCheck | Request::DrainListeners => {
            vec![Reply::Done, Reply::Failed, counted(0, None)]
        }
        Request::CountPending => {
            vec![
                counted(0, None),
                counted(0, Some(3)),
                counted(0, Some(8)),
                counted(1, Some(8)),
                Reply::Failed,
            ]
        }
    }
}

fn make(world: &mut World, step: Move) {
    match step {
        Move::Signal(signal) => world.signal(signal),
        Move::Ends(pid, status, beside) => {
            world.end(pid, status);
            if let Some(signal) = beside {
                world.signal(signal);
            }
        }
        Move::Looks(view) => {
            let newest = world.ledger.newest().and_then(|newest| world.kernel.leader(newest));
            let leader = newest.expect("there is a newest epoch").pid;
            world.kernel.process_mut(leader).expect("it has a leader").view = view;
        }
        Move::Orphans { leader, own_group } => {
            let parent = world.kernel.fork(leader, false);
            world.kernel.fork(parent, own_group);
            world.end(parent, SUCCESS);
        }
        Move::Undying(pid) => {
            world.kernel.process_mut(pid).expect("it lives").undying = true;
        }
        Move::StartsFail(fail) => {
            world.kernel.start_fails = fail.then_some(Exit::CannotExecute);
        }
        Move::RunsFail(fail) => world.kernel.run_fails = fail,
        Move::Answers(question, answer) => world.kernel.answer(question, answer),
        Move::Replies(request, reply) => world.kernel.reply(request, reply),
        Move::Changes => world.change(),
        Move::Mends(name) => world.kernel.mends = mended(name),
        Move::Deadline => world.pass_to_deadline(),
        Move::Second => world.pass(Duration::from_secs(1)),
    }
    world.settle();
    forget(world);
}

/// Nobody reads these here, and worlds that differ in nothing else are the same.
fn forget(world: &mut World) {
    world.kernel.born.clear();
    world.kernel.received.clear();
    world.kernel.asked.clear();
    world.kernel.requested.clear();
}

/// A world, and how we came there.
struct Node {
    world: World,
    path: Vec<Move>,
}

/// Where a search begins.
struct Start {
    policy: Policy,
    epochs: u32,
    kernel: fn(&mut Kernel),
    /// What has happened then.
    then: fn(&mut World),
}

impl Default for Start {
    fn default() -> Self {
        Self { policy: quick(), epochs: 1, kernel: |_| {}, then: |_| {} }
    }
}

impl Start {
    fn world(self) -> World {
        let mut world = World::new(self.policy);
        (self.kernel)(&mut world.kernel);
        world.kernel.says = Says { probe: Some(READY), admin: Some(READY) };
        world.begin();
        for _ in 1..self.epochs {
            // Whatever readiness and the interval need.
            world.pass(LONG);
            hup(&mut world);
            let check = world.kernel.tasks().next().map(|check| check.pid);
            if let Some(check) = check {
                world.end(check, SUCCESS);
                world.settle();
            }
        }
        world.kernel.says = Says::default();
        (self.then)(&mut world);
        forget(&mut world);
        assert_eq!(world.violation, None, "at the beginning");
        world
    }
}

fn hup(world: &mut World) {
    world.signal(Signal::HUP);
    world.settle();
}

/// Epoch 0 is ready, and another restart is asked for.
fn restart(world: &mut World) {
    world.kernel.says = Says { probe: Some(READY), admin: Some(READY) };
    world.pass(LONG);
    world.kernel.says = Says::default();
    hup(world);
}

/// Searches to a depth; how many different worlds there are.
fn explore(start: Start, depth: usize) -> usize {
    let world = start.world();
    commands_are_signals(&world, &[]);
    let mut seen = HashSet::from([world.fingerprint()]);
    let mut frontier = vec![Node { world, path: Vec::new() }];
    for level in 1..=depth {
        let mut next = Vec::new();
        for Node { world, path } in frontier {
            for step in moves(&world) {
                let mut after = world.clone();
                make(&mut after, step);
                let path = [&path[..], &[step]].concat();
                assert_eq!(after.violation, None, "after {path:?}");
                if after.ledger.has_ended() || !seen.insert(after.fingerprint()) {
                    continue;
                }
                commands_are_signals(&after, &path);
                if after.ledger.is_ending() {
                    ends_in_time(&after, &path);
                }
                if level < depth {
                    next.push(Node { world: after, path });
                }
            }
        }
        frontier = next;
    }
    println!("{} states", seen.len());
    seen.len()
}

/// "`hot-restarter --send reload|reopen|stop`" does what the signal does, in the words of a client.
fn commands_are_signals(world: &World, path: &[Move]) {
    let upon = |event| {
        let mut supervisor = world.supervisor.clone();
        supervisor.handle(world.kernel.now, event);
        let actions: Vec<Action> = iter::from_fn(|| supervisor.next_action()).collect();
        // No answer differs either, if what it comes to is the same.
        (actions, supervisor)
    };
    for command in [Command::Reload, Command::Reopen, Command::Stop] {
        let signal = words::signal_of(command);
        let (mut actions, state) = upon(Event::Signal(signal));
        for action in &mut actions {
            if command == Command::Stop
                && let Action::Log(Notice { what, .. }) = action
                && let What::Stopping { reason, .. } | What::AlreadyStopping { reason, .. } = what
            {
                *reason = StopReason::Command;
            }
        }
        let as_signal = (actions, state);
        assert_eq!(upon(Event::Command(command)), as_signal, "{command:?} after {path:?}");
    }
}

/// A stop always ends, if nothing more happens than that time passes.
fn ends_in_time(world: &World, path: &[Move]) {
    let mut world = world.clone();
    world.pass(LONG);
    assert_eq!(world.violation, None, "in the end, after {path:?}");
    assert!(world.ledger.has_ended(), "a stop without an end, after {path:?}");
}

fn quick() -> Policy {
    Policy { term_wait: Duration::from_millis(250), ..defaults() }
}

/// A new epoch that fails, or is not ready after 1.5 s, is a restart that failed.
fn with_rollback() -> Policy {
    let ready_timeout = Duration::from_millis(1500);
    Policy { rollback: true, ready_timeout, ..quick() }
}

fn with_check() -> Policy {
    Policy { check_timeout: Some(Duration::from_millis(500)), ..quick() }
}

fn announces(kernel: &mut Kernel) {
    kernel.first_view = View::Ready;
}

/// By its admin, and a stop drains for 0.2 s at least and 0.7 s at most.
fn with_drain() -> Policy {
    let drain = DrainTime { timeout: Duration::from_millis(700), min: Duration::from_millis(200) };
    let term_wait = Duration::from_millis(900);
    let readiness = Readiness::Admin;
    Policy { drain: Some(drain), term_wait, readiness, admin: true, ..with_rollback() }
}

/// Fewer states than this, and the search has lost its reach.
const REACH: usize = 10_000;

#[test]
fn everything_from_epoch_0_that_says_when_it_is_ready() {
    let states = explore(Start { kernel: announces, ..Start::default() }, 5);
    assert!(states > REACH, "{states}");
}

#[test]
fn everything_from_epoch_0_that_says_nothing() {
    let states = explore(Start::default(), 5);
    assert!(states > REACH, "{states}");
}

#[test]
fn everything_from_two_epochs() {
    let states = explore(Start { epochs: 2, kernel: announces, ..Start::default() }, 4);
    assert!(states > REACH, "{states}");
}

#[test]
fn everything_from_three_epochs() {
    let states = explore(Start { epochs: 3, kernel: announces, ..Start::default() }, 4);
    assert!(states > REACH, "{states}");
}

#[test]
fn everything_with_readiness_none_and_a_terminal() {
    let policy = Policy { readiness: Readiness::None, ..quick() };
    let kernel = |kernel: &mut Kernel| kernel.terminal = true;
    let states = explore(Start { policy, kernel, ..Start::default() }, 5);
    assert!(states > REACH / 2, "{states}");
}

#[test]
fn everything_with_two_epochs_at_most_and_an_interval() {
    let min_restart_interval = Duration::from_millis(1500);
    let policy = Policy { max_epochs: 2, min_restart_interval, ..quick() };
    let kernel = |kernel: &mut Kernel| {
        kernel.first_view = View::Ready;
        kernel.newest_zombie_first = true;
        kernel.terminal = true;
    };
    let states = explore(Start { policy, kernel, ..Start::default() }, 5);
    assert!(states > REACH, "{states}");
}

#[test]
fn everything_without_proc() {
    let policy = Policy { readiness: Readiness::None, ..quick() };
    let kernel = |kernel: &mut Kernel| {
        kernel.lists_orphans = false;
        kernel.reach = Reach::Unknown;
    };
    let states = explore(Start { policy, kernel, ..Start::default() }, 5);
    assert!(states > REACH / 2, "{states}");
}

#[test]
fn everything_with_rollback_while_an_epoch_starts() {
    let kernel = |kernel: &mut Kernel| {
        kernel.first_view = View::Starting;
        kernel.terminal = true;
    };
    let then = |world: &mut World| {
        let leader = world.kernel.leader(0).expect("it lives").pid;
        world.kernel.process_mut(leader).expect("it lives").view = View::Ready;
        restart(world);
    };
    let states = explore(Start { policy: with_rollback(), kernel, then, ..Start::default() }, 4);
    assert!(states > REACH, "{states}");
}

#[test]
fn everything_with_rollback_while_the_newest_of_three_starts() {
    let kernel = |kernel: &mut Kernel| kernel.reuses_pids = true;
    let policy = with_rollback();
    let states = explore(Start { policy, kernel, epochs: 2, then: restart }, 4);
    assert!(states > REACH, "{states}");
}

#[test]
fn everything_with_rollback_while_a_failed_epoch_dies() {
    let then = |world: &mut World| {
        restart(world);
        let leader = world.kernel.leader(1).expect("it lives").pid;
        world.kernel.process_mut(leader).expect("it lives").undying = true;
        world.kernel.process_mut(leader).expect("it lives").view = View::Starting;
        world.pass(LONG);
    };
    let states = explore(Start { policy: with_rollback(), then, ..Start::default() }, 4);
    assert!(states > REACH, "{states}");
}

#[test]
fn everything_with_rollback_while_a_repair_is_busy() {
    let kernel = |kernel: &mut Kernel| kernel.reuses_pids = true;
    let then = |world: &mut World| {
        restart(world);
        let leader = world.kernel.leader(1).expect("it lives").pid;
        let left = world.kernel.fork(leader, false);
        world.kernel.process_mut(left).expect("it lives").undying = true;
        world.end(leader, Status::Exited(3));
        world.settle();
    };
    let policy = with_rollback();
    let states = explore(Start { policy, kernel, then, ..Start::default() }, 4);
    assert!(states > REACH / 2, "{states}");
}

#[test]
fn everything_with_rollback_and_an_admin() {
    let policy = Policy { readiness: Readiness::Admin, admin: true, ..with_rollback() };
    let states = explore(Start { policy, then: restart, ..Start::default() }, 4);
    assert!(states > REACH, "{states}");
}

#[test]
fn everything_with_rollback_and_an_admin_beside_a_server() {
    let policy = Policy { readiness: Readiness::Http, admin: true, ..with_rollback() };
    let states = explore(Start { policy, then: restart, ..Start::default() }, 4);
    assert!(states > REACH, "{states}");
}

#[test]
fn everything_with_a_probe_and_a_check() {
    let policy = Policy { readiness: Readiness::Command, ..with_check() };
    let states = explore(Start { policy, ..Start::default() }, 4);
    assert!(states > REACH / 2, "{states}");
}

#[test]
fn everything_while_a_check_runs() {
    let states = explore(Start { policy: with_check(), then: restart, ..Start::default() }, 4);
    assert!(states > REACH, "{states}");
}

#[test]
fn everything_with_a_check_an_interval_and_two_epochs_at_most() {
    let min_restart_interval = Duration::from_millis(1500);
    let policy = Policy { max_epochs: 2, min_restart_interval, ..with_check() };
    let states = explore(Start { policy, then: restart, kernel: announces, epochs: 2 }, 4);
    assert!(states > REACH / 2, "{states}");
}

#[test]
fn everything_with_a_drain_from_its_beginning() {
    let then = |world: &mut World| {
        restart(world);
        world.signal(Signal::TERM);
        world.settle();
    };
    let states = explore(Start { policy: with_drain(), then, ..Start::default() }, 5);
    assert!(states > REACH, "{states}");
}

#[test]
fn everything_with_a_drain_of_two_epochs() {
    let kernel = |kernel: &mut Kernel| kernel.terminal = true;
    let then = |world: &mut World| {
        world.kernel.says = Says { probe: Some(READY), admin: Some(READY) };
        world.pass(LONG);
        world.kernel.says = Says::default();
        world.signal(Signal::TERM);
        world.settle();
    };
    let states = explore(Start { policy: with_drain(), epochs: 2, kernel, then }, 6);
    assert!(states > REACH, "{states}");
}

#[test]
fn everything_with_a_drain_that_any_probe_may_come_before() {
    for readiness in [Readiness::None, Readiness::Command, Readiness::Http] {
        let rollback = readiness != Readiness::None;
        let policy = Policy { readiness, rollback, ..with_drain() };
        let states = explore(Start { policy, then: restart, ..Start::default() }, 4);
        assert!(states > REACH / 5, "{states}");
    }
}
