//! p11-kit's own program judges, given the same files.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::certificate::Certificate;
use super::*;
use crate::tree::testing;

const EPOCH: u64 = 1_600_000_000;
const UPDATE: &str = "#!/bin/sh
# comment
DEST=/etc/pki/ca-trust/extracted
export P11_KIT_NO_USER_CONFIG=1
/usr/bin/p11-kit extract --format=openssl-bundle --filter=certificates --overwrite --comment $DEST/openssl/ca-bundle.trust.crt
/usr/bin/p11-kit extract --format=pem-bundle --filter=ca-anchors --overwrite --comment --purpose server-auth $DEST/pem/tls-ca-bundle.pem
/usr/bin/p11-kit extract --format=pem-bundle --filter=ca-anchors --overwrite --comment --purpose email $DEST/pem/email-ca-bundle.pem
/usr/bin/p11-kit extract --format=pem-bundle --filter=ca-anchors --overwrite --comment --purpose code-signing $DEST/pem/objsign-ca-bundle.pem
/usr/bin/p11-kit extract --format=java-cacerts --filter=ca-anchors --overwrite --purpose server-auth $DEST/java/cacerts
/usr/bin/p11-kit extract --format=edk2-cacerts --filter=ca-anchors --overwrite --purpose=server-auth $DEST/edk2/cacerts.bin
";
const EXTRACTED: [&str; 4] = ["edk2", "java", "openssl", "pem"];

/// A tree with p11-kit's programs, or what tells that they are there.
fn tree(sources: &[(&str, Vec<u8>)]) -> Tree {
    let mut tree = Tree::new(EPOCH);
    let module = format!("\0{}\0blocklist\0nss-server-distrust-after\0", SOURCES.join(":"));
    let mut put = |path: &str, mode, bytes: &[u8]| {
        tree.write(&TreePath::new(path).unwrap(), mode, bytes.to_vec()).unwrap();
    };
    put(SCRIPT, 0o755, UPDATE.as_bytes());
    PROGRAMS.iter().for_each(|program| put(program, 0o755, b"x"));
    put(MODULES[1], 0o755, module.as_bytes());
    put(DECLARED, 0o644, b"module: p11-kit-trust.so\ntrust-policy: yes\nx-init-reserved:\n");
    sources.iter().for_each(|(path, bytes)| put(path, 0o644, bytes));
    for source in SOURCES {
        for folder in [ANCHORS, BLOCKED[0]] {
            if tree.resolve(&format!("{source}/{folder}")).is_none() {
                testing::directory(&mut tree, &format!("{source}/{folder}"));
            }
        }
    }
    for folder in EXTRACTED {
        testing::directory(&mut tree, &format!("/etc/pki/ca-trust/extracted/{folder}"));
    }
    tree
}

/// Has p11-kit make the same files below `root`, of the sources there.
fn by_p11_kit(root: &Path) -> bool {
    let paths = SOURCES.map(|source| format!("{}{source}", root.display())).join(":");
    let module = root.join("p11-kit-trust.module");
    let text =
        format!("module: p11-kit-trust.so\ntrust-policy: yes\nx-init-reserved: paths='{paths}'\n");
    fs::write(&module, text).unwrap();
    let destination = format!("{}/etc/pki/ca-trust/extracted/", root.display());
    UPDATE.lines().filter(|line| line.starts_with("/usr/bin/p11-kit")).all(|line| {
        let words = line.split_whitespace().skip(1);
        let mut bwrap = Command::new("bwrap");
        bwrap
            .args(["--dev-bind", "/", "/", "--ro-bind"])
            .arg(&module)
            .args([DECLARED, "/usr/bin/trust"]);
        bwrap.args(words.map(|word| word.replace("$DEST/", &destination)));
        bwrap.env("SOURCE_DATE_EPOCH", EPOCH.to_string()).env("P11_KIT_NO_USER_CONFIG", "1");
        bwrap.status().is_ok_and(|status| status.success())
    })
}

