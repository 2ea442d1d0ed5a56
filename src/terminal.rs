//! The terminal on standard input: who is in its foreground.

use std::os::fd::RawFd;

use nix::unistd;

use crate::supervisor::Pid;
use crate::sys;

const STDIN: RawFd = libc::STDIN_FILENO;

/// The foreground of our controlling terminal, as far as it is ours to give.
#[derive(Debug, Default)]
pub struct Terminal {
    /// The group that has it from us.
    lent_to: Option<Pid>,
}

impl Terminal {
    /// The terminal whose foreground a new epoch is to have: standard input, when it is our
    /// controlling terminal and its foreground is our own group's or a living epoch's. When a
    /// shell has put us into the background it is not ours.
    pub fn to_lend(&mut self, mut epochs: impl Iterator<Item = Pid>) -> Option<RawFd> {
        let foreground = sys::foreground_group(STDIN)?;
        // 0 is any group outside our PID namespace: perhaps not ours, and never to be had back.
        if foreground.0 <= 0 {
            return None;
        }
        let ours = foreground == own_group() || epochs.any(|group| group == foreground);
        if ours {
            // A child takes it before it executes, so even one that cannot has had it.
            self.lent_to.get_or_insert_with(own_group);
        }
        ours.then_some(STDIN)
    }

    /// Notes that an epoch has taken the foreground.
    pub fn lent(&mut self, group: Pid) {
        self.lent_to = Some(group);
    }

    /// Gives the foreground to another group, with `None` to our own, unless we never had it or
    /// somebody who lives has taken it since.
    pub fn give(&mut self, group: Option<Pid>) {
        let Some(lent_to) = self.lent_to else {
            return;
        };
        let Some(foreground) = sys::foreground_group(STDIN) else {
            return;
        };
        // A shell that was an epoch may have left it to a job that is gone.
        if foreground == lent_to || !sys::group_exists(foreground) {
            let group = group.unwrap_or_else(own_group);
            // A terminal that is gone needs nothing.
            let _ = sys::set_foreground_group(STDIN, group);
            self.lent_to = Some(group);
        }
    }

    /// The group that has the foreground from us, if one has.
    pub fn borrower(&self) -> Option<Pid> {
        self.lent_to.filter(|group| *group != own_group())
    }

    /// Suspends us as a shell expects it of a job, with the foreground given back, and takes up
    /// again what the shell gives when it resumes us. `false` where nobody could resume us: as PID
    /// 1, and where our parent is in another session.
    pub fn suspend(&mut self, group: Pid) -> bool {
        let session = |pid: unistd::Pid| unistd::getsid(Some(pid)).ok();
        let (own, parent) = (unistd::getpid(), unistd::getppid());
        if parent.as_raw() == 0 || session(parent).is_none() || session(parent) != session(own) {
            return false;
        }
        self.give(None);
        sys::suspend();
        // `fg` has given us the foreground, `bg` has not.
        if sys::foreground_group(STDIN) == Some(own_group()) {
            let _ = sys::set_foreground_group(STDIN, group);
            self.lent_to = Some(group);
        }
        true
    }
}

fn own_group() -> Pid {
    Pid(unistd::getpgrp().as_raw())
}
