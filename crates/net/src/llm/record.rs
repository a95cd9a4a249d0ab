//! Records the exchanges with a language model in a file.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::llm::exchange::{Exchange, is_yaml, read_jsonl};
use crate::llm::{ChatProgress, ChatReply, ChatRequest, Llm, LlmError};

/// Passes requests to another model and appends each exchange to a JSONL file that [`Replay`](crate::llm::Replay) can
/// read. The file contains no API key and no address with a password.
///
/// A request that is already in the file is sent again, but its new reply is not recorded: a replay gives the first
/// reply.
#[derive(Debug)]
pub struct Record {
    inner: Arc<dyn Llm>,
    path: PathBuf,
    recording: Mutex<Recording>,
}

#[derive(Debug)]
struct Recording {
    file: File,
    /// The requests in the file, by [`ChatRequest::key`].
    keys: HashSet<String>,
}

impl Record {
    /// Opens or creates the file. A last line that is incomplete, because the process was killed, is removed.
    /// [`LlmError::Replay`] if the file is otherwise invalid or is named like YAML, or if another recorder has the file
    /// open.
    pub fn new(inner: Arc<dyn Llm>, path: &Path) -> Result<Self, LlmError> {
        let io = || LlmError::io(path);
        if is_yaml(path) {
            let message = format!("{}: recordings are JSONL; choose another extension", path.display());
            return Err(LlmError::Replay { message });
        }
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path).map_err(io())?;
        // Two recorders would record different replies to the same request. On a file system without locks, locking
        // gives another error, which is ignored: there the user must not record into one file twice at the same time.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            let message = format!("{} is being recorded into by another recorder; choose another file", path.display());
            return Err(LlmError::Replay { message });
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(io())?;
        let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |index| index + 1);
        if serde_json::from_slice::<Exchange>(&text[whole..]).is_ok() {
            // The last line is complete, but its line break is missing, as some editors write it.
            file.write_all(b"\n").map_err(io())?;
        } else if whole < text.len() {
            tracing::warn!("{}: removing the last line, which is cut short", path.display());
            file.set_len(whole as u64).map_err(io())?;
            text.truncate(whole);
        }
        let text = String::from_utf8(text).map_err(|e| io()(std::io::Error::other(e)))?;
        let keys = read_jsonl(path, &text)?.iter().map(|located| located.exchange.request.key()).collect();
        Ok(Self { inner, path: path.to_owned(), recording: Mutex::new(Recording { file, keys }) })
    }

    /// Appends an exchange to the file in one write, unless the file already contains its request.
    fn append(&self, exchange: &Exchange) -> std::io::Result<()> {
        let key = exchange.request.key();
        let mut line = serde_json::to_vec(exchange)?;
        line.push(b'\n');
        let mut recording = self.recording.lock().unwrap_or_else(PoisonError::into_inner);
        if recording.keys.contains(&key) {
            return Ok(());
        }
        let before = recording.file.metadata()?.len();
        if let Err(e) = recording.file.write_all(&line) {
            // Removes the part of the line that was written, because the next line would be appended to it.
            let _ = recording.file.set_len(before);
            return Err(e);
        }
        recording.keys.insert(key);
        Ok(())
    }
}

impl Llm for Record {
    fn chat(&self, request: &ChatRequest) -> Result<ChatReply, LlmError> {
        self.chat_with_progress(request, &mut |_| {})
    }

    fn chat_with_progress(
        &self,
        request: &ChatRequest,
        on_progress: &mut dyn FnMut(ChatProgress),
    ) -> Result<ChatReply, LlmError> {
        let reply = self.inner.chat_with_progress(request, on_progress)?;
        let exchange = Exchange { request: request.clone(), reply: reply.clone(), model: Some(self.inner.name()) };
        self.append(&exchange).map_err(LlmError::io(&self.path))?;
        Ok(reply)
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
