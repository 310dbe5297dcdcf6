//! ListGroups (16): the groups that a broker coordinates.

use crate::error_code::ErrorCode;

messages! {
    /// States and types filter, from versions 4 and 5 on.
    request ListGroupsRequest: LIST_GROUPS 0..=5 flexible 3 {
        states_filter: Vec<String> [4..],
        types_filter: Vec<String> [5..],
    }

    /// The groups of this broker only.
    response ListGroupsResponse: LIST_GROUPS 0..=5 flexible 3 {
        throttle_time_ms: i32 [1..],
        error_code: ErrorCode [0..],
        groups: Vec<ListedGroup> [0..],
    }

    /// One group.
    part ListedGroup {
        group_id: String [0..],
        protocol_type: String [0..],
        group_state: String [4..],
        group_type: String [5..],
    }
}
