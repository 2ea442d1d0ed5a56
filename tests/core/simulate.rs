//! Long random lives against the fake kernel, each from a number.
//!
//! `SEED=… cargo test --test core lives` replays one of them, telling its story; `LIVES=…` runs
//! more of them than usual.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use hot_restarter::exit::Exit;
use hot_restarter::signal::{Meaning, Signal};
use hot_restarter::supervisor::{
    Answer, Command, Count, DrainTime, Mended, Moment, Peer, Pending, Pid, Policy, Reach,
    Readiness, Reply, Request, Status, Task, View,
};
use support::random::Random;

use crate::kernel::{Kernel, OURSELVES, Question, Role};
use crate::story::SUCCESS;
use crate::world::{Sabotage, World};

/// How many lives, unless `LIVES` says otherwise.
const LIVES: u64 = 10_000;
/// How much happens to each at most, its stop aside.
const STEPS: u64 = 60;
/// The least time that is left to a stop after its drain.
const SHORT: Duration = Duration::from_millis(100);
/// More than anything that is left to its fate can take.
const NEVER: Duration = Duration::from_secs(1 << 20);

/// Something that a process will do.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Look(View),
    Fork { own_group: bool },
    End(Status),
    Answer(Question),
    Reply(Request),
}

/// How one life is led.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) world: World,
    random: Random,
    /// What will happen, by time and then in the order in which it was arranged.
    agenda: BTreeMap<(Moment, u64), (Pid, Deed)>,
    arranged: u64,
    character: Character,
}

/// What the processes of one life are like, in percent.
#[derive(Debug)]
struct Character {
    /// An epoch dies at once.
    dies_at_once: u64,
    /// An epoch leaves when its successor is ready.
    leaves_when_relieved: u64,
    /// A process does nothing upon the stop signal.
    ignores_stop: u64,
    /// A process does not die of SIGKILL.
    undying: u64,
    /// A process dies of a signal that it was forwarded.
    dies_of_forwarded: u64,
    /// An epoch forks, and its children do.
    forks: u64,
    /// An epoch never becomes ready.
    never_ready: u64,
    /// A check does not pass.
    checks_fail: u64,
    /// A check or a probe does not end by itself, and a server does not answer.
    hangs: u64,
    /// A server answers something else than what is true.
    lies: u64,
    /// An epoch that fails has had the admin of the one before it closed.
    closes_admin: u64,
}

impl Life {
    pub(crate) fn new(seed: u64, sabotage: Option<Sabotage>) -> Self {
        let mut random = Random::new(seed);
        let mut world = World::new(policy(&mut random));
        kernel(&mut random, &mut world.kernel);
        world.sabotage = sabotage;
        // Most lives are peaceful in most respects: what seldom happens alone is seldom seen.
        let mut often = |percent: u64| if random.percent(30) { percent } else { 0 };
        let character = Character {
            dies_at_once: often(60),
            leaves_when_relieved: 100 - often(60),
            ignores_stop: often(40),
            undying: often(30),
            dies_of_forwarded: often(20),
            forks: often(70),
            never_ready: often(40),
            checks_fail: often(40),
            hangs: often(30),
            lies: often(20),
            closes_admin: random.one_of(&[0, 40, 100, 100]),
        };
        Self { world, random, agenda: BTreeMap::new(), arranged: 0, character }
    }

    /// From the first epoch to our own exit.
    pub(crate) fn live(&mut self) {
        if self.random.percent(3) {
            self.world.kernel.start_fails = Some(Exit::NotFound);
        }
        self.world.begin();
        self.react();
        for _ in 0..self.random.below(STEPS) {
            if self.world.is_over() {
                return;
            }
            self.happen();
            let pause = self.random.one_of(&[0, 1, 20, 300, 3000]);
            if pause > 0 {
                let span = self.random.span_below_ms(pause);
                self.pass(span);
            }
        }
        self.world.kernel.start_fails = None;
        self.world.signal(Signal::TERM);
        self.world.settle();
        self.react();
        let last = self.world.policy.term_wait + Duration::from_secs(3);
        self.pass(last);
        if !self.world.is_over() {
            self.world.violation = Some("a stop without an end".into());
        }
    }

