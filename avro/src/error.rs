//! What can be wrong with foreign bytes, and with foreign schemas.

use std::fmt;

/// The bytes break Avro's binary grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// `datum`, `registry prefix` or `single object`.
    pub message: &'static str,
    /// What was being read: `long`, `string length`, ..
    pub field: &'static str,
    /// Offset of that in the bytes the [`crate::Reader`] was made of.
    pub at: usize,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a piece of binary Avro.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The bytes end before the value does.
    Truncated,
    /// A varint that does not fit its type.
    Overflow,
    /// A length, size or index below zero.
    Negative,
    /// A boolean that is neither 0 nor 1.
    NotBoolean,
    /// A string that is not UTF-8.
    NotUtf8,
    /// A union branch or an enum symbol that the schema does not have.
    OutOfRange,
    /// Deeper than [`crate::datum::DEPTH_MAX`].
    TooDeep,
    /// More values than the bytes could pay for: arrays of nulls and their like.
    TooMany,
    /// A first byte or marker other than the one the form begins with.
    BadMagic,
    /// Bytes are left after the last value.
    Trailing,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the bytes end too early",
            Self::Overflow => "does not fit its type",
            Self::Negative => "is negative",
            Self::NotBoolean => "is neither 0 nor 1",
            Self::NotUtf8 => "is not UTF-8",
            Self::OutOfRange => "is not in the schema",
            Self::TooDeep => "is nested too deep",
            Self::TooMany => "announces more values than its bytes can hold",
            Self::BadMagic => "begins with the wrong byte",
            Self::Trailing => "leaves bytes unread",
        })
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            message,
            field,
            at,
            fault,
        } = self;
        write!(f, "malformed Avro {message}: {field} at byte {at}: {fault}")
    }
}

impl std::error::Error for Malformed {}

/// A schema that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaError {
    /// Where: a JSON pointer into the text, `/fields/2/type`; empty for the whole.
    pub path: String,
    /// Why.
    pub fault: SchemaFault,
}

/// Why a schema cannot be. Strings are the names or values at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaFault {
    /// The text is not JSON; the parser's words.
    NotJson(String),
    /// A JSON value that can be no schema: a number, a boolean, null.
    NotASchema,
    /// A member that must be there, and be of the right JSON type.
    Missing(&'static str),
    /// A member whose value is not allowed.
    BadMember(&'static str, String),
    /// Not `[A-Za-z_][A-Za-z0-9_]*`, or with dots where none may be.
    BadName(String),
    /// A type that is neither primitive nor named before.
    Undefined(String),
    /// A second definition of a name.
    Redefined(String),
    /// A name that was declared and never defined.
    NeverDefined(String),
    /// Two fields of a record, or two symbols of an enum, of the same name.
    Duplicate(String),
    /// A union directly inside a union.
    NestedUnion,
    /// A union with two branches that a reader could not tell apart.
    DuplicateBranch(String),
    /// A default that is no value of its type: field and default.
    BadDefault(String, String),
    /// Nested deeper than [`crate::json::DEPTH_MAX`].
    TooDeep,
}

impl fmt::Display for SchemaFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson(words) => write!(f, "not JSON: {words}"),
            Self::NotASchema => {
                f.write_str("a schema is a string, an object or an array, and this is neither")
            }
            Self::Missing(member) => write!(f, "no {member}, or one of the wrong JSON type"),
            Self::BadMember(member, value) => write!(f, "{member} cannot be {value}"),
            Self::BadName(name) => write!(f, "illegal character in name {name:?}"),
            Self::Undefined(name) => write!(f, "undefined name {name:?}"),
            Self::Redefined(name) => write!(f, "{name} is defined twice"),
            Self::NeverDefined(name) => write!(f, "{name} is declared and never defined"),
            Self::Duplicate(name) => write!(f, "{name:?} occurs twice"),
            Self::NestedUnion => f.write_str("a union directly inside a union"),
            Self::DuplicateBranch(name) => write!(f, "a union with {name} twice"),
            Self::BadDefault(field, value) => {
                write!(
                    f,
                    "invalid default for field {field}: {value} does not fit its type"
                )
            }
            Self::TooDeep => f.write_str("nested too deep"),
        }
    }
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "invalid Avro schema: {}", self.fault)
        } else {
            write!(f, "invalid Avro schema at {}: {}", self.path, self.fault)
        }
    }
}

impl std::error::Error for SchemaError {}

impl SchemaError {
    pub(crate) fn new(path: &str, fault: SchemaFault) -> Self {
        Self {
            path: path.to_owned(),
            fault,
        }
    }
}
