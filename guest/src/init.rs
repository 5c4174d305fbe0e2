//! The steps of slipway-init, from the kernel's start to the image's init.

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use formats::guid::Guid;
use formats::state::Reason;
use formats::uki_header::UkiHeader;
use formats::{BlockDevice, Digest, Slot};
use rustix::time::{ClockId, clock_gettime};

use crate::boot_facts::BootFacts;
use crate::console::{self, INIT};
use crate::deadline::Deadlines;
use crate::device::FileDevice;
use crate::disk::{Disk, Sought};
use crate::error::{At, During, chain};
use crate::persist::Persist;
use crate::record::{self, FailureNote};
use crate::settings::{self, Settings};
use crate::slot::{self, Booted, partition_name};
use crate::{
    disk, dm, efi, etc, failure, keeper, modules, mounts, overlay, paths, populate, switch_root,
};

/// Where the root is mounted in the initrd.
const ROOT: &str = "/sysroot";
/// Where data is mounted until /var of the image has been read.
const DATA: &str = "/data";
/// A step that only asks the kernel or reads a little.
const SHORT: Duration = Duration::from_secs(30);
/// Mounting data may replay a journal, and its first filling copies files.
const LONG: Duration = Duration::from_secs(300);

/// Why the root cannot be reached. The disk, the files or the kernel say it;
/// this only joins them.
type Failure = Box<dyn std::error::Error>;

/// The note is taken by whoever fails first: a step, or the deadline.
type SharedNote = Arc<Mutex<Option<FailureNote>>>;

/// Runs as PID 1. Ends as the image's init, or in a reboot.
pub fn run() -> ! {
    let note = SharedNote::default();
    let Err(why) = boot(&note);
    INIT.say(&format!("{}; rebooting", chain(why.as_ref())));
    failure::reboot_because(INIT, taken(&note), Reason::InitFailed)
}

fn taken(note: &SharedNote) -> Option<FailureNote> {
    note.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn boot(note: &SharedNote) -> Result<Infallible, Failure> {
    let mut times = vec![("INIT", monotonic_ms())];
    let mut reached = |stage| times.push((stage, monotonic_ms()));
    let steps = watch_deadlines(note)?;
    mounts::mount_kernel_views()?;
    console::become_standard()?;
    reboot_on_panic();
    let settings = read_settings()?;
    let root_hash = settings::root_hash(&read("/proc/cmdline")?)?;

    steps.step("loading kernel modules", SHORT);
    modules::load_all()?;
    mounts::mount_efivars()?;

    steps.step("finding the disk", settings.disk_timeout + SHORT);
    let started = efi::started_from()?;
    let disk = disk::find(started.map_or(Sought::OnlyOne, Sought::Started), settings.disk_timeout)?;
    let likely = likely_slot(&disk, started)?;
    let (_, state) = disk.partition("state")?;
    let fails_as = |slot| -> Result<(), At> {
        let opened = FailureNote::open(state, slot)?;
        *note.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened);
        Ok(())
    };
    fails_as(likely)?;
    reached("DISK");

    steps.step("opening the root", SHORT);
    let booted = slot::booted(&disk, likely, root_hash)?;
    fails_as(booted.slot)?;
    let version = version(&disk, booted.slot);
    announce(&disk, booted.slot, &version, root_hash);
    open_root(&disk, &booted, root_hash)?;
    reached("ROOT");

    steps.step("mounting data", LONG);
    let (_, data) = disk.partition("data")?;
    mount_data(data, root_hash)?;
    reached("DATA");

    steps.step("mounting overlays", LONG);
    mount_overlays(root_hash)?;
    mounts::mount_tmp(Path::new(ROOT))?;

    steps.step("switching to the root", SHORT);
    reached("SWITCH");
    let facts = BootFacts {
        disk: disk.node.clone(),
        slot: booted.slot,
        state: state.to_path_buf(),
        data: data.to_path_buf(),
        root_hash,
        version,
        health_timeout: settings.health_timeout,
        times,
    };
    hand_over(&facts, &settings)
}

fn announce(disk: &Disk, slot: Slot, version: &str, root_hash: Digest) {
    let node = disk.node.display();
    let version = if version.is_empty() { "unknown" } else { version };
    INIT.say(&format!("{node}: slot {slot}, version {version}, root hash {root_hash}"));
}

