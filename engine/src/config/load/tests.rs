//! Whole files in, configurations and complaints out.

use super::*;
use crate::config::{
    Compat, Compression, Converter, DecimalMode, JsonConverter, LsnFlush, NameAdjustment,
    OffsetMismatch, Operation, Pem, PublicationAutocreate, SaslMechanism, SnapshotMode, SslMode,
    SubjectName, TimeMode,
};

const WORKER_FILE: &str = "bootstrap.servers=localhost:9092\n\
    key.converter=io.confluent.connect.avro.AvroConverter\n\
    key.converter.schema.registry.url=http://localhost:8081\n\
    value.converter=io.confluent.connect.avro.AvroConverter\n\
    value.converter.schema.registry.url=http://localhost:8081\n";
const CONNECTOR_FILE: &str = "name=c\n\
    connector.class=io.debezium.connector.postgresql.PostgresConnector\n\
    plugin.name=pgoutput\n\
    topic.prefix=srv\n\
    database.hostname=localhost\n\
    database.user=u\n\
    database.dbname=d\n";

fn inspect(worker: &str, connector: &str) -> Inspection {
    let worker = Properties::parse(worker.as_bytes()).unwrap();
    let connector = Properties::parse_connector(connector.as_bytes()).unwrap();
    Inspection::new(&worker, &connector)
}

/// The files above with lines added; a later line wins.
fn with(worker: &str, connector: &str) -> Inspection {
    inspect(
        &format!("{WORKER_FILE}{worker}"),
        &format!("{CONNECTOR_FILE}{connector}"),
    )
}

#[track_caller]
fn config(worker: &str, connector: &str) -> Config {
    with(worker, connector)
        .config
        .unwrap_or_else(|problems| panic!("{problems:#?}"))
}

#[track_caller]
fn problems(worker: &str, connector: &str) -> Vec<String> {
    match with(worker, connector).config {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(Problem::to_string).collect(),
    }
}

fn warnings(worker: &str, connector: &str) -> Vec<String> {
    with(worker, connector)
        .warnings
        .into_iter()
        .map(|warning| warning.text)
        .collect()
}

#[test]
fn a_file_of_2020_as_it_is() {
    let connector = "name=limadelrey-connector\n\
        connector.class=io.debezium.connector.postgresql.PostgresConnector\n\
        tasks.max=1\n\
        slot.name=debezium\n\
        database.server.name=limadelrey\n\
        database.hostname=postgres\n\
        database.port=5432\n\
        database.user=postgres\n\
        database.password=secret-word\n\
        database.dbname=bikes\n\
        table.whitelist=store.customers,store.products,store.orders,store.order_items\n";
    let read = inspect(WORKER_FILE, connector);
    let config = read.config.unwrap();
    assert_eq!(config.encode.topic_prefix, "limadelrey");
    assert!(config.capture.tables.accepts("store", "order_items"));
    assert!(!config.capture.tables.accepts("store", "staff"));
    assert_eq!(config.source.password.as_deref(), Some("secret-word"));
    assert_eq!(
        config.source.publication_autocreate,
        PublicationAutocreate::AllTables
    );
    assert_eq!(config.offsets.topic, "penstock-offsets");
    let warnings: Vec<_> = read
        .warnings
        .iter()
        .map(|warning| (warning.severity, warning.text.as_str()))
        .collect();
    assert_eq!(
        warnings,
        [
            (
                Severity::Warn,
                "database.server.name is an old name: it still works, please write topic.prefix"
            ),
            (
                Severity::Warn,
                "table.whitelist is an old name: it still works, please write \
                    table.include.list"
            ),
            (
                Severity::Note,
                "tasks.max has no effect: there is always one task"
            ),
            (
                Severity::Note,
                "plugin.name is not set: the output plug-in used is pgoutput, PostgreSQL's own"
            ),
        ]
    );
    assert!(!format!("{config:?}").contains("secret-word"));
    assert!(!format!("{:?}", read.settings).contains("secret-word"));
}

