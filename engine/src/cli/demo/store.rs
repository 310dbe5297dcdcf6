//! The bike store in PostgreSQL: found or made, shopped in, and left as it was found.

use std::time::Duration;

use super::shopper::Shopper;
use super::{PUBLICATION, SLOT, TABLES};
use crate::capture::client::{Client, Purpose};
use crate::capture::error::{PgError, PgFault, Setup};
use crate::cli::exit::{Exit, Report};
use crate::cli::server::Server;
use crate::config::Source;

/// Schema, types and a few thousand rows.
pub const SCRIPT: &str = include_str!("bike_store.sql");
/// How PostgreSQL's views name us.
const APPLICATION: &str = "penstock demo";
/// How long a walsender may take to let go of our slot.
const LET_GO_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Before the shopper tries a server again that went away.
const RECONNECT: Duration = Duration::from_secs(1);

/// A rhythm that is faster looks like none.
const RHYTHM_HEARD: Duration = Duration::from_millis(50);

/// Our connection to PostgreSQL, beside those of the pipe.
#[derive(Debug)]
pub struct Store {
    client: Client,
    source: Source,
}

impl Store {
    /// Connects, looks whether the pipe can do its work there, makes the store where that was
    /// asked for, and drops what a demo that was killed has left.
    ///
    /// Errors: PostgreSQL cannot be reached or is not set up for us; there is no store; another
    /// demo is at work.
    pub async fn open(source: &Source, server: &Server, load: bool) -> Result<Self, Report> {
        let refused = |error: PgError| report("cannot use PostgreSQL", error);
        let client = Client::connect(source, Purpose::Query, APPLICATION).await;
        let client = client.map_err(refused)?;
        let mut store = Self {
            client,
            source: source.clone(),
        };
        store.check_wal_level().await.map_err(refused)?;
        store.find_or_make(server, load).await?;
        store.clear().await?;
        Ok(store)
    }

    /// `15.18`
    #[must_use]
    pub fn version(&self) -> &str {
        let text = self.client.parameter("server_version").unwrap_or_default();
        text.split(' ').next().unwrap_or_default()
    }

