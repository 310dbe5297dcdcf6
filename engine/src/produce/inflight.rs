//! Requests on the wire: sealed batches in order, answers matched to them, failures sent again.
//!
//! Per partition, the batches in flight are a prefix of those that are sealed. When one fails, the
//! partition recovers: nothing of it is sent until all in flight have come back, then everything
//! that is left goes out again in its old order with its old sequences.

use std::time::Duration;

use kafkawire::ErrorCode;
use kafkawire::connection::{Answer, Connection};
use kafkawire::error_code::Action;
use kafkawire::message::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use kafkawire::message::produce::{
    PartitionProduceResponse, ProduceHead, ProduceResponse, Splice, put_spliced,
};
use kafkawire::message::{ApiKey, Request};

use super::batches::{BatchId, Place, Stage, TopicId};
use super::cluster::millis;
use super::{Error, NodeId, Producer};
use crate::mutant::{self, Mutant};

/// Bytes for one socket: what is in `bytes`, with a batch spliced in at each offset.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Everything but the batches.
    pub bytes: Vec<u8>,
    /// Ascending offsets into `bytes`, and the batch that goes there.
    pub splices: Vec<(usize, BatchId)>,
    cuts: Vec<usize>,
}

/// A request whose answer is to come.
#[derive(Debug)]
pub(super) struct InFlight {
    pub node: NodeId,
    pub correlation: i32,
    pub sent_at: Duration,
    pub what: What,
}

/// What was asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum What {
    Metadata,
    CreateTopics(Vec<TopicId>),
    InitProducerId,
    FindCoordinator,
    AddPartitions(Vec<Place>),
    EndTxn { committed: bool },
    Produce(Vec<BatchId>),
}

/// Who we are to the brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    /// Not idempotent: one batch of a partition in flight keeps the order, retries may repeat.
    Anonymous,
    /// To be asked for, not before.
    Wanted { at: Duration },
    /// Producer id and epoch.
    Known(i64, i16),
}

/// An idempotent producer may have no more than this in flight; the broker remembers no more.
pub(super) const IDEMPOTENT_IN_FLIGHT_MAX: usize = 5;
/// An unknown server error is not retriable in Kafka's book. Ours: so many times, since repeating
/// an idempotent batch is safe.
const UNKNOWN_ERRORS_MAX: u32 = 8;
/// How long a batch of a transaction gathers records.
const GATHER: Duration = Duration::from_millis(5);

impl Producer {
    /// Whether a request of this kind is in flight.
    pub(super) fn is_asked(&self, what: &What) -> bool {
        self.requests.iter().any(|request| request.what == *what)
    }

    /// The version to speak with a node.
    pub(super) fn version(
        &self,
        node: NodeId,
        link: &Connection,
        api: ApiKey,
        ours: (i16, i16),
    ) -> Result<i16, Error> {
        link.version(api, ours)
            .map_err(|error| self.protocol(node, error))
    }

    pub(super) fn protocol(&self, node: NodeId, error: kafkawire::Error) -> Error {
        Error::Protocol {
            broker: self.cluster.name(node),
            error,
        }
    }

    /// Appends a request of the control plane and remembers it.
    pub(super) fn put<'b, R: Request<'b>>(
        &mut self,
        node: NodeId,
        link: &mut Connection,
        version: i16,
        request: &R,
        what: What,
        out: &mut Outgoing,
    ) -> Result<(), Error> {
        let correlation = link.send_at(version, request, &mut out.bytes);
        let correlation = correlation.map_err(|error| self.protocol(node, error))?;
        self.requests.push(InFlight {
            node,
            correlation,
            sent_at: self.now,
            what,
        });
        Ok(())
    }

    /// Asks for a producer id, where no transaction does it.
    pub(super) fn put_identity(
        &mut self,
        node: NodeId,
        link: &mut Connection,
        out: &mut Outgoing,
    ) -> Result<bool, Error> {
        let Identity::Wanted { at } = self.identity else {
            return Ok(false);
        };
        if self.transaction.is_some() || self.now < at || self.is_asked(&What::InitProducerId) {
            return Ok(false);
        }
        let request = InitProducerIdRequest {
            transaction_timeout_ms: i32::MAX,
            producer_id: -1,
            producer_epoch: -1,
            ..InitProducerIdRequest::default()
        };
        let version = self.version(node, link, ApiKey::INIT_PRODUCER_ID, (0, 4))?;
        self.put(node, link, version, &request, What::InitProducerId, out)?;
        Ok(true)
    }

