//! The snapshot: every captured table as it was at the slot's consistent point, row by row, over
//! one or more connections that see the same.
//!
//! ```text
//!   table ─► heaps (itself, or its partitions) ─► pieces, ranges of tids ─► a COPY each
//! ```
//!
//! A row comes with its tid, in the order of tids. What was sent is stored with the rows, so that
//! another start goes on behind the last: see [`Copied`], and "The snapshot and the stream" in
//! docs/architecture.md for why that is right though rows change meanwhile.
//!
//! The last row of a table, and the last of all, are marked as such; which one that is shows only
//! when nothing follows it. So a row is encoded where it lies if the next one is already seen
//! behind it, and is set aside otherwise: once for each piece.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use pgwire::copy::{self, BinaryRow};
use pgwire::frame::Tag;
use pgwire::replication::quote_identifier;
use pgwire::session::Event;
use tokio::time::Instant;

use super::error::{Blame, Error};
use super::keeper::Keeper;
use super::outlet::{Outlet, RowEvent};
use super::tables::{Captured, compile, topic_of};
use super::unsent::{Unsent, Why, key_of};
use super::{Pipe, STOP_WITHIN};
use crate::capture::catalog::{self, CapturedTable, HeapOf, Server};
use crate::capture::client::Client;
use crate::capture::error::PgError;
use crate::capture::inbox::Inbox;
use crate::capture::relations::Table;
use crate::capture::row::{Cell, Row, RowIndex};
use crate::config::{Config, Operation};
use crate::encode::envelope::{SnapshotMark, SourceBlock};
use crate::encode::plan::Phase;
use crate::mutant::{self, Mutant};
use crate::net;
use crate::progress::copied::{self, Begun, Copied, Heap, View};
use crate::progress::offsets::SnapshotPosition;

/// What one connection's receive buffer holds when nothing is unusual, and there is room for it.
const INBOX_BYTES: usize = 256 << 10;
/// Of a row that is too large, how much is waited for: its key is mostly there.
const HEAD: usize = 64 << 10;
/// How long records of a snapshot wait for their Kafka transaction to end: it has a time limit,
/// and readers wait for it.
const COMMIT_EVERY: Duration = Duration::from_millis(500);
/// The fewest blocks that are worth a COPY of their own.
const PIECE_BLOCKS_MIN: u64 = 1024;
/// How many pieces each connection has of a table: the more, the more alike they end.
const PIECES_PER_CONNECTION: u64 = 4;

/// What the connections see.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// Where it joins the stream, and what rows say of their source.
    pub position: SnapshotPosition,
    /// `txid_current_snapshot()`
    pub view: String,
}

/// Sessions that copy read tables in their physical order, all of it in one process each.
pub(super) const SETTINGS: &str =
    "SET synchronize_seqscans = off; SET max_parallel_workers_per_gather = 0";

/// A table of the snapshot.
struct Part {
    oid: u32,
    name: String,
    finished: bool,
    /// From shortly before its first row is read until its last one is sent.
    reading: Option<Box<Reading>>,
}

/// A table that is being copied, or is about to be.
struct Reading {
    /// Taken when it is begun.
    table: Option<Table>,
    captured: Option<Captured>,
    /// The server has a binary form of every type.
    binary: bool,
    /// What is stored of it from its beginning on; taken then.
    entry: Option<Begun>,
    /// What is still to be read, in order.
    pieces: VecDeque<Piece>,
    /// Pieces at work.
    active: usize,
    /// A row of it was seen, now or before the copy was interrupted.
    seen: bool,
    /// The row that was read last, if nothing followed it in its piece.
    held: Option<Held>,
    started: Option<Instant>,
}

/// What one COPY reads.
#[derive(Debug, Clone)]
struct Piece {
    /// Of [`Begun::heaps`]; none: the table by one statement.
    heap: Option<usize>,
    /// What stands behind FROM.
    from: String,
    /// Rows that are wanted, beside the range.
    condition: Option<String>,
    /// The tid that is next, and where the piece ends.
    at: u64,
    to: Option<u64>,
}

/// A row that may be the last of its table, or of all.
struct Held {
    row: Vec<u8>,
    index: RowIndex,
    first: bool,
    /// Its heap and tid.
    place: Option<(usize, u64)>,
    /// The connection whose piece is not over: rows behind it are left out, and more may come.
    reader: Option<usize>,
    /// Otherwise, where that piece ended.
    to: Option<u64>,
}

/// A row that goes where none of its table did.
struct Unrouted {
    reader: usize,
    part: usize,
    place: Vec<u8>,
    row: Option<(Vec<u8>, RowIndex, SnapshotMark)>,
    /// The tid that is next, once it is sent.
    next: u64,
}

/// A connection that copies.
struct Reader {
    client: Client,
    inbox: Inbox,
    /// Bytes to let go by: the rest of a row that is too large.
    passing: usize,
    index: RowIndex,
    /// What it copies: of [`Copy::parts`].
    work: Option<Work>,
}

struct Work {
    part: usize,
    piece: Piece,
    /// Tids of what was sent before this are stored.
    from: u64,
    statement: String,
    binary: bool,
    /// The header of the binary form is behind.
    begun: bool,
    /// Every tid was larger than the one before.
    ordered: bool,
}

