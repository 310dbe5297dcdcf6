//! The embedded default: what a pipe needs on its other side, in this process. For development; a
//! production pipe writes to Apache Kafka and a registry of its own.

pub mod broker;
pub mod registry;
