//! A tree as a POSIX tar (pax): entries in path order, owners as numbers,
//! extended attributes as `SCHILY.xattr.NAME` records, which GNU tar, bsdtar
//! and container tools read. What fits a ustar header is not repeated in pax
//! records.

use std::collections::BTreeMap;
use std::io::{self, Write};

use ::tar::{EntryType, Header};

use super::ArchiveError;
use crate::tree::{Content, ContentReader, Inode, InodeId, Metadata, Node, Tree, TreePath};

/// Tar's unit.
const BLOCK_BYTES: usize = 512;
/// Room for a name, and for a link's target, in a ustar header.
const NAME_BYTES: usize = 100;
/// Largest number in eight and in twelve octal digits, less the NUL.
const MAX_ID: u32 = 0o7_777_777;
const MAX_LONG: u64 = 0o77_777_777_777;
/// File data is copied in pieces of this size.
const COPY_BYTES: usize = 1 << 20;

/// One member's header, to be told to [`Writer`].
pub struct Member<'a> {
    pub name: &'a str,
    pub kind: EntryType,
    /// of a link
    pub target: &'a str,
    pub size_bytes: u64,
    /// attributes included: what it is not to have is left out by the caller
    pub meta: &'a Metadata,
    /// major and minor number
    pub device: (u32, u32),
}

/// Writes members one after the other.
pub struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    pub fn new(out: W) -> Self {
        Self { out }
    }

    /// The header of a member whose bytes follow.
    pub fn begin(&mut self, member: &Member<'_>) -> io::Result<()> {
        let records = records(member);
        if !records.is_empty() {
            let name = format!("PaxHeaders/{}", shortened(member.name, NAME_BYTES - 11));
            let plain = Metadata::root(0o644, 0);
            let mut header = header(&Member {
                name: &name,
                kind: EntryType::XHeader,
                target: "",
                size_bytes: records.len() as u64,
                meta: &plain,
                device: (0, 0),
            });
            header.set_cksum();
            self.out.write_all(header.as_bytes())?;
            self.out.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        self.out.write_all(header(member).as_bytes())
    }

    /// Some of the bytes of a member.
    pub fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    /// The end of a member of this size.
    pub fn pad(&mut self, size_bytes: u64) -> io::Result<()> {
        let padding = size_bytes.next_multiple_of(BLOCK_BYTES as u64) - size_bytes;
        self.out.write_all(&[0; BLOCK_BYTES][..usize::try_from(padding).unwrap_or(0)])
    }

    /// The end of the archive.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK_BYTES])?;
        Ok(self.out)
    }
}

/// Writes `tree` to `out`.
pub fn write(tree: &Tree, out: &mut impl Write) -> Result<(), ArchiveError> {
    let mut writer = Writer::new(out);
    let mut reader = ContentReader::default();
    let mut seen: BTreeMap<InodeId, String> = BTreeMap::new();
    for (path, id) in tree.entries() {
        let inode = tree.inode(id);
        let name = name_of(&path, inode.node.is_directory());
        if let Some(first) = seen.get(&id) {
            writer.begin(&hard_link(&name, first, &without_xattrs(&inode.meta)))?;
            continue;
        }
        writer.begin(&member(&path, &name, inode)?)?;
        if let Node::File(content) = &inode.node {
            let failed = |source| ArchiveError::Content { path: path.clone(), source };
            for_each_piece(&mut reader, content, failed, |piece| writer.put(piece))?;
            writer.pad(content.size_bytes())?;
        }
        if !inode.node.is_directory() {
            seen.insert(id, name);
        }
    }
    writer.finish()?;
    Ok(())
}

/// Names are relative, and a directory's ends with a slash.
fn name_of(path: &TreePath, directory: bool) -> String {
    match path.as_str().trim_start_matches('/') {
        "" => "./".to_owned(),
        name if directory => format!("{name}/"),
        name => name.to_owned(),
    }
}

fn without_xattrs(meta: &Metadata) -> Metadata {
    Metadata { xattrs: BTreeMap::new(), ..meta.clone() }
}

fn hard_link<'a>(name: &'a str, first: &'a str, meta: &'a Metadata) -> Member<'a> {
    Member { name, kind: EntryType::Link, target: first, size_bytes: 0, meta, device: (0, 0) }
}

