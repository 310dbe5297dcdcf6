//! What a PostgreSQL has: a history of transactions, rows in their places, slots over both.
//!
//! Kept as PostgreSQL keeps it: the order of commits and the LSNs of their changes, which overlap
//! between transactions; the versions of a row, each with the xid (perhaps a subtransaction's) that
//! made it and the tid where it lies, which another row may have once nobody sees it; snapshots,
//! and what they do not see; a slot's consistent point, behind every transaction that was running;
//! its confirmed position, which a crash takes back to what was last written to disk.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::Random;

pub(crate) const TABLES: [&str; 3] = ["plain", "full", "rare"];
/// `relreplident` of each.
pub(crate) const IDENTITIES: [u8; 3] = [b'd', b'f', b'd'];
pub(crate) const OIDS: [u32; 3] = [16_401, 16_402, 16_403];
/// A longer value lies outside of its row, and is not told of again where it does not change.
const TOASTED: usize = 100;
/// From here on a row may be left out, for a connection or a broker that takes no more.
const HUGE: usize = 12 << 10;
/// Lines of a block.
const LINES: u64 = 20;

/// A row of any of the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) id: i32,
    /// Never the same twice.
    pub(crate) version: i64,
    pub(crate) payload: Rc<str>,
    /// Block and line, as one number.
    pub(crate) tid: u64,
    /// Who made this version.
    pub(crate) xmin: u64,
}

impl Row {
    pub(crate) fn is_huge(&self) -> bool {
        self.payload.len() >= HUGE
    }
}

/// What happened to a row; without either, a table was truncated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) lsn: u64,
    pub(crate) table: usize,
    /// How many columns the table has.
    pub(crate) columns: usize,
    pub(crate) old: Option<Row>,
    pub(crate) new: Option<Row>,
}

impl Change {
    /// The payload is the old one, and too long to be told of again.
    pub(crate) fn keeps_payload(&self) -> bool {
        let (Some(old), Some(new)) = (&self.old, &self.new) else {
            return false;
        };
        Rc::ptr_eq(&old.payload, &new.payload) && new.payload.len() >= TOASTED
    }

    /// There may be no room for what is told of it.
    pub(crate) fn is_huge(&self) -> bool {
        let rows = self.old.iter().chain(&self.new);
        rows.into_iter().any(Row::is_huge)
    }

    pub(crate) fn truncates(&self) -> bool {
        self.old.is_none() && self.new.is_none()
    }

    /// What is told of it lacks the payload.
    pub(crate) fn lacks_payload(&self) -> bool {
        self.keeps_payload() && IDENTITIES[self.table] != b'f'
    }
}

/// A transaction that has committed.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) xid: u64,
    pub(crate) changes: Vec<Change>,
    /// Start of the commit record.
    pub(crate) commit: u64,
    pub(crate) end: u64,
    pub(crate) ts_us: i64,
}

/// One that runs.
#[derive(Debug, Default)]
struct Open {
    began: u64,
    changes: Vec<Change>,
    /// Its own xid, and those of its subtransactions.
    xids: Vec<u64>,
}

pub(crate) type Rows = [BTreeMap<i32, Row>; 3];

/// The rows as a transaction sees them.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) rows: Rows,
    /// `txid_current_snapshot()`
    pub(crate) view: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) restart: u64,
    pub(crate) confirmed: u64,
    /// What a crash leaves.
    pub(crate) on_disk: u64,
    /// The line of whoever holds it.
    pub(crate) active: Option<u64>,
    pub(crate) temporary: bool,
    pub(crate) ready: bool,
}

