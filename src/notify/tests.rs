use std::time::Duration;

use super::*;
use crate::exit::{Exit, Status};
use crate::signal::Signal;
use crate::supervisor::{End, Failure, Obstacle, Pid, ReadyBy, StopReason};

/// Somebody who listens, and the one that tells them.
struct Told {
    listener: UnixDatagram,
    notify: Notify,
    now: u64,
}

impl Told {
    fn new(name: &str) -> Self {
        let name = format!("hot-restarter-{}-{name}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        let listener = UnixDatagram::bind_addr(&address).expect("a name of our own");
        listener.set_nonblocking(true).expect("a socket of ours");
        Self { listener, notify: Notify::new(Some(format!("@{name}").into())), now: 0 }
    }

    /// The same, and epoch 0 serves.
    fn serving(name: &str) -> Self {
        let mut told = Self::new(name);
        told.notice(0, What::Started);
        told.notice(0, ready());
        assert_eq!(told.take(), ["STATUS=epoch 0 is starting", "READY=1|STATUS=epoch 0 serves"]);
        told
    }

    fn now(&mut self) -> Moment {
        self.now += 1;
        Moment(Duration::from_micros(self.now))
    }

    fn notice(&mut self, epoch: u32, what: What) {
        let now = self.now();
        let notice = Notice { epoch: Some(epoch), pid: Some(Pid(17)), what };
        self.notify.notice(now, &notice);
    }

    fn step(&mut self, step: &RestartStep) {
        let now = self.now();
        self.notify.step(now, step);
    }

    fn settled(&mut self, stage: RestartStage, outcome: RestartOutcome) {
        self.step(&RestartStep::Settled { stage, outcome });
    }

    /// What was told since, a message a line.
    fn take(&self) -> Vec<String> {
        let mut buffer = [0; 5000];
        let mut messages = Vec::new();
        while let Ok(length) = self.listener.recv(&mut buffer) {
            assert!(length < 4096, "systemd takes no more");
            let message = String::from_utf8(buffer[..length].to_vec()).expect("text");
            let lines = message.strip_suffix('\n').expect("whole lines");
            messages.push(lines.replace('\n', "|"));
        }
        messages
    }
}

fn ready() -> What {
    What::Ready { after: Duration::from_secs(1), by: ReadyBy::Option }
}

fn is_ready(epoch: u32) -> RestartOutcome {
    RestartOutcome::Ready { epoch, after: Duration::from_secs(1) }
}

fn refused() -> RestartOutcome {
    RestartOutcome::Refused { why: "the check exited with 1".to_owned() }
}

fn stopping() -> What {
    let reason = StopReason::Signal(Signal::TERM);
    What::Stopping { reason, epochs: 1, term_wait: Duration::from_secs(30) }
}

use RestartStage::{UnderWay, Waiting};
use RestartStep::{Asked, Begins, PutOff};

#[test]
fn a_restart_is_told_of_from_the_question_to_the_end() {
    let mut told = Told::serving("restart");
    told.step(&Asked);
    told.step(&Begins);
    told.notice(1, What::Checking);
    told.notice(1, What::Started);
    told.notice(1, ready());
    told.settled(UnderWay, is_ready(1));
    assert_eq!(
        told.take(),
        [
            "RELOADING=1|MONOTONIC_USEC=3",
            "STATUS=epoch 1 is being checked; epoch 0 serves",
            "STATUS=epoch 1 is starting; epoch 0 serves",
            "STATUS=epoch 1 serves",
            "READY=1",
        ]
    );
}

#[test]
fn a_restart_that_comes_to_nothing_ends_as_well() {
    let mut told = Told::serving("nothing");
    told.step(&Asked);
    told.step(&Begins);
    told.settled(UnderWay, refused());
    told.step(&Asked);
    told.step(&Begins);
    let end = End { status: Status::Exited(1), out_of_memory: None };
    let failure = Failure::Ended(end);
    told.settled(UnderWay, RestartOutcome::Failed { epoch: 1, failure, newest: Some(0) });
    assert_eq!(
        told.take(),
        [
            "RELOADING=1|MONOTONIC_USEC=3",
            "READY=1|STATUS=restart refused: the check exited with 1; epoch 0 serves",
            "RELOADING=1|MONOTONIC_USEC=6",
            "READY=1|STATUS=epoch 1 failed: exited with 1; epoch 0 still serves",
        ]
    );
}

#[test]
fn the_next_restart_is_told_of_when_the_one_before_it_has_settled() {
    let mut told = Told::serving("next");
    told.step(&Asked);
    told.step(&Begins);
    told.step(&Asked);
    told.notice(2, What::RestartQueued { obstacle: Obstacle::NotReady { epoch: 1 } });
    told.notice(2, What::RestartAlreadyQueued);
    told.settled(UnderWay, is_ready(1));
    told.step(&Begins);
    told.settled(UnderWay, is_ready(2));
    assert_eq!(
        told.take(),
        [
            "RELOADING=1|MONOTONIC_USEC=3",
            "STATUS=a restart waits because epoch 1 is not ready yet; epoch 0 serves",
            "READY=1",
            "RELOADING=1|MONOTONIC_USEC=8",
            "READY=1",
        ]
    );
}

/// systemd waits for a word that is younger than its question.
#[test]
fn whoever_asks_for_the_same_restart_is_told_of_it_anew() {
    let mut told = Told::serving("anew");
    told.step(&Asked);
    told.notice(1, What::RestartAlreadyQueued);
    told.step(&Begins);
    told.notice(1, What::RestartAlreadyQueued);
    told.step(&Asked);
    told.step(&PutOff);
    told.step(&Begins);
    told.settled(UnderWay, is_ready(1));
    let reloading = [3, 4, 6, 8].map(|at| format!("RELOADING=1|MONOTONIC_USEC={at}"));
    assert_eq!(told.take(), [&reloading[..], &["READY=1".to_owned()]].concat());
}

#[test]
fn before_we_are_ready_there_is_no_reload() {
    let mut told = Told::new("before");
    told.step(&Asked);
    told.notice(1, What::RestartAlreadyQueued);
    told.notice(0, ready());
    assert_eq!(told.take(), ["READY=1|STATUS=epoch 0 serves", "RELOADING=1|MONOTONIC_USEC=3"]);
}

#[test]
fn after_the_stop_has_begun_there_is_none_either() {
    let mut told = Told::serving("stop");
    told.step(&Asked);
    told.step(&Begins);
    told.step(&Asked);
    told.take();
    told.notice(0, stopping());
    told.settled(Waiting, refused());
    told.settled(UnderWay, RestartOutcome::Stopped { epoch: 1 });
    told.notice(1, ready());
    told.notify.exiting(&Exit::Clean.to_string());
    let [first, last] = told.take().try_into().expect("two messages");
    assert!(first.starts_with("STOPPING=1|STATUS=stopping: SIGTERM received; "), "{first}");
    assert_eq!(last, format!("STATUS={}", Exit::Clean));
}

/// It is refused without having waited, and a READY would take the STOPPING back.
#[test]
fn a_restart_that_is_asked_for_in_a_stop_is_not_told_of() {
    let end = End { status: Status::Exited(3), out_of_memory: None };
    for (name, ending) in [("late", stopping()), ("last", What::EndedUnexpectedly { end })] {
        let mut told = Told::serving(name);
        told.notice(0, ending);
        told.take();
        for _ in 0..2 {
            told.notice(0, What::RestartRefused { why: "everything is being stopped".into() });
            told.settled(Waiting, refused());
        }
        assert_eq!(told.take(), [""; 0]);
    }
}

/// A READY would say that the reload went well.
#[test]
fn what_ends_everything_ends_no_restart() {
    let mut told = Told::serving("fatal");
    told.step(&Asked);
    told.step(&Begins);
    told.take();
    let end = End { status: Status::Exited(3), out_of_memory: None };
    told.notice(1, What::EndedUnexpectedly { end });
    told.settled(UnderWay, RestartOutcome::Fatal { epoch: 1, end });
    assert_eq!(told.take(), [""; 0]);
}

#[test]
fn a_status_is_one_short_line() {
    let mut told = Told::new("line");
    told.notify.exiting("two\nREADY=1\nlines");
    assert_eq!(told.take(), ["STATUS=two\\nREADY=1\\nlines"]);
    for character in ["x", "€", "\n", "\u{1}"] {
        told.notify.exiting(&character.repeat(10_000));
        let [message] = told.take().try_into().expect("a message");
        let length = message.len() - "STATUS=".len();
        assert!((STATUS_LIMIT - 8..=STATUS_LIMIT).contains(&length), "{length}");
    }
}

#[test]
fn trouble_is_told_once() {
    for socket in ["/no/such/socket", "@no such socket", "vsock:2:1", "@", "relative"] {
        let mut notify = Notify::new(Some(socket.into()));
        assert_eq!(notify.take_trouble(), None);
        notify.exiting("something");
        let trouble = notify.take_trouble().expect("nobody listens there");
        assert!(trouble.contains(socket), "{trouble}");
        notify.exiting("something else");
        assert_eq!(notify.take_trouble(), None, "{socket}");
    }
    for nobody in [None, Some(OsString::new())] {
        let mut notify = Notify::new(nobody);
        notify.exiting("something");
        assert_eq!(notify.take_trouble(), None);
    }
}

#[test]
fn who_does_not_read_is_not_waited_for() {
    let mut told = Told::serving("full");
    // More than any kernel keeps for them.
    for _ in 0..5000 {
        told.notice(1, What::Started);
    }
    let trouble = told.notify.take_trouble().expect("it is full");
    assert!(trouble.contains("os error 11"), "{trouble}");
    told.take();
    told.notice(1, ready());
    assert_eq!(told.take(), ["STATUS=epoch 1 serves"]);
}

/// systemd would wait for a READY that found its queue full until it has no patience any more.
#[test]
fn a_state_without_room_is_told_later() {
    let mut told = Told::serving("full");
    // As many messages as the queue takes, and more.
    for _ in 0..64 {
        told.step(&Asked);
        told.step(&Begins);
        told.settled(UnderWay, refused());
    }
    assert!(told.notify.deadline().is_some(), "something is late");
    let mut states: Vec<String> = Vec::new();
    let mut tries = 0;
    while let Some(due) = told.notify.deadline() {
        states.extend(told.take());
        told.notify.retry(due);
        tries += 1;
        assert!(tries < 16, "it is never told");
    }
    states.extend(told.take());
    let last: Vec<&String> = states.iter().rev().take(2).collect();
    assert!(last[0].starts_with("READY=1") && last[1].starts_with("RELOADING=1"), "{last:?}");
}
