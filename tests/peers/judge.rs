//! Strangers that read what we wrote: confluent-kafka's consumer with its `AvroDeserializer`, and
//! fastavro, in Python.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::nursery::{self, Running};
use crate::{cache, install, root};

/// How keys and values are read.
#[derive(Debug, Clone, Copy)]
pub enum Format<'r> {
    /// Confluent's wire format, with this registry.
    Avro(&'r str),
    /// JSON text.
    Json,
    /// Text as it is.
    Raw,
}

/// A record as the judge read it.
#[derive(Debug, Clone)]
pub struct Record {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i64,
    /// The offset in it.
    pub offset: i64,
    /// Name and text of each header.
    pub headers: Vec<(String, Option<String>)>,
    /// The key: `Null` where there is none.
    pub key: Value,
    /// The value: `Null` for a tombstone.
    pub value: Value,
    /// The bytes of the key.
    pub key_bytes: Option<Vec<u8>>,
    /// The bytes of the value.
    pub value_bytes: Option<Vec<u8>>,
    /// The registered schema text of the key, with [`Format::Avro`].
    pub key_schema: Option<String>,
    /// The registered schema text of the value, with [`Format::Avro`].
    pub value_schema: Option<String>,
}

impl Record {
    /// `op` of the envelope; nothing for a tombstone.
    #[must_use]
    pub fn op(&self) -> Option<&str> {
        payload(&self.value)["op"].as_str()
    }

    /// `after` of the envelope.
    #[must_use]
    pub fn after(&self) -> &Value {
        &payload(&self.value)["after"]
    }

    /// `before` of the envelope.
    #[must_use]
    pub fn before(&self) -> &Value {
        &payload(&self.value)["before"]
    }

    /// `source` of the envelope.
    #[must_use]
    pub fn source(&self) -> &Value {
        &payload(&self.value)["source"]
    }
}

/// What is inside `JsonConverter`'s `{"schema", "payload"}`, or the value itself.
#[must_use]
pub fn payload(value: &Value) -> &Value {
    value
        .get("payload")
        .filter(|_| value.get("schema").is_some())
        .unwrap_or(value)
}

/// Reads every record of the topics that match a regular expression, once there are at least so
/// many; ordered by topic, partition and offset.
///
/// Panics when they do not come within `limit`, or the judges disagree.
#[must_use]
pub fn read(
    bootstrap: &str,
    topics: &str,
    format: Format<'_>,
    at_least: usize,
    limit: Duration,
) -> Vec<Record> {
    try_read(bootstrap, topics, format, at_least, limit).unwrap_or_else(|error| panic!("{error}"))
}

