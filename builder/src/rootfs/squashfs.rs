//! Squashfs by `sqfstar`, which reads a tar: so owners, devices and attributes
//! need no rights. gzip, since that every kernel with squashfs reads.
//!
//! Version 4.5 takes the root directory's time and owner from its surroundings,
//! whatever its options say. So the time is given in the environment, and a plain
//! user's sqfstar runs in a user namespace, where it is root.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom};
use std::path::Path;
use std::process::{Command, Stdio};

use super::{FileSystem, Options, RootError, succeeded, tool};
use crate::archive::Archive;
use crate::tree::{InodeId, Tree, TreePath};

const TOOL: &str = "sqfstar";
/// Or it would take a quarter of the machine's.
const MEMORY: &str = "128M";
/// What `unshare` says of a program that is not there, as shells do.
const NOT_FOUND: i32 = 127;

/// Writes `tree` to a new file at `path`.
pub fn write(tree: &Tree, options: &Options<'_>, path: &Path) -> Result<(), RootError> {
    let failed = |source| RootError::Write { path: path.into(), source };
    // A file rather than a pipe: an error of either side is then its own.
    let tar = tempfile::tempfile_in(options.scratch).map_err(failed)?;
    let mut out = BufWriter::with_capacity(1 << 20, tar);
    Archive::stream_tar(tree, &mut out)?;
    let mut tar: File = out.into_inner().map_err(|error| failed(error.into_error()))?;
    tar.seek(SeekFrom::Start(0)).map_err(failed)?;
    let root = &tree.inode(InodeId::ROOT).meta;
    if (root.uid, root.gid) != (0, 0) {
        let what = "a root directory that is not root's".to_owned();
        return Err(RootError::Unstorable {
            path: TreePath::root(),
            what,
            kind: FileSystem::Squashfs,
        });
    }
    let no_tool = |source| RootError::NoTool {
        tool: TOOL,
        package: "squashfs-tools, version 4.5 or newer",
        source,
    };
    let done = as_root()
        .args(["-quiet", "-no-progress", "-exit-on-error", "-comp", "gzip", "-mem", MEMORY])
        .arg("-root-mode")
        .arg(format!("{:o}", root.mode))
        .arg(path)
        // no file is later, which it would change
        .env("SOURCE_DATE_EPOCH", options.time.to_string())
        .stdin(Stdio::from(tar))
        .output()
        .map_err(no_tool)?;
    if done.status.code() == Some(NOT_FOUND) {
        return Err(no_tool(io::ErrorKind::NotFound.into()));
    }
    succeeded(TOOL, &done)
}

/// The tool, which finds itself root.
fn as_root() -> Command {
    if rustix::process::geteuid().is_root() {
        return tool(TOOL);
    }
    let mut command = tool("unshare");
    command.args(["--user", "--map-root-user", TOOL]);
    command
}
