//! What a kernel module says of itself.

use std::io::Read;

use object::read::elf::{FileHeader as _, SectionHeader as _, Sym as _};
use object::{Endianness, elf};

use super::MAX_FILE_BYTES;

/// Endings of modules, with how they are compressed.
const ENDINGS: [&str; 4] = [".ko", ".ko.gz", ".ko.xz", ".ko.zst"];

/// A module.
#[derive(Debug)]
pub struct Module {
    /// Name, with `_` for `-`.
    pub name: String,
    /// Path below the kernel's folder.
    pub path: String,
    info: Vec<(String, String)>,
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
    /// Reads a module's sections; `bytes` may be compressed.
    pub fn read(name: String, path: String, bytes: Vec<u8>) -> Result<Self, String> {
        let bytes = unpack(&path, bytes).map_err(|error| error.to_string())?;
        let mut module =
            Self { name, path, info: Vec::new(), exports: Vec::new(), imports: Vec::new() };
        module.sections(&bytes).map_err(|error| error.to_string())?;
        Ok(module)
    }

    /// Values of a key of the module's information.
    pub fn info<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.info.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Path without the ending of its compression, as `modules.order` has it.
    pub fn plain_path(&self) -> &str {
        let found = ENDINGS.iter().find(|ending| self.path.ends_with(**ending));
        found.map_or(&self.path, |ending| &self.path[..self.path.len() - ending.len() + 3])
    }

    fn sections(&mut self, bytes: &[u8]) -> object::Result<()> {
        let header = elf::FileHeader64::<Endianness>::parse(bytes)?;
        let endian = header.endian()?;
        let sections = header.sections(endian, bytes)?;
        let data = |name: &[u8]| match sections.section_by_name(endian, name) {
            Some((_, section)) => section.data(endian, bytes),
            None => Ok(&[][..]),
        };
        let information = strings(data(b".modinfo")?);
        let pair = |text: &String| {
            let (key, value) = text.split_once('=')?;
            Some((key.to_owned(), value.to_owned()))
        };
        self.info = information.iter().filter_map(pair).collect();
        let symbols = sections.symbols(endian, bytes, elf::SHT_SYMTAB)?;
        for symbol in symbols.iter().skip(1) {
            let name = String::from_utf8_lossy(symbols.symbol_name(endian, symbol)?);
            if symbol.is_undefined(endian) && !name.is_empty() {
                self.imports.push(name.trim_start_matches('.').to_owned());
            }
            self.exports.extend(name.strip_prefix("__crc_").map(str::to_owned));
        }
        // Kernels without symbol versions have no checksums.
        if self.exports.is_empty() {
            self.exports = strings(data(b"__ksymtab_strings")?);
        }
        Ok(())
    }
}

fn strings(section: &[u8]) -> Vec<String> {
    let parts = section.split(|byte| *byte == 0).filter(|part| !part.is_empty());
    parts.map(|part| String::from_utf8_lossy(part).into_owned()).collect()
}

fn unpack(path: &str, bytes: Vec<u8>) -> std::io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    let input = bytes.as_slice();
    let limit = MAX_FILE_BYTES;
    match path.rsplit('.').next() {
        Some("gz") => flate2::bufread::GzDecoder::new(input).take(limit).read_to_end(&mut plain)?,
        Some("xz") => {
            liblzma::bufread::XzDecoder::new(input).take(limit).read_to_end(&mut plain)?
        }
        Some("zst") => {
            zstd::stream::read::Decoder::with_buffer(input)?.take(limit).read_to_end(&mut plain)?
        }
        _ => return Ok(bytes),
    };
    Ok(plain)
}
