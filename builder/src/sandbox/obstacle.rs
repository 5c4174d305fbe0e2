//! Why a machine does not let a user make namespaces, and what to do about it.
//! The system only says "operation not permitted".

use std::fs;

use super::message::Failure;

/// What the machine says about namespaces.
#[derive(Debug, Default)]
struct Machine {
    /// Debian's and Arch's switch
    clone_allowed: Option<bool>,
    /// Ubuntu's: namespaces exist, without privileges inside
    apparmor_restricts: bool,
    max_user_namespaces: Option<u64>,
    container: bool,
}

impl Machine {
    fn look() -> Self {
        let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        let there = |path: &str| std::path::Path::new(path).exists();
        Self {
            clone_allowed: read("/proc/sys/kernel/unprivileged_userns_clone").map(|t| t == "1"),
            apparmor_restricts: read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
                .is_some_and(|text| text != "0"),
            max_user_namespaces: read("/proc/sys/user/max_user_namespaces")
                .and_then(|text| text.parse().ok()),
            container: there("/.dockerenv") || there("/run/.containerenv"),
        }
    }
}

/// What may help, as a sentence.
pub fn advice(failure: &Failure) -> String {
    advise(failure, &Machine::look())
}

fn advise(failure: &Failure, machine: &Machine) -> String {
    const NOSPC: i32 = 28;
    const PERMISSION: [i32; 2] = [1, 13];
    if failure.reason.contains("noexec") {
        return "choose an output folder on another file system".to_owned();
    }
    if machine.max_user_namespaces == Some(0) || failure.errno == NOSPC {
        return "allow more user namespaces: `sysctl user.max_user_namespaces=10000`, as root"
            .to_owned();
    }
    if !PERMISSION.contains(&failure.errno) {
        return "the kernel has to have user, mount, PID, network, IPC and UTS namespaces"
            .to_owned();
    }
    if machine.clone_allowed == Some(false) {
        return "allow user namespaces: `sysctl kernel.unprivileged_userns_clone=1`, as root"
            .to_owned();
    }
    if machine.container && failure.step.contains("/proc") {
        return "this container hides parts of /proc: start it with `--security-opt \
                systempaths=unconfined` (podman: `unmask=ALL`)"
            .to_owned();
    }
    if machine.container {
        return "this container does not allow namespaces: start it with `--security-opt \
                seccomp=unconfined --security-opt apparmor=unconfined`, or with `--privileged`"
            .to_owned();
    }
    if machine.apparmor_restricts {
        return "AppArmor takes the privileges of user namespaces away: allow them for slipway in \
                a profile with `userns,`, or for all with `sysctl \
                kernel.apparmor_restrict_unprivileged_userns=0`, as root"
            .to_owned();
    }
    "the system does not allow it: a security module, a seccomp filter or a chroot may be why"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(step: &str, errno: i32) -> Failure {
        Failure { step: step.to_owned(), errno, reason: String::new() }
    }

    #[test]
    fn each_obstacle_has_its_way_out() {
        let none = Machine::default;
        let user = refused("make a user namespace", 1);
        let cases = [
            (
                Machine { clone_allowed: Some(false), ..none() },
                &user,
                "unprivileged_userns_clone=1",
            ),
            (Machine { max_user_namespaces: Some(0), ..none() }, &user, "max_user_namespaces"),
            (none(), &refused("make a user namespace", 28), "max_user_namespaces"),
            (none(), &refused("make a user namespace", 22), "the kernel has to have"),
            (Machine { container: true, ..none() }, &user, "seccomp=unconfined"),
            (Machine { container: true, ..none() }, &refused("mount /proc", 1), "unmask=ALL"),
            (Machine { apparmor_restricts: true, ..none() }, &user, "AppArmor"),
            (none(), &user, "a security module"),
        ];
        for (machine, failure, expected) in cases {
            let advice = advise(failure, &machine);
            assert!(advice.contains(expected), "{machine:?}: {advice}");
        }
    }
}
