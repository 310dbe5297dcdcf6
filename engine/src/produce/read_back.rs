//! A topic from its beginning to its end, once: how stored positions are found again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafkawire::ErrorCode;
use kafkawire::batch::{BATCH_BYTES_MAX, Batches};
use kafkawire::message::Message;
use kafkawire::message::fetch::{
    AbortedTransaction, FetchPartition, FetchRequest, FetchResponse, FetchTopic,
};
use kafkawire::message::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use kafkawire::message::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseTopic,
};

use super::Error;
use super::cluster::split_address;
use super::link::{DialError, Dialer, Link, up_to};
use crate::config::Sink;
use crate::mutant::{self, Mutant};

/// Which records are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Every record, whatever becomes of its transaction.
    ReadUncommitted,
    /// Records of no transaction, or of a committed one. An open transaction hides everything
    /// behind its first record, and is waited for: our own predecessor's ends when its successor is
    /// established, a stranger's that was killed when its time is over.
    ReadCommitted,
}

impl Isolation {
    pub(super) fn level(self) -> i8 {
        i8::from(self == Self::ReadCommitted)
    }
}

/// A record as it lies in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Where it lies.
    pub partition: i32,
    /// Its place there.
    pub offset: i64,
    /// Milliseconds since 1970-01-01 UTC.
    pub timestamp_ms: i64,
    /// Null where the producer gave none.
    pub key: Option<Vec<u8>>,
    /// Null in a tombstone.
    pub value: Option<Vec<u8>>,
}

/// Leaders change, topics are just being created: so long it is tried again.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(100);
/// A transaction whose producer is gone ends by itself: Kafka's usual `transaction.timeout.ms`, and
/// the ten seconds within which the broker looks.
const OPEN_TRANSACTION_MAX: Duration = Duration::from_secs(75);
/// What one fetch may bring; a batch that is larger comes whole all the same.
const FETCH_BYTES: i32 = 8 << 20;
/// How long the broker may wait for data that should be there.
const FETCH_WAIT_MS: i32 = 500;
/// ListOffsets' words for the first offset, and for the one behind the last.
const START: i64 = -2;
const END: i64 = -1;

/// All records of `topic` that exist now, partition after partition in the order of their offsets;
/// none when there is no such topic, which is not created by asking.
///
/// Errors: `Unreachable`, `Authentication`, `Protocol`; `Refused` with the ACL that is missing.
pub async fn read_topic(
    sink: &Sink,
    topic: &str,
    isolation: Isolation,
) -> Result<Vec<StoredRecord>, Error> {
    let mut reader = TopicReader {
        sink,
        dialer: Dialer::new(sink)?,
        topic,
        isolation,
        links: BTreeMap::new(),
    };
    let deadline = crate::net::now() + PATIENCE;
    loop {
        match reader.read().await {
            Err(error) if error.retriable() && crate::net::now() < deadline => {
                reader.links.clear();
                tokio::time::sleep(PAUSE).await;
            }
            result => return result,
        }
    }
}

struct TopicReader<'s> {
    sink: &'s Sink,
    dialer: Dialer,
    topic: &'s str,
    isolation: Isolation,
    links: BTreeMap<i32, Link>,
}

