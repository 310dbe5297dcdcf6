//! The one table: what each PostgreSQL type is in Connect, and what is done to its values.
//!
//! A type is one line of [`TYPES`]. Arrays, domains and enums follow from the type they are of.
//!
//! Source: the Debezium PostgreSQL connector 3.6.3, observed.

use std::sync::Mutex;

use md5::{Digest as _, Md5};

use super::plan::Phase;
use super::schema::{DATE, DECIMAL, Kind, Schema, TIME, TIMESTAMP, Value};
use super::step::{Array, Binary, Bound, Spelled, Step, Unit, point_wkb};
use crate::capture::relations::{Column, PgType, TypeKind};
use crate::config::{self, BinaryMode, Compat, DecimalMode, HstoreMode, IntervalMode, TimeMode};

/// What a column is in Connect.
#[derive(Debug)]
pub(crate) struct Mapped {
    /// Optional where the column is nullable, with its default.
    pub(crate) schema: Schema,
    /// What is done to each value.
    pub(crate) step: Step,
    /// What stands for NULL where the schema is not optional.
    pub(crate) fallback: Value,
    /// What stands for a TOAST value that was not sent; none: null.
    pub(crate) unavailable: Option<Value>,
}

/// What a mapping depends on beside the type.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings<'c> {
    pub(crate) config: &'c config::Encode,
    /// Decimals become numbers: JsonConverter with `decimal.format=NUMERIC`.
    pub(crate) numeric: bool,
    /// Where the rows come from.
    pub(crate) phase: Phase,
}

impl Settings<'_> {
    /// Whether Debezium's own reading of values is wanted where it is wrong.
    pub(crate) fn as_debezium(self) -> bool {
        self.config.compat == Compat::Debezium
    }

    /// The same, of what Debezium reads with JDBC.
    pub(crate) fn as_jdbc(self) -> bool {
        self.as_debezium() && self.phase == Phase::Copy
    }
}

/// A type without its column: required, no default.
struct Scalar {
    schema: Schema,
    step: Step,
    fallback: Value,
}

/// One line of the table.
struct Line {
    /// `typname`
    pg: &'static str,
    /// Schema, step and fallback, by the type's typmod.
    scalar: fn(Settings<'_>, i32) -> Scalar,
    /// What a default that is computed is replaced with; none: the type has no defaults.
    computed: Option<&'static str>,
    /// What a TOAST value that was not sent is replaced with.
    unavailable: Unavailable,
    /// Arrays of the type, and what replaces those that were not sent.
    array: Option<Unavailable>,
}

/// How `unavailable.value.placeholder` looks in a type.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unavailable {
    /// Not at all: null.
    Null,
    /// As text.
    Text,
    /// As text where the schema is a string, else null.
    Texts,
    /// As bytes, as text in hex, else null.
    Binary,
    /// As key and value of one pair.
    Pair,
    /// As a UUID made of it.
    Uuid,
    /// As one number a byte.
    Numbers,
}

use Unavailable::{Numbers, Pair, Text, Texts, Uuid};

/// No placeholder.
const NULL: Unavailable = Unavailable::Null;
const BINARY: Unavailable = Unavailable::Binary;

