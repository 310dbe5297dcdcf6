//! The real Debezium's records, made again from the same rows: equal byte for byte, as JSON with
//! and without schemas and as Avro, schema texts included.
//!
//! `tests/golden/debezium` says how the records and the rows were captured. What depends on the run
//! (LSNs, clocks, schema ids) is taken from the captured record and must come out again.

#![allow(
    clippy::cast_possible_truncation,
    reason = "numbers of a fixture, known to be small"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::capture::relations::{Column, PgType, ReplicaIdentity, Table, TypeKind};
use engine::capture::row::{Row, RowIndex};
use engine::config::{Config, Encode, Filter, Operation, Properties};
use engine::encode::envelope::{self, Notice, SnapshotMark, SourceBlock, TransactionBlock, Writer};
use engine::encode::plan::{Event, RowEncoder, SchemaIds, Schemas};
use serde_json::Value as Json;

#[test]
fn default_modes() {
    replay("default");
}

#[test]
fn doubles_and_iso_strings() {
    replay("doubles");
}

#[test]
fn strings_and_connect_times() {
    replay("strings");
}

#[test]
fn microseconds() {
    replay("micros");
}

#[test]
fn nanoseconds() {
    replay("nanos");
}

#[test]
fn adaptive_time_microseconds() {
    replay("adaptmicros");
}

#[test]
fn transaction_metadata_and_adjusted_names() {
    replay("txmeta");
}

#[test]
fn masks_hashes_cuts_and_source_types() {
    replay("masks");
}

#[test]
fn rows_instead_of_envelopes() {
    replay("unwrap");
}

/// One table of every common type (`alltypes.sql`), in three sets of modes.
#[test]
fn all_types() {
    let json = read_json("alltypes.json");
    let script = script_of(&json);
    let table = &script.tables[0];
    let tuple = Tuple::new(&script.events[0]["new"]).unwrap();
    let base = "name=a\nconnector.class=io.debezium.connector.postgresql.PostgresConnector\n\
        plugin.name=pgoutput\nslot.name=a\ntopic.prefix=srv\ndatabase.hostname=127.0.0.1\n\
        database.user=postgres\ndatabase.password=postgres\ndatabase.dbname=test\n";
    let modes = json["expected"].as_array().unwrap();
    for mode in modes {
        let properties = format!("{base}{}", text(&mode["properties"]));
        let config = configured(properties.clone(), JSON, true).encode;
        let schemas = Schemas::derive(table, &Filter::All, &config).unwrap();
        let row = &schemas.value.fields()[1].schema;
        assert_eq!(
            fields_json(row),
            changed(&modes[0]["fields"], &mode["changed"], "field")
        );
        let avro = row.avro(engine::config::AvroText::default());
        let (_, fields) = avro.split_once("\"fields\":").unwrap();
        let fields = fields.rsplit_once(",\"connect.name\"").unwrap().0;
        assert_eq!(
            fields,
            changed(&modes[0]["avroFields"], &mode["avroChanged"], "name")
        );

        let config = configured(properties.clone(), JSON, false).encode;
        assert!(row_of(table, &config, &tuple).contains(mode["after"].as_str().unwrap()));
        let config = Encode {
            field_names: config.field_names,
            ..configured(properties, AVRO, false).encode
        };
        let hex = row_of(table, &config, &tuple);
        assert!(
            hex.starts_with(&format!("0000000000{}", text(&mode["avro"]))),
            "{hex}"
        );
        if let Some(key) = mode["keyAvroSchema"].as_str() {
            assert_eq!(
                schemas
                    .key
                    .as_ref()
                    .unwrap()
                    .avro(engine::config::AvroText::default()),
                key
            );
        }
    }
}

