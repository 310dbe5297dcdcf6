//! The two forms of a record, Avro's and JSON's, leaf by leaf; and the text of a header.
//!
//! A plan's steps are written once against [`Form`] and compiled once per form: what a column
//! means is decided in `mapping`, how its value looks as bytes is decided here.
//!
//! Source: Apache Avro 1.12 specification, "Binary Encoding"; Kafka's JsonConverter (Jackson's
//! UTF-8 generator); Kafka's SimpleHeaderConverter.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// How leaves and containers are written. All methods append.
pub(crate) trait Form {
    /// Whether a union's branch says alone that a value is null: Avro.
    const WORDLESS: bool = false;
    /// Whether a field that is null is left out: Java's `Struct.toString`.
    const OMITS_NULLS: bool = false;
    /// `"` within an ASCII text.
    const QUOTE: &'static [u8] = b"\"";
    /// `true` or `false`.
    fn boolean(out: &mut Vec<u8>, value: bool);
    /// An integer of any width.
    fn integer(out: &mut Vec<u8>, value: i64);
    /// An integer that PostgreSQL printed as `text`, known to be `value`.
    fn integer_text(out: &mut Vec<u8>, text: &[u8], value: i64);
    /// A Connect FLOAT32.
    fn float(out: &mut Vec<u8>, value: f32);
    /// A Connect FLOAT64.
    fn double(out: &mut Vec<u8>, value: f64);
    /// A Connect STRING, from its UTF-8.
    fn string(out: &mut Vec<u8>, text: &[u8]);
    /// A Connect STRING that `content` appends: ASCII without `"`, `\` or control characters.
    fn ascii(out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>));
    /// A Connect BYTES.
    fn bytes(out: &mut Vec<u8>, bytes: &[u8]);
    /// What an optional value begins with when it is there (outside of a record's plan).
    fn some(out: &mut Vec<u8>);
    /// An optional value that is not there.
    fn null(out: &mut Vec<u8>);
    /// Opens an array or a list of pairs; what it returns closes it.
    fn open_array(out: &mut Vec<u8>) -> usize;
    /// Before each item, counted from 0.
    fn item(out: &mut Vec<u8>, index: usize);
    /// Closes the array of `count` items that `mark` opened.
    fn close_array(out: &mut Vec<u8>, mark: usize, count: usize);
    /// Opens a map with string keys; what it returns closes it.
    fn open_map(out: &mut Vec<u8>) -> usize;
    /// Before each value, counted from 0: its key.
    fn map_key(out: &mut Vec<u8>, index: usize, key: &[u8]);
    /// Closes the map of `count` pairs that `mark` opened.
    fn close_map(out: &mut Vec<u8>, mark: usize, count: usize);
    /// Before a struct's field: `lead` is its text in JSON, `{"x":` or `,"x":`.
    fn field(out: &mut Vec<u8>, lead: &str);
    /// After a struct's last field.
    fn end_struct(out: &mut Vec<u8>);
    /// After the last byte of what begins at `start`.
    fn finish(_: &mut Vec<u8>, _: usize) {}
}

/// Avro's binary encoding.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avro;

/// JsonConverter's text: compact, UTF-8, bytes in base64.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Json;

/// SimpleHeaderConverter's text of what is inside a struct.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header;

/// StringConverter's text, which is Java's `Struct.toString`: `Struct{id=1,name=x}`.
///
/// Fields that are null are left out, and only the others have commas between them: so a NUL, which
/// no text of PostgreSQL's has, marks where a struct and where a field begin, until it is finished.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text;

/// Marks of a struct's beginning, a field's, and the end of its name.
const STRUCT: &[u8] = b"\0{";
const FIELD: &[u8] = b"\0,";
const NAMED: &[u8] = b"\0=";

impl Form for Avro {
    const WORDLESS: bool = true;

    #[inline]
    fn boolean(out: &mut Vec<u8>, value: bool) {
        out.push(u8::from(value));
    }

    #[inline]
    fn integer(out: &mut Vec<u8>, value: i64) {
        put_long(out, value);
    }

    #[inline]
    fn integer_text(out: &mut Vec<u8>, _: &[u8], value: i64) {
        put_long(out, value);
    }

    #[inline]
    fn float(out: &mut Vec<u8>, value: f32) {
        out.extend_from_slice(&value.to_le_bytes());
    }

    #[inline]
    fn double(out: &mut Vec<u8>, value: f64) {
        out.extend_from_slice(&value.to_le_bytes());
    }

