//! One connector, from start to end: where it begins, the snapshot, the stream, and trying again.
//!
//! ```text
//!   stored position ──► none, or an unfinished snapshot ──► snapshot ─┐
//!          └──────────► a position in the stream ─────────────────────┴──► stream ──► ..
//! ```
//!
//! Everything of one pipe runs in one task. What it waits for, it waits for together: bytes from
//! PostgreSQL, progress of the producer, a time, or the word to stop.

mod copying;
mod error;
mod follower;
mod keeper;
mod notices;
mod outlet;
mod resume;
mod retention;
mod states;
mod streaming;
mod tables;
mod unsent;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use pgwire::backend::SqlState;
use pgwire::lsn::Lsn;
use pgwire::replication::{publication_names, quote_identifier, quote_literal};
use tokio::sync::watch;
use tokio::time::Instant;

pub use error::{Blame, Error};
pub use states::State;

use crate::capture::catalog::{self, CapturedTable, Server, Slot, Types, Whereabouts};
use crate::capture::client::{Client, Purpose, Streaming};
use crate::capture::error::PgError;
use crate::config::{
    self, Config, Filter, LsnFlush, Operation, SnapshotMode, Source, TopicCreation,
};
use crate::encode::registry::RegistryError;
use crate::mutant::{self, Mutant};
use crate::net;
use crate::produce::{self, Driver, Isolation};
use crate::progress::copied::Copied;
use crate::progress::offset_file;
use crate::progress::offsets::{self, SnapshotPosition, Stored, StreamPosition};
use follower::Follower;
use keeper::{Keeper, Owed};
use notices::Notices;
use outlet::Outlet;
use resume::{Case, Decision, Gap, Refusal};
use retention::Retention;
use states::States;
use streaming::{Begin, End};
use tables::{Registries, Tables};
use unsent::Refusals;

/// Microseconds from 1970-01-01 to 2000-01-01, where PostgreSQL counts from.
const UNIX_TO_PG_US: i64 = 946_684_800_000_000;
/// How often the status is published.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);
/// A pipe that ran for so long has its failures forgiven.
const STEADY_AFTER: Duration = Duration::from_secs(10);
/// How often in an hour a fence may turn out to be nobody's doing.
const FORGIVEN_MAX: usize = 3;
const FORGIVEN_WITHIN: Duration = Duration::from_secs(3600);
/// How much longer than its wait between two looks a successor may take to get the slot.
const LOOK_LONGER: Duration = Duration::from_secs(5);
/// How long what was appended may take to be acknowledged when the pipe is told to stop.
const STOP_WITHIN: Duration = Duration::from_secs(3);
/// How long a pipe that is told to stop may take to hear of it. One that waits for a peer does not
/// listen, and has nothing to finish either.
const HEAR_WITHIN: Duration = Duration::from_millis(500);
/// How long a transaction that will not be committed may take to be aborted. The three together
/// are less than the 5 s of `task.shutdown.graceful.timeout.ms`.
const ABORT_WITHIN: Duration = Duration::from_secs(1);

/// What a pipe is doing.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// Where in its life it is.
    pub phase: Phase,
    /// The tables of the snapshot, in its order.
    pub tables: Vec<TableStatus>,
    /// Changes that became records, snapshot included, since the pipe began.
    pub events: u64,
    /// What the slot may forget.
    pub confirmed: Lsn,
    /// Rows that were left out, as `errors.tolerance` says, since the pipe began.
    pub left_out: u64,
    /// How often each [`State`] was entered, in the order of [`State::ALL`].
    pub entered: [u64; State::ALL.len()],
}

/// Where in its life a pipe is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Phase {
    /// Connecting, and finding out where to begin.
    #[default]
    Starting,
    /// Copying what is there.
    Snapshot,
    /// Following what happens.
    Streaming,
    /// Between two attempts.
    Waiting {
        /// Why the last one failed.
        why: String,
    },
    /// Over.
    Stopped,
}

/// One table of the snapshot.
#[derive(Debug, Clone, Default)]
pub struct TableStatus {
    /// `schema.table`
    pub name: String,
    /// Rows read so far.
    pub rows: u64,
    /// Rows there are, by the server's estimate.
    pub estimate: u64,
    /// Time spent on it so far.
    pub elapsed: Duration,
    /// All are read.
    pub done: bool,
}

/// A pipe at work.
struct Pipe {
    config: Config,
    /// For the catalogue.
    client: Client,
    server: Server,
    types: Types,
    registry: Registries,
    outlet: Outlet,
    tables: Tables,
    keeper: Keeper,
    notices: Notices,
    status: watch::Sender<Status>,
    /// The status that will be published.
    draft: Status,
    published_at: Instant,
    shutdown: watch::Receiver<bool>,
    /// Rows were read, or the stream has begun: a failure from now on is worth another attempt.
    established: Rc<Cell<bool>>,
    /// The WAL that the slot keeps, over all lives of the pipe.
    retention: Rc<RefCell<Retention>>,
    states: Rc<States>,
    /// A bit for each operation that is skipped.
    skipped: u8,
    /// The stream's rows come in binary: no digits to be parsed.
    binary: bool,
    /// The word to stop was heard: what was appended is being settled.
    settling: Rc<Cell<bool>>,
    /// For values that are compared and not sent.
    scratch: Vec<u8>,
}

