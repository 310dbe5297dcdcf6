//! `penstock load`: a PostgreSQL is kept busy, for whoever must know what their pipe will bear.
//!
//! ```text
//!   scenario   tables, statements, the n-th transaction of a seed
//!     drive      connections, pipelined; a rate, or as fast as it goes
//!       outcome    a table, JSON, CSV
//! ```
//!
//! It writes into a schema of its own, which says so in its comment, and touches nothing else.

pub mod drive;
pub mod outcome;
pub mod scenario;

use std::cell::RefCell;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use self::drive::{CopyRows, Course, Run};
use self::outcome::{Format, Outcome, in_ms};
use self::scenario::{Plan, Scenario, Shape};
use super::exit::{Exit, Report};
use super::server::{Address, Server};
use super::{proc, signal};
use crate::capture::client::{Client, Purpose};
use crate::capture::error::PgError;
use crate::config::Source;

/// Keep a PostgreSQL busy: transactions of a known kind, at a rate or as fast as it takes them.
///
/// Prepared statements are pipelined over a few connections, on one thread. The tables are in a
/// schema of its own, made where it is missing; nothing else is touched. The same --seed makes the
/// same data.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  penstock load one-row -H db.example.org -U app -d shop --duration 60
  penstock load bike-store --rate 2000 --duration 300     latency at a steady rate
  penstock load insert --rows 5000000 --rows-per-transaction 50000
  penstock load update --connector connector.properties --output json
  penstock load bike-store --clean                        drops the schema, and stops")]
pub struct Arguments {
    /// What to do.
    #[arg(value_enum)]
    pub scenario: Scenario,
    /// PostgreSQL, and a user who may create a schema.
    #[command(flatten)]
    pub address: Address,
    /// Transactions a second, begun on time whatever became of the last ones; latency counts from
    /// then. Without it: as many as the server takes.
    #[arg(short, long, value_name = "N", value_parser = positive)]
    pub rate: Option<f64>,
    /// Connections.
    #[arg(short, long, value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: u32,
    /// Transactions in flight on each connection; 1 waits for each answer, as most programs do.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub pipeline: Option<u32>,
    /// Rows of one transaction, where the scenario leaves it open.
    #[arg(short = 'k', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub rows_per_transaction: Option<u64>,
    /// Stop after so long; 10 s unless --rows or --transactions say when.
    #[arg(short = 'T', long, value_name = "SECONDS", value_parser = positive)]
    pub duration: Option<f64>,
    /// Stop after so many rows.
    #[arg(long, value_name = "N")]
    pub rows: Option<u64>,
    /// Stop after so many transactions.
    #[arg(short = 't', long, value_name = "N")]
    pub transactions: Option<u64>,
    /// What values and choices are drawn from.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Insert by COPY, a COPY for each transaction.
    #[arg(long)]
    pub copy: bool,
    /// Rows that update, delete, upsert and toast find there; made where they are missing.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub fill: u64,
    /// Tables of many-tables.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=99_999))]
    pub tables: u64,
    /// Columns of wide.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(2..=1_000))]
    pub columns: u64,
    /// Bytes of the text in each row; toast: of the value out of line, 10000 unless said.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub value_bytes: Option<u32>,
    /// REPLICA IDENTITY FULL: the server logs whole old rows.
    #[arg(long)]
    pub identity_full: bool,
    /// The schema that the tables are in.
    #[arg(long, value_name = "NAME", default_value = "penstock_load", value_parser = plain_name)]
    pub schema: String,
    /// Make the tables and fill them, and stop.
    #[arg(long, conflicts_with = "clean")]
    pub prepare: bool,
    /// Drop the schema, if it is ours, and stop.
    #[arg(long)]
    pub clean: bool,
    /// Drop the schema first, if it is ours: every run begins the same.
    #[arg(long, conflicts_with = "clean")]
    pub fresh: bool,
    /// How the outcome is written.
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Format,
    /// No progress on stderr.
    #[arg(short, long)]
    pub quiet: bool,
}

/// What the comment of a schema of ours says.
const OURS: &str = "made by penstock load";
/// Rows of one COPY that fills a table.
const FILL_ROWS: i64 = 50_000;
/// How often progress is told, on a terminal and elsewhere.
const FRAME: Duration = Duration::from_millis(200);
const LINE: Duration = Duration::from_secs(10);

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.001..=10_000_000.0).contains(&number) => Ok(number),
        _ => Err("a number above 0".to_owned()),
    }
}