    #[inline]
    fn string(out: &mut Vec<u8>, text: &[u8]) {
        put_length(out, text.len());
        out.extend_from_slice(text);
    }

    #[inline]
    fn ascii(out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
        let mark = open_length(out);
        content(out);
        let length = out.len() - mark - 1;
        close_length(out, mark, length);
    }

    #[inline]
    fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
        Self::string(out, bytes);
    }

    #[inline]
    fn some(out: &mut Vec<u8>) {
        out.push(2);
    }

    #[inline]
    fn null(out: &mut Vec<u8>) {
        out.push(0);
    }

    #[inline]
    fn open_array(out: &mut Vec<u8>) -> usize {
        open_length(out)
    }

    #[inline]
    fn item(_: &mut Vec<u8>, _: usize) {}

    #[inline]
    fn close_array(out: &mut Vec<u8>, mark: usize, count: usize) {
        close_length(out, mark, count);
        if count > 0 {
            out.push(0);
        }
    }

    fn open_map(out: &mut Vec<u8>) -> usize {
        open_length(out)
    }

    fn map_key(out: &mut Vec<u8>, _: usize, key: &[u8]) {
        Self::string(out, key);
    }

    fn close_map(out: &mut Vec<u8>, mark: usize, count: usize) {
        Self::close_array(out, mark, count);
    }

    #[inline]
    fn field(_: &mut Vec<u8>, _: &str) {}

    #[inline]
    fn end_struct(_: &mut Vec<u8>) {}
}

impl Form for Json {
    const QUOTE: &'static [u8] = b"\\\"";

    #[inline]
    fn boolean(out: &mut Vec<u8>, value: bool) {
        out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    #[inline]
    fn integer(out: &mut Vec<u8>, value: i64) {
        put_decimal(out, value);
    }

    /// Both write an integer in the same way.
    #[inline]
    fn integer_text(out: &mut Vec<u8>, text: &[u8], _: i64) {
        out.extend_from_slice(text);
    }

    fn float(out: &mut Vec<u8>, value: f32) {
        if value.is_finite() {
            // The last of the numbers that have one digit, or two that are closer.
            let least = value.abs() <= 1e-44;
            put_finite(out, value, ryu::Buffer::new().format_finite(value), least);
        } else {
            put_quoted(out, not_finite(value.is_nan(), value < 0.0));
        }
    }

    fn double(out: &mut Vec<u8>, value: f64) {
        if value.is_finite() {
            let least = value.abs() <= 1e-323;
            put_finite(out, value, ryu::Buffer::new().format_finite(value), least);
        } else {
            put_quoted(out, not_finite(value.is_nan(), value < 0.0));
        }
    }

    #[inline]
    fn string(out: &mut Vec<u8>, text: &[u8]) {
        put_json_string(out, text, true);
    }

    #[inline]
    fn ascii(out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
        out.push(b'"');
        content(out);
        out.push(b'"');
    }

    #[inline]
    fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
        out.push(b'"');
        put_base64(out, bytes);
        out.push(b'"');
    }

    #[inline]
    fn some(_: &mut Vec<u8>) {}

    #[inline]
    fn null(out: &mut Vec<u8>) {
        out.extend_from_slice(b"null");
    }

    #[inline]
    fn open_array(out: &mut Vec<u8>) -> usize {
        out.push(b'[');
        0
    }

    #[inline]
    fn item(out: &mut Vec<u8>, index: usize) {
        if index > 0 {
            out.push(b',');
        }
    }

    #[inline]
    fn close_array(out: &mut Vec<u8>, _: usize, _: usize) {
        out.push(b']');
    }

    fn open_map(out: &mut Vec<u8>) -> usize {
        out.push(b'{');
        0
    }

    fn map_key(out: &mut Vec<u8>, index: usize, key: &[u8]) {
        Self::item(out, index);
        put_json_string(out, key, true);
        out.push(b':');
    }

    fn close_map(out: &mut Vec<u8>, _: usize, _: usize) {
        out.push(b'}');
    }

    #[inline]
    fn field(out: &mut Vec<u8>, lead: &str) {
        out.extend_from_slice(lead.as_bytes());
    }

    #[inline]
    fn end_struct(out: &mut Vec<u8>) {
        out.push(b'}');
    }
}

impl Form for Header {
    fn boolean(out: &mut Vec<u8>, value: bool) {
        Json::boolean(out, value);
    }

    fn integer(out: &mut Vec<u8>, value: i64) {
        Json::integer(out, value);
    }