/// As [`read`].
///
/// Errors: how many came instead, or what the judges disagree about.
pub fn try_read(
    bootstrap: &str,
    topics: &str,
    format: Format<'_>,
    at_least: usize,
    limit: Duration,
) -> Result<Vec<Record>, String> {
    let (at_least, timeout) = (at_least.to_string(), limit.as_secs().to_string());
    let mut arguments = vec![
        "--bootstrap",
        bootstrap,
        "--topics",
        topics,
        "--at-least",
        &at_least,
        "--timeout",
        &timeout,
    ];
    arguments.extend(match format {
        Format::Avro(registry) => vec!["--format", "avro", "--registry", registry],
        Format::Json => vec!["--format", "json"],
        Format::Raw => vec!["--format", "raw"],
    });
    let output = python("consume.py", &arguments);
    if !output.status.success() {
        return Err(format!(
            "{topics}: {}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    Ok(printed.lines().map(parse).collect())
}

/// The Avro bytes of captured Debezium records, read by fastavro: topic, key, value.
///
/// Panics when the file cannot be read.
#[must_use]
pub fn captured(file: &Path) -> Vec<(String, Value, Value)> {
    let output = python("captured.py", &[&file.display().to_string()]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let lines = printed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines
        .map(|line| {
            let topic = line["topic"].as_str().expect("a topic").to_owned();
            (topic, line["key"].clone(), line["value"].clone())
        })
        .collect()
}

fn parse(line: &str) -> Record {
    let line: Value = serde_json::from_str(line).expect("consume.py prints JSON");
    let text = |name: &str| line[name].as_str().map(str::to_owned);
    let headers = line["headers"].as_array().expect("a list").iter();
    Record {
        topic: text("topic").expect("always there"),
        partition: line["partition"].as_i64().expect("always there"),
        offset: line["offset"].as_i64().expect("always there"),
        headers: headers
            .map(|pair| {
                let name = pair[0].as_str().expect("a name").to_owned();
                (name, pair[1].as_str().map(str::to_owned))
            })
            .collect(),
        key: line["key"].clone(),
        value: line["value"].clone(),
        key_bytes: text("keyHex").map(|hex| bytes(&hex)),
        value_bytes: text("valueHex").map(|hex| bytes(&hex)),
        key_schema: text("keySchema"),
        value_schema: text("valueSchema"),
    }
}

/// The bytes that hexadecimal text stands for.
///
/// Panics when it is none.
#[must_use]
pub fn bytes(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            std::str::from_utf8(pair)
                .ok()
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
        })
        .collect::<Option<_>>()
        .unwrap_or_else(|| panic!("'{hex}' is not hexadecimal"))
}

/// Holds the topics of the load in `torture.sql` against its history, a file of JSON lines: counts
/// and complaints, and whether there is nothing to complain of.
///
/// Panics when the topics cannot be read.
#[must_use]
pub fn history(bootstrap: &str, prefix: &str, history: &Path) -> (Value, bool) {
    let file = history.display().to_string();
    let arguments = [
        "--bootstrap",
        bootstrap,
        "--prefix",
        prefix,
        "--history",
        &file,
    ];
    let output = python("history.py", &arguments);
    let printed = String::from_utf8_lossy(&output.stdout);
    let counts = serde_json::from_str(&printed)
        .unwrap_or_else(|_| panic!("{printed}{}", String::from_utf8_lossy(&output.stderr)));
    (counts, output.status.success())
}

/// The names of a broker's topics.
///
/// Panics when it cannot be asked.
#[must_use]
pub fn topics(bootstrap: &str) -> Vec<String> {
    topic_tool(&[bootstrap, "list"])
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Creates a topic, with settings like `cleanup.policy=compact`.
///
/// Panics when it cannot.
pub fn create_topic(bootstrap: &str, name: &str, partitions: u32, settings: &[&str]) {
    let partitions = partitions.to_string();
    topic_tool(&[&[bootstrap, "create", name, &partitions], settings].concat());
}

/// `{"partitions": N, "config": {…}}` of a topic.
///
/// Panics when it cannot be asked.
#[must_use]
pub fn describe_topic(bootstrap: &str, name: &str) -> Value {
    serde_json::from_str(&topic_tool(&[bootstrap, "describe", name])).expect("JSON")
}

/// Deletes a topic.
///
/// Panics when it cannot.
pub fn delete_topic(bootstrap: &str, name: &str) {
    topic_tool(&[bootstrap, "delete", name]);
}

/// Somebody who watches a topic grow.
#[derive(Debug)]
pub struct Watch {
    running: Running,
    said: PathBuf,
}

impl Watch {
    /// When the topic's end last moved, once it has as many records as were waited for and rests;
    /// nothing before that.
    ///
    /// Panics when the time for that is over.
    pub fn last_moved(&mut self) -> Option<SystemTime> {
        let code = self.running.exited()?;
        let said = fs::read_to_string(&self.said).unwrap_or_default();
        let last = said
            .split_whitespace()
            .nth(1)
            .and_then(|seconds| seconds.parse().ok());
        assert!(
            code == 0 && last.is_some(),
            "not all records came in time: {said}"
        );
        last.map(|seconds| UNIX_EPOCH + Duration::from_secs_f64(seconds))
    }
}

/// Waits, in a process of its own, for `count` records in a topic, for at most `limit`.
///
/// Panics when it cannot be started.
#[must_use]
pub fn watch(bootstrap: &str, topic: &str, count: u64, limit: Duration) -> Watch {
    let said = nursery::directory("watch").join("said");
    let out = File::create(&said).expect("our own directory");
    let mut command = interpreter("ends.py");
    let (count, limit) = (count.to_string(), limit.as_secs().to_string());
    command
        .args(["watch", bootstrap, topic, &count, &limit])
        .stdout(out)
        .stderr(Stdio::null());
    Watch {
        running: Running::spawn(&mut command, "KILL"),
        said,
    }
}

/// How many records of a topic a read_committed consumer reads, and a checksum of their keys in
/// order.
///
/// Panics when it cannot be read.
#[must_use]
pub fn count(bootstrap: &str, topic: &str) -> (u64, String) {
    let output = python("ends.py", &["count", bootstrap, topic]);
    let printed = String::from_utf8_lossy(&output.stdout);
    let (count, keys) = printed
        .trim()
        .split_once(' ')
        .unwrap_or_else(|| panic!("{printed}"));
    (count.parse().expect("a number"), keys.to_owned())
}

/// Somebody who reads every record of the topics that match, as it comes.
#[derive(Debug)]
pub struct Follower {
    seen: Arc<Mutex<Vec<Value>>>,
    _running: Running,
}

impl Follower {
    /// Looks at what has come so far, in the order of each partition: topic, partition, headers,
    /// key and value as `follow.py` describes them.
    ///
    /// Panics when the reader did.
    pub fn look<T>(&self, at: impl FnOnce(&[Value]) -> T) -> T {
        at(&self.seen.lock().expect("the reader reads"))
    }
}

/// Follows topics by a regular expression, in a process of its own.
///
/// Panics when it cannot be started.
#[must_use]
pub fn follow(bootstrap: &str, registry: &str, topics: &str) -> Follower {
    let mut command = interpreter("follow.py");
    command
        .args([bootstrap, registry, topics])
        .stdout(Stdio::piped());
    let (running, said) = Running::spawn_reading(&mut command, "KILL");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&seen);
    std::thread::spawn(move || {
        for line in BufReader::new(said).lines().map_while(Result::ok) {
            let record = serde_json::from_str(&line).expect("follow.py prints JSON");
            into.lock().expect("nobody panics under it").push(record);
        }
    });
    Follower {
        seen,
        _running: running,
    }
}

fn topic_tool(arguments: &[&str]) -> String {
    let output = python("topics.py", arguments);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {complaint}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Does with a broker what librdkafka can do with one: topics, transactions, groups. It must have
/// none of the topics yet; afterwards a committed reader gets 630 records of `committed`.
///
/// Panics with what the script complains about.
pub fn exercise(bootstrap: &str) {
    let output = python("clients.py", &[bootstrap]);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
}

/// Fences whoever writes with this transactional id, and goes.
///
/// Panics with what the client complains about.
pub fn fence(bootstrap: &str, transactional_id: &str) {
    let output = python("fence.py", &[bootstrap, transactional_id]);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
}

fn python(script: &str, arguments: &[&str]) -> Output {
    interpreter(script)
        .args(arguments)
        .output()
        .expect("python runs")
}

/// Python with the judges' packages, about to run one of our scripts.
pub(crate) fn interpreter(script: &str) -> Command {
    let home = cache().join("judges");
    if !home.join("complete").exists() {
        install("judges");
    }
    let mut command = Command::new(home.join("bin/python"));
    command
        .arg(root().join("tests/judges").join(script))
        .env("PYTHONWARNINGS", "ignore")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null());
    command
}

/// Writes to a topic with kcat: a stranger's records, to check the judge with. A line is
/// `key:value`.
///
/// Panics when it cannot.
pub fn kcat_produce(bootstrap: &str, topic: &str, lines: &str) {
    use std::io::Write as _;
    static KCAT: std::sync::Once = std::sync::Once::new();
    KCAT.call_once(|| install("kcat"));
    let mut child = Command::new("kcat")
        .args(["-P", "-b", bootstrap, "-t", topic, "-K:"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("kcat runs");
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(lines.as_bytes())
        .expect("kcat reads");
    assert!(
        child.wait().is_ok_and(|status| status.success()),
        "kcat writes to {topic}"
    );
}
