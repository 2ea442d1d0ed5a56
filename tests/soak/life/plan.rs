//! What a life is like: all of it follows from its seed.

use std::time::Duration;

use support::random::Random;

use crate::judge::{Ready, Terms};

/// Where the restarter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// PID 1 of a namespace of its own.
    First,
    /// A child of ours, and a subreaper.
    Subreaper,
}

/// What it sees at `/proc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Procfs {
    /// Its own processes.
    Own,
    /// With `hidepid=2`, as somebody who is not root.
    Hidden,
    /// That of another PID namespace.
    Others,
    /// Nothing.
    None,
}

/// Where its log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sink {
    /// A file.
    File,
    /// A file on a disk that is soon full.
    FullDisk,
    /// A pipe whose reader is slow.
    SlowPipe,
    /// A pipe that nobody reads any more.
    BrokenPipe,
    /// Nothing is open.
    Closed,
}

/// A life.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) place: Place,
    pub(super) procfs: Procfs,
    pub(super) sink: Sink,
    /// It may not signal processes of other users.
    pub(super) powerless: bool,
    /// Its monotonic clock is far from ours.
    pub(super) other_clock: bool,
    /// It is given a place for its control socket.
    pub(super) controlled: bool,

    pub(super) options: Vec<String>,
    pub(super) terms: Terms,
    /// What leaders catch.
    pub(super) caught: Vec<i32>,
    pub(super) length: Duration,
}

const SECOND: u64 = 1_000_000;

impl Plan {
    /// One at random; `{…}` in an option is to be replaced.
    pub(super) fn new(random: &mut Random) -> Self {
        let place = if random.percent(75) { Place::First } else { Place::Subreaper };
        let procfs = match place {
            Place::Subreaper => Procfs::Own,
            Place::First => match random.below(20) {
                0 => Procfs::None,
                1 => Procfs::Others,
                2 | 3 => Procfs::Hidden,
                _ => Procfs::Own,
            },
        };
        let sink = match random.below(20) {
            0 => Sink::Closed,
            1 => Sink::BrokenPipe,
            2 | 3 => Sink::FullDisk,
            4 | 5 => Sink::SlowPipe,
            _ => Sink::File,
        };
        let ready = match random.below(20) {
            0 => Ready::Auto,
            1..=9 => Ready::Exec,
            _ => Ready::None,
        };
        let mut options: Vec<String> = Vec::new();
        let mut option = |name: &str, value: String| options.extend([name.to_owned(), value]);
        option(
            "--ready",
            match ready {
                Ready::None => "none".to_owned(),
                Ready::Auto => "auto".to_owned(),
                Ready::Exec => "exec:{ready}".to_owned(),
            },
        );
        let term_wait = random.one_of(&[200, 500, 1000, 2000]);
        option("--term-wait", seconds(term_wait));
        let ready_timeout = random.one_of(&[1200, 1500, 2000, 60_000]);
        option("--ready-timeout", seconds(ready_timeout));
        let max_epochs = random.one_of(&[2, 3, 3]);
        option("--max-epochs", max_epochs.to_string());
        let rollback = ready != Ready::None && random.percent(70);
        option(&format!("--rollback={rollback}"), String::new());
        let min_interval = if random.percent(15) { 30 + random.below(200) } else { 0 };
        option("--min-restart-interval", seconds(min_interval));
        let check = random.percent(20);
        if check {
            option("--check", "{check}".to_owned());
            option("--check-timeout", seconds(100 + random.below(300)));
        }
        let controlled = random.percent(70);
        option("--control", if controlled { "{control}" } else { "none" }.to_owned());
        if random.percent(30) {
            option("--log-format", "json".to_owned());
        }
        let tells_all = !random.percent(5);
        option(
            "--log-level",
            if tells_all { random.one_of(&["info", "debug"]) } else { "warn" }.to_owned(),
        );
        let stop_signal =
            if random.percent(20) { random.one_of(&[libc::SIGQUIT, 37]) } else { libc::SIGTERM };
        option("--stop-signal", stop_signal.to_string());
        option("--termination-log", "{termination}".to_owned());
        options.retain(|word| !word.is_empty());
        let mut caught = vec![libc::SIGUSR1, libc::SIGQUIT, libc::SIGWINCH];
        caught.extend(forwardable().filter(|_| random.percent(40)));
        caught.retain(|signal| *signal != stop_signal);
        let powerless = place == Place::First && procfs == Procfs::Own && random.percent(5);
        Self {
            place,
            procfs,
            sink,
            powerless,
            other_clock: place == Place::First && random.percent(15),
            controlled,

            options,
            terms: Terms {
                term_wait: term_wait * SECOND / 1000,
                ready,
                ready_timeout: ready_timeout * SECOND / 1000,
                rollback,
                checks: check,
                max_epochs,
                min_interval: min_interval * SECOND / 1000,
                stop_signal,
                may_signal: !powerless,
                sees_processes: [Procfs::Own, Procfs::Hidden].contains(&procfs),
                tells_all,
            },
            caught,
            length: Duration::from_millis(300) + random.span_below_ms(3500),
        }
    }
}

/// The signals that go to those that catch them, but for SIGUSR1.
pub(super) fn forwardable() -> impl Iterator<Item = i32> {
    [
        libc::SIGUSR2,
        libc::SIGALRM,
        libc::SIGVTALRM,
        libc::SIGPROF,
        libc::SIGIO,
        libc::SIGURG,
        libc::SIGWINCH,
    ]
    .into_iter()
    .chain(34..=64)
}

fn seconds(millis: u64) -> String {
    format!("{}.{:03}", millis / 1000, millis % 1000)
}
