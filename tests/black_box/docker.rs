//! The images of docker/ over a real Envoy: signals by the docker client, and those that must be
//! closer together than it can send them, to the container's first process on the host. Under
//! load, and no restart may cost a request.

mod confined;
mod control;
mod failures;
mod health;
mod hook;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use libc::{SIGHUP, SIGUSR1};
use libtest_mimic::Trial;
use support::docker::{Container, Run, images};
use support::envoy::{Process, Stage, may_signal_containers};
use support::eventually;
use support::load::Load;

use crate::envoy::under_load;
use crate::needs::{Needs, trial};

/// The trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = plain();
    trials.extend(loaded().into_iter().map(under_load));
    trials.extend(failures::trials());
    trials.extend(health::trials());
    trials.extend(hook::trials());
    trials.extend(confined::trials());
    trials.extend(control::trials());
    trials
}

/// What needs no load.
fn plain() -> Vec<Trial> {
    vec![
        trial("docker::distroless_as_it_is", Needs::Docker, distroless_as_it_is),
        trial("docker::bad_configuration_at_first", Needs::Docker, bad_at_first),
        trial("docker::bad_configuration_later", Needs::Docker, bad_later),
        trial("docker::out_of_memory", Needs::Docker, out_of_memory),
    ]
}

fn loaded() -> Vec<Trial> {
    // Containers' processes are not ours to signal unless we are root.
    let timed = if may_signal_containers() { Needs::Docker } else { Needs::Root };
    let mut trials = vec![
        trial("docker::kill_with_hup_and_usr1_then_stop", Needs::Docker, by_the_client),
        trial("docker::kill_with_int", Needs::Docker, interrupted),
        trial("docker::stop_in_the_middle_of_a_handover", timed, stopped_in_a_handover),
        trial("docker::ten_restarts_at_once", timed, ten_at_once),
        trial("docker::reopen_while_an_epoch_starts", timed, reopened_while_starting),
        trial("docker::restart_while_the_start_script_sleeps", timed, slow_script),
        trial("docker::envoy_as_another_user", timed, another_user),
        trial("docker::under_an_init", timed, under_an_init),
        trial("docker::distroless", timed, distroless),
        trial("docker::pid_namespace_of_another", timed, shared_pids),
        trial("docker::ipc_namespace_of_another", timed, shared_ipc),
    ];
    for gap in [1, 5, 20, 100] {
        let name = format!("docker::two_restarts_within_{gap}_ms");
        trials.push(trial(name, timed, move || two_within(Duration::from_millis(gap))));
    }
    let places: [(&str, &[&str]); 5] = [
        ("read_only", &["--read-only"]),
        ("without_capabilities", &["--user=0", "--cap-drop=ALL"]),
        ("as_root", &["--user=0"]),
        ("as_a_user_of_no_name", &["--user=12345:12345", "--read-only", "--cap-drop=ALL"]),
        ("without_new_privileges", &["--security-opt=no-new-privileges"]),
    ];
    for (name, options) in places {
        let run = move || Play::begin(|run| run.options(options)).common_life();
        trials.push(trial(format!("docker::{name}"), timed, run));
    }
    trials
}

/// A container of Envoy under load.
struct Play {
    load: Load,
    container: Container,
    restarter: Process,
    stage: Stage,
}

impl Play {
    fn begin(change: impl FnOnce(Run) -> Run) -> Self {
        Self::begin_with((2, 3), change)
    }

    /// The same with a drain, and a time after which an older epoch must leave.
    fn begin_with(drain: (u32, u32), change: impl FnOnce(Run) -> Run) -> Self {
        let stage = Stage::in_container(drain);
        let container = change(Run::envoy(&stage)).start();
        Self::of(stage, container)
    }

    /// From the first epoch on.
    fn of(stage: Stage, container: Container) -> Self {
        stage.await_first(|| container.logs());
        Self { load: Load::modest(&stage), restarter: container.init(), container, stage }
    }

