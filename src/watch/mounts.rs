//! Mounts whose content never changes, however often it is replaced where it comes from.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A warning, in a sentence for the log, when a path without links leads to one file or folder
/// that was mounted as it was then: by `subPath` in Kubernetes, or a bind mount of a file. A
/// mounted folder is none, except a version that kubelet has written and will replace as a whole.
pub fn warning(mountinfo: &[u8], path: &Path, folder: bool) -> Option<String> {
    let mount = holder(mountinfo, path)?;
    let pinned = (!folder && mount.point == path) || is_a_version(&mount.root);
    pinned.then(|| {
        format!(
            "{} is mounted by itself ({}), so what replaces it where it comes from never arrives \
             here: mount the whole volume or folder instead",
            path.display(),
            mount.point.display()
        )
    })
}

/// A line of `/proc/self/mountinfo`.
#[derive(Debug)]
struct Mount {
    /// What is mounted, as a path in its own file system.
    root: PathBuf,
    /// Where it is mounted.
    point: PathBuf,
}

/// The mount that a path lies in: the longest mount point, and of equal ones the last, which
/// covers the others.
fn holder(mountinfo: &[u8], path: &Path) -> Option<Mount> {
    mountinfo
        .split(|byte| *byte == b'\n')
        .filter_map(parse)
        .filter(|mount| path.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.components().count())
}

/// Parses a line, see `proc_pid_mountinfo(5)`: id, parent, device, root, mount point …
fn parse(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ').skip(3);
    Some(Mount { root: unescape(fields.next()?), point: unescape(fields.next()?) })
}

/// The kernel writes blanks and backslashes as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let escaped = (first == b'\\').then(|| after.split_at_checked(3)).flatten();
        let escaped = escaped.and_then(|(digits, after)| {
            let digits = std::str::from_utf8(digits).ok()?;
            Some((u8::from_str_radix(digits, 8).ok()?, after))
        });
        let (byte, after) = escaped.unwrap_or((first, after));
        bytes.push(byte);
        rest = after;
    }
    OsString::from_vec(bytes).into()
}

/// Whether a path lies in a folder such as `..2026_01_01_00_00_00.123456789`: kubelet writes each
/// version of a volume to one, and removes it after the next (its `atomic_writer.go`).
fn is_a_version(root: &Path) -> bool {
    root.components().any(|component| {
        let name = component.as_os_str().as_encoded_bytes();
        name.strip_prefix(b"..").and_then(|rest| rest.first()).is_some_and(u8::is_ascii_digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a container with a `ConfigMap`'s folder, its `subPath`s, and Docker's files sees it.
    const MOUNTS: &str = "\
        1021 940 0:151 / / rw,relatime master:345 - overlay overlay rw,lowerdir=/var/lib/a:/b\n\
        1022 1021 0:153 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw\n\
        1030 1021 254:0 /var/lib/docker/containers/ab/hosts /etc/hosts rw,relatime - ext4 /dev/vda rw\n\
        1031 1021 254:0 /var/lib/kubelet/pods/1f/volumes/kubernetes.io~configmap/config /etc/envoy ro,relatime - ext4 /dev/vda rw\n\
        1032 1021 254:0 /pods/1f/volumes/kubernetes.io~configmap/config/..2026_01_01_00_00_00.123/envoy.yaml /etc/one.yaml ro - ext4 /dev/vda rw\n\
        1033 1021 0:160 /..2026_01_01_00_00_00.123/certs /etc/certs ro,relatime - tmpfs tmpfs rw\n\
        1034 1021 254:0 /a\\040b\\134c\\011d /mnt/a\\040b\\134c\\011d rw - ext4 /dev/vda rw\n\
        1035 1021 254:0 /..hidden /mnt/hidden rw - ext4 /dev/vda rw\n\
        1036 1031 254:0 /more /etc/envoy/more.yaml rw - ext4 /dev/vda rw\n\
        \n\
        nonsense\n";

    fn warned(path: &str, folder: bool) -> bool {
        warning(MOUNTS.as_bytes(), Path::new(path), folder).is_some()
    }

    #[test]
    fn a_file_that_is_a_mount_point_is_warned_about() {
        assert!(warned("/etc/hosts", false));
        assert!(warned("/etc/one.yaml", false));
        assert!(warned("/etc/envoy/more.yaml", false));
        assert!(warned("/mnt/a b\\c\td", false));
    }

    #[test]
    fn a_mounted_folder_is_not() {
        assert!(!warned("/etc/envoy", true));
        assert!(!warned("/etc/envoy/..2026_01_01_00_00_00.123/envoy.yaml", false));
        assert!(!warned("/mnt/a b\\c\td", true));
        assert!(!warned("/mnt/hidden", true));
        assert!(!warned("/etc/passwd", false));
        assert!(!warned("/", true));
    }

    #[test]
    fn a_version_that_kubelet_will_replace_is() {
        assert!(warned("/etc/certs", true));
        assert!(warned("/etc/certs/tls.crt", false));
    }

    #[test]
    fn the_sentence_says_what_to_do() {
        assert_eq!(
            warning(MOUNTS.as_bytes(), Path::new("/etc/certs/tls.crt"), false).as_deref(),
            Some(
                "/etc/certs/tls.crt is mounted by itself (/etc/certs), so what replaces it where \
                 it comes from never arrives here: mount the whole volume or folder instead"
            )
        );
    }

    #[test]
    fn what_is_no_escape_stays_as_it_is() {
        for (field, plain) in [("a\\04", "a\\04"), ("\\9999", "\\9999"), ("\\", "\\"), ("", "")] {
            assert_eq!(unescape(field.as_bytes()), Path::new(plain));
        }
        assert_eq!(unescape(b"\\377\xff").as_os_str().as_encoded_bytes(), b"\xff\xff");
    }

    #[test]
    fn our_own_mounts_are_read() {
        let ours = std::fs::read("/proc/self/mountinfo").expect("/proc is mounted");
        assert!(holder(&ours, Path::new("/proc/self/mountinfo")).is_some());
    }
}
