//! What is done to one column's value, row after row: from the bytes that PostgreSQL sent to the
//! bytes of the record, in one pass.

use std::io::Write as _;
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use super::form::{Form, put_java_float};
use super::number::{self, Decimal, NotANumber};
use super::schema::Value;
use super::time::{self, Instant, Point};
use super::transform::{Hash, cut};

/// What is done to one column's value.
#[derive(Debug)]
pub(crate) enum Step {
    /// `t` or `f`
    Boolean,
    /// `bit(1)`: `1` or `0`, as a boolean.
    Bit,
    /// A bit string: little-endian bytes, without the zero bytes at the end.
    Bits,
    /// int2, int4, int8.
    Integer,
    /// oid: four bytes without a sign.
    Oid,
    /// float4
    Float,
    /// float8
    Double,
    /// A string as it is.
    Text,
    /// A string whose binary form is not its text.
    Spelled(Spelled),
    /// uuid: text as it is.
    Uuid,
    /// numeric as a Decimal of this scale.
    Decimal(u32),
    /// numeric as a Decimal of this scale, printed as a number: JSON with `decimal.format=NUMERIC`.
    DecimalNumber(u32),
    /// numeric as VariableScaleDecimal.
    DecimalVariable,
    /// numeric as FLOAT64.
    DecimalDouble,
    /// numeric as STRING, at the column's scale where it has one.
    DecimalText(Option<u32>),
    /// money as a Decimal of this scale.
    Money(u32),
    /// money as a Decimal of this scale, printed as a number.
    MoneyNumber(u32),
    /// money as FLOAT64.
    MoneyDouble,
    /// money as STRING.
    MoneyText,
    /// date: days since 1970; `wrap`: infinity as an overflow of them.
    Date { wrap: bool },
    /// date: `2020-02-29Z`
    DateText { wrap: bool },
    /// time since midnight.
    Time(Unit),
    /// time: `12:34:56.789Z`
    TimeText,
    /// timestamp since 1970; `wrap`: microseconds beyond the range as Java's overflow.
    Timestamp { unit: Unit, wrap: bool },
    /// timestamp: `2020-02-29T12:34:56.789Z`
    TimestampText,
    /// timestamptz in UTC, this many digits in the fraction.
    ZonedTimestamp(usize),
    /// timetz in UTC, the fraction trimmed.
    ZonedTime,
    /// interval in microseconds.
    Interval,
    /// interval: `P1Y2M3DT4H5M6.789S`
    IntervalText,
    /// bytea.
    Bytea(Binary),
    /// A type that we do not know: its text, as bytes.
    Opaque(Binary),
    /// A geometric type that we do not know: the text that PostgreSQL's JDBC driver prints.
    Geometric(Binary),
    /// hstore as a JSON object.
    HstoreJson,
    /// hstore as MAP.
    HstoreMap,
    /// point
    Point,
    /// PostGIS's geometry and geography: hex of EWKB.
    Geometry,
    /// pgvector's vector (doubles) and halfvec (floats).
    Vector { single: bool },
    /// pgvector's sparsevec.
    SparseVector,
    /// A one-dimensional array.
    Array(Box<Array>),
    /// int2vector and oidvector; Debezium shows none of their elements.
    Integers { shown: bool },
    /// What another step makes of the value after a way through Java's `java.sql` classes.
    Java(Box<Self>),
    /// A `java.util.Date` as SimpleHeaderConverter writes it: another step's number of days, or of
    /// milliseconds.
    JavaDate { days: bool, step: Box<Self> },
    /// The same text for every value, null too.
    Masked(Box<str>),
    /// The beginning of what another step makes.
    Cut { units: usize, step: Box<Self> },
    /// A digest of a text.
    Hashed(Box<Hash>),
    /// Nothing: the plan writes what stands for null. Debezium's answer to `bit(n)[]`.
    Null,
}

/// The elements of an array.
#[derive(Debug)]
pub(crate) struct Array {
    /// Of one element.
    pub(crate) step: Step,
    /// Whether an element may be null in the schema.
    pub(crate) optional: bool,
    /// Whether an element may be null; where not, a null makes the whole array null.
    pub(crate) nulls: bool,
    /// Between elements: `,`, and `:` for PostGIS's types.
    pub(crate) delimiter: u8,
    /// Elements with escapes are spelled out here.
    pub(crate) scratch: Mutex<Vec<u8>>,
}

/// A type that is a string in Connect, by what its binary form is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spelled {
    /// jsonb, ltree: a version, and the text.
    Json,
    /// inet, and cidr, whose mask is always printed.
    Network { always_masked: bool },
    /// macaddr, macaddr8
    Mac,
    /// tsvector
    Lexemes,
    /// A range of such values.
    Range(Bound),
}

/// What a range is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    Integer,
    Numeric,
    Date,
    Timestamp { zoned: bool },
}

/// What a time is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Millis,
    Micros,
    Nanos,
}

/// `binary.handling.mode`, as a step has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binary {
    Bytes,
    Base64,
    Base64UrlSafe,
    Hex,
}

