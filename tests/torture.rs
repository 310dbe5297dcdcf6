//! The torture run: a load with a history of its own, faults of every peer and of the network, and
//! penstock killed at random instants; at the end a stranger holds the topics against the history.
//!
//! `make torture` runs the long one: `TORTURE_KILLS`, `TORTURE_SEED`, `TORTURE_FAULTS` (of a hundred
//! kills) and `TORTURE_SNAPSHOT` (0: not before the tables are copied).

#![allow(clippy::print_stdout, reason = "figures are what the run is for")]

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tests::kafka::{self, Kafka};
use tests::penstock::Penstock;
use tests::postgres::{self, Database, Postgres, Version};
use tests::proxy::Proxy;
use tests::{Properties, eventually, files, free_ports, judge, root};

const SOON: Duration = Duration::from_secs(120);
const TABLES: &str = "load.keyed,load.pair,load.whole,load.nokey";
/// Sessions that write at the same time.
const WRITERS: usize = 3;
/// `penstock --help`: what no peer's absence explains.
const INEXCUSABLE: [i32; 4] = [1, 2, 3, 7];

#[derive(Debug, Clone, Copy)]
struct Plan {
    seed: u64,
    kills: u32,
    /// Of a hundred kills, before so many something else fails too.
    faults_percent: u64,
    /// Kill from the beginning, while the tables are copied.
    in_snapshot: bool,
}

#[test]
fn short() {
    run(Plan {
        seed: 1,
        kills: 8,
        faults_percent: 60,
        in_snapshot: false,
    });
}

#[test]
#[ignore = "some minutes: make torture"]
fn long() {
    let number = |name: &str, default: u64| {
        let set = std::env::var(name).ok();
        set.and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    run(Plan {
        seed: number("TORTURE_SEED", 1),
        kills: u32::try_from(number("TORTURE_KILLS", 200)).expect("a number of kills"),
        faults_percent: number("TORTURE_FAULTS", 25),
        in_snapshot: number("TORTURE_SNAPSHOT", 1) > 0,
    });
}

/// xorshift64: the instants and the faults follow from the seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    fn pause(&mut self, longest_ms: u64) {
        std::thread::sleep(Duration::from_millis(self.below(longest_ms)));
    }
}

/// What the run is made of.
struct Site {
    kafka: Kafka,
    server: Postgres,
    /// In front of each.
    kafka_proxy: Proxy,
    /// Which protocol is spoken with a broker that has both.
    transaction_version: u64,
    server_proxy: Proxy,
}

fn run(plan: Plan) {
    let began = Instant::now();
    let site = Site::open(plan.seed);
    let database = site.server.database("torture");
    database.run(&root().join("tests/torture.sql"));
    let rows = if plan.in_snapshot { 60_000 } else { 6000 };
    database.query(&format!(
        "INSERT INTO load.whole (id, note)
         SELECT g, md5(g::text) FROM generate_series(1000, {}) AS g",
        1000 + rows
    ));
    database.query("CALL load.work(300, 0)");
    let (worker, connector) = site.files(&database);

    let mut ordeal = Ordeal {
        plan,
        dice: Dice(plan.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
        site: &site,
        files: (&worker, &connector),
        database: &database,
        pipe: Penstock::standalone(&worker, &[&connector]),
        kills: 0,
        ends: 0,
        faults: [0; FAULTS.len()],
        memory_kib: 0,
        told: Vec::new(),
    };
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    // It fails when the server goes: what it had not committed never was.
                    if database_try(&database, "CALL load.work(60, 0.02)").is_err() {
                        std::thread::sleep(Duration::from_millis(100));
                    }
                }
            });
        }
        // Writers must hear of the end even when this panics.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ordeal.endure()));
        over.store(true, Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
    // Nobody writes any more: what a writer still commits is behind the position waited for.
    let said = ordeal.finish();

    let lines = database.query(
        "SELECT json_build_object('tbl', tbl, 'op', op, 'old', old, 'new', new, 'lsn', lsn)
           FROM load.history ORDER BY seq",
    );
    let history = std::env::temp_dir().join(format!("penstock-history-{}", std::process::id()));
    std::fs::write(&history, lines).expect("a temporary file");
    let (counts, good) = judge::history(&site.kafka.bootstrap(), &database.name, &history);
    println!(
        "torture: seed {}, {} s: {said}; {counts:#}",
        plan.seed,
        began.elapsed().as_secs()
    );
    assert!(
        good,
        "the topics are not the history ({}): {counts:#}",
        history.display()
    );
    if plan.kills < 20 {
        overlooks_nothing(&site, &database, &history);
    }
    let _ = std::fs::remove_file(history);
}

