//! Decimals: the text of a number in, its unscaled integer out as the fewest two's complement
//! bytes, the highest first; what Java's `BigInteger.toByteArray` gives.
//!
//! ```text
//!   "123.45" at scale 2      12345     30 39           in Avro, with its length: 04 30 39
//!   "-1.25"  at scale 2      -125      83
//!   "1.28"   at scale 2      128       00 80           the first bit is the sign
//!   "0"      at any scale    0         00
//! ```
#![allow(
    clippy::big_endian_bytes,
    reason = "two's complement of a decimal is written so"
)]

use std::fmt;

use crate::write;

/// A number's text, checked: `-123.45`. Digits only: no exponent, no NaN, no infinity.
///
/// PostgreSQL prints `numeric` so, and `numeric` has no more than 147,455 digits; longer texts
/// are taken too, in time that grows with the square of their length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal<'b> {
    negative: bool,
    /// Digits before the point; may be empty when the others are not.
    whole: &'b [u8],
    /// Digits behind it.
    fraction: &'b [u8],
}

/// Why a text or a scale will not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecimalError {
    /// `NaN`, `Infinity`, `-Infinity`: numbers to PostgreSQL, and to no decimal type.
    NotFinite,
    /// Not a number's text.
    NotANumber,
    /// Digits other than zero would be cut off at this scale.
    WouldRound,
}

impl fmt::Display for DecimalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFinite => "NaN and the infinities have no decimal form",
            Self::NotANumber => "not the text of a decimal number",
            Self::WouldRound => "has more digits behind the point than the scale of its type",
        })
    }
}

impl std::error::Error for DecimalError {}

impl<'b> Decimal<'b> {
    /// Reads `[+-] digits [. digits]`, with a digit on either side of the point at least.
    ///
    /// Errors: [`DecimalError::NotFinite`], [`DecimalError::NotANumber`].
    #[inline]
    pub fn parse(text: &'b [u8]) -> Result<Self, DecimalError> {
        let (negative, digits) = match text {
            [b'-', digits @ ..] => (true, digits),
            [b'+', digits @ ..] => (false, digits),
            digits => (false, digits),
        };
        let point = digits.iter().position(|byte| *byte == b'.');
        let (whole, fraction) = match point.and_then(|point| digits.split_at_checked(point)) {
            Some((whole, [_, fraction @ ..])) => (whole, fraction),
            _ => (digits, &[][..]),
        };
        let digits_only = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
        if !digits_only(whole) || !digits_only(fraction) || whole.len() + fraction.len() == 0 {
            let infinite = |word: &[u8]| {
                word.eq_ignore_ascii_case(b"Infinity") || word.eq_ignore_ascii_case(b"inf")
            };
            let finite = !infinite(digits) && !text.eq_ignore_ascii_case(b"NaN");
            return Err(if finite {
                DecimalError::NotANumber
            } else {
                DecimalError::NotFinite
            });
        }
        Ok(Self {
            negative,
            whole,
            fraction,
        })
    }

    /// Digits behind the point: the scale that loses nothing and adds nothing.
    #[must_use]
    pub fn scale(&self) -> u32 {
        u32::try_from(self.fraction.len()).unwrap_or(u32::MAX)
    }

    /// Appends `self * 10^scale` with its length: the form of Avro's `bytes`.
    ///
    /// Errors: [`DecimalError::WouldRound`], and nothing appended.
    #[inline]
    pub fn put(&self, out: &mut Vec<u8>, scale: i32) -> Result<(), DecimalError> {
        match self.small(scale) {
            Small::Is(unscaled) => put_i128(out, unscaled),
            Small::WouldRound => return Err(DecimalError::WouldRound),
            Small::TooLong => {
                // The length is known when the bytes are: they go first, then they make room.
                let start = out.len();
                self.put_long_unscaled(out, scale);
                let size = out.len() - start;
                write::put_length(out, size);
                let Some(tail) = out.get_mut(start..) else {
                    return Ok(());
                };
                tail.rotate_left(size);
            }
        }
        Ok(())
    }

    /// Appends the bytes of `self * 10^scale` and no length. A scale below zero divides.
    ///
    /// Errors: [`DecimalError::WouldRound`], and nothing appended.
    #[inline]
    pub fn put_unscaled(&self, out: &mut Vec<u8>, scale: i32) -> Result<(), DecimalError> {
        match self.small(scale) {
            Small::Is(unscaled) => put_unscaled_i128(out, unscaled),
            Small::WouldRound => return Err(DecimalError::WouldRound),
            Small::TooLong => self.put_long_unscaled(out, scale),
        }
        Ok(())
    }

