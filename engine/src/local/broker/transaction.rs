//! Producer ids and transactions: what the coordinator knows of each transactional id, and the
//! requests that change it.
//!
//! ```text
//!   Empty ── a partition or a group is added ─► Ongoing ── EndTxn, or too old ─► Ending ─► Empty
//! ```
//!
//! `Ending` is written to the journal before the first marker is written to a log: whatever a crash
//! interrupts is finished, with the same decision, when the broker starts again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kafkawire::batch::ControlType;
use kafkawire::error_code::ErrorCode;
use kafkawire::message::add_offsets_to_txn::*;
use kafkawire::message::add_partitions_to_txn::*;
use kafkawire::message::end_txn::*;
use kafkawire::message::init_producer_id::*;
use kafkawire::message::txn_offset_commit::*;
use serde::{Deserialize, Serialize};

use super::journal::Entry;
use super::membership::{Committed, Identity};
use super::{About, Broker, Now};

/// `transaction.max.timeout.ms`.
const TRANSACTION_TIMEOUT_MAX_MS: i32 = 900_000;
/// Producer ids that are set aside in the journal at once.
const PRODUCER_IDS_BLOCK: i64 = 1_000;
/// The last epoch that is given out; the next producer gets a new id.
const EPOCH_MAX: i16 = i16::MAX - 1;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Transaction {
    pub(super) producer_id: i64,
    pub(super) epoch: i16,
    /// Identity before the last one: a request to leave it may come twice.
    previous: Option<(i64, i16)>,
    timeout_ms: i32,
    pub(super) state: State,
    pub(super) partitions: BTreeSet<(String, i32)>,
    pub(super) groups: BTreeSet<String>,
    /// Take effect with the commit.
    pub(super) offsets: Vec<PendingOffset>,
    /// How the last transaction of this identity ended: asked again, it is answered again.
    pub(super) outcome: Option<bool>,
    /// When the ongoing transaction began, in this process.
    #[serde(skip)]
    pub(super) began: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    Empty,
    Ongoing,
    Ending { commit: bool },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PendingOffset {
    pub(super) group: String,
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) committed: Committed,
}

impl Transaction {
    pub(super) fn new(producer_id: i64) -> Self {
        Self {
            producer_id,
            epoch: 0,
            previous: None,
            timeout_ms: 0,
            state: State::Empty,
            partitions: BTreeSet::new(),
            groups: BTreeSet::new(),
            offsets: Vec::new(),
            outcome: None,
            began: None,
        }
    }

    pub(super) fn set_timeout(&mut self, timeout_ms: i32) {
        self.timeout_ms = timeout_ms;
    }

    /// Whether a request comes from the producer that holds the id now. `fenced` is how the
    /// request's version says that another does.
    pub(super) fn check(&self, id: i64, epoch: i16, fenced: ErrorCode) -> Result<(), ErrorCode> {
        if id != self.producer_id {
            Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING)
        } else if epoch != self.epoch {
            Err(fenced)
        } else {
            Ok(())
        }
    }

    /// Whether a producer that says it is (`id`, `epoch`) may have a new epoch; false: it had one.
    pub(super) fn may_renew(&self, id: i64, epoch: i16) -> Option<bool> {
        if (id, epoch) == (self.producer_id, self.epoch) {
            Some(true)
        } else {
            (Some((id, epoch)) == self.previous).then_some(false)
        }
    }

    /// The next epoch, or another producer id when they are used up.
    pub(super) fn renew(&mut self, fresh_id: impl FnOnce() -> i64) {
        self.previous = Some((self.producer_id, self.epoch));
        if self.epoch >= EPOCH_MAX {
            self.producer_id = fresh_id();
            self.epoch = 0;
        } else {
            self.epoch += 1;
        }
        self.outcome = None;
    }

    /// Puts the present producer out of office without giving the next one an identity yet.
    pub(super) fn fence(&mut self) {
        self.epoch = self.epoch.saturating_add(1);
        self.outcome = None;
    }

    pub(super) fn begin(&mut self, now: Instant) {
        if self.state == State::Empty {
            self.state = State::Ongoing;
            self.outcome = None;
            self.began = Some(now);
        }
    }

    /// When the ongoing transaction is too old.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.state != State::Ongoing {
            return None;
        }
        let timeout = u64::try_from(self.timeout_ms).unwrap_or_default();
        Some(self.began? + Duration::from_millis(timeout))
    }

    /// Forgets what has ended.
    pub(super) fn ended(&mut self, commit: bool) {
        self.state = State::Empty;
        self.partitions.clear();
        self.groups.clear();
        self.offsets.clear();
        self.outcome = Some(commit);
        self.began = None;
    }
}

impl Broker {
    pub(super) fn init_producer_id(
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
    pub(super) fn put_transaction(
        &mut self,
        id: &str,
        transaction: Transaction,
    ) -> Result<(), ErrorCode> {
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

    pub(super) fn add_partitions_to_txn(
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

    pub(super) fn add_offsets_to_txn(
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

    pub(super) fn txn_offset_commit(
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

    pub(super) fn end_txn(&mut self, request: EndTxnRequest, about: About) -> EndTxnResponse {
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
    pub(super) fn end_transaction(
        &mut self,
        id: &str,
        commit: bool,
        now: Now,
    ) -> Result<(), ErrorCode> {
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
    pub(super) fn recover_transactions(&mut self, now: Now) {
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
