//! The EFI system partition: a small FAT file system with one file on it.

use std::io::{self, Cursor, Write};

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions};

/// A file system of `size_bytes` that holds `boot` as `EFI/BOOT/BOOTX64.EFI`.
/// Times on it are FAT's epoch, so the bytes follow from the arguments.
pub fn make(size_bytes: u64, volume_id: u32, boot: &[u8]) -> io::Result<Vec<u8>> {
    let size = usize::try_from(size_bytes).map_err(io::Error::other)?;
    let mut volume = Cursor::new(vec![0; size]);
    let options = FormatVolumeOptions::new().volume_id(volume_id).volume_label(*b"ESP        ");
    fatfs::format_volume(&mut volume, options)?;
    {
        let fat = FileSystem::new(&mut volume, FsOptions::new().update_accessed_date(false))?;
        let folder = fat.root_dir().create_dir("EFI")?.create_dir("BOOT")?;
        let mut file = folder.create_file("BOOTX64.EFI")?;
        file.write_all(boot)?;
        file.flush()?;
    }
    Ok(volume.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn fsck_finds_nothing_and_the_bytes_are_the_same_each_time() {
        let boot: Vec<u8> = (0..=255).cycle().take(70_000).collect();
        let volume = make(8 << 20, 7, &boot).expect("fits");
        assert_eq!(volume, make(8 << 20, 7, &boot).expect("fits"));
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("esp");
        std::fs::write(&file, &volume).expect("written");
        match Command::new("fsck.vfat").arg("-n").arg(&file).output() {
            Ok(done) => assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout)),
            Err(_) => return skip::because("fsck.vfat is not there"),
        }
        let read =
            Command::new("mtype").arg("-i").arg(&file).arg("::/EFI/BOOT/BOOTX64.EFI").output();
        match read {
            Ok(read) => assert_eq!(read.stdout, boot),
            Err(_) => skip::because("mtype is not there"),
        }
    }
}
