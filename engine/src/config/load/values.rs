//! Values: what the checked scopes say, as a [`Config`], and rules in which properties meet.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Load, SIDES, Scope, Scopes, missing, without_user_info};
use crate::budget::{Budget, MEMORY_DEFAULT, parse_size};
use crate::config::pattern::split_list;
use crate::config::table::{self, AVRO, CLIENT, JSON, Status, Wording};
use crate::config::{
    AvroConverter, AvroText, Capture, ColumnAction, ColumnRule, Config, Converter, DeadLetters,
    Encode, Errors, FailureMode, Filter, JsonConverter, NameAdjustment, Named, Offsets, Operation,
    Pattern, Pem, Predicate, Registry, ReplicaIdentity, Sasl, SaslMechanism, Sink, Source,
    SubjectName, TableFilter, Tls, TopicCreation, TopicForm, TopicKey, TopicNaming, Transform,
    jaas,
};

/// Whether an envelope has a field that `add.fields` names, with a new name or without.
fn is_metadata(spec: &str) -> bool {
    let path = spec.split_once(':').map_or(spec, |(path, _)| path);
    let [envelope, transaction, source] = table::METADATA_FIELDS;
    match path.split_once('.') {
        Some(("before" | "after", _)) => true,
        Some(("transaction", field)) => transaction.contains(&field),
        Some(("source", field)) => source.contains(&field),
        Some(_) => false,
        None => [envelope, transaction, source].concat().contains(&path),
    }
}

impl Load {
    /// Rules that more than one property take part in, and the values.
    pub(super) fn config(&mut self, scopes: &Scopes) -> Config {
        let Scopes {
            worker,
            connect,
            debezium,
            ..
        } = scopes;
        let name = connect.required("name");
        for of in ["schema", "table", "column", "message.prefix"] {
            let (include, exclude) = (format!("{of}.include.list"), format!("{of}.exclude.list"));
            if debezium.optional(&include).is_some() && debezium.optional(&exclude).is_some() {
                self.problem(
                    debezium,
                    &exclude,
                    format!("\"{include}\" is already specified"),
                );
            }
        }
        let queue: i64 = debezium.int("max.queue.size");
        if queue <= debezium.int("max.batch.size") {
            self.problem(
                debezium,
                "max.queue.size",
                "Must be larger than the maximum batch size",
            );
        }
        if !debezium.is_given("plugin.name") {
            self.note(
                "plugin.name",
                "plugin.name is not set: the output plug-in used is pgoutput, PostgreSQL's own"
                    .to_owned(),
            );
        }
        let memory = [&scopes.penstock, worker]
            .into_iter()
            .find_map(|scope| parse_size(scope.text("penstock.memory.max")?));
        let budget = Budget::divide(memory.unwrap_or(MEMORY_DEFAULT), 1);
        let sink = self.sink(scopes, &name, &budget);
        Config {
            errors: errors(connect, debezium),
            budget,
            source: self.source(debezium, scopes.penstock.int("penstock.wal.retained.warn")),
            capture: self.capture(debezium),
            encode: self.encode(scopes, sink.sasl.as_ref()),
            offsets: Offsets {
                topic: connect
                    .optional("offsets.storage.topic")
                    .or_else(|| worker.optional("offset.storage.topic"))
                    .unwrap_or_default(),
                partitions: worker.int("offset.storage.partitions"),
                replication_factor: worker.int("offset.storage.replication.factor"),
                file: worker.optional("offset.storage.file.filename"),
                flush_interval: worker.millis("offset.flush.interval.ms"),
            },
            sink,
            shutdown_timeout: worker.millis("task.shutdown.graceful.timeout.ms"),
            name,
        }
    }

    fn source(&mut self, debezium: &Scope, wal_retained_warn: u64) -> Source {
        let parameters = debezium.optional("slot.stream.params").unwrap_or_default();
        let parameters = parameters
            .split(';')
            .filter_map(|part| part.split_once('='));
        let identities = debezium
            .optional("replica.identity.autoset.values")
            .unwrap_or_default();
        Source {
            host: debezium.required("database.hostname"),
            port: debezium.int("database.port"),
            user: debezium.required("database.user"),
            password: debezium.optional("database.password"),
            database: debezium.required("database.dbname"),
            ssl_mode: debezium.word("database.sslmode"),
            ssl_root_cert: debezium.optional("database.sslrootcert"),
            ssl_cert: debezium.optional("database.sslcert"),
            ssl_key: debezium.optional("database.sslkey"),
            initial_statements: statements(
                &debezium
                    .optional("database.initial.statements")
                    .unwrap_or_default(),
            ),
            slot: debezium.required("slot.name"),
            slot_drop_on_stop: debezium.boolean("slot.drop.on.stop"),
            slot_failover: debezium.boolean("slot.failover"),
            slot_stream_params: parameters
                .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
                .collect(),
            slot_max_retries: debezium.int("slot.max.retries"),
            slot_retry_delay: debezium.millis("slot.retry.delay.ms"),
            publication: debezium.required("publication.name"),
            publication_autocreate: debezium.word("publication.autocreate.mode"),
            publish_via_partition_root: debezium.boolean("publish.via.partition.root"),
            replica_identities: split_list(&identities)
                .iter()
                .filter_map(|entry| parse_replica_identity(entry))
                .filter_map(|(table, identity)| Some((Pattern::new(&table).ok()?, identity)))
                .collect(),
            query_timeout: debezium
                .number("database.query.timeout.ms")
                .and_then(|ms| u64::try_from(ms).ok())
                .filter(|&ms| ms > 0)
                .map(Duration::from_millis),
            connect_timeout: debezium.millis("connection.validation.timeout.ms"),
            tcp_keepalive: debezium.boolean("database.tcpKeepAlive"),
            offset_mismatch: debezium.word("offset.mismatch.strategy"),
            lsn_flush: debezium.word("lsn.flush.mode"),
            status_update_interval: debezium.millis("status.update.interval.ms"),
            wal_retained_warn,
            max_retries: debezium
                .number("errors.max.retries")
                .and_then(|retries| u32::try_from(retries).ok()),
            retry_wait: debezium.millis("retriable.restart.connector.wait.ms"),
        }
    }

