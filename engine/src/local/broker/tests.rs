//! The machine, asked as clients ask it; no sockets, and time as the test says.

use std::time::{Duration, Instant};

use kafkawire::batch::{BatchBuilder, BatchView, Batches, ProducerStamp};
use kafkawire::compress::{Codec, Compressor};
use kafkawire::frame::{decode_response, put_request, split};
use kafkawire::message::add_offsets_to_txn::*;
use kafkawire::message::add_partitions_to_txn::*;
use kafkawire::message::create_topics::*;
use kafkawire::message::end_txn::*;
use kafkawire::message::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use kafkawire::message::heartbeat::*;
use kafkawire::message::init_producer_id::*;
use kafkawire::message::join_group::*;
use kafkawire::message::leave_group::*;
use kafkawire::message::list_offsets::*;
use kafkawire::message::metadata::*;
use kafkawire::message::offset_commit::*;
use kafkawire::message::offset_fetch::*;
use kafkawire::message::produce::{
    PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use kafkawire::message::sync_group::*;
use kafkawire::message::txn_offset_commit::*;
use kafkawire::message::{Request, Response};

use super::*;

const T: i64 = 1_700_000_000_000;
const TOPIC: &str = "t";

struct World {
    broker: Broker,
    now: Now,
}

fn config() -> BrokerConfig {
    BrokerConfig {
        advertised_host: "localhost".to_owned(),
        advertised_port: 9092,
        auto_create_topics: true,
        default_partitions: 1,
        seed: 7,
    }
}

fn now() -> Now {
    Now {
        instant: Instant::now(),
        unix_ms: T,
    }
}

impl World {
    fn in_memory() -> Self {
        let mut world = Self {
            broker: Broker::in_memory(config()),
            now: now(),
        };
        world.create(TOPIC);
        world
    }

    fn open(path: &Path) -> Self {
        let now = now();
        Self {
            broker: Broker::open(config(), path, now).unwrap(),
            now,
        }
    }

    /// The process dies: nothing is flushed or closed in order.
    fn reopen(self, path: &Path) -> Self {
        drop(self);
        Self::open(path)
    }

    fn step<'q, Q: Request<'q>>(
        &mut self,
        version: i16,
        request: &Q,
        ticket: Option<Ticket>,
    ) -> (Step, &'static [u8]) {
        let mut bytes = Vec::new();
        put_request(request, version, 77, "tester", &mut bytes);
        let mut out = Vec::new();
        let step = self
            .broker
            .handle(&bytes[4..], ticket, "127.0.0.1", self.now, &mut out);
        (step, out.leak())
    }

    fn ask<'q, Q: Request<'q>, A: Response<'static>>(&mut self, version: i16, request: &Q) -> A {
        let (step, out) = self.step(version, request, None);
        assert!(matches!(step, Step::Answered), "{step:?}");
        response(version, out)
    }

    fn wait<'q, Q: Request<'q>>(&mut self, version: i16, request: &Q) -> Ticket {
        match self.step(version, request, None) {
            (Step::Wait(ticket), []) => ticket,
            (step, _) => panic!("{step:?}"),
        }
    }

    fn resume<'q, Q: Request<'q>, A: Response<'static>>(
        &mut self,
        version: i16,
        request: &Q,
        ticket: Ticket,
    ) -> A {
        let (step, out) = self.step(version, request, Some(ticket));
        assert!(matches!(step, Step::Answered), "{step:?}");
        response(version, out)
    }

    fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.broker.tick(self.now);
    }

    fn create(&mut self, name: &str) -> ErrorCode {
        let topic = CreatableTopic {
            name: name.to_owned(),
            num_partitions: 2,
            replication_factor: 1,
            ..Default::default()
        };
        let request = CreateTopicsRequest {
            topics: vec![topic],
            ..Default::default()
        };
        let response: CreateTopicsResponse = self.ask(7, &request);
        response.topics[0].error_code
    }

    fn produce(&mut self, batch: &[u8]) -> Result<i64, ErrorCode> {
        self.produce_as(None, batch)
    }

    fn produce_as(&mut self, id: Option<&str>, batch: &[u8]) -> Result<i64, ErrorCode> {
        let response: ProduceResponse<'_> = self.ask(9, &produce_request(id, -1, batch));
        let result = &response.responses[0].partition_responses[0];
        if result.error_code.is_ok() {
            Ok(result.base_offset)
        } else {
            Err(result.error_code)
        }
    }

    /// First offset and number of records of every data batch, the last stable offset, and the
    /// first offsets of what was aborted.
    fn fetch(&mut self, offset: i64, committed: bool) -> (Vec<(i64, i32)>, i64, Vec<i64>) {
        let response: FetchResponse<'_> = self.ask(12, &fetch_request(offset, committed, 0, 0));
        let part = &response.responses[0].partitions[0];
        assert!(part.error_code.is_ok(), "{}", part.error_code);
        let batches = Batches::new(part.records.unwrap());
        let headers = batches.map(|batch| *batch.unwrap().header());
        let data = headers.filter(|header| !header.attributes.control());
        let aborted = part.aborted_transactions.clone().unwrap_or_default();
        (
            data.map(|header| (header.base_offset, header.record_count))
                .collect(),
            part.last_stable_offset,
            aborted.iter().map(|aborted| aborted.first_offset).collect(),
        )
    }

    fn init(&mut self, id: Option<&str>, claimed: (i64, i16)) -> Result<(i64, i16), ErrorCode> {
        let request = InitProducerIdRequest {
            transactional_id: id.map(str::to_owned),
            transaction_timeout_ms: 60_000,
            producer_id: claimed.0,
            producer_epoch: claimed.1,
            ..Default::default()
        };
        let response: InitProducerIdResponse = self.ask(4, &request);
        match response.error_code {
            ErrorCode::NONE => Ok((response.producer_id, response.producer_epoch)),
            code => Err(code),
        }
    }

    fn add(&mut self, id: &str, producer: (i64, i16), topic: &str) -> ErrorCode {
        let topic = AddPartitionsToTxnTopic {
            name: topic.to_owned(),
            partitions: vec![0],
        };
        let request = AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: id.to_owned(),
            v3_and_below_producer_id: producer.0,
            v3_and_below_producer_epoch: producer.1,
            v3_and_below_topics: vec![topic],
            ..Default::default()
        };
        let response: AddPartitionsToTxnResponse = self.ask(3, &request);
        response.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
    }

    fn end(&mut self, id: &str, producer: (i64, i16), committed: bool) -> ErrorCode {
        let request = EndTxnRequest {
            transactional_id: id.to_owned(),
            producer_id: producer.0,
            producer_epoch: producer.1,
            committed,
        };
        self.ask::<_, EndTxnResponse>(3, &request).error_code
    }

    fn commit(&mut self, group: &str, offset: i64) -> ErrorCode {
        let partition = OffsetCommitRequestPartition {
            committed_offset: offset,
            committed_metadata: Some("m".to_owned()),
            ..Default::default()
        };
        let request = OffsetCommitRequest {
            group_id: group.to_owned(),
            topics: vec![OffsetCommitRequestTopic {
                name: TOPIC.to_owned(),
                partitions: vec![partition],
                ..Default::default()
            }],
            ..Default::default()
        };
        self.ask::<_, OffsetCommitResponse>(8, &request).topics[0].partitions[0].error_code
    }

    fn committed(&mut self, group: &str) -> (i64, ErrorCode) {
        let topic = OffsetFetchRequestTopic {
            name: TOPIC.to_owned(),
            partition_indexes: vec![0],
        };
        let request = OffsetFetchRequest {
            group_id: group.to_owned(),
            topics: Some(vec![topic]),
            require_stable: true,
            ..Default::default()
        };
        let response: OffsetFetchResponse = self.ask(7, &request);
        let part = &response.topics[0].partitions[0];
        (part.committed_offset, part.error_code)
    }
}

