//! The real Debezium in a real Kafka Connect and penstock beside it: two slots of one database,
//! so that both see the same log, and every record is compared. What is done, and with which
//! properties, follows from a seed (`generate.rs`).
//!
//! `SEEDS=17` or `SEEDS=1..200` says which seeds (from 1000 on they draw from more types and
//! properties), `PARALLEL=4` how many at a time, `MAJOR=18` on which PostgreSQL; see the
//! Makefile. A failure prints the tables and properties of the seed, the first record that
//! differs on each topic, and how to repeat it.
//!
//! What two runs cannot share is left out: clocks; in a snapshot also the position and the
//! transaction it was read in.

mod generate;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::connect::Connect;
use tests::judge::{self, Follower};
use tests::kafka::{self, Kafka};
use tests::penstock::Penstock;
use tests::postgres::{Database, Postgres, SUPERUSER, Version};
use tests::registry::Registry;
use tests::{Properties, eventually, files};

use generate::{Case, Step};

/// What runs in `make test`.
const USUAL: &str = "1..4,6..9,36,61,64,156,570";
const SOON: Duration = Duration::from_secs(120);
/// What Debezium's topics have in front, on the broker that both write to.
const THEIRS: &str = "debezium.";
/// What topics of heartbeats may have in front: as many come as there is time for.
const BEATS: [&str; 2] = ["__debezium-heartbeat", "beats"];
/// A table of the judge's own: once both have brought its row, they have brought what was before.
const MARKS: &str = "zzmarks";

#[test]
fn debezium_and_penstock_write_the_same() {
    let seeds = std::env::var("SEEDS").unwrap_or_else(|_| USUAL.to_owned());
    let seeds = parse_seeds(&seeds);
    let parallel = std::env::var("PARALLEL")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(4);
    let world = world();
    let left = Mutex::new(seeds.iter().copied());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..parallel {
            scope.spawn(|| {
                loop {
                    let next = left.lock().expect("nobody panics under it").next();
                    let Some(seed) = next else { break };
                    let case = generate::case(seed);
                    let outcome = world.run(seed, &case);
                    if let Err(difference) = &outcome {
                        eprintln!("{}", report(seed, &case, difference));
                    }
                    done.lock()
                        .expect("nobody panics under it")
                        .push((seed, case, outcome));
                }
            });
        }
    });
    let done = done.into_inner().expect("nobody panics under it");
    let failed: BTreeSet<_> = done
        .iter()
        .filter(|(_, _, outcome)| outcome.is_err())
        .map(|(seed, _, _)| *seed)
        .collect();
    type Done = (u64, Case, Result<Counted, String>);
    let sum = |of: fn(&Done) -> usize| done.iter().map(of).sum::<usize>();
    let properties: BTreeSet<_> = done
        .iter()
        .flat_map(|(_, case, _)| case.properties.iter().cloned())
        .collect();
    eprintln!(
        "{} seeds, {} tables, {} records, {} settings of {} properties, {} refused and {} ended by \
         both; {} differ",
        done.len(),
        sum(|(_, case, _)| case.tables),
        sum(|(_, _, outcome)| outcome.as_ref().map_or(0, |counted| counted.records)),
        properties.len(),
        properties
            .iter()
            .map(|(name, _)| name)
            .collect::<BTreeSet<_>>()
            .len(),
        sum(|(_, _, outcome)| outcome
            .as_ref()
            .map_or(0, |counted| usize::from(counted.refused))),
        sum(|(_, _, outcome)| outcome
            .as_ref()
            .map_or(0, |counted| usize::from(counted.ended))),
        failed.len(),
    );
    assert!(failed.is_empty(), "seeds {failed:?} differ");
}

