//! A pod of docker/kubernetes, played by podman; and what kubelet and clients ask of it, in its
//! own network.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use support::docker::images;
use support::envoy::{Process, put_as_config_map};
use support::eventually;
use support::podman::{Container, Pod, image};
use support::scene::Scene;

use crate::manifests::{said, script};

/// How long a client waits. An answer takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// A pod that serves.
pub(super) struct Play {
    pub(super) pod: Pod,
    /// Seconds from a stop to SIGKILL.
    grace: u32,
    pub(super) envoys: Vec<Envoy>,
    /// Holds the configurations; it goes when the pod has gone.
    _scene: Scene,
}

/// One of its Envoys.
pub(super) struct Envoy {
    /// The container's.
    pub(super) name: String,
    clients: u16,
    probe: u16,
    probe_path: String,
    folder: PathBuf,
    text: String,
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
        let grace = heads("grace ").next().and_then(|it| it.parse().ok()).expect("a grace");
        let envoys = heads("envoy ").map(|it| Envoy::of(it, scene.folder())).collect();
        let pod = Pod::play(&yaml);
        let play = Self { pod, grace, envoys, _scene: scene };
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
        let (network, port) = (self.network(), envoy.clients);
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let client = thread::spawn(move || {
            enter(&network);
            let mut answers = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                answers.push(ask(port, path));
                // A few hundred a second, since Envoy logs each.
                thread::sleep(Duration::from_millis(2));
            }
            answers
        });
        Load { over, client }
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
    fn of(words: &str, configs: &Path) -> Self {
        let words: Vec<&str> = words.split(' ').collect();
        let [name, clients, probe, path] = words[..] else { panic!("{words:?}") };
        let text = fs::read_to_string(configs.join(format!("{name}.yaml"))).expect("left there");
        let folder = configs.join(name);
        fs::create_dir(&folder).expect("ours");
        put_as_config_map(&folder, &text);
        let port = |word: &str| word.parse().expect("a port");
        let (clients, probe, probe_path) = (port(clients), port(probe), path.to_owned());
        Self { name: name.to_owned(), clients, probe, probe_path, folder, text }
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

/// A client that asks again and again, each time by a new connection.
pub(super) struct Load {
    over: Arc<AtomicBool>,
    client: JoinHandle<Vec<io::Result<u16>>>,
}

impl Load {
    /// Every request has been answered with 200; how many there were.
    pub(super) fn stop_without_failure(self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        let answers = self.client.join().expect("it only asks");
        let failed: Vec<_> = answers.iter().filter(|it| !matches!(it, Ok(200))).collect();
        assert!(failed.is_empty(), "{} of {}: {:?}", failed.len(), answers.len(), failed[0]);
        assert!(!answers.is_empty(), "nobody asked");
        answers.len()
    }
}

/// Makes this thread, and no other, one of another network.
fn enter(network: &File) {
    // SAFETY: the call takes integers, and the descriptor is open.
    let entered = unsafe { libc::setns(network.as_raw_fd(), libc::CLONE_NEWNET) };
    assert_eq!(entered, 0, "setns: {}", io::Error::last_os_error());
}

/// The status of an answer on loopback.
fn ask(port: u16, path: &str) -> io::Result<u16> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut stream = BufReader::new(stream.take(1 << 16));
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        head.push_str(&line);
        if line.len() <= 2 {
            break;
        }
    }
    // Envoy keeps a connection for a second after its last answer.
    stream.read_exact(&mut vec![0; length])?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, head))
}
