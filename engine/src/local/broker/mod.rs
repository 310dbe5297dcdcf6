//! A single-node Kafka broker inside this process: the embedded default of the demo and of tests.
//!
//! It is made for development. There is one node, no replication, no authentication, no quotas, no
//! retention and no compaction; what is acknowledged has reached the operating system, not the disk.
//! For production run Apache Kafka: <https://kafka.apache.org/quickstart>. Whatever talks to this
//! broker talks to that one by changing `bootstrap.servers`.
//!
//! ```text
//!   server       sockets, one task per connection; the only part that waits
//!     Broker     machine: one request in, one response out, or "ask again when something changed"
//!       group        consumer groups, the classic protocol, and committed offsets
//!       transaction  one transactional id: producer, epoch, what takes part
//!       partition    one log and what it says about producers and transactions
//!         log        segments of batches as they came: files, or memory
//!       journal      topics, offsets and transactions, a line of JSON each
//! ```
//!
//! Batches are stored as they arrive; only base offset and leader epoch are set, neither of which
//! the CRC covers, so that compressed records stay as they are. With a data directory the broker
//! survives its own death: logs and journal are read again, a torn tail is cut, an open transaction
//! goes on or is ended as had been decided.
//!
//! Served are the APIs and versions of [`SERVED`]: enough for librdkafka, the Java clients and
//! franz-go to produce with every codec, idempotently and in transactions, to consume alone and in
//! groups, and to administer topics.

mod group;
mod journal;
mod log;
mod partition;
mod server;
mod transaction;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kafkawire::batch::{BatchView, ControlType};
use kafkawire::compress::Codec;
use kafkawire::error_code::ErrorCode;
use kafkawire::frame::{RequestHeader, put_response};
use kafkawire::message::add_offsets_to_txn::*;
use kafkawire::message::add_partitions_to_txn::*;
use kafkawire::message::api_versions::*;
use kafkawire::message::create_partitions::*;
use kafkawire::message::create_topics::*;
use kafkawire::message::delete_groups::*;
use kafkawire::message::delete_topics::*;
use kafkawire::message::describe_cluster::*;
use kafkawire::message::describe_configs::*;
use kafkawire::message::describe_groups::*;
use kafkawire::message::end_txn::*;
use kafkawire::message::fetch::{self, FetchRequest, FetchResponse, FetchableTopicResponse};
use kafkawire::message::find_coordinator::*;
use kafkawire::message::heartbeat::*;
use kafkawire::message::init_producer_id::*;
use kafkawire::message::join_group::*;
use kafkawire::message::leave_group::*;
use kafkawire::message::list_groups::*;
use kafkawire::message::list_offsets::*;
use kafkawire::message::metadata::*;
use kafkawire::message::offset_commit::*;
use kafkawire::message::offset_fetch::*;
use kafkawire::message::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderTopicResult,
};
use kafkawire::message::produce::{
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use kafkawire::message::sync_group::*;
use kafkawire::message::txn_offset_commit::*;
use kafkawire::message::{ApiKey, Message, Response, Uuid};
use kafkawire::{Error, Fault};

use group::{Client, Committed, Groups, Identity};
use journal::{Entry, Journal};
use log::LEADER_EPOCH;
use partition::Partition;
pub use server::{BrokerError, BrokerOptions, RunningBroker};
use transaction::{PendingOffset, State, Transaction};

/// What is advertised, and answered: API, lowest and highest version.
///
/// Produce is answered from version 3 on, but advertised from 0: librdkafka before 2.11.1 takes the
/// absence of version 0 for a broker that cannot read gzip, snappy and lz4. The lowest versions of
/// the group APIs are there for the same reason. Without `transaction.version` among the features,
/// clients keep to the first transaction protocol.
pub const SERVED: &[(ApiKey, i16, i16)] = &[
    (ApiKey::PRODUCE, 0, 11),
    (ApiKey::FETCH, 4, 16),
    (ApiKey::LIST_OFFSETS, 1, 7),
    (ApiKey::METADATA, 0, 13),
    (ApiKey::OFFSET_COMMIT, 2, 9),
    (ApiKey::OFFSET_FETCH, 1, 9),
    (ApiKey::FIND_COORDINATOR, 0, 6),
    (ApiKey::JOIN_GROUP, 0, 9),
    (ApiKey::HEARTBEAT, 0, 4),
    (ApiKey::LEAVE_GROUP, 0, 5),
    (ApiKey::SYNC_GROUP, 0, 5),
    (ApiKey::DESCRIBE_GROUPS, 0, 6),
    (ApiKey::LIST_GROUPS, 0, 5),
    (ApiKey::API_VERSIONS, 0, 4),
    (ApiKey::CREATE_TOPICS, 2, 7),
    (ApiKey::DELETE_TOPICS, 1, 6),
    (ApiKey::INIT_PRODUCER_ID, 0, 5),
    (ApiKey::OFFSET_FOR_LEADER_EPOCH, 2, 4),
    (ApiKey::ADD_PARTITIONS_TO_TXN, 0, 3),
    (ApiKey::ADD_OFFSETS_TO_TXN, 0, 4),
    (ApiKey::END_TXN, 0, 4),
    (ApiKey::TXN_OFFSET_COMMIT, 0, 5),
    (ApiKey::DESCRIBE_CONFIGS, 1, 4),
    (ApiKey::CREATE_PARTITIONS, 0, 3),
    (ApiKey::DELETE_GROUPS, 0, 2),
    (ApiKey::DESCRIBE_CLUSTER, 0, 1),
];

/// The lowest Produce version there are record batches in.
const PRODUCE_VERSION_MIN: i16 = 3;
/// The only broker's id.
const NODE_ID: i32 = 1;
/// Partitions that one topic may have.
const PARTITIONS_MAX: i32 = 1_000;
/// Topics that there may be.
const TOPICS_MAX: usize = 10_000;
/// Record bytes in one fetch answer, whatever the client allows; one batch may be larger.
const FETCH_BYTES_MAX: usize = 8 << 20;
/// How long a fetch may wait, whatever the client allows.
const FETCH_WAIT_MAX: Duration = Duration::from_secs(60);
/// Plain bytes of one batch that is looked into for a timestamp.
const PLAIN_BYTES_MAX: usize = 64 << 20;
/// `transaction.max.timeout.ms`.
const TRANSACTION_TIMEOUT_MAX_MS: i32 = 900_000;
/// Producer ids that are set aside in the journal at once.
const PRODUCER_IDS_BLOCK: i64 = 1_000;

/// What a topic is configured as where its creator said nothing: name, value, type as
/// DescribeConfigs numbers them. `retention.ms` tells the truth of this broker.
const TOPIC_DEFAULTS: &[(&str, &str, i8)] = &[
    ("cleanup.policy", "delete", 7),
    ("compression.type", "producer", 2),
    (MAX_MESSAGE_BYTES, "1048588", 3),
    ("message.timestamp.type", "CreateTime", 2),
    ("min.insync.replicas", "1", 3),
    ("retention.bytes", "-1", 5),
    ("retention.ms", "-1", 5),
    ("segment.bytes", "67108864", 3),
];
const MAX_MESSAGE_BYTES: &str = "max.message.bytes";

/// How the machine is set up; the rest of [`BrokerOptions`] concerns sockets.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// Where clients are told to connect.
    pub advertised_host: String,
    /// Where clients are told to connect.
    pub advertised_port: u16,
    /// Whether a topic that a client asks about begins to exist.
    pub auto_create_topics: bool,
    /// Partitions of a topic whose creator leaves the number open.
    pub default_partitions: i32,
    /// Seeds topic, cluster and member ids.
    pub seed: u64,
}

/// Both clocks, read at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For deadlines.
    pub instant: Instant,
    /// Milliseconds since 1970-01-01 UTC, for markers.
    pub unix_ms: i64,
}

/// What became of a request.
#[derive(Debug)]
pub enum Step {
    /// The response was appended.
    Answered,
    /// There is no response, and the next request may come: acks 0.
    Silent,
    /// Not yet: hand the same request in again, with this, once [`Broker::changes`] has moved or
    /// [`Ticket::until`] has come.
    Wait(Ticket),
    /// The connection is to be closed: the request cannot be read, or not be answered.
    Close(String),
}

/// A request that waits.
#[derive(Debug)]
pub struct Ticket(Waiting);

#[derive(Debug)]
enum Waiting {
    Fetch { until: Instant },
    Join { member_id: String },
    Sync,
}

impl Ticket {
    /// When to ask again though nothing has changed.
    #[must_use]
    pub fn until(&self) -> Option<Instant> {
        match self.0 {
            Waiting::Fetch { until } => Some(until),
            Waiting::Join { .. } | Waiting::Sync => None,
        }
    }
}

