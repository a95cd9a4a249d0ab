//! System calls: what a jailed process may ask of the kernel.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use crate::SandboxError;
use crate::error::refused;
use crate::linux::role::Role;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn filter(rules: Rules, otherwise: SeccompAction, matched: SeccompAction) -> Result<BpfProgram, SandboxError> {
    let arch = std::env::consts::ARCH;
    let arch =
        TargetArch::try_from(arch).map_err(|_| refused(format!("no seccomp filter for the processor `{arch}`")))?;
    let filter = SeccompFilter::new(rules, otherwise, matched, arch).map_err(refused)?;
    filter.try_into().map_err(refused)
}

/// The allow-list of a process that does what `role` says. A script may also change files (where Landlock and the
/// mounts let it); a tester, which is trusted, may be handed descriptors.
pub fn role(role: Role) -> Result<BpfProgram, SandboxError> {
    let mut rules = rules(role == Role::Script)?;
    if role == Role::Tester {
        rules.insert(libc::SYS_recvmsg, Vec::new());
    }
    filter(rules, SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow)
}

/// What not even the trusted start of a jailed interpreter may do.
pub fn base() -> Result<BpfProgram, SandboxError> {
    let denied = denied().into_iter().map(|s| (s, Vec::new())).collect();
    filter(denied, SeccompAction::Allow, SeccompAction::Errno(libc::EPERM as u32))
}

/// A filter as the kernel's `sock_filter` array, in hexadecimal.
pub fn hexadecimal(program: &BpfProgram) -> String {
    let instruction = |i: &seccompiler::sock_filter| {
        let [k0, k1, k2, k3] = i.k.to_ne_bytes();
        let [c0, c1] = i.code.to_ne_bytes();
        u64::from_be_bytes([c0, c1, i.jt, i.jf, k0, k1, k2, k3])
    };
    program.iter().fold(String::new(), |hex, i| hex + &format!("{:016x}", instruction(i)))
}

/// Numbers of system calls that take no check of their arguments.
#[allow(clippy::wildcard_imports)] // A list of system calls by the C library's own names.
fn allowed(scratch: bool) -> Vec<i64> {
    use libc::*;
    let mut allowed = vec![
        SYS_read,
        SYS_write,
        SYS_readv,
        SYS_writev,
        SYS_pread64,
        SYS_lseek,
        SYS_close,
        SYS_fstat,
        SYS_newfstatat,
        SYS_statx,
        SYS_faccessat,
        SYS_faccessat2,
        SYS_readlinkat,
        SYS_getcwd,
        SYS_getdents64,
        SYS_mmap,
        SYS_munmap,
        SYS_mprotect,
        SYS_mremap,
        SYS_madvise,
        SYS_brk,
        SYS_rt_sigaction,
        SYS_rt_sigprocmask,
        SYS_rt_sigreturn,
        SYS_sigaltstack,
        SYS_futex,
        SYS_clock_gettime,
        SYS_clock_getres,
        SYS_clock_nanosleep,
        SYS_nanosleep,
        SYS_gettimeofday,
        SYS_getpid,
        SYS_gettid,
        SYS_getppid,
        SYS_getuid,
        SYS_geteuid,
        SYS_getgid,
        SYS_getegid,
        SYS_getrandom,
        SYS_dup,
        SYS_dup3,
        SYS_ppoll,
        SYS_pselect6,
        SYS_exit,
        SYS_exit_group,
        SYS_rseq,
        SYS_getrusage,
        SYS_times,
        SYS_uname,
        SYS_sched_yield,
        SYS_sched_getaffinity,
        SYS_restart_syscall,
        SYS_umask,
        SYS_setitimer,
        SYS_getitimer,
    ];
    #[cfg(target_arch = "x86_64")]
    allowed.extend([
        SYS_stat,
        SYS_lstat,
        SYS_access,
        SYS_readlink,
        SYS_poll,
        SYS_select,
        SYS_time,
        SYS_dup2,
        SYS_alarm,
    ]);
    if scratch {
        allowed.extend([
            SYS_pwrite64,
            SYS_ftruncate,
            SYS_fsync,
            SYS_fdatasync,
            SYS_chdir,
            SYS_unlinkat,
            SYS_mkdirat,
            SYS_renameat2,
        ]);
        #[cfg(target_arch = "x86_64")]
        allowed.extend([SYS_unlink, SYS_mkdir, SYS_rmdir, SYS_rename, SYS_renameat]);
    }
    allowed
}

