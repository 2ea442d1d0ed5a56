//! How the next epoch will behave: steps of a probe, at random.

use support::random::Random;

use super::plan::Plan;
use crate::judge::Ready;

/// Its steps; `{arrivals}` is the folder in which epochs say that they are here.
pub(super) fn epoch(random: &mut Random, plan: &Plan) -> String {
    // What fails ends the life, unless it is rolled back.
    let forgiven = plan.terms.rollback && plan.terms.ready != Ready::None;
    let failing = if forgiven { 25 } else { 3 };
    let stop = plan.terms.stop_signal;
    let mut steps = vec!["default=CHLD".to_owned()];
    if random.percent(10) {
        steps.push("report".to_owned());
    }
    if !plan.terms.may_signal && random.percent(60) {
        steps.push(stranger(random, stop));
    }
    if random.percent(15) {
        steps.push(format!("close={}", random.one_of(&[0, 1])));
    }
    if random.percent(30) {
        steps.push(relatives(random, stop));
    }
    if random.percent(3) {
        steps.push("flood=300".to_owned());
    }
    if random.percent(failing) {
        steps.push(failure(random));
    }
    let caught: Vec<String> = plan.caught.iter().map(ToString::to_string).collect();
    steps.push(format!("catch={}", caught.join(",")));
    match random.below(40) {
        // Deaf to the stop signal; for it there is SIGKILL.
        0 | 3 => steps.push(format!("ignore={stop}")),
        1 => steps.push(format!("exit-on={stop}:7")),
        2 => {}
        4 => steps.push(format!("sleep={}", random.below(300))),
        _ => steps.push(format!("exit-on={stop}:0")),
    }
    if random.percent(30) {
        steps.push(format!("sleep={}", random.below(60)));
    }
    steps.push("arrive={arrivals} succeeded={arrivals}".to_owned());
    steps.push(format!("sleep={}", random.one_of(&[0, 0, 5, 20, 60, 300])));
    steps.push(
        random.one_of(&["exit=0", "exit=0", "exit=0", "exit=0", "exit=0", "die=USR1"]).to_owned(),
    );
    steps.join(" ")
}

/// The steps of one that does what it should, for as long as it is let.
pub(super) fn good_epoch(random: &mut Random, plan: &Plan) -> String {
    let caught: Vec<String> = plan.caught.iter().map(ToString::to_string).collect();
    format!(
        "default=CHLD catch={} exit-on={}:0 sleep={} arrive={{arrivals}} succeeded={{arrivals}} exit=0",
        caught.join(","),
        plan.terms.stop_signal,
        random.below(40),
    )
}

/// A relative that has become somebody else, and hears nobody.
fn stranger(random: &mut Random, stop: i32) -> String {
    let deaf = format!("ignore={stop} uid=65534 sleep=9000");
    match random.below(3) {
        0 => format!("fork [ {deaf} ]"),
        1 => format!("fork [ fork [ {deaf} ] ]"),
        _ => format!("fork [ fork [ setsid {deaf} ] ]"),
    }
}

/// How it fails before it has arrived.
fn failure(random: &mut Random) -> String {
    match random.below(8) {
        0 => format!("exit={}", 1 + random.below(255)),
        1 => "exit=0".to_owned(),
        2 => format!("die={}", random.one_of(&["SEGV", "KILL", "TERM", "USR2"])),
        3 => format!("sleep={} exit=1", random.below(100)),
        4 => format!("sleep={} exit=0", random.below(100)),
        5 => "hold=400 exit=9".to_owned(),
        6 => "fork [ fork [ setsid sleep=400 ] ] exit=3".to_owned(),
        // It hangs.
        _ => "exit-on=TERM:0 wait".to_owned(),
    }
}

/// What it has beside its leader, made before that catches anything.
fn relatives(random: &mut Random, stop: i32) -> String {
    let time = random.one_of(&[1, 10, 50, 200, 800]);
    match random.below(12) {
        0 => format!("fork [ repeat={} [ fork [ sleep={time} ] ] ]", random.below(300)),
        1 => format!("fork [ repeat={} [ fork [ ] ] ]", random.below(1500)),
        2 => format!("fork [ fork [ setsid exit-on={stop}:0 sleep={time} ] ]"),
        3 => format!("fork [ fork [ setsid exit-on={stop}:0 wait ] ]"),
        4 => format!("fork [ setsid fork [ ignore={stop} sleep={} ] wait ]", 3 * time),
        5 => format!("fork [ exit-on={stop}:0 wait ]"),
        6 => format!("fork [ ignore={stop} sleep={time} ]"),
        7 => format!("fork [ raise=STOP sleep={time} ]"),
        8 => format!("fork [ sleep={time} die=SEGV ]"),
        9 => format!("fork [ catch=USR1,USR2 sleep={time} ]"),
        10 => format!("repeat=5 [ fork [ sleep={time} ] ]"),
        // They are nobody's until all of them are ours at once.
        11 => {
            let number = random.one_of(&[2000, 5000]);
            format!("fork [ fork [ setsid repeat={number} [ fork [ ] ] ] ]")
        }
        _ => format!("fork [ fork [ setsid raise=STOP ] sleep={time} ] sleep=2"),
    }
}

/// What the check does.
pub(super) fn check(random: &mut Random) -> String {
    match random.below(11) {
        0 => "exit=1".to_owned(),
        10 => "to={journal} report exit=0".to_owned(),
        1 => "sleep=2000 exit=0".to_owned(),
        2 => "flood=40 exit=4".to_owned(),
        3 => "fork [ fork [ sleep=1000 ] ] exit=0".to_owned(),
        4 => "die=SEGV".to_owned(),
        _ => format!("sleep={} exit=0", random.below(20)),
    }
}
