//! What the configuration does to columns beside their type (masks, hashes, cuts, the source's type
//! told in the schema), and to whole records: `ExtractNewRecordState`. Compiled into the plan; keys
//! are never touched.
//!
//! Source: the Debezium PostgreSQL connector 3.6.3, observed.

use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512, Sha512_224, Sha512_256};

use super::form::put_hex;
use super::mapping::{self, Mapped, Settings};
use super::plan::PlanError;
use super::schema::{DECIMAL, Field, Kind, Schema, Value};
use super::step::Step;
use crate::capture::relations::{Column, PgType, Table, TypeKind};
use crate::config::{ColumnAction, ColumnRule, Operation, Transform};

/// Java's name of a length that is not known.
const UNKNOWN_LENGTH: i32 = i32::MAX;

/// A digest of a salt and a value, in hex.
#[derive(Debug)]
pub(crate) struct Hash {
    algorithm: Algorithm,
    salt: Vec<u8>,
    /// Of the plain UTF-8; else of Java's serialised form.
    plain: bool,
    /// Hex digits that the column's declared length leaves.
    digits: usize,
}

#[derive(Debug, Clone, Copy)]
enum Algorithm {
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Sha512On224,
    Sha512On256,
}

impl Algorithm {
    /// By Java's name of it.
    fn named(name: &str) -> Option<Self> {
        match name.to_ascii_uppercase().as_str() {
            "MD5" => Some(Self::Md5),
            "SHA" | "SHA1" | "SHA-1" => Some(Self::Sha1),
            "SHA-512/224" => Some(Self::Sha512On224),
            "SHA-512/256" => Some(Self::Sha512On256),
            "SHA-224" => Some(Self::Sha224),
            "SHA-256" => Some(Self::Sha256),
            "SHA-384" => Some(Self::Sha384),
            "SHA-512" => Some(Self::Sha512),
            _ => None,
        }
    }
}

impl Hash {
    /// Appends the hash of a value, cut to the column's length.
    pub(crate) fn put(&self, value: &[u8], out: &mut Vec<u8>) {
        let mark = out.len();
        match self.algorithm {
            Algorithm::Md5 => self.put_digest::<Md5>(value, out),
            Algorithm::Sha1 => self.put_digest::<Sha1>(value, out),
            Algorithm::Sha512On224 => self.put_digest::<Sha512_224>(value, out),
            Algorithm::Sha512On256 => self.put_digest::<Sha512_256>(value, out),
            Algorithm::Sha224 => self.put_digest::<Sha224>(value, out),
            Algorithm::Sha256 => self.put_digest::<Sha256>(value, out),
            Algorithm::Sha384 => self.put_digest::<Sha384>(value, out),
            Algorithm::Sha512 => self.put_digest::<Sha512>(value, out),
        }
        out.truncate(mark.saturating_add(self.digits));
    }

    fn put_digest<D: Digest>(&self, value: &[u8], out: &mut Vec<u8>) {
        let mut digest = D::new();
        digest.update(&self.salt);
        if !self.plain {
            // A Java string's serialised form: stream header, tag, length.
            digest.update([0xac, 0xed, 0x00, 0x05]);
            let length = modified_length(value);
            match u16::try_from(length) {
                Ok(short) => {
                    digest.update([0x74]);
                    digest.update(short.to_be_bytes());
                }
                Err(_) => {
                    digest.update([0x7c]);
                    digest.update(u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes());
                }
            }
            update_modified(&mut digest, value);
        } else {
            digest.update(value);
        }
        put_hex(out, &digest.finalize());
    }
}

/// Length in Java's modified UTF-8, where characters beyond the BMP are two surrogates of three
/// bytes each. NUL cannot occur.
fn modified_length(value: &[u8]) -> usize {
    value.len() + 2 * value.iter().filter(|&&byte| byte >= 0xf0).count()
}

