//! A datum of one schema, written as another says: what a reader of that other schema would have
//! made of it.
//!
//! For producers that must write in a schema that somebody else has registered: they have the row
//! in their own order, with their own defaults.
//!
//! Source: Apache Avro specification, "Schema Resolution".

use std::fmt;

use serde_json::Value;

use crate::datum::DEPTH_MAX;
use crate::error::{Fault, Malformed};
use crate::read::Reader;
use crate::schema::{Field, Named, Schema, Type, View};
use crate::write;

/// How data of a writer's schema become data of a reader's; made once, used for each datum.
#[derive(Debug, Clone)]
pub struct Resolution {
    writer: Schema,
    root: Step,
    /// What has no place in the reader's schema.
    misfits: Vec<String>,
}

/// A datum that the reader's schema has no place for, though it has one for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unresolved {
    /// In words: `null at after.note`.
    NoPlace(String),
    /// It is no datum of the writer's schema.
    Malformed(Malformed),
}

#[derive(Debug, Clone)]
enum Step {
    /// Both write it in the same way.
    Copy(Type),
    /// An int or a long becomes a float.
    ToFloat,
    /// An int or a long becomes a double.
    ToDouble,
    /// A float becomes a double.
    Widen,
    /// Symbols by their new index.
    Symbols(Box<[Result<u32, usize>]>),
    /// By the branch that the writer took.
    Branches(Box<[Self]>),
    /// Into a branch of the reader's union.
    Into(u32, Box<Self>),
    Array(Box<Self>),
    Map(Box<Self>),
    Record {
        /// The writer's fields.
        written: Box<[Type]>,
        /// The reader's, in its order.
        fields: Box<[Source]>,
    },
    /// Nothing takes it: see [`Resolution::misfits`].
    Misfit(usize),
}

/// Where a field of the reader's comes from.
#[derive(Debug, Clone)]
enum Source {
    /// The writer's field of this index.
    Written(usize, Step),
    /// Its default, encoded.
    Default(Box<[u8]>),
    Misfit(usize),
}

impl Resolution {
    /// How data of `writer` are written as `reader` says. Of what has no place there the datum
    /// that has it is refused; what is so for every datum,
    /// [`crate::compatibility::can_read`] tells.
    #[must_use]
    pub fn new(writer: &Schema, reader: &Schema) -> Self {
        let mut compile = Compile {
            writer,
            reader,
            misfits: Vec::new(),
        };
        let root = compile.types(writer.root(), reader.root(), "", DEPTH_MAX);
        Self {
            writer: writer.clone(),
            root,
            misfits: compile.misfits,
        }
    }

    /// Whether both write every datum in the same bytes.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        matches!(self.root, Step::Copy(_))
    }

    /// Whether every datum of the writer's has a place.
    #[must_use]
    pub fn is_total(&self) -> bool {
        self.misfits.is_empty()
    }

    /// Appends `datum` as the reader's schema has it. `spans` is scratch, left as it was.
    ///
    /// Errors: a value without a place; what is appended until then is of no use.
    pub fn put(
        &self,
        datum: &[u8],
        spans: &mut Vec<usize>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unresolved> {
        let mut run = Run {
            resolution: self,
            spans,
        };
        let mut reader = Reader::new(datum);
        run.step(&self.root, &mut reader, out)?;
        reader.finish().map_err(Unresolved::Malformed)
    }
}

struct Compile<'s> {
    writer: &'s Schema,
    reader: &'s Schema,
    misfits: Vec<String>,
}

