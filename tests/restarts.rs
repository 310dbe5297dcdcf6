//! What goes away comes back: peers, networks, predecessors, and ourselves; and the WAL that the
//! slot keeps follows what Kafka has committed.

use std::time::{Duration, Instant};

use tests::clock::Clock;
use tests::judge::{self, Format};
use tests::kafka::{self, Kafka, Stop};
use tests::penstock::Penstock;
use tests::postgres::{Database, Postgres, Version};
use tests::proxy::Proxy;
use tests::registry::Registry;
use tests::{Properties, eventually, files};

const SOON: Duration = Duration::from_secs(120);

/// A server that notices soon when we are gone.
fn hasty() -> &'static Postgres {
    static SERVER: std::sync::OnceLock<Postgres> = std::sync::OnceLock::new();
    SERVER.get_or_init(|| Postgres::start_with(Version::Debian, &[("wal_sender_timeout", "2s")]))
}

/// The same worker, writing Avro.
fn avro(worker: &Properties, registry: &Registry) -> Properties {
    let converter = "io.confluent.connect.avro.AvroConverter";
    ["key", "value"]
        .iter()
        .fold(worker.clone(), |worker, side| {
            worker.with(&format!("{side}.converter"), converter).with(
                &format!("{side}.converter.schema.registry.url"),
                registry.url(),
            )
        })
}

/// A table of numbers, sent one after the other, and the files to send it with.
struct Numbers<'s> {
    database: Database<'s>,
    bootstrap: String,
    worker: Properties,
    connector: Properties,
    next: u32,
}

impl<'s> Numbers<'s> {
    fn new(server: &'s Postgres, kafka: &Kafka, name: &str) -> Self {
        Self::at(server, kafka.bootstrap(), name)
    }

    fn at(server: &'s Postgres, bootstrap: String, name: &str) -> Self {
        let database = server.database(name);
        database.query("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (0)");
        Self {
            worker: files::worker(&bootstrap),
            bootstrap,
            connector: files::connector(&database, "public.t")
                .with("status.update.interval.ms", 500),
            database,
            next: 1,
        }
    }

    fn start(&self) -> Penstock {
        let mut pipe = Penstock::standalone(&self.worker, &[&self.connector]);
        pipe.wait_for(&["INFO", "streaming"], SOON);
        pipe
    }

    fn insert(&mut self) {
        self.database
            .query(&format!("INSERT INTO t VALUES ({})", self.next));
        self.next += 1;
    }

    /// Every number has come, once, in order.
    fn arrived(&self, pipe: &mut Penstock) {
        let topic = format!("{}.public.t", self.database.name);
        let expected: Vec<u32> = (0..self.next).collect();
        eventually("every row, once", SOON, || {
            pipe.assert_running();
            let records = judge::read(&self.bootstrap, &topic, Format::Json, 0, SOON);
            let ids = records
                .iter()
                .filter_map(|record| record.key["id"].as_u64());
            let ids: Vec<_> = ids.filter_map(|id| u32::try_from(id).ok()).collect();
            if ids == expected {
                return Ok(());
            }
            assert!(ids.len() <= expected.len(), "{ids:?}\n{}", pipe.log());
            Err(format!("{ids:?}\n{}", pipe.log()))
        });
    }

    fn insert_and_see(&mut self, pipe: &mut Penstock) {
        self.insert();
        self.arrived(pipe);
    }

    fn slot(&self, column: &str) -> String {
        self.database.query(&format!(
            "SELECT {column} FROM pg_replication_slots WHERE slot_name = '{}'",
            self.database.name
        ))
    }
}

#[test]
fn a_message_outside_of_transactions_comes_once() {
    let mut it = Numbers::new(hasty(), Kafka::shared(kafka::NEWEST), "alone");
    let topic = format!("{}.message", it.database.name);
    let mut pipe = it.start();
    it.insert_and_see(&mut pipe);
    let say = "SELECT pg_logical_emit_message(false, 'prefix', 'said once')";
    it.database.query(say);
    let read = |count| judge::read(&it.bootstrap, &topic, Format::Json, count, SOON);
    assert_eq!(read(1).len(), 1);
    pipe.kill();
    let mut pipe = it.start();
    it.database.query(say);
    assert_eq!(read(2).len(), 2);
    it.insert_and_see(&mut pipe);
    let read = |count| judge::read(&it.bootstrap, &topic, Format::Json, count, SOON);
    assert_eq!(read(2).len(), 2);
    assert_eq!(pipe.terminate(), 0);
}

