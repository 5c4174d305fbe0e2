//! `demo-packages.toml`: which Debian packages the demo repository is made of,
//! what is added to them, and the packages that are made from nothing.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use rpm::{Dependency, DependencyFlags};
use serde::Deserialize;

use crate::rpm_package::{Content, PackageFile, Role, RpmPackage, Script};

/// The text of the list this program was built with.
pub const DEMO_LIST: &str = include_str!("../demo-packages.toml");

/// 2024-01-01: the time of everything made here, so that it never changes.
pub const MADE_TIME: u32 = 1_704_067_200;

/// The whole list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DemoList {
    /// Debian packages that are closed over their dependencies.
    pub roots: Vec<String>,
    /// Debian packages that are left out, with every dependency on them.
    pub absent: BTreeSet<String>,
    /// Paths that are never converted.
    pub drop_prefixes: Vec<String>,
    /// Sonames whose absence is not an error.
    pub optional_sonames: BTreeSet<String>,
    /// What is said about single packages.
    #[serde(default)]
    pub package: BTreeMap<String, Adjustment>,
    /// Packages made here.
    pub made: BTreeMap<String, Made>,
}

/// What a Debian package's archive does not say itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Adjustment {
    /// Further capabilities.
    pub provides: Vec<String>,
    /// Packages that must be there before `pre` runs.
    pub pre_requires: Vec<String>,
    /// Shell text of `%pre`.
    pub pre: Option<String>,
    /// Shell text of `%post`, for a package that has none otherwise.
    pub post: Option<String>,
    /// Packages that must be there before `post` runs.
    pub post_requires: Vec<String>,
    /// Units for the preset scriptlet, beside those the package itself enables.
    pub presets: Vec<String>,
    /// Runs ldconfig although its trigger file does not say so.
    pub ldconfig: bool,
    /// Does not run ldconfig although its trigger file says so.
    pub no_ldconfig: bool,
    /// `%transfiletriggerin`: path prefix to shell text.
    pub triggers: BTreeMap<String, String>,
    /// File capabilities by path.
    pub capabilities: BTreeMap<String, String>,
    /// Modes and owners by path.
    pub modes: BTreeMap<String, Mode>,
    /// Files Debian makes when the package is configured: path to text.
    pub files: BTreeMap<String, String>,
    /// Files Debian makes then that list the package's own: path to the folder
    /// that listed paths are below, and relative to.
    pub lists: BTreeMap<String, String>,
    /// Links Debian makes then, such as the alternatives: path to target.
    pub links: BTreeMap<String, String>,
}

/// A mode and an owner.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mode {
    /// Permission bits; the usual ones of its kind where missing.
    pub mode: Option<u16>,
    /// Owner; root where missing.
    pub user: Option<String>,
    /// Group; root where missing.
    pub group: Option<String>,
}

impl Mode {
    /// Puts what is given here on a file.
    pub fn apply(&self, file: &mut PackageFile) {
        file.mode = self.mode.unwrap_or(file.mode);
        if let Some(user) = &self.user {
            file.user = user.clone();
        }
        if let Some(group) = &self.group {
            file.group = group.clone();
        }
    }
}

/// A package made from nothing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Made {
    version: String,
    summary: String,
    #[serde(default)]
    provides: Vec<String>,
    #[serde(default)]
    pre_requires: Vec<String>,
    #[serde(default)]
    directories: BTreeMap<String, Mode>,
    #[serde(default)]
    links: BTreeMap<String, String>,
    #[serde(default)]
    files: BTreeMap<String, String>,
    #[serde(default)]
    modes: BTreeMap<String, Mode>,
}

impl DemoList {
    /// Reads the built-in list.
    pub fn load() -> Result<Self> {
        toml::from_str(DEMO_LIST).context("demo-packages.toml")
    }

    /// What is said about a package; nothing for most.
    pub fn adjustment(&self, name: &str) -> Adjustment {
        self.package.get(name).cloned().unwrap_or_default()
    }

    /// The directories that belong to the packages made here, so no converted
    /// package owns them as well.
    pub fn base_directories(&self) -> BTreeSet<String> {
        self.made.values().flat_map(|made| made.directories.keys().cloned()).collect()
    }

