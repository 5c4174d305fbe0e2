//! What scripts that are not understood are run by: the Lua engine, and the
//! sandbox, which is made when the first script needs it.

use std::path::{Path, PathBuf};

use crate::compose::{Call, Ran, RunError, Runner};
use crate::lua::{self, LuaError};
use crate::sandbox::{self, Sandbox, Settings};
use crate::tree::Tree;

/// Runs `<lua>` scripts.
#[derive(Debug, Default)]
pub struct Lua;

impl Runner for Lua {
    fn run(&mut self, tree: &mut Tree, call: &Call<'_>) -> Result<Ran, RunError> {
        match lua::run(tree, &call_of(call)) {
            Ok(ran) => Ok(Ran::exit(0, ran.output)),
            Err(LuaError::Unsupported(what)) => Err(RunError::Unsupported(what)),
            Err(LuaError::Failed { message, output }) => Ok(Ran::exit(1, output + &message)),
        }
    }
}

/// Runs everything else.
#[derive(Debug)]
pub struct LazySandbox {
    scratch: PathBuf,
    source_date_epoch: u64,
    sandbox: Option<Sandbox>,
}

impl LazySandbox {
    /// One that keeps what scripts write below `scratch`, which must outlive
    /// the tree; scripts see `source_date_epoch`, in seconds since 1970.
    #[must_use]
    pub fn new(scratch: &Path, source_date_epoch: u64) -> Self {
        Self { scratch: scratch.into(), source_date_epoch, sandbox: None }
    }

    /// One that there is already.
    #[cfg(test)]
    pub(crate) fn of(sandbox: Sandbox) -> Self {
        Self { scratch: PathBuf::new(), source_date_epoch: 0, sandbox: Some(sandbox) }
    }

    fn sandbox(&mut self) -> Result<&mut Sandbox, RunError> {
        let sandbox = match self.sandbox.take() {
            Some(sandbox) => sandbox,
            None => {
                let settings = Settings::new(self.source_date_epoch).map_err(failed)?;
                Sandbox::new(&self.scratch, settings).map_err(failed)?
            }
        };
        Ok(self.sandbox.insert(sandbox))
    }
}

impl Runner for LazySandbox {
    fn run(&mut self, tree: &mut Tree, call: &Call<'_>) -> Result<Ran, RunError> {
        let sandbox = self.sandbox()?;
        let ran = sandbox.run(tree, &call_of(call)).map_err(failed)?;
        let short = sandbox.ids().shortage().is_some();
        // Reported like any other failure it would give an image that differs
        // from everybody else's.
        if let Some(advice) = ran.advice.as_ref().filter(|_| short) {
            return Err(RunError::Unsupported(format!("{advice}\n{}", ran.last_lines)));
        }
        let advice = ran.advice.map(|advice| format!("\n{advice}")).unwrap_or_default();
        Ok(Ran {
            success: ran.status.success(),
            ended: ran.status.to_string(),
            last_lines: ran.last_lines + &advice,
        })
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> RunError {
    RunError::Failed(Box::new(error))
}

fn call_of<'a>(call: &Call<'a>) -> sandbox::Call<'a> {
    sandbox::Call {
        program: call.program,
        text: call.text,
        arguments: call.arguments,
        stdin: call.stdin,
    }
}