/// Compares all six files; how many bytes they have.
fn judge(sources: &[(&str, Vec<u8>)]) -> Option<usize> {
    let mut tree = tree(sources);
    let folder = tempfile::tempdir().unwrap();
    testing::materialise(&tree, folder.path());
    if !by_p11_kit(folder.path()) {
        skip::because("p11-kit or bubblewrap is not there");
        return None;
    }
    update(&mut tree).unwrap();
    let mut bytes = 0;
    for line in UPDATE.lines().filter(|line| line.contains("$DEST/")) {
        let path = format!("/etc/pki/ca-trust/extracted/{}", line.split("$DEST/").nth(1).unwrap());
        let ours = tree.read(&path, 1 << 30).unwrap();
        let theirs = fs::read(folder.path().join(&path[1..])).unwrap();
        let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if ours != theirs {
            let (ours, theirs) = (show(&ours), show(&theirs));
            let first = ours.lines().zip(theirs.lines()).find(|(a, b)| a != b);
            panic!("{path}: {} and {} bytes, {first:?}", ours.len(), theirs.len());
        }
        assert_eq!(tree.get(&path).unwrap().meta.mode, 0o444);
        bytes += ours.len();
    }
    Some(bytes)
}

/// Debian's certificates of Mozilla's, by name.
fn mozilla() -> Vec<(String, String)> {
    let Ok(entries) = fs::read_dir("/usr/share/ca-certificates/mozilla") else {
        return Vec::new();
    };
    let mut found: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

fn der(pem_text: &str) -> Vec<u8> {
    pem::blocks(pem_text).unwrap().remove(0).bytes
}

fn quoted(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02x}")).collect()
}

/// OpenSSL's trusted form of a certificate.
fn openssl_trusted(pem_text: &str, options: &[&str]) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pem");
    fs::write(&path, pem_text).unwrap();
    let mut openssl = Command::new("openssl");
    let made =
        openssl.args(["x509", "-trustout"]).args(options).arg("-in").arg(&path).output().ok()?;
    made.status.success().then(|| String::from_utf8(made.stdout).unwrap())
}

#[test]
fn all_of_mozillas_certificates_as_fedora_ships_them() {
    let all = mozilla();
    if all.len() < 20 {
        return skip::because("Debian's ca-certificates are not there");
    }
    let mut text = "# This is a bundle\n".to_owned();
    for (at, (name, pem_text)) in all.iter().enumerate() {
        let certificate = der(pem_text);
        let read = Certificate::read(&certificate).unwrap();
        let key = pem::write("PUBLIC KEY", read.public_key);
        text += &format!(
            "[p11-kit-object-v1]\nlabel: \"{name}\"\ntrusted: {}\nx-distrusted: {}\n\
             nss-mozilla-ca-policy: true\nmodifiable: false\n\
             nss-server-distrust-after: \"%00\"\n{pem_text}\n",
            at % 7 != 3,
            at % 7 == 5,
        );
        let purposes: &[&str] = match at % 5 {
            0 => continue,
            1 => &["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.4"],
            2 => &["1.3.6.1.5.5.7.3.3"],
            3 => &["2.5.29.37.0"],
            _ => &[],
        };
        let purposes: Vec<String> = purposes.iter().map(|one| (*one).to_owned()).collect();
        let object::Object::Attached { extension, .. } = object::attach(
            read.public_key,
            certificate::EXTENDED_KEY_USAGE,
            false,
            &usages::write(&purposes).unwrap(),
        )
        .unwrap() else {
            panic!("no extension")
        };
        text += &format!(
            "[p11-kit-object-v1]\nlabel: \"{name}\"\nclass: x-certificate-extension\n\
             object-id: 2.5.29.37\nvalue: \"{}\"\nmodifiable: false\n{key}\n",
            quoted(&extension)
        );
    }
    // A certificate that is only named, and blocks one that is there.
    let named = der(&all[8].1);
    let named = Certificate::read(&named).unwrap();
    text += &format!(
        "[p11-kit-object-v1]\nlabel: \"blocked\"\nclass: certificate\ncertificate-type: x-509\n\
         modifiable: false\nissuer: \"{}\"\nserial-number: \"{}\"\nx-distrusted: true\n",
        quoted(named.issuer),
        quoted(named.serial)
    );
    let bundle = "/usr/share/pki/ca-trust-source/ca-bundle.trust.p11-kit";
    if let Some(bytes) = judge(&[(bundle, text.into_bytes())]) {
        assert!(bytes > 300_000, "{bytes}");
    }
}

