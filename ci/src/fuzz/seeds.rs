//! Seeds that are files: synthetic packages with their metadata and key, and
//! what there is of the demo repository. Made once and kept, so that the same
//! number gives the same inputs again.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::metadata::PUBLIC_KEY_NAME;
use crate::{cache, synthetic};

/// As `slipway_fuzz_targets::NEXT`.
const NEXT: &[u8] = b"\n-- next --\n";
/// Longer files only make each input slower.
const MAX_BYTES: usize = 48 << 10;

/// Fills a folder for each parser below `folder`, unless that was done.
pub fn write(top: &Path, folder: &Path) -> Result<()> {
    if folder.exists() {
        return Ok(());
    }
    let parent = folder.parent().context("a folder in a folder")?;
    let staged = cache::StagedFolder::new_in(parent)?;
    let made = tempfile::tempdir()?;
    let repository = made.path().join("synthetic");
    synthetic::write(&repository)?;
    let seeds = Seeds { folder: staged.path() };
    seeds.metadata("synthetic", &repository)?;
    seeds.packages(&repository)?;
    let demo = top.join("out/repository");
    if demo.join("repodata/repomd.xml").exists() {
        seeds.metadata("demo", &demo)?;
    }
    staged.publish(folder)
}

struct Seeds<'f> {
    folder: &'f Path,
}

impl Seeds<'_> {
    fn add(&self, target: &str, name: &str, bytes: &[u8]) -> Result<()> {
        let folder = self.folder.join(target);
        fs::create_dir_all(&folder)?;
        Ok(fs::write(folder.join(name), bytes)?)
    }

    fn metadata(&self, name: &str, repository: &Path) -> Result<()> {
        let repomd = read(&repository.join("repodata/repomd.xml"))?;
        let signature = read(&repository.join("repodata/repomd.xml.asc"))?;
        let key = read(&repository.join(PUBLIC_KEY_NAME))?;
        self.add("repomd", name, &repomd)?;
        self.add("signature", name, &[&key, NEXT, &signature, NEXT, &repomd].concat())?;
        for path in files(&repository.join("repodata"))? {
            for (target, end) in [("primary", "</metadata>\n"), ("filelists", "</filelists>\n")] {
                if path.to_string_lossy().ends_with(&format!("-{target}.xml.zst")) {
                    let text = String::from_utf8(zstd::decode_all(read(&path)?.as_slice())?)?;
                    self.add(target, name, shortened(&text, end).as_bytes())?;
                }
            }
        }
        Ok(())
    }

    fn packages(&self, repository: &Path) -> Result<()> {
        let key = read(&repository.join(PUBLIC_KEY_NAME))?;
        for path in files(&repository.join("Packages"))? {
            let bytes = read(&path)?;
            let name = path.file_name().and_then(OsStr::to_str).context("a name")?;
            if bytes.len() > MAX_BYTES {
                continue;
            }
            self.add("package-headers", name, &bytes)?;
            self.add("package", name, &bytes)?;
            if name.starts_with("basic-") || name.starts_with("payload-") {
                self.add("package-signature", name, &[&key, NEXT, &bytes].concat())?;
            }
        }
        Ok(())
    }
}

/// The first packages of a document, and its `end`.
fn shortened(text: &str, end: &str) -> String {
    let last = text.match_indices("</package>\n").map(|(at, found)| at + found.len());
    match last.take_while(|at| *at < MAX_BYTES).last() {
        Some(at) if text.len() > MAX_BYTES => format!("{}{end}", &text[..at]),
        _ => text.to_owned(),
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("no {}", folder.display()))?;
    Ok(entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<_>>()?)
}
