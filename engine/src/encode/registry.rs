//! Schema to id: the client of a schema registry, Confluent's API.
//!
//! ```text
//!   auto.register.schemas   POST /subjects/{s}/versions?normalize=false               → {"id":1}
//!   use.latest.version      GET  /subjects/{s}/versions/latest        → {"id":1,"schema":"..",..}
//!   otherwise               POST /subjects/{s}?normalize=false&deleted=false     → {"id":1,..}
//!   either POST's body      {"schema":"<schema text>"}
//! ```
//!
//! Asked once for each subject and schema text: an id never changes its meaning.
//!
//! Source: Confluent's `RestService` and `CachedSchemaRegistryClient`.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::pin::pin;
use std::time::Duration;

use avro::Schema;
use avro::compatibility::{self, Incompatibility, Kind, Level};
use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT,
};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::config::{AvroConverter, Registry, SubjectName};

/// What is asked for, and what is sent.
const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Schemas remembered for each subject; when there are more, all are asked for again.
const SCHEMAS_PER_SUBJECT_MAX: usize = 1000;

/// Earlier versions looked at to explain a refusal.
const VERSIONS_EXPLAINED_MAX: usize = 20;

/// The half of a record that a schema is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "they say it themselves")]
pub enum Side {
    Key,
    Value,
}

/// The subject under which a schema is registered. `record_name` is the record's full name, where
/// the schema is a record's.
///
/// Errors: a strategy that needs a record's name, and a schema without one.
pub fn subject(
    strategy: SubjectName,
    topic: &str,
    side: Side,
    record_name: Option<&str>,
) -> Result<String, RegistryError> {
    let named = || {
        record_name.ok_or_else(|| RegistryError::Nameless {
            topic: topic.to_owned(),
            strategy,
        })
    };
    Ok(match (strategy, side) {
        (SubjectName::Topic, Side::Key) => format!("{topic}-key"),
        (SubjectName::Topic, Side::Value) => format!("{topic}-value"),
        (SubjectName::Record, _) => named()?.to_owned(),
        (SubjectName::TopicRecord, _) => format!("{topic}-{}", named()?),
    })
}

/// A schema registry, as one converter's configuration reaches and uses it.
pub struct RegistryClient {
    addresses: Vec<Address>,
    /// Index of the address that answered last.
    current: usize,
    limits: Limits,
    headers: Vec<(HeaderName, HeaderValue)>,
    lookup: Lookup,
    normalize: bool,
    ids: HashMap<String, HashMap<String, u32>>,
}

/// How an id is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lookup {
    Register,
    Find,
    Latest,
}

/// How long, and how often. The defaults of Confluent's client.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Further tries on each address.
    max_retries: u32,
    /// Before the first of them; doubles.
    retry_wait: Duration,
    retry_wait_max: Duration,
    connect_timeout: Duration,
    read_timeout: Duration,
}

/// One of `schema.registry.url`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    tls: bool,
    host: String,
    port: u16,
    /// In front of every path: empty, or begins with a slash and ends without.
    base: String,
}

/// What a registry said.
struct Answer {
    status: u16,
    body: Value,
}

impl fmt::Debug for RegistryClient {
    /// The addresses, and no credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryClient")
            .field("addresses", &self.addresses)
            .field("lookup", &self.lookup)
            .finish_non_exhaustive()
    }
}

impl RegistryClient {
    /// The client that one converter needs. Connects when first asked.
    ///
    /// Errors: an address or a credential that cannot be.
    pub fn new(converter: &AvroConverter) -> Result<Self, RegistryError> {
        let settings = &converter.registry;
        let mut addresses = Vec::new();
        let mut in_url = None;
        for url in &settings.urls {
            let (address, user_info) = Address::parse(url)?;
            addresses.push(address);
            in_url = in_url.or(user_info);
        }
        if addresses.is_empty() {
            return Err(RegistryError::Address {
                url: String::new(),
                fault: "there is none",
            });
        }
        let mut headers = vec![
            (
                ACCEPT,
                HeaderValue::from_static(
                    "application/vnd.schemaregistry.v1+json, application/vnd.schemaregistry+json, application/json",
                ),
            ),
            (
                USER_AGENT,
                HeaderValue::from_static(concat!("penstock/", env!("CARGO_PKG_VERSION"))),
            ),
        ];
        let credentials = match (&settings.basic_auth, &settings.bearer_token) {
            (Some((user, password)), _) => Some(basic(&format!("{user}:{password}"))),
            (None, Some(token)) => Some(format!("Bearer {token}")),
            (None, None) => in_url.as_deref().map(basic),
        };
        if let Some(credentials) = credentials {
            let mut value =
                HeaderValue::try_from(credentials).map_err(|_| RegistryError::Address {
                    url: settings.urls.join(","),
                    fault: "a user, password or token holds a control character",
                })?;
            value.set_sensitive(true);
            headers.push((AUTHORIZATION, value));
        }
        let lookup = if converter.auto_register {
            Lookup::Register
        } else if converter.use_latest_version {
            Lookup::Latest
        } else {
            Lookup::Find
        };
        Ok(Self {
            addresses,
            current: 0,
            limits: Limits::of(settings),
            headers,
            lookup,
            normalize: converter.normalize,
            ids: HashMap::new(),
        })
    }

