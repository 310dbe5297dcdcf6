//! Rows from a server that sends anything at all.

use std::sync::{Arc, OnceLock};

use engine::capture::relations::{Column, PgType, ReplicaIdentity, Table, TypeKind};
use engine::capture::row::RowIndex;
use engine::config::{Config, Filter, Operation, Properties};
use engine::encode::envelope::{SnapshotMark, SourceBlock};
use engine::encode::plan::{Event, RowEncoder, SchemaIds, Schemas};

/// A type of each step, by name and typmod.
const TYPES: &[(&str, i32)] = &[
    ("bool", -1),
    ("int8", -1),
    ("float4", -1),
    ("float8", -1),
    ("numeric", (10 << 16 | 2) + 4),
    ("numeric", -1),
    ("money", -1),
    ("text", -1),
    ("uuid", -1),
    ("bytea", -1),
    ("bit", 1),
    ("varbit", -1),
    ("date", -1),
    ("time", -1),
    ("timetz", -1),
    ("timestamp", -1),
    ("timestamptz", 3),
    ("interval", -1),
    ("hstore", -1),
    ("point", -1),
    ("geometry", -1),
    ("vector", -1),
    ("halfvec", -1),
    ("sparsevec", -1),
    ("circle", -1),
    ("_int4", -1),
    ("_text", -1),
    ("_bytea", -1),
    ("_timestamptz", -1),
];

const MODES: [&str; 3] = [
    "",
    "decimal.handling.mode=string\ntime.precision.mode=isostring\nbinary.handling.mode=hex\n\
     hstore.handling.mode=map\ninterval.handling.mode=string",
    "decimal.handling.mode=double\ntime.precision.mode=nanoseconds\n\
     binary.handling.mode=base64-url-safe\nvalue.converter.decimal.format=NUMERIC",
];

struct Encoders {
    json: RowEncoder,
    avro: RowEncoder,
    schema: avro::Schema,
}

/// The first byte chooses modes, each two bytes that follow how a cell comes and how many of the
/// bytes it is. Claims: a row that is refused leaves the buffer as it was; what is written as JSON
/// is JSON; what is written as Avro is one datum of the schema, to its last byte; and both are
/// refused alike.
pub fn rows(data: &[u8]) {
    static ENCODERS: OnceLock<Vec<Encoders>> = OnceLock::new();
    let encoders = ENCODERS.get_or_init(|| MODES.iter().map(|mode| encoders(mode)).collect());
    let Some((&mode, mut rest)) = data.split_first() else {
        return;
    };
    let encoders = &encoders[usize::from(mode) % encoders.len()];
    let (mut bytes, mut index) = (Vec::new(), RowIndex::default());
    for _ in TYPES {
        let Some((&[kind, length], tail)) = rest.split_first_chunk::<2>() else {
            break;
        };
        let (cell, tail) = tail.split_at(usize::from(length).min(tail.len()));
        rest = tail;
        let start = u32::try_from(bytes.len()).expect("a small row");
        bytes.extend_from_slice(cell);
        let end = u32::try_from(bytes.len()).expect("a small row");
        match kind % 4 {
            0 => index.push_null(),
            1 => index.push_unchanged(),
            2 => index.push_binary(start, end),
            _ => index.push_text(start, end),
        }
    }
    let row = index.row(&bytes);
    let source = SourceBlock {
        ts_us: 1,
        snapshot: SnapshotMark::False,
        last_commit_lsn: None,
        lsn: Some(2),
        tx_id: None,
        xmin: None,
        origin: None,
        origin_lsn: None,
        transaction: None,
    };
    let event = Event {
        op: Operation::Update,
        before: None,
        after: Some(row),
        source,
        now_ns: 3,
    };
    let (mut json, mut datum) = (b"kept".to_vec(), b"kept".to_vec());
    let json_done = encoders.json.value(&event, &mut json);
    let avro_done = encoders.avro.value(&event, &mut datum);
    assert_eq!(json_done, avro_done);
    match json_done {
        Ok(written) => {
            assert!(written);
            if let Ok(text) = str::from_utf8(&json[4..]) {
                let parsed: serde_json::Value = serde_json::from_str(text).expect("JSON");
                assert_eq!(parsed["op"], "u");
                // Strings of no UTF-8 are no Avro either.
                avro::Datum::parse(&encoders.schema, &datum[9..]).expect("a datum");
            }
        }
        Err(error) => {
            assert_eq!((&json[..], &datum[..]), (&b"kept"[..], &b"kept"[..]));
            assert!(error.begins.chars().count() <= 40, "{error}");
        }
    }
}

fn encoders(mode: &str) -> Encoders {
    let table = table();
    let compile = |converter: &str| {
        let connector = format!(
            "name=a\nconnector.class=io.debezium.connector.postgresql.PostgresConnector\n\
             topic.prefix=srv\ndatabase.hostname=h\ndatabase.user=u\ndatabase.dbname=d\n\
             plugin.name=pgoutput\ninclude.unknown.datatypes=true\n\
             event.converting.failure.handling.mode=skip\n{converter}\n{mode}\n"
        );
        let worker = Properties::parse(b"bootstrap.servers=b:9092\n").expect("properties");
        let connector = Properties::parse(connector.as_bytes()).expect("properties");
        let config = Config::load(&worker, &connector)
            .expect("a configuration")
            .0
            .encode;
        let schemas = Schemas::derive(&table, &Filter::All, &config).expect("schemas");
        let ids = SchemaIds {
            key: Some(1),
            value: 2,
        };
        let encoder = RowEncoder::compile(&table, &schemas, &config, "d", ids).expect("a plan");
        (
            encoder,
            schemas.value.avro(engine::config::AvroText::default()),
        )
    };
    let (json, _) = compile(
        "key.converter=org.apache.kafka.connect.json.JsonConverter\n\
         value.converter=org.apache.kafka.connect.json.JsonConverter\n\
         value.converter.schemas.enable=false",
    );
    let (avro, schema) = compile(
        "key.converter=io.confluent.connect.avro.AvroConverter\n\
         key.converter.schema.registry.url=http://r\n\
         value.converter=io.confluent.connect.avro.AvroConverter\n\
         value.converter.schema.registry.url=http://r",
    );
    Encoders {
        json,
        avro,
        schema: schema.parse().expect("an Avro schema"),
    }
}

fn table() -> Table {
    let base = |name: &str| PgType {
        oid: 1,
        schema: "pg_catalog".to_owned(),
        name: name.to_owned(),
        kind: TypeKind::Base,
    };
    let columns = TYPES.iter().enumerate().map(|(at, (name, typmod))| {
        let kind = match name.strip_prefix('_') {
            Some(element) => TypeKind::Array {
                element: Arc::new(base(element)),
            },
            None => TypeKind::Base,
        };
        Column {
            name: format!("c{at}"),
            pg_type: Arc::new(PgType { kind, ..base(name) }),
            typmod: *typmod,
            not_null: at % 3 == 0,
            default: None,
            identity: at == 0,
        }
    });
    Table {
        oid: 1,
        schema: "s".to_owned(),
        name: "t".to_owned(),
        columns: columns.collect(),
        key: vec![0],
        replica_identity: ReplicaIdentity::Default,
    }
}
