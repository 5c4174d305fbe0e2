//! Small RPMs made from nothing, as a signed repository: one package for each
//! thing a builder must understand. `DIR` itself holds good ones; `DIR/bad` ones
//! that must be refused one by one; `DIR/forged` metadata signed by a stranger.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rpm::{CompressionWithLevel, Dependency, Package};

use crate::cache::StagedFolder;
use crate::convert::preset_scripts;
use crate::demo_list::MADE_TIME;
use crate::metadata::{ListedPackage, PUBLIC_KEY_NAME, write_repodata};
use crate::pgp_key::SigningKey;
use crate::rpm_package::{Content, PackageFile, Role, RpmPackage, Script, file_name};

mod engines;
mod transaction;

/// Writes the repositories to `folder`, replacing what an earlier run wrote.
pub fn write(folder: &Path) -> Result<()> {
    let occupied = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if occupied && !folder.join(PUBLIC_KEY_NAME).is_file() {
        bail!("{} holds something else", folder.display());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    let staged = StagedFolder::new_in(parent.unwrap_or(Path::new(".")))?;
    let key = SigningKey::generate("Synthetic packages <synthetic@example.invalid>")?;
    let stranger = SigningKey::generate("A stranger <stranger@example.invalid>")?;
    good_repository(staged.path(), &key)?;
    bad_repository(&staged.path().join("bad"), &key, &stranger)?;
    forged_repository(&staged.path().join("forged"), &key, &stranger)?;
    staged.publish(folder)
}

fn good_repository(top: &Path, key: &SigningKey) -> Result<()> {
    let mut listed = Vec::new();
    for package in good_packages() {
        let package = package.build_signed(key)?;
        listed.push(store(&package, &bytes_of(&package)?, top)?);
    }
    write_repodata(top, listed, key, u64::from(MADE_TIME))
}

/// One package for each way of being bad; all are listed, none may be used.
fn bad_repository(top: &Path, key: &SigningKey, stranger: &SigningKey) -> Result<()> {
    let sign = |name: &str, by: &SigningKey| with_file(name).build_signed(by);
    let other_key = sign("other-key", stranger)?;
    let unsigned = with_file("unsigned").build()?;
    let truncated = sign("truncated", key)?;
    let wrong_digest = sign("wrong-digest", key)?;
    let mut listed = Vec::new();
    for package in [&other_key, &unsigned, &wrong_digest] {
        listed.push(store(package, &bytes_of(package)?, top)?);
    }
    let wrong = listed.pop().context("the last of three")?;
    listed.push(wrong.with_wrong_digest());
    let whole = bytes_of(&truncated)?;
    listed.push(store(&truncated, &whole, top)?);
    let cut = top.join(location(&truncated)?);
    fs::write(&cut, &whole[..whole.len() / 2])
        .with_context(|| format!("cannot write {}", cut.display()))?;
    write_repodata(top, listed, key, u64::from(MADE_TIME))
}

/// A good package, but the metadata's signature is a stranger's; the key beside
/// it is the trusted one.
fn forged_repository(top: &Path, key: &SigningKey, stranger: &SigningKey) -> Result<()> {
    let package = with_file("basic").build_signed(key)?;
    let listed = store(&package, &bytes_of(&package)?, top)?;
    write_repodata(top, vec![listed], stranger, u64::from(MADE_TIME))?;
    let path = top.join(PUBLIC_KEY_NAME);
    fs::write(&path, key.public_armored()?)
        .with_context(|| format!("cannot write {}", path.display()))
}

fn bytes_of(package: &Package) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    package.write(&mut bytes)?;
    Ok(bytes)
}

fn location(package: &Package) -> Result<String> {
    Ok(format!("Packages/{}", file_name(package)?))
}

pub(crate) fn store(package: &Package, bytes: &[u8], top: &Path) -> Result<ListedPackage> {
    let location = location(package)?;
    let path = top.join(&location);
    fs::create_dir_all(top.join("Packages"))
        .and_then(|()| fs::write(&path, bytes))
        .with_context(|| format!("cannot write {}", path.display()))?;
    ListedPackage::new(package, bytes, &location)
}

