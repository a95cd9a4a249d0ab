//! The jail: confinement that is planned in the parent process and entered by the child between `clone` and `exec`.
//!
//! Tier A: new namespaces (mount, PID, network, IPC, UTS, cgroup, and user if rlar is not root), a private root,
//! Landlock, seccomp, resource limits, no capabilities. Tier B, where namespaces are forbidden: the same without the
//! namespaces and the private root. The order matters: first the mounts, then the user, then the restrictions that
//! cannot be undone.
#![allow(unsafe_code)]

mod landlock;
mod mounts;
mod seccomp;

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ::seccompiler::BpfProgram;
use libc::c_int;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde_json::json;

use crate::error::refused;
use crate::linux::interpreter::Interpreter;
use crate::linux::role::ProcessRole;
use crate::{SandboxError, Tier};
use mounts::MountStep;

pub use mounts::SCRATCH_BYTES;

/// The plan of a jail: everything that is needed to start a jailed interpreter, computed once.
#[derive(Debug)]
pub struct Jail {
    /// How strong the jail's confinement is.
    pub tier: Tier,
    python: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    /// Files and folders that the jailed process may read.
    readable: Vec<PathBuf>,
    /// seccomp filter that holds from the start: it denies listed system calls and allows all others.
    base: BpfProgram,
    /// The first message to the fork server: its code, compiled.
    pub code: Vec<u8>,
    /// The second message to the fork server, as JSON: seccomp filters by role, scratch size and folder of packages.
    pub setup: String,
    /// Namespaces, private root and user of tier A; `None` on tier B.
    namespaces: Option<Namespaces>,
}

/// What tier A has and tier B lacks: new namespaces, a private root and a user of its own.
#[derive(Debug)]
struct Namespaces {
    /// The `CLONE_NEW…` flags for `clone(2)`.
    flags: c_int,
    /// Folder on which the new root is mounted before the process moves into it.
    root: CString,
    steps: Vec<MountStep>,
    user: User,
}

/// The user that the jailed process runs as.
#[derive(Debug)]
enum User {
    /// If rlar runs as root: the id of a user that owns no files.
    Unused(u32),
    /// If rlar does not run as root: the only user of a new user namespace, as the contents of `uid_map` and `gid_map`.
    Mapped { users: CString, groups: CString },
}

/// A jailed process that was just started.
#[derive(Debug)]
pub struct JailedProcess {
    /// rlar's end of the control socket of the process.
    pub control: OwnedFd,
    /// Pidfd of the process.
    pub process: OwnedFd,
}

const NAMESPACE_FLAGS: c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// What the interpreter runs: it reads the fork server's code from the control socket. Compiled code starts sooner than a
/// text, and the memory of the fork server, which every process inherits, stays smaller.
const START: &str = "import marshal, os; exec(marshal.loads(os.read(3, 1 << 20)))";

impl Jail {
    /// Plans a jail for fork servers. With `as_root`, namespaces are made with root's capabilities
    /// instead of in a new user namespace; `packages` is a folder of Python packages that the code may import.
    pub fn plan(
        tier: Tier,
        as_root: bool,
        interpreter: &Interpreter,
        packages: Option<&Path>,
    ) -> Result<Self, SandboxError> {
        let c_string =
            |text: &[u8]| CString::new(text).map_err(|_| refused("a NUL byte in the interpreter's path or code"));
        let python = c_string(interpreter.python.as_os_str().as_bytes())?;
        // Not `-I`, which would ignore `PYTHONHASHSEED`. These are all the variables, and the current folder is `/`, so
        // nothing else of the environment reaches the interpreter.
        let arguments = [python.as_bytes(), b"-s", b"-S", b"-B", b"-c", START.as_bytes()];
        let environment =
            ["LD_BIND_NOW=1", "PYTHONHASHSEED=0", "PYTHONUTF8=1", "LC_ALL=C.UTF-8", "OPENBLAS_NUM_THREADS=1", "HOME=/"];
        let mut readable = interpreter.readable.clone();
        let namespaces = match tier {
            Tier::A => {
                let root = mounts::mount_point(&readable)?;
                let user = if as_root { User::Unused(unused_user()) } else { mapped_user()? };
                let flags = if as_root { NAMESPACE_FLAGS } else { NAMESPACE_FLAGS | libc::CLONE_NEWUSER };
                let steps = mounts::steps(&root, &readable, packages)?;
                Some(Namespaces { flags, root: c_string(root.as_os_str().as_bytes())?, steps, user })
            }
            Tier::B => None,
        };
        // Landlock's rules hold for the folder itself, wherever it is mounted.
        readable.extend(packages.map(Path::to_owned));
        let import_path = packages.map(|site| if tier == Tier::A { Path::new(mounts::PACKAGES) } else { site });
        let filters = ProcessRole::ALL.map(|role| {
            let filter = seccomp::hexadecimal(&seccomp::for_role(role)?);
            Ok::<_, SandboxError>((role.name().to_owned(), filter))
        });
        let filters = filters.into_iter().collect::<Result<std::collections::BTreeMap<_, _>, _>>()?;
        let setup = json!({
            "filters": filters,
            "scratch_bytes": SCRATCH_BYTES,
            "packages": import_path.into_iter().collect::<Vec<_>>(),
        });
        Ok(Self {
            tier,
            arguments: arguments.into_iter().map(c_string).collect::<Result<_, _>>()?,
            environment: environment.into_iter().map(|v| c_string(v.as_bytes())).collect::<Result<_, _>>()?,
            python,
            readable,
            base: seccomp::base()?,
            code: interpreter.compiled.clone(),
            setup: setup.to_string(),
            namespaces,
        })
    }