    /// Something happens from outside, and perhaps more at once.
    fn happen(&mut self) {
        for _ in 0..=self.random.below(3) {
            match self.random.below(18) {
                0..=2 => self.world.signal(Signal::HUP),
                3 => {
                    for _ in 0..10 {
                        self.world.signal(Signal::HUP);
                    }
                }
                4..=5 => self.world.signal(Signal::USR1),
                6 if self.random.percent(10) => {
                    let stop = self.random.one_of(&[Signal::TERM, Signal::INT]);
                    self.world.signal(stop);
                }
                7 => {
                    let any: Vec<Signal> = Signal::all()
                        .filter(|signal| match signal.meaning() {
                            Meaning::Reap
                            | Meaning::Restart
                            | Meaning::Reopen
                            | Meaning::ToGroups
                            | Meaning::ToCatchers
                            | Meaning::Ignored => true,
                            Meaning::Stop | Meaning::Fault | Meaning::Uncatchable => false,
                        })
                        .collect();
                    let any = self.random.one_of(&any);
                    self.world.signal(any);
                }
                8 => {
                    let fails = [None, None, Some(Exit::CannotExecute), Some(Exit::Failure)];
                    self.world.kernel.start_fails = self.random.one_of(&fails);
                }
                9 => {
                    let reach = [Reach::Sent(1), Reach::Sent(2), Reach::Nobody, Reach::Unknown];
                    self.world.kernel.reach = self.random.one_of(&reach);
                }
                10 => self.world.kernel.newest_zombie_first = self.random.percent(50),
                11 => self.world.change(),
                12 => self.world.kernel.run_fails = self.random.percent(20),
                13 => self.world.kernel.mends = mends(&mut self.random),
                14 => self.world.command(Command::Reload),
                16 => self.newest_initialises(),
                15 => {
                    let commands = [Command::Reload, Command::Reopen, Command::Stop];
                    let command = self.random.one_of(&commands);
                    if command != Command::Stop || self.random.percent(10) {
                        self.world.command(command);
                    }
                }
                _ => self.somebody_ends(),
            }
        }
        self.world.settle();
        self.react();
    }

    /// What has been taken for ready was a start script, and its server is not so far.
    fn newest_initialises(&mut self) {
        let newest = self.world.ledger.living().last();
        if let Some((_, leader)) = newest {
            let after = self.random.one_of(&[1, 100, 2000]);
            self.do_deed(leader, Deed::Look(View::Starting));
            self.arrange(Duration::from_millis(after), leader, Deed::Look(View::Ready));
        }
    }

    /// Any process, more often an orphan than an epoch's leader.
    fn somebody_ends(&mut self) {
        let alive: Vec<Pid> = self
            .world
            .kernel
            .processes
            .iter()
            .filter(|process| process.ended.is_none())
            .map(|process| process.pid)
            .collect();
        if alive.is_empty() {
            return;
        }
        let pid = self.random.one_of(&alive);
        let leads = self.world.kernel.process(pid).is_some_and(|found| found.epoch().is_some());
        if !leads || self.random.percent(5) {
            let status = self.some_status();
            self.end(pid, status);
        }
    }

    fn some_status(&mut self) -> Status {
        let real_time = Signal::from_number(34).expect("it is one");
        self.random.one_of(&[
            SUCCESS,
            SUCCESS,
            Status::Exited(1),
            Status::Exited(255),
            Status::Signaled(Signal::INT),
            Status::Signaled(Signal::USR1),
            Status::Signaled(Signal::KILL),
            Status::Signaled(real_time),
        ])
    }

