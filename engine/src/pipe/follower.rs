//! The offset file of a standalone Kafka Connect, kept behind what is stored in Kafka.
//!
//! ```text
//!   position stored ─► file written ─► slot confirmed
//! ```
//!
//! So the slot never stands behind the file: whoever goes on from there finds all that it asks for,
//! however this process ended. Kafka's own record of the position stays the truth.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::error::{Blame, Error};
use crate::net;
use crate::progress::offset_file;
use crate::progress::offsets::StreamPosition;

/// What is written: a position, if it is one of the stream, and its value as it is stored.
type Filed = (Option<StreamPosition>, Vec<u8>);

/// One connector's entry in the file.
#[derive(Debug)]
pub(super) struct Follower {
    path: PathBuf,
    key: Vec<u8>,
    interval: Duration,
    /// Stored in Kafka, and not in the file yet.
    due: Option<Filed>,
    /// On its way to the disk, which may take its time.
    writing: Option<(Option<StreamPosition>, JoinHandle<io::Result<()>>)>,
    /// How the last writing ended, and what it was of.
    outcome: Option<(Option<StreamPosition>, io::Result<()>)>,
    began_at: Instant,
}

impl Follower {
    /// A follower that writes into `path` every `interval` at most.
    ///
    /// Errors: nobody may write there.
    pub(super) fn new(path: &str, key: Vec<u8>, interval: Duration) -> Result<Self, Error> {
        let path = PathBuf::from(path);
        offset_file::check(&path).map_err(|why| unwritable(&path, &why, false))?;
        Ok(Self {
            path,
            key,
            interval,
            due: None,
            writing: None,
            outcome: None,
            began_at: net::now(),
        })
    }

    /// A position was stored.
    pub(super) fn follow(&mut self, position: Option<StreamPosition>, value: Vec<u8>) {
        self.due = Some((position, value));
    }

    /// Begins to write what is due, and tells of a position that the file has now.
    ///
    /// Errors: the file's.
    pub(super) fn advance(&mut self, urgent: bool) -> Result<Option<StreamPosition>, Error> {
        let written = match self.outcome.take() {
            Some((position, result)) => {
                result.map_err(|why| unwritable(&self.path, &why, true))?;
                position
            }
            None => None,
        };
        if urgent || self.deadline().is_some_and(|due| due <= net::now()) {
            self.begin();
        }
        Ok(written)
    }

    /// When something is to be written next; none while it is, which [`Self::poll`] tells the end of.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let idle = self.writing.is_none() && self.due.is_some();
        idle.then(|| self.began_at + self.interval)
    }

    /// Ready when a writing has ended.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((position, handle)) = &mut self.writing else {
            return Poll::Pending;
        };
        let Poll::Ready(result) = Pin::new(handle).poll(cx) else {
            return Poll::Pending;
        };
        // It was not cancelled, and a panic is one of ours.
        let result = result.unwrap_or_else(|why| Err(io::Error::other(why)));
        self.outcome = Some((*position, result));
        self.writing = None;
        Poll::Ready(())
    }

    /// Writes all that is due; the answer is the position that the file has then, if it is another.
    ///
    /// Errors: the file's.
    pub(super) async fn settle(&mut self) -> Result<Option<StreamPosition>, Error> {
        let mut written = None;
        loop {
            written = self.advance(true)?.or(written);
            if self.writing.is_none() {
                return Ok(written);
            }
            std::future::poll_fn(|cx| self.poll(cx)).await;
        }
    }

    fn begin(&mut self) {
        if self.writing.is_some() {
            return;
        }
        let Some((position, value)) = self.due.take() else {
            return;
        };
        let (path, key) = (self.path.clone(), self.key.clone());
        let write = move || offset_file::store(&path, &key, &value);
        self.writing = Some((position, tokio::task::spawn_blocking(write)));
        self.began_at = net::now();
    }
}

fn unwritable(path: &Path, why: &io::Error, retriable: bool) -> Error {
    let what = format!("offset.storage.file.filename {}", path.display());
    let mut error = Error::fatal(Blame::Configuration, what, why).remedy(
        "the directory must be writable, too; or remove the property, if no Kafka Connect is to go \
         on from this file",
    );
    error.retriable = retriable;
    error
}
