//! What came of a load: a table for people, JSON and CSV for programs.

use std::fmt::Write as _;
use std::time::Duration;

use clap::ValueEnum;
use serde_json::{Map, Value, json};

use super::drive::Tally;
use crate::cli::latency::Latencies;

/// How an outcome is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Lines for people.
    Table,
    /// One JSON object.
    Json,
    /// A line of names, and one of values.
    Csv,
}

/// The quantiles that are told, by their names.
pub const QUANTILES: [(&str, f64); 6] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p95", 0.95),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
];

/// A load that is over.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The scenario's name.
    pub scenario: &'static str,
    /// How many connections there were.
    pub connections: usize,
    /// Transactions in flight on each.
    pub pipeline: usize,
    /// Transactions a second that were asked for.
    pub rate: Option<f64>,
    /// Rows of a transaction.
    pub rows_per_transaction: u64,
    /// What the values were drawn from.
    pub seed: u64,
    /// From the first begin to the last answer.
    pub took: Duration,
    /// CPU time of this process.
    pub cpu: Duration,
    /// The counts.
    pub tally: Tally,
}

impl Outcome {
    fn per_second(&self, count: u64) -> f64 {
        count_of(count) / self.took.as_secs_f64().max(1e-9)
    }

    fn failed(&self) -> u64 {
        self.tally.errors.values().map(|(count, _)| count).sum()
    }

    fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / count_of(self.tally.transactions.max(1))
    }

    /// The text, with its last line feed.
    #[must_use]
    pub fn text(&self, format: Format) -> String {
        match format {
            Format::Table => self.table(),
            Format::Json => format!("{}\n", self.json()),
            Format::Csv => self.csv(),
        }
    }

    fn table(&self) -> String {
        let mut text = format!(
            "{}: {} connections, {} in flight on each, {} rows a transaction, seed {}\n",
            self.scenario, self.connections, self.pipeline, self.rows_per_transaction, self.seed
        );
        let mut line = |name: &str, value: String| {
            let _ = writeln!(text, "  {name:13} {value}");
        };
        let tally = &self.tally;
        line("took", format!("{:.2} s", self.took.as_secs_f64()));
        let counted = |count: u64| format!("{count:>12}   {:>10.0} /s", self.per_second(count));
        line("transactions", counted(tally.transactions));
        line("rows", counted(tally.rows));
        line(
            "sent",
            format!(
                "{:>12.1} MB {:>9.1} MB/s",
                count_of(tally.bytes_sent) / 1e6,
                self.per_second(tally.bytes_sent) / 1e6
            ),
        );
        line("our CPU", format!("{:.2} µs a transaction", self.cpu_us()));
        let from = match self.rate {
            Some(rate) => format!("from the intended begin, at {rate} a second"),
            None => "from the begin, those in flight before it included".to_owned(),
        };
        line("latency", from);
        let quantiles = QUANTILES.iter().filter_map(|(name, share)| {
            let latency = tally.latencies.quantile(*share)?;
            Some(format!("{name} {}", in_ms(latency)))
        });
        line("", quantiles.collect::<Vec<_>>().join("   "));
        for (code, (count, words)) in &tally.errors {
            line("failed", format!("{count:>12}   {code}: {words}"));
        }
        text
    }

    fn json(&self) -> Value {
        let tally = &self.tally;
        let errors = tally.errors.iter();
        let errors: Map<_, _> = errors
            .map(|(code, (count, _))| (code.clone(), json!(count)))
            .collect();
        json!({
            "scenario": self.scenario,
            "connections": self.connections,
            "pipeline": self.pipeline,
            "rate": self.rate,
            "rows_per_transaction": self.rows_per_transaction,
            "seed": self.seed,
            "seconds": self.took.as_secs_f64(),
            "transactions": tally.transactions,
            "transactions_per_second": self.per_second(tally.transactions),
            "rows": tally.rows,
            "rows_per_second": self.per_second(tally.rows),
            "bytes_sent": tally.bytes_sent,
            "failed": self.failed(),
            "errors": errors,
            "cpu_us_per_transaction": self.cpu_us(),
            "latency_us": in_us(&tally.latencies),
            "transactions_by_second": tally.seconds,
        })
    }

    fn csv(&self) -> String {
        let Value::Object(all) = self.json() else {
            return String::new();
        };
        let mut names = Vec::new();
        let mut values = Vec::new();
        for (name, value) in &all {
            match value {
                Value::Object(inner) if name == "latency_us" => {
                    names.extend(inner.keys().map(|key| format!("latency_us_{key}")));
                    values.extend(inner.values().map(Value::to_string));
                }
                Value::Object(_) | Value::Array(_) => {}
                Value::String(text) => {
                    names.push(name.clone());
                    values.push(text.clone());
                }
                Value::Null => {
                    names.push(name.clone());
                    values.push(String::new());
                }
                _ => {
                    names.push(name.clone());
                    values.push(value.to_string());
                }
            }
        }
        format!("{}\n{}\n", names.join(","), values.join(","))
    }
}

