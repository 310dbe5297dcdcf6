//! What a PostgreSQL says: its connections, each an answer to what it hears, over one [`Database`].
//!
//! Kept as PostgreSQL keeps it: one connection at a time for a slot; where a stream begins, and what
//! it says of a value that did not change; `wal_sender_timeout`; COPY in text and binary of the
//! ranges of tids and the versions that are asked for.
//!
//! Left out: TLS and authentication, streaming of transactions in progress, and SQL: statements
//! are recognised by a part of their text, in [`Session::answer`].

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use pgwire::lsn::Lsn;
use pgwire::write::{Length, put_cstr, put_i16, put_i32, put_i64, put_u32, put_u64};
use tokio::time::Instant;

use super::World;
use super::database::{Change, Database, IDENTITIES, OIDS, Row, Slot, Snapshot, TABLES};
use super::network::{Line, Step};

/// Microseconds from 1970-01-01 to 2000-01-01.
const UNIX_TO_PG_US: i64 = 946_684_800_000_000;
/// `wal_sender_timeout`
const SENDER_TIMEOUT: Duration = Duration::from_secs(60);
const SYSTEM_ID: &str = "7300000000000000001";
const INT4: u32 = 23;
const INT8: u32 = 20;
const TEXT: u32 = 25;
/// A table has three of them, or all.
const COLUMNS: [(&str, u32); 4] = [
    ("id", INT4),
    ("version", INT8),
    ("payload", TEXT),
    ("extra", INT4),
];

/// One connection of the server's.
#[derive(Debug)]
pub(crate) struct Session {
    state: State,
    /// What SET TRANSACTION SNAPSHOT took.
    seen: Option<Rc<Snapshot>>,
    /// Of the server's starts, the one that it belongs to.
    start: u32,
    exported: Option<String>,
    heard_at: Instant,
    asked: bool,
}

#[derive(Debug)]
enum State {
    Startup,
    Idle,
    /// CREATE_REPLICATION_SLOT waits for these to end.
    Creating {
        name: String,
        temporary: bool,
        running: BTreeSet<u64>,
    },
    Copying {
        rows: Vec<Vec<u8>>,
        count: usize,
        at: usize,
        /// It rests until then.
        until: Instant,
    },
    Streaming(Streaming),
    Over,
}

#[derive(Debug)]
struct Streaming {
    slot: String,
    /// Of the transactions.
    next: usize,
    /// Of its changes; none: its Begin is next.
    change: Option<usize>,
    /// With so many columns.
    announced: BTreeMap<usize, usize>,
    start: u64,
    told: u64,
    messages: usize,
    binary: bool,
}

impl Session {
    pub(crate) fn new(start: u32) -> Self {
        Self {
            state: State::Startup,
            seen: None,
            start,
            exported: None,
            heard_at: engine::net::now(),
            asked: false,
        }
    }

    pub(crate) fn gone(&mut self, world: &World, line: &Line) {
        let mut database = world.database.borrow_mut();
        if let Some(name) = self.exported.take() {
            database.snapshots.remove(&name);
        }
        let held = |slot: &Slot| slot.active == Some(line.id);
        database
            .slots
            .retain(|_, slot| !(held(slot) && (slot.temporary || !slot.ready)));
        for slot in database.slots.values_mut().filter(|slot| held(slot)) {
            slot.active = None;
        }
    }

