//! The memory that Envoys share.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use hot_restarter::envoy::shared_memory::{Flag, SharedMemory, flag, lower_flag};
use hot_restarter::supervisor::Mended;

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
