//! Errnos: their numbers, by which our sentences end, and what we say instead of them.

/// The number of an errno.
pub(super) fn number(errno: &str) -> i32 {
    match errno {
        "EPERM" => libc::EPERM,
        "ENOENT" => libc::ENOENT,
        "ESRCH" => libc::ESRCH,
        "EINTR" => libc::EINTR,
        "EIO" => libc::EIO,
        "E2BIG" => libc::E2BIG,
        "ENOEXEC" => libc::ENOEXEC,
        "EAGAIN" => libc::EAGAIN,
        "ENOMEM" => libc::ENOMEM,
        "EACCES" => libc::EACCES,
        "EINVAL" => libc::EINVAL,
        "ENFILE" => libc::ENFILE,
        "EMFILE" => libc::EMFILE,
        "ETXTBSY" => libc::ETXTBSY,
        "ENOSPC" => libc::ENOSPC,
        "EROFS" => libc::EROFS,
        "EPIPE" => libc::EPIPE,
        "ENOLCK" => libc::ENOLCK,
        "ENOSYS" => libc::ENOSYS,
        "ENOTCONN" => libc::ENOTCONN,
        "EADDRINUSE" => libc::EADDRINUSE,
        "ECONNABORTED" => libc::ECONNABORTED,
        "ECONNRESET" => libc::ECONNRESET,
        "ENOBUFS" => libc::ENOBUFS,
        "ECONNREFUSED" => libc::ECONNREFUSED,
        _ => panic!("{errno} has no number here"),
    }
}

/// Whether a log names an errno, by its number or in our own words for it.
pub(super) fn told(log: &str, errno: &str) -> bool {
    let number = format!("(os error {})", number(errno));
    log.contains(&number) || words(errno).iter().any(|words| log.contains(words))
}

/// What we say instead of an errno's own text, where we know what it means there.
fn words(errno: &str) -> &'static [&'static str] {
    match errno {
        "EACCES" => &[
            "is not executable by this user",
            "this user may not enter its folder",
            "is not for a root without CAP_DAC_OVERRIDE",
            BLIND,
        ],
        "ENOENT" => &["not the dynamic loader that it needs", "is not there", BLIND],
        "EAGAIN" => &["does not take our connection, as if it hung", BLIND],
        "ECONNREFUSED" => &["nobody listens any more", BLIND],
        "ENOEXEC" => &["is damaged, or a program for another kind of machine"],
        _ => &[BLIND],
    }
}

/// What is said where `/proc` does not answer, whyever.
const BLIND: &str = "/proc does not tell who is left";
