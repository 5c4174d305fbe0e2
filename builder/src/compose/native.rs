//! Scripts that are carried out in the tree without running them: those that
//! are made of a few commands whose effect is known.
//!
//! A script is read whole before anything is done, and what it did is taken
//! back if it comes to something that is not understood after all; then a
//! sandbox has to run it. What is done here must leave the tree that running
//! the script would leave.

use super::shell::{self, Command, NotUnderstood, Simple};
use crate::package::Scriptlet;
use crate::presets::PresetReport;
use crate::sandbox::MOUNT_POINTS;
use crate::tree::{Tree, TreePath};

mod accounts;
mod command;
mod files;
mod systemd;
mod test;
mod tools;

use command::Known;

/// Where the shell looks for a program (`_install_script_path` of rpm).
const SEARCHED: [&str; 4] = ["/sbin", "/bin", "/usr/sbin", "/usr/bin"];
/// A command that is not there, as shells have it.
const NOT_FOUND: i32 = 127;

/// What scripts ask for besides changing the tree.
#[derive(Debug, Clone, Default)]
pub struct Notes {
    /// The cache of libraries is to be made, once for all who ask.
    pub ldconfig: bool,
    /// Accounts that were made.
    pub accounts: Vec<String>,
    /// Declared accounts that were not made.
    pub skipped_accounts: Vec<String>,
    /// Units that were enabled or disabled.
    pub presets: PresetReport,
}

/// How a script ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its exit status.
    pub status: i32,
    /// What it complained of last.
    pub last_lines: String,
}

/// What commands work on.
struct World<'a> {
    tree: &'a mut Tree,
    /// What is left of what the script reads.
    input: &'a [u8],
    notes: Notes,
    complaints: Vec<String>,
}

/// Carries a script out. If it is not understood, the tree is as it was.
pub fn run(
    tree: &mut Tree,
    notes: &mut Notes,
    script: &Scriptlet,
    text: &str,
    arguments: &[String],
    input: &[u8],
) -> Result<Ended, NotUnderstood> {
    let commands = read(&script.program, text, arguments)?;
    tree.begin();
    let mut world = World { tree, input, notes: notes.clone(), complaints: Vec::new() };
    match world.all(&commands) {
        Ok(flow) => {
            let (after, complaints) = (world.notes, world.complaints);
            tree.keep();
            *notes = after;
            let last = complaints.len().saturating_sub(5);
            Ok(Ended { status: flow.status(), last_lines: complaints[last..].join("\n") })
        }
        Err(reason) => {
            tree.take_back();
            Err(reason)
        }
    }
}

/// Whether a script is made of known commands only. It may still come to
/// something that is not understood, depending on what is in the tree.
///
/// # Errors
/// What in it is not known.
pub fn understands(script: &Scriptlet) -> Result<(), NotUnderstood> {
    let arguments = ["1".to_owned(), "1".to_owned()];
    let count = if script.conditions.is_empty() { 1 } else { 2 };
    read(&script.program, &script.text, &arguments[..count]).map(drop)
}

/// Commands that are all known.
type Parsed = Vec<Step>;

#[derive(Debug)]
enum Step {
    Run { program: String, known: Known },
    And(Box<Step>, Box<Step>),
    Or(Box<Step>, Box<Step>),
    Not(Box<Step>),
    If(Parsed, Parsed, Parsed),
}

fn read(program: &[String], text: &str, arguments: &[String]) -> Result<Parsed, NotUnderstood> {
    let interpreter = program.first().map_or("/bin/sh", String::as_str);
    match command::base_name(interpreter) {
        "sh" | "bash" | "dash" if program.len() <= 1 => steps(&shell::parse(text, arguments)?),
        _ if text.trim().is_empty() => {
            let simple = Simple { words: program.to_vec(), output: None };
            Ok(vec![step(&Command::Simple(simple))?])
        }
        _ => Err(NotUnderstood(format!("interpreter {}", program.join(" ")))),
    }
}

