//! The stream: from the slot's position to wherever the pipe is told to stop.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use pgwire::head::{Head, What};
use pgwire::lsn::Lsn;
use pgwire::pgoutput::{Begin as BeginMessage, LogicalMessage};
use pgwire::replication::StandbyStatusUpdate;
use pgwire::session::Event;
use tokio::time::Instant;

use super::error::{Blame, Error};
use super::keeper::Keeper;
use super::notices::Of;
use super::outlet::{Events, Outlet, RowEvent};
use super::tables::Announced;
use super::unsent::{MESSAGES as MESSAGES_SENT, Unsent, Why, key_of_head};
use super::{Pipe, UNIX_TO_PG_US};
use crate::capture::catalog;
use crate::capture::client::Streaming;
use crate::capture::error::{PgError, PgFault};
use crate::capture::inbox::Inbox;
use crate::capture::pace::{self, Pace};
use crate::capture::stream::{ChangeKind, Decoder, Incoming, RowChange};
use crate::config::{Compat, Operation};
use crate::encode::envelope::{SnapshotMark, SourceBlock, TransactionBlock};
use crate::mutant::{self, Mutant};
use crate::net;
use crate::progress::offsets::{MessageType, StreamPosition};

/// Status updates while something else is waited for: within any `wal_sender_timeout`.
const STATUS_WHILE_WAITING: Duration = Duration::from_secs(5);
/// Of `wal_sender_timeout`: so long may the server say nothing at all, although it was asked. An
/// old one that decodes a long transaction of other tables has no time to answer.
const SILENT_TIMES: u32 = 5;
/// How long the loop may sleep when something is overdue that waits for a transaction's end.
const IDLE_TICK: Duration = Duration::from_millis(50);
/// What the transaction topic counts messages under.
const MESSAGES: &str = "message";
/// Of a message that is too large, how much is waited for: its key is mostly there.
const HEAD: usize = 64 << 10;
/// The same, as Debezium does: a Java object of this class, and where it lies.
const JAVA_MESSAGES: &str =
    "io.debezium.connector.postgresql.LogicalDecodingMessageMonitor$LogicalDecodingMessageId@0";

/// Where the stream begins, and what of it was sent before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Begin {
    /// Asked of the server; zero: the slot's own position.
    pub lsn: Lsn,
    /// Sent before: the position inside the transaction that comes first.
    pub inside: Option<StreamPosition>,
    /// End of the last commit that was processed, for `source.sequence`.
    pub last_commit: Option<Lsn>,
}

/// Why the stream ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It is over.
    Over(End),
    /// It must begin again from here, with rows as text.
    Text(Begin),
}

/// Why streaming ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// All that committed before the limit was sent.
    Reached,
    /// The pipe was told to stop.
    Stopped,
}

/// A stream that runs.
struct Stream {
    connection: Streaming,
    inbox: Inbox,
    pace: Pace,
    /// Status updates on their way to the server.
    out: Vec<u8>,
    decoder: Decoder,
    /// Bytes to let go by: the rest of a message that is too large.
    passing: usize,
    transaction: Option<Transaction>,
    /// Skipped until it is behind us.
    inside: Option<StreamPosition>,
    last_commit: Option<Lsn>,
    /// Before the transaction at hand: all that committed before was sent, and maybe confirmed.
    between: Lsn,
    /// The highest position the server has told of.
    received: Lsn,
    until: Option<Lsn>,
    status_at: Instant,
    /// When the server was last told of our position.
    told_at: Instant,
    /// When the last transaction committed, us since 1970-01-01 UTC.
    committed_us: i64,
    heartbeat_at: Instant,
    /// When the server was last heard, or not listened to.
    heard_at: Instant,
    /// Bytes that had arrived then.
    heard_bytes: usize,
    /// How long the server may say nothing; zero: for ever.
    silence: Duration,
}

/// The transaction at hand.
#[derive(Debug)]
struct Transaction {
    xid: u32,
    /// Commit time, us since 1970-01-01 UTC.
    ts_us: i64,
    origin: Option<(String, Lsn)>,
    /// The last event: its LSN, its kind, and how many of the transaction's events have that LSN.
    last: Option<(Lsn, MessageType, u64)>,
    /// Events of captured tables so far, and the same by table: counted where transaction
    /// metadata is asked for.
    order: i64,
    orders: Vec<(String, i64)>,
}

/// Why decoding paused.
enum Pause {
    /// More bytes are needed.
    Input,
    /// The producer's buffer is full.
    Full,
    /// A table is announced.
    Announced(Announced),
    /// A kind of notice is needed for the first time.
    Notice(Of),
    /// A row goes where none of its table did, by its own word.
    Route(u32, Vec<u8>),
    /// The limit is reached.
    Reached,
}

/// Streams from `from`, until the pipe is told to stop or, with `until`, everything that committed
/// before that position was sent.
pub(super) async fn run(
    pipe: &mut Pipe,
    mut from: Begin,
    until: Option<Lsn>,
) -> Result<End, Error> {
    loop {
        match follow(pipe, from, until).await? {
            Turn::Over(end) => return Ok(end),
            Turn::Text(at) => {
                pipe.binary = false;
                from = at;
            }
        }
    }
}

