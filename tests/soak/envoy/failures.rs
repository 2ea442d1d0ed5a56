//! Restarts that come to nothing, in every way that is known: the epoch in service goes on, and no
//! request is lost.

use libc::{SIGKILL, SIGSEGV};
use support::control::Answer;

use super::life::{Life, SCRIPT};
use super::restarts::RELOAD;
use super::status::Counts;

/// How.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    UnknownField,
    MissingCertificate,
    TakenPort,
    Exits(u8),
    /// By this signal, as soon as it has attached to the shared memory.
    SignalledEarly(i32),
    /// By this signal, while it waits for its xDS.
    SignalledLate(i32),
    /// The kernel kills it for the memory that it takes.
    OutOfMemory,
    /// It, or somebody on the way to it, gets no more processes or threads.
    NoProcesses(u64),
}

const WAYS: [Way; 13] = [
    Way::UnknownField,
    Way::UnknownField,
    Way::MissingCertificate,
    Way::TakenPort,
    Way::Exits(0),
    Way::Exits(3),
    Way::SignalledEarly(SIGKILL),
    Way::SignalledEarly(SIGSEGV),
    Way::SignalledLate(SIGKILL),
    Way::OutOfMemory,
    Way::OutOfMemory,
    Way::NoProcesses(0),
    Way::NoProcesses(3),
];

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::UnknownField => "Envoy: restarts with a syntax error",
            Self::MissingCertificate => "Envoy: restarts with a missing certificate",
            Self::TakenPort => "Envoy: restarts with a taken port",
            Self::Exits(_) => "Envoy: restarts whose script exits",
            Self::SignalledEarly(_) | Self::SignalledLate(_) => "Envoy: restarts killed in between",
            Self::OutOfMemory => "Envoy: restarts killed for their memory",
            Self::NoProcesses(_) => "Envoy: restarts without a process to be had",
        }
    }

    /// What is said of it begins so, after the number of the epoch.
    fn reason(self) -> &'static str {
        match self {
            Self::UnknownField | Self::MissingCertificate | Self::TakenPort => "exited with 1",
            Self::Exits(0) => "exited with 0",
            Self::Exits(_) => "exited with 3",
            Self::SignalledEarly(SIGSEGV) | Self::SignalledLate(SIGSEGV) => "was ended by SIGSEGV",
            Self::SignalledEarly(_) | Self::SignalledLate(_) => {
                "was ended by SIGKILL (not by us, and no out-of-memory kill"
            }
            Self::OutOfMemory => "was ended by SIGKILL (out of memory: ",
            // The kernel refuses, a shell exits, or Envoy aborts, as it comes.
            Self::NoProcesses(_) => "",
        }
    }
}

