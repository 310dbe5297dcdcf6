//! Where a start goes on: the stored position, held against what the server says of itself and of
//! the slot. Nothing is asked and nothing is done here.
//!
//! ```text
//!   stored position, snapshot.mode ──► what is wanted ──┐
//!   system, timeline, end of WAL, slot ─────────────────┴──► stream | snapshot | refuse
//! ```

use std::fmt;

use pgwire::lsn::Lsn;

use super::streaming::Begin;
use crate::capture::catalog::{Slot, Whereabouts};
use crate::config::{OffsetMismatch, SnapshotMode};
use crate::progress::offsets::{Home, Stored, StreamPosition};

/// All that the decision depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case<'a> {
    /// The stored position.
    pub stored: Option<Stored>,
    /// Whose position that is; unknown where Debezium stored it.
    pub home: Option<Home>,
    /// The connector's slot, if there is one.
    pub slot: Option<&'a Slot>,
    /// The server that answers now.
    pub server: &'a Whereabouts,
    /// `snapshot.mode`
    pub mode: SnapshotMode,
    /// `offset.mismatch.strategy`
    pub mismatch: OffsetMismatch,
}

/// What a pipe does first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// Copies the tables, then streams.
    Snapshot {
        /// Where a snapshot that did not complete began, or the stream stopped: what happened since
        /// is sent first.
        catch_up: Option<Begin>,
        /// Why what was stored is of no use any more.
        because: Option<Gap>,
    },
    /// Goes on in the stream.
    Stream {
        /// Where.
        from: Begin,
        /// What is left out since `offset.mismatch.strategy` says so.
        despite: Option<Gap>,
    },
}

/// Why a pipe does not begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A snapshot is owed, and `snapshot.mode=no_data` forbids it.
    SnapshotForbidden,
    /// Changes are missing between the stored position and what the server still has.
    Gap(Gap),
}

/// Changes that nobody can send any more, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Gap {
    /// The slot does not exist: its WAL is gone, or will be soon.
    SlotMissing { from: Lsn, wal_end: Lsn },
    /// The server has given the slot up.
    SlotLost {
        from: Option<Lsn>,
        wal_end: Lsn,
        reason: String,
    },
    /// The slot stands behind the stored position: somebody has advanced it, or made it anew.
    SlotAhead { from: Lsn, to: Lsn },
    /// The server's WAL ends before the stored position: an older state was restored.
    ServerBehind { wal_end: Lsn, stored: Lsn },
    /// Another cluster answers.
    OtherCluster { stored: u64, found: u64 },
    /// The server has branched off before the stored position, or from another timeline.
    OtherHistory {
        /// The stored position, and its timeline.
        stored: (Lsn, u32),
        /// Where the server left that timeline; none: it was never on it.
        left_at: Option<Lsn>,
        /// The server's timeline.
        found: u32,
    },
}

/// Decides.
///
/// Errors: [`Refusal`].
pub(super) fn decide(case: &Case<'_>) -> Result<Decision, Refusal> {
    let fresh = |lsn: Lsn| Begin {
        lsn,
        inside: None,
        last_commit: None,
    };
    let resumed = |at: StreamPosition| Begin {
        lsn: at.start(),
        inside: at.is_inside().then_some(at),
        last_commit: at.commit,
    };
    let (from, snapshot) = match (case.stored, case.mode) {
        (None, SnapshotMode::NoData) => {
            let at = case.slot.and_then(|slot| slot.confirmed_flush_lsn);
            return match case.lost(None) {
                Some(gap) => Err(Refusal::Gap(gap)),
                None => Ok(Decision::Stream {
                    from: fresh(at.unwrap_or(Lsn::ZERO)),
                    despite: None,
                }),
            };
        }
        (None, mode) => {
            return match case.lost(None) {
                Some(gap) if mode != SnapshotMode::WhenNeeded => Err(Refusal::Gap(gap)),
                because => Ok(Decision::Snapshot {
                    catch_up: None,
                    because,
                }),
            };
        }
        (Some(Stored::Snapshot(at)), SnapshotMode::NoData) if !at.completed => {
            return Err(Refusal::SnapshotForbidden);
        }
        (Some(Stored::Snapshot(at)), mode) => {
            (fresh(at.lsn), !at.completed || mode == SnapshotMode::Always)
        }
        (Some(Stored::Stream(at)), mode) => (resumed(at), mode == SnapshotMode::Always),
    };
    match (case.check(from), snapshot) {
        (Ok((from, despite)), false) => Ok(Decision::Stream { from, despite }),
        (Ok((from, because)), true) => Ok(Decision::Snapshot {
            catch_up: Some(from),
            because,
        }),
        // The tables are copied anyway, unless there is a slot that nothing can be done with.
        (Err(gap), true) if !matches!(gap, Gap::SlotLost { .. }) => Ok(Decision::Snapshot {
            catch_up: None,
            because: Some(gap),
        }),
        (Err(gap), _) if case.mode == SnapshotMode::WhenNeeded => Ok(Decision::Snapshot {
            catch_up: None,
            because: Some(gap),
        }),
        (Err(gap), _) => Err(Refusal::Gap(gap)),
    }
}

