//! Text forms: what the types' output functions write.

use std::borrow::Cow;

use super::{
    DAY_US, Date, Interval, Numeric, Time, TimeTz, Timestamp, days_from_civil, days_in_month,
};
use crate::error::{Fault, Malformed};

#[cold]
fn fault(message: &'static str, at: usize, fault: Fault) -> Malformed {
    Malformed {
        message,
        field: "text",
        at,
        fault,
    }
}

/// `t` or `f`.
#[inline]
pub fn bool(bytes: &[u8]) -> Result<bool, Malformed> {
    match bytes {
        b"t" => Ok(true),
        b"f" => Ok(false),
        _ => Err(fault("bool", 0, Fault::Syntax)),
    }
}

/// Decimal.
#[inline]
pub fn int2(bytes: &[u8]) -> Result<i16, Malformed> {
    let value = integer("int2", bytes)?;
    i16::try_from(value).map_err(|_| fault("int2", 0, Fault::Range))
}

/// Decimal.
#[inline]
pub fn int4(bytes: &[u8]) -> Result<i32, Malformed> {
    let value = integer("int4", bytes)?;
    i32::try_from(value).map_err(|_| fault("int4", 0, Fault::Range))
}

/// Decimal.
#[inline]
pub fn int8(bytes: &[u8]) -> Result<i64, Malformed> {
    integer("int8", bytes)
}

/// Decimal, unsigned: also xid and cid.
#[inline]
pub fn oid(bytes: &[u8]) -> Result<u32, Malformed> {
    let value = integer("oid", bytes)?;
    u32::try_from(value).map_err(|_| fault("oid", 0, Fault::Range))
}

#[inline]
fn integer(name: &'static str, bytes: &[u8]) -> Result<i64, Malformed> {
    let (negative, digits) = match bytes {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return Err(fault(name, bytes.len(), Fault::Syntax));
    }
    // Downwards, where there is one number more.
    let mut value = 0i64;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(fault(name, 0, Fault::Syntax));
        }
        let next = value
            .checked_mul(10)
            .and_then(|tens| tens.checked_sub(digit.into()));
        let Some(next) = next else {
            return Err(fault(name, 0, Fault::Range));
        };
        value = next;
    }
    if negative {
        return Ok(value);
    }
    value
        .checked_neg()
        .ok_or_else(|| fault(name, 0, Fault::Range))
}

/// Shortest exact; `NaN`, `Infinity`, `-Infinity`.
#[inline]
pub fn float4(bytes: &[u8]) -> Result<f32, Malformed> {
    match bytes {
        b"NaN" => Ok(f32::NAN),
        b"Infinity" => Ok(f32::INFINITY),
        b"-Infinity" => Ok(f32::NEG_INFINITY),
        _ => float_digits(bytes)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| fault("float4", 0, Fault::Syntax)),
    }
}

/// Shortest exact; `NaN`, `Infinity`, `-Infinity`.
#[inline]
pub fn float8(bytes: &[u8]) -> Result<f64, Malformed> {
    match bytes {
        b"NaN" => Ok(f64::NAN),
        b"Infinity" => Ok(f64::INFINITY),
        b"-Infinity" => Ok(f64::NEG_INFINITY),
        _ => float_digits(bytes)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| fault("float8", 0, Fault::Syntax)),
    }
}