/// A snapshot that runs.
struct Copy {
    parts: Vec<Part>,
    /// The first of them that is not finished.
    open: usize,
    seen: Seen,
    copied: Copied,
    /// The place of `seen.view` in `copied.views`.
    view: usize,
    readers: Vec<Reader>,
    /// The last row of the table that ended last.
    finale: Option<(usize, Held)>,
    /// Where a row of a table goes by its own word, which is not known yet; and the row, unless it
    /// is set aside anyway.
    unrouted: Option<Unrouted>,
    /// The largest row that one connection takes, in bytes.
    received: usize,
    /// When what is copied was stored, and, without transactions, what waits for a token.
    stored_at: Instant,
    waiting: Option<(u64, Copied)>,
}

/// Copies `tables` over `clients`, which see them as `seen` says, and of which `copied` was sent
/// before. The producer has acknowledged every row when this returns. `false`: the pipe was told to
/// stop before the end.
pub(super) async fn run(
    pipe: &mut Pipe,
    clients: Vec<Client>,
    tables: Vec<CapturedTable>,
    seen: Seen,
    mut copied: Copied,
) -> Result<bool, Error> {
    copied.inside = None;
    if !copied.begun.is_empty() || !copied.finished.is_empty() {
        let (finished, begun) = (copied.finished.len(), copied.begun.len());
        tracing::info!(finished, begun, "the copy goes on where it was interrupted");
    }
    let view = copied.enter(&seen.view);
    let part = |table: CapturedTable| Part {
        oid: table.oid,
        name: table.full_name(),
        finished: copied.finished.contains(&table.oid),
        reading: None,
    };
    let parts = tables.into_iter().map(part).collect();
    // The connections share what there is for one stream.
    let received = pipe.config.budget.received / clients.len().max(1);
    let room = INBOX_BYTES.min(received / 4);
    let reader = |client| Reader {
        client,
        inbox: Inbox::new(room, received + 2 * room),
        passing: 0,
        index: RowIndex::default(),
        work: None,
    };
    let mut copy = Copy {
        parts,
        open: 0,
        seen,
        copied,
        view,
        readers: clients.into_iter().map(reader).collect(),
        finale: None,
        unrouted: None,
        received,
        stored_at: net::now(),
        waiting: None,
    };
    let position = copy.seen.position;
    let mut begun = position;
    begun.completed |= mutant::is(Mutant::SnapshotCompleteEarly);
    pipe.keeper
        .put_snapshot(&mut pipe.outlet, begun, Some(&copy.copied))?;
    if !pipe.config.sink.exactly_once {
        // Rows that were seen without it would be forgotten by the next start.
        pipe.drain().await?;
    }
    for turn in 0_usize.. {
        let busy = copy.assign(pipe).await?;
        if !busy {
            break;
        }
        pipe.outlet.set_clock();
        let mut ended = false;
        // Where the producer is what they wait for, who comes first gets what room there is.
        for at in 0..copy.readers.len() {
            let at = (at + turn) % copy.readers.len();
            ended |= copy.rows(pipe, at)?;
            while let Some(unrouted) = copy.unrouted.take() {
                copy.route(pipe, unrouted).await?;
                ended |= copy.rows(pipe, at)?;
            }
        }
        if pipe.is_stopping() {
            copy.stop(pipe).await?;
            return Ok(false);
        }
        copy.publish(pipe);
        copy.store(&mut pipe.keeper, &mut pipe.outlet, &pipe.config)?;
        if !ended {
            copy.wait(pipe).await?;
        }
    }
    if let Some((part, held)) = copy.finale.take() {
        copy.release(pipe, part, held, SnapshotMark::Last)?;
    }
    if !pipe.config.sink.exactly_once && !mutant::is(Mutant::CompleteBesideRows) {
        // The position may arrive where its rows do not.
        pipe.drain().await?;
    }
    let done = SnapshotPosition {
        completed: true,
        ..position
    };
    pipe.keeper.put_snapshot(&mut pipe.outlet, done, None)?;
    pipe.drain().await?;
    Ok(true)
}

/// What keeps rows out that changed since the table was begun: they came with the stream. None:
/// all are wanted.
fn unchanged(copied: &Copied, heap: &Heap, seen: &Seen, told: bool, table: &str) -> Option<String> {
    let text = copied.views.get(heap.view)?;
    if !told || *text == seen.view || mutant::is(Mutant::CopyForgetsView) {
        return None;
    }
    let (then, now) = (View::parse(text)?, View::parse(&seen.view)?);
    if !now.is_of_first_epoch() {
        tracing::info!(
            table,
            "transaction ids have come round since this cluster was made, so rows that changed \
             while the copy was interrupted cannot be told from older ones: they are sent again"
        );
        return None;
    }
    Some(then.condition())
}

/// The ranges that are left, each cut for so many connections.
fn cut(heap: &Heap, blocks: u64, connections: usize) -> Vec<(u64, Option<u64>)> {
    let mut rest = heap.done.rest();
    if mutant::is(Mutant::CopyForgetsRanges) {
        rest = vec![(0, None)];
    }
    if connections < 2 {
        return rest;
    }
    let pieces = PIECES_PER_CONNECTION * u64::try_from(connections).unwrap_or(1);
    let step = blocks.div_ceil(pieces).max(PIECE_BLOCKS_MIN) << 16;
    let end = blocks << 16;
    let mut cut = Vec::new();
    for (mut from, to) in rest {
        while from + step < to.unwrap_or(end) {
            cut.push((from, Some(from + step)));
            from += step;
        }
        cut.push((from, to));
    }
    cut
}

fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", quote_identifier(schema), quote_identifier(name))
}

impl Copy {
    /// Gives every idle connection a piece, tables in their order. `false`: there is none left, and
    /// none at work.
    async fn assign(&mut self, pipe: &mut Pipe) -> Result<bool, Error> {
        let mut busy = false;
        for at in 0..self.readers.len() {
            if self.readers[at].work.is_none()
                && let Some((part, piece)) = self.next_piece(pipe).await?
            {
                self.begin(pipe, at, part, piece).await?;
            }
            busy |= self.readers[at].work.is_some();
        }
        Ok(busy)
    }

    /// The next piece; tables that have none are finished on the way.
    async fn next_piece(&mut self, pipe: &mut Pipe) -> Result<Option<(usize, Piece)>, Error> {
        while self.parts.get(self.open).is_some_and(|part| part.finished) {
            self.open += 1;
        }
        for at in self.open..self.parts.len() {
            if self.parts[at].finished {
                continue;
            }
            if self.parts[at].reading.is_none() {
                self.look_ahead(pipe, at).await?;
            }
            let reading = self.parts[at].reading.as_mut();
            let Some(reading) = reading else {
                return Err(unexpected("a table that is gone, although it is locked"));
            };
            if let Some(piece) = reading.pieces.pop_front() {
                return Ok(Some((at, piece)));
            }
            if reading.active == 0 {
                self.end_table(pipe, at)?;
            }
        }
        Ok(None)
    }

    /// Asks the catalogue for the table at `from` and some behind it, and has their topics looked
    /// up or created together: one by one, thousands of tables take many minutes. They are locked,
    /// so they stay as they are found.
    async fn look_ahead(&mut self, pipe: &mut Pipe, from: usize) -> Result<(), Error> {
        let Pipe {
            client,
            server,
            types,
            config,
            outlet,
            keeper,
            ..
        } = pipe;
        let ahead = (from..self.parts.len()).filter(|&at| {
            let part = &self.parts[at];
            !part.finished && part.reading.is_none()
        });
        let ahead: Vec<usize> = ahead.take(catalog::TABLES_AT_ONCE).collect();
        let oids: Vec<u32> = ahead.iter().map(|&at| self.parts[at].oid).collect();
        let ask = async {
            let tables = catalog::tables(client, types, &oids).await?;
            Ok((tables, catalog::heaps(client, &oids).await?))
        };
        let (mut tables, heaps) = self.meanwhile(ask, keeper, outlet, config).await?;
        for at in ahead {
            let oid = self.parts[at].oid;
            let Some(found) = tables.iter().position(|table| table.oid == oid) else {
                continue;
            };
            let table = tables.swap_remove(found);
            if let Some(topic) = topic_of(&table, config) {
                outlet.announce(&topic);
            }
            let heaps: Vec<&HeapOf> = heaps.iter().filter(|heap| heap.table == oid).collect();
            let reading = self.reading(config, server, table, &self.parts[at].name, &heaps);
            self.parts[at].reading = Some(Box::new(reading));
        }
        Ok(())
    }

    /// What is left to do of a table.
    fn reading(
        &self,
        config: &Config,
        server: &Server,
        table: Table,
        name: &str,
        heaps: &[&HeapOf],
    ) -> Reading {
        let oid = table.oid;
        let statement = config.capture.snapshot_overrides.get(name);
        let whole =
            statement.is_some() || heaps.is_empty() || !heaps.iter().all(|heap| heap.by_tid);
        let before = self.copied.begun.iter().find(|begun| begun.table == oid);
        let mut reading = Reading {
            captured: None,
            binary: heaps.iter().all(|heap| heap.binary),
            entry: None,
            pieces: VecDeque::new(),
            active: 0,
            seen: before.is_some(),
            held: None,
            started: None,
            table: None,
        };
        let mut now = Begun {
            table: oid,
            ..Begun::default()
        };
        if whole {
            if before.is_some() {
                tracing::warn!(
                    table = name,
                    "the copy of this table was interrupted, and it is copied by one statement: \
                     all its rows are sent again"
                );
            }
            reading.pieces.push_back(Piece {
                heap: None,
                from: match statement {
                    Some(statement) => format!("({statement}) AS overridden"),
                    None => qualified(&table.schema, &table.name),
                },
                condition: None,
                at: 0,
                to: None,
            });
            reading.table = Some(table);
            reading.entry = Some(now);
            return reading;
        }
        reading.table = Some(table);
        now.lacks = before.is_some_and(|before| before.lacks);
        let via_root = config.source.publish_via_partition_root && server.version >= 130_000;
        // Ranges of tids are found without reading what is before them: PostgreSQL 14.
        let connections = match server.version {
            140_000.. => self.readers.len(),
            _ => 1,
        };
        for (at, heap) in heaps.iter().enumerate() {
            let known = before
                .iter()
                .flat_map(|before| &before.heaps)
                .find(|known| known.oid == heap.oid);
            let mut entry = Heap {
                oid: heap.oid,
                filenode: heap.filenode,
                view: self.view,
                ..Heap::default()
            };
            let mut condition = None;
            let mut again = Vec::new();
            match known {
                Some(known)
                    if known.filenode == heap.filenode || mutant::is(Mutant::CopyForgetsFile) =>
                {
                    entry = known.clone();
                    // A standby's snapshots do not list what they do not see.
                    let told = (via_root || heap.oid == oid) && !server.in_recovery;
                    condition = unchanged(&self.copied, known, &self.seen, told, name);
                    if now.lacks && mutant::is(Mutant::CopyForgetsMoved) {
                        condition = None;
                    } else if now.lacks {
                        // The changed row lies anywhere by now, also where all was sent.
                        let changed = condition.take().map(|seen| format!("NOT ({seen})"));
                        let parts = known.done.parts();
                        again = parts.map(|part| (part, changed.clone())).collect();
                    }
                }
                Some(_) => tracing::warn!(
                    table = name,
                    heap = heap.name,
                    "the table was rewritten while its copy was interrupted: all its rows are \
                     sent again"
                ),
                None => {}
            }
            let pieces = cut(&entry, heap.blocks, connections).into_iter();
            let pieces = pieces.map(|piece| (piece, condition.clone()));
            let again = again
                .into_iter()
                .map(|((from, to), changed)| ((from, Some(to)), changed));
            for ((from, to), condition) in pieces.chain(again) {
                reading.pieces.push_back(Piece {
                    heap: Some(at),
                    from: format!("ONLY {}", qualified(&heap.schema, &heap.name)),
                    condition,
                    at: from,
                    to,
                });
            }
            now.heaps.push(entry);
        }
        reading.entry = Some(now);
        reading
    }

