//! The index tables: for each name, file or digest of a header, the packages
//! that have it and at which place of its list (rpm's `tag2index`).

use std::io::{Seek, Write};

use super::rich;
use crate::header::{Header, Type};
use crate::sqlite::{Database, SqliteError, Value};

const GROUP: u32 = 1016;
const REQUIRE_FLAGS: u32 = 1048;
const REQUIRE_NAME: u32 = 1049;
const CONFLICT_NAME: u32 = 1054;
const TRIGGER_NAME: u32 = 1066;
const RECOMMEND_NAME: u32 = 5046;
const SUGGEST_NAME: u32 = 5049;
const SUPPLEMENT_NAME: u32 = 5052;
const ENHANCE_NAME: u32 = 5055;
const FILE_TRIGGER_NAME: u32 = 5069;
const FILE_TRIGGER_INDEX: u32 = 5070;
const TRANS_FILE_TRIGGER_NAME: u32 = 5079;
const TRANS_FILE_TRIGGER_INDEX: u32 = 5080;

/// What a table's keys are, which decides how rpm declares and indexes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keys {
    /// One text of a package.
    Text,
    /// A list of texts.
    Texts,
    /// A number or bytes.
    Bytes,
}

/// Name, tag and keys of every table, in the order rpm opens them.
const TABLES: [(&str, u32, Keys); 18] = [
    ("Name", 1000, Keys::Text),
    ("Basenames", 1117, Keys::Texts),
    ("Group", GROUP, Keys::Text),
    ("Requirename", REQUIRE_NAME, Keys::Texts),
    ("Providename", 1047, Keys::Texts),
    ("Conflictname", CONFLICT_NAME, Keys::Texts),
    ("Obsoletename", 1090, Keys::Texts),
    ("Triggername", TRIGGER_NAME, Keys::Texts),
    ("Dirnames", 1118, Keys::Texts),
    ("Installtid", 1128, Keys::Bytes),
    ("Sigmd5", 261, Keys::Bytes),
    ("Sha1header", 269, Keys::Text),
    ("Filetriggername", FILE_TRIGGER_NAME, Keys::Texts),
    ("Transfiletriggername", TRANS_FILE_TRIGGER_NAME, Keys::Texts),
    ("Recommendname", RECOMMEND_NAME, Keys::Texts),
    ("Suggestname", SUGGEST_NAME, Keys::Texts),
    ("Supplementname", SUPPLEMENT_NAME, Keys::Texts),
    ("Enhancename", ENHANCE_NAME, Keys::Texts),
];

/// The tables whose names may be rich dependencies.
const RICH: [u32; 6] =
    [REQUIRE_NAME, CONFLICT_NAME, RECOMMEND_NAME, SUGGEST_NAME, SUPPLEMENT_NAME, ENHANCE_NAME];

/// An index table and its rows so far.
pub struct Table {
    name: &'static str,
    tag: u32,
    keys: Keys,
    /// all keys, one after the other
    text: Vec<u8>,
    rows: Vec<Row>,
}

struct Row {
    key_end: usize,
    package: u32,
    position: u32,
}

/// All tables, empty.
pub fn tables() -> impl Iterator<Item = Table> {
    let table = |(name, tag, keys)| Table { name, tag, keys, text: Vec::new(), rows: Vec::new() };
    TABLES.into_iter().map(table)
}

impl Table {
    /// Its name.
    #[cfg(test)]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Adds what `header` has for this table, as package `number`.
    pub fn add(&mut self, number: u32, header: Header<'_>) {
        match (self.keys, self.tag) {
            (Keys::Bytes, tag) => self.add_bytes(number, header, tag),
            (Keys::Text, tag) => {
                let missing = (tag == GROUP).then_some(&b"Unknown"[..]);
                if let Some(text) = header.strings(tag).next().or(missing) {
                    self.push(number, 0, text);
                }
            }
            (Keys::Texts, TRIGGER_NAME) => self.add_triggers(number, header),
            (Keys::Texts, FILE_TRIGGER_NAME) => {
                self.add_file_triggers(number, header, FILE_TRIGGER_INDEX);
            }
            (Keys::Texts, TRANS_FILE_TRIGGER_NAME) => {
                self.add_file_triggers(number, header, TRANS_FILE_TRIGGER_INDEX);
            }
            (Keys::Texts, tag) => self.add_texts(number, header, tag),
        }
    }

    fn add_bytes(&mut self, number: u32, header: Header<'_>, tag: u32) {
        let Some(entry) = header.entry(tag) else {
            return;
        };
        match entry.kind {
            // In the order of bytes of the machine, which is the target's.
            Type::Int32 => {
                for (position, value) in (0..).zip(header.numbers(tag)) {
                    self.push(number, position, &value.to_le_bytes());
                }
            }
            _ => self.push(number, 0, entry.data),
        }
    }

