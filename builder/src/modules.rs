//! Which kernel modules the initrd needs, and the order to load them in: read
//! from the modules themselves, since `modules.dep` is made by a scriptlet.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use object::{Object, ObjectSection};

/// A module as it goes into the initrd: uncompressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// its name, with underscores
    pub name: String,
    /// the ELF file
    pub bytes: Vec<u8>,
}

/// No module is larger uncompressed.
const MAX_MODULE_BYTES: u64 = 64 << 20;
/// What `xz -9` needs, and some.
const XZ_MEMORY_BYTES: u64 = 128 << 20;

/// Why the modules cannot be gathered.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// Neither a file nor built in.
    #[error("the kernel has no module {name:?}{needed_by}")]
    Missing {
        /// the module
        name: String,
        /// ", needed by …", or nothing
        needed_by: String,
    },
    /// The file is not one.
    #[error("{path} is not a kernel module")]
    NotAModule {
        /// its path in the tree
        path: String,
    },
    /// It does not decompress.
    #[error("cannot decompress {path}")]
    Compressed {
        /// its path in the tree
        path: String,
        /// why
        source: std::io::Error,
    },
}

#[derive(Debug)]
struct Info {
    path: String,
    depends: Vec<String>,
    softdeps: Vec<String>,
}

/// What every module of a kernel says of itself.
#[derive(Debug, Default)]
pub struct ModuleIndex {
    modules: BTreeMap<String, Info>,
    aliases: BTreeMap<String, BTreeSet<String>>,
    builtin: BTreeSet<String>,
}

/// `path/to/dm-verity.ko.xz` is the module `dm_verity`.
fn name_of(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let (stem, rest) = file.split_once(".ko")?;
    ["", ".gz", ".xz", ".zst"].contains(&rest).then(|| normal(stem))
}

fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// The uncompressed module in a file of this path.
pub fn decompress(path: &str, bytes: Vec<u8>) -> Result<Vec<u8>, ModuleError> {
    let failed = |source| ModuleError::Compressed { path: path.into(), source };
    let mut reader: Box<dyn Read> = match path.rsplit('.').next() {
        Some("gz") => Box::new(flate2::read::GzDecoder::new(bytes.as_slice())),
        Some("xz") => {
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_BYTES, 0);
            let stream = stream.map_err(|error| failed(error.into()))?;
            Box::new(liblzma::read::XzDecoder::new_stream(bytes.as_slice(), stream))
        }
        Some("zst") => {
            Box::new(zstd::stream::read::Decoder::new(bytes.as_slice()).map_err(failed)?)
        }
        _ => return Ok(bytes),
    };
    let mut out = Vec::new();
    reader.by_ref().take(MAX_MODULE_BYTES + 1).read_to_end(&mut out).map_err(failed)?;
    if out.len() as u64 > MAX_MODULE_BYTES {
        return Err(failed(std::io::Error::other("larger than 64 MiB")));
    }
    Ok(out)
}

impl ModuleIndex {
    /// Takes in one file below `/usr/lib/modules/<release>/`, with its
    /// uncompressed bytes. Files that are not modules are passed over.
    pub fn add(&mut self, path: &str, bytes: &[u8]) -> Result<(), ModuleError> {
        let Some(name) = name_of(path) else {
            return Ok(());
        };
        let not_one = || ModuleError::NotAModule { path: path.into() };
        let elf = object::File::parse(bytes).map_err(|_| not_one())?;
        let section = elf.section_by_name(".modinfo").ok_or_else(not_one)?;
        let modinfo = section.data().map_err(|_| not_one())?;
        let mut info = Info { path: path.into(), depends: Vec::new(), softdeps: Vec::new() };
        for entry in modinfo.split(|byte| *byte == 0) {
            match String::from_utf8_lossy(entry).split_once('=') {
                Some(("depends", list)) => {
                    info.depends = list.split(',').filter(|n| !n.is_empty()).map(normal).collect();
                }
                Some(("softdep", list)) => info.softdeps.extend(pre_softdeps(list)),
                Some(("alias", alias)) => {
                    self.aliases.entry(normal(alias)).or_default().insert(name.clone());
                }
                _ => {}
            }
        }
        self.modules.insert(name, info);
        Ok(())
    }

    /// Takes in the text of `modules.builtin`.
    pub fn add_builtin(&mut self, text: &str) {
        self.builtin.extend(text.lines().filter_map(name_of));
    }

