//! The errors of this crate, sorted by blame.

use std::fmt;

/// Why bytes could not be understood, or a request not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The bytes break the grammar.
    Malformed {
        /// The structure that was read: `MetadataResponse`, `record batch`.
        message: &'static str,
        /// The field of it that does not fit.
        field: &'static str,
        /// Where the field begins, in bytes from the structure's first.
        at: usize,
        /// What is wrong with it.
        fault: Fault,
    },
    /// Good bytes at a wrong moment.
    Unexpected {
        /// What was being waited for.
        state: &'static str,
        /// What came.
        message: &'static str,
    },
    /// Nothing in common with this peer.
    Unsupported {
        /// The API: `Produce`; or the feature: `SASL mechanism`.
        api: &'static str,
        /// Lowest and highest version that we speak.
        ours: (i16, i16),
        /// Lowest and highest version that the peer serves; none: it does not know the API.
        theirs: Option<(i16, i16)>,
    },
    /// The peer said no.
    Refused {
        /// The API that was asked.
        api: &'static str,
        /// Kafka's error number.
        code: i16,
    },
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The bytes end before the field does.
    Truncated,
    /// A length or a count that is negative, or larger than any that can be meant.
    Length,
    /// Null where the grammar has none.
    Null,
    /// A string that is not UTF-8.
    Utf8,
    /// A varint with more bits than its type.
    Varint,
    /// Bytes are left after the structure's end.
    Trailing,
    /// Tags out of order, or a tagged value of another size than announced.
    Tag,
    /// A number of things that contradicts the things.
    Count,
    /// Another message format than v2.
    Magic,
    /// The CRC-32C of the bytes is not the one stated.
    Checksum,
    /// The codec's id is unknown, or its stream is broken.
    Compression,
    /// A value outside what the field may hold.
    Value,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the bytes end before it does",
            Self::Length => "its length is impossible",
            Self::Null => "it is null",
            Self::Utf8 => "it is not UTF-8",
            Self::Varint => "its varint is too long",
            Self::Trailing => "bytes are left after it",
            Self::Tag => "its tags are out of order or of a wrong size",
            Self::Count => "its count contradicts its contents",
            Self::Magic => "its message format is not v2",
            Self::Checksum => "its checksum does not match",
            Self::Compression => "it cannot be decompressed",
            Self::Value => "its value is not allowed",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed {
                message,
                field,
                at,
                fault,
            } => {
                write!(f, "malformed {message}: {field} at byte {at}: {fault}")
            }
            Self::Unexpected { state, message } => {
                write!(f, "unexpected {message} while {state}")
            }
            Self::Unsupported {
                api,
                ours: (low, high),
                theirs: Some((min, max)),
            } => write!(
                f,
                "{api}: we speak versions {low} to {high}, the broker serves {min} to {max}"
            ),
            Self::Unsupported {
                api,
                ours: (low, high),
                theirs: None,
            } => {
                write!(
                    f,
                    "{api} (versions {low} to {high}) is not known to the broker"
                )
            }
            Self::Refused { api, code } => write!(f, "{api} was refused with Kafka error {code}"),
        }
    }
}

impl std::error::Error for Error {}
