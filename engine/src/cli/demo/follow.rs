//! A consumer of one broker, without the socket: every record of a few topics, from the first on.
//!
//! ```text
//! start ─► ready ─► Metadata ─► some topic exists ─► Fetch, Fetch, ..
//!             ▲         │                              │  a topic is still missing
//!             └─ tick ──┴─ none does ─┘   Metadata ◄───┘
//! ```
//!
//! It is what any consumer without a group does that reads committed records. Left out: more than
//! one broker, positions that outlive the process.

use std::collections::HashSet;

use kafkawire::batch::{BatchView, Batches, ControlType, Record};
use kafkawire::connection::{Answer, Connection, Event};
use kafkawire::message::ApiKey;
use kafkawire::message::fetch::{
    AbortedTransaction, FetchPartition, FetchRequest, FetchResponse, FetchTopic,
};
use kafkawire::message::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use kafkawire::{Error, ErrorCode};

/// What the broker may wait for a record, ms: so late at most is a new topic noticed.
const WAIT_MS: i32 = 100;
/// Of one partition in one answer.
const PARTITION_BYTES_MAX: i32 = 256 << 10;
/// Of one answer, and of a decompressed batch.
const ANSWER_BYTES_MAX: i32 = 1 << 20;
/// What no transaction holds back.
const READ_COMMITTED: i8 = 1;
/// Topics by their names: the versions from 13 on want ids.
const FETCH_VERSIONS: (i16, i16) = (4, 12);

/// The consumer.
///
/// Order of calls: [`start`](Self::start) once; then [`receive`](Self::receive) with what arrives,
/// and [`tick`](Self::tick) every few milliseconds. Write what they append.
#[derive(Debug)]
pub struct Follower {
    connection: Connection,
    topics: Vec<Topic>,
    plain: Vec<u8>,
}

#[derive(Debug)]
struct Topic {
    name: String,
    /// The next offset of each partition; none: the topic does not exist yet.
    positions: Vec<i64>,
}

impl Follower {
    /// Will read `topics`, which need not exist yet.
    #[must_use]
    pub fn new(topics: impl IntoIterator<Item = String>) -> Self {
        let topics = topics.into_iter().map(|name| Topic {
            name,
            positions: Vec::new(),
        });
        Self {
            connection: Connection::new("penstock-demo", None, String::new()),
            topics: topics.collect(),
            plain: Vec::new(),
        }
    }

    /// Appends the first request.
    pub fn start(&mut self, out: &mut Vec<u8>) {
        self.connection.start(out);
    }

