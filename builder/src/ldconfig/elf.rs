//! What the linker's cache says of a library: kind and soname.

use object::read::elf::{Dyn as _, FileHeader, ProgramHeader as _};
use object::{Endianness, ReadCache, ReadRef, elf};

use crate::tree::{Content, ContentStream};

/// `FLAG_ELF_LIBC6`.
const LIBC6: u32 = 0x0003;
/// `FLAG_X8664_LIB64`, `FLAG_X8664_LIBX32`, `FLAG_AARCH64_LIB64`.
const X86_64: u32 = 0x0300;
const X32: u32 = 0x0800;
const AARCH64: u32 = 0x0a00;
/// More entries than any library's dynamic section has.
const MAX_DYNAMIC_BYTES: u64 = 1 << 20;
const MAX_SONAME: u64 = 255;

/// A shared library.
pub struct Library {
    /// Kind, as the cache numbers it.
    pub flags: u32,
    pub soname: Option<String>,
}

/// Reads a file's headers; none if it is no shared library, such as the linker
/// script that `libc.so` is.
pub fn read(content: &Content) -> Option<Library> {
    let cache = ReadCache::new(ContentStream::new(content));
    let ident = cache.read_bytes_at(0, 20).ok()?;
    if ident[..4] != elf::ELFMAG {
        return None;
    }
    let machine = u16::from_le_bytes([ident[18], ident[19]]);
    match (ident[4], machine) {
        (2, 62) => dynamic::<elf::FileHeader64<Endianness>>(&cache, X86_64 | LIBC6),
        (1, 62) => dynamic::<elf::FileHeader32<Endianness>>(&cache, X32 | LIBC6),
        (1, 3) => dynamic::<elf::FileHeader32<Endianness>>(&cache, LIBC6),
        (2, 183) => dynamic::<elf::FileHeader64<Endianness>>(&cache, AARCH64 | LIBC6),
        _ => None,
    }
}

fn dynamic<H: FileHeader<Endian = Endianness>>(
    data: &ReadCache<ContentStream<'_>>,
    flags: u32,
) -> Option<Library> {
    let header = H::parse(data).ok()?;
    let endian = header.endian().ok()?;
    if header.e_type(endian) != elf::ET_DYN {
        return None;
    }
    let segments = header.program_headers(endian, data).ok()?;
    let found = segments.iter().find(|segment| segment.p_type(endian) == elf::PT_DYNAMIC)?;
    if found.p_filesz(endian).into() > MAX_DYNAMIC_BYTES {
        return None;
    }
    let entries = found.dynamic(endian, data).ok()??;
    let value = |tag| {
        let entry = entries.iter().find(|entry| entry.d_tag(endian) == tag)?;
        Some(entry.d_val(endian).into())
    };
    let strings: u64 = value(elf::DT_STRTAB)?;
    let Some(name): Option<u64> = value(elf::DT_SONAME) else {
        return Some(Library { flags, soname: None });
    };
    let load = segments.iter().find(|segment| {
        let start: u64 = segment.p_vaddr(endian).into();
        segment.p_type(endian) == elf::PT_LOAD
            && strings >= start
            && strings - start < segment.p_filesz(endian).into()
    })?;
    let (address, offset): (u64, u64) = (load.p_vaddr(endian).into(), load.p_offset(endian).into());
    let at = (strings - address).checked_add(offset)?.checked_add(name)?;
    let end = at.checked_add(MAX_SONAME)?.min(data.len().ok()?);
    let bytes = data.read_bytes_at_until(at..end, 0).ok()?;
    let soname = std::str::from_utf8(bytes).ok()?;
    Some(Library { flags, soname: Some(soname.to_owned()) })
}