/// The fields' schemas as JsonConverter prints them in a struct.
fn fields_json(schema: &engine::encode::schema::Schema) -> String {
    let mut out = Vec::new();
    schema.put_json(&mut out, false);
    let out = String::from_utf8(out).unwrap();
    let fields = out
        .strip_prefix("{\"type\":\"struct\",\"fields\":")
        .unwrap();
    fields.rsplit_once(",\"optional\"").unwrap().0.to_owned()
}

/// A list of objects, some of them replaced by others of the same name.
fn changed(base: &Json, changes: &Json, name: &str) -> String {
    let key = |object: &str| serde_json::from_str::<Json>(object).unwrap()[name].clone();
    let changes: Vec<&str> = changes
        .as_array()
        .into_iter()
        .flatten()
        .map(|change| change.as_str().unwrap())
        .collect();
    let mut depth = 0;
    let mut from = 1;
    let mut objects = Vec::new();
    let base = base.as_str().unwrap();
    for (at, letter) in base.char_indices() {
        match letter {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            _ => {}
        }
        if depth == 1 && letter == '}' {
            let object = &base[from..=at];
            let change = changes.iter().find(|change| key(change) == key(object));
            objects.push(*change.unwrap_or(&object));
            from = at + 2;
        }
    }
    format!("[{}]", objects.join(","))
}

/// A row inserted: text of JSON, hex of Avro.
fn row_of(table: &Table, config: &Encode, tuple: &Tuple) -> String {
    let schemas = Schemas::derive(table, &Filter::All, config).unwrap();
    let ids = SchemaIds {
        key: Some(0),
        value: 0,
    };
    let encoder = RowEncoder::compile(table, &schemas, config, "test", ids).unwrap();
    let source = SourceBlock {
        ts_us: 0,
        snapshot: SnapshotMark::False,
        last_commit_lsn: None,
        lsn: None,
        tx_id: None,
        xmin: None,
        origin: None,
        origin_lsn: None,
        transaction: None,
    };
    let after = Some(tuple.row());
    let event = Event {
        op: Operation::Create,
        before: None,
        after,
        source,
        now_ns: 0,
    };
    let mut out = Vec::new();
    assert!(encoder.value(&event, &mut out).unwrap());
    String::from_utf8(out).unwrap_or_else(|out| {
        out.as_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    })
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/debezium")
}

/// Rows of the same script, as a server sent them.
struct Script {
    tables: Vec<Table>,
    events: Vec<Json>,
}

fn script() -> Script {
    script_of(&read_json("tuples.json"))
}

fn read_json(file: &str) -> Json {
    serde_json::from_str(&std::fs::read_to_string(folder().join(file)).unwrap()).unwrap()
}

fn script_of(json: &Json) -> Script {
    let tables = json["tables"].as_array().unwrap().iter();
    Script {
        tables: tables
            .map(|table| table_of(table, &json["types"]))
            .collect(),
        events: json["events"].as_array().unwrap().clone(),
    }
}

fn text(json: &Json) -> String {
    json.as_str().unwrap().to_owned()
}

fn table_of(json: &Json, types: &Json) -> Table {
    let key: Vec<usize> = json["key"]
        .as_array()
        .unwrap()
        .iter()
        .map(|at| at.as_u64().unwrap() as usize)
        .collect();
    let columns = json["columns"].as_array().unwrap().iter().enumerate();
    Table {
        oid: json["oid"].as_u64().unwrap() as u32,
        schema: text(&json["schema"]),
        name: text(&json["name"]),
        columns: columns
            .map(|(at, column)| Column {
                name: text(&column["name"]),
                pg_type: Arc::new(type_of(column["type"].as_u64().unwrap(), types)),
                typmod: column["typmod"].as_i64().unwrap() as i32,
                not_null: column["not_null"].as_bool().unwrap(),
                default: column["default"].as_str().map(str::to_owned),
                identity: key.contains(&at),
            })
            .collect(),
        key,
        replica_identity: match json["identity"].as_str().unwrap() {
            "f" => ReplicaIdentity::Full,
            "n" => ReplicaIdentity::Nothing,
            "i" => ReplicaIdentity::Index,
            _ => ReplicaIdentity::Default,
        },
    }
}

