//! The servers with their states, and which of them samples a reply.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rlar_net::{LeastOutstanding, ServerLease};
use rlar_vllm::{EndReason, GeneratedTokens, TokensRequest, VllmError, VllmServer};

use crate::engine::vllm::admission::AdmittedServer;
use crate::engine::vllm::started::StartedServers;

/// How often a reply is tried, by all servers together.
const TRIES: u32 = 6;

/// The pause before a server that failed on a reply is asked for it again; it doubles with every try.
const PAUSE: Duration = Duration::from_millis(200);

/// The servers, some of which sample.
#[derive(Debug)]
pub(super) struct Servers {
    pub all: Vec<VllmServer>,
    /// The processes of the servers, if this run has started them.
    pub started: Option<StartedServers>,
    states: Mutex<Vec<SamplingState>>,
    routing: LeastOutstanding,
}

/// What a server does.
#[derive(Clone, Debug)]
struct SamplingState {
    /// What the checks found; `None` before it was checked.
    admitted: Option<AdmittedServer>,
    /// Whether it has ever sampled.
    has_sampled: bool,
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
    },
    /// It does not sample until it has loaded weights and passed the canary.
    Lost {
        /// Why, for people; begins with its address.
        why: String,
        /// Whether its weights are unknown, so that it must be restarted first.
        is_wrecked: bool,
    },
}

/// A server that is sampling a reply.
struct ReplyLease<'a> {
    lease: ServerLease<'a>,
    /// The name of the model or adapter that samples.
    model: String,
}

impl Servers {
    /// Servers that do not sample yet.
    pub fn new(all: Vec<VllmServer>, started: Option<StartedServers>) -> Self {
        let state = |server: &VllmServer| {
            let why = format!("{}: it has no weights of this run yet", server.url());
            SamplingState { admitted: None, has_sampled: false, health: ServerHealth::Lost { why, is_wrecked: false } }
        };
        let states = Mutex::new(all.iter().map(state).collect());
        let routing = LeastOutstanding::new(all.len());
        Self { all, started, states, routing }
    }

    /// Whether the server with this index samples with weights of this label.
    pub fn is_ready(&self, index: usize, label: &str) -> bool {
        matches!(&self.lock()[index].health, ServerHealth::Ready { label: has, .. } if has == label)
    }

    /// Whether the server with this index must be restarted before it can sample.
    pub fn is_wrecked(&self, index: usize) -> bool {
        matches!(self.lock()[index].health, ServerHealth::Lost { is_wrecked: true, .. })
    }

    /// What the checks of a server found; `None` before it was checked.
    pub fn admitted(&self, index: usize) -> Option<AdmittedServer> {
        self.lock()[index].admitted.clone()
    }

    /// Keeps what the checks of a server found.
    pub fn set_admitted(&self, index: usize, admitted: AdmittedServer) {
        self.lock()[index].admitted = Some(admitted);
    }

    /// Sets the state of a server. Its loss and its return are a warning each.
    pub fn set(&self, index: usize, health: ServerHealth) {
        let state = &mut self.lock()[index];
        match (&state.health, &health) {
            (ServerHealth::Ready { .. }, ServerHealth::Lost { why, .. }) => {
                tracing::warn!(
                    "{why}; the server samples nothing until it has loaded weights and passed the canary again"
                );
            }
            (_, ServerHealth::Lost { why, .. }) => tracing::info!("{why}"),
            (ServerHealth::Lost { .. }, ServerHealth::Ready { .. }) if state.has_sampled => {
                tracing::warn!("{}: the server samples again", self.all[index].url());
            }
            _ => {}
        }
        if matches!(health, ServerHealth::Ready { .. }) {
            state.has_sampled = true;
            self.routing.forget_failures(index);
        }
        state.health = health;
    }

    /// Whether a server samples with weights of this label.
    pub fn has_ready(&self, label: &str) -> bool {
        (0..self.all.len()).any(|index| self.is_ready(index, label))
    }

    /// Whether this run has started the server, and it runs no more.
    pub fn has_ended(&self, index: usize) -> bool {
        self.started.as_ref().is_some_and(|started| started.has_ended(index))
    }

    /// Starts servers of this run again that have ended or whose weights are unknown.
    pub fn restart(&self) {
        for (index, server) in self.all.iter().enumerate() {
            let restart = self.started.as_ref().and_then(|started| started.restart(index, self.is_wrecked(index)));
            let Some(restart) = restart else { continue };
            let why = format!("{}: {}", server.url(), restart.why);
            if restart.is_starting {
                // This is the warning of its loss.
                tracing::warn!("{why}");
                self.lock()[index].health = ServerHealth::Lost { why, is_wrecked: false };
            } else {
                self.set(index, ServerHealth::Lost { why, is_wrecked: false });
            }
        }
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
            let ReplyLease { lease, model } = lease;
            let index = lease.index();
            let server = &self.all[index];
            if failed.contains(&index) {
                tokio::time::sleep(PAUSE.saturating_mul(1 << number)).await;
            }
            let asked = TokensRequest { model, ..request.clone() };
            last = match server.generate(&asked).await {
                Ok(reply) if reply.end == EndReason::Aborted => {
                    format!("{}: the server gave the request up", server.url())
                }
                Ok(reply) => match other_weights(&reply, label) {
                    None => {
                        lease.succeeded();
                        return Ok(reply);
                    }
                    Some(other) => self.lose(index, format!("{}: {other}", server.url())),
                },
                Err(error @ VllmError::NotFinite { .. }) => return Err(error.to_string()),
                Err(error) if error.is_the_requests_fault() => return Err(error.to_string()),
                // A server that was restarted does not know the adapter.
                Err(error @ VllmError::Refused { status: 404, .. }) => self.lose(index, error.to_string()),
                Err(error) => {
                    self.count_failure(&lease, label, &error);
                    error.to_string()
                }
            };
            failed.push(index);
        }
        Err(format!("{last} (tried {TRIES} times)"))
    }

    /// The server that samples the next reply, of those with weights of this label ([`LeastOutstanding::lease`]). `None` if no
    /// server has these weights.
    fn lease(&self, label: &str, failed: &[usize]) -> Option<ReplyLease<'_>> {
        let states = self.lock();
        let model = |index: usize| match &states.get(index)?.health {
            ServerHealth::Ready { label: has, model } if has == label => Some(model.clone()),
            _ => None,
        };
        let lease = self.routing.lease((0..self.all.len()).filter(|index| model(*index).is_some()), failed)?;
        let model = model(lease.index())?;
        Some(ReplyLease { lease, model })
    }

    /// Counts a failure of a server. It gets no more replies if its process has ended, or after too many failures in a row if
    /// another server has the same weights.
    fn count_failure(&self, lease: &ServerLease, label: &str, error: &VllmError) {
        let (index, is_too_often) = (lease.index(), lease.failed());
        let has_other = (0..self.all.len()).any(|other| other != index && self.is_ready(other, label));
        if self.is_ready(index, label) && (self.has_ended(index) || is_too_often && has_other) {
            self.lose(index, error.to_string());
        }
    }

    /// Gives a server no more replies until weights are published again. Returns why.
    fn lose(&self, index: usize, why: String) -> String {
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
