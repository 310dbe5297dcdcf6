//! What must be true: each key's records are its history, in order, once; and nothing is confirmed
//! that a committed reader does not have.

use std::collections::{BTreeMap, BTreeSet};

use kafkawire::batch::Record;
use pgwire::lsn::Lsn;
use serde_json::Value;

use super::database::{Change, OIDS, Row, TABLES};
use super::registry::Registry;
use super::{DEAD_LETTERS, OFFSETS, PREFIX, World};

/// Stands where the value was not told.
const UNAVAILABLE: &str = "__debezium_unavailable_value";

/// A row as it was told: its version, and the size of its payload, unless that was left out.
type Told = (i64, Option<usize>);

/// A record of a change, as far as it is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    /// A row of the snapshot.
    Read(Told),
    Change {
        op: char,
        lsn: u64,
        after: Option<Told>,
    },
    Tombstone,
    /// The table was truncated, of which nothing is told.
    Truncated,
}

/// A row that was left out: its change's LSN, 0 in a copy; table and key.
type Letter = (u64, usize, i32);

/// What committed readers have, for the question whether a position may be confirmed.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    /// LSN, table and key of each change.
    visible: BTreeSet<(u64, usize, i32)>,
    /// The same of changes that were left out.
    letters: BTreeSet<Letter>,
    /// Transactions up to here, of the database's, are known to be visible.
    checked: usize,
    pub(crate) records: u64,
    /// Rows and positions are written in one transaction.
    pub(crate) exactly_once: bool,
    /// Where each table's history begins: at the snapshot that its first stored row belongs to,
    /// as the position stored with that row says. What happened before is in that snapshot's rows,
    /// or gone by then, and nobody is told of it. Without exactly-once nothing that is stored can
    /// say that no row was sent yet, so all histories begin with the last position that is there
    /// before any record: of several, since what a dead predecessor had on its way may come late.
    first: [Option<u64>; 3],
    /// The position that was stored last, the newest, and whether an older one was stored after
    /// it.
    last: u64,
    newest: u64,
    pub(crate) went_back: bool,
    /// How far stored positions say that everything was sent.
    stored: u64,
    /// The position that was stored last is not one of a snapshot that goes on.
    pub(crate) settled: bool,
}

impl Judge {
    /// A record became visible.
    pub(crate) fn see(&mut self, registry: &Registry, topic: &str, record: &Record<'_>) {
        if topic == DEAD_LETTERS {
            self.letters.extend(letter(record));
            return;
        }
        let Some(table) = table_of(topic) else {
            let value = serde_json::from_slice::<Value>(record.value.unwrap_or_default());
            if let Ok(value) = value
                && topic == OFFSETS
            {
                let number = |name: &str| value.get(name).and_then(Value::as_u64);
                if let Some(lsn) = number("lsn") {
                    self.begin(lsn, &value);
                    self.went_back |= lsn < self.newest;
                    self.newest = self.newest.max(lsn);
                    self.last = lsn;
                    let commit = number("lsn_commit").unwrap_or_default();
                    self.stored = self.stored.max(lsn).max(commit);
                }
                self.settled = value.get("snapshot_completed") != Some(&Value::Bool(false));
            }
            return;
        };
        self.records += 1;
        let Some((key, seen)) = read(registry, record) else {
            return;
        };
        if let Seen::Change { lsn, .. } = seen {
            self.visible.insert((lsn, table, key));
        }
    }

    /// A copy begins. Whether the stored position is behind what the slot has let go of, so that
    /// the changes between cannot be told.
    pub(crate) fn copies_over_gap(&self, confirmed: u64) -> bool {
        self.last > 0 && self.last < confirmed
    }

    /// A position is stored: tables that it calls begun begin there.
    fn begin(&mut self, lsn: u64, position: &Value) {
        let copied = position.get("penstock_copied").and_then(Value::as_str);
        let copied = copied.map(|text| serde_json::from_str::<Value>(text).unwrap_or_default());
        for (first, oid) in self.first.iter_mut().zip(OIDS) {
            let begun = copied.as_ref().is_none_or(|copied| {
                let has = |of: &str, oid_of: fn(&Value) -> &Value| {
                    let list = copied[of].as_array();
                    list.is_some_and(|list| list.iter().any(|it| *oid_of(it) == oid))
                };
                has("finished", |it| it) || has("begun", |it| &it[0])
            });
            if !self.exactly_once && self.records == 0 {
                *first = Some(lsn);
            } else if begun || !self.exactly_once {
                first.get_or_insert(lsn);
            }
        }
    }
}

fn table_of(topic: &str) -> Option<usize> {
    let name = topic.strip_prefix(PREFIX)?.strip_prefix(".public.")?;
    TABLES.iter().position(|table| *table == name)
}

