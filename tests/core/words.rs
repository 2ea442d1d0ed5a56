//! Actions and events in few words, for people who read tables.

use hot_restarter::supervisor::{Action, Event, Pid, Reach, Status, View, What};

use crate::kernel::Kernel;

/// An action; processes by what they are rather than by their numbers.
pub(crate) fn action(action: &Action, kernel: &Kernel) -> String {
    match action {
        Action::Start { epoch } => format!("start epoch {epoch}"),
        Action::Look { epoch, .. } => format!("look at epoch {epoch}"),
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
        Action::RecordMemory => "record memory".into(),
        Action::Suspend { group } => format!("suspend with {}", name(*group, kernel)),
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
        Event::NotStarted { .. } => Some("failed".into()),
        Event::Seen { view, .. } => Some(view_name(*view).into()),
        Event::Reached { reach: Reach::Nobody, .. } => Some("nobody".into()),
        Event::Reached { reach: Reach::Unknown, .. } => Some("unknown".into()),
        Event::Orphans(orphans) => Some(orphans.len().to_string()),
        Event::Reached { reach: Reach::Sent(_), .. }
        | Event::Started { .. }
        | Event::Begin
        | Event::Signal(_)
        | Event::Exited { .. }
        | Event::Childless
        | Event::Suspended { .. }
        | Event::Tick => None,
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
        | Action::SignalGroup { .. }
        | Action::SignalCatchers { .. }
        | Action::SignalChild { .. }
        | Action::ListOrphans
        | Action::Reap { .. }
        | Action::Foreground { .. }
        | Action::RecordMemory
        | Action::Suspend { .. }
        | Action::NameSurvivors
        | Action::Exit(_) => None,
    }
}

fn name(pid: Pid, kernel: &Kernel) -> String {
    match kernel.process(pid) {
        Some(process) => match process.epoch {
            Some(epoch) => format!("epoch {epoch}"),
            None => format!("orphan {pid}"),
        },
        None => format!("NOBODY {pid}"),
    }
}
