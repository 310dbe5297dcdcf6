//! Kafka Connect's schemas and values, and how the two converters write them.
//!
//! What a table's columns mean is said once, as a [`Schema`]; JsonConverter's text of it and the
//! Avro schema that AvroConverter registers are two renderings. A [`Value`] is the slow, plain way
//! to the bytes of anything that is written once per schema or once per transaction: defaults,
//! fallbacks, heartbeats. Rows take the compiled way in `plan`.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::form::{Form, Json, put_decimal, put_json_string};
use super::number::Decimal;
use crate::config::AvroText;

/// `connect.decimal.precision` where a Decimal does not say it.
const DECIMAL_PRECISION: &str = "64";

/// A Connect schema.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    /// Its type.
    pub kind: Kind,
    /// Whether null is a value of it.
    pub optional: bool,
    /// The semantic type: `io.debezium.time.Date`; a struct's full name.
    pub name: Option<String>,
    /// The semantic type's version.
    pub version: Option<i32>,
    /// Documentation, where Debezium sets it.
    pub doc: Option<String>,
    /// Parameters in the order in which Debezium sets them.
    pub parameters: Vec<(String, String)>,
    /// The default; never [`Value::Null`].
    pub default: Option<Value>,
}

/// The type of a [`Schema`].
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "Connect's own names")]
pub enum Kind {
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
    Boolean,
    String,
    Bytes,
    Array(Box<Schema>),
    Map(Box<Schema>, Box<Schema>),
    Struct(Vec<Field>),
}

/// One field of a struct.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its name, adjusted.
    pub name: String,
    /// Its schema.
    pub schema: Schema,
}

/// A Connect value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Null: only where the schema is optional.
    Null,
    /// BOOLEAN
    Boolean(bool),
    /// Any integer; days, milliseconds and so on of the time types.
    Integer(i64),
    /// FLOAT32
    Float(f32),
    /// FLOAT64
    Double(f64),
    /// STRING
    String(String),
    /// BYTES; a Decimal's unscaled value, big-endian, in the fewest bytes.
    Bytes(Vec<u8>),
    /// ARRAY
    Array(Vec<Self>),
    /// MAP, in the order in which it is written.
    Map(Vec<(Self, Self)>),
    /// STRUCT: one value a field.
    Struct(Vec<Self>),
}

