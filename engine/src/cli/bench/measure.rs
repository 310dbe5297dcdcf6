//! One measurement each: a drain, a snapshot, latency at a rate, rest, a start, a restart.

use std::process::Command;
use std::time::Duration;

use avro::prefix;
use kafkawire::batch::BATCH_BYTES_MAX;
use pgwire::backend::Event;
use pgwire::lsn::Lsn;
use pgwire::pgoutput::Message;
use pgwire::replication::{Replication, StandbyStatusUpdate, start};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::check::{Compared, Contents, PlayBack, Values};
use super::contestant::{Contestant, Converters, Job, PUBLICATION, Ring};
use super::failed;
use super::stage::{Running, Stage};
use crate::capture::client::{Client, Purpose};
use crate::cli::exit::Report;
use crate::cli::latency::Latencies;
use crate::cli::proc;
use crate::config::{Config, Converter};
use crate::encode::registry::RegistryClient;
use crate::net;
use crate::produce::{Consumer, Isolation, create_topics, delete_topics, last_value};

/// What waits for the broker at most before others have a look.
const FETCH_WAIT: Duration = Duration::from_millis(20);
/// So long nothing may come.
const SILENCE_MAX: Duration = Duration::from_secs(180);
/// How often the end of what is readable is asked for.
const LOOK: Duration = Duration::from_millis(20);
/// So long it stands still before it is believed.
const STILL: Duration = Duration::from_millis(200);
/// So long a contestant that is behind may rest.
const QUIET: Duration = Duration::from_secs(30);
/// Between two points of a curve.
const POINT: Duration = Duration::from_millis(100);
/// Until the postmaster has taken account of a walsender that has ended.
const REAPED: Duration = Duration::from_millis(300);
/// How long a walsender may take to let go of a slot.
const LET_GO: Duration = Duration::from_secs(30);

/// Everything a measurement needs.
#[derive(Debug)]
pub struct Bench {
    /// Our processes and files.
    pub stage: Stage,
    /// The servers.
    pub ring: Ring,
    /// Our own connection.
    pub client: Client,
    /// The postmaster, where it runs here.
    pub postmaster: Option<u32>,
    /// Counts runs, for names.
    pub run: u32,
}

/// A load that lies in the WAL, behind a slot that nobody reads.
#[derive(Debug, Clone)]
pub struct Laid {
    /// The tables that were written.
    pub tables: Vec<String>,
    /// What each holds.
    pub contents: Vec<(Compared, Contents)>,
    /// Where the WAL ends.
    pub end: Lsn,
    /// Records in Kafka that come of it, by table.
    pub records: Vec<u64>,
    /// By table: whether the load touched every row, so that the topic leaves what the table holds.
    pub whole: Vec<bool>,
    /// Bytes that the walsender sends for it, in binary where it can.
    pub wire_bytes: u64,
    /// What `penstock load` said of it.
    pub outcome: Value,
}

/// What a run cost, and whether it counts.
#[derive(Debug, Clone, Default)]
pub struct Figure {
    /// Rows, which here are records.
    pub rows: u64,
    /// From the start of the process to the last record readable, or its end.
    pub wall: Duration,
    /// From the start of the process to the first record readable.
    pub first: Option<Duration>,
    /// CPU seconds of the contestant.
    pub tool_cpu: f64,
    /// CPU seconds of the walsender, or of the backend that copies.
    pub sender_cpu: f64,
    /// CPU seconds of the broker.
    pub broker_cpu: Option<f64>,
    /// The highest resident memory of the contestant, KiB.
    pub peak_kib: u64,
    /// The resident memory at the end, KiB.
    pub rss_kib: u64,
    /// The share of the machine that others used.
    pub others: f64,
    /// Bytes of record batches.
    pub kafka_bytes: u64,
    /// Bytes that the walsender sent.
    pub wire_bytes: Option<u64>,
    /// Seconds since the start, and records readable by then.
    pub curve: Vec<(f64, u64)>,
    /// From commit to readable.
    pub latencies: Option<Latencies>,
    /// What is wrong with what was read; none: count and sums are right.
    pub wrong: Option<String>,
}

impl Figure {
    /// What the contestant has used so far; one that has ended keeps what was noted last.
    fn note(&mut self, pid: u32) {
        self.tool_cpu = self.tool_cpu.max(proc::cpu(pid));
        let (now, most) = proc::memory_kib(pid);
        if most > 0 {
            (self.rss_kib, self.peak_kib) = (now, most);
        }
    }
}

/// What all had used when a clock began.
struct Account {
    broker: f64,
    postgres: f64,
    us: f64,
    machine: (f64, f64),
    start: Instant,
}

