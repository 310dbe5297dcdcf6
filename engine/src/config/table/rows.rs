//! The rows: what may stand in which file, section by section.
//!
//! A row is a property on as few lines as it takes; rustfmt would give every argument its own.

use super::{Default, Format, Importance, Kind, Property, Section, Status, Wording, Words};
use crate::budget::{MEMORY_MIN, parse_size};
use crate::config::load::{message_key, parse_replica_identity};
use crate::config::pattern::split_list;
use crate::config::providers;
use crate::config::{
    BinaryMode, Compat, Compression, DecimalMode, FailureMode, HstoreMode, IntervalMode, LsnFlush,
    NameAdjustment, Named, OffsetMismatch, Pattern, PublicationAutocreate, SaslMechanism,
    SnapshotMode, SslMode, TimeMode,
};

// ---- how a row is written ----------------------------------------------------------------------

const fn row(name: &'static str, kind: Kind, default: Default, doc: &'static str) -> Property {
    Property {
        name,
        kind,
        default,
        theirs: None,
        importance: Importance::Medium,
        status: Status::Works,
        doc,
    }
}

const fn is(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Property {
    row(name, kind, Default::Is(default), doc)
}

const fn optional(name: &'static str, kind: Kind, doc: &'static str) -> Property {
    row(name, kind, Default::None, doc)
}

const fn required(name: &'static str, kind: Kind, doc: &'static str) -> Property {
    row(name, kind, Default::Required, doc).high()
}

const fn renamed(name: &'static str, new: &'static str, doc: &'static str) -> Property {
    let old = row(name, Kind::Text, Default::None, doc).low();
    Property {
        status: Status::Renamed(new),
        ..old
    }
}

impl Property {
    const fn high(self) -> Self {
        Self {
            importance: Importance::High,
            ..self
        }
    }

    const fn low(self) -> Self {
        Self {
            importance: Importance::Low,
            ..self
        }
    }

    /// Kafka Connect's or Debezium's default.
    const fn theirs(self, theirs: &'static str) -> Self {
        Self {
            theirs: Some(theirs),
            ..self
        }
    }

    const fn no_effect(self, why: &'static str) -> Self {
        Self {
            status: Status::NoEffect(why),
            ..self
        }
    }

    const fn ignored(self, line: &'static str) -> Self {
        Self {
            status: Status::Ignored(line),
            ..self
        }
    }

    const fn refused(self, line: &'static str) -> Self {
        Self {
            status: Status::Refused(line),
            ..self
        }
    }
}

pub(super) const INT_MAX: i64 = 2_147_483_647;
const POSITIVE: Kind = Kind::Int(1, INT_MAX);
const NON_NEGATIVE: Kind = Kind::Int(0, INT_MAX);
const LONG: Kind = Kind::Long(i64::MIN);
const POSITIVE_LONG: Kind = Kind::Long(1);
const NON_NEGATIVE_LONG: Kind = Kind::Long(0);

const fn words(names: &'static [&'static str]) -> Kind {
    Kind::Word(Words {
        names,
        renamed: &[],
        refused: &[],
    })
}

const fn format(allowed: &'static str, check: fn(&str) -> Result<(), String>) -> Kind {
    Kind::Format(Format { allowed, check })
}

// ---- the worker's file -------------------------------------------------------------------------

const NO_REST: &str = "there is no REST API in `penstock standalone`";
const ONE_CLIENT: &str =
    "one client does everything; `producer.` and `producer.override.` set it up";
const NO_GROUP: &str = "a standalone process is in no group of workers";
const NO_INTERNAL_TOPIC: &str = "connectors come from files: only offsets are kept in Kafka";
const NO_PLUGINS: &str = "everything is built in";
const NO_JMX: &str = "there is no JMX here";

/// What turns keys and values into bytes.
pub const CONVERTERS: &[&str] = &[
    "io.confluent.connect.avro.AvroConverter",
    "org.apache.kafka.connect.json.JsonConverter",
    "org.apache.kafka.connect.storage.StringConverter",
    "org.apache.kafka.connect.converters.ByteArrayConverter",
];
const HEADER_CONVERTERS: &[&str] = &[
    "org.apache.kafka.connect.storage.SimpleHeaderConverter",
    "org.apache.kafka.connect.json.JsonConverter",
    "org.apache.kafka.connect.storage.StringConverter",
    "org.apache.kafka.connect.converters.ByteArrayConverter",
];

/// Worker file, below no prefix.
#[rustfmt::skip]
pub static WORKER: Section = Section {
    title: "Worker file",
    intro: "The first file of `penstock standalone`: the cluster, the converters of connectors \
            that name none, and where positions are kept. Below `key.converter.`, \
            `value.converter.` and `header.converter.` stand the converter's own settings, below \
            `producer.` those of the Kafka client.",
    wording: Wording::Kafka,
    properties: &[
        required("bootstrap.servers", format("host:port, …", check_servers),
            "Brokers to ask first."),
        row("key.converter", Kind::Class(CONVERTERS), Default::Required, "Turns keys into bytes.")
            .high(),
        row("value.converter", Kind::Class(CONVERTERS), Default::Required,
            "Turns values into bytes.").high(),
        is("header.converter", Kind::Class(HEADER_CONVERTERS),
            "org.apache.kafka.connect.storage.SimpleHeaderConverter",
            "Turns header values into bytes."),
        is("penstock.memory.max", MEMORY, "64MiB",
            "All memory of the process, connectors together: `67108864`, `64MiB`, `1GiB`. A row may \
            take an eighth of it or so.").high(),
        is("offset.storage.topic", Kind::Text, "penstock-offsets",
            "Compacted topic of positions, in Connect's format.").high()
            .theirs("none: a standalone worker has a file"),
        is("offset.storage.partitions", Kind::Int(-1, INT_MAX), "25",
            "Its partitions when we create it; -1: the broker's default."),
        is("offset.storage.replication.factor", Kind::Int(-1, 32767), "-1",
            "Its replicas when we create it; -1: the broker's default.").theirs("3"),
        optional("offset.storage.file.filename", Kind::Text,
            "Offset file of a standalone Connect worker: a place to start from, and kept up to date \
            so that Connect can go on from it."),
        is("offset.flush.interval.ms", POSITIVE_LONG, "1000", "How often positions are written.")
            .theirs("60000"),
        is("offset.flush.timeout.ms", LONG, "5000", "How long a writing of positions may take.")
            .low().no_effect("positions are records like others, under `delivery.timeout.ms`"),
        is("task.shutdown.graceful.timeout.ms", NON_NEGATIVE_LONG, "5000",
            "How long what is in flight may take after SIGTERM or Ctrl-C."),
        is("topic.creation.enable", Kind::Boolean, "true",
            "Whether `topic.creation.*` of connectors are heeded."),
        optional("config.providers", Kind::List, "Names of providers for `${name:path:key}` in \
            values."),
        optional("config.providers.<name>.class", Kind::Class(providers::CLASSES),
            "The provider's class."),
        optional("config.providers.<name>.param.allowed.paths", Kind::List,
            "Files and directories that it may read; none: any.").low(),
        optional("config.providers.<name>.param.allowlist.pattern", Kind::Text,
            "Environment variables that it may read, as a regular expression; none: any.").low(),
        optional("config.providers.<name>.param.<parameter>", Kind::Text, "Other parameters.").low()
            .no_effect("none of the three providers has others"),
        is("connector.client.config.override.policy", words(&["All", "None", "Principal",
            "Allowlist"]), "All", "Which `producer.override.*` a connector may set."),
        optional("connector.client.config.override.allowlist", Kind::List,
            "Those, for `Allowlist`.").low(),
        is("exactly.once.source.support", words(&["disabled", "preparing", "enabled"]), "enabled",
            "Records and positions in one Kafka transaction: each event once for a \
            `read_committed` reader.").theirs("disabled"),
        is("group.id", Kind::Text, "penstock", "First part of the transactional id; nothing else.")
            .low().theirs("required, when distributed"),
        optional("plugin.path", Kind::List, "Where Connect finds plugins.").no_effect(NO_PLUGINS),
        optional("plugin.discovery", Kind::Text, "How it finds them.").low().no_effect(NO_PLUGINS),
        optional("listeners", Kind::List, "Addresses of the REST API.").no_effect(NO_REST),
        optional("listeners.https.<option>", Kind::Password, "Its TLS.").low().no_effect(NO_REST),
        optional("rest.port", Kind::Text, "Its port, before Kafka 3.0.").low().no_effect(NO_REST),
        optional("rest.host.name", Kind::Text, "Its host, before Kafka 3.0.").low()
            .no_effect(NO_REST),
        optional("rest.advertised.<option>", Kind::Text, "Its address as others see it.").low()
            .no_effect(NO_REST),
        optional("rest.extension.classes", Kind::List, "Its extensions.").low().no_effect(NO_REST),
        optional("admin.listeners", Kind::List, "Addresses of its `/admin`.").low()
            .no_effect(NO_REST),
        optional("access.control.allow.<option>", Kind::Text, "Its CORS headers.").low()
            .no_effect(NO_REST),
        optional("response.http.headers.config", Kind::Text, "Its further headers.").low()
            .no_effect(NO_REST),
        optional("topic.tracking.<option>", Kind::Text, "Its list of topics.").low()
            .no_effect(NO_REST),
        optional("internal.key.converter", Kind::Text, "Converter of offsets, before Kafka 2.0.")
            .low().no_effect("offsets are JSON, as in Connect since 2.0"),
        optional("internal.key.converter.<option>", Kind::Text, "Its settings.").low()
            .no_effect("offsets are JSON, as in Connect since 2.0"),
        optional("internal.value.converter", Kind::Text, "Converter of offsets, before Kafka 2.0.")
            .low().no_effect("offsets are JSON, as in Connect since 2.0"),
        optional("internal.value.converter.<option>", Kind::Text, "Its settings.").low()
            .no_effect("offsets are JSON, as in Connect since 2.0"),
        optional("offset.storage", Kind::Text, "Class of the offset store, in Debezium Server.")
            .low().no_effect("offsets are kept in `offset.storage.topic`"),
        optional("offset.storage.<topic-config>", Kind::Text,
            "Any configuration of the offsets topic.").low()
            .no_effect("it is created compacted, everything else as the broker has it"),
        optional("config.storage.<option>", Kind::Text, "The topic of connectors.").low()
            .no_effect(NO_INTERNAL_TOPIC),
        optional("status.storage.<option>", Kind::Text, "The topic of states.").low()
            .no_effect(NO_INTERNAL_TOPIC),
        optional("internal.topics.automatic.creation.enable", Kind::Boolean,
            "Whether Connect makes its topics.").low().no_effect(NO_INTERNAL_TOPIC),
        optional("session.timeout.ms", Kind::Text, "Of a group of workers.").low()
            .no_effect(NO_GROUP),
        optional("heartbeat.interval.ms", Kind::Text, "Of a group of workers.").low()
            .no_effect(NO_GROUP),
        optional("rebalance.timeout.ms", Kind::Text, "Of a group of workers.").low()
            .no_effect(NO_GROUP),
        optional("worker.<option>", Kind::Text, "Of a group of workers.").low().no_effect(NO_GROUP),
        optional("connect.protocol", Kind::Text, "Of a group of workers.").low()
            .no_effect(NO_GROUP),
        optional("scheduled.rebalance.max.delay.ms", Kind::Text, "Of a group of workers.").low()
            .no_effect(NO_GROUP),
        optional("inter.worker.<option>", Kind::Text, "Of a group of workers.").low()
            .no_effect(NO_GROUP),
        optional("client.id", Kind::Text, "Name of the worker's own clients.").low()
            .no_effect(ONE_CLIENT),
        optional("client.dns.lookup", Kind::Text, "How names of brokers are looked up.").low()
            .no_effect("every address of a name is tried"),
        optional("request.timeout.ms", Kind::Text, "Of the worker's own clients.").low()
            .no_effect(ONE_CLIENT),
        optional("metadata.max.age.ms", Kind::Text, "Of the worker's own clients.").low()
            .no_effect(ONE_CLIENT),
        optional("metadata.recovery.<option>", Kind::Text, "Of the worker's own clients.").low()
            .no_effect(ONE_CLIENT),
        optional("retry.backoff.<option>", Kind::Text, "Of the worker's own clients.").low()
            .no_effect(ONE_CLIENT),
        optional("reconnect.backoff.<option>", Kind::Text, "Of the worker's own clients.").low()
            .no_effect(ONE_CLIENT),
        optional("socket.connection.<option>", Kind::Text, "Of the worker's own clients.").low()
            .no_effect(ONE_CLIENT),
        optional("connections.max.idle.ms", Kind::Text, "Of the worker's own clients.").low()
            .no_effect(ONE_CLIENT),
        optional("send.buffer.bytes", Kind::Text, "Of the worker's own clients.").low()
            .no_effect(ONE_CLIENT),
        optional("receive.buffer.bytes", Kind::Text, "Of the worker's own clients.").low()
            .no_effect(ONE_CLIENT),
        optional("consumer.<option>", Kind::Password, "Of consumers of sink connectors.").low()
            .no_effect("there are no sink connectors here"),
        optional("admin.<option>", Kind::Password, "Of the client that creates topics.").low()
            .no_effect(ONE_CLIENT),
        optional("metric.reporters", Kind::List, "Java classes.").low().no_effect(NO_JMX),
        optional("metrics.<option>", Kind::Text, "Of Connect's metrics.").low().no_effect(NO_JMX),
        optional("auto.include.jmx.reporter", Kind::Text, "Of Connect's metrics.").low()
            .no_effect(NO_JMX),
    ],
};