#[test]
fn the_slot_follows_traffic_that_is_not_ours() {
    let server = hasty();
    let it = Numbers::new(server, Kafka::shared(kafka::NEWEST), "quiet");
    let other = server.database("busy");
    other.query("CREATE TABLE u (id int)");
    it.database.query("CREATE TABLE unpublished (id int)");
    let mut pipe = it.start();
    it.arrived(&mut pipe);
    for database in [&other, &it.database] {
        let table = if database.name == other.name {
            "u"
        } else {
            "unpublished"
        };
        database.query(&format!(
            "INSERT INTO {table} SELECT generate_series(1, 10000)"
        ));
        it.database.wait_confirmed(&it.database.name, SOON);
    }
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
}

/// By a role that is no superuser: the connection outlives the outage, the log says what the slot
/// keeps, and nothing is confirmed that is not committed.
#[test]
fn kafka_is_away_for_a_while() {
    let (server, kafka) = (hasty(), Kafka::start(kafka::NEWEST));
    let mut it = Numbers::new(server, &kafka, "away");
    it.database.query(
        "CREATE ROLE away LOGIN REPLICATION PASSWORD 'away'; GRANT SELECT ON t TO away;
         CREATE PUBLICATION dbz_publication FOR TABLE t",
    );
    it.connector = it
        .connector
        .with("database.user", "away")
        .with("database.password", "away")
        .with("publication.autocreate.mode", "disabled")
        .with("penstock.wal.retained.warn", 65_536);
    let mut pipe = it.start();
    it.insert_and_see(&mut pipe);
    let walsender = it.slot("active_pid");
    kafka.stop(Stop::Kill);
    let confirmed = it.slot("confirmed_flush_lsn");
    let ours = it.next;
    it.insert();
    let written = it.database.query("SELECT pg_current_wal_lsn()");
    it.database
        .query("CREATE TABLE bulk AS SELECT g, md5(g::text) FROM generate_series(1, 20000) AS g");
    let line = pipe.wait_for(&["WARN", "penstock.wal.retained.warn", "retained="], SOON);
    assert!(line.contains("MiB") || line.contains("KiB"), "{line}");
    assert_eq!(
        it.slot("active_pid"),
        walsender,
        "the connection was kept: {}",
        pipe.log()
    );
    let passed = format!(
        "'{}'::pg_lsn >= '{written}'::pg_lsn",
        it.slot("confirmed_flush_lsn")
    );
    let passed = it.database.query(&format!("SELECT {passed}"));
    assert_eq!(
        passed, "f",
        "row {ours} is confirmed, and not in Kafka; before: {confirmed}"
    );
    kafka.launch();
    it.insert_and_see(&mut pipe);
    it.database.wait_confirmed(&it.database.name, SOON);
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
}

/// Each broker in turn is gone: with it goes a leader, a coordinator or the controller, and what
/// it was moves to another.
#[test]
fn leaders_coordinators_and_the_controller_move() {
    let brokers = Kafka::cluster(kafka::NEWEST);
    let bootstrap: Vec<_> = brokers.iter().map(Kafka::bootstrap).collect();
    let mut it = Numbers::at(hasty(), bootstrap.join(","), "moves");
    it.worker = it.worker.with("offset.storage.replication.factor", 3);
    it.connector = it
        .connector
        .with("topic.creation.default.replication.factor", 3)
        .with("topic.creation.default.partitions", 1);
    let mut pipe = it.start();
    it.insert_and_see(&mut pipe);
    for (broker, how) in brokers.iter().zip([Stop::Clean, Stop::Kill, Stop::Kill]) {
        broker.stop(how);
        for _ in 0..5 {
            it.insert();
        }
        it.insert_and_see(&mut pipe);
        broker.launch();
        it.insert_and_see(&mut pipe);
    }
    it.database.wait_confirmed(&it.database.name, SOON);
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
}

