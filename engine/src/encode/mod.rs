//! Room: a change in, bytes of a record out.
//!
//! ```text
//!   Table + config::Encode ──► Schemas ──(registry: ids)──► RowEncoder      once per definition
//!                                                               │
//!   Event { op, before, after, source } ────────────────────────┴──► bytes   per row
//! ```
//!
//! `mapping` is the one table of PostgreSQL's types; `schema` is Connect's model and its two
//! renderings; `plan` the compiled encoder; `transform` what rules do to columns and rows,
//! `chain` what transforms do to records;
//! `envelope` what surrounds a row and every record that is not a row; `form` how leaves look in
//! Avro and in JSON; `extent` how much a large row may become.

mod binary;
mod chain;
pub mod envelope;
pub mod extent;
mod form;
mod mapping;
mod number;
mod plain;
pub mod plan;
pub mod registry;
pub mod schema;
mod step;
mod time;
mod transform;
