//! That nothing is left of a soak which is killed, at whatever moment.

use std::env;
use std::process::{Child, Command, Stdio};
use std::thread;

use libc::SIGKILL;
use support::eventually;

use crate::ground::{self, Remains};
use crate::random::Random;

/// How often, with its keeper and without.
const TIMES: usize = 3;
/// At what moment, from the first one on at which there is something to be left.
const WITHIN_MS: u64 = 3000;

/// Kills some, and looks at what is left.
pub(crate) fn leaves_nothing() {
    let mut random = Random::of_the_moment();
    for _ in 0..TIMES {
        let of = kill(&mut random, false);
        eventually("its keeper has cleared everything away", || is_nothing(&left_of(of)));
        let of = kill(&mut random, true);
        // Or else it would not be known that there was something.
        assert!(!left_of(of).is_empty(), "nobody has cleared anything away");
        let mut next = soak("judge::honest_life");
        assert!(next.wait().expect("it is our child").success());
        assert!(left_of(of).is_empty(), "the next one has left {:?}", left_of(of));
    }
}

/// Kills one at random, with its keeper perhaps; whom.
fn kill(random: &mut Random, with_keeper: bool) -> i32 {
    let mut child = soak("soak::lives");
    let pid = i32::try_from(child.id()).expect("a pid is an int");
    eventually("it has begun, and made something of each kind", || {
        let left = left_of(pid);
        let has = |is: fn(&Remains) -> bool| left.iter().any(is);
        let whole = has(|one| matches!(one, Remains::Process(..)))
            && has(|one| matches!(one, Remains::Group(_)))
            && has(|one| matches!(one, Remains::Folder(_)));
        if whole { Ok(()) } else { Err(left) }
    });
    thread::sleep(random.span_below_ms(WITHIN_MS));
    if with_keeper {
        let keeper = ground::keeper_of(pid).expect("a soak has a keeper");
        keeper.signal(SIGKILL);
        keeper.await_end();
    }
    child.kill().and_then(|()| child.wait()).expect("it is our child");
    pid
}

/// A soak of its own that plays this trial. It ends by itself if we do not get to kill it.
fn soak(trial: &str) -> Child {
    let mut soak = Command::new(env::current_exe().expect("/proc is mounted"));
    soak.args(["--exact", trial]).env("SOAK_SECONDS", "60").env("SOAK_ARENAS", "2");
    soak.env_remove("SOAK_LIFE").env_remove("SOAK_ENVOY_LIFE").env_remove("SEED");
    soak.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    soak.spawn().expect("we run ourselves")
}

fn left_of(soak: i32) -> Vec<Remains> {
    ground::remains(|pid| pid == soak, &env::temp_dir())
}

fn is_nothing(left: &[Remains]) -> Result<(), String> {
    if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
}
