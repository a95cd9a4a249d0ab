//! The types of generation: requests, sampled continuations, and the events of streaming.

/// A prompt, and one seed for each continuation that is to be sampled.
#[derive(Clone, Debug)]
pub struct GenerationRequest {
    /// Token ids of the prompt.
    pub prompt: Vec<u32>,
    /// Seeds, one per continuation. The random numbers of a continuation depend on its seed alone.
    pub seeds: Vec<u64>,
}

/// Why a sampled reply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The reply ended with an end token or a stop text.
    Stop,
    /// The reply reached `max_tokens`, or the model's longest sequence.
    Length,
    /// The caller ended the reply.
    Cancelled,
}

/// One sampled continuation of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Ids of the sampled tokens, including those of the end token or stop text.
    pub tokens: Vec<u32>,
    /// Log-prob of each token at the sampling temperature (1 when greedy) over the whole vocabulary, without the
    /// repetition penalty. Training computes log-probs of the same kind, so that it can compare them with these.
    pub log_probs: Vec<f32>,
    /// Log-prob of each token under the distribution from which it was drawn: after penalty, temperature, top-k, top-p
    /// and min-p. 0 when greedy.
    pub drawn_log_probs: Vec<f32>,
    /// Log-prob of each token at temperature 1 over the whole vocabulary, without the repetition penalty.
    pub plain_log_probs: Vec<f32>,
    /// Text of the reply. It ends before the end token, and before the stop text (or after it, where `include_stop` is
    /// set).
    pub text: String,
    /// Why the reply ended.
    pub finish: Finish,
}

impl Sample {
    pub(crate) fn empty(finish: Finish) -> Self {
        let (log_probs, drawn_log_probs, plain_log_probs) = (Vec::new(), Vec::new(), Vec::new());
        Self { tokens: Vec::new(), log_probs, drawn_log_probs, plain_log_probs, text: String::new(), finish }
    }
}

/// A token that was just sampled, as the callback of streaming generation gets it.
#[derive(Clone, Copy, Debug)]
pub struct TokenEvent<'a> {
    /// Index of the token's request.
    pub request: usize,
    /// Index of the continuation among those of its request.
    pub index: usize,
    /// Id of the token.
    pub token: u32,
    /// Text that became final with this token: whole characters only, and without an end that may turn out to be the
    /// beginning of a stop text. It may be empty.
    pub text: &'a str,
    /// Why the continuation ends with this token; `None` while it goes on.
    pub finish: Option<Finish>,
}

/// What the callback of streaming generation answers to a [`TokenEvent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamControl {
    /// The sequence of the token and all others go on.
    Continue,
    /// The sequence of the token ends; all others go on.
    EndSequence,
    /// All sequences end, including those that did not start yet.
    EndAll,
}
