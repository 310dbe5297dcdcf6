//! The live catalogue: the server, its tables and types, and that publication and slot are there.
//!
//! Tables as the stream saw them come from its Relation messages; this is what those lack
//! (nullability, defaults, the key's order), and what the snapshot starts from. All statements are
//! good for PostgreSQL 12 to 18, and name nothing that a `search_path` could bend.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use pgwire::lsn::Lsn;
use pgwire::replication::{
    CreateSlot, IDENTIFY_SYSTEM, SlotSnapshot, TimelineSwitch, drop_slot, quote_identifier,
    quote_literal, timeline_history, timeline_switches,
};

use super::client::{Client, TextRow};
use super::error::{PgError, Setup};
use super::relations::{Column, PgType, ReplicaIdentity, Table, TypeKind};
use crate::config::{Capture, Filter, Operation, PublicationAutocreate, Source};
use crate::progress::offsets::Home;

/// The oldest server that is supported.
const VERSION_MIN: u32 = 120_000;

/// What kind of server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// 150018 for 15.18.
    pub version: u32,
    /// `logical`, or it will not do.
    pub wal_level: String,
    /// A standby.
    pub in_recovery: bool,
    /// The cluster's identity: positions of another one mean nothing here.
    pub system_id: String,
    /// `pg_database.datname` of the connection.
    pub database: String,
    /// How long it waits for a word of ours on a stream; zero: for ever.
    pub wal_sender_timeout: Duration,
}

impl Server {
    /// Asks `client`'s server who it is.
    ///
    /// Errors: [`PgError`]; [`Setup::ServerTooOld`] before 12.
    pub async fn ask(client: &mut Client) -> Result<Self, PgError> {
        let rows = client
            .simple_query(
                "SELECT current_setting('server_version_num'), current_setting('wal_level'), \
                 pg_is_in_recovery(), (SELECT system_identifier FROM pg_control_system()), \
                 current_database(), \
                 (SELECT setting FROM pg_settings WHERE name = 'wal_sender_timeout')",
            )
            .await?;
        let answer = || {
            PgError::new(
                client.target(),
                Setup::Answer {
                    expected: "its settings",
                },
            )
        };
        let mut fields = Fields::only(rows).ok_or_else(answer)?;
        let server = Self {
            version: fields.parse().ok_or_else(answer)?,
            wal_level: fields.text(),
            in_recovery: fields.flag(),
            system_id: fields.text(),
            database: fields.text(),
            wal_sender_timeout: Duration::from_millis(fields.parse().unwrap_or_default()),
        };
        if server.version < VERSION_MIN {
            let setup = Setup::ServerTooOld {
                version: server.version,
            };
            return Err(PgError::new(client.target(), setup));
        }
        Ok(server)
    }

    /// Whether the server writes what logical decoding needs.
    ///
    /// Errors: [`Setup::WalLevel`].
    pub fn check_wal_level(&self, target: &str) -> Result<(), PgError> {
        if self.wal_level == "logical" {
            return Ok(());
        }
        Err(PgError::new(
            target,
            Setup::WalLevel {
                found: self.wal_level.clone(),
            },
        ))
    }

    /// Where the WAL ends now, and (but on a standby) the current transaction's xid, which asking
    /// assigns: `source.lsn` and `source.txId` of a snapshot on an existing slot.
    ///
    /// Errors: [`PgError`].
    pub async fn position(&self, client: &mut Client) -> Result<(Lsn, Option<u64>), PgError> {
        let sql = match (self.in_recovery, self.version) {
            (true, _) => "SELECT pg_last_wal_receive_lsn(), NULL",
            (false, 130_000..) => "SELECT pg_current_wal_lsn(), pg_current_xact_id()",
            (false, _) => "SELECT pg_current_wal_lsn(), txid_current()",
        };
        let rows = client.simple_query(sql).await?;
        let answer = || {
            PgError::new(
                client.target(),
                Setup::Answer {
                    expected: "a position",
                },
            )
        };
        let mut fields = Fields::only(rows).ok_or_else(answer)?;
        Ok((fields.parse().ok_or_else(answer)?, fields.parse()))
    }
}

/// Which cluster answers, and where in its history it is: what a position is held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whereabouts {
    /// The cluster and its timeline.
    pub home: Home,
    /// Where its WAL ends; on a standby, where it was replayed to.
    pub wal_end: Lsn,
    /// A standby.
    pub in_recovery: bool,
    /// Where each timeline before was left; empty unless it was asked for.
    pub history: Vec<TimelineSwitch>,
}

