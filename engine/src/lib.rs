//! The pipe: bytes from PostgreSQL's replication stream in, bytes of Kafka record batches out.
//!
//! ```text
//!   config ──► pipe
//!
//!   PostgreSQL ─► capture ─► encode ─► produce ─► Kafka
//!        ▲                                │
//!        └────────── progress ◄───────────┘
//! ```
//!
//! The four rooms that a row passes are `capture`, `encode`, `produce` and `progress`; `net` is the
//! only module with a socket in it, `local` the embedded broker and registry.

pub mod budget;
pub mod capture;
pub mod cli;
pub mod config;
pub mod encode;
pub mod local;
pub mod mutant;
pub mod net;
pub mod pipe;
pub mod produce;
pub mod progress;
