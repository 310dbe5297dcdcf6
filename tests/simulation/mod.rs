//! The whole pipe against peers in memory, in virtual time, while everything breaks by seed.
//!
//! ```text
//!   seed ─► world ─► workload ──► postgres ◄─┐
//!              └───► faults ──► lines ◄──────┼──► pipe (the real one; killed, started again)
//!                               brokers ◄────┘
//!                                  └──► judge
//! ```

mod brokers;
mod database;
mod judge;
mod memory;
mod network;
mod postgres;
mod random;
mod registry;
pub(crate) mod scenes;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use engine::budget::Budget;
use engine::config::{Config, Properties};
use engine::net::{self, Stream, Surroundings};
use engine::pipe::{self, Error, Phase, Status};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::{Instant, sleep, sleep_until};

use brokers::Cluster;
use database::Database;
use judge::Judge;
use kafkawire::batch::Record;
use network::{Line, Session};
pub(crate) use random::Random;
use registry::Registry;

/// `topic.prefix`
const PREFIX: &str = "sim";
/// `offset.storage.topic`
const OFFSETS: &str = "sim-offsets";
/// What every connector has.
const CONNECTOR: &str = "name=sim\n\
    connector.class=io.debezium.connector.postgresql.PostgresConnector\ntopic.prefix=sim\n\
    database.hostname=postgres\ndatabase.user=u\ndatabase.dbname=simulated\n\
    database.sslmode=disable\nplugin.name=pgoutput\nslot.name=simulated\n\
    publication.name=p\npublication.autocreate.mode=filtered\n";
/// What those have that leave rows out.
const LEAVE_OUT: &str = "errors.tolerance=all\nerrors.deadletterqueue.topic.name=sim-dead\n\
    errors.deadletterqueue.topic.replication.factor=1\n";
/// `errors.deadletterqueue.topic.name`
const DEAD_LETTERS: &str = "sim-dead";
/// The virtual day on which every simulation begins: 2026-01-01, us since 1970-01-01 UTC.
const BEGIN_US: i64 = 1_767_225_600_000_000;
/// Faults stop for good after so long.
const FAULTS_FOR: Duration = Duration::from_secs(40);
/// Then everything must have come through within this.
const CALM_WITHIN: Duration = Duration::from_secs(400);
/// A pipe that is told to stop does so within this.
const STOPS_WITHIN: Duration = Duration::from_secs(5);
/// What a pipe may have of the heap beside its budget and its connections: answers, topics, its
/// configuration. The real one has 16 MiB for all of it, and its code.
const BESIDE: usize = 512 << 10;
/// What a connection to PostgreSQL has.
const CONNECTION: usize = 256 << 10;

/// Who listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Host {
    Postgres,
    Broker(i32),
    Registry,
}

/// What a story is mostly about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Theme {
    Anything,
    /// Interruptions of the initial copy.
    Copy,
    /// More than there is memory for.
    Flood,
}