    fn integer_text(out: &mut Vec<u8>, text: &[u8], value: i64) {
        Json::integer_text(out, text, value);
    }

    fn float(out: &mut Vec<u8>, value: f32) {
        if value.is_finite() {
            Json::float(out, value);
        } else {
            out.extend_from_slice(not_finite(value.is_nan(), value < 0.0).as_bytes());
        }
    }

    fn double(out: &mut Vec<u8>, value: f64) {
        if value.is_finite() {
            Json::double(out, value);
        } else {
            out.extend_from_slice(not_finite(value.is_nan(), value < 0.0).as_bytes());
        }
    }

    /// Only `"` and `\` are escaped.
    fn string(out: &mut Vec<u8>, text: &[u8]) {
        out.push(b'"');
        for &byte in text {
            if byte == b'"' || byte == b'\\' {
                out.push(b'\\');
            }
            out.push(byte);
        }
        out.push(b'"');
    }

    fn ascii(out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
        Json::ascii(out, content);
    }

    fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
        Json::bytes(out, bytes);
    }

    fn some(_: &mut Vec<u8>) {}

    fn null(out: &mut Vec<u8>) {
        Json::null(out);
    }

    fn open_array(out: &mut Vec<u8>) -> usize {
        Json::open_array(out)
    }

    fn item(out: &mut Vec<u8>, index: usize) {
        Json::item(out, index);
    }

    fn close_array(out: &mut Vec<u8>, mark: usize, count: usize) {
        Json::close_array(out, mark, count);
    }

    fn open_map(out: &mut Vec<u8>) -> usize {
        Json::open_map(out)
    }

    fn map_key(out: &mut Vec<u8>, index: usize, key: &[u8]) {
        Json::item(out, index);
        Self::string(out, key);
        out.push(b':');
    }

    fn close_map(out: &mut Vec<u8>, mark: usize, count: usize) {
        Json::close_map(out, mark, count);
    }

    fn field(out: &mut Vec<u8>, lead: &str) {
        Json::field(out, lead);
    }

    fn end_struct(out: &mut Vec<u8>) {
        Json::end_struct(out);
    }
}

impl Form for Text {
    const OMITS_NULLS: bool = true;

    fn boolean(out: &mut Vec<u8>, value: bool) {
        Json::boolean(out, value);
    }

    fn integer(out: &mut Vec<u8>, value: i64) {
        Json::integer(out, value);
    }

    fn integer_text(out: &mut Vec<u8>, text: &[u8], value: i64) {
        Json::integer_text(out, text, value);
    }

    fn float(out: &mut Vec<u8>, value: f32) {
        Header::float(out, value);
    }

    fn double(out: &mut Vec<u8>, value: f64) {
        Header::double(out, value);
    }

    fn string(out: &mut Vec<u8>, text: &[u8]) {
        out.extend_from_slice(text);
    }

    fn ascii(out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
        content(out);
    }

    /// Java's `ByteBuffer` does not show what is in it.
    fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
        let count = bytes.len();
        let _ = write!(
            out,
            "java.nio.HeapByteBuffer[pos=0 lim={count} cap={count}]"
        );
    }

    fn some(_: &mut Vec<u8>) {}

    fn null(out: &mut Vec<u8>) {
        // Of a field: as if it were not there.
        let field = out
            .strip_suffix(NAMED)
            .and_then(|named| named.windows(FIELD.len()).rposition(|at| at == FIELD));
        match field {
            Some(field) => out.truncate(field),
            None => Json::null(out),
        }
    }

    fn open_array(out: &mut Vec<u8>) -> usize {
        Json::open_array(out)
    }

    fn item(out: &mut Vec<u8>, index: usize) {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
    }

    fn close_array(out: &mut Vec<u8>, mark: usize, count: usize) {
        Json::close_array(out, mark, count);
    }

    fn open_map(out: &mut Vec<u8>) -> usize {
        Json::open_map(out)
    }

    fn map_key(out: &mut Vec<u8>, index: usize, key: &[u8]) {
        Self::item(out, index);
        out.extend_from_slice(key);
        out.push(b'=');
    }

    fn close_map(out: &mut Vec<u8>, mark: usize, count: usize) {
        Json::close_map(out, mark, count);
    }

    /// `lead` is JSON's, from `{"` or `,"` to `":`.
    fn field(out: &mut Vec<u8>, lead: &str) {
        let Some(name) = lead.get(1..).and_then(|quoted| quoted.strip_suffix(':')) else {
            return out.extend_from_slice(lead.as_bytes());
        };
        if lead.starts_with('{') {
            out.extend_from_slice(STRUCT);
        }
        out.extend_from_slice(FIELD);
        match serde_json::from_str::<String>(name) {
            Ok(name) => out.extend_from_slice(name.as_bytes()),
            Err(_) => out.extend_from_slice(name.as_bytes()),
        }
        out.extend_from_slice(NAMED);
    }

    fn end_struct(out: &mut Vec<u8>) {
        out.push(b'}');
    }

    fn finish(out: &mut Vec<u8>, start: usize) {
        let marked = out.split_off(start);
        let mut rest = &marked[..];
        while let Some(at) = rest.iter().position(|&byte| byte == 0) {
            out.extend_from_slice(&rest[..at]);
            let mark = &rest[at..];
            rest = &mark[STRUCT.len().min(mark.len())..];
            if mark.starts_with(STRUCT) {
                out.extend_from_slice(b"Struct{");
                rest = rest.strip_prefix(FIELD).unwrap_or(rest);
            } else {
                // A comma, or what follows a name.
                out.extend(mark.get(1));
            }
        }
        out.extend_from_slice(rest);
    }
}

