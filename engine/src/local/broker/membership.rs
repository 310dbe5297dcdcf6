//! Consumer groups, the classic protocol: who is in, who leads, what each was given, and how far
//! the group has read.
//!
//! ```text
//!                    ┌──────────── a member joins, leaves or goes silent ◄───────────┐
//!                    ▼                                                               │
//!   Empty ─► PreparingRebalance ── all have joined, or time is up ─► CompletingRebalance
//!     ▲              │  generation + 1, a leader, a protocol                         │
//!     └── none left ─┘                            Stable ◄── the leader's SyncGroup ─┘
//! ```
//!
//! JoinGroup waits in the first state and SyncGroup in the second: the caller keeps the request and
//! asks again with [`Groups::joined`] and [`Groups::synced`]. A new group does not wait for further
//! members; each one that comes later rebalances it.
//!
//! Left out: the protocol of KIP-848, expiry of offsets, limits on the size of a group.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use kafkawire::error_code::ErrorCode;
use kafkawire::message::describe_groups::{DescribedGroup, DescribedGroupMember};
use kafkawire::message::join_group::{
    JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember,
};
use kafkawire::message::list_groups::ListedGroup;
use kafkawire::message::sync_group::{SyncGroupRequest, SyncGroupResponse};
use serde::{Deserialize, Serialize};

/// `group.min.session.timeout.ms` and `group.max.session.timeout.ms` as brokers have them.
const SESSION_TIMEOUT_MS: std::ops::RangeInclusive<i32> = 6_000..=1_800_000;

/// How far a group has read one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Committed {
    pub(super) offset: i64,
    pub(super) leader_epoch: i32,
    pub(super) metadata: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: BTreeMap<String, Group>,
}

#[derive(Debug, Default)]
pub(super) struct Group {
    state: State,
    generation: i32,
    protocol_type: String,
    protocol: Option<String>,
    leader: Option<String>,
    /// In the order in which they came.
    members: Vec<Member>,
    /// Ids that were handed out and not yet used, and when they lapse.
    promised: HashMap<String, Instant>,
    offsets: BTreeMap<String, BTreeMap<i32, Committed>>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Empty,
    PreparingRebalance {
        until: Instant,
    },
    CompletingRebalance,
    Stable,
}

#[derive(Debug)]
struct Member {
    id: String,
    instance_id: Option<String>,
    client: Client,
    session_timeout: Duration,
    rebalance_timeout: Duration,
    protocols: Vec<(String, Vec<u8>)>,
    assignment: Vec<u8>,
    /// Has asked to join and waits for the others.
    joining: bool,
    /// Is gone if not heard of until then; not while it waits for an answer.
    expires: Instant,
}

/// Who a member is, for those who look at the group.
#[derive(Debug, Clone, Default)]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) host: String,
}

/// What a member says about itself in every request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity<'a> {
    pub(super) member_id: &'a str,
    pub(super) instance_id: Option<&'a str>,
    pub(super) generation: i32,
}

