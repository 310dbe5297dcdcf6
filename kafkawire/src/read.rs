//! A cursor over bytes that a peer sent: takes off the front, never indexes.

use crate::error::{Error, Fault};

/// What is left of a structure, and how much of it was taken.
///
/// Every `take_*` names the field that it reads, so that an error can say where the bytes broke.
/// After an error the position is unspecified; drop the reader.
#[derive(Debug, Clone)]
pub struct Reader<'b> {
    message: &'static str,
    rest: &'b [u8],
    size: usize,
}

/// A uvarint of 32 bits has at most this many bytes.
const VARINT_BYTES_MAX: u32 = 5;
/// A varlong has at most this many bytes.
const VARLONG_BYTES_MAX: u32 = 10;

impl<'b> Reader<'b> {
    /// Reads `bytes`, which are a `message`.
    #[must_use]
    pub fn new(message: &'static str, bytes: &'b [u8]) -> Self {
        Self {
            message,
            rest: bytes,
            size: bytes.len(),
        }
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.size - self.rest.len()
    }

    /// Bytes not yet taken.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The bytes not yet taken.
    #[must_use]
    pub fn rest(&self) -> &'b [u8] {
        self.rest
    }

    /// The error of a field that begins here.
    #[cold]
    #[must_use]
    pub fn malformed(&self, field: &'static str, fault: Fault) -> Error {
        Error::Malformed {
            message: self.message,
            field,
            at: self.position(),
            fault,
        }
    }

    /// Nothing may be left.
    ///
    /// Errors: `Malformed` with `Trailing` when something is.
    pub fn finish(&self, field: &'static str) -> Result<(), Error> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.malformed(field, Fault::Trailing))
        }
    }

    /// The next `length` bytes.
    #[inline]
    pub fn take_slice(&mut self, field: &'static str, length: usize) -> Result<&'b [u8], Error> {
        match self.rest.split_at_checked(length) {
            Some((slice, rest)) => {
                self.rest = rest;
                Ok(slice)
            }
            None => Err(self.malformed(field, Fault::Truncated)),
        }
    }

    /// The next `N` bytes.
    #[inline]
    pub fn take_array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Error> {
        match self.rest.split_first_chunk() {
            Some((array, rest)) => {
                self.rest = rest;
                Ok(*array)
            }
            None => Err(self.malformed(field, Fault::Truncated)),
        }
    }

    /// One byte: false when zero.
    #[inline]
    pub fn take_bool(&mut self, field: &'static str) -> Result<bool, Error> {
        Ok(self.take_u8(field)? != 0)
    }

    /// One byte.
    #[inline]
    pub fn take_u8(&mut self, field: &'static str) -> Result<u8, Error> {
        self.take_array(field).map(u8::from_be_bytes)
    }

    /// One byte, signed.
    #[inline]
    pub fn take_i8(&mut self, field: &'static str) -> Result<i8, Error> {
        self.take_array(field).map(i8::from_be_bytes)
    }

    /// Two bytes, big-endian.
    #[inline]
    pub fn take_u16(&mut self, field: &'static str) -> Result<u16, Error> {
        self.take_array(field).map(u16::from_be_bytes)
    }

    /// Two bytes, big-endian.
    #[inline]
    pub fn take_i16(&mut self, field: &'static str) -> Result<i16, Error> {
        self.take_array(field).map(i16::from_be_bytes)
    }

    /// Four bytes, big-endian.
    #[inline]
    pub fn take_u32(&mut self, field: &'static str) -> Result<u32, Error> {
        self.take_array(field).map(u32::from_be_bytes)
    }

    /// Four bytes, big-endian.
    #[inline]
    pub fn take_i32(&mut self, field: &'static str) -> Result<i32, Error> {
        self.take_array(field).map(i32::from_be_bytes)
    }

    /// Eight bytes, big-endian.
    #[inline]
    pub fn take_i64(&mut self, field: &'static str) -> Result<i64, Error> {
        self.take_array(field).map(i64::from_be_bytes)
    }

    /// Unsigned LEB128 of at most 32 bits.
    ///
    /// Errors: `Varint` beyond five bytes, or when the fifth has bits that 32 cannot hold.
    #[inline]
    pub fn take_uvarint(&mut self, field: &'static str) -> Result<u32, Error> {
        let mut value = 0u32;
        for group in 0..VARINT_BYTES_MAX {
            let byte = self.take_u8(field)?;
            let bits = u32::from(byte & 0x7f);
            let shift = group * 7;
            if (bits << shift) >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.malformed(field, Fault::Varint))
    }

    /// A zigzag varint of 32 bits, as records have them.
    #[inline]
    pub fn take_varint(&mut self, field: &'static str) -> Result<i32, Error> {
        let value = self.take_uvarint(field)?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// A zigzag varint of 64 bits, as records have them.
    #[inline]
    pub fn take_varlong(&mut self, field: &'static str) -> Result<i64, Error> {
        let mut value = 0u64;
        for group in 0..VARLONG_BYTES_MAX {
            let byte = self.take_u8(field)?;
            let bits = u64::from(byte & 0x7f);
            let shift = group * 7;
            if (bits << shift) >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err(self.malformed(field, Fault::Varint))
    }

    /// A length that was stated as a signed number; -1 is null.
    ///
    /// Errors: `Length` below -1; `Truncated` when more is stated than bytes are left, so that
    /// nothing is ever reserved for a length alone.
    #[inline]
    pub fn check_length(&self, field: &'static str, stated: i64) -> Result<Option<usize>, Error> {
        if stated == -1 {
            return Ok(None);
        }
        let length = usize::try_from(stated).map_err(|_| self.malformed(field, Fault::Length))?;
        if length > self.rest.len() {
            return Err(self.malformed(field, Fault::Truncated));
        }
        Ok(Some(length))
    }

    /// Bytes as UTF-8.
    pub fn take_str(&mut self, field: &'static str, length: usize) -> Result<&'b str, Error> {
        let fault = self.malformed(field, Fault::Utf8);
        std::str::from_utf8(self.take_slice(field, length)?).map_err(|_| fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::{put_uvarint, put_varint, put_varlong};
    use proptest::prelude::*;

    #[test]
    fn varints_of_the_specification() {
        for (value, bytes) in [
            (0, &[0x00][..]),
            (-1, &[0x01]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (8192, &[0x80, 0x80, 0x01]),
            (i32::MAX, &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i32::MIN, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out, bytes);
            assert_eq!(Reader::new("test", bytes).take_varint("v"), Ok(value));
        }
        let mut out = Vec::new();
        put_varlong(&mut out, 1_700_000_000_000);
        assert_eq!(out, [0x80, 0xa0, 0xab, 0xfe, 0xf9, 0x62]);
    }

    #[test]
    fn a_varint_may_not_overflow() {
        for bytes in [&[0xff, 0xff, 0xff, 0xff, 0x1f][..], &[0x80; 11]] {
            let fault = Reader::new("test", bytes).take_uvarint("v").unwrap_err();
            assert!(
                matches!(
                    fault,
                    Error::Malformed {
                        fault: Fault::Varint,
                        ..
                    }
                ),
                "{fault}"
            );
        }
        assert!(Reader::new("test", &[0xff; 10]).take_varlong("v").is_err());
    }

    proptest! {
        #[test]
        fn numbers_survive(a: u32, b: i32, c: i64) {
            let mut out = Vec::new();
            put_uvarint(&mut out, a);
            put_varint(&mut out, b);
            put_varlong(&mut out, c);
            let mut reader = Reader::new("test", &out);
            prop_assert_eq!(reader.take_uvarint("a"), Ok(a));
            prop_assert_eq!(reader.take_varint("b"), Ok(b));
            prop_assert_eq!(reader.take_varlong("c"), Ok(c));
            prop_assert!(reader.finish("end").is_ok());
        }
    }
}
