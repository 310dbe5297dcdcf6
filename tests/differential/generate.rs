//! A case by its seed: tables, what is done to them, and a connector's properties.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// What one seed stands for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Case {
    /// What is there before the connectors start.
    pub(crate) setup: Vec<String>,
    /// What is done while they stream.
    pub(crate) steps: Vec<Step>,
    /// The connector's properties, but for names and places.
    pub(crate) properties: Vec<(String, String)>,
    /// With `penstock.compat=debezium`; otherwise `correct`.
    pub(crate) exact: bool,
    /// Last part of the topics' prefix.
    pub(crate) suffix: &'static str,
    /// How many tables there are.
    pub(crate) tables: usize,
    /// A property whose value is none.
    pub(crate) bad: Option<&'static str>,
}

/// One thing that is done while the connectors stream.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// SQL, a psql script.
    Sql(String),
    /// Both sides must have everything before the next step: what they look up in the catalogue
    /// depends on when they do.
    Settle,
}

/// SplitMix64: the same numbers for the same seed, everywhere and for ever.
#[derive(Debug)]
struct Random(u64);

impl Random {
    /// Numbers of a seed.
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("below a usize")
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Seeds from here on also draw from what was added later, and those below mean what they meant.
const WIDE: u64 = 1000;

/// A type and some of its values, as text. The first letters say more: `k` may be part of a key,
/// `?` has a mapping only with `include.unknown.datatypes`.
type Type = (&'static str, &'static str, &'static [&'static str]);

const TEXTS: &[&str] = &[
    "",
    "x",
    "héllo",
    "日本語 😀",
    "a\"b\\c/d",
    "line\nfeed\ttab",
    "it's",
    "<&>",
    " pad ",
    "\u{1}\u{7f}",
    "NULL",
    "a somewhat longer text of more than forty characters in all",
];

#[rustfmt::skip]
const TYPES: &[Type] = &[
    ("k", "smallint", &["0", "-32768", "32767", "7"]),
    ("k", "integer", &["0", "-2147483648", "2147483647", "42"]),
    ("k", "bigint", &["0", "-9223372036854775808", "9223372036854775807", "9007199254740993"]),
    ("", "real", &["0", "1.5", "-3.4028235e38", "1e-10", "NaN", "Infinity", "0.1", "-0", "16777216", "123456.7"]),
    ("", "double precision", &["0", "2.25", "1.7976931348623157e308", "-Infinity", "NaN", "0.1", "1e21", "-0", "1e7"]),
    ("", "numeric", &["0", "1.10", "-98765432109876543210.5", "0.00001", "100", "1e20", "-1"]),
    ("k", "numeric(10,2)", &["0", "12.34", "-99999999.99", "0.01", "5"]),
    ("k", "numeric(5,0)", &["0", "99999", "-1", "128"]),
    ("", "numeric(5,-2)", &["12300", "-500", "0"]),
    ("", "numeric(38,10)", &["0", "1234567890123456789012345678.0123456789", "-0.0000000001"]),
    ("", "money", &["$1,234.56", "-$0.01", "0"]),
    ("k", "boolean", &["true", "false"]),
    ("k", "text", TEXTS),
    ("", "character varying", TEXTS),
    ("k", "varchar(10)", &["", "abc", "héllo wörl", "0123456789"]),
    ("k", "char(5)", &["", "ab", "abcde", "é"]),
    ("k", "bytea", &["", "\\xdeadbeef00", "\\x00", "\\xff"]),
    ("k", "date", &["2020-02-29", "1970-01-01", "1969-12-31", "9999-12-31", "1900-01-01"]),
    ("", "time", &["00:00:00", "12:34:56.789012", "23:59:59.999999", "00:00:00.000001"]),
    ("", "time(3)", &["00:00:00", "12:34:56.789", "23:59:59.999"]),
    ("", "time(0)", &["00:00:00", "12:34:56"]),
    ("", "timetz", &["12:34:56.789012+02", "00:00:00+00", "01:02:03-05:30"]),
    ("k", "timestamp", &["2020-02-29 12:34:56.789012", "1969-12-31 23:59:59.999999", "1970-01-01", "2262-01-01"]),
    ("", "timestamp(3)", &["2020-02-29 12:34:56.789", "1969-12-31 23:59:59.999", "1900-01-01 00:00:00.001"]),
    ("", "timestamp(0)", &["2020-02-29 12:34:56", "1969-12-31 23:59:59"]),
    ("k", "timestamptz", &["2020-02-29 12:34:56.789012+02", "1969-12-31 23:59:59.999999+00", "9999-12-31 23:59:59+00"]),
    ("", "timestamptz(3)", &["2020-02-29 12:34:56.789+02", "1970-01-01 00:00:00+00"]),
    ("", "interval", &["1 year 2 mons 3 days 04:05:06.789", "-1 mons -1 days -00:00:01", "0", "00:00:00.000001"]),
    ("k", "uuid", &["11111111-2222-3333-4444-555555555555", "99999999-aaaa-bbbb-cccc-dddddddddddd"]),
    ("", "json", &["{\"a\": 1, \"b\":[1,2]}", "null", "\"x\"", "[]"]),
    ("", "jsonb", &["{\"b\":1,\"a\":{\"x\":null}}", "[1, 2]", "1.50"]),
    ("", "xml", &["<a>1</a>", "text"]),
    ("", "inet", &["192.168.1.5/24", "10.0.0.1", "::1"]),
    ("", "cidr", &["10.0.0.0/8", "2001:db8::/32"]),
    ("", "macaddr", &["08:00:2b:01:02:03"]),
    ("", "macaddr8", &["08:00:2b:01:02:03:04:05"]),
    ("", "point", &["(1.5,-2)", "(0,0)", "(1e20,0.1)"]),
    ("", "bit(1)", &["1", "0"]),
    ("", "bit(5)", &["10101", "00000"]),
    ("", "bit(64)", &["1010101010101010101010101010101010101010101010101010101010101011"]),
    ("", "bit varying(9)", &["101", "", "111111111"]),
    ("", "oid", &["26", "4294967295", "0"]),
    ("", "hstore", &["\"k\"=>\"v\",\"n\"=>NULL", "", "\"a b\"=>\"c\\\"d\""]),
    ("", "citext", &["CiTeXt", ""]),
    ("", "ltree", &["a.b.c", ""]),
    ("", "tsvector", &["the quick fox"]),
    ("?", "pg_lsn", &["16/B374D848"]),
    ("", "int4range", &["[1,10)", "empty", "(,5)"]),
    ("", "int8range", &["(,5)", "[1,2)"]),
    ("", "numrange", &["[1.5,2.5]", "(,)"]),
    ("", "tsrange", &["[2020-01-01,2020-01-02)"]),
    ("", "tstzrange", &["[2020-01-01 00:00+00,)"]),
    ("", "daterange", &["[2020-01-01,2020-01-05]"]),
    ("?", "int4multirange", &["{[1,3),[5,7)}"]),
    ("?", "line", &["{1,2,3}"]),
    ("?", "lseg", &["((0,0),(1,1))"]),
    ("?", "box", &["((0,0),(1,1))"]),
    ("?", "path", &["((0,0),(1,1))"]),
    ("?", "polygon", &["((0,0),(1,1),(1,0))"]),
    ("?", "circle", &["<(0,0),2>"]),
    ("?", "\"char\"", &["Z"]),
    ("?", "txid_snapshot", &["10:20:10,14,15"]),
    ("k", "inv.mood", &["sad", "ok", "happy day"]),
    ("k", "inv.posint", &["1", "2147483647"]),
    ("", "inv.price", &["1.234", "-99999.999"]),
    ("", "inv.word", &["word", ""]),
    ("?", "inv.pair", &["(1,x)", "(,)"]),
    ("", "smallint[]", &["{1,NULL,3}", "{}"]),
    ("", "int[]", &["{1,NULL,3}", "{}", "{-1}"]),
    ("", "bigint[]", &["{9007199254740993}", "{}"]),
    ("", "text[]", &["{a,\"b c\",NULL,\"q\\\"x\"}", "{}", "{\"\"}"]),
    ("", "varchar(3)[]", &["{abc}", "{}"]),
    ("", "char(2)[]", &["{ab,c}"]),
    ("", "numeric(6,2)[]", &["{1.10,2.00}", "{}", "{NULL}"]),
    ("", "uuid[]", &["{11111111-2222-3333-4444-555555555555}"]),
    ("", "date[]", &["{2020-01-01,1969-12-31}"]),
    ("", "timestamp[]", &["{\"2020-01-01 01:02:03.456789\"}"]),
    ("", "timestamptz[]", &["{\"2020-01-01 01:02:03.456789+02\"}"]),
    ("", "boolean[]", &["{t,f,NULL}"]),
    ("", "double precision[]", &["{1.5,NaN}", "{}"]),
    ("", "real[]", &["{1.5,-0.1}"]),
    ("", "inv.mood[]", &["{sad,\"happy day\"}", "{}"]),
    ("", "jsonb[]", &["{\"{\\\"a\\\": 1}\"}"]),
    ("", "bytea[]", &["{\"\\\\xdead\"}"]),
    ("", "inet[]", &["{10.0.0.1}"]),
    ("", "time[]", &["{12:34:56.789012,24:00,NULL}", "{}", "{00:00:00.001}"]),
    ("", "timetz[]", &["{12:34:56.789012+02}", "{}"]),
];

