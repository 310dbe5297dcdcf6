//! Exactly once: batches between two commits become visible together, or not at all.
//!
//! ```text
//! FindCoordinator ─► InitProducerId (ends the predecessor's transaction) ─► ready
//! ready: AddPartitionsToTxn ─► Produce .. ─► all acknowledged ─► EndTxn ─► ready
//! ```
//!
//! One transaction is one segment of [`Batches`](super::batches): while the oldest is committed,
//! records of the next are already appended; their batches wait. With transactions version 2
//! (KIP-890), Produce adds partitions itself, and each EndTxn hands out the identity of the next
//! transaction; but a leader that has not seen the last markers holds Produce back for 20 ms, where
//! with version 1 the coordinator says CONCURRENT_TRANSACTIONS at once and is asked again after
//! one. So version 1 is the default: measured, 1 000 transactions a second are readable after 4 ms
//! (p99 11) and not 10 (28). A transaction that must be aborted ends the producer: its successor
//! fences it.
//!
//! With version 1 an abort leaves the epoch as it is, and a batch that a leader reads behind it would
//! begin a transaction that nobody ends: before 3.6 no leader asks whether there is one. So what is
//! to be aborted is ended by InitProducerId, whose markers make such batches too old.
//!
//! With version 1 an EndTxn whose answer is lost may still be on its way when the one that was
//! sent after it is answered, and would commit the next transaction before its time. That one gets
//! an epoch of its own, so that the coordinator refuses what comes late.

use std::collections::BTreeSet;
use std::time::Duration;

use kafkawire::ErrorCode;
use kafkawire::connection::{Answer, Connection};
use kafkawire::error_code::Action;
use kafkawire::message::ApiKey;
use kafkawire::message::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddPartitionsToTxnTopic,
};
use kafkawire::message::end_txn::{EndTxnRequest, EndTxnResponse};
use kafkawire::message::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use kafkawire::message::init_producer_id::InitProducerIdRequest;

use super::batches::{BatchId, Place};
use super::cluster::millis;
use super::inflight::{Identity, InFlight, Outgoing, What};
use super::{Error, NodeId, Producer};
use crate::mutant::{self, Mutant};

/// What is known of our transactional id.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) id: String,
    coordinator: Option<NodeId>,
    /// Transaction version 2: Produce adds partitions, EndTxn gives the next epoch.
    pub(super) implicit: bool,
    /// The coordinator is not asked before.
    retry_at: Duration,
    /// No batch of the next transaction before: a leader that has not seen the markers yet lets
    /// Produce wait for twenty times as long as they take.
    quiet_until: Duration,
    /// How long that is: as long as the markers lately took.
    quiet: Duration,
    /// When the transaction's first batch was sent, until it is answered.
    first_sent: Option<Duration>,
    /// Since when the coordinator may know of an open transaction of ours.
    begun: Option<Duration>,
    doom: Option<Doom>,
    /// An EndTxn was not answered, and may arrive late.
    unheard: bool,
    /// The identity that the next one follows.
    spent: Option<(i64, i16)>,
}

/// The transaction is to be aborted, and nothing more is sent.
#[derive(Debug)]
struct Doom {
    /// Ends the producer then; none: the caller asked for it.
    error: Option<Error>,
    /// By then, whatever the coordinator says.
    until: Duration,
    /// How often the coordinator was asked for another epoch.
    asked: u32,
    over: bool,
}

/// How long an abort may take: readers wait for `transaction.timeout.ms` otherwise, and the next
/// start fences it anyway.
const ABORT_WITHIN: Duration = Duration::from_secs(2);

