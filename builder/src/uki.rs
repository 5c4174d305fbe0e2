//! Unified kernel images (UAPI group specification 5): sections appended to
//! systemd's EFI stub, at addresses that follow from the stub itself.

/// Contents of a UKI.
#[derive(Clone, Copy, Debug)]
pub struct UkiParts<'a> {
    /// os-release text
    pub osrel: &'a [u8],
    /// kernel command line
    pub cmdline: &'a [u8],
    /// kernel release, as `uname -r` says it
    pub uname: &'a [u8],
    /// the initrd
    pub initrd: &'a [u8],
    /// the kernel image
    pub linux: &'a [u8],
}

/// Why a stub cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the EFI stub cannot be used: {0}")]
pub struct BadStub(&'static str);

const SECTION_BYTES: usize = 40;
/// IMAGE_SCN_CNT_INITIALIZED_DATA and IMAGE_SCN_MEM_READ
const DATA_READ: u32 = 0x4000_0040;
/// The image's length is a multiple of this, so that it fills whole blocks of
/// its partition.
const IMAGE_ALIGN: usize = 4096;
/// Largest alignment in a file (PE format, optional header, `FileAlignment`).
const MAX_FILE_ALIGN: usize = 64 << 10;

/// Where the headers of a PE32+ image lie (PE format, revision 2023).
struct Headers {
    sections_at: usize,
    sections: usize,
    optional_at: usize,
    section_align: u32,
    file_align: usize,
    headers_len: usize,
    coff_at: usize,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

impl Headers {
    fn parse(pe: &[u8]) -> Option<Self> {
        let pe_at = u32_at(pe, 0x3c)? as usize;
        if pe.get(..2)? != b"MZ" || pe.get(pe_at..pe_at.checked_add(4)?)? != b"PE\0\0" {
            return None;
        }
        let coff_at = pe_at + 4;
        let optional_at = coff_at + 20;
        if u16_at(pe, optional_at)? != 0x20b {
            return None;
        }
        let headers = Self {
            coff_at,
            optional_at,
            sections: u16_at(pe, coff_at + 2)?.into(),
            sections_at: optional_at + usize::from(u16_at(pe, coff_at + 16)?),
            section_align: u32_at(pe, optional_at + 32)?,
            file_align: u32_at(pe, optional_at + 36)? as usize,
            headers_len: u32_at(pe, optional_at + 60)? as usize,
        };
        let aligned =
            headers.section_align.is_power_of_two() && headers.file_align.is_power_of_two();
        // More would only make the image large.
        let aligned = aligned && headers.file_align <= MAX_FILE_ALIGN;
        let inside = headers.headers_len <= pe.len()
            && headers.sections_at + headers.sections * SECTION_BYTES <= headers.headers_len;
        (aligned && inside).then_some(headers)
    }

    /// The first address behind every section.
    fn end_of_image(&self, pe: &[u8]) -> Option<u32> {
        let mut end = 0;
        for section in 0..self.sections {
            let at = self.sections_at + section * SECTION_BYTES;
            end = end.max(u32_at(pe, at + 12)?.checked_add(u32_at(pe, at + 8)?)?);
        }
        end.checked_next_multiple_of(self.section_align)
    }
}

/// The sections of a PE32+ image: their names, and where in the file they lie.
#[must_use]
pub fn sections(pe: &[u8]) -> Option<Vec<(String, std::ops::Range<usize>)>> {
    let headers = Headers::parse(pe)?;
    // Together they cannot have more bytes than there are, unless they overlap.
    let mut left = pe.len();
    let section = |number: usize| {
        let at = headers.sections_at + number * SECTION_BYTES;
        let name = pe.get(at..at + 8)?.split(|byte| *byte == 0).next().unwrap_or_default();
        let (len, start) = (u32_at(pe, at + 16)? as usize, u32_at(pe, at + 20)? as usize);
        let range = start..start.checked_add(len)?;
        pe.get(range.clone())?;
        left = left.checked_sub(len)?;
        Some((String::from_utf8_lossy(name).into_owned(), range))
    };
    (0..headers.sections).map(section).collect()
}

/// The UKI: the stub with the parts appended as sections.
pub fn assemble(stub: &[u8], parts: &UkiParts<'_>) -> Result<Vec<u8>, BadStub> {
    let headers = Headers::parse(stub).ok_or(BadStub("it is not a PE32+ image"))?;
    // the kernel last: it may unpack itself past its end
    let new: [(&[u8; 8], &[u8]); 5] = [
        (b".osrel\0\0", parts.osrel),
        (b".cmdline", parts.cmdline),
        (b".uname\0\0", parts.uname),
        (b".initrd\0", parts.initrd),
        (b".linux\0\0", parts.linux),
    ];
    let table_end = headers.sections_at + (headers.sections + new.len()) * SECTION_BYTES;
    if table_end > headers.headers_len {
        return Err(BadStub("its headers have no room for more sections"));
    }
    let too_large = BadStub("the image would pass 4 GiB");
    let mut address = headers.end_of_image(stub).ok_or(too_large)?;
    let mut pe = stub.to_vec();
    pe.resize(pe.len().next_multiple_of(headers.file_align), 0);
    for (number, (name, content)) in new.into_iter().enumerate() {
        let size = u32::try_from(content.len()).map_err(|_| too_large)?;
        let file_at = u32::try_from(pe.len()).map_err(|_| too_large)?;
        pe.extend_from_slice(content);
        pe.resize(pe.len().next_multiple_of(headers.file_align), 0);
        let file_len = u32::try_from(pe.len()).map_err(|_| too_large)? - file_at;
        let at = headers.sections_at + (headers.sections + number) * SECTION_BYTES;
        put(&mut pe, at, name);
        for (field, value) in
            [(8, size), (12, address), (16, file_len), (20, file_at), (36, DATA_READ)]
        {
            put(&mut pe, at + field, &u32::to_le_bytes(value));
        }
        address = address
            .checked_add(size)
            .and_then(|end| end.checked_next_multiple_of(headers.section_align))
            .ok_or(too_large)?;
    }
    let count = u16::try_from(headers.sections + new.len()).map_err(|_| too_large)?;
    put(&mut pe, headers.coff_at + 2, &count.to_le_bytes());
    put(&mut pe, headers.optional_at + 56, &address.to_le_bytes()); // SizeOfImage
    put(&mut pe, headers.optional_at + 64, &[0; 4]); // CheckSum: firmware ignores it
    pe.resize(pe.len().next_multiple_of(IMAGE_ALIGN), 0);
    Ok(pe)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: UkiParts<'_> = UkiParts {
        osrel: b"ID=test\n",
        cmdline: b"quiet",
        uname: b"6.1.0",
        initrd: b"initrd",
        linux: b"kernel",
    };

    #[test]
    fn what_is_not_a_stub_is_refused_at_any_length() {
        let mut pe = vec![0; 1024];
        put(&mut pe, 0, b"MZ");
        put(&mut pe, 0x3c, &64u32.to_le_bytes());
        put(&mut pe, 64, b"PE\0\0");
        put(&mut pe, 64 + 24, &0x20bu16.to_le_bytes());
        for len in 0..pe.len() {
            assert!(assemble(&pe[..len], &PARTS).is_err());
        }
        put(&mut pe, 0x3c, &u32::MAX.to_le_bytes());
        assert!(assemble(&pe, &PARTS).is_err());
    }

    #[test]
    fn sections_over_the_same_bytes_are_refused() {
        let mut pe = vec![0; 1024];
        let headers: [(usize, &[u8]); 8] = [
            (0, b"MZ"),
            (0x3c, &64_u32.to_le_bytes()),
            (64, b"PE\0\0"),
            (70, &2_u16.to_le_bytes()),
            (84, &112_u16.to_le_bytes()),
            (88, &0x20b_u16.to_le_bytes()),
            (120, &[4096_u32, 512].map(u32::to_le_bytes).concat()),
            (148, &1024_u32.to_le_bytes()),
        ];
        headers.iter().for_each(|(at, bytes)| put(&mut pe, *at, bytes));
        let mut sizes = |one: u32, other: u32| {
            put(&mut pe, 200 + 16, &one.to_le_bytes());
            put(&mut pe, 240 + 16, &other.to_le_bytes());
            sections(&pe).map(|found| found.len())
        };
        assert_eq!(sizes(512, 512), Some(2));
        assert_eq!(sizes(1024, 1024), None);
    }

    #[test]
    fn objcopy_reads_the_sections_back() {
        let stub = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
        let Ok(stub) = std::fs::read(stub) else {
            return skip::because(format_args!("{stub} is not there"));
        };
        let pe = assemble(&stub, &PARTS).expect("systemd's stub");
        assert_eq!(pe.len() % IMAGE_ALIGN, 0);
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("uki.efi");
        std::fs::write(&file, pe).expect("written");
        let read = folder.path().join("cmdline");
        let section = format!("--dump-section=.cmdline={}", read.display());
        let mut objcopy = std::process::Command::new("objcopy");
        let dump = objcopy.arg(section).arg(&file).arg(folder.path().join("copy")).output();
        let Ok(dump) = dump else { return skip::because("objcopy is not there") };
        assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
        let read = std::fs::read(read).expect("dumped");
        assert_eq!(&read[..5], b"quiet");
    }
}