#[test]
fn a_second_instance_takes_over() {
    let mut it = Numbers::new(hasty(), Kafka::shared(kafka::NEWEST), "twice");
    let mut first = it.start();
    it.insert_and_see(&mut first);
    // It asks for the slot until the first one has noticed.
    let mut second = Penstock::standalone(&it.worker, &[&it.connector]);
    second.wait_for(&["waiting"], SOON);
    it.insert();
    let (code, log) = first.wait(SOON);
    assert_eq!(code, 5, "{log}");
    assert!(log.contains("another instance has taken over"), "{log}");
    it.insert_and_see(&mut second);
    assert_eq!(second.terminate(), 0, "{}", second.log());
}

/// Without transactions nothing fences the first, and the slot alone keeps two apart: the second
/// waits for it, or gives up, and has disturbed nobody. When the first dies, the second goes on
/// from what is stored: what the first had sent behind that comes once more, in order.
#[test]
fn without_transactions_a_second_instance_waits_for_the_slot() {
    let mut it = Numbers::new(hasty(), Kafka::shared(kafka::NEWEST), "beside");
    it.worker = it.worker.with("offset.flush.interval.ms", 600_000);
    it.connector = it
        .connector
        .with("exactly.once.support", "disabled")
        .with("slot.retry.delay.ms", 200);
    let mut first = it.start();
    for _ in 0..3 {
        it.insert_and_see(&mut first);
    }
    let impatient = it.connector.clone().with("slot.max.retries", 2);
    let (code, log) = Penstock::standalone(&it.worker, &[&impatient]).wait(SOON);
    assert_ne!(code, 0, "{log}");
    assert!(log.contains("is active for PID"), "{log}");
    it.insert_and_see(&mut first);

    let patient = it.connector.clone().with("slot.max.retries", 1000);
    let mut second = Penstock::standalone(&it.worker, &[&patient]);
    second.wait_for(&["waiting"], SOON);
    it.insert_and_see(&mut first);
    let sent = it.next;
    first.kill();
    it.insert();
    let topic = format!("{}.public.t", it.database.name);
    // The copy was stored as complete, and nothing behind it.
    let expected: Vec<u32> = (0..sent).chain(1..it.next).collect();
    eventually("all of it, and no more", SOON, || {
        second.assert_running();
        let records = judge::read(&it.bootstrap, &topic, Format::Json, 0, SOON);
        let ids = records
            .iter()
            .filter_map(|record| record.key["id"].as_u64());
        let ids: Vec<_> = ids.filter_map(|id| u32::try_from(id).ok()).collect();
        match ids == expected {
            true => Ok(()),
            false => Err(format!("{ids:?}\n{}", second.log())),
        }
    });
    assert_eq!(second.terminate(), 0, "{}", second.log());
}

#[test]
fn stopped_for_longer_than_the_server_waits() {
    let mut it = Numbers::new(hasty(), Kafka::shared(kafka::NEWEST), "stopped");
    let mut pipe = it.start();
    it.insert_and_see(&mut pipe);
    pipe.signal("STOP");
    it.insert();
    it.database.wait_active(&it.database.name, false);
    it.insert();
    pipe.signal("CONT");
    it.insert_and_see(&mut pipe);
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
}

#[test]
fn a_network_that_swallows_delays_and_resets() {
    let server = hasty();
    let mut it = Numbers::new(server, Kafka::shared(kafka::NEWEST), "network");
    let proxy = Proxy::start(server.port(), 7);
    it.connector = it.connector.with("database.port", proxy.port());
    let mut pipe = it.start();
    it.insert_and_see(&mut pipe);

    // Neither end is told that nothing comes through: both notice.
    for (ours, theirs) in [(true, true), (false, true), (true, false)] {
        let before = pipe.log().matches("trying again").count();
        proxy.silence(ours, theirs);
        it.insert();
        eventually("it is noticed", SOON, || {
            match pipe.log().matches("trying again").count() > before {
                true => Ok(()),
                false => Err(pipe.log()),
            }
        });
        proxy.silence(false, false);
        it.insert_and_see(&mut pipe);
    }

    proxy.delay(Duration::from_millis(300));
    it.insert_and_see(&mut pipe);
    proxy.delay(Duration::ZERO);

    proxy.cut(10_000);
    for _ in 0..20 {
        it.insert();
    }
    proxy.reset();
    it.insert();
    proxy.cut(0);
    it.insert_and_see(&mut pipe);
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
}

