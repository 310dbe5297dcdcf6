//! A schema registry in this process: Confluent's API for Avro, for development.
//!
//! Serves what producers, consumers, user interfaces and build plugins ask for: subjects and their
//! versions, schemas by id, look-up, configuration, mode, compatibility, deletion soft and hard,
//! references, normalization. The same text has the same id in all subjects, ids begin at 1 and
//! never change their meaning.
//!
//! Left out, and answered with 404 as an older registry would: contexts, associations, guids,
//! metadata and rule sets, JSON Schema and Protobuf, authentication, a second replica. For
//! production, run Confluent's registry, Karapace or Apicurio.
//!
//! State is in memory; with a data directory also in its file `registry.json`, which is replaced
//! whole, and synced, before a change is answered.
//!
//! Source: Confluent Schema Registry 8.5.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use avro::Schema;
use avro::compatibility::{self, Incompatibility, Kind, Level};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, ALLOW, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// What answers are, by preference; the first is the default.
const MEDIA_TYPES: [&str; 3] = [
    "application/vnd.schemaregistry.v1+json",
    "application/vnd.schemaregistry+json",
    "application/json",
];

/// The longest request body.
const BODY_BYTES_MAX: usize = 16 << 20;

/// How deep references may refer.
const REFERENCE_DEPTH_MAX: usize = 32;

/// How long open connections may take to end.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// Where to listen, and where to keep what is registered.
#[derive(Debug, Clone)]
pub struct RegistryOptions {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// None: memory alone.
    pub data_dir: Option<PathBuf>,
}

impl Default for RegistryOptions {
    /// A registry's usual port, on loopback, in memory.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8081)),
            data_dir: None,
        }
    }
}

/// Starts registries.
#[derive(Debug)]
pub struct Registry;

/// A registry that answers until it is shut down or dropped.
#[derive(Debug)]
pub struct RunningRegistry {
    /// Where it listens.
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
}

/// Why a registry did not start.
#[derive(Debug)]
pub enum StartError {
    /// The address cannot be had.
    Listen {
        /// Which.
        address: SocketAddr,
        /// The system's words.
        cause: io::Error,
    },
    /// The file cannot be read or written, or is not ours.
    Data {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        cause: io::Error,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { address, cause } => write!(
                f,
                "the embedded schema registry cannot listen on {address}: {cause}. \
                 Give it another port, or end what has this one"
            ),
            Self::Data { path, cause } => write!(
                f,
                "the embedded schema registry cannot use {}: {cause}. \
                 Give it another data directory, or mend or remove the file",
                path.display()
            ),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen { cause, .. } | Self::Data { cause, .. } => Some(cause),
        }
    }
}

impl Registry {
    /// Reads what an earlier run kept, and answers from then on, in a task of the current runtime.
    ///
    /// Errors: the address is taken; the data directory cannot be used.
    pub async fn start(options: RegistryOptions) -> Result<RunningRegistry, StartError> {
        let store = Store::open(options.data_dir.as_deref())?;
        let listen = |cause| StartError::Listen {
            address: options.listen,
            cause,
        };
        let listener = TcpListener::bind(options.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let router = Router::new()
            .fallback(serve)
            .with_state(Arc::new(Mutex::new(store)));
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(async move {
            let served = axum::serve(listener, router).with_graceful_shutdown(async {
                // A sender that is dropped says the same.
                let _ = stopped.await;
            });
            if let Err(error) = served.await {
                tracing::error!(%error, "the embedded schema registry has stopped");
            }
        });
        Ok(RunningRegistry {
            address,
            stop: Some(stop),
            server,
        })
    }
}

impl RunningRegistry {
    /// `http://host:port`, as `schema.registry.url` wants it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops listening, lets requests under way finish, and cuts what remains after a second.
    pub async fn shutdown(mut self) {
        self.stop.take();
        let _ = tokio::time::timeout(SHUTDOWN, &mut self.server).await;
    }
}

impl Drop for RunningRegistry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

// -------------------------------------------------------------------------------------- HTTP ---

async fn serve(State(store): State<Arc<Mutex<Store>>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Some(media_type) = media_type_for(&head.headers) else {
        return respond(
            MEDIA_TYPES[0],
            &Answer::from(http_error(406, "Not Acceptable")),
        );
    };
    let method = head.method.as_str();
    if matches!(method, "POST" | "PUT") && !is_readable(&head.headers) {
        return respond(
            media_type,
            &Answer::from(http_error(415, "Unsupported Media Type")),
        );
    }
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        return respond(
            media_type,
            &Answer::from(http_error(413, "Request Entity Too Large")),
        );
    };
    let path: Vec<String> = head
        .uri
        .path()
        .split('/')
        .filter(|part| !part.is_empty())
        .map(unescaped)
        .collect();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let query = Query::parse(head.uri.query().unwrap_or_default());
    let answer = {
        // A panic in another request cannot have left a change half made: `Store::keep` is last.
        let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
        store
            .answer(method, &path, &query, &body)
            .unwrap_or_else(Answer::from)
    };
    respond(media_type, &answer)
}

fn respond(media_type: &'static str, answer: &Answer) -> Response {
    let text = match &answer.body {
        Content::Json(value) => value.to_string(),
        Content::Text(text) => text.clone(),
    };
    let mut response = Response::new(Body::from(text));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    if answer.status == 405 {
        headers.insert(ALLOW, HeaderValue::from_static("GET, POST, PUT, DELETE"));
    }
    response
}

/// The type of the answer: the first that `Accept` names, the default where it takes anything.
fn media_type_for(headers: &HeaderMap) -> Option<&'static str> {
    let mut given = false;
    let mut anything = false;
    for accept in headers.get_all(ACCEPT) {
        for range in accept.to_str().unwrap_or("*/*").split(',') {
            given = true;
            let range = range.split(';').next().unwrap_or_default().trim();
            if let Some(media_type) = MEDIA_TYPES
                .into_iter()
                .find(|known| known.eq_ignore_ascii_case(range))
            {
                return Some(media_type);
            }
            anything |= matches!(range, "*/*" | "*" | "application/*");
        }
    }
    (anything || !given).then_some(MEDIA_TYPES[0])
}

/// Whether the body is said to be JSON, or nothing is said of it.
fn is_readable(headers: &HeaderMap) -> bool {
    let Some(given) = headers.get(CONTENT_TYPE) else {
        return true;
    };
    let given = given.to_str().unwrap_or_default();
    let given = given.split(';').next().unwrap_or_default().trim();
    let known = MEDIA_TYPES.into_iter().chain(["application/octet-stream"]);
    known
        .into_iter()
        .any(|known| known.eq_ignore_ascii_case(given))
}

/// Resolves %XX; a broken one stays as it is.
fn unescaped(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let mut digit = || {
            ahead
                .next()
                .and_then(|digit| char::from(digit).to_digit(16))
        };
        if byte == b'%'
            && let (Some(high), Some(low)) = (digit(), digit())
        {
            out.extend(u8::try_from(high * 16 + low));
            bytes = ahead;
        } else {
            out.push(byte);
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The query's parameters; the first of a name counts.
#[derive(Debug, Default)]
struct Query(BTreeMap<String, String>);

impl Query {
    fn parse(text: &str) -> Self {
        let mut parameters = BTreeMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = |text: &str| unescaped(&text.replace('+', " "));
            parameters
                .entry(decoded(name))
                .or_insert_with(|| decoded(value));
        }
        Self(parameters)
    }

    /// `true` in any case is true, all else is not.
    fn is(&self, name: &str) -> bool {
        self.0
            .get(name)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn number(&self, name: &str) -> Option<usize> {
        self.text(name).and_then(|value| value.parse().ok())
    }

    /// `offset` and `limit`, applied.
    fn page<T>(&self, all: impl Iterator<Item = T>) -> Vec<T> {
        let limit = self
            .number("limit")
            .filter(|limit| *limit > 0)
            .unwrap_or(usize::MAX);
        all.skip(self.number("offset").unwrap_or(0))
            .take(limit)
            .collect()
    }
}

struct Answer {
    status: u16,
    body: Content,
}

enum Content {
    Json(Value),
    /// A schema's bare text.
    Text(String),
}

/// What an error answer holds.
#[derive(Debug)]
struct Refused {
    status: u16,
    code: u32,
    message: String,
}

impl From<Value> for Answer {
    fn from(value: Value) -> Self {
        Self {
            status: 200,
            body: Content::Json(value),
        }
    }
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        let Refused {
            status,
            code,
            message,
        } = refused;
        let body = Content::Json(json!({"error_code": code, "message": message}));
        Self { status, body }
    }
}

fn refused(code: u32, message: impl Into<String>) -> Refused {
    // 40401 is a kind of 404.
    let status = u16::try_from(if code > 999 { code / 100 } else { code }).unwrap_or(500);
    Refused {
        status,
        code,
        message: message.into(),
    }
}

fn http_error(status: u32, words: &str) -> Refused {
    refused(status, format!("HTTP {status} {words}"))
}

fn no_subject(subject: &str) -> Refused {
    refused(40401, format!("Subject '{subject}' not found."))
}

fn no_version(version: u32) -> Refused {
    refused(40402, format!("Version {version} not found."))
}

fn no_schema(id: &str) -> Refused {
    refused(40403, format!("Schema {id} not found"))
}

// ------------------------------------------------------------------------------------- state ---

/// Everything that is registered.
#[derive(Debug, Default, Clone)]
struct Store {
    /// None: memory alone.
    file: Option<PathBuf>,
    schemas: BTreeMap<u32, Stored>,
    /// The highest id ever given.
    last_id: u32,
    subjects: BTreeMap<String, Subject>,
    settings: Settings,
}

/// One schema; its identity is all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stored {
    text: String,
    references: Vec<Reference>,
}

