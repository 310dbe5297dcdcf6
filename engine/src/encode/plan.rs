//! The compiled encoder of one table's rows.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use avro::Resolution;

use super::chain::{Chain, Fate, Told};
use super::envelope::{
    EnvelopePieces, Names, SourceBlock, SourcePieces, adjust, avro_prefix, envelope_schema,
    json_frame, piece, put_leaf, put_leaf_header, table_topic, topic_key, unsupported_converter,
};
use super::extent::{Extent, Manner};
use super::form::{Avro, Form, Header, Json, Text, put_lead};
use super::mapping::{self, Settings};
use super::schema::{Field, Kind, Schema, Value, field_lead, put_branch};
use super::step::{Done, Fault, Step};
use super::transform::{self, Added, Leaf, Origin, Unwrap};
use crate::capture::relations::{ReplicaIdentity, Table};
use crate::capture::row::{Cell, Row};
use crate::config::{self, ColumnRule, Converter, FailureMode, Filter, Operation};

/// What the pieces of an envelope take beside the columns.
const ENVELOPE_BYTES: usize = 3 << 10;
/// What is around a large row in its record: the envelope, lengths, what is known of the source.
const SURROUNDINGS_BYTES: usize = 8 << 10;
/// What a transform adds of an event's source: names, numbers, a snapshot's mark.
const LEAF_BYTES: usize = 1 << 10;
/// A zero byte and the schema's id, before an Avro datum.
const PREFIX_BYTES: usize = 5;
/// What an allocator adds to a block, with what rounding wastes.
const BLOCK_BYTES: usize = 16;
/// A value that is never written to see only what it looks like.
const LONG: usize = 4 << 10;
/// Of a value, how many characters an error shows.
const BEGINS_MAX: usize = 40;

/// What a table's records look like: topic, key and value.
#[derive(Debug, Clone)]
pub struct Schemas {
    /// The key's struct; none: the table has no key, and records have a null key.
    pub key: Option<Schema>,
    /// The value: the envelope's struct, or what transforms made of it.
    pub value: Schema,
    /// Where records go.
    pub topic: String,
    /// The key's columns, in its order.
    key_columns: Vec<usize>,
    /// The columns of a row in the value.
    value_columns: Vec<usize>,
    /// Where the rows come from.
    phase: Phase,
    /// The key as the headers of a key's change show it: without what transforms make of it.
    own_key: Option<Schema>,
    /// What the topic naming strategy adds behind the key's columns: a field and its value.
    identifier: Option<(String, String)>,
    /// What transforms make of the records.
    fate: Fate,
}

/// Where rows come from: Debezium reads a snapshot with other means than the stream, and with
/// `penstock.compat=debezium` so it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// From a snapshot.
    Copy,
    /// From the stream.
    Stream,
}

/// The ids that a registry gave to a table's schemas; 0 where the converter is not Avro.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchemaIds {
    /// Of the key; none when there is no key.
    pub key: Option<u32>,
    /// Of the value.
    pub value: u32,
}

/// One change, still in the receive buffer.
#[derive(Debug, Clone, Copy)]
pub struct Event<'b> {
    /// What happened.
    pub op: Operation,
    /// The old row, whole or only its key.
    pub before: Option<Row<'b>>,
    /// The new row.
    pub after: Option<Row<'b>>,
    /// Where it comes from.
    pub source: SourceBlock<'b>,
    /// The clock when the record is built, in nanoseconds since 1970.
    pub now_ns: i64,
}

/// Something configured that cannot be encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanError {
    /// Not supported.
    Unsupported {
        /// What.
        what: String,
    },
    /// Two columns whose names are the same once they are adjusted.
    SameName {
        /// `schema.table`
        table: String,
        /// The name.
        field: String,
    },
}

/// A value that is not what its column's type says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnError {
    /// `schema.table`
    pub table: String,
    /// The column.
    pub column: String,
    /// The column's type.
    pub pg_type: String,
    /// How the value begins: at most 40 characters.
    pub begins: String,
    /// What was expected.
    pub expected: &'static str,
}

/// Writes the records of one table at one revision of its definition.
///
/// Compiled once; [`Self::key`] and [`Self::value`] run per row, allocate nothing once buffers have
/// grown, and ask no configuration.
#[derive(Debug)]
pub struct RowEncoder {
    topic: String,
    key: Option<Part>,
    key_header: Option<Part>,
    value: Part,
    envelope: EnvelopePieces,
    put_key: PutRow,
    put_key_header: PutRow,
    put_value: PutValue,
    fate: Fate,
    /// What a transform tells in headers.
    headers: Box<[(String, HeaderPlan)]>,
    /// The field that names the topic of a row.
    route: Option<RoutePlan>,
    /// How keys and values are written in schemas that are not the table's own.
    rewrites: Option<Box<Rewrites>>,
    /// What JsonConverter makes of a null that has a schema.
    null: Option<Box<[u8]>>,
    tombstones: bool,
    /// What the value's form makes longer.
    manner: Manner,
    names: Names,
}

