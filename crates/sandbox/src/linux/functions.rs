//! Function tests: tester and candidate in two processes, plain data between them.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::error::refused;
use crate::linux::meter::Meter;
use crate::linux::pool::{Sandbox, lock};
use crate::linux::role::Role;
use crate::linux::tester::Tester;
use crate::linux::wire::Broken;
use crate::linux::zygote::Process;
use crate::verdict::{Measured, TestVerdict, Usage};
use crate::{Limits, SandboxError};

/// One program's function tests at work.
pub struct Task<'a> {
    pub sandbox: &'a Sandbox,
    pub slot: usize,
    pub limits: &'a Limits,
    pub source: &'a str,
    pub setup: &'a str,
    pub functions: &'a [String],
}

/// Tester and candidate.
struct Pair {
    tester: Tester,
    candidate: Process,
    meter: Meter,
}

impl Task<'_> {
    /// The verdict of each test.
    pub fn judge(&self, tests: &[String]) -> Result<Vec<Measured<TestVerdict>>, SandboxError> {
        let mut verdicts = Vec::with_capacity(tests.len());
        let deadline = Instant::now() + self.limits.total;
        let mut attempts = 0;
        // What breaks a pair of processes costs one test; the rest goes on in a fresh pair.
        while verdicts.len() < tests.len() {
            if Instant::now() >= deadline {
                let verdict = TestVerdict::TimeLimit(self.limits.total);
                let unused = Measured { verdict, usage: Usage::default(), tier: self.sandbox.tier() };
                verdicts.resize(tests.len(), unused);
                break;
            }
            match self.run(&tests[verdicts.len()..], deadline)? {
                Some(more) => {
                    verdicts.extend(more);
                    attempts = 0;
                }
                None if attempts == 2 => return Err(refused("jailed interpreters keep dying")),
                None => attempts += 1,
            }
        }
        Ok(verdicts)
    }

    /// Runs tests in a fresh pair until one breaks it. `None` when the fork server died under it.
    fn run(&self, tests: &[String], deadline: Instant) -> Result<Option<Vec<Measured<TestVerdict>>>, SandboxError> {
        let began = Instant::now();
        let mut pair = self.pair()?;
        let mut verdicts = Vec::new();
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
        let patience = || self.limits.wall.min(deadline.saturating_duration_since(Instant::now()));
        // The first verdicts may come together with the news that the tests have loaded.
        let sent = pair.tester.wire.send(&task, patience());
        let first = sent.and_then(|()| pair.tester.wire.next(patience(), self.limits.output));
        // A tester that has answered all that it was asked may serve the next program.
        let mut orderly = true;
        let mut broken = match first {
            Ok(reply) if reply["ready"] == true => None,
            Ok(reply) if reply["setup"].is_string() => {
                return Err(SandboxError::Tests(reply["setup"].as_str().unwrap_or_default().to_owned()));
            }
            Ok(reply) => {
                // A program that does not load fails every test in the same way.
                let Some(verdict) = self.read(&reply["load"], &mut pair) else { return Ok(None) };
                verdicts.resize(tests.len(), measure(&mut pair, verdict, began));
                orderly = reply["last"] != true;
                None
            }
            Err(broken) => Some(broken),
        };
        while broken.is_none() && verdicts.len() < tests.len() {
            let began = Instant::now();
            match pair.tester.wire.next(patience(), self.limits.output) {
                Ok(reply) => {
                    let Some(verdict) = self.read(&reply, &mut pair) else { return Ok(None) };
                    let fit = matches!(
                        verdict,
                        TestVerdict::Passed | TestVerdict::WrongAnswer(_) | TestVerdict::RuntimeError(_)
                    );
                    orderly = fit && reply["last"] != true;
                    verdicts.push(measure(&mut pair, verdict, began));
                    if !fit {
                        break;
                    }
                }
                Err(other) => broken = Some(other),
            }
        }
        if let Some(broken) = broken {
            let verdict = match broken {
                Broken::Deadline if Instant::now() >= deadline => TestVerdict::TimeLimit(self.limits.total),
                Broken::Deadline => TestVerdict::TimeLimit(self.limits.wall),
                Broken::TooLong => TestVerdict::OutputLimit,
                Broken::Closed if pair.tester.process.end().is_err() => return Ok(None),
                // The tester is ours and takes any reply: it ends only by what the program sent.
                Broken::Closed => TestVerdict::Forged("its replies ended the tester".into()),
                Broken::Garbled(why) => TestVerdict::Forged(why.into()),
            };
            verdicts.push(measure(&mut pair, verdict, began));
            orderly = false;
        }
        let exit = pair.candidate.end().ok();
        if orderly {
            *lock(&self.sandbox.slot(self.slot).tester) = pair.tester.served();
        }
        for v in &mut verdicts {
            v.usage.peak_memory = exit.as_ref().map(|e| e.peak_memory);
        }
        Ok(Some(verdicts))
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
                None => Tester::start(|wire| {
                    let limits = Limits { cpu: Duration::from_hours(24), ..Limits::default() };
                    self.sandbox.fork(self.slot, Role::Tester, &limits, &[wire])
                })?,
            };
            if tester.wire.hand_over(&asking, self.limits.wall).is_ok() {
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
