//! The proof of the main job: every way an update may go, booted for real.
//! Each state is checked twice: by what the serial console printed, and by what
//! `slipway-installer status` reads from the disk afterwards.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use formats::gpt::{Gpt, Partition};
use formats::{BlockDevice, Slot};
use serde_json::Value;

use crate::cases::{self, Case};
use crate::images::{Image, Workshop};
use crate::process::output;
use crate::vm::{Machine, Running};

/// A boot on a busy machine may take this long before it is called dead.
const BOOT: Duration = Duration::from_secs(300);
const SMALL: &str = "demo-small.toml";

/// All cases, the long ones first.
fn all_cases<'w>() -> [Case<Bench<'w>>; 8] {
    [
        ("twelve installs and boots in a row", twelve_updates),
        ("update, roll back, roll forward", update_and_roll_back),
        ("a release whose health gate never comes", health_never_comes),
        ("a release whose init hangs", init_hangs),
        ("a release whose root is corrupt", corrupt_root),
        ("power cuts before the gate", power_cuts),
        ("a release whose kernel is garbage", garbage_kernel),
        ("a roll-back onto a bad or empty slot", refused_roll_backs),
    ]
}

/// What the cases work with.
pub struct Bench<'w> {
    workshop: &'w Workshop,
    /// v1 and v2 of the full image
    full: [Image; 2],
    /// v1 and v2 of the small image
    small: [Image; 2],
    garbage: Image,
    unhealthy: Image,
    hanging: Image,
}

impl<'w> Bench<'w> {
    /// Builds every image of the proof.
    pub fn new(workshop: &'w Workshop) -> Result<Self> {
        let small = |version: &str, changes: &str| workshop.variant(SMALL, version, changes);
        let full = |version: &str, changes: &str| workshop.variant("demo.toml", version, changes);
        Ok(Self {
            full: [workshop.demo()?, full("2.0.0", "")?],
            small: [small("1.0.0", "")?, small("2.0.0", "")?],
            garbage: small("4.0.0", include_str!("../proof/garbage-kernel.toml"))?,
            unhealthy: full("5.0.0", include_str!("../proof/never-healthy.toml"))?,
            hanging: small("6.0.0", include_str!("../proof/hanging-init.toml"))?,
            workshop,
        })
    }

    /// A stopped machine on a copy of `image`'s disk.
    fn machine(&self, case: &str, image: &Image, memory_mib: u32) -> Result<Trial<'_>> {
        let folder = self.workshop.out().join("proof").join(case);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let disk = folder.join("disk.raw");
        output(Command::new("cp").arg("--sparse=always").arg(&image.disk).arg(&disk))?;
        let machine = Machine::new(&disk, &folder, memory_mib)?;
        Ok(Trial { workshop: self.workshop, machine, disk })
    }
}

/// A machine and its disk.
struct Trial<'w> {
    workshop: &'w Workshop,
    machine: Machine,
    disk: PathBuf,
}

