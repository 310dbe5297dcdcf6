//! Room: records in, acknowledgements out.
//!
//! ```text
//!   append ─► batches   open batches, sealed by bytes, by age, by flush or commit
//!               └─► inflight   sealed batches on the wire in order, sent again when they fail
//!                     ├─ cluster      brokers, leaders, topics that must be created
//!                     ├─ transaction  batches between two commits, all or nothing
//!                     └─ driver       the sockets (link), and time
//!   acknowledged ◄─ marks: everything before this position is in the log
//! ```
//!
//! [`Producer`] is a machine: no socket, no clock. [`Driver`] moves its bytes and is what a pipe
//! holds. A record is written once, into the batch that goes to the socket.

mod batches;
mod cluster;
mod consume;
mod driver;
mod error;
mod inflight;
mod link;
mod read_back;
#[cfg(test)]
mod simulation;
mod transaction;

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use kafkawire::batch::{AppendError, RecordWriter};
use kafkawire::compress::{Codec, Compressor};
use kafkawire::connection::{Answer, Connection};
use kafkawire::partition::partition_for_key;

pub use batches::{BatchId, TopicId};
pub use consume::{Consumer, create_topics, delete_topics};
pub use driver::Driver;
pub use error::Error;
pub use inflight::Outgoing;
pub use read_back::{Isolation, last_value};

use crate::config::{Compression, Sink, TopicCreation};
use crate::mutant::{self, Mutant};
use batches::{Batches, Stage};
use cluster::Cluster;
use inflight::{Identity, InFlight, What};
use transaction::Transaction;

/// A broker, by the number that the cluster gives it. Negative: an address of `bootstrap.servers`
/// whose number is not known yet.
pub type NodeId = i32;

/// The producer: records appended to batches, batches sent in order, acknowledgements counted.
///
/// Time is what has passed since some moment of the caller's choice, and never goes back. Order of
/// calls, by whoever owns the sockets: [`tick`](Self::tick) with the time; connect to
/// [`wanted`](Self::wanted) nodes and say [`connected`](Self::connected); for each of these,
/// [`poll_send`](Self::poll_send) until it gives `false`, write what it appended and say
/// [`written`](Self::written); hand answers to [`receive`](Self::receive); tell
/// [`disconnected`](Self::disconnected); come back at [`deadline`](Self::deadline). After an error
/// the producer is of no more use.
///
/// By whoever has records: [`topic`](Self::topic), [`partition`](Self::partition) until it is
/// known, [`append`](Self::append) or [`record`](Self::record), then [`mark`](Self::mark) or
/// [`commit`](Self::commit), and [`acknowledged`](Self::acknowledged). While
/// [`is_full`](Self::is_full), append no more.
#[derive(Debug)]
pub struct Producer {
    settings: Sink,
    batches: Batches,
    cluster: Cluster,
    identity: Identity,
    transaction: Option<Transaction>,
    requests: Vec<InFlight>,
    spare_ids: Vec<Vec<BatchId>>,
    turn: usize,
    failures: u32,
    random: u64,
    now: Duration,
    checked_at: Duration,
    failure: Option<Error>,
}

/// Time limits of seconds need not be looked at more often.
const CHECK_EVERY: Duration = Duration::from_millis(200);

