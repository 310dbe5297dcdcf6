//! Rows: [`Tuple`] of the stream, [`Fields`] of results and binary COPY. Checked once, then walked
//! without a Result.

use std::ops::Range;

use crate::error::{Fault, Malformed};
use crate::read::Reader;

/// One row of the stream, still where it arrived.
///   columns i16 | per column: 'n' | 'u' | 't' length i32, bytes | 'b' length i32, bytes
/// Source: PostgreSQL documentation, "Logical Replication Message Formats", TupleData.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tuple<'b> {
    /// After the number of columns; holds exactly the columns.
    bytes: &'b [u8],
    columns: u16,
    offset: u32,
}

/// One column of a [`Tuple`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TupleCell<'b> {
    /// NULL; in a key-only old tuple also every column outside the key.
    Null,
    /// A TOAST value that did not change and was not sent.
    Unchanged,
    /// The type's text form, in client_encoding.
    Text(&'b [u8]),
    /// The type's binary form, as its send function writes it.
    Binary(&'b [u8]),
}

/// One column of a [`Tuple`], as a range of [`Tuple::bytes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TupleSpan {
    /// NULL.
    Null,
    /// A TOAST value that did not change and was not sent.
    Unchanged,
    /// The text form is at `start..end`.
    Text {
        /// The first byte.
        start: u32,
        /// Behind the last byte.
        end: u32,
    },
    /// The binary form is at `start..end`.
    Binary {
        /// The first byte.
        start: u32,
        /// Behind the last byte.
        end: u32,
    },
}

impl<'b> Tuple<'b> {
    /// Takes a tuple off `reader` after walking it to its end.
    ///
    /// Errors: `Malformed` when a column's kind is unknown or its bytes are not all there.
    #[inline]
    pub(crate) fn take(reader: &mut Reader<'b>) -> Result<Self, Malformed> {
        let columns = reader.take_count("number of columns")?;
        let offset = reader.at();
        let whole = reader.rest();
        let mut rest = whole;
        for _ in 0..columns {
            rest = match skip(rest) {
                Some(rest) => rest,
                None => return Err(broken(reader, columns)),
            };
        }
        // A message is below 2 GiB by its frame, so the offset fits.
        Ok(Self {
            bytes: reader.take_bytes("columns", whole.len() - rest.len())?,
            columns,
            offset: u32::try_from(offset).unwrap_or(u32::MAX),
        })
    }

    /// How many columns the tuple has.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.columns.into()
    }

    /// Whether the tuple has no column at all.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.columns == 0
    }

    /// The columns as they came, kinds and lengths included: what spans are ranges of.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &'b [u8] {
        self.bytes
    }

    /// Where [`Self::bytes`] begins, counted from the start of the pgoutput message.
    #[inline]
    #[must_use]
    pub fn offset(&self) -> u32 {
        self.offset
    }

    /// The columns in order, as ranges of [`Self::bytes`].
    #[inline]
    #[must_use]
    pub fn spans(&self) -> Spans<'b> {
        Spans {
            rest: self.bytes,
            at: 0,
        }
    }

    /// The columns in order.
    #[inline]
    #[must_use]
    pub fn cells(&self) -> Cells<'b> {
        Cells {
            bytes: self.bytes,
            spans: self.spans(),
        }
    }
}

/// What follows the first column; `None`: it is not all there, or of no known kind.
#[inline]
fn skip(bytes: &[u8]) -> Option<&[u8]> {
    match bytes {
        [b'n' | b'u', rest @ ..] => Some(rest),
        [b't' | b'b', a, b, c, d, rest @ ..] => {
            // A negative length is more than any message has.
            rest.get(u32::from_be_bytes([*a, *b, *c, *d]) as usize..)
        }
        _ => None,
    }
}

/// What is wrong with a tuple that [`skip`] does not get through.
#[cold]
fn broken(reader: &mut Reader<'_>, columns: u16) -> Malformed {
    for _ in 0..columns {
        let here = reader.at();
        match reader.take_u8("column kind") {
            Ok(b'n' | b'u') => {}
            Ok(b't' | b'b') => {
                if let Err(fault) = reader.take_sized("column") {
                    return fault;
                }
            }
            Ok(kind) => {
                let fault = reader.fault("column kind", Fault::Unknown(kind.into()));
                return Malformed { at: here, ..fault };
            }
            Err(fault) => return fault,
        }
    }
    reader.fault("columns", Fault::Truncated)
}

