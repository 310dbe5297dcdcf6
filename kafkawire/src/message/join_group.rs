//! JoinGroup (11): a member enters the next generation of a group.

use crate::error_code::ErrorCode;

messages! {
    /// From version 4 on a first join without member id is answered by error 79 and the id to use.
    request JoinGroupRequest: JOIN_GROUP 0..=9 flexible 6 {
        group_id: String [0..],
        session_timeout_ms: i32 [0..],
        rebalance_timeout_ms: i32 [1..] = -1,
        member_id: String [0..],
        group_instance_id: Option<String> [5..],
        protocol_type: String [0..],
        protocols: Vec<JoinGroupRequestProtocol> [0..],
        reason: Option<String> [8..],
    }

    /// A protocol that the member speaks.
    part JoinGroupRequestProtocol {
        name: String [0..],
        metadata: Vec<u8> [0..],
    }

    /// Only the leader is told the members.
    response JoinGroupResponse: JOIN_GROUP 0..=9 flexible 6 {
        throttle_time_ms: i32 [2..],
        error_code: ErrorCode [0..],
        generation_id: i32 [0..] = -1,
        protocol_type: Option<String> [7..],
        protocol_name: Option<String> [0..] null [7..],
        leader: String [0..],
        skip_assignment: bool [9..],
        member_id: String [0..],
        members: Vec<JoinGroupResponseMember> [0..],
    }

    /// A member, as the leader sees it.
    part JoinGroupResponseMember {
        member_id: String [0..],
        group_instance_id: Option<String> [5..],
        metadata: Vec<u8> [0..],
    }
}
