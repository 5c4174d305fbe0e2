//! Compresses the files of a tree on every core. Files are cut into pieces of a
//! fixed size, so that a large one keeps every core busy too, and what comes out
//! does not depend on which core took what.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::packed::{MAX_EXTENT_BLOCKS, Packed, PackedExtent, PackedFiles, Place};
use super::{BLOCK, BLOCK_BYTES, ErofsError, lz4};
use crate::tree::{Content, ContentReader, InodeId, Node, Tree, TreePath};

/// Bytes of a file that are compressed by themselves: 64 extents or more.
const PIECE_BYTES: u64 = 4 << 20;
/// Input that is first tried for an extent: what fills it at a common ratio.
const FIRST_WINDOW: usize = 3 * MAX_EXTENT_BLOCKS * BLOCK;
/// Never tried with less: the ratio may get worse from one extent to the next.
const MIN_WINDOW: usize = 2 * MAX_EXTENT_BLOCKS * BLOCK;

/// A piece of a file, to be compressed.
struct Task<'t> {
    path: TreePath,
    id: InodeId,
    content: &'t Content,
    offset_bytes: u64,
    len: usize,
}

/// What became of a task.
struct Done {
    task: usize,
    extents: Vec<PackedExtent>,
    place: Place,
}

/// Compresses every file of more than a block; keeps those that take fewer
/// blocks then. Compressed data goes to unnamed files in `scratch`.
pub fn pack(tree: &Tree, scratch: &Path) -> Result<PackedFiles, ErofsError> {
    let tasks = tasks(tree);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(tasks.len());
    let files = (0..threads)
        .map(|_| tempfile::tempfile_in(scratch))
        .collect::<Result<Vec<File>, _>>()
        .map_err(ErofsError::Scratch)?;
    let next = AtomicUsize::new(0);
    let mut done = std::thread::scope(|scope| {
        let (tasks, next) = (&tasks, &next);
        let workers: Vec<_> = files
            .iter()
            .enumerate()
            .map(|(number, file)| scope.spawn(move || work(tasks, next, number, file)))
            .collect();
        let mut done = Vec::with_capacity(tasks.len());
        for worker in workers {
            let panicked = |_| ErofsError::Scratch(std::io::Error::other("a thread panicked"));
            done.append(&mut worker.join().map_err(panicked)??);
        }
        Ok(done)
    })?;
    done.sort_by_key(|done| done.task);
    let mut packed: BTreeMap<InodeId, Packed> = BTreeMap::new();
    for mut piece in done {
        let file = packed.entry(tasks[piece.task].id).or_default();
        file.extents.append(&mut piece.extents);
        file.places.push(piece.place);
    }
    packed.retain(|id, packed| match &tree.inode(*id).node {
        Node::File(content) => packed.blocks() < content.size_bytes().div_ceil(BLOCK_BYTES),
        _ => false,
    });
    Ok(PackedFiles { files: packed, scratch: files })
}

fn tasks(tree: &Tree) -> Vec<Task<'_>> {
    let mut tasks: Vec<Task<'_>> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    tree.visit(|path, id| {
        let Node::File(content) = &tree.inode(id).node else { return };
        let size = content.size_bytes();
        // sizes past the format's limit are refused later, by the layout
        if size <= BLOCK_BYTES || size > u64::from(u32::MAX) * BLOCK_BYTES || !seen.insert(id) {
            return;
        }
        let mut offset_bytes = 0;
        while offset_bytes < size {
            let len = (size - offset_bytes).min(PIECE_BYTES);
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            tasks.push(Task { path: path.clone(), id, content, offset_bytes, len });
            offset_bytes += PIECE_BYTES;
        }
    });
    tasks
}

/// Takes one task after the other until none is left.
fn work(
    tasks: &[Task<'_>],
    next: &AtomicUsize,
    number: usize,
    mut file: &File,
) -> Result<Vec<Done>, ErofsError> {
    let mut reader = ContentReader::default();
    let mut done = Vec::new();
    let (mut raw, mut at) = (Vec::new(), 0);
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(task) = tasks.get(index) else { return Ok(done) };
        raw.resize(task.len, 0);
        let read = reader.read_at(task.content, task.offset_bytes, &mut raw);
        read.map_err(|source| ErofsError::Content { path: task.path.clone(), source })?;
        let mut piece = Piece::default();
        piece.pack(&raw);
        file.write_all(&piece.blocks).map_err(ErofsError::Scratch)?;
        let len_bytes = piece.blocks.len() as u64;
        let place = Place { file: number, offset_bytes: at, len_bytes };
        at += len_bytes;
        done.push(Done { task: index, extents: piece.extents, place });
    }
}

/// The extents of a piece and their blocks.
#[derive(Default)]
struct Piece {
    extents: Vec<PackedExtent>,
    blocks: Vec<u8>,
}

impl Piece {
    /// Every extent but those at the piece's end is longer than the blocks it
    /// takes, so that no two begin in the same block of the file.
    fn pack(&mut self, raw: &[u8]) {
        let mut window = FIRST_WINDOW;
        let mut at = 0;
        while raw.len() - at > BLOCK {
            let rest = &raw[at..];
            let tried = &rest[..window.min(rest.len())];
            let mut block = lz4::compress(tried);
            let whole = block.len().div_ceil(BLOCK);
            if tried.len() == rest.len() && whole <= MAX_EXTENT_BLOCKS {
                if whole < rest.len().div_ceil(BLOCK) {
                    self.add(&block, whole, rest.len());
                } else {
                    self.add_plain(rest);
                }
                return;
            }
            let blocks = (block.len() / BLOCK).min(MAX_EXTENT_BLOCKS);
            if blocks == 0 {
                window *= 4;
                continue;
            }
            let consumed = lz4::cut(&mut block, tried, blocks * BLOCK);
            if consumed < (blocks + 1) * BLOCK {
                let plain = tried.len() / BLOCK * BLOCK;
                self.add_plain(&tried[..plain]);
                at += plain;
                continue;
            }
            self.add(&block, blocks, consumed);
            at += consumed;
            // an eighth more than filled this one
            let filling = consumed / blocks * MAX_EXTENT_BLOCKS;
            window = (filling + filling / 8).max(MIN_WINDOW);
        }
        self.add_plain(&raw[at..]);
    }

    fn add(&mut self, block: &[u8], blocks: usize, len: usize) {
        let padding = blocks * BLOCK - block.len();
        self.blocks.resize(self.blocks.len() + padding, 0);
        self.blocks.extend_from_slice(block);
        self.extent(len, blocks, false);
    }

    fn add_plain(&mut self, raw: &[u8]) {
        for block in raw.chunks(BLOCK) {
            self.blocks.extend_from_slice(block);
            self.blocks.resize(self.blocks.len().next_multiple_of(BLOCK), 0);
            self.extent(block.len(), 1, true);
        }
    }

    fn extent(&mut self, len: usize, blocks: usize, plain: bool) {
        // pieces have 4 MiB and extents 16 blocks at most
        let len_bytes = u32::try_from(len).unwrap_or(u32::MAX);
        let blocks = u16::try_from(blocks).unwrap_or(u16::MAX);
        self.extents.push(PackedExtent { len_bytes, blocks, plain });
    }
}
