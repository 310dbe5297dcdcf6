//! Why a pipe stopped: whose word it was, and what can be done.

use std::fmt;

/// What ended a pipe, in the order in which a person asks: what failed, why, what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Who said no.
    pub blame: Blame,
    /// What failed, and where: the server, the property, the table.
    pub what: String,
    /// Why, in the peer's own words where it had any.
    pub why: String,
    /// What to do about it.
    pub remedy: Option<String>,
    /// Trying again can help.
    pub retriable: bool,
    /// Kafka says that another instance has taken over. It says the same of a transaction that
    /// its clock, set forward, finds too old.
    pub fenced: bool,
}

/// Who said no; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The configuration, or what it asks for together with what is there.
    Configuration,
    /// PostgreSQL.
    Postgres,
    /// A Kafka broker.
    Kafka,
    /// The schema registry.
    Registry,
    /// A value or a position that cannot be what it is.
    Data,
}

impl Error {
    /// An error that trying again does not mend.
    pub(crate) fn fatal(blame: Blame, what: impl Into<String>, why: impl fmt::Display) -> Self {
        let why = why.to_string();
        Self {
            blame,
            what: what.into(),
            why,
            remedy: None,
            retriable: false,
            fenced: false,
        }
    }

    /// The same error with a remedy.
    #[must_use]
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

/// One line, without the remedy.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.what.is_empty() {
            return f.write_str(&self.why);
        }
        write!(f, "{}: {}", self.what, self.why)
    }
}

impl std::error::Error for Error {}
