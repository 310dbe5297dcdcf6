//! From the real Debezium to penstock and back, on the same slot, the same topics, the same
//! registry and the same positions: nothing is lost, nothing comes twice, no schema is new.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use engine::progress::offset_file;
use tests::connect::Connect;
use tests::judge::{self, Format, Record};
use tests::kafka::{self, Kafka};
use tests::penstock::Penstock;
use tests::postgres::{Database, Postgres, Version};
use tests::registry::Registry;
use tests::{Properties, eventually, files};

const SOON: Duration = Duration::from_secs(300);
const GROUP: &str = "connect";

/// A broker, a registry and a distributed worker for all the tests.
struct World {
    kafka: Kafka,
    registry: Registry,
    connect: Connect,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let (kafka, registry) = (Kafka::start(kafka::NEWEST), Registry::start());
        let connect = Connect::distributed(&kafka, GROUP, &converters(&registry));
        World {
            kafka,
            registry,
            connect,
        }
    })
}

fn converters(registry: &Registry) -> Properties {
    let converter = "io.confluent.connect.avro.AvroConverter";
    ["key", "value"]
        .iter()
        .fold(Properties::default(), |all, part| {
            all.with(&format!("{part}.converter"), converter).with(
                &format!("{part}.converter.schema.registry.url"),
                registry.url(),
            )
        })
}

/// The worker file of penstock beside that of a group's workers, with the same place of positions.
fn worker(world: &World, group: &str) -> Properties {
    converters(&world.registry)
        .with("bootstrap.servers", world.kafka.bootstrap())
        .with("group.id", group)
        .with("offset.storage.topic", format!("{group}-offsets"))
}

/// What became of a row: the operation, its key, and its text where it is still there.
type Happened = (String, u64, Option<String>);

/// A table of numbered rows that one session writes, and a trigger's word on all that happened.
struct Numbers {
    database: Database<'static>,
    /// Rows that were there before anybody looked.
    copied: u32,
    written: AtomicU32,
    /// Subjects and their versions, once the first side has written.
    schemas: OnceLock<Vec<(String, usize)>>,
}

impl Numbers {
    /// With `rows` rows, numbered from 1.
    fn new(name: &str, rows: u32) -> Self {
        let database = Postgres::shared(Version::Debian).database(name);
        database.script(
            "CREATE TABLE numbers (id int PRIMARY KEY, word text, at timestamptz);
             CREATE TABLE audit (n bigserial PRIMARY KEY, op text, id int, word text);
             CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               INSERT INTO audit (op, id, word) VALUES (
                 CASE TG_OP WHEN 'INSERT' THEN 'c' WHEN 'UPDATE' THEN 'u' ELSE 'd' END,
                 coalesce(NEW.id, OLD.id), NEW.word);
               RETURN NULL;
             END $$;",
        );
        let numbers = Self {
            database,
            copied: rows,
            written: AtomicU32::new(0),
            schemas: OnceLock::new(),
        };
        numbers.insert(rows);
        numbers.database.query(
            // Deferred: in the order of the commits.
            "CREATE CONSTRAINT TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON numbers
              DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tell()",
        );
        numbers
    }

