//! What surrounds a row, the records that are not rows, and names.

use std::sync::{Arc, Mutex, PoisonError};

use avro::Resolution;

use super::chain::Chain;
use super::form::{Avro, Form, Json, Text, put_decimal, put_lead};
use super::plan::{Event, PlanError};
use super::schema::{Kind, Schema, Value, put_branch};
use super::transform::Leaf;
use crate::config::{self, BinaryMode, Converter, NameAdjustment, Operation, TopicForm};

/// What Debezium's `source.version` says; records are compared with this release.
pub const VERSION: &str = "3.6.3.Final";

const CONNECTOR: &str = "postgresql";
const SOURCE: &str = "io.debezium.connector.postgresql.Source";
const TOPIC_LENGTH_MAX: usize = 249;

/// `source.snapshot`: where in a snapshot a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SnapshotMark {
    /// Neither first nor last.
    True,
    /// The snapshot's first record.
    First,
    /// A later table's first record.
    FirstInDataCollection,
    /// A table's last record, more tables following.
    LastInDataCollection,
    /// The snapshot's last record.
    Last,
    /// Not of a snapshot.
    False,
    /// Of an incremental snapshot.
    Incremental,
}

/// In the order in which the enumeration lists them.
const MARKS: [(SnapshotMark, &str); 7] = [
    (SnapshotMark::True, "true"),
    (SnapshotMark::First, "first"),
    (
        SnapshotMark::FirstInDataCollection,
        "first_in_data_collection",
    ),
    (
        SnapshotMark::LastInDataCollection,
        "last_in_data_collection",
    ),
    (SnapshotMark::Last, "last"),
    (SnapshotMark::False, "false"),
    (SnapshotMark::Incremental, "incremental"),
];

/// In the order of their declaration.
const OPERATIONS: [Operation; 6] = [
    Operation::Read,
    Operation::Create,
    Operation::Update,
    Operation::Delete,
    Operation::Truncate,
    Operation::Message,
];

/// The `source` block of one record: where its change comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceBlock<'b> {
    /// Commit time (the snapshot's time), in microseconds since 1970.
    pub ts_us: i64,
    /// Where in a snapshot.
    pub snapshot: SnapshotMark,
    /// The LSN received with the last processed commit.
    pub last_commit_lsn: Option<u64>,
    /// The change's own LSN.
    pub lsn: Option<u64>,
    /// The transaction's xid.
    pub tx_id: Option<i64>,
    /// The slot's xmin, where it is asked for.
    pub xmin: Option<i64>,
    /// The replication origin's name.
    pub origin: Option<&'b str>,
    /// The commit's LSN at the origin.
    pub origin_lsn: Option<u64>,
    /// The `transaction` block, with `provide.transaction.metadata`.
    pub transaction: Option<TransactionBlock>,
}

/// The `transaction` block of one record. Its id is printed `xid:lsn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionBlock {
    /// The transaction.
    pub xid: u32,
    /// The change's own LSN.
    pub lsn: u64,
    /// The change's number in the transaction, from 1.
    pub total_order: i64,
    /// The change's number among those of its table in the transaction, from 1.
    pub collection_order: i64,
}

impl Operation {
    /// What `op` says.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Read => "r",
            Self::Create => "c",
            Self::Update => "u",
            Self::Delete => "d",
            Self::Truncate => "t",
            Self::Message => "m",
        }
    }
}

/// The struct of `source`.
pub(crate) fn source_schema() -> Schema {
    let string = || Schema::new(Kind::String);
    let long = || Schema::new(Kind::Int64);
    Schema::record(
        SOURCE,
        vec![
            ("version", string()),
            ("connector", string()),
            ("name", string()),
            ("ts_ms", long()),
            ("snapshot", snapshot_schema()),
            ("db", string()),
            ("sequence", string().optional()),
            ("ts_us", long().optional()),
            ("ts_ns", long().optional()),
            ("schema", string()),
            ("table", string()),
            ("txId", long().optional()),
            ("lsn", long().optional()),
            ("xmin", long().optional()),
            ("origin", string().optional()),
            ("origin_lsn", long().optional()),
        ],
    )
}

pub(crate) fn snapshot_schema() -> Schema {
    let allowed = MARKS.map(|(_, text)| text).join(",");
    let schema = Schema::named(Kind::String, "io.debezium.data.Enum").with("allowed", allowed);
    Schema {
        default: Some(Value::String("false".to_owned())),
        ..schema.optional()
    }
}

fn transaction_schema() -> Schema {
    let fields = vec![
        ("id", Schema::new(Kind::String)),
        ("total_order", Schema::new(Kind::Int64)),
        ("data_collection_order", Schema::new(Kind::Int64)),
    ];
    Schema::record("event.block", fields).optional()
}

