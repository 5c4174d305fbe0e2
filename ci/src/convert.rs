//! Turning one Debian package into an RPM: paths, dependencies, and scriptlets
//! in the usual RPM idioms. Debian's maintainer scripts are never translated;
//! what matters in them is recognised here or said in `demo-packages.toml`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use rpm::{Dependency, DependencyFlags};

use crate::deb::{Deb, DebEntry, DebKind};
use crate::demo_list::{Adjustment, DemoList};
use crate::dependency::{Known, RpmVersion, parse_relations};
use crate::elf::ElfDependencies;
use crate::merged_usr::{canonical, link_target};
use crate::rpm_package::{Content, PackageFile, Role, RpmPackage, Script};

/// What the conversion of every package of a set needs.
pub struct Converter {
    list: DemoList,
    /// Package names of the set.
    names: BTreeSet<String>,
    /// Those and the names they provide.
    available: BTreeSet<String>,
    base_directories: BTreeSet<String>,
}

impl Converter {
    /// A converter for a set whose packages have these control fields.
    pub fn new(list: DemoList, debs: &[Deb]) -> Self {
        let mut names: BTreeSet<String> = debs.iter().map(|d| d.field("Package").into()).collect();
        names.extend(list.made.keys().cloned());
        let provided = debs.iter().flat_map(|deb| parse_relations(deb.field("Provides")));
        let provided = provided.flatten().map(|relation| relation.name);
        let available = names.iter().cloned().chain(provided).collect();
        let base_directories = list.base_directories();
        Converter { list, names, available, base_directories }
    }

    /// The list this converter goes by.
    pub fn list(&self) -> &DemoList {
        &self.list
    }

    /// Converts one package; `deb` loses its payload to the result.
    pub fn convert(&self, mut deb: Deb) -> Result<RpmPackage> {
        let name = deb.field("Package").to_string();
        let entries = std::mem::take(&mut deb.entries);
        let mut package = self.describe(&deb)?;
        package.files = self.files(&deb, entries)?;
        let adjustment = self.list.adjustment(&name);
        adjustment.apply(&mut package)?;
        self.add_relations(&deb, &mut package);
        self.add_elf(&mut package)?;
        add_kernel(&mut package);
        add_ldconfig(&deb, &adjustment, &mut package);
        add_presets(&deb, &adjustment, &mut package);
        if let Some(text) = &adjustment.post {
            ensure!(package.scripts.post.is_none(), "it has a %post already");
            package.scripts.post = Some(Script::shell(text.trim_start()));
        }
        Ok(package)
    }

    fn describe(&self, deb: &Deb) -> Result<RpmPackage> {
        let version = RpmVersion::from_debian(deb.field("Version"));
        let arch = match deb.field("Architecture") {
            "amd64" => "x86_64",
            "all" => "noarch",
            other => bail!("architecture {other:?}"),
        };
        let name = deb.field("Package");
        let mut package = RpmPackage::new(name, &version.version, version.package_release(), arch);
        package.epoch = version.epoch;
        package.url = deb.field("Homepage").to_string();
        package.license = format!("see /usr/share/doc/{name}/copyright");
        let (summary, description) = describe_text(deb.field("Description"));
        package.summary = summary;
        package.description = description;
        Ok(package)
    }

    fn add_relations(&self, deb: &Deb, package: &mut RpmPackage) {
        let known = Known { available: &self.available, absent: &self.list.absent };
        package.requires.push(Dependency::script_pre("filesystem"));
        for field in ["Pre-Depends", "Depends"] {
            package.requires.extend(known.needs(deb.field(field)));
        }
        package.recommends.extend(known.wishes(deb.field("Recommends")));
        let provides = parse_relations(deb.field("Provides")).into_iter().flatten();
        let provides: Vec<_> = provides.collect();
        for field in ["Conflicts", "Breaks"] {
            let groups = parse_relations(deb.field(field));
            let others = groups.into_iter().flatten().filter(|relation| {
                // RPM, unlike dpkg, lets no package conflict with what it provides,
                // and a version says nothing about a name outside the set.
                let own = provides.iter().any(|provided| provided.name == relation.name);
                !own && self.names.contains(&relation.name)
            });
            package.conflicts.extend(others.map(|relation| relation.dependency()));
        }
        package.provides.extend(provides.iter().map(|relation| relation.dependency()));
    }

