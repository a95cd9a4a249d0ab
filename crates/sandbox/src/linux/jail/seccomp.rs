//! seccomp: the system calls that a jailed process may make.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use crate::SandboxError;
use crate::error::refused;
use crate::linux::role::ProcessRole;

/// Rules by number of the system call; an empty list of rules matches every call.
type SyscallRules = BTreeMap<i64, Vec<SeccompRule>>;

/// Compiles rules into a filter: system calls that match a rule get the action `matched`, all others `otherwise`.
fn filter(rules: SyscallRules, otherwise: SeccompAction, matched: SeccompAction) -> Result<BpfProgram, SandboxError> {
    let arch = std::env::consts::ARCH;
    let arch =
        TargetArch::try_from(arch).map_err(|_| refused(format!("no seccomp filter for the processor `{arch}`")))?;
    let filter = SeccompFilter::new(rules, otherwise, matched, arch).map_err(refused)?;
    filter.try_into().map_err(refused)
}

/// The filter of a process in a role: it allows listed system calls and denies all others. A script may also change
/// files, where Landlock and the mounts let it; a tester, which is trusted, may also receive descriptors.
pub fn for_role(role: ProcessRole) -> Result<BpfProgram, SandboxError> {
    let mut rules = rules(role == ProcessRole::Script)?;
    if role == ProcessRole::Tester {
        rules.insert(libc::SYS_recvmsg, Vec::new());
    }
    filter(rules, SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow)
}

/// The filter that holds from the start of a jailed interpreter, even while its code is trusted: it denies listed
/// system calls and allows all others.
pub fn base() -> Result<BpfProgram, SandboxError> {
    let denied = denied().into_iter().map(|s| (s, Vec::new())).collect();
    filter(denied, SeccompAction::Allow, SeccompAction::Errno(libc::EPERM as u32))
}

/// A compiled filter as the kernel's array of `sock_filter`, in hexadecimal.
pub fn hexadecimal(program: &BpfProgram) -> String {
    let instruction = |i: &seccompiler::sock_filter| {
        let [k0, k1, k2, k3] = i.k.to_ne_bytes();
        let [c0, c1] = i.code.to_ne_bytes();
        u64::from_be_bytes([c0, c1, i.jt, i.jf, k0, k1, k2, k3])
    };
    program.iter().fold(String::new(), |hex, i| hex + &format!("{:016x}", instruction(i)))
}

/// System calls that are allowed with any arguments.
#[allow(clippy::wildcard_imports)] // A list of system calls by the C library's own names.
fn allowed() -> Vec<i64> {
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
    allowed
}

/// Adds the system calls that are also allowed, with any arguments, to processes that may change files.
#[allow(clippy::wildcard_imports)] // As above.
fn allow_changing_files(allowed: &mut Vec<i64>) {
    use libc::*;
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

/// The rules of the allowed system calls: those of [`allowed`], with `scratch` also those that change files, and
/// further calls with certain arguments only.
#[allow(clippy::wildcard_imports)] // As above.
fn rules(scratch: bool) -> Result<SyscallRules, SandboxError> {
    use libc::*;
    let mut allowed = allowed();
    if scratch {
        allow_changing_files(&mut allowed);
    }
    let mut rules: SyscallRules = allowed.into_iter().map(|s| (s, Vec::new())).collect();
    let condition = |arg, len, op, value| SeccompCondition::new(arg, len, op, value).map_err(refused);
    let equals = |arg, len, value| condition(arg, len, SeccompCmpOp::Eq, value);
    let rule = |conditions| SeccompRule::new(conditions).map_err(refused);
    let dword = || SeccompCmpArgLen::Dword;
    // Landlock checks rights by access mode, so opening with `O_PATH` or for neither reading nor writing must not be
    // possible; nor may a file opened for reading be truncated, which an old Landlock does not check.
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
    // A process may read its own limits (PID 0, no new limit), not set them.
    let this_process = equals(0, dword(), 0)?;
    rules.insert(SYS_prlimit64, vec![rule(vec![this_process, equals(2, SeccompCmpArgLen::Qword, 0)?])?]);
    let terminal = [TCGETS, TIOCGWINSZ, FIONREAD, FIOCLEX, FIONCLEX];
    let terminal = terminal.iter().map(|v| rule(vec![equals(1, dword(), *v)?]));
    rules.insert(SYS_ioctl, terminal.collect::<Result<_, SandboxError>>()?);
    let flags = [F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC];
    let flags = flags.iter().map(|v| rule(vec![equals(1, dword(), *v as u64)?]));
    rules.insert(SYS_fcntl, flags.collect::<Result<_, SandboxError>>()?);
    Ok(rules)
}

/// System calls that no jailed process may make.
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
