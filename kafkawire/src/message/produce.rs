//! Produce (0): record batches in, offsets out.

use super::Uuid;
use crate::error_code::ErrorCode;

messages! {
    /// Exactly one record batch of format v2 per partition. With acks 0 there is no response.
    request ProduceRequest<'b>: PRODUCE 3..=13 flexible 9 {
        transactional_id: Option<&'b str> [3..],
        acks: i16 [0..],
        timeout_ms: i32 [0..],
        topic_data: Vec<TopicProduceData<'b>> [0..],
    }

    /// The batches of one topic: by name up to version 12, by id from 13.
    part TopicProduceData<'b> {
        name: &'b str [0..=12],
        topic_id: Uuid [13..],
        partition_data: Vec<PartitionProduceData<'b>> [0..],
    }

    /// One partition's batch, whole.
    part PartitionProduceData<'b> {
        index: i32 [0..],
        records: Option<&'b [u8]> [0..],
    }

    /// One result per partition; `base_offset` is -1 on errors.
    response ProduceResponse<'b>: PRODUCE 3..=13 flexible 9 {
        responses: Vec<TopicProduceResponse<'b>> [0..],
        throttle_time_ms: i32 [1..],
        node_endpoints: Vec<NodeEndpoint<'b>> [10..] tag 0,
    }

    /// The results of one topic.
    part TopicProduceResponse<'b> {
        name: &'b str [0..=12],
        topic_id: Uuid [13..],
        partition_responses: Vec<PartitionProduceResponse<'b>> [0..],
    }

    /// What became of one batch.
    part PartitionProduceResponse<'b> {
        index: i32 [0..],
        error_code: ErrorCode [0..],
        base_offset: i64 [0..],
        log_append_time_ms: i64 [2..] = -1,
        log_start_offset: i64 [5..] = -1,
        record_errors: Vec<BatchIndexAndErrorMessage<'b>> [8..],
        error_message: Option<&'b str> [8..],
        current_leader: LeaderIdAndEpoch [10..] tag 0,
    }

    /// A record that caused its batch to be dropped.
    part BatchIndexAndErrorMessage<'b> {
        batch_index: i32 [8..],
        batch_index_error_message: Option<&'b str> [8..],
    }

    /// Who leads now; -1 when the broker does not know.
    part LeaderIdAndEpoch {
        leader_id: i32 [10..] = -1,
        leader_epoch: i32 [10..] = -1,
    }

    /// Where a leader that a partition names can be reached.
    part NodeEndpoint<'b> {
        node_id: i32 [10..],
        host: &'b str [10..],
        port: i32 [10..],
        rack: Option<&'b str> [10..],
    }
}
