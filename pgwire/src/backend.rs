//! What the server says: views that borrow the frame.
//!
//! Source: PostgreSQL documentation, "Message Formats".

use std::borrow::Cow;
use std::fmt;

use crate::error::{Fault, Malformed};
use crate::frame::Frame;
use crate::read::Reader;
use crate::tuple::Fields;

/// One message of the server.
///
/// Text is bytes here: its encoding is what the session is about to agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'b> {
    /// `R` 0: we are in.
    Authenticated,
    /// `R`: the server asks, and the session has answered.
    Authentication(Authentication<'b>),
    /// `v`: an older protocol, or options it does not know.
    NegotiateProtocolVersion {
        /// The newest that the server speaks: 0x00030000.
        newest: u32,
    },
    /// `S`: a setting that the server reports, at any time.
    ParameterStatus {
        /// The setting's name.
        name: &'b [u8],
        /// Its value.
        value: &'b [u8],
    },
    /// `K`: what a cancel request needs.
    BackendKeyData {
        /// The server process.
        pid: u32,
        /// 4 bytes in protocol 3.0.
        key: &'b [u8],
    },
    /// `Z`: the command is over.
    Ready(TransactionStatus),
    /// `T`: the columns of the rows that follow.
    RowDescription(RowDescription<'b>),
    /// `D`: a row.
    DataRow(Fields<'b>),
    /// `C`: `SELECT 5`, `COPY 100`.
    CommandComplete(&'b str),
    /// `I`: the query was empty.
    EmptyQuery,
    /// `H`: the server will send CopyData.
    CopyOut(CopyFormat<'b>),
    /// `G`: the server waits for CopyData.
    CopyIn(CopyFormat<'b>),
    /// `W`: both do.
    CopyBoth(CopyFormat<'b>),
    /// `d`
    CopyData(&'b [u8]),
    /// `c`
    CopyDone,
    /// `E`: the server refuses, in its own words.
    ServerError(ServerMessage<'b>),
    /// `N`: a warning, at any time.
    Notice(ServerMessage<'b>),
    /// `A`: somebody's NOTIFY.
    Notification {
        /// The server process of who said it.
        pid: u32,
        /// The channel.
        channel: &'b [u8],
        /// What was said.
        payload: &'b [u8],
    },
    /// `1`
    ParseComplete,
    /// `2`
    BindComplete,
    /// `3`
    CloseComplete,
    /// `n`: the statement returns no rows.
    NoData,
    /// `s`: Execute stopped at its row limit.
    PortalSuspended,
    /// `t`: the oids of a statement's parameters.
    ParameterDescription(ParameterDescription<'b>),
}

impl<'b> Event<'b> {
    /// Parses one message.
    ///
    /// Errors: `Malformed` when the tag is unknown, a field is cut or bytes are left over.
    #[inline]
    pub fn parse(frame: Frame<'b>) -> Result<Self, Malformed> {
        let Frame { tag, body } = frame;
        // What comes by the million goes first.
        match tag.0 {
            b'd' => Ok(Self::CopyData(body)),
            b'D' => {
                let mut r = Reader::new("DataRow", body);
                let row = Fields::take(&mut r)?;
                r.finish()?;
                Ok(Self::DataRow(row))
            }
            _ => Self::parse_rare(tag.0, body),
        }
    }

    fn parse_rare(tag: u8, body: &'b [u8]) -> Result<Self, Malformed> {
        let (event, r) = match tag {
            b'R' => {
                let mut r = Reader::new("Authentication", body);
                let request = Authentication::take(&mut r)?;
                let event = match request {
                    Authentication::Ok => Self::Authenticated,
                    request => Self::Authentication(request),
                };
                (event, r)
            }
            b'v' => {
                let mut r = Reader::new("NegotiateProtocolVersion", body);
                let newest = r.take_u32("newest version")?;
                let fault_at = r.clone();
                let count = r.take_i32("number of options")?;
                if count < 0 {
                    return Err(fault_at.fault("number of options", Fault::Length(count)));
                }
                for _ in 0..count {
                    r.take_cstr("option")?;
                }
                (Self::NegotiateProtocolVersion { newest }, r)
            }
            b'S' => {
                let mut r = Reader::new("ParameterStatus", body);
                let name = r.take_cstr("name")?;
                (
                    Self::ParameterStatus {
                        name,
                        value: r.take_cstr("value")?,
                    },
                    r,
                )
            }
            b'K' => {
                let mut r = Reader::new("BackendKeyData", body);
                let pid = r.take_u32("process")?;
                (
                    Self::BackendKeyData {
                        pid,
                        key: r.take_rest(),
                    },
                    r,
                )
            }
            b'Z' => {
                let mut r = Reader::new("ReadyForQuery", body);
                (Self::Ready(TransactionStatus(r.take_u8("status")?)), r)
            }
            b'T' => {
                let mut r = Reader::new("RowDescription", body);
                (Self::RowDescription(RowDescription::take(&mut r)?), r)
            }
            b'C' => {
                let mut r = Reader::new("CommandComplete", body);
                (Self::CommandComplete(r.take_str("tag")?), r)
            }
            b'I' => (Self::EmptyQuery, Reader::new("EmptyQueryResponse", body)),
            b'H' => {
                let mut r = Reader::new("CopyOutResponse", body);
                (Self::CopyOut(CopyFormat::take(&mut r)?), r)
            }
            b'G' => {
                let mut r = Reader::new("CopyInResponse", body);
                (Self::CopyIn(CopyFormat::take(&mut r)?), r)
            }
            b'W' => {
                let mut r = Reader::new("CopyBothResponse", body);
                (Self::CopyBoth(CopyFormat::take(&mut r)?), r)
            }
            b'c' => (Self::CopyDone, Reader::new("CopyDone", body)),
            b'E' => {
                let mut r = Reader::new("ErrorResponse", body);
                (Self::ServerError(ServerMessage::take(&mut r)?), r)
            }
            b'N' => {
                let mut r = Reader::new("NoticeResponse", body);
                (Self::Notice(ServerMessage::take(&mut r)?), r)
            }
            b'A' => {
                let mut r = Reader::new("NotificationResponse", body);
                let pid = r.take_u32("process")?;
                let channel = r.take_cstr("channel")?;
                (
                    Self::Notification {
                        pid,
                        channel,
                        payload: r.take_cstr("payload")?,
                    },
                    r,
                )
            }
            b'1' => (Self::ParseComplete, Reader::new("ParseComplete", body)),
            b'2' => (Self::BindComplete, Reader::new("BindComplete", body)),
            b'3' => (Self::CloseComplete, Reader::new("CloseComplete", body)),
            b'n' => (Self::NoData, Reader::new("NoData", body)),
            b's' => (Self::PortalSuspended, Reader::new("PortalSuspended", body)),
            b't' => {
                let mut r = Reader::new("ParameterDescription", body);
                let count = r.take_count("number of parameters")?;
                let oids = r.take_bytes("parameters", usize::from(count) * 4)?;
                (Self::ParameterDescription(ParameterDescription { oids }), r)
            }
            unknown => {
                let r = Reader::new("message", body);
                return Err(r.fault("tag", Fault::Unknown(unknown.into())));
            }
        };
        r.finish()?;
        Ok(event)
    }

    /// The message's name in PostgreSQL's documentation.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Authenticated => "AuthenticationOk",
            Self::Authentication(_) => "Authentication",
            Self::NegotiateProtocolVersion { .. } => "NegotiateProtocolVersion",
            Self::ParameterStatus { .. } => "ParameterStatus",
            Self::BackendKeyData { .. } => "BackendKeyData",
            Self::Ready(_) => "ReadyForQuery",
            Self::RowDescription(_) => "RowDescription",
            Self::DataRow(_) => "DataRow",
            Self::CommandComplete(_) => "CommandComplete",
            Self::EmptyQuery => "EmptyQueryResponse",
            Self::CopyOut(_) => "CopyOutResponse",
            Self::CopyIn(_) => "CopyInResponse",
            Self::CopyBoth(_) => "CopyBothResponse",
            Self::CopyData(_) => "CopyData",
            Self::CopyDone => "CopyDone",
            Self::ServerError(_) => "ErrorResponse",
            Self::Notice(_) => "NoticeResponse",
            Self::Notification { .. } => "NotificationResponse",
            Self::ParseComplete => "ParseComplete",
            Self::BindComplete => "BindComplete",
            Self::CloseComplete => "CloseComplete",
            Self::NoData => "NoData",
            Self::PortalSuspended => "PortalSuspended",
            Self::ParameterDescription(_) => "ParameterDescription",
        }
    }
}

/// What the server asks for before it lets us in.
///   code i32 | by code
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication<'b> {
    /// 0
    Ok,
    /// 3: the password as it is.
    Cleartext,
    /// 5: the password hashed with the user and this salt.
    Md5([u8; 4]),
    /// 10: SASL; the mechanisms that the server has.
    Sasl(Mechanisms<'b>),
    /// 11: the server's answer to our last SASL message.
    SaslContinue(&'b [u8]),
    /// 12: the server's last SASL message.
    SaslFinal(&'b [u8]),
    /// Any other: Kerberos, GSSAPI, SSPI.
    Other(u32),
}

impl<'b> Authentication<'b> {
    fn take(r: &mut Reader<'b>) -> Result<Self, Malformed> {
        Ok(match r.take_u32("code")? {
            0 => Self::Ok,
            3 => Self::Cleartext,
            5 => Self::Md5(r.take_u32("salt")?.to_be_bytes()),
            10 => {
                let names = r.rest();
                while !r.take_cstr("mechanism")?.is_empty() {}
                Self::Sasl(Mechanisms { names })
            }
            11 => Self::SaslContinue(r.take_rest()),
            12 => Self::SaslFinal(r.take_rest()),
            other => {
                r.take_rest();
                Self::Other(other)
            }
        })
    }
}

/// The names of SASL mechanisms, the server's favourite first.
///   cstr .. | 0
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mechanisms<'b> {
    names: &'b [u8],
}

impl<'b> Mechanisms<'b> {
    /// The names in order.
    pub fn names(&self) -> impl Iterator<Item = &'b [u8]> + Clone + 'b {
        self.names
            .split(|&byte| byte == 0)
            .take_while(|name| !name.is_empty())
    }
}

/// Where the session stands between commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionStatus(pub u8);

impl TransactionStatus {
    /// `I`: outside a transaction.
    pub const IDLE: Self = Self(b'I');
    /// `T`: in one.
    pub const IN_TRANSACTION: Self = Self(b'T');
    /// `E`: in one that failed.
    pub const FAILED: Self = Self(b'E');
}

/// The columns of a result.
///   count i16 | per column: name cstr, table u32, attnum i16, type u32, size i16, typmod i32,
///   format i16
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RowDescription<'b> {
    columns: &'b [u8],
    count: u16,
}

/// One column of a [`RowDescription`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResultColumn<'b> {
    /// The column's name.
    pub name: &'b [u8],
    /// The table it comes from; 0 for none.
    pub table_oid: u32,
    /// `attnum` in that table; 0 for none.
    pub attnum: i16,
    /// The column's type.
    pub type_oid: u32,
    /// `typlen`.
    pub type_size: i16,
    /// `atttypmod`; -1 for none.
    pub typmod: i32,
    /// 0 text, 1 binary.
    pub format: i16,
}

impl<'b> RowDescription<'b> {
    fn take(r: &mut Reader<'b>) -> Result<Self, Malformed> {
        let count = r.take_count("number of columns")?;
        let columns = r.rest();
        for _ in 0..count {
            ResultColumn::take(r)?;
        }
        Ok(Self { columns, count })
    }

    /// How many columns the result has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count.into()
    }

    /// Whether the result has no column.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The columns in order.
    pub fn columns(&self) -> impl Iterator<Item = ResultColumn<'b>> + Clone + 'b {
        let mut reader = Reader::new("RowDescription", self.columns);
        std::iter::from_fn(move || ResultColumn::take(&mut reader).ok())
    }
}

impl fmt::Debug for RowDescription<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.columns()).finish()
    }
}

impl<'b> ResultColumn<'b> {
    fn take(r: &mut Reader<'b>) -> Result<Self, Malformed> {
        Ok(Self {
            name: r.take_cstr("column name")?,
            table_oid: r.take_u32("table")?,
            attnum: r.take_i16("attnum")?,
            type_oid: r.take_u32("type")?,
            type_size: r.take_i16("type size")?,
            typmod: r.take_i32("typmod")?,
            format: r.take_i16("format")?,
        })
    }
}

/// How a COPY will be done.
///   format u8, 0 text, 1 binary | columns i16 | per column: format i16
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyFormat<'b> {
    /// Binary, not text.
    pub binary: bool,
    formats: &'b [u8],
}

impl<'b> CopyFormat<'b> {
    fn take(r: &mut Reader<'b>) -> Result<Self, Malformed> {
        let binary = r.take_u8("format")? != 0;
        let count = r.take_count("number of columns")?;
        Ok(Self {
            binary,
            formats: r.take_bytes("column formats", usize::from(count) * 2)?,
        })
    }

    /// How many columns a row will have.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.formats.len() / 2
    }
}

/// The parameters of a prepared statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterDescription<'b> {
    oids: &'b [u8],
}

