//! The simulated PostgreSQL against real ones: snapshots, slots, streams and what ends them.
//!
//! What is compared is what the engine sees and the simulation claims. Numbers that are each
//! server's own (LSNs, xids, process ids) are compared by what they are to each other.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use engine::net::Stream;
use pgwire::lsn::Lsn;
use pgwire::replication::StandbyStatusUpdate;
use pgwire::{frame, frontend};
use tests::postgres::{Postgres, SUPERUSER, Stop, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::simulation::{self, World, with_database};

const SLOT: &str = "simulated";
/// Long enough to lie outside of its row.
const LARGE: usize = 3000;
/// Nothing is waited for longer.
const LIMIT: Duration = Duration::from_secs(100);
/// Before it is taken for granted that nothing comes.
const QUIET: Duration = Duration::from_secs(2);

#[test]
fn replication_is_answered_as_postgresql_15_does() {
    agree(15, 150_018);
}

#[test]
fn replication_is_answered_as_postgresql_18_does() {
    agree(18, 180_001);
}

fn agree(major: u32, number: u32) {
    let server = Postgres::start_with(Version::Major(major), &[("autovacuum", "off")]);
    server.query("postgres", &format!("CREATE DATABASE {SLOT}"));
    let tables = "CREATE TABLE plain (id int4 PRIMARY KEY, version int8, payload text); \
                  CREATE TABLE \"full\" (id int4 PRIMARY KEY, version int8, payload text); \
                  ALTER TABLE \"full\" REPLICA IDENTITY FULL; \
                  ALTER TABLE plain ALTER payload SET STORAGE EXTERNAL; \
                  ALTER TABLE \"full\" ALTER payload SET STORAGE EXTERNAL; \
                  CREATE PUBLICATION p FOR TABLE plain, \"full\"";
    server.query(SLOT, tables);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let real = Side::Real(Real {
        server: &server,
        transactions: RefCell::default(),
        xids: RefCell::default(),
    });
    let told = runtime.block_on(talk(&real, number));
    let simulated = with_database(number, |world| async move {
        let side = Side::Simulated(Simulated {
            world,
            xids: RefCell::default(),
            lines: Cell::new(0),
        });
        talk(&side, number).await
    });
    assert_eq!(
        simulated, told,
        "left: simulated, right: PostgreSQL {major}"
    );
}

/// Who is talked to.
enum Side<'s> {
    Real(Real<'s>),
    Simulated(Simulated),
}

struct Real<'s> {
    server: &'s Postgres,
    /// Each transaction has a connection of its own.
    transactions: RefCell<BTreeMap<&'static str, Connection>>,
    xids: RefCell<BTreeMap<&'static str, u64>>,
}

struct Simulated {
    world: Rc<World>,
    xids: RefCell<BTreeMap<&'static str, u64>>,
    /// Of the heap's only block, per table.
    lines: Cell<u64>,
}

