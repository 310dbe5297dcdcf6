//! `instructions [compare | record | list]`: how many instructions a row costs in each room,
//! counted by callgrind, against what is written in `docs/measurements/instructions.csv`.
//!
//! Instructions repeat where seconds do not: the same toolchain, the same profile and the same
//! bytes give the same count, on a busy machine too. What is left of the machine is which variant
//! of `memcpy` the C library chooses; `GLIBC_TUNABLES` takes that choice away. The processor's own
//! CRC-32C and AVX2, which two of our libraries look for, are in every machine that this runs on.
//!
//! A case warms up first; what it then does for so many rows is counted, and divided by them. With
//! `record` the file is written anew; without, a case that costs 3 % more than the file says fails,
//! and so does one that costs 3 % less: it is to be recorded, or the next one may lose it again.

#![allow(clippy::print_stdout, reason = "it is what a bench is for")]

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use engine::capture::relations::{Column, PgType, ReplicaIdentity, Table, TypeKind};
use engine::capture::stream::{ChangeKind, Decoder, Incoming, RowChange};
use engine::config::{Config, Filter, Operation, Properties};
use engine::encode::envelope::{SnapshotMark, SourceBlock};
use engine::encode::plan::{Event, RowEncoder, SchemaIds, Schemas};
use engine::produce::{Outgoing, Producer};
use kafkawire::batch::{AppendError, BatchBuilder, ProducerStamp, RecordWriter};
use kafkawire::compress::Compressor;
use kafkawire::connection::{self as kafka, Connection};
use kafkawire::frame::{self, RequestHeader};
use kafkawire::message::api_versions::{ApiVersion, ApiVersionsResponse};
use kafkawire::message::init_producer_id::InitProducerIdResponse;
use kafkawire::message::metadata::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafkawire::message::produce::{
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceData,
    TopicProduceResponse,
};
use kafkawire::message::{ApiKey, Message, Response};

/// What may change without a word, in percent.
const TOLERANCE: f64 = 3.0;
const BATCH_BYTES: usize = 1 << 20;
const RELATION: u32 = 16_500;
const AVRO: &str = "io.confluent.connect.avro.AvroConverter";
const JSON: &str = "org.apache.kafka.connect.json.JsonConverter";

/// A case: what it is called, its rows, and how it is set up. What setting up returns runs so many
/// rows each time it is called.
type Case = (&'static str, u64, fn() -> Box<dyn FnMut(u64)>);

const CASES: &[Case] = &[
    ("decode/insert text", 20_000, || {
        decode(&bank(Shape::Insert, TEXT))
    }),
    ("decode/insert binary", 20_000, || {
        decode(&bank(Shape::Insert, BINARY))
    }),
    ("decode/update full binary", 20_000, || {
        decode(&bank(Shape::Update, BINARY))
    }),
    ("encode avro/insert text", 20_000, || {
        encode(AVRO, false, &bank(Shape::Insert, TEXT))
    }),
    ("encode avro/insert binary", 20_000, || {
        encode(AVRO, false, &bank(Shape::Insert, BINARY))
    }),
    ("encode avro/update full binary", 20_000, || {
        encode(AVRO, false, &bank(Shape::Update, BINARY))
    }),
    ("encode json/insert text", 20_000, || {
        encode(JSON, false, &bank(Shape::Insert, TEXT))
    }),
    ("encode json/insert binary", 20_000, || {
        encode(JSON, false, &bank(Shape::Insert, BINARY))
    }),
    ("encode json schemas/insert binary", 5_000, || {
        encode(JSON, true, &bank(Shape::Insert, BINARY))
    }),
    ("rooms avro/insert binary", 20_000, || {
        rooms(AVRO, &bank(Shape::Insert, BINARY))
    }),
    ("rooms avro/update full binary", 20_000, || {
        rooms(AVRO, &bank(Shape::Update, BINARY))
    }),
    ("rooms avro/5 columns", 10_000, || rooms(AVRO, &wide(5))),
    ("rooms avro/50 columns", 2_000, || rooms(AVRO, &wide(50))),
    ("rooms avro/500 columns", 200, || rooms(AVRO, &wide(500))),
    ("rooms avro/100 B", 10_000, || rooms(AVRO, &long(100))),
    ("rooms avro/10 kB", 2_000, || rooms(AVRO, &long(10_000))),
    ("rooms avro/1 MB", 50, || rooms(AVRO, &long(1_000_000))),
    ("rooms json/10 kB", 2_000, || rooms(JSON, &long(10_000))),
    ("batch/record of 150 B", 20_000, batch),
    ("produce/1 partition", 20_000, || produce(1)),
    ("produce/100 partitions", 20_000, || produce(100)),
    ("produce/1000 partitions", 20_000, || produce(1000)),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["case", name] => {
            let Some((_, rows, prepare)) = CASES.iter().find(|(known, ..)| *known == name) else {
                println!("no case {name}");
                return ExitCode::FAILURE;
            };
            let mut case = prepare();
            case(*rows / 4);
            measured(&mut case, *rows);
            ExitCode::SUCCESS
        }
        ["list"] => {
            CASES.iter().for_each(|(name, ..)| println!("{name}"));
            ExitCode::SUCCESS
        }
        ["record"] => compare(true),
        [] | ["compare"] => compare(false),
        _ => {
            println!("instructions [compare | record | list | case NAME]");
            ExitCode::FAILURE
        }
    }
}