type PutRow = fn(&Part, Row<'_>, &mut Vec<u8>) -> Result<(), Misfit>;
type PutValue = fn(&RowEncoder, &Event<'_>, &mut Vec<u8>) -> Result<(), Misfit>;

/// A struct of columns, with what surrounds it.
#[derive(Debug)]
struct Part {
    /// Before the struct's first field, or what leads to it.
    head: Box<[u8]>,
    /// The struct's fields, in its order.
    columns: Box<[ColumnPlan]>,
    /// What follows the columns in the same struct.
    added: Box<[AddedPlan]>,
    /// The struct's end.
    close: Box<[u8]>,
    /// After all.
    tail: &'static [u8],
    /// A TOAST value that was not sent is in the old row: REPLICA IDENTITY FULL.
    old_is_whole: bool,
}

/// What a transform adds to a row.
#[derive(Debug)]
enum AddedPlan {
    /// After its lead.
    Leaf(Box<[u8]>, Leaf),
    /// Of the old row or of the new one; all of it where there is no such row.
    Column {
        old: bool,
        plan: Box<ColumnPlan>,
        absent: Box<[u8]>,
    },
}

/// Appends a column's text as a header has it.
type Put = fn(&Step, &[u8], &mut Vec<u8>) -> Done;

/// What a header of a transform's tells.
#[derive(Debug)]
enum HeaderPlan {
    Leaf(Leaf),
    /// A field of the old row or of the new one.
    Column {
        old: bool,
        cell: usize,
        step: Step,
        put: Put,
    },
    /// As JsonConverter has it, with `head` and `tail` around the value; in front of a column's
    /// stand `lead` bytes of a struct's field.
    Json {
        head: Box<[u8]>,
        tail: &'static [u8],
        lead: usize,
        plan: AddedPlan,
    },
}

/// Other schemas than the table's own, in which a registry has its records written.
#[derive(Debug, Default)]
struct Rewrites {
    key: Option<Arc<Resolution>>,
    value: Option<Arc<Resolution>>,
    scratch: Mutex<(Vec<u8>, Vec<usize>)>,
}

/// A column whose text is the topic of its row.
#[derive(Debug)]
struct RoutePlan {
    cell: usize,
    step: Step,
    /// For a NULL; none: the table's own topic.
    null: Option<String>,
    /// For a TOAST value that was not sent.
    unavailable: Option<String>,
}

/// One column: the bytes that are always the same, and the step between them.
#[derive(Debug)]
struct ColumnPlan {
    /// Where in the row.
    cell: usize,
    step: Step,
    /// Before a value.
    lead: Box<[u8]>,
    /// All of a NULL: lead, and null, the default or the fallback.
    null: Box<[u8]>,
    /// All of a TOAST value that was not sent.
    unavailable: Box<[u8]>,
    /// A value without a form is written as null.
    nulls: bool,
    /// And told of in the log.
    warns: bool,
    /// `schema.table`
    table: String,
    name: String,
    pg_type: String,
}

/// Where and why a value was not written.
struct Misfit {
    column: String,
    pg_type: String,
    begins: String,
    expected: &'static str,
}

impl Schemas {
    /// What the records of `table` look like in the stream; `columns` is the filter of captured
    /// columns.
    ///
    /// Errors: something configured that is not supported.
    pub fn derive(
        table: &Table,
        columns: &Filter,
        config: &config::Encode,
    ) -> Result<Self, PlanError> {
        Self::derive_for(Phase::Stream, table, columns, config)
    }

    /// The same in a snapshot or in the stream: with `penstock.compat=debezium` they may differ.
    ///
    /// Errors: as [`Self::derive`].
    pub fn derive_for(
        phase: Phase,
        table: &Table,
        columns: &Filter,
        config: &config::Encode,
    ) -> Result<Self, PlanError> {
        Self::derive_routed(phase, table, columns, config, None)
    }

    /// The same of those records that go where a field of the row says: [`RowEncoder::route`].
    ///
    /// Errors: as [`Self::derive`].
    pub fn derive_routed(
        phase: Phase,
        table: &Table,
        columns: &Filter,
        config: &config::Encode,
        routed: Option<&str>,
    ) -> Result<Self, PlanError> {
        let topic = table_topic(config, &table.schema, &table.name);
        let fate = Chain::compile(config)?.fate(&topic, routed)?;
        let name = |part: &str| fate.name(&topic, part, config.schema_names);
        let mut key_columns = key_columns(table, config);
        let mut value_columns: Vec<usize> = (0..table.columns.len())
            .filter(|&at| {
                let column = &table.columns[at].name;
                columns.accepts(&format!("{}.{}.{column}", table.schema, table.name))
            })
            .collect();
        let settings = Settings {
            config,
            numeric: false,
            phase,
        };
        key_columns.retain(|&at| mapping::map(&table.columns[at], settings).is_some());
        value_columns.retain(|&at| mapping::map(&table.columns[at], settings).is_some());
        let record = |part: &str, columns: &[usize], rules: &[ColumnRule]| {
            let fields: Result<Vec<Field>, PlanError> = columns
                .iter()
                .filter_map(|&at| {
                    let column = &table.columns[at];
                    let mapped = mapping::map(column, settings)?;
                    Some(
                        transform::apply(table, column, rules, settings, mapped).map(|mapped| {
                            Field {
                                name: adjust(&column.name, config.field_names, false),
                                schema: mapped.schema,
                            }
                        }),
                    )
                })
                .collect();
            let fields = fields?;
            let mut names = BTreeSet::new();
            if let Some(twice) = fields.iter().find(|field| !names.insert(&field.name)) {
                return Err(PlanError::SameName {
                    table: format!("{}.{}", table.schema, table.name),
                    field: twice.name.clone(),
                });
            }
            let schema = Schema::new(Kind::Struct(fields));
            Ok(Schema {
                name: Some(name(part)),
                ..schema
            })
        };
        let row = record("Value", &value_columns, &config.column_rules)?.optional();
        let identifier = topic_key(config, &table.schema, &table.name);
        let constant = |(name, _): &(String, String)| Field {
            name: name.clone(),
            schema: Schema::new(Kind::String),
        };
        let mut key = match key_columns.is_empty() && identifier.is_none() {
            true => None,
            false => Some(record("Key", &key_columns, &[])?),
        };
        if let Some(Kind::Struct(fields)) = key.as_mut().map(|key| &mut key.kind) {
            fields.extend(identifier.as_ref().map(constant));
        }
        let own_key = key.clone().map(|key| Schema {
            name: Some(adjust(&format!("{topic}.Key"), config.schema_names, true)),
            ..key
        });
        if let Some(Kind::Struct(fields)) = key.as_mut().map(|key| &mut key.kind) {
            fields.extend(fate.key_field.as_ref().map(constant));
        }
        let value = match &fate.unwrap {
            Some(unwrap) => unwrap.schema(row),
            None => envelope_schema(&name("Envelope"), &row),
        };
        let topic = fate.topic.clone();
        Ok(Self {
            own_key,
            identifier,
            fate,
            key,
            value,
            topic,
            key_columns,
            value_columns,
            phase,
        })
    }

    /// The text of the Avro schema that is registered for the key; none when there is no key or
    /// its converter is not Avro.
    #[must_use]
    pub fn key_avro(&self, config: &config::Encode) -> Option<String> {
        match &config.key_converter {
            Converter::Avro(avro) => Some(self.key.as_ref()?.avro(avro.text)),
            _ => None,
        }
    }

    /// The text of the Avro schema that is registered for the value; none when its converter is
    /// not Avro.
    #[must_use]
    pub fn value_avro(&self, config: &config::Encode) -> Option<String> {
        match &config.value_converter {
            Converter::Avro(avro) => Some(self.value.avro(avro.text)),
            _ => None,
        }
    }
}

/// `message.key.columns` where it names the table, else the table's own key.
fn key_columns(table: &Table, config: &config::Encode) -> Vec<usize> {
    let full = |at: &usize| {
        let (schema, name) = (&table.schema, &table.name);
        format!("{schema}.{name}.{}", table.columns[*at].name)
    };
    let named = config
        .message_keys
        .iter()
        .flat_map(|pattern| (0..table.columns.len()).filter(move |at| pattern.is_match(&full(at))));
    let named: Vec<usize> = named.collect();
    if named.is_empty() {
        table.key.clone()
    } else {
        named
    }
}

/// What a converter needs of a part's compilation.
struct Frame {
    head: Vec<u8>,
    tail: &'static [u8],
    numeric: bool,
    defaults: bool,
}

impl RowEncoder {
    /// Compiles the encoder of `table`, whose `schemas` the registry knows by `ids`. `database` is
    /// the name in `source.db`.
    ///
    /// Errors: something configured that is not supported.
    pub fn compile(
        table: &Table,
        schemas: &Schemas,
        config: &config::Encode,
        database: &str,
        ids: SchemaIds,
    ) -> Result<Self, PlanError> {
        let fate = schemas.fate.clone();
        let unwrap = fate.unwrap.clone();
        let plan = Plan {
            table,
            schemas,
            config,
        };
        let names = Names {
            prefix: config.topic_prefix.clone(),
            database: database.to_owned(),
            schema: table.schema.clone(),
            table: table.name.clone(),
        };
        let (key, put_key): (_, PutRow) = match &config.key_converter {
            Converter::Avro(avro) => {
                let frame = |_: &Schema| Frame::avro(ids.key.unwrap_or(0), avro);
                (plan.key::<Avro>(frame)?, Part::put_alone::<Avro>)
            }
            Converter::Json(json) => {
                let frame = |key: &Schema| Frame::json(key, *json);
                (plan.key::<Json>(frame)?, Part::put_alone::<Json>)
            }
            Converter::String => (
                plan.key::<Text>(|_| Frame::text())?,
                Part::put_alone::<Text>,
            ),
            other => return Err(unsupported_converter(other)),
        };
        let (key_header, put_key_header): (_, PutRow) = match &config.header_converter {
            Converter::Json(json) => {
                let frame = |key: &Schema| Frame::json(key, *json);
                (plan.own_key::<Json>(frame)?, Part::put_alone::<Json>)
            }
            Converter::String => (
                plan.own_key::<Text>(|_| Frame::text())?,
                Part::put_alone::<Text>,
            ),
            _ => {
                let mut key = plan.own_key::<Header>(|_| Frame::header())?;
                if let (Some(part), Some(key)) = (&mut key, &schemas.own_key) {
                    part.show_java_dates(key.fields());
                }
                (key, Part::put_alone::<Header>)
            }
        };
        let frame = match &config.value_converter {
            Converter::Avro(avro) => Frame::avro(ids.value, avro),
            Converter::Json(json) => Frame::json(&schemas.value, *json),
            Converter::String => Frame::text(),
            other => return Err(unsupported_converter(other)),
        };
        let (value, envelope, put_value): (_, _, PutValue) =
            match (&config.value_converter, &unwrap) {
                (Converter::Avro(_), None) => {
                    let (part, envelope) = plan.envelope::<Avro>(frame, &names)?;
                    (part, envelope, Self::put_envelope::<Avro>)
                }
                (Converter::String, None) => {
                    let (part, envelope) = plan.envelope::<Text>(frame, &names)?;
                    (part, envelope, Self::put_envelope::<Text>)
                }
                (Converter::String, Some(unwrap)) => {
                    let (part, envelope) = plan.row::<Text>(frame, &names, unwrap)?;
                    (part, envelope, Self::put_row::<Text>)
                }
                (_, None) => {
                    let (part, envelope) = plan.envelope::<Json>(frame, &names)?;
                    (part, envelope, Self::put_envelope::<Json>)
                }
                (Converter::Avro(_), Some(unwrap)) => {
                    let (part, envelope) = plan.row::<Avro>(frame, &names, unwrap)?;
                    (part, envelope, Self::put_row::<Avro>)
                }
                (_, Some(unwrap)) => {
                    let (part, envelope) = plan.row::<Json>(frame, &names, unwrap)?;
                    (part, envelope, Self::put_row::<Json>)
                }
            };
        Ok(Self {
            topic: schemas.topic.clone(),
            key,
            key_header,
            value,
            envelope,
            tombstones: config.tombstones && fate.tombstones(),
            null: plan.null(unwrap.as_ref()),
            route: match &unwrap {
                Some(unwrap) => plan.route(unwrap)?,
                None => None,
            },
            rewrites: None,
            headers: match &unwrap {
                Some(unwrap) => plan.headers(unwrap)?,
                None => Box::default(),
            },
            fate,
            manner: match &config.value_converter {
                Converter::Avro(_) => Manner::Plain,
                Converter::String => Manner::Twice,
                _ => Manner::Escaped,
            },
            names,
            put_key,
            put_key_header,
            put_value,
        })
    }

    /// The same, whose records are written in other schemas than the table's own.
    #[must_use]
    pub fn rewritten(
        mut self,
        key: Option<Arc<Resolution>>,
        value: Option<Arc<Resolution>>,
    ) -> Self {
        self.rewrites = (key.is_some() || value.is_some()).then(|| {
            Box::new(Rewrites {
                key,
                value,
                ..Rewrites::default()
            })
        });
        self
    }

    /// Whether every column can be read from its binary form. Where not, rows must come as text.
    #[must_use]
    pub fn reads_binary(&self) -> bool {
        let parts = self.key.iter().chain([&self.value]);
        parts
            .flat_map(|part| &part.columns)
            .all(|column| column.step.reads_binary())
    }

    /// Where records go.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Bytes of memory that the encoder takes, more or less.
    #[must_use]
    pub fn memory(&self) -> usize {
        let parts = [
            Some(&self.value),
            self.key.as_ref(),
            self.key_header.as_ref(),
        ];
        let parts: usize = parts.into_iter().flatten().map(Part::memory).sum();
        size_of::<Self>() + ENVELOPE_BYTES + parts
    }

    /// Appends the record's key, taken from `row`: a new row, an old one, or an old key. False,
    /// and nothing appended, when the table has no key.
    ///
    /// Errors: a value that is not what its column's type says; `out` is as it was.
    pub fn key(&self, row: Row<'_>, out: &mut Vec<u8>) -> Result<bool, ColumnError> {
        let Some(key) = &self.key else {
            return Ok(false);
        };
        let rewrites = self.rewrites.as_deref();
        self.whole(out, |out| match rewrites {
            Some(Rewrites {
                key: Some(to),
                scratch,
                ..
            }) => rewrite(to, scratch, out, |out| (self.put_key)(key, row, out)),
            _ => (self.put_key)(key, row, out),
        })
    }

    /// Whether two rows of the table have the same key for certain: their bytes are equal. Where
    /// they are not, the keys may still be, and are compared as [`Self::key`] writes them.
    #[must_use]
    pub fn same_key(&self, old: Row<'_>, new: Row<'_>) -> bool {
        let columns = self.key.iter().flat_map(|key| &key.columns);
        columns
            .into_iter()
            .all(|column| old.cell(column.cell) == new.cell(column.cell))
    }

    /// Whether two rows show the same in every column of the value: what
    /// `skip.messages.without.change` leaves out. `scratch` is emptied.
    #[must_use]
    pub fn same_row(&self, old: Row<'_>, new: Row<'_>, scratch: &mut Vec<u8>) -> bool {
        let mut columns = self.value.columns.iter();
        columns.all(
            |column| match (old.cell(column.cell), new.cell(column.cell)) {
                (_, Cell::Unchanged) => true,
                (old, new) => old == new || column.shows_same(old, new, scratch),
            },
        )
    }

    /// Appends the text of the key as `__debezium.newkey` and `__debezium.oldkey` carry it. False
    /// as with [`Self::key`].
    ///
    /// Errors: as [`Self::key`].
    pub fn key_header(&self, row: Row<'_>, out: &mut Vec<u8>) -> Result<bool, ColumnError> {
        let Some(key) = &self.key_header else {
            return Ok(false);
        };
        self.whole(out, |out| (self.put_key_header)(key, row, out))
    }

    /// Whether an operation makes a record: a transform may leave it out.
    #[must_use]
    pub fn emits(&self, op: Operation) -> bool {
        self.fate.emits(op)
    }

    /// Whether a delete's record is followed by a tombstone.
    #[must_use]
    pub fn tombstones(&self) -> bool {
        self.tombstones
    }

    /// Whether an operation's record has a null value: a transform may make deletions so.
    #[must_use]
    pub fn is_null(&self, op: Operation) -> bool {
        self.fate.is_null(op)
    }

    /// The bytes of a null value; none: the record has no value.
    #[must_use]
    pub fn null(&self) -> Option<&[u8]> {
        self.null.as_deref()
    }

    /// Appends the record's value. False, and nothing appended, when the value is null.
    ///
    /// Errors: a value that is not what its column's type says; `out` is as it was.
    pub fn value(&self, event: &Event<'_>, out: &mut Vec<u8>) -> Result<bool, ColumnError> {
        if self.is_null(event.op) {
            return Ok(false);
        }
        let rewrites = self.rewrites.as_deref();
        self.whole(out, |out| match rewrites {
            Some(Rewrites {
                value: Some(to),
                scratch,
                ..
            }) => rewrite(to, scratch, out, |out| (self.put_value)(self, event, out)),
            _ => (self.put_value)(self, event, out),
        })
    }

    /// The most that writing one of the event's records takes, key and headers included: for rows
    /// that are large, before they are written.
    #[must_use]
    pub fn extent(&self, event: &Event<'_>) -> Extent {
        let part = &self.value;
        let rows = [(event.before, None), (event.after, event.before)];
        let values = rows.into_iter().fold(Extent::default(), |sum, (row, old)| {
            sum.and(row.map_or_else(Extent::default, |row| part.extent(row, old, self.manner)))
        });
        let added = part.added.iter().map(|it| it.extent(event, self.manner));
        let value = added.fold(values, Extent::and);
        let again = match self.manner {
            Manner::Twice => value.record,
            _ if self.rewrites.is_some() => value.record,
            _ => 0,
        };
        // A key is written beside the record, and with the old one told in a header of the new.
        let row = event.after.or(event.before);
        let keys = self.key.iter().chain(&self.key_header);
        let keys = keys.fold(Extent::default(), |sum, key| {
            let own = row.map_or_else(Extent::default, |row| {
                key.extent(row, None, Manner::Escaped)
            });
            sum.and(own).and(Extent {
                record: 0,
                scratch: 2 * own.record,
            })
        });
        let headers = self.headers.iter().map(|(_, plan)| plan.extent(event));
        let surroundings = Extent::of(part.head.len() + SURROUNDINGS_BYTES);
        headers
            .fold(value.and(keys).and(surroundings), Extent::and)
            .and(Extent {
                record: 0,
                scratch: again,
            })
    }

    /// Whether a field of a row says where its records go.
    #[must_use]
    pub fn is_routed(&self) -> bool {
        self.route.is_some()
    }

    /// Appends where a field of the row says that a record goes. False, and nothing appended, where
    /// it says nothing: then it goes to [`Self::topic`].
    ///
    /// Errors: as [`Self::key`].
    pub fn route(&self, event: &Event<'_>, out: &mut Vec<u8>) -> Result<bool, ColumnError> {
        let Some(route) = &self.route else {
            return Ok(false);
        };
        let Some(row) = event.after.or(event.before) else {
            return Ok(false);
        };
        let mut cell = row.cell(route.cell);
        if self.value.old_is_whole
            && let (Cell::Unchanged, Some(old)) = (cell, event.before)
        {
            cell = old.cell(route.cell);
        }
        let start = out.len();
        let constant = match cell {
            Cell::Null => Some(&route.null),
            Cell::Unchanged => Some(&route.unavailable),
            _ => None,
        };
        let done = match (cell, constant) {
            (Cell::Text(text), _) => route.step.text::<Text>(text, out),
            (Cell::Binary(bytes), _) => route.step.binary::<Text>(bytes, out),
            (_, constant) => {
                let text = constant
                    .and_then(|text| text.as_deref())
                    .unwrap_or_default();
                out.extend_from_slice(text.as_bytes());
                Ok(())
            }
        };
        if let Err(fault) = done {
            out.truncate(start);
            let column = self.value.columns.iter().find(|it| it.cell == route.cell);
            return Err(ColumnError {
                table: format!("{}.{}", self.names.schema, self.names.table),
                column: column.map_or(String::new(), |column| column.name.clone()),
                pg_type: column.map_or(String::new(), |column| column.pg_type.clone()),
                begins: String::new(),
                expected: fault.expected(),
            });
        }
        Ok(out.len() > start)
    }

    /// Names of the headers that tell something of the event, in order; they follow the context's.
    pub fn event_headers(&self) -> impl Iterator<Item = &str> {
        self.headers.iter().map(|(name, _)| name.as_str())
    }

    /// Appends the value of the event's header at `index`. False, and nothing appended, when it is
    /// null.
    pub fn event_header(&self, index: usize, event: &Event<'_>, out: &mut Vec<u8>) -> bool {
        match self.headers.get(index) {
            Some((_, HeaderPlan::Leaf(leaf))) => put_leaf_header(*leaf, event, &self.names, out),
            Some((
                _,
                HeaderPlan::Column {
                    old,
                    cell,
                    step,
                    put,
                },
            )) => {
                let row = if *old { event.before } else { event.after };
                let start = out.len();
                let done = match row.map(|row| row.cell(*cell)) {
                    Some(Cell::Text(text)) => put(step, text, out).is_ok(),
                    Some(Cell::Binary(bytes)) => step.binary::<Text>(bytes, out).is_ok(),
                    _ => false,
                };
                if !done {
                    out.truncate(start);
                }
                done
            }
            Some((
                _,
                HeaderPlan::Json {
                    head,
                    tail,
                    lead,
                    plan,
                },
            )) => {
                let start = out.len();
                out.extend_from_slice(head);
                let value = out.len();
                let done = self.put_added::<Json>(plan, event, out);
                if done.is_err() {
                    out.truncate(start);
                    return false;
                }
                out.drain(value..value + lead);
                out.extend_from_slice(tail);
                true
            }
            None => false,
        }
    }

    /// Whether a delete's tombstone has the event's headers of the delete, too.
    #[must_use]
    pub fn tombstone_shares_headers(&self) -> bool {
        self.fate.tombstone == Told::All
    }

    /// Index and name of the header that tells of a tombstone what `op` tells of a delete, where
    /// there is one; it is the last.
    #[must_use]
    pub fn tombstone_header(&self) -> Option<(usize, &str)> {
        let told = self.fate.tombstone != Told::Nothing;
        let mut headers = self.headers.iter().enumerate().filter(|_| told);
        let is_operation = |plan: &HeaderPlan| match plan {
            HeaderPlan::Leaf(leaf) => *leaf == Leaf::Op,
            HeaderPlan::Json { plan, .. } => matches!(plan, AddedPlan::Leaf(_, Leaf::Op)),
            HeaderPlan::Column { .. } => false,
        };
        headers
            .find(|(_, (_, plan))| is_operation(plan))
            .map(|(index, (name, _))| (index, name.as_str()))
    }

    fn whole(
        &self,
        out: &mut Vec<u8>,
        put: impl FnOnce(&mut Vec<u8>) -> Result<(), Misfit>,
    ) -> Result<bool, ColumnError> {
        let start = out.len();
        put(out).map(|()| true).map_err(|misfit| {
            out.truncate(start);
            let Misfit {
                column,
                pg_type,
                begins,
                expected,
            } = misfit;
            let table = format!("{}.{}", self.names.schema, self.names.table);
            ColumnError {
                table,
                column,
                pg_type,
                begins,
                expected,
            }
        })
    }

    fn put_envelope<F: Form>(&self, event: &Event<'_>, out: &mut Vec<u8>) -> Result<(), Misfit> {
        let part = &self.value;
        let start = out.len();
        out.extend_from_slice(&part.head);
        match event.before {
            Some(row) => {
                F::some(out);
                part.put_columns::<F>(row, None, out)?;
                out.extend_from_slice(&part.close);
            }
            None => F::null(out),
        }
        F::field(out, ",\"after\":");
        match event.after {
            Some(row) => {
                F::some(out);
                part.put_columns::<F>(row, event.before, out)?;
                out.extend_from_slice(&part.close);
            }
            None => F::null(out),
        }
        self.envelope.put::<F>(event, out);
        out.extend_from_slice(part.tail);
        F::finish(out, start);
        Ok(())
    }

    /// The row alone, and what follows its own fields.
    fn put_row<F: Form>(&self, event: &Event<'_>, out: &mut Vec<u8>) -> Result<(), Misfit> {
        let part = &self.value;
        let start = out.len();
        out.extend_from_slice(&part.head);
        if let Some(row) = event.after.or(event.before) {
            part.put_columns::<F>(row, event.before, out)?;
        }
        for added in &part.added {
            self.put_added::<F>(added, event, out)?;
        }
        out.extend_from_slice(&part.close);
        out.extend_from_slice(part.tail);
        F::finish(out, start);
        Ok(())
    }

    /// Appends what a transform adds to a row, or tells in a header.
    fn put_added<F: Form>(
        &self,
        added: &AddedPlan,
        event: &Event<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Misfit> {
        match added {
            AddedPlan::Leaf(lead, origin) => {
                out.extend_from_slice(lead);
                put_leaf::<F>(*origin, event, &self.names, out);
            }
            AddedPlan::Column { old, plan, absent } => {
                match if *old { event.before } else { event.after } {
                    Some(row) => plan.put::<F>(row.cell(plan.cell), out)?,
                    None => out.extend_from_slice(absent),
                }
            }
        }
        Ok(())
    }
}

/// Appends what `put` appends, as another schema has it.
#[cold]
fn rewrite(
    to: &Resolution,
    scratch: &Mutex<(Vec<u8>, Vec<usize>)>,
    out: &mut Vec<u8>,
    put: impl FnOnce(&mut Vec<u8>) -> Result<(), Misfit>,
) -> Result<(), Misfit> {
    let mut scratch = scratch.lock().unwrap_or_else(PoisonError::into_inner);
    let (bytes, spans) = &mut *scratch;
    bytes.clear();
    spans.clear();
    put(bytes)?;
    let (prefix, datum) = bytes.split_at(PREFIX_BYTES.min(bytes.len()));
    out.extend_from_slice(prefix);
    to.put(datum, spans, out).map_err(|unresolved| Misfit {
        column: String::new(),
        pg_type: "the registry's schema".to_owned(),
        begins: unresolved.to_string(),
        expected: "a record that it can hold",
    })
}

impl AddedPlan {
    fn extent(&self, event: &Event<'_>, manner: Manner) -> Extent {
        match self {
            Self::Leaf(lead, _) => Extent::of(lead.len() + LEAF_BYTES),
            Self::Column { old, plan, absent } => {
                let row = if *old { event.before } else { event.after };
                let cell = row.map_or(Cell::Null, |row| row.cell(plan.cell));
                plan.extent(cell, manner).and(Extent::of(absent.len()))
            }
        }
    }
}

impl HeaderPlan {
    /// It is written beside the record, and then into it.
    fn extent(&self, event: &Event<'_>) -> Extent {
        let own = match self {
            Self::Leaf(_) => Extent::of(LEAF_BYTES),
            Self::Column {
                old, cell, step, ..
            } => {
                let row = if *old { event.before } else { event.after };
                let cell = row.map_or(Cell::Null, |row| row.cell(*cell));
                step.extent(cell, Manner::Escaped)
            }
            Self::Json { head, plan, .. } => {
                let own = plan.extent(event, Manner::Escaped);
                own.and(Extent::of(head.len()))
            }
        };
        own.and(Extent {
            record: 0,
            scratch: own.record,
        })
    }
}

impl Frame {
    fn text() -> Self {
        Self {
            head: Vec::new(),
            tail: b"",
            numeric: true,
            defaults: false,
        }
    }

    fn header() -> Self {
        Self {
            head: Vec::new(),
            tail: b"",
            numeric: true,
            defaults: true,
        }
    }

    fn avro(id: u32, converter: &config::AvroConverter) -> Self {
        Self {
            head: avro_prefix(id).to_vec(),
            tail: b"",
            numeric: false,
            defaults: !converter.ignore_defaults,
        }
    }

    fn json(schema: &Schema, converter: config::JsonConverter) -> Self {
        let (head, tail) = json_frame(schema, converter);
        Self {
            head,
            tail,
            numeric: converter.decimal_numeric,
            defaults: converter.replace_null_with_default,
        }
    }
}

/// What all parts of one table are compiled of.
struct Plan<'t> {
    table: &'t Table,
    schemas: &'t Schemas,
    config: &'t config::Encode,
}

impl Plan<'_> {
    fn key<F: Form>(&self, frame: impl Fn(&Schema) -> Frame) -> Result<Option<Part>, PlanError> {
        let Some(key) = &self.schemas.key else {
            return Ok(None);
        };
        let identifier = self.schemas.identifier.iter();
        let constants = identifier.chain(&self.schemas.fate.key_field);
        self.key_of::<F>(key, frame(key), constants).map(Some)
    }

    /// The key as its table has it.
    fn own_key<F: Form>(
        &self,
        frame: impl Fn(&Schema) -> Frame,
    ) -> Result<Option<Part>, PlanError> {
        let Some(key) = &self.schemas.own_key else {
            return Ok(None);
        };
        let constants = self.schemas.identifier.iter();
        self.key_of::<F>(key, frame(key), constants).map(Some)
    }

    /// The key's columns, and behind them what is the same in every record.
    fn key_of<'c, F: Form>(
        &self,
        key: &Schema,
        frame: Frame,
        constants: impl Iterator<Item = &'c (String, String)>,
    ) -> Result<Part, PlanError> {
        let columns = &self.schemas.key_columns;
        let mut part = self.part::<F>(key.fields(), columns, &[], frame)?;
        let mut constants = constants.enumerate().peekable();
        if constants.peek().is_some() {
            part.close = piece(|out| {
                for (index, (name, value)) in constants {
                    F::field(out, &field_lead(name, columns.len() + index));
                    F::string(out, value.as_bytes());
                }
                F::end_struct(out);
            });
        }
        Ok(part)
    }

    fn envelope<F: Form>(
        &self,
        mut frame: Frame,
        names: &Names,
    ) -> Result<(Part, EnvelopePieces), PlanError> {
        F::field(&mut frame.head, "{\"before\":");
        let fields = self
            .schemas
            .value
            .fields()
            .first()
            .map_or(&[][..], |row| row.schema.fields());
        let (columns, rules) = (&self.schemas.value_columns, &self.config.column_rules);
        let defaults = frame.defaults;
        let part = self.part::<F>(fields, columns, rules, frame)?;
        Ok((
            part,
            EnvelopePieces::compile::<F>(SourcePieces::compile::<F>(names, defaults)),
        ))
    }

    fn row<F: Form>(
        &self,
        mut frame: Frame,
        names: &Names,
        unwrap: &Unwrap,
    ) -> Result<(Part, EnvelopePieces), PlanError> {
        let fields = self.schemas.value.fields();
        let (columns, rules) = (&self.schemas.value_columns, &self.config.column_rules);
        let (numeric, defaults) = (frame.numeric, frame.defaults);
        frame.defaults |= unwrap.puts_defaults();
        let mut part = self.part::<F>(fields, columns, rules, frame)?;
        let (row, added) = fields.split_at(columns.len().min(fields.len()));
        let mut rest = unwrap.fields.iter();
        let mut plans = Vec::with_capacity(added.len());
        for (index, field) in added.iter().enumerate() {
            // Those whose column the table has not are not among the fields.
            let Some(Added { origin, .. }) = rest.find(|added| added.name == field.name) else {
                continue;
            };
            let index = columns.len() + index;
            plans.push(match origin {
                Origin::Leaf(leaf) => {
                    let lead = field_lead(&field.name, index);
                    AddedPlan::Leaf(piece(|out| F::field(out, &lead)), *leaf)
                }
                Origin::Column { old, name } => {
                    let place = row.iter().position(|field| field.name == *name);
                    let Some(&cell) = place.and_then(|place| columns.get(place)) else {
                        continue;
                    };
                    let plan = self.column::<F>(cell, field, index, rules, numeric, defaults)?;
                    let Some(plan) = plan else { continue };
                    let lead = field_lead(&field.name, index);
                    let absent = piece(|out| {
                        F::field(out, &lead);
                        Value::Null.put::<F>(&field.schema, out, numeric, defaults);
                    });
                    AddedPlan::Column {
                        old: *old,
                        plan: Box::new(plan),
                        absent,
                    }
                }
            });
        }
        part.added = plans.into_boxed_slice();
        if !part.added.is_empty() && !F::WORDLESS {
            part.close = Box::from(*b"}");
        }
        Ok((
            part,
            EnvelopePieces::compile::<F>(SourcePieces::compile::<F>(names, defaults)),
        ))
    }

    /// A deletion's null as Debezium has it converted, with the row's schema.
    fn null(&self, unwrap: Option<&Unwrap>) -> Option<Box<[u8]>> {
        let Converter::Json(json) = &self.config.value_converter else {
            return None;
        };
        let debezium = self.config.compat == config::Compat::Debezium;
        if !debezium || !unwrap.is_some_and(Unwrap::nulls_have_schema) {
            return None;
        }
        let Schema { name, .. } = self.schemas.value.clone();
        let fields = self.schemas.value.fields();
        let row = fields.iter().take(self.schemas.value_columns.len());
        let row = Schema {
            name,
            ..Schema::new(Kind::Struct(row.cloned().collect())).optional()
        };
        let (mut null, tail) = json_frame(&row, *json);
        null.extend_from_slice(b"null");
        null.extend_from_slice(tail);
        Some(null.into_boxed_slice())
    }

    /// The column that `route.by.field` names.
    ///
    /// Errors: the table has none of that name, or it is no text.
    fn route(&self, unwrap: &Unwrap) -> Result<Option<RoutePlan>, PlanError> {
        let Some(name) = &unwrap.route else {
            return Ok(None);
        };
        let (columns, fields) = (&self.schemas.value_columns, self.schemas.value.fields());
        let mut places = columns.iter().zip(fields);
        let place =
            places.find(|(_, field)| field.name == *name && field.schema.kind == Kind::String);
        let settings = Settings {
            config: self.config,
            numeric: false,
            phase: self.schemas.phase,
        };
        let mapped = place.and_then(|(&cell, _)| {
            let column = &self.table.columns[cell];
            Some((cell, column, mapping::map(column, settings)?))
        });
        let Some((cell, column, mapped)) = mapped else {
            let Table {
                schema,
                name: table,
                ..
            } = self.table;
            let what = format!(
                "{}route.by.field={name}, which is no field of {schema}.{table} that holds text,",
                unwrap.prefix
            );
            return Err(PlanError::Unsupported { what });
        };
        let rules = &self.config.column_rules;
        let mapped = transform::apply(self.table, column, rules, settings, mapped)?;
        let text = |value: Option<&Value>| match value {
            Some(Value::String(text)) => Some(text.clone()),
            _ => None,
        };
        let null = match mapped.schema.optional {
            true => mapped.schema.default.as_ref(),
            false => Some(&mapped.fallback),
        };
        let (mut null, mut unavailable) = (text(null), text(mapped.unavailable.as_ref()));
        if let Step::Masked(stars) = &mapped.step {
            (null, unavailable) = (Some(stars.to_string()), Some(stars.to_string()));
        }
        Ok(Some(RoutePlan {
            cell,
            step: mapped.step,
            null,
            unavailable,
        }))
    }

    /// What a transform tells in headers that JsonConverter writes, less fields that the table has
    /// not.
    fn json_headers(
        &self,
        unwrap: &Unwrap,
        json: config::JsonConverter,
    ) -> Result<Box<[(String, HeaderPlan)]>, PlanError> {
        let columns = &self.schemas.value_columns;
        let fields = self.schemas.value.fields();
        let rules = &self.config.column_rules;
        let (numeric, defaults) = (json.decimal_numeric, json.replace_null_with_default);
        let mut plans = Vec::with_capacity(unwrap.headers.len());
        for Added { name, origin } in &unwrap.headers {
            let (schema, lead, plan) = match origin {
                Origin::Leaf(leaf) => (leaf.schema(), 0, AddedPlan::Leaf(Box::default(), *leaf)),
                Origin::Column { old, name } => {
                    let mut places = columns.iter().zip(fields);
                    let Some((&cell, field)) = places.find(|(_, place)| place.name == *name) else {
                        continue;
                    };
                    let field = transform::as_added(field);
                    let plan = self.column::<Json>(cell, &field, 0, rules, numeric, defaults)?;
                    let Some(plan) = plan else { continue };
                    let lead = field_lead(&field.name, 0);
                    let absent = format!("{lead}null").into_bytes().into_boxed_slice();
                    let plan = AddedPlan::Column {
                        old: *old,
                        plan: Box::new(plan),
                        absent,
                    };
                    (field.schema, lead.len(), plan)
                }
            };
            let (head, tail) = json_frame(&schema, json);
            let plan = HeaderPlan::Json {
                head: head.into_boxed_slice(),
                tail,
                lead,
                plan,
            };
            plans.push((name.clone(), plan));
        }
        Ok(plans.into_boxed_slice())
    }

    /// What a transform tells in headers, less fields that the table has not.
    fn headers(&self, unwrap: &Unwrap) -> Result<Box<[(String, HeaderPlan)]>, PlanError> {
        if let Converter::Json(json) = &self.config.header_converter {
            return self.json_headers(unwrap, *json);
        }
        let columns = &self.schemas.value_columns;
        let fields = self.schemas.value.fields();
        let mut plans = Vec::with_capacity(unwrap.headers.len());
        for Added { name, origin } in &unwrap.headers {
            let (old, field) = match origin {
                Origin::Leaf(leaf) => {
                    plans.push((name.clone(), HeaderPlan::Leaf(*leaf)));
                    continue;
                }
                Origin::Column { old, name } => (*old, name),
            };
            let mut places = columns.iter().zip(fields);
            let Some((&cell, field)) = places.find(|(_, place)| place.name == *field) else {
                continue;
            };
            let rules = &self.config.column_rules;
            if let Some(plan) = self.column::<Text>(cell, field, 0, rules, true, false)? {
                // Alone, a text has no quotes.
                let put: Put = match field.schema.kind {
                    Kind::String => |step, text, out| step.text::<Text>(text, out),
                    _ => |step, text, out| step.text::<Header>(text, out),
                };
                let step = plan.step;
                let plan = HeaderPlan::Column {
                    old,
                    cell,
                    step,
                    put,
                };
                plans.push((name.clone(), plan));
            }
        }
        Ok(plans.into_boxed_slice())
    }

    /// Compiles a struct of columns, each under its field's schema.
    fn part<F: Form>(
        &self,
        fields: &[Field],
        columns: &[usize],
        rules: &[ColumnRule],
        frame: Frame,
    ) -> Result<Part, PlanError> {
        let Frame {
            head,
            tail,
            numeric,
            defaults,
        } = frame;
        let columns: Result<Vec<Option<ColumnPlan>>, PlanError> = columns
            .iter()
            .zip(fields)
            .enumerate()
            .map(|(index, (&cell, field))| {
                self.column::<F>(cell, field, index, rules, numeric, defaults)
            })
            .collect();
        let columns: Box<[ColumnPlan]> = columns?.into_iter().flatten().collect();
        let close: &[u8] = match (F::WORDLESS, columns.is_empty()) {
            (true, _) => b"",
            (false, true) if F::OMITS_NULLS => b"Struct{}",
            (false, false) => b"}",
            (false, true) => b"{}",
        };
        Ok(Part {
            head: head.into_boxed_slice(),
            columns,
            added: Box::default(),
            close: Box::from(close),
            tail,
            old_is_whole: self.table.replica_identity == ReplicaIdentity::Full,
        })
    }

    /// Compiles one column as the struct's field at `index`; none: its type has no place there.
    fn column<F: Form>(
        &self,
        cell: usize,
        field: &Field,
        index: usize,
        rules: &[ColumnRule],
        numeric: bool,
        defaults: bool,
    ) -> Result<Option<ColumnPlan>, PlanError> {
        let settings = Settings {
            config: self.config,
            numeric,
            phase: self.schemas.phase,
        };
        let failure = self.config.conversion_failure;
        let column = &self.table.columns[cell];
        let Some(mapped) = mapping::map(column, settings) else {
            return Ok(None);
        };
        let mapped = transform::apply(self.table, column, rules, settings, mapped)?;
        let lead = field_lead(&field.name, index);
        let constant = |value: &Value| {
            piece(|out| {
                F::field(out, &lead);
                value.put::<F>(&field.schema, out, numeric, defaults);
            })
        };
        // A geometry's schema is optional where its column is not.
        let fills = column.not_null && matches!(mapped.step, Step::Geometry);
        let null = match field.schema.optional && !fills {
            true => &Value::Null,
            false => &mapped.fallback,
        };
        // A mask hides that there is nothing, too.
        let masked = match &mapped.step {
            Step::Masked(stars) => Some(Value::String(stars.to_string())),
            _ => None,
        };
        let never = matches!(mapped.step, Step::Null);
        let null = masked.as_ref().unwrap_or(null);
        let unavailable = masked
            .as_ref()
            .or_else(|| mapped.unavailable.as_ref().filter(|_| !never))
            .unwrap_or(null);
        Ok(Some(ColumnPlan {
            cell,
            lead: match never {
                true => constant(null),
                false => piece(|out| {
                    F::field(out, &lead);
                    put_branch::<F>(&field.schema, false, out);
                }),
            },
            null: constant(null),
            unavailable: constant(unavailable),
            nulls: field.schema.optional && failure != FailureMode::Fail,
            warns: failure == FailureMode::Warn,
            table: format!("{}.{}", self.table.schema, self.table.name),
            step: mapped.step,
            name: column.name.clone(),
            pg_type: column.pg_type.name.clone(),
        }))
    }
}

