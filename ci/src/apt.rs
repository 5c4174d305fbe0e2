//! apt with a state of its own: lists, archives and an idea of what is installed
//! that are not the machine's, so a plain user can resolve and download. The
//! machine's sources and keyrings are read, and nothing of the machine changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

/// Debian's name for the release that everything here is taken from.
const RELEASE: &str = "bookworm";

/// How often a download is tried.
const TRIES: u32 = 4;

/// A private apt.
pub struct PrivateApt {
    folder: PathBuf,
}

impl PrivateApt {
    /// Sets one up in `folder`, which is kept between runs. Packages named in
    /// `absent` count as installed, so nothing brings them in.
    pub fn new(folder: &Path, absent: impl Iterator<Item = String>) -> Result<Self> {
        for name in ["lists/partial", "archives/partial", "sources"] {
            let path = folder.join(name);
            fs::create_dir_all(&path)
                .with_context(|| format!("cannot create {}", path.display()))?;
        }
        let apt = PrivateApt { folder: folder.to_path_buf() };
        apt.write("status", &absent.map(|name| stub(&name)).collect::<String>())?;
        apt.write("sources/debian.sources", &debian_sources(Path::new("/etc/apt"))?)?;
        apt.write("apt.conf", &apt.configuration())?;
        Ok(apt)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn configuration(&self) -> String {
        let folder = self.folder.display();
        let mut text = format!(
            "Dir::State \"{folder}\";\nDir::State::lists \"{folder}/lists\";\n\
             Dir::State::status \"{folder}/status\";\nDir::State::extended_states \"{folder}/extended\";\n\
             Dir::Cache \"{folder}\";\nDir::Cache::archives \"{folder}/archives\";\n\
             Dir::Etc::sourcelist \"/dev/null\";\nDir::Etc::sourceparts \"{folder}/sources\";\n\
             Dir::Etc::preferences \"/dev/null\";\nDir::Etc::preferencesparts \"/dev/null\";\n\
             APT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; }};\n\
             APT::Install-Recommends \"false\";\nAPT::Sandbox::User \"\";\n\
             APT::Keep-Downloaded-Packages \"true\";\n\
             Acquire::Retries \"3\";\nAcquire::Languages \"none\";\n"
        );
        // Hooks of the machine (image clean-ups, desktop caches) are not for us.
        for hook in ["APT::Update::Post-Invoke", "APT::Update::Post-Invoke-Success"] {
            text.push_str(&format!("#clear {hook};\n"));
        }
        for hook in ["DPkg::Post-Invoke", "DPkg::Pre-Install-Pkgs"] {
            text.push_str(&format!("#clear {hook};\n"));
        }
        for part in ["", "-icons", "-icons-small", "-icons-large"] {
            text.push_str(&format!("#clear Acquire::IndexTargets::deb::DEP-11{part};\n"));
        }
        text
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("apt-get");
        command.arg("-q").arg("-c").arg(self.folder.join("apt.conf")).args(arguments);
        command
    }

    /// Whether package lists were fetched at some time.
    pub fn has_lists(&self) -> bool {
        let lists = fs::read_dir(self.folder.join("lists"));
        lists.is_ok_and(|mut all| {
            all.any(|entry| {
                entry.is_ok_and(|e| e.file_name().to_string_lossy().contains("_Packages"))
            })
        })
    }

    /// Fetches the package lists.
    pub fn update(&self) -> Result<()> {
        let make = || self.command(&["update", "--error-on=any"]);
        process::output_retrying(TRIES, make).map(drop).context("cannot fetch Debian's lists")
    }

    fn install<'a>(&self, mode: &[&'a str], roots: &'a [String]) -> Vec<&'a str> {
        let names = roots.iter().map(String::as_str);
        mode.iter().copied().chain(["-y", "install"]).chain(names).collect()
    }

    /// The file names, with versions, of `roots` and everything they depend on.
    pub fn resolve(&self, roots: &[String]) -> Result<Vec<String>> {
        let arguments = self
            .install(&["--print-uris", "-qq", "-o", "Dir::Cache::archives=/nonexistent"], roots);
        let text = process::output(&mut self.command(&arguments))?;
        let mut names: Vec<String> = text
            .lines()
            .filter(|line| line.starts_with('\''))
            .filter_map(|line| line.split_whitespace().nth(1))
            .map(str::to_string)
            .collect();
        names.sort();
        if names.is_empty() {
            bail!("apt-get names no packages for {}", roots.join(" "));
        }
        Ok(names)
    }

    /// Downloads `roots` and everything they depend on; what is there already is
    /// checked and kept. Gives the paths of `files`.
    pub fn download(&self, roots: &[String], files: &[String]) -> Result<Vec<PathBuf>> {
        let arguments = self.install(&["--download-only"], roots);
        process::output_retrying(TRIES, || self.command(&arguments))
            .context("cannot download Debian's packages")?;
        let archives = self.folder.join("archives");
        let paths: Vec<PathBuf> = files.iter().map(|name| archives.join(name)).collect();
        match paths.iter().find(|path| !path.is_file()) {
            Some(path) => bail!("apt-get did not download {}", path.display()),
            None => Ok(paths),
        }
    }
}

fn stub(name: &str) -> String {
    format!(
        "Package: {name}\nStatus: install ok installed\nArchitecture: all\n\
         Multi-Arch: foreign\nVersion: 99:1\nMaintainer: nobody\nDescription: left out\n\n"
    )
}

