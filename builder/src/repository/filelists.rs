//! `filelists.xml`: every file of every package. It is many times as large as
//! the rest, so only the paths somebody asked for are kept.

use std::collections::{HashMap, HashSet};
use std::io::BufRead;

use formats::Digest;

use super::PackageId;
use super::primary::check_length;
use super::xml::{Document, Fault, Piece};

/// Tells `found` which package has which of the `wanted` paths.
pub(super) fn parse(
    input: impl BufRead,
    open_size: u64,
    packages: &HashMap<Digest, PackageId>,
    wanted: &HashSet<&str>,
    mut found: impl FnMut(&str, PackageId),
) -> Result<(), Fault> {
    let mut document = Document::new(input, open_size);
    let mut package = None;
    let mut text = String::new();
    loop {
        match document.next()? {
            Piece::Begin(element) => {
                text.clear();
                if element.name() == "package" {
                    let digest = element.required("pkgid")?.parse::<Digest>();
                    package = digest.ok().and_then(|digest| packages.get(&digest).copied());
                }
            }
            Piece::Text(piece) => text.push_str(&piece),
            Piece::End(end) if end.name() == "file" => {
                if let Some(package) = package.filter(|_| wanted.contains(text.as_str())) {
                    found(&text, package);
                }
            }
            Piece::End(_) | Piece::Other => {}
            Piece::Over => break,
        }
    }
    check_length(document.length(), open_size)
}
