//! A cache of a language model's replies in a file.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::llm::{ChatProgress, ChatReply, ChatRequest, Llm, LlmError, Record, Replay};

/// Answers a request from a file of recorded exchanges of the same model, if the file has the request, and otherwise
/// sends the request to the model.
///
/// New exchanges are appended to the file, so that an interrupted job continues without paying twice. A reply from the
/// file counts no tokens.
#[derive(Debug)]
pub struct LlmCache {
    /// The exchanges that were in the file when the file was opened.
    recorded: Replay,
    record: Record,
    /// The replies that were received since the file was opened, by [`ChatRequest::key`].
    new_replies: Mutex<HashMap<String, ChatReply>>,
}

impl LlmCache {
    /// Opens or creates the file (JSONL). `inner` is the model that answers requests that are not in the file. The
    /// errors are those of [`Record::new`] and [`Replay::load`].
    pub fn new(inner: Arc<dyn Llm>, path: &Path) -> Result<Self, LlmError> {
        // `Record` opens the file first, because it repairs a last line that was cut short.
        let record = Record::new(inner, path)?;
        let recorded = Replay::load(path)?.of_model(&record.name());
        Ok(Self { recorded, record, new_replies: Mutex::default() })
    }
}

impl Llm for LlmCache {
    fn chat(&self, request: &ChatRequest) -> Result<ChatReply, LlmError> {
        self.chat_with_progress(request, &mut |_| {})
    }

    fn chat_with_progress(
        &self,
        request: &ChatRequest,
        on_progress: &mut dyn FnMut(ChatProgress),
    ) -> Result<ChatReply, LlmError> {
        let new_replies = || self.new_replies.lock().unwrap_or_else(PoisonError::into_inner);
        let key = request.key();
        if let Some(cached) = self.recorded.find(request).or_else(|| new_replies().get(&key).cloned()) {
            // The tokens of this reply were counted when the reply was first received.
            return Ok(ChatReply { prompt_tokens: 0, completion_tokens: 0, ..cached });
        }
        let reply = self.record.chat_with_progress(request, on_progress)?;
        new_replies().insert(key, reply.clone());
        Ok(reply)
    }

    fn context(&self) -> Option<u64> {
        self.record.context()
    }

    fn concurrency(&self) -> usize {
        self.record.concurrency()
    }

    fn name(&self) -> String {
        self.record.name()
    }
}
