//! The binary forms of PostgreSQL's types, as their send functions write them: each becomes the
//! same bytes of a record as the text of the same value.
//!
//! Source: PostgreSQL 18's `*_send` and `*_out` functions; pgvector, PostGIS, hstore and ltree.

use pgwire::read::Reader;
use pgwire::value::binary as wire;

use super::form::Form;
use super::number::{self, NotANumber};
use super::step::{
    self, Array, Binary, Done, Fault, Pair, Spelled, Step, count_date, count_time, count_timestamp,
};
use super::time::{self, Instant};
use super::transform::cut;

const WIDTH: Fault = Fault::Malformed("the binary form of the type");

impl Step {
    /// Whether the binary form of the type can be read: where not, the type's text is needed.
    ///
    /// That of money lacks the digits of its fraction, which the server's locale says.
    pub(crate) fn reads_binary(&self) -> bool {
        match self {
            Self::Money(_)
            | Self::MoneyNumber(_)
            | Self::MoneyDouble
            | Self::MoneyText
            | Self::Opaque(_)
            | Self::Geometric(_)
            | Self::Integers { .. }
            | Self::Java(_) => false,
            Self::Array(array) => array.step.reads_binary(),
            Self::Cut { step, .. } => matches!(**step, Self::Text | Self::Bytea(_)),
            Self::JavaDate { step, .. } => step.reads_binary(),
            _ => true,
        }
    }

    /// Appends the value whose binary form PostgreSQL sent. On an error, `out` may have grown.
    #[inline]
    pub(crate) fn binary<F: Form>(&self, bytes: &[u8], out: &mut Vec<u8>) -> Done {
        match self {
            Self::Text => F::string(out, characters(bytes)),
            Self::Integer => F::integer(out, integer(bytes).ok_or(WIDTH)?),
            Self::Boolean => match bytes {
                [1] => F::boolean(out, true),
                [0] => F::boolean(out, false),
                _ => return Err(WIDTH),
            },
            Self::Decimal(scale) => {
                number::put::<F>(&decimal(bytes)?.rescale(*scale), out);
            }
            Self::ZonedTimestamp(digits) => {
                step::put_zoned_timestamp::<F>(instant(bytes)?, *digits, out);
            }
            Self::Timestamp { unit, wrap } => {
                F::integer(out, count_timestamp(instant(bytes)?, *unit, *wrap)?);
            }
            Self::Date { wrap } => F::integer(out, count_date(date(bytes)?, *wrap)),
            Self::Double => F::double(out, double(bytes)?),
            Self::Uuid => {
                let bytes: &[u8; 16] = bytes.try_into().map_err(|_| WIDTH)?;
                F::ascii(out, |out| step::put_uuid(bytes, out));
            }
            Self::Spelled(Spelled::Json) => F::string(out, versioned(bytes)?),
            _ => return self.binary_rarer::<F>(bytes, out),
        }
        Ok(())
    }

