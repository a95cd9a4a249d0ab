//! Shows what the language model is doing for the agents: while a reply is being written, an activity with its number of
//! tokens where bars are drawn; after each reply, a line with its length, speed and what came of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rlar_net::llm::ChatProgress;
use rlar_rewards::agents::{LlmEvent, LlmEventKind, LlmObserver};
use rlar_run::{Activity, OngoingWork, Progress};
use serde_json::json;

use crate::output::mode;

/// Largest number of characters of a reason.
const REASON_CHARS: usize = 160;

/// The progress of the agents' requests.
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
    /// The function that shows the events of a client.
    pub fn observer(&self) -> LlmObserver {
        let (activity, requests) = (self.activity.clone(), Arc::clone(&self.requests));
        Arc::new(move |event| show(event, &activity, &mut lock(&requests)))
    }

    /// Removes the activity.
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
            // A reply from the cache has no speed.
            let timed = request.and_then(|r| Some((r.begun.elapsed().as_secs_f64(), r.last?)));
            let mut line = format!("{name}: {prompt_tokens} + {reply_tokens} tokens");
            if let Some((seconds, last)) = timed {
                let rate = last.tokens as f64 / last.seconds.max(1e-3);
                line += &format!(", {seconds:.1} s, {rate:.1} tokens/s");
                fields["seconds"] = seconds.into();
            }
            mode().say(&line);
            mode().event("llm", fields);
        }
        LlmEventKind::Rejected(why) => {
            requests.remove(&name);
            let why: String = why.chars().take(REASON_CHARS).collect();
            mode().say(&format!("{name}: not usable: {why}"));
            mode().event("llm", json!({ "role": event.role, "task": event.task, "rejected": why }));
        }
    }
}
