//! What the process does at its limits: memory, rows that do not fit, peers that do not answer, and
//! the word to stop in every state. Real servers; memory as the kernel counts it: what is over the
//! ceiling is refused to the process (`RLIMIT_DATA`), and its peak is read as well (`VmHWM`).

use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::judge::{self, Format};
use tests::kafka::{self, Kafka};
use tests::penstock::Penstock;
use tests::postgres::{Database, Postgres, Version};
use tests::{Properties, eventually, files};

const SOON: Duration = Duration::from_secs(120);
/// `penstock.memory.max`, as it is without being set. The binary under test has debug information,
/// and ten megabytes more of itself in memory than a released one.
const CEILING_KIB: u64 = 64 << 10;

fn connector(database: &Database<'_>, tables: &str) -> Properties {
    files::bare_connector(database, tables)
        .with("plugin.name", "pgoutput")
        .with("snapshot.mode", "no_data")
        .with("retriable.restart.connector.wait.ms", 300)
}

/// Waits until changes are captured from now on: before a slot's consistent point they are not.
fn await_stream(pipe: &mut Penstock) {
    pipe.wait_for(&["state: streaming"], SOON);
}

/// A pipe that the kernel gives no more memory than the ceiling: an allocation beyond it ends the
/// process. Every private page that can be written to counts, used or not, so all but its code.
fn bounded(worker: &Properties, connector: &Properties) -> Penstock {
    let limit = format!("--data={}", CEILING_KIB << 10);
    Penstock::standalone_under(&["prlimit", &limit], worker, &[connector])
}

/// The most memory a process has had, looked at until it ends.
struct Peak(Arc<Mutex<u64>>);

impl Peak {
    fn of(pipe: &Penstock) -> Self {
        let peak = Arc::new(Mutex::new(0));
        let (seen, process) = (Arc::clone(&peak), pipe.process());
        std::thread::spawn(move || {
            while let Ok(status) = std::fs::read_to_string(format!("/proc/{process}/status")) {
                let line = status.lines().find(|line| line.starts_with("VmHWM:"));
                let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
                let Some(kib) = kib else { break };
                *seen.lock().expect("no panic under it") = kib;
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self(peak)
    }

    fn assert_below_the_ceiling(&self, what: &str) {
        let peak = *self.0.lock().expect("no panic under it");
        eprintln!("{what}: VmHWM {peak} KiB");
        assert!((1..=CEILING_KIB).contains(&peak), "{what}: {peak} KiB");
    }
}

fn signal(process: u32, name: &str) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &process.to_string()])
        .status();
    assert!(status.is_ok_and(|status| status.success()), "kill -{name}");
}

/// Somebody who takes connections and never says a word.
struct Mute {
    port: u16,
    callers: Arc<AtomicUsize>,
}

impl Mute {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let callers = Arc::new(AtomicUsize::new(0));
        let heard = Arc::clone(&callers);
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for caller in listener.incoming() {
                held.push(caller);
                heard.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { port, callers }
    }

    fn await_caller(&self) {
        eventually("somebody calls", SOON, || {
            match self.callers.load(Ordering::Relaxed) {
                0 => Err("nobody".to_owned()),
                _ => Ok(()),
            }
        });
    }
}

/// SIGTERM; the end must come within 5 s, and well.
fn assert_stops_in_time(pipe: &mut Penstock, state: &str) {
    let asked = Instant::now();
    let code = pipe.terminate();
    let took = asked.elapsed();
    assert_eq!(code, 0, "{state}: {}", pipe.log());
    assert!(
        took < Duration::from_secs(5),
        "{state}: {took:?}\n{}",
        pipe.log()
    );
}