/// Why a value was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The value has no form in the column's Connect type: NaN in a Decimal. Written as null.
    Unrepresentable(&'static str),
    /// The same; and where it is an element, its whole array is written as null.
    Unreadable(&'static str),
    /// Not the text or bytes of the type; what was expected.
    Malformed(&'static str),
}

impl Fault {
    /// What was expected instead.
    pub(crate) fn expected(self) -> &'static str {
        match self {
            Self::Unrepresentable(expected)
            | Self::Unreadable(expected)
            | Self::Malformed(expected) => expected,
        }
    }
}

pub(crate) type Done = Result<(), Fault>;

pub(crate) const NUMBER: Fault = Fault::Malformed("a number");

impl Step {
    /// Appends the value whose text PostgreSQL sent. On an error, `out` may have grown.
    #[inline]
    pub(crate) fn text<F: Form>(&self, text: &[u8], out: &mut Vec<u8>) -> Done {
        match self {
            Self::Text | Self::Uuid | Self::Spelled(_) => F::string(out, text),
            Self::Integer | Self::Oid => {
                let value = parse_integer(text).ok_or(Fault::Malformed("an integer"))?;
                F::integer_text(out, text, value);
            }
            Self::Boolean => match text {
                b"t" => F::boolean(out, true),
                b"f" => F::boolean(out, false),
                _ => return Err(Fault::Malformed("t or f")),
            },
            Self::Decimal(scale) => {
                number::put::<F>(&parse_decimal(text)?.rescale(*scale), out);
            }
            Self::ZonedTimestamp(digits) => {
                if let Some((second, fraction)) = time::split_utc(text) {
                    put_utc::<F>(second, fraction, *digits, out);
                    return Ok(());
                }
                let point = time::parse_timestamp(text, true)
                    .ok_or(Fault::Malformed("a timestamp with a time zone"))?;
                put_zoned_timestamp::<F>(point, *digits, out);
            }
            Self::Timestamp { unit, wrap } => {
                let point = parse_timestamp(text)?;
                F::integer(out, count_timestamp(point, *unit, *wrap)?);
            }
            Self::Date { wrap } => F::integer(out, count_date(parse_date(text)?, *wrap)),
            _ => return self.text_rarer::<F>(text, out),
        }
        Ok(())
    }

    #[inline(never)]
    fn text_rarer<F: Form>(&self, text: &[u8], out: &mut Vec<u8>) -> Done {
        match self {
            Self::Bit => match text {
                b"1" => F::boolean(out, true),
                b"0" => F::boolean(out, false),
                _ => return Err(Fault::Unrepresentable("one bit")),
            },
            Self::Bits => put_bits::<F>(text, out)?,
            Self::Float => put_float::<F>(text, out)?,
            Self::Double => put_double::<F>(text, out)?,
            Self::DecimalNumber(scale) => parse_decimal(text)?.rescale(*scale).put_java(out),
            Self::DecimalVariable => number::put_variable::<F>(parse_decimal(text)?, out),
            Self::DecimalDouble => F::double(out, parse_double(text)?),
            Self::DecimalText(scale) => put_decimal_text::<F>(text, *scale, out)?,
            Self::Money(scale) => number::put::<F>(&parse_money(text)?.rescale(*scale), out),
            Self::MoneyNumber(scale) => parse_money(text)?.rescale(*scale).put_java(out),
            Self::MoneyDouble => F::double(out, parse_money(text)?.to_double()),
            Self::MoneyText => {
                let money = parse_money(text)?;
                F::ascii(out, |out| money.put_plain(out));
            }
            Self::DateText { wrap } => {
                put_date_text::<F>(count_date(parse_date(text)?, *wrap), out)
            }
            Self::Time(unit) => F::integer(out, count_time(parse_time(text)?, *unit)),
            Self::TimeText => put_clock_text::<F>(parse_time(text)?, out),
            Self::TimestampText => put_timestamp_text::<F>(parse_timestamp(text)?, out),
            Self::ZonedTime => {
                let micros =
                    time::parse_timetz(text).ok_or(Fault::Malformed("a time with a time zone"))?;
                put_clock_text::<F>(micros, out);
            }
            Self::Interval => F::integer(out, parse_interval(text)?.micros()),
            Self::IntervalText => {
                let interval = parse_interval(text)?;
                F::ascii(out, |out| interval.put_iso(out));
            }
            Self::Bytea(binary) => put_bytea::<F>(text, *binary, out)?,
            Self::Opaque(binary) => put_binary::<F>(text, *binary, out),
            Self::Geometric(binary) => {
                let mut driver = Vec::new();
                put_geometric(text, &mut driver);
                put_binary::<F>(&driver, *binary, out);
            }
            Self::HstoreJson => {
                let mut json = Vec::new();
                put_hstore_json(&java_order(parse_hstore(text)?, |(key, _)| key), &mut json);
                F::string(out, &json);
            }
            Self::HstoreMap => {
                put_hstore_map::<F>(&java_order(parse_hstore(text)?, |(key, _)| key), out)
            }
            Self::Point => put_point::<F>(text, out)?,
            Self::Geometry => put_geometry::<F>(text, out)?,
            Self::Vector { single } => put_vector::<F>(text, *single, out)?,
            Self::SparseVector => put_sparse_vector::<F>(text, out)?,
            Self::Array(array) => array.text::<F>(text, out)?,
            Self::Integers { shown } => put_integers::<F>(text, *shown, out)?,
            Self::Java(step) => put_through_java::<F>(step, text, out)?,
            Self::Null => {}
            Self::JavaDate { days, step } => {
                let mut number = Vec::new();
                step.text::<super::form::Json>(text, &mut number)?;
                put_java_date(&number, *days, out)?;
            }
            Self::Masked(stars) => F::string(out, stars.as_bytes()),
            Self::Cut { units, step } => put_cut::<F>(step, *units, text, out)?,
            Self::Hashed(hash) => F::ascii(out, |out| hash.put(text, out)),
            _ => return Err(Fault::Unrepresentable("a type that Debezium supports")),
        }
        Ok(())
    }
}

/// What is before 1970-01-02 passes for a time, what has no time for a date. No quotes.
///
/// Source: `org.apache.kafka.connect.data.Values.dateFormatFor`.
pub(crate) fn put_java_date(number: &[u8], days: bool, out: &mut Vec<u8>) -> Done {
    const DAY: i64 = 86_400_000;
    let value = parse_integer(number).ok_or(NUMBER)?;
    let millis = if days {
        value.saturating_mul(DAY)
    } else {
        value
    };
    let time = millis.rem_euclid(DAY);
    if millis >= DAY {
        let mut date = Vec::new();
        time::put_date(&mut date, millis / DAY);
        out.extend_from_slice(date.strip_prefix(b"+").unwrap_or(&date));
        if time == 0 {
            return Ok(());
        }
        out.push(b'T');
    }
    let time = time.unsigned_abs();
    time::put_clock(out, time / 1000);
    let _ = write!(out, ".{:03}Z", time % 1000);
    Ok(())
}

/// A value as Debezium gets it where it asks JDBC for an object: the elements of arrays, and dates
/// in a snapshot.
fn put_through_java<F: Form>(step: &Step, text: &[u8], out: &mut Vec<u8>) -> Done {
    match (step, through_java(step, text)?) {
        (Step::Date { .. }, Through::Day(days)) => F::integer(out, narrow(days)),
        (_, Through::Day(days)) => put_date_text::<F>(days, out),
        (Step::Time(unit), Through::Clock(micros)) => F::integer(out, count_time(micros, *unit)),
        (_, Through::Clock(micros)) => put_clock_text::<F>(micros, out),
        (Step::Timestamp { unit, .. }, Through::Point(point)) => {
            F::integer(out, count_timestamp(point, *unit, true)?);
        }
        (Step::ZonedTimestamp(digits), Through::Point(point)) => {
            put_zoned_timestamp::<F>(point, *digits, out);
        }
        (_, Through::Point(point)) => put_timestamp_text::<F>(point, out),
        (_, Through::Same) => return step.text::<F>(text, out),
    }
    Ok(())
}

/// What `java.sql` made of a value.
pub(crate) enum Through {
    /// `java.sql.Date`: days since 1970.
    Day(i64),
    /// `java.sql.Time`: microseconds since midnight.
    Clock(i64),
    /// `java.sql.Timestamp`
    Point(Point<Instant>),
    /// What it was.
    Same,
}

/// As Java narrows a count of days to 32 bits.
#[allow(clippy::cast_possible_truncation, reason = "as Java does")]
pub(crate) fn narrow(days: i64) -> i64 {
    i64::from(days as i32)
}

/// Milliseconds are the least that `java.sql.Time` knows, seconds where there is a zone; days that
/// do not exist, numbers that `BigDecimal` does not have, and sparse vectors cannot be read.
pub(crate) fn through_java(step: &Step, text: &[u8]) -> Result<Through, Fault> {
    const NO_DAY: Fault = Fault::Unreadable("a day of Java's calendar");
    Ok(match step {
        Step::SparseVector => {
            return Err(Fault::Unreadable("a type that Debezium reads in arrays"));
        }
        Step::Date { .. } | Step::DateText { .. } => {
            Through::Day(time::through_java(parse_date(text)?).ok_or(NO_DAY)?)
        }
        Step::Time(_) | Step::TimeText => {
            Through::Clock(parse_time(text)?.rem_euclid(86_400_000_000) / 1000 * 1000)
        }
        Step::ZonedTime => {
            let micros =
                time::parse_timetz(text).ok_or(Fault::Malformed("a time with a time zone"))?;
            Through::Clock(micros / 1_000_000 * 1_000_000)
        }
        Step::Timestamp { .. } | Step::TimestampText => {
            Through::Point(match parse_timestamp(text)? {
                Point::At(instant) => Point::At(instant.read_as_julian()),
                infinite => infinite,
            })
        }
        Step::ZonedTimestamp(_) => {
            let point = time::parse_timestamp(text, true)
                .ok_or(Fault::Malformed("a timestamp with a time zone"))?;
            Through::Point(match point {
                Point::At(instant) => Point::At(instant.through_java().ok_or(NO_DAY)?),
                Point::Past => Point::At(Instant::past_through_java()),
                Point::Future => Point::Future,
            })
        }
        Step::Decimal(_)
        | Step::DecimalNumber(_)
        | Step::DecimalVariable
        | Step::DecimalDouble
        | Step::DecimalText(_) => match number::parse(text) {
            Ok(_) | Err(NotANumber::Malformed) => Through::Same,
            Err(_) => return Err(Fault::Unreadable("a finite number")),
        },
        _ => Through::Same,
    })
}

fn put_integers<F: Form>(text: &[u8], shown: bool, out: &mut Vec<u8>) -> Done {
    let mark = F::open_array(out);
    let mut count = 0;
    for word in numbers(text).filter(|_| shown) {
        let value = parse_integer(word).ok_or(NUMBER)?;
        F::item(out, count);
        F::integer_text(out, word, value);
        count += 1;
    }
    F::close_array(out, mark, count);
    Ok(())
}

/// Text is cut as text, bytes as bytes, after they were converted.
fn put_cut<F: Form>(step: &Step, units: usize, text: &[u8], out: &mut Vec<u8>) -> Done {
    let mut driver = Vec::new();
    let value = match step {
        Step::Text => {
            F::string(out, cut(text, units));
            return Ok(());
        }
        Step::Geometric(binary) => {
            put_geometric(text, &mut driver);
            Step::Opaque(*binary).value(&driver)?
        }
        Step::HstoreJson => {
            let pairs = java_order(parse_hstore(text)?, |(key, _)| key);
            put_hstore_json(&pairs, &mut driver);
            Step::Text.value(&driver)?
        }
        _ => step.value(text)?,
    };
    match value {
        Value::Bytes(bytes) => F::bytes(out, &bytes[..units.min(bytes.len())]),
        Value::String(text) => F::string(out, cut(text.as_bytes(), units)),
        _ => step.text::<F>(text, out)?,
    }
    Ok(())
}

fn parse_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, text),
    };
    // As PostgreSQL prints them: no zeros in front, no plus.
    if digits.is_empty() || digits.len() > 19 || digits[0] == b'0' && text.len() > 1 {
        return None;
    }
    // Nineteen digits fit; whether the sum does is asked once, at the end.
    let mut value: u64 = 0;
    for &byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u64::from(byte - b'0');
    }
    if negative {
        0_i64.checked_sub_unsigned(value)
    } else {
        i64::try_from(value).ok()
    }
}