impl Whereabouts {
    /// Asks by `replication`, a connection for [`super::client::Purpose::Replication`]. The
    /// history is asked for when the timeline is not `known`.
    ///
    /// Errors: [`PgError`].
    pub async fn ask(
        replication: &mut Client,
        server: &Server,
        known: Option<Home>,
    ) -> Result<Self, PgError> {
        let rows = replication.simple_query(IDENTIFY_SYSTEM).await?;
        let target = replication.target().to_owned();
        let answer = |expected| PgError::new(&target, Setup::Answer { expected });
        let identity = || answer("the system's identity");
        let mut fields = Fields::only(rows).ok_or_else(identity)?;
        let home = Home {
            system_id: fields.parse().ok_or_else(identity)?,
            timeline: fields.parse().ok_or_else(identity)?,
        };
        let wal_end = fields.parse().ok_or_else(identity)?;
        let mut history = Vec::new();
        if home.timeline > 1 && known.is_some_and(|known| known.timeline != home.timeline) {
            let command = timeline_history(home.timeline);
            let rows = replication.simple_query(&command).await?;
            let answer = || answer("the timeline's history");
            let mut fields = Fields::only(rows).ok_or_else(answer)?;
            let _file = fields.text();
            history = timeline_switches(&fields.text())
                .collect::<Result<_, _>>()
                .map_err(|_| answer())?;
        }
        Ok(Self {
            home,
            wal_end,
            in_recovery: server.in_recovery,
            history,
        })
    }
}

/// A row of an answer, taken column by column.
struct Fields(std::vec::IntoIter<Option<String>>);

impl Fields {
    fn new(row: TextRow) -> Self {
        Self(row.into_iter())
    }

    /// The only row.
    fn only(rows: Vec<TextRow>) -> Option<Self> {
        rows.into_iter().next().map(Self::new)
    }

    /// None for NULL.
    fn optional(&mut self) -> Option<String> {
        self.0.next().flatten()
    }

    /// Empty for NULL.
    fn text(&mut self) -> String {
        self.optional().unwrap_or_default()
    }

    /// A number or a position.
    fn parse<T: std::str::FromStr>(&mut self) -> Option<T> {
        self.optional()?.parse().ok()
    }

    fn flag(&mut self) -> bool {
        self.optional().is_some_and(|text| text == "t")
    }
}

/// A table that is captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapturedTable {
    /// Its oid.
    pub oid: u32,
    /// The schema's name, unquoted.
    pub schema: String,
    /// The table's name, unquoted.
    pub name: String,
    /// A partitioned table: its rows are in its partitions.
    pub partitioned: bool,
    /// A partition of another table.
    pub partition: bool,
    /// Not logged, so never streamed and not to be published.
    pub unlogged: bool,
    /// About how many rows it has; none: the server has never counted. Exact when zero.
    pub rows: Option<u64>,
    /// Bytes on disk of the table itself, without indexes and TOAST; zero when partitioned.
    pub bytes: u64,
}

impl CapturedTable {
    /// `schema.table`, as filters and people write it.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// Quoted, as statements have it.
    #[must_use]
    pub fn quoted(&self) -> String {
        let (schema, name) = (quote_identifier(&self.schema), quote_identifier(&self.name));
        format!("{schema}.{name}")
    }
}

/// Tables whose columns are asked for in one query: an answer takes many times the memory of what
/// is kept of it, and of ten thousand tables the definitions are not kept at all.
pub const TABLES_AT_ONCE: usize = 100;

