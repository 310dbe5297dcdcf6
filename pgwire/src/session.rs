//! [`Session`]: the client's side of one connection, from the startup message to CopyBoth.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::auth::{self, Scram};
use crate::backend::Authentication;
pub use crate::backend::Event;
use crate::error::{Error, Unexpected, Unsupported};
use crate::frame;
use crate::frontend;

/// The longest message, CopyData excepted, that is taken from a server.
pub const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// The same before it let us in.
pub const UNAUTHENTICATED_BYTES_MAX: usize = 64 << 10;

/// What kind of connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Replication {
    /// An ordinary one.
    #[default]
    No,
    /// A walsender of one database: replication commands, and SQL by simple query.
    Logical,
}

/// What a session is opened with.
#[derive(Clone, Copy, Default)]
pub struct Startup<'a> {
    /// The role.
    pub user: &'a str,
    /// The database.
    pub database: &'a str,
    /// None: only a server that trusts us lets us in.
    pub password: Option<&'a str>,
    /// As pg_stat_activity shows it.
    pub application_name: &'a str,
    /// Walsender or not.
    pub replication: Replication,
    /// More settings, names and values: `client_encoding`, `DateStyle`, ..
    pub parameters: &'a [(&'a str, &'a str)],
    /// Random bytes, new for every session.
    pub nonce: [u8; 18],
}

/// Prints everything but the password.
impl std::fmt::Debug for Startup<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Startup")
            .field("user", &self.user)
            .field("database", &self.database)
            .field("application_name", &self.application_name)
            .field("replication", &self.replication)
            .field("parameters", &self.parameters)
            .finish_non_exhaustive()
    }
}

/// A machine: it reads no socket and keeps no buffer.
///
/// Calls in order: [`Self::start`] once; then [`Self::next`] on whatever arrived, again and again
/// until it says "not yet", sending what it put into `out`; commands once
/// [`Self::ready`] says so. TLS, where wanted, is agreed on before `start`
/// ([`frontend::ssl_request`]).
#[derive(Debug)]
pub struct Session {
    state: State,
    secrets: Secrets,
    startup: Vec<u8>,
    /// ReadyForQuery that the server owes us.
    owed: u32,
    /// Extended messages were put since the last Sync.
    unsynced: bool,
}

/// What authentication needs, and nobody may print.
struct Secrets {
    user: String,
    password: Option<String>,
    nonce: [u8; 18],
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum State {
    /// Before the startup message.
    New,
    /// The server has not said how we are to authenticate, or has the answer.
    Authenticating,
    /// SCRAM: our first message is out.
    ScramFirst(Box<Scram>),
    /// SCRAM: our proof is out.
    ScramFinal(Box<Scram>),
    /// SCRAM: the server has proved itself; AuthenticationOk must follow.
    ScramVerified,
    /// Let in; settings arrive, ReadyForQuery will end it.
    Settling,
    /// Commands and their answers; [`Session::owed`] tells idle from busy.
    Open,
    CopyOut,
    CopyIn,
    CopyBoth,
    /// A CopyBoth that either side has ended: CopyData may still come and means nothing new.
    CopyEnding,
    Terminated,
}

impl State {
    fn name(&self) -> &'static str {
        match self {
            Self::New => "not started",
            Self::Authenticating => "authenticating",
            Self::ScramFirst(_) | Self::ScramFinal(_) | Self::ScramVerified => {
                "authenticating by SCRAM"
            }
            Self::Settling => "starting up",
            Self::Open => "in session",
            Self::CopyOut => "in COPY to us",
            Self::CopyIn => "in COPY from us",
            Self::CopyBoth => "streaming",
            Self::CopyEnding => "ending the stream",
            Self::Terminated => "terminated",
        }
    }
}

impl Session {
    /// A session that has said nothing yet.
    #[must_use]
    pub fn new(startup: &Startup<'_>) -> Self {
        let replication = match startup.replication {
            Replication::No => None,
            Replication::Logical => Some(("replication", "database")),
        };
        let named = [
            ("user", startup.user),
            ("database", startup.database),
            ("application_name", startup.application_name),
        ];
        let named = named.into_iter().filter(|(_, value)| !value.is_empty());
        let mut message = Vec::new();
        let parameters = startup.parameters.iter().copied();
        frontend::startup(&mut message, named.chain(replication).chain(parameters));
        Self {
            state: State::New,
            secrets: Secrets {
                user: startup.user.to_owned(),
                password: startup.password.map(str::to_owned),
                nonce: startup.nonce,
            },
            startup: message,
            owed: 0,
            unsynced: false,
        }
    }

    /// Appends the startup message.
    ///
    /// Errors: `Unexpected` the second time.
    pub fn start(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        if !matches!(self.state, State::New) {
            return Err(self.unexpected("StartupMessage").into());
        }
        out.append(&mut self.startup);
        self.state = State::Authenticating;
        self.owed = 1;
        Ok(())
    }

    /// Whether the next command may be given: we are in, and every answer is complete.
    #[must_use]
    pub fn ready(&self) -> bool {
        matches!(self.state, State::Open) && self.owed == 0 && !self.unsynced
    }

