//! The bike store: loaded, changed, and compared with what a consumer has of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine as _;
use serde_json::Value;

use crate::judge::{Record, payload};
use crate::postgres::Database;
use crate::root;

/// Its tables, in schema `store`.
pub const TABLES: [&str; 4] = ["customers", "order_items", "orders", "products"];
/// The rows of all of them, as loaded.
pub const ROWS: usize = 1200 + 5000 + 2000 + 240;

/// The script that makes and fills it.
#[must_use]
pub fn script() -> PathBuf {
    root().join("engine/src/cli/demo/bike_store.sql")
}

/// Live changes of every kind: rows added, changed and deleted, keys changed, several changes of
/// one row in a transaction and in many, a transaction rolled back.
pub const SHOPPING: &str = "
    INSERT INTO store.customers (first_name, last_name, email, birth_date) VALUES
        ('Rui', 'Sá 🚲', 'rui@bikes.example', NULL),
        ('E''tta', '', 'etta@bikes.example', '1899-12-31');
    UPDATE store.products SET list_price = list_price * 1.1, updated_at = '2025-02-03 04:05:06.7'
        WHERE product_id <= 40;
    UPDATE store.products SET list_price = list_price - 1 WHERE product_id <= 20;
    BEGIN;
    INSERT INTO store.orders (customer_id, order_date, required_date, note)
        SELECT customer_id, date '2025-01-01', date '2025-01-08', NULL
          FROM store.customers WHERE customer_id <= 50;
    INSERT INTO store.order_items
        SELECT order_id, 1, 7, 2, 99999999.99, 0.15
          FROM store.orders WHERE order_date = '2025-01-01';
    UPDATE store.orders SET status = 'shipped', shipped_at = '2025-01-02 03:04:05.000006'
        WHERE order_date = '2025-01-01';
    COMMIT;
    BEGIN; DELETE FROM store.order_items; ROLLBACK;
    DELETE FROM store.customers WHERE customer_id % 100 = 0;
    UPDATE store.customers SET customer_id = customer_id + 100000
        WHERE customer_id IN (1201, 1202);
    UPDATE store.order_items SET item_no = item_no + 10 WHERE order_id % 50 = 7;
    UPDATE store.customers SET newsletter = NOT newsletter, credit = -0.01
        WHERE customer_id <= 30;
";

/// Every row of a table by its key, both as Debezium's envelope shows them by default: dates as
/// days, timestamps as microseconds, `timestamptz` and enums and numerics as text.
#[must_use]
pub fn rows(database: &Database<'_>, schema: &str, table: &str) -> BTreeMap<String, Value> {
    let columns = database.rows(&format!(
        "SELECT a.attname AS name, format_type(a.atttypid, NULL) AS type,
                EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = a.attrelid AND i.indisprimary
                        AND a.attnum = ANY (i.indkey)) AS key
           FROM pg_attribute AS a
          WHERE a.attrelid = '{schema}.{table}'::regclass AND a.attnum > 0 AND NOT a.attisdropped
          ORDER BY a.attnum"
    ));
    let show = |column: &Value| {
        let name = column["name"].as_str().expect("a name");
        let shown = match column["type"].as_str().expect("a type") {
            "date" => format!("\"{name}\" - date '1970-01-01'"),
            "timestamp without time zone" => {
                format!("(extract(epoch FROM \"{name}\") * 1000000)::bigint")
            }
            "timestamp with time zone" => {
                let shape = "YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"";
                format!("to_char(\"{name}\" AT TIME ZONE 'UTC', '{shape}')")
            }
            "numeric" => format!("\"{name}\"::text"),
            _ => format!("\"{name}\""),
        };
        format!("{shown} AS \"{name}\"")
    };
    let all: Vec<_> = columns.iter().map(show).collect();
    let keys: Vec<_> = columns
        .iter()
        .filter(|column| column["key"] == true)
        .map(show)
        .collect();
    let all = database.rows(&format!(
        "SELECT (SELECT row_to_json(key_) FROM (SELECT {}) AS key_) AS key,
                (SELECT row_to_json(row_) FROM (SELECT {}) AS row_) AS value FROM {schema}.{table}",
        keys.join(", "),
        all.join(", "),
    ));
    all.into_iter()
        .map(|row| (row["key"].to_string(), row["value"].clone()))
        .collect()
}

/// Holds what a consumer ends up with against the database: the last record of every key is its
/// row, or a deletion where there is none.
///
/// Errors: the first difference.
pub fn compare(database: &Database<'_>, prefix: &str, records: &[Record]) -> Result<(), String> {
    TABLES
        .iter()
        .try_for_each(|table| compare_table(database, prefix, "store", table, records))
}

