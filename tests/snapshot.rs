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
        let found = catalog::captured_tables(&mut client, &config.capture).await;
        let found = found.unwrap();
        let found = found.iter().find(|table| table.name == "all_types");
        let oid = found.expect("the table is captured").oid;
        let mut tables = catalog::tables(&mut client, &mut types, &[oid])
            .await
            .unwrap();
        tables.pop().expect("it is there")
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
        // Elements that take the way of JDBC's are read from text, and so is what is cut.
        let reads = |encoders: &[RowEncoder]| {
            let binary = encoders.iter().filter(|encoder| encoder.reads_binary());
            binary.count()
        };
        let uncut = &encoders[..encoders.len() - 2];
        match name.as_str() {
            "money" | "circle" => assert_eq!(reads(&encoders), 0, "{name}"),
            array if array.ends_with("[]") => {}
            _ => assert_eq!(reads(uncut), uncut.len(), "{name}"),
        }
        if reads(&encoders) == 0 {
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
                if !encoder.reads_binary() {
                    continue;
                }
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

mod resumed {
    //! Killed while it copies, and while what happened meanwhile is caught up with, again and
    //! again, under writers: what a read_committed consumer has is, for every key, the end of that
    //! key's history as triggers wrote it down, nothing twice, nothing left out.

    use std::collections::BTreeMap;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, SystemTime};

    use serde_json::Value;
    use tests::judge::{self, Format, Record};
    use tests::kafka::{self, Kafka};
    use tests::penstock::Penstock;
    use tests::postgres::{Database, Postgres, Stop, Version};
    use tests::{Properties, eventually};

    const SOON: Duration = Duration::from_secs(60);
    /// Of each table at first.
    const ROWS: usize = 2500;
    /// What the server says to one connection, bytes a second: a copy of a few thousand rows takes
    /// some seconds, whatever the machine.
    const PACE: u64 = 150_000;
    /// By an integer, by text, without a key, partitioned, and with values that are not sent again.
    const TABLES: [&str; 5] = ["parted", "by_int", "by_text", "bare", "wide"];

    const SCHEMA: &str = "
        CREATE SEQUENCE versions; CREATE SEQUENCE fresh START 100000;
        CREATE TABLE audit (at serial, tab text, id text, op text, version int8);
        CREATE FUNCTION write_down() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          IF TG_OP = 'DELETE' OR TG_OP = 'UPDATE' AND OLD.id <> NEW.id THEN
            INSERT INTO audit (tab, id, op, version) VALUES (TG_ARGV[0], OLD.id, 'd', NULL);
          END IF;
          IF TG_OP <> 'DELETE' THEN
            INSERT INTO audit (tab, id, op, version) VALUES (TG_ARGV[0], NEW.id,
              CASE WHEN TG_OP = 'INSERT' OR OLD.id <> NEW.id THEN 'c' ELSE 'u' END, NEW.version);
          END IF;
          RETURN NULL;
        END $$;
        CREATE TABLE by_int (id int PRIMARY KEY, version int8, pad text);
        CREATE TABLE by_text (id text PRIMARY KEY, version int8, pad text);
        CREATE TABLE bare (id int, version int8, pad text);
        ALTER TABLE bare REPLICA IDENTITY FULL;
        CREATE TABLE parted (id int PRIMARY KEY, version int8, pad text) PARTITION BY HASH (id);
        CREATE TABLE wide (id int PRIMARY KEY, version int8, pad text);
        ALTER TABLE wide ALTER pad SET STORAGE EXTERNAL;
        CREATE TABLE parted_a PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE parted_b PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 1);";

    /// A server's port that says things slowly, so many bytes a second to each connection.
    fn slowly(port: u16, pace: u64) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else {
                    continue;
                };
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || pass(from, to, u64::MAX));
                std::thread::spawn(move || pass(server, client, pace));
            }
        });
        own
    }

    fn pass(mut from: TcpStream, mut to: TcpStream, pace: u64) {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_micros(length as u64 * 1_000_000 / pace));
        }
        let _ = from.shutdown(std::net::Shutdown::Both);
        let _ = to.shutdown(std::net::Shutdown::Both);
    }

    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % sides
        }
    }

    fn files(
        database: &Database<'_>,
        kafka: &Kafka,
        port: u16,
        tables: &[&str],
    ) -> (Properties, Properties) {
        let worker = tests::files::worker(&kafka.bootstrap())
            .with("offset.storage.topic", format!("offsets-{}", database.name))
            .with("offset.flush.interval.ms", 300);
        let tables: Vec<String> = tables
            .iter()
            .map(|table| format!("public.{table}"))
            .collect();
        let connector = tests::files::bare_connector(database, &tables.join(","))
            .with("database.port", port)
            .with("publish.via.partition.root", "true")
            .with("slot.max.retries", 20)
            .with("slot.retry.delay.ms", 200)
            .with("retriable.restart.connector.wait.ms", 300);
        (worker, connector)
    }

    /// Changes of all kinds, a few to a transaction: about a thousand to each table.
    fn writing(tables: &[&str]) -> String {
        let tables: Vec<String> = tables.iter().map(|table| format!("'{table}'")).collect();
        let tables = tables.join(",");
        format!(
            "DO $$ DECLARE t text; i int; k int; n int; BEGIN
               FOR i IN 1 .. 1200 LOOP
                 FOREACH t IN ARRAY ARRAY[{tables}] LOOP
                   k := 1 + (random() * {ROWS})::int; n := nextval('fresh');
                   CASE (random() * 9)::int
                     WHEN 0 THEN EXECUTE format('DELETE FROM %I WHERE id = %L', t, k);
                     WHEN 1 THEN EXECUTE format('INSERT INTO %I VALUES (%L, nextval(''versions''),
                       repeat(''n'', CASE WHEN %L = ''wide'' THEN 3000 ELSE 9 END))', t, n, t);
                     WHEN 2 THEN IF t <> 'wide' THEN EXECUTE format('UPDATE %I SET id = %L,
                       version = nextval(''versions'') WHERE id = %L', t, n, k); END IF;
                     ELSE EXECUTE format('UPDATE %I SET version = nextval(''versions'')
                       WHERE id = %L', t, k);
                   END CASE;
                 END LOOP;
                 IF i % 3 = 0 THEN COMMIT; PERFORM pg_sleep(0.004); END IF;
                 IF i % 200 = 0 THEN COMMIT; END IF;
               END LOOP; END $$"
        )
    }

    type Histories = BTreeMap<(String, String), Vec<(String, Option<i64>)>>;

    fn audited(database: &Database<'_>) -> Histories {
        let mut histories = Histories::new();
        for row in database
            .query("SELECT tab, id, op, version FROM audit ORDER BY at")
            .lines()
        {
            let fields: Vec<&str> = row.split('|').collect();
            let key = (fields[0].to_owned(), fields[1].to_owned());
            let event = (fields[2].to_owned(), fields[3].parse().ok());
            histories.entry(key).or_default().push(event);
        }
        histories
    }

    fn text(value: &Value) -> String {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    }

    /// What is wrong with what a consumer has seen. Rows of tables that `repeated` names may be
    /// told once more, as they stand.
    fn judge(
        histories: &Histories,
        records: &[Record],
        repeated: &[&str],
    ) -> Result<usize, String> {
        let mut seen = Histories::new();
        let mut pads: BTreeMap<(String, String), usize> = BTreeMap::new();
        let mut copied = 0;
        for record in records {
            let Some(op) = record.op() else { continue };
            let table = record.topic.rsplit('.').next().unwrap().to_owned();
            let events: &[(&str, &Value)] = match op {
                "d" => &[("d", record.before())],
                // Without a key, a changed id is a change like any other.
                "u" if table == "bare" && record.before()["id"] != record.after()["id"] => {
                    &[("d", record.before()), ("c", record.after())]
                }
                op => &[(op, record.after())],
            };
            for &(op, row) in events {
                let key = (table.clone(), text(&row["id"]));
                if op != "d" && row["pad"] != "__debezium_unavailable_value" {
                    pads.insert(key.clone(), row["pad"].as_str().map_or(0, str::len));
                }
                let version = if op == "d" {
                    None
                } else {
                    row["version"].as_i64()
                };
                let events = seen.entry(key).or_default();
                copied += usize::from(op == "r");
                let again = events
                    .last()
                    .is_some_and(|(_, last)| op == "r" && *last == version);
                if !(again && repeated.contains(&table.as_str())) {
                    events.push((op.to_owned(), version));
                }
            }
        }
        for (key, history) in histories {
            let events = seen.remove(key).unwrap_or_default();
            // Truncations tell of no rows.
            let truncated = history.last().is_some_and(|(op, _)| op == "x");
            let told = history.iter().filter(|(op, _)| op != "x").cloned();
            let history: Vec<_> = told.collect();
            let expected = history.get(history.len().saturating_sub(events.len())..);
            let same = expected
                .unwrap_or_default()
                .iter()
                .zip(&events)
                .enumerate()
                .all(|(at, (wanted, found))| {
                    let read = at == 0 && found.0 == "r" && wanted.0 != "d";
                    wanted.1 == found.1 && (read || wanted.0 == found.0)
                });
            let gone = truncated || history.last().is_some_and(|(op, _)| op == "d");
            let complete = if events.is_empty() {
                gone
            } else {
                events.len() <= history.len()
            };
            if !same || !complete {
                return Err(format!("{key:?}: {history:?} was seen as {events:?}"));
            }
            let pad = pads.get(key).copied();
            if key.0 == "wide" && !gone && pad != Some(3000) {
                return Err(format!("{key:?}: a value of {pad:?} bytes; {events:?}"));
            }
        }
        match seen.first_key_value() {
            Some((key, events)) => Err(format!("{key:?} never was, and was seen: {events:?}")),
            None => Ok(copied),
        }
    }

    /// Kills so many times while rows change, and compares in the end.
    fn killed(version: Version, kills: u32, threads: u32, restart: bool) {
        let kafka = Kafka::shared(kafka::NEWEST);
        // Before 13 a partitioned table cannot be published.
        let tables = &TABLES[usize::from(version == Version::Major(12))..];
        let server = Postgres::start(version);
        let database = server.database("resumed");
        database.query(SCHEMA);
        for &table in tables {
            let pad = if table == "wide" { 3000 } else { 40 };
            let rows = if table == "wide" { ROWS / 10 } else { ROWS };
            database.query(&format!(
                "CREATE TRIGGER written AFTER INSERT OR UPDATE OR DELETE ON {table}
                   FOR EACH ROW EXECUTE FUNCTION write_down('{table}');
                 INSERT INTO {table} SELECT g, nextval('versions'), repeat('x', {pad})
                   FROM generate_series(1, {rows}) g"
            ));
        }
        let seed = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        let mut dice = Dice(seed.subsec_nanos().into());
        eprintln!("seed {}", dice.0);
        let (worker, connector) = files(&database, kafka, slowly(server.port(), PACE), tables);
        let connector = connector.with("snapshot.max.threads", threads);
        let mut logs = String::new();
        let mut pipe = Penstock::standalone(&worker, &[&connector]);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| database.query(&writing(tables)));
            for _ in 0..kills {
                pipe.wait_for(&["replication slot created"], SOON);
                std::thread::sleep(Duration::from_millis(700 + dice.roll(2500)));
                pipe.kill();
                logs += &pipe.log();
                pipe = Penstock::standalone(&worker, &[&connector]);
            }
            writer.join().expect("the writer writes");
        });
        if restart {
            pipe.wait_for(&["replication slot created"], SOON);
            std::thread::sleep(Duration::from_millis(700));
            server.restart(Stop::Immediate);
            database.query(&writing(tables));
        }
        for table in tables {
            database.query(&format!(
                "INSERT INTO {table} VALUES (999999, 0, repeat('x', 3000))"
            ));
        }
        let histories = audited(&database);
        let topics = format!(r"{}\.public\..*", database.name);
        let copied = eventually("every key's history", SOON, || {
            pipe.assert_running();
            let records = judge::read(&kafka.bootstrap(), &topics, Format::Json, 0, SOON);
            let last = |record: &&Record| text(&record.after()["id"]) == "999999";
            if records.iter().filter(last).count() < tables.len() {
                return Err(pipe.log());
            }
            // A row of which the consumer lacks a value comes again.
            judge(&histories, &records, &["wide"])
                .map_err(|why| format!("{why}\n{logs}{}", pipe.log()))
        });
        logs += &pipe.log();
        assert!(copied > ROWS, "{copied} rows were copied:\n{logs}");
        // Or nothing was shown.
        assert!(logs.contains("the copy goes on"), "{logs}");
        assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
    }

    #[test]
    fn on_postgres_12() {
        killed(Version::Major(12), 3, 1, false);
    }

    #[test]
    fn on_postgres_15_over_three_connections() {
        killed(Version::Major(15), 4, 3, false);
    }

    #[test]
    fn on_postgres_18_which_is_restarted() {
        killed(Version::Major(18), 1, 1, true);
    }

    /// A copy that is killed once, in the middle of its first table.
    struct Interrupted<'s> {
        database: Database<'s>,
        worker: Properties,
        connector: Properties,
    }

    /// What a consumer of it may see twice.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Twice {
        Nothing,
        /// Rows of the table that was interrupted, as they stand.
        Rows,
        /// Anything, in order.
        Anything,
    }

    impl<'s> Interrupted<'s> {
        const TABLES: [&'static str; 2] = ["by_int", "by_text"];

        fn new(server: &'s Postgres, name: &str) -> Self {
            let database = server.database(name);
            database.query(SCHEMA);
            for table in Self::TABLES {
                database.query(&format!(
                    "CREATE TRIGGER written AFTER INSERT OR UPDATE OR DELETE ON {table}
                       FOR EACH ROW EXECUTE FUNCTION write_down('{table}');
                     INSERT INTO {table} SELECT g, nextval('versions'), repeat('x', 40)
                       FROM generate_series(1, {ROWS}) g"
                ));
            }
            let kafka = Kafka::shared(kafka::NEWEST);
            let (worker, connector) = files(&database, kafka, server.port(), &Self::TABLES);
            Self {
                database,
                worker,
                connector,
            }
        }

        /// Changes of rows that were copied, and of others.
        fn change(&self) {
            for table in Self::TABLES {
                self.database.query(&format!(
                    "UPDATE {table} SET version = nextval('versions') WHERE id::int % 7 = 0;
                     DELETE FROM {table} WHERE id::int % 11 = 0;
                     UPDATE {table} SET id = (id::int + 10000){}
                       WHERE id::int % 97 = 0 AND id::int < 10000;
                     INSERT INTO {table} VALUES (nextval('fresh'), nextval('versions'), 'new')",
                    if table == "by_text" { "::text" } else { "" }
                ));
            }
        }

        fn run(self, between: &[&str], twice: Twice) -> String {
            let Self {
                database,
                worker,
                connector,
            } = &self;
            let kafka = Kafka::shared(kafka::NEWEST);
            let slow = slowly(database.server.port(), 60_000);
            let slow = connector.clone().with("database.port", slow);
            let mut pipe = Penstock::standalone(worker, &[&slow]);
            pipe.wait_for(&["state: snapshot"], SOON);
            std::thread::sleep(Duration::from_millis(1800));
            self.change();
            pipe.kill();
            let mut log = pipe.log();
            assert!(!log.contains("is read"), "killed too late: {log}");
            self.change();
            for sql in between {
                database.query(sql);
            }
            self.change();
            let mut pipe = Penstock::standalone(worker, &[connector]);
            pipe.wait_for(&["state: streaming"], SOON);
            self.change();
            for table in Self::TABLES {
                database.query(&format!("INSERT INTO {table} VALUES (999999, 0, 'x')"));
            }
            let histories = audited(database);
            let topics = format!(r"{}\.public\..*", database.name);
            eventually("every key's history", SOON, || {
                pipe.assert_running();
                let records = judge::read(&kafka.bootstrap(), &topics, Format::Json, 0, SOON);
                let last = |record: &&Record| text(&record.after()["id"]) == "999999";
                if records.iter().filter(last).count() < Self::TABLES.len() {
                    return Err(pipe.log());
                }
                let judged = match twice {
                    Twice::Nothing => judge(&histories, &records, &[]).map(drop),
                    Twice::Rows => judge(&histories, &records, &["by_int"]).map(drop),
                    Twice::Anything => judge_repeating(&histories, &records),
                };
                judged.map_err(|why| format!("{why}\n{log}{}", pipe.log()))
            });
            assert!(pipe.log().contains("the copy goes on"), "{}", pipe.log());
            assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
            log += &pipe.log();
            log
        }
    }

    /// At least once: from the first event of a key that was seen, each later one follows in order,
    /// whatever comes again between them; the last is the history's.
    fn judge_repeating(histories: &Histories, records: &[Record]) -> Result<(), String> {
        let mut seen = Histories::new();
        for record in records {
            let Some(op) = record.op() else { continue };
            let table = record.topic.rsplit('.').next().unwrap().to_owned();
            let row = if op == "d" {
                record.before()
            } else {
                record.after()
            };
            let version = Some(&row["version"]).filter(|_| op != "d");
            let event = (op.to_owned(), version.and_then(Value::as_i64));
            seen.entry((table, text(&row["id"])))
                .or_default()
                .push(event);
        }
        for (key, history) in histories {
            let wrong = |events| Err(format!("{key:?}: {history:?} was seen as {events:?}"));
            let gone = history.last().is_some_and(|(op, _)| op == "d");
            let Some(events) = seen.remove(key) else {
                if gone {
                    continue;
                }
                return wrong(Vec::new());
            };
            let begun = history.iter().position(|event| event.1 == events[0].1);
            let mut rest = events.iter();
            let Some(begun) = begun else {
                return wrong(events);
            };
            let follows = history[begun..]
                .iter()
                .all(|wanted| rest.any(|found| found.1 == wanted.1));
            let last = events.last().map(|event| event.1);
            if !follows || last != history.last().map(|event| event.1) {
                return wrong(events);
            }
        }
        match seen.first_key_value() {
            Some((key, events)) => Err(format!("{key:?} never was, and was seen: {events:?}")),
            None => Ok(()),
        }
    }

    #[test]
    fn truncated_meanwhile() {
        let server = Postgres::shared(Version::Debian);
        let it = Interrupted::new(server, "truncated");
        let truncate = "INSERT INTO audit (tab, id, op) SELECT 'by_int', id, 'x' FROM by_int;
             TRUNCATE by_int;
             INSERT INTO by_int SELECT g, nextval('versions'), 'again'
               FROM generate_series(1, 500) g";
        it.run(&[truncate], Twice::Nothing);
    }

    #[test]
    fn rewritten_meanwhile() {
        let server = Postgres::shared(Version::Debian);
        let it = Interrupted::new(server, "vacuumed");
        let log = it.run(&["VACUUM FULL by_int"], Twice::Rows);
        assert!(log.contains("the table was rewritten"), "{log}");
        let it = Interrupted::new(server, "retyped");
        let alter = "ALTER TABLE by_int ALTER pad TYPE varchar(100)";
        let log = it.run(&[alter], Twice::Rows);
        assert!(log.contains("the table was rewritten"), "{log}");
    }

    #[test]
    fn altered_meanwhile() {
        let server = Postgres::shared(Version::Debian);
        let it = Interrupted::new(server, "altered");
        let alter = "ALTER TABLE by_int ADD note text DEFAULT 'n'; ALTER TABLE by_text DROP pad;
             ALTER TABLE by_text ADD pad text DEFAULT 'p'";
        it.run(&[alter], Twice::Nothing);
    }

    #[test]
    fn in_a_later_epoch() {
        let server = Postgres::start(Version::Debian);
        server.enter_epoch(1);
        let it = Interrupted::new(&server, "epoch");
        let log = it.run(&[], Twice::Rows);
        assert!(log.contains("transaction ids have come round"), "{log}");
    }

    #[test]
    fn by_a_statement_of_ones_own() {
        let server = Postgres::shared(Version::Debian);
        let mut it = Interrupted::new(server, "overridden");
        it.connector = it
            .connector
            .with("snapshot.select.statement.overrides", "public.by_int")
            .with(
                "snapshot.select.statement.overrides.public.by_int",
                "SELECT * FROM public.by_int ORDER BY id",
            );
        let log = it.run(&[], Twice::Rows);
        assert!(log.contains("it is copied by one statement"), "{log}");
    }

    #[test]
    fn at_least_once() {
        let server = Postgres::shared(Version::Debian);
        let mut it = Interrupted::new(server, "repeating");
        it.connector = it.connector.with("exactly.once.support", "disabled");
        it.worker = it.worker.with("exactly.once.source.support", "disabled");
        it.run(&[], Twice::Anything);
    }

    /// Two tables, too small to be cut, over two connections into one partition, more than there is
    /// room for: each gets its turn.
    #[test]
    fn connections_share_what_room_there_is() {
        const ROWS: usize = 3800;
        let kafka = Kafka::shared(kafka::NEWEST);
        let database = Postgres::shared(Version::Debian).database("shared_room");
        for table in ["a", "b"] {
            database.query(&format!(
                "CREATE TABLE {table} (id int PRIMARY KEY, pad text);
                 INSERT INTO {table} SELECT g, repeat(md5(g::text), 60)
                   FROM generate_series(1, {ROWS}) g"
            ));
        }
        let (worker, connector) = files(&database, kafka, database.server.port(), &["a", "b"]);
        let connector = connector
            .with("snapshot.max.threads", 2)
            .with("penstock.memory.max", "32MiB")
            .with("transforms", "one")
            .with(
                "transforms.one.type",
                "org.apache.kafka.connect.transforms.RegexRouter",
            )
            .with("transforms.one.regex", ".*")
            .with("transforms.one.replacement", "shared_room");
        let mut pipe = Penstock::standalone(&worker, &[&connector]);
        let records = judge::read(
            &kafka.bootstrap(),
            "shared_room",
            Format::Json,
            2 * ROWS,
            SOON,
        );
        let half = records.iter().take(ROWS);
        let of_a = half
            .filter(|record| record.source()["table"] == "a")
            .count();
        // First come, first served would leave one of them waiting until the other is done.
        assert!((ROWS / 10..ROWS * 9 / 10).contains(&of_a), "{of_a} of {ROWS}");
        assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
    }
}
