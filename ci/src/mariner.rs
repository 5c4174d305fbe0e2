//! The judgement by a real CBL-Mariner 2.0 image: its 129 packages, rebuilt from
//! the headers in its package database as a signed repository, must resolve to
//! exactly themselves, as dnf finds too; compose; and give a package database
//! that lists what the real one lists.
//!
//! Their payloads are not to be had, so files are stand-ins
//! ([`stand_in`]); what rpm and dnf decide by is the headers' own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use rpm::{Dependency, Package};

use crate::checks::unit_tests;
use crate::demo_list::MADE_TIME;
use crate::judge;
use crate::metadata::{ListedPackage, PUBLIC_KEY_NAME, write_repodata};
use crate::pgp_key::SigningKey;
use crate::process::output;
use crate::rpm_package::{Content, PackageFile, RpmPackage, file_name};

mod stand_in;

/// The database, packed, in its folder.
const DATABASE: &str = "rpmdb.sqlite.zst";
/// Packages in it.
const PACKAGES: usize = 129;

/// Where the real database is, relative to the top of the project.
#[must_use]
pub fn data(top: &Path) -> PathBuf {
    top.join("../shared/data/cbl-mariner-2.0")
}

/// Does it all below `out/mariner`, with the builder at `slipway` and the
/// database in the folder `data`; says so if there is none. Needs root, as dnf
/// does.
pub fn judge(top: &Path, slipway: &Path, data: &Path) -> Result<()> {
    let packed = data.join(DATABASE);
    if !packed.is_file() {
        skip::without_data(format_args!("there is no {}", packed.display()));
        return Ok(());
    }
    let folder = top.join("out/mariner");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let database = folder.join("var/lib/rpm/rpmdb.sqlite");
    fs::create_dir_all(database.parent().context("it has a folder")?)?;
    fs::write(&database, zstd::decode_all(fs::File::open(&packed)?)?)?;

    let packages = stand_in::packages(&database)?;
    ensure!(packages.len() == PACKAGES, "{} packages instead of {PACKAGES}", packages.len());
    let key = SigningKey::generate("Stand-ins for CBL-Mariner <mariner@example.invalid>")?;
    let all: BTreeSet<String> = packages.iter().map(nevra).collect::<Result<_>>()?;
    let leaves = leaves(&packages)?;
    let repository = folder.join("repository");
    write_repository(&repository, packages, &key)?;
    write_repository(&folder.join("stub"), vec![stub()?], &key)?;
    println!("{} packages rebuilt, of which {} are asked for", all.len(), leaves.len());

    all_are_listed(&folder)?;
    let locked = lock(&folder, slipway, &leaves)?;
    same_set(&locked, &all).context("what slipway locks is not what the image has")?;
    let root = folder.join("root");
    judge::install_without_scripts(&repository, &leaves, &root)?;
    let listed = listed(&root)?;
    same_set(&listed, &all).context("what dnf installs is not what the image has")?;
    same_set(&self::listed(&folder)?, &all).context("the rebuilt are not what the image has")?;
    println!("slipway and dnf: {} need exactly the image's packages", leaves.join(" and "));
    compose(top, &repository, data)
}

/// Composes the packages and compares the package database with the real one,
/// in a test of the builder's, built as this program was.
fn compose(top: &Path, repository: &Path, data: &Path) -> Result<()> {
    let mut command = unit_tests(top);
    command.args(["--lib", "--", "--ignored", "--nocapture", "rpmdb::mariner_tests"]);
    command.env("SLIPWAY_MARINER_REPOSITORY", repository).env("SLIPWAY_MARINER_DATA", data);
    ensure!(command.status()?.success(), "the rebuilt packages are not composed as they should be");
    Ok(())
}

fn nevra(package: &Package) -> Result<String> {
    let header = &package.metadata;
    let epoch = match header.get_epoch() {
        Ok(epoch) if epoch > 0 => format!("{epoch}:"),
        _ => String::new(),
    };
    Ok(format!(
        "{}-{epoch}{}-{}.{}",
        header.get_name()?,
        header.get_version()?,
        header.get_release()?,
        header.get_arch()?
    ))
}

