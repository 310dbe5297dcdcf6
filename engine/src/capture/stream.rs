//! The replication stream, message by message: CopyData's bodies in, rows as they lie there out.

use pgwire::error::Malformed;
use pgwire::lsn::Lsn;
use pgwire::pgoutput::{Begin, Commit, LogicalMessage, Message, Old, Origin, Relation, Truncate};
use pgwire::replication::{PrimaryKeepalive, Replication};
use pgwire::tuple::{Tuple, TupleSpan};

use super::row::{Row, RowIndex};

/// Reads the stream; keeps nothing of it but the index of the row at hand.
#[derive(Debug, Default)]
pub struct Decoder {
    old: RowIndex,
    new: RowIndex,
}

/// What one CopyData of the stream says.
#[derive(Debug)]
pub enum Incoming<'b> {
    /// The server is alive and has come this far.
    Keepalive(PrimaryKeepalive),
    /// A transaction begins.
    Begin {
        /// LSN of its first change; zero when it came from a replication origin.
        lsn: Lsn,
        /// As the server sent it.
        begin: Begin,
    },
    /// The transaction ends.
    Commit(Commit),
    /// Where the transaction first came from.
    Origin(Origin<'b>),
    /// A table as of the changes that follow.
    Relation(Relation<'b>),
    /// A row changed.
    Row(RowChange<'b>),
    /// Tables were emptied.
    Truncate {
        /// Where the change is in the WAL.
        lsn: Lsn,
        /// Which.
        truncate: Truncate<'b>,
    },
    /// `pg_logical_emit_message`.
    Message {
        /// Where the message is in the WAL.
        lsn: Lsn,
        /// As the server sent it.
        message: LogicalMessage<'b>,
    },
    /// Nothing for us: a type's name.
    Nothing,
    /// A message of a protocol version that was not asked for.
    Unasked,
}

/// One row's change.
#[derive(Debug, Clone, Copy)]
pub struct RowChange<'b> {
    /// The table's oid.
    pub relation: u32,
    /// Where the change is in the WAL: neither unique nor monotonic.
    pub lsn: Lsn,
    /// What happened to the row.
    pub kind: ChangeKind,
    /// The row before: none for an insert, nor for an update that left the identity alone.
    pub old: Option<OldRow<'b>>,
    /// The row after: none for a delete. TOAST values that were not sent are taken from `old`
    /// where it has them.
    pub new: Option<Row<'b>>,
}

/// What happened to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "SQL's own words")]
pub enum ChangeKind {
    Insert,
    Update,
    Delete,
}

/// A row before its change.
#[derive(Debug, Clone, Copy)]
pub struct OldRow<'b> {
    /// Its cells; outside the identity they read as NULL unless the row is whole.
    pub row: Row<'b>,
    /// All columns were sent: the table's identity is FULL.
    pub whole: bool,
}

impl Decoder {
    /// Parses one CopyData's body.
    ///
    /// Errors: `Malformed`; the stream cannot go on.
    pub fn decode<'b>(&'b mut self, body: &'b [u8]) -> Result<Incoming<'b>, Malformed> {
        let data = match Replication::parse(body)? {
            Replication::Keepalive(keepalive) => return Ok(Incoming::Keepalive(keepalive)),
            Replication::XLogData(data) => data,
        };
        let lsn = data.wal_start;
        let bytes = data.body;
        Ok(match Message::parse(bytes, false)? {
            Message::Insert(insert) => {
                index(&mut self.new, insert.new, None);
                let new = Some(self.new.row(bytes));
                let (relation, kind) = (insert.relation, ChangeKind::Insert);
                Incoming::Row(RowChange {
                    relation,
                    lsn,
                    kind,
                    old: None,
                    new,
                })
            }
            Message::Update(update) => {
                let (old, whole) = match update.old {
                    Some(Old::Row(tuple)) => (Some(tuple), true),
                    Some(Old::Key(tuple)) => (Some(tuple), false),
                    None => (None, false),
                };
                if let Some(old) = old {
                    index(&mut self.old, old, None);
                }
                index(&mut self.new, update.new, old.filter(|_| whole));
                Incoming::Row(RowChange {
                    relation: update.relation,
                    lsn,
                    kind: ChangeKind::Update,
                    old: old.map(|_| OldRow {
                        row: self.old.row(bytes),
                        whole,
                    }),
                    new: Some(self.new.row(bytes)),
                })
            }
            Message::Delete(delete) => {
                index(&mut self.old, delete.old.tuple(), None);
                let whole = matches!(delete.old, Old::Row(_));
                let old = Some(OldRow {
                    row: self.old.row(bytes),
                    whole,
                });
                let (relation, kind) = (delete.relation, ChangeKind::Delete);
                Incoming::Row(RowChange {
                    relation,
                    lsn,
                    kind,
                    old,
                    new: None,
                })
            }
            Message::Begin(begin) => Incoming::Begin { lsn, begin },
            Message::Commit(commit) => Incoming::Commit(commit),
            Message::Relation(relation) => Incoming::Relation(relation),
            Message::Truncate(truncate) => Incoming::Truncate { lsn, truncate },
            Message::Message(message) => Incoming::Message { lsn, message },
            Message::Origin(origin) => Incoming::Origin(origin),
            Message::Type(_) => Incoming::Nothing,
            _ => Incoming::Unasked,
        })
    }
}

