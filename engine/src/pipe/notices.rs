//! Records that are no rows: heartbeats, the beginnings and ends of transactions, and what
//! `pg_logical_emit_message` wrote. Each kind is registered and its topic found when the first of
//! it is due.

use super::error::{Blame, Error};
use super::outlet::Outlet;
use super::tables::Registries;
use super::unsent::Unsent;
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
    /// The topic's.
    name: String,
    key: Writer,
    value: Writer,
    /// Behind the other fields of each key.
    key_field: Option<Value>,
}

/// A kind whose topic is still to be found.
#[derive(Debug)]
pub(super) struct Compiled {
    of: Of,
    pub topic: String,
    key: Writer,
    value: Writer,
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

    /// Whether notices of that kind can be written: [`Self::prepare`] has run, and
    /// [`Self::place`].
    pub(super) fn is_ready(&mut self, of: Of) -> bool {
        self.kind(of).is_some()
    }

    /// Registers the kind's schemas. None: transforms leave such records out, and it is ready.
    pub(super) async fn prepare(
        &mut self,
        of: Of,
        registries: &mut Registries,
        config: &Config,
    ) -> Result<Option<Compiled>, Error> {
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
            return Ok(None);
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
        Ok(Some(Compiled {
            of,
            topic: notice.topic,
            key,
            value,
            key_field: notice.key_field,
        }))
    }

    /// Takes a kind in, when its topic is found.
    pub(super) fn place(&mut self, compiled: Compiled, topic: TopicId) {
        let Compiled {
            of,
            topic: name,
            key,
            value,
            key_field,
        } = compiled;
        *self.kind(of) = Some(Some(Kind {
            topic,
            name,
            key,
            value,
            key_field,
        }));
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
    ///
    /// Errors: one that is too large, unless such are to be left out; the producer's.
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
        self.fill(Of::Message, &content);
        let Some(Some(kind)) = &self.message else {
            return Ok(());
        };
        let about = Unsent::of_message(&kind.name, prefix, source.lsn, source.tx_id);
        outlet.message(kind.topic, &self.key, &self.value, about)
    }

    fn write(
        &mut self,
        of: Of,
        content: &(Value, Value),
        outlet: &mut Outlet,
        partition: Option<i32>,
    ) -> Result<(), Error> {
        self.fill(of, content);
        let (key, value) = (
            std::mem::take(&mut self.key),
            std::mem::take(&mut self.value),
        );
        if let Some(Some(kind)) = self.kind(of) {
            let topic = kind.topic;
            let partition = partition.unwrap_or_else(|| outlet.partition(topic, &key));
            outlet.plain(topic, partition, &key, &value)?;
        }
        (self.key, self.value) = (key, value);
        Ok(())
    }

    /// Fills `self.key` and `self.value` with what a notice's record has.
    fn fill(&mut self, of: Of, (key, value): &(Value, Value)) {
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
        }
        (self.key, self.value) = (key_bytes, value_bytes);
    }
}
