//! How a restarter is started in the circumstances of its plan.

use std::fs::{self, File, OpenOptions};
use std::io::{self, PipeReader, Read, Write};
use std::os::unix::fs::symlink;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use support::scene::Scene;
use support::{probe, processes};

use super::arena::{Arena, Cgroup};
use super::handle::Handle;
use super::plan::{Place, Plan, Procfs, Sink};

/// How long a start may take on a machine that is busy.
const BOUND: Duration = Duration::from_secs(30);

/// A user who is not root.
const NOBODY: &str = "65534";

/// What is started, and what is heard of it.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) child: Child,
    pub(super) restarter: Option<Handle>,
    pub(super) ear: Option<Ear>,
}

/// Makes what the life needs in its folder.
pub(super) fn furnish(scene: &Scene, plan: &Plan) -> Vec<String> {
    for name in ["target", "check", "ready"] {
        symlink(probe(), scene.path(name)).expect("a link in our folder");
    }
    fs::create_dir(scene.path("arrivals")).expect("a folder in our folder");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(scene.path("arrivals"), open).expect("it is ours");
    let arrivals = scene.place("arrivals");
    let ready =
        format!("'{}' exists={arrivals}/$(RESTART_EPOCH) [ exit=0 ] exit=1", scene.place("ready"));
    let check = format!("'{}' from={}", scene.place("check"), scene.place("check-steps"));
    let mut words: Vec<String> = plan
        .options
        .iter()
        .map(|word| {
            word.replace("{ready}", &ready)
                .replace("{check}", &check)
                .replace("{control}", &scene.place("control"))
                .replace("{termination}", &scene.place("termination"))
        })
        .collect();
    words.push(scene.place("target"));
    words.push(format!("to={}", scene.place("journal")));
    words.push("say=epoch-$(RESTART_EPOCH)".to_owned());
    words.push(format!("from={}", scene.place("steps")));
    words
}

/// Starts it. It is recorded from its first instruction on.
pub(super) fn start(
    arena: &Arena,
    scene: &Scene,
    plan: &Plan,
    program: &str,
    words: &[String],
) -> Started {
    let mut outer = String::new();
    for cgroup in [&arena.pids, &arena.memory].into_iter().flatten() {
        cgroup.set(None);
    }
    // 0 is whoever writes it.
    let enter = |cgroup: &Option<Cgroup>| {
        let place = cgroup.as_ref().map(|cgroup| cgroup.entrance().display().to_string());
        place.map_or_else(String::new, |place| format!("echo 0 > '{place}' || exit 125; "))
    };
    outer += &enter(&arena.pids);
    if plan.sink == Sink::Closed {
        outer += "exec 2>&-; ";
    }
    if plan.place == Place::Subreaper {
        outer += &enter(&arena.memory);
    }
    outer += "read go; exec \"$@\" < /dev/null";
    let mut command: Vec<String> = ["sh", "-c", &outer, "sh"].map(str::to_owned).to_vec();
    if plan.place == Place::First {
        command.extend(
            ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"].map(str::to_owned),
        );
        if plan.other_clock {
            command.extend(
                ["--time", "--monotonic", "1000000", "--boottime", "1000000"].map(str::to_owned),
            );
        }
        let inner = match plan.procfs {
            Procfs::Own => "",
            Procfs::Hidden => "mount -t proc -o hidepid=2 proc /proc || exit 125; ",
            Procfs::Others => "umount /proc || exit 125; ",
            Procfs::None => "mount -t tmpfs none /proc || exit 125; ",
        };
        command.extend([
            "sh".to_owned(),
            "-c".to_owned(),
            format!("{}{inner}exec \"$@\"", enter(&arena.memory)),
            "sh".to_owned(),
        ]);
        if plan.procfs == Procfs::Hidden {
            let user = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"];
            command.extend(user.map(str::to_owned));
        }
        if plan.powerless {
            let less = ["setpriv", "--inh-caps", "-kill", "--bounding-set", "-kill"];
            command.extend(less.map(str::to_owned));
        }
    }
    command.push(program.to_owned());
    command.extend_from_slice(words);
    let mut command = scene.command(&command);
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut ear = None;
    match plan.sink {
        Sink::File => drop(command.stderr(File::create(scene.path("log")).expect("a log"))),
        Sink::FullDisk => {
            let place =
                arena.disk.as_ref().map_or_else(|| scene.path("log"), |disk| disk.join("log"));
            let _ = fs::remove_file(&place);
            let file = OpenOptions::new().append(true).create(true).open(place);
            command.stderr(file.expect("a log"));
        }
        Sink::SlowPipe | Sink::BrokenPipe => {
            let (reader, writer) = io::pipe().expect("a pipe");
            support::descriptor::shrink_pipe(&writer);
            command.stderr(writer);
            ear = Some(Ear::new(reader));
        }
        Sink::Closed => drop(command.stderr(Stdio::null())),
    }
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // Ours of the pipe has to go.
    drop(command);
    let pid = i32::try_from(child.id()).expect("a pid is an int");
    if let Some(record) = &arena.record {
        record.record(pid).unwrap_or_else(|error| panic!("the kernel's record: {error}"));
    }
    if let Some(mut stdin) = child.stdin.take() {
        // One that has ended already is noticed later.
        let _ = stdin.write_all(b"go\n");
    }
    let restarter = find(&mut child, pid, plan, program);
    Started { child, restarter, ear }
}

