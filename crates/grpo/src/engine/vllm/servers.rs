//! The servers with their states, and which of them samples a reply.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rlar_vllm::{EndReason, GeneratedTokens, TokensRequest, VllmError, VllmServer};

/// How often a reply is tried, by all servers together.
const TRIES: u32 = 6;

/// Number of replies in a row that fail before a server gets none until weights are published again, if there is another.
const FAILURES: u32 = 3;

/// The pause before a server that failed on a reply is asked for it again; it doubles with every try.
const PAUSE: Duration = Duration::from_millis(200);

/// The servers, some of which sample.
#[derive(Debug)]
pub(super) struct Servers {
    pub all: Vec<VllmServer>,
    states: Mutex<Vec<SamplingState>>,
}

/// What a server does.
#[derive(Clone, Debug)]
struct SamplingState {
    /// Number of replies that it is sampling.
    outstanding: usize,
    /// The name of its base model; `None` before it was checked.
    base: Option<String>,
    health: ServerHealth,
}

/// Whether a server samples.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ServerHealth {
    /// It samples.
    Ready {
        /// The label of its weights.
        label: String,
        /// The name of the model or adapter with these weights.
        model: String,
        /// Number of replies in a row that failed.
        failures: u32,
    },
    /// It does not sample until it has loaded weights and passed the canary.
    Lost {
        /// Why, for people; begins with its address.
        why: String,
        /// Whether its weights are unknown, so that it must be restarted first.
        is_wrecked: bool,
    },
}

/// A server that is sampling a reply; the count of its replies goes down when this is dropped.
struct Lease<'a> {
    servers: &'a Servers,
    index: usize,
    model: String,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let state = &mut self.servers.lock()[self.index];
        state.outstanding = state.outstanding.saturating_sub(1);
    }
}

impl Servers {
    /// Servers that do not sample yet.
    pub fn new(all: Vec<VllmServer>) -> Self {
        let state = |server: &VllmServer| {
            let why = format!("{}: it has no weights of this run yet", server.url());
            SamplingState { outstanding: 0, base: None, health: ServerHealth::Lost { why, is_wrecked: false } }
        };
        let states = Mutex::new(all.iter().map(state).collect());
        Self { all, states }
    }

    /// Whether the server with this index samples with weights of this label.
    pub fn is_ready(&self, index: usize, label: &str) -> bool {
        matches!(&self.lock()[index].health, ServerHealth::Ready { label: has, .. } if has == label)
    }

    /// Whether the server with this index must be restarted before it can sample.
    pub fn is_wrecked(&self, index: usize) -> bool {
        matches!(self.lock()[index].health, ServerHealth::Lost { is_wrecked: true, .. })
    }

    /// The name of a server's base model; `None` before the server was checked.
    pub fn base(&self, index: usize) -> Option<String> {
        self.lock()[index].base.clone()
    }

    /// Keeps the name of the base model of a server that was checked.
    pub fn set_base(&self, index: usize, base: String) {
        self.lock()[index].base = Some(base);
    }

    /// Sets the state of a server.
    pub fn set(&self, index: usize, health: ServerHealth) {
        self.lock()[index].health = health;
    }

    /// Why servers do not sample with weights of this label, for people.
    pub fn faults(&self, label: &str) -> Vec<String> {
        let states = self.lock();
        let faults = states.iter().zip(&self.all).filter_map(|(state, server)| match &state.health {
            ServerHealth::Ready { label: has, .. } if has == label => None,
            ServerHealth::Ready { .. } => Some(format!("{}: it has the weights of another step", server.url())),
            ServerHealth::Lost { why, .. } => Some(why.clone()),
        });
        faults.collect()
    }

