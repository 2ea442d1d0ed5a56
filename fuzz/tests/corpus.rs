//! Every file of every corpus, on any toolchain.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use fuzz::TARGETS;

#[test]
fn every_corpus_keeps_the_promises() {
    for (name, target) in TARGETS {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        let mut files = 0;
        for entry in fs::read_dir(&corpus).expect("a corpus for each target") {
            let path = entry.expect("an entry").path();
            // Shown only when the target panics.
            println!("{}", path.display());
            target(&fs::read(&path).expect("a file"));
            files += 1;
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
