//! One connection to a broker, without the socket.
//!
//! ```text
//! start ─► ApiVersions v3 ─► (error 35: v0) ─► SaslHandshake ─► SaslAuthenticate .. ─► ready
//!                                            └─────────── without credentials ───────────┘
//! ready:   send, send, .. ─► next: the answers, in the order of the requests
//! ```

use std::collections::VecDeque;

use crate::error::Error;
use crate::error_code::ErrorCode;
use crate::frame;
use crate::message::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey,
};
use crate::message::sasl_authenticate::{SaslAuthenticateRequest, SaslAuthenticateResponse};
use crate::message::sasl_handshake::{SaslHandshakeRequest, SaslHandshakeResponse};
use crate::message::{ApiKey, Message, Request, Response};
use crate::sasl::{Credentials, Exchange};

/// A number that comes back with the response.
pub type CorrelationId = i32;

/// A connection: its negotiated versions, its authentication, and what is in flight on it.
///
/// Order of calls: [`start`](Self::start) once and write what it appended; then feed
/// [`next`](Self::next) with what arrives, write what it appends, until it gives
/// [`Event::Ready`]; from then on [`send`](Self::send) at any time. After an error the connection
/// is of no more use.
#[derive(Debug)]
pub struct Connection {
    client_id: String,
    software: (&'static str, &'static str),
    exchange: Option<Exchange>,
    state: State,
    served: Vec<ApiVersion>,
    finalized: Vec<FinalizedFeatureKey>,
    session_lifetime_ms: i64,
    refusal: Option<String>,
    in_flight: VecDeque<InFlight>,
    next_correlation: CorrelationId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Versions,
    Handshake,
    Authentication,
    Ready,
}

/// A request whose answer is still to come.
#[derive(Debug, Clone, Copy)]
struct InFlight {
    correlation: CorrelationId,
    api: ApiKey,
    version: i16,
}

/// What a frame meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'b> {
    /// A step of the beginning; there may be something to write.
    Progress,
    /// Versions are agreed and the broker knows who we are: requests may be sent.
    Ready,
    /// The answer to the oldest request in flight.
    Answer(Answer<'b>),
}

/// A response that is not read yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer<'b> {
    /// Of the request.
    pub correlation: CorrelationId,
    /// Of the request.
    pub api: ApiKey,
    /// Of the request, and so of the body.
    pub version: i16,
    /// The response without size and header.
    pub body: &'b [u8],
}

impl<'b> Answer<'b> {
    /// Reads the body as what it is.
    ///
    /// Errors: `Malformed`; `Unexpected` when the answer belongs to another API than `R`.
    pub fn decode<R: Response<'b>>(&self) -> Result<R, Error> {
        if self.api == R::API {
            R::decode(self.version, self.body)
        } else {
            let message = self.api.name().unwrap_or("answer of an unknown API");
            Err(Error::Unexpected {
                state: R::NAME,
                message,
            })
        }
    }
}

/// The first version that is asked for: it introduces us, and every broker since 2.4 answers it.
const API_VERSIONS: i16 = 3;
/// What introduces us may hold nothing else than `[a-zA-Z0-9.-]`.
const SOFTWARE: (&str, &str) = ("penstock", env!("CARGO_PKG_VERSION"));
/// What one answer may take, and therefore what a caller's buffer must be able to hold: the largest
/// fetch with room to spare.
pub const ANSWER_BYTES_MAX: usize = 256 << 20;

impl Connection {
    /// A connection that is about to begin. `nonce` is for SCRAM: fresh, printable ASCII, no comma.
    #[must_use]
    pub fn new(client_id: &str, credentials: Option<Credentials>, nonce: String) -> Self {
        Self {
            client_id: client_id.to_owned(),
            software: SOFTWARE,
            exchange: credentials.map(|credentials| Exchange::new(credentials, nonce)),
            state: State::New,
            served: Vec::new(),
            finalized: Vec::new(),
            session_lifetime_ms: 0,
            refusal: None,
            in_flight: VecDeque::new(),
            next_correlation: 0,
        }
    }

    /// Appends the first request.
    pub fn start(&mut self, out: &mut Vec<u8>) {
        self.state = State::Versions;
        self.ask_versions(API_VERSIONS, out);
    }

    /// Whether requests may be sent.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// How many requests wait for their answer.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The versions of `api` that the broker serves.
    #[must_use]
    pub fn served(&self, api: ApiKey) -> Option<(i16, i16)> {
        let row = self.served.iter().find(|row| row.api_key == api.0)?;
        Some((row.min_version, row.max_version))
    }

