//! Why records cannot be written, in words that say what to do about it.

use std::fmt;

use kafkawire::ErrorCode;

/// The producer has stopped. What is not acknowledged may or may not be in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// No broker could be reached.
    Unreachable {
        /// `bootstrap.servers`.
        bootstrap: String,
        /// The last thing that went wrong, with its address.
        reason: String,
    },
    /// TLS with a broker failed: not trusted, another host, no TLS there.
    Tls {
        /// The broker's address.
        broker: String,
        /// What is wrong, and the way out.
        reason: String,
    },
    /// A broker did not accept who we are.
    Authentication {
        /// The broker's address.
        broker: String,
        /// What it said.
        reason: String,
    },
    /// A broker said no.
    Refused {
        /// The API that was asked: `Produce`.
        api: &'static str,
        /// What it was about: a topic, a transactional id; empty: the cluster.
        subject: String,
        /// Kafka's error.
        code: ErrorCode,
        /// The broker's own words, where it had any.
        words: Option<String>,
    },
    /// A record does not fit.
    RecordTooLarge {
        /// The topic.
        topic: String,
        /// A batch with this record alone, in bytes before compression.
        bytes: usize,
        /// What it may have; none: the broker did not say.
        max: Option<usize>,
    },
    /// A topic that does not exist, and that nobody creates.
    NoSuchTopic {
        /// The topic.
        topic: String,
        /// The configuration creates topics, yet it did not appear.
        created: bool,
    },
    /// A batch was not acknowledged within `delivery.timeout.ms`.
    DeliveryTimeout {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// What its last attempt ended with.
        reason: String,
    },
    /// The coordinator has aborted a transaction that was not committed in time.
    TransactionTimeout {
        /// The transactional id.
        transactional_id: String,
        /// `transaction.timeout.ms`
        limit: std::time::Duration,
    },
    /// Another instance has taken over the transactional id.
    Fenced {
        /// The transactional id.
        transactional_id: String,
    },
    /// Bytes that are no Kafka, or a broker that speaks no version of ours.
    Protocol {
        /// The broker's address.
        broker: String,
        /// What is wrong.
        error: kafkawire::Error,
    },
    /// The configuration asks for what the cluster cannot do.
    Configuration {
        /// What, and the way out.
        reason: String,
    },
}

impl Error {
    /// Whether a new attempt, with nothing changed by hand, may succeed.
    #[must_use]
    pub fn retriable(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::NoSuchTopic { .. }
            | Self::DeliveryTimeout { .. }
            | Self::TransactionTimeout { .. } => true,
            Self::Refused { code, .. } => {
                code.retriable() || TRANSIENT.contains(code) || *code == ErrorCode::NONE
            }
            Self::Authentication { .. }
            | Self::Tls { .. }
            | Self::RecordTooLarge { .. }
            | Self::Fenced { .. }
            | Self::Protocol { .. }
            | Self::Configuration { .. } => false,
        }
    }
}

