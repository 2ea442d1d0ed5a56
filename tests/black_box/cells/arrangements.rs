//! Where we run: who starts us, who signals us, and who is told our exit code.

use std::fs;
use std::path::PathBuf;

use support::container::Engine;
use support::docker::{Container, Run, images};
use support::journal::Journal;
use support::podman::{self, POD, Pod};
use support::scene::{Restarter, Scene};
use support::{namespace, probe, processes};

use crate::needs::Needs;

/// An arrangement.
#[derive(Debug)]
pub(super) struct Arrangement {
    /// The middle of its trials' names.
    pub(super) name: &'static str,
    /// What the page says of it.
    pub(super) what: &'static str,
    /// What the machine must have.
    pub(super) needs: Needs,
    /// Starts a restarter with these options and this target.
    pub(super) start: Start,
}

type Start = fn(&Scene, &[String], &[String]) -> Box<dyn Running>;

/// A restarter in its arrangement.
pub(super) trait Running {
    /// Has the runtime send it a signal.
    fn signal(&self, name: &str, number: i32);
    /// Its log.
    fn log(&self) -> String;
    /// Waits for its end; the exit code that the runtime tells.
    fn code(&mut self) -> i32;
    /// Fails where something was disturbed that is none of ours.
    fn is_all_well(&self) {}
}

/// Every arrangement.
pub(super) static ARRANGEMENTS: [Arrangement; 6] = [
    Arrangement {
        name: "docker",
        what: "PID 1 of `docker run`",
        needs: Needs::Docker,
        start: |scene, options, target| {
            let container = run(Engine::Docker, scene, options, target).start();
            Box::new(Contained { container, neighbour: None })
        },
    },
    Arrangement {
        name: "docker_init",
        what: "a child of tini, by `docker run --init`: it passes on every signal to us, and our \
               exit code to Docker",
        needs: Needs::Docker,
        start: |scene, options, target| {
            let container = run(Engine::Docker, scene, options, target).option("--init").start();
            Box::new(Contained { container, neighbour: None })
        },
    },
    Arrangement {
        name: "shared_pid",
        what: "a process among others, by `docker run --pid=container:NEIGHBOUR`: the neighbour's \
               init is PID 1, and none of its processes gets anything",
        needs: Needs::Docker,
        start: |scene, options, target| {
            let neighbour = Neighbour::beside(scene);
            let pid = format!("--pid=container:{}", neighbour.container.name());
            let container = run(Engine::Docker, scene, options, target).option(&pid).start();
            Box::new(Contained { container, neighbour: Some(neighbour) })
        },
    },
    Arrangement {
        name: "pod",
        what: "PID 1 of a container of a pod, by `podman kube play`",
        needs: Needs::Podman,
        start: |scene, options, target| Box::new(Podded(pod(scene, options, target))),
    },
    Arrangement {
        name: "namespace",
        what: "PID 1 of a plain PID namespace, by `unshare --pid --fork`",
        needs: Needs::Namespace,
        start: |scene, options, target| {
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            let setup = scene.wrapped_restarter(namespace::wrapper(), &options, target);
            Box::new(Plain { restarter: setup.start(), told: None })
        },
    },
    Arrangement {
        name: "shell",
        what: "a shell's child, without a namespace",
        needs: Needs::Nothing,
        start: |scene, options, target| {
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            let told = scene.path("exit-code");
            let script = format!("\"$@\"; echo $? > {}", told.display());
            let setup = scene.wrapped_restarter(&["sh", "-c", &script, "sh"], &options, target);
            Box::new(Plain { restarter: setup.start(), told: Some(told) })
        },
    },
];

/// A container of the restarter alone, in which the probe and the scene have the places that they
/// have outside.
fn run(engine: Engine, scene: &Scene, options: &[String], target: &[String]) -> Run {
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let target: Vec<&str> = target.iter().map(String::as_str).collect();
    let (name, value) = scene.mark();
    bare(scene).by(engine).variable(name, value).arguments(&options).arguments(&target)
}

fn bare(scene: &Scene) -> Run {
    let [program, folder] = [probe(), scene.folder().to_owned()];
    let run = Run::of(&images().restarter).option("--network=none");
    [program, folder].iter().fold(run, |run, path| run.mount(path, &path.display().to_string()))
}