fn type_of(oid: u64, types: &Json) -> PgType {
    let json = &types[oid.to_string()];
    let kind = match json["kind"].as_str().unwrap() {
        "e" => {
            let labels = json["labels"]
                .as_array()
                .unwrap()
                .iter()
                .map(text)
                .collect();
            TypeKind::Enum { labels }
        }
        "d" => TypeKind::Domain {
            base: Arc::new(type_of(json["base"].as_u64().unwrap(), types)),
            typmod: json["typmod"].as_i64().unwrap() as i32,
        },
        "a" => TypeKind::Array {
            element: Arc::new(type_of(json["element"].as_u64().unwrap(), types)),
        },
        "r" => TypeKind::Range,
        "m" => TypeKind::Multirange,
        "c" => TypeKind::Composite,
        _ => TypeKind::Base,
    };
    PgType {
        oid: oid as u32,
        schema: text(&json["schema"]),
        name: text(&json["name"]),
        kind,
    }
}

/// A row's cells, in one buffer.
#[derive(Default)]
struct Tuple {
    bytes: Vec<u8>,
    index: RowIndex,
}

impl Tuple {
    fn new(cells: &Json) -> Option<Self> {
        let mut tuple = Self::default();
        for cell in cells.as_array()? {
            match cell {
                Json::Null => tuple.index.push_null(),
                Json::Bool(_) => tuple.index.push_unchanged(),
                cell => {
                    let start = tuple.bytes.len() as u32;
                    tuple
                        .bytes
                        .extend_from_slice(cell.as_str().unwrap().as_bytes());
                    tuple.index.push_text(start, tuple.bytes.len() as u32);
                }
            }
        }
        Some(tuple)
    }

    fn row(&self) -> Row<'_> {
        self.index.row(&self.bytes)
    }
}

/// One captured record: its members as they are written, and parsed.
struct Golden {
    raw: BTreeMap<String, String>,
    json: Json,
}

impl Golden {
    fn new(line: &str) -> Self {
        Self {
            raw: members(line),
            json: serde_json::from_str(line).unwrap(),
        }
    }

    fn hex(&self, member: &str) -> Option<Vec<u8>> {
        let hex = self.json[member].as_str()?;
        let pairs = (0..hex.len()).step_by(2);
        Some(
            pairs
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
                .collect(),
        )
    }

    /// The id in an Avro record's first five bytes.
    fn id(&self, member: &str) -> u32 {
        self.hex(member)
            .map_or(0, |hex| u32::from_be_bytes(hex[1..5].try_into().unwrap()))
    }

    fn source(&self) -> SourceBlock<'_> {
        let value = &self.json["valuePlain"];
        let source = &value["source"];
        if source.is_null() {
            return self.unwrapped_source();
        }
        let sequence: Vec<Option<String>> =
            serde_json::from_str(source["sequence"].as_str().unwrap()).unwrap();
        let transaction = value["transaction"]["id"].as_str().map(|id| {
            let (xid, lsn) = id.split_once(':').unwrap();
            TransactionBlock {
                xid: xid.parse().unwrap(),
                lsn: lsn.parse().unwrap(),
                total_order: value["transaction"]["total_order"].as_i64().unwrap(),
                collection_order: value["transaction"]["data_collection_order"]
                    .as_i64()
                    .unwrap(),
            }
        });
        SourceBlock {
            ts_us: source["ts_us"].as_i64().unwrap(),
            snapshot: match source["snapshot"].as_str().unwrap() {
                "true" => SnapshotMark::True,
                "first" => SnapshotMark::First,
                "first_in_data_collection" => SnapshotMark::FirstInDataCollection,
                "last_in_data_collection" => SnapshotMark::LastInDataCollection,
                "last" => SnapshotMark::Last,
                _ => SnapshotMark::False,
            },
            last_commit_lsn: sequence[0].as_ref().map(|lsn| lsn.parse().unwrap()),
            lsn: source["lsn"].as_u64(),
            tx_id: source["txId"].as_i64(),
            xmin: None,
            origin: None,
            origin_lsn: None,
            transaction,
        }
    }
}

