//! RecordBatch v2, built in place and read in place.
//!
//! ```text
//!    0 base_offset i64 | 8 batch_length i32 | 12 partition_leader_epoch i32 | 16 magic i8 = 2 |
//!   17 crc u32 | 21 attributes i16 | 23 last_offset_delta i32 | 27 base_timestamp i64, ms |
//!   35 max_timestamp i64 | 43 producer_id i64 | 51 producer_epoch i16 | 53 base_sequence i32 |
//!   57 records_count i32 | 61 records ..
//!
//!   record: length varint | attributes i8 = 0 | timestamp_delta varlong | offset_delta varint |
//!           key length varint, -1: null | key | value length varint, -1: null | value |
//!           headers varint | (key length varint | key UTF-8 | value length varint | value) ..
//! ```
//!
//! The CRC-32C covers everything from the attributes on, the compressed bytes of a compressed
//! batch. What stands before it belongs to the broker, which sets offset and epoch in place.
//!
//! Writing: [`BatchBuilder`] owns the one buffer; [`RecordWriter`] is a guard that writes a record
//! at its end; [`BatchBuilder::seal`] patches the header and gives an immutable [`Batch`], whose
//! buffer [`Batch::recycle`] opens again. Reading: [`BatchView`] over borrowed bytes, [`Batches`]
//! over what a fetch brought.
//!
//! ```
//! use kafkawire::batch::{BatchBuilder, BatchView, ProducerStamp};
//! use kafkawire::compress::Compressor;
//!
//! let mut open = BatchBuilder::new(1 << 20);
//! let mut record = open.append(1_700_000_000_000);
//! record.key(Some(b"k1"));
//! record.value_with(|out| out.extend_from_slice(b"v1"));
//! record.finish()?;
//! let batch = open.seal(ProducerStamp::NONE, &mut Compressor::none());
//!
//! let view = BatchView::parse(batch.bytes())?;
//! let mut plain = Vec::new();
//! let record = view.records(&mut plain, 1 << 20)?.next().unwrap()?;
//! assert_eq!((record.key, record.value), (Some(&b"k1"[..]), Some(&b"v1"[..])));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Source: Apache Kafka, `DefaultRecordBatch.java`, `DefaultRecord.java`,
//! `EndTransactionMarker.java`.

use std::fmt;

use crate::compress::{Codec, Compressor, decompress};
use crate::error::{Error, Fault};
use crate::read::Reader;
use crate::write::{put_i8, put_i16, put_i32, put_varint, put_varlong};

/// Bytes of a batch before its first record.
pub const HEADER_BYTES: usize = 61;
/// Bytes before those that `batch_length` counts.
pub const LENGTH_PREFIX_BYTES: usize = 12;
/// No builder takes more than this, whatever it is allowed: every length in a batch is an Int32.
pub const BATCH_BYTES_MAX: usize = 1 << 30;

/// What a compressor keeps between two batches, at most.
const SPARE_BYTES_MAX: usize = 2 << 20;

const MAGIC: i8 = 2;
const MESSAGE: &str = "record batch";

const BASE_OFFSET_AT: usize = 0;
const BATCH_LENGTH_AT: usize = 8;
const LEADER_EPOCH_AT: usize = 12;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const LAST_OFFSET_DELTA_AT: usize = 23;
const BASE_TIMESTAMP_AT: usize = 27;
const MAX_TIMESTAMP_AT: usize = 35;
const PRODUCER_ID_AT: usize = 43;
const PRODUCER_EPOCH_AT: usize = 51;
const BASE_SEQUENCE_AT: usize = 53;
const RECORDS_COUNT_AT: usize = 57;

/// Whose batch it is, and its place in that producer's sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    /// From InitProducerId; -1: not idempotent.
    pub producer_id: i64,
    /// From InitProducerId; -1: not idempotent.
    pub producer_epoch: i16,
    /// Sequence of the first record; -1: not idempotent.
    pub base_sequence: i32,
    /// Part of the producer's open transaction.
    pub transactional: bool,
}

impl ProducerStamp {
    /// A batch of no idempotent producer.
    pub const NONE: Self = Self {
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        transactional: false,
    };
}

/// The sequence `count` records after `sequence`: 2147483647 is followed by 0.
#[must_use]
pub fn sequence_after(sequence: i32, count: i32) -> i32 {
    // Both are at least 0; beyond i32::MAX the sum has the sign bit, and clearing it wraps to 0.
    sequence.wrapping_add(count) & i32::MAX
}

/// Why a record was not added; the batch is as it was before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// The batch has records and no room for this one: seal it, write the record into the next.
    Full,
    /// The record does not fit even an empty batch.
    RecordTooLarge {
        /// Size of a batch with this record alone, in bytes.
        bytes: usize,
        /// The builder's bound.
        max: usize,
    },
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the batch is full"),
            Self::RecordTooLarge { bytes, max } => {
                write!(
                    f,
                    "a batch of this one record has {bytes} bytes, {max} are allowed"
                )
            }
        }
    }
}

impl std::error::Error for AppendError {}

/// A batch that takes records, in the buffer it will be sent from.
#[derive(Debug)]
pub struct BatchBuilder {
    /// The header, filled when sealing, then the finished records.
    buffer: Vec<u8>,
    bytes_max: usize,
    record_count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    widths: Widths,
}

/// Bytes that each length needed last: the next record of a stream mostly needs the same, and then
/// its bytes never move.
#[derive(Clone, Copy, Debug)]
struct Widths {
    record: usize,
    key: usize,
    value: usize,
}

