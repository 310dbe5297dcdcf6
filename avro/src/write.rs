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

/// Two bytes and more. Up to 56 bits (every timestamp in milli- and microseconds) spread in three
/// shifts and leave in one store; the buffer is cut to what was needed afterwards.
#[inline]
fn put_wide(out: &mut Vec<u8>, zigzag: u64) {
    let start = out.len();
    if zigzag < 1 << 56 {
        let size = (70 - zigzag.leading_zeros() as usize) / 7;
        let x = (zigzag & 0x0000_0000_0fff_ffff) | ((zigzag & 0x00ff_ffff_f000_0000) << 4);
        let x = (x & 0x0000_3fff_0000_3fff) | ((x & 0x0fff_c000_0fff_c000) << 2);
        let x = (x & 0x007f_007f_007f_007f) | ((x & 0x3f80_3f80_3f80_3f80) << 1);
        // Every byte but the last says that another follows.
        let more = 0x8080_8080_8080_8080 & ((1 << (8 * (size - 1))) - 1);
        out.extend_from_slice(&(x | more).to_le_bytes());
        out.truncate(start + size);
    } else {
        let mut rest = zigzag;
        while rest >= 0x80 {
            out.push(rest.to_le_bytes()[0] | 0x80);
            rest >>= 7;
        }
        out.push(rest.to_le_bytes()[0]);
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