/// Indexes `tuple`'s cells as ranges of the message it lies in. Where a value was not sent because
/// it did not change, the cell of `before`, a whole old row in the same message, stands in.
#[inline]
fn index(index: &mut RowIndex, tuple: Tuple<'_>, before: Option<Tuple<'_>>) {
    index.clear();
    let base = tuple.offset();
    let Some(before) = before else {
        tuple.spans().for_each(|span| push(index, base, span));
        return;
    };
    let (old_base, mut old) = (before.offset(), before.spans());
    for span in tuple.spans() {
        match (span, old.next()) {
            (TupleSpan::Unchanged, Some(span)) => push(index, old_base, span),
            _ => push(index, base, span),
        }
    }
}

#[inline]
fn push(index: &mut RowIndex, base: u32, span: TupleSpan) {
    match span {
        TupleSpan::Null => index.push_null(),
        TupleSpan::Unchanged => index.push_unchanged(),
        TupleSpan::Text { start, end } => index.push_text(base + start, base + end),
        TupleSpan::Binary { start, end } => index.push_binary(base + start, base + end),
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::Cell;
    use super::*;

    fn xlog(message: &[u8]) -> Vec<u8> {
        let mut body = vec![b'w'];
        body.extend_from_slice(&7u64.to_be_bytes());
        body.extend_from_slice(&7u64.to_be_bytes());
        body.extend_from_slice(&0i64.to_be_bytes());
        body.extend_from_slice(message);
        body
    }

    #[test]
    fn an_unchanged_toast_value_is_taken_from_a_whole_old_row() {
        // 'U', oid 0x4020, 'O' (1, "long", NULL), 'N' (2, unchanged, NULL)
        let mut message = b"U\0\0\x40\x20O\0\x03t\0\0\0\x011t\0\0\0\x04longn".to_vec();
        message.extend_from_slice(b"N\0\x03t\0\0\0\x012un");
        let body = xlog(&message);
        let mut decoder = Decoder::default();
        let Incoming::Row(change) = decoder.decode(&body).unwrap() else {
            panic!()
        };
        let new = change.new.unwrap();
        assert_eq!(new.cell(0), Cell::Text(b"2"));
        assert_eq!(new.cell(1), Cell::Text(b"long"));
        assert_eq!(new.cell(2), Cell::Null);
        let old = change.old.unwrap();
        assert!(old.whole);
        assert_eq!(old.row.cell(0), Cell::Text(b"1"));
        assert_eq!(change.lsn, Lsn(7));
    }

    #[test]
    fn a_key_only_old_row_stands_in_for_nothing() {
        let mut message = b"U\0\0\x40\x20K\0\x02t\0\0\0\x011n".to_vec();
        message.extend_from_slice(b"N\0\x02t\0\0\0\x012u");
        let body = xlog(&message);
        let mut decoder = Decoder::default();
        let Incoming::Row(change) = decoder.decode(&body).unwrap() else {
            panic!()
        };
        assert_eq!(change.new.unwrap().cell(1), Cell::Unchanged);
        assert!(!change.old.unwrap().whole);
    }
}
