//! The batches of one partition, back to back, in segments: files, or memory.
//!
//! ```text
//!   00000000000000000000.log   batch | batch | batch ..     base offset of its first batch
//!   00000000000000004711.log   batch | batch ..             the last one grows
//! ```
//!
//! Nothing is deleted and nothing is compacted, so offsets have no gaps. Each segment keeps a
//! sparse index in memory; the headers between two entries are walked. Appends reach the file
//! before they are answered, the disk when a segment is full and when the broker stops: what a
//! killed process had acknowledged survives, what a machine without power had may not.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use kafkawire::batch::{self, BatchView, HEADER_BYTES, Header};

/// A segment that has this much takes no further batch.
const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// The same in memory, where growing a segment moves it.
const MEMORY_SEGMENT_BYTES_MAX: u64 = 4 << 20;
/// Bytes of log between two entries of the index.
const INDEX_INTERVAL: u64 = 4096;
/// Bytes read at once while a log is opened.
const SCAN_BYTES: usize = 1 << 20;
/// There is one leader, and it has always been this one.
pub(super) const LEADER_EPOCH: i32 = 0;

#[derive(Debug)]
pub(super) struct Log {
    /// Where segments are files; none: in memory.
    dir: Option<PathBuf>,
    /// By base offset; empty until the first batch.
    segments: Vec<Segment>,
    end: i64,
}

#[derive(Debug)]
struct Segment {
    base_offset: i64,
    store: Store,
    size: u64,
    max_timestamp: i64,
    index: Vec<Entry>,
}

#[derive(Debug)]
enum Store {
    Memory(Vec<u8>),
    File(File),
}

/// A batch begins at `position` and has `base_offset`.
#[derive(Debug, Clone, Copy)]
struct Entry {
    base_offset: i64,
    position: u64,
}

impl Log {
    pub(super) fn in_memory() -> Self {
        Self {
            dir: None,
            segments: Vec::new(),
            end: 0,
        }
    }

