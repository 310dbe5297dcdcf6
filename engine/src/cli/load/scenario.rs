//! What a load does: tables, prepared statements, and the transactions, each a function of the seed
//! and its number.
//!
//! Nothing here depends on who runs beside whom: ids are numbered, not drawn from a sequence, and
//! what many transactions do to one row (a counter, a price, a status) comes out the same in
//! whatever order they do it. So the same seed makes the same rows, over any number of connections,
//! as long as nothing fails.

use clap::ValueEnum;

use crate::cli::demo::store::SCRIPT;

/// The loads by their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Orders, prices, sign-ups and departures in four tables, some rows much hotter than others.
    BikeStore,
    /// New rows of six columns.
    Insert,
    /// One row after the other is changed, and again from the first.
    Update,
    /// One row after the other goes, until there is none.
    Delete,
    /// Half new rows, half known ones: INSERT .. ON CONFLICT DO UPDATE.
    Upsert,
    /// New rows of 200 columns (--columns) of six types.
    Wide,
    /// Rows with a value that is kept out of line (--value-bytes): inserted, and updated beside it.
    Toast,
    /// A transaction for each new row.
    OneRow,
    /// New rows, 100 000 of them in each transaction.
    LargeTransaction,
    /// New rows, each transaction's in one of 100 tables (--tables).
    ManyTables,
    /// New rows, while columns come, are renamed, widened and go.
    Ddl,
}

/// What a load is made of, beside its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// The schema that is ours.
    pub schema: String,
    /// What the values are drawn from.
    pub seed: u64,
    /// Rows of one transaction; none: the scenario's own.
    pub rows_per_transaction: Option<u64>,
    /// Tables of many-tables.
    pub tables: u64,
    /// Columns of wide.
    pub columns: u64,
    /// Bytes of the value in toast, and of the text in the tables of six columns.
    pub value_bytes: Option<u32>,
    /// Rows that update, delete, upsert and toast find there.
    pub fill: u64,
    /// Whether the server keeps whole old rows: REPLICA IDENTITY FULL.
    pub identity_full: bool,
}

/// A value of a statement, in PostgreSQL's binary form once it is written.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs, reason = "PostgreSQL's own names")]
pub enum Value {
    Null,
    Bool(bool),
    Int2(i16),
    Int4(i32),
    Int8(i64),
    /// numeric with two digits behind the point.
    Cents(i64),
    /// timestamp or timestamptz: µs since 2000-01-01.
    Time(i64),
    /// Days since 2000-01-01.
    Date(i32),
    Text(&'static str),
    /// So many hexadecimal digits of what this draws.
    Hex(u64, u32),
    /// A mailbox that only this number has.
    Mailbox(u64),
}

/// One step of a transaction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step<'s> {
    /// A prepared statement, by its place.
    Execute(usize, &'s [Value]),
    /// Anything else.
    Run(&'s str),
}

/// A table that must be there, and what it is filled with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// With its schema.
    pub name: String,
    /// Its column of ids.
    pub id: &'static str,
    /// Rows that are copied into it beforehand.
    pub fill: u64,
}

/// A scenario, ready to make transactions.
#[derive(Debug, Clone)]
pub struct Plan {
    scenario: Scenario,
    shape: Shape,
    rows_per_transaction: u64,
    /// For each of [`Self::tables`]: the highest id there was.
    bases: Vec<i64>,
}

/// 2024-01-01 in µs since 2000-01-01.
const EPOCH_US: i64 = 8_766 * 86_400_000_000;
/// Rows of the bike store that its script makes.
const CUSTOMERS: u64 = 1_200;
const PRODUCTS: u64 = 240;
const ORDERS: u64 = 2_000;
/// A transaction that old has ended, whatever is in flight.
const SETTLED: u64 = 5_000;
/// Between two changes of the schema.
const INSERTS_PER_DDL: u64 = 1_000;
/// A table can have had so many columns in its life: 1600 less those it began with.
const COLUMNS_EVER: u64 = 1_500;

const FIRST_NAMES: [&str; 8] = [
    "Ana", "Björn", "Chidi", "Inês", "Müge", "Noor", "Théo", "Zoë",
];
const LAST_NAMES: [&str; 8] = [
    "Bean",
    "de Vries",
    "Gonçalves",
    "Kowalska",
    "Nakamura",
    "O'Neill",
    "Sørensen",
    "Todd",
];
const STATUSES: [&str; 4] = ["processing", "shipped", "completed", "rejected"];

/// What a customer of the bike store does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Order,
    Price,
    Move,
    SignUp,
    Leave,
}

