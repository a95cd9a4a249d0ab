//! Running whole programs with real standard streams.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, Mode, SealFlags, fchmod, fcntl_add_seals, memfd_create};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::pipe::{PipeFlags, pipe_with};
use serde_json::json;

use crate::error::refused;
use crate::linux::pool::Sandbox;
use crate::linux::role::ProcessRole;
use crate::linux::wire::{Wire, WireError};
use crate::linux::zygote::{Exit, Process};
use crate::verdict::{Execution, Usage};
use crate::{SandboxError, SandboxLimits};

/// What one run of a whole program did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// How the program ended.
    pub termination: Termination,
    /// What the program wrote to standard output, cut off at [`SandboxLimits::output`] bytes.
    pub stdout: Vec<u8>,
    /// What the program wrote to standard error, cut off at [`SandboxLimits::output`] bytes.
    pub stderr: Vec<u8>,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Termination {
    /// The program ended by itself, with this exit code.
    Exited(i32),
    /// The program ended with an exception because it needs what the sandbox refuses; the text says what, such as
    /// `threads are not allowed`.
    NotAllowed(String),
    /// The program was killed because it exceeded this limit of wall time or CPU time.
    TimeLimit(Duration),
    /// The program ended with a `MemoryError` because Python could allocate no more memory.
    MemoryLimit,
    /// The program was killed because it wrote more than [`SandboxLimits::output`] bytes to a stream.
    OutputLimit,
    /// A signal ended the program; the text names the signal.
    Crashed(String),
}

/// Runs a whole Python program with `input` as its standard input.
pub fn run(
    sandbox: &Sandbox,
    source: &str,
    input: &[u8],
    limits: &SandboxLimits,
) -> Result<Execution<Run>, SandboxError> {
    run_in(sandbox, 0, source, input, limits)
}

/// Runs a whole program like [`run`], on the next fork server of the pool, so that as many programs can run at once as the
/// sandbox has [workers](Sandbox::workers).
pub fn run_in_turn(
    sandbox: &Sandbox,
    source: &str,
    input: &[u8],
    limits: &SandboxLimits,
) -> Result<Execution<Run>, SandboxError> {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    let slot = TURN.fetch_add(1, Ordering::Relaxed) % sandbox.workers();
    run_in(sandbox, slot, source, input, limits)
}

