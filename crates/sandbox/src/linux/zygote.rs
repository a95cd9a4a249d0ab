//! The fork server (zygote): a jailed interpreter that is already warm and forks a process for each run.

use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use serde_json::json;

use crate::error::refused;
use crate::linux::jail::{Jail, JailedProcess};
use crate::linux::role::ProcessRole;
use crate::linux::wire::readable;
use crate::{SandboxError, SandboxLimits, Tier};

/// The Python program of a fork server and of the processes that it forks.
pub const CODE: &str = concat!(
    include_str!("../python/common.py"),
    include_str!("../python/brief.py"),
    include_str!("../python/function.py"),
    include_str!("../python/verifier.py"),
    include_str!("../python/program.py"),
    include_str!("../python/plain.py"),
    include_str!("../python/candidate.py"),
    include_str!("../python/tester.py"),
    include_str!("../python/rehearsal.py"),
    include_str!("../python/zygote.py"),
);

/// Maximum time that the interpreter may take to start, to fork, or to report the end of a process.
const PATIENCE: Duration = Duration::from_secs(20);

/// The error that a fork server died; the caller may use another one.
#[derive(Debug)]
pub struct ForkServerLost;

/// A running fork server. When its last handle is dropped, the fork server is killed, and with it every process that it
/// forked.
#[derive(Debug)]
pub struct Zygote {
    control: OwnedFd,
    process: OwnedFd,
    tier: Tier,
    dead: AtomicBool,
}

impl Zygote {
    /// Starts a fork server; if it dies during its start, tries again, three times in all.
    pub fn start(jail: &Jail) -> Result<Arc<Self>, SandboxError> {
        for _ in 0..3 {
            if let Some(zygote) = Self::try_start(jail)? {
                return Ok(Arc::new(zygote));
            }
        }
        Err(refused("the sandbox's Python ended right after its start, three times in a row"))
    }

    /// Starts a fork server; `None` if it died before it was ready.
    fn try_start(jail: &Jail) -> Result<Option<Self>, SandboxError> {
        let JailedProcess { control, process } = jail.start()?;
        let zygote = Self { control, process, tier: jail.tier, dead: AtomicBool::new(false) };
        // Orders are taken at once; the time-out is for a fork server that was stopped.
        set_socket_timeout(&zygote.control, Timeout::Send, Some(PATIENCE)).map_err(refused)?;
        let send = |message: &[u8]| rustix::net::send(&zygote.control, message, SendFlags::NOSIGNAL);
        let sent = send(&jail.code).and_then(|_| send(jail.setup.as_bytes()));
        if sent == Err(Errno::MSGSIZE) {
            return Err(refused(
                "its code is longer than a message over a socket may be; raise `net.core.wmem_default`",
            ));
        }
        let mut first = [0; 256];
        if !readable(&zygote.control, PATIENCE).map_err(refused)? {
            return Err(refused(format!("a jailed interpreter does not answer within {PATIENCE:?}")));
        }
        let Ok((_, n)) = rustix::net::recv(&zygote.control, &mut first, RecvFlags::empty()) else { return Ok(None) };
        match &first[..n] {
            b"ready" => Ok(sent.is_ok().then_some(zygote)),
            [b'!', error @ ..] if error.len() >= 4 => {
                let (number, step) = error.split_at(4);
                let number = i32::from_ne_bytes([number[0], number[1], number[2], number[3]]);
                let step = String::from_utf8_lossy(step);
                Err(refused(format!("{step}: {}", io::Error::from_raw_os_error(number))))
            }
            _ => Ok(None),
        }
    }

    /// Whether an operation has found the fork server dead.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Forks a process in a role. `theirs` become descriptors 3, 4, … of the process.
    pub fn fork(
        self: &Arc<Self>,
        role: ProcessRole,
        limits: &SandboxLimits,
        theirs: &[BorrowedFd],
    ) -> Result<Process, ForkServerLost> {
        let forked = self.try_fork(role, limits, theirs);
        forked.map_err(|_| {
            self.dead.store(true, Ordering::Relaxed);
            ForkServerLost
        })
    }

