//! The bike store on real servers: PostgreSQL 12 to 18, Apache Kafka 2.5 to 4.3, read back by
//! strangers. Slow: some minutes in all.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tests::judge::{self, Format, Record};
use tests::kafka::{self, Kafka};
use tests::penstock::Penstock;
use tests::postgres::{self, Database, Postgres, Version};
use tests::registry::Registry;
use tests::{Properties, eventually, files, store};

const SOON: Duration = Duration::from_secs(60);
const STORE: &str = "store.customers,store.products,store.orders,store.order_items";

/// The connector file of the article that our users come from, as it stands there but for host
/// names and ports.
const ARTICLE: &str = "
name=bike-store-connector
connector.class=io.debezium.connector.postgresql.PostgresConnector
tasks.max=1
slot.name=bike_store
database.server.name=limadelrey
database.hostname={host}
database.port={port}
database.user=postgres
database.password=postgres
database.dbname={database}
table.whitelist=store.customers,store.products,store.orders,store.order_items
";

/// What a worker file says for AvroConverter.
fn avro_worker(kafka: &Kafka, registry: &Registry) -> Properties {
    let converter = "io.confluent.connect.avro.AvroConverter";
    worker(kafka)
        .with("key.converter", converter)
        .with("key.converter.schema.registry.url", registry.url())
        .with("value.converter", converter)
        .with("value.converter.schema.registry.url", registry.url())
}

fn json_worker(kafka: &Kafka, schemas: bool) -> Properties {
    let converter = "org.apache.kafka.connect.json.JsonConverter";
    worker(kafka)
        .with("key.converter", converter)
        .with("key.converter.schemas.enable", schemas)
        .with("value.converter", converter)
        .with("value.converter.schemas.enable", schemas)
}

fn worker(kafka: &Kafka) -> Properties {
    files::bare_worker(&kafka.bootstrap())
}

/// A connector with today's names; the database's name is the prefix, the slot and the name.
fn connector(database: &Database<'_>, tables: &str) -> Properties {
    files::bare_connector(database, tables)
        .with("slot.max.retries", 1)
        .with("slot.retry.delay.ms", 200)
        .with("retriable.restart.connector.wait.ms", 300)
}

/// Snapshot, live changes of every kind, and a clean end; what the judge has is the database.
fn run_the_store(
    database: &Database<'_>,
    kafka: &Kafka,
    format: Format<'_>,
    worker: &Properties,
) -> Vec<Record> {
    database.run(&store::script());
    let prefix = &database.name;
    let mut pipe = Penstock::standalone(worker, &[&connector(database, STORE)]);
    let topics = format!(r"{prefix}\.store\..*");
    let snapshot = judge::read(&kafka.bootstrap(), &topics, format, store::ROWS, SOON);
    assert_eq!(snapshot.len(), store::ROWS, "{}", pipe.log());
    assert!(snapshot.iter().all(|record| record.op() == Some("r")));
    store::compare(database, prefix, &snapshot).unwrap_or_else(|difference| panic!("{difference}"));

    database.query(store::SHOPPING);
    let records = settled(database, kafka, &topics, format, &mut pipe);
    store::check_histories(&records).unwrap_or_else(|complaint| panic!("{complaint}"));
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
    records
}

/// Reads until what the judge has is the database.
fn settled(
    database: &Database<'_>,
    kafka: &Kafka,
    topics: &str,
    format: Format<'_>,
    pipe: &mut Penstock,
) -> Vec<Record> {
    eventually("the judge has what the database has", SOON, || {
        pipe.assert_running();
        let records = judge::read(&kafka.bootstrap(), topics, format, 0, SOON);
        store::compare(database, &database.name, &records)
            .map_err(|difference| format!("{difference}\n{}", pipe.log()))?;
        Ok(records)
    })
}

