//! A single-node Kafka broker inside this process: the embedded default of the demo and of tests.
//!
//! It is made for development. There is one node, no replication, no authentication, no quotas, no
//! retention and no compaction; what is acknowledged has reached the operating system, not yet the
//! disk. For production run Apache Kafka: <https://kafka.apache.org/quickstart>. Whatever talks to
//! this broker talks to that one by changing `bootstrap.servers`.
//!
//! ```text
//!   server       sockets, one task per connection; the only part that waits
//!     Broker     machine: one request in, one response out, or "ask again when something changed"
//!       topics       the cluster and its topics
//!       records      Produce, Fetch, ListOffsets
//!         partition    one log and what it says about producers and transactions
//!           log        segments of batches as they came: files, or memory
//!       transaction  producer ids, transactional ids, what takes part and how it ends
//!       group        consumer groups' requests, and committed offsets
//!         membership   who is in a group, who leads, what each was given
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
mod membership;
mod partition;
mod records;
mod server;
#[cfg(test)]
mod tests;
mod topics;
mod transaction;

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use kafkawire::error_code::ErrorCode;
use kafkawire::frame::{RequestHeader, put_response};
use kafkawire::message::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
use kafkawire::message::describe_cluster::DescribeClusterRequest;
use kafkawire::message::{ApiKey, Message, Response, Uuid};
use kafkawire::{Error, Fault};

use journal::{Entry, Journal};
use membership::Groups;
use partition::Partition;
pub use server::{BrokerError, BrokerOptions, RunningBroker};
use topics::{Topic, api_versions, topic_path};
use transaction::Transaction;

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

/// The only broker's id.
const NODE_ID: i32 = 1;

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