fn plain_name(text: &str) -> Result<String, String> {
    let mut letters = text.chars();
    let first = letters
        .next()
        .is_some_and(|letter| letter.is_ascii_lowercase());
    let rest = letters.all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_');
    match first && rest && text.len() < 40 {
        true => Ok(text.to_owned()),
        false => Err("letters a to z, digits and _ only, a letter first".to_owned()),
    }
}

/// Makes the tables, runs the load, tells what came of it.
///
/// # Errors
///
/// PostgreSQL cannot be reached or refuses; the schema is somebody else's.
pub async fn run(arguments: &Arguments) -> Result<(), Report> {
    let server = Server::find(&arguments.address, |name| std::env::var(name).ok());
    let server = server.map_err(|what| Report::new(Exit::Usage, what))?;
    let source = server.source()?;
    let mut plan = Plan::new(arguments.scenario, arguments.shape());
    if arguments.copy && !plan.copies() {
        let what = format!("{} cannot be copied in", arguments.scenario.name());
        return Err(Report::new(Exit::Usage, what).remedy("leave out --copy"));
    }
    let client = Client::connect(&source, Purpose::Query, drive::APPLICATION).await;
    let mut client = client.map_err(|error| report("cannot use PostgreSQL", &error))?;
    if arguments.clean || arguments.fresh {
        drop_schema(&mut client, &arguments.schema).await?;
    }
    if arguments.clean {
        return Ok(());
    }
    prepare(&mut client, &mut plan, arguments).await?;
    client.close().await;
    if arguments.prepare {
        return Ok(());
    }
    let outcome = load(arguments, &source, plan).await?;
    let text = outcome.text(arguments.output);
    // A closed stream is no reason to fail.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(())
}

impl Arguments {
    fn shape(&self) -> Shape {
        Shape {
            schema: self.schema.clone(),
            seed: self.seed,
            rows_per_transaction: self.rows_per_transaction,
            tables: self.tables,
            columns: self.columns,
            value_bytes: self.value_bytes,
            fill: self.fill,
            identity_full: self.identity_full,
        }
    }

    /// So many that the server never waits for us, and few where each holds much.
    fn pipeline(&self, plan: &Plan) -> usize {
        let usual = match (self.scenario, plan.rows_per_transaction()) {
            (Scenario::Ddl, _) => 8,
            (_, 1) => 4096,
            (_, 2..=10) => 512,
            (_, 11..=1_000) => 16,
            _ => 2,
        };
        self.pipeline
            .map_or(usual, |depth| usize::try_from(depth).unwrap_or(usual))
    }
}

/// Drops the schema where it is ours; no harm where there is none.
async fn drop_schema(client: &mut Client, schema: &str) -> Result<(), Report> {
    if own_schema(client, schema).await? {
        let drop = format!("DROP SCHEMA {schema} CASCADE");
        let dropped = client.simple_query(&drop).await;
        dropped.map_err(|error| report("cannot drop our schema", &error))?;
    }
    Ok(())
}

/// Whether the schema is there, and ours.
async fn own_schema(client: &mut Client, schema: &str) -> Result<bool, Report> {
    let query = format!(
        "SELECT coalesce(obj_description(oid, 'pg_namespace'), '') FROM pg_namespace \
         WHERE nspname = '{schema}'"
    );
    let rows = client.simple_query(&query).await;
    let rows = rows.map_err(|error| report("cannot use PostgreSQL", &error))?;
    match rows.into_iter().flatten().flatten().next() {
        None => Ok(false),
        Some(comment) if comment == OURS => Ok(true),
        Some(_) => Err(Report::new(
            Exit::Configuration,
            format!("schema {schema} is there, and not ours"),
        )
        .with(format!("its comment is not \"{OURS}\""))
        .remedy("name another one with --schema")),
    }
}

