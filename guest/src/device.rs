//! A block device or file as a [`BlockDevice`].

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use formats::BlockDevice;

use crate::error::{At, During};

/// An open device. Its size is the one it had when it was opened.
pub struct FileDevice {
    file: File,
    len_bytes: u64,
}

impl FileDevice {
    /// Opens for reading.
    pub fn open(path: &Path) -> Result<Self, At> {
        Self::with(OpenOptions::new().read(true), path)
    }

    /// Opens for reading and writing.
    pub fn open_writable(path: &Path) -> Result<Self, At> {
        Self::with(OpenOptions::new().read(true).write(true), path)
    }

    fn with(options: &OpenOptions, path: &Path) -> Result<Self, At> {
        let mut file = options.open(path).during("open", path)?;
        let len_bytes = file.seek(SeekFrom::End(0)).during("measure", path)?;
        Ok(Self { file, len_bytes })
    }

    /// The open file below.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl BlockDevice for FileDevice {
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
        self.file.sync_data()
    }
}