/// What Connect's validation says of a value, penstock says, too, in the same words.
#[test]
fn bad_values_are_named_by_both() {
    let world = world();
    let database = world.server.database("bad");
    let good = files::bare_connector(&database, "inv.t1");
    let worker = files::worker("127.0.0.1:1");
    let mut wrong = Vec::new();
    let mut count = 0;
    for (name, values) in generate::BAD {
        for value in *values {
            count += 1;
            let connector = good.clone().with(name, value);
            let theirs = world.connect.validate(&connector);
            let theirs: Vec<_> = theirs
                .iter()
                .filter(|(of, _)| of == name)
                .flat_map(|(_, messages)| messages)
                .map(|message| essence(message))
                .collect();
            let (code, ours) = Penstock::check(&worker, &[&connector]);
            let named = format!("{name}={value}: ");
            let said = ours
                .lines()
                .find_map(|line| Some(line.split_once(&named)?.1));
            if code == 0 || !said.is_some_and(|said| theirs.contains(&essence(said))) {
                wrong.push(format!(
                    "{name}={value}: Debezium {theirs:?}, penstock {code} {ours}"
                ));
            }
        }
    }
    eprintln!("{count} bad values");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A message without what surrounds it, a regular expression's library's own complaint, and the
/// order in which Java has a set of words.
fn essence(message: &str) -> String {
    const ONE_OF: &str = "must be one of ";
    let behind = |message: &str, words: &str| match message.rsplit_once(words) {
        Some((_, rest)) => rest.to_owned(),
        None => message.to_owned(),
    };
    let message = behind(message, " value is invalid: ");
    let message = behind(&message, " for configuration tasks.max: ");
    let message = message.split(", but ").next().expect("one part");
    match message.split_once(ONE_OF) {
        Some((before, words)) => {
            let mut words: Vec<_> = words.split(", ").collect();
            words.sort_unstable();
            format!("{before}{ONE_OF}{}", words.join(", "))
        }
        None => message.to_owned(),
    }
}

/// What may differ with `penstock.compat=correct` stands in the documentation.
#[test]
fn what_may_differ_is_documented() {
    let path = tests::root().join("docs/differences.md");
    let text = fs::read_to_string(path).expect("the documentation");
    for (name, heading) in generate::DOCUMENTED {
        let chapter = text
            .split("\n## ")
            .find(|chapter| chapter.starts_with(heading));
        let chapter = chapter.unwrap_or_else(|| panic!("no chapter '{heading}'"));
        assert!(chapter.contains(name), "{name} is not under '{heading}'");
    }
}

fn parse_seeds(text: &str) -> Vec<u64> {
    let number = |text: &str| {
        text.trim()
            .parse::<u64>()
            .unwrap_or_else(|_| panic!("SEEDS={text}"))
    };
    text.split(',')
        .flat_map(|part| match part.split_once("..") {
            Some((first, last)) => number(first)..=number(last),
            None => number(part)..=number(part),
        })
        .collect()
}

/// What a seed without differences had.
#[derive(Debug, Default, Clone, Copy)]
struct Counted {
    records: usize,
    /// Both sides said that they cannot do it.
    refused: bool,
    /// Both sides began, and met what they cannot do.
    ended: bool,
}

struct World {
    server: &'static Postgres,
    kafka: Kafka,
    registry: Registry,
    connect: Connect,
    follower: Follower,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(World::start)
}

impl World {
    fn start() -> Self {
        let settings = [("num.partitions", "3")];
        let (server, kafka, registry) = std::thread::scope(|scope| {
            let kafka = scope.spawn(|| Kafka::start_with(kafka::NEWEST, &settings));
            let major = std::env::var("MAJOR").ok();
            let major = major.map_or(15, |text| text.parse().expect("MAJOR=18"));
            let server = Postgres::shared(Version::Major(major));
            (server, kafka.join().expect("it starts"), Registry::start())
        });
        let connect = Connect::distributed(&kafka, "connect", &Properties::default());
        let topics = format!(r"(debezium\.)?(({}|{})[._-])?s\d.*", BEATS[0], BEATS[1]);
        let follower = judge::follow(&kafka.bootstrap(), registry.url(), &topics);
        Self {
            server,
            kafka,
            registry,
            connect,
            follower,
        }
    }

    /// Runs a case; `Err` is what differs.
    fn run(&self, seed: u64, case: &Case) -> Result<Counted, String> {
        let database = self.server.database("differential");
        let mut running = Pair {
            world: self,
            name: format!("s{seed}"),
            prefix: format!("s{seed}{}", case.suffix),
            database,
            penstock: None,
            marks: 0,
            created: false,
            started: Instant::now(),
        };
        let outcome = running.go(case);
        running.end();
        outcome
    }
}

/// Both sides of one case.
struct Pair<'w> {
    world: &'w World,
    name: String,
    prefix: String,
    database: Database<'w>,
    penstock: Option<Penstock>,
    marks: usize,
    /// Connect has taken the connector.
    created: bool,
    started: Instant,
}

