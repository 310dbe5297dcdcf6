//! What the plugin `pgoutput` says, protocol versions 1 to 4: Begin to Commit, Relation, rows,
//! Truncate, Message, streamed and two-phase transactions.
//!
//! One message is the body of one XLogData. Inside a streamed block (between StreamStart and
//! StreamStop) Relation, Type, rows, Truncate and Message carry one more field, the xid of the
//! subtransaction; the caller knows where it is and says so.
//!
//! Source: PostgreSQL documentation, "Logical Replication Message Formats".

use std::fmt;

use crate::error::{Fault, Malformed};
use crate::lsn::Lsn;
use crate::read::Reader;
use crate::tuple::Tuple;

/// One message of pgoutput.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'b> {
    /// `B`
    Begin(Begin),
    /// `C`
    Commit(Commit),
    /// `O`
    Origin(Origin<'b>),
    /// `R`
    Relation(Relation<'b>),
    /// `Y`
    Type(Type<'b>),
    /// `I`
    Insert(Insert<'b>),
    /// `U`
    Update(Update<'b>),
    /// `D`
    Delete(Delete<'b>),
    /// `T`
    Truncate(Truncate<'b>),
    /// `M`
    Message(LogicalMessage<'b>),
    /// `S`
    StreamStart(StreamStart),
    /// `E`
    StreamStop,
    /// `c`
    StreamCommit(StreamCommit),
    /// `A`
    StreamAbort(StreamAbort),
    /// `b`
    BeginPrepare(Prepared<'b>),
    /// `P`
    Prepare(Prepared<'b>),
    /// `K`
    CommitPrepared(CommitPrepared<'b>),
    /// `r`
    RollbackPrepared(RollbackPrepared<'b>),
    /// `p`
    StreamPrepare(Prepared<'b>),
}

/// A transaction begins.
///   'B' | final_lsn i64 | committed_at i64, us since 2000-01-01 UTC | xid u32
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// Where the commit record starts: [`Commit::commit_lsn`] of the same transaction.
    pub final_lsn: Lsn,
    /// Commit time, us since 2000-01-01 UTC; the origin's, if the transaction has one.
    pub committed_at: i64,
    /// The top-level transaction's xid.
    pub xid: u32,
}

/// A transaction ends.
///   'C' | flags u8, 0 | commit_lsn i64 | end_lsn i64 | committed_at i64
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Where the commit record starts.
    pub commit_lsn: Lsn,
    /// Where the commit record ends: the position to confirm.
    pub end_lsn: Lsn,
    /// Commit time, us since 2000-01-01 UTC.
    pub committed_at: i64,
}

/// Where the transaction first came from; at most one, right behind the transaction's begin.
///   'O' | commit_lsn i64, on the origin | name cstr
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'b> {
    /// The position of its commit on the origin.
    pub commit_lsn: Lsn,
    /// The name of the replication origin.
    pub name: &'b str,
}

/// A table as of the changes that follow.
///   'R' | [xid u32] | relation u32 | schema cstr | name cstr | replica identity u8 | columns ..
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Relation<'b> {
    /// The subtransaction, in a streamed block.
    pub xid: Option<u32>,
    /// The table's oid.
    pub oid: u32,
    /// The schema; as the wire has it, where empty means `pg_catalog` ([`Self::schema`]).
    schema: &'b str,
    /// The table.
    pub name: &'b str,
    /// What old rows carry.
    pub replica_identity: ReplicaIdentity,
    columns: &'b [u8],
    column_count: u16,
}

/// The letter of a table's replica identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaIdentity(pub u8);

impl ReplicaIdentity {
    /// `d`: the primary key.
    pub const DEFAULT: Self = Self(b'd');
    /// `n`: nothing.
    pub const NOTHING: Self = Self(b'n');
    /// `f`: the whole row.
    pub const FULL: Self = Self(b'f');
    /// `i`: the columns of a unique index.
    pub const INDEX: Self = Self(b'i');
}

/// One column of a [`Relation`].
///   flags u8, 1: part of the identity | name cstr | type u32 | typmod i32
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelationColumn<'b> {
    /// Bit 0: part of the replica identity.
    pub flags: u8,
    /// The column's name.
    pub name: &'b str,
    /// The oid of its type; of the domain, where it is one.
    pub type_oid: u32,
    /// `atttypmod`; -1 for none, and always for a domain.
    pub typmod: i32,
}

impl RelationColumn<'_> {
    /// Whether the column is part of the replica identity.
    #[must_use]
    pub fn identity(&self) -> bool {
        self.flags & 1 != 0
    }
}

impl<'b> Relation<'b> {
    /// The schema's name.
    #[must_use]
    pub fn schema(&self) -> &'b str {
        catalog_if_empty(self.schema)
    }

    /// How many columns each tuple of the relation has.
    #[must_use]
    pub fn column_count(&self) -> usize {
        self.column_count.into()
    }

    /// The columns, in the order in which a tuple carries them.
    pub fn columns(&self) -> impl Iterator<Item = RelationColumn<'b>> + Clone + 'b {
        let mut reader = Reader::new("Relation", self.columns);
        // Checked when the message was parsed: the walk ends where the bytes do.
        std::iter::from_fn(move || RelationColumn::take(&mut reader).ok())
    }
}

impl fmt::Debug for Relation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relation")
            .field("xid", &self.xid)
            .field("oid", &self.oid)
            .field("schema", &self.schema())
            .field("name", &self.name)
            .field("replica_identity", &char::from(self.replica_identity.0))
            .field("columns", &self.columns().collect::<Vec<_>>())
            .finish()
    }
}

impl<'b> RelationColumn<'b> {
    fn take(reader: &mut Reader<'b>) -> Result<Self, Malformed> {
        Ok(Self {
            flags: reader.take_u8("column flags")?,
            name: reader.take_str("column name")?,
            type_oid: reader.take_u32("column type")?,
            typmod: reader.take_i32("column typmod")?,
        })
    }
}

/// A type that is not built in, before the Relation that uses it. For a domain: the domain's oid
/// with the name of its ultimate base type.
///   'Y' | [xid u32] | oid u32 | schema cstr | name cstr
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Type<'b> {
    /// The subtransaction, in a streamed block.
    pub xid: Option<u32>,
    /// The type's oid.
    pub oid: u32,
    schema: &'b str,
    /// The type's name; of its base, for a domain.
    pub name: &'b str,
}

impl<'b> Type<'b> {
    /// The schema's name.
    #[must_use]
    pub fn schema(&self) -> &'b str {
        catalog_if_empty(self.schema)
    }
}

/// pgoutput writes the most common schema as the shortest string.
fn catalog_if_empty(schema: &str) -> &str {
    if schema.is_empty() {
        "pg_catalog"
    } else {
        schema
    }
}

/// A new row.
///   'I' | [xid u32] | relation u32 | 'N' | tuple
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Insert<'b> {
    /// The subtransaction, in a streamed block.
    pub xid: Option<u32>,
    /// The table's oid.
    pub relation: u32,
    /// The row. Can hold unchanged columns, where a row filter made an insert of an update.
    pub new: Tuple<'b>,
}

