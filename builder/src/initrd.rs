//! The initrd: an uncompressed cpio archive ("newc", the kernel's
//! Documentation/driver-api/early-userspace/buffer-format) with slipway-init,
//! the kernel modules it loads, and its settings. Uncompressed, since the
//! bundle compresses it and the kernel then need not.

use std::fmt::Write as _;

use crate::modules::Module;

/// Where slipway-init looks for its settings.
const CONF: &str = "slipway.conf";

/// What the initrd tells slipway-init.
#[derive(Clone, Debug)]
pub struct Settings<'a> {
    /// program to start in the root file system
    pub init: &'a str,
    /// seconds the release has to become healthy
    pub health_timeout_seconds: u32,
    /// for the console
    pub version: &'a str,
}

/// The archive. `modules` are in the order they are to be loaded.
#[must_use]
pub fn make(init: &[u8], modules: &[Module], settings: &Settings<'_>) -> Vec<u8> {
    let mut archive = Archive::default();
    for folder in ["dev", "modules", "proc", "run", "sys", "sysroot"] {
        archive.folder(folder);
    }
    archive.file("init", 0o755, init);
    let mut order = String::new();
    for module in modules {
        let name = format!("{}.ko", module.name);
        archive.file(&format!("modules/{name}"), 0o644, &module.bytes);
        order.push_str(&name);
        order.push('\n');
    }
    archive.file("modules/order", 0o644, order.as_bytes());
    let conf = format!(
        "INIT={}\nHEALTH_TIMEOUT_SECONDS={}\nVERSION={}\n",
        settings.init, settings.health_timeout_seconds, settings.version
    );
    archive.file(CONF, 0o644, conf.as_bytes());
    archive.finish()
}

/// Inode numbers count up and times are zero, so the bytes follow from what
/// was put in.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    inode: u32,
}

impl Archive {
    fn folder(&mut self, name: &str) {
        self.entry(name, 0o040_755, 2, &[]);
    }

    fn file(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entry(name, 0o100_000 | mode, 1, content);
    }

    fn entry(&mut self, name: &str, mode: u32, links: u32, content: &[u8]) {
        self.inode += 1;
        let mut header = String::from("070701");
        let fields = [
            self.inode as usize,
            mode as usize,
            0, // owner
            0, // group
            links as usize,
            0, // time
            content.len(),
            0, // device of the archive
            0,
            0, // device of a node
            0,
            name.len() + 1,
            0, // checksum, unused in this format
        ];
        for field in fields {
            let _ = write!(header, "{field:08x}");
        }
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.inode = 0;
        self.entry("TRAILER!!!", 0, 1, &[]);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    #[test]
    fn cpio_lists_it() {
        let modules = [Module { name: "dm_verity".into(), bytes: vec![1, 2, 3] }];
        let settings = Settings { init: "/sbin/init", health_timeout_seconds: 60, version: "1" };
        let archive = make(b"elf", &modules, &settings);
        let cpio = Command::new("cpio")
            .args(["-it", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut cpio) = cpio else {
            return skip::because("cpio is not there");
        };
        cpio.stdin.take().expect("piped").write_all(&archive).expect("read");
        let listed = cpio.wait_with_output().expect("ran");
        assert!(listed.status.success());
        assert_eq!(
            String::from_utf8_lossy(&listed.stdout),
            "dev\nmodules\nproc\nrun\nsys\nsysroot\ninit\nmodules/dm_verity.ko\nmodules/order\nslipway.conf\n"
        );
    }
}
