//! PostgreSQL streaming replication: the wire protocol, from the client side.
//!
//! ```text
//!   session      startup, authentication, commands, CopyBoth
//!     frame      tag | length i32 | body ..
//!       backend    what the server says         frontend   what we say
//!         CopyData
//!           replication   'w' XLogData, 'k' keepalive;  'r' status update back
//!             pgoutput      Begin .. Relation, Insert, Update, Delete .. Commit
//!               tuple         'n' | 'u' | 't' length, bytes | 'b' length, bytes
//!                 value         one column's bytes, read as its type
//!           copy          rows of COPY, text and binary
//! ```
//!
//! Bytes in, bytes out: no socket, no clock, no log. What is parsed borrows the caller's buffer;
//! what is written is appended to the caller's `Vec`. Time and nonces are arguments.
//!
//! Left out: GSSAPI and SSPI, channel binding, physical replication, COPY of CSV.

#![forbid(unsafe_code)]
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::little_endian_bytes
)]

pub mod session;

pub mod frame;

pub mod backend;
pub mod frontend;

pub mod auth;

pub mod replication;

pub mod pgoutput;
pub mod tuple;
pub mod value;

pub mod copy;

pub mod lsn;

pub mod read;
pub mod write;

pub mod error;