impl Producer {
    /// A producer that knows nothing of its cluster yet. `random` seeds the jitter of back-offs.
    ///
    /// With `exactly_once` it is transactional: [`commit`](Self::commit) instead of
    /// [`mark`](Self::mark). Otherwise it is idempotent if `idempotent` says so.
    ///
    /// Errors: `Configuration` for a compression level that the codec does not have.
    pub fn new(settings: Sink, random: u64) -> Result<Self, Error> {
        let codec = match settings.compression {
            Compression::None => Codec::NONE,
            Compression::Gzip => Codec::GZIP,
            Compression::Snappy => Codec::SNAPPY,
            Compression::Lz4 => Codec::LZ4,
            Compression::Zstd => Codec::ZSTD,
        };
        let compressor = Compressor::new(codec, settings.compression_level).map_err(|error| {
            Error::Configuration {
                reason: format!("compression: {error}"),
            }
        })?;
        let transaction = settings.exactly_once.then(|| {
            let mut id = settings.transactional_id.clone();
            if mutant::is(Mutant::SkipFence) {
                id = format!("{id}-{random}");
            }
            Transaction::new(id)
        });
        let identity = if settings.acks == -1 && (settings.idempotent || transaction.is_some()) {
            Identity::Wanted { at: Duration::ZERO }
        } else if transaction.is_some() {
            let reason = "exactly-once needs acks=all".to_owned();
            return Err(Error::Configuration { reason });
        } else {
            Identity::Anonymous
        };
        Ok(Self {
            batches: Batches::new(
                compressor,
                settings.batch_bytes,
                settings
                    .request_bytes_max
                    .min(settings.records_bytes_max / 2),
                (settings.buffer_bytes_max, settings.records_bytes_max),
                transaction.is_some(),
            ),
            cluster: Cluster::new(settings.bootstrap.clone()),
            settings,
            identity,
            transaction,
            requests: Vec::new(),
            spare_ids: Vec::new(),
            turn: 0,
            failures: 0,
            random: random | 1,
            now: Duration::ZERO,
            checked_at: Duration::ZERO,
            failure: None,
        })
    }

    /// The id of a topic. A new one is looked up, and created as the configuration says.
    pub fn topic(&mut self, name: &str) -> TopicId {
        let (id, new) = self.batches.intern(name);
        if new {
            self.cluster.look_up(self.now);
        }
        id
    }

    /// The id of a topic that, where missing, is created like this and not by the patterns.
    pub fn topic_created(&mut self, name: &str, creation: TopicCreation) -> TopicId {
        let id = self.topic(name);
        self.batches.topic_mut(id).creation = Some(creation);
        id
    }

