//! Room: bytes from PostgreSQL in, changes out.

pub mod inbox;
pub mod relations;
pub mod row;
pub mod stream;
