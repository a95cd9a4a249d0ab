//! Supervised fine-tuning: the loss is the mean negative log-prob of the completion tokens of demonstrations.

use std::time::Instant;

use rlar_data::Example;
use rlar_eval::suite::SuiteEval;
use rlar_eval::{PromptFormat, encode_fitting_prompt, turns};
use rlar_policy::chat::on_rendering_thread;
use rlar_policy::{Conversation, Gradients, Policy, PolicyError, Sequence, TurnTokens};
use rlar_rewards::Orchestrator;
use rlar_run::Journal;

use crate::config::Config;
use crate::engine::local::micro_batches::{LossGradients, add_gradient};
use crate::engine::local::trainer::LocalTrainer;
use crate::engine::trainer::{CurrentPolicy, PassOptions};
use crate::report::step_record::{Measurement, SftMetrics, StepMetrics, StepRecord, StepSeconds};
use crate::train_loop::TrainMethod;
use crate::train_loop::held_out::measure_policy;
use crate::update::train_state::TrainState;
use crate::{TrainError, schedule};

/// The token ids of a demonstration, and which of them are trained on.
#[derive(Clone, Debug, PartialEq)]
pub struct Demonstration {
    prompt: Vec<u32>,
    completion: Vec<u32>,
    /// For each token of the completion, whether it is trained on: true for the tokens of assistant turns.
    completion_mask: Vec<bool>,
}

impl Demonstration {
    /// Number of tokens of prompt and completion together.
    pub fn len(&self) -> usize {
        self.prompt.len() + self.completion.len()
    }

    /// Whether prompt and completion are both empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn sequence(&self) -> Sequence<'_> {
        Sequence { prompt: &self.prompt, completion: &self.completion }
    }
}

/// The token ids of every demonstration: a prompt with its reply and the end of the turn, or a conversation, of which
/// only the assistant turns are trained on. A demonstration with an empty prompt or reply, or longer than the model's
/// context, is an error with its id.
pub fn demonstrations(
    policy: &Policy,
    examples: &[Example],
    format: PromptFormat,
) -> Result<Vec<Demonstration>, PolicyError> {
    let tokens = |e: &Example| {
        let demonstration = match &e.demonstration {
            Some(reply) => answered(policy, e, reply, format)?,
            None => conversation(policy, e)?,
        };
        let have = demonstration.len();
        let room = policy.decoder.config().max_position_embeddings;
        if demonstration.prompt.is_empty() || demonstration.completion.is_empty() || have > room {
            let message = format!("demonstration `{}` has {have} tokens; the model has room for 2 to {room}", e.id);
            return Err(PolicyError::Request(message));
        }
        Ok(demonstration)
    };
    let all = || examples.iter().map(tokens).collect();
    match format {
        PromptFormat::Chat => on_rendering_thread(all)?,
        PromptFormat::Plain => all(),
    }
}

/// The token ids of a prompt and its reply. With the format `chat`, the chat template writes the reply's turn, so that
/// the tokens are those of a conversation with the same messages. With `plain`, the reply ends with the tokenizer's end
/// token.
fn answered(
    policy: &Policy,
    example: &Example,
    reply: &str,
    format: PromptFormat,
) -> Result<Demonstration, PolicyError> {
    let prompt = encode_fitting_prompt(policy, example, format)?;
    let TurnTokens { prompt, reply: completion } = match format {
        PromptFormat::Chat => policy.tokenizer.demonstration(&turns(example), reply)?,
        PromptFormat::Plain => {
            let mut reply = policy.tokenizer.encode(reply)?;
            reply.extend(policy.tokenizer.eos().first());
            TurnTokens { prompt, reply }
        }
    };
    let completion_mask = vec![true; completion.len()];
    Ok(Demonstration { prompt, completion, completion_mask })
}

/// The token ids of a conversation. The prompt ends before the first token that is trained on, and the completion ends
/// with the last one.
fn conversation(policy: &Policy, example: &Example) -> Result<Demonstration, PolicyError> {
    let tokenizer = &policy.tokenizer;
    let (mut tokens, mut mask) = tokenizer.masked(&Conversation::new(&turns(example), false))?;
    // White space is no end of a turn that the model could generate as one.
    if !tokenizer.ends_turns() && mask.last() == Some(&true) {
        while let Some(last) = tokens.last().filter(|_| mask.last() == Some(&true))
            && tokenizer.decode(&[*last])?.trim().is_empty()
            && !tokenizer.eos().contains(last)
        {
            tokens.pop();
            mask.pop();
        }
        let end = tokenizer.eos().first().filter(|end| tokens.last() != Some(*end)).copied();
        mask.extend(end.map(|_| true));
        tokens.extend(end);
    }
    let Some(first) = mask.iter().position(|m| *m).filter(|first| *first > 0) else {
        let message = format!("demonstration `{}` has no assistant turn to learn", example.id);
        return Err(PolicyError::Request(message));
    };
    let last = mask.iter().rposition(|m| *m).unwrap_or(first) + 1;
    let part = |from: usize, to: usize| tokens[from..to].to_vec();
    Ok(Demonstration {
        prompt: part(0, first),
        completion: part(first, last),
        completion_mask: mask[first..last].to_vec(),
    })
}

