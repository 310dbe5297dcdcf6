//! Lines between a pipe and its peers: bytes with delays, cut at any byte, frozen, dropped.
//!
//! A line is one connection. Its task reads what the pipe wrote, hands it to the peer's session
//! when it has arrived, and writes what the session says when that has arrived. Everything that
//! happens to it is drawn from the world's randomness, so it happens again with the same seed.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use engine::net::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::{Host, World, brokers, postgres, registry};

/// Bytes that wait in each direction before whoever writes must wait.
const WINDOW: usize = 16 << 10;

/// One connection, as the faults see it.
#[derive(Debug)]
pub(crate) struct Line {
    /// Numbered in the order in which they are made.
    pub(crate) id: u64,
    /// Which process of ours opened it.
    pub(crate) process: u32,
    pub(crate) host: Host,
    /// Bytes until it breaks, by direction.
    to_peer: Cell<usize>,
    from_peer: Cell<usize>,
    /// Nothing moves before.
    frozen_until: Cell<Option<Instant>>,
    /// How long the peer takes our end for alive after it is gone.
    linger: Cell<Duration>,
    /// Each delay is multiplied.
    slowness: Cell<u32>,
    dead: Cell<bool>,
    /// Our end is told that the peer is gone.
    hung_up: Cell<bool>,
    news: Notify,
}

/// What a session wants after a step.
#[derive(Debug, Default)]
pub(crate) struct Step {
    /// To be called again then.
    pub(crate) deadline: Option<Instant>,
    /// To be called again when the database has changed.
    pub(crate) on_change: bool,
    /// There is nothing more to say.
    pub(crate) close: bool,
}

/// The peer's side of one connection.
pub(crate) enum Session {
    Postgres(Box<postgres::Session>),
    Broker(brokers::Session),
    Registry(registry::Session),
}

impl Session {
    /// Takes whole messages off `input`, and appends answers to `out`.
    fn step(
        &mut self,
        world: &Rc<World>,
        line: &Line,
        input: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Step {
        match self {
            Self::Postgres(session) => session.step(world, line, input, out),
            Self::Broker(session) => session.step(world, input, out),
            Self::Registry(session) => session.step(world, input, out),
        }
    }

    fn gone(&mut self, world: &World, line: &Line) {
        if let Self::Postgres(session) = self {
            session.gone(world, line);
        }
    }
}

impl Line {
    pub(crate) fn new(world: &World, id: u64, process: u32, host: Host) -> Self {
        let mut random = world.random.borrow_mut();
        let harm = world.faults.get();
        let slowness = match random.below(8) {
            0 if harm => 40,
            1 if harm => 8,
            _ => 1,
        };
        let budget = |random: &mut super::Random| {
            if harm && random.chance(1, 10) {
                let scale = 1 << random.below(16);
                random.index(scale) + 1
            } else {
                usize::MAX
            }
        };
        Self {
            id,
            process,
            host,
            to_peer: Cell::new(budget(&mut random)),
            from_peer: Cell::new(budget(&mut random)),
            frozen_until: Cell::new(None),
            linger: Cell::new(Duration::ZERO),
            slowness: Cell::new(slowness),
            dead: Cell::new(false),
            hung_up: Cell::new(false),
            news: Notify::new(),
        }
    }

    /// Breaks at once, both ways.
    pub(crate) fn cut(&self) {
        self.dead.set(true);
        self.news.notify_one();
    }

    /// The peer has something to say.
    pub(crate) fn poke(&self) {
        self.news.notify_one();
    }

    /// Breaks after so many more bytes from the peer.
    pub(crate) fn cut_after(&self, bytes: usize) {
        self.from_peer.set(bytes);
        self.news.notify_one();
    }

    /// Is slow no longer.
    pub(crate) fn hurry(&self) {
        self.slowness.set(1);
    }

    /// Carries nothing before `until`.
    pub(crate) fn freeze(&self, until: Instant) {
        self.frozen_until.set(Some(until));
        self.news.notify_one();
    }

    /// Our end sees it break, and the peer hears what was said on it at `until`.
    pub(crate) fn hang_up(&self, until: Instant) {
        self.hung_up.set(true);
        self.freeze(until);
    }

    /// Our end is about to go without a word: the peer learns of it later, and what was on its way
    /// is lost behind the first `arrives` bytes.
    pub(crate) fn orphan(&self, linger: Duration, arrives: usize) {
        self.linger.set(linger);
        self.to_peer.set(self.to_peer.get().min(arrives));
    }