/// Errors that end a producer and not the pipe: the next producer begins with a new identity.
const TRANSIENT: &[ErrorCode] = &[
    ErrorCode::UNKNOWN_SERVER_ERROR,
    ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
    ErrorCode::INVALID_PRODUCER_EPOCH,
    ErrorCode::INVALID_TXN_STATE,
    ErrorCode::INVALID_PRODUCER_ID_MAPPING,
    ErrorCode::UNKNOWN_PRODUCER_ID,
    ErrorCode::TRANSACTION_ABORTABLE,
    ErrorCode::TRANSACTION_COORDINATOR_FENCED,
    // Ours is the time of now: one of the clocks is wrong, and will be set.
    ErrorCode::INVALID_TIMESTAMP,
];

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { bootstrap, reason } => write!(
                f,
                "no Kafka broker could be reached at {bootstrap}: {reason}; check \
                 bootstrap.servers, that security.protocol and sasl.* match the listener, and \
                 that the brokers' advertised.listeners can be reached from here"
            ),
            Self::Authentication { broker, reason } => write!(
                f,
                "Kafka broker {broker} refused our credentials: {reason}; check \
                 security.protocol, sasl.mechanism and sasl.jaas.config"
            ),
            Self::Refused {
                api,
                subject,
                code,
                words,
            } => {
                write!(f, "Kafka refused {api}")?;
                if !subject.is_empty() {
                    write!(f, " for {subject}")?;
                }
                write!(f, ": {code}")?;
                if let Some(words) = words.as_ref().filter(|words| !words.is_empty()) {
                    write!(f, " ({words})")?;
                }
                match remedy(api, *code) {
                    Some(remedy) => write!(f, "; {remedy}"),
                    None => Ok(()),
                }
            }
            Self::RecordTooLarge {
                topic,
                bytes,
                max: Some(max),
            } => write!(
                f,
                "a record for topic {topic} takes {bytes} bytes and max.request.size is {max}; \
                 raise max.request.size of the producer, and max.message.bytes of the topic with it"
            ),
            Self::RecordTooLarge {
                topic,
                bytes,
                max: None,
            } => write!(
                f,
                "a record for topic {topic} takes {bytes} bytes, which the broker refuses \
                 (MESSAGE_TOO_LARGE); raise max.message.bytes of the topic or message.max.bytes \
                 of the brokers, or compress"
            ),
            Self::NoSuchTopic {
                topic,
                created: true,
            } => write!(
                f,
                "topic {topic} was created and still is unknown to the brokers \
                 (UNKNOWN_TOPIC_OR_PARTITION)"
            ),
            Self::NoSuchTopic {
                topic,
                created: false,
            } => write!(
                f,
                "topic {topic} does not exist and the brokers do not create it \
                 (UNKNOWN_TOPIC_OR_PARTITION); create it, or set topic.creation.default.partitions \
                 and topic.creation.default.replication.factor, or switch the brokers' \
                 auto.create.topics.enable on"
            ),
            Self::DeliveryTimeout {
                topic,
                partition,
                reason,
            } => write!(
                f,
                "records for {topic}-{partition} were not acknowledged within \
                 delivery.timeout.ms: {reason}"
            ),
            Self::TransactionTimeout {
                transactional_id,
                limit,
            } => write!(
                f,
                "the transaction of {transactional_id} was not committed within \
                 transaction.timeout.ms ({} ms), and Kafka has aborted it",
                limit.as_millis()
            ),
            Self::Fenced { transactional_id } => write!(
                f,
                "another instance has taken over transactional id {transactional_id} \
                 (PRODUCER_FENCED); stop one of the two, or give them different names"
            ),
            Self::Protocol { broker, error } => write!(
                f,
                "Kafka broker {broker}: {error}; is this a Kafka listener, and does \
                 security.protocol match it?"
            ),
            Self::Tls { broker, reason } => write!(f, "{broker}: {reason}"),
            Self::Configuration { reason } => f.write_str(reason),
        }
    }
}

impl std::error::Error for Error {}

/// What an administrator or a user can do about a refusal.
fn remedy(api: &str, code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::TOPIC_AUTHORIZATION_FAILED if api == "CreateTopics" => {
            "grant the ACL Create on the topic (or on the cluster) to this user, or create the \
             topic beforehand"
        }
        ErrorCode::TOPIC_AUTHORIZATION_FAILED => {
            "grant the ACLs Write and Describe on the topic to this user (Read to read it back)"
        }
        ErrorCode::CLUSTER_AUTHORIZATION_FAILED if api == "CreateTopics" => {
            "grant the ACL Create on the cluster to this user, or create the topic beforehand"
        }
        ErrorCode::CLUSTER_AUTHORIZATION_FAILED => {
            "grant the ACL IdempotentWrite on the cluster to this user"
        }
        ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED => {
            "grant the ACLs Write and Describe on the transactional id to this user"
        }
        ErrorCode::INVALID_REPLICATION_FACTOR => {
            "there are fewer brokers than topic.creation.*.replication.factor asks for"
        }
        ErrorCode::INVALID_PARTITIONS => "correct topic.creation.*.partitions",
        ErrorCode::INVALID_CONFIG => "correct the topic's configuration in topic.creation.*",
        ErrorCode::POLICY_VIOLATION => {
            "the cluster's policy does not allow such a topic; create it beforehand"
        }
        ErrorCode::INVALID_TOPIC_EXCEPTION => {
            "a topic's name has 1 to 249 characters of [a-zA-Z0-9._-]; route the table to another"
        }
        ErrorCode::INVALID_TRANSACTION_TIMEOUT => {
            "lower transaction.timeout.ms, or raise transaction.max.timeout.ms of the brokers"
        }
        ErrorCode::INVALID_TIMESTAMP => {
            "the records are older or younger than the topic's message.timestamp.* limits allow"
        }
        ErrorCode::INVALID_RECORD => {
            "a compacted topic takes no record without a key; set message.key.columns or \
             cleanup.policy"
        }
        ErrorCode::UNSUPPORTED_COMPRESSION_TYPE => {
            "the brokers do not know this compression.type; choose another"
        }
        _ => return None,
    })
}
