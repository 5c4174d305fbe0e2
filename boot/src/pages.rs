//! Page-aligned memory. Firmware block drivers may insist on aligned buffers
//! and are fastest with them, and a UKI is too large to be copied about.

use alloc::vec::Vec;

/// Bytes of a page, and the alignment of a [`PageBuffer`].
pub const PAGE_BYTES: usize = 4096;

#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Page([u8; PAGE_BYTES]);

/// Zeroed bytes that start at a page boundary; a whole number of pages.
pub struct PageBuffer(Vec<Page>);

/// There is not enough memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no memory for {0} bytes")]
pub struct NoMemory(pub u64);

impl PageBuffer {
    /// A buffer of at least `len_bytes`, rounded up to whole pages.
    ///
    /// # Errors
    /// When there is no memory for it; nothing is aborted.
    pub fn new(len_bytes: u64) -> Result<Self, NoMemory> {
        let pages = usize::try_from(len_bytes.div_ceil(PAGE_BYTES as u64))
            .map_err(|_| NoMemory(len_bytes))?;
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(pages).map_err(|_| NoMemory(len_bytes))?;
        buffer.resize(pages, Page([0; PAGE_BYTES]));
        Ok(Self(buffer))
    }

    /// The bytes.
    #[must_use]
    #[allow(unsafe_code)]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `Page` is a `repr(C)` array of bytes without padding, as large
        // as its alignment, so `n` pages in a row are `n * PAGE_BYTES`
        // initialised bytes of one allocation, borrowed as long as `self` is.
        unsafe { core::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * PAGE_BYTES) }
    }

    /// The bytes, to change.
    #[allow(unsafe_code)]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let len = self.0.len() * PAGE_BYTES;
        // SAFETY: as in `bytes`; any byte is valid in a `Page`, and `self` is
        // borrowed exclusively.
        unsafe { core::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligned_zeroed_and_whole_pages() {
        for (asked, has) in [(0, 0), (1, 4096), (4096, 4096), (4097, 8192)] {
            let mut buffer = PageBuffer::new(asked).expect("little");
            assert_eq!(buffer.bytes().len(), has);
            assert!(buffer.bytes().iter().all(|byte| *byte == 0));
            assert_eq!(buffer.bytes_mut().as_ptr().align_offset(PAGE_BYTES), 0);
        }
    }

    #[test]
    fn too_much_is_an_error() {
        assert!(PageBuffer::new(u64::MAX).is_err());
        assert!(PageBuffer::new(1 << 62).is_err());
    }
}
