//! What surrounds a row, the records that are not rows, and names.

use crate::config::Operation;

/// What Debezium's `source.version` says; records are compared with this release.
pub const VERSION: &str = "3.6.3.Final";

/// `source.snapshot`: where in a snapshot a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SnapshotMark {
    /// Not of a snapshot.
    False,
    /// Neither first nor last.
    True,
    /// The snapshot's first record.
    First,
    /// A later table's first record.
    FirstInDataCollection,
    /// A table's last record, more tables following.
    LastInDataCollection,
    /// The snapshot's last record.
    Last,
    /// Of an incremental snapshot.
    Incremental,
}

/// The `source` block of one record: where its change comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceBlock<'b> {
    /// Commit time (the snapshot's time), in microseconds since 1970.
    pub ts_us: i64,
    /// Where in a snapshot.
    pub snapshot: SnapshotMark,
    /// The LSN received with the last processed commit.
    pub last_commit_lsn: Option<u64>,
    /// The change's own LSN.
    pub lsn: Option<u64>,
    /// The transaction's xid.
    pub tx_id: Option<i64>,
    /// The slot's xmin, where it is asked for.
    pub xmin: Option<i64>,
    /// The replication origin's name.
    pub origin: Option<&'b str>,
    /// The commit's LSN at the origin.
    pub origin_lsn: Option<u64>,
    /// The `transaction` block, with `provide.transaction.metadata`.
    pub transaction: Option<TransactionBlock>,
}

/// The `transaction` block of one record. Its id is printed `xid:lsn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionBlock {
    /// The transaction.
    pub xid: u32,
    /// The change's own LSN.
    pub lsn: u64,
    /// The change's number in the transaction, from 1.
    pub total_order: i64,
    /// The change's number among those of its table in the transaction, from 1.
    pub collection_order: i64,
}

impl Operation {
    /// The letter in `op`.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Read => 'r',
            Self::Create => 'c',
            Self::Update => 'u',
            Self::Delete => 'd',
            Self::Truncate => 't',
            Self::Message => 'm',
        }
    }
}
