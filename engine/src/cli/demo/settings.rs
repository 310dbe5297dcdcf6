//! The command line and the environment in, a worker's and a connector's files out: what a user
//! would write for the same job on servers of their own.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::{PUBLICATION, SLOT, TABLES, TOPIC_PREFIX};
use crate::cli::server::{Address, Server};
use crate::config::Properties;

/// Show the whole product on one screen, against a bike store in PostgreSQL.
///
/// The pipe, a Kafka broker and a schema registry run in this process; a built-in shopper keeps the
/// store busy, and every change is shown as a consumer of the broker reads it. On exit the slot and
/// the publication are dropped. The broker and the registry are for development: for production
/// run Apache Kafka and `penstock standalone`.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// PostgreSQL, and a user who must be allowed to replicate.
    #[command(flatten)]
    pub address: Address,
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

impl Server {
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
        for (name, value) in self.more.iter() {
            properties.insert(name, value);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_files_are_a_configuration() {
        let server = Server {
            host: "db.example.org".to_owned(),
            port: 5432,
            user: "postgres".to_owned(),
            password: Some("hush".to_owned()),
            database: "bikes".to_owned(),
            more: Properties::new(),
        };
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
