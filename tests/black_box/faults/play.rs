//! A life is played, with a fault in it, and what is seen of it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use support::control::{self, Answer};
use support::scene::{Restarter, Scene};
use support::{eventually, probe, processes};

use super::lives::{Act, Life, Phase, Stage};
use super::strace::{Call, Tracer};

/// How long something may take that works in milliseconds, on a busy machine and under strace.
const ACT: Duration = Duration::from_secs(6);
/// The same for the end of a life, with `--term-wait` and what follows it.
const END: Duration = Duration::from_secs(14);

/// What is seen of a life.
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
    /// Every call, with whether it was the restarter's own, from the moment when strace was there.
    pub(super) calls: Vec<(Call, bool)>,
    /// The folder of the scene, which stands in paths.
    pub(super) folder: String,
}

/// Plays a life with these arguments to strace.
pub(super) fn play(life: &Life, phase: Phase, faults: &[String]) -> Seen {
    let door = Scene::new();
    let gate = door.gate();
    let stage = Stage::new();
    let [executor, door] = [probe().display().to_string(), format!("await={gate}")];
    let setup = (life.prepare)(&stage, &[&executor, &door, "exec"]);
    let restarter = setup.start();
    let pid = waiting_at_the_door(restarter.outer_pid(), &door);
    let mut playing = Playing { restarter, pid, stage: &stage, seen: Seen::new(&stage) };
    let output = stage.scene.path("trace");
    let arguments: Vec<String> = faults
        .iter()
        .map(|word| if word == "LOG" { log_of(&stage.scene) } else { word.clone() })
        .collect();
    let attach = || Tracer::attach(pid, &output, phase == Phase::Child, &arguments);
    let mut tracer = None;
    if phase == Phase::Start {
        tracer = Some(attach());
    }
    gate.open();
    let serves = !life.acts.is_empty() && playing.begins();
    if life.listens && tracer.is_none() {
        // Where others make their sockets at the same moment, it listens a little later.
        within(ACT, || stage.scene.path("control").exists());
    }
    let mut tracer = tracer.unwrap_or_else(attach);
    if serves {
        for act in life.acts {
            playing.act(*act);
        }
    } else if !playing.has_ended() {
        life.acts.last().into_iter().for_each(|act| playing.act(*act));
    }
    playing.ends(&mut tracer);
    let Playing { restarter, mut seen, .. } = playing;
    tracer.detach();
    seen.calls = tracer
        .calls()
        .into_iter()
        .map(|call| {
            let own = tracer.is_own(&call);
            (call, own)
        })
        .collect();
    // What is said when the fault is over is none of its outcomes.
    if !seen.lasted {
        seen.log = restarter.log();
    }
    seen
}

