//! What tells of an Envoy, and what its admin says.

use hot_restarter::envoy::admin::{self, ServerInfo};
use hot_restarter::envoy::shared_memory::{FileId, mapping_in, path_of};
use hot_restarter::envoy::{base_id_in, drain, epoch_in, has_bound};
use hot_restarter::http::Response;
use hot_restarter::supervisor::{Answer, Reply, Request};

/// A command line as the kernel gives it, whose `--base-id` names the shared memory; or an
/// environment, which names the epoch.
pub fn arguments(data: &[u8]) {
    let words: Vec<&[u8]> = data.split(|byte| *byte == 0).collect();
    if let Some(epoch) = epoch_in(words.iter().copied()) {
        let first = format!("RESTART_EPOCH={epoch}");
        let words = [first.as_bytes()].into_iter().chain(words.iter().copied());
        assert_eq!(epoch_in(words), Some(epoch), "the first one counts");
    }
    let Some(base_id) = base_id_in(words.iter().copied()) else {
        return;
    };
    let path = path_of(base_id);
    let name = path.file_name().and_then(|name| name.to_str()).expect("it has a name");
    assert!(name.ends_with('0') && !name.contains('/'), "{name}");
    // What comes before the option is of no consequence.
    let later = [b"envoy".as_slice(), b"-c", b"x"].into_iter().chain(words);
    assert_eq!(base_id_in(later), Some(base_id));
}

/// A `maps` file: what is found lies in `/dev/shm` and can be read again from its own line.
pub fn maps(data: &[u8]) {
    let Some(found) = mapping_in(data) else {
        return;
    };
    let path = found.path.to_str().expect("the name is one of digits");
    let name = path.strip_prefix("/dev/shm/envoy_shared_memory_").expect("it is in the folder");
    let digits = name.strip_suffix(" (deleted)").unwrap_or(name);
    assert!(!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()), "{path}");
    // The kernel's own numbering, from the other side: the device by its two parts.
    let FileId { device, inode } = found.file;
    let major = ((device >> 32) & 0xffff_f000) | ((device >> 8) & 0xfff);
    let minor = ((device >> 12) & 0xffff_ff00) | (device & 0xff);
    let line = format!("7f00-7f01 rw-s 00000000 {major:02x}:{minor:02x} {inode} {path}\n");
    assert_eq!(mapping_in(line.as_bytes()), Some(found));
}

/// The body of `/stats`: more of it never makes it less, and only with status 200 does it count.
pub fn pending(data: &[u8]) {
    let said = |status, body: &[u8]| {
        drain::reply(Request::CountPending, &Response { status, body: body.to_vec() })
    };
    assert_eq!(said(503, data), Reply::Failed);
    let Some(count) = drain::count(data) else {
        return assert_eq!(said(200, data), Reply::Failed);
    };
    assert_eq!(said(200, data), Reply::Counted(count));
    let before = count.pending;
    // What there is none of may not be left to belief.
    let own = data.split(|byte| *byte == b'\n');
    assert!(own.into_iter().any(|line| line.starts_with(b"http.admin.downstream_rq_active: ")));
    let one_more = |line: &str| {
        let newline: &[u8] = if data.ends_with(b"\n") { b"" } else { b"\n" };
        let body = [data, newline, line.as_bytes()].concat();
        drain::count(&body).expect("it was an answer").pending
    };
    let after = one_more("http.x.downstream_rq_active: 1\n");
    assert_eq!(after.requests, before.requests.saturating_add(1));
    assert_eq!(after.connections, before.connections);
    assert_eq!(one_more("listener.x.worker_0.downstream_cx_active: 1\n"), before);
    assert!(one_more("listener.x.downstream_cx_active: 1\n").connections >= before.connections);
}

/// The body of `/server_info`: it speaks for one epoch at most, and only with status 200.
pub fn server_info(data: &[u8]) {
    let said = |status, epoch| {
        let info = ServerInfo::of(&Response { status, body: data.to_vec() });
        info.map_or(Answer::No, |info| info.answer(epoch, None))
    };
    match admin::server_info(data) {
        None => assert_eq!(said(200, 0), Answer::No),
        Some(info) => {
            assert_ne!(said(200, info.restart_epoch), Answer::No);
            assert_eq!(said(200, info.restart_epoch ^ 1), Answer::No);
            assert_eq!(said(503, info.restart_epoch), Answer::No);
        }
    }
}

/// A `/proc/net/unix` file: one epoch's sockets are not another's.
pub fn sockets(data: &[u8]) {
    let path = path_of(7);
    for epoch in 0..3 {
        let bound = has_bound(data, &path, epoch);
        assert_eq!(bound, has_bound(data, &path, epoch + 3), "epochs repeat after three");
        let mut more = data.to_vec();
        more.extend(format!("\n0: 2 0 0 2 1 9 @envoy_domain_socket_child_7{epoch}@\n").bytes());
        assert!(has_bound(&more, &path, epoch));
        for other in [epoch + 1, epoch + 2] {
            assert_eq!(has_bound(&more, &path, other), has_bound(data, &path, other));
        }
    }
}