/// A pod with the same in its only container. JSON is YAML as well.
fn pod(scene: &Scene, options: &[String], target: &[String]) -> Pod {
    let image = podman::image(&images().restarter, "hot-restarter");
    let words = |words: &[String]| {
        let words = words.iter().map(|word| format!("{word:?}"));
        words.collect::<Vec<_>>().join(", ")
    };
    let (name, value) = scene.mark();
    let yaml = format!(
        "apiVersion: v1\n\
         kind: Pod\n\
         metadata: {{ name: {POD} }}\n\
         spec:\n  \
           restartPolicy: Never\n  \
           containers:\n  \
           - name: restarter\n    \
             image: {image}\n    \
             args: [{}]\n    \
             env: [{{ name: {name}, value: {value} }}]\n    \
             volumeMounts:\n    \
             - {{ name: probe, mountPath: {probe} }}\n    \
             - {{ name: scene, mountPath: {value} }}\n  \
           volumes:\n  \
           - {{ name: probe, hostPath: {{ path: {probe} }} }}\n  \
           - {{ name: scene, hostPath: {{ path: {value} }} }}\n",
        words(&[options, target].concat()),
        probe = probe().display(),
    );
    Pod::play(&yaml)
}

/// In a container of docker.
struct Contained {
    container: Container,
    neighbour: Option<Neighbour>,
}

impl Running for Contained {
    fn signal(&self, name: &str, _: i32) {
        self.container.kill(name);
    }

    fn log(&self) -> String {
        self.container.logs()
    }

    fn code(&mut self) -> i32 {
        self.container.wait()
    }

    fn is_all_well(&self) {
        if let Some(neighbour) = &self.neighbour {
            neighbour.is_undisturbed();
        }
    }
}

/// In a container of a pod.
struct Podded(Pod);

impl Podded {
    fn container(&self) -> &Container {
        self.0.container("restarter")
    }
}

impl Running for Podded {
    fn signal(&self, name: &str, _: i32) {
        self.container().kill(name);
    }

    fn log(&self) -> String {
        self.container().logs()
    }

    fn code(&mut self) -> i32 {
        self.container().wait()
    }
}

/// Without a runtime.
struct Plain {
    restarter: Restarter,
    /// Where the shell writes our exit code, if there is one.
    told: Option<PathBuf>,
}

impl Running for Plain {
    fn signal(&self, _: &str, number: i32) {
        self.restarter.signal(number);
    }

    fn log(&self) -> String {
        self.restarter.log()
    }

    fn code(&mut self) -> i32 {
        let code = self.restarter.code();
        let Some(told) = &self.told else { return code };
        let told = fs::read_to_string(told).expect("the shell has written our exit code");
        told.trim().parse().expect("an exit code")
    }
}

/// A container whose PID namespace we are in: its init, a child of that, and an orphan in a
/// session of its own.
struct Neighbour {
    container: Container,
    journal: Journal,
}

impl Neighbour {
    const PROCESSES: usize = 3;

    fn beside(scene: &Scene) -> Self {
        let steps = "catch=all fork [ wait ] fork [ fork [ setsid wait ] ] wait";
        let words = scene.probe_to("journal-of-neighbour", steps);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let entrypoint = format!("--entrypoint={}", words[0]);
        let container = bare(scene).option(&entrypoint).arguments(&words[1..]).start();
        let journal = Journal::at(scene.path("journal-of-neighbour"));
        journal.await_ready(Self::PROCESSES);
        Self { container, journal }
    }

    fn is_undisturbed(&self) {
        let entries = self.journal.entries().into_iter();
        let signals: Vec<_> = entries.filter(|entry| entry.word == "signal").collect();
        // What the ends of its own children raise is the kernel's word and not ours.
        let own = format!("{} ", libc::SIGCHLD);
        let ours: Vec<_> = signals.iter().filter(|entry| !entry.rest.starts_with(&own)).collect();
        assert!(ours.is_empty(), "{ours:#?}");
        let children = processes::children(self.container.init().0);
        // The orphan's parent has ended, and is not reaped.
        let living = children.iter().filter(|child| child.state != 'Z').count();
        assert_eq!(living, Self::PROCESSES - 1, "{children:#?}");
    }
}
