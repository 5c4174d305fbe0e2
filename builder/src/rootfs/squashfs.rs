//! Squashfs by `sqfstar`, which reads a tar: so owners, devices and attributes
//! need no rights. gzip, since that every kernel with squashfs reads.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom};
use std::path::Path;
use std::process::Stdio;

use super::{Options, RootError, succeeded, tool};
use crate::archive::Archive;
use crate::tree::{InodeId, Tree};

const TOOL: &str = "sqfstar";
/// Or it would take a quarter of the machine's.
const MEMORY: &str = "128M";

/// Writes `tree` to a new file at `path`.
pub fn write(tree: &Tree, options: &Options<'_>, path: &Path) -> Result<(), RootError> {
    let failed = |source| RootError::Write { path: path.into(), source };
    // A file rather than a pipe: an error of either side is then its own.
    let tar = tempfile::tempfile_in(options.scratch).map_err(failed)?;
    let mut out = BufWriter::with_capacity(1 << 20, tar);
    Archive::stream_tar(tree, &mut out)?;
    let mut tar: File = out.into_inner().map_err(|error| failed(error.into_error()))?;
    tar.seek(SeekFrom::Start(0)).map_err(failed)?;
    // it takes nothing of the root directory from the tar
    let root = &tree.inode(InodeId::ROOT).meta;
    let done = tool(TOOL)
        .args(["-quiet", "-no-progress", "-exit-on-error", "-comp", "gzip", "-mem", MEMORY])
        .arg("-root-mode")
        .arg(format!("{:o}", root.mode))
        .arg("-root-uid")
        .arg(root.uid.to_string())
        .arg("-root-gid")
        .arg(root.gid.to_string())
        .arg(path)
        // The file system's time and the root's: version 4.5 forgets
        // -root-time. No file is later, which it would change.
        .env("SOURCE_DATE_EPOCH", options.time.to_string())
        .stdin(Stdio::from(tar))
        .output()
        .map_err(|source| RootError::NoTool {
            tool: TOOL,
            package: "squashfs-tools, version 4.5 or newer",
            source,
        })?;
    succeeded(TOOL, &done)
}
