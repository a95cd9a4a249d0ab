//! A log of every exchange with a language model.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use chrono::{SecondsFormat, Utc};
use serde::Serialize;
use serde_json::Value;

use crate::llm::{ChatMessage, ChatProgress, ChatReply, ChatRequest, Llm, LlmError, Secret};

/// Passes requests to another model and logs every exchange, including failed ones, in a JSONL file for people and
/// their programs.
///
/// A line has `time` (when the request was sent: RFC 3339, UTC), `model`, the request's `role`, `template`, `task`,
/// `attempt` and `messages`, `reply` (a [`ChatReply`] with its token counts) or `error` (a text), and `seconds` (how
/// long the exchange took). Each line is appended in one write, so that threads and processes can share a file. If the
/// log cannot be written, one warning is given and chats continue. The file grows without bound unless it is
/// [`LlmLog::bounded`].
#[derive(Debug)]
pub struct LlmLog {
    inner: Arc<dyn Llm>,
    path: PathBuf,
    secrets: Vec<Secret>,
    file: Mutex<LogFile>,
}

#[derive(Debug)]
struct LogFile {
    file: File,
    path: PathBuf,
    /// Size of the file in bytes, as far as this process has written it.
    length: u64,
    /// Size that the file may have; `None` for any.
    limit: Option<u64>,
    /// Whether the last line of the file lacks its line break, because a write failed in between.
    is_torn: bool,
    /// Whether a warning about a failed write was given.
    has_warned: bool,
}

#[derive(Serialize)]
struct LogLine<'a> {
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

impl LlmLog {
    /// Opens the file to append to it, or creates it. `inner` is the model that answers. [`LlmError::Io`] if the file
    /// cannot be opened.
    pub fn new(inner: Arc<dyn Llm>, path: &Path) -> Result<Self, LlmError> {
        let file = Mutex::new(LogFile::open(path).map_err(LlmError::io(path))?);
        Ok(Self { inner, path: path.to_owned(), secrets: Vec::new(), file })
    }

    /// Replaces these secrets by `[secret]` in everything that is logged. Errors never contain the server's API key,
    /// but messages and replies might, so pass the key here too.
    pub fn redacting(mut self, secrets: Vec<Secret>) -> Self {
        self.secrets = secrets;
        // Longer secrets are replaced first: if a shorter one is a part of a longer one, the rest of the longer one
        // would stay visible.
        self.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.reveal().len()));
        self
    }

    /// Bounds the log: a file that would become larger than `limit` bytes is renamed to `NAME-before.EXTENSION`, in the place
    /// of an earlier one, and the next line begins a new file. A line that is larger has a file of its own. A bounded log must
    /// have one writer.
    pub fn bounded(self, limit: u64) -> Self {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).limit = Some(limit);
        self
    }

    fn write(&self, line: &LogLine) {
        let line = serde_json::to_value(line).map_err(Error::from).map(|mut line| {
            redact(&mut line, &self.secrets);
            line.to_string()
        });
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let written = line.and_then(|line| file.append(&line));
        if let (Err(e), false) = (written, file.has_warned) {
            file.has_warned = true;
            tracing::warn!("{}: {e}; exchanges are missing in this log", self.path.display());
        }
    }
}

impl LogFile {
    fn open(path: &Path) -> std::io::Result<Self> {
        let file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        let (length, mut last) = (file.metadata()?.len(), [b'\n']);
        if length > 0 {
            file.read_at(&mut last, length - 1)?;
        }
        let is_torn = last != [b'\n'];
        Ok(Self { file, path: path.to_owned(), length, limit: None, is_torn, has_warned: false })
    }

    /// Begins a new file if a line of `bytes` bytes does not fit into this one.
    fn make_room(&mut self, bytes: u64) -> std::io::Result<()> {
        let Some(limit) = self.limit.filter(|limit| self.length > 0 && self.length + bytes > *limit) else {
            return Ok(());
        };
        std::fs::rename(&self.path, before(&self.path))?;
        *self = Self { limit: Some(limit), has_warned: self.has_warned, ..Self::open(&self.path)? };
        Ok(())
    }

    /// Appends a line to the file in one write, which no other writer can split.
    fn append(&mut self, line: &str) -> std::io::Result<()> {
        self.make_room(line.len() as u64 + 1)?;
        let begin = if self.is_torn { "\n" } else { "" };
        let bytes = format!("{begin}{line}\n").into_bytes();
        let n = loop {
            match self.file.write(&bytes) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                n => break n?,
            }
        };
        if n > 0 {
            self.is_torn = n < bytes.len();
            self.length += n as u64;
        }
        if n < bytes.len() { Err(Error::new(ErrorKind::StorageFull, "a line did not fit")) } else { Ok(()) }
    }
}

/// The path of the file that was full before: `NAME-before.EXTENSION`.
fn before(path: &Path) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push("-before");
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// Replaces secrets in all strings of a JSON value, also where a string itself contains JSON.
fn redact(value: &mut Value, secrets: &[Secret]) {
    match value {
        Value::String(text) => {
            for secret in secrets {
                *text = secret.redact(text);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| redact(item, secrets)),
        Value::Object(fields) => fields.values_mut().for_each(|field| redact(field, secrets)),
        _ => {}
    }
}

impl Llm for LlmLog {
    fn chat(&self, request: &ChatRequest) -> Result<ChatReply, LlmError> {
        self.chat_with_progress(request, &mut |_| {})
    }

    fn chat_with_progress(
        &self,
        request: &ChatRequest,
        on_progress: &mut dyn FnMut(ChatProgress),
    ) -> Result<ChatReply, LlmError> {
        let (time, began) = (Utc::now(), Instant::now());
        let reply = self.inner.chat_with_progress(request, on_progress);
        let line = LogLine {
            time: time.to_rfc3339_opts(SecondsFormat::Millis, true),
            model: self.inner.name(),
            role: &request.role,
            template: &request.template,
            task: &request.task,
            attempt: request.attempt,
            messages: &request.messages,
            reply: reply.as_ref().ok(),
            error: reply.as_ref().err().map(ToString::to_string),
            seconds: began.elapsed().as_secs_f64(),
        };
        self.write(&line);
        reply
    }

    fn context(&self) -> Option<u64> {
        self.inner.context()
    }

    fn concurrency(&self) -> usize {
        self.inner.concurrency()
    }

    fn name(&self) -> String {
        self.inner.name()
    }
}