impl std::fmt::Debug for Tuple<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.cells()).finish()
    }
}

/// See [`Tuple::spans`].
#[derive(Debug, Clone)]
pub struct Spans<'b> {
    rest: &'b [u8],
    at: u32,
}

impl Iterator for Spans<'_> {
    type Item = TupleSpan;

    #[inline]
    fn next(&mut self) -> Option<TupleSpan> {
        // The tuple was walked when it was taken: only its end is met here.
        let (span, rest) = match self.rest {
            [b'n', rest @ ..] => (TupleSpan::Null, rest),
            [b'u', rest @ ..] => (TupleSpan::Unchanged, rest),
            [kind, a, b, c, d, rest @ ..] => {
                let length = u32::from_be_bytes([*a, *b, *c, *d]);
                let start = self.at + 5;
                let end = start + length;
                self.rest = rest.get(length as usize..)?;
                self.at = end;
                return Some(match kind {
                    b't' => TupleSpan::Text { start, end },
                    _ => TupleSpan::Binary { start, end },
                });
            }
            _ => return None,
        };
        self.rest = rest;
        self.at += 1;
        Some(span)
    }
}

/// See [`Tuple::cells`].
#[derive(Debug, Clone)]
pub struct Cells<'b> {
    bytes: &'b [u8],
    spans: Spans<'b>,
}

impl<'b> Iterator for Cells<'b> {
    type Item = TupleCell<'b>;

    #[inline]
    fn next(&mut self) -> Option<TupleCell<'b>> {
        let slice = |start: u32, end: u32| {
            self.bytes
                .get(start as usize..end as usize)
                .unwrap_or_default()
        };
        Some(match self.spans.next()? {
            TupleSpan::Null => TupleCell::Null,
            TupleSpan::Unchanged => TupleCell::Unchanged,
            TupleSpan::Text { start, end } => TupleCell::Text(slice(start, end)),
            TupleSpan::Binary { start, end } => TupleCell::Binary(slice(start, end)),
        })
    }
}

/// A row of a result or of a binary COPY.
///   columns i16 | per column: length i32 or -1 for NULL, bytes
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fields<'b> {
    bytes: &'b [u8],
    columns: u16,
}

impl<'b> Fields<'b> {
    /// Takes a row off `reader` after walking it to its end.
    #[inline]
    pub(crate) fn take(reader: &mut Reader<'b>) -> Result<Self, Malformed> {
        let columns = reader.take_count("number of columns")?;
        let start = reader.clone();
        for _ in 0..columns {
            reader.take_nullable("column")?;
        }
        let length = reader.at() - start.at();
        Ok(Self {
            bytes: start.rest().get(..length).unwrap_or_default(),
            columns,
        })
    }

    /// How many columns the row has.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.columns.into()
    }

    /// Whether the row has no column at all.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.columns == 0
    }

    /// The columns as they came, lengths included: what ranges are ranges of.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &'b [u8] {
        self.bytes
    }

    /// The columns in order; `None` is NULL.
    #[inline]
    #[must_use]
    pub fn values(&self) -> Values<'b> {
        Values { rest: self.bytes }
    }

    /// The columns in order as ranges of [`Self::bytes`]; `None` is NULL.
    #[inline]
    pub fn ranges(&self) -> impl Iterator<Item = Option<Range<u32>>> + 'b {
        let mut at = 0u32;
        self.values().map(move |value| {
            let start = at + 4;
            // Below 2 GiB by the frame around it.
            let length = value.map_or(0, |value| u32::try_from(value.len()).unwrap_or_default());
            at = start + length;
            value.map(|_| start..at)
        })
    }
}

impl std::fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.values()).finish()
    }
}

/// See [`Fields::values`].
#[derive(Debug, Clone)]
pub struct Values<'b> {
    rest: &'b [u8],
}

impl<'b> Iterator for Values<'b> {
    type Item = Option<&'b [u8]>;

    #[inline]
    fn next(&mut self) -> Option<Option<&'b [u8]>> {
        let (length, rest) = self.rest.split_first_chunk::<4>()?;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            self.rest = rest;
            return Some(None);
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        Some(Some(value))
    }
}