#[test]
fn a_large_transaction() {
    let kafka = Kafka::shared(kafka::NEWEST);
    let database = Postgres::shared(Version::Debian).database("large_transaction");
    database.query("CREATE TABLE big (id int PRIMARY KEY, a text)");
    let connector = connector(&database, "public.big");
    let mut pipe = bounded(&files::worker(&kafka.bootstrap()), &connector);
    let peak = Peak::of(&pipe);
    await_stream(&mut pipe);
    // LARGE_ROWS=5000000: 5 GB.
    let rows = std::env::var("LARGE_ROWS").ok();
    let rows: u64 = rows.and_then(|text| text.parse().ok()).unwrap_or(600_000);
    database.query(&format!(
        "INSERT INTO big SELECT i, repeat(md5(i::text), 31) FROM generate_series(1, {rows}) i"
    ));
    database.wait_confirmed(&database.name, SOON * 10);
    let topic = format!("{}.public.big", database.name);
    assert_eq!(judge::count(&kafka.bootstrap(), &topic).0, rows);
    peak.assert_below_the_ceiling(&format!("a transaction of {rows} rows of 1 kB"));
    assert_stops_in_time(&mut pipe, "streaming");
}

#[test]
fn a_value_of_200_mb_ends_the_pipe_or_is_left_out() {
    let kafka = Kafka::shared(kafka::NEWEST);
    let database = Postgres::shared(Version::Debian).database("large_value");
    database.query("CREATE TABLE big (id int PRIMARY KEY, note text, a text)");
    let connector = connector(&database, "public.big");
    let worker = files::worker(&kafka.bootstrap());
    let mut pipe = bounded(&worker, &connector);
    let peak = Peak::of(&pipe);
    await_stream(&mut pipe);
    database.query(
        "INSERT INTO big VALUES (1, 'x', 'small');
         INSERT INTO big VALUES (42, 'x', repeat('x', 200000000));
         INSERT INTO big VALUES (3, 'x', 'behind it')",
    );
    let (code, log) = pipe.wait(SOON);
    assert_eq!(code, 7, "{log}");
    peak.assert_below_the_ceiling("a value of 200 MB");
    for word in [
        "public.big",
        r#"{"id":"42"}"#,
        "LSN",
        "20000",
        "penstock.memory.max",
    ] {
        assert!(log.contains(word), "{word}: {log}");
    }

    // Nothing was lost, and what follows is behind a word from the reader.
    let tolerant = connector
        .with("errors.tolerance", "all")
        .with("errors.deadletterqueue.topic.name", "large_value_letters")
        .with("errors.deadletterqueue.topic.replication.factor", 1)
        .with("errors.deadletterqueue.context.headers.enable", true);
    let mut pipe = bounded(&worker, &tolerant);
    let peak = Peak::of(&pipe);
    await_stream(&mut pipe);
    // One that fits our memory, and not max.request.size.
    database.query("INSERT INTO big VALUES (5, 'y', repeat('y', 3000000))");
    database.query("INSERT INTO big VALUES (6, 'y', 'the last')");
    database.wait_confirmed(&database.name, SOON);
    let read = |topic: &str| judge::read(&kafka.bootstrap(), topic, Format::Json, 0, SOON);
    let records = read(&format!("{}.public.big", database.name));
    let ids: Vec<_> = records.iter().map(|record| &record.key["id"]).collect();
    assert_eq!(ids, [&json!(1), &json!(3), &json!(6)]);
    let letters = read("large_value_letters");
    let told: Vec<_> = letters
        .iter()
        .map(|letter| &letter.value["key"]["id"])
        .collect();
    assert_eq!(told, [&json!("42"), &json!("5")], "{letters:?}");
    assert_eq!(letters[0].value["table"], "public.big");
    assert!(
        letters[1].value["error"]
            .as_str()
            .is_some_and(|why| why.contains("max.request.size"))
    );
    assert!(
        letters[0]
            .headers
            .iter()
            .any(|header| header.0 == "__connect.errors.exception.message")
    );
    peak.assert_below_the_ceiling("a value of 200 MB that is left out");
    assert_stops_in_time(&mut pipe, "streaming");
}

