//! A datum read with its schema.

use serde_json::Value;

use crate::decimal;
use crate::error::{Fault, Malformed};
use crate::read::Reader;
use crate::schema::{Properties, Schema, Type, View};
use crate::write;

/// How deep values may be nested.
pub const DEPTH_MAX: usize = 128;

/// Values that a datum may have beyond one for each of its bytes. Only values of no size (nulls,
/// empty records) draw on it.
pub const FREE_VALUES_MAX: usize = 1 << 16;

/// A value as its schema describes it, borrowing text and bytes.
///
/// For printing and comparing; whoever is in a hurry walks a [`Reader`].
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "Avro's own names")]
pub enum Datum<'b> {
    Null,
    Boolean(bool),
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    Bytes(&'b [u8]),
    String(&'b str),
    Fixed(&'b [u8]),
    /// The symbol's index.
    Enum(u32),
    /// The branch, and its value.
    Union(u32, Box<Self>),
    Array(Vec<Self>),
    /// In the order written; a key may occur twice.
    Map(Vec<(&'b str, Self)>),
    /// In the order of the record's fields.
    Record(Vec<Self>),
}

impl<'b> Datum<'b> {
    /// Takes one datum of `schema` off the front of `reader`.
    ///
    /// Errors: any [`Fault`] but `Trailing`.
    pub fn take(schema: &Schema, reader: &mut Reader<'b>) -> Result<Self, Malformed> {
        let budget = reader.rest().len().saturating_add(FREE_VALUES_MAX);
        Take {
            schema,
            reader,
            budget,
        }
        .ty(schema.root(), DEPTH_MAX)
    }

    /// Reads `bytes` whole.
    ///
    /// Errors: any [`Fault`].
    pub fn parse(schema: &Schema, bytes: &'b [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let datum = Self::take(schema, &mut reader)?;
        reader.finish()?;
        Ok(datum)
    }

    /// Appends the datum's binary form: shortest varints, one block for each array and map.
    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => {}
            Self::Boolean(value) => write::put_bool(out, *value),
            Self::Int(value) => write::put_int(out, *value),
            Self::Long(value) => write::put_long(out, *value),
            Self::Float(value) => write::put_float(out, *value),
            Self::Double(value) => write::put_double(out, *value),
            Self::Bytes(value) => write::put_bytes(out, value),
            Self::String(value) => write::put_string(out, value),
            Self::Fixed(value) => write::put_fixed(out, value),
            Self::Enum(symbol) => write::put_enum(out, *symbol),
            Self::Union(branch, value) => {
                write::put_branch(out, *branch);
                value.put(out);
            }
            Self::Array(items) => {
                write::put_block_count(out, items.len());
                items.iter().for_each(|item| item.put(out));
                write::put_block_end(out);
            }
            Self::Map(entries) => {
                write::put_block_count(out, entries.len());
                for (key, value) in entries {
                    write::put_string(out, key);
                    value.put(out);
                }
                write::put_block_end(out);
            }
            Self::Record(fields) => fields.iter().for_each(|field| field.put(out)),
        }
    }
}

struct Take<'s, 'r, 'b> {
    schema: &'s Schema,
    reader: &'r mut Reader<'b>,
    budget: usize,
}

impl<'b> Take<'_, '_, 'b> {
    fn ty(&mut self, ty: &Type, depth: usize) -> Result<Datum<'b>, Malformed> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(self.reader.malformed("value", Fault::TooDeep));
        };
        self.budget = match self.budget.checked_sub(1) {
            Some(left) => left,
            None => return Err(self.reader.malformed("value", Fault::TooMany)),
        };
        let reader = &mut *self.reader;
        Ok(match self.schema.resolve(ty) {
            View::Null => Datum::Null,
            View::Boolean => Datum::Boolean(reader.take_bool()?),
            View::Int => Datum::Int(reader.take_int()?),
            View::Long => Datum::Long(reader.take_long()?),
            View::Float => Datum::Float(reader.take_float()?),
            View::Double => Datum::Double(reader.take_double()?),
            View::Bytes => Datum::Bytes(reader.take_bytes()?),
            View::String => Datum::String(reader.take_string()?),
            View::Fixed(_, size) => Datum::Fixed(reader.take_fixed(size)?),
            View::Enum(_, symbols) => Datum::Enum(reader.take_enum(symbols.len())?),
            View::Union(branches) => {
                let branch = reader.take_branch(branches.len())?;
                let Some(ty) = branches.get(branch as usize) else {
                    return Err(self.reader.malformed("union branch", Fault::OutOfRange));
                };
                Datum::Union(branch, Box::new(self.ty(ty, depth)?))
            }
            View::Array(items) => {
                let mut list = Vec::new();
                self.blocks(|this| {
                    list.push(this.ty(items, depth)?);
                    Ok(())
                })?;
                Datum::Array(list)
            }
            View::Map(values) => {
                let mut entries = Vec::new();
                self.blocks(|this| {
                    let key = this.reader.take_string()?;
                    entries.push((key, this.ty(values, depth)?));
                    Ok(())
                })?;
                Datum::Map(entries)
            }
            View::Record(_, fields) => {
                // Not sized by the field count: the first fields may already be missing.
                let mut values = Vec::new();
                for field in fields {
                    values.push(self.ty(&field.ty, depth)?);
                }
                Datum::Record(values)
            }
        })
    }

    fn blocks(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        loop {
            let block = self.reader.take_block()?;
            if block.count == 0 {
                return Ok(());
            }
            for _ in 0..block.count {
                item(self)?;
            }
        }
    }
}

