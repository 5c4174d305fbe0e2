//! The demo repository: Debian packages, downloaded and converted once, kept in
//! the cache under the hash of what went into it. A second call only looks it up.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use sha2::{Digest, Sha256};

use crate::apt::PrivateApt;
use crate::cache::{self, StagedFolder};
use crate::convert::Converter;
use crate::deb::Deb;
use crate::demo_list::{DEMO_LIST, DemoList};
use crate::metadata::{self, ListedPackage, hex};
use crate::pgp_key::SigningKey;
use crate::rpm_package::{RpmPackage, file_name};

/// Everything that decides what a converted package looks like: a change of any
/// of these makes a new repository.
const CONVERTER_SOURCES: [&str; 10] = [
    include_str!("convert.rs"),
    include_str!("deb.rs"),
    include_str!("demo_list.rs"),
    include_str!("dependency.rs"),
    include_str!("elf.rs"),
    include_str!("merged_usr.rs"),
    include_str!("metadata.rs"),
    include_str!("repository.rs"),
    include_str!("rpm_package.rs"),
    DEMO_LIST,
];

/// Two cores are what the smallest machine this is meant for has.
const WORKERS: usize = 2;

/// How the repository was come by.
pub struct DemoRepository {
    /// Its top folder, in the cache.
    pub path: PathBuf,
    /// One line for the user.
    pub note: String,
}

/// Gives the demo repository, making it if the cache does not have it. With
/// `refresh`, Debian's lists are fetched again first, so newer packages are
/// seen; otherwise one that was made from the same list by the same converter
/// serves, however old.
pub fn demo_repository(refresh: bool) -> Result<DemoRepository> {
    let cache = cache::cache_folder()?;
    let folder = cache.join("repository");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let current = folder.join(format!("current-{}", &inputs_hash()[..16]));
    if !refresh && let Some(path) = recorded(&current) {
        return Ok(DemoRepository { path, note: "the repository is in the cache".into() });
    }
    let _lock = cache::lock(&folder)?;
    // Another process may have made it while this one waited.
    if !refresh && let Some(path) = recorded(&current) {
        return Ok(DemoRepository { path, note: "the repository is in the cache".into() });
    }
    match make(&cache, &folder, refresh) {
        Ok((path, note)) => {
            cache::write_atomically(&current, &path.display().to_string())?;
            Ok(DemoRepository { path, note })
        }
        Err(error) => match newest(&folder) {
            Some(path) => {
                let note = format!(
                    "{error:#}\nDebian's packages cannot be had now: an earlier repository is used"
                );
                Ok(DemoRepository { path, note })
            }
            None => Err(error),
        },
    }
}

fn inputs_hash() -> String {
    let mut hash = Sha256::new();
    for source in CONVERTER_SOURCES {
        hash.update((source.len() as u64).to_le_bytes());
        hash.update(source);
    }
    hex(&hash.finalize())
}

fn recorded(current: &Path) -> Option<PathBuf> {
    let path = PathBuf::from(fs::read_to_string(current).ok()?.trim());
    is_repository(&path).then_some(path)
}

fn is_repository(path: &Path) -> bool {
    path.join("repodata/repomd.xml.asc").is_file()
}

fn newest(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    let made = entries.filter(|entry| is_repository(&entry.path()));
    made.max_by_key(|entry| entry.metadata().and_then(|m| m.modified()).ok()).map(|e| e.path())
}

