//! `penstock demo`: the screen's lines, and its embedded broker and registry, which strangers use.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tests::judge::{self, Format, Record};
use tests::kafka::{self, Java};
use tests::penstock::{self, Penstock};
use tests::postgres::{Database, Postgres, SUPERUSER, Version};
use tests::{eventually, free_ports, root, store};

const SOON: Duration = Duration::from_secs(60);

struct Demo {
    pipe: Penstock,
    bootstrap: String,
    registry: String,
}

fn demo(database: &Database<'_>, more: &[&str]) -> Demo {
    let port = free_ports(2);
    let postgres = format!("127.0.0.1:{}", database.server.port());
    let (broker, registry) = (
        format!("127.0.0.1:{port}"),
        format!("127.0.0.1:{}", port + 1),
    );
    let usual = [
        "demo",
        "--postgres",
        &postgres,
        "--user",
        SUPERUSER.0,
        "--password",
        SUPERUSER.1,
        "--database",
        &database.name,
        "--load-store",
        "--kafka-listen",
        &broker,
        "--registry-listen",
        &registry,
    ];
    let pipe = Penstock::run(&[&usual, more].concat());
    Demo {
        pipe,
        bootstrap: broker,
        registry: format!("http://{registry}"),
    }
}

#[test]
fn strangers_read_and_write_the_embedded_broker() {
    let server = Postgres::start(Version::Debian);
    let database = server.database("quiet");
    let Demo {
        mut pipe,
        bootstrap,
        registry,
    } = demo(&database, &["--no-shopper"]);
    let topics = r"bikes\.store\..*";
    let format = Format::Avro(&registry);
    eventually("the broker listens", SOON, || {
        pipe.assert_running();
        let connected = std::net::TcpStream::connect(&bootstrap);
        connected.map_err(|error| format!("{error}\n{}", pipe.log()))
    });

    // librdkafka, with Confluent's deserializer and the embedded registry.
    let records = judge::read(&bootstrap, topics, format, store::ROWS, SOON);
    assert_eq!(records.len(), store::ROWS);
    store::compare(&database, "bikes", &records).unwrap_or_else(|e| panic!("{e}"));
    database.query(store::SHOPPING);
    let records: Vec<Record> = eventually("the changes", SOON, || {
        pipe.assert_running();
        let records = judge::try_read(&bootstrap, topics, format, store::ROWS, SOON)?;
        store::compare(&database, "bikes", &records).map(|()| records)
    });
    store::check_histories(&records).unwrap_or_else(|complaint| panic!("{complaint}"));
    let (_, most) = pipe.memory_kib();
    assert!(most < 64 * 1024, "{most} KiB resident");

    // The Java client of today and of 2020, by way of a consumer group, and their producers.
    for version in [kafka::NEWEST, kafka::OLDEST] {
        let java = Java::new(version, &bootstrap);
        assert!(
            java.consume("bikes.store.products", 100).len() >= 100,
            "{version}"
        );
        let topic = format!("java-{}", version.replace('.', "-"));
        judge::create_topic(&bootstrap, &topic, 3, &[]);
        java.produce(&topic, "one\ntwo\nthree\n");
        judge::kcat_produce(&bootstrap, &topic, "k:four\n");
        let mut read = java.consume(&topic, 4);
        read.sort();
        assert_eq!(read, ["four", "one", "three", "two"], "{version}");
        let records = judge::read(&bootstrap, &topic, Format::Raw, 4, SOON);
        assert!(
            records.iter().any(|record| record.key == json!("k")),
            "{version}"
        );
    }
    assert_eq!(
        judge::describe_topic(&bootstrap, "java-4-3-1")["partitions"],
        3
    );

    assert_eq!(pipe.interrupt(), 0, "{}", pipe.log());
    assert_eq!(
        database.query("SELECT count(*) FROM pg_replication_slots"),
        "0"
    );
    assert_eq!(database.query("SELECT count(*) FROM pg_publication"), "0");
}

#[test]
fn the_shopper_is_shown_in_plain_lines_when_nobody_watches() {
    let server = Postgres::start(Version::Debian);
    let database = server.database("busy");
    let Demo {
        mut pipe,
        bootstrap,
        ..
    } = demo(&database, &["--rate", "20", "--duration", "12"]);
    let (code, log) = pipe.wait(SOON);
    let printed = pipe.printed();
    assert_eq!(code, 0, "{printed}\n{log}");
    for word in [
        "customers",
        "order_items",
        "orders",
        "products",
        "kcat",
        "curl",
        &bootstrap,
        " ms",
    ] {
        assert!(
            printed.contains(word) || log.contains(word),
            "no '{word}':\n{printed}\n{log}"
        );
    }
    assert!(
        !printed.contains('\x1b'),
        "escape sequences for no terminal:\n{printed}"
    );
    assert_eq!(
        database.query("SELECT count(*) FROM pg_replication_slots"),
        "0"
    );
}

#[test]
fn make_demo_cleans_up_and_can_be_run_again() {
    for _ in 0..2 {
        let port = free_ports(2);
        let output = Command::new(root().join("deploy/demo.sh"))
            .arg(penstock::binary())
            .args([
                "--duration",
                "6",
                "--kafka-listen",
                &format!("127.0.0.1:{port}"),
            ])
            .args(["--registry-listen", &format!("127.0.0.1:{}", port + 1)])
            .stdin(Stdio::null())
            .output()
            .expect("bash runs");
        let printed = String::from_utf8_lossy(&output.stdout);
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{printed}\n{log}");
        assert!(printed.contains("bikes.store.orders"), "{printed}\n{log}");
        let directory = printed.lines().find_map(|line| {
            line.strip_prefix("demo: PostgreSQL")
                .and_then(|line| line.rsplit(' ').next())
        });
        let directory = directory.expect("it says where PostgreSQL is");
        assert!(
            !std::path::Path::new(directory).exists(),
            "{directory} is left"
        );
    }
}