/// The predecessor is dead, and the server does not know yet.
#[test]
fn a_slot_that_a_dead_predecessor_holds() {
    let server = hasty();
    let mut it = Numbers::new(server, Kafka::shared(kafka::NEWEST), "held");
    let proxy = Proxy::start(server.port(), 7);
    let direct = it.connector.clone();
    it.connector = it.connector.with("database.port", proxy.port());
    let mut pipe = it.start();
    it.insert_and_see(&mut pipe);
    proxy.silence(true, true);
    pipe.kill();
    it.insert();
    it.connector = direct;
    let mut pipe = it.start();
    it.insert_and_see(&mut pipe);
    assert!(
        pipe.log().contains("it is active for PID"),
        "{}",
        pipe.log()
    );
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
}

#[test]
fn the_registry_is_away_when_a_table_changes() {
    let (kafka, registry) = (Kafka::shared(kafka::NEWEST), Registry::start());
    let it = Numbers::new(hasty(), kafka, "registry");
    let mut pipe = Penstock::standalone(&avro(&it.worker, &registry), &[&it.connector]);
    pipe.wait_for(&["INFO", "streaming"], SOON);
    registry.stop();
    it.database
        .query("ALTER TABLE t ADD v int DEFAULT 7; INSERT INTO t VALUES (1, 8)");
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(8) {
        pipe.assert_running();
        std::thread::sleep(Duration::from_millis(100));
    }
    registry.launch();
    let topic = format!("{}.public.t", it.database.name);
    eventually("the row with the new column", SOON, || {
        pipe.assert_running();
        // The registry has forgotten the schema of the first row: only the bytes are looked at.
        let records = judge::read(&it.bootstrap, &topic, Format::Raw, 0, SOON);
        match records.len() {
            2 => Ok(()),
            other => Err(format!("{other} records\n{}", pipe.log())),
        }
    });
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
}

/// For longer than a Kafka transaction may last, in the middle of one of PostgreSQL's.
#[test]
fn the_registry_is_away_for_longer_than_a_kafka_transaction() {
    let (kafka, registry) = (Kafka::shared(kafka::NEWEST), Registry::start());
    let mut it = Numbers::new(hasty(), kafka, "registry_long");
    it.database
        .query("CREATE TABLE u (id int PRIMARY KEY); CREATE TABLE w (id int PRIMARY KEY)");
    let worker = avro(&it.worker, &registry);
    it.connector = it
        .connector
        .with("table.include.list", "public.[tuw]")
        .with("errors.retry.timeout", -1)
        .with("errors.retry.delay.max.ms", 1000)
        .with("producer.override.transaction.timeout.ms", 5000);
    let mut pipe = Penstock::standalone(&worker, &[&it.connector]);
    pipe.wait_for(&["INFO", "streaming"], SOON);
    it.insert();
    it.database.wait_confirmed(&it.database.name, SOON);
    let walsender = it.slot("active_pid");
    registry.stop();
    for (at, table) in ["u", "w"].iter().enumerate() {
        let (from, to) = (10 + 1000 * at, 1009 + 1000 * at);
        it.database.query(&format!(
            "BEGIN; INSERT INTO t SELECT generate_series({from}, {to});
             ALTER TABLE {table} ADD v int;
             INSERT INTO {table} SELECT g, g FROM generate_series(1, 1000) g;
             INSERT INTO t VALUES ({}); COMMIT",
            5000 + at
        ));
    }
    pipe.wait_for(&["state: registry away", "times=1"], SOON);
    std::thread::sleep(Duration::from_secs(20));
    registry.launch();
    it.database.wait_confirmed(&it.database.name, SOON);
    let log = pipe.log();
    assert_eq!(it.slot("active_pid"), walsender, "{log}");
    assert!(!log.contains("trying again"), "{log}");
    for (table, rows) in [("t", 2004), ("u", 1000), ("w", 1000)] {
        let topic = format!("{}.public.{table}", it.database.name);
        let (count, _) = judge::count(&it.bootstrap, &topic);
        assert_eq!(count, rows, "{table}: {log}");
    }
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
}

