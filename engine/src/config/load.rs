//! Two files in, a [`Config`] out, or every problem at once.
//!
//! Every property goes the same way: variables filled in, its row found (or the nearest name
//! suggested), old names and values renewed, the value checked. Only then are values read, by
//! accessors that cannot fail: a bad value reads as its default, and its problem is already noted.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::providers::Providers;
use super::table::{
    self, AVRO, CLIENT, CONNECT, DEBEZIUM, Default as Value, JSON, Kind, PENSTOCK, Property,
    STRING, Section, Status, WORKER, Wording,
};
use super::{Config, Filter, Named, Pattern, Properties};

mod values;

#[cfg(test)]
mod tests;

pub(super) use values::{message_key, parse_replica_identity};

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file it is in; for what is missing, the file it should be in.
    pub file: File,
    /// The property's name as the user wrote it, or should have.
    pub property: String,
    /// Its value as the user wrote it; none: there is none, or it is a secret.
    pub value: Option<String>,
    /// What is wrong and what is allowed, in the words of Debezium or Kafka where they have any.
    pub message: String,
}

/// One of the two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum File {
    /// The worker's.
    Worker,
    /// The connector's.
    Connector,
}

/// Something that the user should know and that does not stop the pipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// How much it matters.
    pub severity: Severity,
    /// The property's name as the user wrote it.
    pub property: String,
    /// What is the matter: a whole sentence that names the property.
    pub text: String,
}

/// How much a [`Warning`] matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something is not as the file says.
    Warn,
    /// Nothing is lost.
    Note,
}

/// One property of the configuration in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Where in the table its row is.
    pub section: &'static str,
    /// The name, with the prefix under which it stands.
    pub name: String,
    /// The value, `[hidden]` for a secret; none: not set, and no default.
    pub value: Option<String>,
    /// The file it is from; none: the default.
    pub file: Option<File>,
}

/// All that reading a pair of files tells.
#[derive(Debug)]
pub struct Inspection {
    /// The configuration, or what is wrong, sorted by file and property.
    pub config: Result<Config, Vec<Problem>>,
    /// What the user should know, the more important first.
    pub warnings: Vec<Warning>,
    /// Every property in force, in the table's order.
    pub settings: Vec<Setting>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value}: {}", self.property, self.message),
            None => write!(f, "{}: {}", self.property, self.message),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Config {
    /// Reads a worker's and a connector's properties.
    ///
    /// Files and variables of the environment that `${…}` names are read here.
    ///
    /// # Errors
    ///
    /// Every problem there is, sorted by file and property.
    pub fn load(
        worker: &Properties,
        connector: &Properties,
    ) -> Result<(Self, Vec<Warning>), Vec<Problem>> {
        let inspection = Inspection::new(worker, connector);
        inspection
            .config
            .map(|config| (config, inspection.warnings))
    }
}

impl Inspection {
    /// Reads a worker's and a connector's properties.
    #[must_use]
    pub fn new(worker: &Properties, connector: &Properties) -> Self {
        let mut load = Load::default();
        let providers = Providers::new(worker).unwrap_or_else(|faults| {
            for (property, message) in faults {
                let value = worker.get(&property).map(str::to_owned);
                load.problems.push(Problem {
                    file: File::Worker,
                    property,
                    value,
                    message,
                });
            }
            Providers::default()
        });
        let mut scopes = Scopes::default();
        load.sort_worker(worker, &providers, &mut scopes);
        load.sort_connector(connector, &providers, &mut scopes);
        load.choose_converters(&mut scopes);
        load.merge_client(&mut scopes);
        for scope in scopes.all_mut() {
            load.renew(scope);
            load.check(scope);
        }
        let config = load.config(&scopes);
        load.problems
            .sort_by(|a, b| (a.file, &a.property).cmp(&(b.file, &b.property)));
        load.problems.dedup();
        load.warnings.sort_by_key(|warning| warning.severity);
        Self {
            settings: scopes.settings(),
            config: if load.problems.is_empty() {
                Ok(config)
            } else {
                Err(load.problems)
            },
            warnings: load.warnings,
        }
    }
}

/// A property as given.
#[derive(Clone)]
struct Given {
    file: File,
    /// Its name in the file, prefix and all.
    name: String,
    value: String,
    /// What may be printed: the text with `${…}` as it stands in the file.
    shown: String,
    /// Cleared when the value is found not to be allowed: the default is read instead.
    is_allowed: bool,
}