impl Compile<'_> {
    fn misfit(&mut self, what: String) -> usize {
        self.misfits.push(what);
        self.misfits.len() - 1
    }

    fn types(&mut self, writer: &Type, reader: &Type, path: &str, depth: usize) -> Step {
        let (wrote, reads) = (self.writer.resolve(writer), self.reader.resolve(reader));
        let Some(depth) = depth.checked_sub(1) else {
            return Step::Misfit(self.misfit(format!("a type nested too deep at {path}")));
        };
        match (wrote, reads) {
            (View::Null, View::Null)
            | (View::Boolean, View::Boolean)
            | (View::Int, View::Int | View::Long)
            | (View::Long, View::Long)
            | (View::Float, View::Float)
            | (View::Double, View::Double)
            | (View::Bytes | View::String, View::Bytes | View::String) => {
                Step::Copy(writer.clone())
            }
            (View::Int | View::Long, View::Float) => Step::ToFloat,
            (View::Int | View::Long, View::Double) => Step::ToDouble,
            (View::Float, View::Double) => Step::Widen,
            (View::Fixed(writes, size), View::Fixed(reads, other))
                if size == other && same_name(writes, reads) =>
            {
                Step::Copy(writer.clone())
            }
            (View::Enum(writes, symbols), View::Enum(reads, others))
                if same_name(writes, reads) =>
            {
                self.symbols(writer, (symbols, others), path)
            }
            (View::Array(items), View::Array(others)) => {
                match self.types(items, others, path, depth) {
                    Step::Copy(_) => Step::Copy(writer.clone()),
                    step => Step::Array(Box::new(step)),
                }
            }
            (View::Map(values), View::Map(others)) => {
                match self.types(values, others, path, depth) {
                    Step::Copy(_) => Step::Copy(writer.clone()),
                    step => Step::Map(Box::new(step)),
                }
            }
            (View::Record(writes, fields), View::Record(reads, others))
                if same_name(writes, reads) =>
            {
                self.record(writer, (fields, others), path, depth)
            }
            (View::Union(branches), _) => {
                let steps: Vec<Step> = branches
                    .iter()
                    .map(|branch| self.types(branch, reader, path, depth))
                    .collect();
                let same = matches!(reads, View::Union(others) if others.len() == branches.len());
                let copies = steps.iter().enumerate().all(|(at, step)| {
                    matches!(step, Step::Into(to, step)
                        if *to as usize == at && matches!(**step, Step::Copy(_)))
                });
                match same && copies {
                    true => Step::Copy(writer.clone()),
                    false => Step::Branches(steps.into()),
                }
            }
            (_, View::Union(branches)) => self.union(writer, branches, path, depth),
            (wrote, _) => {
                let what = format!("{} at {}", described(wrote), place(path));
                Step::Misfit(self.misfit(what))
            }
        }
    }

    /// The branch of the same type, or of the same name; else the first that takes it.
    fn union(&mut self, writer: &Type, branches: &[Type], path: &str, depth: usize) -> Step {
        let wrote = self.writer.resolve(writer);
        let same = branches
            .iter()
            .position(|branch| match (wrote, self.reader.resolve(branch)) {
                (View::Record(writes, _), View::Record(reads, _))
                | (View::Enum(writes, _), View::Enum(reads, _))
                | (View::Fixed(writes, _), View::Fixed(reads, _)) => writes.name == reads.name,
                (wrote, reads) => std::mem::discriminant(&wrote) == std::mem::discriminant(&reads),
            });
        let order = same.into_iter().chain(0..branches.len());
        for at in order {
            let Some(branch) = branches.get(at) else {
                continue;
            };
            let known = self.misfits.len();
            let step = self.types(writer, branch, path, depth);
            if !matches!(step, Step::Misfit(_)) {
                let to = u32::try_from(at).unwrap_or(u32::MAX);
                return Step::Into(to, Box::new(step));
            }
            self.misfits.truncate(known);
        }
        let what = format!("{} at {}", described(wrote), place(path));
        Step::Misfit(self.misfit(what))
    }

    fn symbols(
        &mut self,
        writer: &Type,
        (symbols, others): (&[String], &[String]),
        path: &str,
    ) -> Step {
        let mut same = true;
        let mut map = Vec::with_capacity(symbols.len());
        for (at, symbol) in symbols.iter().enumerate() {
            let to = others.iter().position(|other| other == symbol);
            same &= to == Some(at);
            map.push(match to.and_then(|to| u32::try_from(to).ok()) {
                Some(to) => Ok(to),
                None => Err(self.misfit(format!("the symbol {symbol} at {}", place(path)))),
            });
        }
        match same {
            true => Step::Copy(writer.clone()),
            false => Step::Symbols(map.into()),
        }
    }

    fn record(
        &mut self,
        writer: &Type,
        (fields, others): (&[Field], &[Field]),
        path: &str,
        depth: usize,
    ) -> Step {
        let mut sources = Vec::with_capacity(others.len());
        for other in others {
            let named = |name: &String| fields.iter().position(|field| field.name == *name);
            let inner = match path.is_empty() {
                true => other.name.clone(),
                false => format!("{path}.{}", other.name),
            };
            let found = named(&other.name).or_else(|| other.aliases.iter().find_map(named));
            sources.push(match found.and_then(|at| Some((at, fields.get(at)?))) {
                Some((at, field)) => {
                    Source::Written(at, self.types(&field.ty, &other.ty, &inner, depth))
                }
                None => {
                    let mut bytes = Vec::new();
                    let default = other.default.as_ref();
                    match default
                        .and_then(|it| put_json(self.reader, &other.ty, it, &mut bytes, depth))
                    {
                        Some(()) => Source::Default(bytes.into()),
                        None => Source::Misfit(
                            self.misfit(format!("no value and no default for {}", place(&inner))),
                        ),
                    }
                }
            });
        }
        let copies = sources.iter().enumerate().all(
            |(index, source)| matches!(source, Source::Written(at, Step::Copy(_)) if *at == index),
        );
        match copies && sources.len() == fields.len() {
            true => Step::Copy(writer.clone()),
            false => Step::Record {
                written: fields.iter().map(|field| field.ty.clone()).collect(),
                fields: sources.into(),
            },
        }
    }
}

