//! The requests of consumer groups, and the offsets that groups commit.

use kafkawire::error_code::ErrorCode;
use kafkawire::message::delete_groups::*;
use kafkawire::message::describe_groups::*;
use kafkawire::message::heartbeat::*;
use kafkawire::message::join_group::*;
use kafkawire::message::leave_group::*;
use kafkawire::message::list_groups::*;
use kafkawire::message::offset_commit::*;
use kafkawire::message::offset_fetch::*;
use kafkawire::message::sync_group::*;

use super::journal::Entry;
use super::membership::{self, Client, Committed, Identity};
use super::transaction::PendingOffset;
use super::{About, Broker, Call, Step, Ticket, Waiting, splitmix};

impl Broker {
    pub(super) fn join_group(&mut self, call: Call<'_, '_>, ticket: Option<Ticket>) -> Step {
        let request = match call.request::<JoinGroupRequest>() {
            Ok(request) => request,
            Err(step) => return step,
        };
        let member_id = match ticket {
            Some(Ticket(Waiting::Join { member_id })) => member_id,
            _ => {
                let id = call.header.client_id.unwrap_or_default().to_owned();
                let client = Client {
                    id,
                    host: format!("/{}", call.host),
                };
                let random = &mut self.random;
                let fresh_id = || format!("{:016x}{:016x}", splitmix(random), splitmix(random));
                let version = call.header.version;
                let now = call.now.instant;
                let joining = self.groups.join(&request, version, client, now, fresh_id);
                self.changes += 1;
                match joining {
                    Ok(member_id) => member_id,
                    Err((code, member_id)) => {
                        return call.reply(&membership::join_refused(code, member_id));
                    }
                }
            }
        };
        match self.groups.joined(&request.group_id, &member_id) {
            Some(response) => call.reply(&response),
            None => Step::Wait(Ticket(Waiting::Join { member_id })),
        }
    }

    pub(super) fn sync_group(&mut self, call: Call<'_, '_>, ticket: Option<Ticket>) -> Step {
        let request = match call.request::<SyncGroupRequest>() {
            Ok(request) => request,
            Err(step) => return step,
        };
        if ticket.is_none() {
            if let Err(error_code) = self.groups.sync(&request, call.now.instant) {
                return call.reply(&SyncGroupResponse {
                    error_code,
                    ..Default::default()
                });
            }
            self.changes += 1;
        }
        let (group, member) = (&request.group_id, &request.member_id);
        match self.groups.synced(group, member, request.generation_id) {
            Some(response) => call.reply(&response),
            None => Step::Wait(Ticket(Waiting::Sync)),
        }
    }

    pub(super) fn heartbeat(
        &mut self,
        request: HeartbeatRequest,
        about: About,
    ) -> HeartbeatResponse {
        let identity = Identity {
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
            generation: request.generation_id,
        };
        let result = self
            .groups
            .heartbeat(&request.group_id, identity, about.now.instant);
        HeartbeatResponse {
            error_code: result.err().unwrap_or_default(),
            ..Default::default()
        }
    }

    pub(super) fn leave_group(
        &mut self,
        request: LeaveGroupRequest,
        about: About,
    ) -> LeaveGroupResponse {
        /// From this version on several members leave at once.
        const MEMBERS_VERSION: i16 = 3;
        let now = about.now.instant;
        self.changes += 1;
        if about.version < MEMBERS_VERSION {
            let result = self
                .groups
                .leave(&request.group_id, &request.member_id, None, now);
            let error_code = result.err().unwrap_or_default();
            return LeaveGroupResponse {
                error_code,
                ..Default::default()
            };
        }
        let members = request.members.into_iter().map(|member| {
            let instance_id = member.group_instance_id.as_deref();
            let result = self
                .groups
                .leave(&request.group_id, &member.member_id, instance_id, now);
            MemberResponse {
                error_code: result.err().unwrap_or_default(),
                member_id: member.member_id,
                group_instance_id: member.group_instance_id,
            }
        });
        LeaveGroupResponse {
            members: members.collect(),
            ..Default::default()
        }
    }