    /// Two restarts are asked for; the epochs that may come of it. Two signals are one when the
    /// first has not been taken yet.
    fn two_restarts(&self, epoch: u32, gap: Duration) -> u32 {
        self.restarter.signal(SIGHUP);
        thread::sleep(gap);
        let least = if self.restarter.has_pending(SIGHUP) { 1 } else { 2 };
        self.restarter.signal(SIGHUP);
        self.stage.settled(self.restarter, epoch + least..=epoch + 2)
    }

    /// Renames the access log and has every epoch open a new one.
    fn reopen(&self, reopen: impl FnOnce()) {
        let rotated = self.rotate();
        reopen();
        self.await_reopened(&rotated);
    }

    fn rotate(&self) -> PathBuf {
        let log = self.stage.log_folder().join("access.log");
        let rotated = self.stage.log_folder().join("access.log.1");
        fs::rename(log, &rotated).expect("Envoy has a log");
        rotated
    }

    /// Waits until the log is there again and nobody writes to the old one.
    fn await_reopened(&self, rotated: &Path) {
        let log = self.stage.log_folder().join("access.log");
        eventually("the access log is there again", || log.metadata().map(drop));
        let name = rotated.file_name().expect("a file");
        eventually("nobody writes to the old access log", || {
            let mut files = self.restarter.children().into_iter().flat_map(Process::open_files);
            files.find(|file| file.file_name() == Some(name)).map_or(Ok(()), Err)
        });
    }

    /// What is done everywhere: two restarts close together, a new access log, a clean stop.
    fn common_life(self) {
        self.two_restarts(0, Duration::from_millis(20));
        self.reopen(|| self.restarter.signal(SIGUSR1));
        self.end();
    }

    /// Not one request has failed, and a stop is clean.
    fn end(self) {
        self.load.stop_without_failure();
        assert_eq!(self.container.stop(), 0);
    }
}

fn by_the_client() {
    let play = Play::begin(|run| run);
    for epoch in 1..=2 {
        play.container.kill("HUP");
        play.stage.settled(play.restarter, epoch..=epoch);
    }
    play.reopen(|| play.container.kill("USR1"));
    play.end();
}

fn interrupted() {
    let play = Play::begin(|run| run);
    drop(play.load);
    play.container.kill("INT");
    assert_eq!(play.container.wait(), 0);
}

fn stopped_in_a_handover() {
    let play = Play::begin(|run| run);
    play.load.stop_without_failure();
    play.restarter.signal(SIGHUP);
    thread::sleep(Duration::from_millis(50));
    assert_eq!(play.container.stop(), 0);
}

fn two_within(gap: Duration) {
    let play = Play::begin(|run| run);
    play.two_restarts(0, gap);
    play.end();
}

fn ten_at_once() {
    let play = Play::begin(|run| run);
    for _ in 0..10 {
        play.restarter.signal(SIGHUP);
    }
    play.stage.settled(play.restarter, 1..=10);
    play.end();
}

/// SIGUSR1 would kill an Envoy that has not installed its handlers.
fn reopened_while_starting() {
    let play = Play::begin_with((1, 2), |run| run);
    for (epoch, gap) in (1..).zip([10, 20, 30, 40, 50, 60]) {
        play.restarter.signal(SIGHUP);
        thread::sleep(Duration::from_millis(gap));
        let rotated = play.rotate();
        play.restarter.signal(SIGUSR1);
        play.await_reopened(&rotated);
        play.stage.settled(play.restarter, epoch..=epoch);
    }
    play.end();
}

/// A restart in the middle of epoch 0's sleep, and one in the middle of a later one's.
fn slow_script() {
    let stage = Stage::in_container((2, 3));
    stage.put_script("sleep 3\nexec start_envoy.sh \"$@\"\n");
    let container = Run::scripted_envoy(&stage).start();
    let restarter = container.init();
    eventually("the script sleeps", || match restarter.children().first() {
        Some(script) if !script.children().is_empty() => Ok(()),
        other => Err(other.copied()),
    });
    thread::sleep(Duration::from_millis(1500));
    restarter.signal(SIGHUP);
    stage.settled(restarter, 1..=1);

    let load = Load::modest(&stage);
    let play = Play { load, container, restarter, stage };
    assert_eq!(play.two_restarts(1, Duration::from_millis(1500)), 3);
    play.end();
}

