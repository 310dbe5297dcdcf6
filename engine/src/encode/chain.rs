//! `transforms` as a whole: what becomes of a record on its way through them, found out once for
//! each topic and kind of record, and never asked again per record.
//!
//! Source: Kafka's `TransformationChain`, `RegexRouter` and predicates; Debezium's
//! `ByLogicalTableRouter` 3.6.3; observed.

use super::envelope::{Notice, adjust};
use super::plan::PlanError;
use super::schema::{Field, Kind, Schema, Value};
use super::transform::Unwrap;
use crate::config::{self, NameAdjustment, Operation, Pattern, Predicate, Transform};

/// The transforms of a connector, in order.
pub(crate) struct Chain(Vec<Link>);

struct Link {
    /// Only where this holds.
    when: Option<When>,
    does: Does,
}

struct When {
    predicate: Predicate,
    negate: bool,
}

enum Does {
    /// ExtractNewRecordState
    Unwrap(Unwrap),
    /// RegexRouter
    Rename { regex: Pattern, replacement: String },
    /// ByLogicalTableRouter
    Merge(Box<Merge>),
    /// Filter
    Drop,
}

struct Merge {
    regex: Pattern,
    replacement: String,
    names: NameAdjustment,
    /// Added to keys, so that those of different tables differ: its name, and what is made of the
    /// topic for its value.
    key: Option<(String, Option<(Pattern, String)>)>,
}

/// What the records of one origin become.
#[derive(Debug, Clone)]
pub(crate) struct Fate {
    /// Where they go.
    pub(crate) topic: String,
    /// What the name of the key's schema begins with, where that is not the first topic; adjusted
    /// in this way.
    pub(crate) names: Option<(String, NameAdjustment)>,
    /// Whether the names of the value's schemas begin so, too: not those of a row alone.
    pub(crate) renames_value: bool,
    /// A field behind the others of a key, and its value.
    pub(crate) key_field: Option<(String, String)>,
    /// How the row becomes the value.
    pub(crate) unwrap: Option<Unwrap>,
    /// What a tombstone is told of its delete.
    pub(crate) tombstone: Told,
    /// Of each [`Class`].
    drops: [bool; 4],
    nulls: [bool; 4],
}

/// Headers that ExtractNewRecordState adds to a tombstone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// None.
    Nothing,
    /// That it is of a delete.
    Op,
    /// The delete's own too: the two share their headers until something copies them.
    All,
}

/// Records that transforms treat alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Row,
    Delete,
    Truncate,
    Tombstone,
}

const CLASSES: [Class; 4] = [Class::Row, Class::Delete, Class::Truncate, Class::Tombstone];

/// A record on its way.
struct Passage {
    topic: String,
    names: Option<(String, NameAdjustment)>,
    renames_value: bool,
    key_field: Option<(String, String)>,
    unwrap: Option<Unwrap>,
    told: Told,
    /// Copied by a transform that renamed its topic.
    copied: bool,
    null: bool,
    dropped: bool,
}