fn update_modified(digest: &mut impl Digest, value: &[u8]) {
    let text = String::from_utf8_lossy(value);
    let mut rest: &str = &text;
    while let Some(at) = rest.find(|letter: char| letter.len_utf8() == 4) {
        digest.update(&rest.as_bytes()[..at]);
        let mut letters = rest[at..].chars();
        let wide = letters.next().unwrap_or_default();
        for unit in wide.encode_utf16(&mut [0; 2]) {
            let [high, low] = unit.to_be_bytes();
            digest.update([
                0xe0 | high >> 4,
                0x80 | (high & 0x0f) << 2 | low >> 6,
                0x80 | low & 0x3f,
            ]);
        }
        rest = letters.as_str();
    }
    digest.update(rest.as_bytes());
}

/// The first `units` UTF-16 units of a text; a character that would be cut in two is left out.
pub(crate) fn cut(text: &[u8], units: usize) -> &[u8] {
    // A text has never more units than bytes.
    if text.len() <= units {
        return text;
    }
    let mut left = units;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let (bytes, cost) = match byte {
            0..=0x7f => (1, 1),
            0x80..=0xdf => (2, 1),
            0xe0..=0xef => (3, 1),
            _ => (4, 2),
        };
        if cost > left {
            break;
        }
        left -= cost;
        at += bytes;
    }
    &text[..at.min(text.len())]
}

/// The same column with the one rule that applies to it.
///
/// Errors: a digest that we do not have.
pub(crate) fn apply(
    table: &Table,
    column: &Column,
    rules: &[ColumnRule],
    settings: Settings<'_>,
    mut mapped: Mapped,
) -> Result<Mapped, PlanError> {
    let (schema, name) = (&table.schema, &table.name);
    let type_name = match settings.as_jdbc() {
        true => jdbc_type_name(column),
        false => column.pg_type.name.clone(),
    };
    let by_name = format!("{schema}.{name}.{}", column.name);
    let by_type = format!("{schema}.{name}.{type_name}");
    let matching = rules
        .iter()
        .filter(|rule| match rule.action {
            ColumnAction::PropagateDatatype => rule.columns.accepts(&by_type),
            _ => rule.columns.accepts(&by_name),
        })
        .min_by_key(|rule| precedence(&rule.action));
    let Some(rule) = matching else {
        return Ok(mapped);
    };
    match &rule.action {
        ColumnAction::Truncate(length) => {
            let units = usize::try_from(*length).unwrap_or(usize::MAX);
            let (width, _) = length_and_scale(&column.pg_type, column.typmod);
            if usize::try_from(width).is_ok_and(|width| width <= units) {
                return Ok(mapped);
            }
            mapped.schema = mapped.schema.with("truncateLength", length.to_string());
            // Whatever becomes a string or bytes: an enum, a time in ISO form, a uuid.
            let is_cut = match mapped.schema.kind {
                Kind::String => true,
                Kind::Bytes => mapped.schema.name.as_deref() != Some(DECIMAL),
                _ => false,
            };
            if is_cut {
                mapped.unavailable = mapped.unavailable.map(|value| cut_value(value, units));
                mapped.fallback = cut_value(mapped.fallback, units);
                mapped.step = Step::Cut {
                    units,
                    step: Box::new(mapped.step),
                };
            }
        }
        ColumnAction::Mask(length) => {
            mapped.schema = mapped.schema.with("masked", "true");
            if is_character(column) {
                let stars = "*".repeat(usize::try_from(*length).unwrap_or(0));
                mapped.step = Step::Masked(stars.into_boxed_str());
            }
        }
        ColumnAction::Hash {
            algorithm,
            salt,
            v2,
        } => {
            mapped.schema = mapped.schema.with("masked", "true");
            let Some(algorithm) = Algorithm::named(algorithm) else {
                let what = format!("column.mask.hash with the digest {algorithm}");
                return Err(PlanError::Unsupported { what });
            };
            if is_character(column) {
                let hash = Hash {
                    algorithm,
                    salt: salt.clone().into_bytes(),
                    plain: *v2,
                    digits: declared_length(column).unwrap_or(usize::MAX),
                };
                for stand_in in mapped.unavailable.iter_mut().chain([&mut mapped.fallback]) {
                    if let Value::String(text) = stand_in {
                        let mut hex = Vec::new();
                        hash.put(text.as_bytes(), &mut hex);
                        *text = String::from_utf8_lossy(&hex).into_owned();
                    }
                }
                // `name` in Debezium's stream.
                if !matches!(mapped.step, Step::Null) {
                    mapped.step = Step::Hashed(Box::new(hash));
                }
            }
        }
        ColumnAction::PropagateType | ColumnAction::PropagateDatatype => {
            let unlimited = type_name == "numeric" && column.typmod < 4;
            let (length, scale) = match length_and_scale(&column.pg_type, column.typmod) {
                _ if settings.as_jdbc() && unlimited => (0, None),
                (length, scale) => (length, Some(scale)),
            };
            const OF: &str = "__debezium.source.column";
            let mut schema = mapped
                .schema
                .with(&format!("{OF}.type"), type_name.to_uppercase())
                .with(&format!("{OF}.length"), length.to_string());
            if let Some(scale) = scale {
                schema = schema.with(&format!("{OF}.scale"), scale.to_string());
            }
            mapped.schema = schema.with(&format!("{OF}.name"), &*column.name);
        }
    }
    Ok(mapped)
}

