//! Samples replies by the server.

use std::sync::Arc;

use rlar_policy::{Finish, GenerationRequest, PolicyError};
use rlar_run::OngoingWork;
use rlar_tinker::{RemoteSampler, SampleRequest, SampledSequence, StopAt, StopReason, TinkerError};
use tokio::task::JoinSet;

use crate::config::SamplingConfig;
use crate::engine::AGAIN;
use crate::engine::sampler::{FinishedReply, SampledReply, Sampler, SamplerError};
use crate::engine::tinker::connect::TinkerShared;

/// Seeds of requests are below this number, so that those of the further replies, which count up from it, fit into 31 bits.
const SEEDS: u64 = 1 << 30;

/// Samples replies with the adapter as it was at one moment, until the next optimizer step.
#[derive(Debug)]
pub(super) struct TinkerSampler {
    pub shared: Arc<TinkerShared>,
    pub remote: Arc<RemoteSampler>,
    pub weight_version: u64,
}

/// The replies to a request, or why there are none.
struct RequestResult {
    request: usize,
    replies: Result<Vec<SampledSequence>, TinkerError>,
}

impl TinkerSampler {
    /// The request to the server for all replies to a prompt. The server counts the seeds of the further replies up from the first.
    fn request(&self, wanted: &GenerationRequest, sampling: &SamplingConfig) -> SampleRequest {
        let room = self.shared.policy.positions.saturating_sub(wanted.prompt.len());
        let seed = wanted.seeds.first().map_or(0, |seed| seed % SEEDS);
        SampleRequest {
            prompt: wanted.prompt.clone(),
            count: wanted.seeds.len() as u32,
            max_tokens: sampling.max_tokens.min(room) as u32,
            temperature: sampling.temperature,
            seed: seed as u32,
            stop: StopAt::Tokens(self.shared.policy.tokenizer.eos().to_vec()),
        }
    }

    /// The reply that a completion is.
    fn reply(&self, sequence: SampledSequence) -> Result<SampledReply, String> {
        let SampledSequence { tokens, logprobs: log_probs, stop_reason } = sequence;
        let policy = &self.shared.policy;
        if let Some(token) = tokens.iter().find(|token| **token as usize >= policy.vocabulary) {
            return Err(format!("a reply has token {token}, and the policy has {} tokens", policy.vocabulary));
        }
        let text = self.text(&tokens).map_err(|e| e.to_string())?;
        let finish = if stop_reason == StopReason::Length { Finish::Length } else { Finish::Stop };
        // Nothing is cut from the distribution, so both log-probs are the same.
        let drawn_log_probs = log_probs.clone();
        Ok(SampledReply { tokens, log_probs, drawn_log_probs, text, finish, weight_version: self.weight_version })
    }

    /// The text of a reply without its end token.
    fn text(&self, tokens: &[u32]) -> Result<String, PolicyError> {
        let tokenizer = &self.shared.policy.tokenizer;
        let shown = match tokens {
            [before @ .., last] if tokenizer.eos().contains(last) => before,
            all => all,
        };
        tokenizer.decode(shown)
    }
}

impl Sampler for TinkerSampler {
    /// Asks for all replies to a prompt at once, and has about `sampling.batch` replies in progress. The first request that fails
    /// ends all others.
    fn sample(
        &self,
        requests: &[GenerationRequest],
        sampling: &SamplingConfig,
        progress: &OngoingWork,
        on_reply: &mut (dyn FnMut(FinishedReply) + Send),
    ) -> Result<Vec<Vec<SampledReply>>, SamplerError> {
        let mut replies: Vec<Vec<SampledReply>> = vec![Vec::new(); requests.len()];
        let work = async {
            let mut waiting = requests.iter().enumerate();
            let (mut running, mut in_progress) = (JoinSet::new(), 0);
            loop {
                while in_progress < sampling.batch.max(1) {
                    let Some((request, wanted)) = waiting.next() else { break };
                    let (remote, asked) = (Arc::clone(&self.remote), self.request(wanted, sampling));
                    in_progress += wanted.seeds.len();
                    running.spawn(async move {
                        let replies = match remote.sample(&asked).await {
                            Ok(pending) => pending.result().await,
                            Err(error) => Err(error),
                        };
                        RequestResult { request, replies }
                    });
                }
                let Some(done) = running.join_next().await else { return Ok::<(), SamplerError>(()) };
                let RequestResult { request, replies: sampled } = done.map_err(|e| SamplerError::Request {
                    request: 0,
                    message: format!("a request of the client ended without a result: {e}"),
                })?;
                let failed = |message: String| SamplerError::Request { request, message };
                let sampled = sampled.map_err(|e| failed(format!("{e} ({AGAIN})")))?;
                in_progress = in_progress.saturating_sub(requests[request].seeds.len());
                for (index, sequence) in sampled.into_iter().enumerate() {
                    let reply = self.reply(sequence).map_err(failed)?;
                    reply.tokens.iter().for_each(|_| progress.add_token());
                    on_reply(FinishedReply { request, index, text: reply.text.clone(), tokens: reply.tokens.clone() });
                    replies[request].push(reply);
                }
            }
        };
        let done = self.shared.runtime.wait(work);
        done.map_err(|message| SamplerError::Request { request: 0, message })??;
        Ok(replies)
    }
}
