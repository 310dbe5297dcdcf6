//! Puts that append to the caller's buffer, and the guard that patches a length.

/// One byte, 0 or 1.
#[inline]
pub fn put_bool(out: &mut Vec<u8>, value: bool) {
    out.push(u8::from(value));
}

/// One byte, signed.
#[inline]
pub fn put_i8(out: &mut Vec<u8>, value: i8) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Two bytes, big-endian.
#[inline]
pub fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Two bytes, big-endian.
#[inline]
pub fn put_i16(out: &mut Vec<u8>, value: i16) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Four bytes, big-endian.
#[inline]
pub fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Four bytes, big-endian.
#[inline]
pub fn put_i32(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Eight bytes, big-endian.
#[inline]
pub fn put_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Unsigned LEB128: seven bits a byte, the least significant first. At most five bytes.
#[inline]
pub fn put_uvarint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// Zigzag LEB128, as records have it. At most five bytes.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, value: i32) {
    put_uvarint(out, ((value << 1) ^ (value >> 31)).cast_unsigned());
}

/// Zigzag LEB128 of 64 bits, as records have it. At most ten bytes.
#[inline]
pub fn put_varlong(out: &mut Vec<u8>, value: i64) {
    let mut value = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// An Int32 size whose value is known only when what it measures is written.
///
/// Dropped without [`finish`](Self::finish), it takes back everything since it was opened, so that
/// a half-written structure is never sent as a short one.
#[derive(Debug)]
pub struct SizePrefix<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
    finished: bool,
}

impl<'o> SizePrefix<'o> {
    /// Reserves the four bytes of the size at the buffer's end.
    pub fn open(out: &'o mut Vec<u8>) -> Self {
        let start = out.len();
        put_i32(out, -1);
        Self {
            out,
            start,
            finished: false,
        }
    }

    /// The buffer, behind the size.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// Bytes written since [`open`](Self::open), the size itself not counted.
    #[must_use]
    pub fn written(&self) -> usize {
        self.out.len().saturating_sub(self.start + size_of::<i32>())
    }

    /// States the size: what was written, and `elsewhere` bytes that will be spliced in on the way
    /// to the socket. A size that an Int32 cannot hold is stated as the largest that it can.
    pub fn finish(mut self, elsewhere: usize) {
        let size = i32::try_from(self.written() + elsewhere).unwrap_or(i32::MAX);
        if let Some(slot) = self.out.get_mut(self.start..self.start + size_of::<i32>()) {
            slot.copy_from_slice(&size.to_be_bytes());
        }
        self.finished = true;
    }
}

impl Drop for SizePrefix<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.out.truncate(self.start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_patched_or_taken_back() {
        let mut out = vec![9];
        let mut size = SizePrefix::open(&mut out);
        put_i16(size.buffer(), 7);
        size.finish(3);
        assert_eq!(out, [9, 0, 0, 0, 5, 0, 7]);
        let mut size = SizePrefix::open(&mut out);
        put_i16(size.buffer(), 7);
        drop(size);
        assert_eq!(out.len(), 7);
    }
}
