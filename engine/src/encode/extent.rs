//! How much room a large row may take, told before any of it is written.
//!
//! JSON escapes, base64, hex and the repeated value of REPLICA IDENTITY FULL let a record be many
//! times as large as the row that was received. These are bounds: of texts and of bytes they are
//! what will be written, to a few bytes; of arrays, maps and numbers what the worst of so many
//! elements could need. Only rows that are large are asked, so nothing of it is on a row's way.

use super::step::{Array, Binary, Spelled, Step};
use crate::capture::row::Cell;

/// Bytes that writing a record takes, at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// In the record.
    pub record: usize,
    /// Beside it, while it is written.
    pub scratch: usize,
}

impl Extent {
    pub(super) const fn of(record: usize) -> Self {
        Self { record, scratch: 0 }
    }

    const fn with_scratch(self, scratch: usize) -> Self {
        let Self { record, .. } = self;
        Self { record, scratch }
    }

    /// Both, one behind the other.
    #[must_use]
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            record: self.record.saturating_add(other.record),
            scratch: self.scratch.saturating_add(other.scratch),
        }
    }
}

/// What a form makes of texts and of bytes, as far as it makes them longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// As they are, with a length: Avro.
    Plain,
    /// Escaped, and in base64: JSON.
    Escaped,
    /// As they are, and all of it once more when it is finished: Java's `Struct.toString`.
    Twice,
}

impl Manner {
    /// Of a text.
    fn text(self, text: &[u8]) -> usize {
        match self {
            Self::Escaped => escaped(text) + 2,
            Self::Plain | Self::Twice => text.len() + LENGTH,
        }
    }

    /// Of so many bytes.
    fn bytes(self, count: usize) -> usize {
        match self {
            Self::Escaped => base64(count) + 2,
            Self::Plain => count + LENGTH,
            // Java tells of a buffer how long it is.
            Self::Twice => FIXED,
        }
    }
}

/// A length in Avro, or two quotes and a comma.
const LENGTH: usize = 10;
/// Any value of a type of fixed width: JSON's text of a double has 25 characters, a timestamp's 40.
const FIXED: usize = 64;
/// A pair of hstore's while it is read: two allocations, their lengths, its place in Java's order.
const PAIR: usize = 160;

fn base64(count: usize) -> usize {
    count.div_ceil(3) * 4
}

/// The bytes of a text as JSON has it, between its quotes.
fn escaped(text: &[u8]) -> usize {
    let mut more = 0;
    for block in text.chunks(256) {
        // Most blocks have nothing to escape, and that is seen many bytes at a time.
        let plain = |&byte: &u8| byte >= 0x20 && byte != b'"' && byte != b'\\' && byte < 0xf0;
        if !block.iter().fold(true, |all, byte| all & plain(byte)) {
            more += block.iter().map(|&byte| extra(byte)).sum::<usize>();
        }
    }
    text.len() + more
}

/// What a byte needs beside itself.
fn extra(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 1,
        0..0x20 => 5,
        // Four bytes become two escapes of six.
        0xf0.. => 8,
        _ => 0,
    }
}

fn count(bytes: &[u8], what: u8) -> usize {
    bytes.iter().filter(|&&byte| byte == what).count()
}

