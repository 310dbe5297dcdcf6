//! The offset file of Kafka Connect's standalone worker, `offset.storage.file.filename`.
//!
//! Java's serialised form of a `HashMap<byte[], byte[]>`; keys and values are the JSON that a
//! distributed worker keeps in its offsets topic. Debezium's embedded engine writes the same.
//!
//! ```text
//!   ac ed 00 05                                   magic, version 5
//!   73 72 0011 "java.util.HashMap" 0507dac1c31660d1 03 0002
//!   46 000a "loadFactor" 49 0009 "threshold" 78 70
//!   loadFactor f32 | threshold i32
//!   77 08 | capacity i32 | entries i32
//!   entries times a key and a value, each
//!     75 72 0002 "[B" acf317f8060854e0 02 0000 78 70 | length i32 | bytes      the first array
//!     75 71 handle i32                               | length i32 | bytes      those after it
//!     71 handle i32                                                            an array once more
//!     70                                                                       null
//!   78
//! ```
//!
//! Source: Java Object Serialization Specification, chapter 6; `java.util.HashMap.writeObject`.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::{fmt, process};

/// Key and value of one stored position, as Connect serialised them; no value: removed.
pub type Entry<'b> = (&'b [u8], Option<&'b [u8]>);

/// The bytes are no such file: where, and what was expected there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// Byte of the file.
    pub at: usize,
    /// What should have been there.
    pub expected: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "not an offset file of Kafka Connect: {} expected at byte {}",
            self.expected, self.at
        )
    }
}

impl std::error::Error for Malformed {}

const HEADER: &[u8] = b"\xAC\xED\x00\x05\x73\x72\x00\x11java.util.HashMap\
    \x05\x07\xDA\xC1\xC3\x16\x60\xD1\x03\x00\x02\
    F\x00\x0AloadFactorI\x00\x09threshold\x78\x70";
const BYTE_ARRAY: &[u8] = b"\x72\x00\x02[B\xAC\xF3\x17\xF8\x06\x08\x54\xE0\x02\x00\x00\x78\x70";

const NULL: u8 = 0x70;
const REFERENCE: u8 = 0x71;
const ARRAY: u8 = 0x75;
const BLOCK_DATA: u8 = 0x77;
const END_BLOCK_DATA: u8 = 0x78;

/// The first number Java gives to what it writes; the map's class and the map take two.
const BASE_HANDLE: u32 = 0x007E_0000;
const FIRST_HANDLE: u32 = BASE_HANDLE + 2;

/// Reads every entry, in the file's order.
///
/// A key of null, which Connect skips too, is left out. An empty file is what Connect makes before
/// it first writes: no entry.
///
/// Errors: [`Malformed`], also when bytes follow the map.
pub fn parse(file: &[u8]) -> Result<Vec<Entry<'_>>, Malformed> {
    if file.is_empty() {
        return Ok(Vec::new());
    }
    let mut reader = Reader {
        file,
        at: 0,
        handles: Vec::new(),
    };
    reader.take_exactly(HEADER, "a serialised java.util.HashMap")?;
    reader.take(8, "load factor and threshold")?;
    reader.take_exactly(&[BLOCK_DATA, 8], "the map's capacity and size")?;
    reader.take(4, "the map's capacity")?;
    let count = reader.take_u32("the map's size")?;
    // Grows with the bytes that are there; `count` is only what they claim.
    let mut entries = Vec::new();
    for _ in 0..count {
        let key = reader.take_array()?;
        let value = reader.take_array()?;
        if let Some(key) = key {
            entries.push((key, value));
        }
    }
    reader.take_exactly(&[END_BLOCK_DATA], "the end of the map")?;
    if reader.at != file.len() {
        return Err(reader.expected("the end of the file"));
    }
    Ok(entries)
}

