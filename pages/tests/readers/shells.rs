//! The completions, in the shells.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, iter};

use hot_restarter::control::wire;
use libtest_mimic::Trial;

use crate::needs::trial;
use crate::{page, typed};

/// The trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    [Shell::Bash, Shell::Zsh, Shell::Fish]
        .into_iter()
        .flat_map(|shell| {
            let trial = move |what: &str, run: fn(Shell)| {
                let name = format!("{}::{what}", shell.name());
                trial(name, Some(shell.name()), move || run(shell))
            };
            [
                trial("is_a_script", is_a_script),
                trial("offers_every_option", offers_every_option),
                trial("completes_values", completes_values),
                trial("completes_the_program", completes_the_program),
            ]
        })
        .chain(iter::once(trial("bash::words_it_divided", Some("bash"), words_it_divided)))
        .collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
        }
    }

    fn page(self) -> &'static str {
        match self {
            Self::Bash => "hot-restarter.bash",
            Self::Zsh => "_hot-restarter",
            Self::Fish => "hot-restarter.fish",
        }
    }
}

/// A folder with a page in it, two files to be completed, and a program in `bin`.
struct Folder(PathBuf);

impl Folder {
    fn new(shell: Shell, name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(shell.name()).join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).expect("it was ours");
        }
        fs::create_dir_all(folder.join("bin")).expect("a folder");
        fs::write(folder.join(shell.page()), page(shell.page())).expect("a page");
        fs::write(folder.join("envoy.yaml"), "").expect("a file");
        fs::write(folder.join("envoy two.yaml"), "").expect("a file");
        let program = folder.join("bin/start_this_envoy");
        fs::write(&program, "#!/bin/sh\n").expect("a program");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is ours");
        Self(folder)
    }

    /// What a program prints that runs here, under a bound.
    fn output(&self, program: &str, arguments: &[&str]) -> String {
        let bin = self.0.join("bin");
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths(iter::once(bin).chain(env::split_paths(&path))).expect("a path");
        let output = Command::new("timeout")
            .args(["60", program])
            .args(arguments)
            .current_dir(&self.0)
            .env("PATH", path)
            // Where a shell leaves what it remembers.
            .env("HOME", &self.0)
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_DATA_HOME")
            .env("TERM", "dumb")
            .output()
            .expect("timeout runs");
        let [stdout, stderr] =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        assert!(output.status.success(), "{arguments:?}: {}\n{stdout}{stderr}", output.status);
        assert_eq!(stderr, "", "{arguments:?}");
        stdout
    }
}

/// Completes the last of these words, and calls that which is offered by its first words.
fn offered(shell: Shell, name: &str, words: &[&str]) -> BTreeSet<String> {
    let folder = Folder::new(shell, name);
    let line = format!("hot-restarter {}", words.join(" "));
    let offered: Vec<String> = match shell {
        Shell::Bash => {
            let arguments = [&["-c", BASH, "bash", "hot-restarter"], words].concat();
            folder.output("bash", &arguments).lines().map(str::to_owned).collect()
        }
        // It shows a table, and the line below it. Where there is nothing it rings a bell.
        Shell::Zsh => {
            let text = folder.output("zsh", &["-f", "-c", ZSH, "zsh", &line]);
            let rows = text.lines().filter(|row| !row.contains("hot-restarter "));
            let names = rows.filter_map(|row| row.split(" -- ").next());
            let names = names.flat_map(|names| names.split(|char: char| char <= ' '));
            names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
        }
        Shell::Fish => {
            let text = folder.output("fish", &["--no-config", "-c", FISH, &line]);
            let first = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();
            text.lines().map(first).collect()
        }
    };
    offered.into_iter().collect()
}

