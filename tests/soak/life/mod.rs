//! One life of a restarter, from its start to the judge.

mod arena;
mod clients;
mod handle;
mod manners;
mod plan;
mod play;
mod start;

pub(crate) use arena::Arena;

use std::fmt::Write as _;
use std::fs;
use std::time::Instant;

use support::trial::caught;

use crate::judge::{self, End, Facts, Programs};
use crate::random::Random;
use crate::record;
use crate::tally::Tally;
use plan::{Place, Sink};
use play::Stage;

/// Lives one life after the other until the time is over.
pub(crate) fn arena(arena: &Arena, random: &mut Random, until: Instant, tally: &Tally) {
    while Instant::now() < until && !tally.is_broken() {
        live(arena, random.any(), tally);
    }
}

/// The life that belongs to a seed; what it dies of is a broken promise.
pub(crate) fn live(arena: &Arena, seed: u64, tally: &Tally) {
    if let Err(why) = caught(|| play(arena, seed, tally)) {
        tally.broken(format!("life {seed:#x} (SOAK_LIFE={seed:#x} plays it alone): {why}"));
    }
}

fn play(arena: &Arena, seed: u64, tally: &Tally) {
    let mut stage = Stage::new(arena, seed, tally);
    let ended = stage.play();
    let (text, is_whole) = match arena.record.as_ref().map(kernel_record) {
        Some(Ok((text, is_whole))) => (Some(text), is_whole),
        Some(Err(why)) => {
            tally.broken(format!("life {seed:#x}: the kernel's record cannot be had: {why}"));
            (None, false)
        }
        None => (None, false),
    };
    tally.add("lives", 1);
    tally.add(
        match stage.plan.place {
            Place::First => "lives as PID 1",
            Place::Subreaper => "lives as a subreaper",
        },
        1,
    );
    if arena.record.is_some() && !is_whole {
        tally.add("records that were not whole", 1);
    }
    let (broken, log) = match ended {
        Ok(end) => {
            held_against_the_contract(&mut stage, end, text.as_deref().filter(|_| is_whole), tally)
        }
        Err(why) => (vec![why], stage.log()),
    };
    let left = stage.leftovers();
    let broken: Vec<String> = broken.into_iter().chain(left).chain(stage.found()).collect();
    if !broken.is_empty() {
        tally.broken(dossier(&stage, seed, &broken, &log, text.as_deref(), arena.keeps));
    }
}

fn kernel_record(instance: &crate::kernel::Instance) -> Result<(String, bool), String> {
    instance.take().map_err(|error| error.to_string())
}

fn held_against_the_contract(
    stage: &mut Stage<'_>,
    end: End,
    text: Option<&str>,
    tally: &Tally,
) -> (Vec<String>, String) {
    let log = stage.log();
    let moments = match text.map(record::parse).transpose() {
        Ok(moments) => moments,
        Err(why) => return (vec![format!("the kernel's record: {why}")], log),
    };
    let journal = fs::read_to_string(stage.scene.path("journal")).unwrap_or_default();
    let [target, check, question] =
        ["target", "check", "ready"].map(|name| stage.scene.place(name));
    let facts = Facts {
        terms: stage.plan.terms,
        programs: Programs {
            restarter: stage.program(),
            target: &target,
            check: &check,
            question: &question,
        },
        record: moments.as_deref(),
        log: &log,
        log_is_whole: stage.plan.sink == Sink::File,
        journal: &journal,
        end,
        asked: stage.asked,
        suspended: &stage.suspended,
    };
    let verdict = judge::judge(&facts);
    for (name, number) in judge::census(&facts) {
        tally.add(name, number);
    }
    (verdict, log)
}

/// Everything that is needed to understand what went wrong.
fn dossier(
    stage: &Stage<'_>,
    seed: u64,
    broken: &[String],
    log: &str,
    record: Option<&str>,
    keeps: bool,
) -> String {
    let folder = std::env::temp_dir().join(format!("soak-life-{seed:x}"));
    if keeps {
        let _ = fs::create_dir_all(&folder);
    }
    let journal = fs::read_to_string(stage.scene.path("journal")).unwrap_or_default();
    let mut kept = String::new();
    let plan = format!("{:#?}\n{:#?}\n", stage.plan, stage.told());
    for (name, text) in
        [("log", log), ("record", record.unwrap_or("")), ("journal", &journal), ("plan", &plan)]
    {
        if fs::write(folder.join(name), text).is_ok() {
            let _ = writeln!(kept, "{name}: {}", folder.join(name).display());
        }
    }
    let tail: Vec<&str> = log.lines().rev().take(40).collect();
    let tail: Vec<&str> = tail.into_iter().rev().collect();
    format!(
        "life {seed:#x} (SOAK_LIFE={seed:#x} plays it alone)\n  {}\n{:#?}\nasked to stop at {:?}, suspended {:?}\n\
         the log ends:\n{}\n{kept}",
        broken.join("\n  "),
        stage.plan.options,
        stage.asked,
        stage.suspended,
        tail.join("\n"),
    )
}