/// The server.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) version: u32,
    pub(crate) lsn: u64,
    pub(crate) next_xid: u64,
    next_version: i64,
    pub(crate) committed: Vec<Rc<Transaction>>,
    committed_xids: BTreeSet<u64>,
    open: BTreeMap<u64, Open>,
    pub(crate) rows: Rows,
    /// How many blocks each table has.
    pub(crate) blocks: u64,
    /// `pg_relation_filenode` of each table.
    pub(crate) filenodes: [u32; 3],
    /// How many columns each table has: some have one more for a while, of nothing but NULLs.
    pub(crate) columns: [usize; 3],
    /// When a table's rows went to another file.
    pub(crate) rewritten: Vec<(u64, usize)>,
    /// Rows can be asked for by their tids.
    pub(crate) by_tid: bool,
    /// Every type has a binary form.
    pub(crate) binary: bool,
    /// Payloads are.
    pub(crate) large: bool,
    /// A few are too large.
    pub(crate) huge: bool,
    /// A copy rests for so long after some rows.
    pub(crate) copy_rest: Duration,
    pub(crate) slots: BTreeMap<String, Slot>,
    pub(crate) published: bool,
    /// Exported, while the exporting line lives.
    pub(crate) snapshots: BTreeMap<String, Rc<Snapshot>>,
    /// Those that anybody still uses.
    seen: Vec<Weak<Snapshot>>,
    /// Nobody can connect before.
    down_until: Option<Instant>,
    /// It takes connections, to say that it is starting up.
    starting_until: Option<Instant>,
    /// Starts of the server: whoever connected before another one is told to go.
    pub(crate) starts: u32,
    /// Consistent points of the connector's slot and of temporary ones, in order.
    pub(crate) points: Vec<u64>,
    pub(crate) slot_name: &'static str,
}

