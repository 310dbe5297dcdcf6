//! The tables of one stream: what was announced, completed from the catalogue, with its encoder.

use std::collections::HashMap;

use pgwire::pgoutput::Relation;

use super::error::{Blame, Error};
use super::outlet::Outlet;
use crate::capture::catalog::{self, Types};
use crate::capture::client::Client;
use crate::capture::relations::{Column, ReplicaIdentity, Table};
use crate::config::{self, Config, Converter, SubjectName};
use crate::encode::plan::{RowEncoder, SchemaIds, Schemas};
use crate::encode::registry::{self, RegistryClient, Side};
use crate::encode::schema::Schema;
use crate::produce::TopicId;

/// A captured table, ready for its rows.
#[derive(Debug)]
pub(super) struct Captured {
    pub table: Table,
    pub encoder: RowEncoder,
    pub topic: TopicId,
    /// `schema.table`
    pub name: String,
}

/// A Relation message, kept beyond the buffer it arrived in.
#[derive(Debug, Clone)]
pub(super) struct Announced {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    pub replica_identity: u8,
    pub columns: Vec<AnnouncedColumn>,
}

/// A column of it.
#[derive(Debug, Clone)]
pub(super) struct AnnouncedColumn {
    pub identity: bool,
    pub name: String,
    pub type_oid: u32,
    pub typmod: i32,
}

impl From<&Relation<'_>> for Announced {
    fn from(relation: &Relation<'_>) -> Self {
        Self {
            oid: relation.oid,
            schema: relation.schema().to_owned(),
            name: relation.name.to_owned(),
            replica_identity: relation.replica_identity.0,
            columns: relation
                .columns()
                .map(|column| AnnouncedColumn {
                    identity: column.identity(),
                    name: column.name.to_owned(),
                    type_oid: column.type_oid,
                    typmod: column.typmod,
                })
                .collect(),
        }
    }
}

/// Tables by the oid that changes name them with.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// None: announced, and not captured.
    places: HashMap<u32, Option<usize>>,
    captured: Vec<Captured>,
    /// The table of the change before: most changes are of the same table.
    last: Option<(u32, Option<usize>)>,
}

impl Tables {
    /// A new stream announces every table again.
    pub(super) fn forget(&mut self) {
        self.places.clear();
        self.last = None;
    }

    /// The table with this oid; none: its changes are not captured.
    ///
    /// Errors: a change came before its table was announced.
    #[inline]
    pub(super) fn captured(&mut self, oid: u32) -> Result<Option<&Captured>, Error> {
        let place = match self.last {
            Some((last, place)) if last == oid => place,
            _ => {
                let Some(&place) = self.places.get(&oid) else {
                    return Err(unannounced(oid));
                };
                self.last = Some((oid, place));
                place
            }
        };
        Ok(place.map(|place| &self.captured[place]))
    }

    /// Whether rows of the table with this oid can be read in binary.
    pub(super) fn read_binary(&self, oid: u32) -> bool {
        let place = self.places.get(&oid).copied().flatten();
        place.is_none_or(|place| self.captured[place].encoder.reads_binary())
    }

    /// Makes a table known: columns, order and types as announced; nullability, defaults and the
    /// key from the catalogue as it is now; schema ids from the registry.
    ///
    /// Errors: what the catalogue, the registry or the broker said.
    pub(super) async fn resolve(
        &mut self,
        announced: Announced,
        (client, types): (&mut Client, &mut Types),
        registries: &mut Registries,
        outlet: &mut Outlet,
        config: &Config,
    ) -> Result<(), Error> {
        self.last = None;
        let oid = announced.oid;
        if !config
            .capture
            .tables
            .accepts(&announced.schema, &announced.name)
        {
            self.places.insert(oid, None);
            return Ok(());
        }
        let table = complete(&announced, client, types).await?;
        let known = self
            .captured
            .iter()
            .position(|captured| captured.table == table);
        let place = match known {
            Some(place) => place,
            None => {
                let captured = prepare(table, registries, outlet, config).await?;
                // Another revision of the same table takes the place of the one before.
                match self.captured.iter().position(|old| old.table.oid == oid) {
                    Some(place) => {
                        self.captured[place] = captured;
                        place
                    }
                    None => {
                        self.captured.push(captured);
                        self.captured.len() - 1
                    }
                }
            }
        };
        self.places.insert(oid, Some(place));
        Ok(())
    }
}

/// Whether a table's rows can be read in binary. What cannot be encoded at all is told of when its
/// first row comes.
pub(super) fn reads_binary(table: &Table, config: &Config) -> bool {
    let compiled = Schemas::derive(table, &config.capture.columns, &config.encode).and_then(|of| {
        let ids = SchemaIds {
            key: Some(0),
            value: 0,
        };
        RowEncoder::compile(table, &of, &config.encode, &config.source.database, ids)
    });
    compiled.is_ok_and(|encoder| encoder.reads_binary())
}