/// The restarter's own process; `None` where it has ended before it was found.
fn find(child: &mut Child, outer: i32, plan: &Plan, program: &str) -> Option<Handle> {
    let begun = Instant::now();
    let is_it = |pid: i32| processes::command_line(pid).iter().take(2).any(|word| word == program);
    while begun.elapsed() < BOUND {
        let found = match plan.place {
            Place::Subreaper if is_it(outer) => {
                Handle::of_child(outer, i32::try_from(std::process::id()).expect("an int"))
            }
            Place::Subreaper => None,
            Place::First => processes::children(outer)
                .first()
                .filter(|process| is_it(process.pid))
                .and_then(|process| Handle::of_child(process.pid, outer)),
        };
        if found.is_some() {
            return found;
        }
        if child.try_wait().ok()?.is_some() {
            return None;
        }
        thread::sleep(Duration::from_micros(500));
    }
    panic!("the restarter does not begin");
}

/// Who reads the pipe behind standard error.
#[derive(Debug)]
pub(super) struct Ear {
    heard: Arc<Mutex<Vec<u8>>>,
    /// How many milliseconds pass between two reads.
    pub(super) pause: Arc<AtomicUsize>,
    deaf: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ear {
    fn new(mut pipe: PipeReader) -> Self {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (pause, deaf) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let shared = (Arc::clone(&heard), Arc::clone(&pause), Arc::clone(&deaf));
        let thread = thread::spawn(move || {
            let (heard, pause, deaf) = shared;
            let mut bytes = [0; 4096];
            while !deaf.load(Ordering::Relaxed) {
                match pipe.read(&mut bytes) {
                    Ok(0) | Err(_) => return,
                    Ok(read) => {
                        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                        heard.extend_from_slice(&bytes[..read]);
                    }
                }
                thread::sleep(Duration::from_millis(pause.load(Ordering::Relaxed) as u64));
            }
        });
        Self { heard, pause, deaf, thread: Some(thread) }
    }

    /// Closes the pipe with the next line that comes.
    pub(super) fn close(&self) {
        self.deaf.store(true, Ordering::Relaxed);
    }

    /// All that was heard. Who else has the other end has ended.
    pub(super) fn finish(&mut self) -> String {
        self.pause.store(0, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let begun = Instant::now();
            while !thread.is_finished() && begun.elapsed() < BOUND {
                thread::sleep(Duration::from_millis(1));
            }
            if thread.is_finished() {
                let _ = thread.join();
            }
        }
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&heard).into_owned()
    }
}