impl Trial<'_> {
    fn install(&self, image: &Image) -> Result<Value> {
        let bundle = image.bundle.to_string_lossy();
        self.workshop.installer(&["install", &bundle], Some(&self.disk))
    }

    fn status(&self) -> Result<Value> {
        self.workshop.installer(&["status"], Some(&self.disk))
    }

    /// Boots until the agent has committed `version`, then cuts the power.
    fn boots(&mut self, why: &str, slot: Slot, version: &str) -> Result<()> {
        let mut running = self.machine.power_on(why)?;
        running.wait_for(&committed(slot, version), BOOT)?;
        running.cut_power();
        self.expect(slot, version)
    }

    /// The disk says that `slot` holds `version`, committed and preferred.
    fn expect(&self, slot: Slot, version: &str) -> Result<()> {
        let status = self.status()?;
        let held = &status["slots"][slot.index()];
        let right = status["preferred"] == slot.letter()
            && held["status"] == "committed"
            && held["version"] == version
            && held["boots_left"] == 7
            && status["state_copies"].as_u64() > Some(0);
        ensure!(right, "slot {slot} was to be {version}, committed and preferred: {status:#}");
        Ok(())
    }

    /// The disk says that `slot` was given up, and why.
    fn expect_bad(&self, slot: Slot, version: &str, reasons: &[&str]) -> Result<()> {
        let status = self.status()?;
        let held = &status["slots"][slot.index()];
        let reason = held["reason"].as_str().unwrap_or_default();
        let right =
            held["status"] == "bad" && held["version"] == version && reasons.contains(&reason);
        ensure!(right, "slot {slot} was to be {version} and bad ({reasons:?}): {status:#}");
        Ok(())
    }

    /// v1 is committed in slot a, v2 in slot b.
    fn at_v2(&mut self, v2: &Image) -> Result<()> {
        self.boots("v1", Slot::A, "1.0.0")?;
        self.install(v2)?;
        self.boots("v2", Slot::B, "2.0.0")
    }
}

fn committed(slot: Slot, version: &str) -> String {
    format!("slipway-agent: committed slot {slot} version {version}")
}

fn starting(slot: Slot, version: &str) -> String {
    format!("slipway-boot: starting slot {slot} version {version}")
}

/// Cases 1 and 2, with the full image.
fn update_and_roll_back(bench: &Bench<'_>) -> Result<()> {
    let [v1, v2] = &bench.full;
    let mut machine = bench.machine("update", v1, 1024)?;
    machine.at_v2(v2)?;
    bench.workshop.installer(&["rollback"], Some(&machine.disk))?;
    machine.boots("back-on-v1", Slot::A, "1.0.0")?;
    bench.workshop.installer(&["rollback"], Some(&machine.disk))?;
    machine.boots("forward-on-v2", Slot::B, "2.0.0")
}

/// Case 3: damage that dm-verity finds, in every try.
fn corrupt_root(bench: &Bench<'_>) -> Result<()> {
    let [v1, v2] = &bench.small;
    let v3 = bench.workshop.variant(SMALL, "3.0.0", "")?;
    let mut machine = bench.machine("corrupt-root", v1, 512)?;
    machine.at_v2(v2)?;
    machine.install(&v3)?;
    corrupt(&machine.disk, "root-a")?;
    let mut running = machine.machine.power_on("v3-corrupt")?;
    running.wait_for(&committed(Slot::B, "2.0.0"), 3 * BOOT)?;
    let tries = running.count(&starting(Slot::A, "3.0.0"));
    running.cut_power();
    ensure!(tries == 3, "v3 was to be tried three times, and was {tries} times");
    machine.expect(Slot::B, "2.0.0")?;
    machine.expect_bad(Slot::A, "3.0.0", &["boots-used-up", "init-failed", "slot-damaged"])
}

/// Flips bytes all over a partition: every 64th block.
fn corrupt(disk: &Path, name: &str) -> Result<()> {
    let file = File::options().read(true).write(true).open(disk)?;
    let place = partition(&file, name)?;
    for offset in (0..place.len_bytes).step_by(64 * 4096) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, place.start_bytes + offset + 100)?;
        file.write_all_at(&[!byte[0]], place.start_bytes + offset + 100)?;
    }
    Ok(())
}

/// A disk image as a device.
pub(crate) struct DiskFile<'f>(pub &'f File);

impl BlockDevice for DiskFile<'_> {
    type Error = std::io::Error;
    fn len_bytes(&self) -> u64 {
        self.0.metadata().map_or(0, |metadata| metadata.len())
    }
    fn read_at(&mut self, offset_bytes: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        self.0.read_exact_at(buffer, offset_bytes)
    }
    fn write_at(&mut self, offset_bytes: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all_at(bytes, offset_bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.0.sync_all()
    }
}

