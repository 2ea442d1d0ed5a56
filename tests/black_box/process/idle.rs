//! What a restarter that has nothing to do leaves to others.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use libtest_mimic::Trial;
use nix::unistd::{SysconfVar, sysconf};
use support::eventually;
use support::scene::Scene;

use super::{restarted, serving, stop_cleanly};
use crate::needs::{Needs, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![trial("process::idle_stack", Needs::Nothing, idle_stack)]
}

/// Deep calls, to start an epoch say, have it grow: eight pages of 4 KiB and more.
fn idle_stack() {
    let scene = Scene::new();
    let (restarter, _) = serving(&scene, &["--ready", "none"], "exit-on=TERM:0 wait");
    restarted(&scene, &restarter);
    eventually("the stack is given back", || match stack_pages(restarter.pid()) {
        0..=3 => Ok(()),
        pages => Err(pages),
    });
    stop_cleanly(&scene, restarter);
}

/// How many pages of its main thread's stack a process has in memory, apart from those with its
/// arguments and environment (proc(5): `maps`, `stat`, `pagemap`).
fn stack_pages(pid: i32) -> usize {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).expect("it lives");
    let page = sysconf(SysconfVar::PAGE_SIZE).expect("there is one").expect("there is one");
    let page = u64::try_from(page).expect("it is positive");
    let maps = read("maps");
    let stack = maps.lines().find(|line| line.ends_with("[stack]")).expect("it has one");
    let (lowest, _) = stack.split_once('-').expect("two addresses");
    let start = u64::from_str_radix(lowest, 16).expect("an address");
    let status = read("stat");
    let (_, fields) = status.rsplit_once(')').expect("a name");
    // Field 28, `startstack`; the name was the second.
    let begins: u64 = fields.split_whitespace().nth(25).expect("it is there").parse().expect("one");
    let mut entries = vec![0; usize::try_from((begins / page - start / page) * 8).expect("few")];
    let pagemap = File::open(format!("/proc/{pid}/pagemap")).expect("it is ours");
    pagemap.read_exact_at(&mut entries, start / page * 8).expect("one for each page");
    // The highest bit says that it is there.
    entries.chunks(8).filter(|entry| entry[7] & 0x80 != 0).count()
}