/// A changed row.
///   'U' | [xid u32] | relation u32 | [ 'K' tuple | 'O' tuple ] | 'N' | tuple
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Update<'b> {
    /// The subtransaction, in a streamed block.
    pub xid: Option<u32>,
    /// The table's oid.
    pub relation: u32,
    /// What is known of the row before.
    pub old: Option<Old<'b>>,
    /// The row after.
    pub new: Tuple<'b>,
}

/// A removed row.
///   'D' | [xid u32] | relation u32 | 'K' tuple | 'O' tuple
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delete<'b> {
    /// The subtransaction, in a streamed block.
    pub xid: Option<u32>,
    /// The table's oid.
    pub relation: u32,
    /// What is known of the row.
    pub old: Old<'b>,
}

/// A row before its change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Old<'b> {
    /// `K`: the identity's columns; all others are NULL, whatever they were.
    Key(Tuple<'b>),
    /// `O`: the whole row.
    Row(Tuple<'b>),
}

impl<'b> Old<'b> {
    /// The tuple, whichever it is.
    #[inline]
    #[must_use]
    pub fn tuple(&self) -> Tuple<'b> {
        match *self {
            Self::Key(tuple) | Self::Row(tuple) => tuple,
        }
    }
}

/// Tables emptied by one statement.
///   'T' | [xid u32] | count i32 | flags u8, 1: CASCADE, 2: RESTART IDENTITY | relation u32 ..
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Truncate<'b> {
    /// The subtransaction, in a streamed block.
    pub xid: Option<u32>,
    /// Bit 0: CASCADE; bit 1: RESTART IDENTITY.
    pub flags: u8,
    relations: &'b [u8],
}

impl<'b> Truncate<'b> {
    /// The tables' oids.
    pub fn relations(&self) -> impl ExactSizeIterator<Item = u32> + Clone + 'b {
        self.relations
            .as_chunks::<4>()
            .0
            .iter()
            .map(|oid| u32::from_be_bytes(*oid))
    }
}

impl fmt::Debug for Truncate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Truncate")
            .field("xid", &self.xid)
            .field("flags", &self.flags)
            .field("relations", &self.relations().collect::<Vec<_>>())
            .finish()
    }
}

/// What `pg_logical_emit_message` wrote.
///   'M' | [xid u32] | flags u8, 1: transactional | lsn i64 | prefix cstr | length i32 | content ..
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogicalMessage<'b> {
    /// The subtransaction, in a streamed block.
    pub xid: Option<u32>,
    /// Whether it belongs to the transaction around it.
    pub transactional: bool,
    /// Where the message's record ends: what `pg_logical_emit_message` returned.
    pub lsn: Lsn,
    /// Whose message it is.
    pub prefix: &'b str,
    /// What it says.
    pub content: &'b [u8],
}

