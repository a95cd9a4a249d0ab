//! Asking many requests at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::llm::{ChatReply, ChatRequest, Llm, LlmError};

/// Answers in the order of the requests, as many at once as the model's [`Llm::concurrency`] says. Once `over` says
/// that no more are wanted, requests that have not begun are [`LlmError::NotAsked`].
pub fn chat_all(
    llm: &dyn Llm,
    requests: &[ChatRequest],
    over: &(dyn Fn() -> bool + Sync),
) -> Vec<Result<ChatReply, LlmError>> {
    let next = AtomicUsize::new(0);
    let answers = Mutex::new(Vec::with_capacity(requests.len()));
    let work = || {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(request) = requests.get(place) else { return };
            let answer = if over() { Err(LlmError::NotAsked) } else { llm.chat(request) };
            answers.lock().unwrap_or_else(PoisonError::into_inner).push((place, answer));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..llm.concurrency().min(requests.len()) {
            // Where the system gives no more threads, those that run do the work.
            if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    let mut answers = answers.into_inner().unwrap_or_else(PoisonError::into_inner);
    answers.sort_by_key(|(place, _)| *place);
    answers.into_iter().map(|(_, answer)| answer).collect()
}