impl Case<'_> {
    /// Whether all that happened from `from` on can still be had; where it begins, and what is
    /// left out because the configuration trusts the slot more than the position.
    fn check(&self, from: Begin) -> Result<(Begin, Option<Gap>), Gap> {
        if let Some(gap) = self.lost(Some(from.lsn)) {
            return Err(gap);
        }
        let Some(slot) = self.slot else {
            // Another cluster has no slot of ours, and that is what matters.
            return Err(self.elsewhere(from).unwrap_or(Gap::SlotMissing {
                from: from.lsn,
                wal_end: self.server.wal_end,
            }));
        };
        let confirmed = slot.confirmed_flush_lsn.unwrap_or(Lsn::ZERO);
        let gap = self.elsewhere(from).or_else(|| {
            (confirmed > from.lsn).then_some(Gap::SlotAhead {
                from: from.lsn,
                to: confirmed,
            })
        });
        let trusted = match self.mismatch {
            OffsetMismatch::TrustSlot => true,
            OffsetMismatch::TrustGreaterLsn => {
                matches!(gap, None | Some(Gap::SlotAhead { .. })) && confirmed > from.lsn
            }
            OffsetMismatch::NoValidation | OffsetMismatch::TrustOffset => false,
        };
        match gap {
            _ if trusted && confirmed != from.lsn => {
                let from = Begin {
                    lsn: confirmed,
                    inside: None,
                    last_commit: None,
                };
                Ok((from, gap))
            }
            Some(gap) if !trusted => Err(gap),
            gap => Ok((from, gap)),
        }
    }

    /// The slot is there, and of no use.
    fn lost(&self, from: Option<Lsn>) -> Option<Gap> {
        let slot = self.slot?;
        let reason = match &slot.lost {
            Some(reason) => reason.clone(),
            None if slot.restart_lsn.is_none() => "it holds no WAL".to_owned(),
            None => return None,
        };
        Some(Gap::SlotLost {
            from: from.or(slot.confirmed_flush_lsn),
            wal_end: self.server.wal_end,
            reason,
        })
    }

    /// The position is not one of this server's history.
    fn elsewhere(&self, from: Begin) -> Option<Gap> {
        let server = self.server;
        // Events were sent up to here.
        let reached = from.inside.map_or(from.lsn, |at| at.lsn.max(from.lsn));
        if let Some(home) = self.home {
            if home.system_id != server.home.system_id {
                return Some(Gap::OtherCluster {
                    stored: home.system_id,
                    found: server.home.system_id,
                });
            }
            if home.timeline != server.home.timeline {
                let mut switches = server.history.iter();
                let left = switches.find(|switch| switch.timeline == home.timeline);
                let left_at = left.map(|switch| switch.at);
                if left_at.is_none_or(|at| reached > at) {
                    return Some(Gap::OtherHistory {
                        stored: (reached, home.timeline),
                        left_at,
                        found: server.home.timeline,
                    });
                }
            }
        }
        // A standby may be behind another one that was read before, and will catch up.
        (reached > server.wal_end && !server.in_recovery).then_some(Gap::ServerBehind {
            wal_end: server.wal_end,
            stored: reached,
        })
    }
}

