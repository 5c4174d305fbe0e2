//! Recipes and locks that cannot be used.

use std::fs;

use anyhow::{Result, ensure};

use super::place::Base;
use crate::process::output;
use crate::synthetic;

/// Every mistake is shown at once, each with its line and underlined.
pub(super) fn mistakes(base: &Base<'_>) -> Result<()> {
    let place = base.place("mistakes")?;
    let more = "\n[packages]\ninstal = [\"bash\"]\n\n[health]\ntimeout_seconds = \"soon\"\n";
    place.write_recipe(more)?;
    let text = fs::read_to_string(&place.recipe)?;
    let line = |start: &str| text.lines().position(|line| line.starts_with(start)).unwrap_or(0) + 1;
    let (unknown, wrong) = (line("instal"), line("timeout_seconds"));
    let shown = place.recipe.display();
    for mut command in [place.lock_command(), place.build_command()] {
        place.refuses(
            &mut command,
            2,
            &[
                &format!("{shown}:{unknown}:1: "),
                &format!("{unknown} | instal = [\"bash\"]\n   | ^^^^^^\n"),
                "did you mean `install`?",
                &format!("{shown}:{wrong}:19: "),
                &format!("{wrong} | timeout_seconds = \"soon\"\n   |                   ^^^^^^\n"),
                "2 mistakes",
            ],
        )?;
    }
    place.write_recipe("")?;
    output(&mut place.lock_command())?;
    place.builds()
}

/// Who wants what is said, for a package that is asked for and for one that
/// another one needs.
pub(super) fn missing_package(base: &Base<'_>) -> Result<()> {
    let place = base.place("missing-package")?;
    let synthetic = place.folder.join("synthetic");
    synthetic::write(&synthetic)?;
    let repository = "\n[[repository]]\nid = \"synthetic\"\nurl = \"../synthetic\"\n\
        keys = [\"../synthetic/RPM-GPG-KEY-demo\"]\n";
    let asking = |name: &str| format!("{repository}\n[packages]\ninstall = [\"{name}\"]\n");
    place.write_recipe(&asking("no-such-package"))?;
    place.refuses(&mut place.lock_command(), 1, &["no-such-package", "recipe"])?;
    place.write_recipe(&asking("needs-nowhere"))?;
    place.refuses(&mut place.lock_command(), 1, &["needs-nowhere-1.0-1", "nowhere"])?;
    place.write_recipe(&asking("needs-file"))?;
    output(&mut place.lock_command())?;
    let lock = fs::read_to_string(&place.lock)?;
    ensure!(lock.contains("name = \"needs-file\""), "needs-file was not locked");
    Ok(())
}

/// Neither is it used nor overwritten.
pub(super) fn newer_lock(base: &Base<'_>) -> Result<()> {
    let place = base.place("newer-lock")?;
    let text = fs::read_to_string(&place.lock)?;
    fs::write(&place.lock, text.replacen("schema = 1\n", "schema = 99\n", 1))?;
    let shown = place.lock.display().to_string();
    for mut command in [place.lock_command(), place.build_command()] {
        place.refuses(&mut command, 1, &[&shown, "schema 99"])?;
    }
    fs::write(&place.lock, text)?;
    place.builds()
}

/// A lock that the recipe has outgrown, and none at all.
pub(super) fn stale_lock(base: &Base<'_>) -> Result<()> {
    let place = base.place("stale-lock")?;
    place.write_recipe("\n[packages]\ninstall = [\"procps\"]\n")?;
    let shown = place.lock.display().to_string();
    place.refuses(&mut place.build_command(), 1, &[&shown, "`slipway lock`"])?;
    let kept = fs::read(&place.lock)?;
    fs::remove_file(&place.lock)?;
    place.refuses(&mut place.build_command(), 1, &[&shown, "`slipway lock`"])?;
    fs::write(&place.lock, kept)?;
    output(&mut place.lock_command())?;
    place.builds()
}
