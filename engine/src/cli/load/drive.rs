//! Transactions on their way: connections with many of them in flight each, on one thread.
//!
//! ```text
//!             ┌─ take: number, and when it should have begun ─┐
//!   course ───┤                                               ├─► lane: Bind, Execute, .. Sync
//!             └─ tally ◄── CommandComplete .. ReadyForQuery ◄─┘         (or COPY), pipelined
//! ```
//!
//! A transaction is the messages up to one Sync: the server runs them as one, without BEGIN and
//! COMMIT of their own. With a rate, transaction n begins at n/rate whatever became of those before
//! it, and its latency counts from then: time that it waits for a connection is in it.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pgwire::copy::SIGNATURE;
use pgwire::session::{Event, Session};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::scenario::{Plan, Step};
use crate::capture::client::{Client, Purpose};
use crate::capture::error::{PgError, PgFault};
use crate::cli::latency::Latencies;
use crate::cli::signal::Shutdown;
use crate::config::Source;
use crate::net::{self, Alarm, Stream};

/// How PostgreSQL's views name us.
pub const APPLICATION: &str = "penstock load";
/// What waits to be sent before the next transaction is made.
const OUT_BYTES: usize = 128 << 10;
/// Room that every read offers.
const READ_BYTES: usize = 64 << 10;
/// Of a CopyData of ours.
const COPY_BYTES: usize = 64 << 10;
/// The alarm rings no more often: what is due by then begins together.
const ALARM: Duration = Duration::from_micros(100);
/// Between answers, while so much is in flight that nobody needs them at once: as long as half of
/// it takes, so that one waking finds hundreds of them.
const PAUSE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_millis(32);
const PAUSED_ABOVE: usize = 24;
/// Before a server is tried again that went away.
const RECONNECT: Duration = Duration::from_secs(1);

/// What is to be driven, and how.
#[derive(Debug)]
pub struct Course {
    /// The transactions.
    pub plan: Plan,
    /// Transactions a second; none: as many as the server takes.
    pub rate: Option<f64>,
    /// In flight on each connection.
    pub pipeline: usize,
    /// By COPY instead of INSERT.
    pub copy: bool,
    /// When no more begin.
    pub duration: Option<Duration>,
    /// How many begin.
    pub transactions_max: u64,
    /// How many rows they have together.
    pub rows_max: u64,
}

/// What has come of it so far.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Transactions that committed.
    pub transactions: u64,
    /// Rows that the server says they changed.
    pub rows: u64,
    /// Bytes that were sent.
    pub bytes_sent: u64,
    /// By SQLSTATE: how many transactions failed, and what the first was told.
    pub errors: BTreeMap<String, (u64, String)>,
    /// From the (intended) begin of a transaction to the server's word that it is committed.
    pub latencies: Latencies,
    /// Committed in each second so far.
    pub seconds: Vec<u64>,
}

/// All that the lanes share.
#[derive(Debug)]
pub struct Run {
    course: Course,
    next: u64,
    rows_left: u64,
    started: Instant,
    tally: Tally,
    failed: Option<PgError>,
    over: bool,
}

/// What a lane is given.
enum Taken {
    /// Transaction number, rows it may have, when it should begin.
    Transaction(u64, u64, Instant),
    /// Nothing is due yet.
    Later,
    /// There is no more.
    Over,
}

impl Run {
    /// Nothing has begun.
    #[must_use]
    pub fn new(course: Course) -> Self {
        Self {
            next: 0,
            rows_left: course.rows_max,
            started: net::now(),
            tally: Tally::default(),
            failed: None,
            over: false,
            course,
        }
    }

    /// What has come of it so far, and for how long it has run.
    #[must_use]
    pub fn so_far(&self) -> (&Tally, Duration) {
        (&self.tally, self.started.elapsed())
    }

    /// Which transaction should have begun by now, with a rate.
    fn due(&self, number: u64) -> Option<Instant> {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let after = |rate: f64| Duration::from_secs_f64(number as f64 / rate);
        self.course.rate.map(|rate| self.started + after(rate))
    }