    /// Time passes; whatever is due happens in its turn.
    fn pass(&mut self, span: Duration) {
        let until = self.world.kernel.now + span;
        while let Some((&key, &(pid, deed))) = self.agenda.first_key_value()
            && key.0 <= until
            && !self.world.is_over()
        {
            // What time itself brings about may come before, and arrange other things.
            let deadline = self.world.supervisor.next_deadline();
            if let Some(deadline) = deadline.filter(|deadline| *deadline < key.0) {
                self.go_on(deadline);
                continue;
            }
            self.world.kernel.now = key.0;
            self.agenda.remove(&key);
            self.do_deed(pid, deed);
            // In half of the cases it is noticed only together with the next one.
            if self.random.percent(50) {
                self.world.settle();
                self.react();
            }
        }
        while let Some(deadline) = self.world.supervisor.next_deadline()
            && deadline <= until
            && !self.world.is_over()
        {
            self.go_on(deadline);
            if self.agenda.first_key_value().is_some_and(|(key, _)| key.0 <= until) {
                let rest = until - self.world.kernel.now;
                return self.pass(rest);
            }
        }
        self.world.kernel.now = until;
        self.world.settle();
        self.react();
    }

    fn go_on(&mut self, deadline: Moment) {
        self.world.kernel.now = self.world.kernel.now.max(deadline);
        self.world.settle();
        self.react();
    }

    fn arrange(&mut self, after: Duration, pid: Pid, deed: Deed) {
        self.arranged += 1;
        let when = self.world.kernel.now + after;
        self.agenda.insert((when, self.arranged), (pid, deed));
    }

    fn do_deed(&mut self, pid: Pid, deed: Deed) {
        if let Deed::Answer(question) = deed {
            let answer = self.answer(question);
            return self.world.kernel.answer(question, answer);
        }
        if let Deed::Reply(request) = deed {
            let reply = self.reply(request);
            return self.world.kernel.reply(request, reply);
        }
        let Some(process) = self.world.kernel.process_mut(pid) else {
            return;
        };
        if !process.is_alive() {
            return;
        }
        match deed {
            Deed::Look(view) => process.view = view,
            Deed::End(status) => self.end(pid, status),
            Deed::Answer(_) | Deed::Reply(_) => {}
            Deed::Fork { own_group } => {
                if self.world.kernel.processes.len() < 12 {
                    self.world.kernel.fork(pid, own_group);
                }
            }
        }
    }

    fn end(&mut self, pid: Pid, status: Status) {
        self.agenda.retain(|_, (whose, _)| *whose != pid);
        self.world.end(pid, status);
    }

    /// Processes react to what they got, and those that are new make their plans.
    fn react(&mut self) {
        loop {
            let born = std::mem::take(&mut self.world.kernel.born);
            let received = std::mem::take(&mut self.world.kernel.received);
            let asked = std::mem::take(&mut self.world.kernel.asked);
            let requested = std::mem::take(&mut self.world.kernel.requested);
            let nothing = born.is_empty() && received.is_empty();
            if nothing && asked.is_empty() && requested.is_empty() {
                break;
            }
            for question in asked {
                self.agenda.retain(|_, (_, deed)| match deed {
                    Deed::Answer(other) => other.peer != question.peer,
                    Deed::Look(_) | Deed::Fork { .. } | Deed::End(_) | Deed::Reply(_) => true,
                });
                let after = self.answers_after();
                self.arrange(after, OURSELVES, Deed::Answer(question));
            }
            for request in requested {
                let after = self.answers_after();
                self.arrange(after, OURSELVES, Deed::Reply(request));
            }
            for pid in born {
                // A number that is given away again has nothing to do with its last owner.
                self.agenda.retain(|_, (whose, _)| *whose != pid);
                self.plan(pid);
            }
            for (pid, signal) in received {
                self.obey(pid, signal);
            }
        }
        self.relieve();
    }

