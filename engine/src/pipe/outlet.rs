//! Where changes become records: keys and values encoded into the batch that leaves, in the order
//! in which consumers must see them.

use std::cell::RefCell;
use std::rc::Rc;

use kafkawire::batch::{AppendError, HEADER_BYTES, RecordWriter};
use pgwire::lsn::Lsn;

use super::error::{Blame, Error};
use super::tables::Captured;
use super::unsent::{Large, Policy, Refusals, Unsent, Why, key_of};
use crate::capture::row::Row;
use crate::config::{Compression, Config, Operation};
use crate::encode::envelope::{SourceBlock, TransactionBlock};
use crate::encode::plan::{ColumnError, Event, RowEncoder};
use crate::mutant::{self, Mutant};
use crate::net;
use crate::produce::{self, Driver, Producer, TopicId};

/// The producer and what is written in front of it; tokens for what was appended.
pub(super) struct Outlet {
    /// The sockets to the brokers, and the producer in front of them.
    pub(super) driver: Driver,
    /// Headers of every record of a change, ready to be copied.
    context: Vec<(String, Vec<u8>)>,
    key: Vec<u8>,
    old_key: Vec<u8>,
    header: Vec<u8>,
    event_header: Vec<u8>,
    /// Where the record at hand goes, in its own row's words.
    route: Vec<u8>,
    token: u64,
    appended: bool,
    /// Records of changes since the pipe began.
    pub(super) events: u64,
    /// When the records at hand are built, ns since 1970-01-01 UTC.
    pub(super) now_ns: i64,
    /// A bit for each operation of the stream that is skipped.
    skipped: u8,
    /// Rows that cannot be sent.
    pub(super) policy: Policy,
    refusals: Rc<RefCell<Refusals>>,
    compression: Compression,
    /// Rows of so many bytes are measured before they are written.
    large: usize,
    /// The row that comes next is one.
    expecting: bool,
    /// The most that one record may have of our memory, and of `max.request.size`.
    record_max: (usize, usize),
    /// What the record at hand may need; 0: little.
    measured: usize,
}

/// Why a row did not become a record.
enum Fault {
    Column(ColumnError),
    TooLarge { bytes: usize, max: usize },
    Refused { bytes: usize },
    Producer(produce::Error),
    Unrouted,
}

impl From<ColumnError> for Fault {
    fn from(error: ColumnError) -> Self {
        Self::Column(error)
    }
}

impl From<produce::Error> for Fault {
    fn from(error: produce::Error) -> Self {
        Self::Producer(error)
    }
}

/// A change of one row, as the encoder wants it.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowEvent<'b> {
    pub op: Operation,
    pub before: Option<Row<'b>>,
    pub after: Option<Row<'b>>,
    pub source: SourceBlock<'b>,
}

/// How many events of its transaction a change is: one, or two where it moves a row to another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Events {
    One,
    Two,
}

impl Outlet {
    pub(super) fn new(
        config: &Config,
        driver: Driver,
        run_id: &str,
        refusals: Rc<RefCell<Refusals>>,
    ) -> Self {
        refusals.borrow_mut().begin();
        let context = if config.encode.extended_headers {
            crate::encode::envelope::context_headers(&config.encode, run_id)
        } else {
            Vec::new()
        };
        Self {
            driver,
            context,
            key: Vec::with_capacity(256),
            old_key: Vec::with_capacity(256),
            header: Vec::with_capacity(256),
            event_header: Vec::with_capacity(64),
            route: Vec::new(),
            token: 0,
            appended: false,
            events: 0,
            now_ns: 0,
            policy: Policy::new(config),
            skipped: super::skipped(config),
            refusals,
            compression: config.sink.compression,
            large: config.budget.large(),
            expecting: false,
            record_max: (
                config.sink.records_bytes_max / 2,
                config.sink.request_bytes_max,
            ),
            measured: 0,
        }
    }

    fn producer(&mut self) -> &mut Producer {
        self.driver.producer()
    }

    /// Reads the clock, for the records that follow.
    pub(super) fn set_clock(&mut self) {
        self.now_ns = net::now_unix_us() * 1000;
    }

    /// A token that covers every record appended so far; the same one as long as there is none.
    pub(super) fn mark(&mut self) -> u64 {
        if self.appended {
            self.appended = false;
            self.token += 1;
            let token = self.token;
            self.producer().mark(token);
        }
        self.token
    }