fn precedence(action: &ColumnAction) -> u8 {
    match action {
        ColumnAction::Truncate(_) => 0,
        ColumnAction::Mask(_) => 1,
        ColumnAction::PropagateType => 2,
        ColumnAction::PropagateDatatype => 3,
        ColumnAction::Hash { .. } => 4,
    }
}

/// Types that Java's database interface calls CHAR or VARCHAR, and domains over them: it calls those
/// DISTINCT, so that Debezium's snapshot shows what it masks in the stream.
fn is_character(column: &Column) -> bool {
    let (pg_type, ..) = mapping::resolve(&column.pg_type, column.typmod);
    matches!(pg_type.kind, TypeKind::Enum { .. })
        || pg_type.kind == TypeKind::Base
            && ["bpchar", "varchar", "text", "char", "name"].contains(&pg_type.name.as_str())
}

/// `varchar(n)`'s and `char(n)`'s n; of a `"char"`, 1.
fn declared_length(column: &Column) -> Option<usize> {
    let (pg_type, typmod, _) = mapping::resolve(&column.pg_type, column.typmod);
    if pg_type.name == "char" {
        return Some(1);
    }
    let limited = ["bpchar", "varchar"].contains(&pg_type.name.as_str());
    (limited && typmod > 4)
        .then(|| usize::try_from(typmod - 4).ok())
        .flatten()
}

/// The type's name as PostgreSQL's JDBC driver reports it of a table's columns: with its schema
/// where that is not searched, and what a sequence makes of an integer.
fn jdbc_type_name(column: &Column) -> String {
    let PgType { schema, name, .. } = &*column.pg_type;
    if !["pg_catalog", "public"].contains(&schema.as_str()) {
        return format!("\"{schema}\".\"{name}\"");
    }
    let counts = |default: &String| default.contains("nextval(");
    match (name.as_str(), column.default.as_ref().is_some_and(counts)) {
        ("int2", true) => "smallserial",
        ("int4", true) => "serial",
        ("int8", true) => "bigserial",
        (name, _) => name,
    }
    .to_owned()
}

fn cut_value(value: Value, units: usize) -> Value {
    match value {
        Value::String(text) => {
            Value::String(String::from_utf8_lossy(cut(text.as_bytes(), units)).into_owned())
        }
        Value::Bytes(mut bytes) => {
            bytes.truncate(units);
            Value::Bytes(bytes)
        }
        other => other,
    }
}

