//! The slow, plain way from a column's text to a Connect value: for defaults, which are converted
//! once, and as the judge of the compiled way in tests.

use super::number::{self, Decimal, NotANumber};
use super::schema::Value;
use super::step;
use super::step::{Array, Binary, Fault, Step, Through, count_date, count_time, count_timestamp};

impl Step {
    /// The value of a column's text.
    pub(crate) fn value(&self, text: &[u8]) -> Result<Value, Fault> {
        let string = || Ok(Value::String(String::from_utf8_lossy(text).into_owned()));
        match self {
            Self::Text | Self::Uuid | Self::Spelled(_) => string(),
            Self::Boolean => flag(text, b"t", b"f"),
            Self::Bit => flag(text, b"1", b"0").map_err(|_| Fault::Unrepresentable("one bit")),
            Self::Bits => bits(text),
            Self::Integer | Self::Oid => parsed::<i64>(text).map(Value::Integer),
            Self::Float => parsed::<f32>(text).map(Value::Float),
            Self::Double | Self::DecimalDouble => parsed::<f64>(text).map(Value::Double),
            Self::Decimal(scale) | Self::DecimalNumber(scale) => Ok(Value::Bytes(
                decimal(text)?.rescale(*scale).with_bytes(<[u8]>::to_vec),
            )),
            Self::DecimalVariable => {
                let decimal = decimal(text)?.strip();
                let unscaled = Value::Bytes(decimal.with_bytes(<[u8]>::to_vec));
                Ok(Value::Struct(vec![
                    Value::Integer(decimal.scale().into()),
                    unscaled,
                ]))
            }
            Self::DecimalText(scale) => match number::parse(text) {
                Ok(decimal) => {
                    let scale = scale.unwrap_or_else(|| decimal.scale());
                    Ok(ascii(|out| decimal.rescale(scale).put_plain(out)))
                }
                Err(NotANumber::Nan) => Ok(Value::String("NAN".to_owned())),
                Err(NotANumber::Infinity) => Ok(Value::String("POSITIVE_INFINITY".to_owned())),
                Err(NotANumber::NegativeInfinity) => {
                    Ok(Value::String("NEGATIVE_INFINITY".to_owned()))
                }
                Err(NotANumber::Malformed) => Err(step::NUMBER),
            },
            Self::Money(scale) | Self::MoneyNumber(scale) => Ok(Value::Bytes(
                step::parse_money(text)?
                    .rescale(*scale)
                    .with_bytes(<[u8]>::to_vec),
            )),
            Self::MoneyDouble => Ok(Value::Double(step::parse_money(text)?.to_double())),
            Self::MoneyText => {
                let money = step::parse_money(text)?;
                Ok(ascii(|out| money.put_plain(out)))
            }
            Self::Date { wrap } => Ok(Value::Integer(count_date(step::parse_date(text)?, *wrap))),
            Self::Time(unit) => Ok(Value::Integer(count_time(step::parse_time(text)?, *unit))),
            Self::Timestamp { unit, wrap } => {
                let point = step::parse_timestamp(text)?;
                Ok(Value::Integer(count_timestamp(point, *unit, *wrap)?))
            }
            Self::Interval => Ok(Value::Integer(step::parse_interval(text)?.micros())),
            Self::IntervalText => {
                let interval = step::parse_interval(text)?;
                Ok(ascii(|out| interval.put_iso(out)))
            }
            Self::DateText { .. }
            | Self::TimeText
            | Self::TimestampText
            | Self::ZonedTimestamp(_)
            | Self::ZonedTime => self.iso(text),
            Self::Bytea(Binary::Bytes) => step::parse_bytea(text).map(Value::Bytes),
            Self::Bytea(binary) => {
                let bytes = step::parse_bytea(text)?;
                Ok(ascii(|out| step::put_binary_text(&bytes, *binary, out)))
            }
            Self::Opaque(Binary::Bytes) => Ok(Value::Bytes(text.to_vec())),
            Self::Opaque(binary) => Ok(ascii(|out| step::put_binary_text(text, *binary, out))),
            Self::Array(array) => array_value(array, text),
            Self::Java(step) => match (&**step, step::through_java(step, text)?) {
                (Self::Date { .. }, Through::Day(days)) => Ok(Value::Integer(step::narrow(days))),
                (Self::Time(unit), Through::Clock(micros)) => {
                    Ok(Value::Integer(count_time(micros, *unit)))
                }
                (Self::Timestamp { unit, .. }, Through::Point(point)) => {
                    Ok(Value::Integer(count_timestamp(point, *unit, true)?))
                }
                (_, Through::Same) => step.value(text),
                _ => self.iso(text),
            },
            _ => Err(Fault::Unrepresentable("a type with defaults")),
        }
    }

