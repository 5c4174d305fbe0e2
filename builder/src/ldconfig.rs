//! The dynamic linker's cache and links, made as `ldconfig -r` makes them.
//!
//! The cache is byte for byte glibc's, but for the name of the tool in it
//! (glibc's `elf/ldconfig.c` and `elf/cache.c`, 2.36; the format is that of
//! every glibc since 2.2, with 2.33's extensions). The `aux-cache`, which only
//! speeds up a later run, is not made: it is not reproducible.

use std::collections::BTreeMap;

use globset::GlobBuilder;

use crate::tree::{InodeId, Node, PathError, Tree, TreeError, TreePath};

mod cache;
mod elf;
#[doc(hidden)]
pub mod fuzzing;

use cache::Entry;

const CONFIG: &str = "/etc/ld.so.conf";
const CACHE: &str = "/etc/ld.so.cache";
/// The tool itself, which has glibc in it.
const PROGRAM: &str = "/sbin/ldconfig";
/// It has about a megabyte.
const MAX_PROGRAM_BYTES: u64 = 16 << 20;
/// Included files may include others; none does so deeply.
const MAX_DEPTH: usize = 8;
/// No configuration file comes near this.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// What the linker's distribution was built with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folders that are searched after the configured ones.
    pub default_folders: Vec<String>,
    /// Name of the tool, as the cache keeps it.
    pub generator: String,
}

/// Folders of Debian, in its order.
const OF_DEBIAN: [&str; 4] =
    ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib", "/usr/lib"];
/// As Debian's glibc has the first of them in a program.
const MARK_OF_DEBIAN: &[u8] = b"\0/lib/x86_64-linux-gnu/\0/usr/lib/x86_64-linux-gnu/\0";
/// Folders of all other distributions that are known: missing ones do not
/// matter, and one that a link leads to counts once.
const OF_OTHERS: [&str; 4] = ["/lib64", "/usr/lib64", "/lib", "/usr/lib"];

impl Options {
    /// What the tree's own ldconfig would do, as far as that shows.
    #[must_use]
    pub fn of(tree: &Tree) -> Self {
        let program = tree.read(PROGRAM, MAX_PROGRAM_BYTES).unwrap_or_default();
        let is_debians = program.windows(MARK_OF_DEBIAN.len()).any(|bytes| bytes == MARK_OF_DEBIAN);
        let folders = if is_debians { OF_DEBIAN } else { OF_OTHERS };
        Self {
            default_folders: folders.map(str::to_owned).to_vec(),
            generator: concat!("ldconfig (slipway ", env!("CARGO_PKG_VERSION"), ")").to_owned(),
        }
    }
}

/// What can go wrong with the linker's cache.
#[derive(Debug, thiserror::Error)]
pub enum LdconfigError {
    /// A file cannot be read or made.
    #[error("linker cache")]
    Tree(#[from] TreeError),
    /// An `include` with a pattern that means nothing.
    #[error("{file}: pattern {pattern:?}")]
    Pattern {
        /// Which configuration file.
        file: String,
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        source: globset::Error,
    },
    /// More than the format can count.
    #[error("the linker cache would be too large")]
    TooLarge,
}

impl From<PathError> for LdconfigError {
    fn from(error: PathError) -> Self {
        Self::Tree(error.into())
    }
}

/// Makes the missing links to libraries, removes broken ones, and writes the
/// cache.
///
/// # Errors
/// If a file cannot be read or made.
pub fn run(tree: &mut Tree, options: &Options) -> Result<(), LdconfigError> {
    let mut folders = Folders::default();
    folders.configured(tree, CONFIG, 0)?;
    for folder in &options.default_folders {
        folders.add(tree, folder);
    }
    let mut entries = Vec::new();
    for folder in &folders.list {
        search(tree, folder, &mut entries)?;
    }
    let bytes = cache::encode(entries, &options.generator).ok_or(LdconfigError::TooLarge)?;
    Ok(tree.rewrite(&TreePath::new(CACHE)?, 0o644, bytes)?)
}

/// A folder with libraries.
struct Folder {
    /// As it was asked for, with whatever links are in it.
    path: String,
    /// Name of the kind of processor, for one below `glibc-hwcaps`.
    hwcaps: Option<String>,
}

/// Folders in the order they are searched, each once whatever leads to it.
#[derive(Default)]
struct Folders {
    list: Vec<Folder>,
    seen: Vec<InodeId>,
}

impl Folders {
    fn configured(&mut self, tree: &Tree, file: &str, depth: usize) -> Result<(), LdconfigError> {
        if depth > MAX_DEPTH || tree.resolve(file).is_none() {
            return Ok(());
        }
        let bytes = tree.read(file, MAX_CONFIG_BYTES)?;
        for line in String::from_utf8_lossy(&bytes).lines() {
            let line = line.split('#').next().unwrap_or_default().trim();
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                None | Some("hwcap") => {}
                Some("include") => {
                    for pattern in words {
                        for included in matching(tree, pattern, file)? {
                            self.configured(tree, &included, depth + 1)?;
                        }
                    }
                }
                Some(_) => self.add(tree, line.split('=').next().unwrap_or_default()),
            }
        }
        Ok(())
    }

