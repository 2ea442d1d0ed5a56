//! An Envoy's stage with an upstream behind it, for clients of all kinds.

use std::net::{Ipv4Addr, SocketAddr};

use support::envoy::{Configuration, Stage, free_port};
use support::eventually;

use crate::{Count, Kind, Mix, Population, Service, Upstream};

/// So many answers are enough to say that clients are served.
const ENOUGH: u64 = 10;

/// A stage, the upstream that its configuration leads to, and where clients ask.
#[derive(Debug)]
pub struct Front {
    /// The stage, whose configuration this has put.
    pub stage: Stage,
    /// What is behind it.
    pub upstream: Upstream,
    /// Where bytes come in.
    listener: u16,
}

impl Front {
    /// Has a stage lead to an upstream.
    pub fn of(stage: Stage) -> Self {
        let front = Self { stage, upstream: Upstream::new(), listener: free_port() };
        front.stage.put(&front.configuration());
        front
    }

    /// The configuration, which leads to the upstream.
    pub fn configuration(&self) -> Configuration {
        let Upstream { http, echo, .. } = self.upstream;
        self.stage.configuration().leading_to(http, self.listener, echo)
    }

    /// Clients, who are served.
    pub fn clients(&self, mix: Mix) -> Population {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let service = Service { http: at(self.stage.ingress), tcp: at(self.listener) };
        let population = Population::start(service, mix);
        let kinds = [
            (mix.kept, Kind::Kept),
            (mix.renewed, Kind::Renewed),
            (mix.http2, Kind::Http2),
            (mix.tcp, Kind::Tcp),
        ];
        eventually("clients of every kind are served", || {
            let figures = population.figures();
            let served = |kind| {
                // A session takes its time.
                let Count { sent, answered, .. } = *figures.of(kind);
                if kind == Kind::Tcp { sent > 0 } else { answered >= ENOUGH }
            };
            let waiting = kinds.iter().any(|(clients, kind)| *clients > 0 && !served(*kind));
            if waiting { Err(figures.to_string()) } else { Ok(()) }
        });
        population
    }

    /// Sends so many long requests, and waits until they are in flight up to the upstream.
    pub fn send_long(&self, population: &mut Population, requests: usize) {
        population.send_long(requests);
        eventually("the long requests are in flight", || match self.upstream.serving() {
            serving if serving >= requests => Ok(()),
            serving => Err((serving, population.figures().to_string())),
        });
    }
}
