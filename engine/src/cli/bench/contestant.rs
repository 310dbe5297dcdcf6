//! Who carries the changes: penstock, pg_recvlogical, Debezium in Kafka Connect.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use clap::ValueEnum;

use super::failed;
use super::stage::{Kafka, Postgres, Running, Stage, client_program, java};
use crate::cli::exit::{Exit, Report};
use crate::cli::server::Server;
use crate::config::{Config, Properties};

/// A program that reads a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Contestant {
    /// This binary.
    #[value(skip)]
    Penstock,
    /// The server's own reader, into /dev/null.
    #[value(name = "pg_recvlogical")]
    PgRecvlogical,
    /// Debezium's connector in Kafka Connect, standalone.
    Debezium,
}

/// How keys and values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Converters {
    /// AvroConverter, with the registry.
    Avro,
    /// JsonConverter, without schemas.
    Json,
}

/// What a contestant is to carry.
#[derive(Debug, Clone)]
pub struct Job {
    /// Of this run alone: part of names.
    pub id: String,
    /// The slot it reads.
    pub slot: String,
    /// The tables it captures, with their schema.
    pub tables: Vec<String>,
    /// `snapshot.mode`
    pub snapshot: &'static str,
    /// Whether over the Unix socket.
    pub socket: bool,
    /// Where pg_recvlogical ends.
    pub end: String,
    /// Whether the server can send values in binary, which pg_recvlogical asks for.
    pub binary: bool,
    /// More properties of the connector.
    pub more: Vec<(String, String)>,
}

/// The publication of everything.
pub const PUBLICATION: &str = "penstock_bench";

/// What contestants are run with.
#[derive(Debug)]
pub struct Ring {
    /// The database.
    pub postgres: Postgres,
    /// The broker.
    pub kafka: Kafka,
    /// The registry's URL.
    pub registry: String,
    /// How keys and values are written.
    pub converters: Converters,
    /// The user's worker file: security, and whatever else.
    pub worker: Properties,
    /// The user's connector properties, for penstock alone.
    pub own: Vec<(String, String)>,
    /// The same for Debezium alone.
    pub theirs: Vec<(String, String)>,
    /// The directory with Debezium's `plugin`, and a `log` with a binding for its log.
    pub debezium: Option<PathBuf>,
    /// The heap of Connect.
    pub heap: String,
}

impl Contestant {
    /// As it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Penstock => "penstock",
            Self::PgRecvlogical => "pg_recvlogical",
            Self::Debezium => "debezium",
        }
    }

    /// Whether it writes to Kafka.
    #[must_use]
    pub fn produces(self) -> bool {
        self != Self::PgRecvlogical
    }
}

impl Job {
    /// The topic of a table.
    #[must_use]
    pub fn topic(&self, table: &str) -> String {
        format!("{}.{table}", self.id)
    }

    /// The topics of all tables, in their order.
    #[must_use]
    pub fn topics(&self) -> Vec<String> {
        self.tables.iter().map(|table| self.topic(table)).collect()
    }
}

impl Ring {
    /// The server as a job reaches it.
    #[must_use]
    pub fn server(&self, socket: bool) -> &Server {
        match (&self.postgres.socket, socket) {
            (Some(server), true) => server,
            _ => &self.postgres.server,
        }
    }

    /// The worker's file and the connector's.
    #[must_use]
    pub fn properties(&self, who: Contestant, job: &Job) -> (Properties, Properties) {
        let mut worker = self.worker.clone();
        worker.insert("bootstrap.servers", self.kafka.bootstrap.as_str());
        for side in ["key", "value"] {
            let name = format!("{side}.converter");
            match self.converters {
                Converters::Avro => {
                    worker.insert(&name, "io.confluent.connect.avro.AvroConverter");
                    let registry = format!("{name}.schema.registry.url");
                    worker.insert(registry, self.registry.as_str());
                }
                Converters::Json => {
                    worker.insert(&name, "org.apache.kafka.connect.json.JsonConverter");
                    worker.insert(format!("{name}.schemas.enable"), "false");
                }
            }
        }
        let mut connector = self.server(job.socket).properties();
        for (name, value) in [
            ("name", job.id.as_str()),
            (
                "connector.class",
                "io.debezium.connector.postgresql.PostgresConnector",
            ),
            ("tasks.max", "1"),
            ("plugin.name", "pgoutput"),
            ("topic.prefix", &job.id),
            ("slot.name", &job.slot),
            ("publication.name", PUBLICATION),
            ("publication.autocreate.mode", "disabled"),
            ("snapshot.mode", job.snapshot),
            (
                "table.include.list",
                &job.tables.join(",").replace('.', "\\."),
            ),
        ] {
            connector.insert(name, value);
        }
        let own = match who {
            Contestant::Debezium => &self.theirs,
            _ => &self.own,
        };
        for (name, value) in job.more.iter().chain(own) {
            connector.insert(name.as_str(), value.as_str());
        }
        if who == Contestant::Penstock {
            worker.insert("offset.storage.topic", format!("{}-offsets", job.id));
        }
        (worker, connector)
    }