/// The tables that `capture`'s filters let through, in the order of the snapshot: by the list of
/// included tables, each pattern's matches by name; without a list by name.
///
/// Errors: [`PgError`].
pub async fn captured_tables(
    client: &mut Client,
    capture: &Capture,
) -> Result<Vec<CapturedTable>, PgError> {
    // Rows by the density that ANALYZE or VACUUM last saw, and the size of now. A partitioned
    // table's are those of its leaves, if every one of them is known.
    let rows = client
        .simple_query(
            "WITH relations AS ( \
               SELECT c.oid, n.nspname, c.relname, c.relkind, c.relispartition, c.relpersistence, \
                      c.reltuples, c.relpages, \
                      CASE WHEN c.relkind = 'r' THEN pg_relation_size(c.oid) ELSE 0 END AS bytes \
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' \
                 AND n.nspname NOT IN ('pg_catalog', 'information_schema') \
             ), estimates AS ( \
               SELECT oid, CASE \
                        WHEN bytes = 0 THEN 0 \
                        WHEN reltuples < 0 OR relpages = 0 THEN NULL \
                        ELSE reltuples::float8 / relpages \
                             * (bytes / current_setting('block_size')::float8) \
                      END AS tuples \
               FROM relations WHERE relkind = 'r' \
             ) \
             SELECT r.oid, r.nspname, r.relname, r.relkind = 'p', r.relispartition, \
                    r.relpersistence = 'u', \
                    CASE WHEN r.relkind = 'r' THEN e.tuples::int8 ELSE ( \
                      SELECT CASE WHEN count(*) = count(l.tuples) \
                                  THEN coalesce(sum(l.tuples), 0) END::int8 \
                      FROM pg_partition_tree(r.oid) p JOIN estimates l ON l.oid = p.relid \
                      WHERE p.isleaf) END, \
                    r.bytes \
             FROM relations r LEFT JOIN estimates e ON e.oid = r.oid",
        )
        .await?;
    let mut found = Vec::new();
    for row in rows {
        let mut fields = Fields::new(row);
        let oid = fields.parse().unwrap_or(0);
        let (schema, name) = (fields.text(), fields.text());
        if !capture.tables.accepts(&schema, &name) {
            continue;
        }
        found.push(CapturedTable {
            oid,
            schema,
            name,
            partitioned: fields.flag(),
            partition: fields.flag(),
            unlogged: fields.flag(),
            rows: fields.parse(),
            bytes: fields.parse().unwrap_or(0),
        });
    }
    found.sort_by_cached_key(CapturedTable::full_name);
    if let Filter::Include(patterns) = &capture.tables.tables {
        let place = |table: &CapturedTable| {
            let name = table.full_name();
            patterns.iter().position(|pattern| pattern.is_match(&name))
        };
        found.sort_by_cached_key(place);
    }
    Ok(found)
}

/// A file of rows that a table's snapshot reads: the table itself, or a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeapOf {
    /// The captured table's oid.
    pub table: u32,
    /// Its own.
    pub oid: u32,
    /// Of the heap, unquoted.
    pub schema: String,
    /// Of the heap, unquoted.
    pub name: String,
    /// `pg_relation_filenode`
    pub filenode: u32,
    /// How many blocks it has.
    pub blocks: u64,
    /// Its rows can be asked for by their tids: a logged heap that we may read, no policy on its
    /// rows, and no table that inherits from it.
    pub by_tid: bool,
    /// Every type of the table has a binary form.
    pub binary: bool,
}

/// The heaps of these tables, a table's in the order of their oids.
///
/// Errors: [`PgError`].
pub async fn heaps(client: &mut Client, oids: &[u32]) -> Result<Vec<HeapOf>, PgError> {
    if oids.is_empty() {
        return Ok(Vec::new());
    }
    let list = oid_list(oids);
    let rows = client
        .simple_query(&format!(
            "WITH roots AS ( \
               SELECT c.oid, c.relkind, NOT EXISTS ( \
                 SELECT 1 FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
                 LEFT JOIN pg_type e ON e.oid = t.typelem \
                 WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
                   AND (t.typsend = 0 OR e.typsend = 0)) AS sends \
               FROM pg_class c WHERE c.oid IN ({list}) \
             ), leaves AS ( \
               SELECT oid AS root, oid AS leaf FROM roots WHERE relkind = 'r' \
               UNION ALL \
               SELECT r.oid, p.relid FROM roots r, LATERAL pg_partition_tree(r.oid) p \
               WHERE r.relkind = 'p' AND p.isleaf \
             ) \
             SELECT r.oid, c.oid, n.nspname, c.relname, pg_relation_filenode(c.oid), \
                    CASE WHEN c.relkind = 'r' THEN pg_relation_size(c.oid) \
                         / current_setting('block_size')::int8 ELSE 0 END, \
                    c.relkind = 'r' AND m.amname IS NOT DISTINCT FROM 'heap' \
                      AND c.relpersistence = 'p' \
                      AND has_table_privilege(c.oid, 'SELECT') AND NOT row_security_active(r.oid) \
                      AND NOT EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhparent = c.oid), \
                    r.sends \
             FROM leaves l JOIN roots r ON r.oid = l.root JOIN pg_class c ON c.oid = l.leaf \
             JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_am m ON m.oid = c.relam \
             ORDER BY r.oid, c.oid"
        ))
        .await?;
    let heap = |row| {
        let mut fields = Fields::new(row);
        HeapOf {
            table: fields.parse().unwrap_or(0),
            oid: fields.parse().unwrap_or(0),
            schema: fields.text(),
            name: fields.text(),
            filenode: fields.parse().unwrap_or(0),
            blocks: fields.parse().unwrap_or(0),
            by_tid: fields.flag(),
            binary: fields.flag(),
        }
    };
    Ok(rows.into_iter().map(heap).collect())
}

