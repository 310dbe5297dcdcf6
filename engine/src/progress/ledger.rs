//! Positions that wait for their records: what the broker has acknowledged decides how far the
//! stored offset, and after it the slot, may go.

use std::collections::VecDeque;

use super::offsets::StreamPosition;

/// Positions in the order of the stream, each with the token its records were marked with.
///
/// A token grows with each mark and covers every record appended before it. The ledger only ever
/// answers with the newest position that is wholly acknowledged, so entries between two
/// acknowledgements fold into one.
#[derive(Debug, Default)]
pub struct Ledger {
    waiting: VecDeque<(u64, StreamPosition)>,
    reached: Option<StreamPosition>,
}

impl Ledger {
    /// `position` is reached once every record marked with `token` or less is acknowledged.
    pub fn push(&mut self, token: u64, position: StreamPosition) {
        // No record since the entry before: it waits for the same acknowledgements.
        if let Some(last) = self.waiting.back_mut()
            && last.0 == token
        {
            last.1 = position;
            return;
        }
        debug_assert!(
            self.waiting.back().is_none_or(|last| last.0 < token),
            "tokens grow"
        );
        self.waiting.push_back((token, position));
    }

    /// Everything marked with `token` or less is acknowledged.
    pub fn acknowledge(&mut self, token: u64) {
        while let Some(&(next, position)) = self.waiting.front()
            && next <= token
        {
            self.reached = Some(position);
            self.waiting.pop_front();
        }
    }

    /// The newest position whose records, and all before them, are acknowledged.
    #[must_use]
    pub fn reached(&self) -> Option<&StreamPosition> {
        self.reached.as_ref()
    }

    /// Whether any position still waits.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use pgwire::lsn::Lsn;

    use super::*;

    fn at(lsn: u64) -> StreamPosition {
        StreamPosition::commit(Lsn(lsn), 0, 0)
    }

    #[test]
    fn the_low_water_mark_never_passes_a_waiting_record() {
        let mut ledger = Ledger::default();
        ledger.push(1, at(10));
        ledger.push(2, at(20));
        ledger.push(2, at(25));
        ledger.push(5, at(50));
        assert_eq!(ledger.reached(), None);
        ledger.acknowledge(1);
        assert_eq!(ledger.reached(), Some(&at(10)));
        ledger.acknowledge(4);
        assert_eq!(ledger.reached(), Some(&at(25)));
        assert!(!ledger.is_settled());
        ledger.acknowledge(5);
        assert_eq!(ledger.reached(), Some(&at(50)));
        assert!(ledger.is_settled());
    }
}
