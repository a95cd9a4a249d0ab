//! The lengths of prompts and of other sequences that a job computes with.

use rlar_data::{DataError, Example, on_all_cores};
use rlar_eval::{check_prompt_length, encode_prompts};
use rlar_policy::{PolicyError, Tokenizer};

use crate::TrainError;
use crate::config::{Config, Method};
use crate::train_loop::preference::PreferencePair;
use crate::train_loop::sft::Demonstration;

/// Lengths of the sequences that a job trains on, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// Length of the longest sequence: a prompt with the longest possible reply, a demonstration, or a pair of replies.
    pub longest: usize,
    /// The most tokens that the sequences of one optimizer step can have together.
    pub step: usize,
}

impl Lengths {
    /// The lengths of a job that trains a policy. `prompts` are the lengths of its prompts; 0 for those that are left out.
    pub fn of(prompts: &[u32], demonstrations: &[Demonstration], config: &Config) -> Self {
        let (train, max_tokens) = (&config.train, config.sampling.max_tokens);
        let sampled = prompts.iter().map(|prompt| *prompt as usize + max_tokens).max();
        let demonstrated = demonstrations.iter().map(Demonstration::len).max();
        let mut step = 1;
        if let Some(sampled) = sampled.filter(|_| train.method == Method::Grpo) {
            let groups = train.prompts.min(prompts.len()).div_ceil(train.minibatches.max(1));
            // On the CPU, the replies to a prompt share the prompt's tokens.
            let shared = if config.device.starts_with("cuda") { 0 } else { sampled - max_tokens };
            let group = train.group_size * (sampled - shared) + shared;
            step = groups * group;
        }
        if let Some(demonstrated) = demonstrated {
            let warmup = if config.warmup.steps > 0 { config.warmup.batch } else { 0 };
            let batch = if train.method == Method::Sft { warmup.max(train.batch) } else { warmup };
            step = step.max(batch.min(demonstrations.len()) * demonstrated);
        }
        Self { longest: sampled.max(demonstrated).unwrap_or(1), step }
    }

    /// The lengths of a job that trains a reward model on these pairs.
    pub fn of_pairs(pairs: &[PreferencePair], config: &Config) -> Self {
        let longest = pairs.iter().map(PreferencePair::len).max().unwrap_or(1);
        Self { longest, step: config.train.batch.min(pairs.len()).max(1) * longest }
    }
}

/// Length of every prompt, in tokens; 0 for a prompt that `data.min_prompt_tokens` or `data.max_prompt_tokens` leaves
/// out. `blocks` gives the examples some thousands at a time. A prompt that is too long for the policy's context of
/// `positions` tokens is an error. `key` is the config key of the file, for messages.
pub fn prompt_lengths(
    tokenizer: &Tokenizer,
    positions: usize,
    blocks: impl Iterator<Item = Result<Vec<Example>, DataError>>,
    config: &Config,
    key: &'static str,
) -> Result<Vec<u32>, TrainError> {
    let length = |example: &Example, tokens: &Vec<u32>| {
        if !config.data.fits(tokens.len()) {
            return Ok(0);
        }
        check_prompt_length(positions, example, tokens.len())?;
        Ok(tokens.len() as u32)
    };
    let of_share = |share: Vec<Example>| -> Result<Vec<u32>, PolicyError> {
        let tokens = encode_prompts(tokenizer, &share, config.data.format)?;
        share.iter().zip(&tokens).map(|(example, tokens)| length(example, tokens)).collect()
    };
    let mut lengths: Vec<u32> = Vec::new();
    for block in blocks {
        for share in on_all_cores(block?, of_share) {
            lengths.extend(share.map_err(|source| TrainError::Data { key, source })?);
        }
    }
    let left_out = lengths.iter().filter(|length| **length == 0).count();
    if left_out == lengths.len() && left_out > 0 {
        let message = "`data.min_prompt_tokens` and `data.max_prompt_tokens` leave out every prompt".to_owned();
        return Err(TrainError::Data { key, source: PolicyError::Request(message) });
    }
    if left_out > 0 {
        tracing::warn!("{key}: {left_out} of {} prompts are left out because of their length", lengths.len());
    }
    let (longest, room) = (lengths.iter().max(), positions);
    let max_tokens = config.sampling.max_tokens;
    if let Some(longest) = longest.map(|n| *n as usize).filter(|n| n + max_tokens > room) {
        let left = room - longest;
        tracing::warn!(
            "{key}: a prompt of {longest} tokens leaves {left} of the model's {room} positions for a reply, fewer than \
             `sampling.max_tokens`, {max_tokens}"
        );
    }
    Ok(lengths)
}

/// Removes the examples whose prompts are left out because of their length: those with the length 0.
pub fn retain_fitting(examples: &mut Vec<Example>, lengths: &[u32]) {
    let mut kept = lengths.iter().map(|length| *length > 0);
    examples.retain(|_| kept.next().unwrap_or(true));
}
