//! That the judge can find against somebody: an honest life, and each promise broken in it by hand.

mod doctored;
mod honest;
mod omitted;

use libtest_mimic::{Failed, Trial};

use honest::{JOURNAL, LOG, RECORD};

use super::{End, Facts, Programs, Ready, Terms, Verdict, judge};
use crate::{kernel, life, record};

/// The trials of this module, and those of what the judge is given.
pub(crate) fn trials() -> Vec<Trial> {
    let innocent = [("honest_life", Life::default())].into_iter().chain(omitted::innocent());
    let innocent = innocent.map(|(name, life)| {
        Trial::test(format!("judge::{name}"), move || {
            let Verdict { broken, by_record, .. } = verdict(&life);
            if broken.is_empty() && by_record {
                return Ok(());
            }
            Err(Failed::from(format!("judged: {by_record}; it finds {broken:?}")))
        })
    });
    let unjudged = Trial::test("judge::record_without_an_end", || {
        let life = Life::default().without("comm=restarter pid=10 prio=120 group_dead");
        if verdict(&life).by_record { Err("it was judged".into()) } else { Ok(()) }
    });
    let out_of_memory = Trial::test("judge::restarter_out_of_memory", || {
        let kill = "signal_generate: sig=9 errno=0 code=CODE comm=x pid=10 grp=1 res=0";
        let killed = |code: &str| {
            let kill = kill.replace("CODE", code);
            let life = Life::default().also("102.500100", &format!("x-99 [0] 102.510000: {kill}"));
            verdict(&life.with(|life| life.code = 137))
        };
        let (by_the_kernel, by_somebody) = (killed("128"), killed("0"));
        if by_the_kernel.by_record || !by_the_kernel.excused {
            return Err("it was judged".into());
        }
        if by_somebody.broken.is_empty() || by_somebody.excused {
            Err("it was not judged".into())
        } else {
            Ok(())
        }
    });
    let doctored =
        doctored::doctored().into_iter().chain(omitted::omitted()).map(|(name, life, finding)| {
            Trial::test(format!("judge::{name}"), move || {
                let broken = verdict(&life).broken;
                if broken.iter().any(|found| found.contains(finding)) {
                    return Ok(());
                }
                Err(Failed::from(format!("it finds {broken:?}, and not: {finding}")))
            })
        });
    let beside =
        [unjudged, out_of_memory, life::trial_of_the_unjudged(), kernel::trial(), life::trial()];
    innocent.chain(doctored).chain(beside).collect()
}

/// What is held against the contract.
#[derive(Clone)]
struct Life {
    record: String,
    log: String,
    log_is_whole: bool,
    journal: String,
    code: i32,
    asked: Option<u64>,
    terms: Terms,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            record: RECORD.to_owned(),
            log: LOG.to_owned(),
            log_is_whole: true,
            journal: JOURNAL.to_owned(),
            code: 0,
            asked: Some(103_000_000),
            terms: Terms {
                term_wait: 1_000_000,
                ready: Ready::Exec,
                ready_timeout: 60_000_000,
                rollback: true,
                checks: false,
                max_epochs: 2,
                min_interval: 0,
                stop_signal: libc::SIGTERM,
                sees_processes: true,
                may_signal: true,
                tells_all: true,
            },
        }
    }
}

impl Life {
    /// With other words in its record.
    fn record(mut self, from: &str, to: &str) -> Self {
        assert!(self.record.contains(from), "{from}");
        self.record = self.record.replace(from, to);
        self
    }

    /// With another moment in its record, after the line that holds this.
    fn also(mut self, after: &str, line: &str) -> Self {
        let at = self.record.find(after).unwrap_or_else(|| panic!("{after}"));
        let end = at + self.record[at..].find('\n').expect("a line has an end");
        self.record.insert_str(end, &format!("\n {line}"));
        self
    }

    /// Without the lines of its record that hold this.
    fn without(mut self, what: &str) -> Self {
        assert!(self.record.contains(what), "{what}");
        self.record = self
            .record
            .lines()
            .filter(|line| !line.contains(what))
            .fold(String::new(), |text, line| text + line + "\n");
        self
    }

    fn log(mut self, from: &str, to: &str) -> Self {
        assert!(self.log.contains(from), "{from}");
        self.log = self.log.replace(from, to);
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

fn verdict(life: &Life) -> Verdict {
    // The kernel pads the number of a processor.
    let text = life.record.replace("[0]", "[000] .....").replace("[1]", "[001] d..1.");
    let record = match record::parse(&text) {
        Ok(mut record) => {
            record.sort_by_key(|moment| moment.at);
            record
        }
        Err(why) => {
            let broken = vec![format!("the record itself: {why}")];
            return Verdict { broken, by_record: false, excused: false };
        }
    };
    judge(&Facts {
        terms: life.terms,
        programs: Programs {
            restarter: "/restarter",
            target: "/target",
            check: "/check",
            question: "/ready",
        },
        record: Some(&record),
        log: &life.log,
        log_is_whole: life.log_is_whole,
        journal: &life.journal,
        end: End::Code(life.code),
        asked: life.asked,
        suspended: &[],
    })
}