const fn line(
    pg: &'static str,
    scalar: fn(Settings<'_>, i32) -> Scalar,
    computed: Option<&'static str>,
    unavailable: Unavailable,
    array: Option<Unavailable>,
) -> Line {
    Line {
        pg,
        scalar,
        computed,
        unavailable,
        array,
    }
}

/// Every type that Debezium knows by name.
#[rustfmt::skip]
const TYPES: &[Line] = &[
    // name, type in Connect, what a computed default is, TOAST, arrays
    line("bool",        boolean,     Some("f"),                      NULL,   Some(NULL)),
    line("int2",        int16,       Some("0"),                      NULL,   Some(NULL)),
    line("int4",        int32,       Some("0"),                      NULL,   Some(Numbers)),
    line("int8",        int64,       Some("0"),                      NULL,   Some(Numbers)),
    line("oid",         oid,         None,                           NULL,   Some(NULL)),
    line("float4",      float4,      Some("0"),                      NULL,   Some(NULL)),
    line("float8",      float8,      Some("0"),                      NULL,   Some(NULL)),
    line("numeric",     numeric,     Some("0"),                      Texts,  Some(NULL)),
    line("money",       money,       None,                           Texts,  None),
    line("bpchar",      text,        Some(""),                       Text,   Some(Text)),
    line("varchar",     text,        Some(""),                       Text,   Some(Text)),
    line("text",        text,        Some(""),                       Text,   Some(Text)),
    line("citext",      text,        None,                           Text,   Some(NULL)),
    line("char",        text,        None,                           Text,   Some(NULL)),
    line("name",        name,        None,                           Text,   None),
    line("isbn",        text,        None,                           Text,   Some(NULL)),
    line("uuid",        uuid,        Some(ZERO_UUID),                Text,   Some(Uuid)),
    line("json",        json,        Some("{}"),                     Text,   Some(Text)),
    line("jsonb",       jsonb,       Some("{}"),                     Text,   Some(Text)),
    line("xml",         xml,         Some(""),                       Text,   None),
    line("ltree",       ltree,       None,                           Text,   Some(NULL)),
    line("tsvector",    tsvector,    None,                           Text,   Some(NULL)),
    line("inet",        inet,        None,                           Text,   Some(NULL)),
    line("cidr",        cidr,        None,                           Text,   Some(NULL)),
    line("macaddr",     mac,         None,                           Text,   Some(NULL)),
    line("macaddr8",    mac,         None,                           Text,   Some(NULL)),
    line("int4range",   int_range,   None,                           Text,   Some(NULL)),
    line("int8range",   int_range,   None,                           Text,   Some(NULL)),
    line("numrange",    num_range,   None,                           Text,   Some(NULL)),
    line("tsrange",     ts_range,    None,                           Text,   Some(NULL)),
    line("tstzrange",   tstz_range,  None,                           Text,   Some(NULL)),
    line("daterange",   date_range,  None,                           Text,   Some(NULL)),
    line("bit",         bit,         Some("00"),                     NULL,   None),
    line("varbit",      varbit,      Some("0"),                      NULL,   None),
    line("date",        date,        Some("1970-01-01"),             NULL,   Some(Numbers)),
    line("time",        time,        Some("00:00:00"),               NULL,   Some(NULL)),
    line("timetz",      timetz,      None,                           NULL,   Some(NULL)),
    line("timestamp",   timestamp,   Some("1970-01-01 00:00:00"),    NULL,   Some(NULL)),
    line("timestamptz", timestamptz, Some("1970-01-01 00:00:00+00"), NULL,   Some(NULL)),
    line("interval",    interval,    Some("00:00:00"),               NULL,   None),
    line("bytea",       bytea,       None,                           BINARY, Some(BINARY)),
    line("hstore",      hstore,      None,                           Pair,   Some(NULL)),
    line("point",       point,       None,                           NULL,   None),
    line("geometry",    geometry,    None,                           NULL,   Some(NULL)),
    line("geography",   geography,   None,                           NULL,   Some(NULL)),
    line("vector",      vector,      None,                           NULL,   Some(NULL)),
    line("halfvec",     halfvec,     None,                           NULL,   Some(NULL)),
    line("sparsevec",   sparsevec,   None,                           NULL,   Some(NULL)),
    line("int2vector",  int2vector,  None,                           NULL,   None),
    line("oidvector",   oidvector,   None,                           NULL,   None),
];

const ZERO_UUID: &str = "00000000-0000-0000-0000-000000000000";

/// Types without a line whose text PostgreSQL's JDBC driver prints anew.
const GEOMETRIC: &[&str] = &["line", "lseg", "box", "path", "polygon", "circle"];

/// What a column is in Connect; none when its type has no place there.
pub(crate) fn map(column: &Column, settings: Settings<'_>) -> Option<Mapped> {
    let (pg_type, typmod, domain) = resolve(&column.pg_type, column.typmod);
    let (scalar, unavailable, computed) = match &pg_type.kind {
        TypeKind::Enum { labels } => (enumeration(labels), Text, Some("")),
        TypeKind::Array { element } => {
            let (scalar, unavailable) = array(element, typmod, settings)?;
            (scalar, unavailable, None)
        }
        _ => match TYPES.iter().find(|line| line.pg == pg_type.name) {
            Some(line) => (
                (line.scalar)(settings, typmod),
                line.unavailable,
                line.computed,
            ),
            None => (unknown(pg_type, settings)?, BINARY, None),
        },
    };
    let Scalar {
        mut schema,
        step,
        fallback,
    } = scalar;
    let placeholder = placeholder(
        &schema,
        unavailable,
        settings.config.binary,
        &settings.config.unavailable,
    );
    if let (false, Some(computed), Some(expression)) = (domain, computed, &column.default) {
        let step = match &step {
            Step::Java(step) => step,
            step => step,
        };
        let text = match pg_type.kind {
            TypeKind::Enum { .. } => enum_default(expression, &pg_type.name, settings),
            _ => default_text(expression, computed),
        };
        schema.default = text
            .filter(|text| pg_type.name != "numeric" || is_exact(text, typmod))
            .and_then(|text| match text.as_str() {
                "infinity" | "-infinity" if settings.as_debezium() => {
                    endless_default(step, &schema, text == "infinity")
                }
                text => default_value(text, step, &schema),
            });
    }
    // Debezium builds a geometry's schema as an optional one, whatever its column says.
    schema.optional = !column.not_null || matches!(step, Step::Geometry) && !is_geography(&schema);
    let fallback = schema.default.clone().unwrap_or(fallback);
    Some(Mapped {
        schema,
        step,
        fallback,
        unavailable: placeholder,
    })
}

fn is_geography(schema: &Schema) -> bool {
    schema.doc.as_deref() == Some("Geography")
}

/// The type under all domains, its typmod, and whether there was a domain.
pub(crate) fn resolve(pg_type: &PgType, typmod: i32) -> (&PgType, i32, bool) {
    let (mut pg_type, mut typmod, mut domain) = (pg_type, typmod, false);
    while let TypeKind::Domain { base, typmod: own } = &pg_type.kind {
        typmod = if typmod < 0 { *own } else { typmod };
        pg_type = base;
        domain = true;
    }
    (pg_type, typmod, domain)
}

fn array(element: &PgType, typmod: i32, settings: Settings<'_>) -> Option<(Scalar, Unavailable)> {
    let line = match element.kind {
        TypeKind::Domain { .. } => None,
        _ => TYPES.iter().find(|line| line.pg == element.name),
    };
    let (scalar, unavailable, optional) = match &element.kind {
        TypeKind::Enum { labels } => (enumeration(labels), NULL, false),
        _ if line.is_none() => (unknown(element, settings)?, NULL, false),
        // The schema of a scalar, and never a value: so Debezium.
        _ if element.name == "bit" => {
            let scalar = Scalar {
                step: Step::Null,
                ..bit(settings, typmod)
            };
            return Some((scalar, NULL));
        }
        _ => {
            let line = line?;
            // Elements of these are required: so Debezium.
            let required = ["vector", "halfvec", "sparsevec", "tsvector", "isbn"];
            let optional = !required.contains(&line.pg);
            ((line.scalar)(settings, typmod), line.array?, optional)
        }
    };
    let delimiter = match scalar.step {
        Step::Geometry => b':',
        _ => b',',
    };
    let debezium = settings.as_debezium();
    let step = match scalar.step {
        step if debezium => Step::Java(Box::new(step)),
        step => step,
    };
    let nulls = optional && !(debezium && element.name == "ltree");
    let items = Schema {
        optional,
        ..scalar.schema
    };
    let scalar = Scalar {
        schema: Schema::new(Kind::Array(Box::new(items))),
        step: Step::Array(Box::new(Array {
            step,
            optional,
            nulls,
            delimiter,
            scratch: Mutex::default(),
        })),
        fallback: Value::Array(Vec::new()),
    };
    Some((scalar, unavailable))
}

fn enumeration(labels: &[String]) -> Scalar {
    let schema =
        Schema::named(Kind::String, "io.debezium.data.Enum").with("allowed", labels.join(","));
    Scalar {
        schema,
        step: Step::Text,
        fallback: empty(),
    }
}

/// A type without a line, where `include.unknown.datatypes` asks for it.
fn unknown(pg_type: &PgType, settings: Settings<'_>) -> Option<Scalar> {
    if !settings.config.include_unknown {
        return None;
    }
    let geometric = GEOMETRIC.contains(&pg_type.name.as_str());
    let step = if geometric {
        Step::Geometric
    } else {
        Step::Opaque
    };
    Some(binary(settings, step))
}

fn plain(kind: Kind, step: Step, fallback: Value) -> Scalar {
    Scalar {
        schema: Schema::new(kind),
        step,
        fallback,
    }
}

fn named(kind: Kind, name: &str, step: Step, fallback: Value) -> Scalar {
    Scalar {
        schema: Schema::named(kind, name),
        step,
        fallback,
    }
}

fn empty() -> Value {
    Value::String(String::new())
}

fn boolean(_: Settings<'_>, _: i32) -> Scalar {
    plain(Kind::Boolean, Step::Boolean, Value::Boolean(false))
}

fn int16(_: Settings<'_>, _: i32) -> Scalar {
    plain(Kind::Int16, Step::Integer, Value::Integer(0))
}

fn int32(_: Settings<'_>, _: i32) -> Scalar {
    plain(Kind::Int32, Step::Integer, Value::Integer(0))
}

fn int64(_: Settings<'_>, _: i32) -> Scalar {
    plain(Kind::Int64, Step::Integer, Value::Integer(0))
}

fn float4(_: Settings<'_>, _: i32) -> Scalar {
    plain(Kind::Float32, Step::Float, Value::Float(0.0))
}

fn float8(_: Settings<'_>, _: i32) -> Scalar {
    plain(Kind::Float64, Step::Double, Value::Double(0.0))
}

fn text(_: Settings<'_>, _: i32) -> Scalar {
    plain(Kind::String, Step::Text, empty())
}

fn oid(_: Settings<'_>, _: i32) -> Scalar {
    plain(Kind::Int64, Step::Oid, Value::Integer(0))
}

fn spelled(spelled: Spelled) -> Scalar {
    plain(Kind::String, Step::Spelled(spelled), empty())
}

fn inet(_: Settings<'_>, _: i32) -> Scalar {
    let always_masked = false;
    spelled(Spelled::Network { always_masked })
}

fn cidr(_: Settings<'_>, _: i32) -> Scalar {
    let always_masked = true;
    spelled(Spelled::Network { always_masked })
}

fn mac(_: Settings<'_>, _: i32) -> Scalar {
    spelled(Spelled::Mac)
}

fn int_range(_: Settings<'_>, _: i32) -> Scalar {
    spelled(Spelled::Range(Bound::Integer))
}

fn num_range(_: Settings<'_>, _: i32) -> Scalar {
    spelled(Spelled::Range(Bound::Numeric))
}

fn date_range(_: Settings<'_>, _: i32) -> Scalar {
    spelled(Spelled::Range(Bound::Date))
}

fn ts_range(_: Settings<'_>, _: i32) -> Scalar {
    spelled(Spelled::Range(Bound::Timestamp { zoned: false }))
}

fn tstz_range(_: Settings<'_>, _: i32) -> Scalar {
    spelled(Spelled::Range(Bound::Timestamp { zoned: true }))
}

/// In the stream Debezium does not know the type.
fn name(settings: Settings<'_>, _: i32) -> Scalar {
    let unknown = settings.as_debezium() && !settings.config.include_unknown;
    let step = match settings.phase {
        Phase::Stream if unknown => Step::Null,
        _ => Step::Text,
    };
    plain(Kind::String, step, empty())
}

fn uuid(_: Settings<'_>, _: i32) -> Scalar {
    named(Kind::String, "io.debezium.data.Uuid", Step::Uuid, empty())
}

fn json(_: Settings<'_>, _: i32) -> Scalar {
    named(Kind::String, "io.debezium.data.Json", Step::Text, empty())
}

fn jsonb(_: Settings<'_>, _: i32) -> Scalar {
    let step = Step::Spelled(Spelled::Json);
    named(Kind::String, "io.debezium.data.Json", step, empty())
}

fn xml(_: Settings<'_>, _: i32) -> Scalar {
    named(Kind::String, "io.debezium.data.Xml", Step::Text, empty())
}

fn ltree(_: Settings<'_>, _: i32) -> Scalar {
    let step = Step::Spelled(Spelled::Json);
    named(Kind::String, "io.debezium.data.Ltree", step, empty())
}

fn tsvector(_: Settings<'_>, _: i32) -> Scalar {
    named(
        Kind::String,
        "io.debezium.data.Tsvector",
        Step::Spelled(Spelled::Lexemes),
        empty(),
    )
}

/// `numeric(p,s)`'s precision and scale: typmod is 4 + (p << 16 | s), s in eleven bits with a sign.
pub(crate) fn numeric_parameters(typmod: i32) -> Option<(i32, i32)> {
    (typmod >= 4).then(|| {
        let packed = typmod - 4;
        (packed >> 16 & 0xffff, ((packed & 0x7ff) ^ 0x400) - 0x400)
    })
}

fn numeric(settings: Settings<'_>, typmod: i32) -> Scalar {
    let parameters = numeric_parameters(typmod).map(|(precision, scale)| {
        match (u32::try_from(scale), settings.config.compat) {
            (Ok(unsigned), _) => (precision, unsigned),
            // Without its sign, in eleven bits.
            (Err(_), Compat::Debezium) => (precision, 2048 - scale.unsigned_abs()),
            (Err(_), Compat::Correct) => (precision - scale, 0),
        }
    });
    match (settings.config.decimal, parameters) {
        (DecimalMode::Double, _) => plain(Kind::Float64, Step::DecimalDouble, Value::Double(0.0)),
        (DecimalMode::String, parameters) => {
            let scale = parameters.map(|(_, scale)| scale);
            plain(
                Kind::String,
                Step::DecimalText(scale),
                zero(scale.unwrap_or(0)),
            )
        }
        (DecimalMode::Precise, Some((precision, scale))) => {
            let step = match settings.numeric {
                true => Step::DecimalNumber(scale),
                false => Step::Decimal(scale),
            };
            let schema = decimal(scale).with("connect.decimal.precision", precision.to_string());
            Scalar {
                schema,
                step,
                fallback: Value::Bytes(vec![0]),
            }
        }
        (DecimalMode::Precise, None) => {
            let fields = vec![
                ("scale", Schema::new(Kind::Int32)),
                ("value", Schema::new(Kind::Bytes)),
            ];
            let schema = Schema::record("io.debezium.data.VariableScaleDecimal", fields);
            Scalar {
                schema: documented(schema, "Variable scaled decimal"),
                step: Step::DecimalVariable,
                fallback: Value::Struct(vec![Value::Integer(0), Value::Bytes(vec![0])]),
            }
        }
    }
}

/// Nothing, in decimal notation.
fn zero(scale: u32) -> Value {
    let fraction = "0".repeat(usize::try_from(scale).unwrap_or(0));
    let point = if fraction.is_empty() { "" } else { "." };
    Value::String(format!("0{point}{fraction}"))
}

fn decimal(scale: u32) -> Schema {
    Schema::named(Kind::Bytes, DECIMAL).with("scale", scale.to_string())
}

fn documented(schema: Schema, doc: &str) -> Schema {
    Schema {
        doc: Some(doc.to_owned()),
        ..schema
    }
}

fn money(settings: Settings<'_>, _: i32) -> Scalar {
    let scale = settings.config.money_fraction_digits;
    match settings.config.decimal {
        DecimalMode::Double => plain(Kind::Float64, Step::MoneyDouble, Value::Double(0.0)),
        DecimalMode::String => plain(Kind::String, Step::MoneyText, zero(scale)),
        DecimalMode::Precise => Scalar {
            schema: decimal(scale),
            step: if settings.numeric {
                Step::MoneyNumber(scale)
            } else {
                Step::Money(scale)
            },
            fallback: Value::Bytes(vec![0]),
        },
    }
}

fn bit(_: Settings<'_>, typmod: i32) -> Scalar {
    if typmod == 1 || typmod < 0 {
        return plain(Kind::Boolean, Step::Bit, Value::Boolean(false));
    }
    bits(typmod)
}

fn varbit(_: Settings<'_>, typmod: i32) -> Scalar {
    match typmod {
        1 => plain(Kind::Boolean, Step::Bit, Value::Boolean(false)),
        ..1 => bits(i32::MAX),
        length => bits(length),
    }
}

fn bits(length: i32) -> Scalar {
    let schema = Schema::named(Kind::Bytes, "io.debezium.data.Bits");
    Scalar {
        schema: schema.with("length", length.to_string()),
        step: Step::Bits,
        fallback: Value::Bytes(Vec::new()),
    }
}

/// Fractional digits of a time type: six where none are declared.
fn precision(typmod: i32) -> i32 {
    if (0..=6).contains(&typmod) { typmod } else { 6 }
}

fn date(settings: Settings<'_>, _: i32) -> Scalar {
    let wrap = settings.as_debezium();
    let through = |step| match settings.as_jdbc() {
        true => Step::Java(Box::new(step)),
        false => step,
    };
    let (name, step) = match settings.config.time {
        TimeMode::Connect => (DATE, Step::Date { wrap }),
        TimeMode::IsoString => {
            let step = Step::DateText { wrap };
            let fallback = Value::String("1970-01-01Z".to_owned());
            let name = "io.debezium.time.IsoDate";
            return named(Kind::String, name, through(step), fallback);
        }
        _ => ("io.debezium.time.Date", Step::Date { wrap }),
    };
    named(Kind::Int32, name, through(step), Value::Integer(0))
}

fn time(settings: Settings<'_>, typmod: i32) -> Scalar {
    let (kind, name, unit) = match settings.config.time {
        TimeMode::Adaptive if precision(typmod) <= 3 => {
            (Kind::Int32, "io.debezium.time.Time", Unit::Millis)
        }
        TimeMode::Adaptive | TimeMode::AdaptiveTimeMicroseconds | TimeMode::Microseconds => {
            (Kind::Int64, "io.debezium.time.MicroTime", Unit::Micros)
        }
        TimeMode::Nanoseconds => (Kind::Int64, "io.debezium.time.NanoTime", Unit::Nanos),
        TimeMode::Connect => (Kind::Int32, TIME, Unit::Millis),
        TimeMode::IsoString => {
            let fallback = Value::String("00:00:00Z".to_owned());
            return named(
                Kind::String,
                "io.debezium.time.IsoTime",
                Step::TimeText,
                fallback,
            );
        }
    };
    named(kind, name, Step::Time(unit), Value::Integer(0))
}

fn timetz(_: Settings<'_>, _: i32) -> Scalar {
    let fallback = Value::String("00:00:00Z".to_owned());
    named(
        Kind::String,
        "io.debezium.time.ZonedTime",
        Step::ZonedTime,
        fallback,
    )
}

fn timestamp(settings: Settings<'_>, typmod: i32) -> Scalar {
    let (name, unit) = match settings.config.time {
        TimeMode::Adaptive | TimeMode::AdaptiveTimeMicroseconds if precision(typmod) <= 3 => {
            ("io.debezium.time.Timestamp", Unit::Millis)
        }
        TimeMode::Adaptive | TimeMode::AdaptiveTimeMicroseconds | TimeMode::Microseconds => {
            ("io.debezium.time.MicroTimestamp", Unit::Micros)
        }
        TimeMode::Nanoseconds => ("io.debezium.time.NanoTimestamp", Unit::Nanos),
        TimeMode::Connect => (TIMESTAMP, Unit::Millis),
        TimeMode::IsoString => {
            let fallback = Value::String("1970-01-01T00:00:00Z".to_owned());
            let name = "io.debezium.time.IsoTimestamp";
            return named(Kind::String, name, Step::TimestampText, fallback);
        }
    };
    let step = Step::Timestamp {
        unit,
        wrap: settings.as_debezium(),
    };
    named(Kind::Int64, name, step, Value::Integer(0))
}

fn timestamptz(_: Settings<'_>, typmod: i32) -> Scalar {
    let digits = usize::try_from(precision(typmod)).unwrap_or(6);
    let fallback = Value::String("1970-01-01T00:00:00Z".to_owned());
    let name = "io.debezium.time.ZonedTimestamp";
    named(Kind::String, name, Step::ZonedTimestamp(digits), fallback)
}

fn interval(settings: Settings<'_>, _: i32) -> Scalar {
    match settings.config.interval {
        IntervalMode::Numeric => {
            let name = "io.debezium.time.MicroDuration";
            named(Kind::Int64, name, Step::Interval, Value::Integer(0))
        }
        IntervalMode::String => {
            let fallback = Value::String("P0Y0M0DT0H0M0S".to_owned());
            named(
                Kind::String,
                "io.debezium.time.Interval",
                Step::IntervalText,
                fallback,
            )
        }
    }
}

fn bytea(settings: Settings<'_>, _: i32) -> Scalar {
    binary(settings, Step::Bytea)
}

fn binary(settings: Settings<'_>, step: fn(Binary) -> Step) -> Scalar {
    match binary_mode(settings.config) {
        Binary::Bytes => plain(Kind::Bytes, step(Binary::Bytes), Value::Bytes(Vec::new())),
        text => plain(Kind::String, step(text), empty()),
    }
}

/// `binary.handling.mode`
pub(crate) fn binary_mode(config: &config::Encode) -> Binary {
    match config.binary {
        BinaryMode::Bytes => Binary::Bytes,
        BinaryMode::Base64 => Binary::Base64,
        BinaryMode::Base64UrlSafe => Binary::Base64UrlSafe,
        BinaryMode::Hex => Binary::Hex,
    }
}

fn hstore(settings: Settings<'_>, _: i32) -> Scalar {
    match settings.config.hstore {
        HstoreMode::Json => {
            let fallback = Value::String("{}".to_owned());
            named(
                Kind::String,
                "io.debezium.data.Json",
                Step::HstoreJson,
                fallback,
            )
        }
        HstoreMode::Map => {
            let (keys, values) = (
                Schema::new(Kind::String),
                Schema::new(Kind::String).optional(),
            );
            let kind = Kind::Map(Box::new(keys), Box::new(values));
            plain(kind, Step::HstoreMap, Value::Map(Vec::new()))
        }
    }
}

fn point(_: Settings<'_>, _: i32) -> Scalar {
    let fields = vec![
        ("x", Schema::new(Kind::Float64)),
        ("y", Schema::new(Kind::Float64)),
        ("wkb", Schema::new(Kind::Bytes).optional()),
        ("srid", Schema::new(Kind::Int32).optional()),
    ];
    let schema = Schema::record("io.debezium.data.geometry.Point", fields);
    let origin = Value::Bytes(point_wkb(0.0, 0.0).to_vec());
    Scalar {
        schema: documented(schema, "Geometry (POINT)"),
        step: Step::Point,
        fallback: Value::Struct(vec![
            Value::Double(0.0),
            Value::Double(0.0),
            origin,
            Value::Null,
        ]),
    }
}

fn geometry(_: Settings<'_>, _: i32) -> Scalar {
    shape("Geometry")
}

fn geography(_: Settings<'_>, _: i32) -> Scalar {
    shape("Geography")
}

fn shape(name: &str) -> Scalar {
    let fields = vec![
        ("wkb", Schema::new(Kind::Bytes)),
        ("srid", Schema::new(Kind::Int32).optional()),
    ];
    let schema = Schema::record(&format!("io.debezium.data.geometry.{name}"), fields);
    // A geometry collection of nothing, little-endian.
    let nothing = Value::Bytes(vec![1, 7, 0, 0, 0, 0, 0, 0, 0]);
    Scalar {
        schema: documented(schema, name),
        step: Step::Geometry,
        fallback: Value::Struct(vec![nothing, Value::Null]),
    }
}

fn vector(_: Settings<'_>, _: i32) -> Scalar {
    let kind = Kind::Array(Box::new(Schema::new(Kind::Float64)));
    let step = Step::Vector { single: false };
    named(
        kind,
        "io.debezium.data.DoubleVector",
        step,
        Value::Array(Vec::new()),
    )
}

fn halfvec(_: Settings<'_>, _: i32) -> Scalar {
    let kind = Kind::Array(Box::new(Schema::new(Kind::Float32)));
    let step = Step::Vector { single: true };
    named(
        kind,
        "io.debezium.data.FloatVector",
        step,
        Value::Array(Vec::new()),
    )
}

fn sparsevec(_: Settings<'_>, _: i32) -> Scalar {
    let (keys, values) = (Schema::new(Kind::Int16), Schema::new(Kind::Float64));
    let fields = vec![
        ("dimensions", Schema::new(Kind::Int16)),
        (
            "vector",
            Schema::new(Kind::Map(Box::new(keys), Box::new(values))),
        ),
    ];
    let schema = Schema::record("io.debezium.data.SparseDoubleVector", fields);
    Scalar {
        schema: documented(schema, "Sparse double vector"),
        step: Step::SparseVector,
        fallback: Value::Struct(vec![Value::Integer(0), Value::Map(Vec::new())]),
    }
}

fn int2vector(settings: Settings<'_>, _: i32) -> Scalar {
    integers(Kind::Int16, settings)
}

fn oidvector(settings: Settings<'_>, _: i32) -> Scalar {
    integers(Kind::Int64, settings)
}

fn integers(kind: Kind, settings: Settings<'_>) -> Scalar {
    let shown = !settings.as_debezium();
    plain(
        Kind::Array(Box::new(Schema::new(kind))),
        Step::Integers { shown },
        Value::Array(Vec::new()),
    )
}

/// The placeholder as a value of `schema`.
///
/// In base64 there is none: so Debezium.
fn placeholder(
    schema: &Schema,
    unavailable: Unavailable,
    binary: BinaryMode,
    bytes: &[u8],
) -> Option<Value> {
    let text = || Value::String(String::from_utf8_lossy(bytes).into_owned());
    if let Kind::Array(items) = &schema.kind {
        let value = match unavailable {
            Numbers => {
                let number = |byte: &u8| Value::Integer(byte.cast_signed().into());
                let is_number = items.kind != Kind::String
                    && items.name.as_deref() != Some(super::schema::DATE);
                return is_number.then(|| Value::Array(bytes.iter().map(number).collect()));
            }
            Unavailable::Binary if items.kind == Kind::Bytes => Value::Bytes(bytes.to_vec()),
            Text => text(),
            Uuid => Value::String(name_uuid(bytes)),
            _ => return None,
        };
        return Some(Value::Array(vec![value]));
    }
    match (unavailable, &schema.kind) {
        (Text, _) | (Texts, Kind::String) => Some(text()),
        (Unavailable::Binary, Kind::Bytes) => Some(Value::Bytes(bytes.to_vec())),
        (Unavailable::Binary, Kind::String) if binary == BinaryMode::Hex => Some(text()),
        (Pair, Kind::Map(..)) => Some(Value::Map(vec![(text(), text())])),
        (Pair, _) => {
            let mut json = Vec::from(*b"{");
            super::form::put_json_string(&mut json, bytes, false);
            json.push(b':');
            super::form::put_json_string(&mut json, bytes, false);
            json.push(b'}');
            Some(Value::String(String::from_utf8_lossy(&json).into_owned()))
        }
        _ => None,
    }
}

/// Java's `UUID.nameUUIDFromBytes`: version 3 without a namespace.
fn name_uuid(bytes: &[u8]) -> String {
    let mut digest = <[u8; 16]>::from(Md5::digest(bytes));
    digest[6] = digest[6] & 0x0f | 0x30;
    digest[8] = digest[8] & 0x3f | 0x80;
    let mut text = Vec::new();
    super::step::put_uuid(&digest, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// The text of a default's value: `computed` for what only the server can evaluate, the first
/// literal of an expression with one, else the expression.
fn default_text(expression: &str, computed: &str) -> Option<String> {
    const CLOCKS: &[&str] = &[
        "current_timestamp",
        "current_time",
        "current_date",
        "localtime",
        "localtimestamp",
    ];
    if expression.starts_with("NULL::") {
        return None;
    }
    let name = expression.strip_prefix('(').unwrap_or(expression);
    let called = name.split_once('(').is_some_and(|(name, arguments)| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._".contains(&byte))
            && arguments.contains(')')
    });
    if called
        || CLOCKS
            .iter()
            .any(|clock| clock.eq_ignore_ascii_case(expression))
    {
        return Some(computed.to_owned());
    }
    let Some((_, literal)) = expression.split_once('\'') else {
        return Some(expression.to_owned());
    };
    let mut text = String::new();
    let mut rest = literal.chars().peekable();
    while let Some(next) = rest.next() {
        if next == '\'' && rest.next_if_eq(&'\'').is_none() {
            return Some(text);
        }
        text.push(next);
    }
    None
}

/// The label of an enum's default, which must be a literal of that very type. Debezium leaves its
/// quotes doubled.
fn enum_default(expression: &str, name: &str, settings: Settings<'_>) -> Option<String> {
    let (label, cast) = expression.strip_prefix('\'')?.rsplit_once("'::")?;
    let quoted = format!("\"{}\"", name.replace('"', "\"\""));
    let is_own = [name, &quoted].iter().any(|name| {
        let schema = cast.strip_suffix(name);
        schema.is_some_and(|schema| schema.is_empty() || schema.ends_with('.'))
    });
    is_own.then(|| match settings.as_debezium() {
        true => label.to_owned(),
        false => label.replace("''", "'"),
    })
}

/// Whether a number has no more of a fraction than its column: Debezium does not round defaults,
/// and shows none then.
fn is_exact(text: &str, typmod: i32) -> bool {
    let scale = numeric_parameters(typmod).and_then(|(_, scale)| u32::try_from(scale).ok());
    match (super::number::parse(text.as_bytes()), scale) {
        (Ok(number), Some(scale)) => number.strip().scale() <= scale,
        _ => true,
    }
}

/// `infinity` as a default, in Debezium's way: Java's last day, or first, whatever is left of it in
/// 64 bits.
fn endless_default(step: &Step, schema: &Schema, last: bool) -> Option<Value> {
    let text = |text: &str| Some(Value::String(text.to_owned()));
    match (step, last) {
        (Step::Date { .. }, true) => Some(Value::Integer(169_560_311)),
        (Step::Date { .. }, false) => Some(Value::Integer(-170_999_002)),
        (Step::DateText { .. }, true) => text("+999999999-12-31Z"),
        (Step::DateText { .. }, false) => text("-999999999-01-01Z"),
        (
            Step::Timestamp {
                unit: Unit::Micros, ..
            },
            true,
        ) => Some(Value::Integer(i64::MAX.wrapping_add(999_999))),
        (
            Step::Timestamp {
                unit: Unit::Micros, ..
            },
            false,
        ) => Some(Value::Integer(i64::MIN)),
        (Step::TimestampText, true) => text("+999999999-12-31T23:59:59.999999999Z"),
        (Step::TimestampText, false) => text("-999999999-01-01T00:00:00Z"),
        (Step::Timestamp { .. } | Step::ZonedTimestamp(_), _) => None,
        _ => default_value(if last { "infinity" } else { "-infinity" }, step, schema),
    }
}

/// A default's text as a value of the column; none when it is not one.
fn default_value(text: &str, step: &Step, schema: &Schema) -> Option<Value> {
    match (step, text) {
        (Step::Boolean, "true" | "t") => return Some(Value::Boolean(true)),
        (Step::Boolean, _) => return Some(Value::Boolean(false)),
        (Step::Bit, text) => return Some(Value::Boolean(text == "1")),
        // A struct's default is not emitted.
        (Step::DecimalVariable, _) => return None,
        _ => {}
    }
    let value = step.value(text.as_bytes()).ok()?;
    let fits = |min: i64, max: i64| match value {
        Value::Integer(value) => (min..=max).contains(&value),
        _ => true,
    };
    let fits = match schema.kind {
        Kind::Int16 => fits(i16::MIN.into(), i16::MAX.into()),
        Kind::Int32 => fits(i32::MIN.into(), i32::MAX.into()),
        _ => true,
    };
    fits.then_some(value)
}
