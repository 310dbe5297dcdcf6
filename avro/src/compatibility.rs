//! May a reader with one schema read what was written with another?
//!
//! Source: Apache Avro specification, "Schema Resolution"; the kinds and paths of what is found
//! are those of Avro's Java library, which registries report.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::schema::{Field, Named, NamedId, Schema, Shape, Type, View};

/// Pairs of types inside each other; what lies deeper counts as incompatible.
const DEPTH_MAX: usize = 500;

/// What a registry asks of a subject's next version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// Nothing.
    None,
    /// The new schema reads what the last one wrote. Registries' default.
    #[default]
    Backward,
    /// The new schema reads what any earlier one wrote.
    BackwardTransitive,
    /// The last schema reads what the new one writes.
    Forward,
    /// Every earlier schema reads what the new one writes.
    ForwardTransitive,
    /// Both ways, the last version.
    Full,
    /// Both ways, every version.
    FullTransitive,
}

impl Level {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Backward,
        Self::BackwardTransitive,
        Self::Forward,
        Self::ForwardTransitive,
        Self::Full,
        Self::FullTransitive,
    ];

    /// As registries write it: `BACKWARD_TRANSITIVE`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Backward => "BACKWARD",
            Self::BackwardTransitive => "BACKWARD_TRANSITIVE",
            Self::Forward => "FORWARD",
            Self::ForwardTransitive => "FORWARD_TRANSITIVE",
            Self::Full => "FULL",
            Self::FullTransitive => "FULL_TRANSITIVE",
        }
    }

    /// Whether the new schema must read the old ones.
    #[must_use]
    pub const fn is_backward(self) -> bool {
        matches!(
            self,
            Self::Backward | Self::BackwardTransitive | Self::Full | Self::FullTransitive
        )
    }

    /// Whether the old schemas must read the new one.
    #[must_use]
    pub const fn is_forward(self) -> bool {
        matches!(
            self,
            Self::Forward | Self::ForwardTransitive | Self::Full | Self::FullTransitive
        )
    }

    /// Whether all earlier versions count, not only the last.
    #[must_use]
    pub const fn is_transitive(self) -> bool {
        matches!(
            self,
            Self::BackwardTransitive | Self::ForwardTransitive | Self::FullTransitive
        )
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Level {
    type Err = ();

    /// Reads a level's name in any case.
    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .find(|level| level.as_str().eq_ignore_ascii_case(text))
            .ok_or(())
    }
}

/// One reason why a reader cannot read a writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incompatibility {
    /// What kind of reason.
    pub kind: Kind,
    /// Where in the reader's schema: `/fields/1/type`. As the Java library has it: lost inside
    /// unions, `/` for the whole.
    pub path: String,
    /// The same place by the names of fields, never lost: `after.email`; empty for the whole.
    pub field: String,
    /// The field, symbols, names or types at fault.
    pub detail: String,
    /// For a union branch that nothing matches: why the branch of the same kind does not; the
    /// Java library does not say. Paths go on from this one's.
    pub inner: Vec<Self>,
}

/// The kinds of [`Incompatibility`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Two named types of different names.
    NameMismatch,
    /// Two fixed of different sizes.
    FixedSizeMismatch,
    /// The writer's enum has symbols that the reader's has not, nor a default for them.
    MissingEnumSymbols,
    /// The reader has a field that the writer has not, and no default for it.
    ReaderFieldMissingDefaultValue,
    /// Two types that are not promoted into each other.
    TypeMismatch,
    /// A union without a branch for what the writer writes.
    MissingUnionBranch,
}

impl Kind {
    /// As registries write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NameMismatch => "NAME_MISMATCH",
            Self::FixedSizeMismatch => "FIXED_SIZE_MISMATCH",
            Self::MissingEnumSymbols => "MISSING_ENUM_SYMBOLS",
            Self::ReaderFieldMissingDefaultValue => "READER_FIELD_MISSING_DEFAULT_VALUE",
            Self::TypeMismatch => "TYPE_MISMATCH",
            Self::MissingUnionBranch => "MISSING_UNION_BRANCH",
        }
    }
}

