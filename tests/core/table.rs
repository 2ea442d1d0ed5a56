//! What the core does in each state upon each event: `table.md`, a page for a reviewer.
//!
//! `UPDATE_TABLE=1 cargo test --test core table` writes it anew; the difference is then part of
//! the change that is reviewed.

use std::fmt::Write;
use std::time::Duration;

use hot_restarter::exit::Exit;
use hot_restarter::signal::Signal;
use hot_restarter::supervisor::{Pid, Policy, Readiness, Status, View};

use crate::story::{SUCCESS, Story, defaults};
use crate::words;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/core/table.md");

const HEAD: &str = "\
# State × event

What the core does in each state upon each event, in order; `[…]` is the world's answer, `(…)` a
line of the log, and \"nothing\" is nothing. Written by `UPDATE_TABLE=1 cargo test --test core
table` and compared by the test of that name.

Each state holds an orphan that epoch 0 left behind, in a group of its own. What is sent SIGKILL
dies at once, and what is sent the stop signal takes its time. `--ready auto` and the defaults
unless a state says otherwise.
";

/// A state, and how we get there.
struct State {
    name: &'static str,
    story: Story,
}

fn state(name: &'static str, mut story: Story) -> State {
    let orphan = story.world.kernel.children().find(|child| child.epoch.is_none());
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
    let mut lines: Vec<(String, usize)> = Vec::new();
    for line in story.world.story.into_iter().flatten() {
        let line = match line.strip_prefix("log ") {
            Some(said) => format!("({said})"),
            None => line,
        };
        match lines.last_mut() {
            Some((last, times)) if *last == line => *times += 1,
            _ => lines.push((line, 1)),
        }
    }
    let lines: Vec<String> = lines
        .into_iter()
        .map(|(line, times)| if times == 1 { line } else { format!("{line} × {times}") })
        .collect();
    let done = if lines.is_empty() { "nothing".into() } else { lines.join(", ") };
    writeln!(page, "| {event} | {done} |").expect("a string takes all");
}

fn end_rows(page: &mut String, state: &State, who: &str, pid: Pid) {
    let statuses =
        [SUCCESS, Status::Exited(3), Status::Signaled(Signal::USR1), Status::Signaled(Signal::INT)];
    for status in statuses {
        let event = format!("{who} {}", words::status(status));
        row(page, state, &event, |story| story.ends(pid, status));
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
    let orphan = world.kernel.children().find(|child| child.epoch.is_none());
    if !world.ledger.is_ending() {
        row(page, state, "SIGHUP, and it cannot be executed", |story| {
            story.world.kernel.start_fails = Some(Exit::CannotExecute);
            story.receive("HUP");
        });
    }
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
    for state in serving_states().iter().chain(&ending_states()) {
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
