//! Tables that change while their changes stream. Slow.

use std::time::Duration;

use tests::Properties;
use tests::debezium::Capture;
use tests::judge::{self, Format};
use tests::kafka::{self, Kafka};
use tests::penstock::Penstock;
use tests::postgres::{Postgres, SUPERUSER, Version};
use tests::registry::Registry;

const SOON: Duration = Duration::from_secs(60);
/// What a process ends with when a registry said no.
const REGISTRY: i32 = 6;

/// Columns added, dropped, renamed, retyped; defaults, keys and replica identities; tables renamed,
/// and made anew under their old name; partitions, inheritance, cascades, savepoints, COPY, TOAST
/// values that were not sent: each between rows of one transaction, as Debezium has it.
#[test]
fn within_transactions_as_debezium() {
    Capture::of("ddl", "ddl").json();
}

/// The same with a registry: schemas as Confluent's client registers them, version by version.
#[test]
fn within_transactions_as_avro() {
    Capture::of("changes", "changes").avro(&["inv.wide"]);
}

/// And where rows come as text.
#[test]
fn within_transactions_as_avro_of_text() {
    Capture::of("changes", "changes")
        .edit(with_money)
        .avro(&["inv.wide"]);
}

/// The same where PostgreSQL sends rows as text, since one column has no binary form that is read.
#[test]
fn within_transactions_as_text() {
    Capture::of("ddl", "ddl").edit(with_money).json();
}

/// With a table whose rows must come as text, and all others' with them.
fn with_money(script: String) -> String {
    let table = "create schema inv; create table inv.zz (m money);";
    script.replacen("create schema inv;", table, 1)
}

/// A table that was renamed or dropped meanwhile keeps its key; all else is equal.
#[test]
fn within_transactions() {
    Capture::of("ddl", "ddl")
        .correct()
        .without_topic("srv.inv.moved")
        .without_topic("srv.inv.reborn")
        .json();
}

/// `use.latest.version`: rows are written in what somebody else has registered, another order and a
/// field of its own; what it has no place for ends the pipe before anything is written.
#[test]
fn the_latest_version_that_somebody_registered() {
    let (server, kafka) = (
        Postgres::shared(Version::Debian),
        Kafka::shared(kafka::NEWEST),
    );
    let registry = Registry::start();
    let database = server.database("latest");
    let prefix = database.name.clone();
    database.script("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a');");
    let (worker, connector) = avro(&kafka.bootstrap(), &registry, server, &prefix);
    let mut pipe = Penstock::standalone(&worker, &[&connector]);
    pipe.wait_for(&["snapshot is complete"], SOON);
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());

    let subject = format!("{prefix}.public.t-value");
    let own = registry.latest(&subject);
    let row = r#"{"name":"id","type":"int"},{"name":"v","type":["null","string"],"default":null}"#;
    let turned = r#"{"name":"note","type":"string","default":"none"},{"name":"v","type":["string","null"],"default":"?"},{"name":"id","type":"long"}"#;
    assert!(own.contains(row), "{own}");
    registry.register(&subject, &own.replace(row, turned));
    let latest = worker
        .with("value.converter.auto.register.schemas", false)
        .with("value.converter.use.latest.version", true);
    let mut pipe = Penstock::standalone(&latest, &[&connector]);
    database.query("INSERT INTO t VALUES (2, NULL)");
    let topic = format!(r"{prefix}\.public\.t");
    let format = Format::Avro(registry.url());
    let records = judge::read(&kafka.bootstrap(), &topic, format, 2, SOON);
    let expected = serde_json::json!({ "note": "none", "v": null, "id": 2 });
    assert_eq!(*records[1].after(), expected, "{}", pipe.log());
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());

    registry.register(
        &subject,
        &own.replace(row, r#"{"name":"id","type":"string"}"#),
    );
    let mut pipe = Penstock::standalone(&latest, &[&connector]);
    database.query("INSERT INTO t VALUES (3, 'c')");
    let (code, log) = pipe.wait(SOON);
    assert_eq!(code, REGISTRY, "{log}");
    for word in [
        "table public.t",
        "version 3 of subject",
        "field id",
        "latest.compatibility",
    ] {
        assert!(log.contains(word), "{word}: {log}");
    }
}