fn letter(record: &Record<'_>) -> Option<Letter> {
    let value = serde_json::from_slice::<Value>(record.value?).ok()?;
    let table = value["table"].as_str()?.strip_prefix("public.")?;
    let table = TABLES.iter().position(|name| *name == table)?;
    let id = value["key"]["id"].to_string();
    let id = id.trim_matches('"').parse().ok()?;
    let Lsn(lsn) = value["lsn"].as_str()?.parse().ok()?;
    let copied = value["op"] == "r";
    Some((if copied { 0 } else { lsn }, table, id))
}

/// The letters that say that this change was left out: by the key it had, or has.
fn letters_of(change: &Change) -> impl Iterator<Item = Letter> {
    let rows = change.old.iter().chain(&change.new);
    rows.map(|row| (change.lsn, change.table, row.id))
}

fn read(registry: &Registry, record: &Record<'_>) -> Option<(i32, Seen)> {
    let key = registry.read(record.key?)?;
    let key = i32::try_from(key.get("id")?.as_i64()?).ok()?;
    let Some(value) = record.value else {
        return Some((key, Seen::Tombstone));
    };
    let value = registry.read(value)?;
    let op = value.get("op")?.as_str()?.chars().next()?;
    let after = value.get("after").filter(|after| !after.is_null());
    let told = |row: &Value| {
        let version = row.get("version")?.as_i64()?;
        let payload = row.get("payload")?.as_str()?;
        Some((version, (payload != UNAVAILABLE).then_some(payload.len())))
    };
    if op == 'r' {
        return Some((key, Seen::Read(told(after?)?)));
    }
    let lsn = value.get("source")?.get("lsn")?.as_u64()?;
    let after = after.and_then(told);
    Some((key, Seen::Change { op, lsn, after }))
}

/// One thing that happened to a key.
#[derive(Debug)]
struct Event {
    commit: u64,
    seen: Seen,
    /// Nothing is told of it, or need not be.
    silent: bool,
}

impl World {
    /// Everything that commits before `flushed` must be visible now, and a stored position must say
    /// so.
    pub(crate) fn check_confirmed(&self, flushed: u64) {
        if !self.judged.get() {
            return;
        }
        let stored = self.judge.borrow().stored;
        if flushed > stored {
            return self.fail(format!(
                "{} is confirmed, and the last position that is stored is {}",
                Lsn(flushed),
                Lsn(stored)
            ));
        }
        let mut missing = None;
        let twins = self.has_twins();
        {
            let database = self.database.borrow();
            let last = database.points.last().copied().filter(|_| twins);
            let judge = &mut *self.judge.borrow_mut();
            while let Some(transaction) = database.committed.get(judge.checked) {
                if transaction.commit >= flushed {
                    break;
                }
                judge.checked += 1;
                // A table that has not begun will do so at or behind `flushed`, or
                // `check_history` misses what was left out.
                let promised = |change: &&Change| {
                    judge.first[change.table]
                        .is_some_and(|first| first.max(last.unwrap_or(0)) <= transaction.commit)
                };
                for change in transaction.changes.iter().filter(promised) {
                    if letters_of(change).any(|letter| judge.letters.contains(&letter)) {
                        continue;
                    }
                    for row in change.old.iter().chain(&change.new) {
                        let place = (change.lsn, change.table, row.id);
                        if !judge.visible.contains(&place) {
                            missing = Some((place, transaction.commit));
                        }
                    }
                }
            }
        }
        if let Some(((lsn, table, key), commit)) = missing {
            self.fail(format!(
                "{} is confirmed, but the change of {} {key} at {}, committed at {}, is not in \
                 Kafka",
                Lsn(flushed),
                TABLES[table],
                Lsn(lsn),
                Lsn(commit)
            ));
        }
    }

    /// Without exactly-once two that both live may copy at once, and store positions over each
    /// other: nothing of what happened since the last snapshot is missing, and more cannot be said.
    fn has_twins(&self) -> bool {
        !self.judge.borrow().exactly_once && self.has_seen("pipe doubled")
    }

