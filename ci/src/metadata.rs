//! Repository metadata: `repodata/` with primary and filelists (zstd) and a
//! signed `repomd.xml`, in the format that createrepo_c writes and dnf reads.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use rpm::{Dependency, DependencyFlags, FileFlags, FileType, Package};
use sha2::{Digest, Sha256};

use crate::pgp_key::SigningKey;

/// Name of the public key in a repository's top folder.
pub const PUBLIC_KEY_NAME: &str = "RPM-GPG-KEY-demo";

/// A package as its repository lists it.
pub struct ListedPackage {
    location: String,
    primary: String,
    filelists: String,
}

impl ListedPackage {
    /// Describes a package whose file has the given bytes and lies at
    /// `location`, relative to the repository's top folder.
    pub fn new(package: &Package, bytes: &[u8], location: &str) -> Result<Self> {
        let digest = hex(&Sha256::digest(bytes));
        Ok(ListedPackage {
            location: location.to_string(),
            primary: primary(package, bytes.len(), &digest, location)?,
            filelists: filelists(package, &digest)?,
        })
    }

    /// The same entry with another digest in it: a lie, for tests.
    pub fn with_wrong_digest(mut self) -> Self {
        let start = "<checksum type=\"sha256\" pkgid=\"YES\">";
        if let Some(at) = self.primary.find(start).map(|at| at + start.len()) {
            self.primary.replace_range(at..at + 64, &"0".repeat(64));
        }
        self
    }
}

/// Writes `repodata/` below `top`, and the public key beside it. The packages
/// themselves are the caller's.
pub fn write_repodata(
    top: &Path,
    mut packages: Vec<ListedPackage>,
    key: &SigningKey,
    time: u64,
) -> Result<()> {
    packages.sort_by(|a, b| a.location.cmp(&b.location));
    let folder = top.join("repodata");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let body = |part: fn(&ListedPackage) -> &str| packages.iter().map(part).collect::<String>();
    let documents = [
        (
            "primary",
            document("metadata", "common", PRIMARY_EXTRA, packages.len(), &body(|p| &p.primary)),
        ),
        (
            "filelists",
            document("filelists", "filelists", "", packages.len(), &body(|p| &p.filelists)),
        ),
    ];
    let mut repomd = format!(
        "{XML_HEAD}<repomd xmlns=\"http://linux.duke.edu/metadata/repo\" \
         xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\">\n<revision>{time}</revision>\n"
    );
    for (kind, text) in documents {
        let packed = zstd::encode_all(text.as_bytes(), 9)?;
        let digest = hex(&Sha256::digest(&packed));
        let name = format!("repodata/{digest}-{kind}.xml.zst");
        write(&top.join(&name), &packed)?;
        write!(
            repomd,
            "<data type=\"{kind}\">\n<checksum type=\"sha256\">{digest}</checksum>\n\
             <open-checksum type=\"sha256\">{}</open-checksum>\n<location href=\"{name}\"/>\n\
             <timestamp>{time}</timestamp>\n<size>{}</size>\n<open-size>{}</open-size>\n</data>\n",
            hex(&Sha256::digest(text.as_bytes())),
            packed.len(),
            text.len(),
        )?;
    }
    repomd.push_str("</repomd>\n");
    write(&folder.join("repomd.xml"), repomd.as_bytes())?;
    write(&folder.join("repomd.xml.asc"), key.sign_detached(repomd.as_bytes())?.as_bytes())?;
    write(&top.join(PUBLIC_KEY_NAME), key.public_armored()?.as_bytes())
}

const XML_HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
const PRIMARY_EXTRA: &str = " xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\"";

