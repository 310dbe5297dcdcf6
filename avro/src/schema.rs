//! Schemas: types, the named among them defined once, properties in the order they were given.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use crate::error::{SchemaError, SchemaFault};
use crate::json;

/// What a schema says beyond Avro's own members (`connect.name`, `logicalType`, ..), in the order
/// in which it is printed. Two are equal when they hold the same members in any order.
pub type Properties = serde_json::Map<String, Value>;

/// A schema: one type, and the named types it is built of.
///
/// A named type is defined once and may be used many times, also inside itself; its first
/// occurrence in the text is the definition, the others are its name.
///
/// Made by parsing text (`text.parse()`), or of parts by a [`Builder`]; either way it has been
/// checked: names are Avro names, unions unambiguous, defaults fit their types.
/// Printed (`to_string()`) as Avro's Java library prints it.
///
/// Equality is the registry's: everything counts (documentation, defaults, aliases and properties
/// too), except the order of properties.
///
/// Source: Apache Avro specification, "Schema Declaration".
#[derive(Debug, Clone)]
pub struct Schema {
    root: Type,
    types: Vec<Named>,
    /// Those of other schemas: printed by name only.
    imported: BTreeSet<NamedId>,
}

/// A type in its place.
#[derive(Debug, Clone)]
pub enum Type {
    /// `"int"`, or `{"type":"int",..}` when it has properties.
    Primitive(Primitive, Properties),
    /// `{"type":"array","items":..}`
    Array(Box<Self>, Properties),
    /// `{"type":"map","values":..}`
    Map(Box<Self>, Properties),
    /// `[..]`
    Union(Vec<Self>),
    /// A record, enum or fixed, kept in the schema or builder that gave the id.
    Named(NamedId),
}

/// The place of a named type in its schema or builder; meaningless in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedId(usize);

/// A type without parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "Avro's own names")]
pub enum Primitive {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
}

/// The name of a record, enum or fixed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Dotted; empty: none.
    pub namespace: String,
    /// Without dots.
    pub simple: String,
}

/// A record, enum or fixed.
#[derive(Debug, Clone)]
pub struct Named {
    /// Its name.
    pub name: Name,
    /// `doc`
    pub doc: Option<String>,
    /// `aliases`, made full.
    pub aliases: Vec<Name>,
    /// What it is.
    pub shape: Shape,
    /// All other members.
    pub properties: Properties,
}

/// What a [`Named`] type is.
#[derive(Debug, Clone)]
pub enum Shape {
    /// `record`, or `error`, which differs by name only.
    Record {
        /// Whether it says `error`.
        error: bool,
        /// In order.
        fields: Vec<Field>,
    },
    /// `enum`
    Enum {
        /// In order.
        symbols: Vec<String>,
        /// What a reader takes an unknown symbol for.
        default: Option<String>,
    },
    /// `fixed`
    Fixed {
        /// In bytes.
        size: usize,
    },
}

/// A field of a record.
#[derive(Debug, Clone)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type.
    pub ty: Type,
    /// `doc`
    pub doc: Option<String>,
    /// `default`; JSON's null is a default, none is not.
    pub default: Option<Value>,
    /// `order`
    pub order: Order,
    /// `aliases`
    pub aliases: Vec<String>,
    /// All other members.
    pub properties: Properties,
}

/// How a field takes part in the order of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "Avro's own names")]
pub enum Order {
    #[default]
    Ascending,
    Descending,
    Ignore,
}

