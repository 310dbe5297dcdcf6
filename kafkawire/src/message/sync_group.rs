//! SyncGroup (14): the leader deals, every member learns its part.

use crate::error_code::ErrorCode;

messages! {
    /// Only the leader's carries assignments.
    request SyncGroupRequest: SYNC_GROUP 0..=5 flexible 4 {
        group_id: String [0..],
        generation_id: i32 [0..],
        member_id: String [0..],
        group_instance_id: Option<String> [3..],
        protocol_type: Option<String> [5..],
        protocol_name: Option<String> [5..],
        assignments: Vec<SyncGroupRequestAssignment> [0..],
    }

    /// What one member gets.
    part SyncGroupRequestAssignment {
        member_id: String [0..],
        assignment: Vec<u8> [0..],
    }

    /// What this member was assigned.
    response SyncGroupResponse: SYNC_GROUP 0..=5 flexible 4 {
        throttle_time_ms: i32 [1..],
        error_code: ErrorCode [0..],
        protocol_type: Option<String> [5..],
        protocol_name: Option<String> [5..],
        assignment: Vec<u8> [0..],
    }
}