/// A block of a transaction that has not committed yet.
///   'S' | xid u32 | first u8
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamStart {
    /// The top-level transaction's xid.
    pub xid: u32,
    /// Whether it is the first block of that transaction.
    pub first: bool,
}

/// A streamed transaction commits.
///   'c' | xid u32 | flags u8, 0 | commit_lsn i64 | end_lsn i64 | committed_at i64
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamCommit {
    /// The top-level transaction's xid.
    pub xid: u32,
    /// Where the commit record starts.
    pub commit_lsn: Lsn,
    /// Where the commit record ends: the position to confirm.
    pub end_lsn: Lsn,
    /// Commit time, us since 2000-01-01 UTC.
    pub committed_at: i64,
}

/// A streamed transaction, or a subtransaction of it, rolls back.
///   'A' | xid u32 | subxid u32 | [ abort_lsn i64 | aborted_at i64 ], with streaming=parallel
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamAbort {
    /// The top-level transaction's xid.
    pub xid: u32,
    /// The one that rolls back: equal to `xid` for the whole.
    pub subxid: u32,
    /// Position and time (us since 2000-01-01 UTC) of the abort.
    pub aborted: Option<(Lsn, i64)>,
}

/// A transaction that is, or is about to be, prepared.
///   'b' | prepare_lsn i64 | end_lsn i64 | prepared_at i64 | xid u32 | gid cstr
///   'P' or 'p' | flags u8, 0 | the same
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prepared<'b> {
    /// Where the prepare record starts.
    pub prepare_lsn: Lsn,
    /// Where the prepare record ends.
    pub end_lsn: Lsn,
    /// Us since 2000-01-01 UTC.
    pub prepared_at: i64,
    /// The transaction's xid.
    pub xid: u32,
    /// The name it was prepared under.
    pub gid: &'b str,
}

/// A prepared transaction commits.
///   'K' | flags u8, 0 | commit_lsn i64 | end_lsn i64 | committed_at i64 | xid u32 | gid cstr
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitPrepared<'b> {
    /// Where the commit record starts.
    pub commit_lsn: Lsn,
    /// Where the commit record ends: the position to confirm.
    pub end_lsn: Lsn,
    /// Us since 2000-01-01 UTC.
    pub committed_at: i64,
    /// The transaction's xid.
    pub xid: u32,
    /// The name it was prepared under.
    pub gid: &'b str,
}

/// A prepared transaction rolls back.
///   'r' | flags u8, 0 | prepare_end_lsn i64 | rollback_end_lsn i64 | prepared_at i64
///       | rolled_back_at i64 | xid u32 | gid cstr
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RollbackPrepared<'b> {
    /// Where the prepare record ends.
    pub prepare_end_lsn: Lsn,
    /// Where the rollback's record ends.
    pub rollback_end_lsn: Lsn,
    /// Us since 2000-01-01 UTC.
    pub prepared_at: i64,
    /// Us since 2000-01-01 UTC.
    pub rolled_back_at: i64,
    /// The transaction's xid.
    pub xid: u32,
    /// The name it was prepared under.
    pub gid: &'b str,
}

impl<'b> Message<'b> {
    /// Parses the body of one XLogData. `in_stream`: a StreamStart came and its StreamStop has not.
    ///
    /// Errors: `Malformed` when the type is unknown, a field is cut or bytes are left over.
    #[inline]
    pub fn parse(body: &'b [u8], in_stream: bool) -> Result<Self, Malformed> {
        let mut r = Reader::new("pgoutput message", body);
        let kind = r.take_u8("type")?;
        match kind {
            b'I' => {
                let mut r = named("Insert", body);
                let xid = take_xid(&mut r, in_stream)?;
                let relation = r.take_u32("relation")?;
                take_tag(&mut r, b'N')?;
                let new = Tuple::take(&mut r)?;
                r.finish()?;
                Ok(Self::Insert(Insert { xid, relation, new }))
            }
            b'U' => parse_update(named("Update", body), in_stream),
            b'D' => {
                let mut r = named("Delete", body);
                let xid = take_xid(&mut r, in_stream)?;
                let relation = r.take_u32("relation")?;
                let fault_at = r.clone();
                let old = match r.take_u8("tuple tag")? {
                    b'K' => Old::Key(Tuple::take(&mut r)?),
                    b'O' => Old::Row(Tuple::take(&mut r)?),
                    tag => return Err(fault_at.fault("tuple tag", Fault::Unknown(tag.into()))),
                };
                r.finish()?;
                Ok(Self::Delete(Delete { xid, relation, old }))
            }
            b'B' => {
                let mut r = named("Begin", body);
                let begin = Begin {
                    final_lsn: take_lsn(&mut r, "final LSN")?,
                    committed_at: r.take_i64("commit time")?,
                    xid: r.take_u32("xid")?,
                };
                r.finish()?;
                Ok(Self::Begin(begin))
            }
            b'C' => {
                let mut r = named("Commit", body);
                r.take_u8("flags")?;
                let commit = Commit {
                    commit_lsn: take_lsn(&mut r, "commit LSN")?,
                    end_lsn: take_lsn(&mut r, "end LSN")?,
                    committed_at: r.take_i64("commit time")?,
                };
                r.finish()?;
                Ok(Self::Commit(commit))
            }
            _ => Self::parse_rare(kind, body, in_stream),
        }
    }

