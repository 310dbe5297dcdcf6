//! The tables of one stream: what was announced, completed from the catalogue, with its encoder.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use avro::Resolution;
use pgwire::pgoutput::Relation;

use super::error::{Blame, Error};
use super::outlet::RowEvent;
use super::states::{State, States};
use crate::capture::catalog::{self, Types};
use crate::capture::client::Client;
use crate::capture::relations::{Column, Packed, ReplicaIdentity, Table};
use crate::config::{self, AvroText, Compat, Config, Converter, Filter, SubjectName};
use crate::encode::plan::{Event, Phase, RowEncoder, SchemaIds, Schemas};
use crate::encode::registry::{self, RegistryClient, Side};
use crate::encode::schema::Schema;
use crate::mutant::{self, Mutant};
use crate::net;
use crate::produce::TopicId;

/// A captured table, ready for its rows.
#[derive(Debug)]
pub(super) struct Captured {
    pub table: Table,
    pub encoder: RowEncoder,
    pub topic: TopicId,
    /// `schema.table`
    pub name: String,
    ids: Ids,
    phase: Phase,
    /// Where `route.by.field` has sent rows.
    routes: HashMap<Box<[u8]>, Route>,
}

/// What a registry says of a table's schemas.
#[derive(Debug, Clone)]
struct Ids {
    of: SchemaIds,
    /// The schemas in which keys and values are written, where they are not the table's own.
    key: Option<Arc<Resolution>>,
    value: Option<Arc<Resolution>>,
}

/// Where some rows of a table go.
#[derive(Debug)]
pub(super) struct Route {
    pub encoder: RowEncoder,
    pub topic: TopicId,
}

/// How many of them a table remembers.
const ROUTES_MAX: usize = 1000;

/// A table whose encoder is compiled, and whose topic is still to be found.
#[derive(Debug)]
pub(super) struct Compiled {
    table: Table,
    encoder: RowEncoder,
    ids: Ids,
    phase: Phase,
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

impl Captured {
    fn memory(&self) -> usize {
        let routes = self.routes.values().map(|route| route.encoder.memory());
        self.encoder.memory() + routes.sum::<usize>()
    }

    /// Where rows go whose field says `place`; none: that is not known yet.
    pub(super) fn route(&self, place: &[u8]) -> Option<&Route> {
        self.routes.get(place)
    }

    /// Appends where the records of a change go, if that is not known yet. False, and nothing
    /// appended, otherwise.
    pub(super) fn unknown_route(&self, change: &RowEvent<'_>, out: &mut Vec<u8>) -> bool {
        if !self.encoder.is_routed() {
            return false;
        }
        let RowEvent { before, after, .. } = *change;
        // A key's change is a deletion and a creation.
        let alone = [(before, None), (None, after), (before, after)];
        alone.into_iter().any(|(before, after)| {
            let event = Event {
                before,
                after,
                op: change.op,
                source: change.source,
                now_ns: 0,
            };
            let start = out.len();
            // Where it has no form, its records have none either, and say so.
            let told = self.encoder.route(&event, out).unwrap_or(false);
            let unknown = told && !self.routes.contains_key(&out[start..]);
            if !unknown {
                out.truncate(start);
            }
            unknown
        })
    }

    /// Compiles the encoder of rows whose field says `place`.
    ///
    /// Errors: what the registry said.
    pub(super) async fn compile_route(
        &self,
        place: &[u8],
        registries: &mut Registries,
        config: &Config,
    ) -> Result<RowEncoder, Error> {
        let topic = String::from_utf8_lossy(place);
        let compiled = encoder_of(self.phase, &self.table, Some(&topic), registries, config);
        Ok(compiled.await?.0)
    }