    fn add(&mut self, tree: &Tree, path: &str) {
        let path = path.trim_end().trim_end_matches('/');
        if !self.add_single(tree, path, None) {
            return;
        }
        let below = format!("{path}/glibc-hwcaps");
        let names: Vec<String> = tree
            .children(&below)
            .map(|(name, _)| name.to_owned())
            .filter(|name| !name.starts_with('.') && !name.contains(':'))
            .collect();
        for name in names {
            let path = format!("{below}/{name}");
            self.add_single(tree, &path, Some(name));
        }
    }

    fn add_single(&mut self, tree: &Tree, path: &str, hwcaps: Option<String>) -> bool {
        let Some(id) = tree.resolve(path) else {
            return false;
        };
        if !tree.inode(id).node.is_directory() || self.seen.contains(&id) {
            return false;
        }
        self.seen.push(id);
        self.list.push(Folder { path: path.to_owned(), hwcaps });
        true
    }
}

/// Files that an `include` names; a relative pattern is beside its file.
fn matching(tree: &Tree, pattern: &str, file: &str) -> Result<Vec<String>, LdconfigError> {
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    let whole =
        if pattern.starts_with('/') { pattern.to_owned() } else { format!("{folder}/{pattern}") };
    let wrong = |source| {
        let (file, pattern) = (file.to_owned(), pattern.to_owned());
        LdconfigError::Pattern { file, pattern, source }
    };
    let (folder, name) = whole.rsplit_once('/').unwrap_or(("", &whole));
    let glob = GlobBuilder::new(name).literal_separator(true).build().map_err(wrong)?;
    let matcher = glob.compile_matcher();
    let hidden = |other: &str| other.starts_with('.') && !name.starts_with('.');
    let names = tree.children(folder).map(|(name, _)| name);
    let found = names.filter(|name| matcher.is_match(name) && !hidden(name));
    Ok(found.map(|name| format!("{folder}/{name}")).collect())
}

/// The file that stands for a soname in a folder.
struct Chosen {
    name: String,
    is_link: bool,
    flags: u32,
}

/// Finds a folder's libraries, makes and removes links in it, and adds what the
/// cache is to have.
fn search(tree: &mut Tree, folder: &Folder, entries: &mut Vec<Entry>) -> Result<(), LdconfigError> {
    let names: Vec<(String, InodeId)> = tree
        .children(&folder.path)
        .filter(|(name, _)| is_library_name(name))
        .map(|(name, id)| (name.to_owned(), id))
        .collect();
    let mut chosen: BTreeMap<String, Chosen> = BTreeMap::new();
    for (name, id) in names {
        let path = format!("{}/{name}", folder.path);
        let is_link = matches!(tree.inode(id).node, Node::Symlink(_));
        let Some(target) = tree.resolve(&path) else {
            if name.contains(".so.") {
                tree.remove(&TreePath::new(&path)?);
            }
            continue;
        };
        let Node::File(content) = &tree.inode(target).node else {
            continue;
        };
        let Some(library) = elf::read(content) else {
            continue;
        };
        let own = library.soname.unwrap_or_else(|| name.clone());
        let is_link = is_link && stands_for_itself(&name, &own);
        let soname = if is_link { name.clone() } else { own };
        let this = Chosen { name, is_link, flags: library.flags };
        match chosen.get(&soname) {
            Some(other) if !better(&this, other) => {}
            _ => drop(chosen.insert(soname, this)),
        }
    }
    for (soname, library) in chosen {
        let file = if folder.hwcaps.is_some() { &library.name } else { &soname };
        entries.push(Entry {
            path: format!("{}/{file}", folder.path),
            soname: soname.clone(),
            flags: library.flags,
            hwcaps: folder.hwcaps.clone(),
        });
        if folder.hwcaps.is_none() && !library.is_link {
            link(tree, &folder.path, &library.name, &soname)?;
        }
    }
    Ok(())
}

/// `_dl_is_dso`.
fn is_library_name(name: &str) -> bool {
    let library = name.starts_with("lib") || name.starts_with("ld-");
    let named = (library && name.contains(".so"))
        || name.starts_with("ld.so.")
        || name.starts_with("ld64.so.");
    named && !name.ends_with("-gdb.py")
}

/// A link counts under its own name if it is the soname or the `.so` that a
/// compiler looks for; any other counts as a copy of the library.
fn stands_for_itself(name: &str, soname: &str) -> bool {
    name == soname || (name.ends_with(".so") && soname.starts_with(name))
}

/// A file goes before a link, a higher version before a lower one.
fn better(this: &Chosen, other: &Chosen) -> bool {
    let newer = cache::compare_versions(&other.name, &this.name).is_lt();
    (!this.is_link && other.is_link) || (this.is_link == other.is_link && newer)
}

/// Makes the soname a link to the library, unless it leads there already or is
/// a file.
fn link(tree: &mut Tree, folder: &str, name: &str, soname: &str) -> Result<(), LdconfigError> {
    let place = format!("{folder}/{soname}");
    let leads_there = tree.resolve(&place) == tree.resolve(&format!("{folder}/{name}"));
    let replaceable = tree.get(&place).is_none_or(|inode| matches!(inode.node, Node::Symlink(_)));
    // A soname is a file's own text and may be anything.
    if leads_there || !replaceable || soname.contains('/') {
        return Ok(());
    }
    Ok(tree.symlink(&TreePath::new(&place)?, name)?)
}

#[cfg(test)]
mod tests;
