//! What the real Debezium emitted for a script, and what the whole pipe makes of it: a real
//! PostgreSQL 15, a real Kafka, record after record in the same order. Slow: a broker for each.
//!
//! `tests/golden/debezium/NOTE.md` says how it was captured. Left out of the comparison is what no
//! two runs have in common: LSNs, transaction ids, clocks, the version, and the database's name.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tests::judge::{self, Format, Record};
use tests::kafka::{self, Kafka};
use tests::penstock::Penstock;
use tests::postgres::{Database, Postgres, SUPERUSER, Version};
use tests::registry::Registry;
use tests::{Properties, root};

const SOON: Duration = Duration::from_secs(60);

/// Records that are not yet equal: the run, or `*` for every one, topic and index in it. The list
/// may only shrink; one that became equal fails until it is taken off.
const NOT_YET: [(&str, &str); 9] = [
    // `infinity` and years BC in a snapshot: days as Debezium misreads them.
    ("*", "srv.inv.t_time 3"),
    ("*", "srv.inv.t_time 4"),
    // column.propagate.source.type says BIGSERIAL where a sequence is the default.
    ("masks", "srv.inv.t_num 0"),
    ("masks", "srv.inv.t_num 1"),
    ("masks", "srv.inv.t_num 2"),
    ("masks", "srv.inv.t_num 3"),
    // A key's change counts twice in a transaction: the deletion and the creation.
    ("txmeta", "srv.inv.t_num 7"),
    ("txmeta", "srv.transaction 5"),
    // The data collection of a logical message is a Java class's name.
    ("txmeta", "srv.transaction 29"),
];

#[test]
fn default() {
    json("default");
}

#[test]
fn doubles() {
    json("doubles");
}

#[test]
fn strings() {
    json("strings");
}

#[test]
fn micros() {
    json("micros");
}

#[test]
fn nanos() {
    json("nanos");
}

#[test]
fn adaptmicros() {
    json("adaptmicros");
}

#[test]
fn masks() {
    json("masks");
}

#[test]
fn txmeta() {
    json("txmeta");
}

#[test]
fn unwrap() {
    json("unwrap");
}

/// Records, in order, whose keys and values are `JsonConverter`'s with schemas.
fn json(name: &str) {
    let converter = "org.apache.kafka.connect.json.JsonConverter";
    let worker = Properties::default()
        .with("key.converter", converter)
        .with("value.converter", converter);
    let captured = captured(name);
    let (database, records) = run(name, &worker, Format::Json, captured.len(), &[]);
    let ours = records.iter().map(|record| Shown {
        topic: record.topic.clone(),
        key: record.key.clone(),
        value: record.value.clone(),
        headers: record
            .headers
            .iter()
            .map(|(name, _)| name.clone())
            .collect(),
    });
    let theirs = captured.iter().map(|record| Shown {
        topic: record["topic"].as_str().expect("a topic").to_owned(),
        key: record["key"].clone(),
        value: record["value"].clone(),
        headers: record["headers"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|header| Some(header["key"].as_str()?.to_owned()))
            .collect(),
    });
    compare(name, &database.name, ours.collect(), theirs.collect());
}

#[test]
fn avro() {
    let registry = Registry::start();
    let converter = "io.confluent.connect.avro.AvroConverter";
    let worker = Properties::default()
        .with("key.converter", converter)
        .with("key.converter.schema.registry.url", registry.url())
        .with("value.converter", converter)
        .with("value.converter.schema.registry.url", registry.url());
    // Debezium's own Avro of these cannot be read: names that are none, and a decimal's scale. The
    // first and the last row of the snapshot are others without them.
    let unreadable = ["inv.Weird-Table", "inv.t_num"];
    let reads = |topic: &str| {
        !unreadable
            .iter()
            .any(|table| topic == format!("srv.{table}"))
    };
    let file = folder().join("default.jsonl");
    let captured = captured("default");
    let theirs: Vec<_> = judge::captured(&file)
        .into_iter()
        .zip(&captured)
        .filter(|((topic, _, _), _)| reads(topic))
        .collect();
    let exclude = ("table.exclude.list", unreadable.join(","));
    let (database, records) = run(
        "default",
        &worker,
        Format::Avro(registry.url()),
        theirs.len(),
        &[exclude],
    );
    let headers = Vec::new();
    let ours: Vec<_> = records
        .iter()
        .map(|record| Shown {
            topic: record.topic.clone(),
            key: record.key.clone(),
            value: record.value.clone(),
            headers: headers.clone(),
        })
        .collect();
    let shown = theirs.iter().map(|((topic, key, value), _)| Shown {
        topic: topic.clone(),
        key: key.clone(),
        value: value.clone(),
        headers: headers.clone(),
    });
    let marked = |shown: Shown| {
        let mut shown = shown;
        if let Some(mark) = shown.value.pointer_mut("/source/snapshot") {
            *mark = (*mark != "false").into();
        }
        shown
    };
    let ours = ours.into_iter().map(marked).collect();
    compare("avro", &database.name, ours, shown.map(marked).collect());

    // The schema texts: every one that Debezium registered, as it registered it.
    let texts = |part: &str| -> BTreeMap<String, Vec<String>> {
        let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (_, record) in &theirs {
            let schema = &record[part];
            let topic = record["topic"].as_str().expect("a topic");
            if !schema.is_null() {
                texts
                    .entry(topic.to_owned())
                    .or_default()
                    .push(schema.to_string());
            }
        }
        texts
    };
    let of_ours = |part: fn(&Record) -> &Option<String>| -> BTreeMap<String, Vec<String>> {
        let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for record in &records {
            if let Some(text) = part(record) {
                texts
                    .entry(record.topic.clone())
                    .or_default()
                    .push(text.clone());
            }
        }
        texts
    };
    assert_eq!(of_ours(|record| &record.key_schema), texts("keyAvroSchema"));
    assert_eq!(
        of_ours(|record| &record.value_schema),
        texts("valueAvroSchema")
    );
}