impl BatchBuilder {
    /// An open batch of at most `bytes_max` bytes before compression, header included.
    ///
    /// More than [`BATCH_BYTES_MAX`] counts as that much. Nothing is reserved ahead.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        let mut builder = Self {
            buffer: Vec::new(),
            bytes_max: bytes_max.min(BATCH_BYTES_MAX),
            record_count: 0,
            base_timestamp: 0,
            max_timestamp: 0,
            widths: Widths {
                record: 2,
                key: 1,
                value: 2,
            },
        };
        builder.reset();
        builder
    }

    /// Drops every record; the memory stays.
    pub fn reset(&mut self) {
        self.buffer.clear();
        self.buffer.resize(HEADER_BYTES, 0);
        self.record_count = 0;
    }

    /// Bytes so far, header included, before compression.
    #[must_use]
    pub fn byte_count(&self) -> usize {
        self.buffer.len()
    }

    /// Bytes of memory that the batch holds, used or not.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Finished records.
    #[must_use]
    pub fn record_count(&self) -> i32 {
        self.record_count
    }

    /// Whether no record is finished.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// Begins the next record: `timestamp_ms` since 1970-01-01 UTC, its offset delta the count of
    /// those before it.
    ///
    /// Order of calls: key, value, headers, [`finish`](RecordWriter::finish). A part left out is
    /// null. Until finished, the record does not exist.
    #[inline]
    pub fn append(&mut self, timestamp_ms: i64) -> RecordWriter<'_> {
        if self.record_count == 0 {
            self.base_timestamp = timestamp_ms;
            self.max_timestamp = timestamp_ms;
        }
        let start = self.buffer.len();
        leave(&mut self.buffer, self.widths.record);
        put_i8(&mut self.buffer, 0);
        // Wraps for timestamps further apart than an i64 can say, as the reader's sum does.
        put_varlong(
            &mut self.buffer,
            timestamp_ms.wrapping_sub(self.base_timestamp),
        );
        put_varint(&mut self.buffer, self.record_count);
        RecordWriter {
            batch: self,
            start,
            timestamp_ms,
            part: Part::Key,
        }
    }

    /// Fills in the header and closes the batch.
    ///
    /// Without compression nothing is copied; with it, the records are compressed into the
    /// compressor's spare buffer, which changes places with this batch's own. Sealing a batch
    /// without records is a mistake of the caller, and asserts.
    #[must_use]
    pub fn seal(mut self, stamp: ProducerStamp, compressor: &mut Compressor) -> Batch {
        assert!(self.record_count > 0, "a sealed batch has records");
        let mut codec = Codec::NONE;
        if compressor.codec() != Codec::NONE
            && let Some((header, records)) = self.buffer.split_at_checked(HEADER_BYTES)
        {
            let mut spare = std::mem::take(&mut compressor.spare);
            spare.clear();
            spare.extend_from_slice(header);
            // A codec that fails leaves the plain batch, which says the same.
            if compressor.compress(records, &mut spare).is_some() {
                codec = compressor.codec();
                std::mem::swap(&mut self.buffer, &mut spare);
            }
            // One large batch is no reason to hold its memory for ever.
            if spare.capacity() <= SPARE_BYTES_MAX {
                compressor.spare = spare;
            }
        }
        let mut attributes = i16::from(codec.0);
        if stamp.transactional {
            attributes |= Attributes::TRANSACTIONAL;
        }
        let header = Header {
            base_offset: 0,
            leader_epoch: -1,
            attributes: Attributes(attributes),
            last_offset_delta: self.record_count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: stamp.producer_id,
            producer_epoch: stamp.producer_epoch,
            base_sequence: stamp.base_sequence,
            record_count: self.record_count,
        };
        header.fill(&mut self.buffer);
        Batch {
            buffer: self.buffer,
            record_count: self.record_count,
            bytes_max: self.bytes_max,
            widths: self.widths,
        }
    }
}

/// One record being written at the end of an open batch. Dropped unfinished, it leaves no trace.
#[derive(Debug)]
pub struct RecordWriter<'a> {
    batch: &'a mut BatchBuilder,
    start: usize,
    timestamp_ms: i64,
    part: Part,
}

/// What may come next.
#[derive(Clone, Copy, Debug)]
enum Part {
    Key,
    Value,
    Headers { count_at: usize, count: i32 },
    Finished,
}

impl RecordWriter<'_> {
    /// Makes room for so many bytes of the record, and no more.
    pub fn reserve(&mut self, bytes: usize) {
        self.batch.buffer.reserve_exact(bytes);
    }

    /// The key's bytes, or null.
    pub fn key(&mut self, key: Option<&[u8]>) {
        assert!(
            matches!(self.part, Part::Key),
            "the key comes first, and once"
        );
        put_nullable(&mut self.batch.buffer, key);
        self.part = Part::Value;
    }

    /// The key, written by `write` at the buffer's end.
    ///
    /// `write` may only append. What it answers is handed on; if that is a failure, drop the
    /// record.
    pub fn key_with<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        assert!(
            matches!(self.part, Part::Key),
            "the key comes first, and once"
        );
        self.part = Part::Value;
        put_sized(&mut self.batch.buffer, &mut self.batch.widths.key, write)
    }

    /// The value's bytes, or null: a tombstone.
    pub fn value(&mut self, value: Option<&[u8]>) {
        self.begin_value();
        put_nullable(&mut self.batch.buffer, value);
        self.part = Part::Headers {
            count_at: self.batch.buffer.len(),
            count: 0,
        };
    }

    /// The value, written by `write` at the buffer's end; see [`key_with`](Self::key_with).
    pub fn value_with<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        self.begin_value();
        let answer = put_sized(&mut self.batch.buffer, &mut self.batch.widths.value, write);
        self.part = Part::Headers {
            count_at: self.batch.buffer.len(),
            count: 0,
        };
        answer
    }

    /// One more header.
    pub fn header(&mut self, key: &str, value: Option<&[u8]>) {
        let (count_at, count) = self.begin_headers();
        let buffer = &mut self.batch.buffer;
        if count == 0 {
            // The count's own byte: patched in `finish`, widened there beyond 63 headers.
            buffer.push(0);
        }
        put_nullable(buffer, Some(key.as_bytes()));
        put_nullable(buffer, value);
        self.part = Part::Headers {
            count_at,
            count: count.saturating_add(1),
        };
    }

    /// Bytes the whole batch has with this record as written so far.
    #[must_use]
    pub fn byte_count(&self) -> usize {
        self.batch.buffer.len()
    }

    /// Makes the record part of the batch.
    ///
    /// Errors: the batch would outgrow its bound; it is then as it was before the record.
    #[inline]
    pub fn finish(mut self) -> Result<(), AppendError> {
        let (count_at, count) = self.begin_headers();
        let batch = &mut *self.batch;
        if count == 0 {
            batch.buffer.push(0);
        } else {
            let mut width = 1;
            close_length(&mut batch.buffer, count_at, &mut width, count);
        }
        let length = batch.buffer.len() - self.start - batch.widths.record;
        let length = i32::try_from(length).unwrap_or(i32::MAX);
        close_length(
            &mut batch.buffer,
            self.start,
            &mut batch.widths.record,
            length,
        );
        let bytes = batch.buffer.len();
        if bytes > batch.bytes_max {
            // Dropping the guard takes the record back.
            return Err(match batch.record_count {
                0 => AppendError::RecordTooLarge {
                    bytes,
                    max: batch.bytes_max,
                },
                _ => AppendError::Full,
            });
        }
        batch.record_count += 1;
        batch.max_timestamp = batch.max_timestamp.max(self.timestamp_ms);
        self.part = Part::Finished;
        Ok(())
    }

    fn begin_value(&mut self) {
        if matches!(self.part, Part::Key) {
            self.key(None);
        }
        assert!(
            matches!(self.part, Part::Value),
            "the value comes before headers, and once"
        );
    }

    fn begin_headers(&mut self) -> (usize, i32) {
        if matches!(self.part, Part::Key | Part::Value) {
            self.value(None);
        }
        match self.part {
            Part::Headers { count_at, count } => (count_at, count),
            Part::Key | Part::Value | Part::Finished => unreachable!("the value was just written"),
        }
    }
}