impl Groups {
    /// A member asks to join. `Ok` names the member to ask [`joined`](Self::joined) for, `Err` the
    /// member that is refused.
    pub(super) fn join(
        &mut self,
        request: &JoinGroupRequest,
        version: i16,
        client: Client,
        now: Instant,
        fresh_id: impl FnOnce() -> String,
    ) -> Result<String, (ErrorCode, String)> {
        let refuse = |error_code, member_id: &str| (error_code, member_id.to_owned());
        let claimed = &request.member_id;
        if request.group_id.is_empty() {
            return Err(refuse(ErrorCode::INVALID_GROUP_ID, claimed));
        }
        if !SESSION_TIMEOUT_MS.contains(&request.session_timeout_ms) {
            return Err(refuse(ErrorCode::INVALID_SESSION_TIMEOUT, claimed));
        }
        let session_timeout = millis(request.session_timeout_ms);
        let rebalance_timeout = match version {
            0 => session_timeout,
            _ => millis(request.rebalance_timeout_ms),
        };
        let known = self.groups.contains_key(&request.group_id);
        if !known && !claimed.is_empty() {
            return Err(refuse(ErrorCode::UNKNOWN_MEMBER_ID, claimed));
        }
        let group = self.groups.entry(request.group_id.clone()).or_default();
        if !group.speaks(&request.protocol_type, &request.protocols, claimed) {
            return Err(refuse(ErrorCode::INCONSISTENT_GROUP_PROTOCOL, claimed));
        }

        let instance_id = request.group_instance_id.as_deref();
        let holder = group.members.iter().position(|member| {
            instance_id.is_some() && member.instance_id.as_deref() == instance_id
        });
        let member_id = if claimed.is_empty() {
            let fresh = match instance_id {
                Some(instance) => format!("{instance}-{}", fresh_id()),
                None => format!("{}-{}", client.id, fresh_id()),
            };
            if version >= 4 && instance_id.is_none() {
                group.promised.insert(fresh.clone(), now + session_timeout);
                return Err(refuse(ErrorCode::MEMBER_ID_REQUIRED, &fresh));
            }
            fresh
        } else {
            let position = group.position(claimed);
            if holder.is_some() && holder != position {
                return Err(refuse(ErrorCode::FENCED_INSTANCE_ID, claimed));
            }
            if position.is_none() && group.promised.remove(claimed).is_none() {
                return Err(refuse(ErrorCode::UNKNOWN_MEMBER_ID, claimed));
            }
            claimed.clone()
        };

        let protocols: Vec<_> = request
            .protocols
            .iter()
            .map(|protocol| (protocol.name.clone(), protocol.metadata.clone()))
            .collect();
        // A static member that comes again takes the place of its former self.
        let position = group.position(&member_id).or(holder);
        let unchanged = |member: &Member| member.id == member_id && member.protocols == protocols;
        if let Some(member) = position.and_then(|at| group.members.get(at))
            && unchanged(member)
            && (group.state == State::CompletingRebalance
                || group.state == State::Stable && group.leader.as_ref() != Some(&member_id))
        {
            // It missed the answer; the generation that it is part of still holds.
            return Ok(member_id);
        }
        group.protocol_type.clone_from(&request.protocol_type);
        let member = Member {
            id: member_id.clone(),
            instance_id: request.group_instance_id.clone(),
            client,
            session_timeout,
            rebalance_timeout,
            protocols,
            assignment: Vec::new(),
            joining: true,
            expires: now + session_timeout,
        };
        match position.and_then(|at| group.members.get_mut(at)) {
            Some(former) => *former = member,
            None => group.members.push(member),
        }
        group.rebalance(now);
        Ok(member_id)
    }

    /// The answer to a join, once the rebalance is over.
    pub(super) fn joined(&self, group_id: &str, member_id: &str) -> Option<JoinGroupResponse> {
        let Some((group, member)) = self.member(group_id, member_id) else {
            return Some(join_refused(
                ErrorCode::UNKNOWN_MEMBER_ID,
                member_id.to_owned(),
            ));
        };
        if member.joining {
            return None;
        }
        let leader = group.leader.clone().unwrap_or_default();
        let members = if leader == member_id {
            group.members.as_slice()
        } else {
            &[]
        };
        let protocol = group.protocol.clone().unwrap_or_default();
        let members = members.iter().map(|member| JoinGroupResponseMember {
            member_id: member.id.clone(),
            group_instance_id: member.instance_id.clone(),
            metadata: member.metadata(&protocol).to_vec(),
        });
        Some(JoinGroupResponse {
            generation_id: group.generation,
            protocol_type: Some(group.protocol_type.clone()),
            members: members.collect(),
            protocol_name: Some(protocol),
            leader,
            member_id: member_id.to_owned(),
            ..JoinGroupResponse::default()
        })
    }

