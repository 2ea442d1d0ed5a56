//! What is fuzzed: everything that reads bytes which others have written.
//!
//! Each target is a function of arbitrary bytes that panics when a promise is broken. The same
//! function runs under `cargo +nightly fuzz run TARGET`, and over every file of its corpus in
//! `cargo test --no-default-features`, on any toolchain. To add one: a function here and its
//! line in [`TARGETS`], a file in `fuzz_targets/` with its `[[bin]]`, and a corpus.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use hot_restarter::control::{render, wire};
use hot_restarter::envoy::admin::{self, ServerInfo};
use hot_restarter::envoy::shared_memory::{
    FileId, Flag, SharedMemory, flag, lower_flag, mapping_in, path_of,
};
use hot_restarter::envoy::{base_id_in, drain, has_bound};
use hot_restarter::http::{ANSWER_LIMIT, Address, Decoder, Malformed, Response, Url, Wanted};
use hot_restarter::procfs::{parse_caught, parse_children, parse_effective_user, parse_stat};
use hot_restarter::supervisor::{Answer, Mended, Reply, Request};

/// A target: it panics when a promise is broken.
pub type Target = fn(&[u8]);

/// Every target, by the name of its binary and of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("address", address),
    ("arguments", arguments),
    ("children", children),
    ("http_answer", http_answer),
    ("maps", maps),
    ("pending", pending),
    ("reply", reply),
    ("request", request),
    ("server_info", server_info),
    ("shared_memory", shared_memory),
    ("sockets", sockets),
    ("stat", stat),
    ("status", status),
];

/// What `--envoy-admin` and `--ready http:` are given: what is taken is written as it is meant.
pub fn address(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    // Sockets' names may hold anything, and are shown escaped.
    if let Ok(address @ Address::Tcp { .. }) = text.parse::<Address>() {
        let again = address.to_string().parse::<Address>().expect("it was taken before");
        assert_eq!(again.to_string(), address.to_string());
    }
    if let Ok(url) = text.parse::<Url>() {
        assert!(url.path.starts_with('/'), "{url}");
        // It goes into a request's first line, and nothing may come to be a second one.
        assert!(url.path.bytes().all(|byte| byte.is_ascii_graphic()), "{url}");
        let again = url.to_string().parse::<Url>().expect("it was taken before");
        assert_eq!(again.to_string(), url.to_string());
    }
}