#[test]
fn how_long_a_registry_is_asked() {
    let (kafka, registry) = (Kafka::shared(kafka::NEWEST), Registry::start());
    let mut it = Numbers::new(hasty(), kafka, "registry_bound");
    for side in ["key", "value"] {
        it.worker = it.worker.with(&format!("{side}.converter.max.retries"), 0);
    }
    it.connector = it
        .connector
        .with("errors.retry.timeout", 6000)
        .with("errors.max.retries", 0);
    let mut pipe = Penstock::standalone(&avro(&it.worker, &registry), &[&it.connector]);
    pipe.wait_for(&["INFO", "streaming"], SOON);
    registry.stop();
    let asked = Instant::now();
    it.database
        .query("ALTER TABLE t ADD v int DEFAULT 7; INSERT INTO t VALUES (1, 8)");
    let (code, log) = pipe.wait(SOON);
    assert_eq!(code, 6, "{log}");
    assert!(log.matches("asking again").count() > 1, "{log}");
    let took = asked.elapsed();
    assert!((1..8).contains(&took.as_secs()), "{took:?}: {log}");
}

/// A broker whose files can grow no more fails its log directory, and ends.
#[test]
fn the_brokers_disk_is_full() {
    let kafka = Kafka::start(kafka::NEWEST);
    let mut it = Numbers::new(hasty(), &kafka, "full");
    let mut pipe = it.start();
    it.insert_and_see(&mut pipe);
    kafka.fill_disk();
    for _ in 0..10 {
        it.insert();
    }
    pipe.wait_for(&["state: broker away", "times=1"], SOON);
    for _ in 0..10 {
        it.insert();
    }
    std::thread::sleep(Duration::from_secs(5));
    pipe.assert_running();
    // There is room again.
    kafka.restart(Stop::Kill);
    it.insert_and_see(&mut pipe);
    it.database.wait_confirmed(&it.database.name, SOON);
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
}

/// Ours and PostgreSQL's, an hour forward and an hour back. The server ends its walsenders for it.
#[test]
fn clocks_jump() {
    const HOUR: i64 = 3600;
    let clocks = [Clock::right(), Clock::right()];
    let [ours, servers] = &clocks;
    let settings = [("wal_sender_timeout", "10s")];
    let server = Postgres::start_among(Version::Debian, &settings, servers.environment());
    let mut it = Numbers::new(&server, Kafka::shared(kafka::NEWEST), "clocks");
    let environment = ours.environment();
    let environment = environment
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let command: Vec<_> = std::iter::once("env".to_owned())
        .chain(environment)
        .collect();
    let command: Vec<_> = command.iter().map(String::as_str).collect();
    let mut pipe = Penstock::standalone_under(&command, &it.worker, &[&it.connector]);
    pipe.wait_for(&["INFO", "streaming"], SOON);
    it.insert_and_see(&mut pipe);
    for clock in &clocks {
        for offset in [HOUR, 0, -HOUR, 0] {
            // Transactions that are open while the time changes.
            let (name, next) = (it.database.name.clone(), it.next);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for turn in 0..20 {
                        let at = next + turn * 100;
                        let rows = format!("generate_series({at}, {})", at + 99);
                        server.query(&name, &format!("INSERT INTO t SELECT {rows}"));
                    }
                });
                std::thread::sleep(Duration::from_millis(400));
                clock.set(offset);
            });
            it.next += 2000;
            it.insert();
            std::thread::sleep(Duration::from_secs(1));
            it.insert_and_see(&mut pipe);
        }
    }
    // So far ahead that the broker takes no record.
    ours.set(HOUR + 100);
    it.insert();
    pipe.wait_for(&["INVALID_TIMESTAMP", "trying again"], SOON);
    ours.set(0);
    it.insert_and_see(&mut pipe);
    // Or nothing was shown.
    let topic = format!("{}.public.t", it.database.name);
    let records = judge::read(&it.bootstrap, &topic, Format::Json, 0, SOON);
    let times = records
        .iter()
        .filter_map(|record| record.value["ts_ms"].as_i64());
    let (first, last) = times.fold((i64::MAX, i64::MIN), |(first, last), at| {
        (first.min(at), last.max(at))
    });
    assert!(last - first > 3 * HOUR * 500, "{first} to {last}");
    it.database.wait_confirmed(&it.database.name, SOON);
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
}

