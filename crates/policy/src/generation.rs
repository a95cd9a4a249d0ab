//! The types of generation: requests, continuations, and events per token.

/// A prompt and the seeds of its continuations.
#[derive(Clone, Debug)]
pub struct GenerationRequest {
    /// The prompt's tokens.
    pub prompt: Vec<u32>,
    /// One seed per continuation. A continuation's random numbers depend on its seed alone.
    pub seeds: Vec<u64>,
}

/// Why a reply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// An end token or a stop text.
    Stop,
    /// `max_tokens` or the model's positions were used up.
    Length,
    /// The caller ended it.
    Cancelled,
}

/// One continuation.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Sampled tokens, with the end token.
    pub tokens: Vec<u32>,
    /// Log-prob of each token at the sampling temperature (1 when greedy) over the whole vocabulary, which is what
    /// training computes.
    pub log_probs: Vec<f32>,
    /// Log-prob of each token under the distribution that it was drawn from, after top-k, top-p, min-p and the penalty.
    pub drawn_log_probs: Vec<f32>,
    /// Log-prob of each token at temperature 1 over the whole vocabulary.
    pub plain_log_probs: Vec<f32>,
    /// The reply's text, up to the end token or stop text.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
}

impl Sample {
    pub(crate) fn empty(finish: Finish) -> Self {
        let (log_probs, drawn_log_probs, plain_log_probs) = (Vec::new(), Vec::new(), Vec::new());
        Self { tokens: Vec::new(), log_probs, drawn_log_probs, plain_log_probs, text: String::new(), finish }
    }
}

/// A token that was just sampled.
#[derive(Clone, Copy, Debug)]
pub struct TokenEvent<'a> {
    /// Index of the request.
    pub request: usize,
    /// Index of the continuation within the request.
    pub index: usize,
    /// The token's id.
    pub token: u32,
    /// Text that became final with this token: whole characters only, and nothing that may still turn out to be the
    /// beginning of a stop text.
    pub text: &'a str,
    /// Why the continuation ends with this token; `None` while it goes on.
    pub finish: Option<Finish>,
}

/// The answer of the callback to a [`TokenEvent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamControl {
    /// Continue all sequences.
    Continue,
    /// End this sequence; all others go on.
    EndSequence,
    /// End all sequences.
    EndAll,
}
