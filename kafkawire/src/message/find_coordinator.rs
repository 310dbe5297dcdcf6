//! FindCoordinator (10): which broker keeps a group or a transactional id.

use crate::error_code::ErrorCode;

messages! {
    /// `key_type` 0 is a group, 1 a transactional id; from version 4 on several keys at once.
    request FindCoordinatorRequest: FIND_COORDINATOR 0..=6 flexible 3 {
        key: String [0..=3],
        key_type: i8 [1..],
        coordinator_keys: Vec<String> [4..],
    }

    /// One coordinator in the flat fields, or from version 4 on a list.
    response FindCoordinatorResponse: FIND_COORDINATOR 0..=6 flexible 3 {
        throttle_time_ms: i32 [1..],
        error_code: ErrorCode [0..=3],
        error_message: Option<String> [1..=3],
        node_id: i32 [0..=3],
        host: String [0..=3],
        port: i32 [0..=3],
        coordinators: Vec<Coordinator> [4..],
    }

    /// One key and the broker that keeps it.
    part Coordinator {
        key: String [4..],
        node_id: i32 [4..],
        host: String [4..],
        port: i32 [4..],
        error_code: ErrorCode [4..],
        error_message: Option<String> [4..],
    }
}