impl Pair<'_> {
    fn go(&mut self, case: &Case) -> Result<Counted, String> {
        let marks = format!("CREATE TABLE {MARKS} (mark int PRIMARY KEY);");
        self.sql(&(case.setup.join("\n") + "\n" + &marks))?;
        let theirs = self.connector(case, "d");
        let away = theirs
            .get("transforms")
            .map_or(String::new(), |names| format!("{names},"));
        let theirs = theirs
            .with("transforms", away + "away")
            .with(
                "transforms.away.type",
                "org.apache.kafka.connect.transforms.RegexRouter",
            )
            .with("transforms.away.regex", "(.*)")
            .with("transforms.away.replacement", format!("{THEIRS}$1"));
        let ours = self.connector(case, "p").with(
            "penstock.compat",
            if case.exact { "debezium" } else { "correct" },
        );
        let worker = Properties::default()
            .with("bootstrap.servers", self.world.kafka.bootstrap())
            .with(
                "key.converter",
                "org.apache.kafka.connect.json.JsonConverter",
            )
            .with(
                "value.converter",
                "org.apache.kafka.connect.json.JsonConverter",
            )
            .with("offset.storage.topic", format!("offsets-{}", self.name))
            .with("offset.storage.partitions", 1);
        let refused = self.world.connect.put(&theirs);
        self.created = refused.is_ok();
        self.penstock = Some(Penstock::standalone(&worker, &[&ours]));
        if let Err(theirs) = refused {
            let (code, log) = self.penstock.as_mut().expect("just started").wait(SOON);
            if code == 0 {
                return Err(format!("Debezium refuses, penstock does not: {theirs}"));
            }
            return match case.bad.filter(|name| !log.contains(name)) {
                Some(name) => Err(format!("{name} is not named: {log}")),
                None => Ok(Counted {
                    refused: true,
                    ..Counted::default()
                }),
            };
        }
        let slots = format!(
            "SELECT count(*) FROM pg_replication_slots WHERE confirmed_flush_lsn IS NOT NULL
              AND slot_name IN ('d_{0}', 'p_{0}')",
            self.name
        );
        let streamed = self
            .until("both slots", |pair| pair.database.query(&slots) == "2")
            .and_then(|()| self.stream(case));
        match streamed {
            Ok(()) => {}
            // What they sent before that depends on how much either had in hand.
            Err(_) if self.both_ended() || self.ended_as_documented() => {
                return Ok(Counted {
                    ended: true,
                    ..Counted::default()
                });
            }
            Err(difference) => return Err(difference),
        }
        self.rest();
        self.compare()
    }

    fn stream(&mut self, case: &Case) -> Result<(), String> {
        self.settle()?;
        for step in &case.steps {
            match step {
                Step::Sql(sql) => self.sql(sql)?,
                Step::Settle => self.settle()?,
            }
        }
        self.settle()
    }

    fn both_ended(&mut self) -> bool {
        let ours = self.penstock.as_mut().and_then(Penstock::ended);
        ours.is_some_and(|code| code != 0) && self.world.connect.failure(&self.name).is_some()
    }

    /// docs/differences.md: a value that was not sent, NOT NULL, without a placeholder or a fallback;
    /// its own mistake in the publication.
    fn ended_as_documented(&self) -> bool {
        let failure = self.world.connect.failure(&self.name).unwrap_or_default();
        failure.contains("null used for required field")
            || failure.contains("Unable to update filtered publication")
    }

    fn connector(&self, case: &Case, who: &str) -> Properties {
        let properties = Properties::default()
            .with("name", &self.name)
            .with(
                "connector.class",
                "io.debezium.connector.postgresql.PostgresConnector",
            )
            .with("plugin.name", "pgoutput")
            .with("topic.prefix", &self.prefix)
            .with("slot.name", format!("{who}_{}", self.name))
            .with("publication.name", format!("{who}_{}", self.name))
            .with("database.hostname", "127.0.0.1")
            .with("database.port", self.database.server.port())
            .with("database.user", SUPERUSER.0)
            .with("database.password", SUPERUSER.1)
            .with("database.dbname", &self.database.name)
            .with("topic.creation.default.partitions", 3)
            .with("topic.creation.default.replication.factor", 1);
        let properties = if who == "d" {
            properties
                .with("poll.interval.ms", 20)
                .with("slot.max.retries", 0)
                .with("errors.max.retries", 0)
        } else {
            properties
        };
        case.properties
            .iter()
            .fold(properties, |properties, (name, value)| {
                let properties = properties.with(name, value);
                if value.ends_with("AvroConverter") {
                    properties.with(
                        &format!("{name}.schema.registry.url"),
                        self.world.registry.url(),
                    )
                } else {
                    properties
                }
            })
    }

    fn sql(&self, script: &str) -> Result<(), String> {
        let file = self.scratch();
        // `\\.` ends COPY only with a line feed behind it.
        fs::write(&file, format!("{script}\n")).expect("a temporary file");
        let outcome = self.database.try_run(&file);
        let _ = fs::remove_file(&file);
        outcome.map_err(|error| format!("the generator's SQL fails: {error}\n{script}"))
    }

    fn scratch(&self) -> PathBuf {
        std::env::temp_dir().join(format!("penstock-{}-{}.sql", std::process::id(), self.name))
    }

    /// Waits until both have brought what there is.
    fn settle(&mut self) -> Result<(), String> {
        self.marks += 1;
        let marks = self.marks;
        self.sql(&format!("INSERT INTO {MARKS} VALUES ({marks});"))?;
        self.until("the mark", |pair| {
            pair.count(true, MARKS) >= marks && pair.count(false, MARKS) >= marks
        })
    }

    fn until(&mut self, what: &str, reached: impl Fn(&Self) -> bool) -> Result<(), String> {
        let start = Instant::now();
        let mut asked = Instant::now();
        while !reached(self) {
            std::thread::sleep(Duration::from_millis(30));
            if asked.elapsed() < Duration::from_secs(1) {
                continue;
            }
            asked = Instant::now();
            let theirs = self.world.connect.failure(&self.name);
            let ours = self.penstock.as_mut().and_then(Penstock::ended);
            let log = || self.penstock.as_ref().map_or(String::new(), Penstock::log);
            match (theirs, ours) {
                (Some(trace), Some(code)) => {
                    return Err(format!(
                        "both fail:\n{}\nours with {code}: {}",
                        cause(&trace),
                        log()
                    ));
                }
                // The other side may follow in a moment.
                (theirs, ours) if start.elapsed() > Duration::from_secs(15) => {
                    if let Some(trace) = theirs {
                        return Err(format!("only Debezium fails: {}", cause(&trace)));
                    }
                    if let Some(code) = ours {
                        return Err(format!("only penstock fails, with {code}: {}", log()));
                    }
                }
                _ => {}
            }
            if start.elapsed() > SOON {
                return Err(format!(
                    "{what}: not within {} s; marks: theirs {}, ours {} of {}; {}\n{}",
                    SOON.as_secs(),
                    self.count(true, MARKS),
                    self.count(false, MARKS),
                    self.marks,
                    self.world.connect.status(&self.name),
                    log()
                ));
            }
        }
        Ok(())
    }

    /// Waits until no more records come, or both have as many.
    fn rest(&self) {
        let counts = || (self.count(true, ""), self.count(false, ""));
        let (mut last, mut since) = (counts(), Instant::now());
        loop {
            std::thread::sleep(Duration::from_millis(100));
            let now = counts();
            if now != last {
                (last, since) = (now, Instant::now());
            }
            let patience = if now.0 == now.1 { 500 } else { 4000 };
            if since.elapsed() > Duration::from_millis(patience) {
                break;
            }
        }
    }

    fn is_of(&self, record: &Value, theirs: bool) -> Option<String> {
        let topic = record["topic"].as_str().expect("a topic");
        let bare = topic.strip_prefix(THEIRS);
        let name = match (theirs, bare) {
            (true, Some(name)) => name,
            (false, None) => topic,
            _ => return None,
        };
        let heartbeat = BEATS
            .iter()
            .find_map(|front| name.strip_prefix(front)?.get(1..));
        // s1 is no part of s17; what follows depends on the topic naming strategy.
        let rest = heartbeat.unwrap_or(name).strip_prefix(&self.name)?;
        (!rest.starts_with(|c: char| c.is_ascii_digit())).then(|| name.to_owned())
    }

    fn count(&self, theirs: bool, topic: &str) -> usize {
        self.world.follower.look(|records| {
            let mine = records
                .iter()
                .filter_map(|record| self.is_of(record, theirs));
            mine.filter(|name| name.contains(topic) && !is_heartbeat(name))
                .count()
        })
    }

    /// Record by record in each partition. Records without a key are in whichever partition was
    /// at hand: each topic's are compared in the order of their texts, as partition -1.
    fn compare(&self) -> Result<Counted, String> {
        type Partitions = BTreeMap<(String, i64), Vec<[String; 3]>>;
        let of = |theirs: bool| -> Partitions {
            let mut partitions = Partitions::new();
            self.world.follower.look(|records| {
                for record in records {
                    if let Some(name) = self.is_of(record, theirs) {
                        let partition = record["partition"]
                            .as_i64()
                            .filter(|_| !record["key"].is_null());
                        let beats = is_heartbeat(&name);
                        let place = (name, partition.unwrap_or(-1));
                        let records = partitions.entry(place).or_default();
                        let shown = shown(record, beats);
                        if !beats || !records.contains(&shown) {
                            records.push(shown);
                        }
                    }
                }
            });
            for (_, records) in partitions
                .iter_mut()
                .filter(|((_, partition), _)| *partition < 0)
            {
                records.sort_by(|a, b| {
                    let text = |record: &[String; 3]| record[1].find('{').unwrap_or(0);
                    a[1][text(a)..].cmp(&b[1][text(b)..]).then(a.cmp(b))
                });
            }
            partitions
        };
        let (theirs, ours) = (of(true), of(false));
        let mut differences = String::new();
        let places: BTreeSet<_> = theirs.keys().chain(ours.keys()).collect();
        for place in &places {
            let empty = Vec::new();
            let (their, our) = (
                theirs.get(place).unwrap_or(&empty),
                ours.get(place).unwrap_or(&empty),
            );
            for index in 0..their.len().max(our.len()) {
                let (their_shown, our_shown) = (their.get(index), our.get(index));
                if their_shown == our_shown {
                    continue;
                }
                let _ = writeln!(
                    differences,
                    "{} partition {} record {index}:",
                    place.0, place.1
                );
                match (their_shown, our_shown) {
                    (Some(their), Some(our)) => {
                        for (name, (their, our)) in ["key", "value", "headers"]
                            .iter()
                            .zip(their.iter().zip(our))
                        {
                            if their != our {
                                let _ = write!(differences, " {name}:{}", self.parted(their, our));
                            }
                        }
                    }
                    (their, our) => {
                        let _ = writeln!(differences, "  Debezium {their:?}\n  penstock {our:?}");
                    }
                }
                let _ = writeln!(
                    differences,
                    "  Debezium wrote {}\n  penstock wrote {}",
                    operations(their),
                    operations(our)
                );
                break;
            }
        }
        let records = theirs.values().map(Vec::len).sum();
        if differences.is_empty() {
            Ok(Counted {
                records,
                ..Counted::default()
            })
        } else {
            Err(differences)
        }
    }

    /// Two texts, from where they part; two schemas instead of their ids.
    fn parted(&self, theirs: &str, ours: &str) -> String {
        let schema = |text: &str| -> Option<String> {
            let id = text
                .strip_prefix("schema ")?
                .split(' ')
                .next()?
                .parse()
                .ok()?;
            Some(self.world.registry.schema(id))
        };
        let (theirs, ours) = match (schema(theirs), schema(ours)) {
            (Some(their), Some(our)) if their != our => (their, our),
            _ => (theirs.to_owned(), ours.to_owned()),
        };
        let same = theirs
            .chars()
            .zip(ours.chars())
            .take_while(|(their, our)| their == our)
            .count();
        let around = |text: &str| -> String {
            text.chars()
                .skip(same.saturating_sub(150))
                .take(400)
                .collect()
        };
        format!(
            "\n  Debezium …{}\n  penstock …{}\n",
            around(&theirs),
            around(&ours)
        )
    }

    fn end(&mut self) {
        if self.created {
            self.world.connect.delete(&self.name);
        }
        if let Some(pipe) = self.penstock.as_mut()
            && pipe.ended().is_none()
        {
            pipe.terminate();
        }
        let slots = format!(
            "SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots
              WHERE NOT active AND slot_name IN ('d_{0}', 'p_{0}')",
            self.name
        );
        let left = format!(
            "SELECT count(*) FROM pg_replication_slots WHERE slot_name IN ('d_{0}', 'p_{0}')",
            self.name
        );
        eventually("the slots are free", SOON, || {
            let _ = self.database.server.try_query("postgres", &slots);
            match self.database.query(&left).as_str() {
                "0" => Ok(()),
                left => Err(left.to_owned()),
            }
        });
        eprintln!(
            "{} took {:.1} s",
            self.name,
            self.started.elapsed().as_secs_f32()
        );
    }
}

