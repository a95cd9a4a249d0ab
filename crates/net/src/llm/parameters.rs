//! The parameters of a chat that some servers refuse, and what is sent instead.

use serde_json::Value;

/// A parameter that a request does without, or sends under another name, if the server refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parameter {
    /// `max_tokens`, for which newer servers want `max_completion_tokens`.
    MaxTokens,
    /// `max_completion_tokens`, which older servers do not know.
    MaxCompletionTokens,
    /// `temperature`, which models that reason before they answer cannot change.
    Temperature,
    /// `response_format`, without which only the prompt asks for JSON.
    ResponseFormat,
    /// `tool_choice`, without which the model may reply with text instead of a function call.
    ToolChoice,
    /// `stream_options`, with which a streamed reply has its token counts.
    StreamOptions,
    /// `stream`, without which the reply comes as a whole.
    Stream,
}

const ALL: [Parameter; 7] = [
    Parameter::MaxTokens,
    Parameter::MaxCompletionTokens,
    Parameter::Temperature,
    Parameter::ResponseFormat,
    Parameter::ToolChoice,
    Parameter::StreamOptions,
    Parameter::Stream,
];

/// Words by which servers say that they refuse a parameter itself, and not only its value.
const REFUSALS: [&str; 7] = [
    "unsupported",
    "not support",
    "deprecated",
    "unrecognized",
    "unknown parameter",
    "unexpected keyword",
    "not permitted",
];

impl Parameter {
    /// The key of the parameter in a request's body.
    pub fn key(self) -> &'static str {
        match self {
            Self::MaxTokens => "max_tokens",
            Self::MaxCompletionTokens => "max_completion_tokens",
            Self::Temperature => "temperature",
            Self::ResponseFormat => "response_format",
            Self::ToolChoice => "tool_choice",
            Self::StreamOptions => "stream_options",
            Self::Stream => "stream",
        }
    }

    /// What happens without the parameter, for the log.
    pub fn consequence(self) -> &'static str {
        match self {
            Self::MaxTokens => "`max_completion_tokens` is sent instead",
            Self::MaxCompletionTokens => "the server's own limit holds",
            Self::Temperature => "the server's own temperature holds, so equal requests may get different replies",
            Self::ResponseFormat => "only the prompt asks for JSON",
            Self::ToolChoice => "the model may reply with text instead of a function call",
            Self::StreamOptions => "tokens are estimated unless the server counts them unasked",
            Self::Stream => "replies come as a whole, each within `rewards.llm.first_token`",
        }
    }

    /// Removes the parameter from a request's body. The value of `max_tokens` moves to `max_completion_tokens`, and
    /// `stream_options` goes with `stream`.
    fn leave_out(self, body: &mut Value) {
        let Some(fields) = body.as_object_mut() else { return };
        let removed = fields.remove(self.key());
        match (self, removed) {
            (Self::MaxTokens, Some(limit)) => {
                fields.insert(Self::MaxCompletionTokens.key().to_owned(), limit);
            }
            (Self::Stream, _) => {
                fields.remove(Self::StreamOptions.key());
            }
            _ => {}
        }
    }
}

/// The parameters that a server has refused so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refused(Vec<Parameter>);

impl Refused {
    /// Adds a parameter. False if it was refused before.
    pub fn add(&mut self, parameter: Parameter) -> bool {
        let is_new = !self.0.contains(&parameter);
        if is_new {
            self.0.push(parameter);
        }
        is_new
    }

    /// A request's body without the refused parameters.
    pub fn without(&self, mut body: Value) -> Value {
        // The order matters: a limit that was sent under another name may have been refused there, too.
        for parameter in ALL.iter().filter(|parameter| self.0.contains(parameter)) {
            parameter.leave_out(&mut body);
        }
        body
    }
}

/// The parameter of the request body `sent` that an error response refuses; `None` for any other error. It is the
/// parameter in `error.param` of the response's JSON, or else the first one of the request that the message names.
pub(crate) fn refused_parameter(json: &Value, message: &str, sent: &Value) -> Option<Parameter> {
    let code = json.pointer("/error/code").or_else(|| json.get("code")).and_then(Value::as_str).unwrap_or_default();
    let message = message.to_lowercase();
    let is_refusal = code.starts_with("unsupported") || REFUSALS.iter().any(|words| message.contains(words));
    let was_sent = |parameter: &Parameter| sent.get(parameter.key()).is_some();
    let named = json.pointer("/error/param").and_then(Value::as_str);
    // Whoever knows the newer name refuses the older one, in whatever words.
    if was_sent(&Parameter::MaxTokens) && message.contains(Parameter::MaxCompletionTokens.key()) {
        return Some(Parameter::MaxTokens);
    }
    if let Some(parameter) = ALL.into_iter().filter(was_sent).find(|p| named == Some(p.key())) {
        return is_refusal.then_some(parameter);
    }
    let words = message.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_key = |p: &Parameter, word: &str| p.key() == word || (*p == Parameter::Stream && word == "streaming");
    let found = |word: &str| ALL.into_iter().filter(was_sent).find(|p| is_key(p, word));
    words.into_iter().find_map(found).filter(|_| is_refusal)
}
