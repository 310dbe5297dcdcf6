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
//! What a server sends for one inserted row, from the outside in:
//!
//! ```
//! use pgwire::frame;
//! use pgwire::pgoutput::Message;
//! use pgwire::replication::Replication;
//! use pgwire::tuple::TupleCell;
//! use pgwire::value::text;
//!
//! let bytes = b"d\0\0\0\x2cw\0\0\0\0\x08\x09\x5c\xf8\0\0\0\0\x08\x09\x5c\xf8\
//!     \0\x03\x03\xdc\xd6\xce\x75\x11I\0\0\x41\x44N\0\x02t\0\0\0\x011n";
//! let (message, consumed) = frame::split(bytes, 1024)?.expect("a whole message");
//! assert_eq!(consumed, bytes.len());
//! let Replication::XLogData(data) = Replication::parse(message.body)? else { panic!() };
//! assert_eq!(data.wal_start.to_string(), "0/8095CF8");
//! let Message::Insert(insert) = Message::parse(data.body, false)? else { panic!() };
//! let mut cells = insert.new.cells();
//! let Some(TupleCell::Text(id)) = cells.next() else { panic!() };
//! assert_eq!((insert.relation, text::int4(id)?), (16708, 1));
//! assert_eq!(cells.next(), Some(TupleCell::Null));
//! # Ok::<(), pgwire::error::Malformed>(())
//! ```
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

pub mod head;
pub mod pgoutput;
pub mod tuple;
pub mod value;

pub mod copy;

pub mod lsn;

pub mod read;
pub mod write;

pub mod error;
