//! PostgreSQL's numeric: from its text or its binary form to the integer that Connect's Decimal is.

use super::form::{Form, put_decimal};

/// Decimal digits that an `i128` always holds.
const NARROW: usize = 38;

/// A finite number: `unscaled` × 10^-`scale`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decimal {
    unscaled: Unscaled,
    scale: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Unscaled {
    Narrow(i128),
    /// Sign, and decimal digits: ASCII, not empty.
    Wide(bool, Vec<u8>),
}

/// What a numeric may be beside a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotANumber {
    /// `NaN`
    Nan,
    /// `Infinity`
    Infinity,
    /// `-Infinity`
    NegativeInfinity,
    /// No numeric's text at all.
    Malformed,
}

/// Parses `-12.340`.
#[inline]
pub(crate) fn parse(text: &[u8]) -> Result<Decimal, NotANumber> {
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, text),
    };
    if digits.len() > NARROW {
        return parse_wide(negative, digits);
    }
    // Up to 18 digits fit a machine word: most numbers stay there.
    let (low, point) = if digits.len() <= 18 {
        let (low, point) = fold::<u64>(digits).ok_or_else(|| not_a_number(text))?;
        (u128::from(low), point)
    } else {
        fold::<u128>(digits).ok_or_else(|| not_a_number(text))?
    };
    if digits.is_empty() || point == Some(digits.len() - 1) {
        return Err(NotANumber::Malformed);
    }
    let magnitude = low.cast_signed();
    Ok(Decimal {
        unscaled: Unscaled::Narrow(if negative { -magnitude } else { magnitude }),
        scale: scale_of(digits.len(), point),
    })
}

/// Digits as an integer, and where their point is.
#[inline]
fn fold<N>(digits: &[u8]) -> Option<(N, Option<usize>)>
where
    N: From<u8> + std::ops::Mul<Output = N> + std::ops::Add<Output = N>,
{
    let (mut value, mut point) = (N::from(0), None);
    for (at, &byte) in digits.iter().enumerate() {
        if byte.is_ascii_digit() {
            value = value * N::from(10) + N::from(byte - b'0');
        } else if byte == b'.' && point.is_none() && at > 0 {
            point = Some(at);
        } else {
            return None;
        }
    }
    Some((value, point))
}

fn scale_of(length: usize, point: Option<usize>) -> u32 {
    point.map_or(0, |at| u32::try_from(length - at - 1).unwrap_or(u32::MAX))
}

fn parse_wide(negative: bool, digits: &[u8]) -> Result<Decimal, NotANumber> {
    let point = digits.iter().position(|&byte| byte == b'.');
    let plain: Vec<u8> = digits
        .iter()
        .copied()
        .filter(|&byte| byte != b'.')
        .collect();
    let fine = plain.iter().all(u8::is_ascii_digit)
        && plain.len() + usize::from(point.is_some()) == digits.len()
        && point != Some(0)
        && point != Some(digits.len() - 1);
    if !fine {
        return Err(NotANumber::Malformed);
    }
    let scale = scale_of(digits.len(), point);
    Ok(Decimal {
        unscaled: Unscaled::from_digits(negative, plain),
        scale,
    })
}

fn not_a_number(text: &[u8]) -> NotANumber {
    match text {
        b"NaN" => NotANumber::Nan,
        b"Infinity" => NotANumber::Infinity,
        b"-Infinity" => NotANumber::NegativeInfinity,
        _ => NotANumber::Malformed,
    }
}

/// Parses the text of money: sign or parentheses, a currency sign, thousands in groups.
pub(crate) fn parse_money(text: &[u8]) -> Option<Decimal> {
    let text = std::str::from_utf8(text).ok()?;
    let negative = text.contains(['-', '(']);
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| byte.is_ascii_digit() || *byte == b'.')
        .collect();
    let mut decimal = parse(&digits).ok()?;
    if negative {
        decimal.unscaled = match decimal.unscaled {
            Unscaled::Narrow(value) => Unscaled::Narrow(-value),
            Unscaled::Wide(_, digits) => Unscaled::Wide(true, digits),
        };
    }
    Some(decimal)
}

impl Unscaled {
    fn from_digits(negative: bool, mut digits: Vec<u8>) -> Self {
        let zeros = digits.iter().take_while(|&&byte| byte == b'0').count();
        digits.drain(..zeros);
        if digits.is_empty() {
            return Self::Narrow(0);
        }
        if digits.len() > NARROW {
            return Self::Wide(negative, digits);
        }
        let magnitude = digits
            .iter()
            .fold(0_i128, |value, byte| value * 10 + i128::from(byte - b'0'));
        Self::Narrow(if negative { -magnitude } else { magnitude })
    }