/// A named type's home, for a text that uses it without defining it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Reference {
    name: String,
    subject: String,
    version: u32,
}

#[derive(Debug, Default, Clone)]
struct Subject {
    versions: BTreeMap<u32, Version>,
    settings: Settings,
}

#[derive(Debug, Clone, Copy)]
struct Version {
    id: u32,
    /// Softly: to be read by id only.
    deleted: bool,
}

/// What a subject, or the whole registry, says for itself.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Settings {
    level: Option<Level>,
    normalize: Option<bool>,
    mode: Option<String>,
}

/// A request's schema, understood.
struct Candidate {
    schema: Schema,
    stored: Stored,
}

const MODES: [&str; 5] = [
    "READWRITE",
    "READONLY",
    "READONLY_OVERRIDE",
    "IMPORT",
    "FORWARD",
];

type Answered = Result<Answer, Refused>;

impl Store {
    /// Answers one request. A change that cannot be kept has not happened.
    fn answer(&mut self, method: &str, path: &[&str], query: &Query, body: &[u8]) -> Answered {
        let before = (self.file.is_some() && method != "GET").then(|| self.clone());
        let answered = self.dispatch(method, path, query, body);
        if let (Some(before), Err(Refused { code: 50001, .. })) = (before, &answered) {
            *self = before;
        }
        answered
    }

    /// The one table of what is served.
    fn dispatch(&mut self, method: &str, path: &[&str], query: &Query, body: &[u8]) -> Answered {
        match (method, path) {
            ("GET", []) => Ok(json!({}).into()),
            ("GET", ["subjects"]) => Ok(self.subject_names(query)),
            ("POST", ["subjects", subject]) => self.look_up(subject, query, body),
            ("DELETE", ["subjects", subject]) => self.delete_subject(subject, query),
            ("GET", ["subjects", subject, "versions"]) => self.version_numbers(subject, query),
            ("POST", ["subjects", subject, "versions"]) => self.register(subject, query, body),
            ("GET", ["subjects", subject, "versions", version]) => {
                let (number, found) = self.version(subject, version, query.is("deleted"))?;
                Ok(self.shown(subject, number, found).into())
            }
            ("DELETE", ["subjects", subject, "versions", version]) => {
                self.delete_version(subject, version, query)
            }
            ("GET", ["subjects", subject, "versions", version, "schema"]) => {
                let (_, found) = self.version(subject, version, query.is("deleted"))?;
                self.text(&found.id.to_string())
            }
            ("GET", ["subjects", subject, "versions", version, "referencedby"]) => {
                let (number, _) = self.version(subject, version, query.is("deleted"))?;
                Ok(json!(self.referring(subject, Some(number), query.is("deleted"))).into())
            }
            ("GET", ["schemas"]) => Ok(self.all_schemas(query)),
            ("GET", ["schemas", "types"]) => Ok(json!(["AVRO"]).into()),
            ("GET", ["schemas", "ids", id]) => self.by_id(id, query),
            ("GET", ["schemas", "ids", id, "schema"]) => self.text(id),
            ("GET", ["schemas", "ids", id, "subjects"]) => {
                let uses = self.uses(id, query)?;
                let names: BTreeSet<&str> = uses.iter().map(|(subject, _)| *subject).collect();
                Ok(json!(names).into())
            }
            ("GET", ["schemas", "ids", id, "versions"]) => {
                let uses = self.uses(id, query)?;
                let shown = |(subject, version): &(&str, u32)| -> Value {
                    json!({"subject": subject, "version": version})
                };
                Ok(Value::from_iter(uses.iter().map(shown)).into())
            }
            ("GET", ["config"]) => Ok(self.settings.shown(true).into()),
            ("PUT", ["config"]) => self.configure(None, body),
            ("DELETE", ["config"]) => {
                let before = self.settings.shown(true);
                self.settings.level = None;
                self.settings.normalize = None;
                self.kept(before.into())
            }
            ("GET", ["config", subject]) => self.config_of(subject, query),
            ("PUT", ["config", subject]) => self.configure(Some(subject), body),
            ("DELETE", ["config", subject]) => {
                let settings = self.own(subject, |own| own.level.is_some());
                let settings = settings.ok_or_else(|| no_subject(subject))?;
                let before = settings.shown(false);
                settings.level = None;
                settings.normalize = None;
                self.kept(before.into())
            }
            ("GET", ["mode"]) => Ok(json!({"mode": self.mode(None)}).into()),
            ("PUT", ["mode"]) => self.set_mode(None, query, body),
            ("GET", ["mode", subject]) => self.mode_of(subject, query),
            ("PUT", ["mode", subject]) => self.set_mode(Some(subject), query, body),
            ("DELETE", ["mode", subject]) => {
                let settings = self.own(subject, |own| own.mode.is_some());
                let before = settings.and_then(|settings| settings.mode.take());
                let before = before.ok_or_else(|| no_subject(subject))?;
                self.kept(json!({"mode": before}).into())
            }
            ("POST", ["compatibility", "subjects", subject, "versions"]) => {
                self.test(subject, None, query, body)
            }
            ("POST", ["compatibility", "subjects", subject, "versions", version]) => {
                self.test(subject, Some(version), query, body)
            }
            ("GET", ["v1", "metadata", "id"]) => Ok(json!({
                "scope": {"path": [], "clusters": {
                    "kafka-cluster": "penstock", "schema-registry-cluster": "schema-registry",
                }},
                "id": "",
            })
            .into()),
            ("GET", ["v1", "metadata", "version"]) => Ok(json!({
                "version": concat!("penstock-", env!("CARGO_PKG_VERSION")), "commitId": "",
            })
            .into()),
            (_, path) if is_served(path) => Err(http_error(405, "Method Not Allowed")),
            // Contexts and associations too: clients that ask for them then do without.
            _ => Err(http_error(404, "Not Found")),
        }
    }

    // ------------------------------------------------------------------------------ register ---

    fn register(&mut self, subject: &str, query: &Query, body: &[u8]) -> Answered {
        let invalid = subject.is_empty()
            || subject.chars().any(char::is_control)
            || matches!(subject, "__GLOBAL" | "__EMPTY");
        if invalid {
            let message = format!("The specified subject '{subject}' is not a valid.");
            return Err(refused(42208, message));
        }
        let candidate = self.candidate(subject, query, body)?;
        if let Some((_, found)) = self.find(subject, &candidate, false) {
            return Ok(json!({"id": found.id}).into());
        }
        if self.mode(Some(subject)).starts_with("READONLY") {
            return Err(refused(
                42205,
                format!("Subject {subject} is in read-only mode"),
            ));
        }
        let level = self.level(subject);
        let details = self.objections(level, subject, None, &candidate.schema);
        if !details.is_empty() {
            return Err(refused(
                409,
                format!(
                    "Schema being registered is incompatible with an earlier schema for subject \
                 \"{subject}\", details: [{}]",
                    details.join(", ")
                ),
            ));
        }
        let id = match self
            .schemas
            .iter()
            .find(|(_, stored)| **stored == candidate.stored)
        {
            Some((id, _)) => *id,
            None => {
                self.last_id += 1;
                self.schemas.insert(self.last_id, candidate.stored);
                self.last_id
            }
        };
        let versions = &mut self
            .subjects
            .entry(subject.to_owned())
            .or_default()
            .versions;
        let number = versions.last_key_value().map_or(0, |(number, _)| *number) + 1;
        // What comes again leaves its deleted self behind.
        versions.retain(|_, version| version.id != id);
        versions.insert(number, Version { id, deleted: false });
        self.kept(json!({"id": id}).into())
    }

