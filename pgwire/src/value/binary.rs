//! Binary forms: what the types' send functions write.

use super::{Date, Interval, Numeric, Time, TimeTz, Timestamp};
use crate::error::{Fault, Malformed};
use crate::read::Reader;

#[inline]
fn whole<'b, T>(
    name: &'static str,
    bytes: &'b [u8],
    take: impl FnOnce(&mut Reader<'b>) -> Result<T, Malformed>,
) -> Result<T, Malformed> {
    let mut reader = Reader::new(name, bytes);
    let value = take(&mut reader)?;
    reader.finish()?;
    Ok(value)
}

/// 1 byte, not 0 for true.
#[inline]
pub fn bool(bytes: &[u8]) -> Result<bool, Malformed> {
    whole("bool", bytes, |r| Ok(r.take_u8("value")? != 0))
}

/// 2 bytes.
#[inline]
pub fn int2(bytes: &[u8]) -> Result<i16, Malformed> {
    whole("int2", bytes, |r| r.take_i16("value"))
}

/// 4 bytes.
#[inline]
pub fn int4(bytes: &[u8]) -> Result<i32, Malformed> {
    whole("int4", bytes, |r| r.take_i32("value"))
}

/// 8 bytes; also money, in its smallest unit.
#[inline]
pub fn int8(bytes: &[u8]) -> Result<i64, Malformed> {
    whole("int8", bytes, |r| r.take_i64("value"))
}

/// 4 bytes, unsigned: also xid and cid.
#[inline]
pub fn oid(bytes: &[u8]) -> Result<u32, Malformed> {
    whole("oid", bytes, |r| r.take_u32("value"))
}

/// IEEE 754, 4 bytes.
#[inline]
pub fn float4(bytes: &[u8]) -> Result<f32, Malformed> {
    whole("float4", bytes, |r| r.take_u32("value").map(f32::from_bits))
}

/// IEEE 754, 8 bytes.
#[inline]
pub fn float8(bytes: &[u8]) -> Result<f64, Malformed> {
    whole("float8", bytes, |r| r.take_u64("value").map(f64::from_bits))
}

/// 16 bytes.
#[inline]
pub fn uuid(bytes: &[u8]) -> Result<[u8; 16], Malformed> {
    let reader = Reader::new("uuid", bytes);
    bytes.try_into().map_err(|_| match bytes.len() {
        0..16 => reader.fault("value", Fault::Truncated),
        _ => reader.fault("value", Fault::Trailing),
    })
}

/// A finite `numeric`: the sum of digit x 10000^(weight - position), negated if so.
///   digits i16 | weight i16 | sign u16 | scale i16 | digit i16, 0 to 9999 ..
/// Zero digits at both ends are stripped; `scale` decimals are to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal<'b> {
    /// Below zero.
    pub negative: bool,
    /// The power of 10000 that the first digit counts.
    pub weight: i16,
    /// Decimals behind the point.
    pub scale: u16,
    digits: &'b [u8],
}

impl<'b> Decimal<'b> {
    /// The digits to the base of 10000, the highest first; none for zero.
    #[inline]
    pub fn digits(&self) -> impl ExactSizeIterator<Item = u16> + Clone + 'b {
        self.digits
            .as_chunks::<2>()
            .0
            .iter()
            .map(|digit| u16::from_be_bytes(*digit))
    }
}

/// See [`Decimal`]; the sign also says NaN and the infinities.
#[inline]
pub fn numeric(bytes: &[u8]) -> Result<Numeric<Decimal<'_>>, Malformed> {
    let mut r = Reader::new("numeric", bytes);
    let count = r.take_count("number of digits")?;
    let weight = r.take_i16("weight")?;
    let fault_at = r.clone();
    let sign = r.take_u16("sign")?;
    let scale = r.take_u16("scale")?;
    let digits = r.take_bytes("digits", usize::from(count) * 2)?;
    r.finish()?;
    let negative = match sign {
        0x0000 => false,
        0x4000 => true,
        0xc000 => return Ok(Numeric::NaN),
        0xd000 => return Ok(Numeric::Infinity),
        0xf000 => return Ok(Numeric::NegInfinity),
        unknown => return Err(fault_at.fault("sign", Fault::Unknown(unknown.into()))),
    };
    let decimal = Decimal {
        negative,
        weight,
        scale,
        digits,
    };
    if scale > 0x3fff || decimal.digits().any(|digit| digit > 9999) {
        return Err(fault_at.fault("digits", Fault::Range));
    }
    Ok(Numeric::Finite(decimal))
}

