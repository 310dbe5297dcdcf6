//! A cluster of Kafka brokers in memory, as far as one producer and one reader can tell.
//!
//! Kept as Kafka keeps it: leaders and their epochs; topics that come to exist in their own time;
//! idempotent sequences, five batches remembered; the coordinator of transactions, which answers
//! EndTxn when the decision is made and writes the markers later, fences by epochs, refuses with
//! CONCURRENT_TRANSACTIONS meanwhile, and ends what takes too long; both transaction protocols,
//! the older one also where the cluster has the newer; the last stable offset and what is aborted
//! before it.
//!
//! Left out: replicas (what is appended stays), retention, compaction, consumer groups, quotas,
//! authentication, Fetch that waits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use kafkawire::ErrorCode;
use kafkawire::batch::{self, BATCH_BYTES_MAX, BatchView, ControlType, ProducerStamp};
use kafkawire::frame::{self, RequestHeader};
use kafkawire::message::add_partitions_to_txn::*;
use kafkawire::message::api_versions::*;
use kafkawire::message::create_topics::*;
use kafkawire::message::end_txn::*;
use kafkawire::message::fetch::{self, FetchRequest, FetchResponse, FetchableTopicResponse};
use kafkawire::message::find_coordinator::*;
use kafkawire::message::init_producer_id::*;
use kafkawire::message::list_offsets::*;
use kafkawire::message::metadata::*;
use kafkawire::message::produce::{
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use kafkawire::message::{ApiKey, Message, Response};
use tokio::time::Instant;

use super::network::Step;
use super::{Random, World};

pub(crate) const BROKERS: i32 = 3;
/// Batches of a producer that a partition knows again.
const RECENT: usize = 5;
/// What a topic gets whose creator leaves it open.
const PARTITIONS: i32 = 3;

/// A batch in a log.
#[derive(Debug)]
pub(crate) struct Entry {
    base_offset: i64,
    last_offset: i64,
    producer_id: i64,
    transactional: bool,
    control: bool,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Debug, Default)]
struct Producer {
    epoch: i16,
    /// First and last sequence, base offset; oldest first.
    recent: VecDeque<(i32, i32, i64)>,
}

/// One partition.
#[derive(Debug)]
struct Log {
    leader: i32,
    leader_epoch: i32,
    /// Nobody leads before.
    led_from: Instant,
    entries: Vec<Entry>,
    end: i64,
    producers: BTreeMap<i64, Producer>,
    /// First offset of each producer's open transaction.
    open: BTreeMap<i64, i64>,
    /// Producer, first offset, the marker's.
    aborted: Vec<(i64, i64, i64)>,
}

/// What the coordinator knows of a transactional id.
#[derive(Debug)]
struct Transaction {
    producer_id: i64,
    epoch: i16,
    /// The one before, where its owner is given this one for it: `lastProducerEpoch`.
    epoch_before: Option<i16>,
    timeout: Duration,
    state: State,
    partitions: BTreeSet<(String, i32)>,
    began: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Empty,
    Ongoing,
    /// Decided; the markers are written at that time.
    Prepared {
        commit: bool,
        until: Instant,
    },
    Complete {
        commit: bool,
    },
}

/// The cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// A leader asks the coordinator whether a batch's transaction is open, as from Kafka 3.6 on.
    verifies: bool,
    /// `message.max.bytes`
    batch_bytes_max: usize,
    /// `transaction.version`
    pub(crate) version: i16,
    topics: BTreeMap<String, Vec<Log>>,
    transactions: BTreeMap<String, Transaction>,
    next_producer_id: i64,
    coordinator: i32,
    coordinates_from: Instant,
    down_until: BTreeMap<i32, Instant>,
}

impl Cluster {
    pub(crate) fn new(random: &mut Random) -> Self {
        let version = random.pick(&[1, 2, 2]);
        Self {
            verifies: version > 1 || random.chance(1, 2),
            batch_bytes_max: random.pick(&[1_048_588, 1_048_588, 80_000]),
            version,
            topics: BTreeMap::new(),
            transactions: BTreeMap::new(),
            next_producer_id: 1000,
            coordinator: 1,
            coordinates_from: engine::net::now(),
            down_until: BTreeMap::new(),
        }
    }

    /// Broker 0 leads and coordinates everything from now on.
    pub(crate) fn be_one(&mut self, version: i16) {
        self.version = version;
        self.verifies = true;
        self.coordinator = 0;
    }

    pub(crate) fn is_up(&self, node: i32) -> bool {
        self.down_until
            .get(&node)
            .is_none_or(|until| engine::net::now() >= *until)
    }