/// The judge itself is judged: a change that did not happen, and one that is not in the topics.
fn overlooks_nothing(site: &Site, database: &Database<'_>, history: &Path) {
    let lines = std::fs::read_to_string(history).expect("it was written");
    let mut lines: Vec<&str> = lines.lines().collect();
    let count = |lines: &[&str], what: [&str; 2]| {
        std::fs::write(history, lines.join("\n")).expect("a temporary file");
        let (counts, good) = judge::history(&site.kafka.bootstrap(), &database.name, history);
        assert!(!good, "{counts:#}");
        what.iter()
            .filter_map(|name| counts[*name].as_u64())
            .sum::<u64>()
    };
    let last = lines.pop().expect("something happened");
    assert!(
        count(&lines, ["duplicated", "wrong"]) > 0,
        "{last} is too many, and was overlooked"
    );
    lines.extend([last, last]);
    assert!(
        count(&lines, ["lost", "out_of_order"]) > 0,
        "{last} twice, and was overlooked"
    );
}

fn database_try(database: &Database<'_>, sql: &str) -> Result<String, String> {
    database.server.try_query(&database.name, sql)
}

impl Site {
    fn open(seed: u64) -> Self {
        let outside = free_ports(1);
        let advertised = format!("PLAINTEXT://127.0.0.1:{{port}},OUTSIDE://127.0.0.1:{outside}");
        let kafka = Kafka::start_with(
            kafka::NEWEST,
            &[
                (
                    "listeners",
                    "PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},\
                     OUTSIDE://127.0.0.1:{second}",
                ),
                ("advertised.listeners", &advertised),
                (
                    "listener.security.protocol.map",
                    "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,OUTSIDE:PLAINTEXT",
                ),
                ("inter.broker.listener.name", "PLAINTEXT"),
            ],
        );
        let second = kafka.second_bootstrap();
        let (_, second) = second.split_once(':').expect("host:port");
        let server = Postgres::start_with(
            Version::Debian,
            &[("wal_sender_timeout", "4s"), ("deadlock_timeout", "100ms")],
        );
        Self {
            kafka_proxy: Proxy::listen(outside, second.parse().expect("a port"), seed),
            transaction_version: 1 + seed % 2,
            server_proxy: Proxy::start(server.port(), seed + 1),
            kafka,
            server,
        }
    }

    fn files(&self, database: &Database<'_>) -> (Properties, Properties) {
        let worker = files::worker(&format!("127.0.0.1:{}", self.kafka_proxy.port()))
            // What is lost in silence is noticed in time.
            .with("producer.request.timeout.ms", 4000)
            .with("producer.delivery.timeout.ms", 20_000);
        let connector = files::connector(database, TABLES)
            .with("database.port", self.server_proxy.port())
            .with("database.user", "pipe")
            .with("database.password", "pipe")
            .with("publication.autocreate.mode", "disabled")
            .with("status.update.interval.ms", 1000)
            .with("penstock.transaction.version", self.transaction_version)
            .with("topic.creation.default.partitions", 3)
            .with("topic.creation.default.replication.factor", 1);
        (worker, connector)
    }
}