    /// The whole history against what a committed reader sees.
    pub(crate) fn check_history(&self) {
        let database = self.database.borrow();
        let cluster = self.cluster.borrow();
        let registry = self.registry.borrow();
        let Judge {
            first: firsts,
            exactly_once,
            ..
        } = *self.judge.borrow();
        let mut letters: BTreeMap<Letter, u32> = BTreeMap::new();
        cluster.committed(DEAD_LETTERS, |_, record| {
            let Some(letter) = letter(record) else {
                return self.fail(format!("a dead letter that is none: {record:?}"));
            };
            *letters.entry(letter).or_default() += 1;
        });
        for (&(lsn, table, key), &times) in &letters {
            let changes = database.committed.iter().flat_map(|it| &it.changes);
            let of_it = changes.filter(|it| it.table == table && it.is_huge());
            let mut rows = of_it.flat_map(|it| letters_of(it).map(|it| (it.0, it.2)));
            if !rows.any(|(at, id)| id == key && (lsn == 0 || at == lsn)) {
                return self.fail(format!("{} {key} was left out", TABLES[table]));
            }
            // The copy may be interrupted right behind a letter, and comes by again.
            if exactly_once && times > 1 && lsn > 0 {
                return self.fail(format!("{} {key} was left out twice", TABLES[table]));
            }
        }
        for (table, name) in TABLES.iter().enumerate() {
            let Some(first) = firsts[table] else {
                return self.fail(format!("{name} was never begun"));
            };
            let last = database.points.last().copied().unwrap_or(first);
            let first = if self.has_twins() { last } else { first };
            let (at_first, at_last) = (database.rows_at(first), database.rows_at(last));
            // What was not told of a row makes the copy tell of it again, and so do places that
            // mean nothing any more.
            let lacks = |it: &Change| it.table == table && it.lacks_payload();
            let lacking = database
                .committed
                .iter()
                .filter(|it| it.commit >= first && it.commit < last)
                .any(|it| it.changes.iter().any(lacks));
            let meanwhile = |it: &(u64, usize)| it.1 == table && (first..=last).contains(&it.0);
            let moved = database.rewritten.iter().any(meanwhile);
            let round = database.next_xid > u64::from(u32::MAX);
            let by_place = database.by_tid && !moved && !round && !lacking;
            let rules = Rules {
                exactly_once,
                read_once: exactly_once && by_place,
                in_any_order: self.has_twins(),
                last_point: last,
            };
            let mut expected: BTreeMap<i32, Vec<Event>> = BTreeMap::new();
            let mut rows = at_first[table].clone();
            for transaction in database.committed.iter().filter(|it| it.commit >= first) {
                let commit = transaction.commit;
                for change in transaction.changes.iter().filter(|it| it.table == table) {
                    let silent = letters_of(change).any(|letter| letters.contains_key(&letter));
                    let mut happened: Vec<(i32, Seen)> = events(change);
                    if change.truncates() {
                        happened = rows.keys().map(|&key| (key, Seen::Truncated)).collect();
                    }
                    for (key, seen) in happened {
                        let silent = silent || seen == Seen::Truncated;
                        let event = Event {
                            commit,
                            seen,
                            silent,
                        };
                        expected.entry(key).or_default().push(event);
                    }
                    apply(&mut rows, change);
                }
            }
            let mut found: BTreeMap<i32, Vec<Seen>> = BTreeMap::new();
            let mut homes: BTreeMap<i32, usize> = BTreeMap::new();
            cluster.committed(&format!("{PREFIX}.public.{name}"), |partition, record| {
                let Some((key, seen)) = read(&registry, record) else {
                    return self.fail(format!("a record that is none of ours: {record:?}"));
                };
                if *homes.entry(key).or_insert(partition) != partition {
                    self.fail(format!("{name} {key} is in two partitions"));
                }
                found.entry(key).or_default().push(seen);
            });
            let keys: BTreeSet<i32> = expected
                .keys()
                .chain(at_first[table].keys())
                .chain(found.keys())
                .copied()
                .collect();
            for key in keys {
                let found = found.remove(&key).unwrap_or_default();
                let expected = expected.remove(&key).unwrap_or_default();
                let rows = (at_first[table].get(&key), at_last[table].contains_key(&key));
                let left_out = letters.contains_key(&(0, table, key));
                if let Err(why) = compare(rows, left_out, &expected, &found, &rules) {
                    return self.fail(format!(
                        "{name} {key}: {why}\n  at the slot's beginning: {:?}\n  then: {:?}\n  \
                         in Kafka: {found:?}\n  consistent points: {:?}",
                        rows.0.map(|row| row.version),
                        expected,
                        (first, &database.points, &rules),
                    ));
                }
            }
        }
    }
}

fn apply(rows: &mut BTreeMap<i32, Row>, change: &Change) {
    if change.truncates() {
        rows.clear();
    }
    if let Some(old) = &change.old {
        rows.remove(&old.id);
    }
    if let Some(new) = &change.new {
        rows.insert(new.id, new.clone());
    }
}

/// The records of a change, tombstones left out, each with its key.
fn events(change: &Change) -> Vec<(i32, Seen)> {
    let payload = |row: &Row| (!change.lacks_payload()).then_some(row.payload.len());
    let after = |row: &Row| Some((row.version, payload(row)));
    let lsn = change.lsn;
    let seen = |op, after| Seen::Change { op, lsn, after };
    match (&change.old, &change.new) {
        (Some(old), Some(new)) if old.id == new.id => vec![(new.id, seen('u', after(new)))],
        (old, new) => {
            let deleted = old.as_ref().map(|old| (old.id, seen('d', None)));
            let created = new.as_ref().map(|new| (new.id, seen('c', after(new))));
            deleted.into_iter().chain(created).collect()
        }
    }
}

