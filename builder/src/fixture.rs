//! A tiny signed repository and a recipe for it, made in a temporary folder:
//! what the tests of locking and fetching work on. Only for tests.

#[allow(dead_code, reason = "the tests of the command use the rest")]
mod repository;

use std::fs;
use std::path::Path;

use crate::progress::Progress;
use crate::recipe::Recipe;
use crate::store::Store;
pub(crate) use repository::{Fixture, Key, rpm};

impl Fixture {
    pub fn recipe(&self) -> Recipe {
        Recipe::load(&self.recipe_path()).unwrap_or_else(|problems| panic!("{problems}"))
    }

    pub fn store(&self) -> Store {
        Store::open(self.path("store")).expect("store")
    }

    /// Resolves the recipe.
    pub fn lock(&self) -> Result<crate::lock::Lock, String> {
        let recipe = self.recipe();
        let whole = |error: &dyn std::error::Error| chain(error);
        let repositories =
            crate::repository::Repositories::open(&recipe, &self.store(), &Progress::Quiet)
                .map_err(|error| whole(&error))?;
        let request = crate::solve::Request::of(&recipe);
        let resolution =
            crate::solve::resolve(&repositories, &request).map_err(|error| whole(&error))?;
        let tools = crate::lock::tools_in(&self.path("tools")).map_err(|error| whole(&error))?;
        Ok(crate::lock::Lock::new(&recipe, &repositories, &resolution, tools))
    }
}

/// The error and all its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

/// The files below `folder`, relative to it.
pub(crate) fn files_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("folder").flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => found.push(path.strip_prefix(folder).expect("below").display().to_string()),
            }
        }
    }
    found.sort();
    found
}