// ---- the connector's file: Connect's own -------------------------------------------------------

/// Connector file: what every connector has.
#[rustfmt::skip]
pub static CONNECT: Section = Section {
    title: "Connector file: Kafka Connect",
    intro: "What every connector of Connect has. Converters named here replace the worker's, \
            together with all of their settings: the two are never merged. Below \
            `producer.override.` stand settings of the Kafka client.",
    wording: Wording::Kafka,
    properties: &[
        required("name", Kind::Text, "The connector's name: part of stored positions."),
        required("connector.class",
            Kind::Class(&["io.debezium.connector.postgresql.PostgresConnector",
            "PostgresConnector", "Postgres"]), "The one connector there is."),
        is("tasks.max", POSITIVE, "1", "A slot has one reader: one task, whatever this says.")
            .no_effect("there is always one task"),
        optional("tasks.max.enforce", Kind::Boolean, "Whether more tasks than `tasks.max` are an \
            error.").low().no_effect("there is always one task"),
        optional("tasks.<option>", Kind::Text, "Other settings of tasks.").low()
            .no_effect("there is always one task"),
        optional("connector.plugin.version", Kind::Text, "Version of the plugin.").low()
            .no_effect(NO_PLUGINS),
        optional("key.converter", Kind::Class(CONVERTERS),
            "Turns keys into bytes; none: the worker's.").high(),
        optional("value.converter", Kind::Class(CONVERTERS),
            "Turns values into bytes; none: the worker's.").high(),
        optional("header.converter", Kind::Class(HEADER_CONVERTERS),
            "Turns header values into bytes; none: the worker's."),
        optional("transforms", Kind::List, "Names of transforms, in order."),
        optional("transforms.<name>.type", Kind::Class(TRANSFORMS), "A transform's class.").high(),
        optional("transforms.<name>.predicate", Kind::Text,
            "Only for records that this predicate accepts."),
        is("transforms.<name>.negate", Kind::Boolean, "false",
            "Only for records that it does not accept."),
        optional("transforms.<name>.<option>", Kind::Text, "A transform's own options."),
        optional("predicates", Kind::List, "Names of predicates."),
        optional("predicates.<name>.type", Kind::Class(PREDICATES), "A predicate's class."),
        optional("predicates.<name>.pattern", format("Java's regular expression", check_pattern),
            "TopicNameMatches: what the whole topic must match."),
        optional("predicates.<name>.<option>", Kind::Text, "Other options of a predicate.").low()
            .ignored("the two predicates here have no others"),
        is("errors.retry.timeout", Kind::Long(-1), "0",
            "ms for which a converter asks a registry that fails again and again, before the pipe \
            starts anew; -1: for ever."),
        is("errors.retry.delay.max.ms", POSITIVE_LONG, "60000", "Longest wait between two tries."),
        is("errors.tolerance", words(&["none", "all"]), "none",
            "Whether a row that cannot be converted, or is too large for Kafka or for \
            `penstock.memory.max`, ends the connector, or is left out."),
        is("errors.log.enable", Kind::Boolean, "false", "Each row that is left out is logged."),
        is("errors.log.include.messages", Kind::Boolean, "false", "With its key."),
        optional("errors.deadletterqueue.topic.name", Kind::Text,
            "Topic that gets a description of each row that is left out, in the row's own \
            transaction; none: they are counted only."),
        is("errors.deadletterqueue.topic.replication.factor", Kind::Int(-1, 32767), "3",
            "Its replicas when we create it; -1: the broker's default."),
        is("errors.deadletterqueue.context.headers.enable", Kind::Boolean, "false",
            "Its records carry Connect's `__connect.errors.*` headers."),
        optional("config.action.reload", Kind::Text, "What a changed `${…}` does.").low()
            .no_effect("files are read once, at start"),
        optional("topic.creation.groups", Kind::List,
            "Groups of topics, in order; `default` is the last.").low(),
        optional("topic.creation.default.partitions", PARTITIONS,
            "Partitions of topics that we create; -1: the broker's default."),
        optional("topic.creation.default.replication.factor", REPLICAS,
            "Their replicas; -1: the broker's default."),
        optional("topic.creation.<group>.include", Kind::Patterns, "Topics of a group.").low(),
        optional("topic.creation.<group>.exclude", Kind::Patterns,
            "Topics that are not of a group.").low(),
        optional("topic.creation.<group>.partitions", PARTITIONS,
            "Partitions of a group's topics; none: those of `default`.").low(),
        optional("topic.creation.<group>.replication.factor", REPLICAS,
            "Their replicas; none: those of `default`.").low(),
        optional("topic.creation.<group>.<topic-config>", Kind::Text,
            "Any topic configuration, `cleanup.policy` or `compression.type`.").low(),
        is("exactly.once.support", words(&["requested", "required", "disabled"]), "requested",
            "Whether the connector writes in transactions; `disabled` is ours."),
        optional("transaction.boundary", words(&["poll", "interval", "connector"]),
            "What a Kafka transaction holds.").low().no_effect("a transaction ends as soon as the \
            one before is committed"),
        optional("transaction.boundary.interval.ms", Kind::Long(0), "How long one lasts.").low()
            .no_effect("a transaction ends as soon as the one before is committed"),
        optional("offsets.storage.topic", Kind::Text,
            "The connector's own offsets topic; none: the worker's.").low(),
        optional("admin.override.<option>", Kind::Password, "Of the client that creates topics.")
            .low().no_effect(ONE_CLIENT),
        optional("consumer.override.<option>", Kind::Password, "Of the client that reads offsets.")
            .low().no_effect(ONE_CLIENT),
    ],
};

