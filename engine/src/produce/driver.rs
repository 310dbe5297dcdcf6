//! The sockets and the time under a [`Producer`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use kafkawire::connection::Event;
use tokio::time::{Instant, Sleep};

use super::link::{DialError, Dialer, Link, closed_early};
use super::{Error, NodeId, Producer, TopicId};
use crate::config::Sink;

/// A producer with its connections.
///
/// [`drive`](Self::drive) is meant for one arm of a select loop: it may be dropped at any await,
/// and between two calls the producer is free to append to, with no channel and no copy between.
///
/// ```text
/// loop {
///     select! {
///         done = driver.drive() => done?,             // acknowledged() may have grown
///         read = source.read(), if !driver.producer().is_full() => { append .. mark }
///     }
/// }
/// ```
pub struct Driver {
    producer: Producer,
    dialer: Dialer,
    nodes: BTreeMap<NodeId, Node>,
    wanted: BTreeSet<NodeId>,
    began: Instant,
    timer: Pin<Box<Sleep>>,
    random: u64,
    /// `reconnect.backoff.ms` and `reconnect.backoff.max.ms`.
    reconnect: (Duration, Duration),
}

type Dialing = Pin<Box<dyn Future<Output = Result<Link, DialError>> + Send>>;

enum Node {
    /// Failed so often; not before `until`.
    Waiting {
        until: Duration,
        failures: u32,
    },
    Dialing {
        dialing: Dialing,
        failures: u32,
    },
    Ready {
        link: Box<Link>,
        retire_at: Option<Duration>,
    },
}

/// Answers that are read and requests that follow from them, before the caller gets its turn.
const SWEEPS_MAX: u32 = 8;
/// With a second between attempts, a warning about every half a minute.
const FAILURES_PER_WARNING: u32 = 30;
/// Of a session's lifetime, after which a new connection takes over.
const RETIRE_PERCENT: i64 = 85;

impl Driver {
    /// A producer for `sink`, with no connection yet.
    ///
    /// Errors: `Configuration`.
    pub fn new(sink: &Sink) -> Result<Self, Error> {
        let mut seed = [0; 8];
        // Jitter only: without randomness every client waits alike, and nothing worse.
        let _ = crate::net::fill_random(&mut seed);
        let random = u64::from_be_bytes(seed) | 1;
        Ok(Self {
            producer: Producer::new(sink.clone(), random)?,
            dialer: Dialer::new(sink)?,
            nodes: BTreeMap::new(),
            wanted: BTreeSet::new(),
            began: crate::net::now(),
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            random,
            reconnect: (sink.reconnect_backoff, sink.reconnect_backoff_max),
        })
    }

    /// The producer, to append to and to ask.
    pub fn producer(&mut self) -> &mut Producer {
        &mut self.producer
    }

    /// Sends what is ready and takes what arrives. Returns when something was answered or
    /// connected, so that the caller can look at the producer again; waits as long as nothing is.
    ///
    /// Errors: what ended the producer; see [`Error::retriable`] for whether to begin a new one.
    pub async fn drive(&mut self) -> Result<(), Error> {
        poll_fn(|cx| self.poll_drive(cx)).await
    }

    /// Drives until the producer has its identity; a transactional one has then fenced its
    /// predecessor.
    ///
    /// Errors: as [`drive`](Self::drive).
    pub async fn establish(&mut self) -> Result<(), Error> {
        while !self.producer.is_established() {
            self.drive().await?;
        }
        Ok(())
    }

    /// Drives until the topic exists and its partitions are known.
    ///
    /// Errors: as [`drive`](Self::drive).
    pub async fn find(&mut self, topic: TopicId) -> Result<(), Error> {
        while self.producer.partitions(topic).is_none() {
            self.drive().await?;
        }
        Ok(())
    }

