//! Schema to id: the client of a schema registry, Confluent's API.
//!
//! ```text
//!   auto.register.schemas   POST /subjects/{s}/versions?normalize=false               → {"id":1}
//!   use.schema.id           GET  /schemas/ids/{id}?fetchMaxId=false   → {"schema":".."}
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
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use avro::compatibility::{self, Incompatibility, Kind, Level};
use avro::{Resolution, Schema};
use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT,
};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::config::{AvroConverter, Registry, SubjectName};
use crate::net::{NetError, Server, Stream, TlsConfig, TlsConfigError};

/// What is asked for, and what is sent.
const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Ids that are remembered; then they are asked for again.
const IDS_MAX: usize = 50_000;

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
    settings: Registry,
    tls: Option<TlsConfig>,
    headers: Vec<(HeaderName, HeaderValue)>,
    lookup: Lookup,
    normalize: bool,
    /// Whether a schema that is not the record's own must hold all that it has.
    strict: bool,
    /// By the digest of subject and schema: texts of thousands of tables would not be small.
    ids: HashMap<[u8; 32], u32>,
    /// Of those ids that stand for another schema than the record's own.
    rewrites: HashMap<[u8; 32], Arc<Resolution>>,
}

/// How an id is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lookup {
    Register,
    Find,
    Latest,
    Fixed(u32),
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

