//! DeleteGroups (42): forget empty groups.

use crate::error_code::ErrorCode;

messages! {
    /// For the groups' coordinator.
    request DeleteGroupsRequest: DELETE_GROUPS 0..=3 flexible 2 {
        groups_names: Vec<String> [0..],
    }

    /// One result per group.
    response DeleteGroupsResponse: DELETE_GROUPS 0..=3 flexible 2 {
        throttle_time_ms: i32 [0..],
        results: Vec<DeletableGroupResult> [0..],
    }

    /// The result of one group.
    part DeletableGroupResult {
        group_id: String [0..],
        error_code: ErrorCode [0..],
        error_message: Option<String> [3..],
    }
}
