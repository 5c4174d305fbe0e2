//! Which files under /etc live on when the version changes, and carrying them
//! from one overlay's upper folder to the next one's.

use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat};

use crate::copy;
use crate::error::{At, During};

/// Marks a folder of an upper that hides the image's folder of that name.
const OPAQUE: &str = "trusted.overlay.opaque";

/// Paths that live on, without the leading `/etc/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Persist(Vec<PathBuf>);

impl Persist {
    /// Reads one absolute path a line; empty lines and those that begin with
    /// `#` are skipped. Also returns the lines that are not paths below /etc.
    #[must_use]
    pub fn parse(text: &str) -> (Self, Vec<String>) {
        let lines = text.lines().map(str::trim);
        let mut paths = Vec::new();
        let mut refused = Vec::new();
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match Path::new(line).strip_prefix("/etc") {
                Ok(path) if is_plain(path) => paths.push(path.to_path_buf()),
                _ => refused.push(line.to_owned()),
            }
        }
        (Self(paths), refused)
    }

    /// Whether `path`, without the leading `/etc/`, is or lies below one.
    #[must_use]
    pub fn covers(&self, path: &Path) -> bool {
        self.0.iter().any(|kept| path.starts_with(kept))
    }

    /// Copies what lives on from the upper folder `from` to the upper folder
    /// `to`, where nothing of it is yet.
    pub fn carry(&self, from: &Path, to: &Path) -> Result<(), At> {
        for path in &self.0 {
            if fs::symlink_metadata(from.join(path)).is_ok()
                && make_parents(from, to, path)?
                && fs::symlink_metadata(to.join(path)).is_err()
            {
                carry_entry(&from.join(path), &to.join(path))?;
            }
        }
        Ok(())
    }
}

fn is_plain(path: &Path) -> bool {
    let mut parts = path.components();
    path.components().next().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// Makes the folders above `path` as they are in `from`; false when one of
/// them is not a folder there, so that nothing is copied through a link.
fn make_parents(from: &Path, to: &Path, path: &Path) -> Result<bool, At> {
    let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
    above.reverse();
    for folder in above {
        let like = fs::symlink_metadata(from.join(folder)).during("find", from.join(folder))?;
        if !like.is_dir() {
            return Ok(false);
        }
        if fs::symlink_metadata(to.join(folder)).is_err() {
            copy::folder(&to.join(folder), &like)?;
        }
    }
    Ok(true)
}

fn carry_entry(from: &Path, to: &Path) -> Result<(), At> {
    let like = fs::symlink_metadata(from).during("find", from)?;
    let kind = like.file_type();
    if kind.is_dir() {
        copy::folder(to, &like)?;
        carry_opaque(from, to)?;
        for entry in fs::read_dir(from).during("read", from)? {
            let entry = entry.during("read", from)?;
            carry_entry(&entry.path(), &to.join(entry.file_name()))?;
        }
        Ok(())
    } else if kind.is_symlink() {
        copy::link(from, to, &like)
    } else if kind.is_file() {
        copy::file(from, to, &like)
    } else if is_whiteout(&like) {
        mknodat(CWD, to, FileType::CharacterDevice, Mode::empty(), 0).during("make", to)
    } else {
        Ok(())
    }
}

/// How an upper says that a file of the image was removed.
#[must_use]
pub fn is_whiteout(found: &Metadata) -> bool {
    found.file_type().is_char_device() && found.rdev() == 0
}

fn carry_opaque(from: &Path, to: &Path) -> Result<(), At> {
    let mut value = [0u8; 1];
    match rustix::fs::lgetxattr(from, OPAQUE, &mut value[..]) {
        Ok(1) if value == *b"y" => {
            rustix::fs::lsetxattr(to, OPAQUE, b"y", XattrFlags::empty()).during("mark", to)
        }
        // none, or a file system without them: not opaque
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn only_plain_paths_below_etc_are_taken() {
        let (persist, refused) = Persist::parse(
            "# kept\n/etc/hostname\n\n/etc/ssh/keys/\n/etc\n/etc/../root\n/var/x\nhosts\n",
        );
        assert_eq!(persist.0, [Path::new("hostname"), Path::new("ssh/keys")]);
        assert_eq!(refused, ["/etc", "/etc/../root", "/var/x", "hosts"]);
        assert!(persist.covers(Path::new("ssh/keys/rsa")));
        assert!(!persist.covers(Path::new("ssh/keys2")));
        assert!(!persist.covers(Path::new("ssh")));
    }

    #[test]
    fn what_lives_on_is_carried_with_its_folders_modes() {
        let (old, new) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let at = |path: &str| old.path().join(path);
        fs::create_dir_all(at("ssh/keys")).expect("made");
        fs::set_permissions(at("ssh"), fs::Permissions::from_mode(0o710)).expect("set");
        fs::write(at("ssh/keys/rsa"), "secret").expect("written");
        fs::set_permissions(at("ssh/keys/rsa"), fs::Permissions::from_mode(0o600)).expect("set");
        fs::write(at("ssh/config"), "dropped").expect("written");
        symlink("../usr/share/zoneinfo/UTC", at("localtime")).expect("linked");
        symlink("/nowhere", at("linked")).expect("linked");
        let (persist, _) = Persist::parse(
            "/etc/ssh/keys\n/etc/localtime\n/etc/missing\n/etc/linked/below\n/etc/ssh/keys/rsa",
        );
        persist.carry(old.path(), new.path()).expect("carried");
        let there = |path: &str| fs::symlink_metadata(new.path().join(path));
        assert_eq!(there("ssh").expect("there").mode() & 0o7777, 0o710);
        assert_eq!(there("ssh/keys/rsa").expect("there").mode() & 0o7777, 0o600);
        assert!(there("localtime").expect("there").is_symlink());
        assert!(there("ssh/config").is_err());
        assert!(there("missing").is_err());
        assert!(there("linked").is_err());
    }
}
