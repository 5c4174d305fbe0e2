//! What a recipe changes in a composed tree: folders laid over it, and files
//! left out.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::{Content, Inode, InodeId, Metadata, Node, Tree, TreeError, TreePath};

/// What can go wrong with overlays and excludes.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    /// A folder or file of the overlay cannot be read.
    #[error("cannot read overlay {path}")]
    Read {
        /// The path on disk.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A name that is not UTF-8, or a socket, pipe or device.
    #[error("overlay {path} holds something other than plainly named files, folders and links")]
    Unsupported {
        /// The path on disk.
        path: PathBuf,
    },
    /// The tree does not take the file.
    #[error("overlay {path} does not fit the tree")]
    Tree {
        /// The path on disk.
        path: PathBuf,
        /// Why not.
        source: TreeError,
    },
    /// An exclude pattern that means nothing.
    #[error("exclude pattern {pattern:?}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        source: globset::Error,
    },
}

impl Tree {
    /// Lays the folder `source` over the tree. Everything is owned by root and
    /// has the builder's time; of the mode only the execute bit is taken, since
    /// a checkout keeps no more. Existing directories keep their metadata.
    ///
    /// # Errors
    /// If the folder cannot be read, or holds what a tree cannot.
    pub fn overlay_dir(&mut self, source: &Path) -> Result<(), OverlayError> {
        self.overlay_level(source, &TreePath::root())
    }

    fn overlay_level(&mut self, source: &Path, at: &TreePath) -> Result<(), OverlayError> {
        let failed = |error| OverlayError::Read { path: source.to_owned(), source: error };
        let mut entries = fs::read_dir(source)
            .and_then(Iterator::collect::<io::Result<Vec<_>>>)
            .map_err(failed)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let disk = entry.path();
            let name = entry.file_name();
            let unsupported = || OverlayError::Unsupported { path: disk.clone() };
            let name = name.to_str().ok_or_else(unsupported)?;
            let path = at
                .join(name)
                .map_err(|error| OverlayError::Tree { path: disk.clone(), source: error.into() })?;
            self.overlay_entry(&disk, &path)?;
        }
        Ok(())
    }

    fn overlay_entry(&mut self, disk: &Path, path: &TreePath) -> Result<(), OverlayError> {
        let read = |source| OverlayError::Read { path: disk.to_owned(), source };
        let misfit = |source| OverlayError::Tree { path: disk.to_owned(), source };
        let stat = fs::symlink_metadata(disk).map_err(read)?;
        if stat.is_dir() {
            self.make_directories(path).map_err(misfit)?;
            return self.overlay_level(disk, path);
        }
        if stat.is_symlink() {
            let target = fs::read_link(disk).map_err(read)?;
            let unsupported = || OverlayError::Unsupported { path: disk.to_owned() };
            return self.symlink(path, target.to_str().ok_or_else(unsupported)?).map_err(misfit);
        }
        if !stat.is_file() {
            return Err(OverlayError::Unsupported { path: disk.to_owned() });
        }
        let mode = if stat.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 };
        let content = Content::Range { file: disk.into(), offset_bytes: 0, size_bytes: stat.len() };
        let meta = Metadata::root(mode, self.default_mtime());
        self.insert(path, Inode { node: Node::File(content), meta }).map(drop).map_err(misfit)
    }

    /// Removes every path that one of the patterns matches, with all below it,
    /// and says how many names that were. Patterns are absolute; `*` stays
    /// within a name, `**` does not.
    ///
    /// # Errors
    /// If a pattern cannot be understood.
    pub fn exclude<S: AsRef<str>>(&mut self, patterns: &[S]) -> Result<usize, OverlayError> {
        let set = glob_set(patterns)?;
        let before = self.entries().len();
        self.exclude_below(&set, InodeId::ROOT, &TreePath::root());
        Ok(before - self.entries().len())
    }

    fn exclude_below(&mut self, set: &GlobSet, directory: InodeId, at: &TreePath) {
        let Node::Directory(entries) = &self.inode(directory).node else {
            return;
        };
        let mut kept = entries.clone();
        kept.retain(|name, _| at.join(name).is_ok_and(|path| !set.is_match(path.as_str())));
        let children: Vec<_> = kept.iter().map(|(name, id)| (name.clone(), *id)).collect();
        self.inode_mut(directory).node = Node::Directory(kept);
        for (name, id) in children {
            if let Ok(path) = at.join(&name) {
                self.exclude_below(set, id, &path);
            }
        }
    }
}

fn glob_set<S: AsRef<str>>(patterns: &[S]) -> Result<GlobSet, OverlayError> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let pattern = pattern.as_ref();
        let wrong = |source| OverlayError::Pattern { pattern: pattern.to_owned(), source };
        set.add(GlobBuilder::new(pattern).literal_separator(true).build().map_err(wrong)?);
    }
    let all = || patterns.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    set.build().map_err(|source| OverlayError::Pattern { pattern: all(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excludes_by_pattern_with_all_below() {
        let mut tree = Tree::new(7);
        for name in ["/usr/share/doc/a/b", "/usr/share/docs", "/usr/lib/x.a", "/usr/lib/d/y.a"] {
            tree.write(&TreePath::new(name).unwrap(), 0o644, vec![]).unwrap();
        }
        let gone = tree.exclude(&["/usr/share/doc", "/usr/lib/*.a"]).unwrap();
        assert_eq!(gone, 4);
        assert!(tree.get("/usr/share/docs").is_some());
        assert!(tree.get("/usr/lib/d/y.a").is_some());
        assert_eq!(tree.exclude(&["/**/*.a"]).unwrap(), 1);
        assert!(tree.exclude(&["/[z-"]).is_err());
    }

    #[test]
    fn overlays_take_content_links_and_the_execute_bit() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("etc/x")).unwrap();
        fs::write(folder.path().join("etc/x/run"), b"#!").unwrap();
        let mode = fs::Permissions::from_mode(0o700);
        fs::set_permissions(folder.path().join("etc/x/run"), mode).unwrap();
        std::os::unix::fs::symlink("x/run", folder.path().join("etc/link")).unwrap();
        let mut tree = Tree::new(7);
        let meta = Metadata::root(0o750, 3);
        let inode = Inode { node: Node::directory(), meta };
        tree.insert(&TreePath::new("/etc").unwrap(), inode).unwrap();
        tree.overlay_dir(folder.path()).unwrap();
        assert_eq!(tree.get("/etc").unwrap().meta.mode, 0o750);
        assert_eq!(tree.get("/etc/x/run").unwrap().meta.mode, 0o755);
        assert_eq!(tree.read("/etc/link", 9).unwrap(), b"#!");
    }
}
