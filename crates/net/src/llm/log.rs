//! A log of every exchange.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use chrono::{SecondsFormat, Utc};
use serde::Serialize;
use serde_json::Value;

use crate::llm::{ChatMessage, ChatReply, ChatRequest, Llm, LlmError, Secret};

/// Asks another model and appends every exchange, failed ones included, to a JSONL file for people and their tools.
///
/// A line has `time` (when it was asked, RFC 3339, UTC), `model`, `role`, `template`, `task`, `attempt` and `messages`
/// of the request, `reply` (a [`ChatReply`], with its tokens) or `error` (a text), and `seconds`. Each is appended in
/// one write: threads and processes may share a file. A log that cannot be written is warned of once and fails no chat.
#[derive(Debug)]
pub struct Log {
    inner: Arc<dyn Llm>,
    path: PathBuf,
    secrets: Vec<Secret>,
    end: Mutex<End>,
}

/// The file's end, as far as this process knows.
#[derive(Debug)]
struct End {
    file: File,
    /// The last line lacks its end.
    torn: bool,
    warned: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    model: String,
    role: &'a str,
    template: &'a str,
    task: &'a str,
    attempt: u32,
    messages: &'a [ChatMessage],
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<&'a ChatReply>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    seconds: f64,
}

impl Log {
    /// Opens or creates a file; one that cannot be opened is [`LlmError::Io`]. What it holds stays as it is.
    pub fn new(inner: Arc<dyn Llm>, path: &Path) -> Result<Self, LlmError> {
        let open = || {
            let file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
            let (length, mut last) = (file.metadata()?.len(), [b'\n']);
            if length > 0 {
                file.read_at(&mut last, length - 1)?;
            }
            Ok(End { file, torn: last != [b'\n'], warned: false })
        };
        let end = Mutex::new(open().map_err(LlmError::io(path))?);
        Ok(Self { inner, path: path.to_owned(), secrets: Vec::new(), end })
    }

    /// Takes secrets out of all that is written, wherever somebody said them. Errors never hold the server's key; messages
    /// and replies might, so name it here too.
    pub fn without(mut self, secrets: Vec<Secret>) -> Self {
        self.secrets = secrets;
        // One that holds another goes first: the other's place in it would leave the rest.
        self.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.reveal().len()));
        self
    }

    fn write(&self, line: &Line) {
        let line = serde_json::to_value(line).map_err(Error::from).map(|mut line| {
            redact(&mut line, &self.secrets);
            line.to_string()
        });
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let written = line.and_then(|line| end.append(&line));
        if let (Err(e), false) = (written, end.warned) {
            end.warned = true;
            tracing::warn!("{}: {e}; exchanges are missing in this log", self.path.display());
        }
    }
}

impl End {
    /// Appends a line in one write: the system lets no other writer between its bytes.
    fn append(&mut self, line: &str) -> std::io::Result<()> {
        let begin = if self.torn { "\n" } else { "" };
        let bytes = format!("{begin}{line}\n").into_bytes();
        let n = loop {
            match self.file.write(&bytes) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                n => break n?,
            }
        };
        if n > 0 {
            self.torn = n < bytes.len();
        }
        if n < bytes.len() { Err(Error::new(ErrorKind::StorageFull, "a line did not fit")) } else { Ok(()) }
    }
}

/// Takes secrets out of all texts in a value, also where a text is itself JSON.
fn redact(value: &mut Value, secrets: &[Secret]) {
    match value {
        Value::String(text) => {
            for secret in secrets {
                *text = secret.taken_out(text);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| redact(item, secrets)),
        Value::Object(fields) => fields.values_mut().for_each(|field| redact(field, secrets)),
        _ => {}
    }
}

impl Llm for Log {
    fn chat(&self, request: &ChatRequest) -> Result<ChatReply, LlmError> {
        let (time, began) = (Utc::now(), Instant::now());
        let answer = self.inner.chat(request);
        let line = Line {
            time: time.to_rfc3339_opts(SecondsFormat::Millis, true),
            model: self.inner.name(),
            role: &request.role,
            template: &request.template,
            task: &request.task,
            attempt: request.attempt,
            messages: &request.messages,
            reply: answer.as_ref().ok(),
            error: answer.as_ref().err().map(ToString::to_string),
            seconds: began.elapsed().as_secs_f64(),
        };
        self.write(&line);
        answer
    }

    fn concurrency(&self) -> usize {
        self.inner.concurrency()
    }

    fn name(&self) -> String {
        self.inner.name()
    }
}
