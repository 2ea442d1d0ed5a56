//! Pods by podman, which starts them as a kubelet does: from the same files, by runc.

use libtest_mimic::Trial;
use support::docker::images;
use support::podman::{POD, Pod, image};
use support::probe;
use support::scene::Scene;

use crate::needs::{Needs, trial};

/// The trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("podman::end_of_a_pod", Needs::Podman, end_of_a_pod)]
}

/// Two containers, of which each has its own restarter as PID 1; `pod stop` ends them both in time.
fn end_of_a_pod() {
    let scene = Scene::new();
    let image = image(&images().restarter, "hot-restarter");
    let container = |name| {
        format!(
            "  - name: {name}\n    \
                 image: {image}\n    \
                 args: [/probe, to=/scene/journal, 'exit-on=TERM:0', report, wait]\n    \
                 volumeMounts:\n    \
                 - {{ name: probe, mountPath: /probe }}\n    \
                 - {{ name: scene, mountPath: /scene }}\n",
        )
    };
    let yaml = format!(
        "apiVersion: v1\n\
         kind: Pod\n\
         metadata: {{ name: {POD} }}\n\
         spec:\n  \
           restartPolicy: Never\n  \
           volumes:\n  \
           - {{ name: probe, hostPath: {{ path: {} }} }}\n  \
           - {{ name: scene, hostPath: {{ path: {} }} }}\n  \
           containers:\n{}{}",
        probe().display(),
        scene.folder().display(),
        container("first"),
        container("second"),
    );
    let pod = Pod::play(&yaml);
    let journal = scene.journal();
    for probe in journal.await_ready(2) {
        assert_eq!(journal.await_report(probe).number("ppid"), 1, "the restarter is PID 1");
    }
    pod.stop(20);
    for name in ["first", "second"] {
        let container = pod.container(name);
        assert_eq!(container.wait(), 0, "{name}: {}", container.logs());
    }
}
