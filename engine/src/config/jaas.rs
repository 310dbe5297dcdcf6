//! `sasl.jaas.config`: one entry of Java's login configuration.
//!
//! ```text
//!   class flag (key "=" value)* ";"        values bare, or in double quotes with backslash escapes
//! ```

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

/// The login module's class and its options.
#[derive(PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) class: String,
    pub(super) options: BTreeMap<String, String>,
}

/// Parses `text`.
///
/// Errors: what is wrong, without any of the text: it holds a password.
pub(super) fn parse(text: &str) -> Result<Entry, &'static str> {
    let mut rest = text.chars().peekable();
    let class = take_word(&mut rest).ok_or("the login module's class is missing")?;
    let flag = take_word(&mut rest).ok_or("the flag `required` after the class is missing")?;
    if !["required", "requisite", "sufficient", "optional"]
        .iter()
        .any(|known| flag.eq_ignore_ascii_case(known))
    {
        return Err("after the class stands none of required, requisite, sufficient, optional");
    }
    let mut options = BTreeMap::new();
    loop {
        skip_blanks(&mut rest);
        match rest.peek() {
            None => return Err("the semicolon at the end is missing"),
            Some(';') => {
                rest.next();
                break;
            }
            Some(_) => {}
        }
        let key = take_word(&mut rest).ok_or("an option has no name")?;
        skip_blanks(&mut rest);
        if rest.next() != Some('=') {
            return Err("an option has no `=` (is a quote or the semicolon missing?)");
        }
        skip_blanks(&mut rest);
        let value = match rest.peek() {
            Some('"') => take_quoted(&mut rest).ok_or("a quote is not closed")?,
            _ => take_word(&mut rest).ok_or("an option has no value")?,
        };
        options.insert(key, value);
    }
    skip_blanks(&mut rest);
    match rest.next() {
        None => Ok(Entry { class, options }),
        Some(_) => Err("something stands after the semicolon"),
    }
}

fn skip_blanks(rest: &mut Peekable<Chars<'_>>) {
    while rest.next_if(|c| c.is_whitespace()).is_some() {}
}

fn take_word(rest: &mut Peekable<Chars<'_>>) -> Option<String> {
    skip_blanks(rest);
    let mut word = String::new();
    while let Some(c) = rest.next_if(|&c| !c.is_whitespace() && !matches!(c, '=' | ';' | '"')) {
        word.push(c);
    }
    (!word.is_empty()).then_some(word)
}

fn take_quoted(rest: &mut Peekable<Chars<'_>>) -> Option<String> {
    rest.next_if_eq(&'"')?;
    let mut value = String::new();
    loop {
        match rest.next()? {
            '"' => return Some(value),
            '\\' => value.push(rest.next()?),
            c => value.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_paste() {
        let entry = parse(
            "org.apache.kafka.common.security.plain.PlainLoginModule required \n \
             username=\"al\\\"ice\" password = \"se=c;ret\" a=b;",
        );
        let entry = entry.unwrap_or_else(|fault| panic!("{fault}"));
        assert!(entry.class.ends_with("PlainLoginModule"));
        assert_eq!(entry.options["username"], "al\"ice");
        assert_eq!(entry.options["password"], "se=c;ret");
        assert_eq!(entry.options["a"], "b");
    }

    #[test]
    fn what_they_forget() {
        for text in [
            "",
            "x.PlainLoginModule",
            "x.PlainLoginModule username=\"a\";",
            "x.PlainLoginModule required username=\"a\"",
            "x.PlainLoginModule required username=\"a;",
            "x.PlainLoginModule required username \"a\";",
            "x.PlainLoginModule required =\"a\";",
            "x.PlainLoginModule required a=b; c",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