impl Chain {
    /// Errors: transforms that we do not have, and options.
    pub(crate) fn compile(config: &config::Encode) -> Result<Self, PlanError> {
        config
            .transforms
            .iter()
            .map(link)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// What becomes of a table's records, which would go to `topic`; of rows whose field of
    /// `route.by.field` says `routed`. Their tombstones say nothing, and are not among those.
    ///
    /// Errors: different topics or keys for records of one table.
    pub(crate) fn fate(&self, topic: &str, routed: Option<&str>) -> Result<Fate, PlanError> {
        let mut passages = CLASSES.map(|class| self.pass(topic, Some(class), routed));
        passages[Class::Tombstone as usize].dropped |= routed.is_some();
        let drops = [0, 1, 2, 3].map(|at: usize| passages[at].dropped);
        let nulls = [0, 1, 2, 3].map(|at: usize| passages[at].null);
        let tombstone = passages[Class::Tombstone as usize].told;
        let mut sent = passages.into_iter().filter(|passage| !passage.dropped);
        let first = sent.next();
        for other in sent {
            let same = first.as_ref().is_some_and(|first| {
                (&first.topic, &first.names, &first.key_field)
                    == (&other.topic, &other.names, &other.key_field)
                    && (other.null
                        || first.null
                        || first.unwrap.is_some() == other.unwrap.is_some())
            });
            if !same {
                let what = format!(
                    "transforms that treat the tombstones of {topic} otherwise than its rows"
                );
                return Err(PlanError::Unsupported { what });
            }
        }
        let first = first.unwrap_or_else(|| Passage::new(topic, false));
        Ok(Fate {
            topic: first.topic,
            names: first.names,
            renames_value: first.renames_value,
            key_field: first.key_field,
            unwrap: first.unwrap,
            tombstone,
            drops,
            nulls,
        })
    }

    /// What becomes of a record that is no row; none: nothing.
    pub(crate) fn notice(&self, mut notice: Notice) -> Option<Notice> {
        let passage = self.pass(&notice.topic, None, None);
        if passage.dropped {
            return None;
        }
        if let Some((names, mode)) = passage.names {
            notice.key.name = Some(adjust(&format!("{names}.Key"), mode, true));
        }
        if let Some((name, value)) = passage.key_field
            && let Kind::Struct(fields) = &mut notice.key.kind
        {
            let schema = Schema::new(Kind::String);
            fields.push(Field { name, schema });
            notice.key_field = Some(Value::String(value));
        }
        notice.topic = passage.topic;
        Some(notice)
    }

    /// A record through all links; without a class it is no row.
    fn pass(&self, topic: &str, class: Option<Class>, routed: Option<&str>) -> Passage {
        let mut passage = Passage::new(topic, class == Some(Class::Tombstone));
        for link in &self.0 {
            if passage.dropped {
                break;
            }
            let holds = link.when.as_ref().is_none_or(|when| {
                let holds = match &when.predicate {
                    Predicate::TopicNameMatches(pattern) => pattern.is_match(&passage.topic),
                    Predicate::RecordIsTombstone => passage.null,
                };
                holds != when.negate
            });
            if holds {
                passage.take(&link.does, class, routed);
            }
        }
        passage
    }
}

impl Passage {
    fn new(topic: &str, null: bool) -> Self {
        Self {
            topic: topic.to_owned(),
            names: None,
            renames_value: false,
            key_field: None,
            unwrap: None,
            told: Told::Nothing,
            copied: false,
            null,
            dropped: false,
        }
    }

    fn take(&mut self, does: &Does, class: Option<Class>, routed: Option<&str>) {
        match does {
            Does::Drop => self.dropped = true,
            Does::Rename { regex, replacement } => {
                if let Some(topic) = regex.rewrite(&self.topic, replacement) {
                    self.topic = topic;
                    self.copied = true;
                }
            }
            Does::Merge(merge) => {
                let renamed = merge.regex.rewrite(&self.topic, &merge.replacement);
                let Some(topic) = renamed.filter(|topic| !topic.is_empty()) else {
                    return;
                };
                if let Some((name, rewrite)) = &merge.key {
                    let value = rewrite
                        .as_ref()
                        .and_then(|(regex, replacement)| regex.rewrite(&self.topic, replacement))
                        .unwrap_or_else(|| self.topic.clone());
                    self.key_field = Some((name.clone(), value));
                }
                self.renames_value |= self.unwrap.is_none();
                self.names = Some((topic.clone(), merge.names));
                self.topic = topic;
                self.copied = true;
            }
            Does::Unwrap(unwrap) => {
                if let (Some(routed), Some(_)) = (routed, &unwrap.route)
                    && class.is_some()
                    && !self.null
                {
                    routed.clone_into(&mut self.topic);
                }
                self.unwrap(unwrap, class);
            }
        }
    }

