//! An engine that samples and trains by a script. It notes what the GRPO loop asks of it.

use std::sync::{Arc, Mutex};

use rlar_grpo::TrainError;
use rlar_grpo::config::{OptimizerConfig, SamplingConfig};
use rlar_grpo::engine::sampler::{FinishedReply, SampledReply, Sampler, SamplerError};
use rlar_grpo::engine::trainer::{
    CheckpointPart, Checkpointed, CompletionLogProbs, CurrentPolicy, ForwardBackward, Objective, PassOptions,
    TrainSample, Trainer,
};
use rlar_policy::{Finish, GenerationRequest, PolicyError, Sequence};
use rlar_run::{Checkpoint, OngoingWork};

/// Something that the loop asked of the engine.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// To publish the weights under this version.
    Publish(u64),
    /// To compute gradients of these replies.
    ForwardBackward(Vec<TrainedReply>),
    /// To take an optimizer step at this learning rate.
    OptimizerStep(f32),
}

/// A reply as the loop gave it to the trainer.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainedReply {
    pub prompt: Vec<u32>,
    pub completion: Vec<u32>,
    pub advantage: f64,
    pub old_log_probs: Vec<f32>,
}

/// What is wrong with the replies to the second prompt of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    OtherWeights,
    FewLogProbs,
    Nan,
    Missing,
    Empty,
    Refused,
}

/// What is wrong with a forward-backward pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PassFault {
    FewLogProbs,
    Nan,
    Entropies,
    FewLosses,
}

/// The script of the engine, and its notes.
#[derive(Clone, Default)]
pub struct Script {
    /// What is wrong with the replies; `None`: nothing.
    pub fault: Option<Fault>,
    /// What is wrong with forward-backward passes; `None`: nothing.
    pub pass_fault: Option<PassFault>,
    /// The engine fails in the forward-backward pass after this number of optimizer steps.
    pub fails_after: Option<u64>,
    /// What the loop asked for.
    pub calls: Arc<Mutex<Vec<Call>>>,
}

impl Script {
    /// What the loop asked for since the last call, in order.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    fn note(&self, call: Call) {
        self.calls.lock().unwrap().push(call);
    }
}

/// The log-probs that the sampler gives to the two tokens of every reply.
pub const SAMPLED: [f32; 2] = [-1.0, -2.0];

/// The text of the first reply to a prompt. The other replies share nothing with it.
pub const RIGHT: &str = "w3w5w3";

struct ScriptedSampler {
    script: Script,
    weight_version: u64,
}

impl ScriptedSampler {
    fn reply(&self, index: usize) -> SampledReply {
        SampledReply {
            tokens: vec![60 + index as u32, 61],
            log_probs: SAMPLED.to_vec(),
            drawn_log_probs: SAMPLED.to_vec(),
            text: if index == 0 { RIGHT } else { "zz" }.to_owned(),
            finish: Finish::Stop,
            weight_version: self.weight_version,
        }
    }
}

impl Sampler for ScriptedSampler {
    fn sample(
        &self,
        requests: &[GenerationRequest],
        _: &SamplingConfig,
        progress: &OngoingWork,
        on_reply: &mut (dyn FnMut(FinishedReply) + Send),
    ) -> Result<Vec<Vec<SampledReply>>, SamplerError> {
        if self.script.fault == Some(Fault::Refused) {
            return Err(SamplerError::Request { request: 1, message: "http://gpu-7:8000 answered 503".to_owned() });
        }
        let replies = |request: &GenerationRequest| (0..request.seeds.len()).map(|index| self.reply(index)).collect();
        let mut replies: Vec<Vec<SampledReply>> = requests.iter().map(replies).collect();
        // The last replies end first.
        for (request, group) in replies.iter().enumerate().rev() {
            for (index, reply) in group.iter().enumerate().rev() {
                reply.tokens.iter().for_each(|_| progress.add_token());
                let (text, tokens) = (reply.text.clone(), reply.tokens.clone());
                on_reply(FinishedReply { request, index, text, tokens });
            }
        }
        let last = &mut replies[1];
        match self.script.fault {
            Some(Fault::OtherWeights) => last[1].weight_version += 1,
            Some(Fault::FewLogProbs) => last[1].log_probs.truncate(1),
            Some(Fault::Nan) => last[0].drawn_log_probs[1] = f32::NAN,
            Some(Fault::Missing) => last.truncate(1),
            Some(Fault::Empty) => last[0].tokens.clear(),
            Some(Fault::Refused) | None => {}
        }
        Ok(replies)
    }
}

