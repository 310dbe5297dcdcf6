//! The broker's sockets: a task per connection, one for the clock, and the only waiting there is.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kafkawire::frame::{REQUEST_BYTES_MAX, split};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::net;

use super::{Broker, BrokerConfig, Now, Step, Ticket};

/// Connections at a time; further ones are closed at once.
const CONNECTIONS_MAX: usize = 1024;
/// Room that is made for each read.
const READ_BYTES: usize = 64 << 10;
/// Responses that are collected before they are written, while requests are still at hand.
const WRITE_BYTES: usize = 256 << 10;
/// A buffer that has grown beyond this is given back when it is empty.
const KEPT_BYTES: usize = 2 << 20;

/// How to start an embedded broker.
#[derive(Debug, Clone)]
pub struct BrokerOptions {
    /// Where to listen; port 0 takes any. Default: any port of the loopback interface. There is no
    /// authentication: whoever reaches another interface may do anything.
    pub listen: SocketAddr,
    /// Host and port that clients are told to connect to; default: those listened on.
    pub advertised: Option<(String, u16)>,
    /// Where to keep everything; default: in memory.
    pub data_dir: Option<PathBuf>,
    /// Whether a topic that a client asks about begins to exist; default: yes, as in Kafka.
    pub auto_create_topics: bool,
    /// Partitions of a topic whose creator leaves the number open; default: 1.
    pub default_partitions: i32,
}

impl Default for BrokerOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            advertised: None,
            data_dir: None,
            auto_create_topics: true,
            default_partitions: 1,
        }
    }
}

/// Why a broker did not start, or not end well.
#[derive(Debug)]
pub enum BrokerError {
    /// The address cannot be listened on.
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The data directory cannot be used.
    Data {
        /// The directory.
        path: PathBuf,
        /// What the system, or the data, says.
        source: io::Error,
    },
}

impl fmt::Display for BrokerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { address, .. } => write!(f, "the broker cannot listen on {address}"),
            Self::Data { path, source } if source.kind() == io::ErrorKind::WouldBlock => {
                write!(
                    f,
                    "another broker has the data directory {}",
                    path.display()
                )
            }
            Self::Data { path, .. } => {
                write!(
                    f,
                    "the broker cannot use the data directory {}",
                    path.display()
                )
            }
        }
    }
}

impl std::error::Error for BrokerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen { source, .. } | Self::Data { source, .. } => Some(source),
        }
    }
}

/// A broker that serves until it is shut down or dropped.
#[derive(Debug)]
pub struct RunningBroker {
    address: SocketAddr,
    data_dir: PathBuf,
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
}

impl RunningBroker {
    /// Where it listens: what `bootstrap.servers` takes.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes every connection and waits until the disk has everything.
    ///
    /// Errors: the disk refuses.
    pub async fn shutdown(self) -> Result<(), BrokerError> {
        // No receiver: the task has ended already, and its answer is at hand.
        self.stop.send(()).unwrap_or_default();
        let flushed = self
            .task
            .await
            .map_err(io::Error::other)
            .and_then(|flushed| flushed);
        flushed.map_err(|source| BrokerError::Data {
            path: self.data_dir,
            source,
        })
    }
}

