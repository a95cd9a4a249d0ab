//! Shows the requests that agents send to a language model. On a terminal with progress bars, a reply that is being
//! written is shown with its number of tokens. After each reply a line gives its length and speed, or why it could not
//! be used.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rlar_net::llm::ChatProgress;
use rlar_rewards::agents::{LlmEvent, LlmEventKind, LlmObserver};
use rlar_run::{Activity, OngoingWork, Progress, shortened};
use serde_json::json;

use crate::output::mode;

/// Maximum number of characters that are shown of the reason why a reply could not be used.
const REASON_CHARS: usize = 300;

/// Fewest tokens of a reply whose speed is shown.
const MIN_TIMED_TOKENS: u64 = 8;

/// Shows the progress of the requests that agents send to a language model.
pub struct AgentProgress {
    bar: Progress,
    activity: Activity,
    requests: Arc<Mutex<BTreeMap<String, Request>>>,
}

/// A request whose reply has not come yet.
struct Request {
    begun: Instant,
    work: OngoingWork,
    last: Option<ChatProgress>,
}

impl Default for AgentProgress {
    fn default() -> Self {
        let activity = Activity::default();
        let bar = Progress::watch(mode(), "agents", &activity);
        Self { bar, activity, requests: Arc::default() }
    }
}

impl AgentProgress {
    /// A function to call with each event of the agents' language model client, which shows the event to the user.
    pub fn observer(&self) -> LlmObserver {
        let (activity, requests) = (self.activity.clone(), Arc::clone(&self.requests));
        Arc::new(move |event| show(event, &activity, &mut lock(&requests)))
    }

    /// Removes the progress bar of the agents' requests.
    pub fn end(self) {
        lock(&self.requests).clear();
        self.bar.finish();
    }
}

fn lock(requests: &Mutex<BTreeMap<String, Request>>) -> MutexGuard<'_, BTreeMap<String, Request>> {
    // A thread that panicked cannot have left the map half changed.
    requests.lock().unwrap_or_else(PoisonError::into_inner)
}

fn show(event: &LlmEvent, activity: &Activity, requests: &mut BTreeMap<String, Request>) {
    let name = format!("{} {}", event.role, event.task);
    match event.kind {
        LlmEventKind::Sent => {
            let work = activity.phase(&name, 0, "");
            requests.insert(name, Request { begun: Instant::now(), work, last: None });
        }
        LlmEventKind::Token(progress) => {
            if let Some(request) = requests.get_mut(&name) {
                request.work.set_tokens(usize::try_from(progress.tokens).unwrap_or(usize::MAX));
                request.last = Some(progress);
            }
        }
        LlmEventKind::Accepted { prompt_tokens, reply_tokens } => {
            let request = requests.remove(&name);
            let mut fields = json!({
                "role": event.role, "task": event.task, "prompt_tokens": prompt_tokens, "reply_tokens": reply_tokens,
            });
            // A reply from the cache has no speed, and that of a few tokens is not one.
            let timed = request.and_then(|r| Some((r.begun.elapsed().as_secs_f64(), r.last?)));
            let mut line = format!("{name}: {prompt_tokens} + {reply_tokens} tokens");
            match timed {
                Some((seconds, last)) => {
                    write!(line, ", {seconds:.1} s").unwrap_or_default();
                    if last.tokens >= MIN_TIMED_TOKENS && last.seconds > 0.0 {
                        write!(line, ", {:.1} tokens/s", last.tokens as f64 / last.seconds).unwrap_or_default();
                    }
                    fields["seconds"] = seconds.into();
                }
                None if prompt_tokens + reply_tokens == 0 => line = format!("{name}: answered from recorded replies"),
                None => {}
            }
            mode().say(&line);
            mode().event("llm", fields);
        }
        LlmEventKind::Rejected(why) => {
            requests.remove(&name);
            let why = shortened(why, REASON_CHARS);
            mode().say(&format!("{name}: not usable: {why}"));
            mode().event("llm", json!({ "role": event.role, "task": event.task, "rejected": why }));
        }
    }
}
