//! The EFI variable by which slipway-boot tells which partition was started.

use std::path::Path;

use formats::guid::Guid;

use crate::error::{At, During};

/// Where efivarfs is mounted.
pub const EFIVARS: &str = "/sys/firmware/efi/efivars";
/// Vendor GUID of the Boot Loader Interface.
const STARTED_FROM: &str = "LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// The variable is there and cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadVariable {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] At),
    /// It is not a GUID.
    #[error("the EFI variable LoaderDevicePartUUID is not a GUID")]
    NotAGuid,
}

/// The partition this boot was started from; `None` without firmware that
/// says so, as under a direct kernel boot.
pub fn started_from() -> Result<Option<Guid>, BadVariable> {
    let path = Path::new(EFIVARS).join(STARTED_FROM);
    let bytes = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.during("read", path)?,
    };
    parse(&bytes).map(Some).ok_or(BadVariable::NotAGuid)
}

/// Four attribute bytes, then UTF-16 with or without a terminating NUL.
fn parse(bytes: &[u8]) -> Option<Guid> {
    let units: Vec<u16> = bytes
        .get(4..)?
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .collect();
    let text = String::from_utf16(&units).ok()?;
    text.trim_end_matches('\0').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_and_without_the_terminator_in_either_case() {
        let variable = |text: &str| {
            let mut bytes = vec![6, 0, 0, 0];
            bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
            bytes
        };
        let text = "9D1F6C2E-5B0A-4E53-8D27-51F07A3CBE03";
        let guid = text.parse().ok();
        assert!(guid.is_some());
        assert_eq!(parse(&variable(text)), guid);
        assert_eq!(parse(&variable(&format!("{}\0", text.to_lowercase()))), guid);
        for bad in [&b""[..], b"\x06\0\0", b"\x06\0\0\0", b"\x06\0\0\0a\0b"] {
            assert_eq!(parse(bad), None);
        }
    }
}
