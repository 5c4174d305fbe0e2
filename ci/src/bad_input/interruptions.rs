//! Builds that do not come to their end, and builds that meet.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::place::{Base, Place, listing};
use crate::process::output;

/// Exit code after Ctrl-C, as shells have it.
const INTERRUPTED: i32 = 130;

/// A moment of a build, by what can be seen from outside.
struct Moment {
    name: &'static str,
    /// the build receives packages only when its store is empty
    cold: bool,
    /// a file below the folder that is being filled, by the end of its name
    seen: &'static str,
}

const MOMENTS: [Moment; 5] = [
    Moment { name: "packages arrive", cold: true, seen: "tmp" },
    Moment { name: "the folder appears", cold: false, seen: "" },
    Moment { name: "the root is written", cold: false, seen: "disk.raw" },
    Moment { name: "the bundle is written", cold: false, seen: ".bundle" },
    Moment { name: "all is written", cold: false, seen: "layout.txt" },
];

impl Moment {
    fn is_last(&self) -> bool {
        self.seen == "layout.txt"
    }

    fn has_come(&self, place: &Place<'_>) -> Result<bool> {
        if self.cold {
            return Ok(!listing(&place.store.join(self.seen))?.is_empty());
        }
        let Some(staging) = staging(place)? else {
            return Ok(false);
        };
        let is_there = |folder: PathBuf| {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries
                .map(|entry| entry.file_name())
                .any(|name| name.to_string_lossy().ends_with(self.seen))
        };
        Ok(self.seen.is_empty() || is_there(staging.join("scratch")) || is_there(staging))
    }
}