    pub(super) fn take_identity(&mut self, answer: &Answer<'_>) -> Result<(), kafkawire::Error> {
        let told: InitProducerIdResponse = answer.decode()?;
        if self.take_abort("InitProducerId", told.error_code) {
            return Ok(());
        }
        match told.error_code {
            ErrorCode::NONE => {
                self.identity = Identity::Known(told.producer_id, told.producer_epoch);
                self.identity_given();
                self.failures = 0;
            }
            // Before 2.8 idempotence was a right of its own. Java's producer stops here; order can
            // be kept without it.
            ErrorCode::CLUSTER_AUTHORIZATION_FAILED if self.transaction.is_none() => {
                tracing::warn!(
                    "no ACL IdempotentWrite on the cluster: batches go out one at a time, and a \
                     retry may repeat records"
                );
                self.identity = Identity::Anonymous;
            }
            code => self.identity_refused(code),
        }
        Ok(())
    }

    /// Appends the next Produce request to a leader. Whether there was anything to send.
    pub(super) fn put_produce(
        &mut self,
        node: NodeId,
        link: &mut Connection,
        out: &mut Outgoing,
    ) -> Result<bool, Error> {
        if node < 0 || matches!(self.identity, Identity::Wanted { .. }) || !self.may_produce() {
            return Ok(false);
        }
        let on_wire =
            |request: &&InFlight| request.node == node && matches!(request.what, What::Produce(_));
        let on_wire = self.requests.iter().filter(on_wire).count();
        if on_wire >= self.in_flight_max() {
            return Ok(false);
        }
        let patience = self.patience(on_wire > 0);
        // With a thousand partitions, none is looked at unless one of them has something to send.
        debug_assert_eq!(self.batches.unsent, self.batches.count_unsent());
        // Zero: one of them is full.
        let due =
            |&born: &Duration| born.is_zero() || patience.is_some_and(|it| self.now >= born + it);
        if self.batches.unsent == 0 && !self.batches.oldest_open.as_ref().is_some_and(due) {
            return Ok(false);
        }
        let mut ids = self.spare_ids.pop().unwrap_or_default();
        self.choose(node, patience, &mut ids);
        self.batches.find_oldest_open();
        if ids.is_empty() {
            self.spare_ids.push(ids);
            return Ok(false);
        }
        let version = self.produce_version(node, link)?;
        self.transaction_begins();
        let acks = self.settings.acks;
        let correlation = if acks == 0 {
            link.unanswered()
        } else {
            link.expect(ApiKey::PRODUCE, version)
        };
        let batches = &self.batches;
        ids.sort_by_key(|&id| batches.sealed(id).map(|sealed| sealed.place));
        let splices = ids
            .iter()
            .filter_map(|&id| batches.sealed(id))
            .map(|sealed| {
                let topic = batches.topic(sealed.place.0);
                Splice {
                    topic: &topic.name,
                    topic_id: topic.id,
                    partition: sealed.place.1,
                    size: sealed.batch.bytes().len(),
                }
            });
        let head = ProduceHead {
            version,
            correlation,
            client_id: &self.settings.client_id,
            transactional_id: self
                .transaction
                .as_ref()
                .map(|transaction| transaction.id.as_str()),
            acks,
            timeout_ms: millis(self.settings.request_timeout),
        };
        out.cuts.clear();
        put_spliced(&head, splices, &mut out.bytes, &mut out.cuts);
        out.splices
            .extend(out.cuts.iter().copied().zip(ids.iter().copied()));
        for &id in &ids {
            let Some(sealed) = self.batches.sealed_mut(id) else {
                continue;
            };
            sealed.in_flight = true;
            sealed.attempts += 1;
            let place = sealed.place;
            self.batches.partition_mut(place).in_flight += 1;
            self.batches.unsent -= 1;
        }
        self.note_first_produce();
        let what = What::Produce(ids);
        self.requests.push(InFlight {
            node,
            correlation,
            sent_at: self.now,
            what,
        });
        Ok(true)
    }

    /// How long an open batch waits for more. While something is on the wire to its leader, until
    /// that is answered (none) or the batch is full: a broker has as much to do for a batch with a
    /// few records as for one with hundreds, and of a thousand partitions each would get a few.
    /// Otherwise as long as configured; and of a transaction nothing can be read before its commit,
    /// which closes its batches.
    pub(super) fn patience(&self, busy: bool) -> Option<Duration> {
        let linger = self.settings.linger;
        if busy {
            None
        } else if self.is_full() {
            Some(Duration::ZERO)
        } else if self.transaction.is_some() {
            Some(linger.max(GATHER))
        } else {
            Some(linger)
        }
    }