/// More of them, for seeds from [`WIDE`] on; most could be in somebody's key. A `!` says that
/// `penstock.compat=correct` gives other values.
#[rustfmt::skip]
const WIDER: &[Type] = &[
    ("k", "numeric", &["0", "1.10", "-98765432109876543210.5", "1e20", "100.00"]),
    ("k", "numeric(1,0)", &["0", "-9", "9"]),
    ("k", "numeric(3,3)", &["0", "0.999", "-0.001"]),
    ("k", "numeric(38,0)", &["0", "99999999999999999999999999999999999999"]),
    ("", "numeric(1000,500)", &["0", "1.5", "-123456789.000000000000000000000000001"]),
    ("k", "numeric(2,5)", &["0", "0.00099", "-0.00001"]),
    ("k!", "numeric(3,-3)", &["0", "123000", "-5000"]),
    ("k", "money", &["$1,234.56", "-$0.01", "0"]),
    ("k", "real", &["0", "1.5", "-3.4028235e38", "1e-10", "0.1", "16777216"]),
    ("k", "double precision", &["0", "2.25", "1e21", "0.1", "-1e-7", "123456789.125"]),
    ("k", "character varying", TEXTS),
    ("k", "bpchar", &["", "x  ", "  y"]),
    ("k", "\"char\"", &["Z", "a"]),
    ("k", "char(1)", &["", "x", "é"]),
    ("k", "name", &["abc", "", "ünï"]),
    ("k", "citext", &["CiTeXt", ""]),
    ("k", "time", &["00:00:00", "12:34:56.789012", "24:00:00"]),
    ("k", "time(2)", &["00:00:00", "12:34:56.78"]),
    ("k", "timetz", &["12:34:56.789012+02", "00:00:00+00"]),
    ("k", "timetz(1)", &["12:34:56.7+02", "23:59:59.9-12"]),
    ("k", "timestamp(1)", &["2020-02-29 12:34:56.7", "1969-12-31 23:59:59.9"]),
    ("k", "timestamp(5)", &["2020-02-29 12:34:56.78901", "1969-12-31 23:59:59.99999"]),
    ("k", "timestamptz(0)", &["2020-02-29 12:34:56+02", "1969-12-31 23:59:59+00"]),
    ("k", "interval", &["1 year 2 mons 3 days 04:05:06.789", "-1 mons -1 days -00:00:01", "0"]),
    ("", "interval year to month", &["1 year 2 mons", "-3 mons"]),
    ("", "interval day to second(2)", &["3 days 04:05:06.78", "-00:00:00.01"]),
    ("", "interval(0)", &["04:05:06", "-1 days"]),
    ("k", "bit(1)", &["1", "0"]),
    ("k", "bit(8)", &["10000001", "00000000"]),
    ("", "bit(65)", &["10000000000000000000000000000000000000000000000000000000000000001"]),
    ("k", "bit varying", &["101", "", "1111111111111"]),
    ("k", "bit varying(1)", &["1", ""]),
    ("k", "inet", &["192.168.1.5/24", "10.0.0.1", "::1"]),
    ("k", "cidr", &["10.0.0.0/8", "2001:db8::/32"]),
    ("k", "macaddr", &["08:00:2b:01:02:03"]),
    ("k", "macaddr8", &["08:00:2b:01:02:03:04:05"]),
    ("k", "oid", &["26", "4294967295"]),
    ("k", "jsonb", &["{\"b\":1,\"a\":{\"x\":null}}", "[1, 2]", "1.50"]),
    ("k", "hstore", &["\"k\"=>\"v\",\"n\"=>NULL", "", "\"a b\"=>\"c\\\"d\""]),
    ("k", "ltree", &["a.b.c", ""]),
    ("k", "tsvector", &["the quick fox", ""]),
    ("", "tsquery", &["'quick' & 'fox'"]),
    ("k", "int4range", &["[1,10)", "empty"]),
    ("k", "tstzrange", &["[2020-01-01 00:00+00,)"]),
    ("?", "inv.floatrange", &["[1.5,2)", "empty"]),
    ("?", "inv.floatrange[]", &["{\"[1.5,2)\",NULL}"]),
    ("k", "inv.\"Odd Mood\"", &["A", "b,c", "d\"e", "ü'x"]),
    ("", "inv.\"Odd Mood\"[]", &["{A,\"b,c\"}", "{}"]),
    ("k", "inv.small", &["1", "2147483647"]),
    ("k", "inv.cents", &["1.234", "-0.001"]),
    ("k", "inv.stamp", &["2020-02-29 12:34:56.789"]),
    ("k", "inv.code", &["ab", ""]),
    ("", "inv.bits", &["101"]),
    ("", "inv.tags", &["{a,NULL,\"b c\"}", "{}"]),
    ("", "inv.doc", &["{\"a\": 1}", "null"]),
    ("", "inv.raw", &["\\xdeadbeef00", ""]),
    ("", "inv.flag", &["true", "false"]),
    ("", "inv.span", &["1 mon 2 days", "00:00:01.5"]),
    ("", "inv.cash", &["$1,234.56"]),
    ("", "inv.free", &["1.10", "-5"]),
    ("", "inv.map", &["\"k\"=>\"v\"", ""]),
    ("", "inv.day", &["2020-02-29"]),
    ("", "inv.posint[]", &["{1,NULL,3}", "{}"]),
    ("", "inv.word[]", &["{word,\"\"}"]),
    ("", "inv.price[]", &["{1.234,NULL}"]),
    ("?", "inv.pair[]", &["{\"(1,x)\"}"]),
    ("", "oid[]", &["{1,4294967295}", "{}"]),
    ("", "hstore[]", &["{\"\\\"k\\\"=>\\\"v\\\"\"}", "{}"]),
    ("", "citext[]", &["{CiTeXt,\"\",NULL}"]),
    ("", "ltree[]", &["{a.b.c}", "{}"]),
    ("", "money[]", &["{\"$1,234.56\",NULL}"]),
    ("", "json[]", &["{\"{\\\"a\\\": 1}\",NULL}"]),
    ("", "xml[]", &["{<a>1</a>}"]),
    ("", "interval[]", &["{\"1 mon\",NULL,\"00:00:01\"}"]),
    ("", "bit(3)[]", &["{101,NULL}"]),
    ("", "bit varying[]", &["{101,\"\"}"]),
    ("", "point[]", &["{\"(1.5,-2)\"}"]),
    ("", "macaddr[]", &["{08:00:2b:01:02:03}"]),
    ("", "cidr[]", &["{10.0.0.0/8}"]),
    ("", "int4range[]", &["{\"[1,10)\",NULL}"]),
    ("", "tsrange[]", &["{\"[2020-01-01,2020-01-02)\"}"]),
    ("", "numrange[]", &["{\"[1.5,2.5]\",empty}"]),
    ("", "name[]", &["{abc,NULL}"]),
    ("", "\"char\"[]", &["{a,b}"]),
    ("", "numeric[]", &["{1.10,NULL,1e20}", "{}"]),
    ("", "numeric(5,0)[]", &["{1,-99999}"]),
    ("", "timestamp(3)[]", &["{\"2020-01-01 01:02:03.456\",NULL}"]),
    ("", "timestamptz(0)[]", &["{\"2020-01-01 01:02:03+02\"}"]),
    ("", "character varying[]", &["{a,\"NULL\",NULL}"]),
    ("", "tsvector[]", &["{\"'a' 'b'\"}"]),
    ("", "uuid[]", &["{}", "{11111111-2222-3333-4444-555555555555,NULL}"]),
    ("?", "jsonpath", &["$.a[*]"]),
    ("?", "xid", &["42"]),
    ("?", "xid8", &["42"]),
    ("?", "tid", &["(1,2)"]),
    ("?", "regclass", &["pg_class"]),
    ("?", "regtype", &["integer"]),
    ("?", "pg_snapshot", &["10:20:10,14,15"]),
    ("?", "pg_lsn[]", &["{16/B374D848}"]),
    ("?", "datemultirange", &["{[2020-01-01,2020-01-05)}"]),
    ("?", "int4multirange[]", &["{\"{[1,3)}\"}"]),
    ("?", "cube", &["(1, 2)"]),
    ("?", "seg", &["1.5 .. 2"]),
    ("", "isbn", &["978-0-393-04002-9"]),
    ("", "ean13", &["978-0-393-04002-9"]),
    ("?", "lo", &["123"]),
    ("", "smallserial", &["7", "8"]),
    ("", "serial", &["1"]),
    ("", "bigserial", &["1", "9007199254740993"]),
];

