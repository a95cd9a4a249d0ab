//! Programs and their tests.
//!
//! The rule that makes verdicts honest: tests and the code under test never share a process. Functions are called
//! over a wire that carries plain data only; programs are judged by what they print.

use std::time::Instant;

use crate::compare::Compare;
use crate::linux::functions::Task;
use crate::linux::pool::Sandbox;
use crate::linux::script::{End, Run, run_in};
use crate::verdict::{Measured, TestVerdict, Usage};
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

impl Program {
    /// Judges one program.
    pub fn judge(&self, sandbox: &Sandbox, limits: &Limits) -> Result<Judged, SandboxError> {
        self.judge_in(sandbox, 0, limits)
    }

    /// Judges many, as many at once as there are cores. Tests that do not load are the error of their program alone.
    pub fn judge_all(
        programs: &[Self],
        sandbox: &Sandbox,
        limits: &Limits,
    ) -> Result<Vec<Result<Judged, SandboxError>>, SandboxError> {
        sandbox.in_parallel(programs, |slot, program| match program.judge_in(sandbox, slot, limits) {
            Err(refusal @ SandboxError::Refused(_)) => Err(refusal),
            judged => Ok(judged),
        })
    }

    fn judge_in(&self, sandbox: &Sandbox, slot: usize, limits: &Limits) -> Result<Judged, SandboxError> {
        match &self.tests {
            Tests::Functions { setup, functions, tests } => {
                let task = Task { sandbox, slot, limits, source: &self.source, setup, functions };
                Ok(Judged(task.judge(tests)?))
            }
            Tests::Streams(streams) => {
                let deadline = Instant::now() + limits.total;
                let judge = |s: &Stream| {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        let verdict = TestVerdict::TimeLimit(limits.total);
                        return Ok(Measured { verdict, usage: Usage::default(), tier: sandbox.tier() });
                    }
                    let limits = Limits { wall: limits.wall.min(left), ..*limits };
                    let run = run_in(sandbox, slot, &self.source, s.input.as_bytes(), &limits)?;
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
