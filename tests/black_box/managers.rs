//! The examples for systemd, runit and monit, as these understand them themselves.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

use libtest_mimic::Trial;
use support::scene::Scene;
use support::{eventually, project, restarter};

use crate::needs::{Needs, trial};

/// The trials of this module.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("managers::systemd_unit", Needs::SystemdAnalyze, systemd_unit),
        trial("managers::systemd_unit_spoiled", Needs::SystemdAnalyze, systemd_unit_spoiled),
        trial("managers::runit_service", Needs::Runit, runit_service),
        trial("managers::runit_service_without_a_program", Needs::Runit, runit_without_a_program),
        trial("managers::monit_configuration", Needs::Monit, monit_configuration),
    ]
}

fn example(name: &str) -> String {
    let path = project().join("examples").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Makes what the examples expect in /usr/local/bin, with a target that does these steps.
fn install(scene: &Scene, steps: &str) {
    fs::create_dir(scene.path("bin")).expect("a folder of ours");
    symlink(restarter(), scene.path("bin/hot-restarter")).expect("a link in our folder");
    let target = scene.probe_line(steps);
    let script = format!("#!/bin/sh\ncase $* in *validate*) exit 0 ;; esac\nexec {target}\n");
    scene.script("bin/start_envoy.sh", &script);
}

fn words_of(output: &Output) -> String {
    let [stdout, stderr] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    format!("{}\n{stdout}{stderr}", output.status)
}

/// Looks at a unit, whose programs are those of the scene.
fn verify(scene: &Scene, unit: &str) -> Output {
    let path = scene.path("envoy.service");
    fs::write(&path, unit.replace("/usr/local/bin", &scene.place("bin"))).expect("our folder");
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]).arg(path).output().expect("systemd-analyze runs")
}

/// The unit, as its comments change it for a systemd before 253.
fn for_older(unit: &str) -> String {
    let unit = unit.replace("\nType=notify-reload\n", "\n");
    let older = unit.replace("\n#Type=", "\nType=").replace("\n#ExecReload=", "\nExecReload=");
    assert!(older.contains("\nType=notify\nExecReload="), "{older}");
    older
}

fn systemd_unit() {
    let scene = Scene::new();
    install(&scene, "exit=0");
    let unit = example("systemd/envoy.service");
    let version = Command::new("systemd-analyze").arg("--version").output().expect("it runs");
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let version: u32 =
        version.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect(&version);
    let mut units = vec![for_older(&unit)];
    if version >= 253 {
        units.push(unit);
    }
    for unit in units {
        let output = verify(&scene, &unit);
        assert!(output.status.success() && output.stderr.is_empty(), "{}", words_of(&output));
    }
}

/// The control: a word that systemd does not know, and a program that is not there.
fn systemd_unit_spoiled() {
    let scene = Scene::new();
    install(&scene, "exit=0");
    let unit = for_older(&example("systemd/envoy.service"));
    for (from, to) in [("KillMode=mixed", "KillMode=mingled"), ("bin/hot-restarter", "bin/warm")] {
        let output = verify(&scene, &unit.replace(from, to));
        let said = !output.status.success() || !output.stderr.is_empty();
        assert!(said, "{from}: {}", words_of(&output));
    }
}

/// runsv, which supervises the example in the scene. It is asked to end with the trial.
struct Runsv<'a> {
    scene: &'a Scene,
    process: std::process::Child,
}

impl<'a> Runsv<'a> {
    fn start(scene: &'a Scene) -> Self {
        for folder in ["service", "service/log"] {
            fs::create_dir(scene.path(folder)).expect("a folder of ours");
        }
        for name in ["run", "finish", "check", "log/run"] {
            // Over probes there is no admin.
            let script = example(&format!("runit/{name}"));
            let script = script.replace("ENVOY_ADMIN=127.0.0.1:9901", "ENVOY_ADMIN=");
            let script = script.replace("DRAIN_TIMEOUT=25", "DRAIN_TIMEOUT=0");
            scene.script(&format!("service/{name}"), &script);
        }
        let process = Self::command(scene, &["runsv", "service"]).spawn().expect("runsv");
        Self { scene, process }
    }

    fn command(scene: &Scene, words: &[&str]) -> Command {
        let mut command = scene.command(words);
        let path = format!("{}:/usr/bin:/bin:/usr/sbin:/sbin", scene.place("bin"));
        command.env("PATH", path).env("ENVOY_USER", "root").env("ENVOY_RUN", scene.path("run"));
        command.current_dir(scene.folder());
        command
    }