    /// The id of `schema` under `subject`: registered, found, or compared with the latest, as the
    /// converter is configured. Known ones are not asked for again.
    ///
    /// Errors: see [`RegistryError::retriable`]; the retries of the configuration are over by then.
    pub async fn id(&mut self, subject: &str, schema: &str) -> Result<u32, RegistryError> {
        if let Some(id) = self.ids.get(subject).and_then(|known| known.get(schema)) {
            return Ok(*id);
        }
        let id = match self.lookup {
            Lookup::Register => self.register(subject, schema).await?,
            Lookup::Find => self.find(subject, schema).await?,
            Lookup::Latest => self.latest(subject, schema).await?,
        };
        let known = self.ids.entry(subject.to_owned()).or_default();
        if known.len() >= SCHEMAS_PER_SUBJECT_MAX {
            known.clear();
        }
        known.insert(schema.to_owned(), id);
        Ok(id)
    }

    /// The text of the schema that `id` stands for.
    ///
    /// Errors: as [`Self::id`].
    pub async fn schema(&mut self, id: u32) -> Result<String, RegistryError> {
        let path = format!("/schemas/ids/{id}?fetchMaxId=false");
        let subject = format!("(schema id {id})");
        let answer = self.ask(&subject, Method::GET, &path, None).await?;
        let text = answer
            .body
            .get("schema")
            .and_then(Value::as_str)
            .map(str::to_owned);
        text.ok_or_else(|| self.bad_answer(&subject, &answer.body))
    }

    async fn register(&mut self, subject: &str, schema: &str) -> Result<u32, RegistryError> {
        let normalize = self.normalize;
        let path = format!(
            "/subjects/{}/versions?normalize={normalize}",
            escaped(subject)
        );
        match self
            .ask(subject, Method::POST, &path, Some(body(schema)))
            .await
        {
            Ok(answer) => self.id_in(subject, &answer.body),
            Err(RegistryError::Refused(refusal)) if refusal.status == 409 => Err(
                RegistryError::Incompatible(self.explain(*refusal, schema).await),
            ),
            Err(error) => Err(error),
        }
    }

    async fn find(&mut self, subject: &str, schema: &str) -> Result<u32, RegistryError> {
        let normalize = self.normalize;
        let path = format!(
            "/subjects/{}?normalize={normalize}&deleted=false",
            escaped(subject)
        );
        let answer = self
            .ask(subject, Method::POST, &path, Some(body(schema)))
            .await?;
        self.id_in(subject, &answer.body)
    }

    /// Records are written as our own schema says. The latest one can stand for it when both say
    /// the same of the bytes, whatever they say of documentation and defaults.
    async fn latest(&mut self, subject: &str, schema: &str) -> Result<u32, RegistryError> {
        let path = format!("/subjects/{}/versions/latest", escaped(subject));
        let answer = self.ask(subject, Method::GET, &path, None).await?;
        let id = self.id_in(subject, &answer.body)?;
        let text = answer
            .body
            .get("schema")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let canonical = |text: &str| text.parse::<Schema>().map(|schema| schema.canonical_form());
        match (canonical(text), canonical(schema)) {
            (Ok(latest), Ok(ours)) if latest == ours => Ok(id),
            (Ok(_), Ok(_)) => {
                let version = answer.body.get("version").and_then(Value::as_u64);
                let subject = subject.to_owned();
                Err(RegistryError::LatestDiffers {
                    subject,
                    version: version.unwrap_or_default(),
                })
            }
            _ => Err(self.bad_answer(subject, &answer.body)),
        }
    }

