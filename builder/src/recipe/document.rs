//! A recipe's files as one tree: reads a file and what it extends, merges
//! them, and remembers for each value which bytes of which file it came from.
//! Knows TOML but not what a recipe may say.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use toml::de::{DeTable, DeValue};

use crate::diagnose::{Problem, SourceFile};

/// Nobody writes a recipe this long; a path given by mistake may be.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Keeps a runaway chain of fragments from exhausting the stack.
const MAX_DEPTH: usize = 16;

/// A place in one of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub file: usize,
    pub bytes: Range<usize>,
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub at: Place,
    pub value: Value,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
    Float,
    DateTime,
    List(Vec<Node>),
    Table(Table),
}

impl Value {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) => "a whole number",
            Self::Boolean(_) => "true or false",
            Self::Float => "a number with a fraction",
            Self::DateTime => "a date",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Table(pub BTreeMap<String, Entry>);

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub key: Place,
    pub node: Node,
}

/// The files read so far and what was wrong with them.
#[derive(Debug, Default)]
pub(super) struct Sources {
    files: Vec<SourceFile>,
    pub problems: Vec<Problem>,
    /// Somebody else's: what it names lies below its own folder.
    carried: bool,
}

impl Sources {
    /// For a recipe that was carried along with all that it names.
    pub fn carried() -> Self {
        Self { carried: true, ..Self::default() }
    }

    /// Reads `path` and everything it extends into one table: the extended
    /// files first and in order, so that the file itself has the last word.
    pub fn load(&mut self, path: &Path) -> Table {
        let mut merged = Table::default();
        self.load_into(&mut merged, path, None, 0);
        merged
    }

    /// The table of a text that was not read from `path`, without what it
    /// extends.
    pub fn single(&mut self, path: &Path, text: &str) -> Table {
        let file = self.files.len();
        self.files.push(SourceFile { path: path.to_owned(), text: text.to_owned() });
        let mut table = self.parse(file);
        table.0.remove("extends");
        table
    }

    fn load_into(&mut self, merged: &mut Table, path: &Path, asked: Option<&Place>, depth: usize) {
        if self.files.iter().any(|file| file.path == path) {
            // Reached on two ways: its lists must not be appended twice.
            return;
        }
        let text = match read(path) {
            Ok(text) => text,
            Err(why) => {
                self.problems.push(match asked {
                    Some(place) => self.problem(place, format!("{}: {why}", path.display())),
                    None => Problem::with_file(path, why),
                });
                return;
            }
        };
        let file = self.files.len();
        self.files.push(SourceFile { path: path.to_owned(), text });
        let mut table = self.parse(file);
        if depth < MAX_DEPTH {
            self.load_extended(merged, &mut table, path, depth);
        } else {
            self.problems.push(Problem::with_file(path, "fragments are nested too deeply"));
        }
        self.merge(merged, table);
    }

    fn load_extended(&mut self, merged: &mut Table, table: &mut Table, path: &Path, depth: usize) {
        let Some(entry) = table.0.remove("extends") else {
            return;
        };
        if self.carried {
            let message = "a recipe that was carried along is whole, and extends nothing";
            return self.report(&entry.node.at, message, None);
        }
        let Value::List(items) = entry.node.value else {
            let message = format!("`extends` must be a list, not {}", entry.node.value.kind());
            let problem = self.problem(&entry.node.at, message);
            self.problems.push(problem.hint("write extends = [\"fragments/base.toml\"]"));
            return;
        };
        for item in items {
            match &item.value {
                Value::Text(text) => {
                    self.load_into(merged, &beside(path, text), Some(&item.at), depth + 1);
                }
                other => {
                    let message = format!("a file to extend must be a text, not {}", other.kind());
                    self.report(&item.at, message, None);
                }
            }
        }
    }

    fn parse(&mut self, file: usize) -> Table {
        let source = &self.files[file];
        let (document, errors) = DeTable::parse_recoverable(&source.text);
        let problems: Vec<Problem> = errors
            .iter()
            .map(|error| source.problem(error.span().unwrap_or(0..0), error.message()))
            .collect();
        let table = convert_table(file, document.get_ref());
        self.problems.extend(problems);
        table
    }

