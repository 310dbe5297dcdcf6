//! Room: bytes from PostgreSQL in, changes out.

pub mod catalog;
pub mod client;
pub mod error;
pub mod inbox;
pub mod pace;
pub mod relations;
pub mod row;
pub mod stream;