impl Part {
    fn memory(&self) -> usize {
        let columns = self.columns.iter().map(|column| {
            let ColumnPlan {
                lead,
                null,
                unavailable,
                table,
                name,
                pg_type,
                ..
            } = column;
            let bytes = [lead.len(), null.len(), unavailable.len()]
                .iter()
                .sum::<usize>();
            let names = table.len() + name.len() + pg_type.len();
            size_of::<ColumnPlan>() + bytes + names + 6 * BLOCK_BYTES
        });
        self.head.len() + BLOCK_BYTES + columns.sum::<usize>()
    }

    /// Appends head, columns and tail.
    fn put_alone<F: Form>(&self, row: Row<'_>, out: &mut Vec<u8>) -> Result<(), Misfit> {
        let start = out.len();
        out.extend_from_slice(&self.head);
        self.put_columns::<F>(row, None, out)?;
        out.extend_from_slice(&self.close);
        out.extend_from_slice(self.tail);
        F::finish(out, start);
        Ok(())
    }

    /// Connect's own dates and times, which Java has as objects: headers show these.
    fn show_java_dates(&mut self, fields: &[Field]) {
        for (column, field) in self.columns.iter_mut().zip(fields) {
            let name = field.schema.name.as_deref().unwrap_or_default();
            let kind = name.strip_prefix("org.apache.kafka.connect.data.");
            if let Some(kind @ ("Date" | "Time" | "Timestamp")) = kind {
                column.step = Step::JavaDate {
                    days: kind == "Date",
                    step: Box::new(std::mem::replace(&mut column.step, Step::Null)),
                };
            }
        }
    }