impl Incompatibility {
    /// What is wrong at the bottom of it: inside the union, where there is one.
    #[must_use]
    pub fn reason(&self) -> &Self {
        self.inner.first().map_or(self, Self::reason)
    }
}

impl fmt::Display for Incompatibility {
    /// The [`Incompatibility::reason`], in words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            path,
            field,
            detail,
            ..
        } = self.reason();
        if field.is_empty() {
            write!(f, "at {path} ")?;
        } else {
            write!(f, "field {field} ")?;
        }
        match kind {
            Kind::NameMismatch => write!(f, "is of another name ({detail})"),
            Kind::FixedSizeMismatch => write!(f, "is of another size ({detail})"),
            Kind::MissingEnumSymbols => write!(f, "lacks the symbols {detail}"),
            Kind::ReaderFieldMissingDefaultValue => {
                f.write_str("is not in what was written, and has no default")
            }
            Kind::TypeMismatch | Kind::MissingUnionBranch => f.write_str(detail),
        }
    }
}

/// What keeps a reader of schema `reader` from what was written with `writer`; nothing when it
/// can read all of it.
#[must_use]
pub fn can_read(reader: &Schema, writer: &Schema) -> Vec<Incompatibility> {
    let mut check = Check {
        reader,
        writer,
        seen: BTreeSet::new(),
    };
    check.types(reader.root(), writer.root(), &Path::default(), DEPTH_MAX)
}

/// What keeps `new` from following `old` at `level`, old against new as the level asks. The
/// flag says whether `new` is the reader. Which versions are `old` is the caller's business.
#[must_use]
pub fn can_follow(level: Level, new: &Schema, old: &Schema) -> Vec<(bool, Incompatibility)> {
    let mut found = Vec::new();
    if level.is_backward() {
        found.extend(can_read(new, old).into_iter().map(|reason| (true, reason)));
    }
    if level.is_forward() {
        found.extend(can_read(old, new).into_iter().map(|reason| (false, reason)));
    }
    found
}

#[derive(Default)]
struct Path {
    pointer: String,
    field: String,
}

impl Path {
    fn join(&self, step: impl fmt::Display) -> Self {
        Self {
            pointer: format!("{}/{step}", self.pointer),
            field: self.field.clone(),
        }
    }

    fn enter(&self, index: usize, name: &str) -> Self {
        let dot = if self.field.is_empty() { "" } else { "." };
        Self {
            field: format!("{}{dot}{name}", self.field),
            ..self.join(index)
        }
    }

    fn found(&self, kind: Kind, detail: String) -> Incompatibility {
        let path = if self.pointer.is_empty() {
            "/".to_owned()
        } else {
            self.pointer.clone()
        };
        Incompatibility {
            kind,
            path,
            field: self.field.clone(),
            detail,
            inner: Vec::new(),
        }
    }
}

struct Check<'s> {
    reader: &'s Schema,
    writer: &'s Schema,
    /// Records compared or being compared: a recursive type is compatible until proved otherwise.
    seen: BTreeSet<(NamedId, NamedId)>,
}