    fn id_in(&self, subject: &str, body: &Value) -> Result<u32, RegistryError> {
        let id = body
            .get("id")
            .and_then(Value::as_i64)
            .and_then(|id| i32::try_from(id).ok());
        id.and_then(|id| u32::try_from(id).ok())
            .ok_or_else(|| self.bad_answer(subject, body))
    }

    fn bad_answer(&self, subject: &str, body: &Value) -> RegistryError {
        let mut words = body.to_string();
        if let Some((cut, _)) = words.char_indices().nth(200) {
            words.truncate(cut);
        }
        let address = self.address().to_string();
        RegistryError::BadAnswer {
            address,
            subject: subject.to_owned(),
            words,
        }
    }

    fn address(&self) -> &Address {
        // `new` refuses an empty list, and `current` stays below its length.
        &self.addresses[self.current]
    }

    /// Asks the current address, then the others, each with its retries.
    async fn ask(
        &mut self,
        subject: &str,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<Answer, RegistryError> {
        let mut last = None;
        for _ in 0..self.addresses.len() {
            for attempt in 0..=self.limits.max_retries {
                let outcome = self.ask_once(subject, &method, path, body.clone()).await;
                match outcome {
                    Err(error) if error.retriable() => last = Some(error),
                    outcome => return outcome,
                }
                if attempt < self.limits.max_retries {
                    tokio::time::sleep(self.retry_wait(attempt)).await;
                }
            }
            self.current = (self.current + 1) % self.addresses.len();
        }
        Err(last.unwrap_or(RegistryError::Address {
            url: String::new(),
            fault: "there is none",
        }))
    }

    /// Between one millisecond and the exponential back-off of this attempt.
    fn retry_wait(&self, attempt: u32) -> Duration {
        let base = self.limits.retry_wait.saturating_mul(1 << attempt.min(16));
        let most = base.min(self.limits.retry_wait_max);
        let mut random = [0; 4];
        // Without randomness the wait is only less well spread.
        let _ = getrandom::fill(&mut random);
        let part = f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX);
        Duration::from_millis(1) + most.mul_f64(part)
    }

    async fn ask_once(
        &self,
        subject: &str,
        method: &Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<Answer, RegistryError> {
        let address = self.address();
        let unreachable = |cause: String| RegistryError::Unreachable {
            address: address.to_string(),
            subject: subject.to_owned(),
            cause,
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", address.base))
            .header(HOST, address.authority());
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, MEDIA_TYPE);
        }
        let request = request
            .body(Full::new(body.unwrap_or_default()))
            .map_err(|error| unreachable(error.to_string()))?;
        let (status, bytes) = self
            .exchange(address, request)
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| {
            // Not JSON: a proxy's page, mostly.
            Value::String(String::from_utf8_lossy(&bytes).chars().take(300).collect())
        });
        let answer = Answer { status, body };
        if matches!(answer.status, 200 | 204 | 207) {
            return Ok(answer);
        }
        let code = answer.body.get("error_code").and_then(Value::as_i64);
        let message = answer
            .body
            .get("message")
            .or(Some(&answer.body))
            .and_then(Value::as_str);
        Err(RegistryError::Refused(Box::new(Refusal {
            address: address.to_string(),
            subject: subject.to_owned(),
            status: answer.status,
            code: code.unwrap_or_else(|| i64::from(answer.status)),
            message: message.unwrap_or_default().to_owned(),
        })))
    }

    /// One request on a connection of its own: a registry is asked once for each schema.
    async fn exchange(
        &self,
        address: &Address,
        request: Request<Full<Bytes>>,
    ) -> Result<(u16, Bytes), io::Error> {
        let connected = connect(address);
        let stream = within(self.limits.connect_timeout, connected).await?;
        within(self.limits.read_timeout, async {
            let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
            let (mut sender, connection) = handshake.map_err(io::Error::other)?;
            let mut connection = pin!(connection);
            let mut answer = pin!(async {
                let response = sender
                    .send_request(request)
                    .await
                    .map_err(io::Error::other)?;
                let status = response.status().as_u16();
                let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
                let bytes = body.collect().await.map_err(io::Error::other)?.to_bytes();
                Ok((status, bytes))
            });
            tokio::select! {
                answer = &mut answer => answer,
                // The connection may end before the answer has been looked at.
                closed = &mut connection => match closed {
                    Ok(()) => answer.await,
                    Err(error) => Err(io::Error::other(error)),
                },
            }
        })
        .await
    }

    /// Says why `schema` was refused, by the registry's own rules applied to its own versions. What
    /// cannot be learned is left out: the registry's words are there in any case.
    async fn explain(&mut self, refusal: Refusal, schema: &str) -> Box<Incompatible> {
        let mut found = Incompatible {
            refusal,
            level: None,
            version: None,
            reasons: Vec::new(),
        };
        let subject = found.refusal.subject.clone();
        let path = escaped(&subject);
        let Ok(new) = schema.parse::<Schema>() else {
            return Box::new(found);
        };
        // One try each: the error that is already there must not wait long for its explanation.
        let level = format!("/config/{path}?defaultToGlobal=true");
        if let Ok(answer) = self.ask_once(&subject, &Method::GET, &level, None).await {
            let level = answer
                .body
                .get("compatibilityLevel")
                .and_then(Value::as_str);
            found.level = level.and_then(|level| level.parse().ok());
        }
        let Some(level) = found.level else {
            return Box::new(found);
        };
        let versions = format!("/subjects/{path}/versions");
        let Ok(answer) = self.ask_once(&subject, &Method::GET, &versions, None).await else {
            return Box::new(found);
        };
        let versions = answer
            .body
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_u64);
        let mut versions: Vec<u64> = versions.collect();
        versions.sort_unstable_by(|a, b| b.cmp(a));
        versions.truncate(if level.is_transitive() {
            VERSIONS_EXPLAINED_MAX
        } else {
            1
        });
        for version in versions {
            let text = format!("/subjects/{path}/versions/{version}");
            let Ok(answer) = self.ask_once(&subject, &Method::GET, &text, None).await else {
                break;
            };
            let text = answer
                .body
                .get("schema")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let Ok(old) = text.parse::<Schema>() else {
                continue;
            };
            let reasons = compatibility::can_follow(level, &new, &old);
            if !reasons.is_empty() {
                found.version = Some(version);
                for (new_reads, reason) in reasons {
                    let reason = in_words(new_reads, &reason, version);
                    if !found.reasons.contains(&reason) {
                        found.reasons.push(reason);
                    }
                }
                break;
            }
        }
        Box::new(found)
    }
}