/// The struct of a change's value. `row` is the table's struct, optional.
pub(crate) fn envelope_schema(name: &str, row: &Schema) -> Schema {
    let long = || Schema::new(Kind::Int64).optional();
    let fields = vec![
        ("before", row.clone()),
        ("after", row.clone()),
        ("source", source_schema()),
        ("transaction", transaction_schema()),
        ("op", Schema::new(Kind::String)),
        ("ts_ms", long()),
        ("ts_us", long()),
        ("ts_ns", long()),
    ];
    Schema {
        version: Some(2),
        ..Schema::record(name, fields)
    }
}

/// All of a source block that is the same for every record of a table, between what is not.
#[derive(Debug)]
pub(crate) struct SourcePieces {
    /// Up to `ts_ms`.
    head: Box<[u8]>,
    /// `snapshot`, `db`, and up to the text of `sequence`; in the order of [`MARKS`].
    marks: [Box<[u8]>; 7],
    ts_us: Box<[u8]>,
    ts_ns: Box<[u8]>,
    /// `schema`, `table`, and up to `txId`.
    names: Box<[u8]>,
}

/// A piece of bytes that a form's methods write.
pub(crate) fn piece(put: impl FnOnce(&mut Vec<u8>)) -> Box<[u8]> {
    let mut out = Vec::new();
    put(&mut out);
    out.into_boxed_slice()
}

impl SourcePieces {
    /// `defaults`: a null of a field with a default is the default.
    pub(crate) fn compile<F: Form>(names: &Names, defaults: bool) -> Self {
        let Names {
            prefix,
            database,
            schema,
            table,
        } = names;
        let named = |out: &mut Vec<u8>, lead: &str, value: &str| {
            F::field(out, lead);
            F::string(out, value.as_bytes());
        };
        Self {
            head: piece(|out| {
                named(out, "{\"version\":", VERSION);
                named(out, ",\"connector\":", CONNECTOR);
                named(out, ",\"name\":", prefix);
                F::field(out, ",\"ts_ms\":");
            }),
            marks: MARKS.map(|(mark, _)| {
                piece(|out| {
                    F::field(out, ",\"snapshot\":");
                    let defaults = defaults && !F::OMITS_NULLS;
                    mark_value(mark).put::<F>(&snapshot_schema(), out, false, defaults);
                    named(out, ",\"db\":", database);
                    F::field(out, ",\"sequence\":");
                    F::some(out);
                })
            }),
            ts_us: piece(|out| {
                F::field(out, ",\"ts_us\":");
                F::some(out);
            }),
            ts_ns: piece(|out| {
                F::field(out, ",\"ts_ns\":");
                F::some(out);
            }),
            names: piece(|out| {
                named(out, ",\"schema\":", schema);
                named(out, ",\"table\":", table);
                F::field(out, ",\"txId\":");
            }),
        }
    }

    /// Appends the source block, up to the text of `sequence`.
    fn put_head<F: Form>(&self, source: &SourceBlock<'_>, out: &mut Vec<u8>) {
        F::field(out, ",\"source\":");
        out.extend_from_slice(&self.head);
        F::integer(out, source.ts_us.div_euclid(1000));
        out.extend_from_slice(&self.marks[source.snapshot as usize]);
    }

    /// Appends what stands between `sequence` and `lsn`.
    fn put_middle<F: Form>(&self, source: &SourceBlock<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.ts_us);
        F::integer(out, source.ts_us);
        out.extend_from_slice(&self.ts_ns);
        F::integer(out, source.ts_us.saturating_mul(1000));
        out.extend_from_slice(&self.names);
        put_long_or_null::<F>(source.tx_id, out);
        F::field(out, ",\"lsn\":");
    }

    /// Appends what follows `lsn`, and leads to `transaction`.
    fn put_rest<F: Form>(source: &SourceBlock<'_>, out: &mut Vec<u8>) {
        F::field(out, ",\"xmin\":");
        put_long_or_null::<F>(source.xmin, out);
        F::field(out, ",\"origin\":");
        match source.origin {
            Some(origin) => {
                F::some(out);
                F::string(out, origin.as_bytes());
            }
            None => F::null(out),
        }
        F::field(out, ",\"origin_lsn\":");
        put_long_or_null::<F>(source.origin_lsn.map(u64::cast_signed), out);
        F::end_struct(out);
        F::field(out, ",\"transaction\":");
    }
}

/// Appends `["<commit>","<lsn>"]` as a string, null where there is none.
fn put_sequence<F: Form>(commit: Option<u64>, lsn: Option<u64>, out: &mut Vec<u8>) {
    F::ascii(out, |out| put_sequence_of(commit, lsn, F::QUOTE, out));
}

fn put_sequence_of(commit: Option<u64>, lsn: Option<u64>, quote: &[u8], out: &mut Vec<u8>) {
    put_sequence_part(b'[', commit, quote, out);
    put_sequence_part(b',', lsn, quote, out);
    out.push(b']');
}

#[inline]
fn put_sequence_part(lead: u8, lsn: Option<u64>, quote: &[u8], out: &mut Vec<u8>) {
    out.push(lead);
    match lsn {
        Some(lsn) => {
            put_lead(out, quote);
            put_decimal(out, lsn.cast_signed());
            put_lead(out, quote);
        }
        None => out.extend_from_slice(b"null"),
    }
}

