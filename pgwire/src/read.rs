//! [`Reader`]: takes fields off the front of a message, never indexes.

use crate::error::{Fault, Malformed};

/// A cursor over one message's body. Every `take_*` names the field, so that an error can.
#[derive(Debug, Clone)]
pub struct Reader<'b> {
    rest: &'b [u8],
    whole: usize,
    message: &'static str,
}

impl<'b> Reader<'b> {
    /// A cursor at the start of `bytes`, which are the body of `message`.
    #[inline]
    #[must_use]
    pub fn new(message: &'static str, bytes: &'b [u8]) -> Self {
        Self {
            rest: bytes,
            whole: bytes.len(),
            message,
        }
    }

    /// Bytes taken so far.
    #[inline]
    #[must_use]
    pub fn at(&self) -> usize {
        self.whole - self.rest.len()
    }

    /// What is left, without taking it.
    #[inline]
    #[must_use]
    pub fn rest(&self) -> &'b [u8] {
        self.rest
    }

    /// The error that `field`, which comes next, has `fault`.
    #[cold]
    #[must_use]
    pub fn fault(&self, field: &'static str, fault: Fault) -> Malformed {
        Malformed {
            message: self.message,
            field,
            at: self.at(),
            fault,
        }
    }

    #[inline]
    fn take_array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Malformed> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.rest = rest;
                Ok(*head)
            }
            None => Err(self.fault(field, Fault::Truncated)),
        }
    }

    /// Int8, unsigned.
    #[inline]
    pub fn take_u8(&mut self, field: &'static str) -> Result<u8, Malformed> {
        self.take_array::<1>(field).map(|[byte]| byte)
    }

    /// Int16.
    #[inline]
    pub fn take_i16(&mut self, field: &'static str) -> Result<i16, Malformed> {
        self.take_array(field).map(i16::from_be_bytes)
    }

    /// Int16, unsigned.
    #[inline]
    pub fn take_u16(&mut self, field: &'static str) -> Result<u16, Malformed> {
        self.take_array(field).map(u16::from_be_bytes)
    }

    /// Int32.
    #[inline]
    pub fn take_i32(&mut self, field: &'static str) -> Result<i32, Malformed> {
        self.take_array(field).map(i32::from_be_bytes)
    }

    /// Int32, unsigned.
    #[inline]
    pub fn take_u32(&mut self, field: &'static str) -> Result<u32, Malformed> {
        self.take_array(field).map(u32::from_be_bytes)
    }

    /// Int64.
    #[inline]
    pub fn take_i64(&mut self, field: &'static str) -> Result<i64, Malformed> {
        self.take_array(field).map(i64::from_be_bytes)
    }

    /// Int64, unsigned.
    #[inline]
    pub fn take_u64(&mut self, field: &'static str) -> Result<u64, Malformed> {
        self.take_array(field).map(u64::from_be_bytes)
    }

    /// `count` bytes.
    #[inline]
    pub fn take_bytes(&mut self, field: &'static str, count: usize) -> Result<&'b [u8], Malformed> {
        match self.rest.split_at_checked(count) {
            Some((head, rest)) => {
                self.rest = rest;
                Ok(head)
            }
            None => Err(self.fault(field, Fault::Truncated)),
        }
    }

    /// Int16, a count that cannot be negative.
    #[inline]
    pub fn take_count(&mut self, field: &'static str) -> Result<u16, Malformed> {
        let fault_at = self.clone();
        let count = self.take_i16(field)?;
        u16::try_from(count).map_err(|_| fault_at.fault(field, Fault::Length(count.into())))
    }

    /// Int32 length, then that many bytes.
    #[inline]
    pub fn take_sized(&mut self, field: &'static str) -> Result<&'b [u8], Malformed> {
        let fault_at = self.clone();
        let length = self.take_i32(field)?;
        let Ok(count) = usize::try_from(length) else {
            return Err(fault_at.fault(field, Fault::Length(length)));
        };
        self.take_bytes(field, count)
    }

    /// Int32 length, then that many bytes; -1 is no value.
    #[inline]
    pub fn take_nullable(&mut self, field: &'static str) -> Result<Option<&'b [u8]>, Malformed> {
        match self.rest.split_first_chunk::<4>() {
            Some((&[0xff, 0xff, 0xff, 0xff], rest)) => {
                self.rest = rest;
                Ok(None)
            }
            _ => self.take_sized(field).map(Some),
        }
    }

    /// The bytes before the next zero byte, which is taken too.
    #[inline]
    pub fn take_cstr(&mut self, field: &'static str) -> Result<&'b [u8], Malformed> {
        let end = self.rest.iter().position(|&byte| byte == 0);
        let Some((text, [_, rest @ ..])) = end.and_then(|end| self.rest.split_at_checked(end))
        else {
            return Err(self.fault(field, Fault::Unterminated));
        };
        self.rest = rest;
        Ok(text)
    }

    /// As [`Self::take_cstr`], in UTF-8.
    #[inline]
    pub fn take_str(&mut self, field: &'static str) -> Result<&'b str, Malformed> {
        let fault_at = self.clone();
        let bytes = self.take_cstr(field)?;
        std::str::from_utf8(bytes).map_err(|_| fault_at.fault(field, Fault::NotUtf8))
    }

    /// All that is left.
    #[inline]
    pub fn take_rest(&mut self) -> &'b [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Nothing may be left.
    #[inline]
    pub fn finish(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.fault("end", Fault::Trailing))
        }
    }
}
