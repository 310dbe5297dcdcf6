//! The other side: topics made and deleted, and followed from their beginning by a consumer of
//! committed records that knows nothing of the producer.

use std::collections::BTreeMap;
use std::time::Duration;

use kafkawire::ErrorCode;
use kafkawire::batch::{BatchView, Batches};
use kafkawire::message::create_topics::{
    CreatableTopic, CreateTopicsRequest, CreateTopicsResponse,
};
use kafkawire::message::delete_topics::{
    DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use kafkawire::message::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use kafkawire::message::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use kafkawire::message::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};

use super::Error;
use super::cluster::split_address;
use super::link::{DialError, Dialer, Link, up_to};
use super::read_back::{Aborted, Isolation};
use crate::config::Sink;

/// What one fetch may bring; a batch that is larger comes whole all the same.
const FETCH_BYTES: i32 = 4 << 20;
/// Between two looks for a topic that is not there yet.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// ListOffsets' word for the offset behind the last.
const END: i64 = -1;
/// How long the controller may take.
const ADMIN_MS: i32 = 30_000;

/// A consumer of a few topics, without a group: every committed record from the first on.
#[derive(Debug)]
pub struct Consumer {
    sink: Sink,
    dialer: Dialer,
    bootstrap: Link,
    topics: Vec<Followed>,
    /// By node.
    links: BTreeMap<i32, Link>,
}

#[derive(Debug)]
struct Followed {
    name: String,
    /// By partition; none: the topic is not there yet.
    partitions: Vec<Place>,
    /// A leader has changed, or does not know yet that it is one.
    stale: bool,
}

impl Followed {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            partitions: Vec::new(),
            stale: true,
        }
    }
}

#[derive(Debug)]
struct Place {
    leader: i32,
    /// The next offset.
    next: i64,
}

impl Consumer {
    /// Connects. The topics need not exist yet, and are not created by asking.
    ///
    /// Errors: `Unreachable`, `Authentication`, `Protocol`.
    pub async fn open(sink: &Sink, topics: &[String]) -> Result<Self, Error> {
        let dialer = Dialer::new(sink)?;
        let topics = topics.iter().map(|name| Followed::new(name));
        Ok(Self {
            sink: sink.clone(),
            bootstrap: dial_any(sink, &dialer).await?,
            dialer,
            topics: topics.collect(),
            links: BTreeMap::new(),
        })
    }