/// Namespaces do not count; the reader's aliases do.
fn same_name(writer: &Named, reader: &Named) -> bool {
    writer.name.simple == reader.name.simple || reader.aliases.contains(&writer.name)
}

fn place(path: &str) -> &str {
    match path.is_empty() {
        true => "the root",
        false => path,
    }
}

fn described(view: View<'_>) -> String {
    match view {
        View::Null => "null".to_owned(),
        View::Boolean => "a boolean".to_owned(),
        View::Int => "an int".to_owned(),
        View::Long => "a long".to_owned(),
        View::Float => "a float".to_owned(),
        View::Double => "a double".to_owned(),
        View::Bytes => "bytes".to_owned(),
        View::String => "a string".to_owned(),
        View::Array(_) => "an array".to_owned(),
        View::Map(_) => "a map".to_owned(),
        View::Union(_) => "a union".to_owned(),
        View::Record(named, _) => format!("the record {}", named.name),
        View::Enum(named, _) => format!("the enum {}", named.name),
        View::Fixed(named, _) => format!("the fixed {}", named.name),
    }
}

/// Appends a field's default. None: it is no value of the type.
fn put_json(
    schema: &Schema,
    ty: &Type,
    value: &Value,
    out: &mut Vec<u8>,
    depth: usize,
) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    let number = |value: &Value| match value.as_str() {
        Some("NaN") => Some(f64::NAN),
        Some("Infinity") => Some(f64::INFINITY),
        Some("-Infinity") => Some(f64::NEG_INFINITY),
        _ => value.as_f64(),
    };
    match schema.resolve(ty) {
        View::Null => value.is_null().then_some(())?,
        View::Boolean => write::put_bool(out, value.as_bool()?),
        View::Int => write::put_int(out, i32::try_from(value.as_i64()?).ok()?),
        View::Long => write::put_long(out, value.as_i64()?),
        #[allow(clippy::cast_possible_truncation, reason = "the schema says float")]
        View::Float => write::put_float(out, number(value)? as f32),
        View::Double => write::put_double(out, number(value)?),
        View::String => write::put_string(out, value.as_str()?),
        View::Bytes => write::put_bytes(out, &bytes_of(value)?),
        View::Fixed(_, size) => {
            let bytes = bytes_of(value)?;
            (bytes.len() == size).then_some(())?;
            write::put_fixed(out, &bytes);
        }
        View::Enum(_, symbols) => {
            let at = symbols
                .iter()
                .position(|it| Some(it.as_str()) == value.as_str())?;
            write::put_enum(out, u32::try_from(at).ok()?);
        }
        View::Array(items) => {
            let list = value.as_array()?;
            write::put_block_count(out, list.len());
            for item in list {
                put_json(schema, items, item, out, depth)?;
            }
            write::put_block_end(out);
        }
        View::Map(values) => {
            let map = value.as_object()?;
            write::put_block_count(out, map.len());
            for (key, value) in map {
                write::put_string(out, key);
                put_json(schema, values, value, out, depth)?;
            }
            write::put_block_end(out);
        }
        View::Union(branches) => {
            let mark = out.len();
            let found = branches.iter().zip(0..).any(|(branch, at)| {
                out.truncate(mark);
                write::put_branch(out, at);
                put_json(schema, branch, value, out, depth).is_some()
            });
            found.then_some(())?;
        }
        View::Record(_, fields) => {
            let object = value.as_object()?;
            for field in fields {
                let member = object.get(&field.name).or(field.default.as_ref())?;
                put_json(schema, &field.ty, member, out, depth)?;
            }
        }
    }
    Some(())
}

/// One character for each byte.
fn bytes_of(value: &Value) -> Option<Vec<u8>> {
    let letters = value.as_str()?.chars();
    letters
        .map(|letter| u8::try_from(u32::from(letter)).ok())
        .collect()
}