fn member<'a>(
    path: &TreePath,
    name: &'a str,
    inode: &'a Inode,
) -> Result<Member<'a>, ArchiveError> {
    // a record's name ends at the first equals sign
    if let Some(name) = inode.meta.xattrs.keys().find(|name| name.contains('=')) {
        return Err(ArchiveError::Xattr { path: path.clone(), name: name.clone() });
    }
    let mut target = "";
    let (mut size_bytes, mut device) = (0, (0, 0));
    let kind = match &inode.node {
        Node::Directory(_) => EntryType::Directory,
        Node::File(content) => {
            size_bytes = content.size_bytes();
            EntryType::Regular
        }
        Node::Symlink(text) => {
            target = text;
            EntryType::Symlink
        }
        Node::CharDevice(major, minor) => {
            device = (*major, *minor);
            EntryType::Char
        }
        Node::BlockDevice(major, minor) => {
            device = (*major, *minor);
            EntryType::Block
        }
        Node::Fifo => EntryType::Fifo,
    };
    Ok(Member { name, kind, target, size_bytes, meta: &inode.meta, device })
}

fn for_each_piece(
    reader: &mut ContentReader,
    content: &Content,
    failed: impl Fn(crate::tree::ContentError) -> ArchiveError,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), ArchiveError> {
    let size = content.size_bytes();
    let mut buffer = vec![0; usize::try_from(size).unwrap_or(COPY_BYTES).min(COPY_BYTES)];
    let mut at = 0;
    while at < size {
        let len = usize::try_from(size - at).unwrap_or(COPY_BYTES).min(buffer.len());
        reader.read_at(content, at, &mut buffer[..len]).map_err(&failed)?;
        each(&buffer[..len])?;
        at += len as u64;
    }
    Ok(())
}

/// The ustar header, with what fits of everything.
fn header(member: &Member<'_>) -> Header {
    let mut header = Header::new_ustar();
    let meta = member.meta;
    header.set_entry_type(member.kind);
    header.set_mode(meta.mode.into());
    header.set_uid(u64::from(meta.uid).min(MAX_ID.into()));
    header.set_gid(u64::from(meta.gid).min(MAX_ID.into()));
    header.set_mtime(meta.mtime.min(MAX_LONG));
    header.set_size(member.size_bytes.min(MAX_LONG));
    if let Some(ustar) = header.as_ustar_mut() {
        let (name, target) =
            (shortened(member.name, NAME_BYTES), shortened(member.target, NAME_BYTES));
        ustar.name[..name.len()].copy_from_slice(name.as_bytes());
        ustar.linkname[..target.len()].copy_from_slice(target.as_bytes());
        ustar.set_device_major(member.device.0);
        ustar.set_device_minor(member.device.1);
    }
    header.set_cksum();
    header
}

/// As much of `text` as `room` bytes hold.
fn shortened(text: &str, room: usize) -> &str {
    &text[..text.floor_char_boundary(room)]
}

/// The pax records for what the ustar header cannot hold.
fn records(member: &Member<'_>) -> Vec<u8> {
    let mut records = Vec::new();
    let mut add = |key: &str, value: &[u8]| record(&mut records, key, value);
    let long = |text: &str| text.len() > NAME_BYTES || !text.is_ascii();
    if long(member.name) {
        add("path", member.name.as_bytes());
    }
    if long(member.target) {
        add("linkpath", member.target.as_bytes());
    }
    let meta = member.meta;
    let numbers = [
        ("size", member.size_bytes, MAX_LONG),
        ("uid", meta.uid.into(), MAX_ID.into()),
        ("gid", meta.gid.into(), MAX_ID.into()),
        ("mtime", meta.mtime, MAX_LONG),
    ];
    for (key, number, most) in numbers {
        if number > most {
            add(key, number.to_string().as_bytes());
        }
    }
    for (name, value) in &meta.xattrs {
        add(&format!("SCHILY.xattr.{name}"), value);
    }
    records
}

/// `LENGTH KEY=VALUE`, where the length counts its own digits.
fn record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    records.extend_from_slice(format!("{len} {key}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_record_counts_its_own_length() {
        let of = |len: usize| {
            let mut records = Vec::new();
            super::record(&mut records, "k", &vec![b'v'; len]);
            let text = String::from_utf8(records).unwrap();
            let said: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(said, text.len());
            said
        };
        assert_eq!([of(0), of(4), of(5), of(93), of(94)], [5, 9, 11, 99, 101]);
    }
}