    fn into_digits(self) -> (bool, Vec<u8>) {
        match self {
            Self::Narrow(value) => (value < 0, value.unsigned_abs().to_string().into_bytes()),
            Self::Wide(negative, digits) => (negative, digits),
        }
    }

    /// Calls `with` on sign and decimal digits.
    fn with_digits<R>(&self, with: impl FnOnce(bool, &[u8]) -> R) -> R {
        match self {
            Self::Narrow(value) => {
                let mut buffer = itoa::Buffer::new();
                with(*value < 0, buffer.format(value.unsigned_abs()).as_bytes())
            }
            Self::Wide(negative, digits) => with(*negative, digits),
        }
    }
}

impl Decimal {
    /// From parts of the binary form and of casts: `value` × 10^-`scale`.
    pub(crate) fn new(value: i128, scale: u32) -> Self {
        Self {
            unscaled: Unscaled::Narrow(value),
            scale,
        }
    }

    /// Digits behind the point.
    pub(crate) fn scale(&self) -> u32 {
        self.scale
    }

    /// The same number at another scale; digits that fall off are rounded half up.
    #[inline]
    pub(crate) fn rescale(self, scale: u32) -> Self {
        if scale == self.scale {
            return self;
        }
        self.rescale_slow(scale)
    }

    fn rescale_slow(self, scale: u32) -> Self {
        if let (Unscaled::Narrow(value), Some(more)) =
            (&self.unscaled, scale.checked_sub(self.scale))
            && let Some(value) = 10_i128
                .checked_pow(more)
                .and_then(|by| value.checked_mul(by))
        {
            return Self::new(value, scale);
        }
        if let (Unscaled::Narrow(value), Some(fewer)) =
            (&self.unscaled, self.scale.checked_sub(scale))
            && let Some(by) = 10_i128.checked_pow(fewer)
        {
            let (whole, rest) = (value / by, value % by);
            let up = i128::from(rest.unsigned_abs() * 2 >= by.unsigned_abs());
            return Self::new(whole + up * value.signum(), scale);
        }
        let (negative, mut digits) = self.unscaled.into_digits();
        if scale > self.scale {
            let more = usize::try_from(scale - self.scale).unwrap_or(0);
            digits.resize(digits.len() + more, b'0');
            return Self {
                unscaled: Unscaled::from_digits(negative, digits),
                scale,
            };
        }
        let fewer = usize::try_from(self.scale - scale).unwrap_or(0);
        let kept = digits.len().saturating_sub(fewer);
        let round = digits.len() >= fewer && digits.get(kept).is_some_and(|&byte| byte >= b'5');
        digits.truncate(kept);
        if round {
            let mut at = digits.len();
            loop {
                if at == 0 {
                    digits.insert(0, b'1');
                    break;
                }
                at -= 1;
                if digits[at] == b'9' {
                    digits[at] = b'0';
                } else {
                    digits[at] += 1;
                    break;
                }
            }
        }
        Self {
            unscaled: Unscaled::from_digits(negative, digits),
            scale,
        }
    }

    /// The same number without zeros at the end of its fraction.
    pub(crate) fn strip(mut self) -> Self {
        match &mut self.unscaled {
            Unscaled::Narrow(0) => self.scale = 0,
            Unscaled::Narrow(value) => {
                while self.scale > 0 && *value % 10 == 0 {
                    *value /= 10;
                    self.scale -= 1;
                }
            }
            Unscaled::Wide(negative, digits) => {
                while self.scale > 0 && digits.last() == Some(&b'0') {
                    digits.pop();
                    self.scale -= 1;
                }
                self.unscaled = Unscaled::from_digits(*negative, std::mem::take(digits));
            }
        }
        self
    }

    /// Calls `with` on the unscaled integer: big-endian two's complement, in the fewest bytes.
    #[inline]
    pub(crate) fn with_bytes<R>(&self, with: impl FnOnce(&[u8]) -> R) -> R {
        match &self.unscaled {
            Unscaled::Narrow(value) => match i64::try_from(*value) {
                Ok(value) => {
                    // The sign, and the bits that differ from it.
                    let bits = 65 - (value ^ (value >> 63)).leading_zeros();
                    let bytes = value.to_be_bytes();
                    with(&bytes[8 - bits.div_ceil(8) as usize..])
                }
                Err(_) => with(fewest(&value.to_be_bytes())),
            },
            Unscaled::Wide(negative, digits) => with(&wide_bytes(*negative, digits)),
        }
    }

