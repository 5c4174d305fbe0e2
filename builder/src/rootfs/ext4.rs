//! Ext4 by `mke2fs` and `debugfs`, for kernels that have nothing better: without
//! a journal, since it is never written.
//!
//! `mke2fs -d` copies a folder in the order of names, but owners, times and
//! devices from the folder too, which a plain user cannot make. So the folder has
//! only contents and names, and `debugfs` sets all the rest inode by inode. What
//! both would take from the clock or the machine is given to them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use formats::guid::Guid;

use super::{FileSystem, Options, RootError, succeeded, tool};
use crate::tree::{Content, ContentStream, Inode, InodeId, Node, Tree, TreePath};

const BLOCK_BYTES: u64 = 4096;
const INODE_BYTES: u64 = 256;
/// Of 32,768 blocks, which one block of bitmap counts.
const GROUP_BLOCKS: u64 = 8 * BLOCK_BYTES;
/// Inodes that ext4 keeps for itself.
const OWN_INODES: u64 = 11;
/// Longest target that lies in the inode.
const SHORT_TARGET: usize = 59;
/// What every kernel since 2.6.28 reads, and no checksums: dm-verity is below.
const FEATURES: &str = "none,ext_attr,dir_index,filetype,extent,flex_bg,sparse_super,\
                        large_file,huge_file,dir_nlink,extra_isize";
/// In place of the machine's /etc/mke2fs.conf.
const CONFIG: &str = "[defaults]\n\tbase_features = none\n\tdefault_mntopts = acl,user_xattr\n\
                      \tenable_periodic_fsck = 0\n\tblocksize = 4096\n\tinode_size = 256\n";

/// Writes `tree` to a new file at `path`.
pub fn write(tree: &Tree, options: &Options<'_>, path: &Path) -> Result<(), RootError> {
    let work = tempfile::tempdir_in(options.scratch)
        .map_err(|source| RootError::Write { path: options.scratch.into(), source })?;
    let entries = tree.entries();
    let mut making = Making {
        tree,
        options,
        root: work.path().join("root"),
        attributes: work.path().join("attributes"),
        script: String::new(),
        first_names: BTreeMap::new(),
        values: 0,
    };
    for folder in [&making.root, &making.attributes] {
        fs::create_dir(folder).map_err(|source| cannot_write(folder, source))?;
    }
    // mke2fs makes it; debugfs counts a removed folder's link off again
    making.script.push_str("rmdir /lost+found\n");
    for (path, id) in &entries {
        making.materialise(path, *id)?;
    }
    for (path, id) in &entries {
        making.describe(path, tree.inode(*id))?;
    }
    making.make(&entries, path, work.path())
}

/// What is made on the way.
struct Making<'t> {
    tree: &'t Tree,
    options: &'t Options<'t>,
    /// the folder that mke2fs copies
    root: PathBuf,
    /// values of extended attributes, for debugfs to read
    attributes: PathBuf,
    /// what debugfs is told
    script: String,
    first_names: BTreeMap<InodeId, PathBuf>,
    values: usize,
}

