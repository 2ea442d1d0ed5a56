//! The lives that faults are put into: between them they make every system call that we know of.

use std::cell::RefCell;
use std::process::Stdio;

use support::control;
use support::inherit::Inherit;
use support::manager::Manager;
use support::namespace;
use support::scene::{Gate, Restarter, Scene, Setup, quoted};
use support::server::{Reply, Server};
use support::terminal::{Terminal, Watched};

/// When a fault begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// From the first instruction to the first wait.
    Start,
    /// When epoch 0 is ready.
    Service,
    /// When epoch 0 is ready, in what is forked from then on, until that executes.
    Child,
}

impl Phase {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Service => "service",
            Self::Child => "child",
        }
    }
}

/// Something that happens to a restarter, and must work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// An orphan ends, and is reaped.
    Orphan,
    /// SIGHUP, and a new epoch is ready.
    Restart,
    /// SIGHUP, and the new epoch, which crashes, is rolled back.
    Rollback,
    /// A watched file changes, and a new epoch is ready.
    Change,
    /// SIGUSR1, and the newest leader gets it.
    Reopen,
    /// A client asks how things stand.
    Ask,
    /// Epoch 0 ends by itself.
    End,
    /// SIGTERM.
    Stop,
}

/// A life.
pub(super) struct Life {
    /// The middle of its trials' names.
    pub(super) name: &'static str,
    /// What the page says of it.
    pub(super) what: &'static str,
    pub(super) phases: &'static [Phase],
    /// What happens in service; where the start fails, the last of them. A program that serves
    /// nobody has none.
    pub(super) acts: &'static [Act],
    /// The exit code of a life without a fault.
    pub(super) code: i32,
    /// Its `--term-wait`, in seconds.
    pub(super) term_wait: u64,
    /// How many processes of each epoch say that they wait.
    pub(super) waits: usize,
    /// It has a control socket.
    pub(super) listens: bool,
    pub(super) prepare: fn(&Stage, &[&str]) -> Setup,
}

/// Where a life is played.
pub(super) struct Stage {
    pub(super) scene: Scene,
    /// What orphans, and a target that is to end, wait for.
    pub(super) gate: Gate,
    pub(super) manager: Manager,
    _admin: Server,
    web: Server,
    terminal: RefCell<Option<(Terminal, Watched)>>,
    /// A restarter that is asked.
    other: RefCell<Option<(Restarter, Scene)>>,
}

impl Stage {
    pub(super) fn new() -> Self {
        let scene = Scene::new();
        std::fs::write(scene.path("watched"), "").expect("a file of the scene");
        let done = Reply::whole("200 OK", "OK\n");
        let replies = vec![
            ("/server_info", Reply::server_info("LIVE", 0, 2)),
            ("/healthcheck/fail", done.clone()),
            ("/drain_listeners", done.clone()),
            ("/stats", Reply::pending(0, 0)),
        ];
        Self {
            gate: scene.gate(),
            manager: Manager::at(&scene.path("notify")),
            _admin: Server::unix(&scene.path("admin"), Reply::ByPath(replies)),
            web: Server::tcp(Reply::whole("200 OK", "")),
            terminal: None.into(),
            other: None.into(),
            scene,
        }
    }

    fn setup(&self, wrapper: &[&str], options: &str, steps: &str) -> Setup {
        let place = |name: &str| self.scene.place(name);
        let check = self.scene.probe("say=checked");
        let check = quoted(&[check[0].clone(), check[2].clone()]);
        let words = options.split_whitespace().map(|word| match word {
            "CHECK" => check.clone(),
            "PROBE" => format!("exec:{}", self.scene.beside("epoch=1 [ exit=1 ] exit=0")),
            "ADMIN" => format!("unix:{}", place("admin")),
            "URL" => format!("http://127.0.0.1:{}/", self.web.port()),
            "WATCHED" => place("watched"),
            "TERMINATION" => place("termination"),
            word => word.to_owned(),
        });
        let words: Vec<String> = words.collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let steps = steps.replace("GATE", &self.gate.to_string());
        let setup = self.scene.wrapped_restarter(wrapper, &words, &self.scene.probe(&steps));
        // In a folder that nobody else locks.
        setup.with(|command| {
            command.env(control::VARIABLE, self.scene.path("control"));
        })
    }

    fn told(&self, setup: Setup) -> Setup {
        setup.with(|command| {
            command.env("NOTIFY_SOCKET", self.scene.path("notify"));
        })
    }
}

const OPTIONS: &str = "--term-wait 2 --ready none --check CHECK --watch WATCHED \
                       --termination-log TERMINATION";
/// An orphan in a session of its own, a helper in the leader's group, whom no signal reaches but
/// that of the group, and the leader.
const FAMILY: &str = "fork [ fork [ setsid await=GATE ] ] reap \
                      fork [ exit-on=TERM:0 catch=USR1 wait ] \
                      exit-on=TERM:0 catch=USR1 say=leader wait";