    #[inline(never)]
    fn binary_rarer<F: Form>(&self, bytes: &[u8], out: &mut Vec<u8>) -> Done {
        match self {
            Self::Float => F::float(out, float(bytes)?),
            Self::Oid => F::integer(out, wire::oid(bytes).map_err(|_| WIDTH)?.into()),
            Self::Bit => match bits(bytes)? {
                (1, [byte]) => F::boolean(out, byte & 0x80 != 0),
                _ => return Err(Fault::Unrepresentable("one bit")),
            },
            Self::Bits => put_bits::<F>(bytes, out)?,
            Self::Bytea(binary) => step::put_binary::<F>(bytes, *binary, out),
            Self::DateText { wrap } => {
                step::put_date_text::<F>(count_date(date(bytes)?, *wrap), out);
            }
            Self::Time(unit) => {
                F::integer(out, count_time(integer(bytes).ok_or(WIDTH)?, *unit));
            }
            Self::TimeText => step::put_clock_text::<F>(integer(bytes).ok_or(WIDTH)?, out),
            Self::TimestampText => step::put_timestamp_text::<F>(instant(bytes)?, out),
            Self::ZonedTime => {
                let time = wire::timetz(bytes).map_err(|_| WIDTH)?;
                let utc = time
                    .time
                    .0
                    .checked_add(i64::from(time.zone_west) * 1_000_000);
                step::put_clock_text::<F>(utc.ok_or(WIDTH)?, out);
            }
            Self::Interval => F::integer(out, interval(bytes)?.micros()),
            Self::IntervalText => {
                let interval = interval(bytes)?;
                F::ascii(out, |out| interval.put_iso(out));
            }
            Self::DecimalNumber(scale) => decimal(bytes)?.rescale(*scale).put_java(out),
            Self::DecimalVariable => number::put_variable::<F>(decimal(bytes)?, out),
            Self::DecimalDouble => {
                let value = match number::parse_binary(bytes) {
                    Ok(decimal) => decimal.to_double(),
                    Err(NotANumber::Nan) => f64::NAN,
                    Err(NotANumber::Infinity) => f64::INFINITY,
                    Err(NotANumber::NegativeInfinity) => f64::NEG_INFINITY,
                    Err(NotANumber::Malformed) => return Err(WIDTH),
                };
                F::double(out, value);
            }
            Self::DecimalText(scale) => {
                let parsed = number::parse_binary(bytes);
                step::put_decimal_name::<F>(parsed, *scale, out)?;
            }
            Self::HstoreJson => {
                let mut json = Vec::new();
                let pairs = step::java_order(hstore(bytes)?, |(key, _)| key);
                step::put_hstore_json(&pairs, &mut json);
                F::string(out, &json);
            }
            Self::HstoreMap => {
                step::put_hstore_map::<F>(&step::java_order(hstore(bytes)?, |(key, _)| key), out);
            }
            Self::Point => {
                let (x, y) = bytes.split_at_checked(8).ok_or(WIDTH)?;
                step::put_point_of::<F>(double(x)?, double(y)?, out);
            }
            Self::Geometry => step::put_wkb::<F>(bytes, out)?,
            Self::Vector { single: false } => put_vector::<F>(bytes, out)?,
            Self::Vector { single: true } => put_half_vector::<F>(bytes, out)?,
            Self::SparseVector => put_sparse_vector::<F>(bytes, out)?,
            Self::Array(array) => array.binary::<F>(bytes, out)?,
            Self::Spelled(spelled) if spelled.is_plain() => {
                let mut done = Ok(());
                F::ascii(out, |out| done = spelled.spell(bytes, out));
                done?;
            }
            Self::Spelled(spelled) => {
                let mut text = Vec::new();
                spelled.spell(bytes, &mut text)?;
                F::string(out, &text);
            }
            Self::JavaDate { days, step } => {
                let mut number = Vec::new();
                step.binary::<super::form::Json>(bytes, &mut number)?;
                step::put_java_date(&number, *days, out)?;
            }
            Self::Masked(stars) => F::string(out, stars.as_bytes()),
            Self::Cut { units, step } => match **step {
                Self::Text => F::string(out, cut(characters(bytes), *units)),
                Self::Bytea(Binary::Bytes) => F::bytes(out, &bytes[..(*units).min(bytes.len())]),
                Self::Bytea(binary) => {
                    let mut text = Vec::new();
                    step::put_binary_text(bytes, binary, &mut text);
                    F::string(out, cut(&text, *units));
                }
                _ => return Err(WIDTH),
            },
            Self::Hashed(hash) => F::ascii(out, |out| hash.put(characters(bytes), out)),
            _ => return Err(Fault::Unrepresentable("a type that Debezium supports")),
        }
        Ok(())
    }
}

/// The text of a character type. Its binary form is its text, but for `"char"`, whose zero byte
/// is the empty string.
#[inline]
fn characters(bytes: &[u8]) -> &[u8] {
    if bytes == [0] { b"" } else { bytes }
}

