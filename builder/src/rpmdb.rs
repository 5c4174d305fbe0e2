//! The package database `rpmdb.sqlite` as rpm 4.18 writes it: every installed
//! package's header, and the index tables by which rpm finds them. With it
//! `rpm -qa`, `-qf` and `-V` work in an image, and dnf and tdnf know what is
//! there. Format: rpm's `lib/rpmdb.c` and `lib/backend/sqlite.c`.
//!
//! ```text
//! RawHeaders ─install─▶ installed header ─┬─▶ Packages
//!                                         └─▶ rows of 18 index tables ─▶ sorted ─▶ indices
//! ```
//!
//! It follows from its input alone: the same packages in the same order, states
//! and time give the same bytes. What rpm's own file has beside the rows is left
//! out: statistics, free pages, and the mode with a write-ahead log, which rpm
//! turns on again when it first writes.

mod index;
mod install;
#[cfg(test)]
mod mariner_tests;
#[cfg(test)]
mod repository_tests;
mod rich;
#[cfg(test)]
mod tests;

use std::io::{Seek, Write};

pub use crate::header::RawHeaders;
use crate::sqlite::{Database, SqliteError, Value};
use crate::tree::{Content, Inode, Metadata, Node, Tree, TreeError, TreePath};
use index::Table;
pub use install::Refusal;

/// Where the database is in an image: with the root, since it says what the
/// root consists of. What is below `/var` lives on when a release is replaced,
/// and a database there would go on describing the first one.
pub const PATH: &str = "/usr/lib/sysimage/rpm/rpmdb.sqlite";
/// Where rpm looks for it: a link.
pub const LINK: &str = "/var/lib/rpm/rpmdb.sqlite";
const TARGET: &str = "../../../usr/lib/sysimage/rpm/rpmdb.sqlite";
/// Permissions of the database, as rpm makes it.
const MODE: u16 = 0o644;

/// What became of a packaged file (rpm's `rpmfileState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FileState {
    /// It is there; also what rpm says of a ghost.
    #[default]
    Normal = 0,
    /// Another package's file has taken its place.
    Replaced = 1,
    /// It was left out, as documentation may be.
    NotInstalled = 2,
    /// It is on a file system shared over the network.
    NetShared = 3,
    /// Another package's file of the preferred ELF class is there.
    WrongColor = 4,
}

/// A package that is installed.
#[derive(Debug, Clone)]
pub struct Installed {
    /// Its headers, as they are in its RPM file.
    pub headers: RawHeaders,
    /// What became of each of its files, in the header's order; of none, if all
    /// are as they should be.
    pub states: Vec<FileState>,
}

/// What all packages of an installation share.
#[derive(Debug, Clone, Copy)]
pub struct Transaction {
    /// When the first was installed, in seconds since 1970; also the
    /// transaction's number. Each further package counts as installed a second
    /// later, as with rpm under `SOURCE_DATE_EPOCH`: that is how it keeps their
    /// order.
    pub time: u32,
    /// Which ELF classes may be installed: 1 for 32 bits, 2 for 64 bits (rpm's
    /// `%_transaction_color`).
    pub color: u32,
}

impl Transaction {
    /// With the classes of rpm on `arch`: both on x86_64, and no colours where
    /// there is one class only.
    #[must_use]
    pub fn new(time: u64, arch: &str) -> Self {
        let color = if arch == "x86_64" { 3 } else { 0 };
        // rpm has 32 bits for the time too.
        Self { time: u32::try_from(time).unwrap_or(u32::MAX), color }
    }
}

/// Why there is no database.
#[derive(Debug, thiserror::Error)]
pub enum RpmdbError<E: std::error::Error + 'static = std::convert::Infallible> {
    /// A package cannot be read.
    #[error(transparent)]
    Source(E),
    /// rpm would not install a package, or not like this.
    #[error("package {package} cannot be entered into rpm's database")]
    Package {
        /// Its name, version and architecture.
        package: String,
        /// Why.
        #[source]
        refusal: Refusal,
    },
    /// The database cannot be written.
    #[error("rpm's database")]
    Write(#[from] SqliteError),
}

/// Writes the database of `packages`, in the order they were installed, to the
/// start of `out`. Only one package's headers are in memory at a time.
///
/// # Errors
/// If a package is one that rpm would refuse, or `out` cannot be written.
pub fn write<W: Write + Seek, E: std::error::Error + 'static>(
    packages: impl Iterator<Item = Result<Installed, E>>,
    transaction: Transaction,
    out: W,
) -> Result<W, RpmdbError<E>> {
    let mut tables: Vec<Table> = index::tables().collect();
    let mut database = Database::new(out)?;
    let mut count: u32 = 0;
    database.table("Packages", PACKAGES, |rows| {
        for (number, package) in (1..).zip(packages) {
            let package = package.map_err(RpmdbError::Source)?;
            let stored = install::stored(&package, transaction, count)
                .map_err(|refusal| refused(&package, refusal))?;
            tables.iter_mut().for_each(|table| table.add(number, stored.header()));
            // The number is the row's own, for which the format has nothing.
            rows.row(number.into(), &[Value::Null, Value::Blob(stored.bytes())])?;
            count = number;
        }
        Ok::<_, RpmdbError<E>>(())
    })?;
    database.table("sqlite_sequence", "CREATE TABLE sqlite_sequence(name,seq)", |rows| {
        rows.row(1, &[Value::Text(b"Packages"), Value::Integer(count.into())])
    })?;
    for table in tables {
        table.write(&mut database)?;
    }
    Ok(database.finish()?)
}

const PACKAGES: &str =
    "CREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT,blob BLOB NOT NULL)";

fn refused<E: std::error::Error>(package: &Installed, refusal: Refusal) -> RpmdbError<E> {
    let header = package.headers.header();
    let text = |tag| header.text(tag).unwrap_or("?");
    const NAME: u32 = 1000;
    const VERSION: u32 = 1001;
    const RELEASE: u32 = 1002;
    const ARCH: u32 = 1022;
    let package = format!("{}-{}-{}.{}", text(NAME), text(VERSION), text(RELEASE), text(ARCH));
    RpmdbError::Package { package, refusal }
}

/// Puts a database that was written into `tree`, and the link to it.
///
/// # Errors
/// If something in the tree is in the way.
pub fn install(tree: &mut Tree, database: Content) -> Result<(), TreeError> {
    let meta = Metadata::root(MODE, tree.default_mtime());
    let path = tree.insert(&TreePath::new(PATH)?, Inode { node: Node::File(database), meta })?;
    // Where the one folder is a link to the other already, it is there.
    if tree.canonical(LINK).as_ref() == Some(&path) {
        return Ok(());
    }
    tree.symlink(&TreePath::new(LINK)?, TARGET)
}
