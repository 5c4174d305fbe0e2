//! A tree as large as an image's.

use slipway::tree::Tree;

use crate::fixture::{Place, put, tree};

/// Files of an image of about 130 packages.
const FILES: usize = 10_000;

fn large() -> Tree {
    let mut tree = tree();
    for number in 0..FILES {
        let at = format!("/opt/{}/{}/file{number}", number % 7, number % 61);
        put(&mut tree, &at, &"text ".repeat(number % 300), 0o644, 0, 0);
    }
    tree
}

#[test]
fn ten_thousand_files_are_made_once() {
    let (mut place, mut tree) = (Place::new(), large());
    let begun = std::time::Instant::now();
    let said = place.succeed(&mut tree, "ls /opt/*/* | wc -l");
    println!("first script on {FILES} files: {:?}", begun.elapsed());
    assert!(said.parse::<usize>().unwrap() > FILES);
    for round in 0..3 {
        let begun = std::time::Instant::now();
        place.succeed(&mut tree, &format!("echo {round} > /srv/round"));
        println!("a further one: {:?}", begun.elapsed());
    }
    assert_eq!(tree.read("/srv/round", 9).unwrap(), b"2\n");
}
