//! What `update-ca-trust` of Fedora, CBL-Mariner and Azure Linux does, in the
//! tree: the certificates that packages and people put below `ca-trust`, written
//! out for the programs that use them, as `p11-kit extract` does (p11-kit 0.23 to
//! 0.26).
//!
//! ```text
//! /etc/pki/ca-trust/source, /usr/share/pki/ca-trust-source
//!   ─object, persist─▶ objects ─store─▶ certificates ─extract─▶ /etc/pki/ca-trust/extracted
//! ```
//!
//! The script is read, not guessed: each of its lines has to be one that is
//! known. Files of a folder are read sorted by name, as p11-kit does since 0.25;
//! before that their order was the file system's, so any is as good.

use crate::tree::{Node, PathError, Tree, TreeError, TreePath};
use extract::Format;
use object::Place;
use store::{Filter, Store};

mod certificate;
mod extract;
mod legacy;
mod object;
mod pem;
mod persist;
mod store;
mod usages;

pub use legacy::install_legacy;

const SCRIPT: &str = "/usr/bin/update-ca-trust";
/// The folders of the store, in p11-kit's order.
const SOURCES: [&str; 2] = ["/etc/pki/ca-trust/source", "/usr/share/pki/ca-trust-source"];
const ANCHORS: &str = "anchors";
/// The folder of what is not to be trusted, since p11-kit 0.23.23 and before.
const BLOCKED: [&str; 2] = ["blocklist", "blacklist"];
const PROGRAMS: [&str; 2] = ["/usr/bin/p11-kit", "/usr/bin/trust"];
const MODULES: [&str; 4] = [
    "/usr/lib64/pkcs11/p11-kit-trust.so",
    "/usr/lib/pkcs11/p11-kit-trust.so",
    "/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-trust.so",
    "/usr/lib/aarch64-linux-gnu/pkcs11/p11-kit-trust.so",
];
/// Where modules are declared, and the declaration that is known.
const DECLARATIONS: [&str; 2] = ["/usr/share/p11-kit/modules", "/etc/pkcs11/modules"];
const DECLARED: &str = "/usr/share/p11-kit/modules/p11-kit-trust.module";
/// A bundle has 1 MB at most, a module 2.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Why certificates are not brought up to date here.
#[derive(Debug, thiserror::Error)]
pub enum CaTrustError {
    /// A program is another one, or has more to do than is known.
    #[error("update-ca-trust: {0}")]
    Unknown(String),
    /// A file of the store has something that is not known.
    #[error("update-ca-trust: {path}: {reason}")]
    Source {
        /// Which file.
        path: String,
        /// What is in it.
        reason: &'static str,
    },
    /// The tree does not have what it should.
    #[error("update-ca-trust")]
    Tree(#[from] TreeError),
}

impl From<PathError> for CaTrustError {
    fn from(error: PathError) -> Self {
        Self::Tree(error.into())
    }
}

fn unknown<T>(why: impl Into<String>) -> Result<T, CaTrustError> {
    Err(CaTrustError::Unknown(why.into()))
}

/// A call of `p11-kit extract` or `trust extract`.
#[derive(Debug, PartialEq, Eq)]
pub struct Extract {
    format: Format,
    filter: Filter,
    purpose: Option<&'static str>,
    comments: bool,
    to: String,
}

impl Extract {
    /// Reads arguments, `extract` the first; none if they ask for more than is
    /// known.
    #[must_use]
    pub fn parse(words: &[&str]) -> Option<Self> {
        let (first, words) = words.split_first()?;
        let (mut format, mut filter, mut purpose) = (None, None, None);
        let (mut comments, mut overwrite, mut to) = (false, false, None);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let (option, value) = match word.split_once('=') {
                Some((option, value)) => (option, Some(value)),
                None => (*word, None),
            };
            let mut value = || value.or_else(|| words.next().copied());
            match option {
                "--format" if format.is_none() => format = Some(format_named(value()?)?),
                "--filter" if filter.is_none() => filter = Some(filter_named(value()?)?),
                "--purpose" if purpose.is_none() => purpose = Some(purpose_named(value()?)?),
                "--comment" => comments = true,
                "--overwrite" | "-f" => overwrite = true,
                _ if word.starts_with('/') && to.is_none() => to = Some((*word).to_owned()),
                _ => return None,
            }
        }
        let filter = filter.unwrap_or(Filter::Anchors);
        // Where a form has no place for them, p11-kit asks for servers.
        if purpose.is_none() && filter == Filter::Anchors && format != Some(Format::OpenSsl) {
            purpose = Some(purpose_named("server-auth")?);
        }
        let call = Self { format: format?, filter, purpose, comments, to: to? };
        (*first == "extract" && overwrite).then_some(call)
    }

