//! Finding the disk this boot came from, and its partitions' device nodes. No
//! other disk counts, whatever it holds.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use formats::gpt::{Gpt, Partition, kind};
use formats::guid::Guid;

use crate::device::FileDevice;
use crate::error::{At, During};
use crate::events::FolderEvents;

/// What the own disk is told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sought {
    /// the disk with this UKI partition, which the firmware started
    Started(Guid),
    /// without word from the firmware: the only disk with a state partition
    OnlyOne,
}

impl Sought {
    fn is_on(self, gpt: &Gpt) -> bool {
        gpt.partitions.iter().any(|partition| match self {
            Self::Started(id) => partition.kind == kind::UKI && partition.id == id,
            Self::OnlyOne => partition.kind == kind::STATE,
        })
    }
}

/// The own disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// `/dev/…`
    pub node: PathBuf,
    /// its table
    pub gpt: Gpt,
    /// what the kernel made of the table
    nodes: Vec<Node>,
}

/// A partition as the kernel knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    path: PathBuf,
    number: i32,
    start_bytes: u64,
}

/// The own disk cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// /dev cannot be watched.
    #[error(transparent)]
    Io(#[from] At),
    /// It has not appeared.
    #[error("no disk {0} within {1} s; disks seen: {2}")]
    Absent(&'static str, u64, String),
    /// A clone of it is attached, and nothing tells which is which.
    #[error("more than one disk {0}: {1}")]
    Several(&'static str, String),
    /// The table lacks a partition.
    #[error("{} has no partition {name}", disk.display())]
    NoPartition {
        /// the disk
        disk: PathBuf,
        /// the partition's name
        name: String,
    },
}

impl Disk {
    /// The partition `name` and its device node.
    pub fn partition(&self, name: &str) -> Result<(&Partition, &Path), DiskError> {
        let found = self.gpt.named(name).and_then(|partition| {
            let node = self.node_at(partition.start_bytes)?;
            Some((partition, node.path.as_path()))
        });
        found.ok_or_else(|| DiskError::NoPartition {
            disk: self.node.clone(),
            name: name.to_owned(),
        })
    }

    /// The kernel's number of the partition that starts there.
    #[must_use]
    pub fn number_at(&self, start_bytes: u64) -> Option<i32> {
        Some(self.node_at(start_bytes)?.number)
    }

    fn node_at(&self, start_bytes: u64) -> Option<&Node> {
        self.nodes.iter().find(|node| node.start_bytes == start_bytes)
    }

    /// Reads the table of the disk `name` as /sys/block has it.
    fn read(name: &str) -> Option<Self> {
        // sysfs writes ! for a / in a name
        let node = Path::new("/dev").join(name.replace('!', "/"));
        Self::at(&Path::new("/sys/block").join(name), node)
    }

    /// The disk at a device node whose sysfs folder is known.
    fn at(sysfs: &Path, node: PathBuf) -> Option<Self> {
        let mut device = FileDevice::open(&node).ok()?;
        let gpt = Gpt::read(&mut device).ok()?;
        let nodes = partition_nodes(sysfs);
        Some(Self { node, gpt, nodes })
    }

    /// Reopens the disk that [`crate::boot_facts`] names.
    #[must_use]
    pub fn reopened(node: &Path) -> Option<Self> {
        let name = node.strip_prefix("/dev").ok()?.to_str()?;
        Self::read(&name.replace('/', "!"))
    }

    /// The kernel makes the nodes one by one.
    fn is_complete(&self) -> bool {
        let mut partitions = self.gpt.partitions.iter();
        partitions.all(|partition| {
            self.node_at(partition.start_bytes).is_some_and(|node| node.path.exists())
        })
    }
}

fn partition_nodes(sysfs: &Path) -> Vec<Node> {
    let Ok(entries) = std::fs::read_dir(sysfs) else {
        return Vec::new();
    };
    let number =
        |path: PathBuf| -> Option<u64> { std::fs::read_to_string(path).ok()?.trim().parse().ok() };
    entries
        .flatten()
        .filter_map(|entry| {
            let folder = entry.path();
            let name = entry.file_name().into_string().ok()?;
            Some(Node {
                path: Path::new("/dev").join(name.replace('!', "/")),
                number: number(folder.join("partition"))?.try_into().ok()?,
                // sysfs counts in 512 bytes whatever the sector size is
                start_bytes: number(folder.join("start"))?.checked_mul(512)?,
            })
        })
        .collect()
}

/// Names in /sys/block that may be disks.
fn disk_names() -> Result<Vec<String>, At> {
    const NEVER: [&str; 7] = ["loop", "ram", "zram", "dm-", "md", "sr", "fd"];
    let mut names = Vec::new();
    for entry in std::fs::read_dir("/sys/block").during("read", "/sys/block")? {
        let name = entry.during("read", "/sys/block")?.file_name();
        if let Ok(name) = name.into_string()
            && !NEVER.iter().any(|prefix| name.starts_with(prefix))
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Waits for the own disk and all its partitions.
///
/// devtmpfs reports new nodes by inotify. The look every 250 ms besides is for
/// what changes without a new node, such as a medium that becomes readable.
pub fn find(sought: Sought, timeout: Duration) -> Result<Disk, DiskError> {
    let what = match sought {
        Sought::Started(_) => "has the UKI partition that the firmware started",
        Sought::OnlyOne => "has a Slipway state partition",
    };
    let end = Instant::now() + timeout;
    let events = FolderEvents::watch(Path::new("/dev"))?;
    loop {
        let names = disk_names()?;
        let mut own: Vec<Disk> = names
            .iter()
            .filter_map(|name| Disk::read(name))
            .filter(|disk| sought.is_on(&disk.gpt))
            .collect();
        if own.len() > 1 {
            let nodes: Vec<_> = own.iter().map(|disk| disk.node.display().to_string()).collect();
            return Err(DiskError::Several(what, nodes.join(" ")));
        }
        if let Some(disk) = own.pop().filter(Disk::is_complete) {
            return Ok(disk);
        }
        if Instant::now() >= end {
            return Err(DiskError::Absent(what, timeout.as_secs(), names.join(" ")));
        }
        events.wait_until(end.min(Instant::now() + Duration::from_millis(250)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Gpt {
        let partition = |name: &str, kind, at: u64| Partition {
            kind,
            id: Guid::derived(&[name.as_bytes()]),
            start_bytes: at << 20,
            len_bytes: 1 << 20,
            attributes: 0,
            name: name.to_owned(),
        };
        Gpt {
            sector_bytes: 512,
            disk_id: Guid::derived(&[b"disk"]),
            disk_bytes: 8 << 20,
            partitions: vec![partition("state", kind::STATE, 1), partition("uki-a", kind::UKI, 2)],
        }
    }

    #[test]
    fn only_the_disk_with_the_started_uki_is_the_own_one() {
        let gpt = table();
        assert!(Sought::OnlyOne.is_on(&gpt));
        assert!(Sought::Started(Guid::derived(&[b"uki-a"])).is_on(&gpt));
        assert!(!Sought::Started(Guid::derived(&[b"uki-b"])).is_on(&gpt));
        assert!(
            !Sought::Started(Guid::derived(&[b"state"])).is_on(&gpt),
            "a GUID of a partition that is no UKI"
        );
    }

    #[test]
    fn nodes_are_matched_by_where_they_start() {
        let sysfs = tempfile::tempdir().expect("a folder");
        for (name, number, start) in [("vda1", "1\n", "2048\n"), ("vda2", "2\n", "4096\n")] {
            let folder = sysfs.path().join(name);
            std::fs::create_dir(&folder).expect("made");
            std::fs::write(folder.join("partition"), number).expect("written");
            std::fs::write(folder.join("start"), start).expect("written");
        }
        std::fs::create_dir(sysfs.path().join("queue")).expect("made");
        let disk =
            Disk { node: "/dev/vda".into(), gpt: table(), nodes: partition_nodes(sysfs.path()) };
        let (partition, node) = disk.partition("uki-a").expect("there");
        assert_eq!(partition.name, "uki-a");
        assert_eq!(node, Path::new("/dev/vda2"));
        assert_eq!(disk.number_at(1 << 20), Some(1));
        assert!(matches!(disk.partition("data"), Err(DiskError::NoPartition { .. })));
    }
}
