//! The manual page: its order, and what only prose can say.

use clap::{Arg, Command};
use clap_mangen::Man;
use clap_mangen::roff::Roff;
use hot_restarter::control::wire;
use hot_restarter::exit::Exit;
use hot_restarter::signal::{Meaning, Signal};

use crate::prose::{entry, example, text};
use crate::{NAME, completions, definition, variable};

/// The page, as of this date.
pub fn page(date: &str) -> String {
    let mut command = definition();
    command.build();
    let mut body = Roff::new();
    description(&mut body);
    options(&mut body, &command);
    signals(&mut body);
    exit_status(&mut body);
    environment(&mut body);
    files(&mut body);
    examples(&mut body);
    body.control("SH", ["SEE ALSO"]);
    text(&mut body, SEE_ALSO);
    head(command, date) + &without_preamble(&body.render())
}

/// Title, name and synopsis.
fn head(command: Command, date: &str) -> String {
    // Each form by itself, since clap writes the lines of help.
    let forms = command.clone().render_usage().to_string();
    let man = Man::new(command).title("HOT-RESTARTER").date(date).manual("User Commands");
    let mut title = Vec::new();
    let mut name = Vec::new();
    man.render_title(&mut title).expect("it is written to memory");
    man.render_name_section(&mut name).expect("it is written to memory");
    let [title, name] = [title, name].map(|part| String::from_utf8(part).expect("help is UTF-8"));
    let mut synopsis = Roff::new();
    synopsis.control("SH", ["SYNOPSIS"]);
    for form in forms.trim_start_matches("Usage:").lines() {
        let form = form.trim().strip_prefix(NAME).expect("a form begins with the name");
        synopsis.control("SY", [NAME]);
        text(&mut synopsis, &marked(form.trim(), |_| true));
        synopsis.control("YS", []);
    }
    // Names of options and variables are neither divided nor drawn apart; groff's macros go by HY.
    title
        + ".nr HY 0\n.nh\n.ad l\n"
        + &without_preamble(&name)
        + &without_preamble(&synopsis.render())
}

/// Every part comes with the definitions that the first of them has made.
fn without_preamble(part: &str) -> String {
    let preamble = Roff::new().render();
    part.strip_prefix(&preamble).expect("each part begins with it").to_owned()
}

/// Plain words with what is typed in bold, and in italics what stands for something else.
fn marked(words: &str, stands_for: impl Fn(&str) -> bool) -> String {
    let mark = |word: &str| {
        let core = word.trim_matches(|char: char| !char.is_alphanumeric() && char != '-');
        let is_name = core.bytes().all(|byte| byte.is_ascii_uppercase()) && stands_for(core);
        let is_option = core.starts_with("--") && core.len() > 2 || core == "--";
        match (is_option, is_name && !core.is_empty()) {
            (true, _) => word.replacen(core, &format!("*{core}*"), 1),
            (false, true) => word.replacen(core, &format!("<{core}>"), 1),
            (false, false) => word.to_owned(),
        }
    };
    words.split(' ').map(mark).collect::<Vec<_>>().join(" ")
}

const DESCRIPTION: &str = "\
*hot-restarter* is PID 1 of a container, or a supervisor below another init.
It starts <PROGRAM>, usually a script that ends in *exec envoy*, as <epoch> 0.
On SIGHUP it starts <PROGRAM> again as the next epoch, which takes the sockets over from the one
before it without losing a request.
It reaps the orphans that the kernel hands to it, passes other signals on, and stops everything
cleanly on SIGTERM.
Any server that can hand over its sockets will do; Envoy is the one that needs no set-up.

With *--send* it is a client instead, which asks the restarter that runs here, in an image that
needs neither a shell nor *kill*(1).

Options stand before <PROGRAM>, and everything after it is its own, dashes included.
*$(RESTART_EPOCH)* in an argument becomes the number of the epoch; <PROGRAM> itself is taken as it
is.
A <PROGRAM> without a slash is looked up in PATH, and then in the working directory.
It is executed without a shell, in a process group of its own, and must stay in the foreground:
when it ends, its epoch has ended.
";

const RESTARTS: &str = "\
One restart is carried out at a time.
A SIGHUP that comes while the newest epoch is not ready, while a check runs, inside
*--min-restart-interval*, or while *--max-epochs* live, is remembered, and carried out when its
time comes; ten of them are one.