    /// Dates and times as text: what the compiled way writes between JSON's quotes.
    fn iso(&self, text: &[u8]) -> Result<Value, Fault> {
        let mut quoted = Vec::new();
        self.text::<super::form::Json>(text, &mut quoted)?;
        let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or(&[]);
        Ok(Value::String(String::from_utf8_lossy(inner).into_owned()))
    }
}

fn ascii(put: impl FnOnce(&mut Vec<u8>)) -> Value {
    let mut out = Vec::new();
    put(&mut out);
    Value::String(String::from_utf8_lossy(&out).into_owned())
}

fn flag(text: &[u8], yes: &[u8], no: &[u8]) -> Result<Value, Fault> {
    if text == yes || text == no {
        Ok(Value::Boolean(text == yes))
    } else {
        Err(Fault::Malformed("a boolean"))
    }
}

fn parsed<T: std::str::FromStr>(text: &[u8]) -> Result<T, Fault> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(step::NUMBER)
}

fn decimal(text: &[u8]) -> Result<Decimal, Fault> {
    number::parse(text).map_err(|fault| match fault {
        NotANumber::Malformed => step::NUMBER,
        _ => Fault::Unrepresentable("a finite number"),
    })
}

/// The rightmost bit is bit 0 of byte 0.
fn bits(text: &[u8]) -> Result<Value, Fault> {
    let mut bytes = Vec::new();
    for eight in text.rchunks(8) {
        let digits = std::str::from_utf8(eight).map_err(|_| Fault::Malformed("bits"))?;
        bytes.push(u8::from_str_radix(digits, 2).map_err(|_| Fault::Malformed("bits"))?);
    }
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    Ok(Value::Bytes(bytes))
}

/// Elements one character after the other.
fn array_value(array: &Array, text: &[u8]) -> Result<Value, Fault> {
    const ARRAY: Fault = Fault::Malformed("an array, {..}");
    let text = std::str::from_utf8(text).map_err(|_| ARRAY)?;
    let text = match text.split_once('=') {
        Some((bounds, array)) if bounds.starts_with('[') => array,
        _ => text,
    };
    let inner = text
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'))
        .ok_or(ARRAY)?;
    let (mut values, mut word, mut depth, mut quoted) = (Vec::new(), String::new(), 0_usize, None);
    let mut nested = false;
    let mut letters = inner.chars();
    let mut finish = |word: &mut String, quoted: &mut Option<bool>, nested: &mut bool| {
        let word = std::mem::take(word);
        let quoted = quoted.take().is_some();
        let value = if std::mem::take(nested) || (!quoted && word == "NULL") {
            if !array.nulls {
                return Err(Fault::Unreadable("an array without NULL"));
            }
            Value::Null
        } else {
            match array.step.value(word.as_bytes()) {
                Err(Fault::Unrepresentable(_)) if array.nulls => Value::Null,
                value => value?,
            }
        };
        values.push(value);
        Ok(())
    };
    let mut any = false;
    while let Some(letter) = letters.next() {
        any = true;
        match letter {
            '"' => quoted = Some(quoted != Some(true)),
            '\\' => word.extend(letters.next()),
            _ if quoted == Some(true) => word.push(letter),
            '{' => {
                nested = true;
                depth += 1;
            }
            '}' => depth = depth.checked_sub(1).ok_or(ARRAY)?,
            _ if depth == 0 && letter == char::from(array.delimiter) => {
                finish(&mut word, &mut quoted, &mut nested)?
            }
            _ => word.push(letter),
        }
    }
    if any {
        finish(&mut word, &mut quoted, &mut nested)?;
    }
    Ok(Value::Array(values))
}