    /// The digits of the unscaled integer: of the whole part, of the fraction, and how many
    /// zeros follow. None when digits that matter would be cut.
    fn digits(&self, scale: i32) -> Option<(&'b [u8], &'b [u8], usize)> {
        let kept = usize::try_from(scale).unwrap_or(0);
        let cut = usize::try_from(scale.unsigned_abs()).unwrap_or(usize::MAX);
        let (fraction, zeros) = match self.fraction.split_at_checked(kept) {
            Some((fraction, rest)) if zeros_only(rest) => (fraction, 0),
            Some(_) => return None,
            None => (self.fraction, kept - self.fraction.len()),
        };
        if scale >= 0 {
            return Some((self.whole, fraction, zeros));
        }
        let (whole, rest) = self.whole.split_at(self.whole.len().saturating_sub(cut));
        zeros_only(rest).then_some((whole, fraction, 0))
    }

    /// The unscaled integer, if it is certain to fit: 38 digits do.
    #[inline]
    fn small(&self, scale: i32) -> Small {
        let Some((whole, fraction, zeros)) = self.digits(scale) else {
            return Small::WouldRound;
        };
        let count = whole
            .len()
            .saturating_add(fraction.len())
            .saturating_add(zeros);
        let magnitude = if count <= 18 {
            let mut sum = 0u64;
            for digit in whole.iter().chain(fraction) {
                sum = sum * 10 + u64::from(digit - b'0');
            }
            for _ in 0..zeros {
                sum *= 10;
            }
            i128::from(sum)
        } else if count <= 38 {
            let mut sum = 0i128;
            for digit in whole.iter().chain(fraction) {
                sum = sum * 10 + i128::from(digit - b'0');
            }
            for _ in 0..zeros {
                sum *= 10;
            }
            sum
        } else {
            return Small::TooLong;
        };
        Small::Is(if self.negative { -magnitude } else { magnitude })
    }

    /// The general case, worked out at the tail of `out`: limbs of eight bytes, the lowest first,
    /// multiplied and added to 18 digits at a time; then negated, cut and turned round.
    fn put_long_unscaled(&self, out: &mut Vec<u8>, scale: i32) {
        let Some((whole, fraction, zeros)) = self.digits(scale) else {
            return;
        };
        let start = out.len();
        let digits = whole
            .iter()
            .chain(fraction)
            .map(|digit| u64::from(digit - b'0'));
        let (mut chunk, mut power) = (0u64, 1u64);
        for digit in digits.chain(std::iter::repeat_n(0, zeros)) {
            chunk = chunk * 10 + digit;
            power *= 10;
            if power == 1_000_000_000_000_000_000 {
                multiply_add(out, start, power, chunk);
                (chunk, power) = (0, 1);
            }
        }
        multiply_add(out, start, power, chunk);
        // Room for the sign.
        out.push(0);
        let Some(tail) = out.get_mut(start..) else {
            return;
        };
        if self.negative {
            let mut carry = true;
            for byte in tail.iter_mut() {
                (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
            }
        }
        tail.reverse();
        let extra = redundant(tail);
        tail.rotate_left(extra);
        out.truncate(out.len() - extra);
    }
}

/// What [`Decimal::small`] finds.
enum Small {
    Is(i128),
    TooLong,
    WouldRound,
}

fn zeros_only(digits: &[u8]) -> bool {
    digits.iter().all(|digit| *digit == b'0')
}

/// `tail = tail * factor + addend`, over little-endian limbs from `start` on.
fn multiply_add(out: &mut Vec<u8>, start: usize, factor: u64, addend: u64) {
    let mut carry = u128::from(addend);
    let (limbs, _) = out
        .get_mut(start..)
        .unwrap_or_default()
        .as_chunks_mut::<8>();
    for limb in limbs {
        carry += u128::from(u64::from_le_bytes(*limb)) * u128::from(factor);
        *limb = low(carry);
        carry >>= 64;
    }
    if carry > 0 {
        out.extend_from_slice(&low(carry));
    }
}

fn low(wide: u128) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = wide.to_le_bytes();
    [a, b, c, d, e, f, g, h]
}

