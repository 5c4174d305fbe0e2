//! `ci bench scale`: how time and memory go with the size of an image. The same
//! recipe, with ever more packages made on the spot: many small files and some
//! large ones, half of them compressible; and then with nearly as many files as
//! an image may have, which is what memory goes with.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Usage, facts, measured};
use crate::demo_list::MADE_TIME;
use crate::images::Workshop;
use crate::process::output;
use crate::rpm_package::{Content, PackageFile, RpmPackage};
use crate::small_repository;

/// With a kernel and what a system needs.
const RECIPE: &str = "demo.toml";
/// Unpacked bytes that are built.
const SIZES: [u64; 4] = [350_000_000, 1_000_000_000, 2_000_000_000, 5_000_000_000];
/// Unpacked bytes of the recipe's own packages, about.
const BASE_BYTES: u64 = 230_000_000;
/// What a build may hold, however large the image.
const LIMIT_MIB: f64 = 256.0;

/// A package is half small files, half large ones.
const HALF_BYTES: u64 = 30_000_000;
const LARGE_BYTES: usize = 6_000_000;
/// Small ones have from 200 bytes to this: as many files to a byte as the demo.
const SMALL_BYTES: usize = 40_000;
/// Packages that bring nearly as many files as an image may have, and the files
/// of each.
const MANY_PACKAGES: u64 = 6;
const MANY_FILES: usize = 40_000;

/// Files of a folder.
const FOLDER_FILES: usize = 100;

/// Builds each size, cold and warm, prints the table and writes it to
/// `docs/explanation/scale.md`.
///
/// # Errors
/// If something cannot be built, or took more memory than it may.
pub fn run(workshop: &Workshop) -> Result<()> {
    let count = packages_for(SIZES[SIZES.len() - 1]);
    eprintln!("== making {count} packages");
    let bench = Bench::new(workshop, (0..count).map(package))?;
    let mut rows = Vec::new();
    for size_bytes in SIZES {
        eprintln!("== {:.2} GB", gb(size_bytes));
        rows.push(bench.measure(size_bytes, (0..packages_for(size_bytes)).map(name))?);
    }
    eprintln!("== {} files", MANY_PACKAGES * MANY_FILES as u64);
    let many = bench.many()?;
    let text = report(&rows, &many, &facts(&bench.folder)?);
    print!("{text}");
    fs::write(workshop.top.join("docs/explanation/scale.md"), &text)?;
    fs::remove_dir_all(&bench.folder)?;
    rows.iter().chain([&many]).try_for_each(Row::judge)
}

/// Builds what takes the most memory: nearly as many files as an image may have.
///
/// # Errors
/// If it cannot be built, or took more memory than it may.
pub fn judge(workshop: &Workshop) -> Result<()> {
    let bench = Bench::new(workshop, [])?;
    let many = bench.many()?;
    fs::remove_dir_all(&bench.folder)?;
    println!("{:.0} MiB for {} files", many.peak_mib(), MANY_PACKAGES * MANY_FILES as u64);
    many.judge()
}

fn packages_for(size_bytes: u64) -> u64 {
    size_bytes.saturating_sub(BASE_BYTES).div_ceil(2 * HALF_BYTES)
}

fn gb(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

struct Bench<'w> {
    workshop: &'w Workshop,
    folder: PathBuf,
    repository: PathBuf,
}

/// What one size took.
struct Row {
    unpacked_bytes: u64,
    packages: usize,
    cold: Usage,
    warm: Usage,
}

impl Row {
    fn peak_mib(&self) -> f64 {
        self.cold.peak_mib.max(self.warm.peak_mib)
    }

    fn judge(&self) -> Result<()> {
        let peak = self.peak_mib();
        ensure!(peak <= LIMIT_MIB, "{peak:.0} MiB were held, {LIMIT_MIB} are allowed");
        Ok(())
    }
}