    /// The batches that may go to `node` in one request: of each of its partitions the next.
    fn choose(&mut self, node: NodeId, patience: Option<Duration>, ids: &mut Vec<BatchId>) {
        let per_partition = match self.identity {
            Identity::Known(..) => self.in_flight_max(),
            _ => 1,
        };
        let (count, mut bytes) = (self.batches.active.len(), 0);
        self.turn = self.turn.wrapping_add(1);
        for step in 0..count {
            let place = self.batches.active[(self.turn + step) % count];
            let partition = self.batches.partition_mut(place);
            if partition.leader != node || self.now < partition.retry_at {
                continue;
            }
            if partition.recovering && partition.in_flight == 0 {
                partition.recovering = false;
            }
            let most = if partition.proven {
                per_partition
                    .saturating_sub(partition.overtaking.len())
                    .max(1)
            } else {
                1
            };
            if partition.recovering || partition.in_flight >= most {
                continue;
            }
            self.adopt_identity(place);
            if self.batches.partition(place).sealed.len() == self.batches.partition(place).in_flight
            {
                if !self.batches.is_ripe(place, patience) {
                    continue;
                }
                self.batches.seal(place);
            }
            let partition = self.batches.partition(place);
            let Some(&id) = partition.sealed.get(partition.in_flight) else {
                continue;
            };
            let Some(sealed) = self.batches.sealed(id) else {
                continue;
            };
            if !self.may_send(place, sealed.segment) {
                continue;
            }
            let size = sealed.batch.bytes().len();
            if !ids.is_empty() && bytes + size > self.settings.request_bytes_max {
                continue;
            }
            bytes += size;
            ids.push(id);
        }
    }

    /// Gives a partition's batches the current producer identity, once none of them can be in the
    /// log under the old one.
    fn adopt_identity(&mut self, place: Place) {
        let Identity::Known(id, epoch) = self.identity else {
            return;
        };
        let partition = self.batches.partition(place);
        if partition.identity == (id, epoch) || partition.in_flight > 0 {
            return;
        }
        let untried = |&id: &BatchId| self.batches.sealed(id).is_none_or(|it| it.attempts == 0);
        if partition.reset || partition.sealed.iter().all(untried) {
            self.batches.restamp(place, (id, epoch));
            self.batches.partition_mut(place).reset = false;
        }
    }

    fn in_flight_max(&self) -> usize {
        match self.identity {
            Identity::Anonymous => self.settings.in_flight_max.max(1),
            _ => self
                .settings
                .in_flight_max
                .clamp(1, IDEMPOTENT_IN_FLIGHT_MAX),
        }
    }

    fn produce_version(&self, node: NodeId, link: &Connection) -> Result<i16, Error> {
        // zstd is not understood below version 7; version 12 adds partitions to a transaction.
        let zstd = self.settings.compression == crate::config::Compression::Zstd;
        let implicit = self
            .transaction
            .as_ref()
            .is_some_and(|transaction| transaction.implicit);
        let lowest = if implicit {
            12
        } else if zstd {
            7
        } else {
            3
        };
        self.version(
            node,
            link,
            ApiKey::PRODUCE,
            (lowest, if implicit { 12 } else { 11 }),
        )
    }

    /// The answer, if any, will not come: everything on the connection must be asked again.
    pub(super) fn forget_requests(&mut self, node: NodeId) {
        let mut at = 0;
        while at < self.requests.len() {
            if self.requests[at].node != node {
                at += 1;
                continue;
            }
            match self.requests.remove(at).what {
                What::Produce(ids) if mutant::is(Mutant::DropAtCut) => self.take_for_written(ids),
                What::Produce(ids) => {
                    for &id in &ids {
                        self.again(id, Duration::ZERO);
                    }
                    self.keep_ids(ids);
                }
                What::Metadata => self.cluster.refresh(self.now, Duration::ZERO),
                What::CreateTopics(_)
                | What::InitProducerId
                | What::FindCoordinator
                | What::AddPartitions(_) => {}
                What::EndTxn { .. } => self.lost_end(),
            }
        }
    }

