//! Notices that a script wants users or groups that its namespace does not have.
//! The system refuses that, but a script may go on regardless, and would leave
//! other owners than everywhere else. A seccomp filter (seccomp(2)) hands such
//! calls over before they are made; they are noted, and then left to the system.
#![expect(unsafe_code, reason = "seccomp and its requests have no safe wrapper")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use libc::{
    BPF_ABS, BPF_JEQ, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW,
    SECCOMP_RET_USER_NOTIF, seccomp_data, sock_filter,
};

/// What the system calls this architecture in `seccomp_data`; others have other
/// numbers for the same calls.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// Numbers of x32, another set of calls on x86-64, have this bit.
const X32: u32 = 0x4000_0000;

/// Calls that name users or groups, and which of their arguments do. Those
/// without hand over a list of them.
const CALLS: &[(libc::c_long, &[usize])] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chown, &[1, 2]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_lchown, &[1, 2]),
    (libc::SYS_fchown, &[1, 2]),
    (libc::SYS_fchownat, &[2, 3]),
    (libc::SYS_setuid, &[0]),
    (libc::SYS_setgid, &[0]),
    (libc::SYS_setreuid, &[0, 1]),
    (libc::SYS_setregid, &[0, 1]),
    (libc::SYS_setresuid, &[0, 1, 2]),
    (libc::SYS_setresgid, &[0, 1, 2]),
    (libc::SYS_setfsuid, &[0]),
    (libc::SYS_setfsgid, &[0]),
    (libc::SYS_setgroups, &[]),
];

/// The ids that are there: root, and "leave it as it is".
const KNOWN: [u32; 2] = [0, u32::MAX];

/// Whether anything was noticed.
#[derive(Debug, Clone)]
pub struct Noticed(Arc<AtomicBool>);

impl Noticed {
    /// So far.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Watches the calling thread and all that it starts from now on. Privileges
/// must have been given up with `no_new_privs`.
pub fn watch() -> io::Result<Noticed> {
    let listener = listen(&filter())?;
    let noticed = Noticed(Arc::default());
    let seen = noticed.clone();
    std::thread::Builder::new().name("owners".into()).spawn(move || {
        // Nothing can be told of an error; the call then waits, and the script's
        // time limit ends it.
        while let Ok(()) = serve(&listener, &seen) {}
    })?;
    Ok(noticed)
}

/// The program that looks at each call: for a call of `CALLS` at its ids.
fn filter() -> Vec<sock_filter> {
    let hand_over = statement(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
    let mut program = vec![
        load(std::mem::offset_of!(seccomp_data, arch)),
        // A call of another architecture may be anything.
        jump(BPF_JEQ, ARCHITECTURE, 1, 0),
        hand_over,
        load(std::mem::offset_of!(seccomp_data, nr)),
        jump(BPF_JSET, X32, 0, 1),
        hand_over,
    ];
    for (number, arguments) in CALLS {
        let mut of_call = Vec::new();
        for argument in *arguments {
            of_call.push(load(low_half_of(*argument)));
            of_call.push(jump(BPF_JEQ, KNOWN[0], 2, 0));
            of_call.push(jump(BPF_JEQ, KNOWN[1], 1, 0));
            of_call.push(hand_over);
        }
        of_call.push(match arguments.is_empty() {
            true => hand_over,
            false => statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        });
        let skip = u8::try_from(of_call.len()).unwrap_or(u8::MAX);
        let number = u32::try_from(*number).unwrap_or(u32::MAX);
        program.push(jump(BPF_JEQ, number, 0, skip));
        program.extend(of_call);
    }
    program.push(statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    program
}

/// Ids have 32 bits of an argument's 64; both architectures put them first.
fn low_half_of(argument: usize) -> usize {
    std::mem::offset_of!(seccomp_data, args) + size_of::<u64>() * argument
}

fn load(offset: usize) -> sock_filter {
    statement(BPF_LD | BPF_W | BPF_ABS, u32::try_from(offset).unwrap_or(u32::MAX))
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: u16::try_from(code).unwrap_or(u16::MAX), jt: 0, jf: 0, k }
}

/// Skips `yes` or `no` of what follows.
fn jump(test: u32, k: u32, yes: u8, no: u8) -> sock_filter {
    sock_filter { jt: yes, jf: no, ..statement(BPF_JMP | test | BPF_K, k) }
}

/// Puts the filter in place; gives where calls are handed over.
fn listen(program: &[sock_filter]) -> io::Result<OwnedFd> {
    let len = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: the program and its length belong together, and the system only
    // reads them, during the call.
    let listener = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            ptr::from_ref(&program),
        )
    };
    let Ok(listener) = RawFd::try_from(listener) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    if listener < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system has just opened it for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(listener) })
}

/// Notes one call, and lets it be made.
fn serve(listener: &OwnedFd, noticed: &Noticed) -> io::Result<()> {
    // SAFETY: numbers and arrays of them, which the system wants to be zero.
    let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    match request(listener, libc::SECCOMP_IOCTL_NOTIF_RECV, &mut call) {
        // The caller was ended meanwhile.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
        other => other?,
    }
    noticed.0.store(true, Ordering::SeqCst);
    let flags = u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap_or_default();
    let mut answer = libc::seccomp_notif_resp { id: call.id, val: 0, error: 0, flags };
    match request(listener, libc::SECCOMP_IOCTL_NOTIF_SEND, &mut answer) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

fn request<T>(listener: &OwnedFd, what: libc::Ioctl, value: &mut T) -> io::Result<()> {
    loop {
        // SAFETY: both requests here take a pointer to the structure that their
        // caller passes, which lives longer than the call.
        let done = unsafe { libc::ioctl(listener.as_raw_fd(), what, ptr::from_mut(value)) };
        let error = io::Error::last_os_error();
        match done {
            0.. => return Ok(()),
            _ if error.kind() == io::ErrorKind::Interrupted => {}
            _ => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_jump_stays_within_the_program() {
        let program = filter();
        for (at, one) in program.iter().enumerate() {
            let furthest = at + 1 + usize::from(one.jt.max(one.jf));
            assert!(furthest < program.len() || u32::from(one.code) & 7 == BPF_RET, "at {at}");
        }
    }
}
