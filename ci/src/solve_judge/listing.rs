//! Packages that exist only as metadata: enough for choosing among them, made
//! in no time, and short to write down.

use std::fmt::{self, Write as _};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::metadata::{PUBLIC_KEY_NAME, hex};
use crate::pgp_key::SigningKey;

/// A package of a repository that cannot be installed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// its name
    pub name: String,
    /// `[epoch:]version-release`
    pub evr: String,
    /// `x86_64`, `noarch`, …
    pub arch: String,
    /// `requires`, `provides`, … and what of it, as rpm writes it
    pub relations: Vec<(String, Vec<String>)>,
    /// its files, as absolute paths
    pub files: Vec<String>,
    /// when it was built, in seconds since 1970
    pub build_time: u64,
}

/// The relations a package may have, in the metadata's order.
pub const RELATIONS: [&str; 8] = [
    "provides",
    "requires",
    "conflicts",
    "obsoletes",
    "recommends",
    "suggests",
    "supplements",
    "enhances",
];

impl Listing {
    /// A package without relations.
    pub fn new(name: &str, evr: &str, arch: &str) -> Self {
        let evr = if evr.contains('-') { evr.to_owned() } else { format!("{evr}-1") };
        Self { name: name.into(), evr, arch: arch.into(), build_time: 1, ..Self::default() }
    }

    /// Reads `name evr[.arch]; relation: one, other; files: /a, /b`.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parts = text.split(';').map(str::trim);
        let head: Vec<&str> = parts.next().unwrap_or_default().split_whitespace().collect();
        let mut listing = match head[..] {
            [name, evr] => Self::new(name, evr, "x86_64"),
            [name, evr, arch] => Self::new(name, evr, arch),
            _ => bail!("{text:?} does not begin with name and version"),
        };
        for part in parts.filter(|part| !part.is_empty()) {
            let (key, list) = part.split_once(':').context("a relation without its name")?;
            let list = list.split(',').map(|item| item.trim().to_owned()).collect();
            match key {
                "files" => listing.files = list,
                "built" => listing.build_time = list.concat().parse()?,
                key if RELATIONS.contains(&key) => listing.relations.push((key.into(), list)),
                other => bail!("{other:?} is no relation"),
            }
        }
        Ok(listing)
    }

    /// Adds to one of its relations.
    pub fn add(&mut self, relation: &str, what: String) {
        match self.relations.iter_mut().find(|(key, _)| key == relation) {
            Some((_, list)) => list.push(what),
            None => self.relations.push((relation.into(), vec![what])),
        }
    }

    fn nevra(&self) -> String {
        format!("{}-{}.{}", self.name, self.evr, self.arch)
    }

    fn digest(&self, repository: &str) -> String {
        hex(&Sha256::digest(format!("{repository} {}", self.nevra())))
    }

    fn primary(&self, repository: &str) -> String {
        let digest = self.digest(repository);
        let (name, arch, version) = (escape(&self.name), &self.arch, version(&self.evr));
        let (time, location) = (self.build_time, escape(&self.nevra()));
        let mut xml = format!(
            "<package type=\"rpm\"><name>{name}</name><arch>{arch}</arch><version {version}/>\n\
             <checksum type=\"sha256\" pkgid=\"YES\">{digest}</checksum>\n\
             <summary>generated</summary><description>nothing</description><packager/><url/>\n\
             <time file=\"{time}\" build=\"{time}\"/><size package=\"1\" installed=\"1\" \
             archive=\"1\"/>\n<location href=\"Packages/{location}.rpm\"/>\n<format>\n\
             <rpm:license>MIT</rpm:license><rpm:sourcerpm>x.src.rpm</rpm:sourcerpm>\n"
        );
        for relation in RELATIONS {
            let own = (relation == "provides").then(|| format!("{} = {}", self.name, self.evr));
            let listed = self.relations.iter().filter(|(key, _)| key == relation);
            let listed = listed.flat_map(|(_, list)| list.iter().cloned());
            let entries: String = own.into_iter().chain(listed).map(|text| entry(&text)).collect();
            if !entries.is_empty() {
                // Writing to a string does not fail.
                let _ = writeln!(xml, "<rpm:{relation}>\n{entries}</rpm:{relation}>");
            }
        }
        for file in self.files.iter().filter(|file| is_primary(file)) {
            let _ = writeln!(xml, "<file>{}</file>", escape(file));
        }
        xml + "</format>\n</package>\n"
    }

    fn filelists(&self, repository: &str) -> String {
        let (digest, version) = (self.digest(repository), version(&self.evr));
        let (name, arch) = (escape(&self.name), &self.arch);
        let files: String =
            self.files.iter().map(|file| format!("<file>{}</file>\n", escape(file))).collect();
        format!(
            "<package pkgid=\"{digest}\" name=\"{name}\" arch=\"{arch}\"><version {version}/>\n\
             {files}</package>\n"
        )
    }
}

