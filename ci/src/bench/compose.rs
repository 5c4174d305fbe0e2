//! `ci bench compose`: from packages on this machine to a disk with a verity
//! root, by every builder there is, side by side in the same run. The tree that
//! slipway makes is held against dnf's first: a fast wrong one would not count.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::limit::Limit;
use super::mkosi::{self, Mkosi};
use super::profile;
use super::rpmoci::Rpmoci;
use super::{Line, Usage, facts, locked_packages, measured, mib, table, written_back};
use crate::bench_lock;
use crate::changed;
use crate::images::Workshop;
use crate::metadata::PUBLIC_KEY_NAME;
use crate::process::output;
use crate::tree_judge;

/// What is built: the larger demo.
const RECIPE: &str = "demo-node.toml";
/// The package that changes from one build to the next.
const CHANGED: &str = "demo-release";
/// How the file of the package begins that says which release this is.
const RELEASE: &str = "demo-release-";

/// Runs every contender `runs` times, prints the table and writes it to
/// `docs/explanation/speed.md`.
pub fn run(workshop: &Workshop, runs: usize) -> Result<()> {
    ensure!(runs > 0, "nothing to measure in 0 runs");
    println!("== the trees are the same");
    tree_judge::judge(workshop)?;
    let bench = Bench::new(workshop)?;
    let mut lines = Contender::ALL.map(|contender| Line::new(contender.title()));
    // the first run warms caches and is not counted
    for run in 0..=runs {
        eprintln!("run {run} of {runs}");
        for (line, contender) in lines.iter_mut().zip(Contender::ALL) {
            let usage = bench.measure(contender)?;
            if run > 0 {
                line.runs.push(usage);
            }
        }
    }
    let limit = Limit::measure(&bench.rpms()?, &bench.folder)?;
    let text = report(&lines, runs, &limit, &bench)?;
    print!("{text}");
    let path = workshop.top.join("docs/explanation/speed.md");
    // `bench lock` wrote the last section.
    let before = fs::read_to_string(&path).unwrap_or_default();
    fs::write(&path, format!("{text}\n{}", bench_lock::section(&before)))?;
    Ok(fs::remove_dir_all(&bench.folder)?)
}

/// One way of building.
#[derive(Clone, Copy)]
enum Contender {
    Cold,
    OneChanged,
    Unchanged,
    WithBundle,
    Dnf,
    Mkosi,
    Rpmoci,
    Rpm,
}

impl Contender {
    const ALL: [Self; 8] = [
        Self::Cold,
        Self::OneChanged,
        Self::Unchanged,
        Self::WithBundle,
        Self::Dnf,
        Self::Mkosi,
        Self::Rpmoci,
        Self::Rpm,
    ];

    const fn title(self) -> &'static str {
        match self {
            Self::Cold => "`slipway build --disk-only`, store empty",
            Self::OneChanged => "the same, one package changed",
            Self::Unchanged => "the same, nothing changed",
            Self::WithBundle => "`slipway build` with its bundle, store filled",
            Self::Dnf => "dnf, mkfs.erofs (lz4), veritysetup, sfdisk, dd",
            Self::Mkosi => "mkosi (erofs with lz4, verity)",
            Self::Rpmoci => "rpmoci build --locked, an OCI image only",
            Self::Rpm => "rpm -i --noscripts, a tree only",
        }
    }
}

fn repository(workshop: &Workshop) -> Result<PathBuf> {
    Ok(workshop.out().join("repository").canonicalize()?)
}

/// The files of the locked packages.
fn locked_files(lock: &Path, repository: &Path) -> Result<Vec<PathBuf>> {
    let lock: toml::Table = fs::read_to_string(lock)?.parse()?;
    let packages = lock.get("package").and_then(toml::Value::as_array);
    packages
        .into_iter()
        .flatten()
        .map(|package| {
            let location = package.get("location").and_then(toml::Value::as_str);
            Ok(repository.join(location.context("a package without a location")?))
        })
        .collect()
}

struct Bench<'w> {
    workshop: &'w Workshop,
    folder: PathBuf,
    lock: PathBuf,
    /// of the same recipe, with one newer package
    changed: (PathBuf, PathBuf),
    mkosi: Mkosi,
    rpmoci: Rpmoci,
}