/// Leading bytes, the highest first, that say no more than the bit after them; one byte stays.
fn redundant(bytes: &[u8]) -> usize {
    let pairs = bytes.iter().zip(bytes.iter().skip(1));
    pairs
        .take_while(|(first, second)| {
            (**first == 0 && **second < 0x80) || (**first == 0xff && **second >= 0x80)
        })
        .count()
}

/// Bytes that `value` needs, its sign bit included: 1 to 16.
#[inline]
fn size_of_i128(value: i128) -> usize {
    let magnitude = if value < 0 { !value } else { value };
    (128 - magnitude.leading_zeros() as usize) / 8 + 1
}

/// Appends an unscaled integer with its length: the form of Avro's `bytes`.
#[inline]
pub fn put_i128(out: &mut Vec<u8>, unscaled: i128) {
    // A size of up to 16, zigzag: twice itself.
    out.push(size_of_i128(unscaled).to_le_bytes()[0] << 1);
    put_unscaled_i128(out, unscaled);
}

/// Appends an unscaled integer with its length: the form of Avro's `bytes`.
#[inline]
pub fn put_i64(out: &mut Vec<u8>, unscaled: i64) {
    put_i128(out, i128::from(unscaled));
}

/// Appends an unscaled integer and no length.
#[inline]
pub fn put_unscaled_i128(out: &mut Vec<u8>, unscaled: i128) {
    let size = size_of_i128(unscaled);
    let shifted = unscaled << (128 - 8 * size);
    let start = out.len();
    out.extend_from_slice(&shifted.to_be_bytes());
    out.truncate(start + size);
}

/// Scales to either side that [`text`] writes out in digits; PostgreSQL's own largest is 16,383.
pub const SCALE_MAX: i32 = 20_000;