/// Two, four or eight bytes.
#[inline]
fn integer(bytes: &[u8]) -> Option<i64> {
    match *bytes {
        [a, b] => Some(i16::from_be_bytes([a, b]).into()),
        [a, b, c, d] => Some(i32::from_be_bytes([a, b, c, d]).into()),
        _ => Some(i64::from_be_bytes(bytes.try_into().ok()?)),
    }
}

fn float(bytes: &[u8]) -> Result<f32, Fault> {
    wire::float4(bytes).map_err(|_| WIDTH)
}

#[inline]
fn double(bytes: &[u8]) -> Result<f64, Fault> {
    wire::float8(bytes).map_err(|_| WIDTH)
}

#[inline]
fn instant(bytes: &[u8]) -> Result<time::Point<Instant>, Fault> {
    let bytes = bytes.try_into().map_err(|_| WIDTH)?;
    Ok(Instant::from_postgres(i64::from_be_bytes(bytes)))
}

#[inline]
fn date(bytes: &[u8]) -> Result<time::Point<i64>, Fault> {
    let bytes = bytes.try_into().map_err(|_| WIDTH)?;
    Ok(time::date_from_postgres(i32::from_be_bytes(bytes)))
}

#[inline]
fn decimal(bytes: &[u8]) -> Result<number::Decimal, Fault> {
    number::parse_binary(bytes).map_err(step::decimal_fault)
}

fn interval(bytes: &[u8]) -> Result<time::Interval, Fault> {
    let parts = wire::interval(bytes).map_err(|_| WIDTH)?;
    time::Interval::from_postgres(parts.months, parts.days, parts.micros)
        .ok_or(Fault::Malformed("a finite interval"))
}

/// Behind the version of the form, which is 1: jsonb and ltree.
#[inline]
fn versioned(bytes: &[u8]) -> Result<&[u8], Fault> {
    bytes.strip_prefix(&[1]).ok_or(WIDTH)
}

/// How many bits, and the bytes that hold them, the first bit the highest.
fn bits(bytes: &[u8]) -> Result<(usize, &[u8]), Fault> {
    let (count, bytes) = bytes.split_first_chunk::<4>().ok_or(WIDTH)?;
    let count = usize::try_from(i32::from_be_bytes(*count)).map_err(|_| WIDTH)?;
    if bytes.len() != count.div_ceil(8) {
        return Err(WIDTH);
    }
    Ok((count, bytes))
}

/// The rightmost bit becomes bit 0 of byte 0; zero bytes at the end are left out.
fn put_bits<F: Form>(bytes: &[u8], out: &mut Vec<u8>) -> Done {
    let (count, bytes) = bits(bytes)?;
    let unused = bytes.len() * 8 - count;
    let (mut short, mut long);
    let turned = if bytes.len() <= 32 {
        short = [0_u8; 32];
        &mut short[..bytes.len()]
    } else {
        long = vec![0_u8; bytes.len()];
        &mut long[..]
    };
    for (at, slot) in turned.iter_mut().enumerate() {
        // The last byte's unused bits are zeros at its low end: all moves down by as many.
        let low = bytes[bytes.len() - 1 - at] >> unused;
        let high = match bytes.len().checked_sub(2 + at) {
            Some(next) if unused > 0 => bytes[next] << (8 - unused),
            _ => 0,
        };
        *slot = low | high;
    }
    let zeros = turned.iter().rev().take_while(|&&byte| byte == 0).count();
    F::bytes(out, &turned[..turned.len() - zeros]);
    Ok(())
}

/// pairs i32 | per pair: length i32, key | length i32 or -1, value
fn hstore(bytes: &[u8]) -> Result<Vec<Pair>, Fault> {
    let read = || {
        let mut r = Reader::new("hstore", bytes);
        let count = r.take_i32("pairs")?;
        let mut pairs = Vec::new();
        for _ in 0..count {
            let key = r.take_sized("key")?.to_vec();
            pairs.push((key, r.take_nullable("value")?.map(<[u8]>::to_vec)));
        }
        r.finish()?;
        Ok::<_, pgwire::error::Malformed>(pairs)
    };
    read().map_err(|_| WIDTH)
}

