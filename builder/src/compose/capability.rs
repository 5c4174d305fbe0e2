//! File capabilities: from text such as `cap_net_raw,cap_net_admin=ep` to the
//! attribute the kernel reads (`struct vfs_cap_data`, revision 2, in Linux'
//! `uapi/linux/capability.h`; the text is that of `cap_from_text(3)`).

/// Name of the attribute.
pub const XATTR: &str = "security.capability";

const REVISION_2: u32 = 0x0200_0000;
const EFFECTIVE: u32 = 1;

/// In the order of their numbers.
const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// Sets of capabilities, a bit for each.
#[derive(Default)]
struct Sets {
    effective: u64,
    permitted: u64,
    inheritable: u64,
}

/// The attribute's value; no value inside for a text without capabilities, and
/// none at all for one that is not understood.
pub fn encode(text: &str) -> Option<Option<Vec<u8>>> {
    let mut sets = Sets::default();
    for clause in text.split_ascii_whitespace() {
        sets.apply(clause)?;
    }
    if sets.permitted | sets.inheritable | sets.effective == 0 {
        return Some(None);
    }
    let mut value = Vec::with_capacity(20);
    let magic = REVISION_2 | if sets.effective == 0 { 0 } else { EFFECTIVE };
    value.extend(magic.to_le_bytes());
    // low words of both sets, then high words
    let [permitted, inheritable] = [sets.permitted, sets.inheritable].map(u64::to_le_bytes);
    for half in [0..4, 4..8] {
        value.extend(&permitted[half.clone()]);
        value.extend(&inheritable[half]);
    }
    Some(Some(value))
}

impl Sets {
    /// A clause is a list of names and one or more operators with flags.
    fn apply(&mut self, clause: &str) -> Option<()> {
        let operator = clause.find(['=', '+', '-'])?;
        let (names, mut rest) = clause.split_at(operator);
        let mask = mask(names)?;
        while let Some(operator) = rest.chars().next() {
            let end = rest[1..].find(['=', '+', '-']).map_or(rest.len(), |at| at + 1);
            let flags = &rest[1..end];
            if operator == '=' {
                self.each("eip", |set| *set &= !mask)?;
            }
            self.each(flags, |set| match operator {
                '-' => *set &= !mask,
                _ => *set |= mask,
            })?;
            rest = &rest[end..];
        }
        Some(())
    }

    fn each(&mut self, flags: &str, change: impl Fn(&mut u64)) -> Option<()> {
        flags.chars().try_for_each(|flag| {
            change(match flag {
                'e' => &mut self.effective,
                'p' => &mut self.permitted,
                'i' => &mut self.inheritable,
                _ => return None,
            });
            Some(())
        })
    }
}

fn mask(names: &str) -> Option<u64> {
    if names.is_empty() || names.eq_ignore_ascii_case("all") {
        return Some((1 << NAMES.len()) - 1);
    }
    names.split(',').try_fold(0, |mask, name| {
        let name = name.to_ascii_lowercase();
        let short = name.strip_prefix("cap_")?;
        let number = NAMES.iter().position(|known| *known == short)?;
        Some(mask | 1 << number)
    })
}

#[cfg(test)]
mod tests {
    use super::encode;

    #[test]
    fn encodes_as_setcap_does() {
        // getfattr -e hex -n security.capability after `setcap cap_net_raw=ep`
        let ping = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(encode("cap_net_raw=ep").unwrap().unwrap(), ping);
        assert_eq!(encode("cap_net_raw+p cap_net_raw+e").unwrap().unwrap(), ping);
        let two = encode("cap_net_admin,cap_perfmon=p").unwrap().unwrap();
        assert_eq!(two[..12], [0, 0, 0, 2, 0, 0x10, 0, 0, 0, 0, 0, 0]);
        assert_eq!(two[12..], [0x40, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(encode("="), Some(None));
        assert_eq!(encode(""), Some(None));
        assert_eq!(encode("cap_unheard_of=ep"), None);
        assert_eq!(encode("cap_chown"), None);
        assert_eq!(encode("cap_chown=x"), None);
    }
}