/// The records of a partition by their operations; `-` for a tombstone.
fn operations(records: &[[String; 3]]) -> String {
    let letter = |[_, value, _]: &[String; 3]| match value.rfind("op\":\"") {
        Some(at) => value[at + 5..].chars().next().unwrap_or('?'),
        None if value == "null" => '-',
        None => '?',
    };
    records.iter().map(letter).collect()
}

/// The innermost cause of a Java trace, and what it caused.
fn cause(trace: &str) -> String {
    let lines = trace
        .lines()
        .filter(|line| !line.starts_with("\tat") && !line.starts_with("\t..."));
    lines.collect::<Vec<_>>().join("\n  ")
}

fn is_heartbeat(topic: &str) -> bool {
    BEATS.iter().any(|front| topic.starts_with(front))
}

/// Key, value and headers of a record, without what the runs do not share.
fn shown(record: &Value, heartbeat: bool) -> [String; 3] {
    let part = |part: &Value| -> String {
        if part.is_null() {
            return "null".to_owned();
        }
        let mut text = masked(part["text"].as_str().expect("follow.py writes it"));
        if heartbeat {
            mask(&mut text, 0, "ts_ms");
        }
        let rest = part["rest"].as_str().unwrap_or("");
        match part["schema"].as_u64() {
            Some(id) => format!("schema {id} {text}{rest}"),
            None => text,
        }
    };
    let headers = record["headers"].as_array().expect("a list").iter();
    let headers: Vec<_> = headers
        .filter(|header| header[0] != "__debezium.context.runId")
        .map(|header| format!("{}={}", header[0], part(&header[1])))
        .collect();
    [
        part(&record["key"]),
        part(&record["value"]),
        headers.join(" "),
    ]
}