/// The standard library knows more words for infinity than PostgreSQL does.
fn float_digits(bytes: &[u8]) -> Option<&str> {
    let digits = bytes
        .iter()
        .all(|b| matches!(b, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E'));
    if digits {
        std::str::from_utf8(bytes).ok()
    } else {
        None
    }
}

/// A finite `numeric`: its decimal digits as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal<'b> {
    /// Below zero.
    pub negative: bool,
    /// ASCII digits before the point; at least one.
    pub integer: &'b [u8],
    /// ASCII digits behind the point, as many as the value's scale.
    pub fraction: &'b [u8],
}

/// Plain decimal, never an exponent; `NaN`, `Infinity`, `-Infinity`.
#[inline]
pub fn numeric(bytes: &[u8]) -> Result<Numeric<Decimal<'_>>, Malformed> {
    let (negative, digits) = match bytes {
        b"NaN" => return Ok(Numeric::NaN),
        b"Infinity" => return Ok(Numeric::Infinity),
        b"-Infinity" => return Ok(Numeric::NegInfinity),
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let point = digits.iter().position(|&byte| byte == b'.');
    let (integer, fraction) = match point.and_then(|point| digits.split_at_checked(point)) {
        Some((integer, [_, fraction @ ..])) if !fraction.is_empty() => (integer, fraction),
        Some(_) => return Err(fault("numeric", bytes.len(), Fault::Syntax)),
        None => (digits, &[][..]),
    };
    if integer.is_empty() || !integer.iter().chain(fraction).all(u8::is_ascii_digit) {
        return Err(fault("numeric", 0, Fault::Syntax));
    }
    Ok(Numeric::Finite(Decimal {
        negative,
        integer,
        fraction,
    }))
}

/// `bytea`, checked: hex or escape format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytea<'b> {
    text: BytesText<'b>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BytesText<'b> {
    /// Pairs of hex digits.
    Hex(&'b [u8]),
    /// Bytes, `\\` and `\ooo`.
    Escape(&'b [u8]),
}

/// `\x` and hex digits, or the escape format.
#[inline]
pub fn bytea(bytes: &[u8]) -> Result<Bytea<'_>, Malformed> {
    if let [b'\\', b'x', digits @ ..] = bytes {
        if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(fault("bytea", 2, Fault::Syntax));
        }
        return Ok(Bytea {
            text: BytesText::Hex(digits),
        });
    }
    let mut rest = bytes;
    while let Some((_, tail)) = take_escaped(rest) {
        rest = tail;
    }
    if rest.is_empty() {
        return Ok(Bytea {
            text: BytesText::Escape(bytes),
        });
    }
    Err(fault("bytea", bytes.len() - rest.len(), Fault::Syntax))
}

/// The next byte of the escape format.
#[inline]
fn take_escaped(text: &[u8]) -> Option<(u8, &[u8])> {
    match text {
        [b'\\', b'\\', rest @ ..] => Some((b'\\', rest)),
        [
            b'\\',
            a @ b'0'..=b'3',
            b @ b'0'..=b'7',
            c @ b'0'..=b'7',
            rest @ ..,
        ] => Some(((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), rest)),
        [b'\\', ..] | [] => None,
        [byte, rest @ ..] => Some((*byte, rest)),
    }
}

impl<'b> Bytea<'b> {
    /// The bytes in order.
    #[inline]
    pub fn bytes(&self) -> impl Iterator<Item = u8> + Clone + 'b {
        let mut text = self.text;
        std::iter::from_fn(move || match &mut text {
            BytesText::Hex(digits) => {
                let (&[high, low], rest) = digits.split_first_chunk::<2>()?;
                *digits = rest;
                Some(nibble(high) << 4 | nibble(low))
            }
            BytesText::Escape(escaped) => {
                let (byte, rest) = take_escaped(escaped)?;
                *escaped = rest;
                Some(byte)
            }
        })
    }

    /// How many bytes they are.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        match self.text {
            BytesText::Hex(digits) => digits.len() / 2,
            BytesText::Escape(_) => self.bytes().count(),
        }
    }

    /// Whether there is no byte.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self.text {
            BytesText::Hex(text) | BytesText::Escape(text) => text.is_empty(),
        }
    }

    /// The hex digits, where the server sent those.
    #[inline]
    #[must_use]
    pub fn hex_digits(&self) -> Option<&'b [u8]> {
        match self.text {
            BytesText::Hex(digits) => Some(digits),
            BytesText::Escape(_) => None,
        }
    }

    /// Appends the bytes.
    #[inline]
    pub fn decode_into(&self, out: &mut Vec<u8>) {
        match self.text {
            BytesText::Hex(digits) => {
                let pairs = digits.as_chunks::<2>().0;
                out.extend(
                    pairs
                        .iter()
                        .map(|&[high, low]| nibble(high) << 4 | nibble(low)),
                );
            }
            BytesText::Escape(_) => out.extend(self.bytes()),
        }
    }
}

/// The value of a hex digit.
#[inline]
fn nibble(digit: u8) -> u8 {
    // Letters have bit 6, and 9 is what they lack.
    (digit & 15) + 9 * (digit >> 6)
}

/// 8-4-4-4-12 hex digits.
#[inline]
pub fn uuid(bytes: &[u8]) -> Result<[u8; 16], Malformed> {
    let syntax = || fault("uuid", 0, Fault::Syntax);
    let text: &[u8; 36] = bytes.try_into().map_err(|_| syntax())?;
    let mut out = [0; 16];
    let mut rest = text.as_slice();
    for (position, byte) in out.iter_mut().enumerate() {
        if matches!(position, 4 | 6 | 8 | 10) {
            rest = rest.strip_prefix(b"-").ok_or_else(syntax)?;
        }
        let (&[high, low], tail) = rest.split_first_chunk::<2>().ok_or_else(syntax)?;
        if !high.is_ascii_hexdigit() || !low.is_ascii_hexdigit() {
            return Err(syntax());
        }
        *byte = nibble(high) << 4 | nibble(low);
        rest = tail;
    }
    Ok(out)
}

/// Takes the parts of dates and times off the front.
struct Scanner<'b> {
    name: &'static str,
    rest: &'b [u8],
    whole: usize,
}

impl<'b> Scanner<'b> {
    #[inline]
    fn new(name: &'static str, bytes: &'b [u8]) -> Self {
        Self {
            name,
            rest: bytes,
            whole: bytes.len(),
        }
    }

    #[cold]
    fn fault(&self, kind: Fault) -> Malformed {
        fault(self.name, self.whole - self.rest.len(), kind)
    }

