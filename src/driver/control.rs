//! What clients ask for is done, and answered.

use std::time::Duration;

use super::Driver;
use crate::control::server::{ClientId, Server};
use crate::control::socket::{Listener, Opening, Peer};
use crate::control::status::{facts, millis, status};
use crate::control::wire::{self, Kind, Reply, Request, Status};
use crate::exit::Exit;
use crate::supervisor::{
    Command, Event, Level, Notice, PhaseReport, RestartOutcome, RestartReport, RestartStage,
    RestartStep, What,
};
use crate::sys;

/// How long we try to listen in a folder whose lock somebody holds, and how often. Another restarter
/// that starts holds it for some system calls, and may have to wait for the processor meanwhile.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_millis(5);

impl Driver {
    /// Lets clients in from now on, unless there is nothing to be asked about: epoch 0 could not be
    /// started.
    pub(super) fn listen(&mut self) {
        if self.supervisor.is_ending() {
            return;
        }
        let now = sys::monotonic();
        let patience = self.listens_at.is_none_or(|(_, until)| now < until);
        match Listener::open(&self.control, patience) {
            Opening::Listens(listener) => {
                let place = listener.path().display();
                let place = format_args!("--send is listened to at {place}");
                self.log.say(Level::Debug, "control", &place);
                self.server = Server::new(listener);
            }
            Opening::Unwanted => {}
            Opening::Locked => {
                let until = self.listens_at.map_or(now + LOCK_PATIENCE, |(_, until)| until);
                self.listens_at = Some((now + LOCK_PAUSE, until));
                return;
            }
            Opening::Failed(why) => {
                let message = format_args!("--send is not listened to: {why}");
                self.log.say(Level::Warn, "control", &message);
            }
        }
        self.listens_at = None;
    }

    /// Takes in who comes and goes, and does what they ask for.
    pub(super) fn take_in_clients(&mut self) {
        let now = sys::monotonic();
        if self.listens_at.is_some_and(|(next, _)| next <= now) {
            self.listen();
        }
        if !self.server.take_in(now) {
            return;
        }
        self.stirred = true;
        if let Some(error) = self.server.take_trouble() {
            let message = format_args!("no client can be let in for a while: {error}");
            self.log.say(Level::Warn, "control", &message);
        }
        while self.exit.is_none()
            && let Some((client, peer, request)) = self.server.next_request()
        {
            self.serve_client(client, peer, request);
            // A stop is never behind what clients ask for.
            self.take_in_signals();
        }
    }

    fn serve_client(&mut self, client: ClientId, peer: Peer, request: Request) {
        match request.command {
            wire::Command::Status => {
                let status = self.status();
                let mut reply = Reply::new(Kind::Done, true, &status.phase);
                reply.status = Some(status);
                self.server.answer(client, &reply);
            }
            wire::Command::Health => {
                let reply = self.health();
                self.server.answer(client, &reply);
            }
            wire::Command::Reopen => {
                self.say_asked(peer, request);
                self.reopened = Some(Vec::new());
                self.handle(Event::Command(Command::Reopen));
                let lines = self.reopened.take().unwrap_or_default();
                let heard = lines.iter().any(|(heard, _)| *heard);
                let lines: Vec<String> = lines.into_iter().map(|(_, line)| line).collect();
                self.server.answer(client, &Reply::new(Kind::Done, heard, lines.join("; ")));
            }
            wire::Command::Reload if request.wait && !self.server.has_room_to_wait() => {
                let why = "too many clients wait already, so nothing is done; ask without waiting";
                self.server.answer(client, &Reply::new(Kind::Error, false, why));
            }
            wire::Command::Reload => {
                self.say_asked(peer, request);
                // It may have settled before this returns.
                self.server.asks_for_restart(client);
                self.handle(Event::Command(Command::Reload));
                let reply = Reply::new(Kind::Taken, true, self.restart_taken());
                self.server.taken(client, &reply, request.wait);
            }
            wire::Command::Stop => {
                self.say_asked(peer, request);
                self.server.asks_for_end(client);
                let again = self.supervisor.is_ending();
                self.handle(Event::Command(Command::Stop));
                let taken = if again { "stopping already" } else { "stopping" };
                let reply = Reply::new(Kind::Taken, true, taken);
                // Whoever wants a stop gets it, if not word of its end.
                let waits = request.wait && self.server.has_room_to_stay();
                self.server.taken(client, &reply, waits);
            }
        }
    }