    /// Leaders of some partitions move, each with a moment in which nobody leads.
    pub(crate) fn move_leaders(&mut self, random: &mut Random) {
        let now = engine::net::now();
        for log in self.topics.values_mut().flatten() {
            if random.chance(1, 3) {
                log.elect(random, now);
            }
        }
    }

    pub(crate) fn move_coordinator(&mut self, random: &mut Random) {
        self.coordinator = i32::try_from(random.below(3)).unwrap_or_default();
        self.coordinates_from = engine::net::now() + Duration::from_millis(random.below(400));
    }

    /// A broker dies; what it led goes to others.
    pub(crate) fn kill(&mut self, node: i32, back: Instant, random: &mut Random) {
        self.down_until.insert(node, back);
        let now = engine::net::now();
        for log in self.topics.values_mut().flatten() {
            while log.leader == node {
                log.elect(random, now);
            }
        }
        while self.coordinator == node {
            self.move_coordinator(random);
        }
    }

    /// What a committed reader sees of `topic`: the records of each partition in their order, key
    /// and value.
    pub(crate) fn committed(&self, topic: &str, mut see: impl FnMut(usize, &batch::Record<'_>)) {
        for (partition, log) in self.topics.get(topic).into_iter().flatten().enumerate() {
            let stable = log.stable();
            for entry in &log.entries {
                let hidden = entry.transactional && log.is_aborted(entry);
                if entry.control || hidden || entry.last_offset >= stable {
                    continue;
                }
                each_record(entry, |record| see(partition, record));
            }
        }
    }

    /// As Kafka is before 3.6.
    pub(crate) fn be_old(&mut self) {
        self.version = 1;
        self.verifies = false;
    }

    /// A broker stands still, and nobody notices: what it leads is its own.
    pub(crate) fn stall(&mut self, node: i32, until: Instant) {
        self.down_until.insert(node, until);
    }

    /// An AddPartitionsToTxn of every producer's own, which nobody waits for any more, arrives.
    pub(crate) fn hear_late(&mut self, topic: &str) {
        let known = self.transactions.iter();
        let producers: Vec<_> = known
            .map(|(id, it)| (id.clone(), (it.producer_id, it.epoch)))
            .collect();
        for (id, producer) in producers {
            self.add(&id, producer, (topic.to_owned(), 0));
        }
    }

    /// Does what time has made due: markers, and the end of what takes too long.
    pub(crate) fn settle(&mut self, world: &World) {
        let now = engine::net::now();
        let Self {
            version,
            transactions,
            topics,
            ..
        } = self;
        for transaction in transactions.values_mut() {
            let late = transaction.began + transaction.timeout;
            if transaction.state == State::Ongoing && late <= now {
                world.count("transaction timed out");
                transaction.fence(*version, now);
            }
            let State::Prepared { commit, until } = transaction.state else {
                continue;
            };
            if until > now {
                continue;
            }
            for (topic, partition) in std::mem::take(&mut transaction.partitions) {
                let log = topics.get_mut(&topic).and_then(|logs| {
                    let at = usize::try_from(partition).ok()?;
                    logs.get_mut(at)
                });
                if let Some(log) = log {
                    log.end_transaction(transaction.producer_id, transaction.epoch, commit);
                }
            }
            transaction.state = State::Complete { commit };
        }
    }

    fn log(&mut self, topic: &str, partition: i32) -> Option<&mut Log> {
        let at = usize::try_from(partition).ok()?;
        self.topics.get_mut(topic)?.get_mut(at)
    }

    fn create_topic(&mut self, name: &str, partitions: i32, random: &mut Random) {
        let now = engine::net::now();
        let logs = (0..partitions).map(|at| Log {
            leader: at % BROKERS,
            leader_epoch: 0,
            led_from: now + Duration::from_millis(random.below(60)),
            entries: Vec::new(),
            end: 0,
            producers: BTreeMap::new(),
            open: BTreeMap::new(),
            aborted: Vec::new(),
        });
        self.topics.insert(name.to_owned(), logs.collect());
    }

    fn coordinator_error(&self, node: i32) -> Option<ErrorCode> {
        if node != self.coordinator {
            Some(ErrorCode::NOT_COORDINATOR)
        } else if engine::net::now() < self.coordinates_from {
            Some(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS)
        } else {
            None
        }
    }

    fn versions(&self) -> ApiVersionsResponse {
        let implicit = self.version == 2;
        let row = |api: &ApiKey| {
            let (min_version, mut max_version) = api.versions().unwrap_or_default();
            if !implicit && *api == ApiKey::END_TXN {
                max_version = 4;
            }
            ApiVersion {
                api_key: api.0,
                min_version,
                max_version,
            }
        };
        let feature = FinalizedFeatureKey {
            name: "transaction.version".to_owned(),
            max_version_level: 2,
            min_version_level: 2,
        };
        ApiVersionsResponse {
            api_keys: ApiKey::ALL.iter().map(row).collect(),
            finalized_features_epoch: 1,
            finalized_features: implicit.then_some(feature).into_iter().collect(),
            ..ApiVersionsResponse::default()
        }
    }

    fn metadata(&mut self, asked: &MetadataRequest, random: &mut Random) -> MetadataResponse {
        let now = engine::net::now();
        let mut topics = Vec::new();
        for topic in asked.topics.iter().flatten() {
            let name = topic.name.clone().unwrap_or_default();
            let mut error_code = ErrorCode::NONE;
            if !self.topics.contains_key(&name) {
                error_code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
                if asked.allow_auto_topic_creation {
                    // Whoever asks is told only the next time.
                    self.create_topic(&name, PARTITIONS, random);
                    error_code = ErrorCode::LEADER_NOT_AVAILABLE;
                }
            }
            let logs = self.topics.get(&name).filter(|_| error_code.is_ok());
            let partitions = logs.into_iter().flatten().zip(0..).map(|(log, at)| {
                let led = log.led_from <= now;
                MetadataResponsePartition {
                    error_code: if led {
                        ErrorCode::NONE
                    } else {
                        ErrorCode::LEADER_NOT_AVAILABLE
                    },
                    partition_index: at,
                    leader_id: if led { log.leader } else { -1 },
                    leader_epoch: log.leader_epoch,
                    ..MetadataResponsePartition::default()
                }
            });
            topics.push(MetadataResponseTopic {
                error_code,
                partitions: partitions.collect(),
                name: Some(name),
                ..MetadataResponseTopic::default()
            });
        }
        let brokers = (0..BROKERS).filter(|&node| self.is_up(node));
        let brokers = brokers.map(|node_id| MetadataResponseBroker {
            node_id,
            host: format!("b{node_id}"),
            port: 9092,
            ..MetadataResponseBroker::default()
        });
        MetadataResponse {
            brokers: brokers.collect(),
            controller_id: (0..BROKERS).find(|&node| self.is_up(node)).unwrap_or(-1),
            topics,
            ..MetadataResponse::default()
        }
    }

    fn create(&mut self, asked: &CreateTopicsRequest, random: &mut Random) -> CreateTopicsResponse {
        let mut topics = Vec::new();
        for topic in &asked.topics {
            let error_code = if self.topics.contains_key(&topic.name) {
                ErrorCode::TOPIC_ALREADY_EXISTS
            } else {
                let count = topic.num_partitions;
                self.create_topic(
                    &topic.name,
                    if count < 0 { PARTITIONS } else { count },
                    random,
                );
                ErrorCode::NONE
            };
            topics.push(CreatableTopicResult {
                name: topic.name.clone(),
                error_code,
                ..CreatableTopicResult::default()
            });
        }
        CreateTopicsResponse {
            topics,
            ..CreateTopicsResponse::default()
        }
    }

    fn find_coordinator(&self, asked: &FindCoordinatorRequest) -> FindCoordinatorResponse {
        let key = asked.coordinator_keys.first().unwrap_or(&asked.key).clone();
        let (node_id, host) = (self.coordinator, format!("b{}", self.coordinator));
        FindCoordinatorResponse {
            node_id,
            host: host.clone(),
            port: 9092,
            coordinators: vec![Coordinator {
                key,
                node_id,
                host,
                port: 9092,
                ..Coordinator::default()
            }],
            ..FindCoordinatorResponse::default()
        }
    }

    fn init(&mut self, node: i32, asked: &InitProducerIdRequest) -> InitProducerIdResponse {
        let refused = |error_code| InitProducerIdResponse {
            error_code,
            producer_epoch: -1,
            ..InitProducerIdResponse::default()
        };
        let given = |producer_id, producer_epoch| InitProducerIdResponse {
            producer_id,
            producer_epoch,
            ..refused(ErrorCode::NONE)
        };
        self.next_producer_id += 1;
        let (fresh, version) = (self.next_producer_id, self.version);
        let Some(id) = &asked.transactional_id else {
            return given(fresh, 0);
        };
        if let Some(error) = self.coordinator_error(node) {
            return refused(error);
        }
        let now = engine::net::now();
        let timeout = u64::try_from(asked.transaction_timeout_ms).unwrap_or_default();
        let timeout = Duration::from_millis(timeout);
        let Some(transaction) = self.transactions.get_mut(id) else {
            let transaction = Transaction {
                producer_id: fresh,
                epoch: 0,
                epoch_before: None,
                timeout,
                state: State::Empty,
                partitions: BTreeSet::new(),
                began: now,
            };
            self.transactions.insert(id.clone(), transaction);
            return given(fresh, 0);
        };
        match transaction.state {
            State::Prepared { .. } => refused(ErrorCode::CONCURRENT_TRANSACTIONS),
            State::Ongoing => {
                // Ended first, with an epoch that nobody has; who asks must ask again.
                transaction.fence(version, now + Duration::from_millis(5));
                refused(ErrorCode::CONCURRENT_TRANSACTIONS)
            }
            State::Empty | State::Complete { .. } => {
                let claimed = (asked.producer_id, asked.producer_epoch);
                let (producer_id, epoch) = (transaction.producer_id, transaction.epoch);
                if claimed != (-1, -1) && claimed != (producer_id, epoch) {
                    let again = transaction.epoch_before.map(|before| (producer_id, before));
                    return if again == Some(claimed) {
                        given(producer_id, epoch)
                    } else {
                        refused(ErrorCode::PRODUCER_FENCED)
                    };
                }
                transaction.epoch_before = (claimed != (-1, -1)).then_some(epoch);
                transaction.epoch += 1;
                if transaction.epoch >= i16::MAX - 1 {
                    transaction.producer_id = fresh;
                    transaction.epoch = 0;
                }
                transaction.state = State::Empty;
                transaction.timeout = timeout;
                given(transaction.producer_id, transaction.epoch)
            }
        }
    }

    fn add_partitions(
        &mut self,
        node: i32,
        asked: &AddPartitionsToTxnRequest,
    ) -> AddPartitionsToTxnResponse {
        let producer = (
            asked.v3_and_below_producer_id,
            asked.v3_and_below_producer_epoch,
        );
        let id = &asked.v3_and_below_transactional_id;
        let mut code = self.coordinator_error(node).unwrap_or_default();
        for topic in &asked.v3_and_below_topics {
            for &partition in &topic.partitions {
                if code.is_ok() {
                    code = self.add(id, producer, (topic.name.clone(), partition));
                }
            }
        }
        let topics = asked.v3_and_below_topics.iter().map(|topic| {
            let results = topic.partitions.iter();
            let results = results.map(|&partition_index| AddPartitionsToTxnPartitionResult {
                partition_index,
                partition_error_code: code,
            });
            AddPartitionsToTxnTopicResult {
                name: topic.name.clone(),
                results_by_partition: results.collect(),
            }
        });
        AddPartitionsToTxnResponse {
            results_by_topic_v3_and_below: topics.collect(),
            ..AddPartitionsToTxnResponse::default()
        }
    }

    /// Makes a partition part of the producer's transaction.
    fn add(&mut self, id: &str, producer: (i64, i16), place: (String, i32)) -> ErrorCode {
        let Some(transaction) = self.transactions.get_mut(id) else {
            return ErrorCode::INVALID_PRODUCER_ID_MAPPING;
        };
        if transaction.producer_id != producer.0 {
            return ErrorCode::INVALID_PRODUCER_ID_MAPPING;
        }
        if transaction.epoch != producer.1 {
            return ErrorCode::PRODUCER_FENCED;
        }
        match transaction.state {
            State::Prepared { .. } => return ErrorCode::CONCURRENT_TRANSACTIONS,
            State::Ongoing => {}
            State::Empty | State::Complete { .. } => {
                transaction.state = State::Ongoing;
                transaction.began = engine::net::now();
            }
        }
        transaction.partitions.insert(place);
        ErrorCode::NONE
    }

    fn end(
        &mut self,
        node: i32,
        asked: &EndTxnRequest,
        version: i16,
        world: &World,
    ) -> EndTxnResponse {
        let refused = |error_code| EndTxnResponse {
            error_code,
            ..EndTxnResponse::default()
        };
        if let Some(error) = self.coordinator_error(node) {
            return refused(error);
        }
        let implicit = version >= 5;
        let Some(transaction) = self.transactions.get_mut(&asked.transactional_id) else {
            return refused(ErrorCode::INVALID_PRODUCER_ID_MAPPING);
        };
        if transaction.producer_id != asked.producer_id {
            return refused(ErrorCode::INVALID_PRODUCER_ID_MAPPING);
        }
        let done = |transaction: &Transaction| EndTxnResponse {
            producer_id: transaction.producer_id,
            producer_epoch: transaction.epoch,
            ..refused(ErrorCode::NONE)
        };
        // The answer to the first attempt was lost: the epoch has moved already.
        let repeated = implicit && asked.producer_epoch == transaction.epoch - 1;
        let same = |commit: bool| commit == asked.committed;
        let fenced = asked.producer_epoch != transaction.epoch;
        match transaction.state {
            State::Prepared { commit, .. } if repeated && same(commit) => {
                return refused(ErrorCode::CONCURRENT_TRANSACTIONS);
            }
            State::Complete { commit } if repeated && same(commit) => return done(transaction),
            State::Prepared { .. } | State::Complete { .. } if repeated => {
                return refused(ErrorCode::INVALID_TXN_STATE);
            }
            _ if fenced => return refused(ErrorCode::PRODUCER_FENCED),
            State::Prepared { commit, .. } if same(commit) => {
                return refused(ErrorCode::CONCURRENT_TRANSACTIONS);
            }
            State::Complete { commit } if !implicit && same(commit) => return done(transaction),
            State::Empty | State::Complete { .. } if implicit && !asked.committed => {
                transaction.next_epoch();
                let (commit, until) = (false, markers_written(world));
                transaction.state = State::Prepared { commit, until };
                return done(transaction);
            }
            State::Ongoing => {}
            _ => return refused(ErrorCode::INVALID_TXN_STATE),
        }
        let (commit, until) = (asked.committed, markers_written(world));
        transaction.state = State::Prepared { commit, until };
        if implicit {
            transaction.next_epoch();
        }
        let answer = done(transaction);
        world.note(
            "end",
            u64::from(commit),
            transaction.partitions.len() as u64,
        );
        if commit {
            world.count("transactions committed");
            let places = transaction.partitions.clone();
            let producer_id = transaction.producer_id;
            for (topic, partition) in places {
                let Some(log) = self.log(&topic, partition) else {
                    continue;
                };
                let Some(&first) = log.open.get(&producer_id) else {
                    continue;
                };
                let of_it = |entry: &&Entry| {
                    entry.producer_id == producer_id && entry.base_offset >= first && !entry.control
                };
                for entry in log.entries.iter().filter(of_it) {
                    each_record(entry, |record| world.see(&topic, record));
                }
            }
        } else {
            world.count("transactions aborted");
        }
        answer
    }

    fn produce<'b>(
        &mut self,
        node: i32,
        asked: &ProduceRequest<'b>,
        version: i16,
        world: &World,
    ) -> ProduceResponse<'b> {
        let mut response = ProduceResponse::default();
        for topic in &asked.topic_data {
            let mut results = TopicProduceResponse {
                name: topic.name,
                ..TopicProduceResponse::default()
            };
            for data in &topic.partition_data {
                let batch = match BatchView::parse(data.records.unwrap_or_default()) {
                    Ok(batch) => batch,
                    Err(error) => {
                        world.fail(format!("a batch that cannot be read: {error}"));
                        continue;
                    }
                };
                let fate = if world.faults.get() {
                    world.below(60)
                } else {
                    60
                };
                let mut base_offset = -1;
                let error_code = if fate == 0 {
                    world.count("not enough replicas");
                    ErrorCode::NOT_ENOUGH_REPLICAS
                } else {
                    let id = asked.transactional_id;
                    match self.append(node, topic.name, data.index, id, &batch, version, world) {
                        Ok(_) if fate == 1 => {
                            world.count("not enough replicas after append");
                            ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND
                        }
                        Ok(offset) => {
                            base_offset = offset;
                            ErrorCode::NONE
                        }
                        Err(code) => code,
                    }
                };
                results.partition_responses.push(PartitionProduceResponse {
                    index: data.index,
                    error_code,
                    base_offset,
                    ..PartitionProduceResponse::default()
                });
            }
            response.responses.push(results);
        }
        response
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "one caller, and all of it matters"
    )]
    fn append(
        &mut self,
        node: i32,
        topic: &str,
        partition: i32,
        id: Option<&str>,
        batch: &BatchView<'_>,
        version: i16,
        world: &World,
    ) -> Result<i64, ErrorCode> {
        let header = *batch.header();
        let transactional = header.attributes.transactional();
        let bytes_max = self.batch_bytes_max;
        let log = self
            .log(topic, partition)
            .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        if batch.bytes().len() > bytes_max {
            world.count("batch too large");
            return Err(ErrorCode::MESSAGE_TOO_LARGE);
        }
        if log.leader != node || log.led_from > engine::net::now() {
            return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        }
        if let Some(offset) = log.check_sequence(&header, version)? {
            world.count("duplicate batch");
            return Ok(offset);
        }
        if transactional {
            let id = id.ok_or(ErrorCode::INVALID_TXN_STATE)?;
            let place = (topic.to_owned(), partition);
            let producer = (header.producer_id, header.producer_epoch);
            let added = self.transactions.get(id).is_some_and(|transaction| {
                (transaction.producer_id, transaction.epoch) == producer
                    && transaction.state == State::Ongoing
                    && transaction.partitions.contains(&place)
            });
            if !added && self.verifies {
                if version < 11 {
                    return Err(ErrorCode::INVALID_TXN_STATE);
                }
                if version < 12 {
                    return Err(ErrorCode::TRANSACTION_ABORTABLE);
                }
                match self.add(id, producer, place) {
                    ErrorCode::NONE => {}
                    // What an older client understands of it.
                    ErrorCode::PRODUCER_FENCED => return Err(ErrorCode::INVALID_PRODUCER_EPOCH),
                    code => return Err(code),
                }
            }
        }
        let log = self
            .log(topic, partition)
            .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let offset = log.append(batch);
        if !transactional && let Some(entry) = log.entries.last() {
            each_record(entry, |record| world.see(topic, record));
        }
        Ok(offset)
    }

    fn list_offsets(&mut self, node: i32, asked: &ListOffsetsRequest) -> ListOffsetsResponse {
        let mut response = ListOffsetsResponse::default();
        for topic in &asked.topics {
            let partitions = topic.partitions.iter().map(|partition| {
                let number = partition.partition_index;
                let log = self.log(&topic.name, number).filter(|log| log.is_led(node));
                let offset = log.map(|log| match (partition.timestamp, asked.isolation_level) {
                    (-2, _) => 0,
                    (_, 1) => log.stable(),
                    _ => log.end,
                });
                ListOffsetsPartitionResponse {
                    partition_index: number,
                    error_code: match offset {
                        Some(_) => ErrorCode::NONE,
                        None => ErrorCode::NOT_LEADER_OR_FOLLOWER,
                    },
                    offset: offset.unwrap_or(-1),
                    ..ListOffsetsPartitionResponse::default()
                }
            });
            let partitions = partitions.collect();
            response.topics.push(ListOffsetsTopicResponse {
                name: topic.name.clone(),
                partitions,
            });
        }
        response
    }

    /// The answer to a Fetch of one partition, which is what the engine asks for.
    fn fetch(&mut self, node: i32, asked: &FetchRequest, random: &mut Random) -> Fetched {
        let mut fetched = Fetched::default();
        let Some(topic) = asked.topics.first() else {
            return fetched;
        };
        let Some(partition) = topic.partitions.first() else {
            return fetched;
        };
        fetched.topic = topic.topic.clone();
        fetched.partition = partition.partition;
        let log = self.log(&topic.topic, partition.partition);
        let Some(log) = log.filter(|log| log.is_led(node)) else {
            fetched.error = ErrorCode::NOT_LEADER_OR_FOLLOWER;
            return fetched;
        };
        (fetched.end, fetched.stable) = (log.end, log.stable());
        let committed = asked.isolation_level == 1;
        let bound = if committed { fetched.stable } else { log.end };
        let from = partition.fetch_offset;
        let most = random.index(8) + 1;
        let entries = log.entries.iter();
        let entries =
            entries.filter(|entry| entry.last_offset >= from && entry.last_offset < bound);
        let mut upto = from;
        for entry in entries.take(most) {
            fetched.records.extend_from_slice(&entry.bytes);
            upto = entry.last_offset;
        }
        if committed {
            let aborted = log.aborted.iter();
            let aborted = aborted.filter(|(_, first, last)| *last >= from && *first <= upto);
            fetched.aborted = aborted
                .map(
                    |&(producer_id, first_offset, _)| fetch::AbortedTransaction {
                        producer_id,
                        first_offset,
                    },
                )
                .collect();
        }
        fetched
    }
}