    /// What comes once per relation or per large transaction.
    fn parse_rare(kind: u8, body: &'b [u8], in_stream: bool) -> Result<Self, Malformed> {
        let (message, r) = match kind {
            b'R' => parse_relation(named("Relation", body), in_stream)?,
            b'Y' => {
                let mut r = named("Type", body);
                let message = Type {
                    xid: take_xid(&mut r, in_stream)?,
                    oid: r.take_u32("type oid")?,
                    schema: r.take_str("schema")?,
                    name: r.take_str("name")?,
                };
                (Self::Type(message), r)
            }
            b'O' => {
                let mut r = named("Origin", body);
                let commit_lsn = take_lsn(&mut r, "commit LSN")?;
                (
                    Self::Origin(Origin {
                        commit_lsn,
                        name: r.take_str("name")?,
                    }),
                    r,
                )
            }
            b'T' => parse_truncate(named("Truncate", body), in_stream)?,
            b'M' => {
                let mut r = named("Message", body);
                let message = LogicalMessage {
                    xid: take_xid(&mut r, in_stream)?,
                    transactional: r.take_u8("flags")? & 1 != 0,
                    lsn: take_lsn(&mut r, "LSN")?,
                    prefix: r.take_str("prefix")?,
                    content: r.take_sized("content")?,
                };
                (Self::Message(message), r)
            }
            b'S' => {
                let mut r = named("Stream Start", body);
                let xid = r.take_u32("xid")?;
                let first = r.take_u8("first block")? != 0;
                (Self::StreamStart(StreamStart { xid, first }), r)
            }
            b'E' => (Self::StreamStop, named("Stream Stop", body)),
            b'c' => {
                let mut r = named("Stream Commit", body);
                let xid = r.take_u32("xid")?;
                r.take_u8("flags")?;
                let message = StreamCommit {
                    xid,
                    commit_lsn: take_lsn(&mut r, "commit LSN")?,
                    end_lsn: take_lsn(&mut r, "end LSN")?,
                    committed_at: r.take_i64("commit time")?,
                };
                (Self::StreamCommit(message), r)
            }
            b'A' => {
                let mut r = named("Stream Abort", body);
                let xid = r.take_u32("xid")?;
                let subxid = r.take_u32("subxid")?;
                let aborted = if r.rest().is_empty() {
                    None
                } else {
                    Some((take_lsn(&mut r, "abort LSN")?, r.take_i64("abort time")?))
                };
                (
                    Self::StreamAbort(StreamAbort {
                        xid,
                        subxid,
                        aborted,
                    }),
                    r,
                )
            }
            b'b' => {
                let mut r = named("Begin Prepare", body);
                (Self::BeginPrepare(Prepared::take(&mut r)?), r)
            }
            b'P' => {
                let mut r = named("Prepare", body);
                r.take_u8("flags")?;
                (Self::Prepare(Prepared::take(&mut r)?), r)
            }
            b'p' => {
                let mut r = named("Stream Prepare", body);
                r.take_u8("flags")?;
                (Self::StreamPrepare(Prepared::take(&mut r)?), r)
            }
            b'K' => {
                let mut r = named("Commit Prepared", body);
                r.take_u8("flags")?;
                let message = CommitPrepared {
                    commit_lsn: take_lsn(&mut r, "commit LSN")?,
                    end_lsn: take_lsn(&mut r, "end LSN")?,
                    committed_at: r.take_i64("commit time")?,
                    xid: r.take_u32("xid")?,
                    gid: r.take_str("gid")?,
                };
                (Self::CommitPrepared(message), r)
            }
            b'r' => {
                let mut r = named("Rollback Prepared", body);
                r.take_u8("flags")?;
                let message = RollbackPrepared {
                    prepare_end_lsn: take_lsn(&mut r, "prepare end LSN")?,
                    rollback_end_lsn: take_lsn(&mut r, "rollback end LSN")?,
                    prepared_at: r.take_i64("prepare time")?,
                    rolled_back_at: r.take_i64("rollback time")?,
                    xid: r.take_u32("xid")?,
                    gid: r.take_str("gid")?,
                };
                (Self::RollbackPrepared(message), r)
            }
            unknown => {
                let r = Reader::new("pgoutput message", body);
                return Err(r.fault("type", Fault::Unknown(unknown.into())));
            }
        };
        r.finish()?;
        Ok(message)
    }
}