impl Schema {
    /// A required schema without a name.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            optional: false,
            name: None,
            version: None,
            doc: None,
            parameters: Vec::new(),
            default: None,
        }
    }

    /// A required schema with a semantic type at version 1.
    #[must_use]
    pub fn named(kind: Kind, name: &str) -> Self {
        Self {
            name: Some(name.to_owned()),
            version: Some(1),
            ..Self::new(kind)
        }
    }

    /// A required struct at version 1, of these fields.
    #[must_use]
    pub fn record(name: &str, fields: Vec<(&str, Self)>) -> Self {
        let fields = fields
            .into_iter()
            .map(|(name, schema)| Field {
                name: name.to_owned(),
                schema,
            })
            .collect();
        Self::named(Kind::Struct(fields), name)
    }

    /// The same, and null is a value of it.
    #[must_use]
    pub fn optional(self) -> Self {
        Self {
            optional: true,
            ..self
        }
    }

    /// The same with one parameter more.
    #[must_use]
    pub fn with(mut self, parameter: &str, value: impl Into<String>) -> Self {
        self.parameters.push((parameter.to_owned(), value.into()));
        self
    }

    /// A struct's fields; of anything else none.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        match &self.kind {
            Kind::Struct(fields) => fields,
            _ => &[],
        }
    }

    /// The value of a parameter.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Appends JsonConverter's text: `type`, what it is made of, `optional`, `name`, `version`,
    /// `doc`, `parameters`, `default`, and for a field its name. `numeric` is `decimal.format`.
    pub fn put_json(&self, out: &mut Vec<u8>, numeric: bool) {
        self.put_json_field(out, None, numeric);
    }

    fn put_json_field(&self, out: &mut Vec<u8>, field: Option<&str>, numeric: bool) {
        put(out, "{\"type\":\"");
        put(out, self.kind.connect_name());
        put(out, "\"");
        match &self.kind {
            Kind::Struct(fields) => {
                put(out, ",\"fields\":[");
                for (index, field) in fields.iter().enumerate() {
                    Json::item(out, index);
                    field.schema.put_json_field(out, Some(&field.name), numeric);
                }
                put(out, "]");
            }
            Kind::Array(items) => {
                put(out, ",\"items\":");
                items.put_json(out, numeric);
            }
            Kind::Map(keys, values) => {
                put(out, ",\"keys\":");
                keys.put_json(out, numeric);
                put(out, ",\"values\":");
                values.put_json(out, numeric);
            }
            _ => {}
        }
        put(
            out,
            if self.optional {
                ",\"optional\":true"
            } else {
                ",\"optional\":false"
            },
        );
        if let Some(name) = &self.name {
            put(out, ",\"name\":");
            put_string(out, name);
        }
        if let Some(version) = self.version {
            put(out, ",\"version\":");
            put_decimal(out, version.into());
        }
        if let Some(doc) = &self.doc {
            put(out, ",\"doc\":");
            put_string(out, doc);
        }
        if !self.parameters.is_empty() {
            put(out, ",\"parameters\":");
            put_parameters(out, &self.parameters, true);
        }
        if let Some(default) = &self.default {
            put(out, ",\"default\":");
            default.put_json(
                &Self {
                    optional: false,
                    ..self.clone()
                },
                out,
                numeric,
            );
        }
        if let Some(field) = field {
            put(out, ",\"field\":");
            put_string(out, field);
        }
        put(out, "}");
    }

    /// The text of the Avro schema that AvroConverter registers.
    ///
    /// As Java's `Schema.toString()` prints it: compact, namespaces only where they change.
    #[must_use]
    pub fn avro(&self, text: AvroText) -> String {
        let mut writer = AvroWriter {
            out: Vec::new(),
            seen: Vec::new(),
            text,
        };
        writer.put_union(self, "", false);
        String::from_utf8(writer.out)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// The full name of the Avro record that a struct becomes.
    #[must_use]
    pub fn avro_name(&self, text: AvroText) -> Option<Cow<'_, str>> {
        let name = self.name.as_deref()?;
        if !text.scrubs {
            return Some(Cow::Borrowed(name));
        }
        let parts: Vec<String> = name.split('.').map(scrubbed).collect();
        Some(Cow::Owned(parts.join(".")))
    }

    /// The Decimal's scale, where this is one.
    #[must_use]
    pub fn decimal_scale(&self) -> Option<u32> {
        (self.name.as_deref() == Some(DECIMAL))
            .then(|| self.parameter("scale").and_then(|scale| scale.parse().ok()))
            .flatten()
    }
}

/// Connect's own logical types.
pub(crate) const DECIMAL: &str = "org.apache.kafka.connect.data.Decimal";
pub(crate) const DATE: &str = "org.apache.kafka.connect.data.Date";
pub(crate) const TIME: &str = "org.apache.kafka.connect.data.Time";
pub(crate) const TIMESTAMP: &str = "org.apache.kafka.connect.data.Timestamp";

impl Kind {
    /// As JsonConverter names it.
    fn connect_name(&self) -> &'static str {
        match self {
            Self::Int16 => "int16",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Float32 => "float",
            Self::Float64 => "double",
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Array(_) => "array",
            Self::Map(..) => "map",
            Self::Struct(_) => "struct",
        }
    }

    /// Avro's primitive.
    fn avro_name(&self) -> &'static str {
        match self {
            Self::Int16 | Self::Int32 => "int",
            Self::Int64 => "long",
            Self::Float32 => "float",
            Self::Float64 => "double",
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Array(_) => "array",
            Self::Map(..) => "map",
            Self::Struct(_) => "record",
        }
    }
}

impl Value {
    /// Appends the value as AvroConverter writes it under `schema`: union branch first.
    ///
    /// A null under a schema with a default is the default: `Struct.get` says so in Java.
    pub fn put_avro(&self, schema: &Schema, out: &mut Vec<u8>) {
        self.put::<super::form::Avro>(schema, out, false, true);
    }

