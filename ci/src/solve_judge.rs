//! Whether slipway chooses the packages that dnf would install into an empty
//! root: hundreds of requests, over the demo repository and over generated
//! ones, each answered by both. dnf is asked through its own Python interface,
//! in one process, as starting it takes longer than all else; that its command
//! line says the same is tried on a few.
//!
//! There are no differences that would be passed over. What slipway does not
//! choose by a rule of its own (`docs/reference/lock.md`) dnf is asked without.

mod chosen;
pub mod listing;
pub mod random;

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::metadata::PUBLIC_KEY_NAME;
use crate::pgp_key::SigningKey;
use listing::Listing;

/// How many generated repositories; each has five requests.
pub const SEEDS: u64 = 100;
/// How many requests over the demo repository are drawn.
const DEMO_REQUESTS: usize = 100;
/// How often dnf itself is run; it takes about a second.
const COMMAND_LINES: usize = 5;
/// Differences are for people to look at; the first ones will do.
const MAX_SHOWN: usize = 5;
/// dnf's side of it, a program in Python.
pub const ANSWERS: &str = include_str!("solve_judge/answers.py");

/// A repository of a case.
#[derive(Clone)]
pub struct Place {
    id: String,
    packages: Vec<Listing>,
    priority: u32,
    cost: u32,
    exclude: Vec<String>,
    only: Vec<String>,
    /// where it is already
    path: Option<PathBuf>,
}

impl Place {
    /// An empty one, as preferred as any.
    fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            packages: Vec::new(),
            priority: 99,
            cost: 1000,
            exclude: Vec::new(),
            only: Vec::new(),
            path: None,
        }
    }
}

/// What is asked for.
#[derive(Clone, Default)]
pub struct Wanted {
    install: Vec<String>,
    exclude: Vec<String>,
    weak: bool,
    snapshot: Option<String>,
    /// What slipway does not choose by a rule of its own, and dnf does.
    never: Vec<String>,
}

/// Repositories, and requests to answer from them.
pub struct Case {
    name: String,
    repositories: Vec<Place>,
    requests: Vec<Wanted>,
}

/// The packages, or why there are none.
type Answer = Result<Vec<String>, String>;

/// Where slipway and the scratch files are.
struct Court<'c> {
    slipway: &'c Path,
    folder: &'c Path,
    key: SigningKey,
}

/// Counts of one set of requests.
#[derive(Default)]
struct Tally {
    requests: usize,
    solved: usize,
    differences: Vec<String>,
}

/// Compares all there is; `slipway` is the program, `demo` the demo repository.
/// What is made for it is kept in `keep`, if that is given.
pub fn judge(slipway: &Path, demo: &Path, seeds: u64, keep: Option<&Path>) -> Result<()> {
    let scratch = tempfile::tempdir().context("cannot make a scratch folder")?;
    let court = Court::new(slipway, keep.unwrap_or(scratch.path()))?;
    let demo = demo_case(demo)?;
    court.judge_set("the demo repository", std::slice::from_ref(&demo))?;
    court.judge_set("chosen repositories", &chosen::cases()?)?;
    let random: Vec<Case> = (0..seeds).map(random::case).collect();
    court.judge_set("generated repositories", &random)?;
    court.command_line_agrees(&demo)
}

/// Compares answers over generated repositories only.
pub fn judge_generated(slipway: &Path, seeds: Range<u64>, keep: Option<&Path>) -> Result<()> {
    let scratch = tempfile::tempdir().context("cannot make a scratch folder")?;
    let court = Court::new(slipway, keep.unwrap_or(scratch.path()))?;
    let random: Vec<Case> = seeds.map(random::case).collect();
    court.judge_set("generated repositories", &random)
}

/// The names of the packages in a repository, sorted.
pub fn names_in(repository: &Path) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(repository.join("Packages"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let parts: Vec<&str> = name.rsplitn(3, '-').collect();
        names.extend(parts.get(2).map(|name| (*name).to_owned()));
    }
    names.sort();
    Ok(names)
}