    /// Sends the statement of a piece.
    async fn begin(
        &mut self,
        pipe: &mut Pipe,
        reader: usize,
        at: usize,
        piece: Piece,
    ) -> Result<(), Error> {
        let table = self.reading_of(at)?.table.take();
        if let Some(table) = table {
            let Pipe {
                registry,
                outlet,
                config,
                keeper,
                ..
            } = &mut *pipe;
            let compiling = compile(Phase::Copy, table, registry, config);
            let compiled = self.meanwhile(compiling, keeper, outlet, config).await?;
            compiled.tell_if_keyless();
            let topic = outlet.topic(compiled.topic()).await?;
            let reading = self.reading_of(at)?;
            reading.captured = Some(compiled.captured(topic));
            reading.started = Some(net::now());
            pipe.established.set(true);
        }
        let entry = self.reading_of(at)?.entry.take();
        if let Some(entry) = entry {
            match self.copied.begun(entry.table) {
                Some(before) => *before = entry,
                None => self.copied.begun.push(entry),
            }
        }
        let reading = self.reading_of(at)?;
        let Some(captured) = &reading.captured else {
            return Err(unexpected("a table that was not prepared"));
        };
        let binary = reading.binary && captured.encoder.reads_binary();
        let statement = statement(pipe, &captured.table, &piece, binary);
        reading.active += 1;
        let reader = &mut self.readers[reader];
        reader.client.begin(&statement).await?;
        reader.work = Some(Work {
            part: at,
            from: piece.at,
            piece,
            statement,
            binary,
            begun: false,
            ordered: true,
        });
        Ok(())
    }

    /// The table at `part`, which is being copied.
    fn reading_of(&mut self, part: usize) -> Result<&mut Reading, Error> {
        let reading = self.parts[part].reading.as_deref_mut();
        reading.ok_or_else(|| unexpected("a table that is not being copied"))
    }

    /// Sends the rows of one connection that have arrived. `true`: its piece is finished.
    fn rows(&mut self, pipe: &mut Pipe, reader: usize) -> Result<bool, Error> {
        let Some(mut work) = self.readers[reader].work.take() else {
            return Ok(false);
        };
        let ended = self.rows_of(pipe, reader, &mut work)?;
        if ended {
            self.end_piece(pipe, reader, work)?;
        } else {
            self.readers[reader].work = Some(work);
        }
        Ok(ended)
    }

