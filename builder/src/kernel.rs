//! What the UKI takes from the tree: the kernel, its modules, its release, the
//! os-release text; and the EFI stub from its package.

use crate::modules::{self, Module, ModuleError, ModuleIndex};
use crate::package::Package;
use crate::recipe::Recipe;
use crate::tree::{Content, ContentError, Node, Tree, TreeError};

const MODULES: &str = "/usr/lib/modules";
const MAX_KERNEL_BYTES: u64 = 256 << 20;
/// All modules of the initrd, unpacked: more would hardly fit into a slot.
const MAX_MODULES_BYTES: usize = 256 << 20;
const MAX_STUB_BYTES: u64 = 16 << 20;
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// Why the parts of a UKI cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// None or several.
    #[error("boot.kernel {pattern:?} matches {found}, and must match exactly one file")]
    NotOne {
        /// the recipe's pattern
        pattern: String,
        /// what it matches
        found: String,
    },
    /// No modules for it.
    #[error(
        "the tree has {found} below {MODULES}, and must have the modules of exactly one kernel"
    )]
    NoRelease {
        /// what there is
        found: String,
    },
    /// Reading the tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// Modules.
    #[error(transparent)]
    Modules(#[from] ModuleError),
    /// More than an initrd should hold.
    #[error("{path}: with it the modules of the initrd have more than {most} bytes")]
    TooManyModules {
        /// the module that was too much
        path: String,
        /// how many bytes they may have
        most: usize,
    },
    /// The stub is not in its package.
    #[error("package {package} has no file {path}")]
    NoStub {
        /// the package
        package: String,
        /// the stub's path
        path: String,
    },
    /// The stub cannot be read.
    #[error("cannot read the EFI stub")]
    Stub(#[source] ContentError),
}

/// A kernel and what the initrd needs of it.
#[derive(Debug)]
pub struct Kernel {
    /// `uname -r`
    pub release: String,
    /// the image
    pub image: Vec<u8>,
    /// modules in the order to load them
    pub modules: Vec<Module>,
}

/// Finds the recipe's kernel and modules in the tree.
pub fn gather(tree: &Tree, recipe: &Recipe) -> Result<Kernel, KernelError> {
    let pattern = &recipe.boot.kernel;
    let mut images = Vec::new();
    tree.visit(|path, id| {
        let file = matches!(tree.inode(id).node, Node::File(_));
        if file && pattern.matches(path.as_str()) {
            images.push(path.as_str().to_owned());
        }
    });
    let [image] = images.as_slice() else {
        return Err(KernelError::NotOne { pattern: pattern.as_str().into(), found: list(&images) });
    };
    let releases: Vec<String> = tree.children(MODULES).map(|(name, _)| name.to_owned()).collect();
    let [release] = releases.as_slice() else {
        return Err(KernelError::NoRelease { found: list(&releases) });
    };
    Ok(Kernel {
        image: tree.read(image, MAX_KERNEL_BYTES)?,
        modules: modules(tree, release, recipe)?,
        release: release.clone(),
    })
}

fn list(found: &[String]) -> String {
    if found.is_empty() { "nothing".into() } else { found.join(", ") }
}

fn modules(tree: &Tree, release: &str, recipe: &Recipe) -> Result<Vec<Module>, KernelError> {
    let folder = format!("{MODULES}/{release}/");
    let mut paths = Vec::new();
    tree.visit(|path, _| {
        if path.as_str().starts_with(&folder) && path.as_str().contains(".ko") {
            paths.push(path.as_str().to_owned());
        }
    });
    let mut index = ModuleIndex::default();
    if let Ok(builtin) = tree.read(&format!("{folder}modules.builtin"), MAX_TEXT_BYTES) {
        index.add_builtin(&String::from_utf8_lossy(&builtin));
    }
    let read = |path: &str| -> Result<Vec<u8>, KernelError> {
        Ok(modules::decompress(path, tree.read(path, MAX_KERNEL_BYTES)?)?)
    };
    for path in &paths {
        index.add(path, &read(path)?)?;
    }
    let mut wanted: Vec<String> =
        recipe.boot.modules.iter().map(|name| name.as_str().to_owned()).collect();
    // the recipe says which file system the root is; it need not say so twice
    wanted.push(recipe.root.filesystem.module().to_owned());
    load(tree, &index.load_order(&wanted)?, MAX_MODULES_BYTES)
}

/// The modules at `paths`, if they have no more than `most` bytes.
fn load(tree: &Tree, paths: &[&str], most: usize) -> Result<Vec<Module>, KernelError> {
    let (mut loaded, mut left) = (Vec::new(), most);
    for path in paths {
        let module = modules::module(path, tree.read(path, MAX_KERNEL_BYTES)?)?;
        let too_much = || KernelError::TooManyModules { path: (*path).to_owned(), most };
        left = left.checked_sub(module.bytes.len()).ok_or_else(too_much)?;
        loaded.push(module);
    }
    Ok(loaded)
}

/// The tree's os-release with this image's name and version, for whoever lists
/// UKIs by it.
#[must_use]
pub fn os_release(tree: &Tree, recipe: &Recipe) -> String {
    let text = ["/etc/os-release", "/usr/lib/os-release"]
        .iter()
        .find_map(|path| tree.read(path, MAX_TEXT_BYTES).ok())
        .unwrap_or_else(|| b"ID=linux\n".to_vec());
    let mut text = String::from_utf8_lossy(&text).into_owned();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let (name, version) = (recipe.name.as_str(), recipe.version.as_str());
    text + &format!("IMAGE_ID={name}\nIMAGE_VERSION={version}\n")
}

/// The EFI stub, from the package that the lock names for it.
pub fn stub(package: &Package, recipe: &Recipe) -> Result<Vec<u8>, KernelError> {
    let path = recipe.boot.stub.path.as_str();
    let file = package.files.iter().find(|file| file.path.as_str() == path);
    let content: Option<&Content> = file.and_then(|file| file.content.as_ref());
    let content = content.ok_or_else(|| KernelError::NoStub {
        package: package.identity.to_string(),
        path: path.into(),
    })?;
    content.read(MAX_STUB_BYTES).map_err(KernelError::Stub)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::testing::tree;

    #[test]
    fn the_modules_of_an_initrd_are_bounded() {
        let paths = ["/usr/lib/modules/6.6/a.ko", "/usr/lib/modules/6.6/b.ko"];
        let tree = tree(&paths.map(|path| (path, "1234")));
        assert_eq!(load(&tree, &paths, 8).unwrap().len(), 2);
        let error = load(&tree, &paths, 7).unwrap_err().to_string();
        assert!(error.starts_with(paths[1]) && error.ends_with("more than 7 bytes"), "{error}");
    }
}
