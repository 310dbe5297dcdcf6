//! [`PgError`]: what PostgreSQL refused, in its own words, and what the reader can do about it.

use std::fmt;
use std::io;

use pgwire::backend::{ServerMessage, SqlState};

use crate::net::{NetError, Server, TlsConfigError};

/// Anything that can go wrong between us and the server.
///
/// Prints where, what, and what to do, in one line.
#[derive(Debug)]
pub struct PgError {
    /// `user@host:port/database`.
    pub target: String,
    /// What went wrong.
    pub fault: PgFault,
}

/// What went wrong.
#[derive(Debug)]
pub enum PgFault {
    /// No connection.
    Connect(NetError),
    /// A file of TLS settings cannot be used.
    TlsConfig(TlsConfigError),
    /// `database.sslmode` demands TLS, and the server has none.
    TlsMissing,
    /// The connection broke.
    Io(io::Error),
    /// The server closed the connection without a word.
    Closed,
    /// The server took longer than it may.
    TimedOut,
    /// The server speaks something else than the protocol, or we broke it.
    Protocol(pgwire::error::Error),
    /// The server said no.
    Refused(Box<Refusal>),
    /// A snapshot was gone before it was imported: the connection that exported it broke.
    SnapshotGone(Box<Refusal>),
    /// The server answers, but is not set up for us.
    Setup(Setup),
}

/// The server's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `ERROR`, `FATAL`, `PANIC`.
    pub severity: String,
    /// What kind of error.
    pub code: SqlState,
    /// What happened.
    pub message: String,
    /// More of it.
    pub detail: Option<String>,
    /// The server's idea of what to do.
    pub hint: Option<String>,
    /// Where it happened: slot, plugin, callback and LSN when decoding fails.
    pub context: Option<String>,
    /// The statement or command that was refused; none while connecting and streaming.
    pub statement: Option<String>,
}

/// The server answers, but is not set up for us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setup {
    /// `wal_level` is not `logical`.
    WalLevel {
        /// What it is.
        found: String,
    },
    /// Older than any that we know how to talk to.
    ServerTooOld {
        /// `server_version_num`.
        version: u32,
    },
    /// The slot of that name is another plugin's, or physical.
    SlotPlugin {
        /// The slot.
        slot: String,
        /// Its plugin; none for a physical slot.
        plugin: Option<String>,
    },
    /// The slot of that name decodes another database.
    SlotDatabase {
        /// The slot.
        slot: String,
        /// Its database.
        database: String,
    },
    /// The slot is kept in step with the primary's of the same name.
    SlotSynced {
        /// The slot.
        slot: String,
    },
    /// `publication.autocreate.mode=disabled`, and there is no publication.
    PublicationMissing {
        /// Its name.
        publication: String,
    },
    /// `publication.autocreate.mode=filtered`, and the publication is FOR ALL TABLES.
    PublicationForAllTables {
        /// Its name.
        publication: String,
    },
    /// `publication.autocreate.mode=filtered`, and no table passes the filters.
    NoTables {
        /// Its name.
        publication: String,
    },
    /// A standby cannot create or alter a publication.
    PublicationOnStandby {
        /// Its name.
        publication: String,
    },
    /// The server answered something else than its documentation says.
    Answer {
        /// Which answer was expected.
        expected: &'static str,
    },
}

impl PgError {
    /// The server's own words as an error.
    #[must_use]
    pub fn refused(target: &str, message: &ServerMessage<'_>, statement: Option<&str>) -> Self {
        let owned = |text: Option<std::borrow::Cow<'_, str>>| text.map(Into::into);
        let refusal = Refusal {
            severity: message.severity().into_owned(),
            code: message.code(),
            message: message.message().into_owned(),
            detail: owned(message.detail()),
            hint: owned(message.hint()),
            context: owned(message.context()),
            statement: statement.map(str::to_owned),
        };
        Self::new(target, PgFault::Refused(Box::new(refusal)))
    }

    /// An error at `target`.
    #[must_use]
    pub fn new(target: &str, fault: impl Into<PgFault>) -> Self {
        Self {
            target: target.to_owned(),
            fault: fault.into(),
        }
    }

    /// What SET TRANSACTION SNAPSHOT ran into: a snapshot of ours that the server does not know
    /// (22023, from PostgreSQL 17 on 42704; 55000 where it is just going) lived a moment ago, and
    /// the next one may live longer.
    #[must_use]
    pub fn of_import(mut self) -> Self {
        self.fault = match self.fault {
            PgFault::Refused(refusal)
                if matches!(&refusal.code.0, b"22023" | b"42704" | b"55000") =>
            {
                PgFault::SnapshotGone(refusal)
            }
            other => other,
        };
        self
    }

