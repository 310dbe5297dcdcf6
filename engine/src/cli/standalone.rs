//! `penstock standalone`: connectors side by side in one process.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::Args;
use tokio::sync::watch;

use super::exit::{Exit, Report};
use super::signal::{self, Shutdown};
use crate::config::{Config, File, Inspection, Properties, Severity};
use crate::pipe::{self, Blame};

/// Run connectors with the files of Kafka Connect's standalone mode.
///
/// A connector that fails for good stops the others in good order and ends the process: what runs
/// is whole, and whoever supervises the process learns of it.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    files: Files,
}

/// A worker's file and those of its connectors.
#[derive(Debug, Args)]
pub struct Files {
    /// The worker: brokers, converters, offsets.
    #[arg(value_name = "WORKER")]
    pub worker: PathBuf,
    /// A connector each: .properties or JSON.
    #[arg(value_name = "CONNECTOR", required = true)]
    pub connectors: Vec<PathBuf>,
}

/// Runs until a signal, or until a connector fails for good.
///
/// # Errors
///
/// What is wrong with the files, or why the first connector failed.
pub async fn run(arguments: &Arguments) -> Result<(), Report> {
    let read = read(&arguments.files)?;
    let pipes: Vec<(&Path, &Config)> = read
        .iter()
        .map(|(path, _, config)| (path.as_path(), config))
        .collect();
    together(&pipes)?;
    let count = read.len();
    let configs = read.into_iter().map(|(_, _, mut config)| {
        config.share_memory(count);
        config
    });
    let configs = configs.collect();
    side_by_side(configs, |config, shutdown| {
        pipe::run(config, shutdown, watch::Sender::default())
    })
    .await
}

/// Reads every file, logs what the user should know, and gives each connector's configuration with
/// the path of its file.
///
/// # Errors
///
/// Every problem of every file.
pub fn read(files: &Files) -> Result<Vec<(PathBuf, Inspection, Config)>, Report> {
    let worker = read_properties(&files.worker, Properties::parse)?;
    let mut read = Vec::new();
    let mut told = BTreeSet::new();
    let mut problems = Vec::new();
    for path in &files.connectors {
        let connector = read_properties(path, Properties::parse_connector)?;
        let mut inspection = Inspection::new(&worker, &connector);
        for warning in &inspection.warnings {
            // The worker's file is read with each connector's.
            if told.insert(warning.text.clone()) {
                match warning.severity {
                    Severity::Warn => tracing::warn!("{warning}"),
                    Severity::Note => tracing::info!("{warning}"),
                }
            }
        }
        match std::mem::replace(&mut inspection.config, Err(Vec::new())) {
            Ok(config) => read.push((path.clone(), inspection, config)),
            Err(wrong) => problems.extend(wrong.iter().map(|problem| {
                let path = match problem.file {
                    File::Worker => &files.worker,
                    File::Connector => path,
                };
                format!("{}: {problem}", path.display())
            })),
        }
    }
    if problems.is_empty() {
        return Ok(read);
    }
    let mut seen = BTreeSet::new();
    problems.retain(|problem| seen.insert(problem.clone()));
    let count = match problems.len() {
        1 => "a problem".to_owned(),
        count => format!("{count} problems"),
    };
    let mut report = Report::new(
        Exit::Configuration,
        format!("the configuration has {count}"),
    );
    report.why = problems;
    Err(report)
}

fn read_properties(
    path: &Path,
    parse: impl Fn(&[u8]) -> Result<Properties, crate::config::properties::Malformed>,
) -> Result<Properties, Report> {
    let fail = |what: &str| Report::new(Exit::Configuration, format!("{what} {}", path.display()));
    let file = std::fs::read(path).map_err(|error| fail("cannot read").with(error.to_string()))?;
    parse(&file).map_err(|error| fail("cannot understand").with(error.to_string()))
}

/// Whether connectors may run in one process: what one owns, no other may.
///
/// # Errors
///
/// Two files with one name, or one slot of one server.
pub fn together(pipes: &[(&Path, &Config)]) -> Result<(), Report> {
    let mut names = BTreeMap::new();
    let mut slots = BTreeMap::new();
    for (path, config) in pipes {
        let source = &config.source;
        let slot = (&source.host, source.port, &source.slot);
        let shared = [
            (
                names.insert(&config.name, path),
                "name",
                &config.name,
                "stored positions go by it",
            ),
            (
                slots.insert(slot, path),
                "slot.name",
                &source.slot,
                "a slot has one reader",
            ),
        ];
        for (other, property, value, why) in shared {
            if let Some(other) = other {
                let both = format!("{} and {}", other.display(), path.display());
                return Err(
                    Report::new(Exit::Configuration, format!("{property}={value} twice"))
                        .with(format!("{both} have it, and {why}"))
                        .remedy(format!("give each connector a {property} of its own")),
                );
            }
        }
    }
    Ok(())
}

/// Runs a pipe for each configuration until all have ended. The first that fails stops the others.
async fn side_by_side<F>(
    configs: Vec<Config>,
    pipe: impl Fn(Config, Shutdown) -> F,
) -> Result<(), Report>
where
    F: Future<Output = Result<(), pipe::Error>> + 'static,
{
    let (stop, shutdown) = signal::shutdown()?;
    let patience = configs
        .iter()
        .map(|config| config.shutdown_timeout)
        .max()
        .unwrap_or_default();
    let mut running = tokio::task::JoinSet::new();
    for config in configs {
        let name = config.name.clone();
        let pipe = pipe(config, shutdown.clone());
        running.spawn_local(async move { (name, pipe.await) });
    }
    let overdue = async {
        let mut asked = shutdown.clone();
        // The sender lives in this function: the wait ends only when it says so.
        let _ = asked.wait_for(|stop| *stop).await;
        tokio::time::sleep(patience).await;
    };
    tokio::pin!(overdue);
    let mut failure = None;
    loop {
        let ended = tokio::select! {
            ended = running.join_next() => ended,
            () = &mut overdue => {
                tracing::warn!(
                    "not everything was finished within task.shutdown.graceful.timeout.ms; \
                     the next start resumes at the last stored position"
                );
                break;
            }
        };
        let Some(ended) = ended else { break };
        let report = match ended {
            Ok((_, Ok(()))) => continue,
            Ok((name, Err(error))) => report(&name, error),
            Err(error) => Report::new(Exit::Internal, "a task was lost").with(error.to_string()),
        };
        stop.send_replace(true);
        match failure {
            None => failure = Some(report),
            Some(_) => report.log(),
        }
    }
    failure.map_or(Ok(()), Err)
}

/// A pipe's end as people read it.
pub fn report(connector: &str, error: pipe::Error) -> Report {
    let exit = match error.blame {
        Blame::Configuration => Exit::Configuration,
        Blame::Postgres => Exit::Postgres,
        Blame::Kafka => Exit::Kafka,
        Blame::Registry => Exit::Registry,
        Blame::Data => Exit::Data,
    };
    let mut report = Report::new(exit, format!("connector {connector}: {}", error.what));
    report.why.push(error.why);
    report.remedy = error.remedy;
    report
}
