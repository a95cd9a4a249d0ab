//! Answers chat requests from recorded exchanges, without a network.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::hex::hex;
use crate::llm::chat::normalized;
use crate::llm::exchange::{LocatedExchange, read};
use crate::llm::{ChatReply, ChatRequest, Llm, LlmError};

/// Answers requests with recorded replies. A request that was not recorded gives [`LlmError::Replay`]. The name of a
/// replay, as a model, contains a hash of the recording, so that different recordings have different names.
#[derive(Debug)]
pub struct Replay {
    path: PathBuf,
    exchanges: Vec<LocatedExchange>,
    /// For each [`ChatRequest::key`], the index of the exchange in `exchanges`.
    by_key: HashMap<String, usize>,
    name: String,
    context: Option<u64>,
}

impl Replay {
    /// Reads a recording: a JSONL file of objects with `request` and `reply`, or a YAML list of such objects (`.yaml`,
    /// `.yml`). [`LlmError::Replay`] if an entry is invalid or if two entries give different replies to the same
    /// request.
    ///
    /// An entry without `messages` is scripted: it was written by a person. A scripted entry answers every request that
    /// has the same role, template, task and attempt and that no entry with messages answers.
    pub fn load(path: &Path) -> Result<Self, LlmError> {
        let text = std::fs::read_to_string(path).map_err(LlmError::io(path))?;
        Self::parse(path, &text)
    }

    /// Parses a recording like [`Replay::load`], from a text. The file at `path` is not opened: the extension of the
    /// path decides between JSONL and YAML, and the path appears in error messages.
    pub fn parse(path: &Path, text: &str) -> Result<Self, LlmError> {
        let mut exchanges: Vec<LocatedExchange> = Vec::new();
        let mut by_key: HashMap<String, usize> = HashMap::new();
        for located in read(path, text)? {
            let key = located.exchange.request.key();
            if let Some(first) = by_key.get(&key).map(|index| &exchanges[*index]) {
                if !is_same_reply(&first.exchange.reply, &located.exchange.reply) {
                    let message = format!(
                        "{}: {}: {} has another reply than in {}; remove one",
                        path.display(),
                        located.position,
                        identity(&located.exchange.request),
                        first.position
                    );
                    return Err(LlmError::Replay { message });
                }
                continue;
            }
            by_key.insert(key, exchanges.len());
            exchanges.push(located);
        }
        let name = name(&exchanges, &by_key);
        Ok(Self { path: path.to_owned(), exchanges, by_key, name, context: None })
    }

    /// Sets the context length, in tokens, of the model whose exchanges were recorded, so that prompts are fitted to
    /// the same length as in the recording; `None` if it is unknown.
    pub fn with_context(self, context: Option<u64>) -> Self {
        Self { context, ..self }
    }

    /// The number of different requests in the recording.
    pub fn len(&self) -> usize {
        self.exchanges.len()
    }

    /// Whether the recording contains no request.
    pub fn is_empty(&self) -> bool {
        self.exchanges.is_empty()
    }

    /// Drops the replies of all models other than `model`; replies without a model's name stay.
    pub(crate) fn of_model(mut self, model: &str) -> Self {
        self.by_key.retain(|_, index| self.exchanges[*index].exchange.model.as_ref().is_none_or(|m| m == model));
        self
    }

    /// The recorded or scripted reply to a request; `None` if there is none.
    pub(crate) fn find(&self, request: &ChatRequest) -> Option<ChatReply> {
        let scripted = || self.by_key.get(&request.without_messages().key());
        let index = self.by_key.get(&request.key()).or_else(scripted)?;
        self.exchanges.get(*index).map(|located| located.exchange.reply.clone())
    }

    /// The error for a request that was not recorded. The message shows how the most similar recorded request differs.
    fn not_recorded(&self, request: &ChatRequest) -> LlmError {
        let miss = format!("{}: no reply was recorded for {}", self.path.display(), identity(request));
        let similarity = |known: &ChatRequest| {
            let same = (known.role == request.role, known.template == request.template, known.task == request.task);
            (same, common_prefix(known, request), known.attempt == request.attempt)
        };
        let nearest = self.exchanges.iter().min_by_key(|located| Reverse(similarity(&located.exchange.request)));
        let message = match nearest {
            Some(LocatedExchange { position, exchange }) => {
                format!("{miss}; the nearest, {position}, differs in {}", differences(&exchange.request, request))
            }
            None => format!("{miss}: the file is empty"),
        };
        LlmError::Replay { message }
    }
}

