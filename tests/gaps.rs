//! Changes that nobody can send any more are told, from where to where; and the WAL that the slot
//! keeps never piles up unseen. On real servers.

use std::time::Duration;

use tests::judge::{self, Format, Record};
use tests::kafka::{self, Kafka};
use tests::penstock::Penstock;
use tests::postgres::{Database, Postgres, Stop, Version};
use tests::{Properties, eventually, files};

const SOON: Duration = Duration::from_secs(60);
/// `penstock --help`: PostgreSQL refused.
const POSTGRES: i32 = 4;

/// A table, and a connector that has streamed from it and was stopped in good order.
struct Connector<'s> {
    database: Database<'s>,
    kafka: &'static Kafka,
    worker: Properties,
    file: Properties,
    rows: usize,
}

impl<'s> Connector<'s> {
    fn stopped(server: &'s Postgres, name: &str, settings: &[(&str, &str)]) -> Self {
        let kafka = Kafka::shared(kafka::NEWEST);
        let database = server.database(name);
        database.query("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (0)");
        let file = files::connector(&database, "public.t");
        let mut connector = Self {
            worker: files::worker(&kafka.bootstrap()),
            file: settings
                .iter()
                .fold(file, |file, (name, value)| file.with(name, value)),
            rows: 0,
            database,
            kafka,
        };
        let mut pipe = connector.start(&[]);
        pipe.wait_for(&["INFO", "streaming"], SOON);
        connector.rows = 1;
        connector.insert_and_see(&mut pipe);
        assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
        connector
    }

    fn start(&self, settings: &[(&str, &str)]) -> Penstock {
        let file = settings
            .iter()
            .fold(self.file.clone(), |file, (name, value)| {
                file.with(name, value)
            });
        Penstock::standalone(&self.worker, &[&file])
    }

    /// The same connector, of another server at what its user takes for the same address.
    fn moved_to<'t>(&self, server: &'t Postgres) -> Connector<'t> {
        Connector {
            database: Database {
                server,
                name: self.database.name.clone(),
            },
            kafka: self.kafka,
            worker: self.worker.clone(),
            file: self.file.clone().with("database.port", server.port()),
            rows: self.rows,
        }
    }

    fn insert(&mut self) {
        self.database
            .query(&format!("INSERT INTO t VALUES ({})", self.rows));
        self.rows += 1;
    }

    fn insert_and_see(&mut self, pipe: &mut Penstock) {
        self.insert();
        let (last, topic) = (self.rows - 1, format!("{}.public.t", self.database.name));
        eventually("the row arrives", SOON, || {
            pipe.assert_running();
            let bootstrap = self.kafka.bootstrap();
            let records = judge::read(&bootstrap, &topic, Format::Json, 0, SOON);
            if records.iter().any(|record| record.key["id"] == last) {
                Ok(())
            } else {
                Err(pipe.log())
            }
        });
    }

    fn records(&self) -> Vec<Record> {
        let topic = format!("{}.public.t", self.database.name);
        judge::read(&self.kafka.bootstrap(), &topic, Format::Json, 0, SOON)
    }

    /// `op` and id of everything that was sent.
    fn sent(&self) -> Vec<String> {
        let records = self.records();
        let show = |record: &Record| format!("{}{}", record.op().unwrap_or(""), record.key["id"]);
        records.iter().map(show).collect()
    }

    fn refused(&self, words: &[&str]) {
        let mut pipe = self.start(&[]);
        let (code, log) = pipe.wait(SOON);
        assert_eq!(code, POSTGRES, "{log}");
        for word in words.iter().chain(&["snapshot.mode=when_needed"]) {
            assert!(log.contains(word), "no '{word}' in:\n{log}");
        }
    }

    /// A new snapshot has every row, and the stream goes on behind it.
    fn copied_when_needed(&mut self) {
        let before = self.sent().len();
        let mut pipe = self.start(&[("snapshot.mode", "when_needed")]);
        pipe.wait_for(&["WARN", "A new snapshot is taken"], SOON);
        pipe.wait_for(&["snapshot is complete"], SOON);
        let rows = self.rows;
        self.insert_and_see(&mut pipe);
        let sent = self.sent().split_off(before);
        let expected: Vec<_> = (0..rows)
            .map(|id| format!("r{id}"))
            .chain([format!("c{rows}")])
            .collect();
        assert_eq!(sent, expected, "{}", pipe.log());
        assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
        // What is stored now is of use again.
        let mut pipe = self.start(&[]);
        self.insert_and_see(&mut pipe);
        assert!(!pipe.log().contains("snapshot is"), "{}", pipe.log());
        assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
    }

    fn slot(&self, column: &str) -> String {
        self.database.query(&format!(
            "SELECT {column} FROM pg_replication_slots WHERE slot_name = '{}'",
            self.database.name
        ))
    }

    fn run(&self, function: &str) -> String {
        self.database.query(&format!(
            "SELECT {}",
            function.replace("{slot}", &self.database.name)
        ))
    }
}