/// The text of the number that `bytes` hold at `scale`: as many digits behind the point, no
/// exponent unless the scale exceeds [`SCALE_MAX`]. No bytes are zero.
#[must_use]
pub fn text(bytes: &[u8], scale: i32) -> String {
    let negative = bytes.first().is_some_and(|byte| *byte >= 0x80);
    let mut magnitude = bytes.to_vec();
    if negative {
        let mut carry = true;
        for byte in magnitude.iter_mut().rev() {
            (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
        }
    }
    let mut digits = Vec::new();
    while magnitude.iter().any(|byte| *byte != 0) {
        let mut rest = 0u32;
        for byte in &mut magnitude {
            let wide = rest << 8 | u32::from(*byte);
            *byte = (wide / 10).to_le_bytes()[0];
            rest = wide % 10;
        }
        digits.push(char::from(b'0' + rest.to_le_bytes()[0]));
    }
    let exponent = if scale.unsigned_abs() > SCALE_MAX.unsigned_abs() {
        -i64::from(scale)
    } else {
        0
    };
    let scale = if exponent == 0 { scale } else { 0 };
    // Lowest first: what stands behind the point, then at least one digit before it.
    let behind = usize::try_from(scale).unwrap_or(0);
    while digits.len() <= behind {
        digits.push('0');
    }
    let mut text = String::new();
    if negative {
        text.push('-');
    }
    text.extend(digits.iter().skip(behind).rev());
    if scale < 0 && digits.iter().any(|digit| *digit != '0') {
        text.extend(std::iter::repeat_n('0', scale.unsigned_abs() as usize));
    }
    if behind > 0 {
        text.push('.');
        text.extend(digits.iter().take(behind).rev());
    }
    if exponent != 0 {
        text.push_str(&format!("E{exponent}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unscaled(text: &str, scale: i32) -> Result<Vec<u8>, DecimalError> {
        let mut out = vec![0xaa];
        let put = Decimal::parse(text.as_bytes())?.put_unscaled(&mut out, scale);
        assert_eq!(out.remove(0), 0xaa);
        assert!(put.is_ok() || out.is_empty(), "an error appends nothing");
        put.map(|()| out)
    }

    /// What Java's BigInteger gives for the same numbers.
    #[test]
    fn vectors() {
        for (text, scale, bytes) in [
            ("123.45", 2, &[0x30, 0x39][..]),
            ("-1.25", 2, &[0x83]),
            ("1.28", 2, &[0x00, 0x80]),
            ("-1.28", 2, &[0x80]),
            ("-1.29", 2, &[0xff, 0x7f]),
            ("0", 0, &[0x00]),
            ("-0.00", 2, &[0x00]),
            ("2.55", 2, &[0x00, 0xff]),
            ("1.5", 3, &[0x05, 0xdc]),
            ("1.500", 1, &[0x0f]),
            (".5", 1, &[0x05]),
            ("5.", 1, &[0x32]),
            ("+7", 0, &[0x07]),
            ("12300", -2, &[0x7b]),
            ("0", -2, &[0x00]),
            ("00", -2, &[0x00]),
            // 2^127 - 1, 2^127, -2^127, -2^127 - 1: 39 digits.
            (
                "170141183460469231731687303715884105727",
                0,
                &[
                    0x7f, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
                ],
            ),
            (
                "170141183460469231731687303715884105728",
                0,
                &[0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            ),
            (
                "-170141183460469231731687303715884105728",
                0,
                &[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            ),
            (
                "-1701411834604692317316873037158841057.29",
                2,
                &[
                    255, 0x7f, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
                    255, 255,
                ],
            ),
        ] {
            assert_eq!(
                unscaled(text, scale).as_deref(),
                Ok(bytes),
                "{text} at {scale}"
            );
            let mut out = vec![0xaa];
            Decimal::parse(text.as_bytes())
                .unwrap()
                .put(&mut out, scale)
                .unwrap();
            assert_eq!(
                out[1],
                u8::try_from(bytes.len() * 2).unwrap(),
                "{text} at {scale}"
            );
            assert_eq!(&out[2..], bytes, "{text} at {scale}");
        }
    }

    #[test]
    fn refused() {
        for word in ["NaN", "Infinity", "-Infinity", "inf"] {
            assert_eq!(unscaled(word, 0), Err(DecimalError::NotFinite), "{word}");
        }
        for word in ["", "-", ".", "1e5", "1.2.3", "--1", " 1", "1,5", "x"] {
            assert_eq!(unscaled(word, 0), Err(DecimalError::NotANumber), "{word}");
        }
        assert_eq!(unscaled("1.25", 1), Err(DecimalError::WouldRound));
        assert_eq!(unscaled("12345", -2), Err(DecimalError::WouldRound));
        assert_eq!(unscaled("1.5", -2), Err(DecimalError::WouldRound));
    }

    #[test]
    fn text_of_bytes() {
        assert_eq!(text(&[0x83], 2), "-1.25");
        assert_eq!(text(&[], 0), "0");
        assert_eq!(text(&[0], 2), "0.00");
        assert_eq!(text(&[0x7b], -2), "12300");
        assert_eq!(text(&[0x05], 3), "0.005");
        assert_eq!(text(&[0x05], i32::MAX), "5E-2147483647");
        assert_eq!(text(&[0x05], i32::MIN), "5E2147483648");
    }

    proptest! {
        #[test]
        fn an_integer_is_the_shortest_that_reads_back(value: i128, shift in 0..128) {
            let value = value >> shift;
            let mut out = Vec::new();
            put_unscaled_i128(&mut out, value);
            let whole = value.to_be_bytes();
            let cut = redundant(&whole);
            prop_assert_eq!(&out, &whole[cut..]);
            prop_assert_eq!(unscaled(&value.to_string(), 0).unwrap(), out.clone());
            let mut framed = Vec::new();
            put_i128(&mut framed, value);
            prop_assert_eq!(crate::Reader::new(&framed).take_bytes(), Ok(&out[..]));
        }

        #[test]
        fn a_text_reads_back(
            number in "-?(0|[1-9][0-9]{0,120})",
            fraction in "[0-9]{0,60}",
            more in 0u8..30,
        ) {
            let scale = i32::try_from(fraction.len()).unwrap() + i32::from(more);
            let written = if fraction.is_empty() { number } else { format!("{number}.{fraction}") };
            let bytes = unscaled(&written, scale).unwrap();
            prop_assert_eq!(redundant(&bytes), 0);
            let mut expected = written.clone();
            if more > 0 {
                if fraction.is_empty() {
                    expected.push('.');
                }
                expected.extend(std::iter::repeat_n('0', usize::from(more)));
            }
            if expected.trim_start_matches('-').bytes().all(|byte| matches!(byte, b'0' | b'.')) {
                expected = expected.trim_start_matches('-').to_owned();
            }
            prop_assert_eq!(text(&bytes, scale), expected);
            // The same without the zeros.
            let decimal = Decimal::parse(written.as_bytes()).unwrap();
            prop_assert_eq!(decimal.scale() as usize, fraction.len());
        }
    }
}
