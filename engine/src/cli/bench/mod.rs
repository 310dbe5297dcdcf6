//! `penstock bench`: what it carries, beside others, on servers of its own or yours.
//!
//! ```text
//!   suite        cases: a load, and what is done with it
//!     stage        PostgreSQL, Kafka, a registry: pointed at, or started here
//!     contestant   penstock, pg_recvlogical, Debezium: one after the other, in pairs
//!       measure      clock, CPU, memory; a consumer of its own reads what is committed
//!       check        counts and sums of what was read against the tables
//!     report       lines, CSV, a page
//! ```
//!
//! A figure counts if what was read is what was written, and nobody else used much of the machine
//! meanwhile.

pub mod check;
pub mod contestant;
pub mod measure;
pub mod report;
pub mod stage;
pub mod suite;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum as _};

use self::contestant::{Contestant, Converters, PUBLICATION, Ring};
use self::measure::{Bench, Figure, How, Laid};
use self::report::{Record, Sample};
use self::stage::{DATABASE, Kafka, Postgres, Stage};
use self::suite::{Case, Kind, Suite, Wanted};
use super::exit::{Exit, Report};
use super::server::Address;
use super::signal;
use crate::capture::client::{Client, Purpose};
use crate::config::Properties;
use crate::local::registry::{Registry, RegistryOptions};
use crate::net;

/// Measure what penstock carries on this machine, beside others.
///
/// A load is laid into PostgreSQL's WAL behind a slot; each contestant drains a copy of that slot,
/// in turn, into a real Kafka; an own consumer reads what is committed, and what it read is
/// compared with the tables. Servers are started here and ended, or yours are used: then a database
/// `penstock_bench` is made there, and dropped.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  penstock bench --kafka-home /opt/kafka --against pg_recvlogical
  penstock bench --suite latency --rate 1000,10000 -H db.example.org -U postgres --kafka broker:9092
  penstock bench --suite columns,tables --report scaling.html
  penstock bench --against debezium --debezium DIR --pairs 5 --out docs/measurements")]
pub struct Arguments {
    /// PostgreSQL and a superuser; without it, one is started here.
    #[command(flatten)]
    pub address: Address,
    /// Where initdb, postgres and pg_recvlogical are [default: on PATH, or Debian's newest].
    #[arg(long, value_name = "DIR")]
    pub postgres_bin: Option<PathBuf>,
    /// A setting of the PostgreSQL that is started here.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub postgres_set: Vec<(String, String)>,
    /// A Kafka that runs.
    #[arg(long, value_name = "HOST:PORT")]
    pub kafka: Option<String>,
    /// The jars of Apache Kafka 3.3 or later: a broker is started here [env: KAFKA_HOME].
    #[arg(long, value_name = "DIR")]
    pub kafka_home: Option<PathBuf>,
    /// The process of the --kafka that runs, if it is on this machine: for its CPU time.
    #[arg(long, value_name = "PID")]
    pub kafka_pid: Option<u32>,
    /// A worker's file: how Kafka is reached, and whatever else.
    #[arg(long, value_name = "FILE")]
    pub worker: Option<PathBuf>,
    /// A schema registry; without it, one is embedded here.
    #[arg(long, value_name = "URL")]
    pub registry: Option<String>,
    /// Who runs beside penstock.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub against: Vec<Contestant>,
    /// A folder `plugin` with the jars of Debezium's connector and AvroConverter, and perhaps a
    /// folder `log` with a binding for its log.
    #[arg(long, value_name = "DIR")]
    pub debezium: Option<PathBuf>,
    /// The most heap that Kafka Connect may have.
    #[arg(long, value_name = "SIZE", default_value = "2g")]
    pub heap: String,
    /// What is measured.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "figure")]
    pub suite: Vec<Suite>,
    /// The load of suite `scenario`, as `penstock load` takes it: "bike-store -t 100000".
    #[arg(long, value_name = "WORDS", default_value = "bike-store -t 100000")]
    pub scenario: String,
    /// Rows of a large load; others follow from it.
    #[arg(long, value_name = "N", default_value_t = 5_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub rows: u64,
    /// Pairs that count; one before them warms up.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub pairs: u32,
    /// Leave out the pair that warms up.
    #[arg(long)]
    pub no_warm_up: bool,
    /// Transactions a second, for latency.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1000")]
    pub rate: Vec<f64>,
    /// How long latency is measured, and rest.
    #[arg(long, value_name = "SECONDS", default_value_t = 20.0)]
    pub duration: f64,
    /// A pair counts if others used at most this share of the machine.
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    pub others_max: f64,
    /// How keys and values are written.
    #[arg(long, value_enum, default_value = "avro")]
    pub converters: Converters,
    /// A property of penstock's connector.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub set: Vec<(String, String)>,
    /// A property of Debezium's connector.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub set_debezium: Vec<(String, String)>,
    /// Do not compare what was read with the tables: figures are marked.
    #[arg(long)]
    pub no_check: bool,
    /// Write DATE-SUITE.csv there.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Write a page with plots.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Where servers that are started here keep their files.
    #[arg(long, value_name = "DIR")]
    pub scratch: Option<PathBuf>,
}

