//! TLS on every side at once, on real servers: PostgreSQL that wants a client certificate, Kafka
//! with SCRAM behind TLS and client certificates, a registry by https; and what is said when a
//! certificate is not to be trusted.

use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use tests::certificates::Certificates;
use tests::judge::{self, Format};
use tests::kafka::{self, Kafka};
use tests::penstock::Penstock;
use tests::postgres::{Database, Postgres, SUPERUSER, Version};
use tests::registry::Registry;
use tests::{Properties, files};

const SOON: Duration = Duration::from_secs(60);

/// Exit codes, by whom the failure is blamed on.
const POSTGRES: i32 = 4;
const KAFKA: i32 = 5;
const REGISTRY: i32 = 6;

struct Servers {
    certificates: Certificates,
    postgres: Postgres,
    kafka: Kafka,
    registry: Registry,
}

/// All three, for every test here.
fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let certificates = Certificates::new(SUPERUSER.0);
        let file = |name: &str| certificates.path(name);
        let access = file("pg_hba.conf");
        fs::write(
            &access,
            "local all all trust\n\
             hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca\n\
             hostssl replication all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca\n",
        )
        .expect("our own directory");
        let postgres = Postgres::start_with(
            Version::Debian,
            &[
                ("ssl", "on"),
                ("ssl_cert_file", &file("server.pem")),
                ("ssl_key_file", &file("server.key")),
                ("ssl_ca_file", &file("ca.pem")),
                ("hba_file", &access),
            ],
        );
        let kafka = Kafka::start_with(
            kafka::NEWEST,
            &[
                (
                    "listeners",
                    "PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},\
                     SASL_SSL://127.0.0.1:{second}",
                ),
                (
                    "advertised.listeners",
                    "PLAINTEXT://127.0.0.1:{port},SASL_SSL://127.0.0.1:{second}",
                ),
                ("inter.broker.listener.name", "PLAINTEXT"),
                ("sasl.enabled.mechanisms", "SCRAM-SHA-512"),
                (
                    "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config",
                    "org.apache.kafka.common.security.scram.ScramLoginModule required;",
                ),
                ("ssl.keystore.type", "PEM"),
                ("ssl.keystore.location", &file("server.both")),
                ("ssl.truststore.type", "PEM"),
                ("ssl.truststore.location", &file("ca.pem")),
                ("ssl.client.auth", "required"),
            ],
        );
        let password = "SCRAM-SHA-512=[password=s3cret]";
        kafka
            .java()
            .run(
                "kafka.admin.ConfigCommand",
                &[
                    "--alter",
                    "--add-config",
                    password,
                    "--entity-type",
                    "users",
                    "--entity-name",
                    "penstock",
                ],
                "",
            )
            .unwrap_or_else(|error| panic!("{error}"));
        let registry = Registry::start_secured(&certificates);
        Servers {
            certificates,
            postgres,
            kafka,
            registry,
        }
    })
}

/// A worker of Avro, everything by TLS with a client certificate.
fn worker(servers: &Servers) -> Properties {
    let converter = "io.confluent.connect.avro.AvroConverter";
    let tls = |worker: Properties, prefix: &str| {
        worker
            .with(&format!("{prefix}ssl.truststore.type"), "PEM")
            .with(
                &format!("{prefix}ssl.truststore.location"),
                servers.certificates.path("ca.pem"),
            )
            .with(&format!("{prefix}ssl.keystore.type"), "PEM")
            .with(
                &format!("{prefix}ssl.keystore.location"),
                servers.certificates.path("client.both"),
            )
    };
    let mut worker = Properties::default()
        .with("bootstrap.servers", servers.kafka.second_bootstrap())
        .with("offset.storage.topic", "positions")
        .with("offset.flush.interval.ms", 500);
    for side in ["key", "value"] {
        let prefix = format!("{side}.converter.schema.registry.");
        worker = worker
            .with(&format!("{side}.converter"), converter)
            .with(&format!("{prefix}url"), servers.registry.secured_url());
        worker = tls(worker, &prefix);
    }
    for prefix in ["", "producer."] {
        worker = tls(worker, prefix)
            .with(&format!("{prefix}security.protocol"), "SASL_SSL")
            .with(&format!("{prefix}sasl.mechanism"), "SCRAM-SHA-512")
            .with(
                &format!("{prefix}sasl.jaas.config"),
                "org.apache.kafka.common.security.scram.ScramLoginModule required \
                 username=\"penstock\" password=\"s3cret\";",
            );
    }
    worker
}

fn connector(servers: &Servers, database: &Database<'_>) -> Properties {
    files::bare_connector(database, "public.t")
        .with("database.sslmode", "verify-full")
        .with("database.sslrootcert", servers.certificates.path("ca.pem"))
        .with("database.sslcert", servers.certificates.path("client.pem"))
        .with("database.sslkey", servers.certificates.path("client.key"))
}