    fn rows_of(&mut self, pipe: &mut Pipe, reader: usize, work: &mut Work) -> Result<bool, Error> {
        let mut out = Vec::new();
        let mut index = std::mem::take(&mut self.readers[reader].index);
        let mut count = 0;
        // A row that is set aside is written when the next one is there.
        let reading = self.parts[work.part].reading.as_ref();
        let held = reading.and_then(|reading| reading.held.as_ref());
        let mut before = held.map_or(0, |held| held.row.len());
        let ended = loop {
            let Reader {
                client,
                inbox,
                passing,
                ..
            } = &mut self.readers[reader];
            let length = match inbox.bytes() {
                &[_, a, b, c, d, ..] if *passing == 0 => u32::from_be_bytes([a, b, c, d]) as usize,
                _ => 0,
            };
            let taken = if length <= self.received { length } else { 0 };
            pipe.outlet.expect(taken.max(before));
            if pipe.outlet.driver.producer().is_full() {
                break false;
            }
            before = taken;
            if *passing > 0 {
                let bytes = inbox.bytes().len().min(*passing);
                inbox.consume(bytes);
                *passing -= bytes;
                if *passing > 0 {
                    break false;
                }
            }
            let next = client.raw().1.next(inbox.bytes(), &mut out);
            let next = next.map_err(|error| PgError::new(client.target(), error))?;
            let Some((event, consumed)) = next else {
                if self.oversized(pipe, reader, work)? {
                    continue;
                }
                break false;
            };
            match event {
                Event::CopyData(body) => {
                    let body = consumed - body.len()..consumed;
                    let rest = &inbox.bytes()[consumed..];
                    let Some(follows) = follows(rest, work.binary, self.received) else {
                        break false;
                    };
                    if !take_row(&mut index, &mut inbox.bytes_mut()[body.clone()], work)? {
                        // The end of the binary form.
                        inbox.consume(consumed);
                        continue;
                    }
                    let row = index.row(&inbox.bytes()[body.clone()]);
                    let tid = match work.piece.heap {
                        Some(_) => Some(tid_of(row)?),
                        None => None,
                    };
                    // What was set aside before is no last row.
                    let at = work.part;
                    if self.finale.is_some() || self.reading_of(at)?.held.is_some() {
                        self.release_before(pipe, at)?;
                    }
                    let Some(reading) = &mut self.parts[at].reading else {
                        return Err(unexpected("a row of another table"));
                    };
                    let first = !std::mem::replace(&mut reading.seen, true);
                    if let Some(tid) = tid {
                        work.ordered &= tid >= work.piece.at;
                        work.piece.at = tid + 1;
                    }
                    let Some(captured) = &reading.captured else {
                        return Err(unexpected("a row of another table"));
                    };
                    let inbox = &self.readers[reader].inbox;
                    let row = index.row(&inbox.bytes()[body.clone()]);
                    let event = row_event(&self.seen.position, row, mark(at, first));
                    pipe.scratch.clear();
                    let unrouted = captured.unknown_route(&event, &mut pipe.scratch);
                    if unrouted {
                        let copied = || inbox.bytes()[body.clone()].to_vec();
                        let row = follows.then(|| (copied(), index.clone(), mark(at, first)));
                        self.unrouted = Some(Unrouted {
                            reader,
                            part: at,
                            place: pipe.scratch.clone(),
                            row,
                            next: work.piece.at,
                        });
                    }
                    if follows && unrouted {
                        // It is sent before anything else is, and what is stored meanwhile is
                        // without it.
                        work.piece.at = tid.unwrap_or(work.piece.at);
                    } else if follows {
                        let mark = mark(at, first);
                        emit(&mut pipe.outlet, captured, &self.seen.position, row, mark)?;
                    } else {
                        let early = mutant::is(Mutant::CopyForgetsLeftOut);
                        reading.held = Some(Held {
                            row: inbox.bytes()[body].to_vec(),
                            index: std::mem::take(&mut index),
                            first,
                            place: work.piece.heap.zip(tid),
                            reader: Some(reader).filter(|_| !early),
                            to: work.piece.to.filter(|_| early),
                        });
                        if let Some(tid) = tid.filter(|_| !mutant::is(Mutant::CopyForgetsHeld)) {
                            // Not sent yet.
                            work.piece.at = tid;
                        }
                    }
                    count += 1;
                }
                Event::CopyOut(format) if format.binary != work.binary => {
                    return Err(unexpected("rows in another form"));
                }
                Event::Ready(_) => {
                    inbox.consume(consumed);
                    break true;
                }
                Event::ServerError(error) => {
                    let statement = Some(&*work.statement);
                    return Err(PgError::refused(client.target(), &error, statement).into());
                }
                Event::Notice(notice) => tracing::warn!("PostgreSQL: {}", notice.message()),
                _ => {}
            }
            self.readers[reader].inbox.consume(consumed);
            if self.unrouted.is_some() {
                break false;
            }
        };
        self.readers[reader].index = index;
        pipe.status_of(work.part, |table| table.rows += count);
        Ok(ended)
    }

    /// Makes it known where a row goes, and sends it there.
    async fn route(&mut self, pipe: &mut Pipe, unrouted: Unrouted) -> Result<(), Error> {
        let Unrouted {
            reader,
            part,
            place,
            row,
            next,
        } = unrouted;
        let position = self.seen.position;
        let Some(mut captured) = self.reading_of(part)?.captured.take() else {
            return Err(unexpected("a row of another table"));
        };
        let Pipe {
            registry,
            outlet,
            config,
            keeper,
            ..
        } = &mut *pipe;
        let compiling = captured.compile_route(&place, registry, config);
        let compiled = self.meanwhile(compiling, keeper, outlet, config);
        let encoder = compiled.await?;
        let topic = outlet.topic(encoder.topic()).await?;
        captured.learn_route(&place, encoder, topic);
        if let Some((row, index, mark)) = row {
            let row = index.row(&row);
            emit(outlet, &captured, &position, row, mark)?;
            if let Some(work) = &mut self.readers[reader].work {
                work.piece.at = next;
            }
        }
        self.reading_of(part)?.captured = Some(captured);
        Ok(())
    }

