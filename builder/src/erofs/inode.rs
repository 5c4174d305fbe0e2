//! Inodes on disk: compact (32 bytes) where that suffices, else extended (64),
//! with their extended attributes behind them.

use std::collections::BTreeMap;

use super::ErofsError;
use crate::tree::{Inode, Metadata, Node, TreePath};

/// `sizeof(struct erofs_inode_compact)`, and the unit of inode numbers.
pub const SLOT_BYTES: u64 = 32;
/// `sizeof(struct erofs_inode_extended)`.
const EXTENDED_BYTES: u64 = 64;
/// `sizeof(struct erofs_xattr_ibody_header)`.
const XATTR_HEADER_BYTES: usize = 12;
/// Attributes with their inode must leave room in a block; none in practice
/// comes near.
const XATTR_MAX_BYTES: usize = 2048;

/// Namespaces that are stored as a number, `EROFS_XATTR_INDEX_*`.
const PREFIXES: [(&str, u8); 5] = [
    ("user.", 1),
    ("system.posix_acl_access", 2),
    ("system.posix_acl_default", 3),
    ("trusted.", 4),
    ("security.", 6),
];

/// Where an inode's data is, `EROFS_INODE_FLAT_*` and `EROFS_INODE_COMPRESSED_FULL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataLayout {
    /// All in blocks.
    Plain = 0,
    /// Compressed, with a map of it behind the inode.
    Packed = 1,
    /// Whole blocks first, the rest right behind the inode.
    Inline = 2,
}

/// All that an inode on disk says.
#[derive(Debug)]
pub struct DiskInode {
    /// Type and permission bits.
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub mtime: u64,
    pub links: u32,
    pub size_bytes: u64,
    pub data: DataLayout,
    /// First block of data, how many blocks if it is compressed, or the device
    /// number.
    pub block_or_device: u32,
    /// Serial number, for `stat` on 32-bit systems.
    pub serial: u32,
    /// Attributes as they follow the inode; empty for none.
    pub xattrs: Vec<u8>,
    /// Whether 64 bytes are needed.
    pub extended: bool,
}

/// Whether the compact form would lose something.
pub fn needs_extended(meta: &Metadata, size_bytes: u64, links: u32, build_time: u64) -> bool {
    let wide = |number: u32| number > u32::from(u16::MAX);
    wide(meta.uid)
        || wide(meta.gid)
        || wide(links)
        || size_bytes > u64::from(u32::MAX)
        || meta.mtime != build_time
}

impl DiskInode {
    /// Bytes that the inode and its attributes take.
    pub fn len_bytes(&self) -> u64 {
        let inode = if self.extended { EXTENDED_BYTES } else { SLOT_BYTES };
        inode + self.xattrs.len() as u64
    }

    /// The inode and its attributes as they lie on disk.
    pub fn to_bytes(&self) -> Vec<u8> {
        let format = u16::from(self.extended) | (self.data as u16) << 1;
        let xattr_count = match self.xattrs.len() {
            0 => 0,
            len => (len - XATTR_HEADER_BYTES) / 4 + 1,
        };
        let xattr_count = u16::try_from(xattr_count).expect("limited by XATTR_MAX_BYTES");
        let mut bytes = Vec::new();
        bytes.extend(format.to_le_bytes());
        bytes.extend(xattr_count.to_le_bytes());
        bytes.extend(self.mode.to_le_bytes());
        if self.extended {
            self.extended_rest(&mut bytes)
        } else {
            self.compact_rest(&mut bytes)
        }
        bytes.extend(&self.xattrs);
        bytes
    }

    fn compact_rest(&self, bytes: &mut Vec<u8>) {
        let narrow = |number: u32| u16::try_from(number).expect("checked by needs_extended");
        let size = u32::try_from(self.size_bytes).expect("checked by needs_extended");
        bytes.extend(narrow(self.links).to_le_bytes());
        bytes.extend(size.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.block_or_device.to_le_bytes());
        bytes.extend(self.serial.to_le_bytes());
        bytes.extend(narrow(self.uid).to_le_bytes());
        bytes.extend(narrow(self.gid).to_le_bytes());
        bytes.extend([0; 4]);
    }

    fn extended_rest(&self, bytes: &mut Vec<u8>) {
        bytes.extend([0; 2]);
        bytes.extend(self.size_bytes.to_le_bytes());
        bytes.extend(self.block_or_device.to_le_bytes());
        bytes.extend(self.serial.to_le_bytes());
        bytes.extend(self.uid.to_le_bytes());
        bytes.extend(self.gid.to_le_bytes());
        bytes.extend(self.mtime.to_le_bytes());
        bytes.extend([0; 4]); // nanoseconds
        bytes.extend(self.links.to_le_bytes());
        bytes.extend([0; 16]);
    }
}

/// A device number as Linux' `new_encode_dev` packs it; zero for all else.
pub fn device_number(path: impl Fn() -> TreePath, inode: &Inode) -> Result<u32, ErofsError> {
    let (Node::CharDevice(major, minor) | Node::BlockDevice(major, minor)) = inode.node else {
        return Ok(0);
    };
    if major > 0xfff || minor > 0xf_ffff {
        return Err(ErofsError::TooLarge { path: path(), what: "device number" });
    }
    Ok((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12))
}

/// Attributes as they follow an inode: a header, then entries padded to four
/// bytes. None are shared between inodes: few files have any.
pub fn xattr_body(
    path: impl Fn() -> TreePath,
    xattrs: &BTreeMap<String, Vec<u8>>,
) -> Result<Vec<u8>, ErofsError> {
    let mut body = Vec::new();
    if !xattrs.is_empty() {
        body.resize(XATTR_HEADER_BYTES, 0);
    }
    for (name, value) in xattrs {
        let refused = || ErofsError::Xattr { path: path(), name: name.clone() };
        let (prefix, index) =
            PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix)).ok_or_else(refused)?;
        let suffix = &name[prefix.len()..];
        body.push(u8::try_from(suffix.len()).map_err(|_| refused())?);
        body.push(*index);
        body.extend(u16::try_from(value.len()).map_err(|_| refused())?.to_le_bytes());
        body.extend(suffix.as_bytes());
        body.extend(value);
        body.resize(body.len().next_multiple_of(4), 0);
        if body.len() > XATTR_MAX_BYTES {
            return Err(refused());
        }
    }
    Ok(body)
}