/// What is promised of a table.
#[derive(Debug)]
struct Rules {
    /// Nothing comes twice.
    exactly_once: bool,
    /// No row is read twice, nor where the stream has told of it: interrupted copies went on.
    read_once: bool,
    /// See [`World::has_twins`].
    in_any_order: bool,
    /// The last snapshot's.
    last_point: u64,
}

/// One key: the row it had at the slot's consistent point (and whether it has one in the last
/// snapshot), whether a copy has left it out, what happened from then on, and what is in Kafka.
fn compare(
    (before, in_last): (Option<&Row>, bool),
    left_out: bool,
    expected: &[Event],
    found: &[Seen],
    rules: &Rules,
) -> Result<(), String> {
    let &Rules {
        exactly_once,
        read_once,
        in_any_order,
        last_point,
    } = rules;
    if in_any_order {
        let mut told = expected.iter().filter(|event| !event.silent);
        let missing = told.find(|event| !found.contains(&event.seen));
        return missing.map_or(Ok(()), |event| {
            Err(format!("{:?} is not there", event.seen))
        });
    }
    // From there on, the first of which something must be told.
    let heard = |from: usize| {
        let told = |event: &Event| !event.silent;
        expected
            .iter()
            .skip(from)
            .position(told)
            .map_or(expected.len(), |at| from + at)
    };
    let mut next = 0;
    let mut most = 0;
    let mut reads = 0;
    let state = |next: usize| match next.checked_sub(1).map(|at| &expected[at].seen) {
        None => before.map(|row| row.version),
        Some(Seen::Change { after, .. }) => after.map(|(version, _)| version),
        Some(_) => None,
    };
    let mut previous = None;
    // The payload, as far as it was told.
    let mut payload = None;
    for seen in found {
        match seen {
            Seen::Truncated => return Err("a truncation was told of".to_owned()),
            Seen::Tombstone => {
                if exactly_once && !matches!(previous, Some(Seen::Change { op: 'd', .. })) {
                    return Err("a tombstone without its deletion".to_owned());
                }
            }
            Seen::Read((version, size)) => {
                let known = (next..=heard(next)).any(|at| state(at) == Some(*version));
                // Where rows may come twice, a snapshot that begins again may go back.
                let again = !exactly_once && (0..next).any(|at| state(at) == Some(*version));
                if !known && !again {
                    return Err(format!(
                        "version {version} was read where {:?} is known",
                        state(next)
                    ));
                }
                reads += 1;
                if read_once && (reads > 1 || (0..next).any(|at| !expected[at].silent)) {
                    return Err(format!("version {version} was read, and known before"));
                }
                payload = *size;
            }
            change @ Seen::Change { op, after, .. } => {
                let at = expected.iter().position(|event| event.seen == *change);
                match at {
                    None => return Err(format!("{change:?} never happened")),
                    // Of a new key the deletion under the old one was there before.
                    Some(at) if expected[at].silent && exactly_once && *op != 'd' => {
                        return Err(format!("{op} {at} came, and was left out"));
                    }
                    Some(at) if (next..=heard(next)).contains(&at) => next = at + 1,
                    Some(at) if at <= most && !exactly_once => next = at + 1,
                    Some(at) if at < next => return Err(format!("{op} {at} came twice")),
                    Some(at) => return Err(format!("{op} {at} came, and {next} did not")),
                }
                payload = match after {
                    Some((_, None)) => payload,
                    Some((_, told)) => *told,
                    None => None,
                };
            }
        }
        if let Some(Seen::Change { op: 'd', .. }) = previous
            && *seen != Seen::Tombstone
            && exactly_once
        {
            return Err("a deletion without its tombstone".to_owned());
        }
        previous = Some(seen.clone());
        most = most.max(next);
    }
    if exactly_once && matches!(previous, Some(Seen::Change { op: 'd', .. })) {
        return Err("a deletion without its tombstone".to_owned());
    }
    // What a killed process had on its way may come late, and again, where nothing fences it.
    most = heard(most);
    if most < expected.len() {
        return Err(format!("change {most} is not there"));
    }
    // Who was there at the last snapshot, and had not changed since the first, was read; of the
    // others the stream tells.
    let changed = expected.iter().any(|event| event.commit < last_point);
    if reads == 0 && in_last && before.is_some() && !changed && !left_out {
        return Err("the row was not read".to_owned());
    }
    // Who was there from the beginning is known with all of its values.
    let only_updated = expected
        .iter()
        .all(|event| matches!(event.seen, Seen::Change { op: 'u', .. }) && !event.silent);
    if before.is_some() && only_updated && payload.is_none() && !left_out {
        return Err("its payload was never told".to_owned());
    }
    Ok(())
}