    fn capture(&mut self, debezium: &Scope) -> Capture {
        const OVERRIDES: &str = "snapshot.select.statement.overrides";
        let tables = debezium.list(OVERRIDES);
        let mut snapshot_overrides = BTreeMap::new();
        for table in &tables {
            match debezium.optional(&format!("{OVERRIDES}.{table}")) {
                Some(statement) => {
                    snapshot_overrides.insert(table.clone(), statement);
                }
                None => self.warn(
                    OVERRIDES,
                    format!(
                        "{OVERRIDES} names {table}, and there is no {OVERRIDES}.{table}: the whole \
                        table is copied"
                    ),
                ),
            }
        }
        for (table, given) in debezium.family("snapshot.select.statement.overrides.", "") {
            if !tables.iter().any(|listed| listed == table) {
                self.warn(
                    &given.name,
                    format!(
                        "{} has no effect: {OVERRIDES} does not name {table}",
                        given.name
                    ),
                );
            }
        }
        let snapshot_tables = debezium.patterns("snapshot.include.collection.list");
        let skipped = debezium
            .text("skipped.operations")
            .filter(|_| debezium.is_given("skipped.operations"));
        Capture {
            tables: TableFilter {
                schemas: debezium.filter("schema"),
                tables: debezium.filter("table"),
                ignore_builtin: debezium.boolean("table.ignore.builtin"),
            },
            columns: debezium.filter("column"),
            snapshot_mode: debezium.word("snapshot.mode"),
            snapshot_tables: if snapshot_tables.is_empty() {
                Filter::All
            } else {
                Filter::Include(snapshot_tables)
            },
            snapshot_max_threads: debezium.int("snapshot.max.threads"),
            snapshot_overrides,
            snapshot_delay: debezium.millis("snapshot.delay.ms"),
            streaming_delay: debezium.millis("streaming.delay.ms"),
            skipped_operations: skipped.map(|words| {
                words
                    .split(',')
                    .filter_map(|word| Operation::named(word.trim()))
                    .filter(|operation| *operation != Operation::Read)
                    .collect()
            }),
            skip_unchanged: debezium.boolean("skip.messages.without.change"),
            heartbeat_interval: debezium.millis("heartbeat.interval.ms"),
            heartbeat_action_query: debezium.optional("heartbeat.action.query"),
            transaction_metadata: debezium.boolean("provide.transaction.metadata"),
            message_prefixes: debezium.filter("message.prefix"),
        }
    }

    fn encode(&mut self, scopes: &Scopes, sasl: Option<&Sasl>) -> Encode {
        let debezium = &scopes.debezium;
        let topic_prefix = debezium.required("topic.prefix");
        let delimiter = debezium.required("topic.delimiter");
        let heartbeat_topic = debezium
            .optional("topic.heartbeat.name")
            .unwrap_or_else(|| {
                format!(
                    "{}{delimiter}{topic_prefix}",
                    debezium.required("topic.heartbeat.prefix")
                )
            });
        let names_avro = ["key.converter", "value.converter"].iter().any(|side| {
            let class = scopes
                .connect
                .given
                .get(*side)
                .map(|given| given.value.as_str());
            matches!(
                class,
                Some(
                    "io.confluent.connect.avro.AvroConverter"
                        | "io.apicurio.registry.utils.converter.AvroConverter"
                )
            )
        });
        let field_names = match debezium.word("field.name.adjustment.mode") {
            NameAdjustment::None if names_avro => NameAdjustment::Avro,
            mode => mode,
        };
        let unavailable = debezium.required("unavailable.value.placeholder");
        let unavailable = match unavailable.strip_prefix("hex:") {
            None => unavailable.into_bytes(),
            Some(digits) => unhex(digits).unwrap_or_else(|| {
                let message = "Hexadecimal digits, two for each byte, are expected after hex:";
                self.problem(debezium, "unavailable.value.placeholder", message);
                Vec::new()
            }),
        };
        let key_columns = debezium.optional("message.key.columns").unwrap_or_default();
        // Debezium's own reading: what is before the colon and each name behind it, one expression.
        let entries = key_columns
            .split(';')
            .filter_map(|entry| entry.split_once(':'));
        let message_keys = entries.flat_map(|(table, columns)| {
            let columns = columns.split(',').map(str::trim);
            columns.filter_map(move |column| message_key(table, column).ok())
        });
        Encode {
            transaction_topic: format!(
                "{topic_prefix}{delimiter}{}",
                debezium.required("topic.transaction")
            ),
            heartbeat_topic,
            topic_naming: self.topic_naming(debezium),
            topic_prefix,
            topic_delimiter: delimiter,
            key_converter: self.converter(scopes, 0, sasl),
            value_converter: self.converter(scopes, 1, sasl),
            header_converter: self.converter(scopes, 2, sasl),
            decimal: debezium.word("decimal.handling.mode"),
            time: debezium.word("time.precision.mode"),
            interval: debezium.word("interval.handling.mode"),
            hstore: debezium.word("hstore.handling.mode"),
            binary: debezium.word("binary.handling.mode"),
            money_fraction_digits: debezium.int("money.fraction.digits"),
            include_unknown: debezium.boolean("include.unknown.datatypes"),
            unavailable,
            schema_names: debezium.word("schema.name.adjustment.mode"),
            field_names,
            tombstones: debezium.boolean("tombstones.on.delete"),
            extended_headers: debezium.boolean("extended.headers.enabled"),
            message_keys: message_keys.collect(),
            column_rules: self.column_rules(debezium),
            transforms: self.transforms(&scopes.connect),
            conversion_failure: debezium.word("event.converting.failure.handling.mode"),
            compat: scopes.penstock.word("penstock.compat"),
        }
    }