fn good_packages() -> Vec<RpmPackage> {
    let composing = [transaction::packages(), engines::packages()].concat();
    [programs(), dependencies(), versions(), files(), scripts(), relations(), payloads(), composing]
        .concat()
}

fn package(name: &str) -> RpmPackage {
    let mut package = RpmPackage::new(name, "1.0", "1", "noarch");
    package.summary = format!("Synthetic package {name}");
    package.description = "Made for tests; it does nothing.".into();
    package.license = "MIT".into();
    package
}

fn file(path: &str, text: &str) -> PackageFile {
    PackageFile::new(path, Content::Regular(text.as_bytes().to_vec()), MADE_TIME)
}

fn with_mode(mut file: PackageFile, mode: u16) -> PackageFile {
    file.mode = mode;
    file
}

fn link(path: &str, target: &str) -> PackageFile {
    PackageFile::new(path, Content::Symlink(target.into()), MADE_TIME)
}

fn directory(path: &str) -> PackageFile {
    PackageFile::new(path, Content::Directory, MADE_TIME)
}

/// A package with one file of its own.
fn with_file(name: &str) -> RpmPackage {
    let mut made = package(name);
    made.files.push(file(&format!("/usr/share/synthetic/{name}"), &format!("{name}\n")));
    made
}

/// What everything else counts on: a basic package, and one that stands for the
/// programs scriptlets name.
fn programs() -> Vec<RpmPackage> {
    let mut basic = with_file("basic");
    basic.files.push(directory("/usr/share/synthetic"));
    basic.files.push(with_mode(file("/usr/bin/basic-tool", "#!/bin/sh\n"), 0o755));
    let mut config = file("/etc/basic.conf", "answer = 42\n");
    config.role = Role::Config;
    let mut doc = file("/usr/share/doc/basic/README", "Read me.\n");
    doc.role = Role::Doc;
    basic.files.extend([config, doc]);
    let mut base = package("base");
    let names = ["/bin/sh", "/sbin/ldconfig", "shadow-utils", "systemd", "system-release"];
    base.provides.extend(names.map(Dependency::any));
    vec![basic, base]
}

/// Every way of needing another package.
fn dependencies() -> Vec<RpmPackage> {
    let mut library = RpmPackage { arch: "x86_64".into(), ..package("library") };
    library.provides.push(Dependency::any("libsynthetic.so.1()(64bit)"));
    library.files.push(with_mode(file("/usr/lib64/libsynthetic.so.1.0", "no real ELF\n"), 0o755));
    library.files.push(link("/usr/lib64/libsynthetic.so.1", "libsynthetic.so.1.0"));
    library.scripts.post = Some(Script::program("/sbin/ldconfig"));
    library.scripts.postun = Some(Script::program("/sbin/ldconfig"));
    let needing = |name: &str, needs: &[Dependency]| {
        let mut made = with_file(name);
        made.requires.extend_from_slice(needs);
        made
    };
    vec![
        library,
        needing(
            "needs-version",
            &[Dependency::greater_eq("basic", "1.0"), Dependency::less("basic", "2.0")],
        ),
        needing("needs-file", &[Dependency::any("/usr/bin/basic-tool")]),
        needing("needs-soname", &[Dependency::any("libsynthetic.so.1()(64bit)")]),
        needing("needs-epoch", &[Dependency::greater_eq("epochal", "1:0.1")]),
        needing("needs-tilde", &[Dependency::greater_eq("tilde", "1.0~rc1")]),
        needing("needs-caret", &[Dependency::greater("caret", "1.0")]),
        needing(
            "needs-rich",
            &[Dependency::any("(needs-file or nowhere)"), Dependency::any("(library if basic)")],
        ),
        needing("needs-nowhere", &[Dependency::any("nowhere")]),
    ]
}

/// Names with two versions, the later one not the one that looks later.
fn versions() -> Vec<RpmPackage> {
    let versions = [
        ("epochal", 1, "0.5"),
        ("epochal", 0, "2.0"),
        ("tilde", 0, "1.0~rc1"),
        ("tilde", 0, "1.0"),
        ("caret", 0, "1.0^20240101"),
        ("caret", 0, "1.0"),
    ];
    let made = versions.map(|(name, epoch, version)| {
        let mut made = with_file(name);
        made.epoch = epoch;
        made.version = version.into();
        made
    });
    made.to_vec()
}

