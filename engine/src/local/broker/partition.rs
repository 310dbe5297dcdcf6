//! One partition: its log, and what the log says about producers and transactions.
//!
//! All state here follows from the batches in their order: a restart reads them again, and a live
//! append goes through the same [`Partition::note`].

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::path::PathBuf;

use kafkawire::batch::{self, BatchView, ControlType, Header, ProducerStamp, sequence_after};
use kafkawire::error_code::ErrorCode;

use super::log::Log;

/// Batches per producer that are known again when they are sent again; what clients rely on, for
/// they keep no more than five requests in flight.
const RECENT_BATCHES: usize = 5;
/// Producers that a partition remembers; beyond, the one that has been silent longest is forgotten.
const PRODUCERS_MAX: usize = 10_000;

#[derive(Debug)]
pub(super) struct Partition {
    log: Log,
    producers: HashMap<i64, Producer>,
    /// First offset of each open transaction, and whose it is.
    open: BTreeMap<i64, i64>,
    /// Ended without a commit, in the order of their ends.
    aborted: Vec<Aborted>,
}

#[derive(Debug)]
struct Producer {
    epoch: i16,
    /// Of this epoch, oldest first.
    recent: VecDeque<Recent>,
    open_from: Option<i64>,
    last_offset: i64,
}

#[derive(Debug, Clone, Copy)]
struct Recent {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
}

/// A transaction that a committed read leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Aborted {
    pub(super) producer_id: i64,
    pub(super) first_offset: i64,
    /// Where its marker is.
    last_offset: i64,
}

impl Partition {
    pub(super) fn in_memory() -> Self {
        Self::over(Log::in_memory())
    }

    /// Opens the log in `dir` and learns from it.
    pub(super) fn open(dir: PathBuf) -> io::Result<Self> {
        let mut partition = Self::over(Log::in_memory());
        partition.log = Log::open(dir, |view| {
            partition.note(view.header(), view.control().ok().flatten());
        })?;
        Ok(partition)
    }

    fn over(log: Log) -> Self {
        Self {
            log,
            producers: HashMap::new(),
            open: BTreeMap::new(),
            aborted: Vec::new(),
        }
    }

    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    /// The first offset that an open transaction holds back from committed readers.
    pub(super) fn last_stable_offset(&self) -> i64 {
        self.open
            .keys()
            .next()
            .copied()
            .unwrap_or_else(|| self.log.end())
    }

    /// Aborted transactions that a reader of `from .. to` meets.
    pub(super) fn aborted(&self, from: i64, to: i64) -> impl Iterator<Item = Aborted> {
        let seen =
            move |aborted: &&Aborted| aborted.last_offset >= from && aborted.first_offset < to;
        self.aborted.iter().filter(seen).copied()
    }

    /// Producers with an open transaction here.
    pub(super) fn open_producers(&self) -> impl Iterator<Item = i64> {
        self.open.values().copied()
    }

    /// Appends a producer's batch, or finds it already there; answers its base offset.
    ///
    /// Errors: the batch does not follow the producer's last, or the disk refuses.
    pub(super) fn append(&mut self, batch: &BatchView<'_>) -> Result<i64, ErrorCode> {
        if let Some(base_offset) = self.check_sequence(batch.header())? {
            return Ok(base_offset);
        }
        self.append_unchecked(batch)
    }

    fn append_unchecked(&mut self, batch: &BatchView<'_>) -> Result<i64, ErrorCode> {
        let base_offset = self.log.append(batch).map_err(|error| {
            tracing::error!("appending to a log: {error}");
            ErrorCode::KAFKA_STORAGE_ERROR
        })?;
        let header = Header {
            base_offset,
            ..*batch.header()
        };
        self.note(&header, batch.control().ok().flatten());
        Ok(base_offset)
    }

