//! The initial copy on real servers: what the binary form of every type becomes, and a copy that
//! is killed and goes on while rows change.

use engine::capture::catalog::{self, Types};
use engine::capture::client::{Client, Purpose};
use engine::capture::relations::Table;
use engine::capture::row::RowIndex;
use engine::config::{self, Config, Filter, Operation};
use engine::encode::envelope::{SnapshotMark, SourceBlock};
use engine::encode::plan::{Event, RowEncoder, SchemaIds, Schemas};
use pgwire::copy;
use tests::Properties;
use tests::postgres::{Database, Postgres, SUPERUSER, Version};

/// Types, and what their values are made of: SQL over `i`, a number from 0.
const TYPES: &[(&str, &str)] = &[
    ("bool", "i % 2 = 0"),
    ("int2", "(i * 331 % 65536 - 32768)::int2"),
    ("int4", "(r * 4294967295 - 2147483648)::int4"),
    ("int8", "((r - 0.5) * 1.8e19)::int8"),
    ("oid", "(r * 4294967295)::int8::oid"),
    (
        "float4",
        "CASE i % 7 WHEN 0 THEN 'NaN' WHEN 1 THEN '-Infinity' WHEN 2 THEN '-0' \
         ELSE ((r - 0.5) * 10 ^ (i % 60 - 30))::text END::float4",
    ),
    (
        "float8",
        "CASE i % 7 WHEN 0 THEN 'NaN' WHEN 1 THEN 'Infinity' WHEN 2 THEN '-0' \
         ELSE ((r - 0.5) * 10 ^ (i % 600 - 300))::text END::float8",
    ),
    (
        "numeric(10,2)",
        "CASE i % 9 WHEN 0 THEN 'NaN' ELSE ((r - 0.5) * 10 ^ (i % 8))::text END::numeric",
    ),
    ("numeric(40,10)", "((r - 0.5) * 10 ^ (i % 28))::numeric"),
    (
        "numeric",
        "CASE i % 9 WHEN 0 THEN 'NaN' WHEN 1 THEN '1' || repeat('0', i) \
         WHEN 2 THEN '0.' || repeat('0', i % 40) || i WHEN 3 THEN '-' || i || '.5000' \
         ELSE r::numeric::text || i END::numeric",
    ),
    (
        "text",
        "CASE WHEN i = 3 THEN '' ELSE 'é日😀\"\\' || chr(9) || chr(10) || i END",
    ),
    ("varchar(9)", "'v' || i"),
    ("char(9)", "'b' || i"),
    (
        "\"char\"",
        "CASE i % 3 WHEN 0 THEN '' ELSE chr(33 + i % 90) END::\"char\"",
    ),
    ("name", "('n' || i)::name"),
    ("uuid", "md5(i::text)::uuid"),
    ("json", "'{\"a\" : ' || i || '}'"),
    ("jsonb", "jsonb_build_object('a', i, 'b', '\"')"),
    (
        "xml",
        "'<?xml version=\"1.0\" encoding=\"UTF-8\"?><a>é' || i || '</a>'",
    ),
    (
        "tsvector",
        "CASE i % 3 WHEN 0 THEN '' WHEN 1 THEN 'it''''s:1A,22B \\\\x:3C,4 a' \
      ELSE 'w' || i || ':' || 1 + i END",
    ),
    (
        "inet",
        "CASE i % 9 WHEN 0 THEN '::' WHEN 1 THEN '::1' WHEN 2 THEN '::ffff:1.2.3.4' \
         WHEN 3 THEN '::1.2.3.4' WHEN 4 THEN '1:0:0:2::' \
         WHEN 5 THEN 'fe80::' || to_hex(i) || '/64' \
         WHEN 6 THEN '1:2:3:4:5:6:7:' || to_hex(i) WHEN 7 THEN '10.0.' || i % 256 || '.1/8' \
         ELSE '1:0:2:0:0:3:0:0' END",
    ),
    (
        "cidr",
        "CASE i % 3 WHEN 0 THEN '10.0.0.0/8' WHEN 1 THEN '192.168.1.1' ELSE '2001:db8::/32' END",
    ),
    (
        "macaddr",
        "'08:00:2b:01:02:' || lpad(to_hex(i % 256), 2, '0')",
    ),
    (
        "macaddr8",
        "'08:00:2b:01:02:03:04:' || lpad(to_hex(i % 256), 2, '0')",
    ),
    (
        "int4range",
        "CASE i % 4 WHEN 0 THEN 'empty' WHEN 1 THEN '(,)' ELSE '[' || -i || ',' || i || ')' END",
    ),
    ("int8range", "'(,' || i || '0000000000]'"),
    (
        "numrange",
        "CASE i % 3 WHEN 0 THEN '[1.50,NaN]' ELSE '(0.0001,' || i || '.10]' END",
    ),
    (
        "tsrange",
        "CASE i % 3 WHEN 0 THEN '[2020-01-02 03:04:05.6,infinity]' \
         WHEN 1 THEN '(0044-03-15 12:00:00 BC,20020-01-01 00:00:00)' ELSE '[,2020-02-29]' END",
    ),
    (
        "tstzrange",
        "'[2020-01-02 03:04:05.000001+02,2021-01-01 00:00:00+00)'",
    ),
    (
        "daterange",
        "CASE i % 2 WHEN 0 THEN '[0044-03-15 BC,2020-02-29)' ELSE '[-infinity,2020-01-01]' END",
    ),
    ("bit(1)", "(i % 2)::bit(1)"),
    ("bit(12)", "(i * 7 % 4096)::bit(12)"),
    ("bit(300)", "repeat('1000001', 43)::varbit::bit(300)"),
    ("varbit", "repeat('01', i)::varbit"),
    (
        "date",
        "CASE i % 9 WHEN 0 THEN 'infinity' WHEN 1 THEN '-infinity' WHEN 2 THEN '0044-03-15 BC' \
      WHEN 3 THEN '20020-02-29' ELSE (date '1600-01-01' + i * 1999)::text END",
    ),
    (
        "time",
        "CASE WHEN i = 5 THEN '24:00:00' ELSE (time '00:00' + r * interval '1 day')::text END",
    ),
    ("time(3)", "(time '00:00' + r * interval '1 day')::time(3)"),
    (
        "timetz",
        "CASE WHEN i = 5 THEN '24:00:00+14' ELSE (time '00:00' + r * interval '1 day')::text \
      || CASE i % 3 WHEN 0 THEN '+02' WHEN 1 THEN '-05:30' ELSE '-15:59:59' END END",
    ),
    (
        "timestamp",
        "CASE i % 9 WHEN 0 THEN 'infinity' WHEN 1 THEN '-infinity' \
         WHEN 2 THEN '0044-03-15 12:00:00.5 BC' \
         WHEN 3 THEN '20020-02-29 01:02:03' \
         ELSE (timestamp '1600-01-01' + r * interval '1000 years')::text END",
    ),
    (
        "timestamp(3)",
        "timestamp '1969-12-31 23:59:59.999' + i * interval '1.001 ms'",
    ),
    (
        "timestamptz",
        "CASE i % 9 WHEN 0 THEN 'infinity' WHEN 1 THEN '-infinity' \
         WHEN 2 THEN '0044-03-15 12:00:00+00 BC' \
         WHEN 3 THEN '20020-02-29 01:02:03+01' \
         ELSE (timestamptz '1600-01-01 UTC' + r * interval '1000 years')::text END",
    ),
    (
        "timestamptz(2)",
        "timestamptz '1969-12-31 23:59:59.99+00' + i * interval '1 s'",
    ),
    (
        "interval",
        "(i % 5 - 2) * interval '1 month' + (i % 7 - 3) * interval '1 day' \
         + (r - 0.5) * interval '100 hours' + (i % 3 - 1) * interval '3 years'",
    ),
    ("bytea", "decode(repeat(md5(i::text), i % 5), 'hex')"),
    ("point", "point((r - 0.5) * i, i)"),
    ("money", "(i * 1.25)::numeric::money"),
    ("circle", "circle(point(i, r), i)"),
    (
        "int4[]",
        "CASE i % 4 WHEN 0 THEN '{}' WHEN 1 THEN '{1,NULL,3}' WHEN 2 THEN '{{1,2},{3,4}}' \
      ELSE '[5:6]={7,8}' END",
    ),
    (
        "text[]",
        "CASE i % 3 WHEN 0 THEN '{a,NULL,\"NULL\",\"\",\"q\\\"x\\\\\"}' \
         ELSE ARRAY['x', i::text]::text END",
    ),
    ("numeric(6,2)[]", "'{1.50,NaN,' || i || '}'"),
    ("timestamptz[]", "'{2020-01-02 03:04:05+02,infinity}'"),
    ("time[]", "'{01:02:03.456789}'"),
    ("uuid[]", "ARRAY[md5(i::text)::uuid]"),
    ("jsonb[]", "ARRAY[jsonb_build_object('a', i)]"),
    ("bytea[]", "ARRAY[decode(md5(i::text), 'hex')]"),
    ("inet[]", "'{10.0.0.1,::1}'"),
    ("oid[]", "'{4000000000}'"),
    ("mood", "CASE i % 2 WHEN 0 THEN 'sad' ELSE 'it''s ok' END"),
    ("mood[]", "'{sad,\"it''s ok\"}'"),
    ("amount", "i * 1.5"),
];

