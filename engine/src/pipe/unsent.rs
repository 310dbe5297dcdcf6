//! Rows that cannot be sent: a value that its column's type does not have, a record that Kafka or
//! our memory has no room for. Each ends the pipe with an error that names it or, as `errors.*`
//! says, is left out: counted, told in the log, described in the topic of dead letters.
//!
//! A dead letter is written where the row's record would have been, so it is in the same Kafka
//! transaction. What only the broker finds too large is known behind that point: the transaction is
//! aborted, and the next attempt leaves the row out from the beginning.

use std::collections::VecDeque;

use pgwire::lsn::Lsn;
use pgwire::tuple::TupleCell;

use super::error::{Blame, Error};
use crate::capture::relations::Table;
use crate::capture::row::Cell;
use crate::config::{self, Compression, Config, FailureMode, Filter, Named as _, Operation};
use crate::encode::plan::ColumnError;
use crate::net;
use crate::produce::{Driver, Producer, TopicId};
use crate::{config::TopicCreation, produce};

/// Of a key's value, how many characters are told.
const VALUE_CHARS_MAX: usize = 200;
/// A record that no broker refuses for its size, whatever it is configured to.
const NEVER_LARGE: usize = 64 << 10;

/// A row that cannot be sent.
#[derive(Debug)]
pub(super) struct Unsent<'a> {
    /// `schema.table`
    pub table: &'a str,
    /// The topic its record is for.
    pub topic: &'a str,
    /// A JSON object of the key's columns, as far as they are known.
    pub key: String,
    pub op: Operation,
    pub lsn: Lsn,
    pub tx_id: Option<i64>,
    pub why: Why,
}

/// What stands for a table where a row is none, but a logical decoding message.
pub(super) const MESSAGES: &str = "pg_logical_emit_message";

/// Why a row cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Why {
    /// It is not what its schema says.
    Column(ColumnError),
    /// Its record, uncompressed, is more than `max.request.size`, or half of the share that
    /// `penstock.memory.max` leaves for records.
    Record { bytes: usize, max: usize },
    /// Its message is more than `penstock.memory.max` leaves for one.
    Message { bytes: usize, max: usize },
    /// The broker does not take it.
    Refused { bytes: usize },
}

/// What becomes of such rows, and what became of them.
#[derive(Debug)]
pub(super) struct Policy {
    connector: String,
    errors: config::Errors,
    budget: crate::budget::Budget,
    request_bytes_max: usize,
    dead_letters: Option<TopicId>,
    /// Rows that were left out.
    pub count: u64,
    value: Vec<u8>,
}

impl Policy {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            connector: config.name.clone(),
            errors: config.errors.clone(),
            budget: config.budget,
            request_bytes_max: config.sink.request_bytes_max,
            dead_letters: None,
            count: 0,
            value: Vec::new(),
        }
    }

    /// Finds the topic of dead letters, or creates it with one partition, as Connect does.
    ///
    /// Errors: the producer's.
    pub(super) async fn prepare(&mut self, driver: &mut Driver) -> Result<(), produce::Error> {
        let Some(settings) = self.errors.dead_letters.as_ref() else {
            return Ok(());
        };
        if !self.errors.tolerated {
            return Ok(());
        }
        let creation = TopicCreation {
            topics: Filter::All,
            except: Filter::Exclude(Vec::new()),
            partitions: 1,
            replication_factor: settings.replication_factor,
            configs: std::collections::BTreeMap::new(),
        };
        let topic = driver.producer().topic_created(&settings.topic, creation);
        driver.find(topic).await?;
        self.dead_letters = Some(topic);
        Ok(())
    }

    /// Whether rows that the broker refuses are left out.
    pub(super) fn tolerates_refusals(&self) -> bool {
        self.errors.tolerated
    }

    /// Leaves the row out, if that is what is wanted.
    ///
    /// Errors: the row's, where it is not; the producer's.
    pub(super) fn leave_out(
        &mut self,
        unsent: &Unsent<'_>,
        producer: &mut Producer,
    ) -> Result<(), Error> {
        let processing = match unsent.why {
            Why::Column(_) => self.errors.processing,
            _ => FailureMode::Fail,
        };
        if !self.errors.tolerated && processing == FailureMode::Fail {
            return Err(unsent.error(&self.budget, self.request_bytes_max));
        }
        self.count += 1;
        let told = self.errors.tolerated && self.errors.logged;
        if told || !self.errors.tolerated && processing == FailureMode::Warn {
            let (table, lsn, op) = (unsent.table, unsent.lsn, unsent.op.name());
            let key = self.errors.logged_whole.then_some(unsent.key.as_str());
            let why = unsent.why.text(&self.budget, self.request_bytes_max);
            tracing::error!(table, key, %lsn, op, "a row is left out: {why}");
        }
        let Some(topic) = self.dead_letters else {
            return Ok(());
        };
        self.value.clear();
        let why = unsent.why.text(&self.budget, self.request_bytes_max);
        unsent.describe(&self.connector, &why, &mut self.value);
        let headers = self
            .errors
            .dead_letters
            .as_ref()
            .is_some_and(|letters| letters.context_headers);
        let headers = if headers {
            let (stage, class) = unsent.why.stage();
            vec![
                ("__connect.errors.topic", unsent.topic),
                ("__connect.errors.connector.name", &self.connector),
                ("__connect.errors.task.id", "0"),
                ("__connect.errors.stage", stage),
                ("__connect.errors.class.name", "penstock"),
                ("__connect.errors.exception.class.name", class),
                ("__connect.errors.exception.message", &why),
            ]
        } else {
            Vec::new()
        };
        let partition = producer
            .partition(topic, Some(unsent.key.as_bytes()))
            .unwrap_or_default();
        let timestamp_ms = net::now_unix_us() / 1000;
        producer.record(topic, partition, timestamp_ms, |record| {
            record.key(Some(unsent.key.as_bytes()));
            record.value(Some(&self.value));
            for (name, value) in &headers {
                record.header(name, Some(value.as_bytes()));
            }
        })?;
        Ok(())
    }
}