struct Shown {
    topic: String,
    key: Value,
    value: Value,
    headers: Vec<String>,
}

fn folder() -> PathBuf {
    root().join("tests/golden/debezium")
}

fn captured(name: &str) -> Vec<Value> {
    let text = fs::read_to_string(folder().join(format!("{name}.jsonl"))).expect("a capture");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// The script through the whole pipe, as the properties of the capture say.
fn run(
    name: &str,
    worker: &Properties,
    format: Format<'_>,
    count: usize,
    more: &[(&str, String)],
) -> (Database<'static>, Vec<Record>) {
    // A broker of its own: the topics' names are the capture's.
    let kafka = Kafka::start(kafka::NEWEST);
    let server = Postgres::shared(Version::Major(15));
    let database = server.database("golden");
    database.run(&folder().join("types.sql"));
    let file = folder().join(format!("properties/{name}.properties"));
    let connector = Properties::parse(&fs::read_to_string(file).expect("properties"))
        .with("slot.name", &database.name)
        .with("database.port", server.port())
        .with("database.user", SUPERUSER.0)
        .with("database.password", SUPERUSER.1)
        .with("database.dbname", &database.name)
        .with("penstock.compat", "debezium");
    let connector = more.iter().fold(connector, |connector, (name, value)| {
        connector.with(name, value)
    });
    let worker = worker.clone().with("bootstrap.servers", kafka.bootstrap());
    let mut pipe = Penstock::standalone(&worker, &[&connector]);
    // The slot is active while the snapshot is read, too.
    pipe.wait_for(&["snapshot is complete"], SOON);
    database.run(&folder().join("stream.sql"));
    let records = judge::try_read(&kafka.bootstrap(), r"srv\..*", format, count, SOON);
    let records = records.unwrap_or_else(|error| panic!("{error}\n{}", pipe.log()));
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
    (database, records)
}

/// Topic by topic, since the broker keeps no order between them.
fn compare(name: &str, database: &str, ours: Vec<Shown>, theirs: Vec<Shown>) {
    let by_topic = |all: Vec<Shown>| {
        let mut topics: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for mut shown in all {
            if shown.topic == "srv.transaction" {
                shown.key = "of the run".into();
            }
            mask(&mut shown.key, database);
            mask(&mut shown.value, database);
            let line = json!({
                "key": shown.key, "value": shown.value, "headers": shown.headers,
            });
            topics
                .entry(shown.topic)
                .or_default()
                .push(line.to_string());
        }
        topics
    };
    let (ours, theirs) = (by_topic(ours), by_topic(theirs));
    let mut differences = Vec::new();
    for (topic, theirs) in &theirs {
        let ours = ours.get(topic).map_or(&[][..], Vec::as_slice);
        for index in 0..ours.len().max(theirs.len()) {
            let (our, their) = (ours.get(index), theirs.get(index));
            if our != their {
                differences.push(format!("{topic} {index}: {}", first_difference(our, their)));
            }
        }
    }
    for topic in ours.keys().filter(|topic| !theirs.contains_key(*topic)) {
        differences.push(format!("{topic}: Debezium has no such topic"));
    }
    for (_, place) in NOT_YET
        .iter()
        .filter(|(run, _)| *run == name || *run == "*")
    {
        let before = differences.len();
        differences.retain(|difference| !difference.starts_with(&format!("{place}:")));
        assert!(
            differences.len() < before,
            "{name}: {place} is equal: take it off the list"
        );
    }
    assert!(
        differences.is_empty(),
        "{} records differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
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

/// Puts the same word in every place that depends on the run.
fn mask(value: &mut Value, database: &str) {
    const RUNS: [&str; 10] = [
        "ts_ms",
        "ts_us",
        "ts_ns",
        "lsn",
        "txId",
        "sequence",
        "version",
        "id",
        "__lsn",
        "__source_ts_ms",
    ];
    fn walk(value: &mut Value, database: &str, payload: bool) {
        match value {
            Value::Object(members) => {
                // A row's own columns may have such names: only the envelope's are the run's.
                let envelope = members.contains_key("op") || members.contains_key("connector");
                let block =
                    members.contains_key("total_order") || members.contains_key("event_count");
                for (name, member) in members.iter_mut() {
                    let inside =
                        name == "payload" || payload && name != "before" && name != "after";
                    let run = RUNS.contains(&name.as_str()) && (name != "id" || block);
                    let unwrapped = name.starts_with("__") && run;
                    if unwrapped || payload && (envelope || block) && run && !member.is_object() {
                        if !member.is_null() {
                            *member = "of the run".into();
                        }
                    } else if payload && name == "db" && *member == database {
                        *member = "golden".into();
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
