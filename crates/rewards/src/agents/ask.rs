//! One question to a language model: asked, read, and asked again where the answer is of no use.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rlar_net::llm::{ChatMessage, ChatReply, ChatRequest, Function, Llm, LlmError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::agents::fence::clip;

/// How often an answer may be repaired.
const REPAIRS: u32 = 2;

/// Characters of a bad answer that the model is shown again.
const SHOWN: usize = 4000;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The job: `classify`, `retrieve`, `synthesise` or `select`.
    pub role: &'static str,
    /// The version of its prompt.
    pub template: &'static str,
    /// What it is about.
    pub task: String,
    /// How many questions about it came before.
    pub asked: u32,
    /// Standing instructions, then the question.
    pub said: [String; 2],
    /// What was answered before, and what was wrong with it.
    pub earlier: Vec<[String; 2]>,
    /// Longest answer, in tokens.
    pub max_tokens: u32,
    /// The form of the answer, as a JSON schema.
    pub schema: Option<Value>,
    /// Functions that the answer may call.
    pub functions: Vec<Function>,
}

impl Question {
    fn request(&self, attempt: u32) -> ChatRequest {
        let message = |role: &str, content: &str| ChatMessage { role: role.to_owned(), content: content.to_owned() };
        let [system, user] = &self.said;
        let mut messages = vec![message("system", system), message("user", user)];
        for [answer, wrong] in &self.earlier {
            messages.push(message("assistant", answer));
            messages.push(message("user", wrong));
        }
        ChatRequest {
            role: self.role.to_owned(),
            template: self.template.to_owned(),
            task: self.task.clone(),
            attempt,
            messages,
            max_tokens: self.max_tokens,
            temperature: 0.0,
            schema: self.schema.clone(),
            tools: self.functions.clone(),
        }
    }
}

/// An answer that was read, and how many questions it took.
#[derive(Clone, Debug)]
pub struct Answer<T> {
    /// What was read.
    pub value: T,
    /// The answer as it was given.
    pub text: String,
    /// Questions asked about the same thing so far.
    pub asked: u32,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// Nobody answered: what happened to the connection or the budget. Another time somebody may.
    #[error("{0}")]
    Silence(String),
    /// No answer can be used: why the last cannot.
    #[error("no usable answer in {tries} tries; the last: {0}", tries = REPAIRS + 1)]
    Useless(String),
}

/// Questions of one role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Questions, repairs included.
    pub asked: u64,
    /// Questions that asked to repair an answer.
    pub repairs: u64,
    /// Answers that the builtin agent had to give.
    pub fallbacks: u64,
    /// Tokens of questions and answers.
    pub tokens: u64,
}

/// Questions by role.
pub type Tally = BTreeMap<String, Counts>;

/// Asks a language model, and counts.
#[derive(Clone, Debug)]
pub struct Asker {
    llm: Arc<dyn Llm>,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    tally: Tally,
    /// Why nothing more is asked.
    ended: Option<String>,
}

impl Asker {
    /// An asker of a model.
    pub fn new(llm: Arc<dyn Llm>) -> Self {
        Self { llm, shared: Arc::default() }
    }

    /// Who is asked.
    pub fn llm(&self) -> Arc<dyn Llm> {
        self.llm.clone()
    }

    /// Who answers.
    pub fn name(&self) -> String {
        self.llm.name()
    }

    /// What was asked so far.
    pub fn tally(&self) -> Tally {
        self.shared().tally.clone()
    }

    /// Counts an answer that the builtin agent had to give.
    pub fn fell_back(&self, role: &str) {
        self.shared().tally.entry(role.to_owned()).or_default().fallbacks += 1;
    }