/// The tables of these oids as the catalogue has them now, in no order; one that is gone is left
/// out. `types` learns the types of their columns.
///
/// Errors: [`PgError`].
pub async fn tables(
    client: &mut Client,
    types: &mut Types,
    oids: &[u32],
) -> Result<Vec<Table>, PgError> {
    struct Attribute {
        attnum: i16,
        type_oid: u32,
        column: Column,
    }
    if oids.is_empty() {
        return Ok(Vec::new());
    }
    let list = oid_list(oids);
    let heads = client
        .simple_query(&format!(
            "SELECT c.oid, n.nspname, c.relname, c.relreplident \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.oid IN ({list})"
        ))
        .await?;
    // A domain's NOT NULL is the column's; an identity has no default. What generates a column
    // counts as its default: so Debezium.
    let attributes = client
        .simple_query(&format!(
            "SELECT a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod, \
                    a.attnotnull OR (t.typtype = 'd' AND t.typnotnull), \
                    CASE WHEN a.attidentity = '' THEN pg_get_expr(d.adbin, d.adrelid) END \
             FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
             LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
             WHERE a.attrelid IN ({list}) AND a.attnum > 0 AND NOT a.attisdropped \
             ORDER BY a.attrelid, a.attnum"
        ))
        .await?;
    // Unique indexes in the order in which JDBC tells them, which is the one Debezium takes the
    // first of. It does not ask whether an index is partial, so neither do we.
    let indexes = client
        .simple_query(&format!(
            "SELECT i.indrelid, i.indisprimary, i.indisreplident, \
                    (SELECT string_agg(k.attnum::text, ' ' ORDER BY k.place) \
                     FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, place) \
                     WHERE k.place <= i.indnkeyatts) \
             FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
             WHERE i.indrelid IN ({list}) AND i.indisunique AND i.indisvalid \
             ORDER BY i.indrelid, i.indisprimary DESC, i.indisclustered DESC, \
                      c.relname COLLATE \"C\""
        ))
        .await?;

    let mut columns: HashMap<u32, Vec<Attribute>> = HashMap::new();
    let mut type_oids = Vec::new();
    let unresolved = Types::unknown(0);
    for row in attributes {
        let mut fields = Fields::new(row);
        let table = fields.parse().unwrap_or(0);
        let attnum = fields.parse().unwrap_or(0);
        let name = fields.text();
        let type_oid = fields.parse().unwrap_or(0);
        type_oids.push(type_oid);
        let column = Column {
            name,
            pg_type: Arc::clone(&unresolved),
            typmod: fields.parse().unwrap_or(-1),
            not_null: fields.flag(),
            default: fields.optional(),
            identity: false,
        };
        columns.entry(table).or_default().push(Attribute {
            attnum,
            type_oid,
            column,
        });
    }
    types.learn(client, &type_oids).await?;

    struct Index {
        primary: bool,
        identity: bool,
        attnums: Vec<i16>,
    }
    let mut unique: HashMap<u32, Vec<Index>> = HashMap::new();
    for row in indexes {
        let mut fields = Fields::new(row);
        let table = fields.parse().unwrap_or(0);
        let index = Index {
            primary: fields.flag(),
            identity: fields.flag(),
            attnums: fields
                .text()
                .split(' ')
                .filter_map(|attnum| attnum.parse().ok())
                .collect(),
        };
        unique.entry(table).or_default().push(index);
    }

    let mut found = Vec::new();
    for row in heads {
        let mut fields = Fields::new(row);
        let oid = fields.parse().unwrap_or(0);
        let (schema, name) = (fields.text(), fields.text());
        let replica_identity = match fields.text().as_str() {
            "f" => ReplicaIdentity::Full,
            "i" => ReplicaIdentity::Index,
            "n" => ReplicaIdentity::Nothing,
            _ => ReplicaIdentity::Default,
        };
        let mut attributes = columns.remove(&oid).unwrap_or_default();
        let indexes = unique.remove(&oid).unwrap_or_default();
        let place = |attnum: &i16| {
            attributes
                .iter()
                .position(|attribute| attribute.attnum == *attnum)
        };
        // An expression has no attribute (0), so an index with one is no key.
        let key = indexes
            .iter()
            .find_map(|index| index.attnums.iter().map(place).collect::<Option<Vec<_>>>())
            .unwrap_or_default();
        let identity: HashSet<i16> = indexes
            .iter()
            .filter(|index| match replica_identity {
                ReplicaIdentity::Default => index.primary,
                ReplicaIdentity::Index => index.identity,
                ReplicaIdentity::Full | ReplicaIdentity::Nothing => false,
            })
            .flat_map(|index| index.attnums.iter().copied())
            .collect();
        for attribute in &mut attributes {
            attribute.column.pg_type = types.get_or_unknown(attribute.type_oid);
            attribute.column.identity =
                replica_identity == ReplicaIdentity::Full || identity.contains(&attribute.attnum);
        }
        let columns = attributes
            .into_iter()
            .map(|attribute| attribute.column)
            .collect();
        found.push(Table {
            oid,
            schema,
            name,
            columns,
            key,
            replica_identity,
        });
    }
    Ok(found)
}