    fn unwrap(&mut self, unwrap: &Unwrap, class: Option<Class>) {
        match class {
            Some(_) if self.null => {
                self.dropped = !unwrap.tombstones();
                self.told = if self.copied { Told::Op } else { Told::All };
            }
            Some(Class::Delete) => {
                self.dropped = !unwrap.emits(Operation::Delete);
                self.null = unwrap.is_null(Operation::Delete);
                self.unwrap.get_or_insert_with(|| unwrap.clone());
            }
            Some(Class::Truncate) => self.dropped = true,
            Some(_) if self.unwrap.is_none() => self.unwrap = Some(unwrap.clone()),
            _ => {}
        }
    }
}

impl Fate {
    /// A schema's name, whose last part is `part`: `Key`, `Value`, `Envelope`.
    pub(crate) fn name(&self, topic: &str, part: &str, mode: NameAdjustment) -> String {
        let renamed = self.names.as_ref();
        let (base, mode) = match renamed.filter(|_| part == "Key" || self.renames_value) {
            Some((base, mode)) => (base.as_str(), *mode),
            None => (topic, mode),
        };
        adjust(&format!("{base}.{part}"), mode, true)
    }

    /// Whether the operation makes a record.
    pub(crate) fn emits(&self, op: Operation) -> bool {
        !self.drops[Class::of(op) as usize]
    }

    /// Whether the operation's record has no value.
    pub(crate) fn is_null(&self, op: Operation) -> bool {
        self.nulls[Class::of(op) as usize]
    }

    /// Whether a delete's tombstone is sent, where the connector makes them.
    pub(crate) fn tombstones(&self) -> bool {
        !self.drops[Class::Tombstone as usize]
    }
}

impl Class {
    fn of(op: Operation) -> Self {
        match op {
            Operation::Delete => Self::Delete,
            Operation::Truncate => Self::Truncate,
            _ => Self::Row,
        }
    }
}

fn link(transform: &Transform) -> Result<Link, PlanError> {
    let option = |name: &str| transform.options.get(name).map(|value| value.trim());
    let unsupported = |option: &str| PlanError::Unsupported {
        what: match transform.options.get(option) {
            Some(value) => format!("transforms.{}.{option}={value}", transform.alias),
            None => format!("transforms.{}.{option} without a value", transform.alias),
        },
    };
    let pattern = |name: &str| {
        let text = option(name).ok_or_else(|| unsupported(name))?;
        Pattern::case_sensitive(text).map_err(|_| unsupported(name))
    };
    let text = |name: &str| {
        option(name)
            .map(str::to_owned)
            .ok_or_else(|| unsupported(name))
    };
    let does = match transform.class.rsplit('.').next() {
        Some("ExtractNewRecordState" | "UnwrapFromEnvelope") => {
            Does::Unwrap(Unwrap::of(transform)?)
        }
        Some("RegexRouter") => Does::Rename {
            regex: pattern("regex")?,
            replacement: text("replacement")?,
        },
        Some("Filter") if transform.class.starts_with("org.apache.kafka.") => Does::Drop,
        Some("ByLogicalTableRouter") => {
            let unique = option("key.enforce.uniqueness") != Some("false");
            let rewrite = match option("key.field.regex") {
                Some(_) => Some((pattern("key.field.regex")?, text("key.field.replacement")?)),
                None => None,
            };
            let name = option("key.field.name").unwrap_or("__dbz__physicalTableIdentifier");
            Does::Merge(Box::new(Merge {
                regex: pattern("topic.regex")?,
                replacement: text("topic.replacement")?,
                names: match option("schema.name.adjustment.mode") {
                    None | Some("none") => NameAdjustment::None,
                    Some("avro") => NameAdjustment::Avro,
                    Some("avro_unicode") => NameAdjustment::AvroUnicode,
                    Some(_) => return Err(unsupported("schema.name.adjustment.mode")),
                },
                key: unique.then(|| (name.to_owned(), rewrite)),
            }))
        }
        _ => {
            let what = format!("transforms.{}.type={}", transform.alias, transform.class);
            return Err(PlanError::Unsupported { what });
        }
    };
    Ok(Link {
        when: transform.predicate.clone().map(|predicate| When {
            predicate,
            negate: transform.negate,
        }),
        does,
    })
}
