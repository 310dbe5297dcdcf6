//! `.properties` text as `java.util.Properties` reads it, connector files as Kafka Connect does.
//!
//! Java reads these files as ISO-8859-1, so that a password with an `é` typed into an editor of
//! today arrives there as two wrong characters. We read a file that is valid UTF-8 as UTF-8 and any
//! other as ISO-8859-1: a file that Java reads right (ASCII, or ISO-8859-1 with a byte that UTF-8
//! forbids) reads the same here. A byte order mark at the start is skipped.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// Names and values of one file, sorted by name.
///
/// Printed with `{:?}` it shows names only, since values may be secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties {
    entries: BTreeMap<String, String>,
}

/// Why a file is not a list of properties.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Malformed {
    /// A `\u` without four hexadecimal digits; the line it is on, from 1.
    Escape {
        /// Natural line, from 1.
        line: usize,
    },
    /// A file that starts with `{` and is no JSON object of scalars; what is wrong.
    Json(String),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Escape { line } => write!(
                f,
                "line {line}: malformed \\uxxxx encoding: \\u must be followed by four hexadecimal \
                 digits (write \\\\u for a backslash and a u)"
            ),
            Self::Json(fault) => write!(f, "{fault}"),
        }
    }
}

impl std::error::Error for Malformed {}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.entries.keys()).finish()
    }
}

impl Properties {
    /// No property.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a worker's file: `.properties` text.
    ///
    /// Errors: [`Malformed::Escape`].
    /// Source: Java SE API, `java.util.Properties.load(Reader)`.
    pub fn parse(file: &[u8]) -> Result<Self, Malformed> {
        Self::parse_text(&text(file))
    }

    /// Reads a connector's file: a flat JSON object, `{"name": …, "config": {…}}` as it is posted
    /// to Connect's REST API, or `.properties` text.
    ///
    /// Text that starts with `{` is JSON or an error; Connect would go on to read it as properties,
    /// and complain about a missing `name` instead of the missing comma.
    ///
    /// Errors: [`Malformed`].
    /// Source: Kafka, `ConnectStandalone.parseConnectorConfigurationFile`.
    pub fn parse_connector(file: &[u8]) -> Result<Self, Malformed> {
        let text = text(file);
        if text.trim_start().starts_with('{') {
            Self::parse_json(&text)
        } else {
            Self::parse_text(&text)
        }
    }

    /// The value of `name`, as written.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.entries.get(name).map(String::as_str)
    }

    /// Sets `name`; the value it had.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<String>) -> Option<String> {
        self.entries.insert(name.into(), value.into())
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether there is no property.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// `.properties` text, one line each, that [`Properties::parse`] and Java read back the same:
    /// everything beyond printable ASCII is a `\u` escape.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.iter() {
            put_escaped(&mut text, name, true);
            text.push('=');
            put_escaped(&mut text, value, false);
            text.push('\n');
        }
        text
    }

    fn parse_text(text: &str) -> Result<Self, Malformed> {
        let mut entries = BTreeMap::new();
        let mut lines = Lines {
            rest: text,
            line: 0,
        };
        while let Some((first_line, logical)) = lines.next_logical() {
            let (name, value) = split_entry(&logical);
            let name = unescape(name, first_line)?;
            entries.insert(name, unescape(value, first_line)?);
        }
        Ok(Self { entries })
    }

    fn parse_json(text: &str) -> Result<Self, Malformed> {
        let fault = |fault: String| Malformed::Json(fault);
        let whole: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text)
            .map_err(|error| fault(format!("not a JSON object: {error}")))?;
        if let Some(config) = whole.get("config").and_then(serde_json::Value::as_object) {
            let mut properties = Self::from_json(config).map_err(fault)?;
            let Some(name) = whole.get("name").and_then(serde_json::Value::as_str) else {
                return Err(fault(
                    "\"config\" stands without a \"name\" beside it".to_owned(),
                ));
            };
            if properties.get("name").is_some_and(|inner| inner != name) {
                return Err(fault(
                    "the names beside and inside of \"config\" differ".to_owned(),
                ));
            }
            properties.insert("name", name);
            Ok(properties)
        } else {
            Self::from_json(&whole).map_err(fault)
        }
    }

    /// Scalars become their text, as Connect's own JSON reader makes them; null is no property.
    fn from_json(object: &serde_json::Map<String, serde_json::Value>) -> Result<Self, String> {
        use serde_json::Value;
        let mut entries = BTreeMap::new();
        for (name, value) in object {
            let text = match value {
                Value::Null => continue,
                Value::String(text) => text.clone(),
                Value::Bool(_) | Value::Number(_) => value.to_string(),
                Value::Array(_) => return Err(format!("the value of \"{name}\" is an array")),
                Value::Object(_) => return Err(format!("the value of \"{name}\" is an object")),
            };
            entries.insert(name.clone(), text);
        }
        Ok(Self { entries })
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Properties {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let entries = pairs
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        Self { entries }
    }
}

