//! Throw-away: a million records against a real broker.
use engine::config::*;
use engine::produce::*;
use std::time::Duration;
fn main() {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let args: Vec<String> = std::env::args().collect();
    let arg = |n: &str, d: &str| {
        args.iter()
            .find_map(|a| a.strip_prefix(&format!("{n}=")))
            .unwrap_or(d)
            .to_owned()
    };
    let eos = arg("eos", "0") == "1";
    let sink = Sink {
        bootstrap: arg("bootstrap", "127.0.0.1:19392")
            .split(',')
            .map(str::to_owned)
            .collect(),
        client_id: "penstock-test".to_owned(),
        tls: None,
        sasl: None,
        compression: match arg("codec", "none").as_str() {
            "zstd" => Compression::Zstd,
            "lz4" => Compression::Lz4,
            "gzip" => Compression::Gzip,
            "snappy" => Compression::Snappy,
            _ => Compression::None,
        },
        compression_level: None,
        acks: arg("acks", "-1").parse().unwrap(),
        idempotent: arg("idem", "1") == "1",
        batch_bytes: arg("batch", "65536").parse().unwrap(),
        linger: Duration::from_millis(arg("linger", "5").parse().unwrap()),
        request_bytes_max: 1048576,
        in_flight_max: arg("inflight", "5").parse().unwrap(),
        buffer_bytes_max: 32 << 20,
        request_timeout: Duration::from_secs(30),
        delivery_timeout: None,
        retry_backoff: Duration::from_millis(100),
        retry_backoff_max: Duration::from_secs(1),
        reconnect_backoff: Duration::from_millis(50),
        reconnect_backoff_max: Duration::from_secs(1),
        connect_timeout: Duration::from_secs(10),
        metadata_max_age: Duration::from_secs(300),
        topic_creation: vec![TopicCreation {
            topics: Filter::All,
            except: Filter::Exclude(vec![]),
            partitions: arg("partitions", "3").parse().unwrap(),
            replication_factor: 1,
            configs: Default::default(),
        }],
        exactly_once: eos,
        transactional_id: arg("txid", "penstock-tx"),
        transaction_timeout: Duration::from_secs(60),
    };
    let count: u64 = arg("count", "1000000").parse().unwrap();
    let topic = arg("topic", "t1");
    let every: u64 = arg("every", "1000").parse().unwrap();
    let rt = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    rt.block_on(async {
        if arg("read", "0") == "1" {
            let t = std::time::Instant::now();
            match read_topic(
                &sink,
                &topic,
                if eos {
                    Isolation::ReadCommitted
                } else {
                    Isolation::ReadUncommitted
                },
            )
            .await
            {
                Ok(r) => {
                    println!("{} records in {:?}", r.len(), t.elapsed());
                    let mut keys: Vec<u64> = r
                        .iter()
                        .map(|r| {
                            String::from_utf8_lossy(r.key.as_ref().unwrap())
                                .parse()
                                .unwrap()
                        })
                        .collect();
                    let mut last = std::collections::HashMap::new();
                    let mut disorder = 0;
                    for (r, k) in r.iter().zip(&keys) {
                        let l = last.entry(r.partition).or_insert(0);
                        if *k < *l {
                            disorder += 1;
                        }
                        *l = *k;
                    }
                    keys.sort();
                    let n = keys.len();
                    keys.dedup();
                    println!(
                        "distinct {} dup {} max {:?} disorder {disorder}",
                        keys.len(),
                        n - keys.len(),
                        keys.last()
                    );
                }
                Err(e) => println!("error (retriable {}): {e}", e.retriable()),
            }
            return;
        }
        let run = async {
            let mut d = Driver::new(&sink)?;
            let begun = std::time::Instant::now();
            let t = d.producer().topic(&topic);
            d.establish().await?;
            d.find(t).await?;
            println!("ready after {:?}", begun.elapsed());
            let begun = std::time::Instant::now();
            let value = vec![b'x'; arg("size", "200").parse().unwrap()];
            let mut key = String::new();
            let mut n = 0u64;
            let mut last_print = std::time::Instant::now();
            while n < count || d.producer().acknowledged() < count {
                if n < count && !d.producer().is_full() {
                    for _ in 0..every.min(count - n) {
                        use std::fmt::Write;
                        key.clear();
                        write!(key, "{n}").unwrap();
                        let p = d.producer().partition(t, Some(key.as_bytes())).unwrap();
                        d.producer()
                            .record(t, p, engine::net::now_unix_us() / 1000, |r| {
                                r.key(Some(key.as_bytes()));
                                r.value(Some(&value));
                            })?;
                        n += 1;
                    }
                    if eos {
                        d.producer().commit(n)
                    } else {
                        d.producer().mark(n)
                    }
                    if n == count {
                        d.producer().flush()
                    }
                    // poll once
                    std::future::poll_fn(|cx| match d.poll_drive(cx) {
                        std::task::Poll::Ready(r) => std::task::Poll::Ready(r),
                        _ => std::task::Poll::Ready(Ok(())),
                    })
                    .await?;
                } else {
                    d.drive().await?;
                }
                if last_print.elapsed() > Duration::from_secs(2) {
                    last_print = std::time::Instant::now();
                    eprintln!(
                        "{n} appended, {} acked, {} buffered",
                        d.producer().acknowledged(),
                        d.producer().buffered_bytes()
                    );
                }
            }
            let e = begun.elapsed();
            println!("{n} records in {e:?}: {:.0}/s", n as f64 / e.as_secs_f64());
            Ok::<(), Error>(())
        };
        if let Err(e) = run.await {
            println!("error (retriable {}): {e}", e.retriable());
        }
    });
}
