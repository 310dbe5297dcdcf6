//! The launchers and the judges themselves, before they are believed about anything else.

use std::time::Duration;

use serde_json::json;
use tests::judge::{self, Format};
use tests::kafka::{self, Kafka};
use tests::postgres::{self, Postgres, Version};
use tests::registry::Registry;
use tests::{Properties, store};

const SOON: Duration = Duration::from_secs(30);

#[test]
fn postgres_comes_back_with_its_data_however_it_was_stopped() {
    let server = Postgres::start(Version::Debian);
    let database = server.database("back");
    database.query("CREATE TABLE t (id int); INSERT INTO t VALUES (1)");
    for how in [
        postgres::Stop::Fast,
        postgres::Stop::Immediate,
        postgres::Stop::Kill,
    ] {
        server.restart(how);
        assert_eq!(
            database.query("SELECT id FROM t; SHOW wal_level"),
            "1\nlogical",
            "{how:?}"
        );
    }
}

#[test]
fn the_bike_store_loads_and_its_rows_are_shown_as_envelopes_show_them() {
    let database = Postgres::shared(Version::Debian).database("load");
    database.run(&store::script());
    database.query(store::SHOPPING);
    let total: usize = store::TABLES
        .iter()
        .map(|table| store::rows(&database, "store", table).len())
        .sum();
    assert!(total > 8000, "{total} rows");
    let items = store::rows(&database, "store", "order_items");
    assert_eq!(
        items[r#"{"order_id":1,"item_no":1}"#],
        json!({
            "order_id": 1, "item_no": 1, "product_id": 159, "quantity": 1,
            "list_price": "370.02", "discount": "0.20",
        })
    );
    let orders = store::rows(&database, "store", "orders");
    assert_eq!(
        orders[r#"{"order_id":1}"#],
        json!({
            "order_id": 1, "customer_id": 620, "status": "shipped", "order_date": 19358,
            "required_date": 19360, "shipped_at": 1_672_590_660_000_000_u64,
            "placed_at": "2023-01-01T16:59:58.500000Z", "note": null,
        })
    );
}

#[test]
fn the_judge_reads_what_kcat_wrote_and_the_java_client_agrees() {
    let broker = Kafka::shared(kafka::NEWEST);
    judge::create_topic(&broker.bootstrap(), "plain", 2, &["cleanup.policy=compact"]);
    assert!(judge::topics(&broker.bootstrap()).contains(&"plain".to_owned()));
    let described = judge::describe_topic(&broker.bootstrap(), "plain");
    assert_eq!(described["partitions"], 2);
    assert_eq!(described["config"]["cleanup.policy"], "compact");
    judge::kcat_produce(
        &broker.bootstrap(),
        "plain",
        "1:{\"a\":1}\n2:{\"a\":2}\n1:{\"a\":3}\n",
    );
    let records = judge::read(&broker.bootstrap(), "pla.n", Format::Json, 3, SOON);
    let mut seen: Vec<_> = records
        .iter()
        .map(|record| (record.key.clone(), record.value["a"].clone()))
        .collect();
    seen.sort_by_key(|pair| pair.1.as_i64());
    assert_eq!(
        seen,
        [
            (json!(1), json!(1)),
            (json!(2), json!(2)),
            (json!(1), json!(3))
        ]
    );
    assert_eq!(broker.java().consume("plain", 3).len(), 3);
}

#[test]
fn the_registry_does_as_it_is_told() {
    let registry = Registry::start();
    assert_eq!(registry.subjects(), [""; 0]);
    registry.fail("", 500, 50001, "no", 1);
    registry.stop();
    registry.launch();
    assert_eq!(registry.calls("GET /subjects"), 1);
}

#[test]
fn a_broker_killed_comes_back_with_its_records() {
    let broker = Kafka::start(kafka::NEWEST);
    judge::create_topic(&broker.bootstrap(), "kept", 1, &[]);
    judge::kcat_produce(&broker.bootstrap(), "kept", "k:v\n");
    broker.restart(kafka::Stop::Kill);
    let records = judge::read(&broker.bootstrap(), "kept", Format::Raw, 1, SOON);
    assert_eq!((records.len(), &records[0].value), (1, &json!("v")));
}

#[test]
fn properties_keep_their_order_and_take_changes() {
    let properties = Properties::parse("# a comment\na=1\n\nb = x=y\n")
        .with("a", 2)
        .with("c", "");
    assert_eq!(properties.text(), "a=2\nb=x=y\nc=\n");
    assert_eq!(properties.without("b").text(), "a=2\nc=\n");
}