#[test]
fn the_articles_file_runs_as_it_stands() {
    let (server, kafka) = (
        Postgres::shared(Version::Debian),
        Kafka::shared(kafka::NEWEST),
    );
    let registry = Registry::start();
    let database = server.database("bike_store");
    database.run(&store::script());
    let article = Properties::parse(
        &ARTICLE
            .replace("{host}", "127.0.0.1")
            .replace("{port}", &server.port().to_string())
            .replace("{database}", &database.name),
    );
    let worker = avro_worker(kafka, &registry).without("offset.storage.topic");
    let mut pipe = Penstock::standalone(&worker, &[&article]);
    let format = Format::Avro(registry.url());
    let read = |at_least| {
        judge::read(
            &kafka.bootstrap(),
            r"limadelrey\..*",
            format,
            at_least,
            SOON,
        )
    };

    let records = read(store::ROWS);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for record in &records {
        *counts.entry(&record.topic).or_default() += 1;
    }
    let expected = [
        ("limadelrey.store.customers", 1200),
        ("limadelrey.store.order_items", 5000),
        ("limadelrey.store.orders", 2000),
        ("limadelrey.store.products", 240),
    ];
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), expected);
    store::compare(&database, "limadelrey", &records).unwrap_or_else(|e| panic!("{e}"));

    let subjects = registry.subjects();
    assert_eq!(subjects.len(), 8, "{subjects:?}");
    assert!(subjects.contains(&"limadelrey.store.order_items-key".to_owned()));
    let record = records
        .iter()
        .find(|record| record.key == json!({"order_id": 1, "item_no": 1}))
        .expect("the first item");
    let key_schema: Value =
        serde_json::from_str(record.key_schema.as_ref().expect("registered")).expect("JSON");
    assert_eq!(
        key_schema["connect.name"],
        "limadelrey.store.order_items.Key"
    );
    assert_eq!(
        record.source()["snapshot"].as_str().map(str::is_empty),
        Some(false)
    );
    assert_eq!(record.source()["name"], "limadelrey");
    assert_eq!(record.source()["connector"], "postgresql");
    assert_eq!(record.source()["db"], *database.name);

    // Old names work and the log says the new ones.
    let log = pipe.log();
    for pair in [
        ["table.whitelist", "table.include.list"],
        ["database.server.name", "topic.prefix"],
    ] {
        let warned = log
            .lines()
            .any(|line| pair.iter().all(|name| line.contains(name)));
        assert!(warned, "no line has {pair:?}:\n{log}");
    }
    assert!(log.contains("pgoutput"), "{log}");

    // One row's whole life.
    database.query(
        "INSERT INTO store.customers (customer_id, first_name, last_name, email)
             VALUES (77777, 'Life', 'Cycle', 'life@bikes.example');
         UPDATE store.customers SET credit = 12.34 WHERE customer_id = 77777;
         DELETE FROM store.customers WHERE customer_id = 77777;",
    );
    let records = read(store::ROWS + 4);
    let life: Vec<_> = records
        .iter()
        .filter(|record| record.key == json!({"customer_id": 77777}))
        .collect();
    let ops: Vec<_> = life.iter().map(|record| record.op()).collect();
    assert_eq!(ops, [Some("c"), Some("u"), Some("d"), None]);
    assert_eq!(life[0].after()["first_name"], "Life");
    assert_eq!(life[0].after()["credit"], "0.00");
    assert_eq!(life[0].before(), &Value::Null);
    assert_eq!(life[1].after()["credit"], "12.34");
    assert_eq!(life[2].before()["customer_id"], 77777);
    assert_eq!(life[2].after(), &Value::Null);
    assert_eq!(life[3].value, Value::Null);
    assert!(life[3].value_bytes.is_none());
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
}

#[test]
fn avro_on_the_newest_kafka() {
    let (kafka, registry) = (Kafka::shared(kafka::NEWEST), Registry::shared());
    let database = Postgres::shared(Version::Debian).database("avro");
    let format = Format::Avro(registry.url());
    let records = run_the_store(&database, kafka, format, &avro_worker(kafka, registry));
    // A key that changes is a deletion, its tombstone and a creation.
    let topic = format!("{}.store.customers", database.name);
    let of = |id: i64| -> Vec<_> {
        let key = json!({ "customer_id": id });
        let found = records
            .iter()
            .filter(|record| record.topic == topic && record.key == key);
        found.map(Record::op).collect()
    };
    assert_eq!(of(1201), [Some("c"), Some("d"), None]);
    assert_eq!(of(101_201), [Some("c")]);
}

#[test]
fn json_with_schemas() {
    let kafka = Kafka::shared(kafka::NEWEST);
    let database = Postgres::shared(Version::Debian).database("schemas");
    let records = run_the_store(&database, kafka, Format::Json, &json_worker(kafka, true));
    let record = &records[0];
    assert_eq!(record.key["schema"]["type"], "struct");
    let envelope = record.value["schema"]["name"].as_str().expect("a name");
    assert_eq!(envelope, format!("{}.Envelope", record.topic));
    assert_eq!(record.value["schema"]["version"], 2);
}

