//! What runs the scripts that are not understood: a sandbox, or an engine for
//! Lua. Both stand behind one trait, so that composing can be tested without.

use crate::package::ScriptFlags;
use crate::tree::Tree;

/// A script that is to run in a tree.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Interpreter and its arguments, such as `/bin/sh` or `<lua>`.
    pub program: &'a [String],
    /// The script; empty where the program is all, which then gets no arguments.
    pub text: &'a str,
    /// `$1` and `$2`: how many of the package there are, and of the one that
    /// a trigger waited for.
    pub arguments: &'a [String],
    /// What the script reads: the files a file trigger waited for, one a line.
    pub stdin: &'a [u8],
    /// What the header says of the script. Its text is expanded already.
    pub flags: ScriptFlags,
}

/// How a script ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Whether it says that all is well.
    pub success: bool,
    /// How, for a person: `exit status 3`, `ended by signal 9`.
    pub ended: String,
    /// The end of what it said.
    pub last_lines: String,
}

impl Ran {
    /// With an exit status.
    #[must_use]
    pub fn exit(status: i32, last_lines: String) -> Self {
        Self { success: status == 0, ended: format!("exit status {status}"), last_lines }
    }
}

/// Why a script did not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The runner cannot do what the script wants, and has changed nothing.
    #[error("{0}")]
    Unsupported(String),
    /// The runner broke down.
    #[error("it cannot be run")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Something that runs scripts.
pub trait Runner {
    /// Runs a script in `tree`, and leaves there what it changed.
    ///
    /// # Errors
    /// If it did not run; then the tree is as it was.
    fn run(&mut self, tree: &mut Tree, call: &Call<'_>) -> Result<Ran, RunError>;
}

/// What there is to run scripts with.
#[derive(Default)]
pub struct Runners<'a> {
    /// For `<lua>`.
    pub lua: Option<&'a mut dyn Runner>,
    /// For everything; without it, what is not understood is an error.
    pub sandbox: Option<&'a mut dyn Runner>,
}
