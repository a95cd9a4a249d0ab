//! A reply that arrives in pieces: the chunks of a streamed chat completion, put together.

use serde_json::{Deserializer, Value, json};

use crate::llm::repetition::GrowingText;
use crate::llm::wire::kind;

/// The kind of content in one chunk of a streamed reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// No part of the reply: the token counts, or other information from the server.
    Note,
    /// A part of the reply without text, such as its author.
    Empty,
    /// One token or a few of the answer, of a function call, or (if `is_reasoning` is true) of the reasoning before the
    /// answer.
    Token { is_reasoning: bool },
}

/// A streamed reply as far as it has arrived.
#[derive(Debug, Default)]
pub(crate) struct StreamedReply {
    /// The text of the answer; `None` if no chunk has had a text, not even an empty one.
    text: Option<GrowingText>,
    reasoning: GrowingText,
    calls: Vec<StreamedCall>,
    finish: Option<String>,
    is_cut: bool,
    usage: Value,
    model: Option<String>,
    /// Number of pieces of text so far. Most servers send a token in each.
    pieces: u64,
    /// Number of bytes of text so far.
    bytes: u64,
}

/// A function call as far as it has arrived.
#[derive(Debug, Default)]
struct StreamedCall {
    index: u64,
    id: String,
    name: Option<String>,
    arguments: GrowingText,
}

/// The JSON chunks in the data of an event, usually one. The end mark `[DONE]` is left out. The error says why the data
/// are not JSON.
pub(crate) fn chunks(data: &str) -> Result<Vec<Value>, String> {
    let data = data.trim();
    let data = data.strip_suffix(DONE).unwrap_or(data);
    let chunks: Result<Vec<Value>, _> = Deserializer::from_str(data).into_iter().collect();
    chunks.map_err(|e| format!("it is not JSON: {e}"))
}

/// Whether the data of an event end the stream.
pub(crate) fn is_end(data: &str) -> bool {
    data.trim().ends_with(DONE)
}

/// The data of the event that ends a stream.
const DONE: &str = "[DONE]";

impl StreamedReply {
    /// Adds a chunk to the reply, and returns the kind of its content. The error says what is wrong with the chunk.
    pub fn add(&mut self, chunk: &Value) -> Result<Piece, String> {
        if let Some(usage) = chunk.get("usage").filter(|usage| usage.is_object()) {
            self.usage = usage.clone();
        }
        if let Some(model) = chunk.get("model").and_then(Value::as_str).filter(|model| !model.is_empty()) {
            self.model = Some(model.to_owned());
        }
        let Some(choice) = chunk.pointer("/choices/0") else { return Ok(Piece::Note) };
        // A server that has its reply all at once may send it as a whole.
        let delta = choice.get("delta").or_else(|| choice.get("message")).unwrap_or(&Value::Null);
        let before = self.bytes;
        let mut is_runaway = self.add_reasoning(delta);
        let is_reasoning = self.bytes > before;
        is_runaway |= self.add_text(delta)?;
        is_runaway |= self.add_calls(delta)?;
        if let Some(finish) = choice.get("finish_reason").and_then(Value::as_str).filter(|f| !f.is_empty()) {
            self.finish = Some(finish.to_owned());
        }
        if is_runaway {
            self.cut("repetition");
        }
        if self.bytes == before {
            return Ok(Piece::Empty);
        }
        self.pieces += 1;
        Ok(Piece::Token { is_reasoning })
    }

    /// Adds the reasoning in a chunk, which the model writes before its answer. True if the reasoning has begun to
    /// repeat itself without end.
    fn add_reasoning(&mut self, delta: &Value) -> bool {
        let key = if delta.get("reasoning_content").is_some_and(Value::is_string) {
            "reasoning_content"
        } else {
            "reasoning"
        };
        // Some servers describe the reasoning in an object, which is no part of the reply either.
        let Some(text) = text_of(delta, key).ok().flatten() else { return false };
        self.bytes += text.len() as u64;
        self.reasoning.push(text)
    }

