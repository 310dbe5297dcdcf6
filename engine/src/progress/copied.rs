//! What an initial copy has done so far: stored together with its rows, so that another start goes
//! on behind them.
//!
//! A place in a table is a *tid*: block and line, where the server has a row's version. Rows come
//! in the order of their tids, so what is done is a few ranges of them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::offsets::StreamPosition;

/// Behind every tid: blocks have 32 bits, lines 16.
const END: u64 = 1 << 48;

/// A row version's place, as one number.
#[must_use]
pub fn tid(block: u32, line: u16) -> u64 {
    u64::from(block) << 16 | u64::from(line)
}

/// How far an initial copy has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copied {
    /// No position was stored when it began: nobody has been told of these tables before.
    pub first: bool,
    /// The snapshots that tables were begun under, as `txid_current_snapshot()` prints them.
    pub views: Vec<String>,
    /// Tables that are copied, by oid.
    pub finished: BTreeSet<u32>,
    /// Tables of which rows may have been sent.
    pub begun: Vec<Begun>,
    /// The last event of the stream, where that lies inside a transaction: what happened since the
    /// snapshot before is being sent.
    pub inside: Option<StreamPosition>,
}

/// A table that is being copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Begun {
    /// Its oid.
    pub table: u32,
    /// A row was sent as changed that had not been copied, without a value that did not change.
    pub lacks: bool,
    /// Where its rows are; empty when it is copied by one statement as a whole.
    pub heaps: Vec<Heap>,
}

/// One file of rows: a table, or a partition of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heap {
    /// Its oid.
    pub oid: u32,
    /// `pg_relation_filenode`: another one, and the tids mean nothing any more.
    pub filenode: u32,
    /// Of [`Copied::views`].
    pub view: usize,
    /// What was sent.
    pub done: Ranges,
}

/// Half-open ranges of tids, in order, none touching the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Adds `from..to`; without an end, all behind `from`.
    pub fn add(&mut self, from: u64, to: Option<u64>) {
        let (mut from, mut to) = (from.min(END), to.unwrap_or(END).min(END));
        if from >= to {
            return;
        }
        self.0.retain(|&(start, end)| {
            let touches = start <= to && from <= end;
            if touches {
                from = from.min(start);
                to = to.max(end);
            }
            !touches
        });
        let place = self.0.partition_point(|&(start, _)| start < from);
        self.0.insert(place, (from, to));
    }

    /// What is not in them, in order; the last one has no end.
    #[must_use]
    pub fn rest(&self) -> Vec<(u64, Option<u64>)> {
        let mut rest = Vec::new();
        let mut from = 0;
        for &(start, end) in &self.0 {
            if from < start {
                rest.push((from, Some(start)));
            }
            from = end;
        }
        if from < END {
            rest.push((from, None));
        }
        rest
    }

    /// What is in them, in order.
    pub fn parts(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().copied()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Copied {
    /// The table's entry, once it was begun.
    pub fn begun(&mut self, table: u32) -> Option<&mut Begun> {
        self.begun.iter_mut().find(|begun| begun.table == table)
    }

    /// The table is copied.
    pub fn finish(&mut self, table: u32) {
        self.begun.retain(|begun| begun.table != table);
        self.finished.insert(table);
    }

    /// Forgets the snapshots that no table needs any more, and answers the place of `view`.
    pub fn enter(&mut self, view: &str) -> usize {
        let mut kept: Vec<String> = Vec::new();
        for heap in self.begun.iter_mut().flat_map(|begun| &mut begun.heaps) {
            let text = self.views.get(heap.view).cloned().unwrap_or_default();
            heap.view = place(&mut kept, text);
        }
        let at = place(&mut kept, view.to_owned());
        self.views = kept;
        at
    }

    /// The text that is stored.
    #[must_use]
    pub fn text(&self) -> String {
        let heap = |heap: &Heap| {
            let done: Vec<u64> = heap.done.0.iter().flat_map(|&(a, b)| [a, b]).collect();
            json!([heap.oid, heap.filenode, heap.view, done])
        };
        let begun = |begun: &Begun| {
            let heaps: Vec<Value> = begun.heaps.iter().map(heap).collect();
            json!([begun.table, begun.lacks, heaps])
        };
        let begun: Vec<Value> = self.begun.iter().map(begun).collect();
        json!({
            "first": self.first,
            "views": self.views,
            "finished": self.finished,
            "begun": begun,
        })
        .to_string()
    }

    /// Reads what [`Self::text`] wrote. None: something else, of which nothing can be trusted.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let oid = |value: &Value| u32::try_from(value.as_u64()?).ok();
        let views: Option<Vec<String>> = value["views"]
            .as_array()?
            .iter()
            .map(|view| view.as_str().map(str::to_owned))
            .collect();
        let views = views?;
        let heap = |value: &Value| {
            let mut done = Ranges::default();
            for pair in value[3].as_array()?.chunks(2) {
                let [from, to] = pair else { return None };
                done.add(from.as_u64()?, Some(to.as_u64()?));
            }
            let view = usize::try_from(value[2].as_u64()?).ok()?;
            (view < views.len()).then_some(())?;
            Some(Heap {
                oid: oid(&value[0])?,
                filenode: oid(&value[1])?,
                view,
                done,
            })
        };
        let begun = |value: &Value| {
            let heaps: Option<Vec<Heap>> = value[2].as_array()?.iter().map(heap).collect();
            Some(Begun {
                table: oid(&value[0])?,
                lacks: value[1].as_bool()?,
                heaps: heaps?,
            })
        };
        let finished: Option<BTreeSet<u32>> =
            value["finished"].as_array()?.iter().map(oid).collect();
        let begun: Option<Vec<Begun>> = value["begun"].as_array()?.iter().map(begun).collect();
        Some(Self {
            first: value["first"].as_bool()?,
            finished: finished?,
            begun: begun?,
            views,
            inside: None,
        })
    }
}

