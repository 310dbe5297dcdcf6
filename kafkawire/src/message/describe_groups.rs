//! DescribeGroups (15): state and members of groups.

use crate::error_code::ErrorCode;

messages! {
    /// For the groups' coordinator.
    request DescribeGroupsRequest: DESCRIBE_GROUPS 0..=6 flexible 5 {
        groups: Vec<String> [0..],
        include_authorized_operations: bool [3..],
    }

    /// One result per group.
    response DescribeGroupsResponse: DESCRIBE_GROUPS 0..=6 flexible 5 {
        throttle_time_ms: i32 [1..],
        groups: Vec<DescribedGroup> [0..],
    }

    /// One group.
    part DescribedGroup {
        error_code: ErrorCode [0..],
        error_message: Option<String> [6..],
        group_id: String [0..],
        group_state: String [0..],
        protocol_type: String [0..],
        protocol_data: String [0..],
        members: Vec<DescribedGroupMember> [0..],
        authorized_operations: i32 [3..] = i32::MIN,
    }

    /// One member.
    part DescribedGroupMember {
        member_id: String [0..],
        group_instance_id: Option<String> [4..],
        client_id: String [0..],
        client_host: String [0..],
        member_metadata: Vec<u8> [0..],
        member_assignment: Vec<u8> [0..],
    }
}
