//! `bench ROWS PAIRS`: the same WAL, drained by `pg_recvlogical -f /dev/null` and by penstock into
//! a real Apache Kafka, in turn, each from its own copy of one slot.
//!
//! The load is one table of six columns, filled in transactions of 50 000 rows before anything is
//! measured. pg_recvlogical reads binary tuples and throws them away; penstock decodes, encodes
//! Debezium's envelope in Avro and waits until the broker has it (acks=all). The clock runs from
//! the start of the process to its end, and to the last record readable in Kafka. CPU seconds are
//! user and system, from /proc. A pair is marked when others used more than a tenth of the machine.
//! The first pair warms the broker's compiler and every cache, and does not count.

#![allow(clippy::print_stdout, reason = "it is what a bench is for")]
#![allow(clippy::disallowed_methods, reason = "it measures the real clock")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use tests::kafka::{self, Kafka};
use tests::penstock::Penstock;
use tests::postgres::{Database, Postgres, SUPERUSER, Version};
use tests::registry::Registry;
use tests::{Properties, judge};

const ROWS_PER_TRANSACTION: u64 = 50_000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |usual: u64| {
        arguments.next().map_or(usual, |text| {
            text.parse().expect("bench ROWS PAIRS: numbers")
        })
    };
    let (rows, pairs) = (number(5_000_000), number(3));

    let server = Postgres::start_with(
        Version::Debian,
        &[
            ("shared_buffers", "2GB"),
            ("synchronous_commit", "off"),
            ("full_page_writes", "off"),
            ("autovacuum", "off"),
            ("max_wal_size", "40GB"),
            ("checkpoint_timeout", "1h"),
        ],
    );
    let kafka = Kafka::start_measured(kafka::NEWEST, &[("log.segment.delete.delay.ms", "1000")]);
    let registry = Registry::start();
    let database = server.database("bench");
    let end = load(&database, rows);
    println!("{}", server.query("postgres", "SELECT version()"));
    println!(
        "Apache Kafka {}, {} cores, {rows} rows",
        kafka.version(),
        cores()
    );
    println!();
    println!(
        "{:16} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>7}",
        "", "wall s", "rows/s", "tool CPU", "µs/row", "broker", "postgres", "RSS MiB", "others"
    );

    let mut ratios = Vec::new();
    for pair in 0..=pairs {
        let theirs = receive(&server, &kafka, &database, &end);
        theirs.print("pg_recvlogical", rows);
        let ours = penstock(&server, &kafka, &registry, &database, rows, pair);
        ours.print("penstock", rows);
        let disturbed = theirs.others > 0.1 || ours.others > 0.1;
        let ratio = theirs.wall.as_secs_f64() / ours.wall.as_secs_f64();
        let mark = match (pair, disturbed) {
            (0, _) => "  (warm-up)",
            (_, true) => "  (disturbed)",
            (_, false) => "",
        };
        println!("pair {pair}: penstock / pg_recvlogical = {ratio:.2}{mark}");
        if pair > 0 {
            ratios.push((disturbed, ratio));
        }
    }
    let calm = ratios.iter().any(|(disturbed, _)| !disturbed);
    let mut kept: Vec<_> = ratios
        .iter()
        .filter(|pair| !calm || !pair.0)
        .map(|pair| pair.1)
        .collect();
    kept.sort_by(f64::total_cmp);
    println!(
        "median of {} of {} pairs: {:.2}",
        kept.len(),
        ratios.len(),
        kept[kept.len() / 2]
    );
}

/// What one drain cost.
struct Drain {
    wall: Duration,
    tool: f64,
    broker: f64,
    postgres: f64,
    rss_kib: u64,
    others: f64,
}

impl Drain {
    fn print(&self, name: &str, rows: u64) {
        let wall = self.wall.as_secs_f64();
        println!(
            "{name:16} {wall:9.2} {:9.0} {:9.2} {:9.2} {:9.2} {:9.2} {:9.1} {:6.1}%",
            rows as f64 / wall,
            self.tool,
            self.tool / rows as f64 * 1e6,
            self.broker,
            self.postgres,
            self.rss_kib as f64 / 1024.0,
            self.others * 100.0,
        );
    }
}

