//! `penstock demo`: the whole product on one screen.
//!
//! ```text
//!   store ◄─ shopper                        PostgreSQL, and who changes it
//!     │
//!   pipe ──► broker ──► follow ──► watch    a consumer like any other, reading the broker
//!     │      registry ─────────────► │
//!     └── status ─────► screen ◄─────┘      what is copied, and what happens
//! ```
//!
//! Everything runs in this process and on one thread: what the screen shows of memory and latency
//! is all of it.

pub mod change;
pub mod follow;
pub mod screen;
pub mod settings;
pub mod shopper;
pub mod show;
pub mod store;
pub mod watch;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch as watching};

use self::follow::Follower;
use self::screen::{Paste, Screen};
pub use self::settings::Arguments;
use self::show::Show;
use self::store::Store;
use self::watch::{Seen, Sight, Viewer};
use super::exit::{Exit, Report};
use super::server::Server;
use super::signal;
use super::standalone;
use crate::config::{Config, Converter};
use crate::encode::registry::RegistryClient;
use crate::local::broker::{Broker, BrokerError, BrokerOptions, RunningBroker};
use crate::local::registry::{Registry, RegistryOptions, RunningRegistry, StartError};
use crate::net::{self, Stream};
use crate::pipe::{self, Phase, Status};

/// First part of every topic's name.
const TOPIC_PREFIX: &str = "bikes";
/// Ours: made at the start and dropped at the end.
const SLOT: &str = "penstock_demo";
/// Ours: made at the start and dropped at the end.
const PUBLICATION: &str = "penstock_demo";
/// In schema `store`, in the order in which rows refer to each other.
const TABLES: [&str; 4] = ["customers", "products", "orders", "order_items"];
/// What the lines to paste are about.
const PASTED_TOPIC: &str = "bikes.store.orders";

/// How many ports after a taken one are tried.
const PORTS_TRIED: u16 = 50;
/// Answers of the broker that are read and not yet shown, each of a megabyte at most.
const SIGHTS_MAX: usize = 2;
/// How often the screen is brought up to date.
const FRAME: Duration = Duration::from_millis(50);
/// How long the pipe may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(8);
/// How often the follower looks for topics that were not there.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long our own broker may take to accept us.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Runs the demo until Ctrl-C, SIGTERM, `--duration` or the reader of its output ends it, and
/// clears up.
///
/// # Errors
///
/// Why it could not start, or why the pipe stopped.
pub async fn run(arguments: &Arguments) -> Result<(), Report> {
    let server = Server::find(&arguments.address, |name| std::env::var(name).ok());
    let server = server.map_err(|what| Report::new(Exit::Usage, what))?;
    if arguments.print_config {
        return print_config(arguments, &server);
    }
    let (stop, shutdown) = signal::shutdown()?;
    let directory = Directory::open(arguments.data_dir.as_deref())?;
    let broker = start_broker(arguments.kafka_listen, &directory.path).await?;
    let registry = start_registry(arguments.registry_listen, &directory.path).await?;
    let config = configuration(&server, broker.address(), registry.address)?;
    let mut store = Store::open(&config.source, &server, arguments.load_store).await?;
    let viewer = Viewer::new(store.whole_old_rows().await?);

    let mut screen = Screen::open();
    let from = format!(
        "PostgreSQL {} at {}, database {}",
        store.version(),
        server.address(),
        server.database
    );
    let to = format!(
        "Kafka at {}, schemas at {}, both in this process",
        broker.address(),
        registry.address
    );
    let notes = [
        (arguments.kafka_listen, broker.address()),
        (arguments.registry_listen, registry.address),
    ];
    let notes = notes
        .iter()
        .filter(|(wanted, got)| wanted.port() != 0 && wanted != got)
        .map(|(wanted, got)| format!("port {} is taken: {} it is", wanted.port(), got.port()));
    let paste = paste(broker.address(), registry.address);
    let greeted = screen.greet(&from, &to, &notes.collect::<Vec<_>>(), &paste);
    let mut show = Show::new(screen, net::now_unix_us());

    let ended = match greeted {
        Ok(()) => {
            perform(
                arguments,
                &config,
                broker.address(),
                viewer,
                &mut show,
                stop,
                shutdown,
            )
            .await
        }
        Err(_) => Ok(()),
    };
    let cleared = store.clear().await;
    registry.shutdown().await;
    let _ = broker.shutdown().await;
    show.end(net::now_unix_us(), cleared.is_ok());
    drop(directory);
    ended.and(cleared)
}

