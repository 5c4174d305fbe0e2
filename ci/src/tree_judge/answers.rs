//! rpm asked about the image, which it cannot write to, and about dnf's root: it
//! has to say the same of both. In the image it looks where any rpm does; in the
//! root, where Debian's rpm has put its database.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Paths in one call, well within the longest command line.
const AT_ONCE: usize = 2000;
/// What dnf enters of the key that it checks with; an image has no use for it.
const KEY: [&str; 2] = ["gpg-pubkey-", "gpg("];
/// Where rpm looks, but Debian's.
const DATABASE: [&str; 2] = ["--define", "_dbpath /var/lib/rpm"];

/// What rpm says of a file that no package has, if this machine has none of that
/// name either: it looks outside of the root.
const NOBODYS: &str = "error: file ";

/// The two roots.
pub(super) struct Asked<'a> {
    pub image: &'a Path,
    pub root: &'a Path,
}

impl Asked<'_> {
    /// Which packages there are, and which of them own `paths`, and provide
    /// whatever is provided.
    pub(super) fn say_the_same(&self, paths: &[&str]) -> Result<()> {
        let packages = self.both(&["-qa"], &[])?.same("packages")?;
        let provided = self.both(&["-qa", "--queryformat", "[%{PROVIDENAME}\n]"], &[])?;
        let provided: BTreeSet<String> = provided.same("provides")?.into_iter().collect();
        let names: Vec<&str> = provided.iter().map(String::as_str).collect();
        self.both(&["-q", "--whatprovides"], &names)?.same("providers")?;
        let owners = self.both(&["-qf"], paths)?.same("owners of files")?;
        let is_nobodys = |line: &&String| line.starts_with(NOBODYS) || line.contains("not owned");
        let unowned = owners.iter().filter(is_nobodys).count();
        ensure!(unowned < paths.len() / 4, "rpm knows no owner of {unowned} files");
        println!(
            "rpm: says the same in the image, read-only, of {} packages, {} provides and the \
             owners of {} files",
            packages.len(),
            names.len(),
            paths.len()
        );
        Ok(())
    }

    /// Whatever rpm finds changed in the image, it does in dnf's root as well:
    /// files that scripts edit. What else it misses has to be `left_out`.
    pub(super) fn verify_the_same(&self, left_out: impl Fn(&str) -> bool) -> Result<()> {
        let Both { image, root } = self.both(&["-Va"], &[])?;
        let (missing, changed): (Vec<_>, Vec<_>) =
            image.into_iter().partition(|line| line.starts_with("missing "));
        for line in &missing {
            let path = line.split_ascii_whitespace().last().unwrap_or_default();
            ensure!(left_out(path), "rpm misses in the image: {line}");
        }
        for line in &changed {
            println!("rpm -Va, in both: {line}");
        }
        Both { image: changed, root }.same("files that are not as they were packaged")?;
        println!("rpm -Va: misses {} files that the recipe leaves out", missing.len());
        Ok(())
    }

    /// Asks of both at once: rpm waits more than it works.
    fn both(&self, options: &[&str], words: &[&str]) -> Result<Both> {
        std::thread::scope(|scope| {
            let image = scope.spawn(|| ask(self.image, &DATABASE, options, words));
            let root = ask(self.root, &[], options, words)?;
            let image = image.join().ok().context("rpm was not asked about the image")??;
            Ok(Both { image, root })
        })
    }
}

/// Two answers, line by line.
struct Both {
    image: Vec<String>,
    root: Vec<String>,
}

impl Both {
    fn same(self, what: &str) -> Result<Vec<String>> {
        let differ = self.image.iter().zip(&self.root).find(|(image, root)| image != root);
        ensure!(
            self.image == self.root,
            "rpm lists {} {what} in the image and {} in dnf's root; the first difference: {differ:?}",
            self.image.len(),
            self.root.len()
        );
        ensure!(!self.image.is_empty(), "rpm lists no {what}");
        Ok(self.image)
    }
}

fn ask(root: &Path, database: &[&str], options: &[&str], words: &[&str]) -> Result<Vec<String>> {
    let calls = if words.is_empty() { vec![words] } else { words.chunks(AT_ONCE).collect() };
    let mut lines = Vec::new();
    for words in calls {
        let mut rpm = Command::new("rpm");
        rpm.arg("--root").arg(root).args(database).args(options).args(words);
        // It fails if it finds anything, and then says so on standard output.
        let out = rpm.env("LC_ALL", "C.UTF-8").output().context("cannot run rpm")?;
        let text = String::from_utf8_lossy(&out.stdout);
        let complaints = String::from_utf8_lossy(&out.stderr);
        let odd = complaints.lines().find(|line| !line.starts_with(NOBODYS));
        ensure!(odd.is_none(), "rpm {options:?} in {}: {complaints}", root.display());
        let said = text.lines().chain(complaints.lines());
        let kept = said.filter(|line| !KEY.iter().any(|key| line.starts_with(key)));
        lines.extend(kept.map(str::to_owned));
    }
    if words.is_empty() {
        lines.sort();
    }
    Ok(lines)
}
