//! Room: acknowledgements in, the position that may be confirmed out.

pub mod ledger;
pub mod offsets;
