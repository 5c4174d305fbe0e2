//! A transaction of rpm 4.18 into an empty root, one step after the other
//! (`rpmtsRun` in `lib/transaction.c`, `rpmPackageInstall` in `lib/psm.c`).
//!
//! ```text
//! %pretrans of all
//! for each package: %triggerprein ─▶ %pre ─▶ files ─▶ %filetriggerin, high priority
//!                   ─▶ %post ─▶ %triggerin ─▶ %filetriggerin, lower priority
//! %posttrans of all ─▶ %transfiletriggerin of all ─▶ ldconfig, if anybody asked for it
//! ```

use super::execute::{Execution, Whose};
use super::links::Links;
use super::plan::{self, Action};
use super::runner::Runners;
use super::triggers::{self, ByPath, HIGH_PRIORITY, Installed};
use super::{ComposeError, Options, Report, needs, place};
use crate::package::{Package, Phase};
use crate::tree::Tree;

/// What a transaction leaves.
pub struct Outcome {
    /// The root file system.
    pub tree: Tree,
    /// Places of the packages in what was given, in the order of installation.
    pub order: Vec<usize>,
    /// What happened to each of their files, in the same order.
    pub actions: Vec<Vec<Action>>,
    /// What was done besides.
    pub report: Report,
}

/// Installs `packages`.
///
/// # Errors
/// If they conflict, do not fit together, or a script cannot be run.
pub fn run(
    packages: &[Package],
    options: &Options,
    runners: Runners<'_>,
) -> Result<Outcome, ComposeError> {
    let order = order(packages)?;
    let ordered: Vec<&Package> = order.iter().map(|at| &packages[*at]).collect();
    let tree = Tree::new(options.source_date_epoch);
    let execution = Execution::new(tree, options, runners);
    triggers::check(&ordered)?;
    let by_path: Vec<ByPath> = ordered.iter().map(|package| ByPath::of(package)).collect();
    let planned = Planned { packages: &ordered, actions: Vec::new(), by_path: &by_path };
    let mut transaction = Transaction { planned, execution };
    transaction.all_of(Phase::PreTrans, 0)?;
    let tree = &transaction.execution.tree;
    transaction.planned.actions = plan::plan(tree, &ordered, &Links::of(tree, &ordered), options)
        .map_err(ComposeError::Conflicts)?;
    for at in 0..ordered.len() {
        transaction.install(at)?;
    }
    transaction.all_of(Phase::PostTrans, ordered.len())?;
    for at in 0..ordered.len() {
        transaction.transaction_file_triggers(at)?;
    }
    let actions = transaction.planned.actions;
    let (tree, report) = transaction.execution.finish()?;
    Ok(Outcome { tree, order, actions, report })
}

/// The order of installation, as places in `packages`; it does not depend on
/// the order they are given in. It is that of `rpm -i` with the packages sorted
/// by name and version, but where neither needs the other `filesystem` and
/// `setup` come first.
fn order(packages: &[Package]) -> Result<Vec<usize>, ComposeError> {
    // Of several that nothing holds back, rpm takes the one it was given last.
    let rank = |package: &Package| match package.identity.name.as_str() {
        "filesystem" => 2,
        "setup" => 1,
        _ => 0,
    };
    let mut given: Vec<usize> = (0..packages.len()).collect();
    given.sort_by_key(|at| (rank(&packages[*at]), &packages[*at].identity));
    let sorted: Vec<&Package> = given.iter().map(|at| &packages[*at]).collect();
    let links = Links::of(&Tree::new(0), &sorted);
    let order = needs::install_order(&sorted, &links)?;
    Ok(order.into_iter().map(|at| given[at]).collect())
}

/// The packages in their order, and what happens to their files.
struct Planned<'a> {
    packages: &'a [&'a Package],
    actions: Vec<Vec<Action>>,
    by_path: &'a [ByPath],
}

impl<'a> Planned<'a> {
    /// When the first `count` are there.
    fn installed(&self, count: usize) -> Installed<'a, '_> {
        let Self { packages, actions, by_path } = self;
        Installed { packages, actions, by_path, count }
    }
}

struct Transaction<'a, 'r> {
    planned: Planned<'a>,
    execution: Execution<'a, 'r>,
}

impl Transaction<'_, '_> {
    /// Runs `%pretrans` or `%posttrans` of all, with `count` packages installed.
    fn all_of(&mut self, phase: Phase, count: usize) -> Result<(), ComposeError> {
        for at in 0..self.planned.packages.len() {
            let there =
                self.planned.installed(count).named(&self.planned.packages[at].identity.name);
            self.plain(at, phase, there.max(1))?;
        }
        Ok(())
    }

    /// Runs a package's own script of a phase, if it has one; `versions` is how
    /// many of the package there will be.
    fn plain(&mut self, at: usize, phase: Phase, versions: usize) -> Result<(), ComposeError> {
        let package = self.planned.packages[at];
        let mut scripts = package.scriptlets.iter().filter(|script| script.phase == phase);
        let Some(script) = scripts.next() else {
            return Ok(());
        };
        self.execution.run(Whose { package, script }, &[versions.to_string()], &[])
    }

    fn install(&mut self, at: usize) -> Result<(), ComposeError> {
        let package = self.planned.packages[at];
        let versions = self.planned.installed(at).named(&package.identity.name) + 1;
        self.triggers(at, Phase::TriggerPreIn, at)?;
        self.plain(at, Phase::Pre, versions)?;
        let unknown = place::place(&mut self.execution.tree, package, &self.planned.actions[at])?;
        self.execution.report.unknown_owners.extend(unknown);
        let count = at + 1;
        let high = |priority| priority >= HIGH_PRIORITY;
        self.file_triggers(at, count, high)?;
        self.plain(at, Phase::Post, versions)?;
        self.triggers(at, Phase::TriggerIn, count)?;
        self.file_triggers(at, count, |priority| !high(priority))
    }

    fn triggers(&mut self, at: usize, phase: Phase, count: usize) -> Result<(), ComposeError> {
        let mut triggered = self.planned.installed(count).waiting_for(at, phase);
        triggered.extend(self.planned.installed(count).waited_by(at, phase));
        self.execution.all(self.planned.packages, triggered.into_iter().map(Ok))
    }

    fn file_triggers(
        &mut self,
        at: usize,
        count: usize,
        wanted: impl Fn(u32) -> bool,
    ) -> Result<(), ComposeError> {
        let triggered = self.planned.installed(count).file_triggers(at, wanted);
        self.execution.all(self.planned.packages, triggered)
    }

    fn transaction_file_triggers(&mut self, at: usize) -> Result<(), ComposeError> {
        let packages = self.planned.packages;
        let triggered = self.planned.installed(packages.len()).transaction_file_triggers(at);
        self.execution.all(packages, triggered)
    }
}
