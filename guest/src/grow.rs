//! Growing the data partition to the end of a disk that has become larger, as
//! a VM's disk does between its making and its first start.
//!
//! Each step can be cut off by a power loss and is taken up by the next boot:
//! the GPT's backup is on the disk before the primary changes, the kernel
//! reads the new table by itself then, and ext4 grows by transactions.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::path::Path;

use formats::BlockDevice;
use formats::gpt::GptError;

use crate::device::FileDevice;
use crate::disk::Disk;
use crate::error::{At, During};
use crate::ext4::Size;
use crate::ioctl;

/// The partition that grows, which is the disk's last one.
const DATA: &str = "data";

/// Growing failed; the machine runs with the size it has.
#[derive(Debug, thiserror::Error)]
pub enum GrowError {
    /// A system call failed.
    #[error(transparent)]
    Io(#[from] At),
    /// The own disk is no longer one.
    #[error("cannot read the partition table of {0}")]
    NoTable(String),
    /// Another partition lies behind data.
    #[error("data is not the last partition of {0}")]
    NotLast(String),
    /// The new table does not fit, which growing rules out.
    #[error(transparent)]
    Table(#[from] GptError<Infallible>),
    /// The data partition holds something else.
    #[error("{0} holds no ext4")]
    NotExt4(String),
}

/// Sizes of the data file system in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grown {
    /// before
    pub from_bytes: u64,
    /// now
    pub to_bytes: u64,
}

/// Grows the partition if the disk has room behind it, and the file system,
/// which is mounted at `mounted`, if the partition has. `None` when there was
/// nothing to do.
pub fn grow(disk: &Path, data: &Path, mounted: &Path) -> Result<Option<Grown>, GrowError> {
    grow_partition(disk)?;
    grow_file_system(data, mounted)
}

fn grow_partition(path: &Path) -> Result<(), GrowError> {
    let name = || path.display().to_string();
    let disk = Disk::reopened(path).ok_or_else(|| GrowError::NoTable(name()))?;
    let mut device = FileDevice::open_writable(path)?;
    let Some(grown) = disk.gpt.grown(device.len_bytes()) else {
        return Ok(());
    };
    let changed = grown.partitions.iter().zip(&disk.gpt.partitions).find(|(new, old)| new != old);
    let (data, _) =
        changed.filter(|(new, _)| new.name == DATA).ok_or_else(|| GrowError::NotLast(name()))?;
    for (offset_bytes, bytes) in grown.encode()? {
        device.write_at(offset_bytes, &bytes).during("write", path)?;
        device.flush().during("write", path)?;
    }
    let resize = || -> io::Result<()> {
        let number = disk.number_at(data.start_bytes).ok_or_else(missing)?;
        let start = i64::try_from(data.start_bytes).map_err(io::Error::other)?;
        let length = i64::try_from(data.len_bytes).map_err(io::Error::other)?;
        ioctl::resize_partition(device.file(), number, start, length)
    };
    Ok(resize().during("resize the data partition of", path)?)
}

fn missing() -> io::Error {
    io::Error::other("the kernel does not know it")
}

fn grow_file_system(data: &Path, mounted: &Path) -> Result<Option<Grown>, GrowError> {
    let size = || -> Result<(Size, u64), GrowError> {
        let mut device = FileDevice::open(data)?;
        let size = Size::read(&mut device).during("read", data)?;
        let size = size.ok_or_else(|| GrowError::NotExt4(data.display().to_string()))?;
        Ok((size, device.len_bytes()))
    };
    let (before, partition_bytes) = size()?;
    let room = partition_bytes / before.block_bytes;
    if room <= before.blocks {
        return Ok(None);
    }
    let folder = File::open(mounted).during("open", mounted)?;
    ioctl::resize_ext4(&folder, room).during("grow the file system of", data)?;
    let (after, _) = size()?;
    // a rest too small for a block group of its own stays unused
    Ok((after.blocks > before.blocks).then_some(Grown {
        from_bytes: before.blocks * before.block_bytes,
        to_bytes: after.blocks * after.block_bytes,
    }))
}
