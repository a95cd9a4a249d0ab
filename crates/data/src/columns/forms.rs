//! Recognises the forms of published data sets and of other tools' data sets by their columns: GSM8K, MATH, APPS, TACO,
//! Alpaca, `ShareGPT`, TRL and verl.

use serde_json::{Map, Value};

use super::program_tests::holds_tests;
use crate::rows::number_text;

/// Columns of other tools' data sets that are read as the prompt; the first one that a row has is used.
const PROMPTS: [&str; 5] = ["question", "problem", "instruction", "query", "conversations"];
/// Columns of other tools' data sets that are read as the reference; the first one that a row has is used. Columns of
/// bare answers come before the column of solutions.
const REFERENCES: [&str; 4] = ["final_answer", "expected_answer", "ground_truth", "solution"];
/// Columns of other tools' data sets that are read as the reply to imitate; the first one that a row has is used.
const DEMONSTRATIONS: [&str; 2] = ["completion", "output"];

/// Copies columns that have another tool's names to the names that rlar reads, such as `prompt` and `reference`. The
/// columns with the other names stay. Returns one note for each copied column, such as "`question` is the prompt".
pub fn recognise(row: &mut Map<String, Value>) -> Vec<String> {
    let mut found = Vec::new();
    // Arrow fills in null for columns that a row lacks.
    row.retain(|key, value| !value.is_null() || !["prompt", "messages"].contains(&key.as_str()));
    verl(row, &mut found);
    prompt(row, &mut found);
    if !has_tests(row) {
        tests(row, &mut found);
    }
    for (wanted, names) in [("reference", &REFERENCES[..]), ("demonstration", &DEMONSTRATIONS[..])] {
        let is_there = has(row, wanted) || (wanted == "reference" && has(row, "answer"));
        // With tests, a solution is a program and not what replies are compared with.
        if is_there || (wanted == "reference" && has_tests(row)) {
            continue;
        }
        if let Some(name) = names.iter().find(|name| row.get(**name).is_some_and(is_answer)) {
            let value = row[*name].clone();
            row.insert(wanted.into(), value);
            found.push(format!("`{name}` is the {wanted}"));
        }
    }
    found
}

/// Whether a row has the column, with a value other than null.
fn has(row: &Map<String, Value>, key: &str) -> bool {
    row.get(key).is_some_and(|value| !value.is_null())
}

/// Whether a value can be a prompt, a reference or a reply: a text that is not blank, a number, or a list that is not
/// empty.
fn is_answer(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.trim().is_empty(),
        Value::Number(_) => true,
        Value::Array(list) => !list.is_empty(),
        _ => false,
    }
}

fn has_tests(row: &Map<String, Value>) -> bool {
    let is_list = |key: &str| row.get(key).is_some_and(Value::is_array);
    is_list("tests") || is_list("test_list") || has(row, "entry_point") || row.get("tests").is_some_and(holds_tests)
}

/// Recognises verl's form: `reward_model.ground_truth` is copied to `reference`, or to `tests` if it holds tests, and
/// `data_source` to `domain`. Adds a note on each copy to `found`.
fn verl(row: &mut Map<String, Value>, found: &mut Vec<String>) {
    let Some(truth) = row.get("reward_model").and_then(|model| model.get("ground_truth")).cloned() else { return };
    if holds_tests(&truth) {
        row.insert("tests".into(), truth);
        found.push("`reward_model.ground_truth` holds tests".into());
    } else if !has(row, "reference") && is_answer(&truth) {
        row.insert("reference".into(), truth);
        found.push("`reward_model.ground_truth` is the reference".into());
    }
    if let (None, Some(Value::String(source))) = (row.get("domain"), row.get("data_source")) {
        row.insert("domain".into(), source.clone().into());
        found.push("`data_source` is the domain".into());
    }
}

fn prompt(row: &mut Map<String, Value>, found: &mut Vec<String>) {
    if row.contains_key("prompt") || row.contains_key("messages") {
        return;
    }
    let Some(name) = PROMPTS.iter().find(|name| row.get(**name).is_some_and(is_answer)) else { return };
    let mut value = row[*name].clone();
    // Alpaca's instruction can have an input of its own.
    if *name == "instruction"
        && let (Some(instruction), Some(input)) = (value.as_str(), row.get("input").and_then(Value::as_str))
        && !input.trim().is_empty()
    {
        value = format!("{instruction}\n\n{input}").into();
    }
    if let Value::Number(number) = &value {
        value = number_text(number).into();
    }
    row.insert("prompt".into(), value);
    found.push(format!("`{name}` is the prompt"));
}

/// Recognises tests of programs in the form of APPS and TACO (`inputs` and `outputs`), copies them to the column
/// `tests`, and adds a note on this to `found`.
fn tests(row: &mut Map<String, Value>, found: &mut Vec<String>) {
    for name in ["input_output", "test_cases", "tests"] {
        let Some(tests) = row.get(name).filter(|value| holds_tests(value)).cloned() else { continue };
        row.insert("tests".into(), tests);
        found.push(format!("`{name}` holds tests"));
        return;
    }
}