    /// Appends the value as JsonConverter writes it under `schema`.
    pub fn put_json(&self, schema: &Schema, out: &mut Vec<u8>, numeric: bool) {
        self.put::<Json>(schema, out, numeric, true);
    }

    /// Appends the value in a form. `numeric`: Decimals as numbers. `defaults`: a null under a
    /// schema with a default is the default.
    pub(crate) fn put<F: Form>(
        &self,
        schema: &Schema,
        out: &mut Vec<u8>,
        numeric: bool,
        defaults: bool,
    ) {
        let value = match (self, &schema.default) {
            (Self::Null, Some(default)) if defaults => default,
            _ => self,
        };
        if schema.optional {
            put_branch::<F>(schema, matches!(value, Self::Null), out);
        }
        match (value, &schema.kind) {
            // Avro's branch has said it.
            (Self::Null, _) if F::WORDLESS => {}
            (Self::Null, _) => F::null(out),
            (Self::Boolean(value), _) => F::boolean(out, *value),
            (Self::Integer(value), _) => F::integer(out, *value),
            (Self::Float(value), _) => F::float(out, *value),
            (Self::Double(value), _) => F::double(out, *value),
            (Self::String(value), _) => F::string(out, value.as_bytes()),
            (Self::Bytes(value), _) => match schema.decimal_scale() {
                Some(scale) if numeric => Decimal::from_bytes(value, scale).put_java(out),
                _ => F::bytes(out, value),
            },
            (Self::Array(values), Kind::Array(items)) => {
                let mark = F::open_array(out);
                for (index, value) in values.iter().enumerate() {
                    F::item(out, index);
                    value.put::<F>(items, out, numeric, defaults);
                }
                F::close_array(out, mark, values.len());
            }
            (Self::Map(pairs), Kind::Map(keys, values)) if keys.kind == Kind::String => {
                let mark = F::open_map(out);
                for (index, (key, value)) in pairs.iter().enumerate() {
                    if let Self::String(key) = key {
                        F::map_key(out, index, key.as_bytes());
                    }
                    value.put::<F>(values, out, numeric, defaults);
                }
                F::close_map(out, mark, pairs.len());
            }
            // Without string keys: an array of pairs.
            (Self::Map(pairs), Kind::Map(keys, values)) => {
                let mark = F::open_array(out);
                for (index, (key, value)) in pairs.iter().enumerate() {
                    F::item(out, index);
                    F::field(out, "[");
                    key.put::<F>(keys, out, numeric, defaults);
                    F::field(out, ",");
                    value.put::<F>(values, out, numeric, defaults);
                    F::field(out, "]");
                }
                F::close_array(out, mark, pairs.len());
            }
            (Self::Struct(values), Kind::Struct(fields)) => {
                if fields.is_empty() {
                    F::field(out, "{");
                }
                for (index, (field, value)) in fields.iter().zip(values).enumerate() {
                    F::field(out, &field_lead(&field.name, index));
                    value.put::<F>(&field.schema, out, numeric, defaults);
                }
                F::end_struct(out);
            }
            (Self::Array(_) | Self::Map(_) | Self::Struct(_), _) => {
                unreachable!("a value of another type than its schema's")
            }
        }
    }
}

/// `{"name":` for the first field of a struct, `,"name":` for the others.
pub(crate) fn field_lead(name: &str, index: usize) -> String {
    let mut lead = vec![if index == 0 { b'{' } else { b',' }];
    put_string(&mut lead, name);
    lead.push(b':');
    String::from_utf8(lead).unwrap_or_default()
}

/// Appends the union branch of an optional schema: `[T, "null"]` where it has a default, else
/// `["null", T]`.
pub(crate) fn put_branch<F: Form>(schema: &Schema, null: bool, out: &mut Vec<u8>) {
    if !schema.optional || !F::WORDLESS {
        return;
    }
    if null == schema.default.is_some() {
        F::some(out)
    } else {
        F::null(out)
    }
}