/// Random sets of names, provides and files of the demo repository.
fn demo_case(path: &Path) -> Result<Case> {
    let path = path.canonicalize()?;
    let words = names_in(&path)?;
    ensure!(words.len() > 20, "the demo repository has only {} packages", words.len());
    let others = ["/usr/bin/sh", "/bin/sh", "libc.so.6()(64bit)", "bash >= 5", "systemd-sysv"];
    let mut requests: Vec<Wanted> = Vec::new();
    let mut dice = random::Dice::new(1);
    for number in 0..DEMO_REQUESTS {
        let mut install: Vec<String> =
            (0..1 + dice.below(6)).map(|_| words[dice.below(words.len())].clone()).collect();
        if let Some(other) = others.get(number) {
            install.push((*other).to_owned());
        }
        install.sort();
        install.dedup();
        requests.push(Wanted { install, weak: number % 4 == 3, ..Wanted::default() });
    }
    requests.push(Wanted { install: words, ..Wanted::default() });
    let place = Place { path: Some(path), ..Place::new("demo") };
    Ok(Case { name: "demo".into(), repositories: vec![place], requests })
}

impl<'c> Court<'c> {
    /// Writes what every call of slipway and dnf needs.
    fn new(slipway: &'c Path, folder: &'c Path) -> Result<Self> {
        let tools = folder.join("tools");
        fs::create_dir_all(&tools)?;
        for tool in ["slipway-agent", "slipway-boot.efi", "slipway-init"] {
            fs::write(tools.join(tool), tool)?;
        }
        fs::write(folder.join("answers.py"), ANSWERS)?;
        let key = SigningKey::generate("Generated <generated@example.invalid>")?;
        Ok(Self { slipway, folder, key })
    }

    fn judge_set(&self, what: &str, cases: &[Case]) -> Result<()> {
        let mut tally = Tally::default();
        for (number, case) in cases.iter().enumerate() {
            self.write(case, number)?;
        }
        let mut dnf = self.ask_dnf(cases)?;
        let output = dnf.stdout.take().context("dnf's answers cannot be read")?;
        let mut theirs = BufReader::new(output).lines();
        for (number, case) in cases.iter().enumerate() {
            for wanted in &case.requests {
                let ours = self.slipway(case, number, wanted)?;
                let line = theirs.next().context("dnf stopped answering")??;
                let theirs = read_answer(&line)?;
                tally.count(case, wanted, &ours, &theirs);
            }
        }
        ensure!(dnf.wait()?.success(), "dnf's answers ended with an error");
        tally.report(what)
    }

    fn place(&self, place: &Place, number: usize) -> PathBuf {
        let own = || self.folder.join(format!("case{number}/{}", place.id));
        place.path.clone().unwrap_or_else(own)
    }

    fn write(&self, case: &Case, number: usize) -> Result<()> {
        for place in case.repositories.iter().filter(|place| place.path.is_none()) {
            listing::write(&self.place(place, number), &place.packages, &self.key)?;
        }
        Ok(())
    }

    /// Starts answering all requests; one line each.
    fn ask_dnf(&self, cases: &[Case]) -> Result<Child> {
        let mut questions = String::new();
        for (number, case) in cases.iter().enumerate() {
            let repositories = case.repositories.iter().map(|place| {
                json!({"id": place.id, "path": self.place(place, number), "cost": place.cost,
                       "priority": place.priority, "exclude": place.exclude, "only": place.only})
            });
            let requests = case.requests.iter().map(|wanted| {
                let exclude = [&wanted.exclude[..], &wanted.never[..]].concat();
                json!({"install": wanted.install, "exclude": exclude, "weak": wanted.weak})
            });
            let case = json!({"repositories": repositories.collect::<Vec<_>>(),
                              "requests": requests.collect::<Vec<_>>()});
            writeln!(questions, "{case}")?;
        }
        let path = self.folder.join("questions");
        fs::write(&path, questions)?;
        // Debian's own Python has dnf's modules; another one would not.
        Command::new("/usr/bin/python3")
            .arg(self.folder.join("answers.py"))
            .stdin(fs::File::open(&path)?)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot ask dnf")
    }

