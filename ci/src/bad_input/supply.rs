//! Where packages come from and what they become: a store that is damaged, a
//! build that has no network, an image that somebody else builds again, and
//! one that was changed afterwards.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::place::{Base, Place, partition, refused};
use crate::process::output;

/// Exit code of `compare` and `rebuild` where something differs.
const DIFFERENT: i32 = 3;

/// `slipway` with nothing but what is said here.
fn slipway(place: &Place<'_>, arguments: &[&str]) -> Command {
    let mut command = Command::new(place.slipway());
    command.args(arguments).stdin(Stdio::null()).env("LC_ALL", "C.UTF-8");
    command
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Damage is found, removed, and mended by the next build.
pub(super) fn damaged_store(base: &Base<'_>) -> Result<()> {
    let place = base.cold_place("damaged-store")?;
    place.builds()?;
    let store = text(&place.store);
    output(&mut slipway(&place, &["store", "verify", "--store", &store]))?;
    let mut damaged = Vec::new();
    let blob = largest(&place.store.join("sha256"), "")?;
    let name = text(Path::new(blob.file_name().context("a blob has a name")?));
    // That of another package: what is made of a damaged one says nothing.
    for file in [largest(&place.store.join("payload"), &name)?, blob] {
        // Like a bit that falls over: in place, whatever the permissions.
        flip(&file, file.metadata()?.len() / 2)?;
        damaged.push(text(file.strip_prefix(&place.store)?));
    }
    let mentions: Vec<&str> = damaged.iter().map(String::as_str).collect();
    refused(
        &mut slipway(&place, &["store", "verify", "--report", "--store", &store]),
        1,
        &mentions,
    )?;
    refused(&mut slipway(&place, &["store", "verify", "--store", &store]), 1, &mentions)?;
    output(&mut slipway(&place, &["store", "verify", "--store", &store]))?;
    place.builds()?;
    identical(&place, &base.image.folder, &place.image().folder)
}

/// The lock's own packages stay, everything else goes; the next build fetches
/// what it needs.
pub(super) fn collected_store(base: &Base<'_>) -> Result<()> {
    let place = base.cold_place("collected-store")?;
    place.builds()?;
    let (store, lock) = (text(&place.store), text(&place.lock));
    let collect = ["store", "gc", "--max-size", "0", "--store", &store];
    output(slipway(&place, &collect).args(["--keep", &lock]))?;
    ensure!(largest(&place.store.join("sha256"), "").is_ok(), "what a lock names was to stay");
    // Nothing is there to be fetched from; all is at hand.
    let packages = place.own_repository()?.join("Packages");
    let away = place.folder.join("away");
    fs::rename(&packages, &away)?;
    place.builds()?;
    output(&mut slipway(&place, &collect))?;
    ensure!(largest(&place.store.join("sha256"), "").is_err(), "nothing was to stay");
    place.refuses(&mut place.build_command(), 1, &["cannot fetch"])?;
    fs::rename(&away, &packages)?;
    // A limit that is too small for a build does not hinder it.
    output(place.build_command().env("SLIPWAY_STORE_MAX", "1MB"))?;
    place.holds_the_image()
}

/// From a vendored folder, in a network namespace without any network.
pub(super) fn without_network(base: &Base<'_>) -> Result<()> {
    let place = base.cold_place("without-network")?;
    let server = serve(place.folder.join("out/repository").canonicalize()?)?;
    // The folder that the recipe names otherwise must not help out.
    let fragment = place.folder.join("recipes/fragments/demo-repository.toml");
    let web = fs::read_to_string(&fragment)?
        .replace("url = \"../../out/repository\"", &format!("url = \"{server}\""));
    ensure!(web.contains(&server), "the fragment names its repository in another way");
    fs::write(&fragment, web)?;
    output(&mut place.lock_command())?;
    let vendor = place.folder.join("vendor");
    output(place.vendor_command().arg("--out").arg(&vendor))?;
    output(&mut apart(&place, &vendor, base)?)?;
    place.holds_the_image()?;
    // What is missing is named, and where it would have to come from.
    let missing = largest(&vendor.join("sha256"), "")?;
    fs::rename(&missing, place.folder.join("missing"))?;
    let mut build = apart(&place, &vendor, base)?;
    build.arg("--again");
    place.refuses(&mut build, 1, &["linux-image", &server, "--offline forbids that"])?;
    Ok(())
}

/// A build from `vendor` and nothing else, in a namespace without a network.
fn apart(place: &Place<'_>, vendor: &Path, base: &Base<'_>) -> Result<Command> {
    let mut command = Command::new("unshare");
    command.args(["--net", "--map-root-user"]).arg(place.slipway()).arg("build");
    command.arg(vendor.join("images/demo-small/recipe.toml")).arg("--offline");
    command.arg("--store").arg(vendor).arg("--keys").arg(base.workshop.keys()?);
    command.arg("--out").arg(&place.out).stdin(Stdio::null());
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    Ok(command)
}

/// Somebody else repeats the build, without the private keys.
pub(super) fn rebuilt(base: &Base<'_>) -> Result<()> {
    let place = base.place("rebuilt")?;
    let folder = place.folder.join("copy");
    output(
        Command::new("cp").args(["-r", "--sparse=always"]).arg(&base.image.folder).arg(&folder),
    )?;
    let said = output(&mut rebuild(&place, &folder, base)?)?;
    ensure!(said == "identical\n", "it was to be identical: {said}");

    let disk = folder.join("disk.raw");
    let bundle = folder.join("demo-small_1.0.0.bundle");
    let end = bundle.metadata()?.len();
    for (path, at, mentions) in [
        (folder.join("packages.txt"), 3, vec!["packages.txt: line 1"]),
        // Near its end lie the frames of the last files of the root.
        (bundle, end - 800_000, vec!["payload root: ", "/usr/"]),
        (disk, start(&base.image.disk, "uki-a")? + (8 << 20), vec!["partition uki-a", ".linux"]),
    ] {
        flip(&path, at)?;
        refused(&mut rebuild(&place, &folder, base)?, DIFFERENT, &mentions)
            .with_context(|| format!("a changed byte in {}", path.display()))?;
        flip(&path, at)?;
    }
    // What is not signed as it should be is not even built. The byte is the manifest's,
    // behind its header.
    let bundle = folder.join("demo-small_1.0.0.bundle");
    flip(&bundle, 1600)?;
    let said = refused(&mut rebuild(&place, &folder, base)?, 1, &["signatures of", ".bundle"])?;
    ensure!(!said.contains("compose"), "it was built before its signatures were looked at: {said}");
    flip(&bundle, 1600)?;
    let aside = place.folder.join("aside.bundle");
    fs::rename(&bundle, &aside)?;
    refused(&mut rebuild(&place, &folder, base)?, 1, &["no bundle", "--disk-only"])?;
    fs::rename(&aside, &bundle)?;
    // Other programs make another image, and that is what it says.
    let other = place.folder.join("tools");
    output(Command::new("cp").arg("-r").arg(&base.workshop.programs.tools).arg(&other))?;
    flip(&other.join("slipway-init"), 100)?;
    let mut command = rebuild(&place, &folder, base)?;
    command.arg("--tools").arg(&other);
    refused(&mut command, 1, &["slipway-init", "--tools"])?;
    Ok(())
}

fn rebuild(place: &Place<'_>, folder: &Path, base: &Base<'_>) -> Result<Command> {
    let repository = place.folder.join("out/repository").canonicalize()?;
    let mut command = slipway(place, &["rebuild", "--verify", &text(folder)]);
    command.arg("--root").arg(base.workshop.root()?).arg("--store").arg(&place.store);
    command.arg("--repository").arg(format!("demo={}", repository.display()));
    command.env("SLIPWAY_TOOLS", &base.workshop.programs.tools);
    Ok(command)
}

/// One byte of each layer, named by comparing.
pub(super) fn changed_image(base: &Base<'_>) -> Result<()> {
    let place = base.place("changed-image")?;
    let good = &base.image.folder;
    let folder = place.folder.join("copy");
    output(Command::new("cp").args(["-r", "--sparse=always"]).arg(good).arg(&folder))?;
    identical(&place, good, &folder)?;
    let disk = folder.join("disk.raw");
    let mib = |name: &str, count: u64| Ok::<_, anyhow::Error>(start(&disk, name)? + (count << 20));
    let cases = [
        ("manifest.json", 40, "manifest.json: "),
        ("layout.txt", 10, "layout.txt: line 1"),
        ("lock.toml", 10, "lock.toml: line 1"),
        ("inputs.tar", 2000, "inputs.tar: "),
        ("demo-small_1.0.0.bundle", 1100, "bundle, manifest.json: "),
        ("disk.raw", mib("esp", 1)?, "partition esp: "),
        ("disk.raw", mib("state", 0)?, "partition state: "),
        ("disk.raw", mib("seed", 0)?, "partition seed: "),
        ("disk.raw", mib("uki-a", 0)?, "partition uki-a: the header"),
        ("disk.raw", mib("root-a", 5)?, "partition root-a: /usr/"),
        ("disk.raw", mib("root-a-verity", 0)?, "partition root-a-verity: "),
        ("disk.raw", mib("uki-b", 1)?, "partition uki-b: "),
        ("disk.raw", mib("data", 1)?, "partition data: "),
        ("disk.raw", 700, "outside of the partitions"),
    ];
    for (file, at, mention) in cases {
        let path = folder.join(file);
        flip(&path, at)?;
        let mut compare = slipway(&place, &["compare", &text(good), &text(&folder)]);
        refused(&mut compare, DIFFERENT, &[mention])
            .with_context(|| format!("byte {at} of {file}"))?;
        flip(&path, at)?;
    }
    identical(&place, good, &folder)
}

fn identical(place: &Place<'_>, one: &Path, other: &Path) -> Result<()> {
    let said = output(&mut slipway(place, &["compare", &text(one), &text(other)]))?;
    ensure!(said == "identical\n", "{} is not {}: {said}", one.display(), other.display());
    Ok(())
}

fn start(disk: &Path, name: &str) -> Result<u64> {
    Ok(partition(&File::open(disk)?, name)?.0)
}

/// Changes one bit of a file in place.
fn flip(path: &Path, at: u64) -> Result<()> {
    let mode = fs::metadata(path)?.permissions();
    output(Command::new("chmod").arg("u+w").arg(path))?;
    let file = File::options().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 1], at)?;
    Ok(fs::set_permissions(path, mode)?)
}

