//! Indexes of kernel modules, as `depmod -a` makes them: without them neither
//! udev nor `modprobe` finds a driver (kmod's `tools/depmod.c`, version 30).
//!
//! All files are byte for byte those of `depmod`, but `modules.symbols`, a text
//! nobody reads, whose lines depmod leaves in the order of a hash table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::modules::{MAX_MODULE_BYTES, ModuleError, Room};
use crate::parallel;
use crate::tree::{Node, PathError, Tree, TreeError, TreePath};

mod index;
mod module;
mod order;

use index::Index;
use module::Module;

/// The longest list of Debian's cloud kernel, that of its modules, has 40 KB.
const MAX_LIST_BYTES: u64 = 8 << 20;

/// What can go wrong with the index of modules.
#[derive(Debug, thiserror::Error)]
pub enum DepmodError {
    /// A module cannot be read, or an index not be made.
    #[error("module index")]
    Tree(#[from] TreeError),
    /// Something that is no kernel module, though its name says so, or more
    /// than is taken.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// Modules that need each other.
    #[error("kernel modules need each other in a circle, {module} among them")]
    Cycle {
        /// One of them.
        module: String,
    },
    /// An index that no kernel has.
    #[error("{file} of the kernel's modules would have more than {} MiB", most >> 20)]
    TooLarge {
        /// Which.
        file: &'static str,
        /// How many bytes it may have.
        most: usize,
    },
}

impl From<PathError> for DepmodError {
    fn from(error: PathError) -> Self {
        Self::Tree(error.into())
    }
}

/// Indexes the modules of the kernel `version`; nothing if it has none.
///
/// # Errors
/// If a module cannot be read, or an index not be made.
pub fn run(tree: &mut Tree, version: &str) -> Result<(), DepmodError> {
    let Some(folder) = tree.canonical(&format!("/lib/modules/{version}")) else {
        return Ok(());
    };
    let mut modules = load(tree, &folder)?;
    order::sort_as_built(&mut modules, &list(tree, &folder, "modules.order")?);
    let needs = order::needs(&modules)?;
    let builtin = list(tree, &folder, "modules.builtin")?;
    let info = bytes(tree, &folder, "modules.builtin.modinfo")?;
    let texts = [
        ("modules.dep", dependencies(&modules, &needs).join("")),
        ("modules.alias", aliases(&modules)),
        ("modules.softdep", softdeps(&modules)),
        ("modules.symbols", symbols(&modules)),
        ("modules.devname", device_names(&modules)),
    ];
    for (name, text) in texts {
        tree.rewrite(&folder.join(name)?, 0o644, text.into_bytes())?;
    }
    let indexes = [
        ("modules.dep.bin", dependency_index(&modules, &needs)),
        ("modules.alias.bin", alias_index(&modules)),
        ("modules.symbols.bin", symbol_index(&modules)),
        ("modules.builtin.bin", builtin_index(&builtin)),
        ("modules.builtin.alias.bin", builtin_alias_index(&info)),
    ];
    for (file, index) in indexes {
        let most = index::MAX_BYTES;
        let bytes = index.into_bytes(most).ok_or(DepmodError::TooLarge { file, most })?;
        tree.rewrite(&folder.join(file)?, 0o644, bytes)?;
    }
    Ok(())
}

/// Reads every module below `folder`. Of two with one name, that in `updates`
/// counts.
fn load(tree: &Tree, folder: &TreePath) -> Result<Vec<Module>, DepmodError> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut todo = vec![String::new()];
    while let Some(below) = todo.pop() {
        for (name, id) in tree.children(&format!("{folder}{below}")) {
            let path = format!("{below}/{name}");
            match &tree.inode(id).node {
                Node::Directory(_) => todo.push(path),
                Node::File(_) if module::is_module_name(name) => {
                    let slot = found.entry(module::name_of(name)).or_insert_with(|| path.clone());
                    let rank = |path: &str| (!path.starts_with("/updates/"), path.to_owned());
                    if rank(&path) < rank(slot) {
                        *slot = path;
                    }
                }
                _ => {}
            }
        }
    }
    let found: Vec<String> = found.into_values().collect();
    let room = Room::default();
    let read = |path: &String| {
        let place = format!("{folder}{path}");
        let bytes = tree.read(&place, MAX_MODULE_BYTES)?;
        Ok(Module::read(&place, path.trim_start_matches('/').to_owned(), bytes, &room)?)
    };
    parallel::map(&found, read).into_iter().collect()
}

fn bytes(tree: &Tree, folder: &TreePath, name: &str) -> Result<Vec<u8>, DepmodError> {
    let path = folder.join(name)?;
    match tree.resolve(path.as_str()) {
        Some(_) => Ok(tree.read(path.as_str(), MAX_LIST_BYTES)?),
        None => Ok(Vec::new()),
    }
}

