//! What `/proc` tells about other processes: who descends from whom, and who catches what.
//!
//! `/proc` may be missing, may be of another PID namespace, and may hide processes that are not
//! of our user. Nothing here is an error to die of: what cannot be known is `None` or an
//! `io::Error` that the caller reads as "hidden".

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;

use nix::unistd::{self, getpgid};

use crate::signal::Signal;
use crate::supervisor::Pid;

/// The longest file under `/proc` that we read; a process may have a million mappings.
const READ_LIMIT: u64 = 16 << 20;

/// How much is read at once at first: the kernel gives out no more of most of its files in one go.
const ROOM: usize = 4096;

/// How often the children of a process that reaps meanwhile are read at most.
const CHILDREN_READ: usize = 3;

/// The `/proc` of our own PID namespace.
#[derive(Debug)]
pub struct Procfs {
    own: Pid,
    /// Parents and children by the slow way, where the kernel has no `children` files.
    table: Option<Vec<Stat>>,
}

/// What we need of `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The process.
    pub pid: Pid,
    /// Its parent.
    pub parent: Pid,
    /// One letter: `R`, `S`, `D`, `Z`, `T` …
    pub state: char,
}

impl Procfs {
    /// `None` where `/proc` is not mounted, or `/proc/self` does not lead to our own pid: then
    /// its numbers are those of another PID namespace.
    pub fn ours() -> Option<Self> {
        let own = Pid(unistd::getpid().as_raw());
        let link = fs::read_link("/proc/self").ok()?;
        if link.to_str()? != own.to_string() {
            return None;
        }
        let children = format!("/proc/{own}/task/{own}/children");
        let table = (!fs::exists(children).ok()?).then(all_processes);
        Some(Self { own, table })
    }

    /// Our direct children, oldest first, zombies included.
    pub fn own_children(&self) -> Vec<Pid> {
        self.children(self.own)
    }

