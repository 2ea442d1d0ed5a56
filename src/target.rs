//! The target: from the words of the command line to a process, or to one clear sentence.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use anyhow::{Context, Result};

use crate::exit::Exit;
use crate::supervisor::{Pid, StartFailure};
use crate::sys::{Inherited, Launch, LaunchError, launch};

/// Where programs are looked up when the environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The variable by which a target knows its epoch.
const EPOCH_VARIABLE: &str = "RESTART_EPOCH";
/// What becomes the epoch's number in an argument.
const EPOCH_PLACE: &[u8] = b"$(RESTART_EPOCH)";

/// The program that is supervised, ready to be started any number of times.
#[derive(Debug)]
pub struct Target {
    words: Vec<OsString>,
    candidates: Vec<CString>,
    /// All but [`EPOCH_VARIABLE`], as `NAME=value`.
    environment: Vec<CString>,
    inherited: Inherited,
}

impl Target {
    /// The target of these words, the program first, which are not empty.
    pub fn new(
        words: Vec<OsString>,
        environment: impl Iterator<Item = (OsString, OsString)>,
        inherited: Inherited,
    ) -> Result<Self> {
        let program = words.first().context("no program")?;
        let mut path = OsString::from(DEFAULT_PATH);
        let mut variables = Vec::new();
        for (name, value) in environment {
            if name == EPOCH_VARIABLE {
                continue;
            }
            if name == "PATH" {
                path.clone_from(&value);
            }
            let mut variable = name.into_vec();
            variable.push(b'=');
            variable.extend(value.into_vec());
            variables.push(CString::new(variable).context("a variable holds a zero byte")?);
        }
        let candidates = candidates(program, &path)?;
        Ok(Self { words, candidates, environment: variables, inherited })
    }

    /// The words that it is started with, the program first.
    pub fn words(&self) -> &[OsString] {
        &self.words
    }

    /// Starts it as an epoch; with a terminal, in that terminal's foreground.
    pub fn start(&self, epoch: u32, terminal: Option<RawFd>) -> Result<Pid, StartFailure> {
        let number = epoch.to_string();
        let words = self.words.iter().enumerate().map(|(index, word)| match index {
            0 => word.as_bytes().to_vec(),
            _ => replace(word.as_bytes(), EPOCH_PLACE, number.as_bytes()),
        });
        let arguments: Result<Vec<_>, _> = words.map(CString::new).collect();
        let arguments = arguments.expect("arguments come from C strings");
        let mut environment = self.environment.clone();
        let variable = CString::new(format!("{EPOCH_VARIABLE}={number}"));
        environment.push(variable.expect("a number holds no zero byte"));
        launch(&Launch {
            candidates: &self.candidates,
            arguments: &arguments,
            environment: &environment,
            inherited: self.inherited,
            terminal,
        })
        .map_err(|error| self.explain(&error))
    }

    fn explain(&self, error: &LaunchError) -> StartFailure {
        let (exit, why) = match error {
            LaunchError::Fork(error) => (Exit::Failure, format!("cannot fork: {error}")),
            LaunchError::Execute(error) => {
                let paths = self.candidates.iter();
                let paths = paths.map(|path| Path::new(OsStr::from_bytes(path.as_bytes())));
                // The first that is there at all, be it a link to nothing.
                let found = paths.into_iter().find(|path| path.symlink_metadata().is_ok());
                explain_execute(&self.words[0], found, error)
            }
        };
        StartFailure { exit, why }
    }
}

