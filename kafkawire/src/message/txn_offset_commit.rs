//! TxnOffsetCommit (28): a group's offsets, committed with a transaction.

use super::Uuid;
use crate::error_code::ErrorCode;

messages! {
    /// To the group's coordinator.
    request TxnOffsetCommitRequest: TXN_OFFSET_COMMIT 0..=6 flexible 3 {
        transactional_id: String [0..],
        group_id: String [0..],
        producer_id: i64 [0..],
        producer_epoch: i16 [0..],
        generation_id_or_member_epoch: i32 [3..] = -1,
        member_id: String [3..],
        group_instance_id: Option<String> [3..],
        topics: Vec<TxnOffsetCommitRequestTopic> [0..],
    }

    /// The partitions of one topic.
    part TxnOffsetCommitRequestTopic {
        name: String [0..=5],
        topic_id: Uuid [6..],
        partitions: Vec<TxnOffsetCommitRequestPartition> [0..],
    }

    /// The offset of one partition.
    part TxnOffsetCommitRequestPartition {
        partition_index: i32 [0..],
        committed_offset: i64 [0..],
        committed_leader_epoch: i32 [2..] = -1,
        committed_metadata: Option<String> [0..],
    }

    /// One result per partition.
    response TxnOffsetCommitResponse: TXN_OFFSET_COMMIT 0..=6 flexible 3 {
        throttle_time_ms: i32 [0..],
        topics: Vec<TxnOffsetCommitResponseTopic> [0..],
    }

    /// The partitions of one topic.
    part TxnOffsetCommitResponseTopic {
        name: String [0..=5],
        topic_id: Uuid [6..],
        partitions: Vec<TxnOffsetCommitResponsePartition> [0..],
    }

    /// The result of one partition.
    part TxnOffsetCommitResponsePartition {
        partition_index: i32 [0..],
        error_code: ErrorCode [0..],
    }
}
