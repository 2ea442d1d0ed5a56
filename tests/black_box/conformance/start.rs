//! What a target starts with.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use libtest_mimic::Trial;
use support::inherit::Inherit;
use support::scene::Scene;

use super::inits::{Init, Running};
use crate::needs::{Needs, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("conformance::mask_and_dispositions", Needs::Inits, mask_and_dispositions),
        trial("conformance::session_and_group", Needs::Inits, session_and_group),
        trial("conformance::working_directory", Needs::Inits, working_directory),
        trial("conformance::limits_and_rights", Needs::Inits, limits_and_rights),
        trial("conformance::environment", Needs::Inits, environment),
        trial("conformance::descriptors", Needs::Inits, descriptors),
    ]
}

/// Starts a probe under an init, or none, and says what it was given.
fn report(
    scene: &Scene,
    init: Option<Init>,
    change: impl FnOnce(&mut Command),
) -> (Running, support::journal::Report) {
    let words = scene.probe("report exit-on=TERM:0 wait");
    let mut command = match init {
        Some(init) => init.over(scene, &words),
        None => scene.command(&words),
    };
    change(&mut command);
    let running = Running::of(command);
    let probe = scene.journal().await_ready(1)[0];
    (running, scene.journal().await_report(probe))
}

/// What was blocked or ignored before us is so in the target. dumb-init's target starts with an
/// empty mask, and ignores nothing of what dumb-init handles.
fn mask_and_dispositions() {
    let (blocked, ignored) =
        ([libc::SIGTTIN, libc::SIGILL, libc::SIGTERM, 40], [libc::SIGTTOU, libc::SIGINT, 41]);
    let set = |signals: &[i32]| signals.iter().fold(0_u64, |set, signal| set | 1 << (signal - 1));
    for init in Init::PROGRAMS {
        let scene = Scene::new();
        let (_running, report) = report(&scene, Some(init), |command| {
            command.blocking(&blocked).ignoring(&ignored);
        });
        let is = (report.set("mask"), report.set("ignored"));
        let same = (set(&blocked), set(&ignored));
        let expected = if init == Init::DumbInit {
            // It leaves the real-time ones alone.
            (0, set(&[41]))
        } else if init == Init::Catatonit {
            // What it blocks while it hands over the terminal stays blocked.
            (same.0 | set(&[libc::SIGTSTP, libc::SIGTTOU]), same.1)
        } else {
            same
        };
        assert_eq!(is, expected, "{init:?}: {is:x?} is not {expected:x?}");
    }
}

/// A group of its own, as a shell gives to a job, in the session that there is. dumb-init makes a
/// session.
fn session_and_group() {
    for init in Init::PROGRAMS {
        let scene = Scene::new();
        let (running, report) = report(&scene, Some(init), |_| {});
        let own = report.number("pid");
        // SAFETY: the call takes an integer.
        let session = i64::from(unsafe { libc::getsid(running.pid()) });
        let session = if init == Init::DumbInit { own } else { session };
        let is = (report.number("sid"), report.number("pgid"));
        assert_eq!(is, (session, own), "{init:?}");
        assert_eq!(report.number("ppid"), i64::from(running.pid()), "{init:?}");
    }
}

/// The target starts where we were started. dumb-init itself goes to the root, so that no file
/// system is kept busy; we stay, since a later epoch is to start there as well.
fn working_directory() {
    for init in Init::PROGRAMS {
        let scene = Scene::new();
        let (running, report) = report(&scene, Some(init), |command| {
            command.current_dir(scene.folder());
        });
        let here = scene.folder().canonicalize().expect("a folder of ours");
        assert_eq!(report.text("cwd"), here.to_str().expect("our path is text"), "{init:?}");
        let own = fs::read_link(format!("/proc/{}/cwd", running.pid())).expect("it lives");
        let expected = if init == Init::DumbInit { "/".into() } else { here };
        assert_eq!(own, expected, "{init:?}");
    }
}

