//! What the real Debezium emitted for a script, and what the whole pipe makes of the same script:
//! a real PostgreSQL, a real Kafka, record after record in the same order.
//!
//! `tests/golden/debezium/NOTE.md` says how it was captured. Left out of the comparison is what no
//! two runs have in common: LSNs, transaction ids, clocks, the version, and the database's name.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::judge::{self, Format, Record};
use crate::kafka::{self, Kafka};
use crate::penstock::Penstock;
use crate::postgres::{Database, Postgres, SUPERUSER, Version};
use crate::registry::Registry;
use crate::{Properties, root};

const SOON: Duration = Duration::from_secs(60);
const JSON: &str = "org.apache.kafka.connect.json.JsonConverter";
const AVRO: &str = "io.confluent.connect.avro.AvroConverter";

/// One captured run, and how it is repeated.
#[derive(Debug, Clone)]
pub struct Capture {
    /// Below `tests/golden/debezium`; empty: there.
    folder: &'static str,
    /// Its properties and records.
    name: &'static str,
    version: Version,
    compat: &'static str,
    setup: String,
    stream: String,
    /// `table.column`s that are left out on both sides.
    without: Vec<String>,
    /// The same for whole topics.
    without_topics: Vec<&'static str>,
    /// Connector properties beside the capture's own.
    more: Vec<(&'static str, String)>,
    /// Whether the positions that are left behind are compared, too.
    positions: bool,
}

/// A record as it is compared.
struct Shown {
    topic: String,
    key: Value,
    value: Value,
    headers: Vec<String>,
    /// Where the capture says it; the partitioner chooses elsewhere.
    partition: Option<i64>,
}

impl Capture {
    /// A run on PostgreSQL 15, as it was captured, with `penstock.compat=debezium`.
    ///
    /// Panics when there is none.
    #[must_use]
    pub fn of(folder: &'static str, name: &'static str) -> Self {
        let read = |file: &str| {
            let path = directory(folder).join(file);
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
        };
        Self {
            folder,
            name,
            version: Version::Major(15),
            compat: "debezium",
            setup: read("types.sql"),
            stream: read("stream.sql"),
            without: Vec::new(),
            without_topics: Vec::new(),
            more: Vec::new(),
            positions: true,
        }
    }

    /// On another PostgreSQL.
    #[must_use]
    pub fn on(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// With `penstock.compat=correct`, our default.
    #[must_use]
    pub fn correct(mut self) -> Self {
        self.compat = "correct";
        self
    }

    /// With one more property of the connector.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.more.push((name, value.to_string()));
        self
    }

    /// Without the positions that are left behind: where not every transaction of the script is
    /// captured, or its server has no plug-in that says where they are.
    #[must_use]
    pub fn records_only(mut self) -> Self {
        self.positions = false;
        self
    }

    /// Without a column's value and schema, on both sides.
    #[must_use]
    pub fn without(mut self, columns: &[&str]) -> Self {
        self.without
            .extend(columns.iter().map(|column| (*column).to_owned()));
        self
    }

    /// Without a topic, on both sides.
    #[must_use]
    pub fn without_topic(mut self, topic: &'static str) -> Self {
        self.without_topics.push(topic);
        self
    }

    /// With other texts of the scripts.
    #[must_use]
    pub fn edit(mut self, edit: impl Fn(String) -> String) -> Self {
        self.setup = edit(self.setup);
        self.stream = edit(self.stream);
        self
    }

    /// What is compared.
    fn captured(&self) -> Vec<Value> {
        let mut captured = self.all_captured();
        captured.retain(|record| {
            let topic = record["topic"].as_str().expect("a topic");
            !self.without_topics.contains(&topic)
        });
        captured
    }

