//! How an Envoy is told to drain, and what it says is pending.
//!
//! Measured with Envoy 1.40.0: `/healthcheck/fail` sends `Connection: close` or GOAWAY with each
//! answer from then on, and closes that connection 5 s later; `/drain_listeners?graceful` does the
//! same on listeners without a health check, and without `skip_exit` closes the listeners when
//! Envoy's own drain time is over, so that new connections are refused. Idle connections are
//! neither told nor closed, so what is waited for is requests, and of other protocols connections.
//! A request is over for Envoy when the last of its answer lies in its own buffer, and a client
//! that reads slowly has not got it then, so those bytes are waited for as well.
//!
//! Its figures include those of the epochs before it as they were when it last asked for them: at
//! each flush of its statistics, at which it also sets `server.uptime`, and never else.

use std::str;

use crate::http::{Method, Response, Wanted};
use crate::supervisor::{Count, Pending, Reply, Request};

/// Gauges of listeners and of HTTP connection managers, and `server.uptime`:
/// `^(server\.uptime|(http|listener)\..*\.downstream_(rq_active|cx_active|cx_tx_bytes_buffered))$`.
macro_rules! stats {
    ($used:literal) => {
        concat!(
            "/stats?",
            $used,
            "type=Gauges&filter=%5E(server%5C.uptime%7C(http%7Clistener)%5C..*%5C.",
            "downstream_(rq_active%7Ccx_active%7Ccx_tx_bytes_buffered))%24"
        )
    };
}

/// How it is asked: method, path with query, and what of the answer matters.
pub fn question(request: Request, older: bool) -> (Method, &'static str, Wanted) {
    match request {
        Request::FailHealthCheck => (Method::Post, "/healthcheck/fail", Wanted::Status),
        Request::DrainListeners => {
            (Method::Post, "/drain_listeners?graceful&skip_exit", Wanted::Status)
        }
        // What an Envoy has never used itself it may have from an older one.
        Request::CountPending if older => (Method::Get, stats!(""), Wanted::Body),
        // With thousands of listeners the rest would be more than we read.
        Request::CountPending => (Method::Get, stats!("usedonly&"), Wanted::Body),
    }
}

/// What an answer says. Only 200 comes with one.
pub fn reply(request: Request, response: &Response) -> Reply {
    match request {
        _ if response.status != 200 => Reply::Failed,
        Request::FailHealthCheck | Request::DrainListeners => Reply::Done,
        Request::CountPending => count(&response.body).map_or(Reply::Failed, Reply::Counted),
    }
}

/// Adds up the answer to [`Request::CountPending`]; `None` where it is none.
pub fn count(body: &[u8]) -> Option<Count> {
    let mut requests: u64 = 0;
    let mut http_connections: u64 = 0;
    let mut connections: u64 = 0;
    let mut unsent_bytes: u64 = 0;
    let mut own_request = false;
    let mut asked_older = None;
    for line in str::from_utf8(body).ok()?.lines() {
        let (name, value) = line.split_once(": ")?;
        let value: u64 = value.parse().ok()?;
        if name == "server.uptime" {
            asked_older = Some(value);
            continue;
        }
        let (owner, what) = name.rsplit_once('.')?;
        let sum = match (owner.split_once('.')?, what) {
            // The admin serves us, and is drained by nobody.
            (("http", "admin"), "downstream_rq_active") => {
                own_request = true;
                continue;
            }
            (("http", "admin") | ("listener", "admin" | "admin.main_thread"), _) => continue,
            (("http", _), "downstream_rq_active") => &mut requests,
            (("http", _), "downstream_cx_active") => &mut http_connections,
            (("http", _), "downstream_cx_tx_bytes_buffered") => &mut unsent_bytes,
            // Its share is in the listener's figure.
            (("listener", of), "downstream_cx_active") if is_of_worker(of) => continue,
            (("listener", _), "downstream_cx_active") => &mut connections,
            _ => return None,
        };
        *sum = sum.saturating_add(value);
    }
    // The very request that asks is counted, so an answer without that is no answer to it.
    let connections = connections.saturating_sub(http_connections);
    let pending = Pending { requests, connections, unsent_bytes };
    own_request.then_some(Count { pending, asked_older })
}

