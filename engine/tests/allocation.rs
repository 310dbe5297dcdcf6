//! A warmed-up encoder allocates nothing: ten thousand rows of the usual types, in every form.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use engine::capture::relations::{Column, PgType, ReplicaIdentity, Table, TypeKind};
use engine::capture::row::RowIndex;
use engine::config::{Config, Filter, Operation, Properties};
use engine::encode::envelope::{SnapshotMark, SourceBlock};
use engine::encode::plan::{Event, RowEncoder, SchemaIds, Schemas};

thread_local! {
    /// Of this thread: the test harness has others, and they allocate when they like.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    /// Bytes that are allocated and not freed.
    static LIVE: Cell<usize> = const { Cell::new(0) };
}

fn count(allocated: usize, freed: usize) {
    // A thread that ends has no counters any more.
    if allocated > 0 {
        let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
    }
    let _ = LIVE.try_with(|live| live.set(live.get().wrapping_add(allocated).wrapping_sub(freed)));
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
#[allow(unsafe_code, reason = "an allocator cannot be counted otherwise")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const ROW: &[(&str, i32, &str)] = &[
    ("int8", -1, "4000000000"),
    ("int4", -1, "-7"),
    ("bool", -1, "t"),
    ("float8", -1, "1234.5678"),
    ("numeric", (10 << 16 | 2) + 4, "1234567.89"),
    ("numeric", -1, "123.4500"),
    ("text", -1, "a \"quoted\" text of 日本語 and 😀"),
    ("varchar", 54, "somebody@example.com"),
    ("uuid", -1, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("jsonb", -1, "{\"a\": 1}"),
    ("bytea", -1, "\\xdeadbeef00"),
    ("bit", 12, "101010101010"),
    ("date", -1, "2020-02-29"),
    ("time", -1, "12:34:56.789012"),
    ("timestamp", -1, "2020-02-29 12:34:56.789012"),
    ("timestamptz", -1, "2020-02-29 12:34:56.789012+02"),
    ("interval", -1, "1 year 04:05:06"),
    ("_int4", -1, "{1,NULL,3}"),
    ("_text", -1, "{a,\"b \\\"c\\\"\",NULL}"),
];

#[test]
fn a_warm_encoder_allocates_nothing() {
    let base = |name: &str| {
        Arc::new(PgType {
            oid: 1,
            schema: "pg_catalog".to_owned(),
            name: name.to_owned(),
            kind: TypeKind::Base,
        })
    };
    let columns = ROW.iter().map(|(name, typmod, _)| {
        let kind = match name.strip_prefix('_') {
            Some(element) => TypeKind::Array {
                element: base(element),
            },
            None => TypeKind::Base,
        };
        Column {
            name: format!("c_{name}_{typmod}"),
            pg_type: Arc::new(PgType {
                kind,
                ..(*base(name)).clone()
            }),
            typmod: *typmod,
            not_null: false,
            default: None,
            identity: false,
        }
    });
    let table = Table {
        oid: 1,
        schema: "store".to_owned(),
        name: "things".to_owned(),
        columns: columns.collect(),
        key: vec![0],
        replica_identity: ReplicaIdentity::Default,
    };
    let (mut bytes, mut index) = (Vec::new(), RowIndex::default());
    for (_, _, text) in ROW {
        let start = u32::try_from(bytes.len()).unwrap();
        bytes.extend_from_slice(text.as_bytes());
        index.push_text(start, u32::try_from(bytes.len()).unwrap());
    }
    for converter in [
        "value.converter=io.confluent.connect.avro.AvroConverter\nvalue.converter.schema.registry.url=http://r",
        "value.converter=org.apache.kafka.connect.json.JsonConverter",
        "value.converter=org.apache.kafka.connect.json.JsonConverter\nvalue.converter.decimal.format=NUMERIC",
        "value.converter=org.apache.kafka.connect.json.JsonConverter\ntransforms=u\n\
         transforms.u.type=io.debezium.transforms.ExtractNewRecordState\n\
         transforms.u.add.fields=op,source.sequence,table,lsn",
    ] {
        let connector = format!(
            "name=a\nconnector.class=io.debezium.connector.postgresql.PostgresConnector\n\
             topic.prefix=srv\ndatabase.hostname=h\ndatabase.user=u\ndatabase.dbname=d\n\
             plugin.name=pgoutput\nkey.converter=org.apache.kafka.connect.json.JsonConverter\n{converter}\n"
        );
        let worker = Properties::parse(b"bootstrap.servers=b:9092\n").unwrap();
        let connector = Properties::parse(connector.as_bytes()).unwrap();
        let config = Config::load(&worker, &connector).unwrap().0.encode;
        let schemas = Schemas::derive(&table, &Filter::All, &config).unwrap();
        let ids = SchemaIds {
            key: Some(1),
            value: 2,
        };
        let before = LIVE.get();
        let encoder = RowEncoder::compile(&table, &schemas, &config, "shop", ids).unwrap();
        // What the share of plans is counted with, against what the allocator gave.
        let (told, given) = (encoder.memory(), LIVE.get() - before);
        println!("{told} bytes told, {given} given");
        assert!(
            told >= given && told <= given * 3,
            "{told} bytes told, {given} given"
        );
        let mut out = Vec::with_capacity(1 << 20);
        let mut encode = |count: i64| {
            for at in 0..count {
                out.clear();
                let row = index.row(&bytes);
                let source = SourceBlock {
                    ts_us: 1_795_354_734_429_304 + at,
                    snapshot: SnapshotMark::False,
                    last_commit_lsn: Some(225_013_688),
                    lsn: Some(225_013_984),
                    tx_id: Some(1366),
                    xmin: None,
                    origin: None,
                    origin_lsn: None,
                    transaction: None,
                };
                let event = Event {
                    op: Operation::Update,
                    before: Some(row),
                    after: Some(row),
                    source,
                    now_ns: 1_795_354_734_856_491_797 + at,
                };
                assert_eq!(encoder.key(row, &mut out), Ok(true));
                assert_eq!(encoder.value(&event, &mut out), Ok(true));
            }
        };
        encode(10);
        let before = ALLOCATIONS.get();
        encode(10_000);
        assert_eq!(ALLOCATIONS.get() - before, 0, "{converter}");
    }
}