/// Everything around the pipe.
pub(crate) struct World {
    pub(crate) random: RefCell<Random>,
    pub(crate) database: RefCell<Database>,
    pub(crate) cluster: RefCell<Cluster>,
    pub(crate) registry: RefCell<Registry>,
    theme: Theme,
    /// There is a pipe, and what it does is judged.
    pub(crate) judged: Cell<bool>,
    pub(crate) judge: RefCell<Judge>,
    pub(crate) lines: RefCell<Vec<Rc<Line>>>,
    /// Things go wrong.
    pub(crate) faults: Cell<bool>,
    /// How far the clock of our machine is off.
    clock_off_us: Cell<i64>,
    /// The database has news for whoever waits.
    pub(crate) changed: Notify,
    counts: RefCell<BTreeMap<&'static str, u64>>,
    next_line: Cell<u64>,
    began: Instant,
    trace: RefCell<DefaultHasher>,
    events: Cell<u64>,
    verbose: bool,
    failure: RefCell<Option<String>>,
    failed: Notify,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        // Neighbouring seeds shall have nothing in common.
        random.next();
        let themes = [Theme::Anything, Theme::Copy, Theme::Anything, Theme::Flood];
        let theme = match random.below(8) {
            at @ 0..4 => themes[usize::try_from(at).unwrap_or_default()],
            4..6 => Theme::Copy,
            _ => Theme::Anything,
        };
        Self {
            theme,
            judged: Cell::new(true),
            database: RefCell::new(Database::new(&mut random)),
            cluster: RefCell::new(Cluster::new(&mut random)),
            random: RefCell::new(random),
            registry: RefCell::default(),
            judge: RefCell::default(),
            lines: RefCell::default(),
            faults: Cell::new(false),
            clock_off_us: Cell::new(0),
            changed: Notify::new(),
            counts: RefCell::default(),
            next_line: Cell::new(0),
            began: net::now(),
            trace: RefCell::default(),
            events: Cell::new(0),
            verbose: std::env::var_os("TRACE").is_some(),
            failure: RefCell::default(),
            failed: Notify::new(),
        }
    }

    pub(crate) fn now_unix_us(&self) -> i64 {
        let since = net::now().duration_since(self.began);
        BEGIN_US + i64::try_from(since.as_micros()).unwrap_or_default()
    }

    /// A record became visible.
    pub(crate) fn see(&self, topic: &str, record: &Record<'_>) {
        if self.verbose && topic == OFFSETS {
            let value = record.value.unwrap_or_default();
            eprintln!("{:>12} stored {}", "", String::from_utf8_lossy(value));
        }
        let mut judge = self.judge.borrow_mut();
        judge.see(&self.registry.borrow(), topic, record);
    }

    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.random.borrow_mut().below(bound)
    }

    pub(crate) fn index(&self, bound: usize) -> usize {
        self.random.borrow_mut().index(bound)
    }

    pub(crate) fn chance(&self, of: u64, in_all: u64) -> bool {
        self.random.borrow_mut().chance(of, in_all)
    }

    /// A claim is violated. The first one counts.
    pub(crate) fn fail(&self, why: String) {
        self.failure.borrow_mut().get_or_insert(why);
        self.failed.notify_one();
    }

    pub(crate) fn count(&self, what: &'static str) {
        *self.counts.borrow_mut().entry(what).or_default() += 1;
        self.note(what, 0, 0);
    }

    /// Two have stored positions over each other, which only exactly-once prevents: what was lost
    /// by that is copied, and the history has a hole.
    pub(crate) fn end_over_gap(&self) {
        if self.judge.borrow().exactly_once {
            return self.fail("the slot is ahead of the stored position".to_owned());
        }
        self.count("story ended by two that stored positions");
        self.failed.notify_one();
    }

    /// Whether that was counted before.
    fn has_seen(&self, what: &str) -> bool {
        self.counts.borrow().contains_key(what)
    }

    /// Something happened: the same, at the same time, whenever the seed is the same.
    pub(crate) fn note(&self, what: &str, of: u64, how: u64) {
        let at = net::now().duration_since(self.began);
        self.events.set(self.events.get() + 1);
        (at.as_nanos(), what, of, how).hash(&mut *self.trace.borrow_mut());
        if self.verbose {
            eprintln!("{:>12.3} {what} {of} {how:#x}", at.as_secs_f64() * 1000.0);
        }
    }

    fn session(&self, host: &str) -> Option<(Host, Session)> {
        match host {
            "postgres" => {
                let database = self.database.borrow();
                let session = postgres::Session::new(database.starts);
                let session = Session::Postgres(Box::new(session));
                database.is_up().then_some((Host::Postgres, session))
            }
            "registry" => {
                let session = Session::Registry(registry::Session::default());
                let up = self.registry.borrow().is_up();
                up.then_some((Host::Registry, session))
            }
            broker => {
                let node = broker.strip_prefix('b')?.parse().ok()?;
                let up = self.cluster.borrow().is_up(node);
                up.then(|| {
                    (
                        Host::Broker(node),
                        Session::Broker(brokers::Session::new(node)),
                    )
                })
            }
        }
    }
}

/// What one process of ours sees of the world.
struct Process {
    world: Rc<World>,
    number: u32,
}

impl Surroundings for Process {
    fn connect(&self, host: &str, _port: u16) -> io::Result<Stream> {
        memory::of_world(|| {
            let world = &self.world;
            let refused = world.faults.get() && world.chance(1, 60);
            let Some((host, session)) = world.session(host).filter(|_| !refused) else {
                world.count("connection refused");
                return Err(io::ErrorKind::ConnectionRefused.into());
            };
            let id = world.next_line.get();
            world.next_line.set(id + 1);
            world.note("connect", id, u64::from(self.number));
            let line = Line::new(world, id, self.number, host);
            Ok(network::open(world, line, session))
        })
    }

