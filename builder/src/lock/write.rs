//! The lock as text: always the same order and layout, one value a line, so
//! that a review shows exactly what changed.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::{Lock, LockError, LockedPackage};

const HEADING: &str = "\
# Every artifact of this image, to the byte. Written by `slipway lock`;
# meant to be reviewed and committed, not to be edited.
";

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADING}schema = {}", self.schema)?;
        writeln!(f, "\n[recipe]")?;
        text(f, "name", &self.recipe.name)?;
        text(f, "inputs", self.recipe.inputs)?;
        for repository in &self.repositories {
            writeln!(f, "\n[[repository]]")?;
            text(f, "id", &repository.id)?;
            text(f, "url", &repository.url)?;
            text(f, "repomd", repository.repomd)?;
        }
        for one in &self.packages {
            writeln!(f, "\n[[package]]")?;
            package(f, one)?;
        }
        for part in &self.parts {
            writeln!(f, "\n[[part]]")?;
            text(f, "role", &part.role)?;
            package(f, &part.package)?;
        }
        for tool in &self.tools {
            writeln!(f, "\n[[tool]]")?;
            text(f, "name", &tool.name)?;
            writeln!(f, "size = {}", tool.size)?;
            text(f, "sha256", tool.sha256)?;
        }
        for scriptlet in &self.scriptlets {
            writeln!(f, "\n[[scriptlet]]")?;
            text(f, "package", &scriptlet.package)?;
            text(f, "phase", &scriptlet.phase)?;
            text(f, "sha256", scriptlet.sha256)?;
            text(f, "handled", scriptlet.handled.name())?;
            writeln!(f, "accepted = {}", scriptlet.accepted)?;
        }
        Ok(())
    }
}

fn package(f: &mut fmt::Formatter<'_>, package: &LockedPackage) -> fmt::Result {
    text(f, "name", &package.name)?;
    writeln!(f, "epoch = {}", package.epoch)?;
    text(f, "version", &package.version)?;
    text(f, "release", &package.release)?;
    text(f, "arch", &package.arch)?;
    text(f, "repository", &package.repository)?;
    text(f, "location", &package.location)?;
    writeln!(f, "size = {}", package.size)?;
    text(f, "sha256", package.sha256)
}

fn text(f: &mut fmt::Formatter<'_>, key: &str, value: impl ToString) -> fmt::Result {
    // The crate knows what must be escaped in which kind of quotes.
    writeln!(f, "{key} = {}", toml::Value::String(value.to_string()))
}

/// Writes `text` to `path` at once or not at all; not if it is there already.
pub(super) fn save(text: &str, path: &Path) -> Result<bool, LockError> {
    if fs::read(path).is_ok_and(|found| found == text.as_bytes()) {
        return Ok(false);
    }
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| LockError::Io { action, path, source }
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder).map_err(failed("make", folder))?;
    let mut file = tempfile::Builder::new()
        .prefix(".lock-")
        .permissions(<fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o644))
        .tempfile_in(folder)
        .map_err(failed("write in", folder))?;
    file.write_all(text.as_bytes()).map_err(failed("write", path))?;
    file.as_file().sync_all().map_err(failed("write", path))?;
    file.persist(path).map_err(|error| failed("write", path)(error.error))?;
    // Without this a power cut could bring the old name back.
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("write in", folder))?;
    Ok(true)
}
