//! The servers that a figure is made on: found where the user points, or started here and ended
//! with us.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::failed;
use crate::cli::exit::{Exit, Report};
use crate::cli::proc;
use crate::cli::server::{Address, Server};
use crate::net::Stream;

/// The database of ours, made and dropped.
pub const DATABASE: &str = "penstock_bench";
/// How long a server may take to start.
const START_WITHIN: Duration = Duration::from_secs(90);
/// Between two looks at something that starts or ends.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long a process may take to end before it is killed.
const END_WITHIN: Duration = Duration::from_secs(20);

/// Lines `PID` and `dir PATH`; at the end of its input, thus when we are gone by whatever way, it
/// ends those processes and removes those directories.
const REAPER: &str = r#"
trap '' INT TERM HUP
pids= dirs=
while read -r a b; do case $a in dir) dirs="$dirs $b" ;; *) pids="$pids $a" ;; esac; done
for p in $pids; do kill -TERM $p; done; sleep 1
for p in $pids; do kill -KILL $p; done
for d in $dirs; do rm -rf "$d"; done
"#;

/// A directory of ours, and who clears up when we cannot.
#[derive(Debug)]
pub struct Stage {
    /// Where everything is kept.
    pub directory: PathBuf,
    pipe: ChildStdin,
    reaper: Child,
}

impl Stage {
    /// A new directory under `parent`, or the system's temporary one.
    ///
    /// Errors: it cannot be made.
    pub fn open(parent: Option<&Path>) -> Result<Self, Report> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        let parent = std::path::absolute(&parent).unwrap_or(parent);
        let directory = parent.join(format!("penstock-bench-{}", std::process::id()));
        let refused = |error: std::io::Error| {
            failed(format!("cannot make directory {}", directory.display()))
                .with(error.to_string())
                .remedy("name another place with --scratch")
        };
        fs::create_dir_all(&directory).map_err(refused)?;
        let reaper = Command::new("sh")
            .args(["-c", REAPER])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        let mut reaper = reaper.map_err(refused)?;
        let Some(pipe) = reaper.stdin.take() else {
            return Err(failed("sh has no standard input"));
        };
        let mut stage = Self {
            directory,
            pipe,
            reaper,
        };
        stage.tell(&format!("dir {}", stage.directory.display()));
        Ok(stage)
    }

    fn tell(&mut self, line: &str) {
        // Without it we clear up ourselves, as long as we end well.
        let _ = writeln!(self.pipe, "{line}");
    }

    /// Starts a process of ours; what it says goes to a file of that name.
    ///
    /// Errors: it cannot be started.
    pub fn spawn(&mut self, command: &mut Command, log: &str) -> Result<Running, Report> {
        let path = self.directory.join(log);
        let program = command.get_program().display().to_string();
        let refused = |error: std::io::Error| {
            failed(format!("cannot start {program}")).with(error.to_string())
        };
        let out = File::options().create(true).append(true).open(&path);
        let out = out.map_err(refused)?;
        let again = out.try_clone().map_err(refused)?;
        command.stdin(Stdio::null()).stdout(out).stderr(again);
        // Ctrl-C is for us: we end them in order.
        let child = command.process_group(0).spawn();
        let child = child.map_err(refused)?;
        self.tell(&child.id().to_string());
        Ok(Running { child, log: path })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
        let _ = self.reaper.try_wait();
    }
}

