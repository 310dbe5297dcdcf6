//! ApiVersions (18): which APIs a broker serves, and at which versions.
//!
//! The first request of a connection. A broker that does not know its version answers error 35 in
//! the form of version 0.

use crate::error_code::ErrorCode;

messages! {
    /// Who we are; versions before 3 are empty.
    request ApiVersionsRequest: API_VERSIONS 0..=5 flexible 3 {
        client_software_name: String [3..],
        client_software_version: String [3..],
        cluster_id: Option<String> [5..],
        node_id: i32 [5..] = -1,
    }

    /// What the broker serves. `finalized_features` mean something only with an epoch of 0 or more.
    response ApiVersionsResponse: API_VERSIONS 0..=5 flexible 3 {
        error_code: ErrorCode [0..],
        api_keys: Vec<ApiVersion> [0..],
        throttle_time_ms: i32 [1..],
        supported_features: Vec<SupportedFeatureKey> [3..] tag 0,
        finalized_features_epoch: i64 [3..] tag 1 = -1,
        finalized_features: Vec<FinalizedFeatureKey> [3..] tag 2,
        zk_migration_ready: bool [3..] tag 3,
    }

    /// One API: its key and the versions that are served.
    part ApiVersion {
        api_key: i16 [0..],
        min_version: i16 [0..],
        max_version: i16 [0..],
    }

    /// A feature that the broker could have.
    part SupportedFeatureKey {
        name: String [3..],
        min_version: i16 [3..],
        max_version: i16 [3..],
    }

    /// A feature that the cluster has switched on: `transaction.version`.
    part FinalizedFeatureKey {
        name: String [3..],
        max_version_level: i16 [3..],
        min_version_level: i16 [3..],
    }
}
