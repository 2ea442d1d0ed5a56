//! Hot restarts that clients ask for, while others do what they can to be in the way.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use libtest_mimic::Trial;
use support::BOUND;
use support::control::Answer;

use super::life::{Life, Place, Way};
use super::{Random, under_load};
use crate::needs::{Needs, trial};

/// How many hang at any time: more than have a place and may wait for one.
const HANGING: usize = 300;
/// How many have hung in the end, at least, and how many have babbled.
const IN_ALL: (usize, usize) = (1_000, 500);
/// From one of each kind to the next. A client that is thrown off the processor for a while between
/// its connection and its request must not be pushed out by those that come meanwhile.
const PACE: Duration = Duration::from_millis(4);

const RELOAD: [&str; 2] = ["reload", "--wait"];

/// The trials of this module.
pub(super) fn trials() -> Vec<Trial> {
    vec![under_load(trial("envoy::reloads_in_a_crowd", Needs::Namespace, crowd))]
}

/// Whoever waits for a restart is told what has become of this very one; and no request fails.
fn crowd() {
    let mut life = Life::bare(&["--rollback", "--max-epochs", "2"]);
    let Place::Bare(bare) = &life.place else { panic!("it is no container") };
    let crowd = Crowd::begin(bare.control.path());
    for round in 0..20 {
        let next = life.epoch + 1;
        if round % 2 == 1 {
            life.fail_when(Way::Exits(3), |life| {
                let told = life.send(&RELOAD);
                let words = format!("epoch {next} failed: exited with 3; epoch {} still", next - 1);
                assert!(told.code == 1 && told.err.starts_with(&words), "{told:?}");
            });
        }
        life.put_good();
        let told = life.send(&RELOAD);
        let words = format!("epoch {next} ready after ");
        assert!(told.code == 0 && told.out.starts_with(&words), "{told:?}");
        life.await_next();
        let health = Answer { code: 0, out: "healthy\n".to_owned(), err: String::new() };
        assert_eq!(life.send(&["health"]), health);
        let (hung, babbled) = crowd.count();
        if round >= 3 && hung >= IN_ALL.0 && babbled >= IN_ALL.1 {
            break;
        }
    }
    let open = life.restarter.open_files().len();
    assert!(open < 128, "{open} descriptors are open");
    println!("{} reloads, {}", life.epoch, crowd.end());
    println!("reloads in a crowd: {}", life.end());
}

/// Clients that connect and say nothing, and others that say what nobody understands.
struct Crowd {
    over: Arc<AtomicBool>,
    hung: Arc<AtomicUsize>,
    babbled: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Crowd {
    fn begin(place: &Path) -> Self {
        let mut crowd = Self {
            over: Arc::default(),
            hung: Arc::default(),
            babbled: Arc::default(),
            threads: Vec::new(),
        };
        let mut kept = VecDeque::new();
        let hang = move |client| {
            kept.push_back(client);
            if kept.len() > HANGING {
                kept.pop_front();
            }
        };
        let mut random = Random(u64::from(std::process::id()));
        let babble = move |client| babble(client, &mut random);
        crowd.threads = vec![
            crowd.keep_doing(place, &crowd.hung, hang),
            crowd.keep_doing(place, &crowd.babbled, babble),
        ];
        crowd
    }

    /// Does it with one client after the other, until it is over or nobody listens any more.
    fn keep_doing(
        &self,
        place: &Path,
        count: &Arc<AtomicUsize>,
        mut work: impl FnMut(UnixStream) + Send + 'static,
    ) -> JoinHandle<()> {
        let (over, count, place) =
            (Arc::clone(&self.over), Arc::clone(count), PathBuf::from(place));
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed)
                && let Ok(client) = UnixStream::connect(&place)
            {
                work(client);
                count.fetch_add(1, Ordering::Relaxed);
                thread::sleep(PACE);
            }
        })
    }

    /// How many have hung so far, and how many have babbled.
    fn count(&self) -> (usize, usize) {
        (self.hung.load(Ordering::Relaxed), self.babbled.load(Ordering::Relaxed))
    }

    /// All of them go; how many there have been.
    fn end(mut self) -> String {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        let (hung, babbled) = self.count();
        assert!(hung >= IN_ALL.0 && babbled >= IN_ALL.1, "only {hung} hung, {babbled} babbled");
        format!("{hung} clients that hung and {babbled} that babbled")
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Says something senseless. Where that ends in a line, an error is the answer, unless others have
/// pushed this one out before.
fn babble(mut client: UnixStream, random: &mut Random) {
    client.set_read_timeout(Some(BOUND)).expect("it is not zero");
    let noise = |random: &mut Random, length: usize| {
        let bytes = (0..length).map(|_| random.next().to_le_bytes()[0]);
        bytes.filter(|byte| *byte != b'\n').collect::<Vec<_>>()
    };
    let (words, ends): (Vec<u8>, bool) = match random.next() % 6 {
        0 => (noise(random, 500), false),
        1 => ([noise(random, 200), b"\n".to_vec()].concat(), true),
        2 => (noise(random, 100_000), true),
        3 => (b"{\"command\":\"restart\"}\n".to_vec(), true),
        4 => (b"{\"version\":7,\"command\":\"stop\"}\n".to_vec(), true),
        _ => (b"{\"command\":\"reload\",\"wait\":true,\"force\":[[[[".to_vec(), false),
    };
    // It may have been heard enough before all is said.
    let _ = client.write_all(&words);
    if !ends {
        return;
    }
    let mut answer = String::new();
    match client.read_to_string(&mut answer) {
        // What was not read when it was closed resets the connection.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => {
            let error = "{\"version\":1,\"reply\":\"error\",\"ok\":false,";
            assert!(other.is_ok() && answer.starts_with(error), "{other:?} {answer:?}");
        }
    }
}