    fn now_unix_us(&self) -> i64 {
        self.world.now_unix_us() + self.world.clock_off_us.get()
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        let mut random = self.world.random.borrow_mut();
        for chunk in bytes.chunks_mut(8) {
            let drawn = random.next().to_le_bytes();
            chunk.copy_from_slice(&drawn[..chunk.len()]);
        }
    }
}

/// A pipe that runs.
struct Running {
    number: u32,
    /// The whole process stands still until then, as a machine does that is moved.
    paused_until: Rc<Cell<Option<Instant>>>,
    task: JoinHandle<Result<(), Error>>,
    stop: watch::Sender<bool>,
    status: watch::Receiver<Status>,
}

impl Running {
    fn start(world: &Rc<World>, number: u32, config: &Config) -> Self {
        world.note("process", u64::from(number), 0);
        let (stop, stopped) = watch::channel(false);
        let (sender, status) = watch::channel(Status::default());
        let process = Rc::new(Process {
            world: Rc::clone(world),
            number,
        });
        let run = net::within(process, pipe::run(config.clone(), stopped, sender));
        let paused_until = Rc::new(Cell::new(None));
        let work = with_pauses(number, run, Rc::clone(&paused_until));
        let task = tokio::task::spawn_local(work);
        Self {
            number,
            paused_until,
            task,
            stop,
            status,
        }
    }

    /// A fence that turned out to be nobody's doing has just ended an attempt.
    fn was_fenced(&mut self) -> bool {
        if !self.status.has_changed().unwrap_or(false) {
            return false;
        }
        let phase = &self.status.borrow_and_update().phase;
        matches!(phase, Phase::Waiting { why } if why.contains("nobody has taken the slot"))
    }

    /// It stands still until then, or for longer if it did so already.
    fn pause(&self, until: Instant) {
        let before = self.paused_until.get().unwrap_or(until);
        self.paused_until.set(Some(until.max(before)));
    }

    /// As `kill -9` does, or a power cut: peers may learn of it late, and what was on its way may
    /// not arrive.
    async fn kill(self, world: &World) {
        let lines: Vec<_> = world.lines.borrow().clone();
        let of_mine = |line: &&Rc<Line>| line.process == self.number;
        let quiet = world.chance(1, 4);
        for line in lines.iter().filter(of_mine) {
            let mut random = world.random.borrow_mut();
            let arrives = if random.chance(1, 2) {
                usize::MAX
            } else {
                random.index(400)
            };
            let linger = if quiet { random.below(20_000) } else { 0 };
            line.orphan(Duration::from_millis(linger), arrives);
        }
        self.task.abort();
        // Dropped when this returns.
        let _ = self.task.await;
    }

    /// As SIGTERM does: it finishes what it has begun, in the time there is.
    async fn stop(self, world: &World) {
        if let Some(until) = self.paused_until.get() {
            sleep_until(until).await;
        }
        let _ = self.stop.send(true);
        match tokio::time::timeout(STOPS_WITHIN, self.task).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => {
                if let Err(why) = may_end(world, &error) {
                    world.fail(format!("told to stop: {why}"));
                }
            }
            Ok(Err(panic)) => world.fail(format!("told to stop, the pipe panicked: {panic}")),
            Err(_) => world.fail("told to stop, the pipe does not".to_owned()),
        }
    }
}

/// Runs `work`, but not while it is paused. What it takes of the heap is the process's.
async fn with_pauses<F: Future>(
    number: u32,
    work: F,
    paused_until: Rc<Cell<Option<Instant>>>,
) -> F::Output {
    let mut work = pin!(work);
    let mut timer = pin!(sleep(Duration::ZERO));
    poll_fn(|cx| {
        if let Some(until) = paused_until.get() {
            timer.as_mut().reset(until);
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            paused_until.set(None);
        }
        memory::of_process(number, || work.as_mut().poll(cx))
    })
    .await
}

/// What a simulation was like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    /// Of all that happened, with its times.
    pub(crate) trace: u64,
    pub(crate) events: u64,
    pub(crate) records: u64,
    pub(crate) changes: u64,
    pub(crate) virtual_time: Duration,
    /// The most bytes that one pipe had.
    pub(crate) memory: usize,
    pub(crate) counts: BTreeMap<&'static str, u64>,
    pub(crate) failure: Option<String>,
}

