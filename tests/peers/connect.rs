//! Real Kafka Connect workers with Debezium's PostgreSQL connector and Confluent's AvroConverter.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::kafka::Kafka;
use crate::nursery::{self, Running};
use crate::{Properties, cache, eventually, free_ports, install};

/// The release of Kafka whose Connect it is.
const RELEASE: &str = "kafka-4.3.1";

/// What goes to the log; an error's whole trace is in the answers of the REST API as well.
const LOG: &str = "<Configuration><Appenders><File name='F' fileName='connect.log'>\
    <PatternLayout pattern='%d %p %c{1} %m%n'/></File></Appenders>\
    <Loggers><Root level='info'><AppenderRef ref='F'/></Root></Loggers></Configuration>";

/// A worker with a directory and a REST port of its own. Dropped, it is killed.
#[derive(Debug)]
pub struct Connect {
    directory: PathBuf,
    port: u16,
    running: Running,
}

impl Connect {
    /// A distributed worker: connectors come by [`Self::put`], positions are kept in the topic
    /// `{group}-offsets`. `settings` are added to its file.
    ///
    /// Panics when it does not answer within three minutes.
    #[must_use]
    pub fn distributed(kafka: &Kafka, group: &str, settings: &Properties) -> Self {
        let worker = Properties::default()
            .with("group.id", group)
            .with("config.storage.topic", format!("{group}-configs"))
            .with("config.storage.replication.factor", 1)
            .with("offset.storage.topic", format!("{group}-offsets"))
            .with("offset.storage.replication.factor", 1)
            .with("offset.storage.partitions", 1)
            .with("status.storage.topic", format!("{group}-status"))
            .with("status.storage.replication.factor", 1)
            .with("status.storage.partitions", 1)
            .with("scheduled.rebalance.max.delay.ms", 0);
        Self::start("ConnectDistributed", kafka, worker, settings, &[])
    }

    /// A standalone worker, whose file `offset.storage.file.filename` names the offset file.
    ///
    /// Panics when it does not answer within three minutes.
    #[must_use]
    pub fn standalone(kafka: &Kafka, settings: &Properties, connector: &Properties) -> Self {
        let worker = Properties::default();
        Self::start("ConnectStandalone", kafka, worker, settings, &[connector])
    }