    /// Sends an order to fork and receives the pidfd of the new process.
    fn try_fork(
        self: &Arc<Self>,
        role: ProcessRole,
        limits: &SandboxLimits,
        theirs: &[BorrowedFd],
    ) -> io::Result<Process> {
        let (report, report_theirs) = UnixStream::pair()?;
        let order = json!({
            "role": role.name(),
            "memory": limits.memory,
            "cpu": limits.cpu.as_secs().max(1),
            "scratch": role == ProcessRole::Script && self.tier == Tier::A,
        });
        let fds: Vec<BorrowedFd> = std::iter::once(report_theirs.as_fd()).chain(theirs.iter().copied()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(&self.control, &[IoSlice::new(order.to_string().as_bytes())], &mut ancillary, SendFlags::NOSIGNAL)?;
        drop(report_theirs);
        report.set_read_timeout(Some(PATIENCE))?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut dot = [0];
        recvmsg(&report, &mut [IoSliceMut::new(&mut dot)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        let pidfd = ancillary.drain().find_map(|m| match m {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let pidfd = pidfd.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Process { pidfd, report, zygote: Arc::clone(self), exit: None })
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
        let _ = waitid(WaitId::PidFd(self.process.as_fd()), WaitIdOptions::EXITED);
    }
}

/// A process that a fork server forked; killed when dropped.
#[derive(Debug)]
pub struct Process {
    pidfd: OwnedFd,
    /// Socket on which the fork server reports the end of the process.
    report: UnixStream,
    zygote: Arc<Zygote>,
    /// How the process ended; `None` until the fork server has reported it.
    exit: Option<Exit>,
}

/// How a process ended, as the fork server reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Status of the process, as `wait(2)` returns it.
    pub status: i32,
    /// CPU time that the process used.
    pub cpu: Duration,
    /// Peak resident memory of the process, in bytes.
    pub peak_memory: u64,
    /// Whether the process left files in the scratch folder.
    pub dirty: bool,
}

impl Exit {
    /// Whether the kernel ended the process because it had used the CPU time `cpu`: with SIGXCPU, or with SIGKILL if
    /// the process ignored SIGXCPU.
    pub fn ran_out_of(&self, cpu: Duration) -> bool {
        match ExitStatus::from_raw(self.status).signal() {
            Some(libc::SIGXCPU) => true,
            Some(libc::SIGKILL) => self.cpu >= cpu,
            _ => false,
        }
    }

    /// The exit code or the signal that ended the process, as text for people.
    pub fn describe(&self) -> String {
        ExitStatus::from_raw(self.status).to_string()
    }
}

impl Process {
    /// The process's pidfd, which is readable once the process has ended.
    pub fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// PID of the process in rlar's PID namespace; `None` if the process has ended.
    pub fn pid(&self) -> Option<i32> {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", self.pidfd.as_raw_fd())).ok()?;
        info.lines().find_map(|l| l.strip_prefix("Pid:")?.trim().parse().ok()).filter(|pid| *pid > 0)
    }

    /// The fork server that forked the process.
    pub fn zygote(&self) -> &Arc<Zygote> {
        &self.zygote
    }

    /// Sends SIGKILL to the process.
    pub fn kill(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// Waits for the end of the process; `None` if the process still runs after `wait`. An error means that the fork
    /// server died, and the process with it.
    pub fn wait(&mut self, wait: Duration) -> Result<Option<Exit>, ForkServerLost> {
        if self.exit.is_some() {
            return Ok(self.exit.clone());
        }
        if !readable(&self.report, wait).map_err(|_| ForkServerLost)? {
            return Ok(None);
        }
        let mut bytes = [0; 21];
        if self.report.read_exact(&mut bytes).is_err() {
            self.zygote.dead.store(true, Ordering::Relaxed);
            return Err(ForkServerLost);
        }
        let u64_at = |at: usize| bytes[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
        self.exit = Some(Exit {
            status: bytes[..4].try_into().map_or(-1, i32::from_le_bytes),
            cpu: Duration::from_micros(u64_at(4)),
            peak_memory: u64_at(12),
            dirty: bytes[20] != 0,
        });
        Ok(self.exit.clone())
    }

    /// Kills the process and waits for its end.
    pub fn end(&mut self) -> Result<Exit, ForkServerLost> {
        self.kill();
        self.wait(PATIENCE)?.ok_or(ForkServerLost)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