    fn look_up(&self, subject: &str, query: &Query, body: &[u8]) -> Answered {
        let deleted = query.is("deleted");
        self.versions(subject, deleted)?;
        let candidate = self.candidate(subject, query, body)?;
        let (number, found) = self
            .find(subject, &candidate, deleted)
            .ok_or_else(|| refused(40403, "Schema not found"))?;
        Ok(self.shown(subject, number, found).into())
    }

    /// The version of `subject` that is `candidate`: the same text, or else one that differs in
    /// the order of properties only.
    fn find(&self, subject: &str, candidate: &Candidate, deleted: bool) -> Option<(u32, Version)> {
        let versions = &self.subjects.get(subject)?.versions;
        let seen = || {
            versions
                .iter()
                .rev()
                .filter(|(_, version)| deleted || !version.deleted)
                .filter_map(|(number, version)| {
                    Some((*number, *version, self.schemas.get(&version.id)?))
                })
        };
        let same = seen().find(|(.., stored)| **stored == candidate.stored);
        let equal = || {
            seen().find(|(.., stored)| {
                stored.references == candidate.stored.references
                    && self
                        .parsed(stored)
                        .is_some_and(|schema| schema == candidate.schema)
            })
        };
        same.or_else(equal)
            .map(|(number, version, _)| (number, version))
    }

