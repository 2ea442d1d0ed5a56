//! Actions and events in few words, for people who read tables.

use hot_restarter::signal::Signal;
use hot_restarter::supervisor::{
    Action, Answer, Command, Count, Event, Failure, Mended, Peer, Pending, Pid, Reach, Reply,
    Request, RestartOutcome, RestartStage, RestartStep, Status, Task, View, What,
};

use crate::kernel::{Kernel, Role};

/// An action; processes by what they are rather than by their numbers.
pub(crate) fn action(action: &Action, kernel: &Kernel) -> String {
    match action {
        Action::Start { epoch } => format!("start epoch {epoch}"),
        Action::Look { epoch, .. } => format!("look at epoch {epoch}"),
        Action::Run { task } => format!("run {}", task_name(*task)),
        Action::Ask { epoch, peer } => format!("ask {} of epoch {epoch}", peer_name(*peer)),
        Action::Request { request } => format!("ask the admin to {}", request_name(*request)),
        Action::KillEpoch { leader } => format!("kill all of {}", name(*leader, kernel)),
        Action::Mend { failed, epoch, .. } => {
            format!("mend what epoch {failed} left to epoch {epoch}")
        }
        Action::SignalGroup { group, signal } => {
            format!("{signal} to group of {}", name(*group, kernel))
        }
        Action::SignalCatchers { epoch, signal, .. } => {
            format!("{signal} to catchers of epoch {epoch}")
        }
        Action::SignalChild { pid, signal } => format!("{signal} to {}", name(*pid, kernel)),
        Action::ListOrphans => "list orphans".into(),
        Action::Reap { pid } => format!("reap {}", name(*pid, kernel)),
        Action::Foreground { group: Some(group) } => {
            format!("foreground: {}", name(*group, kernel))
        }
        Action::Foreground { group: None } => "foreground: ourselves".into(),
        Action::RecordMemory { untold: 0 } => "record memory".into(),
        Action::RecordMemory { untold } => format!("record memory but for {untold}"),
        Action::Suspend { group } => format!("suspend with {}", name(*group, kernel)),
        Action::Restart(step) => format!("tell {}", step_name(step)),
        Action::Log(notice) => {
            let (_, kind) = notice.what.kind();
            match notice.epoch {
                Some(epoch) => format!("log {kind} {epoch}"),
                None => format!("log {kind}"),
            }
        }
        Action::NameSurvivors => "name survivors".into(),
        Action::Exit(exit) => format!("EXIT {}", exit.code()),
    }
}

/// An answer, where it decides something.
pub(crate) fn answer(event: &Event) -> Option<String> {
    match event {
        Event::NotStarted { .. } | Event::NotRunning { .. } => Some("failed".into()),
        Event::Mended(Mended::Clean) => Some("clean".into()),
        Event::Mended(Mended::Repaired) => Some("repaired".into()),
        Event::Mended(Mended::Served) => Some("served".into()),
        Event::Mended(Mended::Busy) => Some("busy".into()),
        Event::Mended(Mended::Refused(_)) => Some("refused".into()),
        Event::Seen { view, .. } => Some(view_name(*view).into()),
        Event::Reached { reach: Reach::Nobody, .. } => Some("nobody".into()),
        Event::Reached { reach: Reach::Unknown, .. } => Some("unknown".into()),
        Event::Orphans(orphans) => Some(orphans.len().to_string()),
        Event::Reached { reach: Reach::Sent(_), .. }
        | Event::Started { .. }
        | Event::Running { .. }
        | Event::Answered { .. }
        | Event::Replied { .. }
        | Event::Changed { .. }
        | Event::Begin
        | Event::Signal(_)
        | Event::Command(_)
        | Event::Exited { .. }
        | Event::Childless
        | Event::Suspended { .. }
        | Event::Tick => None,
    }
}

/// How far a restart has come, for whoever asked for it.
fn step_name(step: &RestartStep) -> String {
    match step {
        RestartStep::Asked => "who asks: it waits".into(),
        RestartStep::Begins => "who waits: it begins".into(),
        RestartStep::PutOff => "who asked: it waits again".into(),
        RestartStep::Settled { stage: RestartStage::Waiting, outcome } => {
            format!("who waits: {}", outcome_name(outcome))
        }
        RestartStep::Settled { stage: RestartStage::UnderWay, outcome } => {
            format!("who asked: {}", outcome_name(outcome))
        }
    }
}

/// What became of one, in a word.
pub(crate) fn outcome_name(outcome: &RestartOutcome) -> &'static str {
    match outcome {
        RestartOutcome::Ready { .. } => "ready",
        RestartOutcome::Refused { .. } => "refused",
        RestartOutcome::Failed { newest: Some(_), .. } => "failed",
        RestartOutcome::Failed { newest: None, .. } => "failed in the end",
        RestartOutcome::Fatal { .. } => "fatal",
        RestartOutcome::Stopped { .. } => "stopped",
    }
}