pub(crate) fn decimal_fault(fault: NotANumber) -> Fault {
    match fault {
        NotANumber::Malformed => NUMBER,
        _ => Fault::Unrepresentable("a finite number"),
    }
}

#[inline]
fn parse_decimal(text: &[u8]) -> Result<Decimal, Fault> {
    number::parse(text).map_err(decimal_fault)
}

pub(crate) fn parse_money(text: &[u8]) -> Result<Decimal, Fault> {
    number::parse_money(text).ok_or(Fault::Malformed("an amount of money"))
}

pub(crate) fn parse_date(text: &[u8]) -> Result<Point<i64>, Fault> {
    time::parse_date(text).ok_or(Fault::Malformed("a date, YYYY-MM-DD"))
}

pub(crate) fn parse_time(text: &[u8]) -> Result<i64, Fault> {
    time::parse_time(text).ok_or(Fault::Malformed("a time, HH:MM:SS"))
}

pub(crate) fn parse_timestamp(text: &[u8]) -> Result<Point<Instant>, Fault> {
    time::parse_timestamp(text, false).ok_or(Fault::Malformed("a timestamp, YYYY-MM-DD HH:MM:SS"))
}

pub(crate) fn parse_interval(text: &[u8]) -> Result<time::Interval, Fault> {
    time::parse_interval(text).ok_or(Fault::Malformed("an interval in PostgreSQL's own style"))
}