const PARTITIONS: Kind = format("a number of at least 1, or -1", check_count);
const REPLICAS: Kind = format("a number of at least 1, or -1", check_count);

/// Transforms that records can pass.
pub const TRANSFORMS: &[&str] = &[
    "io.debezium.transforms.ExtractNewRecordState",
    "io.debezium.transforms.ByLogicalTableRouter",
    "org.apache.kafka.connect.transforms.RegexRouter",
    "org.apache.kafka.connect.transforms.Filter",
];

/// Old names of [`TRANSFORMS`].
pub const RENAMED_TRANSFORMS: &[(&str, &str)] = &[(
    "io.debezium.transforms.UnwrapFromEnvelope",
    "io.debezium.transforms.ExtractNewRecordState",
)];

/// What conditions of transforms there are.
const PREDICATES: &[&str] = &[
    "org.apache.kafka.connect.transforms.predicates.TopicNameMatches",
    "org.apache.kafka.connect.transforms.predicates.RecordIsTombstone",
];

/// Options of [`TRANSFORMS`], in their order: those that there are, and those that we do not have.
pub const TRANSFORM_OPTIONS: &[(&[&str], &[&str])] = &[
    (
        &[
            "delete.tombstone.handling.mode",
            "add.fields",
            "add.fields.prefix",
            "add.headers",
            "add.headers.prefix",
            "replace.null.with.default",
            "drop.fields.header.name",
            "drop.fields.from.key",
            "drop.fields.keep.schema.compatible",
            "drop.tombstones",
            "delete.handling.mode",
            "add.source.fields",
            "operation.header",
            "route.by.field",
        ],
        &[],
    ),
    (
        &[
            "topic.regex",
            "topic.replacement",
            "key.enforce.uniqueness",
            "key.field.name",
            "key.field.regex",
            "key.field.replacement",
            "logical.table.cache.size",
            "schema.name.adjustment.mode",
        ],
        &[],
    ),
    (&["regex", "replacement"], &[]),
    (&[], &[]),
];

/// Options of transforms whose values are words, in any case.
pub const TRANSFORM_WORDS: &[(&str, &[&str])] = &[
    (
        "delete.tombstone.handling.mode",
        &[
            "drop",
            "tombstone",
            "rewrite",
            "rewrite-with-tombstone",
            "delete-to-tombstone",
        ],
    ),
    ("delete.handling.mode", &["drop", "rewrite", "none"]),
    ("drop.tombstones", BOOLEAN),
    ("replace.null.with.default", BOOLEAN),
    ("drop.fields.from.key", BOOLEAN),
    ("drop.fields.keep.schema.compatible", BOOLEAN),
    ("operation.header", BOOLEAN),
    ("key.enforce.uniqueness", BOOLEAN),
    ("schema.name.adjustment.mode", NameAdjustment::NAMES),
];
const BOOLEAN: &[&str] = &["true", "false"];

/// What `add.fields` and `add.headers` may name beside columns: of the envelope, of its
/// transaction, of its source.
pub const METADATA_FIELDS: [&[&str]; 3] = [
    &["op", "ts_ms", "ts_us", "ts_ns"],
    &["id", "total_order", "data_collection_order"],
    &[
        "version",
        "connector",
        "name",
        "ts_ms",
        "snapshot",
        "db",
        "sequence",
        "ts_us",
        "ts_ns",
        "schema",
        "table",
        "txId",
        "lsn",
        "xmin",
        "origin",
        "origin_lsn",
    ],
];

/// Options without which a transform says nothing.
pub const REQUIRED_TRANSFORM_OPTIONS: &[&[&str]] = &[
    &[],
    &["topic.regex", "topic.replacement"],
    &["regex", "replacement"],
    &[],
];

/// Part of the name of a class that people know, and what it would take.
pub const REFUSED_CLASSES: &[(&str, &str)] = &[
    (
        "outbox.EventRouter",
        "a topic and a key of each row's own content",
    ),
    ("ContentBasedRouter", "an interpreter of scripts"),
    ("io.debezium.transforms.Filter", "an interpreter of scripts"),
    ("PartitionRouting", "a partition of each row's own content"),
    (
        "BinaryDataConverter",
        "values that are bytes, and records are structs",
    ),
    (
        "ProtobufConverter",
        "a form of records that this version does not have",
    ),
    (
        "JsonSchemaConverter",
        "a form of records that this version does not have",
    ),
    (
        "CloudEventsConverter",
        "a form of records that this version does not have",
    ),
    (
        "apicurio",
        "another registry's API; Apicurio's own /apis/ccompat works with Confluent's AvroConverter",
    ),
];

// ---- the connector's file: Debezium's ----------------------------------------------------------

const NO_QUEUE: &str =
    "there is no queue between reading and writing: a row goes from one buffer to the other";
const NO_JDBC: &str = "there is no JDBC here";
const NO_SIGNALS: &str = "signals and incremental snapshots are not supported by this version";
const NO_NOTIFICATIONS: &str = "notifications are not supported by this version";
const NO_LINEAGE: &str = "OpenLineage is not supported";
const NO_JAVA_CLASS: &str = "it names a Java class, and there is no Java here";
const ONE_SNAPSHOT: &str =
    "the copy reads from one exported snapshot, under ACCESS SHARE, which stops no writer";

const MODE_CUSTOM: &str = "a custom snapshotter is a Java class, and there is no Java here";
const MODE_CONFIGURATION: &str =
    "use one of the other modes: the five switches behind this one are not supported";