    #[inline]
    fn skip(&mut self, byte: u8) -> bool {
        match self.rest {
            [first, rest @ ..] if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// `-` is true, `+` is false.
    #[inline]
    fn sign(&mut self) -> Option<bool> {
        let (&sign, rest) = self.rest.split_first()?;
        let negative = matches!(sign, b'+' | b'-').then_some(sign == b'-')?;
        self.rest = rest;
        Some(negative)
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.skip(byte) {
            Ok(())
        } else {
            Err(self.fault(Fault::Syntax))
        }
    }

    /// One to eighteen digits: how many, and their value.
    #[inline]
    fn digits(&mut self) -> Result<(u32, i64), Malformed> {
        let mut value = 0i64;
        let mut count = 0u32;
        while let [digit @ b'0'..=b'9', rest @ ..] = self.rest {
            if count == 18 {
                return Err(self.fault(Fault::Range));
            }
            value = value * 10 + i64::from(digit - b'0');
            count += 1;
            self.rest = rest;
        }
        if count == 0 {
            Err(self.fault(Fault::Syntax))
        } else {
            Ok((count, value))
        }
    }

    /// Exactly two digits, at most `max`.
    #[inline]
    fn two(&mut self, max: u8) -> Result<u8, Malformed> {
        let [tens @ b'0'..=b'9', ones @ b'0'..=b'9', rest @ ..] = self.rest else {
            return Err(self.fault(Fault::Syntax));
        };
        let value = (tens - b'0') * 10 + (ones - b'0');
        if value > max {
            return Err(self.fault(Fault::Range));
        }
        self.rest = rest;
        Ok(value)
    }

    /// `.` and one to six digits, in microseconds; nothing is none.
    #[inline]
    fn fraction(&mut self) -> Result<i64, Malformed> {
        if !self.skip(b'.') {
            return Ok(0);
        }
        let (count, value) = self.digits()?;
        match 6u32.checked_sub(count) {
            Some(missing) => Ok(value * 10i64.pow(missing)),
            None => Err(self.fault(Fault::Range)),
        }
    }

    /// `2024-01-02`: year as written, month, day.
    #[inline]
    fn date(&mut self) -> Result<(i64, u8, u8), Malformed> {
        let (count, year) = self.digits()?;
        match count {
            0..4 => return Err(self.fault(Fault::Syntax)),
            4..=7 => {}
            _ => return Err(self.fault(Fault::Range)),
        }
        self.expect(b'-')?;
        let month = self.two(12)?;
        self.expect(b'-')?;
        Ok((year, month, self.two(31)?))
    }

    /// `03:04:05.678901`, in microseconds.
    #[inline]
    fn time(&mut self) -> Result<i64, Malformed> {
        let hours = i64::from(self.two(24)?);
        self.expect(b':')?;
        let minutes = i64::from(self.two(59)?);
        self.expect(b':')?;
        let seconds = i64::from(self.two(59)?);
        let micros = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + self.fraction()?;
        if micros > DAY_US {
            Err(self.fault(Fault::Range))
        } else {
            Ok(micros)
        }
    }

    /// `+02`, `-03:30`, `+01:22:30`, in seconds east of UTC.
    #[inline]
    fn zone(&mut self) -> Result<i32, Malformed> {
        let Some(negative) = self.sign() else {
            return Err(self.fault(Fault::Syntax));
        };
        let mut seconds = i32::from(self.two(15)?) * 3600;
        if self.skip(b':') {
            seconds += i32::from(self.two(59)?) * 60;
            if self.skip(b':') {
                seconds += i32::from(self.two(59)?);
            }
        }
        Ok(if negative { -seconds } else { seconds })
    }

    /// ` BC` or nothing, which must end the text; the days since 2000 of what was written.
    #[inline]
    fn finish_date(&mut self, date: (i64, u8, u8)) -> Result<i64, Malformed> {
        let (year, month, day) = date;
        let year = match self.rest {
            b"" => year,
            // There is no year 0 in text: 1 BC comes before 1.
            b" BC" => 1 - year,
            _ => return Err(self.fault(Fault::Trailing)),
        };
        if month == 0 || day == 0 || day > days_in_month(year, month) {
            return Err(self.fault(Fault::Range));
        }
        Ok(days_from_civil(year, month, day) - i64::from(super::EPOCH_UNIX_DAYS))
    }

    #[inline]
    fn finish(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.fault(Fault::Trailing))
        }
    }
}

/// `2024-01-02`, `0044-03-15 BC`, `infinity`.
#[inline]
pub fn date(bytes: &[u8]) -> Result<Date, Malformed> {
    match bytes {
        b"infinity" => return Ok(Date::INFINITY),
        b"-infinity" => return Ok(Date::NEG_INFINITY),
        _ => {}
    }
    let mut scanner = Scanner::new("date", bytes);
    let date = scanner.date()?;
    let days = scanner.finish_date(date)?;
    match i32::try_from(days).map(Date) {
        Ok(date) if (Date::MIN..=Date::MAX).contains(&date) => Ok(date),
        _ => Err(scanner.fault(Fault::Range)),
    }
}

/// `12:34:56.789`, `24:00:00`.
#[inline]
pub fn time(bytes: &[u8]) -> Result<Time, Malformed> {
    let mut scanner = Scanner::new("time", bytes);
    let micros = scanner.time()?;
    scanner.finish()?;
    Ok(Time(micros))
}