fn parse_double(text: &[u8]) -> Result<f64, Fault> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(NUMBER)
}

/// Whether a float's text is digits, point, sign and exponent only.
fn is_finite_text(text: &[u8]) -> bool {
    !text.is_empty()
        && text
            .iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E'))
}

fn put_float<F: Form>(text: &[u8], out: &mut Vec<u8>) -> Done {
    let value: f32 = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(NUMBER)?;
    F::float(out, value);
    Ok(())
}

fn put_double<F: Form>(text: &[u8], out: &mut Vec<u8>) -> Done {
    F::double(out, parse_double(text)?);
    Ok(())
}

fn put_decimal_text<F: Form>(text: &[u8], scale: Option<u32>, out: &mut Vec<u8>) -> Done {
    match number::parse(text) {
        Ok(decimal) if scale.is_none_or(|scale| decimal.scale() == scale) => F::string(out, text),
        parsed => put_decimal_name::<F>(parsed, scale, out)?,
    }
    Ok(())
}

pub(crate) fn put_decimal_name<F: Form>(
    parsed: Result<Decimal, NotANumber>,
    scale: Option<u32>,
    out: &mut Vec<u8>,
) -> Done {
    match parsed {
        Ok(decimal) => {
            let scale = scale.unwrap_or_else(|| decimal.scale());
            let decimal = decimal.rescale(scale);
            F::ascii(out, |out| decimal.put_plain(out));
        }
        // Java's names of these, as Debezium prints them.
        Err(NotANumber::Nan) => F::string(out, b"NAN"),
        Err(NotANumber::Infinity) => F::string(out, b"POSITIVE_INFINITY"),
        Err(NotANumber::NegativeInfinity) => F::string(out, b"NEGATIVE_INFINITY"),
        Err(NotANumber::Malformed) => return Err(NUMBER),
    }
    Ok(())
}

/// Days since 1970. Infinity is the last or first day that 32 bits can count; or, with `wrap`,
/// what is left of PostgreSQL's own infinity when 10957 days are added to it in 32 bits.
pub(crate) fn count_date(date: Point<i64>, wrap: bool) -> i64 {
    match (date, wrap) {
        (Point::At(days), _) => days,
        (Point::Future, false) => i32::MAX.into(),
        (Point::Past, false) => i32::MIN.into(),
        (Point::Future, true) => -2_147_472_692,
        (Point::Past, true) => -2_147_472_691,
    }
}

pub(crate) fn count_time(micros: i64, unit: Unit) -> i64 {
    match unit {
        Unit::Millis => micros / 1000,
        Unit::Micros => micros,
        Unit::Nanos => micros * 1000,
    }
}

/// PostgreSQL's JDBC driver's infinity, in milliseconds.
const FUTURE_MS: i64 = 9_223_372_036_825_200;
const PAST_MS: i64 = -9_223_372_036_832_400;

#[inline]
pub(crate) fn count_timestamp(point: Point<Instant>, unit: Unit, wrap: bool) -> Result<i64, Fault> {
    let counted = match (point, unit) {
        (Point::At(instant), Unit::Micros) if wrap => Some(instant.micros_as_java()),
        (Point::At(instant), Unit::Micros) => instant.micros(),
        (Point::At(instant), Unit::Millis) => instant.millis(),
        (Point::At(instant), Unit::Nanos) if wrap => instant.nanos_as_java(),
        (Point::At(instant), Unit::Nanos) => instant.nanos(),
        (Point::Future, Unit::Millis) => Some(FUTURE_MS),
        (Point::Past, Unit::Millis) => Some(PAST_MS),
        (Point::Future, Unit::Micros) => Some(FUTURE_MS * 1000),
        (Point::Past, Unit::Micros) => Some(PAST_MS * 1000),
        (Point::Future, Unit::Nanos) => Some(i64::MAX),
        (Point::Past, Unit::Nanos) => Some(i64::MIN),
    };
    counted.ok_or(Fault::Unrepresentable("a timestamp that 64 bits can count"))
}

pub(crate) fn put_date_text<F: Form>(days: i64, out: &mut Vec<u8>) {
    F::ascii(out, |out| {
        time::put_date(out, days);
        out.push(b'Z');
    });
}

/// Midnight at the day's end is its beginning.
pub(crate) fn put_clock_text<F: Form>(micros: i64, out: &mut Vec<u8>) {
    let micros = micros.rem_euclid(86_400_000_000).unsigned_abs();
    F::ascii(out, |out| {
        time::put_clock(out, micros / 1_000_000);
        time::put_fraction_trimmed(out, micros % 1_000_000);
        out.push(b'Z');
    });
}

pub(crate) fn put_timestamp_text<F: Form>(point: Point<Instant>, out: &mut Vec<u8>) {
    let instant = match point {
        Point::At(instant) => instant,
        Point::Future => Instant::from_micros(FUTURE_MS * 1000),
        Point::Past => Instant::from_micros(PAST_MS * 1000),
    };
    F::ascii(out, |out| {
        time::put_date_time(out, instant.seconds);
        time::put_fraction_trimmed(out, instant.micros.into());
        out.push(b'Z');
    });
}

#[inline]
pub(crate) fn put_zoned_timestamp<F: Form>(
    point: Point<Instant>,
    digits: usize,
    out: &mut Vec<u8>,
) {
    if let Point::At(instant) = point
        && let Some(mut text) = time::iso(instant)
    {
        let length = if digits == 0 { 19 } else { 20 + digits.min(6) };
        return F::ascii(out, |out| match text.get_mut(length) {
            Some(end) => {
                *end = b'Z';
                out.extend_from_slice(&text[..=length]);
            }
            None => {
                out.extend_from_slice(&text);
                out.push(b'Z');
            }
        });
    }
    match point {
        Point::At(instant) => F::ascii(out, |out| {
            time::put_date_time(out, instant.seconds);
            time::put_fraction(out, instant.micros, digits);
            out.push(b'Z');
        }),
        Point::Future => F::string(out, b"infinity"),
        Point::Past => F::string(out, b"-infinity"),
    }
}

