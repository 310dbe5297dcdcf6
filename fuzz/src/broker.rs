//! The embedded broker: any requests, in any order, with any time between them.

use std::time::{Duration, Instant};

use engine::local::broker::{Broker, BrokerConfig, Now, SERVED, Step};
use kafkawire::batch::{BatchBuilder, Batches, ProducerStamp};
use kafkawire::compress::Compressor;
use kafkawire::frame::{RequestHeader, correlation, decode_response, put_request, split};
use kafkawire::message::add_partitions_to_txn::*;
use kafkawire::message::end_txn::*;
use kafkawire::message::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use kafkawire::message::init_producer_id::*;
use kafkawire::message::metadata::*;
use kafkawire::message::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};

const TOPIC: &str = "t";
const TRANSACTIONAL_ID: &str = "id";

/// Claims: a request is answered by exactly one frame with its correlation id, or by none; a
/// topic's log has no gap and no overlap whatever was refused; a committed read never passes an
/// open transaction, and names only aborted ones; time makes every ongoing transaction end.
pub fn requests(data: &[u8]) {
    let config = BrokerConfig {
        advertised_host: "localhost".to_owned(),
        advertised_port: 9092,
        auto_create_topics: true,
        default_partitions: 1,
        seed: 1,
    };
    let mut world = World {
        broker: Broker::in_memory(config),
        now: Now {
            instant: Instant::now(),
            unix_ms: 0,
        },
        correlation: 0,
    };
    let topic = MetadataRequestTopic {
        name: Some(TOPIC.to_owned()),
        ..Default::default()
    };
    world.ask(
        4,
        &MetadataRequest {
            topics: Some(vec![topic]),
            ..Default::default()
        },
    );
    let mut rest = data;
    while let [what, first, second, tail @ ..] = rest {
        rest = tail;
        match what % 8 {
            0 => {
                // Any body for any API and version.
                let (body, tail) = tail.split_at(tail.len().min(usize::from(*second)));
                rest = tail;
                let (api, low, high) = SERVED[usize::from(what / 8) % SERVED.len()];
                let version = low + i16::from(*first) % (high - low + 2);
                let mut request = Vec::new();
                let correlation = world.next_correlation();
                RequestHeader {
                    api,
                    version,
                    correlation,
                    client_id: Some("f"),
                }
                .put(&mut request);
                request.extend_from_slice(body);
                world.hand_in(&request);
            }
            1 => {
                let request = InitProducerIdRequest {
                    transactional_id: (first % 2 == 0).then(|| TRANSACTIONAL_ID.to_owned()),
                    transaction_timeout_ms: 60_000,
                    ..Default::default()
                };
                world.ask(4, &request);
            }
            2 => {
                let topic = AddPartitionsToTxnTopic {
                    name: TOPIC.to_owned(),
                    partitions: vec![0],
                };
                let request = AddPartitionsToTxnRequest {
                    v3_and_below_transactional_id: TRANSACTIONAL_ID.to_owned(),
                    v3_and_below_producer_id: i64::from(first % 3),
                    v3_and_below_producer_epoch: i16::from(second % 4),
                    v3_and_below_topics: vec![topic],
                    ..Default::default()
                };
                world.ask(3, &request);
            }
            3 => {
                let request = EndTxnRequest {
                    transactional_id: TRANSACTIONAL_ID.to_owned(),
                    producer_id: i64::from(first % 3),
                    producer_epoch: i16::from(second % 4),
                    committed: first & 0x80 == 0,
                };
                world.ask(3, &request);
            }
            4 => world.pass(Duration::from_millis(u64::from(*first) * 100)),
            _ => {
                let stamp = ProducerStamp {
                    producer_id: i64::from(first % 4) - 1,
                    producer_epoch: i16::from(first / 4 % 4),
                    base_sequence: i32::from(second % 8),
                    transactional: what & 0x40 == 0,
                };
                world.produce(1 + second / 64, stamp);
            }
        }
    }

    let all = world.read(false);
    assert!(all.stable <= all.end);
    let mut next = 0;
    for &(first, last) in &all.batches {
        assert_eq!(first, next, "the log has a gap or an overlap");
        next = last + 1;
    }
    assert_eq!(next, all.end);
    let committed = world.read(true);
    assert_eq!((committed.stable, committed.end), (all.stable, all.end));
    let below = all
        .batches
        .iter()
        .filter(|(first, _)| *first < all.stable)
        .copied();
    assert_eq!(committed.batches, below.collect::<Vec<_>>());
    for first in committed.aborted {
        assert!(all.batches.iter().any(|batch| batch.0 == first));
    }
    world.pass(Duration::from_secs(901));
    let settled = world.read(true);
    assert_eq!(
        settled.stable, settled.end,
        "a transaction outlives its timeout"
    );
}