struct Run<'r, 's> {
    resolution: &'r Resolution,
    /// Where the fields of the records begin that are being read, the inmost last.
    spans: &'s mut Vec<usize>,
}

impl<'r> Run<'r, '_> {
    fn no_place(&self, misfit: usize) -> Unresolved {
        let misfits = &self.resolution.misfits;
        Unresolved::NoPlace(misfits.get(misfit).cloned().unwrap_or_default())
    }

    fn step(
        &mut self,
        step: &'r Step,
        reader: &mut Reader<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Unresolved> {
        match step {
            Step::Copy(ty) => {
                let before = reader.rest();
                self.skip(ty, reader, DEPTH_MAX)?;
                let taken = before.len() - reader.rest().len();
                out.extend_from_slice(before.get(..taken).unwrap_or_default());
            }
            #[allow(clippy::cast_precision_loss, reason = "Avro's promotion")]
            Step::ToFloat => write::put_float(out, reader.take_long()? as f32),
            #[allow(clippy::cast_precision_loss, reason = "Avro's promotion")]
            Step::ToDouble => write::put_double(out, reader.take_long()? as f64),
            Step::Widen => write::put_double(out, reader.take_float()?.into()),
            Step::Symbols(map) => {
                let symbol = reader.take_enum(map.len())?;
                match map.get(symbol as usize) {
                    Some(Ok(to)) => write::put_enum(out, *to),
                    Some(Err(misfit)) => return Err(self.no_place(*misfit)),
                    None => {}
                }
            }
            Step::Branches(steps) => {
                let branch = reader.take_branch(steps.len())?;
                if let Some(step) = steps.get(branch as usize) {
                    self.step(step, reader, out)?;
                }
            }
            Step::Into(branch, step) => {
                write::put_branch(out, *branch);
                self.step(step, reader, out)?;
            }
            Step::Array(step) => {
                self.blocks(reader, out, |run, reader, out| run.step(step, reader, out))?
            }
            Step::Map(step) => self.blocks(reader, out, |run, reader, out| {
                write::put_bytes(out, reader.take_bytes()?);
                run.step(step, reader, out)
            })?,
            Step::Record { written, fields } => {
                let base = self.spans.len();
                let whole = reader.clone();
                for ty in written {
                    self.spans.push(reader.at() - whole.at());
                    self.skip(ty, reader, DEPTH_MAX)?;
                }
                for field in fields {
                    match field {
                        Source::Written(at, step) => {
                            let from = self.spans.get(base + at).copied().unwrap_or_default();
                            let rest = whole.rest().get(from..).unwrap_or_default();
                            self.step(step, &mut Reader::new(rest), out)?;
                        }
                        Source::Default(bytes) => out.extend_from_slice(bytes),
                        Source::Misfit(misfit) => return Err(self.no_place(*misfit)),
                    }
                }
                self.spans.truncate(base);
            }
            Step::Misfit(misfit) => return Err(self.no_place(*misfit)),
        }
        Ok(())
    }

    fn blocks(
        &mut self,
        reader: &mut Reader<'_>,
        out: &mut Vec<u8>,
        mut item: impl FnMut(&mut Self, &mut Reader<'_>, &mut Vec<u8>) -> Result<(), Unresolved>,
    ) -> Result<(), Unresolved> {
        loop {
            let block = reader.take_block()?;
            let count = usize::try_from(block.count).unwrap_or(usize::MAX);
            if count == 0 {
                write::put_block_end(out);
                return Ok(());
            }
            write::put_block_count(out, count);
            for _ in 0..count {
                item(self, reader, out)?;
            }
        }
    }

    /// Passes over a value of a type of the writer's.
    fn skip(&self, ty: &Type, reader: &mut Reader<'_>, depth: usize) -> Result<(), Malformed> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(reader.malformed("value", Fault::TooDeep));
        };
        match self.resolution.writer.resolve(ty) {
            View::Null => {}
            View::Boolean => drop(reader.take_bool()?),
            View::Int | View::Long => drop(reader.take_long()?),
            View::Float => drop(reader.take_float()?),
            View::Double => drop(reader.take_double()?),
            View::Bytes | View::String => drop(reader.take_bytes()?),
            View::Fixed(_, size) => drop(reader.take_fixed(size)?),
            View::Enum(_, symbols) => drop(reader.take_enum(symbols.len())?),
            View::Union(branches) => {
                let branch = reader.take_branch(branches.len())?;
                if let Some(ty) = branches.get(branch as usize) {
                    self.skip(ty, reader, depth)?;
                }
            }
            View::Array(items) => loop {
                let block = reader.take_block()?;
                if block.count == 0 {
                    break;
                }
                for _ in 0..block.count {
                    self.skip(items, reader, depth)?;
                }
            },
            View::Map(values) => loop {
                let block = reader.take_block()?;
                if block.count == 0 {
                    break;
                }
                for _ in 0..block.count {
                    reader.take_bytes()?;
                    self.skip(values, reader, depth)?;
                }
            },
            View::Record(_, fields) => {
                for field in fields {
                    self.skip(&field.ty, reader, depth)?;
                }
            }
        }
        Ok(())
    }
}