/// The table of that name; none: there is none by now.
///
/// Errors: [`PgError`].
pub async fn table_named(
    client: &mut Client,
    schema: &str,
    name: &str,
) -> Result<Option<u32>, PgError> {
    let rows = client
        .simple_query(&format!(
            "SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = {} AND c.relname = {} AND c.relkind IN ('r', 'p')",
            quote_literal(schema),
            quote_literal(name)
        ))
        .await?;
    Ok(Fields::only(rows).and_then(|mut fields| fields.parse()))
}

fn oid_list(oids: &[u32]) -> String {
    oids.iter()
        .map(u32::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

/// Types by their oid, with what they are made of; learnt when they are first met.
#[derive(Debug, Clone, Default)]
pub struct Types {
    by_oid: HashMap<u32, Arc<PgType>>,
}

/// The row of `pg_type` that a [`PgType`] is made of.
struct TypeRow {
    oid: u32,
    schema: String,
    name: String,
    /// `typtype`
    kind: String,
    /// The element of a true array, else 0.
    element: u32,
    /// The base of a domain, else 0.
    base: u32,
    base_typmod: i32,
}

impl Types {
    /// The type of that oid, if it is known.
    #[must_use]
    pub fn get(&self, oid: u32) -> Option<&Arc<PgType>> {
        self.by_oid.get(&oid)
    }

    /// The type of that oid, or one that only has an oid: of a type that was dropped since.
    #[must_use]
    pub fn get_or_unknown(&self, oid: u32) -> Arc<PgType> {
        self.get(oid).map_or_else(|| Self::unknown(oid), Arc::clone)
    }

    /// Every enum there is, with the labels that it has now. A label that is added later is told of
    /// from the next start on: so Debezium, which asks for all types when it starts.
    ///
    /// Errors: [`PgError`].
    pub async fn enums(client: &mut Client) -> Result<Self, PgError> {
        let rows = client
            .simple_query("SELECT oid FROM pg_type WHERE typtype = 'e'")
            .await?;
        let oid = |row| Fields::new(row).parse().unwrap_or(0);
        let oids: Vec<u32> = rows.into_iter().map(oid).collect();
        let mut types = Self::default();
        types.learn(client, &oids).await?;
        Ok(types)
    }

    fn unknown(oid: u32) -> Arc<PgType> {
        let (schema, name) = ("pg_catalog".to_owned(), "unknown".to_owned());
        Arc::new(PgType {
            oid,
            schema,
            name,
            kind: TypeKind::Base,
        })
    }

    /// Asks for those of `oids` that are not known yet, and for what they are made of.
    ///
    /// Errors: [`PgError`].
    pub async fn learn(&mut self, client: &mut Client, oids: &[u32]) -> Result<(), PgError> {
        let mut missing: Vec<u32> = oids.to_vec();
        missing.retain(|oid| !self.by_oid.contains_key(oid));
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() {
            return Ok(());
        }
        // A true array is the type that its element names as its array: int2vector and point have
        // elements too, and are none.
        let list = oid_list(&missing);
        let rows = client
            .simple_query(&format!(
                "WITH RECURSIVE closure AS ( \
                   SELECT t.oid FROM pg_type t WHERE t.oid IN ({list}) \
                   UNION \
                   SELECT part.oid FROM closure \
                   JOIN pg_type t ON t.oid = closure.oid \
                   JOIN pg_type part \
                     ON part.oid = t.typbasetype \
                      OR (part.oid = t.typelem AND part.typarray = t.oid) \
                 ) \
                 SELECT t.oid, n.nspname, t.typname, t.typtype, coalesce(e.oid, 0), \
                        t.typbasetype, t.typtypmod \
                 FROM closure JOIN pg_type t ON t.oid = closure.oid \
                 JOIN pg_namespace n ON n.oid = t.typnamespace \
                 LEFT JOIN pg_type e ON e.oid = t.typelem AND e.typarray = t.oid"
            ))
            .await?;
        let mut waiting: HashMap<u32, TypeRow> = HashMap::new();
        for row in rows {
            let mut fields = Fields::new(row);
            let row = TypeRow {
                oid: fields.parse().unwrap_or(0),
                schema: fields.text(),
                name: fields.text(),
                kind: fields.text(),
                element: fields.parse().unwrap_or(0),
                base: fields.parse().unwrap_or(0),
                base_typmod: fields.parse().unwrap_or(-1),
            };
            waiting.insert(row.oid, row);
        }
        let enums: Vec<u32> = waiting
            .values()
            .filter(|row| row.kind == "e")
            .map(|row| row.oid)
            .collect();
        let mut labels: HashMap<u32, Vec<String>> = HashMap::new();
        if !enums.is_empty() {
            let rows = client
                .simple_query(&format!(
                    "SELECT enumtypid, enumlabel FROM pg_enum WHERE enumtypid IN ({}) \
                     ORDER BY enumtypid, enumsortorder",
                    oid_list(&enums)
                ))
                .await?;
            for row in rows {
                let mut fields = Fields::new(row);
                labels
                    .entry(fields.parse().unwrap_or(0))
                    .or_default()
                    .push(fields.text());
            }
        }
        let oids: Vec<u32> = waiting.keys().copied().collect();
        for oid in oids {
            self.resolve(oid, &mut waiting, &mut labels);
        }
        Ok(())
    }

    /// Makes a type of its row, after those that it is made of. Rows are taken out as they are
    /// used, so a circle, which the catalogue cannot have, would end at an unknown type.
    fn resolve(
        &mut self,
        oid: u32,
        waiting: &mut HashMap<u32, TypeRow>,
        labels: &mut HashMap<u32, Vec<String>>,
    ) -> Arc<PgType> {
        if let Some(known) = self.by_oid.get(&oid) {
            return Arc::clone(known);
        }
        let Some(row) = waiting.remove(&oid) else {
            return Self::unknown(oid);
        };
        let kind = match row.kind.as_str() {
            "e" => TypeKind::Enum {
                labels: labels.remove(&oid).unwrap_or_default(),
            },
            "d" => TypeKind::Domain {
                base: self.resolve(row.base, waiting, labels),
                typmod: row.base_typmod,
            },
            "r" => TypeKind::Range,
            "m" => TypeKind::Multirange,
            "c" => TypeKind::Composite,
            _ if row.element != 0 => TypeKind::Array {
                element: self.resolve(row.element, waiting, labels),
            },
            _ => TypeKind::Base,
        };
        let known = Arc::new(PgType {
            oid,
            schema: row.schema,
            name: row.name,
            kind,
        });
        self.by_oid.insert(oid, Arc::clone(&known));
        known
    }
}

/// What was done about the publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicationState {
    /// It was there, and is used as it is.
    Found,
    /// It was made.
    Created,
    /// Its tables were set anew.
    Altered,
}

/// Sees to it that the publication is there, as `publication.autocreate.mode` says. To be called
/// before [`ensure_slot`]: a slot that is older than its publication cannot be read.
///
/// Errors: [`PgError`]; `Setup` when the mode does not allow what would have to be done.
pub async fn ensure_publication(
    client: &mut Client,
    server: &Server,
    source: &Source,
    capture: &Capture,
    tables: &[CapturedTable],
) -> Result<PublicationState, PgError> {
    let name = &source.publication;
    let literal = quote_literal(name);
    let quoted = quote_identifier(name);
    let target = client.target().to_owned();
    let fail = |setup| PgError::new(&target, setup);
    let publication = || name.clone();

    let rows = client
        .simple_query(&format!(
            "SELECT puballtables FROM pg_publication WHERE pubname = {literal}"
        ))
        .await?;
    let all_tables = Fields::only(rows).map(|mut fields| fields.flag());
    let mode = source.publication_autocreate;
    match (mode, all_tables) {
        (PublicationAutocreate::Disabled, None) => {
            return Err(fail(Setup::PublicationMissing {
                publication: publication(),
            }));
        }
        (PublicationAutocreate::Filtered, Some(true)) => {
            return Err(fail(Setup::PublicationForAllTables {
                publication: publication(),
            }));
        }
        (PublicationAutocreate::Filtered, Some(false)) => {}
        (_, Some(_)) => return Ok(PublicationState::Found),
        (_, None) if server.in_recovery => {
            return Err(fail(Setup::PublicationOnStandby {
                publication: publication(),
            }));
        }
        (PublicationAutocreate::AllTables, None) => {
            let with = publication_options(server, source, capture);
            let sql = format!("CREATE PUBLICATION {quoted} FOR ALL TABLES{with}");
            client.simple_query(&sql).await?;
            return Ok(PublicationState::Created);
        }
        (PublicationAutocreate::NoTables, None) => {
            let with = publication_options(server, source, capture);
            client
                .simple_query(&format!("CREATE PUBLICATION {quoted}{with}"))
                .await?;
            return Ok(PublicationState::Created);
        }
        (PublicationAutocreate::Filtered, None) => {}
    }

    // What can be published at all: partitioned tables from 13 on.
    let publishable: Vec<&CapturedTable> = tables
        .iter()
        .filter(|table| !table.unlogged && (!table.partitioned || server.version >= 130_000))
        .collect();
    if publishable.is_empty() {
        return Err(fail(Setup::NoTables {
            publication: publication(),
        }));
    }
    let list = publishable
        .iter()
        .map(|table| table.quoted())
        .collect::<Vec<_>>()
        .join(", ");
    if all_tables.is_none() {
        let with = publication_options(server, source, capture);
        client
            .simple_query(&format!(
                "CREATE PUBLICATION {quoted} FOR TABLE {list}{with}"
            ))
            .await?;
        return Ok(PublicationState::Created);
    }

    // The tables it names, or those that they come to (partitions, schemas): either will do.
    let rows = client
        .simple_query(&format!(
            "SELECT true, r.prrelid FROM pg_publication_rel r \
             JOIN pg_publication p ON p.oid = r.prpubid WHERE p.pubname = {literal} \
             UNION ALL \
             SELECT false, c.oid FROM pg_publication_tables t \
             JOIN pg_namespace n ON n.nspname = t.schemaname \
             JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename \
             WHERE t.pubname = {literal}"
        ))
        .await?;
    let mut named: HashSet<u32> = HashSet::new();
    let mut effective: HashSet<u32> = HashSet::new();
    for row in rows {
        let mut fields = Fields::new(row);
        let set = if fields.flag() {
            &mut named
        } else {
            &mut effective
        };
        set.extend(fields.parse::<u32>());
    }
    let wanted: HashSet<u32> = publishable.iter().map(|table| table.oid).collect();
    if wanted == named || wanted == effective {
        return Ok(PublicationState::Found);
    }
    if server.in_recovery {
        return Err(fail(Setup::PublicationOnStandby {
            publication: publication(),
        }));
    }
    client
        .simple_query(&format!("ALTER PUBLICATION {quoted} SET TABLE {list}"))
        .await?;
    Ok(PublicationState::Altered)
}

/// ` WITH (..)`, or nothing.
fn publication_options(server: &Server, source: &Source, capture: &Capture) -> String {
    let mut options = Vec::new();
    if let Some(skipped) = &capture.skipped_operations {
        let published = [
            (Operation::Create, "insert"),
            (Operation::Update, "update"),
            (Operation::Delete, "delete"),
            (Operation::Truncate, "truncate"),
        ];
        let published = published
            .iter()
            .filter(|(operation, _)| !skipped.contains(operation));
        let published: Vec<_> = published.map(|&(_, name)| name).collect();
        options.push(format!("publish = '{}'", published.join(", ")));
    }
    if source.publish_via_partition_root && server.version >= 130_000 {
        options.push("publish_via_partition_root = true".to_owned());
    }
    if options.is_empty() {
        String::new()
    } else {
        format!(" WITH ({})", options.join(", "))
    }
}

/// A logical slot of ours, as `pg_replication_slots` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// The process that streams from it.
    pub active_pid: Option<u32>,
    /// Where decoding would begin; none: still being made, or lost.
    pub restart_lsn: Option<Lsn>,
    /// What was confirmed, as far as the server remembers; none: still being made.
    pub confirmed_flush_lsn: Option<Lsn>,
    /// `wal_status`, from 13 on: `reserved`, `extended`, `unreserved`, `lost`.
    pub wal_status: Option<String>,
    /// The server has removed WAL or rows that it needs, and why: `invalidation_reason`, where the
    /// server tells it.
    pub lost: Option<String>,
}