/// Appends a file of these entries, as Java would write it.
pub fn encode(entries: &[Entry<'_>], file: &mut Vec<u8>) {
    let size = u32::try_from(entries.len()).unwrap_or(u32::MAX);
    // HashMap keeps a power of two of which at most three quarters are used.
    let capacity = (size.saturating_mul(4) / 3 + 1).next_power_of_two().max(16);
    file.extend_from_slice(HEADER);
    file.extend_from_slice(&0.75_f32.to_be_bytes());
    file.extend_from_slice(&(capacity / 4 * 3).to_be_bytes());
    file.extend_from_slice(&[BLOCK_DATA, 8]);
    file.extend_from_slice(&capacity.to_be_bytes());
    file.extend_from_slice(&size.to_be_bytes());
    let mut class_written = false;
    for &(key, value) in entries {
        for array in [Some(key), value] {
            let Some(array) = array else {
                file.push(NULL);
                continue;
            };
            file.push(ARRAY);
            if class_written {
                file.push(REFERENCE);
                file.extend_from_slice(&FIRST_HANDLE.to_be_bytes());
            } else {
                file.extend_from_slice(BYTE_ARRAY);
                class_written = true;
            }
            file.extend_from_slice(&u32::try_from(array.len()).unwrap_or(u32::MAX).to_be_bytes());
            file.extend_from_slice(array);
        }
    }
    file.push(END_BLOCK_DATA);
}

/// The stored offset of a connector: the JSON text of its value, by the key
/// `["<connector>",{"server":"<topic prefix>"}]` however it is spaced.
///
/// `None` when the file has no such position, or says that it was removed.
#[must_use]
pub fn find<'b>(entries: &[Entry<'b>], connector: &str, topic_prefix: &str) -> Option<&'b [u8]> {
    let wanted = serde_json::json!([connector, { "server": topic_prefix }]);
    let is_wanted = |key: &[u8]| {
        serde_json::from_slice::<serde_json::Value>(key).is_ok_and(|key| key == wanted)
    };
    entries
        .iter()
        .rev()
        .find(|(key, _)| is_wanted(key))
        .and_then(|&(_, value)| value)
}

/// Whether [`store`] can write there: whatever forbids it is found before it matters.
///
/// Errors: what the system says.
pub fn check(path: &Path) -> io::Result<()> {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let beside = beside(path);
    File::create(&beside)?;
    fs::remove_file(beside)
}

/// Puts a position in its place in the file; the others stay. Whoever reads the file meanwhile, or
/// after a crash, has all of it as it was or as it is.
///
/// Errors: the system's; [`Malformed`] where the file is none of Connect's.
pub fn store(path: &Path, key: &[u8], value: &[u8]) -> io::Result<()> {
    // The connectors of a process share the file.
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let before = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        before => before?,
    };
    let entries = parse(&before);
    let mut entries = entries.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    put(&mut entries, key, value);
    let mut after = Vec::with_capacity(before.len() + key.len() + value.len() + HEADER.len() + 64);
    encode(&entries, &mut after);
    let beside = beside(path);
    let mut file = File::create(&beside)?;
    if let Ok(old) = fs::metadata(path) {
        file.set_permissions(old.permissions())?;
    }
    file.write_all(&after)?;
    file.sync_all()?;
    fs::rename(beside, path)
}

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", process::id()));
    name.into()
}

/// In the place of every entry that has this key, however that is spaced, or behind all.
fn put<'b>(entries: &mut Vec<Entry<'b>>, key: &'b [u8], value: &'b [u8]) {
    let parsed = |key: &[u8]| serde_json::from_slice::<serde_json::Value>(key).ok();
    let wanted = parsed(key);
    let mut found = false;
    for (of, entry) in entries.iter_mut() {
        if *of == key || (wanted.is_some() && parsed(of) == wanted) {
            *entry = Some(value);
            found = true;
        }
    }
    if !found {
        entries.push((key, Some(value)));
    }
}

/// What a later reference may point at.
#[derive(Clone, Copy)]
enum Handle<'b> {
    /// The class of byte arrays.
    ByteArray,
    /// One of them.
    Array(&'b [u8]),
}

struct Reader<'b> {
    file: &'b [u8],
    at: usize,
    handles: Vec<Handle<'b>>,
}

