//! What the core does in each state upon each event: `table.md`, a page for a reviewer.
//!
//! `UPDATE_TABLE=1 cargo test --test core table` writes it anew; the difference is then part of
//! the change that is reviewed.

use std::fmt::Write;
use std::time::Duration;

use hot_restarter::exit::Exit;
use hot_restarter::signal::Signal;
use hot_restarter::supervisor::{
    Answer, Mended, Peer, Pid, Policy, Readiness, Reply, Request, Status, View,
};

use crate::story::{
    READY, STARTING, SUCCESS, Story, by_admin, checked, defaults, drains, pending, rollback,
};
use crate::words;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/core/table.md");

const HEAD: &str = "\
# State × event

What the core does in each state upon each event, in order; `[…]` is the world's answer, `(…)` a
line of the log, `× n` says how often, and \"nothing\" is nothing. Written by
`UPDATE_TABLE=1 cargo test --test core table` and compared by the test of that name.

Each state holds an orphan that epoch 0 left behind, in a group of its own. What is sent SIGKILL
dies at once unless a state says otherwise, and what is sent the stop signal takes its time. A
repair succeeds, once the processes of the failed epoch are gone. `--ready auto` and the
defaults unless a state says otherwise.
";

/// A state, and how we get there.
struct State {
    name: &'static str,
    story: Story,
}

fn state(name: &'static str, mut story: Story) -> State {
    let orphan = story.world.kernel.children().find(|child| child.is_orphan());
    if orphan.is_none() && !story.world.ledger.is_ending() {
        story.orphan_of(0, true);
    }
    story.forget();
    State { name, story }
}

/// A serving state that an orphan was added to, and then something happened.
fn after(mut story: Story, what: impl FnOnce(&mut Story)) -> Story {
    story.orphan_of(0, true);
    what(&mut story);
    story
}

fn undying(story: &mut Story) {
    story.world.kernel.processes.iter_mut().for_each(|process| process.undying = true);
}

fn serving_states() -> Vec<State> {
    let interval = || Policy { min_restart_interval: Duration::from_secs(60), ..defaults() };
    let timeout = || Policy { ready_timeout: Duration::from_secs(2), ..defaults() };
    let none = || Policy { readiness: Readiness::None, ..defaults() };
    let two = || Policy { max_epochs: 2, ..defaults() };
    let hup = |story: &mut Story| story.receive("HUP");
    vec![
        state("epoch 0 starting", Story::begin(defaults())),
        state("epoch 0 starting, a restart waits", after(Story::begin(defaults()), hup)),
        state(
            "epoch 0 starting, SIGUSR1 waits",
            after(Story::begin(defaults()), |story| story.receive("USR1")),
        ),
        state("epoch 0 ready", Story::serving(defaults(), 1)),
        state(
            "epoch 0 ready, with the terminal",
            Story::serving_with(defaults(), 1, |kernel| kernel.terminal = true),
        ),
        state("epoch 0 ready, `--ready none`", Story::serving(none(), 1)),
        state(
            "epoch 0 ready, a restart waits for --min-restart-interval",
            after(Story::serving(interval(), 1), hup),
        ),
        state(
            "epoch 0 ready, but the last look before a restart found it starting",
            after(Story::serving(defaults(), 1), |story| {
                story.looks(0, View::Starting);
                story.receive("HUP");
            }),
        ),
        state("epoch 0 ready, epoch 1 starting", after(Story::serving(defaults(), 1), hup)),
        state(
            "epoch 0 ready, epoch 1 starting with the terminal",
            after(Story::serving_with(defaults(), 1, |kernel| kernel.terminal = true), hup),
        ),
        state(
            "epoch 0 ready, epoch 1 starting, a restart waits",
            after(Story::serving(defaults(), 1), |story| {
                story.receive("HUP");
                story.receive("HUP");
            }),
        ),
        state(
            "epoch 0 ready, epoch 1 starting and late",
            after(Story::serving(timeout(), 1), |story| {
                story.receive("HUP");
                story.looks(1, View::Starting);
                story.pass(3.0);
            }),
        ),
        state("epochs 0 and 1 ready", Story::serving(defaults(), 2)),
        state(
            "epochs 0 and 1 ready, a restart waits for --max-epochs 2",
            after(Story::serving(two(), 2), hup),
        ),
        state("epochs 0, 1 and 2 ready", Story::serving(defaults(), 3)),
        state(
            "epochs 0, 1 and 2 ready, a restart waits for --max-epochs",
            after(Story::serving(defaults(), 3), hup),
        ),
    ]
}