/// callgrind counts what happens inside of this function, and nothing else.
#[inline(never)]
fn measured(case: &mut dyn FnMut(u64), rows: u64) {
    case(rows);
    black_box(rows);
}

/// And what happens inside of this one, called by it, is left out: its name switches back.
#[inline(never)]
fn not_measured(work: impl FnOnce()) {
    work();
    black_box(());
}

/// Counts every case, and writes the file or compares with it.
fn compare(record: bool) -> ExitCode {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/measurements/instructions.csv");
    let known = known(&std::fs::read_to_string(&file).unwrap_or_default());
    let scratch = tempfile::tempdir().expect("a folder for callgrind");
    let mut text = String::from(
        "# Instructions a row, counted by callgrind; `make bench-instructions RECORD=1` writes \
         this.\ncase,instructions\n",
    );
    let (mut dearer, mut cheaper) = (0, 0);
    for (name, rows, _) in CASES {
        let count = counted(name, scratch.path().join("out")) / rows;
        let _ = writeln!(text, "{name},{count}");
        let (was, change) = match known.get(*name) {
            Some(&was) => (was.to_string(), percent(count, was)),
            None => ("new".to_owned(), 0.0),
        };
        let word = if !known.contains_key(*name) || change.abs() <= TOLERANCE {
            ""
        } else if change > 0.0 {
            dearer += 1;
            "  dearer"
        } else {
            cheaper += 1;
            "  cheaper"
        };
        println!("{name:36} {count:>9} {was:>9} {change:>+7.1} %{word}");
    }
    let missing = CASES.iter().any(|(name, ..)| !known.contains_key(*name));
    if record {
        std::fs::write(&file, text).expect("docs/measurements can be written");
        println!("recorded in {}", file.display());
        return ExitCode::SUCCESS;
    }
    if dearer + cheaper == 0 && !missing {
        return ExitCode::SUCCESS;
    }
    println!(
        "\n{dearer} cases cost more than {TOLERANCE} % more than {} says, {cheaper} less{}. \
         Where that is meant, record it with the change that made it:\n    \
         make bench-instructions RECORD=1",
        file.display(),
        if missing { ", and some are new" } else { "" }
    );
    ExitCode::FAILURE
}

