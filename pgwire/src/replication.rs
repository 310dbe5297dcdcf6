//! Slots, START_REPLICATION, and what CopyData carries once the stream runs.
//!
//! Source: PostgreSQL documentation, "Streaming Replication Protocol".

use crate::error::{Fault, Malformed, Unsupported};
use crate::lsn::Lsn;
use crate::read::Reader;
use crate::write::{Length, put_i64, put_u8, put_u64};

/// `IDENTIFY_SYSTEM`: one row of systemid, timeline, xlogpos, dbname.
pub const IDENTIFY_SYSTEM: &str = "IDENTIFY_SYSTEM";

/// An identifier in double quotes, as replication commands and SQL take it.
#[must_use]
pub fn quote_identifier(name: &str) -> String {
    quoted(name, '"')
}

/// A string in single quotes, as replication commands take it, and SQL while
/// standard_conforming_strings is on, which it is by default.
#[must_use]
pub fn quote_literal(text: &str) -> String {
    quoted(text, '\'')
}

fn quoted(text: &str, quote: char) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for character in text.chars() {
        if character == quote {
            out.push(quote);
        }
        out.push(character);
    }
    out.push(quote);
    out
}

/// What becomes of the snapshot at a new slot's consistent point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SlotSnapshot {
    /// Other sessions can import it until this connection's next command.
    Export,
    /// The transaction that this connection is in takes it.
    Use,
    /// None is kept.
    #[default]
    Nothing,
}

/// CREATE_REPLICATION_SLOT: one row of slot_name, consistent_point, snapshot_name, output_plugin.
#[derive(Debug, Clone, Copy)]
pub struct CreateSlot<'a> {
    /// `[a-z0-9_]{1,63}`.
    pub name: &'a str,
    /// The output plugin: `pgoutput`.
    pub plugin: &'a str,
    /// Gone with the connection.
    pub temporary: bool,
    /// What becomes of the snapshot.
    pub snapshot: SlotSnapshot,
    /// Send prepared transactions when they are prepared; from 15 on.
    pub two_phase: bool,
    /// Kept in step on standbys; from 17 on.
    pub failover: bool,
}

impl CreateSlot<'_> {
    /// The command, for a server of `server_version_num` (170004).
    ///
    /// Errors: `Unsupported` when that server does not have an option that is set.
    pub fn command(&self, server_version_num: u32) -> Result<String, Unsupported> {
        if self.two_phase && server_version_num < 150_000 {
            return Err(Unsupported {
                feature: "TWO_PHASE of a slot before PostgreSQL 15",
            });
        }
        if self.failover && server_version_num < 170_000 {
            return Err(Unsupported {
                feature: "FAILOVER of a slot before PostgreSQL 17",
            });
        }
        let temporary = if self.temporary { " TEMPORARY" } else { "" };
        let name = quote_identifier(self.name);
        let plugin = quote_identifier(self.plugin);
        let mut command = format!("CREATE_REPLICATION_SLOT {name}{temporary} LOGICAL {plugin} ");
        if server_version_num < 150_000 {
            command.push_str(match self.snapshot {
                SlotSnapshot::Export => "EXPORT_SNAPSHOT",
                SlotSnapshot::Use => "USE_SNAPSHOT",
                SlotSnapshot::Nothing => "NOEXPORT_SNAPSHOT",
            });
            return Ok(command);
        }
        command.push_str(match self.snapshot {
            SlotSnapshot::Export => "(SNAPSHOT 'export'",
            SlotSnapshot::Use => "(SNAPSHOT 'use'",
            SlotSnapshot::Nothing => "(SNAPSHOT 'nothing'",
        });
        if self.two_phase {
            command.push_str(", TWO_PHASE true");
        }
        if self.failover {
            command.push_str(", FAILOVER true");
        }
        command.push(')');
        Ok(command)
    }
}

/// `DROP_REPLICATION_SLOT`; with `wait` it blocks until nobody uses the slot.
#[must_use]
pub fn drop_slot(name: &str, wait: bool) -> String {
    let wait = if wait { " WAIT" } else { "" };
    format!("DROP_REPLICATION_SLOT {}{wait}", quote_identifier(name))
}

