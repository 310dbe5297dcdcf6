//! Door: `.properties` in, a [`Config`] out that is right or does not exist.
//!
//! ```text
//!   worker.properties ──► properties ─┐           table: what may be said, and what is meant
//!                                     ├► providers ─► load ─► Config, warnings
//!   connector.properties ► properties ┘                 └───► every problem at once
//! ```
//!
//! Every property that Kafka Connect, Debezium's PostgreSQL connector, its converters and Kafka's
//! producer know is a row of [`table`]; validation, "did you mean", defaults and
//! docs/configuration.md are made from these rows.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::budget::Budget;

pub mod properties;
pub mod table;

mod jaas;
mod load;
mod pattern;
mod providers;

pub use load::{File, Inspection, Problem, Setting, Severity, Warning};
pub use pattern::{Filter, Pattern, TableFilter};
pub use properties::Properties;

/// An enumeration whose values have the names that the property gives them.
///
/// Names are compared without regard to case, as Debezium compares them.
pub trait Named: Sized + Copy + 'static {
    /// Every value's name, in the order of the documentation.
    const NAMES: &'static [&'static str];

    /// The value of that name.
    fn named(name: &str) -> Option<Self>;

    /// The name in the property.
    fn name(self) -> &'static str;
}

macro_rules! named {
    ($type:ident { $($variant:ident = $name:literal),+ $(,)? }) => {
        impl Named for $type {
            const NAMES: &'static [&'static str] = &[$($name),+];

            fn named(name: &str) -> Option<Self> {
                $(if name.eq_ignore_ascii_case($name) {
                    return Some(Self::$variant);
                })+
                None
            }

            fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }
        }
    };
}

/// All that one connector's pipe needs to know, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The connector's `name`: part of the stored offset's key.
    pub name: String,
    /// The server that is read.
    pub source: Source,
    /// What is captured.
    pub capture: Capture,
    /// How rows become records.
    pub encode: Encode,
    /// The cluster that is written.
    pub sink: Sink,
    /// `task.shutdown.graceful.timeout.ms`: how long what is in flight may take after a signal.
    pub shutdown_timeout: Duration,
    /// Where positions are kept.
    pub offsets: Offsets,
    /// What becomes of rows that cannot be sent.
    pub errors: Errors,
    /// `penstock.memory.max`, divided.
    pub budget: Budget,
}

impl Config {
    /// The connector runs beside others in one process: `of` in all, which share its memory.
    pub fn share_memory(&mut self, of: usize) {
        self.budget = Budget::divide(self.budget.ceiling, of);
        self.sink.records_bytes_max = self.budget.records;
    }
}

/// `errors.*`: rows that cannot be sent.
#[derive(Debug, Clone)]
pub struct Errors {
    /// `errors.tolerance=all`: they are left out.
    pub tolerated: bool,
    /// `errors.deadletterqueue.topic.name`
    pub dead_letters: Option<DeadLetters>,
    /// `errors.log.enable`
    pub logged: bool,
    /// `errors.log.include.messages`
    pub logged_whole: bool,
    /// `errors.retry.timeout`; none: for ever.
    pub retry_timeout: Option<Duration>,
    /// `errors.retry.delay.max.ms`
    pub retry_delay_max: Duration,
    /// `event.processing.failure.handling.mode`: rows that cannot be converted.
    pub processing: FailureMode,
}

/// `errors.deadletterqueue.*`
#[derive(Debug, Clone)]
pub struct DeadLetters {
    /// `topic.name`
    pub topic: String,
    /// `topic.replication.factor`; -1: the broker's.
    pub replication_factor: i16,
    /// `context.headers.enable`
    pub context_headers: bool,
}

