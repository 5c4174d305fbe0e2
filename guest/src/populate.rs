//! Filling the data partition with what the image has under /var, the first
//! time a release runs. Only what is missing is made; nothing is overwritten.
//!
//! Power may go at any time: files are written aside, flushed, and only then
//! moved to their places, and the mark that ends it all is written last.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::copy;
use crate::error::{At, During};
use crate::paths::OWN_DATA;

/// Releases that are remembered: both slots' and some that may come back.
const MARKS: usize = 8;

/// Something that is in the image and not on data.
struct Missing {
    from: PathBuf,
    to: PathBuf,
    like: Metadata,
}

/// Makes what is missing; returns how many entries that were, or `None` when
/// this was done for `mark` before. `mark` is the root hash.
pub fn populate(image_var: &Path, data: &Path, mark: &str) -> Result<Option<usize>, At> {
    let own = data.join(OWN_DATA);
    let marker = own.join("seeded");
    let marks = fs::read_to_string(&marker).unwrap_or_default();
    if marks.lines().any(|line| line == mark) {
        return Ok(None);
    }
    make_own_folder(image_var, data)?;
    let aside = own.join("seeding");
    copy::remove_all(&aside)?;
    fs::create_dir(&aside).during("make", &aside)?;

    let mut missing = Vec::new();
    list_missing(image_var, data, &mut missing)?;
    for (number, entry) in missing.iter().enumerate() {
        make_aside(entry, &aside.join(number.to_string()))?;
    }
    copy::sync_file_system(data)?;
    for (number, entry) in missing.iter().enumerate() {
        move_into_place(&aside.join(number.to_string()), &entry.to)?;
    }
    copy::remove_all(&aside)?;
    copy::sync_file_system(data)?;
    copy::replace_file(&marker, &with_mark(&marks, mark))?;
    Ok(Some(missing.len()))
}

/// Adds a line and drops the oldest beyond [`MARKS`].
fn with_mark(marks: &str, mark: &str) -> String {
    let mut lines: Vec<&str> = marks.lines().chain([mark]).collect();
    lines.drain(..lines.len().saturating_sub(MARKS));
    lines.join("\n") + "\n"
}

/// `lib` as the image has it; Slipway's own folder is for root alone.
fn make_own_folder(image_var: &Path, data: &Path) -> Result<(), At> {
    let lib = data.join("lib");
    if !lib.is_dir() {
        fs::create_dir(&lib).during("make", &lib)?;
    }
    if let Ok(like) = fs::metadata(image_var.join("lib")) {
        copy::owner_and_mode(&lib, &like)?;
    }
    let own = data.join(OWN_DATA);
    if !own.is_dir() {
        fs::create_dir(&own).during("make", &own)?;
    }
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(&own, private).during("set the mode of", &own)
}

/// Parents before what is in them.
fn list_missing(from: &Path, to: &Path, missing: &mut Vec<Missing>) -> Result<(), At> {
    for entry in fs::read_dir(from).during("read", from)? {
        let entry = entry.during("read", from)?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if to.ends_with(OWN_DATA) {
            continue;
        }
        let like = fs::symlink_metadata(&from).during("find", &from)?;
        let kind = like.file_type();
        let there = fs::symlink_metadata(&to).ok();
        let enter = kind.is_dir() && there.as_ref().is_none_or(Metadata::is_dir);
        // sockets, pipes and devices belong to what runs, not to an image
        if there.is_none() && (kind.is_dir() || kind.is_file() || kind.is_symlink()) {
            missing.push(Missing { from: from.clone(), to: to.clone(), like });
        }
        if enter {
            list_missing(&from, &to, missing)?;
        }
    }
    Ok(())
}

fn make_aside(entry: &Missing, aside: &Path) -> Result<(), At> {
    let kind = entry.like.file_type();
    if kind.is_dir() {
        copy::folder(aside, &entry.like)
    } else if kind.is_symlink() {
        copy::link(&entry.from, aside, &entry.like)
    } else {
        copy::file(&entry.from, aside, &entry.like)
    }
}

fn move_into_place(aside: &Path, to: &Path) -> Result<(), At> {
    match renameat_with(CWD, aside, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error).during("make", to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn image() -> tempfile::TempDir {
        let image = tempfile::tempdir().expect("a folder");
        let at = |path: &str| image.path().join(path);
        fs::create_dir_all(at("lib/app/deep")).expect("made");
        fs::create_dir_all(at("lib/slipway")).expect("made");
        fs::write(at("lib/slipway/never"), "").expect("written");
        fs::write(at("lib/app/deep/file"), "from the image").expect("written");
        fs::write(at("lib/app/changed"), "from the image").expect("written");
        fs::set_permissions(at("lib/app/deep/file"), fs::Permissions::from_mode(0o4750))
            .expect("set");
        fs::set_permissions(at("lib/app/deep"), fs::Permissions::from_mode(0o1777)).expect("set");
        symlink("/run", at("run")).expect("linked");
        image
    }

    #[test]
    fn missing_things_are_made_and_nothing_is_overwritten() {
        let (image, data) = (image(), tempfile::tempdir().expect("a folder"));
        let at = |path: &str| data.path().join(path);
        fs::create_dir_all(at("lib/app")).expect("made");
        fs::write(at("lib/app/changed"), "mine").expect("written");
        let made = populate(image.path(), data.path(), "1").expect("done");
        assert_eq!(made, Some(3), "deep, deep/file and run");
        let text = |path: &str| fs::read_to_string(at(path)).expect("there");
        assert_eq!(text("lib/app/changed"), "mine");
        assert_eq!(text("lib/app/deep/file"), "from the image");
        let mode = |path: &str| fs::metadata(at(path)).expect("there").mode() & 0o7777;
        assert_eq!(mode("lib/app/deep/file"), 0o4750);
        assert_eq!(mode("lib/app/deep"), 0o1777);
        assert_eq!(mode("lib/slipway"), 0o700);
        assert_eq!(fs::read_link(at("run")).expect("a link"), Path::new("/run"));
        assert!(!at("lib/slipway/never").exists());
        assert!(!at("lib/slipway/seeding").exists());
    }

    #[test]
    fn it_is_done_once_for_a_release_and_again_for_the_next() {
        let (image, data) = (image(), tempfile::tempdir().expect("a folder"));
        assert!(populate(image.path(), data.path(), "1").expect("done").is_some());
        fs::remove_file(data.path().join("run")).expect("removed");
        assert_eq!(populate(image.path(), data.path(), "1").expect("done"), None);
        assert_eq!(populate(image.path(), data.path(), "2").expect("done"), Some(1));
        assert_eq!(
            populate(image.path(), data.path(), "1").expect("done"),
            None,
            "a release that comes back"
        );
        assert_eq!(with_mark("1\n2\n3\n4\n5\n6\n7\n8\n", "9"), "2\n3\n4\n5\n6\n7\n8\n9\n");
    }

    #[test]
    fn what_a_power_cut_left_is_finished() {
        let (image, data) = (image(), tempfile::tempdir().expect("a folder"));
        fs::create_dir_all(data.path().join("lib/slipway/seeding/0/x")).expect("made");
        fs::create_dir_all(data.path().join("lib/app")).expect("made");
        populate(image.path(), data.path(), "1").expect("done");
        assert!(data.path().join("lib/app/deep/file").exists());
    }
}