/// Case 4: the chooser falls back in the same boot.
fn garbage_kernel(bench: &Bench<'_>) -> Result<()> {
    let [v1, v2] = &bench.small;
    let mut machine = bench.machine("garbage-kernel", v1, 512)?;
    machine.at_v2(v2)?;
    machine.install(&bench.garbage)?;
    let mut running = machine.machine.power_on("v4-garbage")?;
    running.wait_for(&committed(Slot::B, "2.0.0"), BOOT)?;
    let choosers = running.count("slipway-boot: starting slot a");
    let resets = running.count("slipway-boot: starting slot b");
    running.cut_power();
    ensure!((choosers, resets) == (1, 1), "the fall-back was to be in the same boot");
    machine.expect(Slot::B, "2.0.0")?;
    machine.expect_bad(Slot::A, "4.0.0", &["image-refused", "image-returned"])
}

/// Case 5, with the full image: a unit the gate needs fails.
fn health_never_comes(bench: &Bench<'_>) -> Result<()> {
    let [v1, v2] = &bench.full;
    let mut machine = bench.machine("unhealthy", v1, 1024)?;
    machine.at_v2(v2)?;
    machine.install(&bench.unhealthy)?;
    let mut running = machine.machine.power_on("v5-unhealthy")?;
    running.wait_for("slipway-agent: slot a not healthy after 20 s", BOOT)?;
    running.wait_for(&committed(Slot::B, "2.0.0"), BOOT)?;
    running.cut_power();
    machine.expect(Slot::B, "2.0.0")?;
    machine.expect_bad(Slot::A, "5.0.0", &["health-gate"])
}

/// Case 6: PID 1 of the image does nothing at all.
fn init_hangs(bench: &Bench<'_>) -> Result<()> {
    let [v1, v2] = &bench.small;
    let mut machine = bench.machine("init-hangs", v1, 512)?;
    machine.at_v2(v2)?;
    machine.install(&bench.hanging)?;
    let mut running = machine.machine.power_on("v6-hangs")?;
    running.wait_for(&committed(Slot::B, "2.0.0"), 2 * BOOT)?;
    running.cut_power();
    machine.expect(Slot::B, "2.0.0")?;
    machine.expect_bad(Slot::A, "6.0.0", &["init-hung"])
}

/// What is added to a disk before its first boot.
const GROWTH_BYTES: u64 = 64 << 20;

/// Size of the data partition, by the disk's partition table.
fn data_bytes(disk: &Path) -> Result<u64> {
    Ok(partition(&File::open(disk)?, "data")?.len_bytes)
}

/// A partition of a disk image, by its table.
pub(crate) fn partition(disk: &File, name: &str) -> Result<Partition> {
    let gpt = Gpt::read(&mut DiskFile(disk)).map_err(|error| anyhow::anyhow!("{error}"))?;
    gpt.named(name).cloned().with_context(|| format!("no partition {name}"))
}

/// Case 7, on a disk that was enlarged, so that data has to grow at the first
/// boot too: six boots of a committed release cut short change nothing.
fn power_cuts(bench: &Bench<'_>) -> Result<()> {
    let [v1, v2] = &bench.small;
    let mut machine = bench.machine("power-cuts", v1, 512)?;
    let before = data_bytes(&machine.disk)?;
    let disk = File::options().write(true).open(&machine.disk)?;
    disk.set_len(disk.metadata()?.len() + GROWTH_BYTES)?;
    machine.at_v2(v2)?;
    let after = data_bytes(&machine.disk)?;
    ensure!(after == before + GROWTH_BYTES, "data grew from {before} to {after} bytes");
    let said = output(Command::new("sgdisk").arg("-v").arg(&machine.disk))?;
    ensure!(said.contains("No problems found"), "sgdisk: {said}");
    // at a different moment each time, from the chooser to just before the gate
    let moments = [
        "slipway-boot: starting slot b",
        "slipway-init: /dev/",
        "slipway-init: starting",
        "slipway-boot: starting slot b",
        "slipway-init: /dev/",
        "slipway-init: starting",
    ];
    for (cut, moment) in moments.into_iter().enumerate() {
        let mut running = machine.machine.power_on(&format!("cut-{}", cut + 1))?;
        running.wait_for(moment, BOOT)?;
        running.cut_power();
        let status = machine.status()?;
        let left = status["slots"][1]["boots_left"].as_u64();
        ensure!(left == Some(6 - cut as u64), "{left:?} boots are left after cut {}", cut + 1);
    }
    machine.boots("still-v2", Slot::B, "2.0.0")
}