/// Appends an Avro `int` or `long`: zigzag, seven bits a byte, the least significant first.
#[inline]
pub(crate) fn put_long(out: &mut Vec<u8>, value: i64) {
    let bits = ((value << 1) ^ (value >> 63)).cast_unsigned();
    // So many bytes at once: a length that the compiler knows is a store and no call.
    match bits.leading_zeros() {
        57.. => out.push(septet(bits, 0)),
        50.. => out.extend_from_slice(&septets::<2>(bits)),
        43.. => out.extend_from_slice(&septets::<3>(bits)),
        36.. => out.extend_from_slice(&septets::<4>(bits)),
        29.. => out.extend_from_slice(&septets::<5>(bits)),
        22.. => out.extend_from_slice(&septets::<6>(bits)),
        15.. => out.extend_from_slice(&septets::<7>(bits)),
        8.. => out.extend_from_slice(&septets::<8>(bits)),
        1.. => out.extend_from_slice(&septets::<9>(bits)),
        0 => out.extend_from_slice(&septets::<10>(bits)),
    }
}

/// The seven bits above `shift`.
#[inline]
fn septet(bits: u64, shift: usize) -> u8 {
    (bits >> shift).to_le_bytes()[0] & 0x7f
}

#[inline]
fn septets<const N: usize>(bits: u64) -> [u8; N] {
    std::array::from_fn(|at| septet(bits, at * 7) | if at + 1 < N { 0x80 } else { 0 })
}

/// Appends a few bytes, mostly none or one: what leads to a value in Avro is a union's branch.
#[inline]
pub(crate) fn put_lead(out: &mut Vec<u8>, lead: &[u8]) {
    match lead {
        [] => {}
        [only] => out.push(*only),
        _ => out.extend_from_slice(lead),
    }
}

/// Appends a length or a count as an Avro `long`.
#[inline]
pub(crate) fn put_length(out: &mut Vec<u8>, length: usize) {
    put_long(out, i64::try_from(length).unwrap_or(i64::MAX));
}

/// Reserves the one byte that most lengths need.
#[inline]
fn open_length(out: &mut Vec<u8>) -> usize {
    out.push(0);
    out.len() - 1
}

/// Writes `length` where `mark` reserved a byte; what follows slides when one byte is too few.
#[inline]
fn close_length(out: &mut Vec<u8>, mark: usize, length: usize) {
    if length < 64 {
        out[mark] = (length << 1).to_le_bytes()[0];
        return;
    }
    let end = out.len();
    put_length(out, length);
    let width = out.len() - end;
    // The length now stands behind what it measures: turn the two around.
    out[mark + 1..].rotate_right(width);
    out.copy_within(mark + 1.., mark);
    out.truncate(out.len() - 1);
}

/// Appends an integer in decimal.
#[inline]
pub(crate) fn put_decimal(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends `value` in decimal, at least `width` digits.
pub(crate) fn put_padded(out: &mut Vec<u8>, value: u64, width: usize) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value).as_bytes();
    for _ in digits.len()..width {
        out.push(b'0');
    }
    out.extend_from_slice(digits);
}

/// Java's words for what is no number.
fn not_finite(nan: bool, negative: bool) -> &'static str {
    match (nan, negative) {
        (true, _) => "NaN",
        (false, true) => "-Infinity",
        (false, false) => "Infinity",
    }
}