const MODES: &[&str] = &[
    "",
    "decimal.handling.mode=double\ntime.precision.mode=connect\nbinary.handling.mode=base64",
    "decimal.handling.mode=string\ntime.precision.mode=isostring\nbinary.handling.mode=hex\n\
     interval.handling.mode=string\nhstore.handling.mode=map",
    "time.precision.mode=nanoseconds\nbinary.handling.mode=base64-url-safe",
    "time.precision.mode=microseconds\nvalue.converter.decimal.format=NUMERIC\n\
     penstock.compat=debezium",
    "column.truncate.to.3.chars=public.all_types.c.*\n\
     column.mask.hash.SHA-256.with.salt.x=public.all_types.c1[0-9]_.*",
];

fn load(database: &Database<'_>, mode: &str, converter: &str) -> Config {
    let connector = Properties::default()
        .with("name", "a")
        .with(
            "connector.class",
            "io.debezium.connector.postgresql.PostgresConnector",
        )
        .with("topic.prefix", "srv")
        .with("database.hostname", "127.0.0.1")
        .with("database.port", database.server.port())
        .with("database.user", SUPERUSER.0)
        .with("database.password", SUPERUSER.1)
        .with("database.dbname", &database.name)
        .with("plugin.name", "pgoutput")
        .with("include.unknown.datatypes", "true")
        .with("key.converter", converter)
        .with("value.converter", converter)
        .with("key.converter.schema.registry.url", "http://r")
        .with("value.converter.schema.registry.url", "http://r");
    let text = format!("{}{mode}\n", connector.text());
    let worker = config::Properties::parse(b"bootstrap.servers=b:9092\n").unwrap();
    let connector = config::Properties::parse(text.as_bytes()).unwrap();
    Config::load(&worker, &connector).unwrap().0
}