    /// Sends everything and drives until all of it is acknowledged.
    ///
    /// Errors: as [`drive`](Self::drive).
    pub async fn drain(&mut self) -> Result<(), Error> {
        self.producer.flush();
        while !self.producer.is_idle() {
            self.drive().await?;
        }
        Ok(())
    }

    /// Aborts the open transaction, if there is one: its readers need not wait until it times
    /// out. What goes wrong, or takes longer than `limit`, is left to the next start, which ends
    /// it first of all.
    pub async fn abort(&mut self, limit: Duration) {
        self.producer.abort();
        let aborted = async { while self.producer.is_aborting() && self.drive().await.is_ok() {} };
        if tokio::time::timeout(limit, aborted).await.is_err() {
            tracing::warn!("the open Kafka transaction could not be aborted in time");
        }
    }

    /// [`drive`](Self::drive), for callers that poll.
    pub fn poll_drive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut progress = false;
        for _ in 0..SWEEPS_MAX {
            let now = crate::net::now().duration_since(self.began);
            self.producer.tick(now)?;
            self.dial_wanted(now);
            let mut again = false;
            let Self {
                producer,
                nodes,
                random,
                reconnect,
                ..
            } = self;
            for (&id, node) in nodes.iter_mut() {
                match node.poll(cx, id, producer, now) {
                    Ok(moved) => again |= moved,
                    Err(Lost::Retry(reason)) => {
                        let broker = producer.broker(id);
                        // The first failure is news, and so is every one that lasts.
                        let failures = node.lose(now, random, *reconnect);
                        if failures % FAILURES_PER_WARNING <= 1 {
                            tracing::warn!(broker, failures, "no connection to Kafka: {reason}");
                        } else {
                            tracing::debug!(broker, failures, "no connection to Kafka: {reason}");
                        }
                        producer.disconnected(id, &reason);
                        // What was asked there is asked elsewhere now, and nothing else would dial it.
                        again = true;
                    }
                    Err(Lost::Retire) => {
                        *node = Node::Waiting {
                            until: now,
                            failures: 0,
                        };
                        producer.disconnected(id, "the SASL session ends");
                        again = true;
                    }
                    Err(Lost::Never(error)) => return Poll::Ready(Err(error)),
                }
            }
            progress |= again;
            if !again {
                break;
            }
        }
        if progress {
            return Poll::Ready(Ok(()));
        }
        if let Some(deadline) = self.deadline() {
            self.timer.as_mut().reset(self.began + deadline);
            // Due already: once more, as the waker will do.
            if self.timer.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }

    fn deadline(&self) -> Option<Duration> {
        let waiting = self.nodes.iter().filter_map(|(id, node)| match node {
            Node::Waiting { until, .. } => self.wanted.contains(id).then_some(*until),
            Node::Ready { retire_at, .. } => *retire_at,
            Node::Dialing { .. } => None,
        });
        waiting.chain(self.producer.deadline()).min()
    }

    /// Begins to connect to nodes that are wanted and have no connection.
    fn dial_wanted(&mut self, now: Duration) {
        let mut wanted = std::mem::take(&mut self.wanted);
        self.producer.wanted(&mut wanted);
        for &id in &wanted {
            let node = self.nodes.entry(id).or_insert(Node::Waiting {
                until: Duration::ZERO,
                failures: 0,
            });
            let Node::Waiting { until, failures } = *node else {
                continue;
            };
            if now < until {
                continue;
            }
            if let Some((host, port)) = self.producer.address(id) {
                let dialing = Box::pin(self.dialer.clone().dial(host, port));
                *node = Node::Dialing { dialing, failures };
            } else {
                // A leader or coordinator that went before we ever reached it: who is it now?
                node.lose(now, &mut self.random, self.reconnect);
                self.producer
                    .disconnected(id, "the cluster does not list it any more");
            }
        }
        self.wanted = wanted;
    }
}

/// Why a connection is no more.
enum Lost {
    Retry(String),
    /// The broker would close it soon; nothing is in flight.
    Retire,
    Never(Error),
}