/// A type with its name resolved: what to match on.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "Avro's own names")]
pub enum View<'s> {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    /// Its items.
    Array(&'s Type),
    /// Its values.
    Map(&'s Type),
    /// Its branches.
    Union(&'s [Type]),
    /// Itself, and its fields.
    Record(&'s Named, &'s [Field]),
    /// Itself, and its symbols.
    Enum(&'s Named, &'s [String]),
    /// Itself, and its size in bytes.
    Fixed(&'s Named, usize),
}

impl Schema {
    /// The type that a datum has.
    #[must_use]
    pub fn root(&self) -> &Type {
        &self.root
    }

    /// What the root is.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        self.resolve(&self.root)
    }

    /// What `ty`, a type of this schema, is.
    #[must_use]
    pub fn resolve<'s>(&'s self, ty: &'s Type) -> View<'s> {
        match ty {
            Type::Primitive(primitive, _) => match primitive {
                Primitive::Null => View::Null,
                Primitive::Boolean => View::Boolean,
                Primitive::Int => View::Int,
                Primitive::Long => View::Long,
                Primitive::Float => View::Float,
                Primitive::Double => View::Double,
                Primitive::Bytes => View::Bytes,
                Primitive::String => View::String,
            },
            Type::Array(items, _) => View::Array(items),
            Type::Map(values, _) => View::Map(values),
            Type::Union(branches) => View::Union(branches),
            Type::Named(id) => {
                let named = self.named(*id);
                match &named.shape {
                    Shape::Record { fields, .. } => View::Record(named, fields),
                    Shape::Enum { symbols, .. } => View::Enum(named, symbols),
                    Shape::Fixed { size } => View::Fixed(named, *size),
                }
            }
        }
    }

    /// The named type that this schema knows as `id`.
    #[must_use]
    pub fn named(&self, id: NamedId) -> &Named {
        let Some(named) = self.types.get(id.0) else {
            unreachable!("{id:?} belongs to another schema")
        };
        named
    }

    /// The properties of `ty`, a type of this schema. A union has none.
    #[must_use]
    pub fn properties<'s>(&'s self, ty: &'s Type) -> Option<&'s Properties> {
        match ty {
            Type::Primitive(_, properties)
            | Type::Array(_, properties)
            | Type::Map(_, properties) => Some(properties),
            Type::Union(_) => None,
            Type::Named(id) => Some(&self.named(*id).properties),
        }
    }

    /// The full name, when the root is a named type: what subjects are named by under
    /// RecordNameStrategy.
    #[must_use]
    pub fn full_name(&self) -> Option<String> {
        match self.view() {
            View::Record(named, _) | View::Enum(named, _) | View::Fixed(named, _) => {
                Some(named.name.to_string())
            }
            _ => None,
        }
    }

    /// Visits every type in place, the named ones' fields too; parts before the whole.
    pub(crate) fn for_each_type(&mut self, visit: &mut impl FnMut(&mut Type)) {
        self.root.visit(visit);
        self.for_each_named(&mut |named| {
            if let Shape::Record { fields, .. } = &mut named.shape {
                fields.iter_mut().for_each(|field| field.ty.visit(visit));
            }
        });
    }

    pub(crate) fn for_each_named(&mut self, visit: &mut impl FnMut(&mut Named)) {
        self.types.iter_mut().for_each(visit);
    }

    /// Ids of all named types, used or not.
    pub(crate) fn ids(&self) -> impl Iterator<Item = NamedId> {
        (0..self.types.len()).map(NamedId)
    }

    /// Whether `id` came from a reference, so that the text holds its name only.
    pub(crate) fn is_imported(&self, id: NamedId) -> bool {
        self.imported.contains(&id)
    }
}

/// Makes a [`Schema`] of parts.
///
/// ```
/// use avro::{Builder, Field, Name, Named, Primitive, Type};
///
/// let mut builder = Builder::new();
/// let id = Field::new("id", Type::from(Primitive::Int));
/// let value = builder.define(Named::record(Name::new("shop.t", "Value"), vec![id]))?;
/// let before = Field::new("before", Type::optional(value.clone())).with_default(().into());
/// let after = Field::new("after", Type::optional(value)).with_default(().into());
/// let mut envelope = Named::record(Name::new("shop.t", "Envelope"), vec![before, after]);
/// envelope.properties.insert("connect.version".into(), 1.into());
/// let root = builder.define(envelope)?;
/// assert_eq!(
///     builder.finish(root)?.to_string(),
///     r#"{"type":"record","name":"Envelope","namespace":"shop.t","fields":[{"name":"before","type":["null",{"type":"record","name":"Value","fields":[{"name":"id","type":"int"}]}],"default":null},{"name":"after","type":["null","Value"],"default":null}],"connect.version":1}"#
/// );
/// # Ok::<(), avro::SchemaError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Builder {
    names: BTreeMap<Name, NamedId>,
    /// None: declared, not defined yet.
    types: Vec<Option<Named>>,
    imported: BTreeSet<NamedId>,
}

impl Builder {
    /// A builder that knows no named type.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Defines a record, enum or fixed.
    ///
    /// Errors: a bad name, a name defined before, duplicate fields or symbols.
    pub fn define(&mut self, named: Named) -> Result<Type, SchemaError> {
        let id = self.declare(named.name.clone())?;
        self.define_declared(id, named)?;
        Ok(Type::Named(id))
    }

    /// Announces a name, so that the type may be used inside its own definition, which
    /// [`Self::define_declared`] gives.
    ///
    /// Errors: a bad name, a name declared or defined before.
    pub fn declare(&mut self, name: Name) -> Result<NamedId, SchemaError> {
        name.check()
            .map_err(|fault| SchemaError::new("/name", fault))?;
        if self.names.contains_key(&name) {
            return Err(SchemaError::new(
                "/name",
                SchemaFault::Redefined(name.to_string()),
            ));
        }
        let id = NamedId(self.types.len());
        self.types.push(None);
        self.names.insert(name, id);
        Ok(id)
    }

    /// Defines what was declared; the name stays the declared one.
    ///
    /// Errors: duplicate fields or symbols, bad names, an enum's default that is no symbol.
    pub fn define_declared(&mut self, id: NamedId, named: Named) -> Result<(), SchemaError> {
        named.check()?;
        let Some(slot) = self.types.get_mut(id.0) else {
            unreachable!("{id:?} belongs to another builder")
        };
        *slot = Some(named);
        Ok(())
    }

    /// The type declared or defined as `name`.
    #[must_use]
    pub fn known(&self, name: &Name) -> Option<Type> {
        self.names.get(name).map(|id| Type::Named(*id))
    }

    /// Makes the named types of `schema` known. They are printed by name only, as a registry
    /// does with the types of a schema's references.
    pub fn import(&mut self, schema: &Schema) {
        let mut ids = BTreeMap::new();
        let mut fresh = Vec::new();
        for (index, named) in schema.types.iter().enumerate() {
            let next = NamedId(self.types.len());
            let id = *self.names.entry(named.name.clone()).or_insert(next);
            ids.insert(NamedId(index), id);
            if id == next {
                self.types.push(None);
                self.imported.insert(id);
                fresh.push((id, named.clone()));
            }
        }
        for (id, mut named) in fresh {
            if let Shape::Record { fields, .. } = &mut named.shape {
                for field in fields {
                    field.ty.visit(&mut |ty| {
                        if let Type::Named(id) = ty {
                            *id = ids.get(id).copied().unwrap_or(*id);
                        }
                    });
                }
            }
            if let Some(slot) = self.types.get_mut(id.0) {
                *slot = Some(named);
            }
        }
    }

    /// The schema whose datum is a `root`.
    ///
    /// Errors: a type declared and not defined, a union that is nested or ambiguous, a default
    /// that does not fit its field, nesting beyond [`json::DEPTH_MAX`].
    pub fn finish(self, root: Type) -> Result<Schema, SchemaError> {
        let mut types = Vec::with_capacity(self.types.len());
        for (index, named) in self.types.into_iter().enumerate() {
            let Some(named) = named else {
                let declared = self.names.iter().find(|(_, id)| id.0 == index);
                let name = declared.map_or_else(String::new, |(name, _)| name.to_string());
                return Err(SchemaError::new("", SchemaFault::NeverDefined(name)));
            };
            types.push(named);
        }
        let schema = Schema {
            root,
            types,
            imported: self.imported,
        };
        json::check(&schema)?;
        Ok(schema)
    }
}

impl Type {
    /// `["null", T]`: how a value that may be absent, and has no other default, is written.
    #[must_use]
    pub fn optional(some: Self) -> Self {
        Self::Union(vec![Primitive::Null.into(), some])
    }

    /// `{"type":"array","items":T}`
    #[must_use]
    pub fn array(items: Self) -> Self {
        Self::Array(Box::new(items), Properties::new())
    }

    /// `{"type":"map","values":T}`
    #[must_use]
    pub fn map(values: Self) -> Self {
        Self::Map(Box::new(values), Properties::new())
    }

    fn visit(&mut self, visit: &mut impl FnMut(&mut Self)) {
        match self {
            Self::Primitive(..) | Self::Named(_) => {}
            Self::Array(inner, _) | Self::Map(inner, _) => inner.visit(visit),
            Self::Union(branches) => branches.iter_mut().for_each(|branch| branch.visit(visit)),
        }
        visit(self);
    }
}

impl From<Primitive> for Type {
    fn from(primitive: Primitive) -> Self {
        Self::Primitive(primitive, Properties::new())
    }
}

impl Primitive {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Null,
        Self::Boolean,
        Self::Int,
        Self::Long,
        Self::Float,
        Self::Double,
        Self::Bytes,
        Self::String,
    ];

    /// Avro's name of it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Long => "long",
            Self::Float => "float",
            Self::Double => "double",
            Self::Bytes => "bytes",
            Self::String => "string",
        }
    }

    /// The primitive called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|primitive| primitive.as_str() == name)
    }
}