/// Properties of one section, those given and those that are not.
struct Scope {
    section: &'static Section,
    /// Before each name in messages about what is missing.
    prefix: String,
    /// Where what is missing should be.
    file: File,
    given: BTreeMap<String, Given>,
}

impl Scope {
    fn new(section: &'static Section, file: File, prefix: &str) -> Self {
        Self {
            section,
            prefix: prefix.to_owned(),
            file,
            given: BTreeMap::new(),
        }
    }

    fn row(&self, name: &str) -> &'static Property {
        match self.section.find(name) {
            Some(row) => row,
            // Tests read every property there is.
            None => unreachable!("{name} is in no row of the table {}", self.section.title),
        }
    }

    fn is_given(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// The value given, when it is allowed, or the default.
    fn text(&self, name: &str) -> Option<&str> {
        let row = self.row(name);
        let given = self.given.get(name).filter(|given| given.is_allowed);
        given
            .map(|given| given.value.as_str())
            .or(match row.default {
                Value::Is(default) => Some(default),
                Value::None | Value::Required => None,
            })
    }

    /// As `text`, nothing where it is empty.
    fn optional(&self, name: &str) -> Option<String> {
        self.text(name)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    }

    /// As `text`, empty where nothing is given: a problem is noted then.
    fn required(&self, name: &str) -> String {
        self.text(name).unwrap_or_default().to_owned()
    }

    fn boolean(&self, name: &str) -> bool {
        self.text(name)
            .is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.text(name).and_then(|text| text.parse().ok())
    }

    /// A number the table bounds to what `T` holds.
    fn int<T: TryFrom<i64> + Default>(&self, name: &str) -> T {
        self.number(name)
            .and_then(|number| T::try_from(number).ok())
            .unwrap_or_default()
    }

    fn millis(&self, name: &str) -> Duration {
        Duration::from_millis(self.int(name))
    }

    fn word<T: Named>(&self, name: &str) -> T {
        let word = self.text(name).and_then(T::named);
        match word.or_else(|| T::NAMES.first().and_then(|name| T::named(name))) {
            Some(word) => word,
            None => unreachable!("{name} has no values"),
        }
    }

    fn list(&self, name: &str) -> Vec<String> {
        let items = self
            .text(name)
            .unwrap_or_default()
            .split(',')
            .map(str::trim);
        items
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect()
    }

    fn patterns(&self, name: &str) -> Vec<Pattern> {
        self.text(name)
            .and_then(|text| Pattern::list(text).ok())
            .unwrap_or_default()
    }

    /// `<of>.include.list` and `<of>.exclude.list`.
    fn filter(&self, of: &str) -> Filter {
        let include = self.patterns(&format!("{of}.include.list"));
        let exclude = self.patterns(&format!("{of}.exclude.list"));
        match (include.is_empty(), exclude.is_empty()) {
            (false, _) => Filter::Include(include),
            (true, false) => Filter::Exclude(exclude),
            (true, true) => Filter::All,
        }
    }

    /// Names given between `before` and `after`, with their values.
    fn family<'a>(
        &'a self,
        before: &'a str,
        after: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Given)> {
        self.given.iter().filter_map(move |(name, given)| {
            let word = name.strip_prefix(before)?.strip_suffix(after)?;
            (!word.is_empty()).then_some((word, given))
        })
    }
}

/// Every scope of a pair of files.
struct Scopes {
    worker: Scope,
    connect: Scope,
    debezium: Scope,
    penstock: Scope,
    client: Scope,
    /// Of keys, values and headers, as sorted from the files: (worker's, connector's).
    converter_settings: [(BTreeMap<String, Given>, BTreeMap<String, Given>); 3],
    converters: [Scope; 3],
    worker_client: BTreeMap<String, Given>,
    connector_client: BTreeMap<String, Given>,
    /// The worker's own `security.protocol`, `sasl.*`, `ssl.*`.
    worker_security: BTreeMap<String, Given>,
}

const SIDES: [&str; 3] = ["key.converter", "value.converter", "header.converter"];

impl Default for Scopes {
    fn default() -> Self {
        let converter = |side: &str| Scope::new(&STRING, File::Worker, &format!("{side}."));
        Self {
            worker: Scope::new(&WORKER, File::Worker, ""),
            connect: Scope::new(&CONNECT, File::Connector, ""),
            debezium: Scope::new(&DEBEZIUM, File::Connector, ""),
            penstock: Scope::new(&PENSTOCK, File::Connector, ""),
            client: Scope::new(&CLIENT, File::Worker, "producer."),
            converter_settings: Default::default(),
            converters: SIDES.map(converter),
            worker_client: BTreeMap::new(),
            connector_client: BTreeMap::new(),
            worker_security: BTreeMap::new(),
        }
    }
}

