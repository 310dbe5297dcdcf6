//! Room: a change in, bytes of a record out.