/// `12:34:56.789+02`, `12:34:56-03:30`.
#[inline]
pub fn timetz(bytes: &[u8]) -> Result<TimeTz, Malformed> {
    let mut scanner = Scanner::new("timetz", bytes);
    let time = Time(scanner.time()?);
    let zone_west = -scanner.zone()?;
    scanner.finish()?;
    Ok(TimeTz { time, zone_west })
}

/// `2024-01-02 03:04:05.678901`, `0044-03-15 12:00:00 BC`, `infinity`.
#[inline]
pub fn timestamp(bytes: &[u8]) -> Result<Timestamp, Malformed> {
    moment("timestamp", bytes, |_| Ok(0))
}

/// `2024-01-02 04:04:05.678901+01`, with the zone of the session; read as UTC.
#[inline]
pub fn timestamptz(bytes: &[u8]) -> Result<Timestamp, Malformed> {
    moment("timestamptz", bytes, Scanner::zone)
}

#[inline]
fn moment<'b>(
    name: &'static str,
    bytes: &'b [u8],
    zone: impl FnOnce(&mut Scanner<'b>) -> Result<i32, Malformed>,
) -> Result<Timestamp, Malformed> {
    match bytes {
        b"infinity" => return Ok(Timestamp::INFINITY),
        b"-infinity" => return Ok(Timestamp::NEG_INFINITY),
        _ => {}
    }
    let mut scanner = Scanner::new(name, bytes);
    let date = scanner.date()?;
    scanner.expect(b' ')?;
    let micros = scanner.time()?;
    let zone_east = zone(&mut scanner)?;
    let days = scanner.finish_date(date)?;
    let micros = micros - i64::from(zone_east) * 1_000_000;
    let whole = days
        .checked_mul(DAY_US)
        .and_then(|day| day.checked_add(micros));
    match whole.map(Timestamp) {
        Some(moment) if (Timestamp::MIN..=Timestamp::MAX).contains(&moment) => Ok(moment),
        _ => Err(scanner.fault(Fault::Range)),
    }
}

/// `1 year 2 mons 3 days 04:05:06.7`, `-1 days +02:03:00`, `infinity`.
pub fn interval(bytes: &[u8]) -> Result<Interval, Malformed> {
    match bytes {
        b"infinity" => return Ok(Interval::INFINITY),
        b"-infinity" => return Ok(Interval::NEG_INFINITY),
        b"" => return Err(fault("interval", 0, Fault::Syntax)),
        _ => {}
    }
    let mut scanner = Scanner::new("interval", bytes);
    // Each unit comes at most once, and in this order.
    let mut months = 0i64;
    let mut days = 0i64;
    let mut micros = 0i128;
    let mut smallest = 0;
    loop {
        let negative = scanner.sign() == Some(true);
        let (_, number) = scanner.digits()?;
        let signed = if negative { -number } else { number };
        let unit = if scanner.skip(b':') {
            let minutes = scanner.two(59)?;
            scanner.expect(b':')?;
            let seconds = scanner.two(59)?;
            let whole = i128::from(number) * 3600 + i128::from(minutes) * 60 + i128::from(seconds);
            let magnitude = whole * 1_000_000 + i128::from(scanner.fraction()?);
            micros = if negative { -magnitude } else { magnitude };
            4
        } else {
            scanner.expect(b' ')?;
            let end = scanner.rest.iter().position(|&byte| byte == b' ');
            let end = end.unwrap_or(scanner.rest.len());
            let (word, rest) = scanner.rest.split_at_checked(end).unwrap_or_default();
            let unit = match word {
                b"year" | b"years" => {
                    months = signed.checked_mul(12).unwrap_or(i64::MAX);
                    1
                }
                b"mon" | b"mons" => {
                    months = months.saturating_add(signed);
                    2
                }
                b"day" | b"days" => {
                    days = signed;
                    3
                }
                _ => return Err(scanner.fault(Fault::Syntax)),
            };
            scanner.rest = rest;
            unit
        };
        if unit <= smallest {
            return Err(scanner.fault(Fault::Syntax));
        }
        smallest = unit;
        if scanner.rest.is_empty() {
            break;
        }
        scanner.expect(b' ')?;
    }
    let range = |_| scanner.fault(Fault::Range);
    Ok(Interval {
        months: i32::try_from(months).map_err(range)?,
        days: i32::try_from(days).map_err(range)?,
        micros: i64::try_from(micros).map_err(|_| scanner.fault(Fault::Range))?,
    })
}

/// The most dimensions that an array has.
pub const DIMENSIONS_MAX: usize = 6;

/// An array, checked: braces balance, quotes close, elements are all at one depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Array<'b> {
    bounds: &'b [u8],
    braces: &'b [u8],
    delimiter: u8,
}

/// A piece of an [`Array`], in the order of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArrayToken<'b> {
    /// `{`: the array itself, then one dimension deeper.
    Open,
    /// `}`
    Close,
    /// An element that is NULL.
    Null,
    /// An element.
    Element(Element<'b>),
}

