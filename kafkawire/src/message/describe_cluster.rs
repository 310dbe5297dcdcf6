//! DescribeCluster (60): brokers and controller; absent before 2.8.

use crate::error_code::ErrorCode;

messages! {
    /// Endpoint type 1 asks for brokers, 2 for controllers.
    request DescribeClusterRequest: DESCRIBE_CLUSTER 0..=2 flexible 0 {
        include_cluster_authorized_operations: bool [0..],
        endpoint_type: i8 [1..] = 1,
        include_fenced_brokers: bool [2..],
    }

    /// The cluster's id, controller and brokers.
    response DescribeClusterResponse: DESCRIBE_CLUSTER 0..=2 flexible 0 {
        throttle_time_ms: i32 [0..],
        error_code: ErrorCode [0..],
        error_message: Option<String> [0..],
        endpoint_type: i8 [1..] = 1,
        cluster_id: String [0..],
        controller_id: i32 [0..] = -1,
        brokers: Vec<DescribeClusterBroker> [0..],
        cluster_authorized_operations: i32 [0..] = i32::MIN,
    }

    /// Where a broker advertises itself.
    part DescribeClusterBroker {
        broker_id: i32 [0..],
        host: String [0..],
        port: i32 [0..],
        rack: Option<String> [0..],
        is_fenced: bool [2..],
    }
}