/// The broker, without sockets, clocks and randomness.
///
/// Order of calls: [`handle`](Self::handle) for each request of a connection, one after the other;
/// [`tick`](Self::tick) no later than [`deadline`](Self::deadline); [`flush`](Self::flush) at the
/// end. Whenever [`changes`](Self::changes) has moved, waiting requests are worth another try.
#[derive(Debug)]
pub struct Broker {
    config: BrokerConfig,
    cluster_id: String,
    topics: BTreeMap<String, Topic>,
    topic_names: HashMap<Uuid, String>,
    groups: Groups,
    transactions: BTreeMap<String, Transaction>,
    /// Whose transactional id a producer id is.
    producers: HashMap<i64, String>,
    next_producer_id: i64,
    producer_ids_below: i64,
    journal: Journal,
    directory: Option<Directory>,
    random: u64,
    changes: u64,
}

#[derive(Debug)]
struct Topic {
    id: Uuid,
    partitions: Vec<Partition>,
    configs: BTreeMap<String, String>,
}

/// The data directory, ours alone while the lock is held.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Broker {
    /// A broker that forgets everything when it is dropped.
    #[must_use]
    pub fn in_memory(config: BrokerConfig) -> Self {
        let mut broker = Self::empty(config, Journal::in_memory(), None);
        broker.cluster_id = broker.fresh_uuid().to_string();
        broker
    }

    /// A broker that keeps everything in `path`, which is created if need be, and goes on with what
    /// is there.
    ///
    /// Errors: those of the file system; `WouldBlock` when another process has the directory;
    /// `InvalidData` for a broken log or journal.
    pub fn open(config: BrokerConfig, path: &Path, now: Now) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let mut options = OpenOptions::new();
        let lock = options
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join("lock"))?;
        lock.try_lock()?;
        let (journal, entries) = Journal::open(&path.join("journal.jsonl"))?;
        let directory = Directory {
            path: path.to_owned(),
            _lock: lock,
        };
        let mut broker = Self::empty(config, journal, Some(directory));
        for entry in entries {
            broker.replay(entry);
        }
        for topic in broker.topics.values_mut() {
            let path = topic_path(path, topic.id);
            for (index, partition) in topic.partitions.iter_mut().enumerate() {
                *partition = Partition::open(path.join(index.to_string()))?;
            }
        }
        if broker.cluster_id.is_empty() {
            broker.cluster_id = broker.fresh_uuid().to_string();
        }
        broker.next_producer_id = broker.producer_ids_below;
        broker.rewrite_journal()?;
        broker.recover_transactions(now);
        Ok(broker)
    }

    fn empty(config: BrokerConfig, journal: Journal, directory: Option<Directory>) -> Self {
        Self {
            random: config.seed,
            config,
            cluster_id: String::new(),
            topics: BTreeMap::new(),
            topic_names: HashMap::new(),
            groups: Groups::default(),
            transactions: BTreeMap::new(),
            producers: HashMap::new(),
            next_producer_id: 0,
            producer_ids_below: 0,
            journal,
            directory,
            changes: 0,
        }
    }

    /// Counts whatever a waiting request may wait for.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// When [`tick`](Self::tick) has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let transactions = self
            .transactions
            .values()
            .filter_map(Transaction::deadline)
            .min();
        self.groups.deadline().into_iter().chain(transactions).min()
    }

    /// Does what time has made due: members go, rebalances end, old transactions are aborted.
    pub fn tick(&mut self, now: Now) {
        if self.groups.tick(now.instant) {
            self.changes += 1;
        }
        let late = |(_, transaction): &(&String, &Transaction)| {
            transaction
                .deadline()
                .is_some_and(|deadline| deadline <= now.instant)
        };
        let late = self
            .transactions
            .iter()
            .filter(late)
            .map(|(id, _)| id.clone());
        for id in late.collect::<Vec<_>>() {
            if let Some(transaction) = self.transactions.get_mut(&id) {
                transaction.fence();
            }
            if let Err(error) = self.end_transaction(&id, false, now) {
                tracing::error!("aborting the transaction of {id}, which is too old: {error}");
            }
        }
        if self.journal.is_long()
            && let Err(error) = self.rewrite_journal()
        {
            tracing::error!("rewriting the journal: {error}");
        }
    }

    /// Waits until the disk has everything.
    pub fn flush(&self) -> io::Result<()> {
        for partition in self.topics.values().flat_map(|topic| &topic.partitions) {
            partition.log().flush()?;
        }
        self.journal.flush()
    }

    /// Takes one request, the frame without its size, of a client at `host`, and appends the
    /// response, size included, to `out`. `ticket` is what the same request was given before.
    pub fn handle(
        &mut self,
        request: &[u8],
        ticket: Option<Ticket>,
        host: &str,
        now: Now,
        out: &mut Vec<u8>,
    ) -> Step {
        let Ok((header, body)) = RequestHeader::split(request) else {
            return Step::Close("the request has no header".to_owned());
        };
        let served = SERVED.iter().find(|(api, _, _)| *api == header.api);
        let Some(&(_, low, high)) = served else {
            return Step::Close(format!("{} is not served", header.api));
        };
        if !(low..=high).contains(&header.version) {
            if header.api != ApiKey::API_VERSIONS {
                return Step::Close(format!(
                    "{} is served at versions {low} to {high}, not at {}",
                    header.api, header.version
                ));
            }
            // Who asks does not know yet what we speak: version 0, and what to ask with.
            let api_keys = vec![ApiVersion {
                api_key: header.api.0,
                min_version: low,
                max_version: high,
            }];
            let error_code = ErrorCode::UNSUPPORTED_VERSION;
            let response = ApiVersionsResponse {
                error_code,
                api_keys,
                ..Default::default()
            };
            put_response(&response, 0, header.correlation, out);
            return Step::Answered;
        }
        let call = Call {
            header,
            body,
            host,
            now,
            out,
        };
        match header.api {
            ApiKey::API_VERSIONS => call.answer(|_: ApiVersionsRequest, _| api_versions()),
            ApiKey::METADATA => call.answer(|request, about| self.metadata(request, about)),
            ApiKey::PRODUCE => self.produce(call),
            ApiKey::FETCH => self.fetch(call, ticket),
            ApiKey::LIST_OFFSETS => call.answer(|request, _| self.list_offsets(request)),
            ApiKey::CREATE_TOPICS => call.answer(|request, _| self.create_topics(request)),
            ApiKey::DELETE_TOPICS => {
                call.answer(|request, about| self.delete_topics(request, about))
            }
            ApiKey::CREATE_PARTITIONS => call.answer(|request, _| self.create_partitions(request)),
            ApiKey::DESCRIBE_CONFIGS => call.answer(|request, _| self.describe_configs(request)),
            ApiKey::DESCRIBE_CLUSTER => {
                call.answer(|_: DescribeClusterRequest, _| self.describe_cluster())
            }
            ApiKey::FIND_COORDINATOR => call.answer(|request, _| self.find_coordinator(request)),
            ApiKey::OFFSET_FOR_LEADER_EPOCH => {
                call.answer(|request, _| self.offset_for_leader_epoch(request))
            }
            ApiKey::INIT_PRODUCER_ID => {
                call.answer(|request, about| self.init_producer_id(request, about))
            }
            ApiKey::ADD_PARTITIONS_TO_TXN => {
                call.answer(|request, about| self.add_partitions_to_txn(request, about))
            }
            ApiKey::ADD_OFFSETS_TO_TXN => {
                call.answer(|request, about| self.add_offsets_to_txn(request, about))
            }
            ApiKey::TXN_OFFSET_COMMIT => {
                call.answer(|request, about| self.txn_offset_commit(request, about))
            }
            ApiKey::END_TXN => call.answer(|request, about| self.end_txn(request, about)),
            ApiKey::JOIN_GROUP => self.join_group(call, ticket),
            ApiKey::SYNC_GROUP => self.sync_group(call, ticket),
            ApiKey::HEARTBEAT => call.answer(|request, about| self.heartbeat(request, about)),
            ApiKey::LEAVE_GROUP => call.answer(|request, about| self.leave_group(request, about)),
            ApiKey::OFFSET_COMMIT => {
                call.answer(|request, about| self.offset_commit(request, about))
            }
            ApiKey::OFFSET_FETCH => call.answer(|request, about| self.offset_fetch(request, about)),
            ApiKey::LIST_GROUPS => call.answer(|request, _| self.list_groups(request)),
            ApiKey::DESCRIBE_GROUPS => {
                call.answer(|request, about| self.describe_groups(request, about))
            }
            ApiKey::DELETE_GROUPS => call.answer(|request, _| self.delete_groups(request)),
            api => Step::Close(format!("{api} is not served")),
        }
    }
}

/// One request on its way to its answer.
struct Call<'b, 'o> {
    header: RequestHeader<'b>,
    body: &'b [u8],
    host: &'b str,
    now: Now,
    out: &'o mut Vec<u8>,
}

/// What an answer may depend on besides the request.
#[derive(Clone, Copy)]
struct About {
    version: i16,
    now: Now,
}

