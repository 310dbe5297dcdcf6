//! What a viewer makes of records: decoded, in order, each beside what the row was before.
//!
//! By default PostgreSQL sends no more of an old row than its key. Who has read the topics from the
//! beginning knows the rest: the last record of the same key.

use std::collections::{HashMap, VecDeque};

use avro::{Malformed, Schema, prefix};

use super::change::{Change, Decoder, Op, Row};

/// A record as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its topic's place among those followed.
    pub topic: usize,
    /// Its key; none: the table has none.
    pub key: Option<Box<[u8]>>,
    /// Its value; none: a tombstone.
    pub value: Option<Box<[u8]>>,
}

/// A change as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// The change.
    pub change: Change,
    /// Its record's key.
    pub key: Option<Row>,
    /// The row before, as an earlier record had it.
    pub earlier: Option<Row>,
}

/// Schemas, and the rows of the past.
#[derive(Debug, Default)]
pub struct Viewer {
    /// Topics, by their place, whose records hold whole old rows.
    whole: Vec<usize>,
    decoders: HashMap<u32, Decoder>,
    rows: Memory,
}

impl Viewer {
    /// A viewer that knows no schema yet. `whole`: the places of topics whose tables have REPLICA
    /// IDENTITY FULL. The old rows of others are made up but for their keys: a column that cannot
    /// be null has its default there, or zero.
    #[must_use]
    pub fn new(whole: Vec<usize>) -> Self {
        Self {
            whole,
            ..Self::default()
        }
    }

    /// The schema ids that must be [learnt](Self::learn) before these records can be
    /// [viewed](Self::view).
    ///
    /// Errors: `Malformed` for a record without an id.
    pub fn unknown(&self, records: &[Seen]) -> Result<Vec<u32>, Malformed> {
        let mut ids = Vec::new();
        for record in records {
            for bytes in [&record.key, &record.value].into_iter().flatten() {
                let (id, _) = prefix::split_registry_id(bytes)?;
                if !self.decoders.contains_key(&id) && !ids.contains(&id) {
                    ids.push(id);
                }
            }
        }
        Ok(ids)
    }

    /// What `id` stands for.
    pub fn learn(&mut self, id: u32, schema: Schema) {
        self.decoders.insert(id, Decoder::new(schema));
    }

    /// Reads records, in the order in which they were committed; tombstones say nothing more.
    ///
    /// Errors: `Malformed` for a record that is not what its schema says.
    pub fn view(&mut self, records: &[Seen]) -> Result<Vec<Sight>, Malformed> {
        let mut read = Vec::with_capacity(records.len());
        for record in records {
            let Some(value) = &record.value else { continue };
            let (decoder, datum) = self.decoder(value)?;
            let mut change = decoder.change(datum)?;
            if !self.whole.contains(&record.topic) {
                change.before = None;
            }
            let key = match &record.key {
                Some(key) => {
                    let (decoder, datum) = self.decoder(key)?;
                    Some(decoder.row(datum)?)
                }
                None => None,
            };
            read.push((record.topic, key, change));
        }
        // Each topic is in order; the log's positions merge them. Stable: what shares one stays.
        read.sort_by_key(|(_, _, change)| change.lsn);
        let sights = read.into_iter().map(|(topic, key, change)| {
            let earlier = key
                .as_ref()
                .and_then(|key| self.rows.note(topic, key, &change));
            Sight {
                change,
                key,
                earlier,
            }
        });
        Ok(sights.collect())
    }

    fn decoder<'s, 'b>(&'s self, record: &'b [u8]) -> Result<(&'s Decoder, &'b [u8]), Malformed> {
        let (id, datum) = prefix::split_registry_id(record)?;
        let unknown = Malformed {
            message: "registry prefix",
            field: "schema id",
            at: 1,
            fault: avro::Fault::OutOfRange,
        };
        Ok((self.decoders.get(&id).ok_or(unknown)?, datum))
    }
}

/// Rows that are remembered; of more than that, the newest.
const ROWS_MAX: usize = 20_000;

/// The last known row of each key.
#[derive(Debug, Default)]
struct Memory {
    rows: HashMap<(usize, Box<str>), Row>,
    /// Keys by age.
    ages: VecDeque<(usize, Box<str>)>,
}