fn put_long_or_null<F: Form>(value: Option<i64>, out: &mut Vec<u8>) {
    match value {
        Some(value) => {
            F::some(out);
            F::integer(out, value);
        }
        None => F::null(out),
    }
}

fn put_transaction<F: Form>(transaction: Option<TransactionBlock>, out: &mut Vec<u8>) {
    let Some(block) = transaction else {
        return F::null(out);
    };
    F::some(out);
    F::field(out, "{\"id\":");
    F::ascii(out, |out| put_transaction_id(block.xid, block.lsn, out));
    F::field(out, ",\"total_order\":");
    F::integer(out, block.total_order);
    F::field(out, ",\"data_collection_order\":");
    F::integer(out, block.collection_order);
    F::end_struct(out);
}

fn put_transaction_id(xid: u32, lsn: u64, out: &mut Vec<u8>) {
    put_decimal(out, xid.into());
    out.push(b':');
    put_decimal(out, lsn.cast_signed());
}

/// What follows the rows in an envelope, in one form.
#[derive(Debug)]
pub(crate) struct EnvelopePieces {
    source: SourcePieces,
    /// `op`, and up to `ts_ms`; in the order of [`OPERATIONS`].
    operations: [Box<[u8]>; 6],
    ts_us: Box<[u8]>,
    ts_ns: Box<[u8]>,
    recent: Mutex<Recent>,
}

/// What the last record said of its origin: the next one, of the same transaction, mostly says the
/// same, and then takes the bytes.
#[derive(Debug, Default)]
struct Recent {
    /// The last source block without its LSN, sequence and `transaction`.
    source: Option<SourceBlock<'static>>,
    head: Vec<u8>,
    middle: Vec<u8>,
    rest: Vec<u8>,
    /// The last commit, and `["<commit>",` in the form's quotes.
    commit: Option<u64>,
    sequence: Vec<u8>,
    /// The last clock, and the three fields that tell it.
    now_ns: Option<i64>,
    now: Vec<u8>,
}

impl EnvelopePieces {
    pub(crate) fn compile<F: Form>(source: SourcePieces) -> Self {
        Self {
            source,
            operations: OPERATIONS.map(|operation| {
                piece(|out| {
                    F::field(out, ",\"op\":");
                    F::string(out, operation.text().as_bytes());
                    F::field(out, ",\"ts_ms\":");
                    F::some(out);
                })
            }),
            ts_us: piece(|out| {
                F::field(out, ",\"ts_us\":");
                F::some(out);
            }),
            ts_ns: piece(|out| {
                F::field(out, ",\"ts_ns\":");
                F::some(out);
            }),
            recent: Mutex::default(),
        }
    }

    /// Appends all that follows `before` and `after`.
    pub(crate) fn put<F: Form>(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        let source = &event.source;
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = &mut *recent;
        // A name cannot be kept beyond its record: with an origin nothing is.
        let kept = source.origin.is_none().then_some(SourceBlock {
            last_commit_lsn: None,
            lsn: None,
            origin: None,
            transaction: None,
            ..*source
        });
        if kept.is_none() || kept != recent.source {
            recent.source = kept;
            recent.head.clear();
            self.source.put_head::<F>(source, &mut recent.head);
            recent.middle.clear();
            self.source.put_middle::<F>(source, &mut recent.middle);
            recent.rest.clear();
            SourcePieces::put_rest::<F>(source, &mut recent.rest);
        }
        if recent.now_ns != Some(event.now_ns) {
            recent.now_ns = Some(event.now_ns);
            recent.now.clear();
            self.put_now::<F>(event.now_ns, &mut recent.now);
        }
        if recent.sequence.is_empty() || recent.commit != source.last_commit_lsn {
            recent.commit = source.last_commit_lsn;
            recent.sequence.clear();
            put_sequence_part(b'[', recent.commit, F::QUOTE, &mut recent.sequence);
        }
        out.extend_from_slice(&recent.head);
        F::ascii(out, |out| {
            out.extend_from_slice(&recent.sequence);
            put_sequence_part(b',', source.lsn, F::QUOTE, out);
            out.push(b']');
        });
        out.extend_from_slice(&recent.middle);
        put_long_or_null::<F>(source.lsn.map(u64::cast_signed), out);
        out.extend_from_slice(&recent.rest);
        put_transaction::<F>(source.transaction, out);
        out.extend_from_slice(&self.operations[event.op as usize]);
        out.extend_from_slice(&recent.now);
    }

    /// Appends the clock in three units, and the envelope's end.
    fn put_now<F: Form>(&self, now_ns: i64, out: &mut Vec<u8>) {
        F::integer(out, now_ns.div_euclid(1_000_000));
        out.extend_from_slice(&self.ts_us);
        F::integer(out, now_ns.div_euclid(1000));
        out.extend_from_slice(&self.ts_ns);
        F::integer(out, now_ns);
        F::end_struct(out);
    }
}