/// Types that are other than Debezium's with `penstock.compat=correct`, and the heading of
/// docs/differences.md under which it stands. Nothing else may differ then.
pub(crate) const DOCUMENTED: &[(&str, &str)] = &[
    ("numeric(5,-2)", "Values"),
    ("time[]", "Values"),
    ("timetz[]", "Values"),
];

/// Values at the edge of a type, which a row has more seldom. Where the flag is false, they are
/// other than Debezium's with `penstock.compat=correct`.
#[rustfmt::skip]
const ODD: &[(&str, bool, &[&str])] = &[
    ("numeric", true, &["NaN", "Infinity", "-Infinity"]),
    ("numeric(10,2)", true, &["NaN"]),
    ("numeric(6,2)[]", false, &["{NaN,1.00}"]),
    ("date", false, &["infinity", "-infinity", "0044-03-15 BC", "4713-01-01 BC", "1582-10-10",
        "5874897-12-31"]),
    ("time", true, &["24:00:00"]),
    ("timetz", true, &["24:00:00+00", "23:59:59.999999-15:59"]),
    ("timestamp", true, &["infinity", "-infinity", "0044-03-15 12:34:56.5 BC", "1582-10-10 01:02:03"]),
    ("timestamp", false, &["294276-12-31 23:59:59.999999", "4713-01-01 00:00:00 BC"]),
    ("timestamp(3)", true, &["infinity", "-infinity", "0044-03-15 12:00:00.25 BC"]),
    ("timestamp(0)", true, &["infinity", "0001-12-31 23:59:59 BC"]),
    ("timestamptz", true, &["infinity", "-infinity", "0044-03-15 12:34:56.5+00 BC",
        "294276-12-31 23:59:59.999999+00"]),
    ("timestamptz(3)", true, &["infinity", "0044-03-15 12:00:00+00 BC"]),
    ("date[]", false, &["{infinity,-infinity}", "{\"0044-03-15 BC\",NULL}", "{1582-10-10}"]),
    ("timestamp[]", false, &["{infinity}", "{\"0044-03-15 12:00:00 BC\"}", "{\"1500-01-01 00:00:00\"}"]),
    ("timestamptz[]", false, &["{-infinity}", "{\"1500-01-01 00:00:00+00\",NULL}"]),
    ("interval", true, &["178000000 years", "-178000000 years"]),
    ("tsrange", true, &["[-infinity,infinity)", "empty"]),
    ("tstzrange", true, &["[\"0044-03-15 12:00:00+00 BC\",infinity]"]),
    ("daterange", true, &["[-infinity,infinity)", "[\"0044-03-15 BC\",\"0001-01-01\")"]),
];

/// What the types of [`WIDER`] need.
const WIDER_SETUP: &str = "
CREATE EXTENSION isn; CREATE EXTENSION cube; CREATE EXTENSION seg; CREATE EXTENSION lo;
CREATE SCHEMA \"In-V\";
CREATE TYPE inv.\"Odd Mood\" AS ENUM ('A', 'b,c', 'd\"e', 'ü''x');
CREATE TYPE inv.floatrange AS RANGE (subtype = float8);
CREATE DOMAIN inv.small AS inv.posint; CREATE DOMAIN inv.cents AS inv.price;
CREATE DOMAIN inv.stamp AS timestamp(3); CREATE DOMAIN inv.code AS char(4);
CREATE DOMAIN inv.bits AS bit(3); CREATE DOMAIN inv.tags AS text[]; CREATE DOMAIN inv.doc AS jsonb;
CREATE DOMAIN inv.raw AS bytea; CREATE DOMAIN inv.flag AS boolean; CREATE DOMAIN inv.span AS interval;
CREATE DOMAIN inv.cash AS money; CREATE DOMAIN inv.free AS numeric; CREATE DOMAIN inv.map AS hstore;
CREATE DOMAIN inv.day AS date;";

/// Properties, and values that are none of theirs, as Connect's validation says.
#[rustfmt::skip]
pub(crate) const BAD: &[(&str, &[&str])] = &[
    ("topic.prefix", &["a b", "", "ü"]),
    ("slot.name", &["Bad-Slot", "ü", "a b"]),
    ("decimal.handling.mode", &["exact", ""]),
    ("time.precision.mode", &["millis"]),
    ("interval.handling.mode", &["iso"]),
    ("hstore.handling.mode", &["text"]),
    ("binary.handling.mode", &["base32"]),
    ("publication.autocreate.mode", &["some"]),
    ("schema.name.adjustment.mode", &["json"]),
    ("event.processing.failure.handling.mode", &["stop"]),
    ("skipped.operations", &["x", "none,c", "c;u"]),
    ("tombstones.on.delete", &["maybe", "1"]),
    ("include.unknown.datatypes", &["2"]),
    ("provide.transaction.metadata", &["on"]),
    ("heartbeat.interval.ms", &["-1", "soon"]),
    ("max.batch.size", &["0", "-5", "many"]),
    ("max.queue.size", &["10"]),
    ("poll.interval.ms", &["1.5"]),
    ("snapshot.fetch.size", &["x"]),
    ("snapshot.max.threads", &["0", "two"]),
    ("snapshot.delay.ms", &["-2", "1s"]),
    ("status.update.interval.ms", &["0", "x"]),
    ("slot.max.retries", &["x"]),
    ("slot.retry.delay.ms", &["x"]),
    ("xmin.fetch.interval.ms", &["-1"]),
    ("database.port", &["x"]),
    ("database.sslmode", &["maybe"]),
    ("lsn.flush.mode", &["often"]),
    ("table.include.list", &["inv.(", "inv.[a"]),
    ("table.exclude.list", &["*"]),
    ("schema.include.list", &["("]),
    ("column.exclude.list", &["inv.t.("]),
    ("message.key.columns", &["foo", "inv.t1:", ":id"]),
    ("message.prefix.include.list", &["("]),
    ("replica.identity.autoset.values", &["foo", "inv.t1:SOME"]),
    ("custom.metric.tags", &["a"]),
    ("errors.max.retries", &["x"]),
    ("retriable.restart.connector.wait.ms", &["0", "x"]),
    ("schema.refresh.mode", &["columns"]),
    ("tasks.max", &["0", "x"]),
];

/// Expressions that are defaults as well as values: the type and the expression.
#[rustfmt::skip]
const EXPRESSIONS: &[(&str, &str)] = &[
    ("timestamptz", "now()"), ("timestamp", "CURRENT_TIMESTAMP"), ("date", "CURRENT_DATE"),
    ("uuid", "gen_random_uuid()"),
    ("text", "'a' || 'b'"), ("text", "upper('x')"), ("integer", "1 + 1"), ("integer", "length('abc')"),
    ("boolean", "(NOT false)"),
    ("numeric(10,2)", "1.5 * 2"), ("bigint", "(2 ^ 40)::bigint"), ("jsonb", "'{}'::jsonb"), ("text[]", "ARRAY['a']"),
    ("varchar(10)", "NULL::character varying"), ("text", "CURRENT_USER"),
];

const COLUMN_NAMES: &[&str] = &[
    "Mixed",
    "with space",
    "da-sh",
    "1st",
    "dot.ted",
    "ünï",
    "select",
    "dollar$",
    "UPPER",
    "a__b",
    "_x",
    "日本",
];
const TABLE_NAMES: &[&str] = &[
    "Mixed",
    "with space",
    "da-sh",
    "1st",
    "dot.ted",
    "ünï",
    "order",
    "dollar$",
];

struct Column {
    name: String,
    sql: &'static str,
    values: &'static [&'static str],
    odd: Vec<&'static str>,
    not_null: bool,
    default: Option<String>,
    generated: Option<String>,
    key: bool,
}

struct Table {
    /// Quoted, with its schema.
    name: String,
    columns: Vec<Column>,
    /// Whether UPDATE and DELETE are possible while it is published.
    identified: bool,
    partitioned: bool,
    /// Values of `id`.
    rows: Vec<u32>,
}