/// `database.*`, slot and publication.
#[derive(Clone)]
pub struct Source {
    /// `database.hostname`; a path (`/run/postgresql`) means a Unix socket in that directory.
    pub host: String,
    /// `database.port`.
    pub port: u16,
    /// `database.user`.
    pub user: String,
    /// `database.password`. Never printed.
    pub password: Option<String>,
    /// `database.dbname`.
    pub database: String,
    /// `database.sslmode`.
    pub ssl_mode: SslMode,
    /// `database.sslrootcert`: a PEM file.
    pub ssl_root_cert: Option<String>,
    /// `database.sslcert`: a PEM file.
    pub ssl_cert: Option<String>,
    /// `database.sslkey`: a PEM or PKCS#8 DER file.
    pub ssl_key: Option<String>,
    /// `database.initial.statements`, one each.
    pub initial_statements: Vec<String>,
    /// `slot.name`.
    pub slot: String,
    /// `slot.drop.on.stop`.
    pub slot_drop_on_stop: bool,
    /// `slot.failover`.
    pub slot_failover: bool,
    /// `slot.stream.params`: extra options of START_REPLICATION.
    pub slot_stream_params: Vec<(String, String)>,
    /// `slot.max.retries`.
    pub slot_max_retries: u32,
    /// `slot.retry.delay.ms`.
    pub slot_retry_delay: Duration,
    /// `publication.name`.
    pub publication: String,
    /// `publication.autocreate.mode`.
    pub publication_autocreate: PublicationAutocreate,
    /// `publish.via.partition.root`.
    pub publish_via_partition_root: bool,
    /// `replica.identity.autoset.values`: tables and what they are altered to, first match wins.
    pub replica_identities: Vec<(Pattern, ReplicaIdentity)>,
    /// `database.query.timeout.ms`; none: no limit.
    pub query_timeout: Option<Duration>,
    /// `connection.validation.timeout.ms`: for a connection to be made.
    pub connect_timeout: Duration,
    /// `database.tcpKeepAlive`
    pub tcp_keepalive: bool,
    /// `offset.mismatch.strategy`
    pub offset_mismatch: OffsetMismatch,
    /// `lsn.flush.mode`
    pub lsn_flush: LsnFlush,
    /// `status.update.interval.ms`.
    pub status_update_interval: Duration,
    /// `penstock.wal.retained.warn`: bytes; 0: never.
    pub wal_retained_warn: u64,
    /// `errors.max.retries`: of the whole pipe after a retriable failure; none: for ever.
    pub max_retries: Option<u32>,
    /// `retriable.restart.connector.wait.ms`.
    pub retry_wait: Duration,
}

/// `database.sslmode`, as libpq names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "libpq's own names say it")]
pub enum SslMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

named!(SslMode {
    Disable = "disable",
    Allow = "allow",
    Prefer = "prefer",
    Require = "require",
    VerifyCa = "verify-ca",
    VerifyFull = "verify-full",
});

/// `publication.autocreate.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicationAutocreate {
    /// The publication must exist.
    Disabled,
    /// `FOR ALL TABLES`.
    AllTables,
    /// `FOR TABLE` every captured table; altered when the set differs.
    Filtered,
    /// Created empty.
    NoTables,
}

named!(PublicationAutocreate {
    Disabled = "disabled",
    AllTables = "all_tables",
    Filtered = "filtered",
    NoTables = "no_tables",
});

/// What REPLICA IDENTITY a table is altered to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplicaIdentity {
    /// The primary key.
    Default,
    /// The whole row.
    Full,
    /// No old row.
    Nothing,
    /// USING INDEX of this name.
    Index(String),
}

/// `offset.mismatch.strategy`: whom to believe when the stored position and the slot differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetMismatch {
    /// Start from the stored position, whatever the slot says.
    NoValidation,
    /// The stored position; the slot is advanced to it.
    TrustOffset,
    /// The slot's position.
    TrustSlot,
    /// Whichever is greater.
    TrustGreaterLsn,
}

named!(OffsetMismatch {
    NoValidation = "no_validation",
    TrustOffset = "trust_offset",
    TrustSlot = "trust_slot",
    TrustGreaterLsn = "trust_greater_lsn",
});

/// `lsn.flush.mode`: who moves the slot on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LsnFlush {
    /// We, as records are acknowledged.
    Connector,
    /// Somebody else: the slot's position is never confirmed.
    Manual,
    /// We, keepalives of an idle database included. What we always do: the same as `Connector`.
    ConnectorAndDriver,
}