impl<'b> ParameterDescription<'b> {
    /// The types' oids in order.
    pub fn oids(&self) -> impl ExactSizeIterator<Item = u32> + Clone + 'b {
        self.oids
            .as_chunks::<4>()
            .0
            .iter()
            .map(|oid| u32::from_be_bytes(*oid))
    }
}

/// An error or a notice, in the server's own words.
///   (code u8 | value cstr) .. | 0
/// Unknown codes are kept and skipped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ServerMessage<'b> {
    fields: &'b [u8],
}

impl<'b> ServerMessage<'b> {
    fn take(r: &mut Reader<'b>) -> Result<Self, Malformed> {
        let fields = r.rest();
        while r.take_u8("field code")? != 0 {
            r.take_cstr("field")?;
        }
        Ok(Self { fields })
    }

    /// All fields in order: code and value.
    pub fn fields(&self) -> impl Iterator<Item = (u8, &'b [u8])> + Clone + 'b {
        let mut reader = Reader::new("ErrorResponse", self.fields);
        std::iter::from_fn(move || {
            let code = reader
                .take_u8("field code")
                .ok()
                .filter(|&code| code != 0)?;
            Some((code, reader.take_cstr("field").ok()?))
        })
    }

    /// The field of `code`. Not UTF-8 (a server can fail before it knows our encoding) is shown as
    /// well as it can be.
    #[must_use]
    pub fn field(&self, code: u8) -> Option<Cow<'b, str>> {
        let value = self.fields().find(|&(found, _)| found == code)?.1;
        Some(String::from_utf8_lossy(value))
    }

