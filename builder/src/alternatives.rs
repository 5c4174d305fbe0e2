//! `alternatives --install` of chkconfig: one of several programs under a common
//! name, through `/etc/alternatives`, with what is known of each in
//! `/var/lib/alternatives` (chkconfig 1.20 to 1.25, `alternatives.c`).
//!
//! Debian's `update-alternatives` is another program with other files, and is
//! not done here.

use crate::tree::{Node, PathError, Tree, TreeError, TreePath};

mod state;

use state::{Alternative, Link, State};

/// Where the links of all names are.
const LINKS: &str = "/etc/alternatives";
/// Where what is known of each name is.
const STATES: &str = "/var/lib/alternatives";
/// A state names some programs and their manual pages. Each of them is held for
/// each alternative, so it may come to a thousand times that.
const MAX_FILE_BYTES: u64 = 64 << 10;
/// Exit status for whatever goes wrong.
const FAILURE: i32 = 2;

/// Why a call is not carried out here.
#[derive(Debug, thiserror::Error)]
pub enum AlternativesError {
    /// It comes to more than is known.
    #[error("alternatives of {name}: {reason}")]
    Unknown {
        /// Of which name.
        name: String,
        /// What it comes to.
        reason: &'static str,
    },
    /// The tree does not take it.
    #[error("alternatives")]
    Tree(#[from] TreeError),
}

impl From<PathError> for AlternativesError {
    fn from(error: PathError) -> Self {
        Self::Tree(error.into())
    }
}

/// A call of `alternatives --install`.
#[derive(Debug, PartialEq, Eq)]
pub struct Call {
    name: String,
    link: String,
    new: Alternative,
    /// Whether it says `--follower`, which older programs do not know.
    pub follower: bool,
}

impl Call {
    /// Reads arguments; none if they ask for more than is known.
    #[must_use]
    pub fn parse(words: &[&str]) -> Option<Self> {
        let (mut installed, mut followers, mut family) = (None, Vec::new(), None);
        let (mut rest, mut follower) = (words, false);
        while let [option, after @ ..] = rest {
            rest = match (*option, after) {
                ("--install", [link, name, path, priority, rest @ ..]) if installed.is_none() => {
                    installed = Some((three(link, name, path)?, decimal(priority)?));
                    rest
                }
                ("--slave" | "--follower", [link, name, path, rest @ ..]) => {
                    follower |= *option == "--follower";
                    followers.push(three(link, name, path)?);
                    rest
                }
                ("--family", [name, rest @ ..]) if !name.is_empty() && !name.contains('@') => {
                    family = Some((*name).to_owned());
                    rest
                }
                _ => return None,
            };
        }
        let (Link { link, name, target }, priority) = installed?;
        let new = Alternative { target: target?, family, priority, followers };
        Some(Self { name, link, new, follower })
    }

    /// Carries it out; gives the exit status. The tree may be changed in part
    /// when it fails.
    ///
    /// # Errors
    /// If that takes more than is known here; then the program has to run.
    pub fn run(&self, tree: &mut Tree) -> Result<i32, AlternativesError> {
        if !is_directory(tree, LINKS) || !is_directory(tree, STATES) {
            return Ok(FAILURE);
        }
        let unknown = |reason| AlternativesError::Unknown { name: self.name.clone(), reason };
        let path = format!("{STATES}/{}", self.name);
        let mut state = match tree.get(&path) {
            Some(_) => {
                let bytes = tree.read(&path, MAX_FILE_BYTES)?;
                let text = String::from_utf8(bytes).ok();
                let read = text.and_then(|text| State::read(&text));
                read.ok_or_else(|| unknown("what is written down of it cannot be read"))?
            }
            None => State::new(&self.link),
        };
        if state.link != self.link {
            return Ok(FAILURE);
        }
        let leads_to = target_of(tree, &format!("{LINKS}/{}", self.name));
        state.look(leads_to);
        let (replaced, unused) =
            state.add(&self.new).ok_or_else(|| unknown("two links for one follower"))?;
        for link in unused {
            remove_links(tree, &link)?;
        }
        write(tree, &path, &state.to_text())?;
        if replaced || state.auto {
            make_links(tree, &state, &self.name)?;
        }
        Ok(0)
    }
}

fn three(link: &str, name: &str, path: &str) -> Option<Link> {
    // The program tidies what is written otherwise.
    let tidy = |path: &str| TreePath::new(path).is_ok_and(|same| same.as_str() == path);
    let plain = !name.is_empty() && !name.contains('/');
    (tidy(link) && tidy(path) && plain).then(|| Link {
        link: link.to_owned(),
        name: name.to_owned(),
        target: Some(path.to_owned()),
    })
}

/// A number without a leading zero, which would make it octal.
fn decimal(text: &str) -> Option<i32> {
    let number: i32 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

fn is_directory(tree: &Tree, path: &str) -> bool {
    tree.resolve(path).is_some_and(|id| tree.inode(id).node.is_directory())
}

fn target_of(tree: &Tree, path: &str) -> Option<String> {
    match &tree.get(path)?.node {
        Node::Symlink(target) => Some(target.clone()),
        _ => None,
    }
}

/// A file of root's in place of the old one.
fn write(tree: &mut Tree, path: &str, text: &str) -> Result<(), TreeError> {
    tree.write(&TreePath::new(path)?, 0o644, text.as_bytes().to_vec())
}

/// The links of the alternative that counts now.
fn make_links(tree: &mut Tree, state: &State, name: &str) -> Result<(), AlternativesError> {
    let chosen = state.chosen();
    let target = Some(chosen.target.clone());
    let leader = Link { link: state.link.clone(), name: name.to_owned(), target };
    for link in std::iter::once(&leader).chain(&chosen.followers) {
        match &link.target {
            Some(target) => make_link(tree, link, target)?,
            None => remove_links(tree, link)?,
        }
    }
    Ok(())
}

fn make_link(tree: &mut Tree, link: &Link, target: &str) -> Result<(), AlternativesError> {
    let between = format!("{LINKS}/{}", link.name);
    let unknown = |reason| AlternativesError::Unknown { name: link.name.clone(), reason };
    let is_link = target_of(tree, &link.link).is_some();
    // What is there and no link stays, and the rest is made all the same.
    if is_link || tree.get(&link.link).is_none() {
        let place = TreePath::new(&link.link)?;
        let parent = place.split().map(|(parent, _)| parent);
        if !parent.is_some_and(|parent| is_directory(tree, parent.as_str())) {
            return Err(unknown("the folder of its link is not there"));
        }
        tree.symlink(&place, &between)?;
    }
    Ok(tree.symlink(&TreePath::new(&between)?, target)?)
}

fn remove_links(tree: &mut Tree, link: &Link) -> Result<(), AlternativesError> {
    for path in [format!("{LINKS}/{}", link.name), link.link.clone()] {
        if target_of(tree, &path).is_some() {
            tree.remove(&TreePath::new(&path)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
