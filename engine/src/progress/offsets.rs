//! The position as Kafka Connect stores it: Debezium's members, byte-equal keys, so that either
//! side takes over where the other stopped.

use std::fmt::Write as _;

use pgwire::lsn::Lsn;
use serde_json::Value;

use super::copied::Copied;

/// What the offsets topic holds for one connector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// The initial copy: begun, and perhaps completed.
    Snapshot(SnapshotPosition),
    /// The stream.
    Stream(StreamPosition),
}

/// Whose position it is: beside what Debezium stores, in members of our own that it ignores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Home {
    /// The cluster's system identifier.
    pub system_id: u64,
    /// Its timeline: a promotion begins another.
    pub timeline: u32,
}

/// Where an initial copy stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotPosition {
    /// The slot's consistent point: the stream goes on from here.
    pub lsn: Lsn,
    /// `txid_current()` of the snapshot's transaction, with its epoch; none on a standby.
    pub tx_id: Option<u64>,
    /// The server's clock in the snapshot, us since 1970-01-01 UTC.
    pub ts_us: i64,
    /// Every row of every table was sent.
    pub completed: bool,
}

/// How far the stream was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamPosition {
    /// The last event's LSN; at a transaction's end, the commit record's end.
    pub lsn: Lsn,
    /// End of the last commit record that was processed, or a later position between transactions;
    /// none before the first.
    pub commit: Option<Lsn>,
    /// The transaction's 32-bit xid.
    pub tx_id: Option<u64>,
    /// The transaction's commit time, us since 1970-01-01 UTC.
    pub ts_us: i64,
    /// The last event was no COMMIT: the transaction is `tx_id` and this many of its events that
    /// have `lsn` were sent. Zero: the transaction is complete.
    pub events_at_lsn: u64,
    /// The last event's kind, as Debezium names it.
    pub kind: MessageType,
}

/// `messageType` of a stored offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "Debezium's own names")]
pub enum MessageType {
    Insert,
    Update,
    Delete,
    Truncate,
    Message,
    Begin,
    Commit,
}

impl MessageType {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Insert, "INSERT"),
        (Self::Update, "UPDATE"),
        (Self::Delete, "DELETE"),
        (Self::Truncate, "TRUNCATE"),
        (Self::Message, "MESSAGE"),
        (Self::Begin, "BEGIN"),
        (Self::Commit, "COMMIT"),
    ];

    fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or("COMMIT", |(_, name)| name)
    }
}

impl StreamPosition {
    /// A whole transaction was sent; its commit record ends at `end`.
    #[must_use]
    pub fn commit(end: Lsn, tx_id: u32, ts_us: i64) -> Self {
        Self {
            lsn: end,
            commit: Some(end),
            tx_id: Some(u64::from(tx_id)),
            ts_us,
            events_at_lsn: 0,
            kind: MessageType::Commit,
        }
    }

    /// The server said that nothing of ours lies before `lsn`: as a commit there, of no one.
    #[must_use]
    pub fn keepalive(lsn: Lsn, before: Option<&Self>) -> Self {
        Self {
            lsn,
            commit: Some(lsn),
            tx_id: before.and_then(|position| position.tx_id),
            ts_us: before.map_or(0, |position| position.ts_us),
            events_at_lsn: 0,
            kind: MessageType::Commit,
        }
    }

    /// What the stream must be asked for: whole transactions come again from here. An event of a
    /// transaction may lie before commits that were sent before it, so it says nothing.
    #[must_use]
    pub fn start(&self) -> Lsn {
        if self.is_inside() {
            self.commit.unwrap_or(self.lsn)
        } else {
            self.lsn
        }
    }

    /// What the slot may forget: never a part of a transaction.
    #[must_use]
    pub fn confirmable(&self) -> Option<Lsn> {
        if self.is_inside() {
            self.commit
        } else {
            Some(self.lsn)
        }
    }

    /// A logical message that belongs to no transaction was sent; it ends at `end`.
    #[must_use]
    pub fn message(end: Lsn, ts_us: i64) -> Self {
        Self {
            lsn: end,
            commit: Some(end),
            tx_id: None,
            ts_us,
            events_at_lsn: 0,
            kind: MessageType::Message,
        }
    }