impl Schema {
    /// A datum of this schema for people: records as objects, unions as their value, decimals as
    /// the text of their number, other bytes as one character for each.
    #[must_use]
    pub fn to_json(&self, datum: &Datum<'_>) -> Value {
        self.value(self.root(), datum)
    }

    fn value(&self, ty: &Type, datum: &Datum<'_>) -> Value {
        match (datum, self.resolve(ty)) {
            (Datum::Null, _) => Value::Null,
            (Datum::Boolean(value), _) => (*value).into(),
            (Datum::Int(value), _) => (*value).into(),
            (Datum::Long(value), _) => (*value).into(),
            (Datum::Float(value), _) => crate::json::float(*value),
            (Datum::Double(value), _) => crate::json::double(*value),
            (Datum::Bytes(value) | Datum::Fixed(value), _) => match self.decimal_scale(ty) {
                Some(scale) => Value::String(decimal::text(value, scale)),
                None => crate::json::bytes(value),
            },
            (Datum::String(value), _) => (*value).into(),
            (Datum::Enum(symbol), View::Enum(_, symbols)) => symbols
                .get(*symbol as usize)
                .map_or(Value::Null, |symbol| symbol.as_str().into()),
            (Datum::Union(branch, value), View::Union(branches)) => branches
                .get(*branch as usize)
                .map_or(Value::Null, |ty| self.value(ty, value)),
            (Datum::Array(items), View::Array(ty)) => {
                items.iter().map(|item| self.value(ty, item)).collect()
            }
            (Datum::Map(entries), View::Map(ty)) => Value::Object(
                entries
                    .iter()
                    .map(|(key, item)| ((*key).into(), self.value(ty, item)))
                    .collect(),
            ),
            (Datum::Record(values), View::Record(_, fields)) => Value::Object(
                fields
                    .iter()
                    .zip(values)
                    .map(|(field, item)| (field.name.clone(), self.value(&field.ty, item)))
                    .collect::<Properties>(),
            ),
            // A datum of another schema.
            _ => Value::Null,
        }
    }