struct AvroWriter {
    out: Vec<u8>,
    /// Full names of the records already written: written again by name.
    seen: Vec<String>,
    text: AvroText,
}

impl AvroWriter {
    /// Appends `schema`, as a union when it is optional. `item`: inside an array or a map.
    fn put_union(&mut self, schema: &Schema, space: &str, item: bool) {
        let default_first = schema.default.is_some() && !item;
        match (schema.optional, default_first) {
            (false, _) => self.put_type(schema, space),
            (true, true) => {
                put(&mut self.out, "[");
                self.put_type(schema, space);
                put(&mut self.out, ",\"null\"]");
            }
            (true, false) => {
                put(&mut self.out, "[\"null\",");
                self.put_type(schema, space);
                put(&mut self.out, "]");
            }
        }
    }

    fn put_type(&mut self, schema: &Schema, space: &str) {
        match &schema.kind {
            Kind::Struct(fields) => return self.put_record(schema, fields, space),
            Kind::Array(items) => {
                put(&mut self.out, "{\"type\":\"array\",\"items\":");
                self.put_union(items, space, true);
            }
            Kind::Map(keys, values) if keys.kind == Kind::String && !keys.optional => {
                put(&mut self.out, "{\"type\":\"map\",\"values\":");
                self.put_union(values, space, true);
            }
            Kind::Map(keys, values) => {
                put(&mut self.out, "{\"type\":\"array\",\"items\":");
                let entry = Schema::new(Kind::Struct(vec![
                    Field {
                        name: "key".to_owned(),
                        schema: (**keys).clone(),
                    },
                    Field {
                        name: "value".to_owned(),
                        schema: (**values).clone(),
                    },
                ]));
                let entry = Schema {
                    name: Some(MAP_ENTRY.to_owned()),
                    ..entry
                };
                self.put_type(&entry, space);
            }
            primitive => {
                if !self.has_properties(schema) {
                    return put_text(&mut self.out, primitive.avro_name());
                }
                put(&mut self.out, "{\"type\":");
                put_text(&mut self.out, primitive.avro_name());
            }
        }
        self.put_properties(schema);
        put(&mut self.out, "}");
    }

    fn put_record(&mut self, schema: &Schema, fields: &[Field], space: &str) {
        let full = schema
            .avro_name(self.text)
            .unwrap_or(Cow::Borrowed("io.confluent.connect.avro.ConnectDefault"));
        let full = &*full;
        let (own_space, name) = full.rsplit_once('.').unwrap_or(("", full));
        if self.seen.iter().any(|seen| seen == full) {
            return put_text(&mut self.out, if own_space == space { name } else { full });
        }
        self.seen.push(full.to_owned());
        put(&mut self.out, "{\"type\":\"record\",\"name\":");
        put_text(&mut self.out, name);
        if own_space != space {
            put(&mut self.out, ",\"namespace\":");
            put_text(&mut self.out, own_space);
        }
        put(&mut self.out, ",\"fields\":[");
        for (index, field) in fields.iter().enumerate() {
            Json::item(&mut self.out, index);
            put(&mut self.out, "{\"name\":");
            match self.text.scrubs {
                true => put_text(&mut self.out, &scrubbed(&field.name)),
                false => put_text(&mut self.out, &field.name),
            }
            put(&mut self.out, ",\"type\":");
            self.put_union(&field.schema, own_space, false);
            match &field.schema.default {
                Some(default) => {
                    put(&mut self.out, ",\"default\":");
                    self.put_default(default, &field.schema, true);
                }
                None if field.schema.optional => put(&mut self.out, ",\"default\":null"),
                None => {}
            }
            put(&mut self.out, "}");
        }
        put(&mut self.out, "]");
        self.put_properties(schema);
        put(&mut self.out, "}");
    }

    /// Whether a primitive needs more than its bare name.
    fn has_properties(&self, schema: &Schema) -> bool {
        logical_type(schema).is_some()
            || self.text.meta
                && (schema.doc.is_some()
                    || schema.version.is_some()
                    || !schema.parameters.is_empty()
                    || schema.default.is_some()
                    || schema.name.is_some()
                    || schema.kind == Kind::Int16)
    }

