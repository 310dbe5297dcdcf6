//! Schema text in and out, and Parsing Canonical Form.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::error::{SchemaError, SchemaFault};
use crate::schema::{
    Builder, Field, Name, Named, NamedId, Order, Primitive, Properties, Schema, Shape, Type, View,
};

/// How deep types may be nested in each other's definitions.
pub const DEPTH_MAX: usize = 100;

/// Values looked at while a default is compared with its type; a default that needs more is
/// refused.
const DEFAULT_VALUES_MAX: usize = 100_000;

/// Members that are never properties.
const RESERVED: [&str; 10] = [
    "doc",
    "fields",
    "items",
    "name",
    "namespace",
    "size",
    "symbols",
    "values",
    "type",
    "aliases",
];
const FIELD_RESERVED: [&str; 6] = ["default", "doc", "name", "order", "type", "aliases"];

// ---------------------------------------------------------------------------------------- in ---

impl FromStr for Schema {
    type Err = SchemaError;

    /// Reads a schema's text, strictly: what a registry refuses in a new schema is refused here.
    ///
    /// Errors: the text is not JSON; or, with its place, what is wrong with the schema.
    fn from_str(text: &str) -> Result<Self, SchemaError> {
        Self::parse_with(text, &[])
    }
}

impl Schema {
    /// Reads a schema's text which may use the named types of `references`.
    ///
    /// Errors: as `str::parse`.
    pub fn parse_with(text: &str, references: &[Self]) -> Result<Self, SchemaError> {
        let value: Value = serde_json::from_str(text)
            .map_err(|error| SchemaError::new("", SchemaFault::NotJson(error.to_string())))?;
        let mut parser = Parser {
            builder: Builder::new(),
            path: String::new(),
        };
        for reference in references {
            parser.builder.import(reference);
        }
        let root = parser.ty(&value, "", DEPTH_MAX)?;
        parser.builder.finish(root)
    }
}

struct Parser {
    builder: Builder,
    /// Where we are; stays at the fault.
    path: String,
}

impl Parser {
    fn error(&self, fault: SchemaFault) -> SchemaError {
        SchemaError::new(&self.path, fault)
    }

    fn at<T>(
        &mut self,
        step: impl fmt::Display,
        parse: impl FnOnce(&mut Self) -> Result<T, SchemaError>,
    ) -> Result<T, SchemaError> {
        let length = self.path.len();
        self.path.push_str(&format!("/{step}"));
        let parsed = parse(self)?;
        self.path.truncate(length);
        Ok(parsed)
    }

    fn ty(&mut self, value: &Value, space: &str, depth: usize) -> Result<Type, SchemaError> {
        let depth = depth
            .checked_sub(1)
            .ok_or_else(|| self.error(SchemaFault::TooDeep))?;
        match value {
            Value::String(name) => self.reference(name, space),
            Value::Array(branches) => {
                let mut types = Vec::with_capacity(branches.len());
                for (index, branch) in branches.iter().enumerate() {
                    types.push(self.at(index, |this| this.ty(branch, space, depth))?);
                }
                Ok(Type::Union(types))
            }
            Value::Object(members) => self.object(members, space, depth),
            _ => Err(self.error(SchemaFault::NotASchema)),
        }
    }

    fn reference(&self, text: &str, space: &str) -> Result<Type, SchemaError> {
        if let Some(primitive) = Primitive::named(text) {
            return Ok(primitive.into());
        }
        // Java does not find ".N" either.
        let known = |name| {
            if text.starts_with('.') {
                None
            } else {
                self.builder.known(&name)
            }
        };
        known(Name::within(space, text))
            .or_else(|| known(Name::within("", text)))
            .ok_or_else(|| self.error(SchemaFault::Undefined(text.to_owned())))
    }

    fn object(
        &mut self,
        members: &Properties,
        space: &str,
        depth: usize,
    ) -> Result<Type, SchemaError> {
        let Some(type_name) = text(members, "type") else {
            return Err(self.error(SchemaFault::Missing("type")));
        };
        let properties = |more: &str| {
            let mut properties = members.clone();
            properties.retain(|key, _| !RESERVED.contains(&key.as_str()) && key != more);
            properties
        };
        match type_name {
            "array" => {
                let items = self.member(members, "items")?;
                let items = self.at("items", |this| this.ty(items, space, depth))?;
                Ok(Type::Array(Box::new(items), properties("")))
            }
            "map" => {
                let values = self.member(members, "values")?;
                let values = self.at("values", |this| this.ty(values, space, depth))?;
                Ok(Type::Map(Box::new(values), properties("")))
            }
            "record" | "error" | "enum" | "fixed" => {
                let Some(name) = text(members, "name") else {
                    return Err(self.error(SchemaFault::Missing("name")));
                };
                let name = Name::within(text(members, "namespace").unwrap_or(space), name);
                let id = self
                    .builder
                    .declare(name.clone())
                    .map_err(|error| self.placed(&error))?;
                let (shape, properties) = match type_name {
                    "enum" => (self.symbols(members)?, properties("default")),
                    "fixed" => (self.fixed(members)?, properties("")),
                    record => {
                        let fields = self.fields(members, &name.namespace, depth)?;
                        (
                            Shape::Record {
                                error: record == "error",
                                fields,
                            },
                            properties(""),
                        )
                    }
                };
                let mut aliases = Vec::new();
                for alias in self.texts(members, "aliases")? {
                    let alias = Name::within(&name.namespace, &alias);
                    if !aliases.contains(&alias) {
                        aliases.push(alias);
                    }
                }
                let doc = text(members, "doc").map(str::to_owned);
                let named = Named {
                    name,
                    doc,
                    aliases,
                    shape,
                    properties,
                };
                self.builder
                    .define_declared(id, named)
                    .map_err(|error| self.placed(&error))?;
                Ok(Type::Named(id))
            }
            other => match Primitive::named(other) {
                Some(primitive) => Ok(Type::Primitive(primitive, properties(""))),
                None => self.reference(other, space),
            },
        }
    }