/// Runs `work` on one thread, by a clock that jumps to the next thing that is due.
fn in_virtual_time<F: Future>(work: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, work)
}

/// Runs one seed from beginning to end.
pub(crate) fn simulate(seed: u64) -> Report {
    memory::reset();
    in_virtual_time(async {
        let world = Rc::new(World::new(seed));
        tokio::select! {
            biased;
            () = world.failed.notified() => {}
            () = story(&world) => {}
        }
        let trace = world.trace.borrow().finish();
        let database = world.database.borrow();
        let changes = database.committed.iter().map(|it| it.changes.len() as u64);
        Report {
            trace,
            events: world.events.get(),
            records: world.judge.borrow().records,
            changes: changes.sum(),
            virtual_time: net::now().duration_since(world.began),
            memory: memory::peak(),
            counts: world.counts.borrow().clone(),
            failure: world.failure.borrow().clone(),
        }
    })
}

/// Lets `talk` speak with a simulated PostgreSQL of that version.
pub(crate) fn with_database<F: Future>(
    version: u32,
    talk: impl FnOnce(Rc<World>) -> F,
) -> F::Output {
    in_virtual_time(async {
        let world = Rc::new(World::new(0));
        world.judged.set(false);
        world.database.borrow_mut().version = version;
        let said = talk(Rc::clone(&world)).await;
        assert_eq!(*world.failure.borrow(), None);
        said
    })
}

/// A connection to that PostgreSQL.
pub(crate) fn database_connection(world: &Rc<World>) -> Stream {
    let id = world.next_line.get();
    world.next_line.set(id + 1);
    let line = Line::new(world, id, 0, Host::Postgres);
    let session = postgres::Session::new(world.database.borrow().starts);
    network::open(world, line, Session::Postgres(Box::new(session)))
}

/// It is shut down and started, and has told all sessions to go.
pub(crate) fn restart_database(world: &World) {
    let now = net::now();
    world.database.borrow_mut().restart(now, Duration::ZERO);
    for line in world.lines.borrow().iter() {
        line.poke();
    }
}

/// It dies, and is started again.
pub(crate) fn crash_database(world: &World) {
    for line in world.lines.borrow().iter() {
        line.cut();
    }
    world
        .database
        .borrow_mut()
        .crash(net::now(), Duration::ZERO);
}

/// Lets `talk` speak with the one of the simulated brokers that leads and coordinates everything.
pub(crate) fn with_broker<F: Future>(level: i16, talk: impl FnOnce(Stream) -> F) -> F::Output {
    in_virtual_time(async {
        let world = Rc::new(World::new(0));
        world.cluster.borrow_mut().be_one(level);
        let line = Line::new(&world, 0, 0, Host::Broker(0));
        let session = Session::Broker(brokers::Session::new(0));
        talk(network::open(&world, line, session)).await
    })
}