    /// How many partitions the topic has; none: not known yet, drive on.
    #[must_use]
    pub fn partitions(&self, topic: TopicId) -> Option<NonZeroU32> {
        let topic = self.batches.topic(topic);
        if topic.stage != Stage::Known && topic.partitions.is_empty() {
            return None;
        }
        NonZeroU32::new(u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX))
    }

    /// Where a record with this key goes: by the key's hash, as Java's producer has it; without a
    /// key, to the partition whose batch is being filled. None: the topic is not known yet.
    #[must_use]
    pub fn partition(&self, topic: TopicId, key: Option<&[u8]>) -> Option<i32> {
        let count = self.partitions(topic)?;
        Some(match key {
            Some(_) if mutant::is(Mutant::AnyPartition) => {
                i32::try_from(self.batches.bytes % count.get() as usize).unwrap_or_default()
            }
            Some(key) => i32::try_from(partition_for_key(key, count)).unwrap_or_default(),
            None => self.batches.topic(topic).sticky,
        })
    }

    /// Begins a record, written straight into the batch that will be sent; `partition` is one that
    /// [`partition`](Self::partition) gave. See [`record`](Self::record) for what
    /// [`RecordWriter::finish`] may say.
    pub fn append(
        &mut self,
        topic: TopicId,
        partition: i32,
        timestamp_ms: i64,
    ) -> RecordWriter<'_> {
        self.batches.open((topic, partition)).append(timestamp_ms)
    }

    /// Appends a record that `write` writes. When the batch is too full for it, the batch is sealed
    /// and `write` called once more, into the next.
    ///
    /// Errors: `RecordTooLarge` for a record that no batch can hold (`max.request.size`).
    pub fn record(
        &mut self,
        topic: TopicId,
        partition: i32,
        timestamp_ms: i64,
        mut write: impl FnMut(&mut RecordWriter<'_>),
    ) -> Result<(), Error> {
        loop {
            let mut record = self.append(topic, partition, timestamp_ms);
            write(&mut record);
            match record.finish() {
                Ok(()) => return Ok(()),
                Err(AppendError::Full) => self.seal(topic, partition),
                Err(AppendError::RecordTooLarge { bytes, max }) => {
                    let topic = self.batches.topic(topic).name.clone();
                    return Err(Error::RecordTooLarge {
                        topic,
                        bytes,
                        max: Some(max),
                    });
                }
            }
        }
    }

    /// Closes the partition's open batch, for a record that did not fit into it.
    pub fn seal(&mut self, topic: TopicId, partition: i32) {
        self.batches.seal((topic, partition));
    }

    /// Everything appended so far has position `token`; tokens never go back.
    pub fn mark(&mut self, token: u64) {
        self.batches.mark(token);
    }

    /// Commits everything appended since the commit before as one transaction, with position
    /// `token`. What is appended from now on belongs to the next one; it may be appended at once.
    pub fn commit(&mut self, token: u64) {
        if self.transaction.is_some() {
            self.batches.seal_all();
        }
        self.batches.mark(token);
    }

    /// The highest token such that every record appended before it is in the log of all in-sync
    /// replicas; in a transactional producer: is committed.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.batches.acknowledged()
    }

    /// Whether nothing waits for an acknowledgement.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.batches.is_idle()
    }

    /// Closes every open batch, so that it is sent without waiting for `linger.ms`.
    pub fn flush(&mut self) {
        self.batches.seal_all();
    }

    /// The records to come may need so many bytes each, which [`is_full`](Self::is_full) counts.
    pub fn expect(&mut self, bytes: usize) {
        self.batches.expect(bytes);
    }

    /// Whether `buffer.memory`, or the share of `penstock.memory.max`, is used up: drive until it
    /// is not.
    #[must_use]
    pub fn is_full(&self) -> bool {
        !mutant::is(Mutant::IgnoreRoom)
            && (self.batches.bytes >= self.settings.buffer_bytes_max || self.batches.is_full())
    }

    /// Whether there is a connection to any broker.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        !self.cluster.connected.is_empty()
    }

    /// What ended the producer.
    #[must_use]
    pub fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// The name of a topic.
    #[must_use]
    pub fn topic_name(&self, topic: TopicId) -> &str {
        &self.batches.topic(topic).name
    }

    /// Bytes of records that wait or are in flight.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.batches.bytes
    }

    /// Whether a transactional producer has fenced its predecessor, and an idempotent one has its
    /// id. What the predecessor left uncommitted is aborted then.
    #[must_use]
    pub fn is_established(&self) -> bool {
        !matches!(self.identity, Identity::Wanted { .. })
    }

    /// The bytes of a batch that [`Outgoing`] names.
    #[must_use]
    pub fn bytes(&self, batch: BatchId) -> &[u8] {
        self.batches
            .sealed(batch)
            .map(|sealed| sealed.batch.bytes())
            .unwrap_or_default()
    }

    /// Host and port of a node.
    #[must_use]
    pub fn address(&self, node: NodeId) -> Option<(String, u16)> {
        self.cluster.address(node)
    }

    /// Host and port of a node as one text, for people.
    #[must_use]
    pub fn broker(&self, node: NodeId) -> String {
        self.cluster.name(node)
    }

    /// Nodes that there should be a connection to.
    pub fn wanted(&self, wanted: &mut BTreeSet<NodeId>) {
        wanted.clear();
        self.wanted_nodes(wanted);
        self.wanted_coordinator(wanted);
    }

    /// A connection is ready.
    pub fn connected(&mut self, node: NodeId) {
        self.cluster.reached(node, self.now);
    }

    /// A connection is gone, or could not be made.
    pub fn disconnected(&mut self, node: NodeId, reason: &str) {
        self.cluster.failed(node, reason);
        self.forget_requests(node);
        self.lost_coordinator(node);
        self.cluster.refresh(self.now, self.settings.retry_backoff);
    }

    /// A broker will have nothing to do with us.
    pub fn rejected(&mut self, error: Error) {
        self.fail(error);
    }

    /// It is `now`.
    ///
    /// Errors: whatever ended the producer: a refusal, a time limit, a predecessor's successor.
    pub fn tick(&mut self, now: Duration) -> Result<(), Error> {
        self.now = now.max(self.now);
        self.batches.now = self.now;
        self.batches.settle();
        self.cluster.check(self.now)?;
        self.check_doom();
        if self.now >= self.checked_at + CHECK_EVERY {
            self.checked_at = self.now;
            self.check_topics()?;
            self.check_delivery()?;
        }
        self.result()
    }

    /// When to call [`tick`](Self::tick) and [`poll_send`](Self::poll_send) again if nothing else
    /// happens; none: never.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let mut next: Option<Duration> = None;
        let mut at = |time: Duration| {
            // What is due already waits for a connection or an answer, not for time.
            if time > self.now {
                next = Some(next.map_or(time, |next| next.min(time)));
            }
        };
        self.cluster.deadlines().into_iter().for_each(&mut at);
        self.transaction_deadlines().into_iter().for_each(&mut at);
        if let Identity::Wanted { at: wanted } = self.identity {
            at(wanted);
        }
        for request in &self.requests {
            at(request.sent_at + self.settings.request_timeout);
        }
        if let Some(born) = self.batches.oldest_open {
            // While something is on the wire, its answer is waited for.
            if let Some(patience) = self.patience(false) {
                at(born + patience);
            }
        }
        if self.batches.retry_until > self.now {
            for &place in &self.batches.active {
                at(self.batches.partition(place).retry_at);
            }
        }
        if self.settings.delivery_timeout.is_some() && self.batches.bytes > 0 {
            at(self.checked_at + CHECK_EVERY);
        }
        next
    }

    /// Whether an answer of this node is overdue: close the connection.
    #[must_use]
    pub fn is_overdue(&self, node: NodeId) -> bool {
        let limit = self.settings.request_timeout;
        self.requests
            .iter()
            .any(|request| request.node == node && self.now >= request.sent_at + limit)
    }

    /// Appends the next request for a connected node. `false`: there is none now.
    ///
    /// Errors: as [`tick`](Self::tick), and `Protocol` for a broker without a version of ours.
    pub fn poll_send(
        &mut self,
        node: NodeId,
        link: &mut Connection,
        out: &mut Outgoing,
    ) -> Result<bool, Error> {
        self.batches.settle();
        let sent = self.put_cluster(node, link, out)?
            || self.put_identity(node, link, out)?
            || self.put_transaction(node, link, out)?
            || self.put_produce(node, link, out)?;
        self.result()?;
        Ok(sent)
    }

    /// All that [`Outgoing`] held for the node is written.
    pub fn written(&mut self, node: NodeId) {
        self.acknowledge_unanswered(node);
    }

    /// Takes an answer of a node.
    ///
    /// Errors: as [`tick`](Self::tick), and `Protocol` for an answer that cannot be read.
    pub fn receive(&mut self, node: NodeId, answer: &Answer<'_>) -> Result<(), Error> {
        let asked = self
            .requests
            .iter()
            .position(|request| request.node == node && request.correlation == answer.correlation);
        let Some(at) = asked else { return Ok(()) };
        self.cluster.answered();
        let taken = match self.requests.remove(at).what {
            What::Metadata => self.take_metadata(answer),
            What::CreateTopics(topics) => self.take_create_topics(&topics, answer),
            What::InitProducerId => self.take_identity(answer),
            What::FindCoordinator => self.take_coordinator(answer),
            What::AddPartitions(places) => self.take_added(&places, answer),
            What::EndTxn { committed } => self.take_end(committed, answer),
            What::Produce(ids) => self.take_produce(ids, answer),
        };
        taken.map_err(|error| self.protocol(node, error))?;
        self.batches.prune();
        self.result()
    }

    fn check_delivery(&self) -> Result<(), Error> {
        let Some(limit) = self.settings.delivery_timeout else {
            return Ok(());
        };
        for &(topic, partition) in &self.batches.active {
            let first = self.batches.partition((topic, partition)).sealed.front();
            let Some(first) = first.and_then(|&id| self.batches.sealed(id)) else {
                continue;
            };
            if self.now >= first.born_at + limit {
                return Err(Error::DeliveryTimeout {
                    topic: self.batches.topic(topic).name.clone(),
                    partition,
                    reason: format!("{} attempts", first.attempts),
                });
            }
        }
        Ok(())
    }

    /// The first failure counts; those after it are its consequences.
    fn fail(&mut self, error: Error) {
        self.failure.get_or_insert(error);
    }

    fn result(&self) -> Result<(), Error> {
        self.failure.clone().map_or(Ok(()), Err)
    }
}