/// Case 8: slots alternate, and nothing fills up.
fn twelve_updates(bench: &Bench<'_>) -> Result<()> {
    let mut machine = bench.machine("twelve", &bench.small[0], 512)?;
    machine.boots("first", Slot::A, "1.0.0")?;
    let mut slot = Slot::A;
    let mut sizes = Vec::new();
    for number in 1..=12 {
        let (image, version) =
            if number % 2 == 1 { (&bench.small[1], "2.0.0") } else { (&bench.small[0], "1.0.0") };
        let plan = machine.install(image)?;
        slot = slot.other();
        ensure!(plan["slot"] == slot.letter(), "install {number} was to go to slot {slot}: {plan}");
        let written = plan["write_bytes"].as_u64().context("no write_bytes")?;
        // from the third on, each slot gets what it had two installs before
        ensure!(number < 3 || written == 0, "install {number} wrote {written} bytes again");
        let mut running = machine.machine.power_on(&format!("update-{number}"))?;
        running.wait_for(&committed(slot, version), BOOT)?;
        sizes.push(data_used(&running)?);
        running.cut_power();
        machine.expect(slot, version)?;
    }
    let (early, late) = (sizes[3], sizes[11]);
    ensure!(late <= early + 64, "the data partition fills up: {sizes:?} KiB");
    Ok(())
}

/// What the small image's init says of the data partition before the gate.
fn data_used(running: &Running) -> Result<u64> {
    let said = running
        .console
        .iter()
        .rev()
        .find_map(|(_, line)| line.split_once("data used KiB: ")?.1.trim().parse().ok());
    said.context("the image did not say how full its data partition is")
}

/// Case 9: nothing proven lies in the other slot.
fn refused_roll_backs(bench: &Bench<'_>) -> Result<()> {
    let [v1, _] = &bench.small;
    let mut machine = bench.machine("refused", v1, 512)?;
    let refuses = |machine: &Trial<'_>, why: &str| -> Result<()> {
        let before = digest(&machine.disk)?;
        let said = bench.workshop.installer_refuses(&["rollback"], Some(&machine.disk))?;
        ensure!(said.contains(why), "the refusal does not say {why:?}: {said}");
        ensure!(digest(&machine.disk)? == before, "a refused roll-back changed the disk");
        Ok(())
    };
    refuses(&machine, "slot b is empty")?;
    machine.boots("v1", Slot::A, "1.0.0")?;
    refuses(&machine, "slot b is empty")?;
    machine.install(&bench.garbage)?;
    let mut running = machine.machine.power_on("v4-garbage")?;
    running.wait_for(&committed(Slot::A, "1.0.0"), BOOT)?;
    running.cut_power();
    refuses(&machine, "slot b is bad")
}

fn digest(disk: &Path) -> Result<String> {
    output(Command::new("sha256sum").arg(disk))
}

/// Whether the name of one of the cases contains `text`.
#[must_use]
pub fn has(text: &str) -> bool {
    cases::any(&all_cases(), Some(text))
}

/// Builds the images and runs the cases whose name contains `only`.
pub fn run(workshop: &Workshop, only: Option<&str>) -> Result<()> {
    let began = Instant::now();
    let bench = Bench::new(workshop)?;
    println!("images of the proof: {:.0} s", began.elapsed().as_secs_f64());
    cases::run("boots", &all_cases(), only, &bench)
}