    /// What the columns of a row take; `old` as with [`Self::put_columns`].
    fn extent(&self, row: Row<'_>, old: Option<Row<'_>>, manner: Manner) -> Extent {
        let columns = self.columns.iter().map(|column| {
            let mut cell = row.cell(column.cell);
            if self.old_is_whole && matches!(cell, Cell::Unchanged) {
                cell = old.map_or(cell, |old| old.cell(column.cell));
            }
            column.extent(cell, manner)
        });
        columns.fold(Extent::of(self.close.len()), Extent::and)
    }

    /// Appends the struct of a row's columns; `old` may have what `row` has not.
    fn put_columns<F: Form>(
        &self,
        row: Row<'_>,
        old: Option<Row<'_>>,
        out: &mut Vec<u8>,
    ) -> Result<(), Misfit> {
        for column in &self.columns {
            let mut cell = row.cell(column.cell);
            if self.old_is_whole && matches!(cell, Cell::Unchanged) {
                cell = old.map_or(cell, |old| old.cell(column.cell));
            }
            column.put::<F>(cell, out)?;
        }
        Ok(())
    }
}

impl ColumnPlan {
    /// Whether other bytes come out the same: a mask, a cut, fewer digits, no form at all.
    fn shows_same(&self, old: Cell<'_>, new: Cell<'_>, scratch: &mut Vec<u8>) -> bool {
        if let (Cell::Text(old) | Cell::Binary(old), Step::Text | Step::Bytea(_)) =
            (old, &self.step)
            && old.len() > LONG
        {
            // What is as long as this is not made twice to see that it differs.
            return false;
        }
        scratch.clear();
        let Some(old) = self.show(old, scratch) else {
            return false;
        };
        let middle = scratch.len();
        let new = self.show(new, scratch);
        let (before, after) = scratch.split_at(middle);
        new == Some(old) && before == after
    }

