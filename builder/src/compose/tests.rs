//! Packages made on the spot, composed; `rpm` judges.

use std::path::Path;

use rpm::FileOptions;

use super::*;
use crate::package::testing::{TIME, directory, file, link, package};
use crate::tree::Node;

fn options() -> Options {
    Options { source_date_epoch: u64::from(TIME) + 1000 }
}

fn base(folder: &Path) -> Package {
    package(folder, "filesystem", |builder| {
        for path in ["/usr", "/usr/lib", "/usr/bin", "/etc", "/var"] {
            directory(builder, path);
        }
        link(builder, "/lib", "usr/lib");
        link(builder, "/bin", "usr/bin");
        file(builder, "/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
        file(builder, "/etc/group", "root:x:0:\nadm:x:4:\n");
    })
}

fn text(tree: &Tree, path: &str) -> String {
    String::from_utf8(tree.read(path, 1 << 20).unwrap()).unwrap()
}

#[test]
fn owners_links_and_capabilities_come_from_the_headers() {
    let folder = tempfile::tempdir().unwrap();
    let kit = package(folder.path(), "a-kit", |builder| {
        let own =
            |path: &str, mode| FileOptions::new(path).permissions(mode).user("kit").group("adm");
        builder.with_file_contents("x", own("/lib/kit/data", 0o640)).unwrap();
        builder.with_file_contents("x", own("/bin/kit", 0o6755)).unwrap();
        let other = FileOptions::new("/bin/lost").permissions(0o6755).user("nobody-knows");
        builder.with_file_contents("x", other).unwrap();
        let caps = FileOptions::new("/bin/ping").permissions(0o755).caps("cap_net_raw=ep");
        builder.with_file_contents("x", caps.unwrap()).unwrap();
        for name in ["/bin/one", "/usr/bin/two"] {
            let options = FileOptions::new(name).permissions(0o755).hardlink("set");
            builder.with_file_contents("linked", options).unwrap();
        }
        builder.with_ghost(FileOptions::ghost("/var/kit.log")).unwrap();
        builder.pre_install_script(
            "getent group kit >/dev/null || groupadd -r kit\n\
             getent passwd kit >/dev/null || useradd -r -g kit -d / -s /sbin/nologin kit\n",
        );
    });
    let composed = compose(&[kit, base(folder.path())], &options()).unwrap();
    let tree = &composed.tree;
    let data = tree.get("/usr/lib/kit/data").unwrap();
    assert_eq!((data.meta.uid, data.meta.gid, data.meta.mode), (999, 4, 0o640));
    assert_eq!(data.meta.mtime, u64::from(TIME));
    assert_eq!(tree.get("/usr/bin/kit").unwrap().meta.mode, 0o6755);
    assert_eq!(tree.get("/usr/bin/lost").unwrap().meta.mode, 0o2755, "setuid for root is lost");
    assert_eq!(composed.report.unknown_owners.len(), 1);
    assert!(tree.get("/usr/bin/ping").unwrap().meta.xattrs.contains_key("security.capability"));
    assert_eq!(tree.locate("/usr/bin/one"), tree.locate("/bin/two"));
    assert!(tree.get("/var/kit.log").is_none());
    assert!(matches!(&tree.get("/lib").unwrap().node, Node::Symlink(to) if to == "usr/lib"));
    assert!(text(tree, "/etc/passwd").ends_with("kit:x:999:999::/:/sbin/nologin\n"));
    assert_eq!(composed.report.accounts, ["group kit (999)", "user kit (999)"]);
    assert_eq!(composed.report.handled.len(), 1);
}

#[test]
fn the_order_of_packages_does_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        package(folder.path(), name, |builder| {
            directory(builder, "/usr/share");
            file(builder, "/usr/share/common", "same");
            file(builder, &format!("/lib/{name}"), name);
            builder.pre_install_script(format!("useradd -r user-{name}"));
        })
    };
    let mut packages = vec![make("b"), make("a"), base(folder.path()), make("c")];
    let names = |composed: &Composed| -> Vec<String> {
        let entries = composed.tree.entries();
        entries
            .iter()
            .map(|(path, id)| format!("{path} {:?}", composed.tree.inode(*id).meta))
            .collect()
    };
    let first = compose(&packages, &options()).unwrap();
    packages.reverse();
    let second = compose(&packages, &options()).unwrap();
    assert_eq!(names(&first), names(&second));
    assert_eq!(text(&first.tree, "/etc/passwd"), text(&second.tree, "/etc/passwd"));
    assert!(first.tree.get("/usr/lib/a").is_some());
}

#[test]
fn different_files_of_one_name_are_refused_with_both_owners() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str, path: &str, bytes: &str| {
        package(folder.path(), name, |builder| file(builder, path, bytes))
    };
    let base = base(folder.path());
    let a = make("a", "/lib/same", "one");
    let b = make("b", "/usr/lib/same", "two");
    let error = compose(&[base.clone(), a.clone(), b], &options()).unwrap_err();
    let shown = error.to_string();
    assert!(shown.contains("/usr/lib/same"), "{shown}");
    assert!(shown.contains("a-1.0-1.noarch") && shown.contains("b-1.0-1.noarch"), "{shown}");
    let c = make("c", "/usr/lib/same", "one");
    compose(&[base, a, c], &options()).unwrap();
}

#[test]
fn a_script_is_followed_whole_or_reported() {
    let folder = tempfile::tempdir().unwrap();
    let unit = "[Install]\nWantedBy=multi-user.target\n";
    let kit = package(folder.path(), "kit", |builder| {
        file(builder, "/usr/lib/systemd/system/kit.service", unit);
        file(builder, "/usr/lib/systemd/system/off.service", unit);
        file(builder, "/usr/lib/systemd/system-preset/90.preset", "enable kit*\ndisable *\n");
        let helper = FileOptions::new("/usr/lib/systemd/systemd-update-helper").permissions(0o755);
        builder.with_file_contents("", helper).unwrap();
        builder.post_install_script(
            "if [ $1 -eq 1 ] && [ -x \"/usr/lib/systemd/systemd-update-helper\" ]; then\n\
             /usr/lib/systemd/systemd-update-helper install-system-units kit.service off.service || :\n\
             fi\n",
        );
        builder.post_trans_script("[ $1 -gt 1 ] && rm -rf / || :\n");
    });
    let bad = package(folder.path(), "bad", |builder| {
        builder.post_install_script("groupadd -r early\nsed -i s/a/b/ /etc/passwd\n");
        let lua = rpm::Scriptlet::new("posix.mkdir('/x')").prog(vec!["<lua>"]);
        builder.pre_trans_script(lua);
    });
    let composed = compose(&[base(folder.path()), kit, bad], &options()).unwrap();
    let wants = "/etc/systemd/system/multi-user.target.wants";
    assert!(composed.tree.get(&format!("{wants}/kit.service")).is_some());
    assert!(composed.tree.get(&format!("{wants}/off.service")).is_none());
    assert!(!text(&composed.tree, "/etc/group").contains("early"), "half a script was done");
    let unhandled: Vec<_> = composed
        .report
        .unhandled
        .iter()
        .map(|script| (script.package.as_str(), script.phase, script.reason.as_str()))
        .collect();
    assert_eq!(
        unhandled,
        [
            ("bad-1.0-1.noarch", Phase::PreTrans, "interpreter <lua>"),
            ("bad-1.0-1.noarch", Phase::Post, "command \"sed -i s/a/b/ /etc/passwd\""),
        ]
    );
    assert_eq!(composed.report.handled.len(), 2);
}