    /// Ends the transaction that the records appended so far are in.
    pub(super) fn commit(&mut self) -> u64 {
        self.appended = false;
        self.token += 1;
        let token = self.token;
        self.producer().commit(token);
        token
    }

    /// Whether a record was appended since the last mark or commit.
    pub(super) fn has_unmarked(&self) -> bool {
        self.appended
    }

    /// A row comes next, in a message of so many bytes: the producer makes room for a large one.
    #[inline]
    pub(super) fn expect(&mut self, bytes: usize) {
        let large = bytes >= self.large;
        if self.expecting || large {
            self.expecting = large;
            // What JSON and the envelope add is mostly little beside a large row.
            let bytes = if large { bytes + bytes / 4 } else { 0 };
            self.producer().expect(bytes);
        }
    }

    /// How many events a change is that was sent before. One whose key has no form was left out,
    /// and counted once.
    pub(super) fn events_of(&mut self, table: &Captured, change: &RowEvent<'_>) -> Events {
        let RowEvent {
            before, after, op, ..
        } = *change;
        let (Operation::Update, Some(old), Some(new)) = (op, before, after) else {
            return Events::One;
        };
        if self.measure(table, change).is_err() {
            return Events::One;
        }
        self.key.clear();
        encode_key(table, new, &mut self.key)
            .and_then(|has_key| self.rekeys(table, has_key, old, new))
            .unwrap_or(Events::One)
    }

    /// Whether an update changes the key, which lies in `self.key`; the old one is left in
    /// `self.old_key` then.
    #[inline]
    fn rekeys(
        &mut self,
        table: &Captured,
        has_key: bool,
        old: Row<'_>,
        new: Row<'_>,
    ) -> Result<Events, ColumnError> {
        let encoder = &table.encoder;
        if has_key && !encoder.same_key(old, new) {
            self.old_key.clear();
            encode_key(table, old, &mut self.old_key)?;
            if self.old_key != self.key {
                return Ok(Events::Two);
            }
        }
        Ok(Events::One)
    }

    /// The record of one change; for a key that changed and for a deletion, the records.
    ///
    /// Errors: the row's, unless such rows are to be left out; the producer's.
    #[inline]
    pub(super) fn change(
        &mut self,
        table: &Captured,
        change: &RowEvent<'_>,
    ) -> Result<Events, Error> {
        match self.records(table, change) {
            Ok(events) => Ok(events),
            Err(fault) => self.unsent(table, change, fault).map(|()| Events::One),
        }
    }

    #[cold]
    fn unsent(
        &mut self,
        table: &Captured,
        change: &RowEvent<'_>,
        fault: Fault,
    ) -> Result<(), Error> {
        let why = match fault {
            Fault::Column(error) => Why::Column(error),
            Fault::TooLarge { bytes, max } => Why::Record { bytes, max },
            Fault::Refused { bytes } => Why::Refused { bytes },
            Fault::Producer(error) => return Err(error.into()),
            Fault::Unrouted => {
                let place = String::from_utf8_lossy(&self.route);
                let what = format!("a row of {}", table.name);
                return Err(Error::fatal(
                    Blame::Data,
                    what,
                    format_args!("topic {place} was not made known"),
                ));
            }
        };
        let row = change.after.or(change.before);
        self.leave_out(&Unsent {
            table: &table.name,
            topic: table.encoder.topic(),
            key: key_of(&table.table, |at| Some(row?.cell(at))),
            op: change.op,
            lsn: Lsn(change.source.lsn.unwrap_or_default()),
            tx_id: change.source.tx_id,
            why,
        })
    }

    /// Leaves a row out, where that is what is wanted.
    ///
    /// Errors: the row's, where it is not.
    pub(super) fn leave_out(&mut self, unsent: &Unsent<'_>) -> Result<(), Error> {
        self.policy.leave_out(unsent, self.driver.producer())?;
        // The position behind it is worth storing, with its dead letter or without.
        self.appended = true;
        Ok(())
    }

    /// The error of the row that a broker has refused, if that is what ended the producer.
    pub(super) fn refusal(&mut self) -> Option<Error> {
        let Self {
            driver,
            refusals,
            policy,
            ..
        } = self;
        match driver.producer().failure() {
            Some(produce::Error::RecordTooLarge {
                topic,
                bytes,
                max: None,
            }) => refusals.borrow_mut().refuse(topic, *bytes, policy),
            _ => None,
        }
    }