impl Bench {
    /// Runs SQL on our own connection.
    ///
    /// Errors: what PostgreSQL said.
    pub async fn sql(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, Report> {
        let answer = self.client.simple_query(sql).await;
        answer.map_err(|error| failed("PostgreSQL refuses").with(error.to_string()))
    }

    async fn value(&mut self, sql: &str) -> Result<String, Report> {
        let rows = self.sql(sql).await?;
        let value = rows.into_iter().flatten().flatten().next();
        Ok(value.unwrap_or_default())
    }

    /// `penstock load` with these words, to its end; what it said.
    ///
    /// Errors: what it complained of.
    pub async fn load(&mut self, words: &[String]) -> Result<Value, Report> {
        let mut command = self.load_command(words)?;
        let out = self.stage.directory.join("load.json");
        let _ = std::fs::remove_file(&out);
        let mut running = self.stage.spawn(&mut command, "load.json")?;
        self.finished(&mut running).await
    }

    async fn finished(&mut self, running: &mut Running) -> Result<Value, Report> {
        loop {
            match running.ended() {
                Some(status) if status.success() => break,
                Some(_) => return Err(failed("the load fails").with(running.said())),
                None => tokio::time::sleep(FETCH_WAIT).await,
            }
        }
        let said = running.said();
        let json = said
            .lines()
            .find(|line| line.starts_with('{'))
            .unwrap_or("null");
        Ok(serde_json::from_str(json).unwrap_or(Value::Null))
    }

    fn load_command(&self, words: &[String]) -> Result<Command, Report> {
        let binary = std::env::current_exe();
        let binary = binary.map_err(|error| failed("where are we?").with(error.to_string()))?;
        let server = self.ring.server(false);
        let mut command = Command::new(binary);
        command
            .arg("load")
            .args(words)
            .args(["--quiet", "--output", "json"]);
        command.args(["-H", &server.host, "-p", &server.port.to_string()]);
        command.args(["-U", &server.user, "-d", &server.database]);
        if let Some(password) = &server.password {
            command.env("PGPASSWORD", password);
        }
        for name in ["PGHOST", "PGPORT", "PGUSER", "PGDATABASE"] {
            command.env_remove(name);
        }
        Ok(command)
    }

    /// Makes the load's tables new, and the publication.
    ///
    /// Errors: PostgreSQL refuses.
    pub async fn prepare(&mut self, words: &[String]) -> Result<Vec<String>, Report> {
        let more = ["--fresh", "--prepare"].map(str::to_owned);
        self.load(&[words, &more].concat()).await?;
        let tables = self
            .sql(
                "SELECT n.nspname || '.' || c.relname FROM pg_class c \
                 JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname = 'penstock_load' AND c.relkind IN ('r', 'p') ORDER BY 1",
            )
            .await?;
        self.publish(None).await?;
        Ok(tables.into_iter().flatten().flatten().collect())
    }

    /// The publication: of all tables, or of some.
    ///
    /// Errors: PostgreSQL refuses.
    pub async fn publish(&mut self, some: Option<&str>) -> Result<(), Report> {
        let what = match some {
            None => "ALL TABLES".to_owned(),
            Some(tables) => format!("TABLE {tables}"),
        };
        self.sql(&format!(
            "DROP PUBLICATION IF EXISTS {PUBLICATION}; CREATE PUBLICATION {PUBLICATION} FOR {what}"
        ))
        .await?;
        Ok(())
    }

    /// Makes a load and leaves it in the WAL, behind slot `bench_source`: some of its tables are to
    /// be captured, and all are published, or some.
    ///
    /// Errors: PostgreSQL refuses; what the load complained of.
    pub async fn lay(
        &mut self,
        words: &[String],
        captured: impl Fn(&str) -> bool,
        published: Option<&str>,
    ) -> Result<Laid, Report> {
        let mut tables = self.prepare(words).await?;
        tables.retain(|table| captured(table));
        self.publish(published).await?;
        self.drop_slot("bench_source").await?;
        self.commit_durably(false).await?;
        let mut before = Vec::new();
        for table in &tables {
            let count = self.value(&format!("SELECT count(*) FROM {table}")).await?;
            before.push(count.parse::<u64>().unwrap_or(0));
        }
        self.sql("SELECT pg_create_logical_replication_slot('bench_source', 'pgoutput')")
            .await?;
        let outcome = self.load(words).await?;
        let end = self.value("SELECT pg_current_wal_insert_lsn()").await?;
        // What lies behind the end tells pg_recvlogical that it is reached.
        self.sql("SELECT txid_current(); CHECKPOINT").await?;
        let mut laid = Laid {
            contents: Vec::new(),
            end: end.parse().unwrap_or(Lsn(0)),
            records: Vec::new(),
            whole: Vec::new(),
            wire_bytes: 0,
            outcome,
            tables,
        };
        for table in &laid.tables {
            let compared = Compared::find(&mut self.client, table).await?;
            let contents = compared.contents(&mut self.client).await?;
            laid.contents.push((compared, contents));
        }
        self.survey(&mut laid).await?;
        // These two go from the first row to the last.
        let in_order = words
            .first()
            .is_some_and(|it| it == "update" || it == "delete");
        let touched = before.iter().zip(&laid.records);
        let whole = touched.map(|(rows, records)| *rows == 0 || (in_order && records >= rows));
        laid.whole = whole.collect();
        Ok(laid)
    }

    /// Whether transactions wait for the disk: what a walsender sends has been flushed, so latency
    /// is measured with it, and loads are laid without.
    async fn commit_durably(&mut self, on: bool) -> Result<(), Report> {
        let database = self.ring.server(false).database.clone();
        let word = if on { "on" } else { "off" };
        self.sql(&format!(
            "ALTER DATABASE {database} SET synchronous_commit = {word}"
        ))
        .await?;
        // Our own session has begun already.
        self.sql(&format!("SET synchronous_commit = {word}"))
            .await?;
        Ok(())
    }

    /// Reads the slot plainly: how many changes there are, and in how many bytes they come.
    async fn survey(&mut self, laid: &mut Laid) -> Result<(), Report> {
        let refused = |why: String| failed("the slot cannot be read").with(why);
        self.copy_slot("bench_survey").await?;
        let source = self.ring.server(false).source()?;
        let client = Client::connect(&source, Purpose::Replication, "penstock bench").await;
        let client = client.map_err(|error| refused(error.to_string()))?;
        let publication = format!("\"{PUBLICATION}\"");
        let options = [
            ("proto_version", "1"),
            ("publication_names", publication.as_str()),
        ];
        let command = start("bench_survey", Lsn(0), &options);
        let streaming = client.start_replication(&command).await;
        let mut streaming = streaming.map_err(|error| refused(error.to_string()))?;
        let mut names = std::collections::HashMap::new();
        laid.records = vec![0; laid.tables.len()];
        let (mut head, mut out) = (0, Vec::new());
        'all: loop {
            loop {
                let input = streaming.received.get(head..).unwrap_or_default();
                let next = streaming.session.next(input, &mut out);
                let next = next.map_err(|error| refused(error.to_string()))?;
                let Some((event, consumed)) = next else { break };
                head += consumed;
                let Event::CopyData(body) = event else {
                    continue;
                };
                let broken = |error: pgwire::error::Malformed| refused(error.to_string());
                match Replication::parse(body).map_err(broken)? {
                    Replication::XLogData(data) => {
                        laid.wire_bytes += consumed as u64;
                        let at = |bytes: &[u8]| {
                            let oid = bytes.get(1..5)?.try_into().ok().map(u32::from_be_bytes)?;
                            names.get(&oid).copied().flatten()
                        };
                        let more = match data.body.first() {
                            Some(b'I' | b'U') => at(data.body).map(|at: usize| (at, 1)),
                            // The event and its tombstone.
                            Some(b'D') => at(data.body).map(|at| (at, 2)),
                            _ => None,
                        };
                        if let Some((at, more)) = more {
                            laid.records[at] += more;
                        } else if let Ok(Message::Relation(relation)) =
                            Message::parse(data.body, false)
                        {
                            let name = format!("{}.{}", relation.schema(), relation.name);
                            let place = laid.tables.iter().position(|table| *table == name);
                            names.insert(relation.oid, place);
                        } else if let Ok(Message::Commit(commit)) = Message::parse(data.body, false)
                            && commit.end_lsn >= laid.end
                        {
                            break 'all;
                        }
                    }
                    Replication::Keepalive(keepalive) => {
                        if keepalive.wal_end >= laid.end {
                            break 'all;
                        }
                        if keepalive.reply_requested {
                            let status = StandbyStatusUpdate {
                                written: Lsn(0),
                                flushed: Lsn(0),
                                applied: Lsn(0),
                                sent_at: 0,
                                reply_requested: false,
                            };
                            status.put(&mut out);
                        }
                    }
                }
            }
            streaming.received.drain(..head);
            head = 0;
            let exchanged = async {
                if !out.is_empty() {
                    streaming.stream.write_all(&out).await?;
                    out.clear();
                }
                streaming.received.reserve(1 << 20);
                streaming.stream.read_buf(&mut streaming.received).await
            };
            match exchanged.await {
                Ok(0) => return Err(refused("the walsender went away".to_owned())),
                Ok(_) => {}
                Err(error) => return Err(refused(error.to_string())),
            }
        }
        drop(streaming);
        self.drop_slot("bench_survey").await
    }