impl<'s> Check<'s> {
    fn types(
        &mut self,
        reader: &'s Type,
        writer: &'s Type,
        path: &Path,
        depth: usize,
    ) -> Vec<Incompatibility> {
        let mismatch = |reader: View<'_>, writer: View<'_>| {
            let (reader, writer) = (kind_name(reader), kind_name(writer));
            let detail = format!("reader type: {reader} not compatible with writer type: {writer}");
            vec![path.found(Kind::TypeMismatch, detail)]
        };
        let (reader_view, writer_view) = (self.reader.resolve(reader), self.writer.resolve(writer));
        let Some(depth) = depth.checked_sub(1) else {
            return mismatch(reader_view, writer_view);
        };
        match (reader_view, writer_view) {
            (View::Null, View::Null)
            | (View::Boolean, View::Boolean)
            | (View::Int, View::Int)
            | (View::Long, View::Int | View::Long)
            | (View::Float, View::Int | View::Long | View::Float)
            | (View::Double, View::Int | View::Long | View::Float | View::Double)
            | (View::Bytes | View::String, View::Bytes | View::String) => Vec::new(),
            (View::Array(reader), View::Array(writer)) => {
                self.types(reader, writer, &path.join("items"), depth)
            }
            (View::Map(reader), View::Map(writer)) => {
                self.types(reader, writer, &path.join("values"), depth)
            }
            (View::Fixed(reader, size), View::Fixed(writer, wrote)) => {
                let mut found = Vec::from_iter(names(reader, writer, path));
                if size != wrote {
                    let detail = format!("expected: {wrote}, found: {size}");
                    found.push(path.join("size").found(Kind::FixedSizeMismatch, detail));
                }
                found
            }
            (View::Enum(reader, symbols), View::Enum(writer, written)) => {
                let mut found = Vec::from_iter(names(reader, writer, path));
                found.extend(missing_symbols(reader, symbols, written, path));
                found
            }
            (View::Record(reader_named, fields), View::Record(writer_named, written)) => {
                let mut found = Vec::from_iter(names(reader_named, writer_named, path));
                if let (Type::Named(reader), Type::Named(writer)) = (reader, writer)
                    && self.seen.insert((*reader, *writer))
                {
                    let inside = self.fields(fields, written, path, depth);
                    if !inside.is_empty() {
                        // The next use of the pair must find it again.
                        self.seen.remove(&(*reader, *writer));
                    }
                    found.extend(inside);
                }
                found
            }
            (View::Union(_), View::Union(written)) => {
                let branches = written.iter().enumerate();
                branches
                    .filter_map(|(index, branch)| {
                        self.branch(reader, branch, &path.join(index), depth)
                    })
                    .collect()
            }
            (_, View::Union(written)) => {
                // As Java does: the place is forgotten here.
                let root = Path {
                    field: path.field.clone(),
                    ..Path::default()
                };
                written
                    .iter()
                    .flat_map(|branch| self.types(reader, branch, &root, depth))
                    .collect()
            }
            (View::Union(_), _) => self
                .branch(reader, writer, path, depth)
                .into_iter()
                .collect(),
            (reader, writer) => mismatch(reader, writer),
        }
    }

    /// Whether some branch of the union `reader` reads `writer`, which is no union.
    fn branch(
        &mut self,
        reader: &'s Type,
        writer: &'s Type,
        path: &Path,
        depth: usize,
    ) -> Option<Incompatibility> {
        let View::Union(branches) = self.reader.resolve(reader) else {
            return None;
        };
        let wrote = kind_name(self.writer.resolve(writer));
        let mut inner = Vec::new();
        for branch in branches {
            let kind = kind_name(self.reader.resolve(branch));
            let found = self.types(branch, writer, path, depth);
            if found.is_empty() {
                return None;
            }
            if kind == wrote {
                inner = found;
            }
        }
        let detail = format!(
            "reader union lacking writer type: {}",
            wrote.to_ascii_uppercase()
        );
        Some(Incompatibility {
            inner,
            ..path.found(Kind::MissingUnionBranch, detail)
        })
    }

    fn fields(
        &mut self,
        reader: &'s [Field],
        writer: &'s [Field],
        path: &Path,
        depth: usize,
    ) -> Vec<Incompatibility> {
        let path = path.join("fields");
        let mut found = Vec::new();
        for (index, field) in reader.iter().enumerate() {
            let path = path.enter(index, &field.name);
            let by_name = |name: &String| writer.iter().find(|written| written.name == *name);
            match by_name(&field.name).or_else(|| field.aliases.iter().find_map(by_name)) {
                Some(written) => {
                    found.extend(self.types(&field.ty, &written.ty, &path.join("type"), depth));
                }
                None if field.default.is_some() => {}
                None => {
                    let kind = Kind::ReaderFieldMissingDefaultValue;
                    found.push(path.found(kind, field.name.clone()));
                }
            }
        }
        found
    }
}

