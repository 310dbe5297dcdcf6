//! The simulated peers against the real ones: the same conversation, the same answers.

#[allow(
    dead_code,
    reason = "the peers are used here, the rest by the simulation"
)]
mod simulation;

#[path = "peers_agree/postgres.rs"]
mod postgres;

use std::time::Duration;

use engine::net::Stream;
use kafkawire::ErrorCode;
use kafkawire::batch::{BatchBuilder, ProducerStamp};
use kafkawire::compress::{Codec, Compressor};
use kafkawire::frame;
use kafkawire::message::add_partitions_to_txn::*;
use kafkawire::message::create_topics::*;
use kafkawire::message::end_txn::*;
use kafkawire::message::find_coordinator::*;
use kafkawire::message::init_producer_id::*;
use kafkawire::message::list_offsets::*;
use kafkawire::message::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use kafkawire::message::{Request, Response};
use tests::kafka::{self, Kafka};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const TOPIC: &str = "agreement";
const ID: &str = "agreement";
/// `transaction.timeout.ms` of the last part.
const TIMEOUT_MS: i32 = 1000;

#[test]
fn transactions_are_answered_as_kafka_4_does() {
    agree(kafka::NEWEST, 2, 2);
}

#[test]
fn older_requests_are_answered_as_kafka_4_does() {
    agree(kafka::NEWEST, 2, 1);
}

#[test]
fn transactions_are_answered_as_kafka_3_does() {
    agree(kafka::KRAFT_3, 1, 1);
}

/// The same is said in `protocol` to a cluster that has `level` and to the simulated one.
fn agree(version: &'static str, level: i16, protocol: i16) {
    let real = Kafka::start(version);
    let address = real.bootstrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let told = runtime.block_on(async {
        let (host, port) = address.rsplit_once(':').expect("host and port");
        let port = port.parse().expect("a port");
        let stream = Stream::connect_tcp(host, port, Duration::from_secs(5)).await;
        talk(stream.expect("a broker"), protocol).await
    });
    let simulated = simulation::with_broker(level, |stream| talk(stream, protocol));
    assert_eq!(simulated, told, "left: simulated, right: Kafka {version}");
}

struct Talk {
    stream: Stream,
    protocol: i16,
    correlation: i32,
    said: Vec<String>,
}

/// A producer's identity, and the next sequence of the only partition.
type Who = (i64, i16);

async fn talk(stream: Stream, protocol: i16) -> Vec<String> {
    let mut talk = Talk {
        stream,
        protocol,
        correlation: 0,
        said: Vec::new(),
    };
    talk.prepare().await;

    // One transaction, with batches that come again, out of order, and of another epoch.
    let mut who = talk.init("the first", (-1, -1), 60_000).await;
    talk.produce(
        "a batch of no transaction's partition",
        who,
        0,
        protocol < 2,
    )
    .await;
    talk.add("its partition", who).await;
    talk.produce("a batch", who, 0, true).await;
    talk.produce("the same again", who, 0, true).await;
    talk.produce("one too far", who, 7, true).await;
    talk.produce("an older epoch", (who.0, who.1 - 1), 2, true)
        .await;
    talk.offsets("open").await;
    who = talk.end("commit", who, true).await;
    talk.offsets("committed").await;
    talk.end("commit once more", who, true).await;
    who = talk.end("abort what has ended", who, false).await;
    // With version 2 that takes its time, too.
    tokio::time::sleep(Duration::from_millis(500)).await;

    // Another epoch, asked for by who has this one; the answer may have been lost.
    let next = talk.init("the next epoch", who, 60_000).await;
    talk.init("the next epoch once more", who, 60_000).await;
    talk.end("commit of the epoch before", who, true).await;
    talk.add("partition of the epoch before", who).await;
    who = next;

    // One that a successor ends.
    let first = 0;
    talk.add("the next one's partition", who).await;
    talk.produce("a batch of the next one", who, first, true)
        .await;
    talk.offsets("open again").await;
    let next = talk.init("a successor", (-1, -1), TIMEOUT_MS).await;
    talk.offsets("aborted").await;
    talk.produce("of the predecessor", who, first + 2, true)
        .await;
    talk.add("partition of the predecessor", who).await;
    talk.end("commit of the predecessor", who, true).await;

    // One that takes too long.
    talk.add("partition of the slow one", next).await;
    talk.produce("a batch of the slow one", next, 0, true).await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    talk.offsets("timed out").await;
    talk.add("partition of the one that was too slow", next)
        .await;
    talk.end("commit of the slow one", next, true).await;
    talk.produce("more of the slow one", next, 2, true).await;
    talk.init("the slow one again", next, 60_000).await;
    talk.said
}