    /// The SQLSTATE, where the server said no.
    #[must_use]
    pub fn code(&self) -> Option<SqlState> {
        match &self.fault {
            PgFault::Refused(refusal) | PgFault::SnapshotGone(refusal) => Some(refusal.code),
            _ => None,
        }
    }

    /// Whether the same may succeed later, with nothing mended by hand.
    #[must_use]
    pub fn retriable(&self) -> bool {
        match &self.fault {
            PgFault::Connect(error) => error.retriable(),
            PgFault::Io(_) | PgFault::Closed | PgFault::TimedOut | PgFault::SnapshotGone(_) => true,
            PgFault::Refused(refusal) => refusal.code.retriable(),
            PgFault::TlsConfig(_)
            | PgFault::TlsMissing
            | PgFault::Protocol(_)
            | PgFault::Setup(_) => false,
        }
    }

    /// What the reader can do.
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        match &self.fault {
            PgFault::Connect(error) => Some(error.remedy(Server::Postgres)),
            PgFault::TlsConfig(_) => {
                Some("Check database.sslrootcert, database.sslcert and database.sslkey.")
            }
            PgFault::TlsMissing => {
                Some("Turn ssl on in the server, or set database.sslmode lower.")
            }
            PgFault::Io(_) | PgFault::Closed | PgFault::SnapshotGone(_) => {
                Some("Look into the server's log: it tells more than it sends.")
            }
            PgFault::TimedOut => Some("Check that the server is PostgreSQL, and not overloaded."),
            PgFault::Protocol(error) => match error {
                pgwire::error::Error::PasswordMissing => Some("Set database.password."),
                pgwire::error::Error::Unsupported(_) => {
                    Some("Let this user authenticate by scram-sha-256 or md5 in pg_hba.conf.")
                }
                _ => Some("Check that database.hostname and database.port lead to PostgreSQL."),
            },
            PgFault::Refused(refusal) => refusal.remedy(),
            PgFault::Setup(setup) => setup.remedy(),
        }
    }
}

/// One line of [`REMEDIES`]: the SQLSTATE, a part of the message (empty: any), what to do.
type Remedy = (&'static [u8; 5], &'static str, &'static str);

/// What to do by what the server says. The first line that fits counts; texts are those of
/// untranslated servers, and other languages get the code's last line.
const REMEDIES: &[Remedy] = &[
    (b"28P01", "", "Check database.user and database.password."),
    (
        b"28000",
        "does not exist",
        "Create the role, or check database.user.",
    ),
    (
        b"28000",
        "no encryption",
        "Add a line for this user, database and address to the server's pg_hba.conf and reload it; \
         if there is one of type hostssl, set database.sslmode=require.",
    ),
    (
        b"28000",
        "client certificate",
        "Set database.sslcert and database.sslkey.",
    ),
    (
        b"28000",
        "certificate authentication failed",
        "Give a certificate that is made out to database.user.",
    ),
    (
        b"28000",
        "not permitted to log in",
        "ALTER ROLE .. LOGIN, or check database.user.",
    ),
    (
        b"28000",
        "",
        "Add a line for this user, database and address to the server's pg_hba.conf and reload it.",
    ),
    (b"3D000", "", "Check database.dbname."),
    (
        b"42501",
        "walsender",
        "ALTER ROLE .. REPLICATION for database.user (on Amazon RDS: GRANT rds_replication).",
    ),
    (
        b"42501",
        "WAL sender",
        "ALTER ROLE .. REPLICATION for database.user (on Amazon RDS: GRANT rds_replication).",
    ),
    (
        b"42501",
        "replication slots",
        "ALTER ROLE .. REPLICATION for database.user (on Amazon RDS: GRANT rds_replication).",
    ),
    (
        b"42501",
        "FOR ALL TABLES",
        "Set publication.autocreate.mode=filtered, or let a superuser create the publication.",
    ),
    (
        b"42501",
        "permission denied for database",
        "GRANT CREATE ON DATABASE to database.user, or let the tables' owner create the \
         publication.",
    ),
    (
        b"42501",
        "must be owner of",
        "Let the owner create or alter the publication, or make database.user a member of the \
         owner's role.",
    ),
    (
        b"42501",
        "permission denied for schema",
        "GRANT USAGE ON SCHEMA to database.user.",
    ),
    (
        b"42501",
        "permission denied for",
        "GRANT SELECT on the captured tables to database.user.",
    ),
    (b"42501", "", "Grant the right to database.user."),
    (
        b"42704",
        "replication slot",
        "The slot is gone, and with it the changes since: create it again and take a new snapshot.",
    ),
    (
        b"42704",
        "publication",
        "Create the publication before the slot; a slot that is older than its publication must \
         be advanced past it, or made anew.",
    ),
    (
        b"55000",
        "wal_level",
        "Set wal_level=logical in postgresql.conf and restart the server.",
    ),
    (
        b"55000",
        "replication slot",
        "The slot cannot be used any more: drop it, and take a new snapshot.",
    ),
    (
        b"55006",
        "",
        "Another process streams from the slot: stop it, or wait until the server has noticed that \
         it is gone (wal_sender_timeout).",
    ),
    (
        b"53300",
        "max_wal_senders",
        "Raise max_wal_senders, or stop another replication client.",
    ),
    (b"53300", "", "Raise max_connections, or close connections."),
    (
        b"53400",
        "",
        "Drop a replication slot that nobody uses, or raise max_replication_slots.",
    ),
    (
        b"57P03",
        "",
        "Wait: the server is starting, stopping or recovering.",
    ),
    (
        b"57P01",
        "",
        "The server or its operator closed the connection; if it happens again at once, look \
         whether the slot was invalidated.",
    ),
    (
        b"42602",
        "replication slot",
        "Use only a-z, 0-9 and _ in slot.name, at most 63 of them.",
    ),
    (
        b"22021",
        "",
        "The database holds bytes that are not valid in its encoding: mend the row, or the stream \
         stops there each time.",
    ),
    (
        b"58P01",
        "has already been removed",
        "The WAL that the slot needs is gone: drop the slot, and take a new snapshot.",
    ),
    (
        b"25P03",
        "",
        "Set idle_in_transaction_session_timeout=0 for database.user.",
    ),
];

impl Refusal {
    fn remedy(&self) -> Option<&'static str> {
        let fits = |&&(code, part, _): &&Remedy| {
            code == &self.code.0 && (part.is_empty() || self.message.contains(part))
        };
        REMEDIES.iter().find(fits).map(|&(_, _, remedy)| remedy)
    }
}