/// A float's shortest digits, as a double: what its text is when it is read as one.
fn widened(value: f32) -> Result<f64, Fault> {
    if !value.is_finite() {
        return Ok(value.into());
    }
    value.to_string().parse().map_err(|_| WIDTH)
}

/// Dimensions, and what is behind them: dimensions u16 | unused u16 | elements
fn dimensions(bytes: &[u8], width: usize) -> Result<&[u8], Fault> {
    let (head, elements) = bytes.split_first_chunk::<4>().ok_or(WIDTH)?;
    let count = usize::from(u16::from_be_bytes([head[0], head[1]]));
    if elements.len() != count * width {
        return Err(WIDTH);
    }
    Ok(elements)
}

fn put_vector<F: Form>(bytes: &[u8], out: &mut Vec<u8>) -> Done {
    let elements = dimensions(bytes, 4)?.as_chunks::<4>().0;
    let mark = F::open_array(out);
    for (at, element) in elements.iter().enumerate() {
        F::item(out, at);
        F::double(out, widened(f32::from_be_bytes(*element))?);
    }
    F::close_array(out, mark, elements.len());
    Ok(())
}

fn put_half_vector<F: Form>(bytes: &[u8], out: &mut Vec<u8>) -> Done {
    let elements = dimensions(bytes, 2)?.as_chunks::<2>().0;
    let mark = F::open_array(out);
    for (at, element) in elements.iter().enumerate() {
        F::item(out, at);
        // Its text has the fewest digits that make a float of the same value.
        F::float(out, half(u16::from_be_bytes(*element)));
    }
    F::close_array(out, mark, elements.len());
    Ok(())
}

/// IEEE 754's sixteen bits.
fn half(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let (exponent, fraction) = (u32::from(bits >> 10 & 0x1f), u32::from(bits & 0x3ff));
    let magnitude = match exponent {
        0 => return f32::from_bits(sign | (fraction as f32 / 16_777_216.0).to_bits()),
        31 => 0x7f80_0000 | fraction << 13,
        _ => (exponent + 112) << 23 | fraction << 13,
    };
    f32::from_bits(sign | magnitude)
}

/// dimensions i32 | elements i32 | unused i32 | indices from 0, i32 each | values f32 each
fn put_sparse_vector<F: Form>(bytes: &[u8], out: &mut Vec<u8>) -> Done {
    let (head, rest) = bytes.split_first_chunk::<12>().ok_or(WIDTH)?;
    let word = |at: usize| i32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let count = usize::try_from(word(4)).map_err(|_| WIDTH)?;
    let width = count.checked_mul(4).ok_or(WIDTH)?;
    let (indices, values) = rest.split_at_checked(width).ok_or(WIDTH)?;
    if values.len() != width {
        return Err(WIDTH);
    }
    let elements = indices
        .as_chunks::<4>()
        .0
        .iter()
        .zip(values.as_chunks::<4>().0);
    F::field(out, "{\"dimensions\":");
    F::integer(out, step::short(word(0).into())?);
    F::field(out, ",\"vector\":");
    let mark = F::open_array(out);
    for (at, (index, value)) in elements.enumerate() {
        F::item(out, at);
        F::field(out, "[");
        F::integer(out, i64::from(i32::from_be_bytes(*index)) + 1);
        F::field(out, ",");
        F::double(out, widened(f32::from_be_bytes(*value))?);
        F::field(out, "]");
    }
    F::close_array(out, mark, count);
    F::end_struct(out);
    Ok(())
}