/// The slot of `database.*`'s database and `slot.name`, if there is one.
///
/// Errors: [`PgError`]; `Setup` when there is one of that name that is not pgoutput's, belongs to
/// another database, or is kept in step with a primary's.
pub async fn slot(
    client: &mut Client,
    server: &Server,
    source: &Source,
) -> Result<Option<Slot>, PgError> {
    let since = |version: u32, column| {
        if server.version >= version {
            column
        } else {
            "NULL"
        }
    };
    let rows = client
        .simple_query(&format!(
            "SELECT plugin, database, active_pid, restart_lsn, confirmed_flush_lsn, {}, {}, {}, {} \
             FROM pg_replication_slots WHERE slot_name = {}",
            since(130_000, "wal_status"),
            since(160_000, "conflicting"),
            since(170_000, "invalidation_reason"),
            since(170_000, "synced"),
            quote_literal(&source.slot)
        ))
        .await?;
    let Some(mut fields) = Fields::only(rows) else {
        return Ok(None);
    };
    let name = source.slot.clone();
    let fail = |setup| Err(PgError::new(client.target(), setup));
    let plugin = fields.optional();
    if plugin.as_deref() != Some("pgoutput") {
        return fail(Setup::SlotPlugin { slot: name, plugin });
    }
    let database = fields.text();
    if database != server.database {
        return fail(Setup::SlotDatabase {
            slot: name,
            database,
        });
    }
    let mut slot = Slot {
        name,
        active_pid: fields.parse(),
        restart_lsn: fields.parse(),
        confirmed_flush_lsn: fields.parse(),
        wal_status: fields.optional(),
        lost: None,
    };
    let conflicting = fields.flag();
    slot.lost = match fields.optional() {
        Some(reason) => Some(reason),
        None if slot.wal_status.as_deref() == Some("lost") => Some("wal_removed".to_owned()),
        None if conflicting => Some("rows_removed".to_owned()),
        None => None,
    };
    if fields.flag() && server.in_recovery {
        return fail(Setup::SlotSynced { slot: slot.name });
    }
    Ok(Some(slot))
}

