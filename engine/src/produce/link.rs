//! One broker's socket: dialled until it is ready, written vectored, read into one buffer.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use kafkawire::connection::{Connection, Event};
use kafkawire::message::{Message, Request, Response};
use kafkawire::sasl::{Credentials, Mechanism};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{BatchId, Error, Outgoing};
use crate::config::{SaslMechanism, Sink, Tls};
use crate::net::{Server, Stream, TlsConfig};

/// What every connection of one sink has in common.
#[derive(Debug, Clone)]
pub(super) struct Dialer {
    tls: Option<TlsConfig>,
    credentials: Option<Credentials>,
    client_id: String,
    timeout: Duration,
    /// `request.timeout.ms`
    answer_within: Duration,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum DialError {
    /// May go better next time.
    Unreachable(String),
    /// Will not go better by itself.
    Rejected(Error),
}

/// Room that every read offers.
const READ_BYTES: usize = 64 << 10;
/// Slices of one vectored write: head, batch, middle, batch, .. tail.
const SLICES_MAX: usize = 64;
/// Memory that an idle connection keeps.
const IDLE_BYTES_MAX: usize = 1 << 20;

impl Dialer {
    /// Errors: `Configuration` for TLS files that cannot be used.
    pub(super) fn new(sink: &Sink) -> Result<Self, Error> {
        let tls = sink.tls.as_ref().map(tls_config).transpose()?;
        let credentials = sink.sasl.as_ref().map(|sasl| Credentials {
            mechanism: match sasl.mechanism {
                SaslMechanism::Plain => Mechanism::Plain,
                SaslMechanism::ScramSha256 => Mechanism::ScramSha256,
                SaslMechanism::ScramSha512 => Mechanism::ScramSha512,
            },
            user: sasl.user.clone(),
            password: sasl.password.clone(),
        });
        Ok(Self {
            tls,
            credentials,
            client_id: sink.client_id.clone(),
            timeout: sink.connect_timeout,
            answer_within: sink.request_timeout,
        })
    }

