//! The little of ext4's superblock that growing needs (kernel documentation,
//! filesystems/ext4/super.rst).

use formats::{BlockDevice, field};

/// Where the superblock starts, and how much of it we read.
const AT_BYTES: usize = 1024;
const INCOMPAT_64BIT: u32 = 0x80;

/// Size of an ext4 file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// bytes of a block
    pub block_bytes: u64,
    /// blocks it has
    pub blocks: u64,
}

impl Size {
    /// Reads the size of the ext4 on `device`; `None` when there is none. Of a
    /// mounted one it is up to date: the kernel writes through the same cache.
    pub fn read<D: BlockDevice + ?Sized>(device: &mut D) -> Result<Option<Self>, D::Error> {
        let mut start = [0; 4096];
        device.read_at(0, &mut start)?;
        Ok(Self::decode(&start[AT_BYTES..]))
    }

    fn decode(superblock: &[u8]) -> Option<Self> {
        let log_block = field::u32(superblock, 24);
        if field::u16(superblock, 56) != 0xef53 || log_block > 6 {
            return None;
        }
        let high = match field::u32(superblock, 96) & INCOMPAT_64BIT {
            0 => 0,
            _ => field::u32(superblock, 336),
        };
        Some(Self {
            block_bytes: 1024 << log_block,
            blocks: u64::from(high) << 32 | u64::from(field::u32(superblock, 4)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::FileDevice;
    use std::process::Command;

    #[test]
    fn the_size_is_what_mkfs_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let image = folder.path().join("data");
        let made = Command::new("/sbin/mkfs.ext4")
            .args(["-q", "-b", "2048"])
            .arg(&image)
            .arg("12M")
            .status();
        if made.is_err() {
            return skip::because("mkfs.ext4 is not installed");
        }
        let mut device = FileDevice::open(&image).expect("made");
        let size = Size { block_bytes: 2048, blocks: 6144 };
        assert_eq!(Size::read(&mut device).expect("readable"), Some(size));
        assert_eq!(Size::decode(&[0; 1024]), None);
    }
}
