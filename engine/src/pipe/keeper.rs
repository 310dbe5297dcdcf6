//! Keeps the position: stored in Kafka behind what is acknowledged, confirmed to the slot behind
//! what is stored.
//!
//! ```text
//!   record ─► acknowledged ─► position stored ─► slot confirmed
//! ```
//!
//! With exactly-once the first three are one Kafka transaction: it holds the records of one or many
//! PostgreSQL transactions (or a part of one) and the position behind them; while it commits, the
//! next one fills. Without, positions follow their records at `offset.flush.interval.ms`.
//!
//! Where the configuration names a standalone Connect's offset file, that stands between the last
//! two (`follower.rs`).

use std::cell::Cell;
use std::collections::HashSet;
use std::task::{Context, Poll};
use std::time::Duration;

use pgwire::lsn::Lsn;
use tokio::time::Instant;

use super::error::Error;
use super::follower::Follower;
use super::outlet::Outlet;
use crate::mutant::{self, Mutant};
use crate::net;
use crate::produce::TopicId;
use crate::progress::copied::Copied;
use crate::progress::ledger::Ledger;
use crate::progress::offsets::{self, Home, SnapshotPosition, Stored, StreamPosition};

/// A position that only a keepalive moved is stored this seldom: nothing depends on it but the
/// WAL that the server keeps.
const IDLE_INTERVAL: Duration = Duration::from_secs(10);
/// A PostgreSQL transaction with more changes than this is split over Kafka transactions.
const SPLIT_EVENTS: u64 = 50_000;
/// While changes come faster than one by one, a Kafka transaction gathers them for so long: the
/// broker has as much to do for one with a few as for one with thousands. Where that is more, since
/// every one of many partitions gets its marker, for so many times as long as the last commit took.
const GATHER_MIN: Duration = Duration::from_millis(20);
const GATHER_MAX: Duration = Duration::from_secs(2);
const COMMITS_WORTH: u32 = 4;
/// One that goes on for longer than this is, too: consumers wait for what is not committed.
const SPLIT_AFTER: Duration = Duration::from_millis(500);

/// A snapshot that is not complete, while what happened since it began is sent.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// What is copied already.
    pub copied: Copied,
    /// Tables that were not begun: the copy will show their changes.
    pub awaited: HashSet<u32>,
}

/// The position of one connector.
#[derive(Debug)]
pub(super) struct Keeper {
    topic: TopicId,
    partition: i32,
    key: Vec<u8>,
    /// Whose positions they are.
    home: Option<Home>,
    exactly_once: bool,
    interval: Duration,
    /// `lsn.flush.mode`: the slot is ours to move.
    confirms: bool,
    ledger: Ledger,
    /// The newest position behind which everything was appended.
    newest: Option<StreamPosition>,
    /// It was moved by a change and not only by a keepalive.
    news: bool,
    /// The position whose record is on its way, and the token behind it.
    storing: Option<(u64, StreamPosition)>,
    stored: Option<StreamPosition>,
    stored_at: Instant,
    /// How long a transaction gathers while changes rush.
    gather: Duration,
    /// The server waits for this position to be confirmed: it shuts down.
    urgent: Option<Lsn>,
    /// The offset file that follows, and the value that was stored last.
    follower: Option<Follower>,
    value: Vec<u8>,
    /// What transaction metadata has counted when the position beside it was reached: members of
    /// the stored offset.
    counts: String,
    counted_at: Option<StreamPosition>,
    /// A snapshot is owed: whatever is stored says so.
    owed: Option<Owed>,
    /// Changes appended when the last commit was made.
    committed_events: u64,
    confirmed: Lsn,
    moved: Cell<bool>,
}

impl Keeper {
    /// A keeper that stores into `partition` of the offsets topic.
    pub(super) fn new(
        topic: TopicId,
        partition: i32,
        key: Vec<u8>,
        exactly_once: bool,
        interval: Duration,
        confirms: bool,
    ) -> Self {
        Self {
            topic,
            partition,
            key,
            home: None,
            exactly_once,
            interval,
            confirms,
            ledger: Ledger::default(),
            newest: None,
            news: false,
            storing: None,
            stored: None,
            stored_at: net::now(),
            gather: GATHER_MIN,
            urgent: None,
            follower: None,
            value: Vec::new(),
            counts: String::new(),
            counted_at: None,
            owed: None,
            committed_events: 0,
            confirmed: Lsn(0),
            moved: Cell::new(false),
        }
    }