impl Scenario {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BikeStore => "bike-store",
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Upsert => "upsert",
            Self::Wide => "wide",
            Self::Toast => "toast",
            Self::OneRow => "one-row",
            Self::LargeTransaction => "large-transaction",
            Self::ManyTables => "many-tables",
            Self::Ddl => "ddl",
        }
    }

    fn rows_per_transaction(self) -> u64 {
        match self {
            Self::BikeStore | Self::OneRow | Self::Toast | Self::Ddl => 1,
            Self::LargeTransaction => 100_000,
            Self::Wide | Self::ManyTables => 10,
            Self::Insert | Self::Update | Self::Delete | Self::Upsert => 100,
        }
    }

    /// Whether it changes rows that were there before.
    fn needs_rows(self) -> bool {
        matches!(
            self,
            Self::Update | Self::Delete | Self::Upsert | Self::Toast
        )
    }
}

impl Plan {
    /// A plan for a schema that is empty so far: see [`Self::resume`].
    #[must_use]
    pub fn new(scenario: Scenario, shape: Shape) -> Self {
        let own = scenario.rows_per_transaction();
        let rows = shape.rows_per_transaction.unwrap_or(own).max(1);
        let mut plan = Self {
            scenario,
            shape,
            rows_per_transaction: rows,
            bases: Vec::new(),
        };
        plan.bases = plan.tables().iter().map(|_| 0).collect();
        plan
    }

    /// Goes on behind the highest ids that the tables have, in the order of [`Self::tables`].
    pub fn resume(&mut self, highest: Vec<i64>) {
        self.bases = highest;
    }

    /// Rows of one transaction.
    #[must_use]
    pub fn rows_per_transaction(&self) -> u64 {
        self.rows_per_transaction
    }

    /// How many transactions there can be.
    #[must_use]
    pub fn transactions_max(&self) -> u64 {
        match self.scenario {
            Scenario::Delete => self.shape.fill.div_ceil(self.rows_per_transaction),
            _ => u64::MAX,
        }
    }

    /// The tables that ids are numbered in.
    #[must_use]
    pub fn tables(&self) -> Vec<Table> {
        let schema = &self.shape.schema;
        let fill = match self.scenario.needs_rows() {
            true => self.shape.fill,
            false => 0,
        };
        let table = |name: String| Table {
            name: format!("{schema}.{name}"),
            id: "id",
            fill,
        };
        match self.scenario {
            Scenario::BikeStore => [("customers", "customer_id"), ("orders", "order_id")]
                .map(|(name, id)| Table {
                    id,
                    ..table(name.to_owned())
                })
                .to_vec(),
            Scenario::ManyTables => (1..=self.shape.tables)
                .map(|number| table(format!("many_{number:04}")))
                .collect(),
            scenario => vec![table(format!("{}_rows", scenario.name().replace('-', "_")))],
        }
    }

    /// All tables that the load writes, for whoever captures them.
    #[must_use]
    pub fn written(&self) -> Vec<String> {
        match self.scenario {
            Scenario::BikeStore => ["customers", "products", "orders", "order_items"]
                .map(|name| format!("{}.{name}", self.shape.schema))
                .to_vec(),
            _ => self.tables().into_iter().map(|table| table.name).collect(),
        }
    }

    /// SQL that makes what is missing.
    #[must_use]
    pub fn make(&self) -> Vec<String> {
        let schema = &self.shape.schema;
        let mut statements = match self.scenario {
            Scenario::BikeStore => {
                let script = SCRIPT.replace("CREATE SCHEMA store;", "");
                vec![script.replace("store.", &format!("{schema}."))]
            }
            _ => {
                let columns = self.column_definitions();
                let tables = self.tables();
                let make = |table: Table| {
                    let name = table.name;
                    format!("CREATE TABLE IF NOT EXISTS {name} (id bigint PRIMARY KEY, {columns})")
                };
                tables.into_iter().map(make).collect()
            }
        };
        let identity = match self.shape.identity_full {
            true => "FULL",
            false => "DEFAULT",
        };
        statements.extend(
            self.written()
                .iter()
                .map(|table| format!("ALTER TABLE {table} REPLICA IDENTITY {identity}")),
        );
        if self.scenario == Scenario::Toast {
            let table = &self.written()[0];
            // Out of line whatever it compresses to.
            let external = format!("ALTER TABLE {table} ALTER COLUMN body SET STORAGE EXTERNAL");
            statements.push(external);
        }
        statements
    }

