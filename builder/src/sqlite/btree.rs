//! B-trees (section 1.6 of the format), written in ascending order: a leaf is
//! filled, written, and remembered for the level above. The root is left to
//! the caller, since the schema's has a place of its own.

use std::io::Write;

use super::record::varint;
use super::{PAGE_BYTES, Pages, SqliteError};

/// Offset of a cell, in the array before the cells.
const POINTER_BYTES: usize = 2;
const LEAF_HEADER_BYTES: usize = 8;
const INTERIOR_HEADER_BYTES: usize = 12;

/// What a page is, by the number it begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    IndexInterior = 2,
    TableInterior = 5,
    IndexLeaf = 10,
    TableLeaf = 13,
}

/// A page that is not written yet.
pub struct Page {
    kind: Kind,
    /// cells, one after the other, and where each ends
    cells: Vec<u8>,
    ends: Vec<usize>,
    /// the last child of an interior page
    right: u32,
    /// bytes left free, for what else is on the first page
    reserved: usize,
}

impl Page {
    fn new(kind: Kind, reserved: usize) -> Self {
        Self { kind, cells: Vec::new(), ends: Vec::new(), right: 0, reserved }
    }

    fn header_bytes(&self) -> usize {
        match self.kind {
            Kind::IndexLeaf | Kind::TableLeaf => LEAF_HEADER_BYTES,
            Kind::IndexInterior | Kind::TableInterior => INTERIOR_HEADER_BYTES,
        }
    }

    fn has_room(&self, cell_bytes: usize) -> bool {
        let pointers = (self.ends.len() + 1) * POINTER_BYTES;
        let used = self.reserved + self.header_bytes() + pointers + self.cells.len();
        used + cell_bytes <= PAGE_BYTES
    }

    fn push(&mut self, cell: &[u8]) {
        self.cells.extend_from_slice(cell);
        self.ends.push(self.cells.len());
    }

    /// Takes the last cell away.
    fn pop(&mut self) -> Option<Vec<u8>> {
        self.ends.pop()?;
        let start = self.ends.last().copied().unwrap_or(0);
        Some(self.cells.split_off(start))
    }

    /// The page's bytes, with its header at `start`.
    pub fn render(&self, start: usize) -> [u8; PAGE_BYTES] {
        let mut page = [0; PAGE_BYTES];
        let mut put = |at: usize, value: usize| {
            // All of these are below the size of a page.
            let value = u16::try_from(value).unwrap_or(0);
            page[at..at + 2].copy_from_slice(&value.to_be_bytes());
        };
        let content = PAGE_BYTES - self.cells.len();
        put(start + 3, self.ends.len());
        put(start + 5, content);
        let starts = std::iter::once(&0).chain(&self.ends);
        let pointers = start + self.header_bytes();
        for (at, (cell, _)) in starts.zip(&self.ends).enumerate() {
            put(pointers + at * POINTER_BYTES, content + cell);
        }
        page[content..].copy_from_slice(&self.cells);
        page[start] = self.kind as u8;
        if self.header_bytes() == INTERIOR_HEADER_BYTES {
            page[start + 8..start + 12].copy_from_slice(&self.right.to_be_bytes());
        }
        page
    }
}

/// A page that is written, and what stands between it and the next in the level
/// above: a row's number or an index entry.
struct Child {
    page: u32,
    divider: Vec<u8>,
}

/// Adds the levels above `children` and gives the root. The last child's
/// divider is of no meaning.
fn interior<W: Write>(
    kind: Kind,
    mut children: Vec<Child>,
    reserved: usize,
    pages: &mut Pages<W>,
) -> Result<Page, SqliteError> {
    loop {
        let mut above = Vec::new();
        let mut page = Page::new(kind, reserved);
        let Some(last) = children.pop() else {
            return Ok(page);
        };
        for Child { page: number, divider } in children {
            let cell = [&number.to_be_bytes()[..], &divider].concat();
            if !page.has_room(cell.len())
                && let Some(moved) = page.pop()
            {
                // The last cell's child closes this page; its divider goes up.
                let (number, divider) = moved.split_at(4);
                page.right = be32(number);
                let written = pages.append(&page.render(0))?;
                above.push(Child { page: written, divider: divider.to_vec() });
                page = Page::new(kind, reserved);
            }
            page.push(&cell);
        }
        page.right = last.page;
        if above.is_empty() {
            return Ok(page);
        }
        let written = pages.append(&page.render(0))?;
        above.push(Child { page: written, divider: Vec::new() });
        children = above;
    }
}

