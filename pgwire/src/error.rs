//! What can go wrong, sorted by blame.

use std::fmt;

/// The bytes break the grammar: where, and what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// The message, or the form of a value, as PostgreSQL's documentation names it.
    pub message: &'static str,
    /// The field in it.
    pub field: &'static str,
    /// Bytes from the start of the message's body (of the value) to the field.
    pub at: usize,
    /// What is wrong there.
    pub fault: Fault,
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Fewer bytes are left than the field takes.
    Truncated,
    /// A string without its closing zero byte.
    Unterminated,
    /// A length or a count below the least that it can be.
    Length(i32),
    /// A length above the named maximum.
    TooLong(usize),
    /// Bytes are left after the last field.
    Trailing,
    /// Text that is not UTF-8.
    NotUtf8,
    /// A tag, a kind or a code that the grammar does not have.
    Unknown(u32),
    /// Text that does not have the form of its type.
    Syntax,
    /// A number outside the range of its type.
    Range,
    /// A nonce or a signature that is not the one it must be.
    Mismatch,
}

/// Good bytes at a wrong moment, or a command that the session's state does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unexpected {
    /// The session's state.
    pub state: &'static str,
    /// The message that came, or the command that was given.
    pub message: &'static str,
}

/// Nothing in common with this peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsupported {
    /// What was asked for.
    pub feature: &'static str,
}

/// Whatever ends a session from our side. What the server refuses is not here: it comes as an
/// event with the server's own words, [`crate::backend::Event::ServerError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The bytes break the grammar.
    Malformed(Malformed),
    /// Good bytes, wrong moment.
    Unexpected(Unexpected),
    /// Nothing in common with this peer.
    Unsupported(Unsupported),
    /// The server wants a password, and none was given.
    PasswordMissing,
}

impl std::error::Error for Malformed {}
impl std::error::Error for Unexpected {}
impl std::error::Error for Unsupported {}
impl std::error::Error for Error {}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            message,
            field,
            at,
            fault,
        } = self;
        write!(f, "{message}: {field}, at byte {at}: {fault}")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the bytes end too early"),
            Self::Unterminated => f.write_str("a string without its closing zero byte"),
            Self::Length(length) => write!(f, "a length or count of {length}"),
            Self::TooLong(max) => write!(f, "longer than the maximum of {max} bytes"),
            Self::Trailing => f.write_str("bytes after the last field"),
            Self::NotUtf8 => f.write_str("not UTF-8"),
            Self::Unknown(code) => write!(f, "unknown code {code} (0x{code:02x})"),
            Self::Syntax => f.write_str("not the form of this type"),
            Self::Range => f.write_str("outside the range of this type"),
            Self::Mismatch => f.write_str("not the value that it must be"),
        }
    }
}

impl fmt::Display for Unexpected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} while {}", self.message, self.state)
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not supported", self.feature)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => error.fmt(f),
            Self::Unexpected(error) => error.fmt(f),
            Self::Unsupported(error) => error.fmt(f),
            Self::PasswordMissing => f.write_str("the server asks for a password and none is set"),
        }
    }
}

impl From<Malformed> for Error {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

impl From<Unexpected> for Error {
    fn from(error: Unexpected) -> Self {
        Self::Unexpected(error)
    }
}

impl From<Unsupported> for Error {
    fn from(error: Unsupported) -> Self {
        Self::Unsupported(error)
    }
}
