//! Function tests: the tests run in one process (the tester), the functions that they call live in another (the
//! candidate), and only plain data passes between the two.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::error::refused;
use crate::linux::meter::Meter;
use crate::linux::pool::{Sandbox, lock};
use crate::linux::role::ProcessRole;
use crate::linux::tester::Tester;
use crate::linux::wire::WireError;
use crate::linux::zygote::{Exit, Process};
use crate::verdict::{Execution, TestVerdict, Usage};
use crate::{SandboxError, SandboxLimits};

/// Runs the function tests of one program: tests that call its functions.
pub struct FunctionTests<'a> {
    pub sandbox: &'a Sandbox,
    /// Index of the slot of the pool whose fork server is used.
    pub slot: usize,
    pub limits: &'a SandboxLimits,
    /// Python source of the program, which is untrusted.
    pub source: &'a str,
    /// Trusted code that runs before the tests: see [`Tests::Functions`](crate::Tests::Functions).
    pub setup: &'a str,
    /// Names of the program's functions that the tests call: see [`Tests::Functions`](crate::Tests::Functions).
    pub functions: &'a [String],
}

/// The two processes of a function test: the tester runs the tests, the candidate holds the program's functions.
struct ProcessPair {
    tester: Tester,
    candidate: Process,
    /// Measures the CPU time of the candidate.
    meter: Meter,
}

/// Adds to the usage of tests what is known when their candidate has ended: its peak memory, and to a test whose CPU time
/// could not be read, because the candidate ended before, an equal share of what the other tests leave of the candidate's.
fn complete(tests: &mut [Execution<TestVerdict>], exit: &Exit) {
    let known: Duration = tests.iter().filter_map(|test| test.usage.cpu).sum();
    let unknown = tests.iter().filter(|test| test.usage.cpu.is_none()).count();
    let share = exit.cpu.saturating_sub(known) / u32::try_from(unknown.max(1)).unwrap_or(u32::MAX);
    for test in tests {
        test.usage.cpu = test.usage.cpu.or(Some(share));
        test.usage.peak_memory = Some(exit.peak_memory);
    }
}

