//! The finished file: static, hardened, small, and enough by itself in an image.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use libtest_mimic::Trial;
use support::docker::{Run, images};
use support::{probe, project, restarter};

use crate::needs::{Needs, trial};

/// The largest that it may be, in bytes: it is paid for in every image.
const LARGEST: usize = 1_000_000;

const AARCH64: &str = "target/aarch64-unknown-linux-musl/release/hot-restarter";
const QEMU: &str = "qemu-aarch64-static";

/// The trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("image::file", Needs::Nothing, for_this_machine),
        where_there_is_aarch64("image::file_for_aarch64", for_aarch64),
        where_there_is_aarch64("image::runs_on_aarch64", runs_on_aarch64),
        trial("image::from_scratch", Needs::Docker, from_scratch),
    ]
}

/// A trial of the file for aarch64, which not everybody has built, nor can run.
fn where_there_is_aarch64(name: &str, run: fn()) -> Trial {
    let there = aarch64().exists() && on_path(QEMU);
    let must_run = env::var("CI").is_ok_and(|value| value == "true");
    trial(name, Needs::Nothing, run).with_kind("aarch64").with_ignored_flag(!there && !must_run)
}

fn aarch64() -> PathBuf {
    project().join(AARCH64)
}

fn on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).exists())
}

/// Independent of its position as well, which Rust's static binaries for aarch64 are not.
fn for_this_machine() {
    let path = restarter();
    let bytes = read(&path);
    let elf = Elf(&bytes);
    elf.check();
    assert_eq!(elf.half(16), ET_DYN, "it is independent of its position");
    let dynamic = elf.dynamic();
    assert!(dynamic.iter().any(|(tag, value)| *tag == DT_FLAGS_1 && value & DF_1_PIE != 0));
    if on_path("file") {
        let said = Command::new("file").arg("--brief").arg(&path).output().expect("file runs");
        let said = String::from_utf8_lossy(&said.stdout);
        assert!(said.contains("static-pie linked") && said.contains(", stripped"), "{said}");
    }
}

fn for_aarch64() {
    Elf(&read(&aarch64())).check();
}

fn read(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(bytes.len() <= LARGEST, "{} has {} bytes", path.display(), bytes.len());
    bytes
}

const ET_DYN: u64 = 3;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const PT_GNU_STACK: u64 = 0x6474_e551;
const PT_GNU_RELRO: u64 = 0x6474_e552;
const PF_X: u64 = 1;
const PF_W: u64 = 2;
const DT_NEEDED: u64 = 1;
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const DF_1_PIE: u64 = 0x0800_0000;
const SHT_SYMTAB: u64 = 2;

/// An ELF file of 64 bits, little endian; see elf(5) for the offsets.
struct Elf<'a>(&'a [u8]);

/// What a program header says of a segment.
struct Segment {
    kind: u64,
    flags: u64,
    offset: usize,
    size: usize,
}

impl Elf<'_> {
    /// Static, read-only after relocation, no executable stack, stripped.
    fn check(&self) {
        let segments = self.segments();
        let find = |kind| segments.iter().find(|segment| segment.kind == kind);
        assert!(find(PT_INTERP).is_none(), "it needs an interpreter");
        assert!(find(PT_GNU_RELRO).is_some(), "it has no RELRO");
        let stack = find(PT_GNU_STACK).expect("it says what its stack may do");
        assert_eq!(stack.flags & PF_X, 0, "its stack is executable");
        let both = |segment: &Segment| segment.flags & PF_W != 0 && segment.flags & PF_X != 0;
        assert!(!segments.iter().any(both), "a segment can be written and executed");
        assert!(self.dynamic().iter().all(|(tag, _)| *tag != DT_NEEDED), "it needs a library");
        assert!(self.sections().all(|kind| kind != SHT_SYMTAB), "it is not stripped");
    }

    fn number(&self, at: usize, bytes: usize) -> u64 {
        self.0[at..at + bytes].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn half(&self, at: usize) -> u64 {
        self.number(at, 2)
    }

    fn word(&self, at: usize) -> u64 {
        self.number(at, 4)
    }

    fn place(&self, at: usize, bytes: usize) -> usize {
        self.number(at, bytes).try_into().expect("it fits into memory")
    }

    fn segments(&self) -> Vec<Segment> {
        let (table, size, count) = (self.place(32, 8), self.place(54, 2), self.place(56, 2));
        let at = (0..count).map(|index| table + index * size);
        at.map(|at| Segment {
            kind: self.word(at),
            flags: self.word(at + 4),
            offset: self.place(at + 8, 8),
            size: self.place(at + 32, 8),
        })
        .collect()
    }

    /// The types of the sections.
    fn sections(&self) -> impl Iterator<Item = u64> {
        let (table, size, count) = (self.place(40, 8), self.place(58, 2), self.place(60, 2));
        (0..count).map(move |index| self.word(table + index * size + 4))
    }

    /// Tags and values of the dynamic section, which a file that is not relocated lacks.
    fn dynamic(&self) -> Vec<(u64, u64)> {
        let segments = self.segments().into_iter();
        segments
            .filter(|segment| segment.kind == PT_DYNAMIC)
            .flat_map(|segment| (segment.offset..segment.offset + segment.size).step_by(16))
            .map(|at| (self.number(at, 8), self.number(at + 8, 8)))
            .collect()
    }
}

/// The emulator hands system calls on, so what is tried is what depends on the machine: numbers
/// of system calls, layouts, and signals.
fn runs_on_aarch64() {
    let run = |arguments: &[&str]| -> Output {
        let mut command = Command::new(QEMU);
        command.arg(aarch64()).args(arguments).output().expect("the emulator runs")
    };
    let version = run(&["--version"]);
    assert!(version.stdout.starts_with(b"hot-restarter "), "{version:?}");
    for code in [0, 3, 255] {
        let ended = run(&["sh", "-c", &format!("exit {code}")]);
        assert_eq!(ended.status.code(), Some(code), "{ended:?}");
    }
    // Epoch 1 stops us, so that both a restart and a stop have gone by the signals it sends.
    let text = "if [ $RESTART_EPOCH = 0 ]; then kill -HUP $PPID; else kill -TERM $PPID; fi
        exec sleep 60";
    let stopped = run(&["--ready=none", "sh", "-c", text]);
    assert_eq!(stopped.status.code(), Some(0), "{stopped:?}");
}

/// An image that holds nothing but us, and is its own target; and one that holds a target beside.
fn from_scratch() {
    let alone = Run::of(&images().restarter);
    let container = alone.arguments(&["/hot-restarter", "--version"]).start();
    assert_eq!(container.wait(), 0, "{}", container.logs());
    container.await_log(concat!("hot-restarter ", env!("CARGO_PKG_VERSION")));

    let with_target = Run::of(&images().restarter).mount(&probe(), "/probe:ro");
    let container = with_target.arguments(&["/probe", "say=alone", "wait"]).start();
    container.await_log("alone");
    container.kill("HUP");
    container.await_log("ready epoch=1");
    assert_eq!(container.stop(), 0, "{}", container.logs());
}