    fn children(&self, parent: Pid) -> Vec<Pid> {
        if let Some(table) = &self.table {
            let ours = table.iter().filter(|stat| stat.parent == parent);
            return ours.map(|stat| stat.pid).collect();
        }
        if parent == self.own {
            // We have one thread, whose children are all that there are.
            let text = read(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
            return parse_children(&String::from_utf8_lossy(&text)).collect();
        }
        // The kernel may leave out a living child while its parent reaps older ones (measured: 3
        // of 8,032 reads), so what is not ours is read until it adds nothing.
        let mut children = BTreeSet::new();
        for _ in 0..CHILDREN_READ {
            let before = children.len();
            children.extend(child_files(parent));
            if children.len() == before {
                break;
            }
        }
        children.into_iter().collect()
    }

    /// The processes of an epoch: its leader, what descends from it, and what is in its group
    /// but was handed to us. Of an orphan in the group the descendants count as well. The leader
    /// and what is near it come first, and of very many not much more than `enough`.
    pub fn members(&self, leader: Pid, enough: usize) -> Vec<Pid> {
        let mut seen = BTreeSet::from([leader]);
        let mut members = vec![leader];
        self.add_descendants(0, enough, &mut seen, &mut members);
        for child in self.own_children() {
            if members.len() >= enough {
                break;
            }
            if !seen.contains(&child) && process_group(child) == Some(leader) {
                seen.insert(child);
                members.push(child);
                self.add_descendants(members.len() - 1, enough, &mut seen, &mut members);
            }
        }
        members
    }

    /// Our descendants that belong to none of the epochs with these leaders: what epochs that are
    /// over have left behind, and what we run ourselves. What was handed to us last comes first,
    /// and of very many not much more than `enough` are listed.
    pub fn strays(&self, leaders: &[Pid], enough: usize) -> Vec<Pid> {
        let of_an_epoch = |pid| {
            leaders.contains(&pid) || process_group(pid).is_some_and(|it| leaders.contains(&it))
        };
        let mut strays = self.own_children();
        strays.retain(|child| !of_an_epoch(*child));
        strays.reverse();
        strays.truncate(enough);
        let mut seen: BTreeSet<Pid> = strays.iter().copied().collect();
        self.add_descendants(0, enough, &mut seen, &mut strays);
        strays
    }

    /// Adds what descends from `members[from..]`, until there is enough.
    fn add_descendants(
        &self,
        from: usize,
        enough: usize,
        seen: &mut BTreeSet<Pid>,
        members: &mut Vec<Pid>,
    ) {
        let mut next = from;
        while let Some(&parent) = members.get(next)
            && members.len() < enough
        {
            next += 1;
            let children = self.children(parent);
            members.extend(children.into_iter().filter(|child| seen.insert(*child)));
        }
    }

    /// Whether a process catches a signal, by `SigCgt` in its status.
    pub fn catches(&self, pid: Pid, signal: Signal) -> io::Result<bool> {
        let status = read(format!("/proc/{pid}/status"))?;
        let caught = parse_caught(&String::from_utf8_lossy(&status)).unwrap_or(0);
        Ok(caught & signal.bit() != 0)
    }

    /// The mappings of a process, as the kernel writes them. Refused for a process of another
    /// user without `CAP_SYS_PTRACE`.
    pub fn maps(&self, pid: Pid) -> io::Result<Vec<u8>> {
        read(format!("/proc/{pid}/maps"))
    }

    /// The arguments of a process.
    pub fn command_line(&self, pid: Pid) -> io::Result<Vec<Vec<u8>>> {
        Ok(strings(&read(format!("/proc/{pid}/cmdline"))?))
    }

    /// The environment that a process was started with, `NAME=value` each. Refused as its maps
    /// are.
    pub fn environment(&self, pid: Pid) -> io::Result<Vec<Vec<u8>>> {
        Ok(strings(&read(format!("/proc/{pid}/environ"))?))
    }

    /// The user whose rights a process has, in our user namespace.
    pub fn effective_user(&self, pid: Pid) -> Option<u32> {
        let status = read(format!("/proc/{pid}/status")).ok()?;
        parse_effective_user(&String::from_utf8_lossy(&status))
    }

    /// What a person calls the process, and its state.
    pub fn name_and_state(&self, pid: Pid) -> Option<(String, char)> {
        let name = read(format!("/proc/{pid}/comm")).ok()?;
        let stat = read(format!("/proc/{pid}/stat")).ok()?;
        let stat = parse_stat(&String::from_utf8_lossy(&stat))?;
        Some((String::from_utf8_lossy(&name).trim_end().to_owned(), stat.state))
    }

    /// The Unix sockets of our network namespace, one a line, the name last.
    pub fn unix_sockets(&self) -> io::Result<Vec<u8>> {
        read("/proc/self/net/unix")
    }
}

/// The children of a process, thread by thread, since a child belongs to the one that forked it.
fn child_files(parent: Pid) -> Vec<Pid> {
    let Ok(threads) = fs::read_dir(format!("/proc/{parent}/task")) else {
        return Vec::new();
    };
    let mut children = Vec::new();
    for thread in threads.flatten() {
        if let Ok(text) = read(thread.path().join("children")) {
            children.extend(parse_children(&String::from_utf8_lossy(&text)));
        }
    }
    children
}

/// The process group of a process, in our PID namespace.
pub fn process_group(pid: Pid) -> Option<Pid> {
    let group = getpgid(Some(unistd::Pid::from_raw(pid.0))).ok()?;
    Some(Pid(group.as_raw()))
}

/// A file of the kernel's, which does not tell its size beforehand.
pub fn read(path: impl Into<PathBuf>) -> io::Result<Vec<u8>> {
    // On the stack, where most fit: the allocator would map pages for so much, and unmap them.
    let mut room = [0; ROOM];
    let mut file = File::open(path.into())?.take(READ_LIMIT);
    let mut bytes = Vec::new();
    loop {
        match file.read(&mut room) {
            Ok(0) => return Ok(bytes),
            Ok(length) => bytes.extend_from_slice(&room[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// What the kernel ends with a zero byte each.
fn strings(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

fn all_processes() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let numbered = entries
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit));
    numbered
        .filter_map(|entry| {
            let stat = read(entry.path().join("stat")).ok()?;
            parse_stat(&String::from_utf8_lossy(&stat))
        })
        .collect()
}

/// The pids in a `children` file, which separates them with spaces.
pub fn parse_children(text: &str) -> impl Iterator<Item = Pid> {
    text.split_ascii_whitespace()
        .filter_map(|word| word.parse().ok())
        .filter(|pid| *pid > 0)
        .map(Pid)
}

/// The fields of a `stat` line that we need. The name in parentheses may itself hold spaces and
/// parentheses, so the last closing one counts.
pub fn parse_stat(line: &str) -> Option<Stat> {
    let (before, after) = line.rsplit_once(')')?;
    let pid = before.split_once(' ')?.0.parse().ok()?;
    let mut fields = after.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    Some(Stat { pid: Pid(pid), parent: Pid(parent), state })
}

/// The set of caught signals in a `status` file.
pub fn parse_caught(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// The second of the users in a `status` file, which are the real, effective, saved and file
/// system's.
pub fn parse_effective_user(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_survives_any_name() {
        let stat = parse_stat("42 (a ) (Z) b) S 7 42 42 0 -1 4194304").expect("a stat line");
        assert_eq!(stat, Stat { pid: Pid(42), parent: Pid(7), state: 'S' });
        for bad in ["", "42", "42 (a", ")", "x (a) S 7", "42 (a) S", "42 (a) S y"] {
            assert_eq!(parse_stat(bad), None, "{bad}");
        }
    }

    #[test]
    fn caught_signals_are_read_from_status() {
        let status = "Name:\tenvoy\nSigIgn:\t0000000000001000\nSigCgt:\t0000000100004203\n";
        assert_eq!(parse_caught(status), Some(0x1_0000_4203));
        assert_eq!(parse_caught("SigCgt:\tzebra"), None);
        assert_eq!(parse_caught(""), None);
    }

    #[test]
    fn the_effective_user_is_read_from_status() {
        let status = "Name:\tenvoy\nUid:\t1000\t101\t102\t103\nGid:\t1\t2\t3\t4\n";
        assert_eq!(parse_effective_user(status), Some(101));
        for none in ["", "Uid:", "Uid:\t1000", "Uid:\t1000\t-1\t", "xUid:\t1\t1"] {
            assert_eq!(parse_effective_user(none), None, "{none}");
        }
    }

    #[test]
    fn children_are_separated_by_spaces() {
        assert_eq!(parse_children("3 4 -1 0 x 5 \n").collect::<Vec<_>>(), [Pid(3), Pid(4), Pid(5)]);
    }
}