    fn plan(&mut self, pid: Pid) {
        let undying = self.random.percent(self.character.undying);
        let Some(process) = self.world.kernel.process_mut(pid) else {
            return;
        };
        process.undying = undying;
        let role = process.role;
        if self.random.percent(self.character.forks) {
            let after = self.random.span_below_ms(800);
            let own_group = self.random.percent(40);
            self.arrange(after, pid, Deed::Fork { own_group });
        }
        match role {
            Role::Task(task) => return self.plan_task(pid, task),
            Role::Epoch(number) => {
                self.plan_readiness(pid);
                // Where the first one is of no use there is no life worth looking at.
                let dies = self.character.dies_at_once / if number == 0 { 10 } else { 1 };
                if !self.random.percent(dies) {
                    return;
                }
            }
            Role::Other => {}
        }
        let after = self.random.one_of(&[0, 1, 100, 2000, 20_000]);
        let status = self.some_status();
        self.arrange(Duration::from_millis(after), pid, Deed::End(status));
    }

    fn plan_task(&mut self, pid: Pid, task: Task) {
        if self.random.percent(self.character.hangs) {
            return;
        }
        let passes = match task {
            Task::Check { .. } => !self.random.percent(self.character.checks_fail),
            Task::Probe { epoch, .. } => self.tells_ready(epoch),
        };
        let status = if passes {
            SUCCESS
        } else {
            self.random.one_of(&[Status::Exited(1), Status::Signaled(Signal::KILL)])
        };
        let after = self.random.one_of(&[0, 1, 30, 300, 3000]);
        self.arrange(Duration::from_millis(after), pid, Deed::End(status));
    }

    /// Whether somebody who is asked says that an epoch is ready.
    fn tells_ready(&mut self, epoch: u32) -> bool {
        let ready = self.world.kernel.leader(epoch).is_some_and(|it| it.view == View::Ready);
        ready != self.random.percent(self.character.lies)
    }

    fn answer(&mut self, question: Question) -> Answer {
        let workers = self.random.one_of(&[None, Some(1), Some(2)]);
        let may_be_closed = question.peer == Peer::Admin
            && self.world.ledger.is_ready(question.epoch)
            && self.world.said.contains_key("restart-failed");
        if may_be_closed && self.random.percent(self.character.closes_admin) {
            return Answer::No;
        }
        if self.tells_ready(question.epoch) {
            Answer::Ready { workers }
        } else if self.random.percent(50) {
            Answer::Starting { workers }
        } else {
            Answer::No
        }
    }

    fn answers_after(&mut self) -> Duration {
        let slow = self.random.percent(self.character.hangs);
        Duration::from_millis(if slow { 3000 } else { self.random.one_of(&[0, 1, 20, 400]) })
    }

    fn reply(&mut self, request: Request) -> Reply {
        if self.random.percent(self.character.lies) {
            return Reply::Failed;
        }
        match request {
            Request::FailHealthCheck | Request::DrainListeners => Reply::Done,
            Request::CountPending => {
                let requests = self.random.one_of(&[0, 0, 1, 9]);
                let connections = self.random.one_of(&[0, 0, 2]);
                let unsent_bytes = self.random.one_of(&[0, 0, 0, 5000]);
                let pending = Pending { requests, connections, unsent_bytes };
                let asked_older = self.random.one_of(&[None, Some(1), Some(2)]);
                Reply::Counted(Count { pending, asked_older })
            }
        }
    }

    fn plan_readiness(&mut self, pid: Pid) {
        if self.random.percent(50) {
            let view = self.random.one_of(&[View::Starting, View::Unreadable, View::Ready]);
            let after = self.random.span_below_ms(200);
            self.arrange(after, pid, Deed::Look(view));
        }
        let first = self.world.ledger.newest() == Some(0);
        if first || !self.random.percent(self.character.never_ready) {
            let longest = self.random.one_of(&[20, 300, 5000]);
            let after = self.random.span_below_ms(longest);
            self.arrange(after, pid, Deed::Look(View::Ready));
        }
    }