    /// An error below here, seen from the root.
    fn placed(&self, error: &SchemaError) -> SchemaError {
        let path = format!("{}{}", self.path, error.path);
        SchemaError {
            path,
            fault: error.fault.clone(),
        }
    }

    fn member<'v>(
        &self,
        members: &'v Properties,
        name: &'static str,
    ) -> Result<&'v Value, SchemaError> {
        members
            .get(name)
            .ok_or_else(|| self.error(SchemaFault::Missing(name)))
    }

    fn fields(
        &mut self,
        members: &Properties,
        space: &str,
        depth: usize,
    ) -> Result<Vec<Field>, SchemaError> {
        let Some(Value::Array(list)) = members.get("fields") else {
            return Err(self.error(SchemaFault::Missing("fields")));
        };
        let mut fields = Vec::with_capacity(list.len());
        for (index, field) in list.iter().enumerate() {
            let parse = |this: &mut Self| this.at(index, |this| this.field(field, space, depth));
            fields.push(self.at("fields", parse)?);
        }
        Ok(fields)
    }

    fn field(&mut self, value: &Value, space: &str, depth: usize) -> Result<Field, SchemaError> {
        let Value::Object(members) = value else {
            return Err(self.error(SchemaFault::BadMember("fields", short(value))));
        };
        let Some(name) = text(members, "name") else {
            return Err(self.error(SchemaFault::Missing("name")));
        };
        let ty = self.member(members, "type")?;
        let ty = self.at("type", |this| this.ty(ty, space, depth))?;
        let order = match members.get("order") {
            None => Order::Ascending,
            Some(order) => {
                let word = order.as_str().unwrap_or_default().to_ascii_lowercase();
                [Order::Ascending, Order::Descending, Order::Ignore]
                    .into_iter()
                    .find(|order| order.as_str() == word)
                    .ok_or_else(|| self.error(SchemaFault::BadMember("order", short(order))))?
            }
        };
        let mut aliases = Vec::new();
        for alias in self.texts(members, "aliases")? {
            if !aliases.contains(&alias) {
                aliases.push(alias);
            }
        }
        let mut properties = members.clone();
        properties.retain(|key, _| !FIELD_RESERVED.contains(&key.as_str()));
        Ok(Field {
            name: name.to_owned(),
            default: members
                .get("default")
                .map(|default| number_from_text(&ty, default)),
            ty,
            doc: text(members, "doc").map(str::to_owned),
            order,
            aliases,
            properties,
        })
    }

    fn symbols(&self, members: &Properties) -> Result<Shape, SchemaError> {
        if !members.contains_key("symbols") {
            return Err(self.error(SchemaFault::Missing("symbols")));
        }
        let symbols = self.texts(members, "symbols")?;
        Ok(Shape::Enum {
            symbols,
            default: text(members, "default").map(str::to_owned),
        })
    }

    fn fixed(&self, members: &Properties) -> Result<Shape, SchemaError> {
        let size = self.member(members, "size")?;
        let fits = size.as_i64().and_then(|size| i32::try_from(size).ok());
        let Some(size) = fits.and_then(|size| usize::try_from(size).ok()) else {
            return Err(self.error(SchemaFault::BadMember("size", short(size))));
        };
        Ok(Shape::Fixed { size })
    }

    /// A member that, when there, is a list of strings.
    fn texts(&self, members: &Properties, name: &'static str) -> Result<Vec<String>, SchemaError> {
        let Some(value) = members.get(name) else {
            return Ok(Vec::new());
        };
        let texts = value.as_array().and_then(|list| {
            list.iter()
                .map(|text| text.as_str().map(str::to_owned))
                .collect::<Option<Vec<_>>>()
        });
        texts.ok_or_else(|| self.error(SchemaFault::BadMember(name, short(value))))
    }
}

fn text<'v>(members: &'v Properties, name: &str) -> Option<&'v str> {
    members.get(name).and_then(Value::as_str)
}