/// Topic names as Kafka takes them: other characters than `[A-Za-z0-9._-]` become `_`, one for
/// each UTF-16 unit; at most 249; never `.` or `..`.
#[must_use]
pub fn sanitize_topic(name: &str) -> String {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    sanitize(name, |letter, topic| {
        if allowed(letter) {
            topic.push(letter);
        } else {
            (0..letter.len_utf16()).for_each(|_| topic.push('_'));
        }
    })
}

/// The same with `_uXXXX` for each UTF-16 unit, of an underscore too: it begins the escapes.
fn sanitize_topic_unicode(name: &str) -> String {
    sanitize(name, |letter, topic| {
        if letter.is_ascii_alphanumeric() || ".-".contains(letter) {
            topic.push(letter);
        } else {
            push_unicode(letter, topic);
        }
    })
}

fn sanitize(name: &str, mut push: impl FnMut(char, &mut String)) -> String {
    let mut topic = String::new();
    name.chars().for_each(|letter| push(letter, &mut topic));
    topic.truncate(TOPIC_LENGTH_MAX);
    if topic == "." || topic == ".." {
        topic = "_".repeat(topic.len());
    }
    topic
}

/// The topic of a table's changes.
#[must_use]
pub fn table_topic(config: &config::Encode, schema: &str, table: &str) -> String {
    let topic = plain_topic(config, schema, table);
    match &config.topic_naming.form {
        TopicForm::Plain => sanitize_topic(&topic),
        TopicForm::Unicode => sanitize_topic_unicode(&topic),
        TopicForm::Regex {
            regex, replacement, ..
        } => sanitize_topic(&regex.rewrite(&topic, replacement).unwrap_or(topic)),
    }
}

/// The field that the topic naming strategy adds to keys of a table, and its value.
pub(crate) fn topic_key(
    config: &config::Encode,
    schema: &str,
    table: &str,
) -> Option<(String, String)> {
    let TopicForm::Regex { key: Some(key), .. } = &config.topic_naming.form else {
        return None;
    };
    let topic = plain_topic(config, schema, table);
    let rewritten = key.rewrite.as_ref();
    let rewritten = rewritten.and_then(|(regex, to)| regex.rewrite(&topic, to));
    Some((key.field.clone(), rewritten.unwrap_or(topic)))
}

fn plain_topic(config: &config::Encode, schema: &str, table: &str) -> String {
    let delimiter = &config.topic_delimiter;
    let prefix = &config.topic_prefix;
    if config.topic_naming.schema {
        format!("{prefix}{delimiter}{schema}{delimiter}{table}")
    } else {
        format!("{prefix}{delimiter}{table}")
    }
}

/// Appends `_uXXXX` for each UTF-16 unit. Three digits are not padded: so Debezium.
fn push_unicode(letter: char, text: &mut String) {
    for unit in letter.encode_utf16(&mut [0; 2]) {
        let hex = format!("{unit:x}");
        text.push_str("_u");
        text.push_str(&"0".repeat(if hex.len() < 3 { 4 - hex.len() } else { 0 }));
        text.push_str(&hex);
    }
}

/// A name with only such characters as the mode allows; `dots`: also dots, as in a record's name.
pub(crate) fn adjust(name: &str, mode: NameAdjustment, dots: bool) -> String {
    if mode == NameAdjustment::None {
        return name.to_owned();
    }
    let unicode = mode == NameAdjustment::AvroUnicode;
    let mut adjusted = String::new();
    for (at, letter) in name.chars().enumerate() {
        let start = letter.is_ascii_alphabetic() || letter == '_' && !unicode;
        let later = letter.is_ascii_digit() || dots && letter == '.';
        if start || later && at > 0 {
            adjusted.push(letter);
        } else if unicode {
            push_unicode(letter, &mut adjusted);
        } else {
            for _ in 0..letter.len_utf16() {
                adjusted.push('_');
            }
            // A leading digit stays, behind the underscore.
            if letter.is_ascii_digit() {
                adjusted.push(letter);
            }
        }
    }
    adjusted
}

/// The `__debezium.context.*` headers of every data record, in order: name and serialised value.
///
/// `run_id` is a UUID that a task takes at its start. None with `extended.headers.enabled=false`.
#[must_use]
pub fn context_headers(config: &config::Encode, run_id: &str) -> Vec<(String, Vec<u8>)> {
    if !config.extended_headers {
        return Vec::new();
    }
    [
        ("connectorLogicalName", config.topic_prefix.as_str()),
        ("taskId", "0"),
        ("connectorName", CONNECTOR),
        ("runId", run_id),
    ]
    .into_iter()
    .map(|(name, value)| {
        let serialised = match &config.header_converter {
            Converter::Json(_) => {
                let writer =
                    Writer::compile(&Schema::new(Kind::String), &config.header_converter, 0);
                let mut out = Vec::new();
                if let Ok(writer) = writer {
                    writer.put(&Value::String(value.to_owned()), &mut out);
                }
                out
            }
            _ => value.as_bytes().to_vec(),
        };
        (format!("__debezium.context.{name}"), serialised)
    })
    .collect()
}