impl Life<'_> {
    /// A restart that fails.
    pub(super) fn fail(&mut self) {
        let mut way = self.random.one_of(&WAYS);
        let limited = matches!(way, Way::OutOfMemory | Way::NoProcesses(_));
        if limited && self.limits.is_none() {
            self.tally.add("Envoy: limits left out, without cgroups of version 1", 1);
            way = Way::UnknownField;
        }
        self.story.tell(&format!("a restart that fails: {way:?}"));
        self.prepare(way);
        // Whoever else ends in between is not mistaken for it, and frees nothing.
        if !matches!(way, Way::UnknownField | Way::MissingCertificate | Way::Exits(_)) {
            self.quiesce();
        }
        let told = match way {
            Way::UnknownField | Way::MissingCertificate | Way::TakenPort | Way::Exits(_) => {
                self.ask(|_, _| {})
            }
            Way::SignalledEarly(signal) => self.ask(|life, before| {
                let _ = life.await_new(before).signal(signal);
            }),
            Way::SignalledLate(signal) => {
                let asked = self.xds.asked();
                self.ask(|life, before| {
                    life.xds.await_asked(asked);
                    life.await_new(before).signal(signal);
                })
            }
            Way::OutOfMemory => {
                let asked = self.xds.asked();
                self.ask(|life, before| {
                    life.xds.await_asked(asked);
                    life.exhaust(life.await_new(before).pid, before);
                })
            }
            Way::NoProcesses(more) => {
                let limits = self.limits.as_ref().expect("it was looked for");
                limits.allow_processes(more);
                let told = self.ask(|life, _| drop(life.await_settled()));
                self.limits.as_ref().expect("the same").allow_all_processes();
                told
            }
        };
        self.check_failed(way, told.as_ref());
    }

    /// Takes memory away until this epoch is killed for it, and none of the others.
    pub(super) fn exhaust(&self, pid: i32, others: &[i32]) {
        let limits = self.limits.as_ref().expect("it was looked for");
        let before = limits.kills();
        limits.exhaust(pid, others, || limits.kills() > before);
        self.tally.add("Envoy: epochs killed for their memory", 1);
    }

    /// Asks by a client that waits, or by a signal, and does something meanwhile. What the client
    /// was told.
    fn ask(&mut self, meanwhile: impl FnOnce(&Self, &[i32])) -> Option<Answer> {
        let before: Vec<i32> = self.epochs().iter().map(|epoch| epoch.pid).collect();
        if self.random.percent(50) {
            let place = &self.bare.control;
            let told = std::thread::scope(|scope| {
                let told = scope.spawn(|| place.send(&RELOAD));
                meanwhile(self, &before);
                told.join().expect("a client runs")
            });
            Some(told)
        } else {
            self.hang_up();
            meanwhile(self, &before);
            None
        }
    }

    fn prepare(&mut self, way: Way) {
        let configuration = self.good().saying("what must never serve");
        let stage = &self.front.stage;
        stage.put_script(SCRIPT);
        stage.put(&match way {
            Way::UnknownField => configuration.with_an_unknown_field(),
            Way::MissingCertificate => configuration.with_a_missing_certificate(),
            Way::TakenPort => {
                configuration.with_a_listener_on(self.taken.local_addr().expect("bound").port())
            }
            Way::Exits(_) | Way::NoProcesses(_) => configuration,
            Way::SignalledEarly(_) | Way::SignalledLate(_) | Way::OutOfMemory => {
                self.xds.fall_silent();
                configuration.waiting_for(&self.xds)
            }
        });
        if let Way::Exits(code) = way {
            stage.put_script(&format!("exit {code}\n"));
        }
    }

    /// It has come to nothing, for the right reason, and everything is as it was.
    fn check_failed(&mut self, way: Way, told: Option<&Answer>) {
        let before = self.counts;
        let status = self.await_settled();
        self.counts = status.counts();
        let refused = Counts { refused: before.refused + 1, ..before };
        let failed = Counts { failed: before.failed + 1, ..before };
        let may_be: &[Counts] = match way {
            Way::NoProcesses(_) => &[refused, failed],
            Way::UnknownField | Way::MissingCertificate if self.plan.check => &[refused],
            Way::UnknownField
            | Way::MissingCertificate
            | Way::TakenPort
            | Way::Exits(_)
            | Way::SignalledEarly(_)
            | Way::SignalledLate(_)
            | Way::OutOfMemory => &[failed],
        };
        assert!(may_be.contains(&self.counts), "{way:?}, {before:?}: {status:?}");
        let was_refused = self.counts == refused;
        let why = status.last_failure().to_owned();
        let next = self.epoch + 1;
        let expected = if !was_refused {
            format!("epoch {next} failed: {}", way.reason())
        } else if matches!(way, Way::NoProcesses(_)) {
            "refused: ".to_owned()
        } else {
            "refused: the check exited with 1".to_owned()
        };
        // Envoy's own handler prints a backtrace, and may wait for ever for a lock that it holds.
        let hung = format!("epoch {next} failed: not ready after ");
        let may_hang = matches!(way, Way::SignalledEarly(SIGSEGV) | Way::SignalledLate(SIGSEGV));
        let expected = if may_hang && why.starts_with(&hung) {
            self.tally.add("Envoy: epochs that hang as they crash", 1);
            hung
        } else {
            expected
        };
        assert!(why.starts_with(&expected), "{way:?}: {why:?}, not {expected:?}");
        if let Some(told) = told {
            let same = told.code == 1 && told.err.starts_with(&expected);
            assert!(same, "{way:?}: a client was told {told:?}, not {expected:?}");
        }
        self.admin_lost |= !was_refused;
        self.tally.add(way.name(), 1);
        self.tally.add("Envoy: restarts refused or rolled back", 1);
        self.check_served();
    }
}