    fn topic_naming(&mut self, debezium: &Scope) -> TopicNaming {
        let class = debezium.required("topic.naming.strategy");
        let schema = !class.contains("Default");
        TopicNaming {
            schema,
            form: self.topic_form(debezium, &class),
        }
    }

    fn topic_form(&mut self, debezium: &Scope, class: &str) -> TopicForm {
        if class.contains("Unicode") {
            return TopicForm::Unicode;
        }
        if !class.contains("Regex") {
            return TopicForm::Plain;
        }
        for name in ["topic.regex", "topic.replacement"] {
            if !debezium.is_given(name) {
                self.problem(debezium, name, "A value is required");
            }
        }
        let regex = debezium.optional("topic.regex").unwrap_or_default();
        let regex = Pattern::case_sensitive(&regex);
        match (regex, debezium.text("topic.replacement")) {
            (Ok(regex), Some(replacement)) => TopicForm::Regex {
                regex,
                replacement: replacement.to_owned(),
                key: topic_key(debezium).map(Box::new),
            },
            _ => TopicForm::Plain,
        }
    }

    /// In the order in which Debezium looks for a column's rule; only the first one counts.
    fn column_rules(&mut self, debezium: &Scope) -> Vec<ColumnRule> {
        let mut rules = Vec::new();
        let mut add = |given: &str, action| {
            if let Ok(patterns) = Pattern::list(given)
                && !patterns.is_empty()
            {
                rules.push(ColumnRule {
                    columns: Filter::Include(patterns),
                    action,
                });
            }
        };
        for (before, after) in [
            ("column.truncate.to.", ".chars"),
            ("column.mask.with.", ".chars"),
        ] {
            for (length, given) in debezium.family(before, after) {
                match length.parse::<u32>() {
                    Ok(length) if before == "column.mask.with." => {
                        add(&given.value, ColumnAction::Mask(length));
                    }
                    Err(_) => {
                        let message =
                            format!("A number of characters is expected instead of {length}");
                        self.problem(debezium, &format!("{before}{length}{after}"), message);
                    }
                    Ok(length) => add(&given.value, ColumnAction::Truncate(length)),
                }
            }
        }
        if let Some(list) = debezium.optional("column.propagate.source.type") {
            add(&list, ColumnAction::PropagateType);
        }
        if let Some(list) = debezium.optional("datatype.propagate.source.type") {
            add(&list, ColumnAction::PropagateDatatype);
        }
        for (rest, given) in debezium.family("column.mask.hash.", "") {
            let (v2, rest) = match rest.strip_prefix("v2.") {
                Some(rest) => (true, rest),
                None => (false, rest),
            };
            let Some((algorithm, salt)) = rest.split_once(".with.salt.") else {
                continue;
            };
            if !DIGESTS
                .iter()
                .any(|known| known.eq_ignore_ascii_case(algorithm))
            {
                let name = format!("column.mask.hash.{}{rest}", if v2 { "v2." } else { "" });
                let message = format!("The digest {algorithm} is none of {}", DIGESTS.join(", "));
                self.problem(debezium, &name, message);
                continue;
            }
            let (algorithm, salt) = (algorithm.to_ascii_uppercase(), salt.to_owned());
            add(
                &given.value,
                ColumnAction::Hash {
                    algorithm,
                    salt,
                    v2,
                },
            );
        }
        rules
    }