/// Checks, probes, questions, and restarts that fail.
fn safety_states() -> Vec<State> {
    let hup = |story: &mut Story| story.receive("HUP");
    let restarting = |policy| after(Story::serving(policy, 1), hup);
    let command = Policy { readiness: Readiness::Command, ..rollback() };
    let by_server = Policy { readiness: Readiness::Http, ..by_admin() };
    let asked = |story: &mut Story| {
        story.receive("HUP");
        story.pass(0.005);
    };
    let left_behind = |story: &mut Story| {
        story.receive("HUP");
        let left = story.orphan_of(1, false);
        story.undying(left);
        story.epoch_ends(1, Status::Exited(3));
    };
    vec![
        state("--rollback: epoch 0 ready, epoch 1 starting", restarting(rollback())),
        state(
            "--rollback: epoch 0 ready, epoch 1 starting, a restart and SIGUSR1 wait",
            after(Story::serving(rollback(), 1), |story| {
                story.receive("HUP");
                story.receive("HUP");
                story.receive("USR1");
            }),
        ),
        state(
            "--rollback: epoch 0 ready, epoch 1 starting with the terminal",
            after(Story::serving_with(rollback(), 1, |kernel| kernel.terminal = true), hup),
        ),
        state(
            "--rollback: epoch 0 ready, epoch 1 has failed and does not die",
            after(Story::serving(rollback(), 1), |story| {
                story.receive("HUP");
                story.undying(story.leader(1));
                story.pass(120.0);
            }),
        ),
        state(
            "--rollback: epoch 0 ready, a process of the failed epoch 1 does not die",
            after(Story::serving(rollback(), 1), left_behind),
        ),
        state(
            "--rollback: the same, for longer than 2 s",
            after(Story::serving(rollback(), 1), |story| {
                left_behind(story);
                story.pass(3.0);
            }),
        ),
        state(
            "--rollback: the same, and a restart waits",
            after(Story::serving(rollback(), 1), |story| {
                left_behind(story);
                story.pass(3.0);
                story.receive("HUP");
            }),
        ),
        state(
            "--rollback: epoch 0 ready, the repair after epoch 1 was refused",
            after(Story::serving(rollback(), 1), |story| {
                story.world.kernel.mends = Mended::Refused("its version is unknown".into());
                story.receive("HUP");
                story.epoch_ends(1, Status::Exited(3));
            }),
        ),
        state(
            "--envoy-admin, --rollback: epoch 0 ready, the admin of epoch 1 is asked",
            after(Story::serving(by_admin(), 1), asked),
        ),
        state(
            "--ready http:, --envoy-admin, --rollback: epoch 0 ready, both are asked of epoch 1",
            after(Story::serving(by_server, 1), asked),
        ),
        state(
            "--ready exec:, --rollback: epoch 0 ready, the probe of epoch 1 runs",
            after(Story::serving(command, 1), asked),
        ),
        state("--check: epoch 0 ready, the check of epoch 1 runs", restarting(checked())),
        state(
            "--check: epoch 0 ready, the check of epoch 1 runs, another restart waits",
            after(Story::serving(checked(), 1), |story| {
                story.receive("HUP");
                story.receive("HUP");
            }),
        ),
        state(
            "--check: epoch 0 ready, the late check of epoch 1 does not die",
            after(Story::serving(checked(), 1), |story| {
                story.receive("HUP");
                story.undying(story.task());
                story.pass(30.0);
            }),
        ),
    ]
}

