//! What is measured: named suites, each a few cases that differ in one thing.

use clap::ValueEnum;

/// The suites by their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// inserts, snapshot, one-row, updates, latency, rest: what one asks first.
    Figure,
    /// Draining inserts, 50 000 rows a transaction.
    Inserts,
    /// Draining transactions of one row, a tenth of --rows.
    OneRow,
    /// Draining updates of tables with REPLICA IDENTITY FULL, 50 000 rows a transaction.
    Updates,
    /// Copying a table.
    Snapshot,
    /// From commit to readable at each --rate.
    Latency,
    /// From start to first record; memory and CPU when nothing happens.
    Rest,
    /// Killed under load, started again 5 s later: until what is read is fresh.
    Restart,
    /// Inserts, one-row and updates over TCP, and over the Unix socket.
    Socket,
    /// 5, 50 and 500 columns.
    Columns,
    /// 1, 100 and 10 000 tables, each touched.
    Tables,
    /// Texts of 100 bytes to 10 MB.
    RowSize,
    /// Topics of 1 to 1000 partitions.
    Partitions,
    /// Transactions of 1, 10, 1000 and 100 000 rows, and one of twice --rows.
    TransactionSize,
    /// Of ten tables all are captured, or one, or one by the publication.
    Filtered,
    /// The load of --scenario.
    Scenario,
}

/// What is done with a load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// It lies in the WAL, and is drained.
    Drain,
    /// It lies in the tables, and is copied.
    Snapshot,
    /// It comes at so many transactions a second.
    Latency(f64),
    /// There is none.
    Rest,
    /// It comes at a rate while the contestant dies.
    Restart(f64),
}

/// Which tables of a load are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// All that it writes.
    All,
    /// The first, the others are left out by `table.include.list`.
    First,
    /// The first, alone in the publication.
    FirstPublished,
}

/// One thing that is measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Its suite's name.
    pub suite: &'static str,
    /// Its own name.
    pub name: String,
    /// What is done.
    pub kind: Kind,
    /// The words of `penstock load`.
    pub load: Vec<String>,
    /// Whether over the Unix socket.
    pub socket: bool,
    /// Partitions of each topic.
    pub partitions: i32,
    /// Which tables.
    pub wanted: Wanted,
    /// Properties of the connector that it needs.
    pub more: Vec<(String, String)>,
}

