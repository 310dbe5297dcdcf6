//! What the broker must remember besides the logs: topics, committed offsets, transactions.
//!
//! One file, one JSON object per line, appended as things happen and read when the broker starts;
//! of several lines about the same thing the last one counts. It is rewritten, shorter, when it has
//! grown to several times what it needs. A line that a crash cut short is dropped. Without a file
//! nothing is remembered.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::membership::Committed;
use super::transaction::Transaction;

/// Lines that a journal may have whatever it needs.
const LINES_MIN: usize = 10_000;
/// Beyond those, so many times the lines it needs.
const GROWTH: usize = 4;

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(super) enum Entry {
    /// The cluster's id.
    Cluster {
        id: String,
    },
    /// Producer ids below this one may have been given out.
    ProducerIds {
        below: i64,
    },
    Topic {
        name: String,
        id: [u8; 16],
        partitions: usize,
        configs: BTreeMap<String, String>,
    },
    TopicGone {
        name: String,
    },
    Offset {
        group: String,
        topic: String,
        partition: i32,
        committed: Committed,
    },
    GroupGone {
        group: String,
    },
    Transaction {
        transactional_id: String,
        transaction: Transaction,
    },
}

#[derive(Debug)]
pub(super) struct Journal {
    file: Option<(PathBuf, File)>,
    lines: usize,
    lines_max: usize,
}

impl Journal {
    pub(super) fn in_memory() -> Self {
        Self {
            file: None,
            lines: 0,
            lines_max: usize::MAX,
        }
    }

    /// Opens or creates the file, and answers what it says.
    ///
    /// Errors: those of the file system; `InvalidData` for a line, other than an unfinished last
    /// one, that cannot be read.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Vec<Entry>)> {
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).open(path)?;
        let text = std::fs::read(path)?;
        let mut entries = Vec::new();
        let mut whole = 0;
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            let Some(line) = line.strip_suffix(b"\n") else {
                break;
            };
            let entry = serde_json::from_slice(line).map_err(|error| {
                let text = format!("{} at byte {whole}: {error}", path.display());
                io::Error::new(io::ErrorKind::InvalidData, text)
            })?;
            entries.push(entry);
            whole += line.len() + 1;
        }
        file.set_len(whole as u64)?;
        let lines = entries.len();
        let journal = Self {
            file: Some((path.to_owned(), file)),
            lines,
            lines_max: LINES_MIN,
        };
        Ok((journal, entries))
    }

    /// Appends one line; it has reached the file when this returns.
    pub(super) fn append(&mut self, entry: &Entry) -> io::Result<()> {
        if let Some((_, file)) = &mut self.file {
            let mut line = serde_json::to_vec(entry)?;
            line.push(b'\n');
            file.write_all(&line)?;
            self.lines += 1;
        }
        Ok(())
    }

    /// Whether the file has grown enough to be worth rewriting.
    pub(super) fn is_long(&self) -> bool {
        self.lines > self.lines_max
    }

    /// Puts these entries in the place of all there are, at once.
    pub(super) fn rewrite(&mut self, entries: &[Entry]) -> io::Result<()> {
        let Some((path, file)) = &mut self.file else {
            return Ok(());
        };
        let new_path = path.with_extension("new");
        let mut text = Vec::new();
        for entry in entries {
            serde_json::to_writer(&mut text, entry)?;
            text.push(b'\n');
        }
        std::fs::write(&new_path, &text)?;
        let new = OpenOptions::new().read(true).append(true).open(&new_path)?;
        new.sync_data()?;
        std::fs::rename(&new_path, path)?;
        *file = new;
        self.lines = entries.len();
        self.lines_max = LINES_MIN.max(entries.len() * GROWTH);
        Ok(())
    }

    /// Waits until the disk has it.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.file
            .as_ref()
            .map_or(Ok(()), |(_, file)| file.sync_data())
    }
}