impl<'b> Call<'b, '_> {
    fn answer<Q: Message<'b>, A: for<'a> Response<'a>>(
        self,
        with: impl FnOnce(Q, About) -> A,
    ) -> Step {
        match self.request() {
            Ok(request) => {
                let response = with(request, self.about());
                self.reply(&response)
            }
            Err(step) => step,
        }
    }

    fn request<Q: Message<'b>>(&self) -> Result<Q, Step> {
        let version = self.header.version;
        let mut decoded = Q::decode(version, self.body);
        // librdkafka 2.16 appends three bytes to its MetadataRequest v13, and Kafka's own broker
        // does not look behind a request's end.
        if let Err(Error::Malformed {
            at,
            fault: Fault::Trailing,
            ..
        }) = decoded
        {
            decoded = Q::decode(version, self.body.get(..at).unwrap_or_default());
        }
        decoded.map_err(|error| Step::Close(format!("version {version}: {error}")))
    }

    fn about(&self) -> About {
        About {
            version: self.header.version,
            now: self.now,
        }
    }

    fn reply<'a>(self, response: &impl Response<'a>) -> Step {
        put_response(
            response,
            self.header.version,
            self.header.correlation,
            self.out,
        );
        Step::Answered
    }
}

// Produce, Fetch and offsets: what touches the logs.
impl Broker {
    fn produce(&mut self, call: Call<'_, '_>) -> Step {
        // Advertised below that for the sake of old clients, but never spoken.
        if call.header.version < PRODUCE_VERSION_MIN {
            return Step::Close("Produce is served from version 3 on".to_owned());
        }
        let request = match call.request::<ProduceRequest<'_>>() {
            Ok(request) => request,
            Err(step) => return step,
        };
        let version = call.header.version;
        let mut failed = false;
        let topics = request.topic_data.iter().map(|topic| {
            let partitions = topic.partition_data.iter().map(|data| {
                let records = data.records.unwrap_or_default();
                let transactional_id = request.transactional_id;
                let result = match request.acks {
                    -1..=1 => {
                        self.append(topic.name, data.index, records, version, transactional_id)
                    }
                    _ => Err(ErrorCode::INVALID_REQUIRED_ACKS),
                };
                failed |= result.is_err();
                PartitionProduceResponse {
                    index: data.index,
                    error_code: result.err().unwrap_or_default(),
                    base_offset: result.unwrap_or(-1),
                    log_start_offset: if result.is_ok() { 0 } else { -1 },
                    ..Default::default()
                }
            });
            let partition_responses = partitions.collect();
            TopicProduceResponse {
                name: topic.name,
                partition_responses,
                ..Default::default()
            }
        });
        let response = ProduceResponse {
            responses: topics.collect(),
            ..Default::default()
        };
        match request.acks {
            0 if failed => Step::Close("a batch with acks 0 was refused".to_owned()),
            0 => Step::Silent,
            _ => call.reply(&response),
        }
    }

    /// Appends the one batch that `records` must be; answers its base offset.
    fn append(
        &mut self,
        topic_name: &str,
        index: i32,
        records: &[u8],
        version: i16,
        transactional_id: Option<&str>,
    ) -> Result<i64, ErrorCode> {
        /// From this version on a client knows zstd.
        const ZSTD_VERSION: i16 = 7;
        let batch = BatchView::parse(records).map_err(|error| match error {
            Error::Malformed {
                fault: Fault::Checksum,
                ..
            } => ErrorCode::CORRUPT_MESSAGE,
            _ => ErrorCode::INVALID_RECORD,
        })?;
        let header = batch.header();
        let attributes = header.attributes;
        if attributes.control()
            || header.record_count == 0
            || header.record_count != header.last_offset_delta.wrapping_add(1)
        {
            return Err(ErrorCode::INVALID_RECORD);
        }
        if attributes.log_append_time() {
            return Err(ErrorCode::INVALID_TIMESTAMP);
        }
        match attributes.codec() {
            Codec::ZSTD if version < ZSTD_VERSION => {
                return Err(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE);
            }
            codec if codec.name().is_none() => return Err(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE),
            _ => {}
        }
        if header.producer_id >= 0 && (header.base_sequence < 0 || header.producer_epoch < 0) {
            return Err(ErrorCode::INVALID_RECORD);
        }
        let topic = self
            .topics
            .get(topic_name)
            .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        if index < 0 || topic.partition(index).is_none() {
            return Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        }
        if records.len() > topic.message_bytes_max() {
            return Err(ErrorCode::MESSAGE_TOO_LARGE);
        }
        let holder = self.producers.get(&header.producer_id);
        if attributes.transactional() {
            let id = transactional_id.ok_or(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED)?;
            let transaction = self
                .transactions
                .get(id)
                .filter(|_| holder.is_some_and(|h| h == id));
            let transaction = transaction.ok_or(ErrorCode::INVALID_PRODUCER_ID_MAPPING)?;
            transaction.check(
                header.producer_id,
                header.producer_epoch,
                ErrorCode::INVALID_PRODUCER_EPOCH,
            )?;
            let part = (topic_name.to_owned(), index);
            if transaction.state != State::Ongoing || !transaction.partitions.contains(&part) {
                return Err(ErrorCode::INVALID_TXN_STATE);
            }
        } else if let Some(transaction) = holder.and_then(|id| self.transactions.get(id))
            && transaction.state == State::Ongoing
        {
            return Err(ErrorCode::INVALID_TXN_STATE);
        }
        let topic = self.topics.get_mut(topic_name);
        let partition = topic.and_then(|topic| topic.partition_mut(index));
        let partition = partition.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let base_offset = partition.append(&batch)?;
        self.changes += 1;
        Ok(base_offset)
    }

    fn fetch(&mut self, call: Call<'_, '_>, ticket: Option<Ticket>) -> Step {
        let request = match call.request::<FetchRequest>() {
            Ok(request) => request,
            Err(step) => return step,
        };
        if request.session_id != 0 {
            let error_code = ErrorCode::FETCH_SESSION_ID_NOT_FOUND;
            return call.reply(&FetchResponse {
                error_code,
                ..Default::default()
            });
        }
        let until = match ticket {
            Some(Ticket(Waiting::Fetch { until })) => until,
            _ => {
                let wait = u64::try_from(request.max_wait_ms).unwrap_or_default();
                call.now.instant + Duration::from_millis(wait).min(FETCH_WAIT_MAX)
            }
        };
        let wanted = u64::try_from(request.min_bytes).unwrap_or_default();
        if call.now.instant < until && self.fetchable(&request, call.header.version) < wanted {
            return Step::Wait(Ticket(Waiting::Fetch { until }));
        }

        // All records of the answer, one partition behind the other, then the answer over them.
        let mut records = Vec::new();
        let mut bytes_left = usize::try_from(request.max_bytes)
            .unwrap_or_default()
            .min(FETCH_BYTES_MAX);
        let mut parts: Vec<FetchedTopic> = Vec::new();
        for topic in &request.topics {
            let name = self.fetched_name(topic, call.header.version);
            let partitions = topic.partitions.iter().map(|asked| {
                let committed = request.isolation_level != 0;
                let fetched = self.fetch_partition(
                    name.as_deref(),
                    asked,
                    committed,
                    bytes_left,
                    &mut records,
                );
                if let Ok(fetched) = &fetched {
                    bytes_left = bytes_left.saturating_sub(fetched.range.len());
                }
                (asked.partition, fetched)
            });
            let partitions = partitions.collect();
            parts.push(FetchedTopic {
                name: topic.topic.clone(),
                id: topic.topic_id,
                partitions,
            });
        }
        let unknown = match call.header.version {
            ..=12 => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            _ => ErrorCode::UNKNOWN_TOPIC_ID,
        };
        let responses = parts.iter().map(|topic| FetchableTopicResponse {
            topic: &topic.name,
            topic_id: topic.id,
            partitions: topic
                .partitions
                .iter()
                .map(|(index, fetched)| match fetched {
                    Ok(fetched) => fetch::PartitionData {
                        partition_index: *index,
                        high_watermark: fetched.end,
                        last_stable_offset: fetched.stable,
                        log_start_offset: fetched.start,
                        aborted_transactions: fetched.aborted.clone(),
                        records: Some(records.get(fetched.range.clone()).unwrap_or_default()),
                        ..Default::default()
                    },
                    Err(code) => fetch::PartitionData {
                        partition_index: *index,
                        error_code: code.unwrap_or(unknown),
                        high_watermark: -1,
                        records: Some(&[]),
                        ..Default::default()
                    },
                })
                .collect(),
        });
        call.reply(&FetchResponse {
            responses: responses.collect(),
            ..Default::default()
        })
    }

    /// About how many bytes a fetch would bring now; an error counts as enough.
    fn fetchable(&self, request: &FetchRequest, version: i16) -> u64 {
        let mut bytes = 0;
        for topic in &request.topics {
            let name = self.fetched_name(topic, version);
            for asked in &topic.partitions {
                let topic = name.as_ref().and_then(|name| self.topics.get(name));
                let Some(partition) = topic.and_then(|topic| topic.partition(asked.partition))
                else {
                    return u64::MAX;
                };
                let bound = match request.isolation_level {
                    0 => partition.log().end(),
                    _ => partition.last_stable_offset(),
                };
                if !(partition.log().start()..=partition.log().end()).contains(&asked.fetch_offset)
                {
                    return u64::MAX;
                }
                if asked.fetch_offset < bound {
                    bytes += partition.log().bytes_from(asked.fetch_offset);
                }
            }
        }
        bytes
    }

    fn fetched_name(&self, topic: &fetch::FetchTopic, version: i16) -> Option<String> {
        /// From this version on topics are named by id.
        const IDS_VERSION: i16 = 13;
        if version < IDS_VERSION {
            Some(topic.topic.clone())
        } else {
            self.topic_names.get(&topic.topic_id).cloned()
        }
    }

    /// One partition's share; its records go to `out`. `Err(None)`: there is no such partition.
    fn fetch_partition(
        &self,
        topic: Option<&str>,
        asked: &fetch::FetchPartition,
        committed: bool,
        bytes_left: usize,
        out: &mut Vec<u8>,
    ) -> Result<Fetched, Option<ErrorCode>> {
        let topic = topic.and_then(|name| self.topics.get(name));
        let partition = topic
            .and_then(|topic| topic.partition(asked.partition))
            .ok_or(None)?;
        let (start, end) = (partition.log().start(), partition.log().end());
        if !(start..=end).contains(&asked.fetch_offset) {
            return Err(Some(ErrorCode::OFFSET_OUT_OF_RANGE));
        }
        if asked.current_leader_epoch > LEADER_EPOCH {
            return Err(Some(ErrorCode::UNKNOWN_LEADER_EPOCH));
        }
        let stable = partition.last_stable_offset();
        let bound = if committed { stable } else { end };
        let bytes_max = usize::try_from(asked.partition_max_bytes).unwrap_or_default();
        let at = out.len();
        // The first partition that has anything brings a batch, however large.
        let progress = at == 0;
        let read = partition.log().read(
            asked.fetch_offset,
            bound,
            bytes_max.min(bytes_left),
            progress,
            out,
        );
        if let Err(error) = read {
            tracing::error!("reading a log: {error}");
            out.truncate(at);
            return Err(Some(ErrorCode::KAFKA_STORAGE_ERROR));
        }
        let aborted = committed.then(|| {
            let aborted = partition.aborted(asked.fetch_offset, bound);
            let aborted = aborted.map(|aborted| fetch::AbortedTransaction {
                producer_id: aborted.producer_id,
                first_offset: aborted.first_offset,
            });
            aborted.collect()
        });
        Ok(Fetched {
            range: at..out.len(),
            start,
            end,
            stable,
            aborted,
        })
    }

    fn list_offsets(&self, request: ListOffsetsRequest) -> ListOffsetsResponse {
        const LATEST: i64 = -1;
        const EARLIEST: i64 = -2;
        const MAX_TIMESTAMP: i64 = -3;
        let found = |topic: &str, asked: &ListOffsetsPartition| {
            let topic = self.topics.get(topic);
            let partition = topic.and_then(|topic| topic.partition(asked.partition_index));
            let partition = partition.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
            let log = partition.log();
            let batch = match asked.timestamp {
                LATEST if request.isolation_level == 0 => return Ok((-1, log.end())),
                LATEST => return Ok((-1, partition.last_stable_offset())),
                EARLIEST => return Ok((-1, log.start())),
                MAX_TIMESTAMP => log.latest(),
                timestamp if timestamp >= 0 => log.first_since(timestamp),
                _ => return Err(ErrorCode::UNSUPPORTED_VERSION),
            };
            let batch = batch.map_err(|_| ErrorCode::KAFKA_STORAGE_ERROR)?;
            let Some(batch) = batch else {
                return Ok((-1, -1));
            };
            record_since(&batch, asked.timestamp).ok_or(ErrorCode::CORRUPT_MESSAGE)
        };
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                let result = found(&topic.name, asked);
                let (timestamp, offset) = result.unwrap_or((-1, -1));
                ListOffsetsPartitionResponse {
                    partition_index: asked.partition_index,
                    error_code: result.err().unwrap_or_default(),
                    timestamp,
                    offset,
                    leader_epoch: if offset >= 0 { LEADER_EPOCH } else { -1 },
                }
            });
            ListOffsetsTopicResponse {
                name: topic.name.clone(),
                partitions: partitions.collect(),
            }
        });
        ListOffsetsResponse {
            topics: topics.collect(),
            ..Default::default()
        }
    }

    fn offset_for_leader_epoch(
        &self,
        request: OffsetForLeaderEpochRequest,
    ) -> OffsetForLeaderEpochResponse {
        let topics = request.topics.iter().map(|asked| {
            let topic = self.topics.get(&asked.topic);
            let partitions = asked.partitions.iter().map(|asked| {
                let partition = topic.and_then(|topic| topic.partition(asked.partition));
                let mut result = EpochEndOffset {
                    partition: asked.partition,
                    ..EpochEndOffset::default()
                };
                match partition {
                    None => result.error_code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                    Some(partition) if asked.leader_epoch == LEADER_EPOCH => {
                        result.leader_epoch = LEADER_EPOCH;
                        result.end_offset = partition.log().end();
                    }
                    Some(_) => {}
                }
                result
            });
            let partitions = partitions.collect();
            OffsetForLeaderTopicResult {
                topic: asked.topic.clone(),
                partitions,
            }
        });
        OffsetForLeaderEpochResponse {
            topics: topics.collect(),
            ..Default::default()
        }
    }
}

