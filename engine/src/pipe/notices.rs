//! Records that are no rows: heartbeats, the beginnings and ends of transactions, and what
//! `pg_logical_emit_message` wrote. Each kind is registered and its topic found when the first of
//! it is due.

use super::error::{Blame, Error};
use super::outlet::Outlet;
use super::tables::Registries;
use crate::config::Config;
use crate::encode::envelope::{self, Notice, SourceBlock, Writer};
use crate::encode::registry::Side;
use crate::encode::schema::Value;
use crate::net;
use crate::produce::TopicId;

/// The kinds of notices that were needed so far.
#[derive(Debug, Default)]
pub(super) struct Notices {
    // The inner is none where transforms leave such records out.
    heartbeat: Option<Option<Kind>>,
    transaction: Option<Option<Kind>>,
    message: Option<Option<Kind>>,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// One kind, ready to be written.
#[derive(Debug)]
struct Kind {
    topic: TopicId,
    key: Writer,
    value: Writer,
    /// Behind the other fields of each key.
    key_field: Option<Value>,
}

/// Which kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Heartbeat,
    Transaction,
    Message,
}

impl Notices {
    fn kind(&mut self, of: Of) -> &mut Option<Option<Kind>> {
        match of {
            Of::Heartbeat => &mut self.heartbeat,
            Of::Transaction => &mut self.transaction,
            Of::Message => &mut self.message,
        }
    }

    /// Whether notices of that kind can be written: [`Self::prepare`] has run.
    pub(super) fn is_ready(&mut self, of: Of) -> bool {
        self.kind(of).is_some()
    }

    /// Registers the kind's schemas and finds its topic.
    pub(super) async fn prepare(
        &mut self,
        of: Of,
        registries: &mut Registries,
        outlet: &mut Outlet,
        config: &Config,
    ) -> Result<(), Error> {
        let notice = match of {
            Of::Heartbeat => Notice::heartbeat(&config.encode),
            Of::Transaction => Notice::transaction(&config.encode),
            Of::Message => Notice::message(&config.encode),
        };
        let encode = &config.encode;
        let transformed = notice.transformed(encode).map_err(|error| {
            Error::fatal(Blame::Configuration, "the connector's transforms", error)
        })?;
        let Some(notice) = transformed else {
            *self.kind(of) = Some(None);
            return Ok(());
        };
        let refuse = |error| {
            Error::fatal(
                Blame::Configuration,
                format!("topic {}", notice.topic),
                error,
            )
        };
        let (id, to) = registries.id(Side::Key, &notice.topic, &notice.key).await?;
        let key = Writer::compile(&notice.key, &encode.key_converter, id)
            .and_then(|writer| writer.rewritten(to))
            .map_err(refuse)?;
        let (id, to) = registries
            .id(Side::Value, &notice.topic, &notice.value)
            .await?;
        let value = Writer::compile(&notice.value, &encode.value_converter, id)
            .and_then(|writer| writer.rewritten(to))
            .map_err(refuse)?;
        let topic = outlet.topic(&notice.topic).await?;
        *self.kind(of) = Some(Some(Kind {
            topic,
            key,
            value,
            key_field: notice.key_field,
        }));
        Ok(())
    }

    /// A heartbeat: always in partition 0.
    pub(super) fn heartbeat(&mut self, outlet: &mut Outlet, config: &Config) -> Result<(), Error> {
        let content = envelope::heartbeat(&config.encode, net::now_unix_us() / 1000);
        self.write(Of::Heartbeat, &content, outlet, Some(0))
    }

    /// A transaction's BEGIN.
    pub(super) fn begin(
        &mut self,
        outlet: &mut Outlet,
        (xid, lsn, ts_us): (u32, u64, i64),
    ) -> Result<(), Error> {
        let content = envelope::transaction_begin(xid, lsn, ts_us.div_euclid(1000));
        self.write(Of::Transaction, &content, outlet, None)
    }

    /// A transaction's END, with the number of events of each table.
    pub(super) fn end(
        &mut self,
        outlet: &mut Outlet,
        (xid, lsn, ts_us): (u32, u64, i64),
        tables: &[(String, i64)],
    ) -> Result<(), Error> {
        let content = envelope::transaction_end(xid, lsn, ts_us.div_euclid(1000), tables);
        self.write(Of::Transaction, &content, outlet, None)
    }

    /// A logical decoding message.
    pub(super) fn message(
        &mut self,
        outlet: &mut Outlet,
        config: &Config,
        source: &SourceBlock<'_>,
        (prefix, content): (&str, &[u8]),
    ) -> Result<(), Error> {
        let now_ms = outlet.now_ns.div_euclid(1_000_000);
        let database = &config.source.database;
        let content = envelope::message(&config.encode, database, source, now_ms, prefix, content);
        self.write(Of::Message, &content, outlet, None)
    }

    fn write(
        &mut self,
        of: Of,
        (key, value): &(Value, Value),
        outlet: &mut Outlet,
        partition: Option<i32>,
    ) -> Result<(), Error> {
        let (mut key_bytes, mut value_bytes) = (
            std::mem::take(&mut self.key),
            std::mem::take(&mut self.value),
        );
        key_bytes.clear();
        value_bytes.clear();
        if let Some(Some(kind)) = self.kind(of) {
            match (&kind.key_field, key) {
                (Some(added), Value::Struct(fields)) => {
                    let fields = fields.iter().chain([added]).cloned().collect();
                    kind.key.put(&Value::Struct(fields), &mut key_bytes);
                }
                _ => kind.key.put(key, &mut key_bytes),
            }
            kind.value.put(value, &mut value_bytes);
            let topic = kind.topic;
            let partition = partition.unwrap_or_else(|| outlet.partition(topic, &key_bytes));
            outlet.plain(topic, partition, &key_bytes, &value_bytes)?;
        }
        (self.key, self.value) = (key_bytes, value_bytes);
        Ok(())
    }
}
