//! What happens in a life: faults, signals and clients, until it is stopped or ends by itself.

mod acts;
mod ending;

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Child;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use support::processes;
use support::random::Random;
use support::scene::Scene;

use super::arena::Arena;
use super::clients::Told;
use super::handle::Handle;
use super::manners;
use super::plan::{Plan, Sink};
use super::start::{self, Ear};
use crate::judge::End;
use crate::tally::Tally;

/// How long an answer to SIGHUP may take on a machine that is busy.
const BOUND: Duration = Duration::from_secs(20);

/// A life that is played.
pub(super) struct Stage<'a> {
    arena: &'a Arena,
    tally: &'a Tally,
    random: Random,
    pub(super) scene: Scene,
    pub(super) plan: Plan,
    program: String,
    child: Option<Child>,
    restarter: Option<Handle>,
    ear: Option<Ear>,
    stopped: Vec<Handle>,
    held: Vec<UnixStream>,
    waiting: Vec<(&'static str, JoinHandle<(Told, u64)>)>,
    answers: Vec<(&'static str, Told, u64)>,
    crowded: bool,
    /// When it was asked to stop.
    pub(super) asked: Option<u64>,
    pub(super) suspended: Vec<(u64, u64)>,
    ended_at: u64,
    found: Vec<String>,
}

impl<'a> Stage<'a> {
    pub(super) fn new(arena: &'a Arena, seed: u64, tally: &'a Tally) -> Self {
        let mut random = Random::new(seed);
        let mut plan = Plan::new(&mut random);
        if plan.sink == Sink::FullDisk && arena.disk.is_none() {
            plan.sink = Sink::File;
        }
        Self {
            arena,
            tally,
            random,
            scene: Scene::new(),
            plan,
            program: arena.program.clone(),
            child: None,
            restarter: None,
            ear: None,
            stopped: Vec::new(),
            held: Vec::new(),
            waiting: Vec::new(),
            answers: Vec::new(),
            crowded: false,
            asked: None,
            suspended: Vec::new(),
            ended_at: 0,
            found: Vec::new(),
        }
    }

    /// The file that is under test.
    pub(super) fn program(&self) -> &str {
        &self.program
    }

    /// Plays it to its end; why there was none.
    pub(super) fn play(&mut self) -> Result<End, String> {
        let words = start::furnish(&self.scene, &self.plan);
        let checks = self.plan.terms.checks;
        let calm_at_first = self.random.percent(if checks { 60 } else { 15 });
        if calm_at_first {
            self.behave_well();
        } else {
            self.behave();
        }
        self.write("check-steps", "exit=0");
        let started = start::start(self.arena, &self.scene, &self.plan, &self.program, &words);
        self.child = Some(started.child);
        self.restarter = started.restarter;
        self.ear = started.ear;
        self.await_first();
        if calm_at_first {
            self.two_in_a_row(checks);
            self.behave();
        }
        let until = Instant::now() + self.plan.length;
        while Instant::now() < until && self.lives() && !self.tally.is_broken() {
            self.act();
        }
        self.calm();
        if self.lives() && self.random.percent(20) {
            self.two_in_a_row(checks);
        }
        if self.lives() && self.random.percent(30) {
            self.one_more();
        }
        self.ask_to_end();
        let end = self.await_end();
        self.gather();
        end
    }

    /// Has the next epoch do what it should.
    fn behave_well(&mut self) {
        let steps = manners::good_epoch(&mut self.random, &self.plan);
        self.write("steps", &self.in_place(&steps));
    }

    /// Waits until the first epoch has said something, or all is over.
    fn await_first(&mut self) {
        let begun = Instant::now();
        while begun.elapsed() < BOUND && self.lives() {
            if fs::metadata(self.scene.path("journal")).is_ok_and(|file| file.len() > 0) {
                return;
            }
            thread::sleep(Duration::from_micros(500));
        }
    }

    fn lives(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().is_ok_and(|end| end.is_none()))
    }

    fn send(&self, signal: i32) {
        if self.restarter.as_ref().is_some_and(|restarter| restarter.signal(signal)) {
            self.tally.add("signals", 1);
        }
    }

    fn write(&self, name: &str, what: &str) {
        let beside = self.scene.path("beside");
        fs::write(&beside, what).expect("a file in our folder");
        fs::rename(beside, self.scene.path(name)).expect("a file in our folder");
    }

    /// With the folders of this life.
    fn in_place(&self, steps: &str) -> String {
        let steps = steps.replace("{arrivals}", &self.scene.place("arrivals"));
        steps.replace("{journal}", &self.scene.place("journal"))
    }

    /// Decides how the next epoch will behave.
    fn behave(&mut self) {
        let steps = manners::epoch(&mut self.random, &self.plan);
        self.write("steps", &self.in_place(&steps));
    }

    /// Ends the faults that are going on.
    fn calm(&mut self) {
        for stopped in self.stopped.drain(..) {
            stopped.signal(libc::SIGCONT);
        }
        self.held.clear();
        for cgroup in [&self.arena.pids, &self.arena.memory].into_iter().flatten() {
            cgroup.set(None);
        }
        if let Some(ear) = &self.ear {
            ear.pause.store(0, Ordering::Relaxed);
        }
    }

    /// Hears the clients that are still waiting.
    fn gather(&mut self) {
        self.held.clear();
        for (command, client) in self.waiting.drain(..) {
            match client.join() {
                Ok((told, at)) => self.answers.push((command, told, at)),
                Err(_) => self.found.push("a client has panicked".to_owned()),
            }
        }
    }

    /// What the clients were told.
    pub(super) fn told(&self) -> &[(&'static str, Told, u64)] {
        &self.answers
    }

    /// What is in its log so far.
    pub(super) fn log(&mut self) -> String {
        if let Some(ear) = &mut self.ear {
            return ear.finish();
        }
        let place = self.log_place();
        String::from_utf8_lossy(&fs::read(place).unwrap_or_default()).into_owned()
    }

    fn log_place(&self) -> PathBuf {
        match (&self.arena.disk, self.plan.sink) {
            (Some(disk), Sink::FullDisk) => disk.join("log"),
            _ => self.scene.path("log"),
        }
    }

    /// What it has left behind.
    pub(super) fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        for pid in self.scene.processes() {
            left.push(format!("left running: {:?}", processes::command_line(pid)));
        }
        if self.scene.path("control").exists() {
            left.push("the control socket was left".to_owned());
        }
        if let Some(disk) = &self.arena.disk {
            for name in ["log", "ballast"] {
                let _ = fs::remove_file(disk.join(name));
            }
        }
        left
    }

    /// What was seen while it lived, and what clients were told that is not right.
    pub(super) fn found(&mut self) -> Vec<String> {
        let mut found = std::mem::take(&mut self.found);
        // Those that are told nothing by one who ends were just not let in any more.
        let until = self.ended_at.saturating_sub(1_000_000);
        for (command, told, at) in &self.answers {
            let wrong = match told {
                Told::Answered => false,
                // Among a crowd one may be sent away for another.
                Told::Nothing => *at < until && !self.crowded,
                Told::Silence => !self.crowded,
                Told::Nonsense(_) => true,
            };
            if wrong {
                found.push(format!("a client that asked for {command} was told {told:?} at {at}"));
            }
        }
        found
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        self.calm();
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
