//! A life is played, with a fault in it, and what is seen of it.

use support::scene::Scene;
use support::{eventually, probe, processes};

use super::acts::Playing;
use super::lives::{Life, Phase, Stage};
use super::tracer::{Aim, Call, Tracer, Whose};

/// What is seen of a life.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// What did not happen as it should, in the order of the acts.
    pub(super) missing: Vec<String>,
    /// Of these nobody has said a word: neither done nor refused.
    pub(super) silent: bool,
    /// It did not end by itself while the fault lasted.
    pub(super) lasted: bool,
    /// Its exit code; `None` where it did not end even without the fault.
    pub(super) code: Option<i32>,
    pub(super) log: String,
    /// The processes that it left behind.
    pub(super) left: Vec<String>,
    /// Children that had ended and were not reaped, in service.
    pub(super) zombies: usize,
    /// The calls before and after its first rest, each kind once, from the moment when it was
    /// looked at.
    pub(super) calls: [Vec<Call>; 2],
    /// How many calls it has made.
    pub(super) count: usize,
    /// Every fault has hit a call.
    pub(super) hit: bool,
    /// The folder of the scene, which stands in paths.
    pub(super) folder: String,
}

/// Plays a life with these faults.
pub(super) fn play(life: &Life, phase: Phase, aims: &[Aim]) -> Seen {
    let door = Scene::new();
    let gate = door.gate();
    let stage = Stage::new();
    let folder = stage.scene.folder().display().to_string();
    let [executor, door] = [probe().display().to_string(), format!("await={gate}")];
    let mut setup = (life.prepare)(&stage, &[&executor, &door, "exec"]);
    let whose = if phase == Phase::Child { Whose::Children } else { Whose::Own };
    let tracer = Tracer::of(&mut setup.command, whose, folder.clone(), aims);
    let restarter = setup.start();
    let pid = waiting_at_the_door(restarter.outer_pid(), &door);
    tracer.follows(pid);
    let seen = Seen { folder, ..Seen::default() };
    let mut playing = Playing { life, restarter, pid, stage: &stage, tracer, seen };
    if phase == Phase::Start {
        playing.tracer.arms();
    }
    gate.open();
    let serves = !life.acts.is_empty() && playing.begins();
    playing.tracer.arms();
    if serves {
        for act in life.acts {
            playing.act(*act);
        }
    } else if !playing.has_ended() {
        life.acts.last().into_iter().for_each(|act| playing.act(*act));
    }
    playing.ends();
    let Playing { restarter, tracer, mut seen, .. } = playing;
    seen.calls = tracer.calls();
    seen.count = tracer.count();
    seen.hit = tracer.has_hit();
    // What is said when the fault is over is none of its outcomes.
    if !seen.lasted {
        seen.log = restarter.log();
    }
    seen
}

/// The process that is to become the restarter, by its number in our PID namespace.
fn waiting_at_the_door(outer: i32, door: &str) -> i32 {
    eventually("somebody waits at the door", || {
        let mut pids = vec![outer];
        let mut at = 0;
        while let Some(&pid) = pids.get(at) {
            let words = processes::command_line(pid);
            let waits = words.get(1).is_some_and(|word| word == door);
            if waits && processes::process(pid).is_some_and(|process| process.state == 'S') {
                return Ok(pid);
            }
            pids.extend(processes::children(pid).into_iter().map(|child| child.pid));
            at += 1;
        }
        Err(pids)
    })
}
