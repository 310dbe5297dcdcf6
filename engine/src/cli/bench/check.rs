//! Whether what was read is what was written: tables and topics, each as a count and a sum of
//! hashes that do not depend on order.
//!
//! A topic is played back into the rows that it leaves: by key, the last value wins and a deletion
//! deletes. Of each row the integers, texts and booleans are hashed, with MD5 as PostgreSQL has it,
//! and 60 bits of each are added up.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};

use avro::{Schema, prefix};
use md5::{Digest as _, Md5};
use pgwire::replication::quote_identifier;
use serde_json::Value;

use super::failed;
use crate::capture::client::Client;
use crate::cli::demo::change::{Decoder, Op};
use crate::cli::exit::Report;
use crate::encode::registry::RegistryClient;

/// What a function of PostgreSQL takes at most, less the separator.
const ARGUMENTS_MAX: usize = 99;

/// What a table holds, or a topic leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Contents {
    /// How many rows.
    pub rows: u64,
    /// The sum of their hashes.
    pub sum: u128,
}

/// A table that is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// With its schema, unquoted.
    pub table: String,
    /// The columns that are hashed.
    pub columns: Vec<String>,
}

impl Compared {
    /// Finds the columns whose text is the same on both sides; `body` is what a load keeps out of
    /// line, and an update does not send.
    ///
    /// Errors: PostgreSQL refuses.
    pub async fn find(client: &mut Client, table: &str) -> Result<Self, Report> {
        let (schema, name) = table.split_once('.').unwrap_or(("public", table));
        let query = format!(
            "SELECT column_name FROM information_schema.columns \
             WHERE table_schema = '{schema}' AND table_name = '{name}' \
             AND data_type IN ('smallint', 'integer', 'bigint', 'text', 'boolean', \
             'character varying') AND column_name <> 'body' ORDER BY ordinal_position"
        );
        let rows = client.simple_query(&query).await;
        let rows =
            rows.map_err(|error| failed("cannot read the catalogue").with(error.to_string()))?;
        Ok(Self {
            table: table.to_owned(),
            columns: rows.into_iter().flatten().flatten().collect(),
        })
    }

    /// What the table holds now.
    ///
    /// Errors: PostgreSQL refuses.
    pub async fn contents(&self, client: &mut Client) -> Result<Contents, Report> {
        let columns = self.columns.iter().map(|name| {
            let name = quote_identifier(name);
            format!("coalesce({name}::text, chr(1))")
        });
        let groups = columns.collect::<Vec<_>>();
        let groups = groups
            .chunks(ARGUMENTS_MAX)
            .map(|group| format!("concat_ws('|', {})", group.join(", ")));
        let columns = groups.collect::<Vec<_>>().join(", ");
        let query = format!(
            "SELECT count(*), coalesce(sum(('x' || left(md5(concat_ws('|', {columns})), 15))\
             ::bit(60)::bigint), 0) FROM {}",
            self.table
        );
        let refused = |why: String| failed(format!("cannot sum up {}", self.table)).with(why);
        let rows = client.simple_query(&query).await;
        let rows = rows.map_err(|error| refused(error.to_string()))?;
        let mut values = rows.into_iter().flatten().flatten();
        let mut number = || values.next().and_then(|text| text.parse::<u128>().ok());
        let (Some(rows), Some(sum)) = (number(), number()) else {
            return Err(refused("no numbers".to_owned()));
        };
        Ok(Contents {
            rows: u64::try_from(rows).unwrap_or(u64::MAX),
            sum,
        })
    }
}

/// 60 bits of the MD5 of a row's words.
fn hash<'w>(words: impl Iterator<Item = Option<&'w str>>) -> u64 {
    let mut md5 = Md5::new();
    for (place, word) in words.enumerate() {
        if place > 0 {
            md5.update(b"|");
        }
        md5.update(word.unwrap_or("\u{1}").as_bytes());
    }
    let bytes = md5.finalize();
    let first = bytes.iter().take(8);
    first.fold(0u64, |bits, byte| bits << 8 | u64::from(*byte)) >> 4
}

/// What is known of how values are written.
#[derive(Debug)]
pub struct Values {
    registry: Option<RegistryClient>,
    decoders: HashMap<u32, Decoder>,
}

/// An event, as much of it as is looked at.
#[derive(Debug)]
pub struct Event {
    /// Whether the row is gone.
    pub deleted: bool,
    /// The hash of the row.
    pub hash: u64,
    /// `source.ts_us`: when its transaction committed.
    pub committed_us: Option<i64>,
}

impl Values {
    /// Avro where there is a registry, else JSON.
    #[must_use]
    pub fn new(registry: Option<RegistryClient>) -> Self {
        Self {
            registry,
            decoders: HashMap::new(),
        }
    }

