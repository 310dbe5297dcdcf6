//! A PostgreSQL in memory: a history of transactions, slots over it, and what a walsender says.
//!
//! Kept as PostgreSQL keeps it: the order of commits and the LSNs of their changes, which overlap
//! between transactions; a slot's consistent point, behind every transaction that was running; its
//! confirmed position, which a crash takes back to what was last written to disk; one connection at
//! a time for a slot; where a stream begins.
//!
//! Left out: TLS and authentication, streaming of transactions in progress, changes of schemas,
//! and SQL: statements are recognised by a part of their text, in [`Session::answer`].

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use pgwire::lsn::Lsn;
use pgwire::write::{Length, put_cstr, put_i16, put_i32, put_i64, put_u32, put_u64};
use tokio::time::Instant;

use super::network::{Line, Step};
use super::{Random, World};

/// Microseconds from 1970-01-01 to 2000-01-01.
const UNIX_TO_PG_US: i64 = 946_684_800_000_000;
/// `wal_sender_timeout`
const SENDER_TIMEOUT: Duration = Duration::from_secs(60);
const SYSTEM_ID: &str = "7300000000000000001";
const INT4: u32 = 23;
const INT8: u32 = 20;
const TEXT: u32 = 25;
pub(crate) const TABLES: [&str; 3] = ["plain", "full", "rare"];
/// `relreplident` of each.
const IDENTITIES: [u8; 3] = [b'd', b'f', b'd'];
pub(crate) const OIDS: [u32; 3] = [16_401, 16_402, 16_403];
const COLUMNS: [(&str, u32); 3] = [("id", INT4), ("version", INT8), ("payload", TEXT)];

/// A row of any of the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) id: i32,
    /// Never the same twice.
    pub(crate) version: i64,
    pub(crate) payload: Rc<str>,
}

/// What happened to a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) lsn: u64,
    pub(crate) table: usize,
    pub(crate) old: Option<Row>,
    pub(crate) new: Option<Row>,
}

/// A transaction that has committed.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) xid: u32,
    pub(crate) changes: Vec<Change>,
    /// Start of the commit record.
    pub(crate) commit: u64,
    pub(crate) end: u64,
    ts_us: i64,
}

/// One that runs.
#[derive(Debug, Default)]
struct Open {
    began: u64,
    changes: Vec<Change>,
}

type Rows = [BTreeMap<i32, Row>; 3];

#[derive(Debug, Clone)]
struct Slot {
    restart: u64,
    confirmed: u64,
    /// What a crash leaves.
    on_disk: u64,
    /// The line of whoever holds it.
    active: Option<u64>,
    temporary: bool,
    ready: bool,
}

/// The server.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) version: u32,
    lsn: u64,
    next_xid: u32,
    next_version: i64,
    pub(crate) committed: Vec<Rc<Transaction>>,
    open: BTreeMap<u32, Open>,
    rows: Rows,
    slots: BTreeMap<String, Slot>,
    published: bool,
    /// Exported: the rows at the consistent point, while the exporting line lives.
    snapshots: BTreeMap<String, (u64, Rc<Rows>)>,
    /// Nobody can connect before.
    pub(crate) down_until: Option<Instant>,
    /// Consistent points of the connector's slot and of temporary ones, in order.
    pub(crate) points: Vec<u64>,
    pub(crate) slot_name: &'static str,
}