    /// Reads `{"schema":"..","schemaType":"AVRO","references":[..]}`.
    fn candidate(&self, subject: &str, query: &Query, body: &[u8]) -> Result<Candidate, Refused> {
        let body = object(body)?;
        for member in ["id", "version"] {
            let given = body
                .get(member)
                .and_then(Value::as_i64)
                .is_some_and(|value| value > 0);
            if given {
                let message = format!("Subject {subject} is not in import mode");
                return Err(refused(42205, message));
            }
        }
        match body.get("schemaType").and_then(Value::as_str) {
            None | Some("AVRO") => {}
            Some(other) => {
                return Err(refused(42201, format!("Invalid schema type {other}")));
            }
        }
        let mut references = Vec::new();
        for reference in body
            .get("references")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            references.push(self.reference(reference)?);
        }
        let text = body
            .get("schema")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let (text, mut references) = if text.is_empty() {
            let last = self
                .versions(subject, false)
                .ok()
                .and_then(|versions| versions.last().copied());
            let stored = last.and_then(|(_, version)| self.schemas.get(&version.id));
            let stored = stored.ok_or_else(|| refused(42201, "Empty schema"))?;
            (stored.text.clone(), stored.references.clone())
        } else {
            (text.to_owned(), references)
        };
        let homes = self.resolved(&references)?;
        let mut schema = Schema::parse_with(&text, &homes).map_err(|error| {
            refused(
                42201,
                format!("Invalid schema of type AVRO, details: {error}"),
            )
        })?;
        let own = self
            .subjects
            .get(subject)
            .and_then(|subject| subject.settings.normalize);
        if query.is("normalize") || own.or(self.settings.normalize).unwrap_or(false) {
            schema = schema.normalized();
            references.sort();
            references.dedup();
        }
        let stored = Stored {
            text: schema.to_string(),
            references,
        };
        Ok(Candidate { schema, stored })
    }

    fn reference(&self, value: &Value) -> Result<Reference, Refused> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let number = value.get("version").and_then(Value::as_i64);
        let (Some(name), Some(subject), Some(number)) = (text("name"), text("subject"), number)
        else {
            return Err(refused(
                42201,
                "A reference has a name, a subject and a version",
            ));
        };
        let wanted = if number == -1 {
            "latest".to_owned()
        } else {
            number.to_string()
        };
        let missing = |_| {
            let message = format!(
                "Invalid schema of type AVRO, details: No schema reference found for subject \
                 \"{subject}\" and version {number}"
            );
            refused(42201, message)
        };
        let (version, _) = self.version(&subject, &wanted, true).map_err(missing)?;
        Ok(Reference {
            name,
            subject,
            version,
        })
    }

    /// The schemas that `references` name, and those that they need, the needed first, each once.
    fn resolved(&self, references: &[Reference]) -> Result<Vec<Schema>, Refused> {
        let mut schemas = Vec::new();
        self.resolve(
            references,
            &mut BTreeSet::new(),
            &mut schemas,
            REFERENCE_DEPTH_MAX,
        )?;
        Ok(schemas)
    }

    fn resolve(
        &self,
        references: &[Reference],
        seen: &mut BTreeSet<(String, u32)>,
        schemas: &mut Vec<Schema>,
        depth: usize,
    ) -> Result<(), Refused> {
        let depth = depth
            .checked_sub(1)
            .ok_or_else(|| refused(42201, "References refer too deep"))?;
        for Reference {
            subject, version, ..
        } in references
        {
            if !seen.insert((subject.clone(), *version)) {
                continue;
            }
            let home = self
                .subjects
                .get(subject)
                .and_then(|home| home.versions.get(version));
            let stored = home.and_then(|version| self.schemas.get(&version.id));
            let stored = stored.ok_or_else(|| {
                refused(
                    42201,
                    format!("No schema reference found for subject \"{subject}\""),
                )
            })?;
            self.resolve(&stored.references, seen, schemas, depth)?;
            let schema = Schema::parse_with(&stored.text, schemas)
                .map_err(|error| refused(42201, format!("Invalid reference, details: {error}")))?;
            schemas.push(schema);
        }
        Ok(())
    }

    fn parsed(&self, stored: &Stored) -> Option<Schema> {
        let homes = self.resolved(&stored.references).ok()?;
        Schema::parse_with(&stored.text, &homes).ok()
    }

    // ------------------------------------------------------------------------- compatibility ---

    fn test(&self, subject: &str, version: Option<&str>, query: &Query, body: &[u8]) -> Answered {
        let verbose = query.is("verbose");
        let verdict = |messages: Vec<String>| {
            let mut verdict = json!({"is_compatible": messages.is_empty()});
            if verbose {
                verdict["messages"] = json!(messages);
            }
            Answer::from(verdict)
        };
        let against = match version {
            None => None,
            Some(version) => match (self.version(subject, version, false), is_latest(version)) {
                (Ok((number, _)), _) => Some(number),
                (Err(_), true) => return Ok(verdict(Vec::new())),
                (Err(refusal), false) if refusal.code == 40401 => {
                    return Err(no_version(version.parse().unwrap_or_default()));
                }
                (Err(refusal), false) => return Err(refusal),
            },
        };
        let candidate = match self.candidate(subject, query, body) {
            Err(refusal) if refusal.code == 42201 && verbose => {
                return Ok(verdict(vec![refusal.message]));
            }
            candidate => candidate?,
        };
        let level = self.level(subject);
        Ok(verdict(self.objections(
            level,
            subject,
            against,
            &candidate.schema,
        )))
    }

    /// What earlier versions have against `new`: those that the level names, or the one given.
    /// The first with an objection, from the newest on, speaks for all.
    fn objections(
        &self,
        level: Level,
        subject: &str,
        against: Option<u32>,
        new: &Schema,
    ) -> Vec<String> {
        let mut earlier = self.versions(subject, false).unwrap_or_default();
        earlier.reverse();
        match against {
            Some(number) => earlier.retain(|(version, _)| *version == number),
            None if level.is_transitive() => {}
            None => earlier.truncate(1),
        }
        for (number, version) in earlier {
            let Some(stored) = self.schemas.get(&version.id) else {
                continue;
            };
            let Some(old) = self.parsed(stored) else {
                continue;
            };
            let found = compatibility::can_follow(level, new, &old);
            if !found.is_empty() {
                let mut details: Vec<String> = found
                    .iter()
                    .map(|(new_reads, reason)| detail(*new_reads, reason))
                    .collect();
                details.push(format!("{{oldSchemaVersion: {number}}}"));
                details.push(format!("{{oldSchema: '{}'}}", stored.text));
                let level = level.as_str();
                details.push(format!(
                    "{{validateFields: 'false', compatibility: '{level}'}}"
                ));
                return details;
            }
        }
        Vec::new()
    }

    fn level(&self, subject: &str) -> Level {
        let own = self
            .subjects
            .get(subject)
            .and_then(|subject| subject.settings.level);
        own.or(self.settings.level).unwrap_or_default()
    }

    // ------------------------------------------------------------------------------- reading ---

    /// Versions in order, the deleted ones only if asked for.
    fn versions(&self, subject: &str, deleted: bool) -> Result<Vec<(u32, Version)>, Refused> {
        let versions: Vec<_> = self
            .subjects
            .get(subject)
            .into_iter()
            .flat_map(|subject| &subject.versions)
            .filter(|(_, version)| deleted || !version.deleted)
            .map(|(number, version)| (*number, *version))
            .collect();
        if versions.is_empty() {
            Err(no_subject(subject))
        } else {
            Ok(versions)
        }
    }

    fn version(
        &self,
        subject: &str,
        version: &str,
        deleted: bool,
    ) -> Result<(u32, Version), Refused> {
        let number = version
            .parse()
            .ok()
            .filter(|number| i32::try_from(*number).is_ok_and(|n| n > 0));
        if number.is_none() && !is_latest(version) {
            return Err(refused(
                42202,
                format!(
                    "The specified version '{version}' is not a valid version id. Allowed values \
                     are between [1, 2^31-1] and the string \"latest\""
                ),
            ));
        }
        let versions = self.versions(subject, deleted)?;
        let found = match number {
            None => versions.last(),
            Some(number) => versions.iter().find(|(known, _)| *known == number),
        };
        found
            .copied()
            .ok_or_else(|| no_version(number.unwrap_or_default()))
    }

    fn shown(&self, subject: &str, number: u32, version: Version) -> Value {
        let mut shown = json!({"subject": subject, "version": number, "id": version.id});
        if let Some(Stored { text, references }) = self.schemas.get(&version.id) {
            if !references.is_empty() {
                shown["references"] = references.iter().map(Reference::shown).collect();
            }
            shown["schema"] = text.as_str().into();
        }
        if version.deleted {
            shown["deleted"] = true.into();
        }
        shown
    }

    fn subject_names(&self, query: &Query) -> Answer {
        let prefix = prefix(query);
        let only = query.is("deletedOnly");
        let deleted = query.is("deleted") || only;
        let names = self.subjects.iter().filter(|(name, subject)| {
            let alive = subject.versions.values().any(|version| !version.deleted);
            name.starts_with(prefix)
                && !subject.versions.is_empty()
                && if only { !alive } else { alive || deleted }
        });
        json!(query.page(names.map(|(name, _)| name))).into()
    }

    fn version_numbers(&self, subject: &str, query: &Query) -> Answered {
        let only = query.is("deletedOnly");
        let negative = query.is("deletedAsNegative");
        let versions = self.versions(subject, query.is("deleted") || only || negative)?;
        let numbers = versions
            .into_iter()
            .filter(|(_, version)| !only || version.deleted)
            .map(|(number, version)| {
                let number = i64::from(number);
                if negative && version.deleted {
                    -number
                } else {
                    number
                }
            });
        Ok(json!(query.page(numbers)).into())
    }

    fn all_schemas(&self, query: &Query) -> Answer {
        let prefix = prefix(query);
        let mut shown = Vec::new();
        for name in self.subjects.keys().filter(|name| name.starts_with(prefix)) {
            let versions = self.versions(name, query.is("deleted")).unwrap_or_default();
            let skip = if query.is("latestOnly") {
                versions.len().saturating_sub(1)
            } else {
                0
            };
            let versions = versions.into_iter().skip(skip);
            shown.extend(versions.map(|(number, version)| self.shown(name, number, version)));
        }
        Value::from(query.page(shown.into_iter())).into()
    }

    fn stored(&self, id: &str) -> Result<(u32, &Stored), Refused> {
        // A path that holds no number leads nowhere.
        let number: i64 = id.parse().map_err(|_| http_error(404, "Not Found"))?;
        let known = u32::try_from(number).ok();
        known
            .and_then(|known| Some((known, self.schemas.get(&known)?)))
            .ok_or_else(|| no_schema(id))
    }

    fn by_id(&self, id: &str, query: &Query) -> Answered {
        let (_, Stored { text, references }) = self.stored(id)?;
        let mut shown = json!({"schema": text});
        if !references.is_empty() {
            shown["references"] = references.iter().map(Reference::shown).collect();
        }
        if query.is("fetchMaxId") {
            shown["maxId"] = self.last_id.into();
        }
        Ok(shown.into())
    }

    fn text(&self, id: &str) -> Answered {
        let (_, stored) = self.stored(id)?;
        Ok(Answer {
            status: 200,
            body: Content::Text(stored.text.clone()),
        })
    }

    /// Subjects and versions that hold the schema `id`.
    fn uses(&self, id: &str, query: &Query) -> Result<Vec<(&str, u32)>, Refused> {
        let (id, _) = self.stored(id)?;
        let deleted = query.is("deleted");
        let wanted = query.text("subject");
        let mut uses = Vec::new();
        for (name, subject) in &self.subjects {
            if wanted.is_some_and(|wanted| wanted != name) {
                continue;
            }
            let versions = subject.versions.iter();
            uses.extend(
                versions
                    .filter(|(_, version)| version.id == id && (deleted || !version.deleted))
                    .map(|(number, _)| (name.as_str(), *number)),
            );
        }
        Ok(uses)
    }

    /// Ids of schemas that refer to a version of `subject`, or to any.
    fn referring(&self, subject: &str, version: Option<u32>, deleted: bool) -> BTreeSet<u32> {
        let versions = self
            .subjects
            .values()
            .flat_map(|subject| subject.versions.values());
        let ids = versions
            .filter(|version| deleted || !version.deleted)
            .map(|version| version.id);
        let refers = |id: &u32| {
            let references = self.schemas.get(id).map(|stored| &stored.references);
            references.into_iter().flatten().any(|reference| {
                reference.subject == subject
                    && version.is_none_or(|version| reference.version == version)
            })
        };
        ids.filter(refers).collect()
    }

    // ------------------------------------------------------------------------------ deleting ---

    fn delete_subject(&mut self, name: &str, query: &Query) -> Answered {
        let versions = self.versions(name, true)?;
        let permanent = query.is("permanent");
        let alive = versions.iter().any(|(_, version)| !version.deleted);
        if !permanent && !alive {
            return Err(refused(
                40404,
                format!(
                    "Subject '{name}' was soft deleted.Set permanent=true to delete permanently"
                ),
            ));
        }
        if permanent && alive {
            return Err(refused(
                40405,
                format!("Subject '{name}' was not deleted first before being permanently deleted"),
            ));
        }
        if !self.referring(name, None, false).is_empty() {
            return Err(still_referred(
                name,
                versions.last().map_or(0, |(number, _)| *number),
            ));
        }
        let mut numbers = Vec::new();
        if permanent {
            numbers.extend(versions.iter().map(|(number, _)| *number));
            self.subjects.remove(name);
            self.forget_unused();
        } else if let Some(subject) = self.subjects.get_mut(name) {
            for (number, version) in &mut subject.versions {
                if !version.deleted {
                    version.deleted = true;
                    numbers.push(*number);
                }
            }
            subject.settings = Settings::default();
        }
        self.kept(json!(numbers).into())
    }

    fn delete_version(&mut self, name: &str, version: &str, query: &Query) -> Answered {
        let permanent = query.is("permanent");
        let (number, found) = self.version(name, version, !is_latest(version) || permanent)?;
        if !permanent && found.deleted {
            return Err(refused(
                40406,
                format!(
                    "Subject '{name}' Version {number} was soft deleted.Set permanent=true to \
                     delete permanently"
                ),
            ));
        }
        if permanent && !found.deleted {
            return Err(refused(
                40407,
                format!(
                    "Subject '{name}' Version {number} was not deleted first before being \
                     permanently deleted"
                ),
            ));
        }
        if !self.referring(name, Some(number), false).is_empty() {
            return Err(still_referred(name, number));
        }
        if let Some(subject) = self.subjects.get_mut(name) {
            if permanent {
                subject.versions.remove(&number);
                if subject.versions.is_empty() && subject.settings == Settings::default() {
                    self.subjects.remove(name);
                }
                self.forget_unused();
            } else if let Some(version) = subject.versions.get_mut(&number) {
                version.deleted = true;
            }
        }
        self.kept(json!(number).into())
    }

    /// Drops schemas that no version holds any more. Their ids are not given again.
    fn forget_unused(&mut self) {
        let versions = self
            .subjects
            .values()
            .flat_map(|subject| subject.versions.values());
        let used: BTreeSet<u32> = versions.map(|version| version.id).collect();
        self.schemas.retain(|id, _| used.contains(id));
    }

    // ------------------------------------------------------------------------------ settings ---

    /// A subject's own settings, if they have what is asked for.
    fn own(&mut self, subject: &str, has: impl Fn(&Settings) -> bool) -> Option<&mut Settings> {
        self.subjects
            .get_mut(subject)
            .map(|subject| &mut subject.settings)
            .filter(|own| has(own))
    }

    fn settings_mut(&mut self, subject: Option<&str>) -> &mut Settings {
        match subject {
            None => &mut self.settings,
            Some(name) => &mut self.subjects.entry(name.to_owned()).or_default().settings,
        }
    }

    fn config_of(&self, name: &str, query: &Query) -> Answered {
        let own = self.subjects.get(name).map(|subject| &subject.settings);
        match own.filter(|own| own.level.is_some() || own.normalize.is_some()) {
            Some(own) => Ok(own.shown(false).into()),
            None if query.is("defaultToGlobal") => Ok(self.settings.shown(true).into()),
            None => Err(refused(
                40408,
                format!("Subject '{name}' does not have subject-level compatibility configured"),
            )),
        }
    }

    fn configure(&mut self, subject: Option<&str>, body: &[u8]) -> Answered {
        let body = object(body)?;
        let wrong = || {
            refused(
                42203,
                "Invalid compatibility level. Valid values are none, backward, forward, full, \
                 backward_transitive, forward_transitive, and full_transitive",
            )
        };
        let normalize = body.get("normalize").and_then(Value::as_bool);
        let level: Option<Level> = match body.get("compatibility") {
            None | Some(Value::Null) if normalize.is_some() => None,
            None => return Err(wrong()),
            Some(level) => {
                let level = level.as_str().and_then(|level| level.parse().ok());
                Some(level.ok_or_else(wrong)?)
            }
        };
        let settings = self.settings_mut(subject);
        settings.level = level.or(settings.level);
        settings.normalize = normalize.or(settings.normalize);
        let mut echo = Map::new();
        if let Some(level) = level {
            echo.insert("compatibility".to_owned(), level.as_str().into());
        }
        if let Some(normalize) = normalize {
            echo.insert("normalize".to_owned(), normalize.into());
        }
        self.kept(Value::Object(echo).into())
    }

    fn mode(&self, subject: Option<&str>) -> &str {
        let own = subject.and_then(|name| self.subjects.get(name)?.settings.mode.as_deref());
        own.or(self.settings.mode.as_deref()).unwrap_or(MODES[0])
    }

    fn mode_of(&self, name: &str, query: &Query) -> Answered {
        let own = self
            .subjects
            .get(name)
            .and_then(|subject| subject.settings.mode.as_deref());
        if own.is_none() && !query.is("defaultToGlobal") {
            return Err(refused(
                40409,
                format!("Subject '{name}' does not have subject-level mode configured"),
            ));
        }
        Ok(json!({"mode": own.unwrap_or_else(|| self.mode(None))}).into())
    }

    fn set_mode(&mut self, subject: Option<&str>, query: &Query, body: &[u8]) -> Answered {
        let body = object(body)?;
        let given = body.get("mode").and_then(Value::as_str).unwrap_or_default();
        let mode = MODES
            .into_iter()
            .find(|mode| mode.eq_ignore_ascii_case(given));
        let mode = mode.ok_or_else(|| {
            refused(
                42204,
                "Invalid mode. Valid values are READWRITE, READONLY, IMPORT and FORWARD.",
            )
        })?;
        let filled = match subject {
            None => self
                .subjects
                .values()
                .any(|subject| !subject.versions.is_empty()),
            Some(name) => self.versions(name, true).is_ok(),
        };
        if mode == "IMPORT" && filled && !query.is("force") {
            return Err(refused(
                42205,
                "Cannot import since found existing subjects",
            ));
        }
        self.settings_mut(subject).mode = Some(mode.to_owned());
        self.kept(json!({"mode": mode}).into())
    }
}

