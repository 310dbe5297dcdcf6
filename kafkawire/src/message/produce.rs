//! Produce (0): record batches in, offsets out.

use super::{ApiKey, Field, Form, Message, Uuid, put_length, put_no_tags};
use crate::error_code::ErrorCode;
use crate::frame::RequestHeader;
use crate::write::{SizePrefix, put_i16, put_i32};

messages! {
    /// Exactly one record batch of format v2 per partition. With acks 0 there is no response.
    request ProduceRequest<'b>: PRODUCE 3..=13 flexible 9 {
        transactional_id: Option<&'b str> [3..],
        acks: i16 [0..],
        timeout_ms: i32 [0..],
        topic_data: Vec<TopicProduceData<'b>> [0..],
    }

    /// The batches of one topic: by name up to version 12, by id from 13.
    part TopicProduceData<'b> {
        name: &'b str [0..=12],
        topic_id: Uuid [13..],
        partition_data: Vec<PartitionProduceData<'b>> [0..],
    }

    /// One partition's batch, whole.
    part PartitionProduceData<'b> {
        index: i32 [0..],
        records: Option<&'b [u8]> [0..],
    }

    /// One result per partition; `base_offset` is -1 on errors.
    response ProduceResponse<'b>: PRODUCE 3..=13 flexible 9 {
        responses: Vec<TopicProduceResponse<'b>> [0..],
        throttle_time_ms: i32 [1..],
        node_endpoints: Vec<NodeEndpoint<'b>> [10..] tag 0,
    }

    /// The results of one topic.
    part TopicProduceResponse<'b> {
        name: &'b str [0..=12],
        topic_id: Uuid [13..],
        partition_responses: Vec<PartitionProduceResponse<'b>> [0..],
    }

    /// What became of one batch.
    part PartitionProduceResponse<'b> {
        index: i32 [0..],
        error_code: ErrorCode [0..],
        base_offset: i64 [0..],
        log_append_time_ms: i64 [2..] = -1,
        log_start_offset: i64 [5..] = -1,
        record_errors: Vec<BatchIndexAndErrorMessage<'b>> [8..],
        error_message: Option<&'b str> [8..],
        current_leader: LeaderIdAndEpoch [10..] tag 0,
    }

    /// A record that caused its batch to be dropped.
    part BatchIndexAndErrorMessage<'b> {
        batch_index: i32 [8..],
        batch_index_error_message: Option<&'b str> [8..],
    }

    /// Who leads now; -1 when the broker does not know.
    part LeaderIdAndEpoch {
        leader_id: i32 [10..] = -1,
        leader_epoch: i32 [10..] = -1,
    }

    /// Where a leader that a partition names can be reached.
    part NodeEndpoint<'b> {
        node_id: i32 [10..],
        host: &'b str [10..],
        port: i32 [10..],
        rack: Option<&'b str> [10..],
    }
}

/// What stands before the batches of a spliced request.
#[derive(Debug, Clone, Copy)]
pub struct ProduceHead<'a> {
    pub version: i16,
    pub correlation: i32,
    pub client_id: &'a str,
    pub transactional_id: Option<&'a str>,
    /// -1: all in-sync replicas; 1: the leader; 0: no response.
    pub acks: i16,
    /// How long the broker waits for its replicas.
    pub timeout_ms: i32,
}

/// One batch that stays where it is, and where it belongs.
#[derive(Debug, Clone, Copy)]
pub struct Splice<'a> {
    pub topic: &'a str,
    /// Used from version 13 on.
    pub topic_id: Uuid,
    pub partition: i32,
    /// The batch's bytes.
    pub size: usize,
}