/// Avro's Java library takes a number in quotes for the default of a float or double.
fn number_from_text(ty: &Type, default: &Value) -> Value {
    let number = match (ty, default) {
        (Type::Primitive(Primitive::Float | Primitive::Double, _), Value::String(text)) => text
            .trim()
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite())
            .map(double),
        _ => None,
    };
    number.unwrap_or_else(|| default.clone())
}

/// A JSON value for an error's text, cut when long.
fn short(value: &Value) -> String {
    let mut text = String::new();
    put_json(&mut text, value);
    match text.char_indices().nth(80) {
        Some((cut, _)) => format!("{}..", text.get(..cut).unwrap_or_default()),
        None => text,
    }
}

// ------------------------------------------------------------------------------------- check ---

/// What holds for a whole schema only: unions, defaults, depth.
pub(crate) fn check(schema: &Schema) -> Result<(), SchemaError> {
    let mut check = Check {
        schema,
        seen: BTreeSet::new(),
    };
    check.ty(&schema.root().clone(), "", DEPTH_MAX)?;
    for id in schema.ids() {
        check.ty(&Type::Named(id), "", DEPTH_MAX)?;
    }
    Ok(())
}

struct Check<'s> {
    schema: &'s Schema,
    seen: BTreeSet<NamedId>,
}

impl Check<'_> {
    /// Walks as the text is printed: into a named type at its first occurrence only.
    fn ty(&mut self, ty: &Type, path: &str, depth: usize) -> Result<(), SchemaError> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(SchemaError::new(path, SchemaFault::TooDeep));
        };
        let schema = self.schema;
        match ty {
            Type::Primitive(..) => Ok(()),
            Type::Array(items, _) => self.ty(items, &format!("{path}/items"), depth),
            Type::Map(values, _) => self.ty(values, &format!("{path}/values"), depth),
            Type::Union(branches) => {
                let mut kinds = BTreeSet::new();
                for (index, branch) in branches.iter().enumerate() {
                    let path = format!("{path}/{index}");
                    if matches!(branch, Type::Union(_)) {
                        return Err(SchemaError::new(&path, SchemaFault::NestedUnion));
                    }
                    let kind = kind_name(schema, branch);
                    if !kinds.insert(kind.clone()) {
                        return Err(SchemaError::new(&path, SchemaFault::DuplicateBranch(kind)));
                    }
                    self.ty(branch, &path, depth)?;
                }
                Ok(())
            }
            Type::Named(id) => {
                if !self.seen.insert(*id) {
                    return Ok(());
                }
                let Shape::Record { fields, .. } = &schema.named(*id).shape else {
                    return Ok(());
                };
                for (index, field) in fields.iter().enumerate() {
                    let path = format!("{path}/fields/{index}");
                    self.ty(&field.ty, &format!("{path}/type"), depth)?;
                    if let Some(default) = &field.default {
                        let mut budget = DEFAULT_VALUES_MAX;
                        if !fits(schema, &field.ty, default, &mut budget, DEPTH_MAX) {
                            let fault = SchemaFault::BadDefault(field.name.clone(), short(default));
                            return Err(SchemaError::new(&path, fault));
                        }
                    }
                }
                Ok(())
            }
        }
    }
}

/// What tells a union's branches apart: the full name, or the kind of an unnamed type.
fn kind_name(schema: &Schema, ty: &Type) -> String {
    match ty {
        Type::Primitive(primitive, _) => primitive.as_str().to_owned(),
        Type::Array(..) => "array".to_owned(),
        Type::Map(..) => "map".to_owned(),
        Type::Union(_) => "union".to_owned(),
        Type::Named(id) => schema.named(*id).name.to_string(),
    }
}

/// Whether `value` may be the default of a field of type `ty`. Any branch of a union will do.
///
/// NaN and the infinities are strings, since that is how the Java library prints them.
fn fits(schema: &Schema, ty: &Type, value: &Value, budget: &mut usize, depth: usize) -> bool {
    let (Some(left), Some(depth)) = (budget.checked_sub(1), depth.checked_sub(1)) else {
        return false;
    };
    *budget = left;
    match schema.resolve(ty) {
        View::Null => value.is_null(),
        View::Boolean => value.is_boolean(),
        View::Int => value
            .as_i64()
            .is_some_and(|number| i32::try_from(number).is_ok()),
        View::Long => value.as_i64().is_some(),
        View::Float | View::Double => {
            value.is_number() || matches!(value.as_str(), Some("NaN" | "Infinity" | "-Infinity"))
        }
        View::Bytes | View::String | View::Enum(..) | View::Fixed(..) => value.is_string(),
        View::Array(items) => value
            .as_array()
            .is_some_and(|list| list.iter().all(|v| fits(schema, items, v, budget, depth))),
        View::Map(values) => value
            .as_object()
            .is_some_and(|map| map.values().all(|v| fits(schema, values, v, budget, depth))),
        View::Union(branches) => branches
            .iter()
            .any(|branch| fits(schema, branch, value, budget, depth)),
        View::Record(_, fields) => value.as_object().is_some_and(|object| {
            fields.iter().all(|field| {
                let member = object.get(&field.name).or(field.default.as_ref());
                member.is_some_and(|member| fits(schema, &field.ty, member, budget, depth))
            })
        }),
    }
}