    fn add_texts(&mut self, number: u32, header: Header<'_>, tag: u32) {
        let mut flags = header.numbers(REQUIRE_FLAGS);
        for (position, text) in (0..).zip(header.strings(tag)) {
            if tag == REQUIRE_NAME && flags.next().is_some_and(is_only_for_installing) {
                continue;
            }
            self.push(number, position, text);
            if text.starts_with(b"(") && RICH.contains(&tag) {
                rich::names(text).iter().for_each(|name| self.push(number, position, name));
            }
        }
    }

    /// Several triggers may wait for one name, which is entered once.
    fn add_triggers(&mut self, number: u32, header: Header<'_>) {
        let mut seen = std::collections::BTreeSet::new();
        for (position, text) in (0..).zip(header.strings(TRIGGER_NAME)) {
            if seen.insert(text) {
                self.push(number, position, text);
            }
        }
    }

    /// With the number of the trigger, of which one may have several prefixes.
    fn add_file_triggers(&mut self, number: u32, header: Header<'_>, index: u32) {
        for (text, trigger) in header.strings(self.tag).zip(header.numbers(index)) {
            self.push(number, trigger, text);
        }
    }

    fn push(&mut self, package: u32, position: u32, key: &[u8]) {
        self.text.extend_from_slice(key);
        self.rows.push(Row { key_end: self.text.len(), package, position });
    }

    fn key(&self, row: usize) -> &[u8] {
        let start = row.checked_sub(1).map_or(0, |before| self.rows[before].key_end);
        &self.text[start..self.rows[row].key_end]
    }

    fn value(&self, row: usize) -> Value<'_> {
        match self.keys {
            Keys::Text | Keys::Texts => Value::Text(self.key(row)),
            Keys::Bytes => Value::Blob(self.key(row)),
        }
    }

    /// Writes the table and its indices.
    pub fn write<W: Write + Seek>(&self, database: &mut Database<W>) -> Result<(), SqliteError> {
        let Self { name, keys, rows, .. } = self;
        let kind = if *keys == Keys::Bytes { "BLOB" } else { "TEXT" };
        let sql = format!(
            "CREATE TABLE '{name}' (key '{kind}' NOT NULL, hnum INTEGER NOT NULL, \
             idx INTEGER NOT NULL, FOREIGN KEY (hnum) REFERENCES 'Packages'(hnum))"
        );
        database.table(name, sql, |writer| {
            for (at, (number, row)) in (1..).zip(rows).enumerate() {
                let columns = [
                    self.value(at),
                    Value::Integer(row.package.into()),
                    Value::Integer(row.position.into()),
                ];
                writer.row(number, &columns)?;
            }
            Ok::<_, SqliteError>(())
        })?;
        let index = |column: &str| {
            let index = format!("{name}_{column}_idx");
            let sql = format!("CREATE INDEX '{index}' ON '{name}'({column} ASC)");
            (index, sql)
        };
        if *keys != Keys::Bytes {
            let mut sorted: Vec<usize> = (0..rows.len()).collect();
            sorted.sort_by_key(|row| self.key(*row));
            let entries = sorted.into_iter().map(|row| (self.value(row), row_number(row)));
            let (index, sql) = index("key");
            database.index(&index, name, sql, entries)?;
        }
        if *keys == Keys::Texts {
            // Packages were added in the order of their numbers.
            let entries = rows.iter().enumerate();
            let entries =
                entries.map(|(at, row)| (Value::Integer(row.package.into()), row_number(at)));
            let (index, sql) = index("hnum");
            database.index(&index, name, sql, entries)?;
        }
        Ok(())
    }
}

/// Rows are numbered from 1.
fn row_number(at: usize) -> i64 {
    i64::try_from(at).unwrap_or(i64::MAX - 1) + 1
}

/// Whether a need ends with the installation (rpm's `isTransientReq`): wanted by
/// `%pre`, `%post`, `%pretrans`, `%posttrans` or rpm itself, and neither by
/// `%preun` or `%postun` nor marked as one that only orders.
fn is_only_for_installing(flags: u32) -> bool {
    const INSTALLING: u32 = 1 << 5 | 1 << 7 | 1 << 9 | 1 << 10 | 1 << 24 | 1 << 26;
    const ERASING: u32 = 1 << 11 | 1 << 12;
    const META: u32 = 1 << 29;
    flags & INSTALLING != 0 && flags & (ERASING | META) == 0
}