/// One connection's stream.
async fn follow(pipe: &mut Pipe, from: Begin, until: Option<Lsn>) -> Result<Turn, Error> {
    let connection = pipe.start_replication(from.lsn).await?;
    pipe.established.set(true);
    tracing::info!(connector = pipe.config.name, lsn = %from.lsn, "streaming");
    pipe.tables.forget();
    let budget = pipe.config.budget;
    let inbox = Inbox::holding(
        &connection.received,
        budget.inbox(),
        budget.received + 2 * budget.inbox(),
    );
    // The kernel makes room for twice the mark, and keeps it.
    connection.stream.set_low_water(pace::BUFFER_MARK);
    connection.stream.set_low_water(1);
    let mut stream = Stream {
        connection,
        inbox,
        pace: Pace::new(net::now()),
        out: Vec::with_capacity(128),
        decoder: Decoder::default(),
        passing: 0,
        transaction: None,
        inside: from.inside,
        last_commit: from.last_commit,
        between: from.lsn,
        received: from.lsn,
        until,
        status_at: net::now(),
        told_at: net::now(),
        committed_us: 0,
        heartbeat_at: net::now(),
        heard_at: net::now(),
        heard_bytes: 0,
        silence: pipe.server.wal_sender_timeout * SILENT_TIMES,
    };
    loop {
        pipe.outlet.set_clock();
        let arrived = stream.inbox.bytes().len() != stream.heard_bytes;
        let pause = stream.decode(pipe)?;
        stream.heard_bytes = stream.inbox.bytes().len();
        if arrived || matches!(pause, Pause::Full) {
            stream.heard_at = net::now();
        }
        let reads = matches!(pause, Pause::Input);
        let waits = reads || matches!(pause, Pause::Full);
        match pause {
            Pause::Announced(announced) => {
                let (oid, name) = (announced.oid, announced.name.clone());
                stream.resolve(pipe, announced).await?;
                // That may take as long as the registry does, and it was not listened to.
                stream.heard_at = net::now();
                if pipe.binary && !pipe.tables.read_binary(oid) {
                    tracing::info!(table = name, "a column must come as text: streaming again");
                    let at = stream.resumption(from.lsn);
                    stream.stop(pipe).await?;
                    return Ok(Turn::Text(at));
                }
            }
            Pause::Notice(of) => {
                stream.prepare(pipe, of).await?;
                stream.heard_at = net::now();
            }
            Pause::Route(table, place) => {
                stream.learn_route(pipe, table, &place).await?;
                stream.heard_at = net::now();
            }
            Pause::Reached => {
                // With the position: what is committed without one would be sent again.
                let Pipe { keeper, outlet, .. } = &mut *pipe;
                keeper.settle(outlet, None).await?;
                return Ok(Turn::Over(End::Reached));
            }
            Pause::Input | Pause::Full => {}
        }
        if pipe.is_stopping() {
            stream.stop(pipe).await?;
            return Ok(Turn::Over(End::Stopped));
        }
        stream.beat(pipe).await?;
        stream.look_at_wal(pipe).await?;
        let position = stream.position();
        stream.count(pipe, position);
        pipe.keeper
            .advance(&mut pipe.outlet, position, stream.pace.rushes())?;
        let now = net::now();
        stream.listen(now)?;
        stream.report(&pipe.keeper, pipe.config.source.status_update_interval, now);
        pipe.publish();
        let mut deadline = stream.status_at;
        if let Some(due) = pipe.keeper.deadline(&pipe.outlet, position.is_some()) {
            // What is due already waits for the end of a transaction.
            deadline = deadline.min(due.max(now + IDLE_TICK));
        }
        if !stream.silence.is_zero() {
            deadline = deadline.min(stream.heard_at + stream.silence);
        }
        if !pipe.config.capture.heartbeat_interval.is_zero() {
            deadline = deadline.min(stream.heartbeat_at.max(now + IDLE_TICK));
        }
        if !waits {
            // Thousands of tables may be announced one behind the other: meanwhile the server
            // hears of us, and what was appended is sent and committed.
            deadline = now;
        }
        stream.wait(pipe, reads, deadline).await?;
    }
}

