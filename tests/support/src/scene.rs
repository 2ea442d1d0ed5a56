//! A place for one trial: a folder, a journal, and processes of which nothing stays behind.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use crate::control::{self, Answer, Place};
use crate::journal::Journal;
use crate::processes;
use crate::{eventually, probe, project, restarter};

/// The variable that marks every process of a scene, however far it strays.
const MARK: &str = "SCENE";

/// A place for one trial. When it goes, so do its processes and its folder.
#[derive(Debug)]
pub struct Scene {
    folder: PathBuf,
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

impl Scene {
    /// An empty one.
    pub fn new() -> Self {
        Self::below(&env::temp_dir())
    }

    /// One in whose neighbourhood nothing happens. Others come and go beside the usual ones all the
    /// time, and whoever watches a file is woken by that.
    pub fn secluded() -> Self {
        Self::below(&project().join("target/secluded"))
    }

    fn below(place: &Path) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = place.join(format!("scene-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for the scene");
        // Targets that change their user have business in it as well.
        let for_all = fs::Permissions::from_mode(0o777);
        fs::set_permissions(&folder, for_all).expect("the folder is ours");
        Self { folder }
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file of this scene.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The same as text, to be put into the steps of a probe.
    pub fn place(&self, name: &str) -> String {
        self.path(name).to_str().expect("a path of ours is text").to_owned()
    }

    /// Makes a closed gate for probes to `await`.
    pub fn gate(&self) -> Gate {
        let place = self.place("gate");
        let file = File::create(&place).expect("a file in our folder");
        // SAFETY: the call takes integers.
        let locked = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
        assert_eq!(locked, 0, "a scene has one gate: {}", io::Error::last_os_error());
        Gate { file, place }
    }

    /// Makes a script, or anything else that is to be executed.
    ///
    /// A shell writes it: a descriptor of our own could be inherited by what another trial is
    /// just forking, and what somebody may write cannot be executed.
    pub fn script(&self, name: &str, text: &str) -> String {
        let place = self.place(name);
        let script = "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\"";
        let made = Command::new("sh").args(["-c", script, &place, text]).status();
        assert!(made.is_ok_and(|status| status.success()), "cannot make {place}");
        place
    }

    /// The variable that marks a process as one of this scene, and its value.
    pub fn mark(&self) -> (&'static str, &str) {
        (MARK, self.folder.to_str().expect("a path of ours is text"))
    }

    /// What the probes of this scene write.
    pub fn journal(&self) -> Journal {
        Journal::at(self.path("journal"))
    }

    /// The words that execute a probe which writes the journal and does these steps, separated
    /// by spaces.
    pub fn probe(&self, steps: &str) -> Vec<String> {
        self.probe_to("journal", steps)
    }

    /// The same with a journal of another name, for processes that are somebody else's.
    pub fn probe_to(&self, journal: &str, steps: &str) -> Vec<String> {
        let program = probe().to_str().expect("the path of the probe is text").to_owned();
        let mut words = vec![program, format!("to={}", self.place(journal))];
        words.extend(steps.split_whitespace().map(str::to_owned));
        words
    }

    /// The same as a line of a shell's script.
    pub fn probe_line(&self, steps: &str) -> String {
        quoted(&self.probe(steps))
    }

    /// A command for an option, `--check` or `--ready exec:`: a probe that does these steps, and
    /// writes a journal of its own.
    pub fn beside(&self, steps: &str) -> String {
        quoted(&self.probe_to("journal-beside", steps))
    }

    /// What the commands of options write.
    pub fn journal_beside(&self) -> Journal {
        Journal::at(self.path("journal-beside"))
    }

    /// A command whose processes belong to the scene.
    pub fn command(&self, words: &[impl AsRef<str>]) -> Command {
        let mut words = words.iter().map(AsRef::as_ref);
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).env(MARK, &self.folder).stdin(Stdio::null());
        command
    }