/// Rows that fit, whose records do not: JSON escapes, and a value that did not change is told twice.
#[test]
fn a_record_that_outgrows_its_row() {
    let kafka = Kafka::shared(kafka::NEWEST);
    let database = Postgres::shared(Version::Debian).database("outgrown");
    database.query(
        "CREATE TABLE big (id int PRIMARY KEY, n int, a text);
         ALTER TABLE big REPLICA IDENTITY FULL; ALTER TABLE big ALTER a SET STORAGE EXTERNAL",
    );
    let strict = connector(&database, "public.big")
        .with("producer.override.max.request.size", 60_000_000)
        .with("topic.creation.default.partitions", 1)
        .with("topic.creation.default.replication.factor", 1)
        .with("topic.creation.default.max.message.bytes", 60_000_000);
    let worker = files::worker(&kafka.bootstrap());
    let mut pipe = bounded(&worker, &strict);
    await_stream(&mut pipe);
    database.query(
        r#"INSERT INTO big VALUES (1, 0, 'small'), (2, 0, repeat('"', 6500000)), (3, 0, 'x')"#,
    );
    let (code, log) = pipe.wait(SOON);
    assert_eq!(code, 7, "{log}");
    for word in ["public.big", r#"{"id":"2"}"#, "LSN", "penstock.memory.max"] {
        assert!(log.contains(word), "{word}: {log}");
    }
    // The remedy that it names is one, and enough.
    let remedy = log.split("raise penstock.memory.max to ").nth(1);
    let remedy = remedy
        .and_then(|text| text.split_once(';'))
        .expect("a size");
    let roomy = strict.clone().with("penstock.memory.max", remedy.0);
    let mut pipe = Penstock::standalone(&worker, &[&roomy]);
    await_stream(&mut pipe);
    database.wait_confirmed(&database.name, SOON);
    assert_stops_in_time(&mut pipe, "streaming");

    let tolerant = strict
        .with("errors.tolerance", "all")
        .with("errors.deadletterqueue.topic.name", "outgrown_letters")
        .with("errors.deadletterqueue.topic.replication.factor", 1);
    let mut pipe = bounded(&worker, &tolerant);
    let peak = Peak::of(&pipe);
    await_stream(&mut pipe);
    for change in [
        "INSERT INTO big VALUES (4, 0, repeat(chr(1), 11000000))",
        r#"INSERT INTO big VALUES (5, 0, repeat('"', 2000000))"#,
        "INSERT INTO big VALUES (6, 0, repeat('x', 6500000))",
        "UPDATE big SET n = 1 WHERE id = 6",
        "INSERT INTO big VALUES (7, 0, 'the last')",
    ] {
        database.query(change);
    }
    database.wait_confirmed(&database.name, SOON);
    peak.assert_below_the_ceiling("records that outgrow their rows, left out");
    assert_stops_in_time(&mut pipe, "streaming");
    // A copy has them, too.
    let copy = tolerant
        .with("name", "outgrown_copy")
        .with("slot.name", "outgrown_copy")
        .with("topic.prefix", "outgrown_copy")
        .with("snapshot.mode", "initial_only");
    let mut pipe = bounded(&worker, &copy);
    let peak = Peak::of(&pipe);
    pipe.wait_for(&["snapshot is complete"], SOON);
    peak.assert_below_the_ceiling("records that outgrow their rows, copied");

    let count = |topic: &str| judge::count(&kafka.bootstrap(), topic).0;
    // All but 4, the update of 6, and in the copy 2.
    assert_eq!(count(&format!("{}.public.big", database.name)), 6);
    assert_eq!(count("outgrown_copy.public.big"), 5, "{}", pipe.log());
    let letters = judge::read(
        &kafka.bootstrap(),
        "outgrown_letters",
        Format::Json,
        0,
        SOON,
    );
    let told: Vec<_> = letters
        .iter()
        .map(|letter| {
            (
                letter.value["op"].as_str(),
                letter.value["key"]["id"].as_str(),
            )
        })
        .collect();
    let expected = [("c", "4"), ("u", "6"), ("r", "2"), ("r", "4")];
    assert_eq!(
        told,
        expected.map(|(op, id)| (Some(op), Some(id))),
        "{letters:?}"
    );
}