impl<'w> Bench<'w> {
    /// Makes a repository of these packages, and those of many files.
    fn new(workshop: &'w Workshop, packages: impl IntoIterator<Item = RpmPackage>) -> Result<Self> {
        let folder = workshop.out().join("scale");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let repository = folder.join("repository");
        let many = (0..MANY_PACKAGES).map(many_files);
        small_repository::write(&repository, packages.into_iter().chain(many))?;
        Ok(Self { workshop, folder, repository })
    }

    /// With those of many files.
    fn many(&self) -> Result<Row> {
        self.measure(SIZES[0], (0..MANY_PACKAGES).map(name_of_many))
    }

    /// With these packages, which unpack to about so much.
    fn measure(&self, size_bytes: u64, names: impl Iterator<Item = String>) -> Result<Row> {
        let (recipe, lock) = (self.folder.join("recipe.toml"), self.folder.join("lock.toml"));
        fs::write(&recipe, self.recipe(size_bytes, names))?;
        let programs = &self.workshop.programs;
        let store = self.folder.join("store");
        let slipway = |subcommand: &str| {
            let mut command = Command::new(&programs.slipway);
            command.arg(subcommand).arg(&recipe).arg("--lock").arg(&lock);
            command.arg("--store").arg(&store).arg("--tools").arg(&programs.tools);
            command
        };
        output(slipway("lock").args(["--accept", "all"]))?;
        // Locking has fetched the packages.
        fs::remove_dir_all(&store)?;
        let mut build = slipway("build");
        build.args(["--disk-only", "--again", "--keys"]).arg(self.workshop.keys()?);
        build.arg("--out").arg(self.folder.join("images"));
        let cold = measured(&build, &self.folder)?;
        let warm = measured(&build, &self.folder)?;
        let row = Row {
            unpacked_bytes: bytes_below(&store.join("payload"))?,
            packages: fs::read_to_string(&lock)?.matches("[[package]]").count(),
            cold,
            warm,
        };
        for made in ["store", "images"] {
            fs::remove_dir_all(self.folder.join(made))?;
        }
        fs::remove_file(lock)?;
        Ok(row)
    }

    /// The recipe with as many packages as the size wants, and partitions that
    /// hold them.
    fn recipe(&self, size_bytes: u64, names: impl Iterator<Item = String>) -> String {
        let names: Vec<String> = names.map(|name| format!("{name:?}")).collect();
        // A sixteenth more, since files fill whole blocks.
        let root_mib = ((size_bytes + size_bytes / 16) >> 20) + 256;
        let more = format!(
            "packages.install = [{}]\n[disk]\nroot_mib = {root_mib}\nverity_mib = {}\n",
            names.join(", "),
            root_mib / 100 + 8,
        );
        let extends = self.workshop.top.join("recipes").join(RECIPE);
        small_repository::recipe(&extends, "scale", &self.repository, &more)
    }
}

/// Of all files below a folder.
fn bytes_below(folder: &Path) -> Result<u64> {
    let said = output(Command::new("du").args(["-sb", "--apparent-size"]).arg(folder))?;
    let number = said.split_whitespace().next().and_then(|number| number.parse().ok());
    number.with_context(|| format!("du said {said:?}"))
}

fn name(number: u64) -> String {
    format!("scale-{number}")
}

fn package(number: u64) -> RpmPackage {
    let mut bytes = Bytes(number);
    let mut package = RpmPackage::new(&name(number), "1.0", "1", "noarch");
    for (count, size) in sizes(number).into_iter().enumerate() {
        let path = format!("/usr/share/{}/{}/{count}", name(number), count / FOLDER_FILES);
        let content = Content::Regular(bytes.take(size, count % 2 == 0));
        package.files.push(PackageFile::new(&path, content, MADE_TIME));
    }
    package
}

fn name_of_many(number: u64) -> String {
    format!("many-{number}")
}

