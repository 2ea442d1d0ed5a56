//! Who is measured: we, and what Debian packages, as far as it is installed.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use support::scene::Scene;
use support::{probe, restarter};

/// The variable that names one more: a program and its first arguments, separated by spaces.
const VARIABLE: &str = "BENCH_PEER";
const S6: &str = "s6-svscan";

/// A program that starts another one.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its column.
    pub(crate) name: String,
    kind: Kind,
    /// The words before that of the program that it starts.
    words: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ours,
    Init,
    /// Its target is the `run` of a service in a folder, and it starts that again when it ends.
    Scanner,
    /// Whatever it may be.
    Given,
}

impl Peer {
    /// Whether this is us.
    pub(crate) fn is_ours(&self) -> bool {
        self.kind == Kind::Ours
    }

    /// Whether it may know hot restarts.
    pub(crate) fn may_restart(&self) -> bool {
        matches!(self.kind, Kind::Ours | Kind::Given)
    }

    /// Whether it starts a target again that ends, rather than end as well.
    pub(crate) fn starts_again(&self) -> bool {
        self.kind == Kind::Scanner
    }

    /// The words that execute it over the probe, which has its steps in its environment; options are
    /// for ourselves alone.
    pub(crate) fn command(&self, scene: &Scene, options: &[&str], number: u32) -> Vec<String> {
        let mut words = self.words.clone();
        let target = probe().to_str().expect("the path of the probe is text").to_owned();
        match self.kind {
            Kind::Ours => words.extend(options.iter().map(|option| (*option).to_owned())),
            Kind::Init | Kind::Given => {}
            Kind::Scanner => {
                let folder = scene.path(&format!("scan-{number}"));
                let service = folder.join("service");
                fs::create_dir_all(&service).expect("a folder of ours");
                symlink(&target, service.join("run")).expect("a folder of ours");
                words.push(folder.to_str().expect("a path of ours is text").to_owned());
                return words;
            }
        }
        words.push(target);
        words
    }

    /// The file that is executed.
    pub(crate) fn file(&self) -> &Path {
        Path::new(&self.words[0])
    }
}

/// Ourselves first; then the others; then what `BENCH_PEER` says.
pub(crate) fn all() -> Vec<Peer> {
    let own = restarter().to_str().expect("our path is text").to_owned();
    let name = "hot-restarter".to_owned();
    let mut peers = vec![Peer { name, kind: Kind::Ours, words: vec![own] }];
    let packaged = [
        ("tini-static", "/usr/bin/tini-static --", Kind::Init),
        ("tini", "/usr/bin/tini --", Kind::Init),
        ("dumb-init", "/usr/bin/dumb-init --", Kind::Init),
        ("catatonit", "/usr/bin/catatonit --", Kind::Init),
        (S6, "/usr/bin/s6-svscan", Kind::Scanner),
    ];
    for (name, line, kind) in packaged {
        let words = split(line);
        if Path::new(&words[0]).exists() {
            peers.push(Peer { name: name.into(), kind, words });
        } else {
            eprintln!("{name} is not installed, so it is left out");
        }
    }
    if let Ok(line) = env::var(VARIABLE) {
        let mut words = split(&line);
        let program = words.first().unwrap_or_else(|| panic!("{VARIABLE} names no program"));
        let found = find(program).unwrap_or_else(|| panic!("{VARIABLE}: {program} is not found"));
        found.to_str().expect("its path is text").clone_into(&mut words[0]);
        peers.push(Peer { name: VARIABLE.into(), kind: Kind::Given, words });
    }
    peers
}

fn split(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// A program, looked up in PATH where it has no slash.
fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return fs::canonicalize(program).ok();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.exists())
}
