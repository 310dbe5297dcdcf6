//! One table of every property: what it is called, what it may be, and what it does here.
//!
//! Validation, defaults, "did you mean", the lines that a user sees at start, and
//! docs/configuration.md all come from these rows, so that a property is one row and nothing else.
//!
//! A name may hold places for the user's own words, `column.mask.with.<n>.chars`; the first row
//! that fits a name is its row, and a row without such places fits before one with them.
//!
//! Sources: Apache Kafka 4.x `WorkerConfig`, `DistributedConfig`, `ConnectorConfig`,
//! `SourceConnectorConfig`, `ProducerConfig`, `SslConfigs`, `SaslConfigs`; Debezium 3.6
//! `PostgresConnectorConfig` and the classes above it; Confluent 7.x `AvroConverterConfig`,
//! `AvroDataConfig`, `AbstractKafkaSchemaSerDeConfig`, `SchemaRegistryClientConfig`.

use std::fmt::Write as _;

use self::rows::INT_MAX;
use super::Pattern;

mod rows;

pub use rows::{
    AVRO, CLIENT, CONNECT, CONVERTERS, DEBEZIUM, JSON, METADATA_FIELDS, PENSTOCK, REFUSED_CLASSES,
    RENAMED_TRANSFORMS, REQUIRED_TRANSFORM_OPTIONS, STRING, TRANSFORM_OPTIONS, TRANSFORM_WORDS,
    TRANSFORMS, WORKER,
};

/// One property.
#[derive(Debug, Clone, Copy)]
pub struct Property {
    /// Its name, below the section's prefix.
    pub name: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// The value where none is given.
    pub default: Default,
    /// The default of Kafka Connect or Debezium, where ours differs.
    pub theirs: Option<&'static str>,
    /// How many users meet it.
    pub importance: Importance,
    /// What it does here.
    pub status: Status,
    /// One line.
    pub doc: &'static str,
}

/// The value of a property that is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Default {
    /// There must be one.
    Required,
    /// There need not be one.
    None,
    /// This one.
    Is(&'static str),
}

/// How many users meet a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Importance {
    /// In most files.
    High,
    /// In some.
    Medium,
    /// In few.
    Low,
}

/// What a property does here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// What it says.
    Works,
    /// Nothing, and nothing is lost by that; why.
    NoEffect(&'static str),
    /// Nothing, and the user is told so at start unless the value is the default: the line.
    Ignored(&'static str),
    /// Any other value than the default is an error, since records would not be what the user
    /// asked for: the line.
    Refused(&'static str),
    /// It is the old name of this one.
    Renamed(&'static str),
}

/// What a value may be.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// `true` or `false`, in any case.
    Boolean,
    /// A 32-bit number from the first to the second.
    Int(i64, i64),
    /// A 64-bit number, at least this.
    Long(i64),
    /// Any text, blanks around it left out.
    Text,
    /// Any text, blanks and all.
    Verbatim,
    /// A secret: never printed.
    Password,
    /// Text between commas.
    List,
    /// Java's regular expressions between commas.
    Patterns,
    /// One of a few names, in any case.
    Word(Words),
    /// One of a few class names.
    Class(&'static [&'static str]),
    /// Text of a form.
    Format(Format),
}

/// The names that a [`Kind::Word`] may be.
#[derive(Debug, Clone, Copy)]
pub struct Words {
    /// Allowed.
    pub names: &'static [&'static str],
    /// Old names and what they are called now.
    pub renamed: &'static [(&'static str, &'static str)],
    /// Known to Connect or Debezium and not supported here; why.
    pub refused: &'static [(&'static str, &'static str)],
}

/// A form of text.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    /// In words, for the documentation.
    pub allowed: &'static str,
    /// What is wrong with a text, in the words of Connect or Debezium.
    pub check: fn(&str) -> Result<(), String>,
}

/// Properties of one kind of file or component.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// Its heading in the documentation.
    pub title: &'static str,
    /// What it is about: a paragraph.
    pub intro: &'static str,
    /// Whether complaints are worded as Debezium words them, or as Kafka does.
    pub wording: Wording,
    /// Its rows.
    pub properties: &'static [Property],
}

/// Whose words a complaint uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wording {
    /// Kafka's `ConfigDef`.
    Kafka,
    /// Debezium's `Field`.
    Debezium,
}