#[test]
fn what_only_the_broker_finds_too_large() {
    let kafka = Kafka::shared(kafka::NEWEST);
    let database = Postgres::shared(Version::Debian).database("refused");
    database.query("CREATE TABLE big (id int PRIMARY KEY, a text)");
    let connector =
        connector(&database, "public.big").with("producer.override.max.request.size", 8_000_000);
    let worker = files::worker(&kafka.bootstrap());
    let mut pipe = Penstock::standalone(&worker, &[&connector]);
    await_stream(&mut pipe);
    database
        .query("INSERT INTO big VALUES (1, 'small'), (2, repeat('x', 2000000)), (3, 'behind it')");
    let (code, log) = pipe.wait(SOON);
    assert_eq!(code, 7, "{log}");
    for word in [
        "public.big",
        r#"{"id":"2"}"#,
        "MESSAGE_TOO_LARGE",
        "max.message.bytes",
    ] {
        assert!(log.contains(word), "{word}: {log}");
    }
    let tolerant = connector
        .with("errors.tolerance", "all")
        .with("errors.deadletterqueue.topic.name", "refused_letters")
        .with("errors.deadletterqueue.topic.replication.factor", 1);
    let mut pipe = Penstock::standalone(&worker, &[&tolerant]);
    await_stream(&mut pipe);
    database.wait_confirmed(&database.name, SOON);
    let read = |topic: &str| judge::read(&kafka.bootstrap(), topic, Format::Json, 0, SOON);
    let records = read(&format!("{}.public.big", database.name));
    let ids: Vec<_> = records.iter().map(|record| &record.key["id"]).collect();
    assert_eq!(ids, [&json!(1), &json!(3)], "{}", pipe.log());
    let letters = read("refused_letters");
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].value["key"], json!({"id": "2"}));
    assert_stops_in_time(&mut pipe, "streaming");
}

/// Messages too: what our own limit, and what the broker's, has no room for.
#[test]
fn a_logical_message_that_is_too_large() {
    let kafka = Kafka::shared(kafka::NEWEST);
    let database = Postgres::shared(Version::Debian).database("large_message");
    database.query("CREATE TABLE big (id int PRIMARY KEY)");
    let strict =
        connector(&database, "public.big").with("producer.override.max.request.size", 4_000_000);
    let worker = files::worker(&kafka.bootstrap());
    let emit = |transactional: bool, bytes: u32| {
        database.query(&format!(
            "SELECT pg_logical_emit_message({transactional}, 'p{bytes}', repeat('m', {bytes}));
             INSERT INTO big VALUES ({bytes})"
        ));
    };
    for (bytes, word) in [
        (5_000_000, "max.request.size"),
        (2_000_000, "MESSAGE_TOO_LARGE"),
    ] {
        let mut pipe = Penstock::standalone(&worker, &[&strict]);
        await_stream(&mut pipe);
        emit(true, bytes);
        let (code, log) = pipe.wait(SOON);
        assert_eq!(code, 7, "{log}");
        for word in ["pg_logical_emit_message", "LSN", word] {
            assert!(log.contains(word), "{word}: {log}");
        }
        let tolerant = strict
            .clone()
            .with("errors.tolerance", "all")
            .with("errors.deadletterqueue.topic.name", "message_letters")
            .with("errors.deadletterqueue.topic.replication.factor", 1);
        let mut pipe = Penstock::standalone(&worker, &[&tolerant]);
        await_stream(&mut pipe);
        emit(false, bytes + 1);
        emit(true, 10 + bytes / 1_000_000);
        database.wait_confirmed(&database.name, SOON);
        assert_stops_in_time(&mut pipe, "streaming");
    }
    let read = |topic: &str| judge::read(&kafka.bootstrap(), topic, Format::Json, 0, SOON);
    let letters = read("message_letters");
    let prefixes: Vec<_> = letters
        .iter()
        .map(|letter| letter.value["key"]["prefix"].as_str().unwrap_or_default())
        .collect();
    let expected = ["p5000000", "p5000001", "p2000000", "p2000001"];
    assert_eq!(prefixes, expected, "{letters:?}");
    let rows = read(&format!("{}.public.big", database.name));
    let ids: Vec<_> = rows.iter().map(|row| row.key["id"].as_u64()).collect();
    let expected = [5_000_000, 5_000_001, 15, 2_000_000, 2_000_001, 12].map(Some);
    assert_eq!(ids, expected);
    assert_eq!(read(&format!("{}.message", database.name)).len(), 2);
}

