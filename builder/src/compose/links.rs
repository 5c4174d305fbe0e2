//! Where paths will come to lie once every package is there. A package may name
//! `/lib/x` and another make `/lib` a link to `usr/lib`; rpm takes the two names
//! of one place for the same (`fpCachePopulate` in its `lib/fprint.c`), and so
//! must whoever looks for conflicts or for the owner of a path.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use crate::package::{FileKind, Package};
use crate::tree::{Node, Tree, TreePath};

/// As many links as Linux follows.
const MAX_LINKS: usize = 40;

/// Every link there is or will be, by its place.
#[derive(Debug, Default)]
pub struct Links {
    targets: HashMap<String, String>,
    /// Folders that were asked for already, those below one side by side.
    folders: RefCell<BTreeMap<String, String>>,
}

impl Links {
    /// The links of the tree and of all packages.
    #[must_use]
    pub fn of(tree: &Tree, packages: &[&Package]) -> Self {
        let mut links = Self::default();
        tree.visit(|path, id| {
            if let Node::Symlink(target) = &tree.inode(id).node {
                links.targets.insert(path.to_string(), target.clone());
            }
        });
        let mut found: Vec<(&TreePath, &str)> = Vec::new();
        for package in packages {
            found.extend(package.files.iter().filter(|file| !file.ghost).filter_map(|file| {
                match &file.kind {
                    FileKind::Symlink(target) => Some((&file.path, target.as_str())),
                    _ => None,
                }
            }));
        }
        // The upper ones first: they decide where the lower ones lie.
        found.sort_by_key(|(path, _)| path.components().count());
        for (path, target) in found {
            let place = links.place(path);
            // It may change where folders lie that were asked for before.
            forget_below(links.folders.get_mut(), &place);
            links.targets.insert(place, target.to_owned());
        }
        links.folders.get_mut().clear();
        links
    }

    /// Where `path` lies, links among its parents followed.
    #[must_use]
    pub fn place(&self, path: &TreePath) -> String {
        let text = path.as_str();
        match text.rsplit_once('/') {
            Some((folder, name)) if !name.is_empty() => {
                let folder = self.folder(folder);
                format!("{}/{name}", folder.trim_end_matches('/'))
            }
            _ => text.to_owned(),
        }
    }

    fn folder(&self, folder: &str) -> String {
        if let Some(known) = self.folders.borrow().get(folder) {
            return known.clone();
        }
        let place = self.follow(folder);
        self.folders.borrow_mut().insert(folder.to_owned(), place.clone());
        place
    }

    fn follow(&self, folder: &str) -> String {
        let mut todo: Vec<String> = folder.rsplit('/').map(str::to_owned).collect();
        let (mut place, mut links) = (String::new(), 0);
        while let Some(name) = todo.pop() {
            match name.as_str() {
                "" | "." => {}
                ".." => place.truncate(place.rfind('/').unwrap_or(0)),
                _ => {
                    let parent = place.len();
                    place.push('/');
                    place.push_str(&name);
                    if let Some(target) = self.targets.get(&place).filter(|_| links < MAX_LINKS) {
                        links += 1;
                        place.truncate(if target.starts_with('/') { 0 } else { parent });
                        todo.extend(target.rsplit('/').map(str::to_owned));
                    }
                }
            }
        }
        if place.is_empty() { "/".to_owned() } else { place }
    }
}

/// Removes `place` and what is below it, in no more steps than that is.
fn forget_below(folders: &mut BTreeMap<String, String>, place: &str) -> usize {
    folders.remove(place);
    let inside = format!("{place}/");
    let mut steps = 1;
    while let Some((folder, _)) = folders.range(inside.clone()..).next() {
        if !folder.starts_with(&inside) {
            break;
        }
        let folder = folder.clone();
        folders.remove(&folder);
        steps += 1;
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_among_the_parents_are_followed() {
        let mut links = Links::default();
        for (place, target) in [("/lib", "usr/lib"), ("/usr/lib/a", "../b"), ("/loop", "loop")] {
            links.targets.insert(place.to_owned(), target.to_owned());
        }
        let place = |text: &str| links.place(&TreePath::new(text).unwrap());
        assert_eq!(place("/lib/x"), "/usr/lib/x");
        assert_eq!(place("/lib/a/x"), "/usr/b/x");
        assert_eq!(place("/lib"), "/lib");
        assert_eq!(place("/"), "/");
        assert!(place("/loop/x").ends_with("/x"));
    }

    #[test]
    fn a_link_costs_as_much_as_it_changes() {
        let named = ["/a", "/a/b", "/a/b/c", "/a-b", "/a.b", "/ab", "/b/a"];
        let mut folders: BTreeMap<String, String> =
            named.iter().map(|name| ((*name).to_owned(), String::new())).collect();
        assert_eq!(forget_below(&mut folders, "/a"), 3);
        assert_eq!(folders.keys().collect::<Vec<_>>(), ["/a-b", "/a.b", "/ab", "/b/a"]);
        assert_eq!(forget_below(&mut folders, "/c"), 1);
    }
}
