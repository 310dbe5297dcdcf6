//! Heartbeat (12): a member lives.

use crate::error_code::ErrorCode;

messages! {
    /// At most a third of the session timeout apart.
    request HeartbeatRequest: HEARTBEAT 0..=4 flexible 4 {
        group_id: String [0..],
        generation_id: i32 [0..],
        member_id: String [0..],
        group_instance_id: Option<String> [3..],
    }

    /// Error 27 asks to join again.
    response HeartbeatResponse: HEARTBEAT 0..=4 flexible 4 {
        throttle_time_ms: i32 [1..],
        error_code: ErrorCode [0..],
    }
}