    /// Appends a value in a form of which only equality matters; whether there is one. None: nobody
    /// can tell.
    fn show(&self, cell: Cell<'_>, out: &mut Vec<u8>) -> Option<bool> {
        let start = out.len();
        let done = match cell {
            Cell::Null => return Some(false),
            Cell::Unchanged => return None,
            Cell::Text(text) => self.step.text::<Json>(text, out),
            Cell::Binary(bytes) => self.step.binary::<Json>(bytes, out),
        };
        match done {
            Ok(()) => Some(true),
            Err(Fault::Malformed(_)) => None,
            Err(_) => {
                out.truncate(start);
                self.nulls.then_some(false)
            }
        }
    }

    /// What the field takes.
    fn extent(&self, cell: Cell<'_>, manner: Manner) -> Extent {
        // Where a value has no form, null is written in its place.
        let constant = self.lead.len() + self.null.len() + self.unavailable.len();
        self.step.extent(cell, manner).and(Extent::of(constant))
    }

    /// Appends the field.
    #[inline]
    fn put<F: Form>(&self, cell: Cell<'_>, out: &mut Vec<u8>) -> Result<(), Misfit> {
        let start = out.len();
        let (done, value) = match cell {
            Cell::Text(text) => {
                put_lead(out, &self.lead);
                (self.step.text::<F>(text, out), text)
            }
            Cell::Null => {
                put_lead(out, &self.null);
                return Ok(());
            }
            Cell::Unchanged => {
                out.extend_from_slice(&self.unavailable);
                return Ok(());
            }
            Cell::Binary(bytes) => {
                put_lead(out, &self.lead);
                (self.step.binary::<F>(bytes, out), bytes)
            }
        };
        match done {
            Ok(()) => Ok(()),
            Err(fault) => self.misfit(fault, value, start, out),
        }
    }