#[test]
fn a_slot_that_was_dropped() {
    let mut it = Connector::stopped(Postgres::shared(Version::Debian), "dropped", &[]);
    let confirmed = it.slot("confirmed_flush_lsn");
    it.run("pg_drop_replication_slot('{slot}')");
    it.insert();
    it.refused(&["does not exist", &format!("changes from {confirmed} to ")]);
    it.copied_when_needed();
}

#[test]
fn a_slot_that_was_advanced_or_created_anew() {
    let server = Postgres::shared(Version::Debian);
    for anew in [false, true] {
        let mut it = Connector::stopped(server, "advanced", &[]);
        let confirmed = it.slot("confirmed_flush_lsn");
        it.insert();
        if anew {
            it.run("pg_drop_replication_slot('{slot}')");
            it.run("pg_create_logical_replication_slot('{slot}', 'pgoutput')");
        } else {
            it.run("pg_replication_slot_advance('{slot}', pg_current_wal_lsn())");
        }
        let to = it.slot("confirmed_flush_lsn");
        let lost = format!("Changes from {confirmed} to {to} are no longer available");
        it.refused(&[&lost, "offset.mismatch.strategy=trust_slot"]);
        // Told to, it goes on behind the gap.
        let before = it.sent();
        let mut pipe = it.start(&[("offset.mismatch.strategy", "trust_slot")]);
        pipe.wait_for(&["WARN", "The slot is trusted"], SOON);
        it.insert_and_see(&mut pipe);
        assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
        assert_eq!(it.sent(), [before, vec!["c3".to_owned()]].concat());
    }
}

#[test]
fn a_slot_that_was_advanced_is_copied_over() {
    let mut it = Connector::stopped(Postgres::shared(Version::Debian), "overcopied", &[]);
    it.insert();
    it.run("pg_replication_slot_advance('{slot}', pg_current_wal_lsn())");
    it.copied_when_needed();
}

