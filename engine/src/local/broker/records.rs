//! Produce, Fetch and the search for offsets: what touches the logs.

use std::ops::Range;
use std::time::Duration;

use kafkawire::batch::BatchView;
use kafkawire::compress::Codec;
use kafkawire::error_code::ErrorCode;
use kafkawire::message::Uuid;
use kafkawire::message::fetch::{self, FetchRequest, FetchResponse, FetchableTopicResponse};
use kafkawire::message::list_offsets::*;
use kafkawire::message::offset_for_leader_epoch::*;
use kafkawire::message::produce::{
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use kafkawire::{Error, Fault};

use super::log::LEADER_EPOCH;
use super::transaction::State;
use super::{Broker, Call, Step, Ticket, Waiting};

/// The lowest Produce version there are record batches in.
const PRODUCE_VERSION_MIN: i16 = 3;
/// Record bytes in one fetch answer, whatever the client allows; one batch may be larger.
const FETCH_BYTES_MAX: usize = 8 << 20;
/// How long a fetch may wait, whatever the client allows.
const FETCH_WAIT_MAX: Duration = Duration::from_secs(60);
/// Plain bytes of one batch that is looked into for a timestamp.
const PLAIN_BYTES_MAX: usize = 64 << 20;

impl Broker {
    pub(super) fn produce(&mut self, call: Call<'_, '_>) -> Step {
        // Advertised below that for the sake of old clients, but never spoken.
        if call.header.version < PRODUCE_VERSION_MIN {
            return Step::Close("Produce is served from version 3 on".to_owned());
        }
        let request = match call.request::<ProduceRequest<'_>>() {
            Ok(request) => request,
            Err(step) => return step,
        };
        let version = call.header.version;
        let mut failed = false;
        let topics = request.topic_data.iter().map(|topic| {
            let partitions = topic.partition_data.iter().map(|data| {
                let records = data.records.unwrap_or_default();
                let transactional_id = request.transactional_id;
                let result = match request.acks {
                    -1..=1 => {
                        self.append(topic.name, data.index, records, version, transactional_id)
                    }
                    _ => Err(ErrorCode::INVALID_REQUIRED_ACKS),
                };
                failed |= result.is_err();
                PartitionProduceResponse {
                    index: data.index,
                    error_code: result.err().unwrap_or_default(),
                    base_offset: result.unwrap_or(-1),
                    log_start_offset: if result.is_ok() { 0 } else { -1 },
                    ..Default::default()
                }
            });
            let partition_responses = partitions.collect();
            TopicProduceResponse {
                name: topic.name,
                partition_responses,
                ..Default::default()
            }
        });
        let response = ProduceResponse {
            responses: topics.collect(),
            ..Default::default()
        };
        match request.acks {
            0 if failed => Step::Close("a batch with acks 0 was refused".to_owned()),
            0 => Step::Silent,
            _ => call.reply(&response),
        }
    }

    /// Appends the one batch that `records` must be; answers its base offset.
    fn append(
        &mut self,
        topic_name: &str,
        index: i32,
        records: &[u8],
        version: i16,
        transactional_id: Option<&str>,
    ) -> Result<i64, ErrorCode> {
        /// From this version on a client knows zstd.
        const ZSTD_VERSION: i16 = 7;
        let batch = BatchView::parse(records).map_err(|error| match error {
            Error::Malformed {
                fault: Fault::Checksum,
                ..
            } => ErrorCode::CORRUPT_MESSAGE,
            _ => ErrorCode::INVALID_RECORD,
        })?;
        let header = batch.header();
        let attributes = header.attributes;
        if attributes.control()
            || header.record_count == 0
            || header.record_count != header.last_offset_delta.wrapping_add(1)
        {
            return Err(ErrorCode::INVALID_RECORD);
        }
        if attributes.log_append_time() {
            return Err(ErrorCode::INVALID_TIMESTAMP);
        }
        match attributes.codec() {
            Codec::ZSTD if version < ZSTD_VERSION => {
                return Err(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE);
            }
            codec if codec.name().is_none() => return Err(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE),
            _ => {}
        }
        if header.producer_id >= 0 && (header.base_sequence < 0 || header.producer_epoch < 0) {
            return Err(ErrorCode::INVALID_RECORD);
        }
        let topic = self
            .topics
            .get(topic_name)
            .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        if index < 0 || topic.partition(index).is_none() {
            return Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        }
        if records.len() > topic.message_bytes_max() {
            return Err(ErrorCode::MESSAGE_TOO_LARGE);
        }
        let holder = self.producers.get(&header.producer_id);
        if attributes.transactional() {
            let id = transactional_id.ok_or(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED)?;
            let transaction = self
                .transactions
                .get(id)
                .filter(|_| holder.is_some_and(|h| h == id));
            let transaction = transaction.ok_or(ErrorCode::INVALID_PRODUCER_ID_MAPPING)?;
            transaction.check(
                header.producer_id,
                header.producer_epoch,
                ErrorCode::INVALID_PRODUCER_EPOCH,
            )?;
            let part = (topic_name.to_owned(), index);
            if transaction.state != State::Ongoing || !transaction.partitions.contains(&part) {
                return Err(ErrorCode::INVALID_TXN_STATE);
            }
        } else if let Some(transaction) = holder.and_then(|id| self.transactions.get(id))
            && transaction.state == State::Ongoing
        {
            return Err(ErrorCode::INVALID_TXN_STATE);
        }
        let topic = self.topics.get_mut(topic_name);
        let partition = topic.and_then(|topic| topic.partition_mut(index));
        let partition = partition.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let base_offset = partition.append(&batch)?;
        self.changes += 1;
        Ok(base_offset)
    }

    pub(super) fn fetch(&mut self, call: Call<'_, '_>, ticket: Option<Ticket>) -> Step {
        let request = match call.request::<FetchRequest>() {
            Ok(request) => request,
            Err(step) => return step,
        };
        if request.session_id != 0 {
            let error_code = ErrorCode::FETCH_SESSION_ID_NOT_FOUND;
            return call.reply(&FetchResponse {
                error_code,
                ..Default::default()
            });
        }
        let until = match ticket {
            Some(Ticket(Waiting::Fetch { until })) => until,
            _ => {
                let wait = u64::try_from(request.max_wait_ms).unwrap_or_default();
                call.now.instant + Duration::from_millis(wait).min(FETCH_WAIT_MAX)
            }
        };
        let wanted = u64::try_from(request.min_bytes).unwrap_or_default();
        if call.now.instant < until && self.fetchable(&request, call.header.version) < wanted {
            return Step::Wait(Ticket(Waiting::Fetch { until }));
        }

        // All records of the answer, one partition behind the other, then the answer over them.
        let mut records = Vec::new();
        let mut bytes_left = usize::try_from(request.max_bytes)
            .unwrap_or_default()
            .min(FETCH_BYTES_MAX);
        let mut parts: Vec<FetchedTopic> = Vec::new();
        for topic in &request.topics {
            let name = self.fetched_name(topic, call.header.version);
            let partitions = topic.partitions.iter().map(|asked| {
                let committed = request.isolation_level != 0;
                let fetched = self.fetch_partition(
                    name.as_deref(),
                    asked,
                    committed,
                    bytes_left,
                    &mut records,
                );
                if let Ok(fetched) = &fetched {
                    bytes_left = bytes_left.saturating_sub(fetched.range.len());
                }
                (asked.partition, fetched)
            });
            let partitions = partitions.collect();
            parts.push(FetchedTopic {
                name: topic.topic.clone(),
                id: topic.topic_id,
                partitions,
            });
        }
        let unknown = match call.header.version {
            ..=12 => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            _ => ErrorCode::UNKNOWN_TOPIC_ID,
        };
        let responses = parts.iter().map(|topic| FetchableTopicResponse {
            topic: &topic.name,
            topic_id: topic.id,
            partitions: topic
                .partitions
                .iter()
                .map(|(index, fetched)| match fetched {
                    Ok(fetched) => fetch::PartitionData {
                        partition_index: *index,
                        high_watermark: fetched.end,
                        last_stable_offset: fetched.stable,
                        log_start_offset: fetched.start,
                        aborted_transactions: fetched.aborted.clone(),
                        records: Some(records.get(fetched.range.clone()).unwrap_or_default()),
                        ..Default::default()
                    },
                    Err(code) => fetch::PartitionData {
                        partition_index: *index,
                        error_code: code.unwrap_or(unknown),
                        high_watermark: -1,
                        records: Some(&[]),
                        ..Default::default()
                    },
                })
                .collect(),
        });
        call.reply(&FetchResponse {
            responses: responses.collect(),
            ..Default::default()
        })
    }

    /// About how many bytes a fetch would bring now; an error counts as enough.
    fn fetchable(&self, request: &FetchRequest, version: i16) -> u64 {
        let mut bytes = 0;
        for topic in &request.topics {
            let name = self.fetched_name(topic, version);
            for asked in &topic.partitions {
                let topic = name.as_ref().and_then(|name| self.topics.get(name));
                let Some(partition) = topic.and_then(|topic| topic.partition(asked.partition))
                else {
                    return u64::MAX;
                };
                let bound = match request.isolation_level {
                    0 => partition.log().end(),
                    _ => partition.last_stable_offset(),
                };
                if !(partition.log().start()..=partition.log().end()).contains(&asked.fetch_offset)
                {
                    return u64::MAX;
                }
                if asked.fetch_offset < bound {
                    bytes += partition.log().bytes_from(asked.fetch_offset);
                }
            }
        }
        bytes
    }

    fn fetched_name(&self, topic: &fetch::FetchTopic, version: i16) -> Option<String> {
        /// From this version on topics are named by id.
        const IDS_VERSION: i16 = 13;
        if version < IDS_VERSION {
            Some(topic.topic.clone())
        } else {
            self.topic_names.get(&topic.topic_id).cloned()
        }
    }

    /// One partition's share; its records go to `out`. `Err(None)`: there is no such partition.
    fn fetch_partition(
        &self,
        topic: Option<&str>,
        asked: &fetch::FetchPartition,
        committed: bool,
        bytes_left: usize,
        out: &mut Vec<u8>,
    ) -> Result<Fetched, Option<ErrorCode>> {
        let topic = topic.and_then(|name| self.topics.get(name));
        let partition = topic
            .and_then(|topic| topic.partition(asked.partition))
            .ok_or(None)?;
        let (start, end) = (partition.log().start(), partition.log().end());
        if !(start..=end).contains(&asked.fetch_offset) {
            return Err(Some(ErrorCode::OFFSET_OUT_OF_RANGE));
        }
        if asked.current_leader_epoch > LEADER_EPOCH {
            return Err(Some(ErrorCode::UNKNOWN_LEADER_EPOCH));
        }
        let stable = partition.last_stable_offset();
        let bound = if committed { stable } else { end };
        let bytes_max = usize::try_from(asked.partition_max_bytes).unwrap_or_default();
        let at = out.len();
        // The first partition that has anything brings a batch, however large.
        let progress = at == 0;
        let read = partition.log().read(
            asked.fetch_offset,
            bound,
            bytes_max.min(bytes_left),
            progress,
            out,
        );
        if let Err(error) = read {
            tracing::error!("reading a log: {error}");
            out.truncate(at);
            return Err(Some(ErrorCode::KAFKA_STORAGE_ERROR));
        }
        let aborted = committed.then(|| {
            let aborted = partition.aborted(asked.fetch_offset, bound);
            let aborted = aborted.map(|aborted| fetch::AbortedTransaction {
                producer_id: aborted.producer_id,
                first_offset: aborted.first_offset,
            });
            aborted.collect()
        });
        Ok(Fetched {
            range: at..out.len(),
            start,
            end,
            stable,
            aborted,
        })
    }

    pub(super) fn list_offsets(&self, request: ListOffsetsRequest) -> ListOffsetsResponse {
        const LATEST: i64 = -1;
        const EARLIEST: i64 = -2;
        const MAX_TIMESTAMP: i64 = -3;
        let found = |topic: &str, asked: &ListOffsetsPartition| {
            let topic = self.topics.get(topic);
            let partition = topic.and_then(|topic| topic.partition(asked.partition_index));
            let partition = partition.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
            let log = partition.log();
            let batch = match asked.timestamp {
                LATEST if request.isolation_level == 0 => return Ok((-1, log.end())),
                LATEST => return Ok((-1, partition.last_stable_offset())),
                EARLIEST => return Ok((-1, log.start())),
                MAX_TIMESTAMP => log.latest(),
                timestamp if timestamp >= 0 => log.first_since(timestamp),
                _ => return Err(ErrorCode::UNSUPPORTED_VERSION),
            };
            let batch = batch.map_err(|_| ErrorCode::KAFKA_STORAGE_ERROR)?;
            let Some(batch) = batch else {
                return Ok((-1, -1));
            };
            record_since(&batch, asked.timestamp).ok_or(ErrorCode::CORRUPT_MESSAGE)
        };
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                let result = found(&topic.name, asked);
                let (timestamp, offset) = result.unwrap_or((-1, -1));
                ListOffsetsPartitionResponse {
                    partition_index: asked.partition_index,
                    error_code: result.err().unwrap_or_default(),
                    timestamp,
                    offset,
                    leader_epoch: if offset >= 0 { LEADER_EPOCH } else { -1 },
                }
            });
            ListOffsetsTopicResponse {
                name: topic.name.clone(),
                partitions: partitions.collect(),
            }
        });
        ListOffsetsResponse {
            topics: topics.collect(),
            ..Default::default()
        }
    }

    pub(super) fn offset_for_leader_epoch(
        &self,
        request: OffsetForLeaderEpochRequest,
    ) -> OffsetForLeaderEpochResponse {
        let topics = request.topics.iter().map(|asked| {
            let topic = self.topics.get(&asked.topic);
            let partitions = asked.partitions.iter().map(|asked| {
                let partition = topic.and_then(|topic| topic.partition(asked.partition));
                let mut result = EpochEndOffset {
                    partition: asked.partition,
                    ..EpochEndOffset::default()
                };
                match partition {
                    None => result.error_code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                    Some(partition) if asked.leader_epoch == LEADER_EPOCH => {
                        result.leader_epoch = LEADER_EPOCH;
                        result.end_offset = partition.log().end();
                    }
                    Some(_) => {}
                }
                result
            });
            let partitions = partitions.collect();
            OffsetForLeaderTopicResult {
                topic: asked.topic.clone(),
                partitions,
            }
        });
        OffsetForLeaderEpochResponse {
            topics: topics.collect(),
            ..Default::default()
        }
    }
}

struct FetchedTopic {
    name: String,
    id: Uuid,
    partitions: Vec<(i32, Result<Fetched, Option<ErrorCode>>)>,
}

struct Fetched {
    range: Range<usize>,
    start: i64,
    end: i64,
    stable: i64,
    aborted: Option<Vec<fetch::AbortedTransaction>>,
}

/// Timestamp and offset of the first record since `timestamp`; negative: of the youngest record.
fn record_since(batch: &[u8], timestamp: i64) -> Option<(i64, i64)> {
    let batch = BatchView::parse(batch).ok()?;
    let wanted = if timestamp < 0 {
        batch.header().max_timestamp
    } else {
        timestamp
    };
    let mut plain = Vec::new();
    let records = batch.records(&mut plain, PLAIN_BYTES_MAX).ok()?;
    let mut records = records.filter_map(Result::ok);
    let record = records.find(|record| record.timestamp_ms >= wanted)?;
    Some((record.timestamp_ms, record.offset))
}