    fn all_captured(&self) -> Vec<Value> {
        let file = directory(self.folder).join(format!("{}.jsonl", self.name));
        let text = fs::read_to_string(file).expect("a capture");
        text.lines()
            .map(|line| {
                let mut record = serde_json::from_str::<Value>(line).expect("JSON");
                for part in ["keyAvroSchema", "valueAvroSchema"] {
                    if let Some(text) = text_of(line, part) {
                        record[part] = text.into();
                    }
                }
                record
            })
            .collect()
    }

    /// Compares records, in order, whose keys and values are `JsonConverter`'s with schemas.
    ///
    /// Panics with the differences.
    pub fn json(&self) {
        let worker = Properties::default()
            .with("key.converter", JSON)
            .with("value.converter", JSON);
        let captured = self.captured();
        let (database, records) = self.run(&worker, Format::Json, captured.len());
        self.compare(&database.name, shown(&records), captured_json(&captured));
    }

    /// The same without schemas.
    ///
    /// Panics with the differences.
    pub fn plain(&self) {
        let worker = Properties::default()
            .with("key.converter", JSON)
            .with("key.converter.schemas.enable", false)
            .with("value.converter", JSON)
            .with("value.converter.schemas.enable", false);
        let captured = self.captured();
        let (database, records) = self.run(&worker, Format::Json, captured.len());
        let theirs = captured.iter().map(|record| Shown {
            key: record["keyPlain"].clone(),
            value: record["valuePlain"].clone(),
            ..captured_shown(record)
        });
        self.compare(&database.name, shown(&records), theirs.collect());
    }

    /// Compares records whose keys and values are Confluent's Avro, as fastavro reads them, and
    /// the schema texts, as they were registered.
    ///
    /// `unreadable` tables are not captured: Debezium's own Avro of them cannot be read. The first
    /// and the last row of the snapshot are others without them.
    ///
    /// Panics with the differences.
    pub fn avro(mut self, unreadable: &[&str]) {
        let registry = Registry::start();
        let worker = Properties::default()
            .with("key.converter", AVRO)
            .with("key.converter.schema.registry.url", registry.url())
            .with("value.converter", AVRO)
            .with("value.converter.schema.registry.url", registry.url());
        let reads = |topic: &str| {
            !unreadable
                .iter()
                .any(|table| topic == format!("srv.{table}"))
        };
        let file = directory(self.folder).join(format!("{}.jsonl", self.name));
        let captured = self.captured();
        let theirs: Vec<_> = judge::captured(&file)
            .into_iter()
            .zip(&captured)
            .filter(|((topic, _, _), _)| reads(topic))
            .collect();
        if !unreadable.is_empty() {
            self.more.push(("table.exclude.list", unreadable.join(",")));
        }
        let (database, records) = self.run(&worker, Format::Avro(registry.url()), theirs.len());
        let marked = |mut shown: Shown| {
            if let Some(mark) = shown.value.pointer_mut("/source/snapshot") {
                *mark = (*mark != "false").into();
            }
            shown
        };
        let ours = shown(&records).into_iter().map(marked).collect();
        let read = theirs.iter().map(|((_, key, value), record)| Shown {
            key: key.clone(),
            value: value.clone(),
            ..captured_shown(record)
        });
        self.compare(&database.name, ours, read.map(marked).collect());

        let texts = |part: &str| {
            let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (_, record) in &theirs {
                let topic = record["topic"].as_str().expect("a topic");
                if let Some(schema) = record[part].as_str() {
                    texts
                        .entry(topic.to_owned())
                        .or_default()
                        .push(schema.to_owned());
                }
            }
            texts
        };
        let of_ours = |part: fn(&Record) -> &Option<String>| {
            let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for record in &records {
                if let Some(text) = part(record) {
                    let topic = record.topic.clone();
                    texts.entry(topic).or_default().push(text.clone());
                }
            }
            texts
        };
        let parts = [
            (of_ours(|record| &record.key_schema), texts("keyAvroSchema")),
            (
                of_ours(|record| &record.value_schema),
                texts("valueAvroSchema"),
            ),
        ];
        for (ours, theirs) in parts {
            assert!(ours.keys().eq(theirs.keys()), "topics with schemas");
            for ((topic, ours), theirs) in ours.iter().zip(theirs.values()) {
                assert_eq!(ours.len(), theirs.len(), "{topic}: schemas");
                let differing = ours.iter().zip(theirs).find(|(our, their)| our != their);
                if let Some((our, their)) = differing {
                    panic!("{topic}: {}", first_difference(Some(our), Some(their)));
                }
            }
        }
    }