    fn slipway(&self, case: &Case, number: usize, wanted: &Wanted) -> Result<Answer> {
        let recipe = self.folder.join("recipe.toml");
        // nothing is there, and nothing is written
        let lock = self.folder.join("lock.toml");
        fs::write(&recipe, self.recipe(case, number, wanted))?;
        let mut command = Command::new(self.slipway);
        command.args(["lock", "--list", "--json"]).arg(&recipe).arg("--lock").arg(&lock);
        command.arg("--store").arg(self.folder.join("store"));
        let output = command.arg("--tools").arg(self.folder.join("tools")).output()?;
        if output.status.success() {
            return Ok(Ok(listed(&output.stdout)?));
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        match refusal(&said) {
            Some(why) if output.status.code() == Some(1) => Ok(Err(why)),
            _ => bail!("slipway did not answer {:?} of {}: {said}", wanted.install, case.name),
        }
    }

    fn recipe(&self, case: &Case, number: usize, wanted: &Wanted) -> String {
        let list = |texts: &[String]| Value::from(texts.to_vec()).to_string();
        let mut recipe = String::from("schema = 1\nname = \"case\"\nversion = \"1\"\n");
        if let Some(day) = &wanted.snapshot {
            let _ = writeln!(recipe, "snapshot = \"{day}\"");
        }
        for place in &case.repositories {
            let path = self.place(place, number);
            // Writing to a string does not fail.
            let _ = writeln!(
                recipe,
                "[[repository]]\nid = \"{}\"\nurl = \"{path}\"\nkeys = [\"{path}/{PUBLIC_KEY_NAME}\"]\n\
                 priority = {}\ncost = {}\nexclude = {}\nonly = {}",
                place.id,
                place.priority,
                place.cost,
                list(&place.exclude),
                list(&place.only),
                path = path.display(),
            );
        }
        let stub = if case.name == "demo" { "systemd-boot-efi" } else { "stub" };
        let _ = writeln!(
            recipe,
            "[packages]\ninstall = {}\nexclude = {}\nweak = {}\n[boot]\nkernel = \"/boot/k\"\n\
             stub = {{ package = \"{stub}\", path = \"/stub\" }}",
            list(&wanted.install),
            list(&wanted.exclude),
            wanted.weak
        );
        recipe
    }

    /// dnf's command line on a few requests of `case`, against its interface.
    fn command_line_agrees(&self, case: &Case) -> Result<()> {
        let place = case.repositories.first().context("a case without repositories")?;
        let path = self.place(place, 0);
        for wanted in case.requests.iter().take(COMMAND_LINES) {
            let few = Case {
                name: case.name.clone(),
                repositories: vec![Place { path: Some(path.clone()), ..place.clone() }],
                requests: vec![wanted.clone()],
            };
            let asked = output_of(self.ask_dnf(std::slice::from_ref(&few))?)?;
            let theirs = read_answer(asked.trim())?;
            let said = self.command_line(&path, wanted)?;
            ensure!(
                Ok(&said) == theirs.as_ref(),
                "dnf's command line says {said:?} and its interface {theirs:?}"
            );
        }
        println!("dnf's command line says the same as its interface, {COMMAND_LINES} times");
        Ok(())
    }

    /// What `dnf --installroot … --assumeno install` would install.
    fn command_line(&self, repository: &Path, wanted: &Wanted) -> Result<Vec<String>> {
        let folder = self.folder.join("dnf");
        let settings = [
            ("reposdir", "repos"),
            ("cachedir", "cache"),
            ("logdir", "log"),
            ("persistdir", "lib"),
        ];
        for (_, name) in settings {
            fs::create_dir_all(folder.join(name))?;
        }
        let definition =
            format!("[demo]\nname=demo\nbaseurl=file://{}\ngpgcheck=0\n", repository.display());
        fs::write(folder.join("repos/demo.repo"), definition)?;
        let mut dnf = Command::new("dnf");
        dnf.args(["--assumeno", "--releasever=3.0", "--setopt=best=0"]);
        dnf.arg(format!("--setopt=install_weak_deps={}", u8::from(wanted.weak)));
        dnf.arg(format!("--installroot={}", folder.join("root").display()));
        for (setting, name) in settings {
            dnf.arg(format!("--setopt={setting}={}", folder.join(name).display()));
        }
        let run = dnf
            .arg("install")
            .args(&wanted.install)
            .env("LC_ALL", "C.UTF-8")
            .env("COLUMNS", "400")
            .output()?;
        Ok(table_of(&String::from_utf8_lossy(&run.stdout)))
    }
}

fn output_of(child: Child) -> Result<String> {
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "dnf ended with an error");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The packages in the table that dnf prints before it asks, sorted.
fn table_of(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut found: Vec<String> = lines
        .filter_map(|words| match words[..] {
            [name, arch, evr, "demo", _, _] => {
                let epoch = if evr.contains(':') { "" } else { "0:" };
                Some(format!("{name}-{epoch}{evr}.{arch}"))
            }
            _ => None,
        })
        .collect();
    found.sort();
    found
}

/// Why there is no set of packages, of the events slipway wrote; nothing if it
/// failed for another reason.
fn refusal(events: &str) -> Option<String> {
    let mut events = events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let unsolvable = events.find_map(|event| event.get("unsolvable").cloned())?;
    unsolvable.is_object().then(|| unsolvable.to_string())
}

fn read_answer(line: &str) -> Result<Answer> {
    let value: Value = serde_json::from_str(line)?;
    if let Some(error) = value.get("error") {
        return Ok(Err(error.as_str().unwrap_or_default().to_owned()));
    }
    let list = value.as_array().context("dnf's answer is no list")?;
    Ok(Ok(list.iter().filter_map(Value::as_str).map(str::to_owned).collect()))
}

/// The packages that slipway lists, as dnf names them, sorted.
fn listed(json: &[u8]) -> Result<Vec<String>> {
    let list: serde_json::Value = serde_json::from_slice(json)?;
    let packages = list["packages"].as_array().context("slipway lists no packages")?;
    let nevra = |package: &serde_json::Value| {
        let text = |key: &str| package[key].as_str();
        let epoch = package["epoch"].as_u64()?;
        let (name, version) = (text("name")?, text("version")?);
        Some(format!("{name}-{epoch}:{version}-{}.{}", text("release")?, text("arch")?))
    };
    let found: Option<Vec<String>> = packages.iter().map(nevra).collect();
    let mut found = found.context("slipway lists a package without a name")?;
    found.sort();
    Ok(found)
}

impl Tally {
    fn count(&mut self, case: &Case, wanted: &Wanted, ours: &Answer, theirs: &Answer) {
        self.requests += 1;
        self.solved += usize::from(theirs.is_ok());
        let is_same = match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => ours == theirs,
            (ours, theirs) => ours.is_err() && theirs.is_err(),
        };
        if !is_same {
            self.differences.push(difference(case, wanted, ours, theirs));
        }
    }