/// `event.processing.failure.handling.mode`, where `errors.tolerance` is none.
#[test]
fn a_row_that_cannot_be_converted() {
    let kafka = Kafka::shared(kafka::NEWEST);
    let database = Postgres::shared(Version::Debian).database("unconverted");
    database.query("CREATE TABLE t (id int PRIMARY KEY, n numeric(9,2))");
    let strict =
        connector(&database, "public.t").with("event.converting.failure.handling.mode", "fail");
    let worker = files::worker(&kafka.bootstrap());
    let mut pipe = Penstock::standalone(&worker, &[&strict]);
    await_stream(&mut pipe);
    database.query("INSERT INTO t VALUES (1, 1), (2, 'NaN'), (3, 3)");
    let (code, log) = pipe.wait(SOON);
    assert_eq!(code, 7, "{log}");
    for word in ["public.t", r#"{"id":"2"}"#, "LSN"] {
        assert!(log.contains(word), "{word}: {log}");
    }
    let mut expected = vec![1, 3];
    for (mode, told) in [("warn", true), ("skip", false), ("ignore", false)] {
        let lenient = strict
            .clone()
            .with("event.processing.failure.handling.mode", mode);
        let mut pipe = Penstock::standalone(&worker, &[&lenient]);
        await_stream(&mut pipe);
        let next = expected.len() * 10;
        database.query(&format!(
            "INSERT INTO t VALUES ({next}, 'NaN'), ({}, 1)",
            next + 1
        ));
        expected.push(next + 1);
        database.wait_confirmed(&database.name, SOON);
        assert_eq!(
            pipe.log().contains("a row is left out"),
            told,
            "{mode}: {}",
            pipe.log()
        );
        assert_stops_in_time(&mut pipe, "streaming");
    }
    let topic = format!("{}.public.t", database.name);
    let records = judge::read(&kafka.bootstrap(), &topic, Format::Json, 0, SOON);
    let ids: Vec<_> = records
        .iter()
        .filter_map(|record| usize::try_from(record.key["id"].as_u64()?).ok())
        .collect();
    assert_eq!(ids, expected);
}

/// The last row of a copy, and of a table, is known as such though a larger one behind it is left
/// out.
#[test]
fn the_mark_of_the_last_row() {
    let kafka = Kafka::shared(kafka::NEWEST);
    let database = Postgres::shared(Version::Debian).database("last_row");
    database.query(
        "CREATE TABLE a (id int PRIMARY KEY, a text); CREATE TABLE b (id int PRIMARY KEY, a text);
         INSERT INTO a VALUES (1, ''), (2, ''), (3, repeat('x', 30000000));
         INSERT INTO b VALUES (4, ''), (5, repeat('x', 30000000)), (6, ''),
                              (7, repeat('x', 30000000))",
    );
    let connector = connector(&database, "public.a,public.b")
        .with("snapshot.mode", "initial")
        .with("errors.tolerance", "all");
    let mut pipe = bounded(&files::worker(&kafka.bootstrap()), &connector);
    await_stream(&mut pipe);
    let topics = format!(r"{}\.public\..", database.name);
    let records = judge::read(&kafka.bootstrap(), &topics, Format::Json, 4, SOON);
    let mut marks: Vec<_> = records
        .iter()
        .map(|record| {
            (
                record.key["id"].as_u64(),
                record.source()["snapshot"].as_str(),
            )
        })
        .collect();
    marks.sort_unstable();
    let expected = [
        (1, "first"),
        (2, "last_in_data_collection"),
        (4, "first_in_data_collection"),
        (6, "last"),
    ];
    assert_eq!(marks, expected.map(|(id, mark)| (Some(id), Some(mark))));
    assert_stops_in_time(&mut pipe, "streaming");
}

