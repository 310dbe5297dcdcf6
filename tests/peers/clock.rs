//! A wall clock that can be set, for processes that are started with its environment: libfaketime
//! stands between them and the system's. Monotonic clocks go on as they do.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{cache, install, nursery};

/// A clock. It shows the system's time until it is told otherwise.
#[derive(Debug)]
pub struct Clock {
    directory: PathBuf,
}

impl Clock {
    /// A clock that is right.
    ///
    /// Panics when libfaketime cannot be had.
    #[must_use]
    pub fn right() -> Self {
        let clock = Self {
            directory: nursery::directory("clock"),
        };
        clock.set(0);
        clock
    }

    /// Sets it so many seconds before or behind the system's.
    ///
    /// Panics when it cannot be told.
    pub fn set(&self, seconds: i64) {
        // In one step: a reader must not see half of it.
        let next = self.directory.join("next");
        fs::write(&next, format!("{seconds:+}")).expect("our own directory");
        fs::rename(next, self.file()).expect("our own directory");
    }

    /// What a process needs to go by it.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let pairs = [
            ("LD_PRELOAD", library().display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value)).into()
    }

    fn file(&self) -> PathBuf {
        self.directory.join("offset")
    }
}

fn library() -> PathBuf {
    let found = |root: &Path| -> Option<PathBuf> {
        let libraries = fs::read_dir(root.join("usr/lib")).ok()?;
        let mut libraries = libraries.flatten();
        // Of threads: all of our processes have some.
        libraries.find_map(|architecture| {
            let path = architecture.path().join("faketime/libfaketimeMT.so.1");
            path.exists().then_some(path)
        })
    };
    let own = cache().join("faketime");
    if found(&own).is_none() {
        install("faketime");
    }
    found(&own).expect("install.sh brought it")
}
