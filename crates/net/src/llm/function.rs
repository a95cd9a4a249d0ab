//! Functions that a model may call, and its calls.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::llm::request::estimate;

/// The most calls in one answer.
const MOST: usize = 64;

/// A function that a model may call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Function {
    /// Its name: ASCII letters, digits, `_` and `-`, 64 of them at most.
    pub name: String,
    /// What it does and when to call it, for the model.
    #[serde(default)]
    pub description: String,
    /// A JSON schema of its arguments, which are one object.
    pub parameters: Value,
}

/// A call of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The function's name, as the model wrote it: it may not be one that was offered.
    pub name: String,
    /// Its arguments, as the model wrote them: they should be a JSON object that fits the schema, but need not be; an
    /// answer that ended for its length may hold only their beginning.
    pub arguments: String,
}

impl Function {
    /// About how many tokens it has.
    pub(crate) fn estimate(&self) -> u64 {
        estimate(&self.name) + estimate(&self.description) + estimate(&self.parameters.to_string())
    }
}

/// The functions as the protocol writes them.
pub(crate) fn tools(functions: &[Function]) -> Value {
    functions.iter().map(|function| json!({"type": "function", "function": function})).collect()
}

/// The calls of an answer's message, or what is wrong with them.
pub(crate) fn calls(message: &Value) -> Result<Vec<Call>, String> {
    let place = "`choices[0].message.tool_calls`";
    let calls = match message.get("tool_calls") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(calls) => calls.as_array().ok_or_else(|| format!("{place} is not a list"))?,
    };
    if calls.len() > MOST {
        return Err(format!("{place} has {} calls, more than {MOST}", calls.len()));
    }
    let read = calls.iter().enumerate().map(|(at, call)| {
        let text = |field: &str| {
            let text = call.pointer(&format!("/function/{field}")).and_then(Value::as_str);
            text.ok_or_else(|| format!("call {} of {place} has no text as `function.{field}`", at + 1))
        };
        Ok(Call { name: text("name")?.to_owned(), arguments: text("arguments")?.to_owned() })
    });
    read.collect()
}
