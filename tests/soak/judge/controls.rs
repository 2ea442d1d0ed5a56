//! That the judge can find against somebody: an honest life, and each promise broken in it by hand.

use libtest_mimic::{Failed, Trial};

use super::{End, Facts, Programs, Ready, Terms, judge};
use crate::record;

/// The trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let honest = Trial::test("judge::honest_life", || {
        let broken = verdict(&Life::default());
        if broken.is_empty() { Ok(()) } else { Err(Failed::from(broken.join("; "))) }
    });
    let doctored = doctored().into_iter().map(|(name, life, finding)| {
        Trial::test(format!("judge::{name}"), move || {
            let broken = verdict(&life);
            if broken.iter().any(|found| found.contains(finding)) {
                return Ok(());
            }
            Err(Failed::from(format!("it finds {broken:?}, and not: {finding}")))
        })
    });
    std::iter::once(honest).chain(doctored).collect()
}

/// A life with two epochs, a daemon of the first, a check and a stop.
const RECORD: &str = "
 restarter-10 [0] 100.000000: sched_process_exec: filename=/restarter pid=10 old_pid=10
 restarter-10 [0] 100.010000: sched_process_fork: comm=restarter pid=10 child_comm=restarter child_pid=11
 restarter-11 [1] 100.010100: sys_setpgid(pid: 0, pgid: 0)
 restarter-11 [1] 100.010200: sched_process_exec: filename=/target pid=11 old_pid=11
 restarter-10 [0] 100.010300: sys_clone -> 0x2
 target-11 [1] 100.020000: sched_process_fork: comm=target pid=11 child_comm=target child_pid=12
 target-12 [1] 100.020100: sys_setsid()
 restarter-10 [0] 101.000000: sched_process_fork: comm=restarter pid=10 child_comm=restarter child_pid=13
 restarter-13 [1] 101.000100: sched_process_exec: filename=/ready pid=13 old_pid=13
 restarter-10 [0] 101.000200: sys_clone -> 0x3
 ready-13 [1] 101.001000: sys_exit_group(error_code: 0)
 ready-13 [1] 101.001100: sched_process_exit: comm=ready pid=13 prio=120 group_dead=true
 restarter-10 [0] 101.001200: sys_waitid(which: 1, upid: 3, infop: 0x7f, options: 4, ru: 0)
 restarter-10 [0] 101.001300: sched_process_wait: comm=restarter pid=13 prio=120
 restarter-10 [0] 101.001400: sys_waitid -> 0x0
 restarter-10 [0] 102.000000: sched_process_fork: comm=restarter pid=10 child_comm=restarter child_pid=14
 restarter-14 [1] 102.000100: sched_process_exec: filename=/target pid=14 old_pid=14
 restarter-10 [0] 102.000200: sys_clone -> 0x4
 restarter-10 [0] 102.500000: signal_generate: sig=12 errno=0 code=0 comm=target pid=14 grp=1 res=0
 target-14 [1] 102.500100: signal_deliver: sig=12 errno=0 code=0 sa_handler=7f00 sa_flags=4
 restarter-10 [0] 103.000100: signal_generate: sig=15 errno=0 code=0 comm=target pid=11 grp=1 res=0
 restarter-10 [0] 103.000200: signal_generate: sig=15 errno=0 code=0 comm=target pid=14 grp=1 res=0
 target-11 [1] 103.000300: sys_exit_group(error_code: 0)
 target-11 [1] 103.000400: sched_process_exit: comm=target pid=11 prio=120 group_dead=true
 restarter-10 [0] 103.000500: sys_waitid(which: 1, upid: 2, infop: 0x7f, options: 4, ru: 0)
 restarter-10 [0] 103.000501: sched_process_wait: comm=restarter pid=11 prio=120
 restarter-10 [0] 103.000502: sys_waitid -> 0x0
 restarter-10 [0] 103.000600: signal_generate: sig=15 errno=0 code=0 comm=target pid=12 grp=1 res=0
 target-12 [1] 103.000700: signal_deliver: sig=9 errno=0 code=0 sa_handler=0 sa_flags=0
 target-12 [1] 103.000800: sched_process_exit: comm=target pid=12 prio=120 group_dead=true
 restarter-10 [0] 103.000900: sys_waitid(which: 1, upid: 5, infop: 0x7f, options: 4, ru: 0)
 restarter-10 [0] 103.000901: sched_process_wait: comm=restarter pid=12 prio=120
 restarter-10 [0] 103.000902: sys_waitid -> 0x0
 target-14 [1] 103.001000: sys_exit_group(error_code: 0)
 target-14 [1] 103.001100: sched_process_exit: comm=target pid=14 prio=120 group_dead=true
 restarter-10 [0] 103.001200: sys_waitid(which: 1, upid: 4, infop: 0x7f, options: 4, ru: 0)
 restarter-10 [0] 103.001201: sched_process_wait: comm=restarter pid=14 prio=120
 restarter-10 [0] 103.001202: sys_waitid -> 0x0
 restarter-10 [0] 103.001300: sched_process_exit: comm=restarter pid=10 prio=120 group_dead=true
