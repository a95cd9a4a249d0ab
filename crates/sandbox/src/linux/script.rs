//! Whole programs: real standard streams, an end, and nothing left behind.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionbio;
use rustix::pipe::{PipeFlags, pipe_with};
use serde_json::json;

use crate::error::refused;
use crate::linux::pool::Sandbox;
use crate::linux::role::Role;
use crate::linux::wire::{Broken, Wire};
use crate::linux::zygote::{Exit, Process};
use crate::verdict::{Measured, Usage};
use crate::{Limits, SandboxError};

/// What a program did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// How it ended.
    pub end: End,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it printed as errors.
    pub stderr: Vec<u8>,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with this code.
    Exited(i32),
    /// It was still running at its deadline.
    TimeLimit(Duration),
    /// For want of memory.
    MemoryLimit,
    /// It printed more than allowed.
    OutputLimit,
    /// By a signal: which.
    Crashed(String),
}

/// Runs a whole program on an input.
pub fn run(sandbox: &Sandbox, source: &str, input: &[u8], limits: &Limits) -> Result<Measured<Run>, SandboxError> {
    run_in(sandbox, 0, source, input, limits)
}

/// The same in one of the places where runs take place.
pub fn run_in(
    sandbox: &Sandbox,
    slot: usize,
    source: &str,
    input: &[u8],
    limits: &Limits,
) -> Result<Measured<Run>, SandboxError> {
    let _turn = sandbox.turn(slot);
    for _ in 0..3 {
        let (mine, theirs) = UnixStream::pair().map_err(refused)?;
        let (mut pipes, [stdin, stdout, stderr]) = Pipes::new().map_err(refused)?;
        let fds = [theirs.as_fd(), stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        let mut process = sandbox.fork(slot, Role::Script, limits, &fds)?;
        drop((theirs, stdin, stdout, stderr));
        let began = Instant::now();
        let sent = Wire::new(mine).send(&json!({ "source": source }), limits.wall);
        let mut run = Run { end: End::TimeLimit(limits.wall), stdout: Vec::new(), stderr: Vec::new() };
        let cut = match sent {
            Err(Broken::Deadline) => Some(End::TimeLimit(limits.wall)),
            _ => match pipes.carry(input, &mut run, &process, began + limits.wall, limits.output) {
                Ok(cut) => cut,
                Err(e) => {
                    // Nobody will hear what it left.
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
        run.end = cut.unwrap_or_else(|| ended(&exit, &run.stderr, limits));
        let bytes = (run.stdout.len() + run.stderr.len()) as u64;
        let usage = Usage { wall, cpu: Some(exit.cpu), peak_memory: Some(exit.peak_memory), bytes };
        return Ok(Measured { verdict: run, usage, tier: sandbox.tier() });
    }
    Err(refused("jailed interpreters keep dying"))
}

fn ended(exit: &Exit, stderr: &[u8], limits: &Limits) -> End {
    let status: std::process::ExitStatus = std::os::unix::process::ExitStatusExt::from_raw(exit.status);
    match status.code() {
        Some(1)
            if stderr.trim_ascii().rsplit(|b| *b == b'\n').next().is_some_and(|l| l.starts_with(b"MemoryError")) =>
        {
            End::MemoryLimit
        }
        Some(code) => End::Exited(code),
        None if exit.ran_out_of(limits.cpu) => End::TimeLimit(limits.cpu),
        None => End::Crashed(exit.describe()),
    }
}

/// Our ends of a program's standard streams.
struct Pipes {
    stdin: Option<std::fs::File>,
    out: [Option<std::fs::File>; 2],
}

impl Pipes {
    /// Our ends, and the program's.
    fn new() -> io::Result<(Self, [OwnedFd; 3])> {
        let pipe = || pipe_with(PipeFlags::CLOEXEC);
        let ((stdin, input), (output, stdout), (errors, stderr)) = (pipe()?, pipe()?, pipe()?);
        for ours in [&input, &output, &errors] {
            ioctl_fionbio(ours, true)?;
        }
        let out = [Some(output.into()), Some(errors.into())];
        Ok((Self { stdin: Some(input.into()), out }, [stdin, stdout, stderr]))
    }

    /// Feeds the input and collects the output until the program ends; says what cut it short, if something did.
    fn carry(
        &mut self,
        input: &[u8],
        run: &mut Run,
        process: &Process,
        deadline: Instant,
        longest: usize,
    ) -> io::Result<Option<End>> {
        let mut sent = 0;
        let mut buffer = vec![0; 64 << 10];
        loop {
            if sent == input.len() {
                self.stdin = None;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Some(run.end.clone()));
            }
            let mut entries = vec![PollFd::new(process.handle(), PollFlags::IN)];
            entries.extend(self.out.iter().flatten().map(|f| PollFd::new(f, PollFlags::IN)));
            entries.extend(self.stdin.iter().map(|f| PollFd::new(f, PollFlags::OUT)));
            let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            match poll(&mut entries, Some(&left)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            // What it wrote before its end is in the pipes by then.
            let over = !entries[0].revents().is_empty();
            drop(entries);
            if let Some(stdin) = &mut self.stdin {
                match stdin.write(&input[sent..]) {
                    Ok(n) => sent += n,
                    Err(e) if waits(&e) => {}
                    Err(_) => self.stdin = None,
                }
            }
            for (place, kept) in self.out.iter_mut().zip([&mut run.stdout, &mut run.stderr]) {
                while let Some(file) = place {
                    match file.read(&mut buffer) {
                        Ok(0) => *place = None,
                        Ok(n) => kept.extend_from_slice(&buffer[..n]),
                        Err(e) if waits(&e) => break,
                        Err(_) => *place = None,
                    }
                    if kept.len() > longest {
                        kept.truncate(longest);
                        return Ok(Some(End::OutputLimit));
                    }
                }
            }
            if over {
                return Ok(None);
            }
        }
    }
}

fn waits(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
