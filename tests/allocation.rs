//! A million rows after warm-up allocate nothing: from the bytes that the walsender sent to the
//! record in a sealed batch.
//!
//! The counter counts this test's thread: the harness tells, on another, of a test that is slow.

#![allow(
    unsafe_code,
    reason = "an allocator is an unsafe trait; this one counts and passes on"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::Arc;

use engine::capture::relations::{Column, PgType, ReplicaIdentity, Table, TypeKind};
use engine::capture::stream::{Decoder, Incoming};
use engine::config::{Config, Filter, Operation, Properties};
use engine::encode::envelope::{SnapshotMark, SourceBlock};
use engine::encode::plan::{Event, RowEncoder, SchemaIds, Schemas};
use kafkawire::batch::{AppendError, BatchBuilder, ProducerStamp};
use kafkawire::compress::{Codec, Compressor};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends has no counter any more.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: every call is the system allocator's own; the counter touches no memory of theirs.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const BATCH_BYTES: usize = 1 << 20;
const RELATION: u32 = 16_500;

#[test]
fn a_million_rows_after_warm_up_allocate_nothing() {
    let json = "org.apache.kafka.connect.json.JsonConverter";
    let avro = "io.confluent.connect.avro.AvroConverter";
    let stream = stream();
    for (converter, schemas, codec, rows) in [
        (avro, false, Codec::NONE, 1_000_000),
        (avro, false, Codec::LZ4, 100_000),
        (json, false, Codec::NONE, 200_000),
        (json, true, Codec::NONE, 100_000),
    ] {
        let mut pipe = Rooms::new(converter, schemas, codec);
        pipe.carry(&stream, 20_000);
        let before = ALLOCATIONS.get();
        pipe.carry(&stream, rows);
        let allocations = ALLOCATIONS.get() - before;
        assert_eq!(
            allocations, 0,
            "{converter}, schemas {schemas}, {codec:?}: {rows} rows"
        );
        assert!(pipe.batches.sealed > 5, "{} batches", pipe.batches.sealed);
    }
}

/// The rooms a row passes, one after the other.
struct Rooms {
    decoder: Decoder,
    encoder: RowEncoder,
    batches: Batches,
}

impl Rooms {
    fn new(converter: &str, schemas: bool, codec: Codec) -> Self {
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
        let config = Config::load(&worker, &connector)
            .expect("a configuration")
            .0
            .encode;
        let table = table();
        let schemas = Schemas::derive(&table, &Filter::All, &config).expect("schemas");
        let ids = SchemaIds {
            key: Some(1),
            value: 2,
        };
        let encoder = RowEncoder::compile(&table, &schemas, &config, "a", ids).expect("a plan");
        let compressor = Compressor::new(codec, None).expect("a codec we know");
        let open = Some(BatchBuilder::new(BATCH_BYTES));
        let batches = Batches {
            open,
            compressor,
            sealed: 0,
        };
        Self {
            decoder: Decoder::default(),
            encoder,
            batches,
        }
    }

    fn carry(&mut self, stream: &[Vec<u8>], rows: usize) {
        for body in stream.iter().cycle().take(rows) {
            let Ok(Incoming::Row(change)) = self.decoder.decode(body) else {
                panic!("a row was sent");
            };
            let source = SourceBlock {
                ts_us: 1_700_000_000_000_000,
                snapshot: SnapshotMark::False,
                last_commit_lsn: Some(change.lsn.0),
                lsn: Some(change.lsn.0),
                tx_id: Some(4711),
                xmin: None,
                origin: None,
                origin_lsn: None,
                transaction: None,
            };
            let event = Event {
                op: if change.old.is_some() {
                    Operation::Update
                } else {
                    Operation::Create
                },
                before: change.old.map(|old| old.row),
                after: change.new,
                source,
                now_ns: 1_700_000_000_000_000_000,
            };
            while !self.batches.append(&self.encoder, &event) {}
        }
    }
}

struct Batches {
    open: Option<BatchBuilder>,
    compressor: Compressor,
    sealed: u64,
}

