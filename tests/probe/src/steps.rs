//! The little language of its arguments.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::kernel::{self, check};
use crate::report::report;
use crate::signals;
use crate::voice::{redirect, say};

/// Does the steps, one after the other.
pub(crate) fn run(words: &[&str], begun: i64) {
    let mut at = 0;
    while let Some(word) = words.get(at) {
        at += 1;
        let (step, value) = word.split_once('=').unwrap_or((word, ""));
        match step {
            "exec" => exec(&words[at..]),
            "from" => {
                let text = fs::read_to_string(value).unwrap_or_default();
                run(&text.split_whitespace().collect::<Vec<_>>(), begun);
            }
            "fork" | "repeat" | "epoch" | "exists" => {
                let end = end_of_block(words, at);
                block(step, value, &words[at + 1..end], begun);
                at = end + 1;
            }
            _ => single(step, value, begun),
        }
    }
}

fn block(step: &str, value: &str, inner: &[&str], begun: i64) {
    match step {
        "fork" if fork() == 0 => {
            run(inner, begun);
            kernel::exit(0);
        }
        "repeat" => {
            for _ in 0..number(value) {
                run(inner, begun);
            }
        }
        "epoch" if env::var("RESTART_EPOCH").is_ok_and(|epoch| epoch == value) => {
            run(inner, begun);
        }
        "exists" if fs::exists(value).unwrap_or_else(|error| panic!("{value}: {error}")) => {
            run(inner, begun);
        }
        _ => {}
    }
}

fn single(step: &str, value: &str, begun: i64) {
    let signal = || signals::parse(value);
    let list = || signals::parse_list(value);
    match step {
        "to" => {
            let file = OpenOptions::new().append(true).create(true).open(value);
            redirect(file.unwrap_or_else(|error| panic!("{value}: {error}")).into_raw_fd());
        }
        "report" => report(begun),
        "begun" => say(format_args!("begun {begun}")),
        "say" => say(format_args!("say {value}")),
        "catch" => list().into_iter().for_each(signals::catch),
        "exit-on" => {
            let (signal, code) = value.split_once(':').expect("exit-on=SIGNAL:CODE");
            signals::exit_on(signals::parse(signal), number(code));
        }
        "die-on" => signals::die_on(signal()),
        "fork-on" => signals::fork_on(signal()),
        "ignore" => signals::set_plain(&list(), libc::SIG_IGN),
        "default" => signals::set_plain(&list(), libc::SIG_DFL),
        "block" => drop(kernel::change_mask(libc::SIG_BLOCK, signals::set(&list()))),
        "unblock" => drop(kernel::change_mask(libc::SIG_UNBLOCK, signals::set(&list()))),
        "wait" => wait(),
        "sleep" => sleep(Duration::from_millis(number(value))),
        "await" => {
            let gate = File::open(value).unwrap_or_else(|error| panic!("{value}: {error}"));
            // SAFETY: the call takes integers.
            check("flock", unsafe { libc::flock(gate.as_raw_fd(), libc::LOCK_SH) });
        }
        "arrive" => drop(File::create(arrival(value, 0))),
        "succeeded" => {
            let next = arrival(value, 1);
            while !fs::exists(&next).unwrap_or(true) {
                sleep(Duration::from_millis(3));
            }
        }
        "flood" => flood(number(value)),
        "reap" => reap(),
        "touch" => drop(File::create(value).unwrap_or_else(|error| panic!("{value}: {error}"))),
        "remove" => fs::remove_file(value).unwrap_or_else(|error| panic!("{value}: {error}")),
        "exit" => kernel::exit(number(value)),
        "die" => signals::die(signal()),
        "raise" => kernel::raise(signal()),
        // SAFETY: the call takes nothing.
        "setsid" => drop(check("setsid", unsafe { libc::setsid() })),
        // SAFETY: the call takes an integer.
        "uid" => drop(check("setuid", unsafe { libc::setuid(number(value)) })),
        // SAFETY: the call takes an integer.
        "gid" => drop(check("setgid", unsafe { libc::setgid(number(value)) })),
        // SAFETY: the descriptor was given to us by number, and nothing here owns it.
        "close" => drop(check("close", unsafe { libc::close(number(value)) })),
        "hold" => std::mem::forget(vec![1_u8; number::<usize>(value) << 20]),
        _ => panic!("{step} is no step"),
    }
}

/// Where the block that begins at `at` ends.
fn end_of_block(words: &[&str], at: usize) -> usize {
    assert_eq!(words.get(at), Some(&"["), "a block begins with [");
    let mut depth = 0;
    for (index, word) in words.iter().enumerate().skip(at) {
        match *word {
            "[" => depth += 1,
            "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return index;
        }
    }
    panic!("a block ends with ]");
}

fn wait() -> ! {
    say(format_args!("ready"));
    loop {
        // SAFETY: the call takes nothing.
        unsafe { libc::pause() };
    }
}

/// As the system call, but waits where all process numbers are taken.
fn fork() -> libc::pid_t {
    loop {
        // SAFETY: there is one thread, so the child may do whatever we may.
        let child = unsafe { libc::fork() };
        if child != -1 || io::Error::last_os_error().kind() != io::ErrorKind::WouldBlock {
            return check("fork", child);
        }
        sleep(Duration::from_millis(1));
    }
}

/// The file by which an epoch says that it is here: that of our own, or so many later.
fn arrival(folder: &str, later: u32) -> String {
    let own: u32 = env::var("RESTART_EPOCH").map_or(0, |epoch| number(&epoch));
    format!("{folder}/{}", own + later)
}

/// Writes lines to standard error, however long that takes.
fn flood(lines: usize) {
    for line in 0..lines {
        let text = format!("noise {line} {}\n", "=".repeat(100));
        // SAFETY: the pointer and the length are those of a string of our own.
        unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
    }
}

/// Waits for every child, and says which of them a signal has ended.
fn reap() {
    loop {
        let mut status = 0;
        // SAFETY: the pointer is to an integer of our own.
        let child = unsafe { libc::waitpid(-1, &raw mut status, 0) };
        if child == -1 {
            return;
        }
        if libc::WIFSIGNALED(status) {
            say(format_args!("killed {child} {}", libc::WTERMSIG(status)));
        }
    }
}

/// Sleeps, signals notwithstanding.
fn sleep(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    {
        std::thread::sleep(left);
    }
}

fn exec(words: &[&str]) {
    let (program, arguments) = words.split_first().expect("exec PROGRAM");
    let error = Command::new(program).args(arguments).exec();
    panic!("{program}: {error}");
}

fn number<N: FromStr>(value: &str) -> N {
    value.parse().unwrap_or_else(|_| panic!("{value:?} is no number"))
}