/// Seconds of a latency run that do not count.
const WARM: f64 = 3.0;
/// How long a contestant stays away in a restart.
const AWAY: Duration = Duration::from_secs(5);
/// What is read is fresh again.
const FRESH: Duration = Duration::from_millis(250);

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn failed(what: impl Into<String>) -> Report {
    Report::new(Exit::Internal, what)
}

/// Measures, tells, and clears up.
///
/// # Errors
///
/// A server is missing or does not start; a contestant fails; what was read is not what was
/// written.
pub async fn run(arguments: &Arguments) -> Result<(), Report> {
    let (_stop, mut shutdown) = signal::shutdown()?;
    let mut stage = Stage::open(arguments.scratch.as_deref())?;
    let settings: Vec<String> = arguments
        .postgres_set
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let programs = arguments.postgres_bin.as_deref();
    let mut postgres = Postgres::find(&mut stage, &arguments.address, programs, &settings).await?;
    let kafka = kafka(arguments, &mut stage).await?;
    let registry = match arguments.registry {
        Some(_) => None,
        None => {
            let options = RegistryOptions {
                listen: ([127, 0, 0, 1], 0).into(),
                data_dir: None,
            };
            let started = Registry::start(options).await;
            Some(started.map_err(|error| failed("no registry").because("it says", error))?)
        }
    };
    let url = match (&arguments.registry, &registry) {
        (Some(url), _) => url.clone(),
        (None, Some(registry)) => registry.url(),
        (None, None) => String::new(),
    };
    let (client, backend) = own_database(&mut postgres).await?;
    let postmaster = postgres.postmaster(backend);
    let worker = match &arguments.worker {
        Some(path) => read_worker(path)?,
        None => Properties::new(),
    };
    let ring = Ring {
        postgres,
        kafka,
        registry: url,
        converters: arguments.converters,
        worker,
        own: arguments.set.clone(),
        theirs: arguments.set_debezium.clone(),
        debezium: arguments.debezium.clone(),
        heap: arguments.heap.clone(),
    };
    let mut bench = Bench {
        stage,
        ring,
        client,
        postmaster,
        run: 0,
    };
    let mut record = Record {
        machine: stage::machine(),
        versions: versions(&bench, arguments),
        command: command(),
        date: date(net::now_unix_us()),
        samples: Vec::new(),
    };
    tell(&format!("{}\n{}\n", record.machine, record.versions));
    let measured = tokio::select! {
        measured = measure(arguments, &mut bench, &mut record) => measured,
        _ = shutdown.wait_for(|stop| *stop) => Ok(()),
    };
    let written = write(arguments, &record);
    clear_up(&mut bench).await;
    if let Some(registry) = registry {
        registry.shutdown().await;
    }
    measured.and(written)
}

async fn kafka(arguments: &Arguments, stage: &mut Stage) -> Result<Kafka, Report> {
    let env = std::env::var_os("KAFKA_HOME").map(PathBuf::from);
    let jars = arguments.kafka_home.clone().or(env);
    if let Some(bootstrap) = &arguments.kafka {
        return Ok(Kafka::at(bootstrap.clone(), jars, arguments.kafka_pid));
    }
    if let Some(path) = &arguments.worker {
        let worker = read_worker(path)?;
        if let Some(bootstrap) = worker.get("bootstrap.servers") {
            return Ok(Kafka::at(bootstrap.to_owned(), jars, arguments.kafka_pid));
        }
    }
    match jars {
        Some(jars) => Kafka::start(stage, jars).await,
        None => Err(Report::new(Exit::Usage, "no Kafka to measure with").remedy(
            "point at one (--kafka HOST:PORT), or at its jars (--kafka-home DIR): then one is \
             started here, with the java on PATH",
        )),
    }
}

