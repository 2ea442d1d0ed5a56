//! Exit codes as container engines report them.

use libtest_mimic::Trial;
use support::container::Engine;
use support::docker::{Container, Run, images};
use support::{podman, probe};

use crate::needs::{Needs, trial};

/// The trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("docker::statuses", Needs::Docker, || statuses(Engine::Docker)),
        trial("podman::statuses", Needs::Podman, || statuses(Engine::Podman)),
    ]
}

/// How the target ends, and what `inspect` must say. Signals are numbers: 6 is SIGABRT, 34 and 64
/// are the first and the last real-time one.
const ENDS: [(&str, i32); 20] = [
    ("exit=0", 0),
    ("exit=1", 1),
    ("exit=2", 2),
    ("exit=42", 42),
    ("exit=125", 125),
    ("exit=126", 126),
    ("exit=127", 127),
    ("exit=128", 128),
    ("exit=130", 130),
    ("exit=137", 137),
    ("exit=143", 143),
    ("exit=255", 255),
    ("die=HUP", 129),
    ("die=INT", 130),
    ("die=6", 134),
    ("die=KILL", 137),
    ("die=SEGV", 139),
    ("die=TERM", 143),
    ("die=34", 162),
    ("die=64", 192),
];

fn statuses(engine: Engine) {
    let image = match engine {
        Engine::Docker => images().restarter.clone(),
        Engine::Podman => podman::image(&images().restarter, "hot-restarter"),
    };
    let run = |end: &str| -> Container {
        let run = Run::of(&image).by(engine).option("--network=none").mount(&probe(), "/probe:ro");
        run.arguments(&["/probe", end]).start()
    };
    for (end, expected) in ENDS {
        let container = run(end);
        assert_eq!(container.wait(), expected, "{engine:?} {end}: {}", container.logs());
        assert_eq!(container.inspect("{{.State.OOMKilled}}"), "false", "{engine:?} {end}");
    }
    // Without a target there is none to pass on: the engine reports ours.
    let (none, missing) = (Run::of(&image).by(engine), Run::of(&image).by(engine));
    assert_eq!(none.option("--network=none").start().wait(), 2);
    assert_eq!(missing.option("--network=none").arguments(&["/no/such"]).start().wait(), 127);
}