impl Name {
    /// A name in a namespace; an empty namespace is none.
    #[must_use]
    pub fn new(namespace: &str, simple: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            simple: simple.to_owned(),
        }
    }

    /// Reads `text`, simple or full, where `enclosing` is the namespace around it.
    #[must_use]
    pub fn within(enclosing: &str, text: &str) -> Self {
        match text.rsplit_once('.') {
            Some((namespace, simple)) => Self::new(namespace, simple),
            None => Self::new(enclosing, text),
        }
    }

    /// The namespace may hold anything, as it may in Java: a table called `Weird-Table` becomes
    /// one.
    fn check(&self) -> Result<(), SchemaFault> {
        // A primitive's name without a namespace would be taken for the primitive.
        let taken = self.namespace.is_empty() && Primitive::named(&self.simple).is_some();
        if taken || !is_name(&self.simple) {
            return Err(SchemaFault::BadName(self.to_string()));
        }
        Ok(())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.simple)
        } else {
            write!(f, "{}.{}", self.namespace, self.simple)
        }
    }
}

/// Whether `text` may be a record's, field's or symbol's name.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

impl Named {
    /// A record without documentation, aliases, properties.
    #[must_use]
    pub fn record(name: Name, fields: Vec<Field>) -> Self {
        Self::new(
            name,
            Shape::Record {
                error: false,
                fields,
            },
        )
    }

