//! CreateTopics (19): for the controller; a KRaft broker forwards it.

use super::Uuid;
use crate::error_code::ErrorCode;

messages! {
    /// Counts of -1 are the broker's defaults, from version 4 on.
    request CreateTopicsRequest: CREATE_TOPICS 2..=7 flexible 5 {
        topics: Vec<CreatableTopic> [0..],
        timeout_ms: i32 [0..] = 60000,
        validate_only: bool [1..],
    }

    /// A topic to be.
    part CreatableTopic {
        name: String [0..],
        num_partitions: i32 [0..],
        replication_factor: i16 [0..],
        assignments: Vec<CreatableReplicaAssignment> [0..],
        configs: Vec<CreatableTopicConfig> [0..],
    }

    /// Where one partition goes, when the caller decides.
    part CreatableReplicaAssignment {
        partition_index: i32 [0..],
        broker_ids: Vec<i32> [0..],
    }

    /// A configuration of the new topic.
    part CreatableTopicConfig {
        name: String [0..],
        value: Option<String> [0..],
    }

    /// One result per topic.
    response CreateTopicsResponse: CREATE_TOPICS 2..=7 flexible 5 {
        throttle_time_ms: i32 [2..],
        topics: Vec<CreatableTopicResult> [0..],
    }

    /// What became of one topic; the counts are -1 when they may not be told.
    part CreatableTopicResult {
        name: String [0..],
        topic_id: Uuid [7..],
        error_code: ErrorCode [0..],
        error_message: Option<String> [1..],
        topic_config_error_code: ErrorCode [5..] tag 0,
        num_partitions: i32 [5..] = -1,
        replication_factor: i16 [5..] = -1,
        configs: Option<Vec<CreatableTopicConfigs>> [5..],
    }

    /// A configuration that the topic now has.
    part CreatableTopicConfigs {
        name: String [5..],
        value: Option<String> [5..],
        read_only: bool [5..],
        config_source: i8 [5..] = -1,
        is_sensitive: bool [5..],
    }
}