impl Drop for RecordWriter<'_> {
    fn drop(&mut self) {
        if !matches!(self.part, Part::Finished) {
            self.batch.buffer.truncate(self.start);
        }
    }
}

/// A length in bytes, then the bytes; -1 alone for null.
#[inline]
fn put_nullable(buffer: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(buffer, -1),
        Some(bytes) => {
            // More than an Int32 can say is more than `finish` lets pass.
            put_varint(buffer, i32::try_from(bytes.len()).unwrap_or(i32::MAX));
            buffer.extend_from_slice(bytes);
        }
    }
}

/// A length that is known only behind what it measures.
#[inline]
fn put_sized<R>(
    buffer: &mut Vec<u8>,
    width: &mut usize,
    write: impl FnOnce(&mut Vec<u8>) -> R,
) -> R {
    let at = buffer.len();
    let body_at = at + *width;
    leave(buffer, *width);
    let answer = write(buffer);
    assert!(buffer.len() >= body_at, "a writer only appends");
    let length = i32::try_from(buffer.len() - body_at).unwrap_or(i32::MAX);
    close_length(buffer, at, width, length);
    answer
}

/// Puts `length` where `width` bytes were left for it at `at`; what follows slides if it needs
/// another number of bytes, and `width` learns that number.
#[inline]
fn close_length(buffer: &mut Vec<u8>, at: usize, width: &mut usize, length: i32) {
    let bits = (length << 1).cast_unsigned();
    let needed = varint_width(bits);
    if needed != *width {
        let end = buffer.len();
        if needed > *width {
            buffer.resize(end + needed - *width, 0);
        }
        buffer.copy_within(at + *width..end, at + needed);
        buffer.truncate(end + needed - *width);
        *width = needed;
    }
    // Of a width that the compiler knows, it is a store and no loop.
    match needed {
        1 => patch(buffer, at, septets::<1>(bits)),
        2 => patch(buffer, at, septets::<2>(bits)),
        3 => patch(buffer, at, septets::<3>(bits)),
        4 => patch(buffer, at, septets::<4>(bits)),
        _ => patch(buffer, at, septets::<5>(bits)),
    }
}

/// LEB128 in `N` bytes.
#[inline]
fn septets<const N: usize>(bits: u32) -> [u8; N] {
    std::array::from_fn(|at| {
        let low = (u64::from(bits) >> (at * 7)) & 0x7f;
        low as u8 | if at + 1 < N { 0x80 } else { 0 }
    })
}

/// Leaves room for a length of `width` bytes.
#[inline]
fn leave(buffer: &mut Vec<u8>, width: usize) {
    match width {
        1 => buffer.push(0),
        2 => buffer.extend_from_slice(&[0; 2]),
        3 => buffer.extend_from_slice(&[0; 3]),
        _ => buffer.resize(buffer.len() + width, 0),
    }
}

/// Bytes that LEB128 needs.
#[inline]
fn varint_width(bits: u32) -> usize {
    match bits {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        0x20_0000..0x1000_0000 => 4,
        _ => 5,
    }
}

/// A sealed batch: the bytes that go to the broker, and that do not change with a resend.
#[derive(Debug)]
pub struct Batch {
    buffer: Vec<u8>,
    record_count: i32,
    bytes_max: usize,
    widths: Widths,
}

impl Batch {
    /// The whole batch as the Produce request carries it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// Bytes of memory that the batch holds, used or not.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Records in it, at least 1.
    #[must_use]
    pub fn record_count(&self) -> i32 {
        self.record_count
    }

    /// Gives it another producer, epoch and sequence, as after a reset of the producer id.
    ///
    /// Walks the batch once for its CRC.
    pub fn restamp(&mut self, stamp: ProducerStamp) {
        let buffer = &mut self.buffer;
        let mut attributes = field(buffer, ATTRIBUTES_AT).map_or(0, i16::from_be_bytes);
        attributes &= !Attributes::TRANSACTIONAL;
        if stamp.transactional {
            attributes |= Attributes::TRANSACTIONAL;
        }
        patch(buffer, ATTRIBUTES_AT, attributes.to_be_bytes());
        patch(buffer, PRODUCER_ID_AT, stamp.producer_id.to_be_bytes());
        patch(
            buffer,
            PRODUCER_EPOCH_AT,
            stamp.producer_epoch.to_be_bytes(),
        );
        patch(buffer, BASE_SEQUENCE_AT, stamp.base_sequence.to_be_bytes());
        patch_crc(buffer);
    }

    /// An empty open batch in the same memory.
    #[must_use]
    pub fn recycle(self) -> BatchBuilder {
        let mut builder = BatchBuilder {
            buffer: self.buffer,
            bytes_max: self.bytes_max,
            record_count: 0,
            base_timestamp: 0,
            max_timestamp: 0,
            widths: self.widths,
        };
        builder.reset();
        builder
    }
}

/// Gives a stored batch its place in the log, as the leader does: in place, outside the CRC.
///
/// `batch` is the bytes of one parsed batch; shorter ones stay as they are.
pub fn place(batch: &mut [u8], base_offset: i64, leader_epoch: i32) {
    patch(batch, BASE_OFFSET_AT, base_offset.to_be_bytes());
    patch(batch, LEADER_EPOCH_AT, leader_epoch.to_be_bytes());
}

#[inline]
fn patch<const N: usize>(buffer: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some(slot) = buffer.get_mut(at..at + N) {
        slot.copy_from_slice(&bytes);
    }
}