/// The markers of the transaction before are still being written: that takes about a millisecond.
const MARKERS: Duration = Duration::from_millis(1);
/// It never takes so long on a broker that is well.
const MARKERS_MAX: Duration = Duration::from_millis(4);
/// A first batch that took so long met the markers: the broker's own wait is 20 ms
/// (`add.partitions.to.txn.retry.backoff.ms`).
const MET_MARKERS: Duration = Duration::from_millis(18);
/// A larger request may take so long by itself.
const SMALL_BYTES: usize = 64 << 10;
/// The level of `transaction.version` that adds partitions implicitly.
const IMPLICIT: i16 = 2;
const INIT: &str = "InitProducerId";
/// What FindCoordinator calls a transactional id.
const TRANSACTION: i8 = 1;

impl Transaction {
    pub(super) fn new(id: String) -> Self {
        Self {
            id,
            quiet_until: Duration::ZERO,
            quiet: MARKERS,
            first_sent: None,
            coordinator: None,
            implicit: false,
            retry_at: Duration::ZERO,
            begun: None,
            doom: None,
            unheard: false,
            spent: None,
        }
    }
}

impl Producer {
    /// Whether the transaction, if there is one, lets batches go.
    pub(super) fn may_produce(&self) -> bool {
        self.transaction.as_ref().is_none_or(|transaction| {
            let (_, complete) = self.batches.oldest_segment();
            !complete && transaction.doom.is_none() && self.now >= transaction.quiet_until
        })
    }

    /// A batch was sent: the first of its transaction, if none was noted yet.
    pub(super) fn note_first_produce(&mut self) {
        let now = self.now;
        if let Some(transaction) = &mut self.transaction
            && transaction.implicit
            && transaction.first_sent.is_none()
        {
            transaction.first_sent = Some(now);
        }
    }

    /// Batches were answered. Where the first of a transaction met the markers of the one before,
    /// the next is held back for longer; slowly, that is forgotten.
    pub(super) fn take_first_produce(&mut self, ids: &[BatchId]) {
        let sizes = ids.iter().filter_map(|&id| self.batches.sealed(id));
        let bytes: usize = sizes.map(|sealed| sealed.batch.bytes().len()).sum();
        let now = self.now;
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        match transaction.first_sent {
            // Zero: answered already.
            Some(sent) if sent > Duration::ZERO && bytes <= SMALL_BYTES => {
                transaction.quiet = if now - sent >= MET_MARKERS {
                    (transaction.quiet * 3 / 2).min(MARKERS_MAX)
                } else {
                    (transaction.quiet - transaction.quiet / 1024).max(MARKERS)
                };
            }
            _ => {}
        }
        transaction.first_sent = transaction.first_sent.map(|_| Duration::ZERO);
    }

    /// Whether a batch of this segment may go to its partition now.
    pub(super) fn may_send(&self, place: Place, segment: u64) -> bool {
        let Some(transaction) = &self.transaction else {
            return true;
        };
        let (current, complete) = self.batches.oldest_segment();
        let added = transaction.implicit || self.batches.partition(place).added == Some(current);
        segment == current && !complete && added
    }

    pub(super) fn wanted_coordinator(&self, wanted: &mut BTreeSet<NodeId>) {
        wanted.extend(
            self.transaction
                .as_ref()
                .and_then(|transaction| transaction.coordinator),
        );
    }

    pub(super) fn transaction_deadlines(&self) -> [Duration; 3] {
        let at = |transaction: &Transaction| {
            let doom = transaction.doom.as_ref();
            let until = doom.map_or(Duration::ZERO, |doom| doom.until);
            [transaction.retry_at, transaction.quiet_until, until]
        };
        self.transaction.as_ref().map_or([Duration::ZERO; 3], at)
    }

    /// Aborts the open transaction, if there is one, and sends nothing after it: the producer is
    /// of no more use. Drive until [`is_aborting`](Self::is_aborting) is over.
    pub fn abort(&mut self) {
        let until = self.now + ABORT_WITHIN;
        if let Some(transaction) = &mut self.transaction
            && self.failure.is_none()
        {
            let over = transaction.begun.is_none();
            transaction.doom.get_or_insert(Doom {
                error: None,
                until,
                asked: 0,
                over,
            });
        }
    }