    fn transforms(&mut self, connect: &Scope) -> Vec<Transform> {
        let aliases = connect.list("transforms");
        for (rest, given) in connect.family("transforms.", "") {
            let is_listed = aliases.iter().any(|alias| {
                rest.strip_prefix(alias.as_str())
                    .is_some_and(|rest| rest.starts_with('.'))
            });
            if !is_listed {
                self.warn(
                    &given.name,
                    format!("{} has no effect: transforms does not name it", given.name),
                );
            }
        }
        let mut transforms = Vec::new();
        for alias in aliases {
            let type_name = format!("transforms.{alias}.type");
            if !connect.is_given(&type_name) {
                self.problem(connect, &type_name, missing(Wording::Kafka, &type_name));
                continue;
            }
            let prefix = format!("transforms.{alias}.");
            let class = connect.required(&type_name);
            let place = table::TRANSFORMS.iter().position(|known| *known == class);
            let (own, refused) =
                place.map_or((&[][..], &[][..]), |at| table::TRANSFORM_OPTIONS[at]);
            let mut options = BTreeMap::new();
            for (option, given) in connect.family(&prefix, "") {
                if option == "type" || option == "predicate" || option == "negate" {
                    continue;
                }
                if own.contains(&option) {
                    options.insert(option.to_owned(), given.value.clone());
                } else if refused.contains(&option) {
                    let name = format!("{prefix}{option}");
                    self.problem(
                        connect,
                        &name,
                        "this option is not supported by this version",
                    );
                } else if place.is_some() {
                    let known = own.iter().map(|known| format!("{prefix}{known}"));
                    self.unknown(&given.name, known);
                }
            }
            for option in place.map_or(&[][..], |at| table::REQUIRED_TRANSFORM_OPTIONS[at]) {
                if !options.contains_key(*option) {
                    let name = format!("{prefix}{option}");
                    self.problem(connect, &name, missing(Wording::Kafka, &name));
                }
            }
            for (option, words) in table::TRANSFORM_WORDS {
                let Some(value) = options.get_mut(*option) else {
                    continue;
                };
                *value = value.trim().to_ascii_lowercase();
                if !words.contains(&value.as_str()) {
                    let message = format!("Value must be one of {}", words.join(", "));
                    self.problem(connect, &format!("{prefix}{option}"), message);
                }
            }
            for list in ["add.fields", "add.headers"] {
                let listed = options.get(list).map(|text| text.split(','));
                for spec in listed.into_iter().flatten().map(str::trim) {
                    if !spec.is_empty() && !is_metadata(spec) {
                        let name = format!("{prefix}{list}");
                        let known = table::METADATA_FIELDS.concat().join(", ");
                        let text = format!(
                            "{name}: {spec} is no field of an envelope, and left out. There are \
                             before.<column>, after.<column>, {known}"
                        );
                        self.warn(&name, text);
                    }
                }
            }
            for option in ["topic.regex", "key.field.regex", "regex"] {
                if let Some(Err(fault)) = options.get(option).map(|text| Pattern::new(text)) {
                    self.problem(connect, &format!("{prefix}{option}"), fault);
                }
            }
            let predicate = connect
                .optional(&format!("{prefix}predicate"))
                .and_then(|name| self.predicate(connect, &prefix, &name));
            self.renew_unwrap(&prefix, &mut options);
            transforms.push(Transform {
                negate: connect.boolean(&format!("{prefix}negate")),
                predicate,
                alias,
                class,
                options,
            });
        }
        transforms
    }

    /// The predicate that a transform names.
    fn predicate(&mut self, connect: &Scope, prefix: &str, name: &str) -> Option<Predicate> {
        let type_name = format!("predicates.{name}.type");
        if !connect.list("predicates").iter().any(|known| known == name) {
            let message = format!("predicates does not name {name}");
            self.problem(connect, &format!("{prefix}predicate"), message);
            return None;
        }
        let Some(class) = connect.optional(&type_name) else {
            self.problem(connect, &type_name, missing(Wording::Kafka, &type_name));
            return None;
        };
        if class.ends_with(".RecordIsTombstone") {
            return Some(Predicate::RecordIsTombstone);
        }
        let pattern = format!("predicates.{name}.pattern");
        let Some(text) = connect.optional(&pattern) else {
            self.problem(connect, &pattern, missing(Wording::Kafka, &pattern));
            return None;
        };
        Pattern::case_sensitive(&text)
            .ok()
            .map(Predicate::TopicNameMatches)
    }

    /// ExtractNewRecordState's options of 1.x and 2.x, in today's names.
    fn renew_unwrap(&mut self, prefix: &str, options: &mut BTreeMap<String, String>) {
        let is_true = |text: &String| text.eq_ignore_ascii_case("true");
        let drop_tombstones = options.remove("drop.tombstones");
        let deletes = options.remove("delete.handling.mode");
        if drop_tombstones.is_some() || deletes.is_some() {
            let drops = drop_tombstones.as_ref().is_none_or(is_true);
            let mode = match (deletes.as_deref().unwrap_or("drop"), drops) {
                ("rewrite", true) => "rewrite",
                ("rewrite", false) => "rewrite-with-tombstone",
                ("none", _) => "delete-to-tombstone",
                (_, true) => "drop",
                (_, false) => "tombstone",
            };
            let new = "delete.tombstone.handling.mode";
            self.warn(
                prefix,
                format!(
                    "{prefix}drop.tombstones and {prefix}delete.handling.mode are old names: they \
                    still \
                 work, please write {prefix}{new}={mode}"
                ),
            );
            options
                .entry(new.to_owned())
                .or_insert_with(|| mode.to_owned());
        }
        if let Some(fields) = options.remove("add.source.fields") {
            let fields: Vec<_> = fields
                .split(',')
                .map(|field| format!("source.{}", field.trim()))
                .collect();
            self.warn(
                prefix,
                format!(
                    "{prefix}add.source.fields is an old name: it still works, please write \
                    {prefix}add.fields"
                ),
            );
            options
                .entry("add.fields".to_owned())
                .or_insert_with(|| fields.join(","));
        }
        if options
            .remove("operation.header")
            .as_ref()
            .is_some_and(is_true)
        {
            self.warn(
                prefix,
                format!(
                    "{prefix}operation.header is an old name: it still works, please write \
                    {prefix}add.headers=op"
                ),
            );
            options
                .entry("add.headers".to_owned())
                .or_insert_with(|| "op".to_owned());
        }
    }

