//! OffsetForLeaderEpoch (23): where a leader's reign ended in the log.

use crate::error_code::ErrorCode;

messages! {
    /// Consumers say replica id -1.
    request OffsetForLeaderEpochRequest: OFFSET_FOR_LEADER_EPOCH 2..=4 flexible 4 {
        replica_id: i32 [3..] = -2,
        topics: Vec<OffsetForLeaderTopic> [0..],
    }

    /// The partitions of one topic.
    part OffsetForLeaderTopic {
        topic: String [0..],
        partitions: Vec<OffsetForLeaderPartition> [0..],
    }

    /// The epoch that is asked for.
    part OffsetForLeaderPartition {
        partition: i32 [0..],
        current_leader_epoch: i32 [2..] = -1,
        leader_epoch: i32 [0..],
    }

    /// One result per partition.
    response OffsetForLeaderEpochResponse: OFFSET_FOR_LEADER_EPOCH 2..=4 flexible 4 {
        throttle_time_ms: i32 [2..],
        topics: Vec<OffsetForLeaderTopicResult> [0..],
    }

    /// The partitions of one topic.
    part OffsetForLeaderTopicResult {
        topic: String [0..],
        partitions: Vec<EpochEndOffset> [0..],
    }

    /// Where the epoch ended.
    part EpochEndOffset {
        error_code: ErrorCode [0..],
        partition: i32 [0..],
        leader_epoch: i32 [1..] = -1,
        end_offset: i64 [0..] = -1,
    }
}