impl<'w> Bench<'w> {
    fn new(workshop: &'w Workshop) -> Result<Self> {
        let folder = workshop.out().join("bench");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let lock = folder.join("lock.toml");
        let recipe = workshop.top.join("recipes").join(RECIPE);
        workshop.lock(&recipe, &lock)?;
        let changed = changed::recipe_with_newer(workshop, RECIPE, CHANGED, &folder)?;
        let changed_lock = folder.join("changed.lock.toml");
        workshop.lock(&changed, &changed_lock)?;
        let changed = (changed, changed_lock);
        let rpms = locked_files(&lock, &repository(workshop)?)?;
        let is_release = |path: &&PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(RELEASE))
        };
        let release = rpms.iter().find(is_release).context("no package names the release")?;
        let rpmoci = Rpmoci::new(&folder, release)?;
        Ok(Self { workshop, folder, lock, changed, mkosi: Mkosi::new()?, rpmoci })
    }

    fn repository(&self) -> Result<PathBuf> {
        repository(self.workshop)
    }

    fn packages(&self) -> Result<Vec<String>> {
        locked_packages(&fs::read_to_string(&self.lock)?)
    }

    fn rpms(&self) -> Result<Vec<PathBuf>> {
        locked_files(&self.lock, &self.repository()?)
    }

    fn slipway(&self, recipe: &Path, lock: &Path) -> Result<Command> {
        let programs = &self.workshop.programs;
        let mut command = Command::new(&programs.slipway);
        command.arg("build").arg(recipe).arg("--lock").arg(lock);
        command.arg("--tools").arg(&programs.tools).arg("--keys").arg(self.workshop.keys()?);
        command.arg("--store").arg(self.folder.join("store"));
        command.arg("--out").arg(self.folder.join("images"));
        Ok(command)
    }

    fn disk_only(&self) -> Result<Command> {
        let recipe = self.workshop.top.join("recipes").join(RECIPE);
        let mut command = self.slipway(&recipe, &self.lock)?;
        command.arg("--disk-only");
        Ok(command)
    }

    /// Each from the state its title names; what prepares that is not measured.
    fn measure(&self, contender: Contender) -> Result<Usage> {
        match contender {
            Contender::Cold => {
                self.remove("store")?;
                self.remove("images")?;
                measured(&self.disk_only()?, &self.folder)
            }
            Contender::OneChanged => {
                output(&mut self.disk_only()?)?;
                self.forget_changed()?;
                let mut command = self.slipway(&self.changed.0, &self.changed.1)?;
                measured(command.arg("--disk-only"), &self.folder)
            }
            Contender::Unchanged => {
                output(&mut self.disk_only()?)?;
                measured(&self.disk_only()?, &self.folder)
            }
            Contender::WithBundle => {
                self.remove("images")?;
                let recipe = self.workshop.top.join("recipes").join(RECIPE);
                measured(&self.slipway(&recipe, &self.lock)?, &self.folder)
            }
            Contender::Dnf => self.dnf_chain(),
            Contender::Mkosi => {
                let folder = self.folder.join("mkosi");
                fs::create_dir_all(&folder)?;
                let command = self.mkosi.build(&folder, &self.repository()?, &self.packages()?)?;
                let usage = measured(&command, &self.folder)?;
                mkosi::clean(&folder)?;
                Ok(usage)
            }
            Contender::Rpmoci => {
                self.remove("rpmoci")?;
                let folder = self.folder.join("rpmoci");
                fs::create_dir(&folder)?;
                let build = self.rpmoci.build(&folder, &self.repository()?, &self.packages()?)?;
                measured(&build, &self.folder)
            }
            Contender::Rpm => self.rpm(),
        }
    }

    /// The steps of a cold build.
    fn profile(&self) -> Result<String> {
        self.remove("store")?;
        self.remove("images")?;
        written_back()?;
        profile::measure(&mut self.disk_only()?)
    }

    /// Takes it out of the way. It is deleted after the last run only: where ext4
    /// has just deleted many files, making new ones takes it several times as
    /// long for a minute, and that would be measured with whoever comes next.
    fn remove(&self, name: &str) -> Result<()> {
        let removed = self.folder.join("removed");
        fs::create_dir_all(&removed)?;
        let number = fs::read_dir(&removed)?.count();
        match fs::rename(self.folder.join(name), removed.join(number.to_string())) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The store as it was before the newer package was ever built.
    fn forget_changed(&self) -> Result<()> {
        let lock = fs::read_to_string(&self.changed.1)?;
        let before = fs::read_to_string(&self.lock)?;
        let digests = |text: &str| -> Vec<String> {
            let lines = text.lines().filter_map(|line| line.strip_prefix("sha256 = \""));
            lines.map(|rest| rest.trim_end_matches('"').to_owned()).collect()
        };
        let known = digests(&before);
        for digest in digests(&lock).into_iter().filter(|digest| !known.contains(digest)) {
            let name = format!("{digest}*");
            let store = self.folder.join("store");
            output(Command::new("find").arg(&store).args(["-name", &name, "-delete"]))?;
        }
        Ok(())
    }

    /// dnf on exactly the packages of the lock, with every signature checked;
    /// then what makes a disk of its tree.
    fn dnf_chain(&self) -> Result<Usage> {
        for made in ["root", "dnf", "root.erofs", "root.verity", "chain.raw"] {
            self.remove(made)?;
        }
        let mut usage = measured(&self.dnf()?, &self.folder)?;
        let path = |name: &str| self.folder.join(name);
        let mut erofs = self.mkosi.enter(&[&self.folder], "mkfs.erofs");
        erofs.args(["-zlz4", "-C65536", "-T0", "-U", "00000000-0000-4000-8000-000000000001"]);
        erofs.arg(path("root.erofs")).arg(path("root"));
        usage = usage.then(measured(&erofs, &self.folder)?);
        let mut verity = Command::new("veritysetup");
        verity.arg("format").arg(path("root.erofs")).arg(path("root.verity"));
        usage = usage.then(measured(&verity, &self.folder)?);
        let mut assembly = Command::new("sh");
        assembly.current_dir(&self.folder).args(["-euc", ASSEMBLY]);
        Ok(usage.then(measured_in(&assembly, &self.folder)?))
    }

    fn dnf(&self) -> Result<Command> {
        let url = format!("file://{}", self.repository()?.display());
        let scratch = self.folder.join("dnf");
        for made in ["repos", "log"] {
            fs::create_dir_all(scratch.join(made))?;
        }
        let definition = format!(
            "[demo]\nname=demo\nbaseurl={url}\nenabled=1\ngpgcheck=1\nrepo_gpgcheck=1\n\
             gpgkey={url}/{PUBLIC_KEY_NAME}\n"
        );
        fs::write(scratch.join("repos/demo.repo"), definition)?;
        let mut dnf = Command::new("dnf");
        dnf.args(["-y", "-q", "--releasever=3.0", "--setopt=install_weak_deps=0"]);
        dnf.arg(format!("--installroot={}", self.folder.join("root").display()));
        for (setting, folder) in
            [("reposdir", "repos"), ("cachedir", "cache"), ("logdir", "log"), ("persistdir", "lib")]
        {
            dnf.arg(format!("--setopt={setting}={}", scratch.join(folder).display()));
        }
        dnf.arg("install").args(self.packages()?);
        Ok(dnf)
    }

    fn rpm(&self) -> Result<Usage> {
        self.remove("rpm-root")?;
        let root = self.folder.join("rpm-root");
        fs::create_dir(&root)?;
        let rpm = || {
            let mut rpm = Command::new("rpm");
            rpm.arg("--root").arg(&root).args(["--define", "_dbpath /var/lib/rpm"]);
            rpm
        };
        output(rpm().arg("--import").arg(self.repository()?.join(PUBLIC_KEY_NAME)))?;
        let mut install = rpm();
        install.args(["-i", "--noscripts"]).args(self.rpms()?);
        measured(&install, &self.folder)
    }
}

