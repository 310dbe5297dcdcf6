//! `penstock load` and `penstock bench` on real servers: each load does what it says, and nothing
//! else; the same seed makes the same rows; a figure stands on what was read.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tests::kafka::{self, Kafka};
use tests::penstock;
use tests::postgres::{Database, Postgres, SUPERUSER, Version};

const SCENARIOS: [&str; 11] = [
    "bike-store",
    "insert",
    "update",
    "delete",
    "upsert",
    "wide",
    "toast",
    "one-row",
    "large-transaction",
    "many-tables",
    "ddl",
];

fn server() -> &'static Postgres {
    Postgres::shared(Version::Debian)
}

fn run(verb: &[&str], database: &Database<'_>, more: &[&str]) -> Output {
    let port = database.server.port().to_string();
    let mut command = Command::new(penstock::binary());
    command
        .args(verb)
        .args(["-H", "127.0.0.1", "-p", &port, "-U", SUPERUSER.0])
        .args(["-d", &database.name])
        .args(more)
        .env("PGPASSWORD", SUPERUSER.1)
        .stdin(Stdio::null());
    command.output().expect("our binary runs")
}

fn load(database: &Database<'_>, words: &[&str]) -> Value {
    let output = run(
        &["load"],
        database,
        &[words, &["-q", "-o", "json"]].concat(),
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {said}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn every_scenario_does_what_it_says() {
    let database = server().database("loads");
    let small = ["--fill=500", "--tables=5", "--columns=30", "-c", "2"];
    for scenario in SCENARIOS {
        let words = [&[scenario, "-t", "40", "-k", "5"][..], &small].concat();
        let outcome = load(&database, &words);
        assert_eq!(outcome["failed"], 0, "{scenario}: {outcome}");
        assert_eq!(outcome["transactions"], 40, "{scenario}: {outcome}");
        let rows = outcome["rows"].as_u64().expect("a number");
        match scenario {
            "bike-store" => assert!((30..=200).contains(&rows), "{rows}"),
            _ => assert_eq!(rows, 200, "{scenario}"),
        }
    }
    let left = |sql: &str| database.query(&format!("SELECT count(*) FROM penstock_load.{sql}"));
    assert_eq!(left("insert_rows"), "200");
    assert_eq!(left("update_rows WHERE n IS NOT NULL"), "500");
    assert_eq!(left("delete_rows"), "300");
    assert_eq!(left("toast_rows"), "600");
    // Columns of ours alone: the schema is where everything is.
    let elsewhere = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
                     WHERE nspname NOT IN ('penstock_load', 'pg_catalog', 'pg_toast',
                                           'information_schema')";
    assert_eq!(database.query(elsewhere), "0");
    load(&database, &["insert", "--rows", "1234", "-k", "100"]);
    assert_eq!(
        left("insert_rows"),
        "1434",
        "the last transaction is smaller"
    );
    load(&database, &["insert", "--copy", "--rows", "1000"]);
    assert_eq!(left("insert_rows"), "2434");
    let output = run(&["load", "insert", "--clean"], &database, &[]);
    assert!(output.status.success());
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'penstock_load'";
    assert_eq!(database.query(schemas), "0");
}

#[test]
fn a_schema_of_somebody_else_is_left_alone() {
    let database = server().database("foreign");
    database.query("CREATE SCHEMA penstock_load; CREATE TABLE penstock_load.insert_rows (x int)");
    for more in [&["-t", "1"][..], &["--fresh"], &["--clean"]] {
        let output = run(&["load", "insert"], &database, more);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(
            said.contains("not ours") && said.contains("--schema"),
            "{said}"
        );
    }
    assert_eq!(
        database.query("SELECT count(*) FROM penstock_load.insert_rows"),
        "0"
    );
}

#[test]
fn the_same_seed_makes_the_same_rows() {
    let database = server().database("seeds");
    let digest = |schema: &str, table: &str| {
        let sql = format!(
            "SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {schema}.{table} t"
        );
        database.query(&sql)
    };
    // In order over one connection, and side by side over four.
    for (schema, how) in [
        ("one", ["-c", "1", "--pipeline", "1"]),
        ("four", ["-c", "4", "--pipeline", "32"]),
    ] {
        for scenario in ["bike-store", "upsert"] {
            let words = [
                &[scenario, "--schema", schema, "-t", "4000", "--fill", "2000"][..],
                &how,
            ]
            .concat();
            assert_eq!(load(&database, &words)["failed"], 0);
        }
    }
    load(
        &database,
        &[
            "bike-store",
            "--schema",
            "other",
            "-t",
            "4000",
            "--seed",
            "2",
        ],
    );
    let tables = ["customers", "products", "orders", "order_items"];
    for table in tables.iter().chain(&["upsert_rows"]) {
        assert_eq!(digest("one", table), digest("four", table), "{table}");
    }
    for table in tables {
        assert_ne!(digest("one", table), digest("other", table), "{table}");
    }
}

#[test]
fn a_rate_is_kept() {
    let database = server().database("rates");
    let outcome = load(&database, &["one-row", "--rate", "500", "-T", "2"]);
    // From 0 to 2 s, the 2 s excluded.
    assert_eq!(outcome["transactions"], 1_000, "{outcome}");
    let seconds = outcome["seconds"].as_f64().expect("a number");
    assert!(seconds >= 1.99, "{outcome}");
    let latency = |name: &str| outcome["latency_us"][name].as_u64().expect("a number");
    assert!(latency("p50") <= latency("p99") && latency("p99") <= latency("max"));
}

#[test]
fn a_load_that_is_refused_says_so() {
    let database = server().database("refused");
    database.query("CREATE ROLE nobody_here LOGIN PASSWORD 'x'");
    let output = run(
        &["load", "one-row"],
        &database,
        &["-U", "nobody_here", "--password", "x"],
    );
    let said = String::from_utf8_lossy(&output.stderr);
    // The last of two options counts or neither is taken: in both cases not the superuser's.
    assert!(matches!(output.status.code(), Some(2 | 4)), "{said}");
    let port = database.server.port();
    let url = format!(
        "postgres://nobody_here:x@127.0.0.1:{port}/{}",
        database.name
    );
    let output = Command::new(penstock::binary())
        .args(["load", "one-row", "-q", "-H", &url])
        .output()
        .expect("our binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("42501") && !said.contains(":x@"), "{said}");
}

#[test]
fn a_bench_counts_what_it_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = |name: &str| directory.path().join(name).display().to_string();
    // A server of its own: it is asked to publish all tables of a database.
    let postgres = Postgres::start(Version::Debian);
    let database = Database {
        server: &postgres,
        name: "postgres".to_owned(),
    };
    let kafka = Kafka::shared(kafka::NEWEST);
    let (bootstrap, out, page) = (kafka.bootstrap(), place("out"), place("page.html"));
    let output = run(
        &[
            "bench",
            "--suite",
            "inserts,updates,snapshot,rest",
            "--against",
            "pg_recvlogical",
        ],
        &database,
        &[
            &[
                "--kafka",
                &bootstrap,
                "--rows",
                "3000",
                "--pairs",
                "1",
                "--no-warm-up",
            ][..],
            &[
                "--duration",
                "1",
                "--others-max",
                "9",
                "--out",
                &out,
                "--report",
                &page,
            ],
            &["--scratch", &place("")],
        ]
        .concat(),
    );
    let said = String::from_utf8_lossy(&output.stderr);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{told}");
    let files: Vec<_> = fs::read_dir(&out).expect("a directory").flatten().collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let csv = fs::read_to_string(files[0].path()).expect("CSV");
    let lines: Vec<Vec<&str>> = csv
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(',').collect())
        .collect();
    let column = |name: &str| {
        lines[0]
            .iter()
            .position(|it| *it == name)
            .expect("a column")
    };
    let (case, tool, records) = (column("case"), column("tool"), column("records"));
    let runs: BTreeSet<_> = lines[1..]
        .iter()
        .map(|line| (line[case], line[tool]))
        .collect();
    let expected = [
        ("inserts", "penstock"),
        ("inserts", "pg_recvlogical"),
        ("rest", "penstock"),
        ("snapshot", "penstock"),
        ("updates", "penstock"),
        ("updates", "pg_recvlogical"),
    ];
    assert_eq!(runs, BTreeSet::from(expected), "{csv}");
    for line in &lines[1..] {
        assert_eq!(line[column("counts")], "1", "{csv}");
        if line[case] != "rest" {
            assert_eq!(line[records], "3000", "{csv}");
        }
    }
    let page = fs::read_to_string(page).expect("a page");
    assert!(page.contains("<svg") && page.contains("pg_recvlogical"));
    // Nothing stays on a server that is not the bench's.
    let left = "SELECT (SELECT count(*) FROM pg_replication_slots)
                     + (SELECT count(*) FROM pg_database WHERE datname = 'penstock_bench')";
    assert_eq!(database.query(left), "0");
}