#[test]
fn defaults() {
    let config = config("", "");
    assert_eq!(config.source.port, 5432);
    assert_eq!(config.source.slot, "debezium");
    assert_eq!(config.source.publication, "dbz_publication");
    assert_eq!(config.source.ssl_mode, SslMode::Prefer);
    assert_eq!(config.source.query_timeout, Some(Duration::from_secs(600)));
    assert_eq!(config.source.max_retries, None);
    assert_eq!(config.source.offset_mismatch, OffsetMismatch::NoValidation);
    assert_eq!(config.capture.snapshot_mode, SnapshotMode::Initial);
    assert_eq!(config.capture.skipped_operations, None);
    assert!(matches!(config.capture.columns, Filter::All));
    assert_eq!(config.encode.decimal, DecimalMode::Precise);
    assert_eq!(config.encode.time, TimeMode::Adaptive);
    assert_eq!(config.encode.unavailable, b"__debezium_unavailable_value");
    assert_eq!(config.encode.heartbeat_topic, "__debezium-heartbeat.srv");
    assert_eq!(config.encode.transaction_topic, "srv.transaction");
    assert_eq!(config.encode.compat, Compat::Correct);
    assert!(config.encode.tombstones && config.encode.extended_headers);
    assert!(matches!(
        config.encode.header_converter,
        Converter::SimpleHeader
    ));
    assert_eq!(config.sink.bootstrap, ["localhost:9092"]);
    assert_eq!(config.sink.client_id, "connector-producer-c-0");
    assert_eq!(config.sink.transactional_id, "penstock-c-0");
    assert_eq!((config.sink.acks, config.sink.idempotent), (-1, true));
    assert_eq!(
        (config.sink.in_flight_max, config.sink.batch_bytes),
        (5, 524_288)
    );
    assert_eq!(config.sink.compression, Compression::None);
    assert_eq!(config.sink.delivery_timeout, None);
    assert!(config.sink.tls.is_none() && config.sink.sasl.is_none());
    assert!(config.sink.topic_creation.is_empty() && config.sink.exactly_once);
    assert_eq!(
        (config.offsets.partitions, config.offsets.replication_factor),
        (25, -1)
    );
    assert_eq!(config.shutdown_timeout, Duration::from_secs(5));
}

#[test]
fn all_problems_at_once() {
    let read = inspect(
        "offset.flush.interval.ms=x\n",
        "slot.name=Bad-Slot\ndatabase.port=0\n",
    );
    let problems = read.config.unwrap_err();
    let problems: Vec<_> = problems.iter().map(Problem::to_string).collect();
    assert_eq!(
        problems,
        [
            "bootstrap.servers: Missing required configuration \"bootstrap.servers\" which \
                has no default value.",
            "key.converter: Missing required configuration \"key.converter\" which has no \
                default value.",
            "offset.flush.interval.ms=x: Not a number of type LONG",
            "value.converter: Missing required configuration \"value.converter\" which has \
                no default value.",
            "connector.class: Missing required configuration \"connector.class\" which has \
                no default value.",
            "database.dbname: A value is required",
            "database.hostname: A value is required",
            "database.port=0: A positive, non-zero integer value is expected",
            "database.user: A value is required",
            "name: Missing required configuration \"name\" which has no default value.",
            "slot.name=Bad-Slot: Valid replication slot name must contain only digits, \
                lowercase characters and underscores with length <= 63",
            "topic.prefix: A value is required",
        ]
    );
}

#[test]
fn unknown_names_and_the_nearest() {
    for (line, suggestion) in [
        ("table.inculde.list=a", "table.include.list"),
        ("table.include=a", "table.include.list"),
        ("slotname=a", "slot.name"),
        ("column.mask.with.5.char=a", "column.mask.with.<n>.chars"),
        (
            "snapshot.select.statement.override.store.t=a",
            "snapshot.select.statement.overrides.<table>",
        ),
        ("transform.unwrap.type=a", "transforms.<name>.type"),
        (
            "value.converter.schema.enable=a",
            "value.converter.schemas.enable",
        ),
        ("value.convertor=a", "value.converter"),
        (
            "producer.overide.batch.size=1",
            "producer.override.batch.size",
        ),
        (
            "producer.override.batch.siez=1",
            "producer.override.batch.size",
        ),
        ("penstock.compt=a", "penstock.compat"),
    ] {
        let worker = "value.converter=org.apache.kafka.connect.json.JsonConverter";
        let more = "value.converter=org.apache.kafka.connect.json.JsonConverter";
        let name = line.split('=').next().unwrap();
        let told = warnings(worker, &format!("{more}\n{line}"));
        let expected = format!("{name} is no known property: did you mean {suggestion}?");
        assert!(told.contains(&expected), "{line}: {told:#?}");
    }
    assert!(
        warnings("", "utterly.different.thing=1")
            .contains(&"utterly.different.thing is no known property".to_owned())
    );
    assert!(warnings("ofset.storage.topic=x", "").contains(
        &"ofset.storage.topic is no known property: did you mean offset.storage.topic?".to_owned()
    ));
    assert!(warnings("slot.name=x", "")[0].contains("belongs into the connector's file"));
    assert!(warnings("", "bootstrap.servers=x")[0].contains("belongs into the worker's file"));
}