fn document(root: &str, namespace: &str, extra: &str, count: usize, body: &str) -> String {
    format!(
        "{XML_HEAD}<{root} xmlns=\"http://linux.duke.edu/metadata/{namespace}\"{extra} \
         packages=\"{count}\">\n{body}</{root}>\n"
    )
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() && c != '\n' && c != '\t' => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

fn version_attributes(package: &Package) -> Result<String> {
    let header = &package.metadata;
    // A header without an epoch has epoch 0.
    let epoch = header.get_epoch().unwrap_or(0);
    let (version, release) = (escape(header.get_version()?), escape(header.get_release()?));
    Ok(format!("epoch=\"{epoch}\" ver=\"{version}\" rel=\"{release}\""))
}

fn primary(package: &Package, size_bytes: usize, digest: &str, location: &str) -> Result<String> {
    let header = &package.metadata;
    let optional = |text: Result<&str, rpm::Error>| escape(text.unwrap_or_default());
    let offsets = header.get_package_segment_offsets();
    let mut xml = format!(
        "<package type=\"rpm\">\n<name>{}</name>\n<arch>{}</arch>\n<version {}/>\n\
         <checksum type=\"sha256\" pkgid=\"YES\">{digest}</checksum>\n\
         <summary>{}</summary>\n<description>{}</description>\n<packager/>\n<url>{}</url>\n\
         <time file=\"{time}\" build=\"{time}\"/>\n\
         <size package=\"{size_bytes}\" installed=\"{}\" archive=\"0\"/>\n\
         <location href=\"{}\"/>\n<format>\n<rpm:license>{}</rpm:license>\n\
         <rpm:vendor>{}</rpm:vendor>\n<rpm:group>{}</rpm:group>\n\
         <rpm:buildhost>{}</rpm:buildhost>\n<rpm:sourcerpm/>\n\
         <rpm:header-range start=\"{}\" end=\"{}\"/>\n",
        escape(header.get_name()?),
        escape(header.get_arch()?),
        version_attributes(package)?,
        optional(header.get_summary()),
        optional(header.get_description()),
        optional(header.get_url()),
        header.get_installed_size()?,
        escape(location),
        optional(header.get_license()),
        optional(header.get_vendor()),
        optional(header.get_group()),
        optional(header.get_build_host()),
        offsets.header,
        offsets.payload,
        time = header.get_build_time()?,
    );
    let provides = header.get_provides()?;
    let requires = needed(header.get_requires()?, &provides);
    relations(&mut xml, "provides", provides)?;
    relations(&mut xml, "requires", requires)?;
    relations(&mut xml, "conflicts", header.get_conflicts()?)?;
    relations(&mut xml, "obsoletes", header.get_obsoletes()?)?;
    relations(&mut xml, "recommends", header.get_recommends()?)?;
    for file in header.get_file_entries()?.iter().filter(|file| is_primary(&path_of(file))) {
        xml.push_str(&file_element(file));
    }
    xml.push_str("</format>\n</package>\n");
    Ok(xml)
}

/// What a resolver is told to look for: not the features rpm itself must have,
/// nothing the package provides in the same words, and of the versions of the C
/// library only the latest (createrepo_c does the same).
fn needed(requires: Vec<Dependency>, provides: &[Dependency]) -> Vec<Dependency> {
    let libc = |name: &str| name.starts_with("libc.so.6(") && !name.contains("PRIVATE");
    let names = requires.iter().map(|dependency| dependency.name.as_str());
    let latest = names.filter(|name| libc(name)).max_by_key(|name| numbers(name));
    let latest = latest.map(str::to_string);
    let own = |wanted: &Dependency| {
        provides.iter().any(|p| p.name == wanted.name && p.version == wanted.version)
    };
    let is_needed = |dependency: &Dependency| {
        let name = &dependency.name;
        let old = libc(name) && latest.as_ref().is_some_and(|latest| latest != name);
        !name.starts_with("rpmlib(") && !own(dependency) && !old
    };
    requires.into_iter().filter(is_needed).collect()
}

/// `libc.so.6(GLIBC_2.3.4)(64bit)` as 2, 3, 4, to compare by.
fn numbers(name: &str) -> Vec<u32> {
    let version = name.split("GLIBC_").nth(1).unwrap_or_default().split(')').next();
    version.unwrap_or_default().split('.').map_while(|part| part.parse().ok()).collect()
}

fn relations(xml: &mut String, element: &str, dependencies: Vec<Dependency>) -> Result<()> {
    if dependencies.is_empty() {
        return Ok(());
    }
    let mut seen = std::collections::BTreeSet::new();
    writeln!(xml, "<rpm:{element}>")?;
    for dependency in dependencies {
        let entry = relation(&dependency, element == "requires");
        if seen.insert(entry.clone()) {
            xml.push_str(&entry);
        }
    }
    writeln!(xml, "</rpm:{element}>")?;
    Ok(())
}

fn relation(dependency: &Dependency, is_require: bool) -> String {
    let mut entry = format!("<rpm:entry name=\"{}\"", escape(&dependency.name));
    let compared = DependencyFlags::LESS | DependencyFlags::GREATER | DependencyFlags::EQUAL;
    let operator = match dependency.flags & compared {
        flags if flags == DependencyFlags::LESS => "LT",
        flags if flags == DependencyFlags::GREATER => "GT",
        flags if flags == DependencyFlags::EQUAL => "EQ",
        flags if flags == DependencyFlags::LE => "LE",
        flags if flags == DependencyFlags::GE => "GE",
        _ => "",
    };
    if !operator.is_empty() && !dependency.version.is_empty() {
        let (epoch, version, release) = split_evr(&dependency.version);
        entry.push_str(&format!(
            " flags=\"{operator}\" epoch=\"{epoch}\" ver=\"{}\"",
            escape(version)
        ));
        if let Some(release) = release {
            entry.push_str(&format!(" rel=\"{}\"", escape(release)));
        }
    }
    let before =
        DependencyFlags::SCRIPT_PRE | DependencyFlags::SCRIPT_POST | DependencyFlags::PREREQ;
    if is_require && dependency.flags.intersects(before) {
        entry.push_str(" pre=\"1\"");
    }
    entry.push_str("/>\n");
    entry
}

fn split_evr(text: &str) -> (&str, &str, Option<&str>) {
    let (epoch, rest) = text.split_once(':').unwrap_or(("0", text));
    match rest.split_once('-') {
        Some((version, release)) => (epoch, version, Some(release)),
        None => (epoch, rest, None),
    }
}

/// The files primary lists: those that other packages usually require by path.
fn is_primary(path: &str) -> bool {
    path.starts_with("/etc/") || path.contains("bin/") || path == "/usr/lib/sendmail"
}

fn path_of(file: &rpm::FileEntry<'_>) -> String {
    file.path().to_string_lossy().into_owned()
}

fn file_element(file: &rpm::FileEntry<'_>) -> String {
    let kind = if file.file_type() == FileType::Dir {
        " type=\"dir\""
    } else if file.flags().contains(FileFlags::GHOST) {
        " type=\"ghost\""
    } else {
        ""
    };
    format!("<file{kind}>{}</file>\n", escape(&path_of(file)))
}

fn filelists(package: &Package, digest: &str) -> Result<String> {
    let header = &package.metadata;
    let mut xml = format!(
        "<package pkgid=\"{digest}\" name=\"{}\" arch=\"{}\">\n<version {}/>\n",
        escape(header.get_name()?),
        escape(header.get_arch()?),
        version_attributes(package)?,
    );
    for file in &header.get_file_entries()? {
        xml.push_str(&file_element(file));
    }
    xml.push_str("</package>\n");
    Ok(xml)
}