fn quoted(name: &str) -> String {
    let plain = name
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !["select", "order"].contains(&name);
    if plain {
        name.to_owned()
    } else {
        format!("\"{name}\"")
    }
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

impl Column {
    fn value(&self, random: &mut Random) -> String {
        if self.default.is_some() && random.chance(15) {
            return "DEFAULT".to_owned();
        }
        if !self.not_null && random.chance(20) {
            return "NULL".to_owned();
        }
        literal(self.raw(random))
    }

    fn raw(&self, random: &mut Random) -> &'static str {
        if !self.odd.is_empty() && random.chance(15) {
            return random.pick(&self.odd);
        }
        random.pick(self.values)
    }

    fn definition(&self) -> String {
        let mut text = format!("{} {}", quoted(&self.name), self.sql);
        if self.not_null {
            text += " NOT NULL";
        }
        if let Some(default) = &self.default {
            let _ = write!(text, " DEFAULT {default}");
        }
        if let Some(generated) = &self.generated {
            let _ = write!(text, " GENERATED ALWAYS AS ({generated}) STORED");
        }
        text
    }
}

struct Generator {
    random: Random,
    tables: Vec<Table>,
    next: u32,
    unknown: bool,
    large: bool,
    /// With `provide.transaction.metadata`.
    counted: bool,
    /// The seed is one of [`WIDE`]'s.
    wide: bool,
    /// StringConverter writes one part at least.
    text: bool,
    case: Case,
}

/// The case of a seed.
#[must_use]
pub(crate) fn case(seed: u64) -> Case {
    let mut random = Random::new(seed);
    let (unknown, counted) = (random.chance(40), random.chance(20));
    let mut generator = Generator {
        random,
        tables: Vec::new(),
        next: 1,
        unknown,
        large: false,
        counted,
        wide: seed >= WIDE,
        text: false,
        case: Case::default(),
    };
    generator.case.exact = !seed.is_multiple_of(3);
    generator.setup();
    generator.stream();
    generator.properties();
    if generator.wide {
        generator.wider();
    }
    generator.case.tables = generator.tables.len();
    generator.case
}

impl Generator {
    fn setup(&mut self) {
        self.case.setup = [
            "CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION ltree; CREATE SCHEMA inv;",
            "CREATE TYPE inv.mood AS ENUM ('sad', 'ok', 'happy day');",
            "CREATE TYPE inv.pair AS (a int, b text);",
            "CREATE DOMAIN inv.posint AS int CHECK (value > 0);",
            "CREATE DOMAIN inv.price AS numeric(8,3);",
            "CREATE DOMAIN inv.word AS varchar(6);",
        ]
        .map(str::to_owned)
        .to_vec();
        if self.wide {
            self.case.setup.push(WIDER_SETUP.to_owned());
        }
        for number in 0..2 + self.random.below(4) {
            let sql = self.table(number);
            self.case.setup.push(sql);
            for _ in 0..self.random.below(4) {
                let sql = self.insert(number);
                self.case.setup.push(sql);
            }
        }
    }

    fn column(&mut self, number: usize, key: bool) -> Column {
        let (_, sql, values) = loop {
            let wider = self.wide && self.random.chance(60);
            let found = self.random.pick(if wider { WIDER } else { TYPES });
            let documented =
                DOCUMENTED.iter().any(|(name, _)| *name == found.1) || found.0.contains('!');
            let allowed = if documented && !self.case.exact {
                false
            } else if key {
                found.0.contains('k')
            } else {
                self.unknown || !found.0.contains('?')
            };
            if allowed {
                break found;
            }
        };
        let name = if self.random.chance(80) {
            format!("c{number}")
        } else {
            format!("{}{number}", self.random.pick(COLUMN_NAMES))
        };
        let serial = sql.ends_with("serial");
        let not_null = key || self.random.chance(30) || serial;
        // A conversion that fails ends the task where the column is NOT NULL.
        let fails = sql.starts_with("numeric") || (sql == "timestamp" && !self.case.exact);
        let odd = ODD.iter().filter(|(of, same, _)| {
            *of == sql && (*same || self.case.exact) && !(not_null && fails)
        });
        let mut column = Column {
            name,
            sql,
            values,
            odd: odd
                .flat_map(|(_, _, values)| values.iter().copied())
                .collect(),
            not_null,
            default: None,
            generated: None,
            key,
        };
        if serial {
            // It has its own.
        } else if !key && self.random.chance(25) {
            let expressions: Vec<_> = EXPRESSIONS.iter().filter(|(of, _)| *of == sql).collect();
            column.default = Some(if !expressions.is_empty() && self.random.chance(60) {
                self.random.pick(&expressions).1.to_owned()
            } else {
                literal(self.random.pick(values))
            });
            let default = column.default.as_deref().unwrap_or_default();
            column.not_null &= !default.starts_with("NULL");
        } else if !key && sql == "integer" && self.random.chance(25) {
            column.generated = Some("id * 2".to_owned());
        }
        column
    }

    /// CREATE TABLE and what belongs to it.
    fn table(&mut self, number: usize) -> String {
        let name = if self.random.chance(75) {
            format!("t{number}")
        } else {
            format!("{}{number}", self.random.pick(TABLE_NAMES))
        };
        let schema = if self.wide && self.random.chance(12) {
            "\"In-V\""
        } else {
            "inv"
        };
        let name = format!("{schema}.{}", quoted(&name));
        let mut columns = vec![Column {
            name: "id".to_owned(),
            sql: "integer",
            values: &["0"],
            odd: Vec::new(),
            not_null: true,
            default: None,
            generated: None,
            key: true,
        }];
        let with_key = self.random.chance(80);
        for number in 0..1 + self.random.below(9) {
            let key = with_key && self.random.chance(12);
            let column = self.column(number, key);
            columns.push(column);
        }
        // The key's place and order are not the table's.
        if self.random.chance(40) {
            let to = self.random.below(columns.len());
            columns.swap(0, to);
        }
        let partitioned = with_key
            && self.random.chance(12)
            && columns.iter().all(|column| column.generated.is_none());
        let mut keys: Vec<_> = columns
            .iter()
            .filter(|column| column.key)
            .map(|column| quoted(&column.name))
            .collect();
        if self.random.chance(50) {
            keys.reverse();
        }
        let mut parts: Vec<_> = columns.iter().map(Column::definition).collect();
        if with_key {
            parts.push(format!("PRIMARY KEY ({})", keys.join(", ")));
        } else {
            for column in &mut columns {
                column.key = false;
            }
        }
        let mut sql = format!("CREATE TABLE {name} (\n  {}\n)", parts.join(",\n  "));
        if partitioned {
            let part = |suffix: &str| format!("inv.part_{number}_{suffix}");
            let _ = write!(
                sql,
                " PARTITION BY RANGE (id);\nCREATE TABLE {} PARTITION OF {name} FOR VALUES FROM (0) TO (10);\n\
                 CREATE TABLE {} PARTITION OF {name} DEFAULT",
                part("a"),
                part("b")
            );
        }
        sql.push(';');
        let mut identified = with_key;
        if !partitioned {
            match self.random.below(10) {
                0..=2 => {
                    let _ = write!(sql, "\nALTER TABLE {name} REPLICA IDENTITY FULL;");
                    identified = true;
                }
                3 => {
                    let _ = write!(
                        sql,
                        "\nCREATE UNIQUE INDEX unique_{number} ON {name} (id);\n\
                         ALTER TABLE {name} REPLICA IDENTITY USING INDEX unique_{number};"
                    );
                    identified = true;
                }
                4 if self.random.chance(30) => {
                    let _ = write!(sql, "\nALTER TABLE {name} REPLICA IDENTITY NOTHING;");
                    identified = false;
                }
                _ => {}
            }
        }
        let large: Vec<_> = columns
            .iter()
            .filter(|column| {
                ["text", "bytea", "text[]", "jsonb"].contains(&column.sql) && !column.key
            })
            .map(|column| quoted(&column.name))
            .collect();
        if !partitioned {
            for column in large {
                let _ = write!(
                    sql,
                    "\nALTER TABLE {name} ALTER {column} SET STORAGE EXTERNAL;"
                );
            }
        }
        self.tables.push(Table {
            name,
            columns,
            identified,
            partitioned,
            rows: Vec::new(),
        });
        sql
    }