    pub(crate) fn step(
        &mut self,
        world: &Rc<World>,
        line: &Line,
        input: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Step {
        let over = matches!(self.state, State::Over);
        if !over && self.start != world.database.borrow().starts {
            self.state = State::Over;
            put_error(
                out,
                "FATAL",
                "57P01",
                "terminating connection due to administrator command",
            );
        }
        loop {
            match &self.state {
                State::Startup => {
                    let Some(size) = length(input, 0) else { break };
                    input.drain(..size);
                    if world.database.borrow().is_starting() {
                        let why = "the database system is starting up";
                        put_error(out, "FATAL", "57P03", why);
                        self.state = State::Over;
                        continue;
                    }
                    self.greet(world, out);
                    self.state = State::Idle;
                }
                State::Over => {
                    return Step {
                        close: true,
                        ..Step::default()
                    };
                }
                State::Idle | State::Streaming(_) => {
                    let Some(size) = length(input, 1) else { break };
                    let message: Vec<u8> = input.drain(..=size).collect();
                    self.heard_at = engine::net::now();
                    self.asked = false;
                    self.take(world, line, &message, out);
                }
                State::Creating { .. } | State::Copying { .. } => break,
            }
        }
        match &mut self.state {
            State::Creating { .. } => {
                self.create(world, line, out);
                Step {
                    on_change: true,
                    ..Step::default()
                }
            }
            State::Copying { until, .. } => {
                let until = *until;
                if until > engine::net::now() {
                    return Step {
                        deadline: Some(until),
                        ..Step::default()
                    };
                }
                self.copy(world, out);
                Step::default()
            }
            State::Streaming(streaming) => {
                let now = engine::net::now();
                if now >= self.heard_at + SENDER_TIMEOUT {
                    world.count("wal_sender_timeout");
                    self.state = State::Over;
                    return Step {
                        close: true,
                        ..Step::default()
                    };
                }
                let half = self.heard_at + SENDER_TIMEOUT / 2;
                if now >= half && !self.asked {
                    self.asked = true;
                    put_keepalive(out, streaming.sent(), now_us(world), true);
                }
                streaming.send(world, out);
                let deadline = if self.asked {
                    self.heard_at + SENDER_TIMEOUT
                } else {
                    half
                };
                Step {
                    deadline: Some(deadline),
                    on_change: true,
                    close: false,
                }
            }
            State::Over => Step {
                close: true,
                ..Step::default()
            },
            State::Startup | State::Idle => Step::default(),
        }
    }

    fn greet(&self, world: &World, out: &mut Vec<u8>) {
        let version = world.database.borrow().version;
        put(out, b'R', |body| put_i32(body, 0));
        let version = format!("{}.{}", version / 10_000, version % 10_000);
        for (name, value) in [("server_version", &*version), ("client_encoding", "UTF8")] {
            put(out, b'S', |body| {
                put_cstr(body, name.as_bytes());
                put_cstr(body, value.as_bytes());
            });
        }
        put(out, b'K', |body| {
            put_u32(body, 1);
            put_u32(body, 2);
        });
        ready(out);
    }

    fn take(&mut self, world: &Rc<World>, line: &Line, message: &[u8], out: &mut Vec<u8>) {
        match message[0] {
            b'Q' => {
                let end = message.len() - 1;
                let sql = String::from_utf8_lossy(&message[5..end]).into_owned();
                if let Some(name) = self.exported.take() {
                    world.database.borrow_mut().snapshots.remove(&name);
                }
                self.answer(world, line, &sql, out);
            }
            b'd' if message.get(5) == Some(&b'r') => {
                let flushed = u64::from_be_bytes(message[14..22].try_into().unwrap());
                let replies = message[38] == 1;
                if let State::Streaming(streaming) = &self.state {
                    world.hear_status(&streaming.slot, flushed);
                    if replies {
                        put_keepalive(out, streaming.sent(), now_us(world), false);
                    }
                }
            }
            b'X' => self.state = State::Over,
            tag => world.fail(format!(
                "the simulated PostgreSQL knows no message {:?}",
                char::from(tag)
            )),
        }
    }

    /// Every statement that the engine has: a part of its text, and the answer.
    fn answer(&mut self, world: &Rc<World>, line: &Line, sql: &str, out: &mut Vec<u8>) {
        let database = &mut *world.database.borrow_mut();
        let has = |part: &str| sql.contains(part);
        let captured = || {
            (0..TABLES.len()).filter(|&table| {
                has(&OIDS[table].to_string()) || !has(" IN (") || has("relkind IN")
            })
        };
        let text = |value: &dyn ToString| Some(value.to_string());
        // Before the others: they begin with words that others have in them.
        if let Some(rest) = sql.strip_prefix("START_REPLICATION SLOT ") {
            return self.start(world, database, line, rest, out);
        }
        if let Some(rest) = sql.strip_prefix("CREATE_REPLICATION_SLOT ") {
            let name = rest.split('"').nth(1).unwrap_or_default().to_owned();
            if database.slots.contains_key(&name) {
                return refuse(
                    out,
                    "42710",
                    &format!("replication slot \"{name}\" already exists"),
                );
            }
            let temporary = has(" TEMPORARY ");
            let slot = Slot {
                restart: database.lsn,
                confirmed: 0,
                on_disk: 0,
                active: Some(line.id),
                temporary,
                ready: false,
            };
            database.slots.insert(name.clone(), slot);
            let running = database.running();
            self.state = State::Creating {
                name,
                temporary,
                running,
            };
            return;
        }
        if has("COPY (SELECT ") {
            return match self.begin_copy(world, sql, out) {
                Ok(()) => {}
                Err(why) => world.fail(format!("{why}: {sql}")),
            };
        }
        let rows: Vec<Vec<Option<String>>> = if has("row_security_active") {
            let flag = |flag: bool| text(&if flag { "t" } else { "f" });
            let heap = |table: usize| {
                vec![
                    text(&OIDS[table]),
                    text(&OIDS[table]),
                    text(&"public"),
                    text(&TABLES[table]),
                    text(&database.filenodes[table]),
                    text(&database.blocks),
                    flag(database.by_tid),
                    flag(database.binary),
                ]
            };
            captured().map(heap).collect()
        } else if has("current_setting('server_version_num')") {
            vec![vec![
                text(&database.version),
                text(&"logical"),
                text(&"f"),
                text(&SYSTEM_ID),
                text(&"simulated"),
                text(&SENDER_TIMEOUT.as_millis()),
            ]]
        } else if sql == pgwire::replication::IDENTIFY_SYSTEM {
            vec![vec![
                text(&SYSTEM_ID),
                text(&1),
                text(&Lsn(database.lsn)),
                text(&"simulated"),
            ]]
        } else if has("pg_wal_lsn_diff(") {
            vec![vec![text(&0), None, None]]
        } else if has("pg_get_expr") {
            captured()
                .flat_map(|table| {
                    let columns = COLUMNS[..database.columns[table]].iter();
                    (1..).zip(columns).map(move |(attnum, (name, oid))| {
                        let not_null = if attnum == 1 { "t" } else { "f" };
                        vec![
                            text(&OIDS[table]),
                            text(&attnum),
                            text(&name),
                            text(&oid),
                            text(&-1),
                            text(&not_null),
                            None,
                        ]
                    })
                })
                .collect()
        } else if has("i.indisunique") {
            captured()
                .map(|table| vec![text(&OIDS[table]), text(&"t"), text(&"f"), text(&"1")])
                .collect()
        } else if has("typtype = 'e'") {
            Vec::new()
        } else if has("typbasetype") {
            [(INT4, "int4"), (INT8, "int8"), (TEXT, "text")]
                .iter()
                .map(|(oid, name)| {
                    vec![
                        text(oid),
                        text(&"pg_catalog"),
                        text(name),
                        text(&"b"),
                        text(&0),
                        text(&0),
                        text(&-1),
                    ]
                })
                .collect()
        } else if has("reltuples") {
            captured()
                .map(|table| {
                    let name = TABLES[table];
                    vec![
                        text(&OIDS[table]),
                        text(&"public"),
                        text(&name),
                        text(&"f"),
                        text(&"f"),
                        text(&"f"),
                        text(&database.rows[table].len()),
                        text(&8192),
                    ]
                })
                .collect()
        } else if has("c.relreplident") {
            captured()
                .map(|table| {
                    let identity = char::from(IDENTITIES[table]);
                    vec![
                        text(&OIDS[table]),
                        text(&"public"),
                        text(&TABLES[table]),
                        text(&identity),
                    ]
                })
                .collect()
        } else if has("puballtables") {
            if database.published {
                vec![vec![text(&"f")]]
            } else {
                Vec::new()
            }
        } else if has("pg_publication_rel") {
            captured()
                .map(|table| vec![text(&"t"), text(&OIDS[table])])
                .collect()
        } else if has("CREATE PUBLICATION") {
            database.published = true;
            Vec::new()
        } else if has("FROM pg_replication_slots") {
            database
                .slots
                .iter()
                .filter(|(name, _)| has(&format!("'{name}'")))
                .map(|(_, slot)| {
                    let position = |lsn: u64| slot.ready.then(|| Lsn(lsn).to_string());
                    vec![
                        text(&"pgoutput"),
                        text(&"simulated"),
                        slot.active.map(|line| (line + 1).to_string()),
                        position(slot.restart),
                        position(slot.confirmed),
                        text(&"reserved"),
                        (database.version >= 160_000).then(|| "f".to_owned()),
                        None,
                        None,
                    ]
                })
                .collect()
        } else if let Some(name) = sql.strip_prefix("SET TRANSACTION SNAPSHOT ") {
            let Some(snapshot) = database.snapshots.get(name.trim_matches('\'')) else {
                if database.version < 170_000 {
                    return refuse(
                        out,
                        "22023",
                        &format!("invalid snapshot identifier: {name}"),
                    );
                }
                return refuse(out, "42704", &format!("snapshot {name} does not exist"));
            };
            self.seen = Some(Rc::clone(snapshot));
            Vec::new()
        } else if has("extract(epoch FROM current_timestamp)") {
            let Some(seen) = &self.seen else {
                return world.fail(format!("a snapshot that was not taken: {sql}"));
            };
            let view = text(&seen.view);
            vec![vec![
                text(&world.now_unix_us()),
                view,
                text(&database.assign()),
            ]]
        } else if has("pg_current_wal_lsn()") {
            vec![vec![text(&Lsn(database.lsn)), text(&database.next_xid)]]
        } else if has("BEGIN ") || has("LOCK TABLE ") || has("SET ") || has("COMMIT") {
            Vec::new()
        } else {
            world.fail(format!(
                "the simulated PostgreSQL does not know this statement; add it to \
                 tests/simulation/postgres.rs: {sql}"
            ));
            return refuse(out, "0A000", "not simulated");
        };
        put_rows(out, &rows);
        complete(out, "SELECT");
        ready(out);
    }

    fn create(&mut self, world: &Rc<World>, line: &Line, out: &mut Vec<u8>) {
        let State::Creating {
            name,
            temporary,
            running,
        } = &self.state
        else {
            return;
        };
        let database = &mut *world.database.borrow_mut();
        if running.iter().any(|&xid| database.is_running(xid)) {
            return;
        }
        let point = database.lsn;
        let export = format!("{:08X}-{}", line.id, database.snapshots.len());
        let snapshot = database.snapshot();
        database.snapshots.insert(export.clone(), snapshot);
        if let Some(slot) = database.slots.get_mut(name) {
            slot.ready = true;
            slot.confirmed = point;
            slot.on_disk = point;
        }
        world.note("slot", line.id, point);
        if *temporary && world.judge.borrow().copies_over_gap(database.confirmed()) {
            world.end_over_gap();
        }
        if !temporary || !database.points.is_empty() {
            database.points.push(point);
        }
        let row = [
            name.clone(),
            Lsn(point).to_string(),
            export.clone(),
            "pgoutput".to_owned(),
        ];
        put_rows(out, &[row.map(Some).to_vec()]);
        complete(out, "CREATE_REPLICATION_SLOT");
        ready(out);
        self.exported = Some(export);
        self.state = State::Idle;
    }

    /// Begins to answer a COPY of one of the tables, of the rows that are asked for.
    fn begin_copy(
        &mut self,
        world: &World,
        sql: &str,
        out: &mut Vec<u8>,
    ) -> Result<(), &'static str> {
        let seen = self.seen.as_ref().ok_or("COPY outside of a snapshot")?;
        let asked = Asked::parse(sql).ok_or("a COPY that is not simulated")?;
        world.count("COPY");
        if asked.below != u64::MAX {
            world.count("COPY of what an earlier snapshot sees");
        }
        if asked.from & 0xffff != 0 {
            world.count("COPY from the middle of a block");
        }
        let mut rows: Vec<&Row> = seen.rows[asked.table].values().collect();
        rows.retain(|row| asked.wants(row));
        rows.sort_by_key(|row| row.tid);
        let mut encoded: Vec<Vec<u8>> = rows.iter().map(|row| asked.encode(row)).collect();
        let count = encoded.len();
        if asked.binary {
            encoded.push((-1_i16).to_be_bytes().to_vec());
            let header = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
            encoded[0].splice(0..0, header.iter().copied());
        }
        put(out, b'H', |body| {
            body.push(u8::from(asked.binary));
            put_i16(body, i16::try_from(asked.columns.len()).unwrap_or_default());
            for _ in &asked.columns {
                put_i16(body, i16::from(asked.binary));
            }
        });
        self.state = State::Copying {
            rows: encoded,
            count,
            at: 0,
            until: engine::net::now(),
        };
        Ok(())
    }

