//! The catalog of messages: explanations that the journal shows beside what was
//! logged, compiled from `*.catalog` texts as `journalctl --update-catalog` does
//! (`src/libsystemd/sd-journal/catalog.c`), byte for byte.

use std::collections::BTreeMap;

use crate::shared_tails::SharedTails;
use crate::tree::{PathError, Tree, TreeError, TreePath};

/// Folders with texts; of two files of one name the first counts.
const FOLDERS: [&str; 2] = ["/usr/local/lib/systemd/catalog", "/usr/lib/systemd/catalog"];
const DATABASE: &str = "/var/lib/systemd/catalog/database";
/// The largest text has 30 KB.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// All of systemd's texts, in all languages, have 0.2 MB.
const MAX_ALL_BYTES: usize = 8 << 20;
/// What is said of one message, the headers of all texts about it together: it
/// is put together anew with each of them.
const MAX_MESSAGE_BYTES: usize = 32 << 10;
/// Signature, no flags.
const SIGNATURE: &[u8; 16] = b"RHHHKSLP\0\0\0\0\0\0\0\0";
const HEADER_BYTES: u64 = 40;
const ITEM_BYTES: u64 = 56;
/// A language's name takes so many bytes, one of them for its end.
const LANGUAGE_BYTES: usize = 32;

/// Why the catalog is not compiled here.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// A text that the program would complain of, or takes in its own way.
    #[error("{path}, line {line}: not known how the catalog takes it")]
    Line {
        /// Which file.
        path: String,
        /// Which line, from 1; 0 for the file.
        line: usize,
    },
    /// More than anybody explains.
    #[error("{path}: with it the catalog has more than {} MiB", MAX_ALL_BYTES >> 20)]
    TooMuch {
        /// The file that was too much.
        path: String,
    },
    /// The tree does not have what it should.
    #[error("catalog")]
    Tree(#[from] TreeError),
}

impl From<PathError> for CatalogError {
    fn from(error: PathError) -> Self {
        Self::Tree(error.into())
    }
}

/// Which message, in which language.
type Key = ([u8; 16], String);

/// Compiles the catalog.
///
/// # Errors
/// If that takes more than is known here; then the program has to run.
pub fn update(tree: &mut Tree) -> Result<(), CatalogError> {
    if let Some(bytes) = compile(tree)? {
        tree.write(&TreePath::new(DATABASE)?, 0o644, bytes)?;
    }
    Ok(())
}

/// The database; none if there is nothing to put into it.
fn compile(tree: &Tree) -> Result<Option<Vec<u8>>, CatalogError> {
    let mut files = BTreeMap::new();
    for folder in FOLDERS.iter().rev() {
        for (name, _) in tree.children(folder).filter(|(name, _)| name.ends_with(".catalog")) {
            files.insert(name, format!("{folder}/{name}"));
        }
    }
    let mut catalog = Catalog::default();
    let mut left = MAX_ALL_BYTES;
    for path in files.values() {
        let text = tree.read(path, MAX_FILE_BYTES)?;
        let rest = left.checked_sub(text.len());
        left = rest.ok_or_else(|| CatalogError::TooMuch { path: path.clone() })?;
        catalog.import(path, &text).map_err(|line| {
            let path = path.clone();
            CatalogError::Line { path, line }
        })?;
    }
    Ok((!catalog.order.is_empty()).then(|| catalog.to_bytes()))
}

/// Messages, and the order in which they were met first.
#[derive(Debug, Default)]
struct Catalog {
    texts: BTreeMap<Key, Vec<u8>>,
    order: Vec<Key>,
}