fn table(servers: &'static Servers, name: &str) -> Database<'static> {
    let database = servers.postgres.database(name);
    database.query("CREATE TABLE t (id int PRIMARY KEY, name text)");
    database.query("INSERT INTO t VALUES (1, 'copied')");
    database
}

#[test]
fn everything_by_tls() {
    let servers = servers();
    let database = table(servers, "tls");
    let mut pipe = Penstock::standalone(&worker(servers), &[&connector(servers, &database)]);
    let read = |count| {
        let avro = Format::Avro(servers.registry.url());
        let topic = format!(r"{}\.public\.t", database.name);
        judge::try_read(&servers.kafka.bootstrap(), &topic, avro, count, SOON)
            .unwrap_or_else(|error| panic!("{error}\n{}", pipe.log()))
    };
    read(1);
    database.query("INSERT INTO t VALUES (2, 'streamed')");
    let records = read(2);
    let seen: Vec<_> = records
        .iter()
        .map(|record| (record.op(), record.after()["name"].as_str()))
        .collect();
    let wanted = [(Some("r"), Some("copied")), (Some("c"), Some("streamed"))];
    assert_eq!(seen, wanted);
    let encrypted = database.query(
        "SELECT DISTINCT s.ssl FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)
          WHERE a.backend_type = 'walsender'",
    );
    assert_eq!(encrypted, "t");
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
}

/// The certificates and the key themselves stand in the worker's file, on one line each.
#[test]
fn certificates_in_the_file_itself() {
    let servers = servers();
    let database = table(servers, "inline");
    let text = |name: &str| {
        let text = std::fs::read_to_string(servers.certificates.path(name)).expect("a file");
        text.trim().replace('\n', "\\n")
    };
    let prefixes = [
        "",
        "producer.",
        "key.converter.schema.registry.",
        "value.converter.schema.registry.",
    ];
    let worker = prefixes.iter().fold(worker(servers), |worker, prefix| {
        worker
            .without(&format!("{prefix}ssl.truststore.location"))
            .without(&format!("{prefix}ssl.keystore.location"))
            .with(
                &format!("{prefix}ssl.truststore.certificates"),
                text("ca.pem"),
            )
            .with(
                &format!("{prefix}ssl.keystore.certificate.chain"),
                text("client.pem"),
            )
            .with(&format!("{prefix}ssl.keystore.key"), text("client.key"))
    });
    let mut pipe = Penstock::standalone(&worker, &[&connector(servers, &database)]);
    let avro = Format::Avro(servers.registry.url());
    let topic = format!(r"{}\.public\.t", database.name);
    judge::try_read(&servers.kafka.bootstrap(), &topic, avro, 1, SOON)
        .unwrap_or_else(|error| panic!("{error}\n{}", pipe.log()));
    assert_eq!(pipe.terminate(), 0, "{}", pipe.log());
}

/// Ends with an error of this code and these words; never with the passwords.
fn refused(worker: &Properties, connector: &Properties, code: i32, words: &[&str]) {
    let mut pipe = Penstock::standalone(worker, &[connector]);
    let (ended, log) = pipe.wait(SOON);
    assert_eq!(ended, code, "{log}");
    for word in words {
        assert!(log.contains(word), "'{word}' is not in\n{log}");
    }
    assert!(!log.contains("s3cret"), "{log}");
}

#[test]
fn a_stranger_signed_the_database() {
    let servers = servers();
    let database = table(servers, "stranger");
    let other = Certificates::new("nobody");
    let connector =
        connector(servers, &database).with("database.sslrootcert", other.path("ca.pem"));
    let words = ["database.sslrootcert", "not trusted"];
    refused(&worker(servers), &connector, POSTGRES, &words);
}

#[test]
fn the_database_has_another_name() {
    let servers = servers();
    let database = table(servers, "renamed");
    let connector = connector(servers, &database).with("database.hostname", "localhost");
    refused(
        &worker(servers),
        &connector,
        POSTGRES,
        &["localhost", "database.sslmode"],
    );
}

#[test]
fn the_database_wants_a_certificate() {
    let servers = servers();
    let database = table(servers, "bare");
    let connector = connector(servers, &database)
        .without("database.sslcert")
        .without("database.sslkey");
    refused(
        &worker(servers),
        &connector,
        POSTGRES,
        &["certificate", "database.sslcert"],
    );
}

#[test]
fn the_database_wants_tls() {
    let servers = servers();
    let database = table(servers, "plain");
    let connector = connector(servers, &database).with("database.sslmode", "disable");
    refused(
        &worker(servers),
        &connector,
        POSTGRES,
        &["28000", "database.sslmode"],
    );
}

#[test]
fn a_stranger_signed_the_broker() {
    let servers = servers();
    let database = table(servers, "broker");
    let other = Certificates::new("nobody");
    let worker =
        ["", "producer.", "consumer.", "admin."]
            .iter()
            .fold(worker(servers), |worker, prefix| {
                let name = format!("{prefix}ssl.truststore.location");
                worker.with(&name, other.path("ca.pem"))
            });
    let words = ["ssl.truststore.location", "not trusted"];
    refused(&worker, &connector(servers, &database), KAFKA, &words);
}

#[test]
fn a_stranger_signed_the_registry() {
    let servers = servers();
    let database = table(servers, "registry");
    let other = Certificates::new("nobody");
    let worker = ["key", "value"]
        .iter()
        .fold(worker(servers), |worker, side| {
            let name = format!("{side}.converter.schema.registry.ssl.truststore.location");
            worker.with(&name, other.path("ca.pem"))
        });
    let words = ["schema.registry.ssl.truststore.location", "not trusted"];
    refused(&worker, &connector(servers, &database), REGISTRY, &words);
}