fn response<A: Response<'static>>(version: i16, out: &'static [u8]) -> A {
    let (frame, size) = split(out, usize::MAX).unwrap().unwrap();
    assert_eq!((size, &frame[..4]), (out.len(), &[0, 0, 0, 77][..]));
    decode_response(frame, version).unwrap()
}

fn batch(count: i64, stamp: ProducerStamp) -> Vec<u8> {
    let mut open = BatchBuilder::new(1 << 20);
    for i in 0..count {
        let mut record = open.append(T + i);
        record.value(Some(format!("value {i}").as_bytes()));
        record.finish().unwrap();
    }
    open.seal(stamp, &mut Compressor::none()).bytes().to_vec()
}

fn stamp(producer: (i64, i16), base_sequence: i32, transactional: bool) -> ProducerStamp {
    let (producer_id, producer_epoch) = producer;
    ProducerStamp {
        producer_id,
        producer_epoch,
        base_sequence,
        transactional,
    }
}

fn produce_request<'b>(id: Option<&'b str>, acks: i16, batch: &'b [u8]) -> ProduceRequest<'b> {
    let partition = PartitionProduceData {
        index: 0,
        records: Some(batch),
    };
    ProduceRequest {
        transactional_id: id,
        acks,
        timeout_ms: 1000,
        topic_data: vec![TopicProduceData {
            name: TOPIC,
            partition_data: vec![partition],
            ..Default::default()
        }],
    }
}