    /// A named type without documentation, aliases, properties.
    #[must_use]
    pub fn new(name: Name, shape: Shape) -> Self {
        Self {
            name,
            doc: None,
            aliases: Vec::new(),
            shape,
            properties: Properties::new(),
        }
    }

    fn check(&self) -> Result<(), SchemaError> {
        let mut seen = BTreeSet::new();
        let mut check = |path: String, name: &str| {
            if !is_name(name) {
                Err(SchemaError {
                    path,
                    fault: SchemaFault::BadName(name.to_owned()),
                })
            } else if !seen.insert(name.to_owned()) {
                Err(SchemaError {
                    path,
                    fault: SchemaFault::Duplicate(name.to_owned()),
                })
            } else {
                Ok(())
            }
        };
        match &self.shape {
            Shape::Record { fields, .. } => fields
                .iter()
                .enumerate()
                .try_for_each(|(index, field)| check(format!("/fields/{index}"), &field.name)),
            Shape::Enum { symbols, default } => {
                for (index, symbol) in symbols.iter().enumerate() {
                    check(format!("/symbols/{index}"), symbol)?;
                }
                match default {
                    Some(default) if !symbols.contains(default) => Err(SchemaError::new(
                        "/default",
                        SchemaFault::BadMember("default", format!("{default:?}, no symbol")),
                    )),
                    _ => Ok(()),
                }
            }
            Shape::Fixed { .. } => Ok(()),
        }
    }
}