#[test]
fn json_without_schemas_and_the_java_client_reads_it() {
    let kafka = Kafka::shared(kafka::NEWEST);
    let database = Postgres::shared(Version::Debian).database("plain");
    let records = run_the_store(&database, kafka, Format::Json, &json_worker(kafka, false));
    assert!(
        records
            .iter()
            .all(|record| record.key.get("schema").is_none())
    );
    let topic = format!("{}.store.products", database.name);
    let ours: Vec<_> = records
        .iter()
        .filter(|record| record.topic == topic)
        .collect();
    let mut java = kafka.java().consume(&topic, ours.len());
    let mut bytes: Vec<_> = ours
        .iter()
        .map(|record| record.value_bytes.clone().expect("products stay"))
        .map(|bytes| String::from_utf8(bytes).expect("JSON"))
        .collect();
    java.sort();
    bytes.sort();
    assert_eq!(java, bytes);
}

#[test]
fn avro_on_kafka_3_9() {
    let (kafka, registry) = (Kafka::shared(kafka::KRAFT_3), Registry::shared());
    let database = Postgres::shared(Version::Debian).database("kafka39");
    run_the_store(
        &database,
        kafka,
        Format::Avro(registry.url()),
        &avro_worker(kafka, registry).with("producer.compression.type", "lz4"),
    );
}

#[test]
fn json_on_kafka_2_5_with_zookeeper() {
    let kafka = Kafka::shared(kafka::OLDEST);
    let database = Postgres::shared(Version::Debian).database("kafka25");
    let worker = json_worker(kafka, false).with("producer.compression.type", "zstd");
    run_the_store(&database, kafka, Format::Json, &worker);
}

#[test]
fn the_connector_file_overrides_converters_and_the_producer() {
    let (kafka, registry) = (Kafka::shared(kafka::NEWEST), Registry::shared());
    let database = Postgres::shared(Version::Debian).database("overrides");
    database.query("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'x')");
    let connector = connector(&database, "public.t")
        .with(
            "value.converter",
            "org.apache.kafka.connect.json.JsonConverter",
        )
        .with("value.converter.schemas.enable", false)
        .with(
            "key.converter",
            "org.apache.kafka.connect.json.JsonConverter",
        )
        .with("key.converter.schemas.enable", false)
        .with("producer.override.compression.type", "gzip");
    let _pipe = Penstock::standalone(&avro_worker(kafka, registry), &[&connector]);
    let topic = format!("{}.public.t", database.name);
    let records = judge::read(&kafka.bootstrap(), &topic, Format::Json, 1, SOON);
    assert_eq!(records[0].key, json!({"id": 1}));
    assert_eq!(records[0].after(), &json!({"id": 1, "v": "x"}));
}

