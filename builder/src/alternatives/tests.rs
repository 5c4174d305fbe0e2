//! What the program itself made of the same calls, once: chkconfig 1.20 and
//! 1.25, `alternatives.c` compiled, called as here below `chroot`.

use super::*;
use crate::tree::testing::{directory, tree};

fn empty() -> Tree {
    let mut tree = tree(&[("/usr/bin/there", "a program\n"), ("/usr/bin/link", "-> /other")]);
    for path in [LINKS, STATES, "/usr/share/man/man1"] {
        directory(&mut tree, path);
    }
    tree
}

fn install(tree: &mut Tree, line: &str) -> i32 {
    let words: Vec<&str> = line.split(' ').collect();
    Call::parse(&words).unwrap().run(tree).unwrap()
}

fn shown(tree: &Tree) -> String {
    let mut shown = String::new();
    tree.visit(|path, id| match &tree.inode(id).node {
        Node::Symlink(target) => shown += &format!("{path} -> {target}\n"),
        Node::File(_) if path.as_str().starts_with(STATES) => {
            let bytes = tree.read(path.as_str(), 1 << 20).unwrap();
            shown += &format!("{path}:\n{}", String::from_utf8(bytes).unwrap());
        }
        _ => {}
    });
    shown
}

const CALLS: [&str; 6] = [
    "--install /usr/bin/ld ld /usr/bin/ld.bfd 50 --slave /usr/share/man/man1/ld.1 ld.1 /m/bfd.1 \
     --slave /usr/bin/a-ld a-ld /usr/bin/a.bfd",
    "--install /usr/bin/ld ld /usr/bin/ld.gold 30 --family gnu --slave /usr/bin/b-ld b-ld /b",
    "--install /usr/bin/ld ld /usr/bin/ld.lld 70 --slave /usr/share/man/man1/ld.1 ld.1 /m/lld.1",
    "--install /usr/bin/there there /usr/bin/elsewhere 1",
    "--install /usr/bin/link link /usr/bin/linked -5",
    "--install /usr/bin/ld ld /usr/bin/ld.gold 30",
];

#[test]
fn links_and_states_are_those_of_the_program() {
    let mut tree = empty();
    let mut all = String::new();
    for call in CALLS {
        let status = install(&mut tree, call);
        all += &format!("{status}\n{}", shown(&tree));
    }
    assert_eq!(all, include_str!("expected.txt"));
}

#[test]
fn another_link_for_the_same_name_is_refused() {
    let mut tree = empty();
    assert_eq!(install(&mut tree, "--install /usr/bin/a a /usr/bin/b 1"), 0);
    let before = tree.clone();
    assert_eq!(install(&mut tree, "--install /usr/bin/other a /usr/bin/b 1"), FAILURE);
    assert_eq!(tree, before);
}

#[test]
fn without_its_folders_it_fails() {
    assert_eq!(install(&mut tree(&[]), "--install /usr/bin/a a /usr/bin/b 1"), FAILURE);
}

#[test]
fn a_choice_by_hand_stays() {
    let mut tree = empty();
    install(&mut tree, "--install /usr/bin/a a /usr/bin/b 1");
    let link = TreePath::new("/etc/alternatives/a").unwrap();
    tree.symlink(&link, "/by/hand").unwrap();
    install(&mut tree, "--install /usr/bin/a a /usr/bin/c 2");
    assert_eq!(target_of(&tree, "/etc/alternatives/a").unwrap(), "/by/hand");
    let state = tree.read("/var/lib/alternatives/a", 100).unwrap();
    assert!(state.starts_with(b"manual\n"));
}

#[test]
fn more_is_not_understood() {
    for line in [
        "--install /usr/bin/a a /usr/bin/b",
        "--install /usr/bin/a /a /usr/bin/b 1",
        "--install /usr//bin/a a /usr/bin/b 1",
        "--install /usr/bin/a a /usr/bin/b 010",
        "--install /usr/bin/a a /usr/bin/b 1 --initscript a",
        "--remove a /usr/bin/b",
        "--slave /usr/bin/a a /usr/bin/b",
        "",
    ] {
        assert_eq!(Call::parse(&line.split(' ').collect::<Vec<_>>()), None, "{line}");
    }
}

#[test]
fn a_state_that_grows_without_end_is_not_read() {
    let mut tree = empty();
    let links: String = (0..2000).map(|at| format!("f{at}\n/usr/share/f{at}\n")).collect();
    let state = format!("auto\n/usr/bin/a\n{links}\n/b\n1\n{}", "\n".repeat(40_000));
    let path = TreePath::new(&format!("{STATES}/a")).unwrap();
    tree.write(&path, 0o644, state.into_bytes()).unwrap();
    let words: Vec<&str> = "--install /usr/bin/a a /usr/bin/b 1".split(' ').collect();
    let error = Call::parse(&words).unwrap().run(&mut tree).unwrap_err();
    assert!(matches!(error, AlternativesError::Tree(_)), "{error}");
}