/// From the pipe's start to its end.
async fn perform(
    arguments: &Arguments,
    config: &Config,
    kafka: SocketAddr,
    viewer: Viewer,
    show: &mut Show,
    stop: watching::Sender<bool>,
    mut shutdown: signal::Shutdown,
) -> Result<(), Report> {
    let (status, mut told) = watching::channel(Status::default());
    let pipe = pipe::run(config.clone(), shutdown.clone(), status);
    let mut pipe = tokio::task::spawn_local(pipe);
    let (sights, mut seen) = mpsc::channel(SIGHTS_MAX);
    let watcher = watch_topics(config.clone(), kafka, viewer, sights);
    let mut watcher = tokio::task::spawn_local(watcher);
    let mut shopper = None;
    let mut wants_shopper = !arguments.no_shopper;
    let mut streaming = false;
    let mut frame = tokio::time::interval(FRAME);
    let over = async {
        match arguments.duration {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over);
    let ended = loop {
        tokio::select! {
            ended = &mut pipe => break Some(ended),
            // It ends by failing alone.
            Ok(error) = &mut watcher => {
                break Some(Ok(Err(error)));
            }
            Some((sights, at)) = seen.recv() => show.take(&sights, at),
            _ = told.changed() => {
                let status = told.borrow_and_update().clone();
                streaming = status.phase == Phase::Streaming;
                show.follow(&status, net::now_unix_us());
            }
            // Nobody reads us any more: as good as Ctrl-C.
            _ = frame.tick() => if show.refresh(net::now_unix_us()).is_err() { break None },
            // Whoever came earlier would be served behind the rows that are still to be read.
            () = std::future::ready(()), if wants_shopper && streaming && show.has_caught_up() => {
                wants_shopper = false;
                let seed = net::now_unix_us().cast_unsigned();
                let shopping = store::shop(config.source.clone(), seed, arguments.rate);
                shopper = Some(tokio::task::spawn_local(shopping));
            }
            () = &mut over => break None,
            _ = shutdown.wait_for(|stop| *stop) => break None,
        }
    };
    if let Some(shopper) = shopper {
        shopper.abort();
    }
    show.stopping();
    stop.send_replace(true);
    let ended = match ended {
        Some(ended) => ended,
        None => match tokio::time::timeout(STOP_WITHIN, &mut pipe).await {
            Ok(ended) => ended,
            Err(_) => {
                pipe.abort();
                Ok(Ok(()))
            }
        },
    };
    watcher.abort();
    match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(standalone::report(&config.name, error)),
        Err(error) => Err(Report::new(Exit::Internal, "a task was lost").with(error.to_string())),
    }
}

/// Consumes the embedded broker's topics as a stranger would, and hands on what is seen with the
/// time it came. Gives why that ended.
async fn watch_topics(
    config: Config,
    kafka: SocketAddr,
    viewer: Viewer,
    sights: mpsc::Sender<(Vec<Sight>, i64)>,
) -> pipe::Error {
    let failed = |why: String| pipe::Error {
        blame: pipe::Blame::Kafka,
        what: "the demo's own consumer".to_owned(),
        why,
        remedy: None,
        retriable: false,
        fenced: false,
    };
    match watch_until_failure(&config, kafka, viewer, sights).await {
        Ok(never) => match never {},
        Err(why) => failed(why),
    }
}

