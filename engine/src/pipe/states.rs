//! The states of a pipe that people ask for: each is told once when it is entered, and counted.

use std::cell::Cell;

/// What a pipe is doing, or waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// For PostgreSQL and Kafka to take the connections.
    Connecting,
    /// For another reader to let go of the slot.
    WaitingForSlot,
    /// Reading what committed before the snapshot.
    CatchingUp,
    /// Copying the tables.
    Snapshot,
    /// Following the slot.
    Streaming,
    /// For any broker to answer.
    BrokerAway,
    /// For a schema registry to answer.
    RegistryAway,
    /// For the next attempt, after a failure.
    Retrying,
    /// Finishing what is in flight.
    Stopping,
}

impl State {
    /// Every state, in the order of [`States::entered`].
    pub const ALL: [Self; 9] = [
        Self::Connecting,
        Self::WaitingForSlot,
        Self::CatchingUp,
        Self::Snapshot,
        Self::Streaming,
        Self::BrokerAway,
        Self::RegistryAway,
        Self::Retrying,
        Self::Stopping,
    ];

    /// In the log, and for counters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::WaitingForSlot => "waiting for the slot",
            Self::CatchingUp => "catching up",
            Self::Snapshot => "snapshot",
            Self::Streaming => "streaming",
            Self::BrokerAway => "broker away",
            Self::RegistryAway => "registry away",
            Self::Retrying => "retrying",
            Self::Stopping => "stopping",
        }
    }
}

/// The state of one connector, over all its attempts.
#[derive(Debug)]
pub(super) struct States {
    connector: String,
    current: Cell<Option<State>>,
    entered: [Cell<u64>; State::ALL.len()],
}

impl States {
    pub(super) fn new(connector: &str) -> Self {
        Self {
            connector: connector.to_owned(),
            current: Cell::new(None),
            entered: Default::default(),
        }
    }

    /// The pipe is in `state` from now on. What it was in before.
    pub(super) fn enter(&self, state: State) -> Option<State> {
        let before = self.current.replace(Some(state));
        if before != Some(state) {
            let entered = &self.entered[state as usize];
            entered.set(entered.get() + 1);
            let (connector, times) = (&self.connector, entered.get());
            tracing::info!(connector, times, "state: {}", state.name());
        }
        before
    }

    /// The pipe waits for a peer, or does no longer: then it is back in `usual`.
    pub(super) fn wait_for(&self, peer: State, away: bool, usual: State) {
        match self.current.get() {
            Some(current) if away && current == usual => drop(self.enter(peer)),
            Some(current) if !away && current == peer => drop(self.enter(usual)),
            _ => {}
        }
    }

    /// How often each was entered, in the order of [`State::ALL`].
    pub(super) fn entered(&self) -> [u64; State::ALL.len()] {
        State::ALL.map(|state| self.entered[state as usize].get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_counted_when_it_is_entered() {
        assert!(
            State::ALL
                .iter()
                .enumerate()
                .all(|(at, state)| *state as usize == at)
        );
        let states = States::new("c");
        states.enter(State::Streaming);
        states.enter(State::Streaming);
        for away in [true, true, false, false, true] {
            states.wait_for(State::BrokerAway, away, State::Streaming);
        }
        // Another wait is not taken for this one.
        states.wait_for(State::RegistryAway, false, State::Streaming);
        let entered = states.entered();
        assert_eq!(entered[State::Streaming as usize], 2);
        assert_eq!(entered[State::BrokerAway as usize], 2);
        assert_eq!(entered.iter().sum::<u64>(), 4);
    }
}
