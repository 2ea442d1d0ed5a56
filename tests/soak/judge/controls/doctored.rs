//! Things that must not be done, done.

use super::Life;

/// What is done to the honest life, and what must be found.
pub(super) fn doctored() -> Vec<(&'static str, Life, &'static str)> {
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
life().record("101.0012", "107.0012")
                .record("101.0013", "107.0013")
                .record("101.0014", "107.0014").record("103.0", "109.0").with(|life| life.asked = Some(109_000_000)),
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