    // ---- converters and the client ----------------------------------------------------------

    fn converter(&mut self, scopes: &Scopes, side: usize, sasl: Option<&Sasl>) -> Converter {
        let scope = &scopes.converters[side];
        let class = scopes
            .connect
            .text(SIDES[side])
            .or_else(|| scopes.worker.text(SIDES[side]));
        // By the rows that its settings were read with: where the class is none that we have,
        // another one stands in here, and the problem is noted.
        let own = match class.and_then(|class| class.rsplit('.').next()) {
            _ if std::ptr::eq(scope.section, &JSON) => "JsonConverter",
            _ if std::ptr::eq(scope.section, &AVRO) => "AvroConverter",
            Some("JsonConverter" | "AvroConverter") | None => "SimpleHeaderConverter",
            Some(class) => class,
        };
        match own {
            "JsonConverter" => Converter::Json(JsonConverter {
                schemas_enable: scope.boolean("schemas.enable"),
                decimal_numeric: scope
                    .text("decimal.format")
                    .is_some_and(|f| f.eq_ignore_ascii_case("NUMERIC")),
                replace_null_with_default: scope.boolean("replace.null.with.default"),
            }),
            "AvroConverter" => {
                let strategy =
                    ["key.subject.name.strategy", "value.subject.name.strategy"][side.min(1)];
                let strategy = scope.required(strategy);
                let use_schema_id = u32::try_from(scope.int::<i64>("use.schema.id")).ok();
                Converter::Avro(AvroConverter {
                    registry: self.registry(scope, sasl),
                    auto_register: scope.boolean("auto.register.schemas"),
                    use_latest_version: scope.boolean("use.latest.version"),
                    use_schema_id,
                    strict: scope.boolean(match use_schema_id {
                        Some(_) => "id.compatibility.strict",
                        None => "latest.compatibility.strict",
                    }),
                    normalize: scope.boolean("normalize.schemas"),
                    text: AvroText {
                        meta: scope.boolean("connect.meta.data"),
                        scrubs: scope.boolean("scrub.invalid.names"),
                    },
                    ignore_defaults: scope.boolean("ignore.default.for.nullables"),
                    subject_name: match strategy.rsplit('.').next() {
                        Some("RecordNameStrategy") => SubjectName::Record,
                        Some("TopicRecordNameStrategy") => SubjectName::TopicRecord,
                        _ => SubjectName::Topic,
                    },
                })
            }
            "StringConverter" => Converter::String,
            "ByteArrayConverter" if side < 2 => {
                let scope = match scopes.connect.is_given(SIDES[side]) {
                    true => &scopes.connect,
                    false => &scopes.worker,
                };
                self.problem(
                    scope,
                    SIDES[side],
                    "ByteArrayConverter takes bytes only, and the records of this connector are \
                     structs: use JsonConverter, AvroConverter or StringConverter",
                );
                Converter::ByteArray
            }
            "ByteArrayConverter" => Converter::ByteArray,
            _ => Converter::SimpleHeader,
        }
    }

    fn registry(&mut self, scope: &Scope, sasl: Option<&Sasl>) -> Registry {
        let mut registry = Registry::new(Vec::new());
        let mut user_info = None;
        for url in scope.list("schema.registry.url") {
            let (url, info) = split_user_info(&url);
            user_info = user_info.or(info);
            registry.urls.push(url.trim_end_matches('/').to_owned());
        }
        let source = scope
            .required("basic.auth.credentials.source")
            .to_ascii_uppercase();
        registry.basic_auth = match source.as_str() {
            "USER_INFO" => {
                let info = scope.optional("basic.auth.user.info");
                let info = info.and_then(|info| {
                    info.split_once(':')
                        .map(|(user, password)| (user.to_owned(), password.to_owned()))
                });
                if info.is_none() {
                    self.problem(
                        scope,
                        "basic.auth.user.info",
                        "user:password is expected, \
                        since basic.auth.credentials.source is USER_INFO",
                    );
                }
                info
            }
            "SASL_INHERIT" => {
                if sasl.is_none() {
                    self.problem(
                        scope,
                        "basic.auth.credentials.source",
                        "The Kafka client has no sasl.jaas.config to inherit",
                    );
                }
                sasl.map(|sasl| (sasl.user.clone(), sasl.password.clone()))
            }
            _ => user_info,
        };
        if scope.is_given("bearer.auth.credentials.source") {
            registry.bearer_token = scope.optional("bearer.auth.token");
            if registry.bearer_token.is_none() {
                self.problem(
                    scope,
                    "bearer.auth.token",
                    "A value is required, since bearer.auth.credentials.source is STATIC_TOKEN",
                );
            }
        }
        let headers = [
            ("bearer.auth.logical.cluster", "target-sr-cluster"),
            ("bearer.auth.identity.pool.id", "Confluent-Identity-Pool-Id"),
        ];
        for (name, header) in headers {
            if let Some(value) = scope.optional(name) {
                registry.request_headers.push((header.to_owned(), value));
            }
        }
        for (header, given) in scope.family("request.header.", "") {
            let is_name = header
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
            if is_name && !given.value.chars().any(char::is_control) {
                registry
                    .request_headers
                    .push((header.to_owned(), given.value.clone()));
            } else {
                self.problem(
                    scope,
                    &format!("request.header.{header}"),
                    "It is no header that HTTP allows",
                );
            }
        }
        registry.max_retries = scope.int("max.retries");
        registry.retry_wait = scope.millis("retries.wait.ms");
        registry.retry_wait_max = scope.millis("retries.max.wait.ms");
        registry.connect_timeout = scope.millis("http.connect.timeout.ms");
        registry.read_timeout = scope.millis("http.read.timeout.ms");
        registry.tls = self.tls(scope, "schema.registry.ssl");
        registry
    }

