//! Programs of `/run_code`: a few run at once, a few more wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rlar_sandbox::{Sandbox, SandboxError};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// A Python program with its input and its limits.
#[derive(Clone, Debug)]
pub struct UntrustedProgram {
    /// The source.
    pub source: String,
    /// What it reads from its standard input.
    pub input: String,
    /// Maximum wall time of the run.
    pub wall: Duration,
    /// Maximum memory, in bytes.
    pub memory: u64,
}

/// What a run of a program did.
#[derive(Clone, Debug, PartialEq)]
pub struct ProgramRun {
    /// How the program ended.
    pub end: ProgramEnd,
    /// What it wrote to standard output, invalid UTF-8 replaced.
    pub stdout: String,
    /// What it wrote to standard error, invalid UTF-8 replaced, and after it the limit that ended it, if one did.
    pub stderr: String,
    /// Wall time in seconds.
    pub seconds: f64,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramEnd {
    /// It ended with this exit code; one that a signal or another limit than the time ended has -9.
    Exited(i32),
    /// It used up its time.
    TimeLimit,
}

/// Why a program was not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotRun {
    /// Too many programs wait.
    Busy,
    /// There is no sandbox, or it failed; the text says why.
    Sandbox(String),
}

/// The places in which programs run.
#[derive(Debug)]
pub struct ProgramSlots {
    sandbox: Result<Sandbox, SandboxError>,
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    max_waiting: usize,
}

impl ProgramSlots {
    /// Places for `slots` programs at once, while at most `max_waiting` wait.
    pub fn new(slots: usize, max_waiting: usize) -> Self {
        let slots = Arc::new(Semaphore::new(slots.max(1)));
        Self { sandbox: Sandbox::open(), slots, waiting: AtomicUsize::new(0), max_waiting }
    }

    /// Runs a program; it waits at most `patience` for a place.
    pub async fn run(&self, program: UntrustedProgram, patience: Duration) -> Result<ProgramRun, NotRun> {
        let sandbox = self.sandbox.clone().map_err(|error| NotRun::Sandbox(error.to_string()))?;
        let waiting = WaitingProgram::enter(&self.waiting);
        if waiting.before >= self.max_waiting {
            return Err(NotRun::Busy);
        }
        let place = timeout(patience, Arc::clone(&self.slots).acquire_owned()).await;
        drop(waiting);
        let Ok(Ok(place)) = place else { return Err(NotRun::Busy) };
        let running = tokio::task::spawn_blocking(move || {
            let _place = place;
            run_program(&sandbox, &program)
        });
        match running.await {
            Ok(run) => run.map_err(|error| NotRun::Sandbox(error.to_string())),
            Err(_) => Err(NotRun::Sandbox("running the program panicked".into())),
        }
    }
}

/// A program that waits, counted until it is dropped, also when its client goes away.
struct WaitingProgram<'c> {
    count: &'c AtomicUsize,
    /// Number of programs that waited already.
    before: usize,
}

impl<'c> WaitingProgram<'c> {
    fn enter(count: &'c AtomicUsize) -> Self {
        Self { count, before: count.fetch_add(1, Ordering::SeqCst) }
    }
}

impl Drop for WaitingProgram<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(target_os = "linux")]
fn run_program(sandbox: &Sandbox, program: &UntrustedProgram) -> Result<ProgramRun, SandboxError> {
    use rlar_sandbox::{SandboxLimits, Termination, run_in_turn};

    /// Maximum length of each output stream, in bytes.
    const OUTPUT: usize = 1 << 20;
    let limits = SandboxLimits {
        wall: program.wall,
        cpu: program.wall,
        memory: program.memory,
        output: OUTPUT,
        ..SandboxLimits::default()
    };
    let done = run_in_turn(sandbox, &program.source, program.input.as_bytes(), &limits)?;
    let (end, limit) = match done.verdict.termination {
        Termination::Exited(code) => (ProgramEnd::Exited(code), None),
        Termination::TimeLimit(_) => (ProgramEnd::TimeLimit, None),
        // The program has said so on standard error.
        Termination::NotAllowed(_) | Termination::MemoryLimit => (ProgramEnd::Exited(1), None),
        Termination::OutputLimit => (ProgramEnd::Exited(-9), Some("killed: it wrote more than 1 MiB".to_owned())),
        Termination::Crashed(how) => (ProgramEnd::Exited(-9), Some(format!("killed: {how}"))),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut stderr = text(&done.verdict.stderr);
    stderr.extend(limit);
    Ok(ProgramRun { end, stdout: text(&done.verdict.stdout), stderr, seconds: done.usage.wall.as_secs_f64() })
}

/// Without Linux there is no sandbox, so this is never called.
#[cfg(not(target_os = "linux"))]
fn run_program(_: &Sandbox, _: &UntrustedProgram) -> Result<ProgramRun, SandboxError> {
    Err(SandboxError::Refused("it needs Linux".into()))
}