    /// The scripts through the whole pipe, as the properties of the capture say. The position that
    /// is left behind is the one that Debezium would leave.
    fn run(
        &self,
        worker: &Properties,
        format: Format<'_>,
        count: usize,
    ) -> (Database<'static>, Vec<Record>) {
        // A broker of its own: the topics' names are the capture's.
        let kafka = Kafka::start(kafka::NEWEST);
        let server = Postgres::shared(self.version);
        let database = server.database("golden");
        database.script(&self.setup);
        let file = directory(self.folder).join(format!("properties/{}.properties", self.name));
        let connector = Properties::parse(&fs::read_to_string(file).expect("properties"))
            .with("slot.name", &database.name)
            .with("database.port", server.port())
            .with("database.user", SUPERUSER.0)
            .with("database.password", SUPERUSER.1)
            .with("database.dbname", &database.name)
            .with("penstock.compat", self.compat);
        let connector = self
            .more
            .iter()
            .fold(connector, |connector, (name, value)| {
                connector.with(name, value)
            });
        let (connector, worker) = converters_apart(&connector, worker);
        let worker = worker.with("bootstrap.servers", kafka.bootstrap());
        let mut pipe = Penstock::standalone(&worker, &[&connector]);
        // The slot is active while the snapshot is read, too.
        pipe.wait_for(&["snapshot is complete"], SOON);
        if self.positions {
            Log::begin(&database);
        }
        database.script(&self.stream);
        let bootstrap = kafka.bootstrap();
        // Transforms may have renamed any of them.
        let topics = r"(?!penstock-offsets|__consumer_offsets|__transaction_state).*";
        let records = judge::try_read(&bootstrap, topics, format, count, SOON);
        let records = records.unwrap_or_else(|error| panic!("{error}\n{}", pipe.log()));
        assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
        if !self.positions {
            return (database, records);
        }
        let positions = judge::read(&bootstrap, "penstock-offsets", Format::Json, 1, SOON);
        let captured = self.all_captured();
        let has = |kind: &str| {
            captured
                .iter()
                .any(|record| captured_offset(record).get("messageType") == Some(&kind.into()))
        };
        let log = Log::end(&database, has("TRUNCATE"), has("MESSAGE"));
        check_positions(&positions, &records, &captured, &log);
        (database, records)
    }

