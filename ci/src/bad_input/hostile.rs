//! Packages made to do harm, in a repository that vouches for them: digests and
//! signatures are right, so that it is the contents that are refused. Each build
//! runs with a limit on its memory, and must name the package.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rpm::{CompressionWithLevel, IndexData, IndexTag};

use super::place::Base;
use crate::demo_list::MADE_TIME;
use crate::metadata::write_repodata;
use crate::pgp_key::SigningKey;
use crate::process::output;
use crate::rpm_package::{Content, PackageFile, RpmPackage, forge};
use crate::synthetic;

/// Address space of a build: memory, and what threads and code take besides.
const MEMORY_BYTES: u64 = 1 << 30;

/// A package, how its header is changed, its payload if that is changed too,
/// and what is said of it.
struct Hostile {
    name: &'static str,
    tags: Vec<(IndexTag, IndexData)>,
    payload: Option<Vec<u8>>,
    said: &'static str,
}

fn all() -> Result<Vec<Hostile>> {
    let new = |name, said, tags: Vec<_>| Hostile { name, tags, payload: None, said };
    let text = |text: &str| IndexData::StringArray(vec![text.to_owned()]);
    let gigabytes = |count: u64| IndexData::Int64(vec![count << 30]);
    // a few hundred bytes
    let zeros = zstd::encode_all(io::repeat(0).take(1 << 30), 1)?;
    Ok(vec![
        new("escapes", "no file can have", vec![(IndexTag::RPMTAG_DIRNAMES, text("/usr/../../"))]),
        new("relative", "not an absolute path", vec![(IndexTag::RPMTAG_DIRNAMES, text("../"))]),
        new(
            "swarms",
            "10000000 files",
            vec![(IndexTag::RPMTAG_FILEMODES, IndexData::Int16(vec![0o100_644; 10_000_000]))],
        ),
        new("swells", "no honest package", vec![(IndexTag::RPMTAG_LONGFILESIZES, gigabytes(100))]),
        Hostile { payload: Some(zeros), ..new("bursts", "no cpio entry", Vec::new()) },
        Hostile {
            payload: Some(vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0x00, 0x00]),
            ..new("gapes", "payload", Vec::new())
        },
        Hostile { payload: Some(Vec::new()), ..new("lacks", "payload", Vec::new()) },
        new(
            "empowers",
            "cap_of_tomorrow",
            vec![(IndexTag::RPMTAG_FILECAPS, text("cap_of_tomorrow=ep"))],
        ),
    ])
}

/// Each is refused on its own, and the harmless ones beside them build.
pub(super) fn refused(base: &Base<'_>) -> Result<()> {
    let place = base.place("hostile")?;
    let repository = place.folder.join("hostile");
    let hostile = all()?;
    publish(&repository, &hostile)?;
    for one in &hostile {
        place.write_recipe(&recipe(&[one.name]))?;
        let name = format!("{}-1.0-1.noarch", one.name);
        // What is wrong with its header is noticed when it is locked.
        let locks = limited(&place.lock_command()).output()?.status.success();
        let step = if locks { place.build_command() } else { place.lock_command() };
        place.refuses(&mut limited(&step), 1, &[&name, one.said])?;
    }
    // Links that lead out, and in a circle: out of the image there is nothing.
    place.write_recipe(&recipe(&["leads-out", "follows-out", "circles"]))?;
    output(&mut place.lock_command())?;
    output(&mut limited(&place.build_command()))?;
    ensure!(!Path::new("/followed-out-of-the-image").exists(), "a file was written outside");
    place.holds_the_image()
}

fn recipe(packages: &[&str]) -> String {
    format!(
        "\n[[repository]]\nid = \"hostile\"\nurl = \"../hostile\"\n\
         keys = [\"../hostile/RPM-GPG-KEY-demo\"]\n\n[packages]\ninstall = {packages:?}\n"
    )
}

/// A command with limited memory.
fn limited(step: &Command) -> Command {
    let mut command = Command::new("prlimit");
    command.arg(format!("--as={MEMORY_BYTES}")).arg(step.get_program()).args(step.get_args());
    command
}

fn publish(top: &Path, hostile: &[Hostile]) -> Result<()> {
    let key = SigningKey::generate("Hostile packages <hostile@example.invalid>")?;
    let mut listed = Vec::new();
    for one in hostile {
        let file = PackageFile::new(
            &format!("/usr/share/{}", one.name),
            Content::Regular(b"text".to_vec()),
            MADE_TIME,
        );
        let mut package = made(one.name, vec![file]);
        package.compression = CompressionWithLevel::Zstd(1);
        let honest = package.build()?;
        let forged = forge(honest.clone(), &one.tags, one.payload.as_deref())
            .with_context(|| format!("cannot forge {}", one.name))?;
        listed.push(signed(&honest, forged, &key, top)?);
    }
    let link =
        |path: &str, to: &str| PackageFile::new(path, Content::Symlink(to.to_owned()), MADE_TIME);
    let out = "../../../../../../../..";
    let file = |path: &str| PackageFile::new(path, Content::Regular(b"out\n".to_vec()), MADE_TIME);
    for package in [
        made("leads-out", vec![link("/usr/share/leads-out", out)]),
        made("follows-out", vec![file("/usr/share/leads-out/followed-out-of-the-image")]),
        made("circles", vec![link("/usr/share/one", "two"), link("/usr/share/two", "one")]),
    ] {
        let package = package.build()?;
        listed.push(signed(&package, package.clone(), &key, top)?);
    }
    write_repodata(top, listed, &key, u64::from(MADE_TIME))
}

fn made(name: &str, files: Vec<PackageFile>) -> RpmPackage {
    let mut package = RpmPackage::new(name, "1.0", "1", "noarch");
    package.files = files;
    package
}

/// Signs a package and writes it; the metadata describes the honest one.
fn signed(
    honest: &rpm::Package,
    mut package: rpm::Package,
    key: &SigningKey,
    top: &Path,
) -> Result<crate::metadata::ListedPackage> {
    key.sign_package(&mut package)?;
    let mut bytes = Vec::new();
    package.write(&mut bytes)?;
    fs::create_dir_all(top)?;
    synthetic::store(honest, &bytes, top)
}