impl Limits {
    fn of(_registry: &Registry) -> Self {
        Self {
            max_retries: 3,
            retry_wait: Duration::from_secs(1),
            retry_wait_max: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(60),
            read_timeout: Duration::from_secs(60),
        }
    }
}

async fn connect(address: &Address) -> Result<impl AsyncRead + AsyncWrite + Unpin, io::Error> {
    if address.tls {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "https is not supported yet",
        ));
    }
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for resolved in tokio::net::lookup_host((address.host.as_str(), address.port)).await? {
        let socket = if resolved.is_ipv4() {
            tokio::net::TcpSocket::new_v4()
        } else {
            tokio::net::TcpSocket::new_v6()
        };
        match socket?.connect(resolved).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A reason for people who think in columns.
fn in_words(new_reads: bool, found: &Incompatibility, version: u64) -> String {
    let reason = found.reason();
    // The row is in the envelope twice, and is one row to whoever changed the table.
    let field = &reason.field;
    let field = field
        .strip_prefix("before.")
        .or(field.strip_prefix("after."))
        .unwrap_or(field);
    match (reason.kind, new_reads) {
        (Kind::ReaderFieldMissingDefaultValue, true) => format!(
            "field {field} is new, is NOT NULL and has no default: what version {version} wrote \
             cannot be read with the new schema"
        ),
        (Kind::ReaderFieldMissingDefaultValue, false) => {
            format!("field {field}, which readers with version {version} need, is gone")
        }
        _ => {
            let reason = reason.to_string();
            let reason = reason
                .replace("field before.", "field ")
                .replace("field after.", "field ");
            let reader = if new_reads {
                format!("the new schema as reader, version {version} as writer")
            } else {
                format!("version {version} as reader, the new schema as writer")
            };
            format!("{reason} ({reader})")
        }
    }
}

/// `{"schema":".."}`: no other member, as Confluent's Java client writes it for Avro.
fn body(schema: &str) -> Bytes {
    let mut text = String::with_capacity(schema.len() + schema.len() / 4 + 16);
    text.push_str("{\"schema\":");
    avro::json::put_text(&mut text, schema);
    text.push('}');
    text.into()
}

fn basic(user_info: &str) -> String {
    format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(user_info)
    )
}

async fn within<T>(
    limit: Duration,
    action: impl Future<Output = Result<T, io::Error>>,
) -> Result<T, io::Error> {
    match tokio::time::timeout(limit, action).await {
        Ok(outcome) => outcome,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {} ms", limit.as_millis()),
        )),
    }
}