impl Scopes {
    fn all_mut(&mut self) -> impl Iterator<Item = &mut Scope> {
        [
            &mut self.worker,
            &mut self.connect,
            &mut self.debezium,
            &mut self.penstock,
        ]
        .into_iter()
        .chain(&mut self.converters)
        .chain([&mut self.client])
    }

    fn settings(&self) -> Vec<Setting> {
        let mut settings = Vec::new();
        let scopes = [&self.worker, &self.connect, &self.debezium, &self.penstock];
        for scope in scopes
            .into_iter()
            .chain(&self.converters)
            .chain([&self.client])
        {
            let rows = scope.section.properties.iter();
            for row in rows.filter(|row| row.status == Status::Works) {
                let is_row = |name: &str| {
                    scope
                        .section
                        .find(name)
                        .is_some_and(|found| std::ptr::eq(found, row))
                };
                let mut given = scope
                    .given
                    .iter()
                    .filter(|(name, _)| is_row(name))
                    .peekable();
                if given.peek().is_none() && !row.name.contains('<') {
                    settings.push(Setting {
                        section: scope.section.title,
                        name: format!("{}{}", scope.prefix, row.name),
                        value: match row.default {
                            Value::Is(default) => Some(default.to_owned()),
                            Value::None | Value::Required => None,
                        },
                        file: None,
                    });
                }
                settings.extend(given.map(|(name, given)| Setting {
                    section: scope.section.title,
                    name: format!("{}{name}", scope.prefix),
                    value: Some(if row.is_secret() {
                        "[hidden]".to_owned()
                    } else {
                        given.shown.clone()
                    }),
                    file: Some(given.file),
                }));
            }
        }
        settings
    }
}

#[derive(Default)]
struct Load {
    problems: Vec<Problem>,
    warnings: Vec<Warning>,
}

impl Load {
    fn warn(&mut self, property: &str, text: String) {
        let property = property.to_owned();
        self.warnings.push(Warning {
            severity: Severity::Warn,
            property,
            text,
        });
    }

    fn note(&mut self, property: &str, text: String) {
        let property = property.to_owned();
        self.warnings.push(Warning {
            severity: Severity::Note,
            property,
            text,
        });
    }

    /// Notes a problem with `name` of `scope`, given or missing.
    fn problem(&mut self, scope: &Scope, name: &str, message: impl Into<String>) {
        let is_secret = scope.section.find(name).is_some_and(Property::is_secret);
        let message = message.into();
        self.problems.push(match scope.given.get(name) {
            Some(given) => Problem {
                file: given.file,
                property: given.name.clone(),
                value: (!is_secret).then(|| given.shown.clone()),
                message,
            },
            None => Problem {
                file: scope.file,
                property: format!("{}{name}", scope.prefix),
                value: None,
                message,
            },
        });
    }

    // ---- sorting: whose property is it? -----------------------------------------------------

    fn given(&mut self, file: File, name: &str, text: &str, providers: &Providers) -> Given {
        let (value, is_filled) = match providers.resolve(text) {
            Ok(resolved) => {
                for left in resolved.left {
                    self.warn(name, format!("{name}: {left}"));
                }
                (resolved.value, resolved.is_filled)
            }
            Err(message) => {
                let value = Some(text.to_owned());
                self.problems.push(Problem {
                    file,
                    property: name.to_owned(),
                    value,
                    message,
                });
                (String::new(), true)
            }
        };
        let shown = if is_filled {
            text.to_owned()
        } else {
            without_user_info(text)
        };
        Given {
            file,
            name: name.to_owned(),
            value,
            shown,
            is_allowed: true,
        }
    }