impl Broker {
    /// Starts a broker on the present runtime.
    ///
    /// Errors: the address or the data directory cannot be used.
    pub async fn start(options: BrokerOptions) -> Result<RunningBroker, BrokerError> {
        let refused = |source| BrokerError::Listen {
            address: options.listen,
            source,
        };
        let listener = TcpListener::bind(options.listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let (advertised_host, advertised_port) = options
            .advertised
            .unwrap_or_else(|| (reachable(address.ip()), address.port()));
        let config = BrokerConfig {
            advertised_host,
            advertised_port,
            auto_create_topics: options.auto_create_topics,
            default_partitions: options.default_partitions.max(1),
            seed: seed(),
        };
        let broker = match &options.data_dir {
            None => Self::in_memory(config),
            Some(path) => Self::open(config, path, now()).map_err(|source| BrokerError::Data {
                path: path.clone(),
                source,
            })?,
        };
        let shared = Arc::new(Shared {
            changed: watch::Sender::new(0),
            broker: Mutex::new(broker),
        });
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(run(shared, listener, stopped));
        let data_dir = options.data_dir.unwrap_or_default();
        Ok(RunningBroker {
            address,
            data_dir,
            stop,
            task,
        })
    }
}

struct Shared {
    broker: Mutex<Broker>,
    /// The broker's own count of changes.
    changed: watch::Sender<u64>,
}

impl Shared {
    fn broker(&self) -> MutexGuard<'_, Broker> {
        // A panic in another task is that task's; the broker has no half-made state that the next
        // request would not find as well after a restart.
        self.broker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on the broker, then wakes whoever waits for what has changed.
    fn with<R>(&self, work: impl FnOnce(&mut Broker) -> R) -> R {
        let (result, changes) = {
            let mut broker = self.broker();
            let result = work(&mut broker);
            (result, broker.changes())
        };
        self.changed
            .send_if_modified(|seen| std::mem::replace(seen, changes) != changes);
        result
    }
}

async fn run(
    shared: Arc<Shared>,
    listener: TcpListener,
    mut stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(keep_time(Arc::clone(&shared)));
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            Some(_) = tasks.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) if tasks.len() <= CONNECTIONS_MAX => {
                    let shared = Arc::clone(&shared);
                    tasks.spawn(async move {
                        if let Err(error) = serve(&shared, socket, peer.ip()).await {
                            tracing::debug!(%peer, "closing the connection: {error}");
                        }
                    });
                }
                Ok((_, peer)) => tracing::warn!(%peer, "too many connections"),
                Err(error) => {
                    // Out of descriptors, as a rule: others must close before one can open.
                    tracing::warn!("accepting a connection: {error}");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop(listener);
    tasks.shutdown().await;
    shared.broker().flush()
}

/// Ticks when the broker asks for it. Everything that could bring a deadline nearer is a change.
async fn keep_time(shared: Arc<Shared>) {
    let mut changed = shared.changed.subscribe();
    loop {
        changed.borrow_and_update();
        let deadline = shared.broker().deadline();
        let due = deadline.is_some_and(|deadline| deadline <= net::now().into_std());
        if due {
            shared.with(|broker| broker.tick(now()));
            continue;
        }
        tokio::select! {
            () = sleep_or_never(deadline.map(Instant::from_std)) => {}
            _ = changed.changed() => {}
        }
    }
}

async fn serve(shared: &Shared, mut socket: TcpStream, peer: IpAddr) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let host = peer.to_string();
    let mut changed = shared.changed.subscribe();
    let mut input = Vec::new();
    let mut output = Vec::new();
    loop {
        let mut used = 0;
        while let Some((request, size)) =
            split(input.get(used..).unwrap_or_default(), REQUEST_BYTES_MAX).map_err(invalid)?
        {
            let mut ticket: Option<Ticket> = None;
            loop {
                // Seen before the broker is asked, so that no change falls between.
                changed.borrow_and_update();
                let asked = ticket.take();
                let step =
                    shared.with(|broker| broker.handle(request, asked, &host, now(), &mut output));
                let waiting = match step {
                    Step::Answered | Step::Silent => break,
                    Step::Close(reason) => {
                        // What was answered before it still goes out.
                        write_out(&mut socket, &mut output).await?;
                        return Err(invalid(reason));
                    }
                    Step::Wait(waiting) => waiting,
                };
                write_out(&mut socket, &mut output).await?;
                let until = waiting.until().map(Instant::from_std);
                ticket = Some(waiting);
                tokio::select! {
                    () = sleep_or_never(until) => {}
                    _ = changed.changed() => {}
                }
            }
            used += size;
            if output.len() >= WRITE_BYTES {
                write_out(&mut socket, &mut output).await?;
            }
        }
        input.drain(..used);
        if input.is_empty() && input.capacity() > KEPT_BYTES {
            input = Vec::new();
        }
        write_out(&mut socket, &mut output).await?;
        input.reserve(READ_BYTES);
        if socket.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

async fn write_out(socket: &mut TcpStream, output: &mut Vec<u8>) -> io::Result<()> {
    if !output.is_empty() {
        socket.write_all(output).await?;
        output.clear();
        if output.capacity() > KEPT_BYTES {
            *output = Vec::new();
        }
    }
    Ok(())
}

async fn sleep_or_never(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

fn invalid(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// A host that reaches a listener on `ip` from this machine.
fn reachable(ip: IpAddr) -> String {
    if ip.is_unspecified() {
        "localhost".to_owned()
    } else {
        ip.to_string()
    }
}

fn now() -> Now {
    Now {
        instant: net::now().into_std(),
        unix_ms: net::now_unix_us() / 1000,
    }
}

fn seed() -> u64 {
    // Without randomness ids repeat from start to start, which only looks odd.
    getrandom::u64().unwrap_or_default()
}