fn place(views: &mut Vec<String>, view: String) -> usize {
    let found = views.iter().position(|known| *known == view);
    found.unwrap_or_else(|| {
        views.push(view);
        views.len() - 1
    })
}

/// Which transactions a snapshot sees: `xmin:xmax:xip,..`, as 64-bit xids.
///
/// One that a slot exports lists every xid between its ends that had not committed, those of
/// subtransactions and of aborted transactions too: so what it sees is exactly what committed
/// before the slot's consistent point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Every xid from here on is unseen.
    pub end: u64,
    /// Unseen before that.
    pub unseen: Vec<u64>,
}

impl View {
    /// None: not the text of a snapshot.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let _: u64 = parts.next()?.parse().ok()?;
        let end = parts.next()?.parse().ok()?;
        let unseen: Option<Vec<u64>> = parts
            .next()?
            .split(',')
            .filter(|xid| !xid.is_empty())
            .map(|xid| xid.parse().ok())
            .collect();
        Some(Self {
            end,
            unseen: unseen?,
        })
    }

    /// Whether no xid has come twice until now: a row's `xmin` has only 32 bits of it.
    #[must_use]
    pub fn is_of_first_epoch(&self) -> bool {
        self.end <= u64::from(u32::MAX)
    }

    /// SQL that is true for the rows whose version the snapshot sees.
    #[must_use]
    pub fn condition(&self) -> String {
        let end = self.end;
        let mut sql = format!("xmin::text::int8 < {end}");
        if !self.unseen.is_empty() {
            let unseen: Vec<String> = self.unseen.iter().map(u64::to_string).collect();
            sql += &format!(
                " AND xmin::text::int8 <> ALL ('{{{}}}'::int8[])",
                unseen.join(",")
            );
        }
        sql
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The slow way: every tid by itself.
    fn plain(parts: &[(u64, u64)]) -> Vec<bool> {
        (0..64)
            .map(|at| parts.iter().any(|&(from, to)| (from..to).contains(&at)))
            .collect()
    }

    proptest! {
        #[test]
        fn ranges_are_what_was_added(
            parts in proptest::collection::vec((0..64_u64, 0..64_u64), 0..12),
        ) {
            let mut ranges = Ranges::default();
            for &(from, to) in &parts {
                ranges.add(from, Some(to));
            }
            prop_assert_eq!(plain(&ranges.0), plain(&parts));
            prop_assert!(ranges.0.windows(2).all(|pair| pair[0].1 < pair[1].0));
            let rest: Vec<(u64, u64)> = ranges
                .rest()
                .into_iter()
                .map(|(from, to)| (from, to.unwrap_or(END)))
                .collect();
            let missing: Vec<bool> = plain(&parts).iter().map(|done| !done).collect();
            prop_assert_eq!(plain(&rest), missing);
            let mut all = ranges.clone();
            for (from, to) in ranges.rest() {
                all.add(from, to);
            }
            prop_assert_eq!(all, Ranges(vec![(0, END)]));
        }

        #[test]
        fn what_is_stored_is_read_back(
            first: bool,
            views in proptest::collection::vec("[0-9]{1,9}:[0-9]{1,9}:[0-9,]{0,9}", 1..3),
            finished in proptest::collection::btree_set(any::<u32>(), 0..5),
            tables in proptest::collection::vec((any::<u32>(), any::<bool>(), 0..3_usize), 0..4),
            parts in proptest::collection::vec((0..END, 0..END), 0..5),
        ) {
            let mut done = Ranges::default();
            for (from, to) in parts {
                done.add(from, Some(to));
            }
            let begun = tables.into_iter().map(|(table, lacks, heaps)| Begun {
                table,
                lacks,
                heaps: (0..heaps)
                    .map(|at| Heap {
                        oid: table ^ 1,
                        filenode: table ^ 2,
                        view: at % views.len(),
                        done: done.clone(),
                    })
                    .collect(),
            });
            let begun = begun.collect();
            let copied = Copied { first, views, finished, begun, inside: None };
            prop_assert_eq!(Copied::parse(&copied.text()), Some(copied));
        }

        #[test]
        fn nothing_panics(text in ".{0,60}") {
            let _ = (Copied::parse(&text), View::parse(&text));
        }
    }

    #[test]
    fn views_are_kept_while_a_table_needs_them() {
        let heap = |view| Heap {
            view,
            ..Heap::default()
        };
        let mut copied = Copied {
            views: vec!["a".into(), "b".into(), "c".into()],
            begun: vec![Begun {
                heaps: vec![heap(2), heap(1)],
                ..Begun::default()
            }],
            ..Copied::default()
        };
        assert_eq!(copied.enter("d"), 2);
        assert_eq!(copied.views, ["c", "b", "d"]);
        assert_eq!(copied.begun[0].heaps, [heap(0), heap(1)]);
        assert_eq!(copied.enter("b"), 1);
        assert_eq!(copied.views, ["c", "b"]);
    }

    #[test]
    fn a_view_is_a_condition() {
        let view = View::parse("10:20:12,15").unwrap();
        assert_eq!(
            view.condition(),
            "xmin::text::int8 < 20 AND xmin::text::int8 <> ALL ('{12,15}'::int8[])"
        );
        assert_eq!(
            View::parse("7:7:").unwrap().condition(),
            "xmin::text::int8 < 7"
        );
        assert!(View::parse("7:4294967295:").unwrap().is_of_first_epoch());
        assert!(!View::parse("7:4294967296:").unwrap().is_of_first_epoch());
        for broken in ["", "7", "7:x:", "7:8:9,x"] {
            assert_eq!(View::parse(broken), None, "{broken}");
        }
    }
}
