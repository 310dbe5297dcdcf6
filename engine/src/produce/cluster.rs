//! What is known of the cluster: brokers, leaders, and topics that must be made to exist.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafkawire::ErrorCode;
use kafkawire::connection::{Answer, Connection};
use kafkawire::message::ApiKey;
use kafkawire::message::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, CreateTopicsResponse,
};
use kafkawire::message::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseTopic,
};

use super::batches::{Partition, Stage, TopicId};
use super::inflight::{InFlight, Outgoing, What};
use super::{Error, NodeId, Producer};
use crate::config::TopicCreation;

/// Brokers by id. Those of `bootstrap.servers` have negative ids, -1 for the first, until the
/// cluster tells its own.
#[derive(Debug)]
pub(super) struct Cluster {
    bootstrap: Vec<String>,
    brokers: BTreeMap<NodeId, (String, u16)>,
    controller: NodeId,
    pub(super) connected: BTreeSet<NodeId>,
    /// Which address is next when any broker will do.
    candidate: usize,
    refresh_at: Duration,
    /// When all topics are asked for, and not only those that are not known yet.
    all_at: Duration,
    asked_at: Option<Duration>,
    reached: bool,
    /// Some topic waits to be created.
    creating: bool,
    create_at: Duration,
    /// Answers in a row that lacked a leader or a topic.
    unsettled: u32,
    /// Since when there is a connection to any broker.
    connected_at: Duration,
    last_failure: Option<String>,
}

/// So long may the first connection take before the caller is told.
const REACH_WITHIN: Duration = Duration::from_secs(15);
/// So long may a topic be unknown that somebody should create: as long as Java's producer waits, as
/// busy brokers do take tens of seconds.
const EXIST_WITHIN: Duration = Duration::from_secs(60);
/// Between two questions for metadata that is not there yet, at first.
const ASK_AGAIN: Duration = Duration::from_millis(10);

impl Cluster {
    pub(super) fn new(bootstrap: Vec<String>) -> Self {
        Self {
            bootstrap,
            brokers: BTreeMap::new(),
            controller: -1,
            connected: BTreeSet::new(),
            candidate: 0,
            refresh_at: Duration::ZERO,
            all_at: Duration::ZERO,
            asked_at: None,
            reached: false,
            creating: false,
            create_at: Duration::ZERO,
            unsettled: 0,
            connected_at: Duration::ZERO,
            last_failure: None,
        }
    }

    /// Host and port of a node.
    pub(super) fn address(&self, node: NodeId) -> Option<(String, u16)> {
        if let Ok(place) = usize::try_from(-1 - i64::from(node)) {
            return self
                .bootstrap
                .get(place)
                .map(|address| split_address(address));
        }
        self.brokers.get(&node).cloned()
    }

    pub(super) fn name(&self, node: NodeId) -> String {
        self.address(node).map_or_else(
            || format!("node {node}"),
            |(host, port)| format!("{host}:{port}"),
        )
    }

    pub(super) fn add(&mut self, node: NodeId, host: String, port: i32) {
        if node >= 0 {
            self.brokers
                .insert(node, (host, u16::try_from(port).unwrap_or_default()));
        }
    }

    /// A node to connect to when any will do: the brokers in turn, and then the bootstrap list.
    fn any(&self) -> NodeId {
        let (known, configured) = (self.brokers.len(), self.bootstrap.len().max(1));
        let turn = self.candidate % (known + configured);
        match self.brokers.keys().nth(turn) {
            Some(&node) => node,
            None => -1 - i32::try_from(turn - known).unwrap_or_default(),
        }
    }

    pub(super) fn refresh(&mut self, now: Duration, backoff: Duration) {
        let earliest = self.asked_at.map_or(now, |asked| now.max(asked + backoff));
        self.refresh_at = self.refresh_at.min(earliest);
        self.all_at = self.all_at.min(earliest);
    }

    /// There is a topic that is not known yet; of the others nothing is asked.
    pub(super) fn look_up(&mut self, now: Duration) {
        self.refresh_at = self.refresh_at.min(now);
    }

    pub(super) fn failed(&mut self, node: NodeId, reason: &str) {
        self.last_failure = Some(format!("{}: {reason}", self.name(node)));
        self.connected.remove(&node);
        if node == self.any() {
            self.candidate = self.candidate.wrapping_add(1);
        }
    }