    fn copy(&mut self, world: &World, out: &mut Vec<u8>) {
        let State::Copying {
            rows,
            count,
            at,
            until,
        } = &mut self.state
        else {
            return;
        };
        let most = world.index(6) + 1;
        for row in rows.iter().skip(*at).take(most) {
            put(out, b'd', |body| body.extend_from_slice(row));
        }
        *at += most;
        *until = engine::net::now() + world.database.borrow().copy_rest;
        if *at >= rows.len() {
            put(out, b'c', |_| {});
            complete(out, &format!("COPY {count}"));
            ready(out);
            self.state = State::Idle;
        }
    }

    fn start(
        &mut self,
        world: &World,
        database: &mut Database,
        line: &Line,
        rest: &str,
        out: &mut Vec<u8>,
    ) {
        let name = rest.split('"').nth(1).unwrap_or_default().to_owned();
        let asked = rest.split(' ').nth(2).and_then(|lsn| lsn.parse().ok());
        let Some(Lsn(asked)) = asked else {
            return world.fail(format!("START_REPLICATION without a position: {rest}"));
        };
        let Some(slot) = database.slots.get_mut(&name) else {
            return refuse(
                out,
                "42704",
                &format!("replication slot \"{name}\" does not exist"),
            );
        };
        if let Some(other) = slot.active {
            let text = format!(
                "replication slot \"{name}\" is active for PID {}",
                other + 1
            );
            return refuse(out, "55006", &text);
        }
        slot.active = Some(line.id);
        let start = asked.max(slot.confirmed);
        world.note("start", line.id, start);
        let next = database
            .committed
            .partition_point(|transaction| transaction.commit < start);
        put(out, b'W', |body| {
            body.push(0);
            put_i16(body, 0);
        });
        let messages = 1 << world.below(7);
        self.state = State::Streaming(Streaming {
            slot: name,
            next,
            change: None,
            announced: BTreeMap::new(),
            start,
            told: 0,
            messages,
            binary: rest.contains("\"binary\" 'true'"),
        });
    }
}