impl Batches {
    /// False: the batch was full, and is another now.
    fn append(&mut self, encoder: &RowEncoder, event: &Event<'_>) -> bool {
        let open = self.open.as_mut().expect("there is always one");
        let mut record = open.append(1_700_000_000_000);
        let row = event.after.expect("an insert or an update");
        let keyed = record.key_with(|out| encoder.key(row, out));
        assert!(keyed.expect("a key's values"));
        record
            .value_with(|out| encoder.value(event, out))
            .expect("a row's values");
        match record.finish() {
            Ok(()) => return true,
            Err(AppendError::Full) => {}
            Err(error) => panic!("{error}"),
        }
        let batch = self
            .open
            .take()
            .expect("it was there")
            .seal(stamp(), &mut self.compressor);
        black_box(batch.bytes());
        self.open = Some(batch.recycle());
        self.sealed += 1;
        false
    }
}

fn stamp() -> ProducerStamp {
    ProducerStamp {
        producer_id: 7,
        producer_epoch: 0,
        base_sequence: 0,
        transactional: false,
    }
}

/// `(name, type, typmod)` and what some rows have there.
const COLUMNS: [(&str, u32, i32); 9] = [
    ("id", 20, -1),
    ("n", 23, -1),
    ("name", 1043, 54),
    ("price", 1700, (10 << 16) | (2 + 4)),
    ("day", 1082, -1),
    ("at", 1114, -1),
    ("tz", 1184, -1),
    ("ok", 16, -1),
    ("note", 25, -1),
];

fn table() -> Table {
    let name = |oid| match oid {
        16 => "bool",
        20 => "int8",
        23 => "int4",
        25 => "text",
        1043 => "varchar",
        1082 => "date",
        1114 => "timestamp",
        1184 => "timestamptz",
        _ => "numeric",
    };
    let column = |(column, oid, typmod): &(&str, u32, i32)| Column {
        name: (*column).to_owned(),
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
        columns: COLUMNS.iter().map(column).collect(),
        key: vec![0],
        replica_identity: ReplicaIdentity::Default,
    }
}

/// XLogData of inserts and updates, rows short and long, with and without NULL.
fn stream() -> Vec<Vec<u8>> {
    let xlog = |lsn: u64, message: &[u8]| {
        let mut body = vec![b'w'];
        body.extend(lsn.to_be_bytes());
        body.extend(lsn.to_be_bytes());
        body.extend(0_u64.to_be_bytes());
        body.extend(message);
        body
    };
    let tuple = |cells: &[Option<String>]| {
        let count = u16::try_from(cells.len()).expect("few");
        let mut bytes = count.to_be_bytes().to_vec();
        for cell in cells {
            match cell {
                None => bytes.push(b'n'),
                Some(text) => {
                    bytes.push(b't');
                    bytes.extend(u32::try_from(text.len()).expect("short").to_be_bytes());
                    bytes.extend(text.as_bytes());
                }
            }
        }
        bytes
    };
    let row = |id: u64| {
        let some = |odds: u64, text: String| (!id.is_multiple_of(odds)).then_some(text);
        tuple(&[
            Some(id.to_string()),
            some(5, (id * 7 % 1_000_003).to_string()),
            some(7, format!("Zoë Müller {}", id * id)),
            some(6, format!("{}.{:02}", id * 13 % 99_999, id % 100)),
            some(
                4,
                format!("20{:02}-{:02}-{:02}", id % 100, id % 12 + 1, id % 28 + 1),
            ),
            some(
                3,
                format!(
                    "2024-05-06 07:{:02}:{:02}.{:06}",
                    id % 60,
                    id % 60,
                    id * 997 % 1_000_000
                ),
            ),
            some(
                9,
                format!(
                    "2024-05-06 07:08:{:02}.{:06}+02",
                    id % 60,
                    id * 991 % 1_000_000
                ),
            ),
            some(8, if id.is_multiple_of(2) { "t" } else { "f" }.to_owned()),
            some(
                2,
                "a note \"of some\" length\n".repeat(usize::try_from(id % 40).expect("small")),
            ),
        ])
    };
    let message = |id: u64| {
        let mut bytes = vec![if id.is_multiple_of(3) { b'U' } else { b'I' }];
        bytes.extend(RELATION.to_be_bytes());
        if id.is_multiple_of(6) {
            bytes.push(b'O');
            bytes.extend(row(id));
        }
        bytes.push(b'N');
        bytes.extend(row(id));
        bytes
    };
    (1..=600)
        .map(|id| xlog(0x1600_0000 + id * 100, &message(id)))
        .collect()
}
