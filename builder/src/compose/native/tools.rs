//! Tools whose work is known whole: `systemd-tmpfiles`, `alternatives`,
//! `systemd-hwdb` and `journalctl --update-catalog`. There are others of these
//! names, so the program in the tree has to be the one that is meant.

use super::super::shell::NotUnderstood;
use super::{SEARCHED, World};
use crate::tree::Tree;
use crate::{alternatives, catalog, hwdb, tmpfiles};

/// The largest of these programs has 300 KB.
const MAX_PROGRAM_BYTES: u64 = 16 << 20;

/// A call that is understood.
#[derive(Debug)]
pub(super) struct ToolCall {
    /// As the script names it.
    program: String,
    tool: Tool,
}

#[derive(Debug)]
enum Tool {
    Tmpfiles(tmpfiles::Call),
    Alternatives(Box<alternatives::Call>),
    Hwdb { usr: bool },
    Catalog,
}

impl ToolCall {
    /// Reads a call; none if it is not understood.
    pub fn parse(program: &str, name: &str, words: &[&str]) -> Option<Self> {
        let tool = match (name, words) {
            ("systemd-tmpfiles", _) => Tool::Tmpfiles(tmpfiles::Call::parse(words)?),
            ("alternatives" | "update-alternatives", _) => {
                Tool::Alternatives(Box::new(alternatives::Call::parse(words)?))
            }
            ("systemd-hwdb", ["update"]) => Tool::Hwdb { usr: false },
            ("systemd-hwdb", ["update", "--usr"] | ["--usr", "update"]) => Tool::Hwdb { usr: true },
            ("journalctl", ["--update-catalog"]) => Tool::Catalog,
            _ => return None,
        };
        Some(Self { program: program.to_owned(), tool })
    }

    /// Does it; gives the exit status.
    pub fn run(&self, world: &mut World<'_>) -> Result<i32, NotUnderstood> {
        if !self.is_meant(world.tree) {
            return Err(NotUnderstood(format!("this {}, which is another", self.program)));
        }
        let tree = &mut *world.tree;
        match &self.tool {
            Tool::Tmpfiles(call) => call.run(tree).map_err(|error| reason(&error)),
            Tool::Alternatives(call) => call.run(tree).map_err(|error| reason(&error)),
            Tool::Hwdb { usr } => {
                hwdb::update(tree, *usr).map(|()| 0).map_err(|error| reason(&error))
            }
            Tool::Catalog => catalog::update(tree).map(|()| 0).map_err(|error| reason(&error)),
        }
    }

    /// Words that the program has inside, and one that it must not have.
    fn marks(&self) -> (Vec<&'static str>, Option<&'static str>) {
        match &self.tool {
            Tool::Tmpfiles(_) => (vec!["/usr/lib/tmpfiles.d", "Running create action for"], None),
            Tool::Alternatives(call) => {
                let follower = call.follower.then_some("--follower");
                let known = ["/var/lib/alternatives", "Copyright (C) 2001 Red Hat"];
                // Later ones look for what they know elsewhere, too.
                (known.into_iter().chain(follower).collect(), Some("alternatives.admindir"))
            }
            Tool::Hwdb { .. } => (vec!["Update the hwdb database"], None),
            Tool::Catalog => (vec!["/var/lib/systemd/catalog/database"], None),
        }
    }

    fn is_meant(&self, tree: &Tree) -> bool {
        let places: Vec<String> = match self.program.contains('/') {
            true => vec![self.program.clone()],
            false => SEARCHED.iter().map(|folder| format!("{folder}/{}", self.program)).collect(),
        };
        let place = places.iter().find(|place| tree.resolve(place).is_some());
        let bytes = place.and_then(|place| tree.read(place, MAX_PROGRAM_BYTES).ok());
        let (has, has_not) = self.marks();
        bytes.is_some_and(|bytes| {
            has.iter().all(|mark| holds(&bytes, mark))
                && !has_not.is_some_and(|mark| holds(&bytes, mark))
        })
    }
}

fn holds(bytes: &[u8], mark: &str) -> bool {
    bytes.windows(mark.len()).any(|part| part == mark.as_bytes())
}

/// An error and what it comes of.
pub(super) fn reason(error: &dyn std::error::Error) -> NotUnderstood {
    let (mut shown, mut source) = (error.to_string(), error.source());
    while let Some(cause) = source {
        shown = format!("{shown}: {cause}");
        source = cause.source();
    }
    NotUnderstood(shown)
}

#[cfg(test)]
mod tests {
    use super::super::{Notes, run};
    use crate::package::{ScriptFlags, Scriptlet};
    use crate::tree::testing::tree;
    use crate::tree::{Tree, TreePath};

    const PROGRAM: &str = "/usr/lib/tmpfiles.d\0Running create action for entry %c %s";

    fn with_program(text: &str) -> Tree {
        let mut tree = tree(&[("/usr/lib/tmpfiles.d/a.conf", "d /var/a\n")]);
        let path = TreePath::new("/usr/bin/systemd-tmpfiles").unwrap();
        tree.write(&path, 0o755, text.as_bytes().to_vec()).unwrap();
        tree
    }

    fn scriptlet(text: &str) -> Scriptlet {
        Scriptlet {
            phase: crate::package::Phase::Post,
            program: vec!["/bin/sh".to_owned()],
            text: text.to_owned(),
            flags: ScriptFlags::default(),
            conditions: Vec::new(),
            priority: 0,
        }
    }

    #[test]
    fn only_the_program_that_is_meant_is_stood_in_for() {
        let script = scriptlet("systemd-tmpfiles --create || :\n");
        let mut notes = Notes::default();
        let mut call = |tree: &mut Tree| run(tree, &mut notes, &script, &script.text, &[], b"");
        let mut known = with_program(PROGRAM);
        assert_eq!(call(&mut known).unwrap().status, 0);
        assert!(known.get("/var/a").is_some());
        let mut other = with_program("#!/bin/sh\n");
        let before = other.clone();
        assert!(call(&mut other).is_err());
        assert_eq!(other, before);
    }
}
