//! What happens in a life: faults, signals and clients, until it is stopped or ends by itself.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Child;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use support::scene::Scene;
use support::{probe, processes};

use super::arena::Arena;
use super::clients::{self, Told};
use super::handle::{Handle, now};
use super::manners;
use super::plan::{Plan, Sink, forwardable};
use super::start::{self, Ear};
use crate::judge::End;
use crate::random::Random;
use crate::tally::Tally;

/// How much later than promised an end may come on a machine that is busy.
const MARGIN: Duration = Duration::from_secs(20);
/// What SIGKILL is given.
const KILL_WAIT: Duration = Duration::from_secs(2);
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
        self.behave();
        self.write("check-steps", "exit=0");
        let started = start::start(self.arena, &self.scene, &self.plan, &self.program, &words);
        self.child = Some(started.child);
        self.restarter = started.restarter;
        self.ear = started.ear;
        self.await_first();
        let until = Instant::now() + self.plan.length;
        while Instant::now() < until && self.lives() && !self.tally.is_broken() {
            self.act();
        }
        self.calm();
        if self.lives() && self.random.percent(30) {
            self.one_more();
        }
        self.ask_to_end();
        let end = self.await_end();
        self.gather();
        end
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

    /// Decides how the next epoch will behave.
    fn behave(&mut self) {
        let steps = manners::epoch(&mut self.random, &self.plan);
        self.write("steps", &steps.replace("{arrivals}", &self.scene.place("arrivals")));
    }

    fn act(&mut self) {
        match self.random.below(100) {
            0..25 => self.restart(),
            25..60 => self.burst(),
            60..70 => self.behave(),
            70..76 => self.suspend_or_resume_somebody(),
            76..78 => self.suspend_ourselves(),
            78 => self.signal_somebody(),
            79..81 => self.starve(),
            81 => self.no_target(),
            82..85 => {
                let steps = manners::check(&mut self.random);
                self.write("check-steps", &steps);
            }
            85..92 if self.plan.controlled => self.ask(),
            92..94 if self.plan.controlled => {
                self.tally.add("crowds of clients that misbehave", 1);
                self.crowded = true;
                let more = clients::misbehave(&mut self.random, &self.scene.path("control"));
                self.held.extend(more);
            }
            94 => self.plug(),
            _ => thread::sleep(self.random.span_below_ms(40)),
        }
        thread::sleep(self.random.span_below_ms(4));
    }

    /// A hot restart, or ten at once; mostly it is given time.
    fn restart(&mut self) {
        if self.random.percent(50) {
            self.behave();
        }
        for _ in 0..self.random.one_of(&[1, 1, 1, 2, 10]) {
            self.send(libc::SIGHUP);
        }
        let time = self.random.one_of(&[2, 8, 8, 15]);
        thread::sleep(Duration::from_millis(time));
    }

    /// Many signals of every kind, as fast as they go.
    fn burst(&mut self) {
        let stop = self.plan.terms.stop_signal;
        let forwarded: Vec<i32> = forwardable().filter(|signal| *signal != stop).collect();
        let ignored = [libc::SIGTTIN, libc::SIGTTOU, libc::SIGPIPE, libc::SIGXFSZ, libc::SIGCHLD];
        let kind = self.random.below(12);
        for _ in 0..self.random.one_of(&[1, 3, 10, 30, 60, 120]) {
            let signal = match kind {
                0..4 => self.random.one_of(&forwarded),
                4..6 => self.random.one_of(&ignored),
                6 => libc::SIGUSR1,
                7 => libc::SIGCONT,
                8 => libc::SIGHUP,
                9 if stop != libc::SIGQUIT && self.random.percent(1) => libc::SIGQUIT,
                _ => {
                    let any = self.random.one_of(&forwarded);
                    self.random.one_of(&[
                        any,
                        libc::SIGUSR1,
                        libc::SIGCHLD,
                        libc::SIGHUP,
                        libc::SIGPIPE,
                    ])
                }
            };
            self.send(signal);
        }
    }

    /// A child of the restarter, if it has one.
    fn somebody(&mut self) -> Option<Handle> {
        let parent = self.restarter.as_ref()?.pid;
        let mut children = processes::children(parent);
        // One that is not a program yet holds the memory of the restarter.
        children.retain(|child| !self.program.ends_with(&child.name));
        if children.is_empty() {
            return None;
        }
        let index = self.random.below(children.len() as u64);
        Handle::of_child(children[usize::try_from(index).ok()?].pid, parent)
    }

    fn suspend_or_resume_somebody(&mut self) {
        if !self.stopped.is_empty() && self.random.percent(60) {
            for stopped in self.stopped.drain(..) {
                stopped.signal(libc::SIGCONT);
            }
            return;
        }
        let number = self.random.one_of(&[1, 1, 3]);
        for _ in 0..number {
            if let Some(child) = self.somebody() {
                self.tally.add("children suspended", 1);
                child.signal(libc::SIGSTOP);
                self.stopped.push(child);
            }
        }
    }

    fn suspend_ourselves(&mut self) {
        let Some(restarter) = &self.restarter else { return };
        self.tally.add("restarters suspended", 1);
        let from = now();
        restarter.signal(libc::SIGSTOP);
        let until = Instant::now() + self.random.span_below_ms(60);
        while Instant::now() < until {
            if self.random.percent(50) {
                self.burst();
            }
            thread::sleep(Duration::from_millis(2));
        }
        self.send(libc::SIGCONT);
        self.suspended.push((from, now()));
    }

    /// Something strikes an epoch from outside.
    fn signal_somebody(&mut self) {
        if self.random.percent(60) {
            return;
        }
        let signal =
            self.random.one_of(&[libc::SIGKILL, libc::SIGTERM, libc::SIGSEGV, libc::SIGHUP]);
        if let Some(child) = self.somebody() {
            self.tally.add("children struck from outside", 1);
            child.signal(signal);
        }
    }

    /// No process, or no memory, is to be had for a while.
    fn starve(&mut self) {
        if let Some(pids) = &self.arena.pids
            && self.random.percent(70)
        {
            self.tally.add("spans in which no process can be forked", 1);
            pids.set(Some(self.random.one_of(&[1, pids.processes()])));
            for _ in 0..4 {
                self.restart();
            }
            if let Some(pids) = &self.arena.pids {
                pids.set(None);
            }
        } else if let Some(memory) = &self.arena.memory {
            self.tally.add("spans in which memory is short", 1);
            memory.set(Some(192 << 20));
        }
    }

    /// The target is gone for a while.
    fn no_target(&mut self) {
        self.tally.add("targets removed", 1);
        let target = self.scene.path("target");
        let _ = fs::remove_file(&target);
        self.restart();
        let _ = symlink(probe(), target);
    }

    /// Standard error is in trouble.
    fn plug(&mut self) {
        match (self.plan.sink, &self.ear, &self.arena.disk) {
            (Sink::SlowPipe, Some(ear), _) => {
                let pause = self.random.one_of(&[0, 1, 20, 200]);
                ear.pause.store(pause, Ordering::Relaxed);
                self.tally.add("pipes full", u64::from(pause > 0));
            }
            (Sink::BrokenPipe, Some(ear), _) => {
                ear.close();
                self.tally.add("pipes broken", 1);
            }
            (Sink::FullDisk, _, Some(disk)) => {
                let ballast = disk.join("ballast");
                if fs::remove_file(&ballast).is_err() {
                    // As much as fits.
                    let _ = fs::write(&ballast, vec![0; 64 << 10]);
                    self.tally.add("disks full", 1);
                }
            }
            _ => {}
        }
    }

    /// A proper client.
    fn ask(&mut self) {
        let command = self.random.one_of(&["reload", "reload", "reopen", "status", "health"]);
        let wait = command == "reload" && self.random.percent(50);
        self.ask_for(command, wait);
    }

    fn ask_for(&mut self, command: &'static str, wait: bool) {
        // One that cannot connect has asked for nothing.
        let Ok(stream) = clients::connect(&self.scene.path("control")) else { return };
        self.tally.add("requests of proper clients", 1);
        let client = thread::spawn(move || (clients::ask(stream, command, wait), now()));
        self.waiting.push((command, client));
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

    /// After everything it still does what it is for: a SIGHUP starts something, waits or is
    /// refused, and says so.
    fn one_more(&mut self) {
        if self.plan.sink != Sink::File || !self.plan.terms.tells_all {
            return;
        }
        let words =
            ["started", "restart-", "checking", "not-started", "stopping", "ended-unexpectedly"];
        let about = |log: &str| {
            let lines = log.lines().filter(|line| words.iter().any(|word| line.contains(word)));
            lines.count()
        };
        let before = about(&self.log());
        self.send(libc::SIGHUP);
        let begun = Instant::now();
        while self.lives() {
            let log = self.log();
            // One that was queued before is carried out by and by, and this one with it.
            if about(&log) > before || last_is_queued(&log) {
                return;
            }
            if begun.elapsed() > BOUND {
                self.found.push("SIGHUP was sent, and nothing was started or said".to_owned());
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// A stop, in the worst circumstances perhaps.
    fn ask_to_end(&mut self) {
        if !self.lives() {
            return;
        }
        if self.random.percent(20) {
            // Both are stopped.
            for _ in 0..4 {
                if let Some(child) = self.somebody() {
                    child.signal(libc::SIGSTOP);
                }
            }
            self.tally.add("stops of suspended epochs", 1);
        }
        self.asked = Some(now());
        if self.plan.controlled && self.random.percent(25) {
            let wait = self.random.percent(50);
            self.ask_for("stop", wait);
            // It may have had no room for it.
            thread::sleep(self.random.span_below_ms(30));
        }
        for _ in 0..self.random.one_of(&[1, 1, 2, 5]) {
            self.stop();
        }
        while self.lives() && self.random.percent(70) {
            match self.random.below(4) {
                0 => self.send(libc::SIGHUP),
                1 => self.stop(),
                2 => self.burst(),
                _ => thread::sleep(self.random.span_below_ms(10)),
            }
        }
    }

    fn stop(&mut self) {
        let signal = self.random.one_of(&[libc::SIGTERM, libc::SIGINT]);
        self.send(signal);
    }

    fn await_end(&mut self) -> Result<End, String> {
        let wait = Duration::from_micros(self.plan.terms.term_wait) + KILL_WAIT + MARGIN;
        let begun = Instant::now();
        loop {
            let Some(child) = self.child.as_mut() else { return Err("never begun".to_owned()) };
            if let Ok(Some(status)) = child.try_wait() {
                self.ended_at = now();
                let end = status.code().map(End::Code);
                return end.or(status.signal().map(End::Signal)).ok_or_else(|| "no end".to_owned());
            }
            if begun.elapsed() > wait {
                let why = self.hung();
                if let Some(restarter) = &self.restarter {
                    restarter.signal(libc::SIGKILL);
                }
                let _ = child_wait(self.child.as_mut());
                return Err(why);
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// What can be seen of a restarter that does not end.
    fn hung(&self) -> String {
        let Some(restarter) = &self.restarter else { return "it hangs, and is nowhere".to_owned() };
        let read = |name: &str| {
            fs::read_to_string(format!("/proc/{}/{name}", restarter.pid)).unwrap_or_default()
        };
        let children = processes::children(restarter.pid);
        format!(
            "it was asked to stop and has not ended within --term-wait, 2 s and {MARGIN:?}; {}{}{}\n{children:#?}",
            read("status"),
            read("stack"),
            read("syscall"),
        )
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

fn child_wait(child: Option<&mut Child>) -> Option<()> {
    child?.wait().ok().map(drop)
}

/// Whether the last word about restarts is that one waits.
fn last_is_queued(log: &str) -> bool {
    let about =
        |line: &&str| ["started", "restart-", "checking"].iter().any(|word| line.contains(word));
    log.lines().rev().find(about).is_some_and(|line| line.contains("restart-queued"))
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