fn put_quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// Appends standard base64 with padding.
pub(crate) fn put_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let mark = out.len();
    out.resize(mark + bytes.len().div_ceil(3) * 4, 0);
    let written = BASE64.encode_slice(bytes, &mut out[mark..]).unwrap_or(0);
    out.truncate(mark + written);
}

/// Appends lower-case hex.
pub(crate) fn put_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.extend_from_slice(&[
            DIGITS[usize::from(byte >> 4)],
            DIGITS[usize::from(byte & 15)],
        ]);
    }
}

/// Appends `"text"`, escaped as Jackson escapes.
///
/// `"`, `\` and control characters are escaped, the latter with the short forms JSON has or as
/// `\u00XX`. With `surrogates` a character beyond the Basic Multilingual Plane becomes two `\uXXXX`
/// (what Jackson's generator of bytes does); without, it stays (its generator of characters).
pub(crate) fn put_json_string(out: &mut Vec<u8>, text: &[u8], surrogates: bool) {
    const BLOCK: usize = 16;
    out.reserve(text.len() + 2);
    out.push(b'"');
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\' && byte < 0xf0;
    let mut rest = text;
    while !rest.is_empty() {
        // Most blocks have nothing to escape: whole blocks are copied after one look.
        if let Some((block, tail)) = rest.split_first_chunk::<BLOCK>()
            && block.iter().fold(true, |all, &byte| all & plain(byte))
        {
            out.extend_from_slice(block);
            rest = tail;
            continue;
        }
        let clean = rest
            .iter()
            .take_while(|&&byte| plain(byte))
            .count()
            .min(rest.len());
        out.extend_from_slice(&rest[..clean]);
        rest = &rest[clean..];
        let Some((&byte, tail)) = rest.split_first() else {
            break;
        };
        rest = tail;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            0..0x20 => put_unicode_escape(out, u16::from(byte)),
            _ => {
                let wide = match (surrogates, rest.split_first_chunk::<3>()) {
                    (true, Some((more, tail))) => {
                        std::str::from_utf8(&[byte, more[0], more[1], more[2]])
                            .ok()
                            .and_then(|text| text.chars().next())
                            .map(|wide| (wide, tail))
                    }
                    _ => None,
                };
                if let Some((wide, tail)) = wide {
                    for unit in wide.encode_utf16(&mut [0; 2]) {
                        put_unicode_escape(out, *unit);
                    }
                    rest = tail;
                } else {
                    out.push(byte);
                }
            }
        }
    }
    out.push(b'"');
}

fn put_unicode_escape(out: &mut Vec<u8>, unit: u16) {
    // A Vec takes all that is written.
    let _ = write!(out, "\\u{unit:04X}");
}

/// A number by its shortest text; where Java has two digits for its shortest, which is one, by
/// those.
fn put_finite(out: &mut Vec<u8>, value: impl std::fmt::LowerExp, shortest: &str, least: bool) {
    let mut text = [0; 16];
    let mut rest = &mut text[..];
    if least && write!(rest, "{value:.1e}").is_ok() {
        let left = rest.len();
        return put_java_float(out, &text[..text.len() - left]);
    }
    put_java_float(out, shortest.as_bytes());
}

