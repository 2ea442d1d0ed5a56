//! The kernel's own record of a life, in the words of its trace.

/// Something that the kernel has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// `CLOCK_MONOTONIC`, in microseconds.
    pub(crate) at: u64,
    /// The process that did it, by its number in the outermost PID namespace, as all numbers are
    /// here.
    pub(crate) who: i32,
    /// What it was.
    pub(crate) what: Event,
}

/// What it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A process was made.
    Fork { child: i32 },
    /// It became a program.
    Exec { file: String },
    /// It has ended.
    Exit,
    /// It sent a signal, or the kernel did while it ran; `by_process` tells which. It is not taken by
    /// who ignores it or is about to end.
    Signal { to: i32, signal: i32, by_process: bool, taken: bool },
    /// It was handed a signal, for which it has a handler or not.
    Deliver { signal: i32, caught: bool },
    /// It asked for its end with this code.
    ExitCall { code: i32 },
    /// It made a process, which has this number in its own PID namespace. Nothing in the child.
    Cloned { number: i32 },
    /// It was refused a process.
    NotCloned,
    /// It changes what a signal does to it; 0 where it asks.
    Action { signal: i32 },
    /// It has.
    Acted,
    /// It waits for what happens; or not, where it only looks, or that cannot be told.
    Poll { waits: bool },
    /// It asked to signal.
    Kill { target: i32 },
    /// It looks for a child.
    WaitCall { peek: bool },
    /// The child that it looks for; 0 is any.
    WaitFor { child: i32 },
    /// It has found one, if the call has not failed.
    Waited { failed: bool },
    /// It left its group, for one of its own if it is told nothing else.
    Setsid,
    /// It, or a child of it, is to be in another group.
    Setpgid { process: i32, group: i32 },
}

/// The codes of signals that a process has sent: `SI_USER`, `SI_QUEUE`, `SI_TKILL`. A timer's and
/// those of finished input and output are negative as well (`asm-generic/siginfo.h`).
const BY_PROCESS: [i32; 3] = [0, -1, -6];

/// What becomes of signals that are delivered: as they are, or without their sender where too many
/// wait on this machine (`trace/events/signal.h`).
const TAKEN: [i32; 2] = [0, 4];

/// Reads the text of a trace, with its clock at `mono`. Lines about anything else are left out; one
/// that cannot be understood is an error.
pub(crate) fn parse(text: &str) -> Result<Vec<Moment>, String> {
    let moments = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let moments = moments.map(|line| moment(line).ok_or_else(|| format!("not understood: {line}")));
    moments.filter_map(Result::transpose).collect()
}

/// `probe-123 [001] d..1. 4719.123456: signal_generate: sig=15 …`; a name may hold anything.
#[expect(clippy::option_option, reason = "not understood, of no interest, and understood")]
fn moment(line: &str) -> Option<Option<Moment>> {
    if line.starts_with("CPU:") {
        // "CPU:1 [LOST 12 EVENTS]", which the counters tell as well.
        return Some(None);
    }
    let bracket = line.match_indices(" [").find(|(at, _)| {
        let rest = &line.as_bytes()[at + 2..];
        rest.len() > 4 && rest.iter().take(3).all(u8::is_ascii_digit) && rest[3] == b']'
    })?;
    let who = line[..bracket.0].trim_end().rsplit_once('-')?.1.parse().ok()?;
    let rest = &line[bracket.0 + 6..];
    let (before, event) = rest.split_once(": ")?;
    let (seconds, micros) = before.rsplit(' ').next()?.split_once('.')?;
    let at = seconds.parse::<u64>().ok()? * 1_000_000 + micros.parse::<u64>().ok()?;
    Some(event_of(event)?.map(|what| Moment { at, who, what }))
}

/// `None` is what cannot be understood, and within that what is of no interest.
#[expect(clippy::option_option, reason = "not understood, of no interest, and understood")]
fn event_of(event: &str) -> Option<Option<Event>> {
    if let Some((call, result)) = event.split_once(" -> ") {
        let result = result.trim().strip_prefix("0x")?;
        let result = u64::from_str_radix(result, 16).ok()?.cast_signed();
        return Some(match call {
            "sys_clone" | "sys_clone3" | "sys_fork" | "sys_vfork" if result > 0 => {
                Some(Event::Cloned { number: i32::try_from(result).ok()? })
            }
            "sys_clone" | "sys_clone3" | "sys_fork" | "sys_vfork" if result < 0 => {
                Some(Event::NotCloned)
            }
            "sys_rt_sigaction" => Some(Event::Acted),
            "sys_waitid" | "sys_wait4" => Some(Event::Waited { failed: result < 0 }),
            _ => None,
        });
    }
    if let Some(call) = event.strip_prefix("sys_") {
        return call_of(call).map(Some);
    }
    let (name, fields) = event.split_once(": ")?;
    let field = |name: &str| {
        let value = fields.rsplit_once(&format!("{name}="))?.1;
        value.split(' ').next()
    };
    let number = |name: &str| field(name)?.parse::<i32>().ok();
    Some(Some(match name {
        "sched_process_fork" => Event::Fork { child: number("child_pid")? },
        "sched_process_exec" => Event::Exec { file: field("filename")?.to_owned() },
        "sched_process_exit" => Event::Exit,
        "sched_process_wait" => Event::WaitFor { child: number(" pid")? },
        "signal_generate" => Event::Signal {
            to: number(" pid")?,
            signal: number("sig")?,
            by_process: BY_PROCESS.contains(&number("code")?),
            taken: TAKEN.contains(&number("res")?),
        },
        "signal_deliver" => {
            let caught = u64::from_str_radix(field("sa_handler")?, 16).ok()? > 1;
            Event::Deliver { signal: number("sig")?, caught }
        }
        _ => return Some(None),
    }))
}

fn call_of(call: &str) -> Option<Event> {
    let (name, arguments) = call.split_once('(')?;
    let argument = |index: usize| {
        let value = arguments.trim_end().trim_end_matches(')').split(", ").nth(index)?;
        let value = value.split_once(": ")?.1;
        // The kernel widens what the program passed; an int is its lower half.
        let value = u64::from_str_radix(value.trim_start_matches("0x"), 16).ok()?;
        i32::try_from((value & 0xffff_ffff).cast_signed())
            .ok()
            .or(Some(u32::try_from(value & 0xffff_ffff).ok()?.cast_signed()))
    };
    Some(match name {
        "exit_group" => Event::ExitCall { code: argument(0)? & 0xff },
        "kill" => Event::Kill { target: argument(0)? },
        "waitid" => {
            let options = argument(3)?;
            Event::WaitCall { peek: options & libc::WNOWAIT != 0 || options & libc::WEXITED == 0 }
        }
        "wait4" => Event::WaitCall { peek: false },
        "rt_sigaction" if argument(1)? == 0 => Event::Action { signal: 0 },
        "rt_sigaction" => Event::Action { signal: argument(0)? },
        "poll" => Event::Poll { waits: argument(2)? != 0 },
        // Its time is behind a pointer.
        "ppoll" => Event::Poll { waits: false },
        "setsid" => Event::Setsid,
        "setpgid" => Event::Setpgid { process: argument(0)?, group: argument(1)? },
        _ => return None,
    })
}