    /// Does it. The tree is unchanged if it fails.
    ///
    /// # Errors
    /// If that takes more than is known here; then the program has to run.
    pub fn run(&self, tree: &mut Tree) -> Result<(), CaTrustError> {
        let store = read_store(tree)?;
        let seconds = tree.default_mtime();
        self.write(tree, &store, seconds)
    }

    fn write(&self, tree: &mut Tree, store: &Store, seconds: u64) -> Result<(), CaTrustError> {
        let folder = self.to.rsplit_once('/').map_or("", |(folder, _)| folder);
        let is_folder =
            |path: &str| tree.resolve(path).is_some_and(|id| tree.inode(id).node.is_directory());
        if !is_folder(folder) || is_folder(&self.to) {
            return unknown(format!("{} cannot be written", self.to));
        }
        let entries = store.select(self.filter, self.purpose);
        let bytes = entries
            .and_then(|entries| extract::write(self.format, &entries, self.comments, seconds))
            .or_else(|reason| unknown(format!("{}: {reason}", self.to)))?;
        tree.write(&TreePath::new(&self.to)?, 0o444, bytes)?;
        Ok(())
    }
}

fn format_named(name: &str) -> Option<Format> {
    Some(match name {
        "pem-bundle" => Format::Pem,
        "openssl-bundle" => Format::OpenSsl,
        "java-cacerts" => Format::Java,
        "edk2-cacerts" => Format::Edk2,
        _ => return None,
    })
}

fn filter_named(name: &str) -> Option<Filter> {
    Some(match name {
        "ca-anchors" => Filter::Anchors,
        "certificates" => Filter::Certificates,
        _ => return None,
    })
}

fn purpose_named(name: &str) -> Option<&'static str> {
    Some(match name {
        "server-auth" => "1.3.6.1.5.5.7.3.1",
        "client-auth" => "1.3.6.1.5.5.7.3.2",
        "code-signing" => "1.3.6.1.5.5.7.3.3",
        "email" | "email-protection" => "1.3.6.1.5.5.7.3.4",
        _ => return None,
    })
}

/// Does what the script in the tree does. The tree may be changed in part when
/// it fails.
///
/// # Errors
/// If that takes more than is known here; then the script has to run.
pub fn update(tree: &mut Tree) -> Result<(), CaTrustError> {
    let script = tree.read(SCRIPT, MAX_FILE_BYTES)?;
    let (calls, epoch) = read_script(&String::from_utf8_lossy(&script))?;
    let store = read_store(tree)?;
    let seconds = epoch.unwrap_or(tree.default_mtime());
    calls.iter().try_for_each(|call| call.write(tree, &store, seconds))
}

/// The calls that the script is made of, and the time it sets.
fn read_script(text: &str) -> Result<(Vec<Extract>, Option<u64>), CaTrustError> {
    let (mut calls, mut epoch, mut to) = (Vec::new(), None, None);
    let lines = text.lines().map(str::trim);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(folder) = line.strip_prefix("DEST=").filter(|folder| is_plain(folder)) {
            to = Some(folder);
        } else if let Some(time) = line.strip_prefix("export SOURCE_DATE_EPOCH=") {
            epoch = Some(time.parse().or_else(|_| unknown(line))?);
        } else if line != "export P11_KIT_NO_USER_CONFIG=1" {
            let words: Vec<String> = line
                .split_ascii_whitespace()
                .map(|word| match (word.strip_prefix("$DEST/"), to) {
                    (Some(rest), Some(to)) => format!("{to}/{rest}"),
                    _ => word.to_owned(),
                })
                .collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let call = match words.split_first() {
                Some((program, words)) if PROGRAMS.contains(program) => Extract::parse(words),
                _ => None,
            };
            let call = call.filter(|call| is_plain(&call.to));
            calls.push(call.map_or_else(|| unknown(format!("its line {line:?}")), Ok)?);
        }
    }
    Ok((calls, epoch))
}