    /// Looks at the beginning of a row that has not arrived in full. If there is no room for all of
    /// it, it is let go by, unless it ends the pipe. Whether that was so.
    fn oversized(
        &mut self,
        pipe: &mut Pipe,
        reader: usize,
        work: &mut Work,
    ) -> Result<bool, Error> {
        let Reader { inbox, passing, .. } = &mut self.readers[reader];
        let Some((&[tag, a, b, c, d], body)) = inbox.bytes().split_first_chunk() else {
            return Ok(false);
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let large = length > self.received && inbox.bytes().len() >= HEAD.min(self.received);
        let reading = self.parts[work.part].reading.as_ref();
        let Some(table) = reading.and_then(|reading| reading.captured.as_ref()) else {
            return Ok(false);
        };
        if Tag(tag) != Tag::COPY_DATA || !large {
            return Ok(false);
        }
        *passing = length + 1;
        let cells = head(body, work);
        work.begun = true;
        pipe.outlet.leave_out(&Unsent {
            table: &table.name,
            topic: table.encoder.topic(),
            key: key_of(&table.table, |at| cells.get(at).copied()),
            op: Operation::Read,
            lsn: self.seen.position.lsn,
            tx_id: None,
            why: Why::Message {
                bytes: length + 1,
                max: self.received,
            },
        })?;
        Ok(true)
    }

    /// What a piece has done is noted; the last piece of a table ends it.
    fn end_piece(&mut self, pipe: &mut Pipe, reader: usize, work: Work) -> Result<(), Error> {
        let reading = self.reading_of(work.part)?;
        reading.active -= 1;
        let done = reading.active == 0 && reading.pieces.is_empty();
        let mut to = work.piece.to;
        let held = reading.held.as_mut();
        if let Some(held) = held.filter(|held| held.reader == Some(reader)) {
            // The row that is set aside is the piece's own: what is behind it is done with it.
            (held.reader, held.to) = (None, work.piece.to);
            to = Some(work.piece.at);
        }
        let oid = self.parts[work.part].oid;
        note(&mut self.copied, oid, work.piece.heap, work.from, to);
        if done {
            self.end_table(pipe, work.part)?;
        }
        Ok(())
    }

    /// All rows of a table are read. The last one stays set aside, since it may be the last of all.
    fn end_table(&mut self, pipe: &mut Pipe, at: usize) -> Result<(), Error> {
        self.parts[at].finished = true;
        let reading = self.reading_of(at)?;
        let (held, started) = (reading.held.take(), reading.started);
        match held {
            Some(held) => {
                let before = self.finale.replace((at, held));
                if let Some((before, held)) = before {
                    self.release(pipe, before, held, SnapshotMark::LastInDataCollection)?;
                }
            }
            None => {
                self.parts[at].reading = None;
                self.copied.finish(self.parts[at].oid);
            }
        }
        let rows = pipe.status_of(at, |table| {
            table.done = true;
            table.rows
        });
        if let Some(started) = started {
            tracing::info!(
                table = self.parts[at].name,
                rows,
                seconds = started.elapsed().as_secs_f64(),
                "snapshot of the table is read"
            );
        }
        Ok(())
    }

    /// Sends what was set aside, now that a row of the table at `at` follows it.
    fn release_before(&mut self, pipe: &mut Pipe, at: usize) -> Result<(), Error> {
        if let Some((part, held)) = self.finale.take() {
            self.release(pipe, part, held, SnapshotMark::LastInDataCollection)?;
        }
        if let Some(held) = self.reading_of(at)?.held.take() {
            let mark = mark(at, held.first);
            self.release(pipe, at, held, mark)?;
        }
        Ok(())
    }

    fn release(
        &mut self,
        pipe: &mut Pipe,
        at: usize,
        held: Held,
        place: SnapshotMark,
    ) -> Result<(), Error> {
        let mark = match mark(at, held.first) {
            SnapshotMark::First if place != SnapshotMark::Last => SnapshotMark::First,
            _ => place,
        };
        let position = self.seen.position;
        if let Some(captured) = &self.reading_of(at)?.captured {
            let row = held.index.row(&held.row);
            emit(&mut pipe.outlet, captured, &position, row, mark)?;
        }
        let part = &mut self.parts[at];
        if let Some((heap, tid)) = held.place {
            match held.reader.map(|reader| self.readers[reader].work.as_mut()) {
                None => note(&mut self.copied, part.oid, Some(heap), tid, held.to),
                Some(Some(work)) => work.piece.at = tid + 1,
                // The one at hand, which has a row behind it.
                Some(None) => {}
            }
        }
        if part.finished {
            self.copied.finish(part.oid);
            part.reading = None;
        }
        Ok(())
    }

    /// What is copied by now.
    fn copied(&self) -> Copied {
        let mut copied = self.copied.clone();
        for work in self
            .readers
            .iter()
            .filter_map(|reader| reader.work.as_ref())
        {
            // Rows in another order are done when all of them are.
            if work.ordered {
                let oid = self.parts[work.part].oid;
                note(
                    &mut copied,
                    oid,
                    work.piece.heap,
                    work.from,
                    Some(work.piece.at),
                );
            }
        }
        copied
    }

    /// Stores what is copied, when it is time: in the transaction of its rows, or behind their
    /// acknowledgement.
    fn store(
        &mut self,
        keeper: &mut Keeper,
        outlet: &mut Outlet,
        config: &Config,
    ) -> Result<(), Error> {
        let now = net::now();
        let position = self.seen.position;
        if config.sink.exactly_once {
            if now.duration_since(self.stored_at) >= COMMIT_EVERY && outlet.has_unmarked() {
                keeper.put_snapshot(outlet, position, Some(&self.copied()))?;
                outlet.commit();
                self.stored_at = now;
            }
            return Ok(());
        }
        if let Some((token, copied)) = &self.waiting {
            if *token <= outlet.acknowledged() {
                keeper.put_snapshot(outlet, position, Some(copied))?;
                self.waiting = None;
            }
        } else if now.duration_since(self.stored_at) >= config.offsets.flush_interval {
            self.waiting = Some((outlet.mark(), self.copied()));
            self.stored_at = now;
        }
        Ok(())
    }

    /// Told to stop: another start goes on from here.
    async fn stop(&mut self, pipe: &mut Pipe) -> Result<(), Error> {
        pipe.settling.set(true);
        let stored = async {
            if !pipe.config.sink.exactly_once {
                pipe.outlet.drain().await?;
            }
            let copied = self.copied();
            let position = self.seen.position;
            pipe.keeper
                .put_snapshot(&mut pipe.outlet, position, Some(&copied))?;
            pipe.outlet.drain().await?;
            pipe.keeper.snapshot_stored();
            pipe.keeper.settle_in_file().await
        };
        match tokio::time::timeout(STOP_WITHIN, stored).await {
            Ok(result) => result,
            Err(_) => Ok(()),
        }
    }

    fn publish(&self, pipe: &mut Pipe) {
        for work in self.readers.iter().flat_map(|reader| &reader.work) {
            let reading = self.parts[work.part].reading.as_ref();
            if let Some(started) = reading.and_then(|reading| reading.started) {
                pipe.status_of(work.part, |table| table.elapsed = started.elapsed());
            }
        }
        pipe.publish();
    }

    /// Waits for `work`, while what was appended is sent and stored: a registry may be away for
    /// longer than a Kafka transaction may last.
    async fn meanwhile<T>(
        &mut self,
        work: impl Future<Output = Result<T, Error>>,
        keeper: &mut Keeper,
        outlet: &mut Outlet,
        config: &Config,
    ) -> Result<T, Error> {
        let mut work = pin!(work);
        loop {
            self.store(keeper, outlet, config)?;
            tokio::select! {
                biased;
                done = &mut work => return done,
                driven = outlet.driver.drive() => driven?,
                () = tokio::time::sleep(COMMIT_EVERY) => {}
            }
        }
    }

    /// Waits for rows, for the producer, for the time to store what is copied.
    async fn wait(&mut self, pipe: &mut Pipe) -> Result<(), Error> {
        let read = !pipe.outlet.driver.producer().is_full();
        let deadline = self.stored_at + COMMIT_EVERY;
        let mut drive = pin!(pipe.outlet.driver.drive());
        let mut stopped = pin!(pipe.shutdown.changed());
        let mut timer = pin!(tokio::time::sleep_until(
            deadline.max(net::now() + IDLE_TICK)
        ));
        poll_fn(|cx| {
            let mut progress = false;
            if let Poll::Ready(result) = drive.as_mut().poll(cx) {
                result?;
                progress = true;
            }
            for Reader { client, inbox, .. } in self
                .readers
                .iter_mut()
                .filter(|reader| read && reader.work.is_some())
            {
                match inbox.poll_fill(client.raw().0, cx) {
                    Poll::Ready(Ok(_)) => progress = true,
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(Err(PgError::new(client.target(), error).into()));
                    }
                    Poll::Pending => {}
                }
            }
            progress |= stopped.as_mut().poll(cx).is_ready();
            progress |= timer.as_mut().poll(cx).is_ready();
            if progress {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            }
        })
        .await
    }
}

