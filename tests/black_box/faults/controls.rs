//! That a trial can fail: faults that no kernel has, after which the promises cannot be kept.

use std::panic::catch_unwind;

use libtest_mimic::Trial;

use super::ANSWERS;
use super::calls;
use super::cases::{Case, Fails, Times};
use super::filter::Answer;
use super::judge;
use super::lives::{LIVES, Life, Phase};
use super::play::play;
use super::table::{self, Row, Spared};
use super::tracer::Aim;
use super::tries::try_all;
use super::turns;
use crate::needs::{Needs, trial};

/// What the kernel is made to say, of which calls, and what the judge must say of it.
const LIES: [(&str, &[&str], Answer, &str); 5] = [
    // That there is no memory, which is the one way for us to go before others.
    ("lost_child", &["mmap"], Answer::Errno(libc::ENOMEM), "it left processes behind"),
    // That something is ready, and nothing is.
    ("loop", &["poll"], Answer::Value(1), "it ran in circles"),
    // That signals cannot be read, which is the one way for us to be deaf.
    ("hang", &["read"], Answer::Errno(libc::EIO), "it did not end while the fault lasted"),
    // That nobody has ended.
    ("zombies", &["waitid"], Answer::Value(0), "zombies were not reaped"),
    // That everybody was told.
    ("silence", &["kill", "pidfd_send_signal"], Answer::Value(0), "it never said why"),
];

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("faults::controls::unknown_call", Needs::Nothing, unknown_call),
        trial("faults::controls::other_outcome", Needs::Nothing, other_outcome),
    ];
    if !ANSWERS {
        return trials;
    }
    trials.push(trial("faults::controls::missed", Needs::Root, missed));
    trials.extend(LIES.map(|(name, calls, answer, expected)| {
        let name = format!("faults::controls::{name}");
        trial(name, Needs::Root, move || is_caught(calls, answer, expected))
    }));
    trials
}

fn life(name: &str) -> &'static Life {
    LIVES.iter().find(|life| life.name == name).expect("there is such a life")
}

fn is_caught(calls: &[&str], answer: Answer, expected: &str) {
    let aim = |call: &&str| Aim { call: (*call).to_owned(), about: None, every: true, answer };
    let aims: Vec<Aim> = calls.iter().map(aim).collect();
    let serve = life("serve");
    let seen = turns::take(|| play(serve, Phase::Service, &aims));
    let broken = judge::broken(&seen, serve.code, &["EPERM"], &Spared::default());
    assert!(broken.iter().any(|why| why.contains(expected)), "{broken:?}\n{}", seen.log);
}

/// A fault of a call that the life does not make is no outcome.
fn missed() {
    let fails = Fails {
        call: "inotify_init1".to_owned(),
        about: String::new(),
        errno: "EMFILE",
        times: Times::Once,
    };
    let case = Case { after: None, fails, is_new: true };
    let tried = try_all(life("end"), Phase::Service, &[case]);
    let why = tried[0].0.as_ref().expect_err("nothing has come of it");
    assert!(why.contains("no such call was made"), "{why}");
}

fn unknown_call() {
    assert!(catch_unwind(|| calls::known("poll")).is_ok());
    assert!(catch_unwind(|| calls::known(&calls::name(425).0)).is_err(), "io_uring_setup");
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
