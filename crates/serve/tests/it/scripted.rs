//! A language model for tests: its answers come from a function, and a gate can hold them back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use rlar_net::llm::{ChatReply, ChatRequest, Llm, LlmError};

type Answer = dyn Fn(&str) -> String + Send + Sync;

/// Answers questions about a reply with a function of the reply, and counts them.
pub struct Scripted {
    answer: Box<Answer>,
    /// Number of questions so far, those that wait included.
    pub asked: AtomicUsize,
    gate: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    closed: bool,
    waiting: usize,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scripted")
    }
}

/// A model whose answers are a function of the reply that it judges.
pub fn scripted(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Arc<Scripted> {
    let (gate, changed) = (Mutex::default(), Condvar::new());
    Arc::new(Scripted { answer: Box::new(answer), asked: AtomicUsize::new(0), gate, changed })
}

/// A grade as a judge answers it, from 1 to 10.
pub fn grade(score: u32) -> String {
    format!(r#"{{"reason": "as scripted", "score": {score}}}"#)
}

/// A model that gives every reply this grade.
pub fn always(score: u32) -> Arc<Scripted> {
    scripted(move |_| grade(score))
}

impl Scripted {
    /// Holds back all answers from now on.
    pub fn close(&self) {
        self.gate.lock().unwrap().closed = true;
    }

    /// Lets the answers out.
    pub fn open(&self) {
        self.gate.lock().unwrap().closed = false;
        self.changed.notify_all();
    }

    /// Waits until this many questions wait at the closed gate.
    pub fn wait_for(&self, waiting: usize) {
        let gate = self.gate.lock().unwrap();
        drop(self.changed.wait_while(gate, |gate| gate.waiting < waiting).unwrap());
    }

    fn pass(&self) {
        let mut gate = self.gate.lock().unwrap();
        gate.waiting += 1;
        self.changed.notify_all();
        let mut gate = self.changed.wait_while(gate, |gate| gate.closed).unwrap();
        gate.waiting -= 1;
    }
}

impl Llm for Scripted {
    fn chat(&self, request: &ChatRequest) -> Result<ChatReply, LlmError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.pass();
        let text = (self.answer)(judged(request));
        Ok(ChatReply { text, prompt_tokens: 10, completion_tokens: 5, finish: "stop".into(), calls: Vec::new() })
    }

    fn name(&self) -> String {
        "scripted".into()
    }
}

/// The reply that a question is about.
fn judged(request: &ChatRequest) -> &str {
    let question = &request.messages[1].content;
    let open = question.find("<reply-").unwrap();
    let begin = open + question[open..].find('\n').unwrap() + 1;
    let end = begin + question[begin..].rfind("\n</reply-").unwrap();
    &question[begin..end]
}
