//! Supervised fine-tuning: the mean negative log-prob of demonstrated replies.

use rlar_data::Example;
use rlar_eval::{PromptFormat, prompt_tokens};
use rlar_policy::{AdamW, Moments, Policy, PolicyError, Sequence};

use crate::schedule;
use crate::update::{Descent, items, update};

/// A demonstration as tokens.
#[derive(Clone, Debug)]
pub struct Demonstration {
    prompt: Vec<u32>,
    reply: Vec<u32>,
}

/// Tokens of every example that carries a demonstration; the reply ends with the model's end token. One that
/// is empty or does not fit the model's positions is refused by name.
pub fn demonstrations(
    policy: &Policy,
    examples: &[Example],
    format: PromptFormat,
) -> Result<Vec<Demonstration>, PolicyError> {
    let tokens = |e: &Example| {
        let mut reply = policy.tokenizer.encode(e.demonstration.as_deref().unwrap_or_default())?;
        reply.extend(policy.tokenizer.eos().first());
        let prompt = prompt_tokens(policy, e, format)?;
        let (have, room) = (prompt.len() + reply.len(), policy.decoder.config().max_position_embeddings);
        if prompt.is_empty() || reply.is_empty() || have > room {
            let message = format!("demonstration `{}` has {have} tokens; the model has room for 2 to {room}", e.id);
            return Err(PolicyError::Request(message));
        }
        Ok(Demonstration { prompt, reply })
    };
    examples.iter().map(tokens).collect()
}

/// What one supervised step needs beside the model.
#[derive(Clone, Copy, Debug)]
pub struct SftStep {
    /// Which step, from 0: decides the batch.
    pub step: u64,
    /// Demonstrations per step.
    pub batch: usize,
    /// Seed of the data order.
    pub seed: u64,
    /// Learning rate.
    pub lr: f32,
    /// How it is differentiated.
    pub descent: Descent,
}

/// One step; gives the gradient norm and the mean loss per token.
pub fn sft_step(
    policy: &mut Policy,
    moments: &mut Moments,
    optimizer: &AdamW,
    data: &[Demonstration],
    step: SftStep,
) -> (f64, f64) {
    let chosen = schedule::batch(data.len(), step.batch.min(data.len()), step.step, step.seed);
    let sequences = chosen.iter().map(|i| Sequence { prompt: &data[*i].prompt, completion: &data[*i].reply });
    let items = items(sequences);
    update(&mut policy.decoder, moments, optimizer, step.lr, &items, step.descent, |scored, _| {
        scored.log_probs.sum().neg()
    })
}