/// Length and scale as PostgreSQL's JDBC driver reports them.
fn length_and_scale(pg_type: &PgType, typmod: i32) -> (i32, i32) {
    let (pg_type, typmod, _) = mapping::resolve(pg_type, typmod);
    let (pg_type, typmod) = match &pg_type.kind {
        TypeKind::Array { element } => (&**element, typmod),
        _ => (pg_type, typmod),
    };
    let of = |given: i32, none: i32| if typmod < 0 { none } else { given };
    let digits = of(typmod, 6);
    // Width of the fraction as it is printed, point included.
    let fraction = match typmod {
        ..0 => 7,
        0 => 0,
        1 => 3,
        digits => digits + 1,
    };
    match pg_type.name.as_str() {
        "int2" => (5, 0),
        "int4" | "oid" => (10, 0),
        "int8" => (19, 0),
        "float4" => (8, 8),
        "float8" => (17, 17),
        "bool" | "char" => (1, 0),
        "numeric" => match mapping::numeric_parameters(typmod) {
            // What is left of a typmod of -1 when it is taken apart.
            None => (131_089, 0),
            Some((precision, scale)) => (precision, scale & 0x7ff),
        },
        "bpchar" | "varchar" => (of(typmod - 4, UNKNOWN_LENGTH), 0),
        "bit" => (typmod, 0),
        "varbit" => (of(typmod, UNKNOWN_LENGTH), 0),
        "date" => (13, 0),
        "time" => (8 + fraction, digits),
        "timetz" => (14 + fraction, digits),
        "timestamp" => (22 + fraction, digits),
        "timestamptz" => (28 + fraction, digits),
        "interval" => (49, of(typmod & 0xffff, 6)),
        _ => (UNKNOWN_LENGTH, 0),
    }
}

/// `io.debezium.transforms.ExtractNewRecordState`: the row instead of the envelope.
#[derive(Debug, Clone)]
pub(crate) struct Unwrap {
    deletes: Deletes,
    /// What follows the row's own fields.
    pub(crate) fields: Vec<Added>,
    /// What follows the record's own headers.
    pub(crate) headers: Vec<Added>,
    /// The row's field that names the topic, where it is not null.
    pub(crate) route: Option<String>,
    /// `replace.null.with.default`
    replaces_nulls: bool,
    /// `transforms.<alias>.`
    pub(crate) prefix: String,
}

/// A row's field where a transform adds it: its default stays behind.
pub(crate) fn as_added(field: &Field) -> Field {
    Field {
        name: field.name.clone(),
        schema: Schema {
            default: None,
            ..field.schema.clone().optional()
        },
    }
}

/// `delete.tombstone.handling.mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deletes {
    /// The delete is left out, and its tombstone.
    Drop,
    /// The delete becomes the tombstone: with the mode's default name, in Debezium, a null that has
    /// a schema.
    Tombstone { schema: bool },
    /// The old row, and no tombstone.
    Rewrite,
    /// The old row, and the tombstone.
    RewriteWithTombstone,
}

/// A field or header made of what an envelope says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Added {
    /// Its name.
    pub(crate) name: String,
    /// What it says.
    pub(crate) origin: Origin,
}

/// What an added field says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Something beside the rows.
    Leaf(Leaf),
    /// A field of the old row, or of the new one.
    Column { old: bool, name: String },
}

/// A leaf of the envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the envelope's own names")]
pub(crate) enum Leaf {
    Deleted,
    Op,
    TsMs,
    TsUs,
    TsNs,
    TransactionId,
    TotalOrder,
    CollectionOrder,
    Version,
    Connector,
    Name,
    SourceTsMs,
    Snapshot,
    Db,
    Sequence,
    SourceTsUs,
    SourceTsNs,
    Schema,
    Table,
    TxId,
    Lsn,
    Xmin,
    Origin,
    OriginLsn,
}

impl Leaf {
    /// `path` is `field` or `struct.field`.
    fn named(path: &str) -> Option<Self> {
        let (place, field) = match path.split_once('.') {
            Some((place, field)) => (Some(place), field),
            None => (None, path),
        };
        let of_envelope = match field {
            "op" => Some(Self::Op),
            "ts_ms" => Some(Self::TsMs),
            "ts_us" => Some(Self::TsUs),
            "ts_ns" => Some(Self::TsNs),
            _ => None,
        };
        let of_transaction = match field {
            "id" => Some(Self::TransactionId),
            "total_order" => Some(Self::TotalOrder),
            "data_collection_order" => Some(Self::CollectionOrder),
            _ => None,
        };
        let of_source = match field {
            "version" => Some(Self::Version),
            "connector" => Some(Self::Connector),
            "name" => Some(Self::Name),
            "ts_ms" => Some(Self::SourceTsMs),
            "snapshot" => Some(Self::Snapshot),
            "db" => Some(Self::Db),
            "sequence" => Some(Self::Sequence),
            "ts_us" => Some(Self::SourceTsUs),
            "ts_ns" => Some(Self::SourceTsNs),
            "schema" => Some(Self::Schema),
            "table" => Some(Self::Table),
            "txId" => Some(Self::TxId),
            "lsn" => Some(Self::Lsn),
            "xmin" => Some(Self::Xmin),
            "origin" => Some(Self::Origin),
            "origin_lsn" => Some(Self::OriginLsn),
            _ => None,
        };
        match place {
            None => of_envelope.or(of_transaction).or(of_source),
            Some("transaction") => of_transaction,
            Some("source") => of_source,
            Some(_) => None,
        }
    }