#[test]
fn two_connectors_in_one_process() {
    let kafka = Kafka::shared(kafka::NEWEST);
    let server = Postgres::shared(Version::Debian);
    let databases = [server.database("pair"), server.database("pair")];
    let connectors = databases.each_ref().map(|database| {
        database.query("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
        connector(database, "public.t")
    });
    let _pipe = Penstock::standalone(&json_worker(kafka, false), &connectors.each_ref());
    for database in &databases {
        let topic = format!("{}.public.t", database.name);
        assert_eq!(
            judge::read(&kafka.bootstrap(), &topic, Format::Json, 1, SOON).len(),
            1
        );
    }
}

mod majors {
    //! Every supported PostgreSQL, from npm.
    use super::*;

    fn run(major: u32) {
        let (kafka, registry) = (Kafka::shared(kafka::NEWEST), Registry::shared());
        let server = Postgres::start(Version::Major(major));
        let database = server.database(&format!("pg{major}"));
        let format = Format::Avro(registry.url());
        run_the_store(&database, kafka, format, &avro_worker(kafka, registry));
    }

    #[test]
    fn postgres_12() {
        run(12);
    }

    #[test]
    fn postgres_13() {
        run(13);
    }

    #[test]
    fn postgres_14() {
        run(14);
    }

    #[test]
    fn postgres_15() {
        run(15);
    }

    #[test]
    fn postgres_16() {
        run(16);
    }

    #[test]
    fn postgres_17() {
        run(17);
    }

    #[test]
    fn postgres_18() {
        run(18);
    }
}

mod restarts {
    //! What dies comes back, and nothing is lost.
    use super::*;

    #[test]
    fn killed_in_the_snapshot() {
        let kafka = Kafka::shared(kafka::NEWEST);
        let database = Postgres::shared(Version::Debian).database("killed_early");
        database.query(
            "CREATE SCHEMA s; CREATE TABLE s.big (id int PRIMARY KEY, v text NOT NULL);
             INSERT INTO s.big
             SELECT g, repeat(md5(g::text), 20) FROM generate_series(1, 60000) AS g",
        );
        let topic = format!("{}.s.big", database.name);
        let (worker, connector) = (json_worker(kafka, false), connector(&database, "s.big"));
        let mut pipe = Penstock::standalone(&worker, &[&connector]);
        let written = |least: u64| {
            eventually("bytes in the topic", SOON, || {
                let bytes = kafka.topic_bytes(&topic);
                if bytes >= least {
                    Ok(bytes)
                } else {
                    Err(format!("{bytes} bytes"))
                }
            })
        };
        let bytes = written(1);
        pipe.kill();
        assert!(
            bytes < 30_000_000,
            "{bytes} bytes: the snapshot was over before the kill"
        );

        // Rows that were already sent change, go and come.
        database.query(
            "UPDATE s.big SET v = 'changed' WHERE id <= 10; DELETE FROM s.big WHERE id = 11;
             INSERT INTO s.big VALUES (60001, 'new')",
        );
        // Killed once more, at the seam: where something of the copy was committed, what happened
        // since is being caught up with, and the copy is still owed.
        let mut pipe = Penstock::standalone(&worker, &[&connector]);
        pipe.wait_for(&["replication slot created"], SOON);
        std::thread::sleep(Duration::from_millis(300));
        pipe.kill();

        let mut pipe = Penstock::standalone(&worker, &[&connector]);
        written(40_000_000);
        eventually("every row", SOON, || {
            pipe.assert_running();
            let records = judge::read(&kafka.bootstrap(), &topic, Format::Json, 60_000, SOON);
            // Row 11 too: if it was committed before the kill, its deletion is caught up with.
            store::compare_table(&database, &database.name, "s", "big", &records)
        });
        database.query("UPDATE s.big SET v = 'streamed' WHERE id = 1");
        eventually("the stream", SOON, || {
            pipe.assert_running();
            let records = judge::read(&kafka.bootstrap(), &topic, Format::Json, 60_000, SOON);
            let streamed = records
                .iter()
                .any(|record| record.after()["v"] == "streamed");
            if streamed { Ok(()) } else { Err(pipe.log()) }
        });
    }

    #[test]
    fn killed_again_and_again_in_the_stream() {
        const KEYS: i64 = 40;
        const CHANGES: i64 = 4000;
        let kafka = Kafka::shared(kafka::NEWEST);
        let database = Postgres::shared(Version::Debian).database("killed_late");
        database.query(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, version int NOT NULL);
             INSERT INTO t SELECT g, 0 FROM generate_series(1, {KEYS}) AS g"
        ));
        let topic = format!("{}.public.t", database.name);
        let (worker, connector) = (json_worker(kafka, false), connector(&database, "public.t"));
        let mut pipe = Penstock::standalone(&worker, &[&connector]);
        let started = usize::try_from(KEYS).expect("small");
        assert_eq!(
            judge::read(&kafka.bootstrap(), &topic, Format::Json, started, SOON).len(),
            started
        );
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                // One row a transaction, and sometimes forty.
                database.query(&format!(
                    "DO $$ BEGIN FOR i IN 1 .. {CHANGES} LOOP
                       UPDATE t SET version = version + 1 WHERE id = i % {KEYS} + 1;
                       IF i % 40 > 0 THEN COMMIT; PERFORM pg_sleep(0.0005); END IF;
                     END LOOP; END $$"
                ));
            });
            for pause_ms in [300, 150, 700, 20, 450] {
                std::thread::sleep(Duration::from_millis(pause_ms));
                pipe.kill();
                pipe = Penstock::standalone(&worker, &[&connector]);
            }
            writer.join().expect("the writer writes");
        });
        database.query("INSERT INTO t VALUES (0, -1)");
        let last = json!({"id": 0});
        let records = eventually("the last record", SOON, || {
            pipe.assert_running();
            let records = judge::read(&kafka.bootstrap(), &topic, Format::Json, started, SOON);
            let there = records.iter().any(|record| record.key == last);
            if there { Ok(records) } else { Err(pipe.log()) }
        });
        // Of what was sent twice the first counts: every version of every key, in order.
        for id in 1..=KEYS {
            let mut versions = Vec::new();
            for record in records
                .iter()
                .filter(|record| record.key == json!({ "id": id }))
            {
                let version = record.after()["version"].as_i64().expect("a version");
                if !versions.contains(&version) {
                    versions.push(version);
                }
            }
            assert_eq!(
                versions,
                (0..=CHANGES / KEYS).collect::<Vec<_>>(),
                "key {id}"
            );
        }
        store::check_histories(&records).unwrap_or_else(|complaint| panic!("{complaint}"));
    }

    #[test]
    fn broker_and_postgres_come_back() {
        let (kafka, server) = (
            Kafka::start(kafka::NEWEST),
            Postgres::start(Version::Debian),
        );
        let database = server.database("comeback");
        database.run(&store::script());
        let (worker, connector) = (json_worker(&kafka, false), connector(&database, STORE));
        let mut pipe = Penstock::standalone(&worker, &[&connector]);
        let topics = format!(r"{}\.store\..*", database.name);
        let read = judge::read(&kafka.bootstrap(), &topics, Format::Json, store::ROWS, SOON);
        assert_eq!(read.len(), store::ROWS);

        kafka.stop(kafka::Stop::Kill);
        database.query("UPDATE store.products SET model_year = 1901");
        std::thread::sleep(Duration::from_secs(1));
        pipe.assert_running();
        kafka.launch();
        settled(&database, &kafka, &topics, Format::Json, &mut pipe);

        for how in [postgres::Stop::Immediate, postgres::Stop::Fast] {
            server.restart(how);
            database.query("UPDATE store.products SET model_year = model_year + 1");
            settled(&database, &kafka, &topics, Format::Json, &mut pipe);
        }

        // The walsender alone is ended, as an administrator would.
        database.query("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots");
        database.query("UPDATE store.products SET model_year = model_year + 1");
        let records = settled(&database, &kafka, &topics, Format::Json, &mut pipe);
        store::check_histories(&records).unwrap_or_else(|complaint| panic!("{complaint}"));
        assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
    }

    #[test]
    fn a_clean_end_repeats_and_loses_nothing() {
        let kafka = Kafka::shared(kafka::NEWEST);
        let database = Postgres::shared(Version::Debian).database("clean");
        database.query("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (0)");
        let topic = format!("{}.public.t", database.name);
        let (worker, connector) = (json_worker(kafka, false), connector(&database, "public.t"));
        for turn in 1..=3 {
            let mut pipe = Penstock::standalone(&worker, &[&connector]);
            let _ = judge::read(&kafka.bootstrap(), &topic, Format::Json, turn * 2 - 1, SOON);
            database.query(&format!("INSERT INTO t VALUES ({turn})"));
            let _ = judge::read(&kafka.bootstrap(), &topic, Format::Json, turn * 2, SOON);
            assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
            database.query(&format!("INSERT INTO t VALUES (-{turn})"));
        }
        let mut pipe = Penstock::standalone(&worker, &[&connector]);
        let records = judge::read(&kafka.bootstrap(), &topic, Format::Json, 7, SOON);
        let ids: Vec<_> = records
            .iter()
            .map(|record| record.key["id"].as_i64().expect("an id"))
            .collect();
        assert_eq!(ids, [0, 1, -1, 2, -2, 3, -3]);
        let ops: String = records.iter().filter_map(Record::op).collect();
        assert_eq!(ops, "rcccccc");
        assert_eq!(pipe.terminate(), 0);
    }

    /// Rows are streamed in binary until a table comes that cannot be read so, here in the middle of
    /// a transaction: the stream begins again as text, behind what was appended.
    #[test]
    fn a_table_that_needs_text_appears_in_a_binary_stream() {
        let kafka = Kafka::shared(kafka::NEWEST);
        let database = Postgres::shared(Version::Debian).database("forms");
        database.query("CREATE TABLE t (id int PRIMARY KEY, n numeric, at timestamptz)");
        let connector =
            connector(&database, "public.*").with("publication.autocreate.mode", "all_tables");
        let mut pipe = Penstock::standalone(&json_worker(kafka, false), &[&connector]);
        pipe.wait_for(&["streaming"], SOON);
        let insert = "INSERT INTO t SELECT g, g / 100.0, timestamptz '2024-05-06 07:08:09.25+00'
                        FROM generate_series";
        database.query(&format!(
            "{insert}(1, 1000) AS g;
             BEGIN; {insert}(1001, 2000) AS g;
             CREATE TABLE cash (id int PRIMARY KEY, m money); INSERT INTO cash VALUES (1, 12.34);
             {insert}(2001, 3000) AS g; COMMIT;
             {insert}(3001, 4000) AS g"
        ));
        let topic = format!("{}.public.t", database.name);
        let records = judge::read(&kafka.bootstrap(), &topic, Format::Json, 4000, SOON);
        let ids = records
            .iter()
            .map(|record| record.key["id"].as_i64().expect("an id"));
        assert!(ids.eq(1..=4000), "each once, in order");
        for record in &records {
            assert_eq!(record.after()["at"], "2024-05-06T07:08:09.250000Z");
        }
        let topic = format!("{}.public.cash", database.name);
        let records = judge::read(&kafka.bootstrap(), &topic, Format::Json, 1, SOON);
        assert_eq!(records[0].after()["id"], 1);
        pipe.wait_for(&["a column must come as text"], SOON);
        assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
    }

    #[test]
    fn a_registry_that_fails_for_a_moment_is_asked_again() {
        let (kafka, registry) = (Kafka::shared(kafka::NEWEST), Registry::start());
        let database = Postgres::shared(Version::Debian).database("hiccup");
        database.query("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (0)");
        registry.fail("", 500, 50001, "Error in the backend data store", 2);
        let topic = format!("{}.public.t", database.name);
        let mut pipe = Penstock::standalone(
            &avro_worker(kafka, &registry),
            &[&connector(&database, "public.t")],
        );
        let format = Format::Avro(registry.url());
        assert_eq!(
            judge::read(&kafka.bootstrap(), &topic, format, 1, SOON).len(),
            1
        );
        let request = format!("POST /subjects/{topic}-key/versions");
        assert!(registry.calls(&request) > 1, "{}", pipe.log());
        assert_eq!(pipe.terminate(), 0);
    }
}