    /// Tables merge, lists append, later scalars win.
    fn merge(&mut self, into: &mut Table, from: Table) {
        for (key, entry) in from.0 {
            let Some(before) = into.0.get_mut(&key) else {
                into.0.insert(key, entry);
                continue;
            };
            match (&mut before.node.value, entry.node.value) {
                (Value::Table(before), Value::Table(table)) => self.merge(before, table),
                (Value::List(before), Value::List(mut list)) => before.append(&mut list),
                (Value::Table(_) | Value::List(_), value) => {
                    let known = before.node.value.kind();
                    let message = format!("`{key}` is {} here", value.kind());
                    let hint = format!("it is {known} in what this file extends");
                    self.report(&entry.node.at, message, Some(&hint));
                }
                (_, value) => {
                    *before = Entry { key: entry.key, node: Node { at: entry.node.at, value } };
                }
            }
        }
    }

    /// A problem at `place`, not yet reported.
    pub fn problem(&self, place: &Place, message: impl Into<String>) -> Problem {
        self.files[place.file].problem(place.bytes.clone(), message)
    }

    /// Notes a problem at `place`.
    pub fn report(&mut self, place: &Place, message: impl Into<String>, hint: Option<&str>) {
        let mut problem = self.problem(place, message);
        if let Some(hint) = hint {
            problem = problem.hint(hint);
        }
        self.problems.push(problem);
    }

    /// Notes a problem with the recipe as a whole.
    pub fn report_file(&mut self, message: String, hint: &str) {
        let path = self.files.first().map_or(Path::new("recipe"), |file| &file.path);
        self.problems.push(Problem::with_file(path, message).hint(hint));
    }

    /// The text at `place`, as it was written.
    pub fn written(&self, place: &Place) -> &str {
        let text = self.files.get(place.file).map_or("", |file| &file.text);
        text.get(place.bytes.clone()).unwrap_or_default()
    }

    /// As [`Sources::resolve`], for what is read while a recipe is: somebody
    /// else's must not reach what lies outside of its own folder.
    pub fn resolve_own(&mut self, place: &Place, text: &str) -> Option<PathBuf> {
        let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        if self.carried && !Path::new(text).components().all(inside) {
            let hint = "what belongs to a recipe that was carried along lies beside it";
            self.report(place, format!("`{text}` leads out of the recipe's folder"), Some(hint));
            return None;
        }
        Some(self.resolve(place, text))
    }

    /// `text` as a path relative to the file it is written in.
    pub fn resolve(&self, place: &Place, text: &str) -> PathBuf {
        beside(&self.files[place.file].path, text)
    }
}

/// `text` relative to the folder of `file`, without `.` and, where that says
/// the same, without `..`: the same fragment must have one path.
fn beside(file: &Path, text: &str) -> PathBuf {
    let mut path = file.parent().unwrap_or(Path::new("")).to_owned();
    for component in Path::new(text).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(path.components().next_back(), Some(Component::Normal(_))) =>
            {
                path.pop();
            }
            other => path.push(other),
        }
    }
    path
}

/// The file's bytes; none if there are more than `most`. What a file says of its
/// length is not relied on: `/dev/zero` says 0.
pub(super) fn read_at_most(path: &Path, most: u64) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= most).then_some(bytes))
}

fn read(path: &Path) -> Result<String, String> {
    let bytes = read_at_most(path, MAX_FILE_BYTES);
    let bytes = bytes.map_err(|error| format!("cannot read it: {error}"))?;
    let bytes = bytes.ok_or_else(|| format!("longer than a recipe is ({MAX_FILE_BYTES} bytes)"))?;
    String::from_utf8(bytes).map_err(|_| "not UTF-8 text".to_owned())
}

fn convert_table(file: usize, table: &DeTable<'_>) -> Table {
    let entry = |key: &toml::Spanned<std::borrow::Cow<'_, str>>,
                 value: &toml::Spanned<DeValue<'_>>| {
        let place = Place { file, bytes: key.span() };
        let node = convert(file, value, &place);
        (key.get_ref().to_string(), Entry { key: place, node })
    };
    Table(table.iter().map(|(key, value)| entry(key, value)).collect())
}

fn convert(file: usize, spanned: &toml::Spanned<DeValue<'_>>, key: &Place) -> Node {
    let mut at = Place { file, bytes: spanned.span() };
    let value = match spanned.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        // Numbers past 64 bits are as wrong as those just too large.
        DeValue::Integer(number) => Value::Integer(
            i64::from_str_radix(&number.as_str().replace('_', ""), number.radix())
                .unwrap_or(i64::MAX),
        ),
        DeValue::Float(_) => Value::Float,
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Datetime(_) => Value::DateTime,
        DeValue::Array(list) => {
            Value::List(list.iter().map(|item| convert(file, item, key)).collect())
        }
        DeValue::Table(table) => Value::Table(convert_table(file, table)),
    };
    if at.bytes.is_empty() {
        // Tables made by dotted keys have no text of their own.
        at = key.clone();
    }
    Node { at, value }
}