    /// What is stored is written to a file, too, before it is confirmed.
    pub(super) fn follow_with(&mut self, follower: Follower) {
        self.follower = Some(follower);
    }

    /// Whose positions are stored from now on.
    pub(super) fn live_at(&mut self, home: Home) {
        self.home = Some(home);
    }

    /// The position, and its value, was stored by whoever ran before, and perhaps did not come to
    /// confirm it.
    pub(super) fn resume(&mut self, position: StreamPosition, value: Vec<u8>) {
        self.newest = Some(position);
        self.stored = Some(position);
        self.value = value;
        self.is_stored(position);
    }

    /// Everything before `position`, a transaction's end, was appended.
    pub(super) fn reached(&mut self, outlet: &mut Outlet, position: StreamPosition) {
        self.news |= outlet.has_unmarked();
        self.newest = Some(position);
        if !self.exactly_once {
            let token = outlet.mark();
            self.ledger.push(token, position);
        }
    }

    /// With transaction metadata: what was counted of a transaction up to `position`.
    pub(super) fn count(&mut self, position: StreamPosition, xid: u32, orders: &[(String, i64)]) {
        self.counts.clear();
        offsets::put_counts(xid, orders, &mut self.counts);
        self.counted_at = Some(position);
    }

    /// The server has nothing for us before `lsn`; with `urgent` it wants to hear so.
    pub(super) fn keepalive(&mut self, outlet: &mut Outlet, lsn: Lsn, urgent: bool) {
        if urgent {
            self.urgent = self.urgent.max(Some(lsn));
        }
        if self.newest.is_none_or(|newest| newest.lsn < lsn) {
            let position = StreamPosition::keepalive(lsn, self.newest.as_ref());
            self.newest = Some(position);
            if !self.exactly_once {
                let token = outlet.mark();
                self.ledger.push(token, position);
            }
            if mutant::is(Mutant::ConfirmKeepalive)
                && !outlet.has_unmarked()
                && self.storing.is_none()
            {
                self.confirm(position);
            }
        }
    }

    /// Takes what was acknowledged, and stores the position when it is time. `inside` is the last
    /// event appended, when the stream is in the middle of a transaction; `rushing`: more comes than
    /// can be committed one by one, and whoever says so comes back when it stops.
    pub(super) fn advance(
        &mut self,
        outlet: &mut Outlet,
        inside: Option<StreamPosition>,
        rushing: bool,
    ) -> Result<(), Error> {
        self.acknowledge(outlet);
        if let Some(follower) = &mut self.follower
            && let Some(written) = follower.advance(self.urgent.is_some())?
        {
            self.confirm(written);
        }
        let now = net::now();
        if self.exactly_once {
            if self.storing.is_some() {
                return Ok(());
            }
            let since = now.duration_since(self.stored_at);
            if rushing && since < self.gather {
                return Ok(());
            }
            let position = if inside.is_some() {
                let events = outlet.events - self.committed_events;
                let due = events >= SPLIT_EVENTS || since >= SPLIT_AFTER;
                if due && outlet.has_unmarked() {
                    inside
                } else {
                    None
                }
            } else {
                self.newest.filter(|newest| {
                    outlet.has_unmarked()
                        || (self.stored != Some(*newest)
                            && (self.urgent.is_some() || since >= self.pace()))
                })
            };
            if let Some(position) = position {
                self.commit(outlet, position)?;
            }
            return Ok(());
        }
        let mut reached = self.ledger.reached().copied();
        if mutant::is(Mutant::PositionBeforeRecords) {
            reached = self.newest;
        }
        let Some(reached) = reached else {
            return Ok(());
        };
        let due = self.urgent.is_some() || now.duration_since(self.stored_at) >= self.pace();
        if self.storing.is_none() && self.stored != Some(reached) && due {
            self.put_stream(outlet, reached)?;
            self.storing = Some((outlet.mark(), reached));
            self.stored_at = now;
            self.news = false;
        }
        Ok(())
    }

    fn pace(&self) -> Duration {
        if self.news {
            self.interval
        } else {
            IDLE_INTERVAL
        }
    }