/// A timestamp that only changes its punctuation: `2020-02-29 10:34:56.1+00`, taken apart.
#[inline]
fn put_utc<F: Form>(second: &[u8; 19], fraction: &[u8], digits: usize, out: &mut Vec<u8>) {
    const ZEROS: &[u8; 6] = b"000000";
    let mut second = *second;
    second[10] = b'T';
    F::ascii(out, |out| {
        out.extend_from_slice(&second);
        if digits > 0 {
            out.push(b'.');
            let kept = &fraction[..fraction.len().min(digits)];
            out.extend_from_slice(kept);
            out.extend_from_slice(&ZEROS[kept.len()..digits.min(6)]);
        }
        out.push(b'Z');
    });
}

fn put_bits<F: Form>(text: &[u8], out: &mut Vec<u8>) -> Done {
    let (mut short, mut long);
    let bytes = if text.len() <= 256 {
        short = [0_u8; 32];
        &mut short[..]
    } else {
        long = vec![0_u8; text.len().div_ceil(8)];
        &mut long[..]
    };
    for (at, &bit) in text.iter().rev().enumerate() {
        match bit {
            b'0' => {}
            b'1' => bytes[at / 8] |= 1 << (at % 8),
            _ => return Err(Fault::Malformed("bits")),
        }
    }
    let zeros = bytes.iter().rev().take_while(|&&byte| byte == 0).count();
    F::bytes(out, &bytes[..bytes.len() - zeros]);
    Ok(())
}

pub(crate) fn put_uuid(bytes: &[u8; 16], out: &mut Vec<u8>) {
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        super::form::put_hex(out, &[*byte]);
    }
}

/// Appends bytes as `binary.handling.mode` says.
pub(crate) fn put_binary<F: Form>(bytes: &[u8], binary: Binary, out: &mut Vec<u8>) {
    match binary {
        Binary::Bytes => F::bytes(out, bytes),
        binary => F::ascii(out, |out| put_binary_text(bytes, binary, out)),
    }
}

/// Appends bytes as text.
pub(crate) fn put_binary_text(bytes: &[u8], binary: Binary, out: &mut Vec<u8>) {
    match binary {
        Binary::Bytes | Binary::Base64 => super::form::put_base64(out, bytes),
        Binary::Hex => super::form::put_hex(out, bytes),
        Binary::Base64UrlSafe => {
            let mark = out.len();
            out.resize(mark + bytes.len().div_ceil(3) * 4, 0);
            let written = URL_SAFE.encode_slice(bytes, &mut out[mark..]).unwrap_or(0);
            out.truncate(mark + written);
        }
    }
}

const BYTEA: Fault = Fault::Malformed("bytea's text");

/// The bytes of bytea's text.
pub(crate) fn parse_bytea(text: &[u8]) -> Result<Vec<u8>, Fault> {
    match text.strip_prefix(b"\\x") {
        Some(hex) if is_hex(hex) => Ok(hex.chunks_exact(2).map(hex_byte).collect()),
        Some(_) => Err(BYTEA),
        None => unescape_bytea(text).ok_or(BYTEA),
    }
}

fn is_hex(text: &[u8]) -> bool {
    text.len().is_multiple_of(2) && text.iter().all(u8::is_ascii_hexdigit)
}

/// bytea's text, `\xdeadbeef` or the older form with octal escapes.
fn put_bytea<F: Form>(text: &[u8], binary: Binary, out: &mut Vec<u8>) -> Done {
    let Some(hex) = text.strip_prefix(b"\\x") else {
        put_binary::<F>(&unescape_bytea(text).ok_or(BYTEA)?, binary, out);
        return Ok(());
    };
    if !is_hex(hex) {
        return Err(BYTEA);
    }
    match binary {
        Binary::Hex => F::string(out, hex),
        Binary::Bytes if F::OMITS_NULLS => {
            let bytes: Vec<u8> = hex.chunks_exact(2).map(hex_byte).collect();
            F::bytes(out, &bytes);
        }
        Binary::Bytes if F::WORDLESS => {
            super::form::put_length(out, hex.len() / 2);
            out.extend(hex.chunks_exact(2).map(hex_byte));
        }
        Binary::Bytes | Binary::Base64 => F::ascii(out, |out| {
            put_base64_of_hex(&STANDARD, hex, out);
        }),
        Binary::Base64UrlSafe => F::ascii(out, |out| put_base64_of_hex(&URL_SAFE, hex, out)),
    }
    Ok(())
}

/// Through a few bytes at a time: multiples of three leave no padding between them.
fn put_base64_of_hex(alphabet: &impl base64::Engine, hex: &[u8], out: &mut Vec<u8>) {
    for chunk in hex.chunks(2 * 48) {
        let mut bytes = [0; 48];
        let mut count = 0;
        for (slot, pair) in bytes.iter_mut().zip(chunk.chunks_exact(2)) {
            *slot = hex_byte(pair);
            count += 1;
        }
        let mut text = [0; 64];
        let written = alphabet
            .encode_slice(&bytes[..count], &mut text)
            .unwrap_or(0);
        out.extend_from_slice(&text[..written]);
    }
}

/// Of two hex digits, known to be.
fn hex_byte(pair: &[u8]) -> u8 {
    pair.iter().fold(0, |byte, &digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            _ => (digit | 0x20).wrapping_sub(b'a').wrapping_add(10),
        };
        byte << 4 | value & 15
    })
}

fn unescape_bytea(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'\\' {
            bytes.push(byte);
        } else if let Some(tail) = rest.strip_prefix(b"\\") {
            bytes.push(b'\\');
            rest = tail;
        } else {
            let (octal, tail) = rest.split_first_chunk::<3>()?;
            let value = octal.iter().try_fold(0_u32, |value, digit| {
                matches!(digit, b'0'..=b'7').then(|| value * 8 + u32::from(digit - b'0'))
            })?;
            bytes.push(u8::try_from(value).ok()?);
            rest = tail;
        }
    }
    Some(bytes)
}

pub(crate) type Pair = (Vec<u8>, Option<Vec<u8>>);