/// A GPT with the two partitions, as a person would put them together.
const ASSEMBLY: &str = "\
root=$(stat -c %s root.erofs) verity=$(stat -c %s root.verity)
mib() { echo $((($1 + 1048575) / 1048576)); }
truncate -s $(( $(mib $root) + $(mib $verity) + 3 ))M chain.raw
printf 'label: gpt\\nstart=1MiB,size=%dMiB\\nsize=%dMiB\\n' $(mib $root) $(mib $verity) |
    sfdisk -q chain.raw
dd if=root.erofs of=chain.raw bs=1M seek=1 conv=notrunc,sparse status=none
dd if=root.verity of=chain.raw bs=1M seek=$(( $(mib $root) + 1 )) conv=notrunc status=none";

/// As [`measured`], in the command's own folder.
fn measured_in(command: &Command, scratch: &Path) -> Result<Usage> {
    let mut shell = Command::new("env");
    shell.arg("-C").arg(command.get_current_dir().unwrap_or(Path::new(".")));
    shell.arg(command.get_program()).args(command.get_args());
    measured(&shell, scratch)
}

fn report(lines: &[Line], runs: usize, limit: &Limit, bench: &Bench<'_>) -> Result<String> {
    let packages = bench.packages()?.len();
    let mut text = format!(
        "# Speed\n\nGenerated by `cargo run --release -p ci -- bench compose`; do not edit.\n\n\
        From {packages} signed packages on this machine ({} of RPMs, {} unpacked) to a raw disk with an \
        erofs root and its dm-verity tree. The tree slipway makes was held against dnf's, path by path \
        and byte by byte, in the same run.\n\n",
        mib(limit.packed_bytes),
        mib(limit.unpacked_bytes)
    );
    text += &table(lines, runs);
    let seconds = |time: std::time::Duration| time.as_secs_f64();
    let cold =
        lines.first().map_or(f64::NAN, |line| line.least_and_median(|usage| usage.wall_seconds).1);
    writeln!(
        text,
        "\nThe limit: unpacking all payloads takes {:.2} s, SHA-256 of every package, file and \
         block {:.2} s, writing the root {:.2} s, each on one core: {:.2} s in all. The cold build \
         takes {:.1} times as long on two.\n",
        seconds(limit.unpack),
        seconds(limit.hash),
        seconds(limit.write),
        seconds(limit.total()),
        cold / seconds(limit.total()),
    )?;
    writeln!(text, "## Where the time of a cold build goes\n\n{}", bench.profile()?)?;
    text += &facts(&bench.folder)?;
    Ok(text)
}
