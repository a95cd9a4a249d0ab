//! The builtin (a tool written in Rust) `code_tests`: it runs the program in a reply, in the sandbox, against the tests
//! that the example holds.

use rlar_data::{Completion, Example};
use rlar_sandbox::{
    Comparison, Execution, IoTest, Program, Sandbox, SandboxError, SandboxLimits, ShouldStop, TestVerdict, Tests,
};
use serde_json::Value;

use crate::tool::builtin::BuiltinSettings;
use crate::tool::scoring::ScoreRecord;
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
}

impl CodeTests {
    /// A scorer that runs programs in `sandbox`, within `limits`. `settings` are those of the tool card; only `partial`
    /// is known.
    pub fn new(sandbox: Sandbox, limits: SandboxLimits, settings: &BuiltinSettings) -> Self {
        let partial = settings.get("partial").and_then(Value::as_bool).unwrap_or(false);
        Self { sandbox, limits, partial }
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
            let programs: Vec<Option<Program>> = batch.iter().map(|(e, c)| program(e, c.scored_text())).collect();
            let runnable: Vec<Program> = programs.iter().flatten().cloned().collect();
            let mut judged = Program::judge_all(&runnable, &self.sandbox, &self.limits)?.into_iter();
            records.extend(programs.iter().map(|program| {
                let Some(judged) = program.as_ref().and_then(|_| judged.next()) else {
                    let why = "the example has no tests that this tool knows";
                    return ScoreRecord::free(Outcome::Abstained(why.into()));
                };
                match judged {
                    Err(e) => ScoreRecord::free(Outcome::Failed(Failure::Exception(e.to_string()))),
                    Ok(judged) => {
                        let passed = f64::from(u8::from(judged.all_passed()));
                        let score = if self.partial { judged.pass_rate().unwrap_or(0.0) } else { passed };
                        // After a limit of time or memory, or a crash, a second run of the same program may end
                        // differently.
                        let is_limited = |t: &Execution<TestVerdict>| t.verdict.is_transient();
                        let cacheable = !judged.tests.iter().any(is_limited);
                        ScoreRecord { cacheable, ..ScoreRecord::free(Outcome::Scored(score)) }
                    }
                }
            }));
        }
        Ok(records)
    }
}

/// Whether an example has tests, in one of three forms: the columns `test` and `entry_point` (as in `HumanEval`),
/// `test_list` and perhaps `test_setup_code` (as in MBPP), or `tests` and perhaps `setup`. A test in `test_list` or
/// `tests` is a Python statement, or an object with `input` and `output` (standard input and expected standard output).
pub fn has_tests(example: &Example) -> bool {
    tests(example).is_some()
}

/// The text in the column `key` of an example; `None` when the column is absent or holds no text.
fn text<'e>(example: &'e Example, key: &str) -> Option<&'e str> {
    example.columns.get(key).and_then(Value::as_str)
}

/// The tests of an example, in the form that the sandbox runs; `None` when the example has none in a known form.
fn tests(example: &Example) -> Option<Tests> {
    if let (Some(test), Some(function)) = (text(example, "test"), text(example, "entry_point")) {
        // The tests may use names that the prompt imports and defines.
        let stub = code_prompt(example, function).map_or(String::new(), |code| format!("{code}    pass\n"));
        return Some(Tests::Functions {
            setup: stub + test,
            functions: vec![function.to_owned()],
            tests: vec![format!("check({function})")],
        });
    }
    let (key, setup) = if example.columns.contains_key("test_list") {
        ("test_list", text(example, "test_setup_code"))
    } else {
        ("tests", text(example, "setup"))
    };
    let list = example.columns.get(key)?.as_array().filter(|l| !l.is_empty())?;
    let setup = setup.unwrap_or_default().replace("\r\n", "\n");
    let statements: Option<Vec<String>> = list.iter().map(|t| t.as_str().map(str::to_owned)).collect();
    if let Some(tests) = statements {
        return Some(Tests::Functions { setup, functions: Vec::new(), tests });
    }
    let stream = |test: &Value| {
        let field = |key: &str| test.get(key).and_then(Value::as_str).map(str::to_owned);
        Some(IoTest { input: field("input")?, output: field("output")?, compare: Comparison::Words })
    };
    list.iter().map(stream).collect::<Option<Vec<IoTest>>>().map(Tests::InputOutput)
}

/// The example's prompt, when it is Python code that stops before the body of the function `function`, as in
/// `HumanEval`; `None` for other prompts.
fn code_prompt<'e>(example: &'e Example, function: &str) -> Option<&'e str> {
    let prompt = example.prompt();
    let first = prompt.lines().find(|l| !l.trim().is_empty())?;
    let assigns =
        first.split_once(" = ").is_some_and(|(name, _)| name.chars().all(|c| c.is_alphanumeric() || c == '_'));
    let starts =
        ["def ", "class ", "import ", "from ", "@", "#", "\"\"\""].iter().any(|start| first.starts_with(start));
    let is_code = assigns || starts;
    (is_code && defines(prompt, function) && !prompt.contains("```")).then_some(prompt)
}

/// Whether Python code defines a function of this name.
fn defines(code: &str, function: &str) -> bool {
    code.contains(&format!("def {function}("))
}

/// The program in a reply, with the tests of the example; `None` when the example has no tests. The code is the last
/// fenced block that defines a function or class (if the tests call functions), else the last fenced block, else the
/// whole reply. When the prompt is code that the reply must continue, that code is put before it.
fn program(example: &Example, reply: &str) -> Option<Program> {
    let tests = tests(example)?;
    let blocks = fences(reply);
    let defining = blocks.iter().rev().find(|b| b.contains("def ") || b.contains("class "));
    let preferred = if matches!(tests, Tests::Functions { .. }) { defining } else { None };
    let code = preferred.or(blocks.last()).copied().unwrap_or(reply);
    let source = match text(example, "entry_point").and_then(|f| Some((f, code_prompt(example, f)?))) {
        Some((function, prompt)) => {
            let between = if defines(code, function) { "    pass\n\n" } else { "" };
            format!("{prompt}{between}{code}")
        }
        None => code.to_owned(),
    };
    Some(Program { source: source.replace("\r\n", "\n"), tests })
}

/// The contents of the fenced code blocks (between lines with three backticks) of a reply. A block without a closing
/// fence ends with the reply.
fn fences(reply: &str) -> Vec<&str> {
    let mut blocks = Vec::new();
    let mut rest = reply;
    while let Some(open) = rest.find("```") {
        let Some(line) = rest[open..].find('\n') else { break };
        let body = &rest[open + line + 1..];
        let end = body.find("```").unwrap_or(body.len());
        blocks.push(&body[..end]);
        rest = body.get(end + 3..).unwrap_or("");
    }
    blocks
}