impl Streaming {
    /// Everything before was sent, or is of no interest.
    fn sent(&self) -> u64 {
        self.told.max(self.start)
    }

    /// Some more messages of the stream, and a keepalive when there are none.
    fn send(&mut self, world: &World, out: &mut Vec<u8>) {
        let database = world.database.borrow();
        let most = world.index(self.messages) + 1;
        let now_us = now_us(world);
        for _ in 0..most {
            let Some(transaction) = database.committed.get(self.next) else {
                break;
            };
            match self.change {
                None => {
                    let first = transaction.changes.first().map_or(0, |change| change.lsn);
                    let xid = wire_xid(transaction.xid);
                    put_wal(out, first, now_us, |body| {
                        body.push(b'B');
                        put_u64(body, transaction.commit);
                        put_i64(body, transaction.ts_us - UNIX_TO_PG_US);
                        put_u32(body, xid);
                    });
                    self.change = Some(0);
                }
                Some(at) if at < transaction.changes.len() => {
                    let change = &transaction.changes[at];
                    let announced = self.announced.insert(change.table, change.columns);
                    if announced != Some(change.columns) {
                        put_wal(out, 0, now_us, |body| {
                            put_relation(body, change.table, change.columns);
                        });
                    }
                    let binary = self.binary;
                    put_wal(out, change.lsn, now_us, |body| match change.truncates() {
                        true => put_truncate(body, change.table),
                        false => put_change(body, change, binary),
                    });
                    self.change = Some(at + 1);
                    if world.chance(1, 30) {
                        self.told = self.told.max(transaction.commit);
                        put_keepalive(out, self.sent(), now_us, false);
                    }
                }
                Some(_) => {
                    put_wal(out, transaction.end, now_us, |body| {
                        body.extend_from_slice(b"C\0");
                        put_u64(body, transaction.commit);
                        put_u64(body, transaction.end);
                        put_i64(body, transaction.ts_us - UNIX_TO_PG_US);
                    });
                    self.told = self.told.max(transaction.end);
                    self.change = None;
                    self.next += 1;
                }
            }
        }
        if out.is_empty() && self.change.is_none() && self.told < database.lsn {
            self.told = database.lsn.max(self.start);
            put_keepalive(out, self.told, now_us, false);
        }
    }
}