named!(LsnFlush {
    Connector = "connector",
    Manual = "manual",
    ConnectorAndDriver = "connector_and_driver",
});

/// Which tables, columns and operations, and the snapshot.
#[derive(Debug, Clone)]
pub struct Capture {
    /// `schema.*.list` and `table.*.list`.
    pub tables: TableFilter,
    /// `column.*.list`.
    pub columns: Filter,
    /// `snapshot.mode`.
    pub snapshot_mode: SnapshotMode,
    /// `snapshot.include.collection.list`; no pattern: all captured tables.
    pub snapshot_tables: Filter,
    /// `snapshot.max.threads`.
    pub snapshot_max_threads: u32,
    /// `snapshot.select.statement.overrides.<schema>.<table>`: statement by `schema.table`.
    pub snapshot_overrides: BTreeMap<String, String>,
    /// `snapshot.delay.ms`.
    pub snapshot_delay: Duration,
    /// `streaming.delay.ms`: between the snapshot and the stream.
    pub streaming_delay: Duration,
    /// `skipped.operations`; `None` when the property was not set (then truncates are skipped).
    pub skipped_operations: Option<Vec<Operation>>,
    /// `skip.messages.without.change`.
    pub skip_unchanged: bool,
    /// `heartbeat.interval.ms`; zero: off.
    pub heartbeat_interval: Duration,
    /// `heartbeat.action.query`.
    pub heartbeat_action_query: Option<String>,
    /// `provide.transaction.metadata`.
    pub transaction_metadata: bool,
    /// `message.prefix.*.list`.
    pub message_prefixes: Filter,
}

/// The letter in `op`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `r`: a row of the snapshot.
    Read,
    /// `c`
    Create,
    /// `u`
    Update,
    /// `d`
    Delete,
    /// `t`
    Truncate,
    /// `m`: a logical decoding message.
    Message,
}

named!(Operation {
    Read = "r",
    Create = "c",
    Update = "u",
    Delete = "d",
    Truncate = "t",
    Message = "m",
});

/// `snapshot.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotMode {
    /// When no offset is stored, or the stored one says that the snapshot did not complete.
    Initial,
    /// At every start.
    Always,
    /// As initial, then stop.
    InitialOnly,
    /// Never.
    NoData,
    /// As initial, and when the stored position is no longer available.
    WhenNeeded,
}

named!(SnapshotMode {
    Initial = "initial",
    Always = "always",
    InitialOnly = "initial_only",
    NoData = "no_data",
    WhenNeeded = "when_needed",
});

/// How a change becomes bytes.
#[derive(Debug, Clone)]
pub struct Encode {
    /// `topic.prefix`.
    pub topic_prefix: String,
    /// `topic.delimiter`.
    pub topic_delimiter: String,
    /// `topic.naming.strategy`
    pub topic_naming: TopicNaming,
    /// `topic.heartbeat.prefix` and prefix joined, or `topic.heartbeat.name`.
    pub heartbeat_topic: String,
    /// `<prefix><d><topic.transaction>`.
    pub transaction_topic: String,
    /// The converter of record keys.
    pub key_converter: Converter,
    /// The converter of record values.
    pub value_converter: Converter,
    /// The converter of headers.
    pub header_converter: Converter,
    /// `decimal.handling.mode`.
    pub decimal: DecimalMode,
    /// `time.precision.mode`.
    pub time: TimeMode,
    /// `interval.handling.mode`.
    pub interval: IntervalMode,
    /// `hstore.handling.mode`.
    pub hstore: HstoreMode,
    /// `binary.handling.mode`.
    pub binary: BinaryMode,
    /// `money.fraction.digits`.
    pub money_fraction_digits: u32,
    /// `include.unknown.datatypes`.
    pub include_unknown: bool,
    /// `unavailable.value.placeholder`, `hex:` already decoded.
    pub unavailable: Vec<u8>,
    /// `schema.name.adjustment.mode`.
    pub schema_names: NameAdjustment,
    /// `field.name.adjustment.mode`, with the rule for Avro converters applied.
    pub field_names: NameAdjustment,
    /// `tombstones.on.delete`.
    pub tombstones: bool,
    /// `extended.headers.enabled`.
    pub extended_headers: bool,
    /// `message.key.columns`, on `schema.table.column`, in order.
    pub message_keys: Vec<Pattern>,
    /// `column.mask.*`, `column.truncate.*`, `column.propagate.source.type` and their kin.
    pub column_rules: Vec<ColumnRule>,
    /// `transforms`, in order.
    pub transforms: Vec<Transform>,
    /// `event.converting.failure.handling.mode`
    pub conversion_failure: FailureMode,
    /// `penstock.compat`.
    pub compat: Compat,
}

