//! Which PostgreSQL is meant: options, a URL, a connector's file, the environment as psql reads it.

use std::path::{Path, PathBuf};

use clap::Args;

use super::exit::{Exit, Report};
use crate::config::{Config, Properties, Source};

/// Options of every verb that opens a connection of its own.
#[derive(Debug, Clone, Default, Args)]
pub struct Address {
    /// PostgreSQL's address, or a URL as psql takes it, postgres://user@host:port/database; without
    /// it, $PGHOST and $PGPORT.
    #[arg(
        short = 'H',
        long,
        visible_alias = "host",
        value_name = "HOST[:PORT]|URL",
        conflicts_with = "socket"
    )]
    pub postgres: Option<String>,
    /// The port, where the address has none [env: PGPORT; else 5432].
    #[arg(short, long)]
    pub port: Option<u16>,
    /// The directory of PostgreSQL's Unix socket.
    #[arg(long, value_name = "DIR")]
    pub socket: Option<PathBuf>,
    /// The user [env: PGUSER; else the system's user].
    #[arg(short = 'U', long, visible_alias = "username")]
    pub user: Option<String>,
    /// The user's password [env: PGPASSWORD, where other users cannot read it; else from ~/.pgpass].
    #[arg(long)]
    pub password: Option<String>,
    /// The database [env: PGDATABASE; else named as the user].
    #[arg(short, long, visible_alias = "dbname")]
    pub database: Option<String>,
    /// A connector's file, whose database.* says what the options leave open.
    #[arg(long, value_name = "FILE")]
    pub connector: Option<PathBuf>,
}

/// Where PostgreSQL is and who we are there.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    /// A name or an address; with a `/` in front, the directory of a Unix socket.
    pub host: String,
    /// The port, of the socket's name too.
    pub port: u16,
    /// The user.
    pub user: String,
    /// The password. Never printed.
    pub password: Option<String>,
    /// The database.
    pub database: String,
    /// Other properties, `database.sslmode`.
    pub more: Properties,
}

/// Prints everything but the password.
impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            host,
            port,
            user,
            database,
            ..
        } = self;
        write!(f, "Server({user}@{host}:{port}/{database})")
    }
}

const PORT: u16 = 5432;
/// Where Debian's PostgreSQL, and so its psql, has the socket.
const SOCKETS: &str = "/var/run/postgresql";

impl Server {
    /// What the command line says; where it is silent, the connector's file; then what `env` says,
    /// as psql would read it.
    ///
    /// Errors: what is wrong with an address, a port or a file.
    pub fn find(address: &Address, env: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let env = |name| env(name).filter(|value| !value.is_empty());
        let file = match &address.connector {
            Some(path) => database_properties(path)?,
            None => Properties::new(),
        };
        let said = |name: &str| file.get(name).map(str::to_owned);
        let number = |name: &str, text: String| {
            let port = text.parse();
            port.map_err(|_| format!("{name}={text} is no port"))
        };
        let port = match (address.port, said("database.port"), env("PGPORT")) {
            (Some(port), _, _) => port,
            (None, Some(text), _) => number("database.port", text)?,
            (None, None, Some(text)) => number("PGPORT", text)?,
            (None, None, None) => PORT,
        };
        let url = match &address.postgres {
            Some(text) => Url::split(text)?,
            None => None,
        };
        let url = url.unwrap_or_default();
        let (host, port) = match (&address.postgres, &address.socket) {
            (Some(_), _) if url.host.is_some() => {
                split_address(url.host.as_deref().unwrap_or_default(), port)?
            }
            (Some(text), _) if !text.contains("://") => split_address(text, port)?,
            (_, Some(directory)) => {
                let directory =
                    std::path::absolute(directory).unwrap_or_else(|_| directory.clone());
                let found = address.port.or_else(|| socket_port(&directory));
                (directory.display().to_string(), found.unwrap_or(port))
            }
            _ => {
                let there = Path::new(SOCKETS).join(format!(".s.PGSQL.{port}"));
                let usual = if there.exists() { SOCKETS } else { "localhost" };
                let host = said("database.hostname").or_else(|| env("PGHOST"));
                (host.unwrap_or_else(|| usual.to_owned()), port)
            }
        };
        let user = address.user.clone().or(url.user);
        let user = user
            .or_else(|| said("database.user"))
            .or_else(|| env("PGUSER"));
        let user = user.or_else(|| env("USER")).or_else(|| env("LOGNAME"));
        let user = user.unwrap_or_else(|| "postgres".to_owned());
        let database = address.database.clone().or(url.database);
        let database = database
            .or_else(|| said("database.dbname"))
            .or_else(|| env("PGDATABASE"))
            .unwrap_or_else(|| user.clone());
        let password = address.password.clone().or(url.password);
        let password = password
            .or_else(|| said("database.password"))
            .or_else(|| env("PGPASSWORD"))
            .or_else(|| {
                let file = env("PGPASSFILE").map(PathBuf::from);
                let file = file.or_else(|| Some(PathBuf::from(env("HOME")?).join(".pgpass")))?;
                let text = std::fs::read_to_string(file).ok()?;
                kept_password(&text, [&host, &port.to_string(), &database, &user])
            });
        let mut more = Properties::new();
        let ssl = url.ssl_mode.or_else(|| env("PGSSLMODE"));
        for (name, value) in file.iter() {
            let own = ["hostname", "port", "user", "password", "dbname"];
            if !own
                .iter()
                .any(|own| name.strip_prefix("database.") == Some(*own))
            {
                more.insert(name, value);
            }
        }
        if let Some(mode) = ssl {
            more.insert("database.sslmode", mode);
        }
        Ok(Self {
            host,
            port,
            user,
            password,
            database,
            more,
        })
    }