    /// Connects, agrees on versions, authenticates.
    pub(super) async fn dial(self, host: String, port: u16) -> Result<Link, DialError> {
        let broker = format!("{host}:{port}");
        let setup = async {
            let refused = |error: crate::net::NetError| {
                let text = error.to_string();
                let reason = text.strip_prefix(&format!("{broker}: ")).unwrap_or(&text);
                let reason = format!("{reason}. {}", error.remedy(Server::Kafka));
                if error.retriable() {
                    DialError::Unreachable(reason)
                } else {
                    DialError::Rejected(Error::Tls {
                        broker: broker.clone(),
                        reason,
                    })
                }
            };
            let mut stream = Stream::connect_tcp(&host, port, self.timeout)
                .await
                .map_err(refused)?;
            if let Some(tls) = &self.tls {
                stream = stream
                    .start_tls(tls, &host, self.timeout)
                    .await
                    .map_err(refused)?;
            }
            let nonce = nonce().map_err(DialError::Unreachable)?;
            let connection = Connection::new(&self.client_id, self.credentials.clone(), nonce);
            let mut link = Link::new(stream, connection, broker.clone(), self.answer_within);
            link.introduce().await?;
            Ok(link)
        };
        match tokio::time::timeout(self.timeout * 2, setup).await {
            Ok(result) => result,
            Err(_) => Err(DialError::Unreachable(
                "the broker accepts the connection and says nothing; does security.protocol match \
                 its listener?"
                    .to_owned(),
            )),
        }
    }
}

/// Errors: `Configuration` for certificates and keys that cannot be used.
fn tls_config(tls: &Tls) -> Result<TlsConfig, Error> {
    TlsConfig::of(tls).map_err(|error| Error::Configuration {
        reason: format!("TLS to Kafka: {error}; check ssl.truststore and ssl.keystore"),
    })
}

/// 24 characters that nobody can guess.
fn nonce() -> Result<String, String> {
    let mut random = [0; 12];
    crate::net::fill_random(&mut random).map_err(|error| format!("no randomness: {error}"))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A connection that is ready for requests.
#[derive(Debug)]
pub(super) struct Link {
    stream: Stream,
    pub(super) connection: Connection,
    pub(super) broker: String,
    /// For [`Self::call`]; the driver looks after its own requests.
    answer_within: Duration,
    pub(super) out: Outgoing,
    /// Bytes of `out.bytes` that are written, splices that are, and bytes of the one under way.
    written: usize,
    spliced: usize,
    splice_written: usize,
    flushing: bool,
    inbox: Vec<u8>,
    consumed: usize,
}

impl Link {
    fn new(
        stream: Stream,
        connection: Connection,
        broker: String,
        answer_within: Duration,
    ) -> Self {
        Self {
            stream,
            connection,
            broker,
            answer_within,
            out: Outgoing::default(),
            written: 0,
            spliced: 0,
            splice_written: 0,
            flushing: false,
            inbox: Vec::new(),
            consumed: 0,
        }
    }

    async fn introduce(&mut self) -> Result<(), DialError> {
        let mut out = Vec::new();
        self.connection.start(&mut out);
        loop {
            let lost = |error: io::Error| DialError::Unreachable(closed_early(&error));
            self.stream.write_all(&out).await.map_err(lost)?;
            self.stream.flush().await.map_err(lost)?;
            out.clear();
            loop {
                let bytes = self.inbox.get(self.consumed..).unwrap_or_default();
                let step = self.connection.next(bytes, &mut out);
                match step.map_err(|error| self.rejection(error))? {
                    Some((event, consumed)) => {
                        self.consumed += consumed;
                        if event == Event::Ready {
                            return Ok(());
                        }
                        break;
                    }
                    None => {
                        let read = self.stream.read_buf(&mut self.inbox).await.map_err(lost)?;
                        if read == 0 {
                            return Err(lost(io::ErrorKind::UnexpectedEof.into()));
                        }
                    }
                }
            }
        }
    }

    fn rejection(&self, error: kafkawire::Error) -> DialError {
        let broker = self.broker.clone();
        let words = self.connection.refusal();
        match error {
            kafkawire::Error::Refused { api, code } => {
                let code = kafkawire::ErrorCode(code);
                let reason = match words {
                    Some(words) => format!("{api} says {code}: {words}"),
                    None => format!("{api} says {code}"),
                };
                DialError::Rejected(Error::Authentication { broker, reason })
            }
            error => DialError::Rejected(Error::Protocol { broker, error }),
        }
    }

    /// Writes what waits, batches in place. Ready: everything is written.
    pub(super) fn poll_write<'p>(
        &mut self,
        cx: &mut Context<'_>,
        batch: impl Fn(BatchId) -> &'p [u8],
    ) -> Poll<io::Result<()>> {
        loop {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut count = 0;
            let mut push = |bytes| {
                if let Some(slot) = slices.get_mut(count) {
                    *slot = IoSlice::new(bytes);
                    count += 1;
                }
            };
            let (mut at, mut skip) = (self.written, self.splice_written);
            for &(cut, id) in self
                .out
                .splices
                .iter()
                .skip(self.spliced)
                .take(SLICES_MAX / 2)
            {
                if at < cut {
                    push(&self.out.bytes[at..cut]);
                }
                push(batch(id).get(skip..).unwrap_or_default());
                (at, skip) = (cut, 0);
            }
            if self.out.splices.len() - self.spliced <= SLICES_MAX / 2 && at < self.out.bytes.len()
            {
                push(&self.out.bytes[at..]);
            }
            if slices[..count].iter().all(|slice| slice.is_empty()) {
                self.written_all();
                let flushed = Pin::new(&mut self.stream).poll_flush(cx);
                self.flushing = flushed.is_pending();
                return flushed;
            }
            let stream = Pin::new(&mut self.stream);
            match stream.poll_write_vectored(cx, &slices[..count]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(wrote)) => self.advance(wrote, &batch),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn advance<'p>(&mut self, mut wrote: usize, batch: &impl Fn(BatchId) -> &'p [u8]) {
        while wrote > 0 {
            let next = self.out.splices.get(self.spliced).copied();
            let until = next.map_or(self.out.bytes.len(), |(cut, _)| cut);
            let plain = wrote.min(until - self.written);
            self.written += plain;
            wrote -= plain;
            let Some((_, id)) = next.filter(|_| self.written == until) else {
                continue;
            };
            let left = batch(id).len() - self.splice_written;
            let part = wrote.min(left);
            self.splice_written += part;
            wrote -= part;
            if part == left {
                self.spliced += 1;
                self.splice_written = 0;
            }
        }
    }

    fn written_all(&mut self) {
        self.out.bytes.clear();
        self.out.splices.clear();
        (self.written, self.spliced, self.splice_written) = (0, 0, 0);
    }

    /// Whether something waits to be written.
    pub(super) fn has_output(&self) -> bool {
        self.flushing || !self.out.bytes.is_empty()
    }

    /// Reads once. Ready with 0: the broker has closed the connection.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.inbox.drain(..self.consumed);
        self.consumed = 0;
        if self.inbox.is_empty() && self.inbox.capacity() > IDLE_BYTES_MAX {
            self.inbox = Vec::new();
        }
        // Grows as bytes arrive, so a size that is only announced costs nothing.
        if self.inbox.capacity() - self.inbox.len() < READ_BYTES {
            self.inbox.reserve(READ_BYTES);
        }
        pin!(self.stream.read_buf(&mut self.inbox)).poll(cx)
    }

    /// The next answer among the bytes that were read.
    pub(super) fn next_event(&mut self) -> Result<Option<Event<'_>>, kafkawire::Error> {
        let bytes = self.inbox.get(self.consumed..).unwrap_or_default();
        let next = self.connection.next(bytes, &mut self.out.bytes)?;
        Ok(next.map(|(event, consumed)| {
            self.consumed += consumed;
            event
        }))
    }

