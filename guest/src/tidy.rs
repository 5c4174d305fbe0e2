//! After a commit: telling which changes to /etc were not taken over from the
//! release before, and removing the folders that belong to neither slot.

use std::fs;
use std::path::{Path, PathBuf};

use formats::state::State;
use formats::{Digest, Slot};

use crate::copy;
use crate::error::{At, During};
use crate::etc::{PREVIOUS, folder_name, is_folder_name};
use crate::persist::Persist;

/// Files of /etc that the release before had changed and that do not live on,
/// sorted, as absolute paths. Empty after the first call for a release that
/// was followed by [`told`].
pub fn dropped(all_etc: &Path, root_hash: Digest, persist: &Persist) -> Result<Vec<PathBuf>, At> {
    let previous = all_etc.join(folder_name(root_hash)).join(PREVIOUS);
    let Ok(name) = fs::read_to_string(previous) else {
        return Ok(Vec::new());
    };
    let upper = all_etc.join(name.trim_end()).join("upper");
    if !is_folder_name(name.trim_end()) || !upper.is_dir() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    list_files(&upper, Path::new(""), &mut paths)?;
    // the machine's identity is carried over by other means
    paths.retain(|path| !persist.covers(path) && path != Path::new("machine-id"));
    paths.sort();
    Ok(paths.iter().map(|path| Path::new("/etc").join(path)).collect())
}

/// Everything that is not a folder, without the leading `/etc/`. Removals
/// count: to an upper they are files of a kind of their own.
fn list_files(upper: &Path, below: &Path, paths: &mut Vec<PathBuf>) -> Result<(), At> {
    let folder = upper.join(below);
    for entry in fs::read_dir(&folder).during("read", &folder)? {
        let entry = entry.during("read", &folder)?;
        let path = below.join(entry.file_name());
        if entry.file_type().during("find", entry.path())?.is_dir() {
            list_files(upper, &path, paths)?;
        } else {
            paths.push(path);
        }
    }
    Ok(())
}

/// Notes that the dropped files were told.
pub fn told(all_etc: &Path, root_hash: Digest) -> Result<(), At> {
    copy::remove_all(&all_etc.join(folder_name(root_hash)).join(PREVIOUS))
}

/// Removes the folders of releases that are in neither slot; returns how many.
pub fn remove_left_overs(all_etc: &Path, state: &State, root_hash: Digest) -> Result<usize, At> {
    let mut kept = vec![folder_name(root_hash)];
    for slot in Slot::ALL {
        kept.extend(state.slot(slot).release.map(|release| folder_name(release.root_hash)));
    }
    let mut removed = 0;
    for entry in fs::read_dir(all_etc).during("read", all_etc)? {
        let entry = entry.during("read", all_etc)?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if is_folder_name(&name) && !kept.contains(&name) {
            copy::remove_all(&entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::{DataSchema, Release};

    fn hash(release: &str) -> Digest {
        Digest::of(release.as_bytes())
    }

    fn with_folders(releases: &[&str]) -> tempfile::TempDir {
        let all = tempfile::tempdir().expect("a folder");
        for release in releases {
            let upper = all.path().join(folder_name(hash(release))).join("upper/ssh");
            fs::create_dir_all(upper).expect("made");
        }
        all
    }

    #[test]
    fn what_was_changed_and_does_not_live_on_is_listed_once() {
        let all = with_folders(&["1", "2"]);
        let first = all.path().join(folder_name(hash("1"))).join("upper");
        for name in ["ssh/key", "motd", "hostname", "machine-id"] {
            fs::write(first.join(name), "").expect("written");
        }
        let previous = all.path().join(folder_name(hash("2"))).join(PREVIOUS);
        fs::write(previous, folder_name(hash("1"))).expect("written");
        let (persist, _) = Persist::parse("/etc/hostname");
        let list = || dropped(all.path(), hash("2"), &persist).expect("listed");
        assert_eq!(list(), [Path::new("/etc/motd"), Path::new("/etc/ssh/key")]);
        told(all.path(), hash("2")).expect("noted");
        assert!(list().is_empty());
    }

    #[test]
    fn folders_of_neither_slot_go_and_the_other_slots_stays() {
        let all = with_folders(&["1", "2", "3"]);
        fs::create_dir(all.path().join("not-ours")).expect("made");
        let mut state = State::new("demo".parse().expect("short"));
        state.slots[0].release = Some(Release {
            version: "2".parse().expect("short"),
            epoch: 1,
            root_hash: hash("2"),
            tries: 3,
            data: DataSchema { min: 1, max: 1 },
        });
        let removed = remove_left_overs(all.path(), &state, hash("3"));
        assert_eq!(removed.expect("removed"), 1);
        let there = |name: &str| all.path().join(name).exists();
        assert!(!there(&folder_name(hash("1"))));
        assert!(there(&folder_name(hash("2"))));
        assert!(there(&folder_name(hash("3"))));
        assert!(there("not-ours"));
    }
}
