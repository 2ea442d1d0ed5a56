//! How many lives are played at once, whatever the number of trials: most of each is waiting.

use std::sync::{Condvar, Mutex, PoisonError};

/// At once.
pub(super) const TURNS: usize = 32;

static FREE: Mutex<usize> = Mutex::new(TURNS);
static FREED: Condvar = Condvar::new();

struct Turn;

impl Drop for Turn {
    fn drop(&mut self) {
        *FREE.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        FREED.notify_one();
    }
}

/// Waits for a turn and takes it.
pub(super) fn take<T>(play: impl FnOnce() -> T) -> T {
    let free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut free =
        FREED.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
    *free -= 1;
    drop(free);
    let _turn = Turn;
    play()
}