    /// `V`, or `S` before 9.6: `ERROR`, `FATAL`, `PANIC`, `WARNING`, ..
    #[must_use]
    pub fn severity(&self) -> Cow<'b, str> {
        self.field(b'V')
            .or_else(|| self.field(b'S'))
            .unwrap_or_default()
    }

    /// `C`: the SQLSTATE.
    #[must_use]
    pub fn code(&self) -> SqlState {
        let code = self
            .fields()
            .find(|&(found, _)| found == b'C')
            .map(|(_, value)| value);
        SqlState(
            code.and_then(|value| value.try_into().ok())
                .unwrap_or(*b"     "),
        )
    }

    /// `M`: what happened.
    #[must_use]
    pub fn message(&self) -> Cow<'b, str> {
        self.field(b'M').unwrap_or_default()
    }

    /// `D`: more of it.
    #[must_use]
    pub fn detail(&self) -> Option<Cow<'b, str>> {
        self.field(b'D')
    }

    /// `H`: what to do.
    #[must_use]
    pub fn hint(&self) -> Option<Cow<'b, str>> {
        self.field(b'H')
    }

    /// `W`: where it happened; names slot, plugin, callback and LSN when decoding fails.
    #[must_use]
    pub fn context(&self) -> Option<Cow<'b, str>> {
        self.field(b'W')
    }

    /// `P`: where in the query, in characters from 1.
    #[must_use]
    pub fn position(&self) -> Option<u32> {
        self.field(b'P')?.parse().ok()
    }
}