impl Array {
    /// As [`Self::text`]: elements that are arrays are nulls, and lower bounds are ignored.
    fn binary<F: Form>(&self, bytes: &[u8], out: &mut Vec<u8>) -> Done {
        let array = wire::array(bytes).map_err(|_| Fault::Malformed("an array's binary form"))?;
        let mark = F::open_array(out);
        let mut count = 0;
        let mut dimensions = array.dimensions();
        if dimensions.len() > 1 {
            let outer = dimensions.next().map_or(0, |(length, _)| length);
            for at in 0..usize::try_from(outer).unwrap_or(0) {
                F::item(out, at);
                self.null_element::<F>(out)?;
                count += 1;
            }
        } else {
            for element in array.elements() {
                F::item(out, count);
                count += 1;
                let Some(element) = element else {
                    self.null_element::<F>(out)?;
                    continue;
                };
                let start = out.len();
                if self.optional {
                    F::some(out);
                }
                match self.step.binary::<F>(element, out) {
                    Err(Fault::Unrepresentable(_)) if self.nulls => {
                        out.truncate(start);
                        F::null(out);
                    }
                    done => done?,
                }
            }
        }
        F::close_array(out, mark, count);
        Ok(())
    }
}

impl Spelled {
    /// Whether the text has no quote and no backslash.
    fn is_plain(&self) -> bool {
        use step::Bound::{Integer, Numeric};
        matches!(
            self,
            Self::Network { .. } | Self::Mac | Self::Range(Integer | Numeric)
        )
    }

    /// Appends the text that PostgreSQL prints for the binary form.
    fn spell(&self, bytes: &[u8], out: &mut Vec<u8>) -> Done {
        match self {
            Self::Json => out.extend_from_slice(versioned(bytes)?),
            Self::Network { always_masked } => spell_network(bytes, *always_masked, out)?,
            Self::Mac => {
                if !matches!(bytes.len(), 6 | 8) {
                    return Err(WIDTH);
                }
                for (at, byte) in bytes.iter().enumerate() {
                    if at > 0 {
                        out.push(b':');
                    }
                    super::form::put_hex(out, &[*byte]);
                }
            }
            Self::Lexemes => spell_lexemes(bytes, out).ok_or(WIDTH)?,
            Self::Range(bound) => spell_range(bytes, *bound, out)?,
        }
        Ok(())
    }
}

/// family (2, or 3 for IPv6) | bits of the mask | is it cidr | length | bytes
fn spell_network(bytes: &[u8], always_masked: bool, out: &mut Vec<u8>) -> Done {
    use std::io::Write as _;
    let (&[family, mask, _, length], address) = bytes.split_first_chunk::<4>().ok_or(WIDTH)?;
    let full = match (family, length, address.len()) {
        (2, 4, 4) => {
            let [a, b, c, d] = address else {
                return Err(WIDTH);
            };
            let _ = write!(out, "{a}.{b}.{c}.{d}");
            32
        }
        (3, 16, 16) => {
            let address: &[u8; 16] = address.try_into().map_err(|_| WIDTH)?;
            spell_ipv6(address, out);
            128
        }
        _ => return Err(WIDTH),
    };
    if always_masked || mask != full {
        let _ = write!(out, "/{mask}");
    }
    Ok(())
}

/// The longest run of zero words, the first of several, is `::`; an IPv4 address within is dotted.
fn spell_ipv6(address: &[u8; 16], out: &mut Vec<u8>) {
    use std::io::Write as _;
    let mut words = [0_u16; 8];
    for (word, pair) in words.iter_mut().zip(address.as_chunks::<2>().0) {
        *word = u16::from_be_bytes(*pair);
    }
    let mut best = 0..0;
    let mut at = 0;
    while at < 8 {
        let run = words[at..].iter().take_while(|&&word| word == 0).count();
        if run >= 2 && run > best.len() {
            best = at..at + run;
        }
        at += run.max(1);
    }
    for (at, word) in words.iter().enumerate() {
        if best.contains(&at) {
            if at == best.start {
                out.push(b':');
            }
            continue;
        }
        if at > 0 {
            out.push(b':');
        }
        let holds_ipv4 = best.len() == 6 || best.len() == 5 && words[5] == 0xffff;
        if at == 6 && best.start == 0 && holds_ipv4 {
            let [.., a, b, c, d] = *address;
            let _ = write!(out, "{a}.{b}.{c}.{d}");
            return;
        }
        let _ = write!(out, "{word:x}");
    }
    if best.end == 8 && !best.is_empty() {
        out.push(b':');
    }
}

