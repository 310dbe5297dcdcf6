//! Real Apache Kafka brokers of one node, from Maven Central's jars: KRaft, or ZooKeeper for 2.x.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use crate::nursery::{self, Running};
use crate::{cache, eventually, free_ports, install};

/// The newest line of releases; the tests' usual broker.
pub const NEWEST: &str = "4.3.1";
/// The last line that still had ZooKeeper beside KRaft; run with KRaft.
pub const KRAFT_3: &str = "3.9.1";
/// The oldest we promise, with ZooKeeper.
pub const OLDEST: &str = "2.5.1";

/// How a broker is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM: a controlled shutdown.
    Clean,
    /// SIGKILL.
    Kill,
}

/// A broker with a directory and ports of its own. Dropped, it is killed.
#[derive(Debug)]
pub struct Kafka {
    version: String,
    jars: PathBuf,
    directory: PathBuf,
    port: u16,
    flags: &'static [&'static str],
    running: Mutex<Option<Running>>,
    _zookeeper: Option<Running>,
}

impl Kafka {
    /// Starts a broker of the version, `"4.3.1"`.
    ///
    /// Panics when it does not start within a minute.
    #[must_use]
    pub fn start(version: &str) -> Self {
        Self::start_with(version, &[])
    }

    /// Starts a broker with more settings, which win over the usual.
    ///
    /// Panics when it does not start within a minute.
    #[must_use]
    pub fn start_with(version: &str, settings: &[(&str, &str)]) -> Self {
        // One compiler tier and one collector thread: quick to start, and leave the cores alone.
        let flags = &[
            "-Xms128m",
            "-Xmx512m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
        ];
        Self::start_as(version, free_ports(3), settings, flags)
    }

    /// Starts three brokers, each a controller as well, that keep three copies of what clients
    /// cannot do without.
    ///
    /// Panics when they do not start within a minute.
    #[must_use]
    pub fn cluster(version: &str) -> Vec<Self> {
        let ports: Vec<_> = (0..3).map(|_| free_ports(3)).collect();
        let voters = ports.iter().zip(1..);
        let voters: Vec<_> = voters
            .map(|(port, id)| format!("{id}@127.0.0.1:{}", port + 1))
            .collect();
        let voters = voters.join(",");
        let flags = &[
            "-Xms64m",
            "-Xmx256m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
        ];
        // None is ready before two are there.
        std::thread::scope(|scope| {
            let starting: Vec<_> = ports
                .iter()
                .zip(["1", "2", "3"])
                .map(|(&port, id)| {
                    let voters = &voters;
                    scope.spawn(move || {
                        let settings = [
                            ("node.id", id),
                            ("controller.quorum.voters", voters),
                            ("offsets.topic.replication.factor", "3"),
                            ("transaction.state.log.replication.factor", "3"),
                            ("transaction.state.log.min.isr", "2"),
                        ];
                        Self::start_as(version, port, &settings, flags)
                    })
                })
                .collect();
            starting
                .into_iter()
                .map(|broker| broker.join().expect("it starts"))
                .collect()
        })
    }

    /// Starts a broker as its own start script would, with 1 GB of heap.
    ///
    /// Panics when it does not start within a minute.
    #[must_use]
    pub fn start_measured(version: &str, settings: &[(&str, &str)]) -> Self {
        let flags = &[
            "-Xms1g",
            "-Xmx1g",
            "-server",
            "-XX:+UseG1GC",
            "-XX:MaxGCPauseMillis=20",
            "-XX:InitiatingHeapOccupancyPercent=35",
            "-XX:+ExplicitGCInvokesConcurrent",
        ];
        Self::start_as(version, free_ports(3), settings, flags)
    }

