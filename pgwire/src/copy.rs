//! Rows of COPY, text and binary, as they come in CopyData. Where a row ends says the row itself,
//! not the CopyData it came in.
//!
//! Source: PostgreSQL documentation, "COPY", File Formats.

use std::ops::Range;

use crate::error::{Fault, Malformed};
use crate::read::Reader;
use crate::tuple::Fields;

/// Splits the first line off text: the row without its line feed, and how many bytes it took.
/// `None`: the line has not arrived in full.
#[inline]
#[must_use]
pub fn split_line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    Some((bytes.get(..end)?, end + 1))
}

/// One row of text, without its line feed.
///   column, tab, column ..; `\N` is NULL; `\` escapes
/// A row of no columns cannot be told from one of an empty string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextRow<'b> {
    line: &'b [u8],
}

/// A column of a [`TextRow`], perhaps with backslashes still in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextColumn<'b> {
    raw: &'b [u8],
    start: u32,
    escaped: bool,
}

impl<'b> TextRow<'b> {
    /// The row in `line`; one line feed at its end is left out.
    #[inline]
    #[must_use]
    pub fn new(line: &'b [u8]) -> Self {
        Self {
            line: line.strip_suffix(b"\n").unwrap_or(line),
        }
    }

    /// The columns in order; `None` is NULL.
    #[inline]
    pub fn columns(&self) -> impl Iterator<Item = Option<TextColumn<'b>>> + 'b {
        let line = self.line;
        let mut next = Some(0);
        std::iter::from_fn(move || {
            let start = next?;
            let (mut end, mut escaped) = (start, false);
            loop {
                match line.get(end) {
                    None => {
                        end = line.len();
                        next = None;
                        break;
                    }
                    Some(b'\t') => {
                        next = Some(end + 1);
                        break;
                    }
                    Some(b'\\') => {
                        escaped = true;
                        end += 2;
                    }
                    Some(_) => end += 1,
                }
            }
            let raw = line.get(start..end)?;
            if raw == br"\N" {
                return Some(None);
            }
            // A CopyData is below 2 GiB by its frame.
            let start = u32::try_from(start).unwrap_or(u32::MAX);
            Some(Some(TextColumn {
                raw,
                start,
                escaped,
            }))
        })
    }
}

impl<'b> TextColumn<'b> {
    /// The column's text form, if it stands in the line as it is.
    #[inline]
    #[must_use]
    pub fn plain(&self) -> Option<&'b [u8]> {
        if self.escaped { None } else { Some(self.raw) }
    }

    /// Where [`Self::plain`] is in the line.
    #[inline]
    #[must_use]
    pub fn plain_range(&self) -> Option<Range<u32>> {
        let length = u32::try_from(self.plain()?.len()).ok()?;
        Some(self.start..self.start + length)
    }

    /// Appends the column's text form.
    pub fn unescape_into(&self, out: &mut Vec<u8>) {
        let mut rest = self.raw;
        loop {
            let run = rest
                .iter()
                .position(|&byte| byte == b'\\')
                .unwrap_or(rest.len());
            let (plain, tail) = rest.split_at_checked(run).unwrap_or_default();
            out.extend_from_slice(plain);
            let [_, tail @ ..] = tail else { return };
            let (byte, length) = unescape(tail);
            out.extend(byte);
            rest = tail.get(length..).unwrap_or_default();
        }
    }
}

/// The byte that is written behind a backslash, and how many bytes it takes there.
#[inline]
fn unescape(tail: &[u8]) -> (Option<u8>, usize) {
    let Some(&first) = tail.first() else {
        return (None, 0);
    };
    let byte = match first {
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 11,
        b'0'..=b'7' => {
            let digits = tail
                .iter()
                .take(3)
                .take_while(|digit| matches!(digit, b'0'..=b'7'));
            let length = digits.clone().count();
            let value = digits.fold(0u8, |value, digit| value << 3 | (digit - b'0'));
            return (Some(value), length);
        }
        b'x' => {
            let digits = tail
                .iter()
                .skip(1)
                .take(2)
                .map_while(|&digit| char::from(digit).to_digit(16));
            let length = digits.clone().count();
            if length == 0 {
                return (Some(b'x'), 1);
            }
            let value = digits.fold(0, |value, digit| value << 4 | digit);
            return (u8::try_from(value).ok(), 1 + length);
        }
        other => other,
    };
    (Some(byte), 1)
}

