//! What clients have counted.

use std::fmt;
use std::time::Instant;

/// How many losses are told in words.
const TOLD: usize = 10;
/// How many are kept with their moment; a service that is gone loses more than anybody reads.
const KEPT: usize = 100_000;

/// What is asked, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// HTTP/1.1 on kept connections.
    Kept,
    /// HTTP/1.1 on a new connection each.
    Renewed,
    /// HTTP/2.
    Http2,
    /// Sessions of bytes.
    Tcp,
    /// Long requests by HTTP/1.1.
    Long,
    /// Long requests by HTTP/2.
    LongHttp2,
}

/// How a request is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// No connection was to be had.
    Refused,
    /// The connection ended when the request was sent, before a word of the answer.
    Reset,
    /// The connection ended in the midst of the answer, or of a session.
    Cut,
    /// Nothing came for far too long.
    TimedOut,
    /// The answer was another than 200, or none that we understand.
    Wrong,
}

/// The figures of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Requests that were begun, each once: connecting belongs to it.
    pub sent: u64,
    /// Whole answers with 200.
    pub answered: u64,
    /// Lost ones, in the order of [`Loss`].
    pub lost: [u64; Loss::ALL.len()],
    /// Requests that were sent again, because the server said that it had not looked at them.
    pub repeated: u64,
    /// Connections that the server ended when it had said so.
    pub told: u64,
    /// Connections that it ended without a word, while nothing was asked on them.
    pub dropped: u64,
}

/// All figures.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    counts: [Count; Kind::ALL.len()],
    /// The first losses, in their order.
    losses: Vec<Missed>,
}

/// One request that was lost.
#[derive(Clone, Debug)]
pub struct Missed {
    /// When that was noticed.
    pub at: Instant,
    /// What was asked.
    pub kind: Kind,
    /// How it was lost.
    pub loss: Loss,
    /// The same in words, with the time since the clients began.
    pub words: String,
}

impl Kind {
    /// Every one, in order.
    pub const ALL: [Self; 6] =
        [Self::Kept, Self::Renewed, Self::Http2, Self::Tcp, Self::Long, Self::LongHttp2];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kept => "HTTP/1.1 kept alive",
            Self::Renewed => "HTTP/1.1 on new connections",
            Self::Http2 => "HTTP/2",
            Self::Tcp => "TCP",
            Self::Long => "long HTTP/1.1",
            Self::LongHttp2 => "long HTTP/2",
        })
    }
}

impl Loss {
    /// Every one, in order.
    pub const ALL: [Self; 5] = [Self::Refused, Self::Reset, Self::Cut, Self::TimedOut, Self::Wrong];
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Cut => "cut",
            Self::TimedOut => "timed out",
            Self::Wrong => "wrong",
        })
    }
}

impl Count {
    /// How many were lost, in whatever way.
    pub fn failed(&self) -> u64 {
        self.lost.iter().sum()
    }

    /// How many were lost in this way.
    pub fn lost_by(&self, loss: Loss) -> u64 {
        self.lost[loss as usize]
    }

    fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.answered += other.answered;
        for (ours, theirs) in self.lost.iter_mut().zip(other.lost) {
            *ours += theirs;
        }
        self.repeated += other.repeated;
        self.told += other.told;
        self.dropped += other.dropped;
    }
}

impl Figures {
    /// Those of one kind.
    pub fn of(&self, kind: Kind) -> &Count {
        &self.counts[kind as usize]
    }

    pub(crate) fn of_mut(&mut self, kind: Kind) -> &mut Count {
        &mut self.counts[kind as usize]
    }

    pub(crate) fn lose(&mut self, kind: Kind, loss: Loss, words: impl FnOnce() -> String) {
        self.of_mut(kind).lost[loss as usize] += 1;
        if self.losses.len() < KEPT {
            self.losses.push(Missed { at: Instant::now(), kind, loss, words: words() });
        }
    }

    /// The losses one by one, in their order; of very many the first.
    pub fn losses(&self) -> &[Missed] {
        &self.losses
    }

    /// Those of all kinds together.
    pub fn all(&self) -> Count {
        let mut all = Count::default();
        for count in &self.counts {
            all.add(count);
        }
        all
    }

    /// How many were sent and have neither been answered nor been lost.
    pub fn in_flight(&self) -> u64 {
        let all = self.all();
        all.sent - all.answered - all.failed()
    }
}

impl fmt::Display for Figures {
    /// A line for each kind that was asked at all, and the first losses in words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for kind in Kind::ALL {
            let count = self.of(kind);
            let Count { sent, answered, repeated, told, dropped, .. } = count;
            if *sent == 0 {
                continue;
            }
            write!(f, "{kind}: {sent} sent, {answered} answered, {} failed", count.failed())?;
            for loss in Loss::ALL.into_iter().filter(|loss| count.lost_by(*loss) > 0) {
                write!(f, " ({} {loss})", count.lost_by(loss))?;
            }
            writeln!(f, ", {repeated} repeated, {told} closed as told, {dropped} without a word")?;
        }
        for Missed { words, .. } in self.losses.iter().take(TOLD) {
            writeln!(f, "  {words}")?;
        }
        Ok(())
    }
}
