//! Pods by podman, which starts them as a kubelet does: from the same files, by runc.

use libtest_mimic::Trial;
use support::control::Answer;
use support::docker::images;
use support::podman::{Container, POD, Pod, image, podman};
use support::scene::Scene;
use support::{eventually, probe};

use crate::needs::{Needs, trial};

/// The trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("podman::end_of_a_pod", Needs::Podman, end_of_a_pod),
        trial("podman::two_restarters", Needs::Podman, two_restarters),
        trial("podman::one_socket_for_two", Needs::Podman, one_socket_for_two),
    ]
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

/// Two containers with a restarter each, of one user who cannot write to a root. They share
/// `/dev/shm`, and the lines of YAML that make the difference are these.
fn pair(first: &str, second: &str) -> Pod {
    let image = image(&images().restarter, "hot-restarter");
    let container = |name, more| {
        format!(
            "  - name: {name}\n    \
                 image: {image}\n    \
                 args: [/probe, say={name}, wait]\n    \
                 securityContext: {{ readOnlyRootFilesystem: true }}\n    \
                 {more}\n    \
                 volumeMounts: [{{ name: probe, mountPath: /probe }}]\n",
        )
    };
    let pod = Pod::play(&format!(
        "apiVersion: v1\n\
         kind: Pod\n\
         metadata: {{ name: {POD} }}\n\
         spec:\n  \
           restartPolicy: Never\n  \
           securityContext: {{ runAsUser: 101, runAsGroup: 101 }}\n  \
           volumes: [{{ name: probe, hostPath: {{ path: {} }} }}]\n  \
           containers:\n{}{}",
        probe().display(),
        container("first", first),
        container("second", second),
    ));
    for name in NAMES {
        pod.container(name).await_log("ready epoch=0");
    }
    pod
}

const NAMES: [&str; 2] = ["first", "second"];

/// Each client reaches the restarter of its own container, where each has a socket of its own: one
/// by the variable, and the other one by nothing at all.
fn two_restarters() {
    let variable = "env: [{ name: HOT_RESTARTER_CONTROL, value: /dev/shm/hot-restarter-own.sock }]";
    let pod = pair(variable, "env: []");
    let [first, second] = NAMES.map(|name| pod.container(name));
    let told = first.send(&["reload", "--wait"]);
    assert!(told.code == 0 && told.out.starts_with("epoch 1 ready after "), "{told:?}");
    let other = second.send(&["status"]);
    assert!(other.code == 0 && other.out.contains("\nrestarts: 0 done"), "{other:?}");
    // Who is named is asked, whatever container it is in.
    let named = second.send(&["health", "--control", "/dev/shm/hot-restarter-own.sock"]);
    assert_eq!(named, healthy());

    // As kubelet starts it again: `/dev/shm` is the pod's, and has the socket of who was killed.
    first.kill("KILL");
    assert_eq!(first.wait(), 128 + libc::SIGKILL);
    podman(&["start", first.name()]);
    eventually("there is a socket again", || match first.send(&["health"]) {
        told if told == healthy() => Ok(()),
        told => Err(told),
    });
    // Not before: a pod goes with the last of its containers. The kernel may end the client with its.
    second.send(&["stop"]);
    assert_eq!(second.wait(), 0, "{}", second.logs());
    assert_eq!(first.send(&["health"]), healthy());
    for name in NAMES {
        assert!(!pod.container(name).logs().contains("Z warn "), "{}", pod.container(name).logs());
    }
}

/// Why they need them: who comes second takes the place of nobody who lives, and goes on without. A
/// client of its does not take the other one for it.
fn one_socket_for_two() {
    let pod = pair("env: []", "env: []");
    let warned = |container: &Container| container.logs().contains("--send is not listened to");
    let (without, with): (Vec<_>, Vec<_>) =
        NAMES.iter().map(|name| pod.container(name)).partition(|container| warned(container));
    let ([without], [with]) = (&without[..], &with[..]) else { panic!("{without:?}, {with:?}") };
    without.await_log("another process listens there; give each restarter a --control of its own");
    let unheard = without.send(&["stop"]);
    assert!(unheard.code == 3 && unheard.err.contains("of another container"), "{unheard:?}");
    assert_eq!(with.send(&["health"]), healthy());
    for container in [without, with] {
        assert_eq!(container.inspect("{{.State.Running}}"), "true");
    }
}

fn healthy() -> Answer {
    Answer { code: 0, out: "healthy\n".to_owned(), err: String::new() }
}
