//! Packages to a root tree, as rpm 4.18 installs them into an empty root: in its
//! order, with its scripts and triggers, without being root.
//!
//! ```text
//! packages ─order─▶ %pretrans ─▶ plan of files ─▶ each: %pre, files, %post, triggers ─▶ %posttrans ─▶ tree
//! ```
//!
//! [`transaction`] is the sequence; what it calls is small and knows nothing of
//! it: [`order`] and [`needs`], [`plan`] and [`links`], [`place`], [`triggers`].
//! A script is carried out by [`native`] if it is understood whole, else handed
//! to a [`Runner`]. The result depends on the packages and options alone, not on
//! the order they are given in.

use std::time::Duration;

use formats::digest::Digest;

use crate::ldconfig::LdconfigError;
use crate::package::{Package, Phase, Scriptlet};
use crate::presets::PresetReport;
use crate::tree::{Tree, TreeError, TreePath};
use crate::users::UsersError;

mod capability;
pub mod depmod;
mod execute;
mod links;
pub mod native;
mod needs;
pub mod order;
mod place;
pub mod plan;
pub mod runner;
mod script_text;
pub mod shell;
mod transaction;
mod triggers;

pub use capability::XATTR as CAPABILITY;
pub use place::UnknownOwner;
pub use plan::{FileConflict, FileState};
pub use runner::{Call, Ran, RunError, Runner, Runners};

/// What a composition depends on besides the packages.
#[derive(Debug, Clone)]
pub struct Options {
    /// Seconds since 1970: the time of generated files, and the latest of any.
    pub source_date_epoch: u64,
    /// Whether files marked as documentation are installed.
    pub docs: bool,
    /// The languages whose files are installed, such as `en_US`; all if none is
    /// given.
    pub languages: Option<Vec<String>>,
    /// Scripts that are not run: name of the package, and phase.
    pub skip_scripts: Vec<(String, Phase)>,
}

impl Options {
    /// Everything is installed and run.
    #[must_use]
    pub fn new(source_date_epoch: u64) -> Self {
        Self { source_date_epoch, docs: true, languages: None, skip_scripts: Vec::new() }
    }

    fn skips(&self, package: &Package, phase: Phase) -> bool {
        let name = &package.identity.name;
        self.skip_scripts.iter().any(|(other, of)| other == name && *of == phase)
    }
}

/// A tree, and how it came to be.
#[derive(Debug)]
pub struct Composed {
    /// The root file system.
    pub tree: Tree,
    /// The packages in the order they were installed in.
    pub installed: Vec<InstalledPackage>,
    /// What was done besides unpacking.
    pub report: Report,
}

/// A package that was installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledPackage {
    /// Its place in what [`compose`] was given.
    pub package: usize,
    /// For each of its files, in the header's order, what the package database
    /// says of it (`RPMTAG_FILESTATES`).
    pub states: Vec<FileState>,
}

/// What a composition did, and what it left undone.
#[derive(Debug, Default)]
pub struct Report {
    /// Scripts that ran, in that order.
    pub handled: Vec<HandledScriptlet>,
    /// Those of them that failed; rpm goes on after them, and so do we.
    pub failed: Vec<FailedScriptlet>,
    /// Scripts that the recipe wants left out.
    pub skipped: Vec<ScriptletName>,
    /// Users and groups that were made.
    pub accounts: Vec<String>,
    /// Declared users that could not be made.
    pub skipped_accounts: Vec<String>,
    /// Files whose owner does not exist; they are root's, without setuid.
    pub unknown_owners: Vec<UnknownOwner>,
    /// Units that were enabled or disabled.
    pub presets: PresetReport,
    /// Time spent in scripts that were carried out here.
    pub native: Duration,
    /// Time spent in scripts that ran in a sandbox.
    pub sandboxed: Duration,
}

/// Which script it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScriptletName {
    /// Name, version and architecture of its package.
    pub package: String,
    /// When it runs.
    pub phase: Phase,
    /// Digest of program and text.
    pub sha256: Digest,
}

impl std::fmt::Display for ScriptletName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.phase, self.package)
    }
}

/// What carries a script out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Handling {
    /// It is understood.
    Native,
    /// An engine for Lua.
    Lua,
    /// The sandbox.
    Sandbox,
}

impl Handling {
    /// What a script will be carried out by, as far as it says itself. It may
    /// come to something that is not understood in the tree it meets; then the
    /// sandbox takes over.
    #[must_use]
    pub fn of(script: &Scriptlet) -> Self {
        match script.program.first().map(String::as_str) {
            Some("<lua>") => Self::Lua,
            _ if native::understands(script).is_ok() => Self::Native,
            _ => Self::Sandbox,
        }
    }

    /// As the lock has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Lua => "lua",
            Self::Sandbox => "sandbox",
        }
    }
}

/// A script that ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandledScriptlet {
    /// Which.
    pub script: ScriptletName,
    /// By what.
    pub by: Handling,
}

/// A script that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedScriptlet {
    /// Which.
    pub script: ScriptletName,
    /// How it ended: `exit status 3`.
    pub ended: String,
    /// The end of what it said.
    pub last_lines: String,
}

impl std::fmt::Display for FailedScriptlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} failed, {}", self.script, self.ended)?;
        match self.last_lines.trim_end() {
            "" => Ok(()),
            lines => write!(f, ":\n    {}", lines.replace('\n', "\n    ")),
        }
    }
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
    /// A file would have to take the place of a directory; rpm cannot do that
    /// either.
    #[error("package {package}: {path}: there is a directory in place of {kind}")]
    InTheWay {
        /// Which package.
        package: String,
        /// Where.
        path: TreePath,
        /// What was to be there.
        kind: &'static str,
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
    /// A script that nothing here can run.
    #[error(
        "{script} cannot be run: {reason}; to build without it, add {:?} to skip_scripts under \
         [packages] of the recipe",
        skip_entry(script)
    )]
    NotRun {
        /// Which.
        script: ScriptletName,
        /// What in it, and why not.
        reason: String,
    },
    /// A script whose failure keeps its package from being installed.
    #[error("{0}")]
    Failed(FailedScriptlet),
    /// The accounts in the tree cannot be read.
    #[error(transparent)]
    Users(#[from] UsersError),
    /// The cache of libraries cannot be made.
    #[error(transparent)]
    Ldconfig(#[from] LdconfigError),
}

/// How a recipe names a script: by package and phase, whatever the version.
fn skip_entry(script: &ScriptletName) -> String {
    let mut parts = script.package.rsplitn(3, '-');
    let name = parts.nth(2).unwrap_or(&script.package);
    format!("{name} {}", script.phase)
}

/// Installs `packages` into an empty tree. Their order does not matter.
///
/// # Errors
/// If packages conflict, or a script cannot be run or fails where it must not.
pub fn compose(
    packages: &[Package],
    options: &Options,
    runners: Runners<'_>,
) -> Result<Composed, ComposeError> {
    let transaction::Outcome { tree, order, actions, report } =
        transaction::run(packages, options, runners)?;
    let installed = order.into_iter().zip(actions).map(|(package, actions)| InstalledPackage {
        package,
        states: actions.into_iter().map(plan::Action::state).collect(),
    });
    Ok(Composed { tree, installed: installed.collect(), report })
}

#[cfg(test)]
pub(crate) mod judge;
#[cfg(test)]
mod meeting_tests;
#[cfg(test)]
mod repository_tests;
#[cfg(test)]
mod synthetic_tests;
#[cfg(test)]
mod tests;
