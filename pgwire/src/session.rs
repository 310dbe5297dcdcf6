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

    /// See [`frontend::bind_with`].
    pub fn bind_with(
        &mut self,
        out: &mut Vec<u8>,
        portal: &str,
        statement: &str,
        parameter_formats: &[i16],
        parameters: (usize, impl FnMut(usize, &mut Vec<u8>) -> bool),
    ) -> Result<(), Error> {
        self.command("Bind")?;
        frontend::bind_with(out, portal, statement, parameter_formats, parameters, &[]);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::TransactionStatus;
    use crate::error::{Fault, Malformed};
    use crate::write::Length;
    use proptest::prelude::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut message = Length::open(&mut out, tag);
        message.body().extend_from_slice(body);
        message.seal();
        out
    }

    fn started(password: Option<&str>) -> (Session, Vec<u8>) {
        let mut out = Vec::new();
        let startup = Startup {
            user: "u_md5",
            database: "d",
            password,
            application_name: "a",
            replication: Replication::Logical,
            parameters: &[("client_encoding", "UTF8")],
            nonce: [7; 18],
        };
        let mut session = Session::new(&startup);
        session.start(&mut out).unwrap();
        (session, out)
    }

    /// Feeds all of `input`, which must be whole messages; the events as text.
    fn feed(session: &mut Session, input: &[u8], out: &mut Vec<u8>) -> Result<Vec<String>, Error> {
        let mut rest = input;
        let mut events = Vec::new();
        while let Some((event, consumed)) = session.next(rest, out)? {
            events.push(format!("{event:?}"));
            rest = &rest[consumed..];
        }
        assert_eq!(rest, b"", "a whole message was not taken");
        Ok(events)
    }

    fn settled() -> Session {
        let (mut session, _) = started(None);
        let input = [
            message(b'R', &[0; 4]),
            message(b'S', b"server_version\x0015.18\0"),
            message(b'K', &[0, 0, 0, 1, 2, 3, 4, 5]),
            message(b'Z', b"I"),
        ];
        assert!(!session.ready());
        feed(&mut session, &input.concat(), &mut Vec::new()).unwrap();
        assert!(session.ready());
        session
    }

    #[test]
    fn startup_message() {
        let (mut session, out) = started(None);
        let body: &[u8] = b"\0\x03\0\0user\0u_md5\0database\0d\0application_name\0a\0\
                            replication\0database\0client_encoding\0UTF8\0\0";
        assert_eq!(
            out[..4],
            u32::try_from(body.len() + 4).unwrap().to_be_bytes()
        );
        assert_eq!(&out[4..], body);
        assert!(session.start(&mut Vec::new()).is_err());
        let mut request = Vec::new();
        frontend::ssl_request(&mut request);
        assert_eq!(request, b"\0\0\0\x08\x04\xd2\x16\x2f");
    }

    #[test]
    fn passwords() {
        let mut out = Vec::new();
        let salted = message(b'R', b"\0\0\0\x05\xa1\xb2\xc3\xd4");
        feed(&mut started(Some("pencil")).0, &salted, &mut out).unwrap();
        assert_eq!(out, message(b'p', b"md582664affddcdac5af727399582cd7d07\0"));
        let error = feed(&mut started(None).0, &salted, &mut out);
        assert_eq!(error, Err(Error::PasswordMissing));

        out.clear();
        let clear = message(b'R', b"\0\0\0\x03");
        feed(&mut started(Some("pencil")).0, &clear, &mut out).unwrap();
        assert_eq!(out, message(b'p', b"pencil\0"));

        let gssapi = feed(
            &mut started(None).0,
            &message(b'R', b"\0\0\0\x07"),
            &mut out,
        );
        assert!(matches!(gssapi, Err(Error::Unsupported(_))), "{gssapi:?}");
        let other = message(b'R', b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0\0");
        let other = feed(&mut started(Some("pencil")).0, &other, &mut out);
        assert!(matches!(other, Err(Error::Unsupported(_))), "{other:?}");
    }

    #[test]
    fn scram_needs_the_servers_proof() {
        let (mut session, _) = started(Some("pencil"));
        let mut out = Vec::new();
        let offer = message(b'R', b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0");
        feed(&mut session, &offer, &mut out).unwrap();
        let nonce = BASE64.encode([7; 18]);
        let first = format!("n,,n=,r={nonce}");
        let length = u32::try_from(first.len()).unwrap().to_be_bytes();
        let body = [b"SCRAM-SHA-256\0".as_slice(), &length, first.as_bytes()].concat();
        assert_eq!(out, message(b'p', &body));

        let challenge = format!("r={nonce}server,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=16");
        let challenge = message(b'R', &[b"\0\0\0\x0b", challenge.as_bytes()].concat());
        feed(&mut session, &challenge, &mut out).unwrap();

        // A server that does not know the password cannot go on, whichever way it tries.
        let ok = message(b'R', &[0; 4]);
        let skipped = feed(&mut session, &ok, &mut out);
        assert!(matches!(skipped, Err(Error::Unexpected(_))), "{skipped:?}");
        let forged = [
            b"\0\0\0\x0cv=".as_slice(),
            BASE64.encode([1; 32]).as_bytes(),
        ]
        .concat();
        let forged = feed(&mut session, &message(b'R', &forged), &mut out);
        assert!(
            matches!(
                forged,
                Err(Error::Malformed(Malformed {
                    fault: Fault::Mismatch,
                    ..
                }))
            ),
            "{forged:?}"
        );
    }

    #[test]
    fn query_and_error() {
        let mut session = settled();
        let mut out = Vec::new();
        session.query(&mut out, "SELECT 1\0; DROP TABLE t").unwrap();
        assert_eq!(
            out,
            message(b'Q', b"SELECT 1\0"),
            "the protocol has no zero byte in text"
        );
        assert!(!session.ready());
        let input = [
            message(
                b'T',
                b"\0\x01c\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0",
            ),
            message(b'D', b"\0\x02\0\0\0\x011\xff\xff\xff\xff"),
            message(b'N', b"SNOTICE\0C00000\0Mhello\0\0"),
            message(
                b'E',
                b"SFEHLER\0VERROR\0C22012\0Mdivision by zero\0Zunknown\0\0",
            ),
            message(b'Z', b"E"),
        ];
        let events = feed(&mut session, &input.concat(), &mut out).unwrap();
        assert!(session.ready());
        assert_eq!(events[1], "DataRow([Some([49]), None])");
        let error = message(b'E', b"SFEHLER\0VERROR\0C22012\0Mdivision by zero\0P8\0\0");
        let (event, _) = session.next(&error, &mut out).unwrap().unwrap();
        let Event::ServerError(error) = event else {
            panic!("an error")
        };
        assert_eq!(error.to_string(), "ERROR 22012: division by zero");
        assert_eq!((error.position(), error.hint()), (Some(8), None));
    }

    #[test]
    fn a_stream_and_its_ends() {
        let mut out = Vec::new();
        let both = message(b'W', b"\0\0\0");
        let data = message(b'd', b"k");
        let done = message(b'c', b"");
        let complete = message(b'C', b"COPY 0\0");
        let ready = message(b'Z', b"I");
        let status = message(b'S', b"a\0b\0");

        // Ours: CopyData still comes behind the server's own CopyDone.
        let mut session = settled();
        session.query(&mut out, "START_REPLICATION").unwrap();
        feed(
            &mut session,
            &[&both[..], &data, &status].concat(),
            &mut out,
        )
        .unwrap();
        assert!(session.streaming() && session.query(&mut out, "").is_err());
        session.copy_data(&mut out, b"r").unwrap();
        session.copy_done(&mut out).unwrap();
        assert!(session.copy_data(&mut out, b"r").is_err());
        let end = [&data[..], &done, &data, &complete, &complete, &ready].concat();
        feed(&mut session, &end, &mut out).unwrap();
        assert!(session.ready());

        // A shutdown: no CopyDone. An error: the stream is over, ReadyForQuery follows.
        for end in [complete, message(b'E', b"SERROR\0C22021\0Mx\0\0")] {
            let mut session = settled();
            session.query(&mut out, "START_REPLICATION").unwrap();
            feed(
                &mut session,
                &[&both[..], &data, &end, &ready].concat(),
                &mut out,
            )
            .unwrap();
            assert!(session.ready());
        }
    }

    #[test]
    fn wrong_moments() {
        let unexpected = |session: &mut Session, input: &[u8]| {
            matches!(
                feed(session, input, &mut Vec::new()),
                Err(Error::Unexpected(_))
            )
        };
        let (mut session, _) = started(None);
        assert!(unexpected(&mut session, &message(b'Z', b"I")));
        let mut session = settled();
        for (tag, body) in [
            (b'Z', b"I".as_slice()),
            (b'd', b""),
            (b'D', b"\0\0"),
            (b'R', &[0; 4]),
            (b'W', b"\0\0\0"),
            (b'c', b""),
        ] {
            assert!(
                unexpected(&mut session, &message(tag, body)),
                "{}",
                char::from(tag)
            );
        }
        let fatal = message(b'E', b"SFATAL\0C57P01\0Mterminating\0\0");
        assert!(
            feed(&mut session, &fatal, &mut Vec::new()).is_ok(),
            "a shutdown needs no query"
        );
        let (mut session, _) = started(None);
        let large = b"E\0\x10\0\0";
        assert!(
            session.next(large, &mut Vec::new()).is_err(),
            "before we are let in"
        );
    }

    #[test]
    fn extended_queries_and_copy_in() {
        let mut session = settled();
        let mut out = Vec::new();
        session.parse(&mut out, "", "SELECT $1", &[23]).unwrap();
        session
            .bind(&mut out, "", "", &[1], &[Some(&[0, 0, 0, 1]), None], &[1])
            .unwrap();
        session.execute(&mut out, "", 0).unwrap();
        session.sync(&mut out).unwrap();
        let expected = [
            message(b'P', b"\0SELECT $1\0\0\x01\0\0\0\x17"),
            message(
                b'B',
                b"\0\0\0\x01\0\x01\0\x02\0\0\0\x04\0\0\0\x01\xff\xff\xff\xff\0\x01\0\x01",
            ),
            message(b'E', b"\0\0\0\0\0"),
            message(b'S', b""),
        ];
        assert_eq!(out, expected.concat());
        let answers = [
            message(b'1', b""),
            message(b'2', b""),
            message(b'D', b"\0\x01\0\0\0\x011"),
            message(b'C', b"SELECT 1\0"),
            message(b'Z', b"I"),
        ];
        feed(&mut session, &answers.concat(), &mut out).unwrap();
        assert!(session.ready());

        session.query(&mut out, "COPY t FROM STDIN").unwrap();
        feed(&mut session, &message(b'G', b"\0\0\x01\0\0"), &mut out).unwrap();
        out.clear();
        session.copy_data(&mut out, b"1\n").unwrap();
        session.copy_done(&mut out).unwrap();
        assert_eq!(out, [message(b'd', b"1\n"), message(b'c', b"")].concat());
        let answers = [message(b'C', b"COPY 1\0"), message(b'Z', b"I")].concat();
        let events = feed(&mut session, &answers, &mut out).unwrap();
        assert_eq!(
            events.last(),
            Some(&format!("{:?}", Event::Ready(TransactionStatus::IDLE)))
        );
    }

    proptest! {
        /// Runs of extended messages are answered each by its own ReadyForQuery, however many are
        /// under way, and an error in one does not reach the next.
        #[test]
        fn runs_of_a_pipeline_are_answered_in_order(
            fails in proptest::collection::vec(any::<bool>(), 1..20),
        ) {
            let mut session = settled();
            let mut out = Vec::new();
            for _ in &fails {
                let put = |_: usize, out: &mut Vec<u8>| { out.push(b'1'); true };
                session.bind_with(&mut out, "", "s", &[], (1, put)).unwrap();
                session.execute(&mut out, "", 0).unwrap();
                session.sync(&mut out).unwrap();
            }
            prop_assert!(!session.ready());
            let mut answers = Vec::new();
            for fails in &fails {
                answers.extend(message(b'2', b""));
                answers.extend(match fails {
                    true => message(b'E', b"SERROR\0C40P01\0Mdeadlock detected\0\0"),
                    false => message(b'C', b"INSERT 0 1\0"),
                });
                answers.extend(message(b'Z', b"I"));
            }
            let events = feed(&mut session, &answers, &mut out).unwrap();
            let errors = events.iter().filter(|event| event.starts_with("ServerError")).count();
            prop_assert_eq!(errors, fails.iter().filter(|fails| **fails).count());
            prop_assert!(session.ready());
            let late = message(b'2', b"");
            prop_assert!(feed(&mut session, &late, &mut out).is_err(), "nothing is owed any more");
        }

        /// Parameters written in place are those of a list.
        #[test]
        fn both_ways_to_bind_agree(
            parameters in proptest::collection::vec(any::<Option<Vec<u8>>>(), 0..8),
            formats in proptest::collection::vec(0i16..2, 0..3),
        ) {
            let views: Vec<_> = parameters.iter().map(|value| value.as_deref()).collect();
            let (mut listed, mut placed) = (Vec::new(), Vec::new());
            frontend::bind(&mut listed, "p", "s", &formats, &views, &[]);
            // Written by hand, from the documentation.
            let mut body = b"p\0s\0".to_vec();
            body.extend(u16::try_from(formats.len()).unwrap().to_be_bytes());
            formats.iter().for_each(|format| body.extend(format.to_be_bytes()));
            body.extend(u16::try_from(views.len()).unwrap().to_be_bytes());
            for view in &views {
                let length = view.map_or(-1, |bytes| i32::try_from(bytes.len()).unwrap());
                body.extend(length.to_be_bytes());
                body.extend(view.unwrap_or_default());
            }
            body.extend([0, 0]);
            prop_assert_eq!(&listed, &message(b'B', &body));
            let put = |index: usize, out: &mut Vec<u8>| {
                // What is appended beside a NULL does not count.
                out.extend(views[index].unwrap_or(b"x"));
                views[index].is_some()
            };
            frontend::bind_with(&mut placed, "p", "s", &formats, (views.len(), put), &[]);
            prop_assert_eq!(placed, listed);
        }

        /// However the bytes are cut, the events are those of the whole.
        #[test]
        fn every_cut_gives_the_same_events(cuts in proptest::collection::vec(1usize..40, 1..20)) {
            let input = [
                message(b'R', b"\0\0\0\x05\xa1\xb2\xc3\xd4"),
                message(b'R', &[0; 4]),
                message(b'S', b"TimeZone\0UTC\0"),
                message(b'K', &[0; 36]),
                message(b'Z', b"I"),
                message(b'E', b"SFATAL\0C57P01\0Mterminating\0\0"),
            ].concat();
            let mut out = Vec::new();
            let whole = feed(&mut started(Some("p")).0, &input, &mut out).unwrap();
            let (mut session, _) = started(Some("p"));
            let mut cut_out = Vec::new();
            let mut events = Vec::new();
            let (mut head, mut tail) = (0, 0);
            let mut sizes = cuts.iter().cycle();
            while tail < input.len() {
                tail = input.len().min(tail + sizes.next().unwrap());
                while let Some((event, n)) =
                    session.next(&input[head..tail], &mut cut_out).unwrap()
                {
                    events.push(format!("{event:?}"));
                    head += n;
                }
            }
            prop_assert_eq!(events, whole);
            prop_assert_eq!(cut_out, out);
        }
    }
}
