//! The builtin (a tool written in Rust) `code_tests`: it runs the program in a reply, in the sandbox, against the tests
//! that the example holds.

mod blocks;
pub(crate) mod builtins;
pub(crate) mod outline;
mod program;
mod prompt;
mod row;
pub(crate) mod tokens;

use rlar_data::{Completion, Example};
use rlar_sandbox::{Program, Sandbox, SandboxError, SandboxLimits, ShouldStop, TestResults, TestVerdict, Tests};
use serde_json::Value;

use crate::tool::builtin::BuiltinSettings;
use crate::tool::code_tests::row::RowTests;
use crate::tool::reason::{Reason, quoted};
use crate::tool::score_record::ScoreRecord;
use crate::{Failure, Outcome};

/// Number of programs that run between two checks of whether the time for scoring is over.
const BATCH: usize = 16;

/// Scores replies that are programs, by the tests that their examples hold.
#[derive(Debug)]
pub struct CodeTests {
    sandbox: Sandbox,
    limits: SandboxLimits,
    /// Whether the score is the share of the tests that passed. Otherwise the score is 1 when all tests passed, else 0.
    partial: bool,
    /// Largest accepted difference of numbers that a program prints, relative to the larger of 1 and the expected
    /// number, for examples that name no tolerance themselves. With `None`, decimals may differ by what rounding
    /// explains, and integers must be equal.
    tolerance: Option<f64>,
}

impl CodeTests {
    /// A scorer that runs programs in `sandbox`, within `limits`. `settings` are those of the tool card: `partial` and
    /// `tolerance`.
    pub fn new(sandbox: Sandbox, limits: SandboxLimits, settings: &BuiltinSettings) -> Self {
        let partial = settings.get("partial").and_then(Value::as_bool).unwrap_or(false);
        let tolerance = settings.get("tolerance").and_then(Value::as_f64);
        Self { sandbox, limits, partial, tolerance }
    }

    /// Scores replies, each with its example; the records are in the order of `items`. Their `seconds` are 0: the
    /// caller sets them.
    pub fn score(
        &self,
        items: &[(&Example, &Completion)],
        should_stop: ShouldStop,
    ) -> Result<Vec<ScoreRecord>, SandboxError> {
        let mut records = Vec::with_capacity(items.len());
        for batch in items.chunks(BATCH) {
            if should_stop() {
                records.extend(batch.iter().map(|_| ScoreRecord::free(Outcome::Failed(Failure::Late))));
                continue;
            }
            let programs: Vec<Option<Program>> = batch.iter().map(|(e, c)| self.program(e, c.scored_text())).collect();
            let runnable: Vec<Program> = programs.iter().flatten().cloned().collect();
            let mut judged = Program::judge_all(&runnable, &self.sandbox, &self.limits)?.into_iter();
            records.extend(programs.iter().map(|program| {
                let judged = program.as_ref().and_then(|program| Some((program, judged.next()?)));
                let Some((program, judged)) = judged else {
                    let why = "the example has no tests that this tool knows";
                    return ScoreRecord::free(Outcome::Abstained(why.into()));
                };
                match judged {
                    Err(e) => ScoreRecord::free(Outcome::Failed(Failure::Exception(e.to_string()))),
                    Ok(judged) => self.record(&program.tests, &judged),
                }
            }));
        }
        Ok(records)
    }

    /// The score record of a program: `judged` holds the results of `tests`, in the same order.
    fn record(&self, tests: &Tests, judged: &TestResults) -> ScoreRecord {
        let passed = f64::from(u8::from(judged.all_passed()));
        let score = if self.partial { judged.pass_rate().unwrap_or(0.0) } else { passed };
        // After a limit of time or memory, or a crash, a second run of the same program may end differently.
        let cacheable = !judged.tests.iter().any(|test| test.verdict.is_transient());
        ScoreRecord { reason: reason(tests, judged), cacheable, ..ScoreRecord::free(Outcome::Scored(score)) }
    }

    /// The program in a reply, with the tests of the example; `None` when the example has no tests in a known form.
    fn program(&self, example: &Example, reply: &str) -> Option<Program> {
        let row = RowTests::read(example, self.tolerance)?;
        let prompt = row.prompt(example);
        let source = row.source(reply, prompt.as_ref());
        let tests = row.for_program(&source, prompt.as_ref());
        Some(Program { source, tests })
    }
}

/// The reason of a score: how many tests passed, and what happened in the first test that did not pass.
fn reason(tests: &Tests, judged: &TestResults) -> Option<Reason> {
    let is_passed = |verdict: &TestVerdict| *verdict == TestVerdict::Passed;
    let (all, passed) = (judged.tests.len(), judged.tests.iter().filter(|test| is_passed(&test.verdict)).count());
    let count = format!("{passed} of {all} tests passed");
    let first = judged.tests.iter().position(|test| !is_passed(&test.verdict));
    let Some(first) = first else { return Reason::new(&count) };
    let (number, what) = (first + 1, &judged.tests[first].verdict);
    let test = match tests {
        Tests::Functions { tests, .. } => tests.get(first).map(|test| quoted(test)),
        Tests::InputOutput(tests) => tests.get(first).map(|test| format!("input {}", quoted(&test.input))),
    };
    Reason::new(&format!("{count}; test {number}, {}: {what}", test.unwrap_or_default()))
}

/// Whether an example has tests in a form that is known: the columns `test` and `entry_point` (as in `HumanEval`),
/// `test_list` and perhaps `test_setup_code` (as in MBPP), `input_output` (as in APPS), or `tests` and perhaps `setup`.
pub fn has_tests(example: &Example) -> bool {
    RowTests::read(example, None).is_some()
}
