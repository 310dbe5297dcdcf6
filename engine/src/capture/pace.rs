//! How many bytes to let arrive before the stream is read: any while it is quiet, more the faster it
//! comes.

use std::time::Duration;

use tokio::time::Instant;

/// The server sends each message by itself. A reader that is faster is woken by each, and both pay
/// for it: the wake-up is more work than the row. So under load the kernel is asked to wake us only
/// when as much is there as comes in [`WAIT_MICROS`], which follows from how fast the last ones came;
/// when they fail to come for [`PATIENCE`], or come slowly, any byte wakes us. What is caught up
/// with is so never waited for, and what is behind is late already.
///
/// Order of calls: [`read`](Self::read) after each read; [`deadline`](Self::deadline), and at it
/// [`expire`](Self::expire). The last two change [`mark`](Self::mark).
#[derive(Debug)]
pub struct Pace {
    mark: usize,
    /// Bytes a millisecond, lately.
    rate: usize,
    read_at: Instant,
    /// Since when the mark is waited for; other things may happen meanwhile.
    waiting: Option<Instant>,
}

/// How much later a row may be read for it, under load.
const WAIT_MICROS: usize = 2000;
/// Of how much time before the rate is the mean.
const MEMORY: Duration = Duration::from_millis(4);
/// When bytes fail to come for so long, the load is over.
const PATIENCE: Duration = Duration::from_millis(4);
/// A mark below this saves little, and who asks for 10 000 transactions a second wants them soon.
const MARK_MIN: usize = 20 << 10;
/// More at once saves little, and the kernel's buffer must hold several times as much: it counts
/// the room that each small segment takes, not its bytes.
const MARK_MAX: usize = 64 << 10;
/// What the kernel's buffer is asked to be twice of.
pub const BUFFER_MARK: usize = 512 << 10;

impl Pace {
    /// Any byte wakes.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            mark: 1,
            rate: 0,
            read_at: now,
            waiting: None,
        }
    }

    /// The bytes that must have arrived.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.mark
    }

    /// Whether bytes come so fast that they are taken in pieces.
    #[must_use]
    pub fn rushes(&self) -> bool {
        self.mark > 1
    }

    /// So many bytes were read.
    pub fn read(&mut self, bytes: usize, now: Instant) {
        let since = now.duration_since(self.read_at).min(MEMORY);
        self.read_at = now;
        self.waiting = None;
        // The mean over the time before: a burst must last to be believed.
        let kept = (MEMORY - since).as_micros();
        let sum = self.rate as u128 * kept + bytes as u128 * 1000;
        self.rate = usize::try_from(sum / MEMORY.as_micros()).unwrap_or(usize::MAX);
        let wanted = self.rate.saturating_mul(WAIT_MICROS) / 1000;
        if wanted < MARK_MIN {
            self.mark = 1;
        } else if wanted > self.mark * 2 || wanted < self.mark / 2 {
            // Nearly the same is the same: each change is a system call.
            self.mark = wanted.min(MARK_MAX);
        }
    }

    /// When to give up waiting for the mark; none: any byte wakes.
    #[must_use]
    pub fn deadline(&mut self, now: Instant) -> Option<Instant> {
        if self.mark == 1 {
            return None;
        }
        let since = *self.waiting.get_or_insert(now);
        Some(since + PATIENCE)
    }

    /// Nothing was read by the deadline.
    pub fn expire(&mut self) {
        self.mark = 1;
        self.rate = 0;
        self.waiting = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `bytes` each `micros`, `times` times; the mark after it.
    fn run(pace: &mut Pace, at: &mut Instant, bytes: usize, micros: u64, times: u32) -> usize {
        for _ in 0..times {
            *at += Duration::from_micros(micros);
            pace.read(bytes, *at);
        }
        pace.mark()
    }

    #[tokio::test]
    async fn a_quiet_stream_is_never_waited_for() {
        let mut at = crate::net::now();
        let mut pace = Pace::new(at);
        // 1 000 and 10 000 one-row transactions a second, and a burst of a hundred rows.
        assert_eq!(run(&mut pace, &mut at, 350, 1000, 100), 1);
        assert_eq!(run(&mut pace, &mut at, 350, 100, 100), 1);
        assert_eq!(run(&mut pace, &mut at, 160, 4, 100), 1);
        assert_eq!(pace.deadline(at), None);
    }

    #[tokio::test]
    async fn a_fast_stream_is_read_in_pieces_until_it_ends() {
        let mut at = crate::net::now();
        let mut pace = Pace::new(at);
        let mark = run(&mut pace, &mut at, 80, 4, 4000);
        // Half of what comes in the time is as good: each change of the mark is a system call.
        assert!((20 << 10..=40 << 10).contains(&mark), "{mark}");
        assert_eq!(run(&mut pace, &mut at, mark, 2000, 100), mark, "it stays");
        assert!(pace.rushes());
        assert!(run(&mut pace, &mut at, 1 << 20, 100, 100) <= MARK_MAX);
        assert!(pace.deadline(at).is_some());
        pace.expire();
        assert_eq!((pace.mark(), pace.deadline(at)), (1, None));
        run(&mut pace, &mut at, 160, 3, 4000);
        assert_eq!(run(&mut pace, &mut at, 350, 1000, 30), 1);
    }
}
