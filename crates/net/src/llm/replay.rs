//! Answers from recordings, without a network.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::llm::exchange::{Placed, read};
use crate::llm::request::{hex, normalized};
use crate::llm::{ChatReply, ChatRequest, Llm, LlmError};

/// Answers what was recorded, and nothing else. Its name changes with its contents.
#[derive(Debug)]
pub struct Replay {
    path: PathBuf,
    exchanges: Vec<Placed>,
    /// Places in `exchanges`, by [`ChatRequest::key`].
    places: HashMap<String, usize>,
    name: String,
}

impl Replay {
    /// Reads recordings: a JSONL file of objects with `request` and `reply`, or a list of them in a file that ends in
    /// `.yaml` or `.yml`. An entry that is wrong, or two replies to one request, are [`LlmError::Replay`].
    ///
    /// An entry without `messages` was scripted, not recorded: it answers every request of its role, template, task and
    /// attempt that no entry with messages answers.
    pub fn load(path: &Path) -> Result<Self, LlmError> {
        let text = std::fs::read_to_string(path).map_err(LlmError::io(path))?;
        Self::parse(path, &text)
    }

    /// The same of a text; the path says what it is, and is for messages.
    pub fn parse(path: &Path, text: &str) -> Result<Self, LlmError> {
        let mut exchanges: Vec<Placed> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for (place, exchange) in read(path, text)? {
            let key = exchange.request.key();
            if let Some((first, known)) = places.get(&key).map(|at| &exchanges[*at]) {
                // Counts of tokens may differ where the words do not.
                let said = |reply: &ChatReply| (reply.text.clone(), reply.finish.clone(), reply.calls.clone());
                if said(&known.reply) != said(&exchange.reply) {
                    let what = identity(&exchange.request);
                    let message =
                        format!("{}: {place}: {what} has another reply than in {first}; remove one", path.display());
                    return Err(LlmError::Replay { message });
                }
                continue;
            }
            places.insert(key, exchanges.len());
            exchanges.push((place, exchange));
        }
        let mut told: Vec<(&String, &ChatReply)> = places.iter().map(|(k, at)| (k, &exchanges[*at].1.reply)).collect();
        told.sort_by_key(|(key, _)| *key);
        let mut hash = Sha256::new();
        for (key, reply) in told {
            hash.update(format!("{key} {:?} {:?}", reply.text, reply.finish));
            for call in &reply.calls {
                hash.update(format!(" {:?} {:?}", call.name, call.arguments));
            }
            hash.update("\n");
        }
        let name = format!("replay-{}", &hex(&hash.finalize())[..16]);
        Ok(Self { path: path.to_owned(), exchanges, places, name })
    }

    /// Requests that have a reply.
    pub fn len(&self) -> usize {
        self.exchanges.len()
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.exchanges.is_empty()
    }

    /// What a model said, or what does not say who said it.
    pub(crate) fn of(mut self, model: &str) -> Self {
        self.places.retain(|_, at| self.exchanges[*at].1.model.as_ref().is_none_or(|m| m == model));
        self
    }

    /// The reply to a request, if there is one.
    pub(crate) fn answer(&self, request: &ChatRequest) -> Option<ChatReply> {
        let scripted = || self.places.get(&request.without_messages().key());
        let place = self.places.get(&request.key()).or_else(scripted)?;
        self.exchanges.get(*place).map(|(_, exchange)| exchange.reply.clone())
    }

    fn miss(&self, request: &ChatRequest) -> LlmError {
        let path = self.path.display();
        let miss = format!("{path}: no reply was recorded for {}", identity(request));
        let nearness = |known: &ChatRequest| {
            let same = (known.role == request.role, known.template == request.template, known.task == request.task);
            (same, common(known, request), known.attempt == request.attempt)
        };
        let nearest = self.exchanges.iter().min_by_key(|(_, e)| Reverse(nearness(&e.request)));
        let message = match nearest {
            Some((place, e)) => {
                format!("{miss}; the nearest, {place}, differs in {}", differences(&e.request, request))
            }
            None => format!("{miss}: the file is empty"),
        };
        LlmError::Replay { message }
    }
}

impl Llm for Replay {
    fn chat(&self, request: &ChatRequest) -> Result<ChatReply, LlmError> {
        self.answer(request).ok_or_else(|| self.miss(request))
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

/// What identifies a request, but for its messages, for people.
fn identity(request: &ChatRequest) -> String {
    let ChatRequest { role, template, task, attempt, .. } = request;
    format!("role {role:?}, template {template:?}, task {task:?}, attempt {attempt}")
}

/// The chat as one text of messages, each begun by its role.
fn flat(request: &ChatRequest) -> Vec<String> {
    request.messages.iter().map(|m| format!("{}: {}", m.role, normalized(&m.content))).collect()
}

/// Characters that two texts begin with alike.
fn alike(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count()
}

/// Characters that two chats begin with alike.
fn common(a: &ChatRequest, b: &ChatRequest) -> usize {
    let mut sum = 0;
    for (a, b) in flat(a).iter().zip(&flat(b)) {
        sum += alike(a, b);
        if a != b {
            break;
        }
    }
    sum
}

/// How a recorded request differs from one that is asked.
fn differences(known: &ChatRequest, asked: &ChatRequest) -> String {
    let mut out = Vec::new();
    let mut compare = |what: &str, known: &str, asked: &str| {
        if known != asked {
            out.push(format!("{what} (recorded {known:?})"));
        }
    };
    compare("role", &known.role, &asked.role);
    compare("template", &known.template, &asked.template);
    compare("task", &known.task, &asked.task);
    compare("attempt", &known.attempt.to_string(), &asked.attempt.to_string());
    let (known, asked) = (flat(known), flat(asked));
    let messages = known.iter().zip(&asked).position(|(k, a)| k != a);
    if let Some(at) = messages {
        let from = alike(&known[at], &asked[at]);
        let (recorded, wanted) = (excerpt(&known[at], from), excerpt(&asked[at], from));
        out.push(format!("message {} (recorded {recorded:?}, asked {wanted:?})", at + 1));
    } else if known.len() != asked.len() {
        out.push(format!("the number of messages (recorded {}, asked {})", known.len(), asked.len()));
    }
    out.join(", ")
}

/// A text around a place, short enough to be read.
fn excerpt(text: &str, from: usize) -> String {
    let begin = from.saturating_sub(20);
    let rest = text.chars().skip(begin);
    let cut: String = rest.clone().take(60).collect();
    let (before, after) = (if begin > 0 { "…" } else { "" }, if rest.count() > 60 { "…" } else { "" });
    format!("{before}{cut}{after}")
}
