//! What the coordinator knows of one transactional id.
//!
//! ```text
//!   Empty ── a partition or a group is added ─► Ongoing ── EndTxn, or too old ─► Ending ─► Empty
//! ```
//!
//! `Ending` is written to the journal before the first marker is written to a log: whatever a crash
//! interrupts is finished, with the same decision, when the broker starts again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kafkawire::error_code::ErrorCode;
use serde::{Deserialize, Serialize};

use super::group::Committed;

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
