//! Mistakes on purpose: a simulation switches one on, and must notice it.
//!
//! They exist where debug assertions do. In a release [`is`] is `false` before anything is
//! compiled, so that no binary that is shipped has any of them; none can be switched on from
//! outside of the process.

#[cfg(debug_assertions)]
thread_local! {
    static CHOSEN: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// One mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// A position is confirmed when its transaction is committed, not when that is acknowledged.
    ConfirmEarly,
    /// What the server has sent is confirmed.
    ConfirmReceived,
    /// A position inside a transaction does not say how many events of its LSN were sent.
    ForgetIndex,
    /// The event behind the stored position is taken for sent.
    ResumeLate,
    /// A position inside a transaction is one between transactions.
    ForgetInside,
    /// The stream goes on from an event, not from the boundary before its transaction.
    ResumeAtEvent,
    /// The records of a transaction are committed without the position behind them.
    CommitWithoutOffset,
    /// The newest position is stored, whatever of its records is acknowledged.
    PositionBeforeRecords,
    /// The position is read as it stands in the log, committed or not.
    ReadUncommitted,
    /// The reader shows aborted transactions.
    IgnoreAbort,
    /// The position is read before the predecessor is fenced.
    ReadBeforeFence,
    /// The predecessor's identity is taken over, and not ended.
    SkipFence,
    /// The next batch has the sequence of this one.
    ReuseSequence,
    /// A batch is acknowledged when it is sent.
    AckOnSend,
    /// A batch whose connection is cut is acknowledged.
    DropAtCut,
    /// Without exactly-once a snapshot is stored as complete beside its last rows.
    CompleteBesideRows,
    /// A snapshot is stored as complete when it begins.
    SnapshotCompleteEarly,
    /// What is stored while catching up does not say that a snapshot is owed.
    ForgetOwedSnapshot,
    /// A snapshot that begins again does not catch up first.
    SkipCatchUp,
    /// While catching up, changes of tables that were begun are left to the copy, too.
    LeaveOutBegun,
    /// Without exactly-once, changes of tables that are not known to have begun are left to the
    /// copy.
    LeaveOutUncertain,
    /// A copy that goes on begins from the first tid.
    CopyForgetsRanges,
    /// The row that is set aside counts as sent.
    CopyForgetsHeld,
    /// The row in front of one that is left out counts as the last of its range.
    CopyForgetsLeftOut,
    /// A copy that goes on reads versions that the stream has told of.
    CopyForgetsView,
    /// A table's file is another, and what its old tids were still counts.
    CopyForgetsFile,
    /// What a change did not tell of a row is not copied.
    CopyForgetsLacks,
    /// It is looked for only where nothing was sent.
    CopyForgetsMoved,
    /// An EndTxn that was sent twice leaves the epoch as it is.
    TrustLateEnd,
    /// Where the server's WAL has nothing for us is confirmed before it is stored.
    ConfirmKeepalive,
    /// Nothing is confirmed.
    ConfirmNever,
    /// A failure of PostgreSQL's that passes ends the pipe.
    GiveUp,
    /// A record's partition does not depend on its key.
    AnyPartition,
    /// A deletion has no tombstone.
    NoTombstone,
    /// Values have the id of the key's schema.
    SwapSchemas,
    /// Reading goes on though there is no room for records.
    IgnoreRoom,
    /// A record is written before it is known to fit.
    WriteUnmeasured,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 37] = [
        Self::ConfirmEarly,
        Self::ConfirmReceived,
        Self::ForgetIndex,
        Self::ResumeLate,
        Self::ForgetInside,
        Self::ResumeAtEvent,
        Self::CommitWithoutOffset,
        Self::PositionBeforeRecords,
        Self::ReadUncommitted,
        Self::IgnoreAbort,
        Self::ReadBeforeFence,
        Self::SkipFence,
        Self::ReuseSequence,
        Self::AckOnSend,
        Self::DropAtCut,
        Self::CompleteBesideRows,
        Self::SnapshotCompleteEarly,
        Self::ForgetOwedSnapshot,
        Self::SkipCatchUp,
        Self::LeaveOutBegun,
        Self::LeaveOutUncertain,
        Self::CopyForgetsRanges,
        Self::CopyForgetsHeld,
        Self::CopyForgetsLeftOut,
        Self::CopyForgetsView,
        Self::CopyForgetsFile,
        Self::CopyForgetsLacks,
        Self::CopyForgetsMoved,
        Self::TrustLateEnd,
        Self::ConfirmKeepalive,
        Self::ConfirmNever,
        Self::GiveUp,
        Self::AnyPartition,
        Self::NoTombstone,
        Self::SwapSchemas,
        Self::IgnoreRoom,
        Self::WriteUnmeasured,
    ];
}

/// Makes this thread's pipes make the mistake from now on; none: no mistake.
#[cfg(debug_assertions)]
pub fn choose(mutant: Option<Mutant>) {
    CHOSEN.set(mutant);
}

/// Whether to make the mistake.
#[inline(always)]
pub(crate) fn is(mutant: Mutant) -> bool {
    #[cfg(debug_assertions)]
    return CHOSEN.get() == Some(mutant);
    #[cfg(not(debug_assertions))]
    {
        let _ = mutant;
        false
    }
}
