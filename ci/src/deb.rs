//! Reading a Debian package: the `ar` archive, its control fields and scripts,
//! and its files with owners and times. It says what is there and judges nothing.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Context, Result, anyhow, bail};

/// The most a member may unpack to: several times the largest of the set.
const MEMBER_LIMIT_BYTES: u64 = 2 << 30;

/// A Debian package, unpacked in memory.
pub struct Deb {
    /// The fields of `control`; continuation lines are joined with newlines.
    pub control: BTreeMap<String, String>,
    /// The other members of the control archive (`postinst`, `conffiles`, …).
    pub scripts: BTreeMap<String, String>,
    /// The payload, in archive order.
    pub entries: Vec<DebEntry>,
}

/// One path of the payload, as the archive has it.
pub struct DebEntry {
    /// Path as archived, without the leading `./`; empty for the root.
    pub path: String,
    /// What it is.
    pub kind: DebKind,
    /// Permission bits.
    pub mode: u16,
    /// Owner's name.
    pub user: String,
    /// Group's name.
    pub group: String,
    /// Seconds since 1970.
    pub mtime: u32,
}

/// The kinds of path a Debian archive holds.
pub enum DebKind {
    /// A file and its bytes.
    Regular(Vec<u8>),
    /// Another name for a path archived earlier.
    HardLink(String),
    /// A symbolic link and its target, as archived.
    Symlink(String),
    /// A directory.
    Directory,
}

impl Deb {
    /// Reads a package from the bytes of its file.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut control = None;
        let mut data = None;
        for (name, member) in ar_members(bytes)? {
            if name.starts_with("control.tar") {
                control = Some(decompress(&name, member)?);
            } else if name.starts_with("data.tar") {
                data = Some(decompress(&name, member)?);
            }
        }
        let scripts = control_members(&control.context("no control.tar member")?)?;
        let text = scripts.get("control").context("no control file")?;
        let control = parse_control(text)?;
        let entries = payload(&data.context("no data.tar member")?)?;
        Ok(Deb { control, scripts, entries })
    }

    /// A control field, or an empty string.
    pub fn field(&self, name: &str) -> &str {
        self.control.get(name).map_or("", String::as_str)
    }

    /// A member of the control archive, or an empty string.
    pub fn script(&self, name: &str) -> &str {
        self.scripts.get(name).map_or("", String::as_str)
    }
}

/// Splits an `ar` archive (ar(5), common format) into named members.
fn ar_members(bytes: &[u8]) -> Result<Vec<(String, &[u8])>> {
    const HEADER_BYTES: usize = 60;
    let mut rest = bytes.strip_prefix(b"!<arch>\n").context("not an ar archive")?;
    let mut members = Vec::new();
    while rest.len() >= HEADER_BYTES {
        let (header, tail) = rest.split_at(HEADER_BYTES);
        let name = std::str::from_utf8(&header[..16])?.trim_end().trim_end_matches('/');
        let size: usize = std::str::from_utf8(&header[48..58])?.trim().parse()?;
        let member = tail.get(..size).ok_or_else(|| anyhow!("member {name} is cut off"))?;
        members.push((name.to_string(), member));
        // Members start at even offsets.
        rest = tail.get(size + size % 2..).unwrap_or_default();
    }
    Ok(members)
}

fn decompress(name: &str, member: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let reader: Box<dyn Read> = match name.rsplit('.').next() {
        Some("xz") => Box::new(liblzma::read::XzDecoder::new(member)),
        Some("zst") => Box::new(zstd::Decoder::new(member)?),
        Some("gz") => Box::new(flate2::read::GzDecoder::new(member)),
        Some("tar") => Box::new(member),
        _ => bail!("member {name} has an unknown compression"),
    };
    let read = reader.take(MEMBER_LIMIT_BYTES + 1).read_to_end(&mut out);
    if read.with_context(|| format!("member {name}"))? as u64 > MEMBER_LIMIT_BYTES {
        bail!("member {name} unpacks to more than {MEMBER_LIMIT_BYTES} bytes");
    }
    Ok(out)
}

fn control_members(archive: &[u8]) -> Result<BTreeMap<String, String>> {
    let mut members = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name =
            String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        members.insert(name, String::from_utf8_lossy(&bytes).into_owned());
    }
    Ok(members)
}

/// Parses the first paragraph of a control file (Debian Policy, chapter 5).
fn parse_control(text: &str) -> Result<BTreeMap<String, String>> {
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    let mut last = None;
    for line in text.lines().take_while(|line| !line.is_empty()) {
        if line.starts_with([' ', '\t']) {
            let field = last.as_ref().and_then(|name| fields.get_mut(name));
            let field = field.context("a continuation line before any field")?;
            field.push('\n');
            field.push_str(&line[1..]);
        } else {
            let (name, value) = line.split_once(':').context("a control line without a colon")?;
            fields.insert(name.to_string(), value.trim().to_string());
            last = Some(name.to_string());
        }
    }
    Ok(fields)
}

fn payload(archive: &[u8]) -> Result<Vec<DebEntry>> {
    let mut entries = Vec::new();
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let path = relative(&entry.path_bytes())?;
        entries
            .push(payload_entry(&mut entry, path.clone()).with_context(|| format!("path {path}"))?);
    }
    Ok(entries)
}

fn payload_entry(entry: &mut tar::Entry<'_, impl Read>, path: String) -> Result<DebEntry> {
    let header = entry.header().clone();
    let link = || -> Result<String> {
        let bytes = entry.link_name_bytes().context("a link without a target")?;
        Ok(String::from_utf8(bytes.into_owned())?)
    };
    let kind = match header.entry_type() {
        tar::EntryType::Directory => DebKind::Directory,
        tar::EntryType::Symlink => DebKind::Symlink(link()?),
        tar::EntryType::Link => DebKind::HardLink(relative(link()?.as_bytes())?),
        tar::EntryType::Regular | tar::EntryType::Continuous => {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            DebKind::Regular(bytes)
        }
        other => bail!("unexpected kind {other:?}"),
    };
    let name = |field: Option<&str>| match field {
        Some(name) if !name.is_empty() => name.to_string(),
        _ => "root".to_string(),
    };
    Ok(DebEntry {
        path,
        kind,
        mode: u16::try_from(header.mode()? & 0o7777)?,
        user: name(header.username()?),
        group: name(header.groupname()?),
        mtime: u32::try_from(header.mtime()?)?,
    })
}

/// `./usr/bin/` as `usr/bin`, the root as an empty string.
fn relative(bytes: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(bytes).context("a path that is not UTF-8")?;
    let path = text.strip_prefix("./").unwrap_or(text).trim_matches('/');
    Ok(if path == "." { String::new() } else { path.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_fields_keep_their_continuations() {
        let fields = parse_control("Package: a\nDescription: one\n two\n .\nX: y\n").unwrap();
        assert_eq!(fields["Description"], "one\ntwo\n.");
        assert_eq!(fields["X"], "y");
        assert!(parse_control(" lost\n").is_err());
    }

    #[test]
    fn a_cut_archive_is_an_error() {
        assert!(Deb::parse(b"!<arch>\n").is_err());
        let mut bytes = b"!<arch>\n".to_vec();
        bytes.extend(format!("{:<48}{:<10}`\n", "data.tar.xz/", 100).bytes());
        let error = Deb::parse(&bytes).err().unwrap().to_string();
        assert!(error.contains("cut off"), "{error}");
    }
}