/// The file that the restarter's standard error is.
fn log_of(scene: &Scene) -> String {
    let files = fs::read_dir(scene.folder()).expect("the scene has a folder").flatten();
    let names = files.map(|file| file.path().display().to_string());
    names.into_iter().find(|name| name.contains("/log-")).expect("it has been started")
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

/// Whether something comes true in time.
fn within(bound: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let since = Instant::now();
    loop {
        if is_so() {
            return true;
        }
        if since.elapsed() > bound {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

struct Playing<'a> {
    restarter: Restarter,
    pid: i32,
    stage: &'a Stage,
    seen: Seen,
}

impl Seen {
    fn new(stage: &Stage) -> Self {
        Self {
            missing: Vec::new(),
            silent: false,
            lasted: false,
            code: None,
            log: String::new(),
            left: Vec::new(),
            zombies: 0,
            calls: Vec::new(),
            folder: stage.scene.folder().display().to_string(),
        }
    }
}

impl Playing<'_> {
    fn has_ended(&mut self) -> bool {
        self.restarter.ended().is_some()
    }

    /// The leaders that have begun.
    fn leaders(&self) -> usize {
        self.stage.scene.journal().entries().iter().filter(|entry| entry.rest == "leader").count()
    }

    /// Waits until epoch 0 is ready, and all of it has begun; whether it is.
    fn begins(&mut self) -> bool {
        let is_ready = |playing: &Self| {
            playing.restarter.lines(" ready epoch=0 ") > 0 && playing.leaders() > 0
        };
        within(ACT, || is_ready(self) || self.has_ended());
        let ready = is_ready(self) && !self.has_ended();
        if !ready && !self.has_ended() {
            self.misses("epoch 0 is not ready");
        }
        ready
    }

    fn misses(&mut self, what: &str) {
        self.seen.missing.push(what.to_owned());
    }

    fn act(&mut self, act: Act) {
        // A manager that does not listen is another trial's.
        self.stage.manager.messages();
        if self.has_ended() {
            return;
        }
        match act {
            Act::Orphan => self.orphan(),
            Act::Restart => self.restart("no restart", |playing| playing.signal(libc::SIGHUP)),
            Act::Change => self.restart("no restart for the change", |playing| {
                let file =
                    OpenOptions::new().append(true).open(playing.stage.scene.path("watched"));
                file.expect("a file of the scene").write_all(b"x").expect("it is ours");
            }),
            Act::Rollback => {
                self.signal(libc::SIGHUP);
                if !within(ACT, || {
                    self.restarter.lines(" restart-failed ") > 0 || self.restarter.ended().is_some()
                }) {
                    self.misses("no rollback");
                    self.seen.silent = self.restarter.lines(" restart-refused") == 0;
                }
            }
            Act::Reopen => self.reopen(),
            Act::Ask => {
                // Where others make their sockets at the same moment, it listens a little later.
                let answered = (0..5).any(|turn| {
                    thread::sleep(Duration::from_millis(turn * 300));
                    self.asks().code == 0 || self.has_ended()
                });
                if !answered {
                    self.misses("a client is not answered");
                }
            }
            Act::End => self.stage.gate.open(),
            Act::Stop => {
                self.looks_for_zombies();
                self.signal(libc::SIGTERM);
            }
        }
    }

    fn asks(&self) -> Answer {
        let place = self.stage.scene.path("control");
        let mut client = control::client(&["status", "--timeout", "3"]);
        Answer::of(client.env(control::VARIABLE, place))
    }

    fn signal(&mut self, signal: i32) {
        if !self.has_ended() {
            processes::signal(self.pid, signal);
        }
    }

    fn orphan(&mut self) {
        let pid = self.pid;
        let before = processes::children(pid).len();
        self.stage.gate.open();
        let reaped = within(ACT, || processes::children(pid).len() < before);
        if !reaped {
            self.misses("an orphan is not reaped");
            self.seen.silent = true;
        }
    }

    fn restart(&mut self, without: &str, begin: impl FnOnce(&mut Self)) {
        let refusals = |playing: &Self| {
            [" restart-refused", " restart-failed "].map(|what| playing.restarter.lines(what))
        };
        let before = (self.leaders(), refusals(self));
        begin(self);
        within(ACT, || (self.leaders(), refusals(self)) != before || self.has_ended());
        if self.leaders() == before.0 && !self.has_ended() {
            self.misses(without);
            self.seen.silent |= refusals(self) == before.1;
        }
        // Where it says nothing, its log is what fails.
        let epoch = format!(" ready epoch={} ", self.leaders() - 1);
        within(ACT / 6, || self.restarter.lines(&epoch) > 0 || self.has_ended());
    }

    fn reopen(&mut self) {
        let journal = self.stage.scene.journal();
        let entries = journal.entries();
        let newest = entries.iter().rfind(|entry| entry.rest == "leader").map(|entry| entry.pid);
        let newest = newest.expect("there is a leader");
        self.signal(libc::SIGUSR1);
        let heard = within(ACT, || journal.signals(newest).contains(&libc::SIGUSR1));
        if !heard {
            self.misses("the newest leader has no SIGUSR1");
            self.seen.silent |= self.restarter.lines("SIGUSR1") == 0;
        }
    }

    fn looks_for_zombies(&mut self) {
        let pid = self.pid;
        let ended = || processes::children(pid).iter().filter(|child| child.state == 'Z').count();
        // Orphans of later epochs end at once, and are none of what is stopped.
        let epochs = self.leaders();
        within(ACT / 3, || processes::children(pid).len() <= epochs);
        if !within(ACT, || ended() == 0) {
            self.seen.zombies = ended();
        }
    }

    /// Waits for the end, and looks at what is left behind.
    fn ends(&mut self, tracer: &mut Tracer) {
        if !within(END, || self.has_ended()) {
            self.seen.lasted = true;
            self.seen.log = self.restarter.log();
            tracer.detach();
            within(END, || self.has_ended());
        }
        self.seen.code = self.has_ended().then(|| self.restarter.code());
        // What our death is told to ends by it; what was forgotten does not.
        let scene = &self.stage.scene;
        within(Duration::from_secs(2), || scene.processes().is_empty());
        self.seen.left = scene
            .processes()
            .into_iter()
            .map(|pid| processes::command_line(pid).join(" "))
            .collect();
    }
}