    /// `db.example.org:5432`, `/run/postgresql:5432`
    #[must_use]
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The `database.*` of a connector's file that means this server, the password among them.
    #[must_use]
    pub fn properties(&self) -> Properties {
        let mut properties = self.more.clone();
        properties.insert("database.hostname", self.host.as_str());
        properties.insert("database.port", self.port.to_string());
        properties.insert("database.user", self.user.as_str());
        properties.insert("database.dbname", self.database.as_str());
        if let Some(password) = &self.password {
            properties.insert("database.password", password.as_str());
        }
        properties
    }

    /// How the server is connected to.
    ///
    /// Errors: what of `database.*` is wrong.
    pub fn source(&self) -> Result<Source, Report> {
        let mut worker = Properties::new();
        // What a connector must have, and a connection does not need.
        worker.insert("bootstrap.servers", "none:9092");
        for side in ["key", "value"] {
            let converter = "org.apache.kafka.connect.json.JsonConverter";
            worker.insert(format!("{side}.converter"), converter);
        }
        let mut connector = self.properties();
        connector.insert("name", "none");
        connector.insert("topic.prefix", "none");
        let class = "io.debezium.connector.postgresql.PostgresConnector";
        connector.insert("connector.class", class);
        match Config::load(&worker, &connector) {
            Ok((config, _)) => Ok(config.source),
            Err(problems) => {
                let what = format!("PostgreSQL at {} is not described well", self.address());
                let mut report = Report::new(Exit::Configuration, what);
                report.why = problems.iter().map(ToString::to_string).collect();
                Err(report)
            }
        }
    }
}

/// The `database.*` of a connector's file.
fn database_properties(path: &Path) -> Result<Properties, String> {
    let failed = |why: String| format!("--connector {}: {why}", path.display());
    let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let read = Properties::parse_connector(&bytes);
    let read = read.map_err(|error| failed(error.to_string()))?;
    let mut kept = Properties::new();
    for (name, value) in read.iter() {
        if name.starts_with("database.") && name != "database.server.name" {
            kept.insert(name, value);
        }
    }
    Ok(kept)
}

/// What a URL of libpq's names.
#[derive(Debug, Default, PartialEq, Eq)]
struct Url {
    host: Option<String>,
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
    ssl_mode: Option<String>,
}