impl<'b> Reader<'b> {
    fn expected(&self, expected: &'static str) -> Malformed {
        Malformed {
            at: self.at,
            expected,
        }
    }

    fn take(&mut self, length: usize, what: &'static str) -> Result<&'b [u8], Malformed> {
        let end = self.at.checked_add(length);
        let bytes = end.and_then(|end| self.file.get(self.at..end));
        let bytes = bytes.ok_or_else(|| self.expected(what))?;
        self.at += length;
        Ok(bytes)
    }

    fn take_exactly(&mut self, wanted: &[u8], what: &'static str) -> Result<(), Malformed> {
        let tail = self.file.get(self.at..).unwrap_or(&[]);
        if !tail.starts_with(wanted) {
            return Err(self.expected(what));
        }
        self.at += wanted.len();
        Ok(())
    }

    fn take_u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        self.take(1, what)
            .map(|byte| byte.first().copied().unwrap_or_default())
    }

    fn take_u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        let bytes = self.take(4, what)?;
        Ok(bytes
            .iter()
            .fold(0, |number, &byte| number << 8 | u32::from(byte)))
    }

    fn take_handle(&mut self, what: &'static str) -> Result<Handle<'b>, Malformed> {
        let at = self.at;
        let number = self.take_u32(what)?.checked_sub(FIRST_HANDLE);
        let index = number.and_then(|number| usize::try_from(number).ok());
        let handle = index.and_then(|index| self.handles.get(index)).copied();
        handle.ok_or(Malformed { at, expected: what })
    }

    fn take_array(&mut self) -> Result<Option<&'b [u8]>, Malformed> {
        let at = self.at;
        match self.take_u8("a byte array or null")? {
            NULL => Ok(None),
            REFERENCE => match self.take_handle("a byte array written before")? {
                Handle::Array(array) => Ok(Some(array)),
                Handle::ByteArray => Err(Malformed {
                    at,
                    expected: "a byte array or null",
                }),
            },
            ARRAY => {
                self.take_array_class()?;
                let length = self.take_u32("a length")?;
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let array = self.take(length, "as many bytes as the length says")?;
                self.handles.push(Handle::Array(array));
                Ok(Some(array))
            }
            _ => Err(Malformed {
                at,
                expected: "a byte array or null",
            }),
        }
    }

    fn take_array_class(&mut self) -> Result<(), Malformed> {
        let at = self.at;
        if self.file.get(at) == Some(&REFERENCE) {
            self.at += 1;
            match self.take_handle("the class of byte arrays")? {
                Handle::ByteArray => Ok(()),
                Handle::Array(_) => Err(Malformed {
                    at,
                    expected: "the class of byte arrays",
                }),
            }
        } else {
            self.take_exactly(BYTE_ARRAY, "the class of byte arrays")?;
            self.handles.push(Handle::ByteArray);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Java 17's, for `["c",{"server":"s"}]` and `{"lsn":1}`.
    const WRITTEN_BY_JAVA: &str = "aced0005737200116a6176612e7574696c2e486173684d61700507dac1c31660d1\
        03000246000a6c6f6164466163746f724900097468726573686f6c6478703f4000000000000c7708000000100000\
        0001757200025b42acf317f8060854e00200007870000000145b2263222c7b22736572766572223a2273227d5d75\
        71007e0002000000097b226c736e223a317d78";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<_> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
        digits
            .chunks(2)
            .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap())
            .collect()
    }

    #[test]
    fn what_java_wrote() {
        let file = bytes(WRITTEN_BY_JAVA);
        let entries = parse(&file).unwrap();
        assert_eq!(
            entries,
            [(&br#"["c",{"server":"s"}]"#[..], Some(&br#"{"lsn":1}"#[..]))]
        );
        assert_eq!(find(&entries, "c", "s"), Some(&br#"{"lsn":1}"#[..]));
        assert_eq!(find(&entries, "c", "t"), None);

        let mut again = Vec::new();
        encode(&entries, &mut again);
        assert_eq!(again, file);
    }

    #[test]
    fn a_position_is_put_in_its_place() {
        let directory = std::env::temp_dir().join(format!("penstock-file-{}", process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("offsets.dat");
        check(&path).unwrap();
        assert!(!path.exists());
        let read = |path: &Path| {
            let file = fs::read(path).unwrap();
            let entries = parse(&file).unwrap().into_iter();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            entries
                .map(|(key, value)| (text(key), value.map(text)))
                .collect::<Vec<_>>()
        };
        // Not there yet; then empty, as Connect makes it.
        store(&path, br#"["c",{"server":"s"}]"#, b"1").unwrap();
        fs::write(&path, b"").unwrap();
        store(&path, br#"["c",{"server":"s"}]"#, b"2").unwrap();
        let mut spaced = Vec::new();
        let others = (&br#"["d",{"server":"s"}]"#[..], None);
        encode(
            &[(br#"[ "c", {"server": "s"} ]"#, Some(b"3")), others],
            &mut spaced,
        );
        fs::write(&path, spaced).unwrap();
        store(&path, br#"["c",{"server":"s"}]"#, b"4").unwrap();
        store(&path, br#"["e",{"server":"s"}]"#, b"5").unwrap();
        let wanted = [
            (r#"[ "c", {"server": "s"} ]"#, Some("4")),
            (r#"["d",{"server":"s"}]"#, None),
            (r#"["e",{"server":"s"}]"#, Some("5")),
        ];
        let wanted = wanted.map(|(key, value)| (key.to_owned(), value.map(str::to_owned)));
        assert_eq!(read(&path), wanted);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        // What is none of Connect's stays as it is.
        fs::write(&path, b"something else").unwrap();
        store(&path, b"k", b"v").unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"something else");
        fs::remove_dir_all(&directory).unwrap();
        check(&path).unwrap_err();
    }

    #[test]
    fn every_cut_is_malformed() {
        let file = bytes(WRITTEN_BY_JAVA);
        for length in 1..file.len() {
            assert!(parse(&file[..length]).is_err(), "{length}");
        }
        assert_eq!(parse(&[]), Ok(Vec::new()));
        let mut longer = file.clone();
        longer.push(0);
        assert_eq!(parse(&longer).unwrap_err().at, file.len());
    }

    #[test]
    fn lengths_are_not_believed() {
        let mut file = bytes(WRITTEN_BY_JAVA);
        let size = HEADER.len() + 8 + 2 + 4;
        file[size..size + 4].copy_from_slice(&[0xFF; 4]);
        assert!(parse(&file).is_err());
        let mut file = bytes(WRITTEN_BY_JAVA);
        let length = size + 4 + 1 + BYTE_ARRAY.len();
        file[length..length + 4].copy_from_slice(&[0x7F, 0xFF, 0xFF, 0xFF]);
        assert_eq!(
            parse(&file).unwrap_err().expected,
            "as many bytes as the length says"
        );
    }

    #[test]
    fn an_array_written_twice_is_a_reference() {
        let mut file = Vec::new();
        encode(&[(b"k", Some(b"v"))], &mut file);
        file.truncate(file.len() - 1);
        let size = HEADER.len() + 8 + 2 + 4;
        file[size + 3] = 2;
        file.extend_from_slice(b"\x71\x00\x7E\x00\x04\x71\x00\x7E\x00\x03\x78");
        let entries = parse(&file).unwrap();
        assert_eq!(
            entries,
            [(&b"k"[..], Some(&b"v"[..])), (&b"v"[..], Some(&b"k"[..]))]
        );
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            entries in proptest::collection::vec(
                (any::<Vec<u8>>(), proptest::option::of(any::<Vec<u8>>())), 0..20)
        ) {
            let entries: Vec<Entry<'_>> =
                entries.iter().map(|(key, value)| (&key[..], value.as_deref())).collect();
            let mut file = Vec::new();
            encode(&entries, &mut file);
            prop_assert_eq!(parse(&file).unwrap(), entries);
        }
    }
}
