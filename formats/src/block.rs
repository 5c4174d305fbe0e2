//! Where bytes are read and written: a whole disk or one partition of it,
//! behind a trait small enough for firmware, a disk file and a recording fake.

use alloc::vec;

/// Every structure of ours is laid out in blocks of this many bytes, which
/// suits disks with 512-byte and with 4096-byte sectors alike.
pub const BLOCK_BYTES: usize = 4096;

/// Random access to a disk or a part of one.
///
/// Callers keep offsets and lengths multiples of [`BLOCK_BYTES`], except for
/// the two GPT copies, which go in whole sectors.
pub trait BlockDevice {
    /// Why a transfer failed.
    type Error: core::fmt::Debug + core::fmt::Display;

    /// Size in bytes.
    fn len_bytes(&self) -> u64;
    /// Fills `buffer` from `offset_bytes`.
    fn read_at(&mut self, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), Self::Error>;
    /// Writes all of `bytes` at `offset_bytes`.
    fn write_at(&mut self, offset_bytes: u64, bytes: &[u8]) -> Result<(), Self::Error>;
    /// Returns once everything written has reached stable storage.
    fn flush(&mut self) -> Result<(), Self::Error>;
}

impl<D: BlockDevice + ?Sized> BlockDevice for &mut D {
    type Error = D::Error;

    fn len_bytes(&self) -> u64 {
        (**self).len_bytes()
    }
    fn read_at(&mut self, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), D::Error> {
        (**self).read_at(offset_bytes, buffer)
    }
    fn write_at(&mut self, offset_bytes: u64, bytes: &[u8]) -> Result<(), D::Error> {
        (**self).write_at(offset_bytes, bytes)
    }
    fn flush(&mut self) -> Result<(), D::Error> {
        (**self).flush()
    }
}

/// A part of a device, seen as a device of its own. Transfers that would leave
/// it are refused before they reach the disk.
pub struct Window<'d, D: ?Sized> {
    device: &'d mut D,
    start_bytes: u64,
    len_bytes: u64,
}

/// A transfer through a [`Window`] failed.
#[derive(Debug, thiserror::Error)]
pub enum WindowError<E: core::fmt::Debug + core::fmt::Display> {
    /// The transfer would have left the window.
    #[error("{len} bytes at {offset} leave a partition of {window} bytes")]
    Outside {
        /// first byte, from the window's start
        offset: u64,
        /// bytes asked for
        len: usize,
        /// size of the window in bytes
        window: u64,
    },
    /// The device below failed.
    #[error("{0}")]
    Device(E),
}

impl<'d, D: BlockDevice + ?Sized> Window<'d, D> {
    /// The `len_bytes` bytes of `device` from `start_bytes`; `None` when they
    /// are not all on the device.
    pub fn new(device: &'d mut D, start_bytes: u64, len_bytes: u64) -> Option<Self> {
        let end = start_bytes.checked_add(len_bytes)?;
        (end <= device.len_bytes()).then_some(Self { device, start_bytes, len_bytes })
    }

    fn place(&self, offset: u64, len: usize) -> Result<u64, WindowError<D::Error>> {
        let inside = offset.checked_add(len as u64).is_some_and(|end| end <= self.len_bytes);
        if !inside {
            return Err(WindowError::Outside { offset, len, window: self.len_bytes });
        }
        Ok(self.start_bytes + offset)
    }
}

impl<D: BlockDevice + ?Sized> BlockDevice for Window<'_, D> {
    type Error = WindowError<D::Error>;

    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }
    fn read_at(&mut self, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), Self::Error> {
        let at = self.place(offset_bytes, buffer.len())?;
        self.device.read_at(at, buffer).map_err(WindowError::Device)
    }
    fn write_at(&mut self, offset_bytes: u64, bytes: &[u8]) -> Result<(), Self::Error> {
        let at = self.place(offset_bytes, bytes.len())?;
        self.device.write_at(at, bytes).map_err(WindowError::Device)
    }
    fn flush(&mut self) -> Result<(), Self::Error> {
        self.device.flush().map_err(WindowError::Device)
    }
}

/// Reads one block.
pub fn read_block<D: BlockDevice + ?Sized>(
    device: &mut D,
    offset_bytes: u64,
) -> Result<alloc::vec::Vec<u8>, D::Error> {
    let mut block = vec![0; BLOCK_BYTES];
    device.read_at(offset_bytes, &mut block)?;
    Ok(block)
}

/// A disk in memory, for tests on every side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryDisk(pub alloc::vec::Vec<u8>);

/// The transfer leaves the disk.
#[derive(Debug, thiserror::Error)]
#[error("transfer outside the disk")]
pub struct OutsideDisk;

impl MemoryDisk {
    fn range(&self, offset: u64, len: usize) -> Result<core::ops::Range<usize>, OutsideDisk> {
        let start = usize::try_from(offset).map_err(|_| OutsideDisk)?;
        let end = start.checked_add(len).filter(|end| *end <= self.0.len()).ok_or(OutsideDisk)?;
        Ok(start..end)
    }
}

impl BlockDevice for MemoryDisk {
    type Error = OutsideDisk;

    fn len_bytes(&self) -> u64 {
        self.0.len() as u64
    }
    fn read_at(&mut self, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), OutsideDisk> {
        let range = self.range(offset_bytes, buffer.len())?;
        buffer.copy_from_slice(&self.0[range]);
        Ok(())
    }
    fn write_at(&mut self, offset_bytes: u64, bytes: &[u8]) -> Result<(), OutsideDisk> {
        let range = self.range(offset_bytes, bytes.len())?;
        self.0[range].copy_from_slice(bytes);
        Ok(())
    }
    fn flush(&mut self) -> Result<(), OutsideDisk> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_refuses_what_leaves_it() {
        let mut disk = MemoryDisk(vec![7; 4 * BLOCK_BYTES]);
        assert!(Window::new(&mut disk, 3 * 4096, 2 * 4096).is_none());
        assert!(Window::new(&mut disk, u64::MAX, 4096).is_none());
        let mut window = Window::new(&mut disk, 4096, 4096).expect("fits");
        let mut block = [0; 4096];
        window.read_at(0, &mut block).expect("inside");
        assert!(window.read_at(4096, &mut block).is_err());
        assert!(window.write_at(u64::MAX - 1, &block).is_err());
    }
}