/// Files as small as settings are.
fn many_files(number: u64) -> RpmPackage {
    let mut bytes = Bytes(number);
    let mut package = RpmPackage::new(&name_of_many(number), "1.0", "1", "noarch");
    for count in 0..MANY_FILES {
        let folder = format!("/usr/share/{}/{}", name_of_many(number), count / FOLDER_FILES);
        let content = Content::Regular(bytes.take(100, true));
        package.files.push(PackageFile::new(
            &format!("{folder}/setting-{count}.conf"),
            content,
            MADE_TIME,
        ));
    }
    package
}

/// Of all files of a package.
fn sizes(number: u64) -> Vec<usize> {
    let mut random = Bytes(!number);
    let small = || 200 + usize::from(random.next().to_le_bytes()[0]) * (SMALL_BYTES - 200) / 255;
    [half(small), half(|| LARGE_BYTES)].concat()
}

/// As many as make half a package.
fn half(mut size: impl FnMut() -> usize) -> Vec<usize> {
    let (mut sizes, mut total) = (Vec::new(), 0);
    while total < HALF_BYTES {
        let next = size();
        sizes.push(next);
        total += next as u64;
    }
    sizes
}

/// Bytes that are different in each package and the same in each run.
struct Bytes(u64);

impl Bytes {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Bytes that nothing makes smaller, or a text.
    fn take(&mut self, count: usize, compressible: bool) -> Vec<u8> {
        let mut made = Vec::with_capacity(count + 64);
        while made.len() < count {
            let number = self.next();
            if compressible {
                let line = format!("setting-{} = a value that many have\n", number % 1000);
                made.extend_from_slice(line.as_bytes());
            } else {
                made.extend_from_slice(&number.to_le_bytes());
            }
        }
        made.truncate(count);
        made
    }
}

fn report(rows: &[Row], many: &Row, facts: &str) -> String {
    format!(
        "# Large images\n\nGenerated by `cargo run --release -p ci -- bench scale`; do not edit.\n\n\
         `slipway build --disk-only` with ever more packages: small files from 200 bytes to 40 kB and \
         large ones of 6 MB, half and half by bytes, every other file compressible. Cold is with an \
         empty store, warm with packages fetched and unpacked; both write the whole disk. CPU is user \
         and system; memory is that of the largest process and is to stay below {LIMIT_MIB} MiB.\n\n\
         {}\n\
         Memory goes with the number of files, not with their sizes. With {} files of 100 bytes, \
         nearly as many as an image may have:\n\n{}\n{facts}",
        table(rows),
        MANY_PACKAGES * MANY_FILES as u64,
        table(std::slice::from_ref(many)),
    )
}

fn table(rows: &[Row]) -> String {
    let mut text =
        "| unpacked GB | packages | | wall s | CPU s | peak MiB | wall s/GB | CPU s/GB |\n\
                    |---|---|---|---|---|---|---|---|\n"
            .to_owned();
    for row in rows {
        let size = gb(row.unpacked_bytes);
        for (what, usage) in [("cold", row.cold), ("warm", row.warm)] {
            // writing to a string cannot fail
            let _ = writeln!(
                text,
                "| {size:.2} | {} | {what} | {:.1} | {:.1} | {:.0} | {:.2} | {:.2} |",
                row.packages,
                usage.wall_seconds,
                usage.cpu_seconds,
                usage.peak_mib,
                usage.wall_seconds / size,
                usage.cpu_seconds / size,
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_of_their_size() {
        let made = package(3);
        let sizes: Vec<u64> = made
            .files
            .iter()
            .map(|file| match &file.content {
                Content::Regular(bytes) => bytes.len() as u64,
                _ => 0,
            })
            .collect();
        let total: u64 = sizes.iter().sum();
        assert!((2 * HALF_BYTES..2 * HALF_BYTES + 2 * LARGE_BYTES as u64).contains(&total));
        assert!(made.files.len() > 1000, "{}", made.files.len());
        assert_eq!(packages_for(SIZES[0]), 2);
    }
}