    fn sort_worker(&mut self, file: &Properties, providers: &Providers, scopes: &mut Scopes) {
        for (name, text) in file.iter() {
            let given = self.given(File::Worker, name, text, providers);
            if let Some((side, setting)) = converter_setting(name) {
                scopes.converter_settings[side]
                    .0
                    .insert(setting.to_owned(), given);
            } else if let Some(setting) = name.strip_prefix("producer.") {
                scopes.worker_client.insert(setting.to_owned(), given);
            } else if is_security(name) {
                scopes.worker_security.insert(name.to_owned(), given);
            } else if WORKER.find(name).is_some() {
                scopes.worker.given.insert(name.to_owned(), given);
            } else if DEBEZIUM.find(name).or_else(|| CONNECT.find(name)).is_some() {
                self.warn(
                    name,
                    format!("{name} has no effect here: it belongs into the connector's file"),
                );
            } else {
                let known = names(&WORKER, "")
                    .chain(names(&CLIENT, "producer."))
                    .chain(converter_names());
                self.unknown(name, known);
            }
        }
    }

    fn sort_connector(&mut self, file: &Properties, providers: &Providers, scopes: &mut Scopes) {
        // Settings of what `converters` and `post.processors` name stand under those names.
        let named =
            ["converters", "post.processors"].map(|list| file.get(list).unwrap_or_default());
        let named: Vec<_> = named
            .iter()
            .flat_map(|list| list.split(',').map(str::trim))
            .collect();
        for (name, text) in file.iter() {
            let given = self.given(File::Connector, name, text, providers);
            let into = |scope: &mut Scope, given| scope.given.insert(name.to_owned(), given);
            if let Some((side, setting)) = converter_setting(name) {
                scopes.converter_settings[side]
                    .1
                    .insert(setting.to_owned(), given);
            } else if let Some(setting) = name.strip_prefix("producer.override.") {
                scopes.connector_client.insert(setting.to_owned(), given);
            } else if CONNECT.find(name).is_some() {
                into(&mut scopes.connect, given);
            } else if DEBEZIUM.find(name).is_some() {
                into(&mut scopes.debezium, given);
            } else if PENSTOCK.find(name).is_some() {
                into(&mut scopes.penstock, given);
            } else if WORKER.find(name).is_some() || is_client(name) {
                self.warn(
                    name,
                    format!("{name} has no effect here: it belongs into the worker's file"),
                );
            } else if !named.iter().any(|own| {
                !own.is_empty()
                    && name
                        .strip_prefix(own)
                        .is_some_and(|rest| rest.starts_with('.'))
            }) {
                let known = names(&CONNECT, "")
                    .chain(names(&DEBEZIUM, ""))
                    .chain(names(&PENSTOCK, ""))
                    .chain(names(&CLIENT, "producer.override."))
                    .chain(converter_names());
                self.unknown(name, known);
            }
        }
    }

    fn unknown(&mut self, name: &str, known: impl Iterator<Item = String>) {
        let text = match table::nearest(name, known) {
            Some(nearest) => format!("{name} is no known property: did you mean {nearest}?"),
            None => format!("{name} is no known property"),
        };
        self.warn(name, text);
    }

    /// A converter that the connector names brings all of its settings; else all are the worker's.
    fn choose_converters(&mut self, scopes: &mut Scopes) {
        for (side, (worker, connector)) in SIDES
            .iter()
            .zip(std::mem::take(&mut scopes.converter_settings))
        {
            let class_of = |scope: &Scope| {
                scope
                    .given
                    .get(*side)
                    .map(|given| given.value.trim())
                    .map(|text| table::class_named(table::CONVERTERS, text).unwrap_or(text))
                    .map(str::to_owned)
            };
            let (class, file, given, idle) = match class_of(&scopes.connect) {
                Some(class) => (Some(class), File::Connector, connector, BTreeMap::new()),
                None => (class_of(&scopes.worker), File::Worker, worker, connector),
            };
            for given in idle.values() {
                self.warn(
                    &given.name,
                    format!(
                        "{} has no effect: the connector's file names no {side}, and the worker's \
                        takes only the worker's settings",
                        given.name
                    ),
                );
            }
            let section = match class.as_deref() {
                Some("io.confluent.connect.avro.AvroConverter") => &AVRO,
                Some("org.apache.kafka.connect.json.JsonConverter") => &JSON,
                _ => &STRING,
            };
            let mut scope = Scope::new(section, file, &format!("{side}."));
            for (setting, given) in given {
                if section.find(&setting).is_some() {
                    scope.given.insert(setting, given);
                } else if [&AVRO, &JSON, &STRING]
                    .iter()
                    .any(|other| other.find(&setting).is_some())
                {
                    let class = class.as_deref().unwrap_or("the converter");
                    let class = class.rsplit('.').next().unwrap_or(class);
                    self.note(
                        &given.name,
                        format!("{} has no effect: {class} has no such setting", given.name),
                    );
                } else {
                    self.unknown(&given.name, names(section, &format!("{side}.")));
                }
            }
            if let Some(slot) = SIDES.iter().position(|own| own == side) {
                scopes.converters[slot] = scope;
            }
            if class.is_none() && *side != "header.converter" {
                self.problem(&scopes.worker, side, missing(Wording::Kafka, side));
            }
        }
    }

