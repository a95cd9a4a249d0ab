//! One sequence of a pass, with what the loss needs at every position.

use crate::TinkerError;
use crate::loss::LossFunction;

/// One sequence of a pass. All lists have the same length: position `i` of the input predicts position `i` of the targets,
/// so the targets are the sequence without its first token, and the input the sequence without its last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Datum {
    /// The tokens that the model reads. Shape `[time]`, int64.
    pub tokens: Vec<u32>,
    /// The tokens that it predicts. Shape `[time]`, int64.
    pub targets: Vec<u32>,
    /// 1 where a target counts, 0 where it does not, such as in the prompt. Shape `[time]`, float32.
    pub weights: Vec<f32>,
    /// The log-probs of the targets when they were sampled; `None` if the loss needs none. Shape `[time]`, float32.
    pub logprobs: Option<Vec<f32>>,
    /// The advantages of the targets; `None` if the loss needs none. Shape `[time]`, float32.
    pub advantages: Option<Vec<f32>>,
}

impl Datum {
    /// A completion with the log-probs of its tokens and one advantage for all of them. The prompt has weight 0, and at least one
    /// token: without it, nothing predicts the completion's first.
    pub fn completion(prompt: &[u32], completion: &[u32], logprobs: &[f32], advantage: f32) -> Self {
        let mut datum = Self::supervised(prompt, completion);
        let before = datum.targets.len().saturating_sub(completion.len());
        datum.logprobs = Some([vec![0.0; before], logprobs.to_vec()].concat());
        datum.advantages = Some([vec![0.0; before], vec![advantage; completion.len()]].concat());
        datum
    }

    /// A completion to learn by supervised training. The prompt has weight 0.
    pub fn supervised(prompt: &[u32], completion: &[u32]) -> Self {
        let all = [prompt, completion].concat();
        let targets = all.get(1..).unwrap_or_default().to_vec();
        let tokens = all[..targets.len()].to_vec();
        // Without a prompt, nothing predicts the first token.
        let before = prompt.len().saturating_sub(1);
        let weights = [vec![0.0; before], vec![1.0; targets.len() - before]].concat();
        Self { tokens, targets, weights, ..Self::default() }
    }

    /// Refuses what a server would refuse late, or pad without a word.
    pub(crate) fn check(&self, index: usize, loss: LossFunction) -> Result<(), TinkerError> {
        let bad = |message: String| Err(TinkerError::BadDatum { index, message });
        let length = self.tokens.len();
        if length == 0 {
            return bad("it has no position. Give at least a token and its successor".into());
        }
        if self.targets.len() != length || self.weights.len() != length {
            let (targets, weights) = (self.targets.len(), self.weights.len());
            return bad(format!(
                "{length} tokens have {targets} targets and {weights} weights. Give one of each per token"
            ));
        }
        if let Some(token) = self.tokens.iter().chain(&self.targets).find(|token| i32::try_from(**token).is_err()) {
            return bad(format!("the token {token} is above {}, the largest that the API has", i32::MAX));
        }
        if self.weights.iter().any(|w| !w.is_finite() || *w < 0.0) {
            return bad("a weight is negative or not a number".into());
        }
        for (name, values) in [("log-probs", &self.logprobs), ("advantages", &self.advantages)] {
            match values {
                None if loss.needs_advantages() => {
                    return bad(format!("the loss `{}` needs {name}", loss.name()));
                }
                Some(values) if values.len() != length => {
                    return bad(format!("{length} tokens have {} {name}. Give one per token", values.len()));
                }
                Some(values) if values.iter().any(|v| !v.is_finite()) => {
                    return bad(format!("one of the {name} is not a finite number"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