impl Setup {
    fn remedy(&self) -> Option<&'static str> {
        Some(match self {
            Self::WalLevel { .. } => {
                "Set wal_level=logical in postgresql.conf and restart the server."
            }
            Self::ServerTooOld { .. } => "Use PostgreSQL 12 or later.",
            Self::SlotPlugin { .. } | Self::SlotDatabase { .. } => {
                "Set another slot.name, or drop the slot if nobody needs it."
            }
            Self::SlotSynced { .. } => {
                "Connect to the primary, or promote the standby; to read from the standby, give \
                 the connector a slot.name of its own."
            }
            Self::PublicationMissing { .. } => {
                "Publication autocreation is disabled: create one and restart the connector."
            }
            Self::PublicationForAllTables { .. } => {
                "Drop the publication, or set publication.autocreate.mode=all_tables."
            }
            Self::NoTables { .. } => {
                "Check schema.include.list and table.include.list; names are schema.table."
            }
            Self::PublicationOnStandby { .. } => "Create or alter it on the primary.",
            Self::Answer { .. } => return None,
        })
    }
}

impl fmt::Display for PgError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A connection's error names its target and remedy itself.
        if let PgFault::Connect(error) = &self.fault {
            return write!(f, "{error}. {}", error.remedy(Server::Postgres));
        }
        write!(f, "{}: {}", self.target, self.fault)?;
        if let Some(remedy) = self.remedy() {
            let stop = if self.fault.to_string().ends_with('.') {
                ""
            } else {
                "."
            };
            write!(f, "{stop} {remedy}")?;
        }
        Ok(())
    }
}

impl fmt::Display for PgFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => error.fmt(f),
            Self::TlsConfig(error) => error.fmt(f),
            Self::TlsMissing => f.write_str("the server does not speak TLS"),
            Self::Io(error) => write!(f, "the connection broke: {error}"),
            Self::Closed => f.write_str("the server closed the connection"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Protocol(error) => error.fmt(f),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::SnapshotGone(refusal) => {
                write!(
                    f,
                    "the connection that exported the snapshot broke: {refusal}"
                )
            }
            Self::Setup(setup) => setup.fmt(f),
        }
    }
}