    fn tls(&mut self, scope: &Scope, prefix: &str) -> Tls {
        let pem = |file: &str, text: &str| {
            let property = format!("{prefix}.{text}");
            let text = scope.optional(&property);
            let text = text.map(|text| Pem::Text { property, text });
            text.or_else(|| scope.optional(&format!("{prefix}.{file}")).map(Pem::File))
        };
        let tls = Tls {
            root_cert: pem("truststore.location", "truststore.certificates"),
            cert: pem("keystore.location", "keystore.certificate.chain"),
            key: pem("keystore.location", "keystore.key"),
            verify_hostname: scope
                .given
                .get(&format!("{prefix}.endpoint.identification.algorithm"))
                .is_none_or(|given| !given.value.is_empty()),
        };
        if tls.cert.is_some() != tls.key.is_some() {
            let name = format!(
                "{prefix}.keystore.{}",
                if tls.key.is_some() {
                    "certificate.chain"
                } else {
                    "key"
                }
            );
            self.problem(
                scope,
                &name,
                "A value is required: certificate chain and key come together",
            );
        }
        tls
    }

    fn sasl(&mut self, client: &Scope) -> Option<Sasl> {
        const JAAS: &str = "sasl.jaas.config";
        let Some(mechanism) = client.text("sasl.mechanism").and_then(SaslMechanism::named) else {
            if !client.is_given("sasl.mechanism") {
                let names = SaslMechanism::NAMES.join(", ");
                self.problem(client, "sasl.mechanism", format!(
                    "A value is required, since Kafka's default GSSAPI is not supported: one of \
                        {names}"
                ));
            }
            return None;
        };
        let Some(config) = client.optional(JAAS) else {
            self.problem(
                client,
                JAAS,
                "A value is required: the login module with username and password",
            );
            return None;
        };
        let mut entry = match jaas::parse(&config) {
            Ok(entry) => entry,
            Err(fault) => {
                self.problem(client, JAAS, fault);
                return None;
            }
        };
        let wanted = match mechanism {
            SaslMechanism::Plain => "PlainLoginModule",
            SaslMechanism::ScramSha256 | SaslMechanism::ScramSha512 => "ScramLoginModule",
        };
        if entry.class.rsplit('.').next() != Some(wanted) {
            self.problem(
                client,
                JAAS,
                format!("sasl.mechanism={} takes {wanted}", mechanism.name()),
            );
        }
        if entry
            .options
            .get("tokenauth")
            .is_some_and(|token| token.eq_ignore_ascii_case("true"))
        {
            self.problem(
                client,
                JAAS,
                "Delegation tokens (tokenauth) are not supported",
            );
        }
        let user = entry.options.remove("username");
        let password = entry.options.remove("password");
        let (Some(user), Some(password)) = (user, password) else {
            self.problem(client, JAAS, "username and password are expected");
            return None;
        };
        Some(Sasl {
            mechanism,
            user,
            password,
        })
    }

