//! How a life comes to its end.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use support::processes;

use super::{BOUND, Stage};
use crate::judge::End;
use crate::life::handle::now;
use crate::life::plan::Sink;

/// How much later than promised an end may come on a machine that is busy.
const MARGIN: Duration = Duration::from_secs(20);
/// What SIGKILL is given.
const KILL_WAIT: Duration = Duration::from_secs(2);
/// A restart that was asked for has begun by then.
const REST: Duration = Duration::from_millis(1700);

impl Stage<'_> {
    /// A restart that is asked for while another one begins, or is checked, is not forgotten. Then
    /// there is peace, so that whoever looks at it later can tell.
    pub(super) fn two_in_a_row(&mut self, checks: bool) {
        if checks {
            let time = 20 + self.random.below(60);
            self.write("check-steps", &format!("sleep={time} exit=0"));
        }
        self.behave_well();
        self.send(libc::SIGHUP);
        thread::sleep(self.random.span_below_ms(40));
        self.send(libc::SIGHUP);
        self.tally.add("pairs of SIGHUP and peace", 1);
        let until = Instant::now() + REST;
        while Instant::now() < until && self.lives() {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// After everything it still does what it is for: a SIGHUP starts something, waits or is
    /// refused, and says so.
    pub(super) fn one_more(&mut self) {
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
    pub(super) fn ask_to_end(&mut self) {
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
        if self.random.percent(15) {
            // For one that is deaf there is SIGKILL.
            let stop = self.plan.terms.stop_signal;
            self.write("steps", &format!("default=CHLD ignore={stop} wait"));
            self.send(libc::SIGHUP);
            thread::sleep(Duration::from_millis(60));
            self.tally.add("stops with a deaf epoch", 1);
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

    pub(super) fn await_end(&mut self) -> Result<End, String> {
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