/// The settings of one step of supervised fine-tuning.
#[derive(Clone, Copy, Debug)]
pub struct SftStep {
    /// Number of the step in its record, from 1.
    pub number: u64,
    /// Index of the step among all supervised steps of the run, from 0; it decides which demonstrations the step takes.
    pub index: u64,
    /// Number of demonstrations per step.
    pub batch: usize,
    /// Learning rate of the step.
    pub lr: f32,
}

impl SftStep {
    /// Takes the step, and returns its loss, gradient norm and number of trained tokens.
    pub fn take(
        self,
        state: &mut TrainState,
        data: &[Demonstration],
        config: &Config,
    ) -> Result<SftMetrics, TrainError> {
        let chosen = schedule::batch(data.len(), self.batch.min(data.len()), self.index, config.seed);
        let chosen: Vec<&Demonstration> = chosen.iter().map(|i| &data[*i]).collect();
        let sequences: Vec<Sequence> = chosen.iter().map(|d| d.sequence()).collect();
        let tokens = chosen.iter().flat_map(|d| &d.completion_mask).filter(|learned| **learned).count();
        let grad = -1.0 / tokens.max(1) as f32;
        let options = PassOptions::new(config, 1.0, state.counters.tokens_per_micro_batch, self.index);
        let mut loss = 0.0;
        let LocalTrainer { model, moments, .. } = &mut state.trainer;
        let mut gradients = Gradients::default();
        add_gradient(&mut gradients, &model.decoder, &sequences, options, |range, known| {
            let mask: Vec<bool> = chosen[range].iter().flat_map(|d| d.completion_mask.iter().copied()).collect();
            let learned = known.log_probs.iter().zip(&mask).filter(|(_, learned)| **learned);
            loss -= learned.map(|(x, _)| f64::from(*x)).sum::<f64>();
            let log_probs = mask.iter().map(|learned| if *learned { grad } else { 0.0 }).collect();
            LossGradients { log_probs, entropies: Vec::new() }
        });
        let grad_norm = config.optimizer.adamw().step(&mut model.decoder, moments, gradients, self.lr);
        if !grad_norm.is_finite() {
            return Err(TrainError::Diverged { step: self.number });
        }
        Ok(SftMetrics { loss: loss / tokens.max(1) as f64, grad_norm, learning_rate: self.lr, tokens })
    }
}

/// Supervised fine-tuning of a policy as a training method of the train loop.
#[derive(Debug)]
pub struct Sft<'a> {
    /// The config of the run.
    pub config: &'a Config,
    /// The demonstrations to train on, as token ids.
    pub data: &'a [Demonstration],
    /// The reward tools, which score replies to held-out prompts.
    pub rewards: &'a mut Orchestrator,
    /// Held-out prompts to measure the policy on.
    pub heldout: &'a [Example],
    /// Evaluation suites to measure the policy on.
    pub suites: &'a mut [SuiteEval],
}

impl TrainMethod<LocalTrainer> for Sft<'_> {
    fn step(&mut self, state: &mut TrainState, lr: f32, _: &mut Journal) -> Result<StepRecord, TrainError> {
        let clock = Instant::now();
        let step = state.counters.step + 1;
        let index = state.counters.warmup + state.counters.step;
        let step_options = SftStep { number: step, index, batch: self.config.train.batch, lr };
        let metrics = step_options.take(state, self.data, self.config)?;
        let seconds = StepSeconds::training(clock.elapsed().as_secs_f64());
        state.counters.seconds.training += seconds.training;
        Ok(StepRecord { step, metrics: StepMetrics::Sft(metrics), seconds, eval: None, news: None, hints: None })
    }

    fn measure(&mut self, trainer: &LocalTrainer) -> Result<Option<Measurement>, TrainError> {
        let (policy, tokenizer) = (CurrentPolicy::Here(&trainer.model), &trainer.model.tokenizer);
        measure_policy(&policy, tokenizer, self.heldout, self.rewards, self.suites, self.config)
    }
}
