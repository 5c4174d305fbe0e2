//! The only unsafe code: ioctls that have no safe wrapper. Each function takes
//! and gives plain values; what the bytes mean is decided elsewhere.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsFd;

use rustix::ioctl::{Getter, Opcode, Setter, Updater, ioctl, opcode};

/// Room for one device-mapper request and its answer.
pub const DM_BUFFER_BYTES: usize = 4096;
/// Size of `struct dm_ioctl`, which the request codes carry.
const DM_HEADER_BYTES: usize = 312;

/// A request to device-mapper as `struct dm_ioctl` starts it, aligned for its
/// 64-bit fields.
#[repr(C, align(8))]
pub struct DmBuffer(pub [u8; DM_BUFFER_BYTES]);

/// The request codes we use (linux/dm-ioctl.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DmCommand {
    /// `DM_DEV_CREATE`
    Create,
    /// `DM_DEV_REMOVE`
    Remove,
    /// `DM_DEV_SUSPEND`, which also resumes
    Suspend,
    /// `DM_TABLE_LOAD`
    TableLoad,
    /// `DM_TABLE_STATUS`
    TableStatus,
}

const fn dm(number: u8) -> Opcode {
    opcode::read_write::<[u8; DM_HEADER_BYTES]>(0xfd, number)
}

/// Sends one request; the answer replaces it.
///
/// The buffer's own `data_size` field is set here: it bounds what the kernel
/// reads and writes.
pub fn dm_request(control: impl AsFd, command: DmCommand, buffer: &mut DmBuffer) -> io::Result<()> {
    const SIZE: u32 = 4096;
    const { assert!(SIZE as usize == size_of::<DmBuffer>()) };
    buffer.0[12..16].copy_from_slice(&SIZE.to_le_bytes());
    // SAFETY: every one of these takes a pointer to a struct dm_ioctl with
    // `data_size` bytes behind it that the kernel may read and write; that is
    // this buffer, whose size was set above and whose alignment is 8. It holds
    // bytes only, so any answer is a valid value of it.
    let done = unsafe {
        match command {
            DmCommand::Create => ioctl(control, Updater::<{ dm(3) }, DmBuffer>::new(buffer)),
            DmCommand::Remove => ioctl(control, Updater::<{ dm(4) }, DmBuffer>::new(buffer)),
            DmCommand::Suspend => ioctl(control, Updater::<{ dm(6) }, DmBuffer>::new(buffer)),
            DmCommand::TableLoad => ioctl(control, Updater::<{ dm(9) }, DmBuffer>::new(buffer)),
            DmCommand::TableStatus => ioctl(control, Updater::<{ dm(12) }, DmBuffer>::new(buffer)),
        }
    };
    Ok(done?)
}

/// `struct blkpg_partition` (linux/blkpg.h)
#[repr(C)]
struct BlkpgPartition {
    start_bytes: i64,
    length_bytes: i64,
    number: i32,
    names: [u8; 128],
}

/// `struct blkpg_ioctl_arg` (linux/blkpg.h)
#[repr(C)]
struct BlkpgArgument<'p> {
    op: i32,
    flags: i32,
    data_bytes: i32,
    data: &'p BlkpgPartition,
}

/// `BLKPG` with `BLKPG_RESIZE_PARTITION`: tells the kernel of partition
/// `number`'s new length while it is in use.
pub fn resize_partition(
    disk: impl AsFd,
    number: i32,
    start_bytes: i64,
    length_bytes: i64,
) -> io::Result<()> {
    const BLKPG: Opcode = opcode::none(0x12, 105);
    const RESIZE_PARTITION: i32 = 3;
    const SIZE: i32 = 152;
    const { assert!(SIZE as usize == size_of::<BlkpgPartition>()) };
    let partition = BlkpgPartition { start_bytes, length_bytes, number, names: [0; 128] };
    let argument =
        BlkpgArgument { op: RESIZE_PARTITION, flags: 0, data_bytes: SIZE, data: &partition };
    // SAFETY: BLKPG reads a struct blkpg_ioctl_arg whose `data` points to a
    // struct blkpg_partition; both are laid out as the kernel's, a reference
    // is such a pointer, and both live until the call returns. It only reads.
    unsafe { ioctl(disk, Setter::<BLKPG, BlkpgArgument<'_>>::new(argument))? };
    Ok(())
}

/// `EXT4_IOC_RESIZE_FS`: grows the mounted ext4 that `mounted` is open in.
pub fn resize_ext4(mounted: impl AsFd, blocks: u64) -> io::Result<()> {
    const RESIZE_FS: Opcode = opcode::write::<u64>(b'f', 16);
    // SAFETY: the call reads one 64-bit number of blocks through the pointer.
    unsafe { ioctl(mounted, Setter::<RESIZE_FS, u64>::new(blocks))? };
    Ok(())
}

/// `WDIOC_GETTIMEOUT`: seconds after which the watchdog fires.
pub fn watchdog_timeout(watchdog: impl AsFd) -> io::Result<i32> {
    const TIMEOUT: Opcode = opcode::read::<i32>(b'W', 7);
    // SAFETY: the call writes one int through the pointer.
    Ok(unsafe { ioctl(watchdog, Getter::<TIMEOUT, i32>::new())? })
}