/// Limits, rights, umask, priorities, name spaces: all that an init could change, and none does.
fn limits_and_rights() {
    let of = |scene: &Scene, init: Option<Init>| {
        let (_running, report) = report(scene, init, |command| {
            let limit = libc::rlimit { rlim_cur: 77, rlim_max: 99 };
            // SAFETY: the closure makes system calls on what it owns.
            unsafe {
                std::os::unix::process::CommandExt::pre_exec(command, move || {
                    libc::umask(0o027);
                    libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
                    libc::setpriority(libc::PRIO_PROCESS, 0, 3);
                    Ok(())
                });
            }
        });
        let pid = report.number("pid");
        let read = |name: &str| {
            fs::read_to_string(format!("/proc/{pid}/{name}")).expect("the probe waits")
        };
        let fields = [
            "Umask",
            "Uid",
            "Gid",
            "Groups",
            "Cap",
            "NoNewPrivs",
            "Seccomp",
            "Speculation",
            "Cpus_allowed",
            "Mems_allowed",
            "Threads",
        ];
        let status = read("status");
        let status = status.lines().filter(|line| fields.iter().any(|it| line.starts_with(it)));
        let nice = read("stat").split(' ').nth(18).map(str::to_owned);
        let spaces = ["pid", "mnt", "net", "ipc", "uts", "user", "cgroup"]
            .map(|name| fs::metadata(format!("/proc/{pid}/ns/{name}")).expect("it has one").ino());
        let all: Vec<String> = status.map(str::to_owned).collect();
        (all, nice, spaces, read("limits"), read("oom_score_adj"), read("cgroup"))
    };
    let direct = of(&Scene::new(), None);
    assert!(direct.0.contains(&"Umask:\t0027".to_owned()), "{direct:?}");
    assert!(direct.3.contains("77 "), "{direct:?}");
    assert_eq!(direct.1.as_deref(), Some("3"));
    for init in Init::PROGRAMS {
        assert_eq!(of(&Scene::new(), Some(init)), direct, "{init:?}");
    }
}

/// Every variable as it was; beside them, with us, the number of the epoch.
fn environment() {
    for init in Init::PROGRAMS {
        let of = |init: Option<Init>| -> BTreeMap<Vec<u8>, usize> {
            let scene = Scene::new();
            let (_running, report) = report(&scene, init, |command| {
                command.env("EMPTY", "").env("ODD", "a=b\n$(X)").env_remove("SCENE_OF_NOBODY");
            });
            let pid = report.number("pid");
            let bytes = fs::read(format!("/proc/{pid}/environ")).expect("the probe waits");
            let mut variables = BTreeMap::new();
            for variable in bytes.split(|byte| *byte == 0) {
                // Each scene has a mark of its own, and we are told two things by variables.
                let ours: [&[u8]; 3] =
                    [b"SCENE=", b"HOT_RESTARTER_CONTROL=", b"HOT_RESTARTER_READY="];
                if !ours.iter().any(|name| variable.starts_with(name)) {
                    *variables.entry(variable.to_vec()).or_default() += 1;
                }
            }
            variables
        };
        let mut expected = of(None);
        assert!(expected.contains_key(b"ODD=a=b\n$(X)".as_slice()));
        if init == Init::Ours {
            expected.insert(b"RESTART_EPOCH=0".to_vec(), 1);
        }
        assert_eq!(of(Some(init)), expected, "{init:?}");
    }
}

/// What was open is open, and nothing else: none of an init's own.
fn descriptors() {
    for init in Init::PROGRAMS {
        let of = |init: Option<Init>| -> Vec<i32> {
            let scene = Scene::new();
            let file = fs::File::create(scene.path("inherited")).expect("a file in our folder");
            let (_running, report) = report(&scene, init, |command| {
                command.with_descriptor(42, file);
            });
            report.descriptors().keys().copied().collect()
        };
        assert_eq!(of(Some(init)), of(None), "{init:?}");
        assert!(of(None).contains(&42));
    }
}
