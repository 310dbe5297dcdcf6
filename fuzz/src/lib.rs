//! Fuzz targets: each a plain function of bytes whose claim is stronger than "no crash".

pub mod avro;
pub mod broker;
pub mod config;
pub mod demo;
pub mod encode;
pub mod kafkawire;
pub mod kafkawire_batch;
pub mod pgwire;

/// The name that a target's folder in the corpus has, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target; a new one is a line here.
pub const TARGETS: &[Target] = &[
    ("avro/datum", avro::datum),
    ("avro/decimals", avro::decimals),
    ("avro/reader", avro::reader),
    ("avro/resolution", avro::resolution),
    ("avro/schema", avro::schema),
    ("broker/requests", broker::requests),
    ("config/connector", config::connector),
    ("config/load", config::load),
    ("config/offsets", config::offsets),
    ("config/pattern", config::pattern),
    ("config/positions", config::positions),
    ("config/properties", config::properties),
    ("demo/change", demo::change),
    ("demo/follow", demo::follow),
    ("encode/rows", encode::rows),
    ("kafkawire/connection", kafkawire::connection),
    ("kafkawire/frames", kafkawire::frames),
    ("kafkawire/message", kafkawire::message),
    ("kafkawire/scram", kafkawire::scram),
    ("kafkawire_batch/batches", kafkawire_batch::batches),
    ("kafkawire_batch/build", kafkawire_batch::build),
    (
        "kafkawire_batch/decompressed",
        kafkawire_batch::decompressed,
    ),
    ("kafkawire_batch/records", kafkawire_batch::records),
    ("pgwire/copy_binary", pgwire::copy_binary),
    ("pgwire/copy_text", pgwire::copy_text),
    ("pgwire/frames", pgwire::frames),
    ("pgwire/pgoutput", pgwire::pgoutput),
    ("pgwire/replication", pgwire::replication),
    ("pgwire/scram", pgwire::scram),
    ("pgwire/session", pgwire::session),
    ("pgwire/values_binary", pgwire::values_binary),
    ("pgwire/values_text", pgwire::values_text),
];
