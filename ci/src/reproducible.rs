//! The same bits anywhere: the larger demo is built as root on this machine as
//! it is, and from a vendored store by plain users, with sub-ids and without,
//! who have another folder, umask, time zone and language, one core, and a store
//! that is cold. Then all is compared. Once more with a package whose script
//! runs in the sandbox and gives files to others; and with a recipe that differs
//! in one file, which has to be noticed.

mod surroundings;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rpm::Dependency;
use serde_json::Value;

use crate::demo_list::MADE_TIME;
use crate::images::Workshop;
use crate::process::output;
use crate::rpm_package::{Content, PackageFile, RpmPackage, Script};
use crate::small_repository;
use surroundings::{ALONE, Surroundings, WITH_SUB_IDS};

const RECIPE: &str = "demo-node.toml";
const SMALL: &str = "demo-small.toml";
/// Roots other than the one of the larger demo.
const FILE_SYSTEMS: [&str; 3] = ["erofs-lz4", "squashfs", "ext4"];
/// Of the package that the sandbox is needed for.
const SCRIPTED: &str = "gives-away";

/// Everything a script could carry into an image: owners, modes and links that
/// it makes, and what it sees of who builds and where. The loop is what the
/// builder does not do itself.
const SCRIPT: &str = "\
for name in one two; do
    mkdir -p /var/lib/scripted/$name
    echo $name > /var/lib/scripted/$name/file
    chown -R daemon:mail /var/lib/scripted/$name
    chmod 2750 /var/lib/scripted/$name
done
chmod 4750 /var/lib/scripted/one/file
ln /var/lib/scripted/two/file /var/lib/scripted/linked
chown -h mail:shadow /var/lib/scripted/link
{ umask; id; uname -n; pwd; env | sort; } > /var/lib/scripted/surroundings
";

/// Builds everywhere, and compares.
pub fn run(workshop: &Workshop) -> Result<()> {
    let is_root = output(Command::new("id").arg("-u"))?.trim() == "0";
    ensure!(is_root, "only root can become other users");
    let folder = tempfile::Builder::new().prefix("slipway-same-").tempdir()?;
    output(Command::new("chmod").arg("755").arg(folder.path()))?;
    let bits = Bits { workshop, folder: folder.path().to_owned() };
    bits.of_the_demo()?;
    bits.of_the_formats()?;
    bits.of_scripts()
}

struct Bits<'w> {
    workshop: &'w Workshop,
    folder: PathBuf,
}