    /// A large row is measured before it is written: what becomes too large is not begun.
    ///
    /// Errors: [`Fault::TooLarge`].
    #[inline]
    fn measure(&mut self, table: &Captured, change: &RowEvent<'_>) -> Result<(), Fault> {
        let row = change.after.or(change.before);
        if row.is_none_or(|row| row.message_bytes() < self.large) {
            self.measured = 0;
            return Ok(());
        }
        self.measure_large(table, change)
    }

    #[cold]
    fn measure_large(&mut self, table: &Captured, change: &RowEvent<'_>) -> Result<(), Fault> {
        // What an unusual key has left.
        for kept in [&mut self.key, &mut self.old_key, &mut self.header] {
            kept.clear();
            kept.shrink_to(self.large);
        }
        let extent = table.encoder.extent(&self.event(change));
        let (memory, request) = self.record_max;
        // What is written beside the record may have as much again.
        let bytes = extent
            .record
            .max(extent.record.saturating_add(extent.scratch) / 2);
        if bytes > memory && !mutant::is(Mutant::WriteUnmeasured) {
            let max = memory.min(request);
            return Err(Fault::TooLarge { bytes, max });
        }
        self.measured = extent.record;
        Ok(())
    }

    #[inline]
    fn records(&mut self, table: &Captured, change: &RowEvent<'_>) -> Result<Events, Fault> {
        self.measure(table, change)?;
        let RowEvent {
            op,
            before,
            after,
            source,
        } = *change;
        self.key.clear();
        let written = match (op, before, after) {
            (Operation::Update, Some(old), Some(new)) => {
                let has_key = encode_key(table, new, &mut self.key)?;
                if self.rekeys(table, has_key, old, new)? == Events::Two {
                    self.rekey(table, old, new, source)?;
                    return Ok(Events::Two);
                }
                self.write(table, has_key, None, &self.event(change))
            }
            (Operation::Delete, Some(old), _) => {
                let has_key = encode_key(table, old, &mut self.key)?;
                let event = self.event(change);
                self.write(table, has_key, None, &event)?;
                self.tombstone(table, has_key, None, &event)
            }
            (_, _, Some(new)) => {
                let has_key = encode_key(table, new, &mut self.key)?;
                self.write(table, has_key, None, &self.event(change))
            }
            // A truncation: no row, no key.
            _ => self.write(table, false, None, &self.event(change)),
        };
        written.map(|()| Events::One)
    }

    /// A key that changed: the old one is deleted, with its tombstone, and the new one created.
    /// The headers tell each of the other, and they are two events of their transaction.
    fn rekey(
        &mut self,
        table: &Captured,
        old: Row<'_>,
        new: Row<'_>,
        source: SourceBlock<'_>,
    ) -> Result<(), Fault> {
        std::mem::swap(&mut self.key, &mut self.old_key);
        let mut header = std::mem::take(&mut self.header);
        header.clear();
        table.encoder.key_header(new, &mut header)?;
        let now_ns = self.now_ns;
        let delete = Event {
            op: Operation::Delete,
            before: Some(old),
            after: None,
            source,
            now_ns,
        };
        self.write(table, true, Some((NEW_KEY, &header)), &delete)?;
        self.tombstone(table, true, Some((NEW_KEY, &header)), &delete)?;

        std::mem::swap(&mut self.key, &mut self.old_key);
        header.clear();
        table.encoder.key_header(old, &mut header)?;
        // What is skipped is not counted.
        let deletions = i64::from(self.skipped & super::bit(Operation::Delete) == 0);
        let transaction = source.transaction.map(|block| TransactionBlock {
            total_order: block.total_order + deletions,
            collection_order: block.collection_order + deletions,
            ..block
        });
        let create = Event {
            op: Operation::Create,
            before: None,
            after: Some(new),
            source: SourceBlock {
                transaction,
                ..source
            },
            now_ns,
        };
        self.write(table, true, Some((OLD_KEY, &header)), &create)?;
        self.header = header;
        Ok(())
    }