    /// A restarter to be started with these options and this target.
    pub fn restarter(&self, options: &[&str], target: &[impl AsRef<str>]) -> Setup {
        self.wrapped_restarter(&[], options, target)
    }

    /// The same, executed by other programs: `unshare`, `setpriv`, `sh`.
    pub fn wrapped_restarter(
        &self,
        wrapper: &[&str],
        options: &[&str],
        target: &[impl AsRef<str>],
    ) -> Setup {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let program = restarter().to_str().expect("the path of the restarter is text").to_owned();
        let words = wrapper.iter().map(|word| (*word).to_owned());
        let words = words.chain([program]).chain(options.iter().map(|word| (*word).to_owned()));
        let words = words.chain(target.iter().map(|word| word.as_ref().to_owned()));
        let mut command = self.command(&words.collect::<Vec<_>>());
        // The usual place is one for all.
        let control = Place::new();
        command.env(control::VARIABLE, control.path());
        Setup { command, log: self.path(&format!("log-{number}")), logged: true, control }
    }

    /// The processes of this scene that live.
    pub fn processes(&self) -> Vec<i32> {
        let mut mark = OsString::from(format!("{MARK}="));
        mark.push(&self.folder);
        let mark = mark.into_string().expect("a path of ours is text");
        processes::all().into_iter().filter(|pid| processes::has_variable(*pid, &mark)).collect()
    }

    /// Waits until exactly so many processes of the scene live.
    pub fn await_processes(&self, number: usize) {
        eventually(&format!("{number} processes of the scene"), || {
            let living = self.processes();
            if living.len() == number {
                return Ok(());
            }
            Err(living.into_iter().map(processes::command_line).collect::<Vec<_>>())
        });
    }

    /// Fails when a process of the scene lives.
    pub fn assert_empty(&self) {
        let left: Vec<_> = self.processes().into_iter().map(processes::command_line).collect();
        assert!(left.is_empty(), "something was left running: {left:#?}");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // What dies may have forked meanwhile.
        for _ in 0..100 {
            let left = self.processes();
            if left.is_empty() {
                break;
            }
            for pid in left {
                processes::signal(pid, libc::SIGKILL);
            }
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A file whose lock probes wait for, a thousand of them if need be, without looking again and
/// again. As text it is its path.
#[derive(Debug)]
pub struct Gate {
    file: File,
    place: String,
}

impl Gate {
    /// Lets everybody through, for good.
    pub fn open(&self) {
        // SAFETY: the call takes integers.
        let opened = unsafe { libc::flock(self.file.as_raw_fd(), libc::LOCK_UN) };
        assert_eq!(opened, 0, "{}: {}", self.place, io::Error::last_os_error());
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)
    }
}

/// A restarter that has not been started.
#[derive(Debug)]
pub struct Setup {
    /// What will be executed; a test may change it.
    pub command: Command,
    log: PathBuf,
    logged: bool,
    control: Place,
}

impl Setup {
    /// Changes the command.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Command)) -> Self {
        change(&mut self.command);
        self
    }

    /// Leaves standard error to the test, which reads no log then.
    #[must_use]
    pub fn unlogged(mut self) -> Self {
        self.logged = false;
        self
    }

    /// Starts it.
    pub fn start(mut self) -> Restarter {
        if self.logged {
            self.command.stderr(File::create(&self.log).expect("a log in our folder"));
        }
        let child = self.command.spawn();
        let child = child.unwrap_or_else(|error| panic!("{:?}: {error}", self.command));
        Restarter { child, log: self.log, status: None, control: self.control }
    }

    /// Starts it, waits for its end, and returns exit code and log.
    pub fn finish(self) -> (i32, String) {
        let mut restarter = self.start();
        (restarter.code(), restarter.log())
    }
}

/// A restarter that was started. It is killed when this goes.
#[derive(Debug)]
pub struct Restarter {
    child: Child,
    log: PathBuf,
    status: Option<ExitStatus>,
    control: Place,
}

impl Restarter {
    /// The process that we have started: the restarter, or what wraps it.
    pub fn outer_pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid is an int")
    }