    /// Topic by topic, since the broker keeps no order between them.
    fn compare(&self, database: &str, ours: Vec<Shown>, theirs: Vec<Shown>) {
        let by_topic = |all: Vec<Shown>| {
            let mut topics: BTreeMap<String, Vec<(String, Option<i64>)>> = BTreeMap::new();
            for mut shown in all {
                for header in &mut shown.headers {
                    if *header == format!("__db={}", hex(database)) {
                        *header = format!("__db={}", hex("golden"));
                    }
                }
                mask(&mut shown.key, database);
                mask(&mut shown.value, database);
                for column in &self.without {
                    let (table, column) = column.split_once('.').expect("table.column");
                    if table == "*" || shown.topic.ends_with(&format!(".{table}")) {
                        leave_out(&mut shown.key, column);
                        leave_out(&mut shown.value, column);
                    }
                }
                let line = json!({
                    "key": shown.key, "value": shown.value, "headers": shown.headers,
                });
                topics
                    .entry(shown.topic)
                    .or_default()
                    .push((line.to_string(), shown.partition));
            }
            topics
        };
        let (ours, theirs) = (by_topic(ours), by_topic(theirs));
        let mut differences = Vec::new();
        for (topic, theirs) in &theirs {
            let ours = ours.get(topic).map_or(&[][..], Vec::as_slice);
            for index in 0..ours.len().max(theirs.len()) {
                let (our, their) = (ours.get(index), theirs.get(index));
                let texts = [our, their].map(|of| of.map(|(line, _)| line));
                if texts[0] != texts[1] {
                    let [our, their] = texts;
                    differences.push(format!("{topic} {index}: {}", first_difference(our, their)));
                }
                if let (Some((_, Some(our))), Some((_, Some(their)))) = (our, their)
                    && our != their
                {
                    differences.push(format!("{topic} {index}: partition {our}, not {their}"));
                }
            }
        }
        for topic in ours.keys().filter(|topic| {
            !theirs.contains_key(*topic) && !self.without_topics.contains(&topic.as_str())
        }) {
            differences.push(format!("{topic}: Debezium has no such topic"));
        }
        assert!(
            differences.is_empty(),
            "{}: {} records differ:\n{}",
            self.name,
            differences.len(),
            differences.join("\n")
        );
    }
}

/// Options of converters stand in a capture's file without their converters, which the worker
/// names.
fn converters_apart(connector: &Properties, worker: &Properties) -> (Properties, Properties) {
    let options = ["key.converter.", "value.converter."];
    let (mut rest, mut worker) = (Properties::default(), worker.clone());
    for (name, value) in connector.pairs() {
        if options.iter().any(|prefix| name.starts_with(prefix)) {
            worker = worker.with(name, value);
        } else {
            rest = rest.with(name, value);
        }
    }
    (rest, worker)
}

fn directory(folder: &str) -> PathBuf {
    root().join("tests/golden/debezium").join(folder)
}

fn captured_json(captured: &[Value]) -> Vec<Shown> {
    captured.iter().map(captured_shown).collect()
}

fn captured_shown(record: &Value) -> Shown {
    Shown {
        topic: record["topic"].as_str().expect("a topic").to_owned(),
        key: record["key"].clone(),
        value: record["value"].clone(),
        headers: record["headers"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|header| header_text(header["key"].as_str()?, header["hex"].as_str()))
            .collect(),
        partition: record["partition"].as_i64(),
    }
}

fn shown(records: &[Record]) -> Vec<Shown> {
    records
        .iter()
        .map(|record| Shown {
            topic: record.topic.clone(),
            key: record.key.clone(),
            value: record.value.clone(),
            headers: record
                .headers
                .iter()
                .filter_map(|(name, value)| {
                    let value = value.as_deref().map(hex);
                    header_text(name, value.as_deref())
                })
                .collect(),
            partition: Some(record.partition),
        })
        .collect()
}

/// What a member of a line says, letter by letter: numbers as Java spells them. None for null.
fn text_of<'line>(line: &'line str, member: &str) -> Option<&'line str> {
    let member = format!("\"{member}\":");
    let text = &line[line.find(&member)? + member.len()..];
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let value = values.next()?.expect("JSON");
    (!value.is_null()).then(|| text[..values.byte_offset()].trim())
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// A header with its bytes, where they are not the run's own.
fn header_text(name: &str, hex: Option<&str>) -> Option<String> {
    let of_the_run =
        name.ends_with(".runId") || ["__lsn", "__source_lsn", "__source_ts_ms"].contains(&name);
    let value = if of_the_run { None } else { hex };
    Some(format!("{name}={}", value.unwrap_or("-")))
}

/// A position as it is compared: the members that Debezium would have, and whose it is.
type Offset = BTreeMap<String, Value>;

