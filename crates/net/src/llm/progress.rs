//! How far a reply has come while it is being written.

/// How far a reply has come. A request that is sent again begins anew.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChatProgress {
    /// Number of tokens so far, reasoning included: an estimate where the server sends several at a time.
    pub tokens: u64,
    /// Whether the newest token is a part of the reasoning before the answer, not of the answer.
    pub is_reasoning: bool,
    /// Time since the first token, in seconds.
    pub seconds: f64,
}