mod errors {
    //! What a user meets on the first day: a clear error, its remedy, an exit code.
    use super::*;

    // The documented exit codes: `penstock --help`.
    const CONFIGURATION: i32 = 3;
    const POSTGRES: i32 = 4;
    const KAFKA: i32 = 5;
    const REGISTRY: i32 = 6;

    /// Runs to the end; the log must hold all the words, in any case, and nothing a user should
    /// not see.
    fn refused(worker: &Properties, connector: &Properties, code: i32, words: &[&str]) {
        let connector = connector.clone().with("errors.max.retries", 1);
        let mut pipe = Penstock::standalone(worker, &[&connector]);
        let (ended, log) = pipe.wait(SOON);
        check(ended, &log, code, words);
    }

    fn check(ended: i32, log: &str, code: i32, words: &[&str]) {
        assert_eq!(ended, code, "exit code:\n{log}");
        let lower = log.to_lowercase();
        for word in words {
            assert!(
                lower.contains(&word.to_lowercase()),
                "no '{word}' in:\n{log}"
            );
        }
        for word in [
            "panicked",
            "stack backtrace",
            "RUST_BACKTRACE",
            "Some(",
            "Err(",
        ] {
            assert!(!log.contains(word), "'{word}' in:\n{log}");
        }
        assert!(
            !log.contains("s3cret"),
            "the password is in the log:\n{log}"
        );
    }

