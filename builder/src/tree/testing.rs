//! A tree on a real file system, for outside tools to work on.

use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::Path;

use super::{Inode, Metadata, Node, Tree, TreePath};

/// Makes a tree from `(path, text)` pairs; a text `-> X` makes a link to `X`.
pub fn tree(files: &[(&str, &str)]) -> Tree {
    let mut tree = Tree::new(1_600_000_000);
    for (path, text) in files {
        let path = TreePath::new(path).unwrap();
        match text.strip_prefix("-> ") {
            Some(target) => tree.symlink(&path, target).unwrap(),
            None => tree.write(&path, 0o644, text.as_bytes().to_vec()).unwrap(),
        }
    }
    tree
}

/// Puts an empty directory.
pub fn directory(tree: &mut Tree, path: &str) {
    let inode = Inode { node: Node::directory(), meta: Metadata::root(0o755, 0) };
    tree.insert(&TreePath::new(path).unwrap(), inode).unwrap();
}

/// Writes directories, files and links below `root`; owners as far as allowed.
pub fn materialise(tree: &Tree, root: &Path) {
    for (path, id) in tree.entries() {
        let disk = root.join(path.as_str().trim_start_matches('/'));
        let inode = tree.inode(id);
        match &inode.node {
            Node::Directory(_) => fs::create_dir_all(&disk).unwrap(),
            Node::File(content) => fs::write(&disk, content.read(1 << 30).unwrap()).unwrap(),
            Node::Symlink(target) => symlink(target, &disk).unwrap(),
            _ => continue,
        }
        let _ = lchown(&disk, Some(inode.meta.uid), Some(inode.meta.gid));
        if !matches!(inode.node, Node::Symlink(_)) {
            let mode = fs::Permissions::from_mode(inode.meta.mode.into());
            fs::set_permissions(&disk, mode).unwrap();
        }
    }
}
