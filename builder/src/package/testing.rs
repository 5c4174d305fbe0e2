//! Packages made on the spot for tests.

use std::fs;
use std::path::{Path, PathBuf};

use rpm::{BuildConfig, CompressionWithLevel, FileOptions, PackageBuilder};

use super::Package;

/// Seconds since 1970 that everything in a test's package has.
pub const TIME: u32 = 1_600_000_000;

/// Writes the package that `fill` describes to `folder`.
pub fn write(folder: &Path, name: &str, fill: impl FnOnce(&mut PackageBuilder)) -> PathBuf {
    let config = BuildConfig::v4().compression(CompressionWithLevel::Zstd(1));
    write_with(folder, name, config, fill)
}

/// As [`write`], in a format and compression of choice.
pub fn write_with(
    folder: &Path,
    name: &str,
    config: BuildConfig,
    fill: impl FnOnce(&mut PackageBuilder),
) -> PathBuf {
    let mut builder = PackageBuilder::new(name, "1.0", "MIT", "noarch", "for a test");
    builder.using_config(config.source_date(TIME)).release("1");
    fill(&mut builder);
    let path = folder.join(format!("{name}.rpm"));
    let mut bytes = Vec::new();
    builder.build().unwrap().write(&mut bytes).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

/// Writes and opens a package.
pub fn package(folder: &Path, name: &str, fill: impl FnOnce(&mut PackageBuilder)) -> Package {
    let path = write(folder, name, fill);
    Package::open(&path, &path.with_extension("cpio")).unwrap()
}

/// Adds a regular file of root's with mode 0644.
pub fn file(builder: &mut PackageBuilder, path: &str, bytes: impl Into<Vec<u8>>) {
    builder.with_file_contents(bytes, FileOptions::new(path).permissions(0o644)).unwrap();
}

/// Adds a directory of root's with mode 0755.
pub fn directory(builder: &mut PackageBuilder, path: &str) {
    builder.with_dir_entry(FileOptions::dir(path).permissions(0o755)).unwrap();
}

/// Adds a symbolic link.
pub fn link(builder: &mut PackageBuilder, path: &str, target: &str) {
    builder.with_symlink(FileOptions::symlink(path, target)).unwrap();
}
