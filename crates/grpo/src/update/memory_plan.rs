//! How many tokens fit into memory at a time.

use rlar_policy::SavedActivations;
use rlar_policy::architecture::DecoderConfig;

/// Most tokens that are planned for at a time: more are no faster.
const MOST: usize = 16_384;

/// Bytes that training takes, by an estimate from the model's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainingPlan {
    /// Weights, gradients, the optimizer's moments and further copies.
    pub model: u64,
    /// Activations of one token.
    pub per_token: u64,
    /// What the machine has left, the model included; unknown on a GPU.
    pub available: Option<u64>,
    /// Tokens differentiated at a time.
    pub tokens: usize,
}

/// What a plan depends on beside the model's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Parameters.
    pub parameters: usize,
    /// Those of them that are trained.
    pub trained: usize,
    /// Further copies of what is trained.
    pub copies: usize,
    /// Tokens of the longest sequence.
    pub longest: usize,
}

impl TrainingPlan {
    /// The plan for a model: `chosen` tokens at a time when given, else as many as three quarters of the memory hold.
    pub fn new(
        c: &DecoderConfig,
        Sizes { parameters, trained, copies, longest }: Sizes,
        keep: SavedActivations,
        chosen: Option<usize>,
        available: Option<u64>,
    ) -> Self {
        // Rows that a layer's backward pass reads, and the probabilities of its attention.
        let layer = 6 * c.hidden_size
            + 3 * (c.heads.query_width() + 2 * c.heads.kv_width())
            + 4 * c.intermediate_size
            + c.heads.query * longest;
        let kept = match keep {
            SavedActivations::All => c.layers.len() * layer,
            SavedActivations::LayerInputs => c.layers.len() * c.hidden_size + 2 * layer,
        };
        let model = 4 * (parameters + (3 + copies) * trained) as u64 + (64 << 20);
        let per_token = 4 * (kept + 4 * c.hidden_size) as u64;
        let room = available.map_or(u64::MAX, |a| (a / 4 * 3).saturating_sub(model) / per_token.max(1));
        let tokens =
            chosen.unwrap_or_else(|| usize::try_from(room).unwrap_or(MOST).clamp(longest.clamp(1, MOST), MOST));
        Self { model, per_token, available, tokens }
    }

    /// Whether the machine has too little for it.
    pub fn is_too_large(&self) -> bool {
        self.available.is_some_and(|a| self.model + self.per_token * self.tokens as u64 > a)
    }
}

impl std::fmt::Display for TrainingPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let mb = |bytes: u64| bytes.div_ceil(1 << 20);
        let (model, rows) = (mb(self.model), mb(self.per_token * self.tokens as u64));
        write!(f, "model and optimizer {model} MB, activations {rows} MB for {} tokens at a time", self.tokens)?;
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