/// Quantiles in µs, by their names.
#[must_use]
pub fn in_us(latencies: &Latencies) -> Map<String, Value> {
    let all = QUANTILES.iter().chain(&[("max", 1.0)]);
    all.filter_map(|(name, share)| {
        let latency = latencies.quantile(*share)?;
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        Some(((*name).to_owned(), json!(us)))
    })
    .collect()
}

/// `0.31 ms`, `12.4 ms`, `1200 ms`
#[must_use]
pub fn in_ms(latency: Duration) -> String {
    let ms = latency.as_secs_f64() * 1e3;
    match ms {
        0.0..10.0 => format!("{ms:.2} ms"),
        10.0..100.0 => format!("{ms:.1} ms"),
        _ => format!("{ms:.0} ms"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn count_of(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome() -> Outcome {
        let mut tally = Tally {
            transactions: 200,
            rows: 400,
            bytes_sent: 1_000,
            seconds: vec![150, 50],
            ..Tally::default()
        };
        for us in 1..=200 {
            tally.latencies.record(Duration::from_micros(us));
        }
        let error = (3, "deadlock detected".to_owned());
        tally.errors.insert("40P01".to_owned(), error);
        Outcome {
            scenario: "one-row",
            connections: 4,
            pipeline: 8,
            rate: None,
            rows_per_transaction: 1,
            seed: 7,
            took: Duration::from_secs(2),
            cpu: Duration::from_micros(500),
            tally,
        }
    }

    #[test]
    fn json_says_all_of_it() {
        let text = outcome().text(Format::Json);
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["transactions_per_second"], json!(100.0));
        assert_eq!(read["rows"], json!(400));
        assert_eq!(read["cpu_us_per_transaction"], json!(2.5));
        assert_eq!(read["errors"], json!({"40P01": 3}));
        assert_eq!(read["failed"], json!(3));
        assert_eq!(read["transactions_by_second"], json!([150, 50]));
        let p50 = read["latency_us"]["p50"].as_u64().unwrap();
        assert!((100..=103).contains(&p50), "{p50}");
    }

    #[test]
    fn csv_has_a_value_for_every_name() {
        let text = outcome().text(Format::Csv);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].len(), lines[1].len());
        let value = |name: &str| {
            let at = lines[0].iter().position(|known| *known == name).unwrap();
            lines[1][at]
        };
        assert_eq!((value("scenario"), value("rate")), ("one-row", ""));
        assert_eq!(value("transactions"), "200");
        assert!(value("latency_us_p99.9").parse::<u64>().is_ok());
    }

    #[test]
    fn the_table_is_for_people() {
        let text = outcome().text(Format::Table);
        assert!(
            text.contains("100 /s") && text.contains("40P01: deadlock detected"),
            "{text}"
        );
        assert!(text.contains("2.50 µs a transaction"), "{text}");
    }
}
