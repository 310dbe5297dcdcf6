//! A schema registry in memory that can be told to fail (`tests/judges/registry.py`).

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};

use crate::certificates::Certificates;
use crate::judge::interpreter;
use crate::nursery::Running;
use crate::{eventually, free_ports};

/// A registry with a port of its own. Dropped, it ends.
#[derive(Debug)]
pub struct Registry {
    url: String,
    port: u16,
    /// Certificate, key and authority of its TLS, on the next port.
    secured: Option<[String; 3]>,
    running: Mutex<Option<Running>>,
}

impl Registry {
    /// Starts an empty registry.
    ///
    /// Panics when it does not answer within 20 s.
    #[must_use]
    pub fn start() -> Self {
        Self::start_as(None)
    }

    /// Starts an empty registry that speaks TLS as well, to clients with a certificate.
    ///
    /// Panics when it does not answer within 20 s.
    #[must_use]
    pub fn start_secured(certificates: &Certificates) -> Self {
        let files = ["server.pem", "server.key", "ca.pem"];
        Self::start_as(Some(files.map(|name| certificates.path(name))))
    }

    fn start_as(secured: Option<[String; 3]>) -> Self {
        let port = free_ports(2);
        let registry = Self {
            url: format!("http://127.0.0.1:{port}"),
            port,
            secured,
            running: Mutex::new(None),
        };
        registry.launch();
        registry
    }

    /// One registry for the whole process.
    #[must_use]
    pub fn shared() -> &'static Self {
        static REGISTRY: OnceLock<Registry> = OnceLock::new();
        REGISTRY.get_or_init(Self::start)
    }

    /// What `schema.registry.url` says.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same by TLS, for one that was started with it.
    #[must_use]
    pub fn secured_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port + 1)
    }

    /// Ends the process: nobody listens any more.
    pub fn stop(&self) {
        self.running.lock().expect("no panic under it").take();
    }

    /// Starts again after [`Self::stop`], empty.
    ///
    /// Panics when it does not answer within 20 s.
    pub fn launch(&self) {
        let mut command = interpreter("registry.py");
        command.arg(self.port.to_string());
        command.args(self.secured.iter().flatten());
        let running = Running::spawn(&mut command, "KILL");
        *self.running.lock().expect("no panic under it") = Some(running);
        eventually("the registry answers", Duration::from_secs(20), || {
            self.ask("GET", "/subjects", "")
        });
    }

    /// Answers the next `times` registrations (-1: all) of subjects that contain `subject` with
    /// this status and error code.
    ///
    /// Panics when it cannot be told.
    pub fn fail(&self, subject: &str, status: u16, error_code: u32, message: &str, times: i32) {
        let fault = json!({
            "subject": subject, "status": status, "error_code": error_code, "message": message,
            "times": times,
        });
        self.ask("PUT", "/faults", &fault.to_string())
            .expect("it takes faults");
    }

    /// Registers a schema by hand, as the subject's next version.
    ///
    /// Panics when it cannot be told.
    pub fn register(&self, subject: &str, schema: &str) {
        let body = json!({ "schema": schema }).to_string();
        self.ask("POST", &format!("/subjects/{subject}/versions"), &body)
            .expect("it takes schemas");
    }

    /// The text of a subject's latest version.
    ///
    /// Panics when it does not answer.
    #[must_use]
    pub fn latest(&self, subject: &str) -> String {
        let path = format!("/subjects/{subject}/versions/latest");
        let answer = self.ask("GET", &path, "").expect("it answers");
        answer["schema"].as_str().unwrap_or("unknown").to_owned()
    }

    /// The subjects that were registered.
    ///
    /// Panics when it does not answer.
    #[must_use]
    pub fn subjects(&self) -> Vec<String> {
        let answer = self.ask("GET", "/subjects", "").expect("it answers");
        answer
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|name| Some(name.as_str()?.to_owned()))
            .collect()
    }

    /// The text of the schema with this id.
    ///
    /// Panics when it does not answer.
    #[must_use]
    pub fn schema(&self, id: u64) -> String {
        let answer = self
            .ask("GET", &format!("/schemas/ids/{id}"), "")
            .expect("it answers");
        answer["schema"].as_str().unwrap_or("unknown").to_owned()
    }

    /// How many versions a subject has.
    ///
    /// Panics when it does not answer, or does not know the subject.
    #[must_use]
    pub fn versions(&self, subject: &str) -> usize {
        let answer = self.ask("GET", &format!("/subjects/{subject}/versions"), "");
        let answer = answer.expect("it answers");
        answer
            .as_array()
            .unwrap_or_else(|| panic!("{subject}: {answer}"))
            .len()
    }

    /// How many requests `METHOD path` has had.
    ///
    /// Panics when it does not answer.
    #[must_use]
    pub fn calls(&self, request: &str) -> u64 {
        self.ask("GET", "/calls", "").expect("it answers")[request]
            .as_u64()
            .unwrap_or(0)
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Result<Value, String> {
        let attempt = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            write!(
                stream,
                "{method} {path} HTTP/1.1\r\nHost: registry\r\nConnection: close\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            )?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = attempt().map_err(|error| error.to_string())?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).map_err(|error| format!("{error}: {answer}"))
    }
}