    /// Waits at most so long for something new, and hands on every committed batch that has come,
    /// with the place of its topic among those asked for. Its first records may have been handed on
    /// before: whoever counts compares offsets with the number that is told, the first new one.
    /// Gives the bytes of the batches.
    ///
    /// Errors: `Unreachable`, `Protocol`; `Refused` with what the broker said.
    pub async fn next(
        &mut self,
        wait: Duration,
        each: &mut dyn FnMut(usize, i64, &BatchView<'_>) -> Result<(), kafkawire::Error>,
    ) -> Result<u64, Error> {
        if self.topics.iter().any(|topic| topic.stale) {
            self.look().await?;
        }
        let mut leaders: Vec<i32> = self.places().map(|(_, _, place)| place.leader).collect();
        leaders.sort_unstable();
        leaders.dedup();
        if leaders.is_empty() {
            tokio::time::sleep(LOOK_AGAIN.min(wait)).await;
            return Ok(0);
        }
        let missing = self.topics.iter().any(|topic| topic.stale);
        let wait = if missing { wait.min(LOOK_AGAIN) } else { wait };
        let share = wait / u32::try_from(leaders.len()).unwrap_or(1);
        let mut bytes = 0;
        for leader in leaders {
            bytes += self.fetch(leader, share, each).await?;
        }
        Ok(bytes)
    }

    /// How many offsets are readable, without reading them: records, and the markers that end
    /// transactions.
    ///
    /// Errors: as [`Self::next`].
    pub async fn readable(&mut self) -> Result<u64, Error> {
        if self.topics.iter().any(|topic| topic.stale) {
            self.look().await?;
        }
        let mut sum = 0;
        for (leader, link) in &mut self.links {
            let topics = self.topics.iter().map(|topic| {
                let partitions = (0..).zip(&topic.partitions);
                let led = partitions.filter(|(_, place)| place.leader == *leader);
                ListOffsetsTopic {
                    name: topic.name.clone(),
                    partitions: led
                        .map(|(partition_index, _)| ListOffsetsPartition {
                            partition_index,
                            timestamp: END,
                            ..ListOffsetsPartition::default()
                        })
                        .collect(),
                }
            });
            let request = ListOffsetsRequest {
                replica_id: -1,
                isolation_level: Isolation::ReadCommitted.level(),
                topics: topics
                    .filter(|topic| !topic.partitions.is_empty())
                    .collect(),
                ..ListOffsetsRequest::default()
            };
            let told: ListOffsetsResponse = link.call((2, 7), &request).await?;
            for topic in told.topics {
                for partition in topic.partitions {
                    let code = partition.error_code;
                    if !code.is_ok() && !code.retriable() {
                        return Err(refused("ListOffsets", &topic.name, code));
                    }
                    sum += u64::try_from(partition.offset).unwrap_or(0);
                }
            }
        }
        Ok(sum)
    }

    fn places(&self) -> impl Iterator<Item = (&str, i32, &Place)> {
        self.topics.iter().flat_map(|topic| {
            let numbered = (0..).zip(&topic.partitions);
            numbered.map(|(number, place)| (topic.name.as_str(), number, place))
        })
    }

    /// Looks for topics that were not there, and for leaders that are new.
    async fn look(&mut self) -> Result<(), Error> {
        let missing = self.topics.iter().filter(|topic| topic.stale);
        let asked = missing.map(|topic| MetadataRequestTopic {
            name: Some(topic.name.clone()),
            ..MetadataRequestTopic::default()
        });
        let request = MetadataRequest {
            topics: Some(asked.collect()),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let told: MetadataResponse = self.bootstrap.call((4, 12), &request).await?;
        for found in told.topics {
            let led = found.partitions.iter().all(|it| it.leader_id >= 0);
            let known = self
                .topics
                .iter_mut()
                .find(|topic| Some(&topic.name) == found.name.as_ref());
            let (Some(topic), true, true) = (known, led, found.error_code.is_ok()) else {
                continue;
            };
            let mut partitions: Vec<_> = found
                .partitions
                .iter()
                .map(|it| (it.partition_index, it.leader_id))
                .collect();
            partitions.sort_unstable();
            let places = partitions
                .iter()
                .enumerate()
                .map(|(at, (_, leader))| Place {
                    leader: *leader,
                    next: topic.partitions.get(at).map_or(0, |place| place.next),
                })
                .collect();
            topic.partitions = places;
            topic.stale = false;
            for (_, leader) in partitions {
                let broker = told.brokers.iter().find(|broker| broker.node_id == leader);
                if let (Some(broker), false) = (broker, self.links.contains_key(&leader)) {
                    let port = u16::try_from(broker.port).unwrap_or_default();
                    let link = self.dialer.clone().dial(broker.host.clone(), port).await;
                    let link = link.map_err(|error| unreachable_at(&self.sink, error))?;
                    self.links.insert(leader, link);
                }
            }
        }
        Ok(())
    }

    async fn fetch(
        &mut self,
        leader: i32,
        wait: Duration,
        each: &mut dyn FnMut(usize, i64, &BatchView<'_>) -> Result<(), kafkawire::Error>,
    ) -> Result<u64, Error> {
        let topics = self.topics.iter().map(|topic| {
            let partitions = (0..).zip(&topic.partitions);
            let led = partitions.filter(|(_, place)| place.leader == leader);
            FetchTopic {
                topic: topic.name.clone(),
                partitions: led
                    .map(|(partition, place)| FetchPartition {
                        partition,
                        fetch_offset: place.next,
                        partition_max_bytes: FETCH_BYTES,
                        ..FetchPartition::default()
                    })
                    .collect(),
                ..FetchTopic::default()
            }
        });
        let request = FetchRequest {
            max_wait_ms: i32::try_from(wait.as_millis()).unwrap_or(i32::MAX),
            min_bytes: 1,
            max_bytes: FETCH_BYTES,
            isolation_level: Isolation::ReadCommitted.level(),
            topics: topics
                .filter(|topic| !topic.partitions.is_empty())
                .collect(),
            ..FetchRequest::default()
        };
        let Some(link) = self.links.get_mut(&leader) else {
            return Err(refused("Metadata", "", ErrorCode::LEADER_NOT_AVAILABLE));
        };
        // From version 13 on topics are named by id.
        let versions = up_to::<FetchRequest>(12);
        let (version, body) = link.call_raw(versions, &request).await?;
        let broken = |error| Error::Protocol {
            broker: link.broker.clone(),
            error,
        };
        let fetched =
            <FetchResponse<'_> as kafkawire::message::Message<'_>>::decode(version, &body);
        let fetched = fetched.map_err(broken)?;
        if !fetched.error_code.is_ok() {
            return Err(refused("Fetch", "", fetched.error_code));
        }
        let mut bytes = 0;
        for told in fetched.responses {
            let at = self.topics.iter().position(|it| it.name == told.topic);
            let Some((at, topic)) = at.and_then(|at| Some((at, self.topics.get_mut(at)?))) else {
                continue;
            };
            for partition in told.partitions {
                if partition.error_code.retriable() {
                    topic.stale = true;
                    continue;
                }
                if !partition.error_code.is_ok() {
                    return Err(refused("Fetch", &topic.name, partition.error_code));
                }
                let index = usize::try_from(partition.partition_index).unwrap_or(usize::MAX);
                let Some(place) = topic.partitions.get_mut(index) else {
                    continue;
                };
                let mut aborted = Aborted::new(partition.aborted_transactions.as_deref());
                for batch in Batches::new(partition.records.unwrap_or_default()) {
                    let batch = batch.map_err(broken)?;
                    let (from, header) = (place.next, batch.header());
                    place.next = from.max(header.last_offset().saturating_add(1));
                    let control = batch.control().map_err(broken)?;
                    let hidden = aborted.hides(
                        header.producer_id,
                        header.last_offset(),
                        header.attributes.transactional(),
                        control == Some(kafkawire::batch::ControlType::ABORT),
                    );
                    if control.is_none() && !hidden {
                        bytes += batch.bytes().len() as u64;
                        each(at, from, &batch).map_err(broken)?;
                    }
                }
            }
        }
        Ok(bytes)
    }
}

/// Makes topics of so many partitions, with the broker's replication; no harm where they are.
///
/// Errors: `Unreachable`, `Authentication`, `Protocol`; `Refused` with the ACL that is missing.
pub async fn create_topics(sink: &Sink, names: &[String], partitions: i32) -> Result<(), Error> {
    let mut link = dial_any(sink, &Dialer::new(sink)?).await?;
    let topics = names.iter().map(|name| CreatableTopic {
        name: name.clone(),
        num_partitions: partitions,
        replication_factor: -1,
        ..CreatableTopic::default()
    });
    let request = CreateTopicsRequest {
        topics: topics.collect(),
        timeout_ms: ADMIN_MS,
        ..CreateTopicsRequest::default()
    };
    let versions = up_to::<CreateTopicsRequest>(7);
    let told: CreateTopicsResponse = link.call(versions, &request).await?;
    for topic in told.topics {
        if !topic.error_code.is_ok() && topic.error_code != ErrorCode::TOPIC_ALREADY_EXISTS {
            return Err(refused("CreateTopics", &topic.name, topic.error_code));
        }
    }
    Ok(())
}

/// Deletes topics; no harm where there are none.
///
/// Errors: as [`create_topics`].
pub async fn delete_topics(sink: &Sink, names: &[String]) -> Result<(), Error> {
    let mut link = dial_any(sink, &Dialer::new(sink)?).await?;
    let request = DeleteTopicsRequest {
        topics: names
            .iter()
            .map(|name| DeleteTopicState {
                name: Some(name.clone()),
                ..DeleteTopicState::default()
            })
            .collect(),
        topic_names: names.to_vec(),
        timeout_ms: ADMIN_MS,
    };
    let versions = up_to::<DeleteTopicsRequest>(6);
    let told: DeleteTopicsResponse = link.call(versions, &request).await?;
    for topic in told.responses {
        if !topic.error_code.is_ok() && topic.error_code != ErrorCode::UNKNOWN_TOPIC_OR_PARTITION {
            let name = topic.name.unwrap_or_default();
            return Err(refused("DeleteTopics", &name, topic.error_code));
        }
    }
    Ok(())
}

/// The first address of the list that answers.
async fn dial_any(sink: &Sink, dialer: &Dialer) -> Result<Link, Error> {
    let mut last = None;
    for address in &sink.bootstrap {
        let (host, port) = split_address(address);
        match dialer.clone().dial(host, port).await {
            Ok(link) => return Ok(link),
            Err(error) => last = Some(unreachable_at(sink, error)),
        }
    }
    let none = DialError::Unreachable("the list is empty".to_owned());
    Err(last.unwrap_or_else(|| unreachable_at(sink, none)))
}

fn unreachable_at(sink: &Sink, error: DialError) -> Error {
    match error {
        DialError::Rejected(error) => error,
        DialError::Unreachable(reason) => Error::Unreachable {
            bootstrap: sink.bootstrap.join(","),
            reason,
        },
    }
}

fn refused(api: &'static str, topic: &str, code: ErrorCode) -> Error {
    Error::Refused {
        api,
        subject: format!("topic {topic}"),
        code,
        words: None,
    }
}
