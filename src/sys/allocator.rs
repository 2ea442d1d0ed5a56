//! Memory, and what becomes of us where there is none.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{exit_now, pause};
use crate::exit::Exit;
use crate::log;

/// How often memory is asked for, and after how long again: others may give some back.
const TRIES: u32 = 11;
const PAUSE: Duration = Duration::from_millis(100);

type Tell = dyn Fn(&[u8]) + Send + Sync;

static LAST_WORDS: OnceLock<Box<Tell>> = OnceLock::new();

/// Sets, once, who else is told in a line why we end where there is no memory, and so has to do
/// without.
pub fn set_last_words(tell: impl Fn(&[u8]) + Send + Sync + 'static) {
    let _ = LAST_WORDS.set(Box::new(tell));
}

/// The C library's memory. Where there is none for a second we say so and end, with the code of our
/// own failures: the default would be an abort, which the kernel does not let a PID 1 die of
/// before it has tried several ways.
#[derive(Debug)]
pub struct Allocator;

/// Asks again and again, and ends us where that does not help.
fn insist(ask: impl Fn() -> *mut u8) -> *mut u8 {
    for tries in 0..TRIES {
        if tries > 0 {
            pause(PAUSE);
        }
        let memory = ask();
        if !memory.is_null() {
            return memory;
        }
    }
    end()
}

#[cold]
fn end() -> ! {
    static ENDS: AtomicBool = AtomicBool::new(false);
    if !ENDS.swap(true, Ordering::Relaxed) {
        let line = b"out of memory (os error 12)\n";
        for part in [&b"hot-restarter: "[..], line] {
            let _ = log::write_if_ready(part);
        }
        // Should it need memory nevertheless, it ends here once more.
        if let Some(tell) = LAST_WORDS.get() {
            tell(line);
        }
    }
    exit_now(Exit::Failure.code());
}

// SAFETY: every call is passed on to the system's allocator as it is, any number of times where it
// had no memory and so did nothing.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps what the system's allocator asks for.
        insist(|| unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        insist(|| unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above; where it fails the memory is still what it was.
        insist(|| unsafe { System.realloc(memory, layout, size) })
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) };
    }
}
