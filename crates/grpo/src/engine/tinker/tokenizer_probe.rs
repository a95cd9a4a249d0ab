//! Whether a server has the policy's tokenizer. The API does not show a server's tokenizer, but a server looks for stop texts in
//! what its own tokenizer makes of the sampled tokens.

use rlar_policy::{PolicyError, Tokenizer};
use rlar_tinker::{RemoteSampler, SampleRequest, SampledSequence, StopAt, StopReason};
use serde::{Deserialize, Serialize};

use crate::engine::tinker::served_policy::ServedPolicy;

/// Number of tokens that are sampled.
const SAMPLED: usize = 64;

/// Temperatures of the samples in which a text is looked for. Some are high, because tokenizers differ in rare tokens first.
const TEMPERATURES: [f32; 4] = [1.0, 3.0, 1.0, 3.0];

/// Least length of a stop text, in bytes.
const STOP_TEXT: usize = 3;

/// Largest number of tokens of a stop text.
const STOP_TOKENS: usize = 16;

/// What was found out about a server's tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenizerCheck {
    /// It ends every text that was tried where the policy's tokenizer does.
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
/// the second sample with the token at which the policy's tokenizer completes this text. All samples must agree. The error says
/// what is wrong.
pub(super) async fn check_tokenizer(
    sampler: &RemoteSampler,
    policy: &ServedPolicy,
    prompt: &[u32],
) -> Result<TokenizerCheck, String> {
    let max_tokens = SAMPLED.min(policy.positions.saturating_sub(prompt.len())).max(1) as u32;
    let mut check = TokenizerCheck::NotShown;
    for (seed, temperature) in (1..).zip(TEMPERATURES) {
        let stop = StopAt::Tokens(Vec::new());
        let request = SampleRequest { prompt: prompt.to_vec(), count: 1, max_tokens, temperature, seed, stop };
        let whole = sampled(sampler, &request).await?;
        if let Some(token) = whole.tokens.iter().find(|token| **token as usize >= policy.vocabulary) {
            let vocabulary = policy.vocabulary;
            return Err(format!("it sampled token {token}, and the model at `model.path` has {vocabulary} tokens"));
        }
        if let Some(stop) = stop_text(&policy.tokenizer, &whole.tokens).map_err(|e| e.to_string())?
            && compare(sampler, request, &whole, &stop).await? == TokenizerCheck::Same
        {
            check = TokenizerCheck::Same;
        }
    }
    Ok(check)
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

/// The text of as many tokens as possible that is complete with the last of them: printable ASCII that occurs nowhere before.
/// Added tokens are in no such text, because they have none here and may have one on a server.
fn stop_text(tokenizer: &Tokenizer, tokens: &[u32]) -> Result<Option<StopText>, PolicyError> {
    let added = tokenizer.added_tokens();
    let is_added = |token: u32| added.iter().any(|(id, _)| *id == token);
    let prefixes: Result<Vec<String>, PolicyError> =
        (0..=tokens.len()).map(|end| tokenizer.decode(&tokens[..end])).collect();
    let prefixes = prefixes?;
    let (mut best, mut most) = (None, 0);
    for end in 1..=tokens.len() {
        let whole = &prefixes[end];
        if prefixes[end - 1].len() >= whole.len() {
            continue;
        }
        for start in (end.saturating_sub(STOP_TOKENS)..end).rev() {
            let Some(text) = whole.strip_prefix(prefixes[start].as_str()).filter(|_| !is_added(tokens[start])) else {
                break;
            };
            if !text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
                break;
            }
            let is_first = whole.find(text) == Some(prefixes[start].len());
            let is_in_added = added.iter().any(|(_, special)| special.contains(text));
            if text.len() >= STOP_TEXT && is_first && !is_in_added && end - start > most {
                (best, most) = (Some(StopText { text: text.to_owned(), tokens: end }), end - start);
            }
        }
    }
    Ok(best)
}