    /// Appends the number without an exponent.
    pub(crate) fn put_plain(&self, out: &mut Vec<u8>) {
        self.unscaled.with_digits(|negative, digits| {
            if negative {
                out.push(b'-');
            }
            let scale = usize::try_from(self.scale).unwrap_or(0);
            let (whole, fraction) = digits.split_at(digits.len().saturating_sub(scale));
            out.extend_from_slice(if whole.is_empty() { b"0" } else { whole });
            if scale > 0 {
                out.push(b'.');
                out.resize(out.len() + scale - fraction.len(), b'0');
                out.extend_from_slice(fraction);
            }
        });
    }

    /// Appends the number as Java's `BigDecimal.toString` prints it.
    pub(crate) fn put_java(&self, out: &mut Vec<u8>) {
        self.unscaled.with_digits(|negative, digits| {
            let count = i64::try_from(digits.len()).unwrap_or(i64::MAX);
            let exponent = count - 1 - i64::from(self.scale);
            if self.scale == 0 || exponent >= -6 {
                return self.put_plain(out);
            }
            if negative {
                out.push(b'-');
            }
            out.push(digits[0]);
            if digits.len() > 1 {
                out.push(b'.');
                out.extend_from_slice(&digits[1..]);
            }
            out.push(b'E');
            put_decimal(out, exponent);
        });
    }

    /// The nearest double.
    pub(crate) fn to_double(&self) -> f64 {
        let mut text = Vec::new();
        self.put_plain(&mut text);
        std::str::from_utf8(&text)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(f64::NAN)
    }

    /// Reads back what [`Self::with_bytes`] gave.
    pub(crate) fn from_bytes(bytes: &[u8], scale: u32) -> Self {
        let digits = avro::decimal::text(bytes, 0);
        let (negative, digits) = match digits.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, &*digits),
        };
        Self {
            unscaled: Unscaled::from_digits(negative, digits.as_bytes().to_vec()),
            scale,
        }
    }
}

/// Two's complement of more digits than an `i128` has.
fn wide_bytes(negative: bool, digits: &[u8]) -> Vec<u8> {
    let text = [if negative { &b"-"[..] } else { b"" }, digits].concat();
    let mut bytes = Vec::new();
    if let Ok(decimal) = avro::Decimal::parse(&text) {
        // Without a fraction nothing is rounded.
        let _ = decimal.put_unscaled(&mut bytes, 0);
    }
    bytes
}

/// Drops the leading bytes that only repeat the sign.
fn fewest(mut bytes: &[u8]) -> &[u8] {
    while let [first @ (0 | 0xff), rest @ ..] = bytes {
        match rest.first() {
            Some(next) if (next ^ first) < 0x80 => bytes = rest,
            _ => break,
        }
    }
    bytes
}