/// An offset as the capture has it, `{name=value, …}`, with the types that Connect stores.
fn captured_offset(record: &Value) -> Offset {
    let text = record["sourceOffset"].as_str().expect("an offset");
    let members = text.trim_matches(['{', '}']).split(", ");
    members
        .map(|member| {
            let (name, value) = member.split_once('=').expect("name=value");
            let typed = match value.parse::<i64>() {
                Ok(number) if name != "transaction_id" => number.into(),
                _ if ["true", "false"].contains(&value) => (value == "true").into(),
                _ => Value::from(value),
            };
            (collection_name(name), typed)
        })
        .collect()
}

/// Logical messages are counted under a Java object that says where it lies.
fn collection_name(member: &str) -> String {
    member.split('@').next().expect("one part").to_owned()
}

/// What a slot of the judge's own says of the script, by PostgreSQL's own decoder.
#[derive(Debug, Default)]
struct Log {
    /// Those with changes or messages: xid, end of the commit record, commit time in us.
    transactions: Vec<(i64, i64, i64)>,
    /// Ends of the messages outside of transactions.
    messages: Vec<i64>,
}

impl Log {
    fn slot(database: &Database<'_>) -> String {
        format!("judge_{}", database.name)
    }

    /// From here on.
    fn begin(database: &Database<'_>) {
        let slot = Self::slot(database);
        let sql = format!("SELECT pg_create_logical_replication_slot('{slot}', 'test_decoding')");
        database.query(&sql);
    }

    /// What happened since; `truncated` and `messages`: whether these count as changes.
    fn end(database: &Database<'_>, truncated: bool, messages: bool) -> Self {
        let slot = Self::slot(database);
        let rows = database.rows(&format!(
            "SELECT lsn - '0/0' AS lsn, xid::text::bigint AS xid, left(data, 400) AS data,
                    CASE WHEN data LIKE 'COMMIT%' THEN (extract(epoch FROM
                      substring(data FROM 'at (.*)\\)')::timestamptz) * 1000000)::bigint END AS at
               FROM pg_logical_slot_get_changes('{slot}', NULL, NULL, 'include-timestamp', '1')"
        ));
        database.query(&format!("SELECT pg_drop_replication_slot('{slot}')"));
        let (mut log, mut changed) = (Self::default(), false);
        for row in rows {
            let number = |name: &str| row[name].as_i64().expect("a number");
            let data = row["data"].as_str().expect("a text");
            if data.starts_with("BEGIN") {
                changed = false;
            } else if data.starts_with("COMMIT") {
                if changed {
                    log.transactions
                        .push((number("xid"), number("lsn"), number("at")));
                }
            } else if data.starts_with("message: transactional: 0") {
                if messages {
                    log.messages.push(number("lsn"));
                }
            } else if data.starts_with("message:") {
                changed |= messages;
            } else {
                changed |= truncated || !data.contains(": TRUNCATE:");
            }
        }
        log
    }
}

