//! Building what is shipped: the builder for this machine, and slipway's small
//! programs for the machines they run on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

const STATIC: &str = "x86_64-unknown-linux-musl";
const UEFI: &str = "x86_64-unknown-uefi";

/// Everything for this machine; as ci/bootstrap.sh has it.
const HOST: [&str; 4] = ["build", "--workspace", "--features", "slipway-formats/bundle"];

/// The programs, as files that stay where they are.
pub struct Programs {
    /// `slipway`
    pub slipway: PathBuf,
    /// `slipway-installer`, static
    pub installer: PathBuf,
    /// folder of slipway-boot.efi, slipway-init and slipway-agent
    pub tools: PathBuf,
}

/// Builds everything and puts it below `out/bin`.
pub fn build(top: &Path) -> Result<Programs> {
    let target = target_folder(top);
    cargo(top, &[&HOST[..], &["--release"]].concat(), &[])?;
    let small = ["build", "--profile", "small", "--target"];
    let flags = plain_paths(top)?;
    let linux = [&small[..], &[STATIC, "-p", "slipway-guest", "-p", "slipway-installer"]].concat();
    // zstd's C for a static program needs a libc to match
    cargo(top, &linux, &[("CC_x86_64_unknown_linux_musl", "musl-gcc"), ("RUSTFLAGS", &flags)])?;
    let efi = [&small[..], &[UEFI, "-p", "slipway-boot"]].concat();
    cargo(top, &efi, &[("RUSTFLAGS", &flags)])?;

    let bin = top.join("out/bin");
    let tools = bin.join("tools");
    fs::create_dir_all(&tools).with_context(|| format!("cannot create {}", tools.display()))?;
    let place = |from: PathBuf, to: PathBuf| -> Result<PathBuf> {
        // a copy under another name first: the old one may be running
        let staged = to.with_extension("new");
        fs::copy(&from, &staged).with_context(|| format!("cannot copy {}", from.display()))?;
        fs::rename(&staged, &to).with_context(|| format!("cannot replace {}", to.display()))?;
        Ok(to)
    };
    for name in ["slipway-init", "slipway-agent"] {
        place(target.join(STATIC).join("small").join(name), tools.join(name))?;
    }
    let efi = "slipway-boot.efi";
    place(target.join(UEFI).join("small").join(efi), tools.join(efi))?;
    let installer = "slipway-installer";
    Ok(Programs {
        slipway: place(target.join("release/slipway"), bin.join("slipway"))?,
        installer: place(target.join(STATIC).join("small").join(installer), bin.join(installer))?,
        tools,
    })
}

/// The program that gives inputs to parsers, built as this program was.
pub fn fuzzer(top: &Path) -> Result<PathBuf> {
    let name = "slipway-fuzz";
    let own = std::env::current_exe().context("cannot tell where this program is")?;
    let folder = own.parent().context("a program is in a folder")?;
    let profile: &[&str] = if folder.ends_with("release") { &["--release"] } else { &[] };
    cargo(top, &[&HOST[..], profile].concat(), &[])?;
    Ok(folder.join(name))
}

/// Flags that keep this machine's folders out of what is shipped, so that the
/// same sources give the same bytes anywhere.
fn plain_paths(top: &Path) -> Result<String> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let registry = home.context("no home folder")?.join("registry/src");
    let mut flags = format!("--remap-path-prefix={}=/slipway", top.display());
    for index in fs::read_dir(&registry).into_iter().flatten() {
        flags += &format!(" --remap-path-prefix={}=/crates", index?.path().display());
    }
    Ok(flags)
}

fn target_folder(top: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| top.join("target"), PathBuf::from)
}

fn cargo(top: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let done = Command::new(cargo)
        .args(arguments)
        .envs(variables.iter().copied())
        .current_dir(top)
        .status()
        .context("cannot run cargo")?;
    if !done.success() {
        bail!("cargo {} failed", arguments.join(" "));
    }
    Ok(())
}
