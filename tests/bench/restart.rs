//! From SIGHUP to the first instruction of the new epoch.

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use support::processes;
use support::scene::Scene;

use crate::latency::micros;
use crate::peers::Peer;
use crate::pid1::{BOUND, Init, PATIENCE};
use crate::table::{NEVER, NOT_FOR_IT, Table};
use crate::turns::take_turns;
use crate::voice::Voice;

/// What an epoch is: it says when it began, and leaves as after a handover.
const EPOCH: &str = "to=voice begun exit-on=TERM:0 wait";
/// As many epochs as may live by default.
const MOST: usize = 3;
/// What waits is not started within this.
const AT_ONCE: Duration = Duration::from_millis(30);
/// After this a target that is no server is ready.
const READY: Duration = Duration::from_millis(1_300);

/// With so many living epochs and so many other processes in the namespace.
pub(crate) fn restart(peers: &[Peer], table: &mut Table) {
    let what = "SIGHUP to the new epoch's first instruction";
    for others in [0, 1_000, 10_000] {
        let beside = match others {
            0 => String::new(),
            others => format!(", {others} processes beside"),
        };
        for living in 1..=MOST {
            if others == 1_000 && living > 1 {
                continue;
            }
            let row = rounds(peers, living, others, "none", 40);
            let title = match living {
                1 => format!("{what}, one living{beside}, µs"),
                MOST => {
                    format!("the same with three living, from the oldest one's end{beside}, µs")
                }
                _ => format!("the same with two living{beside}, µs"),
            };
            table.row(&title, row);
        }
    }
    for others in [0, 10_000] {
        let row = rounds(peers, 1, others, "auto", 5);
        let title = match others {
            0 => "the same with one living and `--ready auto`, µs".to_owned(),
            others => format!("the same, {others} processes beside, µs"),
        };
        table.row(&title, row);
    }
}

fn rounds(
    peers: &[Peer],
    living: usize,
    others: usize,
    ready: &str,
    times: usize,
) -> Vec<crate::table::Cell> {
    let scene = Scene::new();
    // Each has a stage of its own, which is set at its first turn.
    let mut stages: Vec<Option<Stage>> = peers.iter().map(|_| None).collect();
    let [row] = take_turns(peers, times, |peer| {
        // Without a limit of its own a fourth Envoy would make the others exit.
        if !peer.may_restart() || living == MOST && !peer.is_ours() {
            return Err(NOT_FOR_IT);
        }
        let index = peers.iter().position(|other| other.name == peer.name).expect("it is one");
        if stages[index].is_none() {
            stages[index] = Some(Stage::new(&scene, peer, living, others, ready)?);
        }
        stages[index].as_mut().expect("it has just been set").round()
    });
    row
}

struct Stage {
    init: Init,
    living: usize,
    settles: bool,
    _others: Option<Others>,
}

impl Stage {
    fn new(
        scene: &Scene,
        peer: &Peer,
        living: usize,
        others: usize,
        ready: &str,
    ) -> Result<Self, &'static str> {
        let mut init = Init::start(scene, peer, &["--ready", ready], EPOCH);
        init.hear("ready");
        for _ in 1..living {
            init.signal(libc::SIGHUP);
            init.voice.hear("ready", PATIENCE).ok_or(NEVER)?;
        }
        let others = (others > 0).then(|| Others::new(scene, &init, others));
        Ok(Self { init, living, settles: ready == "auto", _others: others })
    }

    fn round(&mut self) -> Result<[f64; 1], &'static str> {
        let Self { init, living, .. } = self;
        // It is asleep again.
        thread::sleep(if self.settles { READY } else { Duration::from_millis(5) });
        let mut since = init.signal(libc::SIGHUP);
        if *living == MOST {
            let early = init.voice.hear("begun", AT_ONCE);
            assert!(early.is_none(), "a fourth epoch beside three");
            end_oldest(init);
            since = init.hear("signal").number(1);
        }
        let begun = init.voice.hear("begun", PATIENCE).ok_or(NEVER)?.number(0);
        init.voice.hear("ready", PATIENCE).ok_or(NEVER)?;
        if *living < MOST {
            // It leaves when all that a restart means has been done, as after a handover.
            thread::sleep(Duration::from_millis(10));
            end_oldest(init);
        }
        let since_end = Instant::now();
        while processes::children(init.pid).len() != *living {
            if since_end.elapsed() > PATIENCE {
                return Err(NEVER);
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok([micros(since, begun)])
    }
}

fn end_oldest(init: &Init) {
    assert!(processes::signal(init.target(), libc::SIGTERM), "it lives");
}

/// Processes in the namespace that are nobody's there, as those of `docker exec`.
struct Others {
    enter: Child,
    _voice: Voice,
}

impl Others {
    fn new(scene: &Scene, init: &Init, others: usize) -> Self {
        let mut voice = Voice::at(scene.path(&format!("others-{}", init.pid)));
        // What they say themselves goes nowhere.
        let steps = format!("repeat={others} [ fork [ wait ] ] {} say=there wait", voice.step());
        let mut command = Command::new("nsenter");
        command.args(["--target", &init.pid.to_string(), "--pid"]).arg(support::probe());
        command.env("PROBE_STEPS", steps);
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let enter = quiet.spawn().expect("nsenter runs");
        voice.hear("say", BOUND).expect("all are there");
        Self { enter, _voice: voice }
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        // They end with their namespace, and the one that entered it with them.
        let _ = self.enter.kill();
        let _ = self.enter.wait();
    }
}