/// How much of a statement an error prints.
const STATEMENT_CHARS_MAX: usize = 120;

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.severity, self.code, self.message)?;
        for part in [&self.detail, &self.hint, &self.context]
            .into_iter()
            .flatten()
        {
            write!(f, "; {part}")?;
        }
        match self.statement.as_deref() {
            Some(statement) => match statement.char_indices().nth(STATEMENT_CHARS_MAX) {
                Some((end, _)) => write!(f, " [{} ..]", statement.get(..end).unwrap_or_default()),
                None => write!(f, " [{statement}]"),
            },
            None => Ok(()),
        }
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WalLevel { found } => write!(f, "wal_level is {found}, and must be logical"),
            Self::ServerTooOld { version } => {
                write!(f, "PostgreSQL {} is not supported", version / 10_000)
            }
            Self::SlotPlugin {
                slot,
                plugin: Some(plugin),
            } => {
                write!(
                    f,
                    "the slot {slot} belongs to the plugin {plugin}, not pgoutput"
                )
            }
            Self::SlotPlugin { slot, plugin: None } => {
                write!(f, "the slot {slot} is a physical one")
            }
            Self::SlotDatabase { slot, database } => {
                write!(f, "the slot {slot} belongs to the database {database}")
            }
            Self::SlotSynced { slot } => write!(
                f,
                "the server is a standby, and its slot {slot} is kept in step with the primary's: \
                 nobody can stream from it before the standby is promoted"
            ),
            Self::PublicationMissing { publication } => {
                write!(f, "there is no publication {publication}")
            }
            Self::PublicationForAllTables { publication } => write!(
                f,
                "a publication {publication} for all tables is already active and cannot be \
                 altered to a list of tables"
            ),
            Self::NoTables { publication } => {
                write!(
                    f,
                    "no table filters found for filtered publication {publication}"
                )
            }
            Self::PublicationOnStandby { publication } => write!(
                f,
                "the publication {publication} is not as it must be, and this server is a standby"
            ),
            Self::Answer { expected } => write!(f, "the server did not answer with {expected}"),
        }
    }
}

impl std::error::Error for PgError {}

impl From<NetError> for PgFault {
    fn from(error: NetError) -> Self {
        Self::Connect(error)
    }
}

impl From<TlsConfigError> for PgFault {
    fn from(error: TlsConfigError) -> Self {
        Self::TlsConfig(error)
    }
}

impl From<io::Error> for PgFault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<pgwire::error::Error> for PgFault {
    fn from(error: pgwire::error::Error) -> Self {
        Self::Protocol(error)
    }
}

impl From<pgwire::error::Malformed> for PgFault {
    fn from(error: pgwire::error::Malformed) -> Self {
        Self::Protocol(error.into())
    }
}

impl From<Setup> for PgFault {
    fn from(setup: Setup) -> Self {
        Self::Setup(setup)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &[u8; 5], message: &str) -> PgError {
        let refusal = Refusal {
            severity: "FATAL".to_owned(),
            code: SqlState(*code),
            message: message.to_owned(),
            detail: None,
            hint: None,
            context: None,
            statement: None,
        };
        PgError::new("u@h:5432/d", PgFault::Refused(Box::new(refusal)))
    }

    #[test]
    fn every_line_says_where_what_and_what_to_do() {
        let error = refused(b"28P01", "password authentication failed for user \"u\"");
        assert_eq!(
            error.to_string(),
            "u@h:5432/d: FATAL 28P01: password authentication failed for user \"u\". Check \
             database.user and database.password."
        );
        assert!(!error.retriable());
        assert!(refused(b"57P03", "the database system is starting up").retriable());
        assert!(refused(b"55006", "replication slot \"s\" is active for PID 1").retriable());
        assert!(!refused(b"55000", "logical decoding requires wal_level >= logical").retriable());
        assert_eq!(refused(b"XX000", "x").remedy(), None);
    }

    #[test]
    fn a_snapshot_that_is_gone_is_exported_again() {
        for code in [b"22023", b"42704", b"55000"] {
            let error = refused(code, "invalid snapshot identifier");
            assert!(!error.retriable());
            assert!(error.of_import().retriable());
        }
        assert!(!refused(b"42501", "x").of_import().retriable());
    }

    #[test]
    fn the_message_picks_the_remedy() {
        let remedy = |code, message| refused(code, message).remedy().unwrap_or_default();
        let role = remedy(b"42501", "permission denied to start WAL sender");
        assert_eq!(
            role,
            remedy(
                b"42501",
                "must be superuser or replication role to start walsender"
            )
        );
        assert!(remedy(b"42501", "permission denied for table t").contains("SELECT"));
        assert!(remedy(b"42501", "permission denied for database d").contains("CREATE"));
        assert!(remedy(b"53300", "sorry, too many clients already").contains("max_connections"));
        // A later line must not be hidden by an earlier one that takes any message.
        for (position, (code, part, _)) in REMEDIES.iter().enumerate() {
            let earlier = REMEDIES.get(..position).unwrap_or_default();
            let hidden = earlier
                .iter()
                .any(|(c, p, _)| c == code && part.contains(p));
            assert!(!hidden, "{} {part}", SqlState(**code));
        }
    }
}
