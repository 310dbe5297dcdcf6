//! Types in all their modes, and the transforms, as the real Debezium has them: every array, every
//! kind of default, days that Java's calendar does not have, domains of domains. Slow.

use tests::debezium::Capture;
use tests::postgres::Version;

#[test]
fn arrays_domains_and_defaults() {
    Capture::of("arrays", "default").json();
}

#[test]
fn arrays_domains_and_defaults_avro() {
    Capture::of("arrays", "default").avro(&[]);
}

/// ISO text, decimals as text, bytes in hex, hstore as a map, unknown types.
#[test]
fn arrays_domains_and_defaults_as_text() {
    Capture::of("arrays", "iso").json();
}

/// Connect's own dates, and every column's type told.
#[test]
fn arrays_domains_and_defaults_of_connect() {
    Capture::of("arrays", "conn").json();
}

/// Microseconds, unknown types, and types told by their names.
#[test]
fn arrays_domains_and_defaults_in_microseconds() {
    Capture::of("arrays", "micro").json();
}

/// Days of the year 1582, leap days before Christ, `name`, keys of unique indexes.
#[test]
fn oddities() {
    Capture::of("odd", "odd").json();
}

#[test]
fn oddities_as_text() {
    Capture::of("odd", "oddu").json();
}

/// By default days are right where Java's calendar has others, and nothing is lost in arrays.
#[test]
fn oddities_corrected() {
    let wrong = [
        "odd.d", "odd.ad", "odd.ats", "odd.atz", "odd.ati", "odd.atiz", "odd.nm",
    ];
    Capture::of("odd", "odd")
        .correct()
        .without(&wrong)
        .without(&["odd.nmn"])
        .json();
}

/// Years before Christ and 294276, infinities, 24:00, offsets of 15:59, in each precision.
#[test]
fn times_at_their_ends() {
    for mode in ["adaptive", "connect", "nanos"] {
        Capture::of("times", mode).plain();
    }
}

/// Quotes, dots, commas, blanks, backslashes and letters beyond ASCII in names.
#[test]
fn odd_names() {
    Capture::of("names", "raw").json();
}

/// Confluent's own way to mend them.
#[test]
fn odd_names_scrubbed() {
    Capture::of("names", "scrubbed").avro(&["inv._"]);
}

/// PostGIS's types, on a server with PostGIS.
#[test]
fn geometries() {
    let geometries = Capture::of("postgis", "geometries").on(Version::Postgis);
    geometries.json();
    geometries.avro(&[]);
}

/// `route.by.field`: topics that rows name, with deletions, keys that change, and tombstones.
#[test]
fn rows_name_their_topics() {
    Capture::of("routes", "rewrite").json();
    Capture::of("routes", "rewrite").avro(&[]);
    Capture::of("routes", "tombstone").json();
}

#[test]
fn transforms_rename_topics() {
    Capture::of("transforms", "regex").json();
}

#[test]
fn transforms_merge_tables() {
    Capture::of("transforms", "logical").json();
    Capture::of("transforms", "logical2").json();
}

#[test]
fn transforms_merge_tables_without_a_field_in_the_key() {
    Capture::of("transforms", "logical3").json();
}

#[test]
fn transforms_merge_and_unwrap() {
    Capture::of("transforms", "logunwrap").json();
}

#[test]
fn transforms_have_predicates() {
    Capture::of("transforms", "pred").json();
}

#[test]
fn transforms_unwrap_with_the_default_mode() {
    Capture::of("transforms", "u_def").json();
}
