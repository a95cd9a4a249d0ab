//! The `OpenAI` protocol's bodies.

use serde_json::{Value, json};

use crate::llm::function::{calls, tools};
use crate::llm::request::estimate;
use crate::llm::{ChatReply, ChatRequest};

/// The body of a request.
pub(crate) fn body(request: &ChatRequest, model: &str) -> Value {
    let mut body = json!({
        "model": model,
        "messages": request.messages,
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "stream": false,
    });
    if let Some(schema) = &request.schema {
        // The protocol allows only these characters, and 64 of them, in a schema's name.
        let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let name: String = request.role.chars().map(allowed).take(64).collect();
        let name = if name.is_empty() { "answer".into() } else { name };
        body["response_format"] =
            json!({"type": "json_schema", "json_schema": {"name": name, "strict": true, "schema": schema}});
    }
    if !request.tools.is_empty() {
        body["tools"] = tools(&request.tools);
        body["tool_choice"] = "required".into();
    }
    body
}

/// Tokens of a prompt and of its answer. What the answer does not count is estimated: a quarter of the bytes.
pub(crate) fn usage(request: &ChatRequest, body: &Value) -> (u64, u64) {
    let count = |name: &str| body.pointer(&format!("/usage/{name}")).and_then(Value::as_u64);
    let prompt = count("prompt_tokens").unwrap_or_else(|| request.estimate());
    let message = body.pointer("/choices/0/message").unwrap_or(&Value::Null);
    (prompt, count("completion_tokens").unwrap_or_else(|| said(message)))
}

/// About how many tokens a message has, its calls included, whether or not they are well formed.
fn said(message: &Value) -> u64 {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map_or(0, estimate);
    let calls = message.get("tool_calls").and_then(Value::as_array).into_iter().flatten();
    let called = calls.map(|c| text(c.pointer("/function/name")) + text(c.pointer("/function/arguments")));
    text(message.get("content")) + called.sum::<u64>()
}

/// What an answer says, or why it is none.
pub(crate) fn reply(body: &Value, (prompt_tokens, completion_tokens): (u64, u64)) -> Result<ChatReply, String> {
    let choices = body.get("choices").and_then(Value::as_array).ok_or("`choices` is not a list")?;
    let choice = choices.first().ok_or("`choices` is empty")?;
    let finish = choice.get("finish_reason").and_then(Value::as_str).unwrap_or_default().to_owned();
    let message = choice.get("message").unwrap_or(&Value::Null);
    let calls = calls(message)?;
    let content = message.get("content").unwrap_or(&Value::Null);
    let text = match content {
        Value::String(text) => text.clone(),
        // Who calls need not speak.
        Value::Null if !calls.is_empty() => String::new(),
        _ => {
            // A model that thinks until its tokens end says nothing: the reason helps.
            let why = if finish.is_empty() { String::new() } else { format!(" (`finish_reason` is {finish:?})") };
            return Err(format!("`choices[0].message.content` is {}, not a text{why}", kind(content)));
        }
    };
    Ok(ChatReply { text, prompt_tokens, completion_tokens, finish, calls })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// What an error's body says: the protocol's `error.message`, or some other words that servers use, or all of it.
pub(crate) fn complaint(body: &[u8]) -> String {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let places = ["/error/message", "/error", "/message", "/detail"];
    let said = places.iter().find_map(|p| json.pointer(p).and_then(Value::as_str));
    said.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned)
}