fn markers_written(world: &World) -> Instant {
    let mut random = world.random.borrow_mut();
    let most = if random.chance(1, 30) { 300 } else { 4 };
    engine::net::now() + Duration::from_millis(random.below(most))
}

#[derive(Debug, Default)]
struct Fetched {
    topic: String,
    partition: i32,
    error: ErrorCode,
    end: i64,
    stable: i64,
    records: Vec<u8>,
    aborted: Vec<fetch::AbortedTransaction>,
}

impl Fetched {
    fn response(&self) -> FetchResponse<'_> {
        FetchResponse {
            responses: vec![FetchableTopicResponse {
                topic: &self.topic,
                partitions: vec![fetch::PartitionData {
                    partition_index: self.partition,
                    error_code: self.error,
                    high_watermark: self.end,
                    last_stable_offset: self.stable,
                    aborted_transactions: Some(self.aborted.clone()),
                    records: Some(&self.records),
                    ..fetch::PartitionData::default()
                }],
                ..FetchableTopicResponse::default()
            }],
            ..FetchResponse::default()
        }
    }
}

impl Transaction {
    /// The owner learns of the next epoch, or may ask for it with the one that it has.
    fn next_epoch(&mut self) {
        self.epoch_before = Some(self.epoch);
        self.epoch += 1;
    }