An epoch is ready when it has taken over.
An Envoy is recognised by the shared memory that it maps, and asked there; another program counts
as ready one second after its start, unless *--ready* says how to find out.

With *--check* a restart is refused, and nothing has changed, unless the command succeeds.
With *--rollback* an epoch that fails before it is ready is killed and cleared away, and the one
before it goes on.
Without it such an epoch ends everything, with its own status.
";

const STOP: &str = "\
On SIGTERM or SIGINT, and when *--send stop* asks for it, every epoch's process group gets SIGTERM
(or *--stop-signal*), and so does each orphan.
What is left after *--term-wait* gets SIGKILL.
When the last process is gone *hot-restarter* is gone.

With *--envoy-admin* and *--drain-timeout* a stop drains first: Envoy sends its clients elsewhere,
and goes on serving until nothing is pending.
The runtime's own limit (*docker stop -t*, *terminationGracePeriodSeconds*) must be 5 seconds more
than *--term-wait* at least.
";

fn description(page: &mut Roff) {
    page.control("SH", ["DESCRIPTION"]);
    text(page, DESCRIPTION);
    page.control("SS", ["Restarts"]);
    text(page, RESTARTS);
    page.control("SS", ["Stop"]);
    text(page, STOP);
}

/// What options take, by the name that help has for it.
pub const VALUES: [(&str, &str); 7] = [
    ("<S>", "Seconds, with a fraction if you like (*0.5*), up to a week."),
    (
        "<COMMAND>",
        "One string, which is split like a shell's words and run without a shell.\n\
         *$(RESTART_EPOCH)* in it becomes the number of the epoch.\n\
         That of *--send* is one of the words named there.",
    ),
    (
        "<PROBE>",
        "*auto*; *none*, at once; *exec:*<COMMAND>, when it exits with 0;\n\
         *http://*<HOST>*:*<PORT>*/*<PATH>, when the answer is a 2xx.",
    ),
    (
        "<ADDR>",
        "<HOST>*:*<PORT>, or *unix:*<PATH>, or *unix:@*<NAME> of an abstract socket.\n\
         <HOST> is *localhost* or an IP address, in brackets where it is of version 6.",
    ),
    ("<NAME>", "A signal by its name or number: *QUIT*, *SIGQUIT*, *3*, *RTMIN+3*."),
    (
        "<BOOL>",
        "*1* or *true*, *0* or *false*.\n\
         An option that takes one is a switch: its name alone is *true*, and a value needs the\n\
         equals sign.",
    ),
    (
        "<PATH>",
        "A file or folder.\nIn a variable of an option that may be repeated colons separate them.",
    ),
];

fn options(page: &mut Roff, command: &Command) {
    page.control("SH", ["OPTIONS"]);
    text(
        page,
        "Where a variable is named it sets the option as well.\n\
         The command line wins, and a variable that is set to nothing counts as not set.",
    );
    let options = || command.get_arguments().filter(|option| !option.is_positional());
    page.control("SS", ["Of the restarter"]);
    for option in options().filter(|option| variable(option).is_some()) {
        explain(page, option);
    }
    let clients: Vec<&Arg> =
        options().filter(|option| variable(option).is_none() && !is_clap(option)).collect();
    let title = clients.first().and_then(|option| option.get_help_heading());
    page.control("SS", [title.unwrap_or("Of the client")]);
    for option in clients {
        explain(page, option);
    }
    text(page, "\nThe client has *--control* and its variable as well.");
    page.control("SS", ["What a client may ask for"]);
    for command in wire::Command::ALL {
        entry(page, &format!("*{command}*"), request(command));
    }
    page.control("SS", ["Of both"]);
    for option in options().filter(|option| is_clap(option)) {
        explain(page, option);
    }
    page.control("SS", ["Values"]);
    for (value, said) in VALUES {
        entry(page, value, said);
    }
}

/// What `--send` does with this.
fn request(command: wire::Command) -> &'static str {
    match command {
        wire::Command::Reload => {
            "A hot restart, as by SIGHUP.\n\
             With *--wait* the client says what came of it."
        }
        wire::Command::Reopen => "That logs are reopened, as by SIGUSR1.",
        wire::Command::Stop => "A stop, as by SIGTERM.",
        wire::Command::Status => "How things stand: the epochs, and what the restarter is about.",
        wire::Command::Health => {
            "Whether a ready epoch serves and no stop is under way, for a health check."
        }
    }
}