    /// One row's values in the order of the columns that can be written, and its id.
    fn row(&mut self, table: usize) -> String {
        let id = self.next;
        self.next += 1;
        let (random, large) = (&mut self.random, self.large);
        let values = self.tables[table]
            .columns
            .iter()
            .filter(|column| column.generated.is_none());
        let values: Vec<_> = values
            .map(|column| match (column.name.as_str(), column.sql) {
                ("id", _) => id.to_string(),
                (_, "text") if large && !column.key && random.chance(30) => {
                    "repeat('long', 800)".to_owned()
                }
                (_, "bytea") if large && !column.key && random.chance(30) => {
                    "decode(repeat('abcd', 1500), 'hex')".to_owned()
                }
                (_, "text[]") if large && random.chance(30) => {
                    "ARRAY[repeat('y', 3000)]".to_owned()
                }
                (_, "jsonb") if large && random.chance(30) => {
                    "to_jsonb(repeat('z', 3000))".to_owned()
                }
                _ => column.value(random),
            })
            .collect();
        self.tables[table].rows.push(id);
        format!("({})", values.join(", "))
    }

    fn written(&self, table: usize) -> String {
        let columns = self.tables[table].columns.iter();
        let names: Vec<_> = columns
            .filter(|column| column.generated.is_none())
            .map(|column| quoted(&column.name))
            .collect();
        names.join(", ")
    }

    fn insert(&mut self, table: usize) -> String {
        self.large = true;
        let rows = if self.random.chance(30) {
            2 + self.random.below(3)
        } else {
            1
        };
        let rows: Vec<_> = (0..rows).map(|_| self.row(table)).collect();
        format!(
            "INSERT INTO {} ({}) VALUES {};",
            self.tables[table].name,
            self.written(table),
            rows.join(", ")
        )
    }

    /// Some rows through COPY: they share one LSN.
    fn copy(&mut self, table: usize) -> String {
        let mut text = format!(
            "COPY {} ({}) FROM STDIN;\n",
            self.tables[table].name,
            self.written(table)
        );
        for _ in 0..1 + self.random.below(5) {
            let id = self.next;
            self.next += 1;
            let random = &mut self.random;
            let columns = self.tables[table].columns.iter();
            let values: Vec<_> = columns
                .filter(|column| column.generated.is_none())
                .map(|column| {
                    if column.name == "id" {
                        return id.to_string();
                    }
                    if !column.not_null && random.chance(20) {
                        return "\\N".to_owned();
                    }
                    let value = column.raw(random).replace('\\', "\\\\");
                    value.replace('\n', "\\n").replace('\t', "\\t")
                })
                .collect();
            let _ = writeln!(text, "{}", values.join("\t"));
            self.tables[table].rows.push(id);
        }
        text + "\\."
    }

    /// An UPDATE of one row or of all, or of the key.
    fn update(&mut self, table: usize) -> Option<String> {
        let place = &self.tables[table];
        if !place.identified || place.rows.is_empty() {
            return None;
        }
        let row = self.random.below(place.rows.len());
        let id = place.rows[row];
        let others: Vec<usize> = (0..place.columns.len())
            .filter(|&at| {
                let column = &place.columns[at];
                column.generated.is_none() && column.name != "id"
            })
            .collect();
        let mut sets = Vec::new();
        if self.random.chance(20) || others.is_empty() {
            let new = self.next;
            self.next += 1;
            self.tables[table].rows[row] = new;
            sets.push(format!("id = {new}"));
        }
        if !others.is_empty() {
            for _ in 0..1 + self.random.below(2) {
                let at = self.random.pick(&others);
                let column = &self.tables[table].columns[at];
                let name = quoted(&column.name);
                let value = if self.random.chance(15) {
                    name.clone()
                } else {
                    column.value(&mut self.random)
                };
                if !sets
                    .iter()
                    .any(|set: &String| set.starts_with(&format!("{name} = ")))
                {
                    sets.push(format!("{name} = {value}"));
                }
            }
        }
        if sets.is_empty() {
            return None;
        }
        let whose = if sets[0].starts_with("id = ") || self.random.chance(85) {
            format!(" WHERE id = {id}")
        } else {
            String::new()
        };
        let name = &self.tables[table].name;
        Some(format!("UPDATE {name} SET {}{whose};", sets.join(", ")))
    }

    fn delete(&mut self, table: usize) -> Option<String> {
        let place = &mut self.tables[table];
        if !place.identified || place.rows.is_empty() {
            return None;
        }
        let id = place.rows.swap_remove(self.random.below(place.rows.len()));
        Some(format!("DELETE FROM {} WHERE id = {id};", place.name))
    }

    fn truncate(&mut self, table: usize) -> String {
        let mut names = vec![self.tables[table].name.clone()];
        self.tables[table].rows.clear();
        if self.random.chance(30) {
            let other = self.random.below(self.tables.len());
            if other != table {
                self.tables[other].rows.clear();
                names.push(self.tables[other].name.clone());
            }
        }
        let how = self.random.pick(&["", " RESTART IDENTITY", " CASCADE"]);
        format!("TRUNCATE {}{how};", names.join(", "))
    }

    fn message(&mut self) -> String {
        let transactional = self.random.pick(&["true", "false"]);
        let prefix = self.random.pick(&["audit", "other", "pre fix", ""]);
        let content = self
            .random
            .pick(&["'hello'", "''", "'\\x0001ff'::bytea", "'{\"a\":1}'"]);
        format!(
            "SELECT pg_logical_emit_message({transactional}, '{prefix}', {content}) \\g /dev/null"
        )
    }

    /// One statement.
    fn statement(&mut self) -> String {
        loop {
            let table = self.random.below(self.tables.len());
            let made = match self.random.below(100) {
                0..=34 => Some(self.insert(table)),
                35..=64 => self.update(table),
                65..=81 => self.delete(table),
                82..=87 => Some(self.copy(table)),
                // docs/differences.md, "Values": what a message is called in a transaction's counts.
                88..=93 if !self.counted || self.case.exact => Some(self.message()),
                94..=96 => Some(self.truncate(table)),
                _ => self.update(table).map(|update| {
                    let whole = update.split(" WHERE ").next().unwrap_or_default();
                    format!("{} WHERE false;", whole.trim_end_matches(';'))
                }),
            };
            if let Some(made) = made {
                return made;
            }
        }
    }

    fn stream(&mut self) {
        for _ in 0..8 + self.random.below(10) {
            match self.random.below(100) {
                0..=54 => {
                    let sql = self.statement();
                    self.case.steps.push(Step::Sql(sql));
                }
                55..=79 => {
                    let sql = self.transaction();
                    self.case.steps.push(Step::Sql(sql));
                }
                80..=84 => {
                    // Nothing of it happens, so it must not be remembered.
                    let before: Vec<_> =
                        self.tables.iter().map(|table| table.rows.clone()).collect();
                    let statements = [self.statement(), self.statement()].join("\n");
                    for (table, rows) in self.tables.iter_mut().zip(before) {
                        table.rows = rows;
                    }
                    self.case
                        .steps
                        .push(Step::Sql(format!("BEGIN;\n{statements}\nROLLBACK;")));
                }
                _ if self.wide && self.random.chance(60) => {
                    self.case.steps.push(Step::Settle);
                    let sql = self.alters_in_one_transaction();
                    self.case.steps.push(Step::Sql(sql));
                    self.case.steps.push(Step::Settle);
                }
                _ => {
                    self.case.steps.push(Step::Settle);
                    let sql = self.alter();
                    self.case.steps.push(Step::Sql(sql));
                }
            }
        }
    }

    fn transaction(&mut self) -> String {
        let mut text = "BEGIN;\n".to_owned();
        for _ in 0..1 + self.random.below(5) {
            if self.random.chance(20) {
                let before: Vec<_> = self.tables.iter().map(|table| table.rows.clone()).collect();
                let statement = self.statement();
                let kept = self.random.chance(50);
                let end = if kept { "RELEASE" } else { "ROLLBACK TO" };
                let _ = write!(text, "SAVEPOINT s;\n{statement}\n{end} SAVEPOINT s;\n");
                if !kept {
                    for (table, rows) in self.tables.iter_mut().zip(before) {
                        table.rows = rows;
                    }
                }
            } else {
                text += &self.statement();
                text.push('\n');
            }
        }
        text + "COMMIT;"
    }

    /// Changes of tables' forms between rows of before and after; both sides look at the catalogue
    /// when all of it is done.
    fn alters_in_one_transaction(&mut self) -> String {
        let mut text = "BEGIN;\n".to_owned();
        for _ in 0..1 + self.random.below(3) {
            for _ in 0..1 + self.random.below(3) {
                text += &self.statement();
                text.push('\n');
            }
            text += &self.alter();
            text.push('\n');
        }
        text += &self.statement();
        text + "\nCOMMIT;"
    }