struct FetchedTopic {
    name: String,
    id: Uuid,
    partitions: Vec<(i32, Result<Fetched, Option<ErrorCode>>)>,
}

struct Fetched {
    range: Range<usize>,
    start: i64,
    end: i64,
    stable: i64,
    aborted: Option<Vec<fetch::AbortedTransaction>>,
}

/// Timestamp and offset of the first record since `timestamp`; negative: of the youngest record.
fn record_since(batch: &[u8], timestamp: i64) -> Option<(i64, i64)> {
    let batch = BatchView::parse(batch).ok()?;
    let wanted = if timestamp < 0 {
        batch.header().max_timestamp
    } else {
        timestamp
    };
    let mut plain = Vec::new();
    let records = batch.records(&mut plain, PLAIN_BYTES_MAX).ok()?;
    let mut records = records.filter_map(Result::ok);
    let record = records.find(|record| record.timestamp_ms >= wanted)?;
    Some((record.timestamp_ms, record.offset))
}

// The cluster and its topics.
impl Broker {
    fn metadata(&mut self, request: MetadataRequest, about: About) -> MetadataResponse {
        let mut topics = Vec::new();
        // Version 0 has no null; there an empty list asks for all.
        let asked = request
            .topics
            .filter(|asked| about.version > 0 || !asked.is_empty());
        let asked: Vec<_> = match asked {
            None => self
                .topics
                .keys()
                .map(|name| (Some(name.clone()), Uuid::ZERO))
                .collect(),
            Some(asked) => asked
                .into_iter()
                .map(|topic| (topic.name, topic.topic_id))
                .collect(),
        };
        for (name, id) in asked {
            let known = name.clone().or_else(|| self.topic_names.get(&id).cloned());
            let result = match &known {
                None => Err(ErrorCode::UNKNOWN_TOPIC_ID),
                Some(name) if self.topics.contains_key(name) => Ok(()),
                Some(name)
                    if self.config.auto_create_topics && request.allow_auto_topic_creation =>
                {
                    let partitions = self.config.default_partitions;
                    self.create_topic(name, partitions, BTreeMap::new())
                        .map(|_| ())
                }
                Some(name) if !legal_topic_name(name) => Err(ErrorCode::INVALID_TOPIC_EXCEPTION),
                Some(_) => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            };
            let topic = known.as_ref().and_then(|name| self.topics.get(name));
            let partitions = topic.map_or(&[][..], |topic| &topic.partitions);
            let partitions = (0..)
                .zip(partitions)
                .map(|(index, _)| MetadataResponsePartition {
                    partition_index: index,
                    leader_id: NODE_ID,
                    leader_epoch: LEADER_EPOCH,
                    replica_nodes: vec![NODE_ID],
                    isr_nodes: vec![NODE_ID],
                    ..Default::default()
                });
            topics.push(MetadataResponseTopic {
                error_code: result.err().unwrap_or_default(),
                topic_id: topic.map_or(id, |topic| topic.id),
                partitions: partitions.collect(),
                name: known,
                ..Default::default()
            });
        }
        MetadataResponse {
            brokers: vec![MetadataResponseBroker {
                node_id: NODE_ID,
                host: self.config.advertised_host.clone(),
                port: i32::from(self.config.advertised_port),
                rack: None,
            }],
            cluster_id: Some(self.cluster_id.clone()),
            controller_id: NODE_ID,
            topics,
            ..Default::default()
        }
    }

