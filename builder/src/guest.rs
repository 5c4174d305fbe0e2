//! What Slipway itself puts into an image: its three programs, its systemd
//! units, and the list of what lives on in `/etc`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::recipe::{Recipe, RootContent};
use crate::tree::{PathError, Tree, TreeError, TreePath};

const AGENT: &str = "/usr/lib/slipway/slipway-agent";
const PERSIST: &str = "/usr/lib/slipway/persist";
const SYSTEMD: &str = "/usr/lib/systemd/systemd";
const UNITS: &str = "/usr/lib/systemd/system";

/// Units, and the target that pulls each of them in, as its `[Install]` says.
const UNIT_FILES: [(&str, &str, &str); 3] = [
    (
        "slipway-agent.service",
        include_str!("../../guest/units/slipway-agent.service"),
        "sysinit.target.wants",
    ),
    (
        "slipway-health.target",
        include_str!("../../guest/units/slipway-health.target"),
        "multi-user.target.wants",
    ),
    (
        "slipway-healthy.service",
        include_str!("../../guest/units/slipway-healthy.service"),
        // under multi-user.target it would be ordered after itself
        "slipway-health.target.wants",
    ),
];

/// Why the guest's files cannot be had or placed.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// A program is not there.
    #[error("cannot read slipway's own program {path}; it is built with slipway, see --tools")]
    Tool {
        /// where it was looked for
        path: PathBuf,
        /// why
        source: io::Error,
    },
    /// A path of the recipe.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The tree refuses a file.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Slipway's own programs.
pub struct Tools {
    /// slipway-boot.efi
    pub boot: Vec<u8>,
    /// slipway-init
    pub init: Vec<u8>,
    /// slipway-agent
    pub agent: Vec<u8>,
}

impl Tools {
    /// Reads them from a folder.
    pub fn load(folder: &Path) -> Result<Self, GuestError> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read(&path).map_err(|source| GuestError::Tool { path, source })
        };
        Ok(Self {
            boot: read("slipway-boot.efi")?,
            init: read("slipway-init")?,
            agent: read("slipway-agent")?,
        })
    }
}

/// Puts the agent, its units and the recipe's own files into the tree.
pub fn add_files(tree: &mut Tree, tools: &Tools, recipe: &Recipe) -> Result<(), GuestError> {
    write(tree, AGENT, 0o755, tools.agent.clone())?;
    let persist: String =
        recipe.persist.iter().map(|path| format!("{}\n", path.as_str())).collect();
    write(tree, PERSIST, 0o644, persist.into_bytes())?;
    if tree.get(SYSTEMD).is_some() {
        for (name, text, wanted_by) in UNIT_FILES {
            write(tree, &format!("{UNITS}/{name}"), 0o644, text.into())?;
            let link = TreePath::new(&format!("{UNITS}/{wanted_by}/{name}"))?;
            tree.symlink(&link, &format!("../{name}"))?;
        }
    }
    for file in &recipe.root.files {
        let path = TreePath::new(file.path.as_str())?;
        match &file.content {
            RootContent::File { content, mode } => {
                tree.write(&path, mode.bits(), content.clone().into_bytes())?;
            }
            RootContent::Link(target) => tree.symlink(&path, target)?,
        }
    }
    Ok(())
}

fn write(tree: &mut Tree, path: &str, mode: u16, bytes: Vec<u8>) -> Result<(), GuestError> {
    Ok(tree.write(&TreePath::new(path)?, mode, bytes)?)
}