impl Bits<'_> {
    /// With the bundle once; without it, for the user without sub-ids.
    fn of_the_demo(&self) -> Result<()> {
        let recipe = self.workshop.top.join("recipes").join(RECIPE);
        let lock = self.locked(&recipe)?;
        let root = self.as_root(&recipe, &lock, &[])?;
        let vendor = self.vendored(&recipe, &lock)?;
        let test = Surroundings::new(self.workshop, &self.folder, &WITH_SUB_IDS, &vendor)?;
        let built = test.build("demo-node", &[])?;
        self.identical(&root, &built)?;
        println!("ok      root and {}, with the bundle", WITH_SUB_IDS.name);
        drop(test);

        let alone = Surroundings::new(self.workshop, &self.folder, &ALONE, &vendor)?;
        let built = alone.build("demo-node", &["--disk-only"])?;
        let disk_only = self.without_bundle(&root)?;
        self.identical(&disk_only, &built)?;
        println!("ok      root and {}, who has no sub-ids", ALONE.name);
        Ok(())
    }

    /// Every kind of root, and with each all disk files and archives.
    fn of_the_formats(&self) -> Result<()> {
        let demo = self.workshop.top.join("recipes").join(SMALL);
        for filesystem in FILE_SYSTEMS {
            let name = format!("every-{filesystem}");
            let recipe = self.folder.join(&name).with_extension("toml");
            let text = format!(
                "schema = 1\nextends = [{:?}]\nname = {name:?}\n\
                 [root]\nfilesystem = {filesystem:?}\narchives = [\"oci\", \"tar\"]\n\
                 [disk]\nformats = [\"raw\", \"vhdx\", \"vhdx-fixed\", \"qcow2\"]\n",
                demo.display().to_string(),
            );
            fs::write(&recipe, text)?;
            let lock = self.locked(&recipe)?;
            let root = self.as_root(&recipe, &lock, &["--disk-only"])?;
            let vendor = self.vendored(&recipe, &lock)?;
            let test = Surroundings::new(self.workshop, &self.folder, &WITH_SUB_IDS, &vendor)?;
            let built = test.build(&name, &["--disk-only"])?;
            self.identical(&root, &built)?;
            println!("ok      {filesystem} in all disk files, and the archives");
        }
        Ok(())
    }

    /// A script in the sandbox, as root and by a user who can give files away;
    /// one who cannot is told so.
    fn of_scripts(&self) -> Result<()> {
        let repository = self.folder.join("scripted-repository");
        small_repository::write(&repository, [scripted()])?;
        let recipe = self.scripted_recipe(&repository, "scripted", "one")?;
        let lock = self.locked(&recipe)?;
        let root = self.as_root(&recipe, &lock, &["--disk-only"])?;
        let vendor = self.vendored(&recipe, &lock)?;
        let test = Surroundings::new(self.workshop, &self.folder, &WITH_SUB_IDS, &vendor)?;
        let built = test.build("demo-node", &["--disk-only"])?;
        self.identical(&root, &built)?;
        println!("ok      a script that gives files to others");
        drop(test);

        let alone = Surroundings::new(self.workshop, &self.folder, &ALONE, &vendor)?;
        let said = alone.refused("demo-node")?;
        for mention in [SCRIPTED, "%post", "no sub-ids", "usermod --add-subuids"] {
            ensure!(said.contains(mention), "{mention:?} is not mentioned:\n{said}");
        }
        println!("ok      the same without sub-ids, which is refused");
        drop(alone);

        let kept = self.folder.join("kept");
        fs::rename(&root, &kept)?;
        let other = self.scripted_recipe(&repository, "noticed", "two")?;
        let built = self.as_root(&other, &self.locked(&other)?, &["--disk-only"])?;
        self.noticed(&kept, &built)?;
        println!("ok      one file that differs is noticed");
        Ok(())
    }

    fn scripted_recipe(&self, repository: &Path, name: &str, note: &str) -> Result<PathBuf> {
        let path = self.folder.join(name).with_extension("toml");
        let demo = self.workshop.top.join("recipes").join(RECIPE);
        let more = format!(
            "packages.install = [{SCRIPTED:?}]\n\
             [[root.file]]\npath = \"/etc/note\"\ncontent = \"{note}\"\n"
        );
        fs::write(&path, small_repository::recipe(&demo, "scripted", repository, &more))?;
        Ok(path)
    }

    fn locked(&self, recipe: &Path) -> Result<PathBuf> {
        let name = recipe.file_stem().unwrap_or_default();
        let lock = self.folder.join(name).with_extension("lock.toml");
        self.workshop.lock(recipe, &lock)?;
        Ok(lock)
    }

    /// As on every day: all cores, a store that is warm.
    fn as_root(&self, recipe: &Path, lock: &Path, more: &[&str]) -> Result<PathBuf> {
        let programs = &self.workshop.programs;
        let mut build = Command::new(&programs.slipway);
        build.arg("build").arg(recipe).arg("--lock").arg(lock).args(more);
        build.args(["--json", "--again", "--tools"]).arg(&programs.tools);
        build.arg("--keys").arg(self.workshop.keys()?);
        build
            .arg("--out")
            .arg(self.folder.join("root").join(recipe.file_stem().unwrap_or_default()));
        let said: Value = serde_json::from_str(&output(&mut build)?)?;
        Ok(said["folder"].as_str().context("build said no folder")?.into())
    }

    fn vendored(&self, recipe: &Path, lock: &Path) -> Result<PathBuf> {
        let vendor = self.folder.join("vendor");
        if vendor.exists() {
            fs::remove_dir_all(&vendor)?;
        }
        let programs = &self.workshop.programs;
        let mut command = Command::new(&programs.slipway);
        command.arg("vendor").arg(recipe).arg("--lock").arg(lock).arg("--out").arg(&vendor);
        output(command.arg("--tools").arg(&programs.tools))?;
        Ok(vendor)
    }

    /// The same image, as a build without a bundle leaves it.
    fn without_bundle(&self, image: &Path) -> Result<PathBuf> {
        let copy = self.folder.join("disk-only");
        output(Command::new("cp").arg("-al").arg(image).arg(&copy))?;
        fs::remove_file(copy.join("manifest.json"))?;
        fs::remove_file(copy.join("demo-node_1.0.0.bundle"))?;
        Ok(copy)
    }

    fn compare(&self, one: &Path, other: &Path) -> Command {
        let mut command = Command::new(&self.workshop.programs.slipway);
        command.arg("compare").arg(one).arg(other);
        command
    }

    fn identical(&self, one: &Path, other: &Path) -> Result<()> {
        let said = self.compare(one, other).output()?;
        let text = String::from_utf8_lossy(&said.stdout);
        ensure!(text == "identical\n", "{} is not {}:\n{text}", one.display(), other.display());
        output(Command::new("diff").args(["--recursive", "--brief"]).arg(one).arg(other)).map(drop)
    }

    /// In the root, that one file differs, and no other.
    fn noticed(&self, one: &Path, other: &Path) -> Result<()> {
        let said = self.compare(one, other).arg("--json").output()?;
        ensure!(!said.status.success(), "images that differ are said to be the same");
        let said: Value = serde_json::from_slice(&said.stdout)?;
        let all = said["differences"].as_array().context("no differences are listed")?;
        let of_root = all.iter().filter(|one| one["layer"] == "disk.raw, partition root-a");
        let whats: Vec<&str> = of_root.filter_map(|one| one["what"].as_str()).collect();
        let only = whats.len() == 1 && whats.iter().all(|what| what.starts_with("/etc/note"));
        ensure!(only, "only /etc/note was to differ in the root: {whats:?} of {said:#}");
        Ok(())
    }
}

fn scripted() -> RpmPackage {
    let mut package = RpmPackage::new(SCRIPTED, "1.0", "1", "noarch");
    package.summary = "Gives files to others when it is installed".into();
    let link = Content::Symlink("one/file".into());
    let folder = PackageFile::new("/var/lib/scripted", Content::Directory, MADE_TIME);
    package.files.push(folder);
    package.files.push(PackageFile::new("/var/lib/scripted/link", link, MADE_TIME));
    let needs = ["/bin/sh", "coreutils", "setup"];
    package.requires.extend(needs.map(Dependency::script_post));
    package.scripts.post = Some(Script::shell(SCRIPT));
    package
}
