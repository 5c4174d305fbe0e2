//! Finds the disk this program was started from and its partitions. Another
//! disk with the same identifiers, say a clone, is told apart by device path.

use alloc::vec::Vec;

use formats::gpt::{self, Gpt, GptError, kind};
use formats::guid::Guid;
use formats::release::Slot;
use slipway_boot::device_path;
use uefi::proto::device_path::DevicePath;
use uefi::proto::loaded_image::LoadedImage;
use uefi::proto::media::block::BlockIO;
use uefi::{Handle, boot};

use super::block_io::{BlockError, Partition};
use super::protocol;

/// The partitions that matter here; `None` where the disk has no such one.
pub struct Disk {
    /// the boot state record
    pub state: Option<Partition>,
    /// `uki-a` and `uki-b`
    pub ukis: [Option<Partition>; 2],
}

/// Why the own disk cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NotFound {
    /// Started over the network, say.
    #[error("not started from a partition of a disk")]
    NotFromDisk,
    /// The firmware shows partitions but no disk.
    #[error("the firmware does not show the own disk")]
    NoDisk,
    /// Its table is unreadable.
    #[error("{0}")]
    Table(GptError<BlockError>),
    /// The firmware failed.
    #[error("the firmware says {0:?}")]
    Firmware(uefi::Status),
}

impl From<uefi::Error> for NotFound {
    fn from(error: uefi::Error) -> Self {
        Self::Firmware(error.status())
    }
}

impl Disk {
    /// The disk that the running image was loaded from.
    pub fn own() -> Result<Self, NotFound> {
        let loaded_from = protocol::open::<LoadedImage>(boot::image_handle())?
            .device()
            .ok_or(NotFound::NotFromDisk)?;
        let own_path = path_bytes(loaded_from).ok_or(NotFound::NotFromDisk)?;
        let own = device_path::partition(&own_path).ok_or(NotFound::NotFromDisk)?;
        let devices: Vec<(Handle, Vec<u8>)> = boot::find_handles::<BlockIO>()?
            .into_iter()
            .filter_map(|handle| Some((handle, path_bytes(handle)?)))
            .collect();
        let (whole, _) = devices
            .iter()
            .find(|(_, path)| device_path::is_disk(path, own.disk))
            .ok_or(NotFound::NoDisk)?;
        let table = Gpt::read(&mut Partition::open(*whole)?).map_err(NotFound::Table)?;
        let open = |kind: Guid, name: &str| {
            let entry = entry(&table, kind, name)?;
            let sector = u64::from(table.sector_bytes);
            let (handle, _) = devices.iter().find(|(_, path)| {
                device_path::partition(path).is_some_and(|found| {
                    found.disk == own.disk
                        && found.id == entry.id
                        && found.start_lba == entry.start_bytes / sector
                })
            })?;
            Partition::open(*handle).ok()
        };
        Ok(Self {
            state: open(kind::STATE, "state"),
            ukis: [open(kind::UKI, "uki-a"), open(kind::UKI, "uki-b")],
        })
    }
}

fn entry<'g>(table: &'g Gpt, kind: Guid, name: &str) -> Option<&'g gpt::Partition> {
    table.partitions.iter().find(|partition| partition.kind == kind && partition.name == name)
}

fn path_bytes(handle: Handle) -> Option<Vec<u8>> {
    let path = protocol::open::<DevicePath>(handle).ok()?;
    Some(path.as_bytes().to_vec())
}

/// The path an image of `slot` is given: its partition and a file that is not
/// there, since some firmware insists on a file.
pub fn image_path(partition: Handle, slot: Slot) -> Option<Vec<u8>> {
    device_path::with_file(&path_bytes(partition)?, slot)
}