    fn start(
        class: &str,
        kafka: &Kafka,
        worker: Properties,
        settings: &Properties,
        connectors: &[&Properties],
    ) -> Self {
        let (home, jars) = (cache().join("debezium"), cache().join(RELEASE));
        if !home.join("complete").exists() || !jars.join("complete").exists() {
            install("debezium");
        }
        let (directory, port) = (nursery::directory("connect"), free_ports(1));
        let worker = worker
            .with("bootstrap.servers", kafka.bootstrap())
            .with("listeners", format!("http://127.0.0.1:{port}"))
            .with("plugin.path", home.join("plugin").display())
            .with("plugin.discovery", "service_load")
            .with(
                "key.converter",
                "org.apache.kafka.connect.json.JsonConverter",
            )
            .with(
                "value.converter",
                "org.apache.kafka.connect.json.JsonConverter",
            )
            .with("offset.flush.interval.ms", 500);
        let worker = settings
            .pairs()
            .fold(worker, |worker, (name, value)| worker.with(name, value));
        let mut command = Command::new("java");
        let log = File::create(directory.join("printed")).expect("our own directory");
        fs::write(directory.join("log4j2.xml"), LOG).expect("our own directory");
        command
            // One compiler tier and one collector thread: quick to start.
            .args([
                "-Xms64m",
                "-Xmx512m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
            ])
            .arg("-Dfile.encoding=UTF-8")
            .arg("-Dlog4j2.configurationFile=log4j2.xml")
            .args([
                "-cp",
                &format!("{}/*:{}/log/*", jars.display(), home.display()),
            ])
            .arg(format!("org.apache.kafka.connect.cli.{class}"))
            .current_dir(&directory)
            .stdout(log.try_clone().expect("a file handle"))
            .stderr(log);
        for (index, properties) in std::iter::once(&worker)
            .chain(connectors.iter().copied())
            .enumerate()
        {
            let path = directory.join(format!("{index}.properties"));
            fs::write(&path, properties.text()).expect("our own directory");
            command.arg(path);
        }
        let mut connect = Self {
            running: Running::spawn(&mut command, "KILL"),
            directory,
            port,
        };
        eventually("Kafka Connect answers", Duration::from_secs(180), || {
            assert!(connect.running.exited().is_none(), "{}", connect.log());
            match connect.ask("GET", "/connectors", None) {
                Ok((200, _)) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        connect
    }

    /// What it logged, and what it printed.
    #[must_use]
    pub fn log(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.directory.join(name)).unwrap_or_default();
        read("connect.log") + &read("printed")
    }

    /// Creates or changes a connector.
    ///
    /// Errors: what Connect says against it.
    pub fn put(&self, connector: &Properties) -> Result<(), String> {
        let name = connector.get("name").expect("a connector has a name");
        let path = format!("/connectors/{name}/config");
        self.expect("PUT", &path, Some(&as_json(connector)))
            .map(drop)
    }

    /// Ends a connector's task in good order; its positions stay.
    ///
    /// Panics when it does not stop within a minute.
    pub fn stop(&self, name: &str) {
        let path = format!("/connectors/{name}/stop");
        self.expect("PUT", &path, None)
            .unwrap_or_else(|error| panic!("{error}"));
        eventually(&format!("{name} stops"), Duration::from_secs(60), || {
            let status = self.status(name);
            let tasks = status["tasks"].as_array().map_or(0, Vec::len);
            if status["connector"]["state"] == "STOPPED" && tasks == 0 {
                Ok(())
            } else {
                Err(status.to_string())
            }
        });
    }

    /// Lets a stopped connector go on.
    ///
    /// Panics when Connect refuses.
    pub fn resume(&self, name: &str) {
        let path = format!("/connectors/{name}/resume");
        self.expect("PUT", &path, None)
            .unwrap_or_else(|error| panic!("{error}"));
    }

    /// Removes a connector; its positions stay.
    ///
    /// Panics when Connect refuses.
    pub fn delete(&self, name: &str) {
        let path = format!("/connectors/{name}");
        self.expect("DELETE", &path, None)
            .unwrap_or_else(|error| panic!("{error}"));
    }

    /// State of a connector and of its task, with the trace of a failure; `Null` for none yet.
    #[must_use]
    pub fn status(&self, name: &str) -> Value {
        let answer = self.ask("GET", &format!("/connectors/{name}/status"), None);
        answer
            .ok()
            .filter(|(status, _)| *status == 200)
            .map_or(Value::Null, |(_, body)| body)
    }

    /// The trace of a connector or task that failed.
    #[must_use]
    pub fn failure(&self, name: &str) -> Option<String> {
        let status = self.status(name);
        let tasks = status["tasks"].as_array().into_iter().flatten();
        tasks
            .chain([&status["connector"]])
            .find(|state| state["state"] == "FAILED")
            .map(|state| state["trace"].as_str().unwrap_or("no trace").to_owned())
    }

    /// What Connect's validation finds: each property that is wrong, with its messages.
    ///
    /// Panics when Connect does not answer.
    #[must_use]
    pub fn validate(&self, connector: &Properties) -> Vec<(String, Vec<String>)> {
        let class = connector.get("connector.class").expect("a class");
        let class = class.rsplit('.').next().expect("one part at least");
        let path = format!("/connector-plugins/{class}/config/validate");
        let answer = self
            .expect("PUT", &path, Some(&as_json(connector)))
            .unwrap_or_else(|error| panic!("{error}"));
        let values = answer["configs"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|one| &one["value"]);
        values
            .filter_map(|value| {
                let errors = value["errors"].as_array()?.iter();
                let errors: Vec<_> = errors
                    .filter_map(|text| Some(text.as_str()?.to_owned()))
                    .collect();
                let name = value["name"].as_str()?.to_owned();
                (!errors.is_empty()).then_some((name, errors))
            })
            .collect()
    }

    /// Ends the worker in good order: tasks stop, positions are written.
    ///
    /// Panics when it does not end within a minute.
    pub fn terminate(&mut self) {
        self.running.signal("TERM");
        let ended = self.running.wait(Duration::from_secs(60));
        assert!(
            ended.is_some(),
            "Kafka Connect does not end:\n{}",
            self.log()
        );
    }

    fn expect(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, String> {
        // While the group of workers finds together, it says 409, and wants to be asked again.
        for _ in 0..100 {
            match self.ask(method, path, body)? {
                (200..=299, answer) => return Ok(answer),
                (409, _) => std::thread::sleep(Duration::from_millis(200)),
                (status, answer) => return Err(format!("{method} {path}: {status} {answer}")),
            }
        }
        Err(format!("{method} {path}: 409 for 20 s"))
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value), String> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let attempt = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(120)))?;
            // HTTP/1.0: the answer's body is not cut into chunks.
            write!(
                stream,
                "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            )?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            Ok(String::from_utf8_lossy(&answer).into_owned())
        };
        let answer = attempt().map_err(|error| format!("{method} {path}: {error}"))?;
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let status = status.ok_or_else(|| format!("{method} {path}: {answer}"))?;
        Ok((status, serde_json::from_str(body).unwrap_or(Value::Null)))
    }
}

/// What the REST API takes: names to texts.
fn as_json(connector: &Properties) -> Value {
    connector
        .pairs()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect()
}