/// Whether some method of `path` is served.
fn is_served(path: &[&str]) -> bool {
    matches!(
        path,
        [] | ["subjects" | "config" | "mode" | "schemas"]
            | ["subjects" | "config" | "mode", _]
            | ["subjects", _, "versions"]
            | ["subjects", _, "versions", _]
            | ["subjects", _, "versions", _, "schema" | "referencedby"]
            | ["schemas", "types"]
            | ["schemas", "ids", _]
            | ["schemas", "ids", _, "schema" | "subjects" | "versions"]
            | ["compatibility", "subjects", _, "versions"]
            | ["compatibility", "subjects", _, "versions", _]
            | ["v1", "metadata", "id" | "version"]
    )
}

fn is_latest(version: &str) -> bool {
    version.eq_ignore_ascii_case("latest") || version == "-1"
}

/// `:*:` means all contexts, and there is one.
fn prefix(query: &Query) -> &str {
    query
        .text("subjectPrefix")
        .filter(|prefix| *prefix != ":*:")
        .unwrap_or_default()
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Refused> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(refused(400, "The request's body is no JSON object")),
        Err(error) => Err(refused(
            400,
            format!("The request's body is no JSON: {error}"),
        )),
    }
}

fn still_referred(subject: &str, version: u32) -> Refused {
    let key = format!("{{magic=1,keytype=SCHEMA,subject={subject},version={version}}}");
    refused(
        42206,
        format!("One or more references exist to the schema {key}."),
    )
}

/// An objection in the registry's words, which tools print and some search.
fn detail(new_reads: bool, reason: &Incompatibility) -> String {
    let (reader, writer) = if new_reads {
        ("new", "old")
    } else {
        ("old", "new")
    };
    let Incompatibility {
        kind, path, detail, ..
    } = reason;
    let description = match kind {
        Kind::NameMismatch => format!("The name of the schema has changed (path '{path}')"),
        Kind::FixedSizeMismatch => format!(
            "The size of FIXED type field at path '{path}' in the {reader} schema does not match \
             with the {writer} schema"
        ),
        Kind::MissingEnumSymbols => format!(
            "The {reader} schema is missing enum symbols '{detail}' at path '{path}' in the \
             {writer} schema"
        ),
        Kind::ReaderFieldMissingDefaultValue => format!(
            "The field '{detail}' at path '{path}' in the {reader} schema has no default value and \
             is missing in the {writer} schema"
        ),
        Kind::TypeMismatch => format!(
            "The type (path '{path}') of a field in the {reader} schema does not match with the \
             {writer} schema"
        ),
        Kind::MissingUnionBranch => format!(
            "The {reader} schema is missing a type inside a union field at path '{path}' in the \
             {writer} schema"
        ),
    };
    let kind = kind.as_str();
    format!("{{errorType:'{kind}', description:'{description}', additionalInfo:'{detail}'}}")
}

impl Reference {
    fn shown(&self) -> Value {
        json!({"name": self.name, "subject": self.subject, "version": self.version})
    }
}

impl Settings {
    /// As GET shows them; the registry's own always have a level.
    fn shown(&self, global: bool) -> Value {
        let mut shown = Map::new();
        if let Some(level) = self.level.or_else(|| global.then(Level::default)) {
            shown.insert("compatibilityLevel".to_owned(), level.as_str().into());
        }
        if let Some(normalize) = self.normalize {
            shown.insert("normalize".to_owned(), normalize.into());
        }
        Value::Object(shown)
    }

