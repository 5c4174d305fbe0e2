//! The scripts of a package that an installation would run.

use std::collections::BTreeMap;

use formats::digest::Digest;
use rpm::{IndexTag, PackageMetadata};

use super::Problem;
use super::relation::{self, Relation};

/// When a script runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// `%pretrans`: before the transaction.
    PreTrans,
    /// `%triggerprein`: before another package is installed.
    TriggerPreIn,
    /// `%pre`: before its package's files are there.
    Pre,
    /// `%post`: after.
    Post,
    /// `%triggerin`: when another package is installed.
    TriggerIn,
    /// `%filetriggerin`: when a package brings files below a path.
    FileTriggerIn,
    /// `%posttrans`: after the transaction.
    PostTrans,
    /// `%transfiletriggerin`: once per transaction with files below a path.
    TransFileTriggerIn,
}

impl Phase {
    /// All of them, in the order of the type.
    pub const ALL: [Self; 8] = [
        Self::PreTrans,
        Self::TriggerPreIn,
        Self::Pre,
        Self::Post,
        Self::TriggerIn,
        Self::FileTriggerIn,
        Self::PostTrans,
        Self::TransFileTriggerIn,
    ];

    /// As a spec file has it, such as `%post`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PreTrans => "%pretrans",
            Self::TriggerPreIn => "%triggerprein",
            Self::Pre => "%pre",
            Self::Post => "%post",
            Self::TriggerIn => "%triggerin",
            Self::FileTriggerIn => "%filetriggerin",
            Self::PostTrans => "%posttrans",
            Self::TransFileTriggerIn => "%transfiletriggerin",
        }
    }

    /// The phase of a [`Phase::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.name() == name)
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What a script's text goes through before it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScriptFlags {
    /// `-e`: macros are expanded when it is installed.
    pub expand: bool,
    /// `-q`: it is a query format over the package's own header.
    pub query_format: bool,
    /// A failure stops the installation of the package.
    pub critical: bool,
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
    /// How the text is meant.
    pub flags: ScriptFlags,
    /// Packages or path prefixes that a trigger waits for, in the header's order.
    pub conditions: Vec<Relation>,
    /// Of two file triggers the one with the higher number runs first.
    pub priority: u32,
}

impl Scriptlet {
    /// Digest over program and text, to recognise a script by.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let program = self.program.join("\0");
        Digest::of_parts(&[program.as_bytes(), b"\0\0", self.text.as_bytes()])
    }
}

/// Text, program and flags of a plain script (`scriptInfo` in rpm's
/// `lib/rpmscript.c`, which also says which are critical).
const PLAIN: [(Phase, IndexTag, IndexTag, IndexTag); 4] = [
    (
        Phase::PreTrans,
        IndexTag::RPMTAG_PRETRANS,
        IndexTag::RPMTAG_PRETRANSPROG,
        IndexTag::RPMTAG_PRETRANSFLAGS,
    ),
    (Phase::Pre, IndexTag::RPMTAG_PREIN, IndexTag::RPMTAG_PREINPROG, IndexTag::RPMTAG_PREINFLAGS),
    (
        Phase::Post,
        IndexTag::RPMTAG_POSTIN,
        IndexTag::RPMTAG_POSTINPROG,
        IndexTag::RPMTAG_POSTINFLAGS,
    ),
    (
        Phase::PostTrans,
        IndexTag::RPMTAG_POSTTRANS,
        IndexTag::RPMTAG_POSTTRANSPROG,
        IndexTag::RPMTAG_POSTTRANSFLAGS,
    ),
];

/// Tags of one kind of trigger.
struct TriggerTags {
    scripts: IndexTag,
    programs: IndexTag,
    script_flags: IndexTag,
    conditions: relation::Tags,
    index: IndexTag,
    priorities: Option<IndexTag>,
}

const TRIGGERS: TriggerTags = TriggerTags {
    scripts: IndexTag::RPMTAG_TRIGGERSCRIPTS,
    programs: IndexTag::RPMTAG_TRIGGERSCRIPTPROG,
    script_flags: IndexTag::RPMTAG_TRIGGERSCRIPTFLAGS,
    conditions: (
        IndexTag::RPMTAG_TRIGGERNAME,
        IndexTag::RPMTAG_TRIGGERVERSION,
        IndexTag::RPMTAG_TRIGGERFLAGS,
    ),
    index: IndexTag::RPMTAG_TRIGGERINDEX,
    priorities: None,
};

