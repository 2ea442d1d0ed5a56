//! What strace has seen of the signals that a restarter sent, and whether each was its to send.
//!
//! A number is a process's own until that is reaped, and only its parent does that. So a number is
//! ours to signal when the kernel has given it to us, as the result of a `clone` or in the list of
//! our own children, and we have not reaped it since; and a group's is when we have made that
//! group's leader and not reaped it. Of any other process a descriptor must be held, and the kernel
//! must have told since that this number is a descendant's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// Is told where to write and what to run. Whatever sends a signal is slow, so that numbers which
/// are not held have long been given to somebody else. Only the restarter is traced, which has one
/// thread: where numbers come round this fast, strace may leave a child that it follows stopped for
/// ever (seen under load, SIGTERM pending).
pub(super) const COMMAND: &str = "strace -y -s 65536 -e signal=none \
    -e inject=pidfd_open:delay_enter=80000 -e inject=kill,pidfd_send_signal:delay_enter=1000 \
    -e trace=kill,tkill,tgkill,pidfd_open,pidfd_send_signal,clone,clone3,?fork,?vfork,\
    wait4,waitid,read -o";

/// How many signals were sent, and all to processes of ours.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// To groups whose leader we had made.
    pub(super) groups: usize,
    /// To single children.
    pub(super) children: usize,
    /// To processes that were held.
    pub(super) held: usize,
}

/// Fails where the process of this number has sent a signal that was not its to send.
pub(super) fn verify(place: &str, own: i32) -> Sent {
    let text = fs::read_to_string(place).expect("strace has seen the restarter");
    let mut witness = Witness { own, ..Witness::default() };
    for line in text.lines() {
        witness.see(line).unwrap_or_else(|why| panic!("{why}: {line}"));
    }
    witness.sent
}

/// A process of which we have a descriptor.
struct Held {
    pid: i32,
    /// It was listed as a child of ours, or of a process of ours, since.
    confirmed: bool,
}

#[derive(Default)]
struct Witness {
    own: i32,
    /// Children that we have made and not reaped.
    made: BTreeSet<i32>,
    /// Children that we were handed, or have made, and not reaped.
    children: BTreeSet<i32>,
    /// What we have read so far of the kernel's lists of a process's children.
    lists: BTreeMap<i32, String>,
    /// The process that a descriptor holds.
    held: BTreeMap<i32, Held>,
    sent: Sent,
}

impl Witness {
    fn see(&mut self, call: &str) -> Result<(), String> {
        let Some((name, rest)) = call.split_once('(') else { return Ok(()) };
        let (arguments, result) = rest.rsplit_once(" = ").unwrap_or((rest, "?"));
        let arguments = arguments.trim_end().trim_end_matches(')');
        let result = result.split([' ', '<']).next().and_then(|result| result.parse::<i32>().ok());
        match name {
            "clone" | "clone3" | "fork" | "vfork" => {
                let child = result.filter(|child| *child > 0);
                self.made.extend(child);
                self.children.extend(child);
            }
            "read" => {
                if let Some(parent) = parent_of_list(arguments) {
                    self.sees_piece(parent, arguments, result)?;
                }
            }
            // A look without WNOWAIT has reaped whom it found.
            "waitid" if !arguments.contains("WNOWAIT") && result == Some(0) => {
                let found = arguments.split("si_pid=").nth(1).ok_or("nobody was reaped")?;
                let found = found.split(',').next().and_then(|pid| pid.parse::<i32>().ok());
                let found = found.ok_or("no number")?;
                self.made.remove(&found);
                self.children.remove(&found);
            }
            "kill" => self.sees_kill(arguments)?,
            "pidfd_open" => {
                let pid = first_number(arguments).ok_or("no number")?;
                if let Some(descriptor) = result.filter(|descriptor| *descriptor >= 0) {
                    self.held.insert(descriptor, Held { pid, confirmed: false });
                }
            }
            "pidfd_send_signal" if result == Some(0) => self.sees_held(arguments)?,
            "tkill" | "tgkill" | "wait4" => return Err("a call that is not ours".to_owned()),
            _ => {}
        }
        Ok(())
    }

    /// A list is read in pieces, and one of them may end within a number.
    fn sees_piece(
        &mut self,
        parent: i32,
        arguments: &str,
        result: Option<i32>,
    ) -> Result<(), String> {
        let before = self.lists.remove(&parent).unwrap_or_default();
        match result {
            Some(0) => {
                let numbers = before.split_ascii_whitespace().map(str::parse::<i32>);
                let numbers = numbers.collect::<Result<Vec<_>, _>>();
                self.sees_list(parent, &numbers.map_err(|error| error.to_string())?);
            }
            Some(1..) => {
                let piece = arguments.split('"').nth(1).ok_or("no list")?;
                self.lists.insert(parent, before + piece);
            }
            // The parent has ended while it was read.
            _ => {}
        }
        Ok(())
    }

    /// A process that shows up as a child after it was opened has the number still.
    fn sees_list(&mut self, parent: i32, numbers: &[i32]) {
        for held in self.held.values_mut().filter(|held| numbers.contains(&held.pid)) {
            held.confirmed = true;
        }
        if parent == self.own {
            self.children.extend(numbers);
        }
    }

    fn sees_kill(&mut self, arguments: &str) -> Result<(), String> {
        let to = first_number(arguments).ok_or("no number")?;
        if arguments.ends_with(" 0") {
            // Asks whether there is somebody, and sends nothing.
        } else if to < -1 && self.made.contains(&-to) {
            self.sent.groups += 1;
        } else if to > 1 && self.children.contains(&to) {
            self.sent.children += 1;
        } else {
            return Err(format!("{to} was not ours to signal"));
        }
        Ok(())
    }

    fn sees_held(&mut self, arguments: &str) -> Result<(), String> {
        let descriptor = arguments.split('<').next().and_then(|number| number.parse().ok());
        let descriptor: i32 = descriptor.ok_or("no descriptor")?;
        let held = self.held.get(&descriptor).ok_or("never opened")?;
        if !held.confirmed && !self.made.contains(&held.pid) {
            return Err(format!("{} may have been another's when it was opened", held.pid));
        }
        self.sent.held += 1;
        Ok(())
    }
}

/// Whose children a read is about, if it is of the kernel's list of them.
fn parent_of_list(arguments: &str) -> Option<i32> {
    let place = arguments.split(['<', '>']).nth(1)?;
    place.strip_suffix("/children")?.strip_prefix("/proc/")?.split('/').next()?.parse().ok()
}

fn first_number(arguments: &str) -> Option<i32> {
    arguments.split(',').next()?.trim().parse().ok()
}