/// `topic.naming.strategy`: how a table's topic is named.
#[derive(Debug, Clone)]
pub struct TopicNaming {
    /// `<prefix><d><schema><d><table>`; the strategies called Default leave out the schema.
    pub schema: bool,
    /// What becomes of that name.
    pub form: TopicForm,
}

/// The second half of a [`TopicNaming`].
#[derive(Debug, Clone)]
pub enum TopicForm {
    /// Other characters than `[A-Za-z0-9._-]` become `_`.
    Plain,
    /// Other characters become `_uXXXX`.
    Unicode,
    /// A rewriting, then as `Plain`.
    Regex {
        /// `topic.regex`, matched against the whole name.
        regex: Pattern,
        /// `topic.replacement`, with Java's `$1` and `${name}`.
        replacement: String,
        /// `topic.key.*`; none without `topic.key.enforce.uniqueness`.
        key: Option<Box<TopicKey>>,
    },
}

/// The name before the rewriting as a field of each key, so that keys of tables that share a topic
/// differ.
#[derive(Debug, Clone)]
pub struct TopicKey {
    /// `topic.key.field.name`
    pub field: String,
    /// `topic.key.field.regex` and `topic.key.field.replacement`: what is made of that name.
    pub rewrite: Option<(Pattern, String)>,
}

/// `event.converting.failure.handling.mode`: what a value that cannot be converted does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureMode {
    /// Ends the pipe.
    Fail,
    /// Becomes null, and a line in the log.
    Warn,
    /// Becomes null, quietly.
    Skip,
}

named!(FailureMode { Fail = "fail", Warn = "warn", Skip = "skip" });

/// `penstock.compat`: what to do where Debezium is plainly wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compat {
    /// The value that a consumer can trust.
    Correct,
    /// Debezium's bytes.
    Debezium,
}

named!(Compat { Correct = "correct", Debezium = "debezium" });

/// `decimal.handling.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the property's own values")]
pub enum DecimalMode {
    Precise,
    Double,
    String,
}

named!(DecimalMode { Precise = "precise", Double = "double", String = "string" });

/// `time.precision.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the property's own values")]
pub enum TimeMode {
    Adaptive,
    AdaptiveTimeMicroseconds,
    Microseconds,
    Nanoseconds,
    Connect,
    IsoString,
}

named!(TimeMode {
    Adaptive = "adaptive",
    AdaptiveTimeMicroseconds = "adaptive_time_microseconds",
    Microseconds = "microseconds",
    Nanoseconds = "nanoseconds",
    Connect = "connect",
    IsoString = "isostring",
});

/// `interval.handling.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the property's own values")]
pub enum IntervalMode {
    Numeric,
    String,
}

named!(IntervalMode { Numeric = "numeric", String = "string" });

/// `hstore.handling.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the property's own values")]
pub enum HstoreMode {
    Json,
    Map,
}

named!(HstoreMode { Json = "json", Map = "map" });

/// `binary.handling.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the property's own values")]
pub enum BinaryMode {
    Bytes,
    Base64,
    Base64UrlSafe,
    Hex,
}

named!(BinaryMode {
    Bytes = "bytes",
    Base64 = "base64",
    Base64UrlSafe = "base64-url-safe",
    Hex = "hex",
});

/// `schema.name.adjustment.mode`, `field.name.adjustment.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the property's own values")]
pub enum NameAdjustment {
    None,
    Avro,
    AvroUnicode,
}

named!(NameAdjustment { None = "none", Avro = "avro", AvroUnicode = "avro_unicode" });