impl Making<'_> {
    /// Makes what a plain user can make; the rest is for debugfs.
    fn materialise(&mut self, path: &TreePath, id: InodeId) -> Result<(), RootError> {
        let place = self.root.join(path.as_str().trim_start_matches('/'));
        let failed = |source| cannot_write(&place, source);
        match &self.tree.inode(id).node {
            Node::Directory(_) if path.as_str() == "/" => Ok(()),
            Node::Directory(_) => fs::create_dir(&place).map_err(failed),
            Node::Symlink(target) => symlink(target, &place).map_err(failed),
            Node::File(content) => match self.first_names.get(&id) {
                Some(first) => fs::hard_link(first, &place).map_err(failed),
                None => {
                    copy(path, content, &place)?;
                    self.first_names.insert(id, place);
                    Ok(())
                }
            },
            Node::CharDevice(major, minor) => self.device(path, 'c', *major, *minor),
            Node::BlockDevice(major, minor) => self.device(path, 'b', *major, *minor),
            Node::Fifo => self.node(path, "p"),
        }
    }

    /// debugfs makes nodes in its own working folder only.
    fn node(&mut self, path: &TreePath, what: &str) -> Result<(), RootError> {
        let Some((parent, name)) = path.split() else { return Ok(()) };
        let (parent, name) = (quoted(&parent, parent.as_str())?, quoted(path, name)?);
        let _ = writeln!(self.script, "cd {parent}\nmknod {name} {what}\ncd /");
        Ok(())
    }

    /// debugfs takes minor numbers of 16 bits only; the inode's second word has
    /// larger ones, as Linux' `new_encode_dev` packs them.
    fn device(
        &mut self,
        path: &TreePath,
        kind: char,
        major: u32,
        minor: u32,
    ) -> Result<(), RootError> {
        if major > 0xfff || minor > 0xf_ffff {
            let what = format!("the device number {major}, {minor}");
            return Err(RootError::Unstorable { path: path.clone(), what, kind: FileSystem::Ext4 });
        }
        if minor <= u16::MAX.into() {
            return self.node(path, &format!("{kind} {major} {minor}"));
        }
        self.node(path, &format!("{kind} 0 0"))?;
        let packed = (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12);
        let name = quoted(path, path.as_str())?;
        let _ = writeln!(self.script, "sif {name} block[1] {packed}");
        Ok(())
    }

    /// Owner, mode, times and attributes.
    fn describe(&mut self, path: &TreePath, inode: &Inode) -> Result<(), RootError> {
        let name = quoted(path, path.as_str())?;
        let (meta, time) = (&inode.meta, inode.meta.mtime);
        let mode = kind_bits(&inode.node) | u32::from(meta.mode);
        let fields = [
            ("mode", format!("0{mode:o}")),
            ("uid", meta.uid.to_string()),
            ("gid", meta.gid.to_string()),
            ("mtime", format!("@{time}")),
            ("ctime", format!("@{time}")),
            ("atime", format!("@{time}")),
            ("crtime", format!("@{}", self.options.time)),
        ];
        for (field, value) in fields {
            let _ = writeln!(self.script, "sif {name} {field} {value}");
        }
        for (attribute, value) in &meta.xattrs {
            let file = self.attributes.join(self.values.to_string());
            self.values += 1;
            fs::write(&file, value).map_err(|source| cannot_write(&file, source))?;
            let (file, attribute) =
                (quoted(path, &file.to_string_lossy())?, quoted(path, attribute)?);
            let _ = writeln!(self.script, "ea_set -f {file} {name} {attribute}");
        }
        Ok(())
    }

    fn make(
        &self,
        entries: &[(TreePath, InodeId)],
        path: &Path,
        work: &Path,
    ) -> Result<(), RootError> {
        let (config, script) = (work.join("mke2fs.conf"), work.join("script"));
        fs::write(&config, CONFIG).map_err(|source| cannot_write(&config, source))?;
        fs::write(&script, &self.script).map_err(|source| cannot_write(&script, source))?;
        let size = Size::of(self.tree, entries);
        let (id, time) = (self.options.id, self.options.time.to_string());
        let hash_seed = Guid::derived(&[&id.0, b"hash seed"]);
        let extended = format!("hash_seed={hash_seed},root_owner=0:0,lazy_itable_init=0,nodiscard");
        let done = tool("mke2fs")
            .args(["-q", "-F", "-b", "4096", "-I", "256", "-m", "0", "-O", FEATURES])
            .args(["-L", "root", "-U", &id.to_string(), "-E", &extended])
            .args(["-N", &size.inodes.to_string()])
            .arg("-d")
            .arg(&self.root)
            .arg(path)
            .arg(size.blocks.to_string())
            .env("MKE2FS_CONFIG", &config)
            .env("E2FSPROGS_FAKE_TIME", &time)
            .output()
            .map_err(|source| no_tool("mke2fs", source))?;
        succeeded("mke2fs", &done)?;
        let done = tool("debugfs")
            .args(["-w", "-f"])
            .arg(&script)
            .arg(path)
            .env("E2FSPROGS_FAKE_TIME", &time)
            .output()
            .map_err(|source| no_tool("debugfs", source))?;
        succeeded("debugfs", &done)?;
        complaint(&done.stderr)
            .map_or(Ok(()), |said| Err(RootError::Tool { tool: "debugfs", said }))
    }
}

