//! What other inits promise and their test suites check: whether we keep it, and which trials show
//! what we do.
//!
//! `UPDATE_TABLE=1 cargo test --test black_box conformance::page` writes the README's list anew.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::{env, fs};

use support::project;

/// A promise of others.
struct Promise {
    /// Who gives it.
    whose: &'static str,
    /// What it is, in a clause for a person.
    what: &'static str,
    here: Here,
    /// The trials that show what we do, and what others do.
    shown: &'static [&'static str],
}

/// What becomes of it here.
enum Here {
    /// We keep it; how, where that is worth a word.
    Kept(&'static str),
    /// We do something else: what, and why.
    Differs(&'static str),
}

use Here::{Differs, Kept};

const ALL: &str = "all";

const PROMISES: &[Promise] = &[
    Promise {
        whose: ALL,
        what: "exits with its child's exit code, 0 to 255",
        here: Kept("of an end that nobody asked for"),
        shown: &[
            "conformance::every_exit_code",
            "process::every_exit_code",
            "pid1::every_exit_code",
            "docker::statuses",
        ],
    },
    Promise {
        whose: ALL,
        what: "128 + signal where the child died of one, real-time signals and core dumps included",
        here: Kept(""),
        shown: &[
            "conformance::every_deadly_signal",
            "process::every_deadly_signal",
            "pid1::every_deadly_signal",
            "process::core_dumps",
        ],
    },
    Promise {
        whose: ALL,
        what: "a child that is gone at once is not lost",
        here: Kept("300 of 300"),
        shown: &["pid1::exits_at_once_300_times"],
    },
    Promise {
        whose: ALL,
        what: "reaps every orphan as PID 1, however many at once",
        here: Kept("20,000 in a stream, and 1,000 that die together"),
        shown: &[
            "conformance::as_pid_1",
            "pid1::thousand_orphans",
            "pid1::stream_of_orphans",
            "pid1::orphan_dies_by_any_signal",
            "pid1::unreaped_orphans_stay",
        ],
    },
    Promise {
        whose: "tini `-s`, catatonit",
        what: "reaps as a child subreaper where it is not PID 1",
        here: Kept("always, without an option"),
        shown: &["conformance::subreaper", "process::orphans_are_adopted"],
    },
    Promise {
        whose: "tini `-g`, catatonit `-g`, dumb-init",
        what: "SIGTERM reaches the child's whole group, behind a shell as well",
        here: Kept("always; SIGQUIT and SIGCONT too"),
        shown: &["conformance::whole_group", "process::drains_behind_a_shell_that_waits"],
    },
    Promise {
        whose: "dumb-init",
        what: "when the child has ended, what it left behind gets SIGTERM",
        here: Kept("and SIGKILL after `--term-wait`; at once when the child failed"),
        shown: &[
            "conformance::shell_that_backgrounds",
            "process::last_epoch_leaves_orphans",
            "pid1::failure_kills_everything",
        ],
    },
    Promise {
        whose: "tini",
        what: "blocked and ignored signals are the child's as they were ours",
        here: Kept("all 64 (dumb-init clears them, catatonit blocks TSTP and TTOU as well)"),
        shown: &[
            "conformance::mask_and_dispositions",
            "process::inherited_mask",
            "process::inherited_dispositions",
        ],
    },
    Promise {
        whose: ALL,
        what: "words go to the child as they are, empty ones too, and `--` ends our options",
        here: Kept("PROGRAM ends them as well"),
        shown: &["conformance::words", "input::words_of_the_program", "input::not_utf_8"],
    },
    Promise {
        whose: ALL,
        what: "variables, descriptors, limits, rights and working directory are the child's as they \
               were ours",
        here: Kept("beside `RESTART_EPOCH`, and without what systemd told us alone"),
        shown: &[
            "conformance::environment",
            "conformance::descriptors",
            "conformance::limits_and_rights",
            "conformance::working_directory",
            "process::inherited_descriptor",
        ],
    },
    Promise {
        whose: ALL,
        what: "the child has the terminal: it reads, writes, has job control, and gets Ctrl-C",
        here: Kept("the newest epoch has it"),
        shown: &[
            "conformance::terminal_is_read_and_written",
            "conformance::terminal_job_control",
            "conformance::terminal_foreground",
            "terminal::newest_is_in_the_foreground",
        ],
    },
    Promise {
        whose: "dumb-init",
        what: "leading a session of a terminal does not make the child hear SIGHUP or SIGCONT",
        here: Kept("we never give the terminal up"),
        shown: &["conformance::terminal_foreground", "terminal::as_pid_1"],
    },
    Promise {
        whose: "tini",
        what: "126 for a program that cannot be executed, 127 for one that does not exist",
        here: Kept("with the reason (dumb-init exits with 2, catatonit with 1)"),
        shown: &[
            "conformance::no_such_program",
            "input::target_that_cannot_start",
            "input::unreachable_target",
        ],
    },
    Promise {
        whose: "s6, catatonit",
        what: "never polls",
        here: Kept("(tini wakes up every second)"),
        shown: &["conformance::idle"],
    },
    Promise {
        whose: "tini, dumb-init, catatonit",
        what: "forwards every signal to the child, whether it catches it or not",
        here: Differs(
            "to those that catch it, QUIT and CONT to the whole group: `kill -USR2 1` ends no \
             server that has no use for it. TERM and INT are a stop, HUP a hot restart, USR1 \
             reopens logs",
        ),
        shown: &[
            "conformance::every_signal_to_a_catcher",
            "conformance::every_signal_uncaught",
            "process::every_signal",
            "process::uncaught_signals_kill_nobody",
        ],
    },
    Promise {
        whose: "tini, dumb-init, catatonit",
        what: "143 after a SIGTERM that the child did not catch",
        here: Differs(
            "0: an end that was asked for is no failure, whatever the status; what had to be \
                       killed makes it 1",
        ),
        shown: &["conformance::asked_to_end", "process::any_end_is_clean_in_a_stop"],
    },
    Promise {
        whose: "tini `-e`",
        what: "makes chosen exit codes 0",
        here: Differs("not needed for a stop, see above; any other failure stays one"),
        shown: &["conformance::exit_code_made_0"],
    },
    Promise {
        whose: "dumb-init `--rewrite`",
        what: "any signal becomes another one, or none",
        here: Differs("`--stop-signal` for the one that servers disagree about"),
        shown: &["conformance::another_stop_signal", "process::stop_signal_QUIT"],
    },
    Promise {
        whose: "dumb-init",
        what: "the child leads a session of its own",
        here: Differs(
            "a process group of its own in the session that there is, as with tini: it keeps \
                       the terminal, and an older epoch needs no other one",
        ),
        shown: &["conformance::session_and_group", "process::fresh_epoch"],
    },
    Promise {
        whose: "dumb-init",
        what: "TSTP, TTIN and TTOU suspend it and its child, CONT resumes both",
        here: Differs(
            "Ctrl-Z does, as a shell's job. Sent by anybody else TTIN and TTOU are ignored, \
                       and TSTP goes to those that catch it: a server that is stopped serves nobody",
        ),
        shown: &["conformance::suspend_and_resume", "terminal::ctrl_z_as_a_job"],
    },
    Promise {
        whose: "dumb-init",
        what: "does not stay in the working directory itself",
        here: Differs("it stays: later epochs start there"),
        shown: &["conformance::working_directory"],
    },
    Promise {
        whose: "dumb-init `--single-child`, tini, catatonit",
        what: "signals nobody but the child",
        here: Differs(
            "each stop is for the whole group and for orphans: a shell that does not pass \
                       SIGTERM on is what makes stops last",
        ),
        shown: &["conformance::whole_group", "conformance::shell_that_backgrounds"],
    },
    Promise {
        whose: "tini `-p`",
        what: "gets a signal when its own parent dies",
        here: Differs(
            "`setpriv --pdeathsig TERM hot-restarter …` does that. Of our own death the \
                       target hears by SIGTERM",
        ),
        shown: &[
            "conformance::death_of_its_parent",
            "conformance::death_of_the_init",
            "process::killed_restarter_takes_leaders",
        ],
    },
    Promise {
        whose: "tini",
        what: "warns where it cannot reap, and with `-w` of each orphan",
        here: Differs("no warning, since it always reaps"),
        shown: &["conformance::subreaper"],
    },
    Promise {
        whose: "tini, dumb-init, catatonit",
        what: "bad usage is 1",
        here: Differs(
            "2, as a shell has it: 1 is a stop in which something had to be killed. `-h` and \
             `--version` are 0 with all",
        ),
        shown: &["conformance::usage", "input::bad_usage", "input::help_and_version"],
    },
    Promise {
        whose: "s6",
        what: "starts a child that has died again",
        here: Differs(
            "exits with its status: the runtime starts the container again, and sees why",
        ),
        shown: &["process::newest_fails", "pid1::failure_kills_everything"],
    },
];

const BEGIN: &str = "<!-- promises: begin -->\n";
const END: &str = "<!-- promises: end -->\n";

/// Holds the README against the list, or writes it; and every trial that is named must be there.
pub(super) fn page(trials: &BTreeSet<String>) {
    for Promise { what, shown, .. } in PROMISES {
        assert!(!shown.is_empty(), "nothing shows: {what}");
        for trial in *shown {
            assert!(trials.contains(*trial), "there is no {trial}, which should show: {what}");
        }
    }
    let named: BTreeSet<&str> = PROMISES.iter().flat_map(|it| it.shown).copied().collect();
    for trial in trials.iter().filter(|trial| trial.starts_with("conformance::")) {
        assert!(named.contains(trial.as_str()), "{trial} shows no promise");
    }
    let path = project().join("README.md");
    let readme = fs::read_to_string(&path).expect("the README");
    let begin = readme.find(BEGIN).expect("the list has a place") + BEGIN.len();
    let end = readme.find(END).expect("the list has an end");
    let written = written();
    if env::var_os("UPDATE_TABLE").is_some() {
        let page = [&readme[..begin], &written, &readme[end..]].concat();
        fs::write(&path, page).expect("the README can be written");
        return;
    }
    let list = &readme[begin..end];
    for (is, was) in written.lines().zip(list.lines()) {
        assert_eq!(is, was, "the README differs; UPDATE_TABLE=1 writes it anew");
    }
    assert_eq!(written.lines().count(), list.lines().count(), "the README has lines of its own");
}

fn written() -> String {
    let mut page = String::from("| whose | what they promise, and we keep | here |\n");
    page += "| --- | --- | --- |\n";
    for Promise { whose, what, here, .. } in PROMISES {
        if let Kept(how) = here {
            // Writing to a text cannot fail.
            let _ = writeln!(page, "| {whose} | {what} | {how} |");
        }
    }
    page += "\n| whose | what they promise | what we do instead |\n| --- | --- | --- |\n";
    for Promise { whose, what, here, .. } in PROMISES {
        if let Differs(why) = here {
            let _ = writeln!(page, "| {whose} | {what} | {why} |");
        }
    }
    page
}