/// A reader behind the type byte, whose errors carry the message's name.
#[inline]
fn named<'b>(message: &'static str, body: &'b [u8]) -> Reader<'b> {
    let mut reader = Reader::new(message, body);
    // The type byte was seen to be there.
    let _ = reader.take_u8("type");
    reader
}

#[inline]
fn take_xid(r: &mut Reader<'_>, in_stream: bool) -> Result<Option<u32>, Malformed> {
    if in_stream {
        r.take_u32("xid").map(Some)
    } else {
        Ok(None)
    }
}

#[inline]
fn take_lsn(r: &mut Reader<'_>, field: &'static str) -> Result<Lsn, Malformed> {
    r.take_u64(field).map(Lsn)
}

#[inline]
fn take_tag(r: &mut Reader<'_>, tag: u8) -> Result<(), Malformed> {
    let fault_at = r.clone();
    match r.take_u8("tuple tag")? {
        found if found == tag => Ok(()),
        found => Err(fault_at.fault("tuple tag", Fault::Unknown(found.into()))),
    }
}

#[inline]
fn parse_update(mut r: Reader<'_>, in_stream: bool) -> Result<Message<'_>, Malformed> {
    let xid = take_xid(&mut r, in_stream)?;
    let relation = r.take_u32("relation")?;
    let fault_at = r.clone();
    let old = match r.take_u8("tuple tag")? {
        b'N' => None,
        tag @ (b'K' | b'O') => {
            let tuple = Tuple::take(&mut r)?;
            take_tag(&mut r, b'N')?;
            Some(if tag == b'K' {
                Old::Key(tuple)
            } else {
                Old::Row(tuple)
            })
        }
        tag => return Err(fault_at.fault("tuple tag", Fault::Unknown(tag.into()))),
    };
    let new = Tuple::take(&mut r)?;
    r.finish()?;
    Ok(Message::Update(Update {
        xid,
        relation,
        old,
        new,
    }))
}

fn parse_relation(
    mut r: Reader<'_>,
    in_stream: bool,
) -> Result<(Message<'_>, Reader<'_>), Malformed> {
    let xid = take_xid(&mut r, in_stream)?;
    let oid = r.take_u32("relation")?;
    let schema = r.take_str("schema")?;
    let name = r.take_str("name")?;
    let replica_identity = ReplicaIdentity(r.take_u8("replica identity")?);
    let column_count = r.take_count("number of columns")?;
    let columns = r.rest();
    for _ in 0..column_count {
        RelationColumn::take(&mut r)?;
    }
    let relation = Relation {
        xid,
        oid,
        schema,
        name,
        replica_identity,
        columns,
        column_count,
    };
    // The caller checks that nothing follows, so `columns` is exactly the columns.
    Ok((Message::Relation(relation), r))
}

fn parse_truncate(
    mut r: Reader<'_>,
    in_stream: bool,
) -> Result<(Message<'_>, Reader<'_>), Malformed> {
    let xid = take_xid(&mut r, in_stream)?;
    let fault_at = r.clone();
    let count = r.take_i32("number of relations")?;
    let flags = r.take_u8("flags")?;
    let bytes = usize::try_from(count)
        .ok()
        .and_then(|count| count.checked_mul(4));
    let Some(bytes) = bytes else {
        return Err(fault_at.fault("number of relations", Fault::Length(count)));
    };
    let relations = r.take_bytes("relations", bytes)?;
    Ok((
        Message::Truncate(Truncate {
            xid,
            flags,
            relations,
        }),
        r,
    ))
}

impl<'b> Prepared<'b> {
    fn take(r: &mut Reader<'b>) -> Result<Self, Malformed> {
        Ok(Self {
            prepare_lsn: take_lsn(r, "prepare LSN")?,
            end_lsn: take_lsn(r, "end LSN")?,
            prepared_at: r.take_i64("prepare time")?,
            xid: r.take_u32("xid")?,
            gid: r.take_str("gid")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuple::{TupleCell, TupleSpan};
    use proptest::prelude::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pairs = digits
            .chunks(2)
            .map(|pair| std::str::from_utf8(pair).unwrap());
        pairs
            .map(|pair| u8::from_str_radix(pair, 16).unwrap())
            .collect()
    }

    /// One message in a line: what it is, and its fields.
    fn text(message: &Message<'_>) -> String {
        fn tuple(tuple: Tuple<'_>) -> String {
            let cells = tuple.cells().map(|cell| match cell {
                TupleCell::Null => "n".to_owned(),
                TupleCell::Unchanged => "u".to_owned(),
                TupleCell::Text(bytes) => format!("t:{}", String::from_utf8_lossy(bytes)),
                TupleCell::Binary(bytes) => {
                    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                    format!("b:{hex}")
                }
            });
            format!("({})", cells.collect::<Vec<_>>().join(" "))
        }
        let old = |old: &Old<'_>| match old {
            Old::Key(key) => format!("key{}", tuple(*key)),
            Old::Row(row) => format!("row{}", tuple(*row)),
        };
        let xid = |xid: Option<u32>| xid.map_or(String::new(), |xid| format!(" xid={xid}"));
        let prepared = |m: &Prepared<'_>| {
            let Prepared {
                prepare_lsn,
                end_lsn,
                prepared_at,
                xid,
                gid,
            } = m;
            format!("{prepare_lsn} {end_lsn} at={prepared_at:x} xid={xid} {gid}")
        };
        match message {
            Message::Begin(Begin {
                final_lsn,
                committed_at,
                xid,
            }) => {
                format!("begin {final_lsn} at={committed_at:x} xid={xid}")
            }
            Message::Commit(Commit {
                commit_lsn,
                end_lsn,
                committed_at,
            }) => {
                format!("commit {commit_lsn} {end_lsn} at={committed_at:x}")
            }
            Message::Origin(Origin { commit_lsn, name }) => format!("origin {commit_lsn} {name}"),
            Message::Relation(m) => {
                let columns = m.columns().map(|column| {
                    let RelationColumn {
                        flags,
                        name,
                        type_oid,
                        typmod,
                    } = column;
                    format!(" {flags}:{name}:{type_oid}:{typmod}")
                });
                let columns: String = columns.collect();
                let identity = char::from(m.replica_identity.0);
                let (oid, schema, name) = (m.oid, m.schema(), m.name);
                format!(
                    "relation{} {oid} {schema}.{name} {identity}{columns}",
                    xid(m.xid)
                )
            }
            Message::Type(m) => format!("type{} {} {}.{}", xid(m.xid), m.oid, m.schema(), m.name),
            Message::Insert(m) => format!("insert{} {} {}", xid(m.xid), m.relation, tuple(m.new)),
            Message::Update(m) => {
                let old = m.old.as_ref().map_or_else(|| "-".to_owned(), old);
                format!("update{} {} {old} {}", xid(m.xid), m.relation, tuple(m.new))
            }
            Message::Delete(m) => format!("delete{} {} {}", xid(m.xid), m.relation, old(&m.old)),
            Message::Truncate(m) => {
                let relations: Vec<_> = m.relations().collect();
                format!("truncate{} {} {relations:?}", xid(m.xid), m.flags)
            }
            Message::Message(m) => {
                let content = String::from_utf8_lossy(m.content);
                let (lsn, prefix) = (m.lsn, m.prefix);
                format!(
                    "message{} {} {lsn} {prefix} {content}",
                    xid(m.xid),
                    m.transactional
                )
            }
            Message::StreamStart(StreamStart { xid, first }) => format!("start xid={xid} {first}"),
            Message::StreamStop => "stop".to_owned(),
            Message::StreamCommit(StreamCommit {
                xid,
                commit_lsn,
                end_lsn,
                committed_at,
            }) => {
                format!("stream commit xid={xid} {commit_lsn} {end_lsn} at={committed_at:x}")
            }
            Message::StreamAbort(StreamAbort {
                xid,
                subxid,
                aborted,
            }) => {
                let aborted = aborted.map(|(lsn, at)| format!(" {lsn} at={at:x}"));
                format!(
                    "abort xid={xid} subxid={subxid}{}",
                    aborted.unwrap_or_default()
                )
            }
            Message::BeginPrepare(m) => format!("begin prepare {}", prepared(m)),
            Message::Prepare(m) => format!("prepare {}", prepared(m)),
            Message::StreamPrepare(m) => format!("stream prepare {}", prepared(m)),
            Message::CommitPrepared(m) => {
                let CommitPrepared {
                    commit_lsn,
                    end_lsn,
                    committed_at,
                    xid,
                    gid,
                } = m;
                format!(
                    "commit prepared {commit_lsn} {end_lsn} at={committed_at:x} xid={xid} {gid}"
                )
            }
            Message::RollbackPrepared(m) => {
                let RollbackPrepared {
                    prepare_end_lsn,
                    rollback_end_lsn,
                    ..
                } = m;
                let RollbackPrepared {
                    prepared_at,
                    rolled_back_at,
                    xid,
                    gid,
                    ..
                } = m;
                format!(
                    "rollback prepared {prepare_end_lsn} {rollback_end_lsn} at={prepared_at:x} \
                     {rolled_back_at:x} xid={xid} {gid}"
                )
            }
        }
    }

    /// Captured from PostgreSQL 15 and 16; the second column: inside a streamed block.
    const CAPTURED: &[(&str, bool, &str)] = &[
        (
            "42 0000000008095d78 000303dcd6ce74d7 000003e6",
            false,
            "begin 0/8095D78 at=303dcd6ce74d7 xid=998",
        ),
        (
            "59 00004143 00 7661726368617200",
            false,
            "type 16707 pg_catalog.varchar",
        ),
        (
            "52 00004144 7075626c696300 687800 64 0004
             01 696400 00000017 ffffffff 00 6400 00004143 ffffffff
             00 6200 00000011 ffffffff 00 6e00 000006a4 00060006",
            false,
            "relation 16708 public.hx d 1:id:23:-1 0:d:16707:-1 0:b:17:-1 0:n:1700:393222",
        ),
        (
            r"49 00004144 4e 0004 74 00000001 31 74 00000002 6162
              74 00000006 5c7830313032 74 00000004 312e3530",
            false,
            r"insert 16708 (t:1 t:ab t:\x0102 t:1.50)",
        ),
        (
            "49 00004144 4e 0004 62 00000004 00000001 62 00000002 6162
             62 00000002 0102 62 0000000c 000200000000000200011388",
            false,
            "insert 16708 (b:00000001 b:6162 b:0102 b:000200000000000200011388)",
        ),
        (
            "43 00 0000000008095d78 0000000008095da8 000303dcd6ce74d7",
            false,
            "commit 0/8095D78 0/8095DA8 at=303dcd6ce74d7",
        ),
        ("53 000003e7 01", false, "start xid=999 true"),
        (
            "59 000003e7 00004143 00 7661726368617200",
            true,
            "type xid=999 16707 pg_catalog.varchar",
        ),
        (
            "49 000003e7 00004144 4e 0001 74 00000001 31",
            true,
            "insert xid=999 16708 (t:1)",
        ),
        (
            "55 00004017 4e 0003 74 00000001 31 75 6e",
            false,
            "update 16407 - (t:1 u n)",
        ),
        (
            "55 00004017 4b 0003 74 00000001 31 6e 6e 4e 0003 74 00000001 32 6e 6e",
            false,
            "update 16407 key(t:1 n n) (t:2 n n)",
        ),
        (
            "55 00004020 4f 0002 74 00000001 31 6e 4e 0002 74 00000001 31 6e",
            false,
            "update 16416 row(t:1 n) (t:1 n)",
        ),
        (
            "44 00004017 4b 0003 74 00000001 32 6e 6e",
            false,
            "delete 16407 key(t:2 n n)",
        ),
        (
            "54 00000002 03 00004017 00004020",
            false,
            "truncate 3 [16407, 16416]",
        ),
        (
            "4d 00 0000000001da4f60 70667800 00000005 6e6f6e7478",
            false,
            "message false 0/1DA4F60 pfx nontx",
        ),
        (
            "4d 01 0000000001da4f98 70667800 00000002 7478",
            false,
            "message true 0/1DA4F98 pfx tx",
        ),
        (
            "4f 0000000000abcdef 6e6f64655f6100",
            false,
            "origin 0/ABCDEF node_a",
        ),
        ("45", true, "stop"),
        (
            "63 000003a2 00 00000000026fa350 00000000026fa388 000303dc60aca171",
            false,
            "stream commit xid=930 0/26FA350 0/26FA388 at=303dc60aca171",
        ),
        ("41 000003a2 000003a3", false, "abort xid=930 subxid=931"),
        (
            "41 000003b2 000003b3 00000000027bc840 000303dc60e87d61",
            false,
            "abort xid=946 subxid=947 0/27BC840 at=303dc60e87d61",
        ),
        (
            "62 000000000285e870 000000000285e968 000303dc61215ed7 000003c3 6769643100",
            false,
            "begin prepare 0/285E870 0/285E968 at=303dc61215ed7 xid=963 gid1",
        ),
        (
            "50 00 000000000285e870 000000000285e968 000303dc61215ed7 000003c3 6769643100",
            false,
            "prepare 0/285E870 0/285E968 at=303dc61215ed7 xid=963 gid1",
        ),
        (
            "4b 00 000000000285e968 000000000285e9a0 000303dc61215f2f 000003c3 6769643100",
            false,
            "commit prepared 0/285E968 0/285E9A0 at=303dc61215f2f xid=963 gid1",
        ),
        (
            "72 00 000000000285ead8 000000000285eb10 000303dc61215f72 000303dc61215f92
             000003c4 6769643200",
            false,
            "rollback prepared 0/285EAD8 0/285EB10 at=303dc61215f72 303dc61215f92 xid=964 gid2",
        ),
        (
            "70 00 0000000002879440 0000000002879538 000303dc61371ae0 000003cd 6769643100",
            false,
            "stream prepare 0/2879440 0/2879538 at=303dc61371ae0 xid=973 gid1",
        ),
    ];

    #[test]
    fn as_captured() {
        for &(bytes, in_stream, expected) in CAPTURED {
            let bytes = hex(bytes);
            let message = Message::parse(&bytes, in_stream).unwrap();
            assert_eq!(text(&message), expected);
        }
    }

    /// No message is a prefix of itself, but an abort of the longer form.
    #[test]
    fn no_cut_is_a_message() {
        for &(bytes, in_stream, expected) in CAPTURED {
            let mut bytes = hex(bytes);
            for cut in 0..bytes.len() {
                let result = Message::parse(&bytes[..cut], in_stream);
                let short_abort = bytes[0] == b'A' && cut == 9;
                assert!(result.is_err() || short_abort, "{expected}, cut at {cut}");
            }
            bytes.push(0);
            assert!(
                Message::parse(&bytes, in_stream).is_err(),
                "{expected}, and one byte"
            );
        }
    }

    #[test]
    fn counts_are_not_believed() {
        let fault = |bytes: &str| {
            Message::parse(&hex(bytes), false)
                .map(|_| ())
                .unwrap_err()
                .fault
        };
        assert_eq!(fault("49 00004144 4e ffff"), Fault::Length(-1));
        assert_eq!(fault("49 00004144 4e 0001 74 ffffffff"), Fault::Length(-1));
        assert_eq!(
            fault("49 00004144 4e 7fff 74 7fffffff 00"),
            Fault::Truncated
        );
        assert_eq!(fault("49 00004144 4e 0001 78"), Fault::Unknown(b'x'.into()));
        assert_eq!(fault("49 00004144 4b 0000"), Fault::Unknown(b'K'.into()));
        assert_eq!(fault("54 ffffffff 00"), Fault::Length(-1));
        assert_eq!(fault("54 7fffffff 00"), Fault::Truncated);
        assert_eq!(fault("7a"), Fault::Unknown(b'z'.into()));
        assert_eq!(fault("59 00004143 ff00 6100"), Fault::NotUtf8);
        assert_eq!(fault(""), Fault::Truncated);
    }

    #[test]
    fn spans_are_where_the_cells_are() {
        let bytes = hex("49 00004144 4e 0004 74 00000001 31 6e 75 62 00000002 0102");
        let Ok(Message::Insert(insert)) = Message::parse(&bytes, false) else {
            panic!("an insert");
        };
        let spans: Vec<_> = insert.new.spans().collect();
        let expected = [
            TupleSpan::Text { start: 5, end: 6 },
            TupleSpan::Null,
            TupleSpan::Unchanged,
            TupleSpan::Binary { start: 13, end: 15 },
        ];
        assert_eq!(spans, expected);
        let offset = insert.new.offset() as usize;
        assert_eq!(
            &bytes[offset..offset + insert.new.bytes().len()],
            insert.new.bytes()
        );
        assert_eq!(&bytes[offset + 5..offset + 6], b"1");
    }

    fn put_tuple(out: &mut Vec<u8>, cells: &[(u8, Vec<u8>)]) {
        out.extend_from_slice(&i16::try_from(cells.len()).unwrap().to_be_bytes());
        for (kind, bytes) in cells {
            out.push(*kind);
            if matches!(kind, b't' | b'b') {
                out.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_be_bytes());
                out.extend_from_slice(bytes);
            }
        }
    }

    fn cells() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
        let kind = prop_oneof![Just(b'n'), Just(b'u'), Just(b't'), Just(b'b')];
        proptest::collection::vec((kind, any::<Vec<u8>>()), 0..8)
    }

    proptest! {
        #[test]
        fn written_then_parsed_is_identity(
            relation: u32,
            xid: Option<u32>,
            old in proptest::option::of((prop_oneof![Just(b'K'), Just(b'O')], cells())),
            new in cells(),
        ) {
            let mut bytes = vec![b'U'];
            bytes.extend(xid.iter().flat_map(|xid| xid.to_be_bytes()));
            bytes.extend_from_slice(&relation.to_be_bytes());
            if let Some((tag, old)) = &old {
                bytes.push(*tag);
                put_tuple(&mut bytes, old);
            }
            bytes.push(b'N');
            put_tuple(&mut bytes, &new);
            let Ok(Message::Update(update)) = Message::parse(&bytes, xid.is_some()) else {
                panic!("an update");
            };
            prop_assert_eq!((update.xid, update.relation), (xid, relation));
            let same = |tuple: Tuple<'_>, cells: &[(u8, Vec<u8>)]| {
                let expected = cells.iter().map(|(kind, bytes)| match kind {
                    b'n' => TupleCell::Null,
                    b'u' => TupleCell::Unchanged,
                    b't' => TupleCell::Text(bytes),
                    _ => TupleCell::Binary(bytes),
                });
                tuple.len() == cells.len() && tuple.cells().eq(expected)
            };
            prop_assert!(same(update.new, &new));
            match (update.old, &old) {
                (None, None) => {}
                (Some(Old::Key(tuple)), Some((b'K', cells)))
                | (Some(Old::Row(tuple)), Some((b'O', cells))) => prop_assert!(same(tuple, cells)),
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
