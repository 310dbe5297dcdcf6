//! From what the pipe says and the consumer sees to what is on the screen.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use super::change::Op;
use super::screen::{Copying, Pulse, Screen, Sighting, Summary};
use super::watch::Sight;
use crate::cli::latency::Latencies;
use crate::pipe::{Phase, Status};

/// Lines between two frames; of more changes than that, the number.
const LINES_MAX: usize = 200;
/// Over which the rate of changes is taken.
const RATE_OVER_US: i64 = 5_000_000;
/// How long a copy may take before its first rows are shown.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often memory is looked at.
const MEMORY_EVERY_US: i64 = 1_000_000;

/// The demo as it is seen.
#[derive(Debug)]
pub struct Show {
    screen: Screen,
    started_us: i64,
    /// How far each table is, by the pipe's word.
    tables: Vec<Copying>,
    act: Act,
    /// When the copy began and when it was complete.
    copied_us: (i64, i64),
    /// Tables of which a copied row was shown.
    sampled: Vec<String>,
    waiting: Option<String>,
    lines: Vec<String>,
    left_out: usize,
    /// Copied rows that the consumer has read.
    copied_seen: u64,
    changes: u64,
    latencies: Latencies,
    /// When changes came of late, and how many.
    recent: VecDeque<(i64, u64)>,
    memory: (i64, u64),
}

/// Which part of the show it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Before,
    Copying,
    Live,
}

impl Show {
    /// A show on `screen`. `now_us`, here and elsewhere: µs since 1970.
    #[must_use]
    pub fn new(screen: Screen, now_us: i64) -> Self {
        Self {
            screen,
            started_us: now_us,
            tables: Vec::new(),
            act: Act::Before,
            copied_us: (now_us, now_us),
            sampled: Vec::new(),
            waiting: None,
            lines: Vec::new(),
            left_out: 0,
            copied_seen: 0,
            changes: 0,
            latencies: Latencies::new(),
            recent: VecDeque::new(),
            memory: (i64::MIN, 0),
        }
    }

    /// Takes what the pipe says of itself.
    pub fn follow(&mut self, status: &Status, now_us: i64) {
        self.waiting = match &status.phase {
            Phase::Waiting { why } => Some(why.clone()),
            _ => None,
        };
        if self.act == Act::Before && !status.tables.is_empty() {
            self.act = Act::Copying;
            self.copied_us.0 = now_us;
        }
        let tables = status.tables.iter().map(|table| Copying {
            name: table.name.rsplit('.').next().unwrap_or_default().to_owned(),
            rows: table.rows,
            estimate: table.estimate,
            elapsed: table.elapsed,
            done: table.done,
        });
        if self.act != Act::Live {
            self.tables = tables.collect();
        }
        if self.act == Act::Copying && status.phase == Phase::Streaming {
            self.copied_us.1 = now_us;
        }
    }

    /// Takes changes that came at `at_us`.
    pub fn take(&mut self, sights: &[Sight], at_us: i64) {
        let look = self.screen.look();
        let mut live = 0;
        for sight in sights {
            let change = &sight.change;
            let latency = match (change.op, change.committed_us) {
                (Op::Snapshot, _) | (_, None) => None,
                (_, Some(committed_us)) => Some(between(committed_us, at_us)),
            };
            if change.op == Op::Snapshot {
                self.copied_seen += 1;
                if self.sampled.contains(&change.table) {
                    continue;
                }
                self.sampled.push(change.table.clone());
            } else {
                live += 1;
                latency
                    .into_iter()
                    .for_each(|latency| self.latencies.record(latency));
            }
            if self.lines.len() >= LINES_MAX {
                self.left_out += 1;
                continue;
            }
            self.lines.push(look.change(&Sighting {
                change,
                key: sight.key.as_ref(),
                earlier: sight.earlier.as_ref(),
                seen_us: at_us,
                latency,
            }));
        }
        if live > 0 {
            self.changes += live;
            self.recent.push_back((at_us, live));
        }
    }

