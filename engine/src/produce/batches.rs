//! Records on their way into batches: interned topics, open batches, and what is outstanding.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use kafkawire::batch::{
    AppendError, BATCH_BYTES_MAX, Batch, BatchBuilder, BatchView, HEADER_BYTES, ProducerStamp,
};
use kafkawire::compress::Compressor;
use kafkawire::message::Uuid;

use crate::config::TopicCreation;
use crate::mutant::{self, Mutant};

/// A topic of this producer, by its place in a table: no name is looked up per record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub(super) u32);

impl TopicId {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A sealed batch, by its place in the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchId(u32);

/// A partition of a topic.
pub(super) type Place = (TopicId, i32);

/// What is known of a topic.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) id: Uuid,
    /// Empty until the brokers have told.
    pub(super) partitions: Vec<Partition>,
    pub(super) stage: Stage,
    /// How to create it; wins over the patterns of the configuration.
    pub(super) creation: Option<TopicCreation>,
    /// Where records without a key go until that batch is sealed.
    pub(super) sticky: i32,
    /// Bytes at which a batch is sealed; less than configured once the broker refused one.
    pub(super) batch_bytes: usize,
}

/// How far a topic is from existing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// To be asked for.
    Unknown { since: Duration },
    /// To be created, or being created.
    Creating { since: Duration },
    /// Created, and not yet seen.
    Created { since: Duration },
    /// Its partitions are known.
    Known,
}

/// One partition: the batch that takes records, and those that wait or are on the wire.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) leader: i32,
    pub(super) leader_epoch: i32,
    open: Option<BatchBuilder>,
    /// When and in which segment the open batch got its first record.
    born: Option<(u64, Duration)>,
    counted: usize,
    /// Of the open batch's memory, what is counted in `held`.
    held: usize,
    /// In the order of their sequences.
    pub(super) sealed: VecDeque<BatchId>,
    pub(super) in_flight: usize,
    /// Sequences of batches that are in the log while one before them is not known to be: a broker
    /// remembers five batches, and that one must still be among them when it is sent again.
    pub(super) overtaking: Vec<i32>,
    /// An attempt failed: nothing is sent until what is in flight has come back.
    pub(super) recovering: bool,
    /// A batch of this identity is in the log. Until then a broker takes any sequence for the
    /// first, so a second batch in flight could overtake one that failed.
    pub(super) proven: bool,
    /// The batches begin again at sequence 0 of the current identity, sent before or not.
    pub(super) reset: bool,
    pub(super) retry_at: Duration,
    pub(super) failures: u32,
    /// The producer id and epoch that the sequences belong to.
    pub(super) identity: (i64, i16),
    pub(super) next_sequence: i32,
    pub(super) acknowledged_offset: i64,
    /// The segment whose transaction has the partition.
    pub(super) added: Option<u64>,
    listed: bool,
}

impl Partition {
    pub(super) fn new() -> Self {
        Self {
            leader: -1,
            leader_epoch: -1,
            open: None,
            born: None,
            counted: 0,
            held: 0,
            sealed: VecDeque::new(),
            in_flight: 0,
            overtaking: Vec::new(),
            recovering: false,
            proven: false,
            reset: false,
            retry_at: Duration::ZERO,
            failures: 0,
            identity: (-1, -1),
            next_sequence: 0,
            acknowledged_offset: -1,
            added: None,
            listed: false,
        }
    }

    pub(super) fn born(&self) -> Option<(u64, Duration)> {
        self.born
    }
}

/// A sealed batch and its history.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) batch: Batch,
    pub(super) place: Place,
    pub(super) stamp: ProducerStamp,
    pub(super) segment: u64,
    pub(super) born_at: Duration,
    pub(super) in_flight: bool,
    pub(super) attempts: u32,
}

/// Records appended between two marks, or one transaction: the batches that hold them.
#[derive(Debug)]
struct Segment {
    /// Batches that got their first record here.
    born: usize,
    /// Those of them that are not in the log yet.
    outstanding: usize,
    /// Given when the segment is closed.
    token: Option<u64>,
}