/// Connector file: what Debezium's connector has.
#[rustfmt::skip]
pub static DEBEZIUM: Section = Section {
    title: "Connector file: Debezium's PostgreSQL connector",
    intro: "Every property of Debezium 3.6, and the names that were valid since 1.0. Lists hold \
            Java's regular expressions between commas (`\\,` is a comma), matched against the \
            whole name in any case: `schema`, `schema.table` or `schema.table.column`.",
    wording: Wording::Debezium,
    properties: &[
        required("database.hostname", format("a host name or address, or the directory of a Unix \
            socket", check_host), "The server.").theirs("no Unix socket"),
        is("database.port", Kind::Int(1, 65535), "5432", "Its port.").high(),
        required("database.user", Kind::Text, "Needs LOGIN and REPLICATION."),
        optional("database.password", Kind::Password, "Its password.").high(),
        required("database.dbname", Kind::Text, "The database."),
        required("topic.prefix", format("letters, digits, `_`, `-`, `.`", check_topic_part),
            "First part of every topic's name, and the server's name in records and positions."),
        is("plugin.name", Kind::Word(Words { names: &["pgoutput"], renamed: &[("decoderbufs",
            "pgoutput"), ("wal2json", "pgoutput"), ("wal2json_streaming", "pgoutput"),
            ("wal2json_rds", "pgoutput"), ("wal2json_rds_streaming", "pgoutput")], refused: &[],
            }), "pgoutput", "The output plug-in: always PostgreSQL's own.").high()
            .theirs("decoderbufs"),
        is("slot.name", format("1 to 63 of `a`-`z`, `0`-`9`, `_`", check_slot), "debezium",
            "The replication slot, created when it does not exist.").high(),
        is("slot.drop.on.stop", Kind::Boolean, "false",
            "Drop it at an orderly stop: what happens until the next start is lost."),
        is("slot.failover", Kind::Boolean, "false", "Create it with FAILOVER, on a primary of \
            PostgreSQL 17 or later.").low(),
        optional("slot.stream.params", format("name=value;…", check_stream_params),
            "Further options of START_REPLICATION.").low(),
        is("slot.max.retries", NON_NEGATIVE, "6", "Tries to get hold of the slot."),
        is("slot.retry.delay.ms", NON_NEGATIVE_LONG, "10000", "Wait between two of them."),
        is("publication.name", Kind::Text, "dbz_publication", "The publication.").high(),
        is("publication.autocreate.mode", words(PublicationAutocreate::NAMES), "all_tables",
            "How it is created when it does not exist.").high(),
        is("publish.via.partition.root", Kind::Boolean, "false",
            "Create it so that changes of partitions come as changes of their root.").low(),
        optional("replica.identity.autoset.values",
            format("table:DEFAULT|FULL|NOTHING|INDEX name, …", check_replica_identities),
            "Replica identities to set at start.").low(),
        is("database.sslmode", words(SslMode::NAMES), "prefer",
            "TLS to PostgreSQL, as libpq names it."),
        optional("database.sslrootcert", Kind::Text, "PEM file of trusted certificates."),
        optional("database.sslcert", Kind::Text, "PEM file of the client's certificate.").low(),
        optional("database.sslkey", Kind::Text, "PEM or PKCS#8 DER file of its key.").low(),
        optional("database.sslpassword", Kind::Password, "Password of that file.").low()
            .refused("an encrypted key cannot be read: decrypt it (openssl pkcs8)"),
        optional("database.sslfactory", Kind::Text, "A Java class.").low().ignored(NO_JAVA_CLASS),
        is("database.tcpKeepAlive", Kind::Boolean, "true", "TCP's own keepalives.").low()
            .ignored("they are always on"),
        optional("database.initial.statements", Kind::Text,
            "SQL run on each connection that reads, between semicolons (`;;` is one).").low(),
        is("database.query.timeout.ms", NON_NEGATIVE, "600000",
            "How long a query may take; 0: for ever.").low()
            .no_effect("the server's `statement_timeout` holds, none by default"),
        is("connection.validation.timeout.ms", POSITIVE_LONG, "60000",
            "How long connecting may take.").low(),
        optional("database.connection.factory.class", Kind::Text, "A Java class.").low()
            .refused(NO_JAVA_CLASS),
        optional("database.loginTimeout", Kind::Text, "Of the JDBC driver.").low()
            .no_effect("`connection.validation.timeout.ms` bounds connecting"),
        optional("database.socketTimeout", Kind::Text, "Of the JDBC driver.").low()
            .no_effect(NO_JDBC),
        optional("database.connectTimeout", Kind::Text, "Of the JDBC driver.").low()
            .no_effect("`connection.validation.timeout.ms` bounds connecting"),
        optional("database.ApplicationName", Kind::Text, "Of the JDBC driver.").low()
            .no_effect(NO_JDBC),
        optional("driver.<option>", Kind::Text, "Settings of the JDBC driver.").low()
            .ignored(NO_JDBC),
        optional("schema.include.list", Kind::Patterns, "Schemas to capture; none: all."),
        optional("schema.exclude.list", Kind::Patterns, "Schemas not to capture."),
        optional("table.include.list", Kind::Patterns, "Tables to capture; none: all.").high(),
        optional("table.exclude.list", Kind::Patterns, "Tables not to capture.").high(),
        is("table.ignore.builtin", Kind::Boolean, "true",
            "Leave out PostgreSQL's own schemas and PostGIS's `spatial_ref_sys`.").low(),
        optional("column.include.list", Kind::Patterns, "Columns to capture; none: all."),
        optional("column.exclude.list", Kind::Patterns, "Columns not to capture."),
        optional("message.key.columns", format("table:column,…;…", check_key_columns),
            "Columns that are a table's key instead of its primary key, as regular expressions: \
            `schema.table:column` is matched as `schema.table.column`, a blank before the colon \
            included."),
        optional("column.mask.with.<n>.chars", Kind::Patterns,
            "Columns of characters whose values are n asterisks."),
        optional("column.mask.hash.v2.<algorithm>.with.salt.<salt>", Kind::Patterns,
            "Columns of characters whose values are a salted digest of their UTF-8."),
        optional("column.mask.hash.<algorithm>.with.salt.<salt>", Kind::Patterns,
            "The same, of Java's serialised form."),
        optional("column.truncate.to.<n>.chars", Kind::Patterns, "Columns cut to n characters."),
        optional("column.propagate.source.type", Kind::Patterns,
            "Columns whose type, length and scale go into the schema."),
        optional("datatype.propagate.source.type", Kind::Patterns,
            "The same by type: `schema.table.type`."),
        is("skip.messages.without.change", Kind::Boolean, "false",
            "Leave out updates that change no captured column (REPLICA IDENTITY FULL).").low(),
        is("skipped.operations", format("of c, u, d, t; or none", check_skipped), "t",
            "Operations to leave out."),
        is("decimal.handling.mode", words(DecimalMode::NAMES), "precise",
            "numeric and money: Connect's Decimal, a double, or text.").high(),
        is("time.precision.mode", words(TimeMode::NAMES), "adaptive", "Dates and times.").high(),
        is("interval.handling.mode", words(IntervalMode::NAMES), "numeric",
            "interval: microseconds, or ISO 8601 text."),
        is("hstore.handling.mode", words(HstoreMode::NAMES), "json",
            "hstore: JSON text, or a map."),
        is("binary.handling.mode", words(BinaryMode::NAMES), "bytes", "bytea: bytes, or text."),
        is("money.fraction.digits", Kind::Int(0, 32767), "2", "Fraction digits of money.").low(),
        is("include.unknown.datatypes", Kind::Boolean, "false",
            "Columns of types without a mapping, as their text's bytes.").low(),
        is("unavailable.value.placeholder", Kind::Verbatim, "__debezium_unavailable_value",
            "What stands for a TOAST value that did not change; `hex:` before hexadecimal digits."),
        is("schema.name.adjustment.mode", words(NameAdjustment::NAMES), "none",
            "Make names of schemas Avro's."),
        is("field.name.adjustment.mode", words(NameAdjustment::NAMES), "none",
            "Make names of fields Avro's; `none` is `avro` when the connector's own file names an \
            AvroConverter."),
        optional("include.schema.comments", Kind::Boolean, "Comments into schemas.").low()
            .no_effect("it has none in Debezium's PostgreSQL connector either"),
        is("tombstones.on.delete", Kind::Boolean, "true",
            "A record without a value after each delete, for compacted topics.").high(),
        is("provide.transaction.metadata", Kind::Boolean, "false",
            "Records of BEGIN and END, and counters in the envelope."),
        optional("message.prefix.include.list", Kind::Patterns,
            "Prefixes of logical messages to emit; none: all.").low(),
        optional("message.prefix.exclude.list", Kind::Patterns,
            "Prefixes of logical messages not to emit.").low(),
        is("extended.headers.enabled", Kind::Boolean, "true", "Headers `__debezium.context.*`."),
        optional("converters", Kind::List, "Custom converters.").low()
            .refused("custom converters are Java classes, and there is no Java here"),
        optional("post.processors", Kind::List, "Post-processors.").low()
            .refused("post-processors are not supported by this version"),
        optional("post.processors.<name>.<option>", Kind::Text, "Their settings.").low()
            .refused("post-processors are not supported by this version"),
        is("snapshot.mode", Kind::Word(Words { names: SnapshotMode::NAMES, renamed: &[("exported",
            "initial"), ("never", "no_data")], refused: &[("custom", MODE_CUSTOM),
            ("configuration_based", MODE_CONFIGURATION)], }), "initial",
            "When tables are copied before the stream.").high(),
        optional("snapshot.mode.configuration.based.<switch>", Kind::Boolean,
            "Switches of `configuration_based`.").low().ignored(MODE_CONFIGURATION),
        optional("snapshot.mode.custom.name", Kind::Text, "A Java class.").low()
            .ignored(MODE_CUSTOM),
        optional("snapshot.isolation.mode", words(&["serializable", "repeatable_read",
            "read_committed", "read_uncommitted"]), "Isolation of the copy.")
            .no_effect(ONE_SNAPSHOT),
        is("snapshot.locking.mode", Kind::Word(Words { names: &["none", "shared"], renamed: &[],
            refused: &[("custom", NO_JAVA_CLASS)], }), "none", "Locks while the copy starts.")
            .ignored(ONE_SNAPSHOT),
        optional("snapshot.locking.mode.custom.name", Kind::Text, "A Java class.").low()
            .ignored(NO_JAVA_CLASS),
        is("snapshot.query.mode", Kind::Word(Words { names: &["select_all"], renamed: &[],
            refused: &[("custom", NO_JAVA_CLASS)], }), "select_all", "How rows are read.").low(),
        optional("snapshot.query.mode.custom.name", Kind::Text, "A Java class.").low()
            .ignored(NO_JAVA_CLASS),
        optional("snapshot.lock.timeout.ms", POSITIVE_LONG, "How long to wait for a lock.").low()
            .no_effect(ONE_SNAPSHOT),
        optional("snapshot.include.collection.list", Kind::Patterns,
            "Captured tables to copy; none: all."),
        optional("snapshot.select.statement.overrides", Kind::List,
            "Tables that are copied by a statement of yours."),
        optional("snapshot.select.statement.overrides.<table>", Kind::Text, "That statement."),
        is("snapshot.max.threads", POSITIVE, "1",
            "Connections that copy, within one table too; with more than one, rows of different \
             tables and of parts of a table alternate."),
        optional("snapshot.max.threads.multiplier", Kind::Text, "Chunks per table and thread.")
            .low().no_effect("chunks are cut by size"),
        optional("snapshot.max.threads.multiplier.<table>", Kind::Text, "The same for one table.")
            .low().no_effect("chunks are cut by size"),
        optional("legacy.snapshot.max.threads", Kind::Boolean,
            "A thread per table instead of per chunk.").low().no_effect("chunks are cut by size"),
        is("snapshot.tables.order.by.row.count", words(&["disabled", "ascending", "descending"]),
            "disabled", "Order in which tables are copied.").low()
            .ignored("tables are copied in order of their names"),
        optional("snapshot.fetch.size", POSITIVE, "Rows per fetch.").low()
            .no_effect("rows are read by COPY, as they come"),
        is("snapshot.delay.ms", NON_NEGATIVE_LONG, "0", "Wait before the copy.").low(),
        is("streaming.delay.ms", NON_NEGATIVE_LONG, "0", "Wait between copy and stream.").low(),
        optional("query.fetch.size", NON_NEGATIVE, "Rows per fetch.").low()
            .no_effect("rows are read by COPY, as they come"),
        optional("incremental.snapshot.<option>", Kind::Text, "Incremental snapshots.").low()
            .no_effect(NO_SIGNALS),
        is("read.only", Kind::Boolean, "false", "Incremental snapshots without writing.").low()
            .ignored(NO_SIGNALS),
        optional("signal.data.collection", Kind::Text, "Table of signals.").ignored(NO_SIGNALS),
        is("signal.enabled.channels", Kind::List, "source", "Where signals come from.")
            .ignored(NO_SIGNALS),
        optional("signal.<option>", Kind::Text, "Other settings of signals.").low()
            .ignored(NO_SIGNALS),
        optional("notification.enabled.channels", Kind::List, "Where notifications go.")
            .ignored(NO_NOTIFICATIONS),
        optional("notification.<option>", Kind::Text, "Other settings of notifications.").low()
            .ignored(NO_NOTIFICATIONS),
        is("heartbeat.interval.ms", NON_NEGATIVE, "0",
            "How often a heartbeat is written; 0: never.").high(),
        optional("heartbeat.action.query", Kind::Text, "SQL run with each.").high(),
        optional("heartbeat.topics.prefix", Kind::Text, "Old name of `topic.heartbeat.prefix`.")
            .low().ignored("it has no effect in Debezium either: use topic.heartbeat.prefix"),
        is("topic.naming.strategy", Kind::Class(NAMING_STRATEGIES),
            "io.debezium.schema.SchemaTopicNamingStrategy", "How topics are named.").low(),
        optional("topic.regex", format("one regular expression", check_pattern),
            "What the Regex strategies rewrite.").low(),
        optional("topic.replacement", Kind::Text, "And what to.").low(),
        is("topic.key.enforce.uniqueness", Kind::Boolean, "true",
            "Whether the Regex strategies add the name that they rewrite to each key.").low(),
        is("topic.key.field.name", Kind::Text, "__dbz__physicalTableIdentifier",
            "What that field is called.").low(),
        optional("topic.key.field.regex", format("one regular expression", check_pattern),
            "What is rewritten in its value.").low(),
        optional("topic.key.field.replacement", Kind::Text, "And what to.").low(),
        is("topic.delimiter", format("letters, digits, `_`, `-`, `.`", check_topic_part), ".",
            "Between prefix, schema and table."),
        optional("topic.cache.size", POSITIVE, "Names to remember.").low()
            .no_effect("a topic's name is made once per relation"),
        is("topic.heartbeat.prefix", format("letters, digits, `_`, `-`, `.`", check_topic_part),
            "__debezium-heartbeat", "First part of the heartbeat topic's name."),
        optional("topic.heartbeat.name", format("letters, digits, `_`, `-`, `.`",
            check_topic_part), "Its whole name.").low(),
        is("topic.transaction", format("letters, digits, `_`, `-`, `.`", check_topic_part),
            "transaction", "Last part of the transaction topic's name."),
        is("status.update.interval.ms", POSITIVE, "10000",
            "How often the slot hears of our position."),
        is("lsn.flush.mode", words(LsnFlush::NAMES), "connector", "Who moves the slot on.").low(),
        optional("lsn.flush.timeout.ms", Kind::Text, "How long a confirmation may take.").low()
            .no_effect("a status update is not waited for"),
        optional("lsn.flush.timeout.action", Kind::Text, "What then.").low()
            .no_effect("a status update is not waited for"),
        is("offset.mismatch.strategy", words(OffsetMismatch::NAMES), "no_validation",
            "Whom to believe when stored position and slot differ.").low(),
        optional("xmin.fetch.interval.ms", NON_NEGATIVE_LONG, "How often `xmin` is looked up.")
            .low().ignored("`xmin` in `source` is always null"),
        is("max.batch.size", POSITIVE, "2048", "Events per batch.").no_effect(NO_QUEUE),
        is("max.queue.size", POSITIVE, "8192", "Events between reading and writing.")
            .no_effect(NO_QUEUE),
        optional("max.queue.size.in.bytes", NON_NEGATIVE_LONG, "Bytes between reading and writing.")
            .low().no_effect("`buffer.memory` bounds what is in flight"),
        optional("poll.interval.ms", POSITIVE_LONG, "How often the queue is looked at.").low()
            .no_effect(NO_QUEUE),
        optional("poll.dispatch.interval.ms", Kind::Text, "How often the queue is looked at.").low()
            .no_effect(NO_QUEUE),
        optional("schema.refresh.mode", words(&["columns_diff",
            "columns_diff_exclude_unchanged_toast"]), "When a table is looked up again.").low()
            .no_effect("the stream itself announces each change of a table"),
        is("event.processing.failure.handling.mode", words(&["fail", "warn", "skip", "ignore"]),
            "fail", "What a row that cannot be converted does where `errors.tolerance` is none: it \
            ends the connector, or is left out, with a warning or without."),
        is("event.converting.failure.handling.mode", words(FailureMode::NAMES), "warn",
            "What a value that its Connect type cannot hold does: NaN in a Decimal.").low(),
        is("errors.max.retries", Kind::Int(-1, INT_MAX), "-1",
            "Restarts after failures that may pass; -1: any number."),
        is("retriable.restart.connector.wait.ms", POSITIVE_LONG, "10000", "Wait before one."),
        optional("executor.shutdown.timeout.ms", Kind::Text, "How long threads may take to end.")
            .low().no_effect("`task.shutdown.graceful.timeout.ms` bounds a stop"),
        optional("custom.metric.tags", format("name=value,…", check_tags), "Tags of metrics.").low()
            .no_effect(NO_JMX),
        optional("statistics.metrics.enabled", Kind::Boolean, "Quantiles of lag.").low()
            .no_effect(NO_JMX),
        optional("guardrail.collections.<option>", Kind::Text, "A limit on captured tables.").low()
            .ignored("there is no limit on captured tables"),
        optional("openlineage.integration.<option>", Kind::Text, "OpenLineage.").low()
            .ignored(NO_LINEAGE),
        optional("sourceinfo.struct.maker", Kind::Text, "A Java class.").low()
            .refused(NO_JAVA_CLASS),
        optional("transaction.metadata.factory", Kind::Text, "A Java class.").low()
            .refused(NO_JAVA_CLASS),
        optional("custom.sanitize.pattern", Kind::Text, "What the log hides.").low()
            .no_effect("no secret is logged"),
        optional("memory.management.<option>", Kind::Text, "Java classes.").low()
            .no_effect(NO_JAVA_CLASS),
        optional("queue.provider.type", Kind::Text, "A Java class.").low().no_effect(NO_QUEUE),
        optional("internal.<option>", Kind::Text, "Debezium's own.").low()
            .ignored("Debezium's internal properties are not supported"),
        renamed("database.server.name", "topic.prefix", "Until 1.9."),
        renamed("schema.whitelist", "schema.include.list", "Until 1.9."),
        renamed("schema.blacklist", "schema.exclude.list", "Until 1.9."),
        renamed("table.whitelist", "table.include.list", "Until 1.9."),
        renamed("table.blacklist", "table.exclude.list", "Until 1.9."),
        renamed("column.whitelist", "column.include.list", "Until 1.9."),
        renamed("column.blacklist", "column.exclude.list", "Until 1.9."),
        renamed("toasted.value.placeholder", "unavailable.value.placeholder", "Until 1.9."),
        renamed("sanitize.field.names", "field.name.adjustment.mode",
            "Until 2.1: `true` is `avro`."),
        renamed("slot.drop_on_stop", "slot.drop.on.stop", "Until 1.0."),
        renamed("truncate.handling.mode", "skipped.operations",
            "1.5 to 1.9: `include` is `none`, `skip` is `t`."),
        renamed("transaction.topic", "topic.transaction", "1.8 and 1.9."),
        renamed("flush.lsn.source", "lsn.flush.mode",
            "2.1 to 3.3: `true` is `connector`, `false` is `manual`."),
        renamed("internal.slot.seek.to.known.offset.on.start", "offset.mismatch.strategy",
            "`true` is `trust_offset`, `false` is `no_validation`."),
        renamed("snapshot.custom.class", "snapshot.mode.custom.name", "Until 2.5."),
        optional("source.struct.version", Kind::Text, "Until 1.9: form of `source`.").low()
            .ignored("`source` always has today's form"),
    ],
};

