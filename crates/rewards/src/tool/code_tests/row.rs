//! The tests that a row of a data set holds, in the forms that data sets use.

use rlar_data::Example;
use rlar_sandbox::{Comparison, IoTest, Tests};
use serde_json::Value;

use crate::tool::code_tests::builtins::is_builtin;
use crate::tool::code_tests::outline::{Names, Outline, Statement};
use crate::tool::code_tests::program::{self, Exercise};
use crate::tool::code_tests::prompt::PromptCode;
use crate::tool::code_tests::tokens::tokens;

/// The tests of a row, by their form.
#[derive(Clone, Debug, PartialEq)]
pub enum RowTests {
    /// A function `check` that calls the function `entry_point`, as in `HumanEval`.
    Check { test: String, entry_point: String },
    /// Statements that call functions, as in MBPP, with code that runs before them.
    Statements { setup: String, tests: Vec<String> },
    /// Standard inputs for a whole program, each with the output that the program must print.
    Streams(Vec<Stream>),
    /// Arguments and results of the function `name`, perhaps a method of a class `Solution`, as in APPS and TACO.
    Calls { name: String, calls: Vec<Call> },
}

/// A test of a whole program: its standard input, and the output that it must print.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    input: String,
    output: String,
    /// Largest accepted difference of printed numbers, relative to the larger of 1 and the expected number. With
    /// `None`, decimals may differ by what rounding explains, and integers must be equal.
    tolerance: Option<f64>,
}

/// The arguments of a call, and the result that it must return.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    arguments: Value,
    result: Value,
}

/// The text in the column `key` of an example; `None` when the column is absent or holds no text.
fn text<'e>(example: &'e Example, key: &str) -> Option<&'e str> {
    example.columns.get(key).and_then(Value::as_str)
}

impl RowTests {
    /// The tests of an example; `None` when it has none in a known form. `tolerance` is the tolerance for numbers in
    /// the tool card, which a column of the example may replace.
    pub fn read(example: &Example, tolerance: Option<f64>) -> Option<Self> {
        if let (Some(test), Some(function)) = (text(example, "test"), text(example, "entry_point")) {
            return Some(Self::Check { test: test.to_owned(), entry_point: function.to_owned() });
        }
        let column = ["test_list", "tests", "input_output"].into_iter().find(|k| example.columns.contains_key(*k))?;
        let parsed: Value;
        let tests = match example.columns.get(column)? {
            // Some data sets hold the tests as the text of a JSON document.
            Value::String(json) => {
                parsed = serde_json::from_str(json).ok()?;
                &parsed
            }
            value => value,
        };
        let tolerance = match example.columns.get("tolerance") {
            Some(value) => Some(value.as_f64().filter(|t| *t >= 0.0)?),
            None => tolerance,
        };
        if tests.is_object() {
            return Self::paired(tests, tolerance);
        }
        let list = tests.as_array().filter(|l| !l.is_empty())?;
        let statements: Option<Vec<String>> = list.iter().map(|t| t.as_str().map(str::to_owned)).collect();
        if let Some(tests) = statements {
            let setup = text(example, if column == "test_list" { "test_setup_code" } else { "setup" });
            return Some(Self::Statements { setup: setup.unwrap_or_default().replace("\r\n", "\n"), tests });
        }
        let stream = |test: &Value| {
            let tolerance = match test.get("tolerance") {
                Some(value) => Some(value.as_f64().filter(|t| *t >= 0.0)?),
                None => tolerance,
            };
            Some(Stream { input: lines(test.get("input")?)?, output: lines(test.get("output")?)?, tolerance })
        };
        list.iter().map(stream).collect::<Option<Vec<Stream>>>().map(Self::Streams)
    }

    /// Reads tests in the form of APPS and TACO: a list of inputs and one of outputs. With the name of a function, they
    /// are the arguments and results of its calls; otherwise the inputs and outputs of whole programs. `None` for other
    /// forms.
    fn paired(tests: &Value, tolerance: Option<f64>) -> Option<Self> {
        let list = |keys: [&str; 2]| keys.iter().find_map(|k| tests.get(k)?.as_array()).filter(|l| !l.is_empty());
        let (inputs, outputs) = (list(["inputs", "input"])?, list(["outputs", "output"])?);
        if inputs.len() != outputs.len() {
            return None;
        }
        let pairs = inputs.iter().zip(outputs);
        let name = tests.get("fn_name").and_then(Value::as_str).filter(|n| !n.is_empty());
        let Some(name) = name else {
            let stream = |(input, output)| Some(Stream { input: lines(input)?, output: lines(output)?, tolerance });
            return pairs.map(stream).collect::<Option<Vec<Stream>>>().map(Self::Streams);
        };
        let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_') && inputs.iter().all(Value::is_array);
        // Some rows wrap every result in a list of one.
        let is_wrapped = outputs.iter().all(|o| o.as_array().is_some_and(|o| o.len() == 1));
        let call = |(arguments, result): (&Value, &Value)| {
            let result = if is_wrapped { &result[0] } else { result };
            Call { arguments: arguments.clone(), result: result.clone() }
        };
        is_name.then(|| Self::Calls { name: name.to_owned(), calls: pairs.map(call).collect() })
    }