    fn create_topics(&mut self, request: CreateTopicsRequest) -> CreateTopicsResponse {
        let topics = request.topics.into_iter().map(|asked| {
            let partitions = match (asked.num_partitions, asked.assignments.len()) {
                (-1, 0) => self.config.default_partitions,
                (-1, assigned) => i32::try_from(assigned).unwrap_or(i32::MAX),
                (count, _) => count,
            };
            let configs: BTreeMap<_, _> = asked
                .configs
                .into_iter()
                .filter_map(|config| Some((config.name, config.value?)))
                .collect();
            let result = if !matches!(asked.replication_factor, -1 | 1) {
                Err(ErrorCode::INVALID_REPLICATION_FACTOR)
            } else if request.validate_only {
                self.check_new_topic(&asked.name, partitions)
                    .map(|()| Uuid::ZERO)
            } else {
                self.create_topic(&asked.name, partitions, configs.clone())
            };
            let described =
                describe_topic(&configs)
                    .into_iter()
                    .map(|config| CreatableTopicConfigs {
                        name: config.name,
                        value: config.value,
                        read_only: false,
                        config_source: config.config_source,
                        is_sensitive: false,
                    });
            let created = result.is_ok();
            CreatableTopicResult {
                name: asked.name,
                topic_id: result.unwrap_or_default(),
                error_code: result.err().unwrap_or_default(),
                error_message: result.err().map(|code| code.to_string()),
                num_partitions: if created { partitions } else { -1 },
                replication_factor: if created { 1 } else { -1 },
                configs: created.then(|| described.collect()),
                ..Default::default()
            }
        });
        CreateTopicsResponse {
            topics: topics.collect(),
            ..Default::default()
        }
    }

    fn check_new_topic(&self, name: &str, partitions: i32) -> Result<(), ErrorCode> {
        if !legal_topic_name(name) {
            Err(ErrorCode::INVALID_TOPIC_EXCEPTION)
        } else if self.topics.contains_key(name) {
            Err(ErrorCode::TOPIC_ALREADY_EXISTS)
        } else if !(1..=PARTITIONS_MAX).contains(&partitions) {
            Err(ErrorCode::INVALID_PARTITIONS)
        } else if self.topics.len() >= TOPICS_MAX {
            Err(ErrorCode::POLICY_VIOLATION)
        } else {
            Ok(())
        }
    }

    fn create_topic(
        &mut self,
        name: &str,
        partitions: i32,
        configs: BTreeMap<String, String>,
    ) -> Result<Uuid, ErrorCode> {
        self.check_new_topic(name, partitions)?;
        let count = usize::try_from(partitions).unwrap_or_default();
        let id = self.fresh_uuid();
        let mut topic = Topic {
            id,
            partitions: Vec::new(),
            configs,
        };
        topic.grow(self.directory.as_ref(), count)?;
        self.record(&topic.entry(name))?;
        self.topic_names.insert(id, name.to_owned());
        self.topics.insert(name.to_owned(), topic);
        Ok(id)
    }

    fn delete_topics(
        &mut self,
        request: DeleteTopicsRequest,
        about: About,
    ) -> DeleteTopicsResponse {
        /// From this version on topics can be named by id.
        const STATES_VERSION: i16 = 6;
        let by_name = request
            .topic_names
            .into_iter()
            .map(|name| (Some(name), Uuid::ZERO));
        let by_state = request
            .topics
            .into_iter()
            .map(|state| (state.name, state.topic_id));
        let asked: Vec<_> = if about.version < STATES_VERSION {
            by_name.collect()
        } else {
            by_state.collect()
        };
        let responses = asked.into_iter().map(|(name, id)| {
            let by_id = name.is_none();
            let name = name.or_else(|| self.topic_names.get(&id).cloned());
            let result = match &name {
                None => Err(ErrorCode::UNKNOWN_TOPIC_ID),
                Some(name) => self.delete_topic(name),
            };
            DeletableTopicResult {
                name: if by_id && result.is_err() { None } else { name },
                topic_id: result.unwrap_or(id),
                error_code: result.err().unwrap_or_default(),
                error_message: result.err().map(|code| code.to_string()),
            }
        });
        DeleteTopicsResponse {
            responses: responses.collect(),
            ..Default::default()
        }
    }

    fn delete_topic(&mut self, name: &str) -> Result<Uuid, ErrorCode> {
        if !self.topics.contains_key(name) {
            return Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        }
        self.record(&Entry::TopicGone {
            name: name.to_owned(),
        })?;
        let id = self
            .forget_topic(name)
            .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        if let Some(directory) = &self.directory {
            // The id is never used again, so what cannot be removed now is only wasted room.
            let path = topic_path(&directory.path, id);
            if let Err(error) = std::fs::remove_dir_all(&path) {
                tracing::warn!("removing {}: {error}", path.display());
            }
        }
        self.changes += 1;
        Ok(id)
    }

    fn forget_topic(&mut self, name: &str) -> Option<Uuid> {
        let topic = self.topics.remove(name)?;
        self.topic_names.remove(&topic.id);
        self.groups.forget_topic(name);
        Some(topic.id)
    }

    fn create_partitions(&mut self, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
        let results = request.topics.into_iter().map(|asked| {
            let result = self.grow_topic(&asked.name, asked.count, request.validate_only);
            CreatePartitionsTopicResult {
                name: asked.name,
                error_code: result.err().unwrap_or_default(),
                error_message: result.err().map(|code| code.to_string()),
            }
        });
        CreatePartitionsResponse {
            results: results.collect(),
            ..Default::default()
        }
    }

    fn grow_topic(&mut self, name: &str, count: i32, validate: bool) -> Result<(), ErrorCode> {
        let topic = self
            .topics
            .get_mut(name)
            .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let wanted = usize::try_from(count).unwrap_or_default();
        if wanted <= topic.partitions.len() || count > PARTITIONS_MAX {
            return Err(ErrorCode::INVALID_PARTITIONS);
        }
        if !validate {
            topic.grow(self.directory.as_ref(), wanted)?;
            let entry = topic.entry(name);
            self.record(&entry)?;
        }
        Ok(())
    }

    fn describe_configs(&self, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
        const TOPIC: i8 = 2;
        const BROKER: i8 = 4;
        let results = request.resources.into_iter().map(|resource| {
            let configs = match resource.resource_type {
                TOPIC => match self.topics.get(&resource.resource_name) {
                    Some(topic) => Ok(describe_topic(&topic.configs)),
                    None => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
                },
                BROKER => Ok(self.describe_broker()),
                _ => Err(ErrorCode::INVALID_REQUEST),
            };
            let error = configs.as_ref().err().copied();
            let mut configs = configs.unwrap_or_default();
            if let Some(keys) = &resource.configuration_keys {
                configs.retain(|config| keys.contains(&config.name));
            }
            DescribeConfigsResult {
                error_code: error.unwrap_or_default(),
                error_message: error.map(|code| code.to_string()),
                resource_type: resource.resource_type,
                resource_name: resource.resource_name,
                configs,
            }
        });
        DescribeConfigsResponse {
            results: results.collect(),
            ..Default::default()
        }
    }

    fn describe_broker(&self) -> Vec<DescribeConfigsResourceResult> {
        const STATIC: i8 = 4;
        const BOOLEAN: i8 = 1;
        const INT: i8 = 3;
        let partitions = self.config.default_partitions.to_string();
        let auto = self.config.auto_create_topics.to_string();
        let configs = [
            ("auto.create.topics.enable", auto, BOOLEAN),
            ("default.replication.factor", "1".to_owned(), INT),
            (
                "message.max.bytes",
                topic_default(MAX_MESSAGE_BYTES).to_owned(),
                INT,
            ),
            ("num.partitions", partitions, INT),
        ];
        let described = configs.into_iter().map(|(name, value, config_type)| {
            let value = Some(value);
            DescribeConfigsResourceResult {
                name: name.to_owned(),
                value,
                read_only: true,
                config_source: STATIC,
                config_type,
                ..Default::default()
            }
        });
        described.collect()
    }