fn put_wal(out: &mut Vec<u8>, lsn: u64, now_us: i64, write: impl FnOnce(&mut Vec<u8>)) {
    put(out, b'd', |body| {
        body.push(b'w');
        put_u64(body, lsn);
        put_u64(body, lsn);
        put_i64(body, now_us);
        write(body);
    });
}

fn put_keepalive(out: &mut Vec<u8>, lsn: u64, now_us: i64, reply: bool) {
    put(out, b'd', |body| {
        body.push(b'k');
        put_u64(body, lsn);
        put_i64(body, now_us);
        body.push(u8::from(reply));
    });
}

fn put_relation(body: &mut Vec<u8>, table: usize, columns: usize) {
    body.push(b'R');
    put_u32(body, OIDS[table]);
    put_cstr(body, b"public");
    put_cstr(body, TABLES[table].as_bytes());
    body.push(IDENTITIES[table]);
    put_i16(body, i16::try_from(columns).unwrap_or_default());
    for (at, (name, oid)) in COLUMNS.iter().take(columns).enumerate() {
        body.push(u8::from(at == 0 || IDENTITIES[table] == b'f'));
        put_cstr(body, name.as_bytes());
        put_u32(body, *oid);
        put_i32(body, -1);
    }
}

fn put_truncate(body: &mut Vec<u8>, table: usize) {
    body.push(b'T');
    put_i32(body, 1);
    body.push(0);
    put_u32(body, OIDS[table]);
}