/// Resolves, and converts unless that very set is there.
fn make(cache: &Path, folder: &Path, refresh: bool) -> Result<(PathBuf, String)> {
    let list = DemoList::load()?;
    let apt = PrivateApt::new(&cache.join("apt"), list.absent.iter().cloned())?;
    let mut note = String::new();
    if refresh || !apt.has_lists() {
        match apt.update() {
            Ok(()) => {}
            Err(error) if apt.has_lists() => {
                note = format!("{error:#}\nthe lists of an earlier run are used; ");
            }
            Err(error) => return Err(error),
        }
    }
    let files = match apt.resolve(&list.roots) {
        Ok(files) => files,
        Err(error) => return Err(error.context("apt cannot resolve the demo's packages")),
    };
    let path = folder.join(set_hash(&files));
    if is_repository(&path) {
        return Ok((path, note + "the repository is in the cache"));
    }
    // Lists of an earlier run may name files that Debian has replaced since.
    let (files, debs) = match apt.download(&list.roots, &files) {
        Ok(debs) => (files, debs),
        Err(_) if !refresh => {
            apt.update()?;
            let files = apt.resolve(&list.roots)?;
            let debs = apt.download(&list.roots, &files)?;
            (files, debs)
        }
        Err(error) => return Err(error),
    };
    let path = folder.join(set_hash(&files));
    let key = SigningKey::load_or_generate(
        &folder.join("signing-key.asc"),
        "Slipway demo repository <demo@example.invalid>",
    )?;
    let staged = StagedFolder::new_in(folder)?;
    let count = convert_all(list, &debs, &key, staged.path())?;
    staged.publish(&path)?;
    Ok((path, note + &format!("{count} packages were converted and signed")))
}

fn set_hash(files: &[String]) -> String {
    let mut hash = Sha256::new();
    hash.update(inputs_hash());
    files.iter().for_each(|name| hash.update(format!("{name}\n")));
    hex(&hash.finalize())[..32].to_string()
}

/// Converts every package and writes the repository to `top`; gives their number.
fn convert_all(list: DemoList, paths: &[PathBuf], key: &SigningKey, top: &Path) -> Result<usize> {
    let debs = parallel(paths, |path| {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Deb::parse(&bytes).with_context(|| format!("{}", path.display()))
    })?;
    let made = list.made_packages()?;
    let converter = Converter::new(list, &debs);
    let packages = top.join("Packages");
    fs::create_dir_all(&packages)
        .with_context(|| format!("cannot create {}", packages.display()))?;
    let debs: Vec<Mutex<Option<Deb>>> = debs.into_iter().map(|d| Mutex::new(Some(d))).collect();
    let mut listed = parallel(&debs, |deb| {
        let deb = deb.lock().ok().and_then(|mut deb| deb.take()).context("converted twice")?;
        let name = deb.field("Package").to_string();
        let package = converter.convert(deb).with_context(|| format!("package {name}"))?;
        store(package, key, top)
    })?;
    for package in made {
        listed.push(store(package, key, top)?);
    }
    let count = listed.len();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    metadata::write_repodata(top, listed, key, now)?;
    Ok(count)
}

/// Builds a package, writes it below `Packages/`, and describes it.
fn store(package: RpmPackage, key: &SigningKey, top: &Path) -> Result<ListedPackage> {
    let package = package.build_signed(key)?;
    let mut bytes = Vec::new();
    package.write(&mut bytes)?;
    let location = format!("Packages/{}", file_name(&package)?);
    let path = top.join(&location);
    fs::write(&path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
    ListedPackage::new(&package, &bytes, &location)
}

/// Maps in order on a few threads; the first error stops the rest.
fn parallel<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let failed = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<Result<R>>>> = items.iter().map(|_| Mutex::new(None)).collect();
    let worker = || {
        while failed.load(Ordering::Relaxed) == 0 {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { break };
            let result = work(item);
            if result.is_err() {
                failed.store(1, Ordering::Relaxed);
            }
            if let Ok(mut slot) = results[index].lock() {
                *slot = Some(result);
            }
        }
    };
    thread::scope(|scope| (0..WORKERS).for_each(|_| drop(scope.spawn(worker))));
    let mut done = Vec::new();
    let mut unfinished = None;
    for slot in results {
        match slot.into_inner().ok().flatten() {
            Some(Ok(result)) => done.push(result),
            Some(Err(error)) => return Err(error),
            None => unfinished = Some(anyhow!("a conversion did not finish")),
        }
    }
    unfinished.map_or(Ok(done), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parallel_keeps_the_order_and_the_first_error() {
        let items: Vec<u32> = (0..100).collect();
        assert_eq!(parallel(&items, |n| Ok(n * 2)).unwrap()[99], 198);
        let error = parallel(&items, |n| if *n == 7 { Err(anyhow!("seven")) } else { Ok(*n) });
        assert_eq!(error.unwrap_err().to_string(), "seven");
    }
}