impl Segment {
    const EMPTY: Self = Self {
        born: 0,
        outstanding: 0,
        token: None,
    };
}

/// All that was appended and is not acknowledged.
#[derive(Debug)]
pub(super) struct Batches {
    pub(super) topics: Vec<Topic>,
    names: HashMap<String, TopicId>,
    arena: Vec<Option<Sealed>>,
    free: Vec<BatchId>,
    spare: Vec<BatchBuilder>,
    spare_max: usize,
    /// Memory of the spare ones.
    spare_bytes: usize,
    compressor: Compressor,
    batch_bytes: usize,
    batch_bytes_max: usize,
    /// Partitions with anything open or sealed.
    pub(super) active: Vec<Place>,
    last: Option<Place>,
    /// The front one has number `first_segment`; the back one takes what is appended.
    segments: VecDeque<Segment>,
    first_segment: u64,
    transactional: bool,
    acknowledged: u64,
    pub(super) bytes: usize,
    /// Memory of open and sealed batches: what is allocated, used or not.
    held: usize,
    held_max: usize,
    /// What the record to come may need.
    expected: usize,
    /// Sealed batches that are not on the wire.
    pub(super) unsent: usize,
    /// When the oldest of the open batches was born, or before; none: none is open. Zero: one of
    /// them is as large as it is meant to be.
    pub(super) oldest_open: Option<Duration>,
    /// Until when some partition waits before it tries again.
    pub(super) retry_until: Duration,
    pub(super) now: Duration,
}

/// Buffers kept for batches to come: at most so many, and about so small a part of
/// `buffer.memory`.
const SPARE_MAX: usize = 64;
const SPARE_SHARE: usize = 8;
/// What the last record of a batch may have added to a buffer that is worth keeping.
const SPARE_SLACK: usize = 64 << 10;

impl Batches {
    pub(super) fn new(
        compressor: Compressor,
        batch_bytes: usize,
        batch_bytes_max: usize,
        (buffer_bytes_max, held_max): (usize, usize),
        transactional: bool,
    ) -> Self {
        let batch_bytes = batch_bytes.min(batch_bytes_max);
        Self {
            topics: Vec::new(),
            names: HashMap::new(),
            arena: Vec::new(),
            free: Vec::new(),
            spare: Vec::new(),
            spare_bytes: 0,
            compressor,
            batch_bytes,
            spare_max: (buffer_bytes_max / SPARE_SHARE / batch_bytes.max(1)).clamp(2, SPARE_MAX),
            batch_bytes_max,
            active: Vec::new(),
            last: None,
            segments: VecDeque::from([Segment::EMPTY]),
            first_segment: 0,
            transactional,
            acknowledged: 0,
            bytes: 0,
            held: 0,
            held_max,
            expected: 0,
            unsent: 0,
            oldest_open: None,
            retry_until: Duration::ZERO,
            now: Duration::ZERO,
        }
    }

    /// The next record may need so many bytes.
    pub(super) fn expect(&mut self, bytes: usize) {
        self.expected = bytes;
        if self.held + self.spare_bytes + self.worst() > self.held_max {
            self.spare.clear();
            self.spare_bytes = 0;
        }
    }

    /// Whether the memory for batches is used up, or will be with the record to come. Never while
    /// nothing is held: what then is too much is refused, and waiting would not help.
    pub(super) fn is_full(&self) -> bool {
        self.held > 0 && self.held + self.worst() >= self.held_max
    }

    /// What escapes, and values that are told twice, may make of the record to come; one may have
    /// half of the room.
    fn worst(&self) -> usize {
        (self.expected * 8).min(self.held_max / 2)
    }

    /// The id of the topic, and whether it is new.
    pub(super) fn intern(&mut self, name: &str) -> (TopicId, bool) {
        if let Some(&id) = self.names.get(name) {
            return (id, false);
        }
        let id = TopicId(u32::try_from(self.topics.len()).expect("fewer topics than 2^32"));
        self.topics.push(Topic {
            name: name.to_owned(),
            id: Uuid::ZERO,
            partitions: Vec::new(),
            stage: Stage::Unknown { since: self.now },
            creation: None,
            sticky: 0,
            batch_bytes: self.batch_bytes,
        });
        self.names.insert(name.to_owned(), id);
        (id, true)
    }

