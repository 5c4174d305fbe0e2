//! Runs a script by whatever can: here if it is understood, else by the engine
//! for Lua or in a sandbox; and keeps the record of it.

use std::time::{Duration, Instant};

use super::native::{self, Ended, Notes};
use super::runner::{Call, Ran, RunError, Runner, Runners};
use super::script_text;
use super::triggers::Triggered;
use super::{
    ComposeError, FailedScriptlet, HandledScriptlet, Handling, Options, Report, ScriptletName,
};
use crate::ldconfig;
use crate::package::{Package, Scriptlet};
use crate::tree::Tree;

/// The interpreter that rpm has inside.
const LUA: &str = "<lua>";
/// Where there is no program, as `execv` fails in rpm's child.
const NO_PROGRAM: i32 = 127;

/// A script and its package.
#[derive(Clone, Copy)]
pub struct Whose<'a> {
    /// The package.
    pub package: &'a Package,
    /// One of its scripts.
    pub script: &'a Scriptlet,
}

impl Whose<'_> {
    fn name(&self) -> ScriptletName {
        ScriptletName {
            package: self.package.identity.to_string(),
            phase: self.script.phase,
            sha256: self.script.digest(),
        }
    }
}

/// The tree that scripts run in, and what there is to run them.
pub struct Execution<'a, 'r> {
    /// The tree.
    pub tree: Tree,
    /// What was done so far.
    pub report: Report,
    options: &'a Options,
    runners: Runners<'r>,
    notes: Notes,
}

impl<'a, 'r> Execution<'a, 'r> {
    /// Begins with a tree.
    #[must_use]
    pub fn new(tree: Tree, options: &'a Options, runners: Runners<'r>) -> Self {
        let (report, notes) = (Report::default(), Notes::default());
        Self { tree, report, options, runners, notes }
    }

    /// Runs all scripts that were set off.
    ///
    /// # Errors
    /// As [`Execution::run`].
    pub fn all(
        &mut self,
        packages: &[&Package],
        triggered: Vec<Triggered<'_>>,
    ) -> Result<(), ComposeError> {
        for one in triggered {
            let whose = Whose { package: packages[one.owner], script: one.script };
            self.run(whose, &one.arguments, &one.stdin)?;
        }
        Ok(())
    }

    /// Runs one script. A failure is an error only where it keeps rpm from
    /// installing the package; else it is reported.
    ///
    /// # Errors
    /// If the script cannot be run, or fails where it must not.
    pub fn run(
        &mut self,
        whose: Whose<'_>,
        arguments: &[String],
        stdin: &[u8],
    ) -> Result<(), ComposeError> {
        let name = whose.name();
        if self.options.skips(whose.package, whose.script.phase) {
            self.report.skipped.push(name);
            return Ok(());
        }
        let (by, ran) = self.choose(whose, arguments, stdin)?;
        if !ran.success {
            let failed = FailedScriptlet {
                script: name.clone(),
                ended: ran.ended,
                last_lines: ran.last_lines,
            };
            if whose.script.flags.critical {
                return Err(ComposeError::Failed(failed));
            }
            self.report.failed.push(failed);
        }
        self.report.handled.push(HandledScriptlet { script: name, by });
        Ok(())
    }

    fn choose(
        &mut self,
        whose: Whose<'_>,
        arguments: &[String],
        stdin: &[u8],
    ) -> Result<(Handling, Ran), ComposeError> {
        let Whose { package, script } = whose;
        let not_run = |reason: String| ComposeError::NotRun { script: whose.name(), reason };
        let text =
            script_text::expand(&script.text, script.flags, &package.identity).map_err(not_run)?;
        let shell = ["/bin/sh".to_owned()];
        let program = if script.program.is_empty() { &shell[..] } else { &script.program };
        // A program that is all there is of a script is told nothing either.
        let arguments = if text.is_empty() { &[] } else { arguments };
        let call = Call { program, text: &text, arguments, stdin, flags: script.flags };
        let reason = if program[0] == LUA {
            match self.by_lua(&call) {
                Ok(ran) => return Ok((Handling::Lua, ran)),
                Err(RunError::Unsupported(reason)) => reason,
                Err(error) => return Err(not_run(chain(&error))),
            }
        } else {
            if !native::is_program(&self.tree, &program[0]) {
                let last_lines = format!("there is no {}", program[0]);
                return Ok((Handling::Native, Ran::exit(NO_PROGRAM, last_lines)));
            }
            let started = Instant::now();
            let done =
                native::run(&mut self.tree, &mut self.notes, script, &text, arguments, stdin);
            self.report.native += started.elapsed();
            match done {
                Ok(Ended { status, last_lines }) => {
                    return Ok((Handling::Native, Ran::exit(status, last_lines)));
                }
                Err(reason) => reason.0,
            }
        };
        self.in_sandbox(&call, reason).map(|ran| (Handling::Sandbox, ran)).map_err(not_run)
    }

    fn by_lua(&mut self, call: &Call<'_>) -> Result<Ran, RunError> {
        let Some(lua) = &mut self.runners.lua else {
            return Err(RunError::Unsupported("there is no engine for Lua".to_owned()));
        };
        timed(&mut self.report.native, *lua, &mut self.tree, call)
    }

    /// `reason` is why it could not be done without.
    fn in_sandbox(&mut self, call: &Call<'_>, reason: String) -> Result<Ran, String> {
        let Some(sandbox) = &mut self.runners.sandbox else {
            return Err(format!("{reason} is not understood, and there is no sandbox here"));
        };
        if self.notes.ldconfig {
            // What runs there may need libraries outside of the usual folders.
            let options = ldconfig::Options::of(&self.tree);
            ldconfig::run(&mut self.tree, &options).map_err(|error| chain(&error))?;
        }
        let ran = timed(&mut self.report.sandboxed, *sandbox, &mut self.tree, call);
        ran.map_err(|error| {
            format!("{reason} is not understood, and in the sandbox: {}", chain(&error))
        })
    }

    /// Does what was put off, and hands out tree and report.
    ///
    /// # Errors
    /// If the cache of libraries cannot be made.
    pub fn finish(mut self) -> Result<(Tree, Report), ComposeError> {
        if self.notes.ldconfig {
            let options = ldconfig::Options::of(&self.tree);
            ldconfig::run(&mut self.tree, &options)?;
        }
        self.tree.clamp_mtimes(self.options.source_date_epoch);
        let mut report = self.report;
        report.accounts = self.notes.accounts;
        report.skipped_accounts = self.notes.skipped_accounts;
        report.presets = self.notes.presets;
        Ok((self.tree, report))
    }
}

fn timed(
    total: &mut Duration,
    runner: &mut dyn Runner,
    tree: &mut Tree,
    call: &Call<'_>,
) -> Result<Ran, RunError> {
    let started = Instant::now();
    let ran = runner.run(tree, call);
    *total += started.elapsed();
    ran
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut shown = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        shown.push_str(": ");
        shown.push_str(&cause.to_string());
        source = cause.source();
    }
    shown
}