const NAMING_STRATEGIES: &[&str] = &[
    "io.debezium.schema.SchemaTopicNamingStrategy",
    "io.debezium.schema.DefaultTopicNamingStrategy",
    "io.debezium.schema.SchemaUnicodeTopicNamingStrategy",
    "io.debezium.schema.DefaultUnicodeTopicNamingStrategy",
    "io.debezium.schema.SchemaRegexTopicNamingStrategy",
    "io.debezium.schema.DefaultRegexTopicNamingStrategy",
];

/// Connector file: our own.
#[rustfmt::skip]
pub static PENSTOCK: Section = Section {
    title: "Connector file: penstock's own",
    intro: "What neither Connect nor Debezium has.",
    wording: Wording::Kafka,
    properties: &[
        is(
            "penstock.compat",
            words(Compat::NAMES),
            "correct",
            "Where Debezium is plainly wrong: the value a consumer can trust, or Debezium's bytes.",
        ),
        optional(
            "penstock.memory.max",
            MEMORY,
            "As in the worker's file, and before it.",
        ),
        is("penstock.transaction.version", words(&["1", "2"]), "1",
            "Kafka's protocol for transactions. `2` (KIP-890) has a round trip less, and a broker that \
            makes each transaction wait up to 20 ms for the one before; brokers before 4.0 have `1` only."),
        is("penstock.wal.retained.warn", NON_NEGATIVE_LONG, "1073741824",
            "Bytes of WAL that the slot may keep before the log warns; `0` is never."),
    ],
};

