//! A record of a topic, read for people: Debezium's envelope, each value as its meaning says.
//!
//! Avro tells that a column is an `int`; its schema's `connect.name`, that it counts days. A reader
//! sees `2026-11-23`, `1204.50`, `null`: the words that PostgreSQL would use.

use std::fmt::Write as _;
use std::sync::Arc;

use avro::{Datum, Fault, Malformed, Schema, Type, View};

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// It was there when the snapshot was taken.
    Snapshot,
    /// Inserted.
    Created,
    /// Updated.
    Updated,
    /// Deleted.
    Deleted,
    /// Its table was truncated.
    Truncated,
    /// Any other letter.
    Other,
}

/// A row's columns in their order, each value in words.
///
/// Rows of one schema share the names, and a row is one allocation: many can be remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    columns: Arc<[Box<str>]>,
    /// Joined by [`SEPARATOR`]; NULL is [`NULL`]. Words hold no control characters.
    values: Box<str>,
}

const SEPARATOR: &str = "\n";
const NULL: &str = "\0";

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `op`
    pub op: Op,
    /// `source.table`
    pub table: String,
    /// The row before, as the record has it.
    pub before: Option<Row>,
    /// The row after.
    pub after: Option<Row>,
    /// `source.lsn`: which of two changes came first.
    pub lsn: Option<i64>,
    /// `source.ts_us`: when the transaction committed, µs since 1970; in a snapshot, when it was
    /// taken.
    pub committed_us: Option<i64>,
}

/// A schema from the registry, ready to read what was written with it.
#[derive(Debug)]
pub struct Decoder {
    schema: Schema,
    /// Of the record itself, or of an envelope's rows.
    columns: Arc<[Box<str>]>,
    envelope: Option<Envelope>,
}

/// Where the fields of an envelope are.
#[derive(Debug)]
struct Envelope {
    before: usize,
    after: usize,
    op: usize,
    source: usize,
    table: usize,
    lsn: usize,
    committed_us: usize,
}

impl Row {
    /// Names and values, in order.
    pub fn cells(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        let values = self
            .values
            .split(SEPARATOR)
            .map(|value| (value != NULL).then_some(value));
        self.columns.iter().map(|name| &**name).zip(values)
    }

    /// The value of a column; `None` where there is no such column.
    #[must_use]
    pub fn cell(&self, column: &str) -> Option<Option<&str>> {
        self.cells()
            .find(|(name, _)| *name == column)
            .map(|(_, value)| value)
    }

    /// The values alone, `2001/1`: how a key is written.
    #[must_use]
    pub fn joined(&self) -> String {
        let values: Vec<&str> = self
            .cells()
            .map(|(_, value)| value.unwrap_or("null"))
            .collect();
        values.join("/")
    }

    #[cfg(test)]
    pub(super) fn of(cells: &[(&str, Option<&str>)]) -> Self {
        Self {
            columns: cells.iter().map(|(name, _)| (*name).into()).collect(),
            values: joined(cells.iter().map(|(_, value)| value.map(str::to_owned))),
        }
    }
}

impl Decoder {
    /// Prepares to read data of `schema`.
    #[must_use]
    pub fn new(schema: Schema) -> Self {
        let mut columns = field_names(schema.view());
        let envelope = Envelope::find(&schema);
        if let (Some(envelope), View::Record(_, fields)) = (&envelope, schema.view())
            && let Some(after) = fields.get(envelope.after)
        {
            columns = field_names(schema.resolve(non_null(&schema, &after.ty)));
        }
        Self {
            schema,
            columns,
            envelope,
        }
    }

    /// Reads a record without an envelope: a key.
    ///
    /// Errors: `Malformed` when `datum` is none of the schema's.
    pub fn row(&self, datum: &[u8]) -> Result<Row, Malformed> {
        let datum = Datum::parse(&self.schema, datum)?;
        self.row_of(self.schema.root(), &datum)
            .ok_or_else(|| not_a("row"))
    }