    fn event<'b>(&self, change: &RowEvent<'b>) -> Event<'b> {
        let RowEvent {
            op,
            before,
            after,
            source,
        } = *change;
        Event {
            op,
            before,
            after,
            source,
            now_ns: self.now_ns,
        }
    }

    fn write(
        &mut self,
        table: &Captured,
        has_key: bool,
        header: Option<(&str, &[u8])>,
        event: &Event<'_>,
    ) -> Result<(), Fault> {
        let encoder = &table.encoder;
        // A key's change is a deletion and a creation, of which each may be skipped.
        if !encoder.emits(event.op) || self.skipped & super::bit(event.op) != 0 {
            return Ok(());
        }
        let (mut encoder, mut topic) = (encoder, table.topic);
        if encoder.is_routed() {
            self.route.clear();
            if encoder.route(event, &mut self.route)? {
                // It was learned before the row was taken.
                let route = table.route(&self.route).ok_or(Fault::Unrouted)?;
                (encoder, topic) = (&route.encoder, route.topic);
                if let Some(row) = event.after.or(event.before).filter(|_| has_key) {
                    // Its schema is another subject's there.
                    self.key.clear();
                    encoder.key(row, &mut self.key)?;
                }
            }
        }
        let key = has_key.then_some(&self.key[..]);
        let timestamp_ms = self.now_ns / 1_000_000;
        let producer = self.driver.producer();
        let partition = producer.partition(topic, key).unwrap_or_default();
        let mut sent = None;
        loop {
            let mut record = producer.append(topic, partition, timestamp_ms);
            let start = record.byte_count();
            if self.measured > 0 {
                // No more than that: a buffer that grows by itself doubles.
                record.reserve(self.measured);
            }
            record.key(key);
            // A record dropped unfinished leaves the batch as it was.
            if encoder.is_null(event.op) {
                record.value(encoder.null());
            } else {
                record.value_with(|out| encoder.value(event, out))?;
            }
            put_headers(&mut record, header, &self.context);
            put_event_headers(&mut record, encoder, event, &mut self.event_header);
            let bytes = record.byte_count() - start;
            if Refusals::is_large(bytes) {
                // A batch of it alone: a record's frame there is the same, give or take a byte.
                let large = Large {
                    token: self.token + 1,
                    topic: encoder.topic().to_owned(),
                    table: table.name.clone(),
                    key: key_of(&table.table, |at| {
                        Some(event.after.or(event.before)?.cell(at))
                    }),
                    op: event.op,
                    lsn: Lsn(event.source.lsn.unwrap_or_default()),
                    bytes: bytes + HEADER_BYTES,
                };
                if self.refusals.borrow().forbids(&large, self.compression) {
                    let bytes = large.bytes;
                    return Err(Fault::Refused { bytes });
                }
                sent = Some(large);
            }
            match record.finish() {
                Ok(()) => break,
                Err(AppendError::Full) => producer.seal(topic, partition),
                Err(AppendError::RecordTooLarge { bytes, max }) => {
                    return Err(Fault::TooLarge { bytes, max });
                }
            }
        }
        if let Some(large) = sent {
            let acknowledged = producer.acknowledged();
            self.refusals.borrow_mut().sent(large, acknowledged);
        }
        self.appended = true;
        self.events += 1;
        Ok(())
    }

    fn tombstone(
        &mut self,
        table: &Captured,
        has_key: bool,
        header: Option<(&str, &[u8])>,
        event: &Event<'_>,
    ) -> Result<(), Fault> {
        let encoder = &table.encoder;
        let left_out = mutant::is(Mutant::NoTombstone);
        if left_out || !encoder.tombstones() || self.skipped & super::bit(Operation::Delete) != 0 {
            return Ok(());
        }
        if encoder.is_routed()
            && has_key
            && let Some(row) = event.before
        {
            // Its delete may have gone elsewhere, under another schema.
            self.key.clear();
            encoder.key(row, &mut self.key)?;
        }
        let key = has_key.then_some(&self.key[..]);
        let producer = self.driver.producer();
        let partition = producer.partition(table.topic, key).unwrap_or_default();
        let (context, event_header) = (&self.context, &mut self.event_header);
        producer.record(table.topic, partition, self.now_ns / 1_000_000, |record| {
            record.key(key);
            record.value(None);
            put_headers(record, header, context);
            if encoder.tombstone_shares_headers() {
                put_event_headers(record, encoder, event, event_header);
            }
            if let Some((index, name)) = encoder.tombstone_header() {
                event_header.clear();
                let told = encoder.event_header(index, event, event_header);
                record.header(name, told.then_some(&event_header[..]));
            }
        })?;
        self.appended = true;
        Ok(())
    }

    /// Whether a topic was asked for before.
    pub(super) fn knows(&mut self, name: &str) -> bool {
        let producer = self.producer();
        let topic = producer.topic(name);
        producer.partitions(topic).is_some()
    }

    /// A topic that will be asked for: it is looked up, or created, with others.
    pub(super) fn announce(&mut self, name: &str) {
        self.producer().topic(name);
    }

    /// The topic's number, once its partitions are known: created where that is configured.
    pub(super) async fn topic(&mut self, name: &str) -> Result<TopicId, Error> {
        let topic = self.producer().topic(name);
        self.driver.find(topic).await?;
        Ok(topic)
    }

    /// The token behind which everything is acknowledged; with exactly-once, committed.
    pub(super) fn acknowledged(&mut self) -> u64 {
        self.producer().acknowledged()
    }

    /// Waits until everything that was appended is acknowledged, or committed.
    pub(super) async fn drain(&mut self) -> Result<(), Error> {
        if self.appended {
            self.commit();
        }
        Ok(self.driver.drain().await?)
    }

    /// Where a record with this key goes.
    pub(super) fn partition(&mut self, topic: TopicId, key: &[u8]) -> i32 {
        self.producer()
            .partition(topic, Some(key))
            .unwrap_or_default()
    }

    /// The record of a logical decoding message.
    ///
    /// Errors: it is too large, unless such are to be left out; the producer's.
    pub(super) fn message(
        &mut self,
        topic: TopicId,
        key: &[u8],
        value: &[u8],
        mut about: Unsent<'_>,
    ) -> Result<(), Error> {
        let bytes = key.len() + value.len() + HEADER_BYTES;
        let large = Refusals::is_large(bytes).then(|| Large {
            token: self.token + 1,
            topic: about.topic.to_owned(),
            table: about.table.to_owned(),
            key: about.key.clone(),
            op: about.op,
            lsn: about.lsn,
            bytes,
        });
        if let Some(large) = &large
            && self.refusals.borrow().forbids(large, self.compression)
        {
            about.why = Why::Refused { bytes };
            return self.leave_out(&about);
        }
        let partition = self.partition(topic, key);
        let timestamp_ms = net::now_unix_us() / 1000;
        let producer = self.producer();
        let written = producer.record(topic, partition, timestamp_ms, |record| {
            record.key(Some(key));
            record.value(Some(value));
        });
        match written {
            Ok(()) => {}
            Err(produce::Error::RecordTooLarge {
                bytes,
                max: Some(max),
                ..
            }) => {
                about.why = Why::Record { bytes, max };
                return self.leave_out(&about);
            }
            Err(error) => return Err(error.into()),
        }
        self.appended = true;
        if let Some(large) = large {
            let acknowledged = self.acknowledged();
            self.refusals.borrow_mut().sent(large, acknowledged);
        }
        Ok(())
    }

    /// A record that is no change: a position, a heartbeat.
    pub(super) fn plain(
        &mut self,
        topic: TopicId,
        partition: i32,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), Error> {
        let timestamp_ms = net::now_unix_us() / 1000;
        self.producer()
            .record(topic, partition, timestamp_ms, |record| {
                record.key(Some(key));
                record.value(Some(value));
            })?;
        self.appended = true;
        Ok(())
    }
}

const NEW_KEY: &str = "__debezium.newkey";
const OLD_KEY: &str = "__debezium.oldkey";

fn encode_key(table: &Captured, row: Row<'_>, out: &mut Vec<u8>) -> Result<bool, ColumnError> {
    table.encoder.key(row, out)
}

/// Headers that tell something of the event, each spelled out in `buffer`.
fn put_event_headers(
    record: &mut RecordWriter<'_>,
    encoder: &RowEncoder,
    event: &Event<'_>,
    buffer: &mut Vec<u8>,
) {
    for (index, name) in encoder.event_headers().enumerate() {
        buffer.clear();
        let told = encoder.event_header(index, event, buffer);
        record.header(name, told.then_some(&buffer[..]));
    }
}

fn put_headers(
    record: &mut RecordWriter<'_>,
    first: Option<(&str, &[u8])>,
    context: &[(String, Vec<u8>)],
) {
    if let Some((name, value)) = first {
        record.header(name, Some(value));
    }
    for (name, value) in context {
        record.header(name, Some(value));
    }
}