    fn table(name: &str) -> Database<'static> {
        let database = Postgres::shared(Version::Debian).database(name);
        database.query("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
        database
    }

    fn worker() -> Properties {
        json_worker(Kafka::shared(kafka::NEWEST), false)
    }

    #[test]
    fn wrong_password() {
        let database = table("password");
        let connector = connector(&database, "public.t").with("database.password", "s3cret");
        refused(
            &worker(),
            &connector,
            POSTGRES,
            &["password", "database.password", "postgres"],
        );
    }

    #[test]
    fn no_such_database() {
        let database = table("missing");
        let connector = connector(&database, "public.t").with("database.dbname", "nowhere");
        refused(
            &worker(),
            &connector,
            POSTGRES,
            &["nowhere", "does not exist"],
        );
    }

    #[test]
    fn nobody_listens_at_the_databases_port() {
        let database = table("nobody");
        let port = tests::free_ports(1);
        let connector = connector(&database, "public.t").with("database.port", port);
        refused(
            &worker(),
            &connector,
            POSTGRES,
            &[&format!("127.0.0.1:{port}"), "refused"],
        );
    }

    #[test]
    fn wal_level_is_not_logical() {
        let server = Postgres::start_with(Version::Debian, &[("wal_level", "replica")]);
        let database = server.database("level");
        database.query("CREATE TABLE t (id int PRIMARY KEY)");
        let words = ["wal_level", "logical", "restart"];
        refused(
            &worker(),
            &connector(&database, "public.t"),
            POSTGRES,
            &words,
        );
    }

    #[test]
    fn no_right_to_replicate() {
        let database = table("norepl");
        database.query(
            "CREATE ROLE norepl LOGIN PASSWORD 's3cret'; GRANT SELECT ON t TO norepl;
             CREATE PUBLICATION dbz_publication FOR TABLE t",
        );
        let connector = connector(&database, "public.t")
            .with("database.user", "norepl")
            .with("database.password", "s3cret");
        refused(
            &worker(),
            &connector,
            POSTGRES,
            &["norepl", "ALTER ROLE", "REPLICATION"],
        );
    }

