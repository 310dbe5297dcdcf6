//! Schemas and data from strangers.

use ::avro::{Datum, Decimal, Reader, Schema, compatibility, decimal};

/// Claims: what is printed of a schema that parses, parses back to an equal schema and is printed
/// the same; canonical and normal form are their own; a schema reads what it wrote.
pub fn schema(data: &[u8]) {
    let Some(schema) = str::from_utf8(data)
        .ok()
        .and_then(|text| text.parse::<Schema>().ok())
    else {
        return;
    };
    let text = schema.to_string();
    let again: Schema = text.parse().expect("what is printed parses");
    assert_eq!(again.to_string(), text);
    let canonical = schema.canonical_form();
    let plain: Schema = canonical.parse().expect("a canonical form is a schema");
    assert_eq!(plain.canonical_form(), canonical);
    assert_eq!(plain.fingerprint(), schema.fingerprint());
    let normal = again.normalized();
    assert_eq!(normal.normalized().to_string(), normal.to_string());
    assert_eq!(normal.canonical_form(), canonical);
    assert!(compatibility::can_read(&schema, &again).is_empty());
    assert!(compatibility::can_read(&plain, &schema).is_empty());
}

/// A schema, a zero byte, a datum. Claims: a datum that parses is written in no more bytes, which
/// parse to the same; every cut of them is malformed at or before the cut; it can be shown.
pub fn datum(data: &[u8]) {
    let Some(zero) = data.iter().position(|byte| *byte == 0) else {
        return;
    };
    let (text, bytes) = (&data[..zero], &data[zero + 1..]);
    let Some(schema) = str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse::<Schema>().ok())
    else {
        return;
    };
    let mut reader = Reader::new(bytes);
    let Ok(datum) = Datum::take(&schema, &mut reader) else {
        return;
    };
    let taken = reader.at();
    assert_eq!(&bytes[taken..], reader.rest());
    let mut shortest = Vec::new();
    datum.put(&mut shortest);
    assert!(shortest.len() <= taken, "{} from {taken}", shortest.len());
    let again = Datum::parse(&schema, &shortest).expect("what is put parses");
    let mut twice = Vec::new();
    again.put(&mut twice);
    assert_eq!(twice, shortest);
    for cut in 0..shortest.len().min(64) {
        let error = Datum::parse(&schema, &shortest[..cut]).expect_err("a cut datum");
        assert!(error.at <= cut);
    }
    let shown = |datum: &Datum<'_>| {
        let mut text = String::new();
        ::avro::json::put_json(&mut text, &schema.to_json(datum));
        text
    };
    assert_eq!(shown(&datum), shown(&again));
}

/// Two schemas and a datum, a zero byte between each. Claims: a datum written in its own schema is
/// what it was; in another one it is that one's, which parses, or it is refused; the scratch is left
/// as it was.
pub fn resolution(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let mut schema = || str::from_utf8(parts.next()?).ok()?.parse::<Schema>().ok();
    let (Some(writer), Some(reader)) = (schema(), schema()) else {
        return;
    };
    let bytes = parts.next().unwrap_or_default();
    let Ok(datum) = Datum::parse(&writer, bytes) else {
        return;
    };
    let mut shortest = Vec::new();
    datum.put(&mut shortest);
    let mut spans = Vec::new();
    let mut write = |to: &Schema| {
        let mut out = Vec::new();
        let resolution = ::avro::Resolution::new(&writer, to);
        let written = resolution.put(&shortest, &mut spans, &mut out);
        written.map(|()| out)
    };
    // A type inside itself has no resolution.
    if let Ok(same) = write(&writer) {
        assert_eq!(same, shortest);
    }
    if let Ok(other) = write(&reader) {
        match Datum::parse(&reader, &other) {
            Ok(_) => {}
            // Bytes may be read as a string.
            Err(error) => assert_eq!(error.fault, ::avro::Fault::NotUtf8),
        }
        assert!(spans.is_empty());
    }
}

/// Takes in an order that the bytes choose. Claims: a take moves forward by what it took, an error
/// takes nothing, and a varint written again is no longer than it was.
pub fn reader(data: &[u8]) {
    let (orders, bytes) = data.split_at(data.len() / 4);
    let mut reader = Reader::new(bytes);
    for order in orders {
        let before = reader.at();
        let mut out = Vec::new();
        let taken = match order % 12 {
            0 => reader
                .take_long()
                .map(|value| ::avro::write::put_long(&mut out, value)),
            1 => reader
                .take_int()
                .map(|value| ::avro::write::put_int(&mut out, value)),
            2 => reader
                .take_bool()
                .map(|value| ::avro::write::put_bool(&mut out, value)),
            3 => reader
                .take_float()
                .map(|value| ::avro::write::put_float(&mut out, value)),
            4 => reader
                .take_double()
                .map(|value| ::avro::write::put_double(&mut out, value)),
            5 => reader
                .take_bytes()
                .map(|value| ::avro::write::put_bytes(&mut out, value)),
            6 => reader
                .take_string()
                .map(|value| ::avro::write::put_string(&mut out, value)),
            7 => reader
                .take_fixed(3)
                .map(|value| ::avro::write::put_fixed(&mut out, value)),
            8 => reader.take_branch(3).map(|value| {
                assert!(value < 3);
                ::avro::write::put_branch(&mut out, value);
            }),
            9 => reader.take_enum(300).map(|value| {
                assert!(value < 300);
                ::avro::write::put_enum(&mut out, value);
            }),
            10 => reader.take_block().map(drop),
            _ => {
                assert_eq!(::avro::prefix::split_registry_id(reader.rest()).is_ok(), {
                    reader.rest().len() >= 5 && reader.rest()[0] == 0
                });
                Ok(())
            }
        };
        match taken {
            Ok(()) => assert!(out.len() <= reader.at() - before),
            Err(error) => assert!(error.at >= before && error.at <= bytes.len()),
        }
    }
    assert_eq!(reader.finish().is_ok(), reader.at() == bytes.len());
}

/// A scale, then the text of a number. Claims: the bytes are the fewest, with their length in
/// front read back the same, and are shown as the number they came from.
pub fn decimals(data: &[u8]) {
    let Some((scale, text)) = data.split_first() else {
        return;
    };
    let scale = i32::from(scale.cast_signed());
    let Ok(number) = Decimal::parse(text) else {
        return;
    };
    let mut bytes = Vec::new();
    let put = number.put_unscaled(&mut bytes, scale);
    let mut framed = Vec::new();
    assert_eq!(number.put(&mut framed, scale), put);
    if put.is_err() {
        assert!(bytes.is_empty() && framed.is_empty());
        return;
    }
    assert_eq!(Reader::new(&framed).take_bytes(), Ok(&bytes[..]));
    if let [first, second, ..] = bytes[..] {
        let sign = if second < 0x80 { 0 } else { 0xff };
        assert_ne!(first, sign, "the first byte says nothing");
    }
    // The same number, digit for digit, once zeros that say nothing are gone.
    let plain = |text: &str| {
        let (sign, digits) = text
            .strip_prefix('-')
            .map_or(("", text), |digits| ("-", digits));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let (whole, fraction) = (
            whole.trim_start_matches('0'),
            fraction.trim_end_matches('0'),
        );
        let zero = whole.is_empty() && fraction.is_empty();
        format!("{}{whole}.{fraction}", if zero { "" } else { sign })
    };
    let text = str::from_utf8(text)
        .expect("digits")
        .trim_start_matches('+');
    assert_eq!(plain(&decimal::text(&bytes, scale)), plain(text));
}
