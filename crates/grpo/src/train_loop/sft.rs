//! Supervised fine-tuning: the mean negative log-prob of the model's own words in demonstrations.

use std::time::Instant;

use rlar_data::Example;
use rlar_eval::suite::SuiteEval;
use rlar_eval::{PromptFormat, encode_fitting_prompt};
use rlar_policy::{AdamW, Conversation, Policy, PolicyError, Sequence, Turn};
use rlar_run::{Files, Journal};
use serde_json::{Value, json};

use crate::rollouts::collect::Source;
use crate::train_loop::Course;
use crate::train_loop::held_out::midway;
use crate::update::micro_batches::{Descent, Slopes, gradient};
use crate::update::policy_update::descent;
use crate::update::train_state::State;
use crate::{TrainError, optimizer, schedule};

/// A demonstration as tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Demonstration {
    prompt: Vec<u32>,
    reply: Vec<u32>,
    /// Which tokens of the reply are the model's own words.
    own: Vec<bool>,
}

impl Demonstration {
    /// Its tokens, the prompt's included.
    pub fn len(&self) -> usize {
        self.prompt.len() + self.reply.len()
    }

    /// Whether it has no tokens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn sequence(&self) -> Sequence<'_> {
        Sequence { prompt: &self.prompt, completion: &self.reply }
    }
}

/// Tokens of every demonstration: of a prompt's reply, ended with the model's end token, or of a whole conversation, whose
/// assistant turns are learned. One that is empty or does not fit the model's positions is refused by name.
pub fn demonstrations(
    policy: &Policy,
    examples: &[Example],
    format: PromptFormat,
) -> Result<Vec<Demonstration>, PolicyError> {
    let tokens = |e: &Example| {
        let demonstration = match &e.demonstration {
            Some(reply) => {
                let mut reply = policy.tokenizer.encode(reply)?;
                reply.extend(policy.tokenizer.eos().first());
                Demonstration { prompt: encode_fitting_prompt(policy, e, format)?, own: vec![true; reply.len()], reply }
            }
            None => conversation(policy, e)?,
        };
        let have = demonstration.prompt.len() + demonstration.reply.len();
        let room = policy.decoder.config().max_position_embeddings;
        if demonstration.prompt.is_empty() || demonstration.reply.is_empty() || have > room {
            let message = format!("demonstration `{}` has {have} tokens; the model has room for 2 to {room}", e.id);
            return Err(PolicyError::Request(message));
        }
        Ok(demonstration)
    };
    examples.iter().map(tokens).collect()
}

/// A conversation from its first token that is learned on.
fn conversation(policy: &Policy, example: &Example) -> Result<Demonstration, PolicyError> {
    let turns: Vec<Turn> =
        example.messages.iter().map(|m| Turn { role: m.role.as_str(), content: &m.content }).collect();
    let (tokens, own) = policy.tokenizer.masked(&Conversation::of(&turns, false))?;
    let Some(first) = own.iter().position(|o| *o).filter(|first| *first > 0) else {
        let message = format!("demonstration `{}` has no assistant turn to learn", example.id);
        return Err(PolicyError::Request(message));
    };
    let last = own.iter().rposition(|o| *o).unwrap_or(first) + 1;
    let part = |from: usize, to: usize| tokens[from..to].to_vec();
    Ok(Demonstration { prompt: part(0, first), reply: part(first, last), own: own[first..last].to_vec() })
}

/// What one supervised step needs beside the model.
#[derive(Clone, Copy, Debug)]
pub struct SftStep {
    /// Its number in the record, from 1.
    pub number: u64,
    /// Its place in the order of the data, from 0.
    pub place: u64,
    /// Demonstrations per step.
    pub batch: usize,
    /// Seed of the data order.
    pub seed: u64,
    /// Learning rate.
    pub lr: f32,
    /// How it is differentiated.
    pub descent: Descent,
}

/// One step down the loss; gives its record.
pub fn step_down(
    state: &mut State,
    optimizer: &AdamW,
    data: &[Demonstration],
    step: SftStep,
) -> Result<Value, TrainError> {
    let chosen = schedule::batch(data.len(), step.batch.min(data.len()), step.place, step.seed);
    let chosen: Vec<&Demonstration> = chosen.iter().map(|i| &data[*i]).collect();
    let sequences: Vec<Sequence> = chosen.iter().map(|d| d.sequence()).collect();
    let tokens = chosen.iter().flat_map(|d| &d.own).filter(|own| **own).count();
    let slope = -1.0 / tokens.max(1) as f32;
    let mut loss = 0.0;
    let gradients = gradient(&state.model.decoder, &sequences, step.descent, |piece, log_probs, _| {
        let own: Vec<bool> = chosen[piece].iter().flat_map(|d| d.own.iter().copied()).collect();
        let learned = log_probs.iter().zip(&own).filter(|(_, own)| **own);
        loss -= learned.map(|(x, _)| f64::from(*x)).sum::<f64>();
        Slopes { by_log_prob: own.iter().map(|o| if *o { slope } else { 0.0 }).collect(), by_entropy: Vec::new() }
    });
    let norm = optimizer.step(&mut state.model.decoder, &mut state.moments, gradients, step.lr);
    if !norm.is_finite() {
        return Err(TrainError::Diverged { step: step.number });
    }
    Ok(json!({
        "step": step.number,
        "loss": loss / tokens.max(1) as f64,
        "grad_norm": norm,
        "learning_rate": step.lr,
        "tokens": tokens,
    }))
}

/// Supervised fine-tuning.
#[derive(Debug)]
pub struct Sft<'a> {
    /// The config, and tools to measure with.
    pub source: Source<'a>,
    /// Prompts to measure on.
    pub heldout: &'a [Example],
    /// Suites to measure on.
    pub exams: &'a mut [SuiteEval],
    /// What is imitated.
    pub data: &'a [Demonstration],
}

impl Course<Policy> for Sft<'_> {
    fn step(&mut self, state: &mut State, lr: f32, _: &mut Journal) -> Result<Value, TrainError> {
        let clock = Instant::now();
        let (config, ledger) = (self.source.config, &state.ledger);
        let place = ledger.warmup + ledger.step;
        let descent = descent(config, 1.0, ledger.tokens_at_a_time, place);
        let (number, batch) = (ledger.step + 1, config.train.batch);
        let step = SftStep { number, place, batch, seed: config.seed, lr, descent };
        let mut record = step_down(state, &optimizer(config), self.data, step)?;
        let training = clock.elapsed().as_secs_f64();
        record["seconds"] = json!({ "training": training });
        state.ledger.seconds.training += training;
        Ok(record)
    }

    fn measure(&mut self, model: &Policy) -> Result<Option<Value>, TrainError> {
        midway(model, self.heldout, self.source.rewards, self.exams, self.source.config)
    }

    fn sync(&mut self) -> Result<(), TrainError> {
        Ok(())
    }

    fn files(&self) -> Result<Files, TrainError> {
        Ok(Vec::new())
    }
}