    pub(super) fn by_name(&self, name: &str) -> Option<TopicId> {
        self.names.get(name).copied()
    }

    pub(super) fn topic(&self, id: TopicId) -> &Topic {
        &self.topics[id.index()]
    }

    pub(super) fn topic_mut(&mut self, id: TopicId) -> &mut Topic {
        &mut self.topics[id.index()]
    }

    pub(super) fn partition(&self, (topic, partition): Place) -> &Partition {
        &self.topics[topic.index()].partitions[index(partition)]
    }

    pub(super) fn partition_mut(&mut self, (topic, partition): Place) -> &mut Partition {
        &mut self.topics[topic.index()].partitions[index(partition)]
    }

    /// The open batch of a partition, ready for a record.
    pub(super) fn open(&mut self, place: Place) -> &mut BatchBuilder {
        self.settle();
        let counted = self.partition(place).counted;
        // A record that would not fit is not written twice to see that.
        let overflows = counted > 0 && counted + self.expected > self.batch_bytes_max;
        if counted >= self.topic(place.0).batch_bytes || overflows {
            self.seal(place);
        }
        self.last = Some(place);
        let (topic, partition) = place;
        let Self {
            topics,
            spare,
            spare_bytes,
            active,
            ..
        } = self;
        let topic = &mut topics[topic.index()];
        let partition = &mut topic.partitions[index(partition)];
        if !partition.listed {
            partition.listed = true;
            active.push(place);
        }
        let max = self.batch_bytes_max;
        partition.open.get_or_insert_with(|| match spare.pop() {
            Some(open) => {
                *spare_bytes -= open.capacity();
                open
            }
            None => BatchBuilder::new(max),
        })
    }

    /// Counts the record that was appended last, if it was finished.
    pub(super) fn settle(&mut self) {
        let Some(place) = self.last.take() else {
            return;
        };
        let (now, newest) = (self.now, self.newest_segment());
        let spare_bytes_max = self.spare_bytes_max();
        let partition = self.partition_mut(place);
        let Some(open) = &partition.open else { return };
        let (held, before) = (open.capacity(), partition.held);
        if open.is_empty() {
            // A record that was refused leaves nothing behind.
            if held > spare_bytes_max {
                partition.open = None;
            }
            return;
        }
        partition.held = held;
        self.held += held - before;
        let partition = self.partition_mut(place);
        let Some(open) = &partition.open else { return };
        let grown = open.byte_count() - partition.counted;
        partition.counted = open.byte_count();
        let full = partition.counted >= self.topics[place.0.index()].batch_bytes;
        let partition = self.partition_mut(place);
        let first = partition.born.is_none();
        if full {
            self.oldest_open = Some(Duration::ZERO);
        } else if first {
            self.oldest_open = Some(self.oldest_open.map_or(now, |oldest| oldest.min(now)));
        }
        if first {
            self.partition_mut(place).born = Some((newest, now));
            let segment = self.segments.back_mut().expect("there is always a segment");
            segment.born += 1;
            segment.outstanding += 1;
        }
        self.bytes += grown;
    }

