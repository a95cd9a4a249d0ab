//! Writes down what was asked and answered.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::llm::exchange::{Exchange, is_yaml, read_jsonl};
use crate::llm::{ChatReply, ChatRequest, Llm, LlmError};

/// Asks another model and appends each exchange to a JSONL file that [`Replay`](crate::llm::Replay) reads. Keys and
/// addresses are not in it.
///
/// A request that the file already holds is asked, but not written again: a replay gives its first reply. Requests that
/// should get different replies need different attempts.
#[derive(Debug)]
pub struct Record {
    inner: Arc<dyn Llm>,
    path: PathBuf,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    file: File,
    /// By [`ChatRequest::key`].
    keys: HashSet<String>,
}

impl Record {
    /// Opens or creates a file. Its last line is dropped if a kill cut it short. A file that is wrong otherwise, or
    /// that another recorder has open, is [`LlmError::Replay`].
    pub fn new(inner: Arc<dyn Llm>, path: &Path) -> Result<Self, LlmError> {
        let io = || LlmError::io(path);
        if is_yaml(path) {
            let message = format!("{}: recordings are JSONL; choose another ending", path.display());
            return Err(LlmError::Replay { message });
        }
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path).map_err(io())?;
        // Two would record different replies to the same request. Where a file system has no locks, trust its user.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            let message = format!("{} is being recorded into by another; choose another file", path.display());
            return Err(LlmError::Replay { message });
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(io())?;
        let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        if serde_json::from_slice::<Exchange>(&text[whole..]).is_ok() {
            // An editor left out the last line's end.
            file.write_all(b"\n").map_err(io())?;
        } else if whole < text.len() {
            tracing::warn!("{}: dropping the last line, which is cut short", path.display());
            file.set_len(whole as u64).map_err(io())?;
            text.truncate(whole);
        }
        let text = String::from_utf8(text).map_err(|e| io()(std::io::Error::other(e)))?;
        let keys = read_jsonl(path, &text)?.iter().map(|(_, e)| e.request.key()).collect();
        Ok(Self { inner, path: path.to_owned(), written: Mutex::new(Written { file, keys }) })
    }

    /// Appends an exchange, in one write, unless its request is there.
    fn write(&self, exchange: &Exchange) -> std::io::Result<()> {
        let key = exchange.request.key();
        let mut line = serde_json::to_vec(exchange)?;
        line.push(b'\n');
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.keys.contains(&key) {
            return Ok(());
        }
        let before = written.file.metadata()?.len();
        if let Err(e) = written.file.write_all(&line) {
            // What did fit must not stand before the next line.
            let _ = written.file.set_len(before);
            return Err(e);
        }
        written.keys.insert(key);
        Ok(())
    }
}

impl Llm for Record {
    fn chat(&self, request: &ChatRequest) -> Result<ChatReply, LlmError> {
        let reply = self.inner.chat(request)?;
        let exchange = Exchange { request: request.clone(), reply: reply.clone(), model: Some(self.inner.name()) };
        self.write(&exchange).map_err(LlmError::io(&self.path))?;
        Ok(reply)
    }

    fn concurrency(&self) -> usize {
        self.inner.concurrency()
    }

    fn name(&self) -> String {
        self.inner.name()
    }
}