    /// Learns what must be known to read that value.
    ///
    /// Errors: the registry does not know its schema.
    pub async fn learn(&mut self, value: &[u8]) -> Result<(), Report> {
        let Some(registry) = &mut self.registry else {
            return Ok(());
        };
        let unreadable = |why: String| failed("a record cannot be read").with(why);
        let (id, _) =
            prefix::split_registry_id(value).map_err(|error| unreadable(error.to_string()))?;
        if let Entry::Vacant(place) = self.decoders.entry(id) {
            let text = registry.schema(id).await;
            let text = text.map_err(|error| unreadable(error.to_string()))?;
            let schema: Schema = text
                .parse()
                .map_err(|error| unreadable(format!("{error:?}")))?;
            place.insert(Decoder::new(schema));
        }
        Ok(())
    }

    /// Whether [`Self::learn`] must be asked first.
    #[must_use]
    pub fn knows(&self, value: &[u8]) -> bool {
        self.registry.is_none()
            || prefix::split_registry_id(value).is_ok_and(|(id, _)| self.decoders.contains_key(&id))
    }

    /// Reads a value. None: it is no event of a row.
    #[must_use]
    pub fn event(&self, value: &[u8], columns: &[String]) -> Option<Event> {
        if self.registry.is_some() {
            let (id, datum) = prefix::split_registry_id(value).ok()?;
            let change = self.decoders.get(&id)?.change(datum).ok()?;
            let deleted = change.op == Op::Deleted;
            let hash = match &change.after {
                Some(row) => hash(columns.iter().map(|name| row.cell(name).flatten())),
                None => 0,
            };
            return Some(Event {
                deleted,
                hash,
                committed_us: change.committed_us,
            });
        }
        let value: Value = serde_json::from_slice(value).ok()?;
        let event = value.get("payload").unwrap_or(&value);
        let after = event.get("after")?;
        let words: Vec<Option<String>> = columns
            .iter()
            .map(|name| match after.get(name) {
                None | Some(Value::Null) => None,
                Some(Value::String(text)) => Some(text.clone()),
                Some(other) => Some(other.to_string()),
            })
            .collect();
        Some(Event {
            deleted: event.get("op")?.as_str() == Some("d"),
            hash: hash(words.iter().map(Option::as_deref)),
            committed_us: event.get("source")?.get("ts_us")?.as_i64(),
        })
    }
}

/// The rows that a topic leaves: hashes by the hash of the key.
#[derive(Debug, Default)]
pub struct PlayBack {
    rows: HashMap<u64, u64>,
    /// Events of rows that were played.
    pub events: u64,
    /// Records that are no event, tombstones excepted.
    pub strange: u64,
}

impl PlayBack {
    /// Takes a record.
    pub fn play(&mut self, key: Option<&[u8]>, value: Option<&[u8]>, event: Option<&Event>) {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        let key = hasher.hash_one(key.unwrap_or_default());
        match (value, event) {
            (None, _) => {}
            (Some(_), None) => self.strange += 1,
            (Some(_), Some(event)) => {
                self.events += 1;
                match event.deleted {
                    true => self.rows.remove(&key),
                    false => self.rows.insert(key, event.hash),
                };
            }
        }
    }

    /// What is left.
    #[must_use]
    pub fn contents(&self) -> Contents {
        Contents {
            rows: self.rows.len() as u64,
            sum: self.rows.values().map(|hash| u128::from(*hash)).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_that_of_postgresql() {
        // SELECT ('x' || left(md5('1|a|' || chr(1)), 15))::bit(60)::bigint
        let md5 = Md5::digest(b"1|a|\x01");
        let digits: String = md5.iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = u64::from_str_radix(&digits[..15], 16).unwrap();
        assert_eq!(hash([Some("1"), Some("a"), None].into_iter()), expected);
    }

    #[test]
    fn a_topic_leaves_its_last_rows() {
        let values = Values::new(None);
        let columns = ["id".to_owned(), "t".to_owned()];
        let mut play = PlayBack::default();
        let mut take = |key: &[u8], value: Option<&str>| {
            let value = value.map(str::as_bytes);
            let event = value.and_then(|value| values.event(value, &columns));
            play.play(Some(key), value, event.as_ref());
        };
        let event = |op: &str, after: &str| {
            format!(r#"{{"op":"{op}","after":{after},"source":{{"ts_us":7}}}}"#)
        };
        take(b"1", Some(&event("c", r#"{"id":1,"t":"a"}"#)));
        take(b"2", Some(&event("c", r#"{"id":2,"t":null}"#)));
        take(b"1", Some(&event("u", r#"{"id":1,"t":"b"}"#)));
        take(b"2", Some(&event("d", "null")));
        take(b"2", None);
        take(b"3", Some("{}"));
        assert_eq!((play.events, play.strange), (4, 1));
        let sum = u128::from(hash([Some("1"), Some("b")].into_iter()));
        assert_eq!(play.contents(), Contents { rows: 1, sum });
    }
}