impl Suite {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Figure => "figure",
            Self::Inserts => "inserts",
            Self::OneRow => "one-row",
            Self::Updates => "updates",
            Self::Snapshot => "snapshot",
            Self::Latency => "latency",
            Self::Rest => "rest",
            Self::Restart => "restart",
            Self::Socket => "socket",
            Self::Columns => "columns",
            Self::Tables => "tables",
            Self::RowSize => "row-size",
            Self::Partitions => "partitions",
            Self::TransactionSize => "transaction-size",
            Self::Filtered => "filtered",
            Self::Scenario => "scenario",
        }
    }

    /// Its cases, for so many rows and these rates.
    #[must_use]
    pub fn cases(self, rows: u64, rates: &[f64], scenario: &[String]) -> Vec<Case> {
        let case = |name: &str, kind: Kind, load: String| Case {
            suite: self.name(),
            name: name.to_owned(),
            kind,
            load: load.split_whitespace().map(str::to_owned).collect(),
            socket: false,
            partitions: 1,
            wanted: Wanted::All,
            more: Vec::new(),
        };
        // One connection: transactions follow each other, as in the loads of the reference.
        let inserts = |rows: u64, k: u64| format!("insert --rows={rows} -k {k} -c 1");
        let half = (rows / 2).max(1);
        match self {
            Self::Figure => [
                Self::Inserts,
                // Of the same rows.
                Self::Snapshot,
                Self::OneRow,
                Self::Updates,
                Self::Latency,
                Self::Rest,
            ]
            .iter()
            .flat_map(|suite| suite.cases(rows, rates, scenario))
            .collect(),
            Self::Inserts => vec![case("inserts", Kind::Drain, inserts(rows, 50_000))],
            Self::OneRow => {
                let load = format!("one-row --rows={}", (rows / 10).max(1));
                vec![case("one-row", Kind::Drain, load)]
            }
            Self::Updates => {
                let load =
                    format!("update --rows={rows} --fill={rows} -k 50000 -c 1 --identity-full");
                vec![case("updates", Kind::Drain, load)]
            }
            Self::Snapshot => vec![case("snapshot", Kind::Snapshot, inserts(rows, 50_000))],
            Self::Latency => rates
                .iter()
                .map(|rate| {
                    let name = format!("{rate}/s");
                    case(&name, Kind::Latency(*rate), "one-row".to_owned())
                })
                .collect(),
            Self::Rest => vec![case("rest", Kind::Rest, "one-row".to_owned())],
            Self::Restart => {
                let rate = rates.last().copied().unwrap_or(1_000.0);
                let name = format!("{rate}/s");
                vec![case(&name, Kind::Restart(rate), "one-row".to_owned())]
            }
            Self::Socket => [Self::Inserts, Self::OneRow, Self::Updates]
                .iter()
                .flat_map(|suite| suite.cases(rows, rates, scenario))
                .flat_map(|load| {
                    ["tcp", "unix"].map(|way| Case {
                        suite: self.name(),
                        name: format!("{} {way}", load.name),
                        socket: way == "unix",
                        ..load.clone()
                    })
                })
                .collect(),
            Self::Columns => [5, 50, 500]
                .map(|columns| {
                    let rows = (half * 5 / columns).max(1);
                    let load = format!("wide --columns={columns} --rows={rows} -k 5000 -c 1");
                    case(&columns.to_string(), Kind::Drain, load)
                })
                .to_vec(),
            Self::Tables => [1, 100, 10_000]
                .map(|tables| {
                    let load = format!("many-tables --tables={tables} --rows={half} -k 100 -c 1");
                    case(&tables.to_string(), Kind::Drain, load)
                })
                .to_vec(),
            Self::RowSize => [100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000]
                .map(|bytes| {
                    // At most 2 GB.
                    let rows = half.min(2_000_000_000 / bytes).max(1);
                    let k = (5_000_000 / bytes).clamp(1, 50_000);
                    let load = format!("insert --value-bytes={bytes} --rows={rows} -k {k} -c 1");
                    let mut case = case(&format!("{bytes} B"), Kind::Drain, load);
                    if bytes >= 1_000_000 {
                        let max = ("producer.override.max.request.size", "16777216");
                        case.more.push((max.0.to_owned(), max.1.to_owned()));
                    }
                    case
                })
                .to_vec(),
            Self::Partitions => [1, 10, 100, 1_000]
                .map(|partitions| Case {
                    partitions,
                    ..case(&partitions.to_string(), Kind::Drain, inserts(half, 50_000))
                })
                .to_vec(),
            Self::TransactionSize => [1, 10, 1_000, 100_000, rows * 2]
                .map(|k| {
                    let rows = if k == 1 { half / 5 } else { half.max(k) };
                    case(&k.to_string(), Kind::Drain, inserts(rows.max(1), k))
                })
                .to_vec(),
            Self::Filtered => [
                ("all of 10", Wanted::All),
                ("one by table.include.list", Wanted::First),
                ("one by the publication", Wanted::FirstPublished),
            ]
            .map(|(name, wanted)| {
                let load = format!("many-tables --tables=10 --rows={half} -k 100 -c 1");
                Case {
                    wanted,
                    ..case(name, Kind::Drain, load)
                }
            })
            .to_vec(),
            Self::Scenario => vec![Case {
                load: scenario.to_vec(),
                ..case(
                    scenario.first().map_or("", String::as_str),
                    Kind::Drain,
                    String::new(),
                )
            }],
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches as _};

    use super::*;
    use crate::cli::load;

    #[test]
    fn every_case_is_a_load_that_there_is() {
        for suite in Suite::value_variants() {
            for case in suite.cases(1_000, &[100.0], &["insert".to_owned()]) {
                let command = load::Arguments::augment_args(clap::Command::new("load"));
                let words = std::iter::once("load".to_owned()).chain(case.load.clone());
                let matches = command.try_get_matches_from(words);
                let matches = matches.unwrap_or_else(|error| panic!("{case:?}: {error}"));
                assert!(load::Arguments::from_arg_matches(&matches).is_ok());
            }
        }
    }
}