/// Writes Connect values of one schema as one converter does: the way of records that are not rows.
#[derive(Debug)]
pub struct Writer {
    schema: Schema,
    format: Format,
}

#[derive(Debug)]
enum Format {
    Avro {
        /// The five bytes before the datum.
        prefix: [u8; 5],
        defaults: bool,
        /// In another schema than its own.
        rewrite: Option<Arc<Resolution>>,
    },
    Json {
        /// All that precedes the payload.
        head: Vec<u8>,
        tail: &'static [u8],
        numeric: bool,
        defaults: bool,
    },
    Text,
}

/// What precedes an Avro datum: a zero byte, and the schema's id.
pub(crate) fn avro_prefix(id: u32) -> [u8; 5] {
    let [a, b, c, d] = id.to_be_bytes();
    [0, a, b, c, d]
}

/// What precedes and what follows a payload in JsonConverter's text.
pub(crate) fn json_frame(
    schema: &Schema,
    converter: config::JsonConverter,
) -> (Vec<u8>, &'static [u8]) {
    if !converter.schemas_enable {
        return (Vec::new(), b"");
    }
    let mut head = b"{\"schema\":".to_vec();
    schema.put_json(&mut head, converter.decimal_numeric);
    head.extend_from_slice(b",\"payload\":");
    (head, b"}")
}

impl Writer {
    /// A writer of values of `schema`, which the registry knows by `id` where that matters.
    ///
    /// Errors: a converter that cannot write such values.
    pub fn compile(schema: &Schema, converter: &Converter, id: u32) -> Result<Self, PlanError> {
        let format = match converter {
            Converter::Avro(avro) => Format::Avro {
                prefix: avro_prefix(id),
                defaults: !avro.ignore_defaults,
                rewrite: None,
            },
            Converter::Json(json) => {
                let (head, tail) = json_frame(schema, *json);
                Format::Json {
                    head,
                    tail,
                    numeric: json.decimal_numeric,
                    defaults: json.replace_null_with_default,
                }
            }
            Converter::String => Format::Text,
            other => return Err(unsupported_converter(other)),
        };
        Ok(Self {
            schema: schema.clone(),
            format,
        })
    }

    /// The same, writing Avro in another schema than its own.
    ///
    /// Errors: that schema has no place for all that may be written.
    pub fn rewritten(mut self, to: Option<Arc<Resolution>>) -> Result<Self, PlanError> {
        if to.as_ref().is_some_and(|to| !to.is_total()) {
            let what = "a schema of the registry's that cannot hold all such records".to_owned();
            return Err(PlanError::Unsupported { what });
        }
        if let Format::Avro { rewrite, .. } = &mut self.format {
            *rewrite = to;
        }
        Ok(self)
    }

    /// Appends the value.
    pub fn put(&self, value: &Value, out: &mut Vec<u8>) {
        match &self.format {
            Format::Avro {
                prefix,
                defaults,
                rewrite,
            } => {
                out.extend_from_slice(prefix);
                let Some(rewrite) = rewrite else {
                    return value.put::<Avro>(&self.schema, out, false, *defaults);
                };
                let mut datum = Vec::new();
                value.put::<Avro>(&self.schema, &mut datum, false, *defaults);
                // It has a place for every datum.
                let _ = rewrite.put(&datum, &mut Vec::new(), out);
            }
            Format::Json {
                head,
                tail,
                numeric,
                defaults,
            } => {
                out.extend_from_slice(head);
                value.put::<Json>(&self.schema, out, *numeric, *defaults);
                out.extend_from_slice(tail);
            }
            Format::Text => {
                let start = out.len();
                value.put::<Text>(&self.schema, out, true, false);
                Text::finish(out, start);
            }
        }
    }
}

pub(crate) fn unsupported_converter(converter: &Converter) -> PlanError {
    let what = match converter {
        Converter::ByteArray => {
            "ByteArrayConverter, which takes bytes only, for records, which are structs,"
        }
        Converter::SimpleHeader => "SimpleHeaderConverter for keys and values",
        Converter::Avro(_) | Converter::Json(_) | Converter::String => "this converter",
    };
    PlanError::Unsupported {
        what: what.to_owned(),
    }
}

/// Key and value of a kind of record that is not a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// Where such records go.
    pub topic: String,
    /// The key's schema.
    pub key: Schema,
    /// The value's schema.
    pub value: Schema,
    /// What a transform adds to each key, behind its other fields.
    pub key_field: Option<Value>,
}

impl Notice {
    /// The same after the connector's transforms; none: they leave such records out.
    ///
    /// Errors: transforms that are not supported.
    pub fn transformed(self, config: &config::Encode) -> Result<Option<Self>, PlanError> {
        Ok(Chain::compile(config)?.notice(self))
    }

