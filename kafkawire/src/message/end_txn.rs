//! EndTxn (26): commit or abort.

use crate::error_code::ErrorCode;

messages! {
    /// Version 5 only where `transaction.version` 2 is in force.
    request EndTxnRequest: END_TXN 0..=5 flexible 3 {
        transactional_id: String [0..],
        producer_id: i64 [0..],
        producer_epoch: i16 [0..],
        committed: bool [0..],
    }

    /// From version 5 on with the identity of the next transaction.
    response EndTxnResponse: END_TXN 0..=5 flexible 3 {
        throttle_time_ms: i32 [0..],
        error_code: ErrorCode [0..],
        producer_id: i64 [5..] = -1,
        producer_epoch: i16 [5..] = -1,
    }
}