/// The admin of the epoch in service, which a restart that failed may have had closed.
fn doubtful_states() -> Vec<State> {
    let failed = |story: &mut Story| {
        story.receive("HUP");
        story.epoch_ends(1, Status::Exited(3));
    };
    vec![
        state(
            "--envoy-admin, --rollback: epoch 1 has failed, the admin of epoch 0 is asked",
            after(Story::serving(by_admin(), 1), failed),
        ),
        state(
            "--envoy-admin, --rollback: the same, in vain for the second time",
            after(Story::serving(by_admin(), 1), |story| {
                failed(story);
                story.answer(Peer::Admin, Answer::No);
                story.pass(1.0);
                story.answer(Peer::Admin, Answer::No);
            }),
        ),
    ]
}

fn draining_states() -> Vec<State> {
    let term = |story: &mut Story| story.receive("TERM");
    let told = |story: &mut Story| story.drains();
    vec![
        state(
            "--drain-timeout: draining, the admin of epoch 0 is asked who it is",
            after(Story::serving(drains(), 1), term),
        ),
        state(
            "--drain-timeout: draining, epoch 1 was starting",
            after(Story::serving(drains(), 1), |story| {
                story.receive("HUP");
                story.receive("TERM");
                story.pass(0.01);
            }),
        ),
        state(
            "--drain-timeout: draining, Envoy has been told, --drain-min is not over",
            after(Story::serving(drains(), 1), told),
        ),
        state(
            "--drain-timeout: draining, --drain-min is over, nothing was pending",
            after(Story::serving(drains(), 1), |story| {
                story.drains();
                story.reply(pending(0));
                story.pass(6.0);
            }),
        ),
        state(
            "--drain-timeout: draining, --drain-min is over, epochs 0 and 1 live",
            after(Story::serving(drains(), 2), |story| {
                story.drains();
                story.reply(pending(0));
                story.pass(6.0);
            }),
        ),
    ]
}

fn ending_states() -> Vec<State> {
    let term = |story: &mut Story| story.receive("TERM");
    vec![
        state("stopping, epoch 0 left", after(Story::serving(defaults(), 1), term)),
        state("stopping, epochs 0, 1 and 2 left", after(Story::serving(defaults(), 3), term)),
        state(
            "stopping, epoch 1 was starting, with the terminal",
            after(Story::serving_with(defaults(), 1, |kernel| kernel.terminal = true), |story| {
                story.receive("HUP");
                story.receive("TERM");
            }),
        ),
        state(
            "--check: stopping, epoch 0 left, the check does not die",
            after(Story::serving(checked(), 1), |story| {
                story.receive("HUP");
                story.undying(story.task());
                story.receive("TERM");
            }),
        ),
        state(
            "--rollback: stopping, epoch 0 left, the failed epoch 1 does not die",
            after(Story::serving(rollback(), 1), |story| {
                story.receive("HUP");
                story.undying(story.leader(1));
                story.pass(120.0);
                story.receive("TERM");
            }),
        ),
        state(
            "the last epoch has ended with 0, the orphan is left",
            after(Story::serving(defaults(), 1), |story| story.epoch_ends(0, SUCCESS)),
        ),
        state(
            "interrupted from the terminal, epoch 0 is left",
            after(Story::serving_with(defaults(), 2, |kernel| kernel.terminal = true), |story| {
                story.epoch_ends(1, Status::Signaled(Signal::INT));
            }),
        ),
        state(
            "epoch 0 could not be started, something inherited is left",
            Story::begin_with(defaults(), |kernel| {
                kernel.start_fails = Some(Exit::NotFound);
                kernel.inherit_child();
            }),
        ),
        state(
            "killing after --term-wait, nothing dies",
            after(Story::serving(defaults(), 2), |story| {
                undying(story);
                story.receive("TERM");
                story.pass(30.0);
            }),
        ),
        state(
            "killing after epoch 1 exited with 3, nothing dies",
            after(Story::serving(defaults(), 2), |story| {
                undying(story);
                story.epoch_ends(1, Status::Exited(3));
            }),
        ),
        state(
            "ended",
            after(Story::serving(defaults(), 1), |story| {
                story.epoch_ends(0, Status::Exited(3));
            }),
        ),
    ]
}