#[test]
fn old_names_and_values() {
    let config = config(
        "",
        "table.blacklist=a.b\nsanitize.field.names=true\nslot.drop_on_stop=true\n\
        truncate.handling.mode=include\ntransaction.topic=tx\nflush.lsn.source=true\n\
        toasted.value.placeholder=hex:00ff\nsnapshot.mode=never\nplugin.name=wal2json_rds\n\
        internal.slot.seek.to.known.offset.on.start=true\n",
    );
    assert!(!config.capture.tables.accepts("a", "b"));
    assert_eq!(config.encode.field_names, NameAdjustment::Avro);
    assert!(config.source.slot_drop_on_stop);
    assert_eq!(config.capture.skipped_operations, Some(Vec::new()));
    assert_eq!(config.encode.transaction_topic, "srv.tx");
    assert_eq!(config.source.lsn_flush, LsnFlush::Connector);
    assert_eq!(config.encode.unavailable, [0, 0xFF]);
    assert_eq!(config.capture.snapshot_mode, SnapshotMode::NoData);
    assert_eq!(config.source.offset_mismatch, OffsetMismatch::TrustOffset);

    let told = warnings(
        "",
        "truncate.handling.mode=skip\ndatabase.server.name=x\nsnapshot.mode=exported\n\
        plugin.name=decoderbufs",
    );
    assert_eq!(
        told,
        [
            "database.server.name has no effect: it is the old name of topic.prefix, which \
                is given too",
            "truncate.handling.mode is an old name: it still works, please write \
                skipped.operations=t",
            "plugin.name=decoderbufs: the output plug-in used is pgoutput, PostgreSQL's own; \
                please write plugin.name=pgoutput",
            "snapshot.mode=exported is an old value: it still works, please write initial",
        ]
    );
}

#[test]
fn rules_of_debezium() {
    for (lines, expected) in [
        (
            "table.include.list=a\ntable.exclude.list=b",
            "table.exclude.list=b: \"table.include.list\" is already specified",
        ),
        (
            "table.whitelist=a\ntable.blacklist=b",
            "table.blacklist=b: \"table.include.list\" is already specified",
        ),
        (
            "max.queue.size=10\nmax.batch.size=10",
            "max.queue.size=10: Must be larger than the maximum batch size",
        ),
        (
            "snapshot.mode=custom",
            "snapshot.mode=custom: a custom snapshotter is a Java class, and there is no \
                Java here. Value must be one of initial, always, initial_only, no_data, \
                when_needed",
        ),
        (
            "unavailable.value.placeholder=hex:0",
            "unavailable.value.placeholder=hex:0: Hexadecimal digits, two for each byte, are \
                expected after hex:",
        ),
        (
            "column.mask.with.x.chars=a",
            "column.mask.with.x.chars=a: A number of characters is expected instead of x",
        ),
        (
            "column.mask.hash.MD9.with.salt.s=a",
            "column.mask.hash.MD9.with.salt.s=a: The digest MD9 is none of MD5, SHA-1, \
                SHA-224, SHA-256, SHA-384, SHA-512, SHA-512/224, SHA-512/256",
        ),
        (
            "topic.naming.strategy=io.debezium.schema.SchemaRegexTopicNamingStrategy\n\
            topic.regex=a",
            "topic.replacement: A value is required",
        ),
        (
            "converters=geo\ngeo.type=x",
            "converters=geo: custom converters are Java classes, and there is no Java here",
        ),
        ("topic.prefix=", "topic.prefix=: A value is required"),
        (
            "connector.class=io.debezium.connector.mysql.MySqlConnector",
            "connector.class=io.debezium.connector.mysql.MySqlConnector: Class must be one \
                of: io.debezium.connector.postgresql.PostgresConnector, PostgresConnector, \
                Postgres",
        ),
    ] {
        assert_eq!(problems("", lines), [expected]);
    }
}