    fn report(&self, what: &str) -> Result<()> {
        let Self { requests, solved, differences } = self;
        let same = requests - differences.len();
        println!("{what}: {requests} requests, {solved} solvable, {same} as dnf");
        ensure!(*solved > 0, "nothing was compared");
        if differences.is_empty() {
            return Ok(());
        }
        let shown = differences[..differences.len().min(MAX_SHOWN)].join("\n");
        bail!("{} of {requests} answers differ from dnf's\n{shown}", differences.len())
    }
}

fn difference(case: &Case, wanted: &Wanted, ours: &Answer, theirs: &Answer) -> String {
    let mut text = format!(
        "{}: install {:?} exclude {:?} never {:?} weak {} snapshot {:?}\n",
        case.name, wanted.install, wanted.exclude, wanted.never, wanted.weak, wanted.snapshot
    );
    for place in &case.repositories {
        let _ = writeln!(
            text,
            "  repository {} priority {} cost {} exclude {:?} only {:?}",
            place.id, place.priority, place.cost, place.exclude, place.only
        );
        place.packages.iter().for_each(|package| {
            let _ = writeln!(text, "    {package}");
        });
    }
    let _ = writeln!(text, "  slipway: {ours:?}\n  dnf:     {theirs:?}");
    if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
        let only = |some: &[String], others: &[String]| -> Vec<String> {
            some.iter().filter(|one| !others.contains(one)).cloned().collect()
        };
        let (own, other) = (only(ours, theirs), only(theirs, ours));
        let _ = writeln!(text, "  only slipway: {own:?}\n  only dnf: {other:?}");
    }
    text
}