    fn put_properties(&mut self, schema: &Schema) {
        let decimal = schema.name.as_deref() == Some(DECIMAL);
        if decimal {
            let precision = schema.parameter("connect.decimal.precision");
            put(&mut self.out, ",\"scale\":");
            put(&mut self.out, schema.parameter("scale").unwrap_or("0"));
            put(&mut self.out, ",\"precision\":");
            put(&mut self.out, precision.unwrap_or(DECIMAL_PRECISION));
        }
        if self.text.meta {
            if let Some(doc) = &schema.doc {
                put(&mut self.out, ",\"connect.doc\":");
                put_text(&mut self.out, doc);
            }
            if let Some(version) = schema.version {
                put(&mut self.out, ",\"connect.version\":");
                put_decimal(&mut self.out, version.into());
            }
            if !schema.parameters.is_empty() {
                put(&mut self.out, ",\"connect.parameters\":");
                put_parameters(&mut self.out, &schema.parameters, false);
            }
            if let Some(default) = &schema.default {
                put(&mut self.out, ",\"connect.default\":");
                self.put_default(default, schema, false);
            }
            // AvroConverter's own record has no name in Connect.
            if let Some(name) = schema.name.as_ref().filter(|name| *name != MAP_ENTRY) {
                put(&mut self.out, ",\"connect.name\":");
                put_text(&mut self.out, name);
            }
            if schema.kind == Kind::Int16 {
                put(&mut self.out, ",\"connect.type\":\"int16\"");
            }
        }
        if let Some(logical) = logical_type(schema) {
            put(&mut self.out, ",\"logicalType\":");
            put_text(&mut self.out, logical);
        }
    }

    /// A default's JSON: bytes as one character a byte. `field`: the field's own default, where
    /// Avro Java has widened floats to doubles.
    fn put_default(&mut self, value: &Value, schema: &Schema, field: bool) {
        match value {
            Value::Bytes(bytes) => {
                let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
                put_text(&mut self.out, &text);
            }
            Value::Float(value) if field => Json::double(&mut self.out, f64::from(*value)),
            Value::String(text) => put_text(&mut self.out, text),
            value => {
                let required = Schema {
                    optional: false,
                    ..schema.clone()
                };
                value.put_json(&required, &mut self.out, false);
            }
        }
    }
}

/// A name, or one of the parts of a full name, with what Avro forbids in it encoded as in a URL, and
/// what it forbids in that replaced.
fn scrubbed(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => out.push(char::from(byte)),
            b'.' | b'-' | b'*' | b' ' => out.push('_'),
            _ => {
                let _ = write!(out, "_{byte:02X}");
            }
        }
    }
    let first = name.bytes().next();
    if first.is_some_and(|byte| byte.is_ascii_digit()) {
        out.insert(0, 'x');
    }
    out
}

const MAP_ENTRY: &str = "io.confluent.connect.avro.MapEntry";

fn logical_type(schema: &Schema) -> Option<&'static str> {
    match schema.name.as_deref()? {
        DECIMAL => Some("decimal"),
        DATE => Some("date"),
        TIME => Some("time-millis"),
        TIMESTAMP => Some("timestamp-millis"),
        _ => None,
    }
}

fn put_parameters(out: &mut Vec<u8>, parameters: &[(String, String)], surrogates: bool) {
    put(out, "{");
    for (index, (key, value)) in parameters.iter().enumerate() {
        Json::item(out, index);
        put_json_string(out, key.as_bytes(), surrogates);
        put(out, ":");
        put_json_string(out, value.as_bytes(), surrogates);
    }
    put(out, "}");
}

fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// As Avro Java prints schemas: characters beyond the BMP stay.
fn put_text(out: &mut Vec<u8>, text: &str) {
    put_json_string(out, text.as_bytes(), false);
}

/// As JsonConverter prints: characters beyond the BMP are escaped.
fn put_string(out: &mut Vec<u8>, text: &str) {
    put_json_string(out, text.as_bytes(), true);
}