    fn add_elf(&self, package: &mut RpmPackage) -> Result<()> {
        let mut found = ElfDependencies::default();
        for file in &package.files {
            let (Content::Regular(bytes) | Content::HardLink { bytes, .. }) = &file.content else {
                continue;
            };
            // Kernel modules and the vDSO next to them are not for user space.
            if file.path.starts_with("/usr/lib/modules/") {
                continue;
            }
            found.scan(bytes).with_context(|| format!("path {}", file.path))?;
            if is_shell_script(file.mode, bytes) {
                found.requires.insert("/bin/sh".into());
            }
        }
        let wanted = found.requires.into_iter().filter(|name| {
            let soname = name.split('(').next().unwrap_or_default();
            !self.list.optional_sonames.contains(soname)
        });
        package.requires.extend(wanted.map(|name| generated(name, DependencyFlags::FIND_REQUIRES)));
        let provided = found.provides.into_iter();
        package
            .provides
            .extend(provided.map(|name| generated(name, DependencyFlags::FIND_PROVIDES)));
        Ok(())
    }

    fn files(&self, deb: &Deb, entries: Vec<DebEntry>) -> Result<Vec<PackageFile>> {
        let config: BTreeSet<&str> = deb.script("conffiles").lines().map(str::trim).collect();
        let mut files = BTreeMap::new();
        let links = hard_link_sets(&entries);
        let bytes = linked_bytes(&entries, &links);
        for entry in entries {
            let Some(mut file) = self.file(entry, &links, &bytes)? else {
                continue;
            };
            file.role = role(&file.path, &config);
            insert(&mut files, file)?;
        }
        Ok(files.into_values().collect())
    }

    fn file(
        &self,
        entry: DebEntry,
        links: &LinkSets,
        bytes: &LinkBytes,
    ) -> Result<Option<PackageFile>> {
        let path = canonical(&entry.path);
        let dropped = self.list.drop_prefixes.iter().any(|prefix| path.starts_with(prefix));
        if entry.path.is_empty() || dropped {
            return Ok(None);
        }
        let content = match entry.kind {
            DebKind::Directory if self.base_directories.contains(&path) => return Ok(None),
            DebKind::Directory => Content::Directory,
            DebKind::Symlink(target) => match link_target(&entry.path, &target) {
                Some(target) => Content::Symlink(target),
                None => return Ok(None),
            },
            DebKind::HardLink(_) | DebKind::Regular(_) if links.contains_key(&entry.path) => {
                let set = links[&entry.path].clone();
                let bytes = bytes.get(&set).with_context(|| format!("{path} links to nothing"))?;
                Content::HardLink { set, bytes: bytes.clone() }
            }
            DebKind::Regular(bytes) => Content::Regular(bytes),
            DebKind::HardLink(target) => bail!("{path} links to {target}, which is not there"),
        };
        let mut file = PackageFile::new(&path, content, entry.mtime);
        file.mode = entry.mode;
        file.user = entry.user;
        file.group = entry.group;
        Ok(Some(file))
    }
}

/// Archived path of every name of a multiply linked file, to the first name.
type LinkSets = BTreeMap<String, String>;
/// First name of a multiply linked file to its bytes.
type LinkBytes = BTreeMap<String, Vec<u8>>;

fn hard_link_sets(entries: &[DebEntry]) -> LinkSets {
    let mut sets = LinkSets::new();
    for entry in entries {
        if let DebKind::HardLink(target) = &entry.kind {
            let first = sets.get(target).unwrap_or(target).clone();
            sets.insert(entry.path.clone(), first.clone());
            sets.insert(first.clone(), first);
        }
    }
    sets
}

fn linked_bytes(entries: &[DebEntry], links: &LinkSets) -> LinkBytes {
    let mut all = LinkBytes::new();
    for entry in entries {
        if let (DebKind::Regular(bytes), Some(set)) = (&entry.kind, links.get(&entry.path)) {
            all.insert(set.clone(), bytes.clone());
        }
    }
    all
}

/// Once the trees are merged two archived paths can be one: a real file wins
/// over the compatibility link to it.
fn insert(files: &mut BTreeMap<String, PackageFile>, file: PackageFile) -> Result<()> {
    if let Some(other) = files.get(&file.path) {
        match (&other.content, &file.content) {
            (Content::Directory, Content::Directory) | (_, Content::Symlink(_)) => return Ok(()),
            (Content::Symlink(_), _) => {}
            _ => bail!("{} is there twice", file.path),
        }
    }
    files.insert(file.path.clone(), file);
    Ok(())
}

fn role(path: &str, config: &BTreeSet<&str>) -> Role {
    if config.contains(path) {
        Role::Config
    } else if path.starts_with("/usr/share/doc/") || path.starts_with("/usr/share/man/") {
        Role::Doc
    } else {
        Role::Plain
    }
}

fn generated(name: String, flag: DependencyFlags) -> Dependency {
    let mut dependency = Dependency::any(name);
    dependency.flags |= flag;
    dependency
}

