//! Fuzz targets: each a plain function of bytes whose claim is stronger than "no crash".

pub mod kafkawire_batch;
