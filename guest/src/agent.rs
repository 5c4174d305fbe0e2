//! What slipway-agent does, from the service's start to the commit.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use formats::Slot;
use formats::state::{BadState, Reason, State};

use crate::boot_facts::{BadFacts, BootFacts};
use crate::console::AGENT;
use crate::disk::Disk;
use crate::error::{At, During, chain};
use crate::health::{self, Alive};
use crate::persist::Persist;
use crate::record::{FailureNote, RecordError};
use crate::{commit, failure, grow, paths, slot_check, tidy};

/// Where data is mounted.
const VAR: &str = "/var";
/// More dropped files than this are only in the list.
const NAMED_AT_MOST: usize = 12;

/// The agent cannot do its work; the keeper sees to the rest.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// slipway-init has not run.
    #[error(transparent)]
    Facts(#[from] BadFacts),
    /// A system call failed.
    #[error(transparent)]
    Io(#[from] At),
    /// The own disk is gone.
    #[error("cannot read the partition table of {0}")]
    NoTable(String),
    /// The commit was not stored.
    #[error("cannot commit the slot")]
    Record(#[from] RecordError),
}

/// `watch`: grows data, waits for the health gate, commits. Reboots when the
/// gate is not reached in time or the slot is damaged.
pub fn watch() -> Result<(), AgentError> {
    let start = Instant::now();
    let mut alive = Alive::default();
    alive.beat();
    let facts = BootFacts::read()?;
    grow_data(&facts);
    alive.beat();
    if !health::wait(start + facts.health_timeout, &mut alive)? {
        let (slot, seconds) = (facts.slot, facts.health_timeout.as_secs());
        let missing = health::what_is_missing();
        give_up(
            &facts,
            Reason::HealthGate,
            &format!("slot {slot} not healthy after {seconds} s: {missing}"),
        );
    }
    let disk = Disk::reopened(&facts.disk)
        .ok_or_else(|| AgentError::NoTable(facts.disk.display().to_string()))?;
    if !commit::is_committed(&facts) {
        check_slot(&facts, &disk, &mut alive);
    }
    commit_slot(&facts, &disk)
}

/// A machine that could not grow still works.
fn grow_data(facts: &BootFacts) {
    const MIB: u64 = 1 << 20;
    match grow::grow(&facts.disk, &facts.data, Path::new(VAR)) {
        Ok(None) => {}
        Ok(Some(grown)) => AGENT.say_in_journal_too(&format!(
            "data grew from {} to {} MiB",
            grown.from_bytes / MIB,
            grown.to_bytes / MIB
        )),
        Err(error) => AGENT.say_in_journal_too(&format!("data did not grow: {}", chain(&error))),
    }
}

fn check_slot(facts: &BootFacts, disk: &Disk, alive: &mut Alive) {
    let checked = slot_check::check(disk, facts.slot, facts.root_hash, || alive.beat());
    if let Err(damage) = checked {
        let why = format!("slot {} is damaged: {}", facts.slot, chain(&damage));
        give_up(facts, Reason::SlotDamaged, &why);
    }
}

fn give_up(facts: &BootFacts, reason: Reason, why: &str) -> ! {
    AGENT.say_in_journal_too(&format!("{why}; rebooting"));
    sync_journal();
    let note = match FailureNote::open(&facts.state, facts.slot) {
        Ok(note) => Some(note),
        Err(error) => {
            AGENT.say(&format!("the reason is not recorded: {}", chain(&error)));
            None
        }
    };
    failure::reboot_because(AGENT, note, reason)
}

/// Brings the reason into the journal's files; without a journal it is on the
/// console and in the record. The keeper covers a journal that hangs.
fn sync_journal() {
    if Path::new("/run/systemd/journal").is_dir() {
        let quiet = || Stdio::null();
        // best effort: the reboot comes in any case
        let _ = Command::new("journalctl")
            .arg("--sync")
            .stdin(quiet())
            .stdout(quiet())
            .stderr(quiet())
            .status();
    }
}

fn commit_slot(facts: &BootFacts, disk: &Disk) -> Result<(), AgentError> {
    match commit::commit(facts, disk) {
        Ok(state) => {
            let slot = facts.slot;
            let version = state.slot(slot).release.map(|release| release.version);
            let version = version.map_or_else(|| facts.version.clone(), |text| text.to_string());
            AGENT.say_in_journal_too(&format!("committed slot {slot} version {version}"));
            nothing_left_to_watch()?;
            if let Err(error) = tidy_etc(facts, &state) {
                AGENT.say_in_journal_too(&format!("/etc is not tidy: {}", chain(&error)));
            }
            Ok(())
        }
        // an older release under a newer installer: it runs, but has no say
        Err(error @ RecordError::Bad(BadState::Newer(_))) => {
            AGENT.say_in_journal_too(&format!("not committed: {}", chain(&error)));
            Ok(nothing_left_to_watch()?)
        }
        Err(error) => Err(error.into()),
    }
}

fn nothing_left_to_watch() -> Result<(), At> {
    let path = Path::new(paths::RUN).join(paths::COMMITTED);
    fs::write(&path, "").during("write", path)
}

fn tidy_etc(facts: &BootFacts, state: &State) -> Result<(), At> {
    let all = Path::new(VAR).join(paths::OWN_DATA).join("etc");
    let list = fs::read_to_string(Path::new("/").join(paths::PERSIST)).unwrap_or_default();
    let (persist, _) = Persist::parse(&list);
    let dropped = tidy::dropped(&all, facts.root_hash, &persist)?;
    if !dropped.is_empty() {
        let names: Vec<_> = dropped.iter().map(|path| path.display().to_string()).collect();
        let text = names.join("\n") + "\n";
        fs::write(paths::DROPPED_ETC, text).during("write", paths::DROPPED_ETC)?;
        let named = &names[..names.len().min(NAMED_AT_MOST)];
        AGENT.say_in_journal_too(&format!(
            "{} files of /etc were changed under the version before and do not live on \
             (list: {}): {}",
            names.len(),
            paths::DROPPED_ETC,
            named.join(" ")
        ));
    }
    tidy::told(&all, facts.root_hash)?;
    tidy::remove_left_overs(&all, state, facts.root_hash)?;
    Ok(())
}

/// `status`: the record as text.
#[must_use]
pub fn describe(state: &State) -> String {
    let mut text = format!(
        "product {}, preferred slot {}, epoch floor {}, data schema {}\n",
        state.product, state.preferred, state.epoch_floor, state.data_schema
    );
    for slot in Slot::ALL {
        let record = state.slot(slot);
        text.push_str(&format!("slot {slot}: {}", record.status.word()));
        if let Some(release) = record.release {
            text.push_str(&format!(
                ", version {}, epoch {}, {} boots left, root hash {}",
                release.version, release.epoch, record.boots_left, release.root_hash
            ));
        }
        if let Some(reason) = record.reason {
            text.push_str(&format!(", last failure: {reason}"));
        }
        text.push('\n');
    }
    text
}
