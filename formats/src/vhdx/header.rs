//! The header (MS-VHDX section 2.2.2), of which there are two: the one that is
//! not in force is overwritten, so one of them is always whole.

use alloc::vec;
use alloc::vec::Vec;

use super::{ALIGN_BYTES, FIXED_BYTES, MIN_LOG_BYTES, VhdxError};
use crate::crc32c::checksum;
use crate::field;
use crate::guid::Guid;

/// Bytes of a header that its checksum covers.
pub const HEADER_BYTES: usize = 4096;
const SIGNATURE: &[u8; 4] = b"head";
const VERSION: u16 = 1;

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// the higher one of the two headers counts
    pub sequence: u64,
    /// changes before anything of the file is changed
    pub file_write: Guid,
    /// changes before anything of the virtual disk is changed
    pub data_write: Guid,
    /// [`Guid::ZERO`] when the log is empty
    pub log: Guid,
    /// where the log is, a multiple of 1 MiB
    pub log_offset_bytes: u64,
    /// a multiple of 1 MiB
    pub log_len_bytes: u32,
}

impl Header {
    /// As it lies on disk.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        field::put(&mut bytes, 0, SIGNATURE);
        field::put(&mut bytes, 8, &self.sequence.to_le_bytes());
        field::put(&mut bytes, 16, &self.file_write.0);
        field::put(&mut bytes, 32, &self.data_write.0);
        field::put(&mut bytes, 48, &self.log.0);
        // log version 0
        field::put(&mut bytes, 66, &VERSION.to_le_bytes());
        field::put(&mut bytes, 68, &self.log_len_bytes.to_le_bytes());
        field::put(&mut bytes, 72, &self.log_offset_bytes.to_le_bytes());
        let sum = checksum(&bytes);
        field::put(&mut bytes, 4, &sum.to_le_bytes());
        bytes
    }

    /// Reads a header, the first [`HEADER_BYTES`] of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, VhdxError> {
        let damaged = VhdxError::Damaged { what: "header" };
        let Some(bytes) = bytes.get(..HEADER_BYTES).filter(|b| b.starts_with(SIGNATURE)) else {
            return Err(damaged);
        };
        if !sum_is_right(bytes) {
            return Err(damaged);
        }
        let header = Self {
            sequence: field::u64(bytes, 8),
            file_write: Guid(field::bytes(bytes, 16)),
            data_write: Guid(field::bytes(bytes, 32)),
            log: Guid(field::bytes(bytes, 48)),
            log_offset_bytes: field::u64(bytes, 72),
            log_len_bytes: field::u32(bytes, 68),
        };
        if field::u16(bytes, 66) != VERSION || field::u16(bytes, 64) != 0 {
            return Err(VhdxError::Unknown { what: "version of the format" });
        }
        header.check_log()?;
        Ok(header)
    }

    fn check_log(&self) -> Result<(), VhdxError> {
        let (offset, len) = (self.log_offset_bytes, self.log_len_bytes);
        if offset < FIXED_BYTES || !offset.is_multiple_of(ALIGN_BYTES) {
            return Err(VhdxError::Value { what: "the log's offset", value: offset });
        }
        if len < MIN_LOG_BYTES || !u64::from(len).is_multiple_of(ALIGN_BYTES) {
            return Err(VhdxError::Value { what: "the log's length", value: len.into() });
        }
        Ok(())
    }

    /// The header in force of the two in `copies`, each as it lies on disk.
    pub fn current(copies: [&[u8]; 2]) -> Result<Self, VhdxError> {
        match copies.map(Self::decode) {
            [Ok(first), Ok(second)] if first.sequence > second.sequence => Ok(first),
            [Ok(first), Ok(second)] if first.sequence == second.sequence && first != second => {
                Err(VhdxError::Damaged { what: "pair of headers" })
            }
            [_, Ok(second)] => Ok(second),
            [Ok(first), Err(_)] => Ok(first),
            [Err(error), Err(_)] => Err(error),
        }
    }

    /// Whether the file can be read as it is.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.log == Guid::ZERO
    }
}

/// Whether the checksum at 4, over all of `bytes` with itself as zero, is right.
pub(super) fn sum_is_right(bytes: &[u8]) -> bool {
    let mut copy = bytes.to_vec();
    field::put(&mut copy, 4, &[0; 4]);
    checksum(&copy) == field::u32(bytes, 4)
}
