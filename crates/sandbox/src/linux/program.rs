//! Judging programs by tests.
//!
//! Tests and the code under test never share a process, so that the code can neither read the tests nor forge a
//! verdict. Functions are called over a connection that carries plain data only; whole programs are judged by their
//! output.

use std::time::Instant;

use crate::compare::Comparison;
use crate::linux::functions::FunctionTests;
use crate::linux::pool::Sandbox;
use crate::linux::script::{Run, Termination, run_in};
use crate::verdict::{Execution, TestVerdict, Usage};
use crate::{SandboxError, SandboxLimits};

/// Untrusted code and the tests that it must pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// Python source of the untrusted code.
    pub source: String,
    /// Tests that the code must pass and cannot see.
    pub tests: Tests,
}

/// The tests of a program, by how they exercise it.
#[derive(Clone, Debug, PartialEq)]
pub enum Tests {
    /// Python statements such as `assert f(2) == 4`, which run in another process and call the program's functions.
    Functions {
        /// Trusted code that runs before the tests, such as imports and helper functions.
        setup: String,
        /// Names of functions that the program defines and the tests call, even if `setup` defines them too. If empty:
        /// the names in the tests that neither `setup` nor the standard library defines.
        functions: Vec<String>,
        /// Trusted tests, each of one or more statements and with one verdict.
        tests: Vec<String>,
    },
    /// Inputs for the program's standard input, with the outputs that it must print; each test is one run of the
    /// program.
    InputOutput(Vec<IoTest>),
}

/// A test that runs a program on an input and checks what it prints.
#[derive(Clone, Debug, PartialEq)]
pub struct IoTest {
    /// Text that the program gets as its standard input.
    pub input: String,
    /// Text that the program must write to its standard output.
    pub output: String,
    /// How the program's output is compared with the expected one.
    pub compare: Comparison,
}

/// The verdicts on one program.
#[derive(Clone, Debug, PartialEq)]
pub struct TestResults {
    /// One execution per test, in the order of the tests.
    pub tests: Vec<Execution<TestVerdict>>,
}

impl TestResults {
    /// Whether there are tests and all of them passed.
    pub fn all_passed(&self) -> bool {
        !self.tests.is_empty() && self.tests.iter().all(|t| t.verdict == TestVerdict::Passed)
    }

    /// The fraction of the tests that passed, from 0 to 1; `None` if there are no tests.
    pub fn pass_rate(&self) -> Option<f64> {
        let passed = self.tests.iter().filter(|t| t.verdict == TestVerdict::Passed).count();
        (!self.tests.is_empty()).then(|| passed as f64 / self.tests.len() as f64)
    }
}

impl Program {
    /// Runs the tests of one program. Fails with [`SandboxError::Tests`] if the tests themselves do not load.
    pub fn judge(&self, sandbox: &Sandbox, limits: &SandboxLimits) -> Result<TestResults, SandboxError> {
        self.judge_in(sandbox, 0, limits)
    }

    /// Runs the tests of many programs, in parallel on all cores. If the tests of a program do not load, only the
    /// result of that program is an error.
    pub fn judge_all(
        programs: &[Self],
        sandbox: &Sandbox,
        limits: &SandboxLimits,
    ) -> Result<Vec<Result<TestResults, SandboxError>>, SandboxError> {
        sandbox.in_parallel(programs, |slot, program| match program.judge_in(sandbox, slot, limits) {
            Err(refusal @ SandboxError::Refused(_)) => Err(refusal),
            judged => Ok(judged),
        })
    }

    /// Runs the tests of this program on the fork server of a slot of the pool.
    fn judge_in(&self, sandbox: &Sandbox, slot: usize, limits: &SandboxLimits) -> Result<TestResults, SandboxError> {
        match &self.tests {
            Tests::Functions { setup, functions, tests } => {
                let judge = FunctionTests { sandbox, slot, limits, source: &self.source, setup, functions };
                Ok(TestResults { tests: judge.run(tests)? })
            }
            Tests::InputOutput(tests) => {
                let deadline = Instant::now() + limits.total;
                let judge = |test: &IoTest| {
                    let remaining = deadline.saturating_duration_since(Instant::now());
                    if remaining.is_zero() {
                        let verdict = TestVerdict::TimeLimit(limits.total);
                        return Ok(Execution::new(verdict, Usage::default(), sandbox.tier()));
                    }
                    let limits = SandboxLimits { wall: limits.wall.min(remaining), ..*limits };
                    let run = run_in(sandbox, slot, &self.source, test.input.as_bytes(), &limits)?;
                    Ok(Execution::new(judge_run(&run.verdict, test), run.usage, run.tier))
                };
                Ok(TestResults { tests: tests.iter().map(judge).collect::<Result<_, SandboxError>>()? })
            }
        }
    }
}

/// The verdict on a finished run of a program that got the test's input.
fn judge_run(run: &Run, test: &IoTest) -> TestVerdict {
    let last_line = || {
        let text = String::from_utf8_lossy(&run.stderr);
        text.trim_end().lines().last().unwrap_or_default().to_owned()
    };
    match &run.termination {
        Termination::Exited(0) => match test.compare.difference(&run.stdout, &test.output) {
            None => TestVerdict::Passed,
            Some(why) => TestVerdict::WrongAnswer(why),
        },
        Termination::Exited(code) => TestVerdict::RuntimeError(match last_line() {
            line if line.is_empty() => format!("exit code {code}"),
            line => line,
        }),
        Termination::NotAllowed(what) => TestVerdict::NotAllowed(what.clone()),
        Termination::TimeLimit(wall) => TestVerdict::TimeLimit(*wall),
        Termination::MemoryLimit => TestVerdict::MemoryLimit,
        Termination::OutputLimit => TestVerdict::OutputLimit,
        Termination::Crashed(how) => TestVerdict::Crashed(how.clone()),
    }
}