/// Whether an executable is a script for `/bin/sh`. Other interpreters are left
/// to the package's own dependencies: Debian lets a script need what is not
/// installed, and bash for `ldd` would put ldconfig after most libraries.
fn is_shell_script(mode: u16, bytes: &[u8]) -> bool {
    let line = bytes.strip_prefix(b"#!").and_then(|rest| rest.split(|b| *b == b'\n').next());
    let words = line.and_then(|line| std::str::from_utf8(line).ok());
    let program = words.and_then(|words| words.split_whitespace().next());
    mode & 0o111 != 0 && program == Some("/bin/sh")
}

fn describe_text(field: &str) -> (String, String) {
    let (summary, rest) = field.split_once('\n').unwrap_or((field, field));
    let lines = rest.lines().map(|line| if line.trim() == "." { "" } else { line.trim() });
    (summary.to_string(), lines.collect::<Vec<_>>().join("\n"))
}

/// A kernel gets the names and the scriptlet that RPM kernels have.
fn add_kernel(package: &mut RpmPackage) {
    let release =
        package.name.strip_prefix("linux-image-").filter(|r| r.starts_with(char::is_numeric));
    let Some(release) = release.map(str::to_string) else {
        return;
    };
    let evr = format!("{}-{}", package.version, package.release);
    package.provides.push(Dependency::eq("kernel", evr));
    package.provides.push(Dependency::eq("kernel-uname-r", &release));
    package.provides.push(Dependency::any("installonlypkg(kernel)"));
    package.requires.push(Dependency::script_post("kmod"));
    package.scripts.post = Some(Script::shell(format!("/sbin/depmod -a {release}")));
}

fn add_ldconfig(deb: &Deb, adjustment: &Adjustment, package: &mut RpmPackage) {
    let activates = |line: &str| line.starts_with("activate") && line.ends_with(" ldconfig");
    let triggered = deb.script("triggers").lines().any(activates);
    if adjustment.ldconfig || (triggered && !adjustment.no_ldconfig) {
        package.scripts.post = Some(Script::program("/sbin/ldconfig"));
        package.scripts.postun = Some(Script::program("/sbin/ldconfig"));
    }
}

/// The units a package ships and Debian enables become the preset idiom.
fn add_presets(deb: &Deb, adjustment: &Adjustment, package: &mut RpmPackage) {
    let enabled = deb.script("postinst").lines().filter_map(|line| {
        let (_, rest) = line.split_once("deb-systemd-helper ")?;
        let (_, rest) = rest.split_once("enable ")?;
        rest.split_whitespace().next().map(|unit| unit.trim_matches('\''))
    });
    let shipped = |unit: &str| {
        let path = format!("/usr/lib/systemd/system/{unit}");
        package.files.iter().any(|file| file.path == path)
    };
    let units: BTreeSet<String> = enabled
        .filter(|unit| shipped(unit))
        .map(str::to_string)
        .chain(adjustment.presets.iter().cloned())
        .collect();
    if units.is_empty() {
        return;
    }
    let units: Vec<String> = units.into_iter().collect();
    preset_scripts(&units.join(" "), package);
}

/// The three scriptlets of a package with units; an ldconfig scriptlet that is
/// already there becomes the first line.
pub fn preset_scripts(units: &str, package: &mut RpmPackage) {
    let first = |script: &Option<Script>| match script {
        Some(_) => "/sbin/ldconfig\n",
        None => "",
    };
    if package.name != "systemd" {
        // A wish for the order only: the scriptlet does nothing without systemctl.
        package.recommends.push(Dependency::any("systemd"));
    }
    // The presets must be there before the first of these scriptlets runs.
    package.requires.push(Dependency::script_post("system-release"));
    package.scripts.post = Some(Script::shell(format!(
        "{}if [ $1 -eq 1 ] && [ -x /usr/bin/systemctl ]; then\n    \
         # Initial installation\n    \
         systemctl --no-reload preset {units} >/dev/null 2>&1 || :\nfi",
        first(&package.scripts.post)
    )));
    package.scripts.preun = Some(Script::shell(format!(
        "if [ $1 -eq 0 ] && [ -x /usr/bin/systemctl ]; then\n    \
         # Package removal, not upgrade\n    \
         systemctl --no-reload disable --now {units} >/dev/null 2>&1 || :\nfi"
    )));
    package.scripts.postun = Some(Script::shell(format!(
        "{}if [ -x /usr/bin/systemctl ]; then\n    \
         systemctl daemon-reload >/dev/null 2>&1 || :\nfi",
        first(&package.scripts.postun)
    )));
}
