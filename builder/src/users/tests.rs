//! `systemd-sysusers` judges declared accounts; shadow-utils' own results the
//! others.

use std::fs;
use std::process::Command;

use super::*;
use crate::tree::testing::{materialise, tree};

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/:/usr/sbin/nologin\n";
const GROUP: &str = "root:x:0:\ndaemon:x:1:\nadm:x:4:zed\nused:x:997:\n";
const SHADOW: &str = "root:*:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\n";
const GSHADOW: &str = "root:*::\ndaemon:*::\nadm:*::zed\nused:!::\n";
const BASIC: &str = "# basics\ng adm 4 - -\ng wheel - - -\ng kvm 61 - -\nu root 0:0 \"Super User\" /root\n\
     u nobody 65534:65534 \"Kernel Overflow User\" -\nm alice adm\nm zoe wheel\n";
const NETWORK: &str = "u systemd-network - \"systemd Network Management\"\n\
     u systemd-resolve 193 \"systemd Resolver\" / /bin/false\nu clash 1 -\nu grouped -:wheel 'In a group' /srv\n\
     u numbered 400:4\nu taken 997:4\nu wheel 0 Same\nu alice 500 Alice\n";

fn etc() -> Tree {
    let mut tree = tree(&[
        ("/etc/passwd", PASSWD),
        ("/etc/group", GROUP),
        ("/etc/shadow", SHADOW),
        ("/etc/gshadow", GSHADOW),
        ("/usr/lib/sysusers.d/basic.conf", BASIC),
        ("/usr/lib/sysusers.d/network.conf", NETWORK),
        ("/usr/lib/sysusers.d/off.conf", "u never - -\n"),
    ]);
    let off = TreePath::new("/etc/sysusers.d/off.conf").unwrap();
    tree.symlink(&off, "/dev/null").unwrap();
    tree
}

#[test]
fn declared_accounts_are_those_systemd_makes() {
    let mut tree = etc();
    let folder = tempfile::tempdir().unwrap();
    materialise(&tree, folder.path());
    let root = format!("--root={}", folder.path().display());
    let epoch = tree.default_mtime();
    let tool = Command::new("systemd-sysusers")
        .arg(root)
        .env("SOURCE_DATE_EPOCH", epoch.to_string())
        .output();
    let Ok(out) = tool else {
        skip::because("systemd-sysusers is not installed");
        return;
    };
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let mut accounts = Accounts::read(&tree, epoch).unwrap();
    accounts.sysusers(&tree).unwrap();
    accounts.write(&mut tree).unwrap();
    for (path, _) in FILES {
        let theirs = fs::read_to_string(folder.path().join(&path[1..])).unwrap();
        let ours = String::from_utf8(tree.read(path, 1 << 20).unwrap()).unwrap();
        // The day is of today in versions that do not heed the variable.
        let plain = |text: &str| text.replace(&(epoch / 86_400).to_string(), "DAY");
        let today = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() / 86_400;
        assert_eq!(plain(&ours), plain(&theirs.replace(&today.to_string(), "DAY")), "{path}");
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[test]
fn useradd_and_groupadd_number_downwards() {
    let mut tree = etc();
    let mut accounts = Accounts::read(&tree, 86_400 * 20_000).unwrap();
    accounts.groupadd(&GroupAdd::parse(&words("-r messagebus")).unwrap()).unwrap();
    let call = "-r -g messagebus -d /nonexistent -s /usr/sbin/nologin -c Bus -G adm messagebus";
    let call = UserAdd::parse(&words(call)).unwrap();
    accounts.useradd(&call).unwrap();
    accounts.useradd(&call).unwrap();
    accounts.useradd(&UserAdd::parse(&words("-rM -u 150 --shell=/bin/sh other")).unwrap()).unwrap();
    accounts.groupadd(&GroupAdd::parse(&words("--system third")).unwrap()).unwrap();
    accounts.groupadd(&GroupAdd::parse(&words("-r -f fourth")).unwrap()).unwrap();
    accounts.write(&mut tree).unwrap();
    let text = |path| String::from_utf8(tree.read(path, 9999).unwrap()).unwrap();
    let added = "messagebus:x:999:996:Bus:/nonexistent:/usr/sbin/nologin\n\
                 other:x:150:150::/home/other:/bin/sh\n";
    assert_eq!(text("/etc/passwd"), format!("{PASSWD}{added}"));
    let groups = GROUP.replace(":zed", ":zed,messagebus");
    let added = "messagebus:x:996:\nother:x:150:\nthird:x:149:\nfourth:x:148:\n";
    assert_eq!(text("/etc/group"), format!("{groups}{added}"));
    assert!(text("/etc/shadow").ends_with("messagebus:!:20000::::::\nother:!:20000::::::\n"));
    assert!(text("/etc/gshadow").ends_with("other:!::\nthird:!::\nfourth:!::\n"));
    assert_eq!(tree.get("/etc/shadow").unwrap().meta.mode, 0o644, "kept as it was");
}

#[test]
fn what_would_break_the_files_is_refused() {
    let mut accounts = Accounts::read(&etc(), 0).unwrap();
    let call = |name: &str, comment: &str| UserAdd {
        name: name.to_owned(),
        comment: comment.to_owned(),
        ..UserAdd::default()
    };
    assert!(accounts.useradd(&call("a:b", "")).is_err());
    assert!(accounts.useradd(&call("", "")).is_err());
    assert!(accounts.useradd(&call("fine", "x\ny")).is_err());
    assert!(UserAdd::parse(&words("--prefix /x name")).is_none());
    assert!(UserAdd::parse(&words("two names")).is_none());
    let broken = tree(&[("/etc/passwd", "root:x:zero:0:::\n")]);
    assert!(Accounts::read(&broken, 0).is_err());
}

#[test]
fn declarations_without_end_are_refused() {
    let declared = |count: usize| {
        let lines = "g same 5\n".repeat(count);
        let tree = tree(&[("/usr/lib/sysusers.d/a.conf", &lines)]);
        Accounts::read(&tree, 0).unwrap().sysusers(&tree).map_err(|error| error.to_string())
    };
    assert_eq!(declared(5_000), Ok(()));
    let error = declared(5_001).unwrap_err();
    assert!(error.starts_with("/usr/lib/sysusers.d/a.conf: with it"), "{error}");
}
