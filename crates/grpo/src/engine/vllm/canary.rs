//! The canary: a fixed prompt whose continuation by a server must have the log-probs that the trainer computes for it.
//!
//! It is longer than a block of vLLM's prefix cache (128 tokens on a CPU), so that a server shows keys and values of earlier
//! weights, which it computed for the same prompt at the step before.

use rlar_policy::{Policy, PolicyError, Sequence, floats};
use rlar_vllm::{GeneratedTokens, TokensRequest};

/// The text whose repetition is the prompt.
const TEXT: &str =
    "A canary in a coal mine fell silent before the miners could smell the gas: 3 of 17 birds, 8.5 % of all. ";

/// Longest prompt of the canary, in tokens.
const PROMPT: usize = 300;

/// Number of tokens that a server samples after it.
const COMPLETION: usize = 16;

/// A fixed prompt, of which servers sample a continuation.
#[derive(Clone, Debug, PartialEq)]
pub struct Canary {
    prompt: Vec<u32>,
    temperature: f32,
    max_tokens: usize,
}

impl Canary {
    /// The canary for a policy, sampled at the temperature of training.
    pub fn new(policy: &Policy, temperature: f32) -> Result<Self, PolicyError> {
        let text = policy.tokenizer.encode(TEXT)?;
        let positions = policy.decoder.config().max_position_embeddings;
        let max_tokens = COMPLETION.min(positions / 2).max(1);
        let length = PROMPT.min(positions.saturating_sub(max_tokens)).max(1);
        Ok(Self { prompt: text.into_iter().cycle().take(length).collect(), temperature, max_tokens })
    }

    /// Number of tokens of the prompt and its continuation together.
    pub fn tokens(&self) -> usize {
        self.prompt.len() + self.max_tokens
    }

    /// The request for the continuation by the model or adapter of this name. It goes on behind end tokens.
    pub fn request(&self, model: &str) -> TokensRequest {
        TokensRequest {
            model: model.to_owned(),
            prompt: self.prompt.clone(),
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            seed: 2,
            stop_token_ids: Vec::new(),
            stop: Vec::new(),
        }
    }

    /// Mean absolute difference, in nats, between the log-probs that a server gave for its continuation and those of the
    /// policy. An error if the policy cannot have sampled it.
    pub fn gap(&self, policy: &Policy, continuation: &GeneratedTokens) -> Result<f64, String> {
        let (tokens, vocabulary) = (&continuation.tokens, policy.decoder.config().vocab_size);
        if tokens.len() != self.max_tokens || continuation.log_probs.len() != tokens.len() {
            return Err(format!("{} tokens came back for the canary instead of {}", tokens.len(), self.max_tokens));
        }
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocabulary) {
            return Err(format!("it sampled token {token}, and the policy has {vocabulary} tokens"));
        }
        let sequence = Sequence { prompt: &self.prompt, completion: tokens };
        let own = floats(&policy.decoder.log_probs(&[sequence], self.temperature).log_probs);
        let differences = own.iter().zip(&continuation.log_probs).map(|(a, b)| f64::from((a - b).abs()));
        Ok(differences.sum::<f64>() / tokens.len() as f64)
    }
}
