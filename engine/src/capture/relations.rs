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