/// A path segment: everything but unreserved characters escaped.
fn escaped(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn unescaped(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let mut digit = || {
            ahead
                .next()
                .and_then(|digit| char::from(digit).to_digit(16))
        };
        match (byte, digit(), digit()) {
            (b'%', Some(high), Some(low)) => {
                out.extend(u8::try_from(high * 16 + low));
                bytes = ahead;
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl Address {
    /// Reads `http[s]://[user:password@]host[:port][/path]`; gives the user and password apart.
    fn parse(url: &str) -> Result<(Self, Option<String>), RegistryError> {
        let fault = |fault| {
            // What stands before an @ may be a password.
            let shown = url.rsplit_once('@').map_or(url, |(_, rest)| rest);
            RegistryError::Address {
                url: shown.to_owned(),
                fault,
            }
        };
        let (tls, rest) = match url.trim().split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            _ => return Err(fault("it begins with neither http:// nor https://")),
        };
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        let (user_info, host) = match authority.rsplit_once('@') {
            Some((user_info, host)) => (Some(unescaped(user_info)), host),
            None => (None, authority),
        };
        let (host, port) = match host.rsplit_once(':') {
            // The colons of a bare IPv6 address belong to it; a port follows its bracket.
            Some((name, port)) if !port.ends_with(']') => {
                let port = port.parse().map_err(|_| fault("its port is no number"))?;
                (name, port)
            }
            _ => (host, if tls { 443 } else { 80 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(fault("it names no host"));
        }
        let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'?' && byte != b'#';
        if !path.bytes().all(allowed) || !host.bytes().all(allowed) {
            return Err(fault("it holds a character that an address cannot"));
        }
        let base = path.trim_end_matches('/').to_owned();
        Ok((
            Self {
                tls,
                host: host.to_owned(),
                port,
                base,
            },
            user_info,
        ))
    }

    fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        format!("{host}:{}", self.port)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.base)
    }
}

/// Why there is no id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryError {
    /// `schema.registry.url` is not the address of a registry.
    Address {
        /// Without credentials.
        url: String,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// `RecordNameStrategy` or `TopicRecordNameStrategy`, and a schema that is no record.
    Nameless {
        /// The topic.
        topic: String,
        /// The strategy.
        strategy: SubjectName,
    },
    /// No connection, or none that brought an answer.
    Unreachable {
        /// The address tried last.
        address: String,
        /// The subject.
        subject: String,
        /// The system's words.
        cause: String,
    },
    /// The registry said no, in its own words.
    Refused(Box<Refusal>),
    /// The registry holds the schema to be incompatible with earlier ones.
    Incompatible(Box<Incompatible>),
    /// `use.latest.version`, and the latest version describes other bytes than ours.
    LatestDiffers {
        /// The subject.
        subject: String,
        /// Its latest version.
        version: u64,
    },
    /// A success that does not hold what it should.
    BadAnswer {
        /// Who answered.
        address: String,
        /// The subject.
        subject: String,
        /// How the answer begins.
        words: String,
    },
}

/// A registry's no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Who said it.
    pub address: String,
    /// The subject it was asked about.
    pub subject: String,
    /// HTTP's status.
    pub status: u16,
    /// `error_code`; the status where there is none.
    pub code: i64,
    /// `message`
    pub message: String,
}

/// A 409, and what can be found out about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incompatible {
    /// What the registry said.
    pub refusal: Refusal,
    /// The compatibility level in force.
    pub level: Option<Level>,
    /// The version that the new schema does not go with.
    pub version: Option<u64>,
    /// Why, each naming a field.
    pub reasons: Vec<String>,
}

/// What a status or error code means to whoever runs the pipe. The first row that fits counts.
struct Policy {
    status: u16,
    /// 0: any.
    code: i64,
    retriable: bool,
    remedy: &'static str,
}

const fn policy(status: u16, code: i64, retriable: bool, remedy: &'static str) -> Policy {
    Policy {
        status,
        code,
        retriable,
        remedy,
    }
}

const BUSY: &str = "the registry is not well: look into its log; the request is repeated";

#[rustfmt::skip]
const POLICIES: [Policy; 15] = [
    policy(401, 0, false, "check basic.auth.credentials.source with basic.auth.user.info, or bearer.auth.token, of the converter"),
    policy(403, 0, false, "the credentials are right, the rights are not: allow this user to read and write the subject"),
    policy(404, 40401, false, "the subject does not exist: register its schema beforehand, or set auto.register.schemas=true"),
    policy(404, 40403, false, "the schema is not registered under this subject: register it beforehand, or set auto.register.schemas=true"),
    policy(404, 0, false, "no registry answers at this path: check schema.registry.url, its path too"),
    policy(408, 0, true, BUSY),
    policy(422, 42201, false, "the registry does not take this schema: if a table's or column's name is no Avro name, set schema.name.adjustment.mode=avro and field.name.adjustment.mode=avro"),
    policy(422, 42205, false, "the subject or the registry is in a mode that takes no new schemas: PUT /mode {\"mode\":\"READWRITE\"}, or register the schema beforehand with auto.register.schemas=false"),
    policy(422, 42209, false, "the schema exceeds the registry's size limit: leave columns out with column.exclude.list, or raise the limit"),
    policy(422, 0, false, "the registry does not take this request"),
    policy(429, 0, true, "the registry asks for fewer requests; this one is repeated"),
    policy(500, 0, true, BUSY),
    policy(502, 0, true, "the proxy before the registry has no answer from it; the request is repeated"),
    policy(503, 0, true, BUSY),
    policy(504, 0, true, BUSY),
];

impl Refusal {
    fn policy(&self) -> Option<&'static Policy> {
        let fits =
            |row: &&Policy| row.status == self.status && (row.code == 0 || row.code == self.code);
        POLICIES.iter().find(fits)
    }
}

