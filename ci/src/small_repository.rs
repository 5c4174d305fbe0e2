//! A signed repository of packages made on the spot, one after the other, so
//! that only one of them is in memory.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::demo_list::MADE_TIME;
use crate::metadata::{ListedPackage, PUBLIC_KEY_NAME, write_repodata};
use crate::pgp_key::SigningKey;
use crate::rpm_package::{RpmPackage, file_name};

/// Writes packages, their metadata and a new key below `folder`.
///
/// # Errors
/// If a package cannot be built or a file not be written.
pub fn write(folder: &Path, packages: impl IntoIterator<Item = RpmPackage>) -> Result<()> {
    let key = SigningKey::generate("Made on the spot <made@example.invalid>")?;
    fs::create_dir_all(folder.join("Packages"))
        .with_context(|| format!("cannot make {}", folder.display()))?;
    let mut listed = Vec::new();
    for package in packages {
        let built = package.build_signed(&key)?;
        let mut bytes = Vec::new();
        built.write(&mut bytes)?;
        let location = format!("Packages/{}", file_name(&built)?);
        let path = folder.join(&location);
        fs::write(&path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
        listed.push(ListedPackage::new(&built, &bytes, &location)?);
    }
    write_repodata(folder, listed, &key, u64::from(MADE_TIME))
}

/// The text of a recipe that extends another one and takes packages from such a
/// repository, too; `more` is appended to it.
#[must_use]
pub fn recipe(extends: &Path, id: &str, repository: &Path, more: &str) -> String {
    format!(
        "schema = 1\nextends = [{:?}]\n{more}\n\
         [[repository]]\nid = {id:?}\nurl = {:?}\nkeys = [{:?}]\n",
        extends.display().to_string(),
        repository.display().to_string(),
        repository.join(PUBLIC_KEY_NAME).display().to_string(),
    )
}
