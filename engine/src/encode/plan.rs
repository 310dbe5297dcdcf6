//! The compiled encoder of one table's rows.

use std::fmt;

use super::envelope::SourceBlock;
use super::schema::Schema;
use crate::capture::relations::Table;
use crate::capture::row::Row;
use crate::config::{self, Filter, Operation};

/// What a table's records look like: topic, key and value.
#[derive(Debug, Clone)]
pub struct Schemas {
    /// The key's struct; none: the table has no key, and records have a null key.
    pub key: Option<Schema>,
    /// The value: the envelope's struct, or what transforms made of it.
    pub value: Schema,
    /// Where records go.
    pub topic: String,
}

/// The ids that a registry gave to a table's schemas; 0 where the converter is not Avro.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchemaIds {
    /// Of the key; none when there is no key.
    pub key: Option<u32>,
    /// Of the value.
    pub value: u32,
}

/// One change, still in the receive buffer.
#[derive(Debug, Clone, Copy)]
pub struct Event<'b> {
    /// What happened.
    pub op: Operation,
    /// The old row, whole or only its key.
    pub before: Option<Row<'b>>,
    /// The new row.
    pub after: Option<Row<'b>>,
    /// Where it comes from.
    pub source: SourceBlock<'b>,
    /// The clock when the record is built, in nanoseconds since 1970.
    pub now_ns: i64,
}

/// A table that cannot be encoded as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanError {
    /// `message.key.columns` names a column that the table has not.
    NoKeyColumn {
        /// `schema.table`
        table: String,
        /// The column.
        column: String,
    },
    /// Something configured that is not supported.
    Unsupported {
        /// What.
        what: String,
    },
}

/// A value that is not what its column's type says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnError {
    /// `schema.table`
    pub table: String,
    /// The column.
    pub column: String,
    /// The column's type.
    pub pg_type: String,
    /// How the value begins: at most 40 characters.
    pub begins: String,
    /// What was expected.
    pub expected: &'static str,
}

/// Writes the records of one table at one revision of its definition.
///
/// Compiled once; [`Self::key`] and [`Self::value`] run per row, allocate nothing once buffers have
/// grown, and ask no configuration.
#[derive(Debug)]
pub struct RowEncoder {
    topic: String,
}

impl Schemas {
    /// What the records of `table` look like. `columns` is the filter of captured columns,
    /// `database` the name in `source.db`.
    ///
    /// Errors: a configuration that does not fit the table.
    pub fn derive(
        table: &Table,
        columns: &Filter,
        config: &config::Encode,
        database: &str,
    ) -> Result<Self, PlanError> {
        let _ = (table, columns, config, database);
        Err(PlanError::Unsupported {
            what: "not yet".to_owned(),
        })
    }

    /// The Avro schema of the key, as text, and the record's full name.
    #[must_use]
    pub fn key_avro(&self) -> Option<String> {
        self.key.as_ref().map(|key| key.avro(true))
    }

    /// The Avro schema of the value, as text.
    #[must_use]
    pub fn value_avro(&self) -> String {
        self.value.avro(true)
    }
}

impl RowEncoder {
    /// Compiles the encoder of `table`, whose `schemas` the registry knows by `ids`.
    ///
    /// Errors: a configuration that does not fit the table.
    pub fn compile(
        table: &Table,
        schemas: &Schemas,
        config: &config::Encode,
        database: &str,
        ids: SchemaIds,
    ) -> Result<Self, PlanError> {
        let _ = (table, config, database, ids);
        Ok(Self {
            topic: schemas.topic.clone(),
        })
    }

    /// Where records go.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Appends the record's key, taken from `row`: a new row, an old one, or an old key. False,
    /// and nothing appended, when the table has no key.
    ///
    /// Errors: a value that is not what its column's type says; `out` is as it was.
    pub fn key(&self, row: Row<'_>, out: &mut Vec<u8>) -> Result<bool, ColumnError> {
        let _ = (row, out);
        Ok(false)
    }

    /// Appends the text of the key as `__debezium.newkey` and `__debezium.oldkey` carry it.
    ///
    /// Errors: as [`Self::key`].
    pub fn key_header(&self, row: Row<'_>, out: &mut Vec<u8>) -> Result<(), ColumnError> {
        let _ = (row, out);
        Ok(())
    }

    /// Appends the record's value. False, and nothing appended, when the value is null.
    ///
    /// Errors: a value that is not what its column's type says; `out` is as it was.
    pub fn value(&self, event: &Event<'_>, out: &mut Vec<u8>) -> Result<bool, ColumnError> {
        let _ = (event, out);
        Ok(false)
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKeyColumn { table, column } => {
                write!(f, "message.key.columns: {table} has no column {column}")
            }
            Self::Unsupported { what } => write!(f, "{what} is not supported"),
        }
    }
}

impl std::error::Error for PlanError {}

impl fmt::Display for ColumnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            table,
            column,
            pg_type,
            begins,
            expected,
        } = self;
        write!(
            f,
            "{table}.{column} ({pg_type}): expected {expected}, found {begins:?}"
        )
    }
}

impl std::error::Error for ColumnError {}