    /// `producer.` of the worker, then `producer.override.` of the connector as far as the policy
    /// lets it; where neither says how to be secure, as the worker itself is.
    fn merge_client(&mut self, scopes: &mut Scopes) {
        let policy = scopes
            .worker
            .text("connector.client.config.override.policy")
            .unwrap_or_default();
        let policy = policy.to_ascii_lowercase();
        let allowlist = scopes
            .worker
            .list("connector.client.config.override.allowlist");
        let mut merged = std::mem::take(&mut scopes.worker_client);
        for (setting, given) in std::mem::take(&mut scopes.connector_client) {
            let is_allowed = match policy.as_str() {
                "none" => false,
                "principal" => ["sasl.jaas.config", "sasl.mechanism", "security.protocol"]
                    .contains(&setting.as_str()),
                "allowlist" => allowlist.contains(&setting),
                _ => true,
            };
            if is_allowed {
                merged.insert(setting, given);
            } else {
                self.problems.push(Problem {
                    file: File::Connector,
                    property: given.name.clone(),
                    value: None,
                    message: format!(
                        "The worker's connector.client.config.override.policy={policy} does not \
                         allow '{setting}' to be overridden in the connector configuration."
                    ),
                });
            }
        }
        let security = std::mem::take(&mut scopes.worker_security);
        if merged.keys().any(|name| is_security(name)) {
            // Connect's producers never see these either.
        } else {
            merged.extend(security);
        }
        for (setting, given) in merged {
            if CLIENT.find(&setting).is_some() {
                scopes.client.given.insert(setting, given);
            } else {
                let prefix = given
                    .name
                    .strip_suffix(setting.as_str())
                    .unwrap_or_default();
                self.unknown(&given.name, names(&CLIENT, prefix));
            }
        }
    }

    // ---- old names and values ---------------------------------------------------------------

    fn renew(&mut self, scope: &mut Scope) {
        for (old, mut given) in scope.given.clone() {
            let Status::Renamed(new) = scope.row(&old).status else {
                continue;
            };
            scope.given.remove(&old);
            let value = given.value.trim().to_ascii_lowercase();
            let renewed = match (old.as_str(), value.as_str()) {
                ("sanitize.field.names", "true") => Some("avro"),
                ("sanitize.field.names", "false") => Some("none"),
                ("truncate.handling.mode", "include") => Some("none"),
                ("truncate.handling.mode", "skip") => Some("t"),
                ("flush.lsn.source", "true") => Some("connector"),
                ("flush.lsn.source", "false") => Some("manual"),
                ("internal.slot.seek.to.known.offset.on.start", "true") => Some("trust_offset"),
                ("internal.slot.seek.to.known.offset.on.start", "false") => Some("no_validation"),
                _ => None,
            };
            let new_name = format!(
                "{}{new}",
                given.name.strip_suffix(old.as_str()).unwrap_or_default()
            );
            if scope.is_given(new) {
                self.warn(
                    &old,
                    format!(
                        "{} has no effect: it is the old name of {new_name}, which is given too",
                        given.name
                    ),
                );
                continue;
            }
            let meaning = match renewed {
                Some(renewed) => format!("{new_name}={renewed}"),
                None => new_name,
            };
            self.warn(
                &old,
                format!(
                    "{} is an old name: it still works, please write {meaning}",
                    given.name
                ),
            );
            if let Some(renewed) = renewed {
                given.value = renewed.to_owned();
            }
            scope.given.insert(new.to_owned(), given);
        }
        for (name, given) in &mut scope.given {
            let Some(row) = scope.section.find(name) else {
                continue;
            };
            if !matches!(row.kind, Kind::Verbatim) && name != "database.password" {
                given.value = given.value.trim().to_owned();
            }
            let renamed: &[(&str, &str)] = match row.kind {
                Kind::Word(words) => words.renamed,
                Kind::Class(_) => table::RENAMED_TRANSFORMS,
                _ => &[],
            };
            let renamed = renamed
                .iter()
                .find(|(old, _)| old.eq_ignore_ascii_case(&given.value));
            if let Some((old, new)) = renamed {
                self.warn(name, match name.as_str() {
                    "plugin.name" => format!(
                        "plugin.name={old}: the output plug-in used is pgoutput, PostgreSQL's own; \
                         please write plugin.name=pgoutput"
                    ),
                    _ => format!("{}={old} is an old value: it still works, please write \
                        {new}", given.name),
                });
                given.value = (*new).to_owned();
            }
            if let Kind::Class(classes) = row.kind
                && let Some(class) = table::class_named(classes, &given.value)
            {
                given.value = class.to_owned();
            }
        }
    }