/// How much WAL the slot makes the server keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retained {
    /// From where decoding would begin to the end of WAL.
    pub bytes: u64,
    /// How much may be written before the slot is in danger of being lost; none: no limit.
    pub safe_bytes: Option<i64>,
    /// `max_slot_wal_keep_size`; none: no limit.
    pub limit: Option<u64>,
}

/// Looks at the WAL that the slot keeps. Any role may.
///
/// Errors: [`PgError`]; none when there is no slot.
pub async fn retained(
    client: &mut Client,
    server: &Server,
    source: &Source,
) -> Result<Option<Retained>, PgError> {
    let end = if server.in_recovery {
        "pg_last_wal_replay_lsn()"
    } else {
        "pg_current_wal_lsn()"
    };
    let limits = if server.version >= 130_000 {
        "safe_wal_size, pg_size_bytes(current_setting('max_slot_wal_keep_size'))"
    } else {
        "NULL, NULL"
    };
    let rows = client
        .simple_query(&format!(
            "SELECT pg_wal_lsn_diff({end}, restart_lsn)::bigint, {limits} \
             FROM pg_replication_slots WHERE slot_name = {}",
            quote_literal(&source.slot)
        ))
        .await?;
    Ok(Fields::only(rows).map(|mut fields| Retained {
        bytes: fields.parse().unwrap_or_default(),
        safe_bytes: fields.parse(),
        // -1: none.
        limit: fields.parse(),
    }))
}

