//! How often the kernel's out-of-memory killer has struck in our cgroup.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::procfs;
use crate::supervisor::Moment;

/// How long the end of a process that the killer has struck may be in coming: the kernel frees its
/// memory first.
const UNTOLD_WAIT: Duration = Duration::from_secs(5);

/// The kills that were counted once, for those since to be told from them.
#[derive(Debug)]
pub struct OomKills {
    counted: u64,
    /// Those of them whose ends are still to be told, as long as they may be in coming.
    untold: u64,
    until: Moment,
}

impl OomKills {
    /// Counts them, and takes as many of them for `untold`; `None` where the kernel does not tell.
    pub fn record(now: Moment, untold: u64) -> Option<Self> {
        Some(Self { counted: oom_kills()?, untold, until: now + UNTOLD_WAIT })
    }

    /// How many there have been since, and of those before the untold.
    pub fn since(&self, now: Moment) -> Option<u64> {
        Some(self.of_all(now, oom_kills()?))
    }

    fn of_all(&self, now: Moment, kills: u64) -> u64 {
        let untold = if now < self.until { self.untold } else { 0 };
        kills.saturating_sub(self.counted) + untold
    }
}

/// The number of processes that the out-of-memory killer has ended in our cgroup, from
/// `memory.events` (v2) or `memory.oom_control` (v1); `None` where the kernel does not tell.
fn oom_kills() -> Option<u64> {
    oom_kills_below(Path::new("/"))
}

/// The same as the files below another root have it.
fn oom_kills_below(root: &Path) -> Option<u64> {
    let read = |path: PathBuf| String::from_utf8(procfs::read(path).ok()?).ok();
    let membership = read(root.join("proc/self/cgroup"))?;
    let mounts = read(root.join("proc/self/mountinfo"))?;
    let counter = [Version::V1, Version::V2]
        .into_iter()
        .filter_map(|version| locate(version, &membership, &mounts))
        .find_map(|path| read(root.join(path.strip_prefix("/").unwrap_or(&path))))?;
    parse_oom_kills(&counter)
}

/// The two kinds of cgroup hierarchy; a machine may have both, and then memory is of one.
#[derive(Clone, Copy, Debug)]
pub enum Version {
    /// A hierarchy for each controller.
    V1,
    /// One hierarchy for all.
    V2,
}

/// Where a hierarchy keeps our cgroup's counter: the mount point, and below it our path as far
/// as it lies below the mount's own root. In a container both are usually the same cgroup.
///
/// `membership` is `/proc/self/cgroup`, `mounts` is `/proc/self/mountinfo`.
pub fn locate(version: Version, membership: &str, mounts: &str) -> Option<PathBuf> {
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
        // Joined, a path from the root of all would stand alone.
        let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
        let below = below.strip_prefix("/").unwrap_or(below);
        ours.then(|| Path::new(point).join(below).join(file))
    })
}

