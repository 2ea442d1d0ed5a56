//! One life of a restarter, from its start to the judge.

mod arena;
mod breaker;
mod clients;
mod handle;
mod manners;
mod plan;
mod play;
mod start;

pub(crate) use arena::Arena;
pub(crate) use breaker::trial;

use std::fmt::Write as _;
use std::fs;
use std::time::Instant;

use libtest_mimic::Trial;
use support::random::Random;
use support::trial::caught;

use crate::judge::{self, End, Facts, Programs, Verdict};
use crate::record;
use crate::tally::Tally;
use plan::{Place, Sink};
use play::Stage;

/// Of the lives that the kernel has recorded so many in a hundred may go unjudged: where it could
/// not tell everything, most of what was promised is held against nobody.
const UNJUDGED: u64 = 10;
/// So many lives before that is asked.
const FEW: u64 = 10;

/// Lives one life after the other until the time is over.
pub(crate) fn arena(arena: &Arena, random: &mut Random, until: Instant, tally: &Tally) {
    let (mut lives, mut unjudged) = (0, 0);
    while Instant::now() < until && !tally.is_broken() {
        lives += 1;
        unjudged += u64::from(!live(arena, random.any(), tally));
    }
    if arena.record.is_some() && too_many(unjudged, lives) {
        tally.broken(format!("of {lives} lives {unjudged} were not recorded well enough to judge"));
    }
}

/// That too much that goes unjudged is told.
pub(crate) fn trial_of_the_unjudged() -> Trial {
    Trial::test("soak::unjudged_lives", || {
        let right = too_many(2, FEW) && !too_many(1, FEW) && !too_many(FEW - 1, FEW - 1);
        if right { Ok(()) } else { Err("others are too many".into()) }
    })
}

/// Whether so many lives may not go unjudged.
fn too_many(unjudged: u64, lives: u64) -> bool {
    lives >= FEW && unjudged * 100 > lives * UNJUDGED
}

/// The life that belongs to a seed; what it dies of is a broken promise. Whether it could be judged by
/// the kernel's record.
pub(crate) fn live(arena: &Arena, seed: u64, tally: &Tally) -> bool {
    caught(|| play(arena, seed, tally)).unwrap_or_else(|why| {
        tally.broken(format!("life {seed:#x} (SOAK_LIFE={seed:#x} plays it alone): {why}"));
        false
    })
}

fn play(arena: &Arena, seed: u64, tally: &Tally) -> bool {
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
    let log = stage.log();
    let record = text.as_deref().filter(|_| is_whole);
    let verdict = match ended {
        Ok(end) => held_against_the_contract(&stage, end, &log, record, tally),
        Err(why) => Verdict { broken: vec![why], by_record: false, excused: false },
    };
    let left = stage.leftovers();
    let Verdict { broken, by_record, excused } = verdict;
    let broken: Vec<String> = broken.into_iter().chain(left).chain(stage.found()).collect();
    if !broken.is_empty() && !excused {
        tally.broken(dossier(&stage, seed, &broken, &log, text.as_deref(), arena.keeps));
    }
    by_record
}

fn kernel_record(instance: &crate::kernel::Instance) -> Result<(String, bool), String> {
    instance.take().map_err(|error| error.to_string())
}

fn held_against_the_contract(
    stage: &Stage<'_>,
    end: End,
    log: &str,
    text: Option<&str>,
    tally: &Tally,
) -> Verdict {
    let moments = match text.map(record::parse).transpose() {
        Ok(moments) => moments,
        Err(why) => {
            let broken = vec![format!("the kernel's record: {why}")];
            return Verdict { broken, by_record: false, excused: false };
        }
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
        log,
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
    verdict
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