impl Step {
    /// What a value takes, at most.
    pub(super) fn extent(&self, cell: Cell<'_>, manner: Manner) -> Extent {
        let (value, binary) = match cell {
            Cell::Text(text) => (text, false),
            Cell::Binary(bytes) => (bytes, true),
            Cell::Null | Cell::Unchanged => return Extent::default(),
        };
        let length = value.len();
        match self {
            Self::Text | Self::Uuid | Self::Spelled(Spelled::Json) => {
                Extent::of(manner.text(value) + FIXED)
            }
            Self::Spelled(_) => {
                // Lexemes have quotes and backslashes doubled, and positions.
                let text = if binary { 4 * length + 512 } else { length };
                Extent::of(2 * text + manner.text(value) + FIXED).with_scratch(text)
            }
            Self::Bytea(how) | Self::Opaque(how) => {
                let hex = !binary && matches!(self, Self::Bytea(_)) && value.starts_with(b"\\x");
                let raw = if hex { length / 2 } else { length };
                Extent::of(told(*how, raw, manner)).with_scratch(raw)
            }
            Self::Geometric(how) => {
                // `1` is told as `1.0`.
                Extent::of(told(*how, 3 * length, manner)).with_scratch(3 * length)
            }
            Self::Bits => Extent::of(manner.bytes(length)).with_scratch(length),
            Self::Geometry => Extent::of(manner.bytes(length) + FIXED).with_scratch(length),
            Self::HstoreJson | Self::HstoreMap => {
                let pairs = if binary {
                    length / 8
                } else {
                    count(value, b'>')
                };
                let more = escaped(value) - length;
                let text = length + more + 8 * pairs;
                match self {
                    Self::HstoreMap => Extent::of(text + (LENGTH + 2) * pairs + FIXED)
                        .with_scratch(length + PAIR * pairs),
                    // JSON in JSON: each escape and each quote is escaped again.
                    _ => Extent::of(text + 2 * more + 8 * pairs + FIXED)
                        .with_scratch(length + PAIR * pairs + 2 * text),
                }
            }
            Self::Vector { .. } | Self::SparseVector | Self::Integers { .. } => {
                let words = if binary {
                    length / 2
                } else {
                    1 + count(value, b',') + count(value, b' ')
                };
                Extent::of(length + words * 26 + FIXED)
            }
            Self::Array(array) => array.extent(value, binary, manner),
            Self::Decimal(scale)
            | Self::DecimalNumber(scale)
            | Self::Money(scale)
            | Self::MoneyNumber(scale) => {
                let digits = digits(value, binary) + *scale as usize;
                Extent::of(2 * digits + FIXED).with_scratch(digits)
            }
            Self::DecimalText(scale) => {
                let digits = digits(value, binary) + scale.unwrap_or(0) as usize;
                Extent::of(digits + FIXED).with_scratch(digits)
            }
            Self::DecimalVariable => {
                let digits = digits(value, binary);
                Extent::of(digits + FIXED).with_scratch(digits)
            }
            Self::Java(step) => step.extent(cell, manner),
            Self::Masked(stars) => Extent::of(manner.text(stars.as_bytes())),
            Self::Cut { units, step } => {
                let whole = step.extent(cell, manner);
                // A unit is at most one escape of six, and a byte two of hex.
                Extent::of(whole.record.min(units.saturating_mul(12) + FIXED))
                    .with_scratch(whole.scratch.saturating_add(whole.record))
            }
            Self::Hashed(_) => Extent::of(4 * FIXED),
            _ => Extent::of(FIXED),
        }
    }

    /// What each element of an array may need beside its own bytes, and how many times those.
    fn element(&self) -> (usize, usize) {
        match self {
            Self::Boolean | Self::Bit => (6, 1),
            Self::Text | Self::Spelled(Spelled::Json) => (LENGTH, 1),
            Self::Integer | Self::Oid => (LENGTH, 2),
            Self::Decimal(_) | Self::DecimalNumber(_) | Self::DecimalText(_) => (FIXED, 3),
            Self::DecimalVariable => (FIXED + LENGTH, 3),
            Self::Bytea(_) | Self::Opaque(_) => (FIXED, 2),
            Self::Point => (3 * FIXED, 3),
            Self::Spelled(_) | Self::Geometric(_) | Self::Bits | Self::Geometry => (FIXED, 8),
            Self::Java(step) => step.element(),
            _ => (40, 2),
        }
    }
}

impl Array {
    fn extent(&self, value: &[u8], binary: bool, manner: Manner) -> Extent {
        let elements = if binary {
            // Each has a length of four bytes; there are not more than the first dimension says.
            let said = value
                .get(12..16)
                .and_then(|it| <[u8; 4]>::try_from(it).ok());
            let said = said.and_then(|it| usize::try_from(i32::from_be_bytes(it)).ok());
            said.unwrap_or(0).min(value.len() / 4)
        } else {
            1 + count(value, self.delimiter)
        };
        let (beside, times) = self.step.element();
        let own = manner.text(value).saturating_mul(times);
        Extent::of(own + elements * (beside + 1) + FIXED).with_scratch(value.len())
    }
}

/// Bytes as `binary.handling.mode` has them.
fn told(how: Binary, raw: usize, manner: Manner) -> usize {
    match how {
        Binary::Bytes => manner.bytes(raw),
        Binary::Hex => 2 * raw + LENGTH,
        Binary::Base64 | Binary::Base64UrlSafe => base64(raw) + LENGTH,
    }
}