/// The restarter is root, without the capability to look into what others run; Envoy is not.
fn another_user() {
    let stage = Stage::in_container((2, 3));
    stage.put_script("exec su envoy -s /bin/sh -c \"exec start_envoy.sh $*\"\n");
    let container = Run::scripted_envoy(&stage).option("--user=0").start();
    let play = Play::of(stage, container);
    let user = fs::metadata(format!("/proc/{}", play.restarter.children()[0].0));
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&user.expect("it lives")), 101);
    play.common_life();
}

/// We are not PID 1 then, and what `docker stop` sends comes through the init.
fn under_an_init() {
    let mut play = Play::begin(|run| run.option("--init"));
    play.restarter = play.restarter.children()[0];
    play.common_life();
}

fn distroless() {
    let stage = Stage::in_container((2, 3));
    let container = Run::distroless(&stage).start();
    Play::of(stage, container).common_life();
}

/// As a user has it from the Dockerfile, drains of a minute included.
fn distroless_as_it_is() {
    let container = Run::of(&images().distroless).option("--network=none").start();
    container.await_log("ready epoch=0");
    container.kill("HUP");
    container.await_log("ready epoch=1");
    assert_eq!(container.stop(), 0);
}

/// The neighbour's first process is PID 1, and a stop of ours is none of its business.
fn shared_pids() {
    let neighbour = Run::of(&images().shell).option("--entrypoint=sleep").arguments(&["900"]);
    let neighbour = neighbour.start();
    let place = format!("--pid=container:{}", neighbour.name());
    Play::begin(|run| run.option(&place)).common_life();
    assert_eq!(neighbour.inspect("{{.State.Running}}"), "true");
}

/// The neighbour is an Envoy like ours, so that there are two shared memories in one /dev/shm.
fn shared_ipc() {
    let first = Play::begin(|run| run.option("--ipc=shareable"));
    let place = format!("--ipc=container:{}", first.container.name());
    let second = Play::begin(|run| run.option(&place));
    second.restarter.signal(SIGHUP);
    first.two_restarts(0, Duration::from_millis(20));
    second.stage.settled(second.restarter, 1..=1);
    second.end();
    first.end();
}

fn bad_at_first() {
    let stage = Stage::in_container((2, 3));
    stage.put(&stage.configuration().with_an_unknown_field());
    assert_eq!(Run::envoy(&stage).start().wait(), 1);
}

/// The default, without a rollback: a failed restart is an unexpected exit.
fn bad_later() {
    let stage = Stage::in_container((2, 3));
    let options = ["--env=HOT_RESTARTER_ROLLBACK=0", "--env=HOT_RESTARTER_CHECK="];
    let container = Run::envoy(&stage).options(&options).start();
    stage.await_live(0);
    stage.put(&stage.configuration().with_an_unknown_field());
    container.kill("HUP");
    assert_eq!(container.wait(), 1);
}

/// The files that fill the memory belong to nobody, so the killer takes the largest process.
fn out_of_memory() {
    let limits = ["--memory=96m", "--memory-swap=96m", "--shm-size=256m"];
    let stage = Stage::in_container((2, 3));
    let reason = stage.log_folder().join("termination-log");
    fs::File::create(&reason).expect("the folder is ours");
    fs::set_permissions(&reason, fs::Permissions::from_mode(0o666)).expect("the file is ours");
    let run = Run::envoy(&stage).options(&limits).mount(&reason, "/dev/termination-log");
    let container = run.start();
    container.await_log("ready epoch=0");
    container.exec(&["dd", "if=/dev/zero", "of=/dev/shm/filler", "bs=1M", "count=200"]);
    assert_eq!(container.wait(), 128 + libc::SIGKILL);
    container.await_log("the kernel's out-of-memory killer struck");
    let reason = fs::read_to_string(reason).expect("a termination log");
    let expected = "ended unexpectedly: was ended by SIGKILL (out of memory: ";
    assert!(reason.starts_with("epoch 0 (pid ") && reason.contains(expected), "{reason}");
}
