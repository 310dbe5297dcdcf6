//! What the log says of the WAL that the slot makes the server keep: while Kafka is away, above a
//! threshold, and when the slot is about to be lost.

use std::time::Duration;

use tokio::time::Instant;

use crate::capture::catalog::Retained;

/// How often the slot is looked at when nothing is wrong.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How often while Kafka does not acknowledge.
const LOOK_WAITING: Duration = Duration::from_secs(10);
/// The same warning does not come again before.
const TELL_EVERY: Duration = Duration::from_secs(300);

/// What was seen and said last.
#[derive(Debug)]
pub(super) struct Retention {
    /// `penstock.wal.retained.warn`
    threshold: u64,
    looked_at: Instant,
    told: Option<(Instant, Word)>,
    /// Since when no life of the pipe came as far as to stream, for Kafka's sake.
    away_since: Option<Instant>,
}

/// What there is to say, by urgency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    /// Kafka does not acknowledge.
    Waiting,
    /// More than the threshold is kept.
    Much,
    /// The server is about to give the slot up.
    Danger,
}

impl Retention {
    pub(super) fn new(threshold: u64, now: Instant) -> Self {
        Self {
            threshold,
            looked_at: now,
            told: None,
            away_since: None,
        }
    }

    /// Kafka has ended a life of the pipe.
    pub(super) fn kafka_failed(&mut self, now: Instant) {
        self.away_since.get_or_insert(now);
    }

    /// How long Kafka has not acknowledged; `since`: as far as this life of the pipe knows.
    pub(super) fn waits(&mut self, now: Instant, since: Option<Instant>) -> Option<Duration> {
        if since.is_none() {
            self.away_since = None;
        }
        let since = self.away_since.or(since)?;
        Some(now.duration_since(since))
    }

    /// As [`Self::waits`], before anything is streamed.
    pub(super) fn away(&self, now: Instant) -> Option<Duration> {
        Some(now.duration_since(self.away_since?))
    }

    /// Whether the slot should be looked at. `waits`: how long Kafka has not acknowledged.
    pub(super) fn is_due(&self, now: Instant, waits: Option<Duration>) -> bool {
        let long = waits.is_some_and(|waits| waits >= LOOK_WAITING);
        let every = if long { LOOK_WAITING } else { LOOK_EVERY };
        now.duration_since(self.looked_at) >= every
    }

    /// Logs what there is to say of what was seen.
    pub(super) fn tell(
        &mut self,
        connector: &str,
        now: Instant,
        waits: Option<Duration>,
        seen: Option<Retained>,
    ) {
        self.looked_at = now;
        let Some(seen) = seen else { return };
        let retained = size(seen.bytes);
        let safe = size(u64::try_from(seen.safe_bytes.unwrap_or(0)).unwrap_or(0));
        match self.word(now, waits, seen) {
            None => {}
            Some(Said::Over) => tracing::info!(
                connector,
                retained,
                "the slot keeps little WAL again, and Kafka acknowledges"
            ),
            Some(Said::New(Word::Waiting)) => tracing::warn!(
                connector,
                retained,
                "Kafka has acknowledged nothing for {} s: nothing is read meanwhile, and the \
                 server keeps the WAL for the slot",
                waits.unwrap_or_default().as_secs()
            ),
            Some(Said::New(Word::Much)) => tracing::warn!(
                connector,
                retained,
                "the slot keeps more WAL than penstock.wal.retained.warn: what is read or \
                 acknowledged too slowly, or a transaction that is open for long, holds it"
            ),
            Some(Said::New(Word::Danger)) => tracing::error!(
                connector,
                retained,
                safe,
                "the slot is about to be lost: raise max_slot_wal_keep_size, or let Kafka \
                 acknowledge faster"
            ),
        }
    }

