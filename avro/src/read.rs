//! A reader of binary Avro: takes off the front, never indexes.

use crate::error::{Fault, Malformed};

/// The unread rest of a datum.
///
/// Takes read any encoding that Avro's own readers accept (a varint may be longer than it need
/// be), and nothing is allocated.
#[derive(Debug, Clone)]
pub struct Reader<'b> {
    rest: &'b [u8],
    length: usize,
}

/// The head of a block of an array or map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Items that follow; zero ends the array or map.
    pub count: u64,
    /// The size of those items in bytes, when the writer gave it: one may skip the block.
    pub bytes: Option<u64>,
}

impl<'b> Reader<'b> {
    /// A reader at the front of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'b [u8]) -> Self {
        Self {
            rest: bytes,
            length: bytes.len(),
        }
    }

    /// Bytes taken so far.
    #[must_use]
    pub const fn at(&self) -> usize {
        self.length - self.rest.len()
    }

    /// What is left.
    #[must_use]
    pub const fn rest(&self) -> &'b [u8] {
        self.rest
    }

    /// Asserts that nothing is left.
    ///
    /// Errors: [`Fault::Trailing`].
    pub fn finish(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.malformed("end", Fault::Trailing))
        }
    }

    pub(crate) fn malformed(&self, field: &'static str, fault: Fault) -> Malformed {
        Malformed {
            message: "datum",
            field,
            at: self.at(),
            fault,
        }
    }

    #[inline]
    fn take(&mut self, field: &'static str, count: u64) -> Result<&'b [u8], Malformed> {
        let split = usize::try_from(count)
            .ok()
            .and_then(|n| self.rest.split_at_checked(n));
        let Some((taken, rest)) = split else {
            return Err(self.malformed(field, Fault::Truncated));
        };
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn take_array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Malformed> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.malformed(field, Fault::Truncated));
        };
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    fn take_varint(&mut self, field: &'static str) -> Result<i64, Malformed> {
        let mut zigzag = 0u64;
        let mut shift = 0;
        for (index, &byte) in self.rest.iter().enumerate() {
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && byte > 1 {
                return Err(self.malformed(field, Fault::Overflow));
            }
            zigzag |= bits << shift;
            if byte < 0x80 {
                self.rest = self.rest.get(index + 1..).unwrap_or_default();
                return Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed());
            }
            shift += 7;
        }
        Err(self.malformed(field, Fault::Truncated))
    }

    /// 1 to 10 bytes.
    ///
    /// Errors: [`Fault::Truncated`]; [`Fault::Overflow`] past 64 bits.
    #[inline]
    pub fn take_long(&mut self) -> Result<i64, Malformed> {
        self.take_varint("long")
    }

    /// A varint whose value fits 32 bits.
    ///
    /// Errors: [`Fault::Truncated`], [`Fault::Overflow`].
    #[inline]
    pub fn take_int(&mut self) -> Result<i32, Malformed> {
        let before = self.clone();
        let value = self.take_varint("int")?;
        i32::try_from(value).map_err(|_| {
            *self = before;
            self.malformed("int", Fault::Overflow)
        })
    }

    /// One byte.
    ///
    /// Errors: [`Fault::Truncated`]; [`Fault::NotBoolean`] for anything but 0 and 1.
    #[inline]
    pub fn take_bool(&mut self) -> Result<bool, Malformed> {
        match self.rest.split_first() {
            Some((&byte @ (0 | 1), rest)) => {
                self.rest = rest;
                Ok(byte == 1)
            }
            Some(_) => Err(self.malformed("boolean", Fault::NotBoolean)),
            None => Err(self.malformed("boolean", Fault::Truncated)),
        }
    }

    /// Four bytes.
    ///
    /// Errors: [`Fault::Truncated`].
    #[inline]
    pub fn take_float(&mut self) -> Result<f32, Malformed> {
        self.take_array("float").map(f32::from_le_bytes)
    }

    /// Eight bytes.
    ///
    /// Errors: [`Fault::Truncated`].
    #[inline]
    pub fn take_double(&mut self) -> Result<f64, Malformed> {
        self.take_array("double").map(f64::from_le_bytes)
    }

    /// Length, then that many bytes, borrowed.
    ///
    /// Errors: [`Fault::Truncated`], [`Fault::Overflow`], [`Fault::Negative`].
    #[inline]
    pub fn take_bytes(&mut self) -> Result<&'b [u8], Malformed> {
        let length = self.take_unsigned("bytes length")?;
        self.take("bytes", length)
    }

    /// As [`Self::take_bytes`], and UTF-8.
    ///
    /// Errors: those, and [`Fault::NotUtf8`].
    #[inline]
    pub fn take_string(&mut self) -> Result<&'b str, Malformed> {
        let length = self.take_unsigned("string length")?;
        let before = self.clone();
        let bytes = self.take("string", length)?;
        str::from_utf8(bytes).map_err(|_| {
            *self = before;
            self.malformed("string", Fault::NotUtf8)
        })
    }

    /// `size` bytes, borrowed.
    ///
    /// Errors: [`Fault::Truncated`].
    #[inline]
    pub fn take_fixed(&mut self, size: usize) -> Result<&'b [u8], Malformed> {
        self.take("fixed", size as u64)
    }

    /// The branch of a union that has `count` of them.
    ///
    /// Errors: [`Fault::Truncated`], [`Fault::Overflow`], [`Fault::OutOfRange`].
    #[inline]
    pub fn take_branch(&mut self, count: usize) -> Result<u32, Malformed> {
        self.take_index("union branch", count)
    }

    /// The index of an enum's symbol among `count` of them.
    ///
    /// Errors: [`Fault::Truncated`], [`Fault::Overflow`], [`Fault::OutOfRange`].
    #[inline]
    pub fn take_enum(&mut self, count: usize) -> Result<u32, Malformed> {
        self.take_index("enum symbol", count)
    }

    fn take_index(&mut self, field: &'static str, count: usize) -> Result<u32, Malformed> {
        let before = self.clone();
        let index = self.take_varint(field)?;
        match u32::try_from(index) {
            Ok(small) if (small as usize) < count => Ok(small),
            _ => {
                *self = before;
                Err(self.malformed(field, Fault::OutOfRange))
            }
        }
    }

    fn take_unsigned(&mut self, field: &'static str) -> Result<u64, Malformed> {
        let before = self.clone();
        let value = self.take_varint(field)?;
        u64::try_from(value).map_err(|_| {
            *self = before;
            self.malformed(field, Fault::Negative)
        })
    }

    /// The head of the next block: its count, and its size when the count was written negative.
    ///
    /// Errors: [`Fault::Truncated`], [`Fault::Overflow`], [`Fault::Negative`] for the size.
    #[inline]
    pub fn take_block(&mut self) -> Result<Block, Malformed> {
        let count = self.take_varint("block count")?;
        let bytes = if count < 0 {
            Some(self.take_unsigned("block size")?)
        } else {
            None
        };
        Ok(Block {
            count: count.unsigned_abs(),
            bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_says_where_it_is_and_takes_nothing() {
        type Take = fn(&mut Reader<'_>) -> Result<(), Malformed>;
        let cases: [(&[u8], Take, &str, usize, Fault); 11] = [
            (
                &[],
                |r| r.take_bool().map(drop),
                "boolean",
                0,
                Fault::Truncated,
            ),
            (
                &[2],
                |r| r.take_bool().map(drop),
                "boolean",
                0,
                Fault::NotBoolean,
            ),
            (
                &[0x80; 12],
                |r| r.take_long().map(drop),
                "long",
                0,
                Fault::Overflow,
            ),
            (
                &[0x80; 3],
                |r| r.take_long().map(drop),
                "long",
                0,
                Fault::Truncated,
            ),
            (
                &[0x80, 0x80, 0x80, 0x80, 0x10],
                |r| r.take_int().map(drop),
                "int",
                0,
                Fault::Overflow,
            ),
            (
                &[1],
                |r| r.take_bytes().map(drop),
                "bytes length",
                0,
                Fault::Negative,
            ),
            (
                &[4, 9],
                |r| r.take_bytes().map(drop),
                "bytes",
                1,
                Fault::Truncated,
            ),
            (
                &[2, 0xff],
                |r| r.take_string().map(drop),
                "string",
                1,
                Fault::NotUtf8,
            ),
            (
                &[4],
                |r| r.take_branch(2).map(drop),
                "union branch",
                0,
                Fault::OutOfRange,
            ),
            (
                &[1],
                |r| r.take_enum(2).map(drop),
                "enum symbol",
                0,
                Fault::OutOfRange,
            ),
            (
                &[1, 1],
                |r| r.take_block().map(drop),
                "block size",
                1,
                Fault::Negative,
            ),
        ];
        for (bytes, take, field, at, fault) in cases {
            let mut reader = Reader::new(bytes);
            assert_eq!(
                take(&mut reader),
                Err(Malformed {
                    message: "datum",
                    field,
                    at,
                    fault
                })
            );
            assert_eq!(reader.at(), at);
        }
    }

    #[test]
    fn a_block_may_say_its_size() {
        let mut reader = Reader::new(&[3, 4, 1, 1]);
        assert_eq!(
            reader.take_block(),
            Ok(Block {
                count: 2,
                bytes: Some(2)
            })
        );
        assert_eq!(reader.rest(), [1, 1]);
        assert_eq!(
            Reader::new(&[0]).take_block(),
            Ok(Block {
                count: 0,
                bytes: None
            })
        );
    }

    #[test]
    fn a_varint_may_be_longer_than_need_be() {
        assert_eq!(Reader::new(&[0x82, 0x80, 0x00]).take_int(), Ok(1));
    }
}