    fn decimal_scale(&self, ty: &Type) -> Option<i32> {
        let properties = self.properties(ty)?;
        if properties.get("logicalType")?.as_str()? != "decimal" {
            return None;
        }
        let scale = properties
            .get("scale")
            .and_then(Value::as_i64)
            .unwrap_or_default();
        i32::try_from(scale).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Any schema: names are made unique by their place.
    fn any_schema() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop::sample::select(vec![
            "null", "boolean", "int", "long", "float", "double", "bytes", "string",
        ])
        .prop_map(serde_json::Value::from);
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                inner
                    .clone()
                    .prop_map(|items| serde_json::json!({"type":"array","items":items})),
                inner
                    .clone()
                    .prop_map(|values| serde_json::json!({"type":"map","values":values})),
                (0..40u8)
                    .prop_map(|size| serde_json::json!({"type":"fixed","name":"?","size":size})),
                Just(serde_json::json!({"type":"enum","name":"?","symbols":["A","B"]})),
                inner.clone().prop_map(|some| match some.as_array() {
                    Some(_) => some,
                    None if some == "null" => serde_json::json!(["null"]),
                    None => serde_json::json!(["null", some]),
                }),
                prop::collection::vec(inner, 0..4).prop_map(|types| {
                    let fields = types.into_iter().enumerate();
                    let fields: Vec<_> = fields
                        .map(|(at, ty)| serde_json::json!({"name":format!("f{at}"),"type":ty}))
                        .collect();
                    serde_json::json!({"type":"record","name":"?","fields":fields})
                }),
            ]
        })
    }

    fn parse(schema: &serde_json::Value) -> Schema {
        let mut count = 0;
        let text: String = schema
            .to_string()
            .chars()
            .map(|char| {
                if char == '?' {
                    count += 1;
                    format!("N{count}")
                } else {
                    char.to_string()
                }
            })
            .collect();
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// A datum of `ty` out of random bytes; zeros when they run out.
    fn any_datum<'b>(schema: &Schema, ty: &Type, seed: &mut &'b [u8]) -> Datum<'b> {
        let mut take = |count: usize| {
            let (taken, rest) = seed.split_at(count.min(seed.len()));
            *seed = rest;
            taken
        };
        let mut number = || {
            take(8)
                .iter()
                .fold(0i64, |sum, byte| sum << 8 | i64::from(*byte))
        };
        match schema.resolve(ty) {
            View::Null => Datum::Null,
            View::Boolean => Datum::Boolean(number() & 1 == 1),
            View::Int => Datum::Int(i32::try_from(number() >> 32).unwrap()),
            View::Long => Datum::Long(number()),
            View::Float => Datum::Float(f32::from(i16::try_from(number() >> 48).unwrap())),
            View::Double => Datum::Double(f64::from(i32::try_from(number() >> 32).unwrap())),
            View::Bytes => Datum::Bytes(take(9)),
            View::String => Datum::String(["", "a", "é", "long enough"][take(1).len()]),
            View::Enum(_, symbols) => {
                Datum::Enum(u32::from(symbols.len() > 1 && number() & 1 == 1))
            }
            View::Fixed(_, size) => Datum::Fixed([&[7; 40][..], &[]][0].split_at(size).0),
            View::Array(items) => {
                let count = take(1).first().map_or(0, |byte| byte % 4);
                Datum::Array((0..count).map(|_| any_datum(schema, items, seed)).collect())
            }
            View::Map(values) => {
                let count = take(1).first().map_or(0, |byte| byte % 3);
                Datum::Map(
                    (0..count)
                        .map(|_| ("k", any_datum(schema, values, seed)))
                        .collect(),
                )
            }
            View::Union(branches) => {
                let branch = usize::from(take(1).first().copied().unwrap_or(0)) % branches.len();
                let value = any_datum(schema, &branches[branch], seed);
                Datum::Union(u32::try_from(branch).unwrap(), Box::new(value))
            }
            View::Record(_, fields) => Datum::Record(
                fields
                    .iter()
                    .map(|field| any_datum(schema, &field.ty, seed))
                    .collect(),
            ),
        }
    }

    proptest! {
        #[test]
        fn what_is_put_is_taken(schema in any_schema(), seed: Vec<u8>) {
            let schema = parse(&schema);
            let text = schema.to_string();
            prop_assert_eq!(text.parse::<Schema>().unwrap().to_string(), text.clone());
            prop_assert!(crate::compatibility::can_read(&schema, &schema).is_empty());
            let datum = any_datum(&schema, schema.root(), &mut &seed[..]);
            let mut bytes = Vec::new();
            datum.put(&mut bytes);
            prop_assert_eq!(&Datum::parse(&schema, &bytes).unwrap(), &datum);
            for cut in 0..bytes.len() {
                prop_assert!(Datum::parse(&schema, &bytes[..cut]).is_err());
            }
            let _: Value = schema.to_json(&datum);
        }
    }

    /// As fastavro and Apache's Python library write them.
    #[test]
    fn vectors() {
        for (schema, bytes, json) in [
            (r#"["null","string"]"#, &[0x00][..], "null"),
            (r#"["null","string"]"#, &[0x02, 0x02, 0x61], r#""a""#),
            (r#"["string","null"]"#, &[0x02], "null"),
            (
                r#"{"type":"array","items":"long"}"#,
                &[0x04, 0x06, 0x36, 0x00],
                "[3,27]",
            ),
            (
                r#"{"type":"map","values":"int"}"#,
                &[0x02, 0x02, 0x61, 0x02, 0x00],
                r#"{"a":1}"#,
            ),
            (
                r#"{"type":"enum","name":"E","symbols":["A","B","C"]}"#,
                &[0x04],
                r#""C""#,
            ),
            (
                r#"{"type":"record","name":"R","fields":[{"name":"a","type":"long"},{"name":"b","type":"string"}]}"#,
                &[0x36, 0x06, 0x66, 0x6f, 0x6f],
                r#"{"a":27,"b":"foo"}"#,
            ),
            (
                r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}"#,
                &[0x02, 0x83],
                r#""-1.25""#,
            ),
        ] {
            let schema: Schema = schema.parse().unwrap();
            let datum = Datum::parse(&schema, bytes).unwrap();
            assert_eq!(schema.to_json(&datum).to_string(), json);
            let mut out = Vec::new();
            datum.put(&mut out);
            assert_eq!(out, bytes);
        }
    }

    #[test]
    fn blocks_with_sizes_are_read() {
        let schema: Schema = r#"{"type":"array","items":"int"}"#.parse().unwrap();
        let datum = Datum::parse(&schema, &[3, 4, 2, 4, 2, 6, 0]).unwrap();
        assert_eq!(
            datum,
            Datum::Array(vec![Datum::Int(1), Datum::Int(2), Datum::Int(3)])
        );
    }

    #[test]
    fn little_bytes_make_no_giant() {
        let nulls: Schema = r#"{"type":"array","items":"null"}"#.parse().unwrap();
        let mut bytes = Vec::new();
        write::put_long(&mut bytes, i64::MAX);
        assert_eq!(
            Datum::parse(&nulls, &bytes).unwrap_err().fault,
            Fault::TooMany
        );
        let list: Schema =
            r#"{"type":"record","name":"L","fields":[{"name":"n","type":["null","L"]}]}"#
                .parse()
                .unwrap();
        assert_eq!(
            Datum::parse(&list, &[2; 1000]).unwrap_err().fault,
            Fault::TooDeep
        );
        let mut short = vec![2; 50];
        short.push(0);
        assert!(Datum::parse(&list, &short).is_ok());
    }
}