/// The text without the clocks of an envelope, and without the position of a snapshot.
fn masked(text: &str) -> String {
    // Bytes that fastavro cannot read, and why; the clocks are somewhere in them.
    if let Some((why, hex)) = text.rsplit_once(": ")
        && hex.len() > 20
        && hex.chars().all(|c| c.is_ascii_hexdigit())
    {
        return why.to_owned();
    }
    let mut text = text.to_owned();
    let copied = [
        "first",
        "true",
        "last",
        "first_in_data_collection",
        "last_in_data_collection",
    ]
    .iter()
    .any(|mark| {
        text.contains(&format!("\"snapshot\":\"{mark}\""))
            || text.contains(&format!("source_snapshot\":\"{mark}\""))
            || text.contains(&format!("snapshot={mark},"))
            || text.contains(&format!("snapshot={mark}}}"))
    });
    if copied {
        for name in [
            "ts_ms", "ts_us", "ts_ns", "txId", "lsn", "__lsn", "meta_lsn", "sequence",
        ] {
            mask(&mut text, 0, name);
        }
    } else if let Some(at) = operation_in(&text) {
        for name in ["ts_ms", "ts_us", "ts_ns"] {
            mask(&mut text, at, name);
        }
    }
    if text.starts_with("Struct{") {
        // Some bytes are told by where they lie, others by how many they are.
        mask_word(&mut text, "[B@", |c| c.is_ascii_hexdigit());
        mask_word(&mut text, "java.nio.HeapByteBuffer[", |c| c != ']');
        text = text.replace("java.nio.HeapByteBuffer[_]", "[B@_");
    }
    // A Java object says where it lies, and has its place among others by that.
    if mask_word(&mut text, MESSAGE_ID, |c| c.is_ascii_hexdigit())
        && let Some(begin) = text.find("_collections\":[{")
    {
        let begin = begin + "_collections\":[{".len();
        let end = begin + text[begin..].find("}]").unwrap_or(0);
        let mut collections: Vec<_> = text[begin..end].split("},{").collect();
        collections.sort_unstable();
        let sorted = collections.join("},{");
        text.replace_range(begin..end, &sorted);
    }
    text
}

