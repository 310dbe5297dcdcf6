//! Fuzz targets: each a plain function of bytes whose claim is stronger than "no crash".

pub mod kafkawire_batch;

/// Every target by the name that its corpus folder has; a new target is a line here.
pub const TARGETS: &[(&str, fn(&[u8]))] = &[
    ("kafkawire_batch/batches", kafkawire_batch::batches),
    ("kafkawire_batch/build", kafkawire_batch::build),
    (
        "kafkawire_batch/decompressed",
        kafkawire_batch::decompressed,
    ),
    ("kafkawire_batch/records", kafkawire_batch::records),
];