/// Every kind of file.
fn files() -> Vec<RpmPackage> {
    let mut setuid = package("setuid");
    setuid.files.push(with_mode(file("/usr/bin/synthetic-su", "su\n"), 0o4755));
    setuid.files.push(with_mode(directory("/var/spool/synthetic"), 0o1777));
    let mut capable = package("capable");
    let mut ping = with_mode(file("/usr/bin/synthetic-ping", "ping\n"), 0o755);
    ping.capabilities = Some("cap_net_raw=ep".into());
    capable.files.push(ping);
    let mut hard_links = package("hard-links");
    for name in ["a", "b", "c"] {
        let content = Content::HardLink { set: "abc".into(), bytes: b"one inode\n".to_vec() };
        let path = format!("/usr/share/hard-links/{name}");
        hard_links.files.push(PackageFile::new(&path, content, MADE_TIME));
    }
    let mut ghosts = package("ghosts");
    let ghost = PackageFile::new("/var/log/synthetic.log", Content::Ghost, MADE_TIME);
    ghosts.files.extend([with_mode(ghost, 0o640), file("/usr/share/ghosts/solid", "solid\n")]);
    let mut links = package("symlinks");
    links.files.extend([
        directory("/usr/share/symlinks"),
        file("/usr/share/symlinks/file", "file\n"),
        link("/usr/share/symlinks/relative", "file"),
        link("/usr/share/symlinks/absolute", "/usr/share/symlinks/file"),
        link("/usr/share/symlinks/dangling", "../nothing"),
    ]);
    vec![setuid, capable, hard_links, ghosts, links]
}

/// The scriptlet idioms, and some that are none.
fn scripts() -> Vec<RpmPackage> {
    let mut users = package("users-pre");
    users.requires.push(Dependency::script_pre("shadow-utils"));
    users.scripts.pre = Some(Script::shell(
        "getent group synthetic >/dev/null || groupadd -r synthetic\n\
         getent passwd synthetic >/dev/null || useradd -r -g synthetic -d /var/lib/synthetic \
         -s /sbin/nologin -c \"Synthetic user\" synthetic\nexit 0",
    ));
    let mut home = with_mode(directory("/var/lib/synthetic"), 0o750);
    (home.user, home.group) = ("synthetic".into(), "synthetic".into());
    users.files.push(home);
    let mut sysusers = package("users-sysusers");
    let line = "u declared - \"Declared user\" /var/lib/declared\n";
    sysusers.files.push(file("/usr/lib/sysusers.d/declared.conf", line));
    let mut unit = package("unit");
    let text = "[Unit]\nDescription=Synthetic\n\n[Service]\nExecStart=/usr/bin/basic-tool\n\n\
                [Install]\nWantedBy=multi-user.target\n";
    unit.files.push(file("/usr/lib/systemd/system/synthetic.service", text));
    unit.files.push(file(
        "/usr/lib/systemd/system-preset/80-synthetic.preset",
        "enable synthetic.service\n",
    ));
    preset_scripts("synthetic.service", &mut unit);
    let mut lua = with_file("lua-post");
    lua.scripts.post =
        Some(Script::lua("posix.symlink(\"lua-post\", \"/usr/share/synthetic/lua-link\")"));
    let mut ldconfig = with_file("ldconfig-body");
    ldconfig.scripts.post = Some(Script::shell("/sbin/ldconfig"));
    let mut odd = with_file("odd-post");
    odd.scripts.post = Some(Script::shell("echo made > /usr/share/synthetic/odd-made"));
    let mut trigger = with_file("file-trigger");
    trigger.triggers.push(("/usr/lib/sysusers.d".into(), "systemd-sysusers || :".into()));
    vec![users, sysusers, unit, lua, ldconfig, odd, trigger]
}