    /// The version to speak: the highest that both `ours` (lowest, highest) and the broker have.
    ///
    /// Errors: `Unsupported` when there is none.
    pub fn version(&self, api: ApiKey, ours: (i16, i16)) -> Result<i16, Error> {
        let name = api.name().unwrap_or("API");
        let theirs = self.served(api);
        let unsupported = Error::Unsupported {
            api: name,
            ours,
            theirs,
        };
        let (min, max) = theirs.ok_or(unsupported)?;
        let version = ours.1.min(max);
        if version >= ours.0.max(min) {
            Ok(version)
        } else {
            Err(unsupported)
        }
    }

    /// The level of a feature that the cluster has switched on: `transaction.version`.
    #[must_use]
    pub fn feature(&self, name: &str) -> Option<i16> {
        let feature = self.finalized.iter().find(|feature| feature.name == name)?;
        Some(feature.max_version_level)
    }

    /// After so many milliseconds the broker drops the connection; zero: never. A new connection in
    /// time is the way to go on.
    #[must_use]
    pub fn session_lifetime_ms(&self) -> i64 {
        self.session_lifetime_ms
    }

    /// The broker's own words for the refusal that ended the connection.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// Appends a request at the highest version that both sides have.
    ///
    /// Errors: `Unsupported`; `Unexpected` before the connection is ready.
    pub fn send<'b, R: Request<'b>>(
        &mut self,
        request: &R,
        out: &mut Vec<u8>,
    ) -> Result<CorrelationId, Error> {
        let version = self.version(R::API, R::VERSIONS)?;
        self.send_at(version, request, out)
    }

    /// Appends a request at `version`, which [`version`](Self::version) has allowed.
    ///
    /// Errors: `Unexpected` before the connection is ready.
    pub fn send_at<'b, R: Request<'b>>(
        &mut self,
        version: i16,
        request: &R,
        out: &mut Vec<u8>,
    ) -> Result<CorrelationId, Error> {
        if self.state != State::Ready {
            return Err(Error::Unexpected {
                state: "starting a connection",
                message: R::NAME,
            });
        }
        Ok(self.put(version, request, out))
    }

    /// The id of a request that the caller writes itself, and whose answer is to be expected.
    pub fn expect(&mut self, api: ApiKey, version: i16) -> CorrelationId {
        let correlation = self.unanswered();
        self.in_flight.push_back(InFlight {
            correlation,
            api,
            version,
        });
        correlation
    }

    /// The id of a request that the broker does not answer: Produce with acks 0.
    pub fn unanswered(&mut self) -> CorrelationId {
        let correlation = self.next_correlation;
        self.next_correlation = self.next_correlation.wrapping_add(1) & i32::MAX;
        correlation
    }