/// The machine's own source stanzas for this release, its updates and its
/// security fixes, in deb822 form; both forms of source file are understood.
pub fn debian_sources(etc_apt: &Path) -> Result<String> {
    sources(etc_apt, is_wanted_suite)
}

/// The same stanzas, and one for the release's backports, which lie where the
/// release itself lies.
pub fn backports_source(etc_apt: &Path) -> Result<String> {
    let release = sources(etc_apt, |suite| suite == RELEASE)?;
    let backports =
        release.replace(&format!("Suites: {RELEASE}\n"), "Suites: bookworm-backports\n");
    Ok(debian_sources(etc_apt)? + &backports)
}

/// The next release, from where this one lies: for tools that are newer there.
pub fn trixie_sources(etc_apt: &Path) -> Result<String> {
    let release = sources(etc_apt, |suite| suite == RELEASE)?;
    Ok(release.replace(&format!("Suites: {RELEASE}\n"), "Suites: trixie\n"))
}

fn sources(etc_apt: &Path, wanted: fn(&str) -> bool) -> Result<String> {
    let mut stanzas = String::new();
    for path in source_files(etc_apt) {
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        let deb822 = path.extension().is_some_and(|extension| extension == "sources");
        let found =
            if deb822 { deb822_stanzas(&text, wanted) } else { one_line_stanzas(&text, wanted) };
        found.into_iter().for_each(|stanza| stanzas.push_str(&stanza));
    }
    if stanzas.is_empty() {
        bail!("{} names no source of Debian 12 ({RELEASE})", etc_apt.display());
    }
    Ok(stanzas)
}

fn source_files(etc_apt: &Path) -> Vec<PathBuf> {
    let parts = fs::read_dir(etc_apt.join("sources.list.d"));
    let parts = parts.into_iter().flatten().flatten().map(|entry| entry.path());
    let known = |path: &PathBuf| path.extension().is_some_and(|e| e == "sources" || e == "list");
    let mut files: Vec<PathBuf> = parts.filter(known).collect();
    files.sort();
    files.insert(0, etc_apt.join("sources.list"));
    files
}

fn is_wanted_suite(suite: &str) -> bool {
    [RELEASE, "bookworm-updates", "bookworm-security"].contains(&suite)
}

fn deb822_stanzas(text: &str, wanted: fn(&str) -> bool) -> Vec<String> {
    let mut stanzas = Vec::new();
    let without_comments: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for stanza in without_comments.join("\n").split("\n\n") {
        let field = |name: &str| {
            let mut lines = stanza.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
        };
        let (Some(uris), Some(suites)) = (field("URIs"), field("Suites")) else {
            continue;
        };
        let on = !field("Enabled").is_some_and(|value| value.eq_ignore_ascii_case("no"));
        let suites: Vec<&str> = suites.split_whitespace().filter(|s| wanted(s)).collect();
        if on && !suites.is_empty() && field("Types").is_some_and(|types| types.contains("deb")) {
            stanzas.push(source_stanza(uris, &suites.join(" "), field("Signed-By")));
        }
    }
    stanzas
}

fn one_line_stanzas(text: &str, wanted: fn(&str) -> bool) -> Vec<String> {
    let mut stanzas = Vec::new();
    for line in text.lines().filter_map(|line| line.trim().strip_prefix("deb ")) {
        let (options, rest) = match line.trim().strip_prefix('[').and_then(|l| l.split_once(']')) {
            Some((options, rest)) => (options, rest),
            None => ("", line),
        };
        let signed_by =
            options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
        let words: Vec<&str> = rest.split_whitespace().collect();
        if let [uri, suite, _component, ..] = words[..]
            && wanted(suite)
        {
            stanzas.push(source_stanza(uri, suite, signed_by));
        }
    }
    stanzas
}

fn source_stanza(uris: &str, suites: &str, signed_by: Option<&str>) -> String {
    let signed_by = signed_by.map(|path| format!("Signed-By: {path}\n")).unwrap_or_default();
    format!("Types: deb\nURIs: {uris}\nSuites: {suites}\nComponents: main\n{signed_by}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_source_files_are_read() {
        let etc = tempfile::tempdir().unwrap();
        let parts = etc.path().join("sources.list.d");
        fs::create_dir(&parts).unwrap();
        assert!(debian_sources(etc.path()).is_err());
        fs::write(
            etc.path().join("sources.list"),
            "deb [signed-by=/k.gpg] file:/a bookworm main\ndeb file:/b other main\n",
        )
        .unwrap();
        fs::write(
            parts.join("d.sources"),
            "# note\nTypes: deb\nURIs: file:/c\n# note\nSuites: bookworm-security x\nComponents: main\n\n\
             Types: deb\nURIs: file:/d\nSuites: bookworm\nEnabled: no\n",
        )
        .unwrap();
        assert_eq!(
            debian_sources(etc.path()).unwrap(),
            "Types: deb\nURIs: file:/a\nSuites: bookworm\nComponents: main\nSigned-By: /k.gpg\n\n\
             Types: deb\nURIs: file:/c\nSuites: bookworm-security\nComponents: main\n\n"
        );
        let backports = backports_source(etc.path()).unwrap();
        assert!(backports.contains("URIs: file:/a\nSuites: bookworm-backports\n"), "{backports}");
        assert_eq!(backports.matches("Types").count(), 3);
    }
}