/// What turns a Connect value into bytes.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "there are three of them")]
pub enum Converter {
    /// `org.apache.kafka.connect.json.JsonConverter`
    Json(JsonConverter),
    /// `io.confluent.connect.avro.AvroConverter`
    Avro(AvroConverter),
    /// `org.apache.kafka.connect.storage.StringConverter`
    String,
    /// `org.apache.kafka.connect.converters.ByteArrayConverter`
    ByteArray,
    /// `org.apache.kafka.connect.storage.SimpleHeaderConverter`; headers only.
    SimpleHeader,
}

/// The options of JsonConverter.
#[derive(Debug, Clone, Copy)]
pub struct JsonConverter {
    /// `schemas.enable`
    pub schemas_enable: bool,
    /// `decimal.format`: true for NUMERIC.
    pub decimal_numeric: bool,
    /// `replace.null.with.default`
    pub replace_null_with_default: bool,
}

/// The options of AvroConverter.
#[derive(Debug, Clone)]
pub struct AvroConverter {
    /// How the registry is reached.
    pub registry: Registry,
    /// `auto.register.schemas`
    pub auto_register: bool,
    /// `use.latest.version`
    pub use_latest_version: bool,
    /// `use.schema.id`: the schema to write in, before `use_latest_version`.
    pub use_schema_id: Option<u32>,
    /// `latest.compatibility.strict` or `id.compatibility.strict`, whichever is of the schema that
    /// is written: it must have a place for all that the table's own has.
    pub strict: bool,
    /// `normalize.schemas`
    pub normalize: bool,
    /// What its schemas say.
    pub text: AvroText,
    /// `ignore.default.for.nullables`: a null in a field with a default stays null.
    pub ignore_defaults: bool,
    /// `key.subject.name.strategy` or `value.subject.name.strategy`, by which side this is.
    pub subject_name: SubjectName,
}

/// What AvroConverter's schemas say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AvroText {
    /// `connect.meta.data`
    pub meta: bool,
    /// `scrub.invalid.names`
    pub scrubs: bool,
}

impl Default for AvroText {
    /// AvroConverter's own defaults.
    fn default() -> Self {
        Self {
            meta: true,
            scrubs: false,
        }
    }
}

/// How a schema registry is reached.
#[derive(Clone, PartialEq, Eq)]
pub struct Registry {
    /// `schema.registry.url`: tried in order.
    pub urls: Vec<String>,
    /// `basic.auth.*` or the URL's own: user and password. Never printed.
    pub basic_auth: Option<(String, String)>,
    /// `bearer.auth.token`. Never printed.
    pub bearer_token: Option<String>,
    /// `request.header.<name>`: added to every request. Never printed.
    pub request_headers: Vec<(String, String)>,
    /// `max.retries`: further tries on each address.
    pub max_retries: u32,
    /// `retries.wait.ms`: before the first of them; doubles.
    pub retry_wait: Duration,
    /// `retries.max.wait.ms`
    pub retry_wait_max: Duration,
    /// `http.connect.timeout.ms`
    pub connect_timeout: Duration,
    /// `http.read.timeout.ms`
    pub read_timeout: Duration,
    /// `schema.registry.ssl.*`, for `https` addresses.
    pub tls: Tls,
}

impl Registry {
    /// The registry at these addresses, everything else as by default.
    #[must_use]
    pub fn new(urls: Vec<String>) -> Self {
        Self {
            urls,
            basic_auth: None,
            bearer_token: None,
            request_headers: Vec::new(),
            max_retries: 3,
            retry_wait: Duration::from_secs(1),
            retry_wait_max: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(60),
            read_timeout: Duration::from_secs(60),
            tls: Tls::default(),
        }
    }
}

/// How a subject is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectName {
    /// `<topic>-key`, `<topic>-value`
    Topic,
    /// The record's full name.
    Record,
    /// `<topic>-<record's full name>`
    TopicRecord,
}

/// A rule on columns.
#[derive(Debug, Clone)]
pub struct ColumnRule {
    /// Matched on `schema.table.column` (on `schema.table.type` for `datatype.propagate…`).
    pub columns: Filter,
    /// What is done.
    pub action: ColumnAction,
}