/// The digits of a number, the zeros that its binary form leaves out too.
///
///   digits i16 | weight i16 | sign u16 | scale i16 | four decimal digits i16 ..
fn digits(value: &[u8], binary: bool) -> usize {
    match *value {
        [_, _, a, b, _, _, c, d, ..] if binary => {
            let word = |high, low| usize::try_from(i16::from_be_bytes([high, low])).unwrap_or(0);
            4 * (word(a, b) + 2) + word(c, d) + 2 * value.len()
        }
        _ => value.len(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::form::{Avro, Json, Text};
    use super::super::step::Unit;
    use super::*;

    fn array(step: Step, delimiter: u8) -> Step {
        Step::Array(Box::new(Array {
            step,
            optional: true,
            nulls: true,
            delimiter,
            scratch: Mutex::default(),
        }))
    }

    fn list(element: &str, delimiter: &str) -> String {
        format!("{{{}}}", vec![element; 3000].join(delimiter))
    }

    /// What is written is never more than was told, and of what is mostly long not much less.
    fn check(step: &Step, value: &str, tight: bool) {
        let cell = Cell::Text(value.as_bytes());
        let written = |put: fn(&Step, &[u8], &mut Vec<u8>) -> super::super::step::Done| {
            let mut out = Vec::new();
            let done = put(step, value.as_bytes(), &mut out);
            assert_eq!(done, Ok(()), "{step:?} of {:.40}", value);
            out.len()
        };
        for (manner, written) in [
            (Manner::Escaped, written(Step::text::<Json>)),
            (Manner::Plain, written(Step::text::<Avro>)),
            (Manner::Twice, written(Step::text::<Text>)),
        ] {
            let Extent { record, scratch } = step.extent(cell, manner);
            let what = format!("{step:?} of {value:.40}.., {manner:?}: {record}, {written}");
            assert!(written <= record, "{what}");
            assert!(
                !tight || record <= written + 2 * FIXED || manner == Manner::Twice,
                "{what}"
            );
            // Rows that are not measured stay below their share by the growth that is assumed.
            assert!(
                (record + scratch) / 2 <= 60 * value.len() + 4 * FIXED,
                "{what}"
            );
        }
    }

    #[test]
    fn what_is_written_is_never_more() {
        for text in ["\"", "\\", "\u{1}", "x", "é", "😀", "a\nb"] {
            check(&Step::Text, &text.repeat(5000), text != "😀" && text != "é");
            check(&array(Step::Text, b','), &list("\"\\\"\u{1}\"", ","), false);
        }
        let bytes = format!("\\x{}", "00ff".repeat(5000));
        for how in [
            Binary::Bytes,
            Binary::Base64,
            Binary::Base64UrlSafe,
            Binary::Hex,
        ] {
            check(&Step::Bytea(how), &bytes, how != Binary::Bytes);
            check(&Step::Bytea(how), &"a\\\\\\377".repeat(2000), false);
            check(&Step::Opaque(how), &"x".repeat(9999), how != Binary::Bytes);
            let path = format!("[{}]", vec!["(1,-2e+20)"; 2000].join(","));
            check(&Step::Geometric(how), &path, false);
            check(
                &array(Step::Bytea(how), b','),
                &list("\"\\\\x00\"", ","),
                false,
            );
        }
        let micros = Step::Timestamp {
            unit: Unit::Nanos,
            wrap: false,
        };
        for (step, element) in [
            (Step::Boolean, "f"),
            (Step::Integer, "1"),
            (Step::Float, "1"),
            (Step::Double, "-1.2345678901234567e-300"),
            (Step::Decimal(10), "1"),
            (Step::DecimalText(Some(10)), "1"),
            (Step::DecimalVariable, "1"),
            (Step::DecimalDouble, "1"),
            (Step::Date { wrap: false }, "2020-02-29"),
            (Step::DateText { wrap: false }, "2020-02-29"),
            (micros, "\"2020-02-29 01:02:03\""),
            (Step::ZonedTimestamp(6), "\"2020-02-29 01:02:03+00\""),
            (Step::TimestampText, "\"2020-02-29 01:02:03.123456\""),
            (Step::IntervalText, "01:00:00"),
            (Step::Uuid, "00000000-0000-0000-0000-000000000000"),
            (Step::Point, "\"(1,2)\""),
            (Step::Text, "NULL"),
        ] {
            check(&array(step, b','), &list(element, ","), false);
        }
        let words = vec!["1"; 3000].join(",");
        check(
            &Step::Vector { single: false },
            &format!("[{words}]"),
            false,
        );
        let pairs: Vec<String> = (0..3000)
            .map(|at| format!("\"{at}\u{1}\"=>\"\\\"\\\\\u{1}\""))
            .collect();
        for step in [Step::HstoreJson, Step::HstoreMap] {
            check(&step, &pairs.join(", "), false);
        }
        check(&Step::Bits, &"10".repeat(5000), false);
        check(&Step::Geometry, &"01010000".repeat(3000), false);
        check(&Step::DecimalText(None), &"7".repeat(100_000), false);
        check(&Step::DecimalVariable, &"7".repeat(100_000), false);
        let cut = Step::Cut {
            units: 10,
            step: Box::new(Step::Text),
        };
        check(&cut, &"\u{1}".repeat(9000), false);
    }

    #[test]
    fn numbers_have_zeros_that_their_binary_form_leaves_out() {
        // 1e131071
        let value = [0, 1, 0x7f, 0xff, 0, 0, 0, 0, 0x03, 0xe8];
        let step = Step::DecimalText(None);
        let mut out = Vec::new();
        assert_eq!(step.binary::<Json>(&value, &mut out), Ok(()));
        let told = step.extent(Cell::Binary(&value), Manner::Escaped);
        assert!(out.len() > 131_000 && out.len() <= told.record, "{told:?}");
    }
}