    /// What our own consumer connects with.
    ///
    /// Errors: what is wrong with the files.
    pub fn config(&self, job: &Job) -> Result<Config, Report> {
        let (worker, connector) = self.properties(Contestant::Penstock, job);
        match Config::load(&worker, &connector) {
            Ok((config, _)) => Ok(config),
            Err(problems) => {
                let what = "these settings do not fit together";
                let mut report = Report::new(Exit::Configuration, what);
                report.why = problems.iter().map(ToString::to_string).collect();
                Err(report)
            }
        }
    }

    /// Starts a contestant on a job.
    ///
    /// Errors: what it lacks; it cannot be started.
    pub fn start(&self, stage: &mut Stage, who: Contestant, job: &Job) -> Result<Running, Report> {
        let directory = stage.directory.join(format!("{}-{}", job.id, who.name()));
        let refused =
            |error: std::io::Error| failed("cannot write its files").with(error.to_string());
        fs::create_dir_all(&directory).map_err(refused)?;
        let (mut worker, connector) = self.properties(who, job);
        let files = ["worker.properties", "connector.properties"].map(|name| directory.join(name));
        let mut command = match who {
            Contestant::Penstock => {
                let binary = std::env::current_exe().map_err(refused)?;
                let mut command = Command::new(binary);
                command.arg("standalone").args(&files);
                command
            }
            Contestant::PgRecvlogical => self.pg_recvlogical(job)?,
            Contestant::Debezium => {
                let offsets = directory.join("offsets").display().to_string();
                worker.insert("offset.storage.file.filename", offsets);
                let rest = crate::net::free_port().map_err(refused)?;
                worker.insert("listeners", format!("http://127.0.0.1:{rest}"));
                let Some(debezium) = &self.debezium else {
                    let what = "where is Debezium?";
                    return Err(Report::new(Exit::Usage, what).remedy(
                        "--debezium DIR, with a folder `plugin` of the connector's and \
                         AvroConverter's jars; tests/peers/install.sh debezium makes one",
                    ));
                };
                let plugins = debezium.join("plugin").display().to_string();
                worker.insert("plugin.path", plugins);
                let Some(jars) = &self.kafka.jars else {
                    let what = "Kafka Connect is needed for Debezium";
                    return Err(Report::new(Exit::Usage, what).remedy("--kafka-home DIR"));
                };
                self.connect(jars, debezium)
            }
        };
        fs::write(&files[0], worker.to_text()).map_err(refused)?;
        fs::write(&files[1], connector.to_text()).map_err(refused)?;
        if who == Contestant::Debezium {
            command.args(&files);
        }
        command.current_dir(&directory);
        stage.spawn(&mut command, &format!("{}-{}.log", job.id, who.name()))
    }

    fn connect(&self, jars: &std::path::Path, debezium: &std::path::Path) -> Command {
        let heap = format!("-Xmx{}", self.heap);
        let mut command = java(
            jars,
            &[
                "-Xms256m",
                &heap,
                "-XX:+UseG1GC",
                "-XX:MaxGCPauseMillis=20",
                "-XX:InitiatingHeapOccupancyPercent=35",
                "-XX:+ExplicitGCInvokesConcurrent",
            ],
        );
        // The binding that Connect's own jars come without.
        let log = debezium.join("log");
        if log.is_dir() {
            let libs = jars.join("libs");
            let jars = if libs.is_dir() { libs } else { jars.to_owned() };
            let path = format!("{}/*:{}/*", jars.display(), log.display());
            command.args(["-cp", &path]);
        }
        command.arg("org.apache.kafka.connect.cli.ConnectStandalone");
        command
    }

    fn pg_recvlogical(&self, job: &Job) -> Result<Command, Report> {
        let programs = self.postgres.programs.as_deref();
        let Some(program) = client_program(programs, "pg_recvlogical") else {
            let what = "there is no pg_recvlogical";
            return Err(Report::new(Exit::Usage, what)
                .remedy("install PostgreSQL's client programs, or name them: --postgres-bin DIR"));
        };
        let server = self.server(job.socket);
        let mut command = Command::new(program);
        command
            .args(["-h", &server.host, "-p", &server.port.to_string()])
            .args(["-U", &server.user, "-d", &server.database, "-S", &job.slot])
            .args([
                "--start",
                "-f",
                "/dev/null",
                "--no-loop",
                "--endpos",
                &job.end,
            ])
            .args(["-o", "proto_version=1"])
            .args(["-o", &format!("publication_names={PUBLICATION}")]);
        if let Some(password) = &server.password {
            command.env("PGPASSWORD", password);
        }
        if job.binary {
            command.args(["-o", "binary=true"]);
        }
        Ok(command)
    }
}
