//! What the kernel writes under `/proc`, with names in it that others have chosen.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use hot_restarter::memory::{Version, locate, parse_oom_kills};
use hot_restarter::procfs::{parse_caught, parse_children, parse_effective_user, parse_stat};
use hot_restarter::watch::mounts;

/// A `children` file: whatever it says, nobody is ever found who stands for many.
pub fn children(data: &[u8]) {
    for pid in parse_children(&String::from_utf8_lossy(data)) {
        assert!(pid.0 > 0, "{pid}");
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

/// `/proc/self/cgroup`, an empty line, `/proc/self/mountinfo`, an empty line, and the counter: what
/// is found is a counter's file below the mount that the kernel names.
pub fn cgroup(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.splitn(3, "\n\n");
    let mut part = || parts.next().unwrap_or_default();
    let (membership, mounts, counter) = (part(), part(), part());
    for (version, name) in [(Version::V1, "memory.oom_control"), (Version::V2, "memory.events")] {
        let Some(path) = locate(version, membership, mounts) else {
            continue;
        };
        assert!(path.ends_with(name), "{}", path.display());
        let is_its_mount = |line: &str| {
            let point = line.split(' ').nth(4);
            point.is_some_and(|point| path.starts_with(point))
        };
        assert!(mounts.lines().any(is_its_mount), "{}", path.display());
    }
    if let Some(kills) = parse_oom_kills(counter) {
        let again = format!("oom 7\noom_kill {kills}\noom_kill 9\n");
        assert_eq!(parse_oom_kills(&again), Some(kills));
    }
}

/// A path, an empty line, and `/proc/self/mountinfo`: a mount elsewhere is of no consequence.
pub fn mountinfo(data: &[u8]) {
    let end = data.windows(2).position(|pair| pair == b"\n\n").unwrap_or(data.len());
    let path = Path::new(OsStr::from_bytes(&data[..end]));
    let mounts = data.get(end + 2..).unwrap_or_default();
    for folder in [false, true] {
        let warned = mounts::warning(mounts, path, folder);
        let elsewhere = [b"1 2 0:1 /x /no/such/place rw - x x x\n", mounts].concat();
        if !path.starts_with("/no/such/place") {
            assert_eq!(mounts::warning(&elsewhere, path, folder), warned);
        }
    }
    // A folder is warned about for fewer reasons.
    if mounts::warning(mounts, path, true).is_some() {
        assert!(mounts::warning(mounts, path, false).is_some());
    }
}