/// Leaves the facts and the keeper behind and becomes the image's init.
fn hand_over(facts: &BootFacts, settings: &Settings) -> Result<Infallible, Failure> {
    fs::create_dir_all(paths::RUN).during("make", paths::RUN)?;
    fs::write(paths::BOOT_FACTS, facts.to_text()).during("write", paths::BOOT_FACTS)?;
    keeper::start(&facts.state, facts.slot, settings.init_timeout)?;
    INIT.say(&format!("starting {}", settings.init.display()));
    // /dev is about to leave its place, and an error must still be heard
    console::reach_through_dev()?;
    switch_root::move_mounts(Path::new(ROOT))?;
    Ok(switch_root::become_init(Path::new(ROOT), &settings.init)?)
}

/// Milliseconds since the kernel started.
fn monotonic_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let millis = now.tv_sec.saturating_mul(1000) + now.tv_nsec / 1_000_000;
    u64::try_from(millis).unwrap_or(0)
}

fn watch_deadlines(note: &SharedNote) -> Result<Deadlines, At> {
    let note = Arc::clone(note);
    let expired = move |step| {
        INIT.say(&format!("{step} took too long; rebooting"));
        failure::reboot_because(INIT, taken(&note), Reason::InitFailed)
    };
    Deadlines::watch("mounting /proc, /sys, /dev and /run", SHORT, expired)
        .during("start", "the deadline thread")
}

/// A kernel that panics must not stand still, whatever its command line says.
fn reboot_on_panic() {
    let path = "/proc/sys/kernel/panic";
    if fs::read_to_string(path).is_ok_and(|text| text.trim() == "0") {
        // without it, `panic=` of the command line is what there is
        let _ = fs::write(path, "10");
    }
}

fn read(path: &str) -> Result<String, At> {
    fs::read_to_string(path).during("read", path)
}

/// An initrd without the file has the defaults.
fn read_settings() -> Result<Settings, Failure> {
    let path = "/slipway.conf";
    let text = if Path::new(path).exists() { read(path)? } else { String::new() };
    Ok(Settings::parse(&text)?)
}

/// The slot whose UKI was started; without that word the preferred one.
fn likely_slot(disk: &Disk, started: Option<Guid>) -> Result<Slot, Failure> {
    if let Some(slot) = started.and_then(|id| slot::of_uki(&disk.gpt, id)) {
        return Ok(slot);
    }
    let (_, state) = disk.partition("state")?;
    Ok(record::read(state).map_or(Slot::A, |state| state.preferred))
}

/// What the slot's header says; a header that cannot be read is the agent's
/// to report.
fn version(disk: &Disk, slot: Slot) -> String {
    let header = || -> Option<UkiHeader> {
        let (_, node) = disk.partition(&partition_name("uki", slot, "")).ok()?;
        let mut block = [0; 512];
        FileDevice::open(node).ok()?.read_at(0, &mut block).ok()?;
        UkiHeader::decode(&block).ok()
    };
    header().map_or_else(String::new, |header| header.release.version.to_string())
}

fn open_root(disk: &Disk, booted: &Booted, root_hash: Digest) -> Result<(), Failure> {
    let (_, root) = disk.partition(&partition_name("root", booted.slot, ""))?;
    let (_, tree) = disk.partition(&partition_name("root", booted.slot, "-verity"))?;
    let mapped = dm::open_verity(root, tree, &booted.superblock, root_hash)?;
    dm::link_node(&mapped)?;
    mounts::mount_root(&mapped, Path::new(ROOT))?;
    Ok(())
}

/// Mounts data aside, gives it what the image has under /var, and moves it
/// there.
fn mount_data(node: &Path, root_hash: Digest) -> Result<(), Failure> {
    let (data, var) = (Path::new(DATA), Path::new(ROOT).join("var"));
    mounts::mount_data(node, data)?;
    if let Some(made) = populate::populate(&var, data, &root_hash.to_string())? {
        INIT.say(&format!("first start of this release: {made} entries new under /var"));
    }
    rustix::mount::mount_move(data, &var).during("move a mount to", &var)?;
    Ok(())
}

fn mount_overlays(root_hash: Digest) -> Result<(), Failure> {
    let root = Path::new(ROOT);
    let own = root.join("var").join(paths::OWN_DATA);
    let etc = root.join("etc");
    let persist = read_persist(&root.join(paths::PERSIST))?;
    let folder = etc::prepare(&own, &etc, root_hash, &persist)?;
    overlay::mount_over(&etc, &folder)?;
    for name in ["home", "root"] {
        overlay::mount_shared(&root.join(name), &own.join(name))?;
    }
    Ok(())
}

fn read_persist(path: &PathBuf) -> Result<Persist, At> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Persist::default()),
        read => read.during("read", path)?,
    };
    let (persist, refused) = Persist::parse(&text);
    for line in refused {
        INIT.say(&format!("not a path below /etc, so it does not live on: {line}"));
    }
    Ok(persist)
}