    /// Builds the packages made here.
    pub fn made_packages(&self) -> Result<Vec<RpmPackage>> {
        self.made.iter().map(|(name, made)| made.package(name)).collect()
    }
}

impl Made {
    fn package(&self, name: &str) -> Result<RpmPackage> {
        let mut package = RpmPackage::new(name, &self.version, "1", "noarch");
        package.summary = self.summary.clone();
        package.license = "MIT OR Apache-2.0".into();
        for text in &self.provides {
            package.provides.push(parse_capability(text)?);
        }
        package.requires = self.pre_requires.iter().map(Dependency::script_pre).collect();
        for (path, mode) in &self.directories {
            let directory = PackageFile::new(path, Content::Directory, MADE_TIME);
            package.files.push(with_mode(directory, mode));
        }
        package.files.extend(self.links.iter().map(|(path, target)| made_link(path, target)));
        for (path, text) in &self.files {
            let mode = self.modes.get(path).cloned().unwrap_or_default();
            package.files.push(with_mode(made_file(path, text), &mode));
        }
        Ok(package)
    }
}

fn with_mode(mut file: PackageFile, mode: &Mode) -> PackageFile {
    mode.apply(&mut file);
    file
}

/// A text file made here: configuration if it lies below `/etc`.
pub fn made_file(path: &str, text: &str) -> PackageFile {
    let content = Content::Regular(text.as_bytes().to_vec());
    let mut file = PackageFile::new(path, content, MADE_TIME);
    if path.starts_with("/etc/") {
        file.role = Role::Config;
    }
    file
}

fn made_link(path: &str, target: &str) -> PackageFile {
    PackageFile::new(path, Content::Symlink(target.into()), MADE_TIME)
}

/// `name` or `name = version`.
pub fn parse_capability(text: &str) -> Result<Dependency> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        [name] => Ok(Dependency::any(name)),
        [name, "=", version] => Ok(Dependency::eq(name, version)),
        _ => bail!("the capability {text:?} is neither a name nor `name = version`"),
    }
}

impl Adjustment {
    /// Puts everything said here on a converted package.
    pub fn apply(&self, package: &mut RpmPackage) -> Result<()> {
        for text in &self.provides {
            package.provides.push(parse_capability(text)?);
        }
        for name in &self.pre_requires {
            let mut dependency = Dependency::any(name);
            dependency.flags |= DependencyFlags::SCRIPT_PRE;
            package.requires.push(dependency);
        }
        for name in &self.post_requires {
            package.requires.push(Dependency::script_post(name));
        }
        package.scripts.pre = self.pre.as_ref().map(|text| Script::shell(text.trim_start()));
        package.triggers.extend(self.triggers.clone());
        package.files.extend(self.files.iter().map(|(path, text)| made_file(path, text)));
        for (path, folder) in &self.lists {
            let below =
                package.files.iter().filter(|file| matches!(file.content, Content::Regular(_)));
            let names = below.filter_map(|file| file.path.strip_prefix(folder)?.strip_prefix('/'));
            let mut names: Vec<String> = names.map(|name| format!("{name}\n")).collect();
            names.sort();
            package.files.push(made_file(path, &names.concat()));
        }
        package.files.extend(self.links.iter().map(|(path, target)| made_link(path, target)));
        for (path, text) in &self.capabilities {
            find(package, path)?.capabilities = Some(text.clone());
        }
        for (path, mode) in &self.modes {
            mode.apply(find(package, path)?);
        }
        Ok(())
    }
}

fn find<'a>(package: &'a mut RpmPackage, path: &str) -> Result<&'a mut PackageFile> {
    let name = package.name.clone();
    let file = package.files.iter_mut().find(|file| file.path == path);
    file.with_context(|| format!("demo-packages.toml names {path}, which {name} does not have"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_reads_and_its_own_packages_build() {
        let list = DemoList::load().unwrap();
        assert!(list.roots.len() > 20);
        for package in list.made_packages().unwrap() {
            package.build().unwrap();
        }
    }
}
