//! `penstock demo`: the whole product on one screen.

pub mod shopper;