    /// Whether the server can send values in binary.
    fn binary(&self) -> bool {
        self.client.server_version_num() >= 140_000
    }

    async fn copy_slot(&mut self, name: &str) -> Result<(), Report> {
        self.drop_slot(name).await?;
        let copy = format!("SELECT pg_copy_logical_replication_slot('bench_source', '{name}')");
        self.sql(&copy).await?;
        Ok(())
    }

    /// Drops a slot once nobody reads it; no harm where there is none.
    ///
    /// Errors: somebody goes on reading it.
    pub async fn drop_slot(&mut self, name: &str) -> Result<(), Report> {
        let mut waited = Duration::ZERO;
        loop {
            let drop = format!(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
                 WHERE slot_name = '{name}'"
            );
            match self.sql(&drop).await {
                Ok(_) => return Ok(()),
                Err(report) if waited >= LET_GO => return Err(report),
                Err(_) => {
                    // A walsender whose client was killed may notice it late.
                    self.sql(&format!(
                        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots \
                         WHERE slot_name = '{name}' AND active_pid IS NOT NULL"
                    ))
                    .await?;
                    tokio::time::sleep(POINT).await;
                    waited += POINT;
                }
            }
        }
    }

    async fn open_account(&self) -> Account {
        Account {
            broker: self.ring.kafka.pid().map_or(0.0, proc::cpu),
            postgres: self.postmaster.map_or(0.0, proc::cpu_of_tree),
            us: proc::cpu_with_reaped(std::process::id()),
            machine: proc::machine(),
            start: net::now(),
        }
    }

