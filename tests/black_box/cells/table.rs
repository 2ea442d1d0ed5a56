//! What is expected of each event, in whatever arrangement, and the page that shows it.
//!
//! `UPDATE_TABLE=1 cargo test --test black_box cells::page` writes the page anew; the difference
//! is then part of the change that is reviewed.

use std::env;
use std::fmt::Write;
use std::fs;

use super::arrangements::{ARRANGEMENTS, Arrangement};

/// Something that is done from outside, or waited for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    /// The runtime sends us this signal.
    Send(&'static str),
    /// Waits until this process has begun.
    Begun(&'static str),
    /// Waits until this process has caught this signal.
    Caught(&'static str, &'static str),
    /// Waits for a line of our log.
    Said(&'static str),
    /// Opens the gate.
    Open,
}

/// Something that happens, and what comes of it.
#[derive(Debug)]
pub(super) struct Event {
    /// The end of its trials' names.
    pub(super) name: &'static str,
    /// What the page says of it.
    pub(super) what: &'static str,
    /// Our options.
    pub(super) options: &'static str,
    /// The steps of the target; [`super::play`] knows the words that are no steps of a probe.
    pub(super) target: &'static str,
    /// What is done when every process of epoch 0 has begun.
    pub(super) acts: &'static [Act],
    /// Every process by name and epoch, and the signals that it catches, in their order.
    pub(super) processes: &'static [(&'static str, &'static [&'static str])],
    /// The exit code that the runtime tells.
    pub(super) code: i32,
    /// Why we end, as the last line of our log has it.
    pub(super) why: &'static str,
}

impl Event {
    /// How many epochs there are in all.
    pub(super) fn epochs(&self) -> usize {
        self.processes.iter().filter(|(name, _)| name.starts_with("leader")).count()
    }
}

use Act::{Begun, Caught, Open, Said, Send};

const CLEAN: &str = "everything has ended";

/// Every event.
pub(super) static EVENTS: [Event; 8] = [
    Event {
        name: "term",
        what: "TERM",
        options: "",
        target: "fork [ helper! ] leader!",
        acts: &[Send("TERM")],
        processes: &[("leader 0", &["TERM"]), ("helper 0", &["TERM"])],
        code: 0,
        why: CLEAN,
    },
    Event {
        name: "int",
        what: "INT",
        options: "",
        target: "fork [ helper! ] leader!",
        acts: &[Send("INT")],
        processes: &[("leader 0", &["TERM"]), ("helper 0", &["TERM"])],
        code: 0,
        why: CLEAN,
    },
    Event {
        name: "hup",
        what: "HUP; then TERM",
        options: "--ready none",
        target: "fork [ helper! ] leader!",
        acts: &[Send("HUP"), Begun("leader 1"), Begun("helper 1"), Send("TERM")],
        processes: &[
            ("leader 0", &["TERM"]),
            ("helper 0", &["TERM"]),
            ("leader 1", &["TERM"]),
            ("helper 1", &["TERM"]),
        ],
        code: 0,
        why: CLEAN,
    },
    Event {
        name: "usr1",
        what: "USR1, which the bystander does not catch and would die of; then TERM",
        options: "--ready none",
        target: "fork [ helper! ] fork [ catch=all default=USR1 exit-on=TERM:0 bystander* wait ] leader!",
        acts: &[
            Send("USR1"),
            Caught("leader 0", "USR1"),
            Caught("helper 0", "USR1"),
            Send("TERM"),
            Caught("bystander 0", "TERM"),
        ],
        processes: &[
            ("leader 0", &["USR1", "TERM"]),
            ("helper 0", &["USR1", "TERM"]),
            ("bystander 0", &["TERM"]),
        ],
        code: 0,
        why: CLEAN,
    },
    Event {
        name: "hup_twice",
        what: "HUP, and HUP twice more before the new epoch is ready, which are one; then TERM",
        options: "--log-level debug --ready exec:READY",
        target: "leader!",
        acts: &[
            Said("ready epoch=0"),
            Send("HUP"),
            Begun("leader 1"),
            Send("HUP"),
            Said("restart-queued…waits because"),
            Send("HUP"),
            Said("restart-queued…a restart waits already"),
            Open,
            Said("ready epoch=2"),
            Begun("leader 2"),
            Send("TERM"),
        ],
        processes: &[("leader 0", &["TERM"]), ("leader 1", &["TERM"]), ("leader 2", &["TERM"])],
        code: 0,
        why: CLEAN,
    },
    Event {
        name: "unexpected_exit",
        what: "HUP; then the new epoch exits with 42",
        options: "--ready none",
        target: "fork [ fork [ setsid daemon! ] ] reap fork [ helper! ] \
                 epoch=1 [ catch=all leader* await=GATE exit=42 ] leader!",
        acts: &[
            Send("HUP"),
            Begun("daemon 1"),
            Begun("helper 1"),
            Begun("leader 1"),
            Said("started epoch=1"),
            Open,
        ],
        processes: &[
            ("leader 0", &[]),
            ("helper 0", &[]),
            ("daemon 0", &[]),
            ("leader 1", &[]),
            ("helper 1", &[]),
            ("daemon 1", &[]),
        ],
        code: 42,
        why: "an epoch exited with 42",
    },
    Event {
        name: "stubborn",
        what: "TERM, which ends nobody; after `--term-wait` the rest is killed",
        options: "--term-wait 3",
        target: "fork [ fork [ setsid catch=all daemon* wait ] ] reap \
                 fork [ catch=all helper* wait ] catch=all leader* wait",
        acts: &[Send("TERM"), Said("term-wait-over")],
        processes: &[
            ("leader 0", &["TERM", "CONT"]),
            ("helper 0", &["TERM", "CONT"]),
            ("daemon 0", &["TERM", "CONT"]),
        ],
        code: 1,
        why: "something had to be killed",
    },
    Event {
        name: "orphans",
        what: "TERM, among orphans: a daemon, one that takes its time, one in the epoch's group, \
               and one that is handed to us only when its parent, of a session of its own, ends",
        options: "",
        target: "fork [ fork [ setsid daemon! ] ] \
                 fork [ fork [ setsid catch=all slow* await=GATE exit=0 ] ] \
                 fork [ fork [ grouped! ] ] reap \
                 fork [ setsid fork [ setsid late! ] parent! ] leader!",
        acts: &[Send("TERM"), Caught("late 0", "TERM"), Caught("slow 0", "CONT"), Open],
        processes: &[
            ("leader 0", &["TERM"]),
            ("grouped 0", &["TERM"]),
            ("daemon 0", &["TERM"]),
            ("slow 0", &["TERM", "CONT"]),
            ("parent 0", &["TERM"]),
            ("late 0", &["TERM"]),
        ],
        code: 0,
        why: CLEAN,
    },
];

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/black_box/cells/table.md");

