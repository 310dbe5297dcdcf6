//! DescribeConfigs (32): what a topic or a broker is configured to do.

use crate::error_code::ErrorCode;

messages! {
    /// A broker's own configuration must be asked of that broker.
    request DescribeConfigsRequest: DESCRIBE_CONFIGS 1..=4 flexible 4 {
        resources: Vec<DescribeConfigsResource> [0..],
        include_synonyms: bool [1..],
        include_documentation: bool [3..],
    }

    /// Type 2 is a topic, 4 a broker; no keys ask for all.
    part DescribeConfigsResource {
        resource_type: i8 [0..],
        resource_name: String [0..],
        configuration_keys: Option<Vec<String>> [0..],
    }

    /// One result per resource.
    response DescribeConfigsResponse: DESCRIBE_CONFIGS 1..=4 flexible 4 {
        throttle_time_ms: i32 [0..],
        results: Vec<DescribeConfigsResult> [0..],
    }

    /// The configuration of one resource.
    part DescribeConfigsResult {
        error_code: ErrorCode [0..],
        error_message: Option<String> [0..],
        resource_type: i8 [0..],
        resource_name: String [0..],
        configs: Vec<DescribeConfigsResourceResult> [0..],
    }

    /// One configuration and where it comes from.
    part DescribeConfigsResourceResult {
        name: String [0..],
        value: Option<String> [0..],
        read_only: bool [0..],
        config_source: i8 [1..] = -1,
        is_sensitive: bool [0..],
        synonyms: Vec<DescribeConfigsSynonym> [1..],
        config_type: i8 [3..],
        documentation: Option<String> [3..],
    }

    /// The same configuration at another level.
    part DescribeConfigsSynonym {
        name: String [1..],
        value: Option<String> [1..],
        source: i8 [1..],
    }
}