/// Rows, a pipe, faults, calm; then the judgement.
async fn story(world: &Rc<World>) {
    let config = config(world);
    let budget = config.budget;
    // The receive buffer grows by half for what comes with the largest row.
    let allowed = budget.received * 2
        + budget.records
        + budget.tables * 2
        + CONNECTION * (config.capture.snapshot_max_threads as usize + 3)
        + BESIDE;
    if world.theme == Theme::Copy {
        let mut database = world.database.borrow_mut();
        let rest = world.random.borrow_mut().pick(&[50, 200, 400]);
        database.copy_rest = Duration::from_millis(rest);
    }
    world.database.borrow_mut().large = world.theme == Theme::Flood;
    world.database.borrow_mut().huge = config.errors.tolerated;
    if world.database.borrow().next_xid > u64::from(u32::MAX) {
        world.count("xids have come round");
    }
    world.judge.borrow_mut().exactly_once = config.sink.exactly_once;
    let keys = 2 + world.below(30);
    let most = if world.theme == Theme::Copy { 80 } else { 12 };
    for _ in 0..world.below(most) {
        work(world, keys);
    }
    let mut running = Some(Running::start(world, 0, &config));
    let mut doubles = Vec::new();
    let mut number = 0;
    let mut at_work = true;
    let mut end = None;
    let mut next_fault = net::now();
    let mut next_work = net::now();
    let deadline = net::now() + FAULTS_FOR + CALM_WITHIN;
    loop {
        let now = net::now();
        // Nothing breaks before the slot is there: only a pipe that has begun promises anything.
        if !world.faults.get() && end.is_none() && world.database.borrow().has_slot() {
            world.faults.set(true);
            let percent = u32::try_from(world.below(100)).unwrap_or_default();
            end = Some(now + FAULTS_FOR * percent / 100);
            next_fault = now;
        }
        if world.faults.get() && end.is_some_and(|end| now >= end) {
            world.faults.set(false);
            at_work = false;
            world.note("calm", 0, 0);
            world.lines.borrow().iter().for_each(|line| line.hurry());
            for double in std::mem::take(&mut doubles) {
                Running::kill(double, world).await;
            }
            while let Some(xid) = first_open(world) {
                world.database.borrow_mut().commit(xid, world.now_unix_us());
            }
            world.changed.notify_waiters();
        }
        if at_work && now >= next_work {
            work(world, keys);
            world.changed.notify_waiters();
            next_work = now + Duration::from_millis(world.below(400));
        }
        if world.faults.get() && now >= next_fault {
            running = harm(world, running, &mut doubles, &mut number, &config).await;
            let most = if world.theme == Theme::Copy {
                2500
            } else {
                4000
            };
            next_fault = now + Duration::from_millis(world.below(most));
        }
        if memory::peak() > allowed {
            return world.fail(format!(
                "the pipe has taken {} KiB of the heap, and {} are allowed",
                memory::peak() >> 10,
                allowed >> 10
            ));
        }
        if running.as_mut().is_some_and(Running::was_fenced) {
            world.count("fence that nobody explains");
        }
        if !at_work && is_through(world) {
            break;
        }
        if now >= deadline {
            let confirmed = world.database.borrow().confirmed();
            return world.fail(format!(
                "no progress: {confirmed:#x} is confirmed, and the WAL ends at {:#x}",
                world.database.borrow().lsn
            ));
        }
        let mut pause = now + Duration::from_millis(100);
        if at_work {
            pause = pause.min(next_work);
        }
        if world.faults.get() {
            pause = pause.min(next_fault);
        }
        let pause = pause.max(now + Duration::from_millis(1));
        let Some(mut pipe) = running.take() else {
            sleep(pause - now).await;
            number += 1;
            running = Some(Running::start(world, number, &config));
            continue;
        };
        let ended = tokio::select! {
            biased;
            ended = &mut pipe.task => Some(ended),
            () = sleep_until(pause) => None,
        };
        match ended {
            None => running = Some(pipe),
            Some(Ok(Ok(()))) => return world.fail("the pipe ended by itself".to_owned()),
            Some(Ok(Err(error))) => {
                if world.verbose {
                    eprintln!("{error}");
                }
                world.count("pipe ended with an error");
                if is_overwritten(world, &error) {
                    world.count("story ended by two that stored positions");
                    return;
                }
                if let Err(why) = may_end(world, &error) {
                    return world.fail(why);
                }
                sleep(Duration::from_secs(1)).await;
            }
            Some(Err(panic)) => return world.fail(format!("the pipe panicked: {panic}")),
        }
    }
    let Some(pipe) = running else { return };
    pipe.stop(world).await;
    // The markers of the last transaction may still be on their way.
    sleep(Duration::from_secs(1)).await;
    world.cluster.borrow_mut().settle(world);
    world.check_history();
}

fn first_open(world: &World) -> Option<u64> {
    world
        .database
        .borrow()
        .any_open(&mut world.random.borrow_mut())
}

/// Whether an error that ended the pipe may be: whoever supervises it starts it again.
fn may_end(world: &World, error: &Error) -> Result<(), String> {
    let mut others = ["pipe doubled", "pipe killed", "pipe stopped"].iter();
    let others = others.any(|what| world.has_seen(what));
    let fine = error.retriable
        // Two that both live, or one whose last words are heard late: either may be told to go.
        || others && error.why.contains("another instance has taken over")
        // A predecessor that has not let go yet.
        || error.why.contains("is active for PID");
    if fine {
        Ok(())
    } else {
        Err(format!("the pipe gave up: {error}"))
    }
}

/// Without exactly-once nothing keeps a pipe that is taken for dead from storing its position over
/// its successor's. If the slot has moved on since, the next start says so and asks a person: that
/// is the end of this story.
fn is_overwritten(world: &World, error: &Error) -> bool {
    let judge = world.judge.borrow();
    !judge.exactly_once
        && judge.went_back
        && world.has_seen("pipe doubled")
        && error.why.contains("somebody else has advanced it")
}

