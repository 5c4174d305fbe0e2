//! `primary.xml`: one entry for each package, with what it provides and
//! needs, and the files below `bin` and `/etc`.

use std::io::BufRead;

use super::names::{Names, RawBound};
use super::xml::{Document, Element, Fault, Piece};
use super::{Package, Relations};
use crate::evr::{Evr, Nevra, Sense};
use crate::lock::MAX_PACKAGE_BYTES;

/// Fedora, the largest of its kind, has 80,000.
const MAX_PACKAGES: usize = 1_000_000;
/// Dependencies and files of one package; texlive's largest has 10,000.
const MAX_ENTRIES: usize = 200_000;

/// A number, and as much again for a list that has just grown.
const ENTRY_BYTES: usize = 8;

#[derive(Clone, Copy, PartialEq)]
enum List {
    None,
    Requires,
    Provides,
    Conflicts,
    Obsoletes,
    Recommends,
    Suggests,
    Supplements,
    Enhances,
}

#[derive(Default)]
struct Draft {
    name: String,
    arch: String,
    evr: Option<Evr>,
    digest: Option<formats::Digest>,
    location: Option<String>,
    size: Option<u64>,
    build_time: u64,
    relations: Relations,
    entries: usize,
}

/// Gives every binary package of `input` to `found`.
pub(super) fn parse(
    input: impl BufRead,
    open_size: u64,
    repository: usize,
    names: &mut Names,
    mut found: impl FnMut(Package),
) -> Result<(), Fault> {
    let mut document = Document::new(input, open_size);
    let mut draft = Draft::default();
    let mut list = List::None;
    let mut text = String::new();
    let mut count = 0;
    loop {
        match document.next()? {
            Piece::Begin(element) => {
                text.clear();
                begin(&element, &mut draft, &mut list, names)?;
            }
            Piece::Text(piece) => text.push_str(&piece),
            Piece::End(end) => match end.name() {
                "name" => draft.name = std::mem::take(&mut text),
                "arch" => draft.arch = std::mem::take(&mut text),
                "checksum" => draft.digest = text.trim().parse().ok(),
                "file" => {
                    draft.relations.files.push(names.name(&text));
                    draft.count_entry(names)?;
                }
                "package" => {
                    count += 1;
                    if count > MAX_PACKAGES {
                        return Err("it has too many packages".to_owned());
                    }
                    names.keep(draft.bytes())?;
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

fn begin(
    element: &Element<'_>,
    draft: &mut Draft,
    list: &mut List,
    names: &mut Names,
) -> Result<(), Fault> {
    match element.name() {
        "entry" => entry(element, draft, *list, names)?,
        "package" => *draft = Draft::default(),
        "version" => {
            let epoch = element.attribute("epoch")?.unwrap_or_default();
            let (version, release) = (element.required("ver")?, element.required("rel")?);
            let epoch = parse_epoch(&epoch)?;
            draft.evr = Some(Evr { epoch, version, release });
        }
        "time" => {
            let time = element.attribute("build")?.unwrap_or_default();
            draft.build_time = time.parse().unwrap_or(0);
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
        "recommends" => *list = List::Recommends,
        "suggests" => *list = List::Suggests,
        "supplements" => *list = List::Supplements,
        "enhances" => *list = List::Enhances,
        _ => {}
    }
    Ok(())
}

fn parse_epoch(text: &str) -> Result<u32, Fault> {
    match text {
        "" | "0" => Ok(0),
        text => text.parse().map_err(|_| format!("{text:?} is not an epoch")),
    }
}

fn parse_sense(name: &str, flags: &str) -> Result<Sense, Fault> {
    Ok(match flags {
        "LT" => Sense::Less,
        "LE" => Sense::LessEqual,
        "EQ" => Sense::Equal,
        "GE" => Sense::GreaterEqual,
        "GT" => Sense::Greater,
        other => return Err(format!("{name} has unknown flags {other:?}")),
    })
}

/// One dependency of the list being read.
fn entry(
    element: &Element<'_>,
    draft: &mut Draft,
    list: List,
    names: &mut Names,
) -> Result<(), Fault> {
    draft.count_entry(names)?;
    let relations = &mut draft.relations;
    let list = match list {
        List::None => return Ok(()),
        List::Requires => &mut relations.requires,
        List::Provides => &mut relations.provides,
        List::Conflicts => &mut relations.conflicts,
        List::Obsoletes => &mut relations.obsoletes,
        List::Recommends => &mut relations.recommends,
        List::Suggests => &mut relations.suggests,
        List::Supplements => &mut relations.supplements,
        List::Enhances => &mut relations.enhances,
    };
    let [name, flags, epoch, version, release] =
        element.attributes(["name", "flags", "epoch", "ver", "rel"])?;
    let name = name.ok_or("<entry> has no name")?;
    let bound = match &flags {
        None => None,
        Some(flags) => Some(RawBound {
            sense: parse_sense(&name, flags)?,
            epoch: parse_epoch(epoch.as_deref().unwrap_or_default())?,
            version: version.as_deref().unwrap_or_default(),
            release: release.as_deref().filter(|release| !release.is_empty()),
        }),
    };
    list.push(names.dependency(&name, bound));
    Ok(())
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
        build_time: draft.build_time,
        relations: draft.relations,
    };
    found(package);
    Ok(())
}

impl Draft {
    /// What the package takes once it is read, without its entries.
    fn bytes(&self) -> usize {
        let location = self.location.as_ref().map_or(0, String::len);
        let evr = self.evr.as_ref().map_or(0, |evr| evr.version.len() + evr.release.len());
        size_of::<Package>() + self.name.len() + self.arch.len() + evr + location
    }

    fn count_entry(&mut self, names: &mut Names) -> Result<(), Fault> {
        names.keep(ENTRY_BYTES)?;
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(format!("package {:?} has too many entries", self.name));
        }
        Ok(())
    }
}
