//! The JSON bodies of requests and responses in the `OpenAI` protocol for chat completions.

use serde_json::{Value, json};

use crate::llm::chat::estimate_tokens;
use crate::llm::function::{calls, tools};
use crate::llm::{ChatReply, ChatRequest};

/// Numbers of tokens in the prompt and in the reply of one exchange.
#[derive(Clone, Copy)]
pub(crate) struct TokenCounts {
    pub prompt: u64,
    pub completion: u64,
}

/// The JSON body of a request to the model with this name, for a reply of at most `max_tokens` tokens.
pub(crate) fn body(request: &ChatRequest, model: &str, max_tokens: u64) -> Value {
    let mut body = json!({
        "model": model,
        "messages": request.messages,
        "max_tokens": max_tokens,
        "temperature": request.temperature,
        "stream": true,
        "stream_options": {"include_usage": true},
    });
    if let Some(schema) = &request.schema {
        // In this protocol, the name of a schema has at most 64 characters, and only these.
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

/// The token counts in a response's `usage`. A missing count is estimated as a quarter of the bytes.
pub(crate) fn usage(request: &ChatRequest, body: &Value) -> TokenCounts {
    let count = |name: &str| body.pointer(&format!("/usage/{name}")).and_then(Value::as_u64);
    let prompt = count("prompt_tokens").unwrap_or_else(|| request.estimate_tokens());
    let message = body.pointer("/choices/0/message").unwrap_or(&Value::Null);
    let completion = count("completion_tokens").unwrap_or_else(|| estimate_message(message));
    TokenCounts { prompt, completion }
}

/// An estimate of the number of tokens in a reply's message, including its reasoning and its function calls, even
/// malformed ones.
fn estimate_message(message: &Value) -> u64 {
    let tokens = |value: Option<&Value>| value.and_then(Value::as_str).map_or(0, estimate_tokens);
    let calls = message.get("tool_calls").and_then(Value::as_array).into_iter().flatten();
    let call_tokens = calls.map(|c| tokens(c.pointer("/function/name")) + tokens(c.pointer("/function/arguments")));
    tokens(message.get("content")) + reasoning(message).map_or(0, estimate_tokens) + call_tokens.sum::<u64>()
}

/// The model's reasoning before its answer; `None` if the server gives none apart from the answer.
fn reasoning(message: &Value) -> Option<&str> {
    let text = |key: &str| message.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    text("reasoning_content").or_else(|| text("reasoning"))
}

/// Reads the reply from the first of the response's `choices`. The error says what is wrong with the response.
pub(crate) fn reply(body: &Value, tokens: TokenCounts) -> Result<ChatReply, String> {
    let choices = body.get("choices").and_then(Value::as_array).ok_or("`choices` is not a list")?;
    let choice = choices.first().ok_or("`choices` is empty")?;
    let finish = choice.get("finish_reason").and_then(Value::as_str).unwrap_or_default().to_owned();
    let message = choice.get("message").unwrap_or(&Value::Null);
    let calls = calls(message)?;
    let content = message.get("content").unwrap_or(&Value::Null);
    let text = match content {
        Value::String(text) => text.clone(),
        // A reply that calls functions may have no text, and one that reached its token limit only reasoning.
        Value::Null if !calls.is_empty() || reasoning(message).is_some() => String::new(),
        _ => {
            let why = if finish.is_empty() { String::new() } else { format!(" (`finish_reason` is {finish:?})") };
            return Err(format!("`choices[0].message.content` is {}, not a text{why}", kind(content)));
        }
    };
    Ok(ChatReply { text, prompt_tokens: tokens.prompt, completion_tokens: tokens.completion, finish, calls })
}

/// The type of a JSON value, for an error message.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The message in the body of an error response: the protocol's `error.message`, one of the other keys that servers
/// use, or else the whole body.
pub(crate) fn error_message(body: &[u8]) -> String {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    message_in(&json).map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned)
}

/// The message in the JSON body of an error response, if it has one.
fn message_in(json: &Value) -> Option<&str> {
    let keys = ["/error/message", "/error", "/message", "/detail"];
    keys.iter().find_map(|key| json.pointer(key).and_then(Value::as_str))
}