    fn start_as(
        version: &str,
        port: u16,
        settings: &[(&str, &str)],
        flags: &'static [&'static str],
    ) -> Self {
        let jars = jars(version);
        let directory = nursery::directory("kafka");
        let old = version.starts_with("2.");
        fs::write(
            directory.join("server.properties"),
            properties(&directory, port, old, settings),
        )
        .expect("a file in our own directory");
        let zookeeper = old.then(|| {
            let mut command = java(
                &jars,
                &directory,
                "zookeeper.log",
                // Its administration server would want port 8080.
                &[
                    "-Xmx128m",
                    "-XX:+UseSerialGC",
                    "-Dzookeeper.admin.enableServer=false",
                ],
            );
            command
                .arg("org.apache.zookeeper.server.ZooKeeperServerMain")
                .arg((port + 1).to_string())
                .arg(directory.join("zookeeper"));
            let mut running = Running::spawn(&mut command, "KILL");
            await_port(port + 1, &mut running, &directory.join("zookeeper.log"));
            running
        });
        if !old {
            let mut format = java(&jars, &directory, "format.log", &["-XX:+UseSerialGC"]);
            let cluster = "cGVuc3RvY2stcGVuc3RvYw";
            format.args(["kafka.tools.StorageTool", "format", "-t", cluster, "-c"]);
            let status = format.arg(directory.join("server.properties")).status();
            assert!(
                status.is_ok_and(|status| status.success()),
                "{}",
                fs::read_to_string(directory.join("format.log")).unwrap_or_default()
            );
        }
        let broker = Self {
            version: version.to_owned(),
            jars,
            directory,
            port,
            flags,
            running: Mutex::new(None),
            _zookeeper: zookeeper,
        };
        broker.launch();
        broker
    }

    /// One broker per version for the whole process; tests take a topic prefix each.
    #[must_use]
    pub fn shared(version: &'static str) -> &'static Self {
        static BROKERS: [(&str, OnceLock<Kafka>); 3] = [
            (NEWEST, OnceLock::new()),
            (KRAFT_3, OnceLock::new()),
            (OLDEST, OnceLock::new()),
        ];
        let broker = BROKERS.iter().find(|(known, _)| *known == version);
        broker
            .expect("one of the three")
            .1
            .get_or_init(|| Self::start(version))
    }

    /// What a client bootstraps from.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A port beside the broker's own, for a second listener among the settings, which know the
    /// ports as `{port}`, `{controller}` and `{second}`.
    #[must_use]
    pub fn second_bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port + 2)
    }

    /// The version that runs.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The broker's process id.
    ///
    /// Panics when it is stopped.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.running
            .lock()
            .expect("no panic under it")
            .as_ref()
            .expect("it runs")
            .id()
    }

    /// The bytes of a topic's segments on the broker's disk: what was written, without asking.
    #[must_use]
    pub fn topic_bytes(&self, topic: &str) -> u64 {
        let partitions = fs::read_dir(self.directory.join("data"))
            .into_iter()
            .flatten()
            .flatten();
        partitions
            .filter(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                name.rsplit_once('-').is_some_and(|(of, _)| of == topic)
            })
            .flat_map(|entry| fs::read_dir(entry.path()).into_iter().flatten().flatten())
            .filter(|entry| entry.path().extension().is_some_and(|kind| kind == "log"))
            .filter_map(|entry| Some(entry.metadata().ok()?.len()))
            .sum()
    }

    /// From now on no file of the broker's grows, as on a disk that is full: it fails its log
    /// directory, and ends by itself. There is room again when it is launched.
    ///
    /// Panics when it is stopped, or cannot be limited.
    pub fn fill_disk(&self) {
        let limit = Command::new("prlimit")
            .args(["--fsize=0:", "--pid", &self.process().to_string()])
            .status();
        assert!(limit.is_ok_and(|status| status.success()), "prlimit");
    }

    /// Stops the broker and waits until it is gone.
    ///
    /// Panics when it does not go within 60 s.
    pub fn stop(&self, how: Stop) {
        let running = self.running.lock().expect("no panic under it").take();
        let Some(mut running) = running else { return };
        running.signal(if how == Stop::Clean { "TERM" } else { "KILL" });
        assert!(
            running.wait(Duration::from_secs(60)).is_some(),
            "{how:?} does not end it"
        );
    }

    /// Starts a stopped broker again, with its data, on its old port.
    ///
    /// Panics when it does not start within a minute.
    pub fn launch(&self) {
        let mut command = java(&self.jars, &self.directory, "kafka.log", self.flags);
        command
            .arg("kafka.Kafka")
            .arg(self.directory.join("server.properties"));
        let mut running = Running::spawn(&mut command, "KILL");
        await_port(self.port, &mut running, &self.directory.join("kafka.log"));
        *self.running.lock().expect("no panic under it") = Some(running);
    }

    /// Stops and starts.
    pub fn restart(&self, how: Stop) {
        self.stop(how);
        self.launch();
    }

    /// Java's command-line clients of the broker's own version.
    #[must_use]
    pub fn java(&self) -> Java {
        Java::new(&self.version, &self.bootstrap())
    }
}

/// Kafka's own command-line clients, of one version, against any broker.
#[derive(Debug, Clone)]
pub struct Java {
    version: String,
    jars: PathBuf,
    bootstrap: String,
}

impl Java {
    /// The clients of `version`, of a broker at `bootstrap`.
    #[must_use]
    pub fn new(version: &str, bootstrap: &str) -> Self {
        Self {
            version: version.to_owned(),
            jars: jars(version),
            bootstrap: bootstrap.to_owned(),
        }
    }

