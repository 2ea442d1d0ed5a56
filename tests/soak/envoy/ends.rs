//! How a life ends, and that nothing is left of it.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use libc::{SIGKILL, SIGSTOP, SIGTERM};
use support::control::Answer;
use support::eventually;
use support::processes;

use super::life::Life;

/// What a machine that is busy with other things may add.
const MARGIN: Duration = Duration::from_secs(4);
/// How long the kernel may take to reap what was killed.
const REAPING: Duration = Duration::from_secs(2);
/// How long clients go on when a stop has begun that drains.
const UNAWARE: Duration = Duration::from_millis(1500);
/// What clients lose when nobody serves any more.
const END: &str = "Envoy: requests lost to the end of the epoch in service";

/// How.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// SIGTERM in a quiet moment.
    Asked,
    /// SIGTERM up to 150 ms after SIGHUP.
    AskedAmidAHandover,
    /// SIGTERM while the new epoch waits for its xDS.
    AskedWhileItWaits,
    /// SIGTERM when every epoch is suspended.
    AskedWhileSuspended,
    /// `--send stop --wait`.
    Sent,
    /// The epoch in service is killed, in the midst of a handover perhaps.
    Killed,
    /// The kernel kills it for the memory that it takes.
    OutOfMemory,
}

const WAYS: [Way; 9] = [
    Way::Asked,
    Way::AskedAmidAHandover,
    Way::AskedAmidAHandover,
    Way::AskedWhileItWaits,
    Way::AskedWhileSuspended,
    Way::AskedWhileSuspended,
    Way::Sent,
    Way::Killed,
    Way::OutOfMemory,
];

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Asked => "Envoy: stops in a quiet moment",
            Self::AskedAmidAHandover => "Envoy: stops amid a handover",
            Self::AskedWhileItWaits => "Envoy: stops while an epoch waits for its xDS",
            Self::AskedWhileSuspended => "Envoy: stops of suspended epochs",
            Self::Sent => "Envoy: stops by a client",
            Self::Killed => "Envoy: ends by SIGKILL to the epoch in service",
            Self::OutOfMemory => "Envoy: ends by the epoch in service out of memory",
        }
    }

    /// The exit code, and what the termination log has to say.
    fn outcome(self) -> (i32, &'static str) {
        match self {
            Self::Asked
            | Self::AskedAmidAHandover
            | Self::AskedWhileItWaits
            | Self::AskedWhileSuspended
            | Self::Sent => (0, ""),
            Self::Killed => (128 + SIGKILL, "no out-of-memory kill is counted"),
            Self::OutOfMemory => (128 + SIGKILL, "out of memory: the kernel's"),
        }
    }
}

