use std::cell::Cell;

use super::*;
use crate::exit::Status as Ended;
use crate::supervisor::{End, Failure, Pid};

thread_local! {
    /// The clock on the wall, in seconds since 1970.
    static WALL: Cell<u64> = const { Cell::new(0) };
}

fn set_wall(seconds: u64) {
    WALL.set(seconds);
}

fn wall() -> Duration {
    Duration::from_secs(WALL.get())
}

fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

fn report(epochs: &[(u32, u64)]) -> Report {
    let epoch = |(number, started): &(u32, u64)| EpochReport {
        number: *number,
        leader: Pid(7),
        started: at(*started),
        state: EpochState::Ready,
    };
    Report {
        phase: PhaseReport::Serving,
        healthy: true,
        epochs: epochs.iter().map(epoch).collect(),
        under_way: None,
        waiting: None,
        admin_lost: false,
    }
}

fn ready(epoch: u32) -> RestartOutcome {
    RestartOutcome::Ready { epoch, after: Duration::from_secs(1) }
}

fn ended() -> End {
    End { status: Ended::Exited(1), out_of_memory: None }
}

/// Ages and moments of all that has either: ourselves, the epochs, the last restart and failure.
fn times(status: &Status) -> Vec<(u64, &str)> {
    let mut times = vec![(status.uptime_ms, &status.since[..])];
    times.extend(status.epochs.iter().map(|epoch| (epoch.age_ms, &epoch.since[..])));
    let restarts = status.last_restart.iter().chain(&status.last_failure);
    times.extend(restarts.map(|restart| (restart.age_ms, &restart.since[..])));
    times
}

#[test]
fn what_has_happened_stays_where_it_was_whatever_becomes_of_the_clock() {
    set_wall(1000);
    let mut history = History::begin(at(10), wall);
    set_wall(1001);
    history.started(0, |_| true);
    set_wall(1005);
    history.settled(at(15), &RestartOutcome::Refused { why: "no".to_owned() });
    // Somebody sets it, back and forth.
    for seconds in [3, 2_000_000_000] {
        set_wall(seconds);
        let stands = status(report(&[(0, 11)]), &history, at(20));
        let expected = [
            (10_000, "1970-01-01T00:16:40.000Z"),
            (9000, "1970-01-01T00:16:41.000Z"),
            (5000, "1970-01-01T00:16:45.000Z"),
            (5000, "1970-01-01T00:16:45.000Z"),
        ];
        assert_eq!(times(&stands), expected);
    }
}

#[test]
fn a_failure_is_told_until_another_one_comes() {
    set_wall(0);
    let mut history = History::begin(at(0), wall);
    let mut last = |now, outcome: &RestartOutcome| {
        history.settled(at(now), outcome);
        let Status { last_restart, last_failure, .. } = status(report(&[]), &history, at(now));
        assert_eq!(last_restart.expect("it has settled").message, outcome.to_string());
        last_failure
    };
    assert_eq!(last(1, &ready(1)), None);
    let (failure, end) = (Failure::Ended(ended()), ended());
    for (now, outcome) in (10..).zip([
        RestartOutcome::Refused { why: "no".to_owned() },
        RestartOutcome::Failed { epoch: 2, failure, newest: Some(1) },
        RestartOutcome::Fatal { epoch: 3, end },
        RestartOutcome::Stopped { epoch: 4 },
    ]) {
        let failed = last(now, &outcome).expect("it came to nothing");
        assert_eq!((failed.ok, failed.age_ms), (false, 0));
        assert_eq!(failed.message, outcome.to_string());
        let later = last(now + 60, &ready(5)).expect("it is kept");
        assert_eq!(later, LastRestart { age_ms: 60_000, ..failed });
    }
    let told = status(report(&[]), &history, at(100));
    let counts = (told.restarts_done, told.restarts_refused, told.restarts_failed);
    assert_eq!(counts, (5, 1, 3));
}

#[test]
fn an_epoch_has_its_own_start_though_its_number_is_used_again() {
    set_wall(0);
    let mut history = History::begin(at(0), wall);
    history.started(0, |_| true);
    history.ready(0, Duration::from_secs(2));
    set_wall(60);
    history.started(1, |_| true);
    history.ready(1, Duration::from_secs(3));
    set_wall(120);
    history.started(1, |_| true);
    let stands = status(report(&[(0, 0), (1, 120)]), &history, at(121));
    let told = |epoch: &Epoch| (epoch.since.clone(), epoch.ready_after_ms);
    let expected = [
        ("1970-01-01T00:00:00.000Z".to_owned(), Some(2000)),
        ("1970-01-01T00:02:00.000Z".to_owned(), None),
    ];
    assert_eq!(stands.epochs.iter().map(told).collect::<Vec<_>>(), expected);
    // Of what has ended nothing is kept.
    history.started(2, |number| number == 2);
    assert_eq!(history.epochs.len(), 1);
}
