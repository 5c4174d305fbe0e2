//! Files in packages that a build carries out or compiles as the programs do
//! that they are meant for, in a tree that has little else.

use slipway::presets::{PresetReport, Presets, Scope};
use slipway::tree::{Tree, TreePath};
use slipway::users::Accounts;
use slipway::{
    alternatives as names, catalog as messages, certificates, hwdb as hardware,
    tmpfiles as temporary,
};

use crate::NEXT;
use crate::builder::parts;

/// A tree with accounts, these files, and some things to be changed or copied.
fn tree(files: &[(&str, &[u8])]) -> Tree {
    let mut tree = Tree::new(0);
    let own: [(&str, &[u8]); 4] = [
        ("/etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n"),
        ("/etc/group", b"root:x:0:\n"),
        ("/usr/share/factory/etc/kit/one", b"one\n"),
        ("/var/kit/two", b"two\n"),
    ];
    for (path, bytes) in own.iter().chain(files) {
        if let Ok(path) = TreePath::new(path) {
            let _ = tree.write(&path, 0o644, bytes.to_vec());
        }
    }
    if let Ok(path) = TreePath::new("/var/kit/up") {
        let _ = tree.symlink(&path, "..");
    }
    tree
}

pub fn tmpfiles(bytes: &[u8]) {
    let mut tree = tree(&[("/usr/lib/tmpfiles.d/kit.conf", bytes)]);
    if let Some(call) = temporary::Call::parse(&["--create", "--boot"]) {
        let _ = call.run(&mut tree);
    }
}

pub fn tmpfiles_seeds() -> Vec<Vec<u8>> {
    let texts: [&str; 2] = [
        "# kit\nd /var/lib/kit 0750 root root 1w\nD! /run/kit 1777\nf+ /etc/kit.conf 0600 - - - a\\tb\\n\n\
         L+ /etc/kit-link - - - - ../var/kit\nC /etc/kit\nw+ /var/kit/t* - - - - more\nZ /var/kit ~0750\n",
        "e /var/*/*/two 0700 root - 10d\na+ /var/kit - - - - u:root:rwx,d:g:root:r-x\nt /var/kit - - - - user.a=1\n\
         p+ /run/pipe\nz /var/kit/[tu]?? :0640 :root\nx /var/%b\nq /srv\nC /var/kit/new - - - - /var/kit\n",
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

pub fn sysusers(bytes: &[u8]) {
    let tree = tree(&[("/usr/lib/sysusers.d/kit.conf", bytes)]);
    if let Ok(mut accounts) = Accounts::read(&tree, 0) {
        let _ = accounts.sysusers(&tree);
    }
}

pub fn sysusers_seeds() -> Vec<Vec<u8>> {
    let text = "# kit\nu kit 400 \"A kit\" /var/kit /bin/sh\nu! other -:kit 'Other'\ng shared 61\n\
                u both 402:0\nm kit shared\nm new wheel\n";
    vec![text.as_bytes().to_vec()]
}

/// Presets, a unit, and what is dropped in beside it.
pub fn units(bytes: &[u8]) {
    let [presets, unit, more] = parts(bytes);
    let mut tree = tree(&[
        ("/usr/lib/systemd/system-preset/90-kit.preset", presets),
        ("/usr/lib/systemd/system/kit@.service", unit),
        ("/usr/lib/systemd/system/kit@one.service.d/more.conf", more),
        ("/usr/lib/systemd/system/kit.socket", more),
    ]);
    if let Ok(presets) = Presets::read(&tree, Scope::System) {
        let _ = presets.apply_all(&mut tree, &mut PresetReport::default());
    }
}

pub fn units_seeds() -> Vec<Vec<u8>> {
    let presets =
        b"# kit\nenable kit@.service one two\ndisable other-*.{service,socket}\nignore [a-k]*\n";
    let unit =
        b"[Unit]\nDescription=a kit\n[Install]\nWantedBy=multi-user.target \\\n  %p-%i.target\n\
                 Alias=other@%i.service\nAlso=kit.socket\nDefaultInstance=one\n";
    let more = b"[Install]\nRequiredBy=sockets.target\nUpheldBy=%n.target\nWantedBy=\n";
    vec![[&presets[..], NEXT, unit, NEXT, more].concat()]
}

pub fn hwdb(bytes: &[u8]) {
    let mut tree = tree(&[
        ("/usr/lib/udev/hwdb.d/20-kit.hwdb", bytes),
        ("/usr/lib/systemd/libsystemd-shared-255.so", b""),
    ]);
    let _ = hardware::update(&mut tree, true);
}

pub fn hwdb_seeds() -> Vec<Vec<u8>> {
    let text = "# kit\nusb:v1D6B*\n ID_VENDOR=Linux\n\nusb:v1D6Bp0001*\nusb:v1D6Bp0002*\n ID_MODEL=1.1 # why\n \
                \t ID_OTHER = x y\n\nlast:*\n A=2";
    vec![text.as_bytes().to_vec()]
}

/// Two texts about the same messages.
pub fn catalog(bytes: &[u8]) {
    let [one, other, _] = parts(bytes);
    let mut tree = tree(&[
        ("/usr/lib/systemd/catalog/a.catalog", one),
        ("/usr/lib/systemd/catalog/b.de_DE.catalog", other),
    ]);
    let _ = messages::update(&mut tree);
}

pub fn catalog_seeds() -> Vec<Vec<u8>> {
    let one = b"# kit\n\n-- 00112233445566778899aabbccddeeff de_DE\nSubject: eins\nDefined-By: me\n\nText.\n\n\
                -- ff112233445566778899aabbccddeeff\nSubject: @UNIT@\n";
    let other = b"-- 00112233445566778899aabbccddeeff\nSupport: you\n\nAnother text.\n";
    vec![[&one[..], NEXT, other].concat()]
}

/// What is written down of a name that gets another alternative.
pub fn alternatives(bytes: &[u8]) {
    let mut tree = tree(&[("/var/lib/alternatives/ld", bytes)]);
    for folder in ["/etc/alternatives", "/usr/bin"] {
        if let Ok(path) = TreePath::new(folder) {
            let _ = tree.make_directories(&path);
        }
    }
    let words = "--install /usr/bin/ld ld /usr/bin/ld.new 60 --slave /usr/bin/a-ld a-ld /usr/bin/a";
    let words: Vec<&str> = words.split(' ').collect();
    if let Some(call) = names::Call::parse(&words) {
        let _ = call.run(&mut tree);
    }
}

pub fn alternatives_seeds() -> Vec<Vec<u8>> {
    let text = "auto\n/usr/bin/ld\na-ld\n/usr/bin/a-ld\nld.1\n/usr/share/man/man1/ld.1\n\n/usr/bin/ld.bfd\n50\n\
                /usr/bin/a.bfd\n\n/usr/bin/ld.gold\n@gnu@30\n\n/m/gold.1\n";
    vec![text.as_bytes().to_vec()]
}

/// In DER.
pub fn certificate(bytes: &[u8]) {
    certificates::fuzzing::certificate(bytes);
}

/// Made by `openssl req -x509 -newkey ed25519 -nodes -subj "/C=XX/O=Kit/CN=A kit"
/// -days 9999 -outform DER -keyout /dev/null`.
pub fn certificate_seeds() -> Vec<Vec<u8>> {
    vec![include_bytes!("certificate.der").to_vec()]
}
