//! [`Client`]: one connection to PostgreSQL, for queries, COPY and the way into streaming.

use std::path::PathBuf;
use std::time::Duration;

use pgwire::backend::{Event, SqlState};
use pgwire::session::{Replication, Session, Startup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::error::{PgError, PgFault, Setup};
use crate::config::{Pem, Source, SslMode};
use crate::net::{Stream, TlsConfig, TlsOptions, Verify};

/// Bytes read from the socket at once.
const READ_BYTES: usize = 256 << 10;

/// What every session is set to, so that values print as `pgwire::value` reads them, and no
/// default of a role or a database ends a session that waits.
const PARAMETERS: &[(&str, &str)] = &[
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
];

/// The same, by the first major version that has the setting: an unknown one would be refused at
/// startup, so these are set behind it.
const LATER_PARAMETERS: &[(u32, &str)] = &[
    (140_000, "SET idle_session_timeout = 0"),
    (170_000, "SET transaction_timeout = 0"),
];

/// A row of a simple query: each column's text, or NULL.
pub type TextRow = Vec<Option<String>>;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// SQL.
    Query,
    /// Replication commands, and SQL too, but only by simple query.
    Replication,
}

/// One connection, between commands.
///
/// Futures of its methods are not cancel-safe: one that was dropped half-way leaves an answer
/// behind, so drop the client with it.
#[derive(Debug)]
pub struct Client {
    stream: Stream,
    session: Session,
    /// Received bytes; those before `head` are taken.
    inbox: Vec<u8>,
    head: usize,
    /// Bytes to send.
    outbox: Vec<u8>,
    /// Of the error that the current command was answered with; it ends with ReadyForQuery.
    refusal: Option<PgError>,
    target: String,
    parameters: Vec<(String, String)>,
}

/// A connection that streams: CopyBoth has begun.
#[derive(Debug)]
pub struct Streaming {
    /// The socket.
    pub stream: Stream,
    /// In CopyBoth.
    pub session: Session,
    /// What has arrived behind CopyBothResponse.
    pub received: Vec<u8>,
    /// `user@host:port/database`, for errors.
    pub target: String,
}