    /// Starts the interpreter in the jail. The first message on the control socket comes from the interpreter's code;
    /// if a step of entering the jail failed, the message is `!`, the error number (4 bytes) and the name of the step.
    pub fn start(&self) -> Result<JailedProcess, SandboxError> {
        let sockets = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (control, theirs) = sockets.map_err(refused)?;
        let fds = Descriptors {
            control: theirs.as_raw_fd(),
            fork_server: landlock::ruleset(&self.readable)?,
            reader: landlock::ruleset(&self.readable)?,
        };
        let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
            list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
        };
        let (arguments, environment) = (pointers(&self.arguments), pointers(&self.environment));
        let flags = self.namespaces.as_ref().map_or(0, |n| n.flags) | libc::CLONE_PIDFD | libc::SIGCHLD;
        let mut process: c_int = -1;
        // SAFETY: like `fork`. The child only makes system calls on memory that existed before, and ends in `exec` or
        // `_exit`; it allocates no memory and takes no lock.
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut process, 0, 0) };
        match pid {
            -1 => Err(refused(format!("clone: {}", io::Error::last_os_error()))),
            0 => unsafe {
                let refusal = self.enter(&fds).err().unwrap_or_else(|| {
                    libc::execve(self.python.as_ptr(), arguments.as_ptr(), environment.as_ptr());
                    "exec of the interpreter"
                });
                report(refusal)
            },
            // SAFETY: the kernel has just made this descriptor for us.
            _ => Ok(JailedProcess { control, process: unsafe { OwnedFd::from_raw_fd(process) } }),
        }
    }

    /// Enters the jail; the forked child calls this. The error is the name of the step that failed; `errno` has the
    /// reason.
    unsafe fn enter(&self, fds: &Descriptors) -> Result<(), &'static str> {
        // SAFETY: system calls on integers and on memory that outlives them.
        unsafe {
            fds.arrange()?;
            check(libc::setsid(), "setsid")?;
            check(libc::chdir(c"/".as_ptr()), "chdir")?;
            // If the machine runs out of memory, jailed processes are killed first. Some containers forbid this
            // setting.
            let _ = write_file(c"/proc/self/oom_score_adj", c"500");
            libc::umask(0o022);
            if let Some(namespaces) = &self.namespaces {
                namespaces.build()?;
                allow_scratch()?;
            }
            let scratch = if self.namespaces.is_some() { SCRATCH_BYTES } else { 0 };
            limit(libc::RLIMIT_FSIZE, scratch)?;
            limit(libc::RLIMIT_CORE, 0)?;
            limit(libc::RLIMIT_NOFILE, 4096)?;
            for capability in 0..64 {
                libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
            }
            if let Some(Namespaces { user: User::Unused(id), .. }) = &self.namespaces {
                // Not the C library's functions, which would wait for threads that this process does not have.
                check(libc::syscall(libc::SYS_setgroups, 0, 0), "setgroups")?;
                check(libc::syscall(libc::SYS_setresgid, *id, *id, *id), "setresgid")?;
                check(libc::syscall(libc::SYS_setresuid, *id, *id, *id), "setresuid")?;
            }
            let header = [0x2008_0522u32, 0];
            let none = [0u32; 6];
            check(libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()), "capset")?;
            check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")?;
            check(libc::syscall(libc::SYS_landlock_restrict_self, FORK_SERVER, 0), "Landlock")?;
            check(libc::close(FORK_SERVER), "close")?;
            let program =
                libc::sock_fprog { len: self.base.len() as u16, filter: self.base.as_ptr().cast_mut().cast() };
            check(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), "seccomp")?;
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            check(libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()), "sigprocmask")
        }
    }
}