/// An element of an [`Array`], perhaps with backslashes still in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<'b> {
    raw: &'b [u8],
    escaped: bool,
}

impl<'b> Element<'b> {
    /// The element's text form, if it stands in the array as it is.
    #[inline]
    #[must_use]
    pub fn plain(&self) -> Option<&'b [u8]> {
        if self.escaped { None } else { Some(self.raw) }
    }

    /// The bytes of the element's text form.
    #[inline]
    pub fn bytes(&self) -> impl Iterator<Item = u8> + Clone + 'b {
        let mut rest = self.raw;
        let escaped = self.escaped;
        std::iter::from_fn(move || {
            let (&byte, tail) = match rest {
                [b'\\', tail @ ..] if escaped => tail.split_first()?,
                _ => rest.split_first()?,
            };
            rest = tail;
            Some(byte)
        })
    }

    /// Appends the element's text form.
    pub fn unescape_into(&self, out: &mut Vec<u8>) {
        match self.plain() {
            Some(plain) => out.extend_from_slice(plain),
            None => out.extend(self.bytes()),
        }
    }

    /// The element's text form; allocated only if it holds a backslash.
    #[must_use]
    pub fn text(&self) -> Cow<'b, [u8]> {
        self.plain()
            .map_or_else(|| Cow::Owned(self.bytes().collect()), Cow::Borrowed)
    }
}

/// `{1,2,NULL}`, `{{a,"b c"},{"d\"e",""}}`, `[0:1]={5,6}`. The delimiter is `,` but for box: `;`.
pub fn array(bytes: &[u8], delimiter: u8) -> Result<Array<'_>, Malformed> {
    let syntax = |rest: &[u8]| fault("array", bytes.len() - rest.len(), Fault::Syntax);
    let (bounds, braces) = match bytes {
        [b'[', ..] => {
            let equals = bytes.iter().position(|&byte| byte == b'=');
            let split = equals.and_then(|equals| bytes.split_at_checked(equals));
            let Some((bounds, [_, braces @ ..])) = split else {
                return Err(syntax(bytes));
            };
            (bounds, braces)
        }
        _ => (&[][..], bytes),
    };
    let array = Array {
        bounds,
        braces,
        delimiter,
    };
    if !bounds.is_empty() && array.checked_bounds().is_none() {
        return Err(syntax(bytes));
    }
    if braces == b"{}" && bounds.is_empty() {
        return Ok(array);
    }
    let mut rest = braces;
    let mut depth = 0usize;
    let mut leaf_depth = None;
    let mut after_value = false;
    loop {
        rest = match rest {
            [b'{', tail @ ..] if !after_value && depth < DIMENSIONS_MAX => {
                depth += 1;
                tail
            }
            [b'}', tail @ ..] if after_value && depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    if tail.is_empty() && leaf_depth.is_some() {
                        return Ok(array);
                    }
                    return Err(syntax(tail));
                }
                tail
            }
            [byte, tail @ ..] if after_value && *byte == delimiter => {
                after_value = false;
                tail
            }
            _ if !after_value && depth > 0 => {
                let Some((_, tail)) = take_element(rest, delimiter) else {
                    return Err(syntax(rest));
                };
                if *leaf_depth.get_or_insert(depth) != depth {
                    return Err(syntax(rest));
                }
                after_value = true;
                tail
            }
            _ => return Err(syntax(rest)),
        };
    }
}

/// An element off the front, and what follows it. `None`: there is no element here.
#[inline]
fn take_element(text: &[u8], delimiter: u8) -> Option<(ArrayToken<'_>, &[u8])> {
    let [b'"', quoted @ ..] = text else {
        let end = text
            .iter()
            .position(|&byte| byte == delimiter || matches!(byte, b'{' | b'}' | b'"' | b'\\'))?;
        let (raw, rest) = text.split_at_checked(end)?;
        let ends = rest
            .first()
            .is_some_and(|&byte| byte == delimiter || byte == b'}');
        if raw.is_empty() || !ends {
            return None;
        }
        let null = raw.eq_ignore_ascii_case(b"NULL");
        let element = ArrayToken::Element(Element {
            raw,
            escaped: false,
        });
        return Some((if null { ArrayToken::Null } else { element }, rest));
    };
    let mut escaped = false;
    let mut end = 0;
    loop {
        match quoted.get(end)? {
            b'"' => break,
            b'\\' => {
                escaped = true;
                end += 2;
            }
            _ => end += 1,
        }
    }
    let (raw, rest) = quoted.split_at_checked(end)?;
    Some((
        ArrayToken::Element(Element { raw, escaped }),
        rest.get(1..)?,
    ))
}

impl<'b> Array<'b> {
    /// The pieces in order.
    #[inline]
    pub fn tokens(&self) -> impl Iterator<Item = ArrayToken<'b>> + Clone + 'b {
        let mut rest = self.braces;
        let delimiter = self.delimiter;
        std::iter::from_fn(move || {
            if rest.first() == Some(&delimiter) {
                rest = rest.get(1..)?;
            }
            let (token, tail) = match rest {
                [b'{', tail @ ..] => (ArrayToken::Open, tail),
                [b'}', tail @ ..] => (ArrayToken::Close, tail),
                _ => take_element(rest, delimiter)?,
            };
            rest = tail;
            Some(token)
        })
    }