    fn describe_cluster(&self) -> DescribeClusterResponse {
        DescribeClusterResponse {
            cluster_id: self.cluster_id.clone(),
            controller_id: NODE_ID,
            brokers: vec![DescribeClusterBroker {
                broker_id: NODE_ID,
                host: self.config.advertised_host.clone(),
                port: i32::from(self.config.advertised_port),
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    fn find_coordinator(&self, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
        let host = &self.config.advertised_host;
        let port = i32::from(self.config.advertised_port);
        let coordinators = request.coordinator_keys.into_iter().map(|key| Coordinator {
            key,
            node_id: NODE_ID,
            host: host.clone(),
            port,
            ..Default::default()
        });
        FindCoordinatorResponse {
            node_id: NODE_ID,
            host: host.clone(),
            port,
            coordinators: coordinators.collect(),
            ..Default::default()
        }
    }
}

fn api_versions() -> ApiVersionsResponse {
    let api_keys = SERVED
        .iter()
        .map(|&(api, min_version, max_version)| ApiVersion {
            api_key: api.0,
            min_version,
            max_version,
        });
    ApiVersionsResponse {
        api_keys: api_keys.collect(),
        ..Default::default()
    }
}

impl Topic {
    fn partition(&self, index: i32) -> Option<&Partition> {
        self.partitions.get(usize::try_from(index).ok()?)
    }

    fn partition_mut(&mut self, index: i32) -> Option<&mut Partition> {
        self.partitions.get_mut(usize::try_from(index).ok()?)
    }

    fn message_bytes_max(&self) -> usize {
        let configured = self
            .configs
            .get(MAX_MESSAGE_BYTES)
            .and_then(|value| value.parse().ok());
        configured.unwrap_or_else(|| {
            topic_default(MAX_MESSAGE_BYTES)
                .parse()
                .unwrap_or(usize::MAX)
        })
    }

    fn grow(&mut self, directory: Option<&Directory>, count: usize) -> Result<(), ErrorCode> {
        for index in self.partitions.len()..count {
            let partition = match directory {
                None => Partition::in_memory(),
                Some(directory) => {
                    let path = topic_path(&directory.path, self.id).join(index.to_string());
                    Partition::open(path).map_err(|error| {
                        tracing::error!("creating a partition: {error}");
                        ErrorCode::KAFKA_STORAGE_ERROR
                    })?
                }
            };
            self.partitions.push(partition);
        }
        Ok(())
    }

    fn entry(&self, name: &str) -> Entry {
        Entry::Topic {
            name: name.to_owned(),
            id: self.id.0,
            partitions: self.partitions.len(),
            configs: self.configs.clone(),
        }
    }
}

/// Where a topic's partitions are: named by the id, so that a topic of an old name begins anew.
fn topic_path(data: &Path, id: Uuid) -> PathBuf {
    data.join("topics").join(id.to_string())
}

fn topic_default(name: &str) -> &'static str {
    TOPIC_DEFAULTS
        .iter()
        .find(|(known, _, _)| *known == name)
        .map_or("", |(_, value, _)| value)
}

fn describe_topic(configs: &BTreeMap<String, String>) -> Vec<DescribeConfigsResourceResult> {
    const OF_TOPIC: i8 = 1;
    const DEFAULT: i8 = 5;
    const STRING: i8 = 2;
    let known = TOPIC_DEFAULTS.iter().map(|&(name, value, config_type)| {
        let own = configs.get(name);
        DescribeConfigsResourceResult {
            name: name.to_owned(),
            value: Some(own.map_or(value, String::as_str).to_owned()),
            config_source: if own.is_some() { OF_TOPIC } else { DEFAULT },
            config_type,
            ..Default::default()
        }
    });
    let others = configs
        .iter()
        .filter(|(name, _)| topic_default(name).is_empty());
    let others = others.map(|(name, value)| DescribeConfigsResourceResult {
        name: name.clone(),
        value: Some(value.clone()),
        config_source: OF_TOPIC,
        config_type: STRING,
        ..Default::default()
    });
    known.chain(others).collect()
}

fn legal_topic_name(name: &str) -> bool {
    const BYTES_MAX: usize = 249;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=BYTES_MAX).contains(&name.len()) && name.bytes().all(legal) && !matches!(name, "." | "..")
}

// Producers and transactions.
impl Broker {
    fn init_producer_id(
        &mut self,
        request: InitProducerIdRequest,
        about: About,
    ) -> InitProducerIdResponse {
        let result = match &request.transactional_id {
            None => self.fresh_producer_id().map(|id| (id, 0)),
            Some(id) if id.is_empty() => Err(ErrorCode::INVALID_REQUEST),
            Some(id) => self.init_transactions(id, &request, about),
        };
        let (producer_id, producer_epoch) = result.unwrap_or((-1, -1));
        let error_code = result.err().unwrap_or_default();
        InitProducerIdResponse {
            error_code,
            producer_id,
            producer_epoch,
            ..Default::default()
        }
    }

    fn init_transactions(
        &mut self,
        id: &str,
        request: &InitProducerIdRequest,
        about: About,
    ) -> Result<(i64, i16), ErrorCode> {
        if !(1..=TRANSACTION_TIMEOUT_MAX_MS).contains(&request.transaction_timeout_ms) {
            return Err(ErrorCode::INVALID_TRANSACTION_TIMEOUT);
        }
        let claimed = match (request.producer_id, request.producer_epoch) {
            (-1, -1) => None,
            (-1, _) | (_, -1) => return Err(ErrorCode::INVALID_REQUEST),
            claimed => Some(claimed),
        };
        let fenced = fenced(about.version, 4);
        let mut transaction = match self.transactions.get(id) {
            Some(transaction) => {
                if let Some((producer_id, epoch)) = claimed
                    && !transaction.may_renew(producer_id, epoch).ok_or(fenced)?
                {
                    return Ok((transaction.producer_id, transaction.epoch));
                }
                if transaction.state == State::Ongoing {
                    // The predecessor's transaction ends with an epoch that it does not have.
                    self.transactions
                        .entry(id.to_owned())
                        .and_modify(Transaction::fence);
                    self.end_transaction(id, false, about.now)?;
                }
                let mut next = self.transactions.get(id).ok_or(fenced)?.clone();
                let fresh_id = self.fresh_producer_id()?;
                next.renew(|| fresh_id);
                next
            }
            None if claimed.is_some() => return Err(fenced),
            None => Transaction::new(self.fresh_producer_id()?),
        };
        transaction.set_timeout(request.transaction_timeout_ms);
        self.put_transaction(id, transaction.clone())?;
        Ok((transaction.producer_id, transaction.epoch))
    }

    fn fresh_producer_id(&mut self) -> Result<i64, ErrorCode> {
        if self.next_producer_id >= self.producer_ids_below {
            let below = self.next_producer_id + PRODUCER_IDS_BLOCK;
            self.record(&Entry::ProducerIds { below })?;
            self.producer_ids_below = below;
        }
        self.next_producer_id += 1;
        Ok(self.next_producer_id - 1)
    }

    /// Remembers a transaction's present state, in the journal first.
    fn put_transaction(&mut self, id: &str, transaction: Transaction) -> Result<(), ErrorCode> {
        let entry = Entry::Transaction {
            transactional_id: id.to_owned(),
            transaction,
        };
        self.record(&entry)?;
        self.replay(entry);
        // It has a deadline now, or has one no more.
        self.changes += 1;
        Ok(())
    }

    /// The transaction that a request is about, changed by `change`, if the request comes from the
    /// producer that holds it.
    fn change_transaction(
        &mut self,
        id: &str,
        producer: (i64, i16),
        fenced: ErrorCode,
        change: impl FnOnce(&mut Transaction) -> Result<(), ErrorCode>,
    ) -> Result<(), ErrorCode> {
        let transaction = self
            .transactions
            .get(id)
            .ok_or(ErrorCode::INVALID_PRODUCER_ID_MAPPING)?;
        transaction.check(producer.0, producer.1, fenced)?;
        let mut changed = transaction.clone();
        change(&mut changed)?;
        self.put_transaction(id, changed)
    }

    fn add_partitions_to_txn(
        &mut self,
        request: AddPartitionsToTxnRequest,
        about: About,
    ) -> AddPartitionsToTxnResponse {
        let known = |topic: &str, index: i32| {
            self.topics
                .get(topic)
                .is_some_and(|topic| topic.partition(index).is_some())
        };
        let asked: BTreeSet<(String, i32)> = request
            .v3_and_below_topics
            .iter()
            .flat_map(|topic| {
                topic
                    .partitions
                    .iter()
                    .map(|&index| (topic.name.clone(), index))
            })
            .collect();
        let unknown: BTreeSet<_> = asked
            .iter()
            .filter(|(topic, index)| !known(topic, *index))
            .cloned()
            .collect();
        let producer = (
            request.v3_and_below_producer_id,
            request.v3_and_below_producer_epoch,
        );
        let id = &request.v3_and_below_transactional_id;
        let result = if unknown.is_empty() {
            self.change_transaction(id, producer, fenced(about.version, 2), |transaction| {
                transaction.begin(about.now.instant);
                transaction.partitions.extend(asked);
                Ok(())
            })
        } else {
            // All or nothing.
            Err(ErrorCode::OPERATION_NOT_ATTEMPTED)
        };
        let topics = request.v3_and_below_topics.into_iter().map(|topic| {
            let results = topic
                .partitions
                .iter()
                .map(|&index| AddPartitionsToTxnPartitionResult {
                    partition_index: index,
                    partition_error_code: if unknown.contains(&(topic.name.clone(), index)) {
                        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
                    } else {
                        result.err().unwrap_or_default()
                    },
                });
            let results_by_partition = results.collect();
            AddPartitionsToTxnTopicResult {
                name: topic.name,
                results_by_partition,
            }
        });
        AddPartitionsToTxnResponse {
            results_by_topic_v3_and_below: topics.collect(),
            ..Default::default()
        }
    }

    fn add_offsets_to_txn(
        &mut self,
        request: AddOffsetsToTxnRequest,
        about: About,
    ) -> AddOffsetsToTxnResponse {
        let producer = (request.producer_id, request.producer_epoch);
        let fenced = fenced(about.version, 2);
        let id = &request.transactional_id;
        let result = self.change_transaction(id, producer, fenced, |transaction| {
            transaction.begin(about.now.instant);
            transaction.groups.insert(request.group_id);
            Ok(())
        });
        let error_code = result.err().unwrap_or_default();
        AddOffsetsToTxnResponse {
            error_code,
            ..Default::default()
        }
    }

    fn txn_offset_commit(
        &mut self,
        request: TxnOffsetCommitRequest,
        about: About,
    ) -> TxnOffsetCommitResponse {
        let identity = Identity {
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
            generation: request.generation_id_or_member_epoch,
        };
        let group = &request.group_id;
        let offsets = request.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|partition| PendingOffset {
                group: group.clone(),
                topic: topic.name.clone(),
                partition: partition.partition_index,
                committed: Committed {
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: partition.committed_metadata.clone(),
                },
            })
        });
        let offsets: Vec<_> = offsets.collect();
        let result = self
            .groups
            .may_commit(group, identity, about.now.instant)
            .and_then(|()| {
                let producer = (request.producer_id, request.producer_epoch);
                let fenced = fenced(about.version, 3);
                let id = &request.transactional_id;
                self.change_transaction(id, producer, fenced, |transaction| {
                    if transaction.state != State::Ongoing || !transaction.groups.contains(group) {
                        return Err(ErrorCode::INVALID_TXN_STATE);
                    }
                    transaction.offsets.extend(offsets);
                    Ok(())
                })
            });
        let error_code = result.err().unwrap_or_default();
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let partition_index = partition.partition_index;
                TxnOffsetCommitResponsePartition {
                    partition_index,
                    error_code,
                }
            });
            let (name, partitions) = (topic.name.clone(), partitions.collect());
            TxnOffsetCommitResponseTopic {
                name,
                partitions,
                ..Default::default()
            }
        });
        TxnOffsetCommitResponse {
            topics: topics.collect(),
            ..Default::default()
        }
    }

    fn end_txn(&mut self, request: EndTxnRequest, about: About) -> EndTxnResponse {
        let result = self.try_end_txn(&request, about);
        EndTxnResponse {
            error_code: result.err().unwrap_or_default(),
            ..Default::default()
        }
    }

    fn try_end_txn(&mut self, request: &EndTxnRequest, about: About) -> Result<(), ErrorCode> {
        let id = &request.transactional_id;
        let transaction = self
            .transactions
            .get(id)
            .ok_or(ErrorCode::INVALID_PRODUCER_ID_MAPPING)?;
        let fenced = fenced(about.version, 2);
        transaction.check(request.producer_id, request.producer_epoch, fenced)?;
        match transaction.state {
            State::Ongoing => self.end_transaction(id, request.committed, about.now),
            // The disk refused when this was decided: the decision stands.
            State::Ending { commit } if commit == request.committed => {
                self.end_transaction(id, commit, about.now)
            }
            State::Empty if transaction.outcome == Some(request.committed) => Ok(()),
            State::Empty | State::Ending { .. } => Err(ErrorCode::INVALID_TXN_STATE),
        }
    }

    /// Decides, in the journal, then writes the markers, lets the offsets take effect, and forgets.
    fn end_transaction(&mut self, id: &str, commit: bool, now: Now) -> Result<(), ErrorCode> {
        let Some(transaction) = self.transactions.get(id) else {
            return Ok(());
        };
        let mut transaction = transaction.clone();
        transaction.state = State::Ending { commit };
        self.put_transaction(id, transaction.clone())?;
        let kind = if commit {
            ControlType::COMMIT
        } else {
            ControlType::ABORT
        };
        let (producer_id, epoch) = (transaction.producer_id, transaction.epoch);
        for (topic, index) in &transaction.partitions {
            let topic = self.topics.get_mut(topic);
            if let Some(partition) = topic.and_then(|topic| topic.partition_mut(*index)) {
                partition.end_transaction(kind, producer_id, epoch, now.unix_ms)?;
            }
        }
        if commit {
            for pending in std::mem::take(&mut transaction.offsets) {
                self.put_offset(pending)?;
            }
        }
        transaction.ended(commit);
        self.put_transaction(id, transaction)
    }

    /// After a restart: finishes what was decided, lets go on what was open, and aborts what no
    /// transaction owns any more.
    fn recover_transactions(&mut self, now: Now) {
        let ids: Vec<_> = self.transactions.keys().cloned().collect();
        let mut ongoing = BTreeSet::new();
        for id in ids {
            let Some(transaction) = self.transactions.get_mut(&id) else {
                continue;
            };
            match transaction.state {
                State::Empty => {}
                State::Ongoing => {
                    transaction.began = Some(now.instant);
                    ongoing.insert(transaction.producer_id);
                }
                State::Ending { commit } => {
                    if let Err(error) = self.end_transaction(&id, commit, now) {
                        tracing::error!("finishing the transaction of {id}: {error}");
                    }
                }
            }
        }
        let partitions = self
            .topics
            .values_mut()
            .flat_map(|topic| &mut topic.partitions);
        for partition in partitions {
            let orphans = partition
                .open_producers()
                .filter(|id| !ongoing.contains(id));
            for producer_id in orphans.collect::<Vec<_>>() {
                // An epoch that no producer was given lets none go on.
                let aborted = partition.end_transaction(
                    ControlType::ABORT,
                    producer_id,
                    i16::MAX,
                    now.unix_ms,
                );
                if let Err(error) = aborted {
                    tracing::error!("aborting what producer {producer_id} left open: {error}");
                }
            }
        }
    }
}

