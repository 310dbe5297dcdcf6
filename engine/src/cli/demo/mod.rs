//! `penstock demo`: the whole product on one screen.

pub mod change;
pub mod follow;
pub mod latency;
pub mod screen;
pub mod shopper;
pub mod watch;
