//! What a kernel module says of itself.

use object::read::elf::{FileHeader as _, SectionHeader as _, Sym as _};
use object::{Endianness, elf};

use crate::modules::{self, ModuleError, Room};

/// Endings of modules, with how they are compressed.
const ENDINGS: [&str; 4] = [".ko", ".ko.gz", ".ko.xz", ".ko.zst"];

/// What of a module's information goes into an index.
const KEYS: [&str; 2] = ["alias", "softdep"];

/// A module.
#[derive(Debug)]
pub struct Module {
    /// Name, with `_` for `-`.
    pub name: String,
    /// Path below the kernel's folder.
    pub path: String,
    /// Values of [`KEYS`].
    info: Vec<(&'static str, String)>,
    /// Symbols that others may use.
    pub exports: Vec<String>,
    /// Symbols of others, in the order of its symbol table.
    pub imports: Vec<String>,
}

/// Whether a file is a module by its name.
pub fn is_module_name(name: &str) -> bool {
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// The module's name for its path.
pub fn name_of(path: &str) -> String {
    let base = path.rsplit('/').next().unwrap_or(path);
    base.split('.').next().unwrap_or(base).replace('-', "_")
}

impl Module {
    /// Reads the module at `place`, whose `bytes` may be compressed, and takes
    /// from `room` what is kept of it. `path` is that below the kernel's folder.
    pub fn read(
        place: &str,
        path: String,
        bytes: Vec<u8>,
        room: &Room,
    ) -> Result<Self, ModuleError> {
        let bytes = modules::decompress(place, bytes)?;
        let (info, exports, imports) = (Vec::new(), Vec::new(), Vec::new());
        let mut module = Self { name: name_of(&path), path, info, exports, imports };
        let read = module.sections(&bytes);
        read.map_err(|_| ModuleError::NotAModule { path: place.to_owned() })?;
        room.take(place, module.texts())?;
        Ok(module)
    }

    fn texts(&self) -> impl Iterator<Item = &String> {
        let info = self.info.iter().map(|(_, value)| value);
        info.chain(&self.exports).chain(&self.imports)
    }

    /// Values of a key of the module's information.
    pub fn info<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.info.iter().filter(move |(name, _)| *name == key).map(|(_, value)| value.as_str())
    }

    /// Path without the ending of its compression, as `modules.order` has it.
    pub fn plain_path(&self) -> &str {
        let found = ENDINGS.iter().find(|ending| self.path.ends_with(**ending));
        found.map_or(&self.path, |ending| &self.path[..self.path.len() - ending.len() + 3])
    }

    fn sections(&mut self, bytes: &[u8]) -> Result<(), Damaged> {
        let header = elf::FileHeader64::<Endianness>::parse(bytes)?;
        let endian = header.endian()?;
        let sections = header.sections(endian, bytes)?;
        let data = |name: &[u8]| match sections.section_by_name(endian, name) {
            Some((_, section)) => section.data(endian, bytes),
            None => Ok(&[][..]),
        };
        let pair = |text: String| {
            let (key, value) = text.split_once('=')?;
            let key = KEYS.iter().find(|known| **known == key)?;
            Some((*key, value.to_owned()))
        };
        self.info = strings(data(b".modinfo")?).filter_map(pair).collect();
        let symbols = sections.symbols(endian, bytes, elf::SHT_SYMTAB)?;
        let mut names_bytes = 0;
        for symbol in symbols.iter().skip(1) {
            let name = symbols.symbol_name(endian, symbol)?;
            // The table may name one long text a million times.
            names_bytes += name.len();
            if names_bytes > bytes.len() {
                return Err(Damaged);
            }
            let name = String::from_utf8_lossy(name);
            if symbol.is_undefined(endian) && !name.is_empty() {
                self.imports.push(name.trim_start_matches('.').to_owned());
            }
            self.exports.extend(name.strip_prefix("__crc_").map(str::to_owned));
        }
        // Kernels without symbol versions have no checksums.
        if self.exports.is_empty() {
            self.exports = strings(data(b"__ksymtab_strings")?).collect();
        }
        Ok(())
    }
}

/// It is no module, or none of a compiler's.
struct Damaged;

impl From<object::Error> for Damaged {
    fn from(_: object::Error) -> Self {
        Self
    }
}

fn strings(section: &[u8]) -> impl Iterator<Item = String> {
    let parts = section.split(|byte| *byte == 0).filter(|part| !part.is_empty());
    parts.map(|part| String::from_utf8_lossy(part).into_owned())
}

#[cfg(test)]
impl Module {
    /// The module `own`, which uses a symbol of the module `other`.
    pub fn that_uses(own: usize, other: usize) -> Self {
        let (name, path) = (format!("m{own}"), format!("kernel/m{own}.ko"));
        let (exports, imports) = (vec![format!("s{own}")], vec![format!("s{other}")]);
        Self { name, path, info: Vec::new(), exports, imports }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::testing;

    #[test]
    fn what_is_kept_of_all_modules_is_bounded() {
        let read = |room: &Room| {
            let elf = testing::elf(b"license=GPL\0alias=pci:v1\0softdep=pre: x\0");
            Module::read("/lib/modules/6.6/m.ko", "m.ko".to_owned(), elf, room)
        };
        let room = Room::of(2 * ("pci:v1".len() + "pre: x".len() + 2 * 24));
        assert_eq!(read(&room).unwrap().info("alias").collect::<Vec<_>>(), ["pci:v1"]);
        read(&room).unwrap();
        let error = read(&room).unwrap_err().to_string();
        assert!(error.starts_with("/lib/modules/6.6/m.ko: "), "{error}");
    }

    #[test]
    fn symbols_that_share_one_long_name_are_refused() {
        let table = |count| testing::elf_with_symbols(&"n".repeat(4000), count);
        let read = |elf| Module::read("/m.ko", "m.ko".to_owned(), elf, &Room::default());
        assert_eq!(read(table(1)).unwrap().imports.len(), 1);
        assert!(matches!(read(table(1000)), Err(ModuleError::NotAModule { .. })));
    }
}