/// What fails, and how often of [`FAULTS`]' sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    BrokerKilled,
    BrokerRestarted,
    DiskFull,
    ServerCrashed,
    ServerRestarted,
    WalsenderEnded,
    Reset,
    Lossy,
    Slow,
    KafkaSilent,
    ServerSilent,
    HalfOpen,
    Stopped,
}

const FAULTS: [(Fault, u64); 13] = [
    (Fault::BrokerKilled, 1),
    (Fault::BrokerRestarted, 1),
    (Fault::DiskFull, 1),
    (Fault::ServerCrashed, 3),
    (Fault::ServerRestarted, 3),
    (Fault::WalsenderEnded, 4),
    (Fault::Reset, 4),
    (Fault::Lossy, 4),
    (Fault::Slow, 3),
    (Fault::KafkaSilent, 2),
    (Fault::ServerSilent, 2),
    (Fault::HalfOpen, 1),
    (Fault::Stopped, 2),
];

struct Ordeal<'a> {
    plan: Plan,
    dice: Dice,
    site: &'a Site,
    files: (&'a Properties, &'a Properties),
    database: &'a Database<'a>,
    pipe: Penstock,
    kills: u32,
    /// It ended by itself, since a peer could not be reached at its start.
    ends: u32,
    faults: [u32; FAULTS.len()],
    memory_kib: u64,
    /// What happened, and what the lives before said.
    told: Vec<String>,
}