#[test]
fn converters_are_not_merged() {
    let json = "value.converter=org.apache.kafka.connect.json.JsonConverter\n";
    let read = config("", &format!("{json}value.converter.schemas.enable=false"));
    assert!(matches!(
        read.encode.value_converter,
        Converter::Json(JsonConverter {
            schemas_enable: false,
            ..
        })
    ));
    assert!(matches!(read.encode.key_converter, Converter::Avro(_)));
    // The connector names an AvroConverter, and the worker's address is not its own.
    let avro = "value.converter=io.confluent.connect.avro.AvroConverter\n";
    assert_eq!(
        problems("", avro),
        [
            "value.converter.schema.registry.url: Missing required configuration \
                \"schema.registry.url\" which has no default value."
        ]
    );
    let told = warnings("", "key.converter.schema.registry.url=http://other:1");
    assert!(
        told[0].contains("has no effect: the connector's file names no key.converter"),
        "{told:?}"
    );
    // A setting of another converter.
    let told = warnings("key.converter.schemas.enable=true", "");
    assert_eq!(
        told,
        ["key.converter.schemas.enable has no effect: AvroConverter has no such setting"]
    );
    // Only the connector's own file makes field names Avro's.
    assert_eq!(config("", "").encode.field_names, NameAdjustment::None);
    let own = "value.converter.schema.registry.url=http://r:1\n";
    assert_eq!(
        config("", &format!("{avro}{own}")).encode.field_names,
        NameAdjustment::Avro
    );
    // Neither ours nor the worker's, whose settings are others.
    assert_eq!(
        problems("", "value.converter=com.acme.JsonConverter").len(),
        1
    );
    // A worker's file without converters, when the connector has its own.
    let worker = "bootstrap.servers=a:1";
    let connector = format!(
        "{CONNECTOR_FILE}{json}key.converter=org.apache.kafka.connect.storage.StringConverter"
    );
    assert!(inspect(worker, &connector).config.is_ok());
    assert!(
        problems("value.converter=com.acme.Protobuf", "")[0]
            .starts_with("value.converter=com.acme.Protobuf: Class must be one of: io.confluent")
    );
}

#[test]
fn the_registry() {
    let avro = |lines: &str| {
        let lines: Vec<_> = lines
            .lines()
            .map(|line| format!("value.converter.{line}\n"))
            .collect();
        match config(&lines.concat(), "").encode.value_converter {
            Converter::Avro(avro) => avro,
            other => panic!("{other:?}"),
        }
    };
    let read = avro(
        "schema.registry.url=http://u%40x:p%3Aw@a:1/ , \
            https://b/sr\nauto.register.schemas=false\n\
        use.latest.version=true\nnormalize.schemas=true\n\
        value.subject.name.strategy=io.confluent.kafka.serializers.subject.RecordNameStrategy\n\
        request.header.X-Tenant=t\nmax.retries=0\n\
        schema.registry.ssl.truststore.location=/ca.pem",
    );
    assert_eq!(read.registry.urls, ["http://a:1", "https://b/sr"]);
    assert_eq!(
        read.registry.basic_auth,
        Some(("u@x".to_owned(), "p:w".to_owned()))
    );
    assert_eq!(
        read.registry.request_headers,
        [("X-Tenant".to_owned(), "t".to_owned())]
    );
    assert_eq!(read.registry.max_retries, 0);
    assert_eq!(
        read.registry.tls.root_cert,
        Some(Pem::File("/ca.pem".to_owned()))
    );
    assert!(!read.auto_register && read.use_latest_version && read.normalize);
    assert_eq!(read.subject_name, SubjectName::Record);

    let read =
        avro("basic.auth.credentials.source=USER_INFO\nschema.registry.basic.auth.user.info=u:p:q");
    assert_eq!(
        read.registry.basic_auth,
        Some(("u".to_owned(), "p:q".to_owned()))
    );
    let read = avro("bearer.auth.credentials.source=STATIC_TOKEN\nbearer.auth.token=t");
    assert_eq!(read.registry.bearer_token.as_deref(), Some("t"));

    let shown = with("key.converter.schema.registry.url=http://u:secret@a:1", "").settings;
    let url = shown
        .iter()
        .find(|setting| setting.name == "key.converter.schema.registry.url");
    assert_eq!(url.unwrap().value.as_deref(), Some("http://a:1"));
    let wrong = problems("value.converter.schema.registry.url=u:secret@a:1", "");
    assert_eq!(wrong.len(), 1);
    let wrong = problems(
        "value.converter.basic.auth.credentials.source=USER_INFO\n\
        value.converter.basic.auth.user.info=nocolon",
        "",
    );
    assert_eq!(
        wrong,
        [
            "value.converter.basic.auth.user.info: user:password is expected, since \
                basic.auth.credentials.source is USER_INFO"
        ]
    );
}