    /// Takes the next frame off the front of `bytes`: what it meant, and how many bytes to consume;
    /// `None` when more must arrive. Until the connection is ready it may append to `out`.
    ///
    /// Errors: `Malformed`, `Unexpected` for an answer that nobody asked for, `Unsupported` for a
    /// broker without our SASL mechanism, `Refused` for wrong credentials.
    pub fn next<'b>(
        &mut self,
        bytes: &'b [u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<(Event<'b>, usize)>, Error> {
        let Some((body, consumed)) = frame::split(bytes, ANSWER_BYTES_MAX)? else {
            return Ok(None);
        };
        let answer = self.match_request(body)?;
        let event = match self.state {
            State::Ready => Event::Answer(answer),
            State::New | State::Versions => self.take_versions(&answer, out)?,
            State::Handshake => self.take_handshake(&answer, out)?,
            State::Authentication => self.take_authentication(&answer, out)?,
        };
        Ok(Some((event, consumed)))
    }

    /// Answers come in the order of the requests.
    fn match_request<'b>(&mut self, frame: &'b [u8]) -> Result<Answer<'b>, Error> {
        let correlation = frame::correlation(frame)?;
        let expected = self.in_flight.pop_front();
        let Some(InFlight { api, version, .. }) =
            expected.filter(|expected| expected.correlation == correlation)
        else {
            let state = "waiting for the oldest request's answer";
            return Err(Error::Unexpected {
                state,
                message: "correlation id",
            });
        };
        let body = frame::response_body(frame, api, version)?;
        Ok(Answer {
            correlation,
            api,
            version,
            body,
        })
    }

    fn put<'b, R: Request<'b>>(
        &mut self,
        version: i16,
        request: &R,
        out: &mut Vec<u8>,
    ) -> CorrelationId {
        let correlation = self.expect(R::API, version);
        frame::put_request(request, version, correlation, &self.client_id, out);
        correlation
    }

    fn ask_versions(&mut self, version: i16, out: &mut Vec<u8>) {
        let request = ApiVersionsRequest {
            client_software_name: self.software.0.to_owned(),
            client_software_version: self.software.1.to_owned(),
            ..ApiVersionsRequest::default()
        };
        self.put(version, &request, out);
    }

    fn take_versions<'b>(
        &mut self,
        answer: &Answer<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Event<'b>, Error> {
        // A broker that does not know the version says so in the form of version 0.
        let code = answer
            .body
            .first_chunk()
            .map(|code| ErrorCode(i16::from_be_bytes(*code)));
        if code == Some(ErrorCode::UNSUPPORTED_VERSION) && answer.version > 0 {
            let known = ApiVersionsResponse::decode(0, answer.body)?.api_keys;
            let row = known
                .iter()
                .find(|row| row.api_key == ApiKey::API_VERSIONS.0);
            let version = row.map_or(0, |row| row.max_version.clamp(0, answer.version - 1));
            self.ask_versions(version, out);
            return Ok(Event::Progress);
        }
        let versions: ApiVersionsResponse = answer.decode()?;
        self.check(ApiKey::API_VERSIONS, versions.error_code, None)?;
        self.served = versions.api_keys;
        if versions.finalized_features_epoch >= 0 {
            self.finalized = versions.finalized_features;
        }
        let Some(exchange) = &self.exchange else {
            return Ok(self.ready());
        };
        let mechanism = exchange.mechanism().name().to_owned();
        // Version 0 would be followed by bare tokens, which no broker that we serve needs.
        let version = self.version(ApiKey::SASL_HANDSHAKE, (1, 1))?;
        self.put(version, &SaslHandshakeRequest { mechanism }, out);
        self.state = State::Handshake;
        Ok(Event::Progress)
    }

    fn take_handshake<'b>(
        &mut self,
        answer: &Answer<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Event<'b>, Error> {
        let handshake: SaslHandshakeResponse = answer.decode()?;
        let enabled = handshake.mechanisms.join(", ");
        self.check(
            ApiKey::SASL_HANDSHAKE,
            handshake.error_code,
            Some(format!("the broker's mechanisms: {enabled}")),
        )?;
        self.state = State::Authentication;
        let first = self
            .exchange
            .as_ref()
            .map(Exchange::first)
            .unwrap_or_default();
        self.authenticate(first, out)?;
        Ok(Event::Progress)
    }

    fn take_authentication<'b>(
        &mut self,
        answer: &Answer<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Event<'b>, Error> {
        let token: SaslAuthenticateResponse = answer.decode()?;
        self.check(
            ApiKey::SASL_AUTHENTICATE,
            token.error_code,
            token.error_message,
        )?;
        self.session_lifetime_ms = token.session_lifetime_ms;
        let Some(exchange) = &mut self.exchange else {
            return Ok(self.ready());
        };
        match exchange.answer(&token.auth_bytes)? {
            Some(next) => {
                self.authenticate(next, out)?;
                Ok(Event::Progress)
            }
            None => Ok(self.ready()),
        }
    }

    fn authenticate(&mut self, auth_bytes: Vec<u8>, out: &mut Vec<u8>) -> Result<(), Error> {
        let ours = SaslAuthenticateRequest::VERSIONS;
        let version = self.version(ApiKey::SASL_AUTHENTICATE, ours)?;
        self.put(version, &SaslAuthenticateRequest { auth_bytes }, out);
        Ok(())
    }

    fn check(&mut self, api: ApiKey, code: ErrorCode, words: Option<String>) -> Result<(), Error> {
        if code.is_ok() {
            return Ok(());
        }
        self.refusal = words;
        let api = api.name().unwrap_or("API");
        Err(Error::Refused { api, code: code.0 })
    }

    fn ready<'b>(&mut self) -> Event<'b> {
        self.state = State::Ready;
        Event::Ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{RequestHeader, put_response};
    use crate::message::metadata::{MetadataRequest, MetadataResponse};
    use crate::sasl::Mechanism;

    fn broker(versions: &[(ApiKey, i16, i16)]) -> ApiVersionsResponse {
        let api_keys = versions
            .iter()
            .map(|&(api, min_version, max_version)| ApiVersion {
                api_key: api.0,
                min_version,
                max_version,
            });
        ApiVersionsResponse {
            api_keys: api_keys.collect(),
            ..ApiVersionsResponse::default()
        }
    }

    /// Takes the one request in `out`, gives its header.
    fn request(out: &mut Vec<u8>) -> (ApiKey, i16, i32) {
        let taken = std::mem::take(out);
        let (frame, consumed) = frame::split(&taken, 1000).unwrap().unwrap();
        assert_eq!(consumed, taken.len());
        let (header, _) = RequestHeader::split(frame).unwrap();
        assert_eq!(header.client_id, Some("me"));
        (header.api, header.version, header.correlation)
    }

    fn answer<'b, R: Response<'b>>(version: i16, correlation: i32, response: &R) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_response(response, version, correlation, &mut bytes);
        bytes
    }

    const OLD: &[(ApiKey, i16, i16)] = &[
        (ApiKey::API_VERSIONS, 0, 2),
        (ApiKey::METADATA, 0, 7),
        (ApiKey::SASL_HANDSHAKE, 0, 1),
        (ApiKey::SASL_AUTHENTICATE, 0, 0),
    ];

    #[test]
    fn an_older_broker_is_asked_again() {
        for known in [&OLD[..1], &[]] {
            let (mut connection, mut out) = (Connection::new("me", None, String::new()), vec![]);
            connection.start(&mut out);
            assert_eq!(request(&mut out), (ApiKey::API_VERSIONS, 3, 0));
            let mut refusal = broker(known);
            refusal.error_code = ErrorCode::UNSUPPORTED_VERSION;
            let bytes = answer(0, 0, &refusal);
            for cut in 0..bytes.len() {
                assert_eq!(connection.next(&bytes[..cut], &mut out), Ok(None));
            }
            let next = connection.next(&bytes, &mut out);
            assert_eq!(next, Ok(Some((Event::Progress, bytes.len()))));
            let version = if known.is_empty() { 0 } else { 2 };
            assert_eq!(request(&mut out), (ApiKey::API_VERSIONS, version, 1));
            let bytes = answer(version, 1, &broker(OLD));
            let next = connection.next(&bytes, &mut out);
            assert_eq!(next, Ok(Some((Event::Ready, bytes.len()))));

            let asked = connection
                .send(&MetadataRequest::default(), &mut out)
                .unwrap();
            assert_eq!(request(&mut out), (ApiKey::METADATA, 7, asked));
            let bytes = answer(7, asked, &MetadataResponse::default());
            let Ok(Some((Event::Answer(answer), _))) = connection.next(&bytes, &mut out) else {
                panic!("no answer");
            };
            assert_eq!(answer.decode(), Ok(MetadataResponse::default()));
            assert!(answer.decode::<ApiVersionsResponse>().is_err());
            let error = connection.next(&bytes, &mut out).unwrap_err();
            assert!(matches!(error, Error::Unexpected { .. }), "{error}");
        }
    }

    #[test]
    fn no_version_in_common_names_the_ranges() {
        let mut connection = Connection::new("me", None, String::new());
        connection.served = broker(&[(ApiKey::METADATA, 14, 20)]).api_keys;
        connection.state = State::Ready;
        let error = connection
            .send(&MetadataRequest::default(), &mut Vec::new())
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "Metadata: we speak versions 0 to 13, the broker serves 14 to 20"
        );
        let error = connection
            .version(ApiKey::DESCRIBE_CLUSTER, (0, 1))
            .unwrap_err();
        let text = "DescribeCluster (versions 0 to 1) is not known to the broker";
        assert_eq!(error.to_string(), text);
    }

    fn with_password() -> Connection {
        let (user, password) = ("alice".to_owned(), "secret".to_owned());
        let credentials = Credentials {
            mechanism: Mechanism::Plain,
            user,
            password,
        };
        Connection::new("me", Some(credentials), String::new())
    }

    #[test]
    fn sasl_precedes_everything() {
        let (mut connection, mut out) = (with_password(), vec![]);
        connection.start(&mut out);
        request(&mut out);
        connection
            .next(&answer(3, 0, &broker(OLD)), &mut out)
            .unwrap();
        assert_eq!(request(&mut out), (ApiKey::SASL_HANDSHAKE, 1, 1));
        let early = connection
            .send(&MetadataRequest::default(), &mut out)
            .unwrap_err();
        assert!(matches!(early, Error::Unexpected { .. }), "{early}");
        connection
            .next(&answer(1, 1, &SaslHandshakeResponse::default()), &mut out)
            .unwrap();
        assert_eq!(request(&mut out), (ApiKey::SASL_AUTHENTICATE, 0, 2));
        let done = answer(0, 2, &SaslAuthenticateResponse::default());
        let next = connection.next(&done, &mut out);
        assert_eq!(next, Ok(Some((Event::Ready, done.len()))));
    }

    #[test]
    fn a_refusal_keeps_the_brokers_words() {
        let (mut connection, mut out) = (with_password(), vec![]);
        connection.start(&mut out);
        connection
            .next(&answer(3, 0, &broker(OLD)), &mut out)
            .unwrap();
        let refusal = SaslHandshakeResponse {
            error_code: ErrorCode::UNSUPPORTED_SASL_MECHANISM,
            mechanisms: vec!["GSSAPI".to_owned()],
        };
        let error = connection
            .next(&answer(1, 1, &refusal), &mut out)
            .unwrap_err();
        assert_eq!(
            error,
            Error::Refused {
                api: "SaslHandshake",
                code: 33
            }
        );
        assert_eq!(
            connection.refusal(),
            Some("the broker's mechanisms: GSSAPI")
        );
    }
}