fn read_worker(path: &Path) -> Result<Properties, Report> {
    let refused = |why: String| {
        Report::new(
            Exit::Configuration,
            format!("cannot read {}", path.display()),
        )
        .with(why)
    };
    let bytes = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
    Properties::parse(&bytes).map_err(|error| refused(error.to_string()))
}

/// Makes our database and goes there; the process that serves us.
async fn own_database(postgres: &mut Postgres) -> Result<(Client, u32), Report> {
    let refused = |error: crate::capture::error::PgError| {
        let report = Report::new(Exit::Postgres, "cannot use PostgreSQL");
        let report = report.with(format!("{}: {}", error.target, error.fault));
        match error.remedy() {
            Some(remedy) => report.remedy(remedy),
            None => report,
        }
    };
    let source = postgres.server.source()?;
    let client = Client::connect(&source, Purpose::Query, "penstock bench").await;
    let mut client = client.map_err(refused)?;
    let level = client.scalar("SHOW wal_level").await.map_err(refused)?;
    if level != "logical" {
        let what = format!("this PostgreSQL has wal_level={level}");
        return Err(
            Report::new(Exit::Postgres, what).remedy("set wal_level=logical, and restart it")
        );
    }
    let slots = format!(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
         WHERE database = '{DATABASE}' AND NOT active"
    );
    for sql in [
        slots.as_str(),
        &format!("DROP DATABASE IF EXISTS {DATABASE}"),
        &format!("CREATE DATABASE {DATABASE}"),
    ] {
        client.simple_query(sql).await.map_err(refused)?;
    }
    client.close().await;
    for server in [Some(&mut postgres.server), postgres.socket.as_mut()]
        .into_iter()
        .flatten()
    {
        DATABASE.clone_into(&mut server.database);
    }
    let source = postgres.server.source()?;
    let client = Client::connect(&source, Purpose::Query, "penstock bench").await;
    let mut client = client.map_err(refused)?;
    let backend = client
        .scalar("SELECT pg_backend_pid()")
        .await
        .map_err(refused)?;
    Ok((client, backend.parse().unwrap_or(0)))
}

async fn clear_up(bench: &mut Bench) {
    // What is left on a server of ours goes with it; on another, slots must not stay.
    let slots = format!(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots \
         WHERE database = '{DATABASE}' AND active_pid IS NOT NULL"
    );
    let _ = bench.sql(&slots).await;
    let rows = bench
        .sql(&format!(
            "SELECT slot_name FROM pg_replication_slots WHERE database = '{DATABASE}'"
        ))
        .await;
    for slot in rows.unwrap_or_default().into_iter().flatten().flatten() {
        let _ = bench.drop_slot(&slot).await;
    }
    let _ = bench
        .sql(&format!("DROP PUBLICATION IF EXISTS {PUBLICATION}"))
        .await;
    let mut server = bench.ring.postgres.server.clone();
    "postgres".clone_into(&mut server.database);
    if let Ok(source) = server.source()
        && let Ok(mut client) = Client::connect(&source, Purpose::Query, "penstock bench").await
    {
        let end = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{DATABASE}'"
        );
        let _ = client.simple_query(&end).await;
        let _ = client
            .simple_query(&format!("DROP DATABASE IF EXISTS {DATABASE}"))
            .await;
    }
    bench.ring.kafka.stop().await;
    bench.ring.postgres.stop().await;
}

