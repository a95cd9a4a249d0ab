//! Chooses the number of tokens per micro-batch from the memory that the machine has left.

use rlar_policy::SavedActivations;
use rlar_policy::architecture::DecoderConfig;

/// Largest micro-batch that is planned, in tokens; larger ones are not faster.
const MAX_TOKENS: usize = 16_384;

/// Estimate of the memory that training takes, in bytes, from the model's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainingMemory {
    /// Bytes of weights, gradients, AdamW's moments and further copies of the model.
    pub model: u64,
    /// Bytes of activations per token of a micro-batch.
    pub per_token: u64,
    /// Bytes of free memory, plus those that the loaded model already takes; `None` on a GPU, where the free memory is
    /// not known.
    pub available: Option<u64>,
    /// Number of tokens per micro-batch.
    pub tokens: usize,
    /// The most tokens that a micro-batch of the job can have: fewer than `tokens` if an optimizer step has fewer, and
    /// more if one sequence has more.
    pub largest: usize,
    /// Bytes that sampling takes while no activations are kept; 0 if the plan does not include it.
    pub sampling: u64,
}

/// Sizes from which, in addition to the model's shape, the memory of training is estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainingSizes {
    /// Bytes of all weights of the model, frozen ones included, as they are kept in memory.
    pub weights: u64,
    /// Number of parameters that are trained; with LoRA, those of the adapter.
    pub trained: usize,
    /// Number of further copies of the trained parameters: a reference model, and a policy that samples the next batch.
    pub copies: usize,
    /// Length of the longest sequence that is trained on, in tokens.
    pub longest: usize,
    /// The most tokens that the sequences of one optimizer step can have together.
    pub step: usize,
}

impl TrainingMemory {
    /// Plans the micro-batches of a model: `chosen` tokens each if given, otherwise as many as fit into three quarters
    /// of the `available` bytes of memory, but at least as many as the longest sequence has, up to `MAX_TOKENS`.
    pub fn new(
        c: &DecoderConfig,
        TrainingSizes { weights, trained, copies, longest, step }: TrainingSizes,
        saved: SavedActivations,
        chosen: Option<usize>,
        available: Option<u64>,
    ) -> Self {
        // Number of floats per token that the backward pass of a layer reads, attention probabilities included.
        let layer = 6 * c.hidden_size
            + 3 * (c.heads.query_width() + 2 * c.heads.kv_width())
            + 4 * c.intermediate_size
            + c.heads.query * longest;
        let kept = match saved {
            SavedActivations::All => c.layers.len() * layer,
            SavedActivations::LayerInputs => c.layers.len() * c.hidden_size + 2 * layer,
        };
        let model = weights + 4 * ((3 + copies) * trained) as u64 + (64 << 20);
        let per_token = 4 * (kept + 4 * c.hidden_size) as u64;
        let room = available.map_or(u64::MAX, |a| (a / 4 * 3).saturating_sub(model) / per_token.max(1));
        let tokens = chosen.unwrap_or_else(|| {
            usize::try_from(room).unwrap_or(MAX_TOKENS).clamp(longest.clamp(1, MAX_TOKENS), MAX_TOKENS)
        });
        Self { model, per_token, available, tokens, largest: tokens.max(longest).min(step), sampling: 0 }
    }

    /// The plan of a job that samples, which takes this number of bytes.
    #[must_use]
    pub fn with_sampling(self, sampling: u64) -> Self {
        Self { sampling, ..self }
    }

    /// Bytes of the activations of the largest micro-batch.
    pub fn activations(&self) -> u64 {
        self.per_token * self.largest as u64
    }

    /// Bytes that the job takes at most at one time. Sampling and training take turns.
    pub fn peak(&self) -> u64 {
        self.model + self.activations().max(self.sampling)
    }

    /// Whether the planned training needs more memory than is available; false if that is not known.
    pub fn is_too_large(&self) -> bool {
        self.available.is_some_and(|available| self.peak() > available)
    }
}

impl std::fmt::Display for TrainingMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let mb = |bytes: u64| bytes.div_ceil(1 << 20);
        let (model, activations, tokens) = (mb(self.model), mb(self.activations()), self.largest);
        write!(f, "model and optimizer {model} MB, activations {activations} MB for {tokens} tokens at a time")?;
        if self.sampling > 0 {
            write!(f, ", sampling {} MB", mb(self.sampling))?;
        }
        write!(f, ": at most {} MB", mb(self.peak()))?;
        match self.available {
            Some(available) if self.is_too_large() => write!(
                f,
                "; {} MB available: too little, lower `train.micro_batch_tokens` or set `train.recompute_layers`",
                mb(available)
            ),
            Some(available) => write!(f, "; {} MB available", mb(available)),
            None => Ok(()),
        }
    }
}