    /// Closes the open batch of a partition, if it has records.
    pub(super) fn seal(&mut self, place: Place) {
        self.settle();
        let transactional = self.transactional;
        let (topic, number) = place;
        let topic = &mut self.topics[topic.index()];
        let partition = &mut topic.partitions[index(number)];
        let Some((segment, born_at)) = partition.born.take() else {
            return;
        };
        let Some(open) = partition.open.take() else {
            return;
        };
        let (producer_id, producer_epoch) = partition.identity;
        let stamp = ProducerStamp {
            producer_id,
            producer_epoch,
            base_sequence: if producer_id < 0 {
                -1
            } else {
                partition.next_sequence
            },
            transactional,
        };
        let mut count = open.record_count();
        if mutant::is(Mutant::ReuseSequence) && partition.next_sequence > 0 {
            count = 0;
        }
        let batch = open.seal(stamp, &mut self.compressor);
        partition.next_sequence = kafkawire::batch::sequence_after(partition.next_sequence, count);
        self.bytes = self.bytes - partition.counted + batch.bytes().len();
        self.held = self.held - partition.held + batch.capacity();
        partition.counted = 0;
        partition.held = 0;
        if topic.sticky == number {
            topic.sticky = next_sticky(topic, number);
        }
        let sealed = Sealed {
            batch,
            place,
            stamp,
            segment,
            born_at,
            in_flight: false,
            attempts: 0,
        };
        let id = self.store(sealed);
        self.partition_mut(place).sealed.push_back(id);
        self.unsent += 1;
    }

    /// Looks again which open batch is the oldest.
    pub(super) fn find_oldest_open(&mut self) {
        let born = |&place: &Place| {
            let partition = self.partition(place);
            let full = partition.counted >= self.topic(place.0).batch_bytes;
            let born = partition.born.map(|(_, at)| at);
            born.map(|at| if full { Duration::ZERO } else { at })
        };
        self.oldest_open = self.active.iter().filter_map(born).min();
    }

    /// How many sealed batches are not on the wire, counted one by one.
    pub(super) fn count_unsent(&self) -> usize {
        let sealed = self.arena.iter().flatten();
        sealed.filter(|sealed| !sealed.in_flight).count()
    }

    /// Closes every open batch.
    pub(super) fn seal_all(&mut self) {
        self.settle();
        for at in 0..self.active.len() {
            self.seal(self.active[at]);
        }
        self.oldest_open = None;
    }

    /// Whether a partition's open batch has all it is meant to have.
    pub(super) fn is_ripe(&self, place: Place, patience: Option<Duration>) -> bool {
        let partition = self.partition(place);
        partition.born.is_some_and(|(_, at)| {
            partition.counted >= self.topic(place.0).batch_bytes
                || patience.is_some_and(|patience| self.now >= at + patience)
        })
    }

    pub(super) fn sealed(&self, id: BatchId) -> Option<&Sealed> {
        self.arena.get(id.0 as usize)?.as_ref()
    }

    pub(super) fn sealed_mut(&mut self, id: BatchId) -> Option<&mut Sealed> {
        self.arena.get_mut(id.0 as usize)?.as_mut()
    }

    /// Forgets batches that overtook what is in the log by now, too.
    pub(super) fn count_overtaking(&mut self, place: Place) {
        if self.partition(place).overtaking.is_empty() {
            return;
        }
        let first = self.partition(place).sealed.front();
        let first = first.and_then(|&id| self.sealed(id));
        let first = first.map(|sealed| sealed.stamp.base_sequence);
        let overtaking = &mut self.partition_mut(place).overtaking;
        match first {
            // Sequences begin again at zero.
            Some(first) => overtaking.retain(|it| it.wrapping_sub(first) & i32::MAX < i32::MAX / 2),
            None => overtaking.clear(),
        }
    }

    /// Gives every batch of a partition its place in the sequence of another producer identity.
    pub(super) fn restamp(&mut self, place: Place, identity: (i64, i16)) {
        let (topic, number) = place;
        let Self { topics, arena, .. } = self;
        let partition = &mut topics[topic.index()].partitions[index(number)];
        partition.identity = identity;
        partition.proven = false;
        partition.next_sequence = 0;
        partition.overtaking.clear();
        for &id in &partition.sealed {
            let Some(sealed) = &mut arena[id.0 as usize] else {
                continue;
            };
            let (producer_id, producer_epoch) = identity;
            let base_sequence = if producer_id < 0 {
                -1
            } else {
                partition.next_sequence
            };
            sealed.stamp = ProducerStamp {
                producer_id,
                producer_epoch,
                base_sequence,
                ..sealed.stamp
            };
            sealed.batch.restamp(sealed.stamp);
            partition.next_sequence = kafkawire::batch::sequence_after(
                partition.next_sequence,
                sealed.batch.record_count(),
            );
        }
    }