    /// Whether an open transaction waits to be aborted.
    #[must_use]
    pub fn is_aborting(&self) -> bool {
        let doom = self.transaction.as_ref().and_then(|it| it.doom.as_ref());
        self.failure.is_none() && doom.is_some_and(|doom| !doom.over)
    }

    /// Partitions become part of the transaction with the request at hand.
    pub(super) fn transaction_begins(&mut self) {
        if let Some(transaction) = &mut self.transaction {
            transaction.begun.get_or_insert(self.now);
        }
    }

    /// An abort that takes too long is given up.
    pub(super) fn check_doom(&mut self) {
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        if let Some(doom) = &mut transaction.doom
            && self.now >= doom.until
            && !doom.over
        {
            doom.over = true;
            if let Some(error) = doom.error.take() {
                self.fail(error);
            }
        }
    }

    /// Appends the transaction's next step. Whether there was one for this node.
    pub(super) fn put_transaction(
        &mut self,
        node: NodeId,
        link: &mut Connection,
        out: &mut Outgoing,
    ) -> Result<bool, Error> {
        let Some(transaction) = &self.transaction else {
            return Ok(false);
        };
        if self.now < transaction.retry_at || self.is_coordinating() {
            return Ok(false);
        }
        if transaction.coordinator.is_none() {
            self.put_find_coordinator(node, link, out)?;
            return Ok(true);
        }
        if transaction.coordinator != Some(node) {
            return Ok(false);
        }
        let Identity::Known(producer_id, producer_epoch) = self.identity else {
            let spent = transaction.spent;
            return self.put_init(spent, node, link, out).map(|()| true);
        };
        let (current, complete) = self.batches.oldest_segment();
        let doomed = match &transaction.doom {
            // A batch that reached the log behind the abort's markers would leave another
            // transaction open: those on the wire are waited for.
            Some(doom) if doom.over || self.is_producing() => return Ok(false),
            doom => doom.is_some(),
        };
        if doomed && !transaction.implicit {
            let spent = Some((producer_id, producer_epoch));
            if let Some(doom) = self.transaction.as_mut().and_then(|it| it.doom.as_mut()) {
                doom.asked += 1;
            }
            return self.put_init(spent, node, link, out).map(|()| true);
        }
        if complete || doomed {
            let committed = !doomed;
            let request = EndTxnRequest {
                transactional_id: transaction.id.clone(),
                producer_id,
                producer_epoch,
                committed,
            };
            let ours = if transaction.implicit { (5, 5) } else { (0, 4) };
            let version = self.version(node, link, ApiKey::END_TXN, ours)?;
            self.put(
                node,
                link,
                version,
                &request,
                What::EndTxn { committed },
                out,
            )?;
            return Ok(true);
        }
        if transaction.implicit {
            return Ok(false);
        }
        let places = self.places_to_add(current);
        if places.is_empty() {
            return Ok(false);
        }
        let mut request = AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: transaction.id.clone(),
            v3_and_below_producer_id: producer_id,
            v3_and_below_producer_epoch: producer_epoch,
            ..AddPartitionsToTxnRequest::default()
        };
        for &(topic, partition) in &places {
            let name = &self.batches.topic(topic).name;
            let topics = &mut request.v3_and_below_topics;
            match topics.last_mut().filter(|last| last.name == *name) {
                Some(last) => last.partitions.push(partition),
                None => topics.push(AddPartitionsToTxnTopic {
                    name: name.clone(),
                    partitions: vec![partition],
                }),
            }
        }
        self.transaction_begins();
        // From version 4 on the request is for brokers.
        let version = self.version(node, link, ApiKey::ADD_PARTITIONS_TO_TXN, (0, 3))?;
        self.put(
            node,
            link,
            version,
            &request,
            What::AddPartitions(places),
            out,
        )?;
        Ok(true)
    }

    fn is_producing(&self) -> bool {
        let produces = |request: &InFlight| matches!(request.what, What::Produce(_));
        self.requests.iter().any(produces)
    }

    /// The coordinator is asked one thing at a time.
    fn is_coordinating(&self) -> bool {
        self.requests.iter().any(|request| {
            matches!(
                request.what,
                What::FindCoordinator
                    | What::InitProducerId
                    | What::AddPartitions(_)
                    | What::EndTxn { .. }
            )
        })
    }

    /// Partitions with records of the current transaction that are not part of it yet.
    fn places_to_add(&self, current: u64) -> Vec<Place> {
        let mut places: Vec<Place> = self.batches.active.clone();
        places.retain(|&place| {
            let partition = self.batches.partition(place);
            let mut sealed = partition
                .sealed
                .iter()
                .filter_map(|&id| self.batches.sealed(id));
            let open = partition.born().map(|(segment, _)| segment);
            partition.added != Some(current)
                && (open == Some(current) || sealed.any(|sealed| sealed.segment == current))
        });
        places.sort_unstable();
        places
    }

    fn put_find_coordinator(
        &mut self,
        node: NodeId,
        link: &mut Connection,
        out: &mut Outgoing,
    ) -> Result<(), Error> {
        let id = self
            .transaction
            .as_ref()
            .map(|it| it.id.clone())
            .unwrap_or_default();
        let version = self.version(node, link, ApiKey::FIND_COORDINATOR, (1, 6))?;
        let request = FindCoordinatorRequest {
            key: id.clone(),
            key_type: TRANSACTION,
            coordinator_keys: vec![id],
        };
        self.put(node, link, version, &request, What::FindCoordinator, out)
    }

    /// Asks for an identity: the first one, or the one that follows `spent`.
    fn put_init(
        &mut self,
        spent: Option<(i64, i16)>,
        node: NodeId,
        link: &mut Connection,
        out: &mut Outgoing,
    ) -> Result<(), Error> {
        // Only what names an identity leaves a successor's alone.
        let lowest = if spent.is_some() { 3 } else { 0 };
        let version = self.version(node, link, ApiKey::INIT_PRODUCER_ID, (lowest, 5))?;
        let (producer_id, producer_epoch) = spent.unwrap_or((-1, -1));
        let timeout_ms = millis(self.settings.transaction_timeout);
        let Some(transaction) = &mut self.transaction else {
            return Ok(());
        };
        transaction.implicit = self.settings.transaction_version >= IMPLICIT
            && link.feature("transaction.version") >= Some(IMPLICIT)
            && link.version(ApiKey::END_TXN, (5, 5)).is_ok()
            && link.version(ApiKey::PRODUCE, (12, 12)).is_ok();
        let request = InitProducerIdRequest {
            transactional_id: Some(transaction.id.clone()),
            transaction_timeout_ms: timeout_ms,
            producer_id,
            producer_epoch,
            ..InitProducerIdRequest::default()
        };
        self.put(node, link, version, &request, What::InitProducerId, out)
    }

    pub(super) fn take_coordinator(&mut self, answer: &Answer<'_>) -> Result<(), kafkawire::Error> {
        let told: FindCoordinatorResponse = answer.decode()?;
        let (mut code, mut words) = (told.error_code, told.error_message);
        let (mut node, mut host, mut port) = (told.node_id, told.host, told.port);
        if let Some(first) = told.coordinators.into_iter().next() {
            (code, words) = (first.error_code, first.error_message);
            (node, host, port) = (first.node_id, first.host, first.port);
        }
        if code.is_ok() {
            self.cluster.add(node, host, port);
            if let Some(transaction) = &mut self.transaction {
                transaction.coordinator = Some(node);
            }
        } else {
            self.coordinator_refused("FindCoordinator", code, words);
        }
        Ok(())
    }

    /// An EndTxn will not be answered.
    pub(super) fn lost_end(&mut self) {
        if let Some(transaction) = &mut self.transaction {
            transaction.unheard = true;
        }
    }

    /// The answer to an abort, if that is what was asked for.
    pub(super) fn take_abort(&mut self, api: &'static str, code: ErrorCode) -> bool {
        let transaction = self.transaction.as_mut();
        let Some(doom) = transaction.and_then(|transaction| transaction.doom.as_mut()) else {
            return false;
        };
        // It says so of a transaction that it has begun to abort.
        let begun = api == INIT && code == ErrorCode::CONCURRENT_TRANSACTIONS;
        if code.retriable() && !begun && self.now < doom.until {
            self.coordinator_refused(api, code, None);
            return true;
        }
        doom.over = true;
        // The predecessor of a live instance hears so here, whatever it was told before; unless it
        // was heard before, and not answered.
        let fenced = [
            ErrorCode::PRODUCER_FENCED,
            ErrorCode::INVALID_PRODUCER_EPOCH,
        ]
        .contains(&code);
        let usurped = fenced && doom.asked <= 1;
        if let Some(error) = doom.error.take() {
            let error = if usurped { self.usurped() } else { error };
            self.fail(error);
        }
        true
    }

    /// The coordinator has given an identity.
    pub(super) fn identity_given(&mut self) {
        if let Some(transaction) = &mut self.transaction {
            transaction.spent = None;
        }
    }

    /// InitProducerId said no, with or without a transaction.
    pub(super) fn identity_refused(&mut self, code: ErrorCode) {
        if self.transaction.is_some() {
            self.coordinator_refused(INIT, code, None);
        } else if code.retriable() {
            self.failures = self.failures.saturating_add(1);
            let wait = self.backoff(self.settings.retry_backoff, self.failures);
            self.identity = Identity::Wanted {
                at: self.now + wait,
            };
        } else {
            let subject = String::new();
            self.fail(Error::Refused {
                api: "InitProducerId",
                subject,
                code,
                words: None,
            });
        }
    }

    pub(super) fn take_added(
        &mut self,
        places: &[Place],
        answer: &Answer<'_>,
    ) -> Result<(), kafkawire::Error> {
        let told: AddPartitionsToTxnResponse = answer.decode()?;
        let results = told.results_by_topic_v3_and_below.iter();
        let mut codes = results.flat_map(|topic| {
            topic
                .results_by_partition
                .iter()
                .map(|result| (&topic.name, result))
        });
        // All or nothing; the others only say that they were not tried.
        let failed = codes.find(|(_, result)| {
            let code = result.partition_error_code;
            !code.is_ok() && code != ErrorCode::OPERATION_NOT_ATTEMPTED
        });
        let Some((name, result)) = failed else {
            let (current, _) = self.batches.oldest_segment();
            for &place in places {
                self.batches.partition_mut(place).added = Some(current);
            }
            self.failures = 0;
            return Ok(());
        };
        let (name, code) = (name.clone(), result.partition_error_code);
        if code == ErrorCode::TOPIC_AUTHORIZATION_FAILED {
            let subject = format!("topic {name}");
            self.fail(Error::Refused {
                api: "AddPartitionsToTxn",
                subject,
                code,
                words: None,
            });
        } else {
            if code.action() == Action::Refresh {
                self.cluster.refresh(self.now, self.settings.retry_backoff);
            }
            self.coordinator_refused("AddPartitionsToTxn", code, None);
        }
        Ok(())
    }

    pub(super) fn take_end(
        &mut self,
        committed: bool,
        answer: &Answer<'_>,
    ) -> Result<(), kafkawire::Error> {
        let told: EndTxnResponse = answer.decode()?;
        if !committed && self.take_abort("EndTxn", told.error_code) {
            return Ok(());
        }
        if !told.error_code.is_ok() {
            self.coordinator_refused("EndTxn", told.error_code, None);
            return Ok(());
        }
        let Some(transaction) = &mut self.transaction else {
            return Ok(());
        };
        if transaction.implicit && told.producer_id >= 0 {
            self.identity = Identity::Known(told.producer_id, told.producer_epoch);
        }
        let unheard = std::mem::take(&mut transaction.unheard);
        if let Identity::Known(id, epoch) = self.identity
            && unheard
            && !transaction.implicit
            && !mutant::is(Mutant::TrustLateEnd)
        {
            transaction.spent = Some((id, epoch));
            self.identity = Identity::Wanted { at: self.now };
        }
        if transaction.implicit {
            transaction.quiet_until = self.now + transaction.quiet;
            transaction.first_sent = None;
        }
        transaction.begun = None;
        if let Some(doom) = &mut transaction.doom {
            // It was asked for while this commit was on the wire: nothing is open any more.
            doom.over = true;
            if let Some(error) = doom.error.take() {
                self.fail(error);
            }
            return Ok(());
        }
        self.failures = 0;
        self.batches.committed();
        Ok(())
    }

    /// What every answer of a coordinator can say.
    fn coordinator_refused(&mut self, api: &'static str, code: ErrorCode, words: Option<String>) {
        self.failures = self.failures.saturating_add(1);
        let backoff = self.backoff(self.settings.retry_backoff, self.failures);
        let now = self.now;
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        match code.action() {
            _ if code == ErrorCode::CONCURRENT_TRANSACTIONS => transaction.retry_at = now + MARKERS,
            Action::FindCoordinator => {
                transaction.coordinator = None;
                transaction.retry_at = now + backoff;
            }
            Action::BackOff | Action::Refresh => transaction.retry_at = now + backoff,
            Action::Stop => {
                let error = self.usurped();
                self.fail(error);
            }
            _ if code == ErrorCode::INVALID_PRODUCER_EPOCH => {
                // Older coordinators have only this word for it.
                let error = self.usurped();
                self.fail(error);
            }
            _ => {
                let subject = format!("transactional id {}", transaction.id);
                self.fail(Error::Refused {
                    api,
                    subject,
                    code,
                    words,
                });
            }
        }
    }

    /// Our epoch is no longer the newest. The coordinator says the same of a successor and of a
    /// transaction that it ended because it took too long; only the latter passes by itself.
    fn usurped(&self) -> Error {
        let transaction = self.transaction.as_ref();
        let transactional_id = transaction.map(|it| it.id.clone()).unwrap_or_default();
        let limit = self.settings.transaction_timeout;
        match transaction.and_then(|it| it.begun) {
            Some(begun) if self.now >= begun + limit => Error::TransactionTimeout {
                transactional_id,
                limit,
            },
            _ => Error::Fenced { transactional_id },
        }
    }

    /// The transaction cannot be committed: abort it, then stop with this error.
    pub(super) fn doom(&mut self, error: Error) {
        if error_is_fence(&error) {
            let error = self.usurped();
            self.fail(error);
        } else if let Some(transaction) = self.transaction.as_mut().filter(|it| it.begun.is_some())
        {
            let error = Some(error);
            let until = self.now + ABORT_WITHIN;
            transaction.doom.get_or_insert(Doom {
                error,
                until,
                asked: 0,
                over: false,
            });
        } else {
            self.fail(error);
        }
    }

    /// The connection to the coordinator is gone; it may have moved.
    pub(super) fn lost_coordinator(&mut self, node: NodeId) {
        if let Some(transaction) = &mut self.transaction
            && transaction.coordinator == Some(node)
        {
            transaction.coordinator = None;
        }
    }
}

fn error_is_fence(error: &Error) -> bool {
    matches!(
        error,
        Error::Refused {
            code: ErrorCode::PRODUCER_FENCED,
            ..
        }
    )
}
