//! Which Envoys there have been, by the kernel's word.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use support::envoy::Process;
use support::processes;

use super::judge::Excuse;

/// From one look to the next. An Envoy needs ten times as long to begin.
const PACE: Duration = Duration::from_millis(5);

/// One run of Envoy.
#[derive(Clone, Copy, Debug)]
struct Seen {
    epoch: u32,
    first: Instant,
    last: Instant,
}

#[derive(Debug, Default)]
struct Record {
    /// By pid, which does not come twice in so short a life.
    seen: BTreeMap<i32, Seen>,
    /// More at once than there may be.
    crowded: Option<String>,
}

/// Looks on until it goes.
#[derive(Debug)]
pub(super) struct Watcher {
    record: Arc<Mutex<Record>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Looks at the children of this restarter, of whom so many may live.
    pub(super) fn of(restarter: Process, most: usize) -> Self {
        let (record, over) = (Arc::<Mutex<Record>>::default(), Arc::<AtomicBool>::default());
        let (theirs, told) = (Arc::clone(&record), Arc::clone(&over));
        let thread = thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                look(restarter, most, &mut lock(&theirs));
                thread::sleep(PACE);
            }
        });
        Self { record, over, thread: Some(thread) }
    }

    /// What was seen that must not be.
    pub(super) fn complaint(&self) -> Option<String> {
        lock(&self.record).crowded.clone()
    }

    /// Every start of an Envoy while the one two numbers before it lived: its parent tells that one
    /// to end at once, however much it has to do still.
    pub(super) fn third_starts(&self) -> Vec<Excuse> {
        let record = lock(&self.record);
        let seen = || record.seen.values();
        let cut = |third: &Seen| {
            let oldest = seen().find(|other| {
                other.epoch + 2 == third.epoch && (other.first..other.last).contains(&third.first)
            });
            oldest.map(|oldest| Excuse {
                from: third.first,
                until: Some(oldest.last),
                why: "Envoy: requests that it cut itself with the drain of its oldest epoch, at a third start",
                cut_only: true,
            })
        };
        seen().filter_map(cut).collect()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

fn look(restarter: Process, most: usize, record: &mut Record) {
    let now = Instant::now();
    let mut living = Vec::new();
    for Process(pid) in restarter.children() {
        if let Some(epoch) = epoch_of(pid) {
            living.push((pid, epoch));
            let seen = record.seen.entry(pid).or_insert(Seen { epoch, first: now, last: now });
            seen.last = now;
        }
    }
    if living.len() > most {
        record.crowded.get_or_insert(format!("more than {most} epochs: {living:?}"));
    }
}

/// The epoch of an Envoy that is none of the check's.
fn epoch_of(pid: i32) -> Option<u32> {
    let words = processes::command_line(pid);
    if words.iter().any(|word| word == "validate") {
        return None;
    }
    let at = words.iter().position(|word| word == "--restart-epoch")?;
    words.get(at + 1)?.parse().ok()
}
