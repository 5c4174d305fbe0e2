//! What Debian's `update-ca-certificates` does, in the tree: a link for each
//! certificate that `/etc/ca-certificates.conf` names, links by the hash of its
//! subject, which OpenSSL looks certificates up by, and all of them in one file.
//!
//! The script and the `openssl rehash` it calls take a second; dnf, which runs
//! them, judges the result.

use std::collections::BTreeMap;

use formats::Digest;

use crate::tree::{Node, PathError, Tree, TreeError, TreePath};

mod subject;

const SCRIPT: &str = "/usr/sbin/update-ca-certificates";
const LIST: &str = "/etc/ca-certificates.conf";
const SHIPPED: &str = "/usr/share/ca-certificates";
const LOCAL: &str = "/usr/local/share/ca-certificates";
const FOLDER: &str = "/etc/ssl/certs";
const BUNDLE: &str = "ca-certificates.crt";
/// What the script would hand over to others.
const HOOKS: &str = "/etc/ca-certificates/update.d";
const RELABEL: &str = "/sbin/restorecon";
/// Words of the script that is meant; there are others of this name.
const MARKS: [&str; 3] =
    ["CERTSCONF=/etc/ca-certificates.conf", "openssl rehash .", "CERTBUNDLE=ca-certificates.crt"];
/// The script has 5 KB, a certificate 2, and there are some 150 of them.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Why certificates are not brought up to date here.
#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    /// The script is another one, or has more to do than is known.
    #[error("update-ca-certificates: {0}")]
    Unknown(String),
    /// The tree does not have what it should.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

impl From<PathError> for CertificatesError {
    fn from(error: PathError) -> Self {
        Self::Tree(error.into())
    }
}

/// Brings certificates up to date. The tree may be changed in part when it
/// fails.
///
/// # Errors
/// If that takes more than is known here; then the script has to run.
pub fn update(tree: &mut Tree) -> Result<(), CertificatesError> {
    check(tree)?;
    let mut bundle = Vec::new();
    for source in sources(tree)? {
        let mut pem = tree.read(&source, MAX_FILE_BYTES)?;
        tree.symlink(&TreePath::new(&format!("{FOLDER}/{}", link_name(&source)))?, &source)?;
        if pem.last().is_some_and(|last| *last != b'\n') {
            pem.push(b'\n');
        }
        bundle.append(&mut pem);
    }
    rehash(tree)?;
    if !bundle.is_empty() {
        tree.write(&TreePath::new(&format!("{FOLDER}/{BUNDLE}"))?, 0o644, bundle)?;
    }
    Ok(())
}

/// Whether the script is the one that is known, and alone.
fn check(tree: &Tree) -> Result<(), CertificatesError> {
    let unknown = |why: &str| Err(CertificatesError::Unknown(why.to_owned()));
    let script = String::from_utf8_lossy(&tree.read(SCRIPT, MAX_FILE_BYTES)?).into_owned();
    if !MARKS.iter().all(|mark| script.contains(mark)) {
        return unknown("it is not Debian's");
    }
    if tree.children(HOOKS).next().is_some() || tree.resolve(RELABEL).is_some() {
        return unknown("it has hooks to call");
    }
    if tree.resolve("/usr/bin/openssl").is_none() {
        return unknown("openssl is not there");
    }
    let is_fresh = tree.children(FOLDER).next().is_none();
    let is_folder = tree.resolve(FOLDER).is_some_and(|id| tree.inode(id).node.is_directory());
    if !is_fresh || !is_folder {
        return unknown("certificates are there already, or their folder is not");
    }
    Ok(())
}

/// The files of certificates, in the script's order.
fn sources(tree: &Tree) -> Result<Vec<String>, CertificatesError> {
    let list = String::from_utf8_lossy(&tree.read(LIST, MAX_FILE_BYTES)?).into_owned();
    if list.is_empty() {
        return Err(CertificatesError::Unknown(format!("{LIST} is empty")));
    }
    let named = list.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '!']));
    let mut found: Vec<String> =
        named.map(|name| format!("{SHIPPED}/{name}")).filter(|path| is_file(tree, path)).collect();
    let mut local = Vec::new();
    collect(tree, LOCAL, &mut local);
    local.sort();
    found.extend(local);
    Ok(found)
}

fn is_file(tree: &Tree, path: &str) -> bool {
    tree.resolve(path).is_some_and(|id| matches!(tree.inode(id).node, Node::File(_)))
}

fn collect(tree: &Tree, folder: &str, found: &mut Vec<String>) {
    for (name, id) in tree.children(folder) {
        let path = format!("{folder}/{name}");
        if tree.inode(id).node.is_directory() {
            collect(tree, &path, found);
        } else if name.ends_with(".crt") && is_file(tree, &path) {
            found.push(path);
        }
    }
}

/// `basename FILE .crt`, with what a shell might trip over replaced.
fn link_name(source: &str) -> String {
    let name = source.rsplit('/').next().unwrap_or(source);
    let stem = name.strip_suffix(".crt").unwrap_or(name);
    let safe = stem.replace(' ', "_").replace(['(', ')'], "=").replace(',', "_");
    format!("{safe}.pem")
}

/// As `openssl rehash`: a link HASH.0 to each file that is one certificate, .1
/// and so on where subjects have the same hash, and none to a second file of
/// the same certificate.
fn rehash(tree: &mut Tree) -> Result<(), CertificatesError> {
    let mut seen: BTreeMap<u32, Vec<Digest>> = BTreeMap::new();
    let names: Vec<String> = tree.children(FOLDER).map(|(name, _)| name.to_owned()).collect();
    for name in names {
        let pem = tree.read(&format!("{FOLDER}/{name}"), MAX_FILE_BYTES)?;
        let certificate = subject::only_certificate(&pem)
            .ok_or_else(|| CertificatesError::Unknown(format!("{name} is not one certificate")))?;
        let hash = subject::hash(&certificate)
            .ok_or_else(|| CertificatesError::Unknown(format!("{name} cannot be read")))?;
        let same = seen.entry(hash).or_default();
        let digest = Digest::of(&certificate);
        if same.contains(&digest) {
            continue;
        }
        let link = TreePath::new(&format!("{FOLDER}/{hash:08x}.{}", same.len()))?;
        tree.symlink(&link, &name)?;
        same.push(digest);
    }
    Ok(())
}

/// For the tests that give parsers strange bytes.
#[doc(hidden)]
pub mod fuzzing {
    use super::subject;
    use crate::der;

    /// Reads a certificate, and then what is in it as object identifiers.
    pub fn certificate(bytes: &[u8]) {
        let _ = subject::hash(bytes);
        let mut rest = bytes;
        while let Some(found) = der::element(rest) {
            let text = der::dotted(found.contents);
            let _ = text.as_deref().and_then(der::object_id);
            // Into what has parts, and past what has none.
            rest = if found.tag & 0x20 == 0 { found.rest } else { found.contents };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_safe() {
        assert_eq!(link_name("/usr/share/ca-certificates/mozilla/A b, (c).crt"), "A_b__=c=.pem");
        assert_eq!(link_name("/x/plain.pem"), "plain.pem.pem");
    }

    #[test]
    fn another_script_is_not_taken_for_debians() {
        let mut tree = crate::tree::testing::tree(&[(SCRIPT, "#!/bin/sh\nanything\n")]);
        let error = update(&mut tree).unwrap_err();
        assert!(error.to_string().contains("not Debian's"), "{error}");
    }
}