/// A process of ours. Dropped, it is killed.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended; none while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The end of what it said.
    #[must_use]
    pub fn said(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// Sends a signal by its name.
    pub fn signal(&mut self, name: &str) {
        if self.ended().is_none() {
            let pid = self.pid().to_string();
            let _ = Command::new("kill").args(["-s", name, &pid]).status();
        }
    }

    /// Asks it to end, and waits until it has.
    pub async fn stop(&mut self, signal: &str) -> Option<ExitStatus> {
        self.signal(signal);
        let mut waited = Duration::ZERO;
        while waited < END_WITHIN {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
            waited += LOOK_AGAIN;
        }
        let _ = self.child.kill();
        self.child.wait().ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A PostgreSQL.
#[derive(Debug)]
pub struct Postgres {
    /// How to reach it, database [`DATABASE`].
    pub server: Server,
    /// The same over its Unix socket, where there is one.
    pub socket: Option<Server>,
    /// Where its programs are, where that is known.
    pub programs: Option<PathBuf>,
    running: Option<Running>,
}

/// What a server of ours is set to, beside the user's own settings.
const SETTINGS: [&str; 11] = [
    "wal_level=logical",
    "fsync=off",
    "full_page_writes=off",
    "shared_buffers=1GB",
    "autovacuum=off",
    "max_wal_size=40GB",
    "checkpoint_timeout=1h",
    "max_wal_senders=20",
    "max_replication_slots=40",
    "max_connections=100",
    "timezone=UTC",
];

impl Postgres {
    /// The one that the options or the environment name; else one of ours, of the programs in
    /// `programs`, on PATH, or where Debian has them.
    ///
    /// Errors: there is none; it does not start.
    pub async fn find(
        stage: &mut Stage,
        address: &Address,
        programs: Option<&Path>,
        settings: &[String],
    ) -> Result<Self, Report> {
        let env = |name: &str| std::env::var(name).ok();
        let named = address.postgres.is_some()
            || address.socket.is_some()
            || address.connector.is_some()
            || env("PGHOST").is_some();
        let programs = programs.map(Path::to_owned).or_else(installed);
        if named {
            let server = Server::find(address, env);
            let server = server.map_err(|what| Report::new(Exit::Usage, what))?;
            return Ok(Self {
                server,
                socket: None,
                programs,
                running: None,
            });
        }
        let Some(programs) = programs else {
            return Err(Report::new(Exit::Usage, "no PostgreSQL to measure").remedy(
                "install one (initdb and postgres on PATH, or --postgres-bin DIR), \
                 or point at one: --postgres HOST",
            ));
        };
        Self::start(stage, programs, settings).await
    }

    async fn start(
        stage: &mut Stage,
        programs: PathBuf,
        settings: &[String],
    ) -> Result<Self, Report> {
        let directory = stage.directory.join("postgres");
        let data = directory.join("data");
        let refused = |error: std::io::Error| {
            failed("cannot make PostgreSQL's directory").with(error.to_string())
        };
        fs::create_dir_all(&data).map_err(refused)?;
        let owner = owner();
        if let Some((user, group)) = owner {
            for path in [&directory, &data] {
                std::os::unix::fs::chown(path, Some(user), Some(group)).map_err(refused)?;
            }
        }
        let program = |name: &str| {
            let mut command = Command::new(programs.join(name));
            command.current_dir(&directory).env("LC_ALL", "C");
            if let Some((user, group)) = owner {
                command.uid(user).gid(group);
            }
            command
        };
        let made = program("initdb")
            .args(["-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"])
            .args(["--auth=trust", "-D"])
            .arg(&data)
            .output();
        let made = made.map_err(refused)?;
        if !made.status.success() {
            let words = String::from_utf8_lossy(&made.stderr).into_owned();
            return Err(failed("initdb does not succeed").with(words));
        }
        let port = free_port()?;
        let mut command = program("postgres");
        command.arg("-D").arg(&data);
        command.args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        let sockets = format!("unix_socket_directories={}", directory.display());
        command.args(["-c", &sockets]);
        for setting in SETTINGS
            .iter()
            .map(|it| (*it).to_owned())
            .chain(settings.to_vec())
        {
            command.args(["-c", &setting]);
        }
        let mut running = stage.spawn(&mut command, "postgres.log")?;
        let ready = data.join("postmaster.pid");
        wait_for(&mut running, "PostgreSQL", || {
            let text = fs::read_to_string(&ready).unwrap_or_default();
            text.lines()
                .nth(7)
                .is_some_and(|line| line.trim() == "ready")
        })
        .await?;
        let server = |host: &str| Server {
            host: host.to_owned(),
            port,
            user: "postgres".to_owned(),
            password: None,
            database: "postgres".to_owned(),
            more: crate::config::Properties::new(),
        };
        Ok(Self {
            server: server("127.0.0.1"),
            socket: Some(server(&directory.display().to_string())),
            programs: Some(programs),
            running: Some(running),
        })
    }

    /// The postmaster, where it runs on this machine: the parent of our connection's process.
    #[must_use]
    pub fn postmaster(&self, backend: u32) -> Option<u32> {
        if let Some(running) = &self.running {
            return Some(running.pid());
        }
        let name = |pid: u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let text = fs::read_to_string(format!("/proc/{backend}/status")).unwrap_or_default();
        let parent = text.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        let parent = parent.trim().parse().ok()?;
        (name(backend).starts_with("postgres") && name(parent).starts_with("postgres"))
            .then_some(parent)
    }

    /// Ends it in good order, if it is ours.
    pub async fn stop(&mut self) {
        if let Some(running) = &mut self.running {
            running.stop("INT").await;
        }
    }
}

/// Where PostgreSQL's programs are: on PATH, links followed, or the newest that Debian has.
fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut on_path = std::env::split_paths(&path).filter_map(|directory| {
        let found = fs::canonicalize(directory.join("initdb")).ok()?;
        let directory = found.parent()?;
        let whole = directory.join("postgres").is_file();
        whole.then(|| directory.to_owned())
    });
    on_path.next().or_else(debian)
}

fn debian() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let numbered = versions.filter_map(|entry| {
        let number: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((number, entry.path().join("bin")))
    });
    let whole = numbered.filter(|(_, bin)| bin.join("initdb").is_file());
    whole.max().map(|(_, bin)| bin)
}

