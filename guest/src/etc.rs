//! The upper folder of /etc's overlay: one for each release, so that going
//! back to a release finds its /etc as it was left.
//!
//! ```text
//! lib/slipway/etc/current -> 0123456789abcdef     the release that runs
//!                 0123456789abcdef/upper, work    named after its root hash
//!                                 /previous       whose /etc it came after
//! ```

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use formats::Digest;

use crate::copy;
use crate::error::{At, During};
use crate::machine_id;
use crate::persist::Persist;

const CURRENT: &str = "current";
/// Built here and renamed when it is whole.
const UNFINISHED: &str = ".new";
/// Name of the file with the predecessor's folder name; removed by the agent
/// once it has told what was dropped.
pub const PREVIOUS: &str = "previous";

/// The folder's name for a root hash: its first 16 digits.
#[must_use]
pub fn folder_name(root_hash: Digest) -> String {
    let mut name = root_hash.to_string();
    name.truncate(16);
    name
}

/// Whether a name is one of a release's folder.
#[must_use]
pub fn is_folder_name(name: &str) -> bool {
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    name.len() == 16 && name.chars().all(hex)
}

/// Makes sure that the release has its folder and that `current` names it.
/// `own` is Slipway's folder on data. Returns the release's folder.
pub fn prepare(
    own: &Path,
    image_etc: &Path,
    root_hash: Digest,
    persist: &Persist,
) -> Result<PathBuf, At> {
    let all = own.join("etc");
    if !all.is_dir() {
        fs::create_dir(&all).during("make", &all)?;
    }
    let name = folder_name(root_hash);
    let folder = all.join(&name);
    let current = current(&all);
    if !folder.is_dir() {
        build(own, image_etc, &folder, current.as_deref(), persist)?;
    }
    if current.as_deref() != Some(&name) {
        switch_current(&all, &name)?;
    }
    Ok(folder)
}

/// The name of the folder that `current` points to.
fn current(all: &Path) -> Option<String> {
    let target = fs::read_link(all.join(CURRENT)).ok()?;
    let name = target.to_str()?;
    is_folder_name(name).then(|| name.to_owned())
}

fn build(
    own: &Path,
    image_etc: &Path,
    folder: &Path,
    previous: Option<&str>,
    persist: &Persist,
) -> Result<(), At> {
    let all = own.join("etc");
    let unfinished = all.join(UNFINISHED);
    copy::remove_all(&unfinished)?;
    fs::create_dir(&unfinished).during("make", &unfinished)?;
    let upper = unfinished.join("upper");
    let like = fs::metadata(image_etc).during("find", image_etc)?;
    copy::folder(&upper, &like)?;
    let work = unfinished.join("work");
    fs::create_dir(&work).during("make", &work)?;
    if let Some(previous) = previous {
        persist.carry(&all.join(previous).join("upper"), &upper)?;
        copy::replace_file(&unfinished.join(PREVIOUS), previous)?;
    }
    machine_id::place(image_etc, &upper, own)?;
    // all of it is on the disk before it gets its name
    copy::sync_file_system(&all)?;
    fs::rename(&unfinished, folder).during("make", folder)?;
    copy::sync_file_system(&all)
}

fn switch_current(all: &Path, name: &str) -> Result<(), At> {
    let temporary = all.join(".current");
    copy::remove_all(&temporary)?;
    symlink(name, &temporary).during("make", &temporary)?;
    fs::rename(&temporary, all.join(CURRENT)).during("rename", &temporary)?;
    copy::sync_file_system(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            fs::create_dir(folder.path().join("own")).expect("made");
            fs::create_dir(folder.path().join("image")).expect("made");
            Self(folder)
        }
        fn boot(&self, release: &str) -> PathBuf {
            let (persist, _) = Persist::parse("/etc/hostname");
            let at = |name: &str| self.0.path().join(name);
            prepare(&at("own"), &at("image"), Digest::of(release.as_bytes()), &persist)
                .expect("prepared")
        }
    }

    #[test]
    fn a_new_release_takes_over_what_lives_on_and_nothing_else() {
        let machine = Machine::new();
        let first = machine.boot("1");
        fs::write(first.join("upper/hostname"), "node7").expect("written");
        fs::write(first.join("upper/motd"), "hello").expect("written");
        let second = machine.boot("2");
        assert_eq!(fs::read_to_string(second.join("upper/hostname")).expect("carried"), "node7");
        assert!(!second.join("upper/motd").exists());
        let id = |folder: &Path| fs::read(folder.join("upper/machine-id")).expect("there");
        assert_eq!(id(&first), id(&second));
        assert_eq!(
            fs::read_to_string(second.join(PREVIOUS)).expect("there"),
            folder_name(Digest::of(b"1"))
        );
    }

    #[test]
    fn going_back_finds_it_as_it_was_left() {
        let machine = Machine::new();
        let first = machine.boot("1");
        fs::write(first.join("upper/motd"), "hello").expect("written");
        let second = machine.boot("2");
        fs::write(second.join("upper/hostname"), "renamed").expect("written");
        let back = machine.boot("1");
        assert_eq!(back, first);
        assert!(back.join("upper/motd").exists());
        assert!(!back.join("upper/hostname").exists());
        let all = back.parent().expect("a folder");
        assert_eq!(current(all), Some(folder_name(Digest::of(b"1"))));
    }

    #[test]
    fn an_unfinished_one_is_built_again() {
        let machine = Machine::new();
        let unfinished = machine.0.path().join("own/etc/.new/upper");
        fs::create_dir_all(&unfinished).expect("made");
        fs::write(unfinished.join("hostname"), "half").expect("written");
        let folder = machine.boot("1");
        assert!(!folder.join("upper/hostname").exists());
        assert!(!machine.0.path().join("own/etc/.new").exists());
    }
}
