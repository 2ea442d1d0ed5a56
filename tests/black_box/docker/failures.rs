//! Restarts that fail in a container, and how the examples' check and rollback deal with them.

use libc::{SIGHUP, SIGKILL, SIGSEGV};
use libtest_mimic::Trial;
use support::docker::{CONFIG, Run, images};
use support::envoy::{SCRIPT, Stage, may_signal_containers};
use support::load::Load;
use support::trial::caught;

use crate::envoy::life::{Life, Place, Way};
use crate::envoy::under_load;
use crate::needs::{Needs, trial};

/// Has the rollback show what it can, which the check would prevent.
const NO_CHECK: [&str; 2] = ["--env=HOT_RESTARTER_CHECK=", "--env=HOT_RESTARTER_READY_TIMEOUT=2.5"];
/// The restarter is root, without the capability to look into what others run; Envoy is not.
const AS_ANOTHER: &str = "exec su envoy -s /bin/sh -c \"exec start_envoy.sh $*\"\n";

const WAYS: [Way; 6] = [
    Way::Exits(3),
    Way::UnknownField,
    Way::TakenPort,
    Way::SignalledEarly(SIGKILL),
    Way::SignalledLate(SIGSEGV),
    Way::Waits,
];

pub(super) fn trials() -> Vec<Trial> {
    // Containers' processes are not ours to signal unless we are root.
    let timed = if may_signal_containers() { Needs::Docker } else { Needs::Root };
    let places: [(&str, &[&str], &'static str); 4] = [
        ("as_it_is", &[], SCRIPT),
        ("without_capabilities", &["--user=0", "--cap-drop=ALL"], SCRIPT),
        ("read_only", &["--user=12345:12345", "--read-only", "--cap-drop=ALL"], SCRIPT),
        ("envoy_as_another_user", &["--user=0"], AS_ANOTHER),
    ];
    let mut trials: Vec<Trial> = Vec::new();
    for (name, options, script) in places {
        let run = move || in_every_way(scripted(&NO_CHECK).with(options, script));
        trials.push(trial(format!("docker::failed::{name}"), timed, run));
    }
    let mut more = |name, run: fn()| trials.push(trial(name, timed, run));
    more("docker::failed::the_example", the_example);
    more("docker::failed::the_distroless_example", the_distroless_example);
    more("docker::failed::processes_are_hidden", processes_are_hidden);
    more("docker::failed::out_of_memory", out_of_memory);
    more("docker::failed::a_strangers_memory_is_left_alone", strangers_memory);
    more("docker::config_map", config_map);
    trials.into_iter().map(under_load).collect()
}

/// A stage, and what is to play on it.
struct Scripted {
    stage: Stage,
    run: Run,
    script: &'static str,
}

/// By the stage's own script, with these options of `docker run`.
fn scripted(options: &[&str]) -> Scripted {
    let stage = Stage::in_container((1, 2));
    let run = Run::scripted_envoy(&stage).options(options);
    Scripted { stage, run, script: SCRIPT }
}

impl Scripted {
    fn with(self, options: &[&str], script: &'static str) -> Self {
        Self { run: self.run.options(options), script, ..self }
    }

    fn begin(self) -> Life {
        let Self { stage, run, script } = self;
        stage.put_script(script);
        begin(stage, run, script)
    }
}

fn begin(stage: Stage, run: Run, script: &str) -> Life {
    let container = run.start();
    let restarter = container.init();
    Life::begin(stage, restarter, Place::Container(container), script, Load::modest)
}

fn in_every_way(scripted: Scripted) {
    let mut life = scripted.begin();
    for way in WAYS {
        life.fail(way);
    }
    life.succeed();
    life.fail(Way::TakenPort);
    life.succeed();
    assert_eq!(life.said("not-repaired"), 0, "{}", life.log());
    println!("{} failures in a container: {}", life.said("restart-failed"), life.end());
}

/// What its validation finds is refused, what it does not see is taken back.
fn the_example() {
    let stage = Stage::in_container((1, 2));
    let run = Run::envoy(&stage);
    example(begin(stage, run, SCRIPT));
}

fn the_distroless_example() {
    let stage = Stage::in_container((1, 2));
    let run = Run::distroless(&stage);
    example(begin(stage, run, SCRIPT));
}

fn example(mut life: Life) {
    life.stage.put(&life.stage.configuration().with_an_unknown_field());
    life.restarter.signal(SIGHUP);
    life.await_said("restart-refused", 1);
    life.fail(Way::TakenPort);
    life.succeed();
    assert_eq!(life.said("started"), 3, "{}", life.log());
    println!("the example: {}", life.end());
}

/// `/proc` shows the restarter nothing of an Envoy that runs as another user.
fn processes_are_hidden() {
    let stage = Stage::in_container((1, 2));
    let hide = "mount -o remount,hidepid=2 /proc && exec /hot-restarter sh /script/start.sh \"$@\"";
    let run = Run::envoy_of(&images().shell, &stage)
        .mount(&stage.script_folder(), "/script:ro")
        .options(&["--user=0", "--cap-add=SYS_ADMIN", "--entrypoint=sh"])
        .options(&NO_CHECK)
        .arguments(&["-c", hide, "sh", "--log-level", "warning"]);
    in_every_way(Scripted { stage, run, script: AS_ANOTHER });
}

/// The new epoch needs more than there is, and the killer takes the largest process.
fn out_of_memory() {
    // Where the kernel takes long to free what it has killed, it may strike again, and take the epoch
    // in service as well.
    let struck_twice = |why: &str| why.contains("struck in this cgroup, 2×");
    for tries in 1.. {
        match caught(new_epoch_out_of_memory) {
            Err(why) if tries < 3 && struck_twice(&why) => println!("struck twice: once more"),
            played => return played.unwrap_or_else(|why| panic!("{why}")),
        }
    }
}

fn new_epoch_out_of_memory() {
    let limits = ["--memory=200m", "--memory-swap=200m", "--env=HOT_RESTARTER_CHECK="];
    let stage = Stage::in_container((1, 2));
    let run = Run::envoy(&stage).options(&limits);
    let mut life = begin(stage, run, SCRIPT);
    let before = life.restarter.descendants();
    // Envoy has several copies of its configuration while it reads it.
    let words = "a".repeat(40 << 20);
    for _ in 0..2 {
        life.stage.put(&life.stage.configuration().saying(&words));
        life.restarter.signal(SIGHUP);
        life.await_rollback(&before);
        life.await_log("out of memory: the kernel's out-of-memory killer struck");
    }
    life.succeed();
    println!("out of memory: {}", life.end());
}

/// What somebody has put in the place of the memory, whose flag is up, and what is said about it.
/// Where Envoy's maps are not ours to read only its name tells which it is.
const STRANGERS: [(&str, &str); 6] = [
    ("ln -s kept $it", "cannot be opened"),
    ("mkdir $it", "cannot be opened"),
    ("mkfifo $it", "is no plain file"),
    ("head -c 50 kept >$it", "is too short"),
    ("cp kept $it; printf '\\014' | dd of=$it bs=1 seek=8 conv=notrunc 2>&1", "(12.104)"),
    ("cp kept $it; chown 12345 $it", "belongs to user 12345"),
];

fn strangers_memory() {
    let life = scripted(&NO_CHECK).with(&["--user=0"], AS_ANOTHER).begin();
    let before = life.restarter.descendants();
    let raise = "cd /dev/shm && it=envoy_shared_memory_${ENVOY_BASE_ID}0 &&
        { [ -e kept ] || cp $it kept; } && rm -rf $it copy &&
        printf '\\001' | dd of=kept bs=1 seek=$(($(stat -c %s kept) - 8)) conv=notrunc 2>&1";
    for (times, (put, why)) in (1..).zip(STRANGERS) {
        let copy = "if [ -f $it ]; then cp $it copy; fi; exit 3";
        life.stage.put_script(&format!("{raise}\n{put}\n{copy}\n"));
        life.restarter.signal(SIGHUP);
        life.await_said("restart-failed", times);
        life.await_said("not-repaired", times);
        life.await_log(why);
        assert_eq!(life.restarter.descendants(), before, "{put}");
        let place = |name: &str| std::fs::read(life.restarter.sees(&format!("/dev/shm/{name}")));
        let touched = match put.starts_with("mk") {
            true => false,
            // A link leads to where it does not lead us.
            false if put.starts_with("ln") => place("copy").ok() != place("kept").ok(),
            false => place("copy").ok() != Some(life.memory().bytes()),
        };
        assert!(!touched, "{put}");
    }
    // It is tried again, and as soon as the owner is Envoy's nothing is in the way.
    life.stage.put_script(AS_ANOTHER);
    life.restarter.signal(SIGHUP);
    life.await_said("restart-queued", 1);
    assert!(life.memory().is_initializing(), "{}", life.log());
    life.memory().give_to(101);
    life.await_said("repaired", 1);
    life.await_log("ready epoch=1");
    life.stage.settled(life.restarter, 1..=1);
    println!("a stranger's memory: {}", life.end_unsettled());
}

/// No signal at all: a `ConfigMap` changes, which the folder that is mounted shows.
fn config_map() {
    let stage = Stage::in_container((1, 2));
    stage.put_as_config_map(&stage.configuration());
    let run = Run::envoy(&stage).variable("HOT_RESTARTER_WATCH", CONFIG);
    let mut life = begin(stage, run, SCRIPT);
    for times in 1..=2 {
        let good = life.next_good();
        life.stage.put_as_config_map(&good);
        life.await_next();
        life.stage.put_as_config_map(&life.stage.configuration().with_an_unknown_field());
        life.await_said("restart-refused", times);
    }
    let good = life.next_good();
    life.stage.put_as_config_map(&good);
    life.await_next();
    assert_eq!((life.said("changed"), life.said("started")), (5, 4), "{}", life.log());
    println!("a ConfigMap that changes: {}", life.end());
}