/// Everything that committed is confirmed.
fn is_through(world: &World) -> bool {
    let database = world.database.borrow();
    let end = database.committed.last().map_or(0, |last| last.end);
    world.judge.borrow().settled && database.has_slot() && database.confirmed() >= end
}

/// Some work of the database's users.
fn work(world: &World, keys: u64) {
    let database = &mut *world.database.borrow_mut();
    let random = &mut *world.random.borrow_mut();
    let now_us = world.now_unix_us();
    let xid = match database.any_open(random) {
        Some(xid) if database.open_transactions() > 3 || random.chance(2, 3) => xid,
        _ => database.begin(),
    };
    let most = match world.theme {
        Theme::Flood if random.chance(1, 8) => 300,
        _ if random.chance(1, 20) => 60,
        _ => 5,
    };
    for _ in 0..random.below(most) {
        database.change(xid, random, keys);
    }
    match random.below(10) {
        0..5 => database.commit(xid, now_us),
        5 => database.roll_back(xid),
        6 => database.write_other(random),
        7 => database.checkpoint(),
        8 if random.chance(1, 4) && database.rewrite(random) => world.count("table rewritten"),
        9 if random.chance(1, 4) && database.truncate(random, now_us) => {
            world.count("table truncated");
        }
        9 if random.chance(1, 3) && database.alter(random) => world.count("table altered"),
        _ => {}
    }
}

/// One fault.
async fn harm(
    world: &Rc<World>,
    mut running: Option<Running>,
    doubles: &mut Vec<Running>,
    number: &mut u32,
    config: &Config,
) -> Option<Running> {
    let now = net::now();
    let (kind, ms) = {
        let mut random = world.random.borrow_mut();
        let kind = match random.below(26) {
            // What interrupts a copy.
            _ if world.theme == Theme::Copy && random.chance(1, 3) => {
                random.pick(&[16, 19, 19, 20, 21, 22])
            }
            kind => kind,
        };
        (kind, random.below(5000))
    };
    let lines: Vec<_> = world.lines.borrow().clone();
    let any = (!lines.is_empty()).then(|| {
        let at = world.index(lines.len());
        Rc::clone(&lines[at])
    });
    match kind {
        0..4 => {
            if let Some(line) = any {
                world.count("line cut");
                line.cut();
            }
        }
        4..7 => {
            if let Some(line) = any {
                world.count("line cut after some bytes");
                line.cut_after(1 + world.index(3000));
            }
        }
        7..9 => {
            if let Some(line) = any {
                world.count("line frozen");
                line.freeze(now + Duration::from_millis(ms));
            }
        }
        9..12 => {
            world.count("leaders moved");
            let random = &mut *world.random.borrow_mut();
            world.cluster.borrow_mut().move_leaders(random);
        }
        12..14 => {
            world.count("coordinator moved");
            let random = &mut *world.random.borrow_mut();
            world.cluster.borrow_mut().move_coordinator(random);
        }
        14..16 => {
            world.count("broker killed");
            let node = i32::try_from(world.below(3)).unwrap_or_default();
            let random = &mut *world.random.borrow_mut();
            let back = now + Duration::from_millis(ms);
            world.cluster.borrow_mut().kill(node, back, random);
            for line in lines.iter().filter(|line| line.host == Host::Broker(node)) {
                line.cut();
            }
        }
        16 => {
            world.count("PostgreSQL crashed");
            for line in lines.iter().filter(|line| line.host == Host::Postgres) {
                line.cut();
            }
            let back = now + Duration::from_millis(ms);
            let starts = Duration::from_millis(world.below(500));
            world.database.borrow_mut().crash(back, starts);
        }
        17 => {
            world.count("pipe paused");
            if let Some(pipe) = &running {
                pipe.pause(now + Duration::from_millis(ms * 4));
            }
        }
        18 => {
            // Taken for dead, it lives on beside its successor.
            world.count("pipe doubled");
            if let Some(pipe) = running.take() {
                let wait = Duration::from_millis(ms * (1 + world.below(20)));
                pipe.pause(now + wait);
                doubles.push(pipe);
            }
            *number += 1;
            running = Some(Running::start(world, *number, config));
        }
        20 => {
            world.count("PostgreSQL restarted");
            let back = now + Duration::from_millis(ms);
            let starts = Duration::from_millis(world.below(500));
            world.database.borrow_mut().restart(back, starts);
            for line in lines.iter().filter(|line| line.host == Host::Postgres) {
                line.poke();
            }
        }
        21 => {
            world.count("pipe stopped");
            if let Some(pipe) = running.take() {
                pipe.stop(world).await;
            }
            *number += 1;
            running = Some(Running::start(world, *number, config));
        }
        22 => {
            world.count("registry down");
            let back = now + Duration::from_millis(ms * 2);
            world.registry.borrow_mut().down_until = Some(back);
        }
        23 => {
            world.count("clock jumped");
            let off = i64::try_from(world.below(7_200)).unwrap_or_default() - 3600;
            world.clock_off_us.set(off * 1_000_000);
        }
        25 => {
            if let Some(line) = any {
                world.count("line cut, and heard late");
                line.hang_up(now + Duration::from_millis(ms * 2));
            }
        }
        _ => {
            world.count("pipe killed");
            if let Some(pipe) = running.take() {
                pipe.kill(world).await;
            }
            *number += 1;
            running = Some(Running::start(world, *number, config));
        }
    }
    running
}

