//! What Confluent's converter wrote, read and written again.

use avro::{Datum, Schema, prefix};

struct Capture {
    label: &'static str,
    schema: &'static str,
    record: Vec<u8>,
}

fn captures() -> Vec<Capture> {
    let lines = include_str!("confluent.tsv")
        .lines()
        .filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let mut columns = line.split('\t');
            let mut column = || columns.next().expect("three columns");
            let (label, schema, hex) = (column(), column(), column());
            let digits = hex
                .as_bytes()
                .chunks(2)
                .map(|pair| str::from_utf8(pair).expect("hex"));
            let record = digits
                .map(|pair| u8::from_str_radix(pair, 16).expect("hex"))
                .collect();
            Capture {
                label,
                schema,
                record,
            }
        })
        .collect()
}

#[test]
fn every_schema_prints_back_to_the_text_that_was_registered() {
    let captures = captures();
    assert!(captures.len() >= 15);
    for Capture { label, schema, .. } in captures {
        let parsed: Schema = schema
            .parse()
            .unwrap_or_else(|error| panic!("{label}: {error}"));
        assert_eq!(parsed.to_string(), schema, "{label}");
        let canonical = parsed.canonical_form();
        let again: Schema = canonical.parse().expect("a canonical form is a schema");
        assert_eq!(again.canonical_form(), canonical, "{label}");
        assert!(
            parsed == parsed.to_string().parse().expect("its own text"),
            "{label}"
        );
    }
}

#[test]
fn every_datum_is_written_back_to_its_bytes() {
    for Capture {
        label,
        schema,
        record,
    } in captures()
    {
        let schema: Schema = schema.parse().expect("a schema");
        let (id, bytes) = prefix::split_registry_id(&record).expect("a prefix");
        let datum = Datum::parse(&schema, bytes).unwrap_or_else(|error| panic!("{label}: {error}"));
        let mut out = Vec::new();
        prefix::put_registry_id(&mut out, id);
        datum.put(&mut out);
        assert_eq!(out, record, "{label}");
        for cut in 0..bytes.len() {
            assert!(
                Datum::parse(&schema, &bytes[..cut]).is_err(),
                "{label} cut at {cut}"
            );
        }
    }
}

#[test]
fn a_record_is_shown_as_people_read_it() {
    let captures = captures();
    let capture = captures
        .iter()
        .find(|capture| capture.label == "default srv.inv.t_num value")
        .expect("the capture");
    let schema: Schema = capture.schema.parse().expect("a schema");
    let datum = Datum::parse(&schema, &capture.record[5..]).expect("a datum");
    let shown = schema.to_json(&datum);
    assert_eq!(shown["op"], "r");
    assert_eq!(shown["source"]["table"], "t_num");
    let after = &shown["after"];
    assert_eq!(after["n102"], "12.34");
    assert_eq!(after["n50"], "99999");
    assert_eq!(after["m"], "1234.56");
    assert_eq!(after["d"], 2.25);
    assert_eq!(after["b"], false);
    assert_eq!(shown["before"], serde_json::Value::Null);
}
