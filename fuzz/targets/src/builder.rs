//! What a build reads: recipe, lock, metadata, keys, packages, and those files
//! in packages that it looks into.

use std::path::PathBuf;

use slipway::compose::shell;
use slipway::modules::{self, ModuleIndex};
use slipway::recipe::KeyFile;
use slipway::sandbox::Call;
use slipway::signature::{self, Keyring};
use slipway::tree::{Tree, TreePath};
use slipway::uki::{self, UkiParts};
use slipway::{
    fetch, ldconfig, lock as locks, lua, package as packages, recipe as recipes, repository,
};

use crate::NEXT;

pub fn repomd(bytes: &[u8]) {
    repository::fuzzing::repomd(bytes);
}

pub fn primary(bytes: &[u8]) {
    repository::fuzzing::primary(bytes);
}

/// The list's own first package is the one whose files are wanted.
pub fn filelists(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let digest = text.split("pkgid=\"").nth(1).and_then(|rest| rest.get(..64)?.parse().ok());
    let digests: Vec<_> = digest.into_iter().collect();
    repository::fuzzing::filelists(bytes, &digests, "/usr/share/synthetic/basic");
}

/// Key, signature, and what was signed.
pub fn signature(bytes: &[u8]) {
    let [key, signature, data] = parts(bytes);
    let found = signature::detached(signature);
    if let (Ok(keyring), Ok(found)) = (keyring(key), found) {
        let _ = keyring.verify(&found, data);
    }
}

pub fn package_headers(bytes: &[u8]) {
    packages::fuzzing::headers(bytes);
}

/// Key and package.
pub fn package_signature(bytes: &[u8]) {
    let [key, package, _] = parts(bytes);
    if let Ok(keyring) = keyring(key) {
        fetch::fuzzing::verify(package, &keyring);
    }
}

pub fn package(bytes: &[u8]) {
    packages::fuzzing::package(bytes);
}

/// Up to three, with [`NEXT`] between them.
pub fn parts(bytes: &[u8]) -> [&[u8]; 3] {
    let mut rest = bytes;
    [(); 3].map(|()| {
        let end = rest.windows(NEXT.len()).position(|window| window == NEXT);
        let part = &rest[..end.unwrap_or(rest.len())];
        rest = end.map_or(&[][..], |end| &rest[end + NEXT.len()..]);
        part
    })
}

fn keyring(bytes: &[u8]) -> Result<Keyring, signature::SignatureError> {
    let path = PathBuf::from("key");
    Keyring::new(&[KeyFile { path, bytes: bytes.to_vec(), fingerprint: None }])
}

/// A file with certificates, in any of the forms of Fedora's trust store.
pub fn ca_source(bytes: &[u8]) {
    slipway::ca_trust::fuzzing::source(bytes);
}

/// A certificate in p11-kit's form, and one in OpenSSL's trusted form.
pub fn ca_source_seeds() -> Vec<Vec<u8>> {
    vec![include_bytes!("ca.p11-kit").to_vec(), include_bytes!("ca.trusted").to_vec()]
}

pub fn recipe(bytes: &[u8]) {
    let _ = recipes::fuzzing::recipe(&String::from_utf8_lossy(bytes));
}

/// One that says everything a recipe can say.
pub fn recipe_seeds() -> Vec<Vec<u8>> {
    vec![include_bytes!("recipe.toml").to_vec(), include_bytes!("mistakes.toml").to_vec()]
}

pub fn lock(bytes: &[u8]) {
    locks::fuzzing::lock(&String::from_utf8_lossy(bytes));
}

/// One with every kind of entry.
pub fn lock_seeds() -> Vec<Vec<u8>> {
    vec![include_bytes!("lock.toml").to_vec()]
}

pub fn script(bytes: &[u8]) {
    let _ = shell::parse(&String::from_utf8_lossy(bytes), &["1".to_owned()]);
}

pub fn script_seeds() -> Vec<Vec<u8>> {
    let scripts = [
        "getent group kit >/dev/null || groupadd -r kit\nuseradd -r -g kit kit || :\nexit 0\n",
        "if [ $1 -eq 1 ] && [ -x \"/usr/bin/systemctl\" ]; then\n  systemctl preset a.service\nfi\n",
        "/sbin/ldconfig 2>/dev/null; ! test -e '/etc/a b' && echo \"$1\" \\\n  more # why\n",
    ];
    scripts.map(|script| script.as_bytes().to_vec()).to_vec()
}

/// As an install script, on a small tree.
pub fn lua(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut tree = Tree::new(0);
    if let Ok(path) = TreePath::new("/usr/share/kit/file") {
        let _ = tree.write(&path, 0o644, b"line\nline\n".to_vec());
    }
    let program = ["<lua>".to_owned()];
    let arguments = ["1".to_owned()];
    let call = Call { program: &program, text: &text, arguments: &arguments, stdin: b"/etc/a\n" };
    let _ = lua::run(&mut tree, &call);
}