#[test]
fn a_pipe_that_fails_leaves_no_transaction_open() {
    for (version, name) in [
        (kafka::NEWEST, "left_open"),
        (kafka::KRAFT_3, "left_open_3"),
        (kafka::OLDEST, "left_open_2"),
    ] {
        let kafka = Kafka::shared(version);
        let database = Postgres::shared(Version::Debian).database(name);
        database.query("CREATE TABLE t (id int PRIMARY KEY, a text)");
        let mut pipe = Penstock::standalone(
            &files::worker(&kafka.bootstrap()),
            &[&connector(&database, "public.t")],
        );
        await_stream(&mut pipe);
        // Enough for batches to be on their way before the row that does not fit.
        database.query(
            "INSERT INTO t SELECT i, repeat('z', 1000) FROM generate_series(1, 20000) i
             UNION ALL SELECT 0, repeat('x', 2000000)",
        );
        let (code, log) = pipe.wait(SOON);
        assert_eq!(code, 7, "{log}");
        // A read_committed reader gets what comes behind at once, and not when the transaction
        // would have timed out.
        let topic = format!("{}.public.t", database.name);
        judge::kcat_produce(&kafka.bootstrap(), &topic, "{\"stranger\":1}:{}\n");
        let asked = Instant::now();
        eventually(
            "the stranger's record is read",
            Duration::from_secs(15),
            || {
                let records = judge::try_read(&kafka.bootstrap(), &topic, Format::Raw, 0, SOON)?;
                match records
                    .iter()
                    .any(|record| record.key.to_string().contains("stranger"))
                {
                    true => Ok(()),
                    false => Err(format!("{} records", records.len())),
                }
            },
        );
        assert!(asked.elapsed() < Duration::from_secs(20));
    }
}

#[test]
fn a_broker_that_stalls() {
    let kafka = Kafka::start(kafka::NEWEST);
    let database = Postgres::shared(Version::Debian).database("stalled");
    database.query("CREATE TABLE big (id int PRIMARY KEY, a text)");
    let connector = connector(&database, "public.big");
    let worker = files::worker(&kafka.bootstrap());
    let mut pipe = bounded(&worker, &connector);
    let peak = Peak::of(&pipe);
    await_stream(&mut pipe);
    let fill = |from: u32| {
        let to = from + 49_999;
        database.query(&format!(
            "INSERT INTO big SELECT i, repeat(md5(i::text), 31) FROM generate_series({from}, {to}) i"
        ));
    };
    fill(1);
    database.wait_confirmed(&database.name, SOON * 2);
    signal(kafka.process(), "STOP");
    fill(50_001);
    fill(100_001);
    // Time enough to take all of it, were there nothing to hold it back.
    std::thread::sleep(Duration::from_secs(8));
    pipe.assert_running();
    peak.assert_below_the_ceiling("100 MB and a broker that stalls");
    // It has taken what it has room for.
    let (now, _) = pipe.memory_kib();
    assert!(now > 30 << 10, "{now} KiB");
    assert_stops_in_time(&mut pipe, "the broker stalls");
    signal(kafka.process(), "CONT");
    let mut pipe = Penstock::standalone(&worker, &[&connector]);
    await_stream(&mut pipe);
    database.wait_confirmed(&database.name, SOON * 2);
    let topic = format!("{}.public.big", database.name);
    assert_eq!(
        judge::count(&kafka.bootstrap(), &topic).0,
        150_000,
        "{}",
        pipe.log()
    );
    assert_stops_in_time(&mut pipe, "streaming");
}