    /// Rows whose field says `place` go there from now on.
    pub(super) fn learn_route(&mut self, place: &[u8], encoder: RowEncoder, topic: TopicId) {
        if self.routes.len() >= ROUTES_MAX {
            self.routes.clear();
        }
        self.routes.insert(place.into(), Route { encoder, topic });
    }
}

/// A table whose encoder was forgotten, and can be made again without asking anybody.
#[derive(Debug)]
struct Asleep {
    table: Packed,
    topic: TopicId,
    ids: Ids,
    reads_binary: bool,
}

/// A captured table.
#[derive(Debug)]
enum Place {
    Awake(Box<Captured>),
    Asleep(Asleep),
    /// While it changes from the one to the other.
    Nothing,
}

/// Tables by the oid that changes name them with.
#[derive(Debug)]
pub(super) struct Tables {
    /// None: announced, and not captured.
    places: HashMap<u32, Option<usize>>,
    captured: Vec<Place>,
    /// Where each table was, however long ago it was announced.
    by_oid: HashMap<u32, usize>,
    /// The table of the change before: most changes are of the same table.
    last: Option<(u32, Option<usize>)>,
    compiler: Compiler,
    /// When each table was turned to last, counted in turns.
    used: Vec<u64>,
    turn: u64,
    /// Memory of the encoders that are awake.
    memory: usize,
    /// Memory of the tables that are not.
    packed: usize,
}

/// What encoders are compiled with.
#[derive(Debug)]
struct Compiler {
    columns: Filter,
    encode: config::Encode,
    database: String,
    memory_max: usize,
    /// Whether a field of a row may say where it goes.
    routed: bool,
}

impl Tables {
    /// No tables yet.
    pub(super) fn new(config: &Config) -> Self {
        Self {
            places: HashMap::new(),
            captured: Vec::new(),
            by_oid: HashMap::new(),
            last: None,
            compiler: Compiler {
                columns: config.capture.columns.clone(),
                encode: config.encode.clone(),
                database: config.source.database.clone(),
                memory_max: config.budget.tables,
                routed: is_routed(config),
            },
            used: Vec::new(),
            turn: 0,
            memory: 0,
            packed: 0,
        }
    }