async fn measure(
    arguments: &Arguments,
    bench: &mut Bench,
    record: &mut Record,
) -> Result<(), Report> {
    let scenario: Vec<String> = arguments
        .scenario
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    let mut cases = Vec::new();
    for suite in &arguments.suite {
        cases.extend(suite.cases(arguments.rows, &arguments.rate, &scenario));
    }
    let mut laid: Option<(Vec<String>, Wanted, Laid)> = None;
    for case in &cases {
        tell(&format!(
            "{} · {}: {}\n",
            case.suite,
            case.name,
            case.load.join(" ")
        ));
        if case.socket && bench.ring.postgres.socket.is_none() {
            tell("  there is no Unix socket to try\n");
            continue;
        }
        let lying = match case.kind {
            Kind::Drain | Kind::Snapshot => {
                let known = laid
                    .take()
                    .filter(|(load, wanted, _)| *load == case.load && *wanted == case.wanted);
                let known = match known {
                    Some((_, _, known)) => known,
                    None => lay(bench, case).await?,
                };
                laid = Some((case.load.clone(), case.wanted, known.clone()));
                Some(known)
            }
            _ => {
                // What follows makes the tables anew.
                laid = None;
                None
            }
        };
        let tables = match &lying {
            Some(laid) => laid.tables.clone(),
            None => bench.prepare(&case.load).await?,
        };
        pairs(arguments, bench, record, case, lying.as_ref(), &tables).await?;
        for ratios in record.ratios(case) {
            let kept = ratios.kept.len();
            let other = ratios.other.name();
            tell(&match ratios.median() {
                Some(median) => format!(
                    "  penstock / {other}: {median:.2}, the median of {kept} of {} pairs ({})\n",
                    ratios.pairs,
                    ratios
                        .kept
                        .iter()
                        .map(|it| format!("{it:.2}"))
                        .collect::<Vec<_>>()
                        .join(" ")
                ),
                None => format!("  penstock / {other}: no pair counts\n"),
            });
        }
        write(arguments, record)?;
    }
    Ok(())
}

async fn lay(bench: &mut Bench, case: &Case) -> Result<Laid, Report> {
    let first = |table: &str| table.ends_with("_0001");
    let laid = match case.wanted {
        Wanted::All => bench.lay(&case.load, |_| true, None).await?,
        Wanted::First => bench.lay(&case.load, first, None).await?,
        Wanted::FirstPublished => {
            let only = Some("penstock_load.many_0001");
            bench.lay(&case.load, first, only).await?
        }
    };
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let per = |count: u64| count as f64;
    let records: u64 = laid.records.iter().sum();
    tell(&format!(
        "  laid {records} records, {:.1} bytes each on PostgreSQL's wire, at {:.0} rows/s\n",
        per(laid.wire_bytes) / per(records.max(1)),
        laid.outcome["rows_per_second"].as_f64().unwrap_or(0.0)
    ));
    Ok(laid)
}

/// Runs all contestants in turn, until there are enough undisturbed pairs, or twice as many.
async fn pairs(
    arguments: &Arguments,
    bench: &mut Bench,
    record: &mut Record,
    case: &Case,
    laid: Option<&Laid>,
    tables: &[String],
) -> Result<(), Report> {
    let mut everybody = vec![Contestant::Penstock];
    for other in &arguments.against {
        let drains = matches!(case.kind, Kind::Drain);
        if !everybody.contains(other) && (other.produces() || drains) {
            everybody.push(*other);
        }
    }
    let first = u32::from(arguments.no_warm_up);
    let (mut kept, mut pair) = (0, first);
    let most = arguments.pairs.saturating_mul(2).saturating_add(1);
    while kept < arguments.pairs && pair < most + first {
        if pair % 2 == 1 {
            everybody.reverse();
        }
        let mut samples = Vec::new();
        for who in &everybody {
            let figure = one(arguments, bench, case, *who, laid, tables).await?;
            let wrong = figure.wrong.clone();
            samples.push(Sample {
                case: case.clone(),
                who: *who,
                pair,
                void: wrong.map(|wrong| format!("wrong: {wrong}")),
                figure,
            });
        }
        if pair % 2 == 1 {
            everybody.reverse();
        }
        let others = samples
            .iter()
            .map(|it| it.figure.others)
            .fold(0.0, f64::max);
        for sample in &mut samples {
            if pair == 0 {
                sample.void.get_or_insert_with(|| "warm-up".to_owned());
            } else if others > arguments.others_max {
                let share = others * 100.0;
                sample.void.get_or_insert_with(|| {
                    format!("disturbed: others used {share:.0} % of the machine in this pair")
                });
            }
            tell(&format!("{:2}{}\n", sample.pair, sample.line()));
        }
        kept += u32::from(samples.iter().all(Sample::counts));
        let wrong = samples
            .iter()
            .find_map(|sample| sample.figure.wrong.clone());
        let who = samples.iter().find(|sample| sample.figure.wrong.is_some());
        let ours = who.is_some_and(|sample| sample.who == Contestant::Penstock);
        record.samples.extend(samples);
        if let (Some(wrong), true) = (wrong, ours) {
            return Err(
                Report::new(Exit::Data, "what was read is not what was written")
                    .with(wrong)
                    .remedy("this is a bug: please report it, with the command line"),
            );
        }
        pair += 1;
    }
    Ok(())
}

