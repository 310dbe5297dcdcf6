//! Room: bytes from PostgreSQL in, changes out.

pub mod relations;
pub mod row;