/// The folder that a build is filling.
fn staging(place: &Place<'_>) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(&place.out)? {
        let entry = entry?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if hidden && entry.file_type()?.is_dir() {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

fn start(place: &Place<'_>) -> Result<Child> {
    let mut command = place.build_command();
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().context("cannot start slipway")
}

/// Starts a build and calls `stop` when `moment` has come. Returns how the
/// build ended.
fn stopped_at(
    place: &Place<'_>,
    moment: &Moment,
    stop: impl FnOnce(&mut Child) -> Result<()>,
) -> Result<ExitStatus> {
    let mut build = start(place)?;
    while !moment.has_come(place)? {
        if let Some(status) = build.try_wait()? {
            return Ok(status);
        }
        // how often to look
        thread::sleep(Duration::from_millis(1));
    }
    stop(&mut build)?;
    Ok(build.wait()?)
}

fn interrupt(build: &mut Child) -> Result<()> {
    let pid = build.id().to_string();
    output(Command::new("sh").args(["-c", "kill -INT \"$1\"", "sh", &pid])).map(drop)
}

/// An earlier image is there and stays, to the byte.
pub(super) fn interrupted(base: &Base<'_>) -> Result<()> {
    let place = base.place("interrupted")?;
    place.builds()?;
    let warm = place.folder.join("warm");
    for moment in &MOMENTS {
        if moment.cold {
            fs::rename(&place.store, &warm)?;
        }
        let before = listing(&place.out)?;
        let status = stopped_at(&place, moment, interrupt)?;
        let result = interrupted_well(&place, &before, moment, status);
        result.with_context(|| format!("interrupted when {}", moment.name))?;
        if moment.cold {
            fs::remove_dir_all(&place.store)?;
            fs::rename(&warm, &place.store)?;
        }
    }
    place.builds()
}

fn interrupted_well(
    place: &Place<'_>,
    before: &[super::place::Found],
    moment: &Moment,
    status: ExitStatus,
) -> Result<()> {
    place.nothing_half_written()?;
    if moment.is_last() {
        // a few milliseconds before its end: it may be the old image or the new
        return place.holds_the_image();
    }
    ensure!(status.code() == Some(INTERRUPTED), "the build ended with {status}");
    let after = listing(&place.out)?;
    ensure!(before == after, "not as it was before: {after:?}");
    Ok(())
}

/// What a killed build leaves behind, the next one removes.
pub(super) fn killed(base: &Base<'_>) -> Result<()> {
    for (number, moment) in [&MOMENTS[0], &MOMENTS[2], &MOMENTS[3]].into_iter().enumerate() {
        let name = format!("killed-{number}");
        let place = if moment.cold { base.cold_place(&name)? } else { base.place(&name)? };
        let status = stopped_at(&place, moment, |build| Ok(build.kill()?))?;
        ensure!(status.code().is_none(), "the build ended before {}", moment.name);
        place.builds().with_context(|| format!("after a kill when {}", moment.name))?;
    }
    Ok(())
}

/// A command that is killed, from the same beginning each time.
struct Killed {
    name: &'static str,
    begin: fn(&Place<'_>) -> Result<()>,
    command: fn(&Place<'_>) -> Command,
    /// what holds once it has come to its end
    done: fn(&Base<'_>, &Place<'_>) -> Result<()>,
}

const EVERYTHING: [Killed; 4] = [
    Killed {
        name: "lock",
        begin: |place| {
            remove(&place.store)?;
            gone(fs::remove_file(&place.lock))
        },
        command: |place| place.lock_command(),
        done: |base, place| {
            let same = fs::read(&place.lock)? == fs::read(base.lock())?;
            ensure!(same, "the lock is another one");
            Ok(())
        },
    },
    Killed {
        name: "build",
        begin: |place| remove(&place.store),
        command: |place| place.build_command(),
        done: |base, place| {
            place.holds_the_image()?;
            let mut compare = Command::new(place.slipway());
            compare.arg("compare").arg(&base.image.folder).arg(place.image().folder);
            output(&mut compare).map(drop)
        },
    },
    Killed {
        name: "vendor",
        begin: |place| remove(&place.folder.join("vendor")),
        command: |place| {
            let mut command = place.vendor_command();
            command.arg("--out").arg(place.folder.join("vendor"));
            command
        },
        done: |_, place| verified(place, &place.folder.join("vendor")),
    },
    Killed {
        name: "store gc",
        begin: |place| output(&mut place.build_command()).map(drop),
        command: |place| {
            let mut command = Command::new(place.slipway());
            command.args(["store", "gc", "--max-size", "0", "--store"]).arg(&place.store);
            command
        },
        done: |_, place| place.builds(),
    },
];

/// Each is killed after so many parts of the time that it takes.
const PARTS: u32 = 6;

/// At any moment: what is in the store is whole, and the same command again
/// comes to the same end.
pub(super) fn killed_anywhere(base: &Base<'_>) -> Result<()> {
    for killed in &EVERYTHING {
        let place = base.place(&format!("killed-{}", killed.name.replace(' ', "-")))?;
        killed.everywhere(base, &place).with_context(|| killed.name)?;
    }
    Ok(())
}

impl Killed {
    fn everywhere(&self, base: &Base<'_>, place: &Place<'_>) -> Result<()> {
        (self.begin)(place)?;
        let began = Instant::now();
        output(&mut (self.command)(place))?;
        let whole = began.elapsed();
        (self.done)(base, place)?;
        for part in 0..PARTS {
            (self.begin)(place)?;
            let after = whole * part / PARTS;
            kill_after(&mut (self.command)(place), after)?;
            let again = || -> Result<()> {
                verified(place, &place.store)?;
                output(&mut (self.command)(place))?;
                (self.done)(base, place)?;
                verified(place, &place.store)?;
                place.nothing_half_written()
            };
            again().with_context(|| format!("after a kill at {after:?} of {whole:?}"))?;
        }
        Ok(())
    }
}

fn kill_after(command: &mut Command, time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    while Instant::now() < end && child.try_wait()?.is_none() {
        // how often to look
        thread::sleep(Duration::from_millis(1));
    }
    child.kill()?;
    child.wait()?;
    Ok(())
}

/// Every file of a store, if it was begun, has the digest it is named by.
fn verified(place: &Place<'_>, store: &Path) -> Result<()> {
    if !store.is_dir() {
        return Ok(());
    }
    let mut command = Command::new(place.slipway());
    output(command.args(["store", "verify", "--report", "--store"]).arg(store)).map(drop)
}

fn remove(folder: &Path) -> Result<()> {
    gone(fs::remove_dir_all(folder))
}

/// Removed, or not there.
fn gone(removed: io::Result<()>) -> Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// In the same, empty store and the same output; then over their own result.
pub(super) fn two_at_once(base: &Base<'_>) -> Result<()> {
    let place = base.cold_place("two-at-once")?;
    for round in ["first", "second"] {
        let both = [start(&place)?, start(&place)?];
        for mut build in both {
            let status = build.wait()?;
            ensure!(status.success(), "one of two builds failed in the {round} round: {status}");
        }
        place.holds_the_image()?;
    }
    Ok(())
}

/// An image is left alone where it would come out the same, and only there.
pub(super) fn unchanged(base: &Base<'_>) -> Result<()> {
    let place = base.place("unchanged")?;
    place.builds()?;
    let disk = place.out.join("demo-small-1.0.0/disk.raw");
    let which = || -> Result<u64> { Ok(fs::metadata(&disk)?.ino()) };
    let first = which()?;
    output(&mut place.plain_build_command())?;
    ensure!(which()? == first, "it was built again although nothing has changed");
    let manifest = place.out.join("demo-small-1.0.0/manifest.json");
    fs::write(&manifest, fs::read(&manifest)?)?;
    output(&mut place.plain_build_command())?;
    let second = which()?;
    ensure!(second != first, "a file of it was written to, and it was not built again");
    place.refuses(place.plain_build_command().arg("--disk-only"), 1, &["has a bundle"])?;
    ensure!(which()? == second, "a refused build changed the image");
    place.builds()
}