    /// Decides, and remembers what was said.
    fn word(&mut self, now: Instant, waits: Option<Duration>, seen: Retained) -> Option<Said> {
        // A quarter of what is allowed is left.
        let danger = match (seen.safe_bytes, seen.limit) {
            (Some(safe), Some(limit)) => u64::try_from(safe).unwrap_or(0) <= limit / 4,
            _ => false,
        };
        let word = if danger {
            Some(Word::Danger)
        } else if self.threshold > 0 && seen.bytes > self.threshold {
            Some(Word::Much)
        } else if waits.is_some_and(|waits| waits >= LOOK_WAITING) {
            Some(Word::Waiting)
        } else {
            None
        };
        match (word, self.told) {
            (None, None) => None,
            (None, Some(_)) => {
                self.told = None;
                Some(Said::Over)
            }
            (Some(word), Some((at, told)))
                if word <= told && now.duration_since(at) < TELL_EVERY =>
            {
                None
            }
            (Some(word), _) => {
                self.told = Some((now, word));
                Some(Said::New(word))
            }
        }
    }
}

/// What the log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    New(Word),
    Over,
}

/// Bytes as people read them: `1.5 GiB`.
fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let (mut tenths, mut unit) = (bytes.saturating_mul(10) / 1024, 0);
    while tenths >= 10_240 && unit + 1 < units.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_lasts_is_told_seldom_and_what_is_worse_at_once() {
        let begin = crate::net::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let waits = |seconds| Some(Duration::from_secs(seconds));
        let keeps = |mib: u64| Retained {
            bytes: mib * MIB,
            ..Retained::default()
        };
        let endangered = Retained {
            safe_bytes: Some(5 << 20),
            limit: Some(100 * MIB),
            ..keeps(95)
        };
        let mut it = Retention::new(64 * MIB, begin);
        assert_eq!(it.word(at(0), None, keeps(1)), None);
        assert_eq!(it.word(at(1), waits(9), keeps(2)), None);
        let waiting = Some(Said::New(Word::Waiting));
        assert_eq!(it.word(at(2), waits(10), keeps(2)), waiting);
        assert_eq!(it.word(at(12), waits(20), keeps(3)), None);
        assert_eq!(it.word(at(303), waits(310), keeps(4)), waiting);
        let much = Some(Said::New(Word::Much));
        assert_eq!(it.word(at(313), waits(320), keeps(65)), much);
        assert_eq!(it.word(at(323), waits(330), keeps(66)), None);
        let danger = Some(Said::New(Word::Danger));
        assert_eq!(it.word(at(324), waits(331), endangered), danger);
        assert_eq!(it.word(at(325), waits(332), keeps(66)), None);
        assert_eq!(it.word(at(326), None, keeps(1)), Some(Said::Over));
        assert_eq!(it.word(at(327), None, keeps(1)), None);
    }

    #[test]
    fn it_looks_more_often_while_kafka_is_away() {
        let begin = crate::net::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut it = Retention::new(0, begin);
        let waits = Some(Duration::from_secs(11));
        assert!(!it.is_due(at(0), waits));
        assert!(!it.is_due(at(9), waits));
        assert!(it.is_due(at(10), waits));
        assert!(!it.is_due(at(59), None));
        assert!(it.is_due(at(60), None));
        it.tell("c", at(60), None, None);
        assert!(!it.is_due(at(119), None));
        // Lives of the pipe that Kafka ended are one outage.
        it.kafka_failed(at(120));
        it.kafka_failed(at(125));
        assert_eq!(it.away(at(130)), Some(Duration::from_secs(10)));
        assert_eq!(
            it.waits(at(131), Some(at(130))),
            Some(Duration::from_secs(11))
        );
        assert_eq!(it.waits(at(132), None), None);
        assert_eq!(it.waits(at(133), Some(at(133))), Some(Duration::ZERO));
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!(size(512), "0.5 KiB");
        assert_eq!(size(3 * MIB / 2), "1.5 MiB");
        assert_eq!(size(40 << 30), "40.0 GiB");
    }
}