    pub(super) fn reached(&mut self, node: NodeId, now: Duration) {
        if self.connected.is_empty() {
            self.connected_at = now;
        }
        self.connected.insert(node);
    }

    /// A broker has answered a request: it is one, and takes us for who we are.
    pub(super) fn answered(&mut self) {
        self.reached = true;
    }

    pub(super) fn deadlines(&self) -> [Duration; 3] {
        let reach = if self.reached {
            Duration::ZERO
        } else {
            REACH_WITHIN
        };
        [self.refresh_at, self.create_at, reach]
    }

    /// Errors: `Unreachable` when no broker was ever reached in time.
    pub(super) fn check(&self, now: Duration) -> Result<(), Error> {
        if self.reached || now < REACH_WITHIN {
            return Ok(());
        }
        let reason = self.last_failure.clone();
        let reason = reason.unwrap_or_else(|| "connecting takes too long".to_owned());
        Err(Error::Unreachable {
            bootstrap: self.bootstrap.join(","),
            reason,
        })
    }
}

/// `host:port`, `[v6]:port`, or a host alone with Kafka's usual port.
pub(super) fn split_address(address: &str) -> (String, u16) {
    const USUAL_PORT: u16 = 9092;
    match address.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            (host.to_owned(), port.parse().unwrap_or(USUAL_PORT))
        }
        _ => (address.trim_matches(['[', ']']).to_owned(), USUAL_PORT),
    }
}

impl Producer {
    /// Nodes that a connection is wanted to, now.
    pub(super) fn wanted_nodes(&self, wanted: &mut BTreeSet<NodeId>) {
        let cluster = &self.cluster;
        if cluster.connected.is_empty() {
            wanted.insert(cluster.any());
        }
        if cluster.controller >= 0 && cluster.creating {
            wanted.insert(cluster.controller);
        }
        let mut last = -1;
        for &place in &self.batches.active {
            let leader = self.batches.partition(place).leader;
            // Of a thousand partitions most have the leader of the one before.
            if leader >= 0 && leader != last {
                wanted.insert(leader);
                last = leader;
            }
        }
    }