/// What outlives one life of a pipe.
struct Lasting {
    /// As [`Pipe::established`], of any life.
    established: Rc<Cell<bool>>,
    /// Records that cannot be sent.
    refusals: Rc<RefCell<Refusals>>,
    /// The WAL that the slot keeps.
    retention: Rc<RefCell<Retention>>,
    /// What it does, told and counted.
    states: Rc<States>,
}

/// Runs a connector until `shutdown` becomes true, over failures that pass.
///
/// Errors: what does not pass; and at the start also what might, since whoever starts a connector
/// wants to hear that its database cannot be reached.
pub async fn run(
    config: Config,
    mut shutdown: watch::Receiver<bool>,
    status: watch::Sender<Status>,
) -> Result<(), Error> {
    let mut failures = 0;
    let lasting = Lasting {
        established: Rc::default(),
        refusals: Rc::default(),
        retention: Rc::new(RefCell::new(Retention::new(
            config.source.wal_retained_warn,
            net::now(),
        ))),
        states: Rc::new(States::new(&config.name)),
    };
    let mut works = false;
    let mut forgiven = Vec::new();
    loop {
        let began = net::now();
        let attempt = attempt(&config, &shutdown, &status, &lasting).await;
        let error = match attempt {
            Ok(()) => {
                status.send_modify(|status| status.phase = Phase::Stopped);
                return Ok(());
            }
            Err(error) if error.retriable && *shutdown.borrow() => {
                tracing::warn!(connector = config.name, "while stopping: {error}");
                return Ok(());
            }
            Err(error) => error,
        };
        let error = forgive_fence(&config, error, &mut forgiven, &lasting, &mut shutdown).await;
        works |= lasting.established.take();
        if !works {
            return Err(error);
        }
        if began.elapsed() >= STEADY_AFTER {
            failures = 0;
        }
        let limit = config.source.max_retries;
        if !error.retriable || limit.is_some_and(|limit| failures >= limit) {
            return Err(error);
        }
        if error.blame == Blame::Kafka {
            lasting.retention.borrow_mut().kafka_failed(net::now());
        }
        failures += 1;
        lasting.states.enter(State::Retrying);
        let wait = Duration::from_millis(500).saturating_mul(1 << failures.min(10));
        let wait = jittered(wait.min(config.source.retry_wait));
        tracing::warn!(
            connector = config.name,
            wait_ms = wait.as_millis(),
            attempt = failures,
            "{error}; trying again"
        );
        status.send_modify(|status| {
            status.phase = Phase::Waiting {
                why: error.to_string(),
            }
        });
        tokio::select! {
            biased;
            () = tokio::time::sleep(wait) => {}
            _ = shutdown.wait_for(|stop| *stop) => return Ok(()),
        }
    }
}

/// Whether there is another instance shows at the slot, which it takes when we let go of it. If
/// nobody does, the fence was a broker's clock, or we stood still for longer than a transaction may
/// last: then trying again mends it. Not for ever, since two that do not share a slot would fence
/// each other in turn.
async fn forgive_fence(
    config: &Config,
    mut error: Error,
    forgiven: &mut Vec<Instant>,
    lasting: &Lasting,
    shutdown: &mut watch::Receiver<bool>,
) -> Error {
    forgiven.retain(|at| at.elapsed() < FORGIVEN_WITHIN);
    if !error.fenced || forgiven.len() >= FORGIVEN_MAX || *shutdown.borrow() {
        return error;
    }
    lasting.states.enter(State::WaitingForSlot);
    tracing::warn!(
        connector = config.name,
        "{error}; looking whether anybody takes the slot"
    );
    // As long as a successor may take to look again.
    let until = net::now() + config.source.slot_retry_delay + LOOK_LONGER;
    while net::now() < until {
        match slot_is_taken(config).await {
            Ok(true) => return error,
            // Whether there is anybody cannot be told: that is up to the next attempt.
            Err(unreachable) if unreachable.retriable => break,
            Err(_) => return error,
            Ok(false) => {}
        }
        tokio::select! {
            biased;
            () = tokio::time::sleep(Duration::from_millis(500)) => {}
            _ = shutdown.wait_for(|stop| *stop) => return error,
        }
    }
    forgiven.push(net::now());
    error.retriable = true;
    error.why = format!(
        "{}; but nobody has taken the slot, so the coordinator has ended our transaction by itself",
        error.why
    );
    error
}

async fn slot_is_taken(config: &Config) -> Result<bool, Error> {
    let mut client = Client::connect(&config.source, Purpose::Query, "penstock").await?;
    let server = Server::ask(&mut client).await?;
    let slot = catalog::slot(&mut client, &server, &config.source).await?;
    client.close().await;
    Ok(slot.is_some_and(|slot| slot.active_pid.is_some()))
}