/// [`compare`] for one table of any schema.
///
/// Errors: the first difference.
pub fn compare_table(
    database: &Database<'_>,
    prefix: &str,
    schema: &str,
    table: &str,
    records: &[Record],
) -> Result<(), String> {
    let topic = format!("{prefix}.{schema}.{table}");
    let mut held: BTreeMap<String, (i64, Value)> = BTreeMap::new();
    for record in records.iter().filter(|record| record.topic == topic) {
        let key = payload(&record.key).to_string();
        let value = if record.value.is_null() {
            Value::Null
        } else {
            record.after().clone()
        };
        match held.insert(key, (record.partition, value)) {
            Some((partition, _)) if partition != record.partition => {
                return Err(format!("{topic} {}: in two partitions", record.key));
            }
            _ => {}
        }
    }
    let scales = scales(database, schema, table);
    let rows = rows(database, schema, table);
    for (key, row) in &rows {
        let Some((_, held)) = held.get(key) else {
            return Err(format!("{topic} {key}: no record of {row}"));
        };
        let held = decimals(held.clone(), &scales);
        if held != *row {
            return Err(format!(
                "{topic} {key}: the last record has {held}, the table {row}"
            ));
        }
    }
    held.retain(|key, (_, value)| !value.is_null() && !rows.contains_key(key));
    held.first_key_value().map_or(Ok(()), |(key, (_, value))| {
        Err(format!(
            "{topic} {key}: the table has no such row, the last record is {value}"
        ))
    })
}

fn scales(database: &Database<'_>, schema: &str, table: &str) -> BTreeMap<String, u32> {
    let rows = database.rows(&format!(
        "SELECT attname AS name, (atttypmod - 4) & 65535 AS scale FROM pg_attribute
          WHERE attrelid = '{schema}.{table}'::regclass AND atttypid = 'numeric'::regtype"
    ));
    let pair = |row: &Value| {
        let scale = row["scale"]
            .as_u64()
            .and_then(|scale| u32::try_from(scale).ok());
        Some((row["name"].as_str()?.to_owned(), scale?))
    };
    rows.iter().filter_map(pair).collect()
}

/// JSON carries a decimal as the base64 of its unscaled bytes; the judge of Avro has read it.
fn decimals(mut row: Value, scales: &BTreeMap<String, u32>) -> Value {
    for (name, scale) in scales {
        let Some(Value::String(text)) = row.get_mut(name) else {
            continue;
        };
        if text.contains('.') {
            continue;
        }
        let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(&*text) else {
            continue;
        };
        let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
        let start = if negative { -1 } else { 0 };
        let unscaled = bytes
            .iter()
            .fold(start, |sum: i128, byte| sum << 8 | i128::from(*byte));
        let digits = format!("{:0>width$}", unscaled.abs(), width = *scale as usize + 1);
        let (whole, fraction) = digits.split_at(digits.len() - *scale as usize);
        *text = format!("{}{whole}.{fraction}", if negative { "-" } else { "" });
    }
    row
}

/// Holds the history of every key against what a table allows: it begins with a row that was read
/// or created, a deletion is followed by its tombstone and, if at all, by a creation. A history
/// that a restart has repeated in part is read as if it had not been: of records with the same
/// LSN, operation and row the first counts.
///
/// Errors: the first key whose history cannot be.
pub fn check_histories(records: &[Record]) -> Result<(), String> {
    let mut histories: BTreeMap<(String, String), Vec<&Record>> = BTreeMap::new();
    for record in records {
        let place = (record.topic.clone(), payload(&record.key).to_string());
        histories.entry(place).or_default().push(record);
    }
    for ((topic, key), history) in histories {
        let mut seen = Vec::new();
        let mut lsn = 0;
        for record in &history {
            if record.value.is_null() {
                continue;
            }
            let source = record.source();
            let event = (
                source["lsn"].as_u64(),
                record.op(),
                record.after(),
                record.before(),
            );
            if seen.contains(&event) {
                continue;
            }
            seen.push(event);
            let now = source["lsn"].as_u64().unwrap_or(0);
            if record.op() != Some("r") && now < lsn {
                return Err(format!("{topic} {key}: LSN {now} after {lsn}"));
            }
            lsn = lsn.max(now);
        }
        let ops: String = seen.iter().filter_map(|event| event.1).collect();
        let possible = ops.starts_with(['r', 'c']) && !ops.contains("du") && !ops.contains("dd");
        if !possible {
            return Err(format!("{topic} {key}: the operations {ops}"));
        }
        let deletions = history
            .iter()
            .filter(|record| record.op() == Some("d"))
            .count();
        let tombstones = history
            .iter()
            .filter(|record| record.value.is_null())
            .count();
        if deletions > tombstones {
            return Err(format!(
                "{topic} {key}: {deletions} deletions, {tombstones} tombstones"
            ));
        }
    }
    Ok(())
}
