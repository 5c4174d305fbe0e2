//! What python-tuf, the reference implementation of TUF, says of the trust
//! root that `slipway keys new` makes: that it is a root document, and signed
//! by itself; and that it notices a change.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cache::{cache_folder, lock};
use crate::images::Workshop;
use crate::process::{output, output_retrying};

/// What is installed into the environment; the second with what it needs to
/// check signatures.
const PACKAGES: [&str; 2] = ["tuf==7.0.1", "securesystemslib[crypto]==1.6.0"];
/// Fails unless they are there.
const NEEDED: &str = "import tuf, securesystemslib, cryptography";
/// Attempts to reach the package index.
const TRIES: u32 = 3;

/// Loads a root document strictly and checks it as a client does: it carries
/// enough signatures of its own root role, and is in canonical form where that
/// is signed.
const SCRIPT: &str = r#"
import sys
from tuf.api.metadata import Metadata, Root

metadata = Metadata[Root].from_file(sys.argv[1])
root = metadata.signed
assert isinstance(root, Root), root
root.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
for role in ("root", "timestamp", "snapshot", "targets"):
    found = root.roles[role]
    assert 1 <= found.threshold <= len(found.keyids), role
    assert all(keyid in root.keys for keyid in found.keyids), role
print("version", root.version, "of specification", root.spec_version)
"#;

/// Has python-tuf look at the trust root.
pub fn judge(workshop: &Workshop) -> Result<()> {
    let python = environment().context("python-tuf cannot be installed")?;
    let root = workshop.root()?;
    println!("python-tuf: {}", output(&mut script(&python, &root))?.trim());
    let folder = tempfile::tempdir()?;
    let changed = folder.path().join("root.json");
    let text = fs::read_to_string(&root)?;
    for (from, to) in [("\"version\":1", "\"version\":2"), ("\"sig\":\"", "\"sig\":\"00")] {
        ensure!(text.contains(from), "the trust root has no {from}");
        fs::write(&changed, text.replace(from, to))?;
        let accepted = output(&mut script(&python, &changed)).is_ok();
        ensure!(!accepted, "python-tuf accepts a root with {to} in place of {from}");
    }
    Ok(())
}

fn script(python: &Path, root: &Path) -> Command {
    let mut command = Command::new(python);
    command.args(["-c", SCRIPT]).arg(root);
    command
}

/// A Python with tuf, in the cache folder. An environment that is not complete
/// is made anew.
fn environment() -> Result<PathBuf> {
    let folder = cache_folder()?.join("python-tuf");
    fs::create_dir_all(&folder)?;
    let _alone = lock(&folder)?;
    let environment = folder.join("environment");
    let python = environment.join("bin/python3");
    let complete = || output(Command::new(&python).args(["-c", NEEDED]));
    if complete().is_err() {
        output(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
        output_retrying(TRIES, || {
            let mut pip = Command::new(&python);
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
            pip.args(PACKAGES);
            pip
        })?;
        complete()?;
    }
    Ok(python)
}
