//! Stops under load: clients go on sending for seconds, as a load balancer does that has not
//! noticed yet, and nothing may be lost to them.

mod bad_admin;
mod places;

use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::{Duration, Instant};

use clients::{Figures, Front, Kind, Mix, Population};
use libc::{SIGHUP, SIGTERM};
use libtest_mimic::Trial;
use support::envoy::{Bare, Stage};
use support::eventually;
use support::load::{Counted, Load};

use super::{Random, times, under_load};
use crate::needs::{Needs, trial};

/// How long clients go on after the signal.
const UNAWARE: Duration = Duration::from_secs(5);
/// The last of them are long ones that come then, so long before that time is over.
const LATE: Duration = Duration::from_secs(1);
/// The end of a drain at the latest, in seconds: as long as `--term-wait` allows.
const TIMEOUT: u64 = 25;
/// What a stop takes beside its drain at most, on a machine that is busy with other things.
const ENDING: Duration = Duration::from_secs(15);
/// How many stops take place beside each other.
const AT_ONCE: usize = 5;
/// Long requests that are in flight.
const LONG: usize = 4;

/// The trials of this module.
pub(super) fn trials() -> Vec<Trial> {
    let loaded = |name: &str, run: fn()| under_load(trial(name, Needs::Namespace, run));
    let mut trials = vec![
        loaded("envoy::drain::stops_in_a_quiet_moment", || in_turn(&[Moment::Quiet])),
        loaded("envoy::drain::stops_amid_a_handover", || {
            in_turn(&[Moment::AmidAHandover, Moment::OlderEpochDrains]);
        }),
        trial("envoy::drain::late_requests_at_an_older_epoch", Needs::Namespace, late_at_an_older),
        trial("envoy::drain::sessions_that_do_not_end", Needs::Namespace, endless),
        trial("envoy::drain::without_it_everything_is_lost", Needs::Namespace, without),
    ];
    trials.extend(places::trials());
    trials.extend(bad_admin::trials());
    trials
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clients {
    Kept,
    Renewed,
    Http2,
    Tcp,
    Long,
    /// All of these, and the load generators.
    All,
}

/// Those of ten stops.
const CLIENTS: [Clients; 10] = [
    Clients::All,
    Clients::Kept,
    Clients::Http2,
    Clients::Tcp,
    Clients::Long,
    Clients::All,
    Clients::Renewed,
    Clients::Http2,
    Clients::Tcp,
    Clients::Long,
];

/// When the stop begins.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// One epoch serves.
    Quiet,
    /// 0 to 150 ms after a restart was asked for.
    AmidAHandover,
    /// A new epoch has taken over, and the older one has still to do.
    OlderEpochDrains,
}

impl Clients {
    fn mix(self) -> Mix {
        const NONE: Mix = Mix { kept: 0, renewed: 0, http2: 0, tcp: 0 };
        match self {
            Self::Kept => Mix { kept: 8, ..NONE },
            Self::Renewed => Mix { renewed: 6, ..NONE },
            Self::Http2 => Mix { http2: 4, ..NONE },
            Self::Tcp => Mix { tcp: 6, ..NONE },
            // Somebody must keep the service busy beside them.
            Self::Long => Mix { kept: 1, ..NONE },
            Self::All => Mix::ALL,
        }
    }

    fn send_long(self) -> bool {
        self == Self::Long || self == Self::All
    }
}

/// As many stops as are asked for, half of them here, some at once.
fn in_turn(moments: &[Moment]) {
    let seed = u64::from(std::process::id());
    let mut random = Random(seed);
    let stops: Vec<_> = (0..times() as usize / 2)
        .map(|turn| {
            let gap = Duration::from_micros(u64::from(random.next() % 150_000));
            (CLIENTS[turn % CLIENTS.len()], moments[turn % moments.len()], gap)
        })
        .collect();
    for stops in stops.chunks(AT_ONCE) {
        thread::scope(|scope| {
            for (clients, moment, gap) in stops {
                scope.spawn(move || stop(*clients, *moment, *gap));
            }
        });
    }
}

/// One stop; `gap` is from SIGHUP to SIGTERM.
fn stop(clients: Clients, moment: Moment, gap: Duration) {
    // As in the examples: an older epoch has most of a minute, and is cut off by a stop alone.
    let front = Front::of(Stage::in_namespace((45, 60)));
    let admin = front.stage.admin();
    let options = ["--envoy-admin", &admin, "--drain-timeout", &TIMEOUT.to_string()];
    let mut bare = Bare::start(&front.stage, &options);
    front.stage.await_first(|| bare.output());
    let mut population = front.clients(clients.mix());
    let load = (clients == Clients::All).then(|| Load::modest(&front.stage));
    if clients.send_long() {
        front.send_long(&mut population, LONG);
    }
    match moment {
        Moment::Quiet => {}
        Moment::AmidAHandover => {
            bare.restarter.signal(SIGHUP);
            thread::sleep(gap);
        }
        Moment::OlderEpochDrains => {
            bare.restarter.signal(SIGHUP);
            await_said(&bare, "ready epoch=1");
            // What both of them have in flight.
            if clients.send_long() {
                front.send_long(&mut population, LONG);
            }
        }
    }
    let (lasted, figures, counted) = end(&mut bare, clients, population, load);
    let what = format!("{clients:?}, {moment:?}, {gap:?}: {lasted:?}\n{figures}");
    println!("{what}");
    assert_eq!(figures.all().failed(), 0, "{what}");
    assert_eq!(counted.map_or(0, |counted| counted.failed), 0, "{what}");
    assert!(lasted < Duration::from_secs(TIMEOUT) + ENDING, "{what}");
    // Whoever keeps connections was told to go.
    for kind in [Kind::Kept, Kind::Http2] {
        let count = figures.of(kind);
        assert!(count.sent == 0 || count.told > 0 && count.dropped == 0, "{what}");
    }
    // It ended for the right reason.
    await_said(&bare, "drained: nothing is pending");
}