    pub(super) fn offset_commit(
        &mut self,
        request: OffsetCommitRequest,
        about: About,
    ) -> OffsetCommitResponse {
        let identity = Identity {
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
            generation: request.generation_id_or_member_epoch,
        };
        let group = &request.group_id;
        let allowed = self.groups.may_commit(group, identity, about.now.instant);
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let index = partition.partition_index;
                let known = self
                    .topics
                    .get(&topic.name)
                    .and_then(|topic| topic.partition(index));
                let known = known
                    .map(|_| ())
                    .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
                let result = allowed.and(known).and_then(|()| {
                    self.put_offset(PendingOffset {
                        group: group.clone(),
                        topic: topic.name.clone(),
                        partition: index,
                        committed: Committed {
                            offset: partition.committed_offset,
                            leader_epoch: partition.committed_leader_epoch,
                            metadata: partition.committed_metadata.clone(),
                        },
                    })
                });
                let error_code = result.err().unwrap_or_default();
                OffsetCommitResponsePartition {
                    partition_index: index,
                    error_code,
                }
            });
            let (name, partitions) = (topic.name.clone(), partitions.collect());
            OffsetCommitResponseTopic {
                name,
                partitions,
                ..Default::default()
            }
        });
        OffsetCommitResponse {
            topics: topics.collect(),
            ..Default::default()
        }
    }

    pub(super) fn put_offset(&mut self, offset: PendingOffset) -> Result<(), ErrorCode> {
        let PendingOffset {
            group,
            topic,
            partition,
            committed,
        } = offset;
        let entry = Entry::Offset {
            group,
            topic,
            partition,
            committed,
        };
        self.record(&entry)?;
        self.replay(entry);
        Ok(())
    }

    pub(super) fn offset_fetch(
        &self,
        request: OffsetFetchRequest,
        about: About,
    ) -> OffsetFetchResponse {
        /// From this version on several groups are asked for at once.
        const GROUPS_VERSION: i16 = 8;
        let stable = request.require_stable;
        if about.version >= GROUPS_VERSION {
            let groups = request.groups.into_iter().map(|group| {
                let asked = group.topics.map(|topics| {
                    topics
                        .into_iter()
                        .map(|topic| (topic.name, topic.partition_indexes))
                        .collect()
                });
                OffsetFetchResponseGroup {
                    topics: self.committed_offsets(&group.group_id, asked, stable),
                    group_id: group.group_id,
                    ..Default::default()
                }
            });
            return OffsetFetchResponse {
                groups: groups.collect(),
                ..Default::default()
            };
        }
        let asked = request.topics.map(|topics| {
            topics
                .into_iter()
                .map(|topic| (topic.name, topic.partition_indexes))
                .collect()
        });
        let topics = self
            .committed_offsets(&request.group_id, asked, stable)
            .into_iter();
        let topics = topics.map(|topic| OffsetFetchResponseTopic {
            name: topic.name,
            partitions: topic
                .partitions
                .into_iter()
                .map(|one| OffsetFetchResponsePartition {
                    partition_index: one.partition_index,
                    committed_offset: one.committed_offset,
                    committed_leader_epoch: one.committed_leader_epoch,
                    metadata: one.metadata,
                    error_code: one.error_code,
                })
                .collect(),
        });
        OffsetFetchResponse {
            topics: topics.collect(),
            ..Default::default()
        }
    }

    /// What a group has committed for the partitions asked, or for all it has.
    fn committed_offsets(
        &self,
        group: &str,
        asked: Option<Vec<(String, Vec<i32>)>>,
        stable: bool,
    ) -> Vec<OffsetFetchResponseTopics> {
        let all = || {
            let offsets = self.groups.offsets(group);
            offsets
                .map(|(topic, own)| (topic.clone(), own.keys().copied().collect()))
                .collect()
        };
        let asked: Vec<(String, Vec<i32>)> = asked.unwrap_or_else(all);
        let topics = asked.into_iter().map(|(topic, indexes)| {
            let partitions = indexes.into_iter().map(|index| {
                let committed = self.groups.committed(group, &topic, index);
                let unstable = stable && self.is_pending(group, &topic, index);
                OffsetFetchResponsePartitions {
                    partition_index: index,
                    committed_offset: match committed {
                        Some(committed) if !unstable => committed.offset,
                        _ => -1,
                    },
                    committed_leader_epoch: committed.map_or(-1, |known| known.leader_epoch),
                    metadata: committed.map_or(Some(String::new()), |known| known.metadata.clone()),
                    error_code: match unstable {
                        true => ErrorCode::UNSTABLE_OFFSET_COMMIT,
                        false => ErrorCode::NONE,
                    },
                }
            });
            let partitions = partitions.collect();
            OffsetFetchResponseTopics {
                name: topic,
                partitions,
                ..Default::default()
            }
        });
        topics.collect()
    }

    /// Whether an open transaction holds another offset for this partition.
    fn is_pending(&self, group: &str, topic: &str, partition: i32) -> bool {
        let pending = self
            .transactions
            .values()
            .flat_map(|transaction| &transaction.offsets);
        let mut pending = pending.map(|offset| (&*offset.group, &*offset.topic, offset.partition));
        pending.any(|offset| offset == (group, topic, partition))
    }

    pub(super) fn list_groups(&self, request: ListGroupsRequest) -> ListGroupsResponse {
        let passes = |filter: &[String], value: &str| {
            filter.is_empty()
                || filter
                    .iter()
                    .any(|wanted| wanted.eq_ignore_ascii_case(value))
        };
        let mut groups = self.groups.list();
        groups.retain(|group| {
            passes(&request.states_filter, &group.group_state)
                && passes(&request.types_filter, &group.group_type)
        });
        ListGroupsResponse {
            groups,
            ..Default::default()
        }
    }

    pub(super) fn describe_groups(
        &self,
        request: DescribeGroupsRequest,
        about: About,
    ) -> DescribeGroupsResponse {
        /// From this version on an unknown group is an error, not a dead one.
        const NOT_FOUND_VERSION: i16 = 6;
        let groups = request.groups.into_iter().map(|id| {
            self.groups.describe(&id).unwrap_or_else(|| DescribedGroup {
                error_code: match about.version {
                    ..NOT_FOUND_VERSION => ErrorCode::NONE,
                    _ => ErrorCode::GROUP_ID_NOT_FOUND,
                },
                group_id: id,
                group_state: "Dead".to_owned(),
                ..Default::default()
            })
        });
        DescribeGroupsResponse {
            groups: groups.collect(),
            ..Default::default()
        }
    }

    pub(super) fn delete_groups(&mut self, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
        let results = request.groups_names.into_iter().map(|group| {
            let result = self.groups.delete(&group).and_then(|()| {
                self.record(&Entry::GroupGone {
                    group: group.clone(),
                })
            });
            let error_code = result.err().unwrap_or_default();
            DeletableGroupResult {
                group_id: group,
                error_code,
                ..Default::default()
            }
        });
        DeleteGroupsResponse {
            results: results.collect(),
            ..Default::default()
        }
    }
}