    fn take(&mut self, now: Instant) -> Taken {
        let late = |begin: Instant| {
            let passed = begin.saturating_duration_since(self.started);
            self.course.duration.is_some_and(|limit| passed >= limit)
        };
        let due = self.due(self.next);
        let begin = due.unwrap_or(now);
        let over = self.next >= self.course.transactions_max || self.rows_left == 0;
        if self.over || over || late(begin) {
            return Taken::Over;
        }
        if begin > now {
            return Taken::Later;
        }
        let number = self.next;
        self.next += 1;
        Taken::Transaction(number, self.rows_left, begin)
    }

    /// Whether no more will begin.
    fn is_over(&self) -> bool {
        let passed = self.started.elapsed();
        let late = self.course.duration.is_some_and(|limit| passed >= limit);
        self.over || late || self.next >= self.course.transactions_max || self.rows_left == 0
    }

    fn made(&mut self, rows: u64) {
        self.rows_left = self.rows_left.saturating_sub(rows);
    }

    fn committed(&mut self, begun: Instant, now: Instant, rows: u64) {
        self.tally.transactions += 1;
        self.tally.rows += rows;
        self.tally.latencies.record(now - begun);
        let second = usize::try_from((now - self.started).as_secs()).unwrap_or(0);
        if self.tally.seconds.len() <= second {
            self.tally.seconds.resize(second + 1, 0);
        }
        self.tally.seconds[second] += 1;
    }

    fn refused(&mut self, code: &str, count: u64, words: impl FnOnce() -> String) {
        let entry = self.tally.errors.entry(code.to_owned());
        entry.or_insert_with(|| (0, words())).0 += count;
    }
}

