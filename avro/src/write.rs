//! Puts: each appends one value to the caller's buffer. The hot path of every record.
//!
//! ```text
//!   null     nothing                       bytes    long length | bytes
//!   boolean  00 or 01                      string   long length | UTF-8
//!   int long zigzag, base 128, low first   enum     int index of the symbol
//!   float    4 bytes, little-endian        union    long index of the branch | value
//!   double   8 bytes, little-endian        array    long count | items .. | 00
//!   fixed    bytes                         map      long count | (string | value) .. | 00
//! ```
//!
//! Source: Apache Avro specification, "Binary Encoding".

/// The most bytes a long takes.
pub const LONG_BYTES_MAX: usize = 10;

/// 1 to 5 bytes: an int is written as the long of the same value.
#[inline]
pub fn put_int(out: &mut Vec<u8>, value: i32) {
    put_long(out, i64::from(value));
}

/// 1 to 10 bytes: zigzag, then seven bits a byte, the lowest first.
#[inline]
pub fn put_long(out: &mut Vec<u8>, value: i64) {
    let zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
    if zigzag < 0x80 {
        out.push(zigzag.to_le_bytes()[0]);
    } else {
        put_wide(out, zigzag);
    }
}

/// Two bytes and more. 56 bits (every timestamp in milli- and microseconds) spread into eight
/// bytes by three shifts and leave in one store; the buffer is cut to what was needed afterwards.
#[inline]
fn put_wide(out: &mut Vec<u8>, zigzag: u64) {
    // Every byte but the last says that another follows.
    const MORE: u64 = 0x8080_8080_8080_8080;
    let x = (zigzag & 0x0000_0000_0fff_ffff) | ((zigzag & 0x00ff_ffff_f000_0000) << 4);
    let x = (x & 0x0000_3fff_0000_3fff) | ((x & 0x0fff_c000_0fff_c000) << 2);
    let x = (x & 0x007f_007f_007f_007f) | ((x & 0x3f80_3f80_3f80_3f80) << 1);
    if zigzag < 1 << 56 {
        let size = (70 - zigzag.leading_zeros() as usize) / 7;
        let start = out.len();
        out.extend_from_slice(&(x | (MORE & ((1 << (8 * (size - 1))) - 1))).to_le_bytes());
        out.truncate(start + size);
    } else {
        let [a, b, c, d, e, f, g, h] = (x | MORE).to_le_bytes();
        let high = (zigzag >> 56).to_le_bytes()[0];
        if high < 0x80 {
            out.extend_from_slice(&[a, b, c, d, e, f, g, h, high]);
        } else {
            out.extend_from_slice(&[a, b, c, d, e, f, g, h, high, 1]);
        }
    }
}

/// One byte.
#[inline]
pub fn put_bool(out: &mut Vec<u8>, value: bool) {
    out.push(u8::from(value));
}

/// Four bytes; a NaN keeps its bits.
#[inline]
pub fn put_float(out: &mut Vec<u8>, value: f32) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Eight bytes; a NaN keeps its bits.
#[inline]
pub fn put_double(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Length, then the bytes.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, value: &[u8]) {
    put_length(out, value.len());
    out.extend_from_slice(value);
}

/// Length in bytes, then the text's UTF-8.
#[inline]
pub fn put_string(out: &mut Vec<u8>, value: &str) {
    put_bytes(out, value.as_bytes());
}

/// The length of bytes or a string that the caller appends itself.
#[inline]
pub fn put_length(out: &mut Vec<u8>, length: usize) {
    // No allocation exceeds i64::MAX bytes.
    put_long(out, (length as u64).cast_signed());
}

/// The bytes and nothing else; their number is the schema's.
#[inline]
pub fn put_fixed(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(value);
}

/// The zero-based branch of a union; its value follows.
#[inline]
pub fn put_branch(out: &mut Vec<u8>, branch: u32) {
    put_long(out, i64::from(branch));
}

/// The zero-based index of an enum's symbol.
#[inline]
pub fn put_enum(out: &mut Vec<u8>, symbol: u32) {
    put_long(out, i64::from(symbol));
}

