//! Function calling: the functions that a model may call, and the calls in a reply.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::llm::chat::estimate_tokens;

/// Maximum number of function calls in one reply; a reply with more is an error.
const MAX_CALLS: usize = 64;

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionDefinition {
    /// The name of the function: at most 64 ASCII letters, digits, `_` and `-`.
    pub name: String,
    /// What the function does and when to call it, for the model to read.
    #[serde(default)]
    pub description: String,
    /// A JSON schema of the function's arguments, which are one object.
    pub parameters: Value,
}

/// A call of a function in a model's reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionCall {
    /// The name of the called function as the model wrote it; the request need not have offered such a function.
    pub name: String,
    /// The arguments as the model wrote them. They should be a JSON object that fits the function's schema, but the
    /// model may write anything. A reply that reached its token limit may contain only the beginning of the arguments.
    pub arguments: String,
}

impl FunctionDefinition {
    /// An estimate of the number of tokens that the definition takes in a prompt.
    pub(crate) fn estimate_tokens(&self) -> u64 {
        estimate_tokens(&self.name) + estimate_tokens(&self.description) + estimate_tokens(&self.parameters.to_string())
    }
}

/// Function definitions as the JSON value of `tools` in the body of a request.
pub(crate) fn tools(functions: &[FunctionDefinition]) -> Value {
    functions.iter().map(|function| json!({"type": "function", "function": function})).collect()
}

/// Reads the function calls (`tool_calls`) in a reply's message. The error says what is wrong with them.
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