fn patch_crc(buffer: &mut [u8]) {
    let crc = crc32c::crc32c(buffer.get(ATTRIBUTES_AT..).unwrap_or_default());
    patch(buffer, CRC_AT, crc.to_be_bytes());
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// The attributes of a batch, with bits this crate does not know kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes(pub i16);

impl Attributes {
    const LOG_APPEND_TIME: i16 = 0x08;
    const TRANSACTIONAL: i16 = 0x10;
    const CONTROL: i16 = 0x20;

    /// How the records section is compressed.
    #[must_use]
    pub fn codec(self) -> Codec {
        let [_, low] = self.0.to_be_bytes();
        Codec(low & 7)
    }

    /// Whether every record has the batch's largest timestamp, set by the broker.
    #[must_use]
    pub fn log_append_time(self) -> bool {
        self.0 & Self::LOG_APPEND_TIME != 0
    }

    /// Whether the batch is part of a transaction.
    #[must_use]
    pub fn transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Whether the batch is a marker of the broker's, not data.
    #[must_use]
    pub fn control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }
}

/// The 61 bytes before the records, without length, magic and CRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Offset of the first record (of the first there ever was, once a log is compacted).
    pub base_offset: i64,
    /// Epoch of the leader that appended it; -1 from a producer.
    pub leader_epoch: i32,
    /// Codec and kind.
    pub attributes: Attributes,
    /// Offset of the last record, counted from the base offset.
    pub last_offset_delta: i32,
    /// Timestamp of the first record, in milliseconds since 1970.
    pub base_timestamp: i64,
    /// The largest timestamp of a record.
    pub max_timestamp: i64,
    /// -1: not idempotent.
    pub producer_id: i64,
    /// -1: not idempotent.
    pub producer_epoch: i16,
    /// Sequence of the first record; -1: not idempotent.
    pub base_sequence: i32,
    /// Records in the batch; fewer than the offsets it spans, once a log is compacted.
    pub record_count: i32,
}

impl Header {
    /// Offset of the last record.
    #[must_use]
    pub fn last_offset(&self) -> i64 {
        self.base_offset
            .wrapping_add(i64::from(self.last_offset_delta))
    }

    /// Sequence of the last record.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        sequence_after(self.base_sequence, self.last_offset_delta)
    }

    /// Writes itself over the first 61 bytes of a batch, with length and CRC of what is there.
    fn fill(&self, buffer: &mut [u8]) {
        let length = buffer.len().saturating_sub(LENGTH_PREFIX_BYTES);
        let length = i32::try_from(length).unwrap_or(i32::MAX);
        patch(buffer, BATCH_LENGTH_AT, length.to_be_bytes());
        patch(buffer, MAGIC_AT, MAGIC.to_be_bytes());
        patch(buffer, ATTRIBUTES_AT, self.attributes.0.to_be_bytes());
        patch(
            buffer,
            LAST_OFFSET_DELTA_AT,
            self.last_offset_delta.to_be_bytes(),
        );
        patch(buffer, BASE_TIMESTAMP_AT, self.base_timestamp.to_be_bytes());
        patch(buffer, MAX_TIMESTAMP_AT, self.max_timestamp.to_be_bytes());
        patch(buffer, PRODUCER_ID_AT, self.producer_id.to_be_bytes());
        patch(buffer, PRODUCER_EPOCH_AT, self.producer_epoch.to_be_bytes());
        patch(buffer, BASE_SEQUENCE_AT, self.base_sequence.to_be_bytes());
        patch(buffer, RECORDS_COUNT_AT, self.record_count.to_be_bytes());
        place(buffer, self.base_offset, self.leader_epoch);
        patch_crc(buffer);
    }
}

/// One batch in someone else's buffer: header read, length and CRC checked, records untouched.
#[derive(Clone, Copy, Debug)]
pub struct BatchView<'b> {
    header: Header,
    bytes: &'b [u8],
}

impl<'b> BatchView<'b> {
    /// `bytes` as exactly one batch.
    ///
    /// Errors: `Malformed` for bytes that are short, that are more than the batch, whose magic is
    /// not 2 or whose CRC is wrong, and for a count that exceeds the offsets or is negative.
    pub fn parse(bytes: &'b [u8]) -> Result<Self, Error> {
        match Self::split(bytes)? {
            Some((view, [])) => Ok(view),
            Some((view, _)) => Err(malformed("batch_length", view.bytes.len(), Fault::Trailing)),
            None => Err(malformed("batch_length", BATCH_LENGTH_AT, Fault::Truncated)),
        }
    }

    /// Splits the first batch off `bytes`, or answers `None` when it is not all there.
    ///
    /// Errors: as [`parse`](Self::parse).
    pub fn split(bytes: &'b [u8]) -> Result<Option<(Self, &'b [u8])>, Error> {
        // Older formats have their magic here too, so it is asked before the rest is believed.
        let Some([magic]) = field::<1>(bytes, MAGIC_AT) else {
            return Ok(None);
        };
        if i8::from_be_bytes([magic]) != MAGIC {
            return Err(malformed("magic", MAGIC_AT, Fault::Magic));
        }
        let Some(size) = batch_size(bytes)? else {
            return Ok(None);
        };
        let Some((bytes, rest)) = bytes.split_at_checked(size) else {
            return Ok(None);
        };
        let crc = field(bytes, CRC_AT).map(u32::from_be_bytes);
        if crc != bytes.get(ATTRIBUTES_AT..).map(crc32c::crc32c) {
            return Err(malformed("crc", CRC_AT, Fault::Checksum));
        }
        let header = read_header(bytes)?;
        Ok(Some((Self { header, bytes }, rest)))
    }