impl Catalog {
    /// Reads a text; fails with the number of a line.
    fn import(&mut self, path: &str, text: &[u8]) -> Result<(), usize> {
        let language = file_language(path).ok_or(0_usize)?;
        if text.contains(&0) || text.contains(&b'\r') {
            return Err(0);
        }
        let (mut entry, mut empty): (Option<(Key, Vec<u8>)>, bool) = (None, true);
        for (line, number) in text.split(|byte| *byte == b'\n').zip(1..) {
            match line.first() {
                None => empty = true,
                Some(b'#' | b';') => {}
                Some(_) => {
                    let header = if empty { header(line).ok_or(number)? } else { None };
                    match (header, &mut entry) {
                        (Some((id, own)), _) => {
                            self.finish(entry.take(), number)?;
                            let own = own.unwrap_or_else(|| language.clone());
                            entry = Some(((id, own), Vec::new()));
                        }
                        (None, Some((_, payload))) => {
                            payload.extend_from_slice(if empty { b"\n" } else { b"" });
                            payload.extend_from_slice(line);
                            payload.push(b'\n');
                        }
                        (None, None) => return Err(number),
                    }
                    empty = false;
                }
            }
        }
        self.finish(entry, 0)
    }

    /// Adds an entry; what is there of the same message already comes second.
    fn finish(&mut self, entry: Option<(Key, Vec<u8>)>, line: usize) -> Result<(), usize> {
        let Some((key, payload)) = entry else {
            return Ok(());
        };
        if payload.is_empty() || payload.len() > MAX_MESSAGE_BYTES {
            return Err(line);
        }
        match self.texts.get_mut(&key) {
            Some(known) if known.len() > MAX_MESSAGE_BYTES => return Err(line),
            Some(known) => *known = combined(&payload, known),
            None => {
                self.order.push(key.clone());
                self.texts.insert(key, payload);
            }
        }
        Ok(())
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut texts = SharedTails::default();
        let mut offsets = BTreeMap::new();
        for key in &self.order {
            offsets.insert(key, texts.add(&self.texts[key]) as u64);
        }
        let mut out = SIGNATURE.to_vec();
        for number in [HEADER_BYTES, offsets.len() as u64, ITEM_BYTES] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for ((id, language), offset) in offsets {
            out.extend_from_slice(id);
            let end = out.len() + LANGUAGE_BYTES;
            out.extend_from_slice(language.as_bytes());
            out.resize(end, 0);
            out.extend_from_slice(&offset.to_le_bytes());
        }
        out.extend_from_slice(texts.bytes());
        out
    }
}

/// `NAME.LANGUAGE.catalog`; empty for none, nothing for one that is too short.
fn file_language(path: &str) -> Option<String> {
    let name = path.rsplit('/').next()?.strip_suffix(".catalog")?;
    match name.rsplit_once('.') {
        Some((_, language)) if language.len() >= LANGUAGE_BYTES => None,
        Some((_, language)) => (language.len() > 1).then(|| language.to_owned()),
        None => Some(String::new()),
    }
}

/// A message's number, and its language if there is one.
type Header = ([u8; 16], Option<String>);

/// Reads `-- NUMBER [LANGUAGE]`. Inside: another line. Outside: nearly one.
fn header(line: &[u8]) -> Option<Option<Header>> {
    let Some(rest) = line.strip_prefix(b"-- ").filter(|rest| rest.len() >= 32) else {
        return Some(None);
    };
    let (digits, language) = rest.split_at(32);
    match language.first() {
        None | Some(b' ') => {}
        Some(_) => return Some(None),
    }
    let digits = std::str::from_utf8(digits).ok()?;
    let plain = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let id = plain.then(|| u128::from_str_radix(digits, 16).ok()).flatten()?;
    if language.is_empty() {
        return Some(Some((id.to_be_bytes(), None)));
    }
    let language = std::str::from_utf8(language).ok()?.trim();
    let fits = (2..LANGUAGE_BYTES).contains(&language.len());
    let language = Some(language.to_owned());
    fits.then(|| Some((id.to_be_bytes(), language)))
}

