//! The faults that fit a life in one phase.

use super::calls::{LASTING, is_plain, known, passes};
use super::errnos::number;
use super::filter::Answer;
use super::healthy;
use super::lives::{LIVES, Life, Phase};
use super::tracer::{Aim, Call};

/// How often a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Times {
    Once,
    Ever,
}

/// A call that fails.
#[derive(Clone, Debug)]
pub(super) struct Fails {
    pub(super) call: String,
    /// What the call is about; empty where it does not matter.
    pub(super) about: String,
    pub(super) errno: &'static str,
    pub(super) times: Times,
}

impl Fails {
    fn words(&self) -> String {
        match self.about.as_str() {
            "" => format!("`{}`", self.call),
            about => format!("`{}`: {about}", self.call),
        }
    }

    pub(super) fn aim(&self) -> Aim {
        // Every one of that name, where it is not about something.
        let any = self.times == Times::Ever && self.about.is_empty();
        Aim {
            call: self.call.clone(),
            about: (!any).then(|| self.about.clone()),
            every: self.times == Times::Ever,
            answer: Answer::Errno(number(self.errno)),
        }
    }
}

/// A fault to be tried, perhaps in what another has led to.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) after: Option<Fails>,
    pub(super) fails: Fails,
    /// No life before has such a fault in such a phase.
    pub(super) is_new: bool,
}

impl Case {
    /// Its place on the page.
    pub(super) fn key(&self, life: &Life, phase: Phase) -> Vec<String> {
        let times = match (self.fails.times, phase) {
            (Times::Once, Phase::Child) => "in each child",
            (Times::Once, _) => "once",
            (Times::Ever, _) => "for ever",
        };
        let mut call = self.fails.words();
        if let Some(first) = &self.after {
            let often = if first.times == Times::Ever { " for ever" } else { "" };
            call = format!("{call}, after {} {}{often}", first.words(), first.errno);
        }
        [life.name, phase.name(), &call, self.fails.errno, times].map(str::to_owned).to_vec()
    }

    /// The calls that fail in it.
    pub(super) fn all(&self) -> impl Iterator<Item = &Fails> {
        self.after.iter().chain([&self.fails])
    }
}

/// The phases that come before this one, in the order of the page.
fn earlier(life: &Life, phase: Phase) -> Vec<(&'static Life, Phase)> {
    let all = LIVES.iter().flat_map(|life| life.phases.iter().map(move |phase| (life, *phase)));
    all.take_while(|(other, its)| (other.name, *its) != (life.name, phase)).collect()
}

/// The faults that fit what a life without one has called. A call that nobody has thought about
/// fails the trial.
///
/// All errnos are for the first life that makes a call in such a phase, later ones try the
/// likeliest that lasts: what differs is their state.
pub(super) fn of(life: &Life, phase: Phase) -> Vec<Case> {
    let before = earlier(life, phase);
    let is_tried = |call: &Call, alike: bool| {
        let fits = |its: Phase| (its == Phase::Child) == (phase == Phase::Child);
        let fits = |its: Phase| fits(its) && (!alike || its == phase);
        let mut before = before.iter().filter(|(_, its)| fits(*its));
        before.any(|(life, its)| healthy::of(life, *its).calls.contains(call))
    };
    let is_named = |name: &str| {
        let mut before = before.iter().filter(|(_, its)| *its == phase);
        before.any(|(life, its)| healthy::of(life, *its).calls.iter().any(|it| it.name == name))
    };
    let mut cases = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for call in &healthy::of(life, phase).calls {
        let Some(fault) = known(&call.name) else { continue };
        let first_of_name = !names.contains(&fault.call);
        names.push(fault.call);
        if is_plain(fault.call, &call.about) && is_tried(call, false) {
            continue;
        }
        let lasts: Vec<&str> =
            fault.errnos.iter().copied().filter(|errno| !passes(fault.call, errno)).collect();
        let likeliest = &lasts[..lasts.len().min(1)];
        let is_known = is_tried(call, true);
        let mut add = |about: &str, times, errnos: &[&'static str]| {
            cases.extend(errnos.iter().map(|errno| Case {
                after: None,
                is_new: !is_known,
                fails: Fails { call: call.name.clone(), about: about.to_owned(), errno, times },
            }));
        };
        let errnos = if is_known { likeliest } else { fault.errnos };
        // To a client they mean that the answer, or the end of the connection, is there already.
        let answers = life.acts.is_empty() && fault.call == "sendto";
        let errnos: Vec<&str> = errnos
            .iter()
            .copied()
            .filter(|errno| !(answers && matches!(*errno, "EPIPE" | "ECONNRESET")))
            .collect();
        add(&call.about, Times::Once, &errnos);
        if phase == Phase::Service {
            if first_of_name {
                add("", Times::Ever, if is_named(fault.call) { likeliest } else { &lasts });
            }
            if LASTING.contains(&call.about.as_str()) {
                add(
                    &call.about,
                    Times::Ever,
                    if is_tried(call, true) { likeliest } else { &lasts },
                );
            }
        }
    }
    cases
}

/// The faults of a call that only another fault leads to. That a close fails on the way is nothing
/// new.
pub(super) fn after(first: &Fails, call: &Call) -> Vec<Case> {
    if call.name == "close" {
        return Vec::new();
    }
    let errnos = known(&call.name).map_or(&[][..], |fault| fault.errnos);
    let plain = is_plain(&call.name, &call.about);
    let errnos = if plain { &errnos[..errnos.len().min(1)] } else { errnos };
    let case = |errno: &&'static str| Case {
        after: Some(first.clone()),
        is_new: true,
        fails: Fails {
            call: call.name.clone(),
            about: call.about.clone(),
            errno,
            times: Times::Once,
        },
    };
    errnos.iter().map(case).collect()
}
