//! Asking nothing twice.

use std::path::Path;
use std::sync::Arc;

use crate::llm::{ChatReply, ChatRequest, Llm, LlmError, Record, Replay};

/// Answers what a file of recordings answers, as it was told by the same model, and asks that model the rest, which the file answers from then on: work
/// that was interrupted goes on without paying again. A remembered answer counts no tokens.
#[derive(Debug)]
pub struct Memo {
    known: Replay,
    record: Record,
}

impl Memo {
    /// Opens or creates the file (JSONL).
    pub fn new(inner: Arc<dyn Llm>, path: &Path) -> Result<Self, LlmError> {
        // Opening for recording mends a line that was cut short.
        let record = Record::new(inner, path)?;
        Ok(Self { known: Replay::load(path)?.of(&record.name()), record })
    }
}

impl Llm for Memo {
    fn chat(&self, request: &ChatRequest) -> Result<ChatReply, LlmError> {
        match self.known.answer(request) {
            // It was paid for before.
            Some(known) => Ok(ChatReply { prompt_tokens: 0, completion_tokens: 0, ..known }),
            None => self.record.chat(request),
        }
    }

    fn concurrency(&self) -> usize {
        self.record.concurrency()
    }

    fn name(&self) -> String {
        self.record.name()
    }
}