/// Files of a pipe that writes Avro of the table `t`.
fn avro(
    bootstrap: &str,
    registry: &Registry,
    server: &Postgres,
    database: &str,
) -> (Properties, Properties) {
    let converter = "io.confluent.connect.avro.AvroConverter";
    let worker = Properties::default()
        .with("bootstrap.servers", bootstrap)
        .with("offset.storage.topic", format!("{database}-offsets"))
        .with("key.converter", converter)
        .with("key.converter.schema.registry.url", registry.url())
        .with("value.converter", converter)
        .with("value.converter.schema.registry.url", registry.url());
    let connector = Properties::default()
        .with("name", database)
        .with(
            "connector.class",
            "io.debezium.connector.postgresql.PostgresConnector",
        )
        .with("topic.prefix", database)
        .with("slot.name", database)
        .with("database.hostname", "127.0.0.1")
        .with("database.port", server.port())
        .with("database.user", SUPERUSER.0)
        .with("database.password", SUPERUSER.1)
        .with("database.dbname", database)
        .with("table.include.list", "public.t");
    (worker, connector)
}

/// A registry that refuses a new version ends the pipe at the first row of it, here in the middle of
/// a transaction with rows of before; nothing before it comes again, and with the registry's mind
/// changed the next start goes on with that row.
#[test]
fn a_registry_that_refuses_a_version() {
    let (server, kafka) = (
        Postgres::shared(Version::Debian),
        Kafka::shared(kafka::NEWEST),
    );
    let registry = Registry::start();
    let database = server.database("refused");
    let prefix = database.name.clone();
    database.script("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a');");
    let (worker, connector) = avro(&kafka.bootstrap(), &registry, server, &prefix);
    let mut pipe = Penstock::standalone(&worker, &[&connector]);
    pipe.wait_for(&["snapshot is complete"], SOON);
    database.query("INSERT INTO t VALUES (2, 'b')");
    let topic = format!(r"{prefix}\.public\.t");
    let bootstrap = kafka.bootstrap();
    let format = Format::Avro(registry.url());
    assert_eq!(judge::read(&bootstrap, &topic, format, 2, SOON).len(), 2);

    let said = "Schema being registered is incompatible with an earlier schema";
    registry.fail("-value", 409, 409, said, 1);
    database.script(
        "BEGIN; INSERT INTO t VALUES (3, 'old'); UPDATE t SET v = 'b2' WHERE id = 2;
         ALTER TABLE t ADD w int NOT NULL DEFAULT 0; ALTER TABLE t ALTER w DROP DEFAULT;
         INSERT INTO t VALUES (4, 'c', 3); DELETE FROM t WHERE id = 3; COMMIT;
         INSERT INTO t VALUES (5, 'd', 4);",
    );
    let (code, log) = pipe.wait(SOON);
    assert_eq!(code, REGISTRY, "{log}");
    for word in [
        "409",
        "table public.t",
        "field w is new, is NOT NULL and has no default",
        "version 1",
        &format!("{prefix}.public.t-value"),
        "compatibility",
    ] {
        assert!(log.contains(word), "{word}: {log}");
    }

    let mut pipe = Penstock::standalone(&worker, &[&connector]);
    let records = judge::read(&bootstrap, &topic, format, 8, SOON);
    let told: Vec<_> = records
        .iter()
        .map(|record| (record.key["id"].as_i64(), record.op()))
        .collect();
    let expected = [
        (1, Some("r")),
        (2, Some("c")),
        (3, Some("c")),
        (2, Some("u")),
        (4, Some("c")),
        (3, Some("d")),
        (3, None),
        (5, Some("c")),
    ];
    let expected = expected.map(|(id, op)| (Some(id), op));
    assert_eq!(told, expected, "{}", pipe.log());
    let of_old = |record: &judge::Record| {
        let schema = record.value_schema.as_deref();
        schema.is_some_and(|schema| !schema.contains("\"name\":\"w\""))
    };
    let old: Vec<_> = records.iter().map(of_old).collect();
    assert_eq!(old, [true, true, true, true, false, false, false, false]);
    assert_eq!(registry.versions(&format!("{prefix}.public.t-value")), 2);
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
}
