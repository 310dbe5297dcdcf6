//! The command line and the environment in, a worker's and a connector's files out: what a user
//! would write for the same job on servers of their own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{PUBLICATION, SLOT, TABLES, TOPIC_PREFIX};
use crate::config::Properties;

/// Show the whole product on one screen, against a bike store in PostgreSQL.
///
/// The pipe, a Kafka broker and a schema registry run in this process; a built-in shopper keeps the
/// store busy, and every change is shown as a consumer of the broker reads it. On exit the slot and
/// the publication are dropped. The broker and the registry are for development: for production
/// run Apache Kafka and `penstock standalone`.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// PostgreSQL's address; without it, $PGHOST and $PGPORT as psql reads them.
    #[arg(long, value_name = "HOST[:PORT]", conflicts_with = "socket")]
    pub postgres: Option<String>,
    /// The directory of PostgreSQL's Unix socket.
    #[arg(long, value_name = "DIR")]
    pub socket: Option<PathBuf>,
    /// The user, who must be allowed to replicate [env: PGUSER; else the system's user].
    #[arg(long)]
    pub user: Option<String>,
    /// The user's password [env: PGPASSWORD, where other users cannot read it].
    #[arg(long)]
    pub password: Option<String>,
    /// The database [env: PGDATABASE; else named as the user].
    #[arg(long)]
    pub database: Option<String>,
    /// Create the bike store, schema `store`, where there is none.
    #[arg(long)]
    pub load_store: bool,
    /// Where the embedded broker listens; the next free port where it is taken.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:9092")]
    pub kafka_listen: SocketAddr,
    /// Where the embedded registry listens; the next free port where it is taken.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8081")]
    pub registry_listen: SocketAddr,
    /// Where the broker and the registry keep what they have; else a directory that goes with us.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Nobody shops: the changes are yours to make.
    #[arg(long)]
    pub no_shopper: bool,
    /// Transactions a second that the shopper makes.
    #[arg(long, value_name = "N", default_value_t = 2.0, value_parser = rate)]
    pub rate: f64,
    /// Stop after so long.
    #[arg(long, value_name = "SECONDS")]
    pub duration: Option<u64>,
    /// Print the files that `penstock standalone` would take for the same job, and stop.
    #[arg(long)]
    pub print_config: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.01..=10_000.0).contains(&rate) => Ok(rate),
        _ => Err("a number from 0.01 to 10000".to_owned()),
    }
}

/// Where PostgreSQL is and who we are there.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    /// A name or an address; with a `/` in front, the directory of a Unix socket.
    pub host: String,
    /// The port, of the socket's name too.
    pub port: u16,
    /// The user.
    pub user: String,
    /// The password. Never printed.
    pub password: Option<String>,
    /// The database.
    pub database: String,
}

/// Prints everything but the password.
impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            host,
            port,
            user,
            database,
            ..
        } = self;
        write!(f, "Server({user}@{host}:{port}/{database})")
    }
}

const PORT: u16 = 5432;
/// Where Debian's PostgreSQL, and so its psql, has the socket.
const SOCKETS: &str = "/var/run/postgresql";

