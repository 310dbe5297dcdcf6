//! Properties whose effect no record of Debezium's shows: each does what its row says, on real
//! servers. Slow.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::judge::{self, Format, Record};
use tests::kafka::{self, Kafka};
use tests::penstock::Penstock;
use tests::postgres::{Database, Postgres, Version};
use tests::registry::Registry;
use tests::{Properties, eventually, files};

const SOON: Duration = Duration::from_secs(60);

/// A table `t (id, v DEFAULT 'd')` with a row, in a database of its own.
fn table(name: &str) -> Database<'static> {
    let database = Postgres::shared(Version::Debian).database(name);
    database.query(
        "CREATE TABLE t (id int PRIMARY KEY, v text DEFAULT 'd'); INSERT INTO t VALUES (1, 'a')",
    );
    database
}

fn kafka() -> &'static Kafka {
    Kafka::shared(kafka::NEWEST)
}

fn connector(database: &Database<'_>) -> Properties {
    files::connector(database, "public.t")
}

fn worker() -> Properties {
    files::worker(&kafka().bootstrap())
}

fn start(connector: &Properties) -> Penstock {
    Penstock::standalone(&worker(), &[connector])
}

fn read(topic: &str, at_least: usize) -> Vec<Record> {
    judge::read(&kafka().bootstrap(), topic, Format::Json, at_least, SOON)
}

fn topic(database: &Database<'_>) -> String {
    format!("{}.public.t", database.name)
}

fn ids(records: &[Record]) -> Vec<i64> {
    let id = |record: &Record| record.key["id"].as_i64().expect("an id");
    records.iter().map(id).collect()
}

/// `heartbeat.interval.ms`, `heartbeat.action.query`, `topic.heartbeat.name`: the query runs with
/// each beat, and one that fails is told of and ends nothing.
#[test]
fn heartbeats_run_their_query() {
    let database = table("heartbeats");
    database.query("CREATE TABLE beats (at timestamptz DEFAULT now())");
    let own = format!("{}-beats", database.name);
    let connector = connector(&database)
        .with("heartbeat.interval.ms", 200)
        .with("topic.heartbeat.name", &own);
    let beating = "INSERT INTO beats DEFAULT VALUES";
    let worker = worker();
    let beaten = connector.clone().with("heartbeat.action.query", beating);
    let mut pipe = Penstock::standalone(&worker, &[&beaten]);
    let beats = read(&own, 3);
    assert!(beats.iter().all(|beat| beat.partition == 0));
    assert_eq!(beats[0].key, json!({ "serverName": database.name }));
    assert!(beats[0].value["ts_ms"].is_i64());
    let count: usize = database
        .query("SELECT count(*) FROM beats")
        .parse()
        .expect("a number");
    assert!(count >= 3, "{count} beats");
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());

    let failing = connector.with("heartbeat.action.query", "INSERT INTO nowhere VALUES (1)");
    let mut pipe = Penstock::standalone(&worker, &[&failing]);
    pipe.wait_for(&["heartbeat.action.query", "nowhere"], SOON);
    database.query("INSERT INTO t VALUES (2, 'b')");
    assert_eq!(ids(&read(&topic(&database), 2)), [1, 2]);
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
}

/// `slot.stream.params`, `database.initial.statements` and `slot.drop.on.stop`.
#[test]
fn sessions_and_the_slot_are_as_asked() {
    let database = table("sessions");
    database.query("CREATE TABLE said (what text)");
    let connector = connector(&database)
        .with("slot.stream.params", "messages=false")
        .with(
            "database.initial.statements",
            "INSERT INTO said VALUES ('a;;b'); SELECT 1;",
        )
        .with("slot.drop.on.stop", true);
    let mut pipe = start(&connector);
    pipe.wait_for(&["state: streaming"], SOON);
    assert!(database.query("SELECT string_agg(DISTINCT what, ',') FROM said") == "a;b");
    database.query(
        "SELECT pg_logical_emit_message(false, 'p', 'not asked for'); INSERT INTO t VALUES (2, 'b')",
    );
    let records = read(&format!(r"{}\..*", database.name), 2);
    assert_eq!(ids(&records), [1, 2], "no message among them");
    let slots = format!(
        "SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{}'",
        database.name
    );
    assert_eq!(database.query(&slots), "1");
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
    assert_eq!(database.query(&slots), "0");
}