/// Appends a finite number as Java's `Double.toString` lays it out, from its shortest digits.
///
/// `text` is the same number in any decimal notation: ryu's, or a PostgreSQL server's (12 and
/// later print the shortest digits). Plain from 10⁻³ to 10⁷, else `d.dddE±n`.
pub(crate) fn put_java_float(out: &mut Vec<u8>, text: &[u8]) {
    let (mantissa, exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (&text[..at], parse_exponent(&text[at + 1..])),
        None => (text, 0),
    };
    let (negative, mantissa) = match mantissa.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, mantissa),
    };
    let point = mantissa
        .iter()
        .position(|&byte| byte == b'.')
        .unwrap_or(mantissa.len());
    // The digits without the point, without zeros at either end; at most 17 matter.
    let mut digits = [0u8; 32];
    let mut count = 0;
    let mut leading = 0;
    for &byte in mantissa.iter().filter(|byte| byte.is_ascii_digit()) {
        if count == 0 && byte == b'0' {
            leading += 1;
        } else if let Some(slot) = digits.get_mut(count) {
            *slot = byte;
            count += 1;
        }
    }
    let mut digits = &digits[..count];
    while let Some((b'0', rest)) = digits.split_last() {
        digits = rest;
    }
    if negative {
        out.push(b'-');
    }
    let Some((&first, others)) = digits.split_first() else {
        out.extend_from_slice(b"0.0");
        return;
    };
    // value = 0.digits × 10^scale
    let scale = i64::try_from(point).unwrap_or(0) - leading + exponent;
    if scale == -323 && digits == b"5" {
        // Java asks for two digits where it can have them: Double.MIN_VALUE.
        out.extend_from_slice(b"4.9E-324");
        return;
    }
    match scale {
        -2..=0 => {
            out.extend_from_slice(b"0.");
            for _ in scale..0 {
                out.push(b'0');
            }
            out.extend_from_slice(digits);
        }
        1..=7 => {
            let whole = usize::try_from(scale).unwrap_or(0);
            for at in 0..whole {
                out.push(digits.get(at).copied().unwrap_or(b'0'));
            }
            out.push(b'.');
            match digits.get(whole..) {
                Some(fraction) if !fraction.is_empty() => out.extend_from_slice(fraction),
                _ => out.push(b'0'),
            }
        }
        _ => {
            out.extend_from_slice(&[first, b'.']);
            out.extend_from_slice(if others.is_empty() { b"0" } else { others });
            out.push(b'E');
            put_decimal(out, scale - 1);
        }
    }
}

fn parse_exponent(text: &[u8]) -> i64 {
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let value = digits.iter().take(9).fold(0, |value, &byte| {
        value * 10 + i64::from(byte.wrapping_sub(b'0') % 10)
    });
    if negative { -value } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(put: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        put(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_are_laid_out_as_java_lays_them_out() {
        for (value, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (1e10, "1.0E10"),
            (1e-7, "1.0E-7"),
            (0.001, "0.001"),
            (0.0099, "0.0099"),
            (0.000_999, "9.99E-4"),
            (123_456_789.123, "1.23456789123E8"),
            (9_999_999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (1.797_693_134_862_315_7e308, "1.7976931348623157E308"),
            (5e-324, "4.9E-324"),
            (-1e-323, "-9.9E-324"),
            (2e-323, "2.0E-323"),
            (-2.5, "-2.5"),
            (100.0, "100.0"),
            (f64::NAN, "\"NaN\""),
            (f64::NEG_INFINITY, "\"-Infinity\""),
        ] {
            assert_eq!(text(|out| Json::double(out, value)), expected);
        }
        for (value, expected) in [
            (3.402_823_5e38, "3.4028235E38"),
            (1e-45, "1.4E-45"),
            (8e-45, "8.4E-45"),
        ] {
            assert_eq!(text(|out| Json::float(out, value)), expected);
        }
        assert_eq!(text(|out| put_java_float(out, b"1e+10")), "1.0E10");
        assert_eq!(text(|out| put_java_float(out, b"-1e-05")), "-1.0E-5");
    }

    #[test]
    fn strings_are_escaped_as_jackson_escapes() {
        assert_eq!(
            text(|out| Json::string(out, "a\"b\\\n\t\u{8}\u{c}\r\u{1f}/é\u{7f}😀".as_bytes())),
            "\"a\\\"b\\\\\\n\\t\\b\\f\\r\\u001F/é\u{7f}\\uD83D\\uDE00\""
        );
        assert_eq!(
            text(|out| put_json_string(out, "😀".as_bytes(), false)),
            "\"😀\""
        );
    }

    proptest! {
        #[test]
        fn a_json_string_is_read_back(value in ".{0,60}") {
            let written = text(|out| Json::string(out, value.as_bytes()));
            prop_assert_eq!(serde_json::from_str::<String>(&written).unwrap(), value);
        }

        #[test]
        fn a_double_is_read_back(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let written = text(|out| Json::double(out, value));
            prop_assert_eq!(written.parse::<f64>().unwrap().to_bits(), value.to_bits());
            // Any notation of the number is laid out so that the number is read back.
            let other = text(|out| put_java_float(out, format!("{value:e}").as_bytes()));
            prop_assert_eq!(other.parse::<f64>().unwrap().to_bits(), value.to_bits());
        }

        #[test]
        fn a_length_slides_into_place(length in 0_usize..20_000) {
            let mut out = vec![7];
            Avro::ascii(&mut out, |out| out.resize(1 + 1 + length, b'x'));
            let mut expected = vec![7];
            Avro::string(&mut expected, &vec![b'x'; length]);
            prop_assert_eq!(out, expected);
        }
    }
}