    fn delay(&self, world: &World) -> Duration {
        let mut random = world.random.borrow_mut();
        let most = match random.below(20) {
            0 if world.faults.get() => 60,
            1..5 => 12,
            _ => 3,
        };
        Duration::from_millis(random.below(most) * u64::from(self.slowness.get()))
    }
}

/// Makes a connection: our end, and a task that plays the other.
pub(crate) fn open(world: &Rc<World>, line: Line, session: Session) -> Stream {
    let (ours, theirs) = Stream::pair(WINDOW);
    let line = Rc::new(line);
    world.lines.borrow_mut().push(Rc::clone(&line));
    tokio::task::spawn_local(carry(Rc::clone(world), line, session, theirs));
    ours
}

async fn carry(world: Rc<World>, line: Rc<Line>, mut session: Session, stream: Stream) {
    let mut stream = Some(stream);
    exchange(&world, &line, &mut session, &mut stream).await;
    drop(stream);
    let linger = line.linger.get();
    if !linger.is_zero() && !line.dead.get() {
        // The server has not heard that we are gone.
        tokio::select! {
            biased;
            () = async { while !line.dead.get() { line.news.notified().await } } => {}
            () = tokio::time::sleep(linger) => {}
        }
    }
    session.gone(&world, &line);
    world.lines.borrow_mut().retain(|other| other.id != line.id);
    world.note("gone", line.id, 0);
}

async fn exchange(
    world: &Rc<World>,
    line: &Rc<Line>,
    session: &mut Session,
    stream: &mut Option<Stream>,
) {
    let Some(taken) = stream.take() else { return };
    let (mut read, mut write) = tokio::io::split(taken);
    let mut arriving = Vec::new();
    let mut arrives: Option<Instant> = None;
    let mut input = Vec::new();
    let mut pending = Vec::new();
    let mut departs = engine::net::now();
    let mut closing = false;
    let mut gone = false;
    loop {
        let now = engine::net::now();
        if line.dead.get() {
            return;
        }
        if line.hung_up.take() {
            gone = true;
            pending.clear();
            if write.shutdown().await.is_err() {
                return;
            }
        }
        let thaws = line.frozen_until.get().filter(|&until| until > now);
        if arrives.is_some_and(|at| at <= now) && thaws.is_none() {
            input.append(&mut arriving);
            arrives = None;
        }
        let mut step = Step::default();
        if !closing && thaws.is_none() && pending.is_empty() {
            step = session.step(world, line, &mut input, &mut pending);
            closing = step.close;
            if gone {
                // There is nobody to hear it.
                pending.clear();
            }
            if !pending.is_empty() {
                departs = now + line.delay(world);
            }
        }
        if closing && pending.is_empty() {
            return;
        }
        let may_write = !pending.is_empty() && thaws.is_none() && departs <= now;
        let mut deadline = step.deadline;
        let mut earlier = |at: Option<Instant>| {
            if let Some(at) = at.filter(|&at| at > now) {
                deadline = Some(deadline.map_or(at, |deadline: Instant| deadline.min(at)));
            }
        };
        earlier(thaws);
        if thaws.is_none() {
            earlier(arrives);
            earlier((!pending.is_empty()).then_some(departs));
        }
        arriving.reserve(WINDOW);
        let limit = pending.len().min(line.from_peer.get());
        tokio::select! {
            biased;
            () = line.news.notified() => {}
            taken = read.read_buf(&mut arriving), if arrives.is_none() && thaws.is_none() => {
                match taken {
                    Ok(0) | Err(_) => return,
                    Ok(bytes) => {
                        let left = line.to_peer.get();
                        world.note("heard", line.id, bytes as u64);
                        if bytes >= left {
                            // The rest never arrives, and what did is all there will be.
                            arriving.truncate(left);
                            input.append(&mut arriving);
                            session.step(world, line, &mut input, &mut pending);
                            world.count("cut on the way to a peer");
                            return;
                        }
                        if left != usize::MAX {
                            line.to_peer.set(left - bytes);
                        }
                        arrives = Some(engine::net::now() + line.delay(world));
                    }
                }
            }
            wrote = write.write(pending.get(..limit).unwrap_or_default()), if may_write => {
                let Ok(wrote) = wrote else { return };
                pending.drain(..wrote);
                world.note("said", line.id, wrote as u64);
                if line.from_peer.get() != usize::MAX {
                    line.from_peer.set(line.from_peer.get() - wrote);
                    if line.from_peer.get() == 0 {
                        world.count("cut on the way from a peer");
                        return;
                    }
                }
            }
            () = at(deadline), if deadline.is_some() => {}
            () = world.changed.notified(), if step.on_change => {}
        }
    }
}

async fn at(deadline: Option<Instant>) {
    if let Some(deadline) = deadline {
        sleep_until(deadline).await;
    }
}
