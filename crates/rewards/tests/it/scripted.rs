//! A language model for tests, whose answers come from a function.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rlar_net::llm::{ChatReply, ChatRequest, Llm, LlmError};

type Answer = dyn Fn(&ChatRequest) -> Result<String, LlmError> + Send + Sync;

/// Answers requests with a function, and counts them.
pub struct Scripted {
    answer: Box<Answer>,
    pub asked: AtomicUsize,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scripted")
    }
}

pub fn scripted(answer: impl Fn(&ChatRequest) -> Result<String, LlmError> + Send + Sync + 'static) -> Arc<Scripted> {
    Arc::new(Scripted { answer: Box::new(answer), asked: AtomicUsize::new(0) })
}

impl Llm for Scripted {
    fn chat(&self, request: &ChatRequest) -> Result<ChatReply, LlmError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let text = (self.answer)(request)?;
        Ok(ChatReply { text, prompt_tokens: 10, completion_tokens: 5, finish: "stop".into(), calls: Vec::new() })
    }

    fn name(&self) -> String {
        "scripted".into()
    }
}

/// The text between the marks of this name in a request's question.
pub fn fenced<'r>(request: &'r ChatRequest, what: &str) -> &'r str {
    let question = &request.messages[1].content;
    let open = question.find(&format!("<{what}-")).unwrap();
    let begin = open + question[open..].find('\n').unwrap() + 1;
    let end = begin + question[begin..].rfind(&format!("\n</{what}-")).unwrap();
    &question[begin..end]
}