    /// A value without a form becomes null where it may; all else is an error.
    #[cold]
    fn misfit(
        &self,
        fault: Fault,
        value: &[u8],
        start: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Misfit> {
        let begins: String = String::from_utf8_lossy(value)
            .chars()
            .take(BEGINS_MAX)
            .collect();
        let expected = fault.expected();
        if !matches!(fault, Fault::Malformed(_)) && self.nulls {
            if self.warns {
                let Self {
                    table,
                    name: column,
                    pg_type,
                    ..
                } = self;
                tracing::warn!(
                    table,
                    column,
                    pg_type,
                    value = begins,
                    expected,
                    "written as null"
                );
            }
            out.truncate(start);
            out.extend_from_slice(&self.null);
            return Ok(());
        }
        Err(Misfit {
            column: self.name.clone(),
            pg_type: self.pg_type.clone(),
            begins,
            expected,
        })
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported { what } => write!(f, "{what} is not supported"),
            Self::SameName { table, field } => write!(
                f,
                "two columns of {table} become the field {field}: exclude one of them, or set \
                 field.name.adjustment.mode=avro_unicode"
            ),
        }
    }
}

impl std::error::Error for PlanError {}

impl fmt::Display for ColumnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            table,
            column,
            pg_type,
            begins,
            expected,
        } = self;
        write!(
            f,
            "{table}.{column} ({pg_type}): expected {expected}, found {begins:?}"
        )
    }
}