    /// Whether CopyBoth goes on in both directions.
    #[must_use]
    pub fn streaming(&self) -> bool {
        matches!(self.state, State::CopyBoth)
    }

    /// Parses one message off the front of `input`: what it says and how many bytes it took.
    /// `None`: it has not arrived in full. Requests for authentication are answered into `out`.
    ///
    /// Errors: the session is over, whatever the error. What the server refuses is not an error
    /// here but [`Event::ServerError`]; after a FATAL one the server closes the connection, after
    /// any other it goes on to [`Event::Ready`].
    #[inline]
    pub fn next<'b>(
        &mut self,
        input: &'b [u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<(Event<'b>, usize)>, Error> {
        let max = match self.state {
            State::New
            | State::Authenticating
            | State::ScramFirst(_)
            | State::ScramFinal(_)
            | State::ScramVerified => UNAUTHENTICATED_BYTES_MAX,
            _ => MESSAGE_BYTES_MAX,
        };
        let Some((frame, consumed)) = frame::split(input, max)? else {
            return Ok(None);
        };
        let event = Event::parse(frame)?;
        if !matches!(
            (&event, &self.state),
            (Event::CopyData(_), State::CopyBoth | State::CopyOut)
        ) {
            self.advance(&event, out)?;
        }
        Ok(Some((event, consumed)))
    }

    /// The state after `event`.
    fn advance(&mut self, event: &Event<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
        let unexpected = self.unexpected(event.name());
        match (event, &self.state) {
            (_, State::New | State::Terminated) => return Err(unexpected.into()),
            (Event::Notice(_), _) => {}
            (Event::ServerError(_), state) => {
                // A COPY that fails is over; the server goes on to ReadyForQuery.
                if matches!(
                    state,
                    State::CopyOut | State::CopyIn | State::CopyBoth | State::CopyEnding
                ) {
                    self.state = State::Open;
                }
            }
            (Event::Authenticated, State::Authenticating | State::ScramVerified) => {
                self.state = State::Settling
            }
            (Event::Authentication(request), _) => return self.answer(*request, out),
            (Event::NegotiateProtocolVersion { newest }, State::Authenticating) => {
                if *newest >> 16 != frontend::PROTOCOL >> 16 {
                    return Err(Unsupported {
                        feature: "the server's protocol",
                    }
                    .into());
                }
            }
            (
                Event::ParameterStatus { .. },
                State::Settling
                | State::Open
                | State::CopyOut
                | State::CopyIn
                | State::CopyBoth
                | State::CopyEnding,
            ) => {}
            (Event::BackendKeyData { .. }, State::Settling) => {}
            (Event::Ready(_), State::Settling | State::Open | State::CopyEnding)
                if self.owed > 0 =>
            {
                self.owed -= 1;
                self.state = State::Open;
            }
            (Event::Notification { .. }, State::Open | State::CopyOut | State::CopyIn) => {}
            (
                Event::RowDescription(_)
                | Event::DataRow(_)
                | Event::CommandComplete(_)
                | Event::EmptyQuery
                | Event::ParseComplete
                | Event::BindComplete
                | Event::CloseComplete
                | Event::NoData
                | Event::PortalSuspended
                | Event::ParameterDescription(_),
                State::Open,
            ) if self.busy() => {}
            (Event::CopyOut(_), State::Open) if self.busy() => self.state = State::CopyOut,
            (Event::CopyIn(_), State::Open) if self.busy() => self.state = State::CopyIn,
            (Event::CopyBoth(_), State::Open) if self.busy() => self.state = State::CopyBoth,
            (Event::CopyData(_), State::CopyOut | State::CopyBoth | State::CopyEnding) => {}
            (Event::CopyDone, State::CopyOut) => self.state = State::Open,
            (Event::CopyDone, State::CopyBoth | State::CopyEnding) => {
                self.state = State::CopyEnding;
            }
            // A server that shuts down ends the stream without CopyDone.
            (Event::CommandComplete(_), State::CopyBoth | State::CopyEnding) => {
                self.state = State::CopyEnding;
            }
            _ => return Err(unexpected.into()),
        }
        Ok(())
    }

    /// Answers a request for authentication.
    fn answer(&mut self, request: Authentication<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
        let unexpected = self.unexpected("Authentication");
        let password = self.secrets.password.as_deref();
        match (request, &mut self.state) {
            (Authentication::Cleartext, State::Authenticating) => {
                let password = password.ok_or(Error::PasswordMissing)?;
                frontend::password(out, password.as_bytes());
            }
            (Authentication::Md5(salt), State::Authenticating) => {
                let password = password.ok_or(Error::PasswordMissing)?;
                frontend::password(out, &auth::md5(&self.secrets.user, password, salt));
            }
            (Authentication::Sasl(mechanisms), State::Authenticating) => {
                let ours = auth::SCRAM_SHA_256.as_bytes();
                if !mechanisms.names().any(|name| name == ours) {
                    let feature = "every SASL mechanism that the server offers";
                    return Err(Unsupported { feature }.into());
                }
                let password = password.ok_or(Error::PasswordMissing)?;
                let nonce = BASE64.encode(self.secrets.nonce);
                let scram = Scram::new("", password.as_bytes(), &nonce);
                let first = scram.client_first();
                frontend::sasl_initial_response(out, auth::SCRAM_SHA_256, first.as_bytes());
                self.state = State::ScramFirst(Box::new(scram));
            }
            (Authentication::SaslContinue(server_first), State::ScramFirst(scram)) => {
                let proof = scram.respond(server_first)?;
                frontend::sasl_response(out, proof.as_bytes());
                let scram = std::mem::replace(&mut self.state, State::Authenticating);
                if let State::ScramFirst(scram) = scram {
                    self.state = State::ScramFinal(scram);
                }
            }
            (Authentication::SaslFinal(server_final), State::ScramFinal(scram)) => {
                scram.verify(server_final)?;
                self.state = State::ScramVerified;
            }
            (Authentication::Other(code), State::Authenticating) => {
                let feature = match code {
                    2 => "Kerberos V5 authentication",
                    7 | 8 => "GSSAPI authentication",
                    9 => "SSPI authentication",
                    _ => "the authentication that the server asks for",
                };
                return Err(Unsupported { feature }.into());
            }
            _ => return Err(unexpected.into()),
        }
        Ok(())
    }

    /// Whether answers may come.
    fn busy(&self) -> bool {
        self.owed > 0 || self.unsynced
    }

    fn unexpected(&self, message: &'static str) -> Unexpected {
        let state = match &self.state {
            State::Open if !self.busy() => "idle",
            state => state.name(),
        };
        Unexpected { state, message }
    }

    /// Commands can be given before the answers to earlier ones are complete.
    fn command(&self, name: &'static str) -> Result<(), Error> {
        match self.state {
            State::Open => Ok(()),
            _ => Err(self.unexpected(name).into()),
        }
    }

    /// A simple query: SQL, or a replication command on a walsender. Ends with [`Event::Ready`].
    ///
    /// Errors: `Unexpected` before startup is complete and in COPY.
    pub fn query(&mut self, out: &mut Vec<u8>, sql: &str) -> Result<(), Error> {
        self.command("Query")?;
        frontend::query(out, sql);
        self.owed += 1;
        Ok(())
    }

    /// See [`frontend::parse`]. Walsenders refuse this and the rest of the extended protocol.
    pub fn parse(
        &mut self,
        out: &mut Vec<u8>,
        statement: &str,
        sql: &str,
        parameter_oids: &[u32],
    ) -> Result<(), Error> {
        self.command("Parse")?;
        frontend::parse(out, statement, sql, parameter_oids);
        self.unsynced = true;
        Ok(())
    }

    /// See [`frontend::bind`].
    pub fn bind(
        &mut self,
        out: &mut Vec<u8>,
        portal: &str,
        statement: &str,
        parameter_formats: &[i16],
        parameters: &[Option<&[u8]>],
        result_formats: &[i16],
    ) -> Result<(), Error> {
        self.command("Bind")?;
        frontend::bind(
            out,
            portal,
            statement,
            parameter_formats,
            parameters,
            result_formats,
        );
        self.unsynced = true;
        Ok(())
    }

    /// See [`frontend::execute`].
    pub fn execute(&mut self, out: &mut Vec<u8>, portal: &str, rows_max: i32) -> Result<(), Error> {
        self.command("Execute")?;
        frontend::execute(out, portal, rows_max);
        self.unsynced = true;
        Ok(())
    }

    /// Ends a run of extended messages; [`Event::Ready`] will answer.
    pub fn sync(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        self.command("Sync")?;
        frontend::sync(out);
        self.owed += 1;
        self.unsynced = false;
        Ok(())
    }

    /// Bytes of a COPY from us, or of a stream (a status update puts its own CopyData).
    pub fn copy_data(&mut self, out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Error> {
        match self.state {
            State::CopyIn | State::CopyBoth => frontend::copy_data(out, bytes),
            _ => return Err(self.unexpected("CopyData").into()),
        }
        Ok(())
    }

    /// Our side of a COPY or a stream is complete.
    pub fn copy_done(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        match self.state {
            State::CopyIn => self.state = State::Open,
            State::CopyBoth => self.state = State::CopyEnding,
            _ => return Err(self.unexpected("CopyDone").into()),
        }
        frontend::copy_done(out);
        Ok(())
    }

    /// Our side of a COPY failed; the server will answer with an error of that reason.
    pub fn copy_fail(&mut self, out: &mut Vec<u8>, reason: &str) -> Result<(), Error> {
        match self.state {
            State::CopyIn => self.state = State::Open,
            _ => return Err(self.unexpected("CopyFail").into()),
        }
        frontend::copy_fail(out, reason);
        Ok(())
    }

    /// We leave; the connection can be closed.
    pub fn terminate(&mut self, out: &mut Vec<u8>) {
        frontend::terminate(out);
        self.state = State::Terminated;
    }
}