    /// Samples a reply with weights of this label, by the server with the fewest replies in progress. If it fails, gives the
    /// request up, or has other weights, another server is asked. The model's name in `request` is filled in.
    pub async fn generate(&self, request: &TokensRequest, label: &str) -> Result<GeneratedTokens, String> {
        let mut failed: Vec<usize> = Vec::new();
        let mut last = String::new();
        for number in 0..TRIES {
            let Some(lease) = self.lease(label, &failed) else {
                return Err(format!("no server is left: {}", self.faults(label).join("; ")));
            };
            let (index, server) = (lease.index, &self.all[lease.index]);
            if failed.contains(&index) {
                tokio::time::sleep(PAUSE.saturating_mul(1 << number)).await;
            }
            let asked = TokensRequest { model: lease.model.clone(), ..request.clone() };
            last = match server.generate(&asked).await {
                Ok(reply) if reply.end == EndReason::Aborted => {
                    format!("{}: the server gave the request up", server.url())
                }
                Ok(reply) => match other_weights(&reply, label) {
                    None => {
                        self.count_failure(index, None);
                        return Ok(reply);
                    }
                    Some(other) => self.lose(index, format!("{}: {other}", server.url())),
                },
                Err(error @ VllmError::NotFinite { .. }) => return Err(error.to_string()),
                Err(error) if error.is_the_requests_fault() => return Err(error.to_string()),
                // A server that was restarted does not know the adapter.
                Err(error @ VllmError::Refused { status: 404, .. }) => self.lose(index, error.to_string()),
                Err(error) => {
                    self.count_failure(index, Some(&error));
                    error.to_string()
                }
            };
            failed.push(index);
        }
        Err(format!("{last} (tried {TRIES} times)"))
    }

    /// The server that samples the next reply: of those with weights of this label, one that is not in `failed` if there is
    /// one, and of these the one with the fewest replies in progress. `None` if no server has these weights.
    fn lease(&self, label: &str, failed: &[usize]) -> Option<Lease<'_>> {
        let mut states = self.lock();
        let ready = states.iter().enumerate().filter_map(|(index, state)| match &state.health {
            ServerHealth::Ready { label: has, model, .. } if has == label => {
                Some((failed.contains(&index), state.outstanding, index, model.clone()))
            }
            _ => None,
        });
        let (.., index, model) = ready.min()?;
        states[index].outstanding += 1;
        Some(Lease { servers: self, index, model })
    }

    /// Counts a failure of a server, or its success. After too many failures in a row it gets no more replies, if another
    /// server has the same weights.
    fn count_failure(&self, index: usize, error: Option<&VllmError>) {
        let mut states = self.lock();
        let ServerHealth::Ready { label, failures, .. } = &mut states[index].health else { return };
        let Some(error) = error else {
            *failures = 0;
            return;
        };
        *failures += 1;
        let (label, is_too_many) = (label.clone(), *failures >= FAILURES);
        let has_same = |(other, state): (usize, &SamplingState)| {
            other != index && matches!(&state.health, ServerHealth::Ready { label: has, .. } if *has == label)
        };
        if is_too_many && states.iter().enumerate().any(has_same) {
            tracing::warn!("{error}; the server gets no more replies in this step, after {FAILURES} failures in a row");
            states[index].health = ServerHealth::Lost { why: error.to_string(), is_wrecked: false };
        }
    }

    /// Gives a server no more replies until weights are published again. Returns why.
    fn lose(&self, index: usize, why: String) -> String {
        tracing::warn!("{why}; the server gets no more replies in this step");
        self.set(index, ServerHealth::Lost { why: why.clone(), is_wrecked: false });
        why
    }

    fn lock(&self) -> MutexGuard<'_, Vec<SamplingState>> {
        // No change of the states can be left half done.
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is wrong with the weights that sampled a reply; `None` if they have this label.
pub(super) fn other_weights(reply: &GeneratedTokens, label: &str) -> Option<String> {
    match reply.weight_versions.as_slice() {
        [] => Some("the server does not say which weights sampled; that needs vLLM 0.30 or newer".into()),
        [version] if version == label => None,
        others => Some(format!("weights `{}` sampled a reply, and `{label}` were to", others.join("`, then `"))),
    }
}
