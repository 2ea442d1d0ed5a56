//! What a stop costs the clients of an Envoy, under several inits: the same Envoy, the same load,
//! and `docker stop`. Prints a table in Markdown, of medians, and passes no verdict.
//!
//! Clients go on sending for five seconds after the stop has begun, as a load balancer does that
//! has not noticed yet.

mod stats;

use std::env;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use clients::{Front, Loss, Mix};
use stats::median;
use support::docker::{Container, Run, images};
use support::envoy::Stage;

/// How often each is stopped, unless this variable asks for more.
const ROUNDS: usize = 3;
const ROUNDS_VARIABLE: &str = "BENCH_ROUNDS";
/// How long clients go on.
const UNAWARE: Duration = Duration::from_secs(5);
/// How long they are served before.
const WARM_UP: Duration = Duration::from_secs(2);
/// How many long requests are in flight, of five seconds each.
const LONG: usize = 20;
/// `--drain-timeout`, in seconds.
const TIMEOUT: &str = "20";

/// Debian's, which needs no library.
const TINI: &str = "/usr/bin/tini-static";

/// What is between the engine and Envoy.
#[derive(Clone, Copy, Debug)]
enum Init {
    Draining,
    Plain,
    Tini,
    None,
}

impl Init {
    const ALL: [Self; 4] = [Self::Draining, Self::Plain, Self::Tini, Self::None];

    fn name(self) -> &'static str {
        match self {
            Self::Draining => "hot-restarter, `--drain-timeout 20`",
            Self::Plain => "hot-restarter",
            Self::Tini => "tini",
            Self::None => "`exec envoy`",
        }
    }

    /// A container of it; each starts Envoy by the same script.
    fn start(self, front: &Front) -> Container {
        let run = Run::envoy_of(&images().shell, &front.stage);
        let script = &["start_envoy.sh", "--log-level", "warning"];
        let run = match self {
            Self::Draining => run
                .variable("HOT_RESTARTER_ENVOY_ADMIN", &front.stage.admin())
                .variable("HOT_RESTARTER_DRAIN_TIMEOUT", TIMEOUT)
                .option("--entrypoint=/hot-restarter")
                .arguments(script),
            Self::Plain => run.option("--entrypoint=/hot-restarter").arguments(script),
            Self::Tini => run
                .mount(TINI.as_ref(), "/tini:ro")
                .option("--entrypoint=/tini")
                .arguments(&["--"])
                .arguments(script),
            Self::None => run.option("--entrypoint=start_envoy.sh").arguments(&script[1..]),
        };
        run.start()
    }
}

/// One stop.
#[derive(Clone, Copy, Debug)]
struct Stop {
    in_flight: u64,
    /// Sent, and answered in part or not at all.
    cut: u64,
    refused: u64,
    /// From the beginning of the stop on.
    answered: u64,
    seconds: f64,
    exit_code: i32,
}

fn main() {
    // `cargo test --benches` and the like only want to know that it builds.
    if env::args().any(|argument| argument == "--test") {
        return;
    }
    let rounds =
        env::var(ROUNDS_VARIABLE).map_or(ROUNDS, |rounds| rounds.parse().expect("a number"));
    let mut inits = Init::ALL.to_vec();
    if !Path::new(TINI).exists() {
        eprintln!("{TINI} is not installed, so it is left out");
        inits.retain(|init| !matches!(init, Init::Tini));
    }
    let mut stops = vec![Vec::new(); inits.len()];
    for round in 1..=rounds {
        for (init, stops) in inits.iter().copied().zip(&mut stops) {
            let stop = stop(init);
            eprintln!("round {round} of {rounds}, {}: {stop:?}", init.name());
            stops.push(stop);
        }
    }
    println!("{}, {rounds} stops each\n", stats::machine());
    println!(
        "| `docker stop` of | in flight | cut off | refused in 5 s | answered | seconds | exit code |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    for (init, stops) in inits.iter().zip(&stops) {
        println!("{}", row(init.name(), stops));
    }
    let longest = stops[0].iter().map(|stop| stop.seconds).fold(0.0, f64::max);
    println!(
        "\nThe longest stop with a drain: {longest:.1} s, of {TIMEOUT} s (`--drain-timeout`)."
    );
}

fn row(name: &str, stops: &[Stop]) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a run has no more requests than that")]
    let middle = |figure: fn(&Stop) -> u64| {
        median(&mut stops.iter().map(|stop| figure(stop) as f64).collect::<Vec<_>>())
    };
    let [in_flight, cut] = [middle(|stop| stop.in_flight), middle(|stop| stop.cut)];
    let [refused, answered] = [middle(|stop| stop.refused), middle(|stop| stop.answered)];
    let seconds = median(&mut stops.iter().map(|stop| stop.seconds).collect::<Vec<_>>());
    let codes: Vec<i32> = stops.iter().map(|stop| stop.exit_code).collect();
    let code = if codes.iter().all(|code| *code == codes[0]) {
        codes[0].to_string()
    } else {
        format!("{codes:?}")
    };
    format!(
        "| {name} | {in_flight:.0} | {cut:.0} | {refused:.0} | {answered:.0} | {seconds:.1} | {code} |"
    )
}

/// Has clients ask an Envoy, stops it, and waits until they are content.
fn stop(init: Init) -> Stop {
    let front = Front::of(Stage::in_container((45, 60)));
    let container = init.start(&front);
    front.stage.await_live(0);
    let mut population = front.clients(Mix::ALL.times(4));
    thread::sleep(WARM_UP);
    front.send_long(&mut population, LONG);
    let before = population.figures();
    let since = Instant::now();
    let (after, seconds, exit_code) = thread::scope(|scope| {
        let stop = scope.spawn(|| {
            let exit_code = container.stop();
            (since.elapsed().as_secs_f64(), exit_code)
        });
        let after = population.finish(UNAWARE);
        let (seconds, exit_code) = stop.join().expect("docker stops it");
        (after, seconds, exit_code)
    });
    eprintln!("{after}");
    assert_eq!(before.all().failed(), 0, "requests are lost before the stop: {before}");
    let refused = after.all().lost_by(Loss::Refused);
    Stop {
        in_flight: before.in_flight(),
        cut: after.all().failed() - refused,
        refused,
        answered: after.all().answered - before.all().answered,
        seconds,
        exit_code,
    }
}