#[test]
fn the_client() {
    let sink = config(
        "producer.compression.type=zstd\nproducer.compression.zstd.level=5\n\
        producer.linger.ms=7\nproducer.delivery.timeout.ms=120000",
        "producer.override.linger.ms=9\nproducer.override.bootstrap.servers=b:1\n\
        producer.override.client.id=me\n\
        producer.override.max.in.flight.requests.per.connection=1",
    )
    .sink;
    assert_eq!(
        (sink.compression, sink.compression_level),
        (Compression::Zstd, Some(5))
    );
    assert_eq!(sink.linger, Duration::from_millis(9));
    assert_eq!(sink.delivery_timeout, Some(Duration::from_secs(120)));
    assert_eq!(
        (sink.bootstrap, sink.client_id.as_str(), sink.in_flight_max),
        (vec!["b:1".to_owned()], "me", 1)
    );

    let sink = config("", "producer.override.acks=1").sink;
    assert_eq!(
        (sink.acks, sink.idempotent, sink.in_flight_max),
        (1, false, 1)
    );
    let sink = config(
        "",
        "producer.override.acks=-1\n\
        producer.override.enable.idempotence=false\n\
        producer.override.max.in.flight.requests.per.connection=9",
    )
    .sink;
    assert_eq!(
        (sink.acks, sink.idempotent, sink.in_flight_max),
        (-1, false, 9)
    );

    for (line, part) in [
        (
            "acks=1\nproducer.override.enable.idempotence=true",
            "Must set acks to all",
        ),
        ("max.in.flight.requests.per.connection=6", "to at most 5"),
        (
            "delivery.timeout.ms=1000",
            "equal to or larger than linger.ms + request.timeout.ms",
        ),
        (
            "transactional.id=x\nproducer.override.enable.idempotence=false",
            "without also enabling idempotence",
        ),
        (
            "compression.type=brotli",
            "String must be one of: none, gzip, snappy, lz4, zstd",
        ),
        (
            "partitioner.class=com.acme.P",
            "only Java's default partitioner",
        ),
    ] {
        let found = problems("", &format!("producer.override.{line}"));
        assert!(
            found.len() == 1 && found[0].contains(part),
            "{line}: {found:#?}"
        );
    }
}

#[test]
fn the_override_policy() {
    let policy = "connector.client.config.override.policy=None";
    assert!(problems(policy, "producer.override.acks=all")[0].contains("does not allow 'acks'"));
    let policy = "connector.client.config.override.policy=Principal";
    assert!(problems(policy, "producer.override.security.protocol=SSL").is_empty());
    assert_eq!(problems(policy, "producer.override.acks=all").len(), 1);
    let policy = "connector.client.config.override.policy=Allowlist\n\
        connector.client.config.override.allowlist=acks, linger.ms";
    assert!(problems(policy, "producer.override.acks=all").is_empty());
    assert_eq!(problems(policy, "producer.override.batch.size=1").len(), 1);
}