    fn to_json(&self) -> Value {
        let level = self.level.map(Level::as_str);
        json!({"compatibility": level, "normalize": self.normalize, "mode": self.mode})
    }

    fn from_json(value: &Value) -> Self {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        Self {
            level: text("compatibility").and_then(|level| level.parse().ok()),
            normalize: value.get("normalize").and_then(Value::as_bool),
            mode: text("mode").map(str::to_owned),
        }
    }
}

// -------------------------------------------------------------------------------------- file ---

impl Store {
    fn open(data_dir: Option<&Path>) -> Result<Self, StartError> {
        let Some(dir) = data_dir else {
            return Ok(Self::default());
        };
        let path = dir.join("registry.json");
        let fault = |cause| StartError::Data {
            path: path.clone(),
            cause,
        };
        fs::create_dir_all(dir).map_err(fault)?;
        let mut store = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .ok()
                .and_then(|value| Self::from_json(&value))
                .ok_or_else(|| {
                    let words = "it is not what this registry writes";
                    fault(io::Error::new(io::ErrorKind::InvalidData, words))
                })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(fault(error)),
        };
        store.file = Some(path);
        Ok(store)
    }

    /// Keeps the state, then lets the answer go. The file is the old one or the new one, never a
    /// part of either.
    fn kept(&self, answer: Answer) -> Answered {
        let Some(path) = &self.file else {
            return Ok(answer);
        };
        let keep = || {
            let fresh = path.with_extension("json.new");
            let mut file = fs::File::create(&fresh)?;
            file.write_all(self.to_json().to_string().as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, path)?;
            // The name is in the directory, which has to reach the disk too.
            path.parent()
                .map_or(Ok(()), |dir| fs::File::open(dir)?.sync_all())
        };
        keep().map(|()| answer).map_err(|error| {
            tracing::error!(path = %path.display(), %error, "the registry's file is not written");
            refused(
                50001,
                format!(
                    "Error in the backend data store: {}: {error}",
                    path.display()
                ),
            )
        })
    }

    fn to_json(&self) -> Value {
        let schemas = self
            .schemas
            .iter()
            .map(|(id, Stored { text, references })| {
                let references: Value = references.iter().map(Reference::shown).collect();
                json!({"id": id, "schema": text, "references": references})
            });
        let subjects = self.subjects.iter().map(|(name, subject)| {
            let versions = subject.versions.iter().map(|(number, version)| {
                json!({"version": number, "id": version.id, "deleted": version.deleted})
            });
            json!({
                "subject": name,
                "versions": Value::from_iter(versions),
                "settings": subject.settings.to_json(),
            })
        });
        json!({
            "format": 1,
            "last_id": self.last_id,
            "settings": self.settings.to_json(),
            "schemas": Value::from_iter(schemas),
            "subjects": Value::from_iter(subjects),
        })
    }

    fn from_json(value: &Value) -> Option<Self> {
        let number = |value: &Value, name: &str| {
            value
                .get(name)
                .and_then(Value::as_u64)
                .and_then(|number| u32::try_from(number).ok())
        };
        let text = |value: &Value, name: &str| Some(value.get(name)?.as_str()?.to_owned());
        if number(value, "format")? != 1 {
            return None;
        }
        let mut store = Self {
            last_id: number(value, "last_id")?,
            settings: Settings::from_json(value.get("settings")?),
            ..Self::default()
        };
        for schema in value.get("schemas")?.as_array()? {
            let mut references = Vec::new();
            for reference in schema.get("references")?.as_array()? {
                references.push(Reference {
                    name: text(reference, "name")?,
                    subject: text(reference, "subject")?,
                    version: number(reference, "version")?,
                });
            }
            let stored = Stored {
                text: text(schema, "schema")?,
                references,
            };
            store.schemas.insert(number(schema, "id")?, stored);
        }
        for subject in value.get("subjects")?.as_array()? {
            let mut versions = BTreeMap::new();
            for version in subject.get("versions")?.as_array()? {
                let id = number(version, "id")?;
                if !store.schemas.contains_key(&id) || id > store.last_id {
                    return None;
                }
                let deleted = version.get("deleted")?.as_bool()?;
                versions.insert(number(version, "version")?, Version { id, deleted });
            }
            let settings = Settings::from_json(subject.get("settings")?);
            store
                .subjects
                .insert(text(subject, "subject")?, Subject { versions, settings });
        }
        Some(store)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, AvroConverter, AvroText, SubjectName};
    use crate::encode::registry::{RegistryClient, RegistryError};

    /// `"POST /subjects/a/versions?x=y"` and a body: status and answer.
    fn ask(store: &mut Store, request: &str, body: &str) -> (u16, Value) {
        let (method, uri) = request.split_once(' ').expect("a method and a path");
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let path: Vec<String> = path
            .split('/')
            .filter(|part| !part.is_empty())
            .map(unescaped)
            .collect();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let answered = store.answer(method, &path, &Query::parse(query), body.as_bytes());
        let answer = answered.unwrap_or_else(Answer::from);
        let body = match answer.body {
            Content::Json(value) => value,
            Content::Text(text) => text.into(),
        };
        (answer.status, body)
    }

    fn register(store: &mut Store, subject: &str, schema: &str) -> Result<u64, u64> {
        let body = json!({"schema": schema}).to_string();
        let (status, answer) = ask(store, &format!("POST /subjects/{subject}/versions"), &body);
        match answer["id"].as_u64() {
            Some(id) => Ok(id),
            None => Err(answer["error_code"]
                .as_u64()
                .unwrap_or_else(|| status.into())),
        }
    }

    fn code(store: &mut Store, request: &str, body: &str) -> (u16, u64) {
        let (status, answer) = ask(store, request, body);
        (status, answer["error_code"].as_u64().unwrap_or_default())
    }

    fn record(fields: &str) -> String {
        format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
    }

    const A: &str = r#"{"name":"a","type":"int"}"#;

    #[test]
    fn one_text_has_one_id_everywhere() {
        let store = &mut Store::default();
        assert_eq!(register(store, "a-value", &record(A)), Ok(1));
        assert_eq!(register(store, "b-value", &record(A)), Ok(1));
        assert_eq!(register(store, "a-value", &record(A)), Ok(1));
        assert_eq!(register(store, "k", "\"string\""), Ok(2));
        assert_eq!(register(store, "k2", r#" { "type" : "string" } "#), Ok(2));
        let blanks = record(r#" {"type": {"type":"int"}, "order":"ascending", "name":"a"} "#);
        assert_eq!(register(store, "c-value", &blanks), Ok(1));
        let (_, shown) = ask(store, "GET /subjects/c-value/versions/latest", "");
        assert_eq!(
            shown,
            json!({"subject":"c-value","version":1,"id":1,"schema":record(A)})
        );
        assert_eq!(
            ask(store, "GET /schemas/ids/1?fetchMaxId=true", "").1["maxId"],
            2
        );
        assert_eq!(
            ask(store, "GET /schemas/ids/1/schema", "").1,
            json!(record(A))
        );
        let subjects = ask(store, "GET /schemas/ids/1/subjects", "").1;
        assert_eq!(subjects, json!(["a-value", "b-value", "c-value"]));
        let subjects = ask(store, "GET /subjects?subjectPrefix=b&offset=0&limit=5", "").1;
        assert_eq!(subjects, json!(["b-value"]));
        assert_eq!(
            ask(store, "GET /subjects?subjectPrefix=%3A*%3A&limit=2", "")
                .1
                .as_array()
                .map(Vec::len),
            Some(2)
        );
        let uses = ask(store, "GET /schemas/ids/2/versions", "").1;
        assert_eq!(
            uses,
            json!([{"subject":"k","version":1},{"subject":"k2","version":1}])
        );
        assert_eq!(
            ask(store, "GET /schemas?latestOnly=true", "")
                .1
                .as_array()
                .map(Vec::len),
            Some(5)
        );
    }

    #[test]
    fn the_order_of_properties_makes_no_new_version() {
        let store = &mut Store::default();
        let with = |properties: &str| {
            record(&format!(
                r#"{{"name":"a","type":{{"type":"int",{properties}}}}}"#
            ))
        };
        let (xy, yx) = (with(r#""x":1,"y":2"#), with(r#""y":2,"x":1"#));
        assert_eq!(register(store, "s", &xy), Ok(1));
        assert_eq!(register(store, "s", &yx), Ok(1));
        assert_eq!(register(store, "t", &yx), Ok(2));
        let body = json!({"schema": xy}).to_string();
        assert_eq!(ask(store, "POST /subjects/t", &body).1["id"], 2);
        assert_eq!(
            ask(store, "POST /subjects/u/versions?normalize=True", &body).1["id"],
            1
        );
        let body = json!({"schema": yx}).to_string();
        assert_eq!(
            ask(store, "POST /subjects/v/versions?normalize=true", &body).1["id"],
            1
        );
        ask(store, "PUT /config/w", r#"{"normalize":true}"#);
        assert_eq!(ask(store, "POST /subjects/w/versions", &body).1["id"], 1);
    }

    #[test]
    fn compatibility_is_kept() {
        let store = &mut Store::default();
        let grown = record(&format!(r#"{A},{{"name":"b","type":"int"}}"#));
        assert_eq!(register(store, "s", &record(A)), Ok(1));
        let body = json!({"schema": grown}).to_string();
        let (status, answer) = ask(store, "POST /subjects/s/versions", &body);
        assert_eq!((status, &answer["error_code"]), (409, &json!(409)));
        assert_eq!(
            answer["message"],
            format!(
                "Schema being registered is incompatible with an earlier schema for subject \"s\", \
                 details: [{{errorType:'READER_FIELD_MISSING_DEFAULT_VALUE', \
                 description:'The field 'b' at path '/fields/1' in the new schema has no \
                 default value and is missing in the old schema', additionalInfo:'b'}}, \
                 {{oldSchemaVersion: 1}}, {{oldSchema: '{}'}}, {{validateFields: 'false', \
                 compatibility: 'BACKWARD'}}]",
                record(A)
            )
        );
        let test = "POST /compatibility/subjects/s/versions";
        assert_eq!(ask(store, test, &body).1, json!({"is_compatible":false}));
        let (_, verbose) = ask(store, &format!("{test}/latest?verbose=true"), &body);
        assert_eq!(verbose["messages"].as_array().map(Vec::len), Some(4));
        let unknown = "POST /compatibility/subjects/unknown/versions";
        assert_eq!(
            ask(store, &format!("{unknown}/latest"), &body).1["is_compatible"],
            true
        );
        assert_eq!(code(store, &format!("{unknown}/1"), &body), (404, 40402));
        let bad = r#"{"schema":"nope"}"#;
        assert_eq!(code(store, &format!("{test}/1"), bad), (422, 42201));
        assert_eq!(
            ask(store, &format!("{test}/1?verbose=true"), bad).1["is_compatible"],
            false
        );

        assert_eq!(
            ask(store, "PUT /config/s", r#"{"compatibility":"forward"}"#).1,
            json!({"compatibility":"FORWARD"})
        );
        assert_eq!(
            ask(store, "GET /config/s", "").1,
            json!({"compatibilityLevel":"FORWARD"})
        );
        assert_eq!(register(store, "s", &grown), Ok(2));
        assert_eq!(
            register(store, "s", &record(r#"{"name":"a","type":"string"}"#)),
            Err(409)
        );
        ask(store, "PUT /config/s", r#"{"compatibility":"NONE"}"#);
        assert_eq!(
            register(store, "s", &record(r#"{"name":"a","type":"string"}"#)),
            Ok(3)
        );
        assert_eq!(
            ask(store, "DELETE /config/s", "").1,
            json!({"compatibilityLevel":"NONE"})
        );
        assert_eq!(code(store, "GET /config/s", ""), (404, 40408));
        let (_, global) = ask(store, "GET /config/s?defaultToGlobal=true", "");
        assert_eq!(global, json!({"compatibilityLevel":"BACKWARD"}));
        assert_eq!(
            code(store, "PUT /config", r#"{"compatibility":"WEIRD"}"#),
            (422, 42203)
        );
        assert_eq!(code(store, "DELETE /config/none", ""), (404, 40401));
        assert_eq!(code(store, "PUT /config", "{"), (400, 400));
    }

    #[test]
    fn what_is_deleted_comes_back_as_the_next_version() {
        let store = &mut Store::default();
        assert_eq!(register(store, "s", &record(A)), Ok(1));
        assert_eq!(register(store, "s", &record("")), Ok(2));
        assert_eq!(
            code(store, "DELETE /subjects/s/versions/1?permanent=true", ""),
            (404, 40407)
        );
        assert_eq!(
            ask(store, "DELETE /subjects/s/versions/latest", "").1,
            json!(2)
        );
        assert_eq!(
            code(store, "DELETE /subjects/s/versions/2", ""),
            (404, 40406)
        );
        assert_eq!(
            ask(store, "GET /subjects/s/versions/latest", "").1["version"],
            1
        );
        assert_eq!(ask(store, "GET /subjects/s/versions", "").1, json!([1]));
        assert_eq!(
            ask(store, "GET /subjects/s/versions?deleted=true", "").1,
            json!([1, 2])
        );
        assert_eq!(
            ask(store, "GET /subjects/s/versions?deletedAsNegative=true", "").1,
            json!([1, -2])
        );
        assert_eq!(ask(store, "GET /schemas/ids/2", "").0, 200);
        assert_eq!(register(store, "s", &record("")), Ok(2));
        assert_eq!(ask(store, "GET /subjects/s/versions", "").1, json!([1, 3]));

        assert_eq!(
            code(store, "DELETE /subjects/s?permanent=true", ""),
            (404, 40405)
        );
        assert_eq!(ask(store, "DELETE /subjects/s", "").1, json!([1, 3]));
        assert_eq!(code(store, "DELETE /subjects/s", ""), (404, 40404));
        assert_eq!(ask(store, "GET /subjects", "").1, json!([]));
        assert_eq!(
            ask(store, "GET /subjects?deletedOnly=true", "").1,
            json!(["s"])
        );
        let body = json!({"schema": record(A)}).to_string();
        assert_eq!(code(store, "POST /subjects/s", &body), (404, 40401));
        assert_eq!(
            ask(store, "POST /subjects/s?deleted=true", &body).1["deleted"],
            true
        );
        assert_eq!(ask(store, "GET /schemas/ids/1", "").0, 200);
        assert_eq!(
            ask(store, "DELETE /subjects/s?permanent=true", "").1,
            json!([1, 3])
        );
        assert_eq!(code(store, "DELETE /subjects/s", ""), (404, 40401));
        assert_eq!(code(store, "GET /schemas/ids/1", ""), (404, 40403));
        assert_eq!(register(store, "s", &record(A)), Ok(3));
    }

    #[test]
    fn references_are_resolved_and_protected() {
        let store = &mut Store::default();
        let address = r#"{"type":"record","name":"a.Address","fields":[]}"#;
        assert_eq!(register(store, "address", address), Ok(1));
        let text = r#"{"type":"record","name":"R","namespace":"a","fields":[{"name":"x","type":"Address"}]}"#;
        assert_eq!(register(store, "r", text), Err(42201));
        let body = |version: i32| {
            let reference = json!({"name":"a.Address","subject":"address","version":version});
            json!({"schema": text, "references": [reference]}).to_string()
        };
        assert_eq!(ask(store, "POST /subjects/r/versions", &body(1)).1["id"], 2);
        assert_eq!(
            ask(store, "POST /subjects/r/versions", &body(-1)).1["id"],
            2
        );
        assert_eq!(
            code(store, "POST /subjects/r/versions", &body(9)),
            (422, 42201)
        );
        let (_, shown) = ask(store, "GET /schemas/ids/2", "");
        assert_eq!(shown["schema"], text);
        assert_eq!(shown["references"][0]["subject"], "address");
        assert_eq!(
            ask(store, "GET /subjects/address/versions/1/referencedby", "").1,
            json!([2])
        );
        assert_eq!(
            code(store, "DELETE /subjects/address/versions/1", ""),
            (422, 42206)
        );
        assert_eq!(code(store, "DELETE /subjects/address", ""), (422, 42206));
        ask(store, "DELETE /subjects/r", "");
        assert_eq!(ask(store, "DELETE /subjects/address", "").1, json!([1]));
    }

    #[test]
    fn modes() {
        let store = &mut Store::default();
        assert_eq!(ask(store, "GET /mode", "").1, json!({"mode":"READWRITE"}));
        assert_eq!(code(store, "GET /mode/s", ""), (404, 40409));
        assert_eq!(
            code(store, "PUT /mode", r#"{"mode":"MAYBE"}"#),
            (422, 42204)
        );
        assert_eq!(register(store, "s", &record(A)), Ok(1));
        assert_eq!(
            ask(store, "PUT /mode/s", r#"{"mode":"READONLY"}"#).1,
            json!({"mode":"READONLY"})
        );
        assert_eq!(
            register(store, "s", &record(A)),
            Ok(1),
            "nothing new is written"
        );
        assert_eq!(register(store, "s", &record("")), Err(42205));
        assert_eq!(
            ask(store, "DELETE /mode/s", "").1,
            json!({"mode":"READONLY"})
        );
        assert_eq!(register(store, "s", &record("")), Ok(2));
        assert_eq!(
            code(store, "PUT /mode", r#"{"mode":"IMPORT"}"#),
            (422, 42205)
        );
    }

    #[test]
    fn refusals() {
        let store = &mut Store::default();
        register(store, "s", &record(A)).expect("an id");
        for (request, body, expected) in [
            ("GET /schemas/ids/999", "", (404, 40403)),
            ("GET /schemas/ids/x", "", (404, 404)),
            ("GET /subjects/none/versions", "", (404, 40401)),
            ("GET /subjects/s/versions/9", "", (404, 40402)),
            ("GET /subjects/s/versions/0", "", (422, 42202)),
            ("GET /subjects/s/versions/2147483648", "", (422, 42202)),
            (
                "POST /subjects/__GLOBAL/versions",
                r#"{"schema":"\"int\""}"#,
                (422, 42208),
            ),
            (
                "POST /subjects/a%0Ab/versions",
                r#"{"schema":"\"int\""}"#,
                (422, 42208),
            ),
            (
                "POST /subjects/s/versions",
                r#"{"schema":"{}","schemaType":"JSON"}"#,
                (422, 42201),
            ),
            (
                "POST /subjects/s/versions",
                r#"{"schema":"\"int\"","id":5}"#,
                (422, 42205),
            ),
            ("POST /subjects/new/versions", "{}", (422, 42201)),
            ("POST /subjects/s/versions", "[]", (400, 400)),
            ("POST /subjects/s", r#"{"schema":"\"int\""}"#, (404, 40403)),
            (
                "POST /subjects/none",
                r#"{"schema":"\"int\""}"#,
                (404, 40401),
            ),
            ("GET /contexts", "", (404, 404)),
            (
                "GET /associations/resources/-/t?resourceType=topic",
                "",
                (404, 404),
            ),
            ("DELETE /schemas/ids/1", "", (405, 405)),
        ] {
            assert_eq!(code(store, request, body), expected, "{request}");
        }
        assert_eq!(register(store, "s", ""), Ok(1), "the last version again");
        assert_eq!(ask(store, "GET /", "").1, json!({}));
        assert_eq!(ask(store, "GET /schemas/types", "").1, json!(["AVRO"]));
    }

    proptest::proptest! {
        /// Whatever is asked in whatever order: an id keeps its text for ever, a living version
        /// keeps its id, and what is read back from the file is what was written.
        #[test]
        fn ids_keep_their_meaning(
            requests in proptest::collection::vec((0..8u8, 0..3u8, 0..4usize, 1..5u8), 0..60),
        ) {
            let schemas = [record(A), record(""), "\"int\"".to_owned(), "\"long\"".to_owned()];
            let store = &mut Store::default();
            let mut texts = BTreeMap::new();
            for (request, subject, schema, version) in requests {
                let before = store.to_json();
                let body = json!({"schema": schemas[schema]}).to_string();
                let request = match request {
                    0..=2 => format!("POST /subjects/s{subject}/versions"),
                    3 => format!("DELETE /subjects/s{subject}"),
                    4 => format!("DELETE /subjects/s{subject}?permanent=true"),
                    5 => format!("DELETE /subjects/s{subject}/versions/{version}"),
                    6 => format!("DELETE /subjects/s{subject}/versions/{version}?permanent=true"),
                    _ => format!("POST /subjects/s{subject}"),
                };
                let (status, answer) = ask(store, &request, &body);
                let after = store.to_json();
                if status != 200 {
                    proptest::prop_assert_eq!(&after, &before, "a refusal changes nothing");
                }
                if let Some(id) = answer["id"].as_u64() {
                    let (_, shown) = ask(store, &format!("GET /schemas/ids/{id}"), "");
                    proptest::prop_assert_eq!(&shown["schema"], &json!(schemas[schema]));
                }
                for (id, stored) in &store.schemas {
                    let known = texts.entry(*id).or_insert_with(|| stored.text.clone());
                    proptest::prop_assert_eq!(known, &stored.text);
                }
                let again = Store::from_json(&after).expect("our own file");
                proptest::prop_assert_eq!(again.to_json(), after);
            }
        }
    }

    fn converter(url: String) -> AvroConverter {
        AvroConverter {
            registry: config::Registry::new(vec![url]),
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

    #[tokio::test]
    async fn our_own_client_is_served_and_ids_outlive_a_restart() {
        let dir = tempfile::tempdir().expect("a directory");
        let options = || RegistryOptions {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data_dir: Some(dir.path().join("registry")),
        };
        let row = |columns: &str| {
            format!(
                r#"{{"type":"record","name":"Envelope","namespace":"t","fields":[{{"name":"before","type":["null",{{"type":"record","name":"Value","fields":[{columns}]}}],"default":null}},{{"name":"after","type":["null","Value"],"default":null}}]}}"#
            )
        };
        let running = Registry::start(options()).await.expect("a registry");
        assert!(running.address.ip().is_loopback());
        let mut client = RegistryClient::new(&converter(running.url())).expect("a client");
        assert_eq!(client.id("t-key", "\"int\"").await, Ok(1));
        assert_eq!(client.id("t-value", &row(A)).await, Ok(2));
        assert_eq!(client.schema(2).await, Ok(row(A)));
        running.shutdown().await;

        let running = Registry::start(options())
            .await
            .expect("the registry again");
        let mut client = RegistryClient::new(&converter(running.url())).expect("a client");
        assert_eq!(client.id("t-value", &row(A)).await, Ok(2));
        let wider = row(&format!(r#"{A},{{"name":"email","type":"string"}}"#));
        let error = client
            .id("t-value", &wider)
            .await
            .expect_err("an incompatible schema");
        assert!(!error.retriable());
        let RegistryError::Incompatible(found) = &error else {
            panic!("{error}")
        };
        assert_eq!(
            (found.level, found.version),
            (Some(Level::Backward), Some(1))
        );
        assert_eq!(found.reasons.len(), 1, "{:?}", found.reasons);
        let words = error.to_string();
        for part in [
            "subject t-value",
            "version 1",
            "BACKWARD",
            "field email is new",
            "curl -X PUT",
        ] {
            assert!(words.contains(part), "{words}");
        }
        // No change is answered that is not kept.
        fs::remove_dir_all(dir.path().join("registry")).expect("removed");
        let mut hasty = converter(running.url());
        hasty.registry.max_retries = 0;
        let mut client = RegistryClient::new(&hasty).expect("a client");
        let error = client
            .id("new", "\"long\"")
            .await
            .expect_err("nowhere to keep it");
        assert!(
            error.retriable() && error.to_string().contains("50001"),
            "{error}"
        );
        hasty.auto_register = false;
        let mut client = RegistryClient::new(&hasty).expect("a client");
        assert!(
            client.id("new", "\"long\"").await.is_err(),
            "as if it had not been asked"
        );
    }

    #[tokio::test]
    async fn a_file_that_is_not_ours_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("registry.json");
        fs::write(&file, "{\"format\":2}").expect("written");
        let data_dir = Some(dir.path().to_owned());
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let error = Registry::start(RegistryOptions { listen, data_dir })
            .await
            .expect_err("refused");
        assert!(error.to_string().contains("registry.json"), "{error}");
        assert_eq!(
            fs::read_to_string(&file).expect("still there"),
            "{\"format\":2}"
        );
    }
}
