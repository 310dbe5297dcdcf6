//! The first bytes of a message of the stream: what it is, before all of it has arrived. For
//! messages that are too large to be taken whole.

use crate::error::{Fault, Malformed};
use crate::frame::{HEADER_BYTES, Tag};
use crate::lsn::Lsn;
use crate::read::Reader;
use crate::tuple::TupleCell;

/// What a CopyData begins with.
///   'd' | length i32 | 'w' | wal_start i64 | wal_end i64 | sent_at i64 | pgoutput's type ..
/// Source: as [`crate::replication`] and [`crate::pgoutput`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'b> {
    /// Of the whole message, tag and length included.
    pub bytes: usize,
    /// Where in the WAL it is.
    pub lsn: Lsn,
    /// What it says.
    pub what: What<'b>,
}

/// What a message says, as far as its beginning shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What<'b> {
    /// Insert, Update or Delete.
    Row(RowHead<'b>),
    /// `pg_logical_emit_message`; whether it belongs to the transaction.
    Message {
        /// It counts among the transaction's events.
        transactional: bool,
    },
    /// pgoutput's letter of anything else.
    Other(u8),
}

/// The beginning of a row's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowHead<'b> {
    /// `I`, `U` or `D`.
    pub kind: u8,
    /// The relation's oid.
    pub relation: u32,
    /// Columns of the message's first tuple: the old one, where there is one.
    columns: u16,
    bytes: &'b [u8],
}

impl<'b> Head<'b> {
    /// Reads the beginning of the CopyData that `bytes` begins with. `None`: too little of it has
    /// arrived, or it is no XLogData.
    ///
    /// Errors: `Malformed` for an Insert, Update or Delete without a tuple.
    pub fn parse(bytes: &'b [u8]) -> Result<Option<Self>, Malformed> {
        let Some((&[tag, a, b, c, d], body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let length = usize::try_from(i32::from_be_bytes([a, b, c, d])).unwrap_or_default();
        let Some((head, message)) = body.split_first_chunk::<25>() else {
            return Ok(None);
        };
        let Some((kind, rest)) = message.split_first_chunk::<1>() else {
            return Ok(None);
        };
        let [b'w', wal_start @ ..] = head else {
            return Ok(None);
        };
        let (wal_start, _) = wal_start.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
        if Tag(tag) != Tag::COPY_DATA {
            return Ok(None);
        }
        let [kind] = *kind;
        let what = match kind {
            b'I' | b'U' | b'D' => {
                let mut r = Reader::new("row", rest);
                if rest.len() < 7 {
                    return Ok(None);
                }
                let relation = r.take_u32("relation")?;
                let here = r.clone();
                match r.take_u8("tuple tag")? {
                    b'N' | b'K' | b'O' => {}
                    tag => return Err(here.fault("tuple tag", Fault::Unknown(tag.into()))),
                }
                let columns = r.take_count("number of columns")?;
                What::Row(RowHead {
                    kind,
                    relation,
                    columns,
                    bytes: r.rest(),
                })
            }
            b'M' => match rest.first() {
                Some(flags) => What::Message {
                    transactional: flags & 1 != 0,
                },
                None => return Ok(None),
            },
            other => What::Other(other),
        };
        Ok(Some(Self {
            bytes: length + 1,
            lsn: Lsn(u64::from_be_bytes(*wal_start)),
            what,
        }))
    }
}

impl<'b> RowHead<'b> {
    /// The columns of the first tuple, in order, up to the first that has not arrived in full.
    pub fn cells(&self) -> impl Iterator<Item = TupleCell<'b>> {
        let mut r = Reader::new("row", self.bytes);
        (0..self.columns).map_while(move |_| {
            Some(match r.take_u8("column kind").ok()? {
                b'n' => TupleCell::Null,
                b'u' => TupleCell::Unchanged,
                b't' => TupleCell::Text(r.take_sized("column").ok()?),
                b'b' => TupleCell::Binary(r.take_sized("column").ok()?),
                _ => return None,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(pgoutput: &[u8]) -> Vec<u8> {
        let mut bytes = vec![b'd'];
        let length = i32::try_from(4 + 25 + pgoutput.len()).unwrap();
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.push(b'w');
        bytes.extend_from_slice(&7u64.to_be_bytes());
        bytes.extend_from_slice(&[0; 16]);
        bytes.extend_from_slice(pgoutput);
        bytes
    }

    #[test]
    fn a_row_is_known_by_its_first_bytes() {
        let bytes = message(b"I\0\0\x40\x20N\0\x03t\0\0\0\x0242nt\0\0\0\x09long text");
        let whole = Head::parse(&bytes).unwrap().unwrap();
        assert_eq!((whole.bytes, whole.lsn), (bytes.len(), Lsn(7)));
        for cut in 0..bytes.len() {
            let Some(head) = Head::parse(&bytes[..cut]).unwrap() else {
                assert!(cut < 5 + 25 + 8, "{cut}");
                continue;
            };
            let What::Row(row) = head.what else {
                panic!("{head:?}")
            };
            assert_eq!(
                (head.bytes, row.kind, row.relation),
                (bytes.len(), b'I', 0x4020)
            );
            let cells: Vec<_> = row.cells().collect();
            let all = [TupleCell::Text(b"42"), TupleCell::Null];
            assert_eq!(cells, all[..cells.len()]);
        }
        let message = message(b"M\x01\0\0\0\0\0\0\0\x07p\0\0\0\0\0");
        let head = Head::parse(&message).unwrap().unwrap();
        assert_eq!(
            head.what,
            What::Message {
                transactional: true
            }
        );
    }
}