/// A trainer whose only weight is the number of its optimizer steps.
pub struct ScriptedTrainer {
    pub script: Script,
    steps: u64,
}

impl ScriptedTrainer {
    pub fn new(script: &Script) -> Self {
        Self { script: script.clone(), steps: 0 }
    }

    /// The trainer whose state a checkpoint names.
    pub fn load(checkpoint: &Checkpoint) -> Self {
        let steps = serde_json::from_slice(&checkpoint.read(STATE).unwrap()).unwrap();
        Self { script: Script::default(), steps }
    }

    /// Log-probs with the fault of the script. The losses come from those without it.
    fn faulty(&self, mut known: CompletionLogProbs) -> CompletionLogProbs {
        match self.script.pass_fault {
            Some(PassFault::FewLogProbs) => drop(known.log_probs.pop()),
            Some(PassFault::Nan) => known.log_probs[0] = f32::NAN,
            Some(PassFault::Entropies) => known.entropies.push(1.0),
            Some(PassFault::FewLosses) | None => {}
        }
        known
    }
}

/// The file of a checkpoint in which the trainer names its state.
pub const STATE: &str = "scripted.json";

impl Checkpointed for ScriptedTrainer {
    fn save(&self) -> Vec<CheckpointPart<'_>> {
        vec![Box::new(|| Ok(vec![(STATE.to_owned(), self.steps.to_string().into_bytes())]))]
    }

    fn optimizer_steps(&self) -> u64 {
        self.steps
    }
}

impl Trainer for ScriptedTrainer {
    /// Half a nat off what the sampler says, for both tokens. No entropies.
    fn log_probs(&self, sequences: &[Sequence], _: PassOptions) -> Result<CompletionLogProbs, TrainError> {
        let tokens = sequences.iter().flat_map(|s| s.completion);
        Ok(CompletionLogProbs { log_probs: tokens.map(|_| -1.5).collect(), entropies: Vec::new() })
    }

    fn ref_log_probs(&self, _: &[Sequence], _: PassOptions) -> Result<Option<CompletionLogProbs>, TrainError> {
        Ok(None)
    }

    fn reanchor(&mut self) -> Result<bool, TrainError> {
        Ok(false)
    }

    fn gives_entropies(&self) -> bool {
        false
    }

    fn has_dropout(&self) -> bool {
        false
    }

    fn forward_backward(
        &mut self,
        samples: &[TrainSample],
        objective: Objective,
        options: PassOptions,
    ) -> Result<ForwardBackward, TrainError> {
        if self.script.fails_after == Some(self.steps) {
            return Err(PolicyError::Request("the training server is gone".to_owned()).into());
        }
        let reply = |s: &TrainSample| TrainedReply {
            prompt: s.sequence.prompt.to_vec(),
            completion: s.sequence.completion.to_vec(),
            advantage: s.advantage,
            old_log_probs: s.old_log_probs.to_vec(),
        };
        self.script.note(Call::ForwardBackward(samples.iter().map(reply).collect()));
        let sequences: Vec<Sequence> = samples.iter().map(|s| s.sequence).collect();
        let log_probs = self.log_probs(&sequences, options)?;
        let mut losses = objective.losses(samples, &log_probs);
        if self.script.pass_fault == Some(PassFault::FewLosses) {
            losses.pop();
        }
        Ok(ForwardBackward { losses, log_probs: self.faulty(log_probs) })
    }

    fn optimizer_step(&mut self, _: &OptimizerConfig, lr: f32) -> Result<f64, TrainError> {
        self.script.note(Call::OptimizerStep(lr));
        self.steps += 1;
        Ok(0.25)
    }

    fn publish(&self, weight_version: u64) -> Result<Box<dyn Sampler>, TrainError> {
        self.script.note(Call::Publish(weight_version));
        Ok(Box::new(ScriptedSampler { script: self.script.clone(), weight_version }))
    }

    fn policy(&self) -> Result<CurrentPolicy<'_>, TrainError> {
        let sampler = Box::new(ScriptedSampler { script: self.script.clone(), weight_version: self.steps });
        Ok(CurrentPolicy::Elsewhere { sampler, weight_version: self.steps })
    }
}