#[test]
fn the_word_to_stop_is_heard_in_every_state() {
    let kafka = Kafka::shared(kafka::NEWEST);
    let database = Postgres::shared(Version::Debian).database("stopping");
    database.query("CREATE TABLE t (id int PRIMARY KEY)");
    let connector = connector(&database, "public.t");
    let here = |mute: &Mute| format!("127.0.0.1:{}", mute.port);

    let mute = Mute::start();
    let elsewhere = connector.clone().with("database.port", mute.port);
    let mut pipe = Penstock::standalone(&files::worker(&kafka.bootstrap()), &[&elsewhere]);
    mute.await_caller();
    assert_stops_in_time(&mut pipe, "PostgreSQL does not answer");

    let mute = Mute::start();
    let mut pipe = Penstock::standalone(&files::worker(&here(&mute)), &[&connector]);
    mute.await_caller();
    assert_stops_in_time(&mut pipe, "no broker answers");

    // The slot is somebody else's.
    let mut first = Penstock::standalone(&files::worker(&kafka.bootstrap()), &[&connector]);
    database.wait_active(&database.name, true);
    await_stream(&mut first);
    let second = connector
        .clone()
        .with("name", "another")
        .with("slot.max.retries", 100);
    let mut pipe = Penstock::standalone(&files::worker(&kafka.bootstrap()), &[&second]);
    pipe.wait_for(&["waiting", &database.name], SOON);
    assert_stops_in_time(&mut pipe, "the slot is in use");
    assert_stops_in_time(&mut first, "nothing happens");

    // A slot's consistent point waits for every transaction that runs.
    let fresh = connector
        .clone()
        .with("slot.name", "stopping_fresh")
        .with("name", "fresh");
    let server = database.server;
    let holder = std::thread::scope(|scope| {
        let name = database.name.clone();
        let holder = scope.spawn(move || {
            server.query(
                &name,
                "BEGIN; INSERT INTO t VALUES (1); SELECT pg_sleep(8); COMMIT",
            )
        });
        std::thread::sleep(Duration::from_millis(500));
        let mut pipe = Penstock::standalone(&files::worker(&kafka.bootstrap()), &[&fresh]);
        std::thread::sleep(Duration::from_secs(4));
        assert_stops_in_time(&mut pipe, "the slot waits for a transaction");
        holder.join()
    });
    assert!(holder.is_ok());
}

#[test]
fn a_registry_that_does_not_answer() {
    let kafka = Kafka::shared(kafka::NEWEST);
    let database = Postgres::shared(Version::Debian).database("mute_registry");
    database.query("CREATE TABLE t (id int PRIMARY KEY, a text)");
    let mute = Mute::start();
    let avro = "io.confluent.connect.avro.AvroConverter";
    let url = format!("http://127.0.0.1:{}", mute.port);
    let worker = files::worker(&kafka.bootstrap())
        .without("key.converter.schemas.enable")
        .without("value.converter.schemas.enable")
        .with("key.converter", avro)
        .with("key.converter.schema.registry.url", &url)
        .with("value.converter", avro)
        .with("value.converter.schema.registry.url", &url);
    let mut pipe = bounded(&worker, &connector(&database, "public.t"));
    let peak = Peak::of(&pipe);
    await_stream(&mut pipe);
    database
        .query("INSERT INTO t SELECT i, repeat(md5(i::text), 31) FROM generate_series(1, 50000) i");
    mute.await_caller();
    std::thread::sleep(Duration::from_secs(3));
    pipe.assert_running();
    peak.assert_below_the_ceiling("50 MB and a registry that does not answer");
    assert_stops_in_time(&mut pipe, "the registry does not answer");
}

/// Tables of an ordinary shape, `t1` to `t{count}`, and a publication of all.
fn create_tables(database: &Database<'_>, count: usize) {
    database.query(&format!(
        "DO $$ BEGIN FOR i IN 1..{count} LOOP EXECUTE format(
            'CREATE TABLE t%s (id bigint PRIMARY KEY, name text NOT NULL, amount numeric(12,2),
                               flag boolean DEFAULT false, made_at timestamptz DEFAULT now(),
                               a int, b int, c int, d int, e int, f int, g int, h int)', i);
         IF i % 100 = 0 THEN COMMIT; END IF;
         END LOOP; END $$"
    ));
    database.query("CREATE PUBLICATION dbz_publication FOR ALL TABLES");
}

/// A row in each.
fn fill_tables(database: &Database<'_>, count: usize, id: usize) {
    database.query(&format!(
        "DO $$ BEGIN FOR i IN 1..{count} LOOP EXECUTE format(
            'INSERT INTO t%s VALUES ({id}, ''name'', 12.5)', i);
         IF i % 100 = 0 THEN COMMIT; END IF;
         END LOOP; END $$"
    ));
}

