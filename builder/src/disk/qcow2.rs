//! Writes a disk as qcow2, version 3, without a backing file: clusters that are
//! zero are left out, and read as zeros. Structures and names follow QEMU's
//! docs/interop/qcow2.txt; all numbers are big-endian.
//!
//! ```text
//! | header | L1 table | data clusters, an L2 table after those it maps … | refcounts |
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::data;

/// QEMU's own default.
const CLUSTER_BITS: u32 = 16;
const CLUSTER: usize = 1 << CLUSTER_BITS;
const CLUSTER_BYTES: u64 = 1 << CLUSTER_BITS;
/// Entries of an L2 table, eight bytes each: it maps 512 MiB.
const L2_ENTRIES: u64 = CLUSTER_BYTES / 8;
/// Reference counts in a cluster, two bytes each.
const REFCOUNTS: u64 = CLUSTER_BYTES / 2;
const HEADER_BYTES: u32 = 104;
/// `QCOW_OFLAG_COPIED`: the cluster has one reference, so it is written in place.
const COPIED: u64 = 1 << 63;

/// Writes the disk in `raw` to the empty file `out`.
pub fn write(raw: &File, out: &File) -> io::Result<()> {
    let disk_bytes = raw.metadata()?.len();
    let tables = disk_bytes.div_ceil(CLUSTER_BYTES).div_ceil(L2_ENTRIES);
    let l1_clusters = (tables * 8).div_ceil(CLUSTER_BYTES).max(1);
    let mut writer = Writer {
        out,
        l1: vec![0; usize::try_from(tables).map_err(io::Error::other)?],
        l2: vec![0; CLUSTER],
        l2_number: 0,
        l2_used: false,
        next: 1 + l1_clusters,
    };
    data::for_each(raw, CLUSTER, |offset, bytes| writer.put(offset / CLUSTER_BYTES, bytes))?;
    writer.finish_l2()?;
    writer.finish(disk_bytes)
}

/// Holds one L2 table at a time: clusters come in their order.
struct Writer<'f> {
    out: &'f File,
    l1: Vec<u64>,
    l2: Vec<u8>,
    /// which part of the disk `l2` maps
    l2_number: u64,
    /// whether it maps anything
    l2_used: bool,
    /// first cluster of the file that is free
    next: u64,
}

impl Writer<'_> {
    /// Appends a cluster; gives its offset.
    fn append(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let offset = self.next * CLUSTER_BYTES;
        self.out.write_all_at(bytes, offset)?;
        self.next += (bytes.len() as u64).div_ceil(CLUSTER_BYTES);
        Ok(offset)
    }

    fn put(&mut self, cluster: u64, bytes: &[u8]) -> io::Result<()> {
        if cluster / L2_ENTRIES != self.l2_number {
            self.finish_l2()?;
            self.l2_number = cluster / L2_ENTRIES;
        }
        let entry = self.append(bytes)? | COPIED;
        let at = usize::try_from(cluster % L2_ENTRIES * 8).map_err(io::Error::other)?;
        self.l2[at..at + 8].copy_from_slice(&entry.to_be_bytes());
        self.l2_used = true;
        Ok(())
    }

    fn finish_l2(&mut self) -> io::Result<()> {
        if !self.l2_used {
            return Ok(());
        }
        let l2 = std::mem::replace(&mut self.l2, vec![0; CLUSTER]);
        let number = usize::try_from(self.l2_number).map_err(io::Error::other)?;
        self.l1[number] = self.append(&l2)? | COPIED;
        self.l2_used = false;
        Ok(())
    }

    /// Counts references, which cover their own clusters too, and writes what
    /// points at everything.
    fn finish(mut self, disk_bytes: u64) -> io::Result<()> {
        let (blocks, table_clusters) = refcount_clusters(self.next);
        let table_offset = self.next * CLUSTER_BYTES;
        let first_block = self.next + table_clusters;
        let used = first_block + blocks;
        let numbers = first_block..used;
        let table: Vec<u8> =
            numbers.flat_map(|cluster| (cluster * CLUSTER_BYTES).to_be_bytes()).collect();
        self.append(&table)?;
        self.next = first_block;
        for block in 0..blocks {
            let ones = (used - block * REFCOUNTS).min(REFCOUNTS);
            let ones = usize::try_from(ones).map_err(io::Error::other)?;
            self.append(&[0, 1].repeat(ones))?;
        }
        let l1: Vec<u8> = self.l1.iter().flat_map(|entry| entry.to_be_bytes()).collect();
        self.out.write_all_at(&l1, CLUSTER_BYTES)?;
        self.out
            .write_all_at(&header(disk_bytes, self.l1.len(), table_offset, table_clusters)?, 0)?;
        self.out.set_len(used * CLUSTER_BYTES)
    }
}

/// How many clusters of counts, and of the table that names them, are needed
/// for a file with `others` clusters besides.
fn refcount_clusters(others: u64) -> (u64, u64) {
    let (mut blocks, mut table) = (1, 1);
    loop {
        let needed = (others + blocks + table).div_ceil(REFCOUNTS);
        let needed_table = (needed * 8).div_ceil(CLUSTER_BYTES);
        if (needed, needed_table) == (blocks, table) {
            return (blocks, table);
        }
        (blocks, table) = (needed.max(blocks), needed_table.max(table));
    }
}

fn header(
    disk_bytes: u64,
    l1_len: usize,
    table_offset: u64,
    table_clusters: u64,
) -> io::Result<Vec<u8>> {
    let narrow = |number: u64| u32::try_from(number).map_err(io::Error::other);
    let mut bytes = b"QFI\xfb".to_vec();
    bytes.extend(3_u32.to_be_bytes());
    bytes.extend([0; 12]); // no backing file
    bytes.extend(CLUSTER_BITS.to_be_bytes());
    bytes.extend(disk_bytes.to_be_bytes());
    bytes.extend([0; 4]); // not encrypted
    bytes.extend(narrow(l1_len as u64)?.to_be_bytes());
    bytes.extend(CLUSTER_BYTES.to_be_bytes()); // the L1 table
    bytes.extend(table_offset.to_be_bytes());
    bytes.extend(narrow(table_clusters)?.to_be_bytes());
    bytes.extend([0; 12]); // no snapshots
    bytes.extend([0; 24]); // no features
    bytes.extend(4_u32.to_be_bytes()); // log2 of the bits of a count
    bytes.extend(HEADER_BYTES.to_be_bytes());
    bytes.extend([0; 8]); // no extensions
    Ok(bytes)
}