/// What the file says, by case.
fn known(text: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let (name, count) = line.rsplit_once(',')?;
        Some((name.to_owned(), count.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
fn percent(now: u64, was: u64) -> f64 {
    (now as f64 / was as f64 - 1.0) * 100.0
}

/// Runs one case under callgrind; the instructions inside of [`measured`].
fn counted(name: &str, out: PathBuf) -> u64 {
    let run = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--collect-atstart=no",
            "--toggle-collect=*measured*",
        ])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe().expect("we run"))
        .args(["case", name])
        .env(
            "GLIBC_TUNABLES",
            "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX2,-ERMS,-FSRM",
        )
        .output()
        .expect("valgrind runs: tests/peers/install.sh valgrind");
    let told = std::fs::read_to_string(out).unwrap_or_default();
    let line = told.lines().find_map(|line| line.strip_prefix("summary: "));
    line.and_then(|count| count.trim().parse().ok())
        .unwrap_or_else(|| {
            panic!("{name}: {}", String::from_utf8_lossy(&run.stderr));
        })
}

/// A table, and a stream of its changes.
struct Bank {
    table: Table,
    stream: Vec<Vec<u8>>,
}

#[derive(Clone, Copy)]
enum Shape {
    Insert,
    /// With the whole old row in front.
    Update,
}

const TEXT: bool = false;
const BINARY: bool = true;

/// The table of the loads that seconds are measured with.
const COLUMNS: &[(&str, u32, i32)] = &[
    ("id", 20, -1),
    ("n", 23, -1),
    ("t", 25, -1),
    ("amt", 1700, (12 << 16) | (2 + 4)),
    ("ts", 1184, -1),
    ("ok", 16, -1),
];

fn table(columns: &[(String, u32, i32)], replica_identity: ReplicaIdentity) -> Table {
    let name = |oid| match oid {
        16 => "bool",
        20 => "int8",
        23 => "int4",
        25 => "text",
        1184 => "timestamptz",
        _ => "numeric",
    };
    let column = |(column, oid, typmod): &(String, u32, i32)| Column {
        name: column.clone(),
        pg_type: Arc::new(PgType {
            oid: *oid,
            schema: "pg_catalog".to_owned(),
            name: name(*oid).to_owned(),
            kind: TypeKind::Base,
        }),
        typmod: *typmod,
        not_null: *column == "id",
        default: None,
        identity: *column == "id",
    };
    Table {
        oid: RELATION,
        schema: "public".to_owned(),
        name: "t".to_owned(),
        columns: columns.iter().map(column).collect(),
        key: vec![0],
        replica_identity,
    }
}

/// Ordinary rows: a number, a hash, an amount, a time.
fn bank(shape: Shape, binary: bool) -> Bank {
    let columns: Vec<_> = COLUMNS
        .iter()
        .map(|(name, oid, typmod)| ((*name).to_owned(), *oid, *typmod))
        .collect();
    let row = |id: u64, n: u64| {
        let hash = format!("{:032x}", u128::from(id) * 0x9e37_79b9_7f4a_7c15_f39c_c060);
        let (cents, second) = (id % 1_000_000, 757_382_400 + id);
        if binary {
            vec![
                id.to_be_bytes().to_vec(),
                u32::try_from(n).expect("small").to_be_bytes().to_vec(),
                hash.into_bytes(),
                numeric(cents),
                (second * 1_000_000).to_be_bytes().to_vec(),
                vec![u8::from(id.is_multiple_of(2))],
            ]
        } else {
            vec![
                id.to_string().into_bytes(),
                n.to_string().into_bytes(),
                hash.into_bytes(),
                format!("{}.{:02}", cents / 100, cents % 100).into_bytes(),
                format!(
                    "2024-01-{:02} 07:{:02}:{:02}+00",
                    id % 28 + 1,
                    id / 60 % 60,
                    id % 60
                )
                .into_bytes(),
                vec![if id.is_multiple_of(2) { b't' } else { b'f' }],
            ]
        }
    };
    let message = |id: u64| {
        let n = id * 7 % 1_000_000;
        match shape {
            Shape::Insert => message(b'I', None, &row(id, n), binary),
            Shape::Update => message(b'U', Some(&row(id, n)), &row(id, n + 1), binary),
        }
    };
    let identity = match shape {
        Shape::Insert => ReplicaIdentity::Default,
        Shape::Update => ReplicaIdentity::Full,
    };
    Bank {
        table: table(&columns, identity),
        stream: (4_000_001..4_000_601)
            .map(|id| xlog(id, &message(id)))
            .collect(),
    }
}