    /// A change of a table's form.
    fn alter(&mut self) -> String {
        let table = self.random.below(self.tables.len());
        let name = self.tables[table].name.clone();
        let others: Vec<usize> = (0..self.tables[table].columns.len())
            .filter(|&at| {
                let column = &self.tables[table].columns[at];
                !column.key && column.name != "id" && column.generated.is_none()
            })
            .collect();
        if self.wide
            && self.random.chance(35)
            && let Some(sql) = self.alter_further(table)
        {
            return sql;
        }
        match self.random.below(6) {
            0 | 1 => {
                let number = 100 + self.next as usize;
                self.next += 1;
                let mut column = self.column(number, false);
                column.generated = None;
                if column.not_null && column.default.is_none() && !column.sql.ends_with("serial") {
                    column.default = Some(literal(self.random.pick(column.values)));
                }
                let definition = column.definition();
                self.tables[table].columns.push(column);
                format!("ALTER TABLE {name} ADD {definition};")
            }
            2 if !others.is_empty() => {
                let at = self.random.pick(&others);
                let column = self.tables[table].columns.remove(at);
                format!("ALTER TABLE {name} DROP {};", quoted(&column.name))
            }
            3 if !others.is_empty() => {
                let at = self.random.pick(&others);
                let column = &mut self.tables[table].columns[at];
                let old = quoted(&column.name);
                column.name = format!("renamed{}", self.next);
                self.next += 1;
                format!(
                    "ALTER TABLE {name} RENAME {old} TO {};",
                    quoted(&column.name)
                )
            }
            4 if !others.is_empty() => {
                let at = self.random.pick(&others);
                let column = &mut self.tables[table].columns[at];
                column.not_null = false;
                let column = quoted(&column.name);
                format!(
                    "ALTER TABLE {name} ALTER {column} DROP NOT NULL, ALTER {column} DROP DEFAULT;"
                )
            }
            5 if !self.tables[table].partitioned => {
                self.tables[table].identified = true;
                format!("ALTER TABLE {name} REPLICA IDENTITY FULL;")
            }
            _ => {
                let number = self.tables.len();
                self.table(number)
            }
        }
    }

    /// Another type, default, key or identity.
    fn alter_further(&mut self, table: usize) -> Option<String> {
        const RETYPED: &[(&str, &str)] = &[
            ("smallint", "integer"),
            ("integer", "bigint"),
            ("bigint", "numeric(30,4)"),
            ("real", "double precision"),
            ("varchar(10)", "text"),
            ("char(5)", "varchar(10)"),
            ("text", "character varying"),
            ("numeric(10,2)", "numeric(38,10)"),
            ("timestamp(3)", "timestamp"),
            ("timestamp", "timestamptz"),
            ("time(0)", "time(3)"),
            ("date", "timestamp(3)"),
            ("json", "jsonb"),
            ("uuid", "text"),
            ("boolean", "text"),
        ];
        let name = self.tables[table].name.clone();
        let plain: Vec<usize> = (0..self.tables[table].columns.len())
            .filter(|&at| {
                let column = &self.tables[table].columns[at];
                !column.key && column.name != "id" && column.generated.is_none()
            })
            .collect();
        match self.random.below(4) {
            0 => {
                let mut found = plain.iter().filter_map(|&at| {
                    let sql = self.tables[table].columns[at].sql;
                    RETYPED
                        .iter()
                        .find(|(from, _)| *from == sql)
                        .map(|(_, to)| (at, *to))
                });
                let (at, to) = found.next()?;
                let values = TYPES.iter().chain(WIDER).find(|(_, sql, _)| *sql == to);
                let column = &mut self.tables[table].columns[at];
                // What a row may have must fit both.
                column.values = values.map_or(column.values, |(_, _, values)| values);
                column.odd.clear();
                column.sql = to;
                column.default = None;
                let column = quoted(&column.name);
                Some(format!(
                    "ALTER TABLE {name} ALTER {column} DROP DEFAULT, ALTER {column} TYPE {to} USING {column}::{to};"
                ))
            }
            1 => {
                let at = *plain.first()?;
                let values = self.tables[table].columns[at].values;
                let default = literal(self.random.pick(values));
                let column = &mut self.tables[table].columns[at];
                column.default = Some(default.clone());
                let column = quoted(&column.name);
                Some(format!(
                    "ALTER TABLE {name} ALTER {column} SET DEFAULT {default};"
                ))
            }
            2 if !self.tables[table].partitioned => {
                // The key is dropped, and another made.
                let pick = plain.iter().find(|&&at| {
                    let column = &self.tables[table].columns[at];
                    let of = |(how, sql, _): &&Type| *sql == column.sql && how.contains('k');
                    column.not_null && TYPES.iter().any(|found| of(&found))
                })?;
                let place = &mut self.tables[table];
                if !place.columns.iter().any(|column| column.key) {
                    return None;
                }
                for column in &mut place.columns {
                    column.key = column.name == "id";
                }
                place.columns[*pick].key = true;
                place.identified = true;
                let column = quoted(&place.columns[*pick].name);
                Some(format!(
                    "DO $$ BEGIN EXECUTE (SELECT format('ALTER TABLE {name} DROP CONSTRAINT %I', conname) \
                     FROM pg_constraint WHERE conrelid = '{name}'::regclass AND contype = 'p'); END $$;\n\
                     ALTER TABLE {name} ADD PRIMARY KEY ({column}, id), REPLICA IDENTITY DEFAULT;"
                ))
            }
            3 if !self.tables[table].partitioned => {
                let keyed = self.tables[table].columns.iter().any(|column| column.key);
                self.tables[table].identified = keyed;
                Some(format!("ALTER TABLE {name} REPLICA IDENTITY DEFAULT;"))
            }
            _ => None,
        }
    }

    fn set(&mut self, name: &str, value: &str) {
        self.case
            .properties
            .push((name.to_owned(), value.to_owned()));
    }

    fn maybe(&mut self, percent: usize, name: &str, values: &[&str]) {
        if self.random.chance(percent) {
            let value = self.random.pick(values);
            self.set(name, value);
        }
    }

    fn properties(&mut self) {
        if self.unknown {
            self.set("include.unknown.datatypes", "true");
        }
        let avro = self.converters();
        self.case.suffix = self.random.pick(&["", "", "", "-x", ".y", "_Z"]);
        let names: BTreeSet<_> = self
            .tables
            .iter()
            .flat_map(|table| {
                table
                    .columns
                    .iter()
                    .map(|column| column.name.as_str())
                    .chain([table.name.as_str()])
            })
            .collect();
        let odd = names
            .iter()
            .any(|name| quoted(name) != *name && !name.starts_with("inv."))
            || names.iter().any(|name| name.contains('"'))
            || !["", "_Z"].contains(&self.case.suffix);
        let adjustments = ["avro", "avro_unicode"];
        if avro && odd {
            let (schema, field) = (
                self.random.pick(&adjustments),
                self.random.pick(&adjustments),
            );
            self.set("schema.name.adjustment.mode", schema);
            self.set("field.name.adjustment.mode", field);
        } else {
            self.maybe(20, "schema.name.adjustment.mode", &adjustments);
            self.maybe(20, "field.name.adjustment.mode", &adjustments);
        }
        self.maybe(
            60,
            "decimal.handling.mode",
            &["precise", "double", "string"],
        );
        let modes = [
            "adaptive",
            "adaptive_time_microseconds",
            "microseconds",
            "nanoseconds",
            "isostring",
            "connect",
        ];
        // docs/differences.md, "Configuration": as text, a date is a Java object there.
        self.maybe(
            75,
            "time.precision.mode",
            &modes[..modes.len() - usize::from(self.text)],
        );
        self.maybe(50, "interval.handling.mode", &["numeric", "string"]);
        self.maybe(50, "hstore.handling.mode", &["json", "map"]);
        self.maybe(
            50,
            "binary.handling.mode",
            &["bytes", "base64", "base64-url-safe", "hex"],
        );
        self.maybe(30, "money.fraction.digits", &["0", "2", "4"]);
        self.maybe(
            30,
            "unavailable.value.placeholder",
            &["gone", "hex:00ff", "__x__"],
        );
        self.maybe(30, "tombstones.on.delete", &["false"]);
        self.maybe(30, "skip.messages.without.change", &["true"]);
        self.maybe(
            60,
            "skipped.operations",
            &["none", "none", "t,u", "d", "u,d,t"],
        );
        if self.random.chance(10) {
            self.set("heartbeat.interval.ms", "200");
            self.maybe(50, "topic.heartbeat.prefix", &["beats"]);
        }
        self.maybe(20, "extended.headers.enabled", &["false"]);
        self.maybe(20, "message.prefix.include.list", &["audit", "a.*,other"]);
        if self.random.chance(15)
            && !self
                .case
                .properties
                .iter()
                .any(|(name, _)| name.starts_with("message."))
        {
            self.set("message.prefix.exclude.list", "aud.*");
        }
        self.maybe(20, "topic.delimiter", &["-", "_"]);
        self.maybe(
            15,
            "topic.naming.strategy",
            &[
                "io.debezium.schema.SchemaUnicodeTopicNamingStrategy",
                "io.debezium.schema.DefaultTopicNamingStrategy",
                "io.debezium.schema.DefaultUnicodeTopicNamingStrategy",
            ],
        );
        if self.random.chance(8) {
            let strategy = self.random.pick(&[
                "io.debezium.schema.DefaultRegexTopicNamingStrategy",
                "io.debezium.schema.SchemaRegexTopicNamingStrategy",
            ]);
            self.set("topic.naming.strategy", strategy);
            self.set("topic.regex", "(.*)([.]inv[.])(t.*)");
            let to = self.random.pick(&["$1.all", "$1$2re_$3"]);
            self.set("topic.replacement", to);
        }
        self.maybe(
            25,
            "publication.autocreate.mode",
            &["filtered", "all_tables"],
        );
        self.maybe(25, "publish.via.partition.root", &["true", "false"]);
        self.maybe(
            10,
            "event.converting.failure.handling.mode",
            &["fail", "warn", "skip"],
        );
        self.columns();
        self.overrides();
        match self.random.below(10) {
            0 => self.set("snapshot.mode", "no_data"),
            1 => self.set("snapshot.mode", "always"),
            2 => self.set("snapshot.mode", "when_needed"),
            3 => self.set(
                "snapshot.include.collection.list",
                "inv[.]t.*,public[.]zz.*",
            ),
            _ => {}
        }
        if self.random.chance(15) {
            self.unwrap();
        }
        if self.counted {
            self.set("provide.transaction.metadata", "true");
            self.maybe(30, "topic.transaction", &["tx"]);
        }
        self.bad();
        self.further();
    }