    /// Ends the producer's transaction here, if it has one.
    pub(super) fn end_transaction(
        &mut self,
        kind: ControlType,
        producer_id: i64,
        producer_epoch: i16,
        unix_ms: i64,
    ) -> Result<(), ErrorCode> {
        let open = |producer: &Producer| producer.open_from.is_some();
        if !self.producers.get(&producer_id).is_some_and(open) {
            return Ok(());
        }
        let stamp = ProducerStamp {
            producer_id,
            producer_epoch,
            base_sequence: -1,
            transactional: true,
        };
        let mut marker = Vec::new();
        batch::put_end_marker(&mut marker, kind, unix_ms, stamp, 0);
        let marker = BatchView::parse(&marker).map_err(|_| ErrorCode::UNKNOWN_SERVER_ERROR)?;
        self.append_unchecked(&marker).map(|_| ())
    }

    /// Whether a batch may follow what its producer wrote; `Some` where it is a resend.
    fn check_sequence(&self, header: &Header) -> Result<Option<i64>, ErrorCode> {
        if header.producer_id < 0 {
            return Ok(None);
        }
        let Some(producer) = self.producers.get(&header.producer_id) else {
            // Nothing known, nothing to compare with.
            return Ok(None);
        };
        let (first, last) = (header.base_sequence, header.last_sequence());
        if header.producer_epoch < producer.epoch {
            return Err(ErrorCode::INVALID_PRODUCER_EPOCH);
        }
        if header.producer_epoch > producer.epoch {
            return match first {
                0 => Ok(None),
                _ => Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER),
            };
        }
        let same = |sent: &&Recent| sent.first_sequence == first && sent.last_sequence == last;
        if let Some(sent) = producer.recent.iter().find(same) {
            return Ok(Some(sent.base_offset));
        }
        let newest = producer.recent.back();
        if first == newest.map_or(0, |sent| sequence_after(sent.last_sequence, 1)) {
            return Ok(None);
        }
        // Told apart from a gap only where the sequence has not wrapped, which is nearly always.
        match producer.recent.front() {
            Some(oldest) if last < oldest.first_sequence => {
                Err(ErrorCode::DUPLICATE_SEQUENCE_NUMBER)
            }
            _ => Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER),
        }
    }

    /// Learns from a batch that is in the log, and what it says if it is a marker.
    fn note(&mut self, header: &Header, control: Option<ControlType>) {
        if header.producer_id < 0 {
            return;
        }
        let producer = self
            .producers
            .entry(header.producer_id)
            .or_insert_with(|| Producer {
                epoch: header.producer_epoch,
                recent: VecDeque::with_capacity(RECENT_BATCHES),
                open_from: None,
                last_offset: header.base_offset,
            });
        if header.producer_epoch != producer.epoch {
            producer.epoch = header.producer_epoch;
            producer.recent.clear();
        }
        producer.last_offset = header.last_offset();
        if header.attributes.control() {
            if let Some(first_offset) = producer.open_from.take() {
                self.open.remove(&first_offset);
                if control == Some(ControlType::ABORT) {
                    self.aborted.push(Aborted {
                        producer_id: header.producer_id,
                        first_offset,
                        last_offset: header.base_offset,
                    });
                }
            }
            return;
        }
        if producer.recent.len() == RECENT_BATCHES {
            producer.recent.pop_front();
        }
        producer.recent.push_back(Recent {
            first_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            base_offset: header.base_offset,
        });
        if header.attributes.transactional() && producer.open_from.is_none() {
            producer.open_from = Some(header.base_offset);
            self.open.insert(header.base_offset, header.producer_id);
        }
        if self.producers.len() > PRODUCERS_MAX {
            self.forget_one();
        }
    }

    fn forget_one(&mut self) {
        let idle = self
            .producers
            .iter()
            .filter(|(_, producer)| producer.open_from.is_none());
        let oldest = idle
            .min_by_key(|(_, producer)| producer.last_offset)
            .map(|(&id, _)| id);
        if let Some(id) = oldest {
            self.producers.remove(&id);
        }
    }
}