    /// The batch is in the log.
    pub(super) fn acknowledge(&mut self, id: BatchId) {
        let Some(sealed) = self.arena.get_mut(id.0 as usize).and_then(Option::take) else {
            return;
        };
        self.free.push(id);
        self.bytes -= sealed.batch.bytes().len();
        let partition = self.partition_mut(sealed.place);
        partition.sealed.retain(|&other| other != id);
        partition.failures = 0;
        partition.proven = true;
        let at = usize::try_from(sealed.segment - self.first_segment).expect("a live segment");
        self.segments[at].outstanding -= 1;
        let capacity = sealed.batch.capacity();
        self.held -= capacity;
        // The halves of a batch that was too large have another bound.
        if self.topic(sealed.place.0).batch_bytes == self.batch_bytes
            && self.spare.len() < self.spare_max
            && capacity <= self.spare_bytes_max()
            && self.held + self.spare_bytes + capacity <= self.held_max
        {
            self.spare_bytes += capacity;
            self.spare.push(sealed.batch.recycle());
        }
        self.advance();
    }

    /// The size that a batch has, or had before it was compressed.
    pub(super) fn plain_bytes(&self, id: BatchId) -> usize {
        let mut plain = Vec::new();
        let bytes = self.sealed(id).map_or(&[][..], |it| it.batch.bytes());
        let view = BatchView::parse(bytes).ok();
        let read = view.and_then(|view| view.records(&mut plain, BATCH_BYTES_MAX).err());
        match (read, plain.is_empty()) {
            (None, false) => HEADER_BYTES + plain.len(),
            _ => bytes.len(),
        }
    }

    /// Cuts a batch that is too large for the broker in two. `false`: it has one record only.
    pub(super) fn split(&mut self, id: BatchId, plain_bytes_max: usize) -> bool {
        let Some(sealed) = self.arena[id.0 as usize].take() else {
            return true;
        };
        let count = sealed.batch.record_count();
        if count < 2 {
            self.arena[id.0 as usize] = Some(sealed);
            return false;
        }
        let topic = self.topic_mut(sealed.place.0);
        topic.batch_bytes = (topic.batch_bytes / 2).max(1);
        let (first_count, mut plain) = (count / 2, Vec::new());
        let halves = cut(&sealed.batch, first_count, plain_bytes_max, &mut plain)
            .expect("what we sealed can be read");
        let mut ids = Vec::with_capacity(2);
        self.bytes -= sealed.batch.bytes().len();
        self.held -= sealed.batch.capacity();
        let mut base_sequence = sealed.stamp.base_sequence;
        for half in halves {
            let stamp = ProducerStamp {
                base_sequence,
                ..sealed.stamp
            };
            if base_sequence >= 0 {
                base_sequence =
                    kafkawire::batch::sequence_after(base_sequence, half.record_count());
            }
            let batch = half.seal(stamp, &mut self.compressor);
            self.bytes += batch.bytes().len();
            self.held += batch.capacity();
            let Sealed {
                place,
                segment,
                born_at,
                ..
            } = sealed;
            let half = Sealed {
                batch,
                place,
                stamp,
                segment,
                born_at,
                in_flight: false,
                attempts: 0,
            };
            ids.push(self.store(half));
        }
        self.free.push(id);
        // Two for one.
        self.unsent += 1;
        let at = usize::try_from(sealed.segment - self.first_segment).expect("a live segment");
        self.segments[at].outstanding += 1;
        let queue = &mut self.partition_mut(sealed.place).sealed;
        let position = queue
            .iter()
            .position(|&other| other == id)
            .unwrap_or_default();
        queue.remove(position);
        for (offset, id) in ids.into_iter().enumerate() {
            queue.insert(position + offset, id);
        }
        true
    }