    /// The header's fields.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The whole batch.
    #[must_use]
    pub fn bytes(&self) -> &'b [u8] {
        self.bytes
    }

    /// Its records, in order; `plain` takes the decompressed bytes, where the batch is compressed.
    ///
    /// Errors: `Malformed` when the records do not decompress, or to more than `bytes_max` bytes.
    /// Each record is checked as the iterator reaches it; its positions count from the first
    /// record's first byte.
    pub fn records<'r>(
        &self,
        plain: &'r mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<Records<'r>, Error>
    where
        'b: 'r,
    {
        let stored = self.bytes.get(HEADER_BYTES..).unwrap_or_default();
        let codec = self.header.attributes.codec();
        let bytes = if codec == Codec::NONE {
            stored
        } else {
            plain.clear();
            decompress(codec, stored, plain, bytes_max)
                .map_err(|_| malformed("records", HEADER_BYTES, Fault::Compression))?;
            plain
        };
        Ok(Records {
            reader: Reader::new("record", bytes),
            header: self.header,
            left: self.header.record_count,
        })
    }

    /// What a control batch says, or `None` for a batch of data.
    ///
    /// Errors: `Malformed` for a control batch whose record or key cannot be read. Fields behind
    /// the known ones, of a newer version, are ignored.
    pub fn control(&self) -> Result<Option<ControlType>, Error> {
        if !self.header.attributes.control() {
            return Ok(None);
        }
        // Control batches are never compressed.
        let mut plain = Vec::new();
        let key = match self.records(&mut plain, 0)?.next() {
            Some(record) => record?.key,
            None => None,
        };
        let mut reader = Reader::new("control record", key.unwrap_or_default());
        reader.take_i16("version")?;
        Ok(Some(ControlType(reader.take_i16("type")?)))
    }
}

/// The size that a batch at the head of `bytes` states, once its length has arrived.
///
/// Errors: `Malformed` for a length that no batch can have.
pub fn batch_size(bytes: &[u8]) -> Result<Option<usize>, Error> {
    let Some(length) = field(bytes, BATCH_LENGTH_AT).map(i32::from_be_bytes) else {
        return Ok(None);
    };
    match usize::try_from(length) {
        Ok(length) if length + LENGTH_PREFIX_BYTES >= HEADER_BYTES => {
            Ok(Some(length + LENGTH_PREFIX_BYTES))
        }
        _ => Err(malformed("batch_length", BATCH_LENGTH_AT, Fault::Length)),
    }
}

/// The header and the size of the batch at the head of `bytes`, of which only the header need be
/// there; `None` when it is not.
///
/// Neither the CRC nor the records are looked at: for a log that was checked when it was written.
/// Errors: `Malformed` for a magic that is not 2, and for lengths and counts that cannot be.
pub fn peek(bytes: &[u8]) -> Result<Option<(Header, usize)>, Error> {
    if bytes.len() < HEADER_BYTES {
        return Ok(None);
    }
    if field(bytes, MAGIC_AT) != Some(MAGIC.to_be_bytes()) {
        return Err(malformed("magic", MAGIC_AT, Fault::Magic));
    }
    match batch_size(bytes)? {
        Some(size) => Ok(Some((read_header(bytes)?, size))),
        None => Ok(None),
    }
}

fn read_header(bytes: &[u8]) -> Result<Header, Error> {
    let mut reader = Reader::new(MESSAGE, bytes);
    let base_offset = reader.take_i64("base_offset")?;
    reader.take_i32("batch_length")?;
    let leader_epoch = reader.take_i32("partition_leader_epoch")?;
    reader.take_i8("magic")?;
    reader.take_u32("crc")?;
    let header = Header {
        base_offset,
        leader_epoch,
        attributes: Attributes(reader.take_i16("attributes")?),
        last_offset_delta: reader.take_i32("last_offset_delta")?,
        base_timestamp: reader.take_i64("base_timestamp")?,
        max_timestamp: reader.take_i64("max_timestamp")?,
        producer_id: reader.take_i64("producer_id")?,
        producer_epoch: reader.take_i16("producer_epoch")?,
        base_sequence: reader.take_i32("base_sequence")?,
        record_count: reader.take_i32("records_count")?,
    };
    if header.last_offset_delta < 0 {
        let at = LAST_OFFSET_DELTA_AT;
        return Err(malformed("last_offset_delta", at, Fault::Count));
    }
    // Compaction leaves fewer records than offsets, never more.
    if header.record_count < 0 || header.record_count - 1 > header.last_offset_delta {
        return Err(malformed("records_count", RECORDS_COUNT_AT, Fault::Count));
    }
    Ok(header)
}

#[cold]
fn malformed(field: &'static str, at: usize, fault: Fault) -> Error {
    Error::Malformed {
        message: MESSAGE,
        field,
        at,
        fault,
    }
}

/// The batches of a fetch answer, one behind the other.
///
/// A broker cuts the answer at a byte limit: an incomplete last batch ends the iteration without an
/// error. After an error there is nothing more.
#[derive(Clone, Debug)]
pub struct Batches<'b> {
    rest: &'b [u8],
}

impl<'b> Batches<'b> {
    /// Over the `records` bytes of one partition.
    #[must_use]
    pub fn new(bytes: &'b [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What is not yet read: the incomplete batch, once the iteration has ended.
    #[must_use]
    pub fn rest(&self) -> &'b [u8] {
        self.rest
    }
}

impl<'b> Iterator for Batches<'b> {
    type Item = Result<BatchView<'b>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match BatchView::split(self.rest) {
            Ok(None) => None,
            Ok(Some((view, rest))) => {
                self.rest = rest;
                Some(Ok(view))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

/// One record in place.
#[derive(Clone, Debug)]
pub struct Record<'b> {
    /// Its offset in the partition.
    pub offset: i64,
    /// Milliseconds since 1970-01-01 UTC.
    pub timestamp_ms: i64,
    /// Null where the producer gave none.
    pub key: Option<&'b [u8]>,
    /// Null in a tombstone.
    pub value: Option<&'b [u8]>,
    /// Checked, and walked without a `Result`.
    pub headers: Headers<'b>,
}

/// The records of one batch. After an error there is nothing more.
#[derive(Clone, Debug)]
pub struct Records<'b> {
    reader: Reader<'b>,
    header: Header,
    left: i32,
}

impl<'b> Iterator for Records<'b> {
    type Item = Result<Record<'b>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            // -1: the end was reported, or an error was.
            self.left = -1;
            return match self.reader.finish("records") {
                Ok(()) => None,
                Err(error) => Some(Err(error)),
            };
        }
        if self.left < 0 {
            return None;
        }
        let record = take_record(&mut self.reader, &self.header);
        self.left = if record.is_ok() { self.left - 1 } else { -1 };
        Some(record)
    }
}