fn steps(commands: &[Command]) -> Result<Parsed, NotUnderstood> {
    commands.iter().map(step).collect()
}

fn step(command: &Command) -> Result<Step, NotUnderstood> {
    let boxed = |command: &Command| Ok(Box::new(step(command)?));
    Ok(match command {
        Command::Simple(simple) => {
            let unknown = || NotUnderstood(format!("command {:?}", simple.words.join(" ")));
            let known = Known::parse(simple).ok_or_else(unknown)?;
            Step::Run { program: simple.words[0].clone(), known }
        }
        Command::And(first, second) => Step::And(boxed(first)?, boxed(second)?),
        Command::Or(first, second) => Step::Or(boxed(first)?, boxed(second)?),
        Command::Not(inner) => Step::Not(boxed(inner)?),
        Command::If(condition, then, otherwise) => {
            Step::If(steps(condition)?, steps(then)?, steps(otherwise)?)
        }
    })
}

/// Whether a script goes on after a command.
#[derive(Clone, Copy)]
enum Flow {
    Done(i32),
    Exit(i32),
}

impl Flow {
    fn status(self) -> i32 {
        match self {
            Self::Done(status) | Self::Exit(status) => status,
        }
    }
}

impl World<'_> {
    fn all(&mut self, steps: &[Step]) -> Result<Flow, NotUnderstood> {
        let mut last = Flow::Done(0);
        for step in steps {
            last = self.step(step, last.status())?;
            if matches!(last, Flow::Exit(_)) {
                break;
            }
        }
        Ok(last)
    }

    fn step(&mut self, step: &Step, before: i32) -> Result<Flow, NotUnderstood> {
        match step {
            Step::Run { known: Known::Exit(status), .. } => {
                Ok(Flow::Exit(status.unwrap_or(before)))
            }
            Step::Run { program, known } => Ok(Flow::Done(self.command(program, known)?)),
            Step::And(first, second) => match self.step(first, before)? {
                Flow::Done(0) => self.step(second, 0),
                other => Ok(other),
            },
            Step::Or(first, second) => match self.step(first, before)? {
                Flow::Done(status) if status != 0 => self.step(second, status),
                other => Ok(other),
            },
            Step::Not(inner) => Ok(match self.step(inner, before)? {
                Flow::Done(status) => Flow::Done(i32::from(status == 0)),
                exit @ Flow::Exit(_) => exit,
            }),
            Step::If(condition, then, otherwise) => match self.all(condition)? {
                Flow::Done(0) => self.all(then),
                Flow::Done(_) => self.all(otherwise),
                exit @ Flow::Exit(_) => Ok(exit),
            },
        }
    }

    fn command(&mut self, program: &str, known: &Known) -> Result<i32, NotUnderstood> {
        if !known.is_builtin() && !self.is_there(program) {
            self.complain(format!("{program}: not found"));
            return Ok(NOT_FOUND);
        }
        known.run(self)
    }

    /// Whether the tree has a program.
    fn is_there(&self, program: &str) -> bool {
        if program.contains('/') {
            return is_program(self.tree, program);
        }
        SEARCHED.iter().any(|folder| is_program(self.tree, &format!("{folder}/{program}")))
    }

    fn take_input(&mut self) -> String {
        String::from_utf8_lossy(std::mem::take(&mut self.input)).into_owned()
    }

    fn complain(&mut self, line: String) {
        self.complaints.push(line);
    }
}

/// Whether `path` leads to a file that can be run. What a package has put where
/// the kernel's own file systems are mounted does not count: a sandbox shows
/// those, and there `/proc/self/exe` is a program of the host.
#[must_use]
pub fn is_program(tree: &Tree, path: &str) -> bool {
    let is_hidden = |real: TreePath| {
        let first = real.as_str().trim_start_matches('/').split('/').next();
        first.is_some_and(|first| MOUNT_POINTS.contains(&first))
    };
    !tree.canonical(path).is_some_and(is_hidden) && tree.is_program(path)
}