/// `"k"=>"v", "n"=>NULL`, in the order of the text.
fn parse_hstore(text: &[u8]) -> Result<Vec<Pair>, Fault> {
    const HSTORE: Fault = Fault::Malformed("hstore's text");
    fn quoted(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
        let mut rest = text.strip_prefix(b"\"")?;
        let mut value = Vec::new();
        loop {
            let (&byte, tail) = rest.split_first()?;
            rest = tail;
            match byte {
                b'"' => return Some((value, rest)),
                b'\\' => {
                    let (&escaped, tail) = rest.split_first()?;
                    value.push(escaped);
                    rest = tail;
                }
                _ => value.push(byte),
            }
        }
    }
    let mut pairs = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (key, tail) = quoted(rest).ok_or(HSTORE)?;
        let tail = tail.strip_prefix(b"=>").ok_or(HSTORE)?;
        let (value, tail) = match tail.strip_prefix(b"NULL") {
            Some(tail) => (None, tail),
            None => quoted(tail)
                .map(|(value, tail)| (Some(value), tail))
                .ok_or(HSTORE)?,
        };
        pairs.push((key, value));
        rest = match tail.strip_prefix(b", ") {
            Some(tail) => tail,
            None if tail.is_empty() => tail,
            None => return Err(HSTORE),
        };
    }
    Ok(pairs)
}

/// The order in which Java's HashMap walks entries that were put in this order.
pub(crate) fn java_order<T>(mut entries: Vec<T>, key: impl Fn(&T) -> &[u8]) -> Vec<T> {
    let mut buckets = 16_usize;
    while entries.len() * 4 > buckets * 3 {
        buckets *= 2;
    }
    entries.sort_by_cached_key(|entry| {
        let hash = String::from_utf8_lossy(key(entry))
            .encode_utf16()
            .fold(0_u32, |hash, unit| {
                hash.wrapping_mul(31).wrapping_add(unit.into())
            });
        usize::try_from(hash ^ (hash >> 16)).unwrap_or(0) & (buckets - 1)
    });
    entries
}

pub(crate) fn put_hstore_json(pairs: &[Pair], out: &mut Vec<u8>) {
    use super::form::put_json_string;
    out.push(b'{');
    for (index, (key, value)) in pairs.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        put_json_string(out, key, false);
        out.push(b':');
        match value {
            Some(value) => put_json_string(out, value, false),
            None => out.extend_from_slice(b"null"),
        }
    }
    out.push(b'}');
}

pub(crate) fn put_hstore_map<F: Form>(pairs: &[Pair], out: &mut Vec<u8>) {
    let mark = F::open_map(out);
    for (index, (key, value)) in pairs.iter().enumerate() {
        F::map_key(out, index, key);
        match value {
            Some(value) => {
                F::some(out);
                F::string(out, value);
            }
            None => F::null(out),
        }
    }
    F::close_map(out, mark, pairs.len());
}

/// Numbers in a geometric text: what is between punctuation.
fn numbers(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| b"(){}[]<>, ".contains(byte))
        .filter(|word| !word.is_empty())
}

fn put_point<F: Form>(text: &[u8], out: &mut Vec<u8>) -> Done {
    const POINT: Fault = Fault::Malformed("a point, (x,y)");
    let mut words = numbers(text);
    let (Some(x), Some(y), None) = (words.next(), words.next(), words.next()) else {
        return Err(POINT);
    };
    let (x, y) = (
        parse_double(x).map_err(|_| POINT)?,
        parse_double(y).map_err(|_| POINT)?,
    );
    put_point_of::<F>(x, y, out);
    Ok(())
}

pub(crate) fn put_point_of<F: Form>(x: f64, y: f64, out: &mut Vec<u8>) {
    F::field(out, "{\"x\":");
    F::double(out, x);
    F::field(out, ",\"y\":");
    F::double(out, y);
    F::field(out, ",\"wkb\":");
    F::some(out);
    F::bytes(out, &point_wkb(x, y));
    F::field(out, ",\"srid\":");
    F::null(out);
    F::end_struct(out);
}

/// Well-known binary of a point, little-endian.
pub(crate) fn point_wkb(x: f64, y: f64) -> [u8; 21] {
    let mut wkb = [0; 21];
    wkb[..5].copy_from_slice(&[1, 1, 0, 0, 0]);
    wkb[5..13].copy_from_slice(&x.to_le_bytes());
    wkb[13..].copy_from_slice(&y.to_le_bytes());
    wkb
}

fn put_geometry<F: Form>(text: &[u8], out: &mut Vec<u8>) -> Done {
    if !is_hex(text) {
        return Err(GEOMETRY);
    }
    let wkb: Vec<u8> = text.chunks_exact(2).map(hex_byte).collect();
    put_wkb::<F>(&wkb, out)
}

const GEOMETRY: Fault = Fault::Malformed("EWKB");

/// Extended well-known binary, and the reference system that it names.
pub(crate) fn put_wkb<F: Form>(wkb: &[u8], out: &mut Vec<u8>) -> Done {
    let word = |at: usize| {
        let bytes = <[u8; 4]>::try_from(wkb.get(at..at + 4)?).ok()?;
        Some(if wkb[0] == 1 {
            u32::from_le_bytes(bytes)
        } else {
            u32::from_be_bytes(bytes)
        })
    };
    let has_srid = word(1).ok_or(GEOMETRY)? & 0x2000_0000 != 0;
    F::field(out, "{\"wkb\":");
    F::bytes(out, wkb);
    F::field(out, ",\"srid\":");
    if has_srid {
        F::some(out);
        F::integer(out, word(5).ok_or(GEOMETRY)?.cast_signed().into());
    } else {
        F::null(out);
    }
    F::end_struct(out);
    Ok(())
}

/// As the JDBC driver prints geometric types: every number as Java prints a double.
fn put_geometric(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while !rest.is_empty() {
        let is_number =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+');
        let length = rest.iter().take_while(|byte| is_number(byte)).count();
        let (number, tail) = rest.split_at(length.max(1));
        if length > 0 && is_finite_text(number) {
            put_java_float(out, number);
        } else {
            out.extend_from_slice(number);
        }
        rest = tail;
    }
}