// --------------------------------------------------------------------------------------- out ---

impl fmt::Display for Schema {
    /// The text that Avro's Java library prints, without blanks: what a registry is given.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printer = Printer {
            schema: self,
            printed: BTreeSet::new(),
            out: String::new(),
        };
        printer.ty(self.root(), "");
        f.write_str(&printer.out)
    }
}

impl Schema {
    /// Parsing Canonical Form: what a reader of data needs, and nothing else.
    ///
    /// Source: Apache Avro specification, "Transforming into Parsing Canonical Form".
    #[must_use]
    pub fn canonical_form(&self) -> String {
        let mut printer = Printer {
            schema: self,
            printed: BTreeSet::new(),
            out: String::new(),
        };
        printer.canonical(self.root());
        printer.out
    }
}

impl Schema {
    /// The schema that a registry stores under `normalize=true`: properties and aliases sorted,
    /// a logical type's own first; empty documentation left out.
    ///
    /// Source: Confluent Schema Registry, `AvroSchemaUtils`.
    #[must_use]
    pub fn normalized(&self) -> Self {
        let mut normal = self.clone();
        normal.for_each_type(&mut |ty| match ty {
            Type::Primitive(primitive, properties) => {
                let base = primitive.as_str();
                *properties = sorted(properties, is_logical(base, None, properties));
            }
            Type::Array(_, properties) | Type::Map(_, properties) => {
                *properties = sorted(properties, false);
            }
            Type::Union(_) | Type::Named(_) => {}
        });
        normal.for_each_named(&mut |named| {
            let logical = match named.shape {
                Shape::Fixed { size } => is_logical("fixed", Some(size), &named.properties),
                _ => false,
            };
            named.properties = sorted(&named.properties, logical);
            named.doc.take_if(|doc| doc.is_empty());
            named.aliases.sort_by_key(Name::to_string);
            if let Shape::Record { error, fields } = &mut named.shape {
                *error = false;
                for field in fields {
                    field.properties = sorted(&field.properties, false);
                    field.aliases.sort();
                    field.default = field.default.as_ref().map(sorted_value);
                }
            }
        });
        normal
    }
}

/// Whether `logicalType` is one that Java's library knows and finds in order.
fn is_logical(base: &str, size: Option<usize>, properties: &Properties) -> bool {
    let number = |name: &str| {
        properties
            .get(name)
            .map(|value| value.as_i64().unwrap_or(-1))
    };
    match (text(properties, "logicalType").unwrap_or_default(), base) {
        ("decimal", "bytes" | "fixed") => {
            let (precision, scale) = (number("precision").unwrap_or(-1), number("scale"));
            precision > 0 && (0..=precision).contains(&scale.unwrap_or(0))
        }
        ("uuid", "string") | ("date" | "time-millis", "int") => true,
        ("uuid", "fixed") => size == Some(16),
        ("duration", "fixed") => size == Some(12),
        ("time-micros", "long") => true,
        (name, "long") => ["timestamp-", "local-timestamp-"].iter().any(|prefix| {
            matches!(
                name.strip_prefix(prefix),
                Some("millis" | "micros" | "nanos")
            )
        }),
        _ => false,
    }
}

fn sorted(properties: &Properties, logical: bool) -> Properties {
    let mut keys: Vec<&String> = properties.keys().collect();
    keys.sort_by_key(|key| {
        let scale = properties.get("scale").and_then(Value::as_i64) != Some(0);
        let rank = match key.as_str() {
            "logicalType" if logical => 0,
            "precision" if logical && is_decimal(properties) => 1,
            "scale" if logical && is_decimal(properties) && scale => 2,
            _ => 3,
        };
        (rank, *key)
    });
    keys.into_iter()
        .filter_map(|key| Some((key.clone(), sorted_value(properties.get(key)?))))
        .collect()
}

fn is_decimal(properties: &Properties) -> bool {
    text(properties, "logicalType") == Some("decimal")
}

fn sorted_value(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(sorted_value).collect(),
        Value::Object(members) => Value::Object(sorted(members, false)),
        other => other.clone(),
    }
}

struct Printer<'s> {
    schema: &'s Schema,
    /// Defined in the text so far.
    printed: BTreeSet<NamedId>,
    out: String,
}

