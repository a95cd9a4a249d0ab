//! The refusal of a request that does not fit into the model's context, in the words of several servers.

use reqwest::StatusCode;
use serde_json::Value;

/// The numbers that a server gives when prompt and reply together are longer than the model's context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContextRefusal {
    /// Number of tokens in the prompt, if the server tells.
    pub prompt_tokens: Option<u64>,
    /// Number of tokens that prompt and reply share, if the server tells.
    pub context: Option<u64>,
}

/// Words by which servers say that a request is too long, in lower case.
const REFUSALS: [&str; 11] = [
    // OpenAI, vLLM, SGLang.
    "maximum context length",
    "model's context length",
    "exceeds the context window",
    "exceed the configured limit",
    "longer than the maximum model length",
    // llama.cpp, with its Python binding.
    "exceeds the available context size",
    "exceed context window",
    // LM Studio.
    "greater than the context length",
    "context length of only",
    // Text Generation Inference.
    "`max_new_tokens` must be <=",
    // Anthropic.
    "prompt is too long",
];

/// Words in a server's refusal that are followed by the length of the context, in tokens.
const BEFORE_CONTEXT: [&str; 6] = [
    "context length",
    "context size",
    "context window",
    "maximum model length",
    "`max_new_tokens` must be <=",
    "configured limit",
];

/// Words in a server's refusal that are followed by the length of the prompt, in tokens.
const BEFORE_PROMPT: [&str; 7] =
    ["resulted in", "request (", "requested tokens (", "input (", "prompt (length", "given:", "prompt is too long:"];

/// Words in a server's refusal that are preceded by the length of the prompt, in tokens.
const BEHIND_PROMPT: [&str; 4] =
    ["in the messages", "in your prompt", "input tokens", "tokens from the input messages"];

/// Recognises an error response by which a server refuses a request that is too long for the model's context; `None`
/// for any other error. `status` is the response's status, `body` its JSON, and `message` the message in the JSON.
pub(crate) fn context_refusal(status: Option<StatusCode>, body: &Value, message: &str) -> Option<ContextRefusal> {
    let field = |name: &str| body.pointer(&format!("/error/{name}")).or_else(|| body.get(name));
    let kind = |name: &str| field(name).and_then(Value::as_str).unwrap_or_default();
    let is_named = kind("type") == "exceed_context_size_error" || kind("code") == "context_length_exceeded";
    // A server may name the context in the message of a failure that has nothing to do with the request.
    let is_about_request = matches!(
        status,
        None | Some(StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY)
    );
    let message = message.to_lowercase();
    let is_refusal = is_about_request && REFUSALS.iter().any(|words| message.contains(words));
    if !is_named && !is_refusal {
        return None;
    }
    let count = |name: &str| field(name).and_then(Value::as_u64);
    let prompt = || BEFORE_PROMPT.iter().find_map(|words| number_behind(&message, words));
    let prompt = || prompt().or_else(|| BEHIND_PROMPT.iter().find_map(|words| number_before(&message, words)));
    let context = || BEFORE_CONTEXT.iter().find_map(|words| number_behind(&message, words));
    Some(ContextRefusal {
        prompt_tokens: count("n_prompt_tokens").or_else(prompt),
        context: count("n_ctx").or_else(context).filter(|context| *context > 0),
    })
}

/// The number behind these words, wherever they occur, with at most `is`, `of` and `only` in between.
fn number_behind(text: &str, words: &str) -> Option<u64> {
    text.match_indices(words).find_map(|(at, _)| {
        let mut rest = text[at + words.len()..].trim_start_matches([' ', '(', ':']);
        for filler in ["is ", "of ", "only "] {
            rest = rest.strip_prefix(filler).unwrap_or(rest);
        }
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..digits].parse().ok()
    })
}

/// The number right before these words, wherever they occur.
fn number_before(text: &str, words: &str) -> Option<u64> {
    text.match_indices(words).find_map(|(at, _)| {
        let before = text[..at].trim_end();
        let before = before.strip_suffix("tokens").unwrap_or(before).trim_end();
        before.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    })
}
