//! A raw disk file or a block device as a [`BlockDevice`], locked for as long
//! as it is open so that no running VM and no second installer shares it.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use formats::BlockDevice;
use rustix::fs::{Advice, FlockOperation, fadvise, fcntl_lock};
use rustix::io::Errno;

/// An open disk.
#[derive(Debug)]
pub struct Disk {
    file: File,
    len_bytes: u64,
}

/// Why a disk cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file or device itself.
    #[error("cannot open the disk {path}")]
    Open {
        /// the disk
        path: PathBuf,
        /// why
        source: io::Error,
    },
    /// Somebody holds a lock on it.
    #[error("the disk {path} is in use: shut the VM down (or wait for the other installer) first")]
    InUse {
        /// the disk
        path: PathBuf,
    },
}

/// What a disk is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// nothing will be written
    Read,
    /// an install or a roll-back
    Write,
}

impl Disk {
    /// Opens the disk. For writing, the whole file is locked: QEMU locks single
    /// bytes of an image it has open, so a running VM shows as a conflict.
    pub fn open(path: &Path, access: Access) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Open { path: path.into(), source };
        let write = access == Access::Write;
        let mut file = OpenOptions::new().read(true).write(write).open(path).map_err(failed)?;
        if write {
            match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::AGAIN | Errno::ACCESS) => {
                    return Err(OpenError::InUse { path: path.into() });
                }
                Err(error) => return Err(failed(error.into())),
            }
        }
        // a block device's metadata has no length; the end of it has
        let len_bytes = file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(Self { file, len_bytes })
    }

    /// Forgets what the kernel has cached of the disk, so that the next read
    /// comes from the disk itself. Best effort: a file system may decline.
    pub fn drop_cache(&self) {
        let _ = fadvise(&self.file, 0, None, Advice::DontNeed);
    }
}

impl BlockDevice for Disk {
    type Error = io::Error;

    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }
    fn read_at(&mut self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset_bytes)
    }
    fn write_at(&mut self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset_bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }
}