#[test]
fn every_form_and_place_of_a_source() {
    let all = mozilla();
    if all.len() < 20 {
        return skip::because("Debian's ca-certificates are not there");
    }
    let options: [&[&str]; 6] = [
        &["-addtrust", "serverAuth", "-addtrust", "emailProtection", "-setalias", "Two Uses"],
        &["-addtrust", "serverAuth", "-addreject", "emailProtection", "-addreject", "codeSigning"],
        &["-addreject", "serverAuth", "-setalias", "Nothing"],
        &["-addtrust", "anyExtendedKeyUsage", "-setalias", "two uses"],
        &["-setalias", "Only a Name"],
        &[
            "-addtrust",
            "clientAuth",
            "-addtrust",
            "timeStamping",
            "-addtrust",
            "codeSigning",
            "-addtrust",
            "serverAuth",
            "-addreject",
            "serverAuth",
        ],
    ];
    let trusted = options.iter().zip(&all).map(|(options, (_, pem))| openssl_trusted(pem, options));
    let Some(trusted) = trusted.collect::<Option<Vec<_>>>() else {
        return skip::because("openssl is not there");
    };
    let pem = |range: std::ops::Range<usize>| -> Vec<u8> {
        all[range].iter().map(|(_, pem)| format!("# {pem}")).collect::<String>().into_bytes()
    };
    let [own, shipped] = SOURCES;
    let sources = [
        (format!("{own}/README"), b"This folder is for certificates.\n".to_vec()),
        (format!("{own}/trusted.crt"), trusted.concat().into_bytes()),
        (format!("{own}/anchors/pem.crt"), pem(6..14)),
        (format!("{own}/blocklist/one.der"), der(&all[9].1)),
        (format!("{shipped}/anchors/again.pem"), pem(4..18)),
        (format!("{shipped}/blocklist/two.pem"), pem(16..18)),
    ];
    let sources: Vec<_> =
        sources.iter().map(|(path, bytes)| (path.as_str(), bytes.clone())).collect();
    if let Some(bytes) = judge(&sources) {
        assert!(bytes > 50_000, "{bytes}");
    }
    for source in SOURCES {
        let own: Vec<_> =
            sources.iter().filter(|(path, _)| path.starts_with(source)).cloned().collect();
        judge(&own);
    }
    judge(&[]);
}

#[test]
fn what_is_not_known_is_left_to_the_script() {
    let refused = |change: &dyn Fn(&mut Tree), expected: &str| {
        let mut tree = tree(&[]);
        change(&mut tree);
        let error = update(&mut tree).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let write = |path: &'static str, text: &'static str| {
        move |tree: &mut Tree| {
            tree.write(&TreePath::new(path).unwrap(), 0o755, text.as_bytes().to_vec()).unwrap();
        }
    };
    refused(&write(SCRIPT, "echo $(date)\n"), "its line");
    refused(&write(SCRIPT, "/usr/bin/trust extract --format=pem-directory-hash /x\n"), "its line");
    refused(&write(MODULES[1], "another"), "from elsewhere");
    refused(&write(MODULES[0], "another"), "exactly one");
    refused(&write("/etc/pkcs11/modules/a.module", "trust-policy: yes"), "a.module");
    let source = "/etc/pki/ca-trust/source/a";
    refused(
        &write(source, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        "malformed",
    );
    refused(&write(source, "[p11-kit-object-v1]\nclass: nss-trust\n"), "another class");
    refused(&write(source, "[p11-kit-object-v1]\nfoo: bar\n"), "not known");
}

#[test]
fn legacy_certificates_are_chosen_by_a_link() {
    let script = "LCFILE=/etc/pki/ca-trust/ca-legacy.conf\n\
                  LLINK=/etc/pki/ca-trust/source/ca-bundle.legacy.crt\n\
                  LDEFAULT=/usr/share/pki/ca-trust-legacy/ca-bundle.legacy.default.crt\n\
                  LDISABLE=/usr/share/pki/ca-trust-legacy/ca-bundle.legacy.disable.crt\n\
                  \tln -sf $LDEFAULT $LLINK\n";
    let link = "/etc/pki/ca-trust/source/ca-bundle.legacy.crt";
    for (settings, expected) in
        [("legacy=default\n", "default"), ("#\nLegacy = DISABLE \n", "disable")]
    {
        let mut tree = tree(&[("/etc/pki/ca-trust/ca-legacy.conf", settings.into())]);
        assert!(install_legacy(&mut tree).is_err());
        let path = TreePath::new("/usr/bin/ca-legacy").unwrap();
        tree.write(&path, 0o755, script.into()).unwrap();
        for _ in 0..2 {
            install_legacy(&mut tree).unwrap();
        }
        let Node::Symlink(target) = &tree.get(link).unwrap().node else { panic!("no link") };
        assert!(target.contains(expected), "{target}");
    }
}