impl Printer<'_> {
    fn ty(&mut self, ty: &Type, space: &str) {
        match ty {
            Type::Primitive(primitive, properties) if properties.is_empty() => {
                put_text(&mut self.out, primitive.as_str());
            }
            Type::Primitive(primitive, properties) => {
                self.out.push_str("{\"type\":");
                put_text(&mut self.out, primitive.as_str());
                self.properties(properties);
                self.out.push('}');
            }
            Type::Array(items, properties) => {
                self.out.push_str("{\"type\":\"array\",\"items\":");
                self.ty(items, space);
                self.properties(properties);
                self.out.push('}');
            }
            Type::Map(values, properties) => {
                self.out.push_str("{\"type\":\"map\",\"values\":");
                self.ty(values, space);
                self.properties(properties);
                self.out.push('}');
            }
            Type::Union(branches) => {
                self.list(branches, |this, branch| this.ty(branch, space));
            }
            Type::Named(id) => {
                if self.schema.is_imported(*id) || !self.printed.insert(*id) {
                    self.reference(&self.schema.named(*id).name, space);
                } else {
                    self.definition(self.schema.named(*id), space);
                }
            }
        }
    }

    fn definition(&mut self, named: &Named, space: &str) {
        let Named {
            name,
            doc,
            aliases,
            shape,
            properties,
        } = named;
        let kind = match shape {
            Shape::Record { error: false, .. } => "record",
            Shape::Record { error: true, .. } => "error",
            Shape::Enum { .. } => "enum",
            Shape::Fixed { .. } => "fixed",
        };
        self.out.push_str("{\"type\":");
        put_text(&mut self.out, kind);
        self.member("name", &name.simple);
        if name.namespace != space {
            self.member("namespace", &name.namespace);
        }
        if let Some(doc) = doc {
            self.member("doc", doc);
        }
        match shape {
            Shape::Record { fields, .. } => {
                self.out.push_str(",\"fields\":");
                self.list(fields, |this, field| this.field(field, &name.namespace));
            }
            Shape::Enum { symbols, default } => {
                self.out.push_str(",\"symbols\":");
                self.list(symbols, |this, symbol| put_text(&mut this.out, symbol));
                if let Some(default) = default {
                    self.member("default", default);
                }
            }
            Shape::Fixed { size } => self.out.push_str(&format!(",\"size\":{size}")),
        }
        self.properties(properties);
        if !aliases.is_empty() {
            self.out.push_str(",\"aliases\":");
            self.list(aliases, |this, alias| {
                // One without a namespace loses that in Java's text, and so here.
                if alias.namespace == name.namespace {
                    put_text(&mut this.out, &alias.simple);
                } else {
                    put_text(&mut this.out, &alias.to_string());
                }
            });
        }
        self.out.push('}');
    }

    fn field(&mut self, field: &Field, space: &str) {
        self.out.push_str("{\"name\":");
        put_text(&mut self.out, &field.name);
        self.out.push_str(",\"type\":");
        self.ty(&field.ty, space);
        if let Some(doc) = &field.doc {
            self.member("doc", doc);
        }
        if let Some(default) = &field.default {
            self.out.push_str(",\"default\":");
            put_json(&mut self.out, default);
        }
        if field.order != Order::Ascending {
            self.member("order", field.order.as_str());
        }
        if !field.aliases.is_empty() {
            self.out.push_str(",\"aliases\":");
            self.list(&field.aliases, |this, alias| put_text(&mut this.out, alias));
        }
        self.properties(&field.properties);
        self.out.push('}');
    }

    /// A second use: simple in its own namespace, unless it would be taken for another type.
    fn reference(&mut self, name: &Name, space: &str) {
        const KINDS: [&str; 6] = ["record", "enum", "array", "map", "union", "fixed"];
        let Name { namespace, simple } = name;
        let taken = Primitive::named(simple).is_some() || KINDS.contains(&simple.as_str());
        if namespace == space && (!taken || namespace.is_empty()) {
            put_text(&mut self.out, simple);
        } else {
            put_text(&mut self.out, &name.to_string());
        }
    }

    fn canonical(&mut self, ty: &Type) {
        match self.schema.resolve(ty) {
            View::Array(items) => {
                self.out.push_str("{\"type\":\"array\",\"items\":");
                self.canonical(items);
                self.out.push('}');
            }
            View::Map(values) => {
                self.out.push_str("{\"type\":\"map\",\"values\":");
                self.canonical(values);
                self.out.push('}');
            }
            View::Union(branches) => self.list(branches, Self::canonical),
            View::Record(named, _) | View::Enum(named, _) | View::Fixed(named, _) => {
                let Type::Named(id) = ty else { return };
                if self.printed.insert(*id) {
                    self.canonical_definition(named);
                } else {
                    put_text(&mut self.out, &named.name.to_string());
                }
            }
            _ => {
                let Type::Primitive(primitive, _) = ty else {
                    return;
                };
                put_text(&mut self.out, primitive.as_str());
            }
        }
    }

    fn canonical_definition(&mut self, named: &Named) {
        self.out.push_str("{\"name\":");
        put_text(&mut self.out, &named.name.to_string());
        match &named.shape {
            Shape::Record { fields, .. } => {
                self.out.push_str(",\"type\":\"record\",\"fields\":");
                self.list(fields, |this, field| {
                    this.out.push_str("{\"name\":");
                    put_text(&mut this.out, &field.name);
                    this.out.push_str(",\"type\":");
                    this.canonical(&field.ty);
                    this.out.push('}');
                });
            }
            Shape::Enum { symbols, .. } => {
                self.out.push_str(",\"type\":\"enum\",\"symbols\":");
                self.list(symbols, |this, symbol| put_text(&mut this.out, symbol));
            }
            Shape::Fixed { size } => {
                self.out
                    .push_str(&format!(",\"type\":\"fixed\",\"size\":{size}"));
            }
        }
        self.out.push('}');
    }

    fn list<T>(&mut self, items: &[T], mut put: impl FnMut(&mut Self, &T)) {
        self.out.push('[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            put(self, item);
        }
        self.out.push(']');
    }

    fn member(&mut self, name: &str, value: &str) {
        self.out.push_str(",\"");
        self.out.push_str(name);
        self.out.push_str("\":");
        put_text(&mut self.out, value);
    }

    fn properties(&mut self, properties: &Properties) {
        for (key, value) in properties {
            self.out.push(',');
            put_text(&mut self.out, key);
            self.out.push(':');
            put_json(&mut self.out, value);
        }
    }
}

