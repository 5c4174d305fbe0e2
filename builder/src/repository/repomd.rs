//! `repomd.xml`: the list of a repository's metadata files with their sizes
//! and digests. The only file whose signature is checked; it vouches for the
//! others.

use formats::Digest;

use super::xml::{Document, Fault, Piece};

/// Real ones have a few kilobytes.
pub(super) const MAX_BYTES: u64 = 1 << 20;
/// No file of metadata may be longer, packed or unpacked.
pub(super) const MAX_METADATA_BYTES: u64 = 2 << 30;

/// A metadata file as `repomd.xml` announces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MetadataFile {
    /// Where it is, relative to the repository.
    pub href: String,
    /// SHA-256 as it is transferred.
    pub digest: Digest,
    /// Bytes as it is transferred.
    pub size: u64,
    /// Bytes when unpacked.
    pub open_size: u64,
}

/// The two files that are used.
#[derive(Debug)]
pub(super) struct Repomd {
    /// When it was made, or a count: larger is newer. Not all say it.
    pub revision: Option<u64>,
    pub primary: MetadataFile,
    pub filelists: Option<MetadataFile>,
}

#[derive(Default)]
struct Draft {
    href: Option<String>,
    digest: Option<Digest>,
    size: Option<u64>,
    open_size: Option<u64>,
}

/// Reads `repomd.xml`.
pub(super) fn parse(bytes: &[u8]) -> Result<Repomd, Fault> {
    let mut document = Document::new(bytes, MAX_BYTES);
    let (mut primary, mut filelists, mut revision) = (None, None, None);
    let mut kind = String::new();
    let mut draft = Draft::default();
    let mut text = String::new();
    loop {
        match document.next()? {
            Piece::Begin(element) => {
                text.clear();
                match element.name() {
                    "data" => {
                        kind = element.required("type")?;
                        draft = Draft::default();
                    }
                    "location" => draft.href = Some(element.required("href")?),
                    "checksum" if element.required("type")? == "sha256" => {}
                    "checksum" => kind.push_str(" without SHA-256"),
                    _ => {}
                }
            }
            Piece::Text(piece) => text.push_str(&piece),
            Piece::End(end) => match (end.name(), kind.as_str()) {
                ("revision", "") => revision = text.trim().parse().ok(),
                ("checksum", _) => draft.digest = text.trim().parse().ok(),
                ("size", _) => draft.size = text.trim().parse().ok(),
                ("open-size", _) => draft.open_size = text.trim().parse().ok(),
                ("data", "primary") => primary = Some(draft.finish(&kind)?),
                ("data", "filelists") => filelists = Some(draft.finish(&kind)?),
                ("data", "primary without SHA-256") => {
                    return Err("its primary metadata has no SHA-256".to_owned());
                }
                _ => {}
            },
            Piece::Other => {}
            Piece::Over => break,
        }
    }
    let primary = primary.ok_or("it names no primary metadata")?;
    Ok(Repomd { revision, primary, filelists })
}

impl Draft {
    fn finish(&mut self, kind: &str) -> Result<MetadataFile, Fault> {
        let missing = |what| move || format!("its entry for {kind} has no usable {what}");
        let file = MetadataFile {
            href: self.href.take().ok_or_else(missing("location"))?,
            digest: self.digest.ok_or_else(missing("checksum"))?,
            size: self.size.ok_or_else(missing("size"))?,
            open_size: self.open_size.ok_or_else(missing("open-size"))?,
        };
        if file.size.max(file.open_size) > MAX_METADATA_BYTES {
            return Err(format!("its entry for {kind} is too large"));
        }
        Ok(file)
    }
}