/// So many columns, numbers and texts in turn.
fn wide(count: u32) -> Bank {
    let column = |at: u32| match at {
        0 => ("id".to_owned(), 20, -1),
        at if at % 2 == 0 => (format!("n{at}"), 23, -1),
        at => (format!("t{at}"), 25, -1),
    };
    let columns: Vec<_> = (0..count).map(column).collect();
    let cell = |id: u64, at: u32| match columns[at as usize].1 {
        20 => id.to_be_bytes().to_vec(),
        23 => (u32::try_from(id).expect("small") + at)
            .to_be_bytes()
            .to_vec(),
        _ => format!("text {at} of {id}").into_bytes(),
    };
    let row = |id: u64| (0..count).map(|at| cell(id, at)).collect::<Vec<_>>();
    Bank {
        table: table(&columns, ReplicaIdentity::Default),
        stream: (1..=20)
            .map(|id| xlog(id, &message(b'I', None, &row(id), BINARY)))
            .collect(),
    }
}

/// A key and one text of so many bytes.
fn long(bytes: usize) -> Bank {
    let columns = [("id".to_owned(), 20, -1), ("t".to_owned(), 25, -1)];
    let row = |id: u64| vec![id.to_be_bytes().to_vec(), vec![b'x'; bytes]];
    Bank {
        table: table(&columns, ReplicaIdentity::Default),
        stream: (1..=3)
            .map(|id| xlog(id, &message(b'I', None, &row(id), BINARY)))
            .collect(),
    }
}

/// `cents` hundredths, as numeric's send function writes them: groups of four digits.
fn numeric(cents: u64) -> Vec<u8> {
    let whole = cents / 100;
    let mut groups = vec![whole / 10_000, whole % 10_000, cents % 100 * 100];
    let mut weight: i16 = 1;
    while groups.first() == Some(&0) {
        groups.remove(0);
        weight -= 1;
    }
    while groups.last() == Some(&0) {
        groups.pop();
    }
    if groups.is_empty() {
        weight = 0;
    }
    let mut bytes = u16::try_from(groups.len())
        .expect("three")
        .to_be_bytes()
        .to_vec();
    bytes.extend(weight.to_be_bytes());
    bytes.extend(0_u16.to_be_bytes());
    bytes.extend(2_u16.to_be_bytes());
    for group in groups {
        bytes.extend(u16::try_from(group).expect("four digits").to_be_bytes());
    }
    bytes
}

/// An Insert or an Update.
fn message(tag: u8, old: Option<&[Vec<u8>]>, new: &[Vec<u8>], binary: bool) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend(RELATION.to_be_bytes());
    for (mark, row) in [(b'O', old), (b'N', Some(new))] {
        let Some(row) = row else { continue };
        bytes.push(mark);
        bytes.extend(u16::try_from(row.len()).expect("few").to_be_bytes());
        for cell in row {
            bytes.push(if binary { b'b' } else { b't' });
            bytes.extend(u32::try_from(cell.len()).expect("short").to_be_bytes());
            bytes.extend(cell);
        }
    }
    bytes
}

fn xlog(id: u64, message: &[u8]) -> Vec<u8> {
    let lsn = 0x1600_0000 + id * 100;
    let mut body = vec![b'w'];
    body.extend(lsn.to_be_bytes());
    body.extend(lsn.to_be_bytes());
    body.extend(0_u64.to_be_bytes());
    body.extend(message);
    body
}

