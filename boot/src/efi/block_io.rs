//! [`BlockDevice`] on top of the firmware's block I/O protocol.

use formats::block::BlockDevice;
use slipway_boot::pages::{NoMemory, PAGE_BYTES, PageBuffer};
use uefi::boot::ScopedProtocol;
use uefi::proto::media::block::BlockIO;
use uefi::{Handle, Status};

use super::protocol;

/// A disk or one of its partitions.
pub struct Partition {
    handle: Handle,
    len_bytes: u64,
}

/// Why a transfer failed.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// Offset or length are not multiples of the device's blocks.
    #[error("not in whole blocks")]
    PartOfBlock,
    /// No memory for an aligned copy of the caller's buffer.
    #[error(transparent)]
    Memory(#[from] NoMemory),
    /// The firmware's own answer.
    #[error("{0:?}")]
    Firmware(Status),
}

impl From<uefi::Error> for BlockError {
    fn from(error: uefi::Error) -> Self {
        Self::Firmware(error.status())
    }
}

impl Partition {
    /// The device behind `handle`.
    pub fn open(handle: Handle) -> uefi::Result<Self> {
        let io = protocol::open::<BlockIO>(handle)?;
        let media = io.media();
        let blocks = media.last_block().saturating_add(1);
        Ok(Self { handle, len_bytes: blocks.saturating_mul(media.block_size().into()) })
    }

    /// The firmware's name for it.
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// The protocol and the first block of a transfer. Opened anew each time:
    /// a started image may have rearranged the drivers before it came back.
    fn blocks(
        &self,
        offset: u64,
        len: usize,
    ) -> Result<(ScopedProtocol<BlockIO>, u64), BlockError> {
        let io = protocol::open::<BlockIO>(self.handle)?;
        let block = u64::from(io.media().block_size());
        let whole = block > 0 && offset.is_multiple_of(block) && (len as u64).is_multiple_of(block);
        if !whole {
            return Err(BlockError::PartOfBlock);
        }
        Ok((io, offset / block))
    }
}

/// Whether drivers take the buffer as it is. A page's alignment is what every
/// `IoAlign` that firmware is known to ask for divides.
fn is_aligned(buffer: &[u8]) -> bool {
    buffer.as_ptr().addr().is_multiple_of(PAGE_BYTES)
}

impl BlockDevice for Partition {
    type Error = BlockError;

    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read_at(&mut self, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        let (mut io, lba) = self.blocks(offset_bytes, buffer.len())?;
        let media_id = io.media().media_id();
        if is_aligned(buffer) {
            return Ok(io.read_blocks(media_id, lba, buffer)?);
        }
        let mut pages = PageBuffer::new(buffer.len() as u64)?;
        let aligned = &mut pages.bytes_mut()[..buffer.len()];
        io.read_blocks(media_id, lba, aligned)?;
        buffer.copy_from_slice(aligned);
        Ok(())
    }

    fn write_at(&mut self, offset_bytes: u64, bytes: &[u8]) -> Result<(), BlockError> {
        let (mut io, lba) = self.blocks(offset_bytes, bytes.len())?;
        let media_id = io.media().media_id();
        let mut pages = PageBuffer::new(bytes.len() as u64)?;
        let aligned = &mut pages.bytes_mut()[..bytes.len()];
        aligned.copy_from_slice(bytes);
        Ok(io.write_blocks(media_id, lba, aligned)?)
    }

    fn flush(&mut self) -> Result<(), BlockError> {
        Ok(protocol::open::<BlockIO>(self.handle)?.flush_blocks()?)
    }
}
