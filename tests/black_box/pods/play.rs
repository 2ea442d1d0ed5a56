//! A pod of docker/kubernetes, played by podman; and what kubelet and clients ask of it, in its
//! own network.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use support::docker::images;
use support::envoy::{Process, put_as_config_map};
use support::eventually;
use support::podman::{Container, Pod, image, podman};
use support::scene::Scene;

use super::clients::{Kept, Load, ask, enter};
use crate::manifests::{said, script};

/// A pod that serves.
pub(super) struct Play {
    pub(super) pod: Pod,
    /// Seconds from a stop to SIGKILL.
    grace: u32,
    /// How many seconds the application's preStop hook sleeps.
    sleep: Option<u64>,
    pub(super) envoys: Vec<Envoy>,
    /// Holds the configurations; it goes when the pod has gone.
    _scene: Scene,
}

/// One of its Envoys.
pub(super) struct Envoy {
    /// The container's.
    pub(super) name: String,
    pub(super) clients: u16,
    pub(super) probe: u16,
    probe_path: String,
    folder: PathBuf,
    text: String,
    /// The command of its preStop hook.
    hook: Option<String>,
}

impl Play {
    /// A pod of this arrangement, or of several in one, when all that is in it is ready.
    pub(super) fn begin(arrangements: &[&str], options: &[&str]) -> Self {
        let scene = Scene::new();
        // Nobody waits a minute for an older epoch, nor for the random moment of a fleet.
        let quick = [
            "ENVOY_DRAIN_TIME_S=1",
            "ENVOY_PARENT_SHUTDOWN_TIME_S=2",
            "HOT_RESTARTER_WATCH_JITTER=0",
        ];
        let mut printer = script("pod.py");
        printer.args(arrangements).arg("--configs").arg(scene.folder());
        printer.args(quick.map(|pair| format!("--variable={pair}")));
        printer.args(["--image", &image(&images().shell, "hot-restarter/envoy")]);
        // The last one counts.
        printer.args(options);
        let yaml = said(printer);
        let heads = |kind: &'static str| {
            yaml.lines().filter_map(move |line| line.strip_prefix("# ")?.strip_prefix(kind))
        };
        let sleep = heads("sleep ").next().map(|it| it.parse().expect("seconds"));
        let grace = heads("grace ").next().and_then(|it| it.parse().ok()).expect("a grace");
        let hook = |envoy: &str| {
            let words = |it: &str| it.strip_prefix(envoy)?.strip_prefix(' ').map(str::to_owned);
            heads("hook ").find_map(words)
        };
        let envoys = heads("envoy ").map(|it| Envoy::of(it, scene.folder(), hook)).collect();
        let pod = Pod::play(&yaml);
        let play = Self { pod, grace, sleep, envoys, _scene: scene };
        for envoy in &play.envoys {
            play.await_ready(envoy);
            play.await_log(envoy, "ready epoch=0");
        }
        play
    }

    /// As kubelet finds it, by the probe that the manifest has.
    pub(super) fn await_ready(&self, envoy: &Envoy) {
        self.await_answer(envoy.probe, &envoy.probe_path, 200);
    }

    /// Waits for a status in the pod's network; a pod that has just begun listens nowhere.
    pub(super) fn await_answer(&self, port: u16, path: &str, status: u16) {
        let asked = format!("{status} from {port}{path}");
        self.inside(|| {
            eventually(&asked, || match ask(port, path) {
                Ok(answered) if answered == status => Ok(()),
                other => Err(other),
            });
        });
    }

    pub(super) fn await_log(&self, envoy: &Envoy, words: &str) {
        self.container(envoy).await_log(words);
    }

    pub(super) fn container(&self, envoy: &Envoy) -> &Container {
        self.pod.container(&envoy.name)
    }

    /// The process of hot-restarter.
    pub(super) fn restarter(&self, envoy: &Envoy) -> Process {
        self.container(envoy).init()
    }

    /// Does something in the pod's network.
    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let network = self.network();
        thread::scope(|scope| {
            let there = scope.spawn(|| {
                enter(&network);
                work()
            });
            there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn network(&self) -> File {
        let Process(pid) = self.restarter(&self.envoys[0]);
        File::open(format!("/proc/{pid}/ns/net")).expect("we are root")
    }

    /// Clients that go on asking Envoy for this path.
    pub(super) fn load(&self, envoy: &Envoy, path: &'static str) -> Load {
        Load::begin(self.network(), envoy.clients, path)
    }

    /// So many clients that go on asking, each on the connection that it has.
    pub(super) fn keep(&self, envoy: &Envoy, path: &'static str, clients: usize) -> Kept {
        Kept::begin(&self.network(), envoy.clients, path, clients)
    }

    /// What kubelet does before it tells a sidecar to end: it runs every container's preStop hook
    /// at the same moment, tells the application to end when its own is over, and the sidecar when
    /// its own is over and the application has ended. `hooked` is whether the sidecar's is run.
    pub(super) fn end_of_application(&self, hooked: bool) {
        thread::scope(|scope| {
            let hooked = self.envoys.iter().filter(|_| hooked);
            let hooks: Vec<_> = hooked.map(|envoy| scope.spawn(|| self.hook(envoy))).collect();
            let sleep = self.sleep.expect("an application has a hook");
            thread::sleep(Duration::from_secs(sleep));
            let application = self.pod.container("app");
            assert_eq!(application.stop(), 0, "{}", application.logs());
            for hook in hooks {
                hook.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            }
        });
    }

    /// Runs the preStop hook of a sidecar.
    fn hook(&self, envoy: &Envoy) {
        let command = envoy.hook.as_ref().expect("a sidecar has a hook");
        let words = ["exec", self.container(envoy).name()].into_iter().chain(command.split(' '));
        podman(&words.collect::<Vec<_>>());
    }

    /// The end of the pod: every Envoy with 0 within the grace. `meanwhile` is what is to be seen
    /// while it ends.
    pub(super) fn end(self, meanwhile: impl FnOnce(&Self)) {
        thread::scope(|scope| {
            let stop = scope.spawn(|| self.pod.stop(self.grace));
            meanwhile(&self);
            stop.join().expect("podman stops the pod");
        });
        for envoy in &self.envoys {
            let container = self.container(envoy);
            assert_eq!(container.wait(), 0, "{}", container.logs());
            // Nothing that we ask the kernel for is refused.
            let logs = container.logs();
            let warned = logs.lines().filter(|line| line.contains("Z warn "));
            let strange: Vec<_> = warned.filter(|line| !line.contains("restart-refused")).collect();
            assert!(strange.is_empty(), "{strange:#?}");
        }
    }

    /// What a pod's end looks like from outside: no probe finds it ready, and clients are served.
    pub(super) fn drains(&self, path: &str) {
        let envoy = &self.envoys[0];
        let port = (envoy.probe, envoy.clients);
        self.inside(|| {
            eventually("the probe is told to send nobody any more", || {
                match (ask(port.0, &envoy.probe_path), ask(port.1, path)) {
                    (Ok(503), Ok(200)) => Ok(()),
                    other => Err(other),
                }
            });
        });
    }
}

impl Envoy {
    /// From the words that pod.py has for it.
    fn of(words: &str, configs: &Path, hook: impl FnOnce(&str) -> Option<String>) -> Self {
        let words: Vec<&str> = words.split(' ').collect();
        let [name, clients, probe, path] = words[..] else { panic!("{words:?}") };
        let text = fs::read_to_string(configs.join(format!("{name}.yaml"))).expect("left there");
        let folder = configs.join(name);
        fs::create_dir(&folder).expect("ours");
        put_as_config_map(&folder, &text);
        let port = |word: &str| word.parse().expect("a port");
        let (clients, probe, probe_path) = (port(clients), port(probe), path.to_owned());
        let (name, hook) = (name.to_owned(), hook(name));
        Self { name, clients, probe, probe_path, folder, text, hook }
    }

    /// Changes its `ConfigMap`, to one that is as good.
    pub(super) fn change(&self, round: u32) {
        put_as_config_map(&self.folder, &format!("{}# {round}\n", self.text));
    }

    /// Changes it to one whose clusters come from a server that does not answer, for which Envoy
    /// waits.
    pub(super) fn have_wait(&self) {
        let cluster = "static_resources:
  clusters:
  - name: nobody
    type: STATIC
    load_assignment:
      cluster_name: nobody
      endpoints:
      - lb_endpoints:
        - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 1 } } }
";
        let source = "node: { id: test, cluster: test }
dynamic_resources:
  cds_config:
    resource_api_version: V3
    initial_fetch_timeout: 0s
    api_config_source:
      api_type: REST
      transport_api_version: V3
      cluster_names: [nobody]
      refresh_delay: 3600s
";
        let text = self.text.replace("static_resources:\n", cluster);
        put_as_config_map(&self.folder, &format!("{text}{source}"));
    }

    /// Changes it to one that Envoy refuses.
    pub(super) fn spoil(&self) {
        put_as_config_map(&self.folder, &format!("{}no_field_of_envoy: 1\n", self.text));
    }
}