    #[test]
    fn no_right_to_read_a_table() {
        let database = table("noread");
        database.query(
            "CREATE ROLE noread LOGIN REPLICATION PASSWORD 's3cret';
             CREATE PUBLICATION dbz_publication FOR TABLE t",
        );
        let connector = connector(&database, "public.t")
            .with("database.user", "noread")
            .with("database.password", "s3cret");
        refused(
            &worker(),
            &connector,
            POSTGRES,
            &["permission denied", "GRANT SELECT", "noread"],
        );
    }

    #[test]
    fn slot_in_use() {
        let database = table("inuse");
        let connector = connector(&database, "public.t");
        let worker = worker();
        let mut first = Penstock::standalone(&worker, &[&connector]);
        first.wait_for(&["INFO", "streaming"], SOON);
        // Another connector: one of the same name would take over.
        refused(
            &worker,
            &connector.with("name", "another"),
            POSTGRES,
            &[&database.name, "slot", "active", "slot.name"],
        );
        first.assert_running();
    }

    #[test]
    fn slot_of_another_plugin() {
        let database = table("plugin");
        database.query(&format!(
            "SELECT pg_create_logical_replication_slot('{}', 'test_decoding')",
            database.name
        ));
        let words = [
            "test_decoding",
            "pgoutput",
            "slot.name",
            "drop the slot",
            &database.name,
        ];
        refused(
            &worker(),
            &connector(&database, "public.t"),
            POSTGRES,
            &words,
        );
    }

    #[test]
    fn slot_of_another_database() {
        let (other, database) = (table("theirs"), table("ours"));
        other.query(&format!(
            "SELECT pg_create_logical_replication_slot('{}', 'pgoutput')",
            database.name
        ));
        let words = ["slot", &database.name, &other.name];
        refused(
            &worker(),
            &connector(&database, "public.t"),
            POSTGRES,
            &words,
        );
    }

    #[test]
    fn publication_is_missing_and_must_not_be_made() {
        let database = table("nopub");
        let connector =
            connector(&database, "public.t").with("publication.autocreate.mode", "disabled");
        refused(
            &worker(),
            &connector,
            POSTGRES,
            &["dbz_publication", "disabled", "create one"],
        );
    }

    #[test]
    fn table_without_a_key_is_carried_and_named() {
        let kafka = Kafka::shared(kafka::NEWEST);
        let database = Postgres::shared(Version::Debian).database("nokey");
        database.query("CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'x')");
        let topic = format!("{}.public.t", database.name);
        let mut pipe = Penstock::standalone(&worker(), &[&connector(&database, "public.t")]);
        let _ = judge::read(&kafka.bootstrap(), &topic, Format::Json, 1, SOON);
        database.query("INSERT INTO t VALUES (2, 'y')");
        let records = judge::read(&kafka.bootstrap(), &topic, Format::Json, 2, SOON);
        assert!(
            records.iter().all(|record| record.key.is_null()),
            "{records:?}"
        );
        assert_eq!(records[1].after(), &json!({"a": 2, "b": "y"}));
        let line = pipe.wait_for(&["public.t", "no primary key"], SOON);
        assert!(line.contains("WARN"), "{line}");
        assert_eq!(pipe.terminate(), 0);
    }

    #[test]
    fn nothing_to_capture() {
        let database = table("nothing");
        let connector = connector(&database, "public.tt");
        let mut pipe = Penstock::standalone(&worker(), &[&connector]);
        // Debezium goes on and says so: the table may come.
        pipe.wait_for(&["WARN", "no table matches"], SOON);
    }

    #[test]
    fn unreachable_broker() {
        let database = table("nobroker");
        let port = tests::free_ports(1);
        let worker = worker().with("bootstrap.servers", format!("127.0.0.1:{port}"));
        let words = [&format!("127.0.0.1:{port}"), "bootstrap.servers"];
        refused(
            &worker,
            &connector(&database, "public.t"),
            KAFKA,
            &words.map(|word| word as &str),
        );
    }

    #[test]
    fn unreachable_registry() {
        let database = table("noregistry");
        let registry = Registry::start();
        registry.stop();
        let worker = avro_worker(Kafka::shared(kafka::NEWEST), &registry);
        let address = registry.url().trim_start_matches("http://");
        let words = [address, "schema.registry.url"];
        refused(&worker, &connector(&database, "public.t"), REGISTRY, &words);
    }