async fn one(
    arguments: &Arguments,
    bench: &mut Bench,
    case: &Case,
    who: Contestant,
    laid: Option<&Laid>,
    tables: &[String],
) -> Result<Figure, Report> {
    let how = How {
        socket: case.socket,
        partitions: case.partitions,
        more: case.more.clone(),
        check: !arguments.no_check,
    };
    let seconds = Duration::from_secs_f64(arguments.duration.max(1.0));
    match (case.kind, laid) {
        (Kind::Drain, Some(laid)) => bench.drain(who, laid, &how).await,
        (Kind::Snapshot, Some(laid)) => bench.snapshot(who, laid, &how).await,
        (Kind::Latency(rate), _) => {
            let times = (rate, arguments.duration, WARM.min(arguments.duration));
            bench.latency(who, tables, &case.load, times, &how).await
        }
        (Kind::Restart(rate), _) => {
            let times = (rate, AWAY, FRESH);
            bench.restart(who, tables, &case.load, times, &how).await
        }
        _ => bench.rest(who, tables, seconds, &how).await,
    }
}

/// Who takes part, and what serves them.
fn versions(bench: &Bench, arguments: &Arguments) -> String {
    let postgres = bench.client.parameter("server_version").unwrap_or_default();
    let postgres = postgres.split(' ').next().unwrap_or_default();
    let kafka = bench.ring.kafka.version().unwrap_or_default();
    let mut text = format!(
        "penstock {}, PostgreSQL {postgres}, Apache Kafka {kafka}, {} converters",
        env!("CARGO_PKG_VERSION"),
        arguments
            .converters
            .to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    );
    let plugin = arguments
        .debezium
        .as_ref()
        .map(|it| it.join("plugin/connector"));
    let entries = plugin
        .and_then(|it| std::fs::read_dir(it).ok())
        .into_iter()
        .flatten();
    let names = entries
        .flatten()
        .filter_map(|it| it.file_name().into_string().ok());
    for name in names {
        let version = name.strip_prefix("debezium-connector-postgres-");
        if let Some(version) = version.and_then(|it| it.strip_suffix(".jar")) {
            text += &format!(", Debezium {version}, heap {}", arguments.heap);
        }
    }
    text
}

/// The command line, without a password.
fn command() -> String {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    for at in 0..words.len() {
        if words[at] == "--password" && at + 1 < words.len() {
            "…".clone_into(&mut words[at + 1]);
        } else if words[at].starts_with("--password=") || words[at].contains("://") {
            "…".clone_into(&mut words[at]);
        }
    }
    format!("penstock {}", words.join(" "))
}

/// `2026-11-23 05:20 UTC`
fn date(unix_us: i64) -> String {
    let minutes = unix_us.div_euclid(60_000_000);
    let (days, minute) = (minutes.div_euclid(1_440), minutes.rem_euclid(1_440));
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year}-{month:02}-{day:02} {:02}:{:02} UTC",
        minute / 60,
        minute % 60
    )
}

/// Writes what there is so far.
fn write(arguments: &Arguments, record: &Record) -> Result<(), Report> {
    if record.samples.is_empty() {
        return Ok(());
    }
    let refused = |path: &Path, error: std::io::Error| {
        failed(format!("cannot write {}", path.display())).with(error.to_string())
    };
    if let Some(directory) = &arguments.out {
        let suites: Vec<&str> = arguments.suite.iter().map(|suite| suite.name()).collect();
        let day = record.date.split(' ').next().unwrap_or_default();
        let path = directory.join(format!("{day}-{}.csv", suites.join("-")));
        std::fs::create_dir_all(directory).map_err(|error| refused(directory, error))?;
        std::fs::write(&path, record.csv()).map_err(|error| refused(&path, error))?;
    }
    if let Some(path) = &arguments.report {
        std::fs::write(path, record.html()).map_err(|error| refused(path, error))?;
    }
    Ok(())
}

fn tell(text: &str) {
    // A closed stream is no reason to fail.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    let _ = std::io::stdout().lock().flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_names() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(1_795_411_259_999_999), "2026-11-23 05:20 UTC");
        assert_eq!(date(1_709_164_800_000_000), "2024-02-29 00:00 UTC");
    }
}