/// The whole table, in the order of the documentation.
pub static SECTIONS: &[&Section] = &[
    &WORKER, &CONNECT, &DEBEZIUM, &PENSTOCK, &JSON, &AVRO, &STRING, &CLIENT,
];

// ---- what a row can do -------------------------------------------------------------------------

/// The class that Connect finds by its full name, by its own alone (`JsonConverter`), or by that
/// without what it is (`Json`).
pub(crate) fn class_named(classes: &[&'static str], text: &str) -> Option<&'static str> {
    let simple =
        |class: &&'static str| -> &'static str { class.rsplit('.').next().unwrap_or(class) };
    let pruned = |class: &&'static str| {
        let name = simple(class);
        let name = name.strip_suffix("Converter").unwrap_or(name);
        name.strip_suffix("Header").unwrap_or(name)
    };
    let find = |is: &dyn Fn(&&'static str) -> bool| classes.iter().find(|class| is(class)).copied();
    find(&|class| *class == text)
        .or_else(|| find(&|class| simple(class) == text))
        .or_else(|| find(&|class| pruned(class) == text))
}

impl Property {
    /// What is wrong with a value, in the words of the one whose property it is.
    ///
    /// # Errors
    ///
    /// The message, which never holds a [`Kind::Password`].
    pub fn check(&self, text: &str, wording: Wording) -> Result<(), String> {
        let debezium = wording == Wording::Debezium;
        match self.kind {
            Kind::Boolean => match text.to_ascii_lowercase().as_str() {
                "true" | "false" => Ok(()),
                _ if debezium => Err("Either 'true' or 'false' is expected".to_owned()),
                _ => Err("Expected value to be either true or false".to_owned()),
            },
            Kind::Int(min, max) => match (text.parse::<i64>(), debezium) {
                (Ok(number), _) if (min..=max).contains(&number) => Ok(()),
                (Ok(number), true) if number > max => {
                    Err(format!("An integer from {min} to {max} is expected"))
                }
                (Ok(_), true) if min == 1 => {
                    Err("A positive, non-zero integer value is expected".to_owned())
                }
                (Ok(_), true) if min == 0 => Err("An non-negative integer is expected".to_owned()),
                (Ok(_), true) => Err(format!("An integer of at least {min} is expected")),
                (Err(_), true) => Err("An integer is expected".to_owned()),
                (Ok(number), false) if number < min => Err(format!("Value must be at least {min}")),
                (Ok(_), false) => Err(format!("Value must be no more than {max}")),
                (Err(_), false) => Err("Not a number of type INT".to_owned()),
            },
            Kind::Long(min) => match (text.parse::<i64>(), debezium) {
                (Ok(number), _) if number >= min => Ok(()),
                (Ok(_), true) if min == 1 => {
                    Err("A positive, non-zero long value is expected".to_owned())
                }
                (Ok(_), true) => Err("A non-negative long value is expected".to_owned()),
                (Err(_), true) => Err("A long value is expected".to_owned()),
                (Ok(_), false) => Err(format!("Value must be at least {min}")),
                (Err(_), false) => Err("Not a number of type LONG".to_owned()),
            },
            Kind::Text | Kind::Verbatim | Kind::Password | Kind::List => Ok(()),
            Kind::Patterns => Pattern::list(text).map(|_| ()).map_err(|fault| {
                format!(
                    "A comma-separated list of valid regular expressions is expected, but {fault}"
                )
            }),
            Kind::Word(words) => {
                if words
                    .names
                    .iter()
                    .any(|name| name.eq_ignore_ascii_case(text))
                {
                    return Ok(());
                }
                let line = words
                    .refused
                    .iter()
                    .find(|(name, _)| name.eq_ignore_ascii_case(text));
                let allowed: Vec<_> = words.names.iter().filter(|name| !name.is_empty()).collect();
                let allowed = allowed
                    .iter()
                    .map(|name| **name)
                    .collect::<Vec<_>>()
                    .join(", ");
                let allowed = if debezium {
                    format!("Value must be one of {allowed}")
                } else {
                    format!("String must be one of: {allowed}")
                };
                Err(match line {
                    Some((_, line)) => format!("{line}. {allowed}"),
                    None => allowed,
                })
            }
            Kind::Class(classes) => {
                if classes.contains(&text) {
                    Ok(())
                } else {
                    let known = REFUSED_CLASSES
                        .iter()
                        .find(|(class, _)| text.contains(class));
                    let why = known.map_or_else(String::new, |(_, needs)| {
                        format!("It is not supported here: it takes {needs}. ")
                    });
                    Err(format!("{why}Class must be one of: {}", classes.join(", ")))
                }
            }
            Kind::Format(format) => (format.check)(text),
        }
    }

    /// Whether the value may never be printed.
    #[must_use]
    pub const fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::Password)
    }

    /// The kind in words, for the documentation.
    #[must_use]
    pub fn allowed(&self) -> String {
        match self.kind {
            Kind::Boolean => "true, false".to_owned(),
            Kind::Int(min, INT_MAX) if min <= -INT_MAX => "a number".to_owned(),
            Kind::Int(min, INT_MAX) => format!("a number, at least {min}"),
            Kind::Int(min, max) => format!("a number from {min} to {max}"),
            Kind::Long(i64::MIN) => "a number".to_owned(),
            Kind::Long(min) => format!("a number, at least {min}"),
            Kind::Text => "text".to_owned(),
            Kind::Verbatim => "text, blanks and all".to_owned(),
            Kind::Password => "a secret".to_owned(),
            Kind::List => "a list".to_owned(),
            Kind::Patterns => "regular expressions".to_owned(),
            Kind::Word(words) => {
                let named = |name: &&str| if name.is_empty() { "empty" } else { *name }.to_owned();
                words.names.iter().map(named).collect::<Vec<_>>().join(", ")
            }
            Kind::Class(classes) => {
                let short = |class: &&str| class.rsplit('.').next().unwrap_or(class).to_owned();
                classes.iter().map(short).collect::<Vec<_>>().join(", ")
            }
            Kind::Format(format) => format.allowed.to_owned(),
        }
    }
}