impl Client {
    /// Connects as `database.*` says, sslmode included, and is ready for commands.
    /// `database.initial.statements` are run on connections for queries.
    ///
    /// Errors: [`PgError`]; of several attempts (sslmode allow and prefer) the last one's.
    pub async fn connect(
        source: &Source,
        purpose: Purpose,
        application_name: &str,
    ) -> Result<Self, PgError> {
        let target = format!(
            "{}@{}:{}/{}",
            source.user, source.host, source.port, source.database
        );
        let open = async |tls: Tls| {
            let attempt = Self::open(source, purpose, application_name, &target, tls);
            match tokio::time::timeout(source.connect_timeout, attempt).await {
                Ok(client) => client,
                Err(_) => Err(PgError::new(&target, PgFault::TimedOut)),
            }
        };
        let unix = source.host.starts_with('/');
        let mut client = match source.ssl_mode {
            _ if unix => open(Tls::Off).await?,
            SslMode::Disable => open(Tls::Off).await?,
            SslMode::Allow => match open(Tls::Off).await {
                // pg_hba.conf may want TLS for us.
                Err(error) if error.code() == Some(SqlState::INVALID_AUTHORIZATION) => {
                    open(Tls::Demanded)
                        .await
                        .map_err(|second| prefer_first(error, second))?
                }
                result => result?,
            },
            SslMode::Prefer => match open(Tls::Wanted).await {
                // pg_hba.conf may want no TLS for us, and TLS itself may fail.
                Err(error)
                    if error.code() == Some(SqlState::INVALID_AUTHORIZATION)
                        || matches!(&error.fault, PgFault::Connect(net) if net.over_tls()) =>
                {
                    open(Tls::Off)
                        .await
                        .map_err(|second| prefer_first(error, second))?
                }
                result => result?,
            },
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
                open(Tls::Demanded).await?
            }
        };
        let version = client.server_version_num();
        for &(since, statement) in LATER_PARAMETERS {
            if version >= since {
                client.simple_query(statement).await?;
            }
        }
        if purpose == Purpose::Query {
            for statement in &source.initial_statements {
                client.simple_query(statement).await?;
            }
        }
        Ok(client)
    }

    /// One attempt, up to the first ReadyForQuery.
    async fn open(
        source: &Source,
        purpose: Purpose,
        application_name: &str,
        target: &str,
        tls: Tls,
    ) -> Result<Self, PgError> {
        let fail = |fault: PgFault| PgError::new(target, fault);
        let timeout = source.connect_timeout;
        let mut stream = if source.host.starts_with('/') {
            let mut path = PathBuf::from(&source.host);
            path.push(format!(".s.PGSQL.{}", source.port));
            Stream::connect_unix(&path, timeout)
                .await
                .map_err(|error| fail(error.into()))?
        } else {
            let connected = Stream::connect_tcp(&source.host, source.port, timeout).await;
            connected.map_err(|error| fail(error.into()))?
        };
        if tls != Tls::Off {
            stream = start_tls(stream, source, target, tls, timeout).await?;
        }

        let mut nonce = [0; 18];
        crate::net::fill_random(&mut nonce).map_err(|error| fail(error.into()))?;
        let session = Session::new(&Startup {
            user: &source.user,
            database: &source.database,
            password: source.password.as_deref(),
            application_name,
            replication: match purpose {
                Purpose::Query => Replication::No,
                Purpose::Replication => Replication::Logical,
            },
            parameters: PARAMETERS,
            nonce,
        });
        let mut client = Self::over(stream, session, target);
        client.settle().await?;
        Ok(client)
    }

    /// A client over a stream that nothing was sent on yet.
    #[must_use]
    pub fn over(stream: Stream, session: Session, target: &str) -> Self {
        Self {
            stream,
            session,
            inbox: Vec::new(),
            head: 0,
            outbox: Vec::new(),
            refusal: None,
            target: target.to_owned(),
            parameters: Vec::new(),
        }
    }

    /// Startup and authentication, up to the first ReadyForQuery.
    ///
    /// Errors: [`PgError`].
    pub async fn settle(&mut self) -> Result<(), PgError> {
        let started = self.session.start(&mut self.outbox);
        started.map_err(|error| self.fail(error))?;
        self.drive(None, |event| {
            Ok(matches!(event, Event::Ready(_)).then_some(()))
        })
        .await
    }

    /// `user@host:port/database`, for errors.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// A setting that the server has reported: `server_encoding`, `in_hot_standby`.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The server's version as a number, 150018 for `15.18 (Debian ..)`; 0 when it does not say.
    #[must_use]
    pub fn server_version_num(&self) -> u32 {
        let text = self.parameter("server_version").unwrap_or_default();
        let mut numbers = text
            .split(|c: char| !c.is_ascii_digit() && c != '.')
            .next()
            .unwrap_or_default()
            .split('.')
            .map(|part| part.parse::<u32>().unwrap_or(0));
        let major = numbers.next().unwrap_or(0);
        major * 10_000 + numbers.next().unwrap_or(0)
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub fn encrypted(&self) -> bool {
        self.stream.encrypted()
    }

    /// Runs `sql`, one or more statements or a replication command: all rows that they return.
    ///
    /// Errors: [`PgError`]; after one of the server's the client can go on.
    pub async fn simple_query(&mut self, sql: &str) -> Result<Vec<TextRow>, PgError> {
        self.command(sql)?;
        let mut rows = Vec::new();
        self.drive(Some(sql), |event| {
            match event {
                Event::DataRow(row) => rows.push(
                    row.values()
                        .map(|value| value.map(|text| String::from_utf8_lossy(text).into_owned()))
                        .collect(),
                ),
                Event::CopyOut(_) | Event::CopyIn(_) | Event::CopyBoth(_) => {
                    return Err(PgFault::Setup(Setup::Answer { expected: "rows" }));
                }
                Event::Ready(_) => return Ok(Some(())),
                _ => {}
            }
            Ok(None)
        })
        .await?;
        Ok(rows)
    }

    /// The only column of the only row of `sql`.
    ///
    /// Errors: [`PgError`], also when there is no row, or it is NULL.
    pub async fn scalar(&mut self, sql: &str) -> Result<String, PgError> {
        let rows = self.simple_query(sql).await?;
        let value = rows
            .into_iter()
            .next()
            .and_then(|row| row.into_iter().next().flatten());
        value.ok_or_else(|| {
            self.fail(Setup::Answer {
                expected: "a value",
            })
        })
    }

    /// Sends `sql` and leaves its answer to the caller, who reads [`Self::raw`] up to
    /// ReadyForQuery: COPY, parsed where it arrives.
    ///
    /// Errors: [`PgError`].
    pub async fn begin(&mut self, sql: &str) -> Result<(), PgError> {
        self.command(sql)?;
        let sent = async {
            self.stream.write_all(&self.outbox).await?;
            self.stream.flush().await
        };
        let sent = sent.await;
        self.outbox.clear();
        sent.map_err(|error| self.fail(error))
    }

    /// The socket and the machine, for an answer that the caller reads.
    pub fn raw(&mut self) -> (&mut Stream, &mut Session) {
        (&mut self.stream, &mut self.session)
    }

    /// Runs START_REPLICATION and hands out the connection once the stream has begun.
    ///
    /// Errors: [`PgError`].
    pub async fn start_replication(mut self, command: &str) -> Result<Streaming, PgError> {
        self.command(command)?;
        let begun = self.drive(Some(command), |event| match event {
            Event::CopyBoth(_) => Ok(Some(true)),
            Event::Ready(_) => Ok(Some(false)),
            _ => Ok(None),
        });
        if !begun.await? {
            return Err(self.fail(Setup::Answer {
                expected: "CopyBothResponse",
            }));
        }
        self.inbox.drain(..self.head);
        Ok(Streaming {
            stream: self.stream,
            session: self.session,
            received: self.inbox,
            target: self.target,
        })
    }

    /// Says goodbye and closes the connection; the server notices either way.
    pub async fn close(mut self) {
        self.session.terminate(&mut self.outbox);
        let _ = self.stream.write_all(&self.outbox).await;
        let _ = self.stream.shutdown().await;
    }

    fn command(&mut self, sql: &str) -> Result<(), PgError> {
        let put = self.session.query(&mut self.outbox, sql);
        put.map_err(|error| self.fail(error))
    }

    fn fail(&self, fault: impl Into<PgFault>) -> PgError {
        PgError::new(&self.target, fault)
    }

    /// Sends what is to be sent, and takes events until `on_event` has a result. An error of the
    /// server's is returned once ReadyForQuery has come, or the end of the connection.
    async fn drive<T>(
        &mut self,
        statement: Option<&str>,
        mut on_event: impl FnMut(&Event<'_>) -> Result<Option<T>, PgFault>,
    ) -> Result<T, PgError> {
        loop {
            let input = self.inbox.get(self.head..).unwrap_or_default();
            let next = self.session.next(input, &mut self.outbox);
            let Some((event, consumed)) = next.map_err(|e| PgError::new(&self.target, e))? else {
                self.exchange().await?;
                continue;
            };
            self.head += consumed;
            match &event {
                Event::ServerError(message) => {
                    self.refusal = Some(PgError::refused(&self.target, message, statement));
                }
                Event::Notice(message) => tracing::debug!("{}: {message}", self.target),
                Event::ParameterStatus { name, value } => {
                    let name = String::from_utf8_lossy(name);
                    self.parameters.retain(|(found, _)| *found != name);
                    let value = String::from_utf8_lossy(value).into_owned();
                    self.parameters.push((name.into_owned(), value));
                }
                Event::Ready(_) => {
                    if let Some(refusal) = self.refusal.take() {
                        return Err(refusal);
                    }
                }
                _ => {}
            }
            match on_event(&event) {
                Ok(None) => {}
                Ok(Some(result)) => return Ok(result),
                Err(fault) => return Err(PgError::new(&self.target, fault)),
            }
        }
    }

    /// Sends what is to be sent and waits for more bytes.
    async fn exchange(&mut self) -> Result<(), PgError> {
        if !self.outbox.is_empty() {
            let sent = async {
                self.stream.write_all(&self.outbox).await?;
                self.stream.flush().await
            };
            let sent = sent.await;
            self.outbox.clear();
            // A server that has refused us closes its side; its words are still to be read.
            if let Err(error) = sent
                && error.kind() != std::io::ErrorKind::BrokenPipe
            {
                return Err(self.fail(error));
            }
        }
        self.inbox.drain(..self.head);
        self.head = 0;
        self.inbox.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.inbox).await {
            Ok(0) => Err(self
                .refusal
                .take()
                .unwrap_or_else(|| self.fail(PgFault::Closed))),
            Ok(_) => Ok(()),
            Err(error) => Err(self.refusal.take().unwrap_or_else(|| self.fail(error))),
        }
    }
}

