//! Progress and context through the wrappers of a model.

use std::sync::Arc;

use rlar_net::llm::{ChatProgress, ChatReply, ChatRequest, Llm, LlmCache, LlmError, LlmLog, Record, Replay};

use crate::server::ask;

/// A model that replies in two tokens.
#[derive(Debug)]
struct TwoTokens;

impl Llm for TwoTokens {
    fn chat(&self, request: &ChatRequest) -> Result<ChatReply, LlmError> {
        self.chat_with_progress(request, &mut |_| {})
    }

    fn chat_with_progress(
        &self,
        _: &ChatRequest,
        on_progress: &mut dyn FnMut(ChatProgress),
    ) -> Result<ChatReply, LlmError> {
        for tokens in [1, 2] {
            on_progress(ChatProgress { tokens, is_reasoning: false, seconds: 0.0 });
        }
        let (text, finish) = ("yes".to_owned(), "stop".to_owned());
        Ok(ChatReply { text, prompt_tokens: 1, completion_tokens: 2, finish, calls: Vec::new() })
    }

    fn context(&self) -> Option<u64> {
        Some(2048)
    }

    fn name(&self) -> String {
        "two tokens".into()
    }
}

/// The numbers of tokens that are reported while the model answers.
fn reported(llm: &dyn Llm) -> Vec<u64> {
    let mut tokens = Vec::new();
    assert_eq!(llm.chat_with_progress(&ask("it"), &mut |progress| tokens.push(progress.tokens)).unwrap().text, "yes");
    tokens
}

#[test]
fn wrappers_forward_progress_and_context_and_a_recorded_reply_reports_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let log = LlmLog::new(Arc::new(TwoTokens), &path("log.jsonl")).unwrap();
    let record = Record::new(Arc::new(log), &path("record.jsonl")).unwrap();
    let cache = LlmCache::new(Arc::new(record), &path("cache.jsonl")).unwrap();
    assert_eq!(cache.context(), Some(2048));
    assert_eq!(reported(&cache), [1, 2]);
    assert_eq!(reported(&cache), Vec::<u64>::new(), "the reply is in the cache");
    let lines = |name: &str| std::fs::read_to_string(path(name)).unwrap().lines().count();
    assert_eq!([lines("log.jsonl"), lines("record.jsonl"), lines("cache.jsonl")], [1, 1, 1]);
    let replay = Replay::load(&path("record.jsonl")).unwrap();
    assert_eq!((replay.context(), reported(&replay)), (None, Vec::new()));
    assert_eq!(replay.with_context(Some(512)).context(), Some(512), "prompts are fitted as when it was recorded");
}