    /// A value that is none.
    fn bad(&mut self) {
        if self.random.chance(4) {
            let (name, values) = self.random.pick(BAD);
            let value = self.random.pick(values);
            self.case.properties.retain(|(given, _)| given != name);
            self.set(name, value);
            self.case.bad = Some(name);
        }
    }

    /// What was added later: drawn last, so that seeds mean what they meant.
    fn further(&mut self) {
        self.headers();
        self.filters();
        self.maybe(8, "skipped.operations", &["r", " U , t ", "d,r,t"]);
        let given = |generator: &Self, name: &str| {
            let properties = &generator.case.properties;
            properties.iter().any(|(of, value)| {
                of == name || of.starts_with("transforms.") && value.contains(name)
            })
        };
        if given(self, "topic.regex") {
            self.maybe(30, "topic.key.enforce.uniqueness", &["false"]);
            self.maybe(30, "topic.key.field.name", &["which"]);
            if self.random.chance(30) {
                self.set("topic.key.field.regex", "(.*)[.]inv[.](t.*)");
                self.set("topic.key.field.replacement", "$2 of $1");
            }
        }
        if given(self, "ExtractNewRecordState") {
            let unwrap = "transforms.unwrap.";
            self.maybe(
                40,
                &format!("{unwrap}replace.null.with.default"),
                &["false"],
            );
            self.maybe(20, &format!("{unwrap}drop.fields.from.key"), &["true"]);
            if !given(self, "rewrite-with-tombstone") {
                let added = ["op,before.id:was,after.id,snapshot,id,ts_sec"];
                self.maybe(40, &format!("{unwrap}add.headers"), &added);
            }
            if self.random.chance(20) {
                self.set(
                    &format!("{unwrap}add.fields"),
                    "op:what, before.id,after.id:new,source.table, snapshot,total_order",
                );
            }
        }
        for part in ["key", "value"] {
            let class = format!("{part}.converter");
            let avro = self
                .case
                .properties
                .iter()
                .any(|(name, value)| *name == class && value.ends_with("AvroConverter"));
            if !avro {
                continue;
            }
            self.maybe(
                10,
                &format!("{class}.enhanced.avro.schema.support"),
                &["true"],
            );
            self.maybe(
                15,
                &format!("{class}.{part}.subject.name.strategy"),
                &[
                    "io.confluent.kafka.serializers.subject.RecordNameStrategy",
                    "io.confluent.kafka.serializers.subject.TopicRecordNameStrategy",
                ],
            );
            // Keys in another form than values.
            if part == "key" && self.random.chance(15) {
                self.set(&class, "org.apache.kafka.connect.json.JsonConverter");
                self.maybe(50, &format!("{class}.schemas.enable"), &["false"]);
            }
        }
        self.maybe(
            10,
            "snapshot.isolation.mode",
            &["repeatable_read", "read_committed"],
        );
        self.maybe(5, "snapshot.locking.mode", &["shared"]);
        self.maybe(
            5,
            "database.initial.statements",
            &["SET statement_timeout = '1min'; SET lock_timeout = 0"],
        );
        self.maybe(5, "schema.refresh.mode", &["columns_diff"]);
        self.maybe(5, "status.update.interval.ms", &["300"]);
        self.maybe(5, "snapshot.delay.ms", &["300"]);
        self.maybe(5, "streaming.delay.ms", &["300"]);
    }

    /// What seeds from [`WIDE`] on have besides.
    fn wider(&mut self) {
        if !self
            .case
            .properties
            .iter()
            .any(|(name, _)| name == "transforms")
        {
            self.transforms();
        }
        // Java tells bytes in a key by where they lie, and so chooses the partition.
        self.case
            .properties
            .retain(|(name, value)| name != "key.converter" || !value.ends_with("StringConverter"));
        let keys = |(name, _): &(String, String)| name == "message.key.columns";
        if self.random.chance(15) && !self.case.properties.iter().any(keys) {
            let keys = self.random.pick(&[
                "inv[.]t.*:c0,c1",
                "(.*)[.](.*):c1;(.*)[.]t1:id",
                "inv.t0:c0;inv.t1:c1,id;inv.t2:c2",
            ]);
            self.set("message.key.columns", keys);
        }
        for part in ["key", "value"] {
            let class = format!("{part}.converter");
            let is = |(name, value): &(String, String)| {
                *name == class && value.ends_with("AvroConverter")
            };
            if !self.case.properties.iter().any(is) {
                continue;
            }
            let places = [
                "generalized.sum.type.support",
                "ignore.default.for.nullables",
                "allow.optional.map.keys",
                "flatten.singleton.unions",
                "normalize.schemas",
                "scrub.invalid.names",
            ];
            let option = self.random.pick(&places);
            self.maybe(40, &format!("{class}.{option}"), &["true", "false"]);
        }
        self.maybe(10, "max.batch.size", &["1", "3"]);
        self.maybe(10, "max.queue.size.in.bytes", &["4096"]);
        self.maybe(10, "snapshot.fetch.size", &["1"]);
        self.maybe(10, "unavailable.value.placeholder", &["", "ünï", "hex:zz"]);
        self.maybe(10, "slot.drop.on.stop", &["true", "false"]);
        self.maybe(
            10,
            "event.processing.failure.handling.mode",
            &["warn", "skip", "ignore"],
        );
        self.maybe(
            10,
            "column.mask.with.12.chars",
            &[".*[.](c0|c6)", "inv[.]t0[.]c[0-9]+"],
        );
        self.maybe(10, "column.truncate.to.0.chars", &[".*[.]c7"]);
        self.maybe(10, "column.mask.hash.MD5.with.salt.", &[".*[.]c6"]);
        self.maybe(
            10,
            "datatype.propagate.source.type",
            &[".*[.]int[48],.*[.]timestamp", ".+[.]_TEXT"],
        );
    }