/// Where the operation is told, of an envelope.
fn operation_in(text: &str) -> Option<usize> {
    if text.starts_with("Struct{") {
        text.rfind(",op=").or_else(|| text.find("{op="))
    } else {
        text.rfind("\"op\":\"")
    }
}

/// Puts `_` for the letters behind a word that belong to it; whether it occurs.
fn mask_word(text: &mut String, word: &str, belongs: impl Fn(char) -> bool) -> bool {
    let mut at = 0;
    while let Some(found) = text[at..].find(word) {
        let begin = at + found + word.len();
        let end = text[begin..].find(|c| !belongs(c));
        let end = end.map_or(text.len(), |end| begin + end);
        text.replace_range(begin..end, "_");
        at = begin;
    }
    at > 0
}

/// What logical messages are counted under in a transaction.
const MESSAGE_ID: &str = "LogicalDecodingMessageId@";

/// Puts `_` for each number or text that is called so, from a place on, in JSON or in a Java
/// struct's text.
fn mask(text: &mut String, from: usize, name: &str) {
    if text.starts_with("Struct{") {
        for before in ["{", ","] {
            mask_behind(text, from, &format!("{before}{name}="));
        }
    } else {
        mask_behind(text, from, &format!("\"{name}\":"));
    }
}

fn mask_behind(text: &mut String, from: usize, label: &str) {
    let mut at = from;
    while let Some(found) = text[at..].find(label) {
        let begin = at + found + label.len();
        let rest = &text[begin..];
        let length = if rest.starts_with('"') {
            // sequence: a text with escaped quotes in it.
            let mut escaped = false;
            rest.char_indices()
                .skip(1)
                .find(|&(_, c)| {
                    let end = c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    end
                })
                .map_or(0, |(end, _)| end + 1)
        } else if rest.starts_with('[') {
            rest.find(']').map_or(0, |end| end + 1)
        } else {
            rest.find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len())
        };
        if length > 0 {
            text.replace_range(begin..begin + length, "_");
        }
        at = begin;
    }
}

/// What somebody needs to understand a difference, and to see it again.
fn report(seed: u64, case: &Case, difference: &str) -> String {
    let mut text = format!("== seed {seed} differs: make differential SEEDS={seed}\n");
    for (name, value) in &case.properties {
        let _ = writeln!(text, "  {name}={value}");
    }
    let _ = writeln!(
        text,
        "  topic.prefix ends with '{}'; penstock.compat is {}",
        case.suffix,
        if case.exact { "debezium" } else { "correct" }
    );
    if std::env::var_os("VERBOSE").is_some() {
        let steps = case.steps.iter().map(|step| match step {
            Step::Sql(sql) => sql.as_str(),
            Step::Settle => "-- both have everything",
        });
        for sql in case.setup.iter().map(String::as_str).chain(steps) {
            let _ = writeln!(text, "{sql}");
        }
    }
    text + difference
}