impl FunctionTests<'_> {
    /// Runs the tests and returns one execution per test, in order.
    pub fn run(&self, tests: &[String]) -> Result<Vec<Execution<TestVerdict>>, SandboxError> {
        let mut verdicts = Vec::with_capacity(tests.len());
        let deadline = Instant::now() + self.limits.total;
        let mut attempts = 0;
        // A test that breaks its pair of processes is over; the rest continues in another pair.
        while verdicts.len() < tests.len() {
            if Instant::now() >= deadline {
                let verdict = TestVerdict::TimeLimit(self.limits.total);
                let not_started = Execution::new(verdict, Usage::default(), self.sandbox.tier());
                verdicts.resize(tests.len(), not_started);
                break;
            }
            match self.run_in_pair(&tests[verdicts.len()..], deadline)? {
                Some(finished) => {
                    verdicts.extend(finished);
                    attempts = 0;
                }
                None if attempts == 2 => {
                    return Err(refused("the sandbox's Python processes died at three attempts"));
                }
                None => attempts += 1,
            }
        }
        Ok(verdicts)
    }

    /// Runs tests in a tester and a fresh candidate until all have run or one test has made the pair unusable. `None` if the
    /// fork server died meanwhile.
    fn run_in_pair(
        &self,
        tests: &[String],
        deadline: Instant,
    ) -> Result<Option<Vec<Execution<TestVerdict>>>, SandboxError> {
        let began = Instant::now();
        let mut pair = self.pair()?;
        let mut verdicts = Vec::new();
        let measure = |pair: &mut ProcessPair, verdict, began: Instant| {
            let cpu = pair.tester.meter.lap().zip(pair.meter.lap()).map(|(t, c)| t + c);
            let usage = Usage { wall: began.elapsed(), cpu, peak_memory: None, bytes: pair.tester.wire.bytes() };
            Execution::new(verdict, usage, self.sandbox.tier())
        };
        let task = json!({
            "source": self.source,
            "setup": self.setup,
            "functions": self.functions,
            "tests": tests,
            "longest": self.limits.output,
        });
        let patience = || self.limits.wall.min(deadline.saturating_duration_since(Instant::now()));
        // The tester's first frame says whether the tests have loaded; verdicts may follow at once.
        let sent = pair.tester.wire.send(&task, patience());
        let first = sent.and_then(|()| pair.tester.wire.next(patience(), self.limits.output));
        // Whether the tester may serve the next program: only if every test ended in an orderly way.
        let mut orderly = true;
        let mut failure = match first {
            Ok(reply) if reply["ready"] == true => None,
            Ok(reply) if reply["setup"].is_string() => {
                return Err(SandboxError::Tests(reply["setup"].as_str().unwrap_or_default().to_owned()));
            }
            Ok(reply) => {
                // If the program does not load, every test has the same verdict.
                let Some(verdict) = self.read(&reply["load"], &mut pair) else { return Ok(None) };
                verdicts.resize(tests.len(), measure(&mut pair, verdict, began));
                orderly = reply["last"] != true;
                None
            }
            Err(error) => Some(error),
        };
        while failure.is_none() && verdicts.len() < tests.len() {
            let began = Instant::now();
            match pair.tester.wire.next(patience(), self.limits.output) {
                Ok(reply) => {
                    let Some(verdict) = self.read(&reply, &mut pair) else { return Ok(None) };
                    let pair_is_intact = matches!(
                        verdict,
                        TestVerdict::Passed
                            | TestVerdict::WrongAnswer(_)
                            | TestVerdict::RuntimeError(_)
                            | TestVerdict::NotAllowed(_)
                    );
                    orderly = pair_is_intact && reply["last"] != true;
                    verdicts.push(measure(&mut pair, verdict, began));
                    if !pair_is_intact {
                        break;
                    }
                }
                Err(error) => failure = Some(error),
            }
        }
        if let Some(error) = failure {
            let Some(verdict) = self.verdict_on(error, &mut pair, deadline) else { return Ok(None) };
            verdicts.push(measure(&mut pair, verdict, began));
            orderly = false;
        }
        let exit = pair.candidate.end().ok();
        if orderly {
            *lock(&self.sandbox.slot(self.slot).tester) = pair.tester.served();
        }
        if let Some(exit) = exit {
            complete(&mut verdicts, &exit);
        }
        Ok(Some(verdicts))
    }

    /// The verdict on a test that the tester did not reply to. `None` if the fork server died.
    fn verdict_on(&self, error: WireError, pair: &mut ProcessPair, deadline: Instant) -> Option<TestVerdict> {
        Some(match error {
            WireError::Deadline if Instant::now() >= deadline => TestVerdict::TimeLimit(self.limits.total),
            WireError::Deadline => TestVerdict::TimeLimit(self.limits.wall),
            WireError::TooLong => TestVerdict::OutputLimit,
            WireError::Closed if pair.tester.process.end().is_err() => return None,
            // The tester is trusted and handles any reply, so something that the program sent has ended it.
            WireError::Closed => {
                TestVerdict::Forged("what the program sent ended the process that runs the tests".into())
            }
            WireError::Malformed(why) => TestVerdict::Forged(why.into()),
        })
    }

    /// Forks the process that runs the untrusted function (the candidate), and connects it by a socket to the process
    /// that runs the tests (the tester): an idle one of this sandbox slot, or a new one if there is none.
    fn pair(&self) -> Result<ProcessPair, SandboxError> {
        let (testers_end, candidates_end) = UnixStream::pair().map_err(refused)?;
        let candidate = self.sandbox.fork(self.slot, ProcessRole::Candidate, self.limits, &[candidates_end.as_fd()])?;
        let meter = Meter::new(&candidate);
        for _ in 0..3 {
            let idle = lock(&self.sandbox.slot(self.slot).tester).take();
            let mut tester = match idle {
                Some(tester) => tester,
                None => Tester::start(|wire| {
                    let limits = SandboxLimits { cpu: Duration::from_hours(24), ..SandboxLimits::default() };
                    self.sandbox.fork(self.slot, ProcessRole::Tester, &limits, &[wire])
                })?,
            };
            if tester.wire.send_descriptor(&testers_end, self.limits.wall).is_ok() {
                return Ok(ProcessPair { tester, candidate, meter });
            }
        }
        Err(refused("the sandbox's Python processes died at three attempts"))
    }

    /// Turns a tester's reply into a verdict. `None` if the fork server died.
    fn read(&self, reply: &Value, pair: &mut ProcessPair) -> Option<TestVerdict> {
        let text = |key: &str| reply[key].as_str().map(str::to_owned);
        if reply["passed"] == true {
            Some(TestVerdict::Passed)
        } else if let Some(why) = text("wrong") {
            Some(TestVerdict::WrongAnswer(why))
        } else if let Some(why) = text("raised") {
            Some(TestVerdict::RuntimeError(why))
        } else if let Some(what) = text("refused") {
            Some(TestVerdict::NotAllowed(what))
        } else if let Some(value) = text("unsupported") {
            Some(TestVerdict::Unsupported(value))
        } else if let Some(how) = text("forged") {
            Some(TestVerdict::Forged(how))
        } else if reply["long"] == true {
            Some(TestVerdict::OutputLimit)
        } else if reply["memory"] == true {
            Some(TestVerdict::MemoryLimit)
        } else if reply["lost"] == true {
            // A program can close its connection without ending.
            match pair.candidate.wait(Duration::from_millis(100)) {
                Ok(Some(exit)) if exit.ran_out_of(self.limits.cpu) => Some(TestVerdict::TimeLimit(self.limits.cpu)),
                Ok(Some(exit)) => Some(TestVerdict::Crashed(exit.describe())),
                Ok(None) => Some(TestVerdict::Crashed("it closed its connection".into())),
                Err(_) => None,
            }
        } else {
            Some(TestVerdict::Forged("the tester's reply is malformed".into()))
        }
    }
}