fn take_record<'b>(reader: &mut Reader<'b>, batch: &Header) -> Result<Record<'b>, Error> {
    let length = reader.take_varint("length")?;
    let Some(length) = reader.check_length("length", i64::from(length))? else {
        return Err(reader.malformed("length", Fault::Length));
    };
    let end = reader.remaining() - length;
    reader.take_i8("attributes")?;
    let timestamp_delta = reader.take_varlong("timestamp_delta")?;
    let offset_delta = reader.take_varint("offset_delta")?;
    let key = take_nullable(reader, "key")?;
    let value = take_nullable(reader, "value")?;
    let count = reader.take_varint("headers")?;
    if count < 0 {
        return Err(reader.malformed("headers", Fault::Length));
    }
    let headers = Headers {
        reader: reader.clone(),
        left: count,
    };
    for _ in 0..count {
        take_header(reader)?;
    }
    if reader.remaining() != end {
        return Err(reader.malformed("length", Fault::Length));
    }
    let timestamp_ms = if batch.attributes.log_append_time() {
        batch.max_timestamp
    } else {
        batch.base_timestamp.wrapping_add(timestamp_delta)
    };
    Ok(Record {
        offset: batch.base_offset.wrapping_add(i64::from(offset_delta)),
        timestamp_ms,
        key,
        value,
        headers,
    })
}

fn take_nullable<'b>(
    reader: &mut Reader<'b>,
    field: &'static str,
) -> Result<Option<&'b [u8]>, Error> {
    let length = i64::from(reader.take_varint(field)?);
    match reader.check_length(field, length)? {
        Some(length) => reader.take_slice(field, length).map(Some),
        None => Ok(None),
    }
}

fn take_header<'b>(reader: &mut Reader<'b>) -> Result<(&'b str, Option<&'b [u8]>), Error> {
    const FIELD: &str = "header key";
    let length = i64::from(reader.take_varint(FIELD)?);
    let Some(length) = reader.check_length(FIELD, length)? else {
        return Err(reader.malformed(FIELD, Fault::Null));
    };
    let key = reader.take_str(FIELD, length)?;
    Ok((key, take_nullable(reader, "header value")?))
}

/// The headers of one record: names, which may repeat, and values, which may be null.
#[derive(Clone, Debug)]
pub struct Headers<'b> {
    reader: Reader<'b>,
    left: i32,
}

impl<'b> Iterator for Headers<'b> {
    type Item = (&'b str, Option<&'b [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        take_header(&mut self.reader).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.left).unwrap_or_default();
        (left, Some(left))
    }
}

impl ExactSizeIterator for Headers<'_> {}

/// What a control record's key says. Numbers beyond the named ones concern brokers only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlType(pub i16);

impl ControlType {
    /// The producer's transaction ends, and its records since are not to be delivered.
    pub const ABORT: Self = Self(0);
    /// The producer's transaction ends, and its records count.
    pub const COMMIT: Self = Self(1);
}