/// The table as the pipe's catalogue has it.
fn captured(config: &Config) -> Table {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut client = Client::connect(&config.source, Purpose::Query, "test")
            .await
            .unwrap();
        let mut types = Types::default();
        let found = catalog::captured_tables(&mut client, &mut types, &config.capture).await;
        found
            .unwrap()
            .into_iter()
            .map(|found| found.table)
            .find(|table| table.name == "all_types")
            .expect("the table is captured")
    })
}

/// A row's record.
fn record(
    encoder: &RowEncoder,
    fill: impl FnOnce(&mut RowIndex) -> Vec<u8>,
) -> Result<Vec<u8>, String> {
    let mut index = RowIndex::default();
    let bytes = fill(&mut index);
    let event = Event {
        op: Operation::Read,
        before: None,
        after: Some(index.row(&bytes)),
        source: SourceBlock {
            ts_us: 1,
            snapshot: SnapshotMark::True,
            last_commit_lsn: None,
            lsn: Some(1),
            tx_id: None,
            xmin: None,
            origin: None,
            origin_lsn: None,
            transaction: None,
        },
        now_ns: 1,
    };
    let mut out = Vec::new();
    let done = encoder.value(&event, &mut out);
    done.map_err(|error| error.expected.to_owned())?;
    Ok(out)
}