/// Every position that was stored is one of those that Debezium has in the same state, value by
/// value; LSNs, xids and times are those of the judge's own look at the log. Ours lie behind a
/// COMMIT: without transaction metadata, Debezium has such a one only beside a heartbeat.
fn check_positions(positions: &[Record], records: &[Record], captured: &[Value], log: &Log) {
    let offsets: Vec<Offset> = captured.iter().map(captured_offset).collect();
    let copied = |offset: &Offset| offset.contains_key("snapshot");
    let snapshot = offsets.iter().rfind(|offset| copied(offset));
    let snapshot = snapshot.and_then(|offset| offset.get("lsn"));
    // A heartbeat behind the copy has its position without its marks.
    let is_snapshot = |offset: &Offset| {
        let beat = !offset.contains_key("messageType") && snapshot.is_some();
        copied(offset) || beat && offset.get("lsn") == snapshot
    };
    // The last of each transaction, and those of messages outside of any.
    let mut last_of: Vec<(&Value, Offset)> = Vec::new();
    let mut alone: Vec<&Offset> = Vec::new();
    for offset in offsets.iter().filter(|offset| !is_snapshot(offset)) {
        match offset.get("txId") {
            None => alone.push(offset),
            Some(xid) => match last_of.last_mut() {
                Some((of, last)) if *of == xid => offset.clone_into(last),
                _ => last_of.push((xid, offset.clone())),
            },
        }
    }
    assert_eq!(last_of.len(), log.transactions.len(), "{log:?}");
    assert_eq!(alone.len(), log.messages.len(), "{log:?}");
    let with = |offset: &Offset, changes: &[(&str, Value)]| -> Value {
        let mut offset = offset.clone();
        offset.extend(
            changes
                .iter()
                .map(|(name, to)| ((*name).to_owned(), to.clone())),
        );
        json!(offset)
    };
    let lsns = |lsn: i64| ["lsn", "lsn_proc", "lsn_commit"].map(|name| (name, json!(lsn)));
    let mut expected = Vec::new();
    for ((_, offset), &(xid, end, at)) in last_of.iter().zip(&log.transactions) {
        let mut changes = lsns(end).to_vec();
        changes.push(("messageType", json!("COMMIT")));
        changes.push(("txId", json!(xid)));
        changes.push(("ts_usec", json!(at)));
        if offset.contains_key("transaction_id") {
            changes.push(("transaction_id", json!(xid.to_string())));
        }
        expected.push(with(offset, &changes));
    }
    let commits = expected.len();
    for (offset, &end) in alone.iter().zip(&log.messages) {
        let before = log
            .transactions
            .iter()
            .rfind(|(_, commit, _)| *commit < end);
        let at = before.map_or(0, |(_, _, at)| *at);
        let mut changes = lsns(end).to_vec();
        changes.push(("ts_usec", json!(at)));
        expected.push(with(offset, &changes));
    }
    // All of a snapshot have one LSN and one transaction.
    let copied = records.iter().find_map(|record| {
        let source = record.source();
        (record.op() == Some("r")).then(|| (source["lsn"].clone(), source["txId"].clone()))
    });

    // Behind a transaction, or behind a keepalive that came with its end.
    let (mut matched, mut kept) = (0, 0);
    for position in positions {
        assert_eq!(position.key, json!(["golden", { "server": "srv" }]));
        let members = position.value.as_object().expect("a source offset");
        // What of it is ours alone, Debezium passes over.
        let ours: Offset = members
            .iter()
            .filter(|(name, _)| !name.starts_with("penstock_"))
            .map(|(name, value)| (collection_name(name), value.clone()))
            .collect();
        let shown = json!(ours);
        if is_snapshot(&ours) {
            let (lsn, xid) = copied
                .clone()
                .unwrap_or_else(|| (ours["lsn"].clone(), ours["txId"].clone()));
            let changes = [
                ("lsn", lsn),
                ("txId", xid),
                ("ts_usec", ours["ts_usec"].clone()),
            ];
            let theirs = offsets.iter().filter(|offset| is_snapshot(offset));
            let mut theirs = theirs.map(|offset| with(offset, &changes));
            assert!(theirs.any(|their| their == shown), "{shown}");
        } else if let Some(at) = expected.iter().position(|their| *their == shown) {
            matched += usize::from(at < commits);
        } else if ours.contains_key("lsn_events_processed") {
            // A machine that is slow has split a transaction: the position is inside it.
            assert_ne!(ours["messageType"], "COMMIT");
        } else {
            // A keepalive moved it: nothing of ours ends there, and nothing was counted.
            let lsn = ours["lsn"].as_i64().expect("a number");
            let known = expected.iter().any(|their| their["lsn"] == lsn);
            assert!(!known, "{shown} is none of {expected:#?}");
            let mut plain: Offset = lsns(lsn).map(|(name, to)| (name.to_owned(), to)).into();
            plain.insert("messageType".to_owned(), json!("COMMIT"));
            for name in ["txId", "ts_usec"] {
                plain.extend(ours.get(name).map(|to| (name.to_owned(), to.clone())));
            }
            assert_eq!(shown, json!(plain));
            kept += 1;
        }
    }
    assert!(
        matched + kept > 0,
        "no position behind a transaction: {positions:?}"
    );
}