    /// Has sv do this, which must succeed; what it says.
    fn sv(&self, words: &[&str]) -> String {
        let service = self.scene.place("service");
        let words = [&["sv"], words, &[&service]].concat();
        let output = Self::command(self.scene, &words).output().expect("sv");
        assert!(output.status.success(), "{words:?}: {}", words_of(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Waits until the service is down and stays so.
    fn await_down(&self) {
        eventually("the service is down for good", || {
            let status = self.sv(&["status"]);
            let service = status.split(';').next().unwrap_or_default();
            let down = service.starts_with("down: ") && !service.contains("want up");
            if down { Ok(()) } else { Err((status, self.log())) }
        });
    }

    fn log(&self) -> String {
        fs::read_to_string(self.scene.path("service/log/main/current")).unwrap_or_default()
    }

    fn await_log(&self, expected: &str) {
        eventually(&format!("{expected:?} in svlogd's log"), || {
            let log = self.log();
            if log.contains(expected) { Ok(()) } else { Err(log) }
        });
    }

    /// Ends it, and with it what it supervises.
    fn end(mut self) {
        self.sv(&["exit"]);
        eventually("runsv has ended", || self.process.try_wait().expect("our child").ok_or(()));
        self.scene.assert_empty();
    }
}

fn runit_service() {
    let scene = Scene::new();
    install(&scene, "catch=USR1 exit-on=TERM:0 wait");
    let runsv = Runsv::start(&scene);
    let first = scene.journal().await_ready(1)[0];
    runsv.await_log(" ready epoch=0 ");
    runsv.sv(&["check"]);
    runsv.sv(&["hup"]);
    let second = scene.journal().await_ready(2)[1];
    runsv.await_log(" checked epoch=1: ");
    runsv.await_log(" ready epoch=1 ");
    runsv.sv(&["1"]);
    for epoch in [first, second] {
        scene.journal().await_signal(epoch, libc::SIGUSR1);
    }
    // It comes back, and begins anew.
    runsv.sv(&["term"]);
    runsv.await_log("exiting: exit code 0: ");
    let third = scene.journal().await_ready(3)[2];
    eventually("epoch 0 is started again", || {
        let log = runsv.log();
        if log.contains(&format!(" started epoch=0 pid={third}")) { Ok(()) } else { Err(log) }
    });
    // Stopped for good.
    runsv.sv(&["-w", "30", "stop"]);
    runsv.await_down();
    assert_eq!(scene.journal().signals(third), [libc::SIGTERM], "asked once, and not by runsv");
    runsv.end();
}

/// What cannot work is not tried for ever.
fn runit_without_a_program() {
    let scene = Scene::new();
    install(&scene, "exit-on=TERM:0 wait");
    fs::rename(scene.path("bin/start_envoy.sh"), scene.path("bin/away")).expect("it is ours");
    let runsv = Runsv::start(&scene);
    runsv.await_log("start_envoy.sh does not exist");
    runsv.await_down();
    fs::rename(scene.path("bin/away"), scene.path("bin/start_envoy.sh")).expect("it is ours");
    runsv.sv(&["up"]);
    scene.journal().await_ready(1);
    runsv.end();
}

fn monit_configuration() {
    let scene = Scene::new();
    install(&scene, "exit=0");
    let start = "start_hot_restarter.sh";
    scene.script(&format!("bin/{start}"), &example(&format!("monit/{start}")));
    let own = "set idfile IN/id\nset statefile IN/state\nset daemon 5\n";
    let users = |text: &str| {
        text.replace("uid \"envoy\" and gid \"envoy\"", "uid \"root\" and gid \"root\"")
            .replace("/usr/local/bin", &scene.place("bin"))
    };
    let envoy = users(&example("monit/envoy"));
    let look = |text: &str| {
        let path = scene.path("monitrc");
        let text = own.replace("IN", &scene.place("")) + text;
        fs::write(&path, text).expect("a file in our folder");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
        look_at(&path)
    };
    // A program that is not there is no error for it.
    let missing = |output: &Output| words_of(output).contains("Program does not exist");
    let output = look(&envoy);
    assert!(output.status.success() && !missing(&output), "{}", words_of(&output));
    // The controls.
    let output = look(&envoy.replace("matching", "machting"));
    assert!(!output.status.success(), "{}", words_of(&output));
    let output = look(&envoy.replace(start, "no_such_script.sh"));
    assert!(missing(&output), "{}", words_of(&output));
}

fn look_at(configuration: &Path) -> Output {
    Command::new("monit").arg("-t").arg("-c").arg(configuration).output().expect("monit runs")
}
