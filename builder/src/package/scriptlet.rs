//! The scripts of a package that an installation would run.

use formats::digest::Digest;
use rpm::{DependencyFlags, IndexTag, PackageMetadata, Trigger};

use super::Problem;

/// When a script runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// `%pretrans`: before the transaction.
    PreTrans,
    /// `%pre`: before its package's files are there.
    Pre,
    /// `%post`: after.
    Post,
    /// `%triggerin`, `%triggerprein`: when another package is installed.
    TriggerIn,
    /// `%filetriggerin`: when a package brings files below a path.
    FileTriggerIn,
    /// `%posttrans`: after the transaction.
    PostTrans,
    /// `%transfiletriggerin`: once per transaction with files below a path.
    TransFileTriggerIn,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::PreTrans => "%pretrans",
            Self::Pre => "%pre",
            Self::Post => "%post",
            Self::TriggerIn => "%triggerin",
            Self::FileTriggerIn => "%filetriggerin",
            Self::PostTrans => "%posttrans",
            Self::TransFileTriggerIn => "%transfiletriggerin",
        })
    }
}

/// One script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scriptlet {
    /// When it runs.
    pub phase: Phase,
    /// Interpreter and its arguments, such as `/bin/sh` or `<lua>`.
    pub program: Vec<String>,
    /// The script; empty where the program is all.
    pub text: String,
    /// Package names or path prefixes that a trigger waits for.
    pub triggered_by: Vec<String>,
}

impl Scriptlet {
    /// Digest over program and text, to recognise a script by.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let program = self.program.join("\0");
        Digest::of_parts(&[program.as_bytes(), b"\0\0", self.text.as_bytes()])
    }
}

const PLAIN: [(Phase, IndexTag, IndexTag); 4] = [
    (Phase::PreTrans, IndexTag::RPMTAG_PRETRANS, IndexTag::RPMTAG_PRETRANSPROG),
    (Phase::Pre, IndexTag::RPMTAG_PREIN, IndexTag::RPMTAG_PREINPROG),
    (Phase::Post, IndexTag::RPMTAG_POSTIN, IndexTag::RPMTAG_POSTINPROG),
    (Phase::PostTrans, IndexTag::RPMTAG_POSTTRANS, IndexTag::RPMTAG_POSTTRANSPROG),
];

/// Reads all scripts of a header that an installation would run.
pub fn read(metadata: &PackageMetadata) -> Result<Vec<Scriptlet>, Problem> {
    let mut all: Vec<Scriptlet> = PLAIN
        .iter()
        .filter_map(|(phase, text, program)| plain(metadata, *phase, *text, *program))
        .collect();
    let runs_in = DependencyFlags::TRIGGERIN | DependencyFlags::TRIGGERPREIN;
    let kinds = [
        (Phase::TriggerIn, metadata.get_triggers()?),
        (Phase::FileTriggerIn, metadata.get_file_triggers()?),
        (Phase::TransFileTriggerIn, metadata.get_trans_file_triggers()?),
    ];
    for (phase, triggers) in kinds {
        let at_install = |trigger: &Trigger| {
            trigger.conditions.iter().any(|condition| condition.flags.intersects(runs_in))
        };
        all.extend(triggers.into_iter().filter(at_install).map(|trigger| Scriptlet {
            phase,
            program: trigger.program,
            text: trigger.script,
            triggered_by: trigger.conditions.into_iter().map(|condition| condition.name).collect(),
        }));
    }
    Ok(all)
}

/// A script may be a program alone (`%post -p /sbin/ldconfig`), so either tag
/// is enough.
fn plain(
    metadata: &PackageMetadata,
    phase: Phase,
    text: IndexTag,
    program: IndexTag,
) -> Option<Scriptlet> {
    let header = &metadata.header;
    let text = header.get_entry_data_as_string(text).ok().map(str::to_owned);
    let words = header.get_entry_data_as_string_array(program).ok();
    let words = words.map(|words| words.into_iter().map(str::to_owned).collect::<Vec<_>>());
    let single = || header.get_entry_data_as_string(program).ok().map(|word| vec![word.to_owned()]);
    let program = words.filter(|words| !words.is_empty()).or_else(single);
    if text.is_none() && program.is_none() {
        return None;
    }
    let shell = || vec!["/bin/sh".to_owned()];
    Some(Scriptlet {
        phase,
        program: program.unwrap_or_else(shell),
        text: text.unwrap_or_default(),
        triggered_by: Vec::new(),
    })
}
