//! Things that must be done, left out; and what is no omission.

use super::Life;

fn signal(who: &str, at: &str, signal: i32, to: i32) -> String {
    format!(
        "{who}-10 [0] {at}: signal_generate: sig={signal} errno=0 code=0 comm=x pid={to} grp=1 res=0"
    )
    .replace("soak-10", "soak-1")
}

/// What is left out of the honest life, and what must be found.
pub(super) fn omitted() -> Vec<(&'static str, Life, &'static str)> {
    let life = Life::default;
    let killed = |at: &str| signal("restarter", at, 9, 14);
    // The second epoch does not hear the signal that asks it to end, and is killed.
    let deaf = |killed_at: &str| {
        life()
            .also("103.000902", &killed(killed_at))
            .record("103.001", "106.001")
            .with(|life| life.code = 1)
            .log("exit code 0", "exit code 1")
    };
    vec![
        ("not_passed_on", life().without("102.500010"), "signal 12, received"),
        (
            "not_passed_on_to_the_group",
            life().also("102.500100", &signal("soak", "102.550000", 3, 10)),
            "signal 3, received",
        ),
        ("owed_and_forgotten", life().without("101.001500"), "signal 10, received"),
        ("never_asked", deaf("104.000100").without("103.000200"), "never asked to end"),
        (
            "killed_late",
            (1..7).fold(deaf("105.900000"), |life, tenth| {
                let poll = "sys_poll(ufds: 0x7f, nfds: 1, timeout_msecs: 100)";
                life.also("103.000902", &format!("restarter-10 [0] 104.{tenth}00000: {poll}"))
            }),
            "--term-wait ended at",
        ),
        ("ended_late", life().record("103.001300", "105.101300"), "the last child was reaped at"),
        ("all_time_over", survived().record("106.001300", "108.101300"), "all time was over"),
        ("survivor_not_named", survived().log(SURVIVOR, ""), "and the log names"),
        (
            "survivor_and_clean",
            survived().log("exit code 1", "exit code 0").with(|life| life.code = 0),
            "and that is Code(0)",
        ),
        (
            "not_passed_on_where_many_wait",
            life()
                .record(
                    "102.450000: signal_generate: sig=12 errno=0 code=0 comm=x pid=10 grp=1 res=0",
                    "102.450000: signal_generate: sig=12 errno=0 code=0 comm=x pid=10 grp=1 res=4",
                )
                .without("102.500010"),
            "signal 12, received",
        ),
        (
            "restart_forgotten",
            life()
                .also("102.500100", &signal("soak", "102.520000", 1, 10))
                .record("103.0", "105.0")
                .with(|life| (life.asked, life.terms.max_epochs) = (Some(105_000_000), 3)),
            "SIGHUP at 102520000 is forgotten",
        ),
        (
            "restart_forgotten_beside_a_check",
            life().record("103.0", "105.0").with(|life| {
                (life.asked, life.terms.max_epochs) = (Some(105_000_000), 3);
                life.terms.checks = true;
            }),
            "SIGHUP at 101900000 is forgotten",
        ),
        (
            "orphan_not_reaped_for_long",
            life().record("103.000902: sys", "105.600902: sys").record("103.001", "105.601"),
            "nobody was reaped until",
        ),
        (
            "orphan_overlooked",
            life()
                .record("101.0012", "102.7012")
                .record("101.0013", "102.7013")
                .record("101.0014", "102.7014"),
            "while we waited for others",
        ),
        ("group_of_a_failed_epoch", failed(), "of the failed pid 14 was left alive"),
        (
            "blocked_in_a_child",
            life().with(|life| life.journal += "4 mask 0000000000000800\n"),
            "was given mask",
        ),
        (
            "ignored_in_a_child",
            life().with(|life| life.journal += "4 ignored 0000000000000800\n"),
            "was given ignored",
        ),
        ("killed_by_a_thread", life().also("102.500100", &sent_to_a_stranger("-6")), "a stranger"),
    ]
}