    fn say_asked(&mut self, peer: Peer, request: Request) {
        let Peer { pid, user } = peer;
        let message =
            format_args!("{}, asked for by process {pid} of user {user}", request.command);
        self.log.say(Level::Info, "control", &message);
    }

    /// What is being done about a restart that has just been asked for.
    fn restart_taken(&self) -> String {
        let report = self.supervisor.report(sys::monotonic());
        match (report.waiting, report.under_way) {
            (Some(Some(obstacle)), _) => format!("queued: {obstacle}"),
            (Some(None), _) | (None, None) => "queued".to_owned(),
            (None, Some(RestartReport::Checking { epoch })) => {
                format!("epoch {epoch} is being checked")
            }
            (None, Some(RestartReport::Starting { epoch })) => format!("epoch {epoch} is starting"),
            (None, Some(RestartReport::Clearing { epoch })) => {
                format!("epoch {epoch} has failed and is being cleared away")
            }
        }
    }

    /// A restart has come a step further.
    pub(super) fn restart_step(&mut self, step: &RestartStep) {
        use RestartStage::{UnderWay, Waiting};
        match step {
            RestartStep::Asked => {}
            RestartStep::Begins => self.server.restart_moves(Waiting, UnderWay),
            RestartStep::PutOff => self.server.restart_moves(UnderWay, Waiting),
            RestartStep::Settled { stage, outcome } => {
                self.history.settled(sys::monotonic(), outcome);
                let reply = self.outcome(*stage, outcome);
                self.server.restart_settles(*stage, &reply);
            }
        }
    }

    fn outcome(&self, stage: RestartStage, outcome: &RestartOutcome) -> Reply {
        let (ok, epoch, after) = facts(outcome);
        let mut reply = Reply::new(Kind::Done, ok, outcome);
        reply.epoch = epoch;
        reply.ready_after_ms = after.map(millis);
        if let RestartOutcome::Refused { .. } = outcome
            && stage == RestartStage::UnderWay
            && !self.supervisor.is_ending()
        {
            reply.output = self.capture.last_lines();
        }
        reply
    }

    /// Tells those who wait what happens, as the log does.
    pub(super) fn tell_clients(&mut self, notice: &Notice) {
        if let (What::Started, Some(epoch)) = (&notice.what, notice.epoch) {
            let living = |number| self.supervisor.leaders().any(|(living, _)| living == number);
            self.history.started(epoch, living);
        }
        if let (What::Ready { after, .. }, Some(epoch)) = (&notice.what, notice.epoch) {
            self.history.ready(epoch, *after);
        }
        if let What::Checked { .. } = notice.what {
            // What the check has said does not matter any more.
            self.capture.forget();
        }
        let (level, event) = notice.what.kind();
        if let Some(lines) = &mut self.reopened {
            let heard = matches!(
                notice.what,
                What::Reopened { .. } | What::ReopenPostponed | What::ReopenBlind
            );
            lines.push((heard, sentence(notice)));
        }
        if level <= Level::Info && self.server.is_followed() {
            let mut reply = Reply::new(Kind::Progress, level == Level::Info, sentence(notice));
            reply.event = Some(event.to_owned());
            reply.epoch = notice.epoch;
            self.server.progress(&reply);
        }
    }

    /// Answers whoever still waits: we end.
    pub(super) fn end_control(&mut self, exit: Exit) {
        let message = format!("stopped with exit code {}: {exit}", exit.code());
        let mut reply = Reply::new(Kind::Done, exit == Exit::Clean, message);
        reply.exit_code = Some(exit.code());
        self.server.end(&reply);
    }

    fn health(&self) -> Reply {
        let report = self.supervisor.report(sys::monotonic());
        let message = match (report.phase, report.healthy) {
            (PhaseReport::Serving, true) => "healthy",
            (PhaseReport::Serving, false) => "unhealthy: no epoch is ready",
            (PhaseReport::Draining(_) | PhaseReport::Stopping | PhaseReport::Killing, _) => {
                "unhealthy: everything is being stopped"
            }
        };
        Reply::new(Kind::Done, report.healthy, message)
    }

    fn status(&self) -> Status {
        let now = sys::monotonic();
        status(self.supervisor.report(now), &self.history, now)
    }
}

/// A notice as a line without its time: what it is about, its name, and why.
fn sentence(notice: &Notice) -> String {
    let (_, event) = notice.what.kind();
    let epoch = notice.epoch.map(|epoch| format!("epoch {epoch}: ")).unwrap_or_default();
    let why = notice.what.to_string();
    let colon = if why.is_empty() { "" } else { ": " };
    format!("{epoch}{event}{colon}{why}")
}
