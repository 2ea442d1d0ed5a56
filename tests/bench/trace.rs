//! System calls, counted by strace.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use support::eventually;
use support::scene::Scene;

/// Whether the machine has strace.
pub(crate) fn possible() -> bool {
    Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_ok()
}

/// A strace of some processes and what they start.
#[derive(Debug)]
pub(crate) struct Trace {
    strace: Child,
    file: PathBuf,
}

impl Trace {
    /// Attaches to these.
    pub(crate) fn attach(scene: &Scene, pids: &[i32]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let file = scene.path(&format!("trace-{number}"));
        let mut command = Command::new("strace");
        command.args(["-f", "--pidns-translation", "-o"]).arg(&file);
        for pid in pids {
            command.args(["-p", &pid.to_string()]);
        }
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let strace = quiet.spawn().expect("strace runs");
        for pid in pids {
            eventually("strace has attached", || {
                let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
                let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
                if tracer.is_some_and(|tracer| tracer.trim() != "0") { Ok(()) } else { Err(status) }
            });
        }
        Self { strace, file }
    }

    /// Lets them go; what it has written.
    pub(crate) fn finish(mut self) -> String {
        let pid = i32::try_from(self.strace.id()).expect("a pid is an int");
        support::processes::signal(pid, libc::SIGINT);
        self.strace.wait().expect("it is our child");
        let said = fs::read_to_string(&self.file).unwrap_or_default();
        let _ = fs::remove_file(&self.file);
        said
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

/// Who made a call, and the call, of each line that is the beginning of one.
fn begun(line: &str) -> Option<(i32, &str)> {
    let (pid, call) = line.split_once(' ')?;
    let call = call.trim_start();
    // Signals, ends, and calls that were begun before.
    let another = ["---", "+++", "<...", "restart_syscall"].iter().any(|is| call.starts_with(is));
    (!another).then_some(())?;
    Some((pid.parse().ok()?, call))
}

/// Whether a line is of a call that makes a process: its beginning, or what it returned.
fn is_fork(line: &str) -> bool {
    let call = line.split_once(' ').map_or("", |(_, call)| call.trim_start());
    let call = call.strip_prefix("<... ").unwrap_or(call);
    ["clone", "fork", "vfork"].iter().any(|fork| call.starts_with(fork))
}

/// How many calls a process has begun since its first `execve`, that not counted.
pub(crate) fn calls_of(said: &str, pid: i32) -> usize {
    let own = said.lines().filter_map(begun).filter(|(who, _)| *who == pid);
    own.skip_while(|(_, call)| !call.starts_with("execve(")).skip(1).count()
}

/// How many calls there were on the way from the init's `execve` (not counted) to that of the last
/// program that was executed, the target: its own, and those of each ancestor up to its fork.
pub(crate) fn before_target(said: &str, init: i32) -> Option<usize> {
    let lines: Vec<&str> = said.lines().collect();
    let executes = |line: &&str| begun(line).is_some_and(|(_, call)| call.starts_with("execve("));
    let mut end = lines.iter().rposition(executes)?;
    let (mut pid, _) = begun(lines[end])?;
    let mut count = 0;
    loop {
        let own = |line: &&&str| begun(line).is_some_and(|(who, _)| who == pid);
        let up_to = lines[..=end].iter().filter(own);
        if pid == init {
            return Some(count + up_to.skip_while(|line| !executes(line)).skip(1).count());
        }
        count += up_to.count();
        // What its parent's call returned, which may have been said later than its own first ones.
        let born = format!("/* {pid} in strace's PID NS */");
        let returned = lines.iter().position(|line| is_fork(line) && line.contains(&born))?;
        pid = lines[returned].split(' ').next()?.parse().ok()?;
        let parent = |line: &&str| begun(line).is_some_and(|(who, _)| who == pid);
        end = lines[..=returned].iter().rposition(parent)?;
    }
}

/// How many calls a process has begun at all, but for that which it was found waiting in.
pub(crate) fn all_calls_of(said: &str, pid: i32) -> usize {
    let own = said.lines().filter_map(begun).filter(|(who, _)| *who == pid);
    // strace shows the call that it attached in as if it had begun then, and so, where it was
    // not to be waited out, the last one.
    own.count().saturating_sub(1)
}