/// Up to a quarter less, so that many pipes do not come back at once.
fn jittered(wait: Duration) -> Duration {
    wait - wait.mul_f64(f64::from(random_u32() % 256) / 1024.0)
}

/// Between two looks at a slot that is in use. A dying holder is gone in a moment, a living one is
/// not: short waits first.
fn slot_wait(source: &Source, failures: u32) -> Duration {
    Duration::from_millis(250 << failures.min(8)).min(source.slot_retry_delay)
}

fn random_u32() -> u32 {
    let mut bytes = [0; 4];
    // Jitter only: without randomness every pipe waits alike, and nothing worse.
    let _ = net::fill_random(&mut bytes);
    u32::from_le_bytes(bytes)
}

/// One life of the pipe, from connecting to the first error. However it ends, no Kafka transaction
/// of it stays open for longer than it takes to say so.
async fn attempt(
    config: &Config,
    shutdown: &watch::Receiver<bool>,
    status: &watch::Sender<Status>,
    lasting: &Lasting,
) -> Result<(), Error> {
    lasting.states.enter(State::Connecting);
    let mut asked = shutdown.clone();
    let (mut pipe, tables, key) = tokio::select! {
        biased;
        connected = connect(config, shutdown, status, lasting) => connected?,
        () = stopped(&mut asked) => return Ok(()),
    };
    let settling = Rc::clone(&pipe.settling);
    let unheard = async {
        stopped(&mut asked).await;
        lasting.states.enter(State::Stopping);
        tokio::time::sleep(HEAR_WITHIN).await;
        if settling.get() {
            std::future::pending::<()>().await;
        }
    };
    let result = tokio::select! {
        biased;
        result = pipe.run(tables, &key) => result,
        () = unheard => {
            tracing::info!(connector = config.name, "stopped while waiting for a peer");
            Ok(())
        }
    };
    pipe.outlet.driver.abort(ABORT_WITHIN).await;
    match result {
        // There was nothing to finish, so nothing was lost by it.
        Err(error) if *shutdown.borrow() && !pipe.settling.get() => {
            tracing::info!(connector = config.name, "while stopping: {error}");
            Ok(())
        }
        result => result.map_err(|error| pipe.outlet.refusal().unwrap_or(error)),
    }
}

/// Ends when the pipe is told to stop.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // An error: nobody is left who could tell.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// Connects everything; the answer has the tables that are captured and the key of the stored
/// position.
async fn connect(
    config: &Config,
    shutdown: &watch::Receiver<bool>,
    status: &watch::Sender<Status>,
    lasting: &Lasting,
) -> Result<(Pipe, Vec<CapturedTable>, Vec<u8>), Error> {
    let mut driver = Driver::new(&config.sink)?;
    let mut client = Client::connect(&config.source, Purpose::Query, "penstock").await?;
    let server = Server::ask(&mut client).await?;
    server.check_wal_level(client.target())?;
    let retention = &lasting.retention;
    let (now, away) = (net::now(), retention.borrow().away(net::now()));
    if away.is_some() && retention.borrow().is_due(now, away) {
        let seen = catalog::retained(&mut client, &server, &config.source).await?;
        retention.borrow_mut().tell(&config.name, now, away, seen);
    }
    let kafka = async {
        let topic = offsets_topic(config, &mut driver).await?;
        // A predecessor's open transaction is ended by then: what it stored can be read.
        if !mutant::is(Mutant::ReadBeforeFence) {
            driver.establish().await?;
        }
        Ok(topic)
    };
    let database = async {
        let mut types = Types::enums(&mut client).await?;
        let tables = captured_tables(config, &mut client, &server).await?;
        let binary = may_ask_for_binary(config, &mut client, &server, &mut types, &tables).await?;
        Ok::<_, Error>((types, tables, binary))
    };
    // Neither waits for the other.
    let (topic, (types, tables, binary)) = tokio::try_join!(kafka, database)?;
    let key = offsets::key(&config.name, &config.encode.topic_prefix);
    let partition = driver
        .producer()
        .partition(topic, Some(&key))
        .unwrap_or_default();
    let mut keeper = Keeper::new(
        topic,
        partition,
        key.clone(),
        config.sink.exactly_once,
        config.offsets.flush_interval,
        config.source.lsn_flush != LsnFlush::Manual,
    );
    if let Some(file) = &config.offsets.file {
        let interval = config.offsets.flush_interval;
        keeper.follow_with(Follower::new(file, key.clone(), interval)?);
    }
    let mut pipe = Pipe {
        registry: Registries::new(config, Rc::clone(&lasting.states))?,
        outlet: Outlet::new(config, driver, &run_id(), Rc::clone(&lasting.refusals)),
        tables: Tables::new(config),
        keeper,
        notices: Notices::default(),
        client,
        server,
        types,
        status: status.clone(),
        draft: Status::default(),
        published_at: net::now(),
        shutdown: shutdown.clone(),
        established: Rc::clone(&lasting.established),
        retention: Rc::clone(retention),
        states: Rc::clone(&lasting.states),
        skipped: skipped(config),
        binary,
        settling: Rc::default(),
        scratch: Vec::new(),
        config: config.clone(),
    };
    pipe.outlet.policy.prepare(&mut pipe.outlet.driver).await?;
    Ok((pipe, tables, key))
}