/// Drives the course over so many connections until it is over or `shutdown` says so.
///
/// Errors: the first connection cannot be made; the first transaction is refused for good.
pub async fn drive(
    run: &RefCell<Run>,
    source: &Source,
    connections: usize,
    mut shutdown: Shutdown,
) -> Result<(), PgError> {
    let mut lanes = Vec::new();
    let plan = run.borrow().course.plan.clone();
    for _ in 0..connections {
        lanes.push(open(source, &plan).await?);
    }
    run.borrow_mut().started = net::now();
    let wake = Notify::new();
    let paced = run.borrow().course.rate.is_some();
    let lanes = lanes
        .into_iter()
        .map(|client| lane(run, &wake, source, client));
    let all = join(lanes.collect());
    let pace = async {
        match paced {
            true => pace(run, &wake).await,
            false => std::future::pending().await,
        }
    };
    let stopped = async {
        let _ = shutdown.wait_for(|stop| *stop).await;
        run.borrow_mut().over = true;
        wake.notify_waiters();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = all => {}
        error = pace => {
            let error = error.unwrap_or_else(|| std::io::ErrorKind::Other.into());
            return Err(PgError::new("the timer", error));
        }
        () = stopped => {}
    }
    match run.borrow_mut().failed.take() {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// All of them, side by side in one task.
async fn join(lanes: Vec<impl Future<Output = ()>>) {
    let mut lanes: Vec<_> = lanes.into_iter().map(|lane| Some(Box::pin(lane))).collect();
    poll_fn(|cx| {
        for lane in &mut lanes {
            if let Some(future) = lane
                && future.as_mut().poll(cx).is_ready()
            {
                *lane = None;
            }
        }
        match lanes.iter().all(Option::is_none) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}

/// Wakes a lane whenever a transaction is due. Gives an error of the timer's.
async fn pace(run: &RefCell<Run>, wake: &Notify) -> Option<std::io::Error> {
    let alarm = match Alarm::new() {
        Ok(alarm) => alarm,
        Err(error) => return Some(error),
    };
    loop {
        let now = net::now();
        let due = {
            let run = run.borrow();
            run.due(run.next).unwrap_or(now)
        };
        // One that is due and not taken waits for a lane, not for us.
        let until = (due - now.min(due)).max(ALARM);
        if let Err(error) = alarm.sleep(until).await {
            return Some(error);
        }
        wake.notify_one();
    }
}

/// Connects and prepares the statements.
async fn open(source: &Source, plan: &Plan) -> Result<Client, PgError> {
    let mut client = Client::connect(source, Purpose::Query, APPLICATION).await?;
    let statements = plan.statements();
    let target = client.target().to_owned();
    let (stream, session) = client.raw();
    match prepare(stream, session, &statements, &target).await {
        Ok(()) => Ok(client),
        Err(fault) => Err(fault.at(&target)),
    }
}

/// Why a connection cannot go on.
enum Fault {
    /// The server's words: there is no use in trying again.
    Refused(PgError),
    /// It is broken, or what came over it is.
    Lost(PgFault),
}

impl Fault {
    fn at(self, target: &str) -> PgError {
        match self {
            Self::Refused(error) => error,
            Self::Lost(fault) => PgError::new(target, fault),
        }
    }
}

impl<E: Into<PgFault>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Lost(error.into())
    }
}

async fn prepare(
    stream: &mut Stream,
    session: &mut Session,
    statements: &[String],
    target: &str,
) -> Result<(), Fault> {
    let mut wire = Wire::default();
    for (number, sql) in statements.iter().enumerate() {
        session.parse(&mut wire.out, &number.to_string(), sql, &[])?;
    }
    session.sync(&mut wire.out)?;
    let mut refused = None;
    loop {
        wire.exchange(stream).await?;
        while let Some((event, consumed)) = session.next(
            wire.inbox.get(wire.head..wire.tail).unwrap_or_default(),
            &mut wire.answers,
        )? {
            if let Event::ServerError(error) = &event {
                refused = Some(Fault::Refused(PgError::refused(target, error, None)));
            }
            let ready = matches!(event, Event::Ready(_));
            wire.head += consumed;
            if ready {
                return refused.map_or(Ok(()), Err);
            }
        }
    }
}

/// A connection's share of the course, over new connections where the old one breaks.
async fn lane(run: &RefCell<Run>, wake: &Notify, source: &Source, first: Client) {
    let mut client = Some(first);
    loop {
        let mut connected = match client.take() {
            Some(client) => client,
            None => {
                tokio::time::sleep(RECONNECT).await;
                if run.borrow().is_over() {
                    return;
                }
                let plan = run.borrow().course.plan.clone();
                match open(source, &plan).await {
                    Ok(client) => client,
                    Err(error) => {
                        run.borrow_mut()
                            .refused("not connected", 1, || error.to_string());
                        continue;
                    }
                }
            }
        };
        let mut flights = VecDeque::new();
        let copies = run.borrow().course.copy;
        let ended = {
            let target = connected.target().to_owned();
            let (stream, session) = connected.raw();
            let line = Line {
                run,
                wake,
                stream,
                session,
                wire: Wire::default(),
                target,
            };
            match copies {
                true => line.copy(&mut flights).await,
                false => line.pipeline(&mut flights).await,
            }
        };
        match ended {
            Ok(()) => {
                connected.close().await;
                return;
            }
            Err(Fault::Refused(error)) => {
                let mut run = run.borrow_mut();
                run.failed = Some(error);
                run.over = true;
                wake.notify_waiters();
                return;
            }
            Err(Fault::Lost(fault)) => {
                let mut run = run.borrow_mut();
                let count = u64::try_from(flights.len()).unwrap_or(0);
                run.refused("connection lost", count, || fault.to_string());
            }
        }
    }
}

/// A transaction on its way.
#[derive(Debug)]
struct Flight {
    begun: Instant,
    rows: u64,
    refused: bool,
}

impl Flight {
    fn new(begun: Instant) -> Self {
        Self {
            begun,
            rows: 0,
            refused: false,
        }
    }
}

/// A connection's buffers.
#[derive(Debug, Default)]
struct Wire {
    out: Vec<u8>,
    written: usize,
    /// What has come stands at `head..tail`.
    inbox: Vec<u8>,
    head: usize,
    tail: usize,
    /// What the session would say by itself: nothing, once it is open.
    answers: Vec<u8>,
}

impl Wire {
    fn unsent(&self) -> usize {
        self.out.len() - self.written
    }

    /// Sends what there is, until something has come: a server whose answers nobody takes takes
    /// no more statements.
    async fn exchange(&mut self, stream: &mut Stream) -> Result<(), Fault> {
        let received = poll_fn(|cx| {
            let _sending = self.poll_send(stream, cx)?;
            self.poll_receive(stream, cx)
                .map_or_else(|fault| Poll::Ready(Err(fault)), |poll| poll.map(Ok))
        });
        received.await.map_err(Fault::Lost)
    }

    /// Ready: all is sent.
    fn poll_send(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Result<Poll<()>, PgFault> {
        while self.written < self.out.len() {
            let rest = self.out.get(self.written..).unwrap_or_default();
            match Pin::new(&mut *stream).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Err(PgFault::Closed),
                Poll::Ready(Ok(count)) => self.written += count,
                Poll::Ready(Err(error)) => return Err(error.into()),
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
        if !self.out.is_empty() {
            self.out.clear();
            self.written = 0;
        }
        Ok(Pin::new(stream).poll_flush(cx)?.map(drop))
    }

    /// Ready: something has come.
    fn poll_receive(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Result<Poll<()>, PgFault> {
        if self.inbox.len() < self.tail + READ_BYTES {
            self.inbox.copy_within(self.head..self.tail, 0);
            (self.head, self.tail) = (0, self.tail - self.head);
            let length = self.inbox.len().max(self.tail + READ_BYTES);
            self.inbox.resize(length, 0);
        }
        let mut room = ReadBuf::new(&mut self.inbox[self.tail..]);
        let read = Pin::new(stream).poll_read(cx, &mut room);
        let count = room.filled().len();
        self.tail += count;
        match read {
            Poll::Ready(Ok(())) if count == 0 => Err(PgFault::Closed),
            Poll::Ready(Ok(())) => Ok(Poll::Ready(())),
            Poll::Ready(Err(error)) => Err(error.into()),
            Poll::Pending => Ok(Poll::Pending),
        }
    }
}

/// A connection at work.
struct Line<'c> {
    run: &'c RefCell<Run>,
    wake: &'c Notify,
    stream: &'c mut Stream,
    session: &'c mut Session,
    wire: Wire,
    target: String,
}

impl Line<'_> {
    /// Prepared statements, many transactions in flight.
    async fn pipeline(mut self, flights: &mut VecDeque<Flight>) -> Result<(), Fault> {
        let (plan, depth, paced) = {
            let run = self.run.borrow();
            let course = &run.course;
            (course.plan.clone(), course.pipeline, course.rate.is_some())
        };
        let names: Vec<String> = (0..plan.statements().len())
            .map(|n| n.to_string())
            .collect();
        let (mut pause, mut paused) = (*PAUSE.start(), false);
        loop {
            let (mut later, mut ended) = (false, false);
            let now = net::now();
            // Refilled when half of it is empty: a few large writes instead of many small ones.
            let refill = paced || flights.len() <= depth / 2;
            while refill && flights.len() < depth && self.wire.unsent() < OUT_BYTES {
                let taken = self.run.borrow_mut().take(now);
                match taken {
                    Taken::Transaction(number, rows_max, begun) => {
                        let rows = self.send(&plan, &names, number, rows_max)?;
                        self.run.borrow_mut().made(rows);
                        flights.push_back(Flight::new(begun));
                    }
                    Taken::Later => later = true,
                    Taken::Over => ended = true,
                }
                if later || ended {
                    break;
                }
            }
            if ended && flights.is_empty() {
                return Ok(());
            }
            if later {
                tokio::select! {
                    exchanged = self.wire.exchange(self.stream) => exchanged?,
                    () = self.wake.notified() => continue,
                }
            } else {
                self.wire.exchange(self.stream).await?;
            }
            self.take_answers(flights)?;
            if std::mem::take(&mut paused) {
                pause = match flights.len() {
                    most if most > depth / 2 => pause * 5 / 4,
                    few if few < depth / 4 => pause * 3 / 4,
                    _ => pause,
                };
                pause = pause.clamp(*PAUSE.start(), *PAUSE.end());
            }
            let busy = flights.len() > PAUSED_ABOVE.max(depth / 2);
            if busy && !paced && !ended && self.wire.unsent() == 0 {
                tokio::time::sleep(pause).await;
                paused = true;
            }
        }
    }

    /// Appends a transaction up to its Sync; gives its rows.
    fn send(
        &mut self,
        plan: &Plan,
        names: &[String],
        number: u64,
        rows_max: u64,
    ) -> Result<u64, Fault> {
        let before = self.wire.out.len();
        let mut put = Ok(());
        let rows = plan.transaction(number, rows_max, &mut |step| {
            if put.is_ok() {
                put = put_step(self.session, &mut self.wire.out, names, step);
            }
        });
        put?;
        self.session.sync(&mut self.wire.out)?;
        let sent = self.wire.out.len() - before;
        self.run.borrow_mut().tally.bytes_sent += sent as u64;
        Ok(rows)
    }

    /// A COPY for each transaction, one after the other.
    async fn copy(mut self, flights: &mut VecDeque<Flight>) -> Result<(), Fault> {
        let plan = self.run.borrow().course.plan.clone();
        let tables = plan.tables();
        loop {
            let taken = self.run.borrow_mut().take(net::now());
            let (number, rows_max, begun) = match taken {
                Taken::Transaction(number, rows_max, begun) => (number, rows_max, begun),
                Taken::Later => {
                    self.wake.notified().await;
                    continue;
                }
                Taken::Over => return Ok(()),
            };
            let Some(table) = tables.get(plan.table_of(number)) else {
                return Ok(());
            };
            flights.push_back(Flight::new(begun));
            self.session.query(&mut self.wire.out, &plan.copy(table))?;
            let mut rows = CopyRows::default();
            let count = plan.transaction(number, rows_max, &mut |step| {
                if let Step::Execute(_, values) = step {
                    rows.row(values);
                }
            });
            self.run.borrow_mut().made(count);
            let mut rows = Some(rows);
            while !flights.is_empty() {
                self.wire.exchange(self.stream).await?;
                let begins = self.take_answers(flights)?;
                if let Some(rows) = rows.take_if(|_| begins) {
                    rows.put(self.session, &mut self.wire.out)?;
                    self.run.borrow_mut().tally.bytes_sent += self.wire.out.len() as u64;
                }
            }
        }
    }

    /// Takes every answer that has come; true: one of them was that a COPY may begin.
    fn take_answers(&mut self, flights: &mut VecDeque<Flight>) -> Result<bool, Fault> {
        let now = net::now();
        let mut run = self.run.borrow_mut();
        let wire = &mut self.wire;
        let mut begins = false;
        while let Some((event, consumed)) = self.session.next(
            wire.inbox.get(wire.head..wire.tail).unwrap_or_default(),
            &mut wire.answers,
        )? {
            wire.head += consumed;
            let Some(flight) = flights.front_mut() else {
                continue;
            };
            match event {
                Event::CommandComplete(tag) => flight.rows += changed(tag),
                Event::CopyIn(_) => begins = true,
                Event::ServerError(error) => {
                    flight.refused = true;
                    let code = error.code();
                    run.refused(code.as_str(), 1, || error.message().into_owned());
                    // Nothing has ever gone well, and this will not by itself.
                    if run.tally.transactions == 0 && !code.retriable() {
                        let error = PgError::refused(&self.target, &error, None);
                        return Err(Fault::Refused(error));
                    }
                }
                Event::Ready(_) => {
                    if !flight.refused {
                        run.committed(flight.begun, now, flight.rows);
                    }
                    flights.pop_front();
                }
                _ => {}
            }
        }
        Ok(begins)
    }
}

fn put_step(
    session: &mut Session,
    out: &mut Vec<u8>,
    names: &[String],
    step: Step<'_>,
) -> Result<(), pgwire::error::Error> {
    match step {
        Step::Execute(at, values) => {
            let put = |index: usize, out: &mut Vec<u8>| {
                values.get(index).is_some_and(|value| value.put(out))
            };
            let name = names.get(at).map_or("", String::as_str);
            session.bind_with(out, "", name, &[1], (values.len(), put))?;
        }
        Step::Run(sql) => {
            session.parse(out, "", sql, &[])?;
            session.bind(out, "", "", &[], &[], &[])?;
        }
    }
    session.execute(out, "", 0)
}

/// The number at the end of `INSERT 0 17`, `UPDATE 3`, `COPY 5`; 0 for other commands.
fn changed(tag: &str) -> u64 {
    let digits = tag.bytes().rev().take_while(u8::is_ascii_digit);
    let (mut sum, mut power) = (0u64, 1u64);
    for digit in digits {
        sum = sum.saturating_add(u64::from(digit - b'0').saturating_mul(power));
        power = power.saturating_mul(10);
    }
    sum
}

/// Rows of a binary COPY.
#[derive(Debug, Default)]
pub struct CopyRows {
    bytes: Vec<u8>,
}

impl CopyRows {
    /// Appends a row.
    pub fn row(&mut self, values: &[super::scenario::Value]) {
        if self.bytes.is_empty() {
            self.bytes.extend_from_slice(&SIGNATURE);
            self.bytes.extend_from_slice(&[0; 8]);
        }
        let count = u16::try_from(values.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&count.to_be_bytes());
        for value in values {
            let at = self.bytes.len();
            self.bytes.extend_from_slice(&(-1i32).to_be_bytes());
            if value.put(&mut self.bytes) {
                let length = i32::try_from(self.bytes.len() - at - 4).unwrap_or(-1);
                self.bytes[at..at + 4].copy_from_slice(&length.to_be_bytes());
            }
        }
    }

    /// How many bytes they have.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Says them all, and that there are no more.
    ///
    /// Errors: no COPY is under way.
    pub fn put(self, session: &mut Session, out: &mut Vec<u8>) -> Result<(), pgwire::error::Error> {
        for bytes in self.bytes.chunks(COPY_BYTES) {
            session.copy_data(out, bytes)?;
        }
        session.copy_data(out, &(-1i16).to_be_bytes())?;
        session.copy_done(out)
    }
}

/// Copies rows into a table over a connection of its own use.
///
/// Errors: what the server said.
pub async fn fill(client: &mut Client, sql: &str, rows: CopyRows) -> Result<(), PgError> {
    let target = client.target().to_owned();
    let (stream, session) = client.raw();
    let mut wire = Wire::default();
    let mut rows = Some(rows);
    let filled = async {
        session.query(&mut wire.out, sql)?;
        let mut refused = None;
        loop {
            wire.exchange(stream).await?;
            while let Some((event, consumed)) = session.next(
                wire.inbox.get(wire.head..wire.tail).unwrap_or_default(),
                &mut wire.answers,
            )? {
                wire.head += consumed;
                match event {
                    Event::CopyIn(_) => {
                        if let Some(rows) = rows.take() {
                            rows.put(session, &mut wire.out)?;
                        }
                    }
                    Event::ServerError(error) => {
                        let error = PgError::refused(&target, &error, Some(sql));
                        refused = Some(Fault::Refused(error));
                    }
                    Event::Ready(_) => return refused.map_or(Ok(()), Err),
                    _ => {}
                }
            }
        }
    };
    filled.await.map_err(|fault: Fault| fault.at(&target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_tell_the_rows() {
        for (tag, rows) in [("INSERT 0 17", 17), ("UPDATE 0", 0), ("ALTER TABLE", 0)] {
            assert_eq!(changed(tag), rows, "{tag}");
        }
        assert_eq!(changed("COPY 99999999999999999999999"), u64::MAX);
    }
}
