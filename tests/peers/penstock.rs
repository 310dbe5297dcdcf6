//! Our own binary, as a user runs it.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::nursery::{self, Running};
use crate::{Properties, eventually, root};

/// A running `penstock`, its log and its directory.
#[derive(Debug)]
pub struct Penstock {
    directory: PathBuf,
    running: Running,
}

impl Penstock {
    /// `penstock standalone worker.properties connector.properties…`
    ///
    /// Panics when the binary cannot be run.
    #[must_use]
    pub fn standalone(worker: &Properties, connectors: &[&Properties]) -> Self {
        Self::standalone_under(&[], worker, connectors)
    }

    /// As [`Self::standalone`], with a command in front that becomes what follows it:
    /// `prlimit --data=…`, `env NAME=…`.
    ///
    /// Panics when the binary cannot be run.
    #[must_use]
    pub fn standalone_under(
        command: &[&str],
        worker: &Properties,
        connectors: &[&Properties],
    ) -> Self {
        Self::with_files(command, "standalone", worker, connectors)
    }

    fn with_files(
        command: &[&str],
        verb: &str,
        worker: &Properties,
        connectors: &[&Properties],
    ) -> Self {
        let directory = nursery::directory("penstock");
        let mut arguments = vec![verb.to_owned()];
        let named = std::iter::once(("worker".to_owned(), worker)).chain(
            connectors
                .iter()
                .enumerate()
                .map(|(index, properties)| (format!("connector-{index}"), *properties)),
        );
        for (name, properties) in named {
            let path = directory.join(format!("{name}.properties"));
            fs::write(&path, properties.text()).expect("a file in our own directory");
            arguments.push(path.display().to_string());
        }
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        Self::spawn(command, directory, &arguments)
    }

    /// `penstock check` of the same files: its exit code, and what it says against them.
    ///
    /// Panics when it takes a minute.
    #[must_use]
    pub fn check(worker: &Properties, connectors: &[&Properties]) -> (i32, String) {
        let mut check = Self::with_files(&[], "check", worker, connectors);
        check.wait(Duration::from_secs(60))
    }

    /// Any command of the binary.
    ///
    /// Panics when the binary cannot be run.
    #[must_use]
    pub fn run(arguments: &[&str]) -> Self {
        Self::spawn(&[], nursery::directory("penstock"), arguments)
    }

    fn spawn(command: &[&str], directory: PathBuf, arguments: &[&str]) -> Self {
        let file = |name: &str| File::create(directory.join(name)).expect("our own directory");
        let binary = binary().display().to_string();
        let line: Vec<&str> = [command, &[&binary], arguments].concat();
        let mut command = Command::new(line[0]);
        command
            .args(&line[1..])
            .current_dir(&directory)
            .env("RUST_BACKTRACE", "1")
            .stdout(file("stdout"))
            .stderr(file("stderr"));
        let running = Running::spawn(&mut command, "KILL");
        Self { directory, running }
    }

    /// What it wrote to stderr: its log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("stderr")).unwrap_or_default()
    }

    /// What it wrote to stdout.
    #[must_use]
    pub fn printed(&self) -> String {
        fs::read_to_string(self.directory.join("stdout")).unwrap_or_default()
    }

    /// Its process id.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.running.id()
    }

    /// Waits until the log has a line in which every one of `words` occurs, and gives that line.
    ///
    /// Panics when it ends before, or after `limit`.
    pub fn wait_for(&mut self, words: &[&str], limit: Duration) -> String {
        eventually(&format!("a line with {words:?}"), limit, || {
            let ended = self.running.exited();
            let log = self.log();
            let line = log
                .lines()
                .find(|line| words.iter().all(|word| line.contains(word)));
            match (line, ended) {
                (Some(line), _) => Ok(line.to_owned()),
                (None, Some(code)) => panic!("exit code {code} before {words:?}:\n{log}"),
                (None, None) => Err(log),
            }
        })
    }

    /// The exit code, once it has ended.
    pub fn ended(&mut self) -> Option<i32> {
        self.running.exited()
    }

    /// Panics with the log when the process has ended.
    pub fn assert_running(&mut self) {
        if let Some(code) = self.running.exited() {
            panic!("exit code {code}:\n{}", self.log());
        }
    }

    /// Waits for the end: exit code and log.
    ///
    /// Panics after `limit`.
    pub fn wait(&mut self, limit: Duration) -> (i32, String) {
        let code = self.running.wait(limit);
        let log = self.log();
        (
            code.unwrap_or_else(|| panic!("it runs after {} s:\n{log}", limit.as_secs())),
            log,
        )
    }

    /// SIGTERM, and the exit code.
    ///
    /// Panics when it does not end within 10 s.
    pub fn terminate(&mut self) -> i32 {
        self.running.signal("TERM");
        self.wait(Duration::from_secs(10)).0
    }

    /// SIGINT, as Ctrl-C sends it, and the exit code.
    ///
    /// Panics when it does not end within 10 s.
    pub fn interrupt(&mut self) -> i32 {
        self.running.signal("INT");
        self.wait(Duration::from_secs(10)).0
    }

    /// A signal by its name: `STOP`, `CONT`.
    pub fn signal(&mut self, signal: &str) {
        self.running.signal(signal);
    }

    /// The exit code, once it has ended by itself.
    pub fn exited(&mut self) -> Option<i32> {
        self.running.exited()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.running.signal("KILL");
        self.running.wait(Duration::from_secs(10));
    }

    /// Resident memory in KiB, now and at its highest (`VmRSS`, `VmHWM`).
    ///
    /// Panics when the process has ended.
    #[must_use]
    pub fn memory_kib(&self) -> (u64, u64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process()));
        let status = status.expect("it runs");
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
                .expect("KiB")
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

/// The binary: `$PENSTOCK_BIN`, or the one beside the tests, brought up to date once.
///
/// Panics when it cannot be built.
#[must_use]
pub fn binary() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let found = BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("PENSTOCK_BIN") {
            return PathBuf::from(path);
        }
        // target/debug/deps/servers-0123: the profile's own directory is two up.
        let test = std::env::current_exe().expect("we run");
        let profile = test.ancestors().nth(2).expect("cargo's layout").to_owned();
        let release: &[&str] = if profile.ends_with("release") {
            &["--release"]
        } else {
            &[]
        };
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .current_dir(root())
            // What cargo tells us of this crate; a build script that asks for it would run again.
            .env_remove("CARGO_MANIFEST_DIR")
            .args(["build", "-q", "--bin", "penstock"])
            .args(release)
            .stdin(Stdio::null())
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "penstock does not build"
        );
        profile.join("penstock")
    });
    found.clone()
}