const MEMORY: Kind = format("at least 32MiB", check_memory);

// ---- converters --------------------------------------------------------------------------------

/// Below a converter's prefix, when it is JsonConverter.
#[rustfmt::skip]
pub static JSON: Section = Section {
    title: "JsonConverter",
    intro: "Below `key.converter.`, `value.converter.` or `header.converter.`, for \
            `org.apache.kafka.connect.json.JsonConverter`.",
    wording: Wording::Kafka,
    properties: &[
        is("schemas.enable", Kind::Boolean, "true", "Each record carries its schema.").high(),
        is("decimal.format", words(&["BASE64", "NUMERIC"]), "BASE64",
            "Decimals as bytes, or as numbers."),
        is("replace.null.with.default", Kind::Boolean, "true",
            "A null in a field with a default is written as that."),
        optional("schemas.cache.size", Kind::Int(0, INT_MAX), "Schemas to remember.").low()
            .no_effect("a schema's text is made once per relation"),
        optional("schema.content", Kind::Text, "One schema for every record, since Kafka 4.2.")
            .low().ignored("it is for reading: records carry their own schema"),
    ],
};

/// Below a converter's prefix, when it is AvroConverter.
#[rustfmt::skip]
pub static AVRO: Section = Section {
    title: "AvroConverter",
    intro: "Below `key.converter.` or `value.converter.`, for \
            `io.confluent.connect.avro.AvroConverter`.",
    wording: Wording::Kafka,
    properties: &[
        required("schema.registry.url", format("http://host:port, …", check_urls),
            "Addresses of one registry, tried in turn."),
        is("auto.register.schemas", Kind::Boolean, "true",
            "Register schemas that the registry does not have."),
        is("use.latest.version", Kind::Boolean, "false",
            "Without `auto.register.schemas`: write in the subject's latest schema, its fields in its \
            order, with its defaults for those that the table has not."),
        is("normalize.schemas", Kind::Boolean, "false", "Ask the registry to normalise."),
        is("key.subject.name.strategy", Kind::Class(SUBJECT_NAME_STRATEGIES),
            SUBJECT_NAME_STRATEGIES[0], "Subject of a key's schema.")
            .theirs("AssociatedNameStrategy since 8.2: the same, after asking"),
        is("value.subject.name.strategy", Kind::Class(SUBJECT_NAME_STRATEGIES),
            SUBJECT_NAME_STRATEGIES[0], "Subject of a value's schema.")
            .theirs("AssociatedNameStrategy since 8.2: the same, after asking"),
        is("connect.meta.data", Kind::Boolean, "true",
            "Connect's names, versions and parameters in the schema."),
        is("enhanced.avro.schema.support", Kind::Boolean, "false",
            "Keep packages and enums of schemas that came from Avro.")
            .no_effect("schemas of captured tables did not come from Avro"),
        is("scrub.invalid.names", Kind::Boolean, "false",
            "Encode characters that Avro forbids in names."),
        is("basic.auth.credentials.source", words(&["URL", "USER_INFO", "SASL_INHERIT"]), "URL",
            "Where user and password for the registry stand."),
        optional("basic.auth.user.info", Kind::Password, "`user:password`, for USER_INFO."),
        renamed("schema.registry.basic.auth.user.info", "basic.auth.user.info", "Its old name."),
        optional("bearer.auth.credentials.source", Kind::Word(Words { names: &["STATIC_TOKEN"],
            renamed: &[], refused: &[("OAUTHBEARER", "only STATIC_TOKEN is supported"),
            ("SASL_OAUTHBEARER_INHERIT", "only STATIC_TOKEN is supported"), ("CUSTOM",
            NO_JAVA_CLASS)], }), "Where the bearer token stands.").low(),
        optional("bearer.auth.token", Kind::Password, "The token, for STATIC_TOKEN.").low(),
        optional("bearer.auth.logical.cluster", Kind::Text, "Header `target-sr-cluster`.").low(),
        optional("bearer.auth.identity.pool.id", Kind::Text, "Header `Confluent-Identity-Pool-Id`.")
            .low(),
        optional("bearer.auth.<option>", Kind::Password, "Of OAuth.").low()
            .ignored("only STATIC_TOKEN is supported"),
        optional("request.header.<name>", Kind::Password, "A header of every request.").low(),
        is("http.connect.timeout.ms", POSITIVE, "60000", "How long connecting may take.").low(),
        is("http.read.timeout.ms", POSITIVE, "60000", "How long an answer may take.").low(),
        is("max.retries", NON_NEGATIVE, "3", "Further tries on each address.").low(),
        is("retries.wait.ms", NON_NEGATIVE, "1000", "Wait before the first; doubles.").low(),
        is("retries.max.wait.ms", NON_NEGATIVE, "20000", "Longest wait.").low(),
        optional("schema.registry.ssl.truststore.location", Kind::Text,
            "PEM file of trusted certificates."),
        is("schema.registry.ssl.truststore.type", PEM_ONLY, "PEM", "Its form.").low().theirs("JKS"),
        optional("schema.registry.ssl.truststore.certificates", Kind::Password,
            "The certificates themselves, PEM.").low(),
        optional("schema.registry.ssl.truststore.password", Kind::Password, "Its password.").low()
            .no_effect(PEM_PASSWORD),
        optional("schema.registry.ssl.keystore.location", Kind::Text,
            "PEM file of the client's key and certificates.").low(),
        is("schema.registry.ssl.keystore.type", PEM_ONLY, "PEM", "Its form.").low().theirs("JKS"),
        optional("schema.registry.ssl.keystore.certificate.chain", Kind::Password,
            "The certificates themselves, PEM.").low(),
        optional("schema.registry.ssl.keystore.key", Kind::Password, "The key itself, PEM.").low(),
        optional("schema.registry.ssl.keystore.password", Kind::Password, "Its password.").low()
            .no_effect(PEM_PASSWORD),
        optional("schema.registry.ssl.key.password", Kind::Password, "Password of the key.").low()
            .refused(ENCRYPTED_KEY),
        is("schema.registry.ssl.endpoint.identification.algorithm", HOST_CHECK, "https",
            "Empty: any host name will do.").low(),
        optional("schema.registry.ssl.<option>", Kind::Text, "Of Java's TLS.").low()
            .ignored(JAVA_TLS),
        is("schema.registry.url.randomize", Kind::Boolean, "false", "Start with any address.").low()
            .ignored("addresses are tried in their order"),
        is("use.schema.id", Kind::Int(-1, INT_MAX), "-1",
            "Without `auto.register.schemas`: write in the schema of this id.").low(),
        optional("use.latest.with.metadata", Kind::Text,
            "Write with the latest schema that has this metadata.").low()
            .refused("choosing a schema by metadata is not supported"),
        is("latest.compatibility.strict", Kind::Boolean, "true",
            "The latest schema must have a place for all that the table has; else only records that \
            have something without one are refused.").low(),
        is("id.compatibility.strict", Kind::Boolean, "true", "The same for `use.schema.id`.")
            .low(),
        optional("context.name.strategy", Kind::Text, "A Java class.").low().refused(NO_JAVA_CLASS),
        optional("key.schema.id.serializer",
            Kind::Class(&["io.confluent.kafka.serializers.schema.id.PrefixSchemaIdSerializer"]),
            "Where the schema's id stands: before the datum.").low(),
        optional("value.schema.id.serializer",
            Kind::Class(&["io.confluent.kafka.serializers.schema.id.PrefixSchemaIdSerializer"]),
            "Where the schema's id stands: before the datum.").low(),
        optional("rule.<option>", Kind::Text, "Data contracts.").low()
            .ignored("rules of data contracts are not supported"),
        is("allow.optional.map.keys", Kind::Boolean, "false",
            "Maps with optional text keys as Avro maps.").low()
            .no_effect("keys of an `hstore` are never null"),
        is("flatten.unions", Kind::Boolean, "true", "Of reading.").low()
            .no_effect("it is for reading"),
        is("generalized.sum.type.support", Kind::Boolean, "false", "Unions as sum types.").low()
            .no_effect("schemas of captured tables did not come from Avro"),
        is("discard.type.doc.default", Kind::Boolean, "false", "Leave out documentation of types.")
            .low().refused("it is not supported"),
        is("ignore.default.for.nullables", Kind::Boolean, "false",
            "A null in a field with a default stays null.").low(),
        optional("proxy.<option>", Kind::Text, "Of an HTTP proxy.").low()
            .ignored("a proxy is not supported"),
        optional("schemas.cache.config", Kind::Text, "Schemas to remember.").low()
            .no_effect(SCHEMA_CACHE),
        optional("max.schemas.per.subject", Kind::Text, "Schemas to remember.").low()
            .no_effect(SCHEMA_CACHE),
        optional("missing.<option>", Kind::Text, "What to remember of failures.").low()
            .no_effect(SCHEMA_CACHE),
        optional("latest.cache.<option>", Kind::Text, "What to remember of latest versions.").low()
            .no_effect(SCHEMA_CACHE),
        optional("subject.name.strategy.<option>", Kind::Text, "Of AssociatedNameStrategy.").low()
            .no_effect("associations are not asked for"),
        optional("avro.<option>", Kind::Text, "Of Java's serializer.").low()
            .no_effect("it has none in the converter either"),
        optional("specific.avro.reader", Kind::Boolean, "Of reading.").low()
            .no_effect("it is for reading"),
        optional("key.converter.<option>", Kind::Text, "A prefix too many.").low()
            .ignored("the prefix stands there twice"),
    ],
};

