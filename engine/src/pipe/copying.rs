//! The snapshot: every captured table as it was at the slot's consistent point, row by row.
//!
//! The last row of a table, and the last of all, are marked as such; which one that is shows only
//! when nothing follows it. So a row is encoded where it lies if the next one is already seen
//! behind it, and is set aside otherwise: once for each table.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use pgwire::copy;
use pgwire::frame::Tag;
use pgwire::session::Event;

use super::Pipe;
use super::error::{Blame, Error};
use super::outlet::RowEvent;
use super::tables::{Captured, prepare};
use super::unsent::{Unsent, Why, key_of};
use crate::capture::client::Client;
use crate::capture::error::PgError;
use crate::capture::inbox::Inbox;
use crate::capture::relations::Table;
use crate::capture::row::{Cell, RowIndex};
use crate::config::Operation;
use crate::encode::envelope::{SnapshotMark, SourceBlock};
use crate::encode::plan::Phase;
use crate::net;
use crate::progress::offsets::SnapshotPosition;

/// Of a row that is too large, how much is waited for: its key is mostly there.
const HEAD: usize = 64 << 10;

/// A row that may be the last of its table, or of all.
struct Held {
    /// Of [`Copy::tables`].
    table: usize,
    line: Vec<u8>,
    index: RowIndex,
    first_of_table: bool,
}

/// A snapshot that runs.
struct Copy {
    tables: Vec<Captured>,
    position: SnapshotPosition,
    held: Option<Held>,
    index: RowIndex,
    /// Bytes to let go by: the rest of a row that is too large.
    passing: usize,
}

/// Copies `tables` over `client`, which sees them as of `position`; the producer has acknowledged
/// every row when this returns. `false`: the pipe was told to stop before the end.
pub(super) async fn run(
    pipe: &mut Pipe,
    client: &mut Client,
    tables: Vec<Table>,
    position: SnapshotPosition,
) -> Result<bool, Error> {
    let mut copy = Copy {
        tables: Vec::with_capacity(tables.len()),
        position,
        held: None,
        index: RowIndex::default(),
        passing: 0,
    };
    pipe.keeper.put_snapshot(&mut pipe.outlet, position)?;
    if !pipe.config.sink.exactly_once {
        // Rows that were seen without it would be forgotten by the next start.
        pipe.drain().await?;
    }
    for (at, table) in tables.into_iter().enumerate() {
        let name = format!("{}.{}", table.schema, table.name);
        let statement = pipe.select(&table);
        let captured = {
            let Pipe {
                registry,
                outlet,
                config,
                ..
            } = &mut *pipe;
            prepare(Phase::Copy, table, registry, outlet, config).await?
        };
        copy.tables.push(captured);
        pipe.established.set(true);
        let started = net::now();
        if !copy.table(pipe, client, at, &statement).await? {
            return Ok(false);
        }
        let rows = pipe.status_of(at, |table| {
            table.done = true;
            table.rows
        });
        tracing::info!(
            table = name,
            rows,
            seconds = started.elapsed().as_secs_f64(),
            "snapshot of the table is read"
        );
    }
    if let Some(held) = copy.held.take() {
        copy.emit(pipe, &held, SnapshotMark::Last)?;
    }
    let done = SnapshotPosition {
        completed: true,
        ..position
    };
    pipe.keeper.put_snapshot(&mut pipe.outlet, done)?;
    pipe.drain().await?;
    Ok(true)
}

impl Copy {
    /// Copies one table. `false`: the pipe was told to stop.
    async fn table(
        &mut self,
        pipe: &mut Pipe,
        client: &mut Client,
        at: usize,
        statement: &str,
    ) -> Result<bool, Error> {
        let budget = pipe.config.budget;
        let mut inbox = Inbox::new(budget.inbox(), budget.received + 2 * budget.inbox());
        let started = net::now();
        client.begin(statement).await?;
        let mut first_of_table = true;
        let mut committed = net::now();
        loop {
            pipe.outlet.set_clock();
            let done = self.rows(pipe, client, &mut inbox, at, statement, &mut first_of_table)?;
            if pipe.is_stopping() {
                return Ok(false);
            }
            pipe.status_of(at, |table| table.elapsed = started.elapsed());
            pipe.publish();
            if done {
                return Ok(true);
            }
            // A transaction of Kafka's has a time limit, and readers wait for its end.
            if committed.elapsed() >= COMMIT_EVERY {
                pipe.outlet.commit();
                committed = net::now();
            }
            wait(pipe, client, &mut inbox).await?;
        }
    }

