//! Sends many chat requests at the same time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::llm::{ChatReply, ChatRequest, Llm, LlmError};

/// Sends requests, at most [`Llm::concurrency`] of them at the same time, and returns the replies in the order of the
/// requests.
///
/// `is_cancelled` is called before each request. Once `is_cancelled` returns true, the requests that have not begun
/// give [`LlmError::Cancelled`].
pub fn chat_all(
    llm: &dyn Llm,
    requests: &[ChatRequest],
    is_cancelled: &(dyn Fn() -> bool + Sync),
) -> Vec<Result<ChatReply, LlmError>> {
    let next = AtomicUsize::new(0);
    let replies = Mutex::new(Vec::with_capacity(requests.len()));
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(request) = requests.get(index) else { return };
            let reply = if is_cancelled() { Err(LlmError::Cancelled) } else { llm.chat(request) };
            replies.lock().unwrap_or_else(PoisonError::into_inner).push((index, reply));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..llm.concurrency().min(requests.len()) {
            // If the system refuses another thread, the existing threads do the work.
            if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    let mut replies = replies.into_inner().unwrap_or_else(PoisonError::into_inner);
    replies.sort_by_key(|(index, _)| *index);
    replies.into_iter().map(|(_, reply)| reply).collect()
}