impl Golden {
    /// What a row without its envelope still says.
    fn unwrapped_source(&self) -> SourceBlock<'_> {
        let value = &self.json["valuePlain"];
        SourceBlock {
            ts_us: value["__source_ts_ms"].as_i64().unwrap_or(0) * 1000,
            snapshot: SnapshotMark::False,
            last_commit_lsn: None,
            lsn: value["__lsn"].as_u64(),
            tx_id: None,
            xmin: None,
            origin: None,
            origin_lsn: None,
            transaction: None,
        }
    }
}

/// The top level's members, each value's text untouched.
fn members(line: &str) -> BTreeMap<String, String> {
    let mut members = BTreeMap::new();
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    let mut from = 1;
    let mut put = |member: &str| {
        let (name, value) = member.split_once("\":").unwrap();
        members.insert(name[1..].to_owned(), value.to_owned());
    };
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    put(&line[from..at]);
                }
            }
            b',' if depth == 1 => {
                put(&line[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    members
}

const JSON: &str = "org.apache.kafka.connect.json.JsonConverter";
const AVRO: &str = "io.confluent.connect.avro.AvroConverter";

/// What a captured run was configured with, and our own converters.
fn config(name: &str, converter: &str, schemas_enable: bool) -> Config {
    let file = folder()
        .join("properties")
        .join(format!("{name}.properties"));
    configured(
        std::fs::read_to_string(file).unwrap(),
        converter,
        schemas_enable,
    )
}

fn configured(mut connector: String, converter: &str, schemas_enable: bool) -> Config {
    connector += "\npenstock.compat=debezium\n";
    for side in ["key", "value"] {
        connector += &format!(
            "{side}.converter={converter}\n\
             {side}.converter.schemas.enable={schemas_enable}\n\
             {side}.converter.schema.registry.url=http://unused\n"
        );
    }
    let worker = Properties::parse(b"bootstrap.servers=localhost:9092\n").unwrap();
    let connector = Properties::parse(connector.as_bytes()).unwrap();
    Config::load(&worker, &connector).unwrap().0
}

/// One way of writing, and where a captured record has it.
struct Way {
    key: &'static str,
    value: &'static str,
    columns: Filter,
    config: Encode,
    hex: bool,
}

fn ways(name: &str) -> [Way; 3] {
    let plain = config(name, JSON, false);
    let mut avro = config(name, AVRO, false);
    // The captured connector did not know what its records were converted with.
    avro.encode.field_names = plain.encode.field_names;
    let way = |key, value, config: Config, hex| Way {
        key,
        value,
        columns: config.capture.columns,
        config: config.encode,
        hex,
    };
    [
        way("keyPlain", "valuePlain", plain, false),
        way("key", "value", config(name, JSON, true), false),
        way("keyAvroHex", "valueAvroHex", avro, true),
    ]
}

impl Way {
    fn check(&self, golden: &Golden, member: &str, ours: Option<&[u8]>, place: &str) {
        let expected = if self.hex {
            golden.hex(member)
        } else {
            Some(golden.raw[member].as_bytes().to_vec()).filter(|raw| raw != b"null")
        };
        if ours == expected.as_deref() {
            return;
        }
        // Snapshots show dates of other eras as the JDBC driver mistakes them; we do not.
        let id = golden.json["keyPlain"]["id"].as_i64();
        let value = &golden.json["valuePlain"];
        let read = value["op"] == "r" || value["__op"] == "r";
        if read && golden.json["topic"] == "srv.inv.t_time" && matches!(id, Some(4 | 5)) {
            let plain = |json: &str| {
                let mut json: Json = serde_json::from_str(json).unwrap();
                let payload = if json["payload"].is_null() {
                    &mut json
                } else {
                    &mut json["payload"]
                };
                payload["d"] = Json::Null;
                payload["after"] = match payload["after"].take() {
                    Json::Object(mut row) => {
                        row.insert("d".to_owned(), Json::Null);
                        Json::Object(row)
                    }
                    other => other,
                };
                json
            };
            if !self.hex {
                let ours = std::str::from_utf8(ours.unwrap()).unwrap();
                assert_eq!(plain(ours), plain(&golden.raw[member]), "{place} {member}");
            }
            return;
        }
        let show = |bytes: Option<&[u8]>| match bytes {
            Some(bytes) if self.hex => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            None => "null".to_owned(),
        };
        let (ours, expected) = (show(ours), show(expected.as_deref()));
        let at = ours
            .bytes()
            .zip(expected.bytes())
            .take_while(|(a, b)| a == b)
            .count();
        let from = at.saturating_sub(80);
        let cut = |text: &str| {
            let tail = text.as_bytes().get(from..).unwrap_or_default();
            String::from_utf8_lossy(&tail[..tail.len().min(300)]).into_owned()
        };
        panic!(
            "{place} {member} at {at}:\n  ours     {}\n  debezium {}",
            cut(&ours),
            cut(&expected)
        );
    }
}

/// A record to be made: of which table, with which rows.
struct Change<'s> {
    table: &'s Table,
    op: Option<Operation>,
    key: Option<Row<'s>>,
    before: Option<Row<'s>>,
    after: Option<Row<'s>>,
    /// `__debezium.newkey` or `.oldkey`, and the row it is of.
    header: Option<(&'static str, Row<'s>)>,
}

fn replay(name: &str) {
    let script = script();
    let lines = std::fs::read_to_string(folder().join(format!("{name}.jsonl"))).unwrap();
    let ways = ways(name);
    let root = name == "txmeta";
    let mut goldens = lines
        .lines()
        .enumerate()
        .map(|(at, line)| (at + 1, Golden::new(line)));
    for event in &script.events {
        // With publish_via_partition_root the partition's rows are the root's.
        let mut table = event["table"]
            .as_u64()
            .map(|at| &script.tables[at as usize]);
        if root && event["op"] != "r" && table.is_some_and(|table| table.name == "parted_a") {
            table = script.tables.iter().find(|table| table.name == "parted");
        }
        let Some(table) = table else {
            let (at, golden) = next(&mut goldens, &ways);
            check_message(event, &golden, &ways, &format!("{name}.jsonl:{at}"));
            continue;
        };
        let (old, new) = (Tuple::new(&event["old"]), Tuple::new(&event["new"]));
        let (before, after) = (old.as_ref().map(Tuple::row), new.as_ref().map(Tuple::row));
        for change in changes(event, table, before, after, &ways[0]) {
            let (at, golden) = next(&mut goldens, &ways);
            check(&change, &golden, &ways, &format!("{name}.jsonl:{at}"));
        }
    }
    for (at, golden) in goldens {
        assert_eq!(
            golden.json["topic"], "srv.transaction",
            "{name}.jsonl:{at} was not made"
        );
        check_transaction(&golden, &ways);
    }
}

/// The next record that is not of the transaction topic; those are checked on the way.
fn next(goldens: &mut impl Iterator<Item = (usize, Golden)>, ways: &[Way; 3]) -> (usize, Golden) {
    loop {
        let (at, golden) = goldens.next().expect("more records than captured");
        if golden.json["topic"] != "srv.transaction" {
            return (at, golden);
        }
        check_transaction(&golden, ways);
    }
}

/// The records that one event of the script becomes.
fn changes<'s>(
    event: &Json,
    table: &'s Table,
    old: Option<Row<'s>>,
    new: Option<Row<'s>>,
    way: &Way,
) -> Vec<Change<'s>> {
    let change = |op, key, before, after| Change {
        table,
        op,
        key,
        before,
        after,
        header: None,
    };
    let tombstone = |key| change(None, Some(key), None, None);
    let mut records = match (event["op"].as_str().unwrap(), old, new) {
        ("r", _, new) => vec![change(Some(Operation::Read), new, None, new)],
        ("c", _, new) => vec![change(Some(Operation::Create), new, None, new)],
        ("d", Some(old), _) => {
            vec![
                change(Some(Operation::Delete), Some(old), Some(old), None),
                tombstone(old),
            ]
        }
        ("t", ..) => vec![change(Some(Operation::Truncate), None, None, None)],
        ("u", Some(old), Some(new)) if table.key.iter().any(|&at| old.cell(at) != new.cell(at)) => {
            let header = |header, change| Change {
                header: Some(header),
                ..change
            };
            let newkey = ("__debezium.newkey", new);
            let delete = change(Some(Operation::Delete), Some(old), Some(old), None);
            let create = change(Some(Operation::Create), Some(new), None, Some(new));
            vec![
                header(newkey, delete),
                header(newkey, tombstone(old)),
                header(("__debezium.oldkey", old), create),
            ]
        }
        ("u", old, new) => vec![change(Some(Operation::Update), new, old, new)],
        (op, ..) => panic!("{op} without its rows"),
    };
    let (columns, config) = (&way.columns, &way.config);
    let schemas = Schemas::derive(table, columns, config).unwrap();
    let ids = SchemaIds {
        key: None,
        value: 0,
    };
    let encoder = RowEncoder::compile(table, &schemas, config, "golden", ids).unwrap();
    records.retain(|record| {
        record
            .op
            .map_or_else(|| encoder.tombstones(), |op| encoder.emits(op))
    });
    records
}