impl Stream {
    /// Decodes what has arrived, and appends the records.
    fn decode(&mut self, pipe: &mut Pipe) -> Result<Pause, Error> {
        loop {
            self.expect(pipe);
            if pipe.outlet.driver.producer().is_full() {
                return Ok(Pause::Full);
            }
            if self.passing > 0 {
                let bytes = self.passing.min(self.inbox.bytes().len());
                self.inbox.consume(bytes);
                self.passing -= bytes;
                if self.passing > 0 {
                    return Ok(Pause::Input);
                }
            }
            let next = self
                .connection
                .session
                .next(self.inbox.bytes(), &mut self.out);
            let Some((event, consumed)) =
                next.map_err(|error| PgError::new(&self.connection.target, error))?
            else {
                if self.oversized(pipe)? {
                    continue;
                }
                return Ok(Pause::Input);
            };
            let body = match event {
                Event::CopyData(body) => body,
                Event::Notice(notice) => {
                    tracing::warn!("PostgreSQL: {}", notice.message());
                    self.inbox.consume(consumed);
                    continue;
                }
                Event::ServerError(error) => {
                    return Err(PgError::refused(&self.connection.target, &error, None).into());
                }
                Event::ParameterStatus { .. } => {
                    self.inbox.consume(consumed);
                    continue;
                }
                // The server shuts down once it has sent everything.
                _ => return Err(PgError::new(&self.connection.target, PgFault::Closed).into()),
            };
            match self
                .decoder
                .decode(body)
                .map_err(|error| PgError::new(&self.connection.target, error))?
            {
                Incoming::Row(change) => {
                    let transaction = self.transaction.as_mut();
                    let Some(transaction) = transaction else {
                        return Err(out_of_order("a change outside of a transaction"));
                    };
                    if pipe.tables.are_routed()
                        && let Some(place) = unknown_route(pipe, transaction, &change)?
                    {
                        return Ok(Pause::Route(change.relation, place));
                    }
                    row(
                        pipe,
                        transaction,
                        &mut self.inside,
                        self.last_commit,
                        &change,
                    )?;
                }
                Incoming::Begin { lsn, begin } => {
                    if self.until.is_some_and(|until| begin.final_lsn >= until) {
                        return Ok(Pause::Reached);
                    }
                    let metadata = pipe.config.capture.transaction_metadata;
                    if metadata && !pipe.notices.is_ready(Of::Transaction) {
                        return Ok(Pause::Notice(Of::Transaction));
                    }
                    self.begin(lsn, begin);
                    if metadata && self.inside.is_none() {
                        let ts_us = begin.committed_at + UNIX_TO_PG_US;
                        let Pipe {
                            notices, outlet, ..
                        } = &mut *pipe;
                        notices.begin(outlet, (begin.xid, lsn.0, ts_us))?;
                        if let Some(transaction) = &mut self.transaction {
                            // The beginning was told: a position stored from now on says so.
                            transaction.last = Some((lsn, MessageType::Begin, 0));
                        }
                    }
                }
                Incoming::Commit(commit) => {
                    let transaction = self.transaction.take();
                    let xid = transaction
                        .as_ref()
                        .map_or(0, |transaction| transaction.xid);
                    let ts_us = commit.committed_at + UNIX_TO_PG_US;
                    let position = StreamPosition::commit(commit.end_lsn, xid, ts_us);
                    if pipe.config.capture.transaction_metadata
                        && let Some(transaction) = transaction
                    {
                        let end = (xid, commit.end_lsn.0, ts_us);
                        let Pipe {
                            notices,
                            outlet,
                            keeper,
                            ..
                        } = &mut *pipe;
                        notices.end(outlet, end, &transaction.orders)?;
                        keeper.count(position, xid, &transaction.orders);
                    }
                    self.committed_us = ts_us;
                    // Whatever was sent of it before, this transaction is complete.
                    self.inside = None;
                    self.last_commit = Some(commit.end_lsn);
                    self.between = commit.end_lsn;
                    self.received = self.received.max(commit.end_lsn);
                    pipe.keeper.reached(&mut pipe.outlet, position);
                }
                Incoming::Keepalive(keepalive) => {
                    self.received = self.received.max(keepalive.wal_end);
                    if keepalive.reply_requested {
                        self.status_at = net::now();
                    }
                    if self.transaction.is_none() {
                        if self.until.is_some_and(|until| keepalive.wal_end >= until) {
                            return Ok(Pause::Reached);
                        }
                        self.between = self.between.max(keepalive.wal_end);
                        pipe.keeper.keepalive(
                            &mut pipe.outlet,
                            keepalive.wal_end,
                            keepalive.reply_requested,
                        );
                    }
                }
                Incoming::Relation(relation) => {
                    let announced = Announced::from(&relation);
                    self.inbox.consume(consumed);
                    return Ok(Pause::Announced(announced));
                }
                Incoming::Truncate { lsn, truncate } => {
                    let relations: Vec<u32> = truncate.relations().collect();
                    self.truncate(pipe, lsn, &relations)?;
                }
                Incoming::Origin(origin) => {
                    if let Some(transaction) = &mut self.transaction {
                        transaction.origin = Some((origin.name.to_owned(), origin.commit_lsn));
                    }
                }
                Incoming::Message { lsn, message } => {
                    // Behind the limit, it comes again when the stream goes on from there.
                    if !message.transactional && self.until.is_some_and(|until| lsn > until) {
                        return Ok(Pause::Reached);
                    }
                    if pipe.takes_message(message.prefix) {
                        if !pipe.notices.is_ready(Of::Message) {
                            return Ok(Pause::Notice(Of::Message));
                        }
                        let transaction = self.transaction.as_mut();
                        let since = Since {
                            last_commit: self.last_commit,
                            committed_us: self.committed_us,
                        };
                        emit_message(pipe, transaction, &mut self.inside, since, lsn, &message)?;
                    }
                    if !message.transactional {
                        // It belongs to no transaction, so its own end is a position.
                        self.last_commit = Some(lsn);
                        self.between = self.between.max(lsn);
                        let position = StreamPosition::message(lsn, self.committed_us);
                        pipe.keeper.reached(&mut pipe.outlet, position);
                    }
                }
                Incoming::Nothing => {}
                Incoming::Unasked => return Err(out_of_order("a message that was not asked for")),
            }
            self.inbox.consume(consumed);
        }
    }

