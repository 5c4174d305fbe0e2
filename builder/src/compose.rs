//! Packages to a root tree, natively: files, owners, capabilities, and what
//! their install scripts ask for.
//!
//! ```text
//! packages ─▶ files ─▶ scripts (understood ones) ─▶ users ─▶ owners ─▶ units ─▶ modules ─▶ libraries
//! ```
//!
//! A script runs in an interpreter that knows a few commands
//! ([`scripts`]). One that needs anything else does not run at all and is
//! reported. The result depends on the packages and options alone, not on the
//! order they are given in.

use formats::digest::Digest;

use crate::ldconfig::{self, LdconfigError};
use crate::package::{Package, Phase};
use crate::presets::{PresetError, PresetReport};
use crate::tree::{Tree, TreeError};
use crate::users::{SysusersError, UsersError};

mod capability;
pub mod depmod;
mod files;
pub mod scripts;
pub mod shell;

pub use files::{FileConflict, UnknownOwner};

/// What a composition depends on besides the packages.
#[derive(Debug, Clone)]
pub struct Options {
    /// Seconds since 1970: the time of generated files, and the latest of any.
    pub source_date_epoch: u64,
}

/// A tree, and how it came to be.
#[derive(Debug)]
pub struct Composed {
    /// The root file system.
    pub tree: Tree,
    /// What was done besides unpacking.
    pub report: Report,
}

/// What a composition did, and what it left undone.
#[derive(Debug, Default)]
pub struct Report {
    /// Scripts that were carried out.
    pub handled: Vec<HandledScriptlet>,
    /// Scripts that were not, since they need more than is understood.
    pub unhandled: Vec<UnhandledScriptlet>,
    /// Users and groups that were made.
    pub accounts: Vec<String>,
    /// Declared users that could not be made.
    pub skipped_accounts: Vec<String>,
    /// Files whose owner does not exist; they are root's, without setuid.
    pub unknown_owners: Vec<UnknownOwner>,
    /// Units that were enabled or disabled.
    pub presets: PresetReport,
}

/// A script that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HandledScriptlet {
    /// Whose it is.
    pub package: String,
    /// When it runs.
    pub phase: Phase,
    /// Digest of program and text.
    pub sha256: Digest,
}

/// A script that was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnhandledScriptlet {
    /// Whose it is.
    pub package: String,
    /// When it would run.
    pub phase: Phase,
    /// Digest of program and text.
    pub sha256: Digest,
    /// Interpreter and arguments.
    pub program: Vec<String>,
    /// The script.
    pub text: String,
    /// What in it is not understood.
    pub reason: String,
}

/// Why packages do not make a tree.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// Two packages have different files of the same name.
    #[error("{} file conflict(s), the first: {}", .0.len(), .0[0])]
    Conflicts(Vec<FileConflict>),
    /// A package's file does not fit the tree.
    #[error("package {package}")]
    File {
        /// Which package.
        package: String,
        /// Why not.
        source: TreeError,
    },
    /// Capabilities that are not a known text.
    #[error("package {package}: {path} has capabilities {text:?}, which are not understood")]
    Capabilities {
        /// Which package.
        package: String,
        /// Which file.
        path: String,
        /// The text.
        text: String,
    },
    /// The tree cannot be changed as needed.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// An account cannot be made.
    #[error(transparent)]
    Users(#[from] UsersError),
    /// A declared account cannot be made.
    #[error(transparent)]
    Sysusers(#[from] SysusersError),
    /// A unit cannot be enabled.
    #[error(transparent)]
    Presets(#[from] PresetError),
    /// The cache of libraries cannot be made.
    #[error(transparent)]
    Ldconfig(#[from] LdconfigError),
    /// The index of kernel modules cannot be made.
    #[error(transparent)]
    Depmod(#[from] depmod::DepmodError),
}

/// Composes `packages` into a tree. Their order does not matter.
///
/// # Errors
/// If packages conflict, or something they ask for and that is understood
/// cannot be done.
pub fn compose(packages: &[Package], options: &Options) -> Result<Composed, ComposeError> {
    let mut packages: Vec<&Package> = packages.iter().collect();
    // `filesystem` and `setup` come first in every distribution's own order;
    // here that only decides whose `%pre` is read first.
    let rank = |name: &str| match name {
        "filesystem" => 0,
        "setup" => 1,
        _ => 2,
    };
    packages.sort_by(|a, b| {
        let key = |package: &Package| rank(&package.identity.name);
        key(a).cmp(&key(b)).then_with(|| a.identity.cmp(&b.identity))
    });
    let mut tree = Tree::new(options.source_date_epoch);
    let mut report = Report::default();
    let owners = files::merge(&mut tree, &packages)?;
    let wishes = scripts::run(&packages, &tree, &mut report);
    let accounts = scripts::make_accounts(&wishes, &mut tree, options.source_date_epoch)?;
    report.accounts = accounts.made().to_vec();
    report.skipped_accounts = accounts.skipped().to_vec();
    files::set_owners(&mut tree, &packages, &owners, &accounts, &mut report);
    scripts::apply_presets(&wishes, &mut tree, &mut report.presets)?;
    for version in &wishes.depmod {
        depmod::run(&mut tree, version)?;
    }
    if wishes.ldconfig {
        ldconfig::run(&mut tree, &ldconfig::Options::default())?;
    }
    tree.clamp_mtimes(options.source_date_epoch);
    Ok(Composed { tree, report })
}

#[cfg(test)]
mod repository_tests;
#[cfg(test)]
mod tests;