/// Between the attempts of sslmode allow and prefer: what the server refused outright says more
/// than that the other way did not lead there either.
fn prefer_first(first: PgError, second: PgError) -> PgError {
    match second.fault {
        PgFault::TlsMissing => first,
        _ => second,
    }
}

/// Whether and how much TLS an attempt is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tls {
    Off,
    /// If the server has it.
    Wanted,
    /// Or no connection at all.
    Demanded,
}

/// Asks for TLS, and begins it if the server has it.
async fn start_tls(
    mut stream: Stream,
    source: &Source,
    target: &str,
    tls: Tls,
    timeout: Duration,
) -> Result<Stream, PgError> {
    let fail = |fault: PgFault| PgError::new(target, fault);
    let mut request = Vec::new();
    pgwire::frontend::ssl_request(&mut request);
    stream
        .write_all(&request)
        .await
        .map_err(|error| fail(error.into()))?;
    // One byte and no more: what an attacker puts behind it is then read as TLS, and fails.
    let mut answer = [0];
    match stream.read_exact(&mut answer).await {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            return Err(fail(PgFault::Closed));
        }
        Err(error) => return Err(fail(error.into())),
    }
    match (&answer, tls) {
        (b"S", _) => {}
        (b"N", Tls::Wanted) => return Ok(stream),
        (b"N", _) => return Err(fail(PgFault::TlsMissing)),
        // An error that nobody has signed, so its words are not shown.
        (b"E", _) => return Err(fail(PgFault::Closed)),
        _ => {
            let malformed = pgwire::error::Malformed {
                message: "answer to SSLRequest",
                field: "answer",
                at: 0,
                fault: pgwire::error::Fault::Unknown(answer[0].into()),
            };
            return Err(fail(malformed.into()));
        }
    }
    let verify = match source.ssl_mode {
        SslMode::VerifyFull => Verify::Full,
        SslMode::VerifyCa => Verify::Chain,
        // As libpq does: who names a root wants it checked.
        SslMode::Require if source.ssl_root_cert.is_some() => Verify::Chain,
        _ => Verify::Nothing,
    };
    let file = |path: &Option<String>| path.clone().map(Pem::File);
    let (root_cert, cert, key) = (
        file(&source.ssl_root_cert),
        file(&source.ssl_cert),
        file(&source.ssl_key),
    );
    let config = TlsConfig::new(&TlsOptions {
        verify,
        root_cert: root_cert.as_ref(),
        cert: cert.as_ref(),
        key: key.as_ref(),
        alpn: &[b"postgresql"],
    });
    let config = config.map_err(|error| fail(error.into()))?;
    let started = stream.start_tls(&config, &source.host, timeout).await;
    started.map_err(|error| fail(error.into()))
}