/// How long the loop may sleep when what is copied is due to be stored, and nothing arrives.
const IDLE_TICK: Duration = Duration::from_millis(50);

/// Notes that a range of a heap's tids is done.
fn note(copied: &mut Copied, table: u32, heap: Option<usize>, from: u64, to: Option<u64>) {
    let begun = copied.begun(table);
    if let (Some(begun), Some(heap)) = (begun, heap)
        && let Some(heap) = begun.heaps.get_mut(heap)
    {
        heap.done.add(from, to);
    }
}

/// The mark of a row that another of its table follows. Only the first table's first row is the
/// first; when that table is empty, none is.
fn mark(table: usize, first_of_table: bool) -> SnapshotMark {
    match (table, first_of_table) {
        (0, true) => SnapshotMark::First,
        (_, true) => SnapshotMark::FirstInDataCollection,
        (_, false) => SnapshotMark::True,
    }
}

fn emit(
    outlet: &mut Outlet,
    captured: &Captured,
    position: &SnapshotPosition,
    row: Row<'_>,
    snapshot: SnapshotMark,
) -> Result<(), Error> {
    outlet.change(captured, &row_event(position, row, snapshot))?;
    Ok(())
}

fn row_event<'b>(
    position: &SnapshotPosition,
    row: Row<'b>,
    snapshot: SnapshotMark,
) -> RowEvent<'b> {
    RowEvent {
        op: Operation::Read,
        before: None,
        after: Some(row),
        source: SourceBlock {
            ts_us: position.ts_us,
            snapshot,
            last_commit_lsn: None,
            lsn: Some(position.lsn.0),
            tx_id: position.tx_id.map(u64::cast_signed),
            xmin: None,
            origin: None,
            origin_lsn: None,
            transaction: None,
        },
    }
}