fn put_vector<F: Form>(text: &[u8], single: bool, out: &mut Vec<u8>) -> Done {
    let mark = F::open_array(out);
    let mut count = 0;
    for word in numbers(text) {
        F::item(out, count);
        if single {
            put_float::<F>(word, out)?
        } else {
            put_double::<F>(word, out)?
        }
        count += 1;
    }
    F::close_array(out, mark, count);
    Ok(())
}

/// Dimensions of a sparsevec, which Debezium has 16 bits for; no index is larger.
pub(super) fn short(dimensions: i64) -> Result<i64, Fault> {
    match i16::try_from(dimensions) {
        Ok(_) => Ok(dimensions),
        Err(_) => Err(Fault::Unrepresentable("at most 32767 dimensions")),
    }
}

/// `{1:1.5,3:-2}/5`
fn put_sparse_vector<F: Form>(text: &[u8], out: &mut Vec<u8>) -> Done {
    const SPARSE: Fault = Fault::Malformed("a sparse vector, {index:value,..}/dimensions");
    let slash = text.iter().position(|&byte| byte == b'/').ok_or(SPARSE)?;
    let dimensions = parse_integer(&text[slash + 1..]).ok_or(SPARSE)?;
    F::field(out, "{\"dimensions\":");
    F::integer(out, short(dimensions)?);
    F::field(out, ",\"vector\":");
    let mark = F::open_array(out);
    let mut count = 0;
    for word in numbers(&text[..slash]) {
        let colon = word.iter().position(|&byte| byte == b':').ok_or(SPARSE)?;
        F::item(out, count);
        F::field(out, "[");
        F::integer(out, parse_integer(&word[..colon]).ok_or(SPARSE)?);
        F::field(out, ",");
        put_double::<F>(&word[colon + 1..], out)?;
        F::field(out, "]");
        count += 1;
    }
    F::close_array(out, mark, count);
    F::end_struct(out);
    Ok(())
}

impl Array {
    /// `{1,NULL,"a b"}`, bounds before it ignored. Elements that are arrays are nulls.
    fn text<F: Form>(&self, text: &[u8], out: &mut Vec<u8>) -> Done {
        const ARRAY: Fault = Fault::Malformed("an array, {..}");
        let text = match (text.first(), text.iter().position(|&byte| byte == b'=')) {
            (Some(b'['), Some(at)) => &text[at + 1..],
            _ => text,
        };
        let inner = text
            .strip_prefix(b"{")
            .and_then(|text| text.strip_suffix(b"}"))
            .ok_or(ARRAY)?;
        let mark = F::open_array(out);
        let mut count = 0;
        let mut rest = inner;
        while !rest.is_empty() {
            F::item(out, count);
            count += 1;
            let tail = match rest[0] {
                b'"' => {
                    let (content, escaped, tail) = split_quoted(rest).ok_or(ARRAY)?;
                    self.element::<F>(content, escaped, out)?;
                    tail
                }
                b'{' => {
                    self.null_element::<F>(out)?;
                    split_nested(rest).ok_or(ARRAY)?
                }
                _ => {
                    let end = rest
                        .iter()
                        .position(|&byte| byte == self.delimiter)
                        .unwrap_or(rest.len());
                    let (word, tail) = rest.split_at(end);
                    if word == b"NULL" {
                        self.null_element::<F>(out)?;
                    } else {
                        self.element::<F>(word, false, out)?;
                    }
                    tail
                }
            };
            rest = match tail.split_first() {
                Some((&byte, more)) if byte == self.delimiter && !more.is_empty() => more,
                None => tail,
                _ => return Err(ARRAY),
            };
        }
        F::close_array(out, mark, count);
        Ok(())
    }

    pub(crate) fn null_element<F: Form>(&self, out: &mut Vec<u8>) -> Done {
        if !self.nulls {
            return Err(Fault::Unreadable("an array without NULL"));
        }
        F::null(out);
        Ok(())
    }

    fn element<F: Form>(&self, word: &[u8], escaped: bool, out: &mut Vec<u8>) -> Done {
        let start = out.len();
        if self.optional {
            F::some(out);
        }
        let done = if escaped {
            let mut scratch = self
                .scratch
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            scratch.clear();
            let mut bytes = word.iter();
            while let Some(&byte) = bytes.next() {
                match byte {
                    b'\\' => scratch.extend(bytes.next()),
                    _ => scratch.push(byte),
                }
            }
            self.step.text::<F>(&scratch, out)
        } else {
            self.step.text::<F>(word, out)
        };
        match done {
            Err(Fault::Unrepresentable(_)) if self.nulls => {
                out.truncate(start);
                F::null(out);
                Ok(())
            }
            done => done,
        }
    }
}

/// What is between quotes, whether it has escapes, and what follows.
fn split_quoted(text: &[u8]) -> Option<(&[u8], bool, &[u8])> {
    let body = text.strip_prefix(b"\"")?;
    let mut escaped = false;
    let mut at = 0;
    loop {
        match body.get(at)? {
            b'"' => return Some((&body[..at], escaped, &body[at + 1..])),
            b'\\' => {
                escaped = true;
                at += 2;
            }
            _ => at += 1,
        }
    }
}