#[cfg(test)]
mod tests {
    use super::super::inbox::Inbox;
    use super::*;
    use pgwire::write::Length;

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(future)
    }

    fn message(out: &mut Vec<u8>, tag: u8, body: &[u8]) {
        let mut message = Length::open(out, tag);
        message.body().extend_from_slice(body);
        message.seal();
    }

    /// A client whose server says `script` whatever it is asked, in pieces of 7 bytes, and leaves.
    async fn client(script: &[(u8, &[u8])]) -> Result<Client, PgError> {
        let mut bytes = Vec::new();
        for (tag, body) in [
            (b'R', [0; 4].as_slice()),
            (b'S', b"server_version\x0016.14 (Debian)\0"),
            (b'Z', b"I"),
        ]
        .iter()
        .chain(script)
        {
            message(&mut bytes, *tag, body);
        }
        let (ours, mut theirs) = Stream::pair(1 << 16);
        let session = Session::new(&Startup {
            user: "u",
            ..Startup::default()
        });
        tokio::spawn(async move {
            for piece in bytes.chunks(7) {
                theirs.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            theirs.shutdown().await.unwrap();
            let mut asked = Vec::new();
            let _ = theirs.read_to_end(&mut asked).await;
        });
        let mut client = Client::over(ours, session, "u@memory");
        client.settle().await?;
        Ok(client)
    }

    #[test]
    fn rows_and_refusals() {
        run(async {
            let mut client = client(&[
                (b'D', b"\0\x02\0\0\0\x011\xff\xff\xff\xff"),
                (b'C', b"SELECT 1\0"),
                (b'Z', b"I"),
                (b'E', b"SERROR\0C42501\0Mpermission denied for table t\0\0"),
                (b'Z', b"I"),
            ])
            .await
            .unwrap();
            assert_eq!(client.server_version_num(), 160_014);
            let rows = client.simple_query("SELECT 1").await.unwrap();
            assert_eq!(rows, [[Some("1".to_owned()), None]]);
            let error = client.simple_query("SELECT 2").await.unwrap_err();
            assert_eq!(error.code(), Some(SqlState::INSUFFICIENT_PRIVILEGE));
            assert!(error.to_string().contains("[SELECT 2]"), "{error}");
            let error = client.simple_query("SELECT 3").await.unwrap_err();
            assert!(matches!(error.fault, PgFault::Closed) && error.retriable());
        });
    }

    #[test]
    fn the_last_words_are_heard() {
        run(async {
            let fatal = b"SFATAL\0C57P01\0Mterminating connection\0\0";
            let mut client = client(&[(b'E', fatal)]).await.unwrap();
            let error = client.simple_query("SELECT 1").await.unwrap_err();
            assert_eq!(error.code(), Some(SqlState::ADMIN_SHUTDOWN));
        });
    }

    /// Everything of an answer that the caller reads: what CopyData held, and what was refused.
    async fn copied(client: &mut Client) -> (Vec<u8>, Option<String>) {
        client.begin("COPY t TO STDOUT").await.unwrap();
        let (mut rows, mut refused) = (Vec::new(), None);
        let (mut inbox, mut out) = (
            Inbox::holding(&client.inbox[client.head..], 64, 64),
            Vec::new(),
        );
        loop {
            let (stream, session) = client.raw();
            let Some((event, consumed)) = session.next(inbox.bytes(), &mut out).unwrap() else {
                inbox.fill(stream).await.unwrap();
                continue;
            };
            match event {
                Event::CopyData(row) => rows.extend_from_slice(row),
                Event::ServerError(error) => refused = Some(error.code().to_string()),
                Event::Ready(_) => return (rows, refused),
                _ => {}
            }
            inbox.consume(consumed);
        }
    }

    #[test]
    fn copy_is_read_by_the_caller() {
        run(async {
            let script: [(u8, &[u8]); 6] = [
                (b'H', b"\0\0\x01\0\0"),
                (b'd', b"1\n"),
                (b'd', b"22\n"),
                (b'c', b""),
                (b'C', b"COPY 2\0"),
                (b'Z', b"I"),
            ];
            let mut whole = client(&script).await.unwrap();
            assert_eq!(copied(&mut whole).await, (b"1\n22\n".to_vec(), None));
            let script: [(u8, &[u8]); 4] = [
                (b'H', b"\0\0\x01\0\0"),
                (b'd', b"1\n"),
                (b'E', b"SERROR\0C22021\0Minvalid byte sequence\0\0"),
                (b'Z', b"I"),
            ];
            let mut broken = client(&script).await.unwrap();
            let (rows, refused) = copied(&mut broken).await;
            assert_eq!((&*rows, refused.as_deref()), (&b"1\n"[..], Some("22021")));
        });
    }

    #[test]
    fn what_came_behind_the_start_of_the_stream_is_kept() {
        run(async {
            let script: [(u8, &[u8]); 2] = [(b'W', b"\0\0\0"), (b'd', b"k")];
            let client = client(&script).await.unwrap();
            let mut streaming = client.start_replication("START_REPLICATION").await.unwrap();
            assert!(streaming.session.streaming());
            while streaming
                .stream
                .read_buf(&mut streaming.received)
                .await
                .unwrap()
                > 0
            {}
            assert_eq!(streaming.received, b"d\0\0\0\x05k");
        });
    }
}