impl<'a> Unsent<'a> {
    /// A logical decoding message, that may turn out to be too large.
    pub(super) fn of_message(
        topic: &'a str,
        prefix: &str,
        lsn: Option<u64>,
        tx_id: Option<i64>,
    ) -> Self {
        let prefix: String = prefix.chars().take(VALUE_CHARS_MAX).collect();
        Self {
            table: MESSAGES,
            topic,
            key: serde_json::json!({ "prefix": prefix }).to_string(),
            op: Operation::Message,
            lsn: Lsn(lsn.unwrap_or_default()),
            tx_id,
            why: Why::Refused { bytes: 0 },
        }
    }
}

impl Unsent<'_> {
    fn error(&self, budget: &crate::budget::Budget, request_bytes_max: usize) -> Error {
        let Self {
            table, key, lsn, ..
        } = self;
        let what = match &self.why {
            Why::Column(_) => format!("a row of {table} cannot be encoded"),
            _ => format!("a row of {table} is too large"),
        };
        let why = format!(
            "{}; its key is {key}, its LSN {lsn}",
            self.why.text(budget, request_bytes_max)
        );
        let memory = |bytes: usize| {
            let need = (budget.needed_for(bytes) >> 20) + 1;
            format!("raise penstock.memory.max to {need}MiB")
        };
        let remedy = match self.why {
            Why::Column(_) => "correct the row".to_owned(),
            Why::Message { bytes, .. } => format!(
                "{}, and producer.override.max.request.size and max.message.bytes of the topic \
                 with it",
                memory(bytes)
            ),
            Why::Record { bytes, max } if max < request_bytes_max => memory(bytes),
            Why::Record { .. } => "raise producer.override.max.request.size, and \
                                   max.message.bytes of the topic with it"
                .to_owned(),
            Why::Refused { .. } => "raise max.message.bytes of the topic, or message.max.bytes of \
                                    the brokers"
                .to_owned(),
        };
        Error::fatal(Blame::Data, what, why).remedy(format!(
            "{remedy}; or leave such rows out: errors.tolerance=all"
        ))
    }

    /// `{"connector":…,"table":…,"key":{…},"op":…,"lsn":…,"tx_id":…,"topic":…,"error":…}`
    fn describe(&self, connector: &str, why: &str, out: &mut Vec<u8>) {
        let key: serde_json::Value = serde_json::from_str(&self.key).unwrap_or_default();
        let description = serde_json::json!({
            "connector": connector,
            "table": self.table,
            "key": key,
            "op": self.op.name(),
            "lsn": self.lsn.to_string(),
            "tx_id": self.tx_id,
            "topic": self.topic,
            "error": why,
        });
        out.extend_from_slice(description.to_string().as_bytes());
    }
}

impl Why {
    fn text(&self, budget: &crate::budget::Budget, request_bytes_max: usize) -> String {
        match self {
            Self::Column(error) => error.to_string(),
            Self::Record { bytes, max } if *max < request_bytes_max => format!(
                "its record needs {bytes} bytes, and penstock.memory.max={} leaves {max} for one",
                budget.ceiling
            ),
            Self::Record { bytes, max } => {
                format!("its record needs {bytes} bytes, and max.request.size allows {max}")
            }
            Self::Message { bytes, max } => format!(
                "it has {bytes} bytes, and penstock.memory.max={} leaves {max} for one row",
                budget.ceiling
            ),
            Self::Refused { bytes } => format!(
                "its record has {bytes} bytes, which the broker refuses (MESSAGE_TOO_LARGE)"
            ),
        }
    }