    /// Heartbeats: always to partition 0.
    #[must_use]
    pub fn heartbeat(config: &config::Encode) -> Self {
        Self {
            topic: config.heartbeat_topic.clone(),
            key: Schema::record(
                "io.debezium.connector.common.ServerNameKey",
                vec![("serverName", Schema::new(Kind::String))],
            ),
            value: Schema::record(
                "io.debezium.connector.common.Heartbeat",
                vec![("ts_ms", Schema::new(Kind::Int64))],
            ),
            key_field: None,
        }
    }

    /// The transaction topic's BEGIN and END.
    #[must_use]
    pub fn transaction(config: &config::Encode) -> Self {
        let collection = Schema::record(
            "event.collection",
            vec![
                ("data_collection", Schema::new(Kind::String)),
                ("event_count", Schema::new(Kind::Int64)),
            ],
        );
        let collections = Schema::new(Kind::Array(Box::new(collection.optional())));
        Self {
            topic: config.transaction_topic.clone(),
            key: Schema::record(
                "io.debezium.connector.common.TransactionMetadataKey",
                vec![("id", Schema::new(Kind::String))],
            ),
            value: Schema::record(
                "io.debezium.connector.common.TransactionMetadataValue",
                vec![
                    ("status", Schema::new(Kind::String)),
                    ("id", Schema::new(Kind::String)),
                    ("event_count", Schema::new(Kind::Int64).optional()),
                    ("data_collections", collections.optional()),
                    ("ts_ms", Schema::new(Kind::Int64)),
                ],
            ),
            key_field: None,
        }
    }

    /// Logical decoding messages.
    #[must_use]
    pub fn message(config: &config::Encode) -> Self {
        let prefix = || Schema::new(Kind::String).optional();
        let content = match config.binary {
            BinaryMode::Bytes => Schema::new(Kind::Bytes),
            _ => Schema::new(Kind::String),
        };
        let message = Schema::record(
            "io.debezium.connector.postgresql.Message",
            vec![("prefix", prefix()), ("content", content.optional())],
        );
        Self {
            topic: sanitize_topic(&format!("{}.message", config.topic_prefix)),
            key: Schema::record(
                "io.debezium.connector.postgresql.MessageKey",
                vec![("prefix", prefix())],
            ),
            value: Schema::record(
                "io.debezium.connector.postgresql.MessageValue",
                vec![
                    ("op", Schema::new(Kind::String)),
                    ("ts_ms", Schema::new(Kind::Int64).optional()),
                    ("source", source_schema()),
                    ("transaction", transaction_schema()),
                    ("message", message),
                ],
            ),
            key_field: None,
        }
    }
}

/// Key and value of a heartbeat; `ts_ms` is the clock, in milliseconds since 1970.
#[must_use]
pub fn heartbeat(config: &config::Encode, ts_ms: i64) -> (Value, Value) {
    let server = Value::String(config.topic_prefix.clone());
    (
        Value::Struct(vec![server]),
        Value::Struct(vec![Value::Integer(ts_ms)]),
    )
}

/// Key and value of a transaction's BEGIN; `lsn` is the Begin message's, `ts_ms` commit time.
#[must_use]
pub fn transaction_begin(xid: u32, lsn: u64, ts_ms: i64) -> (Value, Value) {
    let id = transaction_id(xid, lsn);
    let value = vec![
        Value::String("BEGIN".to_owned()),
        id.clone(),
        Value::Null,
        Value::Null,
        Value::Integer(ts_ms),
    ];
    (Value::Struct(vec![id]), Value::Struct(value))
}

/// Key and value of a transaction's END; `lsn` is the Commit message's. `collections` are the
/// `schema.table` names with their counts; they are written in the order of Java's HashMap.
#[must_use]
pub fn transaction_end(
    xid: u32,
    lsn: u64,
    ts_ms: i64,
    collections: &[(String, i64)],
) -> (Value, Value) {
    let id = transaction_id(xid, lsn);
    let total = collections.iter().map(|(_, count)| count).sum();
    let listed = super::step::java_order(collections.to_vec(), |(name, _)| name.as_bytes())
        .into_iter()
        .map(|(name, count)| Value::Struct(vec![Value::String(name), Value::Integer(count)]))
        .collect();
    let value = vec![
        Value::String("END".to_owned()),
        id.clone(),
        Value::Integer(total),
        Value::Array(listed),
        Value::Integer(ts_ms),
    ];
    (Value::Struct(vec![id]), Value::Struct(value))
}

/// What every record of a table says of its origin.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    pub(crate) prefix: String,
    pub(crate) database: String,
    pub(crate) schema: String,
    pub(crate) table: String,
}