impl From<Malformed> for Unresolved {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPlace(what) => write!(f, "the schema that is written has no place for {what}"),
            Self::Malformed(malformed) => malformed.fmt(f),
        }
    }
}

impl std::error::Error for Unresolved {}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(writer: &str, reader: &str, datum: &[u8]) -> Result<Vec<u8>, Unresolved> {
        let schema = |text: &str| {
            text.parse::<Schema>()
                .unwrap_or_else(|e| panic!("{text}: {e}"))
        };
        let resolution = Resolution::new(&schema(writer), &schema(reader));
        let (mut out, mut spans) = (Vec::new(), vec![7]);
        resolution.put(datum, &mut spans, &mut out)?;
        assert_eq!(spans, [7], "scratch is left as it was");
        Ok(out)
    }

    fn record(fields: &str) -> String {
        format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
    }

    #[test]
    fn a_datum_as_another_schema_has_it() {
        let pair = r#"{"name":"a","type":"int"},{"name":"b","type":["null","string"]}"#;
        let turned = r#"{"name":"b","type":["string","null"]},{"name":"a","type":"int"}"#;
        let wide = r#"{"name":"x","type":["null","int"],"default":null},{"name":"c","aliases":["a"],"type":"double"},{"name":"l","type":{"type":"array","items":"int"},"default":[1,2]}"#;
        for (writer, reader, datum, expected) in [
            (r#""int""#, r#""long""#, &b"\x04"[..], &b"\x04"[..]),
            (r#""int""#, r#"["null","long"]"#, b"\x04", b"\x02\x04"),
            (
                r#""float""#,
                r#""double""#,
                b"\0\0\0\0",
                b"\0\0\0\0\0\0\0\0",
            ),
            (&record(pair), &record(pair), b"\x04\x00", b"\x04\x00"),
            (&record(pair), &record(turned), b"\x04\x00", b"\x02\x04"),
            (
                &record(pair),
                &record(turned),
                b"\x04\x02\x02z",
                b"\x00\x02z\x04",
            ),
            (
                &record(pair),
                &record(wide),
                b"\x04\x00",
                b"\0\0\0\0\0\0\0\0\x40\x04\x02\x04\0",
            ),
            (
                r#"{"type":"array","items":"int"}"#,
                r#"{"type":"array","items":["int","null"]}"#,
                b"\x04\x02\x06\0",
                b"\x04\0\x02\0\x06\0",
            ),
            (
                r#"{"type":"map","values":["null","string"]}"#,
                r#"{"type":"map","values":["string","null"]}"#,
                b"\x02\x02k\0\0",
                b"\x02\x02k\x02\0",
            ),
            (
                r#"{"type":"enum","name":"E","symbols":["A","B"]}"#,
                r#"{"type":"enum","name":"E","symbols":["B","A"]}"#,
                b"\x02",
                b"\x00",
            ),
        ] {
            assert_eq!(
                written(writer, reader, datum).as_deref(),
                Ok(expected),
                "{writer} {reader}"
            );
        }
    }

    #[test]
    fn what_has_no_place_is_named() {
        let ours = record(r#"{"name":"a","type":["null","int"]}"#);
        let theirs = record(r#"{"name":"a","type":"int"},{"name":"n","type":"int","default":5}"#);
        assert_eq!(
            written(&ours, &theirs, b"\x02\x04").as_deref(),
            Ok(&b"\x04\x0a"[..])
        );
        let error = written(&ours, &theirs, b"\x00").expect_err("a null");
        assert!(
            error.to_string().ends_with("no place for null at a"),
            "{error}"
        );
        let needed = record(r#"{"name":"b","type":"int"}"#);
        let error = written(&ours, &needed, b"\x00").expect_err("no default");
        assert!(error.to_string().contains("no default for b"), "{error}");
        let cut = written(&ours, &ours, b"\x02").expect_err("cut");
        assert!(matches!(cut, Unresolved::Malformed(_)));
    }
}