/// What is lost, from where to where, and why.
impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SlotMissing { from, wal_end } => write!(
                f,
                "the replication slot does not exist: changes from {from} to {wal_end}, where the \
                 server's WAL ends now, are no longer available on the server"
            ),
            Self::SlotLost {
                from: Some(from),
                wal_end,
                reason,
            } => write!(
                f,
                "the replication slot was invalidated ({reason}): changes from {from} to \
                 {wal_end}, where the server's WAL ends now, are no longer available on the server"
            ),
            Self::SlotLost { reason, .. } => {
                write!(f, "the replication slot was invalidated ({reason})")
            }
            Self::SlotAhead { from, to } => write!(
                f,
                "the stored position is {from}, but the replication slot stands at {to}: somebody \
                 else has advanced it, or dropped and created it again. Changes from {from} to \
                 {to} are no longer available on the server"
            ),
            Self::ServerBehind { wal_end, stored } => write!(
                f,
                "the stored position is {stored}, but the server's WAL ends at {wal_end}: an older \
                 state of the database was restored. What was sent between {wal_end} and {stored} \
                 is not in the database, and what is written there now would not be sent"
            ),
            Self::OtherCluster { stored, found } => write!(
                f,
                "the stored position belongs to the cluster with system identifier {stored}, and \
                 {found} answers: another database cluster, whose positions mean something else. \
                 Nothing that was changed since then can be told"
            ),
            Self::OtherHistory {
                stored: (lsn, timeline),
                left_at: Some(left_at),
                found,
            } => write!(
                f,
                "the stored position is {lsn} on timeline {timeline}, which the server left at \
                 {left_at} for timeline {found}: it was promoted, or restored, without what \
                 happened after that. What was sent between {left_at} and {lsn} is not in the \
                 database, and what is written there now would not be sent"
            ),
            Self::OtherHistory {
                stored: (lsn, timeline),
                left_at: None,
                found,
            } => write!(
                f,
                "the stored position is {lsn} on timeline {timeline}, and the server is on \
                 timeline {found}, which does not descend from it: another copy of the cluster \
                 answers, or an older state was restored"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use pgwire::replication::TimelineSwitch;

    use super::*;
    use crate::progress::offsets::{MessageType, SnapshotPosition};

    const STORED: Lsn = Lsn(500);

    fn slot(confirmed: u64) -> Slot {
        Slot {
            name: "s".to_owned(),
            active_pid: None,
            restart_lsn: Some(Lsn(confirmed - 50)),
            confirmed_flush_lsn: Some(Lsn(confirmed)),
            wal_status: Some("reserved".to_owned()),
            lost: None,
        }
    }

    fn home(timeline: u32) -> Home {
        Home {
            system_id: 7,
            timeline,
        }
    }

    fn server(timeline: u32, wal_end: u64, switches: &[(u32, u64)]) -> Whereabouts {
        Whereabouts {
            home: home(timeline),
            wal_end: Lsn(wal_end),
            in_recovery: false,
            history: switches
                .iter()
                .map(|&(timeline, at)| TimelineSwitch {
                    timeline,
                    at: Lsn(at),
                })
                .collect(),
        }
    }

    /// A connector that streamed up to 500 on timeline 1 of cluster 7.
    fn case<'a>(slot: Option<&'a Slot>, server: &'a Whereabouts) -> Case<'a> {
        Case {
            stored: Some(Stored::Stream(StreamPosition::commit(STORED, 1, 1))),
            home: Some(home(1)),
            slot,
            server,
            mode: SnapshotMode::Initial,
            mismatch: OffsetMismatch::NoValidation,
        }
    }

    fn streams_from(decision: &Result<Decision, Refusal>) -> Option<u64> {
        match decision {
            Ok(Decision::Stream { from, .. }) => Some(from.lsn.0),
            _ => None,
        }
    }

    #[test]
    fn what_is_consistent_goes_on() {
        let server = server(1, 900, &[]);
        for confirmed in [100, 499, 500] {
            let slot = slot(confirmed);
            let decision = decide(&case(Some(&slot), &server));
            assert_eq!(streams_from(&decision), Some(500), "{decision:?}");
        }
        // Debezium's position says nothing of the cluster.
        let slot = slot(400);
        let unknown = Case {
            home: None,
            ..case(Some(&slot), &server)
        };
        assert_eq!(streams_from(&decide(&unknown)), Some(500));
        // Inside a transaction the stream begins before it.
        let inside = StreamPosition {
            commit: Some(Lsn(450)),
            kind: MessageType::Insert,
            events_at_lsn: 3,
            ..StreamPosition::commit(STORED, 1, 1)
        };
        let inside = Case {
            stored: Some(Stored::Stream(inside)),
            ..case(Some(&slot), &server)
        };
        let Ok(Decision::Stream { from, .. }) = decide(&inside) else {
            panic!()
        };
        assert_eq!((from.lsn, from.inside.is_some()), (Lsn(450), true));
        // Also where it had been open for long before the last commit.
        let long = StreamPosition {
            lsn: Lsn(300),
            commit: Some(STORED),
            kind: MessageType::Insert,
            ..StreamPosition::commit(STORED, 1, 1)
        };
        let standing = self::slot(500);
        let long = Case {
            stored: Some(Stored::Stream(long)),
            ..case(Some(&standing), &server)
        };
        assert_eq!(streams_from(&decide(&long)), Some(500));
    }

    #[test]
    fn each_gap_is_refused_or_copied_over() {
        let (here, behind) = (server(1, 900, &[]), server(1, 480, &[]));
        let promoted_late = server(2, 900, &[(1, 490)]);
        let stranger = Whereabouts {
            home: Home {
                system_id: 8,
                timeline: 1,
            },
            ..here.clone()
        };
        let restored_branch = server(3, 900, &[(2, 300)]);
        let (good, ahead) = (slot(400), slot(501));
        let lost = Slot {
            lost: Some("wal_removed".to_owned()),
            restart_lsn: None,
            ..slot(400)
        };
        let at = |lsn| Lsn(lsn);
        let cases = [
            (
                None,
                &here,
                Gap::SlotMissing {
                    from: STORED,
                    wal_end: at(900),
                },
            ),
            (
                Some(&lost),
                &here,
                Gap::SlotLost {
                    from: Some(STORED),
                    wal_end: at(900),
                    reason: "wal_removed".to_owned(),
                },
            ),
            (
                Some(&ahead),
                &here,
                Gap::SlotAhead {
                    from: STORED,
                    to: at(501),
                },
            ),
            (
                Some(&good),
                &behind,
                Gap::ServerBehind {
                    wal_end: at(480),
                    stored: STORED,
                },
            ),
            (
                Some(&good),
                &stranger,
                Gap::OtherCluster {
                    stored: 7,
                    found: 8,
                },
            ),
            (
                None,
                &stranger,
                Gap::OtherCluster {
                    stored: 7,
                    found: 8,
                },
            ),
            (
                Some(&good),
                &promoted_late,
                Gap::OtherHistory {
                    stored: (STORED, 1),
                    left_at: Some(at(490)),
                    found: 2,
                },
            ),
            (
                Some(&good),
                &restored_branch,
                Gap::OtherHistory {
                    stored: (STORED, 1),
                    left_at: None,
                    found: 3,
                },
            ),
        ];
        for (slot, server, gap) in cases {
            let refused = case(slot, server);
            assert_eq!(decide(&refused), Err(Refusal::Gap(gap.clone())));
            let when_needed = Case {
                mode: SnapshotMode::WhenNeeded,
                ..refused
            };
            assert_eq!(
                decide(&when_needed),
                Ok(Decision::Snapshot {
                    catch_up: None,
                    because: Some(gap.clone())
                })
            );
            // A snapshot that is owed is taken anew, unless the slot must be dropped first.
            let owed = Case {
                stored: Some(Stored::Snapshot(SnapshotPosition {
                    lsn: STORED,
                    tx_id: None,
                    ts_us: 0,
                    completed: false,
                })),
                ..refused
            };
            match (decide(&owed), matches!(gap, Gap::SlotLost { .. })) {
                (Err(Refusal::Gap(found)), true) => assert_eq!(found, gap),
                (
                    Ok(Decision::Snapshot {
                        catch_up: None,
                        because,
                    }),
                    false,
                ) => {
                    assert_eq!(because, Some(gap));
                }
                (other, _) => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_promoted_standby_goes_on_where_the_position_is_of_its_history() {
        let slot = slot(400);
        for history in [&[(1, 500)][..], &[(1, 700), (2, 800)]] {
            let timeline = u32::try_from(history.len()).unwrap() + 1;
            let promoted = server(timeline, 900, history);
            assert_eq!(
                streams_from(&decide(&case(Some(&slot), &promoted))),
                Some(500)
            );
        }
        // One that is still a standby may lag.
        let lagging = Whereabouts {
            in_recovery: true,
            ..server(1, 480, &[])
        };
        assert_eq!(
            streams_from(&decide(&case(Some(&slot), &lagging))),
            Some(500)
        );
    }

    #[test]
    fn the_slot_is_trusted_where_the_configuration_says_so() {
        let here = server(1, 900, &[]);
        let stranger = Whereabouts {
            home: Home {
                system_id: 8,
                timeline: 1,
            },
            ..here.clone()
        };
        let (ahead, behind) = (slot(501), slot(400));
        let decide = |slot, server, mismatch| {
            decide(&Case {
                mismatch,
                ..case(Some(slot), server)
            })
        };
        let (trust_slot, greater) = (OffsetMismatch::TrustSlot, OffsetMismatch::TrustGreaterLsn);
        assert_eq!(streams_from(&decide(&ahead, &here, trust_slot)), Some(501));
        assert_eq!(streams_from(&decide(&behind, &here, trust_slot)), Some(400));
        assert_eq!(streams_from(&decide(&ahead, &here, greater)), Some(501));
        assert_eq!(streams_from(&decide(&behind, &here, greater)), Some(500));
        assert_eq!(
            streams_from(&decide(&ahead, &stranger, trust_slot)),
            Some(501)
        );
        assert!(decide(&ahead, &stranger, greater).is_err());
        let offset = OffsetMismatch::TrustOffset;
        assert!(decide(&ahead, &here, offset).is_err());
        assert_eq!(streams_from(&decide(&behind, &here, offset)), Some(500));
    }

    #[test]
    fn the_mode_decides_what_is_wanted() {
        let (here, slot) = (server(1, 900, &[]), slot(400));
        let decide = |stored, mode| {
            decide(&Case {
                stored,
                mode,
                ..case(Some(&slot), &here)
            })
        };
        let snapshot = |completed| {
            Some(Stored::Snapshot(SnapshotPosition {
                lsn: STORED,
                tx_id: None,
                ts_us: 0,
                completed,
            }))
        };
        let nothing = Decision::Snapshot {
            catch_up: None,
            because: None,
        };
        assert_eq!(decide(None, SnapshotMode::Initial), Ok(nothing));
        assert_eq!(streams_from(&decide(None, SnapshotMode::NoData)), Some(400));
        assert_eq!(
            decide(snapshot(false), SnapshotMode::NoData),
            Err(Refusal::SnapshotForbidden)
        );
        assert_eq!(
            streams_from(&decide(snapshot(true), SnapshotMode::Initial)),
            Some(500)
        );
        for (stored, mode) in [
            (snapshot(false), SnapshotMode::Initial),
            (snapshot(true), SnapshotMode::Always),
        ] {
            let Ok(Decision::Snapshot {
                catch_up: Some(from),
                because: None,
            }) = decide(stored, mode)
            else {
                panic!("{mode:?}")
            };
            assert_eq!(from.lsn, STORED);
        }
    }
}