    /// Opens the log in `dir`, which is created if need be, and shows every batch to `visit`.
    ///
    /// A tail that is no whole batch is cut off the last segment: a write that a crash tore.
    /// Errors: those of the file system; `InvalidData` for a broken batch anywhere else.
    pub(super) fn open(dir: PathBuf, mut visit: impl FnMut(&BatchView<'_>)) -> io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        let mut bases = Vec::new();
        for entry in std::fs::read_dir(&dir)? {
            let name = entry?.file_name();
            let base = name.to_str().and_then(|name| name.strip_suffix(".log"));
            bases.extend(base.and_then(|base| base.parse::<i64>().ok()));
        }
        bases.sort_unstable();
        let mut log = Self {
            dir: None,
            segments: Vec::new(),
            end: 0,
        };
        for (i, &base_offset) in bases.iter().enumerate() {
            let path = segment_path(&dir, base_offset);
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            let stored = file.metadata()?.len();
            let broken = |what: &str| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{}: {what}", path.display()),
                )
            };
            if base_offset != log.end {
                return Err(broken("does not continue the segment before it"));
            }
            let mut segment = Segment::new(base_offset, Store::File(file));
            let mut end = log.end;
            segment.scan(stored, |segment, view| {
                if view.header().base_offset != end {
                    return false;
                }
                end = view.header().last_offset() + 1;
                segment.note(view.header(), view.bytes().len());
                visit(view);
                true
            })?;
            if segment.size < stored {
                if i + 1 < bases.len() {
                    return Err(broken(&format!("is broken at byte {}", segment.size)));
                }
                tracing::warn!(
                    "{}: cutting {} bytes of an unfinished write",
                    path.display(),
                    stored - segment.size
                );
                if let Store::File(file) = &segment.store {
                    file.set_len(segment.size)?;
                }
            }
            log.end = end;
            log.segments.push(segment);
        }
        log.dir = Some(dir);
        Ok(log)
    }

    /// The offset that the next record gets; also the high watermark.
    pub(super) fn end(&self) -> i64 {
        self.end
    }

    /// The first offset.
    pub(super) fn start(&self) -> i64 {
        self.segments
            .first()
            .map_or(self.end, |segment| segment.base_offset)
    }

    /// Appends one batch, placed at the end; answers its base offset.
    ///
    /// Errors: those of the file system; the log is then as it was.
    pub(super) fn append(&mut self, batch: &BatchView<'_>) -> io::Result<i64> {
        let base_offset = self.end;
        let segment = self.segment_for_append()?;
        segment.append(batch, base_offset)?;
        self.end = base_offset + i64::from(batch.header().last_offset_delta) + 1;
        Ok(base_offset)
    }

    fn segment_for_append(&mut self) -> io::Result<&mut Segment> {
        let full = match self.segments.last() {
            None => true,
            Some(Segment {
                size,
                store: Store::Memory(_),
                ..
            }) => *size >= MEMORY_SEGMENT_BYTES_MAX,
            Some(Segment {
                size,
                store: Store::File(_),
                ..
            }) => *size >= SEGMENT_BYTES_MAX,
        };
        if full {
            self.flush()?;
            let store = match &self.dir {
                None => Store::Memory(Vec::new()),
                Some(dir) => {
                    let path = segment_path(dir, self.end);
                    let mut options = OpenOptions::new();
                    // A file of that name is what a failed append left.
                    options.read(true).write(true).create(true).truncate(true);
                    Store::File(options.open(path)?)
                }
            };
            self.segments.push(Segment::new(self.end, store));
        }
        self.segments
            .last_mut()
            .ok_or_else(|| io::Error::other("a log has no segment"))
    }

    /// Waits until the disk has the last segment; those before it were waited for.
    pub(super) fn flush(&self) -> io::Result<()> {
        match self.segments.last() {
            Some(Segment {
                store: Store::File(file),
                ..
            }) => file.sync_data(),
            _ => Ok(()),
        }
    }

    /// About how many bytes there are from `offset` on: exact at the end, elsewhere too high by at
    /// most an interval of the index.
    pub(super) fn bytes_from(&self, offset: i64) -> u64 {
        if offset >= self.end {
            return 0;
        }
        let at = self.segment_of(offset);
        let after = self.segments.get(at + 1..).unwrap_or_default();
        let here = self.segments.get(at).map_or(0, |segment| {
            segment.size
                - segment
                    .entry_before(offset)
                    .map_or(0, |entry| entry.position)
        });
        here + after.iter().map(|segment| segment.size).sum::<u64>()
    }

    /// Appends whole batches to `out`, from the one that contains `offset` on, those that begin
    /// below `bound`, at most `bytes_max` bytes of one segment. With `progress` the first batch is
    /// taken whatever its size, so that a reader is never stuck.
    pub(super) fn read(
        &self,
        offset: i64,
        bound: i64,
        bytes_max: usize,
        progress: bool,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        if offset >= bound.min(self.end) {
            return Ok(());
        }
        let Some(segment) = self.segments.get(self.segment_of(offset)) else {
            return Ok(());
        };
        let (position, _, size) = segment.find(offset, |header| header.last_offset() >= offset)?;
        if size > bytes_max && !progress {
            return Ok(());
        }
        let left = usize::try_from(segment.size - position).unwrap_or(usize::MAX);
        let start = out.len();
        segment.read_at(position, left.min(bytes_max.max(size)), out)?;
        // Keep what is whole and below the bound.
        let mut kept = start;
        while let Some(rest) = out.get(kept..)
            && let Ok(Some((header, size))) = batch::peek(rest)
            && size <= rest.len()
            && header.base_offset < bound
        {
            kept += size;
        }
        out.truncate(kept);
        Ok(())
    }

    /// The first batch that has a record of `timestamp` or later: its bytes.
    pub(super) fn first_since(&self, timestamp: i64) -> io::Result<Option<Vec<u8>>> {
        let late = |segment: &&Segment| segment.max_timestamp >= timestamp;
        let Some(segment) = self.segments.iter().find(late) else {
            return Ok(None);
        };
        self.batch_in(segment, |header| header.max_timestamp >= timestamp)
            .map(Some)
    }

    /// The first batch that has a record of the largest timestamp there is.
    pub(super) fn latest(&self) -> io::Result<Option<Vec<u8>>> {
        match self
            .segments
            .iter()
            .map(|segment| segment.max_timestamp)
            .max()
        {
            None => Ok(None),
            Some(timestamp) => self.first_since(timestamp),
        }
    }

    fn batch_in(&self, segment: &Segment, wanted: impl Fn(&Header) -> bool) -> io::Result<Vec<u8>> {
        let (position, _, size) = segment.find(segment.base_offset, wanted)?;
        let mut bytes = Vec::new();
        segment.read_at(position, size, &mut bytes)?;
        Ok(bytes)
    }

    /// Index of the segment that `offset` is in.
    fn segment_of(&self, offset: i64) -> usize {
        self.segments
            .partition_point(|segment| segment.base_offset <= offset)
            .saturating_sub(1)
    }
}