/// A client program of PostgreSQL's: of `programs`, of Debian's, on PATH.
#[must_use]
pub fn client_program(programs: Option<&Path>, name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = programs.map(Path::to_owned).into_iter().chain(debian());
    let mut places = places.chain(std::env::split_paths(&path));
    places.find_map(|place| Some(place.join(name)).filter(|program| program.is_file()))
}

/// Whom PostgreSQL runs as where we are root, which it refuses: its own user, or nobody.
fn owner() -> Option<(u32, u32)> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    if uids.split_whitespace().nth(1) != Some("0") {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = |name: &str| {
        let line = users
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    found("postgres").or_else(|| found("nobody"))
}

/// A port that nobody listens on.
fn free_port() -> Result<u16, Report> {
    let refused = |error: std::io::Error| failed("no port is free").with(error.to_string());
    crate::net::free_port().map_err(refused)
}

/// A Kafka.
#[derive(Debug)]
pub struct Kafka {
    /// `bootstrap.servers`
    pub bootstrap: String,
    /// Its jars, where they are known.
    pub jars: Option<PathBuf>,
    running: Option<Running>,
    pid: Option<u32>,
}

/// The flags of Kafka's own start script, with its heap of 1 GB.
const JAVA: [&str; 7] = [
    "-Xms1g",
    "-Xmx1g",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
];

impl Kafka {
    /// A broker that runs.
    #[must_use]
    pub fn at(bootstrap: String, jars: Option<PathBuf>, pid: Option<u32>) -> Self {
        Self {
            bootstrap,
            jars,
            running: None,
            pid,
        }
    }

    /// Starts a broker of one node.
    ///
    /// Errors: it does not start.
    pub async fn start(stage: &mut Stage, jars: PathBuf) -> Result<Self, Report> {
        let directory = stage.directory.join("kafka");
        let refused =
            |error: std::io::Error| failed("cannot make Kafka's directory").with(error.to_string());
        fs::create_dir_all(&directory).map_err(refused)?;
        let (port, controller) = (free_port()?, free_port()?);
        let text = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             controller.listener.names=CONTROLLER\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             log.dirs={}/data\noffsets.topic.replication.factor=1\n\
             offsets.topic.num.partitions=2\ntransaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\ntransaction.state.log.num.partitions=2\n\
             group.initial.rebalance.delay.ms=0\nlog.segment.delete.delay.ms=1000\n\
             message.max.bytes=33554432\n",
            directory.display()
        );
        let file = directory.join("server.properties");
        fs::write(&file, text).map_err(refused)?;
        let mut format = java(&jars, &["-XX:+UseSerialGC"]);
        format.args(["kafka.tools.StorageTool", "format"]);
        format
            .args(["-t", "cGVuc3RvY2stcGVuc3RvYw", "-c"])
            .arg(&file);
        let mut formatted = stage.spawn(&mut format, "kafka-format.log")?;
        let ended = loop {
            match formatted.ended() {
                Some(status) => break status,
                None => tokio::time::sleep(LOOK_AGAIN).await,
            }
        };
        if !ended.success() {
            let what = format!("Kafka of {} cannot be set up", jars.display());
            return Err(failed(what).with(formatted.said()));
        }
        let mut command = java(&jars, &JAVA);
        command
            .current_dir(&directory)
            .arg("kafka.Kafka")
            .arg(&file);
        let mut running = stage.spawn(&mut command, "kafka.log")?;
        wait_for_port(&mut running, "Kafka", port).await?;
        Ok(Self {
            bootstrap: format!("127.0.0.1:{port}"),
            jars: Some(jars),
            running: Some(running),
            pid: None,
        })
    }

    /// The broker's process, where it is known.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(Running::pid).or(self.pid)
    }

    /// `4.3.1`, where its jars are known.
    #[must_use]
    pub fn version(&self) -> Option<String> {
        let entries = fs::read_dir(self.jars.as_ref()?).ok()?.flatten();
        let mut names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let name = names.find(|name| {
            let rest = name.strip_prefix("kafka-clients-");
            rest.is_some_and(|rest| rest.starts_with(|it: char| it.is_ascii_digit()))
        })?;
        let version = name.strip_prefix("kafka-clients-")?.strip_suffix(".jar")?;
        Some(version.to_owned())
    }

    /// Ends it, if it is ours.
    pub async fn stop(&mut self) {
        if let Some(running) = &mut self.running {
            running.stop("KILL").await;
        }
    }
}