/// Whether clap adds it to every command: `--help`, `--version`.
fn is_clap(option: &Arg) -> bool {
    matches!(option.get_id().as_str(), "help" | "version")
}

fn heading(option: &Arg) -> String {
    let long = option.get_long().expect("each has a long name");
    let short = option.get_short().map(|short| format!("*-{short}*, ")).unwrap_or_default();
    let value = option.get_value_names().and_then(|names| names.first());
    let value = match value.filter(|_| completions::takes_value(option)) {
        Some(value) if option.is_require_equals_set() => format!("[*=*<{value}>]"),
        Some(value) => format!(" <{value}>"),
        None => String::new(),
    };
    format!("{short}*--{long}*{value}")
}

/// Help's sentence, and below it what it says in brackets, and the variable.
fn explain(page: &mut Roff, option: &Arg) {
    entry(page, &heading(option), "");
    let help = option.get_help().map(ToString::to_string).unwrap_or_default();
    let (said, default) =
        match help.strip_suffix(']').and_then(|help| help.split_once(" [default: ")) {
            Some((said, default)) => (said, Some(default)),
            None => (help.as_str(), None),
        };
    let value = option.get_value_names().and_then(|names| names.first());
    let said = marked(said, |word| value.is_some_and(|value| value.as_str() == word));
    text(page, &format!("{said}."));
    let default = default.map(|value| format!("Default: {}.", marked(value, |word| word == "UID")));
    let variable = variable(option).map(|variable| format!("Variable: *{variable}*."));
    let rest: Vec<String> = default.into_iter().chain(variable).collect();
    if !rest.is_empty() {
        page.control("br", []);
        text(page, &rest.join("\n"));
    }
}

/// What a signal of this meaning does; nothing where it is no matter of a reader's.
fn deed(meaning: Meaning) -> Option<&'static str> {
    match meaning {
        Meaning::Stop => Some("Stop.\nA second one changes nothing."),
        Meaning::Restart => Some("Hot restart.\nRefused during a stop."),
        Meaning::Reopen => Some(
            "Reopen logs: it goes to those processes of the ready epochs that catch it,\n\
             and to an epoch that is starting as soon as it is ready.",
        ),
        Meaning::ToGroups => Some("Goes to the process group of every epoch."),
        Meaning::ToCatchers => Some(
            "Any other signal, real-time ones too: goes to those processes of every epoch that\n\
             catch it.\nWhere none does it is dropped, with a line in the log.",
        ),
        Meaning::Ignored => Some(
            "Ignored: the kernel raises them for the terminal and the log of the restarter\n\
             itself.",
        ),
        Meaning::Reap | Meaning::Fault | Meaning::Uncatchable => None,
    }
}

fn signals(page: &mut Roff) {
    page.control("SH", ["SIGNALS"]);
    let mut meanings: Vec<Meaning> = Signal::all().map(Signal::meaning).collect();
    meanings.sort_unstable();
    meanings.dedup();
    // Any other comes last.
    meanings.sort_by_key(|meaning| *meaning == Meaning::ToCatchers);
    for meaning in meanings {
        let Some(deed) = deed(meaning) else { continue };
        let heading = if meaning == Meaning::ToCatchers {
            "Others".to_owned()
        } else {
            let signals = Signal::all().filter(|signal| signal.meaning() == meaning);
            // Those above have no name of their own.
            let names = signals.filter(|signal| signal.number() < 32);
            names.map(|signal| format!("*{signal}*")).collect::<Vec<_>>().join(", ")
        };
        entry(page, &heading, deed);
    }
    text(
        page,
        "\nSignals that arrive together are handled in a fixed order: stop, exits, restart, reopen,\n\
         the rest.",
    );
}