/// Appends a whole request but for its batches, so that they need not be copied:
///
/// ```text
/// out:   size | header | acks .. | index, size |         | index, size |         | tail
///                                              ^ cuts[0]               ^ cuts[1]
/// wire:                                        batch 0                 batch 1
/// ```
///
/// One batch goes in at each of `cuts`, offsets into `out` in ascending order; the size at the
/// front counts them. Splices of one topic must be adjacent. The result is what
/// [`ProduceRequest`]'s `encode` would give for the same batches.
pub fn put_spliced<'a>(
    head: &ProduceHead<'_>,
    splices: impl Iterator<Item = Splice<'a>> + Clone,
    out: &mut Vec<u8>,
    cuts: &mut Vec<usize>,
) {
    let form = Form::new(head.version, ProduceRequest::FLEXIBLE);
    let key = |splice: &Splice<'a>| (splice.topic, splice.topic_id);
    let mut size = SizePrefix::open(out);
    let out = size.buffer();
    let ProduceHead { version, correlation, .. } = *head;
    let client_id = Some(head.client_id);
    RequestHeader { api: ApiKey::PRODUCE, version, correlation, client_id }.put(out);
    head.transactional_id.put(form.nullable(true), out);
    put_i16(out, head.acks);
    put_i32(out, head.timeout_ms);

    let mut topics = 0;
    let mut last = None;
    for splice in splices.clone() {
        topics += usize::from(last != Some(key(&splice)));
        last = Some(key(&splice));
    }
    put_length(out, form, Some(topics));
    let mut elsewhere = 0;
    let mut rest = splices.peekable();
    while let Some(topic) = rest.peek().map(key) {
        if head.version >= 13 {
            topic.1.put(form, out);
        } else {
            topic.0.put(form, out);
        }
        let count = rest.clone().take_while(|splice| key(splice) == topic).count();
        put_length(out, form, Some(count));
        while let Some(splice) = rest.next_if(|splice| key(splice) == topic) {
            put_i32(out, splice.partition);
            put_length(out, form, Some(splice.size));
            cuts.push(out.len());
            elsewhere += splice.size;
            put_no_tags(out, form);
        }
        put_no_tags(out, form);
    }
    put_no_tags(out, form);
    size.finish(elsewhere);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::put_request;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn splicing_writes_what_encode_writes(
            version in 3i16..=13,
            layout in prop::collection::vec((0usize..4, 0i32..9, 0usize..300), 0..12),
        ) {
            const NAMES: [&str; 4] = ["a", "b", "longer-name", "t"];
            let batches: Vec<_> = layout.iter().map(|&(_, _, size)| vec![0xab; size]).collect();
            let splices = layout.iter().map(|&(topic, partition, size)| {
                let topic_id = Uuid([u8::try_from(topic).unwrap(); 16]);
                Splice { topic: NAMES[topic], topic_id, partition, size }
            });
            let head = ProduceHead {
                version,
                correlation: 5,
                client_id: "c",
                transactional_id: Some("tx"),
                acks: -1,
                timeout_ms: 100,
            };
            let (mut out, mut cuts) = (vec![1, 2], Vec::new());
            put_spliced(&head, splices.clone(), &mut out, &mut cuts);
            let mut wire = Vec::new();
            let mut at = 2;
            for (&cut, batch) in cuts.iter().zip(&batches) {
                wire.extend_from_slice(&out[at..cut]);
                wire.extend_from_slice(batch);
                at = cut;
            }
            wire.extend_from_slice(&out[at..]);

            let mut topic_data: Vec<TopicProduceData<'_>> = Vec::new();
            for (splice, batch) in splices.zip(&batches) {
                if topic_data.last().is_none_or(|topic| topic.name != splice.topic) {
                    let (name, topic_id) = (splice.topic, splice.topic_id);
                    topic_data.push(TopicProduceData { name, topic_id, partition_data: vec![] });
                }
                let data =
                    PartitionProduceData { index: splice.partition, records: Some(batch) };
                topic_data.last_mut().unwrap().partition_data.push(data);
            }
            let request = ProduceRequest {
                transactional_id: Some("tx"),
                acks: -1,
                timeout_ms: 100,
                topic_data,
            };
            let mut whole = Vec::new();
            put_request(&request, version, 5, "c", &mut whole);
            prop_assert_eq!(wire, whole);
        }
    }
}