    #[test]
    fn registry_that_keeps_failing() {
        let database = table("broken");
        let registry = Registry::start();
        registry.fail("", 500, 50001, "Error in the backend data store", -1);
        let worker = avro_worker(Kafka::shared(kafka::NEWEST), &registry);
        let words = ["500", "Error in the backend data store", "registry"];
        refused(&worker, &connector(&database, "public.t"), REGISTRY, &words);
    }

    #[test]
    fn registry_that_refuses_a_schema() {
        let database = table("conflict");
        let registry = Registry::start();
        let said = "Schema being registered is incompatible with an earlier schema";
        registry.fail("-value", 409, 409, said, -1);
        let worker = avro_worker(Kafka::shared(kafka::NEWEST), &registry);
        let subject = format!("{}.public.t-value", database.name);
        let words = ["409", said, subject.as_str(), "compatibility"];
        refused(&worker, &connector(&database, "public.t"), REGISTRY, &words);
    }

    #[test]
    fn wrong_values_and_unknown_properties() {
        let database = table("values");
        let wrong = connector(&database, "public.t").with("snapshot.mode", "inital");
        refused(
            &worker(),
            &wrong,
            CONFIGURATION,
            &["snapshot.mode", "inital", "initial", "no_data"],
        );
        let wrong = connector(&database, "public.t").with("database.port", "http");
        refused(&worker(), &wrong, CONFIGURATION, &["database.port", "http"]);
        let missing = connector(&database, "public.t").without("database.dbname");
        refused(&worker(), &missing, CONFIGURATION, &["database.dbname"]);

        let unknown = connector(&database, "public.t").with("table.inclde.list", "public.t");
        let mut pipe = Penstock::standalone(&worker(), &[&unknown]);
        let line = pipe.wait_for(&["table.inclde.list"], SOON);
        assert!(
            line.contains("did you mean") && line.contains("table.include.list"),
            "{line}"
        );
        pipe.kill();

        let mut pipe = Penstock::run(&["standalone", "/nowhere/worker.properties", "/nowhere/c"]);
        let (code, log) = pipe.wait(SOON);
        check(code, &log, CONFIGURATION, &["/nowhere/worker.properties"]);
    }

    #[test]
    fn topic_creation_refused() {
        let database = table("factor");
        let connector = connector(&database, "public.t")
            .with("topic.creation.default.replication.factor", 3)
            .with("topic.creation.default.partitions", 1);
        let words = ["public.t", "replication"];
        refused(&worker(), &connector, KAFKA, &words);
    }

    #[test]
    fn authorization_and_authentication_refused() {
        let kafka = Kafka::start_with(
            kafka::NEWEST,
            &[
                (
                    "listeners",
                    "PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},\
                 SASL_PLAINTEXT://127.0.0.1:{second}",
                ),
                (
                    "advertised.listeners",
                    "PLAINTEXT://127.0.0.1:{port},SASL_PLAINTEXT://127.0.0.1:{second}",
                ),
                ("inter.broker.listener.name", "PLAINTEXT"),
                ("sasl.enabled.mechanisms", "PLAIN"),
                (
                    "listener.name.sasl_plaintext.plain.sasl.jaas.config",
                    "org.apache.kafka.common.security.plain.PlainLoginModule required \
                 user_penstock=\"right\";",
                ),
                (
                    "authorizer.class.name",
                    "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                ),
                ("super.users", "User:ANONYMOUS"),
            ],
        );
        let secured = |password: &str| {
            let jaas = format!(
                "org.apache.kafka.common.security.plain.PlainLoginModule required \
                 username=\"penstock\" password=\"{password}\";"
            );
            ["", "producer.", "consumer.", "admin."].iter().fold(
                json_worker(&kafka, false).with("bootstrap.servers", kafka.second_bootstrap()),
                |worker, prefix| {
                    worker
                        .with(&format!("{prefix}security.protocol"), "SASL_PLAINTEXT")
                        .with(&format!("{prefix}sasl.mechanism"), "PLAIN")
                        .with(&format!("{prefix}sasl.jaas.config"), &jaas)
                },
            )
        };
        let database = table("sasl");
        let connector = connector(&database, "public.t");
        refused(
            &secured("s3cret"),
            &connector,
            KAFKA,
            &["penstock", "authentication"],
        );
        // Logged in, and allowed nothing.
        refused(
            &secured("right"),
            &connector,
            KAFKA,
            &["penstock", "authoriz", "ACL"],
        );
    }
}