impl TopicReader<'_> {
    async fn read(&mut self) -> Result<Vec<StoredRecord>, Error> {
        let mut link = self.bootstrap().await?;
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                name: Some(self.topic.to_owned()),
                ..MetadataRequestTopic::default()
            }]),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let metadata: MetadataResponse = link.call((4, 12), &request).await?;
        let Some(topic) = metadata.topics.first() else {
            return Ok(Vec::new());
        };
        match topic.error_code {
            ErrorCode::NONE => {}
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => return Ok(Vec::new()),
            code => return Err(self.refused("Metadata", code)),
        }
        let mut records = Vec::new();
        for partition in partitions_by_number(topic) {
            let leader = topic
                .partitions
                .iter()
                .find(|it| it.partition_index == partition);
            let leader = leader.map_or(-1, |it| it.leader_id);
            let broker = metadata
                .brokers
                .iter()
                .find(|broker| broker.node_id == leader);
            let Some(broker) = broker else {
                return Err(self.refused("Metadata", ErrorCode::LEADER_NOT_AVAILABLE));
            };
            if !self.links.contains_key(&leader) {
                let port = u16::try_from(broker.port).unwrap_or_default();
                let link = self.dialer.clone().dial(broker.host.clone(), port).await;
                let link = link.map_err(|error| unreachable_at(&broker.host, error))?;
                self.links.insert(leader, link);
            }
            self.read_partition(leader, partition, &mut records).await?;
        }
        Ok(records)
    }

    /// The first address of the list that answers.
    async fn bootstrap(&self) -> Result<Link, Error> {
        let mut last = None;
        for address in &self.sink.bootstrap {
            let (host, port) = split_address(address);
            match self.dialer.clone().dial(host, port).await {
                Ok(link) => return Ok(link),
                Err(DialError::Rejected(error)) => return Err(error),
                Err(DialError::Unreachable(reason)) => last = Some(format!("{address}: {reason}")),
            }
        }
        let reason = last.unwrap_or_else(|| "the list is empty".to_owned());
        Err(Error::Unreachable {
            bootstrap: self.sink.bootstrap.join(","),
            reason,
        })
    }

    async fn read_partition(
        &mut self,
        leader: i32,
        partition: i32,
        records: &mut Vec<StoredRecord>,
    ) -> Result<(), Error> {
        let mut position = self
            .offset(leader, partition, START, self.isolation)
            .await?;
        let end = self.end(leader, partition).await?;
        while position < end {
            let (version, body) = self.fetch(leader, partition, position).await?;
            let broken = |error| Error::Protocol {
                broker: self.topic.to_owned(),
                error,
            };
            let fetched = FetchResponse::decode(version, &body).map_err(broken)?;
            let topics = fetched.responses.iter();
            let data = topics.flat_map(|topic| &topic.partitions).next();
            let code = data.map_or(fetched.error_code, |data| data.error_code);
            if !code.is_ok() {
                return Err(self.refused("Fetch", code));
            }
            let Some(data) = data else { continue };
            let mut aborted = Aborted::new(data.aborted_transactions.as_deref());
            let mut next = position;
            for batch in Batches::new(data.records.unwrap_or_default()) {
                let batch = batch.map_err(broken)?;
                let header = batch.header();
                next = next.max(header.last_offset() + 1);
                let control = batch.control().map_err(broken)?;
                let skip = aborted.hides(
                    header.producer_id,
                    header.last_offset(),
                    header.attributes.transactional(),
                    control == Some(kafkawire::batch::ControlType::ABORT),
                );
                if control.is_some() || skip {
                    continue;
                }
                let mut plain = Vec::new();
                for record in batch.records(&mut plain, BATCH_BYTES_MAX).map_err(broken)? {
                    let record = record.map_err(broken)?;
                    if record.offset < position || record.offset >= end {
                        continue;
                    }
                    records.push(StoredRecord {
                        partition,
                        offset: record.offset,
                        timestamp_ms: record.timestamp_ms,
                        key: record.key.map(<[u8]>::to_vec),
                        value: record.value.map(<[u8]>::to_vec),
                    });
                }
            }
            position = next;
        }
        Ok(())
    }

    /// Where reading stops: behind the last record there is now, once every transaction before it
    /// has ended. To stop at an open one would be to overlook what others have committed since.
    async fn end(&mut self, leader: i32, partition: i32) -> Result<i64, Error> {
        let end = self
            .offset(leader, partition, END, Isolation::ReadUncommitted)
            .await?;
        if self.isolation == Isolation::ReadUncommitted {
            return Ok(end);
        }
        let deadline = crate::net::now() + OPEN_TRANSACTION_MAX;
        let mut told = false;
        while self
            .offset(leader, partition, END, Isolation::ReadCommitted)
            .await?
            < end
        {
            if crate::net::now() >= deadline {
                return Err(self.refused("ListOffsets", ErrorCode::CONCURRENT_TRANSACTIONS));
            }
            if !std::mem::replace(&mut told, true) {
                tracing::info!(
                    topic = self.topic,
                    partition,
                    "waiting for a transaction that another producer has open"
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(end)
    }

    async fn offset(
        &mut self,
        leader: i32,
        partition: i32,
        what: i64,
        isolation: Isolation,
    ) -> Result<i64, Error> {
        let request = ListOffsetsRequest {
            replica_id: -1,
            isolation_level: isolation.level(),
            topics: vec![ListOffsetsTopic {
                name: self.topic.to_owned(),
                partitions: vec![ListOffsetsPartition {
                    partition_index: partition,
                    timestamp: what,
                    ..ListOffsetsPartition::default()
                }],
            }],
            ..ListOffsetsRequest::default()
        };
        let told: ListOffsetsResponse = self.link(leader)?.call((2, 7), &request).await?;
        let mut results = told.topics.iter().flat_map(|topic| &topic.partitions);
        match results.next() {
            Some(result) if result.error_code.is_ok() => Ok(result.offset),
            Some(result) => Err(self.refused("ListOffsets", result.error_code)),
            None => Err(self.refused("ListOffsets", ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)),
        }
    }

    async fn fetch(
        &mut self,
        leader: i32,
        partition: i32,
        position: i64,
    ) -> Result<(i16, Vec<u8>), Error> {
        let request = FetchRequest {
            max_wait_ms: FETCH_WAIT_MS,
            min_bytes: 1,
            max_bytes: FETCH_BYTES,
            isolation_level: self.isolation.level(),
            topics: vec![FetchTopic {
                topic: self.topic.to_owned(),
                partitions: vec![FetchPartition {
                    partition,
                    fetch_offset: position,
                    partition_max_bytes: FETCH_BYTES,
                    ..FetchPartition::default()
                }],
                ..FetchTopic::default()
            }],
            ..FetchRequest::default()
        };
        // From version 13 on topics are named by id.
        self.link(leader)?
            .call_raw(up_to::<FetchRequest>(12), &request)
            .await
    }

    fn link(&mut self, leader: i32) -> Result<&mut Link, Error> {
        let gone = self.refused("Metadata", ErrorCode::LEADER_NOT_AVAILABLE);
        self.links.get_mut(&leader).ok_or(gone)
    }

    fn refused(&self, api: &'static str, code: ErrorCode) -> Error {
        Error::Refused {
            api,
            subject: format!("topic {}", self.topic),
            code,
            words: None,
        }
    }
}

fn partitions_by_number(topic: &MetadataResponseTopic) -> BTreeSet<i32> {
    topic
        .partitions
        .iter()
        .map(|partition| partition.partition_index)
        .collect()
}

fn unreachable_at(host: &str, error: DialError) -> Error {
    match error {
        DialError::Rejected(error) => error,
        DialError::Unreachable(reason) => Error::Unreachable {
            bootstrap: host.to_owned(),
            reason,
        },
    }
}

/// Which batches of a fetch belong to aborted transactions.
pub(super) struct Aborted {
    /// By first offset, the last one first.
    to_come: Vec<AbortedTransaction>,
    open: BTreeSet<i64>,
}

impl Aborted {
    pub(super) fn new(transactions: Option<&[AbortedTransaction]>) -> Self {
        let mut to_come = transactions.unwrap_or_default().to_vec();
        to_come.sort_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
        Self {
            to_come,
            open: BTreeSet::new(),
        }
    }

    /// Whether a committed read leaves the next batch out.
    pub(super) fn hides(
        &mut self,
        producer_id: i64,
        last_offset: i64,
        transactional: bool,
        abort_marker: bool,
    ) -> bool {
        while let Some(first) = self.to_come.pop_if(|next| next.first_offset <= last_offset) {
            self.open.insert(first.producer_id);
        }
        if mutant::is(Mutant::IgnoreAbort) {
            return false;
        }
        if abort_marker {
            self.open.remove(&producer_id);
            return true;
        }
        transactional && self.open.contains(&producer_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aborted_transaction_hides_its_batches_until_its_marker() {
        let mut aborted = Aborted::new(Some(&[
            AbortedTransaction {
                producer_id: 7,
                first_offset: 20,
            },
            AbortedTransaction {
                producer_id: 7,
                first_offset: 3,
            },
        ]));
        assert!(!aborted.hides(7, 2, true, false), "before it began");
        assert!(aborted.hides(7, 5, true, false));
        assert!(!aborted.hides(8, 6, true, false), "another producer");
        assert!(!aborted.hides(7, 7, false, false), "no transaction");
        assert!(aborted.hides(7, 8, true, true), "the marker");
        assert!(
            !aborted.hides(7, 9, true, false),
            "the next one was committed"
        );
        assert!(aborted.hides(7, 21, true, false));
    }
}