/// The largest file below a folder that is not called `other`.
fn largest(folder: &Path, other: &str) -> Result<PathBuf> {
    let found = super::place::listing(folder)?;
    let files = found.into_iter().map(|file| folder.join(file.path));
    let files = files.filter(|path| path.is_file() && path.file_name() != Some(other.as_ref()));
    let largest = files.max_by_key(|path| path.metadata().map_or(0, |found| found.len()));
    largest.with_context(|| format!("no file in {}", folder.display()))
}

/// Serves a folder until this program ends; returns its URL.
fn serve(folder: PathBuf) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut first = String::new();
            let mut lines = BufReader::new(&stream);
            let read = lines.read_line(&mut first);
            let mut line = String::from(" ");
            while !line.trim_end().is_empty() {
                line.clear();
                if lines.read_line(&mut line).is_err() {
                    break;
                }
            }
            let path = first.split(' ').nth(1).unwrap_or("/").trim_start_matches('/').to_owned();
            let _ = match fs::read(folder.join(path.replace("%5E", "^"))) {
                Ok(bytes) if read.is_ok() => {
                    let length = bytes.len();
                    write!(
                        stream,
                        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
                    )
                    .and_then(|()| stream.write_all(&bytes))
                }
                _ => write!(stream, "HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n"),
            };
        }
    });
    Ok(url)
}