impl Memory {
    /// Takes a change in; gives the row as it was.
    fn note(&mut self, topic: usize, key: &Row, change: &Change) -> Option<Row> {
        let key = (topic, Box::from(key.joined()));
        let (Some(after), false) = (&change.after, change.op == Op::Deleted) else {
            return self.rows.remove(&key);
        };
        if let Some(row) = self.rows.get_mut(&key) {
            return Some(std::mem::replace(row, after.clone()));
        }
        self.ages.push_back(key.clone());
        self.rows.insert(key, after.clone());
        while self.ages.len() > ROWS_MAX {
            if let Some(oldest) = self.ages.pop_front() {
                self.rows.remove(&oldest);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use avro::Datum;

    use super::*;

    const KEY: &str = r#"{"type":"record","name":"Key","fields":[{"name":"id","type":"int"}]}"#;
    const VALUE: &str = r#"{"type":"record","name":"Envelope","fields":[
        {"name":"before","type":["null",{"type":"record","name":"Value","fields":[
            {"name":"id","type":"int"},{"name":"v","type":["null","string"]}]}]},
        {"name":"after","type":["null","Value"]},
        {"name":"source","type":{"type":"record","name":"Source","fields":[
            {"name":"ts_us","type":["null","long"]},
            {"name":"lsn","type":["null","long"]},
            {"name":"table","type":"string"}]}},
        {"name":"op","type":"string"}]}"#;

    fn some<'b>(datum: Datum<'b>) -> Datum<'b> {
        Datum::Union(1, Box::new(datum))
    }

    fn record(topic: usize, id: i32, op: &'static str, v: Option<&str>, lsn: i64) -> Seen {
        let none = || Datum::Union(0, Box::new(Datum::Null));
        let row = |v| some(Datum::Record(vec![Datum::Int(id), some(Datum::String(v))]));
        let after = v.map(row);
        let source = vec![
            some(Datum::Long(lsn * 10)),
            some(Datum::Long(lsn)),
            Datum::String("t"),
        ];
        let value = Datum::Record(vec![
            row(""),
            after.unwrap_or_else(none),
            Datum::Record(source),
            Datum::String(op),
        ]);
        let bytes = |id: u32, datum: &Datum<'_>| {
            let mut bytes = Vec::new();
            prefix::put_registry_id(&mut bytes, id);
            datum.put(&mut bytes);
            Some(bytes.into())
        };
        let key = bytes(1, &Datum::Record(vec![Datum::Int(id)]));
        Seen {
            topic,
            key,
            value: bytes(2, &value),
        }
    }

    fn viewer() -> Viewer {
        let mut viewer = Viewer::new(vec![2]);
        viewer.learn(1, KEY.parse().unwrap());
        viewer.learn(2, VALUE.parse().unwrap());
        viewer
    }

    #[test]
    fn schemas_are_asked_for_once() {
        let records = [
            record(0, 1, "c", Some("a"), 5),
            record(0, 2, "c", Some("b"), 6),
        ];
        let mut viewer = Viewer::default();
        assert_eq!(viewer.unknown(&records), Ok(vec![1, 2]));
        assert!(viewer.view(&records).is_err());
        viewer.learn(1, KEY.parse().unwrap());
        assert_eq!(viewer.unknown(&records), Ok(vec![2]));
        viewer.learn(2, VALUE.parse().unwrap());
        assert_eq!(viewer.unknown(&records), Ok(vec![]));
        let no_avro = Seen {
            topic: 0,
            key: None,
            value: Some((*b"{}").into()),
        };
        assert!(viewer.unknown(&[no_avro]).is_err());
    }

    #[test]
    fn topics_are_merged_by_position() {
        let mut viewer = viewer();
        let tombstone = Seen {
            value: None,
            ..record(1, 9, "d", None, 0)
        };
        let records = [
            record(0, 1, "c", Some("second"), 8),
            record(0, 2, "c", Some("third"), 9),
            tombstone,
            record(1, 1, "c", Some("first"), 7),
        ];
        let sights = viewer.view(&records).unwrap();
        let order = sights.iter().map(|sight| {
            let after = sight.change.after.as_ref().unwrap();
            after.cell("v").unwrap().unwrap().to_owned()
        });
        assert_eq!(order.collect::<Vec<_>>(), ["first", "second", "third"]);
        assert_eq!(sights[0].change.committed_us, Some(70));
        assert_eq!(sights[0].change.table, "t");
    }

    #[test]
    fn what_was_is_remembered() {
        let mut viewer = viewer();
        let mut earlier = |record| {
            let sights = viewer.view(&[record]).unwrap();
            let row = sights[0].earlier.as_ref()?;
            Some(row.cell("v").unwrap().unwrap().to_owned())
        };
        assert_eq!(earlier(record(0, 1, "r", Some("a"), 1)), None);
        assert_eq!(
            earlier(record(0, 1, "u", Some("b"), 2)),
            Some("a".to_owned())
        );
        assert_eq!(earlier(record(1, 1, "u", Some("x"), 3)), None);
        assert_eq!(earlier(record(0, 1, "d", None, 4)), Some("b".to_owned()));
        assert_eq!(earlier(record(0, 1, "c", Some("c"), 5)), None);
    }

    #[test]
    fn old_rows_that_are_made_up_are_not_shown() {
        let mut viewer = viewer();
        let records = [record(0, 1, "d", None, 1), record(2, 1, "d", None, 2)];
        let sights = viewer.view(&records).unwrap();
        assert_eq!(sights[0].change.before, None);
        assert!(sights[1].change.before.is_some());
    }

    #[test]
    fn memory_is_bounded() {
        let mut memory = Memory::default();
        let change = |id: &str| Change {
            op: Op::Created,
            table: String::new(),
            before: None,
            after: Some(Row::of(&[("id", Some(id))])),
            lsn: None,
            committed_us: None,
        };
        for id in 0..ROWS_MAX + 10 {
            let id = id.to_string();
            memory.note(0, &Row::of(&[("id", Some(&id))]), &change(&id));
        }
        assert_eq!((memory.rows.len(), memory.ages.len()), (ROWS_MAX, ROWS_MAX));
        let newest = (ROWS_MAX + 9).to_string();
        let key = Row::of(&[("id", Some(&newest))]);
        assert!(memory.note(0, &key, &change("0")).is_some());
        assert!(
            memory
                .note(0, &Row::of(&[("id", Some("0"))]), &change("0"))
                .is_none()
        );
    }
}