const HEAD: &str = "\
# Where it runs

The same events in every arrangement that we are made for. Each cell is a trial over the finished
binary, `cells::ARRANGEMENT::EVENT`. This page is written by
`UPDATE_TABLE=1 cargo test --test black_box cells::page` and compared by the trial of that name.

## What happens

What each process gets it tells itself, for it catches all that can be caught. CONT follows TERM,
so that a stopped process can act on it; who ends by TERM does not see it. \"nothing\" is SIGKILL,
which nobody sees, or an end by itself. A leader is the process that was started, a helper is its
child in its group, and a daemon is an orphan in a session of its own. Afterwards no process is
left, in any cell.

";

const CODES: &str = "
## The exit code

As the runtime tells it: `docker inspect`, `podman inspect`, the status of `unshare`, a shell's
`$?`.

";

/// Compares the page with the table, or writes it.
pub(super) fn page() {
    let page = written();
    if env::var_os("UPDATE_TABLE").is_some() {
        fs::write(PAGE, &page).expect("the page can be written");
    }
    let file = fs::read_to_string(PAGE).expect("the page can be read");
    for (is, was) in page.lines().zip(file.lines()) {
        assert_eq!(is, was, "differs from {PAGE}; UPDATE_TABLE=1 writes it anew");
    }
    assert_eq!(page.lines().count(), file.lines().count(), "{PAGE} has lines of its own");
}

fn written() -> String {
    let mut page = HEAD.to_owned();
    page += "| event | what happens | epochs | what each process gets | exit code |\n";
    page += "| --- | --- | --- | --- | --- |\n";
    for event in &EVENTS {
        let gets = |(name, signals): &(&str, &[&str])| match signals.join(", ").as_str() {
            "" => format!("{name}: nothing"),
            signals => format!("{name}: {signals}"),
        };
        let gets: Vec<String> = event.processes.iter().map(gets).collect();
        let Event { name, what, code, .. } = event;
        let epochs = event.epochs();
        let gets = gets.join("; ");
        // Writing to a text cannot fail.
        let _ = writeln!(page, "| `{name}` | {what} | {epochs} | {gets} | {code} |");
    }
    page += CODES;
    let columns = |cell: &dyn Fn(&Event) -> String| {
        EVENTS.iter().map(cell).map(|cell| cell + " |").collect::<Vec<_>>().join(" ")
    };
    let names = columns(&|event| format!("`{}`", event.name));
    let _ = writeln!(page, "| arrangement | where we are | {names}");
    let _ = writeln!(page, "| --- | --- | {}", columns(&|_| "---".to_owned()));
    let codes = columns(&|event| event.code.to_string());
    for Arrangement { name, what, .. } in &ARRANGEMENTS {
        let _ = writeln!(page, "| `{name}` | {what} | {codes}");
    }
    page
}
