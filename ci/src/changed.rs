//! The next month in small: a repository that holds a newer version of one
//! package of the demo, and a recipe that takes it from there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::demo_list::DemoList;
use crate::images::Workshop;
use crate::small_repository;

/// Writes a recipe below `folder` that extends `recipe`, and a repository with
/// a newer version of `package`, which is one of those the demo makes itself.
/// Gives the recipe's path.
pub fn recipe_with_newer(
    workshop: &Workshop,
    recipe: &str,
    package: &str,
    folder: &Path,
) -> Result<PathBuf> {
    let repository = folder.join("changed-repository");
    let made = DemoList::load()?.made_packages()?;
    let newer = made.into_iter().find(|made| made.name == package);
    let mut newer = newer.with_context(|| format!("the demo does not make {package}"))?;
    newer.release = "2".into();
    newer.summary += ", a month later";
    small_repository::write(&repository, [newer])?;
    let path = folder.join("changed.toml");
    let extended = workshop.top.join("recipes").join(recipe);
    fs::write(&path, small_repository::recipe(&extended, "later", &repository, ""))?;
    Ok(path)
}