    /// A member asks for its assignment; the leader brings everyone's. `Ok`: ask
    /// [`synced`](Self::synced).
    pub(super) fn sync(
        &mut self,
        request: &SyncGroupRequest,
        now: Instant,
    ) -> Result<(), ErrorCode> {
        let identity = Identity {
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
            generation: request.generation_id,
        };
        let group = self.checked(&request.group_id, identity, now)?;
        let differs =
            |asked: &Option<String>, is: &str| asked.as_ref().is_some_and(|asked| asked != is);
        if differs(&request.protocol_type, &group.protocol_type)
            || differs(
                &request.protocol_name,
                group.protocol.as_deref().unwrap_or_default(),
            )
        {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        if group.state == State::CompletingRebalance
            && group.leader.as_ref() == Some(&request.member_id)
        {
            for given in &request.assignments {
                let member = group
                    .members
                    .iter_mut()
                    .find(|member| member.id == given.member_id);
                if let Some(member) = member {
                    member.assignment.clone_from(&given.assignment);
                }
            }
            group.state = State::Stable;
        }
        Ok(())
    }

    /// The answer to a sync, once the leader has decided, or the next rebalance has begun.
    pub(super) fn synced(
        &self,
        group_id: &str,
        member_id: &str,
        generation: i32,
    ) -> Option<SyncGroupResponse> {
        let refuse = |error_code| {
            Some(SyncGroupResponse {
                error_code,
                ..SyncGroupResponse::default()
            })
        };
        let Some((group, member)) = self.member(group_id, member_id) else {
            return refuse(ErrorCode::UNKNOWN_MEMBER_ID);
        };
        match group.state {
            State::CompletingRebalance if group.generation == generation => None,
            State::Stable if group.generation == generation => Some(SyncGroupResponse {
                protocol_type: Some(group.protocol_type.clone()),
                protocol_name: group.protocol.clone(),
                assignment: member.assignment.clone(),
                ..SyncGroupResponse::default()
            }),
            _ => refuse(ErrorCode::REBALANCE_IN_PROGRESS),
        }
    }

    pub(super) fn heartbeat(
        &mut self,
        group_id: &str,
        identity: Identity<'_>,
        now: Instant,
    ) -> Result<(), ErrorCode> {
        match self.checked(group_id, identity, now)?.state {
            State::PreparingRebalance { .. } => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            State::Empty | State::CompletingRebalance | State::Stable => Ok(()),
        }
    }

    pub(super) fn leave(
        &mut self,
        group_id: &str,
        member_id: &str,
        instance_id: Option<&str>,
        now: Instant,
    ) -> Result<(), ErrorCode> {
        let group = self
            .groups
            .get_mut(group_id)
            .ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        // An administrator removes a static member by its instance alone.
        let leaves = |member: &Member| match instance_id {
            Some(_) if member_id.is_empty() => member.instance_id.as_deref() == instance_id,
            _ => member.id == member_id,
        };
        if group.promised.remove(member_id).is_some() {
            return Ok(());
        }
        let at = group
            .members
            .iter()
            .position(leaves)
            .ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        group.members.remove(at);
        group.rebalance(now);
        Ok(())
    }

    /// Whether a member, or someone outside any group, may commit offsets now.
    pub(super) fn may_commit(
        &mut self,
        group_id: &str,
        identity: Identity<'_>,
        now: Instant,
    ) -> Result<(), ErrorCode> {
        if identity.generation < 0 && identity.member_id.is_empty() {
            return Ok(());
        }
        if !self.groups.contains_key(group_id) {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        match self.checked(group_id, identity, now)?.state {
            State::CompletingRebalance => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            State::Empty | State::PreparingRebalance { .. } | State::Stable => Ok(()),
        }
    }

    pub(super) fn commit(
        &mut self,
        group: &str,
        topic: &str,
        partition: i32,
        committed: Committed,
    ) {
        let group = self.groups.entry(group.to_owned()).or_default();
        group
            .offsets
            .entry(topic.to_owned())
            .or_default()
            .insert(partition, committed);
    }

    pub(super) fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<&Committed> {
        self.groups.get(group)?.offsets.get(topic)?.get(&partition)
    }

    /// Every offset of one group, by topic.
    pub(super) fn offsets(
        &self,
        group: &str,
    ) -> impl Iterator<Item = (&String, &BTreeMap<i32, Committed>)> {
        self.groups
            .get(group)
            .into_iter()
            .flat_map(|group| &group.offsets)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.groups.keys()
    }

    /// Forgets how far groups have read a topic that is no more.
    pub(super) fn forget_topic(&mut self, topic: &str) {
        for group in self.groups.values_mut() {
            group.offsets.remove(topic);
        }
    }

    pub(super) fn delete(&mut self, group_id: &str) -> Result<(), ErrorCode> {
        match self.groups.get(group_id) {
            None => Err(ErrorCode::GROUP_ID_NOT_FOUND),
            Some(group) if group.members.is_empty() => {
                self.groups.remove(group_id);
                Ok(())
            }
            Some(_) => Err(ErrorCode::NON_EMPTY_GROUP),
        }
    }

    pub(super) fn list(&self) -> Vec<ListedGroup> {
        let listed = self.groups.iter().map(|(id, group)| ListedGroup {
            group_id: id.clone(),
            protocol_type: group.protocol_type.clone(),
            group_state: group.state.name().to_owned(),
            group_type: "classic".to_owned(),
        });
        listed.collect()
    }

    pub(super) fn describe(&self, group_id: &str) -> Option<DescribedGroup> {
        let group = self.groups.get(group_id)?;
        let protocol = match group.state {
            State::Stable => group.protocol.clone().unwrap_or_default(),
            _ => String::new(),
        };
        let members = group.members.iter().map(|member| DescribedGroupMember {
            member_id: member.id.clone(),
            group_instance_id: member.instance_id.clone(),
            client_id: member.client.id.clone(),
            client_host: member.client.host.clone(),
            member_metadata: member.metadata(&protocol).to_vec(),
            member_assignment: member.assignment.clone(),
        });
        Some(DescribedGroup {
            group_id: group_id.to_owned(),
            group_state: group.state.name().to_owned(),
            protocol_type: group.protocol_type.clone(),
            members: members.collect(),
            protocol_data: protocol,
            ..DescribedGroup::default()
        })
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let deadlines = self.groups.values().flat_map(|group| {
            let rebalance = match group.state {
                State::PreparingRebalance { until } => Some(until),
                _ => None,
            };
            let members = group.members.iter().filter(|member| !member.joining);
            let members = members.map(|member| member.expires);
            rebalance
                .into_iter()
                .chain(members)
                .chain(group.promised.values().copied())
        });
        deadlines.min()
    }

    /// Ends rebalances whose time is up, and drops members that went silent; answers whether any
    /// group has changed.
    pub(super) fn tick(&mut self, now: Instant) -> bool {
        let mut changed = false;
        for group in self.groups.values_mut() {
            group.promised.retain(|_, lapses| *lapses > now);
            let before = group.members.len();
            group
                .members
                .retain(|member| member.joining || member.expires > now);
            if group.members.len() < before {
                group.rebalance(now);
                changed = true;
            }
            if matches!(group.state, State::PreparingRebalance { until } if until <= now) {
                group.members.retain(|member| member.joining);
                group.begin_generation(now);
                changed = true;
            }
        }
        changed
    }

    fn member(&self, group_id: &str, member_id: &str) -> Option<(&Group, &Member)> {
        let group = self.groups.get(group_id)?;
        Some((group, group.members.get(group.position(member_id)?)?))
    }

    /// The group of a member that is who it says, and is heard of hereby.
    fn checked(
        &mut self,
        group_id: &str,
        identity: Identity<'_>,
        now: Instant,
    ) -> Result<&mut Group, ErrorCode> {
        let group = self
            .groups
            .get_mut(group_id)
            .ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        let held_by_another = |member: &Member| {
            identity.instance_id.is_some()
                && member.instance_id.as_deref() == identity.instance_id
                && member.id != identity.member_id
        };
        if group.members.iter().any(held_by_another) {
            return Err(ErrorCode::FENCED_INSTANCE_ID);
        }
        let generation = group.generation;
        let member = group
            .members
            .iter_mut()
            .find(|member| member.id == identity.member_id);
        let member = member.ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if identity.generation != generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        member.expires = now + member.session_timeout;
        Ok(group)
    }
}

impl Group {
    fn position(&self, member_id: &str) -> Option<usize> {
        self.members
            .iter()
            .position(|member| member.id == member_id)
    }

    /// Whether a member with these protocols can live with the others.
    fn speaks(
        &self,
        protocol_type: &str,
        protocols: &[kafkawire::message::join_group::JoinGroupRequestProtocol],
        member_id: &str,
    ) -> bool {
        if protocols.is_empty() || protocol_type.is_empty() {
            return false;
        }
        let mut others = self
            .members
            .iter()
            .filter(|member| member.id != member_id)
            .peekable();
        if others.peek().is_none() {
            return true;
        }
        let others: Vec<_> = others.collect();
        let common = |name: &str| others.iter().all(|member| member.speaks(name));
        protocol_type == self.protocol_type
            && protocols.iter().any(|protocol| common(&protocol.name))
    }

    /// Asks everyone to join again; where everyone already has, or none is left, begins at once.
    fn rebalance(&mut self, now: Instant) {
        if !matches!(self.state, State::PreparingRebalance { .. }) {
            let timeout = self
                .members
                .iter()
                .map(|member| member.rebalance_timeout)
                .max();
            self.state = State::PreparingRebalance {
                until: now + timeout.unwrap_or_default(),
            };
        }
        if self.members.iter().all(|member| member.joining) {
            self.begin_generation(now);
        }
    }

    fn begin_generation(&mut self, now: Instant) {
        self.generation = self.generation.wrapping_add(1) & i32::MAX;
        if self.members.is_empty() {
            self.state = State::Empty;
            self.leader = None;
            self.protocol = None;
            return;
        }
        let stays = |leader: &&String| self.members.iter().any(|member| member.id == **leader);
        if self.leader.as_ref().filter(stays).is_none() {
            self.leader = self.members.first().map(|member| member.id.clone());
        }
        self.protocol = self.elect_protocol();
        for member in &mut self.members {
            member.joining = false;
            member.assignment.clear();
            member.expires = now + member.session_timeout;
        }
        self.state = State::CompletingRebalance;
    }

    /// Each member votes for the first of its protocols that all speak.
    fn elect_protocol(&self) -> Option<String> {
        let common = |name: &str| self.members.iter().all(|member| member.speaks(name));
        let mut votes: Vec<(&str, usize)> = Vec::new();
        for member in &self.members {
            let names = member.protocols.iter().map(|(name, _)| name.as_str());
            if let Some(choice) = names.into_iter().find(|name| common(name)) {
                match votes.iter_mut().find(|(name, _)| *name == choice) {
                    Some((_, count)) => *count += 1,
                    None => votes.push((choice, 1)),
                }
            }
        }
        // Among equals the one that was named first.
        let winner = votes.iter().rev().max_by_key(|(_, count)| count);
        winner.map(|(name, _)| (*name).to_owned())
    }
}

impl Member {
    fn speaks(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }

    fn metadata(&self, protocol: &str) -> &[u8] {
        let spoken = self.protocols.iter().find(|(name, _)| name == protocol);
        spoken.map_or(&[], |(_, metadata)| metadata.as_slice())
    }
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance { .. } => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// The answer to a join that fails.
pub(super) fn join_refused(error_code: ErrorCode, member_id: String) -> JoinGroupResponse {
    JoinGroupResponse {
        error_code,
        member_id,
        // Null only from version 7 on, where empty will do as well.
        protocol_name: Some(String::new()),
        ..JoinGroupResponse::default()
    }
}

fn millis(count: i32) -> Duration {
    Duration::from_millis(u64::try_from(count).unwrap_or_default())
}