fn fetch_request(offset: i64, committed: bool, wait_ms: i32, min_bytes: i32) -> FetchRequest {
    let partition = FetchPartition {
        fetch_offset: offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    FetchRequest {
        max_wait_ms: wait_ms,
        min_bytes,
        isolation_level: i8::from(committed),
        topics: vec![FetchTopic {
            topic: TOPIC.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[test]
fn every_advertised_api_is_one_that_the_codec_knows() {
    for &(api, low, high) in SERVED {
        let (min, max) = api.versions().unwrap();
        assert!(
            high <= max && (low >= min || api == ApiKey::PRODUCE),
            "{api}"
        );
    }
}

#[test]
fn what_cannot_be_served_is_told_or_closed() {
    let mut world = World::in_memory();
    let (step, out) = world.step(5, &ApiVersionsRequest::default(), None);
    assert!(matches!(step, Step::Answered));
    let answer: ApiVersionsResponse = response(0, out);
    assert_eq!(answer.error_code, ErrorCode::UNSUPPORTED_VERSION);
    assert_eq!(
        (answer.api_keys[0].api_key, answer.api_keys[0].max_version),
        (18, 4)
    );
    let (step, out) = world.step(13, &produce_request(None, -1, &[]), None);
    assert!(matches!(step, Step::Close(_)) && out.is_empty());
    let mut out = Vec::new();
    for request in [&b""[..], &[0, 3, 0, 4, 0, 0, 0, 1, 0], &[0x7f; 40]] {
        let step = world.broker.handle(request, None, "", world.now, &mut out);
        assert!(matches!(step, Step::Close(_)) && out.is_empty());
    }
}

#[test]
fn bytes_behind_a_request_do_not_matter() {
    // As librdkafka 2.16 asks for all topics.
    let request = b"\0\x03\0\x0d\0\0\0\x4d\0\x07rdkafka\0\0\0\0\0\x01\0\0";
    let mut world = World::in_memory();
    let mut out = Vec::new();
    let step = world.broker.handle(request, None, "", world.now, &mut out);
    assert!(matches!(step, Step::Answered), "{step:?}");
    let answer: MetadataResponse = response(13, out.leak());
    assert_eq!(answer.topics[0].name.as_deref(), Some(TOPIC));
}

#[test]
fn topics_begin_when_asked_for_and_have_ids() {
    let mut world = World::in_memory();
    assert_eq!(world.create(TOPIC), ErrorCode::TOPIC_ALREADY_EXISTS);
    assert_eq!(world.create("no/good"), ErrorCode::INVALID_TOPIC_EXCEPTION);
    let ask = |world: &mut World, name: &str, allow| -> MetadataResponse {
        let topic = MetadataRequestTopic {
            name: Some(name.to_owned()),
            ..Default::default()
        };
        let request = MetadataRequest {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: allow,
            ..Default::default()
        };
        world.ask(12, &request)
    };
    let unknown = ask(&mut world, "new", false);
    assert_eq!(
        unknown.topics[0].error_code,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
    let made = ask(&mut world, "new", true);
    assert_eq!(made.topics[0].partitions.len(), 1);
    assert_eq!(
        (made.brokers[0].host.as_str(), made.brokers[0].port),
        ("localhost", 9092)
    );
    let by_id = MetadataRequestTopic {
        topic_id: made.topics[0].topic_id,
        name: None,
    };
    let request = MetadataRequest {
        topics: Some(vec![by_id]),
        ..Default::default()
    };
    let found: MetadataResponse = world.ask(12, &request);
    assert_eq!(found.topics[0].name.as_deref(), Some("new"));
    let request = MetadataRequest {
        topics: None,
        ..Default::default()
    };
    assert_eq!(
        world.ask::<_, MetadataResponse>(4, &request).topics.len(),
        2
    );
}

#[test]
fn batches_are_stored_as_they_come() {
    let mut world = World::in_memory();
    for (codec, offset) in [
        Codec::NONE,
        Codec::GZIP,
        Codec::SNAPPY,
        Codec::LZ4,
        Codec::ZSTD,
    ]
    .into_iter()
    .zip([0, 3, 6, 9, 12])
    {
        let mut open = BatchBuilder::new(1 << 20);
        for i in 0..3 {
            open.append(T + i).finish().unwrap();
        }
        let mut compressor = Compressor::new(codec, None).unwrap();
        let sent = open.seal(ProducerStamp::NONE, &mut compressor);
        assert_eq!(world.produce(sent.bytes()), Ok(offset));
        // From the middle of the batch: the whole of it.
        let answer: FetchResponse<'_> = world.ask(4, &fetch_request(offset + 1, false, 0, 0));
        let stored = answer.responses[0].partitions[0].records.unwrap();
        assert_eq!(stored[16..], sent.bytes()[16..], "{codec:?}");
        assert_eq!(
            stored[..16],
            [&offset.to_be_bytes(), &sent.bytes()[8..12], &[0; 4]].concat()
        );
    }
    let request = fetch_request(16, false, 0, 0);
    let answer: FetchResponse<'_> = world.ask(4, &request);
    let part = &answer.responses[0].partitions[0];
    assert_eq!(part.error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
}

#[test]
fn bad_batches_are_refused() {
    let mut world = World::in_memory();
    let good = batch(2, ProducerStamp::NONE);
    let mut broken = good.clone();
    *broken.last_mut().unwrap() ^= 1;
    assert_eq!(world.produce(&broken), Err(ErrorCode::CORRUPT_MESSAGE));
    assert_eq!(world.produce(&[]), Err(ErrorCode::INVALID_RECORD));
    assert_eq!(
        world.produce(&[&good[..], &good].concat()),
        Err(ErrorCode::INVALID_RECORD)
    );
    let large = vec![0; 1_048_600];
    let mut open = BatchBuilder::new(2 << 20);
    let mut record = open.append(T);
    record.value(Some(&large));
    record.finish().unwrap();
    let large = open.seal(ProducerStamp::NONE, &mut Compressor::none());
    assert_eq!(
        world.produce(large.bytes()),
        Err(ErrorCode::MESSAGE_TOO_LARGE)
    );
    let (step, out) = world.step(9, &produce_request(None, 0, &good), None);
    assert!(matches!(step, Step::Silent) && out.is_empty());
    let (step, out) = world.step(9, &produce_request(None, 0, &broken), None);
    assert!(matches!(step, Step::Close(_)) && out.is_empty());
    assert_eq!(world.fetch(0, false).0, [(0, 2)]);
}

#[test]
fn a_resent_batch_is_appended_once() {
    let mut world = World::in_memory();
    let producer = world.init(None, (-1, -1)).unwrap();
    let other = world.init(None, (-1, -1)).unwrap();
    assert_ne!(producer.0, other.0);
    let send = |world: &mut World, count, producer, sequence| {
        world.produce(&batch(count, stamp(producer, sequence, false)))
    };
    for (i, sequence) in (0..7).zip((0..).step_by(3)) {
        assert_eq!(send(&mut world, 3, producer, sequence), Ok(i * 3));
        assert_eq!(send(&mut world, 3, producer, sequence), Ok(i * 3), "again");
    }
    // Five are known by their offsets, older ones by their age.
    assert_eq!(send(&mut world, 3, producer, 6), Ok(6));
    assert_eq!(
        send(&mut world, 3, producer, 3),
        Err(ErrorCode::DUPLICATE_SEQUENCE_NUMBER)
    );
    assert_eq!(
        send(&mut world, 3, producer, 24),
        Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
    );
    let bumped = (producer.0, 1);
    assert_eq!(
        send(&mut world, 1, bumped, 21),
        Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER)
    );
    assert_eq!(send(&mut world, 1, bumped, 0), Ok(21));
    assert_eq!(
        send(&mut world, 1, producer, 21),
        Err(ErrorCode::INVALID_PRODUCER_EPOCH)
    );
    // Nothing is known of this producer: whatever it begins with.
    assert_eq!(send(&mut world, 2, other, i32::MAX - 1), Ok(22));
    assert_eq!(send(&mut world, 1, other, 0), Ok(24), "wrapped");
    assert_eq!(
        world
            .fetch(0, false)
            .0
            .iter()
            .map(|(_, count)| count)
            .sum::<i32>(),
        25
    );
}

#[test]
fn a_fetch_waits_for_bytes_or_time() {
    let mut world = World::in_memory();
    let request = fetch_request(0, false, 500, 100);
    let ticket = world.wait(12, &request);
    assert_eq!(
        ticket.until(),
        Some(world.now.instant + Duration::from_millis(500))
    );
    let before = world.broker.changes();
    world.produce(&batch(1, ProducerStamp::NONE)).unwrap();
    assert_ne!(world.broker.changes(), before);
    let (step, _) = world.step(12, &request, Some(ticket));
    let Step::Wait(ticket) = step else {
        panic!("too few bytes: {step:?}")
    };
    world.produce(&batch(3, ProducerStamp::NONE)).unwrap();
    let answer: FetchResponse<'_> = world.resume(12, &request, ticket);
    assert_eq!(answer.responses[0].partitions[0].high_watermark, 4);
    let request = fetch_request(4, false, 500, 1);
    let ticket = world.wait(12, &request);
    world.pass(Duration::from_millis(500));
    let answer: FetchResponse<'_> = world.resume(12, &request, ticket);
    assert_eq!(answer.responses[0].partitions[0].records, Some(&[][..]));
    // What is wrong is told at once.
    let answer: FetchResponse<'_> = world.ask(12, &fetch_request(9, false, 500, 1));
    let part = &answer.responses[0].partitions[0];
    assert_eq!(part.error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
}

#[test]
fn transactions_show_when_they_commit() {
    let mut world = World::in_memory();
    let a = world.init(Some("a"), (-1, -1)).unwrap();
    let b = world.init(Some("b"), (-1, -1)).unwrap();
    let send = |world: &mut World, id, producer, sequence| {
        world.produce_as(Some(id), &batch(2, stamp(producer, sequence, true)))
    };
    assert_eq!(
        send(&mut world, "a", a, 0),
        Err(ErrorCode::INVALID_TXN_STATE),
        "not added"
    );
    assert_eq!(
        world.add("a", a, "unknown"),
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    );
    assert_eq!(world.add("a", a, TOPIC), ErrorCode::NONE);
    assert_eq!(world.add("b", b, TOPIC), ErrorCode::NONE);
    assert_eq!(send(&mut world, "a", a, 0), Ok(0));
    assert_eq!(send(&mut world, "b", b, 0), Ok(2));
    assert_eq!(world.fetch(0, true), (vec![], 0, vec![]));
    assert_eq!(world.fetch(0, false).0, [(0, 2), (2, 2)]);
    assert_eq!(world.end("a", a, true), ErrorCode::NONE);
    assert_eq!(world.fetch(0, true), (vec![(0, 2)], 2, vec![]));
    assert_eq!(world.end("b", b, false), ErrorCode::NONE);
    // Markers are at 4 and 5; the reader is told what to leave out.
    assert_eq!(world.fetch(0, true), (vec![(0, 2), (2, 2)], 6, vec![2]));
    assert_eq!(world.fetch(6, true), (vec![], 6, vec![]));
    // Asked again, answered again; the other way, refused.
    assert_eq!(world.end("b", b, false), ErrorCode::NONE);
    assert_eq!(world.end("b", b, true), ErrorCode::INVALID_TXN_STATE);
    // Sequences go on in the next transaction.
    assert_eq!(world.add("a", a, TOPIC), ErrorCode::NONE);
    assert_eq!(send(&mut world, "a", a, 2), Ok(6));
    assert_eq!(world.end("a", a, true), ErrorCode::NONE);
    let plain = world.produce(&batch(1, stamp(a, 4, false)));
    assert_eq!(plain, Ok(9));
}

#[test]
fn who_comes_later_fences_who_was_there() {
    let mut world = World::in_memory();
    let first = world.init(Some("a"), (-1, -1)).unwrap();
    assert_eq!(world.add("a", first, TOPIC), ErrorCode::NONE);
    world
        .produce_as(Some("a"), &batch(2, stamp(first, 0, true)))
        .unwrap();
    let second = world.init(Some("a"), (-1, -1)).unwrap();
    assert!(second.0 == first.0 && second.1 > first.1);
    // The open transaction was aborted.
    assert_eq!(world.fetch(0, true), (vec![(0, 2)], 3, vec![0]));
    assert_eq!(world.add("a", first, TOPIC), ErrorCode::PRODUCER_FENCED);
    assert_eq!(world.end("a", first, true), ErrorCode::PRODUCER_FENCED);
    let late = world.produce_as(Some("a"), &batch(1, stamp(first, 2, true)));
    assert_eq!(late, Err(ErrorCode::INVALID_PRODUCER_EPOCH));
    assert_eq!(
        world.init(Some("a"), first),
        Err(ErrorCode::PRODUCER_FENCED)
    );
    // A bump by its holder, and the same request once more.
    let third = world.init(Some("a"), second).unwrap();
    assert_eq!(third, (second.0, second.1 + 1));
    assert_eq!(world.init(Some("a"), second), Ok(third));
    assert_eq!(world.add("a", third, TOPIC), ErrorCode::NONE);
    assert_eq!(
        world.produce_as(Some("a"), &batch(1, stamp(third, 0, true))),
        Ok(3)
    );
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted() {
    let mut world = World::in_memory();
    let producer = world.init(Some("a"), (-1, -1)).unwrap();
    assert_eq!(world.add("a", producer, TOPIC), ErrorCode::NONE);
    world
        .produce_as(Some("a"), &batch(1, stamp(producer, 0, true)))
        .unwrap();
    assert_eq!(
        world.broker.deadline(),
        Some(world.now.instant + Duration::from_secs(60))
    );
    world.pass(Duration::from_secs(60));
    assert_eq!(world.fetch(0, true).1, 2);
    assert_eq!(world.end("a", producer, true), ErrorCode::PRODUCER_FENCED);
    assert_eq!(world.broker.deadline(), None);
}

#[test]
fn offsets_take_effect_with_the_transaction() {
    let mut world = World::in_memory();
    let producer = world.init(Some("a"), (-1, -1)).unwrap();
    assert_eq!(world.commit("g", 3), ErrorCode::NONE);
    let commit = |world: &mut World, offset| {
        let partition = TxnOffsetCommitRequestPartition {
            committed_offset: offset,
            ..Default::default()
        };
        let request = TxnOffsetCommitRequest {
            transactional_id: "a".to_owned(),
            group_id: "g".to_owned(),
            producer_id: producer.0,
            producer_epoch: producer.1,
            topics: vec![TxnOffsetCommitRequestTopic {
                name: TOPIC.to_owned(),
                partitions: vec![partition],
                ..Default::default()
            }],
            ..Default::default()
        };
        let response: TxnOffsetCommitResponse = world.ask(3, &request);
        response.topics[0].partitions[0].error_code
    };
    let add = |world: &mut World| {
        let request = AddOffsetsToTxnRequest {
            transactional_id: "a".to_owned(),
            producer_id: producer.0,
            producer_epoch: producer.1,
            group_id: "g".to_owned(),
        };
        world
            .ask::<_, AddOffsetsToTxnResponse>(3, &request)
            .error_code
    };
    assert_eq!(commit(&mut world, 5), ErrorCode::INVALID_TXN_STATE);
    for (committed, expected) in [(false, 3), (true, 5)] {
        assert_eq!(add(&mut world), ErrorCode::NONE);
        assert_eq!(commit(&mut world, 5), ErrorCode::NONE);
        assert_eq!(
            world.committed("g"),
            (-1, ErrorCode::UNSTABLE_OFFSET_COMMIT)
        );
        assert_eq!(world.end("a", producer, committed), ErrorCode::NONE);
        assert_eq!(world.committed("g"), (expected, ErrorCode::NONE));
    }
}

#[test]
fn offsets_are_found_by_time() {
    let mut world = World::in_memory();
    for _ in 0..2 {
        world.produce(&batch(10, ProducerStamp::NONE)).unwrap();
    }
    let find = |world: &mut World, timestamp| {
        let partition = ListOffsetsPartition {
            timestamp,
            ..Default::default()
        };
        let topic = ListOffsetsTopic {
            name: TOPIC.to_owned(),
            partitions: vec![partition],
        };
        let request = ListOffsetsRequest {
            topics: vec![topic],
            ..Default::default()
        };
        let response: ListOffsetsResponse = world.ask(7, &request);
        let part = &response.topics[0].partitions[0];
        (part.offset, part.timestamp)
    };
    assert_eq!(find(&mut world, -1), (20, -1));
    assert_eq!(find(&mut world, -2), (0, -1));
    assert_eq!(find(&mut world, -3), (9, T + 9));
    assert_eq!(find(&mut world, 0), (0, T));
    assert_eq!(find(&mut world, T + 4), (4, T + 4));
    assert_eq!(find(&mut world, T + 10), (-1, -1));
}

fn join_request(member_id: &str) -> JoinGroupRequest {
    let protocol = |name: &str| JoinGroupRequestProtocol {
        name: name.to_owned(),
        metadata: member_id.as_bytes().to_vec(),
    };
    JoinGroupRequest {
        group_id: "g".to_owned(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 30_000,
        member_id: member_id.to_owned(),
        protocol_type: "consumer".to_owned(),
        protocols: vec![protocol("range"), protocol("sticky")],
        ..Default::default()
    }
}

fn sync_request(member_id: &str, generation_id: i32, given: &[&str]) -> SyncGroupRequest {
    let assignments = given.iter().map(|member| SyncGroupRequestAssignment {
        member_id: (*member).to_owned(),
        assignment: format!("for {member}").into_bytes(),
    });
    SyncGroupRequest {
        group_id: "g".to_owned(),
        generation_id,
        member_id: member_id.to_owned(),
        assignments: assignments.collect(),
        ..Default::default()
    }
}

fn beat(world: &mut World, member_id: &str, generation_id: i32) -> ErrorCode {
    let request = HeartbeatRequest {
        group_id: "g".to_owned(),
        generation_id,
        member_id: member_id.to_owned(),
        ..Default::default()
    };
    world.ask::<_, HeartbeatResponse>(4, &request).error_code
}

/// A member's id, as the first join without one is told.
fn fresh_member(world: &mut World) -> String {
    let told: JoinGroupResponse = world.ask(5, &join_request(""));
    assert_eq!(told.error_code, ErrorCode::MEMBER_ID_REQUIRED);
    told.member_id
}

#[test]
fn a_group_shares_and_shares_again() {
    let mut world = World::in_memory();
    let a = fresh_member(&mut world);
    let joined: JoinGroupResponse = world.ask(5, &join_request(&a));
    assert_eq!((joined.generation_id, joined.leader == a), (1, true));
    assert_eq!(joined.protocol_name.as_deref(), Some("range"));
    let synced: SyncGroupResponse = world.ask(3, &sync_request(&a, 1, &[&a]));
    assert_eq!(synced.assignment, format!("for {a}").into_bytes());
    assert_eq!(beat(&mut world, &a, 1), ErrorCode::NONE);
    assert_eq!(beat(&mut world, &a, 2), ErrorCode::ILLEGAL_GENERATION);

    // Another comes and waits until the first has heard of it.
    let b = fresh_member(&mut world);
    let waiting = world.wait(5, &join_request(&b));
    assert_eq!(beat(&mut world, &a, 1), ErrorCode::REBALANCE_IN_PROGRESS);
    let again: JoinGroupResponse = world.ask(5, &join_request(&a));
    assert_eq!((again.generation_id, again.members.len()), (2, 2));
    let joined: JoinGroupResponse = world.resume(5, &join_request(&b), waiting);
    assert_eq!((joined.generation_id, joined.members.len()), (2, 0));
    assert_eq!(joined.leader, a);
    // The follower waits for the leader's decision.
    let waiting = world.wait(3, &sync_request(&b, 2, &[]));
    let _: SyncGroupResponse = world.ask(3, &sync_request(&a, 2, &[&a, &b]));
    let synced: SyncGroupResponse = world.resume(3, &sync_request(&b, 2, &[]), waiting);
    assert_eq!(synced.assignment, format!("for {b}").into_bytes());

    // The leader leaves; the other is told, and leads.
    let leave = LeaveGroupRequest {
        group_id: "g".to_owned(),
        members: vec![MemberIdentity {
            member_id: a.clone(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let left: LeaveGroupResponse = world.ask(4, &leave);
    assert_eq!(left.members[0].error_code, ErrorCode::NONE);
    assert_eq!(beat(&mut world, &b, 2), ErrorCode::REBALANCE_IN_PROGRESS);
    let alone: JoinGroupResponse = world.ask(5, &join_request(&b));
    assert_eq!((alone.generation_id, alone.leader == b), (3, true));
    assert_eq!(beat(&mut world, &a, 3), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn silent_members_are_dropped() {
    let mut world = World::in_memory();
    let a = fresh_member(&mut world);
    let _: JoinGroupResponse = world.ask(5, &join_request(&a));
    let _: SyncGroupResponse = world.ask(3, &sync_request(&a, 1, &[&a]));
    let b = fresh_member(&mut world);
    let waiting = world.wait(5, &join_request(&b));
    // The first says nothing more; its session ends before the rebalance's time is up.
    world.pass(Duration::from_secs(9));
    let (step, _) = world.step(5, &join_request(&b), Some(waiting));
    let Step::Wait(waiting) = step else {
        panic!("{step:?}")
    };
    world.pass(Duration::from_secs(1));
    let joined: JoinGroupResponse = world.resume(5, &join_request(&b), waiting);
    assert_eq!((joined.leader == b, joined.members.len()), (true, 1));
    assert_eq!(beat(&mut world, &a, 1), ErrorCode::UNKNOWN_MEMBER_ID);
    world.pass(Duration::from_secs(10));
    assert_eq!(beat(&mut world, &b, 2), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(world.broker.deadline(), None);
    // Without members anyone may commit; with a generation no one.
    assert_eq!(world.commit("g", 1), ErrorCode::NONE);
}

#[test]
fn who_does_not_fit_is_refused() {
    let mut world = World::in_memory();
    let stranger: JoinGroupResponse = world.ask(5, &join_request("never seen"));
    assert_eq!(stranger.error_code, ErrorCode::UNKNOWN_MEMBER_ID);
    let a = fresh_member(&mut world);
    let _: JoinGroupResponse = world.ask(5, &join_request(&a));
    let other = JoinGroupRequest {
        protocol_type: "connect".to_owned(),
        ..join_request("")
    };
    let refused: JoinGroupResponse = world.ask(5, &other);
    assert_eq!(refused.error_code, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    let hasty = JoinGroupRequest {
        session_timeout_ms: 10,
        ..join_request("")
    };
    let refused: JoinGroupResponse = world.ask(5, &hasty);
    assert_eq!(refused.error_code, ErrorCode::INVALID_SESSION_TIMEOUT);
    // A static member comes again: its former self is fenced.
    let fixed = JoinGroupRequest {
        group_id: "s".to_owned(),
        group_instance_id: Some("i".to_owned()),
        ..join_request("")
    };
    let first: JoinGroupResponse = world.ask(5, &fixed);
    let second: JoinGroupResponse = world.ask(5, &fixed);
    assert_ne!(first.member_id, second.member_id);
    let request = HeartbeatRequest {
        group_id: "s".to_owned(),
        generation_id: second.generation_id,
        member_id: first.member_id,
        group_instance_id: Some("i".to_owned()),
    };
    let beat: HeartbeatResponse = world.ask(4, &request);
    assert_eq!(beat.error_code, ErrorCode::FENCED_INSTANCE_ID);
}

#[test]
fn a_data_directory_survives_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let mut world = World::open(path);
    world.create(TOPIC);
    world.create("gone");
    assert!(
        Broker::open(config(), path, now()).is_err(),
        "one broker at a time"
    );
    let cluster = world.broker.cluster_id.clone();
    let plain = world.init(None, (-1, -1)).unwrap();
    let a = world.init(Some("a"), (-1, -1)).unwrap();
    world.produce(&batch(5, stamp(plain, 0, false))).unwrap();
    assert_eq!(world.add("a", a, TOPIC), ErrorCode::NONE);
    world
        .produce_as(Some("a"), &batch(2, stamp(a, 0, true)))
        .unwrap();
    assert_eq!(world.commit("g", 4), ErrorCode::NONE);
    world.broker.delete_topic("gone").unwrap();

    let mut world = world.reopen(path);
    assert_eq!(world.broker.cluster_id, cluster);
    assert_eq!(world.create(TOPIC), ErrorCode::TOPIC_ALREADY_EXISTS);
    assert_eq!(world.create("gone"), ErrorCode::NONE);
    assert_eq!(world.committed("g"), (4, ErrorCode::NONE));
    // A resend is still known, the transaction still open, and no producer id given out twice.
    assert_eq!(world.produce(&batch(5, stamp(plain, 0, false))), Ok(0));
    assert_eq!(world.fetch(0, true), (vec![(0, 5)], 5, vec![]));
    assert!(world.init(None, (-1, -1)).unwrap().0 > a.0);
    assert_eq!(
        world.produce_as(Some("a"), &batch(1, stamp(a, 2, true))),
        Ok(7)
    );
    assert_eq!(world.end("a", a, true), ErrorCode::NONE);
    assert_eq!(
        world.fetch(0, true),
        (vec![(0, 5), (5, 2), (7, 1)], 9, vec![])
    );
    let world = world.reopen(path);
    let mut world = world.reopen(path);
    assert_eq!(world.fetch(0, true).1, 9);
}

#[test]
fn a_torn_tail_is_cut_and_a_broken_log_is_not_hidden() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let mut world = World::open(path);
    world.create(TOPIC);
    let id = world.broker.topics[TOPIC].id;
    for _ in 0..3 {
        world.produce(&batch(2, ProducerStamp::NONE)).unwrap();
    }
    drop(world);
    let log = topic_path(path, id)
        .join("0")
        .join("00000000000000000000.log");
    let whole = std::fs::read(&log).unwrap();
    for cut in 1..whole.len() / 3 {
        std::fs::write(&log, &whole[..whole.len() - cut]).unwrap();
        let mut world = World::open(path);
        assert_eq!(world.fetch(0, false).0, [(0, 2), (2, 2)]);
        assert_eq!(world.produce(&batch(2, ProducerStamp::NONE)), Ok(4));
    }
    let journal = path.join("journal.jsonl");
    let mut lines = std::fs::read(&journal).unwrap();
    lines.extend_from_slice(b"{\"what\":\"topic_go");
    std::fs::write(&journal, &lines).unwrap();
    assert_eq!(World::open(path).fetch(0, false).0.len(), 3);
    std::fs::write(&journal, [b"?\n", &lines[..]].concat()).unwrap();
    let error = Broker::open(config(), path, now()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[test]
fn what_was_decided_before_a_crash_is_done_after_it() {
    for commit in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let mut world = World::open(path);
        world.create(TOPIC);
        let a = world.init(Some("a"), (-1, -1)).unwrap();
        assert_eq!(world.add("a", a, TOPIC), ErrorCode::NONE);
        world
            .produce_as(Some("a"), &batch(2, stamp(a, 0, true)))
            .unwrap();
        // Killed between the decision and the markers.
        let mut transaction = world.broker.transactions["a"].clone();
        transaction.state = transaction::State::Ending { commit };
        world.broker.put_transaction("a", transaction).unwrap();
        let mut world = world.reopen(path);
        let aborted = if commit { vec![] } else { vec![0] };
        assert_eq!(world.fetch(0, true), (vec![(0, 2)], 3, aborted));
        assert_eq!(world.end("a", a, commit), ErrorCode::NONE);
    }
}

#[test]
fn segments_follow_one_another() {
    // Enough to fill several segments in memory; each fetch continues where the last one ended.
    let mut world = World::in_memory();
    let value = vec![7; 300_000];
    for i in 0..60 {
        let mut open = BatchBuilder::new(1 << 20);
        let mut record = open.append(T + i);
        record.value(Some(&value));
        record.finish().unwrap();
        let sealed = open.seal(ProducerStamp::NONE, &mut Compressor::none());
        assert_eq!(world.produce(sealed.bytes()), Ok(i));
    }
    let mut offset = 0;
    while offset < 60 {
        let (batches, _, _) = world.fetch(offset, false);
        assert_eq!(batches[0].0, offset);
        assert!(batches.len() <= 3, "a partition's share is a mebibyte");
        offset += i64::try_from(batches.len()).unwrap();
    }
    // A limit below a batch still brings one.
    let mut request = fetch_request(30, false, 0, 0);
    request.topics[0].partitions[0].partition_max_bytes = 1;
    let answer: FetchResponse<'_> = world.ask(12, &request);
    let records = answer.responses[0].partitions[0].records.unwrap();
    assert_eq!(BatchView::parse(records).unwrap().header().base_offset, 30);
}

#[tokio::test]
async fn a_socket_gets_its_answers_in_order() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let broker = Broker::start(BrokerOptions::default()).await.unwrap();
    assert!(broker.address().ip().is_loopback());
    let mut socket = tokio::net::TcpStream::connect(broker.address())
        .await
        .unwrap();
    let mut requests = Vec::new();
    let metadata = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some(TOPIC.to_owned()),
            ..Default::default()
        }]),
        ..Default::default()
    };
    put_request(&ApiVersionsRequest::default(), 0, 1, "c", &mut requests);
    put_request(&metadata, 4, 2, "c", &mut requests);
    // Waits, and holds back what comes behind it.
    put_request(&fetch_request(0, false, 50, 1), 4, 3, "c", &mut requests);
    put_request(&metadata, 4, 4, "c", &mut requests);
    socket.write_all(&requests).await.unwrap();
    let mut input = Vec::new();
    for expected in 1..=4 {
        loop {
            if let Some((frame, size)) = split(&input, usize::MAX).unwrap() {
                assert_eq!(kafkawire::frame::correlation(frame), Ok(expected));
                input.drain(..size);
                break;
            }
            assert_ne!(socket.read_buf(&mut input).await.unwrap(), 0);
        }
    }
    let address = broker.address();
    broker.shutdown().await.unwrap();
    assert_eq!(socket.read_buf(&mut input).await.unwrap(), 0);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