pub fn lua_seeds() -> Vec<Vec<u8>> {
    let scripts = [
        "posix.mkdir(\"/etc/kit\")\nposix.symlink('../usr', '/etc/kit/link')\n\
         local st = posix.stat(\"/usr/share/kit\")\nif st and st.type == \"directory\" then\n  \
         os.rename(\"/usr/share/kit/file\", \"/usr/share/kit/other\")\nend\n",
        "local f = io.open('/usr/share/kit/file', 'r+')\nfor line in f:lines() do\n  \
         print(string.format('%s %d %q', line, #line, line:gsub('l', 'x')))\nend\nf:seek('set', 3)\n\
         f:write('text')\nf:close()\n",
        "for _, name in ipairs(posix.dir('/usr') or {}) do print(name) end\n\
         print(rpm.expand('%{_libdir}'), rpm.vercmp('1.0', '1.1'), tonumber(arg[2]))\n\
         for path in rpm.next_file do print(path) end\nposix.chmod('/usr', 'u+rwx,g=rx')\n",
    ];
    scripts.map(|script| script.as_bytes().to_vec()).to_vec()
}

pub fn library(bytes: &[u8]) {
    let _ = ldconfig::fuzzing::library(bytes);
}

/// A shared library that is nothing but its name.
pub fn library_seeds() -> Vec<Vec<u8>> {
    let mut elf = elf_header(3, 64, 2, 0, 0);
    for (kind, offset, bytes) in [(1_u32, 0_u64, 1024_u64), (2, 192, 48)] {
        elf.extend([kind, 4].map(u32::to_le_bytes).concat());
        let numbers = [offset, offset, offset, bytes, bytes, 8];
        elf.extend(numbers.map(u64::to_le_bytes).concat());
    }
    elf.resize(192, 0);
    // string table, soname, end
    elf.extend([5_u64, 512, 14, 1, 0, 0].map(u64::to_le_bytes).concat());
    elf.resize(512, 0);
    elf.extend(b"\0libfuzz.so.1\0");
    elf.resize(1024, 0);
    vec![elf]
}

/// A module that is nothing but its description, plain and compressed.
pub fn kernel_module_seeds() -> Vec<Vec<u8>> {
    let info = b"license=GPL\0depends=dm-mod,dm-bufio\0softdep=pre: crc32c post: x\0alias=fuzz\0";
    let names = b"\0.modinfo\0.shstrtab\0";
    let mut elf = elf_header(1, 0, 0, 512, 3);
    elf.extend(info);
    let names_at = elf.len() as u64;
    elf.extend(names);
    elf.resize(512, 0);
    let sections = [
        (0_u32, 0_u32, 0, 0),
        (1, 1, 64, info.len() as u64),
        (10, 3, names_at, names.len() as u64),
    ];
    for (name, kind, offset, bytes) in sections {
        elf.extend([name, kind].map(u32::to_le_bytes).concat());
        elf.extend([0, 0, offset, bytes, 0, 1, 0].map(u64::to_le_bytes).concat());
    }
    let empty_gz = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0";
    let framed = |kind: u8, bytes: &[u8]| [&[kind], bytes].concat();
    let zstd = b"\x28\xb5\x2f\xfd\x04\x00\x19\x00\x00abc\x9f\x4e\x33\x0c";
    let xz = b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4F\0\0\0\0\x1c\xdfD!\x1f\xb6\xf3}\x01\0\0\0\0\x04YZ";
    vec![framed(0, &elf), framed(1, empty_gz), framed(2, xz), framed(3, zstd)]
}

/// Header of an ELF file for x86-64.
fn elf_header(
    kind: u16,
    segments_at: u64,
    segments: u16,
    sections_at: u64,
    sections: u16,
) -> Vec<u8> {
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    elf.extend([kind, 62].map(u16::to_le_bytes).concat());
    elf.extend(1_u32.to_le_bytes());
    elf.extend([0, segments_at, sections_at].map(u64::to_le_bytes).concat());
    elf.extend([0; 4]);
    let names = sections.saturating_sub(1);
    elf.extend([64, 56, segments, 64, sections, names].map(u16::to_le_bytes).concat());
    elf
}

/// The first byte chooses how it is compressed.
pub fn kernel_module(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let suffix = ["", ".gz", ".xz", ".zst"][usize::from(first % 4)];
    let path = format!("kernel/drivers/some-module.ko{suffix}");
    if let Ok(module) = modules::decompress(&path, rest.to_vec()) {
        let mut index = ModuleIndex::default();
        let _ = index.add(&path, &module);
        let _ = index.load_order(&["some_module".to_owned()]);
    }
}

pub fn stub(bytes: &[u8]) {
    let parts = UkiParts {
        osrel: b"ID=fuzz\n",
        cmdline: b"quiet",
        uname: b"6.1.0",
        initrd: b"initrd",
        linux: b"kernel",
    };
    let _ = uki::assemble(bytes, &parts);
}

/// The least that counts as one.
pub fn stub_seeds() -> Vec<Vec<u8>> {
    let mut pe = vec![0; 1024];
    let mut put = |at: usize, bytes: &[u8]| pe[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &64_u32.to_le_bytes());
    put(64, b"PE\0\0");
    put(68 + 2, &1_u16.to_le_bytes()); // sections
    put(68 + 16, &112_u16.to_le_bytes()); // size of the optional header
    put(88, &0x20b_u16.to_le_bytes());
    put(88 + 32, &4096_u32.to_le_bytes()); // alignment of sections, of the file
    put(88 + 36, &512_u32.to_le_bytes());
    put(88 + 60, &1024_u32.to_le_bytes()); // headers
    put(200, b".text\0\0\0");
    put(200 + 8, &[0, 16, 0, 0, 0, 16]);
    vec![pe]
}
