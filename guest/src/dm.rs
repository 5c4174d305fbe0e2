//! Opening the root through dm-verity, by device-mapper's own requests
//! (linux/dm-ioctl.h, version 4; admin-guide/device-mapper/verity).

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use formats::block::BLOCK_BYTES;
use formats::verity::Superblock;
use formats::{Digest, field};

use crate::error::{At, During};
use crate::ioctl::{DM_BUFFER_BYTES, DmBuffer, DmCommand, dm_request};

const CONTROL: &str = "/dev/mapper/control";
/// The mapped device's name; also of the link in /dev/mapper.
const NAME: &str = "root";
const HEADER_BYTES: usize = 312;
const TARGET_BYTES: usize = 40;
const READ_ONLY: u32 = 1 << 0;
const ACTIVE: u32 = 1 << 5;
const SECTOR_BYTES: u64 = 512;

/// The root cannot be opened through dm-verity.
#[derive(Debug, thiserror::Error)]
pub enum DmError {
    /// A device is missing.
    #[error(transparent)]
    Io(#[from] At),
    /// The kernel refused a request.
    #[error("device-mapper refused to {0}")]
    Refused(&'static str, #[source] io::Error),
    /// It is there but not as it should be.
    #[error("the verity device {0}")]
    Unexpected(&'static str),
}

/// A request of `struct dm_ioctl` with no payload.
fn request(flags: u32) -> DmBuffer {
    let mut buffer = DmBuffer([0; DM_BUFFER_BYTES]);
    let fields = &mut buffer.0;
    field::put(fields, 0, &4u32.to_le_bytes()); // version 4.0.0
    field::put(fields, 16, &312u32.to_le_bytes()); // payload behind the header
    field::put(fields, 28, &flags.to_le_bytes());
    field::put(fields, 48, NAME.as_bytes());
    buffer
}

/// The same with one `struct dm_target_spec` behind it.
fn table_request(sectors: u64, parameters: &str) -> Option<DmBuffer> {
    let mut buffer = request(READ_ONLY);
    let fields = &mut buffer.0;
    let end = HEADER_BYTES + TARGET_BYTES + parameters.len();
    if end >= DM_BUFFER_BYTES {
        return None;
    }
    field::put(fields, 20, &1u32.to_le_bytes()); // one target
    field::put(fields, HEADER_BYTES + 8, &sectors.to_le_bytes());
    let next = (TARGET_BYTES + parameters.len() + 1).next_multiple_of(8);
    field::put(fields, HEADER_BYTES + 20, &u32::try_from(next).ok()?.to_le_bytes());
    field::put(fields, HEADER_BYTES + 24, b"verity");
    field::put(fields, HEADER_BYTES + TARGET_BYTES, parameters.as_bytes());
    Some(buffer)
}

/// The verity target's parameters: version 1, SHA-256, the tree behind its
/// superblock's block. A block that does not match restarts the machine: what
/// could not be trusted is not worth running with, and slipway-boot counts.
fn verity_parameters(data: &str, tree: &str, superblock: &Superblock, root_hash: Digest) -> String {
    let salt: String = superblock.salt.iter().map(|byte| format!("{byte:02x}")).collect();
    let blocks = superblock.data_blocks;
    format!(
        "1 {data} {tree} {BLOCK_BYTES} {BLOCK_BYTES} {blocks} 1 sha256 {root_hash} {salt} \
         1 restart_on_corruption"
    )
}

/// `major:minor` of a device node.
fn device_number(node: &Path) -> Result<String, At> {
    let number = std::fs::metadata(node).during("find", node)?.rdev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    Ok(format!("{major}:{minor}"))
}

/// Maps `data` through the tree on `tree`, read-only, as `/dev/dm-N`; udev
/// will know it as `/dev/mapper/root`. Returns the node.
pub fn open_verity(
    data: &Path,
    tree: &Path,
    superblock: &Superblock,
    root_hash: Digest,
) -> Result<PathBuf, DmError> {
    let parameters =
        verity_parameters(&device_number(data)?, &device_number(tree)?, superblock, root_hash);
    let sectors = superblock.data_blocks * (BLOCK_BYTES as u64 / SECTOR_BYTES);
    let mut table =
        table_request(sectors, &parameters).ok_or(DmError::Unexpected("has too long a table"))?;
    let control =
        OpenOptions::new().read(true).write(true).open(CONTROL).during("open", CONTROL)?;
    let send = |what, command, buffer: &mut DmBuffer| {
        dm_request(&control, command, buffer).map_err(|error| DmError::Refused(what, error))
    };

    let mut created = request(0);
    // the form cryptsetup gives it, so that its tools and systemd know it
    let uuid: String = superblock.uuid.to_string().replace('-', "");
    field::put(&mut created.0, 176, format!("CRYPT-VERITY-{uuid}-{NAME}").as_bytes());
    send("create a device", DmCommand::Create, &mut created)?;
    let loaded = send("load the verity table", DmCommand::TableLoad, &mut table)
        .and_then(|()| send("activate the device", DmCommand::Suspend, &mut request(0)));
    if let Err(error) = loaded {
        // the first error is the one to report
        let _ = dm_request(&control, DmCommand::Remove, &mut request(0));
        return Err(error);
    }
    let mut status = request(0);
    send("report its status", DmCommand::TableStatus, &mut status)?;
    check_status(&status)?;
    let minor = minor(field::u64(&status.0, 40));
    Ok(PathBuf::from(format!("/dev/dm-{minor}")))
}

fn check_status(answer: &DmBuffer) -> Result<(), DmError> {
    let flags = field::u32(&answer.0, 28);
    if flags & ACTIVE == 0 {
        return Err(DmError::Unexpected("is not active"));
    }
    if flags & READ_ONLY == 0 {
        return Err(DmError::Unexpected("is writable"));
    }
    // "V" while every block read so far was right, "C" after a wrong one
    let start = field::u32(&answer.0, 16) as usize + TARGET_BYTES;
    match answer.0.get(start) {
        Some(b'V') => Ok(()),
        _ => Err(DmError::Unexpected("is not valid")),
    }
}

/// The kernel's 64-bit device number has the minor in two parts.
fn minor(number: u64) -> u64 {
    number & 0xff | number >> 12 & 0xf_ff00
}

/// Makes `/dev/mapper/root` point to the node, as udev would.
pub fn link_node(node: &Path) -> Result<(), At> {
    let name = node.file_name().unwrap_or_default();
    let link = Path::new("/dev/mapper").join(NAME);
    std::os::unix::fs::symlink(Path::new("..").join(name), &link).during("link", link)
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::guid::Guid;

    fn superblock() -> Superblock {
        Superblock { uuid: Guid::derived(&[b"tree"]), data_blocks: 1000, salt: [0xab; 32] }
    }

    #[test]
    fn the_table_is_what_veritysetup_would_load() {
        let hash = Digest::of(b"root");
        let text = verity_parameters("254:3", "254:4", &superblock(), hash);
        let salt = "ab".repeat(32);
        assert_eq!(
            text,
            format!("1 254:3 254:4 4096 4096 1000 1 sha256 {hash} {salt} 1 restart_on_corruption")
        );
        let table = table_request(8000, &text).expect("fits").0;
        assert_eq!(field::u32(&table, 28), READ_ONLY);
        assert_eq!(field::u64(&table, 320), 8000);
        assert_eq!(&table[336..343], b"verity\0");
        assert_eq!(&table[352..352 + text.len()], text.as_bytes());
        assert_eq!(table[352 + text.len()], 0);
        assert!(table_request(8, &"x".repeat(DM_BUFFER_BYTES)).is_none());
    }

    #[test]
    fn only_an_active_read_only_valid_device_passes() {
        let answer = |flags: u32, status: u8| {
            let mut buffer = request(flags);
            buffer.0[HEADER_BYTES + TARGET_BYTES] = status;
            check_status(&buffer).is_ok()
        };
        assert!(answer(READ_ONLY | ACTIVE, b'V'));
        assert!(!answer(READ_ONLY | ACTIVE, b'C'));
        assert!(!answer(ACTIVE, b'V'));
        assert!(!answer(READ_ONLY, b'V'));
        assert_eq!(minor(0xfd << 8 | 3), 3);
        assert_eq!(minor(0x1_0000 << 4 | 0xfd << 8 | 3), 0x103);
    }
}