/// Whether this is `LISTENER.worker_N`.
fn is_of_worker(listener: &str) -> bool {
    let worker = listener.rsplit_once('.').and_then(|(_, last)| last.strip_prefix("worker_"));
    worker.is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "http.admin.downstream_cx_active: 1\nhttp.admin.downstream_rq_active: 1\n";
    const ADMIN: &str = "listener.admin.downstream_cx_active: 7\n\
        listener.admin.main_thread.downstream_cx_active: 7\n";

    fn pending(gauges: &str) -> Option<(u64, u64)> {
        let body = format!("{OWN}{gauges}{ADMIN}");
        let Count { pending, asked_older } = count(body.as_bytes())?;
        assert_eq!(asked_older, None);
        Some((pending.requests, pending.connections))
    }

    #[test]
    fn what_clients_have_not_taken_is_pending() {
        let body = format!("{OWN}http.a.downstream_cx_tx_bytes_buffered: 1287458\n");
        let counted = count(body.as_bytes()).expect("an answer").pending;
        assert_eq!(counted.unsent_bytes, 1_287_458);
        assert!(!counted.is_nothing());
    }

    #[test]
    fn the_time_of_the_flush_is_no_figure() {
        let counted = count(format!("{OWN}server.uptime: 13\n").as_bytes()).expect("an answer");
        assert_eq!(counted, Count { pending: Pending::default(), asked_older: Some(13) });
        assert_eq!(count(b"server.uptime: 13\n"), None);
    }

    #[test]
    fn requests_count_and_idle_http_connections_do_not() {
        let gauges = "http.in.gress.downstream_cx_active: 9\nhttp.in.gress.downstream_rq_active: 2\n\
            http.b.downstream_cx_active: 1\nhttp.b.downstream_rq_active: 1\n\
            listener.127.0.0.1_1.downstream_cx_active: 9\n\
            listener.127.0.0.1_1.worker_0.downstream_cx_active: 5\n\
            listener.127.0.0.1_1.worker_10.downstream_cx_active: 4\n\
            listener.[__1]_2.downstream_cx_active: 1\n";
        assert_eq!(pending(gauges), Some((3, 0)));
        let tcp = "listener.0.0.0.0_3.downstream_cx_active: 4\n";
        assert_eq!(pending(&format!("{gauges}{tcp}")), Some((3, 4)));
        assert_eq!(pending(""), Some((0, 0)));
        // Taken at different moments, the parts may be more than the whole.
        assert_eq!(pending("http.x.downstream_cx_active: 9\n"), Some((0, 0)));
    }

    #[test]
    fn names_that_resemble_ours_are_others() {
        for (gauges, expected) in [
            ("http.admin2.downstream_rq_active: 2\n", (2, 0)),
            ("http.administration.x.downstream_rq_active: 2\n", (2, 0)),
            ("listener.admin_public.downstream_cx_active: 3\n", (0, 3)),
            ("listener.a.worker_x.downstream_cx_active: 3\n", (0, 3)),
            ("listener.worker_1.downstream_cx_active: 3\n", (0, 3)),
            ("http.a.worker_1.downstream_rq_active: 3\n", (3, 0)),
            ("http.admin.x.downstream_rq_active: 3\n", (3, 0)),
            ("listener.admin.tcp.downstream_cx_active: 3\n", (0, 3)),
        ] {
            assert_eq!(pending(gauges), Some(expected), "{gauges}");
        }
    }

    #[test]
    fn what_is_no_answer_is_not_taken_for_nothing() {
        for body in ["", "\n", "OK\n", "<html>", "listener.a.downstream_cx_active: 0\n", ADMIN] {
            assert_eq!(count(body.as_bytes()), None, "{body:?}");
        }
        for line in [
            "http.a.downstream_rq_active: many\n",
            "http.a.downstream_rq_active: -1\n",
            "http.a.downstream_rq_active 1\n",
            "http.a.downstream_rq_total: 1\n",
            "cluster.a.downstream_rq_active: 1\n",
            "downstream_rq_active: 1\n",
            "\n",
        ] {
            assert_eq!(pending(line), None, "{line:?}");
        }
        assert_eq!(count(&[OWN.as_bytes(), &[0xff, b'\n']].concat()), None);
        let most = u64::MAX;
        let gauges =
            format!("http.a.downstream_rq_active: {most}\nhttp.b.downstream_rq_active: 1\n");
        assert_eq!(pending(&gauges), Some((most, 0)));
    }

    #[test]
    fn only_200_is_a_yes() {
        let said = |status, body: &str| Response { status, body: body.into() };
        for request in [Request::FailHealthCheck, Request::DrainListeners] {
            assert_eq!(reply(request, &said(200, "")), Reply::Done);
            assert_eq!(reply(request, &said(403, "OK")), Reply::Failed);
            assert_eq!(reply(request, &said(302, "")), Reply::Failed);
        }
        let nothing = Count { pending: Pending::default(), asked_older: None };
        let nothing = Reply::Counted(nothing);
        assert_eq!(reply(Request::CountPending, &said(200, OWN)), nothing);
        assert_eq!(reply(Request::CountPending, &said(200, "OK")), Reply::Failed);
        assert_eq!(reply(Request::CountPending, &said(503, OWN)), Reply::Failed);
    }
}
