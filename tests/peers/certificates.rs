//! Certificates of one test's own, made by openssl: an authority, a server and a client.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::nursery;
use crate::postgres::owner;

/// An authority and what it signed, as PEM files.
#[derive(Debug)]
pub struct Certificates {
    directory: PathBuf,
}

impl Certificates {
    /// Makes an authority, a server certificate for the address 127.0.0.1 (no host name), and a
    /// client certificate for `client`.
    ///
    /// Panics when openssl fails.
    #[must_use]
    pub fn new(client: &str) -> Self {
        let directory = nursery::directory("certificates");
        fs::write(
            directory.join("server.ext"),
            "subjectAltName=IP:127.0.0.1\n",
        )
        .expect("our own directory");
        let made = Self { directory };
        made.openssl(
            "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key \
             -out ca.pem -addext basicConstraints=critical,CA:TRUE",
        );
        made.signed("server", "127.0.0.1", "-extfile server.ext");
        made.signed("client", client, "");
        // PostgreSQL wants its key for itself.
        let key = made.file("server.key");
        fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("our own file");
        if let Some((user, group)) = owner() {
            chown(&key, Some(user), Some(group)).expect("root may");
        }
        made
    }

    /// `ca.pem`, `server.pem`, `server.key` (for PostgreSQL's user only), `client.pem`,
    /// `client.key`, and key and certificate in one, as Kafka reads them: `server.both`,
    /// `client.both`.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Its text.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }

    fn signed(&self, name: &str, subject: &str, more: &str) {
        self.openssl(&format!(
            "req -newkey rsa:2048 -nodes -subj /CN={subject} -keyout {name}.key -out {name}.csr"
        ));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
             -out {name}.pem {more}"
        ));
        let read = |path: &Path| fs::read_to_string(path).expect("openssl wrote it");
        let both = read(&self.file(&format!("{name}.key")))
            + &read(&self.file(&format!("{name}.pem")))
            + &read(&self.file("ca.pem"));
        fs::write(self.file(&format!("{name}.both")), both).expect("our own directory");
    }

    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(&self.directory)
            .output()
            .expect("openssl runs");
        assert!(
            output.status.success(),
            "openssl {arguments}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
