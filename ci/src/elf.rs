//! The dependencies an ELF file has and offers, in the words rpm's own
//! generator uses: `libc.so.6()(64bit)`, `libc.so.6(GLIBC_2.36)(64bit)`. 64-bit
//! x86 only; anything that is not such a file has none.

use std::collections::BTreeSet;

use anyhow::Result;
use object::Endianness;
use object::elf;
use object::elf::FileHeader64;
use object::read::elf::{FileHeader, SectionTable};

/// What one or more ELF files provide and require.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ElfDependencies {
    /// Sonames and the symbol versions defined in them.
    pub provides: BTreeSet<String>,
    /// Needed sonames, symbol versions, and `rtld(GNU_HASH)`.
    pub requires: BTreeSet<String>,
}

impl ElfDependencies {
    /// Adds what `bytes` provides and requires; a file that is no 64-bit
    /// executable or shared object adds nothing.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<()> {
        if !bytes.starts_with(&elf::ELFMAG) || bytes.get(4) != Some(&2) {
            return Ok(());
        }
        let header = FileHeader64::<Endianness>::parse(bytes)?;
        let endian = header.endian()?;
        let kind = header.e_type(endian);
        if kind != elf::ET_DYN && kind != elf::ET_EXEC {
            return Ok(());
        }
        let sections = header.sections(endian, bytes)?;
        let soname = self.scan_dynamic(&sections, endian, bytes)?;
        self.scan_needed_versions(&sections, endian, bytes)?;
        match soname {
            Some(soname) => self.scan_defined_versions(&soname, &sections, endian, bytes),
            None => Ok(()),
        }
    }

    fn scan_dynamic(
        &mut self,
        sections: &Sections,
        endian: Endianness,
        bytes: &[u8],
    ) -> Result<Option<String>> {
        let table = sections.dynamic_table(endian, bytes)?;
        let mut soname = None;
        let (mut gnu_hash, mut old_hash) = (false, false);
        for entry in &table {
            match entry.tag {
                elf::DT_NEEDED => {
                    self.requires.insert(capability(&text(table.string(entry)?), ""));
                }
                elf::DT_SONAME => soname = Some(text(table.string(entry)?)),
                elf::DT_GNU_HASH => gnu_hash = true,
                elf::DT_HASH => old_hash = true,
                _ => {}
            }
        }
        if gnu_hash && !old_hash {
            self.requires.insert("rtld(GNU_HASH)".into());
        }
        if let Some(soname) = &soname {
            self.provides.insert(capability(soname, ""));
        }
        Ok(soname)
    }

    fn scan_needed_versions(
        &mut self,
        sections: &Sections,
        endian: Endianness,
        bytes: &[u8],
    ) -> Result<()> {
        let Some((mut files, link)) = sections.gnu_verneed(endian, bytes)? else {
            return Ok(());
        };
        let strings = sections.strings(endian, bytes, link)?;
        while let Some((file, mut versions)) = files.next()? {
            let soname = text(file.file(endian, strings)?);
            while let Some(version) = versions.next()? {
                let version = text(version.name(endian, strings)?);
                self.requires.insert(capability(&soname, &version));
            }
        }
        Ok(())
    }

    fn scan_defined_versions(
        &mut self,
        soname: &str,
        sections: &Sections,
        endian: Endianness,
        bytes: &[u8],
    ) -> Result<()> {
        let Some((mut definitions, link)) = sections.gnu_verdef(endian, bytes)? else {
            return Ok(());
        };
        let strings = sections.strings(endian, bytes, link)?;
        while let Some((definition, mut names)) = definitions.next()? {
            // The base definition names the file itself.
            if (definition.vd_flags.get(endian) & elf::VER_FLG_BASE).0 != 0 {
                continue;
            }
            if let Some(name) = names.next()? {
                let version = text(name.name(endian, strings)?);
                self.provides.insert(capability(soname, &version));
            }
        }
        Ok(())
    }
}

type Sections<'data> = SectionTable<'data, FileHeader64<Endianness>>;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn capability(soname: &str, version: &str) -> String {
    format!("{soname}({version})(64bit)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_its_own_executable() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let mut found = ElfDependencies::default();
        found.scan(&bytes).unwrap();
        assert!(found.requires.contains("libc.so.6()(64bit)"), "{found:?}");
        assert!(found.requires.iter().any(|r| r.starts_with("libc.so.6(GLIBC_2.")), "{found:?}");
        assert!(found.provides.is_empty());
    }

    #[test]
    fn leaves_other_files_alone() {
        let mut found = ElfDependencies::default();
        found.scan(b"#!/bin/sh\n").unwrap();
        found.scan(b"\x7fELF").unwrap();
        assert_eq!(found, ElfDependencies::default());
    }

    #[test]
    fn refuses_a_truncated_file() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(ElfDependencies::default().scan(&bytes[..200]).is_err());
    }
}