    /// The stage and the exception that Connect would name.
    fn stage(&self) -> (&'static str, &'static str) {
        match self {
            Self::Column(_) => (
                "VALUE_CONVERTER",
                "org.apache.kafka.connect.errors.DataException",
            ),
            _ => (
                "KAFKA_PRODUCE",
                "org.apache.kafka.common.errors.RecordTooLargeException",
            ),
        }
    }
}

/// The key of a row, as a JSON object of the texts of its columns.
pub(super) fn key_of<'b>(table: &Table, cell: impl Fn(usize) -> Option<Cell<'b>>) -> String {
    let mut key = serde_json::Map::new();
    for &at in &table.key {
        let column = &table.columns[at];
        let value = match cell(at) {
            Some(Cell::Text(text)) => {
                let text = String::from_utf8_lossy(text);
                serde_json::Value::from(text.chars().take(VALUE_CHARS_MAX).collect::<String>())
            }
            Some(Cell::Binary(bytes)) => {
                serde_json::Value::from(shown(&column.pg_type.name, bytes))
            }
            Some(Cell::Null | Cell::Unchanged) => serde_json::Value::Null,
            // It has not arrived.
            None => continue,
        };
        key.insert(column.name.clone(), value);
    }
    serde_json::Value::Object(key).to_string()
}

/// As [`key_of`], of the columns that have arrived.
pub(super) fn key_of_head<'b>(table: &Table, cells: impl Iterator<Item = TupleCell<'b>>) -> String {
    let cells: Vec<Cell<'b>> = cells
        .map(|cell| match cell {
            TupleCell::Null => Cell::Null,
            TupleCell::Unchanged => Cell::Unchanged,
            TupleCell::Text(text) => Cell::Text(text),
            TupleCell::Binary(bytes) => Cell::Binary(bytes),
        })
        .collect();
    key_of(table, |at| cells.get(at).copied())
}

/// A binary value as people write it, where that is simple, and its bytes otherwise.
fn shown(pg_type: &str, bytes: &[u8]) -> String {
    match (pg_type, bytes) {
        ("int2", &[a, b]) => i16::from_be_bytes([a, b]).to_string(),
        ("int4", &[a, b, c, d]) => i32::from_be_bytes([a, b, c, d]).to_string(),
        ("int8", bytes) if let Ok(bytes) = bytes.try_into() => {
            i64::from_be_bytes(bytes).to_string()
        }
        ("text" | "varchar" | "bpchar", bytes) => {
            let text = String::from_utf8_lossy(bytes);
            text.chars().take(VALUE_CHARS_MAX).collect()
        }
        (_, bytes) => {
            let shown = bytes.iter().take(VALUE_CHARS_MAX / 2);
            shown.fold("\\x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
        }
    }
}

/// Rows whose records are so large that a broker might refuse them, until they are acknowledged;
/// and those that one refused, which the next attempt leaves out.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    large: VecDeque<Large>,
    refused: Vec<Large>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Large {
    pub token: u64,
    pub topic: String,
    pub table: String,
    pub key: String,
    pub op: Operation,
    pub lsn: Lsn,
    /// Of a batch with this record alone, uncompressed.
    pub bytes: usize,
}

impl Refusals {
    /// Whether a record of that many bytes is worth [`Self::sent`].
    pub(super) fn is_large(bytes: usize) -> bool {
        bytes >= NEVER_LARGE
    }

    /// A large record was appended.
    pub(super) fn sent(&mut self, large: Large, acknowledged: u64) {
        while self
            .large
            .front()
            .is_some_and(|front| front.token <= acknowledged)
        {
            self.large.pop_front();
        }
        self.large.push_back(large);
    }

    /// Whether a broker has refused this record, or one that was not larger.
    pub(super) fn forbids(&self, record: &Large, compression: Compression) -> bool {
        self.refused.iter().any(|refused| {
            refused.topic == record.topic
                && if compression == Compression::None {
                    refused.bytes <= record.bytes
                } else {
                    (&refused.key, refused.lsn, refused.bytes)
                        == (&record.key, record.lsn, record.bytes)
                }
        })
    }

    /// Nothing of the attempt before is on its way any more.
    pub(super) fn begin(&mut self) {
        self.large.clear();
    }

    /// A broker has refused a record for `topic`, of so many bytes before compression, give or take
    /// what its place in a batch makes of them. The row, as an error.
    pub(super) fn refuse(&mut self, topic: &str, bytes: usize, policy: &Policy) -> Option<Error> {
        let of_topic = self.large.iter().filter(|large| large.topic == topic);
        let large = of_topic
            .min_by_key(|large| large.bytes.abs_diff(bytes))?
            .clone();
        let unsent = Unsent {
            table: &large.table,
            topic,
            key: large.key.clone(),
            op: large.op,
            lsn: large.lsn,
            tx_id: None,
            why: Why::Refused { bytes: large.bytes },
        };
        let mut error = unsent.error(&policy.budget, policy.request_bytes_max);
        error.retriable = policy.tolerates_refusals();
        self.refused.push(large);
        Some(error)
    }
}