/// Fills the table behind a slot that nobody reads; gives the end of it.
fn load(database: &Database<'_>, rows: u64) -> String {
    database.query(
        "CREATE TABLE t (id bigint PRIMARY KEY, n int, t text, amt numeric(12,2), ts timestamptz,
                         ok bool);
         CREATE PUBLICATION pub FOR TABLE t",
    );
    database.query("SELECT pg_create_logical_replication_slot('source', 'pgoutput')");
    let start = Instant::now();
    for first in (1..=rows).step_by(usize::try_from(ROWS_PER_TRANSACTION).expect("small")) {
        let last = (first + ROWS_PER_TRANSACTION - 1).min(rows);
        database.query(&format!(
            "INSERT INTO t SELECT g, (g * 7) % 1000000, md5(g::text), (g % 1000000) / 100.0,
                    timestamptz '2024-01-01' + g * interval '1 second', g % 2 = 0
               FROM generate_series({first}, {last}) AS g"
        ));
    }
    println!("loaded in {:.1} s", start.elapsed().as_secs_f64());
    let end = database.query("SELECT pg_current_wal_insert_lsn()");
    database.query("CHECKPOINT");
    end
}

fn copy_slot(database: &Database<'_>, name: &str) {
    database.query(&format!(
        "SELECT pg_copy_logical_replication_slot('source', '{name}')"
    ));
}

fn drop_slot(database: &Database<'_>, name: &str) {
    tests::eventually("the slot is free", Duration::from_secs(20), || {
        let sql = format!("SELECT pg_drop_replication_slot('{name}')");
        database.server.try_query(&database.name, &sql)
    });
}

fn receive(server: &Postgres, kafka: &Kafka, database: &Database<'_>, end: &str) -> Drain {
    copy_slot(database, "received");
    let account = Account::open(server, kafka);
    let start = Instant::now();
    let mut child = Command::new(server.program("pg_recvlogical"))
        .args([
            "-h",
            "127.0.0.1",
            "-p",
            &server.port().to_string(),
            "-U",
            SUPERUSER.0,
        ])
        .args([
            "-d",
            &database.name,
            "-S",
            "received",
            "--start",
            "-f",
            "/dev/null",
            "--no-loop",
        ])
        .args([
            "--endpos",
            end,
            "-o",
            "proto_version=1",
            "-o",
            "publication_names=pub",
        ])
        .args(["-o", "binary=true"])
        .env("PGPASSWORD", SUPERUSER.1)
        .stdin(Stdio::null())
        .spawn()
        .expect("pg_recvlogical runs");
    let mut seen = (0.0, 0);
    let status = loop {
        if let Some(status) = child.try_wait().expect("our child") {
            break status;
        }
        seen = (cpu(child.id(), false), rss_kib(child.id()).max(seen.1));
        std::thread::sleep(Duration::from_millis(5));
    };
    let wall = start.elapsed();
    assert!(status.success(), "pg_recvlogical: {status}");
    let drain = account.close(wall, seen.0, seen.1);
    drop_slot(database, "received");
    drain
}