fn text(file: &[u8]) -> String {
    let file = file.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(file);
    match std::str::from_utf8(file) {
        Ok(text) => text.to_owned(),
        Err(_) => file.iter().copied().map(char::from).collect(),
    }
}

/// White space in the grammar: not what Unicode calls so.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0C')
}

/// Natural lines joined to logical ones.
struct Lines<'t> {
    rest: &'t str,
    /// Of the last natural line taken, from 1.
    line: usize,
}

impl<'t> Lines<'t> {
    fn next_natural(&mut self) -> Option<&'t str> {
        if self.rest.is_empty() {
            return None;
        }
        self.line += 1;
        let Some(end) = self.rest.find(['\n', '\r']) else {
            return Some(std::mem::take(&mut self.rest));
        };
        let (line, tail) = self.rest.split_at(end);
        self.rest = tail
            .strip_prefix("\r\n")
            .or_else(|| tail.get(1..))
            .unwrap_or("");
        Some(line)
    }

    /// The next line with something on it, continuations joined; where it starts.
    fn next_logical(&mut self) -> Option<(usize, String)> {
        loop {
            let line = self.next_natural()?.trim_start_matches(is_blank);
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            let first_line = self.line;
            let mut logical = line.to_owned();
            while ends_in_continuation(&logical) {
                logical.pop();
                let Some(next) = self.next_natural() else {
                    break;
                };
                logical.push_str(next.trim_start_matches(is_blank));
            }
            // A backslash alone on a line, and nothing after it: no property, not one without name.
            if logical.is_empty() {
                continue;
            }
            return Some((first_line, logical));
        }
    }
}

fn ends_in_continuation(line: &str) -> bool {
    line.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 1
}

/// Splits a logical line at its separator, both sides still escaped.
fn split_entry(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line
        .char_indices()
        .find(|&(_, c)| {
            if escaped {
                escaped = false;
                return false;
            }
            escaped = c == '\\';
            matches!(c, '=' | ':') || is_blank(c)
        })
        .map_or(line.len(), |(at, _)| at);
    let (name, rest) = line.split_at(end);
    let rest = rest.trim_start_matches(is_blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (name, rest.trim_start_matches(is_blank))
}

fn unescape(text: &str, line: usize) -> Result<String, Malformed> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    // Java's characters are UTF-16 units: two escapes may be one character.
    let mut high: Option<u16> = None;
    while let Some(c) = rest.next() {
        let c = if c == '\\' {
            match rest.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\x0C',
                Some('u') => {
                    let unit = take_unit(&mut rest).ok_or(Malformed::Escape { line })?;
                    if let Some(first) = high.take() {
                        if let Some(Ok(pair)) = char::decode_utf16([first, unit]).next() {
                            plain.push(pair);
                            continue;
                        }
                        plain.push(char::REPLACEMENT_CHARACTER);
                    }
                    match char::from_u32(u32::from(unit)) {
                        Some(c) => c,
                        None if (0xD800..0xDC00).contains(&unit) => {
                            high = Some(unit);
                            continue;
                        }
                        None => char::REPLACEMENT_CHARACTER,
                    }
                }
                Some(other) => other,
                None => break,
            }
        } else {
            c
        };
        if high.take().is_some() {
            plain.push(char::REPLACEMENT_CHARACTER);
        }
        plain.push(c);
    }
    if high.is_some() {
        plain.push(char::REPLACEMENT_CHARACTER);
    }
    Ok(plain)
}

fn take_unit(rest: &mut std::str::Chars<'_>) -> Option<u16> {
    let digits = rest.as_str().get(..4)?;
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    *rest = rest.as_str().get(4..)?.chars();
    u16::from_str_radix(digits, 16).ok()
}

