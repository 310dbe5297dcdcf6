//! Files from users, and one from Java.

use engine::config::{Inspection, Pattern, Properties, Severity};
use engine::progress::{offset_file, offsets};

/// Claims: what is read is written as ASCII, and reads back the same; a line that is added at the
/// end, after a line end and a comment, adds one property and changes no other.
pub fn properties(data: &[u8]) {
    let Ok(read) = Properties::parse(data) else {
        return;
    };
    let text = read.to_text();
    assert!(text.is_ascii());
    assert_eq!(Properties::parse(text.as_bytes()).as_ref(), Ok(&read));
    let mut longer = text.into_bytes();
    longer.extend_from_slice(b"\n#\\\nadded\\ name : its value");
    let mut expected = read;
    expected.insert("added name", "its value");
    assert_eq!(Properties::parse(&longer), Ok(expected));
}

/// Claims: a JSON object of what is read reads back the same.
pub fn connector(data: &[u8]) {
    let Ok(read) = Properties::parse_connector(data) else {
        return;
    };
    let object: serde_json::Map<_, _> = read
        .iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let text = serde_json::Value::Object(object).to_string();
    assert_eq!(Properties::parse_connector(text.as_bytes()), Ok(read));
}

/// Claims: what parses is written in no more bytes, which parse to the same; every cut of them is
/// malformed at or before the cut.
pub fn offsets(data: &[u8]) {
    let Ok(entries) = offset_file::parse(data) else {
        return;
    };
    let mut file = Vec::new();
    offset_file::encode(&entries, &mut file);
    assert_eq!(offset_file::parse(&file).as_ref(), Ok(&entries));
    for length in 1..file.len().min(300) {
        let error = offset_file::parse(&file[..length]).expect_err("a cut file");
        assert!(error.at <= length);
    }
    for (key, value) in &entries {
        if let Ok(serde_json::Value::Array(key)) = serde_json::from_slice(key)
            && let [serde_json::Value::String(connector), partition] = &key[..]
            && let Some(server) = partition["server"].as_str()
            && partition
                .as_object()
                .is_some_and(|members| members.len() == 1)
            && entries.len() == 1
        {
            assert_eq!(offset_file::find(&entries, connector, server), *value);
        }
    }
}

/// A pattern, a line end, a name. Claims: a list is allowed when each of its items is; a quoted
/// name matches itself in any case of its ASCII letters.
pub fn pattern(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let (pattern, name) = text.split_once('\n').unwrap_or((text, text));
    // Some expressions take long on long names, as Java's do.
    if name.len() > 64 || pattern.len() > 256 {
        return;
    }
    if let Ok(pattern) = Pattern::new(pattern) {
        assert_eq!(pattern.is_match(name), pattern.is_match(name));
    }
    if !pattern.contains([',', '\\']) {
        let item = pattern.trim();
        let list = Pattern::list(&format!("{item} , {item}"));
        assert_eq!(list.is_ok(), item.is_empty() || Pattern::new(item).is_ok());
    }
    if !name.contains("\\E") && !name.ends_with('\\') {
        let quoted = Pattern::new(&format!("\\Q{name}\\E")).expect("a quoted name");
        assert!(quoted.is_match(name));
        assert!(quoted.is_match(&name.to_ascii_uppercase()));
        assert!(!quoted.is_match(&format!("{name}x")));
    }
}

/// A worker's file, a zero byte, a connector's file. Claims: there is a configuration or a reason;
/// a password that stands nowhere else is in nothing that is printed; what is in force, written
/// as a file, means the same.
pub fn load(data: &[u8]) {
    let mut files = data.splitn(2, |byte| *byte == 0);
    let (Some(worker), Some(connector)) = (files.next(), files.next()) else {
        return;
    };
    let (Ok(worker), Ok(connector)) = (
        Properties::parse(worker),
        Properties::parse_connector(connector),
    ) else {
        return;
    };
    // Providers read files: not those that a fuzzer thinks of.
    if worker.get("config.providers").is_some() {
        return;
    }
    let inspection = Inspection::new(&worker, &connector);
    if let Err(problems) = &inspection.config {
        assert!(!problems.is_empty());
        assert!(problems.iter().all(|problem| !problem.message.is_empty()));
    }
    let notes = inspection.warnings.iter().map(|warning| warning.severity);
    assert!(notes.is_sorted());
    assert!(Severity::Warn < Severity::Note);
    if let Some(password) = connector.get("database.password") {
        let others = worker.iter().chain(connector.iter());
        let elsewhere = others.filter(|(name, value)| {
            name.contains(password) || (*name != "database.password" && value.contains(password))
        });
        let printed = format!("{inspection:?}");
        if password.len() > 9 && elsewhere.count() == 0 && !password.contains(['\\', '"']) {
            assert!(!printed.contains(password), "{printed}");
        }
    }
}

/// Claims: what is read of a position is written, and reads back the same, however far its copy
/// had come; and Kafka Connect takes it, which refuses members that have members.
pub fn positions(data: &[u8]) {
    // No number of a position has a sign.
    if data.contains(&b'-') {
        return;
    }
    let Ok(stored) = offsets::parse(data) else {
        return;
    };
    let copied = offsets::copied(data);
    let value = offsets::value(&stored, "", offsets::home(data), copied.as_ref());
    assert_eq!(offsets::parse(&value), Ok(stored));
    assert_eq!(offsets::copied(&value), copied);
    assert_eq!(offsets::home(&value), offsets::home(data));
    let members: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&value).expect("an object");
    for (name, member) in members {
        assert!(!member.is_object() && !member.is_array(), "{name}");
    }
}