    /// The restarter's own process, by its number in our PID namespace.
    pub fn pid(&self) -> i32 {
        let program = restarter();
        let is_it = |pid: &i32| {
            // A program, or a script and its interpreter.
            let words = processes::command_line(*pid);
            words.iter().take(2).any(|word| Path::new(word) == program)
        };
        eventually("the restarter has begun", || {
            let mut pids = vec![self.outer_pid()];
            let mut at = 0;
            while let Some(&pid) = pids.get(at) {
                if is_it(&pid) {
                    return Ok(pid);
                }
                pids.extend(processes::children(pid).into_iter().map(|child| child.pid));
                at += 1;
            }
            Err(pids)
        })
    }

    /// Signals the restarter itself.
    pub fn signal(&self, signal: i32) {
        assert!(processes::signal(self.pid(), signal), "the restarter is gone: {}", self.log());
    }

    /// Runs `--send` with these words against it, to the client's end.
    pub fn send(&self, words: &[&str]) -> Answer {
        self.control.send(words)
    }

    /// Waits until clients are listened to: where others make their sockets at the same moment, it
    /// tries again a little later.
    pub fn listens(&self) {
        eventually("clients are listened to", || {
            UnixStream::connect(self.control.path()).map(drop)
        });
    }

    /// Where its control socket is, unless an option says otherwise.
    pub fn control(&self) -> &Place {
        &self.control
    }

    /// What it has written to standard error so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until a line of its log holds all of these, separated by `…`, in this order.
    pub fn says(&self, what: &str) {
        self.says_times(what, 1);
    }

    /// The same, for so many lines.
    pub fn says_times(&self, what: &str, times: usize) {
        eventually(&format!("{times} lines like {what:?} in the log"), || {
            if self.lines(what) >= times { Ok(()) } else { Err(self.log()) }
        });
    }

    /// How many lines of its log hold all of these, separated by `…`, in this order.
    pub fn lines(&self, what: &str) -> usize {
        self.log().lines().filter(|line| holds(line, what)).count()
    }

    /// Waits until it has handled every signal that it was sent before: it answers a SIGWINCH,
    /// which no probe of such a trial catches, with a line for each living epoch.
    pub fn settle(&self) {
        let before = self.lines("SIGWINCH");
        self.signal(libc::SIGWINCH);
        self.says_times("SIGWINCH", before + 1);
    }

    /// Waits until it does nothing at all: for a second and a half it has not run.
    pub fn await_idle(&self) {
        let pid = self.pid();
        eventually("it does nothing", || {
            let before = processes::switches(pid);
            thread::sleep(Duration::from_millis(1500));
            let after = processes::switches(pid);
            if before == after { Ok(()) } else { Err((before, after)) }
        });
    }

    /// Waits for its end; its exit code, or 128 and the signal that ended it.
    pub fn code(&mut self) -> i32 {
        let status = eventually("the restarter has ended", || match self.ended() {
            Some(status) => Ok(status),
            None => Err(self.log()),
        });
        status.code().or_else(|| status.signal().map(|signal| 128 + signal)).expect("it ended")
    }

    /// Its status, when it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("it is our child");
        }
        self.status
    }

    /// The children that it has not reaped although they have ended.
    pub fn zombies(&self) -> usize {
        let children = processes::children(self.pid());
        children.iter().filter(|child| child.state == 'Z').count()
    }

    /// The pipe from its standard output or error, where a test has asked for one.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Restarter {
    fn drop(&mut self) {
        if self.ended().is_none() {
            let _: io::Result<()> = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Words as a shell's line.
pub fn quoted(words: &[String]) -> String {
    words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ")
}

/// Whether a line holds these parts, separated by `…`, in this order.
pub fn holds(line: &str, what: &str) -> bool {
    let mut rest = line;
    what.split('…').all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}