const ALONE: &str = "exit-on=TERM:0 catch=USR1 say=leader wait";

/// Every life.
pub(super) static LIVES: [Life; 8] = [
    Life {
        name: "serve",
        what: "beside others, as a child subreaper: an orphan ends; SIGHUP with a `--check`; \
               SIGUSR1; `--send status`; a file changes that is watched; SIGTERM. A service \
               manager is told",
        phases: &[Phase::Start, Phase::Service],
        acts: &[Act::Orphan, Act::Restart, Act::Reopen, Act::Ask, Act::Change, Act::Stop],
        code: 0,
        term_wait: 2,
        waits: 2,
        listens: true,
        prepare: |stage, wrapper| stage.told(stage.setup(wrapper, OPTIONS, FAMILY)),
    },
    Life {
        name: "pid1",
        what: "the same as PID 1",
        phases: &[Phase::Start, Phase::Service],
        acts: &[Act::Orphan, Act::Restart, Act::Reopen, Act::Ask, Act::Change, Act::Stop],
        code: 0,
        term_wait: 2,
        waits: 2,
        listens: true,
        prepare: |stage, wrapper| {
            let wrapper = [namespace::wrapper(), wrapper].concat();
            stage.told(stage.setup(&wrapper, OPTIONS, FAMILY))
        },
    },
    Life {
        name: "children",
        what: "SIGHUP with a `--check`; SIGTERM",
        phases: &[Phase::Child],
        acts: &[Act::Restart, Act::Stop],
        code: 0,
        term_wait: 2,
        waits: 1,
        listens: true,
        prepare: |stage, wrapper| {
            stage.setup(wrapper, "--term-wait 2 --ready none --check CHECK", ALONE)
        },
    },
    Life {
        name: "rollback",
        what: "SIGHUP with `--rollback` and `--ready exec:`, and the new epoch crashes; SIGTERM",
        phases: &[Phase::Service],
        acts: &[Act::Rollback, Act::Stop],
        code: 0,
        term_wait: 2,
        waits: 1,
        listens: true,
        prepare: |stage, wrapper| {
            let steps = "epoch=1 [ fork [ setsid fork [ wait ] ] reap sleep=500 exit=3 ] "
                .to_owned()
                + ALONE;
            stage.setup(wrapper, "--term-wait 2 --rollback --ready PROBE", &steps)
        },
    },
    Life {
        name: "end",
        what: "epoch 0 exits with 3, which the termination log is told",
        phases: &[Phase::Service],
        acts: &[Act::End],
        code: 3,
        term_wait: 2,
        waits: 1,
        listens: true,
        prepare: |stage, wrapper| {
            let steps = "fork [ exit-on=TERM:0 wait ] say=leader await=GATE exit=3";
            stage.setup(wrapper, "--ready none --termination-log TERMINATION", steps)
        },
    },
    Life {
        name: "drain",
        what: "`--ready http:` and Envoy's admin; SIGTERM, with a drain",
        phases: &[Phase::Start, Phase::Service],
        acts: &[Act::Stop],
        code: 0,
        term_wait: 8,
        waits: 1,
        listens: false,
        prepare: |stage, wrapper| {
            let options = "--term-wait 8 --ready URL --envoy-admin ADMIN --drain-timeout 2 \
                           --drain-min 0 --control none";
            stage.setup(wrapper, options, ALONE)
        },
    },
    Life {
        name: "terminal",
        what: "on a terminal: SIGHUP; SIGTERM",
        phases: &[Phase::Start, Phase::Service],
        acts: &[Act::Restart, Act::Stop],
        code: 0,
        term_wait: 2,
        waits: 1,
        listens: false,
        prepare: |stage, wrapper| {
            let (terminal, programs) = Terminal::open();
            let watched = terminal.watched();
            *stage.terminal.borrow_mut() = Some((terminal, watched));
            stage.setup(wrapper, "--term-wait 2 --ready none --control none", ALONE).with(
                |command| {
                    command.on_terminal(programs);
                },
            )
        },
    },
    Life {
        name: "client",
        what: "`--send reload --wait`, to a restarter without a fault",
        phases: &[Phase::Start],
        acts: &[],
        code: 0,
        term_wait: 2,
        waits: 0,
        listens: false,
        prepare: |stage, wrapper| {
            let other = Scene::new();
            let restarter = other.restarter(&["--ready", "none"], &other.probe(ALONE)).start();
            restarter.says(" ready epoch=0 ");
            restarter.listens();
            let nobody: [&str; 0] = [];
            let setup = stage.scene.wrapped_restarter(
                wrapper,
                &["--send", "reload", "--wait", "--timeout", "5"],
                &nobody,
            );
            let setup = setup.with(|command| {
                command.env(control::VARIABLE, restarter.control().path());
                command.stdout(Stdio::null());
            });
            *stage.other.borrow_mut() = Some((restarter, other));
            setup
        },
    },
];
