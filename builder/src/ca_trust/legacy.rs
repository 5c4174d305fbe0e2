//! `ca-legacy install`: which certificates that are trusted only for the sake of
//! old programs are in the store, by a link to one of two lists.

use super::{CaTrustError, MAX_FILE_BYTES, unknown};
use crate::tree::{Node, Tree, TreePath};

const SCRIPT: &str = "/usr/bin/ca-legacy";
const SETTINGS: &str = "/etc/pki/ca-trust/ca-legacy.conf";
const LINK: &str = "/etc/pki/ca-trust/source/ca-bundle.legacy.crt";
const DEFAULT: &str = "/usr/share/pki/ca-trust-legacy/ca-bundle.legacy.default.crt";
const DISABLED: &str = "/usr/share/pki/ca-trust-legacy/ca-bundle.legacy.disable.crt";

/// Puts the link, as the script in the tree would.
///
/// # Errors
/// If the script is another one, or something is in the way.
pub fn install_legacy(tree: &mut Tree) -> Result<(), CaTrustError> {
    let script = tree.read(SCRIPT, MAX_FILE_BYTES)?;
    let script = String::from_utf8_lossy(&script);
    let marks = [
        format!("LCFILE={SETTINGS}"),
        format!("LLINK={LINK}"),
        format!("LDEFAULT={DEFAULT}"),
        format!("LDISABLE={DISABLED}"),
        "ln -sf $LDEFAULT $LLINK".to_owned(),
    ];
    if !marks.iter().all(|mark| script.lines().any(|line| line.trim() == mark)) {
        return unknown("ca-legacy is another one");
    }
    let parent = LINK.rsplit_once('/').and_then(|(folder, _)| tree.resolve(folder));
    let in_the_way =
        tree.get(LINK).is_some_and(|there| !matches!(there.node, Node::Symlink(_) | Node::File(_)));
    let leads_away = tree.resolve(LINK).is_some_and(|id| tree.inode(id).node.is_directory());
    if parent.is_none() || in_the_way || leads_away {
        return unknown(format!("{LINK} cannot be made"));
    }
    let target = if is_disabled(tree)? { DISABLED } else { DEFAULT };
    tree.symlink(&TreePath::new(LINK)?, target)?;
    Ok(())
}

/// A line `legacy=disable`, in any case and with any number of spaces.
fn is_disabled(tree: &Tree) -> Result<bool, CaTrustError> {
    if tree.resolve(SETTINGS).is_none() {
        return Ok(false);
    }
    let text = tree.read(SETTINGS, MAX_FILE_BYTES)?;
    let text = String::from_utf8_lossy(&text).to_lowercase();
    let said = text
        .lines()
        .filter_map(|line| line.strip_prefix("legacy")?.trim_start_matches(' ').strip_prefix('='));
    Ok(said.into_iter().any(|value| value.trim_matches(' ') == "disable"))
}