/// `snapshot.delay.ms`, `streaming.delay.ms`, and `snapshot.mode=initial_only`, which ends behind
/// the copy.
#[test]
fn waits_before_the_copy_and_the_stream() {
    let database = table("delays");
    let connector = connector(&database);
    let delay = Duration::from_millis(1500);
    let began = Instant::now();
    let only = connector
        .clone()
        .with("snapshot.delay.ms", delay.as_millis())
        .with("snapshot.mode", "initial_only");
    let worker = worker();
    let mut pipe = Penstock::standalone(&worker, &[&only]);
    let (code, log) = pipe.wait(SOON);
    assert_eq!(code, 0, "{log}");
    assert!(
        began.elapsed() >= delay && log.contains("snapshot is complete"),
        "{log}"
    );
    assert_eq!(ids(&read(&topic(&database), 1)), [1]);

    database.query("INSERT INTO t VALUES (2, 'b')");
    let began = Instant::now();
    let later = connector.with("streaming.delay.ms", delay.as_millis());
    let mut pipe = Penstock::standalone(&worker, &[&later]);
    pipe.wait_for(&["state: streaming"], SOON);
    assert!(began.elapsed() >= delay, "{}", pipe.log());
    assert_eq!(ids(&read(&topic(&database), 2)), [1, 2], "{}", pipe.log());
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
}

/// `lsn.flush.mode=manual`: rows arrive, and the slot is somebody else's to move. In
/// `offsets.storage.topic`, the connector's own, is the position, and nothing in the worker's.
#[test]
fn a_slot_that_others_move_and_offsets_of_ones_own() {
    let database = table("manual");
    let own = format!("{}-own-offsets", database.name);
    let manual = connector(&database)
        .with("lsn.flush.mode", "manual")
        .with("status.update.interval.ms", 200)
        .with("offsets.storage.topic", &own);
    let mut pipe = start(&manual);
    pipe.wait_for(&["state: streaming"], SOON);
    let at = format!(
        "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '{}'",
        database.name
    );
    let before = database.query(&at);
    for id in 2..5 {
        database.query(&format!("INSERT INTO t VALUES ({id}, 'b')"));
    }
    assert_eq!(ids(&read(&topic(&database), 4)), [1, 2, 3, 4]);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(database.query(&at), before);
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
    assert_eq!(database.query(&at), before);
    let positions = read(&own, 1);
    let key = json!([database.name, { "server": database.name }]);
    assert!(positions.iter().all(|position| position.key == key));
}

/// `topic.creation.*` of the connector, and the worker's `topic.creation.enable=false`, with which
/// topics are the broker's to make.
#[test]
fn topics_are_created_as_asked() {
    let database = table("creation");
    let created = connector(&database)
        .with("topic.creation.groups", "wide, heartbeats")
        .with("topic.creation.default.partitions", 1)
        .with("topic.creation.default.replication.factor", 1)
        .with("topic.creation.wide.include", r".*\\.public\\..*")
        .with("topic.creation.wide.exclude", ".*OTHER.*")
        .with("topic.creation.wide.partitions", 5)
        .with("topic.creation.wide.cleanup.policy", "compact")
        .with("heartbeat.interval.ms", 200)
        .with(
            "topic.creation.heartbeats.include",
            "__debezium-heartbeat.*",
        )
        .with("topic.creation.heartbeats.retention.ms", 123_456);
    let mut pipe = start(&created);
    let _ = read(&topic(&database), 1);
    let beats = format!("__debezium-heartbeat.{}", database.name);
    let _ = read(&beats, 1);
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
    let bootstrap = kafka().bootstrap();
    let wide = judge::describe_topic(&bootstrap, &topic(&database));
    assert_eq!(wide["partitions"], 5, "{wide}");
    assert_eq!(wide["config"]["cleanup.policy"], "compact", "{wide}");
    let beats = judge::describe_topic(&bootstrap, &beats);
    assert_eq!(beats["partitions"], 1, "{beats}");
    assert_eq!(beats["config"]["retention.ms"], "123456", "{beats}");

    let database = table("creation_off");
    let created = connector(&database)
        .with("topic.creation.default.partitions", 5)
        .with("topic.creation.default.replication.factor", 1);
    let worker = files::worker(&bootstrap).with("topic.creation.enable", false);
    let mut pipe = Penstock::standalone(&worker, &[&created]);
    let _ = read(&topic(&database), 1);
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
    let auto = judge::describe_topic(&bootstrap, &topic(&database));
    assert_ne!(auto["partitions"], 5, "{auto}");
}