fn config(converter: &str, schemas: bool) -> Config {
    let mut connector = String::from(
        "name=a\nconnector.class=io.debezium.connector.postgresql.PostgresConnector\n\
         topic.prefix=a\ndatabase.hostname=a\ndatabase.user=a\ndatabase.dbname=a\n",
    );
    for side in ["key", "value"] {
        connector += &format!(
            "{side}.converter={converter}\n{side}.converter.schemas.enable={schemas}\n\
             {side}.converter.schema.registry.url=http://unused\n"
        );
    }
    let worker = Properties::parse(b"bootstrap.servers=localhost:9092\n").expect("lines");
    let connector = Properties::parse(connector.as_bytes()).expect("lines");
    Config::load(&worker, &connector)
        .expect("a configuration")
        .0
}

fn plan(table: &Table, converter: &str, schemas: bool) -> RowEncoder {
    let config = config(converter, schemas).encode;
    let schemas = Schemas::derive(table, &Filter::All, &config).expect("schemas");
    let ids = SchemaIds {
        key: Some(1),
        value: 2,
    };
    RowEncoder::compile(table, &schemas, &config, "a", ids).expect("a plan")
}

fn event<'b>(change: &RowChange<'b>) -> Event<'b> {
    Event {
        op: match change.kind {
            ChangeKind::Insert => Operation::Create,
            ChangeKind::Update => Operation::Update,
            ChangeKind::Delete => Operation::Delete,
        },
        before: change.old.map(|old| old.row),
        after: change.new,
        source: SourceBlock {
            ts_us: 1_700_000_000_000_000,
            snapshot: SnapshotMark::False,
            last_commit_lsn: Some(0x1600_0000),
            lsn: Some(change.lsn.0),
            tx_id: Some(4711),
            xmin: None,
            origin: None,
            origin_lsn: None,
            transaction: None,
        },
        now_ns: 1_700_000_000_000_000_000,
    }
}

fn row<'b>(decoder: &'b mut Decoder, body: &'b [u8]) -> RowChange<'b> {
    let Ok(Incoming::Row(change)) = decoder.decode(body) else {
        panic!("a row was sent");
    };
    change
}

/// Room `capture`: a message to the places of its columns.
fn decode(bank: &Bank) -> Box<dyn FnMut(u64)> {
    let stream = bank.stream.clone();
    let mut decoder = Decoder::default();
    Box::new(move |rows| {
        for (body, _) in stream.iter().cycle().zip(0..rows) {
            let change = row(&mut decoder, body);
            black_box(change.new.map(|row| row.cell(0)));
        }
    })
}

/// Room `encode`: a row, decoded before, to key and value.
fn encode(converter: &str, schemas: bool, bank: &Bank) -> Box<dyn FnMut(u64)> {
    let encoder = plan(&bank.table, converter, schemas);
    let stream = bank.stream.clone();
    let mut out = Vec::with_capacity(1 << 20);
    // One decoder a row: its index is what the row borrows.
    let mut decoders: Vec<Decoder> = stream.iter().map(|_| Decoder::default()).collect();
    Box::new(move |rows| {
        let changes: Vec<RowChange<'_>> = decoders
            .iter_mut()
            .zip(&stream)
            .map(|(decoder, body)| row(decoder, body))
            .collect();
        for (change, _) in changes.iter().cycle().zip(0..rows) {
            out.clear();
            let event = event(change);
            assert_eq!(
                encoder.key(event.after.expect("a new row"), &mut out),
                Ok(true)
            );
            assert_eq!(encoder.value(&event, &mut out), Ok(true));
            black_box(&out);
        }
    })
}

