//! Function calling.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::llm::chat::estimate_tokens;

/// The most calls in one reply.
const MAX_CALLS: usize = 64;

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionDefinition {
    /// The name: at most 64 ASCII letters, digits, `_` and `-`.
    pub name: String,
    /// For the model: what the function does and when to call it.
    #[serde(default)]
    pub description: String,
    /// A JSON schema of the arguments, which are one object.
    pub parameters: Value,
}

/// A call of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionCall {
    /// The function's name as the model wrote it, which need not be one of the offered functions.
    pub name: String,
    /// The arguments as the model wrote them. They should be a JSON object that fits the schema, but need not be; a
    /// reply that reached its token limit may hold only their beginning.
    pub arguments: String,
}

impl FunctionDefinition {
    /// An estimate of the definition's tokens in a prompt.
    pub(crate) fn estimate_tokens(&self) -> u64 {
        estimate_tokens(&self.name) + estimate_tokens(&self.description) + estimate_tokens(&self.parameters.to_string())
    }
}

/// The `tools` of a request's body.
pub(crate) fn tools(functions: &[FunctionDefinition]) -> Value {
    functions.iter().map(|function| json!({"type": "function", "function": function})).collect()
}

/// Reads the `tool_calls` of a reply's message; the error says what is wrong with them.
pub(crate) fn calls(message: &Value) -> Result<Vec<FunctionCall>, String> {
    let key = "`choices[0].message.tool_calls`";
    let calls = match message.get("tool_calls") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(calls) => calls.as_array().ok_or_else(|| format!("{key} is not a list"))?,
    };
    if calls.len() > MAX_CALLS {
        return Err(format!("{key} has {} calls, more than {MAX_CALLS}", calls.len()));
    }
    let calls = calls.iter().enumerate().map(|(index, call)| {
        let text = |field: &str| {
            let text = call.pointer(&format!("/function/{field}")).and_then(Value::as_str);
            text.ok_or_else(|| format!("call {} of {key} has no text as `function.{field}`", index + 1))
        };
        Ok(FunctionCall { name: text("name")?.to_owned(), arguments: text("arguments")?.to_owned() })
    });
    calls.collect()
}
