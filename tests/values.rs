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

/// pgvector's types and their arrays, TOASTed and with 40,000 dimensions.
#[test]
fn vectors() {
    let vectors = captured("vectors", "vectors").on(Version::Vector);
    vectors.json();
    vectors.avro(&[]);
}

/// By default sparse vectors arrive in arrays, too.
#[test]
fn vectors_corrected() {
    let vectors = captured("vectors", "vectors").on(Version::Vector);
    vectors.correct().without(&["v.sa"]).json();
}

/// Labels that are added and renamed, types that are renamed, made anew and replaced by text, and
/// what is a default of theirs.
#[test]
fn enums_that_change() {
    Capture::of("enums", "enums").json();
}

/// `bit varying(1)` is a flag, and has no form where it is empty.
#[test]
fn bits_that_are_empty() {
    Capture::of("bits", "bits").json();
}

/// TOAST values that did not change, of every type, in each replica identity and NOT NULL.
#[test]
fn values_that_were_not_sent() {
    captured("toast", "hex").plain();
    captured("toast", "connect").plain();
}

/// `replica.identity.autoset.values` by expressions, and what each identity tells.
#[test]
fn identities_that_are_set() {
    captured("options", "identities").plain();
}

/// Masks, cuts and hashes of every type of characters, of nulls, defaults and fallbacks.
#[test]
fn masked_columns() {
    captured("options", "masks").json();
    captured("options", "cuts").json();
}

/// `message.key.columns` whose columns are expressions, too.
#[test]
fn keys_by_expressions() {
    captured("options", "keys").json();
}

/// `column.include.list` with classes, lookbehinds and quotes; names beyond ASCII keep their case.
#[test]
fn columns_by_expressions() {
    captured("options", "columns").plain();
}

/// `table.ignore.builtin=false`: what has the name of PostGIS's own table is one like others.
#[test]
fn tables_with_builtin_names() {
    captured("options", "builtin").plain();
}

/// `avro_unicode` names of tables, transactions and heartbeats.
#[test]
fn names_in_unicode_escapes() {
    captured("options", "names").json();
}

/// A publication of the captured tables, without a table that comes later; `skipped.operations=r`.
#[test]
fn publications_that_are_made() {
    captured("options", "filtered").plain();
}

/// A publication of somebody's own, with columns and rows that it leaves out, changed meanwhile.
#[test]
fn publications_that_are_there() {
    captured("publication", "publication").plain();
}

/// The Regex strategies' case and keys, delimiters, and names of topics.
#[test]
fn naming_strategies() {
    captured("naming", "regex").plain();
    captured("naming", "delimiter").plain();
}

/// ExtractNewRecordState with renamed, missing and dropped fields and headers.
#[test]
fn unwrapped_with_fields_of_everything() {
    captured("unwrap", "fields").json();
}

/// A script that does more than is captured.
fn captured(folder: &'static str, name: &'static str) -> Capture {
    Capture::of(folder, name).records_only()
}