fn digest(subject: &str, schema: &str) -> [u8; 32] {
    let digest = Sha256::new();
    let digest = digest.chain_update(subject).chain_update([0]);
    digest.chain_update(schema).finalize().into()
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
        let secure = addresses.iter().any(|address: &Address| address.tls);
        let tls = if secure {
            Some(TlsConfig::of(&settings.tls).map_err(RegistryError::Tls)?)
        } else {
            None
        };
        let mut headers = vec![
            (
                ACCEPT,
                HeaderValue::from_static(
                    "application/vnd.schemaregistry.v1+json, application/vnd.schemaregistry+json, \
                     application/json",
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
        for (name, value) in &settings.request_headers {
            let header = (HeaderName::try_from(name), HeaderValue::try_from(value));
            let (Ok(name), Ok(mut value)) = header else {
                let fault = "a request.header is none that HTTP allows";
                return Err(RegistryError::Address {
                    url: settings.urls.join(","),
                    fault,
                });
            };
            value.set_sensitive(true);
            headers.push((name, value));
        }
        let lookup = if converter.auto_register {
            Lookup::Register
        } else if let Some(id) = converter.use_schema_id {
            Lookup::Fixed(id)
        } else if converter.use_latest_version {
            Lookup::Latest
        } else {
            Lookup::Find
        };
        Ok(Self {
            addresses,
            current: 0,
            settings: settings.clone(),
            tls,
            headers,
            lookup,
            normalize: converter.normalize,
            strict: converter.strict,
            ids: HashMap::new(),
            rewrites: HashMap::new(),
        })
    }

    /// The id of `schema` under `subject`: registered, found, or compared with the latest, as the
    /// converter is configured. Known ones are not asked for again.
    ///
    /// Errors: see [`RegistryError::retriable`]; the retries of the configuration are over by then.
    pub async fn id(&mut self, subject: &str, schema: &str) -> Result<u32, RegistryError> {
        let known = digest(subject, schema);
        if let Some(id) = self.ids.get(&known) {
            return Ok(*id);
        }
        let id = match self.lookup {
            Lookup::Register => self.register(subject, schema).await?,
            Lookup::Find => self.find(subject, schema).await?,
            Lookup::Latest => self.latest(subject, schema).await?,
            Lookup::Fixed(id) => {
                let text = self.schema(id).await?;
                self.write_in(subject, schema, &text, format!("schema {id}"))?;
                id
            }
        };
        if self.ids.len() >= IDS_MAX {
            self.ids.clear();
        }
        self.ids.insert(known, id);
        Ok(id)
    }

    /// How a datum of `schema` is written under the id that [`Self::id`] has given; none: as it is.
    #[must_use]
    pub fn rewrite(&self, subject: &str, schema: &str) -> Option<Arc<Resolution>> {
        self.rewrites.get(&digest(subject, schema)).cloned()
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

    /// Records are written as the latest schema says: its fields in its order, with its defaults
    /// for those that the table has not.
    async fn latest(&mut self, subject: &str, schema: &str) -> Result<u32, RegistryError> {
        let path = format!("/subjects/{}/versions/latest", escaped(subject));
        let answer = self.ask(subject, Method::GET, &path, None).await?;
        let id = self.id_in(subject, &answer.body)?;
        let text = answer
            .body
            .get("schema")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let version = answer.body.get("version").and_then(Value::as_u64);
        let named = format!(
            "version {} of subject {subject}",
            version.unwrap_or_default()
        );
        let text = text.to_owned();
        self.write_in(subject, schema, &text, named)?;
        Ok(id)
    }

    /// Notes how data of `schema` are written in another one, which is `named` so.
    fn write_in(
        &mut self,
        subject: &str,
        schema: &str,
        other: &str,
        named: String,
    ) -> Result<(), RegistryError> {
        let (Ok(ours), Ok(other)) = (schema.parse::<Schema>(), other.parse::<Schema>()) else {
            return Err(self.bad_answer(subject, &Value::String(other.to_owned())));
        };
        let misfits = compatibility::can_read(&other, &ours);
        if self.strict && !misfits.is_empty() {
            let mut reasons: Vec<String> = Vec::new();
            for misfit in &misfits {
                let reason = one_row(&misfit.to_string());
                if !reasons.contains(&reason) {
                    reasons.push(reason);
                }
            }
            return Err(RegistryError::Narrower {
                subject: subject.to_owned(),
                named,
                reasons,
            });
        }
        let resolution = Resolution::new(&ours, &other);
        if !resolution.is_identity() {
            if self.rewrites.len() >= IDS_MAX {
                self.rewrites.clear();
                self.ids.clear();
            }
            let known = digest(subject, schema);
            self.rewrites.insert(known, Arc::new(resolution));
        }
        Ok(())
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
            for attempt in 0..=self.settings.max_retries {
                let outcome = self.ask_once(subject, &method, path, body.clone()).await;
                match outcome {
                    Err(error) if error.retriable() => last = Some(error),
                    outcome => return outcome,
                }
                if attempt < self.settings.max_retries {
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
        let base = self
            .settings
            .retry_wait
            .saturating_mul(1 << attempt.min(16));
        let most = base.min(self.settings.retry_wait_max);
        let mut random = [0; 4];
        // Without randomness the wait is only less well spread.
        let _ = crate::net::fill_random(&mut random);
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
        let unreachable = |Failure {
                               cause,
                               remedy,
                               retriable,
                           }| RegistryError::Unreachable {
            address: address.to_string(),
            subject: subject.to_owned(),
            cause,
            remedy,
            retriable,
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
            .map_err(|error| unreachable(Failure::new(error)))?;
        let (status, bytes) = self.exchange(address, request).await.map_err(unreachable)?;
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
    ) -> Result<(u16, Bytes), Failure> {
        let Registry {
            connect_timeout,
            read_timeout,
            ..
        } = self.settings;
        let mut stream = Stream::connect_tcp(&address.host, address.port, connect_timeout).await?;
        if let (true, Some(tls)) = (address.tls, &self.tls) {
            stream = stream
                .start_tls(tls, &address.host, connect_timeout)
                .await?;
        }
        let exchange = async {
            let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
            let (mut sender, connection) = handshake.map_err(|error| Failure::of(&error))?;
            let mut connection = pin!(connection);
            let mut answer = pin!(async {
                let response = sender.send_request(request).await;
                let response = response.map_err(|error| Failure::of(&error))?;
                let status = response.status().as_u16();
                let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
                let bytes = body.collect().await.map_err(Failure::new)?.to_bytes();
                Ok((status, bytes))
            });
            tokio::select! {
                biased;
                answer = &mut answer => answer,
                // The connection may end before the answer has been looked at.
                closed = &mut connection => match closed {
                    Ok(()) => answer.await,
                    Err(error) => Err(Failure::of(&error)),
                },
            }
        };
        let late = || format!("no answer within {} ms", read_timeout.as_millis());
        let answered = tokio::time::timeout(read_timeout, exchange).await;
        answered.unwrap_or_else(|_| Err(Failure::new(late())))
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

/// No answer, and whether there may be one later.
struct Failure {
    cause: String,
    remedy: &'static str,
    retriable: bool,
}

impl From<NetError> for Failure {
    fn from(error: NetError) -> Self {
        Self {
            remedy: error.remedy(Server::Registry),
            retriable: error.retriable(),
            cause: error.to_string(),
        }
    }
}

impl Failure {
    /// Something answered, or nothing in time.
    fn new(cause: impl fmt::Display) -> Self {
        let remedy = "Check that schema.registry.url is a registry's, and that it is running.";
        Self {
            cause: cause.to_string(),
            remedy,
            retriable: true,
        }
    }

    fn of(error: &hyper::Error) -> Self {
        let source = std::error::Error::source(error);
        Self::new(source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}")))
    }
}

/// A reason without the envelope around the row.
fn one_row(reason: &str) -> String {
    reason
        .replace("field before.", "field ")
        .replace("field after.", "field ")
}

/// A reason for people who think in columns.
fn in_words(new_reads: bool, found: &Incompatibility, version: u64) -> String {
    let reason = found.reason();
    // The row is in the envelope twice, and is one row to whoever changed the table.
    let field = &reason.field;
    let field = field
        .strip_prefix("before.")
        .or_else(|| field.strip_prefix("after."))
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
            let reason = one_row(&reason.to_string());
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
        /// What happened.
        cause: String,
        /// What to do about it.
        remedy: &'static str,
        /// Whether it may pass.
        retriable: bool,
    },
    /// `schema.registry.ssl.*`
    Tls(TlsConfigError),
    /// The registry said no, in its own words.
    Refused(Box<Refusal>),
    /// The registry holds the schema to be incompatible with earlier ones.
    Incompatible(Box<Incompatible>),
    /// `use.latest.version` or `use.schema.id`, and that schema has no place for all of ours.
    Narrower {
        /// The subject.
        subject: String,
        /// The schema, in words.
        named: String,
        /// What has no place.
        reasons: Vec<String>,
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
    policy(401, 0, false,
        "check basic.auth.credentials.source with basic.auth.user.info, or \
         bearer.auth.token, of the converter"),
    policy(403, 0, false,
        "the credentials are right, the rights are not: allow this user to read and write \
         the subject"),
    policy(404, 40401, false,
        "the subject does not exist: register its schema beforehand, or set \
         auto.register.schemas=true"),
    policy(404, 40403, false,
        "the schema is not registered under this subject: register it beforehand, or set \
         auto.register.schemas=true"),
    policy(404, 0, false,
        "no registry answers at this path: check schema.registry.url, its path too"),
    policy(408, 0, true, BUSY),
    policy(422, 42201, false,
        "the registry does not take this schema: if a table's or column's name is no Avro \
         name, set schema.name.adjustment.mode=avro and field.name.adjustment.mode=avro"),
    policy(422, 42205, false,
        "the subject or the registry is in a mode that takes no new schemas: PUT /mode \
         {\"mode\":\"READWRITE\"}, or register the schema beforehand with \
         auto.register.schemas=false"),
    policy(422, 42209, false,
        "the schema exceeds the registry's size limit: leave columns out with \
         column.exclude.list, or raise the limit"),
    policy(422, 0, false, "the registry does not take this request"),
    policy(429, 0, true, "the registry asks for fewer requests; this one is repeated"),
    policy(500, 0, true, BUSY),
    policy(502, 0, true,
        "the proxy before the registry has no answer from it; the request is repeated"),
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
            Self::Unreachable { retriable, .. } => *retriable,
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
                "no subject for topic {topic}: {strategy:?}NameStrategy takes the record's name, \
                 and the schema is no record. Use \
                 io.confluent.kafka.serializers.subject.TopicNameStrategy"
            ),
            Self::Unreachable {
                address,
                subject,
                cause,
                remedy,
                retriable,
            } => {
                let again = if *retriable {
                    " The request is repeated."
                } else {
                    ""
                };
                write!(
                    f,
                    "the schema registry at {address} gives no answer for subject {subject}: \
                     {cause}. {remedy}{again}"
                )
            }
            Self::Tls(error) => write!(f, "schema.registry.ssl: {error}"),
            Self::Refused(refusal) => {
                let remedy = refusal
                    .policy()
                    .map_or("see the registry's log", |policy| policy.remedy);
                write!(f, "{refusal}. What to do: {remedy}")
            }
            Self::Incompatible(incompatible) => incompatible.fmt(f),
            Self::Narrower {
                subject,
                named,
                reasons,
            } => write!(
                f,
                "{named} cannot hold the records of subject {subject}: {}. What to do: register a \
                 schema that reads them as the latest version, or set auto.register.schemas=true; \
                 latest.compatibility.strict=false (id.compatibility.strict=false) refuses only \
                 those records that have something without a place",
                reasons.join("; ")
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
            ". What to do: make the table's change compatible (a new column that allows NULL or \
             has a default), or allow it for this subject: curl -X PUT \
             -H 'Content-Type: {MEDIA_TYPE}' \
             --data '{{\"compatibility\":\"NONE\"}}' {address}/config/{}",
            escaped(subject)
        )
    }
}

impl std::error::Error for RegistryError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AvroText;
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::net::TcpListener;
    use std::sync::mpsc;

    const SCHEMA: &str = r#"{"type":"record","name":"Key","fields":[{"name":"é\"","type":"int"}]}"#;

    /// A server that gives these answers, a connection each, and tells what it was asked.
    fn scripted(answers: Vec<(u16, &'static str)>) -> (String, mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (asked, heard) = mpsc::channel();
        std::thread::spawn(move || {
            for (status, answer) in answers {
                let (stream, _) = listener.accept().expect("a connection");
                let mut reader = BufReader::new(&stream);
                let (mut head, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).expect("a line");
                    if let Some(value) = line.strip_prefix("content-length: ") {
                        length = value.trim().parse().expect("a number");
                    }
                    if line.trim().is_empty() {
                        break;
                    }
                    head += &line;
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).expect("a body");
                asked
                    .send(head + &String::from_utf8(body).expect("text"))
                    .expect("a listener");
                let size = answer.len();
                write!(
                    &stream,
                    "HTTP/1.1 {status} X\r\nContent-Length: {size}\r\n\r\n{answer}"
                )
                .expect("an answer");
            }
        });
        (url, heard)
    }

    fn converter(urls: &[&str]) -> AvroConverter {
        let mut registry = Registry::new(urls.iter().map(|url| (*url).to_owned()).collect());
        registry.retry_wait = Duration::from_millis(1);
        AvroConverter {
            registry,
            auto_register: true,
            use_latest_version: false,
            use_schema_id: None,
            strict: true,
            normalize: false,
            text: AvroText::default(),
            ignore_defaults: false,
            subject_name: SubjectName::Topic,
        }
    }

    fn client(urls: &[&str]) -> RegistryClient {
        RegistryClient::new(&converter(urls)).expect("a client")
    }

    #[test]
    fn subjects() {
        let name = |strategy, side, record| subject(strategy, "a.b", side, record);
        assert_eq!(
            name(SubjectName::Topic, Side::Key, None).as_deref(),
            Ok("a.b-key")
        );
        assert_eq!(
            name(SubjectName::Topic, Side::Value, Some("n.R")).as_deref(),
            Ok("a.b-value")
        );
        assert_eq!(
            name(SubjectName::Record, Side::Key, Some("n.R")).as_deref(),
            Ok("n.R")
        );
        let topic_record = name(SubjectName::TopicRecord, Side::Value, Some("n.R"));
        assert_eq!(topic_record.as_deref(), Ok("a.b-n.R"));
        assert!(name(SubjectName::Record, Side::Key, None).is_err());
    }

    #[test]
    fn addresses() {
        let parsed = |url| Address::parse(url).map(|(address, user)| (address.to_string(), user));
        let user = |text: &str| Some(text.to_owned());
        for (url, expected, info) in [
            ("http://localhost:8081", "http://localhost:8081", None),
            (
                "https://sr/apis/ccompat/v7/",
                "https://sr:443/apis/ccompat/v7",
                None,
            ),
            ("http://[::1]:8081", "http://[::1]:8081", None),
            ("HTTP://[::1]", "http://[::1]:80", None),
            ("http://u%40x:p:w@h", "http://h:80", user("u@x:p:w")),
        ] {
            assert_eq!(parsed(url), Ok((expected.to_owned(), info)), "{url}");
        }
        for url in [
            "localhost:8081",
            "ftp://x",
            "http://",
            "http://h:port",
            "http://h/a b",
        ] {
            assert!(parsed(url).is_err(), "{url}");
        }
        let error = parsed("mock://secret:word@h")
            .expect_err("no such scheme")
            .to_string();
        assert!(!error.contains("word"), "{error}");
    }

    #[tokio::test]
    async fn registers_once_as_confluents_client_does() {
        let (url, heard) = scripted(vec![(200, r#"{"id":7}"#), (200, r#"{"id":8,"version":1}"#)]);
        let mut converter = converter(&[&format!("{}/base/", url.replace("//", "//u:p@"))]);
        converter
            .registry
            .request_headers
            .push(("X-Tenant".to_owned(), "t".to_owned()));
        let mut client = RegistryClient::new(&converter).expect("a client");
        assert_eq!(client.id("t/1-value", SCHEMA).await, Ok(7));
        assert_eq!(client.id("t/1-value", SCHEMA).await, Ok(7));
        let asked = heard.recv().expect("a request");
        assert!(
            asked.starts_with("POST /base/subjects/t%2F1-value/versions?normalize=false HTTP/1.1"),
            "{asked}"
        );
        for line in [
            "content-type: application/vnd.schemaregistry.v1+json\r\n",
            "authorization: Basic dTpw\r\n",
            "x-tenant: t\r\n",
            &format!("host: {}\r\n", &url[7..]),
        ] {
            assert!(asked.contains(line), "{asked}");
        }
        let body = r#"{"schema":"{\"type\":\"record\",\"name\":\"Key\",\"fields\":[{\"name\":\"é\\\"\",\"type\":\"int\"}]}"}"#;
        assert!(asked.ends_with(body), "{asked}");
        assert!(heard.try_recv().is_err(), "asked once");
        assert_eq!(client.id("other", SCHEMA).await, Ok(8));
    }

    #[tokio::test]
    async fn looks_up_where_it_may_not_register() {
        let latest =
            r#"{"subject":"s","version":3,"id":5,"schema":"{\"type\":\"int\",\"doc\":1}"}"#;
        let missing = r#"{"error_code":40403,"message":"Schema not found"}"#;
        let (url, heard) = scripted(vec![
            (200, latest),
            (404, missing),
            (200, latest),
            (200, latest),
        ]);
        let mut found = converter(&[&url]);
        found.auto_register = false;
        found.registry.bearer_token = Some("t".to_owned());
        let mut client = RegistryClient::new(&found).expect("a client");
        assert_eq!(client.id("s", "\"int\"").await, Ok(5));
        let asked = heard.recv().expect("a request");
        assert!(
            asked.starts_with("POST /subjects/s?normalize=false&deleted=false "),
            "{asked}"
        );
        assert!(asked.contains("authorization: Bearer t\r\n"), "{asked}");
        let error = client.id("s", "\"long\"").await.expect_err("not there");
        assert!(!error.retriable());
        let words = error.to_string();
        for part in [
            "subject s",
            "40403",
            "Schema not found",
            "auto.register.schemas=true",
        ] {
            assert!(words.contains(part), "{words}");
        }
        heard.recv().expect("a request");

        found.use_latest_version = true;
        let mut client = RegistryClient::new(&found).expect("a client");
        assert_eq!(client.id("s", "\"int\"").await, Ok(5));
        let asked = heard.recv().expect("a request");
        assert!(
            asked.starts_with("GET /subjects/s/versions/latest "),
            "{asked}"
        );
        assert!(client.rewrite("s", "\"int\"").is_none(), "the same bytes");
        let error = client.id("s", "\"long\"").await.expect_err("too wide");
        let words = error.to_string();
        for part in [
            "version 3 of subject s",
            "LONG",
            "auto.register.schemas=true",
        ] {
            assert!(words.contains(part), "{words}");
        }
    }

    #[tokio::test]
    async fn records_are_written_in_a_schema_that_was_registered() {
        let ours = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"b","type":["null","string"],"default":null}]}"#;
        let wider = r#"{"version":2,"id":9,"schema":"{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"n\",\"type\":\"string\",\"default\":\"x\"},{\"name\":\"b\",\"type\":[\"string\",\"null\"]},{\"name\":\"a\",\"type\":\"long\"}]}"}"#;
        let narrow = r#"{"schema":"{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"b\",\"type\":\"string\"}]}"}"#;
        let (url, heard) = scripted(vec![(200, wider), (200, narrow), (200, narrow)]);
        let mut found = converter(&[&url]);
        found.auto_register = false;
        found.use_latest_version = true;
        let mut client = RegistryClient::new(&found).expect("a client");
        assert_eq!(client.id("s", ours).await, Ok(9));
        heard.recv().expect("a request");
        let rewrite = client.rewrite("s", ours).expect("other bytes");
        let (mut out, mut spans) = (Vec::new(), Vec::new());
        rewrite
            .put(b"\x0e\x02\x02b", &mut spans, &mut out)
            .expect("a place");
        rewrite
            .put(b"\x0e\x00", &mut spans, &mut out)
            .expect("a place");
        assert_eq!(out, b"\x02x\x00\x02b\x0e\x02x\x02\x0e");

        found.use_schema_id = Some(4);
        let mut client = RegistryClient::new(&found).expect("a client");
        let words = client
            .id("s", ours)
            .await
            .expect_err("no place")
            .to_string();
        assert!(
            words.contains("schema 4") && words.contains("field b"),
            "{words}"
        );
        let asked = heard.recv().expect("a request");
        assert!(asked.starts_with("GET /schemas/ids/4?"), "{asked}");
        found.strict = false;
        let mut client = RegistryClient::new(&found).expect("a client");
        assert_eq!(client.id("s", ours).await, Ok(4));
        let rewrite = client.rewrite("s", ours).expect("other bytes");
        out.clear();
        rewrite
            .put(b"\x0e\x02\x02b", &mut spans, &mut out)
            .expect("a place");
        assert_eq!(out, b"\x02b");
        let error = rewrite
            .put(b"\x0e\x00", &mut spans, &mut out)
            .expect_err("null");
        assert!(error.to_string().contains("null at b"), "{error}");
    }

    /// What AvroConverter 7.0.16 wrote of {7, "x", "y"} and {-1, null, null} under
    /// `use.latest.version` and `latest.compatibility.strict`, where it takes the same fields in the
    /// same order: elsewhere it writes rows that nobody wants, or throws.
    #[tokio::test]
    async fn the_latest_version_as_confluents_serializer_writes_it() {
        const A: &str = r#"{"name":"a","type":"int"}"#;
        const B: &str = r#"{"name":"b","type":["null","string"],"default":null}"#;
        const C: &str = r#"{"name":"c","type":[{"type":"string","connect.default":"dv"},"null"],"default":"dv"}"#;
        let schema = |fields: &[&str]| {
            let fields = fields.join(",");
            format!(
                r#"{{"type":"record","name":"R","namespace":"n","fields":[{fields}],"connect.name":"n.R"}}"#
            )
        };
        let ours = schema(&[A, B, C]);
        let rows: [&[u8]; 2] = [b"\x0e\x02\x02x\x00\x02y", b"\x01\x00\x00\x04dv"];
        let documented = r#"{"name":"a","type":"int","doc":"d"}"#;
        let wider = r#"{"name":"a","type":"long"}"#;
        let turned = r#"{"name":"b","type":["string","null"]}"#;
        let required = r#"{"name":"b","type":"string"}"#;
        let same = [Some(rows[0]), Some(rows[1])];
        let fewer: [Option<&[u8]>; 2] = [Some(b"\x0e\x02\x02x"), Some(b"\x01\x00")];
        let turned_rows: [Option<&[u8]>; 2] =
            [Some(b"\x0e\x00\x02x\x00\x02y"), Some(b"\x01\x02\x00\x04dv")];
        let required_rows: [Option<&[u8]>; 2] = [Some(b"\x0e\x02x\x00\x02y"), None];
        for (fields, strict, expected) in [
            (&[A, B, C][..], true, Some(same)),
            (&[documented, B, C], true, Some(same)),
            (&[wider, B, C], true, Some(same)),
            (&[A, turned, C], true, Some(turned_rows)),
            (&[A, required, C], true, None),
            (&[A, required, C], false, Some(required_rows)),
            (&[A, B], true, Some(fewer)),
        ] {
            let latest = serde_json::json!({ "version": 1, "id": 9, "schema": schema(fields) });
            let latest: &'static str = Box::leak(latest.to_string().into_boxed_str());
            let (url, _heard) = scripted(vec![(200, latest)]);
            let mut found = converter(&[&url]);
            found.auto_register = false;
            found.use_latest_version = true;
            found.strict = strict;
            let mut client = RegistryClient::new(&found).expect("a client");
            let id = client.id("s", &ours).await;
            let Some(expected) = expected else {
                assert!(id.is_err(), "{fields:?}");
                continue;
            };
            assert_eq!(id, Ok(9), "{fields:?}");
            let rewrite = client.rewrite("s", &ours);
            for (row, expected) in rows.iter().zip(expected) {
                let (mut out, mut spans) = (Vec::new(), Vec::new());
                let written = match &rewrite {
                    Some(rewrite) => rewrite.put(row, &mut spans, &mut out).is_ok(),
                    None => {
                        out.extend_from_slice(row);
                        true
                    }
                };
                assert_eq!(written.then_some(&*out), expected, "{fields:?}");
            }
        }
    }

    #[tokio::test]
    async fn what_may_pass_is_asked_again_and_elsewhere() {
        let busy = (503, r#"{"error_code":50003,"message":"no leader"}"#);
        let (url, heard) = scripted(vec![busy, busy, (200, r#"{"id":1}"#)]);
        assert_eq!(client(&[&url]).id("s", SCHEMA).await, Ok(1));
        assert_eq!(heard.iter().count(), 3);

        let (first, heard_first) = scripted(vec![busy, busy, busy, busy]);
        let (second, heard_second) = scripted(vec![(200, r#"{"id":2}"#), (200, r#"{"id":3}"#)]);
        let mut both = client(&[&first, &second]);
        assert_eq!(both.id("s", SCHEMA).await, Ok(2));
        assert_eq!(both.id("t", SCHEMA).await, Ok(3), "what answers is kept");
        assert_eq!(
            (heard_first.iter().count(), heard_second.iter().count()),
            (4, 2)
        );

        let nobody = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
        let nobody = format!("http://{}", nobody.expect("a port"));
        let error = client(&[&nobody])
            .id("s", SCHEMA)
            .await
            .expect_err("nobody there");
        assert!(error.retriable());
        let words = error.to_string();
        assert!(
            words.contains(&nobody) && words.contains("subject s"),
            "{words}"
        );
    }

    #[tokio::test]
    async fn what_must_be_mended_says_how() {
        let page = "<html>wrong door</html>";
        let invalid = r#"{"error_code":42201,"message":"Illegal character in: a b"}"#;
        let unauthorized = r#"{"error_code":401,"message":"Unauthorized"}"#;
        for (status, answer, retriable, parts) in [
            (
                401,
                unauthorized,
                false,
                ["HTTP 401", "basic.auth.user.info"],
            ),
            (
                403,
                r#"{"error_code":40301,"message":"no"}"#,
                false,
                ["code 40301", "rights"],
            ),
            (
                404,
                page,
                false,
                ["wrong door", "check schema.registry.url"],
            ),
            (
                422,
                invalid,
                false,
                [
                    "Illegal character in: a b",
                    "field.name.adjustment.mode=avro",
                ],
            ),
            (500, "{}", true, ["HTTP 500", "log"]),
            (200, "{}", false, ["without what was asked", "subject s"]),
            (
                200,
                r#"{"id":-1}"#,
                false,
                ["without what was asked", "{\"id\":-1}"],
            ),
            (418, page, false, ["HTTP 418", "registry's log"]),
        ] {
            let (url, _heard) = scripted(vec![(status, answer); 4]);
            let error = client(&[&url]).id("s", SCHEMA).await.expect_err(answer);
            assert_eq!(error.retriable(), retriable, "{error}");
            let words = error.to_string();
            assert!(parts.iter().all(|part| words.contains(part)), "{words}");
        }
    }
}