impl Url {
    /// None: the text is no URL, but an address.
    ///
    ///   postgres://[user[:password]@][host[:port]][/database][?sslmode=mode]
    fn split(text: &str) -> Result<Option<Self>, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(None);
        };
        if !["postgres", "postgresql"].contains(&scheme) {
            return Err(format!("{scheme}:// is no URL of a PostgreSQL"));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let plain = |text: &str| {
            let plain = unescaped(text).ok_or("a % in the URL is not followed by two digits")?;
            Ok::<_, String>(Some(plain).filter(|text| !text.is_empty()))
        };
        let mut url = Self {
            host: plain(host)?,
            user: plain(user)?,
            password: plain(password)?,
            database: plain(database)?,
            ssl_mode: None,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "sslmode" => url.ssl_mode = plain(value)?,
                "host" => url.host = plain(value)?,
                "user" => url.user = plain(value)?,
                "password" => url.password = plain(value)?,
                "dbname" => url.database = plain(value)?,
                _ => return Err(format!("the URL's {name} is not known here")),
            }
        }
        Ok(Some(url))
    }
}

/// Without percent signs.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let high = char::from(rest.next()?).to_digit(16)?;
        let low = char::from(rest.next()?).to_digit(16)?;
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// The password that a .pgpass has for host, port, database and user: of the first line that fits.
fn kept_password(text: &str, wanted: [&str; 4]) -> Option<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut fitting = lines.filter_map(|line| {
        let mut fields = vec![String::new()];
        let mut letters = line.chars();
        while let Some(letter) = letters.next() {
            match letter {
                ':' if fields.len() < 5 => fields.push(String::new()),
                '\\' => fields.last_mut()?.extend(letters.next()),
                _ => fields.last_mut()?.push(letter),
            }
        }
        let password = fields.get(4)?.clone();
        let mut pairs = fields.iter().zip(wanted);
        pairs
            .all(|(field, wanted)| {
                // A socket's directory is kept as localhost.
                let local = wanted.starts_with('/') && field == "localhost";
                field == "*" || field == wanted || local
            })
            .then_some(password)
    });
    fitting.next()
}

/// `host`, `host:port`, `[::1]:port`; a `/` in front is the directory of a Unix socket.
fn split_address(address: &str, usual: u16) -> Result<(String, u16), String> {
    let (host, port) = match address
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').unwrap_or(rest))),
        None => match address.rsplit_once(':') {
            // More than one colon: an IPv6 address by itself.
            Some((host, port)) if !host.contains(':') => (host, Some(port)),
            _ => (address, None),
        },
    };
    let port = match port {
        None => usual,
        Some(port) => port
            .parse()
            .map_err(|_| format!("--postgres {address}: no port"))?,
    };
    if host.is_empty() {
        return Err(format!("--postgres {address}: no host"));
    }
    Ok((host.to_owned(), port))
}

