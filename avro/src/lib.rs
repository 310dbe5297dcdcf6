//! Avro schemas and binary encoding.