    fn column_definitions(&self) -> String {
        match self.scenario {
            Scenario::Wide => {
                let types = [
                    "int",
                    "bigint",
                    "text",
                    "numeric(12,2)",
                    "boolean",
                    "timestamptz",
                ];
                let columns = (1..self.shape.columns)
                    .zip(types.iter().cycle())
                    .map(|(number, name)| format!("c{number:03} {name}"));
                columns.collect::<Vec<_>>().join(", ")
            }
            Scenario::Toast => "n int, body text".to_owned(),
            Scenario::Ddl => "n int, t text, v varchar(10)".to_owned(),
            _ => "n int, t text, amt numeric(12,2), ts timestamptz, ok bool".to_owned(),
        }
    }

    /// How many columns a table has beside its id.
    fn columns(&self) -> usize {
        match self.scenario {
            Scenario::Wide => usize::try_from(self.shape.columns.max(2) - 1).unwrap_or(1),
            Scenario::Toast | Scenario::Ddl => 2,
            _ => 5,
        }
    }

    /// What every connection prepares.
    #[must_use]
    pub fn statements(&self) -> Vec<String> {
        let schema = &self.shape.schema;
        let listed = |from: usize, count: usize| {
            let names = (from..from + count).map(|number| format!("${number}"));
            names.collect::<Vec<_>>().join(", ")
        };
        let tables = self.tables();
        let table = tables.first().map_or("", |table| table.name.as_str());
        let all = listed(1, self.columns() + 1);
        match self.scenario {
            Scenario::BikeStore => vec![
                format!(
                    "INSERT INTO {schema}.orders (order_id, customer_id, order_date, \
                     required_date, placed_at, note) VALUES ({})",
                    listed(1, 6)
                ),
                format!(
                    "INSERT INTO {schema}.order_items (order_id, item_no, product_id, quantity, \
                     list_price, discount) VALUES ({})",
                    listed(1, 6)
                ),
                format!(
                    "UPDATE {schema}.customers SET credit = credit + $1 WHERE customer_id = $2"
                ),
                // A sum modulo 900: in any order the same.
                format!(
                    "UPDATE {schema}.products SET list_price = 100 + mod(list_price + $1, 900), \
                     updated_at = greatest(updated_at, $2) WHERE product_id = $3"
                ),
                format!(
                    "UPDATE {schema}.orders SET status = greatest(status, $1), \
                     shipped_at = greatest(shipped_at, $2) WHERE order_id = $3"
                ),
                format!(
                    "INSERT INTO {schema}.customers (customer_id, first_name, last_name, email, \
                     birth_date, newsletter, created_at) VALUES ({})",
                    listed(1, 7)
                ),
                format!("DELETE FROM {schema}.customers WHERE customer_id = $1"),
            ],
            Scenario::Update => vec![format!(
                "UPDATE {table} SET n = n + 1, ok = NOT ok WHERE id = $1"
            )],
            Scenario::Delete => vec![format!("DELETE FROM {table} WHERE id = $1")],
            Scenario::Upsert => vec![format!(
                "INSERT INTO {table} AS old VALUES ({all}) \
                 ON CONFLICT (id) DO UPDATE SET n = old.n + 1, ok = NOT old.ok"
            )],
            Scenario::Toast => vec![
                format!("INSERT INTO {table} VALUES ({all})"),
                format!("UPDATE {table} SET n = n + 1 WHERE id = $1"),
            ],
            // Columns that stay; those that come and go have defaults.
            Scenario::Ddl => vec![format!("INSERT INTO {table} (id, n, t) VALUES ({all})")],
            _ => tables
                .iter()
                .map(|table| format!("INSERT INTO {} VALUES ({all})", table.name))
                .collect(),
        }
    }

