//! Tests of programs as APPS and TACO have them, and PRIME and verl after them: lists of inputs and outputs, as an
//! object or as JSON text.

use serde_json::{Map, Value, json};

/// The columns `tests` (and what belongs to it) for a value with the keys `inputs` and `outputs`, and `fn_name` where
/// the tests call a function instead of running a program. `None` for other values.
pub fn of_inputs_and_outputs(value: &Value) -> Option<Map<String, Value>> {
    let parsed;
    let object = match value {
        Value::Object(object) => object,
        Value::String(text) if text.trim_start().starts_with('{') => {
            parsed = serde_json::from_str::<Map<String, Value>>(text).ok()?;
            &parsed
        }
        _ => return None,
    };
    let (inputs, outputs) = (object.get("inputs")?.as_array()?, object.get("outputs")?.as_array()?);
    if inputs.is_empty() || inputs.len() != outputs.len() {
        return None;
    }
    let pairs = inputs.iter().zip(outputs);
    let function = object.get("fn_name").and_then(Value::as_str).filter(|name| !name.is_empty());
    let tests: Option<Vec<Value>> = match function {
        Some(function) => pairs.map(|(input, output)| Some(call(function, input.as_array()?, output).into())).collect(),
        None => pairs.map(|(i, o)| Some(json!({ "input": lines(i)?, "output": lines(o)? }))).collect(),
    };
    Some(Map::from_iter([("tests".to_owned(), tests?.into())]))
}

/// A Python statement that calls a function and compares its result. As in APPS, an output that is a list may also be
/// meant as a list around the result, and a tuple is as good as a list.
fn call(function: &str, arguments: &[Value], output: &Value) -> String {
    let arguments: Vec<String> = arguments.iter().map(python).collect();
    let mut accepted = vec![python(output)];
    if let Value::Array(list) = output {
        accepted.push(format!("tuple({})", python(output)));
        accepted.extend(list.first().map(python));
    }
    format!("assert {function}({}) in [{}]", arguments.join(", "), accepted.join(", "))
}

/// The Python literal of a JSON value.
fn python(value: &Value) -> String {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Array(list) => format!("[{}]", list.iter().map(python).collect::<Vec<_>>().join(", ")),
        Value::Object(object) => {
            let entries: Vec<String> = object
                .iter()
                .map(|(key, value)| format!("{}: {}", python(&key.as_str().into()), python(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        // JSON's escapes are Python's, except that a character beyond 16 bits is never written as two here.
        Value::String(_) | Value::Number(_) => value.to_string(),
    }
}

/// The text of a program's input or output: a text, or a list of lines.
fn lines(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(list) => {
            let lines: Option<Vec<String>> = list.iter().map(lines).collect();
            Some(lines?.join("\n"))
        }
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
