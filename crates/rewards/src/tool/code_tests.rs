//! Code tests: a reply is a program, and the example has the tests that it must pass.

use rlar_data::{Completion, Example};
use rlar_sandbox::{
    Comparison, Execution, IoTest, Program, Sandbox, SandboxError, SandboxLimits, ShouldStop, TestVerdict, Tests,
};
use serde_json::Value;

use crate::{Failure, Outcome};

/// The name of the builtin.
pub const CODE_TESTS: &str = "code_tests";
/// Programs that are judged before it is asked again whether their verdicts are still wanted.
const AT_ONCE: usize = 16;

/// Judges programs by the tests of their examples.
#[derive(Debug)]
pub struct CodeTests {
    pub sandbox: Sandbox,
    pub limits: SandboxLimits,
    /// Whether the score is the part of the tests that passed; else 1 for all of them and 0 for fewer.
    pub partial: bool,
}

impl CodeTests {
    /// Outcomes in the order of the items, each with whether it will be the same again: a limit depends on the moment.
    pub fn score(
        &self,
        items: &[(&Example, &Completion)],
        over: ShouldStop,
    ) -> Result<Vec<(Outcome, bool)>, SandboxError> {
        let mut outcomes = Vec::with_capacity(items.len());
        for piece in items.chunks(AT_ONCE) {
            if over() {
                outcomes.extend(piece.iter().map(|_| (Outcome::Failed(Failure::Late), true)));
                continue;
            }
            let programs: Vec<Option<Program>> = piece.iter().map(|(e, c)| program(e, c.scored_text())).collect();
            let asked: Vec<Program> = programs.iter().flatten().cloned().collect();
            let mut judged = Program::judge_all(&asked, &self.sandbox, &self.limits)?.into_iter();
            outcomes.extend(programs.iter().map(|program| {
                let Some(judged) = program.as_ref().and_then(|_| judged.next()) else {
                    return (Outcome::Abstained("the example has no tests that this tool knows".into()), true);
                };
                match judged {
                    Err(e) => (Outcome::Failed(Failure::Exception(e.to_string())), true),
                    Ok(judged) => {
                        let passed = f64::from(u8::from(judged.all_passed()));
                        let score = if self.partial { judged.pass_rate().unwrap_or(0.0) } else { passed };
                        let limited = |t: &Execution<TestVerdict>| t.verdict.is_transient();
                        (Outcome::Scored(score), !judged.tests.iter().any(limited))
                    }
                }
            }));
        }
        Ok(outcomes)
    }
}

/// Whether an example has tests: `test` with `entry_point` (as `HumanEval` writes them), `test_list` with `test_setup_code`
/// (MBPP), or `tests` with `setup`: Python statements, or objects with `input` and `output`.
pub fn has_tests(example: &Example) -> bool {
    tests(example).is_some()
}

fn text<'e>(example: &'e Example, key: &str) -> Option<&'e str> {
    example.columns.get(key).and_then(Value::as_str)
}

fn tests(example: &Example) -> Option<Tests> {
    if let (Some(test), Some(function)) = (text(example, "test"), text(example, "entry_point")) {
        // The tests may use what the prompt imports and defines.
        let stub = begun(example, function).map_or(String::new(), |code| format!("{code}    pass\n"));
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
    let stream = |t: &Value| {
        let of = |key: &str| t.get(key).and_then(Value::as_str).map(str::to_owned);
        Some(IoTest { input: of("input")?, output: of("output")?, compare: Comparison::Words })
    };
    list.iter().map(stream).collect::<Option<Vec<IoTest>>>().map(Tests::InputOutput)
}

/// The prompt, where it is itself code that stops where the function's body is to begin.
fn begun<'e>(example: &'e Example, function: &str) -> Option<&'e str> {
    let prompt = example.prompt();
    let first = prompt.lines().find(|l| !l.trim().is_empty())?;
    let assigns =
        first.split_once(" = ").is_some_and(|(name, _)| name.chars().all(|c| c.is_alphanumeric() || c == '_'));
    let starts =
        ["def ", "class ", "import ", "from ", "@", "#", "\"\"\""].iter().any(|start| first.starts_with(start));
    let is_code = assigns || starts;
    (is_code && defines(prompt, function) && !prompt.contains("```")).then_some(prompt)
}

fn defines(code: &str, function: &str) -> bool {
    code.contains(&format!("def {function}("))
}

/// The program that a reply is: its last fenced block that defines something, else its last one, else all of it. A reply that
/// goes on where the prompt's code stopped is read behind it.
fn program(example: &Example, reply: &str) -> Option<Program> {
    let tests = tests(example)?;
    let blocks = fences(reply);
    let defining = blocks.iter().rev().find(|b| b.contains("def ") || b.contains("class "));
    let wanted = if matches!(tests, Tests::Functions { .. }) { defining } else { None };
    let code = wanted.or(blocks.last()).copied().unwrap_or(reply);
    let source = match text(example, "entry_point").and_then(|f| Some((f, begun(example, f)?))) {
        Some((function, begun)) => {
            let between = if defines(code, function) { "    pass\n\n" } else { "" };
            format!("{begun}{between}{code}")
        }
        None => code.to_owned(),
    };
    Some(Program { source: source.replace("\r\n", "\n"), tests })
}

/// What stands in the fenced blocks of a text; one that nobody closed ends with the text.
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