fn be32(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// Appends a payload, or as much of it as is kept in a cell, and writes the
/// rest to pages of its own. `most` is how long a payload that stays whole can
/// be; the rest of the rule is the format's.
fn payload<W: Write>(
    payload: &[u8],
    most: usize,
    cell: &mut Vec<u8>,
    pages: &mut Pages<W>,
) -> Result<(), SqliteError> {
    const LEAST: usize = (PAGE_BYTES - 12) * 32 / 255 - 23;
    if payload.len() <= most {
        cell.extend_from_slice(payload);
        return Ok(());
    }
    let wanted = LEAST + (payload.len() - LEAST) % (PAGE_BYTES - 4);
    let (local, rest) = payload.split_at(if wanted <= most { wanted } else { LEAST });
    cell.extend_from_slice(local);
    cell.extend_from_slice(&pages.overflow(rest)?.to_be_bytes());
    Ok(())
}

/// A table's rows.
pub struct Rows {
    children: Vec<Child>,
    leaf: Page,
    last: i64,
    reserved: usize,
    cell: Vec<u8>,
}

impl Rows {
    /// No rows; `reserved` bytes of each page are left free.
    pub fn new(reserved: usize) -> Self {
        let leaf = Page::new(Kind::TableLeaf, reserved);
        Self { children: Vec::new(), leaf, last: 0, reserved, cell: Vec::new() }
    }

    /// Adds a row.
    pub fn push<W: Write>(
        &mut self,
        number: i64,
        record: &[u8],
        pages: &mut Pages<W>,
    ) -> Result<(), SqliteError> {
        const MOST: usize = PAGE_BYTES - 35;
        self.cell.clear();
        varint(record.len() as u64, &mut self.cell);
        varint(number.cast_unsigned(), &mut self.cell);
        payload(record, MOST, &mut self.cell, pages)?;
        if !self.leaf.has_room(self.cell.len()) {
            self.close(pages)?;
        }
        self.leaf.push(&self.cell);
        self.last = number;
        Ok(())
    }

    fn close<W: Write>(&mut self, pages: &mut Pages<W>) -> Result<(), SqliteError> {
        let page = pages.append(&self.leaf.render(0))?;
        let mut divider = Vec::new();
        varint(self.last.cast_unsigned(), &mut divider);
        self.children.push(Child { page, divider });
        self.leaf = Page::new(Kind::TableLeaf, self.reserved);
        Ok(())
    }

    /// Writes all but the root.
    pub fn finish<W: Write>(mut self, pages: &mut Pages<W>) -> Result<Page, SqliteError> {
        if self.children.is_empty() {
            return Ok(self.leaf);
        }
        self.close(pages)?;
        interior(Kind::TableInterior, self.children, self.reserved, pages)
    }
}

/// An index's entries.
pub struct Index {
    children: Vec<Child>,
    leaf: Page,
    cell: Vec<u8>,
}

impl Index {
    /// No entries.
    pub fn new() -> Self {
        let leaf = Page::new(Kind::IndexLeaf, 0);
        Self { children: Vec::new(), leaf, cell: Vec::new() }
    }

    /// Adds an entry.
    pub fn push<W: Write>(
        &mut self,
        record: &[u8],
        pages: &mut Pages<W>,
    ) -> Result<(), SqliteError> {
        const MOST: usize = (PAGE_BYTES - 12) * 64 / 255 - 23;
        self.cell.clear();
        varint(record.len() as u64, &mut self.cell);
        payload(record, MOST, &mut self.cell, pages)?;
        // An entry between two pages is in neither of them. Taking the last of
        // the full page leaves the next one with at least an entry.
        if !self.leaf.has_room(self.cell.len())
            && let Some(divider) = self.leaf.pop()
        {
            let page = pages.append(&self.leaf.render(0))?;
            self.children.push(Child { page, divider });
            self.leaf = Page::new(Kind::IndexLeaf, 0);
        }
        self.leaf.push(&self.cell);
        Ok(())
    }

    /// Writes all but the root.
    pub fn finish<W: Write>(mut self, pages: &mut Pages<W>) -> Result<Page, SqliteError> {
        if self.children.is_empty() {
            return Ok(self.leaf);
        }
        let page = pages.append(&self.leaf.render(0))?;
        self.children.push(Child { page, divider: Vec::new() });
        interior(Kind::IndexInterior, self.children, 0, pages)
    }
}