fn put_change(body: &mut Vec<u8>, change: &Change, binary: bool) {
    let full = IDENTITIES[change.table] == b'f';
    let (kind, old) = match (&change.old, &change.new) {
        (None, _) => (b'I', None),
        (Some(old), None) => (b'D', Some(old)),
        (Some(old), Some(new)) => (b'U', (full || old.id != new.id).then_some(old)),
    };
    body.push(kind);
    put_u32(body, OIDS[change.table]);
    if let Some(old) = old {
        body.push(if full { b'O' } else { b'K' });
        put_tuple(
            body,
            old,
            if full { Payload::Told } else { Payload::NotKey },
            (change.columns, binary),
        );
    }
    if let Some(new) = &change.new {
        body.push(b'N');
        let payload = if change.keeps_payload() {
            Payload::Unchanged
        } else {
            Payload::Told
        };
        put_tuple(body, new, payload, (change.columns, binary));
    }
}

/// What a tuple says of what is not its key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Payload {
    Told,
    /// It lies outside of the row, and did not change.
    Unchanged,
    /// Nothing, of the version neither.
    NotKey,
}

fn put_tuple(body: &mut Vec<u8>, row: &Row, payload: Payload, (columns, binary): (usize, bool)) {
    put_i16(body, i16::try_from(columns).unwrap_or_default());
    for column in 0..columns {
        match (column, payload) {
            (1 | 2, Payload::NotKey) | (3, _) => body.push(b'n'),
            (2, Payload::Unchanged) => body.push(b'u'),
            _ => {
                body.push(if binary { b'b' } else { b't' });
                put_value(body, &value(row, column, binary));
            }
        }
    }
}

/// A column of a row, in the order of [`COLUMNS`].
fn value(row: &Row, column: usize, binary: bool) -> Vec<u8> {
    match (column, binary) {
        (0, true) => row.id.to_be_bytes().to_vec(),
        (0, false) => row.id.to_string().into_bytes(),
        (1, true) => row.version.to_be_bytes().to_vec(),
        (1, false) => row.version.to_string().into_bytes(),
        _ => row.payload.as_bytes().to_vec(),
    }
}