impl Llm for Replay {
    fn chat(&self, request: &ChatRequest) -> Result<ChatReply, LlmError> {
        self.find(request).ok_or_else(|| self.not_recorded(request))
    }

    fn context(&self) -> Option<u64> {
        self.context
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

/// Whether two replies are equal apart from their token counts, which may differ between servers.
fn is_same_reply(a: &ChatReply, b: &ChatReply) -> bool {
    (&a.text, &a.finish, &a.calls) == (&b.text, &b.finish, &b.calls)
}

/// The name of a recording: `replay-` and the first 16 hexadecimal digits of a SHA-256 of all keys and replies.
fn name(exchanges: &[LocatedExchange], by_key: &HashMap<String, usize>) -> String {
    let mut replies: Vec<(&String, &ChatReply)> =
        by_key.iter().map(|(key, index)| (key, &exchanges[*index].exchange.reply)).collect();
    replies.sort_by_key(|(key, _)| *key);
    let mut hash = Sha256::new();
    for (key, reply) in replies {
        hash.update(format!("{key} {:?} {:?}", reply.text, reply.finish));
        for call in &reply.calls {
            hash.update(format!(" {:?} {:?}", call.name, call.arguments));
        }
        hash.update("\n");
    }
    format!("replay-{}", &hex(&hash.finalize())[..16])
}

/// What identifies a request apart from its messages, as a text for error messages.
fn identity(request: &ChatRequest) -> String {
    let ChatRequest { role, template, task, attempt, .. } = request;
    format!("role {role:?}, template {template:?}, task {task:?}, attempt {attempt}")
}

/// The messages of a request as texts, each of which begins with the author's role.
fn message_texts(request: &ChatRequest) -> Vec<String> {
    request.messages.iter().map(|m| format!("{}: {}", m.role, normalized(&m.content))).collect()
}

/// The number of characters at the beginning of two texts that are equal.
fn common_chars(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count()
}

/// The number of characters at the beginning of two chats that are equal.
fn common_prefix(a: &ChatRequest, b: &ChatRequest) -> usize {
    let mut sum = 0;
    for (a, b) in message_texts(a).iter().zip(&message_texts(b)) {
        sum += common_chars(a, b);
        if a != b {
            break;
        }
    }
    sum
}

/// How a request differs from a recorded one, as a text for an error message.
fn differences(recorded: &ChatRequest, request: &ChatRequest) -> String {
    let mut out = Vec::new();
    let mut compare = |what: &str, recorded: &str, requested: &str| {
        if recorded != requested {
            out.push(format!("{what} (recorded {recorded:?})"));
        }
    };
    compare("role", &recorded.role, &request.role);
    compare("template", &recorded.template, &request.template);
    compare("task", &recorded.task, &request.task);
    compare("attempt", &recorded.attempt.to_string(), &request.attempt.to_string());
    let (recorded, requested) = (message_texts(recorded), message_texts(request));
    if let Some(index) = recorded.iter().zip(&requested).position(|(a, b)| a != b) {
        let from = common_chars(&recorded[index], &requested[index]);
        let (recorded, requested) = (excerpt(&recorded[index], from), excerpt(&requested[index], from));
        out.push(format!("message {} (recorded {recorded:?}, requested {requested:?})", index + 1));
    } else if recorded.len() != requested.len() {
        let (recorded, requested) = (recorded.len(), requested.len());
        out.push(format!("the number of messages (recorded {recorded}, requested {requested})"));
    }
    out.join(", ")
}

/// At most 60 characters of a text, beginning 20 characters before the character at index `from`.
fn excerpt(text: &str, from: usize) -> String {
    let begin = from.saturating_sub(20);
    let rest = text.chars().skip(begin);
    let cut: String = rest.clone().take(60).collect();
    let (before, after) = (if begin > 0 { "…" } else { "" }, if rest.count() > 60 { "…" } else { "" });
    format!("{before}{cut}{after}")
}