    /// The elements in order, whatever the dimensions; `None` is NULL.
    #[inline]
    pub fn elements(&self) -> impl Iterator<Item = Option<Element<'b>>> + Clone + 'b {
        self.tokens().filter_map(|token| match token {
            ArrayToken::Open | ArrayToken::Close => None,
            ArrayToken::Null => Some(None),
            ArrayToken::Element(element) => Some(Some(element)),
        })
    }

    /// How many dimensions; 0 for the empty array.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        if self.braces == b"{}" {
            return 0;
        }
        self.tokens()
            .take_while(|token| *token == ArrayToken::Open)
            .count()
    }

    /// Lower and upper bound of each dimension, where the text gives them: where a lower bound is
    /// not 1.
    pub fn bounds(&self) -> impl Iterator<Item = (i32, i32)> + Clone + 'b {
        let mut rest = self.bounds;
        std::iter::from_fn(move || {
            let (bounds, tail) = take_bounds(rest)?;
            rest = tail;
            Some(bounds)
        })
    }

    fn checked_bounds(&self) -> Option<()> {
        let mut rest = self.bounds;
        for _ in 0..DIMENSIONS_MAX {
            rest = take_bounds(rest)?.1;
            if rest.is_empty() {
                return Some(());
            }
        }
        None
    }
}