/// Every type's values, copied as text and in binary by a real server, become the same records in
/// every mode, in Avro and in JSON.
#[test]
fn text_and_binary_are_the_same_records() {
    let server = Postgres::shared(Version::Debian);
    let database = server.database("twins");
    let mut types: Vec<(String, String)> = TYPES
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    database.query(
        "CREATE TYPE mood AS ENUM ('sad', 'it''s ok'); CREATE DOMAIN amount AS numeric(9,3)",
    );
    for (extension, value) in [
        ("hstore", "'\"a\"=>\"' || i || '\", \"b c\"=>NULL'"),
        ("ltree", "'top.a' || i"),
        ("citext", "'Ab' || i"),
    ] {
        let there = database.query(&format!(
            "SELECT 1 FROM pg_available_extensions WHERE name = '{extension}'"
        ));
        if there == "1" {
            database.query(&format!("CREATE EXTENSION {extension}"));
            types.push((extension.to_owned(), value.to_owned()));
        }
    }
    let columns: Vec<String> = types
        .iter()
        .enumerate()
        .map(|(at, (name, _))| format!("c{at}_ {name}"))
        .collect();
    let values: Vec<String> = types
        .iter()
        .map(|(name, value)| {
            format!("CASE WHEN i % 11 = 10 THEN NULL ELSE ({value})::text END::{name}")
        })
        .collect();
    database.query(&format!(
        "CREATE TABLE all_types ({}); SELECT setseed(0.5); \
         INSERT INTO all_types SELECT {} \
         FROM (SELECT i, random() AS r FROM generate_series(0, 98) i) s",
        columns.join(", "),
        values.join(", ")
    ));
    let directory = server.socket();
    let (text_file, binary_file) = (directory.join("twins.text"), directory.join("twins.binary"));
    let mut compared = 0;
    let configs: Vec<Config> = MODES
        .iter()
        .flat_map(|mode| {
            [
                "io.confluent.connect.avro.AvroConverter",
                "org.apache.kafka.connect.json.JsonConverter",
            ]
            .map(|converter| load(&database, mode, converter))
        })
        .collect();
    let table = captured(&configs[0]);
    assert_eq!(table.columns.len(), types.len());
    for (at, (name, _)) in types.iter().enumerate() {
        let mut only = table.clone();
        only.columns = vec![table.columns[at].clone()];
        only.key.clear();
        let compile = |config: &Config| {
            let schemas = Schemas::derive(&only, &Filter::All, &config.encode).unwrap();
            let ids = SchemaIds {
                key: None,
                value: 1,
            };
            RowEncoder::compile(&only, &schemas, &config.encode, "d", ids).unwrap()
        };
        let encoders: Vec<RowEncoder> = configs.iter().map(compile).collect();
        let reads = encoders.iter().all(RowEncoder::reads_binary);
        assert_eq!(
            reads,
            !["money", "circle"].contains(&name.as_str()),
            "{name}"
        );
        if !reads {
            continue;
        }
        database.query(&format!(
            "SET timezone = 'UTC'; SET extra_float_digits = 3; \
             COPY (SELECT c{at}_ FROM all_types) TO '{}'; \
             COPY (SELECT c{at}_ FROM all_types) TO '{}' (FORMAT binary)",
            text_file.display(),
            binary_file.display()
        ));
        let (text, binary) = (
            std::fs::read(&text_file).unwrap(),
            std::fs::read(&binary_file).unwrap(),
        );
        let mut rest = &binary[copy::split_binary_header(&binary).unwrap().unwrap()..];
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            let (row, taken) = copy::split_binary_row(rest).unwrap().unwrap();
            rest = &rest[taken..];
            let copy::BinaryRow::Row(fields) = row else {
                panic!("fewer rows in binary")
            };
            let value = fields.values().next().unwrap();
            let printed = String::from_utf8_lossy(line);
            for (mode, encoder) in encoders.iter().enumerate() {
                let from_text = record(encoder, |index| {
                    let mut line = line.to_vec();
                    copy::unescape_row(&mut line, |range| match range {
                        Some(range) => index.push_text(range.start, range.end),
                        None => index.push_null(),
                    });
                    line
                });
                let from_binary = record(encoder, |index| {
                    match value {
                        Some(value) => index.push_binary(0, u32::try_from(value.len()).unwrap()),
                        None => index.push_null(),
                    }
                    value.unwrap_or_default().to_vec()
                });
                if from_text.is_err() {
                    assert!(from_binary.is_err(), "{name} {printed}");
                    continue;
                }
                compared += 1;
                assert!(
                    from_text == from_binary,
                    "{name} in mode {}: {printed}\n{}\n{}",
                    mode / 2,
                    from_text
                        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                        .unwrap_or_default(),
                    from_binary.map_or_else(
                        |error| error,
                        |bytes| String::from_utf8_lossy(&bytes).into_owned()
                    ),
                );
            }
        }
        assert!(
            matches!(
                copy::split_binary_row(rest),
                Ok(Some((copy::BinaryRow::End, 2)))
            ),
            "{name}"
        );
    }
    assert!(compared > types.len() * 500, "{compared}");
}