fn list(tree: &Tree, folder: &TreePath, name: &str) -> Result<Vec<String>, DepmodError> {
    let bytes = bytes(tree, folder, name)?;
    Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect())
}

/// Lines of `modules.dep`.
fn dependencies(modules: &[Module], needs: &[Vec<usize>]) -> Vec<String> {
    let line = |(module, needs): (&Module, &Vec<usize>)| {
        let needed = needs.iter().map(|at| format!(" {}", modules[*at].path));
        format!("{}:{}\n", module.path, needed.collect::<String>())
    };
    modules.iter().zip(needs).map(line).collect()
}

fn dependency_index(modules: &[Module], needs: &[Vec<usize>]) -> Index {
    let mut index = Index::default();
    for (at, line) in dependencies(modules, needs).iter().enumerate() {
        index.insert(&modules[at].name, line.trim_end(), at);
    }
    index
}

fn aliases(modules: &[Module]) -> String {
    let mut text = "# Aliases extracted from modules themselves.\n".to_owned();
    for module in modules {
        for alias in module.info("alias") {
            let _ = writeln!(text, "alias {alias} {}", module.name);
        }
    }
    text
}

fn alias_index(modules: &[Module]) -> Index {
    let mut index = Index::default();
    for (at, module) in modules.iter().enumerate() {
        for alias in module.info("alias").filter_map(index::normalize_alias) {
            index.insert(&alias, &module.name, at);
        }
    }
    index
}

fn softdeps(modules: &[Module]) -> String {
    let mut text = "# Soft dependencies extracted from modules themselves.\n".to_owned();
    for module in modules {
        for needed in module.info("softdep") {
            let _ = writeln!(text, "softdep {} {needed}", module.name);
        }
    }
    text
}

/// Which module has a symbol; the last of two that have the same.
fn owners(modules: &[Module]) -> BTreeMap<&str, usize> {
    let mut owners = BTreeMap::new();
    for (at, module) in modules.iter().enumerate() {
        owners.extend(module.exports.iter().map(|name| (name.as_str(), at)));
    }
    owners
}

fn symbols(modules: &[Module]) -> String {
    let mut text = "# Aliases for symbols, used by symbol_request().\n".to_owned();
    for (symbol, at) in owners(modules) {
        let _ = writeln!(text, "alias symbol:{symbol} {}", modules[at].name);
    }
    text
}

fn symbol_index(modules: &[Module]) -> Index {
    let mut index = Index::default();
    for (symbol, at) in owners(modules) {
        index.insert(&format!("symbol:{symbol}"), &modules[at].name, at);
    }
    index
}

fn builtin_index(builtin: &[String]) -> Index {
    let mut index = Index::default();
    for line in builtin.iter().filter(|line| line.starts_with(|c: char| c.is_ascii_alphabetic())) {
        index.insert(&module::name_of(line), "", 0);
    }
    index
}

/// The list holds `module.key=value`, each ended by a NUL.
fn builtin_alias_index(info: &[u8]) -> Index {
    let mut index = Index::default();
    for entry in info.split(|byte| *byte == 0) {
        let entry = String::from_utf8_lossy(entry);
        let Some((module, rest)) = entry.split_once('.') else {
            continue;
        };
        let Some(alias) = rest.strip_prefix("alias=").filter(|alias| !alias.is_empty()) else {
            continue;
        };
        if let Some(alias) = index::normalize_alias(alias) {
            index.insert(&alias, module, 0);
        }
    }
    index
}

/// Device nodes that load a module when they are opened.
fn device_names(modules: &[Module]) -> String {
    let mut text = String::new();
    for module in modules {
        let (mut name, mut device) = (None, None);
        for alias in module.info("alias") {
            match alias.strip_prefix("devname:") {
                Some(found) => name = Some(found),
                None => device = device_number(alias).or(device),
            }
            if name.is_some() && device.is_some() {
                break;
            }
        }
        if let (Some(name), Some(device)) = (name, device) {
            if text.is_empty() {
                text.push_str("# Device nodes to trigger on-demand module loading.\n");
            }
            let _ = writeln!(text, "{} {name} {device}", module.name);
        }
    }
    text
}

/// `char-major-10-200` is `c10:200`.
fn device_number(alias: &str) -> Option<String> {
    let kinds = [("char-major-", 'c'), ("block-major-", 'b')];
    let (rest, kind) =
        kinds.iter().find_map(|(prefix, kind)| Some((alias.strip_prefix(prefix)?, kind)))?;
    let (major, minor) = rest.split_once('-')?;
    let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
    Some(format!("{kind}{major}:{minor}"))
}

#[cfg(test)]
mod tests;
