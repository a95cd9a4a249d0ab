//! Chat templates, in Hugging Face's dialect of Jinja. They are rendered as `transformers` renders them.

mod arguments;
mod builtins;
mod json;
mod methods;
mod percent;
mod python;
mod source;
mod text;
mod tokens;

use std::fmt::Write;
use std::ops::Range;

use chrono::{Local, NaiveDateTime};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Value};
use serde_json::json;

use crate::error::PolicyError;

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

/// Largest number of steps that rendering a template may take.
const FUEL: u64 = 50_000_000;
/// Largest size of a template, in bytes.
const LONGEST: usize = 1 << 16;
/// Size of the rendering thread's stack, in bytes: enough for the deepest expression that fits into a template of
/// [`LONGEST`] bytes.
const STACK: usize = 1 << 29;
/// Deepest nesting of a value that a template may write.
const DEEPEST: usize = 64;
/// Largest number of parts (nested values) of a value that a template may write.
const PARTS: usize = 1 << 20;

fn wrong(e: &Error) -> PolicyError {
    // For `raise_exception`, only the template's message is shown; for other errors, also the line in the template.
    let message = match e.kind() {
        ErrorKind::InvalidOperation if e.detail().is_some() => e.detail().unwrap_or_default().to_owned(),
        _ => format!("{e:#}"),
    };
    PolicyError::Tokenizer(format!("chat template: {message}"))
}

impl ChatTemplate {
    /// Whether the template marks the model's replies with `{% generation %}`.
    pub fn marks_replies(&self) -> bool {
        self.source.contains("endgeneration")
    }

    /// Turns a conversation into text. For hostile templates, the number of steps and the nesting of values are
    /// limited; the memory is not.
    pub fn render(&self, conversation: &Conversation) -> Result<Rendered, PolicyError> {
        std::thread::scope(|scope| {
            let job = || self.render_here(conversation);
            let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, job);
            let thread = thread.map_err(|e| {
                PolicyError::Tokenizer(format!("chat template: cannot start a thread to render it: {e}"))
            })?;
            thread.join().unwrap_or_else(|_| Err(PolicyError::Tokenizer("chat template: rendering it failed".into())))
        })
    }

    fn render_here(&self, conversation: &Conversation) -> Result<Rendered, PolicyError> {
        let refuse = |why: &str| Err(PolicyError::Tokenizer(format!("chat template: {why}")));
        if self.source.len() > LONGEST {
            return refuse("longer than 64 KB");
        }
        let contents =
            serde_json::json!([conversation.messages, conversation.tools, conversation.variables]).to_string();
        if self.source.contains([OPEN, CLOSE]) || contents.contains([OPEN, CLOSE]) {
            return refuse("the conversation holds U+FDD0 or U+FDD1, which are not characters");
        }
        let mut env = Environment::new();
        env.set_fuel(Some(FUEL));
        // `transformers` configures Jinja with these two options.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        env.set_syntax(syntax.map_err(|e| wrong(&e))?);
        builtins::add(&mut env);
        env.set_formatter(|out, _, value| match value.kind() {
            ValueKind::Undefined => Ok(()),
            ValueKind::String => out.write_str(value.as_str().unwrap_or_default()).map_err(Error::from),
            _ => {
                bounded(value, 0, &mut PARTS.clone())?;
                out.write_str(&python::to_str(value)).map_err(Error::from)
            }
        });
        env.add_function("raise_exception", |message: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        let now = conversation.now.or(self.today);
        env.add_function("strftime_now", move |format: &str| -> Result<String, Error> {
            let now = now.unwrap_or_else(|| Local::now().naive_local());
            let mut text = String::new();
            let unknown = |_| Error::new(ErrorKind::InvalidOperation, format!("strftime_now cannot write `{format}`"));
            write!(text, "{}", now.format(format)).map_err(unknown)?;
            Ok(text)
        });
        env.add_filter("rlar_generation", |text: &str| format!("{OPEN}{text}{CLOSE}"));
        let source = source::rewritten(&self.source);
        let template = env.template_from_str(&source).map_err(|e| wrong(&e))?;

        let mut variables = conversation.variables.clone();
        variables.insert("messages".into(), conversation.messages.clone().into());
        let tools = if conversation.tools.is_empty() { json!(null) } else { conversation.tools.clone().into() };
        variables.insert("tools".into(), tools);
        variables.insert("documents".into(), json!(null));
        variables.insert("add_generation_prompt".into(), conversation.generation.into());
        for (name, token) in &self.tokens {
            variables.insert(name.clone(), token.clone().into());
        }
        let text = template.render(Serde(&variables)).map_err(|e| wrong(&e))?;
        Ok(unmarked(&text))
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