/// The `oom_kill` line, which both versions write alike.
pub fn parse_oom_kills(text: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .and_then(|count| count.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_untold_kill_is_not_waited_for_for_ever() {
        let at = |seconds| Moment(Duration::from_secs(seconds));
        let kills = OomKills { counted: 7, untold: 1, until: at(15) };
        assert_eq!((kills.of_all(at(14), 7), kills.of_all(at(14), 9)), (1, 3));
        assert_eq!((kills.of_all(at(15), 7), kills.of_all(at(15), 9)), (0, 2));
        assert_eq!(kills.of_all(at(15), 6), 0, "in another cgroup by now");
    }

    /// What is read of a machine that has these files.
    fn counted(name: &str, files: &[(&str, &str)]) -> Option<u64> {
        let root = std::env::temp_dir().join(format!("memory-{}-{name}", std::process::id()));
        for (place, text) in files {
            let path = root.join(place);
            fs::create_dir_all(path.parent().expect("a folder")).expect("it is ours");
            fs::write(path, text).expect("it is ours");
        }
        let counted = oom_kills_below(&root);
        fs::remove_dir_all(&root).expect("it is ours");
        counted
    }

    const V1: &str = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n";
    const V1_OF_OTHERS: &str = "oom_kill_disable 0\nunder_oom 0\noom_kill 99\n";
    const V2: &str = "low 0\nhigh 0\nmax 31\noom 1\noom_kill 3\noom_group_kill 0\n";
    const V2_OF_OTHERS: &str = "low 0\nhigh 0\nmax 0\noom 0\noom_kill 99\n";

    /// Docker's default where version 1 has the memory: the container's cgroup is the mount's root.
    #[test]
    fn version_1_in_a_container() {
        let membership = "9:name=systemd:/docker/3a075fd2\n5:devices:/docker/3a075fd2\n\
            4:memory:/docker/3a075fd2\n3:cpuset:/docker/3a075fd2\n0::/docker/3a075fd2\n";
        let mounts = "75 53 0:44 / / rw,relatime master:13 - overlay overlay rw,xino=off\n\
            76 75 0:45 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,mode=755\n\
            79 76 0:31 /docker/3a075fd2 /sys/fs/cgroup/cpuset ro,nosuid,nodev,noexec,relatime - \
            cgroup cgroup rw,cpuset\n\
            80 76 0:32 /docker/3a075fd2 /sys/fs/cgroup/memory ro,nosuid,nodev,noexec,relatime - \
            cgroup cgroup rw,memory\n\
            85 76 0:37 /docker/3a075fd2 /sys/fs/cgroup/systemd ro,nosuid,nodev,noexec,relatime - \
            cgroup cgroup rw,name=systemd\n";
        let files = [
            ("proc/self/cgroup", membership),
            ("proc/self/mountinfo", mounts),
            ("sys/fs/cgroup/cpuset/memory.oom_control", V1_OF_OTHERS),
            ("sys/fs/cgroup/memory/memory.oom_control", V1),
        ];
        assert_eq!(counted("v1-container", &files), Some(2));
    }

    /// `--cgroupns=private`, which hides the path.
    #[test]
    fn version_1_in_a_cgroup_namespace() {
        let membership = "5:devices:/\n4:memory:/\n3:cpuset:/\n0::/\n";
        let mounts = "79 76 0:31 / /sys/fs/cgroup/cpuset ro,nosuid - cgroup cgroup rw,cpuset\n\
            80 76 0:32 / /sys/fs/cgroup/memory ro,nosuid - cgroup cgroup rw,memory\n";
        let files = [
            ("proc/self/cgroup", membership),
            ("proc/self/mountinfo", mounts),
            ("sys/fs/cgroup/memory/memory.oom_control", V1),
        ];
        assert_eq!(counted("v1-namespace", &files), Some(2));
    }

    /// Both versions are there, and version 1 has the memory.
    #[test]
    fn version_1_on_a_host_with_both() {
        let membership = "9:name=systemd:/\n4:memory:/process_api/c53f\n3:cpuset:/\n0::/\n";
        let mounts = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
            35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let files = [
            ("proc/self/cgroup", membership),
            ("proc/self/mountinfo", mounts),
            ("sys/fs/cgroup/memory/memory.oom_control", V1_OF_OTHERS),
            ("sys/fs/cgroup/memory/process_api/c53f/memory.oom_control", V1),
            ("sys/fs/cgroup/unified/cgroup.procs", "1\n"),
        ];
        assert_eq!(counted("v1-host", &files), Some(2));
    }

    /// The default of Docker, Podman and kubelet where version 2 has the memory: a cgroup
    /// namespace of its own.
    #[test]
    fn version_2_in_a_container() {
        let mounts = "1001 876 0:61 / / rw,relatime master:280 - overlay overlay rw\n\
            1009 1008 0:26 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup \
            rw,nsdelegate,memory_recursiveprot\n";
        let files = [
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", mounts),
            ("sys/fs/cgroup/memory.events", V2),
        ];
        assert_eq!(counted("v2-container", &files), Some(3));
    }

    /// systemd's unit, or a container in its host's cgroup namespace.
    #[test]
    fn version_2_on_a_host() {
        let mounts = "24 30 0:22 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw\n\
            35 23 0:30 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 \
            rw,nsdelegate,memory_recursiveprot\n";
        let files = [
            ("proc/self/cgroup", "0::/system.slice/envoy.service\n"),
            ("proc/self/mountinfo", mounts),
            ("sys/fs/cgroup/system.slice/memory.events", V2_OF_OTHERS),
            ("sys/fs/cgroup/system.slice/envoy.service/memory.events", V2),
        ];
        assert_eq!(counted("v2-host", &files), Some(3));
    }

    /// No memory controller, no mount, no /proc.
    #[test]
    fn where_nobody_counts() {
        let mounts = "35 23 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
        let whole = [("proc/self/cgroup", "0::/\n"), ("proc/self/mountinfo", mounts)];
        assert_eq!(counted("nobody-2", &whole), None);
        assert_eq!(counted("nobody-1", &whole[..1]), None);
        assert_eq!(counted("nobody-0", &[("proc/self/stat", "")]), None);
    }

    #[test]
    fn both_versions_count_alike() {
        assert_eq!(parse_oom_kills(V1), Some(2));
        assert_eq!(parse_oom_kills(V2), Some(3));
        assert_eq!(parse_oom_kills("oom_kill many"), None);
        assert_eq!(parse_oom_kills(""), None);
    }
}