/// Appends the marker that ends a transaction in one partition.
///
/// The coordinator writes it: `base_sequence` of the stamp is ignored, for markers have none.
pub fn put_end_marker(
    out: &mut Vec<u8>,
    kind: ControlType,
    timestamp_ms: i64,
    producer: ProducerStamp,
    coordinator_epoch: i32,
) {
    let start = out.len();
    out.resize(start + HEADER_BYTES, 0);
    // The record: 16 bytes; no timestamp or offset delta; a key of 4 bytes, a value of 6.
    const KEY_BYTES: i32 = 4;
    const VALUE_BYTES: i32 = 6;
    put_varint(out, 6 + KEY_BYTES + VALUE_BYTES);
    put_i8(out, 0);
    put_varlong(out, 0);
    put_varint(out, 0);
    put_varint(out, KEY_BYTES);
    put_i16(out, 0);
    put_i16(out, kind.0);
    put_varint(out, VALUE_BYTES);
    put_i16(out, 0);
    put_i32(out, coordinator_epoch);
    put_varint(out, 0);
    let header = Header {
        base_offset: 0,
        leader_epoch: -1,
        attributes: Attributes(Attributes::TRANSACTIONAL | Attributes::CONTROL),
        last_offset_delta: 0,
        base_timestamp: timestamp_ms,
        max_timestamp: timestamp_ms,
        producer_id: producer.producer_id,
        producer_epoch: producer.producer_epoch,
        base_sequence: -1,
        record_count: 1,
    };
    if let Some(batch) = out.get_mut(start..) {
        header.fill(batch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Written by the Java client; read back by an independent Python client.
    const GOLDEN: [(Codec, &str); 5] = [
        (
            Codec::NONE,
            "000000000000000000000053ffffffff021fa4ea580010000000020000018bcfe568000000018bcf\
             e568050000000000000fa00003000000070000000322000000046b310476310402680278026e010c\
             000a0201010010001304046b330000",
        ),
        (
            Codec::GZIP,
            "000000000000000000000067ffffffff02cbcbb0cc0011000000020000018bcfe568000000018bcf\
             e568050000000000000fa0000300000007000000031f8b08000000000000ff5362606060c9366429\
             336461ca60aa60ca63e461e0626264641060106661c936666000001bd49e1222000000",
        ),
        (
            Codec::SNAPPY,
            "000000000000000000000069ffffffff02bbb20d8d0012000000020000018bcfe568000000018bcf\
             e568050000000000000fa00003000000070000000382534e41505059000000000100000001000000\
             24228422000000046b310476310402680278026e010c000a0201010010001304046b330000",
        ),
        (
            Codec::LZ4,
            "000000000000000000000062ffffffff02c6868dc00013000000020000018bcfe568000000018bcf\
             e568050000000000000fa00003000000070000000304224d186040822200008022000000046b3104\
             76310402680278026e010c000a0201010010001304046b33000000000000",
        ),
        (
            Codec::ZSTD,
            "00000000000000000000005fffffffff025dca54aa0014000000020000018bcfe568000000018bcf\
             e568050000000000000fa00003000000070000000328b52ffd005810010022000000046b31047631\
             0402680278026e010c000a0201010010001304046b330000010000",
        ),
    ];
    const COMMIT: &str = "\
        000000000000002a00000042ffffffff02e909c2600030000000000000018bcfe568000000018bcf\
        e568000000000000000fa00003ffffffff000000012000000008000000010c00000000000500";
    const ABORT: &str = "\
        000000000000002a00000042ffffffff021d3714280030000000000000018bcfe568000000018bcf\
        e568000000000000000fa00003ffffffff000000012000000008000000000c00000000000500";

    const STAMP: ProducerStamp = ProducerStamp {
        producer_id: 4000,
        producer_epoch: 3,
        base_sequence: 7,
        transactional: true,
    };
    const T: i64 = 1_700_000_000_000;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    fn golden_builder() -> BatchBuilder {
        let mut open = BatchBuilder::new(1 << 20);
        let mut record = open.append(T);
        record.key(Some(b"k1"));
        record.value(Some(b"v1"));
        record.header("h", Some(b"x"));
        record.header("n", None);
        record.finish().unwrap();
        open.append(T + 5).finish().unwrap();
        let mut record = open.append(T - 10);
        record.key_with(|out| out.extend_from_slice(b"k3"));
        record.value_with(|_| ());
        record.finish().unwrap();
        open
    }

    #[test]
    fn batches_of_the_java_client_are_read() {
        for (codec, text) in GOLDEN {
            let bytes = hex(text);
            let view = BatchView::parse(&bytes).unwrap();
            let header = view.header();
            assert_eq!(header.attributes.codec(), codec);
            assert!(header.attributes.transactional() && !header.attributes.control());
            assert_eq!((header.producer_id, header.producer_epoch), (4000, 3));
            assert_eq!((header.base_sequence, header.last_sequence()), (7, 9));
            assert_eq!((header.base_timestamp, header.max_timestamp), (T, T + 5));
            let mut plain = Vec::new();
            let records: Vec<_> = view
                .records(&mut plain, 34)
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap();
            let [first, second, third] = &records[..] else {
                panic!("three records")
            };
            assert_eq!((first.offset, first.timestamp_ms), (0, T));
            assert_eq!(
                (first.key, first.value),
                (Some(&b"k1"[..]), Some(&b"v1"[..]))
            );
            let headers: Vec<_> = first.headers.clone().collect();
            assert_eq!(headers, [("h", Some(&b"x"[..])), ("n", None)]);
            assert_eq!((second.offset, second.timestamp_ms), (1, T + 5));
            assert_eq!(
                (second.key, second.value, second.headers.len()),
                (None, None, 0)
            );
            assert_eq!((third.offset, third.timestamp_ms), (2, T - 10));
            assert_eq!((third.key, third.value), (Some(&b"k3"[..]), Some(&b""[..])));
            if codec != Codec::NONE {
                assert!(
                    view.records(&mut Vec::new(), 33).is_err(),
                    "{codec:?} is bounded"
                );
            }
        }
    }

    #[test]
    fn batches_are_written_as_the_java_client_writes_them() {
        // gzip and zstd streams differ between versions of the libraries.
        for (codec, text) in GOLDEN {
            let mut compressor = Compressor::new(codec, None).unwrap();
            let batch = golden_builder().seal(STAMP, &mut compressor);
            if matches!(codec, Codec::NONE | Codec::SNAPPY | Codec::LZ4) {
                assert_eq!(batch.bytes(), hex(text), "{codec:?}");
            } else {
                let view = BatchView::parse(batch.bytes()).unwrap();
                let mut plain = Vec::new();
                assert_eq!(view.records(&mut plain, 34).unwrap().count(), 3);
                assert_eq!(plain, &hex(GOLDEN[0].1)[HEADER_BYTES..]);
            }
        }
    }

    #[test]
    fn markers_are_read_and_written() {
        for (kind, text) in [(ControlType::COMMIT, COMMIT), (ControlType::ABORT, ABORT)] {
            let bytes = hex(text);
            let view = BatchView::parse(&bytes).unwrap();
            assert_eq!(view.control(), Ok(Some(kind)));
            assert_eq!(view.header().base_offset, 42);
            let mut written = b"before".to_vec();
            put_end_marker(&mut written, kind, T, STAMP, 5);
            place(&mut written[6..], 42, -1);
            assert_eq!(written[6..], bytes);
        }
        let bytes = hex(GOLDEN[0].1);
        assert_eq!(BatchView::parse(&bytes).unwrap().control(), Ok(None));
    }

    #[test]
    fn a_new_stamp_is_as_if_sealed_with_it() {
        for codec in [Codec::NONE, Codec::SNAPPY] {
            let mut compressor = Compressor::new(codec, None).unwrap();
            let mut batch = golden_builder().seal(ProducerStamp::NONE, &mut compressor);
            batch.restamp(STAMP);
            let sealed = golden_builder().seal(STAMP, &mut compressor);
            assert_eq!(batch.bytes(), sealed.bytes());
            batch.restamp(ProducerStamp::NONE);
            let sealed = golden_builder().seal(ProducerStamp::NONE, &mut compressor);
            assert_eq!(batch.bytes(), sealed.bytes());
        }
    }

    #[test]
    fn an_unfinished_record_leaves_no_trace() {
        let mut open = golden_builder();
        for part in 0..4 {
            let mut record = open.append(T + 1_000_000);
            if part > 0 {
                record.key(Some(b"gone"));
            }
            if part > 1 {
                record.value_with(|out| out.extend_from_slice(&[7; 300]));
            }
            if part > 2 {
                record.header("gone", None);
            }
            drop(record);
        }
        let batch = open.seal(STAMP, &mut Compressor::none());
        assert_eq!(batch.bytes(), hex(GOLDEN[0].1));
        // The first record of a batch sets its base timestamp only when it is finished.
        let mut open = batch.recycle();
        drop(open.append(1));
        open.append(T).finish().unwrap();
        let batch = open.seal(STAMP, &mut Compressor::none());
        let view = BatchView::parse(batch.bytes()).unwrap();
        assert_eq!(
            (view.header().base_timestamp, view.header().max_timestamp),
            (T, T)
        );
    }

    #[test]
    fn a_full_batch_takes_no_record() {
        let mut open = BatchBuilder::new(100);
        let mut record = open.append(T);
        record.value(Some(&[0; 100]));
        assert_eq!(
            record.finish(),
            Err(AppendError::RecordTooLarge {
                bytes: 170,
                max: 100
            })
        );
        assert_eq!((open.is_empty(), open.byte_count()), (true, HEADER_BYTES));
        let mut record = open.append(T);
        record.value(Some(&[0; 32]));
        record.finish().unwrap();
        assert_eq!(open.byte_count(), 100);
        assert_eq!(open.append(T).finish(), Err(AppendError::Full));
        assert_eq!((open.record_count(), open.byte_count()), (1, 100));
    }

    #[test]
    fn lengths_slide_where_they_must() {
        // Around each width of a varint, in both directions, with more headers than a byte counts.
        let mut open = BatchBuilder::new(64 << 20);
        let sizes = [0, 63, 64, 0, 8191, 8192, 50, 2 << 20, 1, 1 << 20, 64];
        for (size, headers) in sizes
            .into_iter()
            .zip([0, 1, 63, 64, 65, 0, 200, 0, 64, 1, 0])
        {
            let mut record = open.append(T);
            record.key_with(|out| out.resize(out.len() + size, b'k'));
            record.value_with(|out| out.resize(out.len() + size, b'v'));
            for _ in 0..headers {
                record.header("h", Some(b"1"));
            }
            record.finish().unwrap();
        }
        let batch = open.seal(ProducerStamp::NONE, &mut Compressor::none());
        let view = BatchView::parse(batch.bytes()).unwrap();
        let mut plain = Vec::new();
        for (record, size) in view.records(&mut plain, 0).unwrap().zip(sizes) {
            let record = record.unwrap();
            assert_eq!(record.key, Some(&vec![b'k'; size][..]));
            assert_eq!(record.value, Some(&vec![b'v'; size][..]));
            assert!(
                record
                    .headers
                    .into_iter()
                    .all(|header| header == ("h", Some(&b"1"[..])))
            );
        }
    }

    #[test]
    fn every_flipped_bit_behind_the_crc_is_seen() {
        let bytes = hex(GOLDEN[0].1);
        for bit in CRC_AT * 8..bytes.len() * 8 {
            let mut broken = bytes.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(BatchView::parse(&broken).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn older_formats_and_impossible_lengths_are_named() {
        let fault = |at: usize, byte: u8| {
            let mut bytes = hex(GOLDEN[0].1);
            bytes[at] = byte;
            match BatchView::split(&bytes) {
                Err(Error::Malformed { fault, .. }) => Some(fault),
                _ => None,
            }
        };
        assert_eq!(fault(MAGIC_AT, 1), Some(Fault::Magic));
        assert_eq!(fault(BATCH_LENGTH_AT, 0xff), Some(Fault::Length));
        assert_eq!(fault(BATCH_LENGTH_AT + 3, 3), Some(Fault::Length));
        // Announced, not there: not yet, and nothing reserved.
        assert_eq!(fault(BATCH_LENGTH_AT, 0x7f), None);
    }

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(sequence_after(0, 5), 5);
        assert_eq!(sequence_after(i32::MAX, 1), 0);
        assert_eq!(sequence_after(i32::MAX - 1, 3), 1);
    }

    type Plain = (
        i64,
        Option<Vec<u8>>,
        Option<Vec<u8>>,
        Vec<(String, Option<Vec<u8>>)>,
    );

    fn bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..150))
    }

    fn records() -> impl Strategy<Value = Vec<Plain>> {
        let header = ("[a-zé]{0,4}", bytes());
        let record = (
            any::<i64>(),
            bytes(),
            bytes(),
            proptest::collection::vec(header, 0..4),
        );
        proptest::collection::vec(record, 1..12)
    }

    fn append(open: &mut BatchBuilder, (timestamp, key, value, headers): &Plain) {
        let mut record = open.append(*timestamp);
        record.key(key.as_deref());
        match value {
            Some(value) => record.value_with(|out| out.extend_from_slice(value)),
            None => record.value(None),
        }
        for (name, value) in headers {
            record.header(name, value.as_deref());
        }
        record.finish().unwrap();
    }

    fn read(view: &BatchView<'_>) -> Vec<Plain> {
        let mut plain = Vec::new();
        view.records(&mut plain, 1 << 20)
            .unwrap()
            .map(|record| {
                let record = record.unwrap();
                let headers = record
                    .headers
                    .map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)))
                    .collect();
                let (key, value) = (record.key, record.value);
                (
                    record.timestamp_ms,
                    key.map(<[u8]>::to_vec),
                    value.map(<[u8]>::to_vec),
                    headers,
                )
            })
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_sealed_parses_back(first in records(), second in records(), codec in 0u8..5) {
            let mut compressor = Compressor::new(Codec(codec), None).unwrap();
            let mut fetched = Vec::new();
            let mut ends = Vec::new();
            let mut open = BatchBuilder::new(1 << 20);
            for plain in [&first, &second] {
                for record in plain {
                    append(&mut open, record);
                }
                let batch = open.seal(STAMP, &mut compressor);
                let view = BatchView::parse(batch.bytes()).unwrap();
                prop_assert_eq!(&read(&view), plain);
                let largest = plain.iter().map(|record| record.0).max();
                prop_assert_eq!(Some(view.header().max_timestamp), largest);
                fetched.extend_from_slice(batch.bytes());
                ends.push(fetched.len());
                // The second batch is built in the memory of the first.
                open = batch.recycle();
            }
            let both: Vec<_> = Batches::new(&fetched).map(|view| read(&view.unwrap())).collect();
            prop_assert_eq!(both, [first, second]);
            // Every cut gives the batches that are whole, and no error.
            for cut in 0..fetched.len() {
                let whole = ends.iter().filter(|&&end| end <= cut).count();
                let mut batches = Batches::new(&fetched[..cut]);
                prop_assert_eq!(batches.by_ref().filter(Result::is_ok).count(), whole);
                let read = if whole == 0 { 0 } else { ends[0] };
                prop_assert_eq!(cut - batches.rest().len(), read);
            }
        }

        #[test]
        fn records_that_lie_are_malformed(
            noise in proptest::collection::vec(any::<u8>(), 0..80),
            count in 1..4,
        ) {
            // A header that is right over a body of noise: an error, or the body entirely read.
            let mut bytes = hex(GOLDEN[0].1);
            bytes.truncate(HEADER_BYTES);
            let mut header = *BatchView::parse(&hex(GOLDEN[0].1)).unwrap().header();
            bytes.extend_from_slice(&noise);
            header.record_count = count;
            header.last_offset_delta = count - 1;
            header.fill(&mut bytes);
            let view = BatchView::parse(&bytes).unwrap();
            let mut plain = Vec::new();
            let records: Vec<_> = view.records(&mut plain, 100).unwrap().collect();
            let whole = records.iter().filter(|record| record.is_ok()).count();
            prop_assert!(whole + 1 >= records.len());
            if whole == records.len() {
                prop_assert_eq!(whole, usize::try_from(count).unwrap());
            }
        }
    }
}