    /// Everything appended so far has position `token`.
    pub(super) fn mark(&mut self, token: u64) {
        self.settle();
        let before = self.segments.len().checked_sub(2);
        let segment = self.segments.back_mut().expect("there is always a segment");
        if segment.born > 0 {
            segment.token = Some(token);
            self.segments.push_back(Segment::EMPTY);
            self.advance();
        } else if let Some(before) = before {
            // Nothing was appended since the mark before, so both are true at once.
            self.segments[before].token = Some(token);
        } else {
            self.acknowledged = self.acknowledged.max(token);
        }
    }

    /// The number of the segment that takes what is appended.
    pub(super) fn newest_segment(&self) -> u64 {
        self.first_segment + self.segments.len() as u64 - 1
    }

    /// The number of the oldest segment, and whether all of it is written and closed by a mark.
    pub(super) fn oldest_segment(&self) -> (u64, bool) {
        let front = self.segments.front().expect("there is always a segment");
        (
            self.first_segment,
            front.outstanding == 0 && front.token.is_some(),
        )
    }

    /// The transaction of the oldest segment is committed.
    pub(super) fn committed(&mut self) {
        self.pop();
    }

    /// The highest token such that all before it is done.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Whether anything is appended and not acknowledged.
    pub(super) fn is_idle(&self) -> bool {
        self.segments.iter().all(|segment| segment.outstanding == 0) && self.segments.len() == 1
    }

    /// Forgets partitions that have nothing left.
    pub(super) fn prune(&mut self) {
        let Self { topics, active, .. } = self;
        active.retain(|&(topic, number)| {
            let partition = &mut topics[topic.index()].partitions[index(number)];
            partition.listed = partition.born.is_some()
                || !partition.sealed.is_empty()
                || partition.open.is_some();
            partition.listed
        });
    }

    /// Without transactions, what is acknowledged is done.
    fn advance(&mut self) {
        while !self.transactional && self.oldest_segment().1 {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some(Segment {
            token: Some(token), ..
        }) = self.segments.pop_front()
        {
            self.acknowledged = self.acknowledged.max(token);
            self.first_segment += 1;
        }
    }

    /// A buffer of more than this held one unusual record.
    fn spare_bytes_max(&self) -> usize {
        self.batch_bytes * 2 + SPARE_SLACK
    }

    fn store(&mut self, sealed: Sealed) -> BatchId {
        if let Some(id) = self.free.pop() {
            self.arena[id.0 as usize] = Some(sealed);
            return id;
        }
        let id = BatchId(u32::try_from(self.arena.len()).expect("fewer batches than 2^32"));
        self.arena.push(Some(sealed));
        id
    }
}

fn index(partition: i32) -> usize {
    usize::try_from(partition).expect("partitions are numbered from 0")
}

/// Another partition for records without a key, one with a leader if there is any.
fn next_sticky(topic: &Topic, current: i32) -> i32 {
    let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
    let after = (1..=count).map(|step| (current + step) % count);
    let mut led = after
        .clone()
        .filter(|&number| topic.partitions[index(number)].leader >= 0);
    led.next().or_else(|| after.into_iter().next()).unwrap_or(0)
}

/// The records of a batch in two open ones.
fn cut(
    batch: &Batch,
    first_count: i32,
    bytes_max: usize,
    plain: &mut Vec<u8>,
) -> Result<[BatchBuilder; 2], kafkawire::Error> {
    let bound = kafkawire::batch::BATCH_BYTES_MAX;
    let mut halves = [BatchBuilder::new(bound), BatchBuilder::new(bound)];
    let view = BatchView::parse(batch.bytes())?;
    for (at, record) in (0..).zip(view.records(plain, bytes_max)?) {
        let record = record?;
        let half = &mut halves[usize::from(at >= first_count)];
        let mut writer = half.append(record.timestamp_ms);
        writer.key(record.key);
        writer.value(record.value);
        for (name, value) in record.headers {
            writer.header(name, value);
        }
        let fits: Result<(), AppendError> = writer.finish();
        debug_assert!(fits.is_ok(), "half a batch is smaller than the batch");
    }
    Ok(halves)
}
