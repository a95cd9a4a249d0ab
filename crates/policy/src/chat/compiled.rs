//! A chat template, compiled once and rendered for many conversations.

use std::cell::RefCell;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{Local, NaiveDateTime};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, ValueKind};
use minijinja::{Environment, Error, ErrorKind};
use serde_json::{Value, json};

use super::{CLOSE, ChatTemplate, Conversation, OPEN, PARTS, Rendered, bounded, builtins, python, source, unmarked};
use crate::error::PolicyError;

/// Largest number of steps that rendering a template may take.
const FUEL: u64 = 50_000_000;
/// Largest size of a template, in bytes.
const LONGEST: usize = 1 << 16;
/// The name of a template in messages; that of `minijinja` for a template without a file.
const NAME: &str = "<string>";

thread_local! {
    /// The template that this thread rendered last.
    static LAST: RefCell<Option<CompiledTemplate>> = const { RefCell::new(None) };
}

/// A compiled chat template.
struct CompiledTemplate {
    source: String,
    environment: Environment<'static>,
    /// The time that `strftime_now` writes in the rendering that runs; `None`: the current time.
    now: Arc<Mutex<Option<NaiveDateTime>>>,
}

/// Renders a conversation on this thread, which must have a large stack. The template is compiled unless it is the one
/// that the thread rendered last.
pub(super) fn render_compiled(template: &ChatTemplate, conversation: &Conversation) -> Result<Rendered, PolicyError> {
    // A template that makes the engine panic spoils its own rendering only.
    let rendered = catch_unwind(AssertUnwindSafe(|| {
        LAST.with_borrow_mut(|last| {
            let known = last.take().filter(|known| known.source == template.source);
            let compiled = known.map_or_else(|| CompiledTemplate::new(&template.source), Ok)?;
            let rendered = compiled.render(template, conversation);
            *last = Some(compiled);
            rendered
        })
    }));
    rendered.unwrap_or_else(|_| Err(refused("rendering it failed")))
}

fn refused(why: &str) -> PolicyError {
    PolicyError::Tokenizer(format!("chat template: {why}"))
}

fn wrong(e: &Error) -> PolicyError {
    // For `raise_exception`, only the template's message is shown; for other errors, also the line in the template.
    let message = match e.kind() {
        ErrorKind::InvalidOperation if e.detail().is_some() => e.detail().unwrap_or_default().to_owned(),
        _ => format!("{e:#}"),
    };
    refused(&message)
}

impl CompiledTemplate {
    fn new(source: &str) -> Result<Self, PolicyError> {
        if source.len() > LONGEST {
            return Err(refused("longer than 64 KB"));
        }
        if source.contains([OPEN, CLOSE]) {
            return Err(refused("it holds U+FDD0 or U+FDD1, which are not characters"));
        }
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        // `transformers` configures Jinja with these two options.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|e| wrong(&e))?);
        builtins::add(&mut environment);
        environment.set_formatter(|out, _, value| match value.kind() {
            ValueKind::Undefined => Ok(()),
            ValueKind::String => out.write_str(value.as_str().unwrap_or_default()).map_err(Error::from),
            _ => {
                bounded(value, 0, &mut PARTS.clone())?;
                out.write_str(&python::to_str(value)).map_err(Error::from)
            }
        });
        environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        let now = Arc::new(Mutex::new(None));
        let written = Arc::clone(&now);
        environment.add_function("strftime_now", move |format: &str| -> Result<String, Error> {
            let pinned: Option<NaiveDateTime> = *written.lock().unwrap_or_else(PoisonError::into_inner);
            let now = pinned.unwrap_or_else(|| Local::now().naive_local());
            let mut text = String::new();
            let unknown = |_| Error::new(ErrorKind::InvalidOperation, format!("strftime_now cannot write `{format}`"));
            write!(text, "{}", now.format(format)).map_err(unknown)?;
            Ok(text)
        });
        environment.add_filter("rlar_generation", |text: &str| format!("{OPEN}{text}{CLOSE}"));
        environment.add_template_owned(NAME, source::rewritten(source)).map_err(|e| wrong(&e))?;
        Ok(Self { source: source.to_owned(), environment, now })
    }

    fn render(&self, template: &ChatTemplate, conversation: &Conversation) -> Result<Rendered, PolicyError> {
        let Conversation { messages, tools, generation, variables, now } = conversation;
        let is_marked_name = variables.keys().any(|name| name.contains([OPEN, CLOSE]));
        if is_marked_name || messages.iter().chain(tools).chain(variables.values()).any(holds_marks) {
            return Err(refused("the conversation holds U+FDD0 or U+FDD1, which are not characters"));
        }
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = now.or(template.today);
        let mut variables = variables.clone();
        variables.insert("messages".into(), messages.clone().into());
        variables.insert("tools".into(), if tools.is_empty() { json!(null) } else { tools.clone().into() });
        variables.insert("documents".into(), json!(null));
        variables.insert("add_generation_prompt".into(), (*generation).into());
        for (name, token) in &template.tokens {
            variables.insert(name.clone(), token.clone().into());
        }
        let compiled = self.environment.get_template(NAME).map_err(|e| wrong(&e))?;
        let text = compiled.render(Serde(&variables)).map_err(|e| wrong(&e))?;
        Ok(unmarked(&text))
    }
}

/// Whether a text within a value has one of the marks that are put around the model's replies.
fn holds_marks(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains([OPEN, CLOSE]),
        Value::Array(list) => list.iter().any(holds_marks),
        Value::Object(object) => object.iter().any(|(key, value)| key.contains([OPEN, CLOSE]) || holds_marks(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
