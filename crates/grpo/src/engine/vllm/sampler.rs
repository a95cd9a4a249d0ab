//! Samples replies by the servers.

use std::sync::Arc;

use rlar_policy::{Finish, GenerationRequest, Policy, PolicyError, Sampling, Tokenizer};
use rlar_run::OngoingWork;
use rlar_vllm::{EndReason, GeneratedTokens, TokensRequest};
use tokio::task::JoinSet;

use crate::config::SamplingConfig;
use crate::engine::AGAIN;
use crate::engine::sampler::{FinishedReply, SampledReply, Sampler, SamplerError};
use crate::engine::vllm::publish::{VllmEngine, VllmShared};

/// Samples replies with the weights of one step, which servers have.
#[derive(Debug)]
pub struct VllmSampler {
    engine: VllmEngine,
    /// The label of the weights.
    label: String,
    weight_version: u64,
    /// The weights, if this run has started the servers, to which they are published again after a new start.
    policy: Option<Policy>,
}

/// A reply that a server is to sample.
struct ReplyTask {
    request: usize,
    index: usize,
    tokens: TokensRequest,
}

/// A reply that a server sampled, or why there is none.
struct TaskResult {
    request: usize,
    index: usize,
    result: Result<GeneratedTokens, String>,
}

impl VllmSampler {
    pub(super) fn new(engine: VllmEngine, label: String, weight_version: u64, policy: Option<Policy>) -> Self {
        Self { engine, label, weight_version, policy }
    }

    fn shared(&self) -> &VllmShared {
        &self.engine.shared
    }

    /// One task per reply, in the order of requests and seeds.
    fn tasks(&self, requests: &[GenerationRequest], sampling: &Sampling) -> Vec<ReplyTask> {
        let mut tasks = Vec::new();
        for (request, wanted) in requests.iter().enumerate() {
            let room = self.shared().positions.saturating_sub(wanted.prompt.len());
            for (index, seed) in wanted.seeds.iter().enumerate() {
                let tokens = TokensRequest {
                    model: String::new(),
                    prompt: wanted.prompt.clone(),
                    max_tokens: sampling.max_tokens.min(room),
                    temperature: sampling.temperature,
                    seed: *seed,
                    stop_token_ids: self.shared().tokenizer.eos().to_vec(),
                    stop: sampling.stop.clone(),
                };
                tasks.push(ReplyTask { request, index, tokens });
            }
        }
        tasks
    }

    /// The reply that a server's tokens are.
    fn reply(&self, generated: GeneratedTokens, sampling: &Sampling) -> Result<SampledReply, String> {
        let GeneratedTokens { tokens, log_probs, end, .. } = generated;
        if let Some(token) = tokens.iter().find(|token| **token as usize >= self.shared().vocabulary) {
            return Err(format!("a reply has token {token}, and the policy has {} tokens", self.shared().vocabulary));
        }
        let text = reply_text(&tokens, &self.shared().tokenizer, sampling).map_err(|e| e.to_string())?;
        let finish = if end == EndReason::Length { Finish::Length } else { Finish::Stop };
        // Nothing is cut from the distribution, so both log-probs are the same.
        let drawn_log_probs = log_probs.clone();
        Ok(SampledReply { tokens, log_probs, drawn_log_probs, text, finish, weight_version: self.weight_version })
    }

    /// Has servers sample the replies that these tasks ask for, at most `batch` at a time. The first reply that no server can
    /// give ends all others.
    async fn sample_all(
        &self,
        tasks: Vec<ReplyTask>,
        batch: usize,
        on_result: &mut dyn FnMut(TaskResult) -> Result<(), SamplerError>,
    ) -> Result<(), SamplerError> {
        let mut waiting = tasks.into_iter();
        let mut running = JoinSet::new();
        loop {
            while running.len() < batch.max(1) {
                let Some(ReplyTask { request, index, tokens }) = waiting.next() else { break };
                let (shared, label) = (Arc::clone(&self.engine.shared), self.label.clone());
                running.spawn(async move {
                    let result = shared.servers.generate(&tokens, &label).await;
                    TaskResult { request, index, result }
                });
            }
            let Some(done) = running.join_next().await else { return Ok(()) };
            on_result(done.map_err(|e| SamplerError::Request {
                request: 0,
                message: format!("a request of the client ended without a result: {e}"),
            })?)?;
        }
    }

    /// Whether servers of this run that ended while they sampled have started again and have the weights.
    fn recover(&self) -> Result<bool, SamplerError> {
        let Some(policy) = &self.policy else { return Ok(false) };
        let published = self.engine.publish_to_started(&self.label, policy);
        published.map_err(|error| SamplerError::Request { request: 0, message: error.to_string() })
    }

    /// Why no server of this run samples any more; `None` if one does, or if the run has started none.
    fn end_of_servers(&self) -> Option<SamplerError> {
        let servers = &self.shared().servers;
        let have_ended = servers.started.is_some() && !servers.has_ready(&self.label);
        have_ended.then(|| {
            let faults = servers.faults(&self.label).join("; ");
            SamplerError::Request { request: 0, message: format!("{faults} ({AGAIN})") }
        })
    }
}

impl Sampler for VllmSampler {
    /// Has at most `sampling.batch` replies in progress, over all servers. The first reply that no server can give ends all
    /// others, unless servers of this run have ended, and can be started again.
    fn sample(
        &self,
        requests: &[GenerationRequest],
        sampling: &SamplingConfig,
        progress: &OngoingWork,
        on_reply: &mut (dyn FnMut(FinishedReply) + Send),
    ) -> Result<Vec<Vec<SampledReply>>, SamplerError> {
        let settings = sampling.at(sampling.temperature);
        let mut replies: Vec<Vec<Option<SampledReply>>> = requests.iter().map(|r| vec![None; r.seeds.len()]).collect();
        loop {
            let mut tasks = self.tasks(requests, &settings);
            tasks.retain(|task| replies[task.request][task.index].is_none());
            let mut on_result = |TaskResult { request, index, result }: TaskResult| {
                let result = result.map_err(|message| format!("{message} ({AGAIN})"));
                let reply = result.and_then(|generated| self.reply(generated, &settings));
                let reply = reply.map_err(|message| SamplerError::Request { request, message })?;
                reply.tokens.iter().for_each(|_| progress.add_token());
                on_reply(FinishedReply { request, index, text: reply.text.clone(), tokens: reply.tokens.clone() });
                replies[request][index] = Some(reply);
                Ok(())
            };
            let done = self.shared().runtime.wait(self.sample_all(tasks, sampling.batch, &mut on_result));
            match done.map_err(|message| SamplerError::Request { request: 0, message })? {
                Ok(()) => break,
                Err(error) if !self.recover()? => return Err(self.end_of_servers().unwrap_or(error)),
                Err(_) => {}
            }
        }
        Ok(replies.into_iter().map(|replies| replies.into_iter().flatten().collect()).collect())
    }
}

/// The text of a reply, as the engine in this process gives it: without the end token, and up to the stop text (or with it,
/// where `include_stop` is set).
fn reply_text(tokens: &[u32], tokenizer: &Tokenizer, sampling: &Sampling) -> Result<String, PolicyError> {
    let ends = |token: &u32| tokenizer.eos().contains(token);
    let shown = match tokens {
        [before @ .., last] if ends(last) => before,
        all => all,
    };
    let mut text = tokenizer.decode(shown)?;
    if let Some(end) = sampling.stop_at(&text) {
        text.truncate(end);
    }
    Ok(text)
}
