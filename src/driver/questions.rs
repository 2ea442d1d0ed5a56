//! Questions whether an epoch is ready, and why the answer was no.

use super::Driver;
use crate::envoy::admin;
use crate::http::{self, Exchange, Response, Wanted};
use crate::log::Record;
use crate::supervisor::{Answer, Event, Failure, Level, Notice, Peer, ReadyBy, Status, What};
use crate::sys;

/// A server is being asked about an epoch.
pub(super) struct Question {
    epoch: u32,
    peer: Peer,
    pub(super) exchange: Exchange,
}

impl Driver {
    pub(super) fn ask(&mut self, epoch: u32, peer: Peer) {
        self.questions.retain(|question| question.peer != peer);
        self.look_beside(epoch);
        let now = sys::monotonic();
        let exchange = match peer {
            Peer::Probe => {
                let url = self.url.as_ref().expect("the core asks whom it was told of");
                Exchange::begin(now, &url.address, &url.path, Wanted::Status)
            }
            Peer::Admin => {
                let admin = self.admin.as_ref().expect("the core asks whom it was told of");
                Exchange::begin(now, admin, admin::SERVER_INFO, Wanted::Body)
            }
        };
        self.questions.push(Question { epoch, peer, exchange });
    }

    /// Hands answers to the core, as far as they have come.
    pub(super) fn take_in_answers(&mut self) {
        let mut index = 0;
        while let Some(Question { epoch, peer, exchange }) = self.questions.get_mut(index) {
            let (epoch, peer) = (*epoch, *peer);
            let Some(response) = exchange.advance(sys::monotonic()) else {
                index += 1;
                continue;
            };
            // Its place is free before the core asks again.
            self.questions.remove(index);
            self.stirred = true;
            let answer = match (peer, &response) {
                (Peer::Admin, Ok(response)) => admin::answer(response, epoch),
                (Peer::Probe, Ok(response)) if (200..300).contains(&response.status) => {
                    Answer::Ready { workers: None }
                }
                (Peer::Admin, Err(_)) | (Peer::Probe, _) => Answer::No,
            };
            match answer {
                Answer::Ready { .. } => {}
                Answer::Starting { .. } => self.refused(epoch, "its admin says that it starts"),
                Answer::No => self.refused(epoch, &refusal(peer, &response)),
            }
            self.handle(Event::Answered { epoch, peer, answer });
        }
    }

    pub(super) fn probe_refused(&mut self, status: Status) {
        if let Some((epoch, _)) = self.supervisor.leaders().last() {
            self.refused(epoch, &format!("the probe {status}"));
        }
    }

    /// Notes why an epoch is not found ready, to be told when that has lasted too long.
    fn refused(&mut self, epoch: u32, why: &str) {
        let (level, event, pid) = (Level::Debug, "probed", None);
        self.log.write(&Record { level, event, epoch: Some(epoch), pid, message: &why });
        self.refusal = Some(why.to_owned());
    }

    /// Says why an epoch has not been found ready, after what has been said about that.
    pub(super) fn say_why_not(&mut self, notice: &Notice) {
        let late = matches!(
            &notice.what,
            What::NotReady { .. }
                | What::Ready { by: ReadyBy::Takeover, .. }
                | What::RestartFailed { failure: Failure::Late { .. }, .. }
        );
        if let Some(why) = self.refusal.take_if(|_| late) {
            let message = &format_args!("last, {why}");
            let (level, event, pid) = (Level::Warn, "probed", None);
            self.log.write(&Record { level, event, epoch: notice.epoch, pid, message });
        }
    }
}

/// Why an answer does not say that an epoch is ready: one clause for the log.
fn refusal(peer: Peer, answer: &Result<Response, http::Failure>) -> String {
    let who = match peer {
        Peer::Probe => "--ready http:",
        Peer::Admin => "--envoy-admin",
    };
    match answer {
        Err(failure) => format!("{who} {failure}"),
        Ok(response) => match admin::server_info(&response.body) {
            Some(info) if peer == Peer::Admin => {
                format!("{who} epoch {} answered", info.restart_epoch)
            }
            _ => format!("{who} answered with status {}", response.status),
        },
    }
}
