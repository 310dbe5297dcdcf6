//! Include and exclude lists: Java's regular expressions, anchored, in any case.
//!
//! The engine underneath knows Java's syntax but for a few spellings; [`translate`] respells these.
//! What it has no spelling for is an error that names it.

use std::fmt::Write as _;

/// A pattern of Java's regular expressions that must match a whole name, in any case.
#[derive(Debug, Clone)]
pub struct Pattern {
    source: String,
    regex: fancy_regex::Regex,
}

impl Pattern {
    /// Compiles `source` as Debezium does: case-insensitive, matched against the whole string.
    ///
    /// Errors: what is wrong with the expression.
    /// Source: Java SE API, `java.util.regex.Pattern`.
    pub fn new(source: &str) -> Result<Self, String> {
        Self::compile(source, "(?i)")
    }

    /// As [`Pattern::new`], but only in the case that is written: lists of Connect's own.
    ///
    /// Errors: what is wrong with the expression.
    pub fn case_sensitive(source: &str) -> Result<Self, String> {
        Self::compile(source, "")
    }

    fn compile(source: &str, flags: &str) -> Result<Self, String> {
        let translated = translate(source)?;
        // `translate` has seen to it that no parenthesis of the user's closes ours.
        let regex = fancy_regex::Regex::new(&format!("{flags}^(?:{translated})$"))
            .map_err(|error| format!("{}: {error}", quoted(source)))?;
        Ok(Self {
            source: source.to_owned(),
            regex,
        })
    }

    /// Compiles a list: split at commas that no backslash precedes, items trimmed, empty ones left
    /// out; `\,` is a comma within an expression.
    ///
    /// Errors: what is wrong with the first bad expression.
    pub fn list(text: &str) -> Result<Vec<Self>, String> {
        split_list(text)
            .iter()
            .map(|item| Self::new(item))
            .collect()
    }

    /// Whether the whole of `name` matches.
    ///
    /// An expression that backtracks without end on this name is taken not to match it.
    #[must_use]
    pub fn is_match(&self, name: &str) -> bool {
        self.regex.is_match(name).unwrap_or(false)
    }

    /// `name` rewritten where the whole of it matches: `$1`, `${group}` and `\$` in `replacement`
    /// as in Java's `Matcher.replaceAll`. `None` where it does not match.
    #[must_use]
    pub fn rewrite(&self, name: &str, replacement: &str) -> Option<String> {
        let groups = self.regex.captures(name).ok()??;
        let group_text =
            |group: Option<fancy_regex::Match<'_>>| group.map_or("", |g| g.as_str()).to_owned();
        let mut rewritten = String::new();
        let mut rest = replacement.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '\\' => rewritten.extend(rest.next()),
                '$' if rest.peek() == Some(&'{') => {
                    rest.next();
                    let group: String = rest.by_ref().take_while(|&c| c != '}').collect();
                    rewritten.push_str(&group_text(groups.name(&group)));
                }
                '$' => {
                    // As many digits as name a group that exists, at least one.
                    let mut number: Option<usize> = None;
                    while let Some(digit) = rest.peek().and_then(|c| c.to_digit(10)) {
                        let longer = number.unwrap_or(0).saturating_mul(10) + digit as usize;
                        if number.is_some() && longer >= groups.len() {
                            break;
                        }
                        number = Some(longer);
                        rest.next();
                    }
                    if let Some(number) = number {
                        rewritten.push_str(&group_text(groups.get(number)));
                    }
                }
                c => rewritten.push(c),
            }
        }
        Some(rewritten)
    }

    /// The expression as the user wrote it.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }
}

/// An include or an exclude list.
#[derive(Debug, Clone, Default)]
pub enum Filter {
    /// No list: everything.
    #[default]
    All,
    /// What any of these matches.
    Include(Vec<Pattern>),
    /// What none of these matches.
    Exclude(Vec<Pattern>),
}

impl Filter {
    /// Whether `name` passes.
    #[must_use]
    pub fn accepts(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Include(patterns) => patterns.iter().any(|pattern| pattern.is_match(name)),
            Self::Exclude(patterns) => !patterns.iter().any(|pattern| pattern.is_match(name)),
        }
    }
}

/// Which tables are captured.
#[derive(Debug, Clone)]
pub struct TableFilter {
    /// `schema.include.list`, `schema.exclude.list`
    pub schemas: Filter,
    /// `table.include.list`, `table.exclude.list`, on `schema.table`
    pub tables: Filter,
    /// `table.ignore.builtin`
    pub ignore_builtin: bool,
}

