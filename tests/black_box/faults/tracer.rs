//! What is seen of a restarter's calls, and which of them are made to fail.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::calls::{About, name};
use super::filter::{self, Answer};

/// How many calls a life may make. One without a fault makes some hundreds, and one that tries
/// again in vain ten times a second some hundreds more; a loop makes a hundred thousand.
pub(super) const CALLS: usize = 20_000;

/// A fault: which calls, and what comes of them.
#[derive(Clone, Debug)]
pub(super) struct Aim {
    pub(super) call: String,
    /// What the call is about; `None` where it does not matter.
    pub(super) about: Option<String>,
    /// Every one, and not the first alone.
    pub(super) every: bool,
    pub(super) answer: Answer,
}

/// A call that was made, the first of its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) about: String,
}

/// Whose calls are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// The restarter's.
    Own,
    /// Those of each child until it executes.
    Children,
}

/// What is done about the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// Nothing yet.
    Away,
    /// They are seen, and fail.
    Close,
    /// They are seen, and the fault is over.
    After,
}

#[derive(Debug)]
struct Sight {
    folder: String,
    whose: Whose,
    aims: Vec<Aim>,
    /// For each of them, who was hit.
    hits: Vec<Vec<i32>>,
    /// The restarter, once we know which process is to become it.
    own: i32,
    /// It has executed.
    begun: bool,
    look: Look,
    /// Whether it has waited for nothing but events since it was looked at.
    rested: bool,
    /// Whether it waits for nothing but events now.
    rests: bool,
    /// Whether a process is a child of ours that has not executed yet.
    unborn: BTreeMap<i32, bool>,
    /// Before and after its first rest.
    calls: [Vec<Call>; 2],
    count: usize,
}

/// Looks at a restarter.
#[derive(Clone, Debug)]
pub(super) struct Tracer {
    sight: Arc<Mutex<Sight>>,
}

impl Tracer {
    /// Looks at what this command becomes, as soon as it is told who that is.
    pub(super) fn of(command: &mut Command, whose: Whose, folder: String, aims: &[Aim]) -> Self {
        let socket = filter::watch(command);
        let sight = Sight {
            folder,
            whose,
            aims: aims.to_vec(),
            hits: vec![Vec::new(); aims.len()],
            own: 0,
            begun: false,
            look: Look::Away,
            rested: false,
            rests: false,
            unborn: BTreeMap::new(),
            calls: [Vec::new(), Vec::new()],
            count: 0,
        };
        let tracer = Self { sight: Arc::new(Mutex::new(sight)) };
        let sight = tracer.clone();
        // It ends with the last of those who are looked at.
        thread::spawn(move || sight.serve(&socket));
        tracer
    }

    fn serve(&self, socket: &UnixStream) {
        if let Some(listener) = filter::listener(socket) {
            filter::serve(&listener, |pid, call| self.sight().answer(pid, call));
        }
    }

    fn sight(&self) -> MutexGuard<'_, Sight> {
        self.sight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This process is to become the restarter.
    pub(super) fn follows(&self, pid: i32) {
        self.sight().own = pid;
    }

    /// From now on calls are seen, and fail.
    pub(super) fn arms(&self) {
        let mut sight = self.sight();
        if sight.look == Look::Away {
            sight.look = Look::Close;
        }
    }

    /// Nothing fails any more.
    pub(super) fn ends_fault(&self) {
        self.sight().look = Look::After;
    }

    /// Whether a fault is for every call.
    pub(super) fn lasts(&self) -> bool {
        self.sight().aims.iter().any(|aim| aim.every)
    }

    /// Whether it waits without a deadline: it has done what there was to do.
    pub(super) fn rests(&self) -> bool {
        self.sight().rests
    }

    /// The calls before and after its first rest, each kind once, in the order of their first.
    pub(super) fn calls(&self) -> [Vec<Call>; 2] {
        self.sight().calls.clone()
    }

    /// How many calls it has made.
    pub(super) fn count(&self) -> usize {
        self.sight().count
    }

    /// Whether every fault has hit a call.
    pub(super) fn has_hit(&self) -> bool {
        self.sight().hits.iter().all(|hits| !hits.is_empty())
    }
}

impl Sight {
    fn answer(&mut self, pid: i32, call: &libc::seccomp_data) -> Answer {
        let executes = i64::from(call.nr) == libc::SYS_execve;
        if pid == self.own {
            if !self.begun {
                self.begun = executes;
                return Answer::Made;
            }
            self.count += 1;
            if self.count > CALLS {
                self.look = Look::After;
            }
            let (name, about) = name(call.nr);
            // A timeout of -1 is none.
            self.rests = name == "poll" && call.args[2] & 0xffff_ffff == 0xffff_ffff;
            let answer = if self.look != Look::Away && self.whose == Whose::Own {
                self.sees(pid, name, about, &call.args)
            } else {
                Answer::Made
            };
            self.rested |= self.look != Look::Away && self.rests;
            return answer;
        }
        let own = self.own;
        let is_begun = self.begun;
        let unborn = self.unborn.entry(pid).or_insert_with(|| is_begun && parent(pid) == own);
        if !*unborn {
            return Answer::Made;
        }
        let mut answer = Answer::Made;
        if self.look != Look::Away && self.whose == Whose::Children {
            let (name, about) = name(call.nr);
            answer = self.sees(pid, name, about, &call.args);
        }
        if executes && answer == Answer::Made {
            self.unborn.insert(pid, false);
        }
        answer
    }

    fn sees(&mut self, pid: i32, name: String, about: About, arguments: &[u64; 6]) -> Answer {
        let about = super::about::subject(about, pid, arguments, &self.folder);
        let answer = self.fault(pid, &name, &about);
        let call = Call { name, about };
        let calls = &mut self.calls[usize::from(self.rested)];
        if !calls.contains(&call) {
            calls.push(call);
        }
        answer
    }

    fn fault(&mut self, pid: i32, name: &str, about: &str) -> Answer {
        if self.look == Look::After {
            return Answer::Made;
        }
        for (aim, hits) in self.aims.iter().zip(&mut self.hits) {
            let fits = aim.call == name && aim.about.as_ref().is_none_or(|it| it == about);
            if fits && (aim.every || !hits.contains(&pid)) {
                if !hits.contains(&pid) {
                    hits.push(pid);
                }
                return aim.answer;
            }
        }
        Answer::Made
    }
}

/// The parent of a process.
fn parent(pid: i32) -> i32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    line.and_then(|parent| parent.trim().parse().ok()).unwrap_or(0)
}