async fn watch_until_failure(
    config: &Config,
    kafka: SocketAddr,
    mut viewer: Viewer,
    sights: mpsc::Sender<(Vec<Sight>, i64)>,
) -> Result<std::convert::Infallible, String> {
    let said = |error: &dyn std::error::Error| error.to_string();
    let Converter::Avro(converter) = &config.encode.value_converter else {
        return Err("the topics are not Avro".to_owned());
    };
    let mut registry = RegistryClient::new(converter).map_err(|error| said(&error))?;
    let stream = Stream::connect_tcp(&kafka.ip().to_string(), kafka.port(), CONNECT_WITHIN).await;
    let mut stream = stream.map_err(|error| said(&error))?;
    let topics = TABLES.map(|table| format!("{TOPIC_PREFIX}.store.{table}"));
    let mut follower = Follower::new(topics);
    let (mut received, mut out) = (Vec::new(), Vec::new());
    follower.start(&mut out);
    let mut look = tokio::time::interval(LOOK_AGAIN);
    loop {
        if !out.is_empty() {
            stream.write_all(&out).await.map_err(|error| said(&error))?;
            out.clear();
        }
        tokio::select! {
            read = stream.read_buf(&mut received) => match read {
                Ok(0) => return Err("the broker closed the connection".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(said(&error)),
            },
            _ = look.tick() => {
                follower.tick(&mut out).map_err(|error| said(&error))?;
                continue;
            }
        }
        let at = net::now_unix_us();
        let mut records = Vec::new();
        let consumed = follower.receive(&received, &mut out, |topic, record| {
            records.push(Seen {
                topic,
                key: record.key.map(Box::from),
                value: record.value.map(Box::from),
            });
        });
        received.drain(..consumed.map_err(|error| said(&error))?);
        for id in viewer.unknown(&records).map_err(|error| said(&error))? {
            let schema = registry.schema(id).await.map_err(|error| said(&error))?;
            viewer.learn(
                id,
                schema
                    .parse()
                    .map_err(|error: avro::SchemaError| said(&error))?,
            );
        }
        let view = viewer.view(&records).map_err(|error| said(&error))?;
        // Without a receiver the demo is over, and so are we, soon.
        if !view.is_empty() && sights.send((view, at)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Lines that work as they are printed, on this machine: an address that is only listened on cannot
/// be dialled, and Debian's kcat is built without Avro.
fn paste(kafka: SocketAddr, registry: SocketAddr) -> Paste {
    let (kafka, registry) = (dialled(kafka), dialled(registry));
    let decoded = match kcat_reads_avro() {
        true => format!("-s avro -r {registry}"),
        false => "-J".to_owned(),
    };
    Paste {
        topic: format!("kcat -C -b {kafka} -t {PASTED_TOPIC} {decoded}"),
        schema: format!("curl -s {registry}/subjects/{PASTED_TOPIC}-value/versions/latest"),
    }
}

/// Whether there is a kcat here that was built with Avro.
fn kcat_reads_avro() -> bool {
    let version = std::process::Command::new("kcat").arg("-V").output();
    version.is_ok_and(|version| String::from_utf8_lossy(&version.stdout).contains("Avro"))
}

fn dialled(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, address.port())
}

fn configuration(
    server: &Server,
    kafka: SocketAddr,
    registry: SocketAddr,
) -> Result<Config, Report> {
    let worker = settings::worker(&dialled(kafka).to_string(), &dialled(registry).to_string());
    let worker = settings::properties(worker);
    match Config::load(&worker, &server.connector_properties()) {
        Ok((config, _)) => Ok(config),
        Err(problems) => {
            let mut report = Report::new(Exit::Usage, "these settings do not fit together");
            report.why = problems.iter().map(ToString::to_string).collect();
            Err(report)
        }
    }
}

fn print_config(arguments: &Arguments, server: &Server) -> Result<(), Report> {
    let kafka = dialled(arguments.kafka_listen).to_string();
    let worker = settings::worker(&kafka, &dialled(arguments.registry_listen).to_string());
    let text = format!(
        "# worker.properties\n{}\n# connector.properties\n{}",
        settings::text(&worker),
        settings::text(&server.connector())
    );
    // A closed stream is no reason to fail.
    let _ = io::Write::write_all(&mut io::stdout().lock(), text.as_bytes());
    Ok(())
}

async fn start_broker(listen: SocketAddr, directory: &Path) -> Result<RunningBroker, Report> {
    let start = async |listen| {
        let data_dir = Some(directory.join("kafka"));
        Broker::start(BrokerOptions {
            listen,
            data_dir,
            ..BrokerOptions::default()
        })
        .await
    };
    let taken = |error: &BrokerError| match error {
        BrokerError::Listen { source, .. } => source.kind() == io::ErrorKind::AddrInUse,
        BrokerError::Data { .. } => false,
    };
    on_a_free_port(listen, start, taken).await.map_err(|error| {
        Report::new(Exit::Internal, "the embedded broker does not start").because("it says", error)
    })
}

async fn start_registry(listen: SocketAddr, directory: &Path) -> Result<RunningRegistry, Report> {
    let start = async |listen| {
        let data_dir = Some(directory.join("schemas"));
        Registry::start(RegistryOptions { listen, data_dir }).await
    };
    let taken = |error: &StartError| match error {
        StartError::Listen { cause, .. } => cause.kind() == io::ErrorKind::AddrInUse,
        StartError::Data { .. } => false,
    };
    on_a_free_port(listen, start, taken).await.map_err(|error| {
        Report::new(Exit::Internal, "the embedded registry does not start")
            .because("it says", error)
    })
}

/// Starts something on the port asked for, or on the first free one after it.
async fn on_a_free_port<T, E>(
    mut listen: SocketAddr,
    start: impl AsyncFn(SocketAddr) -> Result<T, E>,
    taken: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let mut left = PORTS_TRIED;
    loop {
        match start(listen).await {
            Err(error) if taken(&error) && left > 0 && listen.port() < u16::MAX => {
                left -= 1;
                listen.set_port(listen.port() + 1);
            }
            result => return result,
        }
    }
}

/// Where broker and registry keep their files. Dropped, it is removed, unless the user named it.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    kept: bool,
}

impl Directory {
    fn open(named: Option<&Path>) -> Result<Self, Report> {
        let directory = match named {
            Some(path) => Self {
                path: path.to_owned(),
                kept: true,
            },
            None => {
                let name = format!("penstock-demo-{}", std::process::id());
                Self {
                    path: std::env::temp_dir().join(name),
                    kept: false,
                }
            }
        };
        std::fs::create_dir_all(&directory.path).map_err(|error| {
            let path = directory.path.display();
            Report::new(Exit::Internal, format!("cannot make directory {path}"))
                .with(error.to_string())
                .remedy("name another one with --data-dir")
        })?;
        Ok(directory)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed is in the directory of things to be removed.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