/// How a request says that another producer has taken over: `PRODUCER_FENCED` from `since` on.
fn fenced(version: i16, since: i16) -> ErrorCode {
    if version < since {
        ErrorCode::INVALID_PRODUCER_EPOCH
    } else {
        ErrorCode::PRODUCER_FENCED
    }
}

// Groups and their offsets.
impl Broker {
    fn join_group(&mut self, call: Call<'_, '_>, ticket: Option<Ticket>) -> Step {
        let request = match call.request::<JoinGroupRequest>() {
            Ok(request) => request,
            Err(step) => return step,
        };
        let member_id = match ticket {
            Some(Ticket(Waiting::Join { member_id })) => member_id,
            _ => {
                let id = call.header.client_id.unwrap_or_default().to_owned();
                let client = Client {
                    id,
                    host: format!("/{}", call.host),
                };
                let random = &mut self.random;
                let fresh_id = || format!("{:016x}{:016x}", splitmix(random), splitmix(random));
                let version = call.header.version;
                let now = call.now.instant;
                let joining = self.groups.join(&request, version, client, now, fresh_id);
                self.changes += 1;
                match joining {
                    Ok(member_id) => member_id,
                    Err((code, member_id)) => {
                        return call.reply(&group::join_refused(code, member_id));
                    }
                }
            }
        };
        match self.groups.joined(&request.group_id, &member_id) {
            Some(response) => call.reply(&response),
            None => Step::Wait(Ticket(Waiting::Join { member_id })),
        }
    }

    fn sync_group(&mut self, call: Call<'_, '_>, ticket: Option<Ticket>) -> Step {
        let request = match call.request::<SyncGroupRequest>() {
            Ok(request) => request,
            Err(step) => return step,
        };
        if ticket.is_none() {
            if let Err(error_code) = self.groups.sync(&request, call.now.instant) {
                return call.reply(&SyncGroupResponse {
                    error_code,
                    ..Default::default()
                });
            }
            self.changes += 1;
        }
        let (group, member) = (&request.group_id, &request.member_id);
        match self.groups.synced(group, member, request.generation_id) {
            Some(response) => call.reply(&response),
            None => Step::Wait(Ticket(Waiting::Sync)),
        }
    }

    fn heartbeat(&mut self, request: HeartbeatRequest, about: About) -> HeartbeatResponse {
        let identity = Identity {
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
            generation: request.generation_id,
        };
        let result = self
            .groups
            .heartbeat(&request.group_id, identity, about.now.instant);
        HeartbeatResponse {
            error_code: result.err().unwrap_or_default(),
            ..Default::default()
        }
    }

    fn leave_group(&mut self, request: LeaveGroupRequest, about: About) -> LeaveGroupResponse {
        /// From this version on several members leave at once.
        const MEMBERS_VERSION: i16 = 3;
        let now = about.now.instant;
        self.changes += 1;
        if about.version < MEMBERS_VERSION {
            let result = self
                .groups
                .leave(&request.group_id, &request.member_id, None, now);
            let error_code = result.err().unwrap_or_default();
            return LeaveGroupResponse {
                error_code,
                ..Default::default()
            };
        }
        let members = request.members.into_iter().map(|member| {
            let instance_id = member.group_instance_id.as_deref();
            let result = self
                .groups
                .leave(&request.group_id, &member.member_id, instance_id, now);
            MemberResponse {
                error_code: result.err().unwrap_or_default(),
                member_id: member.member_id,
                group_instance_id: member.group_instance_id,
            }
        });
        LeaveGroupResponse {
            members: members.collect(),
            ..Default::default()
        }
    }