/// Unescapes a row where it stands (what is escaped is longer than what it means) and says where
/// each column now is in `line`; `None` is NULL. One line feed at the end is left out.
///
/// Columns without a backslash before them in the row are not even moved.
#[inline]
pub fn unescape_row(line: &mut [u8], mut column: impl FnMut(Option<Range<u32>>)) {
    let length = line.strip_suffix(b"\n").map_or(line.len(), <[u8]>::len);
    let line = line.get_mut(..length).unwrap_or_default();
    // Below 2 GiB by the frame around it.
    let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    let (mut read, mut write) = (0, 0);
    loop {
        let rest = line.get(read..).unwrap_or_default();
        if matches!(rest, [b'\\', b'N'] | [b'\\', b'N', b'\t', ..]) {
            column(None);
            read += 2;
        } else {
            let start = write;
            loop {
                let rest = line.get(read..).unwrap_or_default();
                let run = rest.iter().position(|&byte| matches!(byte, b'\t' | b'\\'));
                let run = run.unwrap_or(rest.len());
                if read != write {
                    line.copy_within(read..read + run, write);
                }
                read += run;
                write += run;
                if line.get(read) != Some(&b'\\') {
                    break;
                }
                let (byte, taken) = unescape(line.get(read + 1..).unwrap_or_default());
                read += 1 + taken;
                if let (Some(byte), Some(place)) = (byte, line.get_mut(write)) {
                    *place = byte;
                    write += 1;
                }
            }
            column(Some(offset(start)..offset(write)));
        }
        if line.get(read) != Some(&b'\t') {
            return;
        }
        read += 1;
        // The gap that a NULL or an escape left is not closed: columns need not touch.
        write += 1;
    }
}

/// What a binary COPY begins with.
pub const SIGNATURE: [u8; 11] = *b"PGCOPY\n\xff\r\n\0";

/// Splits the header off a binary COPY: how many bytes it took. `None`: it has not arrived in full.
///   signature 11 | flags i32 | extension length i32, extension ..
///
/// Errors: `Malformed` when the signature is another, or a critical flag is set.
pub fn split_binary_header(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let mut r = Reader::new("header of COPY", bytes);
    let seen = bytes.get(..SIGNATURE.len()).unwrap_or(bytes);
    if !SIGNATURE.starts_with(seen) {
        return Err(r.fault("signature", Fault::Syntax));
    }
    let Ok(_) = r.take_bytes("signature", SIGNATURE.len()) else {
        return Ok(None);
    };
    let fault_at = r.clone();
    let Ok(flags) = r.take_u32("flags") else {
        return Ok(None);
    };
    if flags >> 16 != 0 {
        return Err(fault_at.fault("flags", Fault::Unknown(flags)));
    }
    not_yet(r.take_sized("extension")).map(|extension| extension.map(|_| r.at()))
}

/// What follows the header of a binary COPY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryRow<'b> {
    /// A row.
    Row(Fields<'b>),
    /// There are no more.
    End,
}

/// Splits a row off a binary COPY behind its header: the row, and how many bytes it took. `None`:
/// it has not arrived in full.
///   columns i16, -1 at the end | per column: length i32 or -1 for NULL, bytes
///
/// Errors: `Malformed` when a count or a length is below -1.
#[inline]
pub fn split_binary_row(bytes: &[u8]) -> Result<Option<(BinaryRow<'_>, usize)>, Malformed> {
    if let [0xff, 0xff, ..] = bytes {
        return Ok(Some((BinaryRow::End, 2)));
    }
    let mut r = Reader::new("row of COPY", bytes);
    let row = not_yet(Fields::take(&mut r))?;
    Ok(row.map(|row| (BinaryRow::Row(row), r.at())))
}