/// Descriptor number of the control socket in the child.
const CONTROL: RawFd = 3;
/// Descriptor number of a Landlock ruleset that does not allow the scratch folder; the fork server's processes that
/// write no files restrict themselves with it.
const READER: RawFd = 4;
/// Descriptor number of the Landlock ruleset that the fork server restricts itself with.
const FORK_SERVER: RawFd = 5;

/// The descriptors that the child inherits.
struct Descriptors {
    control: RawFd,
    reader: OwnedFd,
    fork_server: OwnedFd,
}

impl Descriptors {
    /// Moves the three descriptors to their fixed numbers, opens `/dev/null` as the standard streams and closes all
    /// other descriptors.
    unsafe fn arrange(&self) -> Result<(), &'static str> {
        // SAFETY: as in `enter`.
        unsafe {
            let mut high = [0; 3];
            for (to, from) in high.iter_mut().zip([self.control, self.reader.as_raw_fd(), self.fork_server.as_raw_fd()])
            {
                *to = libc::fcntl(from, libc::F_DUPFD, 64);
                check(*to, "fcntl")?;
            }
            for (number, fd) in [CONTROL, READER, FORK_SERVER].into_iter().zip(high) {
                check(libc::dup2(fd, number), "dup2")?;
            }
            let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
            check(null, "/dev/null")?;
            for standard in 0..3 {
                check(libc::dup2(null, standard), "dup2")?;
            }
            check(libc::syscall(libc::SYS_close_range, FORK_SERVER + 1, u32::MAX, 0), "close_range")
        }
    }
}

impl Namespaces {
    /// Builds the private root and moves the process into it.
    unsafe fn build(&self) -> Result<(), &'static str> {
        // SAFETY: as in `enter`.
        unsafe {
            if let User::Mapped { users, groups } = &self.user {
                write_file(c"/proc/self/setgroups", c"deny")?;
                write_file(c"/proc/self/uid_map", users)?;
                write_file(c"/proc/self/gid_map", groups)?;
            }
            check(libc::sethostname(c"sandbox".as_ptr(), 7), "sethostname")?;
            let private = libc::MS_REC | libc::MS_PRIVATE;
            mount(None, c"/", None, private, None, "making mounts private")?;
            for step in &self.steps {
                step.take()?;
            }
            check(libc::chdir(self.root.as_ptr()), "the new root")?;
            check(libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()), "pivot_root")?;
            check(libc::umount2(c".".as_ptr(), libc::MNT_DETACH), "leaving the old root")?;
            check(libc::chdir(c"/".as_ptr()), "the new root")
        }
    }
}

impl MountStep {
    /// Carries out the step, in the forked child.
    unsafe fn take(&self) -> Result<(), &'static str> {
        let (nosuid, nodev, noexec) = (libc::MS_NOSUID, libc::MS_NODEV, libc::MS_NOEXEC);
        // SAFETY: as in `enter`.
        unsafe {
            match self {
                Self::Folder(path) => check(libc::mkdir(path.as_ptr(), 0o755), "mkdir in the new root"),
                Self::File(path) => {
                    let fd = libc::open(path.as_ptr(), libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC, 0o644);
                    check(fd, "a file in the new root")?;
                    check(libc::close(fd), "close")
                }
                Self::Link { target, name } => check(libc::symlink(target.as_ptr(), name.as_ptr()), "symlink"),
                Self::Tmpfs { path, options } => {
                    let flags = nosuid | nodev | noexec;
                    mount(Some(c"tmpfs"), path, Some(c"tmpfs"), flags, Some(options), "mounting tmpfs")
                }
                Self::Bind { from, to } => {
                    mount(Some(from), to, None, libc::MS_BIND | libc::MS_REC, None, "mounting the interpreter")?;
                    make_read_only(to, libc::AT_RECURSIVE, libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV)
                }
                Self::Device { from, to } => mount(Some(from), to, None, libc::MS_BIND, None, "mounting a device"),
                Self::ReadOnly(path) => make_read_only(path, 0, libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV),
            }
        }
    }
}

/// Makes a mount read-only with `mount_setattr(2)`, which, unlike a remount, does not touch the mount's other flags: a
/// user namespace may not change those of the machine's mounts. `flags` are the flags of the system call, `more` are
/// further attributes to set.
unsafe fn make_read_only(path: &CStr, flags: c_int, more: u64) -> Result<(), &'static str> {
    let attributes = [libc::MOUNT_ATTR_RDONLY | more, 0, 0, 0];
    // SAFETY: `attributes` has the layout of `struct mount_attr`: four words.
    let r = unsafe {
        libc::syscall(libc::SYS_mount_setattr, libc::AT_FDCWD, path.as_ptr(), flags, attributes.as_ptr(), 32usize)
    };
    check(r, "making a mount read-only")
}