/// Compiles a table's encoder: schemas derived, registered, and the topic known to the producer.
pub(super) async fn prepare(
    table: Table,
    registries: &mut Registries,
    outlet: &mut Outlet,
    config: &Config,
) -> Result<Captured, Error> {
    let database = &config.source.database;
    let refuse = |error: &dyn std::fmt::Display| {
        Error::fatal(
            Blame::Configuration,
            format!("{}.{} cannot be captured", table.schema, table.name),
            error,
        )
    };
    let schemas = Schemas::derive(&table, &config.capture.columns, &config.encode)
        .map_err(|error| refuse(&error))?;
    let ids = registries.ids(&schemas).await?;
    let encoder = RowEncoder::compile(&table, &schemas, &config.encode, database, ids)
        .map_err(|error| refuse(&error))?;
    let first = !outlet.knows(encoder.topic());
    let topic = outlet.topic(encoder.topic()).await?;
    if schemas.key.is_none() && first {
        tracing::warn!(
            table = format!("{}.{}", table.schema, table.name),
            "the table has no primary key and no usable unique index: its records have no key, \
             and are spread over the topic's partitions"
        );
    }
    let name = format!("{}.{}", table.schema, table.name);
    Ok(Captured {
        table,
        encoder,
        topic,
        name,
    })
}

fn unannounced(oid: u32) -> Error {
    Error::fatal(
        Blame::Postgres,
        "the replication stream",
        format_args!("a change of relation {oid}, which was not announced"),
    )
}

/// The registries of the two converters, where they are Avro's.
#[derive(Debug)]
pub(super) struct Registries {
    key: Option<Registered>,
    value: Option<Registered>,
}

/// A converter that registers its schemas.
#[derive(Debug)]
struct Registered {
    client: RegistryClient,
    strategy: SubjectName,
    connect_meta_data: bool,
}

impl Registries {
    /// Errors: an address or a credential that cannot be.
    pub(super) fn new(config: &config::Encode) -> Result<Self, Error> {
        let registered = |converter: &Converter| match converter {
            Converter::Avro(avro) => RegistryClient::new(avro).map(|client| {
                let (strategy, connect_meta_data) = (avro.subject_name, avro.connect_meta_data);
                Some(Registered {
                    client,
                    strategy,
                    connect_meta_data,
                })
            }),
            _ => Ok(None),
        };
        Ok(Self {
            key: registered(&config.key_converter)?,
            value: registered(&config.value_converter)?,
        })
    }

    /// The id of a schema of `topic`; 0 where the converter is not Avro.
    pub(super) async fn id(
        &mut self,
        side: Side,
        topic: &str,
        schema: &Schema,
    ) -> Result<u32, Error> {
        let registered = match side {
            Side::Key => &mut self.key,
            Side::Value => &mut self.value,
        };
        let Some(Registered {
            client,
            strategy,
            connect_meta_data,
        }) = registered
        else {
            return Ok(0);
        };
        let subject = registry::subject(*strategy, topic, side, schema.name.as_deref())?;
        Ok(client
            .id(&subject, &schema.avro(*connect_meta_data))
            .await?)
    }

    async fn ids(&mut self, schemas: &Schemas) -> Result<SchemaIds, Error> {
        let topic = &schemas.topic;
        let key = match &schemas.key {
            Some(key) => Some(self.id(Side::Key, topic, key).await?),
            None => None,
        };
        Ok(SchemaIds {
            key,
            value: self.id(Side::Value, topic, &schemas.value).await?,
        })
    }
}

/// The table as announced, with what only the catalogue knows. A column that is gone there is
/// nullable and has no default.
async fn complete(
    announced: &Announced,
    client: &mut Client,
    types: &mut Types,
) -> Result<Table, Error> {
    // An enum may have got a label since.
    types.clear();
    let known = catalog::tables(client, types, &[announced.oid])
        .await?
        .pop();
    let oids: Vec<u32> = announced
        .columns
        .iter()
        .map(|column| column.type_oid)
        .collect();
    types.learn(client, &oids).await?;
    let mut columns = Vec::with_capacity(announced.columns.len());
    for column in &announced.columns {
        let found = known
            .as_ref()
            .and_then(|table| table.columns.iter().find(|known| known.name == column.name));
        columns.push(Column {
            name: column.name.clone(),
            pg_type: types.get_or_unknown(column.type_oid),
            typmod: column.typmod,
            not_null: found.is_some_and(|found| found.not_null),
            default: found.and_then(|found| found.default.clone()),
            identity: column.identity,
        });
    }
    let position = |name: &str| columns.iter().position(|column| column.name == name);
    let key = match &known {
        Some(table) => {
            let names = table
                .key
                .iter()
                .map(|&at| position(&table.columns[at].name));
            names.collect::<Option<Vec<usize>>>()
        }
        None => None,
    };
    let replica_identity = match announced.replica_identity {
        b'f' => ReplicaIdentity::Full,
        b'i' => ReplicaIdentity::Index,
        b'n' => ReplicaIdentity::Nothing,
        _ => ReplicaIdentity::Default,
    };
    // Dropped meanwhile, or its key changed: the identity's columns were the key then.
    let key = key.unwrap_or_else(|| match replica_identity {
        ReplicaIdentity::Full => Vec::new(),
        _ => (0..columns.len())
            .filter(|&at| columns[at].identity)
            .collect(),
    });
    Ok(Table {
        oid: announced.oid,
        schema: announced.schema.clone(),
        name: announced.name.clone(),
        columns,
        key,
        replica_identity,
    })
}