/// A leaf of the envelope that is an integer; null where there is none.
fn leaf_integer(origin: Leaf, event: &Event<'_>) -> Option<i64> {
    let source = &event.source;
    match origin {
        Leaf::TsMs => Some(event.now_ns.div_euclid(1_000_000)),
        Leaf::TsUs => Some(event.now_ns.div_euclid(1000)),
        Leaf::TsNs => Some(event.now_ns),
        Leaf::SourceTsMs => Some(source.ts_us.div_euclid(1000)),
        Leaf::SourceTsUs => Some(source.ts_us),
        Leaf::SourceTsNs => Some(source.ts_us.saturating_mul(1000)),
        Leaf::TotalOrder => source.transaction.map(|block| block.total_order),
        Leaf::CollectionOrder => source.transaction.map(|block| block.collection_order),
        Leaf::TxId => source.tx_id,
        Leaf::Lsn => source.lsn.map(u64::cast_signed),
        Leaf::Xmin => source.xmin,
        Leaf::OriginLsn => source.origin_lsn.map(u64::cast_signed),
        _ => None,
    }
}

/// A leaf of the envelope that is a text known as it is; none where it must be built or is null.
fn leaf_text<'t>(origin: Leaf, event: &Event<'t>, names: &'t Names) -> Option<&'t str> {
    match origin {
        Leaf::Deleted if event.op == Operation::Delete => Some("true"),
        Leaf::Deleted => Some("false"),
        Leaf::Op => Some(event.op.text()),
        Leaf::Version => Some(VERSION),
        Leaf::Connector => Some(CONNECTOR),
        Leaf::Name => Some(&names.prefix),
        Leaf::Db => Some(&names.database),
        Leaf::Schema => Some(&names.schema),
        Leaf::Table => Some(&names.table),
        Leaf::Snapshot => mark_text(event.source.snapshot),
        Leaf::Origin => event.source.origin,
        _ => None,
    }
}

/// Appends a leaf of the envelope as an optional field.
pub(crate) fn put_leaf<F: Form>(origin: Leaf, event: &Event<'_>, names: &Names, out: &mut Vec<u8>) {
    if let Some(text) = leaf_text(origin, event, names) {
        put_branch::<F>(&origin.schema(), false, out);
        return F::string(out, text.as_bytes());
    }
    match (origin, event.source.transaction) {
        (Leaf::Sequence, _) => {
            F::some(out);
            put_sequence::<F>(event.source.last_commit_lsn, event.source.lsn, out);
        }
        (Leaf::TransactionId, Some(block)) => {
            F::some(out);
            F::ascii(out, |out| put_transaction_id(block.xid, block.lsn, out));
        }
        _ => put_long_or_null::<F>(leaf_integer(origin, event), out),
    }
}

/// Appends a leaf of the envelope as SimpleHeaderConverter writes it alone. False: it is null.
pub(crate) fn put_leaf_header(
    origin: Leaf,
    event: &Event<'_>,
    names: &Names,
    out: &mut Vec<u8>,
) -> bool {
    if let Some(text) = leaf_text(origin, event, names) {
        out.extend_from_slice(text.as_bytes());
        return true;
    }
    match (
        origin,
        event.source.transaction,
        leaf_integer(origin, event),
    ) {
        (Leaf::Sequence, ..) => {
            put_sequence_of(event.source.last_commit_lsn, event.source.lsn, b"\"", out);
        }
        (Leaf::TransactionId, Some(block), _) => put_transaction_id(block.xid, block.lsn, out),
        (.., Some(value)) => put_decimal(out, value),
        _ => return false,
    }
    true
}

/// The mark's text. In the stream it is not set: its default says "false" for it.
fn mark_text(mark: SnapshotMark) -> Option<&'static str> {
    (mark != SnapshotMark::False).then_some(MARKS[mark as usize].1)
}

fn mark_value(mark: SnapshotMark) -> Value {
    mark_text(mark).map_or(Value::Null, |text| Value::String(text.to_owned()))
}