    // ---- checking ---------------------------------------------------------------------------

    fn check(&mut self, scope: &mut Scope) {
        let mut not_allowed = Vec::new();
        for (name, given) in &scope.given {
            let row = scope.row(name);
            let is_default = match row.default {
                Value::Is(default) => default.eq_ignore_ascii_case(&given.value),
                Value::None | Value::Required => given.value.is_empty(),
            };
            match row.status {
                Status::NoEffect(why) => {
                    self.note(name, format!("{} has no effect: {why}", given.name));
                }
                Status::Ignored(line) if !is_default => {
                    self.warn(
                        name,
                        format!("{} is not supported: {line}", shown_pair(row, given)),
                    );
                }
                Status::Refused(line) if !is_default => {
                    self.problem(scope, name, line);
                    continue;
                }
                _ => {}
            }
            if given.value.is_empty() && row.default == Value::Required {
                self.problem(scope, name, missing(scope.section.wording, name));
            } else if given.value.is_empty() && row.default == Value::None {
                // As if it were not there.
            } else if let Err(message) = row.check(&given.value, scope.section.wording) {
                let message = if given.shown == given.value || given.value.is_empty() {
                    message
                } else {
                    message.replace(&given.value, &given.shown)
                };
                self.problem(scope, name, message);
                not_allowed.push(name.clone());
            }
        }
        for name in not_allowed {
            if let Some(given) = scope.given.get_mut(&name) {
                given.is_allowed = false;
            }
        }
        for row in scope.section.properties {
            let is_missing = row.default == Value::Required && !scope.is_given(row.name);
            // A converter may be the worker's or the connector's; that was looked into.
            if is_missing && !SIDES.contains(&row.name) {
                self.problem(scope, row.name, missing(scope.section.wording, row.name));
            }
        }
    }
}

fn missing(wording: Wording, name: &str) -> String {
    match wording {
        Wording::Debezium => "A value is required".to_owned(),
        Wording::Kafka => {
            format!("Missing required configuration \"{name}\" which has no default value.")
        }
    }
}

fn names(section: &'static Section, prefix: &str) -> impl Iterator<Item = String> + use<> {
    let names: Vec<_> = section
        .properties
        .iter()
        .map(|row| format!("{prefix}{}", row.name))
        .collect();
    names.into_iter()
}

/// Every setting of every converter, as a file writes it.
fn converter_names() -> impl Iterator<Item = String> {
    SIDES
        .iter()
        .flat_map(|side| [&JSON, &AVRO, &STRING].map(|section| names(section, &format!("{side}."))))
        .flatten()
}

/// Which converter's setting it is, and the setting.
fn converter_setting(name: &str) -> Option<(usize, &str)> {
    SIDES.iter().enumerate().find_map(|(side, prefix)| {
        let setting = name.strip_prefix(prefix)?.strip_prefix('.')?;
        (!setting.is_empty()).then_some((side, setting))
    })
}

/// Whether it is a setting of the worker's producer.
fn is_client(name: &str) -> bool {
    name.strip_prefix("producer.")
        .is_some_and(|setting| CLIENT.find(setting).is_some())
}

fn is_security(name: &str) -> bool {
    ["security.", "sasl.", "ssl."]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

fn shown_pair(row: &Property, given: &Given) -> String {
    if row.is_secret() {
        given.name.clone()
    } else {
        format!("{}={}", given.name, given.shown)
    }
}

/// `scheme://user:password@host` without the user and the password.
fn without_user_info(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, tail) = rest.split_at(at + 3);
        out.push_str(before);
        let authority = tail.find(['/', ',', '?', '#']).unwrap_or(tail.len());
        let (authority, tail) = tail.split_at(authority);
        out.push_str(match authority.rsplit_once('@') {
            Some((_, host)) => host,
            None => authority,
        });
        rest = tail;
    }
    out.push_str(rest);
    out
}