/// Calls `mount(2)`; the error is `what`, the name of the step.
unsafe fn mount(
    from: Option<&CStr>,
    to: &CStr,
    kind: Option<&CStr>,
    flags: libc::c_ulong,
    options: Option<&CStr>,
    what: &'static str,
) -> Result<(), &'static str> {
    let pointer = |s: Option<&CStr>| s.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: strings that outlive the call.
    check(unsafe { libc::mount(pointer(from), to.as_ptr(), pointer(kind), flags, pointer(options).cast()) }, what)
}

/// Adds the scratch folder to the fork server's Landlock ruleset, with the rights in [`landlock::SCRATCH`] and, where
/// the kernel knows them, in [`landlock::SCRATCH_NEWER`].
unsafe fn allow_scratch() -> Result<(), &'static str> {
    #[repr(C, packed)]
    struct PathBeneath {
        allowed: u64,
        parent: c_int,
    }
    const PATH_BENEATH: c_int = 1;
    // SAFETY: as in `enter`.
    unsafe {
        let parent = libc::open(c"/tmp".as_ptr(), libc::O_PATH | libc::O_CLOEXEC);
        check(parent, "the scratch folder")?;
        let add = |allowed| {
            let rule = PathBeneath { allowed, parent };
            libc::syscall(libc::SYS_landlock_add_rule, FORK_SERVER, PATH_BENEATH, &raw const rule, 0)
        };
        if add(landlock::SCRATCH | landlock::SCRATCH_NEWER) < 0 {
            check(add(landlock::SCRATCH), "Landlock's rule for the scratch folder")?;
        }
        check(libc::close(parent), "close")
    }
}

/// Writes `text` to a file of `/proc/self`.
unsafe fn write_file(path: &CStr, text: &CStr) -> Result<(), &'static str> {
    // SAFETY: as in `enter`.
    unsafe {
        let fd = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        check(fd, "a file of /proc/self")?;
        let n = text.count_bytes();
        let written = libc::write(fd, text.as_ptr().cast(), n);
        libc::close(fd);
        check(written as i64, "a file of /proc/self")
    }
}

/// Lowers the soft and the hard limit of a resource to `value`, so that the process cannot raise them again.
unsafe fn limit(what: libc::__rlimit_resource_t, value: u64) -> Result<(), &'static str> {
    let mut r = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `r` outlives both calls.
    unsafe {
        check(libc::getrlimit(what, &raw mut r), "getrlimit")?;
        // The user may have a lower hard limit already.
        r = libc::rlimit { rlim_cur: r.rlim_max.min(value), rlim_max: r.rlim_max.min(value) };
        check(libc::setrlimit(what, &raw const r), "setrlimit")
    }
}

/// Returns `what`, the name of the step, as an error if the result `r` of a system call is negative.
fn check(r: impl Into<i64>, what: &'static str) -> Result<(), &'static str> {
    if r.into() < 0 { Err(what) } else { Ok(()) }
}

/// Sends the failed step and `errno` to the parent, and ends the child.
unsafe fn report(what: &'static str) -> ! {
    // SAFETY: as in `enter`; the error number is the child's own.
    unsafe {
        let error = (*libc::__errno_location()).to_ne_bytes();
        let parts = [b"!".as_slice(), &error, what.as_bytes()]
            .map(|p| libc::iovec { iov_base: p.as_ptr().cast_mut().cast(), iov_len: p.len() });
        libc::writev(CONTROL, parts.as_ptr(), 3);
        libc::_exit(98)
    }
}

/// The id of a user that owns no files: a high number, or the last id of this user namespace if that is lower.
fn unused_user() -> u32 {
    const HIGH: u32 = 1_879_048_191;
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let last = map.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace().filter_map(|n| n.parse::<u32>().ok());
        let (first, _, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
        Some(first.saturating_add(count.saturating_sub(1)))
    });
    last.max().map_or(HIGH, |last| last.min(HIGH))
}

/// The current user, mapped to user 1000 of a new user namespace.
fn mapped_user() -> Result<User, SandboxError> {
    let map = |id: u32| CString::new(format!("1000 {id} 1")).map_err(refused);
    Ok(User::Mapped {
        users: map(rustix::process::geteuid().as_raw())?,
        groups: map(rustix::process::getegid().as_raw())?,
    })
}