    /// Whether a field of a row may say where it goes.
    #[inline]
    pub(super) fn are_routed(&self) -> bool {
        self.compiler.routed
    }

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
            _ => self.turn_to(oid)?,
        };
        Ok(place.and_then(|place| match &self.captured[place] {
            Place::Awake(captured) => Some(&**captured),
            // The table at hand is awake.
            Place::Asleep(_) | Place::Nothing => None,
        }))
    }

    fn turn_to(&mut self, oid: u32) -> Result<Option<usize>, Error> {
        let Some(&place) = self.places.get(&oid) else {
            return Err(unannounced(oid));
        };
        if let Some(place) = place {
            self.turn += 1;
            self.used[place] = self.turn;
            self.wake(place)?;
        }
        self.last = Some((oid, place));
        Ok(place)
    }

    /// Compiles an encoder that was forgotten.
    fn wake(&mut self, place: usize) -> Result<(), Error> {
        let Place::Asleep(_) = &self.captured[place] else {
            return Ok(());
        };
        let asleep = std::mem::replace(&mut self.captured[place], Place::Nothing);
        let Place::Asleep(Asleep {
            table, topic, ids, ..
        }) = asleep
        else {
            unreachable!("it was asleep a moment ago");
        };
        self.packed -= table.memory();
        let table = table.table();
        let Compiler {
            columns,
            encode,
            database,
            ..
        } = &self.compiler;
        let schemas =
            Schemas::derive(&table, columns, encode).map_err(|error| refuse(&table, &error))?;
        let encoder = RowEncoder::compile(&table, &schemas, encode, database, ids.of)
            .map_err(|error| refuse(&table, &error))?
            .rewritten(ids.key.clone(), ids.value.clone());
        let compiled = Compiled {
            table,
            encoder,
            ids,
            phase: Phase::Stream,
        };
        self.put(place, compiled.captured(topic));
        Ok(())
    }

    /// As [`Captured::learn_route`], of the table with this oid, which is awake.
    pub(super) fn learn_route(
        &mut self,
        oid: u32,
        place: &[u8],
        encoder: RowEncoder,
        topic: TopicId,
    ) {
        let at = self.places.get(&oid).copied().flatten();
        let Some(at) = at else { return };
        let Place::Awake(captured) = &mut self.captured[at] else {
            return;
        };
        self.memory -= captured.memory();
        captured.learn_route(place, encoder, topic);
        self.memory += captured.memory();
        if self.memory > self.room() {
            self.doze(at);
        }
    }

    /// Puts a table in its place; where that is too much, others' encoders are forgotten.
    fn put(&mut self, place: usize, captured: Captured) {
        self.memory += captured.memory();
        match self.captured.get(place) {
            Some(Place::Awake(before)) => self.memory -= before.memory(),
            Some(Place::Asleep(before)) => self.packed -= before.table.memory(),
            Some(Place::Nothing) | None => {}
        }
        let captured = Place::Awake(Box::new(captured));
        if place < self.captured.len() {
            self.captured[place] = captured;
        } else {
            self.captured.push(captured);
            self.used.push(self.turn);
        }
        if self.memory > self.room() {
            self.doze(place);
        }
    }

    /// For encoders: what tables that sleep leave of it, but a quarter in any case.
    fn room(&self) -> usize {
        let all = self.compiler.memory_max;
        all.saturating_sub(self.packed).max(all / 4)
    }

    /// Forgets encoders, those first that were not used for longest, until a quarter is free.
    fn doze(&mut self, except: usize) {
        let mut awake: Vec<usize> = (0..self.captured.len())
            .filter(|&at| at != except && matches!(self.captured[at], Place::Awake(_)))
            .collect();
        awake.sort_unstable_by_key(|&at| self.used[at]);
        for at in awake {
            if self.memory <= self.room() / 4 * 3 {
                break;
            }
            let place = std::mem::replace(&mut self.captured[at], Place::Nothing);
            self.captured[at] = match place {
                Place::Awake(captured) => {
                    self.memory -= captured.memory();
                    let Captured {
                        table,
                        encoder,
                        topic,
                        ids,
                        ..
                    } = *captured;
                    let table = Packed::new(&table);
                    self.packed += table.memory();
                    Place::Asleep(Asleep {
                        table,
                        topic,
                        ids,
                        reads_binary: encoder.reads_binary(),
                    })
                }
                place => place,
            };
        }
    }

    /// Whether rows of the table with this oid can be read in binary.
    pub(super) fn read_binary(&self, oid: u32) -> bool {
        let place = self.places.get(&oid).copied().flatten();
        place.is_none_or(|place| match &self.captured[place] {
            Place::Awake(captured) => captured.encoder.reads_binary(),
            Place::Asleep(asleep) => asleep.reads_binary,
            Place::Nothing => false,
        })
    }

    /// Makes a table known: columns, order and types as announced; nullability, defaults and the
    /// key from the catalogue as it is now; schema ids from the registry. One that is new, or not
    /// as it was, is for [`Self::place`], when its topic is found.
    ///
    /// Errors: what the catalogue or the registry said.
    pub(super) async fn resolve(
        &mut self,
        announced: Announced,
        (client, types): (&mut Client, &mut Types),
        registries: &mut Registries,
        config: &Config,
    ) -> Result<Option<Compiled>, Error> {
        self.last = None;
        let oid = announced.oid;
        if !config
            .capture
            .tables
            .accepts(&announced.schema, &announced.name)
        {
            self.places.insert(oid, None);
            return Ok(None);
        }
        let table = complete(&announced, client, types, config.encode.compat).await?;
        let place = self.by_oid.get(&oid).copied();
        let known = place.filter(|&place| match &self.captured[place] {
            Place::Awake(captured) => captured.table == table,
            Place::Asleep(asleep) => asleep.table.table() == table,
            Place::Nothing => false,
        });
        if known.is_some() {
            self.places.insert(oid, known);
            return Ok(None);
        }
        compile(Phase::Stream, table, registries, config)
            .await
            .map(Some)
    }

    /// Takes a table in. Another revision of the same table takes the place of the one before.
    pub(super) fn place(&mut self, compiled: Compiled, topic: TopicId) {
        let oid = compiled.table.oid;
        let place = self.by_oid.get(&oid).copied();
        let place = place.unwrap_or(self.captured.len());
        self.put(place, compiled.captured(topic));
        self.by_oid.insert(oid, place);
        self.places.insert(oid, Some(place));
    }
}

