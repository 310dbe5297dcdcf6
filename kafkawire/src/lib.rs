//! Kafka wire protocol: requests, responses and record batches, both ways.
//!
//! ```text
//!   connection   versions, SASL, then requests in flight by correlation id
//!     frame      Int32 size | header | body ..
//!       message  a table of fields per request and response
//!       batch    records, built and read in place; compress over them; partition chooses where
//!         read, write   big-endian integers, varints, strings; nothing believed before it is there
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