impl Node {
    /// Whether something was answered or connected.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        id: NodeId,
        producer: &mut Producer,
        now: Duration,
    ) -> Result<bool, Lost> {
        match self {
            Self::Waiting { .. } => Ok(false),
            Self::Dialing { dialing, .. } => match dialing.as_mut().poll(cx) {
                Poll::Pending => Ok(false),
                Poll::Ready(Err(DialError::Unreachable(reason))) => Err(Lost::Retry(reason)),
                Poll::Ready(Err(DialError::Rejected(error))) => Err(Lost::Never(error)),
                Poll::Ready(Ok(link)) => {
                    let lifetime = link.connection.session_lifetime_ms();
                    let retire_in = u64::try_from(lifetime * RETIRE_PERCENT / 100).unwrap_or(0);
                    let retire_at = (lifetime > 0).then(|| now + Duration::from_millis(retire_in));
                    *self = Self::Ready {
                        link: Box::new(link),
                        retire_at,
                    };
                    producer.connected(id);
                    Ok(true)
                }
            },
            Self::Ready { link, retire_at } => {
                if producer.is_overdue(id) {
                    return Err(Lost::Retry(
                        "no answer within request.timeout.ms".to_owned(),
                    ));
                }
                let retiring = retire_at.is_some_and(|at| now >= at);
                if retiring && link.connection.in_flight() == 0 && !link.has_output() {
                    return Err(Lost::Retire);
                }
                exchange(cx, id, link, producer, !retiring)
            }
        }
    }

    fn lose(
        &mut self,
        now: Duration,
        random: &mut u64,
        (least, most): (Duration, Duration),
    ) -> u32 {
        let failures = match self {
            Self::Dialing { failures, .. } | Self::Waiting { failures, .. } => *failures + 1,
            Self::Ready { .. } => 0,
        };
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        let percent = 80 + u32::try_from(*random % 41).unwrap_or_default();
        let wait = least.saturating_mul(1 << failures.min(10)).min(most);
        *self = Self::Waiting {
            until: now + wait * percent / 100,
            failures,
        };
        failures
    }
}

/// Requests out, answers in, as far as the socket goes without waiting.
fn exchange(
    cx: &mut Context<'_>,
    id: NodeId,
    link: &mut Link,
    producer: &mut Producer,
    may_send: bool,
) -> Result<bool, Lost> {
    let gone = |error: &io::Error| Lost::Retry(closed_early(error));
    if may_send {
        let Link {
            connection, out, ..
        } = link;
        while producer
            .poll_send(id, connection, out)
            .map_err(Lost::Never)?
        {}
    }
    if link.has_output() {
        match link.poll_write(cx, |batch| producer.bytes(batch)) {
            Poll::Ready(Ok(())) => producer.written(id),
            Poll::Ready(Err(error)) => return Err(gone(&error)),
            Poll::Pending => {}
        }
    }
    let mut answered = false;
    match link.poll_read(cx) {
        Poll::Pending => return Ok(false),
        Poll::Ready(Err(error)) => return Err(gone(&error)),
        Poll::Ready(Ok(0)) => return Err(gone(&io::ErrorKind::UnexpectedEof.into())),
        Poll::Ready(Ok(_)) => {}
    }
    let broker = link.broker.clone();
    loop {
        let event = link.next_event();
        let event = event.map_err(|error| {
            Lost::Never(Error::Protocol {
                broker: broker.clone(),
                error,
            })
        })?;
        match event {
            Some(Event::Answer(answer)) => {
                producer.receive(id, &answer).map_err(Lost::Never)?;
                answered = true;
            }
            Some(Event::Progress | Event::Ready) => {}
            // More may be in the socket, and only a read that waits arms the waker.
            None => break,
        }
    }
    if !answered {
        cx.waker().wake_by_ref();
    }
    Ok(answered)
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("producer", &self.producer)
            .field("nodes", &self.nodes.keys())
            .finish_non_exhaustive()
    }
}