    fn obey(&mut self, pid: Pid, signal: Signal) {
        let is_stop = self.world.ledger.is_ending() && signal == self.world.policy.stop_signal;
        if is_stop && !self.random.percent(self.character.ignores_stop) {
            let after = self.random.one_of(&[0, 1, 50, 400, 1500]);
            let status =
                self.random.one_of(&[SUCCESS, Status::Exited(1), Status::Signaled(signal)]);
            self.arrange(Duration::from_millis(after), pid, Deed::End(status));
        } else if !is_stop && self.random.percent(self.character.dies_of_forwarded) {
            self.arrange(Duration::ZERO, pid, Deed::End(Status::Signaled(signal)));
        }
    }

    /// The newest epoch is ready, so the older ones drain and leave.
    fn relieve(&mut self) {
        let Some(newest) = self.world.ledger.newest() else {
            return;
        };
        if !self.world.ledger.is_ready(newest) {
            return;
        }
        let older: Vec<Pid> = self
            .world
            .ledger
            .living()
            .filter(|(number, _)| *number != newest)
            .map(|(_, leader)| leader)
            .collect();
        for pid in older {
            let has_plans = self
                .agenda
                .values()
                .any(|(whose, deed)| *whose == pid && matches!(deed, Deed::End(_)));
            if has_plans {
                continue;
            }
            if self.random.percent(self.character.leaves_when_relieved) {
                let after = self.random.span_below_ms(1500);
                self.arrange(after, pid, Deed::End(SUCCESS));
            } else {
                self.arrange(NEVER, pid, Deed::End(SUCCESS));
            }
        }
    }
}

fn policy(random: &mut Random) -> Policy {
    let stop_signal = random.one_of(&["TERM", "TERM", "INT", "QUIT", "USR1", "WINCH", "RTMIN+3"]);
    let readiness = random.one_of(&[
        Readiness::Auto,
        Readiness::Auto,
        Readiness::Auto,
        Readiness::None,
        Readiness::Admin,
        Readiness::Command,
        Readiness::Http,
    ]);
    let admin = match readiness {
        // With an admin it is the admin that decides.
        Readiness::Auto => false,
        Readiness::Admin => true,
        Readiness::None | Readiness::Command | Readiness::Http => random.percent(50),
    };
    let rollback = random.percent(50);
    let ready_timeouts = if rollback { [1100, 2500, 6000] } else { [0, 500, 4000] };
    let check_timeout = random.one_of(&[None, None, Some(1), Some(1000), Some(4000)]);
    let drain = (admin && random.percent(60)).then(|| {
        let timeout = Duration::from_millis(random.one_of(&[300, 2000, 8000]));
        let min = Duration::from_millis(random.one_of(&[0, 100, 1500])).min(timeout);
        DrainTime { timeout, min }
    });
    let term_wait = Duration::from_millis(random.one_of(&[0, 100, 1000, 5000]));
    Policy {
        // The command line demands that a drain leaves some of it.
        term_wait: drain.map_or(term_wait, |drain| drain.timeout + term_wait.max(SHORT)),
        drain,
        stop_signal: stop_signal.parse().expect("a signal"),
        readiness,
        admin,
        ready_timeout: Duration::from_millis(random.one_of(&ready_timeouts)),
        check_timeout: check_timeout.map(Duration::from_millis),
        rollback,
        min_restart_interval: Duration::from_millis(random.one_of(&[0, 0, 30, 2500])),
        max_epochs: random.one_of(&[2, 3]),
    }
}

fn kernel(random: &mut Random, kernel: &mut Kernel) {
    kernel.reuses_pids = random.percent(50);
    kernel.terminal = random.percent(20);
    kernel.lists_orphans = !random.percent(10);
    kernel.first_view = random.one_of(&[View::Silent, View::Silent, View::Starting, View::Ready]);
    kernel.mends = mends(random);
}

