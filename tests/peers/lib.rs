//! The other side: launchers of real servers and of our own binary, and strangers that read what
//! we wrote.
//!
//! ```text
//!   postgres ─► penstock ─► kafka ─► judge (confluent-kafka, fastavro)
//!                   └─────► registry (a stand-in that can be told to fail)
//!        └─► connect, with the real Debezium
//! ```
//!
//! Every server is real, has a port and a directory of its own, and ends with the process that
//! started it, however that ends: see [`nursery`]. What a launcher needs and does not find,
//! `install.sh` brings; it may be run beforehand.

#![allow(clippy::disallowed_methods, reason = "tests wait on the real clock")]

pub mod certificates;
pub mod clock;
pub mod connect;
pub mod debezium;
pub mod files;
pub mod judge;
pub mod kafka;
mod nursery;
pub mod penstock;
pub mod postgres;
pub mod proxy;
pub mod registry;
pub mod store;

use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The checkout.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Where `install.sh` puts what it brings.
#[must_use]
pub fn cache() -> PathBuf {
    std::env::var_os("PENSTOCK_CACHE").map_or_else(|| root().join(".cache"), PathBuf::from)
}

/// Brings `what`, as `install.sh` names it.
///
/// Panics when that fails: nothing can be tested without it.
pub fn install(what: &str) {
    let script = root().join("tests/peers/install.sh");
    let status = Command::new(&script).arg(what).status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "{script:?} {what}"
    );
}

/// Asks `probe` until it answers, for at most `limit`.
///
/// Panics when the time is over, with `what` and the last thing the probe complained of.
pub fn eventually<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<T, String>,
) -> T {
    let start = Instant::now();
    let mut pause = Duration::from_millis(10);
    loop {
        match probe() {
            Ok(answer) => return answer,
            Err(complaint) if start.elapsed() > limit => {
                panic!("{what}: not within {} s: {complaint}", limit.as_secs())
            }
            Err(_) => std::thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(250));
    }
}

/// A run of `count` ports that nobody listens on, below those the kernel gives to outgoing
/// connections, so that a server that was stopped can come back to its own.
///
/// Panics when there are none.
#[must_use]
pub fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..500 {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        // Processes that run at the same time start far from each other.
        let slot = (std::process::id().wrapping_mul(7919) + turn * 4) % 12_000;
        let first = 20_000 + u16::try_from(slot).expect("below 12 000");
        if (first..first + count).all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        {
            return first;
        }
    }
    panic!("no {count} free ports between 20000 and 32000");
}

/// The text of a `.properties` file.
#[derive(Debug, Clone, Default)]
pub struct Properties(Vec<(String, String)>);

impl Properties {
    /// Reads `name=value` lines.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim);
        let pairs = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(
            pairs
                .map(|line| line.split_once('=').unwrap_or((line, "")))
                .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
                .collect(),
        )
    }

    /// The same with `name` set to `value`, in the place it had.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value.to_string(),
            None => self.0.push((name.to_owned(), value.to_string())),
        }
        self
    }

    /// What `name` is set to.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut pairs = self.pairs();
        pairs
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    /// Names and values, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The same without `name`.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.0.retain(|(known, _)| known != name);
        self
    }

    /// The file's text.
    #[must_use]
    pub fn text(&self) -> String {
        self.0
            .iter()
            .fold(String::new(), |mut text, (name, value)| {
                writeln!(text, "{name}={value}").expect("a String takes it");
                text
            })
    }
}
