//! Asking nothing twice.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::llm::{ChatReply, ChatRequest, Llm, LlmError, Record, Replay};

/// Answers what a file of recordings answers, as it was told by the same model, and asks that model the rest, which the file answers from then on: work
/// that was interrupted goes on without paying again. A remembered answer counts no tokens.
#[derive(Debug)]
pub struct Memo {
    known: Replay,
    record: Record,
    /// Replies since the file was opened, by [`ChatRequest::key`].
    fresh: Mutex<HashMap<String, ChatReply>>,
}

impl Memo {
    /// Opens or creates the file (JSONL).
    pub fn new(inner: Arc<dyn Llm>, path: &Path) -> Result<Self, LlmError> {
        // Opening for recording mends a line that was cut short.
        let record = Record::new(inner, path)?;
        let known = Replay::load(path)?.of(&record.name());
        Ok(Self { known, record, fresh: Mutex::default() })
    }
}

impl Llm for Memo {
    fn chat(&self, request: &ChatRequest) -> Result<ChatReply, LlmError> {
        let fresh = || self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        let key = request.key();
        if let Some(known) = self.known.answer(request).or_else(|| fresh().get(&key).cloned()) {
            // It was paid for before.
            return Ok(ChatReply { prompt_tokens: 0, completion_tokens: 0, ..known });
        }
        let reply = self.record.chat(request)?;
        fresh().insert(key, reply.clone());
        Ok(reply)
    }

    fn concurrency(&self) -> usize {
        self.record.concurrency()
    }

    fn name(&self) -> String {
        self.record.name()
    }
}