    /// The leaf's type; optional, whatever it was in its place.
    pub(crate) fn schema(self) -> Schema {
        let kind = match self {
            Self::Deleted
            | Self::Op
            | Self::TransactionId
            | Self::Version
            | Self::Connector
            | Self::Name
            | Self::Snapshot
            | Self::Db
            | Self::Sequence
            | Self::Schema
            | Self::Table
            | Self::Origin => Kind::String,
            _ => Kind::Int64,
        };
        match self {
            // Its default stays behind.
            Self::Snapshot => Schema {
                default: None,
                ..super::envelope::snapshot_schema()
            },
            _ => Schema::new(kind).optional(),
        }
    }
}

impl Unwrap {
    /// Errors: options that we do not have.
    pub(crate) fn of(transform: &Transform) -> Result<Self, PlanError> {
        const KNOWN: &[&str] = &[
            "delete.tombstone.handling.mode",
            "delete.handling.mode",
            "drop.tombstones",
            "add.fields",
            "add.fields.prefix",
            "add.headers",
            "add.headers.prefix",
            "replace.null.with.default",
            "route.by.field",
            // They drop what a header names, and no transform of ours writes one.
            "drop.fields.header.name",
            "drop.fields.from.key",
            "drop.fields.keep.schema.compatible",
        ];
        let unsupported = |option: &str, value: &str| PlanError::Unsupported {
            what: format!("transforms.{}.{option}={value}", transform.alias),
        };
        if let Some((option, value)) = transform
            .options
            .iter()
            .find(|(option, _)| !KNOWN.contains(&option.as_str()))
        {
            return Err(unsupported(option, value));
        }
        let option = |name: &str| transform.options.get(name).map(|value| value.trim());
        let drop_tombstones = option("drop.tombstones") != Some("false");
        let deletes = match (
            option("delete.tombstone.handling.mode"),
            option("delete.handling.mode"),
        ) {
            (None, None) if drop_tombstones => Deletes::Tombstone { schema: true },
            (None, None | Some("drop")) if !drop_tombstones => Deletes::Tombstone { schema: true },
            (None, Some("none")) => Deletes::Tombstone { schema: false },
            (None, Some("rewrite")) if drop_tombstones => Deletes::Rewrite,
            (None, Some("rewrite")) => Deletes::RewriteWithTombstone,
            (Some("drop"), _) | (None, Some("drop") | None) => Deletes::Drop,
            (Some("tombstone"), _) => Deletes::Tombstone { schema: true },
            (Some("delete-to-tombstone"), _) => Deletes::Tombstone { schema: false },
            (Some("rewrite"), _) => Deletes::Rewrite,
            (Some("rewrite-with-tombstone"), _) => Deletes::RewriteWithTombstone,
            (Some(mode), _) => return Err(unsupported("delete.tombstone.handling.mode", mode)),
            (None, Some(mode)) => return Err(unsupported("delete.handling.mode", mode)),
        };
        let added = |list: &str| -> Vec<Added> {
            let prefix = option(&format!("{list}.prefix")).unwrap_or("__");
            let specs = option(list).unwrap_or_default().split(',').map(str::trim);
            specs
                .filter(|spec| !spec.is_empty())
                .filter_map(|spec| {
                    let (path, name) = match spec.split_once(':') {
                        Some((path, name)) => (path, name.to_owned()),
                        None => (spec, spec.replace('.', "_")),
                    };
                    let origin = match path.split_once('.') {
                        Some(("before", column)) => Origin::Column {
                            old: true,
                            name: column.to_owned(),
                        },
                        Some(("after", column)) => Origin::Column {
                            old: false,
                            name: column.to_owned(),
                        },
                        // What no envelope has is left out, as in Debezium.
                        _ => Origin::Leaf(Leaf::named(path)?),
                    };
                    Some(Added {
                        name: format!("{prefix}{name}"),
                        origin,
                    })
                })
                .collect()
        };
        let mut fields = added("add.fields");
        if matches!(deletes, Deletes::Rewrite | Deletes::RewriteWithTombstone) {
            fields.insert(
                0,
                Added {
                    name: "__deleted".to_owned(),
                    origin: Origin::Leaf(Leaf::Deleted),
                },
            );
        }
        Ok(Self {
            deletes,
            fields,
            headers: added("add.headers"),
            route: option("route.by.field")
                .filter(|field| !field.is_empty())
                .map(str::to_owned),
            replaces_nulls: option("replace.null.with.default") != Some("false"),
            prefix: format!("transforms.{}.", transform.alias),
        })
    }

