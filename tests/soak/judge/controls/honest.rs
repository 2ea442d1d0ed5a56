//! A life in which every promise is kept.

/// A life with two epochs, a daemon of the first, a signal that waits until the first is ready,
/// another for both, a restart and a stop.
pub(super) const RECORD: &str = "
 restarter-10 [0] 100.000000: sched_process_exec: filename=/restarter pid=10 old_pid=10
 restarter-10 [0] 100.010000: sched_process_fork: comm=restarter pid=10 child_comm=restarter child_pid=11
 restarter-11 [1] 100.010100: sys_setpgid(pid: 0, pgid: 0)
 restarter-11 [1] 100.010200: sched_process_exec: filename=/target pid=11 old_pid=11
 restarter-10 [0] 100.010300: sys_clone -> 0x2
 target-11 [1] 100.020000: sched_process_fork: comm=target pid=11 child_comm=target child_pid=12
 target-11 [1] 100.020050: sys_fork -> 0x5
 target-12 [1] 100.020100: sys_setsid()
 target-11 [1] 100.020200: sys_rt_sigaction(sig: 0xa, act: 0x7ffc, oact: 0x7ffd, sigsetsize: 8)
 target-11 [1] 100.020205: sys_rt_sigaction -> 0x0
 target-11 [1] 100.020300: sys_rt_sigaction(sig: 0xc, act: 0x7ffc, oact: 0x7ffd, sigsetsize: 8)
 target-11 [1] 100.020305: sys_rt_sigaction -> 0x0
 soak-1 [0] 100.500000: signal_generate: sig=10 errno=0 code=0 comm=x pid=10 grp=1 res=0
 restarter-10 [0] 101.000000: sched_process_fork: comm=restarter pid=10 child_comm=restarter child_pid=13
 restarter-13 [1] 101.000100: sched_process_exec: filename=/ready pid=13 old_pid=13
 restarter-10 [0] 101.000200: sys_clone -> 0x3
 ready-13 [1] 101.001000: sys_exit_group(error_code: 0)
 ready-13 [1] 101.001100: sched_process_exit: comm=ready pid=13 prio=120 group_dead=true
 restarter-10 [0] 101.001200: sys_waitid(which: 1, upid: 3, infop: 0x7f, options: 4, ru: 0)
 restarter-10 [0] 101.001300: sched_process_wait: comm=restarter pid=13 prio=120
 restarter-10 [0] 101.001400: sys_waitid -> 0x0
 restarter-10 [0] 101.001500: signal_generate: sig=10 errno=0 code=0 comm=x pid=11 grp=1 res=0
 restarter-10 [0] 101.002000: sys_poll(ufds: 0x7f, nfds: 1, timeout_msecs: 0xffffffff)
 restarter-10 [0] 101.002010: sys_poll(ufds: 0x7f, nfds: 1, timeout_msecs: 0xffffffff)
 restarter-10 [0] 101.002020: sys_poll(ufds: 0x7f, nfds: 1, timeout_msecs: 0xffffffff)
 restarter-10 [0] 101.002030: sys_poll(ufds: 0x7f, nfds: 1, timeout_msecs: 0xffffffff)
 restarter-10 [0] 101.002040: sys_poll(ufds: 0x7f, nfds: 1, timeout_msecs: 0xffffffff)
 restarter-10 [0] 101.002050: sys_poll(ufds: 0x7f, nfds: 1, timeout_msecs: 0xffffffff)
 soak-1 [0] 101.900000: signal_generate: sig=1 errno=0 code=0 comm=x pid=10 grp=1 res=0
 restarter-10 [0] 102.000000: sched_process_fork: comm=restarter pid=10 child_comm=restarter child_pid=14
 restarter-14 [1] 102.000100: sched_process_exec: filename=/target pid=14 old_pid=14
 restarter-10 [0] 102.000200: sys_clone -> 0x4
 target-14 [1] 102.000300: sys_rt_sigaction(sig: 0xc, act: 0x7ffc, oact: 0x7ffd, sigsetsize: 8)
 target-14 [1] 102.000305: sys_rt_sigaction -> 0x0
 restarter-10 [0] 102.100000: sched_process_fork: comm=restarter pid=10 child_comm=restarter child_pid=15
 restarter-15 [1] 102.100100: sched_process_exec: filename=/ready pid=15 old_pid=15
 restarter-10 [0] 102.100200: sys_clone -> 0x6
 ready-15 [1] 102.101000: sys_exit_group(error_code: 0)
 ready-15 [1] 102.101100: sched_process_exit: comm=ready pid=15 prio=120 group_dead=true
 restarter-10 [0] 102.101200: sys_waitid(which: 1, upid: 6, infop: 0x7f, options: 4, ru: 0)
 restarter-10 [0] 102.101300: sched_process_wait: comm=restarter pid=15 prio=120
 restarter-10 [0] 102.101400: sys_waitid -> 0x0
 soak-1 [0] 102.450000: signal_generate: sig=12 errno=0 code=0 comm=x pid=10 grp=1 res=0
 restarter-10 [0] 102.500000: signal_generate: sig=12 errno=0 code=0 comm=target pid=14 grp=1 res=0
 restarter-10 [0] 102.500010: signal_generate: sig=12 errno=0 code=0 comm=x pid=11 grp=1 res=0
 target-14 [1] 102.500100: signal_deliver: sig=12 errno=0 code=0 sa_handler=7f00 sa_flags=4
 restarter-10 [0] 102.600000: sys_poll(ufds: 0x7f, nfds: 1, timeout_msecs: 0xffffffff)
 restarter-10 [0] 102.600010: sys_poll(ufds: 0x7f, nfds: 1, timeout_msecs: 0xffffffff)
 restarter-10 [0] 102.600020: sys_poll(ufds: 0x7f, nfds: 1, timeout_msecs: 0xffffffff)
 restarter-10 [0] 102.600030: sys_poll(ufds: 0x7f, nfds: 1, timeout_msecs: 0xffffffff)
 restarter-10 [0] 102.600040: sys_poll(ufds: 0x7f, nfds: 1, timeout_msecs: 0xffffffff)
 restarter-10 [0] 102.600050: sys_poll(ufds: 0x7f, nfds: 1, timeout_msecs: 0xffffffff)
 soak-1 [0] 103.000000: signal_generate: sig=15 errno=0 code=0 comm=x pid=10 grp=1 res=0
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

pub(super) const LOG: &str = "\
2026-01-01T00:00:00.000Z info  started epoch=0 pid=2
2026-01-01T00:00:01.000Z info  ready epoch=0 pid=2: after 1 s, as --ready exec: found
2026-01-01T00:00:02.000Z info  started epoch=1 pid=4
2026-01-01T00:00:02.101Z info  ready epoch=1 pid=4: after 0.101 s, as --ready exec: found
2026-01-01T00:00:03.000Z info  stopping: SIGTERM received; 2 epochs and what they left have 1 s (--term-wait)
2026-01-01T00:00:03.000Z info  ended epoch=0 pid=2: exited with 0
2026-01-01T00:00:03.000Z info  ended epoch=1 pid=4: exited with 0
2026-01-01T00:00:03.000Z info  exiting: exit code 0: everything has ended
";

pub(super) const JOURNAL: &str = "2 say epoch-0\n4 say epoch-1\n";