fn put_value(body: &mut Vec<u8>, value: &[u8]) {
    put_i32(body, i32::try_from(value.len()).unwrap_or_default());
    body.extend_from_slice(value);
}

/// An xid as the wire has it.
fn wire_xid(xid: u64) -> u32 {
    (xid & 0xffff_ffff) as u32
}

/// What a COPY asks for.
#[derive(Debug)]
struct Asked {
    table: usize,
    /// Of [`COLUMNS`]; the one behind them is the tid; none: NULL.
    columns: Vec<Option<usize>>,
    binary: bool,
    from: u64,
    to: u64,
    /// `xmin` is below, and none of these; or not so.
    below: u64,
    except: Vec<u64>,
    unless: bool,
}

impl Asked {
    /// None: another form than those that the engine writes.
    fn parse(sql: &str) -> Option<Self> {
        let rest = sql.strip_prefix("COPY (SELECT ")?;
        let (columns, rest) = rest.split_once(" FROM ")?;
        let (from, form) = rest.split_once(") TO STDOUT")?;
        let binary = match form {
            "" => false,
            " (FORMAT binary)" => true,
            _ => return None,
        };
        let (from, conditions) = from.split_once(" WHERE ").unwrap_or((from, ""));
        let from = from.strip_prefix("ONLY ").unwrap_or(from);
        let table = from.strip_prefix("\"public\".\"")?.strip_suffix('"')?;
        let column = |name: &str| match name {
            "NULL" => Some(None),
            "ctid" => Some(Some(COLUMNS.len())),
            name => {
                let name = name.strip_prefix('"')?.strip_suffix('"')?;
                Some(Some(COLUMNS.iter().position(|it| it.0 == name)?))
            }
        };
        let mut asked = Self {
            table: TABLES.iter().position(|name| *name == table)?,
            columns: columns.split(", ").map(column).collect::<Option<_>>()?,
            binary,
            from: 0,
            to: u64::MAX,
            below: u64::MAX,
            except: Vec::new(),
            unless: false,
        };
        let (others, inside) = match conditions.split_once("NOT (") {
            None => (conditions, ""),
            Some((others, inside)) => (others, inside.strip_suffix(')')?),
        };
        asked.unless = !inside.is_empty();
        let conditions = others.split(" AND ").chain(inside.split(" AND "));
        for condition in conditions.filter(|it| !it.is_empty()) {
            if let Some(tid) = condition.strip_prefix("ctid >= ") {
                asked.from = parse_tid(tid)?;
            } else if let Some(tid) = condition.strip_prefix("ctid < ") {
                asked.to = parse_tid(tid)?;
            } else if let Some(xid) = condition.strip_prefix("xmin::text::int8 < ") {
                asked.below = xid.parse().ok()?;
            } else {
                let list = condition.strip_prefix("xmin::text::int8 <> ALL ('{")?;
                let list = list.strip_suffix("}'::int8[])")?;
                let xids: Result<_, _> = list.split(',').map(str::parse).collect();
                asked.except = xids.ok()?;
            }
        }
        Some(asked)
    }

    fn wants(&self, row: &Row) -> bool {
        // A row has only 32 bits of it.
        let xmin = u64::from(wire_xid(row.xmin));
        let seen = xmin < self.below && !self.except.contains(&xmin);
        (self.from..self.to).contains(&row.tid) && seen != self.unless
    }

    fn encode(&self, row: &Row) -> Vec<u8> {
        let mut out = Vec::new();
        let (block, line) = (row.tid >> 16, row.tid & 0xffff);
        if self.binary {
            put_i16(
                &mut out,
                i16::try_from(self.columns.len()).unwrap_or_default(),
            );
        }
        for (at, column) in self.columns.iter().enumerate() {
            let value = match *column {
                None | Some(3) => None,
                Some(column) if column == COLUMNS.len() && self.binary => {
                    let mut tid = Vec::new();
                    put_u32(&mut tid, wire_xid(block));
                    tid.extend_from_slice(&((line & 0xffff) as u16).to_be_bytes());
                    Some(tid)
                }
                Some(column) if column == COLUMNS.len() => {
                    Some(format!("({block},{line})").into_bytes())
                }
                Some(column) => Some(value(row, column, self.binary)),
            };
            match value {
                None if self.binary => put_i32(&mut out, -1),
                Some(value) if self.binary => put_value(&mut out, &value),
                value => {
                    if at > 0 {
                        out.push(b'\t');
                    }
                    match value {
                        None => out.extend_from_slice(b"\\N"),
                        Some(value) => put_escaped(&mut out, &value),
                    }
                }
            }
        }
        if !self.binary {
            out.push(b'\n');
        }
        out
    }
}