fn penstock(
    server: &Postgres,
    kafka: &Kafka,
    registry: &Registry,
    database: &Database<'_>,
    rows: u64,
    pair: u64,
) -> Drain {
    let slot = format!("carried_{pair}");
    copy_slot(database, &slot);
    let converter = "io.confluent.connect.avro.AvroConverter";
    let worker = Properties::default()
        .with("bootstrap.servers", kafka.bootstrap())
        .with("offset.storage.topic", format!("offsets-{pair}"))
        .with("key.converter", converter)
        .with("key.converter.schema.registry.url", registry.url())
        .with("value.converter", converter)
        .with("value.converter.schema.registry.url", registry.url());
    let connector = Properties::default()
        .with("name", format!("bench-{pair}"))
        .with(
            "connector.class",
            "io.debezium.connector.postgresql.PostgresConnector",
        )
        .with("topic.prefix", format!("bench{pair}"))
        .with("slot.name", &slot)
        .with("publication.name", "pub")
        .with("publication.autocreate.mode", "disabled")
        .with("snapshot.mode", "no_data")
        .with("database.hostname", "127.0.0.1")
        .with("database.port", server.port())
        .with("database.user", SUPERUSER.0)
        .with("database.password", SUPERUSER.1)
        .with("database.dbname", &database.name)
        .with("table.include.list", "public.t");
    let topic = format!("bench{pair}.public.t");
    judge::create_topic(&kafka.bootstrap(), &topic, 1, &[]);

    let mut watch = judge::watch(&kafka.bootstrap(), &topic, rows, Duration::from_secs(600));
    // The judge is up before the clock runs.
    std::thread::sleep(Duration::from_secs(1));
    let account = Account::open(server, kafka);
    let start = SystemTime::now();
    let mut pipe = Penstock::standalone(&worker, &[&connector]);
    let end = loop {
        if let Some(end) = watch.last_moved() {
            break end;
        }
        pipe.assert_running();
        std::thread::sleep(Duration::from_millis(5));
    };
    let wall = end
        .duration_since(start)
        .expect("the end comes after the start");
    let drain = account.close(wall, cpu(pipe.process(), false), pipe.memory_kib().1);
    // Exactly so many: what follows in the WAL is another table's.
    let (records, keys) = judge::count(&kafka.bootstrap(), &topic);
    assert_eq!(records, rows, "records in {topic}");
    println!("{topic}: {records} records, CRC-32 of the keys {keys}");
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
    drop_slot(database, &slot);
    judge::delete_topic(&kafka.bootstrap(), &topic);
    drain
}

/// What PostgreSQL, the broker and everybody had used when the clock began.
struct Account<'p> {
    server: &'p Postgres,
    kafka: &'p Kafka,
    postgres: f64,
    broker: f64,
    machine: f64,
    us: f64,
}

impl<'p> Account<'p> {
    fn open(server: &'p Postgres, kafka: &'p Kafka) -> Self {
        Self {
            server,
            kafka,
            postgres: postgres_cpu(server.postmaster()),
            broker: cpu(kafka.process(), false),
            machine: machine_cpu(),
            us: cpu(std::process::id(), true),
        }
    }

    fn close(self, wall: Duration, tool: f64, rss_kib: u64) -> Drain {
        // The postmaster reaps its walsender in a moment; until then its CPU is seen nowhere.
        let machine = machine_cpu() - self.machine;
        std::thread::sleep(Duration::from_millis(300));
        let postgres = postgres_cpu(self.server.postmaster()) - self.postgres;
        let broker = cpu(self.kafka.process(), false) - self.broker;
        let us = cpu(std::process::id(), true) - self.us;
        // What we waited for counts in `us` already; a tool that still runs does not.
        let others = (machine - postgres - broker - tool.max(us)).max(0.0);
        let share = others / wall.as_secs_f64() / cores() as f64;
        Drain {
            wall,
            tool,
            broker,
            postgres,
            rss_kib,
            others: share,
        }
    }
}

/// CPU seconds of a process; with `reaped`, also of the children it has waited for.
fn cpu(pid: u32, reaped: bool) -> f64 {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return 0.0;
    };
    let fields: Vec<_> = stat
        .rsplit(')')
        .next()
        .unwrap_or("")
        .split_whitespace()
        .collect();
    let last = if reaped { 14 } else { 12 };
    let ticks = fields.get(11..=last).into_iter().flatten();
    ticks
        .filter_map(|field| field.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}

/// CPU seconds of the whole server: postmaster, children it has reaped, children that live.
fn postgres_cpu(postmaster: u32) -> f64 {
    let children = fs::read_dir("/proc").into_iter().flatten().flatten();
    let live = children.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent = stat
            .rsplit(')')
            .next()?
            .split_whitespace()
            .nth(1)?
            .parse::<u32>()
            .ok()?;
        (parent == postmaster).then(|| cpu(pid, false))
    });
    cpu(postmaster, true) + live.sum::<f64>()
}

/// CPU seconds that all cores were busy.
fn machine_cpu() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = stat.lines().next().unwrap_or("").split_whitespace().skip(1);
    let ticks: Vec<f64> = fields.filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, -, -, irq, softirq
    [0, 1, 2, 5, 6]
        .iter()
        .filter_map(|index| ticks.get(*index))
        .sum::<f64>()
        / 100.0
}

fn rss_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
