//! Whole programs, and functions under test.
//!
//! The rule that makes verdicts honest: tests and the code under test never share a process. Functions are called
//! over a wire that carries plain data only; programs are judged by what they print.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionbio;
use rustix::pipe::{PipeFlags, pipe_with};
use serde_json::{Value, json};

use crate::compare::Compare;
use crate::jail::refused;
use crate::meter::Meter;
use crate::pool::{Sandbox, lock};
use crate::verdict::{Measured, TestVerdict, Usage};
use crate::wire::{Broken, Wire};
use crate::zygote::{Exit, Process, Role};
use crate::{Limits, SandboxError};

/// Untrusted code and the tests that it is to pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// The code.
    pub source: String,
    /// The tests, which the code never sees.
    pub tests: Tests,
}

/// How a program is tested.
#[derive(Clone, Debug, PartialEq)]
pub enum Tests {
    /// Python statements such as `assert f(2) == 4`, run in a process of their own.
    Functions {
        /// Runs before the tests: imports, helpers. Trusted.
        setup: String,
        /// Names that are the program's, even if `setup` defines them. When empty: every name in the tests that
        /// neither `setup` nor the standard library defines.
        functions: Vec<String>,
        /// Each has a verdict of its own. Trusted.
        tests: Vec<String>,
    },
    /// Input and the output that it must give, one run each.
    Streams(Vec<Stream>),
}

/// One run of a program.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// Standard input.
    pub input: String,
    /// Standard output, as it should be.
    pub output: String,
    /// What counts as equal.
    pub compare: Compare,
}

/// The verdicts of a program's tests, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged(pub Vec<Measured<TestVerdict>>);

impl Judged {
    /// Whether there are tests and all passed.
    pub fn passed(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|t| t.verdict == TestVerdict::Passed)
    }

    /// The part of the tests that passed; `None` when there are none.
    pub fn fraction(&self) -> Option<f64> {
        let passed = self.0.iter().filter(|t| t.verdict == TestVerdict::Passed).count();
        (!self.0.is_empty()).then(|| passed as f64 / self.0.len() as f64)
    }
}

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

impl Program {
    /// Judges one program.
    pub fn judge(&self, sandbox: &Sandbox, limits: &Limits) -> Result<Judged, SandboxError> {
        self.judge_in(sandbox, 0, limits)
    }

    /// Judges many, as many at once as there are cores.
    pub fn judge_all(programs: &[Self], sandbox: &Sandbox, limits: &Limits) -> Result<Vec<Judged>, SandboxError> {
        sandbox.in_parallel(programs, |slot, program| program.judge_in(sandbox, slot, limits))
    }

    fn judge_in(&self, sandbox: &Sandbox, slot: usize, limits: &Limits) -> Result<Judged, SandboxError> {
        match &self.tests {
            Tests::Functions { setup, functions, tests } => {
                let task = Task { sandbox, slot, limits, source: &self.source, setup, functions };
                task.judge(tests)
            }
            Tests::Streams(streams) => {
                let judge = |s: &Stream| {
                    let run = run_in(sandbox, slot, &self.source, s.input.as_bytes(), limits)?;
                    Ok(Measured { verdict: judge_run(&run.verdict, s), usage: run.usage, tier: run.tier })
                };
                Ok(Judged(streams.iter().map(judge).collect::<Result<_, SandboxError>>()?))
            }
        }
    }
}

fn judge_run(run: &Run, stream: &Stream) -> TestVerdict {
    let last_line = || {
        let text = String::from_utf8_lossy(&run.stderr);
        text.trim_end().lines().last().unwrap_or_default().to_owned()
    };
    match &run.end {
        End::Exited(0) => match stream.compare.differs(&run.stdout, &stream.output) {
            None => TestVerdict::Passed,
            Some(why) => TestVerdict::WrongAnswer(why),
        },
        End::Exited(code) => TestVerdict::RuntimeError(match last_line() {
            line if line.is_empty() => format!("exit code {code}"),
            line => line,
        }),
        End::TimeLimit(wall) => TestVerdict::TimeLimit(*wall),
        End::MemoryLimit => TestVerdict::MemoryLimit,
        End::OutputLimit => TestVerdict::OutputLimit,
        End::Crashed(how) => TestVerdict::Crashed(how.clone()),
    }
}

