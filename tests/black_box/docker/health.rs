//! The health of a container as Docker's HEALTHCHECK finds it: by a script that needs no more than
//! the image has, or by the restarter where that is all there is.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::thread;

use libtest_mimic::Trial;
use support::docker::{Container, QUIET, Run, docker, images};
use support::envoy::Stage;
use support::scene::Scene;
use support::{eventually, probe, project};

use crate::needs::{Needs, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("docker::health", Needs::Docker, health),
        trial("docker::health_of_the_distroless_example", Needs::Docker, of_distroless),
        trial("docker::health_before_it_is_ready", Needs::Docker, not_before_it_is_ready),
        trial("docker::health_by_wget", Needs::Nothing, || answers("busybox", "wget")),
        trial("docker::health_by_bash", Needs::Nothing, || answers("bash", "bash")),
    ]
}

/// It comes, it stays through a hot restart and through one that is refused, and it goes when
/// Envoy is told to send clients away.
fn health() {
    let container = Run::of(&images().shell)
        .options(&["--network=none", "--health-interval=500ms", "--health-retries=2"])
        .options(&["--env=ENVOY_DRAIN_TIME_S=1", "--env=ENVOY_PARENT_SHUTDOWN_TIME_S=2"])
        .options(&["--env=HOT_RESTARTER_ENVOY_ADMIN=127.0.0.1:9901"])
        .options(&["--env=HOT_RESTARTER_DRAIN_TIMEOUT=20", "--env=HOT_RESTARTER_DRAIN_MIN=0"])
        .arguments(&QUIET)
        .start();
    await_health(&container, "healthy");
    container.kill("HUP");
    container.await_log("ready epoch=1");
    stays_healthy(&container);

    let spoil = "echo no_field_of_envoy: 1 >>/etc/envoy/envoy.yaml";
    let spoiled = container.exec(&["sh", "-c", spoil]);
    assert!(spoiled.status.success(), "{spoiled:?}");
    container.kill("HUP");
    container.await_log("restart-refused epoch=2");
    stays_healthy(&container);

    let fail = ["wget", "-q", "-O-", "--post-data=", "http://127.0.0.1:9901/healthcheck/fail"];
    let failed = container.exec(&fail);
    assert!(failed.status.success(), "{failed:?}");
    await_health(&container, "unhealthy");
    assert_eq!(container.stop(), 0);
    container.await_log("drained");
}

/// The restarter tells: it comes when an epoch is ready, it stays through hot restarts that succeed,
/// fail and are refused, and it goes when a stop begins.
fn of_distroless() {
    let stage = Stage::in_container((1, 2));
    let container = Run::distroless(&stage)
        .options(&["--no-healthcheck=false", "--health-interval=500ms", "--health-retries=2"])
        .variable("HOT_RESTARTER_ENVOY_ADMIN", &stage.admin())
        // It is removed long before.
        .options(&["--env=HOT_RESTARTER_TERM_WAIT=120", "--env=HOT_RESTARTER_DRAIN_TIMEOUT=115"])
        .option("--env=HOT_RESTARTER_DRAIN_MIN=115")
        .start();
    await_health(&container, "healthy");
    let reload = || container.send(&["reload", "--wait"]);
    assert_eq!(reload().code, 0);
    stage.put(&stage.configuration().with_an_unknown_field());
    assert_eq!(reload().code, 1);
    stays_healthy(&container);
    assert_eq!(container.send(&["stop"]).code, 0);
    await_health(&container, "unhealthy");
    let last = container.inspect("{{range .State.Health.Log}}{{.ExitCode}} {{.Output}}{{end}}");
    assert!(last.ends_with("1 unhealthy: everything is being stopped"), "{last}");
    let name = format!("--filter=name={}", container.name());
    assert!(docker(&["ps", &name, "--format={{.Status}}"]).ends_with(" (unhealthy)"));
    assert_eq!(container.inspect("{{.State.Running}}"), "true");
}

/// Before the first epoch is ready there is nobody who serves.
fn not_before_it_is_ready() {
    let container = Run::of(&images().distroless)
        .options(&["--network=none", "--health-interval=500ms", "--health-retries=2"])
        .options(&["--health-start-period=1ms", "--env=HOT_RESTARTER_READY=exec:/probe exit=1"])
        .option("--entrypoint=/hot-restarter")
        .mount(&probe(), "/probe:ro")
        .arguments(&["/probe", "wait"])
        .start();
    await_health(&container, "unhealthy");
    let last = container.inspect("{{range .State.Health.Log}}{{.ExitCode}} {{.Output}}{{end}}");
    assert!(last.ends_with("1 unhealthy: no epoch is ready"), "{last}");
}

fn await_health(container: &Container, wanted: &str) {
    eventually(&format!("the container is {wanted}"), || {
        let health = container.inspect("{{.State.Health.Status}}");
        if health == wanted { Ok(()) } else { Err(container.inspect("{{json .State.Health}}")) }
    });
}

/// Docker remembers five checks: as many as begin from now on find it healthy.
fn stays_healthy(container: &Container) {
    let each = "{{range .State.Health.Log}}{{.Start.UnixNano}}:{{.ExitCode}} {{end}}";
    let last = |checks: &str| checks.split_whitespace().last().map(str::to_owned);
    let before = last(&container.inspect(each)).expect("it was healthy before");
    let checks = eventually("five more checks", || {
        let checks = container.inspect(each);
        if checks.contains(&before) { Err(checks) } else { Ok(checks) }
    });
    let codes: Vec<_> = checks.split_whitespace().filter_map(|it| it.split(':').nth(1)).collect();
    assert_eq!(codes, ["0"; 5], "{checks}");
    assert_eq!(container.inspect("{{.State.Health.Status}}"), "healthy");
}

/// The script over a server of ours, with this program and no other in its PATH.
fn answers(program: &str, called: &str) {
    let scene = Scene::new();
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths).map(|folder| folder.join(program));
    let found = found.into_iter().find(|path| path.exists()).expect("the machine has it");
    let folder = scene.folder().join("bin");
    fs::create_dir(&folder).expect("ours");
    symlink(found, folder.join(called)).expect("ours");
    let healthy = |port: u16| {
        let mut check = Command::new("/bin/sh");
        check.arg(project().join("docker/healthcheck.sh"));
        check.env("PATH", &folder).env("ENVOY_HEALTH_PORT", port.to_string());
        check.status().expect("sh runs").success()
    };
    assert!(healthy(serve_once("200 OK")));
    assert!(!healthy(serve_once("503 Service Unavailable")));
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    assert!(!healthy(nobody.port()));
}

/// Where somebody answers one request for /healthz, with this status.
fn serve_once(status: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody asks");
        let mut request = Vec::new();
        // bash sends it line by line.
        while !request.ends_with(b"\r\n\r\n") {
            let mut more = [0; 1024];
            let length = stream.read(&mut more).expect("a request");
            assert_ne!(length, 0, "a whole request");
            request.extend_from_slice(&more[..length]);
        }
        assert!(request.starts_with(b"GET /healthz HTTP/1.1\r\n"), "{request:?}");
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).expect("it waits for the answer");
    });
    port
}
