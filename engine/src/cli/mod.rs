//! The command line: a file per verb, and what all of them share.
//!
//! A verb's file has its `Arguments` and a `run` that returns a [`Report`] when it fails; what is
//! printed, and the code that the process ends with, is decided here and in [`exit`].

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

pub mod bench;
pub mod check;
pub mod demo;
pub mod exit;
pub mod latency;
pub mod load;
pub mod proc;
pub mod server;
pub mod signal;
pub mod standalone;

use exit::{Exit, Report};

/// PostgreSQL to Kafka, event for event as Debezium writes it.
#[derive(Debug, Parser)]
#[command(
    name = "penstock",
    version,
    long_version = long_version(),
    after_help = exit::HELP,
    max_term_width = 100,
    disable_help_subcommand = true,
    long_about = "PostgreSQL to Kafka, event for event as Debezium writes it.\n\n\
        One process does what Kafka Connect, Debezium's PostgreSQL connector and the converters do \
        together: it copies tables, then follows the replication slot, and writes keys and values \
        as JSON or Avro. It takes the .properties files you have."
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    log: LogArguments,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Standalone(standalone::Arguments),
    Check(check::Arguments),
    Demo(Box<demo::Arguments>),
    Load(Box<load::Arguments>),
    Bench(Box<bench::Arguments>),
}

/// Options of every verb.
#[derive(Debug, Args)]
struct LogArguments {
    /// How the log on stderr is written.
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or as in RUST_LOG, which holds otherwise.
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line, for machines.
    Json,
}

/// Runs the binary with the process's arguments; its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(answer) => {
            // A closed stream is no reason to fail: `penstock --help | head -1`.
            let _ = answer.print();
            return if answer.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            }
            .into();
        }
    };
    let format = arguments.log.log_format;
    // A screen of its own says what goes well.
    let usual = match arguments.verb {
        Verb::Demo(_) | Verb::Load(_) | Verb::Bench(_) => "warn",
        Verb::Standalone(_) | Verb::Check(_) => "info",
    };
    if let Err(report) = start_log(&arguments.log, usual) {
        return fail(&report, format);
    }
    report_broken_invariants(format);
    let result = match arguments.verb {
        Verb::Standalone(verb) => in_runtime(standalone::run(&verb)),
        Verb::Check(verb) => check::run(&verb),
        Verb::Demo(verb) => in_runtime(demo::run(&verb)),
        Verb::Load(verb) => in_runtime(load::run(&verb)),
        Verb::Bench(verb) => in_runtime(bench::run(&verb)),
    };
    match result {
        Ok(()) => Exit::Done.into(),
        Err(report) => fail(&report, format),
    }
}

/// One thread: a pipe waits for sockets, and is never worth a second one.
fn in_runtime(verb: impl Future<Output = Result<(), Report>>) -> Result<(), Report> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| {
        Report::new(Exit::Internal, "cannot start")
            .because("the system gives no event queue", error)
    })?;
    let local = tokio::task::LocalSet::new();
    let result = runtime.block_on(local.run_until(verb));
    // What still runs was told to stop, and had its time.
    runtime.shutdown_background();
    result
}

fn fail(report: &Report, format: LogFormat) -> ExitCode {
    match format {
        LogFormat::Text => {
            let _ = write!(std::io::stderr().lock(), "{report}");
        }
        LogFormat::Json => report.log(),
    }
    report.exit.into()
}

fn start_log(arguments: &LogArguments, usual: &str) -> Result<(), Report> {
    let filter = match &arguments.log_level {
        Some(level) => EnvFilter::try_new(level).map_err(|error| {
            Report::new(Exit::Usage, format!("--log-level {level}"))
                .because("it is no level", error)
        })?,
        None => EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual)),
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| demo::screen::Log)
        .with_target(false);
    // A second start, by a test in one process, keeps the first log.
    let _ = match arguments.log_format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    Ok(())
}

/// A bug of ours ends the process with a line that can be sent to us, and no stack trace.
fn report_broken_invariants(format: LogFormat) {
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("no message");
        let report = Report::new(Exit::Internal, "a broken invariant")
            .with(format!(
                "{message} ({place}, penstock {})",
                env!("CARGO_PKG_VERSION")
            ))
            .remedy("this is a bug: please report this line; starting again resumes where it was");
        let code = report.exit as i32;
        let _ = fail(&report, format);
        std::process::exit(code);
    }));
}

fn long_version() -> &'static str {
    concat!(
        env!("CARGO_PKG_VERSION"),
        "\nrecords as of   Debezium 3.6.3\n",
        "reads from      PostgreSQL 12 to 18, pgoutput\n",
        "writes to       Apache Kafka 2.5 to 4.x, Confluent's schema registry"
    )
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_of_the_log_stand_anywhere() {
        let arguments = ["penstock", "check", "w", "c", "--log-format", "json"];
        let arguments = Arguments::try_parse_from(arguments).unwrap();
        assert_eq!(arguments.log.log_format, LogFormat::Json);
        assert!(Arguments::try_parse_from(["penstock", "standalone", "w"]).is_err());
    }
}