impl Talk {
    async fn call<'q, Q: Request<'q>, A: for<'a> Response<'a>>(
        &mut self,
        version: i16,
        request: &Q,
    ) -> A {
        self.correlation += 1;
        let mut bytes = Vec::new();
        frame::put_request(request, version, self.correlation, "agree", &mut bytes);
        self.stream.write_all(&bytes).await.expect("a broker");
        let mut size = [0; 4];
        self.stream.read_exact(&mut size).await.expect("an answer");
        let size = usize::try_from(u32::from_be_bytes(size)).expect("a size");
        let mut answer = vec![0; size];
        self.stream
            .read_exact(&mut answer)
            .await
            .expect("an answer");
        let answer: Result<A, _> = frame::decode_response(&answer, version);
        answer.expect("an answer")
    }

    fn note(&mut self, what: &str, code: ErrorCode, more: &str) {
        self.said.push(format!("{what}: {code}{more}"));
    }

    /// The topic and the coordinator are there.
    async fn prepare(&mut self) {
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: TOPIC.to_owned(),
                num_partitions: 1,
                replication_factor: 1,
                ..CreatableTopic::default()
            }],
            ..CreateTopicsRequest::default()
        };
        let _: CreateTopicsResponse = self.call(5, &request).await;
        for _ in 0..200 {
            let request = FindCoordinatorRequest {
                key_type: 1,
                coordinator_keys: vec![ID.to_owned()],
                ..FindCoordinatorRequest::default()
            };
            let told: FindCoordinatorResponse = self.call(4, &request).await;
            if told.coordinators.iter().all(|it| it.error_code.is_ok()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn init(&mut self, what: &str, claimed: Who, transaction_timeout_ms: i32) -> Who {
        let request = InitProducerIdRequest {
            transactional_id: Some(ID.to_owned()),
            transaction_timeout_ms,
            producer_id: claimed.0,
            producer_epoch: claimed.1,
            ..InitProducerIdRequest::default()
        };
        let mut waited = false;
        loop {
            let told: InitProducerIdResponse = self.call(4, &request).await;
            let code = told.error_code;
            if waits(code) {
                waited |= code == ErrorCode::CONCURRENT_TRANSACTIONS;
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            let more = if waited { ", after the open one" } else { "" };
            self.note(
                what,
                code,
                &format!("{more}, epoch {}", told.producer_epoch),
            );
            return (told.producer_id, told.producer_epoch);
        }
    }

    async fn add(&mut self, what: &str, who: Who) {
        if self.protocol == 2 {
            return;
        }
        let request = AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: ID.to_owned(),
            v3_and_below_producer_id: who.0,
            v3_and_below_producer_epoch: who.1,
            v3_and_below_topics: vec![AddPartitionsToTxnTopic {
                name: TOPIC.to_owned(),
                partitions: vec![0],
            }],
            ..AddPartitionsToTxnRequest::default()
        };
        loop {
            let told: AddPartitionsToTxnResponse = self.call(3, &request).await;
            let result = &told.results_by_topic_v3_and_below[0].results_by_partition[0];
            let code = result.partition_error_code;
            if !waits(code) {
                return self.note(what, code, "");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Two records. `told`: what is answered is of interest here.
    async fn produce(&mut self, what: &str, who: Who, sequence: i32, told: bool) {
        if !told {
            return;
        }
        let mut builder = BatchBuilder::new(1 << 16);
        for _ in 0..2 {
            let mut record = builder.append(1);
            record.key(Some(b"k"));
            record.value(Some(b"v"));
            record.finish().expect("room");
        }
        let stamp = ProducerStamp {
            producer_id: who.0,
            producer_epoch: who.1,
            base_sequence: sequence,
            transactional: true,
        };
        let mut compressor = Compressor::new(Codec::NONE, None).expect("none");
        let batch = builder.seal(stamp, &mut compressor);
        let request = ProduceRequest {
            transactional_id: Some(ID),
            acks: -1,
            timeout_ms: 5000,
            topic_data: vec![TopicProduceData {
                name: TOPIC,
                partition_data: vec![PartitionProduceData {
                    index: 0,
                    records: Some(batch.bytes()),
                }],
                ..TopicProduceData::default()
            }],
        };
        let version = if self.protocol == 2 { 12 } else { 11 };
        for _ in 0..200 {
            let (code, offset) = self.produce_once(version, &request).await;
            if !waits(code) {
                let more = if code.is_ok() {
                    format!(" at {offset}")
                } else {
                    String::new()
                };
                return self.note(what, code, &more);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn produce_once(
        &mut self,
        version: i16,
        request: &ProduceRequest<'_>,
    ) -> (ErrorCode, i64) {
        self.correlation += 1;
        let mut bytes = Vec::new();
        frame::put_request(request, version, self.correlation, "agree", &mut bytes);
        self.stream.write_all(&bytes).await.expect("a broker");
        let mut size = [0; 4];
        self.stream.read_exact(&mut size).await.expect("an answer");
        let size = usize::try_from(u32::from_be_bytes(size)).expect("a size");
        let mut answer = vec![0; size];
        self.stream
            .read_exact(&mut answer)
            .await
            .expect("an answer");
        let told: ProduceResponse<'_> =
            frame::decode_response(&answer, version).expect("an answer");
        let result = &told.responses[0].partition_responses[0];
        (result.error_code, result.base_offset)
    }

    async fn end(&mut self, what: &str, who: Who, committed: bool) -> Who {
        let version = if self.protocol == 2 { 5 } else { 3 };
        let request = EndTxnRequest {
            transactional_id: ID.to_owned(),
            producer_id: who.0,
            producer_epoch: who.1,
            committed,
        };
        loop {
            let told: EndTxnResponse = self.call(version, &request).await;
            let code = told.error_code;
            if waits(code) {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            if self.protocol == 2 && code.is_ok() {
                self.note(what, code, &format!(", epoch {}", told.producer_epoch));
                return (told.producer_id, told.producer_epoch);
            }
            self.note(what, code, "");
            return who;
        }
    }

    /// The log's end and the last stable offset, once markers had time to be written.
    async fn offsets(&mut self, what: &str) {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut found = Vec::new();
        for isolation_level in [0, 1] {
            let request = ListOffsetsRequest {
                replica_id: -1,
                isolation_level,
                topics: vec![ListOffsetsTopic {
                    name: TOPIC.to_owned(),
                    partitions: vec![ListOffsetsPartition {
                        timestamp: -1,
                        ..ListOffsetsPartition::default()
                    }],
                }],
                ..ListOffsetsRequest::default()
            };
            let told: ListOffsetsResponse = self.call(5, &request).await;
            found.push(told.topics[0].partitions[0].offset);
        }
        self.said.push(format!("{what}: end and stable {found:?}"));
    }
}

/// Come again: nothing is decided yet.
fn waits(code: ErrorCode) -> bool {
    code == ErrorCode::CONCURRENT_TRANSACTIONS
        || code == ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
        || code == ErrorCode::NOT_COORDINATOR
        || code == ErrorCode::COORDINATOR_NOT_AVAILABLE
        || code == ErrorCode::NOT_LEADER_OR_FOLLOWER
        || code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
}