impl Database {
    pub(crate) fn new(random: &mut Random) -> Self {
        Self {
            version: random.pick(&[130_012, 150_018, 180_001]),
            lsn: 0x0100_0000,
            // In some clusters xids have come round.
            next_xid: random.pick(&[700, 700, 700, 700, 700, (3 << 32) + 9]),
            next_version: 1,
            committed: Vec::new(),
            committed_xids: BTreeSet::new(),
            open: BTreeMap::new(),
            rows: Rows::default(),
            blocks: random.pick(&[3, 40, 5000]),
            filenodes: OIDS,
            columns: [3; 3],
            rewritten: Vec::new(),
            by_tid: !random.chance(1, 8),
            binary: !random.chance(1, 4),
            large: false,
            huge: false,
            copy_rest: Duration::from_millis(random.pick(&[0, 0, 30, 200])),
            slots: BTreeMap::new(),
            published: false,
            snapshots: BTreeMap::new(),
            seen: Vec::new(),
            down_until: None,
            starting_until: None,
            starts: 0,
            points: Vec::new(),
            slot_name: "simulated",
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.down_until
            .is_none_or(|until| engine::net::now() >= until)
    }

    pub(crate) fn is_starting(&self) -> bool {
        self.starting_until
            .is_some_and(|until| engine::net::now() < until)
    }

    /// What the connector's slot was told last; zero: there is none.
    pub(crate) fn confirmed(&self) -> u64 {
        self.slots
            .get(self.slot_name)
            .map_or(0, |slot| slot.confirmed)
    }

    pub(crate) fn has_slot(&self) -> bool {
        self.slots
            .get(self.slot_name)
            .is_some_and(|slot| slot.ready)
    }

    pub(crate) fn open_transactions(&self) -> usize {
        self.open.len()
    }

    /// The xids of those that run.
    pub(crate) fn running(&self) -> BTreeSet<u64> {
        self.open.keys().copied().collect()
    }

    pub(crate) fn is_running(&self, xid: u64) -> bool {
        self.open.contains_key(&xid)
    }

    /// The rows as they were at `point`.
    pub(crate) fn rows_at(&self, point: u64) -> Rows {
        let mut rows = Rows::default();
        for transaction in self.committed.iter().take_while(|it| it.commit < point) {
            apply(&mut rows, &transaction.changes);
        }
        rows
    }

    /// What commits now is seen by it, and nothing later.
    pub(crate) fn snapshot(&mut self) -> Rc<Snapshot> {
        let end = self
            .committed_xids
            .last()
            .map_or(self.next_xid, |xid| xid + 1);
        let oldest = self.open.keys().next().copied().unwrap_or(end).min(end);
        let unseen: Vec<String> = (oldest..end)
            .filter(|xid| !self.committed_xids.contains(xid))
            .map(|xid| xid.to_string())
            .collect();
        let snapshot = Rc::new(Snapshot {
            rows: self.rows.clone(),
            view: format!("{oldest}:{end}:{}", unseen.join(",")),
        });
        self.seen.retain(|seen| seen.strong_count() > 0);
        self.seen.push(Rc::downgrade(&snapshot));
        snapshot
    }

    /// Gives out an xid.
    pub(crate) fn assign(&mut self) -> u64 {
        self.next_xid += 1;
        self.next_xid
    }

    /// WAL of nobody's interest.
    pub(crate) fn write_other(&mut self, random: &mut Random) {
        self.lsn += 8 * (1 + random.below(400));
    }

    pub(crate) fn begin(&mut self) -> u64 {
        let xid = self.assign();
        let open = Open {
            began: self.lsn,
            changes: Vec::new(),
            xids: vec![xid],
        };
        self.open.insert(xid, open);
        xid
    }

    /// A subtransaction begins: what follows is its own.
    pub(crate) fn savepoint(&mut self, xid: u64) -> u64 {
        let sub = self.assign();
        if let Some(open) = self.open.get_mut(&xid) {
            open.xids.push(sub);
        }
        sub
    }

    /// Inserts, changes or deletes a row, at a line of the first block; a payload that is left out
    /// stays as it is.
    pub(crate) fn put(
        &mut self,
        xid: u64,
        table: usize,
        old: Option<i32>,
        new: Option<(i32, i64, Option<&str>)>,
        line: u64,
    ) {
        let Some(open) = self.open.get_mut(&xid) else {
            return;
        };
        let mut mine = open.changes.iter().rev().filter_map(|it| it.new.as_ref());
        let old = old.and_then(|id| {
            let own = mine.find(|row| row.id == id);
            own.or_else(|| self.rows[table].get(&id)).cloned()
        });
        let kept = old.as_ref().map(|old| Rc::clone(&old.payload));
        let new = new.map(|(id, version, payload)| Row {
            id,
            version,
            payload: payload.map(Rc::from).or(kept).unwrap_or_default(),
            tid: line,
            xmin: open.xids.last().copied().unwrap_or(xid),
        });
        let lsn = self.lsn;
        let columns = self.columns[table];
        self.lsn += 64;
        open.changes.push(Change {
            lsn,
            table,
            columns,
            old,
            new,
        });
    }

    /// One of the transactions that run.
    pub(crate) fn any_open(&self, random: &mut Random) -> Option<u64> {
        let at = random.index(self.open.len());
        self.open.keys().nth(at).copied()
    }

    /// Makes a change in a transaction, of a row that no other has locked. `false`: they all are.
    pub(crate) fn change(&mut self, xid: u64, random: &mut Random, keys: u64) -> bool {
        let last = self.open.get(&xid).and_then(|open| open.changes.last());
        let table = match last {
            // Another row of the same INSERT, perhaps.
            Some(last) if last.old.is_none() && random.chance(1, 2) => last.table,
            _ => random.pick(&[0, 0, 0, 1, 1, 2]),
        };
        let is_locked = |id: i32| {
            self.open.iter().any(|(other, open)| {
                *other != xid
                    && open.changes.iter().any(|change| {
                        change.table == table
                            && change.old.iter().chain(&change.new).any(|row| row.id == id)
                    })
            })
        };
        let mut draw = || {
            let id = i32::try_from(random.below(keys)).unwrap_or_default();
            (!is_locked(id)).then_some(id)
        };
        let Some(id) = draw() else {
            return false;
        };
        let other = draw();
        let Some(open) = self.open.get(&xid) else {
            return false;
        };
        let seen = |id: i32| {
            let mut row = self.rows[table].get(&id);
            for change in open.changes.iter().filter(|change| change.table == table) {
                if change.old.as_ref().is_some_and(|old| old.id == id) {
                    row = None;
                }
                if let Some(new) = change.new.as_ref().filter(|new| new.id == id) {
                    row = Some(new);
                }
            }
            row.cloned()
        };
        let old = seen(id);
        let kept = old.as_ref().filter(|_| random.chance(1, 2));
        let payload = match kept {
            Some(old) => Rc::clone(&old.payload),
            None if self.huge && random.chance(1, 25) => {
                let size = HUGE + random.index(110_000);
                match random.chance(1, 2) {
                    // JSON makes six of each.
                    true => "\u{1}".repeat(size).into(),
                    false => text(random, size),
                }
            }
            None => payload(random, self.large),
        };
        let mut new_id = id;
        let mut deleted = false;
        if old.is_some() {
            match random.below(8) {
                0..2 => deleted = true,
                2 => {
                    if let Some(other) = other
                        && other != id
                        && seen(other).is_none()
                    {
                        new_id = other;
                    }
                }
                _ => {}
            }
        }
        // Rows of one multi-insert share an LSN.
        let together = old.is_none()
            && open.changes.last().is_some_and(|last| {
                last.table == table && last.lsn + 64 >= self.lsn && last.old.is_none()
            })
            && random.chance(3, 4);
        let lsn = match open.changes.last() {
            Some(last) if together => last.lsn,
            _ => {
                let lsn = self.lsn;
                self.lsn += 56 + 8 * random.below(10);
                lsn
            }
        };
        let tid = self.free_tid(table, random);
        if random.chance(1, 12) {
            // A savepoint: what follows is a subtransaction's.
            self.savepoint(xid);
        }
        let version = self.next_version;
        self.next_version += 1;
        let columns = self.columns[table];
        let Some(open) = self.open.get_mut(&xid) else {
            return false;
        };
        let new = (!deleted).then(|| Row {
            id: new_id,
            version,
            payload,
            tid,
            xmin: open.xids.last().copied().unwrap_or(xid),
        });
        open.changes.push(Change {
            lsn,
            table,
            columns,
            old,
            new,
        });
        true
    }

    /// A place where no version lies that anybody sees.
    fn free_tid(&mut self, table: usize, random: &mut Random) -> u64 {
        let snapshots: Vec<Rc<Snapshot>> = self.seen.iter().filter_map(Weak::upgrade).collect();
        let mut tries = 0;
        loop {
            let tid = random.below(self.blocks) << 16 | (1 + random.below(LINES));
            let has = |rows: &Rows| rows[table].values().any(|row| row.tid == tid);
            let taken = has(&self.rows)
                || snapshots.iter().any(|snapshot| has(&snapshot.rows))
                || self
                    .open
                    .values()
                    .flat_map(|open| &open.changes)
                    .filter(|change| change.table == table)
                    .flat_map(|change| change.old.iter().chain(&change.new))
                    .any(|row| row.tid == tid);
            if !taken {
                return tid;
            }
            tries += 1;
            if tries % 8 == 0 {
                self.blocks += 1;
            }
        }
    }

    pub(crate) fn commit(&mut self, xid: u64, now_us: i64) {
        let Some(open) = self.open.remove(&xid) else {
            return;
        };
        let commit = self.lsn;
        self.lsn += 48;
        apply(&mut self.rows, &open.changes);
        self.committed_xids.extend(open.xids);
        if open.changes.is_empty() {
            return;
        }
        self.committed.push(Rc::new(Transaction {
            xid,
            changes: open.changes,
            commit,
            end: self.lsn,
            ts_us: now_us,
        }));
    }

    pub(crate) fn roll_back(&mut self, xid: u64) {
        self.open.remove(&xid);
        self.lsn += 40;
    }

    /// VACUUM FULL of one of the tables, unless somebody reads or writes it: its rows go to another
    /// file, in other places. Whether it was.
    pub(crate) fn rewrite(&mut self, random: &mut Random) -> bool {
        let table = random.index(TABLES.len());
        if self.is_locked(table) {
            return false;
        }
        let mut places: Vec<u64> = Vec::new();
        for row in self.rows[table].values_mut() {
            row.tid = loop {
                let tid = random.below(self.blocks) << 16 | (1 + random.below(LINES));
                if !places.contains(&tid) {
                    break tid;
                }
                self.blocks += 1;
            };
            places.push(row.tid);
        }
        self.filenodes[table] += 1000;
        self.lsn += 4096;
        self.rewritten.push((self.lsn, table));
        true
    }

    /// TRUNCATE of one of the tables, in a transaction of its own, unless somebody reads or writes
    /// it. Whether it was.
    pub(crate) fn truncate(&mut self, random: &mut Random, now_us: i64) -> bool {
        let table = random.index(TABLES.len());
        if self.is_locked(table) {
            return false;
        }
        let xid = self.begin();
        self.put(xid, table, None, None, 0);
        self.filenodes[table] += 1000;
        self.commit(xid, now_us);
        true
    }

    /// ALTER TABLE: a column comes, or goes. Whether it did.
    pub(crate) fn alter(&mut self, random: &mut Random) -> bool {
        let table = random.index(TABLES.len());
        if self.is_locked(table) {
            return false;
        }
        self.columns[table] = 7 - self.columns[table];
        self.lsn += 512;
        true
    }

    /// Whether somebody reads or writes the table.
    fn is_locked(&self, table: usize) -> bool {
        let mut changes = self.open.values().flat_map(|open| &open.changes);
        let read = self.seen.iter().any(|seen| seen.strong_count() > 0);
        read || changes.any(|change| change.table == table)
    }

    /// Slots are written to disk; what they hold back is looked at.
    pub(crate) fn checkpoint(&mut self) {
        let oldest = self.open.values().map(|open| open.began).min();
        for slot in self.slots.values_mut() {
            slot.on_disk = slot.confirmed;
            slot.restart = slot
                .restart
                .max(slot.confirmed.min(oldest.unwrap_or(slot.confirmed)));
        }
    }

    /// The server is shut down, and waits for nobody: slots are written to disk.
    pub(crate) fn restart(&mut self, back: Instant, starts: Duration) {
        self.checkpoint();
        self.open.clear();
        self.snapshots.clear();
        self.down_until = Some(back);
        self.starting_until = Some(back + starts);
        self.starts += 1;
    }

    /// The server dies: what had committed and what was written of the slots remains.
    pub(crate) fn crash(&mut self, back: Instant, starts: Duration) {
        self.open.clear();
        self.snapshots.clear();
        self.slots.retain(|_, slot| slot.ready && !slot.temporary);
        for slot in self.slots.values_mut() {
            slot.active = None;
            slot.confirmed = slot.on_disk;
        }
        self.down_until = Some(back);
        self.starting_until = Some(back + starts);
        self.starts += 1;
    }
}

fn payload(random: &mut Random, large: bool) -> Rc<str> {
    let size = match random.below(40) {
        _ if large => random.index(8000),
        0 => random.index(6000),
        1..10 => random.index(300),
        _ => random.index(20),
    };
    text(random, size)
}

fn text(random: &mut Random, size: usize) -> Rc<str> {
    "0123456789abcdef"
        .chars()
        .cycle()
        .skip(random.index(16))
        .take(size)
        .collect::<String>()
        .into()
}

fn apply(rows: &mut Rows, changes: &[Change]) {
    for change in changes {
        if change.truncates() {
            rows[change.table].clear();
        }
        if let Some(old) = &change.old {
            rows[change.table].remove(&old.id);
        }
        if let Some(new) = &change.new {
            rows[change.table].insert(new.id, new.clone());
        }
    }
}
