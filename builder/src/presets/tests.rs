//! `systemctl --root preset` judges the links that are made.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::*;
use crate::tree::testing::{materialise, tree};

const UNITS: [&str; 8] = [
    "plain.service",
    "off.service",
    "getty@.service",
    "also.service",
    "many@.service",
    "unnamed.service",
    "alias.service",
    "noinst@.service",
];

fn systemd() -> Tree {
    let unit =
        |install: &str| format!("[Unit]\nDescription=x\n[Service]\nExecStart=/bin/true\n{install}");
    let plain = unit(
        "[Install]\nWantedBy=multi-user.target\nRequiredBy=graphical.target \\\n  basic.target\n",
    );
    let getty = unit("[Install]\nWantedBy=getty.target\nDefaultInstance=tty1\n");
    let also = unit("[Install]\nAlias=second.service\nAlso=friend.socket\n");
    let friend = "[Socket]\nListenStream=/run/x\n[Install]\nWantedBy=sockets.target\n";
    let many = unit("[Install]\nWantedBy=many-%i.target\nAlias=other@%i.service\n");
    let off = unit("[Install]\nWantedBy=multi-user.target\n");
    let noinst = unit("[Install]\nWantedBy=multi-user.target\n");
    let presets = "# first match counts\nenable plain.service\nenable get*@.service\n\
                   enable many@.service one two\nenable also.service\nenable alias.service\n\
                   enable noinst@.service\ndisable off.*\nignore other.service\n";
    let lib = "/usr/lib/systemd/system";
    let mut files: Vec<(String, &str)> = vec![
        (format!("{lib}/plain.service"), &plain),
        (format!("{lib}/off.service"), &off),
        (format!("{lib}/getty@.service"), &getty),
        (format!("{lib}/also.service"), &also),
        (format!("{lib}/friend.socket"), friend),
        (format!("{lib}/many@.service"), &many),
        (format!("{lib}/unnamed.service"), &off),
        (format!("{lib}/noinst@.service"), &noinst),
        (format!("{lib}/alias.service"), "-> plain.service"),
        (format!("{lib}-preset/50-test.preset"), presets),
        (format!("{lib}-preset/90-overridden.preset"), "disable unnamed.service\n"),
    ];
    let over = "/etc/systemd/system-preset/90-overridden.preset".to_owned();
    files.push((over, "disable nothing.service\n"));
    let wants = "/etc/systemd/system/multi-user.target.wants/off.service".to_owned();
    files.push((wants, "-> /usr/lib/systemd/system/off.service"));
    let files: Vec<(&str, &str)> =
        files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    tree(&files)
}

fn links(root: &Path, below: &str, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(root.join(below)).into_iter().flatten() {
        let entry = entry.unwrap();
        let name = format!("{below}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_symlink() {
            let target = fs::read_link(entry.path()).unwrap().to_str().unwrap().to_owned();
            found.insert(name, target);
        } else if entry.file_type().unwrap().is_dir() {
            links(root, &name, found);
        }
    }
}

/// Links below `/etc` after systemctl's way and after ours.
fn both(
    call: &[&str],
    ours: impl FnOnce(&Presets, &mut Tree),
) -> Option<[BTreeMap<String, String>; 2]> {
    let mut tree = systemd();
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    materialise(&tree, folders[0].path());
    let root = format!("--root={}", folders[0].path().display());
    let Ok(out) = Command::new("systemctl").arg(root).args(call).output() else {
        skip::because("systemctl is not installed");
        return None;
    };
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let presets = Presets::read(&tree, Scope::System).unwrap();
    ours(&presets, &mut tree);
    materialise(&tree, folders[1].path());
    Some(folders.map(|folder| {
        let mut found = BTreeMap::new();
        links(folder.path(), "etc", &mut found);
        // Debian's systemctl has one more folder of the old layout.
        found.values_mut().for_each(|target| *target = target.replace("/usr/lib/", "/lib/"));
        found
    }))
}

#[test]
fn presets_make_the_links_systemctl_makes() {
    let call = [&["preset"][..], &UNITS].concat();
    let result = both(&call, |presets, tree| {
        let units = UNITS.map(str::to_owned);
        presets.apply(tree, &units, &mut PresetReport::default()).unwrap();
    });
    let Some([theirs, ours]) = result else { return };
    assert!(ours.len() > 8, "{ours:#?}");
    assert_eq!(ours, theirs);
}

#[test]
fn preset_all_makes_the_links_systemctl_makes() {
    let result = both(&["preset-all"], |presets, tree| {
        presets.apply_all(tree, &mut PresetReport::default()).unwrap();
    });
    let Some([theirs, ours]) = result else { return };
    assert_eq!(ours, theirs);
}

/// What a preset line and an `[Install]` section come to.
fn preset(line: &str, install: &str) -> Result<usize, String> {
    let unit = format!("[Install]\n{install}");
    let lib = "/usr/lib/systemd";
    let files = [
        (format!("{lib}/system-preset/a.preset"), line),
        (format!("{lib}/system/many@.service"), &unit),
    ];
    let files: Vec<(&str, &str)> =
        files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    let mut tree = tree(&files);
    let mut report = PresetReport::default();
    let applied = Presets::read(&tree, Scope::System)
        .and_then(|presets| presets.apply_all(&mut tree, &mut report));
    applied.map(|()| report.links.len()).map_err(|error| error.to_string())
}

#[test]
fn presets_and_links_without_end_are_refused() {
    let wanted = "WantedBy=a.target\n";
    assert_eq!(preset("enable many@.service 1 2", wanted), Ok(2));
    let error = preset(&"enable x\n".repeat(MAX_RULES + 1), wanted).unwrap_err();
    assert!(error.starts_with("/usr/lib/systemd/system-preset/a.preset: "), "{error}");
    let error = preset(&format!("enable {}", "*".repeat(MAX_LINE_BYTES)), wanted).unwrap_err();
    assert!(error.ends_with("more than 4096 bytes in a line"), "{error}");
    let links =
        |count: usize| (0..count).map(|at| format!("WantedBy=a{at}.target\n")).collect::<String>();
    assert_eq!(preset("enable many@.service 1", &links(20)), Ok(20));
    let error = preset("enable many@.service 1 2", &links(MAX_UNITS / 2 + 1)).unwrap_err();
    assert!(error.starts_with("many@") && error.ends_with("links for units"), "{error}");
    let long = format!("WantedBy={}\n", "%n".repeat(200));
    assert!(preset("enable many@.service 1", &long).is_err());
}