    /// Takes the whole frames off the front of `bytes` and hands every record of theirs to `each`,
    /// with its topic's place among those asked for. Gives the number of bytes to consume.
    ///
    /// Errors: `Malformed`, `Unexpected`, `Unsupported` of the wire; `Refused` by the broker.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        mut each: impl FnMut(usize, &Record<'_>),
    ) -> Result<usize, Error> {
        let mut consumed = 0;
        while let Some((event, length)) = self
            .connection
            .next(bytes.get(consumed..).unwrap_or_default(), out)?
        {
            consumed += length;
            match event {
                Event::Progress => {}
                Event::Ready => self.ask_topics(out)?,
                Event::Answer(answer) if answer.api == ApiKey::METADATA => {
                    self.take_topics(&answer)?;
                    // Without any topic it is tick's turn: nobody is asked in a closed circle.
                    if self.topics.iter().any(|topic| !topic.positions.is_empty()) {
                        self.fetch(out)?;
                    }
                }
                Event::Answer(answer) => {
                    self.take_records(&answer, &mut each)?;
                    if self.topics.iter().all(|topic| !topic.positions.is_empty()) {
                        self.fetch(out)?;
                    } else {
                        self.ask_topics(out)?;
                    }
                }
            }
        }
        Ok(consumed)
    }

    /// Asks again where nothing could be fetched yet.
    ///
    /// Errors: `Unsupported`.
    pub fn tick(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        if self.connection.is_ready() && self.connection.in_flight() == 0 {
            self.ask_topics(out)?;
        }
        Ok(())
    }

    fn ask_topics(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        let missing = self
            .topics
            .iter()
            .filter(|topic| topic.positions.is_empty());
        let topics = missing.map(|topic| MetadataRequestTopic {
            name: Some(topic.name.clone()),
            ..MetadataRequestTopic::default()
        });
        let request = MetadataRequest {
            topics: Some(topics.collect()),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        self.connection.send(&request, out)?;
        Ok(())
    }

    fn take_topics(&mut self, answer: &Answer<'_>) -> Result<(), Error> {
        let metadata: MetadataResponse = answer.decode()?;
        for told in metadata.topics {
            if !told.error_code.is_ok() {
                continue;
            }
            let named = self
                .topics
                .iter_mut()
                .find(|topic| Some(&topic.name) == told.name.as_ref());
            if let Some(topic) = named {
                topic.positions = vec![0; told.partitions.len()];
            }
        }
        Ok(())
    }

    fn fetch(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        let known = self
            .topics
            .iter()
            .filter(|topic| !topic.positions.is_empty());
        let topics = known.map(|topic| {
            let partitions =
                (0..)
                    .zip(&topic.positions)
                    .map(|(partition, offset)| FetchPartition {
                        partition,
                        fetch_offset: *offset,
                        partition_max_bytes: PARTITION_BYTES_MAX,
                        ..FetchPartition::default()
                    });
            FetchTopic {
                topic: topic.name.clone(),
                partitions: partitions.collect(),
                ..FetchTopic::default()
            }
        });
        let request = FetchRequest {
            max_wait_ms: WAIT_MS,
            min_bytes: 1,
            max_bytes: ANSWER_BYTES_MAX,
            isolation_level: READ_COMMITTED,
            topics: topics.collect(),
            ..FetchRequest::default()
        };
        let version = self.connection.version(ApiKey::FETCH, FETCH_VERSIONS)?;
        self.connection.send_at(version, &request, out)?;
        Ok(())
    }

    fn take_records(
        &mut self,
        answer: &Answer<'_>,
        each: &mut impl FnMut(usize, &Record<'_>),
    ) -> Result<(), Error> {
        let fetched: FetchResponse<'_> = answer.decode()?;
        accepted(fetched.error_code)?;
        for told in fetched.responses {
            let place = self
                .topics
                .iter()
                .position(|topic| topic.name == told.topic);
            let Some((place, topic)) = place.and_then(|at| Some((at, self.topics.get_mut(at)?)))
            else {
                continue;
            };
            for partition in told.partitions {
                accepted(partition.error_code)?;
                let index = usize::try_from(partition.partition_index).unwrap_or(usize::MAX);
                let Some(next) = topic.positions.get_mut(index) else {
                    continue;
                };
                let mut aborted = Aborted::new(partition.aborted_transactions.as_deref());
                for batch in Batches::new(partition.records.unwrap_or_default()) {
                    let batch = batch?;
                    if aborted.admits(&batch)? {
                        let bytes_max = ANSWER_BYTES_MAX.unsigned_abs() as usize;
                        for record in batch.records(&mut self.plain, bytes_max)? {
                            let record = record?;
                            // A batch is given whole, also to who has read its first half.
                            if record.offset >= *next {
                                each(place, &record);
                            }
                        }
                    }
                    *next = (*next).max(batch.header().last_offset().saturating_add(1));
                }
            }
        }
        Ok(())
    }
}

/// Which batches of an answer belong to transactions that were aborted.
struct Aborted<'a> {
    /// Those that have not begun yet.
    ahead: Vec<&'a AbortedTransaction>,
    /// Whose batches, and until which marker, do not count.
    producers: HashSet<i64>,
}

impl<'a> Aborted<'a> {
    fn new(transactions: Option<&'a [AbortedTransaction]>) -> Self {
        let ahead = transactions.unwrap_or_default().iter().collect();
        Self {
            ahead,
            producers: HashSet::new(),
        }
    }

    /// Whether the records of the next batch are data that counts.
    fn admits(&mut self, batch: &BatchView<'_>) -> Result<bool, Error> {
        let header = batch.header();
        let begun =
            |transaction: &&AbortedTransaction| transaction.first_offset <= header.last_offset();
        let begun = self.ahead.extract_if(.., |transaction| begun(transaction));
        self.producers
            .extend(begun.map(|transaction| transaction.producer_id));
        if let Some(control) = batch.control()? {
            if control == ControlType::ABORT {
                self.producers.remove(&header.producer_id);
            }
            return Ok(false);
        }
        Ok(!header.attributes.transactional() || !self.producers.contains(&header.producer_id))
    }
}

