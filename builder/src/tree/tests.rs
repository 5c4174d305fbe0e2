//! What a tree promises about links, directories and removal.

use super::*;

fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

fn file(bytes: &[u8]) -> Inode {
    Inode { node: Node::File(Content::bytes(bytes)), meta: Metadata::root(0o644, 7) }
}

#[test]
fn files_land_behind_links_to_directories() {
    let mut tree = Tree::new(7);
    tree.symlink(&path("/lib"), "usr/lib").unwrap();
    let place = tree.insert(&path("/lib/x/y"), file(b"1")).unwrap();
    assert_eq!(place.as_str(), "/usr/lib/x/y");
    assert_eq!(tree.read("/lib/x/y", 10).unwrap(), b"1");
    assert_eq!(tree.canonical("/lib/x").unwrap().as_str(), "/usr/lib/x");
}

#[test]
fn links_cannot_leave_the_tree() {
    let mut tree = Tree::new(7);
    tree.symlink(&path("/a/up"), "../../../../etc").unwrap();
    tree.insert(&path("/etc/passwd"), file(b"root")).unwrap();
    assert_eq!(tree.read("/a/up/passwd", 10).unwrap(), b"root");
    assert_eq!(tree.read("/../../etc/passwd", 10).unwrap(), b"root");
    assert!(tree.read("/etc/passwd", 3).is_err());
}

#[test]
fn link_loops_end() {
    let mut tree = Tree::new(7);
    tree.symlink(&path("/a"), "b").unwrap();
    tree.symlink(&path("/b"), "a").unwrap();
    assert!(tree.resolve("/a").is_none());
    assert!(tree.locate("/a").is_some());
    assert!(matches!(tree.insert(&path("/a/x"), file(b"")), Err(TreeError::LinkLoop { .. })));
}

#[test]
fn directories_merge_and_nothing_else_does() {
    let mut tree = Tree::new(7);
    tree.insert(&path("/d/f"), file(b"")).unwrap();
    assert!(tree.is_implicit(tree.locate("/d").unwrap()));
    let directory = Inode { node: Node::directory(), meta: Metadata::root(0o700, 1) };
    tree.insert(&path("/d"), directory.clone()).unwrap();
    assert_eq!(tree.get("/d").unwrap().meta.mode, 0o700);
    assert!(!tree.is_implicit(tree.locate("/d").unwrap()));
    assert!(tree.get("/d/f").is_some());
    assert!(matches!(tree.insert(&path("/d"), file(b"")), Err(TreeError::KindClash { .. })));
    assert!(matches!(tree.insert(&path("/d/f"), directory), Err(TreeError::KindClash { .. })));
    let below_file = tree.insert(&path("/d/f/g"), file(b""));
    assert!(matches!(below_file, Err(TreeError::ParentNotDirectory { .. })));
}

#[test]
fn hard_links_share_and_replacement_parts_them() {
    let mut tree = Tree::new(7);
    tree.insert(&path("/a"), file(b"1")).unwrap();
    let id = tree.locate("/a").unwrap();
    tree.hard_link(&path("/b"), id).unwrap();
    assert_eq!(tree.locate("/b"), Some(id));
    tree.insert(&path("/a"), file(b"2")).unwrap();
    assert_eq!(tree.read("/b", 9).unwrap(), b"1");
    assert!(tree.remove(&path("/b")));
    assert!(!tree.remove(&path("/b")));
}

#[test]
fn order_is_by_path() {
    let mut tree = Tree::new(7);
    for name in ["/b/c", "/b-", "/a", "/b"] {
        let node = if name == "/b" { Node::directory() } else { Node::Fifo };
        tree.insert(&path(name), Inode { node, meta: Metadata::root(0o755, 1) }).unwrap();
    }
    let names: Vec<String> = tree.entries().iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(names, ["/", "/a", "/b", "/b/c", "/b-"]);
}