const SUBJECT_NAME_STRATEGIES: &[&str] = &[
    "io.confluent.kafka.serializers.subject.TopicNameStrategy",
    "io.confluent.kafka.serializers.subject.RecordNameStrategy",
    "io.confluent.kafka.serializers.subject.TopicRecordNameStrategy",
    "io.confluent.kafka.serializers.subject.AssociatedNameStrategy",
];
const SCHEMA_CACHE: &str = "each schema is registered once and remembered";

/// Below a converter's prefix, when it is one of the other three.
#[rustfmt::skip]
pub static STRING: Section = Section {
    title: "StringConverter, ByteArrayConverter, SimpleHeaderConverter",
    intro: "Below a converter's prefix. The last two have no settings.",
    wording: Wording::Kafka,
    properties: &[is(
        "converter.encoding",
        Kind::Word(Words {
            names: &["UTF-8"],
            renamed: &[("UTF8", "UTF-8")],
            refused: &[],
        }),
        "UTF-8",
        "Character set of text.",
    )
    .low()],
};

// ---- the Kafka client --------------------------------------------------------------------------

const PEM_ONLY: Kind = Kind::Word(Words {
    names: &["PEM"],
    renamed: &[],
    refused: &[("JKS", NO_JKS), ("PKCS12", NO_JKS)],
});
const NO_JKS: &str = "only PEM is read: keytool -importkeystore makes PKCS12 of JKS, openssl \
    pkcs12 \
                      -nodes makes PEM of that";
const PEM_PASSWORD: &str = "PEM has no password of the store";
const ENCRYPTED_KEY: &str = "an encrypted key cannot be read: decrypt it (openssl pkcs8)";
const JAVA_TLS: &str = "settings of Java's own TLS are not supported: TLS 1.2 and 1.3 with rustls' \
                        choice of ciphers";
const HOST_CHECK: Kind = Kind::Word(Words {
    names: &["https", ""],
    renamed: &[],
    refused: &[],
});
const NO_KERBEROS: &str = "supported are PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512";
const NO_CHOICE: &str = "keys go where Java's default partitioner puts them";

/// Below `producer.` and `producer.override.`.
#[rustfmt::skip]
pub static CLIENT: Section = Section {
    title: "Kafka client",
    intro: "Below `producer.` in the worker's file, and below `producer.override.` in the \
            connector's, which wins where the worker's `connector.client.config.override.policy` \
            lets it. Where neither sets any of `security.protocol`, `sasl.*` and `ssl.*`, those of \
            the worker itself (without a prefix) hold.",
    wording: Wording::Kafka,
    properties: &[
        optional("bootstrap.servers", format("host:port, …", check_servers),
            "Brokers to ask first; none: the worker's."),
        optional("client.id", Kind::Text, "Name in the broker's log and quotas; none: \
            `connector-producer-<name>-0`."),
        is("acks", Kind::Word(Words { names: &["all", "1", "0"], renamed: &[("-1", "all")],
            refused: &[], }), "all", "Replicas that must have a batch.").high(),
        is("enable.idempotence", Kind::Boolean, "true",
            "A batch that is sent twice is stored once.").high().theirs("false, in Connect"),
        is("max.in.flight.requests.per.connection", POSITIVE, "5",
            "Batches on the wire at once; order holds.").theirs("1, in Connect"),
        is("retries", NON_NEGATIVE, "2147483647", "Tries of a batch.").low()
            .ignored("a batch is tried again until `delivery.timeout.ms`"),
        is("compression.type", words(Compression::NAMES), "none", "Compression of batches.").high(),
        optional("compression.gzip.level", Kind::Int(-1, 9), "Level of gzip.").low(),
        optional("compression.lz4.level", Kind::Int(1, 17), "Level of lz4.").low()
            .ignored("lz4 has one level here, the fastest"),
        optional("compression.zstd.level", Kind::Int(-131_072, 22), "Level of zstd.").low(),
        is("batch.size", Kind::Int(0, INT_MAX), "524288", "Bytes at which a batch is sealed.")
            .high().theirs("16384"),
        is("linger.ms", NON_NEGATIVE_LONG, "0", "How long a batch waits for more while the stream \
            is caught up.").high().theirs("5"),
        is("max.request.size", NON_NEGATIVE, "1048576",
            "Largest request, and so the largest record.").high(),
        is("buffer.memory", NON_NEGATIVE_LONG, "33554432",
            "Bytes of records that wait or are in flight; then reading stops."),
        is("request.timeout.ms", NON_NEGATIVE, "30000", "How long an answer may take."),
        is("delivery.timeout.ms", NON_NEGATIVE, "2147483647",
            "How long a batch is tried; 2147483647: for ever.").theirs("2147483647, in Connect"),
        is("retry.backoff.ms", NON_NEGATIVE_LONG, "100",
            "Wait before a batch is sent again; doubles.").low(),
        is("retry.backoff.max.ms", NON_NEGATIVE_LONG, "1000", "Longest wait.").low(),
        is("reconnect.backoff.ms", NON_NEGATIVE_LONG, "50",
            "Wait before connecting again; doubles.").low(),
        is("reconnect.backoff.max.ms", NON_NEGATIVE_LONG, "1000", "Longest wait.").low(),
        is("socket.connection.setup.timeout.ms", POSITIVE_LONG, "10000",
            "How long connecting may take.").low(),
        optional("socket.connection.setup.timeout.max.ms", Kind::Text, "Longest of these.").low()
            .no_effect("the time to connect does not grow"),
        is("metadata.max.age.ms", NON_NEGATIVE_LONG, "300000",
            "How often leaders are looked up without a reason.").low(),
        optional("metadata.max.idle.ms", Kind::Text, "When a topic is forgotten.").low()
            .no_effect("topics of captured tables are kept"),
        optional("metadata.recovery.<option>", Kind::Text,
            "When to start from the first brokers again.").low()
            .no_effect("it is done whenever no known broker answers"),
        optional("max.block.ms", Kind::Text, "How long to wait for room.").low()
            .no_effect("reading waits until there is room"),
        optional("connections.max.idle.ms", Kind::Text, "When a connection is closed.").low()
            .no_effect("the broker closes it; we connect again"),
        optional("transactional.id", Kind::Text, "Name of the producer; none: \
            `<group.id>-<name>-0`.").low(),
        is("transaction.timeout.ms", POSITIVE, "60000", "How long a transaction may be open.")
            .low(),
        optional("transaction.<option>", Kind::Text, "Other settings of transactions.").low()
            .no_effect("a transaction ends as soon as the one before is committed"),
        optional("partitioner.class", Kind::Text, "A Java class.").low()
            .refused("only Java's default partitioner is supported"),
        is("partitioner.ignore.keys", Kind::Boolean, "false", "Spread keys.").low()
            .refused("only Java's default partitioner is supported"),
        optional("partitioner.<option>", Kind::Text, "Other settings of it.").low()
            .no_effect(NO_CHOICE),
        optional("interceptor.classes", Kind::List, "Java classes.").low().ignored(NO_JAVA_CLASS),
        optional("metric.reporters", Kind::List, "Java classes.").low().no_effect(NO_JMX),
        optional("metrics.<option>", Kind::Text, "Of the client's metrics.").low()
            .no_effect(NO_JMX),
        optional("auto.include.jmx.reporter", Kind::Text, "Of the client's metrics.").low()
            .no_effect(NO_JMX),
        optional("enable.metrics.push", Kind::Boolean, "Metrics to the broker.").low()
            .no_effect("there are none"),
        optional("key.serializer", Kind::Text, "A Java class.").low()
            .no_effect("converters make the bytes"),
        optional("value.serializer", Kind::Text, "A Java class.").low()
            .no_effect("converters make the bytes"),
        optional("client.dns.lookup", Kind::Text, "How names of brokers are looked up.").low()
            .no_effect("every address of a name is tried"),
        optional("client.rack", Kind::Text, "Of consumers.").low().no_effect("nothing is consumed"),
        optional("send.buffer.bytes", Kind::Text, "Of the socket.").low()
            .no_effect("the system's own is used"),
        optional("receive.buffer.bytes", Kind::Text, "Of the socket.").low()
            .no_effect("the system's own is used"),
        optional("security.providers", Kind::List, "Java classes.").low().ignored(NO_JAVA_CLASS),
        is("security.protocol", words(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]),
            "PLAINTEXT", "TLS and authentication.").high(),
        optional("sasl.mechanism", Kind::Word(Words { names: SaslMechanism::NAMES, renamed: &[],
            refused: &[("GSSAPI", NO_KERBEROS), ("OAUTHBEARER", NO_KERBEROS), ("AWS_MSK_IAM",
            NO_KERBEROS)], }), "How to authenticate.").high().theirs("GSSAPI"),
        optional("sasl.jaas.config", Kind::Password, "`…PlainLoginModule required username=\"u\" \
            password=\"p\";` or `…ScramLoginModule …`.").high(),
        optional("sasl.<option>", Kind::Text, "Other settings of authentication.").low()
            .ignored(NO_KERBEROS),
        optional("ssl.truststore.location", Kind::Text,
            "PEM file of trusted certificates; none: the system's.").high(),
        is("ssl.truststore.type", PEM_ONLY, "PEM", "Its form.").theirs("JKS"),
        optional("ssl.truststore.certificates", Kind::Password,
            "The certificates themselves, PEM."),
        optional("ssl.truststore.password", Kind::Password, "Its password.").low()
            .no_effect(PEM_PASSWORD),
        optional("ssl.keystore.location", Kind::Text,
            "PEM file of the client's key and certificates."),
        is("ssl.keystore.type", PEM_ONLY, "PEM", "Its form.").theirs("JKS"),
        optional("ssl.keystore.certificate.chain", Kind::Password,
            "The certificates themselves, PEM.").low(),
        optional("ssl.keystore.key", Kind::Password, "The key itself, PEM.").low(),
        optional("ssl.keystore.password", Kind::Password, "Its password.").low()
            .no_effect(PEM_PASSWORD),
        optional("ssl.key.password", Kind::Password, "Password of the key.").low()
            .refused(ENCRYPTED_KEY),
        is("ssl.endpoint.identification.algorithm", HOST_CHECK, "https",
            "Empty: any host name will do."),
        optional("ssl.enabled.protocols", Kind::List, "Versions of TLS.").low()
            .no_effect("TLS 1.2 and 1.3, whichever the broker prefers"),
        optional("ssl.protocol", Kind::Text, "Version of TLS.").low()
            .no_effect("TLS 1.2 and 1.3, whichever the broker prefers"),
        optional("ssl.<option>", Kind::Text, "Of Java's TLS.").low().ignored(JAVA_TLS),
    ],
};

