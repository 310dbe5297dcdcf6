//! What the real Debezium emitted for a script, and what the whole pipe makes of it: every
//! configuration on PostgreSQL 15, the main ones on each major. Slow: a broker for each.

use tests::debezium::Capture;
use tests::postgres::Version;

/// Tables whose Avro Debezium writes in a way that cannot be read: names that are none, and a
/// decimal's scale.
const UNREADABLE: [&str; 2] = ["inv.Weird-Table", "inv.t_num"];

#[test]
fn default() {
    Capture::of("", "default").json();
}

#[test]
fn doubles() {
    Capture::of("", "doubles").json();
}

#[test]
fn strings() {
    Capture::of("", "strings").json();
}

#[test]
fn micros() {
    Capture::of("", "micros").json();
}

#[test]
fn nanos() {
    Capture::of("", "nanos").json();
}

#[test]
fn adaptmicros() {
    Capture::of("", "adaptmicros").json();
}

#[test]
fn masks() {
    Capture::of("", "masks").json();
}

#[test]
fn txmeta() {
    Capture::of("", "txmeta").json();
}

#[test]
fn unwrap() {
    Capture::of("", "unwrap").json();
}

#[test]
fn without_schemas() {
    Capture::of("", "default").plain();
}

#[test]
fn avro() {
    Capture::of("", "default").avro(&UNREADABLE);
}

/// What `penstock.compat=correct` has otherwise, column by column; everything else is equal.
#[test]
fn corrected() {
    Capture::of("", "default")
        .correct()
        .without(&["t_num.nneg", "t_time.d", "t_time.ts6"])
        .json();
}

#[test]
fn corrected_avro() {
    let columns = ["t_num.nneg", "t_time.d", "t_time.ts6"];
    // The other columns' texts are equal even so: dates and timestamps keep their schemas.
    Capture::of("", "default")
        .correct()
        .without(&columns)
        .avro(&UNREADABLE);
}

/// The script on other majors, less what they lack.
fn on(major: u32, name: &'static str) -> Capture {
    let mut capture = Capture::of("", name).on(Version::Major(major));
    if major < 15 {
        // No negative scale.
        capture = capture
            .without(&["t_num.nneg"])
            .edit(|sql| sql.replace("numeric(5,-2)", "numeric(5,0)"));
    }
    if major < 14 {
        // No multiranges, no infinite numeric, no logical messages in pgoutput.
        capture = capture
            .without(&["t_net.mr"])
            .without_topic("srv.message")
            .edit(|sql| {
                sql.replace("int4multirange", "text")
                    .replace("'{[1,3),[5,7)}'", "null")
            });
    }
    if major >= 18 {
        // A generated column must be published where the whole row is the replica identity.
        capture = capture
            .without(&["full_ri.w"])
            .edit(|sql| sql.replace(", w int generated always as (id*2) stored", ""));
    }
    capture
}

/// What differs by major in protocol, catalogue or types shows in rows, in rows as they are
/// unwrapped, and in the transactions around them.
fn on_major(major: u32) {
    on(major, "default").json();
    on(major, "unwrap").json();
    if major >= 15 {
        // Those before announce transactions in which nothing happens.
        on(major, "txmeta").json();
    }
}

#[test]
fn postgres_12() {
    on_major(12);
}

#[test]
fn postgres_13() {
    on_major(13);
}

#[test]
fn postgres_14() {
    on_major(14);
}

#[test]
fn postgres_16() {
    on_major(16);
}

#[test]
fn postgres_17() {
    on_major(17);
}

#[test]
fn postgres_18() {
    on_major(18);
    // The schema of a table without its column is another: this one is left to JSON.
    let [weird, numbers] = UNREADABLE;
    on(18, "default").avro(&[weird, numbers, "inv.full_ri"]);
}