    /// Whether the position lies inside a transaction.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        match self.kind {
            MessageType::Commit => false,
            MessageType::Message => self.tx_id.is_some(),
            _ => true,
        }
    }
}

impl Stored {
    /// Whether this position is behind the other, on the same server.
    #[must_use]
    pub fn is_further(&self, other: &Self) -> bool {
        let place = |stored: &Self| match stored {
            Self::Snapshot(at) => (at.lsn, None),
            Self::Stream(at) => {
                let inside = at.is_inside().then_some((at.lsn, at.events_at_lsn));
                (at.start(), inside)
            }
        };
        place(self) > place(other)
    }
}

/// The key of the connector's offset: `["<name>",{"server":"<topic.prefix>"}]`, as Connect's
/// JsonConverter writes it, since compaction and partition depend on the bytes.
#[must_use]
pub fn key(connector: &str, topic_prefix: &str) -> Vec<u8> {
    let name = Value::from(connector);
    let prefix = Value::from(topic_prefix);
    format!("[{name},{{\"server\":{prefix}}}]").into_bytes()
}

/// What `provide.transaction.metadata` has counted so far, as members of an offset: `xid` is a text
/// there. `orders` are the events of each table.
pub fn put_counts(xid: u32, orders: &[(String, i64)], members: &mut String) {
    let _ = write!(members, ",\"transaction_id\":\"{xid}\"");
    for (table, order) in orders {
        let name = Value::from(format!("transaction_data_collection_order_{table}"));
        let _ = write!(members, ",{name}:{order}");
    }
}

/// The value of the connector's offset, with the members of [`put_counts`], `home` and what is
/// `copied` behind it.
#[must_use]
pub fn value(
    stored: &Stored,
    counts: &str,
    home: Option<Home>,
    copied: Option<&Copied>,
) -> Vec<u8> {
    let mut json = String::with_capacity(240);
    match stored {
        Stored::Snapshot(at) => {
            let done = at.completed;
            json.push('{');
            let _ = write!(json, "\"last_snapshot_record\":{done},\"lsn\":{}", at.lsn.0);
            put_tx_id(&mut json, at.tx_id);
            let _ = write!(
                json,
                ",\"ts_usec\":{},\"snapshot\":\"INITIAL\",\"snapshot_completed\":{done}}}",
                at.ts_us
            );
        }
        Stored::Stream(at) => {
            let lsn = at.lsn.0;
            let _ = write!(
                json,
                "{{\"lsn_proc\":{lsn},\"messageType\":\"{}\"",
                at.kind.name()
            );
            if let Some(commit) = at.commit {
                let _ = write!(json, ",\"lsn_commit\":{}", commit.0);
            }
            let _ = write!(json, ",\"lsn\":{lsn}");
            if at.is_inside() {
                let _ = write!(json, ",\"lsn_events_processed\":{}", at.events_at_lsn);
            }
            put_tx_id(&mut json, at.tx_id);
            let _ = write!(json, ",\"ts_usec\":{}{counts}}}", at.ts_us);
        }
    }
    if let Some(home) = home {
        json.pop();
        let Home {
            system_id,
            timeline,
        } = home;
        // As text: it has 64 bits, and a reader of JSON may have fewer.
        let _ = write!(
            json,
            ",\"{SYSTEM_ID}\":\"{system_id}\",\"{TIMELINE}\":{timeline}}}"
        );
    }
    if let Some(copied) = copied {
        json.pop();
        // As text: Kafka Connect refuses offsets whose members have members.
        let _ = write!(json, ",\"{COPIED}\":{}", Value::from(copied.text()));
        if let Some(inside) = &copied.inside {
            let inside = value(&Stored::Stream(*inside), "", None, None);
            let inside = String::from_utf8_lossy(&inside);
            let _ = write!(json, ",\"{INSIDE}\":{}", Value::from(inside));
        }
        json.push('}');
    }
    json.into_bytes()
}

const SYSTEM_ID: &str = "penstock_system_id";
const TIMELINE: &str = "penstock_timeline";
const COPIED: &str = "penstock_copied";
const INSIDE: &str = "penstock_inside";