    fn add_text(&mut self, delta: &Value) -> Result<bool, String> {
        let Some(text) = text_of(delta, "content")? else { return Ok(false) };
        self.bytes += text.len() as u64;
        Ok(self.text.get_or_insert_default().push(text))
    }

    fn add_calls(&mut self, delta: &Value) -> Result<bool, String> {
        let key = "`choices[0].delta.tool_calls`";
        let parts = match delta.get("tool_calls") {
            None | Some(Value::Null) => return Ok(false),
            Some(parts) => parts.as_array().ok_or_else(|| format!("{key} is {}, not a list", kind(parts)))?,
        };
        let mut is_runaway = false;
        for part in parts {
            let function = part.get("function").unwrap_or(&Value::Null);
            let name = text_of(function, "name")?.filter(|name| !name.is_empty());
            let arguments = text_of(function, "arguments")?.unwrap_or_default();
            let index = part.get("index").and_then(Value::as_u64);
            let id = text_of(part, "id")?.unwrap_or_default();
            self.bytes += (name.map_or(0, str::len) + arguments.len()) as u64;
            let call = self.call(index, id, name.is_some());
            // The name comes once; some servers repeat it.
            call.name = call.name.take().or_else(|| name.map(str::to_owned));
            is_runaway |= call.arguments.push(arguments);
        }
        Ok(is_runaway)
    }

    /// The function call to which a part of a chunk belongs, by the part's index and id; a new call if no earlier one
    /// fits. A part with a function's name (`has_name`) also begins a new call if it has no index, or another id at the
    /// same index.
    fn call(&mut self, index: Option<u64>, id: &str, has_name: bool) -> &mut StreamedCall {
        let continues = |call: &StreamedCall| {
            let has_other_id = !id.is_empty() && id != call.id;
            let is_other = has_name && call.name.is_some() && (index.is_none() || has_other_id);
            index.is_none_or(|index| index == call.index) && !is_other
        };
        let at = self.calls.iter().rposition(continues).unwrap_or(self.calls.len());
        if at == self.calls.len() {
            self.calls.push(StreamedCall { index: index.unwrap_or(at as u64), ..StreamedCall::default() });
        }
        let call = &mut self.calls[at];
        if call.id.is_empty() {
            id.clone_into(&mut call.id);
        }
        call
    }

    /// Whether the reply is complete but for its token counts.
    pub fn has_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// Ends the reply here, with the finish reason `finish`, such as `length`.
    pub fn cut(&mut self, finish: &str) {
        self.finish = Some(finish.to_owned());
        self.is_cut = true;
    }

    /// Whether the reply was ended before the server did, such as when it repeated itself without end.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// The name of the model that replies, if the server gave one.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// An estimate of the number of tokens so far, reasoning included: the number of pieces, or a quarter of the bytes if
    /// the pieces are longer.
    pub fn tokens(&self) -> u64 {
        self.pieces.max(self.bytes.div_ceil(4))
    }

    /// The reply as the body of a response that was not streamed.
    pub fn into_body(self) -> Value {
        let tokens = self.tokens();
        let call = |call: StreamedCall| json!({"function": {"name": call.name, "arguments": call.arguments.as_str()}});
        let calls: Vec<Value> = self.calls.into_iter().map(call).collect();
        let message = json!({
            "content": self.text.as_ref().map(GrowingText::as_str),
            "reasoning_content": self.reasoning.as_str(),
            "tool_calls": calls,
        });
        let mut usage = self.usage;
        if usage.get("completion_tokens").and_then(Value::as_u64).is_none() {
            usage["completion_tokens"] = tokens.into();
        }
        json!({"choices": [{"message": message, "finish_reason": self.finish}], "usage": usage})
    }
}

/// The text of a field; `None` if the field is missing or null. The error names the field and what it holds.
fn text_of<'v>(parent: &'v Value, key: &str) -> Result<Option<&'v str>, String> {
    match parent.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(format!("`{key}` in a chunk is {}, not a text", kind(other))),
    }
}