/// `[0:1]` off the front.
fn take_bounds(text: &[u8]) -> Option<((i32, i32), &[u8])> {
    let end = text.iter().position(|&byte| byte == b']')?;
    let (inside, rest) = text
        .strip_prefix(b"[")?
        .split_at_checked(end.checked_sub(1)?)?;
    let colon = inside.iter().position(|&byte| byte == b':')?;
    let (lower, upper) = inside.split_at_checked(colon)?;
    Some((
        (int4(lower).ok()?, int4(upper.get(1..)?).ok()?),
        rest.get(1..)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::EPOCH_UNIX_US;
    use proptest::prelude::*;

    #[test]
    fn numbers() {
        assert_eq!(bool(b"t"), Ok(true));
        assert!(bool(b"true").is_err());
        assert_eq!(int2(b"-32768"), Ok(i16::MIN));
        assert_eq!(int2(b"32768").unwrap_err().fault, Fault::Range);
        assert_eq!(int8(b"-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(
            int8(b"9223372036854775808").unwrap_err().fault,
            Fault::Range
        );
        assert_eq!(oid(b"4294967295"), Ok(u32::MAX));
        for bad in ["", "-", "+1", " 1", "1 ", "1.0", "0x1", "--1"] {
            assert!(int8(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(float8(b"0.3333333333333333"), Ok(0.333_333_333_333_333_3));
        assert_eq!(float8(b"1e-07"), Ok(1e-7));
        assert_eq!(float8(b"-0").map(f64::to_bits), Ok((-0.0f64).to_bits()));
        assert_eq!(float4(b"-Infinity"), Ok(f32::NEG_INFINITY));
        assert!(float8(b"inf").is_err() && float8(b"nan").is_err() && float8(b"").is_err());
    }

    #[test]
    fn numerics() {
        let finite = |negative, integer: &'static [u8], fraction: &'static [u8]| {
            Ok(Numeric::Finite(Decimal {
                negative,
                integer,
                fraction,
            }))
        };
        assert_eq!(numeric(b"-12345.678"), finite(true, b"12345", b"678"));
        assert_eq!(numeric(b"100.00"), finite(false, b"100", b"00"));
        assert_eq!(numeric(b"0"), finite(false, b"0", b""));
        assert_eq!(numeric(b"NaN"), Ok(Numeric::NaN));
        assert_eq!(numeric(b"-Infinity"), Ok(Numeric::NegInfinity));
        for bad in ["", "-", ".", "1.", ".5", "1e5", "1.2.3", "--1", "1.-2"] {
            assert!(numeric(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn byteas() {
        let decoded = |text: &[u8]| {
            bytea(text).map(|bytea| {
                let mut out = Vec::new();
                bytea.decode_into(&mut out);
                assert_eq!(out.len(), bytea.len());
                assert!(bytea.bytes().eq(out.iter().copied()));
                out
            })
        };
        assert_eq!(decoded(br"\xdeAD"), Ok(vec![0xde, 0xad]));
        assert_eq!(decoded(br"\x"), Ok(vec![]));
        assert_eq!(decoded(br"a\\b\336\255"), Ok(b"a\\b\xde\xad".to_vec()));
        assert_eq!(decoded(b""), Ok(vec![]));
        for bad in [br"\x1".as_slice(), br"\xgg", br"\1", br"\400", br"a\"] {
            assert!(bytea(bad).is_err());
        }
    }

    #[test]
    fn uuids() {
        let text = b"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
        let bytes = 0xa0ee_bc99_9c0b_4ef8_bb6d_6bb9_bd38_0a11_u128.to_be_bytes();
        assert_eq!(uuid(text), Ok(bytes));
        assert!(uuid(b"a0eebc999-c0b-4ef8-bb6d-6bb9bd380a11").is_err());
        assert!(uuid(b"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1").is_err());
    }

    #[test]
    fn dates_and_times() {
        assert_eq!(date(b"2024-01-02").map(Date::unix_days), Ok(19_724));
        assert_eq!(date(b"0044-03-15 BC").map(Date::civil), Ok((-43, 3, 15)));
        assert_eq!(date(b"5874897-12-31"), Ok(Date::MAX));
        assert_eq!(date(b"4714-11-24 BC"), Ok(Date::MIN));
        assert_eq!(date(b"-infinity"), Ok(Date::NEG_INFINITY));
        assert_eq!(date(b"0004-02-29 BC").unwrap_err().fault, Fault::Range);
        assert_eq!(date(b"0005-02-29 BC").map(Date::civil), Ok((-4, 2, 29)));
        for bad in [
            "",
            "2024-1-02",
            "2024-13-01",
            "2023-02-29",
            "2024-01-02 AD",
            "24-01-02",
        ] {
            assert!(date(bad.as_bytes()).is_err(), "{bad}");
        }

        assert_eq!(time(b"24:00:00"), Ok(Time(DAY_US)));
        assert_eq!(time(b"12:34:56.789"), Ok(Time(45_296_789_000)));
        assert!(time(b"24:00:00.000001").is_err() && time(b"12:60:00").is_err());
        assert!(time(b"12:34:56.").is_err() && time(b"12:34:56.1234567").is_err());

        let zoned = |text: &[u8]| timetz(text).map(|value| (value.time.0, value.zone_west));
        assert_eq!(zoned(b"12:34:56.789+02"), Ok((45_296_789_000, -7_200)));
        assert_eq!(zoned(b"00:00:00-03:30"), Ok((0, 12_600)));
        assert_eq!(zoned(b"00:00:00+01:22:30"), Ok((0, -4_950)));

        let unix = |value: Timestamp| value.unix_us();
        let expected = Some(1_704_164_645_678_901);
        assert_eq!(
            timestamp(b"2024-01-02 03:04:05.678901").map(unix),
            Ok(expected)
        );
        assert_eq!(
            timestamptz(b"2024-01-02 04:04:05.678901+01").map(unix),
            Ok(expected)
        );
        assert_eq!(
            timestamp(b"294276-12-31 23:59:59.999999"),
            Ok(Timestamp::MAX)
        );
        assert_eq!(timestamp(b"4714-11-24 00:00:00 BC"), Ok(Timestamp::MIN));
        assert_eq!(Timestamp::MAX.unix_us(), None);
        assert_eq!(timestamp(b"infinity"), Ok(Timestamp::INFINITY));
        assert_eq!(
            timestamptz(b"0001-12-31 23:59:59-00:00:01 BC"),
            timestamptz(b"0001-01-01 00:00:00+00")
        );
        assert!(timestamp(b"2024-01-02").is_err());
        assert!(timestamp(b"2024-01-02 03:04:05+01").is_err());
        assert!(timestamptz(b"2024-01-02 03:04:05").is_err());
    }

    #[test]
    fn intervals() {
        let whole = |months, days, micros| {
            Ok(Interval {
                months,
                days,
                micros,
            })
        };
        let cases = [
            (
                "1 year 2 mons 3 days 04:05:06.7",
                whole(14, 3, 14_706_700_000),
            ),
            ("-1 days +02:03:00", whole(0, -1, 7_380_000_000)),
            ("00:00:00", whole(0, 0, 0)),
            (
                "-1 years -2 mons +3 days -04:05:06",
                whole(-14, 3, -14_706_000_000),
            ),
            ("1 day", whole(0, 1, 0)),
            ("-00:00:00.000001", whole(0, 0, -1)),
            ("-2562047788:00:54.775808", whole(0, 0, i64::MIN)),
            ("-178956970 years -8 mons", whole(i32::MIN, 0, 0)),
            ("infinity", Ok(Interval::INFINITY)),
        ];
        for (text, value) in cases {
            assert_eq!(interval(text.as_bytes()), value, "{text}");
        }
        for bad in [
            "",
            "1",
            "1 ",
            "1 week",
            "1 day 1 day",
            "1 day ",
            "1:02:03:04",
            "+-1 day",
        ] {
            assert!(interval(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    fn drawn(text: &[u8], delimiter: u8) -> Option<String> {
        let array = array(text, delimiter).ok()?;
        let pieces = array.tokens().map(|token| match token {
            ArrayToken::Open => "(".to_owned(),
            ArrayToken::Close => ")".to_owned(),
            ArrayToken::Null => "-".to_owned(),
            ArrayToken::Element(element) => {
                format!("<{}>", String::from_utf8_lossy(&element.text()))
            }
        });
        Some(pieces.collect())
    }

    #[test]
    fn arrays() {
        let cases: [(&[u8], &str); 7] = [
            (b"{1,2,NULL}", "(<1><2>-)"),
            (b"{}", "()"),
            (br#"{{a,"b c"},{"d\"e\\",""}}"#, r#"((<a><b c>)(<d"e\><>))"#),
            (b"[0:1]={5,6}", "(<5><6>)"),
            (b"[-1:0][2:2]={{5},{6}}", "((<5>)(<6>))"),
            (br#"{"NULL",null}"#, "(<NULL>-)"),
            (br#"{"{}","a,b"}"#, "(<{}><a,b>)"),
        ];
        for (text, expected) in cases {
            let shown = String::from_utf8_lossy(text);
            assert_eq!(drawn(text, b',').as_deref(), Some(expected), "{shown}");
        }
        assert_eq!(
            drawn(b"{(3,4),(1,2);(1,1),(0,0)}", b';').as_deref(),
            Some("(<(3,4),(1,2)><(1,1),(0,0)>)")
        );
        let bounds = array(b"[-1:0][2:2]={{5},{6}}", b',').unwrap();
        assert_eq!(bounds.bounds().collect::<Vec<_>>(), [(-1, 0), (2, 2)]);
        assert_eq!(bounds.dimensions(), 2);
        assert_eq!(array(b"{}", b',').unwrap().dimensions(), 0);
        assert!(array(b"{{{{{{{1}}}}}}}", b',').is_err());
        for bad in [
            "", "{", "}", "{1", "1", "{1,}", "{,1}", "{{1},2}", "{{}}", "{\"}", "{\"a\"b}",
            "{a\"b\"}", "{1}}", "{1}x", "[0:1]{1}", "[]={1}", "[0]={1}", "{a\\b}", "{\"\\",
            "{{1}{2}}",
        ] {
            assert_eq!(drawn(bad.as_bytes(), b','), None, "{bad}");
        }
    }

    /// Any element can be written, and comes back.
    fn quoted(elements: &[Option<Vec<u8>>]) -> Vec<u8> {
        let mut out = vec![b'{'];
        for (position, element) in elements.iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            let Some(element) = element else {
                out.extend_from_slice(b"NULL");
                continue;
            };
            out.push(b'"');
            for &byte in element {
                if matches!(byte, b'"' | b'\\') {
                    out.push(b'\\');
                }
                out.push(byte);
            }
            out.push(b'"');
        }
        out.push(b'}');
        out
    }

    proptest! {
        #[test]
        fn integers_are_identity(value: i64) {
            prop_assert_eq!(int8(value.to_string().as_bytes()), Ok(value));
            prop_assert_eq!(int4(value.to_string().as_bytes()).ok(), i32::try_from(value).ok());
        }

        #[test]
        fn floats_are_identity(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            prop_assert_eq!(float8(format!("{value:e}").as_bytes()), Ok(value));
        }

        #[test]
        fn timestamps_are_identity(
            micros in Timestamp::MIN.0..Timestamp::MAX.0, zone in -57_599..57_600i32
        ) {
            let (date_, time_) = Timestamp(micros).split();
            let (year, month, day) = date_.civil();
            let (shown, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
            let (seconds, fraction) = (time_.0 / 1_000_000, time_.0 % 1_000_000);
            let (hour, minute) = (seconds / 3600, seconds / 60 % 60);
            let clock = format!("{hour:02}:{minute:02}:{:02}.{fraction:06}", seconds % 60);
            let written = format!("{shown:04}-{month:02}-{day:02} {clock}{era}");
            prop_assert_eq!(timestamp(written.as_bytes()), Ok(Timestamp(micros)));
            let shown_date = format!("{shown:04}-{month:02}-{day:02}{era}");
            prop_assert_eq!(date(shown_date.as_bytes()), Ok(date_));
            let sign = if zone < 0 { '-' } else { '+' };
            let east = zone.abs();
            let (hours, minutes) = (east / 3600, east / 60 % 60);
            let zone_text = format!("{sign}{hours:02}:{minutes:02}:{:02}", east % 60);
            let written = format!("{shown:04}-{month:02}-{day:02} {clock}{zone_text}{era}");
            let expected = Timestamp(micros - i64::from(zone) * 1_000_000);
            if (Timestamp::MIN..=Timestamp::MAX).contains(&expected) {
                prop_assert_eq!(timestamptz(written.as_bytes()), Ok(expected));
            }
            prop_assert!(EPOCH_UNIX_US > 0);
        }

        #[test]
        fn arrays_are_identity(elements: Vec<Option<Vec<u8>>>) {
            prop_assume!(!elements.is_empty());
            let text = quoted(&elements);
            let array = array(&text, b',').unwrap();
            let owned = array.elements().map(|element| element.map(|e| e.text().into_owned()));
            let back: Vec<_> = owned.collect();
            prop_assert_eq!(back, elements);
        }

        #[test]
        fn byteas_are_identity(bytes: Vec<u8>) {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let escaped: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
            for text in [format!("\\x{hex}"), escaped] {
                let mut out = Vec::new();
                bytea(text.as_bytes()).unwrap().decode_into(&mut out);
                prop_assert_eq!(&out, &bytes);
            }
        }
    }
}