impl fmt::Debug for ServerMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = self.fields();
        f.debug_map()
            .entries(fields.map(|(code, value)| (char::from(code), String::from_utf8_lossy(value))))
            .finish()
    }
}

impl fmt::Display for ServerMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.severity(), self.code(), self.message())
    }
}

/// Five characters that name an error.
///
/// Source: PostgreSQL documentation, "PostgreSQL Error Codes".
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState(pub [u8; 5]);

impl SqlState {
    /// Wrong password.
    pub const INVALID_PASSWORD: Self = Self(*b"28P01");
    /// No line in pg_hba.conf, no such role, SCRAM's binding failed.
    pub const INVALID_AUTHORIZATION: Self = Self(*b"28000");
    /// No such database.
    pub const INVALID_CATALOG_NAME: Self = Self(*b"3D000");
    /// No such slot, publication, setting.
    pub const UNDEFINED_OBJECT: Self = Self(*b"42704");
    /// There is one of that name already.
    pub const DUPLICATE_OBJECT: Self = Self(*b"42710");
    /// No such table.
    pub const UNDEFINED_TABLE: Self = Self(*b"42P01");
    /// A slot's name with other characters than a-z, 0-9 and _.
    pub const INVALID_NAME: Self = Self(*b"42602");
    /// A right is missing: REPLICATION, SELECT, CREATE.
    pub const INSUFFICIENT_PRIVILEGE: Self = Self(*b"42501");
    /// wal_level, an invalidated slot, a slot of another database.
    pub const OBJECT_NOT_IN_PREREQUISITE_STATE: Self = Self(*b"55000");
    /// The slot is active.
    pub const OBJECT_IN_USE: Self = Self(*b"55006");
    /// max_connections, max_wal_senders.
    pub const TOO_MANY_CONNECTIONS: Self = Self(*b"53300");
    /// max_replication_slots.
    pub const CONFIGURATION_LIMIT_EXCEEDED: Self = Self(*b"53400");
    /// pg_terminate_backend, a shutdown, or the slot was invalidated.
    pub const ADMIN_SHUTDOWN: Self = Self(*b"57P01");
    /// Starting up, shutting down, in recovery.
    pub const CANNOT_CONNECT_NOW: Self = Self(*b"57P03");
    /// Not there in this version, or not allowed here.
    pub const FEATURE_NOT_SUPPORTED: Self = Self(*b"0A000");

    /// Whether the same request may succeed later, with nothing mended by hand.
    ///
    /// By class, as the appendix sorts them: connections (08), resources (53, but a limit of the
    /// configuration), an operator's hand (57), rollbacks (40); and what waits for another session.
    #[must_use]
    pub fn retriable(self) -> bool {
        match &self.0 {
            b"55006" | b"55P03" | b"25P03" | b"25P04" | b"58000" | b"58030" => true,
            b"53400" | b"08P01" => false,
            [b'0', b'8', ..] | [b'4', b'0', ..] | [b'5', b'3' | b'7', ..] => true,
            _ => false,
        }
    }

    /// As text, `28P01`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("?????")
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