/// Opens a block of `count` > 0 items of an array, or entries of a map. A count of zero writes
/// nothing, so that an empty collection is [`put_block_end`] alone.
#[inline]
pub fn put_block_count(out: &mut Vec<u8>, count: usize) {
    if count > 0 {
        put_length(out, count);
    }
}

/// Ends an array or a map.
#[inline]
pub fn put_block_end(out: &mut Vec<u8>) {
    out.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reader;
    use proptest::prelude::*;

    fn written(put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = vec![0xaa];
        put(&mut out);
        assert_eq!(out.remove(0), 0xaa, "puts append");
        out
    }

    /// As fastavro and Apache's Python library write them.
    #[test]
    fn vectors() {
        for (value, bytes) in [
            (0, &[0x00][..]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (2, &[0x04]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (8192, &[0x80, 0x80, 0x01]),
            (i64::from(i32::MAX), &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (1_700_000_000_123, &[0xf6, 0xa1, 0xab, 0xfe, 0xf9, 0x62]),
            (
                i64::MIN,
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            ),
        ] {
            assert_eq!(written(|out| put_long(out, value)), bytes);
        }
        assert_eq!(written(|out| put_bool(out, true)), [1]);
        assert_eq!(written(|out| put_float(out, 1.5)), [0, 0, 0xc0, 0x3f]);
        assert_eq!(
            written(|out| put_double(out, -0.25)),
            [0, 0, 0, 0, 0, 0, 0xd0, 0xbf]
        );
        assert_eq!(written(|out| put_bytes(out, &[0, 0xff])), [4, 0, 0xff]);
        assert_eq!(written(|out| put_string(out, "é")), [4, 0xc3, 0xa9]);
        let array = |out: &mut Vec<u8>| {
            put_block_count(out, 2);
            put_long(out, 3);
            put_long(out, 27);
            put_block_end(out);
        };
        assert_eq!(written(array), [4, 6, 54, 0]);
        let empty = |out: &mut Vec<u8>| {
            put_block_count(out, 0);
            put_block_end(out);
        };
        assert_eq!(written(empty), [0]);
    }

    /// The specification's own words, one bit group after the other.
    fn plain_long(value: i64) -> Vec<u8> {
        let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
        let mut out = Vec::new();
        loop {
            let low = u8::try_from(rest & 0x7f).unwrap();
            rest >>= 7;
            if rest == 0 {
                out.push(low);
                return out;
            }
            out.push(low | 0x80);
        }
    }

    #[test]
    fn every_width_agrees_with_the_plain_form() {
        for shift in 0..64 {
            for near in -2..=2 {
                let value = (1i64 << shift).wrapping_add(near);
                assert_eq!(written(|out| put_long(out, value)), plain_long(value));
                assert_eq!(written(|out| put_long(out, !value)), plain_long(!value));
            }
        }
    }

    proptest! {
        #[test]
        fn a_long_agrees_with_the_plain_form(value: i64, shift in 0..64) {
            let value = value >> shift;
            let out = written(|out| put_long(out, value));
            prop_assert_eq!(&out, &plain_long(value));
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.take_long(), Ok(value));
            prop_assert_eq!(reader.finish(), Ok(()));
            for cut in 0..out.len() {
                prop_assert!(Reader::new(&out[..cut]).take_long().is_err());
            }
        }

        #[test]
        fn what_is_put_is_taken(
            int: i32, flag: bool, float: f32, double: f64, bytes: Vec<u8>, text: String,
        ) {
            let out = written(|out| {
                put_int(out, int);
                put_bool(out, flag);
                put_float(out, float);
                put_double(out, double);
                put_bytes(out, &bytes);
                put_string(out, &text);
                put_fixed(out, &bytes);
            });
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.take_int(), Ok(int));
            prop_assert_eq!(reader.take_bool(), Ok(flag));
            prop_assert_eq!(reader.take_float().unwrap().to_bits(), float.to_bits());
            prop_assert_eq!(reader.take_double().unwrap().to_bits(), double.to_bits());
            prop_assert_eq!(reader.take_bytes(), Ok(&bytes[..]));
            prop_assert_eq!(reader.take_string(), Ok(&text[..]));
            prop_assert_eq!(reader.take_fixed(bytes.len()), Ok(&bytes[..]));
            prop_assert_eq!(reader.finish(), Ok(()));
        }
    }
}