impl Pipe {
    async fn run(&mut self, tables: Vec<CapturedTable>, key: &[u8]) -> Result<(), Error> {
        let slot = self.free_slot().await?;
        self.set_replica_identities(&tables).await?;
        // Behind the slot: a predecessor that still streamed from it has stored its last by now.
        let (found, client) = tokio::try_join!(read_stored(&self.config, key), async {
            let source = &self.config.source;
            Ok(Client::connect(source, Purpose::Replication, "penstock start").await?)
        })?;
        let first = found.is_none();
        let copied = found
            .as_ref()
            .and_then(|found| offsets::copied(&found.value));
        let (decision, slot) = self.decide(found, slot, client, key).await?;
        let from = match decision {
            Decision::Snapshot { catch_up, because } => {
                // Over a gap, what was copied before is worth nothing.
                let copied = copied.filter(|_| catch_up.is_some() && because.is_none());
                let copied = copied.unwrap_or_else(|| Copied {
                    first,
                    ..Copied::default()
                });
                match self
                    .snapshot(tables, slot.as_ref(), catch_up, copied)
                    .await?
                {
                    Some(from) => from,
                    None => return Ok(()),
                }
            }
            Decision::Stream { from, .. } => {
                // Thousands of names are worth their memory.
                drop(tables);
                if slot.is_none() {
                    let exported = Exported::create(&self.config.source, &self.server, false);
                    exported.await?.client.close().await;
                }
                from
            }
        };
        if self.config.capture.snapshot_mode == SnapshotMode::InitialOnly {
            self.keeper.settle_in_file().await?;
            tracing::info!(connector = self.config.name, "the snapshot is complete");
            return Ok(());
        }
        if !self.pause(self.config.capture.streaming_delay).await {
            return Ok(());
        }
        self.enter(Phase::Streaming);
        streaming::run(self, from, None).await?;
        self.finish().await
    }

    /// The slot, once nobody streams from it: a predecessor that is dying lets go of it soon, and
    /// `slot.max.retries` times `slot.retry.delay.ms` are given to it.
    async fn free_slot(&mut self) -> Result<Option<Slot>, Error> {
        let mut failures = 0;
        loop {
            let source = &self.config.source;
            let slot = catalog::slot(&mut self.client, &self.server, source).await?;
            let Some(pid) = slot.as_ref().and_then(|slot| slot.active_pid) else {
                return Ok(slot);
            };
            let busy = format!("it is active for PID {pid}: another connection streams from it");
            if failures >= source.slot_max_retries || self.is_stopping() {
                let what = format!("slot {} of {}", source.slot, self.client.target());
                let remedy = "stop whoever uses it, or give each connector a slot.name of its own";
                return Err(Error::fatal(Blame::Postgres, what, busy).remedy(remedy));
            }
            failures += 1;
            self.states.enter(State::WaitingForSlot);
            tracing::warn!(slot = source.slot, attempt = failures, "{busy}; waiting");
            let wait = slot_wait(source, failures);
            self.pause(wait).await;
        }
    }