fn exit_status(page: &mut Roff) {
    page.control("SH", ["EXIT STATUS"]);
    for (exit, when) in [
        (Exit::Clean, "A stop in which everything ended in time, or the last epoch ended with 0."),
        (Exit::Killed, "A stop in which something had to be killed."),
        (Exit::Usage, "Bad usage."),
    ] {
        entry(page, &format!("*{}*", exit.code()), when);
    }
    entry(
        page,
        "<N>, or 128 + signal",
        "An epoch ended unexpectedly, and this is its status.\n\
         Everything else was killed at once.",
    );
    for (exit, when) in [
        (Exit::Failure, "A failure of the restarter itself."),
        (
            Exit::CannotExecute,
            "<PROGRAM> cannot be executed, or the check's or the probe's cannot.",
        ),
        (Exit::NotFound, "<PROGRAM> does not exist, or the check's or the probe's does not."),
        (Exit::Interrupted, "Ctrl-C ended the newest epoch."),
    ] {
        entry(page, &format!("*{}*", exit.code()), when);
    }
    text(page, "\n<PROGRAM> may use these itself; the last line of the log tells them apart.");
    page.control("SS", ["Of the client"]);
    for (exit, when) in [
        (Exit::Clean, "What was asked for is done, or taken; or all is well (*health*)."),
        (
            Exit::NotDone,
            "It was refused, has failed, or is not done in time; or all is not well (*health*).",
        ),
        (Exit::Usage, "Bad usage."),
        (Exit::NoAnswer, "No restarter answers."),
    ] {
        entry(page, &format!("*{}*", exit.code()), when);
    }
}

fn environment(page: &mut Roff) {
    page.control("SH", ["ENVIRONMENT"]);
    for (variable, said) in [
        (
            "*HOT_RESTARTER_*<NAME>",
            "An option of the restarter: its name in capitals, with underscores for dashes.\n\
             An unknown one is warned about, except those that Kubernetes sets for a Service.\n\
             Of the client only *HOT_RESTARTER_CONTROL* is one.",
        ),
        ("*PATH*", "Where <PROGRAM>, the check and the probe are looked up."),
        ("*NOTIFY_SOCKET*", "Where *systemd*(1) is told how things stand."),
    ] {
        entry(page, variable, said);
    }
    text(page, "\nThe following are set for others:");
    for (variable, said) in [
        (
            "*RESTART_EPOCH*",
            "The number of the epoch, for <PROGRAM>, the check and the probe.\n\
             Pass it on as Envoy's *--restart-epoch*.",
        ),
        ("*EPOCH_PID*", "The process that leads the epoch, for the probe (*--ready exec:*)."),
    ] {
        entry(page, variable, said);
    }
}

fn files(page: &mut Roff) {
    page.control("SH", ["FILES"]);
    for (file, said) in [
        ("*/run/hot-restarter.sock*", "The socket that *--send* speaks to, of mode 0600."),
        (
            "*/dev/shm/hot-restarter-*<UID>*.sock*",
            "The same where that one cannot be made; the client tries both.",
        ),
        (
            "*/dev/termination-log*",
            "Where it exists it gets the reason of a bad end, which *kubectl describe pod* shows.",
        ),
        (
            "*/dev/shm/envoy_shared_memory_*<N>",
            "Envoy's own memory, in which its epochs are found ready.",
        ),
    ] {
        entry(page, file, said);
    }
}

/// What is told of an example, and its lines.
pub const EXAMPLES: [(&str, &str); 4] = [
    (
        "Envoy without a start script, in a container's entry point:",
        "hot-restarter --rollback --max-epochs 2 \\
    envoy -c /etc/envoy/envoy.yaml --base-id 0 --restart-epoch '$(RESTART_EPOCH)'",
    ),
    (
        "A script, whose configuration is checked before each restart, and which is restarted when\nthe configuration changes:",
        "hot-restarter --rollback --check 'start_envoy.sh --mode validate' \\
    --watch /etc/envoy start_envoy.sh",
    ),
    (
        "A stop that lets clients finish first:",
        "hot-restarter --envoy-admin 127.0.0.1:9901 --drain-timeout 25 \\
    start_envoy.sh",
    ),
    (
        "A hot restart from inside the container, which says what came of it, and a health check:",
        "hot-restarter --send reload --wait\nhot-restarter --send health",
    ),
];

fn examples(page: &mut Roff) {
    page.control("SH", ["EXAMPLES"]);
    for (number, (said, lines)) in EXAMPLES.into_iter().enumerate() {
        if number > 0 {
            page.control("PP", []);
        }
        text(page, said);
        example(page, lines);
    }
}

const SEE_ALSO: &str = "\
*kill*(1), *prctl*(2), *pid_namespaces*(7), *signal*(7), *unix*(7)

The README of *hot-restarter* says all of this at length, how Envoy is to be set up, and what to do
under Kubernetes.
";