    fn commit(&mut self, outlet: &mut Outlet, position: StreamPosition) -> Result<(), Error> {
        if !mutant::is(Mutant::CommitWithoutOffset) {
            self.put_stream(outlet, position)?;
        }
        if mutant::is(Mutant::ConfirmEarly) {
            self.confirmed = position.confirmable().unwrap_or(self.confirmed);
            self.moved.set(true);
        }
        self.storing = Some((outlet.commit(), position));
        self.stored_at = net::now();
        self.committed_events = outlet.events;
        self.news = false;
        Ok(())
    }

    fn acknowledge(&mut self, outlet: &mut Outlet) {
        let acknowledged = outlet.acknowledged();
        self.ledger.acknowledge(acknowledged);
        if let Some((token, position)) = self.storing
            && token <= acknowledged
        {
            self.storing = None;
            self.stored = Some(position);
            self.is_stored(position);
            let took = self.stored_at.elapsed();
            self.gather = (took * COMMITS_WORTH).clamp(GATHER_MIN, GATHER_MAX);
        }
    }

    /// Kafka has the position.
    fn is_stored(&mut self, position: StreamPosition) {
        match &mut self.follower {
            None => self.confirm(position),
            Some(follower) => follower.follow(Some(position), std::mem::take(&mut self.value)),
        }
    }

    /// The slot may forget what is before a position that is stored.
    fn confirm(&mut self, stored: StreamPosition) {
        if self.urgent.is_some_and(|lsn| lsn <= stored.lsn) {
            self.urgent = None;
        }
        if let Some(lsn) = stored.confirmable()
            && self.confirms
            && lsn > self.confirmed
            && !mutant::is(Mutant::ConfirmNever)
        {
            self.confirmed = lsn;
            self.moved.set(true);
        }
    }

    /// What happened before a snapshot is caught up with: until that snapshot is complete, a
    /// stored position must say that it is not, or the next start would go on without it.
    pub(super) fn owe_snapshot(&mut self, owed: Owed) {
        self.owed = Some(owed).filter(|_| !mutant::is(Mutant::ForgetOwedSnapshot));
    }

    /// What is copied already, once everything before the snapshot was sent.
    pub(super) fn take_copied(&mut self) -> Copied {
        let owed = self.owed.as_mut();
        owed.map(|owed| std::mem::take(&mut owed.copied))
            .unwrap_or_default()
    }

    /// Whether a change of the table is left to the snapshot that is owed. One that is not, and
    /// that `lacks` a value which did not change, may be of a row that has not been copied.
    #[inline]
    pub(super) fn awaits(&mut self, table: u32, lacks: impl FnOnce() -> bool) -> bool {
        match &mut self.owed {
            None => false,
            Some(owed) => owed.awaits(table, lacks()),
        }
    }

    /// A table was truncated: of one whose copy was interrupted, every row there was is gone, and
    /// what comes is told by the stream. Nothing is left to be copied.
    pub(super) fn truncated(&mut self, table: u32) {
        if let Some(Owed { copied, .. }) = &mut self.owed
            && copied
                .begun(table)
                .is_some_and(|begun| !begun.heaps.is_empty())
        {
            copied.finish(table);
        }
    }

    /// The snapshot is complete, and everything is acknowledged. Positions before it mean nothing
    /// any more.
    pub(super) fn snapshot_taken(&mut self) {
        self.snapshot_stored();
        self.owed = None;
        self.ledger = Ledger::default();
        self.newest = None;
        self.storing = None;
        self.stored = None;
        self.news = false;
    }

    /// Kafka has what was put of a snapshot last.
    pub(super) fn snapshot_stored(&mut self) {
        if let Some(follower) = &mut self.follower {
            follower.follow(None, std::mem::take(&mut self.value));
        }
    }

    fn put_stream(&mut self, outlet: &mut Outlet, position: StreamPosition) -> Result<(), Error> {
        if let Some(owed) = &mut self.owed {
            owed.copied.inside = position.is_inside().then_some(position);
        }
        let owed = self.owed.as_ref();
        let stored = match owed {
            Some(_) => Stored::Snapshot(SnapshotPosition {
                lsn: position.start(),
                tx_id: position.tx_id,
                ts_us: position.ts_us,
                completed: false,
            }),
            None => Stored::Stream(position),
        };
        let counts = if self.counted_at == Some(position) {
            &self.counts
        } else {
            ""
        };
        let copied = owed.map(|owed| &owed.copied);
        self.value = offsets::value(&stored, counts, self.home, copied);
        self.put(outlet)
    }

