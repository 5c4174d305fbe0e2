//! `ci demo`: the whole main job once, from nothing. Builds v1 and v2 of the
//! demo image, boots v1, installs v2's bundle into the stopped machine, boots
//! that, and says where everything lies.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use formats::Slot;

use crate::images::Workshop;
use crate::process::output;
use crate::vm::Machine;
use crate::{cache, repository, setup, tools};

const BOOT: Duration = Duration::from_secs(300);

/// Sets the machine up, builds the programs, and makes the demo repository.
pub fn workshop(top: &Path) -> Result<Workshop> {
    setup::set_up()?;
    eprintln!("== building slipway");
    let programs = tools::build(top)?;
    eprintln!("== the demo repository");
    let repository = repository::demo_repository(false)?;
    eprintln!("{}", repository.note);
    cache::point(&top.join("out/repository"), &repository.path)?;
    Ok(Workshop { top: top.into(), programs })
}

/// Does it, and prints where things are.
pub fn run(top: &Path) -> Result<()> {
    let workshop = workshop(top)?;
    eprintln!("== images");
    let v1 = workshop.demo()?;
    let v2 = workshop.variant("demo.toml", "2.0.0", "")?;
    let folder = workshop.out().join("demo");
    std::fs::create_dir_all(&folder)?;
    let disk = folder.join("disk.raw");
    output(std::process::Command::new("cp").arg("--sparse=always").arg(&v1.disk).arg(&disk))?;
    let mut machine = Machine::new(&disk, &folder, 1024)?;
    eprintln!("== booting 1.0.0 (software emulation: a minute or so)");
    let first = boot(&mut machine, Slot::A, "1.0.0")?;
    eprintln!("== installing 2.0.0 into the stopped machine");
    workshop.installer(&["install", &v2.bundle.to_string_lossy()], Some(&disk))?;
    eprintln!("== booting 2.0.0");
    let second = boot(&mut machine, Slot::B, "2.0.0")?;
    println!("image      {}", v1.folder.display());
    println!("bundle     {}", v2.bundle.display());
    println!("machine    {}", disk.display());
    println!("boot logs  {}", folder.display());
    println!("booted     1.0.0 from slot a ({first}), then 2.0.0 from slot b ({second})");
    Ok(())
}

/// Boots until the release is committed, and says how long each part took.
fn boot(machine: &mut Machine, slot: Slot, version: &str) -> Result<String> {
    let mut running = machine.power_on(version)?;
    let committed = format!("slipway-agent: committed slot {slot} version {version}");
    running.wait_for(&committed, BOOT)?;
    let parts = [
        ("chooser", "slipway-boot: "),
        ("kernel", "Linux version"),
        ("init", "slipway-init: "),
        ("user space", "slipway-init: starting"),
        ("committed", &committed),
    ];
    let times = parts.iter().filter_map(|(name, text)| {
        Some(format!("{name} {:.1} s", running.time_of(text)?.as_secs_f64()))
    });
    Ok(times.collect::<Vec<_>>().join(", "))
}