    /// Paths of the modules needed for `wanted`, in the order to load them.
    /// What is built into the kernel needs no file.
    pub fn load_order(&self, wanted: &[String]) -> Result<Vec<&str>, ModuleError> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for name in wanted {
            self.visit(&normal(name), None, &mut seen, &mut order)?;
        }
        Ok(order)
    }

    fn visit<'i>(
        &'i self,
        name: &str,
        needed_by: Option<&str>,
        seen: &mut BTreeSet<String>,
        order: &mut Vec<&'i str>,
    ) -> Result<(), ModuleError> {
        // a module that names itself again, through others, is not loaded twice
        if self.builtin.contains(name) || !seen.insert(name.to_owned()) {
            return Ok(());
        }
        let Some(info) = self.modules.get(name) else {
            let needed_by = needed_by.map(|by| format!(", needed by {by}")).unwrap_or_default();
            return Err(ModuleError::Missing { name: name.into(), needed_by });
        };
        for soft in &info.softdeps {
            // a wish: an alias may name several modules, or none that exist
            let named = self.modules.contains_key(soft).then(|| soft.clone());
            let aliased = self.aliases.get(soft).into_iter().flatten().cloned();
            for choice in named.into_iter().chain(aliased) {
                self.visit(&choice, Some(name), seen, order)?;
            }
        }
        for needed in &info.depends {
            self.visit(needed, Some(name), seen, order)?;
        }
        order.push(&info.path);
        Ok(())
    }
}

/// The `pre:` part of a softdep: `pre: a b post: c` gives a and b.
fn pre_softdeps(list: &str) -> Vec<String> {
    let mut pre = false;
    let mut names = Vec::new();
    for word in list.split_whitespace() {
        match word {
            "pre:" => pre = true,
            "post:" => pre = false,
            name if pre => names.push(normal(name)),
            _ => {}
        }
    }
    names
}

/// A module from its path and bytes.
pub fn module(path: &str, bytes: Vec<u8>) -> Result<Module, ModuleError> {
    let name = name_of(path).ok_or_else(|| ModuleError::NotAModule { path: path.into() })?;
    Ok(Module { name, bytes: decompress(path, bytes)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(modules: &[(&str, &[&str], &[&str])]) -> ModuleIndex {
        let mut index = ModuleIndex::default();
        for (name, depends, softdeps) in modules {
            let info = Info {
                path: format!("kernel/{name}.ko"),
                depends: depends.iter().map(ToString::to_string).collect(),
                softdeps: softdeps.iter().map(ToString::to_string).collect(),
            };
            index.modules.insert((*name).into(), info);
        }
        index
    }

    fn order(index: &ModuleIndex, wanted: &[&str]) -> Result<Vec<String>, ModuleError> {
        let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        Ok(index.load_order(&wanted)?.into_iter().map(ToOwned::to_owned).collect())
    }

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let mut index = index(&[
            ("dm_verity", &["dm_mod", "dm_bufio"], &[]),
            ("dm_bufio", &["dm_mod"], &[]),
            ("dm_mod", &[], &["nothing_here"]),
            ("ext4", &["jbd2"], &["crc32c"]),
            ("jbd2", &[], &[]),
            ("crc32c_generic", &[], &[]),
        ]);
        index.aliases.entry("crc32c".into()).or_default().insert("crc32c_generic".into());
        index.add_builtin("kernel/fs/overlayfs/overlay.ko\n");
        assert_eq!(
            order(&index, &["dm-verity", "ext4", "overlay"]).expect("all there"),
            ["dm_mod", "dm_bufio", "dm_verity", "crc32c_generic", "jbd2", "ext4"]
                .map(|name| format!("kernel/{name}.ko"))
        );
        let missing = order(&index, &["nfs"]).expect_err("not there").to_string();
        assert_eq!(missing, "the kernel has no module \"nfs\"");
    }

    #[test]
    fn names_and_softdeps() {
        assert_eq!(name_of("a/dm-verity.ko.xz").as_deref(), Some("dm_verity"));
        assert_eq!(name_of("a/modules.dep"), None);
        assert_eq!(name_of("a/x.ko.txt"), None);
        assert_eq!(pre_softdeps("pre: crc32c a-b post: c"), ["crc32c", "a_b"]);
    }
}
