//! What an init costs while nothing happens.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::eventually;
use support::scene::Scene;

use crate::peers::Peer;
use crate::stats::median;
use crate::table::Table;

/// How long the idle restarter is watched.
const WATCHED: Duration = Duration::from_secs(10);

/// Resident memory once a target has run for two seconds, threads, and the size of the file.
pub(crate) fn memory(peers: &[Peer], table: &mut Table) {
    let mut resident = Vec::new();
    let mut anonymous = Vec::new();
    let mut size = Vec::new();
    let mut later = Vec::new();
    for peer in peers {
        let mut values = [Vec::new(), Vec::new()];
        let mut after_signal = Vec::new();
        for _ in 0..5 {
            let scene = Scene::new();
            let target = scene.probe("wait");
            let words: Vec<String> = peer.words.iter().cloned().chain(target).collect();
            let mut init = scene.command(&words).stderr(Stdio::null()).spawn().expect("an init");
            scene.journal().await_ready(1);
            // A target that is no server is ready after a second; we are idle from then on.
            std::thread::sleep(Duration::from_secs(2));
            for (values, field) in values.iter_mut().zip(["VmRSS", "RssAnon"]) {
                values.push(status(init.id(), field));
            }
            // What a signal touches must not stay resident for good.
            support::processes::signal(i32::try_from(init.id()).expect("a pid"), libc::SIGWINCH);
            std::thread::sleep(Duration::from_millis(100));
            after_signal.push(status(init.id(), "VmRSS"));
            drop(scene);
            init.wait().expect("it is our child");
        }
        later.push(Some(median(&mut after_signal)));
        let [mut all, mut own] = values;
        resident.push(Some(median(&mut all)));
        anonymous.push(Some(median(&mut own)));
        let file = fs::metadata(&peer.words[0]).expect("a program");
        #[expect(clippy::cast_precision_loss, reason = "programs are small")]
        size.push(Some(file.len() as f64 / 1024.0));
    }
    table.row("resident memory, KiB", resident);
    table.row("the same after a signal, KiB", later);
    table.row("anonymous memory, KiB", anonymous);
    table.row("size of the file, KiB", size);
}

fn status(pid: u32, field: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a living process");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a known field");
    let number = line.trim_start_matches(':').split_whitespace().next();
    number.and_then(|number| number.parse().ok()).expect("a number")
}

/// The system calls of ten idle seconds, counted by strace, and our threads.
pub(crate) fn system_calls(_: &[Peer], table: &mut Table) {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        eprintln!("strace is not installed, so idle system calls are left out");
        return;
    }
    let scene = Scene::new();
    let restarter = scene.restarter(&[], &scene.probe("wait")).start();
    restarter.says("ready epoch=0");
    let pid = restarter.pid();
    let trace = scene.place("trace");
    let pid_word = pid.to_string();
    let words = ["strace", "-f", "-o", &trace, "-p", &pid_word];
    let mut strace = scene.command(&words).stderr(Stdio::null()).spawn().expect("strace");
    let traced = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
    };
    eventually("strace has attached", || if traced() { Ok(()) } else { Err(()) });
    std::thread::sleep(WATCHED);
    let strace_pid = i32::try_from(strace.id()).expect("a pid is an int");
    support::processes::signal(strace_pid, libc::SIGINT);
    strace.wait().expect("it is our child");
    let lines = fs::read_to_string(&trace).unwrap_or_default();
    // The call that strace found it waiting in is shown, resumed and unfinished.
    let calls =
        lines.lines().filter(|line| !line.contains("<unfinished") && !line.contains("resum"));
    #[expect(clippy::cast_precision_loss, reason = "there are few")]
    table.ours("system calls in ten idle seconds", calls.count() as f64);
    table.ours("threads", status(u32::try_from(pid).expect("a pid"), "Threads"));
}