    /// A transaction of [`ROWS`] rows, during which another one commits a row.
    fn insert_slowly(&self) {
        let large = self.insertion(ROWS);
        let sleeps = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND wait_event = 'PgSleep'",
            self.database.name
        );
        std::thread::scope(|scope| {
            scope.spawn(|| {
                self.database
                    .query(&format!("BEGIN; {large} SELECT pg_sleep(1); COMMIT"))
            });
            eventually("the rows are written", SOON, || {
                match self.database.query(&sleeps).as_str() {
                    "1" => Ok(()),
                    other => Err(other.to_owned()),
                }
            });
            self.insert(1);
        });
    }

    /// A connector whose name, prefix and slot are the database's name.
    fn connector(&self) -> Properties {
        files::bare_connector(&self.database, "public.numbers")
            .with("plugin.name", "pgoutput")
            .with("poll.interval.ms", 50)
            .with("slot.retry.delay.ms", 1000)
    }

    /// The next `rows` numbers, in one transaction.
    fn insert(&self, rows: u32) {
        self.database.query(&self.insertion(rows));
    }

    fn insertion(&self, rows: u32) -> String {
        let first = self.written.fetch_add(rows, Ordering::Relaxed) + 1;
        let last = first + rows - 1;
        format!(
            "INSERT INTO numbers SELECT n, 'word ' || n, now() FROM generate_series({first}, {last}) n;"
        )
    }

    fn topic(&self) -> String {
        format!("{}.public.numbers", self.database.name)
    }

    /// The records, once there are so many.
    fn read(&self, world: &World, at_least: usize) -> Vec<Record> {
        let topic = self.topic().replace('.', r"\.");
        let format = Format::Avro(world.registry.url());
        let records = judge::read(&world.kafka.bootstrap(), &topic, format, at_least, SOON);
        self.schemas.get_or_init(|| self.schemas(world));
        records
    }

    /// The subjects of the table, and how many versions each has.
    fn schemas(&self, world: &World) -> Vec<(String, usize)> {
        let (registry, topic) = (&world.registry, self.topic());
        let mine = registry.subjects().into_iter();
        let mut schemas: Vec<_> = mine
            .filter(|subject| subject.starts_with(&topic))
            .map(|subject| (subject.clone(), registry.versions(&subject)))
            .collect();
        schemas.sort();
        schemas
    }

    /// All that should be told of the table, in order.
    fn truth(&self) -> Vec<Happened> {
        let copied =
            (1..=u64::from(self.copied)).map(|id| ("r".to_owned(), id, Some(format!("word {id}"))));
        let rows = self
            .database
            .rows("SELECT op, id, word FROM audit ORDER BY n");
        let told = rows.into_iter().map(|row| {
            let op = row["op"].as_str().expect("a text").to_owned();
            let id = row["id"].as_u64().expect("a number");
            (op, id, row["word"].as_str().map(str::to_owned))
        });
        copied.chain(told).collect()
    }

    /// Everything came once and in order, and nobody but the first has registered anything.
    fn check(&self, world: &World) {
        self.check_doubled(world, (0, 0));
    }

    /// The same, but that behind so many events those from another one on come.
    fn check_doubled(&self, world: &World, (behind, from): (usize, usize)) {
        let truth = self.truth();
        let wanted: Vec<_> = truth[..behind]
            .iter()
            .chain(&truth[from..])
            .cloned()
            .collect();
        let records = self.read(world, records_of(&wanted));
        let came = happened(&records);
        if came != wanted {
            let pairs = came.iter().zip(&wanted);
            let at = pairs.take_while(|(came, wanted)| came == wanted).count();
            let around = |all: &[Happened]| {
                format!(
                    "{:?}",
                    &all[at.saturating_sub(3).min(all.len())..(at + 5).min(all.len())]
                )
            };
            panic!(
                "{} of {} events; at {at} came {} instead of {}",
                came.len(),
                wanted.len(),
                around(&came),
                around(&wanted)
            );
        }
        let before = self.schemas.get().expect("read");
        assert_eq!(*before, self.schemas(world));
        assert_eq!(before.len(), 2, "{before:?}");
        assert!(
            before.iter().all(|(_, versions)| *versions == 1),
            "{before:?}"
        );
    }

    /// Writes transactions of one to four new rows while `body` runs, and changes and deletes older
    /// ones in them.
    fn while_written<T>(&self, body: impl FnOnce() -> T) -> T {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for turn in 0.. {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    let insert = self.insertion(turn % 4 + 1);
                    let older = self.written.load(Ordering::Relaxed) - turn % 3;
                    let (delete, from) = (older.saturating_sub(5), older.saturating_sub(3));
                    self.database.query(&format!(
                        "BEGIN; {insert}
                         UPDATE numbers SET word = word || '.' WHERE id BETWEEN {from} AND {older};
                         DELETE FROM numbers WHERE id = {delete}; COMMIT"
                    ));
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
            // Whatever `body` does, the writer must end.
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            done.store(true, Ordering::Relaxed);
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// How many records tell of these: each deletion has a tombstone behind it.
fn records_of(happened: &[Happened]) -> usize {
    let deletions = happened.iter().filter(|(op, _, _)| op == "d");
    happened.len() + deletions.count()
}

/// What records tell, without tombstones.
fn happened(records: &[Record]) -> Vec<Happened> {
    let told = records.iter().filter_map(|record| {
        let op = record.op()?;
        let row = if op == "d" {
            record.before()
        } else {
            record.after()
        };
        let word = record.after()["word"].as_str().map(str::to_owned);
        Some((op.to_owned(), row["id"].as_u64().expect("a key"), word))
    });
    told.collect()
}

/// Waits until Debezium streams: it has taken its snapshot, and holds the slot.
fn await_debezium(connect: &Connect, database: &Database<'_>) {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid
          WHERE s.slot_name = '{}' AND r.state = 'streaming'",
        database.name
    );
    eventually("Debezium streams", SOON, || {
        if let Some(trace) = connect.failure(&database.name) {
            panic!("{trace}");
        }
        if database.query(&sql) == "1" {
            Ok(())
        } else {
            Err(connect.status(&database.name).to_string())
        }
    });
}

/// More records than there were, three times as many as one look could have missed.
const MORE: usize = 30;

#[test]
fn by_the_offsets_topic_while_rows_are_written() {
    let world = world();
    let numbers = Numbers::new("topic", 5);
    let (name, connector) = (&numbers.database.name, numbers.connector());
    world.connect.put(&connector).expect("Connect takes it");
    await_debezium(&world.connect, &numbers.database);
    numbers.while_written(|| {
        let mut seen = numbers.read(world, 5 + MORE).len();
        for _ in 0..2 {
            world.connect.stop(name);
            let mut pipe = Penstock::standalone(&worker(world, GROUP), &[&connector]);
            seen = numbers.read(world, seen + 2 * MORE).len();
            assert!(!pipe.log().contains("snapshot"), "{}", pipe.log());
            assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
            seen = numbers.read(world, seen).len();
            world.connect.resume(name);
            seen = numbers.read(world, seen + MORE).len();
        }
    });
    numbers.check(world);
    world.connect.delete(name);
}

/// Rows of one transaction: more than either side sends before it is stopped.
const ROWS: u32 = 20_000;

/// A connector with which Debezium is slow enough to be stopped amid a transaction.
fn slow(connector: &Properties) -> Properties {
    connector
        .clone()
        .with("max.batch.size", 10)
        .with("max.queue.size", 11)
}

/// One with which penstock is: small requests, each answered before the next, little in advance.
fn narrow(connector: &Properties) -> Properties {
    connector
        .clone()
        .with("producer.override.batch.size", 2000)
        .with("producer.override.buffer.memory", 50_000)
        .with("producer.override.max.in.flight.requests.per.connection", 1)
}

impl Numbers {
    /// Waits until the topic has grown by some records of the large transaction: what is on the
    /// broker's disk tells soonest.
    fn await_growth(&self, world: &World, from: u64) {
        let topic = self.topic();
        eventually("some records of the transaction", SOON, || {
            let bytes = world.kafka.topic_bytes(&topic);
            if bytes >= from + 30_000 {
                Ok(())
            } else {
                Err(bytes.to_string())
            }
        });
    }

    /// How many records there are, of which some but not all of the transaction behind `before`.
    fn inside(&self, world: &World, before: u64, who: &str) -> u64 {
        let (count, _) = judge::count(&world.kafka.bootstrap(), &self.topic());
        assert!(
            count > before && count < before + u64::from(ROWS),
            "{who} stopped outside, at {count}"
        );
        count
    }
}

#[test]
fn in_the_middle_of_a_transaction() {
    let world = world();
    let numbers = Numbers::new("middle", 5);
    let (name, connector) = (&numbers.database.name, numbers.connector());
    world
        .connect
        .put(&slow(&connector))
        .expect("Connect takes it");
    await_debezium(&world.connect, &numbers.database);
    numbers.insert_slowly();
    numbers.await_growth(world, 0);
    world.connect.stop(name);
    let first = numbers.inside(world, 6, "Debezium");
    let bytes = world.kafka.topic_bytes(&numbers.topic());
    let mut pipe = Penstock::standalone(&worker(world, GROUP), &[&narrow(&connector)]);
    numbers.await_growth(world, bytes);
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
    let second = numbers.inside(world, 6, "penstock");
    assert!(second > first, "{second} behind {first}: {}", pipe.log());
    world.connect.put(&connector).expect("Connect takes it");
    world.connect.resume(name);
    numbers.insert(2);
    numbers.check(world);
    world.connect.delete(name);
}

/// Debezium itself is at least once: what it had sent behind the position that was stored last
/// comes again, whoever follows it. What penstock had sent does not.
#[test]
fn killed_in_the_middle_of_a_transaction() {
    let world = world();
    let numbers = Numbers::new("killed", 5);
    let connector = numbers.connector();
    // What an open Kafka transaction says of the position is not true yet.
    let settings = converters(&world.registry)
        .with("isolation.level", "read_committed")
        .with("offset.flush.interval.ms", 100);
    let connect = Connect::distributed(&world.kafka, "killed", &settings);
    connect.put(&slow(&connector)).expect("Connect takes it");
    await_debezium(&connect, &numbers.database);
    numbers.insert(1);
    numbers.insert(ROWS);
    numbers.await_growth(world, 0);
    // Some positions are stored meanwhile.
    std::thread::sleep(Duration::from_millis(500));
    drop(connect);
    let theirs = happened(&numbers.read(world, 7)).len();
    numbers.inside(world, 6, "Debezium");

    // A reader waits for no longer than that for the transaction that nobody will end.
    let narrow = narrow(&connector).with("producer.override.transaction.timeout.ms", 5000);
    let mut pipe = Penstock::standalone(&worker(world, "killed"), &[&narrow]);
    numbers.await_growth(world, world.kafka.topic_bytes(&numbers.topic()));
    // A part of the transaction is committed meanwhile.
    std::thread::sleep(Duration::from_millis(700));
    pipe.kill();
    let records = numbers.read(world, theirs);
    let ours = &records[theirs..];
    // The position that Debezium had stored: its next event is the first of ours.
    let (bootstrap, topic) = (world.kafka.bootstrap(), "killed-offsets");
    let stored = judge::read(&bootstrap, topic, Format::Json, 1, SOON);
    let mut stored = stored.iter().rev();
    let stored = stored
        .find(|record| record.value.get("penstock_timeline").is_none())
        .expect("Debezium's position");
    assert_eq!(stored.value["messageType"], "INSERT");
    let lsn = |record: &Record| record.source()["lsn"].clone();
    let next = records[..theirs]
        .iter()
        .rposition(|record| lsn(record) == stored.value["lsn_proc"])
        .expect("an event's position")
        + 1;
    assert!(next > 6, "the position lies before the transaction");

    let connect = Connect::distributed(&world.kafka, "killed", &settings);
    connect.put(&connector).expect("Connect takes it");
    numbers.insert(2);
    numbers.check_doubled(world, (theirs, next));
    eprintln!(
        "Debezium sent {theirs} events and had stored the position behind {next}; penstock {} more",
        ours.len()
    );
}

/// A standalone worker's file, there and back, and there and back again. It follows Kafka: what
/// comes behind it, Debezium sends again if penstock was killed, and only then.
#[test]
fn by_the_offset_file_while_rows_are_written() {
    let world = world();
    let numbers = Numbers::new("file", 5);
    let connector = numbers.connector();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("offsets.dat");
    let settings = converters(&world.registry).with("offset.storage.file.filename", file.display());
    let worker = worker(world, "of-a-standalone-penstock")
        .with("offset.storage.file.filename", file.display());
    let debezium = || {
        let connect = Connect::standalone(&world.kafka, &settings, &connector);
        await_debezium(&connect, &numbers.database);
        connect
    };
    let mut connect = debezium();
    numbers.while_written(|| {
        let mut seen = numbers.read(world, 5 + MORE).len();
        connect.terminate();
        let mut pipe = Penstock::standalone(&worker, &[&connector]);
        seen = numbers.read(world, seen + 2 * MORE).len();
        assert!(!pipe.log().contains("snapshot"), "{}", pipe.log());
        assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
        seen = numbers.read(world, seen).len();
        connect = debezium();
        numbers.read(world, seen + MORE);
    });
    numbers.check(world);
    connect.terminate();

    let rare = worker
        .with("offset.flush.interval.ms", 2000)
        .with("producer.transaction.timeout.ms", 5000);
    let mut pipe = Penstock::standalone(&rare, &[&connector]);
    for _ in 0..40 {
        numbers.insert(1);
        std::thread::sleep(Duration::from_millis(100));
    }
    pipe.kill();
    let bytes = std::fs::read(&file).expect("the file");
    let entries = offset_file::parse(&bytes).expect("Connect's format");
    let name = &numbers.database.name;
    let value = offset_file::find(&entries, name, name).expect("a position");
    let filed: serde_json::Value = serde_json::from_slice(value).expect("JSON");
    let records = numbers.read(world, 0);
    let sent = happened(&records).len();
    // The next of what was sent: it lies at a commit's end or behind.
    let lsn = |lsn: &serde_json::Value| lsn.as_u64().expect("a number");
    let events = records.iter().filter(|record| record.op().is_some());
    let next = events
        .take_while(|record| {
            record.op() == Some("r") || lsn(&record.source()["lsn"]) < lsn(&filed["lsn_commit"])
        })
        .count();
    let mut connect = debezium();
    numbers.insert(2);
    numbers.check_doubled(world, (sent, next));
    connect.terminate();
    eprintln!("penstock was killed {} events behind the file", sent - next);
}

#[test]
fn after_a_snapshot_alone() {
    let world = world();
    let numbers = Numbers::new("alone", 50);
    let (name, connector) = (&numbers.database.name, numbers.connector());
    world.connect.put(&connector).expect("Connect takes it");
    await_debezium(&world.connect, &numbers.database);
    numbers.read(world, 50);
    world.connect.stop(name);
    numbers.insert(3);
    let mut pipe = Penstock::standalone(&worker(world, GROUP), &[&connector]);
    numbers.read(world, 53);
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
    numbers.insert(4);
    world.connect.resume(name);
    numbers.check(world);
    world.connect.delete(name);
}

#[test]
fn penstocks_snapshot_is_enough_for_debezium() {
    let world = world();
    let numbers = Numbers::new("ours", 50);
    let (name, connector) = (&numbers.database.name, numbers.connector());
    let mut pipe = Penstock::standalone(&worker(world, GROUP), &[&connector]);
    numbers.read(world, 50);
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
    numbers.insert(3);
    world.connect.put(&connector).expect("Connect takes it");
    numbers.check(world);
    world.connect.delete(name);
}