    /// Routers and filters.
    fn transforms(&mut self) {
        let unwrap = "io.debezium.transforms.ExtractNewRecordState";
        match self.random.below(8) {
            0 => {
                self.set("transforms", "route");
                self.set(
                    "transforms.route.type",
                    "io.debezium.transforms.ByLogicalTableRouter",
                );
                self.set("transforms.route.topic.regex", "(.*)[.]t[0-9]");
                let to = self.random.pick(&["$1.all", "$1_all"]);
                self.set("transforms.route.topic.replacement", to);
                self.maybe(40, "transforms.route.key.enforce.uniqueness", &["false"]);
                self.maybe(40, "transforms.route.key.field.name", &["which", "__t"]);
                if self.random.chance(40) {
                    self.set("transforms.route.key.field.regex", "(.*)[.](t[0-9])");
                    self.set("transforms.route.key.field.replacement", "$2-x");
                }
            }
            1 => {
                self.set("transforms", "regex");
                self.set(
                    "transforms.regex.type",
                    "org.apache.kafka.connect.transforms.RegexRouter",
                );
                self.set("transforms.regex.regex", "(.*)[.](t[0-9])");
                self.set("transforms.regex.replacement", "$1.r-$2");
            }
            2 => {
                self.set("transforms", "drop");
                self.set(
                    "transforms.drop.type",
                    "org.apache.kafka.connect.transforms.Filter",
                );
                self.set("transforms.drop.predicate", "p");
                self.maybe(30, "transforms.drop.negate", &["false"]);
                self.set("predicates", "p");
                let tombstone = "org.apache.kafka.connect.transforms.predicates.RecordIsTombstone";
                let name = "org.apache.kafka.connect.transforms.predicates.TopicNameMatches";
                if self.random.chance(50) {
                    self.set("predicates.p.type", tombstone);
                } else {
                    self.set("predicates.p.type", name);
                    self.set("predicates.p.pattern", ".*[.]t0");
                }
            }
            3 => {
                self.set("transforms", "unwrap,regex");
                self.set("transforms.unwrap.type", unwrap);
                self.maybe(50, "transforms.unwrap.drop.fields.header.name", &["ids"]);
                self.maybe(50, "transforms.unwrap.route.by.field", &["id"]);
                self.set(
                    "transforms.unwrap.delete.tombstone.handling.mode",
                    "rewrite",
                );
                self.set(
                    "transforms.regex.type",
                    "org.apache.kafka.connect.transforms.RegexRouter",
                );
                self.set("transforms.regex.regex", "(.*)[.]inv[.](.*)");
                self.set("transforms.regex.replacement", "$1.$2");
            }
            _ => {}
        }
    }

    fn headers(&mut self) {
        match self.random.below(8) {
            0 | 1 => {
                self.set(
                    "header.converter",
                    "org.apache.kafka.connect.json.JsonConverter",
                );
                self.maybe(60, "header.converter.schemas.enable", &["true", "false"]);
            }
            2 => self.set(
                "header.converter",
                "org.apache.kafka.connect.storage.StringConverter",
            ),
            _ => {}
        }
    }

    /// Of tables and schemas, and keys by patterns.
    fn filters(&mut self) {
        match self.random.below(12) {
            0 => self.set("table.exclude.list", "INV[.]t0, inv[.](?!t)[^z]{3,}.*,"),
            1 => self.set("table.include.list", "[a-z]+[.]t[0-9], public.zz(marks)?"),
            2 => self.set("schema.include.list", "i.{2},Public"),
            3 => self.set("schema.exclude.list", "in,v,nosuch"),
            _ => {}
        }
        let keys = |(name, _): &(String, String)| name == "message.key.columns";
        if self.random.chance(12) && !self.case.properties.iter().any(keys) {
            let keys = self.random.pick(&[
                "(.*)[.]T[0-2]:I[d]",
                " inv.(t.*): ID, x ; x.y:z",
                "inv[.]t.* :id",
            ]);
            self.set("message.key.columns", keys);
        }
    }

    /// Converters; whether they are Avro's.
    fn converters(&mut self) -> bool {
        let avro = self.random.chance(50);
        let text = !avro && self.random.chance(15);
        for part in ["key", "value"] {
            let prefix = format!("{part}.converter");
            if text && self.random.chance(60) {
                self.text = true;
                self.set(&prefix, "org.apache.kafka.connect.storage.StringConverter");
            } else if avro {
                self.set(&prefix, "io.confluent.connect.avro.AvroConverter");
                if self.random.chance(10) {
                    self.set(&format!("{prefix}.connect.meta.data"), "false");
                }
            } else {
                self.set(&prefix, "org.apache.kafka.connect.json.JsonConverter");
                self.maybe(60, &format!("{prefix}.schemas.enable"), &["true", "false"]);
                self.maybe(
                    30,
                    &format!("{prefix}.decimal.format"),
                    &["NUMERIC", "BASE64"],
                );
                self.maybe(
                    20,
                    &format!("{prefix}.replace.null.with.default"),
                    &["false"],
                );
            }
        }
        avro
    }

    /// Filters and masks of columns: by number, in whichever tables have it.
    fn columns(&mut self) {
        let columns = [
            "inv[.].*[.]c1",
            "inv[.].*[.]c2",
            "inv[.]t.*[.]c3",
            ".*[.]c[45]",
        ];
        // docs/differences.md, "Values": a key's column that is left out.
        let key_columns = self.tables.iter().flat_map(|table| table.columns.iter());
        let key_columns: Vec<_> = key_columns
            .filter(|column| column.key && column.name != "id")
            .map(|column| &*column.name)
            .collect();
        if key_columns.is_empty() {
            self.maybe(25, "column.exclude.list", &columns);
            if self.random.chance(15)
                && !self
                    .case
                    .properties
                    .iter()
                    .any(|(name, _)| name.starts_with("column."))
            {
                self.set("column.include.list", ".*[.]id,.*[.]c[0-4],.*mark");
            }
        }
        self.maybe(15, "column.mask.with.5.chars", &columns);
        self.maybe(10, "column.mask.with.0.chars", &columns);
        self.maybe(15, "column.truncate.to.3.chars", &columns);
        self.maybe(
            10,
            "column.mask.hash.SHA-256.with.salt.CzQMA0cB5K",
            &columns,
        );
        self.maybe(10, "column.mask.hash.v2.MD5.with.salt.x1", &columns);
        self.maybe(10, "column.mask.hash.SHA-1.with.salt.ß", &columns);
        self.maybe(5, "column.mask.hash.v2.SHA-512.with.salt.x1", &columns);
        // docs/differences.md, "Values": a type's name in the snapshot.
        let named_twice = |sql: &str| sql.starts_with("inv.") || sql == "numeric";
        let mut columns = self.tables.iter().flat_map(|table| table.columns.iter());
        if self.case.exact || !columns.any(|column| named_twice(column.sql)) {
            self.maybe(
                25,
                "column.propagate.source.type",
                &[".*", "inv[.].*[.]c1", "inv[.]t.*"],
            );
            self.maybe(
                15,
                "datatype.propagate.source.type",
                &[".*[.]numeric", ".*[.]VARCHAR", ".*"],
            );
        }
        if self.random.chance(15) {
            let table = self.random.below(self.tables.len());
            let place = &self.tables[table];
            let name = place.name.replace('"', "");
            let column = &place.columns[self.random.below(place.columns.len())];
            // A number without a form ends the task in a key.
            let numeric = column.sql.starts_with("numeric");
            let column = column.name.clone();
            if column != "id"
                && !numeric
                && name
                    .chars()
                    .chain(column.chars())
                    .all(|c| c.is_ascii_alphanumeric() || "._".contains(c))
            {
                self.set(
                    "message.key.columns",
                    &format!("{}:id,{column}", name.replace('.', "[.]")),
                );
            }
        }
    }

    /// What is copied of a table whose name needs no care.
    fn overrides(&mut self) {
        let table = self.random.below(self.tables.len());
        let table = &self.tables[table];
        let name = table.name.clone();
        if self.random.chance(85) || table.partitioned || name.contains('"') {
            return;
        }
        self.set("snapshot.select.statement.overrides", &name);
        let statement =
            self.random
                .pick(&["WHERE id % 2 = 0", "WHERE id < 3 ORDER BY id DESC", ""]);
        self.set(
            &format!("snapshot.select.statement.overrides.{name}"),
            &format!("SELECT * FROM {name} {statement}"),
        );
    }

    fn unwrap(&mut self) {
        self.set("transforms", "unwrap");
        self.set(
            "transforms.unwrap.type",
            "io.debezium.transforms.ExtractNewRecordState",
        );
        self.maybe(
            80,
            "transforms.unwrap.delete.tombstone.handling.mode",
            &[
                "tombstone",
                "drop",
                "rewrite",
                "rewrite-with-tombstone",
                "delete-to-tombstone",
            ],
        );
        self.set(
            "transforms.unwrap.add.fields",
            "op,table,lsn,source.snapshot",
        );
        // docs/differences.md, "Values": the tombstone behind a rewritten delete.
        let kept = |(_, value): &(String, String)| value == "rewrite-with-tombstone";
        if !self.case.properties.iter().any(kept) {
            self.maybe(
                50,
                "transforms.unwrap.add.headers",
                &["op", "db,op:operation"],
            );
        }
        self.maybe(30, "transforms.unwrap.add.fields.prefix", &["meta_"]);
    }
}