/// What reads one piece: the table's captured columns and the key's, in the table's order; the
/// others are not read, and stand as NULL. The tid follows.
fn statement(pipe: &Pipe, table: &Table, piece: &Piece, binary: bool) -> String {
    let name = format!("{}.{}", table.schema, table.name);
    let captured = &pipe.config.capture.columns;
    let mut columns: Vec<String> = table
        .columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            if captured.accepts(&format!("{name}.{}", column.name)) || table.key.contains(&at) {
                quote_identifier(&column.name)
            } else {
                "NULL".to_owned()
            }
        })
        .collect();
    let place = |tid: u64| format!("'({},{})'::tid", tid >> 16, tid & 0xffff);
    let mut conditions: Vec<String> = Vec::new();
    if piece.heap.is_some() {
        columns.push("ctid".to_owned());
        if piece.at > 0 {
            conditions.push(format!("ctid >= {}", place(piece.at)));
        }
        conditions.extend(piece.to.map(|to| format!("ctid < {}", place(to))));
        conditions.extend(piece.condition.clone());
    }
    let filter = match conditions.is_empty() {
        true => String::new(),
        false => format!(" WHERE {}", conditions.join(" AND ")),
    };
    let form = if binary { " (FORMAT binary)" } else { "" };
    let (columns, from) = (columns.join(", "), &piece.from);
    format!("COPY (SELECT {columns} FROM {from}{filter}) TO STDOUT{form}")
}

/// Whether another row follows the one before `rest`; one of more than `max` bytes does not count,
/// since it is left out. None: that has not arrived.
#[inline]
fn follows(rest: &[u8], binary: bool, max: usize) -> Option<bool> {
    /// A message of the binary form's end: a length of four and two bytes.
    const END: [u8; 4] = 6_u32.to_be_bytes();
    let (&tag, rest) = rest.split_first()?;
    if Tag(tag) != Tag::COPY_DATA {
        return Some(false);
    }
    let length = *rest.first_chunk::<4>()?;
    let large = u32::from_be_bytes(length) as usize > max;
    let end = binary && length == END;
    Some(!large && !end)
}

/// Indexes a row in what a CopyData holds; text loses its escapes in place. `false`: it is the end
/// of the binary form.
fn take_row(index: &mut RowIndex, body: &mut [u8], work: &mut Work) -> Result<bool, Error> {
    index.clear();
    if !work.binary {
        let Some((b'\n', line)) = body.split_last_mut() else {
            return Err(unexpected("a row without an end"));
        };
        copy::unescape_row(line, |range| match range {
            Some(range) => index.push_text(range.start, range.end),
            None => index.push_null(),
        });
        return Ok(true);
    }
    let mut start = 0;
    if !work.begun {
        let header = copy::split_binary_header(body).ok().flatten();
        start = header.ok_or_else(|| unexpected("no header of the binary form"))?;
        work.begun = true;
    }
    let row = copy::split_binary_row(&body[start..]).ok().flatten();
    match row {
        Some((BinaryRow::End, _)) => Ok(false),
        Some((BinaryRow::Row(fields), length)) if start + length == body.len() => {
            let base = u32::try_from(body.len() - fields.bytes().len()).unwrap_or(u32::MAX);
            for range in fields.ranges() {
                match range {
                    Some(range) => index.push_binary(base + range.start, base + range.end),
                    None => index.push_null(),
                }
            }
            Ok(true)
        }
        _ => Err(unexpected("a row in pieces")),
    }
}

/// The columns that have arrived of a row.
fn head<'b>(body: &'b [u8], work: &Work) -> Vec<Cell<'b>> {
    if !work.binary {
        // The last one may not have arrived in full.
        let mut pieces: Vec<Cell<'b>> = body.split(|&byte| byte == b'\t').map(Cell::Text).collect();
        pieces.pop();
        return pieces;
    }
    let header = match work.begun {
        true => Some(0),
        false => copy::split_binary_header(body).ok().flatten(),
    };
    let mut cells = Vec::new();
    let mut rest = header
        .and_then(|header| body.get(header + 2..))
        .unwrap_or_default();
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            cells.push(Cell::Null);
            rest = tail;
            continue;
        };
        let Some((value, tail)) = tail.split_at_checked(length) else {
            break;
        };
        cells.push(Cell::Binary(value));
        rest = tail;
    }
    cells
}

/// The tid behind a row's columns.
#[inline]
fn tid_of(row: Row<'_>) -> Result<u64, Error> {
    let tid = match row.cell(row.len().wrapping_sub(1)) {
        Cell::Binary(&[a, b, c, d, e, f]) => Some(copied::tid(
            u32::from_be_bytes([a, b, c, d]),
            u16::from_be_bytes([e, f]),
        )),
        Cell::Text(text) => parse_tid(text),
        _ => None,
    };
    tid.ok_or_else(|| unexpected("a row without its place"))
}

/// `(12,3)`
fn parse_tid(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let (block, line) = text.strip_prefix('(')?.strip_suffix(')')?.split_once(',')?;
    Some(copied::tid(block.parse().ok()?, line.parse().ok()?))
}

fn unexpected(what: &str) -> Error {
    Error::fatal(Blame::Postgres, "reading the snapshot", what)
}