/// Namespaces do not count; the reader's aliases do.
fn names(reader: &Named, writer: &Named, path: &Path) -> Option<Incompatibility> {
    let same = reader.name.simple == writer.name.simple || reader.aliases.contains(&writer.name);
    let expected = || format!("expected: {}", writer.name);
    (!same).then(|| path.join("name").found(Kind::NameMismatch, expected()))
}

fn missing_symbols(
    reader: &Named,
    symbols: &[String],
    written: &[String],
    path: &Path,
) -> Option<Incompatibility> {
    let missing: Vec<_> = written
        .iter()
        .filter(|symbol| !symbols.contains(symbol))
        .map(String::as_str)
        .collect();
    let has_default = matches!(
        reader.shape,
        Shape::Enum {
            default: Some(_),
            ..
        }
    );
    (!missing.is_empty() && !has_default).then(|| {
        let detail = format!("[{}]", missing.join(", "));
        path.join("symbols").found(Kind::MissingEnumSymbols, detail)
    })
}

fn kind_name(view: View<'_>) -> &'static str {
    match view {
        View::Null => "NULL",
        View::Boolean => "BOOLEAN",
        View::Int => "INT",
        View::Long => "LONG",
        View::Float => "FLOAT",
        View::Double => "DOUBLE",
        View::Bytes => "BYTES",
        View::String => "STRING",
        View::Array(_) => "ARRAY",
        View::Map(_) => "MAP",
        View::Union(_) => "UNION",
        View::Record(..) => "RECORD",
        View::Enum(..) => "ENUM",
        View::Fixed(..) => "FIXED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(fields: &str) -> Schema {
        let text = format!(r#"{{"type":"record","name":"R","namespace":"n","fields":[{fields}]}}"#);
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn shown(found: &[Incompatibility]) -> Vec<String> {
        found
            .iter()
            .map(|found| format!("{} {}", found.kind.as_str(), found.path))
            .collect()
    }

    /// Each case as Confluent's code judged it: old, new, then what keeps the new from reading
    /// the old, and the old from reading the new.
    #[test]
    fn verdicts() {
        let a = r#"{"name":"a","type":"int"}"#;
        let with = |more: &str| record(&format!("{a},{more}"));
        let of = |ty: &str| record(&format!(r#"{{"name":"a","type":{ty}}}"#));
        let text = |text: &str| text.parse::<Schema>().unwrap();
        let missing = "READER_FIELD_MISSING_DEFAULT_VALUE /fields/1";
        let cases = [
            (record(a), with(r#"{"name":"b","type":"int"}"#), missing, ""),
            (
                record(a),
                with(r#"{"name":"b","type":["null","int"]}"#),
                missing,
                "",
            ),
            (
                record(a),
                with(r#"{"name":"b","type":["null","int"],"default":null}"#),
                "",
                "",
            ),
            (with(r#"{"name":"b","type":"int"}"#), record(a), "", missing),
            (
                of(r#""int""#),
                of(r#""long""#),
                "",
                "TYPE_MISMATCH /fields/0/type",
            ),
            (
                of(r#""int""#),
                of(r#""double""#),
                "",
                "TYPE_MISMATCH /fields/0/type",
            ),
            (of(r#""string""#), of(r#""bytes""#), "", ""),
            (
                of(r#""int""#),
                of(r#""string""#),
                "TYPE_MISMATCH /fields/0/type",
                "TYPE_MISMATCH /fields/0/type",
            ),
            (
                of(r#"["null","int"]"#),
                of(r#""int""#),
                "TYPE_MISMATCH /",
                "",
            ),
            (
                of(r#""int""#),
                of(r#"["null","int"]"#),
                "",
                "TYPE_MISMATCH /",
            ),
            (
                of(r#"["null","int"]"#),
                of(r#"["null","long"]"#),
                "",
                "MISSING_UNION_BRANCH /fields/0/type/1",
            ),
            (
                text(r#"["null","int"]"#),
                text(r#"["null","int","string"]"#),
                "",
                "MISSING_UNION_BRANCH /2",
            ),
            (
                text(r#"{"type":"enum","name":"E","symbols":["A","B"]}"#),
                text(r#"{"type":"enum","name":"E","symbols":["A"]}"#),
                "MISSING_ENUM_SYMBOLS /symbols",
                "",
            ),
            (
                text(r#"{"type":"enum","name":"E","symbols":["A","B"]}"#),
                text(r#"{"type":"enum","name":"E","symbols":["A"],"default":"A"}"#),
                "",
                "",
            ),
            (
                text(r#"{"type":"fixed","name":"F","size":2}"#),
                text(r#"{"type":"fixed","name":"F","size":4}"#),
                "FIXED_SIZE_MISMATCH /size",
                "FIXED_SIZE_MISMATCH /size",
            ),
            (
                text(r#"{"type":"record","name":"n.R","fields":[]}"#),
                text(r#"{"type":"record","name":"m.R","fields":[]}"#),
                "",
                "",
            ),
            (
                text(r#"{"type":"record","name":"n.R","fields":[]}"#),
                text(r#"{"type":"record","name":"n.S","fields":[]}"#),
                "NAME_MISMATCH /name",
                "NAME_MISMATCH /name",
            ),
            (
                text(r#"{"type":"record","name":"n.R","fields":[]}"#),
                text(r#"{"type":"record","name":"n.S","aliases":["R"],"fields":[]}"#),
                "",
                "NAME_MISMATCH /name",
            ),
            (
                record(a),
                record(r#"{"name":"b","type":"int","aliases":["a"]}"#),
                "",
                "READER_FIELD_MISSING_DEFAULT_VALUE /fields/0",
            ),
            (
                text(r#"["null",{"type":"record","name":"n.R","fields":[]}]"#),
                text(r#"["null",{"type":"record","name":"n.S","fields":[]}]"#),
                "MISSING_UNION_BRANCH /1",
                "MISSING_UNION_BRANCH /1",
            ),
            (
                of(r#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}"#),
                of(r#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":3}"#),
                "",
                "",
            ),
        ];
        for (old, new, backward, forward) in cases {
            assert_eq!(
                shown(&can_read(&new, &old)).join(" "),
                backward,
                "{old} -> {new}"
            );
            assert_eq!(
                shown(&can_read(&old, &new)).join(" "),
                forward,
                "{old} -> {new}"
            );
        }
    }

    /// The shape of every change event: the row's record, in two unions.
    #[test]
    fn inside_an_envelope_the_column_is_named() {
        let envelope = |columns: &str| {
            record(&format!(
                r#"{{"name":"before","type":["null",{{"type":"record","name":"Value","fields":[{columns}]}}],"default":null}},{{"name":"after","type":["null","Value"],"default":null}}"#
            ))
        };
        let old = envelope(r#"{"name":"id","type":"int"}"#);
        let new = envelope(r#"{"name":"id","type":"int"},{"name":"email","type":"string"}"#);
        let found = can_read(&new, &old);
        assert_eq!(
            shown(&found),
            [
                "MISSING_UNION_BRANCH /fields/0/type/1",
                "MISSING_UNION_BRANCH /fields/1/type/1"
            ]
        );
        assert_eq!(found[0].detail, "reader union lacking writer type: RECORD");
        assert_eq!(
            found[0].to_string(),
            "field before.email is not in what was written, and has no default"
        );
        let wider = envelope(r#"{"name":"id","type":"long"}"#);
        assert!(can_read(&wider, &old).is_empty());
        assert_eq!(can_follow(Level::Full, &wider, &old).len(), 2);
        assert!(can_follow(Level::Backward, &wider, &old).is_empty());
    }

    #[test]
    fn recursion_ends() {
        let list = |ty: &str| {
            record(&format!(
                r#"{{"name":"v","type":{ty}}},{{"name":"next","type":["null","R"],"default":null}}"#
            ))
        };
        assert!(can_read(&list(r#""long""#), &list(r#""int""#)).is_empty());
        assert!(!can_read(&list(r#""int""#), &list(r#""long""#)).is_empty());
    }
}