    /// The value's schema, of the row's.
    pub(crate) fn schema(&self, row: Schema) -> Schema {
        let mut fields = row.fields().to_vec();
        fields.extend(self.fields.iter().filter_map(|added| {
            let schema = match &added.origin {
                Origin::Leaf(leaf) => leaf.schema(),
                // A table may be without it.
                Origin::Column { name, .. } => {
                    let mut fields = row.fields().iter();
                    as_added(fields.find(|field| field.name == *name)?).schema
                }
            };
            Some(Field {
                name: added.name.clone(),
                schema,
            })
        }));
        Schema {
            kind: Kind::Struct(fields),
            optional: false,
            ..row
        }
    }

    /// Whether the operation makes a record.
    pub(crate) fn emits(&self, op: Operation) -> bool {
        match op {
            Operation::Delete => self.deletes != Deletes::Drop,
            Operation::Truncate => false,
            _ => true,
        }
    }

    /// Whether the operation's record has no value.
    pub(crate) fn is_null(&self, op: Operation) -> bool {
        op == Operation::Delete && matches!(self.deletes, Deletes::Tombstone { .. })
    }

    /// Whether Debezium's null for a delete has the row's schema: JsonConverter then writes
    /// something.
    pub(crate) fn nulls_have_schema(&self) -> bool {
        self.deletes == Deletes::Tombstone { schema: true }
    }

    /// Whether rows pass Connect's InsertField, which puts defaults in the place of nulls whatever
    /// the converter was told, unless it was told otherwise itself.
    pub(crate) fn puts_defaults(&self) -> bool {
        let rewrites = matches!(
            self.deletes,
            Deletes::Rewrite | Deletes::RewriteWithTombstone
        );
        rewrites && self.replaces_nulls
    }

    /// Whether a delete is followed by a tombstone, where the connector makes them.
    pub(crate) fn tombstones(&self) -> bool {
        self.deletes == Deletes::RewriteWithTombstone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_java_hashes() {
        let mut hash = Hash {
            algorithm: Algorithm::Sha256,
            salt: b"CzQMA0cB5K".to_vec(),
            plain: false,
            digits: usize::MAX,
        };
        let hex = |hash: &Hash, text: &str| {
            let mut out = Vec::new();
            hash.put(text.as_bytes(), &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            hex(&hash, "s2"),
            "e5bf8c21d749e903cf3d572bb8620c26f86d8a4f7456d2d35936df81b0a865c7"
        );
        hash.digits = 20;
        assert_eq!(hex(&hash, "s2"), "e5bf8c21d749e903cf3d");
    }

    #[test]
    fn all_that_an_envelope_has_can_be_added() {
        for (place, fields) in ["", "transaction.", "source."]
            .iter()
            .zip(crate::config::table::METADATA_FIELDS)
        {
            for field in fields {
                assert!(Leaf::named(&format!("{place}{field}")).is_some(), "{field}");
            }
        }
    }

    #[test]
    fn cuts_count_utf16_units() {
        for (text, units, expected) in [
            ("日本語 😀", 3, "日本語"),
            ("a😀b", 2, "a"),
            ("a😀b", 3, "a😀"),
            ("ab", 5, "ab"),
            ("é", 0, ""),
        ] {
            assert_eq!(cut(text.as_bytes(), units), expected.as_bytes(), "{text}");
        }
    }
}
