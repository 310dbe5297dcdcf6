//! Room: acknowledgements in, the position that may be confirmed out.

pub mod copied;
pub mod ledger;
pub mod offset_file;
pub mod offsets;
