//! Files whose bytes may differ although they say the same; what they say is
//! then compared.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process::output;

/// What a file says, as lines.
type Read = fn(&Path) -> Result<Vec<String>>;

/// Files by the end of their path, how they are read, and why they differ.
const MEANINGS: [(&str, Read, &str); 3] = [
    ("/etc/ld.so.cache", libraries, "it names the tool that wrote it"),
    ("/modules.symbols", lines_in_order, "depmod orders it by a hash table"),
    ("/etc/shadow", without_days, "the day of the last change is the day of the build"),
];

/// Whether the file at `path` says the same below both roots, and why its bytes
/// may be others; nothing if they may not.
pub(super) fn same(path: &str, ours: &Path, theirs: &Path) -> Result<Option<(bool, &'static str)>> {
    let Some((_, read, why)) = MEANINGS.iter().find(|(end, ..)| path.ends_with(end)) else {
        return Ok(None);
    };
    let says = |root: &Path| {
        let said = read(&root.join(path.trim_start_matches('/')))?;
        ensure!(!said.is_empty(), "{path} says nothing in {}", root.display());
        Ok(said)
    };
    Ok(Some((says(ours)? == says(theirs)?, why)))
}

/// What the linker finds in a cache, by glibc's own tool.
fn libraries(cache: &Path) -> Result<Vec<String>> {
    let said = output(Command::new("/sbin/ldconfig").args(["-p", "-C"]).arg(cache))?;
    Ok(said.lines().filter(|line| line.starts_with('\t')).map(str::to_owned).collect())
}

fn lines_in_order(file: &Path) -> Result<Vec<String>> {
    let mut lines = lines(file)?;
    lines.sort();
    Ok(lines)
}

/// All fields but the third (shadow(5)), which has to be a day where both have one.
fn without_days(file: &Path) -> Result<Vec<String>> {
    let without_day = |line: String| {
        let mut fields: Vec<&str> = line.split(':').collect();
        let day = fields.get_mut(2).with_context(|| format!("{line} has no day"))?;
        ensure!(day.bytes().all(|byte| byte.is_ascii_digit()), "{line} has a day that is none");
        *day = if day.is_empty() { "" } else { "DAY" };
        Ok(fields.join(":"))
    };
    lines(file)?.into_iter().map(without_day).collect()
}

fn lines(file: &Path) -> Result<Vec<String>> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(text.lines().map(str::to_owned).collect())
}