";

const LOG: &str = "\
2026-01-01T00:00:00.000Z info  started epoch=0 pid=2
2026-01-01T00:00:01.000Z info  ready epoch=0 pid=2: after 1 s, as --ready exec: found
2026-01-01T00:00:02.000Z info  started epoch=1 pid=4
2026-01-01T00:00:03.000Z info  stopping: SIGTERM received; 2 epochs and what they left have 1 s (--term-wait)
2026-01-01T00:00:03.000Z info  ended epoch=0 pid=2: exited with 0
2026-01-01T00:00:03.000Z info  ended epoch=1 pid=4: exited with 0
2026-01-01T00:00:03.000Z info  exiting: exit code 0: everything has ended
";

const JOURNAL: &str = "2 say epoch-0\n4 say epoch-1\n";

/// What is held against the contract.
#[derive(Clone)]
struct Life {
    record: String,
    log: String,
    journal: String,
    code: i32,
    asked: Option<u64>,
    terms: Terms,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            record: RECORD.to_owned(),
            log: LOG.to_owned(),
            journal: JOURNAL.to_owned(),
            code: 0,
            asked: Some(103_000_000),
            terms: Terms {
                term_wait: 1_000_000,
                ready: Ready::Exec,
                ready_timeout: 60_000_000,
                rollback: true,
                max_epochs: 2,
                min_interval: 0,
                stop_signal: libc::SIGTERM,
                sees_processes: true,
                tells_all: true,
            },
        }
    }
}

impl Life {
    /// With other words in its record.
    fn record(mut self, from: &str, to: &str) -> Self {
        assert!(self.record.contains(from), "{from}");
        self.record = self.record.replace(from, to);
        self
    }

    /// With another moment in its record, after the line that holds this.
    fn also(mut self, after: &str, line: &str) -> Self {
        let at = self.record.find(after).unwrap_or_else(|| panic!("{after}"));
        let end = at + self.record[at..].find('\n').expect("a line has an end");
        self.record.insert_str(end, &format!("\n {line}"));
        self
    }

    /// Without the lines of its record that hold this.
    fn without(mut self, what: &str) -> Self {
        assert!(self.record.contains(what), "{what}");
        self.record = self
            .record
            .lines()
            .filter(|line| !line.contains(what))
            .fold(String::new(), |text, line| text + line + "\n");
        self
    }