    /// Sends the rows that have arrived. `true`: the table is finished.
    fn rows(
        &mut self,
        pipe: &mut Pipe,
        client: &mut Client,
        inbox: &mut Inbox,
        at: usize,
        statement: &str,
        first_of_table: &mut bool,
    ) -> Result<bool, Error> {
        let mut out = Vec::new();
        loop {
            if pipe.outlet.driver.producer().is_full() {
                return Ok(false);
            }
            if self.passing > 0 {
                let bytes = self.passing.min(inbox.bytes().len());
                inbox.consume(bytes);
                self.passing -= bytes;
                if self.passing > 0 {
                    return Ok(false);
                }
            }
            let next = client.raw().1.next(inbox.bytes(), &mut out);
            let next = next.map_err(|error| PgError::new(client.target(), error))?;
            let Some((event, consumed)) = next else {
                if self.oversized(pipe, inbox.bytes(), at)? {
                    continue;
                }
                return Ok(false);
            };
            match event {
                Event::CopyData(line) => {
                    let body = consumed - line.len()..consumed;
                    let Some(&following) = inbox.bytes().get(consumed) else {
                        return Ok(false);
                    };
                    if self.held.is_some() {
                        self.release(pipe, at)?;
                    }
                    let line = &mut inbox.bytes_mut()[body];
                    index_line(&mut self.index, line)?;
                    if Tag(following) == Tag::COPY_DATA {
                        let mark = mark(at, *first_of_table);
                        self.send(pipe, at, line, mark)?;
                    } else {
                        let index = std::mem::take(&mut self.index);
                        let (line, first_of_table) = (line.to_vec(), *first_of_table);
                        self.held = Some(Held {
                            table: at,
                            line,
                            index,
                            first_of_table,
                        });
                    }
                    *first_of_table = false;
                    pipe.status_of(at, |table| table.rows += 1);
                }
                Event::CopyOut(format) if format.binary => {
                    return Err(unexpected("rows in binary"));
                }
                Event::Ready(_) => {
                    inbox.consume(consumed);
                    return Ok(true);
                }
                Event::ServerError(error) => {
                    return Err(PgError::refused(client.target(), &error, Some(statement)).into());
                }
                Event::Notice(notice) => tracing::warn!("PostgreSQL: {}", notice.message()),
                _ => {}
            }
            inbox.consume(consumed);
        }
    }

    /// Looks at the beginning of a row that has not arrived in full. If there is no room for all of
    /// it, it is let go by, unless it ends the pipe. Whether that was so.
    fn oversized(&mut self, pipe: &mut Pipe, bytes: &[u8], at: usize) -> Result<bool, Error> {
        let max = pipe.config.budget.received;
        let Some((&[tag, a, b, c, d], line)) = bytes.split_first_chunk() else {
            return Ok(false);
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if Tag(tag) != Tag::COPY_DATA || length <= max || bytes.len() < HEAD {
            return Ok(false);
        }
        self.passing = length + 1;
        let table = &self.tables[at];
        // The last piece may not have arrived in full.
        let pieces: Vec<&[u8]> = line.split(|&byte| byte == b'\t').collect();
        let whole = &pieces[..pieces.len() - 1];
        let key = key_of(&table.table, |at| {
            whole.get(at).map(|text| Cell::Text(text))
        });
        pipe.outlet.leave_out(&Unsent {
            table: &table.name,
            topic: table.encoder.topic(),
            key,
            op: Operation::Read,
            lsn: self.position.lsn,
            tx_id: None,
            why: Why::Message {
                bytes: length + 1,
                max,
            },
        })?;
        Ok(true)
    }

    /// Sends the row that was set aside, now that a row of table `at` follows it.
    fn release(&mut self, pipe: &mut Pipe, at: usize) -> Result<(), Error> {
        let Some(held) = self.held.take() else {
            return Ok(());
        };
        let mark = match mark(held.table, held.first_of_table) {
            SnapshotMark::First => SnapshotMark::First,
            _ if held.table != at => SnapshotMark::LastInDataCollection,
            mark => mark,
        };
        self.emit(pipe, &held, mark)
    }

    fn emit(&mut self, pipe: &mut Pipe, held: &Held, mark: SnapshotMark) -> Result<(), Error> {
        let event = self.event(held.index.row(&held.line), mark);
        pipe.outlet.change(&self.tables[held.table], &event)?;
        Ok(())
    }

    fn send(
        &self,
        pipe: &mut Pipe,
        at: usize,
        line: &[u8],
        mark: SnapshotMark,
    ) -> Result<(), Error> {
        let event = self.event(self.index.row(line), mark);
        pipe.outlet.change(&self.tables[at], &event)?;
        Ok(())
    }

    fn event<'b>(&self, row: crate::capture::row::Row<'b>, snapshot: SnapshotMark) -> RowEvent<'b> {
        RowEvent {
            op: Operation::Read,
            before: None,
            after: Some(row),
            source: SourceBlock {
                ts_us: self.position.ts_us,
                snapshot,
                last_commit_lsn: None,
                lsn: Some(self.position.lsn.0),
                tx_id: self.position.tx_id.map(u64::cast_signed),
                xmin: None,
                origin: None,
                origin_lsn: None,
                transaction: None,
            },
        }
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

/// How long records of a snapshot wait for their Kafka transaction to end.
const COMMIT_EVERY: std::time::Duration = std::time::Duration::from_millis(500);

/// Waits for rows, or for the producer.
async fn wait(pipe: &mut Pipe, client: &mut Client, inbox: &mut Inbox) -> Result<(), Error> {
    let read = !pipe.outlet.driver.producer().is_full();
    let mut drive = pin!(pipe.outlet.driver.drive());
    let mut stopped = pin!(pipe.shutdown.changed());
    poll_fn(|cx| {
        let mut progress = false;
        if let Poll::Ready(result) = drive.as_mut().poll(cx) {
            result?;
            progress = true;
        }
        if read {
            match inbox.poll_fill(client.raw().0, cx) {
                Poll::Ready(Ok(_)) => progress = true,
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(PgError::new(client.target(), error).into()));
                }
                Poll::Pending => {}
            }
        }
        progress |= stopped.as_mut().poll(cx).is_ready();
        if progress {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    })
    .await
}

/// Indexes a line of COPY's text form, after undoing its escapes in place.
fn index_line(index: &mut RowIndex, line: &mut [u8]) -> Result<(), Error> {
    let Some((b'\n', line)) = line.split_last_mut() else {
        return Err(unexpected("a row without an end"));
    };
    index.clear();
    copy::unescape_row(line, |range| match range {
        Some(range) => index.push_text(range.start, range.end),
        None => index.push_null(),
    });
    Ok(())
}

fn unexpected(what: &str) -> Error {
    Error::fatal(Blame::Postgres, "reading the snapshot", what)
}
