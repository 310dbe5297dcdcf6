//! The last record of a key in a topic, which is read once: how a stored position is found again.

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
use kafkawire::message::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};

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

/// Leaders change, topics are just being created: so long it is tried again.
const PATIENCE: Duration = Duration::from_secs(15);
/// The first pause, and what its doubling ends with. A topic that was created a moment ago has its
/// leaders in a few milliseconds.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(100);
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

/// The value of the last record of `topic` with this key, as far as there are records now: partition
/// after partition in the order of their offsets. The inner None is a tombstone; the outer one says
/// that there is no such record, or no such topic, which is not created by asking.
///
/// Errors: `Unreachable`, `Authentication`, `Protocol`; `Refused` with the ACL that is missing.
pub async fn last_value(
    sink: &Sink,
    topic: &str,
    key: &[u8],
    isolation: Isolation,
) -> Result<Option<Option<Vec<u8>>>, Error> {
    let mut reader = TopicReader {
        sink,
        dialer: Dialer::new(sink)?,
        topic,
        key,
        isolation,
        links: BTreeMap::new(),
        found: None,
    };
    let deadline = crate::net::now() + PATIENCE;
    let mut pause = PAUSE_MIN;
    loop {
        match reader.read().await {
            Err(error) if error.retriable() && crate::net::now() < deadline => {
                reader.links.clear();
                reader.found = None;
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
            result => return result.map(|()| reader.found),
        }
    }
}

struct TopicReader<'s> {
    sink: &'s Sink,
    dialer: Dialer,
    topic: &'s str,
    key: &'s [u8],
    isolation: Isolation,
    links: BTreeMap<i32, Link>,
    found: Option<Option<Vec<u8>>>,
}

/// Where records lie: first offset, and the one behind the last.
type Extents = BTreeMap<i32, (i64, i64)>;

impl TopicReader<'_> {
    async fn read(&mut self) -> Result<(), Error> {
        let mut bootstrap = self.bootstrap().await?;
        let request = MetadataRequest {
            topics: Some(vec![MetadataRequestTopic {
                name: Some(self.topic.to_owned()),
                ..MetadataRequestTopic::default()
            }]),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let metadata: MetadataResponse = bootstrap.call((4, 12), &request).await?;
        let mut bootstrap = Some(bootstrap);
        let Some(topic) = metadata.topics.first() else {
            return Ok(());
        };
        match topic.error_code {
            ErrorCode::NONE => {}
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => return Ok(()),
            code => return Err(self.refused("Metadata", code)),
        }
        let mut led: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for partition in &topic.partitions {
            let of_leader = led.entry(partition.leader_id).or_default();
            of_leader.push(partition.partition_index);
        }
        let mut extents = BTreeMap::new();
        for (&leader, partitions) in &led {
            let broker = metadata
                .brokers
                .iter()
                .find(|broker| broker.node_id == leader);
            let Some(broker) = broker else {
                return Err(self.refused("Metadata", ErrorCode::LEADER_NOT_AVAILABLE));
            };
            let address = format!("{}:{}", broker.host, broker.port);
            let link = match bootstrap.take_if(|link| link.broker == address) {
                Some(link) => link,
                None => {
                    let port = u16::try_from(broker.port).unwrap_or_default();
                    let link = self.dialer.clone().dial(broker.host.clone(), port).await;
                    link.map_err(|error| unreachable_at(&broker.host, error))?
                }
            };
            self.links.insert(leader, link);
            let extent = self.extents(leader, partitions).await?;
            let placed = extent.into_iter().map(|(at, range)| (at, (leader, range)));
            extents.extend(placed);
        }
        for (partition, (leader, (start, end))) in extents {
            self.read_partition(leader, partition, start, end).await?;
        }
        Ok(())
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
        start: i64,
        end: i64,
    ) -> Result<(), Error> {
        let mut position = start;
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
                    if record.key == Some(self.key) {
                        self.found = Some(record.value.map(<[u8]>::to_vec));
                    }
                }
            }
            position = next;
        }
        Ok(())
    }

    /// Where the partitions of a leader begin, and where reading stops: behind the last record there
    /// is now, once every transaction before it has ended. To stop at an open one would be to
    /// overlook what others have committed since.
    async fn extents(&mut self, leader: i32, partitions: &[i32]) -> Result<Extents, Error> {
        let starts = self
            .offsets(leader, partitions, START, self.isolation)
            .await?;
        let ends = self
            .offsets(leader, partitions, END, Isolation::ReadUncommitted)
            .await?;
        if self.isolation == Isolation::ReadCommitted {
            self.wait_for_open(leader, &ends).await?;
        }
        let extent = |(partition, start)| {
            let end = ends.get(&partition).copied().unwrap_or(start);
            (partition, (start, end))
        };
        Ok(starts.into_iter().map(extent).collect())
    }

    /// Returns once no transaction is open before these ends.
    async fn wait_for_open(&mut self, leader: i32, ends: &BTreeMap<i32, i64>) -> Result<(), Error> {
        let deadline = crate::net::now() + OPEN_TRANSACTION_MAX;
        let mut open: Vec<i32> = ends.keys().copied().collect();
        let mut told = false;
        loop {
            let stable = self
                .offsets(leader, &open, END, Isolation::ReadCommitted)
                .await?;
            open.retain(|partition| stable.get(partition) < ends.get(partition));
            if open.is_empty() {
                return Ok(());
            }
            if crate::net::now() >= deadline {
                return Err(self.refused("ListOffsets", ErrorCode::CONCURRENT_TRANSACTIONS));
            }
            if !std::mem::replace(&mut told, true) {
                tracing::info!(
                    topic = self.topic,
                    partitions = ?open,
                    "waiting for a transaction that another producer has open"
                );
            }
            tokio::time::sleep(PAUSE_MAX).await;
        }
    }

    /// One offset of each of a leader's partitions.
    async fn offsets(
        &mut self,
        leader: i32,
        partitions: &[i32],
        what: i64,
        isolation: Isolation,
    ) -> Result<BTreeMap<i32, i64>, Error> {
        let asked = partitions.iter().map(|&partition| ListOffsetsPartition {
            partition_index: partition,
            timestamp: what,
            ..ListOffsetsPartition::default()
        });
        let request = ListOffsetsRequest {
            replica_id: -1,
            isolation_level: isolation.level(),
            topics: vec![ListOffsetsTopic {
                name: self.topic.to_owned(),
                partitions: asked.collect(),
            }],
            ..ListOffsetsRequest::default()
        };
        let told: ListOffsetsResponse = self.link(leader)?.call((2, 7), &request).await?;
        let mut offsets = BTreeMap::new();
        for result in told.topics.iter().flat_map(|topic| &topic.partitions) {
            if !result.error_code.is_ok() {
                return Err(self.refused("ListOffsets", result.error_code));
            }
            offsets.insert(result.partition_index, result.offset);
        }
        if partitions.iter().all(|asked| offsets.contains_key(asked)) {
            return Ok(offsets);
        }
        Err(self.refused("ListOffsets", ErrorCode::UNKNOWN_TOPIC_OR_PARTITION))
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
