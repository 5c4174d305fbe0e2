//! `primary.xml`: one entry for each package, with what it provides and
//! needs, and the files below `bin` and `/etc`.

use std::io::BufRead;

use super::xml::{Document, Element, Fault, Piece};
use super::{Dependency, Package};
use crate::evr::{Bound, Evr, Nevra, Sense};
use crate::lock::MAX_PACKAGE_BYTES;

/// Fedora, the largest of its kind, has 80,000.
const MAX_PACKAGES: usize = 1_000_000;
/// Dependencies and files of one package; texlive's largest has 10,000.
const MAX_ENTRIES: usize = 200_000;

#[derive(Clone, Copy, PartialEq)]
enum List {
    Requires,
    Provides,
    Conflicts,
    Obsoletes,
    /// Weak dependencies are not followed.
    Ignored,
}

#[derive(Default)]
struct Draft {
    name: String,
    arch: String,
    evr: Option<Evr>,
    digest: Option<formats::Digest>,
    location: Option<String>,
    size: Option<u64>,
    requires: Vec<Dependency>,
    provides: Vec<Dependency>,
    conflicts: Vec<Dependency>,
    obsoletes: Vec<Dependency>,
    files: Vec<Box<str>>,
    entries: usize,
}

/// Gives every binary package of `input` to `found`.
pub(super) fn parse(
    input: impl BufRead,
    open_size: u64,
    repository: usize,
    mut found: impl FnMut(Package),
) -> Result<(), Fault> {
    let mut document = Document::new(input, open_size);
    let mut draft = Draft::default();
    let mut list = List::Ignored;
    let mut text = String::new();
    let mut count = 0;
    loop {
        match document.next()? {
            Piece::Begin(element) => {
                text.clear();
                begin(&element, &mut draft, &mut list)?;
            }
            Piece::Text(piece) => text.push_str(&piece),
            Piece::End(end) => match end.name() {
                "name" => draft.name = std::mem::take(&mut text),
                "arch" => draft.arch = std::mem::take(&mut text),
                "checksum" => draft.digest = text.trim().parse().ok(),
                "file" => {
                    draft.files.push(text.as_str().into());
                    draft.count_entry()?;
                }
                "package" => {
                    count += 1;
                    if count > MAX_PACKAGES {
                        return Err("it has too many packages".to_owned());
                    }
                    found_in(std::mem::take(&mut draft), repository, &mut found)?;
                }
                _ => {}
            },
            Piece::Other => {}
            Piece::Over => break,
        }
    }
    check_length(document.length(), open_size)
}

/// A document that ends early is as suspicious as one that goes on.
pub(super) fn check_length(found: u64, announced: u64) -> Result<(), Fault> {
    if found == announced {
        return Ok(());
    }
    Err(format!("it unpacks to {found} bytes, {announced} were announced"))
}

fn begin(element: &Element<'_>, draft: &mut Draft, list: &mut List) -> Result<(), Fault> {
    match element.name() {
        "package" => *draft = Draft::default(),
        "version" => {
            let epoch = element.attribute("epoch")?.unwrap_or_default();
            let (version, release) = (element.required("ver")?, element.required("rel")?);
            let epoch = parse_epoch(&epoch)?;
            draft.evr = Some(Evr { epoch, version, release });
        }
        "size" => {
            let size = element.required("package")?.parse().ok();
            draft.size = size.filter(|size| *size <= MAX_PACKAGE_BYTES);
        }
        "location" => {
            if element.attribute("xml:base")?.is_some() {
                return Err("it has packages at other addresses (xml:base)".to_owned());
            }
            draft.location = Some(element.required("href")?);
        }
        "checksum" if element.required("type")? != "sha256" => {
            return Err("it has packages without SHA-256".to_owned());
        }
        "requires" => *list = List::Requires,
        "provides" => *list = List::Provides,
        "conflicts" => *list = List::Conflicts,
        "obsoletes" => *list = List::Obsoletes,
        "recommends" | "suggests" | "supplements" | "enhances" => *list = List::Ignored,
        "entry" => {
            draft.count_entry()?;
            let list = match list {
                List::Requires => &mut draft.requires,
                List::Provides => &mut draft.provides,
                List::Conflicts => &mut draft.conflicts,
                List::Obsoletes => &mut draft.obsoletes,
                List::Ignored => return Ok(()),
            };
            list.push(dependency(element)?);
        }
        _ => {}
    }
    Ok(())
}

fn parse_epoch(text: &str) -> Result<u32, Fault> {
    match text {
        "" => Ok(0),
        text => text.parse().map_err(|_| format!("{text:?} is not an epoch")),
    }
}

fn dependency(element: &Element<'_>) -> Result<Dependency, Fault> {
    let name = element.required("name")?;
    let Some(flags) = element.attribute("flags")? else {
        return Ok(Dependency { name, bound: None });
    };
    let sense = match flags.as_str() {
        "LT" => Sense::Less,
        "LE" => Sense::LessEqual,
        "EQ" => Sense::Equal,
        "GE" => Sense::GreaterEqual,
        "GT" => Sense::Greater,
        other => return Err(format!("{name} has unknown flags {other:?}")),
    };
    let epoch = parse_epoch(&element.attribute("epoch")?.unwrap_or_default())?;
    let version = element.attribute("ver")?.unwrap_or_default();
    let release = element.attribute("rel")?.filter(|release| !release.is_empty());
    Ok(Dependency { name, bound: Some(Bound { sense, epoch, version, release }) })
}

fn found_in(draft: Draft, repository: usize, found: &mut impl FnMut(Package)) -> Result<(), Fault> {
    if matches!(draft.arch.as_str(), "src" | "nosrc") {
        return Ok(());
    }
    let name = draft.name;
    let missing = |what: &str| format!("package {name:?} has no usable {what}");
    let package = Package {
        repository,
        digest: draft.digest.ok_or_else(|| missing("checksum"))?,
        location: draft.location.ok_or_else(|| missing("location"))?,
        size: draft.size.ok_or_else(|| missing("size"))?,
        nevra: Nevra {
            evr: draft.evr.ok_or_else(|| missing("version"))?,
            arch: draft.arch,
            name: name.clone(),
        },
        requires: draft.requires,
        provides: draft.provides,
        conflicts: draft.conflicts,
        obsoletes: draft.obsoletes,
        files: draft.files,
    };
    found(package);
    Ok(())
}

impl Draft {
    fn count_entry(&mut self) -> Result<(), Fault> {
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(format!("package {:?} has too many entries", self.name));
        }
        Ok(())
    }
}
