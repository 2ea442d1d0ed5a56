//! Where people stop it: `docker stop`, and what kubelet does to a pod.

use std::thread;
use std::time::{Duration, Instant};

use clients::{Front, Mix};
use libtest_mimic::Trial;
use support::docker::{Container, Run};
use support::envoy::Stage;

use super::{ENDING, LONG, TIMEOUT, UNAWARE};
use crate::needs::{Needs, trial};

/// The trials of this module.
pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("docker::stop_with_a_drain", Needs::Docker, docker_stop),
        trial("docker::pod_with_a_drain", Needs::Docker, pod),
    ]
}

/// Nothing but a longer time than the engine's ten seconds is needed.
fn docker_stop() {
    let front = Front::of(Stage::in_container((45, 60)));
    let container = started(&front, Run::envoy(&front.stage));
    stop(&front, &container, End::DockerStop);
}

/// A user of no name, nothing to write but volumes, and an admin that is not on the network; the
/// end is a SIGTERM, and a SIGKILL when the grace is over.
fn pod() {
    let front = Front::of(Stage::in_container_with_admin_on_a_unix_socket((45, 60)));
    let log = front.stage.log_folder();
    let options = [
        "--user=12345:12345",
        "--read-only",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        "--memory=512m",
    ];
    let place = log.display().to_string();
    let container =
        started(&front, Run::distroless(&front.stage).options(&options).mount(&log, &place));
    stop(&front, &container, End::Term);
}

fn started(front: &Front, run: Run) -> Container {
    let container = run
        .variable("HOT_RESTARTER_ENVOY_ADMIN", &front.stage.admin())
        .variable("HOT_RESTARTER_DRAIN_TIMEOUT", &TIMEOUT.to_string())
        // The images have less.
        .variable("HOT_RESTARTER_TERM_WAIT", "30")
        .start();
    front.stage.await_first(|| container.logs());
    container
}

/// Who stops a container.
#[derive(Clone, Copy, Debug)]
enum End {
    DockerStop,
    Term,
}

/// Stops a container under clients who have not noticed yet.
fn stop(front: &Front, container: &Container, end: End) {
    let mut population = front.clients(Mix::ALL);
    front.send_long(&mut population, LONG);
    let since = Instant::now();
    let (lasted, figures) = thread::scope(|scope| {
        let stop = scope.spawn(|| {
            let code = match end {
                End::DockerStop => container.stop(),
                End::Term => {
                    container.kill("TERM");
                    container.wait()
                }
            };
            (code, since.elapsed())
        });
        let figures = population.finish(UNAWARE);
        let (code, lasted) = stop.join().expect("it has ended");
        assert_eq!(code, 0, "{}", container.logs());
        (lasted, figures)
    });
    println!("{end:?}: {lasted:?}\n{figures}");
    assert_eq!(figures.all().failed(), 0, "{figures}");
    assert!(lasted < Duration::from_secs(TIMEOUT) + ENDING, "{lasted:?}: {}", container.logs());
    container.await_log("drained: nothing is pending");
}
