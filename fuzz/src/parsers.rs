//! Which file of the program reads what, and which targets fuzz it.

/// The files under `src` that take text or bytes apart, each with the targets that reach it. A test
/// looks for files that do so and are not here.
pub const PARSERS: &[(&str, &[&str])] = &[
    // Command line, environment, words of commands in one string.
    ("cli/mod.rs", &["command_line"]),
    ("cli/send.rs", &["command_line"]),
    ("cli/values.rs", &["command_line"]),
    // The names of sockets in /dev/shm: a number between two fixed words, made a user's and
    // compared with the file's owner. A unit test has the names that are none.
    ("control/client.rs", &["reply"]),
    ("control/wire.rs", &["reply", "request"]),
    // What checks print.
    ("driver/capture.rs", &["check_output"]),
    // The status of an answer to `--ready http:`, and Envoy's.
    ("driver/questions.rs", &["http_answer", "server_info"]),
    ("envoy/admin.rs", &["server_info"]),
    ("envoy/drain.rs", &["pending"]),
    ("envoy/mod.rs", &["arguments", "sockets"]),
    ("envoy/shared_memory.rs", &["maps", "shared_memory"]),
    ("http/address.rs", &["address", "command_line"]),
    ("http/decoder.rs", &["http_answer"]),
    // What goes out in one line, whatever others have put into it.
    ("log.rs", &["log_line"]),
    // /proc/self/cgroup, /proc/self/mountinfo, memory.events.
    ("memory.rs", &["cgroup"]),
    ("procfs.rs", &["children", "stat", "status"]),
    // The `#!` line of a script that cannot be executed.
    ("program.rs", &["script"]),
    ("signal.rs", &["command_line"]),
    ("watch/mounts.rs", &["mountinfo"]),
];

/// What is read that has no target, and why.
pub const WITHOUT: &[(&str, &str)] = &[
    ("watch/mod.rs", "inotify's buffers: written by the kernel, taken apart by `nix`"),
    ("sys/signals.rs", "signalfd's records: of a fixed size, of which one number is looked at"),
    ("sys/wait.rs", "`siginfo_t`: of a fixed size, of which three numbers are looked at"),
    ("notify.rs", "NOTIFY_SOCKET: handed to the kernel as it is"),
];