impl Life<'_> {
    /// Ends it.
    pub(super) fn end(mut self) {
        let mut way = self.random.one_of(&WAYS);
        if way == Way::OutOfMemory && self.limits.is_none() {
            way = Way::Killed;
        }
        self.story.tell(&format!("the end: {way:?}"));
        let drains = self.drains(way);
        let (since, client) = self.bring_about(way);
        // While it drains everybody is served, also those who have not noticed yet.
        let blamed = self.judge(if drains { UNAWARE } else { Duration::from_millis(300) });
        assert!(blamed.is_empty(), "lost for no reason: {blamed:#?}");
        let (code, words) = way.outcome();
        let bound = self.plan.term_wait() + REAPING + MARGIN;
        let status = eventually("everything has ended", || {
            self.bare.ended().ok_or_else(|| (since.elapsed(), self.log()))
        });
        let lasted = since.elapsed();
        self.story.tell(&format!("ended after {lasted:?} with {status}"));
        assert_eq!(status.code(), Some(code), "{way:?}: {}", self.log());
        let bound = if code == 0 { bound } else { REAPING + MARGIN };
        assert!(lasted < bound, "{way:?} took {lasted:?}");
        let said = self.termination_log();
        assert!(said.contains(words), "the termination log says {said:?}, not {words:?}");
        assert!(code != 0 || said.is_empty(), "the termination log of a good end says {said:?}");
        if let Some(client) = client {
            let Answer { code, out, err } = client.wait_with_output().expect("our child").into();
            assert_eq!(code, 0, "stop --wait: {out}{err}");
        }
        self.tally.add(way.name(), 1);
        self.tally.add("Envoy: stops that drained", u64::from(drains));
        self.tally.add("Envoy: signals", self.noise.signals());
        self.noise.end();
        self.check_nothing_left();
    }

    /// Makes it end; when that was, and the client that waits for it.
    fn bring_about(&mut self, way: Way) -> (Instant, Option<Child>) {
        match way {
            Way::Asked => {}
            Way::AskedAmidAHandover => {
                self.put_good(false);
                self.hang_up();
                thread::sleep(self.random.span_below_ms(150));
            }
            Way::AskedWhileItWaits => {
                self.xds.fall_silent();
                self.put_good(true);
                let asked = self.xds.asked();
                self.hang_up();
                self.xds.await_asked(asked);
            }
            Way::AskedWhileSuspended => {
                if self.random.percent(50) {
                    self.put_good(false);
                    self.hang_up();
                    thread::sleep(self.random.span_below_ms(400));
                }
                for epoch in self.epochs() {
                    epoch.signal(SIGSTOP);
                }
            }
            Way::Sent => {
                self.excuse_stop(way);
                let mut client = self.bare.control.client(&["stop", "--wait", "--timeout", "40"]);
                let client = client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
                return (Instant::now(), Some(client.expect("a client runs")));
            }
            Way::Killed => {
                self.quiesce();
                let serving = self.serving();
                if self.random.percent(50) {
                    self.put_good(false);
                    self.hang_up();
                    thread::sleep(self.random.span_below_ms(150));
                }
                self.excuse(END);
                assert!(serving.signal(SIGKILL), "it serves, or drains for a second");
                return (Instant::now(), None);
            }
            Way::OutOfMemory => {
                self.quiesce();
                let serving = self.serving();
                self.excuse(END);
                self.exhaust(serving.pid, &[]);
                return (Instant::now(), None);
            }
        }
        self.excuse_stop(way);
        let since = Instant::now();
        assert!(self.init.signal(SIGTERM), "the restarter is gone: {}", self.log());
        (since, None)
    }

    /// Whether nobody is cut off by it.
    fn drains(&self, way: Way) -> bool {
        let can = match way {
            Way::Asked | Way::AskedAmidAHandover | Way::Sent => true,
            Way::AskedWhileItWaits | Way::AskedWhileSuspended | Way::Killed | Way::OutOfMemory => {
                false
            }
        };
        can && self.plan.drain && !self.admin_lost
    }

    fn excuse_stop(&mut self, way: Way) {
        if !self.drains(way) {
            self.excuse("Envoy: requests cut off by a stop that does not drain");
        }
    }

    /// No process, port, socket, file, mount or control group is left of it.
    fn check_nothing_left(&self) {
        let stage = &self.front.stage;
        let mark = format!("ENVOY_CONFIG={}", stage.config().display());
        let left: Vec<_> = processes::all()
            .into_iter()
            .filter(|pid| processes::has_variable(*pid, &mark))
            .map(processes::command_line)
            .collect();
        assert!(left.is_empty(), "processes are left: {left:?}");
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, stage.ingress));
        assert!(port.is_ok(), "port {} is held: {port:?}", stage.ingress);
        assert_eq!(stage.bound_epochs(), [0; 0], "sockets of Envoy are bound");
        let memory = format!("/dev/shm/envoy_shared_memory_{}0", stage.base_id());
        assert!(!Path::new(&memory).exists(), "{memory} is left");
        let socket = self.bare.control.path();
        assert!(!socket.exists(), "{} is left", socket.display());
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        assert!(!mounts.contains("test /dev/shm "), "mounted still: {mounts}");
        if let Some(limits) = &self.limits {
            eventually("nobody is in the control groups", || limits.remove());
        }
    }
}