    /// Reads an envelope.
    ///
    /// Errors: `Malformed` when `datum` is none of the schema's, or the schema no envelope.
    pub fn change(&self, datum: &[u8]) -> Result<Change, Malformed> {
        let datum = Datum::parse(&self.schema, datum)?;
        let (Some(at), View::Record(_, fields), Datum::Record(values)) =
            (&self.envelope, self.schema.view(), &datum)
        else {
            return Err(not_a("envelope"));
        };
        let row = |index: usize| {
            let (field, value) = (fields.get(index)?, values.get(index)?);
            self.row_of(&field.ty, value)
        };
        let Some(Datum::Record(source)) = values.get(at.source) else {
            return Err(not_a("source"));
        };
        let op = match values.get(at.op) {
            Some(Datum::String("r")) => Op::Snapshot,
            Some(Datum::String("c")) => Op::Created,
            Some(Datum::String("u")) => Op::Updated,
            Some(Datum::String("d")) => Op::Deleted,
            Some(Datum::String("t")) => Op::Truncated,
            _ => Op::Other,
        };
        let table = match source.get(at.table).map(some) {
            Some(Datum::String(table)) => (*table).to_owned(),
            _ => String::new(),
        };
        let number = |index: usize| match source.get(index).map(some) {
            Some(Datum::Long(number)) => Some(*number),
            _ => None,
        };
        Ok(Change {
            op,
            table,
            before: row(at.before),
            after: row(at.after),
            lsn: number(at.lsn),
            committed_us: number(at.committed_us),
        })
    }

    fn row_of(&self, ty: &Type, datum: &Datum<'_>) -> Option<Row> {
        let ty = non_null(&self.schema, ty);
        let (View::Record(_, fields), Datum::Record(values)) =
            (self.schema.resolve(ty), some(datum))
        else {
            return None;
        };
        let cells = fields.iter().zip(values);
        let words = cells.map(|(field, value)| in_words(&self.schema, &field.ty, value));
        Some(Row {
            columns: Arc::clone(&self.columns),
            values: joined(words),
        })
    }
}

impl Envelope {
    fn find(schema: &Schema) -> Option<Self> {
        let View::Record(_, fields) = schema.view() else {
            return None;
        };
        let place = |name: &str| fields.iter().position(|field| field.name == name);
        let source = place("source")?;
        let View::Record(_, about) = schema.resolve(non_null(schema, &fields.get(source)?.ty))
        else {
            return None;
        };
        let about_place = |name: &str| about.iter().position(|field| field.name == name);
        Some(Self {
            before: place("before")?,
            after: place("after")?,
            op: place("op")?,
            source,
            table: about_place("table")?,
            lsn: about_place("lsn")?,
            committed_us: about_place("ts_us")?,
        })
    }
}

fn joined(words: impl Iterator<Item = Option<String>>) -> Box<str> {
    let words: Vec<_> = words
        .map(|word| word.unwrap_or_else(|| NULL.to_owned()))
        .collect();
    words.join(SEPARATOR).into()
}

fn not_a(field: &'static str) -> Malformed {
    Malformed {
        message: "change",
        field,
        at: 0,
        fault: Fault::OutOfRange,
    }
}

fn field_names(view: View<'_>) -> Arc<[Box<str>]> {
    match view {
        View::Record(_, fields) => fields
            .iter()
            .map(|field| field.name.as_str().into())
            .collect(),
        _ => Arc::default(),
    }
}

/// The branch of an optional type that is not null; any other type itself.
fn non_null<'s>(schema: &'s Schema, ty: &'s Type) -> &'s Type {
    match schema.resolve(ty) {
        View::Union(branches) => branches
            .iter()
            .find(|branch| !matches!(schema.resolve(branch), View::Null))
            .unwrap_or(ty),
        _ => ty,
    }
}

/// What a union holds; any other datum itself.
fn some<'d, 'b>(datum: &'d Datum<'b>) -> &'d Datum<'b> {
    match datum {
        Datum::Union(_, inner) => inner,
        _ => datum,
    }
}