    /// Asks, and waits for the answer; nothing else may be in flight.
    pub(super) async fn call<'q, Q: Request<'q>, A: for<'a> Response<'a>>(
        &mut self,
        ours: (i16, i16),
        request: &Q,
    ) -> Result<A, Error> {
        let (version, body) = self.call_raw(ours, request).await?;
        A::decode(version, &body).map_err(|error| self.protocol(error))
    }

    /// As [`call`](Self::call), for answers that borrow their bytes: version and body.
    ///
    /// Errors: as there; `Unreachable` also for a broker that is silent for `request.timeout.ms`.
    pub(super) async fn call_raw<'q, Q: Request<'q>>(
        &mut self,
        ours: (i16, i16),
        request: &Q,
    ) -> Result<(i16, Vec<u8>), Error> {
        let within = self.answer_within;
        match tokio::time::timeout(within, self.exchange(ours, request)).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Unreachable {
                bootstrap: self.broker.clone(),
                reason: "no answer within request.timeout.ms".to_owned(),
            }),
        }
    }

    async fn exchange<'q, Q: Request<'q>>(
        &mut self,
        ours: (i16, i16),
        request: &Q,
    ) -> Result<(i16, Vec<u8>), Error> {
        let version = self.connection.version(Q::API, ours);
        let version = version.map_err(|error| self.protocol(error))?;
        let mut bytes = Vec::new();
        let sent = self.connection.send_at(version, request, &mut bytes);
        sent.map_err(|error| self.protocol(error))?;
        let lost = |broker: &str, error: &io::Error| Error::Unreachable {
            bootstrap: broker.to_owned(),
            reason: closed_early(error),
        };
        let written = self.stream.write_all(&bytes).await;
        written.map_err(|error| lost(&self.broker, &error))?;
        self.stream
            .flush()
            .await
            .map_err(|error| lost(&self.broker, &error))?;
        loop {
            let bytes = self.inbox.get(self.consumed..).unwrap_or_default();
            let next = self.connection.next(bytes, &mut Vec::new());
            if let Some((event, consumed)) = next.map_err(|error| self.protocol(error))? {
                let body = match event {
                    Event::Answer(answer) => Some(answer.body.to_vec()),
                    Event::Progress | Event::Ready => None,
                };
                self.consumed += consumed;
                if let Some(body) = body {
                    return Ok((version, body));
                }
                continue;
            }
            let read = std::future::poll_fn(|cx| self.poll_read(cx)).await;
            match read {
                Ok(0) => {
                    let error = io::ErrorKind::UnexpectedEof.into();
                    return Err(lost(&self.broker, &error));
                }
                Ok(_) => {}
                Err(error) => return Err(lost(&self.broker, &error)),
            }
        }
    }

    pub(super) fn protocol(&self, error: kafkawire::Error) -> Error {
        Error::Protocol {
            broker: self.broker.clone(),
            error,
        }
    }
}

/// A peer that hangs up has a reason that it does not tell.
pub(super) fn closed_early(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        "the broker closed the connection".to_owned()
    } else {
        error.to_string()
    }
}

/// The versions of `R` that this crate speaks, capped.
pub(super) const fn up_to<'b, R: Message<'b>>(ceiling: i16) -> (i16, i16) {
    let (low, high) = R::VERSIONS;
    (low, if high < ceiling { high } else { ceiling })
}