    /// Appends the record of a snapshot's beginning or end, or of how far it has come.
    pub(super) fn put_snapshot(
        &mut self,
        outlet: &mut Outlet,
        position: SnapshotPosition,
        copied: Option<&Copied>,
    ) -> Result<(), Error> {
        self.value = offsets::value(&Stored::Snapshot(position), "", self.home, copied);
        self.put(outlet)
    }

    fn put(&self, outlet: &mut Outlet) -> Result<(), Error> {
        outlet.plain(self.topic, self.partition, &self.key, &self.value)
    }

    /// Sends and stores everything up to `inside`, or the newest position; in the file, too.
    ///
    /// Errors: the producer's, the file's.
    pub(super) async fn settle(
        &mut self,
        outlet: &mut Outlet,
        inside: Option<StreamPosition>,
    ) -> Result<(), Error> {
        self.settle_in_kafka(outlet, inside).await?;
        self.settle_in_file().await
    }

    /// Writes what is stored to the file.
    ///
    /// Errors: the file's.
    pub(super) async fn settle_in_file(&mut self) -> Result<(), Error> {
        if let Some(follower) = &mut self.follower
            && let Some(written) = follower.settle().await?
        {
            self.confirm(written);
        }
        Ok(())
    }

    /// Ready when the file has what it was given.
    pub(super) fn poll_file(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.follower {
            Some(follower) => follower.poll(cx),
            None => Poll::Pending,
        }
    }

    async fn settle_in_kafka(
        &mut self,
        outlet: &mut Outlet,
        inside: Option<StreamPosition>,
    ) -> Result<(), Error> {
        if self.exactly_once {
            match inside.or(self.newest) {
                Some(position) if outlet.has_unmarked() || self.stored != Some(position) => {
                    self.commit(outlet, position)?;
                }
                _ => {}
            }
            outlet.drain().await?;
            self.acknowledge(outlet);
            return Ok(());
        }
        outlet.drain().await?;
        self.acknowledge(outlet);
        if let Some(reached) = self.ledger.reached().copied()
            && self.stored != Some(reached)
        {
            self.put_stream(outlet, reached)?;
            self.storing = Some((outlet.mark(), reached));
            outlet.drain().await?;
            self.acknowledge(outlet);
        }
        Ok(())
    }

    /// When [`Self::advance`] has something to do although nothing happens; none: whatever it
    /// waits for is an event. `inside` as there.
    pub(super) fn deadline(&self, outlet: &Outlet, inside: bool) -> Option<Instant> {
        let file = self.follower.as_ref().and_then(Follower::deadline);
        let store = self.store_deadline(outlet, inside);
        file.into_iter().chain(store).min()
    }

    fn store_deadline(&self, outlet: &Outlet, inside: bool) -> Option<Instant> {
        if self.storing.is_some() {
            return None;
        }
        if self.exactly_once && inside {
            return outlet.has_unmarked().then(|| self.stored_at + SPLIT_AFTER);
        }
        let newest = if self.exactly_once {
            self.newest.as_ref()
        } else {
            self.ledger.reached()
        };
        newest
            .is_some_and(|newest| self.stored != Some(*newest))
            .then(|| self.stored_at + self.pace())
    }

    /// Since when Kafka has not acknowledged what the stored position waits for.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        let waits = self.storing.is_some() || !self.ledger.is_settled();
        waits.then_some(self.stored_at)
    }

    /// What the slot may forget.
    pub(super) fn confirmed(&self) -> Lsn {
        self.confirmed
    }

    /// Whether [`Self::confirmed`] has moved since it was taken.
    pub(super) fn has_moved(&self) -> bool {
        self.moved.get()
    }

    /// What the slot may forget; it is being told.
    pub(super) fn take_confirmed(&self) -> Lsn {
        self.moved.set(false);
        self.confirmed
    }
}

impl Owed {
    #[cold]
    fn awaits(&mut self, table: u32, lacks: bool) -> bool {
        if self.awaited.contains(&table) {
            return true;
        }
        if let Some(begun) = self.copied.begun(table) {
            begun.lacks |= lacks && !mutant::is(Mutant::CopyForgetsLacks);
        }
        false
    }
}