/// What a [`ColumnRule`] does.
#[derive(Debug, Clone)]
pub enum ColumnAction {
    /// `column.truncate.to.<n>.chars`
    Truncate(u32),
    /// `column.mask.with.<n>.chars`
    Mask(u32),
    /// `column.mask.hash[.v2].<algorithm>.with.salt.<salt>`
    Hash {
        /// Java's name of the digest.
        algorithm: String,
        /// Hashed before the value.
        salt: String,
        /// v2 hashes UTF-8, v1 Java's serialised form.
        v2: bool,
    },
    /// `column.propagate.source.type`
    PropagateType,
    /// `datatype.propagate.source.type`
    PropagateDatatype,
}

/// One of `transforms`: its alias, class and own options.
#[derive(Debug, Clone)]
pub struct Transform {
    /// The name in `transforms`.
    pub alias: String,
    /// `transforms.<alias>.type`
    pub class: String,
    /// The other `transforms.<alias>.` properties, without that prefix.
    pub options: BTreeMap<String, String>,
    /// `transforms.<alias>.predicate`: only for records of which it holds.
    pub predicate: Option<Predicate>,
    /// `transforms.<alias>.negate`: only for records of which it does not hold.
    pub negate: bool,
}

/// One of `predicates`.
#[derive(Debug, Clone)]
pub enum Predicate {
    /// `org.apache.kafka.connect.transforms.predicates.TopicNameMatches`
    TopicNameMatches(Pattern),
    /// `org.apache.kafka.connect.transforms.predicates.RecordIsTombstone`
    RecordIsTombstone,
}

/// The cluster that is written, and the producer.
#[derive(Clone)]
pub struct Sink {
    /// `bootstrap.servers`
    pub bootstrap: Vec<String>,
    /// `client.id`
    pub client_id: String,
    /// `security.protocol`: TLS or not, and `ssl.*`.
    pub tls: Option<Tls>,
    /// `sasl.*`
    pub sasl: Option<Sasl>,
    /// `producer.override.compression.type` and its kin: `none`, `gzip`, `snappy`, `lz4`, `zstd`.
    pub compression: Compression,
    /// `compression.<codec>.level`, when given.
    pub compression_level: Option<i32>,
    /// `acks`: -1 for all.
    pub acks: i16,
    /// `enable.idempotence`; never with `acks` other than all.
    pub idempotent: bool,
    /// `batch.size`: bytes at which a batch is sealed.
    pub batch_bytes: usize,
    /// `linger.ms`
    pub linger: Duration,
    /// `max.request.size`
    pub request_bytes_max: usize,
    /// `max.in.flight.requests.per.connection`
    pub in_flight_max: usize,
    /// `buffer.memory`: bytes of records that wait or are in flight.
    pub buffer_bytes_max: usize,
    /// Bytes of memory for them, by [`Budget::records`].
    pub records_bytes_max: usize,
    /// `request.timeout.ms`
    pub request_timeout: Duration,
    /// `delivery.timeout.ms`; none: for ever.
    pub delivery_timeout: Option<Duration>,
    /// `retry.backoff.ms`
    pub retry_backoff: Duration,
    /// `retry.backoff.max.ms`
    pub retry_backoff_max: Duration,
    /// `reconnect.backoff.ms`
    pub reconnect_backoff: Duration,
    /// `reconnect.backoff.max.ms`
    pub reconnect_backoff_max: Duration,
    /// `socket.connection.setup.timeout.ms`
    pub connect_timeout: Duration,
    /// `metadata.max.age.ms`
    pub metadata_max_age: Duration,
    /// `topic.creation.*`: in order, `default` last; empty: the broker's auto-creation.
    pub topic_creation: Vec<TopicCreation>,
    /// `exactly.once.support`, the worker's and the connector's word together.
    pub exactly_once: bool,
    /// `transactional.id` that Connect would use for the task: `<group.id>-<name>-0`.
    pub transactional_id: String,
    /// `transaction.timeout.ms`
    pub transaction_timeout: Duration,
    /// `penstock.transaction.version`: the highest that is spoken.
    pub transaction_version: i16,
}