/// A value as its type means it; `None` for null.
fn in_words(schema: &Schema, ty: &Type, datum: &Datum<'_>) -> Option<String> {
    if let (Datum::Union(branch, inner), View::Union(branches)) = (datum, schema.resolve(ty)) {
        return in_words(schema, branches.get(*branch as usize)?, inner);
    }
    let meaning = schema
        .properties(ty)
        .and_then(|properties| properties.get("connect.name"))
        .and_then(|name| name.as_str())
        .unwrap_or_default();
    Some(match (datum, schema.resolve(ty)) {
        (Datum::Null, _) => return None,
        (Datum::Boolean(value), _) => value.to_string(),
        (Datum::Int(value), _) => counted(i64::from(*value), meaning),
        (Datum::Long(value), _) => counted(*value, meaning),
        (Datum::Float(value), _) => value.to_string(),
        (Datum::Double(value), _) => value.to_string(),
        (Datum::String(value), _) => printable(value),
        (Datum::Bytes(value) | Datum::Fixed(value), _) => match meaning {
            "org.apache.kafka.connect.data.Decimal" => decimal(value, scale_of(schema, ty)),
            "io.debezium.data.Bits" => bits(value, schema, ty),
            _ => hex(value),
        },
        (Datum::Enum(symbol), View::Enum(_, symbols)) => symbols.get(*symbol as usize)?.clone(),
        (Datum::Array(items), View::Array(ty)) => listed(
            '[',
            items.iter().map(|item| or_null(in_words(schema, ty, item))),
            ']',
        ),
        (Datum::Map(entries), View::Map(ty)) => {
            let entries = entries.iter().map(|(key, item)| {
                format!("{} {}", printable(key), or_null(in_words(schema, ty, item)))
            });
            listed('{', entries, '}')
        }
        (Datum::Record(values), View::Record(_, fields)) => match (meaning, values.as_slice()) {
            ("io.debezium.data.VariableScaleDecimal", [Datum::Int(scale), Datum::Bytes(value)]) => {
                decimal(value, i64::from(*scale))
            }
            ("io.debezium.data.geometry.Point", [Datum::Double(x), Datum::Double(y), ..]) => {
                format!("({x},{y})")
            }
            _ => {
                let entries = fields.iter().zip(values).map(|(field, value)| {
                    format!(
                        "{} {}",
                        field.name,
                        or_null(in_words(schema, &field.ty, value))
                    )
                });
                listed('{', entries, '}')
            }
        },
        // A datum of another schema.
        _ => return None,
    })
}

/// An integer that may be a count of days, milliseconds, ..
fn counted(value: i64, meaning: &str) -> String {
    const MILLIS: i64 = 1_000;
    const MICROS: i64 = 1_000_000;
    const NANOS: i64 = 1_000_000_000;
    match meaning {
        "io.debezium.time.Date" | "org.apache.kafka.connect.data.Date" => date(value),
        "io.debezium.time.Time" | "org.apache.kafka.connect.data.Time" => time(value, MILLIS),
        "io.debezium.time.MicroTime" => time(value, MICROS),
        "io.debezium.time.NanoTime" => time(value, NANOS),
        "io.debezium.time.Timestamp" | "org.apache.kafka.connect.data.Timestamp" => {
            timestamp(value, MILLIS)
        }
        "io.debezium.time.MicroTimestamp" => timestamp(value, MICROS),
        "io.debezium.time.NanoTimestamp" => timestamp(value, NANOS),
        "io.debezium.time.MicroDuration" => duration(value, MICROS),
        "io.debezium.time.NanoDuration" => duration(value, NANOS),
        _ => value.to_string(),
    }
}

/// `2026-11-23`, of days since 1970-01-01 in the proleptic Gregorian calendar.
fn date(days: i64) -> String {
    // Years begin in March, so that the day which leap years add is a year's last; eras of 400
    // years have 146 097 days each.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    if year > 0 {
        format!("{year:04}-{month:02}-{day:02}")
    } else {
        format!("{:04}-{month:02}-{day:02} BC", 1 - year)
    }
}

/// `09:41:03.5`, of units since midnight, as many of which make a second.
fn time(value: i64, per_second: i64) -> String {
    let (seconds, rest) = (value.div_euclid(per_second), value.rem_euclid(per_second));
    let mut text = format!(
        "{:02}:{:02}:{:02}",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    );
    if rest != 0 {
        let width = per_second.ilog10() as usize;
        let fraction = format!("{rest:0width$}");
        let _ = write!(text, ".{}", fraction.trim_end_matches('0'));
    }
    text
}