#[allow(clippy::wildcard_imports)] // As above.
fn rules(scratch: bool) -> Result<Rules, SandboxError> {
    use libc::*;
    let mut rules: Rules = allowed(scratch).into_iter().map(|s| (s, Vec::new())).collect();
    let condition = |arg, len, op, value| SeccompCondition::new(arg, len, op, value).map_err(refused);
    let equals = |arg, len, value| condition(arg, len, SeccompCmpOp::Eq, value);
    let rule = |conditions| SeccompRule::new(conditions).map_err(refused);
    let dword = || SeccompCmpArgLen::Dword;
    // Landlock asks for rights by what can be read or written then: opening as a mere path, or for neither, must not be
    // possible, nor truncating what is opened for reading, of which an old Landlock knows nothing.
    let open = |flags: u8| -> Result<Vec<SeccompRule>, SandboxError> {
        let masked = |mask: c_int, value: c_int| {
            rule(vec![condition(flags, dword(), SeccompCmpOp::MaskedEq(mask as u64), value as u64)?])
        };
        let mode = O_ACCMODE | O_PATH;
        Ok(vec![masked(mode | O_TRUNC, O_RDONLY)?, masked(mode, O_WRONLY)?, masked(mode, O_RDWR)?])
    };
    rules.insert(SYS_openat, open(2)?);
    #[cfg(target_arch = "x86_64")]
    rules.insert(SYS_open, open(1)?);
    // Reading a limit of one's own is harmless; setting one is not.
    let own = equals(0, dword(), 0)?;
    rules.insert(SYS_prlimit64, vec![rule(vec![own, equals(2, SeccompCmpArgLen::Qword, 0)?])?]);
    let terminal = [TCGETS, TIOCGWINSZ, FIONREAD, FIOCLEX, FIONCLEX];
    let terminal = terminal.iter().map(|v| rule(vec![equals(1, dword(), *v)?]));
    rules.insert(SYS_ioctl, terminal.collect::<Result<_, SandboxError>>()?);
    let flags = [F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC];
    let flags = flags.iter().map(|v| rule(vec![equals(1, dword(), *v as u64)?]));
    rules.insert(SYS_fcntl, flags.collect::<Result<_, SandboxError>>()?);
    Ok(rules)
}

#[allow(clippy::wildcard_imports)] // As above.
fn denied() -> Vec<i64> {
    use libc::*;
    vec![
        SYS_ptrace,
        SYS_process_vm_readv,
        SYS_process_vm_writev,
        SYS_mount,
        SYS_umount2,
        SYS_pivot_root,
        SYS_chroot,
        SYS_setns,
        SYS_unshare,
        SYS_bpf,
        SYS_perf_event_open,
        SYS_keyctl,
        SYS_add_key,
        SYS_request_key,
        SYS_io_uring_setup,
        SYS_io_uring_enter,
        SYS_io_uring_register,
        SYS_userfaultfd,
        SYS_socket,
        SYS_socketpair,
        SYS_memfd_create,
        SYS_shmget,
        SYS_semget,
        SYS_msgget,
        SYS_mq_open,
        SYS_execveat,
        SYS_init_module,
        SYS_finit_module,
        SYS_kexec_load,
        SYS_reboot,
        SYS_swapon,
        SYS_mknodat,
        SYS_open_by_handle_at,
        SYS_pidfd_getfd,
        SYS_personality,
        SYS_vmsplice,
        SYS_fsopen,
        SYS_move_mount,
        SYS_open_tree,
        SYS_mount_setattr,
    ]
}