    /// Has the producer make room before a large row is encoded.
    #[inline]
    fn expect(&mut self, pipe: &mut Pipe) {
        let length = match self.inbox.bytes() {
            &[_, a, b, c, d, ..] if self.passing == 0 => u32::from_be_bytes([a, b, c, d]) as usize,
            _ => 0,
        };
        let taken = length <= pipe.config.budget.received;
        pipe.outlet.expect(if taken { length } else { 0 });
    }

    /// Looks at the beginning of a message that has not arrived in full. If there is no room for
    /// all of it, it is let go by, unless it ends the pipe. Whether that was so.
    fn oversized(&mut self, pipe: &mut Pipe) -> Result<bool, Error> {
        let max = pipe.config.budget.received;
        let bytes = self.inbox.bytes();
        let &[_, a, b, c, d, ..] = bytes else {
            return Ok(false);
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length <= max || bytes.len() < HEAD {
            return Ok(false);
        }
        let head = Head::parse(bytes);
        let head = head.map_err(|error| PgError::new(&self.connection.target, error))?;
        let Some(head) = head else {
            return Ok(false);
        };
        self.passing = head.bytes;
        let why = Why::Message {
            bytes: head.bytes,
            max,
        };
        let unsent = |table, topic, key, op, tx_id| Unsent {
            table,
            topic,
            key,
            op,
            lsn: head.lsn,
            tx_id,
            why,
        };
        match (head.what, self.transaction.as_mut()) {
            (What::Row(row), Some(transaction)) => {
                let (op, kind) = match row.kind {
                    b'I' => (Operation::Create, MessageType::Insert),
                    b'U' => (Operation::Update, MessageType::Update),
                    _ => (Operation::Delete, MessageType::Delete),
                };
                let seen = transaction.count(head.lsn, kind);
                if was_sent(&mut self.inside, head.lsn, seen) || pipe.skips(op) {
                    return Ok(true);
                }
                let Some(table) = pipe.tables.captured(row.relation)? else {
                    return Ok(true);
                };
                let key = key_of_head(&table.table, row.cells());
                let tx_id = Some(i64::from(transaction.xid));
                let topic = table.encoder.topic();
                pipe.outlet
                    .leave_out(&unsent(&table.name, topic, key, op, tx_id))?;
            }
            (What::Message { transactional }, transaction) => {
                let transaction = transaction.filter(|_| transactional);
                let tx_id = transaction.as_ref().map(|it| i64::from(it.xid));
                let seen = transaction.map_or(1, |it| it.count(head.lsn, MessageType::Message));
                if was_sent(&mut self.inside, head.lsn, seen) || pipe.skips(Operation::Message) {
                    return Ok(true);
                }
                let (key, op) = ("{}".to_owned(), Operation::Message);
                pipe.outlet
                    .leave_out(&unsent(MESSAGES_SENT, "", key, op, tx_id))?;
            }
            (What::Row(_), None) => return Err(out_of_order("a change outside of a transaction")),
            (What::Other(_), _) => {
                return Err(out_of_order("a message without a row, larger than any is"));
            }
        }
        Ok(true)
    }

    fn begin(&mut self, lsn: Lsn, begin: BeginMessage) {
        self.received = self.received.max(lsn);
        self.transaction = Some(Transaction {
            xid: begin.xid,
            ts_us: begin.committed_at + UNIX_TO_PG_US,
            origin: None,
            last: None,
            order: 0,
            orders: Vec::new(),
        });
        // The position inside a transaction is of the one that comes first, or of none any more.
        if self
            .inside
            .is_some_and(|inside| inside.tx_id != Some(u64::from(begin.xid)))
        {
            self.inside = None;
        }
    }

    fn truncate(&mut self, pipe: &mut Pipe, lsn: Lsn, relations: &[u32]) -> Result<(), Error> {
        let Some(transaction) = self.transaction.as_mut() else {
            return Err(out_of_order("a truncation outside of a transaction"));
        };
        for &relation in relations {
            let seen = transaction.count(lsn, MessageType::Truncate);
            let sent = was_sent(&mut self.inside, lsn, seen);
            if !sent {
                pipe.keeper.truncated(relation);
            }
            if pipe.skips(Operation::Truncate) {
                continue;
            }
            let Some(table) = pipe.tables.captured(relation)? else {
                continue;
            };
            if pipe.keeper.awaits(relation, || false) {
                continue;
            }
            let metadata = pipe.config.capture.transaction_metadata;
            let block = transaction.number(metadata, lsn, &table.name);
            if sent {
                continue;
            }
            let event = RowEvent {
                op: Operation::Truncate,
                before: None,
                after: None,
                source: transaction.source(lsn, self.last_commit, block),
            };
            pipe.outlet.change(table, &event)?;
        }
        Ok(())
    }

    /// Completes a table from the catalogue and the registry, while the server keeps hearing of us
    /// and what was appended is sent.
    async fn resolve(&mut self, pipe: &mut Pipe, announced: Announced) -> Result<(), Error> {
        self.count(pipe, self.position());
        let Pipe {
            tables,
            client,
            types,
            registry,
            outlet,
            config,
            keeper,
            ..
        } = pipe;
        let interval = config.source.status_update_interval;
        let resolution = tables.resolve(announced, (client, types), registry, config);
        let resolved = self.while_sending(resolution, interval, keeper, outlet);
        let Some(compiled) = resolved.await? else {
            return Ok(());
        };
        if !outlet.knows(compiled.topic()) {
            compiled.tell_if_keyless();
        }
        let found = outlet.topic(compiled.topic());
        let topic = self.meanwhile(found, interval, keeper).await?;
        tables.place(compiled, topic);
        Ok(())
    }

    /// Makes it known where rows go, in the same way.
    async fn learn_route(&mut self, pipe: &mut Pipe, oid: u32, place: &[u8]) -> Result<(), Error> {
        self.count(pipe, self.position());
        let Pipe {
            tables,
            registry,
            outlet,
            config,
            keeper,
            ..
        } = pipe;
        let interval = config.source.status_update_interval;
        let Some(table) = tables.captured(oid)? else {
            return Ok(());
        };
        let compiling = table.compile_route(place, registry, config);
        let compiled = self.while_sending(compiling, interval, keeper, outlet);
        let encoder = compiled.await?;
        let found = outlet.topic(encoder.topic());
        let topic = self.meanwhile(found, interval, keeper).await?;
        tables.learn_route(oid, place, encoder, topic);
        Ok(())
    }

    /// Makes a kind of notice ready, in the same way.
    async fn prepare(&mut self, pipe: &mut Pipe, of: Of) -> Result<(), Error> {
        self.count(pipe, self.position());
        let Pipe {
            notices,
            registry,
            outlet,
            config,
            keeper,
            ..
        } = pipe;
        let interval = config.source.status_update_interval;
        let preparation = notices.prepare(of, registry, config);
        let prepared = self.while_sending(preparation, interval, keeper, outlet);
        if let Some(compiled) = prepared.await? {
            let found = outlet.topic(&compiled.topic);
            let topic = self.meanwhile(found, interval, keeper).await?;
            notices.place(compiled, topic);
        }
        Ok(())
    }

    /// Writes a heartbeat when one is due, after its query has run. In the middle of a transaction
    /// it would say nothing new.
    async fn beat(&mut self, pipe: &mut Pipe) -> Result<(), Error> {
        let interval = pipe.config.capture.heartbeat_interval;
        if interval.is_zero() || net::now() < self.heartbeat_at || self.transaction.is_some() {
            return Ok(());
        }
        self.heartbeat_at = net::now() + interval;
        if !pipe.notices.is_ready(Of::Heartbeat) {
            self.prepare(pipe, Of::Heartbeat).await?;
        }
        let Pipe {
            client,
            keeper,
            config,
            ..
        } = &mut *pipe;
        if let Some(query) = &config.capture.heartbeat_action_query {
            let interval = config.source.status_update_interval;
            let run = client.simple_query(query);
            match self.meanwhile(run, interval, keeper).await {
                Err(error) if error.code().is_some() => {
                    tracing::warn!("heartbeat.action.query: {error}");
                }
                result => drop(result?),
            }
        }
        let Pipe {
            notices,
            outlet,
            config,
            ..
        } = pipe;
        notices.heartbeat(outlet, config)
    }

    /// Looks at the WAL that the slot keeps, when that is due.
    async fn look_at_wal(&mut self, pipe: &mut Pipe) -> Result<(), Error> {
        let Pipe {
            client,
            server,
            config,
            keeper,
            retention,
            ..
        } = pipe;
        let now = net::now();
        let waits = retention.borrow_mut().waits(now, keeper.waits_since());
        if !retention.borrow().is_due(now, waits) {
            return Ok(());
        }
        let source = &config.source;
        let look = catalog::retained(client, server, source);
        let look = self.meanwhile(look, source.status_update_interval, keeper);
        let seen = match tokio::time::timeout(source.connect_timeout, look).await {
            Ok(seen) => seen?,
            Err(_) => return Err(PgError::new(&self.connection.target, PgFault::TimedOut).into()),
        };
        retention.borrow_mut().tell(&config.name, now, waits, seen);
        Ok(())
    }

    /// How long nothing was heard, as far as that begins to matter.
    fn silent(&self, now: Instant) -> Option<Duration> {
        let silent = now.duration_since(self.heard_at);
        (!self.silence.is_zero() && silent >= self.silence / 2).then_some(silent)
    }

    /// Errors: the server was asked for a word, and none has come.
    fn listen(&self, now: Instant) -> Result<(), Error> {
        let Some(silent) = self.silent(now).filter(|silent| *silent >= self.silence) else {
            return Ok(());
        };
        let why = format!(
            "nothing was heard from the server for {} s, although it was asked",
            silent.as_secs()
        );
        let error = io::Error::new(io::ErrorKind::TimedOut, why);
        Err(PgError::new(&self.connection.target, error).into())
    }

    /// When the server is told of our position, whatever else is waited for.
    fn tells_at(&self, interval: Duration) -> Instant {
        self.told_at + interval.min(STATUS_WHILE_WAITING)
    }

    /// Waits for `work`, while the server keeps hearing of us.
    async fn meanwhile<T, E: From<PgError>>(
        &mut self,
        work: impl Future<Output = Result<T, E>>,
        interval: Duration,
        keeper: &Keeper,
    ) -> Result<T, E> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::sleep_until(self.tells_at(interval)) => {
                    self.put_status(keeper.confirmed());
                    self.write_some().await?;
                }
            }
        }
    }

    /// As [`Self::meanwhile`], and what was appended is sent and committed: a registry may be away
    /// for longer than a Kafka transaction may last.
    async fn while_sending<T>(
        &mut self,
        work: impl Future<Output = Result<T, Error>>,
        interval: Duration,
        keeper: &mut Keeper,
        outlet: &mut Outlet,
    ) -> Result<T, Error> {
        let mut work = pin!(work);
        let position = self.position();
        loop {
            keeper.advance(outlet, position, false)?;
            if net::now() >= self.tells_at(interval) || keeper.has_moved() {
                self.put_status(keeper.take_confirmed());
                self.write_some().await?;
            }
            let mut due = self.tells_at(interval);
            if let Some(stored) = keeper.deadline(outlet, position.is_some()) {
                due = due.min(stored.max(net::now() + IDLE_TICK));
            }
            tokio::select! {
                biased;
                done = &mut work => return done,
                driven = outlet.driver.drive() => driven?,
                () = tokio::time::sleep_until(due) => {}
            }
        }
    }

    /// Where another stream takes over: behind the last event that was appended.
    fn resumption(&self, began: Lsn) -> Begin {
        let inside = self.position();
        let lsn = match inside {
            Some(position) => position.start(),
            None => self.last_commit.map_or(began, |commit| commit.max(began)),
        };
        Begin {
            lsn,
            inside,
            last_commit: self.last_commit,
        }
    }

    /// The last event that was appended, when it lies inside a transaction.
    fn position(&self) -> Option<StreamPosition> {
        // What was sent before is not behind us yet.
        if self.inside.is_some() {
            return self.inside;
        }
        let transaction = self.transaction.as_ref()?;
        let (lsn, kind, events_at_lsn) = transaction.last?;
        Some(StreamPosition {
            lsn,
            // Not merely the last commit: a keepalive behind it may have been confirmed.
            commit: if mutant::is(Mutant::ResumeAtEvent) {
                Some(lsn)
            } else {
                Some(self.between).filter(|lsn| lsn.0 > 0)
            },
            tx_id: Some(u64::from(transaction.xid)),
            ts_us: transaction.ts_us,
            events_at_lsn: if mutant::is(Mutant::ForgetIndex) {
                0
            } else {
                events_at_lsn
            },
            kind: if mutant::is(Mutant::ForgetInside) {
                MessageType::Commit
            } else {
                kind
            },
        })
    }

    /// With transaction metadata: what was counted up to a position inside the transaction.
    fn count(&self, pipe: &mut Pipe, position: Option<StreamPosition>) {
        if let (Some(position), Some(transaction)) = (position, &self.transaction)
            && pipe.config.capture.transaction_metadata
        {
            pipe.keeper
                .count(position, transaction.xid, &transaction.orders);
        }
    }

    /// Puts a status update when one is due, or the confirmed position has moved.
    fn report(&mut self, keeper: &Keeper, interval: Duration, now: Instant) {
        if now >= self.status_at || keeper.has_moved() {
            self.put_status(keeper.take_confirmed());
            self.status_at = now + interval;
        }
    }

    fn put_status(&mut self, confirmed: Lsn) {
        self.told_at = net::now();
        let status = StandbyStatusUpdate {
            written: self.received.max(confirmed),
            flushed: if mutant::is(Mutant::ConfirmReceived) {
                self.received
            } else {
                confirmed
            },
            applied: confirmed,
            sent_at: net::now_unix_us() - UNIX_TO_PG_US,
            reply_requested: self.silent(net::now()).is_some(),
        };
        status.put(&mut self.out);
    }

    /// Waits for whatever comes first: bytes of the stream, progress of the producer, `deadline`.
    /// Status updates are written whether or not anything is read.
    async fn wait(&mut self, pipe: &mut Pipe, read: bool, deadline: Instant) -> Result<(), Error> {
        let Self {
            connection,
            inbox,
            pace,
            out,
            ..
        } = self;
        let due = if read {
            pace.deadline(net::now())
        } else {
            None
        };
        let deadline = due.map_or(deadline, |due| due.min(deadline));
        let marked = pace.mark();
        let keeper = &mut pipe.keeper;
        let mut drive = pin!(pipe.outlet.driver.drive());
        let mut stopped = pin!(pipe.shutdown.changed());
        let mut timer = pin!(tokio::time::sleep_until(deadline));
        let waited: Result<(), Error> = poll_fn(|cx| {
            let mut progress = false;
            if let Poll::Ready(result) = drive.as_mut().poll(cx) {
                result?;
                progress = true;
            }
            match poll_write(&mut connection.stream, out, cx) {
                Poll::Ready(Ok(())) | Poll::Pending => {}
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(PgError::new(&connection.target, error).into()));
                }
            }
            if read {
                match inbox.poll_fill(&mut connection.stream, cx) {
                    Poll::Ready(Ok(bytes)) => {
                        pace.read(bytes, net::now());
                        progress = true;
                    }
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(Err(PgError::new(&connection.target, error).into()));
                    }
                    Poll::Pending => {}
                }
            }
            if stopped.as_mut().poll(cx).is_ready() || keeper.poll_file(cx).is_ready() {
                progress = true;
            }
            if !progress && timer.as_mut().poll(cx).is_ready() {
                pace.expire();
                progress = true;
            }
            if progress {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            }
        })
        .await;
        if pace.mark() != marked {
            connection.stream.set_low_water(pace.mark());
        }
        waited
    }

    async fn write_some(&mut self) -> Result<(), PgError> {
        let written = poll_fn(|cx| poll_write(&mut self.connection.stream, &mut self.out, cx));
        written
            .await
            .map_err(|error| PgError::new(&self.connection.target, error))
    }

    /// Sends what was appended, stores and confirms the position, and says good-bye.
    async fn stop(&mut self, pipe: &mut Pipe) -> Result<(), Error> {
        let position = self.position();
        self.count(pipe, position);
        pipe.settle(position).await?;
        self.put_status(pipe.keeper.confirmed());
        self.connection.session.terminate(&mut self.out);
        while !self.out.is_empty() {
            if self.write_some().await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// Writes as much of `out` as the socket takes; ready when all of it is written.
fn poll_write(
    stream: &mut net::Stream,
    out: &mut Vec<u8>,
    cx: &mut std::task::Context<'_>,
) -> Poll<io::Result<()>> {
    use tokio::io::AsyncWrite as _;
    while !out.is_empty() {
        match std::pin::Pin::new(&mut *stream).poll_write(cx, out) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(n)) => drop(out.drain(..n)),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
    }
    std::pin::Pin::new(stream).poll_flush(cx)
}

/// One row's change: appended unless its table is not captured, it was sent before, or its
/// operation is skipped.
#[inline]
fn row(
    pipe: &mut Pipe,
    transaction: &mut Transaction,
    inside: &mut Option<StreamPosition>,
    last_commit: Option<Lsn>,
    change: &RowChange<'_>,
) -> Result<(), Error> {
    let (op, kind) = match change.kind {
        ChangeKind::Insert => (Operation::Create, MessageType::Insert),
        ChangeKind::Update => (Operation::Update, MessageType::Update),
        ChangeKind::Delete => (Operation::Delete, MessageType::Delete),
    };
    let lsn = change.lsn;
    let seen = transaction.count(lsn, kind);
    let sent = inside.is_some() && was_sent(inside, lsn, seen);
    let metadata = pipe.config.capture.transaction_metadata;
    // What was sent before is counted all the same.
    if sent && !metadata {
        return Ok(());
    }
    if pipe.skips(op) {
        return Ok(());
    }
    let Some(table) = pipe.tables.captured(change.relation)? else {
        return Ok(());
    };
    let lacks = || change.new.is_some_and(|new| new.lacks());
    if pipe.keeper.awaits(table.table.oid, lacks) {
        return Ok(());
    }
    if pipe.config.capture.skip_unchanged
        && let (Some(old), Some(new)) = (change.old, change.new)
        && old.whole
        && table.encoder.same_row(old.row, new, &mut pipe.scratch)
    {
        return Ok(());
    }
    let block = transaction.number(metadata, lsn, &table.name);
    let event = RowEvent {
        op,
        before: change.old.map(|old| old.row),
        after: change.new,
        source: transaction.source(lsn, last_commit, block),
    };
    let events = if sent {
        pipe.outlet.events_of(table, &event)
    } else {
        pipe.outlet.change(table, &event)?
    };
    if events == Events::Two && metadata {
        let name = table.name.clone();
        // A deletion and a creation, of which each may be skipped.
        match (pipe.skips(Operation::Delete), pipe.skips(Operation::Create)) {
            (false, false) => {
                transaction.number(metadata, lsn, &name);
            }
            (true, true) => transaction.uncount(&name),
            _ => {}
        }
    }
    Ok(())
}

/// Where the records of a change go by its own word, if that is not known yet.
fn unknown_route(
    pipe: &mut Pipe,
    transaction: &Transaction,
    change: &RowChange<'_>,
) -> Result<Option<Vec<u8>>, Error> {
    let Pipe {
        tables, scratch, ..
    } = pipe;
    let Some(table) = tables.captured(change.relation)? else {
        return Ok(None);
    };
    let event = RowEvent {
        op: Operation::Update,
        before: change.old.map(|old| old.row),
        after: change.new,
        source: transaction.source(change.lsn, None, None),
    };
    scratch.clear();
    let unknown = table.unknown_route(&event, scratch);
    Ok(unknown.then(|| scratch.clone()))
}

/// What a message outside of transactions is told of them.
#[derive(Clone, Copy)]
struct Since {
    last_commit: Option<Lsn>,
    committed_us: i64,
}

/// A logical decoding message: an event of its transaction, or of none.
fn emit_message(
    pipe: &mut Pipe,
    transaction: Option<&mut Transaction>,
    inside: &mut Option<StreamPosition>,
    since: Since,
    lsn: Lsn,
    message: &LogicalMessage<'_>,
) -> Result<(), Error> {
    let metadata = pipe.config.capture.transaction_metadata;
    let Pipe {
        notices,
        outlet,
        config,
        ..
    } = pipe;
    let content = (message.prefix, message.content);
    if !message.transactional {
        let source = SourceBlock {
            ts_us: since.committed_us,
            snapshot: SnapshotMark::False,
            last_commit_lsn: Some(lsn.0),
            lsn: Some(lsn.0),
            tx_id: None,
            xmin: None,
            origin: None,
            origin_lsn: None,
            transaction: None,
        };
        return notices.message(outlet, config, &source, content);
    }
    let Some(transaction) = transaction else {
        return Err(out_of_order("a message of a transaction outside of any"));
    };
    let seen = transaction.count(lsn, MessageType::Message);
    let counted = match config.encode.compat {
        Compat::Correct => MESSAGES,
        Compat::Debezium => JAVA_MESSAGES,
    };
    let block = transaction.number(metadata, lsn, counted);
    if was_sent(inside, lsn, seen) {
        return Ok(());
    }
    let source = transaction.source(lsn, since.last_commit, block);
    notices.message(outlet, config, &source, content)
}

/// Whether the event at `lsn`, the `seen`-th there, lies before the position that was stored.
fn was_sent(inside: &mut Option<StreamPosition>, lsn: Lsn, seen: u64) -> bool {
    let seen = seen - u64::from(mutant::is(Mutant::ResumeLate));
    match inside {
        Some(at) if lsn < at.lsn || (lsn == at.lsn && seen <= at.events_at_lsn) => true,
        Some(_) => {
            *inside = None;
            false
        }
        None => false,
    }
}

impl Transaction {
    /// Counts an event; the answer is its number among those of the same LSN, from 1.
    #[inline]
    fn count(&mut self, lsn: Lsn, kind: MessageType) -> u64 {
        let seen = match self.last {
            Some((last, _, seen)) if last == lsn => seen + 1,
            _ => 1,
        };
        self.last = Some((lsn, kind, seen));
        seen
    }

    /// Numbers an event in the transaction and among those of its table, where that is asked for.
    #[inline]
    fn number(&mut self, metadata: bool, lsn: Lsn, table: &str) -> Option<TransactionBlock> {
        if !metadata {
            return None;
        }
        self.order += 1;
        let place = match self.orders.iter().position(|(name, _)| name == table) {
            Some(place) => place,
            None => {
                self.orders.push((table.to_owned(), 0));
                self.orders.len() - 1
            }
        };
        let (_, order) = &mut self.orders[place];
        *order += 1;
        Some(TransactionBlock {
            xid: self.xid,
            lsn: lsn.0,
            total_order: self.order,
            collection_order: *order,
        })
    }

    /// Takes back the last [`Self::number`].
    fn uncount(&mut self, table: &str) {
        self.order -= 1;
        if let Some((_, order)) = self.orders.iter_mut().find(|(name, _)| name == table) {
            *order -= 1;
        }
        self.orders.retain(|(_, order)| *order > 0);
    }

    fn source(
        &self,
        lsn: Lsn,
        last_commit: Option<Lsn>,
        transaction: Option<TransactionBlock>,
    ) -> SourceBlock<'_> {
        SourceBlock {
            ts_us: self.ts_us,
            snapshot: SnapshotMark::False,
            last_commit_lsn: last_commit.map(|lsn| lsn.0),
            lsn: Some(lsn.0),
            tx_id: Some(i64::from(self.xid)),
            xmin: None,
            origin: self.origin.as_ref().map(|(name, _)| name.as_str()),
            origin_lsn: self.origin.as_ref().map(|(_, lsn)| lsn.0),
            transaction,
        }
    }
}

fn out_of_order(what: &str) -> Error {
    Error::fatal(Blame::Postgres, "the replication stream", what)
        .remedy("something between penstock and PostgreSQL speaks another protocol version")
}