/// 4 bytes: days since 2000-01-01.
#[inline]
pub fn date(bytes: &[u8]) -> Result<Date, Malformed> {
    whole("date", bytes, |r| r.take_i32("days").map(Date))
}

/// 8 bytes: microseconds since midnight.
#[inline]
pub fn time(bytes: &[u8]) -> Result<Time, Malformed> {
    whole("time", bytes, |r| r.take_i64("microseconds").map(Time))
}

/// 12 bytes: microseconds since local midnight, seconds west of UTC.
#[inline]
pub fn timetz(bytes: &[u8]) -> Result<TimeTz, Malformed> {
    whole("timetz", bytes, |r| {
        Ok(TimeTz {
            time: Time(r.take_i64("microseconds")?),
            zone_west: r.take_i32("zone")?,
        })
    })
}

/// 8 bytes: microseconds since 2000-01-01 00:00. Also timestamptz, in UTC.
#[inline]
pub fn timestamp(bytes: &[u8]) -> Result<Timestamp, Malformed> {
    whole("timestamp", bytes, |r| {
        r.take_i64("microseconds").map(Timestamp)
    })
}

/// 16 bytes: microseconds, days, months.
#[inline]
pub fn interval(bytes: &[u8]) -> Result<Interval, Malformed> {
    whole("interval", bytes, |r| {
        let micros = r.take_i64("microseconds")?;
        let days = r.take_i32("days")?;
        Ok(Interval {
            micros,
            days,
            months: r.take_i32("months")?,
        })
    })
}

/// An array, checked.
///   dimensions i32 | flags i32 | element type u32 | per dimension: length i32, lower bound i32
///   | per element, the last index fastest: length i32 or -1 for NULL, bytes
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Array<'b> {
    /// The type of its elements.
    pub element_oid: u32,
    dimensions: &'b [u8],
    elements: &'b [u8],
}

/// See [`Array`].
pub fn array(bytes: &[u8]) -> Result<Array<'_>, Malformed> {
    let mut r = Reader::new("array", bytes);
    let fault_at = r.clone();
    let dimension_count = r.take_i32("number of dimensions")?;
    if !(0..=6).contains(&dimension_count) {
        return Err(fault_at.fault("number of dimensions", Fault::Length(dimension_count)));
    }
    r.take_i32("flags")?;
    let element_oid = r.take_u32("element type")?;
    let start = r.clone();
    // An empty array has no dimension, and so no element.
    let mut count = u64::from(dimension_count > 0);
    for _ in 0..dimension_count {
        let fault_at = r.clone();
        let length = r.take_i32("length")?;
        r.take_i32("lower bound")?;
        // Each element takes four bytes at least, so a product above that is a lie.
        let next = u64::try_from(length)
            .ok()
            .and_then(|length| count.checked_mul(length));
        count = next.ok_or_else(|| fault_at.fault("length", Fault::Length(length)))?;
    }
    let dimensions = start.rest().get(..r.at() - start.at()).unwrap_or_default();
    let elements = r.rest();
    if count > (elements.len() / 4) as u64 {
        return Err(r.fault("elements", Fault::Truncated));
    }
    for _ in 0..count {
        r.take_nullable("element")?;
    }
    r.finish()?;
    Ok(Array {
        element_oid,
        dimensions,
        elements,
    })
}

