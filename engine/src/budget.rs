//! How the memory of the process is divided: the one place that knows `penstock.memory.max`.
//!
//! ```text
//!   ceiling ─┬─ the process: code, runtime, sockets, TLS, answers of brokers and      16 MiB
//!            │  registry, what the allocator keeps between blocks
//!            └─ the rest, in equal parts for each connector
//!                 ├─ received: the receive buffer, grown for one large row            1/4
//!                 ├─ records: open and sealed batches, and those kept for reuse       1/2
//!                 │  (one record half of it; measured before it is written)
//!                 └─ tables: compiled plans, schemas, topics and partitions           1/4
//! ```
//!
//! What grows with data has a share, and waits (rows), is refused (one row that is larger than its
//! share) or is forgotten and made again (plans) when the share is used up. Buffers count with all
//! of their capacity: what an allocator once gave is touched sooner or later.

/// Without `penstock.memory.max`.
pub const MEMORY_DEFAULT: usize = 64 << 20;
/// Less would not be worth its errors.
pub const MEMORY_MIN: usize = 32 << 20;

const PROCESS: usize = 16 << 20;
/// How many times its row's size a record may have, with what is written beside it: a pair of
/// hstore in JSON, an element of an array.
const GROWTH_MAX: usize = 64;

/// What one connector may use, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// `penstock.memory.max`
    pub ceiling: usize,
    /// The largest message of PostgreSQL that is taken into memory, which bounds a row.
    pub received: usize,
    /// Batches, their spare buffers included. One record may have half of it.
    pub records: usize,
    /// Compiled plans.
    pub tables: usize,
}

impl Budget {
    /// The share of one of `connectors` in a process of at most `ceiling` bytes.
    #[must_use]
    pub fn divide(ceiling: usize, connectors: usize) -> Self {
        let share = ceiling.max(MEMORY_MIN).saturating_sub(PROCESS) / connectors.max(1);
        Self {
            ceiling,
            received: share / 4,
            records: share / 2,
            // Topics and partitions of the producer are not plans, and take about as much.
            tables: share / 8,
        }
    }

    /// The ceiling that a row of `bytes` needs, if the connectors stay as many.
    #[must_use]
    pub fn needed_for(&self, bytes: usize) -> usize {
        let connectors = (self.ceiling - PROCESS) / (self.received * 4).max(1);
        PROCESS + bytes.saturating_mul(4).saturating_mul(connectors.max(1))
    }

    /// A row of so many bytes is worth a look whether there is room for it, whatever it becomes.
    #[must_use]
    pub fn large(&self) -> usize {
        self.records / GROWTH_MAX
    }

    /// What the receive buffer has when nothing is unusual: a read is worth its system call.
    #[must_use]
    pub fn inbox(&self) -> usize {
        (self.received / 4).min(1 << 20)
    }
}

/// Bytes of a size: `67108864`, `64MiB`, `64 MB`. KiB, MiB and GiB count in 1024s, as do K, M and
/// G; kB, MB and GB in 1000s.
#[must_use]
pub fn parse_size(text: &str) -> Option<usize> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: usize = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("67108864", Some(64 << 20)),
            ("64MiB", Some(64 << 20)),
            (" 64 mib ", Some(64 << 20)),
            ("64M", Some(64 << 20)),
            ("1GiB", Some(1 << 30)),
            ("100kB", Some(100_000)),
            ("", None),
            ("MiB", None),
            ("-1", None),
            ("1.5MiB", None),
            ("64 parsecs", None),
            ("99999999999999999999", None),
            ("9999999999999999GiB", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_shares_of_all_connectors_fit(
            ceiling in MEMORY_MIN..8 << 30,
            connectors in 1usize..50,
        ) {
            let Budget { received, records, tables, .. } = Budget::divide(ceiling, connectors);
            prop_assert!(PROCESS + connectors * (received + records + 2 * tables) <= ceiling);
        }
    }
}
