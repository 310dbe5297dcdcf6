//! AddOffsetsToTxn (25): a group's offsets join a transaction.

use crate::error_code::ErrorCode;

messages! {
    /// To the transaction's coordinator.
    request AddOffsetsToTxnRequest: ADD_OFFSETS_TO_TXN 0..=4 flexible 3 {
        transactional_id: String [0..],
        producer_id: i64 [0..],
        producer_epoch: i16 [0..],
        group_id: String [0..],
    }

    /// Whether the group was added.
    response AddOffsetsToTxnResponse: ADD_OFFSETS_TO_TXN 0..=4 flexible 3 {
        throttle_time_ms: i32 [0..],
        error_code: ErrorCode [0..],
    }
}
