//! The preStop hook of a sidecar, a script that needs no more than the image has.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use libtest_mimic::Trial;
use support::project;
use support::scene::Scene;

use crate::needs::{Needs, trial};

/// What Envoy's admin is asked to do.
const ASKED: [&str; 2] = ["/healthcheck/fail", "/drain_listeners?graceful&skip_exit"];

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("docker::hook_by_wget", Needs::Nothing, || tells("busybox", "wget")),
        trial("docker::hook_by_bash", Needs::Nothing, || tells("bash", "bash")),
    ]
}

/// The script over an admin of ours, with this program in its PATH and no other that could ask.
fn tells(program: &str, called: &str) {
    let scene = Scene::new();
    let folder = scene.folder().join("bin");
    fs::create_dir(&folder).expect("ours");
    let paths = std::env::var_os("PATH").unwrap_or_default();
    for (program, called) in [(program, called), ("timeout", "timeout"), ("sleep", "sleep")] {
        let mut found = std::env::split_paths(&paths).map(|folder| folder.join(program));
        let found = found.find(|path| path.exists()).expect("the machine has it");
        symlink(found, folder.join(called)).expect("ours");
    }
    let hook = |admin: &str| {
        let mut hook = Command::new("/bin/sh");
        hook.arg(project().join("docker/drain.sh"));
        hook.env("PATH", &folder).env("HOT_RESTARTER_ENVOY_ADMIN", admin);
        hook.output().expect("sh runs")
    };

    // Silent at first, as in a handover.
    let (admin, asked) = serve(|count| if count == 0 { "" } else { "200 OK" });
    let told = hook(&admin.to_string());
    assert!(told.status.success(), "{told:?}");
    let asked: Vec<_> = asked.try_iter().collect();
    assert_eq!(asked[0], ASKED[0], "{asked:?}");
    let pairs = asked[1..].chunks_exact(ASKED.len());
    assert!(pairs.remainder().is_empty(), "{asked:?}");
    assert!(pairs.len() > 1 && pairs.into_iter().all(|pair| pair == ASKED), "{asked:?}");

    let (admin, _asked) = serve(|_| "503 Service Unavailable");
    assert!(!hook(&admin.to_string()).status.success());
    let socket = hook("unix:/run/envoy/admin.sock");
    assert!(!socket.status.success());
    assert!(String::from_utf8_lossy(&socket.stderr).contains("HOST:PORT"), "{socket:?}");
}

/// An admin that answers each request with the status that there is for its number, or ends the
/// connection; and the paths of what was posted.
fn serve(
    status: impl Fn(usize) -> &'static str + Send + 'static,
) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for (count, stream) in listener.incoming().enumerate() {
            let mut stream = BufReader::new(stream.expect("somebody asks"));
            let (mut line, mut path) = (String::new(), None);
            while stream.read_line(&mut line).expect("a request") > 2 {
                let posted = line.strip_prefix("POST ").and_then(|rest| rest.split(' ').next());
                path = path.or(posted.map(str::to_owned));
                line.clear();
            }
            if sender.send(path.expect("it posts")).is_err() {
                break;
            }
            let status = status(count);
            if !status.is_empty() {
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                stream.get_mut().write_all(answer.as_bytes()).expect("it waits for the answer");
            }
        }
    });
    (address, receiver)
}
