//! How often the kernel's out-of-memory killer has struck in our cgroup.

use std::fs;
use std::path::{Path, PathBuf};

/// The number of processes that the out-of-memory killer has ended in our cgroup, from
/// `memory.events` (v2) or `memory.oom_control` (v1); `None` where the kernel does not tell.
pub fn oom_kills() -> Option<u64> {
    let text = fs::read_to_string(counter_file()?).ok()?;
    parse_oom_kills(&text)
}

fn counter_file() -> Option<PathBuf> {
    let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    [Version::V1, Version::V2]
        .into_iter()
        .filter_map(|version| locate(version, &membership, &mounts))
        .find(|path| path.exists())
}

/// The two kinds of cgroup hierarchy; a machine may have both, and then memory is of one.
#[derive(Clone, Copy, Debug)]
enum Version {
    V1,
    V2,
}

/// Where a hierarchy keeps our cgroup's counter: the mount point, and below it our path as far
/// as it lies below the mount's own root. In a container both are usually the same cgroup.
fn locate(version: Version, membership: &str, mounts: &str) -> Option<PathBuf> {
    let path = membership.lines().find_map(|line| {
        // hierarchy:controllers:path
        let mut fields = line.splitn(3, ':').skip(1);
        let controllers = fields.next()?;
        let ours = match version {
            Version::V1 => controllers.split(',').any(|controller| controller == "memory"),
            Version::V2 => controllers.is_empty(),
        };
        fields.next().filter(|_| ours)
    })?;
    mounts.lines().find_map(|line| {
        // id parent device root mount-point options … - type source super-options
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (mount.next()?, mount.next()?);
        let mut file_system = file_system.split(' ');
        let (kind, options) = (file_system.next()?, file_system.nth(1)?);
        let (ours, file) = match version {
            Version::V1 => (
                kind == "cgroup" && options.split(',').any(|option| option == "memory"),
                "memory.oom_control",
            ),
            Version::V2 => (kind == "cgroup2", "memory.events"),
        };
        let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
        ours.then(|| Path::new(point).join(below).join(file))
    })
}

/// The `oom_kill` line, which both versions write alike.
fn parse_oom_kills(text: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .and_then(|count| count.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_2_as_a_container_sees_it() {
        let mounts = "31 24 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw,nsdelegate\n";
        let file = locate(Version::V2, "0::/\n", mounts);
        assert_eq!(file, Some(PathBuf::from("/sys/fs/cgroup/memory.events")));
        assert!(locate(Version::V1, "0::/\n", mounts).is_none());
    }

    #[test]
    fn version_1_as_a_container_sees_it() {
        let membership = "5:devices:/docker/abc\n4:memory:/docker/abc\n0::/docker/abc\n";
        let mounts = "40 30 0:33 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup c rw,cpu\n\
            41 30 0:34 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let file = locate(Version::V1, membership, mounts);
        assert_eq!(file, Some(PathBuf::from("/sys/fs/cgroup/memory/memory.oom_control")));
    }

    #[test]
    fn version_2_on_a_host() {
        let membership = "0::/system.slice/envoy.service\n";
        let mounts = "31 24 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n";
        let file = locate(Version::V2, membership, mounts);
        let expected = "/sys/fs/cgroup/system.slice/envoy.service/memory.events";
        assert_eq!(file, Some(PathBuf::from(expected)));
    }

    #[test]
    fn both_versions_count_alike() {
        let v1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n";
        let v2 = "low 0\nhigh 0\nmax 31\noom 1\noom_kill 3\noom_group_kill 0\n";
        assert_eq!(parse_oom_kills(v1), Some(2));
        assert_eq!(parse_oom_kills(v2), Some(3));
        assert_eq!(parse_oom_kills("oom_kill many"), None);
        assert_eq!(parse_oom_kills(""), None);
    }
}