    /// `replica.identity.autoset.values`. What the server refuses is logged: the table is captured
    /// as it is.
    async fn set_replica_identities(&mut self, tables: &[CapturedTable]) -> Result<(), Error> {
        for table in tables {
            let name = table.full_name();
            let rules = &self.config.source.replica_identities;
            let Some((_, identity)) = rules.iter().find(|(of, _)| of.is_match(&name)) else {
                continue;
            };
            let identity = match identity {
                config::ReplicaIdentity::Default => "DEFAULT".to_owned(),
                config::ReplicaIdentity::Full => "FULL".to_owned(),
                config::ReplicaIdentity::Nothing => "NOTHING".to_owned(),
                config::ReplicaIdentity::Index(index) => {
                    format!("USING INDEX {}", quote_identifier(index))
                }
            };
            let table = table.quoted();
            let statement = format!("ALTER TABLE {table} REPLICA IDENTITY {identity}");
            match self.client.simple_query(&statement).await {
                Ok(_) => tracing::info!(table = name, identity, "replica identity is set"),
                Err(error) if error.code().is_some() => {
                    tracing::error!(table = name, "replica.identity.autoset.values: {error}");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Where to begin, and the slot that is left for it: one that the server has given up is
    /// dropped where the tables are copied again. `client` is a replication connection.
    async fn decide(
        &mut self,
        found: Option<Found>,
        slot: Option<Slot>,
        mut client: Client,
        key: &[u8],
    ) -> Result<(Decision, Option<Slot>), Error> {
        let source = &self.config.source;
        let stored = found.as_ref().map(|found| found.stored);
        let home = found.as_ref().and_then(|found| offsets::home(&found.value));
        let server = Whereabouts::ask(&mut client, &self.server, home).await?;
        let decision = resume::decide(&Case {
            stored,
            home,
            slot: slot.as_ref(),
            server: &server,
            mode: self.config.capture.snapshot_mode,
            mismatch: source.offset_mismatch,
        });
        let decision = decision.map_err(|refusal| self.refuse(&refusal, key))?;
        let name = &source.slot;
        let mut kept = slot;
        let mut consistent = false;
        match &decision {
            Decision::Snapshot {
                because: Some(gap), ..
            } => {
                tracing::warn!(slot = name, "{gap}. A new snapshot is taken");
                if matches!(gap, Gap::SlotLost { .. }) {
                    catalog::remove_slot(&mut client, source).await?;
                    kept = None;
                }
            }
            Decision::Stream {
                despite: Some(gap), ..
            } => tracing::warn!(
                slot = name,
                "{gap}. The slot is trusted, as offset.mismatch.strategy says"
            ),
            _ => consistent = true,
        }
        client.close().await;
        self.keeper.live_at(server.home);
        if let Some(Found {
            stored: Stored::Stream(position),
            value,
        }) = found
            && consistent
        {
            self.keeper.resume(position, value);
        }
        Ok((decision, kept))
    }

    fn refuse(&self, refusal: &Refusal, key: &[u8]) -> Error {
        let Config {
            name,
            source,
            offsets,
            ..
        } = &self.config;
        let gap = match refusal {
            Refusal::Gap(gap) => gap,
            Refusal::SnapshotForbidden => {
                return Error::fatal(
                    Blame::Configuration,
                    format!("connector {name}"),
                    "the connector previously stopped while taking a snapshot, but now the \
                     connector is configured to never allow snapshots",
                )
                .remedy("set snapshot.mode to initial or when_needed");
            }
        };
        let mut remedy = format!(
            "to copy the tables again, set snapshot.mode=when_needed, or remove the stored \
             position (a record with the key {} and no value in the topic {})",
            String::from_utf8_lossy(key),
            offsets.topic
        );
        match gap {
            Gap::SlotLost { .. } => {
                let drop = format!("SELECT pg_drop_replication_slot('{}')", source.slot);
                remedy = format!("{remedy} and the slot: {drop}");
            }
            Gap::SlotMissing { .. } => {}
            _ => {
                remedy += "; to leave out what is missing, set offset.mismatch.strategy=trust_slot"
            }
        }
        let what = format!("slot {} of {}", source.slot, self.client.target());
        Error::fatal(Blame::Postgres, what, gap).remedy(remedy)
    }

    /// Copies the tables at a consistent point, and answers where the stream goes on. None: the
    /// pipe was told to stop.
    ///
    /// A new slot exports the snapshot at its own consistent point. Where the slot is there
    /// already, a temporary one exports a snapshot, and the stream is asked to begin at its point:
    /// the seam is exact in both cases. `catch_up` is where an unfinished snapshot began: what
    /// happened since then is sent first, so that no key's history goes back in time and no
    /// deletion is missed.
    async fn snapshot(
        &mut self,
        tables: Vec<CapturedTable>,
        slot: Option<&Slot>,
        catch_up: Option<Begin>,
        mut copied: Copied,
    ) -> Result<Option<Begin>, Error> {
        if !self.pause(self.config.capture.snapshot_delay).await {
            return Ok(None);
        }
        let source = &self.config.source;
        tracing::info!(
            slot = source.slot,
            "waiting for the slot's consistent point: every transaction that runs now must end"
        );
        let exported = Exported::create(source, &self.server, slot.is_some()).await?;
        let mut clients = vec![exported.import(source).await?];
        let seen = exported.look(&mut clients[0], &tables).await?;
        for _ in 1..self.config.capture.snapshot_max_threads {
            clients.push(exported.import(source).await?);
        }
        let lsn = exported.lsn;
        // The transactions have the snapshot by now; a temporary slot goes with its connection.
        exported.client.close().await;
        let chosen: Vec<CapturedTable> = tables
            .into_iter()
            .filter(|table| {
                let wanted = &self.config.capture.snapshot_tables;
                wanted.accepts(&table.full_name())
            })
            .collect();
        if let Some(mut from) = catch_up.filter(|_| !mutant::is(Mutant::SkipCatchUp)) {
            if let Some(inside) = copied.inside {
                from = Begin {
                    lsn: inside.start(),
                    inside: Some(inside),
                    last_commit: inside.commit,
                };
            }
            // What nobody has been told of needs no changes to be told. Only a Kafka transaction
            // makes that certain: without, rows may be there, and the word that they are not.
            let certain = self.config.sink.exactly_once || mutant::is(Mutant::LeaveOutUncertain);
            let unknown = |oid: &u32| {
                let begun = copied.finished.contains(oid) || copied.begun(*oid).is_some();
                copied.first && certain && (!begun || mutant::is(Mutant::LeaveOutBegun))
            };
            let oids = chosen.iter().map(|chosen| chosen.oid);
            let awaited = oids.filter(unknown).collect();
            if from.lsn < lsn {
                tracing::info!(from = %from.lsn, to = %lsn, "catching up before the snapshot");
                self.keeper.owe_snapshot(Owed { copied, awaited });
                self.states.enter(State::CatchingUp);
                if streaming::run(self, from, Some(lsn)).await? == End::Stopped {
                    return Ok(None);
                }
                copied = self.keeper.take_copied();
            }
        }
        self.enter(Phase::Snapshot);
        for table in &chosen {
            self.draft.tables.push(TableStatus {
                name: table.full_name(),
                estimate: table.rows.unwrap_or_default(),
                done: copied.finished.contains(&table.oid),
                ..TableStatus::default()
            });
        }
        let started = net::now();
        if !copying::run(self, clients, chosen, seen, copied).await? {
            return Ok(None);
        }
        self.keeper.snapshot_taken();
        self.publish_now();
        tracing::info!(
            rows = self
                .draft
                .tables
                .iter()
                .map(|table| table.rows)
                .sum::<u64>(),
            seconds = started.elapsed().as_secs_f64(),
            "snapshot is complete"
        );
        Ok(Some(Begin {
            lsn,
            inside: None,
            last_commit: None,
        }))
    }

    /// Opens the stream. A slot that another connection holds, a predecessor's that is dying
    /// perhaps, is waited for: `slot.max.retries` times `slot.retry.delay.ms`.
    async fn start_replication(&mut self, from: Lsn) -> Result<Streaming, Error> {
        let source = &self.config.source;
        let publication = publication_names(&[&source.publication]);
        let mut options = vec![("proto_version", "1"), ("publication_names", &*publication)];
        if self.server.version >= 140_000 {
            options.push(("messages", "true"));
        }
        if self.binary {
            options.push(("binary", "true"));
        }
        // An option may be there once: the user's holds.
        let own = &source.slot_stream_params;
        options.retain(|(name, _)| own.iter().all(|(given, _)| given != name));
        options.extend(own.iter().map(|(name, value)| (&**name, &**value)));
        let command = pgwire::replication::start(&source.slot, from, &options);
        let (mut failures, mut waited_in) = (0, None);
        loop {
            let client =
                Client::connect(source, Purpose::Replication, "penstock streaming").await?;
            let error = match client.start_replication(&command).await {
                Ok(stream) => {
                    waited_in.map(|state| self.states.enter(state));
                    return Ok(stream);
                }
                Err(error) => error,
            };
            let busy = error.code() == Some(SqlState::OBJECT_IN_USE);
            if !busy || failures >= source.slot_max_retries {
                return Err(error.into());
            }
            failures += 1;
            let before = self.states.enter(State::WaitingForSlot);
            waited_in = waited_in.or(before);
            tracing::warn!(
                slot = source.slot,
                attempt = failures,
                "{error}; waiting for it to become free"
            );
            let wait = slot_wait(source, failures);
            tokio::select! {
                biased;
                () = tokio::time::sleep(wait) => {}
                _ = self.shutdown.wait_for(|stop| *stop) => return Err(error.into()),
            }
        }
    }

    /// Waits for as long as the configuration says. `false`: told to stop meanwhile.
    async fn pause(&mut self, wait: Duration) -> bool {
        if !wait.is_zero() {
            tokio::select! {
                biased;
                () = tokio::time::sleep(wait) => {}
                _ = self.shutdown.wait_for(|stop| *stop) => {}
            }
        }
        !self.is_stopping()
    }

    /// Told to stop, or nobody is left who could tell.
    fn is_stopping(&self) -> bool {
        *self.shutdown.borrow() || self.shutdown.has_changed().is_err()
    }

    fn takes_message(&self, prefix: &str) -> bool {
        self.config.capture.message_prefixes.accepts(prefix) && !self.skips(Operation::Message)
    }

    fn skips(&self, op: Operation) -> bool {
        self.skipped & bit(op) != 0
    }

    /// Waits until everything appended is acknowledged.
    async fn drain(&mut self) -> Result<(), Error> {
        self.outlet.drain().await
    }

    /// Sends what was appended and stores the position, within the time there is.
    async fn settle(&mut self, inside: Option<StreamPosition>) -> Result<(), Error> {
        self.settling.set(true);
        let settled = self.keeper.settle(&mut self.outlet, inside);
        match tokio::time::timeout(STOP_WITHIN, settled).await {
            Ok(result) => result,
            Err(_) => {
                tracing::warn!(
                    connector = self.config.name,
                    "Kafka did not acknowledge everything within {} s: what it did not will be \
                     sent again at the next start",
                    STOP_WITHIN.as_secs()
                );
                Ok(())
            }
        }
    }

    async fn finish(&mut self) -> Result<(), Error> {
        self.publish_now();
        if self.config.source.slot_drop_on_stop {
            let source = &self.config.source;
            let mut client =
                Client::connect(source, Purpose::Replication, "penstock drop slot").await?;
            catalog::remove_slot(&mut client, source).await?;
            client.close().await;
        }
        Ok(())
    }

    fn enter(&mut self, phase: Phase) {
        match phase {
            Phase::Snapshot => drop(self.states.enter(State::Snapshot)),
            Phase::Streaming => drop(self.states.enter(State::Streaming)),
            Phase::Starting | Phase::Waiting { .. } | Phase::Stopped => {}
        }
        self.draft.phase = phase;
        self.publish_now();
    }

    fn status_of<R>(&mut self, table: usize, change: impl FnOnce(&mut TableStatus) -> R) -> R {
        change(&mut self.draft.tables[table])
    }

    fn publish(&mut self) {
        if self.published_at.elapsed() >= PUBLISH_EVERY {
            self.publish_now();
        }
    }

    fn publish_now(&mut self) {
        let away = !self.outlet.driver.producer().is_connected();
        let usual = match self.draft.phase {
            Phase::Snapshot => State::Snapshot,
            _ => State::Streaming,
        };
        self.states.wait_for(State::BrokerAway, away, usual);
        self.draft.left_out = self.outlet.policy.count;
        self.draft.entered = self.states.entered();
        self.draft.events = self.outlet.events;
        self.draft.confirmed = self.keeper.confirmed();
        self.published_at = net::now();
        self.status.send_replace(self.draft.clone());
    }
}

/// A slot that was just created, and the snapshot of its consistent point: other connections can
/// import it until this one does anything else.
#[derive(Debug)]
struct Exported {
    client: Client,
    lsn: Lsn,
    snapshot: String,
}

impl Exported {
    /// Creates the connector's slot or, where that exists, a temporary one beside it.
    async fn create(source: &Source, server: &Server, beside: bool) -> Result<Self, PgError> {
        let mut client = Client::connect(source, Purpose::Replication, "penstock slot").await?;
        let name = if beside {
            let stem: String = source.slot.chars().take(45).collect();
            format!("{stem}_snapshot_{:08x}", random_u32())
        } else {
            source.slot.clone()
        };
        let slot = catalog::create_slot(&mut client, server, source, &name, beside).await?;
        let lsn = slot.consistent_point;
        tracing::info!(slot = name, %lsn, temporary = beside, "replication slot created");
        Ok(Self {
            client,
            lsn,
            snapshot: slot.snapshot.unwrap_or_default(),
        })
    }

    /// A connection whose transaction sees what the slot's stream does not bring.
    async fn import(&self, source: &Source) -> Result<Client, PgError> {
        let snapshot = quote_literal(&self.snapshot);
        let mut client = Client::connect(source, Purpose::Query, "penstock snapshot").await?;
        client.simple_query(copying::SETTINGS).await?;
        client
            .simple_query("BEGIN ISOLATION LEVEL REPEATABLE READ")
            .await?;
        client
            .simple_query(&format!("SET TRANSACTION SNAPSHOT {snapshot}"))
            .await
            .map_err(PgError::of_import)?;
        Ok(client)
    }

    /// Keeps the tables from being rewritten under the transaction, and tells what it sees.
    async fn look(
        &self,
        client: &mut Client,
        tables: &[CapturedTable],
    ) -> Result<copying::Seen, PgError> {
        for tables in tables.chunks(catalog::TABLES_AT_ONCE) {
            let names: Vec<String> = tables.iter().map(CapturedTable::quoted).collect();
            let names = names.join(", ");
            client
                .simple_query(&format!("LOCK TABLE {names} IN ACCESS SHARE MODE"))
                .await?;
        }
        let rows = client
            .simple_query(
                "SELECT (extract(epoch FROM current_timestamp) * 1000000)::bigint, \
                 txid_current_snapshot(), \
                 CASE WHEN pg_is_in_recovery() THEN NULL ELSE txid_current() END",
            )
            .await?;
        let row = rows.into_iter().next().unwrap_or_default();
        let text = |at: usize| row.get(at).cloned().flatten();
        Ok(copying::Seen {
            position: SnapshotPosition {
                lsn: self.lsn,
                tx_id: text(2).and_then(|text| text.parse().ok()),
                ts_us: text(0)
                    .and_then(|text| text.parse().ok())
                    .unwrap_or_default(),
                completed: false,
            },
            view: text(1).unwrap_or_default(),
        })
    }
}

/// The topic of positions: created compacted where it is missing.
async fn offsets_topic(config: &Config, driver: &mut Driver) -> Result<produce::TopicId, Error> {
    let settings = &config.offsets;
    let creation = TopicCreation {
        topics: Filter::All,
        except: Filter::All,
        partitions: settings.partitions,
        replication_factor: settings.replication_factor,
        configs: [("cleanup.policy".to_owned(), "compact".to_owned())].into(),
    };
    let topic = driver.producer().topic_created(&settings.topic, creation);
    driver.find(topic).await?;
    Ok(topic)
}

/// The tables, and the publication that has them.
async fn captured_tables(
    config: &Config,
    client: &mut Client,
    server: &Server,
) -> Result<Vec<CapturedTable>, Error> {
    let (source, capture) = (&config.source, &config.capture);
    let tables = catalog::captured_tables(client, capture).await?;
    if tables.is_empty() {
        tracing::warn!(
            connector = config.name,
            "no table matches the filters: nothing is captured until one does"
        );
    }
    catalog::ensure_publication(client, server, source, capture, &tables).await?;
    Ok(tables)
}

/// Whether every captured column can be read in binary: the server sends all tables in one
/// form, and text only for types that have no other. From PostgreSQL 14 on.
async fn may_ask_for_binary(
    config: &Config,
    client: &mut Client,
    server: &Server,
    types: &mut Types,
    captured: &[CapturedTable],
) -> Result<bool, Error> {
    let own = &config.source.slot_stream_params;
    if server.version < 140_000 || own.iter().any(|(name, _)| name == "binary") {
        return Ok(false);
    }
    for captured in captured.chunks(catalog::TABLES_AT_ONCE) {
        let oids: Vec<u32> = captured.iter().map(|table| table.oid).collect();
        let tables = catalog::tables(client, types, &oids).await?;
        if !tables
            .iter()
            .all(|table| tables::reads_binary(table, config))
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A stored position.
struct Found {
    stored: Stored,
    /// As it is stored.
    value: Vec<u8>,
}

/// The position that was stored last. The topic is the truth, but where a standalone Connect has
/// gone on from the file since then.
async fn read_stored(config: &Config, key: &[u8]) -> Result<Option<Found>, Error> {
    let topic = &config.offsets.topic;
    let isolation = if mutant::is(Mutant::ReadUncommitted) {
        Isolation::ReadUncommitted
    } else {
        Isolation::ReadCommitted
    };
    let last = produce::last_value(&config.sink, topic, key, isolation).await?;
    let found = |from: &str, value: Vec<u8>| match offsets::parse(&value) {
        Ok(stored) => Ok(Found { stored, value }),
        Err(why) => Err(unreadable(config, from, why)),
    };
    let stored = match last {
        // Somebody has removed it.
        Some(None) => return Ok(None),
        Some(Some(value)) => Some(found(topic, value)?),
        None => None,
    };
    let Some(file) = &config.offsets.file else {
        return Ok(stored);
    };
    let Some(value) = read_file(config, file)? else {
        return Ok(stored);
    };
    let filed = found(file, value)?;
    match stored {
        Some(stored)
            if offsets::home(&filed.value).is_some()
                || !filed.stored.is_further(&stored.stored) =>
        {
            Ok(Some(stored))
        }
        _ => {
            tracing::info!(file, "the position is taken over from the offset file");
            Ok(Some(filed))
        }
    }
}

/// The connector's position in the file of a standalone worker.
fn read_file(config: &Config, file: &str) -> Result<Option<Vec<u8>>, Error> {
    let bytes = match std::fs::read(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.map_err(|why| unreadable(config, file, why.to_string()))?,
    };
    let entries = offset_file::parse(&bytes);
    let entries = entries.map_err(|why| unreadable(config, file, why.to_string()))?;
    let found = offset_file::find(&entries, &config.name, &config.encode.topic_prefix);
    Ok(found.map(<[u8]>::to_vec))
}

fn unreadable(config: &Config, from: &str, why: String) -> Error {
    let what = format!("the position of {} in {from}", config.name);
    Error::fatal(Blame::Data, what, why)
}

/// `skipped.operations` as bits; truncations where the property was not set.
fn skipped(config: &Config) -> u8 {
    match &config.capture.skipped_operations {
        None => bit(Operation::Truncate),
        Some(operations) => operations.iter().fold(0, |bits, op| bits | bit(*op)),
    }
}

fn bit(op: Operation) -> u8 {
    1 << op as u8
}

/// A UUID of version 7: new for each life of a pipe, ordered by time.
fn run_id() -> String {
    let mut bytes = [0u8; 16];
    let _ = net::fill_random(&mut bytes);
    let ms = net::now_unix_us().cast_unsigned() / 1000;
    bytes[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
    bytes[6] = bytes[6] & 0x0f | 0x70;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

impl From<PgError> for Error {
    fn from(error: PgError) -> Self {
        let remedy = error.remedy().map(str::to_owned);
        let retriable = error.retriable() && !mutant::is(Mutant::GiveUp);
        let what = format!("PostgreSQL {}", error.target);
        Self {
            blame: Blame::Postgres,
            what,
            why: error.fault.to_string(),
            remedy,
            retriable,
            fenced: false,
        }
    }
}

impl From<produce::Error> for Error {
    fn from(error: produce::Error) -> Self {
        let retriable = error.retriable();
        let fenced = matches!(error, produce::Error::Fenced { .. });
        let blame = match error {
            produce::Error::Configuration { .. } => Blame::Configuration,
            produce::Error::RecordTooLarge { .. } => Blame::Data,
            _ => Blame::Kafka,
        };
        Self {
            blame,
            what: "Kafka".to_owned(),
            why: error.to_string(),
            remedy: None,
            retriable,
            fenced,
        }
    }
}

impl From<RegistryError> for Error {
    fn from(error: RegistryError) -> Self {
        let retriable = error.retriable();
        let what = "schema registry".to_owned();
        // What cannot pass by itself, as a certificate, says what to do about it in its own words.
        let may_pass = retriable && matches!(error, RegistryError::Unreachable { .. });
        let remedy = may_pass.then(|| {
            "check schema.registry.url of the converters, and that the registry runs".to_owned()
        });
        Self {
            blame: Blame::Registry,
            what,
            why: error.to_string(),
            remedy,
            retriable,
            fenced: false,
        }
    }
}