    fn offset_commit(
        &mut self,
        request: OffsetCommitRequest,
        about: About,
    ) -> OffsetCommitResponse {
        let identity = Identity {
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
            generation: request.generation_id_or_member_epoch,
        };
        let group = &request.group_id;
        let allowed = self.groups.may_commit(group, identity, about.now.instant);
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let index = partition.partition_index;
                let known = self
                    .topics
                    .get(&topic.name)
                    .and_then(|topic| topic.partition(index));
                let known = known
                    .map(|_| ())
                    .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
                let result = allowed.and(known).and_then(|()| {
                    self.put_offset(PendingOffset {
                        group: group.clone(),
                        topic: topic.name.clone(),
                        partition: index,
                        committed: Committed {
                            offset: partition.committed_offset,
                            leader_epoch: partition.committed_leader_epoch,
                            metadata: partition.committed_metadata.clone(),
                        },
                    })
                });
                let error_code = result.err().unwrap_or_default();
                OffsetCommitResponsePartition {
                    partition_index: index,
                    error_code,
                }
            });
            let (name, partitions) = (topic.name.clone(), partitions.collect());
            OffsetCommitResponseTopic {
                name,
                partitions,
                ..Default::default()
            }
        });
        OffsetCommitResponse {
            topics: topics.collect(),
            ..Default::default()
        }
    }

    fn put_offset(&mut self, offset: PendingOffset) -> Result<(), ErrorCode> {
        let PendingOffset {
            group,
            topic,
            partition,
            committed,
        } = offset;
        let entry = Entry::Offset {
            group,
            topic,
            partition,
            committed,
        };
        self.record(&entry)?;
        self.replay(entry);
        Ok(())
    }

    fn offset_fetch(&self, request: OffsetFetchRequest, about: About) -> OffsetFetchResponse {
        /// From this version on several groups are asked for at once.
        const GROUPS_VERSION: i16 = 8;
        let stable = request.require_stable;
        if about.version >= GROUPS_VERSION {
            let groups = request.groups.into_iter().map(|group| {
                let asked = group.topics.map(|topics| {
                    topics
                        .into_iter()
                        .map(|topic| (topic.name, topic.partition_indexes))
                        .collect()
                });
                OffsetFetchResponseGroup {
                    topics: self.committed_offsets(&group.group_id, asked, stable),
                    group_id: group.group_id,
                    ..Default::default()
                }
            });
            return OffsetFetchResponse {
                groups: groups.collect(),
                ..Default::default()
            };
        }
        let asked = request.topics.map(|topics| {
            topics
                .into_iter()
                .map(|topic| (topic.name, topic.partition_indexes))
                .collect()
        });
        let topics = self
            .committed_offsets(&request.group_id, asked, stable)
            .into_iter();
        let topics = topics.map(|topic| OffsetFetchResponseTopic {
            name: topic.name,
            partitions: topic
                .partitions
                .into_iter()
                .map(|one| OffsetFetchResponsePartition {
                    partition_index: one.partition_index,
                    committed_offset: one.committed_offset,
                    committed_leader_epoch: one.committed_leader_epoch,
                    metadata: one.metadata,
                    error_code: one.error_code,
                })
                .collect(),
        });
        OffsetFetchResponse {
            topics: topics.collect(),
            ..Default::default()
        }
    }

    /// What a group has committed for the partitions asked, or for all it has.
    fn committed_offsets(
        &self,
        group: &str,
        asked: Option<Vec<(String, Vec<i32>)>>,
        stable: bool,
    ) -> Vec<OffsetFetchResponseTopics> {
        let all = || {
            let offsets = self.groups.offsets(group);
            offsets
                .map(|(topic, own)| (topic.clone(), own.keys().copied().collect()))
                .collect()
        };
        let asked: Vec<(String, Vec<i32>)> = asked.unwrap_or_else(all);
        let topics = asked.into_iter().map(|(topic, indexes)| {
            let partitions = indexes.into_iter().map(|index| {
                let committed = self.groups.committed(group, &topic, index);
                let unstable = stable && self.is_pending(group, &topic, index);
                OffsetFetchResponsePartitions {
                    partition_index: index,
                    committed_offset: match committed {
                        Some(committed) if !unstable => committed.offset,
                        _ => -1,
                    },
                    committed_leader_epoch: committed.map_or(-1, |known| known.leader_epoch),
                    metadata: committed.map_or(Some(String::new()), |known| known.metadata.clone()),
                    error_code: match unstable {
                        true => ErrorCode::UNSTABLE_OFFSET_COMMIT,
                        false => ErrorCode::NONE,
                    },
                }
            });
            let partitions = partitions.collect();
            OffsetFetchResponseTopics {
                name: topic,
                partitions,
                ..Default::default()
            }
        });
        topics.collect()
    }

    /// Whether an open transaction holds another offset for this partition.
    fn is_pending(&self, group: &str, topic: &str, partition: i32) -> bool {
        let pending = self
            .transactions
            .values()
            .flat_map(|transaction| &transaction.offsets);
        let mut pending = pending.map(|offset| (&*offset.group, &*offset.topic, offset.partition));
        pending.any(|offset| offset == (group, topic, partition))
    }

    fn list_groups(&self, request: ListGroupsRequest) -> ListGroupsResponse {
        let passes = |filter: &[String], value: &str| {
            filter.is_empty()
                || filter
                    .iter()
                    .any(|wanted| wanted.eq_ignore_ascii_case(value))
        };
        let mut groups = self.groups.list();
        groups.retain(|group| {
            passes(&request.states_filter, &group.group_state)
                && passes(&request.types_filter, &group.group_type)
        });
        ListGroupsResponse {
            groups,
            ..Default::default()
        }
    }

    fn describe_groups(
        &self,
        request: DescribeGroupsRequest,
        about: About,
    ) -> DescribeGroupsResponse {
        /// From this version on an unknown group is an error, not a dead one.
        const NOT_FOUND_VERSION: i16 = 6;
        let groups = request.groups.into_iter().map(|id| {
            self.groups.describe(&id).unwrap_or_else(|| DescribedGroup {
                error_code: match about.version {
                    ..NOT_FOUND_VERSION => ErrorCode::NONE,
                    _ => ErrorCode::GROUP_ID_NOT_FOUND,
                },
                group_id: id,
                group_state: "Dead".to_owned(),
                ..Default::default()
            })
        });
        DescribeGroupsResponse {
            groups: groups.collect(),
            ..Default::default()
        }
    }

    fn delete_groups(&mut self, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
        let results = request.groups_names.into_iter().map(|group| {
            let result = self.groups.delete(&group).and_then(|()| {
                self.record(&Entry::GroupGone {
                    group: group.clone(),
                })
            });
            let error_code = result.err().unwrap_or_default();
            DeletableGroupResult {
                group_id: group,
                error_code,
                ..Default::default()
            }
        });
        DeleteGroupsResponse {
            results: results.collect(),
            ..Default::default()
        }
    }
}

// What outlives the process.
impl Broker {
    fn record(&mut self, entry: &Entry) -> Result<(), ErrorCode> {
        self.journal.append(entry).map_err(|error| {
            tracing::error!("writing the journal: {error}");
            ErrorCode::KAFKA_STORAGE_ERROR
        })
    }

    /// Takes in what the journal says. Partitions stay empty until their logs are opened.
    fn replay(&mut self, entry: Entry) {
        match entry {
            Entry::Cluster { id } => self.cluster_id = id,
            Entry::ProducerIds { below } => self.producer_ids_below = below,
            Entry::Topic {
                name,
                id,
                partitions,
                configs,
            } => {
                let id = Uuid(id);
                let partitions = (0..partitions).map(|_| Partition::in_memory()).collect();
                self.topic_names.insert(id, name.clone());
                self.topics.insert(
                    name,
                    Topic {
                        id,
                        partitions,
                        configs,
                    },
                );
            }
            Entry::TopicGone { name } => {
                self.forget_topic(&name);
            }
            Entry::Offset {
                group,
                topic,
                partition,
                committed,
            } => {
                self.groups.commit(&group, &topic, partition, committed);
            }
            Entry::GroupGone { group } => {
                // Unknown or not, it is gone.
                self.groups.delete(&group).unwrap_or_default();
            }
            Entry::Transaction {
                transactional_id,
                mut transaction,
            } => {
                if let Some(former) = self.transactions.get(&transactional_id) {
                    transaction.began = transaction.began.or(former.began);
                    self.producers.remove(&former.producer_id);
                }
                self.producers
                    .insert(transaction.producer_id, transactional_id.clone());
                self.transactions.insert(transactional_id, transaction);
            }
        }
    }

    fn rewrite_journal(&mut self) -> io::Result<()> {
        let mut entries = vec![
            Entry::Cluster {
                id: self.cluster_id.clone(),
            },
            Entry::ProducerIds {
                below: self.producer_ids_below,
            },
        ];
        entries.extend(self.topics.iter().map(|(name, topic)| topic.entry(name)));
        for group in self.groups.names() {
            for (topic, offsets) in self.groups.offsets(group) {
                entries.extend(offsets.iter().map(|(&partition, committed)| Entry::Offset {
                    group: group.clone(),
                    topic: topic.clone(),
                    partition,
                    committed: committed.clone(),
                }));
            }
        }
        let transactions = self.transactions.iter();
        entries.extend(transactions.map(|(id, transaction)| Entry::Transaction {
            transactional_id: id.clone(),
            transaction: transaction.clone(),
        }));
        self.journal.rewrite(&entries)
    }

    fn fresh_uuid(&mut self) -> Uuid {
        let mut id = [0; 16];
        let (high, low) = (splitmix(&mut self.random), splitmix(&mut self.random));
        for (slot, byte) in id
            .iter_mut()
            .zip(high.to_be_bytes().into_iter().chain(low.to_be_bytes()))
        {
            *slot = byte;
        }
        Uuid(id)
    }
}

/// SplitMix64: ids that differ, not secrets.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