/// What is told to whoever asked for a restart, among what has been said.
pub(crate) fn step_sight(step: &RestartStep) -> &'static str {
    match step {
        RestartStep::Asked => "told: asked",
        RestartStep::Begins => "told: begins",
        RestartStep::PutOff => "told: put off",
        RestartStep::Settled { stage: RestartStage::Waiting, .. } => "told: in vain",
        RestartStep::Settled { stage: RestartStage::UnderWay, outcome } => match outcome {
            RestartOutcome::Ready { .. } => "told: ready",
            RestartOutcome::Refused { .. } => "told: refused",
            RestartOutcome::Failed { newest: Some(_), .. } => "told: failed",
            RestartOutcome::Failed { newest: None, .. } => "told: failed in the end",
            RestartOutcome::Fatal { .. } => "told: fatal",
            RestartOutcome::Stopped { .. } => "told: stopped",
        },
    }
}

/// The signal that does what a command does.
pub(crate) fn signal_of(command: Command) -> Signal {
    match command {
        Command::Reload => Signal::HUP,
        Command::Reopen => Signal::USR1,
        Command::Stop => Signal::TERM,
    }
}

fn task_name(task: Task) -> String {
    match task {
        Task::Check { epoch } => format!("check of epoch {epoch}"),
        Task::Probe { epoch, .. } => format!("probe of epoch {epoch}"),
    }
}

/// A server.
pub(crate) fn peer_name(peer: Peer) -> &'static str {
    match peer {
        Peer::Probe => "server",
        Peer::Admin => "admin",
    }
}

/// What a server says.
pub(crate) fn answer_name(answer: Answer) -> &'static str {
    match answer {
        Answer::No => "no",
        Answer::Starting { .. } => "starting",
        Answer::Ready { .. } => "ready",
    }
}

/// What an admin is asked to do.
pub(crate) fn request_name(request: Request) -> &'static str {
    match request {
        Request::FailHealthCheck => "fail its health check",
        Request::DrainListeners => "drain its listeners",
        Request::CountPending => "count what is pending",
    }
}

/// What it replies.
pub(crate) fn reply_name(reply: Reply) -> String {
    match reply {
        Reply::Done => "done".into(),
        Reply::Failed => "no".into(),
        Reply::Counted(Count { pending: Pending { requests, connections, .. }, asked_older }) => {
            let when = asked_older.map_or_else(String::new, |when| format!(" as of {when}"));
            format!("{}{when}", requests + connections)
        }
    }
}

/// What a look finds.
pub(crate) fn view_name(view: View) -> &'static str {
    match view {
        View::Silent => "silent",
        View::Starting => "starting",
        View::Ready => "ready",
        View::Unreadable => "unreadable",
    }
}

/// An end.
pub(crate) fn status(status: Status) -> String {
    match status {
        Status::Exited(code) => format!("exits with {code}"),
        Status::Signaled(signal) => format!("dies of {signal}"),
    }
}

/// What has been seen to happen, by the name of its line of the log, or a closer one.
pub(crate) fn sight(what: &What) -> &'static str {
    let (_, kind) = what.kind();
    if let What::RestartFailed { failure: Failure::Late { .. }, .. } = what {
        "restart-failed-late"
    } else if let What::RestartRefused { why } = what {
        match why {
            why if why.contains("--check-timeout") => "check-late",
            why if why.starts_with("the check") => "check-failed",
            _ => kind,
        }
    } else {
        kind
    }
}

/// Whether an action is a line of the log of this kind.
pub(crate) fn is_log(action: &Action, kind: &str) -> bool {
    logged(action).is_some_and(|what| what.kind().1 == kind)
}

/// What an action says, if it says something.
pub(crate) fn logged(action: &Action) -> Option<&What> {
    match action {
        Action::Log(notice) => Some(&notice.what),
        Action::Start { .. }
        | Action::Look { .. }
        | Action::Run { .. }
        | Action::Ask { .. }
        | Action::Request { .. }
        | Action::KillEpoch { .. }
        | Action::Mend { .. }
        | Action::SignalGroup { .. }
        | Action::SignalCatchers { .. }
        | Action::SignalChild { .. }
        | Action::ListOrphans
        | Action::Reap { .. }
        | Action::Foreground { .. }
        | Action::RecordMemory { .. }
        | Action::Restart(_)
        | Action::Suspend { .. }
        | Action::NameSurvivors
        | Action::Exit(_) => None,
    }
}

fn name(pid: Pid, kernel: &Kernel) -> String {
    match kernel.process(pid) {
        Some(process) => match process.role {
            Role::Epoch(epoch) => format!("epoch {epoch}"),
            Role::Task(task) => task_name(task),
            Role::Other => format!("orphan {pid}"),
        },
        None => format!("NOBODY {pid}"),
    }
}