impl std::error::Error for ColumnError {}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::envelope::{SnapshotMark, TransactionBlock, source_value};
    use super::*;
    use crate::capture::relations::{Column, PgType, TypeKind};
    use crate::capture::row::RowIndex;
    use crate::config::{Config, Properties};

    /// Types, their typmods, and texts that they print.
    const TYPES: &[(&str, i32, &str)] = &[
        ("bool", -1, "t|f"),
        ("int2", -1, "-?[1-9][0-9]{0,3}"),
        ("int4", -1, "-?[1-9][0-9]{0,8}"),
        ("int8", -1, "-?[1-9][0-9]{0,17}"),
        (
            "float4",
            -1,
            "-?[0-9]{1,3}\\.[0-9]{1,2}|NaN|Infinity|1e\\+20",
        ),
        ("float8", -1, "-?[0-9]{1,9}\\.[0-9]{1,6}|-Infinity|1e-05"),
        (
            "numeric",
            (10 << 16 | 2) + 4,
            "-?[1-9][0-9]{0,7}\\.[0-9]{2}|NaN",
        ),
        (
            "numeric",
            (40 << 16 | 10) + 4,
            "-?[1-9][0-9]{0,29}\\.[0-9]{10}",
        ),
        (
            "numeric",
            -1,
            "-?[1-9][0-9]{0,50}(\\.[0-9]{1,40})?|Infinity",
        ),
        ("text", -1, "[ -~é日😀\"\\\\\n]{0,40}"),
        ("varchar", 14, "[a-zé\"]{0,10}"),
        (
            "uuid",
            -1,
            "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        ),
        ("jsonb", -1, "\\{\"a\": [0-9]{1,3}\\}"),
        ("bytea", -1, "\\\\x([0-9a-f]{2}){0,90}"),
        ("bit", 12, "[01]{12}"),
        (
            "date",
            -1,
            "[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|2[0-8])|infinity",
        ),
        (
            "time",
            -1,
            "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?",
        ),
        (
            "timestamp",
            -1,
            "[12][0-9]{3}-0[1-9]-[12][0-9] 1[0-9]:[0-5][0-9]:00(\\.[0-9]{1,6})?",
        ),
        (
            "timestamp",
            3,
            "[12][0-9]{3}-0[1-9]-[12][0-9] 1[0-9]:[0-5][0-9]:00|-infinity",
        ),
        (
            "timestamptz",
            -1,
            "[12][0-9]{3}-0[1-9]-[12][0-9] 1[0-9]:00:0[0-9](\\.[0-9]{1,6})?[+-]0[0-9]",
        ),
        (
            "interval",
            -1,
            "([1-9] years )?([1-9] mons )?-?0[0-9]:[0-5][0-9]:00(\\.[1-9]{1,6})?",
        ),
        ("_int4", -1, "\\{([1-9][0-9]{0,4},){0,80}(NULL|7)\\}|\\{\\}"),
        (
            "_text",
            -1,
            "\\{(a|NULL|\"b c\"|\"q\\\\\\\\\"|\"x\\\\\"y\"|é)(,(z|\"\"|\"NULL\")){0,3}\\}",
        ),
        (
            "_numeric",
            (6 << 16 | 2) + 4,
            "\\{[1-9][0-9]?\\.[0-9]{2}(,NaN)?\\}",
        ),
    ];

    const MODES: &[&str] = &[
        "",
        "decimal.handling.mode=double\ntime.precision.mode=connect\nbinary.handling.mode=base64",
        "decimal.handling.mode=string\ntime.precision.mode=isostring\nbinary.handling.mode=hex\n\
         interval.handling.mode=string",
        "time.precision.mode=nanoseconds\nbinary.handling.mode=base64-url-safe",
        "time.precision.mode=microseconds\nvalue.converter.decimal.format=NUMERIC\n\
         key.converter.decimal.format=NUMERIC",
        "value.converter.replace.null.with.default=false\npenstock.compat=debezium",
    ];

    fn config(mode: &str, converter: &str, schemas: bool) -> config::Encode {
        let connector = format!(
            "name=a\nconnector.class=io.debezium.connector.postgresql.PostgresConnector\n\
             topic.prefix=srv\ndatabase.hostname=h\ndatabase.user=u\ndatabase.dbname=d\n\
             plugin.name=pgoutput\nkey.converter={converter}\nvalue.converter={converter}\n\
             key.converter.schemas.enable={schemas}\nvalue.converter.schemas.enable={schemas}\n\
             key.converter.schema.registry.url=http://r\n\
             value.converter.schema.registry.url=http://r\n{mode}\n"
        );
        let worker = Properties::parse(b"bootstrap.servers=b:9092\n").unwrap();
        let connector = Properties::parse(connector.as_bytes()).unwrap();
        Config::load(&worker, &connector).unwrap().0.encode
    }

    fn base(name: &str) -> Arc<PgType> {
        let kind = match name.strip_prefix('_') {
            Some(element) => TypeKind::Array {
                element: base(element),
            },
            None => TypeKind::Base,
        };
        let (schema, name) = ("pg_catalog".to_owned(), name.to_owned());
        Arc::new(PgType {
            oid: 1,
            schema,
            name,
            kind,
        })
    }

    /// A table of all types, nullable where `nullable` says so, with defaults on some.
    fn table(nullable: u32) -> Table {
        let column = |(at, (name, typmod, _)): (usize, &(&str, i32, &str))| Column {
            name: format!("c{at}_{name}"),
            pg_type: base(name),
            typmod: *typmod,
            not_null: nullable >> at & 1 == 0,
            default: match *name {
                "int4" => Some("7".to_owned()),
                "text" => Some("'it''s'::text".to_owned()),
                "numeric" => Some("1.5".to_owned()),
                "timestamptz" => Some("now()".to_owned()),
                _ => None,
            },
            identity: at < 3,
        };
        Table {
            oid: 1,
            schema: "s".to_owned(),
            name: "t".to_owned(),
            columns: TYPES.iter().enumerate().map(column).collect(),
            key: vec![2, 1],
            replica_identity: ReplicaIdentity::Default,
        }
    }

    /// The value of a row, as the slow way has it.
    fn plain_row(table: &Table, texts: &[Option<String>], config: &config::Encode) -> Value {
        let settings = Settings {
            config,
            numeric: false,
            phase: Phase::Stream,
        };
        let value = |(column, text): (&Column, &Option<String>)| {
            let mapped = mapping::map(column, settings).unwrap();
            let null = match mapped.schema.optional {
                true => Value::Null,
                false => mapped.fallback,
            };
            match text.as_ref().map(|text| mapped.step.value(text.as_bytes())) {
                Some(Ok(value)) => value,
                Some(Err(_)) | None => null,
            }
        };
        Value::Struct(table.columns.iter().zip(texts).map(value).collect())
    }

    fn texts() -> impl Strategy<Value = Vec<Option<String>>> {
        TYPES
            .iter()
            .map(|(_, _, pattern)| {
                let text = proptest::string::string_regex(pattern).unwrap();
                proptest::option::weighted(0.8, text).boxed()
            })
            .collect::<Vec<_>>()
    }

    fn index(texts: &[Option<String>]) -> (Vec<u8>, RowIndex) {
        let (mut bytes, mut index) = (Vec::new(), RowIndex::default());
        for text in texts {
            match text {
                Some(text) => {
                    let start = u32::try_from(bytes.len()).unwrap();
                    bytes.extend_from_slice(text.as_bytes());
                    index.push_text(start, u32::try_from(bytes.len()).unwrap());
                }
                None => index.push_null(),
            }
        }
        (bytes, index)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

        #[test]
        fn a_plan_agrees_with_the_plain_way(
            nullable: u32,
            before in proptest::option::of(texts()),
            after in proptest::option::of(texts()),
            mode in 0..MODES.len(),
            lsn: Option<u32>,
            total_order: Option<u16>,
            now_ns in 0..i64::MAX,
            avro: bool,
            embed: bool,
        ) {
            let (json, converter) = (
                "org.apache.kafka.connect.json.JsonConverter",
                "io.confluent.connect.avro.AvroConverter",
            );
            let config = config(MODES[mode], if avro { converter } else { json }, embed);
            let table = table(nullable);
            let source = SourceBlock {
                ts_us: now_ns / 1777,
                snapshot: SnapshotMark::Last,
                last_commit_lsn: lsn.map(u64::from),
                lsn: Some(now_ns.unsigned_abs()),
                tx_id: lsn.map(i64::from),
                xmin: None,
                origin: lsn.map(|_| "node \"a\""),
                origin_lsn: lsn.map(u64::from),
                transaction: total_order.map(|total_order| TransactionBlock {
                    xid: 4_000_000_000,
                    lsn: now_ns.unsigned_abs(),
                    total_order: total_order.into(),
                    collection_order: 1,
                }),
            };
            let transaction = total_order.map_or(Value::Null, |total_order| {
                Value::Struct(vec![
                    Value::String(format!("4000000000:{now_ns}")),
                    Value::Integer(total_order.into()),
                    Value::Integer(1),
                ])
            });
            let row = |texts: &Option<Vec<Option<String>>>| {
                texts.as_ref().map_or(Value::Null, |texts| plain_row(&table, texts, &config))
            };
            let envelope = Value::Struct(vec![
                row(&before),
                row(&after),
                source_value(&config, "d", "s", "t", &source),
                transaction,
                Value::String("u".to_owned()),
                Value::Integer(now_ns / 1_000_000),
                Value::Integer(now_ns / 1000),
                Value::Integer(now_ns),
            ]);
            let schemas = Schemas::derive(&table, &Filter::All, &config).unwrap();
            let ids = SchemaIds { key: Some(1), value: 70_000 };
            let encoder = RowEncoder::compile(&table, &schemas, &config, "d", ids).unwrap();

            let before_index = before.as_deref().map(index);
            let after_index = after.as_deref().map(index);
            let event = Event {
                op: Operation::Update,
                before: before_index.as_ref().map(|(bytes, index)| index.row(bytes)),
                after: after_index.as_ref().map(|(bytes, index)| index.row(bytes)),
                source,
                now_ns,
            };
            let mut out = b"before".to_vec();
            let done = encoder.value(&event, &mut out);
            let settings = Settings { config: &config, numeric: false, phase: Phase::Stream };
            let unwritable = |texts: &Option<Vec<Option<String>>>| {
                let cells = texts.iter().flat_map(|texts| table.columns.iter().zip(texts));
                cells.filter(|(column, _)| column.not_null).any(|(column, text)| {
                    let mapped = mapping::map(column, settings).unwrap();
                    let value = text.as_ref().map(|text| mapped.step.value(text.as_bytes()));
                    value.is_some_and(|value| value.is_err())
                })
            };
            if unwritable(&before) || unwritable(&after) {
                prop_assert!(done.is_err());
                prop_assert_eq!(out, b"before".to_vec());
                return Ok(());
            }
            prop_assert_eq!(done, Ok(true));
            let mut expected = b"before".to_vec();
            super::super::envelope::Writer::compile(&schemas.value, &config.value_converter, 70_000)
                .unwrap()
                .put(&envelope, &mut expected);
            prop_assert!(
                out == expected,
                "{}\n{}",
                String::from_utf8_lossy(&out),
                String::from_utf8_lossy(&expected)
            );
        }
    }
}