/// Runs a whole program on the fork server of a slot of the pool.
pub fn run_in(
    sandbox: &Sandbox,
    slot: usize,
    source: &str,
    input: &[u8],
    limits: &SandboxLimits,
) -> Result<Execution<Run>, SandboxError> {
    let _scratch = sandbox.lock_scratch(slot);
    for _ in 0..3 {
        let (ours, theirs) = UnixStream::pair().map_err(refused)?;
        let stdin = input_file(input).map_err(refused)?;
        let (mut pipes, [stdout, stderr]) = Pipes::new().map_err(refused)?;
        let fds = [theirs.as_fd(), stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        let mut process = sandbox.fork(slot, ProcessRole::Script, limits, &fds)?;
        drop((theirs, stdin, stdout, stderr));
        let began = Instant::now();
        let sent = Wire::new(ours).send(&json!({ "source": source }), limits.wall);
        let mut run = Run { termination: Termination::TimeLimit(limits.wall), stdout: Vec::new(), stderr: Vec::new() };
        let cut = match sent {
            Err(WireError::Deadline) => Some(Termination::TimeLimit(limits.wall)),
            _ => match pipes.transfer(&mut run, &process, began + limits.wall, limits.output) {
                Ok(cut) => cut,
                Err(e) => {
                    // Its exit report, which says whether the scratch folder is clean, will not be read.
                    sandbox.discard(slot);
                    return Err(refused(e));
                }
            },
        };
        let wall = began.elapsed();
        if cut.is_some() {
            process.kill();
        }
        let Ok(exit) = process.end() else { continue };
        if exit.dirty {
            sandbox.discard(slot);
        }
        run.termination = cut.unwrap_or_else(|| termination(&exit, &run.stderr, limits));
        let bytes = (run.stdout.len() + run.stderr.len()) as u64;
        let usage = Usage { wall, cpu: Some(exit.cpu), peak_memory: Some(exit.peak_memory), bytes };
        return Ok(Execution::new(run, usage, sandbox.tier()));
    }
    Err(refused("the sandbox's Python processes died at three attempts"))
}

/// Prefix of the last line on standard error of a program that ended with an exception because it needed what the
/// sandbox refuses.
const REFUSAL: &str = "NotAllowed: ";

/// The termination of a process that rlar did not kill: an exit code, a crash, or its memory or CPU limit.
fn termination(exit: &Exit, stderr: &[u8], limits: &SandboxLimits) -> Termination {
    let status: std::process::ExitStatus = std::os::unix::process::ExitStatusExt::from_raw(exit.status);
    let said = String::from_utf8_lossy(stderr);
    let last_line = said.trim_end().rsplit('\n').next().unwrap_or_default();
    match status.code() {
        Some(1) if last_line.starts_with("MemoryError") => Termination::MemoryLimit,
        Some(1) if last_line.starts_with(REFUSAL) => Termination::NotAllowed(last_line[REFUSAL.len()..].to_owned()),
        Some(code) => Termination::Exited(code),
        None if exit.ran_out_of(limits.cpu) => Termination::TimeLimit(limits.cpu),
        None => Termination::Crashed(exit.describe()),
    }
}

/// The input of a program as a file in memory that can only be read. As with `program < input`, and unlike with a pipe, a
/// program can ask for its size, map it into memory and read it again.
fn input_file(input: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = match memfd_create(c"input", flags | MemfdFlags::NOEXEC_SEAL) {
        // Kernels before 6.3 do not know this flag.
        Err(Errno::INVAL) => memfd_create(c"input", flags),
        created => created,
    };
    let mut file = File::from(file?);
    file.write_all(input)?;
    file.rewind()?;
    // The descriptor is the only way to the file: it cannot be opened again below `/proc`.
    fchmod(&file, Mode::empty())?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(file.into())
}

/// rlar's ends of the pipes of a program's output; `None` once a stream is closed.
struct Pipes {
    stdout: Option<File>,
    stderr: Option<File>,
}

impl Pipes {
    /// Makes the pipes: rlar's ends, and the program's ends (standard output and error).
    fn new() -> io::Result<(Self, [OwnedFd; 2])> {
        let pipe = || pipe_with(PipeFlags::CLOEXEC);
        let ((output, stdout), (errors, stderr)) = (pipe()?, pipe()?);
        for ours in [&output, &errors] {
            ioctl_fionbio(ours, true)?;
        }
        Ok((Self { stdout: Some(output.into()), stderr: Some(errors.into()) }, [stdout, stderr]))
    }

    /// Collects the output in `run` until the program ends, `deadline` passes or a stream has more than `longest`
    /// bytes. Returns the limit that the program exceeded; `None` if the program ended by itself.
    fn transfer(
        &mut self,
        run: &mut Run,
        process: &Process,
        deadline: Instant,
        longest: usize,
    ) -> io::Result<Option<Termination>> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let remaining = deadline.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                return Ok(Some(run.termination.clone()));
            }
            let mut entries = vec![PollFd::new(process.pidfd(), PollFlags::IN)];
            entries.extend([&self.stdout, &self.stderr].into_iter().flatten().map(|f| PollFd::new(f, PollFlags::IN)));
            let remaining =
                Timespec { tv_sec: remaining.as_secs() as i64, tv_nsec: i64::from(remaining.subsec_nanos()) };
            match poll(&mut entries, Some(&remaining)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            // If the program has ended, everything that it wrote is in the pipes already.
            let has_ended = !entries[0].revents().is_empty();
            drop(entries);
            for (pipe, output) in [(&mut self.stdout, &mut run.stdout), (&mut self.stderr, &mut run.stderr)] {
                while let Some(file) = pipe {
                    match file.read(&mut buffer) {
                        Ok(0) => *pipe = None,
                        Ok(n) => output.extend_from_slice(&buffer[..n]),
                        Err(e) if would_block(&e) => break,
                        Err(_) => *pipe = None,
                    }
                    if output.len() > longest {
                        output.truncate(longest);
                        return Ok(Some(Termination::OutputLimit));
                    }
                }
            }
            if has_ended {
                return Ok(None);
            }
        }
    }
}

/// Whether an I/O error only means that the operation must be tried again later.
fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
