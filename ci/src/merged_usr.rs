//! Merged /usr: Debian 12's archives still ship `/bin`, `/sbin` and `/lib`, on a
//! system where these are links into `/usr`. Paths and link targets are moved to
//! where the files really are, so that no package replaces one of the links.

/// The top-level directories that are links.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// The absolute path where an archive's path really lies; `archived` has no
/// leading slash.
pub fn canonical(archived: &str) -> String {
    let top = archived.split('/').next().unwrap_or_default();
    if MERGED.contains(&top) { format!("/usr/{archived}") } else { format!("/{archived}") }
}

/// The target to give a link that is archived at `archived` with `target`, or
/// `None` where the link would now point at itself.
pub fn link_target(archived: &str, target: &str) -> Option<String> {
    let path = canonical(archived);
    if let Some(absolute) = target.strip_prefix('/') {
        let target = canonical(&normalize("", absolute));
        return (target != path).then_some(target);
    }
    // Where the link pointed before it moved, and where it points from here.
    let meant = canonical(&normalize(parent(archived), target));
    let points = format!("/{}", normalize(parent(&path[1..]), target));
    if meant == path {
        None
    } else if meant == points {
        Some(target.to_string())
    } else {
        Some(relative(parent(&path[1..]), &meant[1..]))
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// Joins without a leading slash and resolves `.` and `..` by their text.
fn normalize(directory: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in directory.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

fn relative(from: &str, to: &str) -> String {
    let from: Vec<&str> = from.split('/').filter(|part| !part.is_empty()).collect();
    let to: Vec<&str> = to.split('/').collect();
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n("..", from.len() - common);
    up.chain(to[common..].iter().copied()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_move_into_usr() {
        assert_eq!(canonical("bin/sh"), "/usr/bin/sh");
        assert_eq!(canonical("lib"), "/usr/lib");
        assert_eq!(canonical("libexec/x"), "/libexec/x");
        assert_eq!(canonical("etc/passwd"), "/etc/passwd");
    }

    #[test]
    fn targets_follow() {
        assert_eq!(
            link_target("bin/systemd", "/lib/systemd/systemd").unwrap(),
            "/usr/lib/systemd/systemd"
        );
        assert_eq!(
            link_target("sbin/init", "../lib/systemd/systemd").unwrap(),
            "../lib/systemd/systemd"
        );
        assert_eq!(link_target("usr/lib/a.so", "../../lib/a.so.1").unwrap(), "a.so.1");
        assert_eq!(link_target("lib/x/y", "../../usr/share/z").unwrap(), "../../share/z");
        assert_eq!(link_target("usr/bin/which", "/bin/which"), None);
        assert_eq!(link_target("usr/lib/a", "../../lib/a"), None);
        assert_eq!(link_target("etc/mtab", "../proc/self/mounts").unwrap(), "../proc/self/mounts");
        assert_eq!(link_target("lib/systemd/system/rc.service", "/dev/null").unwrap(), "/dev/null");
    }
}