    fn sink(&mut self, scopes: &Scopes, name: &str, budget: &Budget) -> Sink {
        let Scopes {
            worker,
            connect,
            client,
            penstock,
            ..
        } = scopes;
        let protocol = client.required("security.protocol").to_ascii_uppercase();
        let acks = match client.text("acks") {
            Some("0") => 0,
            Some("1") => 1,
            _ => -1,
        };
        let in_flight: usize = client.int("max.in.flight.requests.per.connection");
        let wants_idempotence = client.boolean("enable.idempotence");
        let has_asked = client.is_given("enable.idempotence") && wants_idempotence;
        if has_asked && acks != -1 {
            self.problem(
                client,
                "acks",
                "Must set acks to all in order to use the idempotent \
                producer. Otherwise we cannot guarantee idempotence.",
            );
        }
        let retries = client.number("retries");
        if has_asked && retries == Some(0) {
            self.problem(
                client,
                "retries",
                "Must set retries to non-zero when using the idempotent producer.",
            );
        }
        let idempotent = wants_idempotence && acks == -1 && retries != Some(0);
        if idempotent && in_flight > 5 {
            self.problem(
                client,
                "max.in.flight.requests.per.connection",
                "Must set \
                max.in.flight.requests.per.connection to at most 5 to use the idempotent \
                producer.",
            );
        }
        if !idempotent && client.is_given("transactional.id") {
            self.problem(
                client,
                "transactional.id",
                "Cannot set a transactional.id without also enabling idempotence.",
            );
        }
        if acks == 0 {
            self.warn(
                "acks",
                "acks=0: a record that no broker has stored counts as delivered, and is lost"
                    .to_owned(),
            );
        }
        let delivery: i64 = client.int("delivery.timeout.ms");
        let shortest = client
            .int::<i64>("linger.ms")
            .saturating_add(client.int("request.timeout.ms"));
        if delivery < shortest {
            self.problem(
                client,
                "delivery.timeout.ms",
                "delivery.timeout.ms should be equal to \
                or larger than linger.ms + request.timeout.ms",
            );
        }
        let is = |scope: &Scope, name: &str, word: &str| {
            scope
                .text(name)
                .is_some_and(|text| text.eq_ignore_ascii_case(word))
        };
        // Transactions stand on idempotence: who turns that off has decided.
        let enabled = idempotent && !is(worker, "exactly.once.source.support", "disabled");
        let exactly_once = enabled && !is(connect, "exactly.once.support", "disabled");
        if !enabled && is(connect, "exactly.once.support", "required") {
            self.problem(
                connect,
                "exactly.once.support",
                "This worker does not have exactly-once source support enabled: set \
                 exactly.once.source.support=enabled in its file, and leave acks and \
                 enable.idempotence of the producer as they are",
            );
        }
        let bootstrap = client.list("bootstrap.servers");
        let compression = client.word("compression.type");
        let level = format!("compression.{}.level", Named::name(compression));
        Sink {
            bootstrap: if bootstrap.is_empty() {
                worker.list("bootstrap.servers")
            } else {
                bootstrap
            },
            client_id: client
                .optional("client.id")
                .unwrap_or_else(|| format!("connector-producer-{name}-0")),
            tls: protocol.ends_with("SSL").then(|| self.tls(client, "ssl")),
            sasl: if protocol.starts_with("SASL") {
                self.sasl(client)
            } else {
                None
            },
            compression,
            compression_level: CLIENT
                .find(&level)
                .filter(|row| row.status == Status::Works)
                .and_then(|_| client.number(&level))
                .and_then(|level| i32::try_from(level).ok()),
            acks,
            idempotent,
            batch_bytes: client.int("batch.size"),
            linger: client.millis("linger.ms"),
            request_bytes_max: client.int("max.request.size"),
            // Several in flight keep their order only when the broker numbers them.
            in_flight_max: if idempotent || client.is_given("max.in.flight.requests.per.connection")
            {
                in_flight
            } else {
                1
            },
            buffer_bytes_max: client.int("buffer.memory"),
            records_bytes_max: budget.records,
            request_timeout: client.millis("request.timeout.ms"),
            delivery_timeout: (delivery < i64::from(i32::MAX))
                .then(|| client.millis("delivery.timeout.ms")),
            retry_backoff: client.millis("retry.backoff.ms"),
            retry_backoff_max: client.millis("retry.backoff.max.ms"),
            reconnect_backoff: client.millis("reconnect.backoff.ms"),
            reconnect_backoff_max: client.millis("reconnect.backoff.max.ms"),
            connect_timeout: client.millis("socket.connection.setup.timeout.ms"),
            metadata_max_age: client.millis("metadata.max.age.ms"),
            topic_creation: self.topic_creation(worker, connect),
            exactly_once,
            transactional_id: client
                .optional("transactional.id")
                .unwrap_or_else(|| format!("{}-{name}-0", worker.required("group.id"))),
            transaction_timeout: client.millis("transaction.timeout.ms"),
            transaction_version: if is(penstock, "penstock.transaction.version", "2") {
                2
            } else {
                1
            },
        }
    }

    fn topic_creation(&mut self, worker: &Scope, connect: &Scope) -> Vec<TopicCreation> {
        let mut groups = connect.list("topic.creation.groups");
        let defaults =
            ["replication.factor", "partitions"].map(|of| format!("topic.creation.default.{of}"));
        let is_used = !groups.is_empty() || defaults.iter().any(|name| connect.is_given(name));
        if !is_used || !worker.boolean("topic.creation.enable") {
            if let Some((_, given)) = connect.family("topic.creation.", "").next() {
                self.warn(
                    &given.name,
                    format!(
                        "{} has no effect without topic.creation.default.replication.factor and \
                     topic.creation.default.partitions, and topic.creation.enable=true in the \
                     worker's file",
                        given.name
                    ),
                );
            }
            return Vec::new();
        }
        for name in defaults.iter().filter(|name| !connect.is_given(name)) {
            self.problem(connect, name, missing(Wording::Kafka, name));
        }
        groups.retain(|group| group != "default");
        groups.push("default".to_owned());
        let mut creations = Vec::new();
        for group in &groups {
            let prefix = format!("topic.creation.{group}.");
            let patterns = |of: &str| -> Vec<Pattern> {
                let list = connect
                    .optional(&format!("{prefix}{of}"))
                    .unwrap_or_default();
                split_list(&list)
                    .iter()
                    .filter_map(|item| Pattern::case_sensitive(item).ok())
                    .collect()
            };
            let number = |of: &str| {
                let own = connect.number(&format!("{prefix}{of}"));
                own.or_else(|| connect.number(&format!("topic.creation.default.{of}")))
                    .unwrap_or(-1)
            };
            let include = patterns("include");
            if group != "default" && include.is_empty() {
                let name = format!("{prefix}include");
                self.problem(connect, &name, missing(Wording::Kafka, &name));
            }
            let own = ["include", "exclude", "partitions", "replication.factor"];
            creations.push(TopicCreation {
                topics: if group == "default" {
                    Filter::All
                } else {
                    Filter::Include(include)
                },
                except: Filter::Exclude(patterns("exclude")),
                partitions: i32::try_from(number("partitions")).unwrap_or(-1),
                replication_factor: i16::try_from(number("replication.factor")).unwrap_or(-1),
                configs: connect
                    .family(&prefix, "")
                    .filter(|(of, _)| !own.contains(of))
                    .map(|(of, given)| (of.to_owned(), given.value.clone()))
                    .collect(),
            });
        }
        for (rest, given) in connect.family("topic.creation.", "") {
            let is_named = |group: &String| {
                rest.strip_prefix(group.as_str())
                    .is_some_and(|rest| rest.starts_with('.'))
            };
            if rest != "groups" && !groups.iter().any(is_named) {
                self.warn(
                    &given.name,
                    format!(
                        "{} has no effect: topic.creation.groups does not name it",
                        given.name
                    ),
                );
            }
        }
        creations
    }
}

