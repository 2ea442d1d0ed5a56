//! That a trial can fail: faults that no kernel has, after which the promises cannot be kept.

use std::panic::catch_unwind;

use libtest_mimic::Trial;

use super::cases;
use super::judge;
use super::lives::{LIVES, Life, Phase};
use super::play::play;
use super::strace::Call;
use super::table::{self, Row, Spared};
use crate::needs::{Needs, trial};

/// What strace is told, and what the judge must say of it.
const LIES: [(&str, &[&str], &str); 5] = [
    // It says that there is no memory, which is the one way for us to go before others.
    ("lost_child", &["inject=mmap:error=ENOMEM:when=1+"], "it left processes behind"),
    // It says that something is ready, and nothing is.
    ("loop", &["inject=poll:retval=1:when=1+"], "it ran in circles"),
    // It says that no signal has come.
    ("hang", &["inject=read:error=EAGAIN:when=1+"], "it did not end while the fault lasted"),
    // It says that nobody has ended.
    ("zombies", &["inject=waitid:retval=0:when=1+"], "zombies were not reaped"),
    // It says that it told everybody.
    ("silence", &["inject=kill,pidfd_send_signal:retval=0:when=1+"], "it never said why"),
];

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("faults::controls::unknown_call", Needs::Nothing, unknown_call),
        trial("faults::controls::other_outcome", Needs::Nothing, other_outcome),
    ];
    trials.extend(LIES.map(|(name, fault, expected)| {
        let name = format!("faults::controls::{name}");
        trial(name, Needs::Strace, move || is_caught(fault, expected))
    }));
    trials
}

fn serve() -> &'static Life {
    LIVES.iter().find(|life| life.name == "serve").expect("there is such a life")
}

fn is_caught(fault: &[&str], expected: &str) {
    let mut words = vec!["-e".to_owned()];
    words.extend(fault.iter().map(|word| (*word).to_owned()));
    let seen = play(serve(), Phase::Service, &words);
    let broken = judge::broken(&seen, serve().code, "EPERM", &Spared::default());
    assert!(broken.iter().any(|why| why.contains(expected)), "{broken:?}\n{}", seen.log);
}

fn unknown_call() {
    let call = |name: &str| Call { pid: 2, name: name.into(), line: name.into(), injected: false };
    assert!(catch_unwind(|| cases::known(&call("poll"))).is_ok());
    assert!(catch_unwind(|| cases::known(&call("io_uring_setup"))).is_err());
}

fn other_outcome() {
    let row = |call: &str, outcome: &str| Row { key: vec![call.into()], outcome: outcome.into() };
    let page = [row("bind", "no change"), row("clone", "exit 125")];
    assert!(table::differences(&page, &page).is_empty());
    assert_eq!(table::differences(&page, &page[..1]).len(), 1, "one was not tried");
    assert_eq!(table::differences(&page[..1], &page).len(), 1, "one is not on the page");
    let other = [row("bind", "exit 1"), row("clone", "exit 125")];
    assert_eq!(table::differences(&page, &other).len(), 1, "one came out otherwise");
}