/// `START_REPLICATION`: the answer is CopyBoth. Once per connection: a second one ends at once.
///
/// `start`: transactions whose commit record begins at or after it, and after what the slot has
/// confirmed; [`Lsn::ZERO`] for the slot's own. `options`: names as pgoutput has them, and values.
#[must_use]
pub fn start(slot: &str, start: Lsn, options: &[(&str, &str)]) -> String {
    let mut command = format!(
        "START_REPLICATION SLOT {} LOGICAL {start}",
        quote_identifier(slot)
    );
    for (position, (name, value)) in options.iter().enumerate() {
        command.push_str(if position == 0 { " (" } else { ", " });
        command.push_str(&quote_identifier(name));
        command.push(' ');
        command.push_str(&quote_literal(value));
    }
    if !options.is_empty() {
        command.push(')');
    }
    command
}

/// `TIMELINE_HISTORY`: one row of filename and content, which [`timeline_switches`] reads. The
/// first timeline has none, and asking for it is an error.
#[must_use]
pub fn timeline_history(timeline: u32) -> String {
    format!("TIMELINE_HISTORY {timeline}")
}

/// Where a timeline was left for the next one: what lies behind `at` on it is not in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimelineSwitch {
    /// The timeline that was left.
    pub timeline: u32,
    /// Where.
    pub at: Lsn,
}

/// The lines of a timeline's history, the oldest first:
///   timeline TAB switch point TAB reason
/// Empty lines and those that begin with `#` say nothing.
///
/// Errors: `Malformed`, for each line that is none.
pub fn timeline_switches(content: &str) -> impl Iterator<Item = Result<TimelineSwitch, Malformed>> {
    let lines = content.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| {
        let fault = |field| Malformed {
            message: "timeline history",
            field,
            at: 0,
            fault: Fault::Syntax,
        };
        let mut words = line.split_whitespace();
        let timeline = words.next().and_then(|word| word.parse().ok());
        let at = words.next().and_then(|word| word.parse().ok());
        Ok(TimelineSwitch {
            timeline: timeline.ok_or_else(|| fault("timeline"))?,
            at: at.ok_or_else(|| fault("switch point"))?,
        })
    })
}

/// The value of pgoutput's option `publication_names`: identifiers, quoted, in one string.
#[must_use]
pub fn publication_names(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| quote_identifier(name))
        .collect::<Vec<_>>()
        .join(",")
}

/// What the server puts into CopyData while it streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replication<'b> {
    /// `w`
    XLogData(XLogData<'b>),
    /// `k`
    Keepalive(PrimaryKeepalive),
}

/// WAL for the decoder, cut where the walsender cut it: one message of the output plugin.
///   'w' | wal_start i64 | wal_end i64 | sent_at i64, us since 2000-01-01 UTC | body ..
/// In a logical stream both positions are that of the change, and `0/0` for Relation and Type:
/// neither unique nor monotonic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XLogData<'b> {
    /// Where the change is in the WAL.
    pub wal_start: Lsn,
    /// The same, for logical streams.
    pub wal_end: Lsn,
    /// The server's clock, us since 2000-01-01 UTC.
    pub sent_at: i64,
    /// The plugin's message.
    pub body: &'b [u8],
}

/// The server is alive and has come this far.
///   'k' | wal_end i64 | sent_at i64, us since 2000-01-01 UTC | reply u8
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrimaryKeepalive {
    /// All that committed before this was sent.
    pub wal_end: Lsn,
    /// The server's clock, us since 2000-01-01 UTC.
    pub sent_at: i64,
    /// The server wants a status update at once, or it will close the connection.
    pub reply_requested: bool,
}

/// Bytes before the plugin's message in an XLogData.
pub const XLOG_DATA_HEADER_BYTES: usize = 25;

