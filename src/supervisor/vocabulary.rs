//! What goes into the core and what comes out of it: events, actions, and the words they use.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use super::{Notice, RestartOutcome};
use crate::exit::{Exit, Status};
use crate::signal::Signal;

/// A moment of `CLOCK_MONOTONIC`, as the time since that clock's own beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub Duration);

impl Add<Duration> for Moment {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }
}

/// The time from one moment to a later one; zero where it is not later.
impl Sub for Moment {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// A process id, or a process group's, in our own PID namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(pub i32);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a new epoch is found to be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// By looking at the epoch; one that announces nothing is ready after [`super::SETTLING`].
    Auto,
    /// At once.
    None,
    /// By its admin, which says how far it is, and which epoch it is.
    Admin,
    /// By a program that exits with 0.
    Command,
    /// By an answer over HTTP.
    Http,
}

/// A program that we run beside the epochs, and whose exit status is an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    /// `--check`, before this epoch is started.
    Check {
        /// The number of the epoch to come.
        epoch: u32,
    },
    /// `--ready exec:`, whether this epoch is ready.
    Probe {
        /// The number of the epoch.
        epoch: u32,
        /// Its leader.
        leader: Pid,
    },
}

/// Who is asked about an epoch, without waiting for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// The server behind `--ready http:`.
    Probe,
    /// The server behind `--envoy-admin`.
    Admin,
}

/// What a look at an epoch found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum View {
    /// A target that does not announce its readiness, or has not begun to.
    Silent,
    /// It announces its readiness, and is not ready.
    Starting,
    /// It announces that it is ready.
    Ready,
    /// It announces its readiness in a way that we cannot read.
    Unreadable,
}

/// What a question about an epoch's readiness was answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// No, or nothing that could be understood in time.
    No,
    /// The epoch itself answers, and is not ready.
    Starting {
        /// How many worker threads it has.
        workers: Option<u32>,
    },
    /// It is ready.
    Ready {
        /// How many worker threads it has, where the answer tells.
        workers: Option<u32>,
    },
}

/// What the admin of the newest epoch is asked for while a stop drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// To fail its health check, and tell each client with its next answer to go.
    FailHealthCheck,
    /// To do the same on listeners that have no health check, and go on accepting.
    DrainListeners,
    /// How much is pending.
    CountPending,
}

/// What becomes of a [`Request`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// It has been done.
    Done,
    /// So much is pending.
    Counted(Count),
    /// It was refused, or nothing that could be understood came in time.
    Failed,
}

/// How much is pending, and how old that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Count {
    /// What was counted.
    pub pending: Pending,
    /// Changes each time that the newest epoch asks the older ones what they serve; `None` where
    /// that is not told.
    pub asked_older: Option<u64>,
}

/// What an Envoy serves, the epochs before it included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pending {
    /// HTTP requests that have not been answered.
    pub requests: u64,
    /// Connections of another protocol.
    pub connections: u64,
    /// Bytes of HTTP answers that Envoy is done with and their clients have not taken yet.
    pub unsent_bytes: u64,
}

impl Pending {
    /// Whether nothing would be cut off.
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

/// What became of the memory that a failed epoch shared with the one in service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Mended {
    /// There was nothing to repair.
    Clean,
    /// It was repaired.
    Repaired,
    /// The failed epoch had taken over before it ended, so the one before it drains and does not
    /// accept any more.
    Served,
    /// Processes of the failed epoch are still about to go.
    Busy,
    /// It was left as it is, for this reason: one clause for the log.
    Refused(String),
}

/// How far a signal to those that catch it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// That many processes catch it and have been sent it, at least one.
    Sent(u32),
    /// No process of the epoch catches it.
    Nobody,
    /// Nobody can tell which processes catch it.
    Unknown,
}

/// One of our direct children that leads no epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Orphan {
    /// Its process id; not reaped, so it cannot be a stranger's.
    pub pid: Pid,
    /// Its process group.
    pub group: Pid,
}

/// Why an epoch could not be started.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StartFailure {
    /// Which of our exit codes it is worth when no epoch is in service.
    pub exit: Exit,
    /// One clause for the log: what failed, its cause, what to do.
    pub why: String,
}

/// What a client of the control socket asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// A hot restart, as SIGHUP does.
    Reload,
    /// That logs are reopened, as SIGUSR1 does.
    Reopen,
    /// A stop, as SIGTERM does.
    Stop,
}

/// Where a hot restart is between the question and its outcome. At most one waits and one is under
/// way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RestartStage {
    /// It waits, and whoever asks for a restart meanwhile has asked for this one. In a stop none does,
    /// and each that is asked for is refused as if it did.
    Waiting,
    /// It is being checked, or its epoch started. What is asked for meanwhile is another one.
    UnderWay,
}

/// How far a hot restart has come. Each one that was asked for settles, before the exit at the
/// latest. One that is asked for in a stop does so at once: it is [`RestartStep::Settled`] as one
/// that waits, refused, and there was no [`RestartStep::Asked`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RestartStep {
    /// One has been asked for while none waited, and waits.
    Asked,
    /// The one that waits is under way.
    Begins,
    /// The one that was under way waits again, as one with what was asked for meanwhile.
    PutOff,
    /// This has become of one.
    Settled {
        /// Of which.
        stage: RestartStage,
        /// What.
        outcome: RestartOutcome,
    },
}

