//! Avro schemas and binary encoding, as Kafka's Avro producers and schema registries use them.
//!
//! ```text
//!   00 | schema id u32 be | datum ..            a registry's record            prefix
//!   C3 01 | fingerprint u64 le | datum ..       a single object                prefix
//!                         │
//!                         ▼
//!   varint, length + bytes, branch, blocks ..   the datum                      read, write, datum
//!                         │ means what
//!                         ▼
//!   {"type":"record","name":"R", ..}            the schema's text              json, schema
//!                         │
//!                         ├─► Parsing Canonical Form ─► CRC-64-AVRO            fingerprint
//!                         ├─► may this reader read that writer?                compatibility
//!                         └─► a writer's datum as that reader's schema has it  resolve
//! ```
//!
//! The text that [`Schema`] prints is the one Avro's Java library prints, to the byte: registries
//! give the same id to the same text only.
//!
//! ```
//! use avro::{Datum, Reader, Schema, prefix};
//!
//! // Captured from Confluent's AvroConverter: the key of a row whose primary key is 1.
//! let text = r#"{"type":"record","name":"Key","namespace":"srv.store.customers","fields":[{"name":"id","type":"int"}],"connect.name":"srv.store.customers.Key"}"#;
//! let record = [0x00, 0x00, 0x00, 0x00, 0x01, 0x02];
//!
//! let schema: Schema = text.parse().unwrap();
//! assert_eq!(schema.to_string(), text);
//! let (id, datum) = prefix::split_registry_id(&record).unwrap();
//! assert_eq!(id, 1);
//! let mut reader = Reader::new(datum);
//! let key = Datum::take(&schema, &mut reader).unwrap();
//! assert_eq!(schema.to_json(&key).to_string(), r#"{"id":1}"#);
//! ```
//!
//! Left out: object container files, protocols, the JSON encoding of data.

#![forbid(unsafe_code)]
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::big_endian_bytes
)]

pub mod schema;

pub mod json;

pub mod fingerprint;

pub mod compatibility;

pub mod resolve;

pub mod write;

pub mod read;

pub mod datum;

pub mod decimal;

pub mod prefix;

pub mod error;

pub use datum::Datum;
pub use decimal::{Decimal, DecimalError};
pub use error::{Fault, Malformed, SchemaError, SchemaFault};
pub use read::Reader;
pub use resolve::{Resolution, Unresolved};
pub use schema::{
    Builder, Field, Name, Named, NamedId, Order, Primitive, Schema, Shape, Type, View,
};
