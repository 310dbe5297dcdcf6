//! The cluster, which is one node, and its topics: what there is, how it is configured, and how it
//! comes and goes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kafkawire::error_code::ErrorCode;
use kafkawire::message::Uuid;
use kafkawire::message::api_versions::*;
use kafkawire::message::create_partitions::*;
use kafkawire::message::create_topics::*;
use kafkawire::message::delete_topics::*;
use kafkawire::message::describe_cluster::*;
use kafkawire::message::describe_configs::*;
use kafkawire::message::find_coordinator::*;
use kafkawire::message::metadata::*;

use super::journal::Entry;
use super::log::LEADER_EPOCH;
use super::partition::Partition;
use super::{About, Broker, Directory, NODE_ID, SERVED};

/// Partitions that one topic may have.
const PARTITIONS_MAX: i32 = 1_000;
/// Topics that there may be.
const TOPICS_MAX: usize = 10_000;

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

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) id: Uuid,
    pub(super) partitions: Vec<Partition>,
    pub(super) configs: BTreeMap<String, String>,
}

impl Broker {
    pub(super) fn metadata(&mut self, request: MetadataRequest, about: About) -> MetadataResponse {
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

    pub(super) fn create_topics(&mut self, request: CreateTopicsRequest) -> CreateTopicsResponse {
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

    pub(super) fn delete_topics(
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

    pub(super) fn delete_topic(&mut self, name: &str) -> Result<Uuid, ErrorCode> {
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

    pub(super) fn forget_topic(&mut self, name: &str) -> Option<Uuid> {
        let topic = self.topics.remove(name)?;
        self.topic_names.remove(&topic.id);
        self.groups.forget_topic(name);
        Some(topic.id)
    }

    pub(super) fn create_partitions(
        &mut self,
        request: CreatePartitionsRequest,
    ) -> CreatePartitionsResponse {
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

    pub(super) fn describe_configs(
        &self,
        request: DescribeConfigsRequest,
    ) -> DescribeConfigsResponse {
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

    pub(super) fn describe_cluster(&self) -> DescribeClusterResponse {
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

    pub(super) fn find_coordinator(
        &self,
        request: FindCoordinatorRequest,
    ) -> FindCoordinatorResponse {
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

pub(super) fn api_versions() -> ApiVersionsResponse {
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
    pub(super) fn partition(&self, index: i32) -> Option<&Partition> {
        self.partitions.get(usize::try_from(index).ok()?)
    }

    pub(super) fn partition_mut(&mut self, index: i32) -> Option<&mut Partition> {
        self.partitions.get_mut(usize::try_from(index).ok()?)
    }

    pub(super) fn message_bytes_max(&self) -> usize {
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

    pub(super) fn entry(&self, name: &str) -> Entry {
        Entry::Topic {
            name: name.to_owned(),
            id: self.id.0,
            partitions: self.partitions.len(),
            configs: self.configs.clone(),
        }
    }
}

/// Where a topic's partitions are: named by the id, so that a topic of an old name begins anew.
pub(super) fn topic_path(data: &Path, id: Uuid) -> PathBuf {
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
