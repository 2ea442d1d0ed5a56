//! A process that may be killed, but not reaped by its parent before we let it go.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

/// A process that is held; it is let go at the latest when this goes.
#[derive(Debug)]
pub(super) struct Held {
    go: Option<Sender<()>>,
    holder: Option<JoinHandle<()>>,
}

impl Held {
    /// Holds a process. Its parent is told of its death only when whoever traces it has heard of
    /// that, and a tracer is a thread.
    pub(super) fn hold(pid: i32) -> Self {
        let (go, wait): (Sender<()>, Receiver<()>) = channel();
        let (tell, told) = channel();
        let holder = thread::spawn(move || {
            // SAFETY: the call takes integers, and stops nobody.
            let traced = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0_usize, 0_usize) };
            let error = (traced == -1).then(io::Error::last_os_error);
            let _ = tell.send(error);
            // With the end of this thread the process is its parent's again.
            let _ = wait.recv();
        });
        let error = told.recv().expect("the thread tells");
        assert!(error.is_none(), "cannot trace {pid}: {error:?}");
        Self { go: Some(go), holder: Some(holder) }
    }

    /// Lets it go.
    pub(super) fn release(mut self) {
        self.let_go();
    }

    fn let_go(&mut self) {
        self.go.take();
        if let Some(holder) = self.holder.take() {
            let _ = holder.join();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.let_go();
    }
}
