//! Fetch (1): record batches out.

use super::Uuid;
use crate::error_code::ErrorCode;

messages! {
    /// Without sessions: `session_id` 0, `session_epoch` -1, every partition listed each time.
    request FetchRequest: FETCH 4..=18 flexible 12 {
        cluster_id: Option<String> [12..] tag 0,
        replica_id: i32 [0..=14] = -1,
        replica_state: ReplicaState [15..] tag 1,
        max_wait_ms: i32 [0..],
        min_bytes: i32 [0..],
        max_bytes: i32 [3..] = i32::MAX,
        isolation_level: i8 [4..],
        session_id: i32 [7..],
        session_epoch: i32 [7..] = -1,
        topics: Vec<FetchTopic> [0..],
        forgotten_topics_data: Vec<ForgottenTopic> [7..],
        rack_id: String [11..],
    }

    /// A follower's state; consumers leave it out.
    part ReplicaState {
        replica_id: i32 [15..] = -1,
        replica_epoch: i64 [15..] = -1,
    }

    /// The partitions of one topic: by name up to version 12, by id from 13.
    part FetchTopic {
        topic: String [0..=12],
        topic_id: Uuid [13..],
        partitions: Vec<FetchPartition> [0..],
    }

    /// Where to read one partition.
    part FetchPartition {
        partition: i32 [0..],
        current_leader_epoch: i32 [9..] = -1,
        fetch_offset: i64 [0..],
        last_fetched_epoch: i32 [12..] = -1,
        log_start_offset: i64 [5..] = -1,
        partition_max_bytes: i32 [0..],
        replica_directory_id: Uuid [17..] tag 0,
        high_watermark: i64 [18..] tag 1 = i64::MAX,
    }

    /// What a session no longer asks for.
    part ForgottenTopic {
        topic: String [7..=12],
        topic_id: Uuid [13..],
        partitions: Vec<i32> [7..],
    }

    /// Per partition whole batches as they are stored; the last one may be cut.
    response FetchResponse<'b>: FETCH 4..=18 flexible 12 {
        throttle_time_ms: i32 [1..],
        error_code: ErrorCode [7..],
        session_id: i32 [7..],
        responses: Vec<FetchableTopicResponse<'b>> [0..],
        node_endpoints: Vec<NodeEndpoint<'b>> [16..] tag 0,
    }

    /// The partitions of one topic.
    part FetchableTopicResponse<'b> {
        topic: &'b str [0..=12],
        topic_id: Uuid [13..],
        partitions: Vec<PartitionData<'b>> [0..],
    }

    /// What one partition gave.
    part PartitionData<'b> {
        partition_index: i32 [0..],
        error_code: ErrorCode [0..],
        high_watermark: i64 [0..],
        last_stable_offset: i64 [4..] = -1,
        log_start_offset: i64 [5..] = -1,
        diverging_epoch: EpochEndOffset [12..] tag 0,
        current_leader: LeaderIdAndEpoch [12..] tag 1,
        snapshot_id: SnapshotId [12..] tag 2,
        aborted_transactions: Option<Vec<AbortedTransaction>> [4..],
        preferred_read_replica: i32 [11..] = -1,
        records: Option<&'b [u8]> [0..],
    }

    /// Where the log diverges from what the reader has.
    part EpochEndOffset {
        epoch: i32 [12..] = -1,
        end_offset: i64 [12..] = -1,
    }

    /// Who leads now.
    part LeaderIdAndEpoch {
        leader_id: i32 [12..] = -1,
        leader_epoch: i32 [12..] = -1,
    }

    /// A snapshot to read instead; KRaft only.
    part SnapshotId {
        end_offset: i64 [0..] = -1,
        epoch: i32 [0..] = -1,
    }

    /// A transaction whose batches a committed read leaves out.
    part AbortedTransaction {
        producer_id: i64 [4..],
        first_offset: i64 [4..],
    }

    /// Where a leader that a partition names can be reached.
    part NodeEndpoint<'b> {
        node_id: i32 [16..],
        host: &'b str [16..],
        port: i32 [16..],
        rack: Option<&'b str> [16..],
    }
}