impl Side<'_> {
    async fn connect(&self, replication: bool) -> Connection {
        let stream = match self {
            Self::Real(real) => {
                let path = real.server.socket();
                let path = path.join(format!(".s.PGSQL.{}", real.server.port()));
                let stream = Stream::connect_unix(&path, Duration::from_secs(5)).await;
                stream.expect("a server")
            }
            Self::Simulated(it) => simulation::database_connection(&it.world),
        };
        let mut connection = Connection {
            stream: Some(stream),
            input: Vec::new(),
        };
        let mut out = Vec::new();
        let mut parameters = vec![
            ("user", SUPERUSER.0),
            ("database", SLOT),
            ("client_encoding", "UTF8"),
        ];
        if replication {
            parameters.push(("replication", "database"));
            parameters.push(("options", "-c wal_sender_timeout=3000"));
        }
        frontend::startup(&mut out, parameters);
        connection.write(&out).await;
        connection
    }

    /// A connection that takes statements.
    async fn ready(&self, replication: bool) -> Connection {
        let mut connection = self.connect(replication).await;
        while connection.message().await.expect("a greeting").0 != b'Z' {}
        connection
    }

    async fn begin(&self, name: &'static str) {
        match self {
            Self::Real(real) => {
                let mut connection = self.ready(false).await;
                connection.query("BEGIN").await;
                let rows = connection.query("SELECT txid_current()").await;
                let xid = rows[0].parse().expect("an xid");
                real.xids.borrow_mut().insert(name, xid);
                real.transactions.borrow_mut().insert(name, connection);
            }
            Self::Simulated(it) => {
                let xid = it.world.database.borrow_mut().begin();
                it.xids.borrow_mut().insert(name, xid);
            }
        }
    }

    /// Another subtransaction begins, and goes by that name.
    async fn savepoint(&self, name: &'static str, sub: &'static str) {
        match self {
            Self::Real(_) => {
                self.sql(name, "SAVEPOINT s").await;
            }
            Self::Simulated(it) => {
                let xid = it.xids.borrow()[name];
                let xid = it.world.database.borrow_mut().savepoint(xid);
                it.xids.borrow_mut().insert(sub, xid);
            }
        }
    }

    async fn sql(&self, name: &'static str, sql: &str) -> Vec<String> {
        let Self::Real(real) = self else {
            return Vec::new();
        };
        let mut connection = real
            .transactions
            .borrow_mut()
            .remove(name)
            .expect("it runs");
        let said = connection.query(sql).await;
        assert!(!said.iter().any(|it| it.contains("error")), "{said:?}");
        real.transactions.borrow_mut().insert(name, connection);
        said
    }

    /// A row is inserted, changed or deleted; a payload that is left out stays as it is.
    async fn change(
        &self,
        name: &'static str,
        table: usize,
        old: Option<i32>,
        new: Option<(i32, i64, Option<&str>)>,
    ) {
        match self {
            Self::Real(_) => {
                let table = ["plain", "\"full\""][table];
                let sql = match (old, new) {
                    (None, Some((id, version, payload))) => format!(
                        "INSERT INTO {table} VALUES ({id}, {version}, '{}')",
                        payload.unwrap_or_default()
                    ),
                    (Some(old), Some((id, version, payload))) => {
                        let payload = payload.map(|it| format!(", payload = '{it}'"));
                        format!(
                            "UPDATE {table} SET id = {id}, version = {version}{} WHERE id = {old}",
                            payload.unwrap_or_default()
                        )
                    }
                    (Some(old), None) => format!("DELETE FROM {table} WHERE id = {old}"),
                    (None, None) => return,
                };
                self.sql(name, &sql).await;
            }
            Self::Simulated(it) => {
                it.lines.set(it.lines.get() + u64::from(new.is_some()));
                let xid = it.xids.borrow()[name];
                let database = &mut *it.world.database.borrow_mut();
                database.put(xid, table, old, new, it.lines.get());
            }
        }
    }

    async fn commit(&self, name: &'static str) {
        match self {
            Self::Real(real) => {
                self.sql(name, "COMMIT").await;
                real.transactions.borrow_mut().remove(name);
            }
            Self::Simulated(it) => {
                let xid = it.xids.borrow()[name];
                let now_us = it.world.now_unix_us();
                it.world.database.borrow_mut().commit(xid, now_us);
                it.world.changed.notify_waiters();
            }
        }
    }

    async fn roll_back(&self, name: &'static str) {
        match self {
            Self::Real(real) => {
                self.sql(name, "ROLLBACK").await;
                real.transactions.borrow_mut().remove(name);
            }
            Self::Simulated(it) => {
                let xid = it.xids.borrow()[name];
                it.world.database.borrow_mut().roll_back(xid);
                it.world.changed.notify_waiters();
            }
        }
    }

    fn xid(&self, name: &str) -> u64 {
        match self {
            Self::Real(it) => it.xids.borrow()[name],
            Self::Simulated(it) => it.xids.borrow()[name],
        }
    }

    fn checkpoint(&self) {
        match self {
            Self::Real(it) => drop(it.server.query("postgres", "CHECKPOINT")),
            Self::Simulated(it) => it.world.database.borrow_mut().checkpoint(),
        }
    }

    /// Whoever streams is told to go.
    fn terminate(&self) {
        match self {
            Self::Real(it) => {
                let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_replication";
                it.server.query("postgres", sql);
            }
            Self::Simulated(it) => simulation::restart_database(&it.world),
        }
    }

    /// What had not been written of the slots is forgotten.
    fn crash(&self) {
        match self {
            Self::Real(it) => it.server.restart(Stop::Immediate),
            Self::Simulated(it) => simulation::crash_database(&it.world),
        }
    }

    /// The slot's row: who holds it, and what it was told.
    async fn slot(&self, number: u32) -> Option<(bool, Lsn)> {
        let mut connection = self.ready(false).await;
        let since = |version, column| if number >= version { column } else { "NULL" };
        let said = connection
            .query(&format!(
                "SELECT plugin, database, active_pid, restart_lsn, confirmed_flush_lsn, {}, {}, \
                 {}, {} FROM pg_replication_slots WHERE slot_name = '{SLOT}'",
                since(130_000, "wal_status"),
                since(160_000, "conflicting"),
                since(170_000, "invalidation_reason"),
                since(170_000, "synced"),
            ))
            .await;
        let row: Vec<&str> = said.first()?.split('|').collect();
        Some((row[2] != "NULL", row[4].parse().expect("a position")))
    }

    /// Once nobody holds the slot.
    async fn free_slot(&self, number: u32) -> Lsn {
        for _ in 0..200 {
            if let Some((false, confirmed)) = self.slot(number).await {
                return confirmed;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the slot is held");
    }
}

/// One connection to it.
struct Connection {
    stream: Option<Stream>,
    input: Vec<u8>,
}

/// What a stream says.
#[derive(Debug, Default)]
struct Heard {
    /// As people would tell it.
    said: Vec<String>,
    /// Start and end of each transaction's commit record, and of its first change.
    commits: Vec<(Lsn, Lsn, Lsn)>,
    /// The newest keepalive's position, and whether it wanted an answer.
    keepalive: Option<(Lsn, bool)>,
    changes: Vec<Lsn>,
    /// How many transactions have ended.
    complete: usize,
}

impl Connection {
    async fn write(&mut self, bytes: &[u8]) {
        let stream = self.stream.as_mut().expect("a connection");
        stream.write_all(bytes).await.expect("a server");
    }

    /// The next message; none: it is closed.
    async fn message(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Ok(Some((frame, size))) = frame::split(&self.input, usize::MAX) {
                let message = (frame.tag.0, frame.body.to_vec());
                self.input.drain(..size);
                return Some(message);
            }
            let stream = self.stream.as_mut()?;
            let read = tokio::time::timeout(LIMIT, stream.read_buf(&mut self.input)).await;
            match read.expect("an answer in time") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Rows, and errors.
    async fn query(&mut self, sql: &str) -> Vec<String> {
        let mut out = Vec::new();
        frontend::query(&mut out, sql);
        self.write(&out).await;
        let mut said = Vec::new();
        while let Some((tag, body)) = self.message().await {
            match tag {
                b'D' => said.push(fields(&body).join("|")),
                b'E' => said.push(error(&body)),
                b'H' | b'd' => said.push(format!("{} {body:02x?}", char::from(tag))),
                b'C' if body.starts_with(b"COPY") => {
                    said.push(String::from_utf8_lossy(&body).into_owned());
                }
                b'Z' => return said,
                _ => {}
            }
        }
        said.push("closed".to_owned());
        said
    }

    /// Begins to stream. What was said instead, if it was refused.
    async fn start(&mut self, from: Lsn, binary: bool) -> Option<Vec<String>> {
        let options = [
            ("proto_version", "1"),
            ("publication_names", "\"p\""),
            ("messages", "true"),
            ("binary", if binary { "true" } else { "false" }),
        ];
        let mut out = Vec::new();
        let sql = pgwire::replication::start(SLOT, from, &options);
        frontend::query(&mut out, &sql);
        self.write(&out).await;
        let mut said = Vec::new();
        loop {
            match self.message().await {
                Some((b'W', _)) => return None,
                Some((b'E', body)) => said.push(error(&body)),
                Some((b'Z', _)) => return Some(said),
                Some(_) => {}
                None => return Some(vec!["closed".to_owned()]),
            }
        }
    }

    /// Listens until so many transactions are complete.
    async fn hear(&mut self, transactions: usize) -> Heard {
        let mut heard = Heard::default();
        while heard.complete < transactions {
            let (tag, body) = self.message().await.expect("a stream");
            assert_eq!(tag, b'd', "{body:?}");
            heard.take(&body);
        }
        heard
    }

    /// Listens until a keepalive reaches `lsn`.
    async fn hear_keepalive(&mut self, lsn: Lsn) -> Heard {
        let mut heard = Heard::default();
        while heard.keepalive.is_none_or(|(at, _)| at < lsn) {
            self.ask(Lsn(0)).await;
            let (_, body) = self.message().await.expect("a stream");
            heard.take(&body);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        heard
    }

    /// Says how far everything is safe, and wants an answer.
    async fn ask(&mut self, flushed: Lsn) {
        let mut out = Vec::new();
        StandbyStatusUpdate {
            written: flushed,
            flushed,
            applied: flushed,
            sent_at: 0,
            reply_requested: true,
        }
        .put(&mut out);
        self.write(&out).await;
    }
}

fn fields(body: &[u8]) -> Vec<String> {
    let mut rest = &body[2..];
    let mut fields = Vec::new();
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            fields.push("NULL".to_owned());
            rest = tail;
            continue;
        };
        fields.push(String::from_utf8_lossy(&tail[..length]).into_owned());
        rest = &tail[length..];
    }
    fields
}

/// Severity and SQLSTATE.
fn error(body: &[u8]) -> String {
    let field = |code: u8| {
        let mut parts = body.split(|&byte| byte == 0);
        let found = parts.find(|part| part.first() == Some(&code));
        found.map(|part| String::from_utf8_lossy(&part[1..]).into_owned())
    };
    let field = |code| field(code).unwrap_or_default();
    format!("{} error {}", field(b'V'), field(b'C'))
}

impl Heard {
    /// What a CopyData holds.
    fn take(&mut self, body: &[u8]) {
        let lsn = |at: usize| Lsn(u64::from_be_bytes(body[at..at + 8].try_into().unwrap()));
        if body[0] == b'k' {
            self.keepalive = Some((lsn(1), body[17] == 1));
            return;
        }
        let (at, message) = (lsn(1), &body[25..]);
        let number = |at: usize| Lsn(u64::from_be_bytes(message[at..at + 8].try_into().unwrap()));
        match message[0] {
            b'B' => {
                self.changes.clear();
                self.commits.push((number(1), Lsn(0), at));
                self.said.push("begin".to_owned());
            }
            b'C' => {
                let (commit, end) = (number(2), number(10));
                let (announced, _, began) = self.commits.pop().expect("a beginning");
                let first = self.changes.first().copied().unwrap_or_default();
                let same = |same: bool| if same { "as it should be" } else { "elsewhere" };
                self.said.push(format!(
                    "commit {}, its message {}, the beginning {}",
                    same(announced == commit && commit < end),
                    same(at == end),
                    same(began == first && first < commit),
                ));
                self.commits.push((commit, end, first));
                self.complete += 1;
            }
            b'R' => {
                let text: String = message[5..]
                    .iter()
                    .map(|&byte| match byte {
                        b' '..=b'~' => char::from(byte),
                        _ => '.',
                    })
                    .collect();
                self.said.push(format!("relation at {at}: {text}"));
            }
            kind => {
                self.changes.push(at);
                self.said
                    .push(format!("{} {}", char::from(kind), tuples(&message[5..])));
            }
        }
    }
}

/// Tuples as people would write them; of large values the length.
fn tuples(mut rest: &[u8]) -> String {
    let mut text = String::new();
    while let Some((&kind, tail)) = rest.split_first() {
        text.push(char::from(kind));
        text.push('(');
        let (columns, tail) = tail.split_at(2);
        rest = tail;
        for _ in 0..u16::from_be_bytes([columns[0], columns[1]]) {
            let (&form, tail) = rest.split_first().expect("a column");
            rest = tail;
            text.push(' ');
            text.push(char::from(form));
            if form == b't' || form == b'b' {
                let (length, tail) = rest.split_at(4);
                let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
                let (value, tail) = tail.split_at(length);
                rest = tail;
                match length {
                    100.. => text += &format!("{length} bytes"),
                    _ => text += &format!("{value:02x?}"),
                }
            }
        }
        text.push(')');
    }
    text
}

/// The whole conversation.
async fn talk(side: &Side<'_>, number: u32) -> Vec<String> {
    let mut said = Vec::new();
    greeting(side, &mut said).await;
    snapshot(side, number, &mut said).await;
    stream(side, number, &mut said).await;
    endings(side, number, &mut said).await;
    said
}

async fn greeting(side: &Side<'_>, said: &mut Vec<String>) {
    let mut connection = side.connect(true).await;
    while let Some((tag, body)) = connection.message().await {
        let known: [&[u8]; 2] = [b"server_version\0", b"client_encoding\0"];
        match tag {
            // Which of the two comes first is nobody's business.
            b'S' if !known.iter().any(|name| body.starts_with(name)) => {}
            b'S' if body.starts_with(known[0]) => {
                said.push(format!("server_version {:?}", &body[15..17]));
            }
            b'S' => {}
            b'K' => said.push(format!("K of {} bytes", body.len())),
            tag => said.push(format!("{} {body:?}", char::from(tag))),
        }
        if tag == b'Z' {
            break;
        }
    }
    let rows = connection.query("IDENTIFY_SYSTEM").await;
    let row: Vec<&str> = rows[0].split('|').collect();
    said.push(format!(
        "system: {} columns, a number {}, timeline {}, a position {}, {}",
        row.len(),
        row[0].parse::<u64>().is_ok(),
        row[1],
        row[2].parse::<Lsn>().is_ok(),
        row[3]
    ));
}

/// A slot, the snapshot that it exports, and COPY under it.
async fn snapshot(side: &Side<'_>, number: u32, said: &mut Vec<String>) {
    side.begin("before").await;
    for id in 1..4 {
        side.change("before", 0, None, Some((id, i64::from(id), Some("x"))))
            .await;
    }
    side.commit("before").await;
    side.begin("aborted").await;
    side.change("aborted", 0, None, Some((9, 9, Some("x"))))
        .await;
    side.roll_back("aborted").await;
    side.begin("parent").await;
    side.savepoint("parent", "sub").await;
    side.change("parent", 0, None, Some((4, 4, Some("tab\\there"))))
        .await;
    side.commit("parent").await;
    side.begin("running").await;
    side.change("running", 0, None, Some((5, 5, Some(""))))
        .await;

    // It waits for those that run.
    let mut exporting = side.ready(true).await;
    let create = pgwire::replication::CreateSlot {
        name: SLOT,
        plugin: "pgoutput",
        temporary: false,
        snapshot: pgwire::replication::SlotSnapshot::Export,
        two_phase: false,
        failover: false,
    };
    let create = create.command(number).expect("a command");
    let created = {
        let mut created = std::pin::pin!(exporting.query(&create));
        let early = tokio::time::timeout(QUIET, &mut created).await;
        said.push(format!("a slot before all have ended: {}", early.is_ok()));
        side.commit("running").await;
        created.await
    };
    let row: Vec<&str> = created[0].split('|').collect();
    said.push(format!(
        "slot: {} columns, {}, a position {}, a snapshot {}, {}",
        row.len(),
        row[0],
        row[1].parse::<Lsn>().is_ok(),
        row[2] != "NULL",
        row[3]
    ));
    let snapshot = row[2].to_owned();
    let mut other = side.ready(true).await;
    said.push(format!("the slot again: {:?}", other.query(&create).await));

    side.begin("after").await;
    side.change("after", 0, None, Some((7, 7, Some("x")))).await;
    side.commit("after").await;
    let mut importing = side.ready(false).await;
    importing
        .query("BEGIN ISOLATION LEVEL REPEATABLE READ")
        .await;
    let import = format!("SET TRANSACTION SNAPSHOT '{snapshot}'");
    said.push(format!("import: {:?}", importing.query(&import).await));
    let view = importing
        .query(
            "SELECT (extract(epoch FROM current_timestamp) * 1000000)::bigint, \
             txid_current_snapshot(), \
             CASE WHEN pg_is_in_recovery() THEN NULL ELSE txid_current() END",
        )
        .await;
    let view = view[0].split('|').nth(1).unwrap_or_default().to_owned();
    let view = engine::progress::copied::View::parse(&view).expect("a snapshot");
    for name in ["before", "aborted", "parent", "running", "after"] {
        let xid = side.xid(name);
        let unseen = xid >= view.end || view.unseen.contains(&xid);
        said.push(format!("{name} is listed as unseen: {unseen}"));
    }
    let columns = "\"id\", \"version\", \"payload\", ctid";
    let table = "ONLY \"public\".\"plain\"";
    let (before, end) = (side.xid("before"), side.xid("running"));
    for copy in [
        format!("COPY (SELECT {columns} FROM {table}) TO STDOUT"),
        format!("COPY (SELECT {columns} FROM {table}) TO STDOUT (FORMAT binary)"),
        format!("COPY (SELECT \"id\", NULL, ctid FROM {table}) TO STDOUT"),
        format!(
            "COPY (SELECT \"id\", NULL, ctid FROM {table} WHERE ctid >= '(0,2)'::tid AND \
             ctid < '(0,5)'::tid) TO STDOUT (FORMAT binary)"
        ),
        format!(
            "COPY (SELECT \"id\", ctid FROM {table} WHERE ctid >= '(7,0)'::tid) TO STDOUT \
             (FORMAT binary)"
        ),
        format!("COPY (SELECT \"id\" FROM {table} WHERE xmin::text::int8 < {end}) TO STDOUT"),
        format!(
            "COPY (SELECT \"id\" FROM {table} WHERE xmin::text::int8 < {end} AND \
             xmin::text::int8 <> ALL ('{{{before}}}'::int8[])) TO STDOUT"
        ),
        format!(
            "COPY (SELECT \"id\" FROM {table} WHERE ctid < '(0,6)'::tid AND NOT \
             (xmin::text::int8 < {end} AND xmin::text::int8 <> ALL ('{{{before}}}'::int8[]))) \
             TO STDOUT"
        ),
    ] {
        said.push(format!("{:#?}", importing.query(&copy).await));
    }
    // Whoever exports says anything else, and it is gone; who has it keeps it.
    exporting.query("IDENTIFY_SYSTEM").await;
    let mut late = side.ready(false).await;
    late.query("BEGIN ISOLATION LEVEL REPEATABLE READ").await;
    said.push(format!("a late import: {:?}", late.query(&import).await));
    let copy = format!("COPY (SELECT \"id\" FROM {table}) TO STDOUT");
    said.push(format!("{:?}", importing.query(&copy).await));
}

/// What is streamed, and from where.
async fn stream(side: &Side<'_>, number: u32, said: &mut Vec<String>) {
    let large = "0123456789".repeat(LARGE / 10);
    side.begin("long").await;
    side.change("long", 0, None, Some((20, 1, Some("long"))))
        .await;
    side.begin("changes").await;
    for table in 0..2 {
        side.change("changes", table, None, Some((10, 1, Some(&large))))
            .await;
        side.change("changes", table, Some(10), Some((10, 2, None)))
            .await;
        side.change("changes", table, Some(10), Some((11, 3, Some("short"))))
            .await;
        side.change("changes", table, Some(11), Some((11, 4, None)))
            .await;
        side.change("changes", table, Some(11), None).await;
    }
    side.commit("changes").await;
    side.begin("lost").await;
    side.change("lost", 0, None, Some((21, 1, Some("lost"))))
        .await;
    side.roll_back("lost").await;
    side.commit("long").await;

    for binary in [false, true] {
        let mut connection = side.ready(true).await;
        assert_eq!(connection.start(Lsn(0), binary).await, None);
        // The one behind the snapshot, the changes, the long one.
        let heard = connection.hear(3).await;
        said.extend(heard.said);
        drop(connection);
        side.free_slot(number).await;
    }

    let mut first = side.ready(true).await;
    assert_eq!(first.start(Lsn(0), false).await, None);
    let heard = first.hear(3).await;
    let mut second = side.ready(true).await;
    let refused = second.start(Lsn(0), false).await;
    said.push(format!("the slot of another: {refused:?}"));
    let [after, changes, long] = heard.commits[..] else {
        panic!("{:?}", heard.commits);
    };
    said.push(format!(
        "an overlapping transaction's change is before another's commit: {}",
        long.2 < changes.0
    ));
    let idle = first.hear_keepalive(long.1).await;
    said.push(format!("idle: {:?} beyond the last end", idle.said));
    // Confirmed, and asked for from everywhere.
    first.ask(after.1).await;
    first.hear_keepalive(long.1).await;
    let (active, confirmed) = side.slot(number).await.expect("a slot");
    said.push(format!(
        "held {active}, confirmed as told {}",
        confirmed == after.1
    ));
    first.ask(Lsn(after.1.0 - 8)).await;
    first.hear_keepalive(long.1).await;
    let (_, confirmed) = side.slot(number).await.expect("a slot");
    said.push(format!("never back: {}", confirmed == after.1));
    drop(first);
    let confirmed = side.free_slot(number).await;
    said.push(format!("kept: {}", confirmed == after.1));
    for (what, from) in [
        ("nowhere", Lsn(0)),
        ("before what is confirmed", after.0),
        ("what is confirmed", after.1),
        ("the first change", changes.2),
        ("a commit's record", changes.0),
        ("behind a commit's record", Lsn(changes.0.0 + 1)),
        ("a commit's end", changes.1),
    ] {
        let mut connection = side.ready(true).await;
        assert_eq!(connection.start(from, false).await, None);
        let heard = connection.hear(1).await;
        let place = [after, changes, long]
            .iter()
            .position(|it| it.0 == heard.commits[0].0);
        said.push(format!("from {what}: transaction {place:?}"));
        drop(connection);
        side.free_slot(number).await;
    }
}

/// What ends a connection, and what is left then.
async fn endings(side: &Side<'_>, number: u32, said: &mut Vec<String>) {
    let mut silent = side.ready(true).await;
    assert_eq!(silent.start(Lsn(0), false).await, None);
    let (mut asked, mut other) = (false, Vec::new());
    while let Some((tag, body)) = silent.message().await {
        match (tag, body.first()) {
            (b'd', Some(b'k')) => asked |= body[17] == 1,
            (b'd', _) => {}
            _ => other.push(tag),
        }
    }
    said.push(format!(
        "wal_sender_timeout: asked {asked}, then closed, with {other:?}"
    ));
    side.free_slot(number).await;

    let mut told = side.ready(true).await;
    assert_eq!(told.start(Lsn(0), false).await, None);
    told.hear(1).await;
    side.terminate();
    while let Some((tag, body)) = told.message().await {
        if tag != b'd' {
            said.push(format!("terminated: {} {}", char::from(tag), error(&body)));
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    side.free_slot(number).await;

    let mut missing = side.ready(true).await;
    let sql = pgwire::replication::start("missing", Lsn(0), &[]);
    said.push(format!("no such slot: {:?}", missing.query(&sql).await));
    let mut temporary = side.ready(true).await;
    let create = format!("CREATE_REPLICATION_SLOT \"{SLOT}_t\" TEMPORARY LOGICAL \"pgoutput\"");
    let created = temporary.query(&create).await;
    said.push(format!("a temporary slot: {} row", created.len()));
    drop(temporary);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut again = side.ready(true).await;
    let created = again.query(&create).await;
    said.push(format!(
        "gone with its connection: {}",
        !created[0].contains("error")
    ));
    drop(again);

    // A crash takes a slot back to what a checkpoint wrote, or to any position since then.
    let mut last = side.ready(true).await;
    assert_eq!(last.start(Lsn(0), false).await, None);
    let heard = last.hear(2).await;
    let before = side.slot(number).await.expect("a slot").1;
    side.checkpoint();
    last.ask(heard.commits[1].1).await;
    last.hear_keepalive(heard.commits[1].1).await;
    let told = side.slot(number).await.expect("a slot").1;
    side.crash();
    drop(last);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let left = side.free_slot(number).await;
    said.push(format!(
        "a crash: told {}, left between the checkpoint's and that {}",
        told == heard.commits[1].1,
        (before..=told).contains(&left)
    ));
    let mut connection = side.ready(true).await;
    assert_eq!(connection.start(heard.commits[1].1, false).await, None);
    side.begin("last").await;
    side.change("last", 0, None, Some((30, 1, Some("last"))))
        .await;
    side.commit("last").await;
    loop {
        let heard = connection.hear(1).await;
        if heard.said.iter().any(|it| it.contains("6c, 61, 73, 74")) {
            said.extend(heard.said);
            break;
        }
    }
}
