//! Whether a server has the policy's tokenizer. The API does not show a server's tokenizer, but a server looks for stop texts in
//! what its own tokenizer makes of the sampled tokens.

use rlar_policy::{PolicyError, Tokenizer};
use rlar_tinker::{RemoteSampler, SampleRequest, SampledSequence, StopAt, StopReason};
use serde::{Deserialize, Serialize};

use crate::engine::tinker::served_policy::ServedPolicy;

/// Number of tokens that are sampled.
const SAMPLED: usize = 64;

/// Number of samples in which a text is looked for.
const SAMPLES: u32 = 4;

/// Length of the stop text, in bytes.
const STOP_TEXT: usize = 3;

/// What was found out about a server's tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenizerCheck {
    /// It ends a text where the policy's tokenizer does.
    Same,
    /// Nothing: the sampled tokens have no text that can be looked for, or the same seed gives other tokens.
    NotShown,
}

/// A text that is complete with a token.
#[derive(Debug)]
struct StopText {
    text: String,
    /// Number of tokens up to the one with which the text is complete.
    tokens: usize,
}

/// Samples some tokens, and samples them again with a text of theirs as a stop text: a server with the policy's tokenizer ends
/// the second sample with the token at which the policy's tokenizer completes this text. The error says what is wrong.
pub(super) async fn check_tokenizer(
    sampler: &RemoteSampler,
    policy: &ServedPolicy,
    prompt: &[u32],
) -> Result<TokenizerCheck, String> {
    let max_tokens = SAMPLED.min(policy.positions.saturating_sub(prompt.len())).max(1) as u32;
    for seed in 1..=SAMPLES {
        let stop = StopAt::Tokens(Vec::new());
        let request = SampleRequest { prompt: prompt.to_vec(), count: 1, max_tokens, temperature: 1.0, seed, stop };
        let whole = sampled(sampler, &request).await?;
        if let Some(token) = whole.tokens.iter().find(|token| **token as usize >= policy.vocabulary) {
            let vocabulary = policy.vocabulary;
            return Err(format!("it sampled token {token}, and the model at `model.path` has {vocabulary} tokens"));
        }
        if let Some(stop) = stop_text(&policy.tokenizer, &whole.tokens).map_err(|e| e.to_string())? {
            return compare(sampler, request, &whole, &stop).await;
        }
    }
    Ok(TokenizerCheck::NotShown)
}

/// Samples the same tokens again with a stop text.
async fn compare(
    sampler: &RemoteSampler,
    request: SampleRequest,
    whole: &SampledSequence,
    stop: &StopText,
) -> Result<TokenizerCheck, String> {
    let stopped = SampleRequest { stop: StopAt::Texts(vec![stop.text.clone()]), ..request };
    let cut = sampled(sampler, &stopped).await?;
    if !whole.tokens.starts_with(&cut.tokens) {
        return Ok(TokenizerCheck::NotShown);
    }
    if cut.tokens.len() == stop.tokens && cut.stop_reason == StopReason::Stop {
        return Ok(TokenizerCheck::Same);
    }
    let (text, wanted, got) = (&stop.text, stop.tokens, cut.tokens.len());
    Err(format!(
        "its tokenizer is not that of the model at `model.path`: of the same tokens, the text {text:?} is complete with token \
         {wanted} there, and the server went on to token {got}"
    ))
}

async fn sampled(sampler: &RemoteSampler, request: &SampleRequest) -> Result<SampledSequence, String> {
    let pending = sampler.sample(request).await.map_err(|e| e.to_string())?;
    let sequences = pending.result().await.map_err(|e| e.to_string())?;
    sequences.into_iter().next().ok_or_else(|| "it sampled nothing".to_owned())
}

/// The first text of printable ASCII characters that occurs nowhere before the token with which it ends. Tokens behind an end
/// token are not looked at: special tokens have no text here, and may have one on a server.
fn stop_text(tokenizer: &Tokenizer, tokens: &[u32]) -> Result<Option<StopText>, PolicyError> {
    let ends = tokens.iter().position(|token| tokenizer.eos().contains(token)).unwrap_or(tokens.len());
    for end in 2..=ends {
        let text = tokenizer.decode(&tokens[..end])?;
        let Some(at) = text.len().checked_sub(STOP_TEXT) else { continue };
        let Some(last) = text.get(at..).filter(|last| last.bytes().all(|b| b == b' ' || b.is_ascii_graphic())) else {
            continue;
        };
        let before = tokenizer.decode(&tokens[..end - 1])?;
        if text.find(last) == Some(at) && text.starts_with(&before) && before.len() < text.len() {
            return Ok(Some(StopText { text: last.to_owned(), tokens: end }));
        }
    }
    Ok(None)
}
