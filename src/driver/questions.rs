//! Questions to servers: whether an epoch is ready, and why the answer was no; and to drain.

use super::Driver;
use crate::envoy::admin::{self, ServerInfo};
use crate::envoy::drain;
use crate::http::{self, Exchange, Method, Response, Wanted};
use crate::log::Record;
use crate::supervisor::{
    Answer, Event, Failure, Level, Notice, Peer, ReadyBy, Reply, Request, Status, What,
};
use crate::sys;

/// A server is being asked.
pub(super) struct Question {
    subject: Subject,
    pub(super) exchange: Exchange,
}

/// What about.
#[derive(Clone, Copy)]
enum Subject {
    /// Whether this epoch is ready.
    Readiness { epoch: u32, peer: Peer },
    /// What a stop needs that drains.
    Drain(Request),
}

impl Subject {
    fn peer(self) -> Peer {
        match self {
            Self::Readiness { peer, .. } => peer,
            Self::Drain(_) => Peer::Admin,
        }
    }
}

impl Driver {
    pub(super) fn ask(&mut self, epoch: u32, peer: Peer) {
        self.look_beside(epoch);
        self.begin_question(Subject::Readiness { epoch, peer });
    }

    pub(super) fn request(&mut self, request: Request) {
        self.begin_question(Subject::Drain(request));
    }

    fn begin_question(&mut self, subject: Subject) {
        let peer = subject.peer();
        self.questions.retain(|question| question.subject.peer() != peer);
        let (method, path, wanted) = match subject {
            Subject::Readiness { peer: Peer::Probe, .. } => (Method::Get, "", Wanted::Status),
            Subject::Readiness { peer: Peer::Admin, .. } => {
                (Method::Get, admin::SERVER_INFO, Wanted::Body)
            }
            Subject::Drain(request) => {
                drain::question(request, self.supervisor.leaders().nth(1).is_some())
            }
        };
        let (address, path) = match peer {
            Peer::Probe => self.url.as_ref().map(|url| (&url.address, url.path.as_str())),
            Peer::Admin => self.admin.as_ref().map(|address| (address, path)),
        }
        .expect("the core asks whom it was told of");
        let exchange = Exchange::begin(sys::monotonic(), address, method, path, wanted);
        self.questions.push(Question { subject, exchange });
    }

    /// Hands answers to the core, as far as they have come.
    pub(super) fn take_in_answers(&mut self) {
        let mut index = 0;
        while let Some(Question { subject, exchange }) = self.questions.get_mut(index) {
            let subject = *subject;
            let Some(response) = exchange.advance(sys::monotonic()) else {
                index += 1;
                continue;
            };
            // Its place is free before the core asks again.
            self.questions.remove(index);
            self.stirred = true;
            let event = match subject {
                Subject::Readiness { epoch, peer } => self.readiness(epoch, peer, &response),
                Subject::Drain(request) => self.drain_reply(request, &response),
            };
            self.handle(event);
        }
    }

    /// What an answer says of an epoch's readiness.
    fn readiness(
        &mut self,
        epoch: u32,
        peer: Peer,
        response: &Result<Response, http::Failure>,
    ) -> Event {
        let info = match (peer, response) {
            (Peer::Admin, Ok(response)) => ServerInfo::of(response),
            (Peer::Admin, Err(_)) | (Peer::Probe, _) => None,
        };
        let answer = match (info, response) {
            // Whose Envoy it is matters only where the epoch is right.
            (Some(info), _) if info.restart_epoch == epoch => {
                info.answer(epoch, self.base_id(epoch))
            }
            (None, Ok(response)) if peer == Peer::Probe && is_success(response) => {
                Answer::Ready { workers: None }
            }
            (Some(_) | None, _) => Answer::No,
        };
        match (answer, info) {
            (Answer::Ready { .. }, _) => {}
            (Answer::Starting { .. }, _) => self.refused(epoch, "its admin says that it starts"),
            (Answer::No, Some(info)) => {
                let base_id = info.base_id.map(|base_id| format!(" of base id {base_id}"));
                let base_id = base_id.unwrap_or_default();
                let (asked, other) = (self.asked(peer), info.restart_epoch);
                self.refused(epoch, &format!("{asked}: epoch {other}{base_id} answered"));
            }
            (Answer::No, None) => self.refused(epoch, &self.refusal(peer, response)),
        }
        Event::Answered { epoch, peer, answer }
    }

    /// What became of a request to drain.
    fn drain_reply(
        &mut self,
        request: Request,
        response: &Result<Response, http::Failure>,
    ) -> Event {
        let reply =
            response.as_ref().map_or(Reply::Failed, |response| drain::reply(request, response));
        if reply == Reply::Failed
            && let Some((epoch, _)) = self.supervisor.leaders().last()
        {
            let (_, path, _) = drain::question(request, false);
            let path = path.split('?').next().unwrap_or(path);
            self.refused(epoch, &format!("{}, to {path}", self.refusal(Peer::Admin, response)));
        }
        Event::Replied { request, reply }
    }

    pub(super) fn probe_refused(&mut self, status: Status) {
        if let Some((epoch, _)) = self.supervisor.leaders().last() {
            self.refused(epoch, &format!("the probe {status}"));
        }
    }

    /// Notes why an answer was no, to be told when that has lasted too long.
    fn refused(&mut self, epoch: u32, why: &str) {
        let (level, event, pid) = (Level::Debug, "probed", None);
        self.log.write(&Record { level, event, epoch: Some(epoch), pid, message: &why });
        self.refusal = Some(why.to_owned());
    }

    /// Says what was answered last, after what has been said about it.
    pub(super) fn say_why_not(&mut self, notice: &Notice) {
        let late = matches!(
            &notice.what,
            What::NotReady { .. }
                | What::DrainUnheard
                | What::AdminLost
                | What::Ready { by: ReadyBy::Takeover, .. }
                | What::RestartFailed { failure: Failure::Late { .. }, .. }
        );
        if let Some(why) = self.refusal.take_if(|_| late) {
            let message = &format_args!("last, {why}");
            let (level, event, pid) = (Level::Warn, "probed", None);
            self.log.write(&Record { level, event, epoch: notice.epoch, pid, message });
        }
    }

    /// Who is asked, as the option that names them was given.
    fn asked(&self, peer: Peer) -> String {
        match peer {
            Peer::Probe => self.url.as_ref().map(|url| format!("--ready {url}")),
            Peer::Admin => self.admin.as_ref().map(|address| format!("--envoy-admin {address}")),
        }
        .unwrap_or_default()
    }

    /// Why there is no answer, or none that says anything: one clause for the log.
    fn refusal(&self, peer: Peer, answer: &Result<Response, http::Failure>) -> String {
        let asked = self.asked(peer);
        match answer {
            Err(failure) => format!("{asked}: {failure}"),
            Ok(response) => format!("{asked}: answered with status {}", response.status),
        }
    }
}

fn is_success(response: &Response) -> bool {
    (200..300).contains(&response.status)
}
