//! AddPartitionsToTxn (24): the partitions that a transaction is about to write.
//!
//! Clients speak up to version 3; from 4 on it is for brokers.

use crate::error_code::ErrorCode;

messages! {
    /// To the transaction's coordinator, before a partition's first batch.
    request AddPartitionsToTxnRequest: ADD_PARTITIONS_TO_TXN 0..=5 flexible 3 {
        transactions: Vec<AddPartitionsToTxnTransaction> [4..],
        v3_and_below_transactional_id: String [0..=3],
        v3_and_below_producer_id: i64 [0..=3],
        v3_and_below_producer_epoch: i16 [0..=3],
        v3_and_below_topics: Vec<AddPartitionsToTxnTopic> [0..=3],
    }

    /// One transaction of a broker's request.
    part AddPartitionsToTxnTransaction {
        transactional_id: String [4..],
        producer_id: i64 [4..],
        producer_epoch: i16 [4..],
        verify_only: bool [4..],
        topics: Vec<AddPartitionsToTxnTopic> [4..],
    }

    /// The partitions of one topic.
    part AddPartitionsToTxnTopic {
        name: String [0..],
        partitions: Vec<i32> [0..],
    }

    /// All or nothing: when one fails, the others say 55.
    response AddPartitionsToTxnResponse: ADD_PARTITIONS_TO_TXN 0..=5 flexible 3 {
        throttle_time_ms: i32 [0..],
        error_code: ErrorCode [4..],
        results_by_transaction: Vec<AddPartitionsToTxnResult> [4..],
        results_by_topic_v3_and_below: Vec<AddPartitionsToTxnTopicResult> [0..=3],
    }

    /// The results of one transaction.
    part AddPartitionsToTxnResult {
        transactional_id: String [4..],
        topic_results: Vec<AddPartitionsToTxnTopicResult> [4..],
    }

    /// The results of one topic.
    part AddPartitionsToTxnTopicResult {
        name: String [0..],
        results_by_partition: Vec<AddPartitionsToTxnPartitionResult> [0..],
    }

    /// The result of one partition.
    part AddPartitionsToTxnPartitionResult {
        partition_index: i32 [0..],
        partition_error_code: ErrorCode [0..],
    }
}