/// `2026-11-23 09:41:03.5`, of units since 1970.
fn timestamp(value: i64, per_second: i64) -> String {
    let per_day = 86_400 * per_second;
    let day = date(value.div_euclid(per_day));
    let time = time(value.rem_euclid(per_day), per_second);
    match day.strip_suffix(" BC") {
        Some(day) => format!("{day} {time} BC"),
        None => format!("{day} {time}"),
    }
}

/// `-3 d 02:03:04.5`
fn duration(value: i64, per_second: i64) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let value = value.checked_abs().unwrap_or(i64::MAX);
    let per_day = 86_400 * per_second;
    let time = time(value % per_day, per_second);
    match value / per_day {
        0 => format!("{sign}{time}"),
        days => format!("{sign}{days} d {time}"),
    }
}

/// `09:41:03.120` of µs since 1970: the hour of day in UTC.
#[must_use]
pub fn clock(us: i64) -> String {
    let ms = us.rem_euclid(86_400_000_000) / 1_000;
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{:03}", ms % 1_000)
}

fn scale_of(schema: &Schema, ty: &Type) -> i64 {
    schema
        .properties(ty)
        .and_then(|properties| properties.get("scale"))
        .and_then(serde_json::Value::as_i64)
        .unwrap_or(0)
}

/// An unscaled integer in two's complement, as a number.
fn decimal(unscaled: &[u8], scale: i64) -> String {
    /// PostgreSQL's own limits are 131 072 digits before the point and 16 383 behind it; a number
    /// of more than this many digits is no news on a screen.
    const DIGITS_MAX: usize = 512;
    match i32::try_from(scale) {
        Ok(scale)
            if scale.unsigned_abs() as usize <= DIGITS_MAX && unscaled.len() <= DIGITS_MAX / 4 =>
        {
            avro::decimal::text(unscaled, scale)
        }
        _ => format!("{} · 10^{}", hex(unscaled), -scale),
    }
}