impl<'b> Array<'b> {
    /// Length and lower bound of each dimension.
    pub fn dimensions(&self) -> impl ExactSizeIterator<Item = (i32, i32)> + Clone + 'b {
        self.dimensions
            .as_chunks::<8>()
            .0
            .iter()
            .map(|&[a, b, c, d, e, f, g, h]| {
                (
                    i32::from_be_bytes([a, b, c, d]),
                    i32::from_be_bytes([e, f, g, h]),
                )
            })
    }

    /// The elements' binary forms, the last index fastest; `None` is NULL.
    #[inline]
    pub fn elements(&self) -> impl Iterator<Item = Option<&'b [u8]>> + Clone + 'b {
        let mut reader = Reader::new("array", self.elements);
        std::iter::from_fn(move || reader.take_nullable("element").ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pairs = digits
            .chunks(2)
            .map(|pair| std::str::from_utf8(pair).unwrap());
        pairs
            .map(|pair| u8::from_str_radix(pair, 16).unwrap())
            .collect()
    }

    /// Written out by the base-10000 rule, with `scale` decimals.
    fn decimal_text(bytes: &[u8]) -> String {
        let Numeric::Finite(decimal) = numeric(bytes).unwrap() else {
            return "special".into();
        };
        let digit = |power: i32| {
            let position = i32::from(decimal.weight) - power;
            let digits: Vec<_> = decimal.digits().collect();
            usize::try_from(position)
                .ok()
                .and_then(|at| digits.get(at).copied())
                .unwrap_or(0)
        };
        let mut integer = String::new();
        for power in (0..=i32::from(decimal.weight).max(0)).rev() {
            integer += &format!("{:04}", digit(power));
        }
        let mut fraction = String::new();
        let groups = i32::from(decimal.scale).div_euclid(4) + 1;
        for power in 1..=groups {
            fraction += &format!("{:04}", digit(-power));
        }
        fraction.truncate(decimal.scale.into());
        let integer = integer.trim_start_matches('0');
        let integer = if integer.is_empty() { "0" } else { integer };
        let sign = if decimal.negative { "-" } else { "" };
        let point = if fraction.is_empty() { "" } else { "." };
        format!("{sign}{integer}{point}{fraction}")
    }

    #[test]
    fn numerics_as_captured() {
        let cases = [
            ("0000 0000 0000 0000", "0"),
            ("0001 0000 0000 0000 0001", "1"),
            ("0001 0001 0000 0000 0001", "10000"),
            ("0001 0005 0000 0000 0001", "100000000000000000000"),
            ("0003 0001 4000 0003 0001 0929 1a7c", "-12345.678"),
            ("0001 ffff 0000 0004 0001", "0.0001"),
            ("0001 fffe 0000 0005 03e8", "0.00001"),
            ("0002 0000 0000 0004 0001 03e8", "1.1000"),
            ("0001 0000 0000 0002 0064", "100.00"),
            ("0002 0001 0000 0000 0001 08fc", "12300"),
        ];
        for (bytes, text) in cases {
            assert_eq!(decimal_text(&hex(bytes)), text);
        }
        assert_eq!(numeric(&hex("0000 0000 c000 0000")), Ok(Numeric::NaN));
        assert_eq!(numeric(&hex("0000 0000 d000 0020")), Ok(Numeric::Infinity));
        assert_eq!(
            numeric(&hex("0000 0000 f000 0020")),
            Ok(Numeric::NegInfinity)
        );
        assert!(numeric(&hex("0000 0000 8000 0000")).is_err());
        assert!(numeric(&hex("0001 0000 0000 0000 2710")).is_err());
        assert!(numeric(&hex("ffff 0000 0000 0000")).is_err());
    }

    #[test]
    fn scalars() {
        assert_eq!(bool(&[1]), Ok(true));
        assert_eq!(int2(&hex("fffe")), Ok(-2));
        assert_eq!(float4(&hex("3fc00000")), Ok(1.5));
        assert!(float4(&hex("7fc00000")).unwrap().is_nan());
        assert_eq!(date(&hex("7fffffff")), Ok(Date::INFINITY));
        assert_eq!(time(&hex("000000141dd76000")), Ok(Time(86_400_000_000)));
        let zoned = timetz(&hex("0000000a8bdb1908 ffffe3e0")).unwrap();
        assert_eq!(zoned.zone_west, -7200);
        assert_eq!(
            timestamp(&hex("8000000000000000")),
            Ok(Timestamp::NEG_INFINITY)
        );
        let interval_ = interval(&hex("0000000000000001 00000002 00000003"));
        assert_eq!(
            interval_,
            Ok(Interval {
                micros: 1,
                days: 2,
                months: 3
            })
        );
        assert_eq!(int4(&[0; 3]).unwrap_err().fault, Fault::Truncated);
        assert_eq!(int4(&[0; 5]).unwrap_err().fault, Fault::Trailing);
        assert!(uuid(&[0; 15]).is_err() && uuid(&[0; 17]).is_err() && uuid(&[0; 16]).is_ok());
    }

    #[test]
    fn arrays_as_captured() {
        let bytes = hex("00000000 00000000 00000017");
        let empty = array(&bytes).unwrap();
        assert_eq!((empty.dimensions().len(), empty.elements().count()), (0, 0));
        let bytes = hex("00000001 00000001 00000017 00000003 00000001
             00000004 00000001 00000004 00000002 ffffffff");
        let three = array(&bytes).unwrap();
        assert_eq!(three.element_oid, 23);
        assert_eq!(three.dimensions().collect::<Vec<_>>(), [(3, 1)]);
        let elements: Vec<_> = three
            .elements()
            .map(|e| e.map(|e| int4(e).unwrap()))
            .collect();
        assert_eq!(elements, [Some(1), Some(2), None]);
        for cut in 0..bytes.len() {
            assert!(array(&bytes[..cut]).is_err());
        }
        let lie = hex("00000002 00000000 00000017 7fffffff 00000001 7fffffff 00000001");
        assert_eq!(array(&lie).unwrap_err().fault, Fault::Truncated);
    }
}