impl<'b> Replication<'b> {
    /// Parses one CopyData's body.
    ///
    /// Errors: `Malformed` when it is neither of the two, or cut.
    #[inline]
    pub fn parse(body: &'b [u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new("CopyData of replication", body);
        let fault_at = r.clone();
        match r.take_u8("type")? {
            b'w' => Ok(Self::XLogData(XLogData {
                wal_start: Lsn(r.take_u64("wal start")?),
                wal_end: Lsn(r.take_u64("wal end")?),
                sent_at: r.take_i64("send time")?,
                body: r.take_rest(),
            })),
            b'k' => {
                let keepalive = PrimaryKeepalive {
                    wal_end: Lsn(r.take_u64("wal end")?),
                    sent_at: r.take_i64("send time")?,
                    reply_requested: r.take_u8("reply requested")? != 0,
                };
                r.finish()?;
                Ok(Self::Keepalive(keepalive))
            }
            unknown => Err(fault_at.fault("type", Fault::Unknown(unknown.into()))),
        }
    }
}

/// What we tell the server about our progress.
///   'r' | written i64 | flushed i64 | applied i64 | sent_at i64 | reply u8
/// `flushed` moves the slot; zero says nothing. Never more than was received: the server believes
/// it, and skips what lies before at the next start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StandbyStatusUpdate {
    /// Received.
    pub written: Lsn,
    /// Durable: what the slot may forget.
    pub flushed: Lsn,
    /// Visible downstream.
    pub applied: Lsn,
    /// Our clock, us since 2000-01-01 UTC.
    pub sent_at: i64,
    /// Ask for a keepalive at once.
    pub reply_requested: bool,
}

impl StandbyStatusUpdate {
    /// Appends the whole message, CopyData around it: 39 bytes.
    pub fn put(&self, out: &mut Vec<u8>) {
        let mut message = Length::open(out, b'd');
        let body = message.body();
        put_u8(body, b'r');
        put_u64(body, self.written.0);
        put_u64(body, self.flushed.0);
        put_u64(body, self.applied.0);
        put_i64(body, self.sent_at);
        put_u8(body, self.reply_requested.into());
        message.seal();
    }

    /// Parses one CopyData's body: what a server does.
    ///
    /// Errors: `Malformed` when it is another message, or cut.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new("Standby status update", body);
        let fault_at = r.clone();
        match r.take_u8("type")? {
            b'r' => {}
            unknown => return Err(fault_at.fault("type", Fault::Unknown(unknown.into()))),
        }
        let update = Self {
            written: Lsn(r.take_u64("written")?),
            flushed: Lsn(r.take_u64("flushed")?),
            applied: Lsn(r.take_u64("applied")?),
            sent_at: r.take_i64("send time")?,
            reply_requested: r.take_u8("reply requested")? != 0,
        };
        r.finish()?;
        Ok(update)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn histories_of_timelines() {
        let content = "1\t0/3000158\tno recovery target specified\n\n# by hand\n2\t1/A0\t\n";
        let switches: Result<Vec<_>, _> = timeline_switches(content).collect();
        let switch = |timeline, at| TimelineSwitch {
            timeline,
            at: Lsn(at),
        };
        assert_eq!(
            switches,
            Ok(vec![switch(1, 0x300_0158), switch(2, 0x1_0000_00a0)])
        );
        for wrong in ["1", "x\t0/1\t", "1\t0\t"] {
            assert!(
                timeline_switches(wrong).all(|line| line.is_err()),
                "{wrong}"
            );
        }
    }

