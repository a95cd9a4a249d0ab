//! A cache of replies in a file.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::llm::{ChatReply, ChatRequest, Llm, LlmError, Record, Replay};

/// Answers from a file of recorded exchanges of the same model, and sends the other requests to that model.
///
/// New exchanges are appended to the file, so that an interrupted job continues without paying again. A cached reply
/// counts no tokens.
#[derive(Debug)]
pub struct LlmCache {
    /// The exchanges that the file had when it was opened.
    recorded: Replay,
    record: Record,
    /// Replies since the file was opened, by [`ChatRequest::key`].
    new_replies: Mutex<HashMap<String, ChatReply>>,
}

impl LlmCache {
    /// Opens or creates the file (JSONL); the errors are those of [`Record::new`] and [`Replay::load`].
    pub fn new(inner: Arc<dyn Llm>, path: &Path) -> Result<Self, LlmError> {
        // `Record` goes first because it repairs a last line that was cut short.
        let record = Record::new(inner, path)?;
        let recorded = Replay::load(path)?.of_model(&record.name());
        Ok(Self { recorded, record, new_replies: Mutex::default() })
    }
}

impl Llm for LlmCache {
    fn chat(&self, request: &ChatRequest) -> Result<ChatReply, LlmError> {
        let new_replies = || self.new_replies.lock().unwrap_or_else(PoisonError::into_inner);
        let key = request.key();
        if let Some(cached) = self.recorded.find(request).or_else(|| new_replies().get(&key).cloned()) {
            // Its tokens were counted when it was first received.
            return Ok(ChatReply { prompt_tokens: 0, completion_tokens: 0, ..cached });
        }
        let reply = self.record.chat(request)?;
        new_replies().insert(key, reply.clone());
        Ok(reply)
    }

    fn concurrency(&self) -> usize {
        self.record.concurrency()
    }

    fn name(&self) -> String {
        self.record.name()
    }
}