/// A slot that was just made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedSlot {
    /// Every transaction that commits at or behind it will be streamed; every other is in the
    /// snapshot.
    pub consistent_point: Lsn,
    /// What SET TRANSACTION SNAPSHOT takes, until the replication connection's next command or
    /// its end; none when nothing was exported.
    pub snapshot: Option<String>,
}

/// Makes a slot by `replication`, a connection for [`super::client::Purpose::Replication`], and
/// exports the snapshot of its consistent point; a temporary one is gone with that connection.
/// `slot.failover` counts on primaries from 17 on, and is ignored elsewhere.
///
/// It waits until every transaction that is running has ended, however long that takes, and the
/// server says nothing meanwhile; dropping the future and the client drops the half-made slot.
///
/// Errors: [`PgError`].
pub async fn create_slot(
    replication: &mut Client,
    server: &Server,
    source: &Source,
    name: &str,
    temporary: bool,
) -> Result<CreatedSlot, PgError> {
    let primary = server.version >= 170_000 && !server.in_recovery;
    let slot = CreateSlot {
        name,
        plugin: "pgoutput",
        temporary,
        snapshot: SlotSnapshot::Export,
        two_phase: false,
        failover: source.slot_failover && primary && !temporary,
    };
    let command = slot
        .command(server.version)
        .map_err(|error| PgError::new(replication.target(), pgwire::error::Error::from(error)))?;
    let rows = replication.simple_query(&command).await?;
    let answer = Setup::Answer {
        expected: "the slot's consistent point",
    };
    let answer = || PgError::new(replication.target(), answer.clone());
    let mut fields = Fields::only(rows).ok_or_else(answer)?;
    let _name = fields.text();
    let consistent_point = fields.parse().ok_or_else(answer)?;
    Ok(CreatedSlot {
        consistent_point,
        snapshot: fields.optional(),
    })
}

/// Removes the slot, after whoever streams from it has gone.
///
/// Errors: [`PgError`].
pub async fn remove_slot(replication: &mut Client, source: &Source) -> Result<(), PgError> {
    replication
        .simple_query(&drop_slot(&source.slot, true))
        .await
        .map(|_| ())
}