    /// Whether the consumer has read all that was copied.
    #[must_use]
    pub fn has_caught_up(&self) -> bool {
        let copied: u64 = self.tables.iter().map(|table| table.rows).sum();
        self.copied_seen >= copied
    }

    /// Brings the screen up to date.
    ///
    /// Errors: nobody reads what is written.
    pub fn refresh(&mut self, now_us: i64) -> io::Result<()> {
        if now_us - self.memory.0.max(0) >= MEMORY_EVERY_US {
            self.memory = (now_us, memory_bytes("VmRSS:").unwrap_or(0));
        }
        if self.act == Act::Copying {
            let tables = &self.tables;
            if tables.iter().all(|table| table.done) && self.copied_us.1 > self.copied_us.0 {
                self.act = Act::Live;
                self.screen
                    .copied(tables, between(self.copied_us.0, self.copied_us.1))?;
            } else {
                self.screen
                    .copying(tables, between(self.started_us, now_us))?;
            }
        }
        // A short copy is told of first, then its rows; who waits for a long one sees rows at once.
        let long = between(self.copied_us.0, now_us) > PATIENCE;
        if self.act == Act::Live || self.act == Act::Copying && long {
            let mut lines = std::mem::take(&mut self.lines);
            match std::mem::take(&mut self.left_out) {
                0 => {}
                left_out => lines.push(format!(" … and {left_out} more")),
            }
            self.screen.changes(lines)?;
        }
        match (&self.waiting, self.act) {
            (Some(why), _) => self.screen.wait(&format!("waiting: {why}")),
            (None, Act::Before) => self.screen.wait("connecting"),
            (None, Act::Copying) => self.screen.wait("copying what is there"),
            (None, Act::Live) if !self.has_caught_up() => {
                self.screen.wait("reading what was copied");
            }
            (None, Act::Live) => {
                let pulse = self.pulse(now_us);
                self.screen.pulse(&pulse);
            }
        }
        self.screen.rest();
        Ok(())
    }

    /// Says that the end has begun.
    pub fn stopping(&mut self) {
        self.screen.wait("stopping");
        self.screen.rest();
    }

    /// Leaves the screen as a summary. `cleared`: slot and publication are gone.
    pub fn end(&mut self, now_us: i64, cleared: bool) {
        self.screen.close();
        let summary = Summary {
            ran: between(self.started_us, now_us),
            rows: self.tables.iter().map(|table| table.rows).sum(),
            tables: self.tables.len(),
            copying: between(self.copied_us.0, self.copied_us.1),
            changes: self.changes,
            median: self.latencies.quantile(0.5),
            p99: self.latencies.quantile(0.99),
            memory_bytes: memory_bytes("VmRSS:").unwrap_or(0),
            memory_peak_bytes: memory_bytes("VmHWM:").unwrap_or(0),
            cleared,
        };
        // Whoever is gone needs no summary.
        let _ = self.screen.summary(&summary);
    }

    fn pulse(&mut self, now_us: i64) -> Pulse {
        while self
            .recent
            .front()
            .is_some_and(|(at, _)| now_us - at > RATE_OVER_US)
        {
            self.recent.pop_front();
        }
        let recent: u64 = self.recent.iter().map(|(_, changes)| changes).sum();
        let over = RATE_OVER_US.min((now_us - self.copied_us.1).max(1_000_000));
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let per_second = recent as f64 * 1e6 / over as f64;
        Pulse {
            changes: self.changes,
            per_second,
            median: self.latencies.quantile(0.5),
            p99: self.latencies.quantile(0.99),
            memory_bytes: self.memory.1,
        }
    }
}

/// From one moment to a later one; clocks of two machines may disagree, time does not run back.
fn between(from_us: i64, to_us: i64) -> Duration {
    Duration::from_micros(u64::try_from(to_us.saturating_sub(from_us)).unwrap_or(0))
}

/// A line of the kernel's account of this process, which counts in KiB.
fn memory_bytes(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}