/// Makes and fills what is missing; then the plan goes on behind what is there.
async fn prepare(
    client: &mut Client,
    plan: &mut Plan,
    arguments: &Arguments,
) -> Result<(), Report> {
    let schema = &arguments.schema;
    let refused = |error: PgError| report("cannot make the tables", &error);
    if !own_schema(client, schema).await? {
        let make = format!("CREATE SCHEMA {schema}; COMMENT ON SCHEMA {schema} IS '{OURS}'");
        client.simple_query(&make).await.map_err(refused)?;
    }
    let tables = plan.tables();
    let there = format!("SELECT to_regclass('{}') IS NOT NULL", tables[0].name);
    let there = client.scalar(&there).await.map_err(refused)? == "t";
    // The store's script makes all of it, or nothing.
    let stands = there && arguments.scenario == Scenario::BikeStore;
    for statement in plan.make().iter().skip(usize::from(stands)) {
        client.simple_query(statement).await.map_err(refused)?;
    }
    let mut highest = Vec::new();
    for table in &tables {
        let (name, id) = (&table.name, table.id);
        let query = format!("SELECT coalesce(max({id}), 0) FROM {name}");
        let found = client.scalar(&query).await.map_err(refused)?;
        let mut found: i64 = found.parse().unwrap_or(0);
        let wanted = table.fill.cast_signed();
        let bar = (found < wanted).then(|| bar(arguments.quiet));
        while found < wanted {
            let last = wanted.min(found + FILL_ROWS);
            let mut rows = CopyRows::default();
            let mut values = Vec::new();
            for id in found + 1..=last {
                values.clear();
                plan.row(id, &mut values);
                rows.row(&values);
            }
            let filled = drive::fill(client, &plan.copy(table), rows).await;
            filled.map_err(refused)?;
            found = last;
            if let Some(bar) = &bar {
                bar.set_message(format!("{name}: {found} of {wanted} rows"));
                bar.tick();
            }
        }
        if let Some(bar) = bar {
            bar.finish_and_clear();
            let analyze = format!("ANALYZE {name}");
            client.simple_query(&analyze).await.map_err(refused)?;
        }
        highest.push(found);
    }
    plan.resume(highest);
    Ok(())
}

async fn load(arguments: &Arguments, source: &Source, plan: Plan) -> Result<Outcome, Report> {
    let (_stop, shutdown) = signal::shutdown()?;
    let unbounded = arguments.rows.is_none() && arguments.transactions.is_none();
    let seconds = arguments.duration.or_else(|| unbounded.then_some(10.0));
    let connections = usize::try_from(arguments.connections).unwrap_or(1);
    let (pipeline, rows) = (arguments.pipeline(&plan), plan.rows_per_transaction());
    let most = arguments.transactions.unwrap_or(u64::MAX);
    let course = Course {
        rate: arguments.rate,
        pipeline,
        copy: arguments.copy,
        duration: seconds.map(Duration::from_secs_f64),
        transactions_max: most.min(plan.transactions_max()),
        rows_max: arguments.rows.unwrap_or(u64::MAX),
        plan,
    };
    let run = RefCell::new(Run::new(course));
    let before = proc::own_cpu();
    let driven = {
        let drive = drive::drive(&run, source, connections, shutdown);
        let tell = tell(&run, arguments);
        tokio::pin!(drive);
        tokio::select! {
            driven = &mut drive => driven,
            never = tell => match never {},
        }
    };
    driven.map_err(|error| report("the load was refused", &error))?;
    let run = run.borrow();
    let (tally, took) = run.so_far();
    Ok(Outcome {
        scenario: arguments.scenario.name(),
        connections,
        pipeline,
        rate: arguments.rate,
        rows_per_transaction: rows,
        seed: arguments.seed,
        took,
        cpu: proc::own_cpu().saturating_sub(before),
        tally: tally.clone(),
    })
}

/// Progress on stderr, for as long as it is polled.
async fn tell(run: &RefCell<Run>, arguments: &Arguments) -> std::convert::Infallible {
    if arguments.quiet {
        std::future::pending::<()>().await;
    }
    let bar = bar(false);
    let terminal = std::io::stderr().is_terminal();
    let pause = if terminal { FRAME } else { LINE };
    let (mut last, mut last_at) = ((0, 0), Duration::ZERO);
    loop {
        tokio::time::sleep(pause).await;
        let run = run.borrow();
        let (tally, passed) = run.so_far();
        let since = (passed - last_at).as_secs_f64().max(1e-9);
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / since;
        let failed: u64 = tally.errors.values().map(|(count, _)| count).sum();
        let p99 = tally
            .latencies
            .quantile(0.99)
            .map_or_else(String::new, in_ms);
        let line = format!(
            "{:4.0} s  {:9.0} transactions/s  {:9.0} rows/s  p99 {p99}  {failed} failed",
            passed.as_secs_f64(),
            rate(tally.transactions, last.0),
            rate(tally.rows, last.1),
        );
        if terminal {
            bar.set_message(line);
            bar.tick();
        } else {
            let _ = writeln!(std::io::stderr().lock(), "{line}");
        }
        // A frame is too short a time for a steady figure.
        if passed - last_at >= Duration::from_secs(1) || !terminal {
            last = (tally.transactions, tally.rows);
            last_at = passed;
        }
    }
}

/// A line that is drawn over, on a terminal.
fn bar(quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        bar.set_style(style);
    }
    bar
}

fn report(what: &str, error: &PgError) -> Report {
    let report =
        Report::new(Exit::Postgres, what).with(format!("{}: {}", error.target, error.fault));
    match error.remedy() {
        Some(remedy) => report.remedy(remedy),
        None => report,
    }
}
