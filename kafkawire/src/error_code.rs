//! Every error a broker can answer with: number, name, whether the Java client retries, and what a
//! producer does about it.
//!
//! All of that is one table at the end of this file; policy is a column there, never a `match`
//! elsewhere.

use std::fmt;

/// An `error_code` field, whatever number it holds.
///
/// Zero is success. A number this file does not know stays what it is, and counts as final.
/// Source: Apache Kafka 4.4, `Errors.java`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ErrorCode(pub i16);

/// What a producer does with an answer, in the order a program would ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The records are in the log: success, or a resend of what the log already holds.
    Accept,
    /// Refresh the metadata, then send the same bytes again.
    Refresh,
    /// Wait for `retry.backoff.ms`, doubling, then send the same bytes again.
    BackOff,
    /// Ask for the coordinator again, then send the request to it.
    FindCoordinator,
    /// Divide the batch in two and send both; a single record fails.
    Split,
    /// The log and the producer disagree about identity, epoch, sequence or transaction; the answer
    /// depends on the producer's own state.
    Producer,
    /// Another producer has taken this transactional id over: stop.
    Stop,
    /// The principal lacks a right. Final for a client; a service may wait for an administrator.
    Authorization,
    /// The connection's credentials or mechanism are refused: close it.
    Authentication,
    /// Forget all metadata and begin again at the bootstrap list.
    Rebootstrap,
    /// Fail the batch: the request or the configuration is wrong, sending it again changes nothing.
    Fail,
}

impl ErrorCode {
    /// Whether the request succeeded.
    #[must_use]
    pub const fn is_ok(self) -> bool {
        self.0 == 0
    }

    /// The name in Kafka's own spelling, or `None` for a number newer than this file.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        self.row().map(|row| row.name)
    }

    /// Whether the Java client's exception for this code is a `RetriableException`.
    #[must_use]
    pub fn retriable(self) -> bool {
        self.row().is_some_and(|row| row.retriable)
    }

    /// What a producer does about it; [`Action::Fail`] for a number newer than this file.
    #[must_use]
    pub fn action(self) -> Action {
        self.row().map_or(Action::Fail, |row| row.action)
    }

    fn row(self) -> Option<&'static Row> {
        // The table is dense and begins at -1.
        TABLE.get(usize::try_from(i32::from(self.0) + 1).ok()?)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "error code {}", self.0),
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

struct Row {
    #[cfg(test)]
    number: i16,
    name: &'static str,
    retriable: bool,
    action: Action,
}

macro_rules! table {
    ($($number:literal, $name:ident, $retriable:literal, $action:ident;)*) => {
        #[allow(missing_docs, reason = "the names are Kafka's, and say it")]
        impl ErrorCode {
            $(pub const $name: Self = Self($number);)*
        }

        static TABLE: &[Row] = &[$(Row {
            #[cfg(test)]
            number: $number,
            name: stringify!($name),
            retriable: $retriable,
            action: Action::$action,
        },)*];
    };
}

