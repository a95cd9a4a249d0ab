//! Sampling in this process.

use rlar_policy::{GenerationRequest, Policy, Sample, StreamControl, TokenEvent};
use rlar_run::OngoingWork;

use crate::config::SamplingConfig;
use crate::engine::sampler::{FinishedReply, SampledReply, Sampler, SamplerError};

/// Samples replies from a policy in this process.
#[derive(Debug)]
pub struct LocalSampler {
    /// The policy. It shares its weights with the policy that is trained, until that one changes.
    pub policy: Policy,
    /// Number of training steps that the policy has taken.
    pub weight_version: u64,
}

impl Sampler for LocalSampler {
    fn sample(
        &self,
        requests: &[GenerationRequest],
        sampling: &SamplingConfig,
        progress: &OngoingWork,
        on_reply: &mut (dyn FnMut(FinishedReply) + Send),
    ) -> Result<Vec<Vec<SampledReply>>, SamplerError> {
        let mut texts: Vec<Vec<String>> = requests.iter().map(|r| vec![String::new(); r.seeds.len()]).collect();
        let mut ids: Vec<Vec<Vec<u32>>> = requests.iter().map(|r| vec![Vec::new(); r.seeds.len()]).collect();
        let mut on_token = |event: TokenEvent| {
            let TokenEvent { request, index, .. } = event;
            texts[request][index].push_str(event.text);
            ids[request][index].push(event.token);
            progress.add_token();
            if event.finish.is_some() {
                let text = std::mem::take(&mut texts[request][index]);
                let tokens = std::mem::take(&mut ids[request][index]);
                on_reply(FinishedReply { request, index, text, tokens });
            }
            StreamControl::Continue
        };
        let engine = self.policy.engine(sampling.batch);
        let samples = engine.stream(requests, &sampling.at(sampling.temperature), &mut on_token)?;
        let reply = |sample: Sample| SampledReply {
            tokens: sample.tokens,
            log_probs: sample.log_probs,
            drawn_log_probs: sample.drawn_log_probs,
            text: sample.text,
            finish: sample.finish,
            weight_version: self.weight_version,
        };
        Ok(samples.into_iter().map(|samples| samples.into_iter().map(reply).collect()).collect())
    }
}
