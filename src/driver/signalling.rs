//! Signals to the processes of an epoch.

use std::collections::BTreeSet;
use std::fmt;
use std::io;

use super::Driver;
use crate::log::Record;
use crate::procfs::{self, Procfs};
use crate::signal::Signal;
use crate::supervisor::{Level, Pid, Reach};
use crate::sys::{self, PidFd};

/// How many processes are held at once, by a descriptor each.
const HELD_AT_ONCE: usize = 256;

impl Driver {
    /// Kills every process of an epoch whose leader lives: by that it can be told who they are.
    ///
    /// They are stopped first, so that nobody starts another one when a child of its dies. What is
    /// in other groups than the leader's then goes children first: an Envoy has the kernel send it
    /// SIGTERM when its parent dies, and while it initialises it passes that on to the epoch in
    /// service. They are held before one is killed, since what descends from it is handed to us then,
    /// and is told from no other orphan; of very many, those that are farthest from the leader go
    /// first. The leader's group goes at one stroke.
    pub(super) fn kill_epoch(&mut self, leader: Pid) {
        // An error means the same as that of SIGKILL, which is told.
        let _ = sys::signal_group(leader, Signal::STOP);
        let elsewhere = |pid: &Pid| procfs::process_group(*pid) != Some(leader);
        let mut strayed = members(leader);
        strayed.retain(elsewhere);
        for strayed in strayed.rchunks(HELD_AT_ONCE) {
            let held = hold_members(leader, strayed);
            for (_, held) in &held {
                let _ = held.signal(Signal::STOP);
            }
            for (pid, held) in held.iter().rev() {
                let sent = held.signal(Signal::KILL);
                self.complain("process", *pid, Signal::KILL, sent);
            }
        }
        let sent = sys::signal_group(leader, Signal::KILL);
        self.complain("process group", leader, Signal::KILL, sent);
    }

    /// Sends a signal to those processes of an epoch that catch it.
    ///
    /// The leader, which mostly is the one that serves, has it first where there are not very many.
    /// The others are held by then: what its handler forks is not taken for one of them and killed
    /// before it can catch anything, and of what it leaves, should it end of the signal, could not be
    /// told any more whose it is.
    pub(super) fn signal_catchers(&mut self, leader: Pid, signal: Signal) -> Reach {
        let Some(procfs) = Procfs::ours() else {
            return Reach::Unknown;
        };
        let mut others = procfs.members(leader, usize::MAX);
        others.retain(|pid| *pid != leader);
        let (first, rest) = others.split_at(others.len().min(HELD_AT_ONCE));
        let mut sent = 0;
        for rest in rest.chunks(HELD_AT_ONCE) {
            let held = hold_members(leader, rest);
            sent += self.signal_held(&procfs, &held, signal);
        }
        let held = if first.is_empty() { Vec::new() } else { hold_members(leader, first) };
        // It is our child and keeps its number until we reap it, so it need not be held.
        let lead =
            self.signal_if_caught(&procfs, leader, signal, || sys::signal_child(leader, signal));
        // One that we have not reaped exists, so it is hidden rather than gone.
        let unknown = lead.is_err();
        sent += u32::from(lead.unwrap_or(false));
        sent += self.signal_held(&procfs, &held, signal);
        match sent {
            0 if unknown => Reach::Unknown,
            0 => Reach::Nobody,
            sent => Reach::Sent(sent),
        }
    }

    /// Sends a signal to those of these that catch it; how many they are.
    fn signal_held(&mut self, procfs: &Procfs, held: &[(Pid, PidFd)], signal: Signal) -> u32 {
        let mut sent = 0;
        for (pid, held) in held {
            let told = self.signal_if_caught(procfs, *pid, signal, || held.signal(signal));
            sent += u32::from(told.unwrap_or(false));
        }
        sent
    }

    /// Sends a process a signal if it catches it; whether it was sent. An error means that it cannot
    /// be told whether it does.
    fn signal_if_caught(
        &mut self,
        procfs: &Procfs,
        pid: Pid,
        signal: Signal,
        send: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<bool> {
        let caught = procfs.catches(pid, signal);
        if !caught.inspect_err(|error| self.complain_blind(pid, signal, error))? {
            return Ok(false);
        }
        let result = send();
        let was_sent = result.is_ok();
        self.complain("process", pid, signal, result);
        Ok(was_sent)
    }

    /// Says why a signal could not be sent. That its receiver is gone needs no words.
    pub(super) fn complain(&mut self, what: &str, pid: Pid, signal: Signal, sent: io::Result<()>) {
        let Err(error) = sent else { return };
        if error.raw_os_error() == Some(libc::ESRCH) {
            return;
        }
        let hint = match error.raw_os_error() {
            Some(libc::EPERM) => "; it runs as another user and we lack CAP_KILL",
            _ => "",
        };
        let message = &format_args!("cannot send {signal} to {what} {pid}: {error}{hint}");
        self.say_not_signalled(pid, message);
    }

    /// Says why it cannot be told whether a process catches a signal. That it is gone or hidden
    /// needs no words: what is hidden is told of its epoch.
    fn complain_blind(&mut self, pid: Pid, signal: Signal, error: &io::Error) {
        if matches!(
            error.raw_os_error(),
            Some(libc::ENOENT | libc::ESRCH | libc::EACCES | libc::EPERM)
        ) {
            return;
        }
        let message = &format_args!(
            "process {pid} gets no {signal}: whether it catches it is unknown: {error}"
        );
        self.say_not_signalled(pid, message);
    }

    fn say_not_signalled(&mut self, pid: Pid, message: &dyn fmt::Display) {
        let (level, event) = (Level::Warn, "not-signalled");
        self.log.write(&Record { level, event, epoch: None, pid: Some(pid), message });
    }
}

/// The members of an epoch whose leader lives, as they are now.
fn members(leader: Pid) -> Vec<Pid> {
    Procfs::ours().iter().flat_map(|procfs| procfs.members(leader, usize::MAX)).collect()
}

/// Holds those of these processes that are members of the epoch. Each is held first and looked up
/// then: before it is held its number may pass to a stranger, a neighbour in our PID namespace
/// perhaps, and a stranger is no member.
fn hold_members(leader: Pid, pids: &[Pid]) -> Vec<(Pid, PidFd)> {
    let open = |pid: &Pid| Some((*pid, PidFd::open(*pid).ok()?));
    let mut held: Vec<(Pid, PidFd)> = pids.iter().filter_map(open).collect();
    let members: BTreeSet<Pid> = members(leader).into_iter().collect();
    held.retain(|(pid, _)| members.contains(pid));
    held
}