// ------------------------------------------------------------------------------------- values ---

/// Appends `value` as Java's Jackson prints it: no blanks, doubles as `Double.toString`, escapes
/// for `"`, `\` and control characters only.
pub fn put_json(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => match number.as_f64() {
            Some(double) if number.is_f64() => put_double_text(out, double),
            _ => out.push_str(&number.to_string()),
        },
        Value::String(text) => put_text(out, text),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                put_json(out, item);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (index, (key, item)) in members.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                put_text(out, key);
                out.push(':');
                put_json(out, item);
            }
            out.push('}');
        }
    }
}

/// Appends `text` in quotes. What is above 0x7E stays as it is.
pub fn put_text(out: &mut String, text: &str) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\0'..='\u{1f}' => out.push_str(&format!("\\u{:04X}", u32::from(char))),
            _ => out.push(char),
        }
    }
    out.push('"');
}

/// Appends a double as Java's `Double.toString` (JDK 19 and later): the fewest digits that read
/// back, at least one of them behind the point; an exponent below 0.001 and from ten million up.
pub fn put_double_text(out: &mut String, value: f64) {
    if value == 0.0 || !value.is_finite() {
        out.push_str(
            match (value.is_nan(), value == 0.0, value.is_sign_negative()) {
                (true, ..) => "NaN",
                (_, true, false) => "0.0",
                (_, true, true) => "-0.0",
                (_, _, false) => "Infinity",
                (_, _, true) => "-Infinity",
            },
        );
        return;
    }
    if value < 0.0 {
        out.push('-');
    }
    let magnitude = value.abs();
    let scientific = format!("{magnitude:e}");
    if (1e-3..1e7).contains(&magnitude) {
        let plain = format!("{magnitude}");
        out.push_str(&plain);
        if !plain.contains('.') {
            out.push_str(".0");
        }
    } else if let Some((digits, exponent)) = scientific.split_once('e') {
        out.push_str(digits);
        if !digits.contains('.') {
            out.push_str(".0");
        }
        out.push('E');
        out.push_str(exponent);
    }
}

/// A FLOAT64 default: a number, or a string for NaN and the infinities.
#[must_use]
pub fn double(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or_else(
        || {
            let mut text = String::new();
            put_double_text(&mut text, value);
            Value::String(text)
        },
        Value::Number,
    )
}

/// A FLOAT32 as `connect.default` has it: the digits of the float (1.1). A field's own `default`
/// has them widened: `double(value.into())` (1.100000023841858).
#[must_use]
pub fn float(value: f32) -> Value {
    // A float's shortest digits are also the shortest of the double that they read as.
    double(
        format!("{value:e}")
            .parse()
            .unwrap_or_else(|_| f64::from(value)),
    )
}

