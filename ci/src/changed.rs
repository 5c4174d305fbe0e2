//! The next month in small: a repository that holds a newer version of one
//! package of the demo, and a recipe that takes it from there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::demo_list::DemoList;
use crate::images::Workshop;
use crate::metadata::{ListedPackage, PUBLIC_KEY_NAME, write_repodata};
use crate::pgp_key::SigningKey;
use crate::rpm_package::file_name;

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
    let key = SigningKey::generate("A month later <later@example.invalid>")?;
    let built = newer.build_signed(&key)?;
    let mut bytes = Vec::new();
    built.write(&mut bytes)?;
    let location = format!("Packages/{}", file_name(&built)?);
    fs::create_dir_all(repository.join("Packages"))?;
    fs::write(repository.join(&location), &bytes)?;
    let listed = ListedPackage::new(&built, &bytes, &location)?;
    write_repodata(&repository, vec![listed], &key, u64::from(crate::demo_list::MADE_TIME))?;
    let path = folder.join("changed.toml");
    let extended = workshop.top.join("recipes").join(recipe);
    fs::write(
        &path,
        format!(
            "schema = 1\nextends = [{:?}]\n\n[[repository]]\nid = \"later\"\nurl = {:?}\nkeys = [{:?}]\n",
            extended.display().to_string(),
            repository.display().to_string(),
            repository.join(PUBLIC_KEY_NAME).display().to_string(),
        ),
    )?;
    Ok(path)
}