// number, name, retriable, action
table! {
    -1, UNKNOWN_SERVER_ERROR, false, Fail;
    0, NONE, false, Accept;
    1, OFFSET_OUT_OF_RANGE, false, Fail;
    2, CORRUPT_MESSAGE, true, BackOff;
    3, UNKNOWN_TOPIC_OR_PARTITION, true, Refresh;
    4, INVALID_FETCH_SIZE, false, Fail;
    5, LEADER_NOT_AVAILABLE, true, Refresh;
    6, NOT_LEADER_OR_FOLLOWER, true, Refresh;
    7, REQUEST_TIMED_OUT, true, BackOff;
    8, BROKER_NOT_AVAILABLE, false, Fail;
    9, REPLICA_NOT_AVAILABLE, true, Refresh;
    10, MESSAGE_TOO_LARGE, false, Split;
    11, STALE_CONTROLLER_EPOCH, false, Fail;
    12, OFFSET_METADATA_TOO_LARGE, false, Fail;
    13, NETWORK_EXCEPTION, true, Refresh;
    14, COORDINATOR_LOAD_IN_PROGRESS, true, BackOff;
    15, COORDINATOR_NOT_AVAILABLE, true, FindCoordinator;
    16, NOT_COORDINATOR, true, FindCoordinator;
    17, INVALID_TOPIC_EXCEPTION, false, Fail;
    18, RECORD_LIST_TOO_LARGE, false, Fail;
    19, NOT_ENOUGH_REPLICAS, true, BackOff;
    20, NOT_ENOUGH_REPLICAS_AFTER_APPEND, true, BackOff;
    21, INVALID_REQUIRED_ACKS, false, Fail;
    22, ILLEGAL_GENERATION, false, Fail;
    23, INCONSISTENT_GROUP_PROTOCOL, false, Fail;
    24, INVALID_GROUP_ID, false, Fail;
    25, UNKNOWN_MEMBER_ID, false, Fail;
    26, INVALID_SESSION_TIMEOUT, false, Fail;
    27, REBALANCE_IN_PROGRESS, false, Fail;
    28, INVALID_COMMIT_OFFSET_SIZE, false, Fail;
    29, TOPIC_AUTHORIZATION_FAILED, false, Authorization;
    30, GROUP_AUTHORIZATION_FAILED, false, Authorization;
    31, CLUSTER_AUTHORIZATION_FAILED, false, Authorization;
    32, INVALID_TIMESTAMP, false, Fail;
    33, UNSUPPORTED_SASL_MECHANISM, false, Authentication;
    34, ILLEGAL_SASL_STATE, false, Authentication;
    35, UNSUPPORTED_VERSION, false, Fail;
    36, TOPIC_ALREADY_EXISTS, false, Fail;
    37, INVALID_PARTITIONS, false, Fail;
    38, INVALID_REPLICATION_FACTOR, false, Fail;
    39, INVALID_REPLICA_ASSIGNMENT, false, Fail;
    40, INVALID_CONFIG, false, Fail;
    41, NOT_CONTROLLER, true, BackOff;
    42, INVALID_REQUEST, false, Fail;
    43, UNSUPPORTED_FOR_MESSAGE_FORMAT, false, Fail;
    44, POLICY_VIOLATION, false, Fail;
    45, OUT_OF_ORDER_SEQUENCE_NUMBER, false, Producer;
    46, DUPLICATE_SEQUENCE_NUMBER, false, Accept;
    47, INVALID_PRODUCER_EPOCH, false, Producer;
    48, INVALID_TXN_STATE, false, Producer;
    49, INVALID_PRODUCER_ID_MAPPING, false, Producer;
    50, INVALID_TRANSACTION_TIMEOUT, false, Fail;
    51, CONCURRENT_TRANSACTIONS, true, BackOff;
    52, TRANSACTION_COORDINATOR_FENCED, false, Fail;
    53, TRANSACTIONAL_ID_AUTHORIZATION_FAILED, false, Authorization;
    54, SECURITY_DISABLED, false, Fail;
    55, OPERATION_NOT_ATTEMPTED, false, Fail;
    56, KAFKA_STORAGE_ERROR, true, Refresh;
    57, LOG_DIR_NOT_FOUND, false, Fail;
    58, SASL_AUTHENTICATION_FAILED, false, Authentication;
    59, UNKNOWN_PRODUCER_ID, false, Producer;
    60, REASSIGNMENT_IN_PROGRESS, false, Fail;
    61, DELEGATION_TOKEN_AUTH_DISABLED, false, Fail;
    62, DELEGATION_TOKEN_NOT_FOUND, false, Fail;
    63, DELEGATION_TOKEN_OWNER_MISMATCH, false, Fail;
    64, DELEGATION_TOKEN_REQUEST_NOT_ALLOWED, false, Fail;
    65, DELEGATION_TOKEN_AUTHORIZATION_FAILED, false, Fail;
    66, DELEGATION_TOKEN_EXPIRED, false, Fail;
    67, INVALID_PRINCIPAL_TYPE, false, Fail;
    68, NON_EMPTY_GROUP, false, Fail;
    69, GROUP_ID_NOT_FOUND, false, Fail;
    70, FETCH_SESSION_ID_NOT_FOUND, true, BackOff;
    71, INVALID_FETCH_SESSION_EPOCH, true, BackOff;
    72, LISTENER_NOT_FOUND, true, Refresh;
    73, TOPIC_DELETION_DISABLED, false, Fail;
    74, FENCED_LEADER_EPOCH, true, Refresh;
    75, UNKNOWN_LEADER_EPOCH, true, BackOff;
    76, UNSUPPORTED_COMPRESSION_TYPE, false, Fail;
    77, STALE_BROKER_EPOCH, false, Fail;
    78, OFFSET_NOT_AVAILABLE, true, BackOff;
    79, MEMBER_ID_REQUIRED, false, Fail;
    80, PREFERRED_LEADER_NOT_AVAILABLE, true, Refresh;
    81, GROUP_MAX_SIZE_REACHED, false, Fail;
    82, FENCED_INSTANCE_ID, false, Fail;
    83, ELIGIBLE_LEADERS_NOT_AVAILABLE, true, Refresh;
    84, ELECTION_NOT_NEEDED, true, Refresh;
    85, NO_REASSIGNMENT_IN_PROGRESS, false, Fail;
    86, GROUP_SUBSCRIBED_TO_TOPIC, false, Fail;
    87, INVALID_RECORD, false, Fail;
    88, UNSTABLE_OFFSET_COMMIT, true, BackOff;
    89, THROTTLING_QUOTA_EXCEEDED, true, BackOff;
    90, PRODUCER_FENCED, false, Stop;
    91, RESOURCE_NOT_FOUND, false, Fail;
    92, DUPLICATE_RESOURCE, false, Fail;
    93, UNACCEPTABLE_CREDENTIAL, false, Fail;
    94, INCONSISTENT_VOTER_SET, false, Fail;
    95, INVALID_UPDATE_VERSION, false, Fail;
    96, FEATURE_UPDATE_FAILED, false, Fail;
    97, PRINCIPAL_DESERIALIZATION_FAILURE, false, Fail;
    98, SNAPSHOT_NOT_FOUND, false, Fail;
    99, POSITION_OUT_OF_RANGE, false, Fail;
    100, UNKNOWN_TOPIC_ID, true, Refresh;
    101, DUPLICATE_BROKER_REGISTRATION, false, Fail;
    102, BROKER_ID_NOT_REGISTERED, false, Fail;
    103, INCONSISTENT_TOPIC_ID, true, Refresh;
    104, INCONSISTENT_CLUSTER_ID, false, Fail;
    105, TRANSACTIONAL_ID_NOT_FOUND, false, Fail;
    106, FETCH_SESSION_TOPIC_ID_ERROR, true, BackOff;
    107, INELIGIBLE_REPLICA, false, Fail;
    108, NEW_LEADER_ELECTED, false, Fail;
    109, OFFSET_MOVED_TO_TIERED_STORAGE, false, Fail;
    110, FENCED_MEMBER_EPOCH, false, Fail;
    111, UNRELEASED_INSTANCE_ID, false, Fail;
    112, UNSUPPORTED_ASSIGNOR, false, Fail;
    113, STALE_MEMBER_EPOCH, false, Fail;
    114, MISMATCHED_ENDPOINT_TYPE, false, Fail;
    115, UNSUPPORTED_ENDPOINT_TYPE, false, Fail;
    116, UNKNOWN_CONTROLLER_ID, false, Fail;
    117, UNKNOWN_SUBSCRIPTION_ID, false, Fail;
    118, TELEMETRY_TOO_LARGE, false, Fail;
    119, INVALID_REGISTRATION, false, Fail;
    120, TRANSACTION_ABORTABLE, false, Producer;
    121, INVALID_RECORD_STATE, false, Fail;
    122, SHARE_SESSION_NOT_FOUND, true, BackOff;
    123, INVALID_SHARE_SESSION_EPOCH, true, BackOff;
    124, FENCED_STATE_EPOCH, false, Fail;
    125, INVALID_VOTER_KEY, false, Fail;
    126, DUPLICATE_VOTER, false, Fail;
    127, VOTER_NOT_FOUND, false, Fail;
    128, INVALID_REGULAR_EXPRESSION, false, Fail;
    129, REBOOTSTRAP_REQUIRED, false, Rebootstrap;
    130, STREAMS_INVALID_TOPOLOGY, false, Fail;
    131, STREAMS_INVALID_TOPOLOGY_EPOCH, false, Fail;
    132, STREAMS_TOPOLOGY_FENCED, false, Fail;
    133, SHARE_SESSION_LIMIT_REACHED, true, BackOff;
    134, GROUP_DELETION_FAILED, false, Fail;
    135, STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED, false, Fail;
    136, CONTROLLER_ID_NOT_REGISTERED, false, Fail;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_dense() {
        for (row, number) in TABLE.iter().zip(-1..) {
            assert_eq!(row.number, number, "{}", row.name);
        }
        assert_eq!(ErrorCode::CONTROLLER_ID_NOT_REGISTERED.0, 136);
    }

    #[test]
    fn what_is_sent_again_is_what_java_retries() {
        for row in TABLE {
            let code = ErrorCode(row.number);
            match code.action() {
                Action::Refresh | Action::BackOff | Action::FindCoordinator => {
                    assert!(code.retriable(), "{code}");
                }
                Action::Accept | Action::Producer => {}
                _ => assert!(!code.retriable(), "{code}"),
            }
        }
    }

    #[test]
    fn unknown_numbers_survive() {
        for number in [-2, 137, i16::MIN, i16::MAX] {
            let code = ErrorCode(number);
            assert_eq!((code.name(), code.retriable()), (None, false));
            assert_eq!(code.action(), Action::Fail);
            assert_eq!(code.to_string(), format!("error code {number}"));
        }
        assert_eq!(
            ErrorCode::NOT_LEADER_OR_FOLLOWER.to_string(),
            "NOT_LEADER_OR_FOLLOWER (6)"
        );
    }
}
