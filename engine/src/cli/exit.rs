//! How the process ends: a code that scripts can rely on, and a report that people can.

use std::fmt;
use std::process::ExitCode;

/// The code that the process ends with. Documented; numbers never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or stopped as asked by SIGINT or SIGTERM.
    Done = 0,
    /// A bug of ours, or the system denied something that no file can mend.
    Internal = 1,
    /// The command line is wrong.
    Usage = 2,
    /// A file is missing, or what it says is wrong.
    Configuration = 3,
    /// PostgreSQL cannot be reached, or refused.
    Postgres = 4,
    /// Kafka cannot be reached, or refused.
    Kafka = 5,
    /// The schema registry cannot be reached, or refused.
    Registry = 6,
    /// A value, a row or a stored position cannot be what it is.
    Data = 7,
}

/// The codes, for `--help`.
pub const HELP: &str = "\
Exit codes:
  0  done, or stopped as asked (Ctrl-C, SIGTERM)
  1  internal error
  2  wrong command line
  3  configuration: a file is missing, or a property is wrong
  4  PostgreSQL cannot be reached, or refused
  5  Kafka cannot be reached, or refused
  6  the schema registry cannot be reached, or refused
  7  data: a row or a stored position cannot be handled
  130, 143  a second Ctrl-C or SIGTERM, before all was finished
What can pass is tried again, not reported: a code other than 0 needs somebody.";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why the process ends: what failed, why, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The code to end with.
    pub exit: Exit,
    /// What failed.
    pub what: String,
    /// Why, from the outside in; the peer's own words where it had any.
    pub why: Vec<String>,
    /// What to do.
    pub remedy: Option<String>,
}

impl Report {
    /// A failure without a reason yet.
    #[must_use]
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self {
            exit,
            what: what.into(),
            why: Vec::new(),
            remedy: None,
        }
    }

    /// Adds a reason.
    #[must_use]
    pub fn with(mut self, why: impl Into<String>) -> Self {
        self.why.push(why.into());
        self
    }

    /// Adds an error and everything that it says is behind it.
    #[must_use]
    pub fn because(mut self, why: &str, error: impl std::error::Error) -> Self {
        self.why.push(format!("{why}: {error}"));
        let mut source = error.source();
        while let Some(error) = source {
            self.why.push(error.to_string());
            source = error.source();
        }
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// One event of the log.
    pub fn log(&self) {
        tracing::error!(
            why = self.why.join("; "),
            remedy = self.remedy,
            exit_code = self.exit as u8,
            "{}",
            self.what
        );
    }
}

/// ```text
/// penstock: cannot start streaming from postgres at db.example.org:5432
///   replication slot "debezium" is active for PID 4711 (55006)
///   remedy: stop the other reader, or set slot.name
/// ```
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "penstock: {}", self.what)?;
        for why in &self.why {
            writeln!(f, "  {}", why.trim_end().replace('\n', "\n  "))?;
        }
        match &self.remedy {
            Some(remedy) => writeln!(f, "  remedy: {}", remedy.trim_end().replace('\n', "\n  ")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_from_what_to_remedy() {
        let error = std::io::Error::other("no route to host");
        let report = Report::new(Exit::Kafka, "cannot reach a:9092")
            .because("connecting", error)
            .remedy("check bootstrap.servers");
        assert_eq!(
            report.to_string(),
            "penstock: cannot reach a:9092\n  connecting: no route to host\n  \
             remedy: check bootstrap.servers\n"
        );
    }

    #[test]
    fn the_help_names_every_code() {
        for code in 0..=7 {
            assert!(HELP.contains(&format!("\n  {code}  ")), "{code}");
        }
    }
}