/// All rooms a row passes, into batches that are sealed when they are full.
fn rooms(converter: &str, bank: &Bank) -> Box<dyn FnMut(u64)> {
    let encoder = plan(&bank.table, converter, false);
    let stream = bank.stream.clone();
    let mut decoder = Decoder::default();
    let mut batches = Batches::new();
    Box::new(move |rows| {
        for (body, _) in stream.iter().cycle().zip(0..rows) {
            let event = event(&row(&mut decoder, body));
            let after = event.after.expect("a new row");
            batches.append(
                |out| encoder.key(after, out).is_ok(),
                |out| encoder.value(&event, out).is_ok(),
            );
        }
    })
}

/// A record of bytes that are there already: framing, length, and the CRC of its batch.
fn batch() -> Box<dyn FnMut(u64)> {
    let mut batches = Batches::new();
    let (key, value) = ([1; 13], [2; 137]);
    Box::new(move |rows| {
        for _ in 0..rows {
            batches.append(
                |out| {
                    out.extend_from_slice(black_box(&key));
                    true
                },
                |out| {
                    out.extend_from_slice(black_box(&value));
                    true
                },
            );
        }
    })
}

/// The producer in front of one broker: records in pieces of a hundred, spread over a topic's
/// partitions; what is sent is answered two pieces later. What the broker does is not counted.
fn produce(partitions: i32) -> Box<dyn FnMut(u64)> {
    let mut sink = config(AVRO, false).sink;
    (sink.exactly_once, sink.idempotent) = (false, true);
    let mut broker = Broker {
        partitions,
        producer: Producer::new(sink, 7).expect("a configuration"),
        connection: Connection::new("bench", None, String::new()),
        out: Outgoing::default(),
        answers: VecDeque::new(),
        now: Duration::ZERO,
    };
    let topic = broker.producer.topic("t");
    broker.connection.start(&mut broker.out.bytes);
    while broker.producer.partitions(topic).is_none() || !broker.producer.is_established() {
        broker.exchange(0);
    }
    let (mut token, mut at) = (0, 0);
    Box::new(move |rows| {
        for _ in 0..rows / 100 {
            for _ in 0..100 {
                at = (at + 7919) % partitions;
                let put = |record: &mut RecordWriter<'_>| {
                    record.key(Some(black_box(&[1; 13])));
                    record.value(Some(black_box(&[2; 137])));
                };
                let recorded = broker.producer.record(topic, at, 1_700_000_000_000, put);
                recorded.expect("it fits");
            }
            token += 1;
            broker.producer.mark(token);
            broker.exchange(2);
        }
    })
}

struct Broker {
    partitions: i32,
    producer: Producer,
    connection: Connection,
    out: Outgoing,
    answers: VecDeque<Vec<u8>>,
    now: Duration,
}

impl Broker {
    /// What a driver does: requests out, answers in; the last `late` answers are still on the way.
    fn exchange(&mut self, late: usize) {
        self.now += Duration::from_micros(300);
        self.producer.tick(self.now).expect("all is well");
        black_box(self.producer.deadline());
        let ready = self.connection.is_ready();
        let node = if self.producer.address(0).is_some() {
            0
        } else {
            -1
        };
        while ready
            && self
                .producer
                .poll_send(node, &mut self.connection, &mut self.out)
                .expect("all is well")
        {}
        not_measured(|| self.serve());
        while self.answers.len() > late {
            let bytes = self.answers.pop_front().expect("counted");
            let next = self.connection.next(&bytes, &mut self.out.bytes);
            match next.expect("an answer").expect("all of it").0 {
                kafka::Event::Ready => self.producer.connected(node),
                kafka::Event::Answer(answer) => {
                    self.producer.receive(node, &answer).expect("all is well");
                }
                kafka::Event::Progress => {}
            }
        }
    }