    /// Appends what keeps the cluster known. Whether it appended anything.
    pub(super) fn put_cluster(
        &mut self,
        node: NodeId,
        link: &mut Connection,
        out: &mut Outgoing,
    ) -> Result<bool, Error> {
        if self.now >= self.cluster.refresh_at && !self.is_asked(&What::Metadata) {
            self.put_metadata(node, link, out)?;
            return Ok(true);
        }
        let controller = self.cluster.controller;
        let controls = node == controller || controller < 0 && node >= 0;
        let asked = |request: &InFlight| matches!(request.what, What::CreateTopics(_));
        if self.cluster.creating
            && controls
            && self.now >= self.cluster.create_at
            && !self.requests.iter().any(asked)
        {
            let topics: Vec<TopicId> = self.topics_to_create().collect();
            if !topics.is_empty() {
                self.put_create_topics(node, topics, link, out)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn put_metadata(
        &mut self,
        node: NodeId,
        link: &mut Connection,
        out: &mut Outgoing,
    ) -> Result<(), Error> {
        let named = |topic: &super::batches::Topic| MetadataRequestTopic {
            name: Some(topic.name.clone()),
            ..MetadataRequestTopic::default()
        };
        // A question that may create topics creates them as the broker likes: not while one is
        // missing that is to be created in its own way.
        let own_way =
            |topic: &super::batches::Topic| topic.creation.is_some() && topic.stage != Stage::Known;
        let unclear = |topic: &&super::batches::Topic| {
            let lost = |partition: &Partition| partition.leader < 0 || partition.failures > 0;
            topic.stage != Stage::Known || topic.partitions.iter().any(lost)
        };
        let topics = &self.batches.topics;
        let mut asked: Vec<_> = topics.iter().filter(unclear).map(named).collect();
        if self.now >= self.cluster.all_at || asked.is_empty() {
            asked = topics.iter().map(named).collect();
            self.cluster.all_at = self.now + self.settings.metadata_max_age;
        }
        let request = MetadataRequest {
            topics: Some(asked),
            allow_auto_topic_creation: self.settings.topic_creation.is_empty()
                && !self.batches.topics.iter().any(own_way),
            ..MetadataRequest::default()
        };
        // Before version 4 a question could create the topic; from 13 on nothing is new to us.
        let version = self.version(node, link, ApiKey::METADATA, (4, 12))?;
        self.cluster.asked_at = Some(self.now);
        // Until there is an answer, the failure of the connection asks again.
        self.cluster.refresh_at = self.cluster.all_at;
        self.put(node, link, version, &request, What::Metadata, out)
    }

    pub(super) fn take_metadata(&mut self, answer: &Answer<'_>) -> Result<(), kafkawire::Error> {
        let metadata: MetadataResponse = answer.decode()?;
        if !metadata.brokers.is_empty() {
            self.cluster.brokers.clear();
        }
        for broker in metadata.brokers {
            self.cluster.add(broker.node_id, broker.host, broker.port);
        }
        self.cluster.controller = metadata.controller_id;
        self.cluster.refresh_at = self.cluster.all_at;
        let mut settled = true;
        for topic in metadata.topics {
            let name = topic.name.clone().unwrap_or_default();
            if let Some(id) = self.batches.by_name(&name) {
                settled &= self.take_topic(id, topic, answer.version >= TRUSTED_EPOCHS);
            }
        }
        let creating = self.topics_to_create().next().is_some();
        self.cluster.creating = creating;
        // A topic that was interned while the question was on its way.
        settled &= !self.batches.topics.iter().any(|topic| {
            matches!(topic.stage, Stage::Unknown { since } if Some(since) >= self.cluster.asked_at)
        });
        // One that was not part of this question may still be without a leader.
        settled &= !self.batches.topics.iter().any(|topic| {
            let led = |partition: &Partition| partition.leader >= 0;
            topic.stage == Stage::Known && !topic.partitions.iter().all(led)
        });
        if !settled {
            let wait = self.backoff(ASK_AGAIN, self.cluster.unsettled);
            self.cluster.unsettled = self.cluster.unsettled.saturating_add(1);
            self.cluster.refresh_at = self.now + wait;
        } else {
            self.cluster.unsettled = 0;
        }
        Ok(())
    }

    /// Whether the topic is as a producer needs it.
    fn take_topic(&mut self, id: TopicId, told: MetadataResponseTopic, epochs: bool) -> bool {
        let now = self.now;
        match told.error_code {
            ErrorCode::NONE => {}
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::UNKNOWN_TOPIC_ID => {
                let creates = self.creation(id).is_some();
                let topic = self.batches.topic_mut(id);
                topic.stage = match topic.stage {
                    Stage::Unknown { since } if creates => Stage::Creating { since },
                    Stage::Known if creates => Stage::Creating { since: now },
                    Stage::Known => Stage::Unknown { since: now },
                    waiting => waiting,
                };
                return false;
            }
            code if code.retriable() => return false,
            code => {
                let subject = format!("topic {}", self.batches.topic(id).name);
                self.fail(Error::Refused {
                    api: "Metadata",
                    subject,
                    code,
                    words: None,
                });
                return true;
            }
        }
        let topic = self.batches.topic_mut(id);
        let recreated = topic.id != told.topic_id;
        topic.id = told.topic_id;
        topic.stage = Stage::Known;
        let mut led = true;
        for partition in told.partitions {
            let Ok(at) = usize::try_from(partition.partition_index) else {
                continue;
            };
            // A topic has at most some ten thousand partitions; the answer lists each of them.
            while topic.partitions.len() <= at && topic.partitions.len() < PARTITIONS_MAX {
                topic.partitions.push(Partition::new());
            }
            let Some(known) = topic.partitions.get_mut(at) else {
                continue;
            };
            let epoch = if epochs { partition.leader_epoch } else { -1 };
            let older = epoch >= 0 && epoch < known.leader_epoch;
            if older && !recreated {
                continue;
            }
            known.leader = partition.leader_id;
            known.leader_epoch = epoch;
            known.proven &= !recreated;
            led &= partition.leader_id >= 0;
        }
        led
    }

    fn topics_to_create(&self) -> impl Iterator<Item = TopicId> {
        (0u32..)
            .zip(&self.batches.topics)
            .filter_map(|(at, topic)| {
                matches!(topic.stage, Stage::Creating { .. }).then_some(TopicId(at))
            })
    }

    /// How a missing topic is to be created; none: by the brokers, or not at all.
    fn creation(&self, id: TopicId) -> Option<&TopicCreation> {
        let topic = self.batches.topic(id);
        topic.creation.as_ref().or_else(|| {
            self.settings
                .topic_creation
                .iter()
                .find(|group| group.takes(&topic.name))
        })
    }

    fn put_create_topics(
        &mut self,
        node: NodeId,
        topics: Vec<TopicId>,
        link: &mut Connection,
        out: &mut Outgoing,
    ) -> Result<(), Error> {
        let version = self.version(node, link, ApiKey::CREATE_TOPICS, (2, 7))?;
        let mut request = CreateTopicsRequest {
            timeout_ms: millis(self.settings.request_timeout),
            ..CreateTopicsRequest::default()
        };
        for &id in &topics {
            let Some(group) = self.creation(id) else {
                continue;
            };
            let configs = group
                .configs
                .iter()
                .map(|(name, value)| CreatableTopicConfig {
                    name: name.clone(),
                    value: Some(value.clone()),
                });
            request.topics.push(CreatableTopic {
                name: self.batches.topic(id).name.clone(),
                num_partitions: group.partitions,
                replication_factor: group.replication_factor,
                assignments: Vec::new(),
                configs: configs.collect(),
            });
        }
        let defaults =
            |topic: &CreatableTopic| topic.num_partitions < 0 || topic.replication_factor < 0;
        if version < 4 && request.topics.iter().any(defaults) {
            return Err(Error::Configuration {
                reason: "brokers before Kafka 2.4 have no default for partitions and replication \
                         factor; set topic.creation.default.partitions and \
                         topic.creation.default.replication.factor to numbers of 1 or more"
                    .to_owned(),
            });
        }
        self.put(
            node,
            link,
            version,
            &request,
            What::CreateTopics(topics),
            out,
        )
    }

    pub(super) fn take_create_topics(
        &mut self,
        asked: &[TopicId],
        answer: &Answer<'_>,
    ) -> Result<(), kafkawire::Error> {
        let created: CreateTopicsResponse = answer.decode()?;
        let now = self.now;
        for result in created.topics {
            let Some(&id) = asked
                .iter()
                .find(|&&id| self.batches.topic(id).name == result.name)
            else {
                continue;
            };
            let topic = self.batches.topic_mut(id);
            match result.error_code {
                ErrorCode::NONE | ErrorCode::TOPIC_ALREADY_EXISTS => {
                    if let Stage::Creating { .. } = topic.stage {
                        topic.stage = Stage::Created { since: now };
                    }
                }
                // The controller has moved, or is busy: metadata says where to ask again.
                code if code.retriable() => {
                    self.cluster.create_at = now + self.settings.retry_backoff;
                }
                code => {
                    let subject = format!("topic {}", result.name);
                    let words = result.error_message;
                    self.fail(Error::Refused {
                        api: "CreateTopics",
                        subject,
                        code,
                        words,
                    });
                }
            }
        }
        let creating = self.topics_to_create().next().is_some();
        self.cluster.creating = creating;
        self.cluster.refresh(now, Duration::ZERO);
        Ok(())
    }

    /// Errors: `NoSuchTopic` when one did not come to exist in time.
    pub(super) fn check_topics(&self) -> Result<(), Error> {
        for topic in &self.batches.topics {
            let (since, created) = match topic.stage {
                Stage::Unknown { since } => (since, false),
                Stage::Creating { since } | Stage::Created { since } => (since, true),
                Stage::Known => continue,
            };
            // While no broker answers, topics are not the trouble.
            let since = since.max(self.cluster.connected_at);
            if self.now >= since + EXIST_WITHIN && !self.cluster.connected.is_empty() {
                return Err(Error::NoSuchTopic {
                    topic: topic.name.clone(),
                    created,
                });
            }
        }
        Ok(())
    }
}

/// Before this version a metadata answer may state an old leader epoch.
const TRUSTED_EPOCHS: i16 = 9;
/// More than any cluster allows a topic.
const PARTITIONS_MAX: usize = 100_000;

pub(super) fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
