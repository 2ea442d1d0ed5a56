//! An event in an arrangement.

use support::eventually;
use support::journal::Journal;
use support::scene::{Gate, Scene, holds};

use super::arrangements::{Arrangement, Running};
use super::table::{Act, Event};

/// The signals of the table.
const NUMBERS: [(&str, i32); 5] = [
    ("TERM", libc::SIGTERM),
    ("CONT", libc::SIGCONT),
    ("USR1", libc::SIGUSR1),
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
];

/// Has an event happen in an arrangement, and compares what comes of it with the table.
pub(super) fn cell(arrangement: &Arrangement, event: &Event) {
    let scene = Scene::new();
    let gate = scene.gate();
    let options = options(&scene, &gate, event);
    let target = scene.probe(&steps(&gate, event.target));
    let mut running = (arrangement.start)(&scene, &options, &target);
    let journal = scene.journal();
    let first = event.processes.iter().filter(|(name, _)| name.ends_with('0'));
    for (name, _) in first {
        begun(&journal, name, running.as_ref());
    }
    for act in event.acts {
        perform(*act, running.as_ref(), &journal, &gate);
    }
    let code = running.code();
    let log = running.log();
    assert_eq!(code, event.code, "{log}");
    let last = format!("exiting…exit code {}: {}", event.code, event.why);
    assert!(log.lines().last().is_some_and(|line| line.ends_with(event.why)), "{log}");
    assert!(log.lines().any(|line| holds(line, &last)), "{last}: {log}");
    assert!(!log.contains(" survivor "), "{log}");
    scene.assert_empty();
    for (name, expected) in event.processes {
        assert_eq!(caught(&journal, name), *expected, "{name}: {:#?}", journal.entries());
    }
    let begun = journal.writers("say").len();
    assert_eq!(begun, event.processes.len(), "nobody else: {:#?}", journal.entries());
    running.is_all_well();
}

fn options(scene: &Scene, gate: &Gate, event: &Event) -> Vec<String> {
    // Epoch 0 is ready at once, every other when the gate is open.
    let ready = scene.beside(&format!("epoch=1 [ await={gate} ]"));
    let words = event.options.split_whitespace();
    words.map(|word| word.replace("READY", &ready)).collect()
}

/// `NAME!` is a process that catches all and ends by TERM; `NAME*` tells the name of one that has
/// seen to its signals itself; GATE is the gate.
fn steps(gate: &Gate, target: &str) -> String {
    let words = target.split_whitespace().map(|word| {
        if let Some(name) = word.strip_suffix('!') {
            format!("catch=all exit-on=TERM:0 {} wait", tells(name))
        } else if let Some(name) = word.strip_suffix('*') {
            tells(name)
        } else {
            word.replace("GATE", &gate.to_string())
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn tells(name: &str) -> String {
    let told = (0..3).map(|epoch| format!("epoch={epoch} [ say={name}-{epoch} ]"));
    told.collect::<Vec<_>>().join(" ")
}

fn perform(act: Act, running: &dyn Running, journal: &Journal, gate: &Gate) {
    match act {
        Act::Send(signal) => running.signal(signal, number(signal)),
        Act::Begun(name) => drop(begun(journal, name, running)),
        Act::Caught(name, signal) => {
            journal.await_signal(begun(journal, name, running), number(signal));
        }
        Act::Said(what) => eventually(&format!("a line like {what:?} in the log"), || {
            let log = running.log();
            if log.lines().any(|line| holds(line, what)) { Ok(()) } else { Err(log) }
        }),
        Act::Open => gate.open(),
    }
}

/// Waits until a process has told its name; its pid.
fn begun(journal: &Journal, name: &str, running: &dyn Running) -> i32 {
    let told = name.replace(' ', "-");
    eventually(&format!("{name} has begun"), || {
        let entries = journal.entries();
        let found = entries.iter().find(|entry| entry.word == "say" && entry.rest == told);
        found.map(|entry| entry.pid).ok_or_else(|| (entries.clone(), running.log()))
    })
}

fn number(signal: &str) -> i32 {
    let known = NUMBERS.iter().find(|(name, _)| *name == signal);
    known.unwrap_or_else(|| panic!("{signal} is not in the table of signals")).1
}

/// The names of the signals that a process has caught, but for those that its own children's ends
/// raise.
fn caught(journal: &Journal, name: &str) -> Vec<String> {
    let pid = journal.await_said(&name.replace(' ', "-"));
    let signals = journal.signals(pid).into_iter().filter(|signal| *signal != libc::SIGCHLD);
    signals
        .map(|signal| {
            let known = NUMBERS.iter().find(|(_, number)| *number == signal);
            known.map_or_else(|| signal.to_string(), |(name, _)| (*name).to_owned())
        })
        .collect()
}