/// Packages that do not go together, or replace one another.
fn relations() -> Vec<RpmPackage> {
    let mut rival = with_file("rival-a");
    rival.conflicts.push(Dependency::any("rival-b"));
    let mut renamed = RpmPackage { version: "2.0".into(), ..with_file("new-name") };
    renamed.obsoletes.push(Dependency::less("old-name", "2.0"));
    renamed.provides.push(Dependency::eq("old-name", "2.0-1"));
    let mut clash = package("file-clash");
    clash.files.push(file("/usr/share/synthetic/basic", "not the same\n"));
    vec![rival, with_file("rival-b"), renamed, with_file("old-name"), clash]
}

/// The same file in every compression.
fn payloads() -> Vec<RpmPackage> {
    let compressions = [
        ("payload-gzip", CompressionWithLevel::Gzip(9)),
        ("payload-xz", CompressionWithLevel::Xz(2)),
        ("payload-zstd", CompressionWithLevel::Zstd(19)),
        ("payload-plain", CompressionWithLevel::None),
    ];
    let text: String = (0..5000).map(|line| format!("line {line}\n")).collect();
    let made = compressions.map(|(name, compression)| {
        let mut made = package(name);
        made.files.push(file(&format!("/usr/share/{name}"), &text));
        made.compression = compression;
        made
    });
    made.to_vec()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::process::output;

    fn checksig(database: &Path, package: &Path) -> Result<String> {
        let define = format!("_dbpath {}", database.display());
        output(Command::new("rpmkeys").args(["--define", &define, "--checksig"]).arg(package))
    }

    #[test]
    fn rpm_accepts_the_good_and_refuses_the_bad() {
        if Command::new("rpmkeys").arg("--version").output().is_err() {
            skip::because("no rpmkeys");
            return;
        }
        let scratch = tempfile::tempdir().unwrap();
        let (folder, database) = (scratch.path().join("all"), scratch.path().join("db"));
        write(&folder).unwrap();
        write(&folder).unwrap();
        let define = format!("_dbpath {}", database.display());
        let key = folder.join(PUBLIC_KEY_NAME);
        output(Command::new("rpmkeys").args(["--define", &define, "--import"]).arg(key)).unwrap();
        for entry in fs::read_dir(folder.join("Packages")).unwrap() {
            checksig(&database, &entry.unwrap().path()).unwrap();
        }
        let bad = folder.join("bad/Packages");
        for name in ["other-key", "truncated"] {
            let path = bad.join(format!("{name}-1.0-1.noarch.rpm"));
            assert!(checksig(&database, &path).is_err(), "{name}");
        }
        let unsigned = checksig(&database, &bad.join("unsigned-1.0-1.noarch.rpm")).unwrap();
        assert!(!unsigned.contains("signatures"), "{unsigned}");
        // Good in itself: only the repository says otherwise.
        checksig(&database, &bad.join("wrong-digest-1.0-1.noarch.rpm")).unwrap();
    }

    #[test]
    fn rpm_sees_what_was_said() {
        if Command::new("rpm").arg("--version").output().is_err() {
            skip::because("no rpm");
            return;
        }
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("all");
        write(&folder).unwrap();
        let query = |name: &str, options: &[&str]| {
            let path = folder.join(format!("Packages/{name}.rpm"));
            output(Command::new("rpm").args(["-qp", "--nosignature"]).args(options).arg(path))
                .unwrap()
        };
        let scripts = query("library-1.0-1.x86_64", &["--scripts"]);
        assert_eq!(
            scripts,
            "postinstall program: /sbin/ldconfig\npostuninstall program: /sbin/ldconfig\n"
        );
        let lua = query("lua-post-1.0-1.noarch", &["--scripts"]);
        assert!(lua.starts_with("postinstall scriptlet (using <lua>):"), "{lua}");
        let capabilities = query("capable-1.0-1.noarch", &["--filecaps"]);
        assert!(capabilities.contains("cap_net_raw=ep"), "{capabilities}");
        let recommends = query("users-pre-1.0-1.noarch", &["--recommends"]);
        assert_eq!(recommends, "");
        let payload = query("hard-links-1.0-1.noarch", &["--queryformat", "[%{FILEINODES} ]"]);
        assert_eq!(payload, "1 1 1 ");
    }
}