/// How far a copy that did not complete has come; none where nothing is known of it.
#[must_use]
pub fn copied(value: &[u8]) -> Option<Copied> {
    let value: Value = serde_json::from_slice(value).ok()?;
    let mut copied = Copied::parse(value.get(COPIED)?.as_str()?)?;
    if let Some(inside) = value.get(INSIDE) {
        match parse(inside.as_str()?.as_bytes()) {
            Ok(Stored::Stream(position)) => copied.inside = Some(position),
            _ => return None,
        }
    }
    Some(copied)
}

/// Whose position the value of an offset is; none where Debezium stored it.
#[must_use]
pub fn home(value: &[u8]) -> Option<Home> {
    let value: Value = serde_json::from_slice(value).ok()?;
    Some(Home {
        system_id: value.get(SYSTEM_ID)?.as_str()?.parse().ok()?,
        timeline: value.get(TIMELINE)?.as_u64()?.try_into().ok()?,
    })
}

fn put_tx_id(json: &mut String, tx_id: Option<u64>) {
    if let Some(tx_id) = tx_id {
        let _ = write!(json, ",\"txId\":{tx_id}");
    }
}

/// Reads an offset, ours or any that Debezium 1.3 to 3.7 stored.
///
/// Errors: what is missing or of the wrong type.
pub fn parse(value: &[u8]) -> Result<Stored, String> {
    let value: Value = serde_json::from_slice(value).map_err(|error| error.to_string())?;
    let Value::Object(members) = value else {
        return Err("it is no JSON object".to_owned());
    };
    let long = |name: &str| members.get(name).and_then(Value::as_i64);
    let lsn_of = |name: &str| long(name).map(|lsn| Lsn(lsn.cast_unsigned()));
    let flag = |name: &str| match members.get(name) {
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        _ => false,
    };
    let lsn = lsn_of("lsn_proc")
        .or_else(|| lsn_of("lsn"))
        .ok_or_else(|| "it has neither lsn_proc nor lsn".to_owned())?;
    let tx_id = long("txId").map(i64::cast_unsigned);
    let ts_us = long("ts_usec").unwrap_or(0);

    let snapshot = match members.get("snapshot") {
        Some(Value::Bool(running)) => *running,
        Some(Value::String(kind)) => {
            !kind.eq_ignore_ascii_case("false") && !kind.eq_ignore_ascii_case("incremental")
        }
        _ => false,
    };
    if snapshot {
        let completed = flag("snapshot_completed") || flag("last_snapshot_record");
        return Ok(Stored::Snapshot(SnapshotPosition {
            lsn,
            tx_id,
            ts_us,
            completed,
        }));
    }

    let kind = match members.get("messageType").and_then(Value::as_str) {
        Some(name) => MessageType::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map_or(MessageType::Commit, |(kind, _)| *kind),
        // Older releases: a position with events beyond the last commit lies inside.
        None if lsn_of("lsn_commit").is_some_and(|commit| commit != lsn) => MessageType::Insert,
        None => MessageType::Commit,
    };
    // Before 3.7 the count was not stored. One is certain; more may be sent again, none is lost.
    let events_at_lsn = match kind {
        MessageType::Commit | MessageType::Begin => 0,
        MessageType::Message if tx_id.is_none() => 0,
        _ => long("lsn_events_processed").map_or(1, i64::cast_unsigned),
    };
    let commit = lsn_of("lsn_commit");
    Ok(Stored::Stream(StreamPosition {
        lsn,
        commit,
        tx_id,
        ts_us,
        events_at_lsn,
        kind,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_what_connect_writes() {
        assert_eq!(
            key("inventory-connector", "srv"),
            br#"["inventory-connector",{"server":"srv"}]"#
        );
        assert_eq!(key("a\"b", "s"), br#"["a\"b",{"server":"s"}]"#);
    }

    #[test]
    fn positions_survive_being_stored() {
        let inside = StreamPosition {
            lsn: Lsn(176_883_744),
            commit: Some(Lsn(176_883_000)),
            tx_id: Some(1243),
            ts_us: 1_795_353_866_761_149,
            events_at_lsn: 3,
            kind: MessageType::Insert,
        };
        for stored in [
            Stored::Stream(inside),
            Stored::Stream(StreamPosition {
                commit: None,
                ..inside
            }),
            Stored::Stream(StreamPosition::commit(Lsn(77), 5, 6)),
            Stored::Snapshot(SnapshotPosition {
                lsn: Lsn(225_013_688),
                tx_id: None,
                ts_us: 1,
                completed: false,
            }),
        ] {
            assert_eq!(parse(&value(&stored, "", None, None)), Ok(stored));
            assert_eq!(home(&value(&stored, "", None, None)), None);
            let at_home = Home {
                system_id: u64::MAX,
                timeline: 3,
            };
            let so_far = Copied {
                views: vec!["1:2:".to_owned()],
                inside: Some(inside),
                ..Copied::default()
            };
            let value = value(&stored, "", Some(at_home), Some(&so_far));
            assert_eq!((parse(&value), home(&value)), (Ok(stored), Some(at_home)));
            assert_eq!(copied(&value), Some(so_far));
            let members: Value = serde_json::from_slice(&value).unwrap();
            let nested = |member: &Value| member.is_object() || member.is_array();
            assert!(!members.as_object().unwrap().values().any(nested));
        }
    }

    #[test]
    fn positions_have_an_order() {
        let at = |lsn, commit, events_at_lsn| {
            Stored::Stream(StreamPosition {
                lsn: Lsn(lsn),
                commit: Some(Lsn(commit)),
                tx_id: Some(7),
                ts_us: 0,
                events_at_lsn,
                kind: MessageType::Insert,
            })
        };
        let commit = |lsn| Stored::Stream(StreamPosition::commit(Lsn(lsn), 7, 0));
        let copied = Stored::Snapshot(SnapshotPosition {
            lsn: Lsn(50),
            tx_id: None,
            ts_us: 0,
            completed: true,
        });
        // An event may lie before a commit that came before it.
        let rising = [
            copied,
            commit(100),
            at(80, 100, 1),
            at(120, 100, 1),
            at(120, 100, 2),
            commit(150),
        ];
        for (index, one) in rising.iter().enumerate() {
            for (other, two) in rising.iter().enumerate() {
                assert_eq!(one.is_further(two), index > other, "{one:?} {two:?}");
            }
        }
    }

    #[test]
    fn an_event_that_lies_before_earlier_commits_does_not_bring_them_back() {
        let inside = StreamPosition {
            lsn: Lsn(100),
            commit: Some(Lsn(150)),
            tx_id: Some(7),
            ts_us: 0,
            events_at_lsn: 1,
            kind: MessageType::Insert,
        };
        assert_eq!(inside.start(), Lsn(150));
        assert_eq!(inside.confirmable(), Some(Lsn(150)));
    }

    #[test]
    fn debezium_s_own_are_read() {
        let stream = br#"{"lsn_proc":176883744,"messageType":"INSERT","lsn_commit":176883744,
            "lsn":176883744,"txId":1243,"ts_usec":1795353866761149}"#;
        let Ok(Stored::Stream(position)) = parse(stream) else {
            panic!()
        };
        assert!(position.is_inside());
        assert_eq!(position.events_at_lsn, 1);
        assert_eq!(position.start(), Lsn(176_883_744));
        // A transaction that was long open: its changes lie before what was confirmed meanwhile.
        let late = StreamPosition {
            lsn: Lsn(100),
            commit: Some(Lsn(200)),
            ..position
        };
        assert_eq!(late.start(), Lsn(200));

        let snapshot = br#"{"last_snapshot_record":true,"lsn":225013688,"txId":1366,"ts_usec":7,
            "snapshot":"INITIAL","snapshot_completed":true}"#;
        assert!(matches!(
            parse(snapshot),
            Ok(Stored::Snapshot(SnapshotPosition {
                completed: true,
                ..
            }))
        ));
        let old = br#"{"lsn":5,"snapshot":true,"last_snapshot_record":false}"#;
        assert!(matches!(
            parse(old),
            Ok(Stored::Snapshot(SnapshotPosition {
                completed: false,
                ..
            }))
        ));
        assert!(parse(b"{}").is_err());
        assert!(parse(b"[1").is_err());
    }
}