/// The server gives the slot up: `max_slot_wal_keep_size`, from 13 on.
fn invalidated(version: Version, reason: &str) {
    let server = Postgres::start_with(version, &[("max_slot_wal_keep_size", "1MB")]);
    let mut it = Connector::stopped(&server, "invalidated", &[]);
    let confirmed = it.slot("confirmed_flush_lsn");
    it.insert();
    eventually("the slot is lost", SOON, || {
        it.database
            .query("SELECT pg_switch_wal(); CREATE TABLE x (); DROP TABLE x; CHECKPOINT");
        match it.slot("wal_status").as_str() {
            "lost" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    let lost = format!("changes from {confirmed} to ");
    let drop = format!("SELECT pg_drop_replication_slot('{}')", it.database.name);
    it.refused(&["invalidated", reason, &lost, &drop]);
    it.copied_when_needed();
}

#[test]
fn a_slot_that_was_invalidated() {
    invalidated(Version::Debian, "wal_removed");
}

#[test]
fn a_slot_that_was_invalidated_on_18() {
    invalidated(Version::Major(18), "wal_removed");
}

#[test]
fn an_older_state_that_was_restored() {
    let server = Postgres::start(Version::Debian);
    let mut it = Connector::stopped(&server, "restored", &[]);
    server.stop(Stop::Fast);
    let copy = server.copied(&[]);
    server.launch();
    let mut pipe = it.start(&[]);
    pipe.wait_for(&["INFO", "streaming"], SOON);
    it.database
        .query("INSERT INTO t SELECT g FROM generate_series(1000, 9000) AS g");
    it.insert_and_see(&mut pipe);
    it.database.wait_confirmed(&it.database.name, SOON);
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
    let stored = it.slot("confirmed_flush_lsn");
    server.stop(Stop::Fast);
    copy.launch();
    let mut it = it.moved_to(&copy);
    it.refused(&[&format!(
        "the stored position is {stored}, but the server's WAL ends at "
    )]);
    it.rows = 2;
    it.copied_when_needed();
}

#[test]
fn another_cluster_behind_the_same_address() {
    let (server, other) = (
        Postgres::shared(Version::Debian),
        Postgres::start(Version::Debian),
    );
    let it = Connector::stopped(server, "elsewhere", &[]);
    let name = &it.database.name;
    other.query("postgres", &format!("CREATE DATABASE {name}"));
    let mut it = it.moved_to(&other);
    it.database.query(
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (0), (1);
         CREATE PUBLICATION dbz_publication FOR TABLE t",
    );
    it.run("pg_create_logical_replication_slot('{slot}', 'pgoutput')");
    let id = "SELECT system_identifier FROM pg_control_system()";
    let (was, is) = (server.query("postgres", id), other.query("postgres", id));
    it.refused(&[&format!("system identifier {was}, and {is} answers")]);
    it.copied_when_needed();
}

mod standbys {
    //! A promoted standby continues the history that the position belongs to, or it does not.
    use super::*;

    /// Until 16 a standby has no slot of the connector's: a gap, unless the user says otherwise.
    fn without_slot(major: u32) {
        let server = Postgres::start(Version::Major(major));
        let mut it = Connector::stopped(&server, "promoted", &[]);
        let standby = server.standby(&[]);
        it.insert();
        let end = server.query("postgres", "SELECT pg_current_wal_lsn()");
        eventually("the standby follows", SOON, || {
            let sql = format!("SELECT pg_last_wal_replay_lsn() >= '{end}'");
            match standby.query("postgres", &sql).as_str() {
                "t" => Ok(()),
                _ => Err(standby.log()),
            }
        });
        server.stop(Stop::Fast);
        standby.promote();
        let mut it = it.moved_to(&standby);
        it.refused(&["does not exist", "changes from 0/"]);
        it.run("pg_create_logical_replication_slot('{slot}', 'pgoutput')");
        let to = it.slot("confirmed_flush_lsn");
        it.refused(&[
            "Changes from 0/",
            &format!(" to {to} are no longer available"),
        ]);
        let mut pipe = it.start(&[("offset.mismatch.strategy", "trust_slot")]);
        it.insert_and_see(&mut pipe);
        assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
        assert_eq!(it.sent(), ["r0", "c1", "c3"]);
        // The position is of the new timeline now.
        let mut pipe = it.start(&[]);
        it.insert_and_see(&mut pipe);
        assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
        assert_eq!(it.sent(), ["r0", "c1", "c3", "c4"]);
    }

    #[test]
    fn postgres_12() {
        without_slot(12);
    }

    #[test]
    fn postgres_15() {
        without_slot(15);
    }

    /// A primary and its standby that keeps failover slots in step, and a connector with one.
    fn pair(major: u32, wait_for_standby: bool) -> (Postgres, Postgres) {
        let listed = [("synchronized_standby_slots", "standby")];
        let settings: &[_] = if wait_for_standby { &listed } else { &[] };
        let server = Postgres::start_with(Version::Major(major), settings);
        server.query(
            "postgres",
            "SELECT pg_create_physical_replication_slot('standby', true)",
        );
        let standby = server.standby(&[
            ("primary_slot_name", "standby"),
            ("hot_standby_feedback", "on"),
            ("sync_replication_slots", "on"),
            ("wal_receiver_status_interval", "1s"),
        ]);
        (server, standby)
    }

    fn wait_synced(it: &Connector<'_>, standby: &Postgres) {
        let ready = format!(
            "SELECT synced AND NOT temporary AND invalidation_reason IS NULL
               FROM pg_replication_slots WHERE slot_name = '{}'",
            it.database.name
        );
        eventually("the slot is ready on the standby", SOON, || {
            // What makes the primary's slot move on, and with it the standby's.
            it.database.query("SELECT pg_log_standby_snapshot()");
            match standby.query("postgres", &ready).as_str() {
                "t" => Ok(()),
                other => Err(format!("{other}: {}", standby.log())),
            }
        });
    }

    fn failover_slot(major: u32) {
        let (server, standby) = pair(major, true);
        let failover = [("slot.failover", "true")];
        let mut it = Connector::stopped(&server, "failover", &failover);
        assert_eq!(it.slot("failover"), "t");
        let mut pipe = it.start(&[]);
        it.insert_and_see(&mut pipe);
        wait_synced(&it, &standby);
        // Not before it is promoted.
        let mut early = it.moved_to(&standby).start(&[("name", "early")]);
        let (code, log) = early.wait(SOON);
        assert!(code == POSTGRES && log.contains("standby"), "{log}");

        it.insert_and_see(&mut pipe);
        server.stop(Stop::Immediate);
        pipe.kill();
        standby.promote();
        let mut it = it.moved_to(&standby);
        it.insert();
        let mut pipe = it.start(&[]);
        it.insert_and_see(&mut pipe);
        assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
        assert_eq!(it.sent(), ["r0", "c1", "c2", "c3", "c4", "c5"]);
    }

    #[test]
    fn postgres_17_failover_slot() {
        failover_slot(17);
    }

    #[test]
    fn postgres_18_failover_slot() {
        failover_slot(18);
    }

    /// The primary had committed, and penstock sent, what the standby never received.
    #[test]
    fn postgres_17_promoted_without_the_last_commits() {
        let (server, standby) = pair(17, false);
        let mut it = Connector::stopped(&server, "behind", &[("slot.failover", "true")]);
        let mut pipe = it.start(&[]);
        it.insert_and_see(&mut pipe);
        wait_synced(&it, &standby);
        standby.stop(Stop::Immediate);
        it.insert_and_see(&mut pipe);
        it.database.wait_confirmed(&it.database.name, SOON);
        assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
        let stored = it.slot("confirmed_flush_lsn");
        server.stop(Stop::Immediate);
        standby.launch();
        standby.promote();
        let mut it = it.moved_to(&standby);
        it.refused(&[
            &format!("the stored position is {stored} on timeline 1, which the server left at "),
            "for timeline 2",
        ]);
        it.rows = 3;
        it.copied_when_needed();
    }
}