/// A stream that ends too early may go on.
fn not_yet<T>(result: Result<T, Malformed>) -> Result<Option<T>, Malformed> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Malformed {
            fault: Fault::Truncated,
            ..
        }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Columns = Vec<Option<Vec<u8>>>;

    fn viewed(line: &[u8]) -> Columns {
        let columns = TextRow::new(line).columns();
        let columns = columns.map(|column| {
            column.map(|column| {
                let mut out = Vec::new();
                column.unescape_into(&mut out);
                if let (Some(plain), Some(range)) = (column.plain(), column.plain_range()) {
                    assert_eq!(plain, out);
                    assert_eq!(plain, &line[range.start as usize..range.end as usize]);
                }
                out
            })
        });
        columns.collect()
    }

    fn in_place(line: &[u8]) -> Columns {
        let mut line = line.to_vec();
        let mut ranges = Vec::new();
        unescape_row(&mut line, |column| ranges.push(column));
        let slice = |range: Range<u32>| line[range.start as usize..range.end as usize].to_vec();
        ranges.into_iter().map(|range| range.map(slice)).collect()
    }

    #[test]
    fn text_rows() {
        let some = |text: &[u8]| Some(text.to_vec());
        let cases: [(&[u8], Columns); 9] = [
            (b"1\tab\t\\N\n", vec![some(b"1"), some(b"ab"), None]),
            (b"", vec![some(b"")]),
            (b"\t", vec![some(b""), some(b"")]),
            (b"\\N", vec![None]),
            (b"\\\\N\t\\N\tx", vec![some(b"\\N"), None, some(b"x")]),
            (
                b"a\\tb\\nc\\\\d\\re\\bf\\fg\\v",
                vec![some(b"a\tb\nc\\d\re\x08f\x0cg\x0b")],
            ),
            (b"\\\\x0102\t2", vec![some(b"\\x0102"), some(b"2")]),
            (b"\\101\\x42\\x4g\\xg\\7", vec![some(b"AB\x04gxg\x07")]),
            (b"\\Nx\t\\q\t\\", vec![some(b"Nx"), some(b"q"), some(b"")]),
        ];
        for (line, columns) in cases {
            assert_eq!(viewed(line), columns, "{}", String::from_utf8_lossy(line));
            assert_eq!(in_place(line), columns, "{}", String::from_utf8_lossy(line));
        }
        assert_eq!(split_line(b"a\tb\nc"), Some((b"a\tb".as_slice(), 4)));
        assert_eq!(split_line(b"a\tb"), None);
    }

    #[test]
    fn a_binary_copy() {
        let mut stream = SIGNATURE.to_vec();
        stream.extend_from_slice(&[0; 8]);
        let header = stream.len();
        stream.extend_from_slice(b"\0\x03\0\0\0\x04\0\0\0\x01\xff\xff\xff\xff\0\0\0\x01x");
        let row = stream.len();
        stream.extend_from_slice(b"\xff\xff");

        for cut in 0..header {
            assert_eq!(split_binary_header(&stream[..cut]), Ok(None));
        }
        assert_eq!(split_binary_header(&stream), Ok(Some(header)));
        for cut in header..row {
            assert_eq!(split_binary_row(&stream[header..cut]), Ok(None));
        }
        let (first, taken) = split_binary_row(&stream[header..]).unwrap().unwrap();
        let BinaryRow::Row(fields) = first else {
            panic!("the end comes later")
        };
        assert_eq!(header + taken, row);
        let values: Vec<_> = fields.values().collect();
        assert_eq!(values, [Some(&[0, 0, 0, 1][..]), None, Some(b"x")]);
        let ranges: Vec<_> = fields.ranges().collect();
        assert_eq!(ranges, [Some(4..8), None, Some(16..17)]);
        assert_eq!(
            split_binary_row(&stream[row..]),
            Ok(Some((BinaryRow::End, 2)))
        );

        assert!(split_binary_header(b"PGCOPX").is_err());
        stream[11] = 1;
        assert!(split_binary_header(&stream).is_err(), "a critical flag");
        assert!(split_binary_row(b"\xff\xfe").is_err());
        assert!(split_binary_row(b"\0\x01\xff\xff\xff\xfe").is_err());
    }

    fn written(columns: &Columns) -> Vec<u8> {
        let mut out = Vec::new();
        for (position, column) in columns.iter().enumerate() {
            if position > 0 {
                out.push(b'\t');
            }
            let Some(column) = column else {
                out.extend_from_slice(br"\N");
                continue;
            };
            for &byte in column {
                match byte {
                    b'\\' => out.extend_from_slice(br"\\"),
                    b'\t' => out.extend_from_slice(br"\t"),
                    b'\n' => out.extend_from_slice(br"\n"),
                    b'\r' => out.extend_from_slice(br"\r"),
                    byte => out.push(byte),
                }
            }
        }
        out.push(b'\n');
        out
    }

    proptest! {
        #[test]
        fn rows_are_identity(columns in proptest::collection::vec(any::<Option<Vec<u8>>>(), 1..8)) {
            let line = written(&columns);
            prop_assert_eq!(split_line(&line).map(|(_, taken)| taken), Some(line.len()));
            prop_assert_eq!(viewed(&line), columns.clone());
            prop_assert_eq!(in_place(&line), columns);
        }

        #[test]
        fn both_ways_agree(line: Vec<u8>) {
            prop_assert_eq!(viewed(&line), in_place(&line));
        }
    }
}