/// `10101`: the highest bit first, as PostgreSQL writes it, as many as the column's length.
fn bits(bytes: &[u8], schema: &Schema, ty: &Type) -> String {
    let length = schema
        .properties(ty)
        .and_then(|properties| properties.get("connect.parameters"))
        .and_then(|parameters| parameters.get("length")?.as_str()?.parse().ok())
        .unwrap_or(0);
    // The lowest byte comes first, and only as many as the value needs.
    let digits: String = bytes
        .iter()
        .rev()
        .map(|byte| format!("{byte:08b}"))
        .collect();
    let significant = digits.trim_start_matches('0');
    // More than a line is no news; a length is not believed.
    format!("{significant:0>width$}", width = usize::min(length, 256))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::from("\\x");
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn or_null(value: Option<String>) -> String {
    value.unwrap_or_else(|| "null".to_owned())
}

fn listed(open: char, items: impl Iterator<Item = String>, close: char) -> String {
    format!("{open}{}{close}", items.collect::<Vec<_>>().join(", "))
}

/// Text that cannot move a terminal's cursor.
fn printable(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    text.chars()
        .fold(String::with_capacity(text.len()), |mut out, letter| {
            if letter.is_control() {
                out.extend(letter.escape_default())
            } else {
                out.push(letter)
            }
            out
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(-1), "1969-12-31");
        assert_eq!(date(18_321), "2020-02-29");
        assert_eq!(date(20_780), "2026-11-23");
        assert_eq!(date(10_956), "1999-12-31");
        assert_eq!(date(-719_162), "0001-01-01");
        assert_eq!(date(-719_163), "0001-12-31 BC");
        // i32's ends are PostgreSQL's infinities in Debezium's hands.
        assert_eq!(date(i32::MAX.into()), "5881580-07-11");
        assert_eq!(date(i32::MIN.into()), "5877642-06-23 BC");
    }

    #[test]
    fn counts_are_times() {
        let micro = "io.debezium.time.MicroTimestamp";
        assert_eq!(
            counted(1_582_979_696_789_012, micro),
            "2020-02-29 12:34:56.789012"
        );
        assert_eq!(counted(-1, micro), "1969-12-31 23:59:59.999999");
        assert_eq!(counted(i64::MIN, micro), "290309-12-21 19:59:05.224192 BC");
        assert_eq!(
            counted(1_582_979_696_789, "io.debezium.time.Timestamp"),
            "2020-02-29 12:34:56.789"
        );
        assert_eq!(
            counted(1_582_979_696_000, "io.debezium.time.Timestamp"),
            "2020-02-29 12:34:56"
        );
        assert_eq!(
            counted(1, "io.debezium.time.NanoTimestamp"),
            "1970-01-01 00:00:00.000000001"
        );
        assert_eq!(
            counted(45_296_789_012, "io.debezium.time.MicroTime"),
            "12:34:56.789012"
        );
        assert_eq!(counted(86_400_000, "io.debezium.time.Time"), "24:00:00");
        assert_eq!(
            counted(37_091_106_789_000, "io.debezium.time.MicroDuration"),
            "429 d 07:05:06.789"
        );
        assert_eq!(
            counted(-61_000_000, "io.debezium.time.MicroDuration"),
            "-00:01:01"
        );
        assert_eq!(counted(7, ""), "7");
        assert_eq!(clock(1_582_979_696_789_012), "12:34:56.789");
    }

    #[test]
    fn decimals_are_numbers() {
        assert_eq!(decimal(&[0x04, 0xd2], 2), "12.34");
        assert_eq!(decimal(&[0xff], 2), "-0.01");
        assert_eq!(decimal(&[5], 40_000), "\\x05 · 10^-40000");
        assert_eq!(decimal(&[0; 5_000], 0).len(), 2 + 10_000 + " · 10^0".len());
    }

    #[test]
    fn text_cannot_move_the_cursor() {
        assert_eq!(printable("gift — 🎁"), "gift — 🎁");
        assert_eq!(printable("a\nb\u{1b}[2J"), "a\\nb\\u{1b}[2J");
    }

    /// Schema and datum of a value with `field` as its one column.
    fn shown(field: &str, datum: &[u8]) -> Option<String> {
        let text =
            format!(r#"{{"type":"record","name":"V","fields":[{{"name":"v","type":{field}}}]}}"#);
        let row = Decoder::new(text.parse().unwrap()).row(datum).unwrap();
        row.cell("v").unwrap().map(str::to_owned)
    }

    #[test]
    fn values_mean_what_their_schema_says() {
        let date =
            r#"["null",{"type":"int","connect.version":1,"connect.name":"io.debezium.time.Date"}]"#;
        assert_eq!(shown(date, &[0]), None);
        assert_eq!(shown(date, &[2, 0xa2, 0x9e, 0x02]).unwrap(), "2020-02-29");
        let price = r#"{"type":"bytes","scale":2,"precision":10,"connect.version":1,"connect.parameters":{"scale":"2","connect.decimal.precision":"10"},"connect.name":"org.apache.kafka.connect.data.Decimal","logicalType":"decimal"}"#;
        assert_eq!(shown(price, &[4, 0x04, 0xd2]).unwrap(), "12.34");
        let prices = format!(r#"{{"type":"array","items":["null",{price}]}}"#);
        assert_eq!(
            shown(&prices, &[4, 2, 4, 0x04, 0xd2, 0, 0]).unwrap(),
            "[12.34, null]"
        );
        let bit5 = r#"{"type":"bytes","connect.version":1,"connect.parameters":{"length":"5"},"connect.name":"io.debezium.data.Bits"}"#;
        assert_eq!(shown(bit5, &[2, 0x05]).unwrap(), "00101");
        let any = r#"{"type":"record","name":"VariableScaleDecimal","namespace":"io.debezium.data","fields":[{"name":"scale","type":"int"},{"name":"value","type":"bytes"}],"connect.doc":"Variable scaled decimal","connect.version":1,"connect.name":"io.debezium.data.VariableScaleDecimal"}"#;
        assert_eq!(shown(any, &[6, 4, 0x04, 0xd2]).unwrap(), "1.234");
        assert_eq!(shown(r#""bytes""#, &[4, 0xde, 0xad]).unwrap(), "\\xdead");
        assert_eq!(
            shown(r#"{"type":"map","values":"int"}"#, &[2, 2, b'k', 14, 0]).unwrap(),
            "{k 7}"
        );
    }
}