    /// The COPY that fills a table, or loads it with --copy.
    #[must_use]
    pub fn copy(&self, table: &Table) -> String {
        let columns = match self.scenario {
            Scenario::Ddl => " (id, n, t)",
            _ => "",
        };
        format!("COPY {}{columns} FROM STDIN (FORMAT binary)", table.name)
    }

    /// Whether the load can be copied in: it is new rows of one table at a time.
    #[must_use]
    pub fn copies(&self) -> bool {
        matches!(
            self.scenario,
            Scenario::Insert
                | Scenario::OneRow
                | Scenario::LargeTransaction
                | Scenario::Wide
                | Scenario::ManyTables
        )
    }

    /// The table that a transaction of a load that [copies](Self::copies) writes.
    #[must_use]
    pub fn table_of(&self, number: u64) -> usize {
        match self.scenario {
            Scenario::ManyTables => {
                let table = Random::of(self.shape.seed, number).below(self.shape.tables);
                usize::try_from(table).unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// The row of that id, the id in front.
    pub fn row(&self, id: i64, values: &mut Vec<Value>) {
        let mut random = Random::of(self.shape.seed, id.cast_unsigned());
        let mut n = || i32::try_from(random.below(1_000_000)).unwrap_or(0);
        values.push(Value::Int8(id));
        let time = Value::Time(EPOCH_US + id % 31_536_000 * 1_000_000 + i64::from(n()));
        match self.scenario {
            Scenario::Toast => {
                let bytes = self.shape.value_bytes.unwrap_or(10_000);
                values.extend([Value::Int4(n()), Value::Hex(random.next(), bytes)]);
            }
            Scenario::Ddl => values.extend([Value::Int4(n()), Value::Hex(random.next(), 16)]),
            Scenario::Wide => {
                for column in 0..self.columns() {
                    let n = n();
                    values.push(match column % 6 {
                        _ if n % 16 == 0 => Value::Null,
                        0 => Value::Int4(n),
                        1 => Value::Int8(i64::from(n) << 20),
                        2 => Value::Hex(n.cast_unsigned().into(), 16),
                        3 => Value::Cents(n.into()),
                        4 => Value::Bool(n % 2 == 0),
                        _ => time,
                    });
                }
            }
            _ => {
                let bytes = self.shape.value_bytes.unwrap_or(32);
                values.extend([
                    Value::Int4(n()),
                    Value::Hex(random.next(), bytes),
                    Value::Cents(random.below(100_000_000).cast_signed()),
                    time,
                    Value::Bool(id % 2 == 0),
                ]);
            }
        }
    }

    /// Makes transaction `number`, from 0, of `rows_max` rows at most; gives how many they are.
    pub fn transaction(&self, number: u64, rows_max: u64, each: &mut dyn FnMut(Step<'_>)) -> u64 {
        let rows = self.rows_per_transaction.min(rows_max);
        let first = number.saturating_mul(self.rows_per_transaction);
        let table = self.table_of(number);
        let base = self.bases.get(table).copied().unwrap_or(0);
        let id = |row: u64| row.cast_signed().saturating_add(1);
        let mut values = Vec::with_capacity(self.columns() + 1);
        match self.scenario {
            Scenario::BikeStore => return self.shop(number, each),
            Scenario::Update | Scenario::Delete => {
                let fill = self.shape.fill.max(1);
                let last = match self.scenario {
                    Scenario::Delete => fill,
                    _ => u64::MAX,
                };
                for row in first..first.saturating_add(rows).min(last) {
                    each(Step::Execute(0, &[Value::Int8(id(row % fill))]));
                }
            }
            Scenario::Upsert => {
                // Runs that begin at multiples of their length meet whole or not at all, each in
                // the order of its ids: no deadlock.
                let runs = (2 * self.shape.fill / self.rows_per_transaction).max(1);
                let run = Random::of(self.shape.seed ^ 1, number).below(runs);
                let first = run * self.rows_per_transaction;
                for row in first..first + rows {
                    values.clear();
                    self.row(id(row), &mut values);
                    each(Step::Execute(0, &values));
                }
            }
            Scenario::Toast if number % 2 == 1 => {
                let fill = self.shape.fill.max(1);
                let first = Random::of(self.shape.seed ^ 1, number).below(fill);
                for row in first..first + rows {
                    each(Step::Execute(1, &[Value::Int8(id(row % fill))]));
                }
            }
            Scenario::Ddl if number % INSERTS_PER_DDL == INSERTS_PER_DDL - 1 => {
                each(Step::Run(&self.change_schema(number / INSERTS_PER_DDL)));
                return 0;
            }
            _ => {
                for row in first..first.saturating_add(rows) {
                    values.clear();
                    self.row(base + id(row), &mut values);
                    each(Step::Execute(table, &values));
                }
            }
        }
        rows
    }

    /// The `turn`th change of the schema: a column comes, is renamed, another is widened, it goes.
    fn change_schema(&self, turn: u64) -> String {
        let table = &self.written()[0];
        let (cycle, step) = (turn / 4, turn % 4);
        if cycle >= COLUMNS_EVER {
            return format!("COMMENT ON TABLE {table} IS 'turn {turn}'");
        }
        // What an earlier run has left has other numbers.
        let base = self.bases.first().copied().unwrap_or(0);
        let cycle = format!("{base}_{cycle}");
        let width = 10 + base + turn.cast_signed();
        match step {
            0 => format!("ALTER TABLE {table} ADD COLUMN came_{cycle} int DEFAULT {turn}"),
            1 => format!("ALTER TABLE {table} RENAME COLUMN came_{cycle} TO stays_{cycle}"),
            2 => format!("ALTER TABLE {table} ALTER COLUMN v TYPE varchar({width})"),
            _ => format!("ALTER TABLE {table} DROP COLUMN stays_{cycle}"),
        }
    }

    fn act(&self, number: u64) -> Act {
        match Random::of(self.shape.seed, number).below(100) {
            0..45 => Act::Order,
            45..65 => Act::Price,
            65..90 => Act::Move,
            90..97 => Act::SignUp,
            _ => Act::Leave,
        }
    }

    /// The newest of the old transactions that was such an act.
    fn settled(&self, number: u64, act: Act) -> Option<u64> {
        let old = number.checked_sub(SETTLED)?;
        (old.saturating_sub(200)..=old)
            .rev()
            .find(|number| self.act(*number) == act)
    }

    fn shop(&self, number: u64, each: &mut dyn FnMut(Step<'_>)) -> u64 {
        let mut random = Random::of(self.shape.seed ^ 2, number);
        // Ids of the store are int4.
        let int4 = |number: u64| i32::try_from(number).unwrap_or(i32::MAX);
        let based = |table: usize, number: u64| {
            let base = self.bases.get(table).copied().unwrap_or(0);
            Value::Int4(int4((base.cast_unsigned() + number).saturating_add(1)))
        };
        let time = Value::Time(EPOCH_US + number.cast_signed() * 1_000);
        let day = Value::Date(8_766 + i32::try_from(number / 10_000 % 10_000).unwrap_or(0));
        // A few rows take much of what happens.
        let mut hot = |count: u64| match random.below(10) {
            0..3 => 1 + random.below(count.min(3)),
            _ => 1 + random.below(count),
        };
        match self.act(number) {
            Act::Order => {
                let (order, customer) = (based(1, number), Value::Int4(int4(hot(CUSTOMERS))));
                let items = 1 + random.below(3);
                let note = match random.below(8) {
                    0 => Value::Text("gift — no invoice, please 🎁"),
                    _ => Value::Null,
                };
                let credit = Value::Cents(random.below(201).cast_signed() - 100);
                each(Step::Execute(2, &[credit, customer]));
                each(Step::Execute(0, &[order, customer, day, day, time, note]));
                for item in 1..=items {
                    let product = 1 + random.below(PRODUCTS);
                    let values = [
                        order,
                        Value::Int2(i16::try_from(item).unwrap_or(1)),
                        Value::Int4(int4(product)),
                        Value::Int4(int4(1 + random.below(2))),
                        Value::Cents(random.below(1_000_000).cast_signed()),
                        Value::Cents(random.below(20).cast_signed()),
                    ];
                    each(Step::Execute(1, &values));
                }
                2 + items
            }
            Act::Price => {
                let product = Value::Int4(int4(hot(PRODUCTS)));
                let delta = Value::Cents(1 + random.below(900).cast_signed());
                each(Step::Execute(3, &[delta, time, product]));
                1
            }
            Act::Move => {
                let order = match self.settled(number, Act::Order) {
                    Some(earlier) => based(1, earlier),
                    None => Value::Int4(int4(1 + random.below(ORDERS))),
                };
                let at = usize::try_from(random.below(4)).unwrap_or(0);
                each(Step::Execute(4, &[Value::Text(STATUSES[at]), time, order]));
                1
            }
            Act::Leave if self.settled(number, Act::SignUp).is_some() => {
                let earlier = self.settled(number, Act::SignUp).unwrap_or(0);
                each(Step::Execute(6, &[based(0, earlier)]));
                1
            }
            Act::SignUp | Act::Leave => {
                let customer = based(0, number);
                let mut name = |names: [&'static str; 8]| {
                    Value::Text(names[usize::try_from(random.below(8)).unwrap_or(0)])
                };
                let (first, last) = (name(FIRST_NAMES), name(LAST_NAMES));
                let Value::Int4(id) = customer else { return 0 };
                let values = [
                    customer,
                    first,
                    last,
                    Value::Mailbox(id.unsigned_abs().into()),
                    Value::Date(i32::try_from(random.below(8_000)).unwrap_or(0)),
                    Value::Bool(number.is_multiple_of(3)),
                    time,
                ];
                each(Step::Execute(5, &values));
                1
            }
        }
    }
}

impl Value {
    /// Appends the binary form; false: it is NULL.
    pub fn put(self, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Null => return false,
            Self::Bool(value) => out.push(value.into()),
            Self::Int2(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Int4(value) | Self::Date(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Int8(value) | Self::Time(value) => out.extend_from_slice(&value.to_be_bytes()),
            Self::Cents(value) => put_cents(value, out),
            Self::Text(text) => out.extend_from_slice(text.as_bytes()),
            Self::Hex(seed, digits) => {
                let mut left = digits as usize;
                let mut random = Random(seed);
                while left > 0 {
                    let mut bits = random.next();
                    for _ in 0..left.min(16) {
                        out.push(b"0123456789abcdef"[usize::from((bits & 15) as u8)]);
                        bits >>= 4;
                    }
                    left -= left.min(16);
                }
            }
            Self::Mailbox(number) => {
                let mut digits = itoa::Buffer::new();
                out.extend_from_slice(b"load");
                out.extend_from_slice(digits.format(number).as_bytes());
                out.extend_from_slice(b"@bikes.example");
            }
        }
        true
    }
}

/// numeric: digits i16 | weight i16 | sign i16 | scale i16 | digits of base 10000, i16 each
fn put_cents(cents: i64, out: &mut Vec<u8>) {
    let sign: u16 = if cents < 0 { 0x4000 } else { 0 };
    let (mut whole, fraction) = (cents.unsigned_abs() / 100, cents.unsigned_abs() % 100);
    let mut groups = [0u16; 6];
    let mut count = 0;
    while whole > 0 {
        groups[count] = u16::try_from(whole % 10_000).unwrap_or(0);
        whole /= 10_000;
        count += 1;
    }
    let short = |number: usize| u16::try_from(number).unwrap_or(0);
    let behind = usize::from(fraction > 0);
    out.extend_from_slice(&short(count + behind).to_be_bytes());
    out.extend_from_slice(&short(count).wrapping_sub(1).to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&2u16.to_be_bytes());
    for group in groups[..count].iter().rev() {
        out.extend_from_slice(&group.to_be_bytes());
    }
    if behind == 1 {
        let group = u16::try_from(fraction * 100).unwrap_or(0);
        out.extend_from_slice(&group.to_be_bytes());
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): any state is a good one.
#[derive(Debug, Clone, Copy)]
struct Random(u64);

impl Random {
    fn of(seed: u64, number: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0xd6e8_feb8_6659_fd93) ^ number);
        random.0 = random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `end` - 1, near enough evenly: the high half of a product.
    fn below(&mut self, end: u64) -> u64 {
        let product = u128::from(self.next()) * u128::from(end.max(1));
        u64::try_from(product >> 64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shape(seed: u64) -> Shape {
        Shape {
            schema: "s".to_owned(),
            seed,
            rows_per_transaction: None,
            tables: 7,
            columns: 20,
            value_bytes: None,
            fill: 1_000,
            identity_full: false,
        }
    }

    fn words(plan: &Plan, number: u64, rows_max: u64) -> (u64, String) {
        let mut words = String::new();
        let rows = plan.transaction(number, rows_max, &mut |step| {
            words += &format!("{step:?}\n")
        });
        (rows, words)
    }

    proptest! {
        #[test]
        fn the_same_seed_makes_the_same_transactions(seed: u64, number in 0u64..1_000_000) {
            for scenario in Scenario::value_variants() {
                let plan = Plan::new(*scenario, shape(seed));
                let other = Plan::new(*scenario, shape(seed.wrapping_add(1)));
                prop_assert_eq!(words(&plan, number, 50), words(&plan, number, 50));
                let fixed = [Scenario::Update, Scenario::Delete, Scenario::Ddl];
                let drawn = !fixed.contains(scenario);
                if drawn {
                    let some = |plan| -> String {
                        (number..number + 20).map(|n| words(plan, n, 5).1).collect()
                    };
                    prop_assert_ne!(some(&plan), some(&other), "{:?}", scenario);
                }
            }
        }

        #[test]
        fn ids_are_met_once(rows in 1u64..40, total in 1u64..400) {
            let shape = Shape { rows_per_transaction: Some(rows), fill: total, ..shape(3) };
            for scenario in [Scenario::Insert, Scenario::Update, Scenario::Delete] {
                let plan = Plan::new(scenario, shape.clone());
                let mut ids = Vec::new();
                for number in 0..total.div_ceil(rows) {
                    let left = total - u64::try_from(ids.len()).unwrap();
                    plan.transaction(number, left, &mut |step| {
                        let Step::Execute(0, [Value::Int8(id), ..]) = step else { panic!("{step:?}") };
                        ids.push(id.unsigned_abs());
                    });
                }
                prop_assert_eq!(ids, (1..=total).collect::<Vec<_>>());
            }
        }

        #[test]
        fn cents_are_read_back(cents: i64) {
            let mut bytes = Vec::new();
            put_cents(cents, &mut bytes);
            let word = |pair: &[u8]| i64::from(i16::from_be_bytes([pair[0], pair[1]]));
            let words: Vec<i64> = bytes.chunks(2).map(word).collect();
            let (count, weight, sign) = (words[0], words[1], words[2]);
            prop_assert_eq!(words.len(), usize::try_from(count).unwrap() + 4);
            let mut sum = 0i128;
            for (place, digit) in words[4..].iter().enumerate() {
                let power = weight - i64::try_from(place).unwrap();
                // Of four digits behind the point the last two are zero.
                sum += match u32::try_from(power) {
                    Ok(power) => i128::from(*digit) * 100 * 10_000i128.pow(power),
                    Err(_) => i128::from(*digit) / 100,
                };
            }
            prop_assert_eq!(if sign == 0 { sum } else { -sum }, i128::from(cents));
        }
    }

    #[test]
    fn statements_have_a_place_for_every_value() {
        for scenario in Scenario::value_variants() {
            let plan = Plan::new(*scenario, shape(9));
            let statements = plan.statements();
            for number in 0..20_000 {
                plan.transaction(number, 3, &mut |step| match step {
                    Step::Execute(at, values) => {
                        let places = statements[at].matches('$').count();
                        assert_eq!(places, values.len(), "{scenario:?}: {}", statements[at]);
                    }
                    Step::Run(sql) => assert!(sql.contains(&plan.written()[0]), "{sql}"),
                });
            }
        }
    }

    #[test]
    fn nothing_but_our_schema_is_named() {
        for scenario in Scenario::value_variants() {
            let plan = Plan::new(*scenario, shape(9));
            let script = plan.make().join(";");
            assert!(!script.contains("store."), "{scenario:?}");
            for sql in plan.statements() {
                assert!(sql.contains(" s."), "{sql}");
            }
        }
    }

    #[test]
    fn customers_that_leave_had_signed_up() {
        let plan = Plan::new(Scenario::BikeStore, shape(5));
        let (mut known, mut left) = (std::collections::HashSet::new(), 0);
        for number in 0..60_000 {
            plan.transaction(number, 1, &mut |step| match step {
                Step::Execute(5, [id, ..]) => assert!(known.insert(format!("{id:?}"))),
                Step::Execute(6, [id]) => {
                    assert!(known.contains(&format!("{id:?}")));
                    left += 1;
                }
                _ => {}
            });
        }
        assert!(left > 500, "{left}");
    }
}