    /// Runs a class with `--bootstrap-server` and these arguments, `input` on its standard input,
    /// and gives what it printed.
    ///
    /// Errors: what it said before it failed.
    pub fn run(&self, class: &str, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut child = Command::new("java")
            .args([
                "-Xmx256m",
                "-XX:TieredStopAtLevel=1",
                "-XX:+UseSerialGC",
                "-cp",
            ])
            .arg(format!("{}/*", self.jars.display()))
            .arg(class)
            .args(["--bootstrap-server", &self.bootstrap])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("java runs");
        let mut pipe = child.stdin.take().expect("it was piped");
        // A client that reads no input closes it.
        let _ = pipe.write_all(input.as_bytes());
        drop(pipe);
        let output = child.wait_with_output().expect("java ends");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(printed);
        }
        Err(format!(
            "{printed}{}",
            String::from_utf8_lossy(&output.stderr)
        ))
    }

    /// The values of a topic from its beginning as the console consumer prints them, a line each,
    /// or more for one with line feeds in it; it joins a consumer group for it, and reads what is
    /// committed.
    ///
    /// Panics when it fails or fewer than `count` come within 30 s.
    #[must_use]
    pub fn consume(&self, topic: &str, count: usize) -> Vec<String> {
        let class = if self.version.starts_with("4.") {
            "org.apache.kafka.tools.consumer.ConsoleConsumer"
        } else {
            "kafka.tools.ConsoleConsumer"
        };
        let most = count.to_string();
        let arguments = [
            &[
                "--topic",
                topic,
                "--from-beginning",
                "--max-messages",
                &most,
            ][..],
            &[
                "--isolation-level",
                "read_committed",
                "--timeout-ms",
                "30000",
            ],
        ];
        let printed = self.run(class, &arguments.concat(), "");
        let printed = printed.unwrap_or_else(|error| panic!("{error}"));
        let lines: Vec<_> = printed.lines().map(str::to_owned).collect();
        assert!(lines.len() >= count, "{} records of {topic}", lines.len());
        lines
    }

    /// Writes a line each with the console producer: idempotent, as it comes.
    ///
    /// Panics when it fails.
    pub fn produce(&self, topic: &str, lines: &str) {
        let class = if self.version.starts_with("4.") {
            "org.apache.kafka.tools.ConsoleProducer"
        } else {
            "kafka.tools.ConsoleProducer"
        };
        self.run(class, &["--topic", topic], lines)
            .unwrap_or_else(|error| panic!("{error}"));
    }
}

fn jars(version: &str) -> PathBuf {
    let jars = cache().join(format!("kafka-{version}"));
    if !jars.join("complete").exists() {
        install(&format!("kafka-{version}"));
    }
    jars
}

fn properties(directory: &Path, port: u16, old: bool, settings: &[(&str, &str)]) -> String {
    let mut all = vec![
        (
            "advertised.listeners",
            format!("PLAINTEXT://127.0.0.1:{port}"),
        ),
        ("log.dirs", directory.join("data").display().to_string()),
        ("offsets.topic.replication.factor", "1".into()),
        ("offsets.topic.num.partitions", "2".into()),
        ("transaction.state.log.replication.factor", "1".into()),
        ("transaction.state.log.min.isr", "1".into()),
        ("transaction.state.log.num.partitions", "2".into()),
        ("group.initial.rebalance.delay.ms", "0".into()),
    ];
    if old {
        all.extend([
            ("listeners", format!("PLAINTEXT://127.0.0.1:{port}")),
            ("broker.id", "1".into()),
            ("zookeeper.connect", format!("127.0.0.1:{}", port + 1)),
        ]);
    } else {
        all.extend([
            (
                "listeners",
                format!(
                    "PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{}",
                    port + 1
                ),
            ),
            ("process.roles", "broker,controller".into()),
            ("node.id", "1".into()),
            (
                "controller.quorum.voters",
                format!("1@127.0.0.1:{}", port + 1),
            ),
            ("controller.listener.names", "CONTROLLER".into()),
            (
                "listener.security.protocol.map",
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,\
                 SASL_SSL:SASL_SSL,SSL:SSL"
                    .into(),
            ),
        ]);
    }
    for (name, value) in settings {
        let value = value
            .replace("{port}", &port.to_string())
            .replace("{controller}", &(port + 1).to_string())
            .replace("{second}", &(port + 2).to_string());
        all.retain(|(known, _)| known != name);
        all.push((name, value));
    }
    all.iter().fold(String::new(), |mut text, (name, value)| {
        writeln!(text, "{name}={value}").expect("a String takes it");
        text
    })
}

fn java(jars: &Path, directory: &Path, log: &str, flags: &[&str]) -> Command {
    let out = File::options()
        .create(true)
        .append(true)
        .open(directory.join(log))
        .expect("the log opens");
    let mut command = Command::new("java");
    command
        .args(flags)
        .args(["-cp", &format!("{}/*", jars.display())])
        .current_dir(directory)
        .stdout(out.try_clone().expect("a file handle"))
        .stderr(out);
    command
}

fn await_port(port: u16, running: &mut Running, log: &Path) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    eventually(
        &format!("port {port} opens"),
        Duration::from_secs(60),
        || {
            let said = || fs::read_to_string(log).unwrap_or_default();
            assert!(running.exited().is_none(), "it ended: {}", said());
            match TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
                Ok(_) => Ok(()),
                Err(error) => Err(format!("{error}: {}", said())),
            }
        },
    );
}