impl TableFilter {
    /// Whether the table is captured.
    #[must_use]
    pub fn accepts(&self, schema: &str, table: &str) -> bool {
        let builtin = schema == "pg_catalog"
            || schema == "information_schema"
            || schema.starts_with("pg_temp")
            || schema.starts_with("pg_toast")
            || table == "spatial_ref_sys";
        !(self.ignore_builtin && builtin)
            && self.schemas.accepts(schema)
            && self.tables.accepts(&format!("{schema}.{table}"))
    }
}

/// Splits a list of expressions; see [`Pattern::list`].
pub(super) fn split_list(text: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut previous = '\0';
    for c in text.chars() {
        match items.last_mut() {
            Some(item) if c != ',' => item.push(c),
            Some(item) if previous == '\\' => {
                item.pop();
                item.push(',');
            }
            _ => items.push(String::new()),
        }
        previous = c;
    }
    items
        .iter()
        .map(|item| item.trim().to_owned())
        .filter(|item| !item.is_empty())
        .collect()
}

fn quoted(source: &str) -> String {
    format!("'{source}'")
}

/// Java's spelling respelled for the engine, which reads Perl's with Unicode classes.
///
/// - `\d \w \s` are ASCII, `\h \v \R` are white space, `\Q…\E` quotes;
/// - `\uXXXX`, `\0nn`, `\cX` are characters;
/// - `\p{Alpha}` and its kin are ASCII classes, `\p{IsX}` is `\p{X}`;
/// - `a*+` is atomic;
/// - letters beyond ASCII match only in their own case, outside of classes.
fn translate(source: &str) -> Result<String, String> {
    let mut out = String::with_capacity(source.len() + 8);
    let mut rest = Cursor {
        chars: source.chars().collect(),
        at: 0,
    };
    let mut class_depth = 0_usize;
    // Where each open group starts in `out`, and where the last atom does.
    let mut groups: Vec<usize> = Vec::new();
    let mut atom = 0;
    while let Some(c) = rest.take() {
        let start = out.len();
        match c {
            '\\' => translate_escape(&mut rest, class_depth > 0, &mut out, source)?,
            '[' => {
                if class_depth == 0 {
                    atom = start;
                }
                class_depth += 1;
                out.push('[');
                if rest.take_if('^') {
                    out.push('^');
                }
                continue;
            }
            ']' if class_depth > 0 => {
                class_depth -= 1;
                out.push(']');
                continue;
            }
            // Operators of the engine's classes, characters of Java's.
            '~' if class_depth > 0 => out.push_str("\\~"),
            '-' if class_depth > 0 && rest.peek() == Some('-') => out.push_str("\\-"),
            _ if class_depth > 0 => out.push(c),
            '(' => {
                groups.push(start);
                out.push('(');
                continue;
            }
            ')' => {
                atom = groups
                    .pop()
                    .ok_or_else(|| format!("{}: an unmatched )", quoted(source)))?;
                out.push(')');
                continue;
            }
            '*' | '+' | '?' | '{' => {
                // `(?` opens a group's flags; there is nothing to repeat.
                if c == '?' && out.ends_with('(') {
                    out.push('?');
                    continue;
                }
                out.push(c);
                if c == '{' {
                    let mut bounds = String::new();
                    while let Some(inner) = rest.take() {
                        bounds.push(inner);
                        if inner == '}' {
                            break;
                        }
                    }
                    // The engine would take it for text.
                    if !is_bounds(&bounds) {
                        return Err(format!("{}: an illegal repetition", quoted(source)));
                    }
                    out.push_str(&bounds);
                }
                if rest.take_if('+') {
                    out.insert_str(atom, "(?>");
                    out.push(')');
                } else if rest.take_if('?') {
                    out.push('?');
                }
                continue;
            }
            _ if c.is_ascii() => out.push(c),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(out, "(?-i:{c})");
            }
        }
        if class_depth == 0 {
            atom = start;
        }
    }
    Ok(out)
}