/// One program's function tests at work.
struct Task<'a> {
    sandbox: &'a Sandbox,
    slot: usize,
    limits: &'a Limits,
    source: &'a str,
    setup: &'a str,
    functions: &'a [String],
}

/// A process that runs tests, which are trusted, of one program after the other.
#[derive(Debug)]
pub struct Tester {
    process: Process,
    wire: Wire,
    meter: Meter,
    programs: usize,
}

/// Programs after which a tester is replaced.
const PROGRAMS: usize = 1000;

/// Tester and candidate.
struct Pair {
    tester: Tester,
    candidate: Process,
    meter: Meter,
}

impl Tester {
    fn start(sandbox: &Sandbox, slot: usize) -> Result<Self, SandboxError> {
        let (mine, theirs) = UnixStream::pair().map_err(refused)?;
        let limits = Limits { cpu: Duration::from_hours(24), ..Limits::default() };
        let process = sandbox.fork(slot, Role::Tester, &limits, &[theirs.as_fd()])?;
        let meter = Meter::of(&process);
        Ok(Self { process, wire: Wire::new(mine), meter, programs: 0 })
    }
}

impl Task<'_> {
    fn judge(&self, tests: &[String]) -> Result<Judged, SandboxError> {
        let mut verdicts = Vec::with_capacity(tests.len());
        let began = Instant::now();
        // What breaks a pair of processes costs one test; the rest goes on in a fresh pair.
        while verdicts.len() < tests.len() {
            if began.elapsed() > self.limits.total {
                let verdict = TestVerdict::TimeLimit(self.limits.total);
                let unused = Measured { verdict, usage: Usage::default(), tier: self.sandbox.tier() };
                verdicts.resize(tests.len(), unused);
                break;
            }
            let left = &tests[verdicts.len()..];
            let mut attempts = 0;
            while !self.run(left, &mut verdicts)? {
                attempts += 1;
                if attempts == 3 {
                    return Err(refused("jailed interpreters keep dying"));
                }
            }
        }
        Ok(Judged(verdicts))
    }

    /// Runs tests in a fresh pair until one breaks it. False when the fork server died under it.
    fn run(&self, tests: &[String], verdicts: &mut Vec<Measured<TestVerdict>>) -> Result<bool, SandboxError> {
        let began = Instant::now();
        let mut pair = self.pair()?;
        let measure = |pair: &mut Pair, verdict, began: Instant| {
            let cpu = pair.tester.meter.lap().zip(pair.meter.lap()).map(|(t, c)| t + c);
            let usage = Usage { wall: began.elapsed(), cpu, peak_memory: None, bytes: pair.tester.wire.bytes() };
            Measured { verdict, usage, tier: self.sandbox.tier() }
        };
        let task = json!({
            "source": self.source,
            "setup": self.setup,
            "functions": self.functions,
            "tests": tests,
            "longest": self.limits.output,
        });
        let wall = self.limits.wall;
        // The first verdicts may come together with the news that the tests have loaded.
        let sent = pair.tester.wire.send(&task, wall);
        let first = sent.and_then(|()| pair.tester.wire.next(wall, self.limits.output));
        let known = verdicts.len();
        // A tester that has answered all that it was asked may serve the next program.
        let mut orderly = true;
        let mut broken = match first {
            Ok(reply) if reply["ready"] == true => None,
            Ok(reply) if reply["setup"].is_string() => {
                let why = reply["setup"].as_str().unwrap_or_default().to_owned();
                return Err(SandboxError::Tests(why));
            }
            Ok(reply) => {
                // A program that does not load fails every test in the same way.
                let Some(verdict) = self.read(&reply["load"], &mut pair) else { return Ok(false) };
                verdicts.resize(known + tests.len(), measure(&mut pair, verdict, began));
                None
            }
            Err(broken) => Some(broken),
        };
        while broken.is_none() && verdicts.len() < known + tests.len() {
            let began = Instant::now();
            match pair.tester.wire.next(wall, self.limits.output) {
                Ok(reply) => {
                    let Some(verdict) = self.read(&reply, &mut pair) else { return Ok(false) };
                    let fit = matches!(
                        verdict,
                        TestVerdict::Passed | TestVerdict::WrongAnswer(_) | TestVerdict::RuntimeError(_)
                    );
                    verdicts.push(measure(&mut pair, verdict, began));
                    if !fit {
                        orderly = false;
                        break;
                    }
                }
                Err(other) => broken = Some(other),
            }
        }
        if let Some(broken) = broken {
            let verdict = match broken {
                Broken::Deadline => TestVerdict::TimeLimit(wall),
                Broken::TooLong => TestVerdict::OutputLimit,
                Broken::Closed if pair.tester.process.end().is_err() => return Ok(false),
                // The tester is ours and takes any reply: it ends only by what the program sent.
                Broken::Closed => TestVerdict::Forged("its replies ended the tester".into()),
                Broken::Garbled(why) => TestVerdict::Forged(why.into()),
            };
            verdicts.push(measure(&mut pair, verdict, began));
            orderly = false;
        }
        let exit = pair.candidate.end().ok();
        pair.tester.programs += 1;
        if orderly && pair.tester.programs < PROGRAMS {
            *lock(&self.sandbox.slot(self.slot).tester) = Some(pair.tester);
        }
        for v in &mut verdicts[known..] {
            v.usage.peak_memory = exit.as_ref().map(|e| e.peak_memory);
        }
        Ok(true)
    }

    /// A fresh candidate, and a tester that has its end of the wire.
    fn pair(&self) -> Result<Pair, SandboxError> {
        let (asking, answering) = UnixStream::pair().map_err(refused)?;
        let candidate = self.sandbox.fork(self.slot, Role::Candidate, self.limits, &[answering.as_fd()])?;
        let meter = Meter::of(&candidate);
        for _ in 0..3 {
            let waiting = lock(&self.sandbox.slot(self.slot).tester).take();
            let mut tester = match waiting {
                Some(tester) => tester,
                None => Tester::start(self.sandbox, self.slot)?,
            };
            if tester.wire.hand_over(&asking).is_ok() {
                return Ok(Pair { tester, candidate, meter });
            }
        }
        Err(refused("jailed interpreters keep dying"))
    }

    /// The verdict in a tester's reply. `None` when the fork server died.
    fn read(&self, reply: &Value, pair: &mut Pair) -> Option<TestVerdict> {
        let text = |key: &str| reply[key].as_str().map(str::to_owned);
        if reply["passed"] == true {
            Some(TestVerdict::Passed)
        } else if let Some(why) = text("wrong") {
            Some(TestVerdict::WrongAnswer(why))
        } else if let Some(why) = text("raised") {
            Some(TestVerdict::RuntimeError(why))
        } else if let Some(what) = text("unsupported") {
            Some(TestVerdict::Unsupported(what))
        } else if let Some(how) = text("forged") {
            Some(TestVerdict::Forged(how))
        } else if reply["long"] == true {
            Some(TestVerdict::OutputLimit)
        } else if reply["memory"] == true {
            Some(TestVerdict::MemoryLimit)
        } else if reply["lost"] == true {
            // The connection can be closed before the end: then it was not an end.
            match pair.candidate.wait(Duration::from_millis(100)) {
                Ok(Some(exit)) if exit.ran_out_of(self.limits.cpu) => Some(TestVerdict::TimeLimit(self.limits.cpu)),
                Ok(Some(exit)) => Some(TestVerdict::Crashed(exit.describe())),
                Ok(None) => Some(TestVerdict::Crashed("it closed its connection".into())),
                Err(_) => None,
            }
        } else {
            Some(TestVerdict::Forged("the tester's reply was not one".into()))
        }
    }
}

/// Runs a whole program on an input.
pub fn run(sandbox: &Sandbox, source: &str, input: &[u8], limits: &Limits) -> Result<Measured<Run>, SandboxError> {
    run_in(sandbox, 0, source, input, limits)
}

fn run_in(
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
            _ => pipes.carry(input, &mut run, &process, began + limits.wall, limits.output).map_err(refused)?,
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