const FILE_TRIGGERS: TriggerTags = TriggerTags {
    scripts: IndexTag::RPMTAG_FILETRIGGERSCRIPTS,
    programs: IndexTag::RPMTAG_FILETRIGGERSCRIPTPROG,
    script_flags: IndexTag::RPMTAG_FILETRIGGERSCRIPTFLAGS,
    conditions: (
        IndexTag::RPMTAG_FILETRIGGERNAME,
        IndexTag::RPMTAG_FILETRIGGERVERSION,
        IndexTag::RPMTAG_FILETRIGGERFLAGS,
    ),
    index: IndexTag::RPMTAG_FILETRIGGERINDEX,
    priorities: Some(IndexTag::RPMTAG_FILETRIGGERPRIORITIES),
};

const TRANS_FILE_TRIGGERS: TriggerTags = TriggerTags {
    scripts: IndexTag::RPMTAG_TRANSFILETRIGGERSCRIPTS,
    programs: IndexTag::RPMTAG_TRANSFILETRIGGERSCRIPTPROG,
    script_flags: IndexTag::RPMTAG_TRANSFILETRIGGERSCRIPTFLAGS,
    conditions: (
        IndexTag::RPMTAG_TRANSFILETRIGGERNAME,
        IndexTag::RPMTAG_TRANSFILETRIGGERVERSION,
        IndexTag::RPMTAG_TRANSFILETRIGGERFLAGS,
    ),
    index: IndexTag::RPMTAG_TRANSFILETRIGGERINDEX,
    priorities: Some(IndexTag::RPMTAG_TRANSFILETRIGGERPRIORITIES),
};

/// Reads all scripts of a header that an installation would run; those of one
/// phase in the header's order.
pub fn read(metadata: &PackageMetadata) -> Result<Vec<Scriptlet>, Problem> {
    let mut all: Vec<Scriptlet> = PLAIN
        .iter()
        .filter_map(|(phase, text, program, flags)| {
            plain(metadata, *phase, *text, *program, *flags)
        })
        .collect();
    let phase = |sense: u32| match sense {
        relation::TRIGGER_IN => Some(Phase::TriggerIn),
        relation::TRIGGER_PRE_IN => Some(Phase::TriggerPreIn),
        _ => None,
    };
    all.extend(triggers(metadata, &TRIGGERS, phase)?);
    let only = |phase| move |sense| (sense == relation::TRIGGER_IN).then_some(phase);
    all.extend(triggers(metadata, &FILE_TRIGGERS, only(Phase::FileTriggerIn))?);
    all.extend(triggers(metadata, &TRANS_FILE_TRIGGERS, only(Phase::TransFileTriggerIn))?);
    Ok(all)
}

fn triggers(
    metadata: &PackageMetadata,
    tags: &TriggerTags,
    phase: impl Fn(u32) -> Option<Phase>,
) -> Result<Vec<Scriptlet>, Problem> {
    let header = &metadata.header;
    let numbers = |tag| header.get_entry_data_as_u32_array(tag).unwrap_or_default();
    let Ok(texts) = header.get_entry_data_as_string_array(tags.scripts) else {
        return Ok(Vec::new());
    };
    let programs = header.get_entry_data_as_string_array(tags.programs)?;
    let flags = numbers(tags.script_flags);
    let priorities = tags.priorities.map(numbers).unwrap_or_default();
    let conditions = relation::read(metadata, tags.conditions);
    let mut conditions_of: BTreeMap<u32, Vec<Relation>> = BTreeMap::new();
    for (condition, index) in conditions.into_iter().zip(numbers(tags.index)) {
        conditions_of.entry(index).or_default().push(condition);
    }
    let mut found = Vec::new();
    for ((at, (text, program)), index) in texts.iter().zip(programs).enumerate().zip(0..) {
        let conditions = conditions_of.remove(&index).unwrap_or_default();
        let sense = conditions.first().map_or(0, |first| first.flags & relation::TRIGGER_MASK);
        let Some(phase) = phase(sense) else {
            continue;
        };
        found.push(Scriptlet {
            phase,
            program: vec![program.to_owned()],
            text: (*text).to_owned(),
            flags: script_flags(phase, flags.get(at).copied().unwrap_or(0)),
            conditions,
            priority: priorities.get(at).copied().unwrap_or(0),
        });
    }
    Ok(found)
}

fn script_flags(phase: Phase, bits: u32) -> ScriptFlags {
    let critical = matches!(phase, Phase::PreTrans | Phase::Pre) || bits & 4 != 0;
    ScriptFlags { expand: bits & 1 != 0, query_format: bits & 2 != 0, critical }
}

/// A script may be a program alone (`%post -p /sbin/ldconfig`), so either tag
/// is enough.
fn plain(
    metadata: &PackageMetadata,
    phase: Phase,
    text: IndexTag,
    program: IndexTag,
    flags: IndexTag,
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
        flags: script_flags(phase, header.get_entry_data_as_u32(flags).unwrap_or(0)),
        conditions: Vec::new(),
        priority: 0,
    })
}