#[test]
fn security() {
    let scram = "producer.security.protocol=SASL_SSL\nproducer.sasl.mechanism=SCRAM-SHA-512\n\
        producer.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule \
        required username=\"u\" password=\"top-secret\";\n\
        producer.ssl.endpoint.identification.algorithm=\n\
        producer.ssl.truststore.certificates=-----BEGIN";
    let sink = config(scram, "").sink;
    let sasl = sink.sasl.clone().unwrap();
    assert_eq!(
        (sasl.mechanism, sasl.user.as_str(), sasl.password.as_str()),
        (SaslMechanism::ScramSha512, "u", "top-secret")
    );
    let tls = sink.tls.clone().unwrap();
    assert!(!tls.verify_hostname);
    let text = Pem::Text {
        property: "ssl.truststore.certificates".to_owned(),
        text: "-----BEGIN".to_owned(),
    };
    assert_eq!(tls.root_cert, Some(text));
    assert!(!format!("{sink:?}").contains("top-secret"));

    // The worker's own, when nothing is said about the producer.
    let own = scram.replace("producer.", "");
    assert!(config(&own, "").sink.sasl.is_some());
    let sink = config(&own, "producer.override.security.protocol=PLAINTEXT").sink;
    assert!(sink.sasl.is_none() && sink.tls.is_none());

    for (lines, part) in [
        (
            "security.protocol=SASL_SSL",
            "Kafka's default GSSAPI is not supported",
        ),
        (
            "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN",
            "the login module with username and password",
        ),
        (
            "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\n\
            sasl.jaas.config=x.ScramLoginModule required username=a password=secret;",
            "sasl.mechanism=PLAIN takes PlainLoginModule",
        ),
        (
            "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\n\
            sasl.jaas.config=x.PlainLoginModule required password=secret;",
            "username and password are expected",
        ),
        (
            "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\n\
            sasl.jaas.config=x.PlainLoginModule required password=secret",
            "semicolon",
        ),
        ("ssl.truststore.type=JKS", "only PEM is read"),
        ("ssl.key.password=secret", "an encrypted key cannot be read"),
    ] {
        let found = problems(lines, "");
        assert!(
            found.len() == 1 && found[0].contains(part),
            "{lines}: {found:#?}"
        );
        assert!(!found[0].contains("secret"), "{found:?}");
    }
    let found = problems("security.protocol=SASL_SSL\nsasl.mechanism=GSSAPI", "");
    assert!(found[0].contains("supported are PLAIN"), "{found:?}");
}

#[test]
fn topics_that_we_create() {
    let creation = config(
        "",
        "topic.creation.default.partitions=3\n\
        topic.creation.default.replication.factor=-1\n\
        topic.creation.groups=big, \
        old\ntopic.creation.big.include=srv\\\\.a,srv.b\ntopic.creation.big.exclude=.*x\n\
        topic.creation.big.partitions=9\n\
        topic.creation.big.cleanup.policy=compact\n\
        topic.creation.old.include=o",
    )
    .sink
    .topic_creation;
    assert_eq!(creation.len(), 3);
    assert!(creation[0].takes("srv.a") && creation[0].takes("srvXb"));
    assert!(!creation[0].takes("SRV.a") && !creation[0].takes("srvXa"));
    assert_eq!(
        (creation[0].partitions, creation[0].replication_factor),
        (9, -1)
    );
    assert_eq!(creation[0].configs["cleanup.policy"], "compact");
    assert!(creation[2].takes("anything"));
    assert_eq!(creation[2].partitions, 3);

    assert_eq!(
        problems("", "topic.creation.default.partitions=3"),
        [
            "topic.creation.default.replication.factor: Missing required configuration \
                \"topic.creation.default.replication.factor\" which has no default value."
        ]
    );
    let groups = "topic.creation.default.partitions=0\n\
        topic.creation.default.replication.factor=1\ntopic.creation.groups=g";
    assert_eq!(
        problems("", groups),
        [
            "topic.creation.default.partitions=0: Value must be -1 or from 1 to 32767",
            "topic.creation.g.include: Missing required configuration \
                \"topic.creation.g.include\" which has no default value.",
        ]
    );
    assert!(
        warnings(
            "topic.creation.enable=false",
            "topic.creation.default.partitions=3"
        )[0]
        .contains("has no effect without")
    );
}

#[test]
fn columns_and_keys() {
    let encode = config(
        "",
        "column.mask.hash.v2.sha-256.with.salt.a.b=x.y.z\n\
        column.mask.hash.SHA-256.with.salt.CzQMA0cB5K=a.b.c\n\
        column.mask.with.0.chars=m\ncolumn.truncate.to.0.chars=t\n\
        column.propagate.source.type=p.*\ndatatype.propagate.source.type=.*numeric\n\
        message.key.columns=inv.nopk:a; (.*)\\\\.log:b , C.*",
    )
    .encode;
    let actions: Vec<_> = encode
        .column_rules
        .iter()
        .map(|rule| format!("{:?}", rule.action))
        .collect();
    assert_eq!(
        actions,
        [
            "Truncate(0)",
            "Mask(0)",
            "PropagateType",
            "PropagateDatatype",
            "Hash { algorithm: \"SHA-256\", salt: \"CzQMA0cB5K\", v2: false }",
            "Hash { algorithm: \"SHA-256\", salt: \"a.b\", v2: true }",
        ]
    );
    assert!(encode.column_rules[0].columns.accepts("T"));
    let keys = &encode.message_keys;
    for (at, column) in [(0, "inv.nopk.a"), (1, "x.log.b"), (2, "X.log.city")] {
        assert!(keys[at].is_match(column), "{column}");
    }
}