    /// Ended by the coordinator, under another epoch. With version 2 that is the next one; before,
    /// it is nobody's.
    fn fence(&mut self, version: i16, until: Instant) {
        self.next_epoch();
        if version < 2 {
            self.epoch_before = None;
        }
        self.state = State::Prepared {
            commit: false,
            until,
        };
    }
}

impl Log {
    fn elect(&mut self, random: &mut Random, now: Instant) {
        self.leader = i32::try_from(random.below(3)).unwrap_or_default();
        self.leader_epoch += 1;
        self.led_from = now + Duration::from_millis(random.below(300));
    }

    fn is_led(&self, node: i32) -> bool {
        self.leader == node && self.led_from <= engine::net::now()
    }

    fn stable(&self) -> i64 {
        self.open.values().min().copied().unwrap_or(self.end)
    }

    fn is_aborted(&self, entry: &Entry) -> bool {
        self.aborted.iter().any(|&(producer_id, first, last)| {
            producer_id == entry.producer_id && (first..=last).contains(&entry.base_offset)
        })
    }

    /// Whether a batch may follow; `Some`: it is there already.
    fn check_sequence(
        &self,
        header: &batch::Header,
        version: i16,
    ) -> Result<Option<i64>, ErrorCode> {
        let (first, last) = (header.base_sequence, header.last_sequence());
        let Some(producer) = self.producers.get(&header.producer_id) else {
            // Nothing known: any sequence will do, but from those who begin each transaction at 0.
            return if version >= 12 && header.attributes.transactional() && first != 0 {
                Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
            } else {
                Ok(None)
            };
        };
        if header.producer_epoch < producer.epoch {
            return Err(ErrorCode::INVALID_PRODUCER_EPOCH);
        }
        if header.producer_epoch > producer.epoch {
            return match first {
                0 => Ok(None),
                _ => Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER),
            };
        }
        let same = |sent: &&(i32, i32, i64)| (sent.0, sent.1) == (first, last);
        if let Some(sent) = producer.recent.iter().find(same) {
            return Ok(Some(sent.2));
        }
        let newest = producer.recent.back().map_or(-1, |sent| sent.1);
        if first == newest + 1 {
            Ok(None)
        } else if producer
            .recent
            .front()
            .is_some_and(|oldest| last < oldest.0)
        {
            Err(ErrorCode::DUPLICATE_SEQUENCE_NUMBER)
        } else {
            Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
        }
    }

    fn append(&mut self, batch: &BatchView<'_>) -> i64 {
        let header = *batch.header();
        let base_offset = self.end;
        let mut bytes = batch.bytes().to_vec();
        batch::place(&mut bytes, base_offset, self.leader_epoch);
        self.end = base_offset + (header.last_offset() - header.base_offset) + 1;
        let transactional = header.attributes.transactional();
        let control = header.attributes.control();
        self.entries.push(Entry {
            base_offset,
            last_offset: self.end - 1,
            producer_id: header.producer_id,
            transactional,
            control,
            bytes,
        });
        if header.producer_id >= 0 {
            let producer = self.producers.entry(header.producer_id).or_default();
            if header.producer_epoch > producer.epoch || producer.recent.is_empty() {
                producer.epoch = header.producer_epoch;
                producer.recent.clear();
            }
            if !control {
                producer.recent.push_back((
                    header.base_sequence,
                    header.last_sequence(),
                    base_offset,
                ));
                if producer.recent.len() > RECENT {
                    producer.recent.pop_front();
                }
                if transactional {
                    self.open.entry(header.producer_id).or_insert(base_offset);
                }
            }
        }
        base_offset
    }

    fn end_transaction(&mut self, producer_id: i64, producer_epoch: i16, commit: bool) {
        let kind = if commit {
            ControlType::COMMIT
        } else {
            ControlType::ABORT
        };
        let stamp = ProducerStamp {
            producer_id,
            producer_epoch,
            base_sequence: -1,
            transactional: true,
        };
        let mut marker = Vec::new();
        batch::put_end_marker(&mut marker, kind, 0, stamp, 0);
        let Ok(view) = BatchView::parse(&marker) else {
            return;
        };
        let offset = self.append(&view);
        if let Some(first) = self.open.remove(&producer_id)
            && !commit
        {
            self.aborted.push((producer_id, first, offset));
        }
    }
}