/// debugfs goes on after an error and succeeds; what it says besides its name
/// and version is one.
fn complaint(stderr: &[u8]) -> Option<String> {
    let said = String::from_utf8_lossy(stderr);
    let mut lines = said.lines().filter(|line| !line.starts_with("debugfs 1."));
    lines.next().map(str::to_owned)
}

fn no_tool(tool: &'static str, source: io::Error) -> RootError {
    RootError::NoTool { tool, package: "e2fsprogs", source }
}

fn cannot_write(path: &Path, source: io::Error) -> RootError {
    RootError::Write { path: path.into(), source }
}

fn copy(path: &TreePath, content: &Content, place: &Path) -> Result<(), RootError> {
    let mut file = File::create_new(place).map_err(|source| cannot_write(place, source))?;
    let mut stream = ContentStream::new(content);
    match io::copy(&mut stream, &mut file) {
        Ok(_) => Ok(()),
        Err(source) => match source.downcast() {
            Ok(source) => Err(RootError::Content { path: path.clone(), source }),
            Err(source) => Err(cannot_write(place, source)),
        },
    }
}

/// `text` as one word of a debugfs command.
fn quoted(path: &TreePath, text: &str) -> Result<String, RootError> {
    if text.contains(['\n', '\r', '\0']) {
        let what = "a name with a line break".to_owned();
        return Err(RootError::Unstorable { path: path.clone(), what, kind: FileSystem::Ext4 });
    }
    Ok(format!("\"{}\"", text.replace('"', "\"\"")))
}

/// `S_IFMT` bits of a mode.
fn kind_bits(node: &Node) -> u32 {
    match node {
        Node::Fifo => 0o010_000,
        Node::CharDevice(..) => 0o020_000,
        Node::Directory(_) => 0o040_000,
        Node::BlockDevice(..) => 0o060_000,
        Node::File(_) => 0o100_000,
        Node::Symlink(_) => 0o120_000,
    }
}

/// How large the file system has to be.
struct Size {
    blocks: u64,
    inodes: u64,
}

impl Size {
    /// What the tree takes, with a few percent for what only ext4 itself knows.
    fn of(tree: &Tree, entries: &[(TreePath, InodeId)]) -> Self {
        let mut blocks = 0;
        for (_, id) in entries {
            let inode = tree.inode(*id);
            blocks += u64::from(!inode.meta.xattrs.is_empty());
            blocks += match &inode.node {
                Node::File(content) => content.size_bytes().div_ceil(BLOCK_BYTES),
                Node::Symlink(target) => u64::from(target.len() > SHORT_TARGET),
                Node::Directory(names) => {
                    let bytes: usize = names.keys().map(|name| 12 + name.len()).sum();
                    // a block's last entry may not fit: names have 255 bytes
                    1 + (bytes as u64).div_ceil(BLOCK_BYTES - 264)
                }
                _ => 0,
            };
        }
        let inodes = entries.len() as u64 + OWN_INODES + 8;
        let table = (inodes * INODE_BYTES).div_ceil(BLOCK_BYTES);
        let groups = (blocks + table).div_ceil(GROUP_BLOCKS) + 1;
        // both bitmaps, the superblock and descriptors, the table's last block
        let overhead = table + groups * 5;
        let blocks = blocks + blocks / 50 + overhead + 256;
        Self { blocks, inodes }
    }
}