fn sequence_text(source: &SourceBlock<'_>) -> String {
    let mut text = Vec::new();
    put_sequence_of(source.last_commit_lsn, source.lsn, b"\"", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn transaction_id(xid: u32, lsn: u64) -> Value {
    Value::String(format!("{xid}:{lsn}"))
}

/// Key and value of a logical decoding message; `now_ms` is the clock.
#[must_use]
pub fn message(
    config: &config::Encode,
    database: &str,
    source: &SourceBlock<'_>,
    now_ms: i64,
    prefix: &str,
    content: &[u8],
) -> (Value, Value) {
    let string = |text: &str| Value::String(text.to_owned());
    let content = match super::mapping::binary_mode(config) {
        super::step::Binary::Bytes => Value::Bytes(content.to_vec()),
        binary => {
            let mut text = Vec::new();
            super::step::put_binary_text(content, binary, &mut text);
            Value::String(String::from_utf8_lossy(&text).into_owned())
        }
    };
    let transaction = source.transaction.map_or(Value::Null, |block| {
        Value::Struct(vec![
            transaction_id(block.xid, block.lsn),
            Value::Integer(block.total_order),
            Value::Integer(block.collection_order),
        ])
    });
    let value = vec![
        string("m"),
        Value::Integer(now_ms),
        source_value(config, database, "", "", source),
        transaction,
        Value::Struct(vec![string(prefix), content]),
    ];
    (Value::Struct(vec![string(prefix)]), Value::Struct(value))
}

/// A source block, the slow way.
pub(crate) fn source_value(
    config: &config::Encode,
    database: &str,
    schema: &str,
    table: &str,
    source: &SourceBlock<'_>,
) -> Value {
    let string = |text: &str| Value::String(text.to_owned());
    let long = |value: Option<i64>| value.map_or(Value::Null, Value::Integer);
    Value::Struct(vec![
        string(VERSION),
        string(CONNECTOR),
        string(&config.topic_prefix),
        Value::Integer(source.ts_us.div_euclid(1000)),
        mark_value(source.snapshot),
        string(database),
        Value::String(sequence_text(source)),
        Value::Integer(source.ts_us),
        Value::Integer(source.ts_us.saturating_mul(1000)),
        string(schema),
        string(table),
        long(source.tx_id),
        long(source.lsn.map(u64::cast_signed)),
        long(source.xmin),
        source.origin.map_or(Value::Null, string),
        long(source.origin_lsn.map(u64::cast_signed)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_in_the_order_of_their_enumerations() {
        for (at, (mark, _)) in MARKS.iter().enumerate() {
            assert_eq!(*mark as usize, at);
        }
        for (at, operation) in OPERATIONS.iter().enumerate() {
            assert_eq!(*operation as usize, at);
        }
    }

    #[test]
    fn heartbeats_are_debeziums() {
        let json = |schemas_enable| {
            Converter::Json(config::JsonConverter {
                schemas_enable,
                decimal_numeric: false,
                replace_null_with_default: true,
            })
        };
        let worker = config::Properties::parse(b"bootstrap.servers=b:9092\n").unwrap();
        let connector =
            b"name=a\nconnector.class=io.debezium.connector.postgresql.PostgresConnector\n\
            topic.prefix=srv\ndatabase.hostname=h\ndatabase.user=u\ndatabase.dbname=d\n\
            plugin.name=pgoutput\nkey.converter=org.apache.kafka.connect.json.JsonConverter\n\
            value.converter=org.apache.kafka.connect.json.JsonConverter\n";
        let connector = config::Properties::parse(connector).unwrap();
        let config = config::Config::load(&worker, &connector).unwrap().0.encode;
        let notice = Notice::heartbeat(&config);
        assert_eq!(notice.topic, "__debezium-heartbeat.srv");
        assert_eq!(
            notice.key.avro(config::AvroText::default()),
            r#"{"type":"record","name":"ServerNameKey","namespace":"io.debezium.connector.common","fields":[{"name":"serverName","type":"string"}],"connect.version":1,"connect.name":"io.debezium.connector.common.ServerNameKey"}"#
        );
        assert_eq!(
            notice.value.avro(config::AvroText::default()),
            r#"{"type":"record","name":"Heartbeat","namespace":"io.debezium.connector.common","fields":[{"name":"ts_ms","type":"long"}],"connect.version":1,"connect.name":"io.debezium.connector.common.Heartbeat"}"#
        );
        let (key, value) = heartbeat(&config, 7);
        let written = |schema: &Schema, value: &Value, schemas| {
            let mut out = Vec::new();
            Writer::compile(schema, &json(schemas), 0)
                .unwrap()
                .put(value, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(&notice.key, &key, false), r#"{"serverName":"srv"}"#);
        assert_eq!(
            written(&notice.value, &value, true),
            r#"{"schema":{"type":"struct","fields":[{"type":"int64","optional":false,"field":"ts_ms"}],"optional":false,"name":"io.debezium.connector.common.Heartbeat","version":1},"payload":{"ts_ms":7}}"#
        );
    }

    #[test]
    fn topics_are_what_kafka_takes() {
        assert_eq!(sanitize_topic("srv.My-Schema.T 1é"), "srv.My-Schema.T_1_");
        assert_eq!(sanitize_topic("a😀b"), "a__b");
        assert_eq!(sanitize_topic(".."), "__");
        assert_eq!(sanitize_topic(&"x".repeat(300)).len(), 249);
    }

    #[test]
    fn names_are_adjusted_as_asked() {
        use NameAdjustment::{Avro, AvroUnicode, None};
        for (name, dots, none, avro, unicode) in [
            (
                "srv.My-Schema.T_1_",
                true,
                "srv.My-Schema.T_1_",
                "srv.My_Schema.T_1_",
                "srv.My_u002dSchema.T_u005f1_u005f",
            ),
            ("Id-1", false, "Id-1", "Id_1", "Id_u002d1"),
            ("1col", false, "1col", "_1col", "_u0031col"),
            ("a.b", false, "a.b", "a_b", "a_u002eb"),
            ("ünï", false, "ünï", "_n_", "_u00fcn_u00ef"),
        ] {
            assert_eq!(adjust(name, None, dots), none);
            assert_eq!(adjust(name, Avro, dots), avro);
            assert_eq!(adjust(name, AvroUnicode, dots), unicode);
        }
    }
}
