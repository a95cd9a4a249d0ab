//! A prompt with its seed, and a completion with its log-probs.

use serde::Deserialize;
use serde_json::{Value, json};

/// The log-prob that vLLM writes for NaN and for minus infinity.
const CLAMPED: f64 = -9999.0;

/// A prompt of which one completion is sampled, over the whole vocabulary.
#[derive(Clone, Debug, PartialEq)]
pub struct TokensRequest {
    /// Name of the model or adapter that samples.
    pub model: String,
    /// Token ids of the prompt.
    pub prompt: Vec<u32>,
    /// Largest number of tokens of the completion.
    pub max_tokens: usize,
    /// Temperature by which logits are divided.
    pub temperature: f32,
    /// Seed of the completion. vLLM takes 63 bits, so the lowest bit is left out.
    pub seed: u64,
    /// Ids of the tokens that end the completion, which has the one that ended it. Those of the model's own files do not.
    pub stop_token_ids: Vec<u32>,
    /// Texts that end the completion as soon as they occur in it.
    pub stop: Vec<String>,
}

impl TokensRequest {
    /// The request as vLLM reads it. Every setting that a server has its own defaults for is written.
    pub(crate) fn body(&self) -> Value {
        let mut sampling = json!({
            "n": 1,
            "temperature": self.temperature,
            "top_p": 1.0,
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "max_tokens": self.max_tokens,
            "seed": self.seed >> 1,
            "logprobs": 0,
            "ignore_eos": true,
            "stop_token_ids": self.stop_token_ids,
            "detokenize": !self.stop.is_empty(),
        });
        if !self.stop.is_empty() {
            sampling["stop"] = json!(self.stop);
        }
        json!({ "model": self.model, "token_ids": self.prompt, "sampling_params": sampling })
    }
}

/// Why a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// A token or a text that ends it.
    Stop,
    /// It has the largest number of tokens.
    Length,
    /// The server gave the request up, for example because it was paused.
    Aborted,
}

/// A completion.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratedTokens {
    /// Token ids, the end token included.
    pub tokens: Vec<u32>,
    /// Log-prob of each token at the sampling temperature, over the whole vocabulary, if the server was started with
    /// `--logprobs-mode processed_logprobs`.
    pub log_probs: Vec<f32>,
    /// Why it ended.
    pub end: EndReason,
    /// The label of the weights that sampled it, as [`crate::VllmServer::set_weight_version`] set it; several if they
    /// changed while it was sampled.
    pub weight_versions: Vec<String>,
}

/// What is wrong with a completion.
#[derive(Debug, PartialEq)]
pub(crate) enum CompletionFault {
    /// It is not what the protocol says; the text says how.
    Malformed(String),
    /// The log-prob of the token with this index is NaN or infinite.
    NotFinite(usize),
}

/// The answer of `/inference/v1/generate`, as far as it is read.
#[derive(Deserialize)]
pub(crate) struct GenerateAnswer {
    choices: Vec<ChoiceAnswer>,
}

#[derive(Deserialize)]
struct ChoiceAnswer {
    finish_reason: Option<String>,
    token_ids: Option<Vec<u32>>,
    logprobs: Option<LogProbsAnswer>,
    #[serde(default)]
    weight_versions: Option<Vec<SpanAnswer>>,
}

#[derive(Deserialize)]
struct LogProbsAnswer {
    content: Option<Vec<TokenAnswer>>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token_id: u32,
    logprob: Option<f64>,
}

#[derive(Deserialize)]
struct SpanAnswer {
    version: String,
}

impl GenerateAnswer {
    /// Checks the answer. A completion that was aborted may have fewer log-probs than tokens.
    pub fn completion(self) -> Result<GeneratedTokens, CompletionFault> {
        let malformed = |message: String| Err(CompletionFault::Malformed(message));
        let choices = self.choices.len();
        let Ok([choice]) = <[ChoiceAnswer; 1]>::try_from(self.choices) else {
            return malformed(format!("{choices} completions instead of 1"));
        };
        let end = match choice.finish_reason.as_deref() {
            Some("stop") => EndReason::Stop,
            Some("length") => EndReason::Length,
            Some("abort") => EndReason::Aborted,
            other => return malformed(format!("the completion ended with the reason {other:?}")),
        };
        let tokens = choice.token_ids.unwrap_or_default();
        let mut weight_versions: Vec<String> = Vec::new();
        for span in choice.weight_versions.into_iter().flatten() {
            if weight_versions.last() != Some(&span.version) {
                weight_versions.push(span.version);
            }
        }
        if end == EndReason::Aborted {
            return Ok(GeneratedTokens { tokens, log_probs: Vec::new(), end, weight_versions });
        }
        let content = choice.logprobs.and_then(|log_probs| log_probs.content).unwrap_or_default();
        if tokens.is_empty() {
            return malformed("the completion has no tokens".into());
        }
        if content.len() != tokens.len() {
            return malformed(format!("{} log-probs for {} tokens", content.len(), tokens.len()));
        }
        if content.iter().zip(&tokens).any(|(entry, token)| entry.token_id != *token) {
            return malformed("the log-probs are those of other tokens".into());
        }
        let finite = |entry: &TokenAnswer| entry.logprob.filter(|x| x.is_finite() && *x > CLAMPED);
        if let Some(position) = content.iter().position(|entry| finite(entry).is_none()) {
            return Err(CompletionFault::NotFinite(position));
        }
        let log_probs = content.iter().filter_map(finite).map(|x| x as f32).collect();
        Ok(GeneratedTokens { tokens, log_probs, end, weight_versions })
    }
}