/// Headers of both, and the body of the first that has one.
fn combined(one: &[u8], two: &[u8]) -> Vec<u8> {
    let split = |text: &[u8]| {
        let mut at = 0;
        while let Some(end) = text[at..].iter().position(|byte| *byte == b'\n') {
            if end == 0 {
                break;
            }
            at += end + 1;
        }
        at
    };
    let ((head, body), (other_head, other_body)) =
        (one.split_at(split(one)), two.split_at(split(two)));
    [head, other_head, if body.is_empty() { other_body } else { body }].concat()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;
    use crate::tree::testing::{materialise, tree};

    const ONE: &str = "# a comment\n\n-- 00112233445566778899aabbccddeeff\nSubject: one\n\
        Defined-By: me\n\nA body.\n\n\nof three\n\n-- ff112233445566778899aabbccddeeff de\n\
        Subject: eins\n\n-- 10112233445566778899AABBCCDDEEFF\nSubject: no body\n";
    const TWO: &str = "-- 00112233445566778899aabbccddeeff\nSupport: you\n\nAnother body.\n\n\
        -- 10112233445566778899aabbccddeeff\nOther: x\n\nThe body.\n\nnot -- a header\n";

    fn check(tree: &mut Tree) {
        let folder = tempfile::tempdir().unwrap();
        materialise(tree, folder.path());
        let root = format!("--root={}", folder.path().display());
        let Ok(out) = Command::new("journalctl").arg(root).arg("--update-catalog").output() else {
            skip::because("journalctl is not installed");
            return;
        };
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        update(tree).unwrap();
        let theirs = fs::read(folder.path().join(&DATABASE[1..])).unwrap();
        let ours = tree.read(DATABASE, 1 << 24).unwrap();
        println!("{} bytes", ours.len());
        assert!(ours == theirs, "{} bytes, {} bytes", ours.len(), theirs.len());
    }

    #[test]
    fn the_database_is_systemds() {
        check(&mut tree(&[
            ("/usr/lib/systemd/catalog/a.catalog", ONE),
            ("/usr/lib/systemd/catalog/b.catalog", TWO),
            ("/usr/lib/systemd/catalog/c.de_DE.catalog", TWO),
            ("/usr/lib/systemd/catalog/d.catalog", "garbage"),
            ("/usr/local/lib/systemd/catalog/d.catalog", ""),
        ]));
    }

    #[test]
    fn what_systemd_ships_is_compiled_to_the_same() {
        let mut tree = tree(&[("/usr/lib/systemd/catalog/a.catalog", ONE)]);
        for entry in fs::read_dir("/usr/lib/systemd/catalog").into_iter().flatten() {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            tree.write(&TreePath::new(path.to_str().unwrap()).unwrap(), 0o644, bytes).unwrap();
        }
        check(&mut tree);
    }

    #[test]
    fn what_the_program_complains_of_is_left_to_it() {
        for text in [
            "payload\n",
            "-- 00112233445566778899aabbccddeeff\n",
            "-- 00112233445566778899aabbccddeefg\nx\n",
            "-- 00112233445566778899aabbccddeeff x\nx\n",
            "-- 00112233445566778899aabbccddeeff \nx\n",
            "-- 00112233445566778899aabbccddeeff\r\nx\n",
        ] {
            let mut tree = tree(&[("/usr/lib/systemd/catalog/a.catalog", text)]);
            assert!(update(&mut tree).is_err(), "{text}");
        }
        let mut tree = tree(&[]);
        update(&mut tree).unwrap();
        assert!(tree.get(DATABASE).is_none());
    }

    #[test]
    fn what_is_said_of_one_message_is_bounded() {
        let once = format!("-- {}\n{}\n", "0".repeat(32), "x".repeat(MAX_MESSAGE_BYTES / 2));
        let import = |times: usize| {
            let text = vec![once.as_str(); times].join("\n");
            Catalog::default().import("/a.catalog", text.as_bytes())
        };
        assert_eq!(import(2), Ok(()));
        assert_eq!(import(9), Err(10));
        let long = format!("-- {}\n{}\n", "0".repeat(32), "x".repeat(MAX_MESSAGE_BYTES + 1));
        assert_eq!(Catalog::default().import("/a.catalog", long.as_bytes()), Err(0));
    }

    #[test]
    fn all_texts_together_are_bounded() {
        let comment = format!("#{}", "x".repeat(3 << 20));
        let names = ["a", "b", "c"].map(|name| format!("/usr/lib/systemd/catalog/{name}.catalog"));
        let files: Vec<(&str, &str)> = names.iter().map(|name| (&**name, &*comment)).collect();
        compile(&tree(&files[..2])).unwrap();
        let error = compile(&tree(&files)).unwrap_err().to_string();
        assert!(error.starts_with("/usr/lib/systemd/catalog/c.catalog: "), "{error}");
    }
}
