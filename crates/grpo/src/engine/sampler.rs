//! The sampler: prompts as token ids in, replies with their log-probs out.

use rlar_policy::{Finish, GenerationRequest, PolicyError};
use rlar_run::OngoingWork;

use crate::config::SamplingConfig;

/// Samples replies with one version of the policy's weights. [`Trainer::publish`] makes it; dropping it releases these
/// weights.
///
/// [`Trainer::publish`]: crate::engine::trainer::Trainer::publish
pub trait Sampler: Send {
    /// Samples replies to every request, one per seed, at the temperature `sampling.temperature`, and returns them in
    /// the order of requests and seeds. Calls `on_reply` once with every reply, as soon as it is complete, so that it is
    /// scored while others are still being sampled. Counts tokens in `progress`.
    fn sample(
        &self,
        requests: &[GenerationRequest],
        sampling: &SamplingConfig,
        progress: &OngoingWork,
        on_reply: &mut (dyn FnMut(FinishedReply) + Send),
    ) -> Result<Vec<Vec<SampledReply>>, SamplerError>;
}

/// A reply that has just been sampled completely.
#[derive(Clone, Debug, PartialEq)]
pub struct FinishedReply {
    /// Index of the generation request, one per prompt.
    pub request: usize,
    /// Index of the reply among those to the same prompt.
    pub index: usize,
    /// The whole reply as text.
    pub text: String,
    /// Token ids of the reply, the end token included.
    pub tokens: Vec<u32>,
}

/// A sampled reply with its log-probs.
#[derive(Clone, Debug, PartialEq)]
pub struct SampledReply {
    /// Token ids of the reply, the end token included.
    pub tokens: Vec<u32>,
    /// Log-prob of each token under the policy that sampled it, at the sampling temperature, over the whole vocabulary.
    pub log_probs: Vec<f32>,
    /// Log-prob of each token under the distribution that it was drawn from, after top-k, top-p, min-p and repetition
    /// penalty.
    pub drawn_log_probs: Vec<f32>,
    /// Text of the reply, without the end token.
    pub text: String,
    /// Why the generation of the reply ended.
    pub finish: Finish,
    /// Version of the weights that sampled the reply: the number of training steps that they had taken.
    pub weight_version: u64,
}

/// Why a sampler gave no replies, or replies that cannot be trained on.
#[derive(Debug, thiserror::Error)]
pub enum SamplerError {
    /// The policy in this process cannot sample.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A request failed, or its replies are not what was asked for.
    #[error("{message}")]
    Request {
        /// Index of the request.
        request: usize,
        /// What went wrong, with the name of the server if there is one.
        message: String,
    },
}

/// Checks the replies that a sampler gave to `requests`: their number, their log-probs, and that weights of the version
/// `weight_version` sampled them.
pub fn check_replies(
    requests: &[GenerationRequest],
    replies: &[Vec<SampledReply>],
    weight_version: u64,
) -> Result<(), SamplerError> {
    for (request, wanted) in requests.iter().enumerate() {
        let given = replies.get(request).map_or(&[][..], Vec::as_slice);
        let fault = if given.len() == wanted.seeds.len() {
            given.iter().find_map(|reply| reply.fault(weight_version))
        } else {
            Some(format!("{} of {} replies came back", given.len(), wanted.seeds.len()))
        };
        if let Some(message) = fault {
            return Err(SamplerError::Request { request, message });
        }
    }
    Ok(())
}

impl SampledReply {
    /// Why the reply cannot be trained on; `None` if it can be.
    fn fault(&self, weight_version: u64) -> Option<String> {
        let tokens = self.tokens.len();
        let lists = [&self.log_probs, &self.drawn_log_probs];
        if self.weight_version != weight_version {
            return Some(format!(
                "weights of version {} sampled a reply, and those of version {weight_version} were to; such a reply is not \
                 trained on",
                self.weight_version
            ));
        }
        if tokens == 0 {
            return Some("a reply has no tokens".to_owned());
        }
        if let Some(list) = lists.iter().find(|list| list.len() != tokens) {
            return Some(format!("a reply of {tokens} tokens has {} log-probs", list.len()));
        }
        let has_nan = lists.into_iter().flatten().any(|log_prob| log_prob.is_nan());
        has_nan.then(|| "a log-prob of a reply is NaN".to_owned())
    }
}