/// A command line as the kernel gives it, whose `--base-id` names the shared memory.
pub fn arguments(data: &[u8]) {
    let words: Vec<&[u8]> = data.split(|byte| *byte == 0).collect();
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

/// A `children` file: whatever it says, nobody is ever found who stands for many.
pub fn children(data: &[u8]) {
    for pid in parse_children(&String::from_utf8_lossy(data)) {
        assert!(pid.0 > 0, "{pid}");
    }
}

/// An answer over HTTP: however it is cut into pieces, it is the same answer, and never a long one.
pub fn http_answer(data: &[u8]) {
    let whole = decoded(Wanted::Body, [data]);
    assert_eq!(whole, decoded(Wanted::Body, data.chunks(1)), "byte by byte");
    assert_eq!(whole, decoded(Wanted::Body, data.chunks(7)), "by sevens");
    if let Ok(Response { status, body }) = whole {
        assert!((100..1000).contains(&status) && body.len() < ANSWER_LIMIT, "{status}");
        // Who wants to know less learns no less.
        let short = decoded(Wanted::Status, [data]).expect("it is an answer");
        assert_eq!(short.status, status);
    }
}

fn decoded<'a>(
    wanted: Wanted,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Response, Malformed> {
    let mut decoder = Decoder::new(wanted);
    for piece in pieces {
        if let Some(response) = decoder.feed(piece)? {
            return Ok(response);
        }
    }
    decoder.end()
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

/// A line from whoever listens where a restarter should: what is taken means one thing, and is
/// fit for a terminal, as is the reason why something is not taken.
pub fn reply(data: &[u8]) {
    let shown = match wire::Reply::parse(data) {
        Ok(reply) => {
            let again = reply.line();
            let again = again.strip_suffix('\n').expect("it is a line");
            assert_eq!(wire::Reply::parse(again.as_bytes()).as_ref(), Ok(&reply), "{again}");
            render::answer(&reply)
        }
        Err(why) => render::Plain(&why).to_string(),
    };
    let control =
        shown.chars().find(|character| character.is_control() && !"\n\t".contains(*character));
    assert_eq!(control, None, "{shown:?}");
}

/// A line from a client of the control socket: what is taken means one thing, and what is not is
/// told why in one line.
pub fn request(data: &[u8]) {
    match wire::Request::parse(data) {
        Ok(request) => {
            assert_eq!(request.version, wire::VERSION);
            assert!(!request.wait || request.command.takes_time(), "{request:?}");
            let wire::Request { command, wait, .. } = request;
            let again = format!("{{\"version\":1,\"command\":\"{command}\",\"wait\":{wait}}}");
            assert_eq!(wire::Request::parse(again.as_bytes()), Ok(request));
        }
        Err(why) => {
            let line = wire::Reply::new(wire::Kind::Error, false, &why).line();
            assert_eq!(line.matches('\n').count(), 1, "{line:?}");
            assert!(line.len() <= 16 * data.len() + 1024, "{line:?}");
        }
    }
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

/// Whatever is in the file of a shared memory: the flag is lowered where everything is as we
/// know it, and in no other case is a single byte written.
pub fn shared_memory(data: &[u8]) {
    // In memory, for speed, where there is such a folder.
    static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
        let shared = Path::new("/dev/shm");
        let folder = if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() };
        folder.join(format!("hot-restarter-fuzz-{}", std::process::id()))
    });
    let path: &Path = &FILE;
    fs::write(path, data).expect("a file of our own");

    let seen = flag(path);
    // Any user, since the content is what matters here; who we are is not asked for.
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(path).expect("just written"));
    let memory = SharedMemory { path: path.to_owned(), file: None, owners: vec![owner] };
    let strangers = SharedMemory { owners: vec![owner ^ 1], ..memory.clone() };
    let refused = lower_flag(&strangers);
    assert_eq!(fs::read(path).expect("our own"), data, "a stranger's file was written to");
    let mended = lower_flag(&memory);
    let after = fs::read(path).expect("our own");
    let seen_after = flag(path);
    let _ = fs::remove_file(path);

    let mut expected = data.to_vec();
    match known_flags(data) {
        None => {
            assert_eq!(seen, Flag::Unknown);
            assert!(matches!(refused, Mended::Refused(_)), "{refused:?}");
            assert!(matches!(mended, Mended::Refused(_)), "{mended:?}");
        }
        Some(at) if data[at] & 1 == 0 => {
            assert_eq!((seen, refused, mended), (Flag::Down, Mended::Clean, Mended::Clean));
        }
        Some(at) => {
            expected[at] &= !1;
            assert_eq!((seen, seen_after), (Flag::Up, Flag::Down));
            assert!(matches!(refused, Mended::Refused(_)), "{refused:?}");
            assert_eq!(mended, Mended::Repaired);
        }
    }
    assert_eq!(after, expected);
}

/// Where the byte with the flag is, in a content that is a shared memory, said once more in
/// other words.
fn known_flags(content: &[u8]) -> Option<usize> {
    let sizes: [&[u8]; 2] = [&[104, 0, 0, 0, 0, 0, 0, 0], &[120, 0, 0, 0, 0, 0, 0, 0]];
    let size = sizes.into_iter().find(|size| content.starts_with(size))?;
    let whole = usize::from(size[0]);
    let fits = content.len() >= whole && content[8..16] == [11, 0, 0, 0, 0, 0, 0, 0];
    fits.then_some(whole - 8)
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

/// A `stat` file.
pub fn stat(data: &[u8]) {
    let line = String::from_utf8_lossy(data);
    let Some(found) = parse_stat(&line) else {
        return;
    };
    // A process may call itself anything, so no name changes what is found.
    let hostile = format!("{} (1 ) (Z) 1 (() {} {}", found.pid, found.state, found.parent);
    assert_eq!(parse_stat(&hostile), Some(found));
}

/// A `status` file. The kernel escapes the name in its first line.
pub fn status(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (caught, user) = (parse_caught(&text), parse_effective_user(&text));
    let later = format!("Name:\tSigCgt:\\nUid:\nUmask:\t0022\n{text}");
    assert_eq!((parse_caught(&later), parse_effective_user(&later)), (caught, user));
}