/// Parses a numeric's binary form: count, weight, sign, scale, and groups of four digits.
pub(crate) fn parse_binary(bytes: &[u8]) -> Result<Decimal, NotANumber> {
    /// Groups that an `i128` always holds.
    const GROUPS: usize = 9;
    let Some((head, groups)) = bytes.split_first_chunk::<8>() else {
        return Err(NotANumber::Malformed);
    };
    let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let negative = match word(4) {
        0 => false,
        0x4000 => true,
        0xc000 => return Err(NotANumber::Nan),
        0xd000 => return Err(NotANumber::Infinity),
        0xf000 => return Err(NotANumber::NegativeInfinity),
        _ => return Err(NotANumber::Malformed),
    };
    let scale = u32::from(word(6) & 0x3fff);
    let groups = groups
        .chunks_exact(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let count = groups.len();
    if count != usize::from(word(0))
        || bytes.len() != 8 + 2 * count
        || groups.clone().any(|group| group > 9999)
    {
        return Err(NotANumber::Malformed);
    }
    // The number is the groups, as an integer, × 10000^(weight + 1 - count).
    let shift = i64::from(word(2).cast_signed()) + 1 - i64::try_from(count).unwrap_or(0);
    // Up to four groups fit a machine word, and most numbers have no more.
    if count <= 4
        && let Ok(fraction) = u32::try_from(-shift * 4)
    {
        let value = groups
            .clone()
            .fold(0_u64, |value, group| value * 10_000 + u64::from(group));
        let exact = match fraction.checked_sub(scale) {
            Some(0) => Some(value),
            Some(1) => (value % 10 == 0).then_some(value / 10),
            Some(2) => (value % 100 == 0).then_some(value / 100),
            Some(3) => (value % 1000 == 0).then_some(value / 1000),
            _ => None,
        };
        if let Some(value) = exact {
            let value = i128::from(value);
            return Ok(Decimal::new(if negative { -value } else { value }, scale));
        }
    }
    // Sixteen digits fit a machine word, and what the scale drops are zeros.
    if count <= 4
        && let Ok(fraction) = u32::try_from(-shift * 4)
        && let Some(dropped) = fraction.checked_sub(scale)
        && dropped < 4
    {
        let value = groups.fold(0_u64, |value, group| value * 10_000 + u64::from(group));
        let value = i128::from(value / [1, 10, 100, 1000][dropped as usize]);
        return Ok(Decimal::new(if negative { -value } else { value }, scale));
    }
    let integer = if count <= GROUPS {
        let value = groups.fold(0_i128, |value, group| value * 10_000 + i128::from(group));
        Unscaled::Narrow(if negative { -value } else { value })
    } else {
        let digits = groups.flat_map(|group| {
            [1000, 100, 10, 1].map(|power| b'0' + (group / power % 10).to_le_bytes()[0])
        });
        Unscaled::from_digits(negative, digits.collect())
    };
    match u32::try_from(-shift * 4) {
        Ok(fraction) => Ok(Decimal {
            unscaled: integer,
            scale: fraction,
        }
        .rescale(scale)),
        // Groups of zeros before the point are not sent.
        Err(_) => {
            let (negative, mut digits) = integer.into_digits();
            let zeros = usize::try_from(shift * 4).map_err(|_| NotANumber::Malformed)?;
            digits.resize(digits.len() + zeros, b'0');
            let unscaled = Unscaled::from_digits(negative, digits);
            Ok(Decimal { unscaled, scale: 0 }.rescale(scale))
        }
    }
}

/// Appends the Decimal as bytes of a form.
#[inline]
pub(crate) fn put<F: Form>(decimal: &Decimal, out: &mut Vec<u8>) {
    decimal.with_bytes(|bytes| F::bytes(out, bytes));
}

/// Appends the VariableScaleDecimal of the number.
pub(crate) fn put_variable<F: Form>(decimal: Decimal, out: &mut Vec<u8>) {
    let decimal = decimal.strip();
    F::field(out, "{\"scale\":");
    F::integer(out, decimal.scale().into());
    F::field(out, ",\"value\":");
    put::<F>(&decimal, out);
    F::end_struct(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(text: &str, scale: u32) -> Vec<u8> {
        parse(text.as_bytes())
            .unwrap()
            .rescale(scale)
            .with_bytes(<[u8]>::to_vec)
    }

    #[test]
    fn bytes_are_the_fewest() {
        assert_eq!(bytes("12.34", 2), [0x04, 0xd2]);
        assert_eq!(bytes("-1.50", 2), [0xff, 0x6a]);
        assert_eq!(bytes("1.50", 2), [0x00, 0x96]);
        assert_eq!(bytes("0.00", 2), [0x00]);
        assert_eq!(bytes("-1.25", 2), [0x83]);
        assert_eq!(bytes("128", 0), [0x00, 0x80]);
        assert_eq!(bytes("-128", 0), [0x80]);
    }

    #[test]
    fn texts_that_are_no_number() {
        for (text, fault) in [
            ("NaN", NotANumber::Nan),
            ("Infinity", NotANumber::Infinity),
            ("-Infinity", NotANumber::NegativeInfinity),
            ("", NotANumber::Malformed),
            ("1.", NotANumber::Malformed),
            (".1", NotANumber::Malformed),
            ("1e5", NotANumber::Malformed),
            ("--1", NotANumber::Malformed),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(fault), "{text}");
        }
    }

    #[test]
    fn money_of_both_signs() {
        for (text, cents) in [
            ("$1,234.56", 123_456),
            ("-$0.01", -1),
            ("($9.99)", -999),
            ("$0.00", 0),
        ] {
            let money = parse_money(text.as_bytes()).unwrap().rescale(2);
            assert_eq!(money, Decimal::new(cents, 2), "{text}");
        }
        assert_eq!(
            parse_money(b"$1.235").unwrap().rescale(2),
            Decimal::new(124, 2)
        );
        assert_eq!(
            parse_money(b"$9.995").unwrap().rescale(2),
            Decimal::new(1000, 2)
        );
        assert_eq!(parse_money(b"nothing"), None);
    }

    #[test]
    fn java_prints_small_numbers_with_an_exponent() {
        let java = |value, scale| {
            let mut out = Vec::new();
            Decimal::new(value, scale).put_java(&mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(java(110, 2), "1.10");
        assert_eq!(java(1, 6), "0.000001");
        assert_eq!(java(1, 7), "1E-7");
        assert_eq!(java(-123, 10), "-1.23E-8");
        assert_eq!(java(0, 2), "0.00");
        assert_eq!(java(0, 10), "0E-10");
    }

    /// As `numeric_send` writes it.
    fn send(text: &str) -> Vec<u8> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let whole = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
        let padded = format!("{fraction}{}", "0".repeat((4 - fraction.len() % 4) % 4));
        let all = format!("{whole}{padded}");
        let mut groups: Vec<u16> = (0..all.len())
            .step_by(4)
            .map(|at| all[at..at + 4].parse().unwrap())
            .collect();
        let mut weight = i16::try_from(whole.len() / 4).unwrap() - 1;
        while groups.first() == Some(&0) {
            groups.remove(0);
            weight -= 1;
        }
        while groups.last() == Some(&0) {
            groups.pop();
        }
        if groups.is_empty() {
            weight = 0;
        }
        let mut bytes = u16::try_from(groups.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend(weight.to_be_bytes());
        bytes.extend(
            if negative && !groups.is_empty() {
                0x4000_u16
            } else {
                0
            }
            .to_be_bytes(),
        );
        bytes.extend(u16::try_from(fraction.len()).unwrap().to_be_bytes());
        groups
            .iter()
            .for_each(|group| bytes.extend(group.to_be_bytes()));
        bytes
    }

    #[test]
    fn binary_forms_that_are_no_number() {
        let head = |sign: u16| [[0, 0], [0, 0], sign.to_be_bytes(), [0, 0]].concat();
        assert_eq!(parse_binary(&head(0xc000)), Err(NotANumber::Nan));
        assert_eq!(parse_binary(&head(0xd000)), Err(NotANumber::Infinity));
        assert_eq!(
            parse_binary(&head(0xf000)),
            Err(NotANumber::NegativeInfinity)
        );
        assert_eq!(parse_binary(&head(0)), Ok(Decimal::new(0, 0)));
        assert_eq!(parse_binary(&[0; 7]), Err(NotANumber::Malformed));
        assert_eq!(
            parse_binary(&[0, 1, 0, 0, 0, 0, 0, 0, 0xff, 0xff]),
            Err(NotANumber::Malformed)
        );
    }

    proptest! {
        #[test]
        fn binary_and_text_agree(text in "-?(0|[1-9][0-9]{0,50})(\\.[0-9]{1,30})?") {
            let from_text = parse(text.as_bytes()).unwrap();
            let from_binary = parse_binary(&send(&text)).unwrap();
            prop_assert_eq!(from_binary.scale(), from_text.scale());
            let bytes = |decimal: &Decimal| decimal.with_bytes(<[u8]>::to_vec);
            prop_assert_eq!(bytes(&from_binary), bytes(&from_text));
        }

        #[test]
        fn binary_never_panics(bytes: Vec<u8>) {
            let _ = parse_binary(&bytes);
        }

        #[test]
        fn text_and_bytes_agree(text in "-?[1-9][0-9]{0,60}(\\.[0-9]{1,30})?") {
            let decimal = parse(text.as_bytes()).unwrap();
            let mut plain = Vec::new();
            decimal.put_plain(&mut plain);
            prop_assert_eq!(std::str::from_utf8(&plain).unwrap(), &text);
            let scale = decimal.scale();
            let back = decimal.with_bytes(|bytes| Decimal::from_bytes(bytes, scale));
            let mut again = Vec::new();
            back.put_plain(&mut again);
            prop_assert_eq!(again, plain);
            // One byte more or less would be another number, or a byte too many.
            decimal.with_bytes(|bytes| {
                let spare = matches!(bytes, [0, 0..=0x7f, ..] | [0xff, 0x80..=0xff, ..]);
                prop_assert!(bytes.len() == 1 || !spare);
                Ok(())
            })?;
        }
    }
}