/// `compression.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the property's own values")]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

named!(Compression { None = "none", Gzip = "gzip", Snappy = "snappy", Lz4 = "lz4", Zstd = "zstd" });

/// `ssl.*` of a client of Kafka or of the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Trusted certificates; none: the system's.
    pub root_cert: Option<Pem>,
    /// The client's certificate chain.
    pub cert: Option<Pem>,
    /// The client's key, PKCS#8.
    pub key: Option<Pem>,
    /// `ssl.endpoint.identification.algorithm` is not empty.
    pub verify_hostname: bool,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            root_cert: None,
            cert: None,
            key: None,
            verify_hostname: true,
        }
    }
}

/// Where PEM text is.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    /// A file's path: `ssl.truststore.location`, `ssl.keystore.location`.
    File(String),
    /// The text itself: `ssl.truststore.certificates`, `ssl.keystore.certificate.chain`,
    /// `ssl.keystore.key`. Never printed.
    Text {
        /// Which of them, as the file has it.
        property: String,
        /// Its value.
        text: String,
    },
}

impl Pem {
    /// The file's path, or the property's name.
    #[must_use]
    pub fn place(&self) -> &str {
        match self {
            Self::File(path) => path,
            Self::Text { property, .. } => property,
        }
    }
}

/// `sasl.mechanism` and what `sasl.jaas.config` says.
#[derive(Clone, PartialEq, Eq)]
pub struct Sasl {
    /// The mechanism.
    pub mechanism: SaslMechanism,
    /// The user.
    pub user: String,
    /// The password. Never printed.
    pub password: String,
}

/// `sasl.mechanism`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the property's own values")]
pub enum SaslMechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

named!(SaslMechanism {
    Plain = "PLAIN",
    ScramSha256 = "SCRAM-SHA-256",
    ScramSha512 = "SCRAM-SHA-512",
});

/// One group of `topic.creation.groups`.
#[derive(Debug, Clone)]
pub struct TopicCreation {
    /// Topics that the group takes, by their whole name.
    pub topics: Filter,
    /// Less these.
    pub except: Filter,
    /// `partitions`; -1: the broker's default.
    pub partitions: i32,
    /// `replication.factor`; -1: the broker's default.
    pub replication_factor: i16,
    /// Any topic configuration.
    pub configs: BTreeMap<String, String>,
}

impl TopicCreation {
    /// Whether the group takes this topic; the first group of the list that does creates it.
    #[must_use]
    pub fn takes(&self, topic: &str) -> bool {
        self.topics.accepts(topic) && self.except.accepts(topic)
    }
}

/// Where positions are kept.
#[derive(Debug, Clone)]
pub struct Offsets {
    /// `offset.storage.topic`; `penstock-offsets` where the worker has none.
    pub topic: String,
    /// `offset.storage.partitions`
    pub partitions: i32,
    /// `offset.storage.replication.factor`
    pub replication_factor: i16,
    /// `offset.storage.file.filename`: read at the start, and kept up to date.
    pub file: Option<String>,
    /// `offset.flush.interval.ms`
    pub flush_interval: Duration,
}

/// Prints everything but the password.
impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("user", &self.user)
            .field("database", &self.database)
            .field("ssl_mode", &self.ssl_mode)
            .field("slot", &self.slot)
            .field("publication", &self.publication)
            .finish_non_exhaustive()
    }
}

/// Prints the addresses only.
impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("urls", &self.urls)
            .finish_non_exhaustive()
    }
}

/// Prints everything but the password.
impl std::fmt::Debug for Sasl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sasl")
            .field("mechanism", &self.mechanism)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Prints everything but credentials.
impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sink")
            .field("bootstrap", &self.bootstrap)
            .field("client_id", &self.client_id)
            .field("tls", &self.tls)
            .field("sasl", &self.sasl)
            .field("compression", &self.compression)
            .field("acks", &self.acks)
            .finish_non_exhaustive()
    }
}

/// Prints where, not what.
impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Text { property, .. } => f.debug_tuple("Text").field(property).finish(),
        }
    }
}
