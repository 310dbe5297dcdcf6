//! ListOffsets (2): offsets by time, the first and the end among them.

use crate::error_code::ErrorCode;

messages! {
    /// For the leader. Timestamp -1 asks for the end (the last stable offset when `isolation_level`
    /// is 1), -2 for the start.
    request ListOffsetsRequest: LIST_OFFSETS 1..=11 flexible 6 {
        replica_id: i32 [0..],
        isolation_level: i8 [2..],
        topics: Vec<ListOffsetsTopic> [0..],
        timeout_ms: i32 [10..],
    }

    /// The partitions of one topic.
    part ListOffsetsTopic {
        name: String [0..],
        partitions: Vec<ListOffsetsPartition> [0..],
    }

    /// What to look for in one partition.
    part ListOffsetsPartition {
        partition_index: i32 [0..],
        current_leader_epoch: i32 [4..] = -1,
        timestamp: i64 [0..],
    }

    /// An offset per partition; -1 when nothing is that young.
    response ListOffsetsResponse: LIST_OFFSETS 1..=11 flexible 6 {
        throttle_time_ms: i32 [2..],
        topics: Vec<ListOffsetsTopicResponse> [0..],
    }

    /// The partitions of one topic.
    part ListOffsetsTopicResponse {
        name: String [0..],
        partitions: Vec<ListOffsetsPartitionResponse> [0..],
    }

    /// What was found in one partition.
    part ListOffsetsPartitionResponse {
        partition_index: i32 [0..],
        error_code: ErrorCode [0..],
        timestamp: i64 [1..] = -1,
        offset: i64 [1..] = -1,
        leader_epoch: i32 [4..] = -1,
    }
}