/// A coordinator whose clock was set forward ends transactions in the words that tell of another
/// instance. Nobody takes the slot, so it goes on.
#[test]
fn a_fence_that_nobody_explains() {
    let mut it = Numbers::new(hasty(), Kafka::shared(kafka::NEWEST), "fenced");
    let mut pipe = it.start();
    it.insert_and_see(&mut pipe);
    for _ in 0..2 {
        judge::fence(&it.bootstrap, &format!("penstock-{}-0", it.database.name));
        let seen = pipe.log().matches("nobody has taken the slot").count();
        it.insert();
        it.insert_and_see(&mut pipe);
        let log = pipe.log();
        assert_eq!(
            log.matches("nobody has taken the slot").count(),
            seen + 1,
            "{log}"
        );
    }
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
}

/// It stands still for longer than its transaction may last: the coordinator ends that, and nobody
/// has taken over.
#[test]
fn stopped_for_longer_than_a_transaction_lasts() {
    let mut it = Numbers::new(hasty(), Kafka::shared(kafka::NEWEST), "stood");
    it.connector = it
        .connector
        .with("producer.override.transaction.timeout.ms", 1000);
    let mut pipe = it.start();
    it.insert_and_see(&mut pipe);
    for _ in 0..2 {
        let next = it.next;
        let database = &it.database;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for turn in 0..100 {
                    let at = next + turn * 100;
                    database.query(&format!(
                        "INSERT INTO t SELECT generate_series({at}, {})",
                        at + 99
                    ));
                }
            });
            std::thread::sleep(Duration::from_millis(400));
            pipe.signal("STOP");
            std::thread::sleep(Duration::from_secs(13));
            pipe.signal("CONT");
        });
        it.next += 10_000;
        it.arrived(&mut pipe);
    }
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
}

#[test]
fn a_topic_gets_more_partitions() {
    let kafka = Kafka::shared(kafka::NEWEST);
    let mut it = Numbers::new(hasty(), kafka, "grows");
    it.worker = it.worker.with("producer.metadata.max.age.ms", 1000);
    let mut pipe = it.start();
    it.insert_and_see(&mut pipe);
    let topic = format!("{}.public.t", it.database.name);
    let arguments = ["--alter", "--topic", &topic, "--partitions", "5"];
    kafka
        .java()
        .run("org.apache.kafka.tools.TopicCommand", &arguments, "")
        .unwrap_or_else(|error| panic!("{error}"));
    eventually("rows in the new partitions", SOON, || {
        pipe.assert_running();
        for _ in 0..10 {
            it.insert();
        }
        let records = judge::read(&it.bootstrap, &topic, Format::Json, 0, SOON);
        let used = records.iter().map(|record| record.partition);
        let used: std::collections::BTreeSet<_> = used.collect();
        if used.len() == 5 {
            Ok(())
        } else {
            Err(format!("{used:?}"))
        }
    });
    it.database.wait_confirmed(&it.database.name, SOON);
    let records = judge::read(&it.bootstrap, &topic, Format::Json, 0, SOON);
    let mut ids: Vec<_> = records
        .iter()
        .filter_map(|record| record.key["id"].as_u64())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..u64::from(it.next)).collect::<Vec<_>>());
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
}
