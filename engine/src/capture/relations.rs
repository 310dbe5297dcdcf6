//! Tables as the stream announces them and the catalogue completes them.

use std::sync::Arc;

/// A captured table, at one revision of its definition.
///
/// Names, order, types and typmods come from the Relation message (or, in the snapshot, from the
/// catalogue); nullability, defaults and the key's order from the live catalogue, as Debezium does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The relation's oid.
    pub oid: u32,
    /// The schema's name, unquoted.
    pub schema: String,
    /// The table's name, unquoted.
    pub name: String,
    /// In the order in which a tuple carries them.
    pub columns: Vec<Column>,
    /// Indexes into `columns`, in the order of the key's constraint: the primary key, else the
    /// first usable unique index by name. Empty: the table has no key.
    pub key: Vec<usize>,
    /// What old rows carry.
    pub replica_identity: ReplicaIdentity,
}

/// One column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Unquoted.
    pub name: String,
    /// The column's type.
    pub pg_type: Arc<PgType>,
    /// `atttypmod`; -1 for none.
    pub typmod: i32,
    /// Declared NOT NULL (a primary key's columns are).
    pub not_null: bool,
    /// The default's expression as `pg_get_expr` prints it; none for identity columns; of a
    /// generated one, what generates it.
    pub default: Option<String>,
    /// Part of the replica identity, as the Relation message flags it.
    pub identity: bool,
}

/// A PostgreSQL type, resolved as far as a mapping needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PgType {
    /// `pg_type.oid`: fixed for built-in types, different in each database for others.
    pub oid: u32,
    /// `nspname` of the type.
    pub schema: String,
    /// `typname`: `int4`, `_int4`, `mood`.
    pub name: String,
    /// What kind of type it is.
    pub kind: TypeKind,
}

/// What kind of type a [`PgType`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypeKind {
    /// A base type, or any other whose text form is all we know.
    Base,
    /// Labels by `enumsortorder`.
    Enum {
        /// In their logical order.
        labels: Vec<String>,
    },
    /// A domain: its base may be a domain again.
    Domain {
        /// The type it constrains.
        base: Arc<PgType>,
        /// `typtypmod`; -1 for none.
        typmod: i32,
    },
    /// An array type.
    Array {
        /// Its element.
        element: Arc<PgType>,
    },
    /// A range type; its text form is what we emit.
    Range,
    /// A multirange type.
    Multirange,
    /// A composite type.
    Composite,
}

/// `relreplident`: what the old tuple of an update or a delete holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaIdentity {
    /// The primary key's columns.
    Default,
    /// Nothing: updates and deletes are refused by the server.
    Nothing,
    /// The whole row.
    Full,
    /// The columns of a unique index.
    Index,
}

/// A table's definition in three blocks of memory, whatever it has of columns: of ten thousand
/// tables most are not at work, and are kept like this.
#[derive(Debug, Clone)]
pub struct Packed {
    oid: u32,
    replica_identity: ReplicaIdentity,
    /// Schema, table, and each column's name and default, one behind the other.
    text: Box<str>,
    /// Where in `text` the schema and the table's name end.
    ends: (u32, u32),
    columns: Box<[PackedColumn]>,
    key: Box<[u16]>,
}

#[derive(Debug, Clone)]
struct PackedColumn {
    pg_type: Arc<PgType>,
    typmod: i32,
    /// Where its name ends, and its default.
    name: u32,
    default: u32,
    has_default: bool,
    not_null: bool,
    identity: bool,
}

impl Packed {
    /// Packs a table.
    #[must_use]
    pub fn new(table: &Table) -> Self {
        let mut text = String::new();
        let mut append = |part: &str| {
            text.push_str(part);
            end(text.len())
        };
        let ends = (append(&table.schema), append(&table.name));
        let columns = table.columns.iter().map(|column| PackedColumn {
            pg_type: Arc::clone(&column.pg_type),
            typmod: column.typmod,
            name: append(&column.name),
            default: append(column.default.as_deref().unwrap_or_default()),
            has_default: column.default.is_some(),
            not_null: column.not_null,
            identity: column.identity,
        });
        let columns = columns.collect();
        // A table has 1600 columns at most.
        let key = table
            .key
            .iter()
            .map(|&at| u16::try_from(at).unwrap_or(u16::MAX));
        Self {
            oid: table.oid,
            replica_identity: table.replica_identity,
            ends,
            columns,
            key: key.collect(),
            text: text.into_boxed_str(),
        }
    }

    /// Bytes of memory beside the value itself, more or less.
    #[must_use]
    pub fn memory(&self) -> usize {
        /// What an allocator takes for each of the three.
        const BLOCKS: usize = 3 * 16;
        self.text.len() + size_of_val(&*self.columns) + size_of_val(&*self.key) + BLOCKS
    }

    /// The table that was packed.
    #[must_use]
    pub fn table(&self) -> Table {
        let mut from = 0;
        let mut next = |to: u32| {
            let part = self.text.get(from..to as usize).unwrap_or_default();
            from = to as usize;
            part.to_owned()
        };
        let (schema, name) = (next(self.ends.0), next(self.ends.1));
        let column = |column: &PackedColumn| Column {
            name: next(column.name),
            pg_type: Arc::clone(&column.pg_type),
            typmod: column.typmod,
            not_null: column.not_null,
            default: Some(next(column.default)).filter(|_| column.has_default),
            identity: column.identity,
        };
        Table {
            oid: self.oid,
            schema,
            name,
            columns: self.columns.iter().map(column).collect(),
            key: self.key.iter().map(|&at| at.into()).collect(),
            replica_identity: self.replica_identity,
        }
    }
}

/// PostgreSQL's largest value is smaller than 4 GB, and all names and defaults of a table are rows
/// of its catalogue that were read into memory.
fn end(length: usize) -> u32 {
    u32::try_from(length).expect("the text of a table's definition is less than 4 GB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_the_same_unpacked() {
        let column = |name: &str, default: Option<&str>, flag| Column {
            name: name.to_owned(),
            pg_type: Arc::new(PgType {
                oid: 23,
                schema: "pg_catalog".to_owned(),
                name: "int4".to_owned(),
                kind: TypeKind::Base,
            }),
            typmod: -1,
            not_null: flag,
            default: default.map(str::to_owned),
            identity: !flag,
        };
        for columns in [
            vec![],
            vec![column("é", None, true)],
            vec![
                column("id", Some("nextval('s')"), true),
                column("", Some(""), false),
                column("c", None, false),
            ],
        ] {
            let table = Table {
                oid: 7,
                schema: "public".to_owned(),
                name: "t".to_owned(),
                key: (0..columns.len()).rev().collect(),
                columns,
                replica_identity: ReplicaIdentity::Index,
            };
            assert_eq!(Packed::new(&table).table(), table);
        }
    }
}