struct World {
    broker: Broker,
    now: Now,
    correlation: i32,
}

struct Read {
    batches: Vec<(i64, i64)>,
    aborted: Vec<i64>,
    stable: i64,
    end: i64,
}

impl World {
    fn next_correlation(&mut self) -> i32 {
        self.correlation += 1;
        self.correlation
    }

    fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.broker.tick(self.now);
        let due = self.broker.deadline();
        assert!(
            due.is_none_or(|due| due > self.now.instant),
            "a tick leaves nothing due"
        );
    }

    /// The answer's frame, or nothing.
    fn hand_in(&mut self, request: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match self
            .broker
            .handle(request, None, "127.0.0.1", self.now, &mut out)
        {
            Step::Answered => {
                let (frame, size) = split(&out, usize::MAX).expect("a size").expect("a frame");
                assert_eq!(size, out.len(), "one frame and nothing else");
                assert_eq!(correlation(frame), Ok(self.correlation));
                frame.to_vec()
            }
            Step::Silent | Step::Wait(_) | Step::Close(_) => {
                assert!(out.is_empty());
                Vec::new()
            }
        }
    }

    fn ask<'q, Q: kafkawire::message::Request<'q>>(
        &mut self,
        version: i16,
        request: &Q,
    ) -> Vec<u8> {
        let mut bytes = Vec::new();
        let correlation = self.next_correlation();
        put_request(request, version, correlation, "f", &mut bytes);
        let answer = self.hand_in(&bytes[4..]);
        assert!(!answer.is_empty(), "{} is answered", Q::NAME);
        answer
    }

    fn produce(&mut self, records: u8, stamp: ProducerStamp) {
        let mut open = BatchBuilder::new(1 << 20);
        for _ in 0..records {
            open.append(0).finish().expect("an empty record fits");
        }
        let batch = open.seal(stamp, &mut Compressor::none());
        let partition = PartitionProduceData {
            index: 0,
            records: Some(batch.bytes()),
        };
        let request = ProduceRequest {
            transactional_id: stamp.transactional.then_some(TRANSACTIONAL_ID),
            acks: -1,
            topic_data: vec![TopicProduceData {
                name: TOPIC,
                partition_data: vec![partition],
                ..Default::default()
            }],
            ..Default::default()
        };
        self.ask(9, &request);
    }

    /// The whole of the one partition, which inputs are too short to make large. A topic that a
    /// request deleted reads as empty.
    fn read(&mut self, committed: bool) -> Read {
        let partition = FetchPartition {
            partition_max_bytes: i32::MAX,
            ..Default::default()
        };
        let request = FetchRequest {
            isolation_level: i8::from(committed),
            topics: vec![FetchTopic {
                topic: TOPIC.to_owned(),
                partitions: vec![partition],
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = self.ask(12, &request);
        let answer: FetchResponse<'_> = decode_response(&answer, 12).expect("our own answer");
        let part = &answer.responses[0].partitions[0];
        let batches = Batches::new(part.records.unwrap_or_default());
        let headers = batches.map(|batch| *batch.expect("a stored batch").header());
        let aborted = part.aborted_transactions.iter().flatten();
        Read {
            batches: headers
                .map(|header| (header.base_offset, header.last_offset()))
                .collect(),
            aborted: aborted.map(|aborted| aborted.first_offset).collect(),
            stable: part.last_stable_offset.max(0),
            end: part.high_watermark.max(0),
        }
    }
}
