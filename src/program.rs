//! Programs: from the words of the command line to a process, or to one clear sentence.

use std::ffi::{CString, OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::stat::stat;
use nix::unistd::{AccessFlags, access};

use crate::control::wire::Command;
use crate::exit::Exit;
use crate::notify;
use crate::supervisor::{Pid, StartFailure};
use crate::sys::{self, Inherited, Launch, LaunchError, launch};

/// Where programs are looked up when the environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The variable by which a program knows the epoch that it is started for.
const EPOCH_VARIABLE: &str = "RESTART_EPOCH";
/// The variable by which a probe knows the process that it is about.
const PID_VARIABLE: &str = "EPOCH_PID";
/// What becomes the epoch's number in an argument.
const EPOCH_PLACE: &[u8] = b"$(RESTART_EPOCH)";

/// A program and its arguments, to be started any number of times.
#[derive(Debug)]
pub struct Program {
    words: Vec<OsString>,
    candidates: Vec<CString>,
}

/// What every program is started with.
#[derive(Debug)]
pub struct Launcher {
    path: OsString,
    /// All but those that we set ourselves and those that are meant for us, as `NAME=value`.
    environment: Vec<CString>,
    inherited: Inherited,
}

/// Where the output of a program beside the epochs goes. It reads nothing.
#[derive(Clone, Copy, Debug)]
pub enum Output<'a> {
    /// Into this, which is above standard error.
    Pipe(BorrowedFd<'a>),
    /// To our standard error, if we have one.
    Log,
    /// Nowhere.
    Nowhere,
}

impl Launcher {
    /// Starts programs with this environment, and with the mask and dispositions that we were
    /// started with.
    pub fn new(
        environment: impl Iterator<Item = (OsString, OsString)>,
        inherited: Inherited,
    ) -> Result<Self> {
        let mut path = OsString::from(DEFAULT_PATH);
        let mut variables = Vec::new();
        for (name, value) in environment {
            // Of a variable that is there twice many programs see the first.
            if name == EPOCH_VARIABLE || name == PID_VARIABLE {
                continue;
            }
            if notify::VARIABLES.iter().any(|ours| name == *ours) {
                continue;
            }
            if name == "PATH" {
                path.clone_from(&value);
            }
            variables.push(variable(&name, value)?);
        }
        Ok(Self { path, environment: variables, inherited })
    }

    /// The program of these words, its name first, which are not empty.
    pub fn program(&self, words: Vec<OsString>) -> Result<Program> {
        let candidates = candidates(words.first().context("no program")?, &self.path)?;
        Ok(Program { words, candidates })
    }

    /// Starts a program as an epoch; with a terminal, in that terminal's foreground.
    pub fn start(
        &self,
        program: &Program,
        epoch: u32,
        terminal: Option<RawFd>,
    ) -> Result<Pid, StartFailure> {
        self.launch(program, epoch, None, terminal, [None; 3])
    }

    /// Runs a program beside the epochs, about this one, and about its leader where it has one.
    pub fn run(
        &self,
        program: &Program,
        epoch: u32,
        leader: Option<Pid>,
        output: Output<'_>,
    ) -> Result<Pid, StartFailure> {
        let null = OpenOptions::new().read(true).write(true).open("/dev/null");
        // Without /dev/null it has what we have.
        let null = null.map(OwnedFd::from).and_then(sys::above_stdio).ok();
        let null = null.as_ref().map(AsRawFd::as_raw_fd);
        let has_stderr = sys::file_type(libc::STDERR_FILENO).is_ok();
        let output = match output {
            Output::Pipe(pipe) => Some(pipe.as_raw_fd()),
            Output::Log if has_stderr => Some(libc::STDERR_FILENO),
            Output::Log | Output::Nowhere => null,
        };
        self.launch(program, epoch, leader, None, [null, output, output])
    }

    fn launch(
        &self,
        program: &Program,
        epoch: u32,
        leader: Option<Pid>,
        terminal: Option<RawFd>,
        stdio: [Option<RawFd>; 3],
    ) -> Result<Pid, StartFailure> {
        let number = epoch.to_string();
        let words = program.words.iter().enumerate().map(|(index, word)| match index {
            0 => word.as_bytes().to_vec(),
            _ => replace(word.as_bytes(), EPOCH_PLACE, number.as_bytes()),
        });
        let arguments: Result<Vec<_>, _> = words.map(CString::new).collect();
        let arguments = arguments.expect("arguments come from C strings");
        let mut environment = self.environment.clone();
        let pid = leader.map(|leader| (PID_VARIABLE, leader.to_string()));
        for (name, value) in [(EPOCH_VARIABLE, number)].into_iter().chain(pid) {
            let variable = variable(OsStr::new(name), value.into());
            environment.push(variable.expect("a number holds no zero byte"));
        }
        launch(&Launch {
            candidates: &program.candidates,
            arguments: &arguments,
            environment: &environment,
            inherited: self.inherited,
            terminal,
            stdio,
        })
        .map_err(|error| program.explain(&error))
    }
}

fn variable(name: &OsStr, value: OsString) -> Result<CString> {
    let mut variable = name.as_bytes().to_vec();
    variable.push(b'=');
    variable.extend(value.into_vec());
    CString::new(variable).context("a variable holds a zero byte")
}

impl Program {
    /// The words that it is started with, its name first.
    pub fn words(&self) -> &[OsString] {
        &self.words
    }

    /// Whether it could be executed, as far as that can be told without doing so.
    pub fn find(&self) -> Result<(), StartFailure> {
        let mut found = None;
        for path in self.paths() {
            match may_execute(&path) {
                Ok(()) => return Ok(()),
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(errno) => found = found.or(Some(errno)),
            }
        }
        let errno = found.unwrap_or(Errno::ENOENT);
        Err(self.explain(&LaunchError::Execute(errno.into())))
    }

    fn paths(&self) -> impl Iterator<Item = PathBuf> {
        self.candidates.iter().map(|path| PathBuf::from(OsStr::from_bytes(path.as_bytes())))
    }

    fn explain(&self, error: &LaunchError) -> StartFailure {
        let (exit, why) = match error {
            LaunchError::Fork(error) => (Exit::Failure, format!("cannot fork: {error}")),
            LaunchError::Prepare(what, error) => (Exit::Failure, format!("cannot {what}: {error}")),
            LaunchError::Execute(error) => {
                // The first that is there at all, be it a link to nothing.
                let found = self.paths().find(|path| path.symlink_metadata().is_ok());
                explain_execute(&self.words[0], found.as_deref(), error)
            }
        };
        StartFailure { exit, why }
    }
}

/// Whether a file is there and may be executed; EACCES for what is no file.
fn may_execute(path: &Path) -> nix::Result<()> {
    let kind = stat(path)?.st_mode & libc::S_IFMT;
    if kind == libc::S_IFREG { access(path, AccessFlags::X_OK) } else { Err(Errno::EACCES) }
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
        } else if let Some(command) =
            Command::ALL.iter().find(|it| it.as_str() == program.to_string())
        {
            // As somebody types who has forgotten half of it.
            format!("{program} is no program; to ask a restarter that runs, --send {command}")
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

/// What a script's `#!` line names, as it is shown to a person.
pub fn interpreter(head: &[u8]) -> Option<String> {
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