impl Ordeal<'_> {
    fn endure(&mut self) {
        if !self.plan.in_snapshot {
            self.pipe.wait_for(&["snapshot is complete"], SOON);
        }
        while self.kills < self.plan.kills {
            let begins = self.dice.below(10) < 3;
            if !begins {
                self.await_word("streaming");
            }
            if self.dice.below(100) < self.plan.faults_percent {
                self.fail();
            }
            self.dice.pause(1500);
            self.look();
            self.pipe.kill();
            self.kills += 1;
            self.told.push(format!("{}killed", self.pipe.log()));
            self.start();
        }
    }

    /// Waits until it streams, or reads the tables; one that ended is started again.
    fn await_word(&mut self, word: &str) {
        let limit = Instant::now() + SOON;
        while !self.pipe.log().contains(word) {
            if self.plan.in_snapshot && self.pipe.log().contains("slot") {
                return;
            }
            self.revive();
            assert!(
                Instant::now() < limit,
                "never '{word}':\n{}",
                self.pipe.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn start(&mut self) {
        self.pipe = Penstock::standalone(self.files.0, &[self.files.1]);
    }

    /// As a supervisor does; but an end that no fault explains is one too many.
    fn revive(&mut self) {
        let Some(code) = self.pipe.exited() else {
            return;
        };
        let log = self.pipe.log();
        self.told.push(format!("{log}exit code {code}"));
        let gap = log.contains("no longer available") || log.contains("panicked");
        if INEXCUSABLE.contains(&code) || gap {
            let last = self.told.len().saturating_sub(12);
            let told = self.told[last..].join("\n");
            panic!("{told}\n{}", self.site.positions());
        }
        self.ends += 1;
        std::thread::sleep(Duration::from_millis(300));
        self.start();
    }

    fn look(&mut self) {
        if self.pipe.exited().is_none() {
            let status = std::fs::read_to_string(format!("/proc/{}/status", self.pipe.process()));
            let peak = status.unwrap_or_default();
            let peak = peak.lines().find(|line| line.starts_with("VmHWM:"));
            let peak = peak.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
            self.memory_kib = self.memory_kib.max(peak.unwrap_or(0));
        }
    }

    fn fail(&mut self) {
        let sum = FAULTS.iter().map(|(_, weight)| weight).sum();
        let mut at = self.dice.below(sum);
        let which = FAULTS.iter().position(|(_, weight)| {
            let here = at < *weight;
            at = at.saturating_sub(*weight);
            here
        });
        let which = which.expect("below the sum");
        self.faults[which] += 1;
        self.told.push(format!("{:?}", FAULTS[which].0));
        let Site {
            kafka,
            server,
            kafka_proxy,
            server_proxy,
            ..
        } = self.site;
        let seconds = |seconds: f32| std::thread::sleep(Duration::from_secs_f32(seconds));
        match FAULTS[which].0 {
            Fault::BrokerKilled => kafka.restart(kafka::Stop::Kill),
            Fault::BrokerRestarted => kafka.restart(kafka::Stop::Clean),
            Fault::DiskFull => {
                kafka.fill_disk();
                seconds(3.0);
                kafka.restart(kafka::Stop::Kill);
            }
            Fault::ServerCrashed => server.restart(postgres::Stop::Immediate),
            Fault::ServerRestarted => server.restart(postgres::Stop::Fast),
            Fault::WalsenderEnded => {
                let sql = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots
                            WHERE active";
                let _ = database_try(self.database, sql);
            }
            Fault::Reset => {
                kafka_proxy.reset();
                self.dice.pause(200);
                server_proxy.reset();
            }
            Fault::Lossy => {
                kafka_proxy.cut(10_000);
                server_proxy.cut(10_000);
                seconds(3.0);
            }
            Fault::Slow => {
                kafka_proxy.delay(Duration::from_millis(150));
                server_proxy.delay(Duration::from_millis(150));
                seconds(3.0);
            }
            Fault::KafkaSilent => {
                let way = self.dice.below(2) == 0;
                kafka_proxy.silence(way, !way);
                seconds(5.0);
            }
            Fault::ServerSilent => {
                let way = self.dice.below(2) == 0;
                server_proxy.silence(way, !way);
                seconds(5.0);
            }
            Fault::HalfOpen => {
                kafka_proxy.silence(true, true);
                server_proxy.silence(true, true);
                seconds(5.0);
            }
            Fault::Stopped => {
                self.pipe.signal("STOP");
                seconds(5.0);
                self.pipe.signal("CONT");
            }
        }
        self.site.heal();
        self.look();
        self.revive();
    }

    /// Lets it send what is left, and stops it in good order.
    fn finish(&mut self) -> String {
        self.site.heal();
        let end = self.database.query("SELECT pg_current_wal_insert_lsn()");
        let sql = format!(
            "SELECT confirmed_flush_lsn >= '{end}', confirmed_flush_lsn
               FROM pg_replication_slots WHERE slot_name = '{}'",
            self.database.name
        );
        eventually(
            &format!("everything up to {end} is confirmed"),
            SOON,
            || {
                self.revive();
                let state = self.database.query(&sql);
                if state.starts_with('t') {
                    Ok(())
                } else {
                    Err(format!("{state}\n{}", self.pipe.log()))
                }
            },
        );
        self.look();
        assert_eq!(self.pipe.terminate(), 0, "{}", self.pipe.log());
        let mut faults = String::new();
        for ((fault, _), count) in FAULTS.iter().zip(self.faults) {
            let _ = write!(faults, "{fault:?} {count}, ");
        }
        format!(
            "{} kills, {} ends at a start; {faults}{} MiB at most",
            self.kills,
            self.ends,
            self.memory_kib / 1024
        )
    }
}

impl Site {
    /// The positions that were stored last, as a stranger reads them.
    fn positions(&self) -> String {
        let bootstrap = self.kafka.bootstrap();
        let mut records = judge::read(&bootstrap, "offsets-.*", judge::Format::Raw, 0, SOON);
        records.sort_by_key(|record| record.offset);
        let last = records.len().saturating_sub(8);
        records[last..]
            .iter()
            .fold(String::new(), |mut text, record| {
                let value = record.value_bytes.clone().unwrap_or_default();
                let value = String::from_utf8_lossy(&value).into_owned();
                let _ = writeln!(text, "offset {}: {value}", record.offset);
                text
            })
    }

    fn heal(&self) {
        for proxy in [&self.kafka_proxy, &self.server_proxy] {
            proxy.cut(0);
            proxy.delay(Duration::ZERO);
            proxy.silence(false, false);
        }
    }
}