#[test]
fn many_tables() {
    const TABLES: usize = 300;
    let kafka = Kafka::shared(kafka::NEWEST);
    let database = Postgres::shared(Version::Debian).database("many_tables");
    create_tables(&database, TABLES);
    // So little memory that compiled plans do not all stay.
    let connector = connector(&database, r"public\.t.*")
        .with("publication.name", "dbz_publication")
        .with("publication.autocreate.mode", "all_tables")
        .with("penstock.memory.max", "32MiB");
    let mut pipe = bounded(&files::worker(&kafka.bootstrap()), &connector);
    let peak = Peak::of(&pipe);
    await_stream(&mut pipe);
    for round in 0..2 {
        fill_tables(&database, TABLES, round);
    }
    database.wait_confirmed(&database.name, SOON * 2);
    let topics = format!(r"{}\.public\.t.*", database.name);
    let records = judge::read(&kafka.bootstrap(), &topics, Format::Json, TABLES * 2, SOON);
    assert_eq!(records.len(), TABLES * 2);
    for record in &records {
        assert_eq!(record.after()["name"], "name");
        let table = record.topic.rsplit('.').next().expect("a table");
        assert_eq!(record.source()["table"], Value::from(table));
    }
    peak.assert_below_the_ceiling("300 tables");
    assert_stops_in_time(&mut pipe, "streaming");
}

/// They share what one connection has.
#[test]
fn fifty_connections_copy() {
    const TABLES: usize = 60;
    const ROWS: u64 = 2000;
    let kafka = Kafka::shared(kafka::NEWEST);
    let server = Postgres::start_with(Version::Debian, &[("max_connections", "100")]);
    let database = server.database("fifty");
    database.query(&format!(
        "DO $$ BEGIN FOR i IN 1..{TABLES} LOOP EXECUTE format(
            'CREATE TABLE w%s AS SELECT id, repeat(md5(id::text), 31) a
             FROM generate_series(1, {ROWS}) id; ALTER TABLE w%1$s ADD PRIMARY KEY (id)', i);
         END LOOP; END $$"
    ));
    let connector = connector(&database, r"public\.w.*")
        .with("snapshot.mode", "initial")
        .with("snapshot.max.threads", 50);
    let mut pipe = bounded(&files::worker(&kafka.bootstrap()), &connector);
    let peak = Peak::of(&pipe);
    pipe.wait_for(&["snapshot is complete"], SOON);
    peak.assert_below_the_ceiling("a copy over 50 connections");
    let rows = format!("rows={}", ROWS * TABLES as u64);
    assert!(pipe.log().contains(&rows), "{}", pipe.log());
    for table in ["w1", "w37", "w60"] {
        let topic = format!("{}.public.{table}", database.name);
        assert_eq!(judge::count(&kafka.bootstrap(), &topic).0, ROWS);
    }
    assert_stops_in_time(&mut pipe, "streaming");
}

/// Copied, and then streamed from; a topic each.
#[test]
fn ten_thousand_tables() {
    let tables = std::env::var("MANY_TABLES").ok();
    let tables = tables.and_then(|text| text.parse().ok()).unwrap_or(10_000);
    let kafka = Kafka::start(kafka::NEWEST);
    let server = Postgres::start_with(
        Version::Debian,
        // Each table that is copied is locked until the copy's end.
        &[("max_locks_per_transaction", "512")],
    );
    let database = server.database("ten_thousand");
    create_tables(&database, tables);
    fill_tables(&database, tables, 0);
    let connector = connector(&database, r"public\.t.*")
        .with("publication.name", "dbz_publication")
        .with("snapshot.mode", "initial");
    let mut pipe = bounded(&files::worker(&kafka.bootstrap()), &connector);
    let peak = Peak::of(&pipe);
    let began = Instant::now();
    pipe.wait_for(&["snapshot is complete"], SOON * 10);
    eprintln!("copied in {} s", began.elapsed().as_secs());
    peak.assert_below_the_ceiling("a copy of 10 000 tables");
    for round in 1..3 {
        fill_tables(&database, tables, round);
        database.wait_confirmed(&database.name, SOON * 10);
        eprintln!("streamed after {} s", began.elapsed().as_secs());
        peak.assert_below_the_ceiling("a stream of 10 000 tables");
    }
    let topics = format!(r"{}\.public\.t.*", database.name);
    let records = judge::read(&kafka.bootstrap(), &topics, Format::Json, tables * 3, SOON);
    assert_eq!(records.len(), tables * 3);
    assert_stops_in_time(&mut pipe, "streaming");
}