/// Asks it to stop, has clients go on for a while, and waits for the end of all. How long the
/// stop has lasted, and what was counted.
fn end(
    bare: &mut Bare,
    clients: Clients,
    mut population: Population,
    load: Option<Load>,
) -> (Duration, Figures, Option<Counted>) {
    let since = Instant::now();
    bare.restarter.signal(SIGTERM);
    thread::scope(|scope| {
        let stop = scope.spawn(|| {
            let status = bare.wait();
            assert_eq!((status.code(), status.signal()), (Some(0), None), "{}", bare.output());
            since.elapsed()
        });
        let load = scope.spawn(move || {
            thread::sleep(UNAWARE);
            load.map(Load::stop)
        });
        // What comes late outlasts the time that every drain takes.
        thread::sleep(UNAWARE.saturating_sub(LATE));
        if clients.send_long() {
            population.send_long(LONG);
        }
        let figures = population.finish(LATE);
        let counted = load.join().expect("the generators report");
        let lasted = stop.join().expect("the restarter has ended well");
        (lasted, figures, counted.map(|(kept, new)| kept + new))
    })
}

/// Waits until the restarter has said this.
fn await_said(bare: &Bare, words: &str) {
    eventually(&format!("the log says {words:?}"), || {
        let output = bare.output();
        if output.contains(words) { Ok(()) } else { Err(output) }
    });
}

/// A kept connection may be with the older epoch still, and what is asked on it is in the newest
/// one's figures with a delay of seconds only: it learns of it 5 s after its start and every 5 s
/// from then on. So the stop begins shortly before that, and the requests come shortly after.
fn late_at_an_older() {
    const HELD: usize = 6;
    let front = Front::of(Stage::in_namespace((45, 60)));
    let admin = front.stage.admin();
    let options = ["--envoy-admin", &admin, "--drain-timeout", &TIMEOUT.to_string()];
    let mut bare = Bare::start(&front.stage, &options);
    front.stage.await_first(|| bare.output());
    let mut population = front.clients(Mix::default());
    population.hold(HELD);
    eventually("all connections are held", || match population.held() {
        HELD => Ok(()),
        other => Err((other, population.figures().to_string())),
    });
    let since = Instant::now();
    bare.restarter.signal(SIGHUP);
    await_said(&bare, "ready epoch=1");
    thread::sleep(Duration::from_millis(3_600).saturating_sub(since.elapsed()));
    let since = Instant::now();
    bare.restarter.signal(SIGTERM);
    thread::sleep(Duration::from_millis(2_500));
    population.send_long_on_held();
    let figures = population.finish(LATE);
    let status = bare.wait();
    let what = format!("late requests at an older epoch: {:?}\n{figures}", since.elapsed());
    println!("{what}");
    assert_eq!((figures.all().failed(), figures.all().dropped), (0, 0), "{what}");
    assert_eq!(figures.of(Kind::Long).answered, HELD.try_into().expect("a few"), "{what}");
    assert_eq!(status.code(), Some(0), "{what}");
}

/// Who never comes to an end is cut off when the time is over.
fn endless() {
    const TIMEOUT: Duration = Duration::from_secs(4);
    let front = Front::of(Stage::in_namespace((45, 60)));
    let admin = front.stage.admin();
    let options = ["--envoy-admin", &admin, "--drain-timeout", "4", "--drain-min", "1"];
    let mut bare = Bare::start(&front.stage, &options);
    front.stage.await_first(|| bare.output());
    // Each session lasts 3 s, and is followed by the next one.
    let population = front.clients(Mix { tcp: 4, ..Mix::default() });
    let since = Instant::now();
    bare.restarter.signal(SIGTERM);
    assert_eq!(bare.wait().code(), Some(0), "{}", bare.output());
    let lasted = since.elapsed();
    let figures = population.finish(Duration::ZERO);
    println!("sessions that do not end: {lasted:?}\n{figures}");
    assert!(lasted >= TIMEOUT && lasted < TIMEOUT + ENDING, "{lasted:?}: {}", bare.output());
    await_said(&bare, "--drain-timeout is over, which cuts off ");
}

/// What all of this is for.
fn without() {
    let front = Front::of(Stage::in_namespace((45, 60)));
    let mut bare = Bare::start(&front.stage, &["--envoy-admin", &front.stage.admin()]);
    front.stage.await_first(|| bare.output());
    let mut population = front.clients(Mix::ALL);
    front.send_long(&mut population, LONG);
    bare.restarter.signal(SIGTERM);
    assert_eq!(bare.wait().code(), Some(0));
    let figures = population.finish(Duration::from_secs(1));
    println!("without a drain:\n{figures}");
    for kind in Kind::ALL {
        assert!(figures.of(kind).failed() > 0, "nothing is lost to {kind}: {figures}");
    }
}
