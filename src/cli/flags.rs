//! The options: how they are called, what they take, what help says of them.

/// One option: everything that help, environment and errors need to know of it.
pub(super) struct Flag {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) help: &'static str,
}

/// What an option takes.
pub(super) enum Kind {
    /// One value, which help calls so.
    Value(&'static str),
    /// Nothing; its variable takes `1`, `true`, `0` and `false`, and so does `--name=`.
    Switch,
    /// A value each time that it is given; its variable separates them with colons.
    List(&'static str),
}

pub(super) const TERM_WAIT: Flag = Flag {
    name: "term-wait",
    kind: Kind::Value("S"),
    help: "Seconds from SIGTERM or SIGINT to SIGKILL [default: 30]",
};
pub(super) const STOP_SIGNAL: Flag = Flag {
    name: "stop-signal",
    kind: Kind::Value("NAME"),
    help: "The signal that asks the target to end [default: TERM]",
};
pub(super) const READY: Flag = Flag {
    name: "ready",
    kind: Kind::Value("PROBE"),
    help: "How an epoch is found ready: auto, none (at once), exec:COMMAND, \
           http://HOST:PORT/PATH [default: auto]",
};
pub(super) const READY_TIMEOUT: Flag = Flag {
    name: "ready-timeout",
    kind: Kind::Value("S"),
    help: "Seconds after which an epoch that is not ready is warned about, or with --rollback has \
           failed [default: 120]",
};
pub(super) const CHECK: Flag = Flag {
    name: "check",
    kind: Kind::Value("COMMAND"),
    help: "Run before every hot restart, which is refused unless COMMAND exits with 0",
};
pub(super) const CHECK_TIMEOUT: Flag = Flag {
    name: "check-timeout",
    kind: Kind::Value("S"),
    help: "Seconds that the check may take [default: 30]",
};
pub(super) const ROLLBACK: Flag = Flag {
    name: "rollback",
    kind: Kind::Switch,
    help: "A new epoch that fails before it is ready is killed, and the one before it goes on",
};
pub(super) const WATCH: Flag = Flag {
    name: "watch",
    kind: Kind::List("PATH"),
    help: "A change of this file or folder is a hot restart; may be repeated",
};
pub(super) const WATCH_JITTER: Flag = Flag {
    name: "watch-jitter",
    kind: Kind::Value("S"),
    help: "Seconds of random waiting at most after such a change [default: 0]",
};
pub(super) const ENVOY_ADMIN: Flag = Flag {
    name: "envoy-admin",
    kind: Kind::Value("ADDR"),
    help: "Envoy's admin, HOST:PORT or unix:/path, which then says when an epoch is ready",
};
pub(super) const DRAIN_TIMEOUT: Flag = Flag {
    name: "drain-timeout",
    kind: Kind::Value("S"),
    help: "Seconds that a stop may drain before it asks Envoy to end; needs --envoy-admin \
           [default: 0, no drain]",
};
pub(super) const DRAIN_MIN: Flag = Flag {
    name: "drain-min",
    kind: Kind::Value("S"),
    help: "Seconds that a draining Envoy goes on serving at least [default: 6]",
};
pub(super) const MIN_RESTART_INTERVAL: Flag = Flag {
    name: "min-restart-interval",
    kind: Kind::Value("S"),
    help: "Seconds from one start to the next at least [default: 0]",
};
pub(super) const MAX_EPOCHS: Flag = Flag {
    name: "max-epochs",
    kind: Kind::Value("N"),
    help: "Epochs that may live at once, 2 or 3; with 2 no drain is ever cut short [default: 3]",
};
pub(super) const TERMINATION_LOG: Flag = Flag {
    name: "termination-log",
    kind: Kind::Value("PATH"),
    help: "Gets the reason when we end for a bad one [default: /dev/termination-log, if there]",
};
pub(super) const CONTROL: Flag = Flag {
    name: "control",
    kind: Kind::Value("PATH"),
    help: "The socket that --send speaks to, or none [default: /run/hot-restarter.sock, or else \
           /dev/shm/hot-restarter-UID.sock]",
};
pub(super) const LOG_FORMAT: Flag =
    Flag { name: "log-format", kind: Kind::Value("FORMAT"), help: "text or json [default: text]" };
pub(super) const LOG_LEVEL: Flag = Flag {
    name: "log-level",
    kind: Kind::Value("LEVEL"),
    help: "error, warn, info or debug [default: info]",
};

pub(super) const FLAGS: [&Flag; 18] = [
    &TERM_WAIT,
    &STOP_SIGNAL,
    &READY,
    &READY_TIMEOUT,
    &CHECK,
    &CHECK_TIMEOUT,
    &ROLLBACK,
    &MIN_RESTART_INTERVAL,
    &MAX_EPOCHS,
    &WATCH,
    &WATCH_JITTER,
    &ENVOY_ADMIN,
    &DRAIN_TIMEOUT,
    &DRAIN_MIN,
    &CONTROL,
    &TERMINATION_LOG,
    &LOG_FORMAT,
    &LOG_LEVEL,
];