/// The port in the name of a directory's one socket, `.s.PGSQL.5433`.
fn socket_port(directory: &Path) -> Option<u16> {
    let names = std::fs::read_dir(directory)
        .ok()?
        .flatten()
        .map(|entry| entry.file_name());
    let mut ports = names.filter_map(|name| name.to_str()?.strip_prefix(".s.PGSQL.")?.parse().ok());
    let port = ports.next()?;
    ports.next().is_none().then_some(port)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        address: Address,
    }

    fn found(line: &str, env: &[(&str, &str)]) -> Result<Server, String> {
        let words = std::iter::once("load").chain(line.split_whitespace());
        let address = Line::try_parse_from(words).unwrap().address;
        let env = |name: &str| {
            let entry = env.iter().find(|(known, _)| *known == name);
            entry.map(|(_, value)| (*value).to_owned())
        };
        Server::find(&address, env)
    }

    fn server(host: &str, port: u16, user: &str, password: Option<&str>, database: &str) -> Server {
        Server {
            host: host.to_owned(),
            port,
            user: user.to_owned(),
            password: password.map(str::to_owned),
            database: database.to_owned(),
            more: Properties::new(),
        }
    }

    #[test]
    fn the_command_line_wins_over_the_environment() {
        let env = [
            ("PGHOST", "db"),
            ("PGPORT", "5433"),
            ("PGUSER", "ana"),
            ("PGPASSWORD", "secret"),
            ("PGDATABASE", "bikes"),
        ];
        let all = server("db", 5433, "ana", Some("secret"), "bikes");
        assert_eq!(found("", &env), Ok(all));
        let line = "--postgres other:5434 --user rui --password x --database shop";
        let other = server("other", 5434, "rui", Some("x"), "shop");
        assert_eq!(found(line, &env), Ok(other.clone()));
        let short = "-H other -p 5434 -U rui --password x -d shop";
        assert_eq!(found(short, &env), Ok(other));
        let bare = found("--postgres h", &[("USER", "me")]);
        assert_eq!(bare, Ok(server("h", 5432, "me", None, "me")));
        assert!(found("", &[("PGPORT", "many")]).is_err());
        assert!(found("--postgres h:many", &[]).is_err());
    }

    #[test]
    fn a_url_says_it_all() {
        let line = "--postgres postgresql://r%40i:p%3Aw@[::1]:5439/shop?sslmode=disable";
        let mut all = server("::1", 5439, "r@i", Some("p:w"), "shop");
        all.more.insert("database.sslmode", "disable");
        assert_eq!(found(line, &[("PGHOST", "db")]), Ok(all));
        let host = found("--host postgres://h/shop", &[("PGUSER", "ana")]);
        assert_eq!(host, Ok(server("h", 5432, "ana", None, "shop")));
        for wrong in ["mysql://h/d", "postgres://h/%zz", "postgres://h/d?x=1"] {
            assert!(
                found(&format!("--postgres {wrong}"), &[]).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_connectors_file_fills_what_is_open() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.properties");
        let text = "name=x\ndatabase.hostname=db\ndatabase.user=ana\ndatabase.password=hush\n\
                    database.dbname=bikes\ndatabase.sslmode=disable\ntopic.prefix=t\n";
        std::fs::write(&path, text).unwrap();
        let line = format!("--connector {} -U rui", path.display());
        let found = found(&line, &[("PGHOST", "other")]).unwrap();
        let mut all = server("db", 5432, "rui", Some("hush"), "bikes");
        all.more.insert("database.sslmode", "disable");
        assert_eq!(found, all);
        assert_eq!(found.source().unwrap().database, "bikes");
        assert!(!format!("{found:?}").contains("hush"));
    }

    #[test]
    fn passwords_are_kept_as_libpq_keeps_them() {
        let text = "# host:port:database:user:password\ndb:5432:*:ana:a\\:b\n*:*:*:rui:c\n";
        let kept = |wanted| kept_password(text, wanted);
        assert_eq!(kept(["db", "5432", "x", "ana"]), Some("a:b".to_owned()));
        assert_eq!(kept(["db", "5433", "x", "ana"]), None);
        assert_eq!(kept(["/run", "1", "x", "rui"]), Some("c".to_owned()));
    }

    #[test]
    fn addresses_may_be_of_either_family() {
        let split = |address| {
            let split = split_address(address, PORT);
            split.map(|(host, port)| format!("{host} {port}"))
        };
        assert_eq!(split("[::1]:5433").unwrap(), "::1 5433");
        assert_eq!(split("[::1]").unwrap(), "::1 5432");
        assert_eq!(split("::1").unwrap(), "::1 5432");
        assert_eq!(split("10.0.0.1:1").unwrap(), "10.0.0.1 1");
        assert!(split(":5432").is_err());
    }

    #[test]
    fn a_socket_says_its_port() {
        let directory = tempfile::tempdir().unwrap();
        let line = format!("--socket {}", directory.path().display());
        let port = |env| found(&line, env).unwrap().port;
        assert_eq!(port(&[("PGPORT", "7")]), 7);
        for name in [".s.PGSQL.5999", ".s.PGSQL.5999.lock"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        assert_eq!(port(&[("PGPORT", "7")]), 5999);
        std::fs::write(directory.path().join(".s.PGSQL.6000"), "").unwrap();
        assert_eq!(port(&[("PGPORT", "7")]), 7);
    }
}