/// A value in COPY's text.
fn put_escaped(out: &mut Vec<u8>, value: &[u8]) {
    for &byte in value {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            _ => out.push(byte),
        }
    }
}

/// `'(12,3)'::tid`
fn parse_tid(text: &str) -> Option<u64> {
    let text = text.strip_prefix("'(")?.strip_suffix(")'::tid")?;
    let (block, line) = text.split_once(',')?;
    Some(block.parse::<u64>().ok()? << 16 | line.parse::<u64>().ok()?)
}

fn put_rows(out: &mut Vec<u8>, rows: &[Vec<Option<String>>]) {
    let Some(first) = rows.first() else { return };
    put(out, b'T', |body| {
        put_i16(body, i16::try_from(first.len()).unwrap_or_default());
        for _ in first {
            put_cstr(body, b"column");
            put_u32(body, 0);
            put_i16(body, 0);
            put_u32(body, TEXT);
            put_i16(body, -1);
            put_i32(body, -1);
            put_i16(body, 0);
        }
    });
    for row in rows {
        put(out, b'D', |body| {
            put_i16(body, i16::try_from(row.len()).unwrap_or_default());
            for value in row {
                match value {
                    None => put_i32(body, -1),
                    Some(text) => {
                        put_i32(body, i32::try_from(text.len()).unwrap_or_default());
                        body.extend_from_slice(text.as_bytes());
                    }
                }
            }
        });
    }
}

fn refuse(out: &mut Vec<u8>, code: &str, text: &str) {
    put_error(out, "ERROR", code, text);
    ready(out);
}

fn put_error(out: &mut Vec<u8>, severity: &str, code: &str, text: &str) {
    put(out, b'E', |body| {
        for (field, value) in [
            (b'S', severity),
            (b'V', severity),
            (b'C', code),
            (b'M', text),
        ] {
            body.push(field);
            put_cstr(body, value.as_bytes());
        }
        body.push(0);
    });
}

fn complete(out: &mut Vec<u8>, tag: &str) {
    put(out, b'C', |body| put_cstr(body, tag.as_bytes()));
}

fn ready(out: &mut Vec<u8>) {
    put(out, b'Z', |body| body.push(b'I'));
}

fn put(out: &mut Vec<u8>, tag: u8, write: impl FnOnce(&mut Vec<u8>)) {
    let mut message = Length::open(out, tag);
    write(message.body());
    message.seal();
}

/// The length that stands at `at`, once so much has arrived; without what is before it.
fn length(input: &[u8], at: usize) -> Option<usize> {
    let bytes = input.get(at..at + 4)?.try_into().ok()?;
    let size = usize::try_from(u32::from_be_bytes(bytes)).ok()?;
    (input.len() >= at + size).then_some(size)
}

fn now_us(world: &World) -> i64 {
    world.now_unix_us() - UNIX_TO_PG_US
}

impl World {
    /// A status update: the slot may forget what is before `flushed`.
    fn hear_status(&self, slot: &str, flushed: u64) {
        let mut database = self.database.borrow_mut();
        let lsn = database.lsn;
        let Some(slot) = database.slots.get_mut(slot) else {
            return;
        };
        if flushed > slot.confirmed {
            slot.confirmed = flushed;
            drop(database);
            self.note("confirmed", 0, flushed);
            if flushed > lsn {
                self.fail(format!(
                    "{} is confirmed, and the WAL ends at {}",
                    Lsn(flushed),
                    Lsn(lsn)
                ));
            }
            self.check_confirmed(flushed);
        }
    }
}