impl Field {
    /// A field without default, documentation, aliases, properties.
    #[must_use]
    pub fn new(name: &str, ty: Type) -> Self {
        Self {
            name: name.to_owned(),
            ty,
            doc: None,
            default: None,
            order: Order::Ascending,
            aliases: Vec::new(),
            properties: Properties::new(),
        }
    }

    /// The same with a default. JSON's numbers, bytes and NaN: [`json::double`], [`json::float`],
    /// [`json::bytes`].
    #[must_use]
    pub fn with_default(self, default: Value) -> Self {
        Self {
            default: Some(default),
            ..self
        }
    }
}

impl Order {
    /// Avro's name of it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ascending => "ascending",
            Self::Descending => "descending",
            Self::Ignore => "ignore",
        }
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        Equality {
            left: self,
            right: other,
            seen: BTreeSet::new(),
        }
        .types(&self.root, &other.root, json::DEPTH_MAX)
    }
}

/// Compares two schemas side by side. Pairs met before are equal or will be found not to be.
struct Equality<'s> {
    left: &'s Schema,
    right: &'s Schema,
    seen: BTreeSet<(NamedId, NamedId)>,
}

impl Equality<'_> {
    fn types(&mut self, left: &Type, right: &Type, depth: usize) -> bool {
        let Some(depth) = depth.checked_sub(1) else {
            return false;
        };
        match (left, right) {
            (Type::Primitive(a, a_properties), Type::Primitive(b, b_properties)) => {
                a == b && a_properties == b_properties
            }
            (Type::Array(a, a_properties), Type::Array(b, b_properties))
            | (Type::Map(a, a_properties), Type::Map(b, b_properties)) => {
                a_properties == b_properties && self.types(a, b, depth)
            }
            (Type::Union(a), Type::Union(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| self.types(a, b, depth))
            }
            (Type::Named(a), Type::Named(b)) => {
                let (left, right) = (self.left, self.right);
                !self.seen.insert((*a, *b)) || self.named(left.named(*a), right.named(*b), depth)
            }
            _ => false,
        }
    }

    fn named(&mut self, left: &Named, right: &Named, depth: usize) -> bool {
        let shapes = match (&left.shape, &right.shape) {
            (
                Shape::Record {
                    error: a_error,
                    fields: a,
                },
                Shape::Record {
                    error: b_error,
                    fields: b,
                },
            ) => {
                a_error == b_error
                    && a.len() == b.len()
                    && a.iter().zip(b).all(|(a, b)| self.fields(a, b, depth))
            }
            (
                Shape::Enum {
                    symbols: a,
                    default: a_default,
                },
                Shape::Enum {
                    symbols: b,
                    default: b_default,
                },
            ) => a == b && a_default == b_default,
            (Shape::Fixed { size: a }, Shape::Fixed { size: b }) => a == b,
            _ => false,
        };
        shapes
            && left.name == right.name
            && left.doc == right.doc
            && left.aliases == right.aliases
            && left.properties == right.properties
    }

    fn fields(&mut self, left: &Field, right: &Field, depth: usize) -> bool {
        left.name == right.name
            && left.doc == right.doc
            && left.default == right.default
            && left.order == right.order
            && left.aliases == right.aliases
            && left.properties == right.properties
            && self.types(&left.ty, &right.ty, depth)
    }
}
