//! The fork server: a jailed interpreter, warm, that becomes the process that each run needs.

use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use serde_json::json;

use crate::error::refused;
use crate::linux::jail::{Jail, Started};
use crate::linux::role::Role;
use crate::linux::wire::readable;
use crate::{Limits, SandboxError, Tier};

/// Its program.
pub const CODE: &str = concat!(
    include_str!("../python/common.py"),
    include_str!("../python/verifier.py"),
    include_str!("../python/program.py"),
    include_str!("../python/plain.py"),
    include_str!("../python/candidate.py"),
    include_str!("../python/tester.py"),
    include_str!("../python/zygote.py"),
);

/// Longest wait for the interpreter to start, and for a fork.
const PATIENCE: Duration = Duration::from_secs(20);

/// The fork server is gone: whoever asked may ask another.
#[derive(Debug)]
pub struct Lost;

/// A running fork server; it ends, and all that it forked with it, when the last handle goes.
#[derive(Debug)]
pub struct Zygote {
    control: OwnedFd,
    process: OwnedFd,
    tier: Tier,
    dead: AtomicBool,
}

impl Zygote {
    /// Starts one. That it is killed while it starts is no reason to give up.
    pub fn start(jail: &Jail) -> Result<Arc<Self>, SandboxError> {
        for _ in 0..3 {
            if let Some(zygote) = Self::try_start(jail)? {
                return Ok(Arc::new(zygote));
            }
        }
        Err(refused("jailed interpreters end at their start"))
    }

    fn try_start(jail: &Jail) -> Result<Option<Self>, SandboxError> {
        let Started { control, process } = jail.start()?;
        let zygote = Self { control, process, tier: jail.tier, dead: AtomicBool::new(false) };
        // It is never long before it takes an order; a stopped one must not stop its clients.
        set_socket_timeout(&zygote.control, Timeout::Send, Some(PATIENCE)).map_err(refused)?;
        let sent = rustix::net::send(&zygote.control, jail.setup.as_bytes(), SendFlags::NOSIGNAL);
        let mut first = [0; 256];
        if !readable(&zygote.control, PATIENCE).map_err(refused)? {
            return Err(refused(format!("a jailed interpreter does not answer within {PATIENCE:?}")));
        }
        let Ok((_, n)) = rustix::net::recv(&zygote.control, &mut first, RecvFlags::empty()) else { return Ok(None) };
        match &first[..n] {
            b"ready" => Ok(sent.is_ok().then_some(zygote)),
            [b'!', error @ ..] if error.len() >= 4 => {
                let (number, what) = error.split_at(4);
                let number = i32::from_ne_bytes([number[0], number[1], number[2], number[3]]);
                let what = String::from_utf8_lossy(what);
                Err(refused(format!("{what}: {}", io::Error::from_raw_os_error(number))))
            }
            _ => Ok(None),
        }
    }

    /// Whether it has been found dead.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// A process of its own for one purpose. `theirs` become its descriptors 3, 4, …
    pub fn fork(self: &Arc<Self>, role: Role, limits: &Limits, theirs: &[BorrowedFd]) -> Result<Process, Lost> {
        let forked = self.try_fork(role, limits, theirs);
        forked.map_err(|_| {
            self.dead.store(true, Ordering::Relaxed);
            Lost
        })
    }

    fn try_fork(self: &Arc<Self>, role: Role, limits: &Limits, theirs: &[BorrowedFd]) -> io::Result<Process> {
        let (report, report_theirs) = UnixStream::pair()?;
        let order = json!({
            "role": role.name(),
            "memory": limits.memory,
            "cpu": limits.cpu.as_secs().max(1),
            "scratch": role == Role::Script && self.tier == Tier::A,
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
        let handle = ancillary.drain().find_map(|m| match m {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let handle = handle.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Process { handle, report, zygote: Arc::clone(self), exit: None })
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
        let _ = waitid(WaitId::PidFd(self.process.as_fd()), WaitIdOptions::EXITED);
    }
}

/// A process that a fork server made; killed when dropped.
#[derive(Debug)]
pub struct Process {
    handle: OwnedFd,
    report: UnixStream,
    zygote: Arc<Zygote>,
    /// How it ended, once that has been heard.
    exit: Option<Exit>,
}

/// How a process ended, as its parent saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// As `wait` gives it.
    pub status: i32,
    /// CPU time.
    pub cpu: Duration,
    /// Largest resident memory, in bytes.
    pub peak_memory: u64,
    /// Whether it left something in the scratch folder.
    pub dirty: bool,
}

impl Exit {
    /// Whether the kernel ended it for its CPU time: by the signal that says so, or by the later one, if it ignored that.
    pub fn ran_out_of(&self, cpu: Duration) -> bool {
        match ExitStatus::from_raw(self.status).signal() {
            Some(libc::SIGXCPU) => true,
            Some(libc::SIGKILL) => self.cpu >= cpu,
            _ => false,
        }
    }

    /// For people.
    pub fn describe(&self) -> String {
        ExitStatus::from_raw(self.status).to_string()
    }
}

impl Process {
    /// The kernel's handle, readable once the process has ended.
    pub fn handle(&self) -> &OwnedFd {
        &self.handle
    }

    /// Its number in rlar's own PID namespace.
    pub fn number(&self) -> Option<i32> {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", self.handle.as_raw_fd())).ok()?;
        info.lines().find_map(|l| l.strip_prefix("Pid:")?.trim().parse().ok()).filter(|pid| *pid > 0)
    }

    /// Its fork server.
    pub fn zygote(&self) -> &Arc<Zygote> {
        &self.zygote
    }

    /// Ends it at once.
    pub fn kill(&self) {
        let _ = pidfd_send_signal(&self.handle, Signal::KILL);
    }

    /// Waits for its end. An error means that the fork server is gone, and the process with it.
    pub fn wait(&mut self, wait: Duration) -> Result<Option<Exit>, Lost> {
        if self.exit.is_some() {
            return Ok(self.exit.clone());
        }
        if !readable(&self.report, wait).map_err(|_| Lost)? {
            return Ok(None);
        }
        let mut bytes = [0; 21];
        if self.report.read_exact(&mut bytes).is_err() {
            self.zygote.dead.store(true, Ordering::Relaxed);
            return Err(Lost);
        }
        let number = |at: usize| bytes[at..at + 8].try_into().map_or(0, u64::from_le_bytes);
        self.exit = Some(Exit {
            status: bytes[..4].try_into().map_or(-1, i32::from_le_bytes),
            cpu: Duration::from_micros(number(4)),
            peak_memory: number(12),
            dirty: bytes[20] != 0,
        });
        Ok(self.exit.clone())
    }

    /// Kills it and waits for its end.
    pub fn end(&mut self) -> Result<Exit, Lost> {
        self.kill();
        self.wait(PATIENCE)?.ok_or(Lost)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
