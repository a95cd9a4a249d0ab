//! Chat templates, in Hugging Face's dialect of Jinja. They are rendered as `transformers` renders them.

mod arguments;
mod builtins;
mod compiled;
mod json;
mod methods;
mod percent;
mod python;
mod rendering_thread;
mod source;
mod text;
mod tokens;

use std::ops::Range;

use chrono::{Local, NaiveDateTime};
use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};
use serde_json::json;

use self::compiled::render_compiled;
use crate::error::PolicyError;

pub use self::rendering_thread::on_rendering_thread;

/// One turn of a conversation: who speaks, and the text.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Turn<'a> {
    /// Who speaks: `system`, `user` or `assistant`.
    pub role: &'a str,
    /// Text of the turn.
    pub content: &'a str,
}

/// A conversation, with everything else that a chat template may read.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    /// The messages: objects with `role`, `content` and other keys that the template may read (`tool_calls`, `name` …).
    pub messages: Vec<serde_json::Value>,
    /// Descriptions of the tools that the model may call, as JSON Schemas.
    pub tools: Vec<serde_json::Value>,
    /// Whether the text ends with the header of the reply that the model is to write (`add_generation_prompt`).
    pub generation: bool,
    /// Further variables that the template can read, such as `enable_thinking`.
    pub variables: serde_json::Map<String, serde_json::Value>,
    /// Time that the template's function `strftime_now` writes. `None`: the time of [`ChatTemplate::today`], or without
    /// one the current time.
    pub now: Option<NaiveDateTime>,
}

impl Conversation {
    /// Makes a conversation of plain turns, without tools or variables.
    pub fn new(turns: &[Turn], generation: bool) -> Self {
        let messages = turns.iter().map(|t| json!({ "role": t.role, "content": t.content })).collect();
        Self { messages, generation, ..Self::default() }
    }
}

/// A conversation as the text that a chat template makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The whole text.
    pub text: String,
    /// Byte ranges of the model's replies in the text: the contents of the template's `{% generation %}` blocks.
    pub assistant: Vec<Range<usize>>,
}

/// A model's chat template, and the special tokens that it may use.
#[derive(Clone, Debug, Default)]
pub struct ChatTemplate {
    /// Source of the template, in Jinja.
    pub source: String,
    /// Special tokens: the name of the template's variable, such as `eos_token`, and the token's text.
    pub tokens: Vec<(String, String)>,
    /// Time that `strftime_now` writes for conversations without a time of their own; `None`: the current time.
    pub today: Option<NaiveDateTime>,
}

/// The current local time, in seconds since 1970 as if it were UTC.
pub fn local_seconds() -> i64 {
    Local::now().naive_local().and_utc().timestamp()
}

/// The marks that are put around the model's replies while a template is rendered. They are Unicode noncharacters,
/// which no text may hold.
const OPEN: char = '\u{FDD0}';
const CLOSE: char = '\u{FDD1}';

/// Deepest nesting of a value that a template may write.
const DEEPEST: usize = 64;
/// Largest number of parts (nested values) of a value that a template may write.
const PARTS: usize = 1 << 20;

impl ChatTemplate {
    /// Whether the template marks the model's replies with `{% generation %}`.
    pub fn marks_replies(&self) -> bool {
        self.source.contains("endgeneration")
    }

    /// Turns a conversation into text. For hostile templates, the number of steps and the nesting of values are
    /// limited, and the stack is large; the memory is not limited. Many conversations are rendered faster within
    /// [`on_rendering_thread`].
    pub fn render(&self, conversation: &Conversation) -> Result<Rendered, PolicyError> {
        on_rendering_thread(|| render_compiled(self, conversation))?
    }
}

/// Removes the marks around the model's replies from a rendered text. Returns the text, with the byte ranges of the
/// replies.
fn unmarked(marked: &str) -> Rendered {
    let (mut text, mut assistant, mut start) = (String::with_capacity(marked.len()), Vec::new(), 0);
    for c in marked.chars() {
        match c {
            OPEN => start = text.len(),
            CLOSE => assistant.push(start..text.len()),
            _ => text.push(c),
        }
    }
    Rendered { text, assistant }
}

/// Returns an error where a value is nested too deeply or has too many parts to be written, such as a value that
/// contains itself. `depth` is the number of values around this one, and `left` the number of parts that may follow.
fn bounded(value: &Value, depth: usize, left: &mut usize) -> Result<(), Error> {
    if depth > DEEPEST || *left == 0 {
        let message = format!("a value is nested more than {DEEPEST} deep or has more than {PARTS} parts");
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    *left -= 1;
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => value.try_iter()?.try_for_each(|v| bounded(&v, depth + 1, left)),
        ValueKind::Map => value.try_iter()?.try_for_each(|k| bounded(&value.get_item(&k)?, depth + 1, left)),
        _ => Ok(()),
    }
}