/// What bash itself does with the function that `complete` names.
const BASH: &str = r#"
set -u
source ./hot-restarter.bash
[[ $(complete -p hot-restarter) == 'complete -F _hot_restarter hot-restarter' ]] || exit 3
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
_hot_restarter hot-restarter "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
((${#COMPREPLY[@]})) && printf '%s\n' "${COMPREPLY[@]}"
exit 0
"#;

/// A zsh on a terminal of its own, in which a tab lists what there is, and ^X ends it.
const ZSH: &str = r"
setopt extendedglob
zmodload zsh/zpty
zpty shell 'stty -echo rows 500 columns 160; exec zsh -f -i'
ask() { zpty -w shell $1 }
ask 'PS1= PROMPT_EOL_MARK= fpath=($PWD $fpath); unsetopt zle_bracketed_paste; LISTMAX=10000'
ask 'autoload -U compinit; compinit -u -D; unsetopt always_last_prompt; zle_highlight=()'
ask 'told() { zle -I; print -r -- END-OF-${:-LIST} }; zle -N told'
ask 'bindkey ^I list-choices; bindkey ^X told; print -r -- NOW-${:-READY}'
while zpty -r shell piece; do [[ $piece == *NOW-READY* ]] && break; done
zpty -w -n shell $1$'\t'$'\x18'
list=
while zpty -r shell piece; do
    list+=$piece
    [[ $piece == *END-OF-LIST* ]] && break
done
zpty -d shell
list=${list//$'\e'\[[0-9;?]#[A-Za-z]/}
# The line itself comes first.
print -r -- ${${list#*$1}%END-OF-LIST*}
";

/// Its own way to ask.
const FISH: &str = "source ./hot-restarter.fish; complete -C $argv[1]; true";

fn is_a_script(shell: Shell) {
    let folder = Folder::new(shell, "script");
    assert_eq!(folder.output(shell.name(), &["-n", shell.page()]), "");
}

fn offers_every_option(shell: Shell) {
    let offered = offered(shell, "options", &["--"]);
    for option in typed() {
        assert!(offered.contains(&option), "{option} is not in {offered:?}");
    }
}

fn completes_values(shell: Shell) {
    let values = |name: &str, words: &[&str]| offered(shell, name, words);
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    let commands = wire::Command::ALL.map(wire::Command::as_str);
    assert_eq!(values("send", &["--send", ""]), words(&commands));
    assert_eq!(values("send-short", &["-s", "re"]), words(&["reload", "reopen"]));
    let levels = words(&["error", "warn", "info", "debug"]);
    assert_eq!(values("level", &["--rollback", "--log-level", ""]), levels);
    assert_eq!(values("signal", &["--stop-signal", "U"]), words(&["URG", "USR1", "USR2"]));
    assert_eq!(values("seconds", &["--term-wait", ""]), words(&[]));
    assert_eq!(values("check", &["--check", "start_this"]), words(&["start_this_envoy"]));
    for option in ["--watch", "--control", "--termination-log"] {
        assert_eq!(values("path", &[option, "envoy."]), words(&["envoy.yaml"]));
    }
}

fn completes_the_program(shell: Shell) {
    let values = |name: &str, words: &[&str]| offered(shell, name, words);
    let program = BTreeSet::from(["start_this_envoy".to_owned()]);
    assert_eq!(values("alone", &["start_this"]), program);
    assert_eq!(values("after-options", &["--term-wait", "5", "--json", "start_this"]), program);
    assert_eq!(values("after-a-switch", &["--rollback", "start_this"]), program);
    // What follows is its own.
    let files = BTreeSet::from(["envoy.yaml".to_owned()]);
    assert_eq!(values("argument", &["start_this_envoy", "envoy."]), files);
    assert_eq!(values("after-dashes", &["--", "start_this_envoy", "envoy."]), files);
    assert_eq!(values("its-option", &["start_this_envoy", "--term"]), BTreeSet::new());
}

/// bash divides words at `=` and `:`, and knows nothing of blanks in names.
fn words_it_divided() {
    let values = |name: &str, words: &[&str]| offered(Shell::Bash, name, words);
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    assert_eq!(values("equals", &["--log-format", "="]), words(&["text", "json"]));
    assert_eq!(values("begun", &["--log-format", "=", "js"]), words(&["json"]));
    let files = words(&["envoy.yaml", "envoy two.yaml"]);
    assert_eq!(values("blanks", &["--watch", "envoy"]), files);
    let url = ["--ready", "http", ":", "//localhost", ":", "80/", "start_this"];
    assert_eq!(values("url", &url), words(&["start_this_envoy"]));
    let dashes = ["--", "start_this"];
    assert_eq!(values("dashes", &dashes), words(&["start_this_envoy"]));
}