/// What is done upon one event.
fn row(page: &mut String, state: &State, event: &str, happen: impl FnOnce(&mut Story)) {
    let mut story = state.story.clone();
    happen(&mut story);
    let lines = story.world.story.into_iter().flatten();
    let lines: Vec<String> = lines
        .map(|line| match line.strip_prefix("log ") {
            Some(said) => format!("({said})"),
            None => line,
        })
        .collect();
    let done = if lines.is_empty() { "nothing".into() } else { folded(&lines) };
    writeln!(page, "| {event} | {done} |").expect("a string takes all");
}

/// The longest piece that is told once and counted.
const PERIOD: usize = 4;

/// The lines in a row, what is repeated told once.
fn folded(lines: &[String]) -> String {
    let mut told = Vec::new();
    let mut rest = lines;
    while !rest.is_empty() {
        let repeats = |period: usize| {
            let piece = &rest[..period.min(rest.len())];
            rest.chunks_exact(piece.len()).take_while(|chunk| *chunk == piece).count()
        };
        // Of two that cover as much the shorter one.
        let periods = (1..=PERIOD.min(rest.len())).filter(|period| repeats(*period) > 1);
        let period = periods.rev().max_by_key(|period| period * repeats(*period)).unwrap_or(1);
        let times = repeats(period);
        let piece = if period == 1 { rest[0].clone() } else { folded(&rest[..period]) };
        told.push(match (period, times) {
            (_, 1) => piece,
            (1, times) => format!("{piece} × {times}"),
            (_, times) => format!("{{{piece}}} × {times}"),
        });
        rest = &rest[period * times..];
    }
    told.join(", ")
}

fn end_rows(page: &mut String, state: &State, who: &str, pid: Pid) {
    let statuses =
        [SUCCESS, Status::Exited(3), Status::Signaled(Signal::USR1), Status::Signaled(Signal::INT)];
    for status in statuses {
        let event = format!("{who} {}", words::status(status));
        row(page, state, &event, |story| story.ends(pid, status));
    }
}

fn task_rows(page: &mut String, state: &State) {
    let Some(task) = state.story.world.kernel.tasks().next() else {
        return;
    };
    let pid = task.pid;
    for status in [SUCCESS, Status::Exited(3)] {
        row(page, state, &format!("the task {}", words::status(status)), |story| {
            story.ends(pid, status);
        });
    }
    row(page, state, "the task exits with 0, SIGTERM beside it", |story| {
        story.together(&["TERM"], &[(pid, SUCCESS)]);
    });
    row(page, state, "the task exits with 0, SIGHUP beside it", |story| {
        story.together(&["HUP"], &[(pid, SUCCESS)]);
    });
    if !state.story.world.ledger.is_ending() {
        row(page, state, "the task exits with 0, and the newest epoch looks starting", |story| {
            let newest = story.world.ledger.newest().expect("it lives");
            story.looks(newest, View::Starting);
            story.ends(pid, SUCCESS);
        });
    }
}

fn answer_rows(page: &mut String, state: &State) {
    for question in &state.story.world.kernel.questions {
        let who = words::peer_name(question.peer);
        for (answer, view) in [
            (Answer::No, View::Silent),
            (STARTING, View::Starting),
            (READY, View::Starting),
            (READY, View::Ready),
        ] {
            let (says, looks) = (words::answer_name(answer), words::view_name(view));
            let event = format!("its {who} says {says}, and it looks {looks}");
            row(page, state, &event, |story| {
                story.looks(question.epoch, view);
                story.answer(question.peer, answer);
            });
        }
    }
}

fn reply_rows(page: &mut String, state: &State) {
    let Some(request) = state.story.world.kernel.request else {
        return;
    };
    let replies = match request {
        Request::FailHealthCheck | Request::DrainListeners => [Reply::Done, Reply::Failed].to_vec(),
        Request::CountPending => vec![pending(0), pending(2), Reply::Failed],
    };
    for reply in replies {
        let event = format!("the admin replies {}", words::reply_name(reply));
        row(page, state, &event, |story| story.reply(reply));
    }
}