impl Segment {
    fn new(base_offset: i64, store: Store) -> Self {
        Self {
            base_offset,
            store,
            size: 0,
            max_timestamp: i64::MIN,
            index: Vec::new(),
        }
    }

    fn append(&mut self, batch: &BatchView<'_>, base_offset: i64) -> io::Result<()> {
        /// Base offset, length and leader epoch: what `place` changes, and what lies between.
        const PLACED: usize = 16;
        let bytes = batch.bytes();
        match &mut self.store {
            Store::Memory(stored) => {
                let at = stored.len();
                stored.extend_from_slice(bytes);
                batch::place(
                    stored.get_mut(at..).unwrap_or_default(),
                    base_offset,
                    LEADER_EPOCH,
                );
            }
            Store::File(file) => {
                let (head, body) = bytes
                    .split_first_chunk::<PLACED>()
                    .unwrap_or((&[0; 16], &[]));
                let mut head = *head;
                batch::place(&mut head, base_offset, LEADER_EPOCH);
                // Body first: as long as the head is missing, nothing parses here. What a failed
                // write leaves is overwritten by the next, or cut when the log is opened.
                file.write_all_at(body, self.size + PLACED as u64)?;
                file.write_all_at(&head, self.size)?;
            }
        }
        let header = Header {
            base_offset,
            ..*batch.header()
        };
        self.note(&header, bytes.len());
        Ok(())
    }

    /// Counts a batch at the segment's end.
    fn note(&mut self, header: &Header, size: usize) {
        let far = |entry: &Entry| self.size - entry.position >= INDEX_INTERVAL;
        if self.index.last().is_none_or(far) {
            self.index.push(Entry {
                base_offset: header.base_offset,
                position: self.size,
            });
        }
        self.size += size as u64;
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
    }

    fn entry_before(&self, offset: i64) -> Option<Entry> {
        let after = self
            .index
            .partition_point(|entry| entry.base_offset <= offset);
        self.index.get(after.checked_sub(1)?).copied()
    }

    /// The first batch that is `wanted`, looked for from the index entry at or before `offset`.
    fn find(
        &self,
        offset: i64,
        wanted: impl Fn(&Header) -> bool,
    ) -> io::Result<(u64, Header, usize)> {
        let mut position = self.entry_before(offset).map_or(0, |entry| entry.position);
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        while position < self.size {
            bytes.clear();
            self.read_at(position, HEADER_BYTES, &mut bytes)?;
            let Ok(Some((header, size))) = batch::peek(&bytes) else {
                break;
            };
            if wanted(&header) {
                return Ok((position, header, size));
            }
            position += size as u64;
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a batch of the log is gone",
        ))
    }

    fn read_at(&self, position: u64, count: usize, out: &mut Vec<u8>) -> io::Result<()> {
        match &self.store {
            Store::Memory(stored) => {
                let from = usize::try_from(position).unwrap_or(usize::MAX);
                let bytes = stored.get(from..).and_then(|rest| rest.get(..count));
                out.extend_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
            Store::File(file) => {
                let start = out.len();
                out.resize(start + count, 0);
                file.read_exact_at(out.get_mut(start..).unwrap_or_default(), position)
            }
        }
    }

    /// Shows every batch of a file to `accept` until it refuses one, or one is not whole.
    fn scan(
        &mut self,
        stored: u64,
        mut accept: impl FnMut(&mut Self, &BatchView<'_>) -> bool,
    ) -> io::Result<()> {
        let mut buffer = Vec::new();
        let mut wanted = SCAN_BYTES;
        while self.size < stored {
            let left = usize::try_from(stored - self.size).unwrap_or(usize::MAX);
            buffer.clear();
            self.read_at(self.size, wanted.min(left), &mut buffer)?;
            let mut used = 0;
            while let Ok(Some((view, _))) = BatchView::split(buffer.get(used..).unwrap_or_default())
            {
                if !accept(self, &view) {
                    return Ok(());
                }
                used += view.bytes().len();
            }
            wanted = match batch::batch_size(&buffer) {
                _ if used > 0 => SCAN_BYTES,
                // Longer than what was read, and the file has that much.
                Ok(Some(size)) if size > buffer.len() && size <= left => size,
                _ => return Ok(()),
            };
        }
        Ok(())
    }
}

fn segment_path(dir: &Path, base_offset: i64) -> PathBuf {
    dir.join(format!("{base_offset:020}.log"))
}