// ---- forms of text -----------------------------------------------------------------------------

fn check_memory(text: &str) -> Result<(), String> {
    match parse_size(text) {
        Some(bytes) if bytes >= MEMORY_MIN => Ok(()),
        Some(_) => Err("Value must be at least 32MiB".to_owned()),
        None => Err("A size is expected: bytes, or a number with KiB, MiB or GiB".to_owned()),
    }
}

fn check_servers(text: &str) -> Result<(), String> {
    let mut some = false;
    for server in text
        .split(',')
        .map(str::trim)
        .filter(|server| !server.is_empty())
    {
        some = true;
        let port = server
            .rsplit_once(':')
            .map(|(host, port)| (host, port.parse::<u16>()));
        if !matches!(port, Some((host, Ok(port))) if !host.is_empty() && port > 0) {
            return Err(format!("{server} is not of the form host:port"));
        }
    }
    if some {
        Ok(())
    } else {
        Err("A list of host:port is expected".to_owned())
    }
}

fn check_urls(text: &str) -> Result<(), String> {
    let mut some = false;
    for url in text.split(',').map(str::trim).filter(|url| !url.is_empty()) {
        some = true;
        // Not repeated in the message: it may hold a password.
        let host = url
            .strip_prefix("http://")
            .or_else(|| url.strip_prefix("https://"));
        if host.is_none_or(|host| host.is_empty() || host.starts_with(['/', ':', '?'])) {
            return Err("A list of http:// or https:// addresses is expected".to_owned());
        }
    }
    if some {
        Ok(())
    } else {
        Err("A list of http:// or https:// addresses is expected".to_owned())
    }
}

fn check_count(text: &str) -> Result<(), String> {
    match text.parse::<i32>() {
        Ok(-1) | Ok(1..=32767) => Ok(()),
        Ok(_) => Err("Value must be -1 or from 1 to 32767".to_owned()),
        Err(_) => Err("Not a number of type INT".to_owned()),
    }
}

const TOPIC_PART: &str =
    "has invalid format (only the underscore, hyphen, dot and alphanumeric characters are allowed)";

fn is_topic_part(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

fn check_topic_part(text: &str) -> Result<(), String> {
    if is_topic_part(text) {
        Ok(())
    } else {
        Err(format!("{text} {TOPIC_PART}"))
    }
}

fn check_host(text: &str) -> Result<(), String> {
    let is_address = text.parse::<std::net::IpAddr>().is_ok();
    if text.starts_with('/') || is_address || is_topic_part(text) {
        Ok(())
    } else {
        Err(format!("{text} {TOPIC_PART}"))
    }
}

fn check_slot(text: &str) -> Result<(), String> {
    let is_slot = (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if is_slot {
        Ok(())
    } else {
        Err(
            "Valid replication slot name must contain only digits, lowercase characters and \
             underscores with length <= 63"
                .to_owned(),
        )
    }
}

fn check_pattern(text: &str) -> Result<(), String> {
    Pattern::new(text).map(|_| ())
}

fn check_stream_params(text: &str) -> Result<(), String> {
    let fits = text
        .split(';')
        .filter(|part| !part.trim().is_empty())
        .all(|part| {
            part.split_once('=')
                .is_some_and(|(name, _)| !name.trim().is_empty())
        });
    if fits {
        Ok(())
    } else {
        Err("A list of name=value between semicolons is expected".to_owned())
    }
}

fn check_key_columns(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("Must not be empty".to_owned());
    }
    for entry in text.split(';').filter(|entry| !entry.trim().is_empty()) {
        let fits = entry.split_once(':').is_some_and(|(table, columns)| {
            !table.trim().is_empty()
                && !columns.contains(':')
                && columns.split(',').all(|column| !column.trim().is_empty())
        });
        if !fits {
            return Err(format!(
                "{text} has an invalid format (expecting '^\\s*([^:]+):([^:,]+(,[^:,]+)*)\\s*$')"
            ));
        }
        if let Some((table, columns)) = entry.split_once(':') {
            for column in columns.split(',') {
                message_key(table, column.trim())?;
            }
        }
    }
    Ok(())
}

fn check_replica_identities(text: &str) -> Result<(), String> {
    for entry in split_list(text) {
        if parse_replica_identity(&entry).is_none() {
            return Err(format!(
                "{entry} has an invalid format (expecting '(?i)^\\s*(?<tablepredicate>[^\\s:]+):\
                 (?<replicaidentity>DEFAULT|(INDEX) (?<indexname>.\\w*)|FULL|NOTHING)\\s*$')"
            ));
        }
        if let Some((table, _)) = entry.split_once(':') {
            check_pattern(table.trim())?;
        }
    }
    Ok(())
}

fn check_skipped(text: &str) -> Result<(), String> {
    let mut words = text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .peekable();
    let alone = words.clone().count() == 1;
    words.try_for_each(|word| match word {
        // Rows of a snapshot are never left out.
        "c" | "u" | "d" | "t" | "r" => Ok(()),
        "none" if alone => Ok(()),
        "none" => Err("'none' cannot be specified with other skipped operation types".to_owned()),
        _ => Err("Invalid operation".to_owned()),
    })
}

fn check_tags(text: &str) -> Result<(), String> {
    let fits = text.split(',').all(|pair| {
        pair.split_once('=')
            .is_some_and(|(key, value)| !key.is_empty() && !value.is_empty())
    });
    if fits {
        Ok(())
    } else {
        Err(
            "A equivalent-separated map of valid key/value pairs is expected, for example: \
            k1=v1,k2=v2"
                .to_owned(),
        )
    }
}