    pub(super) fn take_produce(
        &mut self,
        ids: Vec<BatchId>,
        answer: &Answer<'_>,
    ) -> Result<(), kafkawire::Error> {
        let told: ProduceResponse<'_> = answer.decode()?;
        for endpoint in &told.node_endpoints {
            self.cluster
                .add(endpoint.node_id, endpoint.host.to_owned(), endpoint.port);
        }
        self.take_first_produce(&ids);
        // Answers come in the order of the request, mostly.
        let mut next = 0;
        for topic in &told.responses {
            let Some(topic_id) = self.batches.by_name(topic.name) else {
                continue;
            };
            for result in &topic.partition_responses {
                let place = (topic_id, result.index);
                let here = |id: &&BatchId| {
                    self.batches
                        .sealed(**id)
                        .is_some_and(|it| it.in_flight && it.place == place)
                };
                let at = match ids.get(next).filter(here) {
                    Some(_) => Some(next),
                    None => ids.iter().position(|id| here(&id)),
                };
                if let Some(at) = at {
                    next = at + 1;
                    self.take_result(ids[at], place, result);
                }
            }
        }
        // What the broker left out has no answer.
        for &id in &ids {
            if self
                .batches
                .sealed(id)
                .is_some_and(|sealed| sealed.in_flight)
            {
                self.again(id, self.settings.retry_backoff);
            }
        }
        self.keep_ids(ids);
        Ok(())
    }

    fn take_result(&mut self, id: BatchId, place: Place, result: &PartitionProduceResponse<'_>) {
        let code = result.error_code;
        let words = result.error_message.map(str::to_owned);
        match code.action() {
            Action::Accept => {
                let partition = self.batches.partition_mut(place);
                partition.in_flight -= 1;
                partition.acknowledged_offset =
                    partition.acknowledged_offset.max(result.base_offset);
                if partition.sealed.front() != Some(&id)
                    && let Some(sealed) = self.batches.sealed(id)
                {
                    let sequence = sealed.stamp.base_sequence;
                    self.batches.partition_mut(place).overtaking.push(sequence);
                }
                self.batches.acknowledge(id);
                self.batches.count_overtaking(place);
            }
            Action::Refresh => {
                let partition = self.batches.partition_mut(place);
                let hint = &result.current_leader;
                let moved = hint.leader_id >= 0 && hint.leader_epoch > partition.leader_epoch;
                let backoff = if moved {
                    partition.leader = hint.leader_id;
                    partition.leader_epoch = hint.leader_epoch;
                    Duration::ZERO
                } else {
                    self.settings.retry_backoff
                };
                if code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION {
                    let topic = self.batches.topic_mut(place.0);
                    if topic.stage == Stage::Known {
                        topic.stage = Stage::Unknown { since: self.now };
                    }
                }
                self.cluster.refresh(self.now, backoff);
                self.again(id, backoff);
            }
            Action::BackOff | Action::FindCoordinator | Action::Rebootstrap => {
                self.again(id, self.settings.retry_backoff);
            }
            Action::Split => self.split(id, place),
            Action::Producer | Action::Stop => self.take_disagreement(id, place, code, result),
            Action::Authorization | Action::Authentication | Action::Fail => {
                let attempts = self.batches.sealed(id).map_or(0, |sealed| sealed.attempts);
                let again = code == ErrorCode::UNKNOWN_SERVER_ERROR
                    && matches!(self.identity, Identity::Known(..))
                    && attempts <= UNKNOWN_ERRORS_MAX;
                self.again(id, self.settings.retry_backoff);
                if !again {
                    self.refuse("Produce", place, code, words);
                }
            }
        }
    }

    /// The log and we disagree about sequences, epochs or the transaction.
    fn take_disagreement(
        &mut self,
        id: BatchId,
        place: Place,
        code: ErrorCode,
        result: &PartitionProduceResponse<'_>,
    ) {
        let first = self.batches.partition(place).sealed.front() == Some(&id);
        let acknowledged = self.batches.partition(place).acknowledged_offset;
        self.again(id, Duration::ZERO);
        match code {
            // An earlier batch failed, and this one with it; or the broker cannot tell.
            ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER if !first => {}
            ErrorCode::UNKNOWN_PRODUCER_ID if result.log_start_offset < 0 => {}
            _ if self.transaction.is_some() => self.doom(Error::Refused {
                api: "Produce",
                subject: self.subject(place),
                code,
                words: result.error_message.map(str::to_owned),
            }),
            ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER | ErrorCode::UNKNOWN_PRODUCER_ID => {
                if code == ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER
                    || acknowledged >= result.log_start_offset
                {
                    let partition = self.subject(place);
                    tracing::warn!(
                        %code, partition,
                        "the broker misses records before this batch; going on with a new epoch"
                    );
                }
                self.next_epoch(place);
            }
            ErrorCode::INVALID_PRODUCER_EPOCH | ErrorCode::INVALID_PRODUCER_ID_MAPPING => {
                self.batches.partition_mut(place).reset = true;
                self.identity = Identity::Wanted { at: self.now };
            }
            code => self.refuse("Produce", place, code, None),
        }
    }