    /// Fills in what all have used since.
    async fn close_account(&self, account: &Account, figure: &mut Figure) {
        let passed = account.start.elapsed();
        let machine = proc::machine();
        tokio::time::sleep(REAPED).await;
        let postgres = self.postmaster.map_or(0.0, proc::cpu_of_tree) - account.postgres;
        let broker = self
            .ring
            .kafka
            .pid()
            .map(|pid| proc::cpu(pid) - account.broker);
        let us = proc::cpu_with_reaped(std::process::id()) - account.us;
        let busy = machine.0 - account.machine.0 + machine.1 - account.machine.1;
        // The pause is in what they used, and not in what the machine did: it weighs little, and
        // on the side of too few strangers.
        let ours = postgres + broker.unwrap_or(0.0) + us + figure.tool_cpu;
        let room = passed.as_secs_f64() * f64::from(proc::cores());
        figure.others = ((busy - ours) / room.max(1e-9)).max(0.0);
        figure.broker_cpu = broker;
        if figure.sender_cpu == 0.0 {
            figure.sender_cpu = postgres;
        }
    }

    /// A job on a copy of the laid load's slot.
    async fn job(&mut self, laid: &Laid, more: &[(String, String)]) -> Result<Job, Report> {
        self.run += 1;
        let id = format!("bench{}", self.run);
        let slot = format!("bench_{}", self.run);
        self.copy_slot(&slot).await?;
        Ok(Job {
            slot,
            id,
            tables: laid.tables.clone(),
            snapshot: "no_data",
            socket: false,
            end: laid.end.to_string(),
            binary: self.binary(),
            more: more.to_vec(),
        })
    }

    /// Drains a laid load.
    ///
    /// Errors: the contestant ends, or nothing comes any more.
    pub async fn drain(
        &mut self,
        who: Contestant,
        laid: &Laid,
        how: &How,
    ) -> Result<Figure, Report> {
        let mut job = self.job(laid, &how.more).await?;
        job.socket = how.socket;
        let mut figure = match who.produces() {
            true => self.produced(who, &job, laid, how).await?,
            false => self.received(&job, laid).await?,
        };
        figure.wire_bytes = (!job.socket || who.produces()).then_some(laid.wire_bytes);
        self.drop_slot(&job.slot).await?;
        Ok(figure)
    }