fn each_record(entry: &Entry, mut see: impl FnMut(&batch::Record<'_>)) {
    let mut plain = Vec::new();
    let Ok(view) = BatchView::parse(&entry.bytes) else {
        return;
    };
    let Ok(records) = view.records(&mut plain, BATCH_BYTES_MAX) else {
        return;
    };
    for record in records.flatten() {
        see(&record);
    }
}

/// One connection to one broker.
#[derive(Debug)]
pub(crate) struct Session {
    node: i32,
    /// Answers no more: what it was to say is lost.
    mute: bool,
}

impl Session {
    pub(crate) fn new(node: i32) -> Self {
        Self { node, mute: false }
    }

    pub(crate) fn step(
        &mut self,
        world: &Rc<World>,
        input: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Step {
        while let Ok(Some((request, size))) = frame::split(input, frame::REQUEST_BYTES_MAX) {
            let mut answer = Vec::new();
            self.handle(world, request, &mut answer);
            if world.faults.get() && world.chance(1, 400) {
                world.count("response lost");
                self.mute = true;
            }
            if !self.mute {
                out.append(&mut answer);
            }
            input.drain(..size);
        }
        Step::default()
    }

    fn handle(&self, world: &Rc<World>, request: &[u8], out: &mut Vec<u8>) {
        let Ok((header, body)) = RequestHeader::split(request) else {
            return world.fail("a request without a header".to_owned());
        };
        let cluster = &mut *world.cluster.borrow_mut();
        cluster.settle(world);
        let version = header.version;
        world.note(
            "request",
            u64::from(header.api.0.unsigned_abs()),
            body.len() as u64,
        );
        fn take<'b, Q: Message<'b>>(world: &World, version: i16, body: &'b [u8]) -> Option<Q> {
            let decoded = Q::decode(version, body);
            if let Err(error) = &decoded {
                world.fail(format!("a request that cannot be read: {error}"));
            }
            decoded.ok()
        }
        macro_rules! answer {
            ($request:ty, |$asked:ident| $response:expr) => {{
                let Some($asked) = take::<$request>(world, version, body) else {
                    return;
                };
                put(&header, &$response, out)
            }};
        }
        fn put<'b, R: Response<'b>>(header: &RequestHeader<'_>, response: &R, out: &mut Vec<u8>) {
            frame::put_response(response, header.version, header.correlation, out);
        }
        let node = self.node;
        match header.api {
            ApiKey::API_VERSIONS => put(&header, &cluster.versions(), out),
            ApiKey::METADATA => answer!(MetadataRequest, |asked| cluster
                .metadata(&asked, &mut world.random.borrow_mut())),
            ApiKey::CREATE_TOPICS => answer!(CreateTopicsRequest, |asked| cluster
                .create(&asked, &mut world.random.borrow_mut())),
            ApiKey::FIND_COORDINATOR => {
                answer!(FindCoordinatorRequest, |asked| cluster
                    .find_coordinator(&asked))
            }
            ApiKey::INIT_PRODUCER_ID => {
                answer!(InitProducerIdRequest, |asked| cluster.init(node, &asked))
            }
            ApiKey::ADD_PARTITIONS_TO_TXN => {
                answer!(AddPartitionsToTxnRequest, |asked| cluster
                    .add_partitions(node, &asked))
            }
            ApiKey::END_TXN => {
                answer!(EndTxnRequest, |asked| cluster
                    .end(node, &asked, version, world))
            }
            ApiKey::PRODUCE => answer!(ProduceRequest<'_>, |asked| cluster
                .produce(node, &asked, version, world)),
            ApiKey::LIST_OFFSETS => {
                answer!(ListOffsetsRequest, |asked| cluster
                    .list_offsets(node, &asked))
            }
            ApiKey::FETCH => {
                let Some(asked) = take::<FetchRequest>(world, version, body) else {
                    return;
                };
                let fetched = cluster.fetch(node, &asked, &mut world.random.borrow_mut());
                put(&header, &fetched.response(), out);
            }
            api => world.fail(format!("the simulated brokers do not serve {api}")),
        }
    }
}
