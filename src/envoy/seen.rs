//! What looks have shown, for the case that an epoch dies before it is found ready.

use std::ffi::OsString;

use super::{Epoch, has_envoy, look, mend};
use crate::procfs::Procfs;
use crate::supervisor::{Mended, Pid, View};

/// Of how many epochs it is remembered that they have announced themselves: more than live.
const REMEMBERED: usize = 8;

/// The epochs' Envoys, as far as they have been seen.
#[derive(Debug, Default)]
pub struct Envoys {
    /// The leaders of those that have announced that they are ready, the latest last.
    announced: Vec<Pid>,
    /// The leader of the last that was seen initialising.
    initialising: Option<Pid>,
}

impl Envoys {
    /// An epoch has been started. Its leader's number may have been another's.
    pub fn started(&mut self, leader: Pid) {
        self.announced.retain(|announced| *announced != leader);
        self.initialising = None;
    }

    /// Looks whether an epoch, which was started with these words, is ready: `--ready auto`.
    pub fn look(&mut self, procfs: Option<&Procfs>, epoch: Epoch, target: &[OsString]) -> View {
        let sight = look(procfs, epoch, target);
        if sight.view == View::Ready && !self.has_announced(epoch) {
            self.announced.push(epoch.leader);
            let old = self.announced.len().saturating_sub(REMEMBERED);
            self.announced.drain(..old);
        }
        if sight.raised {
            self.initialising = Some(epoch.leader);
        }
        sight.view
    }

    /// Clears away what a failed epoch left in the memory that it shared with the `survivor`: see
    /// [`mend`]. Says so when it had taken over before it ended.
    pub fn mend(
        &self,
        procfs: Option<&Procfs>,
        failed: Epoch,
        survivor: Epoch,
        older: &[Pid],
        target: &[OsString],
    ) -> Mended {
        let mended = mend(procfs, failed, survivor, older, target);
        // One that was initialising and left the flag down has lowered it itself, unless the epoch
        // in service has come to initialise only then, or is dying as well: then nobody has read it.
        let initialised = self.initialising == Some(failed.leader)
            && self.has_announced(survivor)
            && has_envoy(procfs, survivor);
        if mended == Mended::Clean && (initialised || self.has_announced(failed)) {
            return Mended::Served;
        }
        mended
    }

    fn has_announced(&self, epoch: Epoch) -> bool {
        self.announced.contains(&epoch.leader)
    }
}
