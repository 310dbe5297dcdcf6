//! DeleteTopics (20): for the controller.

use super::Uuid;
use crate::error_code::ErrorCode;

messages! {
    /// By name, from version 6 on by name or id.
    request DeleteTopicsRequest: DELETE_TOPICS 1..=6 flexible 4 {
        topics: Vec<DeleteTopicState> [6..],
        topic_names: Vec<String> [0..=5],
        timeout_ms: i32 [0..],
    }

    /// A topic by its name or by its id.
    part DeleteTopicState {
        name: Option<String> [6..],
        topic_id: Uuid [6..],
    }

    /// One result per topic.
    response DeleteTopicsResponse: DELETE_TOPICS 1..=6 flexible 4 {
        throttle_time_ms: i32 [1..],
        responses: Vec<DeletableTopicResult> [0..],
    }

    /// The result of one topic.
    part DeletableTopicResult {
        name: Option<String> [0..] null [6..],
        topic_id: Uuid [6..],
        error_code: ErrorCode [0..],
        error_message: Option<String> [5..],
    }
}
