//! Faults, signals and clients.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use support::{probe, processes};

use super::Stage;
use crate::life::clients;
use crate::life::handle::{Handle, now};
use crate::life::manners;
use crate::life::plan::{Sink, forwardable};

impl Stage<'_> {
    pub(super) fn act(&mut self) {
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
                self.write("check-steps", &self.in_place(&steps));
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
    pub(super) fn burst(&mut self) {
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
    pub(super) fn somebody(&mut self) -> Option<Handle> {
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

    pub(super) fn ask_for(&mut self, command: &'static str, wait: bool) {
        // One that cannot connect has asked for nothing.
        let Ok(stream) = clients::connect(&self.scene.path("control")) else { return };
        self.tally.add("requests of proper clients", 1);
        let client = thread::spawn(move || (clients::ask(stream, command, wait), now()));
        self.waiting.push((command, client));
    }
}