#[test]
fn the_source_in_full() {
    let source = config(
        "",
        "database.hostname=/run/postgresql\nslot.stream.params=a=1;b=x=y\n\
        database.query.timeout.ms=0\n\
        database.initial.statements=set a = 'x;;y';set b = 2;\nerrors.max.retries=3",
    )
    .source;
    assert_eq!(source.host, "/run/postgresql");
    assert_eq!(
        source.slot_stream_params,
        [
            ("a".to_owned(), "1".to_owned()),
            ("b".to_owned(), "x=y".to_owned())
        ]
    );
    assert_eq!(source.initial_statements, ["set a = 'x;y'", "set b = 2"]);
    assert_eq!((source.query_timeout, source.max_retries), (None, Some(3)));
}

#[test]
fn statements_of_the_snapshot() {
    let lines = "snapshot.select.statement.overrides=s.a, s.b\n\
        snapshot.select.statement.overrides.s.a=select \
        1\nsnapshot.select.statement.overrides.s.c=select 2\nskipped.operations=c,t";
    let capture = config("", lines).capture;
    assert_eq!(capture.snapshot_overrides.len(), 1);
    assert_eq!(capture.snapshot_overrides["s.a"], "select 1");
    assert_eq!(
        capture.skipped_operations,
        Some(vec![Operation::Create, Operation::Truncate])
    );
    let told = warnings("", lines);
    assert!(
        told[0].contains("there is no snapshot.select.statement.overrides.s.b"),
        "{told:?}"
    );
    assert!(told[1].contains("does not name s.c"), "{told:?}");
}

#[test]
fn unwrapping() {
    let unwrap = |lines: &str| {
        let lines: Vec<_> = lines
            .lines()
            .map(|line| format!("transforms.unwrap.{line}\n"))
            .collect();
        config("", &format!("transforms=unwrap\n{}", lines.concat()))
            .encode
            .transforms
            .remove(0)
    };
    let today = unwrap(
        "type=io.debezium.transforms.ExtractNewRecordState\nadd.fields=op,table\n\
        delete.tombstone.handling.mode=rewrite",
    );
    assert_eq!(today.alias, "unwrap");
    assert_eq!(today.options["add.fields"], "op,table");
    let old = unwrap(
        "type=io.debezium.transforms.UnwrapFromEnvelope\ndrop.tombstones=false\n\
        delete.handling.mode=rewrite\nadd.source.fields=lsn, db\noperation.header=true",
    );
    assert_eq!(old.class, today.class);
    assert_eq!(
        old.options["delete.tombstone.handling.mode"],
        "rewrite-with-tombstone"
    );
    assert_eq!(old.options["add.fields"], "source.lsn,source.db");
    assert_eq!(old.options["add.headers"], "op");

    assert_eq!(
        problems("", "transforms=a"),
        [
            "transforms.a.type: Missing required configuration \"transforms.a.type\" which \
                has no default value."
        ]
    );
    assert!(
        problems(
            "",
            "transforms=a\ntransforms.a.type=org.apache.kafka.connect.transforms.Cast$Value"
        )[0]
        .contains("Class must be one of")
    );
    assert!(
        warnings(
            "",
            "transforms.a.type=io.debezium.transforms.ExtractNewRecordState"
        )[0]
        .contains("transforms does not name it")
    );
    let unwrap = "transforms=a\ntransforms.a.type=io.debezium.transforms.ExtractNewRecordState\n";
    assert_eq!(
        problems(
            "",
            &format!("{unwrap}transforms.a.delete.tombstone.handling.mode=keep")
        ),
        [
            "transforms.a.delete.tombstone.handling.mode=keep: Value must be one of drop, \
             tombstone, rewrite, rewrite-with-tombstone, delete-to-tombstone"
        ]
    );
    let told = warnings(
        "",
        &format!("{unwrap}transforms.a.add.fields=op,source.gtid:g,before.a"),
    );
    assert!(
        told[0].contains("source.gtid:g is no field of an envelope"),
        "{told:?}"
    );
    assert_eq!(told.len(), 1);
}

