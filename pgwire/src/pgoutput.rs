//! What the plugin `pgoutput` says, protocol versions 1 to 4: Begin to Commit, Relation, rows,
//! Truncate, Message, streamed and two-phase transactions.
//!
//! One message is the body of one XLogData. Inside a streamed block (between StreamStart and
//! StreamStop) Relation, Type, rows, Truncate and Message carry one more field, the xid of the
//! subtransaction; the caller knows where it is and says so.
//!
//! Source: PostgreSQL documentation, "Logical Replication Message Formats".

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
