//! Every file of every corpus, on any toolchain.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use fuzz::TARGETS;
use fuzz::parsers::{PARSERS, WITHOUT};

/// What is longer would take Miri minutes.
const MIRI_LIMIT: usize = 400;

#[test]
fn every_corpus_keeps_the_promises() {
    // Miri knows no file that is opened without waiting and no date, and takes minutes for a command line and
    // for a buffer of 4096 bytes that is searched again and again.
    let beyond_miri = ["shared_memory", "command_line", "check_output", "log_line"];
    for (name, target) in TARGETS.iter().filter(|it| !cfg!(miri) || !beyond_miri.contains(&it.0)) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        let mut files = 0;
        for entry in fs::read_dir(&corpus).expect("a corpus for each target") {
            let path = entry.expect("an entry").path();
            let data = fs::read(&path).expect("a file");
            files += 1;
            if cfg!(miri) && data.len() > MIRI_LIMIT {
                continue;
            }
            // Shown only when the target panics.
            println!("{}", path.display());
            target(&data);
        }
        assert!(files > 0, "{} is empty", corpus.display());
    }
}

#[test]
fn no_target_is_forgotten() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    for folder in ["corpus", "fuzz_targets"] {
        let entries = fs::read_dir(here.join(folder)).expect("a folder");
        let found: BTreeSet<_> = entries
            .map(|entry| entry.expect("an entry").path())
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .collect();
        assert_eq!(found, named, "{folder}");
    }
    let manifest = fs::read_to_string(here.join("Cargo.toml")).expect("the manifest");
    for name in named {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
    }
}

/// What takes text or bytes apart, in one way or another.
const SIGNS: [&str; 11] = [
    ".parse(",
    ".parse::<",
    "from_utf8",
    "from_str_radix",
    "split_ascii_whitespace",
    "serde_json::from",
    "httparse::",
    "split_once(",
    "strip_prefix(",
    "shell_words::",
    ".splitn(",
];

/// The files below a folder that read what others have written, by their paths from there.
fn readers(folder: &Path, name: &str, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
        let own = entry.file_name().to_str().expect("a name of ours").to_owned();
        let name = if name.is_empty() { own.clone() } else { format!("{name}/{own}") };
        if entry.path().is_dir() {
            if own != "tests" {
                readers(&entry.path(), &name, found);
            }
        } else if own != "tests.rs" {
            let text = fs::read_to_string(entry.path()).expect("a file");
            let program = text.split("#[cfg(test)]").next().unwrap_or_default();
            if SIGNS.iter().any(|sign| program.contains(sign)) {
                found.insert(name);
            }
        }
    }
}

#[test]
fn no_parser_is_forgotten() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src");
    let mut found = BTreeSet::new();
    readers(&source, "", &mut found);
    // The control: one that is known to read is found.
    assert!(found.contains("procfs.rs"), "{found:?}");
    for name in &found {
        assert!(PARSERS.iter().any(|(known, _)| known == name), "{name} has no target");
    }
    let targets: BTreeSet<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    let used: BTreeSet<&str> = PARSERS.iter().flat_map(|(_, targets)| *targets).copied().collect();
    assert_eq!(targets, used, "every target is for something, and there is each that is named");
    for (name, _) in PARSERS {
        assert!(source.join(name).is_file(), "{name} is gone");
    }
    for (name, _) in WITHOUT {
        assert!(source.join(name).is_file(), "{name} is gone");
    }
}