impl Compiled {
    /// Where its records go.
    pub(super) fn topic(&self) -> &str {
        self.encoder.topic()
    }

    /// The table, ready for its rows.
    pub(super) fn captured(self, topic: TopicId) -> Captured {
        let Self {
            table,
            encoder,
            ids,
            phase,
        } = self;
        Captured {
            name: format!("{}.{}", table.schema, table.name),
            table,
            encoder,
            topic,
            ids,
            phase,
            routes: HashMap::new(),
        }
    }

    /// Says so, when the table's records have no key.
    pub(super) fn tell_if_keyless(&self) {
        if self.ids.of.key.is_none() {
            tracing::warn!(
                table = format!("{}.{}", self.table.schema, self.table.name),
                "the table has no primary key and no usable unique index: its records have no \
                 key, and are spread over the topic's partitions"
            );
        }
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

/// Where the records of a table's copy go; none: it cannot be captured, which is told of when it is
/// its turn.
pub(super) fn topic_of(table: &Table, config: &Config) -> Option<String> {
    let (columns, encode) = (&config.capture.columns, &config.encode);
    let schemas = Schemas::derive_for(Phase::Copy, table, columns, encode);
    schemas.ok().map(|schemas| schemas.topic)
}

/// Compiles a table's encoder: schemas derived and registered.
///
/// Errors: a table that cannot be captured; what the registry said.
pub(super) async fn compile(
    phase: Phase,
    table: Table,
    registries: &mut Registries,
    config: &Config,
) -> Result<Compiled, Error> {
    let (encoder, ids) = encoder_of(phase, &table, None, registries, config).await?;
    Ok(Compiled {
        table,
        encoder,
        ids,
        phase,
    })
}

/// The same for rows that go where one of their fields says.
async fn encoder_of(
    phase: Phase,
    table: &Table,
    routed: Option<&str>,
    registries: &mut Registries,
    config: &Config,
) -> Result<(RowEncoder, Ids), Error> {
    let (columns, encode) = (&config.capture.columns, &config.encode);
    let schemas = Schemas::derive_routed(phase, table, columns, encode, routed)
        .map_err(|error| refuse(table, &error))?;
    let of_table = |error: Error| Error {
        what: format!("{}, table {}.{}", error.what, table.schema, table.name),
        ..error
    };
    let ids = registries.ids(&schemas).await.map_err(of_table)?;
    let encoder = RowEncoder::compile(table, &schemas, encode, &config.source.database, ids.of)
        .map_err(|error| refuse(table, &error))?
        .rewritten(ids.key.clone(), ids.value.clone());
    Ok((encoder, ids))
}

/// Whether a transform takes topics of rows' own words.
pub(super) fn is_routed(config: &Config) -> bool {
    let mut transforms = config.encode.transforms.iter();
    transforms.any(|transform| transform.options.contains_key("route.by.field"))
}

fn refuse(table: &Table, error: &dyn std::fmt::Display) -> Error {
    let what = format!("{}.{} cannot be captured", table.schema, table.name);
    Error::fatal(Blame::Configuration, what, error)
}

fn unannounced(oid: u32) -> Error {
    Error::fatal(
        Blame::Postgres,
        "the replication stream",
        format_args!("a change of relation {oid}, which was not announced"),
    )
}

/// Before a registry is asked again, at first: as Connect waits.
const RETRY_WAIT: Duration = Duration::from_millis(300);

/// The registries of the two converters, where they are Avro's.
#[derive(Debug)]
pub(super) struct Registries {
    key: Option<Registered>,
    value: Option<Registered>,
    /// `errors.retry.timeout` and `errors.retry.delay.max.ms`.
    retry: (Option<Duration>, Duration),
    states: Rc<States>,
}

/// A converter that registers its schemas.
#[derive(Debug)]
struct Registered {
    client: RegistryClient,
    strategy: SubjectName,
    text: AvroText,
}

impl Registries {
    /// Errors: an address or a credential that cannot be.
    pub(super) fn new(config: &Config, states: Rc<States>) -> Result<Self, Error> {
        let registered = |converter: &Converter| match converter {
            Converter::Avro(avro) => RegistryClient::new(avro).map(|client| {
                let (strategy, text) = (avro.subject_name, avro.text);
                Some(Registered {
                    client,
                    strategy,
                    text,
                })
            }),
            _ => Ok(None),
        };
        Ok(Self {
            key: registered(&config.encode.key_converter)?,
            value: registered(&config.encode.value_converter)?,
            retry: (config.errors.retry_timeout, config.errors.retry_delay_max),
            states,
        })
    }

    /// The id of a schema of `topic`, 0 where the converter is not Avro; and how data are written
    /// under it, where it stands for another schema.
    pub(super) async fn id(
        &mut self,
        side: Side,
        topic: &str,
        schema: &Schema,
    ) -> Result<(u32, Option<Arc<Resolution>>), Error> {
        let registered = match side {
            Side::Key => &mut self.key,
            Side::Value => &mut self.value,
        };
        let Some(Registered {
            client,
            strategy,
            text,
        }) = registered
        else {
            return Ok((0, None));
        };
        let name = schema.avro_name(*text);
        let subject = registry::subject(*strategy, topic, side, name.as_deref())?;
        let schema = schema.avro(*text);
        let (timeout, wait_max) = self.retry;
        let (asked, mut wait) = (net::now(), RETRY_WAIT);
        let mut was = None;
        loop {
            let error = match client.id(&subject, &schema).await {
                Ok(id) => {
                    was.map(|state| self.states.enter(state));
                    return Ok((id, client.rewrite(&subject, &schema)));
                }
                Err(error) => error,
            };
            if !error.retriable() {
                return Err(error.into());
            }
            let before = self.states.enter(State::RegistryAway);
            was = was.or(before);
            if timeout.is_some_and(|timeout| asked.elapsed() + wait > timeout) {
                return Err(error.into());
            }
            tracing::warn!(subject, "{error}; asking again");
            tokio::time::sleep(super::jittered(wait)).await;
            wait = (wait * 2).min(wait_max);
        }
    }

    async fn ids(&mut self, schemas: &Schemas) -> Result<Ids, Error> {
        let topic = &schemas.topic;
        let key = match &schemas.key {
            Some(key) => Some(self.id(Side::Key, topic, key).await?),
            None => None,
        };
        let (mut value, written) = self.id(Side::Value, topic, &schemas.value).await?;
        let of_key = key.as_ref().map(|(id, _)| *id);
        if mutant::is(Mutant::SwapSchemas) {
            value = of_key.unwrap_or(value);
        }
        Ok(Ids {
            of: SchemaIds { key: of_key, value },
            key: key.and_then(|(_, written)| written),
            value: written,
        })
    }
}

/// The table as announced, with what only the catalogue knows. A column that is gone there is
/// nullable and has no default. Debezium looks for a table of that name, which may be none or
/// another by now.
async fn complete(
    announced: &Announced,
    client: &mut Client,
    types: &mut Types,
    compat: Compat,
) -> Result<Table, Error> {
    let as_debezium = compat == Compat::Debezium;
    let mut oid = Some(announced.oid);
    if as_debezium {
        oid = catalog::table_named(client, &announced.schema, &announced.name).await?;
    }
    let known = match oid {
        Some(oid) => catalog::tables(client, types, &[oid]).await?.pop(),
        None => None,
    };
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
            not_null: match (&known, announced.replica_identity) {
                // It is gone; its key's columns could not be null.
                (None, b'd' | b'i') if !as_debezium => column.identity,
                _ => found.is_some_and(|found| found.not_null),
            },
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
        _ if as_debezium => Vec::new(),
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
