//! The embedded broker as strangers meet it: librdkafka's and the Java client's transactions and
//! groups, and its own second start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use engine::local::broker::{Broker, BrokerOptions};
use tests::judge::{self, Format};
use tests::kafka::{self, Java};

const SOON: Duration = Duration::from_secs(60);

#[test]
fn clients_do_with_it_what_they_do_with_kafka() {
    let data = tempfile::tempdir().expect("a directory");
    let broker = Running::start(([127, 0, 0, 1], 0).into(), data.path().to_owned());
    let (address, bootstrap) = (broker.address, broker.address.to_string());
    judge::exercise(&bootstrap);

    // The Java client, in transactions of 50 ms, then in a group that reads what is committed.
    let java = Java::new(kafka::NEWEST, &bootstrap);
    let arguments = [
        ["--topic", "java", "--num-records", "5000"],
        ["--record-size", "100", "--throughput", "-1"],
        ["--transactional-id", "j", "--transaction-duration-ms", "50"],
    ];
    java.run(
        "org.apache.kafka.tools.ProducerPerformance",
        &arguments.concat(),
        "",
    )
    .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(java.consume("java", 5000).len(), 5000);

    // It ends, and another goes on where it was.
    broker.shutdown();
    let broker = Running::start(address, data.path().to_owned());
    let records = judge::read(&bootstrap, "java", Format::Raw, 5000, SOON);
    assert_eq!(records.len(), 5000);
    let records = judge::read(&bootstrap, "committed", Format::Raw, 630, SOON);
    assert_eq!(records.len(), 630);
    broker.shutdown();
}

/// A broker on a thread of its own.
struct Running {
    address: SocketAddr,
    stop: tokio::sync::oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Running {
    fn start(listen: SocketAddr, data: PathBuf) -> Self {
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (started, address) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let data_dir = Some(data);
                let options = BrokerOptions {
                    listen,
                    data_dir,
                    ..Default::default()
                };
                let broker = Broker::start(options).await.expect("it starts");
                started.send(broker.address()).expect("the test waits");
                stopped.await.expect("the test ends it");
                broker.shutdown().await.expect("it ends well");
            });
        });
        let address = address.recv_timeout(SOON).expect("it listens");
        Self {
            address,
            stop,
            thread,
        }
    }

    fn shutdown(self) {
        self.stop.send(()).expect("it runs");
        self.thread.join().expect("it ended well");
    }
}