/// `header.converter` with its own options, of headers that hold a key.
#[test]
fn headers_in_each_converters_form() {
    let text = |schemas: bool| match schemas {
        true => json!({
            "schema": { "type": "struct", "optional": false, "fields":
                [{ "type": "int32", "optional": false, "field": "id" }] },
            "payload": { "id": 2 },
        }),
        false => json!({ "id": 2 }),
    };
    let json = "org.apache.kafka.connect.json.JsonConverter";
    let string = "org.apache.kafka.connect.storage.StringConverter";
    for (number, class, schemas) in [(0, json, true), (1, json, false), (2, string, false)] {
        let database = table(&format!("headers{number}"));
        let mut headed = connector(&database).with("header.converter", class);
        if class == json {
            headed = headed.with("header.converter.schemas.enable", schemas);
        }
        let mut pipe = start(&headed);
        pipe.wait_for(&["state: streaming"], SOON);
        database.query("UPDATE t SET id = 2");
        let records = read(&topic(&database), 4);
        let of = |record: &Record, name: &str| {
            let found = record.headers.iter().find(|(given, _)| given == name);
            found
                .and_then(|(_, text)| text.clone())
                .expect("the header")
        };
        let new = of(&records[1], "__debezium.newkey");
        let prefix = of(&records[1], "__debezium.context.connectorLogicalName");
        if class == string {
            assert_eq!(
                (new.as_str(), prefix),
                ("Struct{id=2}", database.name.clone())
            );
        } else {
            let mut new: Value = serde_json::from_str(&new).expect("JSON");
            if schemas {
                let name = format!("{}.Key", topic(&database));
                let schema = new["schema"].as_object_mut().expect("a schema");
                assert_eq!(schema.remove("name"), Some(name.into()));
            }
            assert_eq!(new, text(schemas));
            let prefix: Value = serde_json::from_str(&prefix).expect("JSON");
            assert_eq!(*judge::payload(&prefix), database.name);
        }
        assert_eq!(
            of(&records[1], "__debezium.newkey"),
            of(&records[2], "__debezium.newkey")
        );
        assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
    }
}

/// `ignore.default.for.nullables`, `connect.meta.data`, subject name strategies, converters apart,
/// and a registry's second address.
#[test]
fn options_of_the_avro_converter() {
    let database = table("avro_options");
    let registry = Registry::start();
    let avro = "io.confluent.connect.avro.AvroConverter";
    let strategy = "io.confluent.kafka.serializers.subject.";
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address")
    };
    let urls = format!("http://{nobody},{}", registry.url());
    let value = "value.converter";
    let connector = connector(&database)
        .with("key.converter", avro)
        .with("key.converter.schema.registry.url", &urls)
        .with("key.converter.max.retries", 0)
        .with(
            "key.converter.key.subject.name.strategy",
            format!("{strategy}RecordNameStrategy"),
        )
        .with(value, avro)
        .with("value.converter.schema.registry.url", &urls)
        .with("value.converter.max.retries", 0)
        .with("value.converter.connect.meta.data", false)
        .with("value.converter.ignore.default.for.nullables", true)
        .with(
            "value.converter.value.subject.name.strategy",
            format!("{strategy}TopicRecordNameStrategy"),
        );
    database.query("INSERT INTO t VALUES (2, NULL)");
    let worker = files::bare_worker(&kafka().bootstrap())
        .with(
            "key.converter",
            "org.apache.kafka.connect.storage.StringConverter",
        )
        .with(value, "org.apache.kafka.connect.storage.StringConverter");
    let mut pipe = Penstock::standalone(&worker, &[&connector]);
    pipe.wait_for(&["state: streaming"], SOON);
    database.query("INSERT INTO t VALUES (3, NULL)");
    let topic = topic(&database);
    let format = Format::Avro(registry.url());
    let records = judge::read(&kafka().bootstrap(), &topic, format, 3, SOON);
    for (record, (id, v)) in
        records
            .iter()
            .zip([(1, json!("a")), (2, Value::Null), (3, Value::Null)])
    {
        assert_eq!(
            *record.after(),
            json!({ "id": id, "v": v }),
            "{}",
            pipe.log()
        );
        let schema = record.value_schema.as_deref().expect("Avro");
        assert!(!schema.contains("connect."), "{schema}");
        let schema = record.key_schema.as_deref().expect("Avro");
        assert!(schema.contains("connect.name"), "{schema}");
    }
    let mut subjects = registry.subjects();
    subjects.sort();
    assert_eq!(
        subjects,
        [format!("{topic}-{topic}.Envelope"), format!("{topic}.Key")]
    );
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
}

