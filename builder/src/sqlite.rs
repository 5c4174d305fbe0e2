//! Writes an SQLite database in one go: tables and indices whose rows are known,
//! in the file format of <https://www.sqlite.org/fileformat2.html>. Nothing is
//! ever changed in place, so b-trees are written from their leaves up, each page
//! once; the same rows always give the same bytes. It does not read databases
//! and knows no SQL: the schema's texts are the caller's.
//!
//! The journal mode is the one with a rollback journal: a database in
//! write-ahead mode cannot be opened where no file can be made beside it, as on
//! a read-only root.

mod btree;
mod record;
#[cfg(test)]
mod tests;

use std::io::{self, Seek, SeekFrom, Write};

use btree::{Index, Page, Rows};
pub use record::Value;

/// What SQLite uses unless told otherwise, and rpm does not.
const PAGE_BYTES: usize = 4096;
/// Where the schema's root begins on the first page.
const FILE_HEADER_BYTES: usize = 100;
/// Keeps a row of the schema on a page that shares its room with the header.
const MAX_SQL_BYTES: usize = 2048;
/// SQLite leaves the page at 1 GiB to locks; nothing here comes near it.
const MAX_PAGES: u32 = (1 << 30) / 4096;
/// The version of SQLite that is named as the writer: that of the first rpm
/// this was compared with. Readers only show it.
const WRITER_VERSION: u32 = 3_040_001;

/// Why a database cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum SqliteError {
    /// The file cannot be written.
    #[error("cannot be written")]
    Write(#[from] io::Error),
    /// It would be larger than 1 GiB.
    #[error("more than 1 GiB of rows")]
    TooLarge,
    /// A statement of the schema is longer than there is room for.
    #[error("the statement that makes {name} is too long")]
    LongStatement {
        /// The table or index.
        name: String,
    },
}

/// A database that is being written. Each table and index is written whole
/// before the next is begun.
pub struct Database<W> {
    pages: Pages<W>,
    schema: Vec<Described>,
}

/// A row of the schema.
struct Described {
    kind: &'static str,
    name: String,
    table: String,
    root: u32,
    sql: String,
}

impl<W: Write + Seek> Database<W> {
    /// Begins a database at the start of `out`.
    pub fn new(out: W) -> Result<Self, SqliteError> {
        let mut pages = Pages { out, count: 0 };
        // The first page is written last: it has what is known only then.
        pages.append(&[0; PAGE_BYTES])?;
        Ok(Self { pages, schema: Vec::new() })
    }

    /// Writes a table: `fill` is given what takes its rows, in the order of
    /// their numbers.
    pub fn table<E: From<SqliteError>>(
        &mut self,
        name: &str,
        sql: impl Into<String>,
        fill: impl FnOnce(&mut TableWriter<'_, W>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut writer =
            TableWriter { pages: &mut self.pages, rows: Rows::new(0), record: Vec::new() };
        fill(&mut writer)?;
        let TableWriter { rows, .. } = writer;
        let root = rows.finish(&mut self.pages)?;
        self.describe("table", name, name, root, sql.into())?;
        Ok(())
    }

    /// Writes an index of `table`: the indexed value of each row and the row's
    /// number, in ascending order.
    pub fn index<'v>(
        &mut self,
        name: &str,
        table: &str,
        sql: impl Into<String>,
        entries: impl Iterator<Item = (Value<'v>, i64)>,
    ) -> Result<(), SqliteError> {
        let mut index = Index::new();
        let mut record = Vec::new();
        for (value, row) in entries {
            record::encode(&[value, Value::Integer(row)], &mut record);
            index.push(&record, &mut self.pages)?;
        }
        let root = index.finish(&mut self.pages)?;
        self.describe("index", name, table, root, sql.into())
    }

    fn describe(
        &mut self,
        kind: &'static str,
        name: &str,
        table: &str,
        root: Page,
        sql: String,
    ) -> Result<(), SqliteError> {
        if name.len() + table.len() + sql.len() > MAX_SQL_BYTES {
            return Err(SqliteError::LongStatement { name: name.into() });
        }
        let root = self.pages.append(&root.render(0))?;
        self.schema.push(Described { kind, name: name.into(), table: table.into(), root, sql });
        Ok(())
    }

    /// Writes the schema, and with it the whole, and gives the file back.
    pub fn finish(mut self) -> Result<W, SqliteError> {
        let mut rows = Rows::new(FILE_HEADER_BYTES);
        let mut record = Vec::new();
        for (number, row) in (1..).zip(&self.schema) {
            let columns = [
                Value::Text(row.kind.as_bytes()),
                Value::Text(row.name.as_bytes()),
                Value::Text(row.table.as_bytes()),
                Value::Integer(row.root.into()),
                Value::Text(row.sql.as_bytes()),
            ];
            record::encode(&columns, &mut record);
            rows.push(number, &record, &mut self.pages)?;
        }
        let mut first = rows.finish(&mut self.pages)?.render(FILE_HEADER_BYTES);
        let cookie = u32::try_from(self.schema.len()).unwrap_or(u32::MAX);
        first[..FILE_HEADER_BYTES].copy_from_slice(&file_header(self.pages.count, cookie));
        let mut out = self.pages.out;
        out.seek(SeekFrom::Start(0))?;
        out.write_all(&first)?;
        out.flush()?;
        Ok(out)
    }
}

/// Takes the rows of a table.
pub struct TableWriter<'d, W> {
    pages: &'d mut Pages<W>,
    rows: Rows,
    record: Vec<u8>,
}