    /// Which of our tables have REPLICA IDENTITY FULL, by their place.
    ///
    /// Errors: PostgreSQL is gone.
    pub async fn whole_old_rows(&mut self) -> Result<Vec<usize>, Report> {
        let rows = self.query(
            "SELECT relname FROM pg_class \
             WHERE relnamespace = to_regnamespace('store') AND relreplident = 'f'",
        );
        let rows = rows
            .await
            .map_err(|error| report("cannot use the bike store", error))?;
        let places = rows
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|name| TABLES.iter().position(|table| *table == name));
        Ok(places.collect())
    }

    async fn check_wal_level(&mut self) -> Result<(), PgError> {
        let found = self.client.scalar("SHOW wal_level").await?;
        if found == "logical" {
            return Ok(());
        }
        Err(PgError::new(
            self.client.target(),
            Setup::WalLevel { found },
        ))
    }

    async fn find_or_make(&mut self, server: &Server, load: bool) -> Result<(), Report> {
        let refused = |error: PgError| report("cannot use the bike store", error);
        let names = TABLES.map(|table| format!("'{table}'")).join(", ");
        let query = format!(
            "SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace('store') \
             AND relkind IN ('r', 'p') AND relname IN ({names})"
        );
        let found = self.client.scalar(&query).await.map_err(refused)?;
        if found == TABLES.len().to_string() {
            return Ok(());
        }
        let what = format!("database {} has no bike store", server.database);
        if !load {
            return Err(Report::new(Exit::Configuration, what)
                .remedy("add --load-store: it makes a schema `store` there, and nothing else"));
        }
        self.client.simple_query(SCRIPT).await.map_err(refused)?;
        Ok(())
    }

    /// Drops slot and publication, ours by their names, once nobody reads the slot. Harmless where
    /// there is neither.
    ///
    /// Errors: somebody goes on reading the slot; PostgreSQL is gone.
    pub async fn clear(&mut self) -> Result<(), Report> {
        let refused = |error: PgError| report("cannot clear up", error);
        let mut waited = Duration::ZERO;
        loop {
            let query =
                format!("SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{SLOT}'");
            let rows = self.query(&query).await.map_err(refused)?;
            let Some(row) = rows.into_iter().next() else {
                break;
            };
            match row.into_iter().next().flatten() {
                None => {
                    let drop = format!("SELECT pg_drop_replication_slot('{SLOT}')");
                    match self.query(&drop).await {
                        Ok(_) => break,
                        // Somebody was faster, in one way or the other: look again.
                        Err(error)
                            if matches!(error.fault, PgFault::Refused(_))
                                && waited < LET_GO_WITHIN => {}
                        Err(error) => return Err(refused(error)),
                    }
                }
                Some(pid) if waited >= LET_GO_WITHIN => {
                    return Err(Report::new(
                        Exit::Postgres,
                        format!("slot {SLOT} is in use by server process {pid}"),
                    )
                    .remedy(format!(
                        "end the other demo; if there is none: SELECT pg_terminate_backend({pid})"
                    )));
                }
                Some(_) => {}
            }
            tokio::time::sleep(LOOK_AGAIN).await;
            waited += LOOK_AGAIN;
        }
        let drop = format!("DROP PUBLICATION IF EXISTS {PUBLICATION}");
        self.query(&drop).await.map_err(refused)?;
        Ok(())
    }

    /// Runs a query, over a new connection where the old one is dead: PostgreSQL may have been
    /// restarted while the pipe ran, and the pipe does not mind.
    async fn query(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, PgError> {
        match self.client.simple_query(sql).await {
            Err(error) if error.retriable() => {
                self.client = Client::connect(&self.source, Purpose::Query, APPLICATION).await?;
                self.client.simple_query(sql).await
            }
            result => result,
        }
    }
}

/// Shops until dropped, `rate` transactions a second in the mean.
pub async fn shop(source: Source, seed: u64, rate: f64) {
    let mut shopper = Shopper::new(seed);
    let pause = Duration::from_secs_f64(1.0 / rate);
    loop {
        if let Err(error) = shop_once_connected(&source, &mut shopper, pause).await {
            tracing::warn!("the shopper has to wait: {}", brief(error).fault);
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

/// Errors: the connection broke.
async fn shop_once_connected(
    source: &Source,
    shopper: &mut Shopper,
    pause: Duration,
) -> Result<(), PgError> {
    let mut client = Client::connect(source, Purpose::Query, "penstock demo shopper").await?;
    let mut rhythm = tokio::time::interval(pause);
    rhythm.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        rhythm.tick().await;
        // People do not shop by the clock: each comes up to half a pause late.
        if pause >= RHYTHM_HEARD {
            tokio::time::sleep(pause.mul_f64(shopper.hesitation() / 2.0)).await;
        }
        let (act, sql) = shopper.next_act();
        match client.simple_query(&sql).await {
            Ok(_) => {}
            // What the server refuses, somebody else's change has made impossible.
            Err(error) if matches!(error.fault, PgFault::Refused(_)) && !error.retriable() => {
                tracing::warn!("the shopper could not {act:?}: {}", brief(error).fault);
            }
            Err(error) => return Err(error),
        }
    }
}

/// A refusal as people read it.
fn report(what: &str, error: PgError) -> Report {
    let error = brief(error);
    let report =
        Report::new(Exit::Postgres, what).with(format!("{}: {}", error.target, error.fault));
    match error.remedy() {
        Some(remedy) => report.remedy(remedy),
        None => report,
    }
}

/// Without the statement: it is ours, and no news to whoever runs the demo.
fn brief(mut error: PgError) -> PgError {
    if let PgFault::Refused(refusal) = &mut error.fault {
        refusal.statement = None;
    }
    error
}