    fn serve(&mut self) {
        let (mut bytes, mut at) = (Vec::new(), 0);
        for &(cut, id) in &self.out.splices {
            bytes.extend_from_slice(&self.out.bytes[at..cut]);
            bytes.extend_from_slice(self.producer.bytes(id));
            at = cut;
        }
        bytes.extend_from_slice(&self.out.bytes[at..]);
        self.out.bytes.clear();
        self.out.splices.clear();
        let mut rest = bytes.as_slice();
        while let Some((frame, consumed)) = frame::split(rest, usize::MAX).expect("requests") {
            let (header, body) = RequestHeader::split(frame).expect("a request");
            self.answers.push_back(self.answer(&header, body));
            rest = &rest[consumed..];
        }
    }

    fn answer(&self, header: &RequestHeader<'_>, body: &[u8]) -> Vec<u8> {
        fn put<'b, R: Response<'b>>(header: &RequestHeader<'_>, response: &R) -> Vec<u8> {
            let mut out = Vec::new();
            frame::put_response(response, header.version, header.correlation, &mut out);
            out
        }
        match header.api {
            ApiKey::API_VERSIONS => {
                let row = |api: &ApiKey| {
                    let (min_version, max_version) = api.versions().expect("one we speak");
                    ApiVersion {
                        api_key: api.0,
                        min_version,
                        max_version,
                    }
                };
                let api_keys = ApiKey::ALL.iter().map(row).collect();
                put(
                    header,
                    &ApiVersionsResponse {
                        api_keys,
                        ..Default::default()
                    },
                )
            }
            ApiKey::METADATA => {
                let broker = MetadataResponseBroker {
                    node_id: 0,
                    host: "b".to_owned(),
                    port: 1,
                    ..Default::default()
                };
                let partition = |partition_index| MetadataResponsePartition {
                    partition_index,
                    leader_id: 0,
                    ..Default::default()
                };
                let topic = MetadataResponseTopic {
                    name: Some("t".to_owned()),
                    partitions: (0..self.partitions).map(partition).collect(),
                    ..Default::default()
                };
                let response = MetadataResponse {
                    brokers: vec![broker],
                    topics: vec![topic],
                    ..Default::default()
                };
                put(header, &response)
            }
            ApiKey::INIT_PRODUCER_ID => {
                let response = InitProducerIdResponse {
                    producer_id: 1,
                    ..Default::default()
                };
                put(header, &response)
            }
            _ => {
                let asked = ProduceRequest::decode(header.version, body).expect("a Produce");
                let result = |index| PartitionProduceResponse {
                    index,
                    ..Default::default()
                };
                let topic = |topic: &TopicProduceData<'_>| {
                    let partitions = topic.partition_data.iter();
                    TopicProduceResponse {
                        name: "t",
                        partition_responses: partitions.map(|data| result(data.index)).collect(),
                        ..Default::default()
                    }
                };
                let responses = asked.topic_data.iter().map(topic).collect();
                put(
                    header,
                    &ProduceResponse {
                        responses,
                        ..Default::default()
                    },
                )
            }
        }
    }
}

/// One open batch, sealed and opened again whenever it is full.
struct Batches {
    open: Option<BatchBuilder>,
    compressor: Compressor,
}

impl Batches {
    fn new() -> Self {
        Self {
            open: Some(BatchBuilder::new(BATCH_BYTES * 2)),
            compressor: Compressor::none(),
        }
    }

    fn append(&mut self, key: impl Fn(&mut Vec<u8>) -> bool, value: impl Fn(&mut Vec<u8>) -> bool) {
        loop {
            let open = self.open.as_mut().expect("there is always one");
            let mut record = open.append(1_700_000_000_000);
            assert!(record.key_with(&key) && record.value_with(&value));
            match record.finish() {
                Ok(()) => return,
                Err(AppendError::Full) => {}
                Err(error) => panic!("{error}"),
            }
            let stamp = ProducerStamp {
                producer_id: 7,
                producer_epoch: 0,
                base_sequence: 0,
                transactional: true,
            };
            let open = self.open.take().expect("it was there");
            let batch = open.seal(stamp, &mut self.compressor);
            black_box(batch.bytes());
            self.open = Some(batch.recycle());
        }
    }
}
