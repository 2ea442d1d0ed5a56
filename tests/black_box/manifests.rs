//! The manifests of docker/kubernetes, as kustomize renders them: what Kubernetes' schemas and
//! tests/kubernetes/check.py say of them.

use std::process::Command;

use libtest_mimic::Trial;
use support::{envoy, project, restarter};

use crate::needs::{Needs, trial};

/// The trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("manifests::fit_together", Needs::Kubectl, fit_together),
        trial("manifests::mistakes_are_found", Needs::Kubectl, || {
            drop(said(script("mistakes.py")));
        }),
    ]
}

fn fit_together() {
    let mut check = script("check.py");
    check.arg("--binary").arg(restarter()).arg("--envoy").arg(envoy::fetch());
    said(check);
}

/// One of the scripts beside them.
pub(crate) fn script(name: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(project().join("tests/kubernetes").join(name));
    command
}

/// What a script that succeeds has printed.
pub(crate) fn said(mut script: Command) -> String {
    let output = script.output().expect("python3 runs");
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{}:\n{stderr}{stdout}", output.status);
    stdout
}