    fn log(mut self, from: &str, to: &str) -> Self {
        assert!(self.log.contains(from), "{from}");
        self.log = self.log.replace(from, to);
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

fn verdict(life: &Life) -> Vec<String> {
    // The kernel pads the number of a processor.
    let text = life.record.replace("[0]", "[000] .....").replace("[1]", "[001] d..1.");
    let record = match record::parse(&text) {
        Ok(record) => record,
        Err(why) => return vec![format!("the record itself: {why}")],
    };
    judge(&Facts {
        terms: life.terms,
        programs: Programs {
            restarter: "/restarter",
            target: "/target",
            check: "/check",
            question: "/ready",
        },
        record: Some(&record),
        log: &life.log,
        log_is_whole: true,
        journal: &life.journal,
        end: End::Code(life.code),
        asked: life.asked,
        suspended: &[],
    })
}

/// What is done to the honest life, and what must be found.
fn doctored() -> Vec<(&'static str, Life, &'static str)> {
    let life = Life::default;
    let stop_to = |pid: i32| {
        format!(
            "restarter-10 [0] 103.000210: signal_generate: sig=15 errno=0 code=0 comm=x pid={pid} grp=1 res=0"
        )
    };
    let kill_to = |at: &str, pid: i32| {
        format!(
            "restarter-10 [0] {at}: signal_generate: sig=9 errno=0 code=0 comm=x pid={pid} grp=1 res=0"
        )
    };
    vec![
        ("stranger_signalled", life().also("103.000200", &stop_to(99)), "a stranger"),
        ("stop_signal_twice", life().also("103.000200", &stop_to(14)), "had the stop signal at"),
        (
            "stop_signal_down_the_tree",
            life().also("103.000200", &stop_to(12)),
            "neither a child nor in an epoch's group",
        ),
        ("stop_signal_without_a_stop", life().with(|life| life.asked = None), "there is no stop"),
        (
            "everybody_signalled",
            life().also("103.000200", "restarter-10 [0] 103.000210: sys_kill(pid: 0xffffffffffffffff, sig: f)"),
            "kill -1",
        ),
        ("killed_too_early", life().also("103.000200", &kill_to("103.000210", 14)), "had not earned"),
        ("killed_in_service", life().also("102.500100", &kill_to("102.600000", 11)), "had not earned"),
        (
            "passed_on_to_who_does_not_catch",
            life()
                .record("102.500100: signal_deliver: sig=12 errno=0 code=0 sa_handler=7f00", "102.500100: signal_deliver: sig=9 errno=0 code=0 sa_handler=0")
                .without("103.001000")
                .without("103.000200"),
            "which it ended",
        ),
        ("zombie_for_ever", life().without("sched_process_wait: comm=restarter pid=12 "), "never reaped"),
        (
            "zombie_for_long",
life().record("101.001400", "107.001400").record("103.0", "109.0").with(|life| life.asked = Some(109_000_000)),
            "was a zombie for",
        ),
        ("somebody_left", life().without("103.000800").without("103.0009"), "lives when we end"),
        ("three_epochs_of_two", life().with(|life| life.terms.max_epochs = 1), "epochs lived"),
        ("start_before_ready", life().without("ready-13 [1] 101.001000"), "was not ready"),
        (
            "start_too_soon",
            life().with(|life| life.terms.min_interval = 10_000_000),
            "after the one before",
        ),
        (
            "number_left_out",
            life().log("epoch=1", "epoch=2").with(|life| life.journal = life.journal.replace("epoch-1", "epoch-2")),
            "is epoch 2 after epoch 0",
        ),
        ("not_from_zero", life().with(|life| life.journal = life.journal.replace("epoch-0", "epoch-1")), "the first epoch is not 0"),
        (
            "unexpected_exit_survived",
            life()
                .record("103.000300: sys_exit_group(error_code: 0)", "102.100000: sys_exit_group(error_code: 7)")
                .record("103.0", "113.0")
                .record("113.000400: sched_process_exit: comm=target pid=11", "102.100100: sched_process_exit: comm=target pid=11")
                .with(|life| life.asked = Some(113_000_000)),
            "and we went on",
        ),
        ("wrong_code", life().with(|life| life.code = 1), "the exit code is 1"),
        ("killed_and_clean", life().also("103.000902", &kill_to("104.100000", 14)).record("103.001", "104.201"), "the exit code is 0"),
        ("other_code_told", life().log("exit code 0", "exit code 1"), "and the log says"),
        ("end_not_told", life().log("ended epoch=0 pid=2", "ended epoch=0 pid=77"), "the end of pid 2 is not told"),
        ("other_end_told", life().log("epoch=0 pid=2: exited with 0", "epoch=0 pid=2: exited with 3"), "the log says Line"),
        ("start_not_told", life().log("2026-01-01T00:00:02.000Z info  started epoch=1 pid=4\n", ""), "starts have no line"),
        ("start_that_never_was", life().log("2026-01-01T00:00:03.000Z info  stopping", "2026-01-01T00:00:03.000Z info  started epoch=2 pid=9\n2026-01-01T00:00:03.000Z info  stopping"), "nobody was started"),
        ("other_number_told", life().log("started epoch=1", "started epoch=3"), "says that it is epoch"),
        ("torn_line", life().log("info  ready", "ready"), "no line of a log"),
        ("no_last_line", life().log("info  exiting", "info  leaving"), "the last line"),
        ("lost_without_cause", life().log("info  stopping: ", "warn  lost: 3 lines before this one were lost "), "were lost"),
    ]
}
