//! The machine's identity. The first boot draws it and keeps it on data; every
//! later release gets the same one.
//!
//! systemd would draw one itself, but would then also take each new version's
//! first start for the machine's first boot (`ConditionFirstBoot`, preset-all,
//! questions on the console). With the file in place before systemd starts,
//! no start is a first boot: the image's units are enabled as they were built.

use std::fs;
use std::path::Path;

use rustix::rand::{GetRandomFlags, getrandom};

use crate::copy;
use crate::error::{At, During};

const NAME: &str = "machine-id";

/// Puts the identity into `upper`, an overlay's upper folder of /etc, unless
/// the image brings its own or `upper` has one that lived on. `own` is
/// Slipway's folder on data, where it is kept.
pub fn place(image_etc: &Path, upper: &Path, own: &Path) -> Result<(), At> {
    if valid(&image_etc.join(NAME)).is_some() || valid(&upper.join(NAME)).is_some() {
        return Ok(());
    }
    let kept = own.join(NAME);
    let id = match valid(&kept) {
        Some(id) => id,
        None => {
            let id = draw()?;
            copy::replace_file(&kept, &format!("{id}\n"))?;
            id
        }
    };
    let path = upper.join(NAME);
    copy::replace_file(&path, &format!("{id}\n"))?;
    let read_only = std::os::unix::fs::PermissionsExt::from_mode(0o444);
    fs::set_permissions(&path, read_only).during("set the mode of", path)
}

/// The identity in a file: 32 lower-case hexadecimal digits (machine-id(5)).
/// Empty and `uninitialized` are not.
fn valid(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let id = text.trim_end();
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    (id.len() == 32 && id.chars().all(hex)).then(|| id.to_owned())
}

/// A random UUID of version 4 without dashes.
fn draw() -> Result<String, At> {
    let mut random = [0; 16];
    let mut filled = 0;
    while filled < random.len() {
        filled += getrandom(&mut random[filled..], GetRandomFlags::empty())
            .during("draw from", "the kernel's random numbers")?;
    }
    let id = formats::guid::Guid::from_random(random);
    Ok(id.to_string().replace('-', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_once_and_the_same_for_every_release() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        for name in ["own", "image", "upper1", "upper2"] {
            fs::create_dir(at(name)).expect("made");
        }
        fs::write(at("image/machine-id"), "uninitialized\n").expect("written");
        place(&at("image"), &at("upper1"), &at("own")).expect("drawn");
        place(&at("image"), &at("upper2"), &at("own")).expect("kept");
        let first = valid(&at("upper1/machine-id")).expect("an identity");
        assert_eq!(valid(&at("upper2/machine-id")), Some(first.clone()));
        assert_eq!(&first[12..13], "4");
    }

    #[test]
    fn an_image_with_its_own_keeps_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let id = "0123456789abcdef0123456789abcdef";
        fs::write(folder.path().join("machine-id"), id).expect("written");
        let upper = folder.path().join("upper");
        fs::create_dir(&upper).expect("made");
        place(folder.path(), &upper, folder.path()).expect("nothing to do");
        assert!(!upper.join("machine-id").exists());
    }
}
