//! Metadata (3): brokers, topics, partitions and their leaders.

use super::Uuid;
use crate::error_code::ErrorCode;

messages! {
    /// Topics `None` asks for all of them, an empty list for none. Versions 10 and 11 take a name
    /// and the zero id only.
    request MetadataRequest: METADATA 0..=13 flexible 9 {
        topics: Option<Vec<MetadataRequestTopic>> [0..] null [1..],
        allow_auto_topic_creation: bool [4..] = true,
        include_cluster_authorized_operations: bool [8..=10],
        include_topic_authorized_operations: bool [8..],
    }

    /// A topic by its name, or from version 12 by its id.
    part MetadataRequestTopic {
        topic_id: Uuid [10..],
        name: Option<String> [0..] null [10..],
    }

    /// The cluster as the broker that answers sees it.
    response MetadataResponse: METADATA 0..=13 flexible 9 {
        throttle_time_ms: i32 [3..],
        brokers: Vec<MetadataResponseBroker> [0..],
        cluster_id: Option<String> [2..],
        controller_id: i32 [1..] = -1,
        topics: Vec<MetadataResponseTopic> [0..],
        cluster_authorized_operations: i32 [8..=10] = i32::MIN,
        error_code: ErrorCode [13..],
    }

    /// Where a broker advertises itself.
    part MetadataResponseBroker {
        node_id: i32 [0..],
        host: String [0..],
        port: i32 [0..],
        rack: Option<String> [1..],
    }

    /// A topic, or why there is none.
    part MetadataResponseTopic {
        error_code: ErrorCode [0..],
        name: Option<String> [0..] null [12..],
        topic_id: Uuid [10..],
        is_internal: bool [1..],
        partitions: Vec<MetadataResponsePartition> [0..],
        topic_authorized_operations: i32 [8..] = i32::MIN,
    }

    /// A partition and where it lives. Leader epochs can be trusted from version 9 on.
    part MetadataResponsePartition {
        error_code: ErrorCode [0..],
        partition_index: i32 [0..],
        leader_id: i32 [0..],
        leader_epoch: i32 [7..] = -1,
        replica_nodes: Vec<i32> [0..],
        isr_nodes: Vec<i32> [0..],
        offline_replicas: Vec<i32> [5..],
    }
}