fn same_set(found: &BTreeSet<String>, expected: &BTreeSet<String>) -> Result<()> {
    let missing: Vec<&String> = expected.difference(found).collect();
    let more: Vec<&String> = found.difference(expected).collect();
    if missing.is_empty() && more.is_empty() {
        return Ok(());
    }
    bail!("missing: {missing:?}; too many: {more:?}")
}

/// What rpm lists in the database below `root`.
fn listed(root: &Path) -> Result<BTreeSet<String>> {
    let query = ["--define", "_dbpath /var/lib/rpm", "-qa", "--queryformat", "%{NEVRA}\n"];
    let text = output(Command::new("rpm").arg("--root").arg(root).args(query))?;
    // dnf enters the key it checked with; the image's own tool did not.
    let packages = text.lines().filter(|line| !line.starts_with("gpg-pubkey-"));
    Ok(packages.map(str::to_string).collect())
}

fn write_repository(top: &Path, packages: Vec<Package>, key: &SigningKey) -> Result<()> {
    fs::create_dir_all(top.join("Packages"))?;
    let mut listed = Vec::new();
    for mut package in packages {
        key.sign_package(&mut package)?;
        let location = format!("Packages/{}", file_name(&package)?);
        let mut bytes = Vec::new();
        package.write(&mut bytes)?;
        fs::write(top.join(&location), &bytes)?;
        listed.push(ListedPackage::new(&package, &bytes, &location)?);
    }
    write_repodata(top, listed, key, u64::from(MADE_TIME))
}

/// A package that a recipe can name for its EFI stub; the image has none.
fn stub() -> Result<Package> {
    let mut made = RpmPackage::new("stand-in-stub", "1.0", "1", "noarch");
    let bytes = Content::Regular(b"no stub".to_vec());
    made.files.push(PackageFile::new("/usr/lib/stand-in-stub", bytes, MADE_TIME));
    made.build()
}

/// Has slipway resolve `leaves`, and gives what it locked.
fn lock(folder: &Path, slipway: &Path, leaves: &[String]) -> Result<BTreeSet<String>> {
    let tools = folder.join("tools");
    fs::create_dir_all(&tools)?;
    for tool in ["slipway-boot.efi", "slipway-init", "slipway-agent"] {
        fs::write(tools.join(tool), tool)?;
    }
    let repositories = ["repository", "stub"].map(|id| {
        format!(
            "[[repository]]\nid = \"{id}\"\nurl = \"{id}\"\nkeys = [\"{id}/{PUBLIC_KEY_NAME}\"]\n"
        )
    });
    let text = format!(
        "schema = 1\nname = \"mariner\"\nversion = \"2.0\"\n{}[packages]\ninstall = {leaves:?}\n\
         [boot]\nstub = {{ package = \"stand-in-stub\", path = \"/usr/lib/stand-in-stub\" }}\n\
         kernel = \"/boot/vmlinuz-*\"\n",
        repositories.concat()
    );
    let (recipe, lock) = (folder.join("mariner.toml"), folder.join("mariner.lock.toml"));
    fs::write(&recipe, text)?;
    let mut command = Command::new(slipway);
    command.arg("lock").arg(&recipe).arg("--lock").arg(&lock).arg("--tools").arg(&tools);
    output(command.arg("--store").arg(folder.join("store")))?;
    let lock: toml::Table = toml::from_str(&fs::read_to_string(&lock)?)?;
    classified(&lock)?;
    let packages = lock.get("package").and_then(toml::Value::as_array);
    packages.context("the lock has no packages")?.iter().map(locked_nevra).collect()
}