fn check(change: &Change<'_>, golden: &Golden, ways: &[Way; 3], place: &str) {
    // The JDBC driver tells the snapshot other types and lengths than the stream has.
    let propagates = place.starts_with("masks") && change.table.name == "t_num";
    let ways = if propagates && change.op == Some(Operation::Read) {
        &ways[..1]
    } else {
        &ways[..]
    };
    for way in ways {
        let schemas = Schemas::derive(change.table, &way.columns, &way.config).unwrap();
        let ids = SchemaIds {
            key: Some(golden.id(way.key)),
            value: golden.id(way.value),
        };
        let ids = if way.hex {
            ids
        } else {
            SchemaIds {
                key: Some(0),
                value: 0,
            }
        };
        let encoder =
            RowEncoder::compile(change.table, &schemas, &way.config, "golden", ids).unwrap();
        assert_eq!(golden.json["topic"], encoder.topic(), "{place}");
        if way.hex && golden.json["avroError"].is_string() {
            continue;
        }
        let mut key = Vec::new();
        let has_key = change
            .key
            .is_some_and(|row| encoder.key(row, &mut key).unwrap());
        way.check(golden, way.key, has_key.then_some(&key[..]), place);
        let mut value = Vec::new();
        let event = change.op.map(|op| Event {
            op,
            before: change.before,
            after: change.after,
            source: golden.source(),
            now_ns: golden.json["valuePlain"]["ts_ns"].as_i64().unwrap_or(0),
        });
        let has_value = event.is_some_and(|event| encoder.value(&event, &mut value).unwrap());
        way.check(golden, way.value, has_value.then_some(&value[..]), place);
        if way.hex && has_key {
            assert_eq!(
                schemas.key_avro(&way.config).unwrap(),
                golden.raw["keyAvroSchema"],
                "{place}"
            );
        }
        if way.hex && has_value {
            let schema = schemas.value_avro(&way.config).unwrap();
            assert_eq!(schema, golden.raw["valueAvroSchema"], "{place}");
        }
        check_headers(change, event.as_ref(), golden, way, &encoder, place);
    }
}