fn errors(connect: &Scope, debezium: &Scope) -> Errors {
    let topic = connect.optional("errors.deadletterqueue.topic.name");
    let tolerated = connect.optional("errors.tolerance");
    let retry_timeout = connect.number("errors.retry.timeout");
    Errors {
        tolerated: tolerated.is_some_and(|word| word.eq_ignore_ascii_case("all")),
        dead_letters: topic.map(|topic| DeadLetters {
            topic,
            replication_factor: connect.int("errors.deadletterqueue.topic.replication.factor"),
            context_headers: connect.boolean("errors.deadletterqueue.context.headers.enable"),
        }),
        logged: connect.boolean("errors.log.enable"),
        logged_whole: connect.boolean("errors.log.include.messages"),
        retry_timeout: retry_timeout
            .map_or(Some(0), |ms| u64::try_from(ms).ok())
            .map(Duration::from_millis),
        retry_delay_max: connect.millis("errors.retry.delay.max.ms"),
        processing: match debezium.optional("event.processing.failure.handling.mode") {
            Some(mode) if mode.eq_ignore_ascii_case("ignore") => FailureMode::Skip,
            mode => mode
                .and_then(|mode| FailureMode::named(&mode))
                .unwrap_or(FailureMode::Fail),
        },
    }
}

/// Digests that columns can be masked with, by Java's names.
const DIGESTS: &[&str] = &[
    "MD5",
    "SHA-1",
    "SHA-224",
    "SHA-256",
    "SHA-384",
    "SHA-512",
    "SHA-512/224",
    "SHA-512/256",
];

/// `table:DEFAULT|FULL|NOTHING|INDEX name`.
pub(in crate::config) fn parse_replica_identity(entry: &str) -> Option<(String, ReplicaIdentity)> {
    let (table, identity) = entry.trim().split_once(':')?;
    let mut words = identity.split_whitespace();
    let identity = match words.next()?.to_ascii_uppercase().as_str() {
        "DEFAULT" => ReplicaIdentity::Default,
        "FULL" => ReplicaIdentity::Full,
        "NOTHING" => ReplicaIdentity::Nothing,
        "INDEX" => ReplicaIdentity::Index(words.next()?.to_owned()),
        _ => return None,
    };
    let is_plain = !table.is_empty() && !table.contains(char::is_whitespace);
    (is_plain && words.next().is_none()).then(|| (table.to_owned(), identity))
}

/// SQL between semicolons; two of them are one.
fn statements(text: &str) -> Vec<String> {
    let mut statements = vec![String::new()];
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c == ';' && rest.next_if_eq(&';').is_none() {
            statements.push(String::new());
        } else if let Some(statement) = statements.last_mut() {
            statement.push(c);
        }
    }
    let statements = statements
        .into_iter()
        .map(|statement| statement.trim().to_owned());
    statements
        .filter(|statement| !statement.is_empty())
        .collect()
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = digits
        .chars()
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let digits = digits?;
    digits.len().is_multiple_of(2).then(|| {
        digits
            .chunks(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
            .collect()
    })
}

/// One name of `message.key.columns`, matched against `schema.table.column`.
///
/// Errors: what is wrong with the expression.
pub(in crate::config) fn message_key(table: &str, column: &str) -> Result<Pattern, String> {
    Pattern::new(&format!("{}.{column}", table.trim_start()))
}

/// `topic.key.*`
fn topic_key(debezium: &Scope) -> Option<TopicKey> {
    let regex = debezium.optional("topic.key.field.regex");
    let regex = regex.and_then(|regex| Pattern::case_sensitive(&regex).ok());
    let replacement = debezium.text("topic.key.field.replacement");
    debezium
        .boolean("topic.key.enforce.uniqueness")
        .then(|| TopicKey {
            field: debezium.required("topic.key.field.name"),
            rewrite: regex.zip(replacement.map(str::to_owned)),
        })
}

/// The address without user and password, and these, percent-decoded.
fn split_user_info(url: &str) -> (String, Option<(String, String)>) {
    let plain = without_user_info(url);
    let authority = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    let info = authority.rsplit_once('@').map(|(info, _)| info);
    let info = info.and_then(|info| info.split_once(':'));
    (
        plain,
        info.map(|(user, password)| (percent_decoded(user), percent_decoded(password))),
    )
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let decoded = match (first, tail) {
            (b'%', [high, low, ..]) => {
                let digits = [char::from(*high), char::from(*low)];
                unhex(&digits.iter().collect::<String>())
            }
            _ => None,
        };
        match decoded {
            Some(decoded) => {
                bytes.extend(decoded);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