#[test]
fn classes_have_short_names() {
    let read = config(
        "",
        "key.converter=StringConverter\nvalue.converter=Json\nheader.converter=Simple\n\
         transforms=a\ntransforms.a.type=ExtractNewRecordState",
    );
    assert!(matches!(read.encode.key_converter, Converter::String));
    assert!(matches!(read.encode.value_converter, Converter::Json(_)));
    assert_eq!(read.encode.transforms[0].class, table::TRANSFORMS[0]);
}

#[test]
fn what_is_not_supported_is_said() {
    let told = warnings(
        "listeners=http://:8083\nplugin.path=/p",
        "signal.data.collection=a.b\nerrors.tolerance=all\nerrors.tolerance=none\n\
        read.only=true\nmax.batch.size=1",
    );
    assert_eq!(
        told,
        [
            "read.only=true is not supported: signals and incremental snapshots are not \
                supported by this version",
            "signal.data.collection=a.b is not supported: signals and incremental snapshots \
                are not supported by this version",
            "listeners has no effect: there is no REST API in `penstock standalone`",
            "plugin.path has no effect: everything is built in",
            "max.batch.size has no effect: there is no queue between reading and writing: a \
                row goes from one buffer to the other",
        ]
    );
}

#[test]
fn secrets_from_providers_are_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s.properties");
    std::fs::write(&path, "password=hush\nslot=Hush-Slot").unwrap();
    let worker = "config.providers=file\n\
        config.providers.file.class=org.apache.kafka.common.config.provider.FileConfigProvider";
    let secret = |key| format!("${{file:{}:{key}}}", path.display());
    let read = with(
        worker,
        &format!(
            "database.password={}\ndatabase.dbname={}",
            secret("password"),
            secret("password")
        ),
    );
    assert!(!format!("{:?}", read.settings).contains("hush"));
    let source = read.config.unwrap().source;
    assert_eq!(source.password.as_deref(), Some("hush"));
    assert_eq!(source.database, "hush");
    let found = problems(
        worker,
        &format!(
            "database.hostname={}\ntopic.prefix=${{file:/no/such:x}}\nslot.name={}",
            "a b",
            secret("slot")
        ),
    );
    assert!(
        found.iter().all(|problem| !problem.contains("Hush-Slot")),
        "{found:?}"
    );
    assert!(
        found
            .iter()
            .any(|problem| problem.contains("could not read /no/such")),
        "{found:?}"
    );
    let told = warnings("", "database.password=${vault:a:b}");
    assert_eq!(
        told,
        [
            "database.password: ${vault:a:b} is left as it is: the worker's config.providers \
                has no `vault`"
        ]
    );
}

#[test]
fn transactions() {
    let sink = config("", "exactly.once.support=required").sink;
    assert!(sink.exactly_once);
    assert_eq!(sink.transactional_id, "penstock-c-0");
    for (worker, connector) in [
        ("", "exactly.once.support=disabled"),
        ("exactly.once.source.support=disabled", ""),
        ("", "producer.override.acks=1"),
    ] {
        assert!(!config(worker, connector).sink.exactly_once);
    }
    for (worker, connector) in [
        ("exactly.once.source.support=disabled", ""),
        ("", "producer.override.acks=1"),
    ] {
        let connector = format!("exactly.once.support=required\n{connector}");
        let found = problems(worker, &connector);
        assert!(found[0].contains("does not have exactly-once source support enabled"));
    }
}

/// Every word that the table allows loads, so that no accessor meets a name without a row.
#[test]
fn every_word_loads() {
    for (section, prefix) in [
        (&DEBEZIUM, ""),
        (&PENSTOCK, ""),
        (&CONNECT, ""),
        (&CLIENT, "producer.override."),
    ] {
        for row in section.properties {
            let Kind::Word(words) = row.kind else {
                continue;
            };
            for word in words.names {
                if row.name.starts_with("sasl")
                    || row.name == "security.protocol"
                    || row.name == "acks"
                {
                    continue;
                }
                let line = format!("{prefix}{}={}", row.name, word.to_uppercase());
                let worker = "exactly.once.source.support=enabled";
                assert_eq!(problems(worker, &line), Vec::<String>::new());
            }
        }
    }
}