/// As [`Listing::parse`] reads it.
impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.name, self.evr, self.arch)?;
        for (key, list) in &self.relations {
            write!(f, "; {key}: {}", list.join(", "))?;
        }
        if !self.files.is_empty() {
            write!(f, "; files: {}", self.files.join(", "))?;
        }
        Ok(())
    }
}

fn is_primary(path: &str) -> bool {
    path.starts_with("/etc/") || path.contains("bin/")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn version(evr: &str) -> String {
    let (epoch, rest) = evr.split_once(':').unwrap_or(("0", evr));
    match rest.split_once('-') {
        Some((version, release)) => {
            format!("epoch=\"{epoch}\" ver=\"{version}\" rel=\"{release}\"")
        }
        None => format!("epoch=\"{epoch}\" ver=\"{rest}\""),
    }
}

fn entry(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let (name, bound) = match words[..] {
        [name, sign, evr] if !name.starts_with('(') => {
            let flags = match sign {
                "<" => "LT",
                "<=" => "LE",
                "=" => "EQ",
                ">=" => "GE",
                _ => "GT",
            };
            (name, format!(" flags=\"{flags}\" {}", version(evr)))
        }
        _ => (text, String::new()),
    };
    format!("<rpm:entry name=\"{}\"{bound}/>\n", escape(name))
}

/// Writes a signed repository of `packages` to `top`, in their order.
pub fn write(top: &Path, packages: &[Listing], key: &SigningKey) -> Result<()> {
    let folder = top.join("repodata");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let seed = top.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let count = packages.len();
    let head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
    let space = "xmlns=\"http://linux.duke.edu/metadata";
    let rpm = "xmlns:rpm=\"http://linux.duke.edu/metadata/rpm\"";
    let primary: String = packages.iter().map(|package| package.primary(&seed)).collect();
    let primary = format!(
        "{head}<metadata {space}/common\" {rpm} packages=\"{count}\">\n{primary}</metadata>\n"
    );
    let lists: String = packages.iter().map(|package| package.filelists(&seed)).collect();
    let lists = format!(
        "{head}<filelists {space}/filelists\" packages=\"{count}\">\n{lists}</filelists>\n"
    );
    let mut repomd = format!("{head}<repomd {space}/repo\" {rpm}>\n<revision>1</revision>\n");
    for (kind, text) in [("primary", primary), ("filelists", lists)] {
        let packed = zstd::encode_all(text.as_bytes(), 1)?;
        let digest = hex(&Sha256::digest(&packed));
        let name = format!("repodata/{digest}-{kind}.xml.zst");
        fs::write(top.join(&name), &packed)?;
        write!(
            repomd,
            "<data type=\"{kind}\"><checksum type=\"sha256\">{digest}</checksum>\n\
             <open-checksum type=\"sha256\">{}</open-checksum><location href=\"{name}\"/>\n\
             <timestamp>1</timestamp><size>{}</size><open-size>{}</open-size></data>\n",
            hex(&Sha256::digest(text.as_bytes())),
            packed.len(),
            text.len(),
        )?;
    }
    repomd.push_str("</repomd>\n");
    fs::write(folder.join("repomd.xml"), &repomd)?;
    fs::write(folder.join("repomd.xml.asc"), key.sign_detached(repomd.as_bytes())?)?;
    fs::write(top.join(PUBLIC_KEY_NAME), key.public_armored()?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_read_as_they_are_written() {
        let text = "a 1:2-3 noarch; requires: b >= 1, (c or d); files: /usr/bin/a";
        assert_eq!(Listing::parse(text).unwrap().to_string(), text);
    }
}