impl Section {
    /// The row of a name, without the section's prefix.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&'static Property> {
        let exact = self
            .properties
            .iter()
            .find(|property| property.name == name);
        exact.or_else(|| {
            self.properties
                .iter()
                .find(|property| fits(property.name, name))
        })
    }
}

/// Whether `name` is of the form of `template`, in which each `<…>` stands for one or more
/// characters.
fn fits(template: &str, name: &str) -> bool {
    let Some((before, rest)) = template.split_once('<') else {
        return template == name;
    };
    let Some((_, after)) = rest.split_once('>') else {
        return false;
    };
    let Some(tail) = name.strip_prefix(before) else {
        return false;
    };
    if after.is_empty() {
        return !tail.is_empty();
    }
    // Wherever the user's word may end.
    tail.char_indices()
        .skip(1)
        .any(|(end, _)| fits(after, &tail[end..]))
}

/// How far `name` is from `template`: insertions, deletions, substitutions and transpositions of
/// neighbours, none of them counted within `<…>`.
fn distance(template: &str, name: &str) -> usize {
    #[derive(PartialEq, Clone, Copy)]
    enum Token {
        Char(char),
        Anything,
    }
    let mut tokens = Vec::new();
    let mut rest = template;
    while let Some(c) = rest.chars().next() {
        let end = rest.find('>').filter(|_| c == '<');
        tokens.push(if end.is_some() {
            Token::Anything
        } else {
            Token::Char(c)
        });
        rest = &rest[end.unwrap_or(0) + if end.is_some() { 1 } else { c.len_utf8() }..];
    }
    let name: Vec<char> = name.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=name.len()).collect();
    let mut previous = None;
    for token in tokens {
        let skipped = if token == Token::Anything { 0 } else { 1 };
        let mut row = vec![above[0] + skipped];
        for (at, &c) in name.iter().enumerate() {
            let mut best = match token {
                Token::Anything => above[at].min(row[at]).min(above[at + 1]),
                Token::Char(own) => {
                    let changed = above[at] + usize::from(own != c);
                    changed.min(above[at + 1] + 1).min(row[at] + 1)
                }
            };
            if at > 0 && previous == Some(Token::Char(c)) && token == Token::Char(name[at - 1]) {
                best = best.min(before[at - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
        previous = Some(token);
    }
    above[name.len()]
}

/// The known name nearest to one that nobody knows; `None` when none is near.
pub fn nearest(name: &str, known: impl Iterator<Item = String>) -> Option<String> {
    let near = known.filter_map(|known| {
        // Half a name is near, whatever the other half's length.
        let is_half = known
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('.'));
        let distance = if is_half { 1 } else { distance(&known, name) };
        let outside = known
            .split(['<', '>'])
            .step_by(2)
            .map(|part| part.chars().count());
        let limit = (outside.sum::<usize>().min(name.chars().count()) / 4).clamp(1, 6);
        (distance <= limit).then_some((distance, known))
    });
    // A name before a form, and the form that says more before the one that fits anything.
    near.min_by_key(|(distance, known)| (*distance, known.matches('<').count(), known.clone()))
        .map(|(_, known)| known)
}

// ---- docs/configuration.md ---------------------------------------------------------------------

/// The whole table as Markdown: docs/configuration.md.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(HEAD);
    for section in SECTIONS {
        let _ = write!(
            text,
            "\n## {}\n\n{}\n",
            section.title,
            wrapped(section.intro)
        );
        put_table(&mut text, section);
    }
    text
}

/// What is not supported, and the line that says so, as Markdown: a part of docs/differences.md.
#[must_use]
pub fn unsupported() -> String {
    let mut text = String::from("| property | at start | |\n|---|---|---|\n");
    let prefixes = [
        "",
        "",
        "",
        "",
        "…converter.",
        "…converter.",
        "…converter.",
        "producer.",
    ];
    for (section, prefix) in SECTIONS.iter().zip(prefixes) {
        for property in section.properties {
            let name = property.name;
            let mut put = |name: &str, kind: &str, line: &str| {
                let line = line.replace('|', "\\|");
                let _ = writeln!(text, "| `{prefix}{name}` | {kind} | {line} |");
            };
            match property.status {
                Status::Ignored(line) => put(name, "warning", line),
                Status::Refused(line) => put(name, "error", line),
                Status::Works | Status::NoEffect(_) | Status::Renamed(_) => {}
            }
            if let Kind::Word(words) = property.kind {
                for (value, line) in words.refused {
                    put(&format!("{name}={value}"), "error", line);
                }
            }
        }
    }
    text
}

const HEAD: &str = "\
# Configuration

This page is generated from the table that the program itself checks files against
(`engine/src/config/table.rs`); a test holds the two together.

`penstock standalone worker.properties connector.properties [more…]` takes the files of Kafka
Connect's standalone mode. `penstock check` reads the same files, prints every problem, or the
configuration in force with secrets hidden.

- Files are `.properties` text as Java reads it; one that is valid UTF-8 is read as UTF-8, any other
  as ISO-8859-1 (Java always reads ISO-8859-1). A connector's file may also be a flat JSON object,
  or `{\"name\": …, \"config\": {…}}`.
- A property that is not listed here is a warning, with the nearest name that is. A value that is
  not allowed is an error that names property, value and what is allowed; all errors come at once.
- A default in **bold** is not the one of Kafka Connect or Debezium, which stands beside it.
- Where a property is listed without effect, nothing is lost. What is not supported is said at
  start, in the words of the table; it is an error where records would otherwise differ from what
  the file asks for.
";

fn wrapped(text: &str) -> String {
    let mut out = String::new();
    let mut width = 0;
    for word in text.split_whitespace() {
        if width > 0 && width + 1 + word.chars().count() > 100 {
            out.push('\n');
            width = 0;
        } else if width > 0 {
            out.push(' ');
            width += 1;
        }
        out.push_str(word);
        width += word.chars().count();
    }
    out
}

fn put_table(text: &mut String, section: &Section) {
    let cell = |text: &str| text.replace('|', "\\|");
    let put_rows = |text: &mut String, head: &str, rows: Vec<String>| {
        if !rows.is_empty() {
            let _ = write!(text, "\n{head}\n{}\n", rows.join("\n"));
        }
    };
    let mut works = Vec::new();
    let mut others = Vec::new();
    let mut old = Vec::new();
    for property in section.properties {
        let name = property.name;
        match property.status {
            Status::Works => {
                let default = match (property.default, property.theirs) {
                    (Default::Required, None) => "required".to_owned(),
                    (Default::Required, Some(theirs)) => format!("required (theirs: {theirs})"),
                    (Default::None, None) => String::new(),
                    (Default::None, Some(theirs)) => format!("**none** (theirs: {theirs})"),
                    (Default::Is(value), None) => format!("`{value}`"),
                    (Default::Is(value), Some(theirs)) if theirs.starts_with(value) => {
                        format!("`{value}`")
                    }
                    (Default::Is(value), Some(theirs)) => {
                        format!("**`{value}`** (theirs: {theirs})")
                    }
                };
                works.push(format!(
                    "| `{name}` | {} | {} | {} |",
                    cell(&default),
                    cell(&property.allowed()),
                    cell(property.doc)
                ));
            }
            Status::NoEffect(why) => {
                others.push(format!(
                    "| `{name}` | {} | no effect: {} |",
                    cell(property.doc),
                    cell(why)
                ));
            }
            Status::Ignored(line) => {
                others.push(format!(
                    "| `{name}` | {} | warning: {} |",
                    cell(property.doc),
                    cell(line)
                ));
            }
            Status::Refused(line) => {
                others.push(format!(
                    "| `{name}` | {} | error: {} |",
                    cell(property.doc),
                    cell(line)
                ));
            }
            Status::Renamed(new) => {
                old.push(format!("| `{name}` | `{new}` | {} |", cell(property.doc)));
            }
        }
        if let Kind::Word(words) = property.kind {
            for (value, line) in words.refused {
                others.push(format!("| `{name}={value}` | | error: {} |", cell(line)));
            }
            for (value, new) in words.renamed {
                old.push(format!("| `{name}={value}` | `{name}={new}` | |"));
            }
        }
    }
    put_rows(
        text,
        "| property | default | allowed | what |\n|---|---|---|---|",
        works,
    );
    put_rows(
        text,
        "Known, and not supported or without effect:\n\n| property | what | here |\n|---|---|---|",
        others,
    );
    put_rows(
        text,
        "Old names, which work with a warning:\n\n| old | new | |\n|---|---|---|",
        old,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_allowed() {
        for section in SECTIONS {
            for property in section.properties {
                if let Default::Is(default) = property.default {
                    let checked = property.check(default, section.wording);
                    assert_eq!(checked, Ok(()), "{}", property.name);
                }
                if let Status::Renamed(new) = property.status {
                    assert!(section.find(new).is_some(), "{} to {new}", property.name);
                }
                if let Kind::Word(words) = property.kind {
                    for (_, new) in words.renamed {
                        assert_eq!(property.check(new, section.wording), Ok(()));
                    }
                }
            }
        }
    }

    #[test]
    fn every_row_can_be_met() {
        for section in SECTIONS {
            for property in section.properties {
                let name = property.name.replace(['<', '>'], "");
                let met = section.find(&name).map(|met| met.name);
                assert_eq!(met, Some(property.name), "{}", section.title);
            }
        }
    }

    #[test]
    fn templates() {
        let found = |name: &str| DEBEZIUM.find(name).map(|property| property.name);
        assert_eq!(
            found("column.mask.with.5.chars"),
            Some("column.mask.with.<n>.chars")
        );
        assert_eq!(
            found("column.mask.hash.v2.SHA-256.with.salt.a.b"),
            Some("column.mask.hash.v2.<algorithm>.with.salt.<salt>")
        );
        assert_eq!(
            found("column.mask.hash.SHA-256.with.salt.x"),
            Some("column.mask.hash.<algorithm>.with.salt.<salt>")
        );
        assert_eq!(
            found("snapshot.select.statement.overrides.store.orders"),
            Some("snapshot.select.statement.overrides.<table>")
        );
        assert_eq!(found("column.mask.with..chars"), None);
        assert_eq!(found("column.mask.with.chars"), None);
    }

    #[test]
    fn distances() {
        assert_eq!(distance("table.include.list", "table.include.list"), 0);
        assert_eq!(distance("table.include.list", "table.inculde.list"), 1);
        assert_eq!(
            distance("column.mask.with.<n>.chars", "column.mask.with.12.char"),
            1
        );
        assert_eq!(distance("a<x>", "a"), 0);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
    }

    fn check(section: &Section, name: &str, value: &str) -> Result<(), String> {
        section.find(name).unwrap().check(value, section.wording)
    }

    #[test]
    fn the_words_of_debezium() {
        for (name, value, message) in [
            (
                "topic.prefix",
                "a b",
                "a b has invalid format (only the underscore, hyphen, dot and alphanumeric \
                    characters are allowed)",
            ),
            (
                "database.hostname",
                "a b",
                "a b has invalid format (only the underscore, hyphen, dot and alphanumeric \
                    characters are allowed)",
            ),
            (
                "slot.name",
                "Bad-Slot",
                "Valid replication slot name must contain only digits, lowercase characters and \
                    underscores with length <= 63",
            ),
            (
                "message.key.columns",
                "foo",
                r"foo has an invalid format (expecting '^\s*([^:]+):([^:,]+(,[^:,]+)*)\s*$')",
            ),
            (
                "decimal.handling.mode",
                "x",
                "Value must be one of precise, double, string",
            ),
            ("skipped.operations", "x", "Invalid operation"),
            (
                "skipped.operations",
                "none,c",
                "'none' cannot be specified with other skipped operation types",
            ),
            (
                "max.batch.size",
                "0",
                "A positive, non-zero integer value is expected",
            ),
            (
                "poll.interval.ms",
                "0",
                "A positive, non-zero long value is expected",
            ),
            (
                "slot.max.retries",
                "-1",
                "An non-negative integer is expected",
            ),
            (
                "snapshot.delay.ms",
                "-1",
                "A non-negative long value is expected",
            ),
            ("database.port", "x", "An integer is expected"),
            (
                "tombstones.on.delete",
                "yes",
                "Either 'true' or 'false' is expected",
            ),
            (
                "custom.metric.tags",
                "a",
                "A equivalent-separated map of valid key/value pairs is expected, for example: \
                    k1=v1,k2=v2",
            ),
            (
                "replica.identity.autoset.values",
                "foo",
                r"foo has an invalid format (expecting '(?i)^\s*(?<tablepredicate>[^\s:]+):(?<replicaidentity>DEFAULT|(INDEX) (?<indexname>.\w*)|FULL|NOTHING)\s*$')",
            ),
        ] {
            assert_eq!(
                check(&DEBEZIUM, name, value),
                Err(message.to_owned()),
                "{name}={value}"
            );
        }
        let message = check(&DEBEZIUM, "table.include.list", "a,(").unwrap_err();
        assert!(
            message.starts_with(
                "A comma-separated list of valid regular expressions is expected, but "
            )
        );
    }

    #[test]
    fn the_words_of_kafka() {
        for (section, name, value, message) in [
            (&CONNECT, "tasks.max", "abc", "Not a number of type INT"),
            (&CONNECT, "tasks.max", "0", "Value must be at least 1"),
            (
                &CONNECT,
                "errors.tolerance",
                "x",
                "String must be one of: none, all",
            ),
            (&CLIENT, "linger.ms", "x", "Not a number of type LONG"),
            (
                &CLIENT,
                "compression.gzip.level",
                "10",
                "Value must be no more than 9",
            ),
        ] {
            assert_eq!(
                check(section, name, value),
                Err(message.to_owned()),
                "{name}={value}"
            );
        }
    }

    #[test]
    fn addresses() {
        let host = |text| check(&DEBEZIUM, "database.hostname", text);
        for good in [
            "localhost",
            "db-1.example.org",
            "::1",
            "10.0.0.1",
            "/run/postgresql",
        ] {
            assert_eq!(host(good), Ok(()));
        }
        assert!(host("").is_err());
        let servers = |text| check(&WORKER, "bootstrap.servers", text);
        assert_eq!(servers("a:1, [::1]:9092"), Ok(()));
        for bad in ["", "a", "a:", ":1", "a:0", "a:99999"] {
            assert!(servers(bad).is_err(), "{bad}");
        }
        let urls = |text| check(&AVRO, "schema.registry.url", text);
        assert_eq!(urls("http://a:8081,https://u:p@b/x"), Ok(()));
        assert!(urls("a:8081").is_err());
    }

    #[test]
    fn the_pages_in_docs_are_this_table() {
        const MARK: &str = "<!-- generated";
        let path = |name: &str| format!("{}/../docs/{name}", env!("CARGO_MANIFEST_DIR"));
        let read = |name: &str| std::fs::read_to_string(path(name)).unwrap_or_default();
        let differences = read("differences.md");
        let (before, rest) = differences
            .split_once(MARK)
            .expect("a mark where rows begin");
        let (mark, rest) = rest.split_once('\n').expect("rows");
        let (_, after) = rest.split_once(MARK).expect("a mark where rows end");
        let rows = unsupported();
        let differences = format!("{before}{MARK}{mark}\n\n{rows}\n{MARK}{after}");
        let pages = [
            ("configuration.md", markdown()),
            ("differences.md", differences),
        ];
        for (name, page) in pages {
            if std::env::var_os("PENSTOCK_RECORD").is_some() {
                std::fs::write(path(name), &page).unwrap();
            }
            assert!(
                read(name) == page,
                "docs/{name} is not what the table says: PENSTOCK_RECORD=1 cargo test -p engine \
                 writes it"
            );
        }
    }
}