/// Java with every jar of a directory, or of its `libs` as Kafka's own archive has them.
#[must_use]
pub fn java(jars: &Path, flags: &[&str]) -> Command {
    let libs = jars.join("libs");
    let jars = if libs.is_dir() { &libs } else { jars };
    let mut command = Command::new("java");
    command
        .args(flags)
        .arg("-cp")
        .arg(format!("{}/*", jars.display()));
    command
}

/// Waits until something of ours is up.
///
/// Errors: it ended, or takes too long; with what it said.
pub async fn wait_for(
    running: &mut Running,
    name: &str,
    mut up: impl FnMut() -> bool,
) -> Result<(), Report> {
    let mut waited = Duration::ZERO;
    loop {
        if up() {
            return Ok(());
        }
        if let Some(status) = running.ended() {
            return Err(failed(format!("{name} ended: {status}")).with(running.said()));
        }
        if waited > START_WITHIN {
            return Err(failed(format!("{name} does not start")).with(running.said()));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        waited += LOOK_AGAIN;
    }
}

async fn wait_for_port(running: &mut Running, name: &str, port: u16) -> Result<(), Report> {
    let mut waited = Duration::ZERO;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    loop {
        let second = Duration::from_secs(1);
        let tried = Stream::connect_tcp(&address.ip().to_string(), port, second).await;
        if tried.is_ok() {
            return Ok(());
        }
        if let Some(status) = running.ended() {
            return Err(failed(format!("{name} ended: {status}")).with(running.said()));
        }
        if waited > START_WITHIN {
            return Err(failed(format!("{name} does not start")).with(running.said()));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        waited += LOOK_AGAIN;
    }
}

/// The machine in a line.
#[must_use]
pub fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("", |rest| rest.trim_start_matches(['\t', ':', ' ']));
    let memory = read("/proc/meminfo");
    let kib = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = kib.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{} cores of {model}, {} GiB, Linux {}",
        proc::cores(),
        kib.unwrap_or(0) >> 20,
        kernel.trim()
    )
}
