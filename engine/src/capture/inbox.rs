//! The receive buffer: filled at the tail by the socket, consumed at the head by the parsers.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// Bytes that arrived and were not consumed yet, contiguous, in one allocation that is kept.
///
/// ```text
///   | consumed .. | bytes() .. | room .. |
///   0           head         tail     capacity
/// ```
///
/// What is left at the front moves to the start only when the room at the end has become small, so
/// a byte is moved at most once and most never. The buffer grows only while a single message is
/// larger than it, by doubling with what has arrived, never by what a length announces; it falls
/// back to its first size once that message is consumed.
#[derive(Debug)]
pub struct Inbox {
    buffer: Vec<u8>,
    head: usize,
    tail: usize,
    capacity: usize,
    capacity_max: usize,
}

impl Inbox {
    /// A buffer of `capacity` bytes that may grow to `capacity_max` for one large message.
    #[must_use]
    pub fn new(capacity: usize, capacity_max: usize) -> Self {
        Self {
            buffer: vec![0; capacity],
            head: 0,
            tail: 0,
            capacity,
            capacity_max,
        }
    }

    /// The same, beginning with bytes that have arrived already.
    #[must_use]
    pub fn holding(bytes: &[u8], capacity: usize, capacity_max: usize) -> Self {
        let mut inbox = Self::new(capacity.max(bytes.len()), capacity_max);
        inbox.buffer[..bytes.len()].copy_from_slice(bytes);
        inbox.tail = bytes.len();
        inbox
    }

    /// What arrived and was not consumed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.head..self.tail]
    }

    /// The same, to be rewritten in place.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.head..self.tail]
    }

    /// Whether nothing is waiting.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// Takes `n` bytes off the head. Panics when there are fewer: a parser of ours counted wrong.
    pub fn consume(&mut self, n: usize) {
        assert!(
            n <= self.tail - self.head,
            "consume({n}) of {} bytes",
            self.tail - self.head
        );
        self.head += n;
        if self.head == self.tail {
            self.head = 0;
            self.tail = 0;
            if self.buffer.len() > self.capacity {
                self.buffer = vec![0; self.capacity];
            }
        }
    }

    /// Reads once from `stream` to the tail; as many bytes as it has and fit. Cancel-safe.
    ///
    /// Errors: the stream's; `UnexpectedEof` at its end; `OutOfMemory` when one message does not
    /// fit into the largest size allowed.
    pub async fn fill(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(stream, cx)).await
    }

    /// As [`Self::fill`], for a caller that polls more than this.
    ///
    /// Errors: as [`Self::fill`].
    pub fn poll_fill(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.make_room()?;
        let mut room = ReadBuf::new(&mut self.buffer[self.tail..]);
        ready!(Pin::new(stream).poll_read(cx, &mut room))?;
        let n = room.filled().len();
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.tail += n;
        Poll::Ready(Ok(n))
    }

    fn make_room(&mut self) -> io::Result<()> {
        // A quarter: a read is worth its system call, and the bytes moved are few.
        if self.buffer.len() - self.tail >= self.capacity / 4 {
            return Ok(());
        }
        if self.head > 0 {
            self.buffer.copy_within(self.head..self.tail, 0);
            self.tail -= self.head;
            self.head = 0;
        }
        if self.buffer.len() - self.tail < self.capacity / 4 {
            let doubled = (self.buffer.len() * 2).min(self.capacity_max);
            if doubled == self.tail {
                return Err(io::Error::new(
                    io::ErrorKind::OutOfMemory,
                    format!("one message is larger than {} bytes", self.capacity_max),
                ));
            }
            self.buffer.resize(doubled, 0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_come_out_as_they_went_in_whatever_the_steps() {
        let source: Vec<u8> = (0..20_000u32).flat_map(u32::to_be_bytes).collect();
        let mut stream = &source[..];
        let mut inbox = Inbox::new(1024, 4096);
        let mut out = Vec::new();
        let mut step = 1;
        while out.len() < source.len() {
            if !stream.is_empty() {
                inbox.fill(&mut stream).await.unwrap();
            }
            let n = inbox.bytes().len().min(step);
            out.extend_from_slice(&inbox.bytes()[..n]);
            inbox.consume(n);
            step = step % 700 + 13;
            while inbox.bytes().len() > 2000 {
                let n = inbox.bytes().len() / 2;
                out.extend_from_slice(&inbox.bytes()[..n]);
                inbox.consume(n);
            }
        }
        assert_eq!(out, source);
    }

    #[tokio::test]
    async fn one_large_message_makes_it_grow_and_then_it_shrinks() {
        let source = vec![7u8; 3000];
        let mut stream = &source[..];
        let mut inbox = Inbox::new(1024, 4096);
        while inbox.bytes().len() < 3000 {
            inbox.fill(&mut stream).await.unwrap();
        }
        inbox.consume(3000);
        assert_eq!(inbox.buffer.len(), 1024);
        let mut endless = tokio::io::repeat(1);
        let error = loop {
            if let Err(error) = inbox.fill(&mut endless).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
    }
}