    /// pg_recvlogical, to the end of the load.
    async fn received(&mut self, job: &Job, laid: &Laid) -> Result<Figure, Report> {
        let account = self.open_account().await;
        let mut running = self
            .ring
            .start(&mut self.stage, Contestant::PgRecvlogical, job)?;
        let mut figure = Figure {
            rows: laid.records.iter().sum(),
            ..Figure::default()
        };
        let mut sender = None;
        let status = loop {
            if let Some(status) = running.ended() {
                break status;
            }
            figure.tool_cpu = proc::cpu(running.pid()).max(figure.tool_cpu);
            figure.peak_kib = proc::memory_kib(running.pid()).1.max(figure.peak_kib);
            if sender.is_none() {
                sender = self.walsender(&job.slot).await?;
            }
            if let Some(pid) = sender {
                figure.sender_cpu = proc::cpu(pid).max(figure.sender_cpu);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        figure.wall = account.start.elapsed();
        if !status.success() {
            return Err(failed(format!("pg_recvlogical: {status}")).with(running.said()));
        }
        // Its CPU is in that of the children that we have waited for.
        let tool = std::mem::take(&mut figure.tool_cpu);
        self.close_account(&account, &mut figure).await;
        figure.tool_cpu = tool;
        Ok(figure)
    }

    async fn walsender(&mut self, slot: &str) -> Result<Option<u32>, Report> {
        let query = format!(
            "SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{slot}' \
             AND active_pid IS NOT NULL"
        );
        let pid = self.value(&query).await?.parse().ok();
        Ok(pid.filter(|_| self.postmaster.is_some()))
    }

    /// A contestant that writes to Kafka, until all of the load is readable there.
    async fn produced(
        &mut self,
        who: Contestant,
        job: &Job,
        laid: &Laid,
        how: &How,
    ) -> Result<Figure, Report> {
        let config = self.ring.config(job)?;
        let topics = job.topics();
        let made = create_topics(&config.sink, &topics, how.partitions).await;
        made.map_err(|error| failed("cannot make the topics").with(error.to_string()))?;
        let mut consumer = self.consumer(&config, &topics).await?;
        let wanted = laid.records.iter().sum();
        let account = self.open_account().await;
        let mut running = self.ring.start(&mut self.stage, who, job)?;
        let figure = self.watch(&mut consumer, &mut running, job, wanted, &account);
        let mut figure = figure.await?;
        drop(consumer);
        // Debezium takes its time to stop, and there is nothing more to learn from it.
        let signal = if who == Contestant::Penstock {
            "TERM"
        } else {
            "KILL"
        };
        let status = running.stop(signal).await;
        if who == Contestant::Penstock && !status.is_some_and(|status| status.success()) {
            return Err(failed("penstock does not end well").with(running.said()));
        }
        if how.check {
            figure.wrong = self.check(&config, job, laid).await?;
        }
        self.forget(&config, job).await;
        Ok(figure)
    }

    /// Deletes what a job has left in Kafka.
    async fn forget(&self, config: &Config, job: &Job) {
        let mut topics = job.topics();
        topics.push(format!("{}-offsets", job.id));
        // They are in nobody's way.
        let _ = delete_topics(&config.sink, &topics).await;
    }

    async fn consumer(&self, config: &Config, topics: &[String]) -> Result<Consumer, Report> {
        let consumer = Consumer::open(&config.sink, topics).await;
        consumer.map_err(|error| failed("cannot read Kafka").with(error.to_string()))
    }

    /// Watches the end of what is readable until it has moved far enough and stands still, then
    /// counts what is there: reading it all meanwhile would take from the machine what is measured.
    async fn watch(
        &mut self,
        consumer: &mut Consumer,
        running: &mut Running,
        job: &Job,
        wanted: u64,
        account: &Account,
    ) -> Result<Figure, Report> {
        let refused =
            |error: crate::produce::Error| failed("cannot read Kafka").with(error.to_string());
        let start = account.start;
        let look = LOOK + Duration::from_millis(job.tables.len() as u64 / 2);
        let (mut figure, mut sender) = (Figure::default(), None);
        let (mut last, mut point, mut readable, mut counted) = (start, start, 0, 0);
        loop {
            tokio::time::sleep(look).await;
            let seen = consumer.readable().await.map_err(refused)?;
            let now = net::now();
            if seen > readable {
                readable = seen;
                last = now;
                figure.first.get_or_insert(now - start);
            }
            if now - point >= POINT {
                point = now;
                figure.note(running.pid());
                let passed = (now - start).as_secs_f64();
                figure.curve.push((passed, readable.min(wanted)));
                if sender.is_none() {
                    sender = self.walsender(&job.slot).await?;
                }
            }
            if readable >= wanted && now - last >= STILL.max(look * 3) {
                figure.wall = last - start;
                figure.note(running.pid());
                figure.sender_cpu = sender.map_or(0.0, proc::cpu);
                // One that has ended is in what we have waited for.
                let gone = running.ended().is_some();
                let tool = figure.tool_cpu;
                if gone {
                    figure.tool_cpu = 0.0;
                }
                self.close_account(account, &mut figure).await;
                figure.tool_cpu = tool;
                // Markers have offsets too: only reading tells.
                loop {
                    let mut rows = 0;
                    let read = consumer
                        .next(FETCH_WAIT, &mut |_, _, batch| {
                            rows += u64::try_from(batch.header().record_count).unwrap_or(0);
                            Ok(())
                        })
                        .await;
                    let bytes = read.map_err(refused)?;
                    figure.kafka_bytes += bytes;
                    counted += rows;
                    if bytes == 0 {
                        break;
                    }
                }
                if counted >= wanted {
                    figure.rows = counted;
                    figure
                        .curve
                        .retain(|(seconds, _)| *seconds < figure.wall.as_secs_f64());
                    figure.curve.push((figure.wall.as_secs_f64(), counted));
                    return Ok(figure);
                }
            }
            let ended = running.ended().is_some() && now - last > Duration::from_secs(5);
            if ended || now - last > SILENCE_MAX {
                let what = format!("{readable} of {wanted} records, and nothing more");
                return Err(failed(what).with(running.said()));
            }
        }
    }

    /// Reads all of it once more, by a new connection, and compares it with the tables.
    async fn check(
        &mut self,
        config: &Config,
        job: &Job,
        laid: &Laid,
    ) -> Result<Option<String>, Report> {
        let mut consumer = self.consumer(config, &job.topics()).await?;
        let mut values = self.values(config)?;
        let mut plays: Vec<PlayBack> = laid.tables.iter().map(|_| PlayBack::default()).collect();
        let (mut records, mut silent) = (vec![0u64; laid.tables.len()], net::now());
        // Records whose schema is to be asked for first, and those behind them: topic, key, value.
        type Kept = (usize, Option<Vec<u8>>, Option<Vec<u8>>);
        let mut kept: Vec<Kept> = Vec::new();
        while silent.elapsed() < Duration::from_secs(2) {
            let mut plain = Vec::new();
            let read = consumer
                .next(POINT, &mut |topic, from, batch| {
                    for record in batch.records(&mut plain, BATCH_BYTES_MAX)? {
                        let record = record?;
                        if record.offset < from {
                            continue;
                        }
                        records[topic] += 1;
                        let known = record.value.is_none_or(|value| values.knows(value));
                        if !known || !kept.is_empty() {
                            let own = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
                            kept.push((topic, own(record.key), own(record.value)));
                            continue;
                        }
                        let columns = &laid.contents[topic].0.columns;
                        let event = record.value.and_then(|value| values.event(value, columns));
                        plays[topic].play(record.key, record.value, event.as_ref());
                    }
                    Ok(())
                })
                .await;
            let bytes =
                read.map_err(|error| failed("cannot read Kafka").with(error.to_string()))?;
            for (topic, key, value) in kept.drain(..) {
                if let Some(value) = &value {
                    values.learn(value).await?;
                }
                let columns = &laid.contents[topic].0.columns;
                let event = value
                    .as_deref()
                    .and_then(|value| values.event(value, columns));
                plays[topic].play(key.as_deref(), value.as_deref(), event.as_ref());
            }
            if bytes > 0 {
                silent = net::now();
            } else if records == laid.records && silent.elapsed() > POINT * 3 {
                break;
            }
        }
        for (at, (compared, contents)) in laid.contents.iter().enumerate() {
            let (play, table) = (&plays[at], &compared.table);
            if records[at] != laid.records[at] {
                let (found, wanted) = (records[at], laid.records[at]);
                return Ok(Some(format!(
                    "{table}: {found} records instead of {wanted}"
                )));
            }
            if play.strange > 0 {
                let strange = play.strange;
                return Ok(Some(format!("{table}: {strange} records cannot be read")));
            }
            let left = play.contents();
            if laid.whole[at] && left != *contents {
                let (left, held) = (left.rows, contents.rows);
                return Ok(Some(format!(
                    "{table}: the topic leaves {left} rows, the table holds {held}, or other ones"
                )));
            }
        }
        Ok(None)
    }

    fn values(&self, config: &Config) -> Result<Values, Report> {
        let registry = match (&config.encode.value_converter, self.ring.converters) {
            (Converter::Avro(converter), Converters::Avro) => {
                let client = RegistryClient::new(converter);
                Some(client.map_err(|error| failed("no registry").with(error.to_string()))?)
            }
            _ => None,
        };
        Ok(Values::new(registry))
    }

    /// Copies tables that lie there: from the start of the process to the last row readable.
    ///
    /// Errors: the contestant ends, or nothing comes any more.
    pub async fn snapshot(
        &mut self,
        who: Contestant,
        laid: &Laid,
        how: &How,
    ) -> Result<Figure, Report> {
        let mut job = self.job(laid, &how.more).await?;
        // It makes a slot of its own.
        self.drop_slot(&job.slot).await?;
        job.snapshot = "initial_only";
        let mut copied = laid.clone();
        copied.records = laid.contents.iter().map(|(_, it)| it.rows).collect();
        copied.whole = laid.tables.iter().map(|_| true).collect();
        let figure = self.produced(who, &job, &copied, how).await?;
        self.drop_slot(&job.slot).await?;
        Ok(figure)
    }

    /// From commit to readable, at a rate: one-row transactions for so long, of which the first
    /// seconds do not count. Before that a higher rate warms up whoever compiles while it runs,
    /// brokers and Debezium.
    ///
    /// Errors: the contestant ends, or nothing comes any more.
    pub async fn latency(
        &mut self,
        who: Contestant,
        tables: &[String],
        words: &[String],
        (rate, seconds, warm): (f64, f64, f64),
        how: &How,
    ) -> Result<Figure, Report> {
        let mut live = self.go_live(who, tables, how).await?;
        let mut warming = Figure::default();
        let warm_up = (WARM_RATE, seconds.min(WARM_SECONDS));
        self.carry(&mut live, words, warm_up, &mut warming, &mut |_, _| {})
            .await?;
        let mut figure = Figure::default();
        let account = self.open_account().await;
        let before = proc::cpu(live.running.pid());
        #[expect(clippy::cast_possible_truncation, reason = "seconds of a measurement")]
        let counts_from = net::now_unix_us() + (warm * 1e6) as i64;
        let mut latencies = Latencies::new();
        let phase = (rate, warm + seconds);
        let rows = self
            .carry(
                &mut live,
                words,
                phase,
                &mut figure,
                &mut |committed_us, now_us| {
                    if committed_us >= counts_from {
                        let us = u64::try_from(now_us - committed_us).unwrap_or(0);
                        latencies.record(Duration::from_micros(us));
                    }
                },
            )
            .await?;
        figure.tool_cpu = proc::cpu(live.running.pid()) - before;
        (figure.rss_kib, figure.peak_kib) = proc::memory_kib(live.running.pid());
        self.close_account(&account, &mut figure).await;
        if figure.rows != rows {
            figure.wrong = Some(format!("{} records of {rows} rows", figure.rows));
        }
        figure.latencies = Some(latencies);
        self.end(who, live).await?;
        Ok(figure)
    }

    /// Lets a load run at a rate for so many seconds, and takes what comes of it: for each event
    /// when it was committed and when we have it, µs since 1970. Gives the rows of the load.
    async fn carry(
        &mut self,
        live: &mut Live,
        words: &[String],
        (rate, seconds): (f64, f64),
        figure: &mut Figure,
        each: &mut dyn FnMut(i64, i64),
    ) -> Result<u64, Report> {
        let more = [format!("--rate={rate}"), format!("--duration={seconds}")];
        let mut command = self.load_command(&[words, &more].concat())?;
        let _ = std::fs::remove_file(self.stage.directory.join("load.json"));
        let mut load = self.stage.spawn(&mut command, "load.json")?;
        let start = net::now();
        let (mut quiet, mut point, mut outcome) = (start, start, None);
        // All of its rows, or nothing more for a while.
        while match &outcome {
            None => true,
            Some(outcome) => figure.rows < rows_of(outcome) && quiet.elapsed() < QUIET,
        } {
            let mut count = 0;
            live.take(figure, &mut |committed_us, now_us| {
                count += 1;
                each(committed_us, now_us);
            })
            .await?;
            figure.rows += count;
            if count > 0 {
                quiet = net::now();
            }
            if point.elapsed() >= POINT {
                point = net::now();
                let passed = (point - start).as_secs_f64();
                figure.curve.push((passed, figure.rows));
            }
            if outcome.is_none() && load.ended().is_some() {
                outcome = Some(self.finished(&mut load).await?);
                figure.wall = start.elapsed();
                quiet = net::now();
            }
            live.assert_alive()?;
        }
        Ok(outcome.as_ref().map_or(0, rows_of))
    }

    /// Starts a contestant on a new slot, and waits until a row comes through.
    async fn go_live(
        &mut self,
        who: Contestant,
        tables: &[String],
        how: &How,
    ) -> Result<Live, Report> {
        self.run += 1;
        let job = Job {
            id: format!("bench{}", self.run),
            slot: format!("bench_{}", self.run),
            tables: [tables, &[MARKER.to_owned()]].concat(),
            snapshot: "no_data",
            socket: how.socket,
            end: String::new(),
            binary: false,
            more: how.more.clone(),
        };
        self.commit_durably(true).await?;
        self.drop_slot(&job.slot).await?;
        let make = format!("CREATE TABLE IF NOT EXISTS {MARKER} (id bigserial PRIMARY KEY, n int)");
        self.sql(&make).await?;
        let slot = format!(
            "SELECT pg_create_logical_replication_slot('{}', 'pgoutput')",
            job.slot
        );
        self.sql(&slot).await?;
        let insert = format!("INSERT INTO {MARKER} (n) VALUES (1)");
        self.sql(&insert).await?;
        let config = self.ring.config(&job)?;
        let topics = job.topics();
        let made = create_topics(&config.sink, &topics, how.partitions).await;
        made.map_err(|error| failed("cannot make the topics").with(error.to_string()))?;
        // A worker makes its topic of positions once: no start but its first waits for it.
        let offsets = &config.offsets.topic;
        let partitions = config.offsets.partitions;
        let made = create_topics(&config.sink, std::slice::from_ref(offsets), partitions).await;
        made.map_err(|error| failed("cannot make the topics").with(error.to_string()))?;
        let read = last_value(&config.sink, offsets, b"", Isolation::ReadCommitted).await;
        read.map_err(|error| failed("cannot read Kafka").with(error.to_string()))?;
        let consumer = self.consumer(&config, &topics).await?;
        let values = self.values(&config)?;
        let start = net::now();
        let running = self.ring.start(&mut self.stage, who, &job)?;
        let mut live = Live {
            job,
            config,
            consumer,
            values,
            running,
            start,
            ready: Duration::ZERO,
        };
        loop {
            let mut figure = Figure::default();
            if live.take(&mut figure, &mut |_, _| {}).await? > 0 {
                break;
            }
            live.assert_alive()?;
            if start.elapsed() > SILENCE_MAX {
                let what = format!("{} carries nothing", who.name());
                return Err(failed(what).with(live.running.said()));
            }
        }
        live.ready = start.elapsed();
        Ok(live)
    }

    async fn end(&mut self, who: Contestant, mut live: Live) -> Result<(), Report> {
        let signal = if who == Contestant::Penstock {
            "TERM"
        } else {
            "KILL"
        };
        live.running.stop(signal).await;
        self.forget(&live.config, &live.job).await;
        self.drop_slot(&live.job.slot).await
    }

    /// From the start of the process to the first record, and what it takes at rest after that:
    /// memory, and CPU over so long.
    ///
    /// Errors: the contestant ends, or nothing comes.
    pub async fn rest(
        &mut self,
        who: Contestant,
        tables: &[String],
        rest: Duration,
        how: &How,
    ) -> Result<Figure, Report> {
        let live = self.go_live(who, tables, how).await?;
        let mut figure = Figure {
            rows: 1,
            first: Some(live.ready),
            ..Figure::default()
        };
        // What the start has stirred up settles.
        tokio::time::sleep(rest / 4).await;
        let pid = live.running.pid();
        let account = self.open_account().await;
        let before = proc::cpu(pid);
        tokio::time::sleep(rest).await;
        figure.tool_cpu = proc::cpu(pid) - before;
        figure.wall = rest;
        (figure.rss_kib, figure.peak_kib) = proc::memory_kib(pid);
        self.close_account(&account, &mut figure).await;
        self.end(who, live).await?;
        Ok(figure)
    }

    /// Killed under a steady load, started again after a while: from that start until what is read
    /// is at most so old again.
    ///
    /// Errors: the contestant ends, or does not catch up.
    pub async fn restart(
        &mut self,
        who: Contestant,
        tables: &[String],
        words: &[String],
        (rate, away, fresh): (f64, Duration, Duration),
        how: &How,
    ) -> Result<Figure, Report> {
        let mut live = self.go_live(who, tables, how).await?;
        let more = [format!("--rate={rate}"), "--duration=600".to_owned()];
        let mut command = self.load_command(&[words, &more].concat())?;
        let mut load = self.stage.spawn(&mut command, "restart-load.log")?;
        let mut figure = Figure::default();
        let begin = net::now();
        while begin.elapsed() < Duration::from_secs(5) {
            live.take(&mut figure, &mut |_, _| {}).await?;
        }
        live.running.stop("KILL").await;
        let gone = net::now();
        while gone.elapsed() < away {
            live.take(&mut figure, &mut |_, _| {}).await?;
        }
        let account = self.open_account().await;
        live.running = self.ring.start(&mut self.stage, who, &live.job)?;
        live.start = account.start;
        let mut caught_up = None;
        while caught_up.is_none() {
            let mut oldest = Duration::ZERO;
            let count = live
                .take(&mut figure, &mut |committed_us, now_us| {
                    let us = u64::try_from(now_us - committed_us).unwrap_or(0);
                    oldest = oldest.max(Duration::from_micros(us));
                })
                .await?;
            figure.rows += count;
            if count > 0 {
                figure.first.get_or_insert_with(|| account.start.elapsed());
                if oldest <= fresh {
                    caught_up = Some(account.start.elapsed());
                }
            }
            live.assert_alive()?;
            if account.start.elapsed() > SILENCE_MAX {
                return Err(failed(format!("{} does not catch up", who.name())));
            }
        }
        figure.wall = caught_up.unwrap_or_default();
        figure.tool_cpu = proc::cpu(live.running.pid());
        (figure.rss_kib, figure.peak_kib) = proc::memory_kib(live.running.pid());
        load.stop("TERM").await;
        self.close_account(&account, &mut figure).await;
        self.end(who, live).await?;
        Ok(figure)
    }
}

/// The rows that `penstock load` says it has changed.
fn rows_of(outcome: &Value) -> u64 {
    outcome["rows"].as_u64().unwrap_or(0)
}

/// What goes before a measurement of latency, as in those that the targets were taken from.
const WARM_RATE: f64 = 10_000.0;
const WARM_SECONDS: f64 = 20.0;
/// The table whose rows tell that a contestant is up.
const MARKER: &str = "penstock_load.bench_marker";

/// How a contestant is run.
#[derive(Debug, Clone, Default)]
pub struct How {
    /// Whether over the Unix socket.
    pub socket: bool,
    /// Partitions of each topic.
    pub partitions: i32,
    /// More properties of the connector.
    pub more: Vec<(String, String)>,
    /// Whether what is readable is compared with the tables.
    pub check: bool,
}

/// A contestant that carries what happens now.
struct Live {
    job: Job,
    config: Config,
    consumer: Consumer,
    values: Values,
    running: Running,
    start: Instant,
    ready: Duration,
}

impl Live {
    fn assert_alive(&mut self) -> Result<(), Report> {
        match self.running.ended() {
            None => Ok(()),
            Some(status) => Err(failed(format!("it ended: {status}")).with(self.running.said())),
        }
    }

    /// Takes what has become readable: for each event when it was committed and when we have it,
    /// µs since 1970. Gives how many there were, those of the marker's table included.
    async fn take(
        &mut self,
        figure: &mut Figure,
        each: &mut dyn FnMut(i64, i64),
    ) -> Result<u64, Report> {
        let marker = self.job.tables.len() - 1;
        let (mut count, mut unknown) = (0, Vec::new());
        let values = &self.values;
        let mut plain = Vec::new();
        let read = self
            .consumer
            .next(FETCH_WAIT, &mut |topic, from, batch| {
                let now_us = net::now_unix_us();
                for record in batch.records(&mut plain, BATCH_BYTES_MAX)? {
                    let record = record?;
                    let Some(value) = record.value.filter(|_| record.offset >= from) else {
                        continue;
                    };
                    count += 1;
                    if topic == marker {
                        continue;
                    }
                    if !values.knows(value) {
                        unknown.push((now_us, value.to_vec()));
                        continue;
                    }
                    let event = values.event(value, &[]);
                    each(
                        event.and_then(|event| event.committed_us).unwrap_or(0),
                        now_us,
                    );
                }
                Ok(())
            })
            .await;
        figure.kafka_bytes +=
            read.map_err(|error| failed("cannot read Kafka").with(error.to_string()))?;
        for (now_us, value) in unknown {
            if prefix::split_registry_id(&value).is_ok() {
                self.values.learn(&value).await?;
            }
            let event = self.values.event(&value, &[]);
            each(
                event.and_then(|event| event.committed_us).unwrap_or(0),
                now_us,
            );
        }
        Ok(count)
    }
}