fn check_headers(
    change: &Change<'_>,
    event: Option<&Event<'_>>,
    golden: &Golden,
    way: &Way,
    encoder: &RowEncoder,
    place: &str,
) {
    let mut named = golden.json["headers"].as_array().unwrap().iter();
    let run_id = named
        .rfind(|header| header["key"] == "__debezium.context.runId")
        .unwrap();
    let mut headers = Vec::new();
    if let Some((name, row)) = change.header {
        let mut value = Vec::new();
        assert!(encoder.key_header(row, &mut value).unwrap());
        headers.push((name.to_owned(), value));
    }
    headers.extend(envelope::context_headers(
        &way.config,
        run_id["value"].as_str().unwrap(),
    ));
    if let Some(event) = event {
        for (index, name) in encoder.event_headers().enumerate() {
            let mut value = Vec::new();
            assert!(encoder.event_header(index, event, &mut value));
            headers.push((name.to_owned(), value));
        }
    }
    let captured: Vec<(String, Vec<u8>)> = golden.json["headers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|header| {
            let hex = header["hex"].as_str().unwrap();
            let pairs = (0..hex.len()).step_by(2);
            let bytes = pairs.map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
            (text(&header["key"]), bytes.collect())
        })
        .collect();
    assert_eq!(headers, captured, "{place}");
}

