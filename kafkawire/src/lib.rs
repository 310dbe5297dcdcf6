//! Kafka wire protocol: requests, responses and record batches, both ways.
//!
//! ```text
//!   connection   versions, SASL, then requests in flight by correlation id
//!     sasl       PLAIN and SCRAM, the client's side
//!     frame      Int32 size | header | body ..
//!       message  a table of fields per request and response
//!       batch    records, built and read in place; compress over them; partition chooses where
//!         read, write   big-endian integers, varints, strings; nothing believed before it is there
//! ```
//!
//! A broker's answer, as a Kafka of version 2 transactions gave it:
//!
//! ```
//! use kafkawire::frame;
//! use kafkawire::message::api_versions::ApiVersionsResponse;
//!
//! let bytes = b"\0\0\0\x39\0\0\0\x01\0\0\x02\0\x12\0\0\0\x04\0\0\0\0\0\x02\x01\x08\0\0\0\0\0\0\0\x07\
//!     \x02\x1a\x02\x14transaction.version\0\x02\0\x02\0";
//! let (body, consumed) = frame::split(bytes, frame::REQUEST_BYTES_MAX)?.unwrap();
//! let answer: ApiVersionsResponse = frame::decode_response(body, 3)?;
//! assert_eq!(consumed, bytes.len());
//! assert_eq!(answer.api_keys[0].max_version, 4);
//! assert_eq!(answer.finalized_features[0].name, "transaction.version");
//! # Ok::<(), kafkawire::Error>(())
//! ```
//!
//! Bytes in, bytes out: no socket, no clock, no randomness. Left out: message formats before v2,
//! the consumer protocol of KIP-848, share groups, and what brokers say to each other.
#![forbid(unsafe_code)]
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::little_endian_bytes
)]

pub mod batch;
pub mod compress;
pub mod connection;
pub mod error;
pub mod error_code;
pub mod frame;
pub mod message;
pub mod partition;
pub mod read;
pub mod sasl;
pub mod write;

pub use error::{Error, Fault};
pub use error_code::ErrorCode;