/// Without `ignore.default.for.nullables` a null shows the default, as without JsonConverter's
/// `replace.null.with.default=false`.
#[test]
fn nulls_show_defaults_unless_told_otherwise() {
    for (replaces, shown) in [(None, json!("d")), (Some(false), Value::Null)] {
        let database = table("nulls");
        database.query("INSERT INTO t VALUES (2, NULL)");
        let mut worker = files::worker(&kafka().bootstrap());
        if let Some(replaces) = replaces {
            worker = worker.with("value.converter.replace.null.with.default", replaces);
        }
        let mut pipe = Penstock::standalone(&worker, &[&connector(&database)]);
        let records = read(&topic(&database), 2);
        assert_eq!(records[1].after()["v"], shown, "{}", pipe.log());
        assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
    }
}

/// `connection.validation.timeout.ms`: somebody who takes the connection and says nothing.
#[test]
fn a_database_that_says_nothing_is_given_up() {
    let database = table("silent");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let began = Instant::now();
    let mut pipe = start(
        &connector(&database)
            .with("database.port", port)
            .with("connection.validation.timeout.ms", 1200),
    );
    let (code, log) = pipe.wait(SOON);
    let took = began.elapsed();
    assert!(code != 0 && log.contains(&port.to_string()), "{log}");
    assert!(
        took >= Duration::from_millis(1200) && took < Duration::from_secs(20),
        "{took:?}"
    );
}

/// `errors.log.enable` and `errors.log.include.messages`: of a row that is left out.
#[test]
fn rows_that_are_left_out_are_logged() {
    let database = Postgres::shared(Version::Debian).database("left_out");
    database.query("CREATE TABLE t (id int PRIMARY KEY, n numeric(5,1) NOT NULL)");
    let base = connector(&database).with("errors.tolerance", "all");
    let worker = worker();
    for (logged, whole, id) in [(true, true, 1), (true, false, 2), (false, true, 3)] {
        let connector = base
            .clone()
            .with("errors.log.enable", logged)
            .with("errors.log.include.messages", whole);
        let mut pipe = Penstock::standalone(&worker, &[&connector]);
        pipe.wait_for(&["state: streaming"], SOON);
        let next = id + 10;
        database.query(&format!(
            "INSERT INTO t VALUES ({id}, 'NaN'); INSERT INTO t VALUES ({next}, 1)"
        ));
        let topic = topic(&database);
        eventually("the row behind it", SOON, || {
            match read(&topic, 0)
                .iter()
                .any(|record| record.key["id"] == next)
            {
                true => Ok(()),
                false => Err(pipe.log()),
            }
        });
        assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
        let log = pipe.log();
        let line = log
            .lines()
            .find(|line| line.contains("public.t") && line.contains("left out"));
        assert_eq!(line.is_some(), logged, "{log}");
        let key = format!("{{\\\"id\\\":\\\"{id}\\\"}}");
        let has_key =
            line.is_some_and(|line| line.contains(&key) || line.contains(&key.replace('\\', "")));
        assert_eq!(has_key, logged && whole, "{log}");
    }
}