impl RegistryError {
    /// Whether the same question may get an answer later: hold the stream and ask again. All
    /// others need somebody to change something.
    #[must_use]
    pub fn retriable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(refusal) => refusal.policy().is_some_and(|policy| policy.retriable),
            _ => false,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address,
            subject,
            status,
            code,
            message,
        } = self;
        write!(
            f,
            "the schema registry at {address} refused subject {subject}: HTTP {status}, "
        )?;
        write!(f, "error code {code}: {message}")
    }
}

impl fmt::Display for RegistryError {
    /// What happened, then what to do about it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { url, fault } => write!(
                f,
                "schema.registry.url={url}: {fault}. Expected is http://host:8081 or https://host, \
                 several with commas between"
            ),
            Self::Nameless { topic, strategy } => write!(
                f,
                "no subject for topic {topic}: {strategy:?}NameStrategy takes the record's name, and \
                 the schema is no record. Use io.confluent.kafka.serializers.subject.TopicNameStrategy"
            ),
            Self::Unreachable {
                address,
                subject,
                cause,
            } => write!(
                f,
                "the schema registry at {address} cannot be reached for subject {subject}: {cause}. \
                 Check schema.registry.url, and that the registry is running; the request is repeated"
            ),
            Self::Refused(refusal) => {
                let remedy = refusal
                    .policy()
                    .map_or("see the registry's log", |policy| policy.remedy);
                write!(f, "{refusal}. What to do: {remedy}")
            }
            Self::Incompatible(incompatible) => incompatible.fmt(f),
            Self::LatestDiffers { subject, version } => write!(
                f,
                "use.latest.version: version {version} of subject {subject} describes other bytes \
                 than the table's own schema, and records are written in the table's own. Register \
                 the table's schema as the latest version, or set auto.register.schemas=true"
            ),
            Self::BadAnswer {
                address,
                subject,
                words,
            } => write!(
                f,
                "the schema registry at {address} answered without what was asked for subject \
                 {subject}: {words}. Check that schema.registry.url is a registry's"
            ),
        }
    }
}

impl fmt::Display for Incompatible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            refusal,
            level,
            version,
            reasons,
        } = self;
        let Refusal {
            address,
            subject,
            code,
            message,
            ..
        } = refusal;
        write!(
            f,
            "the schema registry at {address} holds the new schema of subject {subject} "
        )?;
        match version {
            Some(version) => write!(f, "to be incompatible with version {version}")?,
            None => f.write_str("to be incompatible with an earlier one")?,
        }
        if let Some(level) = level {
            write!(f, " at level {level}")?;
        }
        write!(f, " (HTTP 409, error code {code})")?;
        if reasons.is_empty() {
            write!(f, ": {message}")?;
        } else {
            write!(f, ": {}", reasons.join("; "))?;
        }
        write!(
            f,
            ". What to do: make the table's change compatible (a new column that allows NULL or has \
             a default), or allow it for this subject: curl -X PUT -H 'Content-Type: {MEDIA_TYPE}' \
             --data '{{\"compatibility\":\"NONE\"}}' {address}/config/{}",
            escaped(subject)
        )
    }
}

impl std::error::Error for RegistryError {}
