//! CreatePartitions (37): a topic grows.

use crate::error_code::ErrorCode;

messages! {
    /// `count` is the new total.
    request CreatePartitionsRequest: CREATE_PARTITIONS 0..=3 flexible 2 {
        topics: Vec<CreatePartitionsTopic> [0..],
        timeout_ms: i32 [0..],
        validate_only: bool [0..],
    }

    /// One topic and how many partitions it shall have.
    part CreatePartitionsTopic {
        name: String [0..],
        count: i32 [0..],
        assignments: Option<Vec<CreatePartitionsAssignment>> [0..],
    }

    /// Where one new partition goes.
    part CreatePartitionsAssignment {
        broker_ids: Vec<i32> [0..],
    }

    /// One result per topic.
    response CreatePartitionsResponse: CREATE_PARTITIONS 0..=3 flexible 2 {
        throttle_time_ms: i32 [0..],
        results: Vec<CreatePartitionsTopicResult> [0..],
    }

    /// The result of one topic.
    part CreatePartitionsTopicResult {
        name: String [0..],
        error_code: ErrorCode [0..],
        error_message: Option<String> [0..],
    }
}