/// A default of bytes or a decimal: one character for each byte.
#[must_use]
pub fn bytes(value: &[u8]) -> Value {
    Value::String(value.iter().copied().map(char::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Schema {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// Printed by Avro Java 1.12 and by Confluent's registry code.
    const INPUT: &str = r#"{ "type":"record","namespace":"a.b","name":"R","doc":"d","x":1,"aliases":["Q","c.Z"],"fields":[{"type":{"type":"string"},"name":"s","default":"q","doc":"fd","zz":true,"order":"descending"},{"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}},{"name":"n","type":["null",{"type":"record","name":"a.b.N","fields":[]}],"default":null},{"name":"m","type":"N"}]}"#;
    const PRINTED: &str = r#"{"type":"record","name":"R","namespace":"a.b","doc":"d","fields":[{"name":"s","type":"string","doc":"fd","default":"q","order":"descending","zz":true},{"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}},{"name":"n","type":["null",{"type":"record","name":"N","fields":[]}],"default":null},{"name":"m","type":"N"}],"x":1,"aliases":["Q","c.Z"]}"#;
    const CANONICAL: &str = r#"{"name":"a.b.R","type":"record","fields":[{"name":"s","type":"string"},{"name":"d","type":"bytes"},{"name":"n","type":["null",{"name":"a.b.N","type":"record","fields":[]}]},{"name":"m","type":"a.b.N"}]}"#;

    #[test]
    fn prints_as_java_does() {
        assert_eq!(parse(INPUT).to_string(), PRINTED);
        assert_eq!(parse(PRINTED).to_string(), PRINTED);
        assert_eq!(parse(INPUT).canonical_form(), CANONICAL);
        for text in [
            r#""string""#,
            r#"["null","int"]"#,
            r#"{"type":"array","items":["null","string"],"connect.version":1}"#,
            r#"{"type":"enum","name":"E","doc":"d","symbols":["A","B"],"default":"A","p":{"b":1,"a":2},"aliases":["F"]}"#,
            r#"{"type":"fixed","name":"F","namespace":"x","size":3,"logicalType":"no"}"#,
            r#"{"type":"error","name":"E","fields":[]}"#,
            r#"{"type":"record","name":"A","namespace":"n","fields":[{"name":"b","type":{"type":"record","name":"B","namespace":"","fields":[]}},{"name":"c","type":"B"},{"name":"a","type":["null","A"]}]}"#,
            r#"{"type":"record","name":"Key","namespace":"srv.inv.Weird-Table","fields":[]}"#,
        ] {
            assert_eq!(parse(text).to_string(), text);
        }
    }

    /// Whether two texts get one id: the registry compares what is printed.
    #[test]
    fn what_makes_two_texts_equal() {
        let field = |members: &str| {
            format!(r#"{{"type":"record","name":"R","fields":[{{"name":"a",{members}}}]}}"#)
        };
        let same = |a: &str, b: &str| parse(a).to_string() == parse(b).to_string();
        assert!(same(r#""string""#, r#" { "type" : "string" } "#));
        assert!(same(
            r#"{"type":"fixed","name":"a.b.R","size":1}"#,
            r#"{"size":1,"namespace":"a.b","name":"R","type":"fixed"}"#
        ));
        assert!(same(
            &field(r#""type":"int","order":"ascending""#),
            &field(r#""type":"int""#)
        ));
        assert!(same(
            &field(r#""type":"int","aliases":[]"#),
            &field(r#""type":"int""#)
        ));
        assert!(!same(
            &field(r#""type":"int","doc":"""#),
            &field(r#""type":"int""#)
        ));
        let double = |default: &str| field(&format!(r#""type":"double","default":{default}"#));
        assert!(!same(&double("1"), &double("1.0")));
        assert!(same(&double("1.1"), &double("1.10")));
        assert!(same(&double(r#""1.1""#), &double("1.1")));
        assert!(same(
            &field(r#""type":"int","doc":"\u00e9\/""#),
            &field(r#""type":"int","doc":"é/""#)
        ));
        let ordered = |properties: &str| parse(&format!(r#"{{"type":"int",{properties}}}"#));
        let (ab, ba) = (ordered(r#""a":1,"b":2"#), ordered(r#""b":2,"a":1"#));
        assert_ne!(ab.to_string(), ba.to_string());
        assert_eq!(ab, ba);
        assert_eq!(ab.normalized().to_string(), ba.normalized().to_string());
        assert_ne!(ab, ordered(r#""a":1,"b":2.0"#));
    }

    #[test]
    fn normalizing_sorts() {
        let text = r#"{"type":"record","name":"R","doc":"","fields":[{"name":"d","type":{"type":"bytes","scale":2,"precision":10,"connect.version":1,"connect.parameters":{"scale":"2","a":"b"},"connect.name":"D","logicalType":"decimal"},"z":1,"y":2}],"connect.version":1,"connect.name":"R"}"#;
        assert_eq!(
            parse(text).normalized().to_string(),
            r#"{"type":"record","name":"R","fields":[{"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":10,"scale":2,"connect.name":"D","connect.parameters":{"a":"b","scale":"2"},"connect.version":1},"y":2,"z":1}],"connect.name":"R","connect.version":1}"#
        );
    }

    #[test]
    fn strict() {
        let field = |members: &str| {
            format!(r#"{{"type":"record","name":"R","fields":[{{"name":"a",{members}}}]}}"#)
        };
        for (text, path, fault) in [
            ("", "", "not JSON"),
            ("7", "", "a schema is"),
            (r#""nope""#, "", "undefined name"),
            (r#"{"name":"R"}"#, "", "no type"),
            (
                r#"{"type":"record","name":"R-S","fields":[]}"#,
                "/name",
                "illegal character",
            ),
            (
                r#"{"type":"record","name":"é","fields":[]}"#,
                "/name",
                "illegal character",
            ),
            (
                r#"{"type":"record","name":"int","fields":[]}"#,
                "/name",
                "illegal character",
            ),
            (r#"{"type":"record","name":"R"}"#, "", "no fields"),
            (
                r#"{"type":"enum","name":"E","symbols":["A","A"]}"#,
                "/symbols/1",
                "twice",
            ),
            (
                r#"{"type":"enum","name":"E","symbols":["A"],"default":"B"}"#,
                "/default",
                "default",
            ),
            (r#"{"type":"fixed","name":"F","size":-1}"#, "", "size"),
            (r#"["int",["null"]]"#, "/1", "union directly"),
            (r#"["int","null","int"]"#, "/2", "twice"),
            (
                &field(r#""type":"int","default":"x""#),
                "/fields/0",
                "invalid default",
            ),
            (
                &field(r#""type":"int","default":1.0"#),
                "/fields/0",
                "invalid default",
            ),
            (
                &field(r#""type":"int","default":2147483648"#),
                "/fields/0",
                "invalid default",
            ),
            (
                &field(r#""type":"R","default":{}"#),
                "/fields/0",
                "invalid default",
            ),
            (&field(r#""type":"int","order":"up""#), "/fields/0", "order"),
            (&field(r#""type":"wat""#), "/fields/0/type", "undefined"),
            (
                &field(r#""type":["null",{"type":"fixed","name":"R","size":1}]"#),
                "/fields/0/type/1/name",
                "twice",
            ),
            (
                r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"a","type":"int"}]}"#,
                "/fields/1",
                "twice",
            ),
        ] {
            let error = text.parse::<Schema>().expect_err(text);
            let words = error.to_string();
            assert!(words.contains(fault), "{text}: {words}");
            assert!(error.path.ends_with(path), "{text}: {}", error.path);
        }
        parse(&field(r#""type":["null","int"],"default":1"#));
        parse(&field(r#""type":["double","null"],"default":"NaN""#));
        assert!("[".repeat(300).parse::<Schema>().is_err());
    }

    #[test]
    fn a_reference_is_printed_by_name() {
        let address = parse(
            r#"{"type":"record","name":"a.Address","fields":[{"name":"next","type":["null","Address"]}]}"#,
        );
        let text = r#"{"type":"record","name":"R","namespace":"a","fields":[{"name":"x","type":"Address"},{"name":"y","type":"Address"}]}"#;
        assert!(text.parse::<Schema>().is_err());
        let schema = Schema::parse_with(text, std::slice::from_ref(&address)).expect("a schema");
        assert_eq!(schema.to_string(), text);
        let chain = r#"{"type":"array","items":["a.R","a.Address"]}"#;
        let chain = Schema::parse_with(chain, &[address, schema]).expect("a schema");
        assert_eq!(
            chain.to_string(),
            r#"{"type":"array","items":["a.R","a.Address"]}"#
        );
    }

    #[test]
    fn numbers_and_bytes_as_jackson_prints_them() {
        let printed = |value: Value| {
            let mut out = String::new();
            put_json(&mut out, &value);
            out
        };
        for (value, text) in [
            (1.0, "1.0"),
            (1e20, "1.0E20"),
            (1e-5, "1.0E-5"),
            (12_345_678.0, "1.2345678E7"),
            (1_234_567.5, "1234567.5"),
            (0.001, "0.001"),
            (-0.000_99, "-9.9E-4"),
            (9_999_999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (-0.0, "-0.0"),
            (f64::MAX, "1.7976931348623157E308"),
            (f64::MIN_POSITIVE, "2.2250738585072014E-308"),
            (f64::from(1.1f32), "1.100000023841858"),
        ] {
            assert_eq!(printed(double(value)), text);
        }
        assert_eq!(printed(float(1.1)), "1.1");
        assert_eq!(printed(float(3.0e10)), "3.0E10");
        assert_eq!(printed(double(f64::NAN)), r#""NaN""#);
        assert_eq!(printed(double(f64::NEG_INFINITY)), r#""-Infinity""#);
        assert_eq!(
            printed(bytes(&[0, 0xff, b'A', 0x83, 0x7f])),
            "\"\\u0000ÿA\u{83}\u{7f}\""
        );
        assert_eq!(printed("\u{1f}\u{8}\"\\/\n".into()), r#""\u001F\b\"\\/\n""#);
        assert_eq!(printed(u64::MAX.into()), "18446744073709551615");
    }

    proptest! {
        #[test]
        fn a_double_reads_back(value: f64) {
            let mut out = String::new();
            put_double_text(&mut out, value);
            prop_assert_eq!(out.parse::<f64>().unwrap().to_bits(), value.to_bits());
        }

        #[test]
        fn a_text_reads_back(text: String) {
            let mut out = String::new();
            put_text(&mut out, &text);
            prop_assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
        }

        #[test]
        fn any_text_is_a_schema_or_an_error(text: String) {
            prop_assert!(text.parse::<Schema>().map_or(true, |schema| schema.to_string() == text));
        }
    }
}