fn mends(random: &mut Random) -> Mended {
    match random.below(10) {
        0 => Mended::Served,
        1..=3 => Mended::Clean,
        4..=6 => Mended::Repaired,
        _ => Mended::Refused("it is another's".into()),
    }
}

fn from_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

/// Says which life it was, should the core itself panic in it.
struct Announce(u64);

impl Drop for Announce {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("replay it with SEED={}", self.0);
        }
    }
}

/// What must be seen somewhere in so many lives, or they are too dull to prove anything.
#[derive(Debug, Default)]
struct Sights {
    exits: AtomicU64,
    third_epochs: AtomicU64,
    survivors: AtomicU64,
    actions: AtomicU64,
    /// In how many lives each line of the log was seen.
    said: Mutex<BTreeMap<&'static str, u64>>,
}

/// What some lives at least must have seen.
const NOT_TO_BE_MISSED: [&str; 23] = [
    "told: asked",
    "told: begins",
    "told: in vain",
    "told: ready",
    "told: refused",
    "told: failed",
    "told: fatal",
    "told: stopped",
    "draining",
    "drained",
    "drain-unheard",
    "restart-failed",
    "restart-failed-late",
    "repaired",
    "not-repaired",
    "check-failed",
    "check-late",
    "checked",
    "changed",
    "probe-failed",
    "fewer-workers",
    "not-ready",
    "reopen-postponed",
];

/// What a few must have seen.
const SELDOM: [&str; 3] = ["told: put off", "told: failed in the end", "admin-lost"];

fn live(seed: u64, aloud: bool, sights: &Sights) {
    let announce = Announce(seed);
    let mut life = Life::new(seed, None);
    if aloud {
        life.world.story = Some(Vec::new());
        println!("{:#?}", life.world.policy);
    }
    life.live();
    for line in life.world.story.iter().flatten() {
        println!("{line}");
    }
    let World { violation, ledger, kernel, said, .. } = &life.world;
    assert_eq!(*violation, None);
    let mut all = sights.said.lock().expect("no life has panicked");
    for kind in said.keys() {
        *all.entry(kind).or_default() += 1;
    }
    drop(all);
    sights.exits.fetch_add(u64::from(ledger.has_ended()), Ordering::Relaxed);
    sights.third_epochs.fetch_add(u64::from(ledger.next_number() > 2), Ordering::Relaxed);
    let survived = kernel.processes.iter().any(|process| process.parent == OURSELVES);
    sights.survivors.fetch_add(u64::from(survived), Ordering::Relaxed);
    sights.actions.fetch_add(life.world.performed, Ordering::Relaxed);
    drop(announce);
}

#[test]
fn lives() {
    let sights = Sights::default();
    if let Some(seed) = from_environment("SEED") {
        return live(seed, true, &sights);
    }
    let lives = from_environment("LIVES").unwrap_or(LIVES);
    let next = AtomicU64::new(0);
    let workers = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= lives {
                        return;
                    }
                    live(seed, false, &sights);
                }
            });
        }
    });
    println!("{lives} lives: {sights:?}");
    let count = |sight: &AtomicU64| sight.load(Ordering::Relaxed);
    assert_eq!(count(&sights.exits), lives, "each life ends in an exit");
    assert!(count(&sights.third_epochs) > lives / 6, "few lives see a third epoch: {sights:?}");
    assert!(count(&sights.survivors) > lives / 100, "hardly anything refuses to die: {sights:?}");
    let said = sights.said.lock().expect("no life has panicked");
    let often = NOT_TO_BE_MISSED.iter().map(|kind| (kind, lives / 200));
    for (kind, least) in often.chain(SELDOM.iter().map(|kind| (kind, lives / 2000))) {
        let seen = said.get(kind).copied().unwrap_or_default();
        assert!(seen > least, "{kind} is seldom seen: {said:?}");
    }
}