fn check_notice(
    notice: &Notice,
    (key, value): &(engine::encode::schema::Value, engine::encode::schema::Value),
    golden: &Golden,
    way: &Way,
    place: &str,
) {
    assert_eq!(golden.json["topic"], notice.topic, "{place}");
    for (schema, converter, value, member) in [
        (&notice.key, &way.config.key_converter, key, way.key),
        (&notice.value, &way.config.value_converter, value, way.value),
    ] {
        let id = if way.hex { golden.id(member) } else { 0 };
        let mut out = Vec::new();
        Writer::compile(schema, converter, id)
            .unwrap()
            .put(value, &mut out);
        way.check(golden, member, Some(&out), place);
    }
    if way.hex {
        assert_eq!(
            notice.key.avro(engine::config::AvroText::default()),
            golden.raw["keyAvroSchema"]
        );
        assert_eq!(
            notice.value.avro(engine::config::AvroText::default()),
            golden.raw["valueAvroSchema"]
        );
    }
}

fn check_message(event: &Json, golden: &Golden, ways: &[Way; 3], place: &str) {
    let hex = event["content"].as_str().unwrap();
    let pairs = (0..hex.len()).step_by(2);
    let content: Vec<u8> = pairs
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect();
    let now_ms = golden.json["valuePlain"]["ts_ms"].as_i64().unwrap();
    for way in ways {
        let prefix = event["prefix"].as_str().unwrap();
        let record = envelope::message(
            &way.config,
            "golden",
            &golden.source(),
            now_ms,
            prefix,
            &content,
        );
        check_notice(&Notice::message(&way.config), &record, golden, way, place);
    }
}

fn check_transaction(golden: &Golden, ways: &[Way; 3]) {
    let value = &golden.json["valuePlain"];
    let (xid, lsn) = value["id"].as_str().unwrap().split_once(':').unwrap();
    let (xid, lsn) = (xid.parse().unwrap(), lsn.parse().unwrap());
    let ts_ms = value["ts_ms"].as_i64().unwrap();
    // Messages are listed under the name of a Java object.
    let collections = value["data_collections"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let collections: Vec<(String, i64)> = collections
        .iter()
        .map(|one| {
            (
                text(&one["data_collection"]),
                one["event_count"].as_i64().unwrap(),
            )
        })
        .collect();
    for way in ways {
        let record = if value["status"] == "BEGIN" {
            envelope::transaction_begin(xid, lsn, ts_ms)
        } else {
            envelope::transaction_end(xid, lsn, ts_ms, &collections)
        };
        check_notice(
            &Notice::transaction(&way.config),
            &record,
            golden,
            way,
            "transaction",
        );
    }
}