    #[test]
    fn slots_by_version() {
        let slot = CreateSlot {
            name: "s",
            plugin: "pgoutput",
            temporary: false,
            snapshot: SlotSnapshot::Export,
            two_phase: false,
            failover: false,
        };
        let command = |slot: CreateSlot<'_>, version| slot.command(version);
        let base = r#"CREATE_REPLICATION_SLOT "s" LOGICAL "pgoutput" "#;
        assert_eq!(command(slot, 120_022), Ok(format!("{base}EXPORT_SNAPSHOT")));
        assert_eq!(
            command(slot, 150_018),
            Ok(format!("{base}(SNAPSHOT 'export')"))
        );
        let slot = CreateSlot {
            failover: true,
            snapshot: SlotSnapshot::Nothing,
            ..slot
        };
        assert!(command(slot, 160_014).is_err());
        let expected = format!("{base}(SNAPSHOT 'nothing', FAILOVER true)");
        assert_eq!(command(slot, 170_010), Ok(expected));
        let slot = CreateSlot {
            two_phase: true,
            failover: false,
            temporary: true,
            ..slot
        };
        assert!(command(slot, 140_023).is_err());
        let expected = r#"CREATE_REPLICATION_SLOT "s" TEMPORARY LOGICAL "pgoutput" "#.to_owned()
            + "(SNAPSHOT 'nothing', TWO_PHASE true)";
        assert_eq!(command(slot, 150_018).as_deref(), Ok(expected.as_str()));
        assert_eq!(drop_slot("s", true), r#"DROP_REPLICATION_SLOT "s" WAIT"#);
    }

    #[test]
    fn start_quotes_what_it_is_given() {
        assert_eq!(
            start("s", Lsn::ZERO, &[]),
            r#"START_REPLICATION SLOT "s" LOGICAL 0/0"#
        );
        let names = publication_names(&["Pub,1", "it's", "a\"b"]);
        assert_eq!(names, r#""Pub,1","it's","a""b""#);
        let command = start(
            "s",
            Lsn(0x16_B374_D848),
            &[("proto_version", "1"), ("publication_names", &names)],
        );
        let options = r#"("proto_version" '1', "publication_names" '"Pub,1","it''s","a""b"')"#;
        let expected = format!(r#"START_REPLICATION SLOT "s" LOGICAL 16/B374D848 {options}"#);
        assert_eq!(command, expected);
    }

    #[test]
    fn stream_as_captured() {
        let keepalive = b"\x6b\0\0\0\0\x08\x09\x5c\x90\0\x03\x03\xdc\xd6\xea\x86\xca\0";
        let expected = PrimaryKeepalive {
            wal_end: Lsn(0x0809_5c90),
            sent_at: 0x0003_03dc_d6ea_86ca,
            reply_requested: false,
        };
        assert_eq!(
            Replication::parse(keepalive),
            Ok(Replication::Keepalive(expected))
        );
        for cut in 0..keepalive.len() {
            assert!(Replication::parse(&keepalive[..cut]).is_err());
        }
        let mut data = vec![b'w'];
        data.extend_from_slice(&[0; 24]);
        assert_eq!(data.len(), XLOG_DATA_HEADER_BYTES);
        assert!(Replication::parse(&data[..24]).is_err());
        data.push(b'E');
        let Ok(Replication::XLogData(parsed)) = Replication::parse(&data) else {
            panic!("an XLogData");
        };
        assert_eq!(parsed.body, b"E");
        assert!(Replication::parse(b"x").is_err());
    }

    proptest! {
        #[test]
        fn status_is_identity(
            written: u64, flushed: u64, applied: u64, sent_at: i64, reply_requested: bool
        ) {
            let update = StandbyStatusUpdate {
                written: Lsn(written),
                flushed: Lsn(flushed),
                applied: Lsn(applied),
                sent_at,
                reply_requested,
            };
            let mut out = Vec::new();
            update.put(&mut out);
            prop_assert_eq!(out.len(), 39);
            prop_assert_eq!(&out[..6], b"d\0\0\0\x26r");
            prop_assert_eq!(StandbyStatusUpdate::parse(&out[5..]), Ok(update));
        }

        #[test]
        fn quotes_balance(text: String) {
            for (quoted, quote) in [(quote_literal(&text), '\''), (quote_identifier(&text), '"')] {
                let inner = quoted.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
                let doubled = quote.to_string().repeat(2);
                let inner = inner.unwrap();
                prop_assert!(!inner.replace(&doubled, "").contains(quote));
                prop_assert_eq!(inner.replace(&doubled, &quote.to_string()), text.as_str());
            }
        }
    }
}
