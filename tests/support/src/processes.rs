//! What `/proc` tells a test about processes.

use std::fs;

/// A process and what its `stat` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its process id, in our own PID namespace.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// One letter: `R`, `S`, `Z`, `T` …
    pub state: char,
    /// The file name that it was executed as, shortened by the kernel.
    pub name: String,
}

/// A process; `None` when there is none of that number.
pub fn process(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (before, after) = stat.rsplit_once(')')?;
    let name = before.split_once('(')?.1.to_owned();
    let mut fields = after.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    Some(Process { pid, parent, state, name })
}

/// Every process that we can see.
pub fn all() -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted");
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The children of a process, oldest first, zombies included.
pub fn children(parent: i32) -> Vec<Process> {
    let threads = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let pids: Vec<i32> = lists
        .flat_map(|list| {
            list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()
        })
        .collect();
    pids.into_iter().filter_map(process).collect()
}

/// The words that a process was executed with.
pub fn command_line(pid: i32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into());
    words.collect()
}

/// Whether a process has this variable in the environment that it was executed with. A zombie
/// has none.
pub fn has_variable(pid: i32, variable: &str) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes())
}

/// The signals that a process blocks, as the kernel's set.
pub fn blocked(pid: i32) -> u64 {
    u64::from_str_radix(&status_of(pid, "SigBlk:"), 16).unwrap_or(0)
}

fn status_of(pid: i32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let value = status.lines().find_map(|line| line.strip_prefix(field));
    value.unwrap_or_default().trim().to_owned()
}

/// How often a process has given up the processor, by itself and otherwise. One that sleeps
/// throughout has not.
pub fn switches(pid: i32) -> u64 {
    let fields = ["voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"];
    let counts = fields.map(|field| status_of(pid, field).parse::<u64>());
    counts.into_iter().map(|count| count.expect("it lives")).sum()
}

/// The numbers of a process from our PID namespace to its own.
pub fn numbers(pid: i32) -> Vec<i32> {
    let numbers = status_of(pid, "NSpid:");
    numbers.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// Signals a process that the caller has started, or that a child of the caller has.
///
/// Whether it still existed.
pub fn signal(pid: i32, signal: i32) -> bool {
    assert!(pid > 1, "a single process of ours is signalled");
    // SAFETY: sending a signal touches no memory of ours.
    unsafe { libc::kill(pid, signal) == 0 }
}