/// Every scriptlet is listed with what carries it out, which is what it was when
/// the list beside this file was written: a change has to be noticed.
fn classified(lock: &toml::Table) -> Result<()> {
    let scriptlets = lock.get("scriptlet").and_then(toml::Value::as_array);
    let line = |scriptlet: &toml::Value| {
        let text = |key: &str| scriptlet.get(key).and_then(toml::Value::as_str);
        let (package, phase) = (text("package")?, text("phase")?);
        Some(format!("{package} {phase} {}", text("handled")?))
    };
    let lines = scriptlets.context("the lock lists no scriptlets")?.iter().map(line);
    let mut found: Vec<String> =
        lines.collect::<Option<_>>().context("a scriptlet is not classified")?;
    found.sort();
    let expected: Vec<&str> = SCRIPTLETS.lines().collect();
    let differ = found.iter().zip(&expected).find(|(found, expected)| found != expected);
    ensure!(
        found == expected,
        "{} scriptlets instead of {}, from where they differ: {differ:?}\n{}",
        found.len(),
        expected.len(),
        found.join("\n")
    );
    println!("{} scriptlets are carried out by what is expected", found.len());
    Ok(())
}

/// No scriptlet is missing from the list: those that rpm finds in the real headers
/// are there. It is not asked about triggers.
fn all_are_listed(folder: &Path) -> Result<()> {
    let phases = ["pretrans", "pre", "post", "posttrans"];
    let tags = ["PRETRANSPROG", "PREINPROG", "POSTINPROG", "POSTTRANSPROG"];
    let each =
        tags.iter().zip(phases).map(|(tag, phase)| format!("%|{tag}?{{%{{NAME}} %%{phase}\n}}|"));
    let query = ["--define", "_dbpath /var/lib/rpm", "-qa", "--queryformat"];
    let mut rpm = Command::new("rpm");
    rpm.arg("--root").arg(folder).args(query).arg(each.collect::<String>());
    let text = output(&mut rpm)?;
    let listed = SCRIPTLETS.lines().filter(|line| !line.contains("trigger"));
    let listed = listed.filter_map(|line| line.rsplit_once(' ')).map(|(script, _)| script.into());
    same_set(&listed.collect(), &text.lines().map(str::to_owned).collect())
        .context("the list has not the scriptlets that rpm finds")
}

/// Package, phase and what carries it out, sorted.
const SCRIPTLETS: &str = include_str!("mariner/scriptlets.txt");

fn locked_nevra(package: &toml::Value) -> Result<String> {
    let text = |key: &str| package.get(key).and_then(toml::Value::as_str).context("a text");
    let epoch = match package.get("epoch").and_then(toml::Value::as_integer) {
        Some(epoch) if epoch > 0 => format!("{epoch}:"),
        _ => String::new(),
    };
    Ok(format!(
        "{}-{epoch}{}-{}.{}",
        text("name")?,
        text("version")?,
        text("release")?,
        text("arch")?
    ))
}

/// The packages that no other one needs, and of each circle that only needs
/// itself the first: asking for these asks for all.
fn leaves(packages: &[Package]) -> Result<Vec<String>> {
    let mut providers: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (at, package) in packages.iter().enumerate() {
        let files = package.metadata.get_file_entries()?;
        let files = files.iter().map(|file| file.path().to_string_lossy().into_owned());
        let provides = package.metadata.get_provides()?.into_iter().map(|provided| provided.name);
        for name in provides.chain(files) {
            providers.entry(name).or_default().push(at);
        }
    }
    let needs = |package: &Package| -> Result<BTreeSet<usize>> {
        let requires = package.metadata.get_requires()?.into_iter();
        let found = requires.filter_map(|Dependency { name, .. }| providers.get(&name));
        Ok(found.flatten().copied().collect())
    };
    let needs: Vec<BTreeSet<usize>> = packages.iter().map(needs).collect::<Result<_>>()?;
    let is_needed =
        |at: usize| needs.iter().enumerate().any(|(by, needs)| by != at && needs.contains(&at));
    let mut asked: Vec<usize> = (0..packages.len()).filter(|at| !is_needed(*at)).collect();
    let mut reached = BTreeSet::new();
    let mut queue = asked.clone();
    loop {
        while let Some(at) = queue.pop() {
            if reached.insert(at) {
                queue.extend(&needs[at]);
            }
        }
        match (0..packages.len()).find(|at| !reached.contains(at)) {
            Some(at) => {
                asked.push(at);
                queue.push(at);
            }
            None => break,
        }
    }
    let names = asked.into_iter().map(|at| Ok(packages[at].metadata.get_name()?.to_string()));
    let mut names = names.collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}