fn accepted(code: ErrorCode) -> Result<(), Error> {
    if code.is_ok() {
        Ok(())
    } else {
        Err(Error::Refused {
            api: "Fetch",
            code: code.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use kafkawire::batch::{BatchBuilder, ProducerStamp, place, put_end_marker};
    use kafkawire::compress::Compressor;
    use kafkawire::frame::{self, RequestHeader, put_response};
    use kafkawire::message::api_versions::{ApiVersion, ApiVersionsResponse};
    use kafkawire::message::fetch::{FetchableTopicResponse, PartitionData};
    use kafkawire::message::metadata::{MetadataResponsePartition, MetadataResponseTopic};
    use kafkawire::message::{Message as _, Response};

    use super::*;

    /// The one request in `out`, taken: its header.
    fn asked(out: &mut Vec<u8>) -> (ApiKey, i16, i32) {
        let taken = std::mem::take(out);
        let (frame, length) = frame::split(&taken, 10_000).unwrap().unwrap();
        assert_eq!(length, taken.len());
        let (header, body) = RequestHeader::split(frame).unwrap();
        if header.api == ApiKey::FETCH {
            FetchRequest::decode(header.version, body).unwrap();
        }
        (header.api, header.version, header.correlation)
    }

    fn answer<'b, R: Response<'b>>(
        (api, version, correlation): (ApiKey, i16, i32),
        response: &R,
    ) -> Vec<u8> {
        assert_eq!(api, R::API);
        let mut bytes = Vec::new();
        put_response(response, version, correlation, &mut bytes);
        bytes
    }

    fn metadata(names: &[&str]) -> MetadataResponse {
        let topics = names.iter().map(|name| MetadataResponseTopic {
            name: Some((*name).to_owned()),
            partitions: vec![MetadataResponsePartition::default()],
            ..MetadataResponseTopic::default()
        });
        MetadataResponse {
            topics: topics.collect(),
            ..MetadataResponse::default()
        }
    }

    fn batch(base_offset: i64, values: &[&str]) -> Vec<u8> {
        let mut builder = BatchBuilder::new(10_000);
        for value in values {
            let mut record = builder.append(0);
            record.key(None);
            record.value(Some(value.as_bytes()));
            record.finish().unwrap();
        }
        let sealed = builder.seal(ProducerStamp::NONE, &mut Compressor::none());
        let mut bytes = sealed.bytes().to_vec();
        place(&mut bytes, base_offset, 0);
        bytes
    }

    fn fetched<'b>(topic: &'b str, records: &'b [u8]) -> FetchResponse<'b> {
        let partition = PartitionData {
            records: Some(records),
            ..PartitionData::default()
        };
        FetchResponse {
            responses: vec![FetchableTopicResponse {
                topic,
                partitions: vec![partition],
                ..FetchableTopicResponse::default()
            }],
            ..FetchResponse::default()
        }
    }

    /// A follower that has asked for metadata, and that request.
    fn ready(topics: &[&str], out: &mut Vec<u8>) -> (Follower, (ApiKey, i16, i32)) {
        let mut follower = Follower::new(topics.iter().map(|&topic| topic.to_owned()));
        follower.start(out);
        let row = |api: ApiKey, max_version| ApiVersion {
            api_key: api.0,
            min_version: 0,
            max_version,
        };
        let api_keys = vec![row(ApiKey::METADATA, 12), row(ApiKey::FETCH, 17)];
        let versions = ApiVersionsResponse {
            api_keys,
            ..ApiVersionsResponse::default()
        };
        let bytes = answer(asked(out), &versions);
        assert_eq!(
            follower.receive(&bytes, out, |_, _| panic!()),
            Ok(bytes.len())
        );
        let request = asked(out);
        assert_eq!(request.0, ApiKey::METADATA);
        (follower, request)
    }

    #[test]
    fn every_record_comes_once() {
        let mut out = Vec::new();
        let (mut follower, request) = ready(&["a", "b"], &mut out);
        let mut seen = Vec::new();
        let mut each = |topic: usize, record: &Record<'_>| {
            let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
            seen.push((topic, record.offset, value));
        };

        // No topic yet: it waits to be told to ask again.
        let bytes = answer(request, &metadata(&[]));
        assert_eq!(
            follower.receive(&bytes, &mut out, &mut each),
            Ok(bytes.len())
        );
        assert!(out.is_empty());
        follower.tick(&mut out).unwrap();
        let request = asked(&mut out);
        follower.tick(&mut out).unwrap();
        assert!(out.is_empty(), "one question at a time");

        // One topic: its records, then the question for the other.
        let bytes = answer(request, &metadata(&["b"]));
        follower.receive(&bytes, &mut out, &mut each).unwrap();
        let request = asked(&mut out);
        assert_eq!((request.0, request.1), (ApiKey::FETCH, 12));
        let first = batch(0, &["x", "y"]);
        let bytes = answer(request, &fetched("b", &first));
        for cut in 0..bytes.len() {
            assert_eq!(follower.receive(&bytes[..cut], &mut out, &mut each), Ok(0));
        }
        follower.receive(&bytes, &mut out, &mut each).unwrap();
        let request = asked(&mut out);
        let bytes = answer(request, &metadata(&["a"]));
        follower.receive(&bytes, &mut out, &mut each).unwrap();

        // The whole batch again, the next, and the beginning of one more.
        let records = [first, batch(2, &["z"]), batch(3, &["cut"])[..70].to_vec()].concat();
        let bytes = answer(asked(&mut out), &fetched("b", &records));
        follower.receive(&bytes, &mut out, &mut each).unwrap();
        assert_eq!(asked(&mut out).0, ApiKey::FETCH);
        let expected =
            [(0, "x"), (1, "y"), (2, "z")].map(|(offset, value)| (1, offset, value.to_owned()));
        assert_eq!(seen, expected);
    }

    #[test]
    fn what_was_aborted_does_not_count() {
        let stamp = |producer_id| ProducerStamp {
            producer_id,
            producer_epoch: 0,
            base_sequence: 0,
            transactional: true,
        };
        let data = |base_offset, producer_id, value: &str| {
            let mut builder = BatchBuilder::new(10_000);
            let mut record = builder.append(0);
            record.key(None);
            record.value(Some(value.as_bytes()));
            record.finish().unwrap();
            let sealed = builder.seal(stamp(producer_id), &mut Compressor::none());
            let mut bytes = sealed.bytes().to_vec();
            place(&mut bytes, base_offset, 0);
            bytes
        };
        let marker = |base_offset, producer_id, kind| {
            let mut bytes = Vec::new();
            put_end_marker(&mut bytes, kind, 0, stamp(producer_id), 0);
            place(&mut bytes, base_offset, 0);
            bytes
        };
        let records = [
            data(0, 7, "aborted"),
            data(1, 8, "other"),
            marker(2, 7, ControlType::ABORT),
            data(3, 7, "again"),
            marker(4, 7, ControlType::COMMIT),
            batch(5, &["plain"]),
        ];
        let records = records.concat();
        let mut response = fetched("a", &records);
        let aborted = AbortedTransaction {
            producer_id: 7,
            first_offset: 0,
        };
        response.responses[0].partitions[0].aborted_transactions = Some(vec![aborted]);

        let mut out = Vec::new();
        let (mut follower, request) = ready(&["a"], &mut out);
        let bytes = answer(request, &metadata(&["a"]));
        follower.receive(&bytes, &mut out, |_, _| {}).unwrap();
        let mut seen = Vec::new();
        let bytes = answer(asked(&mut out), &response);
        let each = |_, record: &Record<'_>| seen.push(record.offset);
        follower.receive(&bytes, &mut out, each).unwrap();
        assert_eq!(seen, [1, 3, 5]);
    }

    #[test]
    fn a_refusal_is_an_error() {
        let mut out = Vec::new();
        let (mut follower, request) = ready(&["a"], &mut out);
        let bytes = answer(request, &metadata(&["a"]));
        follower.receive(&bytes, &mut out, |_, _| {}).unwrap();
        let mut refusal = fetched("a", &[]);
        refusal.responses[0].partitions[0].error_code = ErrorCode::OFFSET_OUT_OF_RANGE;
        let bytes = answer(asked(&mut out), &refusal);
        let error = follower.receive(&bytes, &mut out, |_, _| {}).unwrap_err();
        assert_eq!(
            error,
            Error::Refused {
                api: "Fetch",
                code: 1
            }
        );
    }
}