/// Nothing that a shell might take for something else.
fn is_plain(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    path.starts_with('/') && path.bytes().all(plain)
}

/// All objects of the store, if the p11-kit in the tree is one that is known.
fn read_store(tree: &Tree) -> Result<Store, CaTrustError> {
    if let Some(missing) = PROGRAMS.iter().find(|program| !tree.is_program(program)) {
        return unknown(format!("there is no {missing}"));
    }
    let places: Vec<_> = MODULES.iter().filter(|path| tree.resolve(path).is_some()).collect();
    let [place] = places[..] else {
        return unknown("there is not exactly one p11-kit-trust.so");
    };
    let module = tree.read(place, MAX_FILE_BYTES)?;
    let holds = |text: &str| module.windows(text.len()).any(|part| part == text.as_bytes());
    if !holds(&SOURCES.join(":")) {
        return unknown(format!("{place} reads certificates from elsewhere"));
    }
    let blocked = BLOCKED.into_iter().find(|name| holds(&format!("\0{name}\0")));
    let Some(blocked) = blocked else {
        return unknown(format!("{place} is of another version"));
    };
    declared(tree)?;
    let mut store = Store::default();
    for source in SOURCES {
        let mut part = Vec::new();
        let folders = [
            (source.to_owned(), Place::Plain),
            (format!("{source}/{ANCHORS}"), Place::Anchors),
            (format!("{source}/{blocked}"), Place::Blocked),
        ];
        for (folder, place) in folders {
            for path in files(tree, &folder)? {
                let contents = object::read(&tree.read(&path, MAX_FILE_BYTES)?, place)
                    .map_err(|reason| CaTrustError::Source { path: path.clone(), reason })?;
                if contents.new_names.iter().any(|name| !holds(name)) {
                    let reason = "an attribute that this p11-kit does not know";
                    return Err(CaTrustError::Source { path, reason });
                }
                part.extend(contents.objects);
            }
        }
        store.parts.push(part);
    }
    Ok(store)
}

/// No module but p11-kit's own says what is trusted, and nothing sets it up in
/// another way.
fn declared(tree: &Tree) -> Result<(), CaTrustError> {
    for folder in DECLARATIONS {
        for path in files(tree, folder)? {
            let text = tree.read(&path, MAX_FILE_BYTES)?;
            let text = String::from_utf8_lossy(&text);
            let lines = || text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
            let trusts = lines().any(|line| line.starts_with("trust-policy"));
            let set_up = |line: &str| {
                let value = line.strip_prefix("x-init-reserved").map(|rest| rest.trim());
                value.is_some_and(|value| value != ":") || line.starts_with("enable-in")
            };
            if (path == DECLARED) != trusts || (trusts && lines().any(set_up)) {
                return unknown(format!("{path} is not known"));
            }
        }
    }
    match tree.resolve(DECLARED) {
        Some(_) => Ok(()),
        None => unknown(format!("there is no {DECLARED}")),
    }
}

/// The files of a folder, sorted; links are followed, folders left out.
fn files(tree: &Tree, folder: &str) -> Result<Vec<String>, CaTrustError> {
    let mut found = Vec::new();
    for (name, _) in tree.children(folder) {
        let path = format!("{folder}/{name}");
        match tree.resolve(&path).map(|id| &tree.inode(id).node) {
            Some(Node::File(_)) => found.push(path),
            Some(node) if !node.is_directory() => return unknown(format!("{path} is no file")),
            _ => {}
        }
    }
    found.sort();
    Ok(found)
}

/// For the tests that give parsers strange bytes.
#[doc(hidden)]
pub mod fuzzing {
    use super::extract::{self, Format};
    use super::object::{self, Place};
    use super::store::{Filter, Store};

    /// Reads a file of a trust store, and writes what it holds.
    pub fn source(bytes: &[u8]) {
        let Ok(contents) = object::read(bytes, Place::Anchors) else {
            return;
        };
        let store = Store { parts: vec![contents.objects] };
        for format in [Format::OpenSsl, Format::Java] {
            let entries = store.select(Filter::Anchors, None);
            let _ = entries.and_then(|entries| extract::write(format, &entries, true, 0));
        }
    }
}

#[cfg(test)]
mod tests;