fn section(page: &mut String, state: &State) {
    let name = state.name;
    write!(page, "\n## {name}\n\n| event | what is done |\n| --- | --- |\n").expect("a string");
    for signal in ["TERM", "INT", "HUP", "USR1", "QUIT", "USR2", "TTOU"] {
        row(page, state, &format!("SIG{signal}"), |story| story.receive(signal));
    }
    let world = &state.story.world;
    let epochs: Vec<(u32, Pid)> = world.supervisor.leaders().collect();
    let newest = epochs.last().copied();
    let orphan = world.kernel.children().find(|child| child.is_orphan());
    if !world.ledger.is_ending() {
        row(page, state, "SIGHUP, and it cannot be executed", |story| {
            story.world.kernel.start_fails = Some(Exit::CannotExecute);
            story.receive("HUP");
        });
        row(page, state, "a watched path changes", Story::change);
    }
    task_rows(page, state);
    answer_rows(page, state);
    reply_rows(page, state);
    if let Some((number, pid)) = newest {
        end_rows(page, state, &format!("epoch {number}"), pid);
        let end = [(pid, Status::Exited(3))];
        row(page, state, &format!("epoch {number} exits with 3, SIGTERM beside it"), |story| {
            story.together(&["TERM"], &end);
        });
        row(page, state, &format!("epoch {number} is stopped by Ctrl-Z"), |story| {
            story.suspend(number);
        });
        row(page, state, &format!("epoch {number} exits with 0, SIGHUP beside it"), |story| {
            story.together(&["HUP"], &[(pid, SUCCESS)]);
        });
    }
    if let Some((number, pid)) = epochs.first().copied().filter(|oldest| Some(*oldest) != newest) {
        end_rows(page, state, &format!("epoch {number}"), pid);
    }
    if let Some(orphan) = orphan {
        let pid = orphan.pid;
        row(page, state, "the orphan exits with 3", |story| {
            story.ends(pid, Status::Exited(3));
        });
    }
    if let Some((number, _)) = newest.filter(|_| !world.ledger.is_ending()) {
        row(page, state, "another orphan", |story| {
            story.orphan_of(number, true);
            story.world.settle();
        });
        if world.supervisor.next_deadline().is_some() {
            for view in [View::Silent, View::Starting, View::Ready, View::Unreadable] {
                let event = format!("next deadline, and it looks {}", words::view_name(view));
                row(page, state, &event, |story| {
                    story.looks(number, view);
                    story.world.pass_to_deadline();
                });
            }
        }
    } else if !world.ledger.has_ended() {
        row(page, state, "another orphan, and 100 ms", |story| {
            if let Some((number, _)) = newest {
                story.orphan_of(number, true);
            }
            story.pass(0.1);
        });
        row(page, state, "everything ends with 0", |story| {
            let children: Vec<_> =
                story.world.kernel.children().map(|child| (child.pid, SUCCESS)).collect();
            story.together(&[], &children);
        });
    }
    row(page, state, "a second passes", |story| story.pass(1.0));
    row(page, state, "a minute passes", |story| story.pass(60.0));
}

#[test]
fn table() {
    let mut page = HEAD.to_owned();
    for state in serving_states()
        .iter()
        .chain(&safety_states())
        .chain(&doubtful_states())
        .chain(&draining_states())
        .chain(&ending_states())
    {
        section(&mut page, state);
    }
    if std::env::var_os("UPDATE_TABLE").is_some() {
        std::fs::write(PAGE, &page).expect("the table can be written");
    }
    let file = std::fs::read_to_string(PAGE).expect("the table can be read");
    let mut section = "";
    for (is, was) in page.lines().zip(file.lines()) {
        if is.starts_with('#') {
            section = is;
        }
        assert_eq!(is, was, "{section}: differs from {PAGE}; UPDATE_TABLE=1 writes it anew");
    }
    assert_eq!(page.lines().count(), file.lines().count(), "{PAGE} has lines of its own");
}