fn put_escaped(text: &mut String, plain: &str, is_name: bool) {
    let mut leading = true;
    for c in plain.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\x0C' => text.push_str("\\f"),
            ' ' if is_name || leading => text.push_str("\\ "),
            '=' | ':' | '#' | '!' => {
                text.push('\\');
                text.push(c);
            }
            ' '..='~' => text.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(text, "\\u{unit:04X}");
                }
            }
        }
        leading = leading && c == ' ';
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: &[(&str, &str)]) {
        let read = Properties::parse(text.as_bytes()).unwrap();
        let read: Vec<_> = read.iter().collect();
        assert_eq!(read, expected, "{text:?}");
    }

    /// What Java 17 makes of each line.
    #[test]
    fn as_java_reads_it() {
        check("a = b ", &[("a", "b ")]);
        check("a:b", &[("a", "b")]);
        check("a b", &[("a", "b")]);
        check("a\t=\tb", &[("a", "b")]);
        check("a==b", &[("a", "=b")]);
        check("a=:b", &[("a", ":b")]);
        check("a : = b", &[("a", "= b")]);
        check("a", &[("a", "")]);
        check("=b", &[("", "b")]);
        check("a=b#c", &[("a", "b#c")]);
        check("a=x\\\n   y", &[("a", "xy")]);
        check("a=x\\\\\ny=z", &[("a", "x\\"), ("y", "z")]);
        check("a=C:\\dir\\new", &[("a", "C:dir\new")]);
        check("a\\ b=c", &[("a b", "c")]);
        check("a\\=b=c", &[("a=b", "c")]);
        check("a\\:b:c", &[("a:b", "c")]);
        check("a=\\q", &[("a", "q")]);
        check("a=b\\", &[("a", "b")]);
        check("#x\\\na=b", &[("a", "b")]);
        check("a=\\  b", &[("a", "  b")]);
        check("a\\\n b=c", &[("ab", "c")]);
        check("a=1\na=2", &[("a", "2")]);
        check(
            "a=b\r\nc=d\re=f\n\n\r",
            &[("a", "b"), ("c", "d"), ("e", "f")],
        );
        check("  \t\x0C! no\n a=b\\\n#c", &[("a", "b#c")]);
        check("a=\"b\"", &[("a", "\"b\"")]);
        check("a=\\u00e9\\uD83D\\uDE00", &[("a", "é😀")]);
        check("\\\n", &[]);
        check("\\\n#a", &[("#a", "")]);
    }

    #[test]
    fn a_bad_escape_names_its_line() {
        for text in [
            "\n\na=\\u00g1",
            "\n\na=\\u00",
            "\n\na=\\uu0041",
            "#\n\nb\\\n=\\u123é",
        ] {
            let error = Properties::parse(text.as_bytes());
            assert_eq!(error, Err(Malformed::Escape { line: 3 }), "{text:?}");
        }
    }

    #[test]
    fn utf_8_else_iso_8859_1() {
        let utf_8 = Properties::parse("\u{FEFF}a=é".as_bytes()).unwrap();
        assert_eq!(utf_8.get("a"), Some("é"));
        let latin = Properties::parse(b"a=\xE9\xA0").unwrap();
        assert_eq!(latin.get("a"), Some("é\u{A0}"));
    }

    #[test]
    fn connector_files_in_json() {
        let flat = br#" {"name":"c","tasks.max":1,"tombstones.on.delete":false,"x":null}"#;
        let flat = Properties::parse_connector(flat).unwrap();
        let posted = br#"{"name":"c","config":{"tasks.max":"1","tombstones.on.delete":"false"}}"#;
        assert_eq!(flat, Properties::parse_connector(posted).unwrap());
        assert_eq!(flat.get("tasks.max"), Some("1"));
        assert_eq!(flat.get("x"), None);

        for bad in [
            r#"{"name":"c""#,
            r#"{"name":"c","tasks.max":[1]}"#,
            r#"{"name":"c","a":{}}"#,
            r#"{"config":{"a":"b"}}"#,
            r#"{"name":"c","config":{"name":"d"}}"#,
        ] {
            let error = Properties::parse_connector(bad.as_bytes()).unwrap_err();
            assert!(matches!(error, Malformed::Json(_)), "{bad}");
        }
        let text = Properties::parse_connector(b"name=c").unwrap();
        assert_eq!(text.get("name"), Some("c"));
    }

    #[test]
    fn values_are_not_printed() {
        let properties: Properties = [("database.password", "secret")].into_iter().collect();
        assert_eq!(format!("{properties:?}"), r#"{"database.password"}"#);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            entries in proptest::collection::btree_map(any::<String>(), any::<String>(), 0..8)
        ) {
            let properties = Properties { entries };
            let text = properties.to_text();
            prop_assert!(text.is_ascii());
            prop_assert_eq!(Properties::parse(text.as_bytes()).unwrap(), properties);
        }

        #[test]
        fn any_bytes_are_read_or_refused(file in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(read) = Properties::parse(&file) {
                prop_assert_eq!(Properties::parse(read.to_text().as_bytes()).unwrap(), read);
            }
        }
    }
}