    /// The code in the example's prompt that the program completes; `None` if there is none, or if tests of this form
    /// have no such code.
    pub fn prompt(&self, example: &Example) -> Option<PromptCode> {
        match self {
            Self::Check { entry_point, .. } => PromptCode::find(example, entry_point),
            Self::Statements { .. } | Self::Streams(_) | Self::Calls { .. } => None,
        }
    }

    /// The source of the program to test: the code in the reply, with the definitions that it needs from the code in
    /// its prompt.
    pub fn source(&self, reply: &str, prompt: Option<&PromptCode>) -> String {
        match self {
            Self::Check { entry_point, .. } => {
                let names = Names::from([entry_point.as_str()]);
                program::source(reply, Exercise::Names(&names), prompt, "")
            }
            Self::Statements { setup, tests } => {
                let all = format!("{setup}\n{}", tests.join("\n"));
                let names = called(&all);
                program::source(reply, Exercise::Names(&names), prompt, "")
            }
            Self::Streams(streams) => {
                let has_input = streams.iter().any(|s| !s.input.trim().is_empty());
                program::source(reply, Exercise::Run { has_input }, prompt, "")
            }
            Self::Calls { name, .. } => {
                let names = Names::from([name.as_str(), "Solution"]);
                program::source(reply, Exercise::Names(&names), prompt, TYPING)
            }
        }
    }

    /// The tests in the form that the sandbox runs. `source` is the program under test, and `prompt` the code in its
    /// prompt.
    pub fn for_program(&self, source: &str, prompt: Option<&PromptCode>) -> Tests {
        match self {
            Self::Check { test, entry_point } => Tests::Functions {
                // The tests may use names that the prompt imports and defines.
                setup: prompt.map_or_else(|| test.clone(), |p| program::preamble_of_tests(test, p)),
                functions: vec![entry_point.clone()],
                tests: vec![format!("check({entry_point})")],
            },
            Self::Statements { setup, tests } => {
                Tests::Functions { setup: setup.clone(), functions: Vec::new(), tests: tests.clone() }
            }
            Self::Streams(streams) => {
                let compare = |s: &Stream| s.tolerance.map_or(Comparison::Decimals, Comparison::Numbers);
                let test =
                    |s: &Stream| IoTest { input: s.input.clone(), output: s.output.clone(), compare: compare(s) };
                Tests::InputOutput(streams.iter().map(test).collect())
            }
            Self::Calls { name, calls } => {
                let is_method = Outline::new(source).definition(name).is_none();
                let (function, callee) =
                    if is_method { ("Solution", format!("Solution().{name}")) } else { (name.as_str(), name.clone()) };
                let test = |call: &Call| {
                    let literal = |value: &Value| Value::String(value.to_string()).to_string();
                    let (arguments, result) = (literal(&call.arguments), literal(&call.result));
                    format!("assert rlar_equal({callee}(*json.loads({arguments})), json.loads({result}))")
                };
                let tests = calls.iter().map(test).collect();
                Tests::Functions { setup: EQUAL.into(), functions: vec![function.to_owned()], tests }
            }
        }
    }
}

/// The names of functions that the code of tests calls but does not define. Python's builtins are left out, unless the
/// tests call nothing else.
fn called(tests: &str) -> Names<'_> {
    let bound: Names = Outline::new(tests).statements.iter().flat_map(Statement::bound_within).collect();
    let read = tokens(tests);
    let calls = read.all.windows(2).enumerate().filter(|(i, pair)| {
        let is_attribute = i.checked_sub(1).is_some_and(|before| read.all[before].is("."));
        pair[1].is("(") && !is_attribute
    });
    let names: Names = calls.filter_map(|(_, pair)| pair[0].name()).filter(|n| !bound.contains(n)).collect();
    let special: Names = names.iter().copied().filter(|n| !is_builtin(n)).collect();
    if special.is_empty() { names } else { special }
}

/// The text of a JSON value: a string as it is, a list with one line per entry, a number in digits; `None` for other
/// values.
fn lines(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(list) => Some(list.iter().map(lines).collect::<Option<Vec<_>>>()?.join("\n")),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Object(_) => None,
    }
}

/// Python source of `rlar_equal`, which compares the result of a call with the expected result from JSON: tuples count
/// as lists, keys of dictionaries as texts, and a float may differ by a millionth.
const EQUAL: &str = "import json, math
def rlar_equal(got, wanted):
    if isinstance(wanted, bool) or isinstance(got, bool) or wanted is None or got is None:
        return got is wanted
    if isinstance(wanted, list):
        is_list = isinstance(got, (list, tuple)) and len(got) == len(wanted)
        return is_list and all([rlar_equal(g, w) for g, w in zip(got, wanted)])
    if isinstance(wanted, dict):
        if not isinstance(got, dict) or len(got) != len(wanted):
            return False
        by_text = {str(k): v for k, v in got.items()}
        return len(by_text) == len(wanted) and all([k in by_text and rlar_equal(by_text[k], wanted[k]) for k in wanted])
    if isinstance(wanted, float) and isinstance(got, (int, float)):
        return math.isclose(got, wanted, rel_tol=1e-6, abs_tol=1e-6)
    return type(got) is type(wanted) and got == wanted
";

/// The import of the names from `typing` that solutions with a class `Solution` use without importing them, because the
/// site where their tasks come from imports them.
const TYPING: &str = "from typing import Any, Dict, Iterable, List, Optional, Sequence, Set, Tuple, Union\n";