    /// Begins the partition's sequences again under the next epoch, which needs no request.
    fn next_epoch(&mut self, place: Place) {
        let partition = self.batches.partition_mut(place);
        partition.reset = true;
        let stale = partition.identity;
        match self.identity {
            Identity::Known(id, epoch) if stale == (id, epoch) => {
                self.identity = match epoch.checked_add(1) {
                    Some(epoch) => Identity::Known(id, epoch),
                    None => Identity::Wanted { at: self.now },
                };
            }
            // The current identity is newer than the partition's: that will do.
            _ => {}
        }
    }

    fn split(&mut self, id: BatchId, place: Place) {
        let bytes = self.batches.plain_bytes(id);
        self.again(id, Duration::ZERO);
        // What was sealed had fitted a builder, whose bound is this.
        let plain_bytes_max = kafkawire::batch::BATCH_BYTES_MAX;
        if !self.batches.split(id, plain_bytes_max) {
            let topic = self.batches.topic(place.0).name.clone();
            self.doom(Error::RecordTooLarge {
                topic,
                bytes,
                max: None,
            });
        }
    }

    /// The batch goes out again, in its place, after a while.
    fn again(&mut self, id: BatchId, backoff: Duration) {
        let Some(sealed) = self.batches.sealed_mut(id) else {
            return;
        };
        if !sealed.in_flight {
            return;
        }
        sealed.in_flight = false;
        let place = sealed.place;
        self.batches.unsent += 1;
        let failures = self.batches.partition(place).failures;
        let wait = self.backoff(backoff, failures);
        let now = self.now;
        let partition = self.batches.partition_mut(place);
        partition.in_flight -= 1;
        partition.recovering = true;
        partition.failures = failures.saturating_add(1);
        partition.retry_at = partition.retry_at.max(now + wait);
        let retry_at = partition.retry_at;
        self.batches.retry_until = self.batches.retry_until.max(retry_at);
    }

    /// `base` doubled per failure, up to `retry.backoff.max.ms`, give or take a fifth.
    pub(super) fn backoff(&mut self, base: Duration, failures: u32) -> Duration {
        let grown = base
            .saturating_mul(1 << failures.min(10))
            .min(self.settings.retry_backoff_max);
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let percent = 80 + u32::try_from(self.random % 41).unwrap_or_default();
        grown * percent / 100
    }

    fn refuse(&mut self, api: &'static str, place: Place, code: ErrorCode, words: Option<String>) {
        let subject = self.subject(place);
        self.doom(Error::Refused {
            api,
            subject,
            code,
            words,
        });
    }

    fn subject(&self, (topic, partition): Place) -> String {
        format!(
            "topic {}, partition {partition}",
            self.batches.topic(topic).name
        )
    }

    pub(super) fn keep_ids(&mut self, mut ids: Vec<BatchId>) {
        ids.clear();
        self.spare_ids.push(ids);
    }

    /// With acks 0 there is no answer: handed to the socket is all that can be said.
    pub(super) fn acknowledge_unanswered(&mut self, node: NodeId) {
        if self.settings.acks != 0 && !mutant::is(Mutant::AckOnSend) {
            return;
        }
        let sent = |request: &mut InFlight| {
            request.node == node && matches!(request.what, What::Produce(_))
        };
        for request in self.requests.extract_if(.., sent).collect::<Vec<_>>() {
            let What::Produce(ids) = request.what else {
                continue;
            };
            self.take_for_written(ids);
        }
    }

    fn take_for_written(&mut self, ids: Vec<BatchId>) {
        for &id in &ids {
            if let Some(sealed) = self.batches.sealed(id) {
                let place = sealed.place;
                self.batches.partition_mut(place).in_flight -= 1;
                self.batches.acknowledge(id);
            }
        }
        self.keep_ids(ids);
    }
}