fn explain_execute(program: &OsStr, found: Option<&Path>, error: &io::Error) -> (Exit, String) {
    let program = program.display();
    let Some(path) = found else {
        if error.raw_os_error() == Some(libc::EACCES) {
            let why = format!("{program} cannot be reached: this user may not enter its folder");
            return (Exit::CannotExecute, why);
        }
        let why = if program.to_string().contains('/') {
            format!("{program} does not exist")
        } else {
            format!("{program} does not exist in PATH or in the working directory")
        };
        return (Exit::NotFound, why);
    };
    let file = path.display();
    if let (Ok(to), false) = (path.read_link(), path.exists())
        && error.raw_os_error() == Some(libc::ENOENT)
    {
        let why = format!("{file} is a link to {}, which does not exist", to.display());
        return (Exit::NotFound, why);
    }
    let why = match error.raw_os_error() {
        _ if path.is_dir() => format!("{file} is a directory"),
        Some(libc::EACCES) => {
            format!("{file} is not executable by this user, or its file system is mounted noexec")
        }
        Some(libc::ENOEXEC) => match head(path).as_deref() {
            Some(b"") => format!("{file} is empty"),
            Some(head) if head.starts_with(b"\x7fELF") => {
                format!("{file} is damaged, or a program for another kind of machine")
            }
            _ => format!("{file} is no program and has no #! line; begin it with #!/bin/sh"),
        },
        Some(libc::ENOENT) => match head(path).as_deref().and_then(interpreter) {
            Some(interpreter) => {
                format!("{file} needs {interpreter}, which does not exist")
            }
            None => format!(
                "{file} is there, but not the dynamic loader that it needs; link it statically or \
                 add its libraries to the image"
            ),
        },
        _ => format!("{file} cannot be executed: {error}"),
    };
    (Exit::CannotExecute, why)
}

/// How a file begins.
fn head(path: &Path) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path).ok()?.take(256).read_to_end(&mut head).ok()?;
    Some(head)
}

/// What a script's `#!` line names.
fn interpreter(head: &[u8]) -> Option<String> {
    let line = head.split(|byte| *byte == b'\n').next()?.strip_prefix(b"#!")?;
    let line = String::from_utf8_lossy(line);
    // A script that was written on Windows asks for an interpreter whose name ends in "\r".
    let name = line.trim_matches([' ', '\t']).split([' ', '\t']).next()?;
    Some(name.escape_default().to_string())
}

/// The files that a program's name stands for. A name without a slash is looked up in PATH, and
/// then in the working directory, where the restarter that we replace finds its start script.
fn candidates(program: &OsStr, path: &OsStr) -> Result<Vec<CString>> {
    let paths = if program.as_bytes().contains(&b'/') {
        vec![program.to_owned().into_vec()]
    } else {
        let folders = std::env::split_paths(path);
        let in_folders = folders.map(|folder| folder.join(program).into_os_string().into_vec());
        let here = Path::new(".").join(program).into_os_string().into_vec();
        in_folders.chain([here]).collect()
    };
    paths
        .into_iter()
        .map(|path| CString::new(path).context("the program's name holds a zero byte"))
        .collect()
}

fn replace(word: &[u8], place: &[u8], value: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some(at) = rest.windows(place.len()).position(|window| window == place) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(value);
        rest = &rest[at + place.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_takes_its_place_in_an_argument() {
        let replaced = |word: &str| {
            String::from_utf8(replace(word.as_bytes(), EPOCH_PLACE, b"12")).expect("text")
        };
        assert_eq!(replaced("$(RESTART_EPOCH)"), "12");
        assert_eq!(replaced("a-$(RESTART_EPOCH)-$(RESTART_EPOCH)"), "a-12-12");
        for same in ["", "$(RESTART_EPOC", "$RESTART_EPOCH", "$(restart_epoch)"] {
            assert_eq!(replaced(same), same);
        }
    }

    #[test]
    fn a_name_without_a_slash_is_looked_up() {
        let found = |program: &str, path: &str| -> Vec<String> {
            candidates(OsStr::new(program), OsStr::new(path))
                .expect("no zero byte")
                .into_iter()
                .map(|path| path.into_string().expect("text"))
                .collect()
        };
        assert_eq!(found("a", "/x:/y"), ["/x/a", "/y/a", "./a"]);
        assert_eq!(found("./a", "/x:/y"), ["./a"]);
        assert_eq!(found("a", ""), ["a", "./a"]);
    }

    #[test]
    fn a_carriage_return_in_a_script_is_shown() {
        assert_eq!(interpreter(b"#! /bin/sh\r\nexit\n").as_deref(), Some("/bin/sh\\r"));
        assert_eq!(interpreter(b"exit\n"), None);
    }
}