impl Database {
    pub(crate) fn new(random: &mut Random) -> Self {
        Self {
            version: random.pick(&[130_012, 150_018, 180_001]),
            lsn: 0x0100_0000,
            next_xid: 700,
            next_version: 1,
            committed: Vec::new(),
            open: BTreeMap::new(),
            rows: Rows::default(),
            slots: BTreeMap::new(),
            published: false,
            snapshots: BTreeMap::new(),
            down_until: None,
            points: Vec::new(),
            slot_name: "simulated",
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.down_until
            .is_none_or(|until| engine::net::now() >= until)
    }

    /// What the connector's slot was told last; zero: there is none.
    pub(crate) fn confirmed(&self) -> u64 {
        self.slots
            .get(self.slot_name)
            .map_or(0, |slot| slot.confirmed)
    }

    pub(crate) fn has_slot(&self) -> bool {
        self.slots
            .get(self.slot_name)
            .is_some_and(|slot| slot.ready)
    }

    pub(crate) fn open_transactions(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn lsn(&self) -> u64 {
        self.lsn
    }

    /// The rows as they were at `point`.
    pub(crate) fn rows_at(&self, point: u64) -> [BTreeMap<i32, Row>; 3] {
        let mut rows = Rows::default();
        for transaction in self.committed.iter().take_while(|it| it.commit < point) {
            apply(&mut rows, &transaction.changes);
        }
        rows
    }

    /// WAL of nobody's interest.
    pub(crate) fn write_other(&mut self, random: &mut Random) {
        self.lsn += 8 * (1 + random.below(400));
    }

    pub(crate) fn begin(&mut self) -> u32 {
        self.next_xid += 1;
        let began = self.lsn;
        let changes = Vec::new();
        self.open.insert(self.next_xid, Open { began, changes });
        self.next_xid
    }

    /// One of the transactions that run.
    pub(crate) fn any_open(&self, random: &mut Random) -> Option<u32> {
        let at = random.index(self.open.len());
        self.open.keys().nth(at).copied()
    }

    /// Makes a change in a transaction, of a row that no other has locked. `false`: they all are.
    pub(crate) fn change(&mut self, xid: u32, random: &mut Random, keys: u64) -> bool {
        let last = self.open.get(&xid).and_then(|open| open.changes.last());
        let table = match last {
            // Another row of the same INSERT, perhaps.
            Some(last) if last.old.is_none() && random.chance(1, 2) => last.table,
            _ => random.pick(&[0, 0, 0, 1, 1, 2]),
        };
        let locked: BTreeSet<i32> = self
            .open
            .iter()
            .filter(|(other, _)| **other != xid)
            .flat_map(|(_, open)| &open.changes)
            .filter(|change| change.table == table)
            .flat_map(|change| change.old.iter().chain(&change.new).map(|row| row.id))
            .collect();
        let mut draw = |locked: &BTreeSet<i32>| {
            let id = i32::try_from(random.below(keys)).unwrap_or_default();
            (!locked.contains(&id)).then_some(id)
        };
        let Some(id) = draw(&locked) else {
            return false;
        };
        let other = draw(&locked);
        let size = match random.below(40) {
            0 => random.index(6000),
            1..10 => random.index(200),
            _ => random.index(20),
        };
        let payload: Rc<str> = "0123456789abcdef"
            .chars()
            .cycle()
            .skip(random.index(16))
            .take(size)
            .collect::<String>()
            .into();
        let Some(open) = self.open.get_mut(&xid) else {
            return false;
        };
        let mut mine = open.changes.iter().filter(|change| change.table == table);
        let seen = |id: i32, rows: &Rows, mine: &mut dyn Iterator<Item = &Change>| {
            let mut row = rows[table].get(&id).cloned();
            for change in mine {
                if change.old.as_ref().is_some_and(|old| old.id == id) {
                    row = None;
                }
                if let Some(new) = change.new.as_ref().filter(|new| new.id == id) {
                    row = Some(new.clone());
                }
            }
            row
        };
        let old = seen(id, &self.rows, &mut mine);
        let mut new = Row {
            id,
            version: self.next_version,
            payload,
        };
        self.next_version += 1;
        let mut deleted = false;
        if old.is_some() {
            match random.below(8) {
                0..2 => deleted = true,
                2 => {
                    let mut mine = open.changes.iter().filter(|change| change.table == table);
                    if let Some(other) = other
                        && other != id
                        && seen(other, &self.rows, &mut mine).is_none()
                    {
                        new.id = other;
                    }
                }
                _ => {}
            }
        }
        // Rows of one multi-insert share an LSN.
        let together = old.is_none()
            && open.changes.last().is_some_and(|last| {
                last.table == table && last.lsn + 64 >= self.lsn && last.old.is_none()
            })
            && random.chance(3, 4);
        let lsn = match open.changes.last() {
            Some(last) if together => last.lsn,
            _ => {
                let lsn = self.lsn;
                self.lsn += 56 + 8 * random.below(10);
                lsn
            }
        };
        let new = (!deleted).then_some(new);
        open.changes.push(Change {
            lsn,
            table,
            old,
            new,
        });
        true
    }

    pub(crate) fn commit(&mut self, xid: u32, now_us: i64) {
        let Some(open) = self.open.remove(&xid) else {
            return;
        };
        let commit = self.lsn;
        self.lsn += 48;
        apply(&mut self.rows, &open.changes);
        if open.changes.is_empty() {
            return;
        }
        self.committed.push(Rc::new(Transaction {
            xid,
            changes: open.changes,
            commit,
            end: self.lsn,
            ts_us: now_us,
        }));
    }

    pub(crate) fn roll_back(&mut self, xid: u32) {
        self.open.remove(&xid);
        self.lsn += 40;
    }

    /// Slots are written to disk; what they hold back is looked at.
    pub(crate) fn checkpoint(&mut self) {
        let oldest = self.open.values().map(|open| open.began).min();
        for slot in self.slots.values_mut() {
            slot.on_disk = slot.confirmed;
            slot.restart = slot
                .restart
                .max(slot.confirmed.min(oldest.unwrap_or(slot.confirmed)));
        }
    }

    /// The server dies: what had committed and what was written of the slots remains.
    pub(crate) fn crash(&mut self, back: Instant) {
        self.open.clear();
        self.snapshots.clear();
        self.slots.retain(|_, slot| slot.ready && !slot.temporary);
        for slot in self.slots.values_mut() {
            slot.active = None;
            slot.confirmed = slot.on_disk;
        }
        self.down_until = Some(back);
    }
}

fn apply(rows: &mut Rows, changes: &[Change]) {
    for change in changes {
        if let Some(old) = &change.old {
            rows[change.table].remove(&old.id);
        }
        if let Some(new) = &change.new {
            rows[change.table].insert(new.id, new.clone());
        }
    }
}

/// One connection of the server's.
#[derive(Debug)]
pub(crate) struct Session {
    state: State,
    /// What SET TRANSACTION SNAPSHOT took.
    rows: Option<Rc<Rows>>,
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
        running: BTreeSet<u32>,
    },
    Copying {
        lines: Vec<String>,
        at: usize,
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
    announced: BTreeSet<usize>,
    start: u64,
    told: u64,
    messages: usize,
}

impl Session {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Startup,
            rows: None,
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
        loop {
            match &self.state {
                State::Startup => {
                    let Some(size) = length(input, 0) else { break };
                    input.drain(..size);
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
            State::Copying { .. } => {
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
            let running = database.open.keys().copied().collect();
            self.state = State::Creating {
                name,
                temporary,
                running,
            };
            return;
        }
        if has("COPY (SELECT ") {
            let Some(rows) = &self.rows else {
                return world.fail(format!("COPY outside of a snapshot: {sql}"));
            };
            let Some(table) = TABLES
                .iter()
                .position(|table| has(&format!("\"public\".\"{table}\"")))
            else {
                return world.fail(format!("COPY of an unknown table: {sql}"));
            };
            let lines = rows[table]
                .values()
                .map(|row| format!("{}\t{}\t{}\n", row.id, row.version, row.payload))
                .collect();
            put(out, b'H', |body| {
                body.push(0);
                put_i16(body, 3);
                for _ in 0..3 {
                    put_i16(body, 0);
                }
            });
            self.state = State::Copying { lines, at: 0 };
            return;
        }
        let rows: Vec<Vec<Option<String>>> = if has("row_security_active") {
            // Tables that are copied as wholes, in text.
            let heap = |table: usize| {
                vec![
                    text(&OIDS[table]),
                    text(&OIDS[table]),
                    text(&"public"),
                    text(&TABLES[table]),
                    text(&OIDS[table]),
                    text(&1),
                    text(&"f"),
                    text(&"f"),
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
                    (1..).zip(COLUMNS).map(move |(attnum, (name, oid))| {
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
            let Some((_, rows)) = database.snapshots.get(name.trim_matches('\'')) else {
                if database.version < 170_000 {
                    return refuse(
                        out,
                        "22023",
                        &format!("invalid snapshot identifier: {name}"),
                    );
                }
                return refuse(out, "42704", &format!("snapshot {name} does not exist"));
            };
            self.rows = Some(Rc::clone(rows));
            Vec::new()
        } else if has("extract(epoch FROM current_timestamp)") {
            let xid = database.next_xid;
            let view = format!("{xid}:{xid}:");
            vec![vec![text(&world.now_unix_us()), text(&view), text(&xid)]]
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
        if running.iter().any(|xid| database.open.contains_key(xid)) {
            return;
        }
        let point = database.lsn;
        let export = format!("{:08X}-{}", line.id, database.snapshots.len());
        let rows = Rc::new(database.rows.clone());
        database.snapshots.insert(export.clone(), (point, rows));
        if let Some(slot) = database.slots.get_mut(name) {
            slot.ready = true;
            slot.confirmed = point;
            slot.on_disk = point;
        }
        world.note("slot", line.id, point);
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

    fn copy(&mut self, world: &World, out: &mut Vec<u8>) {
        let State::Copying { lines, at } = &mut self.state else {
            return;
        };
        let count = world.index(6) + 1;
        for line in lines.iter().skip(*at).take(count) {
            put(out, b'd', |body| body.extend_from_slice(line.as_bytes()));
        }
        *at += count;
        if *at >= lines.len() {
            put(out, b'c', |_| {});
            complete(out, &format!("COPY {}", lines.len()));
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
            announced: BTreeSet::new(),
            start,
            told: 0,
            messages,
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
                    put_wal(out, first, now_us, |body| {
                        body.push(b'B');
                        put_u64(body, transaction.commit);
                        put_i64(body, transaction.ts_us - UNIX_TO_PG_US);
                        put_u32(body, transaction.xid);
                    });
                    self.change = Some(0);
                }
                Some(at) if at < transaction.changes.len() => {
                    let change = &transaction.changes[at];
                    if self.announced.insert(change.table) {
                        put_wal(out, 0, now_us, |body| put_relation(body, change.table));
                    }
                    put_wal(out, change.lsn, now_us, |body| put_change(body, change));
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

fn put_relation(body: &mut Vec<u8>, table: usize) {
    body.push(b'R');
    put_u32(body, OIDS[table]);
    put_cstr(body, b"public");
    put_cstr(body, TABLES[table].as_bytes());
    body.push(IDENTITIES[table]);
    put_i16(body, 3);
    for (at, (name, oid)) in COLUMNS.iter().enumerate() {
        body.push(u8::from(at == 0 || IDENTITIES[table] == b'f'));
        put_cstr(body, name.as_bytes());
        put_u32(body, *oid);
        put_i32(body, -1);
    }
}

fn put_change(body: &mut Vec<u8>, change: &Change) {
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
        put_tuple(body, old, !full);
    }
    if let Some(new) = &change.new {
        body.push(b'N');
        put_tuple(body, new, false);
    }
}

fn put_tuple(body: &mut Vec<u8>, row: &Row, key_only: bool) {
    put_i16(body, 3);
    let mut value = |text: &str| {
        body.push(b't');
        put_i32(body, i32::try_from(text.len()).unwrap_or_default());
        body.extend_from_slice(text.as_bytes());
    };
    value(&row.id.to_string());
    if key_only {
        body.extend_from_slice(b"nn");
    } else {
        value(&row.version.to_string());
        value(&row.payload);
    }
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
    put(out, b'E', |body| {
        for (field, value) in [(b'S', "ERROR"), (b'C', code), (b'M', text)] {
            body.push(field);
            put_cstr(body, value.as_bytes());
        }
        body.push(0);
    });
    ready(out);
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
