//! The files that most tests start penstock with: JSON without schemas, today's names.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::Properties;
use crate::postgres::{Database, SUPERUSER};

/// A worker without converters. Positions have a topic of each test's own: a transaction that one
/// test's killed pipe left open would hold up the start of another's.
#[must_use]
pub fn bare_worker(bootstrap: &str) -> Properties {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let offsets = format!("offsets-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    Properties::default()
        .with("bootstrap.servers", bootstrap)
        .with("offset.storage.topic", offsets)
        .with("offset.flush.interval.ms", 500)
}

/// The same, writing JSON without schemas.
#[must_use]
pub fn worker(bootstrap: &str) -> Properties {
    let converter = "org.apache.kafka.connect.json.JsonConverter";
    bare_worker(bootstrap)
        .with("key.converter", converter)
        .with("key.converter.schemas.enable", false)
        .with("value.converter", converter)
        .with("value.converter.schemas.enable", false)
}

/// A connector with today's names; the database's name is the prefix, the slot and the name.
#[must_use]
pub fn bare_connector(database: &Database<'_>, tables: &str) -> Properties {
    Properties::default()
        .with("name", &database.name)
        .with(
            "connector.class",
            "io.debezium.connector.postgresql.PostgresConnector",
        )
        .with("topic.prefix", &database.name)
        .with("slot.name", &database.name)
        .with("database.hostname", "127.0.0.1")
        .with("database.port", database.server.port())
        .with("database.user", SUPERUSER.0)
        .with("database.password", SUPERUSER.1)
        .with("database.dbname", &database.name)
        .with("table.include.list", tables)
}

/// The same, trying again soon and often.
#[must_use]
pub fn connector(database: &Database<'_>, tables: &str) -> Properties {
    bare_connector(database, tables)
        .with("slot.max.retries", 20)
        .with("slot.retry.delay.ms", 500)
        .with("retriable.restart.connector.wait.ms", 500)
}