/// A configuration by chance; what is not named is as users have it.
fn config(world: &World) -> Config {
    let random = &mut *world.random.borrow_mut();
    let worker = format!(
        "bootstrap.servers=b0:9092,b1:9092,b2:9092\n\
         offset.storage.topic={OFFSETS}\noffset.storage.partitions=2\n\
         offset.storage.replication.factor=1\noffset.flush.interval.ms={}\n\
         exactly.once.source.support={}\n",
        random.pick(&[100, 1000, 5000]),
        random.pick(&["enabled", "enabled", "enabled", "enabled", "disabled"]),
    );
    let connector = format!(
        "{CONNECTOR}{}{}snapshot.max.threads={}\n\
         topic.creation.default.partitions={}\ntopic.creation.default.replication.factor=1\n\
         errors.retry.timeout={}\nerrors.retry.delay.max.ms=3000\n\
         retriable.restart.connector.wait.ms=2000\nslot.max.retries=20\nslot.retry.delay.ms=2000\n\
         producer.override.request.timeout.ms=3000\n\
         producer.override.linger.ms={}\nproducer.override.batch.size={}\n\
         producer.override.buffer.memory={}\n\
         producer.override.max.in.flight.requests.per.connection={}\n\
         producer.override.compression.type={}\n\
         producer.override.transaction.timeout.ms={}\n",
        // As it is by default, mostly.
        random.pick(&["", "", "penstock.transaction.version=2\n"]),
        // Some rows are too large, and are left out.
        random.pick(&["", "", "", LEAVE_OUT]),
        random.pick(&[1, 1, 2, 4]),
        random.pick(&[1, 3]),
        random.pick(&[0, 5000, -1]),
        random.pick(&[0, 1, 5, 20]),
        random.pick(&[300, 1000, 16384]),
        random.pick(&[8_000, 100_000, 33_554_432]),
        random.pick(&[1, 2, 5]),
        random.pick(&["none", "none", "lz4"]),
        random.pick(&[2_000, 10_000, 60_000]),
    );
    let converters: String = ["key", "value"]
        .map(|side| match random.chance(1, 3) {
            false => format!(
                "{side}.converter=org.apache.kafka.connect.json.JsonConverter\n\
                 {side}.converter.schemas.enable=false\n"
            ),
            true => format!(
                "{side}.converter=io.confluent.connect.avro.AvroConverter\n\
                 {side}.converter.schema.registry.url=http://registry:8081\n"
            ),
        })
        .concat();
    let mut config = load(&worker, &(connector + &converters));
    if world.theme == Theme::Flood || random.chance(1, 2) {
        // As little as a simulation can fill.
        config.budget = Budget {
            received: 64 << 10,
            records: 192 << 10,
            tables: 32 << 10,
            ..config.budget
        };
        config.sink.records_bytes_max = config.budget.records;
    }
    config
}

fn load(worker: &str, connector: &str) -> Config {
    let worker = Properties::parse(worker.as_bytes()).expect("lines");
    let connector = Properties::parse(connector.as_bytes()).expect("lines");
    match Config::load(&worker, &connector) {
        Ok((config, _)) => config,
        Err(problems) => panic!("{problems:?}"),
    }
}