/// What follows a nested array.
fn split_nested(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text;
    let mut depth = 0_usize;
    loop {
        match rest.first()? {
            b'"' => {
                rest = split_quoted(rest)?.2;
                continue;
            }
            b'{' => depth += 1,
            b'}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        rest = &rest[1..];
        if depth == 0 {
            return Some(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::form::{Avro, Json};
    use super::*;

    fn json(step: &Step, text: &str) -> Result<String, Fault> {
        let mut out = Vec::new();
        step.text::<Json>(text.as_bytes(), &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn hex(step: &Step, text: &str) -> String {
        let mut out = Vec::new();
        step.text::<Avro>(text.as_bytes(), &mut out).unwrap();
        out.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn java_s_dates_in_headers() {
        for (number, days, expected) in [
            ("18321", true, "2020-02-29"),
            ("0", true, "00:00:00.000Z"),
            ("-1", true, "00:00:00.000Z"),
            ("1582979696789", false, "2020-02-29T12:34:56.789Z"),
            ("45296789", false, "12:34:56.789Z"),
            ("-1", false, "23:59:59.999Z"),
            ("9223372036825200", false, "294247-01-10T04:00:25.200Z"),
        ] {
            let mut out = Vec::new();
            put_java_date(number.as_bytes(), days, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn values_of_rarer_types_as_debezium_writes_them() {
        let geometry = "0101000020E6100000000000000000F03F0000000000000040";
        for (step, text, expected) in [
            (Step::Bits, "1010000011", "\"gwI=\""),
            (Step::Bits, "0000000001", "\"AQ==\""),
            (Step::Bits, "0000000000", "\"\""),
            (
                Step::ZonedTime,
                "12:34:56.789012+02",
                "\"10:34:56.789012Z\"",
            ),
            (Step::ZonedTime, "00:00:00.1+00", "\"00:00:00.1Z\""),
            (
                Step::ZonedTimestamp(6),
                "20020-02-29 12:34:56.5+00",
                "\"+20020-02-29T12:34:56.500000Z\"",
            ),
            (
                Step::ZonedTimestamp(6),
                "0044-03-15 12:00:00+00 BC",
                "\"-0043-03-15T12:00:00.000000Z\"",
            ),
            (
                Step::ZonedTimestamp(4),
                "2020-01-02 03:04:05.1+02",
                "\"2020-01-02T01:04:05.1000Z\"",
            ),
            (
                Step::ZonedTimestamp(0),
                "2020-01-02 03:04:05+02",
                "\"2020-01-02T01:04:05Z\"",
            ),
            (Step::ZonedTimestamp(3), "-infinity", "\"-infinity\""),
            (Step::TimeText, "24:00:00", "\"00:00:00Z\""),
            (
                Step::DateText { wrap: true },
                "infinity",
                "\"-5877611-06-21Z\"",
            ),
            (
                Step::DecimalVariable,
                "123.4500",
                "{\"scale\":2,\"value\":\"MDk=\"}",
            ),
            (
                Step::DecimalVariable,
                "100",
                "{\"scale\":0,\"value\":\"ZA==\"}",
            ),
            (Step::DecimalText(None), "123.4500", "\"123.4500\""),
            (
                Step::DecimalText(Some(2)),
                "Infinity",
                "\"POSITIVE_INFINITY\"",
            ),
            (Step::DecimalDouble, "NaN", "\"NaN\""),
            (Step::DecimalNumber(10), "0.0000000001", "1E-10"),
            (Step::DecimalNumber(2), "1.10", "1.10"),
            (Step::MoneyText, "$1,234.56", "\"1234.56\""),
            (Step::Bytea(Binary::Base64UrlSafe), "\\xfbff", "\"-_8=\""),
            (Step::Bytea(Binary::Hex), "\\x00ff10", "\"00ff10\""),
            (Step::Bytea(Binary::Bytes), "a\\\\b\\377", "\"YVxi/w==\""),
            (
                Step::HstoreJson,
                "\"a\"=>NULL, \"aa\"=>\"\", \"bb\"=>\"\", \"cc\"=>\"1\", \"zz\"=>\"q\\\"\", \
                 \"key1\"=>\"\", \"key2\"=>\"\", \"key10\"=>\"\"",
                "\"{\\\"aa\\\":\\\"\\\",\\\"bb\\\":\\\"\\\",\\\"cc\\\":\\\"1\\\",\
                 \\\"zz\\\":\\\"q\\\\\\\"\\\",\\\"key1\\\":\\\"\\\",\\\"a\\\":null,\
                 \\\"key2\\\":\\\"\\\",\\\"key10\\\":\\\"\\\"}\"",
            ),
            (
                Step::Point,
                "(1.5,-2)",
                "{\"x\":1.5,\"y\":-2.0,\"wkb\":\"AQEAAAAAAAAAAAD4PwAAAAAAAADA\",\"srid\":null}",
            ),
            (
                Step::Geometry,
                geometry,
                "{\"wkb\":\"AQEAACDmEAAAAAAAAAAA8D8AAAAAAAAAQA==\",\"srid\":4326}",
            ),
            (
                Step::Vector { single: false },
                "[1,2.5,-3]",
                "[1.0,2.5,-3.0]",
            ),
            (
                Step::SparseVector,
                "{1:1.5,3:-2}/5",
                "{\"dimensions\":5,\"vector\":[[1,1.5],[3,-2.0]]}",
            ),
            (
                Step::Geometric(Binary::Hex),
                "{1,2,3}",
                "\"7b312e302c322e302c332e307d\"",
            ),
        ] {
            assert_eq!(
                json(&step, text).as_deref(),
                Ok(expected),
                "{step:?} of {text}"
            );
        }
        assert_eq!(hex(&Step::Vector { single: true }, "[1]"), "020000803f00");
        assert_eq!(hex(&Step::Bytea(Binary::Bytes), "\\x00ff10"), "0600ff10");
    }

    #[test]
    fn arrays_of_all_shapes() {
        let array = |step, optional| {
            Step::Array(Box::new(Array {
                step,
                optional,
                nulls: optional,
                delimiter: b',',
                scratch: Mutex::default(),
            }))
        };
        let text = array(Step::Text, true);
        for (written, expected) in [
            ("{}", "[]"),
            ("{a,NULL,\"NULL\",\"\"}", "[\"a\",null,\"NULL\",\"\"]"),
            ("{\"a,b\",\"c\\\\d\",\"{}\"}", "[\"a,b\",\"c\\\\d\",\"{}\"]"),
            ("[2:3]={a,b}", "[\"a\",\"b\"]"),
            ("{{a,\"}\"},{b,c}}", "[null,null]"),
        ] {
            assert_eq!(json(&text, written).as_deref(), Ok(expected), "{written}");
        }
        for broken in ["", "{", "{a", "{a,}", "{\"a}", "{a}b", "{{a}", "{\"a\"b}"] {
            assert!(
                matches!(json(&text, broken), Err(Fault::Malformed(_))),
                "{broken}"
            );
        }
        let labels = array(Step::Text, false);
        assert!(matches!(
            json(&labels, "{a,NULL}"),
            Err(Fault::Unreadable(_))
        ));
        let decimals = array(Step::Decimal(2), true);
        assert_eq!(
            json(&decimals, "{1.50,NaN}").as_deref(),
            Ok("[\"AJY=\",null]")
        );
    }
}