/// What breaks no promise.
pub(super) fn innocent() -> Vec<(&'static str, Life)> {
    let life = Life::default;
    vec![
        ("timer_of_our_own", life().also("102.500100", &sent_to_a_stranger("-2"))),
        ("survivor_named", survived()),
        (
            "looks_amid_much_to_do",
            (1..7).fold(life(), |life, look| {
                let poll = "sys_poll(ufds: 0x7f, nfds: 1, timeout_msecs: 0)";
                life.also("102.450000: sig", &format!("restarter-10 [0] 102.45000{look}: {poll}"))
            }),
        ),
        (
            "end_torn_by_a_full_disk",
            life()
                .log("epoch=0 pid=2: exited with 0", "epoch=0 pid=2: exite")
                .with(|life| life.log_is_whole = false),
        ),
        (
            "group_of_a_failed_epoch_killed",
            failed()
                .also("102.300100: sched_process_exit", &signal("restarter", "102.300200", 9, 16))
                .also(
                    "102.300402",
                    "target-16 [1] 102.300410: signal_deliver: sig=9 errno=0 code=0 sa_handler=0 sa_flags=0\n \
                     target-16 [1] 102.300420: sched_process_exit: comm=target pid=16 prio=120 group_dead=true\n \
                     restarter-10 [0] 102.300430: sys_waitid(which: 1, upid: 7, infop: 0x7f, options: 4, ru: 0)\n \
                     restarter-10 [0] 102.300431: sched_process_wait: comm=restarter pid=16 prio=120\n \
                     restarter-10 [0] 102.300432: sys_waitid -> 0x0",
                ),
        ),
    ]
}

/// A signal of ours to nobody that we know.
fn sent_to_a_stranger(code: &str) -> String {
    signal("restarter", "102.500200", 14, 99).replace("code=0", &format!("code={code}"))
}

/// How it is told that the daemon would not die.
const SURVIVOR: &str =
    "2026-01-01T00:00:06.000Z error survivor pid=5: target (state S) would not die of SIGKILL\n";

/// A life whose daemon cannot be signalled, and outlives us.
fn survived() -> Life {
    Life::default()
        .without("103.000600")
        .without("103.000700")
        .without("103.000800")
        .without("103.0009")
        .record("103.001300", "106.001300")
        .log(
            "2026-01-01T00:00:03.000Z info  exiting",
            &format!("{SURVIVOR}2026-01-01T00:00:06.000Z error exiting"),
        )
        .log("exit code 0", "exit code 1")
        .with(|life| (life.code, life.terms.may_signal) = (1, false))
}

/// A life whose second epoch fails before it is ready, and leaves a process in its group.
fn failed() -> Life {
    let lines = [
        "target-14 [1] 102.200000: sched_process_fork: comm=target pid=14 child_comm=target child_pid=16",
        "target-14 [1] 102.300000: sys_exit_group(error_code: 3)",
        "target-14 [1] 102.300100: sched_process_exit: comm=target pid=14 prio=120 group_dead=true",
        "restarter-10 [0] 102.300400: sys_waitid(which: 1, upid: 4, infop: 0x7f, options: 4, ru: 0)",
        "restarter-10 [0] 102.300401: sched_process_wait: comm=restarter pid=14 prio=120",
        "restarter-10 [0] 102.300402: sys_waitid -> 0x0",
    ];
    lines.iter().rev().fold(
        Life::default()
            .without("102.10")
            .without("pid=14 grp=1")
            .without("target-14 [1] 102.5001")
            .without("103.001")
            .also("103.000902", "restarter-10 [0] 103.001300: sched_process_exit: comm=restarter pid=10 prio=120 group_dead=true")
            .log("epoch=1 pid=4: exited with 0", "epoch=1 pid=4: exited with 3"),
        |life, line| life.also("102.450000", line),
    )
}
