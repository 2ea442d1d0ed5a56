//! Every sequence of events up to a depth.
//!
//! A breadth-first search, so that what it finds is as short as can be. Two worlds with the same
//! fingerprint have the same future, and the judge's notes are part of the fingerprint, so that
//! leaving out the second of them hides nothing.

use std::collections::HashSet;
use std::time::Duration;

use hot_restarter::exit::Exit;
use hot_restarter::signal::Signal;
use hot_restarter::supervisor::{Pid, Policy, Reach, Readiness, Status, View};

use crate::kernel::{Kernel, OURSELVES};
use crate::story::{SUCCESS, defaults};
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
    /// The target can no longer be executed, or can be again.
    StartsFail(bool),
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
    for child in children().filter(|child| child.ended.is_none()) {
        if child.epoch.is_some() {
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
        } else {
            moves.push(Move::Ends(child.pid, Status::Exited(3), None));
        }
    }
    let newest = world.ledger.newest().and_then(|newest| kernel.leader(newest));
    if let Some(newest) = newest
        && world.policy.readiness == Readiness::Auto
        && !world.ledger.is_ending()
    {
        let views = [View::Silent, View::Starting, View::Ready, View::Unreadable];
        moves.extend(views.into_iter().filter(|view| *view != newest.view).map(Move::Looks));
    }
    if !world.ledger.is_ending() {
        moves.push(Move::StartsFail(kernel.start_fails.is_none()));
    }
    if world.supervisor.next_deadline().is_some() {
        moves.extend([Move::Deadline, Move::Second]);
    }
    moves
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
        Move::StartsFail(fail) => {
            world.kernel.start_fails = fail.then_some(Exit::CannotExecute);
        }
        Move::Deadline => return world.pass_to_deadline(),
        Move::Second => return world.pass(Duration::from_secs(1)),
    }
    world.settle();
    world.kernel.born.clear();
    world.kernel.received.clear();
}

/// A world, and how we came there.
struct Node {
    world: World,
    path: Vec<Move>,
}

/// Searches to a depth, from a world with so many epochs; how many different worlds there are.
fn explore(policy: Policy, epochs: u32, depth: usize, prepare: impl FnOnce(&mut Kernel)) -> usize {
    let mut world = World::new(policy);
    prepare(&mut world.kernel);
    world.begin();
    for _ in 1..epochs {
        // Whatever readiness and the interval need.
        world.pass(LONG);
        world.signal(Signal::HUP);
        world.settle();
    }
    assert_eq!(world.violation, None, "at the beginning");
    assert_eq!(world.supervisor.leaders().count(), epochs as usize, "at the beginning");
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
    println!("{} states from {epochs} epochs", seen.len());
    seen.len()
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

/// Fewer states than this, and the search has lost its reach.
const REACH: usize = 10_000;

#[test]
fn everything_from_epoch_0_that_says_when_it_is_ready() {
    let states = explore(quick(), 1, 5, |kernel| kernel.first_view = View::Ready);
    assert!(states > REACH, "{states}");
}

#[test]
fn everything_from_epoch_0_that_says_nothing() {
    let states = explore(quick(), 1, 5, |_| {});
    assert!(states > REACH, "{states}");
}

#[test]
fn everything_from_two_epochs() {
    let states = explore(quick(), 2, 4, |kernel| kernel.first_view = View::Ready);
    assert!(states > REACH, "{states}");
}

#[test]
fn everything_from_three_epochs() {
    let states = explore(quick(), 3, 4, |kernel| kernel.first_view = View::Ready);
    assert!(states > REACH, "{states}");
}

#[test]
fn everything_with_readiness_none_and_a_terminal() {
    let policy = Policy { readiness: Readiness::None, ..quick() };
    let states = explore(policy, 1, 5, |kernel| kernel.terminal = true);
    assert!(states > REACH / 2, "{states}");
}

#[test]
fn everything_with_two_epochs_at_most_and_an_interval() {
    let min_restart_interval = Duration::from_millis(1500);
    let policy = Policy { max_epochs: 2, min_restart_interval, ..quick() };
    let states = explore(policy, 1, 5, |kernel| {
        kernel.first_view = View::Ready;
        kernel.newest_zombie_first = true;
        kernel.terminal = true;
    });
    assert!(states > REACH, "{states}");
}

#[test]
fn everything_without_proc() {
    let policy = Policy { readiness: Readiness::None, ..quick() };
    let states = explore(policy, 1, 5, |kernel| {
        kernel.lists_orphans = false;
        kernel.reach = Reach::Unknown;
    });
    assert!(states > REACH / 2, "{states}");
}