/// lexemes i32 | per lexeme: text, zero byte, positions u16, each position with its weight u16
fn spell_lexemes(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    use std::io::Write as _;
    let (count, mut rest) = bytes.split_first_chunk::<4>()?;
    for at in 0..i32::from_be_bytes(*count) {
        if at > 0 {
            out.push(b' ');
        }
        let end = rest.iter().position(|&byte| byte == 0)?;
        out.push(b'\'');
        for &byte in &rest[..end] {
            if matches!(byte, b'\'' | b'\\') {
                out.push(byte);
            }
            out.push(byte);
        }
        out.push(b'\'');
        let (positions, tail) = rest[end + 1..].split_first_chunk::<2>()?;
        let positions = usize::from(u16::from_be_bytes(*positions));
        let (positions, tail) = tail.split_at_checked(positions * 2)?;
        rest = tail;
        for (at, position) in positions.as_chunks::<2>().0.iter().enumerate() {
            let position = u16::from_be_bytes(*position);
            out.push(if at == 0 { b':' } else { b',' });
            let _ = write!(out, "{}", position & 0x3fff);
            match position >> 14 {
                3 => out.push(b'A'),
                2 => out.push(b'B'),
                1 => out.push(b'C'),
                _ => {}
            }
        }
    }
    rest.is_empty().then_some(())
}

/// flags u8 | per bound that is there: length i32, bytes
fn spell_range(bytes: &[u8], bound: step::Bound, out: &mut Vec<u8>) -> Done {
    const EMPTY: u8 = 1;
    const LOWER_INCLUSIVE: u8 = 2;
    const UPPER_INCLUSIVE: u8 = 4;
    const LOWER_INFINITE: u8 = 8;
    const UPPER_INFINITE: u8 = 16;
    let mut r = Reader::new("range", bytes);
    let flags = r.take_u8("flags").map_err(|_| WIDTH)?;
    if flags & EMPTY != 0 {
        out.extend_from_slice(b"empty");
        return Ok(());
    }
    let lower = flags & LOWER_INCLUSIVE != 0;
    out.push(if lower { b'[' } else { b'(' });
    for (at, infinite) in [LOWER_INFINITE, UPPER_INFINITE].into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        if flags & infinite == 0 {
            bound.spell(r.take_sized("bound").map_err(|_| WIDTH)?, out)?;
        }
    }
    let upper = flags & UPPER_INCLUSIVE != 0;
    out.push(if upper { b']' } else { b')' });
    r.finish().map_err(|_| WIDTH)
}

impl step::Bound {
    /// As PostgreSQL prints the type, in quotes where there is a space in it.
    fn spell(self, bytes: &[u8], out: &mut Vec<u8>) -> Done {
        let start = out.len();
        match self {
            Self::Integer => {
                super::form::put_decimal(out, integer(bytes).ok_or(WIDTH)?);
            }
            Self::Numeric => match number::parse_binary(bytes) {
                Ok(decimal) => decimal.put_plain(out),
                Err(NotANumber::Nan) => out.extend_from_slice(b"NaN"),
                Err(NotANumber::Infinity) => out.extend_from_slice(b"Infinity"),
                Err(NotANumber::NegativeInfinity) => out.extend_from_slice(b"-Infinity"),
                Err(NotANumber::Malformed) => return Err(WIDTH),
            },
            Self::Date => time::put_postgres_date(out, date(bytes)?),
            Self::Timestamp { zoned } => {
                time::put_postgres_timestamp(out, instant(bytes)?, zoned);
            }
        }
        if out[start..].contains(&b' ') {
            out.insert(start, b'"');
            out.push(b'"');
        }
        Ok(())
    }
}