    /// Asks and reads the answer. One that `read` refuses is shown to the model with the reason, at most twice.
    pub fn ask<T>(
        &self,
        mut question: Question,
        read: impl Fn(&ChatReply) -> Result<T, String>,
    ) -> Result<Answer<T>, NoAnswer> {
        let mut wrong = String::new();
        for repair in 0..=REPAIRS {
            if let Some(why) = self.shared().ended.clone() {
                return Err(NoAnswer::Silence(why));
            }
            let reply = self.llm.chat(&question.request(question.asked)).map_err(|e| {
                if matches!(e, LlmError::Budget(_)) {
                    self.shared().ended = Some(e.to_string());
                }
                NoAnswer::Silence(e.to_string())
            })?;
            question.asked += 1;
            self.count(question.role, repair > 0, &reply);
            let text = shown(&reply);
            match read(&reply) {
                Ok(value) => return Ok(Answer { value, text, asked: question.asked }),
                Err(mut why) => {
                    if reply.finish == "length" {
                        let tokens = question.max_tokens;
                        why = format!("{why}; it was cut off after {tokens} tokens, so be shorter");
                    }
                    let again =
                        format!("This answer cannot be used: {why}. Answer again, in the form that was asked for.");
                    question.earlier.push([clip(&text, SHOWN), again]);
                    wrong = why;
                }
            }
        }
        Err(NoAnswer::Useless(wrong))
    }

    fn count(&self, role: &str, is_repair: bool, reply: &ChatReply) {
        let mut shared = self.shared();
        let counts = shared.tally.entry(role.to_owned()).or_default();
        counts.asked += 1;
        counts.repairs += u64::from(is_repair);
        counts.tokens += reply.prompt_tokens + reply.completion_tokens;
    }

    fn shared(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a model said, for the model.
fn shown(reply: &ChatReply) -> String {
    let calls = reply.calls.iter().map(|c| format!("{}({})", c.name, c.arguments));
    std::iter::once(reply.text.clone()).filter(|t| !t.is_empty()).chain(calls).collect::<Vec<_>>().join("\n")
}

/// The fenced blocks of a text: what stands behind the opening fence, and the block. Fences are lines: a program may speak
/// of them.
pub fn blocks(text: &str) -> Vec<(&str, &str)> {
    let mut blocks = Vec::new();
    let (mut open, mut at) = (None, 0);
    for line in text.split_inclusive('\n') {
        let (start, trimmed) = (at, line.trim());
        at += line.len();
        match (open, trimmed.strip_prefix("```")) {
            (None, Some(language)) => open = Some((language.trim(), at)),
            (Some((language, begin)), Some("")) => {
                blocks.push((language, &text[begin..start]));
                open = None;
            }
            _ => {}
        }
    }
    blocks
}

/// The one JSON object that an answer is, or that its one block holds.
pub fn object(text: &str) -> Result<Map<String, Value>, String> {
    let found = blocks(text);
    let inner = match &found[..] {
        [] => text.trim(),
        [(_, block)] => block.trim(),
        _ => return Err("it has several blocks where one JSON object is wanted".into()),
    };
    bare_object(inner)
}

/// The JSON object that a text is, with nothing around it.
pub fn bare_object(text: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err("it is JSON, but not an object".into()),
        Err(e) => Err(format!("it is not one JSON object ({e})")),
    }
}

/// A list of texts, each of at most `longest` characters.
pub fn texts(value: Option<&Value>, name: &str, longest: usize) -> Result<Vec<String>, String> {
    let list = value.and_then(Value::as_array).ok_or_else(|| format!("`{name}` must be a list"))?;
    let text =
        |v: &Value| v.as_str().map(|s| s.trim().to_owned()).filter(|s| !s.is_empty() && s.chars().count() <= longest);
    let texts: Option<Vec<String>> = list.iter().map(text).collect();
    texts.ok_or_else(|| format!("`{name}` must hold texts of at most {longest} characters"))
}

/// A text of at most `longest` characters.
pub fn text(fields: &Map<String, Value>, name: &str, longest: usize) -> Result<String, String> {
    let text = fields.get(name).and_then(Value::as_str).map(str::trim).unwrap_or_default();
    let fits = !text.is_empty() && text.chars().count() <= longest;
    fits.then(|| text.to_owned()).ok_or_else(|| format!("`{name}` must be a text of at most {longest} characters"))
}
