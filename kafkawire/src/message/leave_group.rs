//! LeaveGroup (13): members go.

use crate::error_code::ErrorCode;

messages! {
    /// One member, from version 3 on several.
    request LeaveGroupRequest: LEAVE_GROUP 0..=5 flexible 4 {
        group_id: String [0..],
        member_id: String [0..=2],
        members: Vec<MemberIdentity> [3..],
    }

    /// A member that goes.
    part MemberIdentity {
        member_id: String [3..],
        group_instance_id: Option<String> [3..],
        reason: Option<String> [5..],
    }

    /// From version 3 on one result per member.
    response LeaveGroupResponse: LEAVE_GROUP 0..=5 flexible 4 {
        throttle_time_ms: i32 [1..],
        error_code: ErrorCode [0..],
        members: Vec<MemberResponse> [3..],
    }

    /// The result of one member.
    part MemberResponse {
        member_id: String [3..],
        group_instance_id: Option<String> [3..],
        error_code: ErrorCode [3..],
    }
}