/// What the world tells the core.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The shell is set up; begin with epoch 0.
    Begin,
    /// A signal has reached us.
    Signal(Signal),
    /// A client asks for something.
    Command(Command),
    /// A direct child has ended and waits to be reaped; its pid is still its own.
    Exited {
        /// The child.
        pid: Pid,
        /// How it ended.
        status: Status,
        /// How often the kernel's out-of-memory killer struck since a
        /// [`Action::RecordMemory`]; `None` where that cannot be known.
        out_of_memory: Option<u64>,
    },
    /// A leader was stopped by Ctrl-Z (SIGTSTP).
    Suspended {
        /// The leader.
        pid: Pid,
    },
    /// The kernel says that we have no child at all.
    Childless,
    /// Time has passed; perhaps a deadline with it.
    Tick,
    /// Answers [`Action::Start`].
    Started {
        /// The number of the epoch.
        epoch: u32,
        /// Its leader, and its process group.
        pid: Pid,
        /// Whether it was made the foreground group of our terminal.
        foreground: bool,
    },
    /// Answers [`Action::Start`]; nothing has changed.
    NotStarted {
        /// The number that the epoch would have had.
        epoch: u32,
        /// What was in the way.
        failure: StartFailure,
    },
    /// Answers [`Action::Run`].
    Running {
        /// What it is for.
        task: Task,
        /// The process, which leads a group of its own.
        pid: Pid,
    },
    /// Answers [`Action::Run`]; nothing has changed.
    NotRunning {
        /// What it was for.
        task: Task,
        /// What was in the way: one clause for the log.
        why: String,
    },
    /// Answers [`Action::Ask`], in its own time.
    Answered {
        /// The epoch.
        epoch: u32,
        /// Who answers.
        peer: Peer,
        /// What it says.
        answer: Answer,
    },
    /// Answers [`Action::Request`], in its own time.
    Replied {
        /// What was asked for.
        request: Request,
        /// What became of it.
        reply: Reply,
    },
    /// Answers [`Action::Mend`].
    Mended(Mended),
    /// A watched path has changed, and has been quiet since.
    Changed {
        /// The path, for the log.
        path: String,
    },
    /// Answers [`Action::Look`].
    Seen {
        /// The epoch that was looked at.
        epoch: u32,
        /// What was found.
        view: View,
    },
    /// Answers [`Action::SignalCatchers`].
    Reached {
        /// The epoch.
        epoch: u32,
        /// The signal.
        signal: Signal,
        /// How far it came.
        reach: Reach,
    },
    /// Answers [`Action::ListOrphans`].
    Orphans(Vec<Orphan>),
}

/// What the core asks of the world, to be done in the order given.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Fork and execute the target. Answered by [`Event::Started`] or [`Event::NotStarted`].
    Start {
        /// The number of the epoch.
        epoch: u32,
    },
    /// Look whether an epoch is ready. Answered by [`Event::Seen`].
    Look {
        /// The epoch.
        epoch: u32,
        /// Its leader.
        leader: Pid,
    },
    /// Run a program beside the epochs. Answered by [`Event::Running`] or [`Event::NotRunning`].
    Run {
        /// What for.
        task: Task,
    },
    /// Ask a server about an epoch. Answered by [`Event::Answered`], later but within a bounded
    /// time; asking the same server again gives up the question before.
    Ask {
        /// The epoch.
        epoch: u32,
        /// Whom.
        peer: Peer,
    },
    /// Ask the admin that has said to be the newest epoch's. Answered by [`Event::Replied`], later
    /// but within a bounded time.
    Request {
        /// For what.
        request: Request,
    },
    /// Send SIGKILL to every process of an epoch whose leader is not reaped.
    KillEpoch {
        /// Its leader.
        leader: Pid,
    },
    /// Repair what an epoch that has failed left in the memory that it shared with the one in
    /// service. Answered by [`Event::Mended`].
    Mend {
        /// The number of the epoch that has failed.
        failed: u32,
        /// Its process group.
        group: Pid,
        /// The number of the newest epoch in service.
        epoch: u32,
        /// Its leader.
        leader: Pid,
    },
    /// Signal a process group whose leader is ours and not reaped.
    SignalGroup {
        /// The group.
        group: Pid,
        /// The signal.
        signal: Signal,
    },
    /// Signal those processes of an epoch that catch this signal. Answered by
    /// [`Event::Reached`].
    SignalCatchers {
        /// The epoch.
        epoch: u32,
        /// Its leader.
        leader: Pid,
        /// The signal.
        signal: Signal,
    },
    /// Signal one direct child that is not reaped.
    SignalChild {
        /// The child.
        pid: Pid,
        /// The signal.
        signal: Signal,
    },
    /// List our direct children that lead no epoch. Answered by [`Event::Orphans`].
    ListOrphans,
    /// Reap a child that has ended.
    Reap {
        /// The child.
        pid: Pid,
    },
    /// Make an epoch's group the foreground group of our terminal, or with `None` our own, if
    /// the terminal is still ours to give.
    Foreground {
        /// The group.
        group: Option<Pid>,
    },
    /// Suspend ourselves with this group, which has our terminal and has been stopped by it, until
    /// the shell that we are a job of resumes us; where there is none, resume the group.
    Suspend {
        /// The group.
        group: Pid,
    },
    /// Tell whoever asked for a hot restart how far it has come.
    Restart(RestartStep),
    /// Note how often the out-of-memory killer has struck so far.
    RecordMemory {
        /// Of these, the ends that may still be told in a moment, which are not counted.
        untold: u64,
    },
    /// Say what happened.
    Log(Notice),
    /// Say which processes are left.
    NameSurvivors,
    /// End with this code.
    Exit(Exit),
}