/// Takes a column out of payloads and schemas.
fn leave_out(value: &mut Value, column: &str) {
    match value {
        Value::Object(members) => {
            let plain = !members.contains_key("schema") && !members.contains_key("field");
            if plain || members.contains_key(column) {
                members.shift_remove(column);
            }
            members
                .values_mut()
                .for_each(|member| leave_out(member, column));
        }
        Value::Array(items) => {
            items.retain(|item| item["field"] != column);
            items.iter_mut().for_each(|item| leave_out(item, column));
        }
        _ => {}
    }
}

/// The two texts from a little before the place where they part.
fn first_difference(ours: Option<&String>, theirs: Option<&String>) -> String {
    let (Some(ours), Some(theirs)) = (ours, theirs) else {
        let cut =
            |text: Option<&String>| text.map(|text| text.chars().take(200).collect::<String>());
        return format!("ours {:?}, Debezium's {:?}", cut(ours), cut(theirs));
    };
    let same = ours
        .chars()
        .zip(theirs.chars())
        .take_while(|(our, their)| our == their)
        .count();
    let around = |text: &str| {
        text.chars()
            .skip(same.saturating_sub(80))
            .take(160)
            .collect::<String>()
    };
    format!(
        "\n  ours       …{}\n  Debezium's …{}",
        around(ours),
        around(theirs)
    )
}

/// `xid:lsn`, as Debezium calls a transaction.
fn is_transaction(id: &str) -> bool {
    id.split_once(':')
        .is_some_and(|(xid, lsn)| xid.parse::<u32>().is_ok() && lsn.parse::<u64>().is_ok())
}

/// Puts the same word in every place that depends on the run.
fn mask(value: &mut Value, database: &str) {
    const RUNS: [&str; 13] = [
        "ts_ms",
        "ts_us",
        "ts_ns",
        "lsn",
        "txId",
        "sequence",
        "version",
        "id",
        "__lsn",
        "__source_lsn",
        "__source_ts_ms",
        "__ets",
        "__l",
    ];
    fn walk(value: &mut Value, database: &str, payload: bool) {
        match value {
            Value::Object(members) => {
                // A row's own columns may have such names: only the envelope's are the run's.
                let envelope = members.contains_key("op") || members.contains_key("connector");
                let block =
                    members.contains_key("total_order") || members.contains_key("event_count");
                let heartbeat = members.len() == 1 && members.contains_key("ts_ms");
                for (name, member) in members.iter_mut() {
                    let inside =
                        name == "payload" || payload && name != "before" && name != "after";
                    let run = RUNS.contains(&name.as_str()) && (name != "id" || block);
                    let unwrapped = name.starts_with("__") && run;
                    let of_the_run =
                        unwrapped || payload && (envelope || block || heartbeat) && run;
                    if of_the_run && !member.is_object() {
                        if !member.is_null() {
                            *member = "of the run".into();
                        }
                    } else if name == "id" && member.as_str().is_some_and(is_transaction) {
                        // The key of a BEGIN or an END.
                        *member = "of the run".into();
                    } else if payload && name == "db" && *member == database {
                        *member = "golden".into();
                    } else if name == "data_collection"
                        && let Some((class, _)) = member.as_str().and_then(|it| it.split_once('@'))
                    {
                        // A Java object says where it lies.
                        *member = class.into();
                    } else {
                        walk(member, database, inside);
                    }
                }
            }
            Value::Array(items) => items
                .iter_mut()
                .for_each(|item| walk(item, database, payload)),
            _ => {}
        }
    }
    // JsonConverter's schema is no part of the payload; without it all is payload.
    let plain = value.get("schema").is_none();
    walk(value, database, plain);
}
