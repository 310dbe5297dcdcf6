//! `penstock check`: what is wrong with the files, or what they mean.

use std::io::Write as _;
use std::path::Path;

use clap::Args;

use super::exit::Report;
use super::standalone::{self, Files};
use crate::config::{Config, Inspection};

/// Check the files of a worker and its connectors, and print the configuration in force.
///
/// Warnings go to stderr. The configuration goes to stdout as .properties text: what the files say
/// as it is, defaults behind a `#`, secrets hidden.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    files: Files,
    /// Leave out what the files do not set.
    #[arg(long)]
    given: bool,
}

/// Reads the files and prints what they mean.
///
/// # Errors
///
/// Every problem of every file.
pub fn run(arguments: &Arguments) -> Result<(), Report> {
    let read = standalone::read(&arguments.files)?;
    let mut out = std::io::stdout().lock();
    for (path, inspection, _) in &read {
        // A closed stream is no reason to fail: `penstock check … | head`.
        let _ = out.write_all(printed(path, inspection, arguments.given).as_bytes());
    }
    let pipes: Vec<(&Path, &Config)> = read
        .iter()
        .map(|(path, _, config)| (path.as_path(), config))
        .collect();
    standalone::together(&pipes)
}

fn printed(path: &Path, inspection: &Inspection, only_given: bool) -> String {
    let mut text = format!("# {}\n", path.display());
    let mut section = "";
    for setting in &inspection.settings {
        if only_given && setting.file.is_none() {
            continue;
        }
        if setting.section != section {
            section = setting.section;
            text.push_str(&format!("\n# -- {section}\n"));
        }
        let hash = if setting.file.is_some() { "" } else { "#" };
        let value = setting.value.as_deref().unwrap_or_default();
        text.push_str(&format!(
            "{hash}{}={}\n",
            setting.name,
            value.replace('\n', "\\n")
        ));
    }
    text.push('\n');
    text
}