impl<W: Write> TableWriter<'_, W> {
    /// Adds the row of this number, which must be higher than the last one's.
    pub fn row(&mut self, number: i64, columns: &[Value<'_>]) -> Result<(), SqliteError> {
        record::encode(columns, &mut self.record);
        self.rows.push(number, &self.record, self.pages)
    }
}

/// The pages of the file, written one after the other.
struct Pages<W> {
    out: W,
    count: u32,
}

impl<W: Write> Pages<W> {
    /// Writes a page and gives its number; the first is 1.
    fn append(&mut self, page: &[u8; PAGE_BYTES]) -> Result<u32, SqliteError> {
        if self.count >= MAX_PAGES {
            return Err(SqliteError::TooLarge);
        }
        self.out.write_all(page)?;
        self.count += 1;
        Ok(self.count)
    }

    /// Writes a chain of overflow pages and gives the number of its first page:
    /// each begins with the number of the next, the last with 0.
    fn overflow(&mut self, payload: &[u8]) -> Result<u32, SqliteError> {
        let first = self.count + 1;
        let mut pieces = payload.chunks(PAGE_BYTES - 4).peekable();
        while let Some(piece) = pieces.next() {
            let next = if pieces.peek().is_some() { self.count + 2 } else { 0 };
            let mut page = [0; PAGE_BYTES];
            page[..4].copy_from_slice(&next.to_be_bytes());
            page[4..4 + piece.len()].copy_from_slice(piece);
            self.append(&page)?;
        }
        Ok(first)
    }
}

/// Section 1.3 of the format.
fn file_header(pages: u32, schema_cookie: u32) -> [u8; FILE_HEADER_BYTES] {
    let mut header = [0; FILE_HEADER_BYTES];
    header[..16].copy_from_slice(b"SQLite format 3\0");
    header[16..18].copy_from_slice(&4096_u16.to_be_bytes());
    // written and read with a rollback journal
    header[18..20].copy_from_slice(&[1, 1]);
    // the only payload fractions there are: 64, 32, 32 of 255
    header[21..24].copy_from_slice(&[64, 32, 32]);
    let mut number = |at: usize, value: u32| {
        header[at..at + 4].copy_from_slice(&value.to_be_bytes());
    };
    // The count of changes appears twice; the number of pages counts only then.
    number(24, 1);
    number(92, 1);
    number(28, pages);
    number(40, schema_cookie);
    // schema format 4: what every SQLite since 2006 writes
    number(44, 4);
    // UTF-8
    number(56, 1);
    number(96, WRITER_VERSION);
    header
}