/// `n}`, `n,}` or `n,m}`
fn is_bounds(text: &str) -> bool {
    let Some(bounds) = text.strip_suffix('}') else {
        return false;
    };
    let (low, high) = bounds.split_once(',').unwrap_or((bounds, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !low.is_empty() && is_number(low) && is_number(high)
}

fn translate_escape(
    rest: &mut Cursor,
    in_class: bool,
    out: &mut String,
    source: &str,
) -> Result<(), String> {
    let fault = |what: &str| format!("{}: {what}", quoted(source));
    let put_set = |out: &mut String, set: &str, negated: bool| match (in_class, negated) {
        (true, false) => out.push_str(set),
        (_, true) => out.extend(["[^", set, "]"]),
        (false, false) => out.extend(["[", set, "]"]),
    };
    let Some(c) = rest.take() else {
        return Err(fault("a lone \\ at the end"));
    };
    match c {
        'd' | 'D' => put_set(out, "0-9", c == 'D'),
        'w' | 'W' => put_set(out, "a-zA-Z0-9_", c == 'W'),
        's' | 'S' => put_set(out, r" \t\n\x0B\x0C\r", c == 'S'),
        'h' | 'H' => put_set(
            out,
            r" \t\x{A0}\x{1680}\x{180E}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}",
            c == 'H',
        ),
        'v' | 'V' => put_set(out, r"\n\x0B\x0C\r\x{85}\x{2028}\x{2029}", c == 'V'),
        'R' if !in_class => out.push_str(r"(?:\r\n|[\n\x0B\x0C\r\x{85}\x{2028}\x{2029}])"),
        'e' => out.push_str(r"\x1B"),
        'Q' => {
            while let Some(c) = rest.take() {
                if c == '\\' && rest.take_if('E') {
                    return Ok(());
                }
                put_literal(out, c);
            }
        }
        'E' => return Err(fault("\\E without \\Q")),
        'u' => {
            let digits: String = (0..4).filter_map(|_| rest.take()).collect();
            let number = u32::from_str_radix(&digits, 16)
                .ok()
                .filter(|_| digits.len() == 4);
            let c = number.and_then(char::from_u32);
            put_literal(
                out,
                c.ok_or_else(|| fault("\\u without four hexadecimal digits"))?,
            );
        }
        '0' => {
            let mut number = 0;
            let mut digits = 0;
            while digits < 3
                && let Some(digit) = rest.peek().and_then(|c| c.to_digit(8))
                && number * 8 + digit <= 0o377
            {
                number = number * 8 + digit;
                digits += 1;
                rest.take();
            }
            let c = char::from_u32(number).filter(|_| digits > 0);
            put_literal(out, c.ok_or_else(|| fault("\\0 without octal digits"))?);
        }
        'c' => {
            let c = rest
                .take()
                .filter(char::is_ascii)
                .map(|c| char::from(c as u8 ^ 64));
            put_literal(out, c.ok_or_else(|| fault("\\c without a character"))?);
        }
        'p' | 'P' => {
            let name: String = if rest.take_if('{') {
                let mut name = String::new();
                while let Some(c) = rest.take().filter(|&c| c != '}') {
                    name.push(c);
                }
                name
            } else {
                rest.take().into_iter().collect()
            };
            let posix = match name.as_str() {
                "Lower" => Some("a-z"),
                "Upper" => Some("A-Z"),
                "ASCII" => Some(r"\x00-\x7F"),
                "Alpha" => Some("a-zA-Z"),
                "Digit" => Some("0-9"),
                "Alnum" => Some("a-zA-Z0-9"),
                "Punct" => Some(r"!-/:-@\[-`{-\~"),
                "Graph" => Some(r"!-\~"),
                "Print" => Some(r" -\~"),
                "Blank" => Some(r" \t"),
                "Cntrl" => Some(r"\x00-\x1F\x7F"),
                "XDigit" => Some("0-9a-fA-F"),
                "Space" => Some(r" \t\n\x0B\x0C\r"),
                _ => None,
            };
            match posix {
                Some(set) => put_set(out, set, c == 'P'),
                None => {
                    let name = name.strip_prefix("Is").unwrap_or(&name);
                    let _ = write!(out, "\\{c}{{{name}}}");
                }
            }
        }
        'G' | 'X' | 'N' => return Err(fault(&format!("\\{c} is not supported"))),
        // A group's number or name, an anchor, a character by number, or a quoted character.
        _ if c.is_ascii_alphanumeric() => out.extend(['\\', c]),
        _ => put_literal(out, c),
    }
    Ok(())
}

fn put_literal(out: &mut String, c: char) {
    if c.is_ascii_alphanumeric() {
        out.push(c);
    } else if r"\.+*?()|[]{}^$#&-~".contains(c) {
        out.extend(['\\', c]);
    } else {
        // A backslash before other characters may have a meaning of its own.
        let _ = write!(out, "\\x{{{:X}}}", u32::from(c));
    }
}

struct Cursor {
    chars: Vec<char>,
    at: usize,
}

impl Cursor {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn take(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    fn take_if(&mut self, c: char) -> bool {
        let is = self.peek() == Some(c);
        self.at += usize::from(is);
        is
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(source: &str, name: &str) -> bool {
        Pattern::new(source).unwrap().is_match(name)
    }

    #[test]
    fn whole_names_in_any_case() {
        assert!(matches("store.customers", "store.customers"));
        assert!(matches("store.customers", "STORE.Customers"));
        // A dot that nobody escapes is any character.
        assert!(matches("store.customers", "store_customers"));
        assert!(!matches("store.customers", "store.customers2"));
        assert!(!matches("store.customers", "mystore.customers"));
        assert!(matches("a|b.c", "b.c"));
        assert!(!matches("a|b.c", "ab.c"));
        assert!(!matches("a", "a\n"));
        assert!(
            !matches("été", "ÉTÉ"),
            "Java ignores the case of ASCII letters only"
        );
    }

    #[test]
    fn the_spellings_of_java() {
        for (source, name, expected) in [
            (r"\Qa.b\E\.c", "a.b.c", true),
            (r"\Qa.b\E\.c", "axb.c", false),
            (r"\d+", "42", true),
            (r"\d+", "٤٢", false),
            (r"[\w-]+", "a-b_9", true),
            (r"\w", "é", false),
            (r"\h", "\u{A0}", true),
            (r"\h", "a", false),
            (r"\p{Alpha}\p{L}", "aé", true),
            (r"\p{IsLatin}", "é", true),
            (r"\P{Digit}", "1", false),
            (r"[\p{Punct}]", "~", true),
            (r"[a&&[^a]]", "a", false),
            (r"[a-z&&[^aeiou]]+", "xyz", true),
            (r"[~a--]+", "~-a", true),
            (r"\u0041\x42\0103\e", "ABC\x1B", true),
            (r"(?!tmp_).*", "tmp_a", false),
            (r"(?!tmp_).*", "a", true),
            (r".*(?<!_old)", "a_old", false),
            (r"(a|b)\1", "aa", true),
            (r"(?<x>a|b)\k<x>", "ab", false),
            (r"a*+a", "aaa", false),
            (r"(ab)++c", "ababc", true),
            (r"[ab]{1,2}+b", "ab", false),
            (r"a.*?b", "axxb", true),
            (r"a\-b\#", "a-b#", true),
            (r"(?i:A)b", "aB", true),
        ] {
            assert_eq!(matches(source, name), expected, "{source} on {name}");
        }
    }

    #[test]
    fn what_java_refuses() {
        for bad in [
            "(",
            "a)|(b",
            "*a",
            "[a",
            "\\",
            r"\u12",
            "a{",
            r"\p{Nonsense}",
            r"\X",
        ] {
            assert!(Pattern::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lists() {
        assert_eq!(split_list(r" a, b\,c ,,d{1\,2}"), ["a", "b,c", "d{1,2}"]);
        assert!(split_list(" , ").is_empty());
    }

    #[test]
    fn rewriting() {
        let pattern = Pattern::new(r"(.*)\.shard_\d+\.(?<table>.*)").unwrap();
        let rewrite = |replacement| pattern.rewrite("srv.shard_12.orders", replacement);
        assert_eq!(
            rewrite("$1.all.${table}").as_deref(),
            Some("srv.all.orders")
        );
        assert_eq!(rewrite(r"\$$10").as_deref(), Some("$srv0"));
        assert_eq!(pattern.rewrite("other", "$1"), None);
    }

    #[test]
    fn builtin_tables_are_ignored() {
        let filter = TableFilter {
            schemas: Filter::All,
            tables: Filter::All,
            ignore_builtin: true,
        };
        assert!(filter.accepts("store", "orders"));
        assert!(!filter.accepts("pg_catalog", "pg_class"));
        assert!(!filter.accepts("public", "spatial_ref_sys"));
    }

    proptest! {
        #[test]
        fn a_quoted_name_matches_itself(name in "[^\\\\,]{1,20}") {
            let pattern = Pattern::new(&format!("\\Q{name}\\E")).unwrap();
            prop_assert!(pattern.is_match(&name));
        }

        #[test]
        fn any_text_is_a_pattern_or_refused(text in any::<String>(), name in any::<String>()) {
            if let Ok(pattern) = Pattern::new(&text) {
                let _ = pattern.is_match(&name);
            }
        }
    }
}