impl Server {
    /// What the command line says; where it is silent, what `env` says, as psql would read it.
    ///
    /// Errors: what is wrong with an address or a port.
    pub fn find(
        arguments: &Arguments,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, String> {
        let env = |name| env(name).filter(|value| !value.is_empty());
        let env_port = match env("PGPORT") {
            Some(port) => port
                .parse()
                .map_err(|_| format!("PGPORT={port} is no port"))?,
            None => PORT,
        };
        let (host, port) = match (&arguments.postgres, &arguments.socket) {
            (Some(address), _) => split_address(address)?,
            (None, Some(directory)) => {
                let directory =
                    std::path::absolute(directory).unwrap_or_else(|_| directory.clone());
                (
                    directory.display().to_string(),
                    socket_port(&directory).unwrap_or(env_port),
                )
            }
            (None, None) => {
                let there = Path::new(SOCKETS)
                    .join(format!(".s.PGSQL.{env_port}"))
                    .exists();
                let usual = if there { SOCKETS } else { "localhost" };
                (env("PGHOST").unwrap_or_else(|| usual.to_owned()), env_port)
            }
        };
        let user = arguments.user.clone().or_else(|| env("PGUSER"));
        let user = user.or_else(|| env("USER")).or_else(|| env("LOGNAME"));
        let user = user.unwrap_or_else(|| "postgres".to_owned());
        let database = arguments.database.clone().or_else(|| env("PGDATABASE"));
        Ok(Self {
            host,
            port,
            database: database.unwrap_or_else(|| user.clone()),
            user,
            password: arguments.password.clone().or_else(|| env("PGPASSWORD")),
        })
    }

    /// `db.example.org:5432`, `/run/postgresql:5432`
    #[must_use]
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The connector's file as one would keep it: with a slot that stays, and no password.
    #[must_use]
    pub fn connector(&self) -> Lines {
        let mut lines = vec![
            ("name", "bikes".to_owned()),
            (
                "connector.class",
                "io.debezium.connector.postgresql.PostgresConnector".to_owned(),
            ),
            ("plugin.name", "pgoutput".to_owned()),
            ("database.hostname", self.host.clone()),
            ("database.port", self.port.to_string()),
            ("database.user", self.user.clone()),
        ];
        if self.password.is_some() {
            lines.push(("database.password", "…".to_owned()));
        }
        lines.extend([
            ("database.dbname", self.database.clone()),
            ("topic.prefix", TOPIC_PREFIX.to_owned()),
            (
                "table.include.list",
                TABLES.map(|table| format!("store.{table}")).join(","),
            ),
            ("slot.name", SLOT.to_owned()),
            ("publication.name", PUBLICATION.to_owned()),
            ("publication.autocreate.mode", "filtered".to_owned()),
        ]);
        lines
    }

    /// The same, as it is run here.
    #[must_use]
    pub fn connector_properties(&self) -> Properties {
        let mut properties = properties(self.connector());
        // The slot goes with each run, and a stored position means nothing without it.
        properties.insert("snapshot.mode", "always");
        if let Some(password) = &self.password {
            properties.insert("database.password", password.as_str());
        }
        properties
    }
}

/// A file's lines, in the order in which one would write them.
pub type Lines = Vec<(&'static str, String)>;

/// The worker's file, for a broker at `kafka` and a registry at `registry`, both `host:port`.
#[must_use]
pub fn worker(kafka: &str, registry: &str) -> Lines {
    let converter = "io.confluent.connect.avro.AvroConverter".to_owned();
    let registry = format!("http://{registry}");
    vec![
        ("bootstrap.servers", kafka.to_owned()),
        ("key.converter", converter.clone()),
        ("key.converter.schema.registry.url", registry.clone()),
        ("value.converter", converter),
        ("value.converter.schema.registry.url", registry),
    ]
}

/// Lines as they are read.
#[must_use]
pub fn properties(lines: Lines) -> Properties {
    let mut properties = Properties::new();
    for (name, value) in lines {
        properties.insert(name, value);
    }
    properties
}

/// Lines as they are written.
#[must_use]
pub fn text(lines: &Lines) -> String {
    let lines = lines.iter();
    lines
        .map(|(name, value)| format!("{name}={}\n", value.replace('\\', "\\\\")))
        .collect()
}

/// `host`, `host:port`, `[::1]:port`
fn split_address(address: &str) -> Result<(String, u16), String> {
    let (host, port) = match address
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').unwrap_or(rest))),
        None => match address.rsplit_once(':') {
            // More than one colon: an IPv6 address by itself.
            Some((host, port)) if !host.contains(':') => (host, Some(port)),
            _ => (address, None),
        },
    };
    let port = match port {
        None => PORT,
        Some(port) => port
            .parse()
            .map_err(|_| format!("--postgres {address}: no port"))?,
    };
    if host.is_empty() {
        return Err(format!("--postgres {address}: no host"));
    }
    Ok((host.to_owned(), port))
}

/// The port in the name of a directory's one socket, `.s.PGSQL.5433`.
fn socket_port(directory: &Path) -> Option<u16> {
    let names = std::fs::read_dir(directory)
        .ok()?
        .flatten()
        .map(|entry| entry.file_name());
    let mut ports = names.filter_map(|name| name.to_str()?.strip_prefix(".s.PGSQL.")?.parse().ok());
    let port = ports.next()?;
    ports.next().is_none().then_some(port)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::config::Config;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn found(line: &str, env: &[(&str, &str)]) -> Result<Server, String> {
        let words = std::iter::once("demo").chain(line.split_whitespace());
        let arguments = Line::try_parse_from(words).unwrap().arguments;
        let env = |name: &str| {
            let entry = env.iter().find(|(known, _)| *known == name);
            entry.map(|(_, value)| (*value).to_owned())
        };
        Server::find(&arguments, env)
    }

    fn server(host: &str, port: u16, user: &str, password: Option<&str>, database: &str) -> Server {
        Server {
            host: host.to_owned(),
            port,
            user: user.to_owned(),
            password: password.map(str::to_owned),
            database: database.to_owned(),
        }
    }

    #[test]
    fn the_command_line_wins_over_the_environment() {
        let env = [
            ("PGHOST", "db"),
            ("PGPORT", "5433"),
            ("PGUSER", "ana"),
            ("PGPASSWORD", "secret"),
            ("PGDATABASE", "bikes"),
        ];
        assert_eq!(
            found("", &env),
            Ok(server("db", 5433, "ana", Some("secret"), "bikes"))
        );
        let line = "--postgres other:5434 --user rui --password x --database shop";
        assert_eq!(
            found(line, &env),
            Ok(server("other", 5434, "rui", Some("x"), "shop"))
        );
        let bare = found("--postgres h", &[("USER", "me"), ("PGPORT", "1")]);
        assert_eq!(bare, Ok(server("h", 5432, "me", None, "me")));
        assert!(found("", &[("PGPORT", "many")]).is_err());
        assert!(found("--postgres h:many", &[]).is_err());
    }

    #[test]
    fn addresses_may_be_of_either_family() {
        let split = |address| split_address(address).map(|(host, port)| format!("{host} {port}"));
        assert_eq!(split("[::1]:5433").unwrap(), "::1 5433");
        assert_eq!(split("[::1]").unwrap(), "::1 5432");
        assert_eq!(split("::1").unwrap(), "::1 5432");
        assert_eq!(split("10.0.0.1:1").unwrap(), "10.0.0.1 1");
        assert!(split(":5432").is_err());
    }

    #[test]
    fn a_socket_says_its_port() {
        let directory = tempfile::tempdir().unwrap();
        let line = format!("--socket {}", directory.path().display());
        let port = |env| found(&line, env).unwrap().port;
        assert_eq!(port(&[("PGPORT", "7")]), 7);
        for name in [".s.PGSQL.5999", ".s.PGSQL.5999.lock"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        assert_eq!(port(&[("PGPORT", "7")]), 5999);
        std::fs::write(directory.path().join(".s.PGSQL.6000"), "").unwrap();
        assert_eq!(port(&[("PGPORT", "7")]), 7);
    }

    #[test]
    fn the_files_are_a_configuration() {
        let server = server("db.example.org", 5432, "postgres", Some("hush"), "bikes");
        let worker = worker("127.0.0.1:9092", "127.0.0.1:8081");
        let printed = (text(&worker), text(&server.connector()));
        let (config, warnings) =
            Config::load(&properties(worker.clone()), &server.connector_properties()).unwrap();
        assert_eq!(warnings.len(), 0, "{warnings:?}");
        assert_eq!(config.source.password.as_deref(), Some("hush"));
        assert!(config.capture.tables.accepts("store", "order_items"));

        // What is printed is what runs, and no secret.
        assert_eq!(
            Properties::parse(printed.0.as_bytes()),
            Ok(properties(worker))
        );
        let read = Properties::parse_connector(printed.1.as_bytes());
        assert_eq!(read, Ok(properties(server.connector())));
        assert!(!printed.1.contains("hush"));
    }
}
